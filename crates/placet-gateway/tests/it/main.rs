//! Real programs, real processes: what the enforcement points do, and what nobody gets out of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of it is test code; a failed expectation is a failed test"
)]

mod bench;
mod door;
mod execution;
mod program;
mod recording;
mod survivors;
