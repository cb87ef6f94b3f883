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
mod decide;
mod entities;
mod files;
mod finding;
mod guard;
mod mapping;
mod policies;
mod schema;
mod settings;
mod votes;

pub use bundle::{Bundle, Loaded};
pub use cases::CaseResult;
pub use decide::{Judgement, Question};
pub use files::{BundleFiles, FILE_BYTES_MAX, FILES_MAX, ReadError};
pub use finding::{Finding, FindingReport, Severity, Span};
pub use mapping::{ARGV, MapRefusal, Mapped, SERVER, TOOL, TOOL_ARGUMENTS};
pub use settings::{ConflictRule, RoleRule, Settings};
