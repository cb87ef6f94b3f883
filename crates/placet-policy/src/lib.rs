//! The policy decision point: bundles, Cedar, guards, mapping.
//!
//! Everything here is a function over an immutable [`Bundle`] and the directory as it is now. Nothing reads a clock, a
//! network or a store, and no type of Cedar leaves the crate.
//!
//! ```text
//! files ──load──► Bundle ──map──► action, resource, facts ──decide──► Judgement { permit | forbid | ask, tally }
//!                    │                                        ▲
//!                    └──standing──► who may vote ──► votes ───┘
//! ```
//!
//! A guard is a policy of `ask.cedar`: `forbid … when { situation } unless { evidence }`. The host counts votes, Cedar
//! says whether they are enough, and each vote is itself a decision of Cedar.

mod bundle;
mod cases;
mod context;
mod decide;
mod electorates;
mod entities;
mod explain;
mod files;
mod finding;
mod format;
mod guard;
mod mapping;
mod policies;
mod replay;
mod schema;
mod settings;
mod votes;
mod warnings;
mod words;

pub use bundle::{Bundle, Loaded, Place, place_of};
pub use cases::CaseResult;
pub use decide::{Judgement, Question};
pub use explain::{Explained, Explanation, PolicyKind};
pub use files::{
    BundleFiles, FILE_BYTES_MAX, FILES_MAX, POLICIES_BYTES_MAX, ReadError, TOOLS_BYTES_MAX, file_bytes_max,
};
pub use finding::{Finding, FindingReport, Severity, Span};
pub use format::format_cedar;
pub use mapping::{ARGV, METHOD, MapRefusal, Mapped, PARAMS, SERVER, TOOL, TOOL_ARGUMENTS};
pub use replay::{Recorded, ReplayOutcome};
pub use settings::{ConflictRule, RoleRule, Settings};
