//! The command enforcement point: placet runs the program itself, under another OS user, with secrets that the one who
//! asked never holds.
//!
//! ```text
//! argv ─program─► pinned files ┐
//! runner.toml ─config─────────┴─plan─► Plan ──(review, grant, claim)──► exec ─► supervisor ─► program
//!                                                                        │ scan
//!                                                                        ▼
//!                                                              spool ─► frames ─► requester
//!                                                              record ─► asciicast ─► outcome
//! ```
//!
//! Nothing of the caller's surroundings reaches the program: not its PATH, not its environment, not its directory, not
//! its terminal.

pub mod bundled;
pub mod config;
pub mod exec;
pub mod plan;
pub mod processes;
pub mod program;
pub mod record;
mod removal;
pub mod room;
pub mod scan;
pub mod spool;
pub mod supervisor;
pub mod user;
mod wire;
pub mod workdir;

pub use wire::Refusal;
