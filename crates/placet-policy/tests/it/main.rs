//! Policy through its border: bundles in, findings and decisions out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as a test does"
)]

mod bundles;
mod common;
mod decide;
mod electorate;
mod explain;
mod lint;
mod mapping;
mod properties;
mod reference;
