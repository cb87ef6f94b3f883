//! The doors over real listeners, a real broker and a real store.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as a test does"
)]

mod admin;
mod agents;
mod audit;
mod explained;
mod hostile;
mod overview;
mod pages;
mod peps;
mod reviewers;
mod serving;
mod world;
