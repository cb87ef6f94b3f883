//! The command enforcement point: placet runs the program itself, under another OS user, with secrets that the one who
//! asked never holds.
//!
//! ```text
//! argv ─program─► pinned files ┐
//! runner.toml ─config─────────┴─plan─► Plan ──(review, grant, claim)──► exec ─► supervisor ─► program
//!                                                                        │ scan
//!                                                                        ▼
//!                                                              spool ─► frames ─► requester
//! ```
//!
//! Nothing of the caller's surroundings reaches the program: not its PATH, not its environment, not its directory, not
//! its terminal.

pub mod config;
pub mod exec;
pub mod plan;
pub mod processes;
pub mod program;
mod removal;
pub mod scan;
pub mod spool;
pub mod supervisor;
pub mod user;
mod wire;
pub mod workdir;

pub use wire::Refusal;
