//! Real programs, real processes: what the enforcement points do, and what nobody gets out of them.

mod bench;
mod execution;
mod program;
mod survivors;
