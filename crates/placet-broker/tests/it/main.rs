//! The broker over a real store and the real starter bundles: what is done, what is refused, and what is recorded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as a test does"
)]

mod claims;
mod crowds;
mod deadlines;
mod faults;
mod operators;
mod peps;
mod policies;
mod proof;
mod races;
mod refusals;
mod retries;
mod votes;
mod waiting;
mod way;
mod world;
