//! The ledger as its users meet it: logs on disk, other people's code, and every way to tamper.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is test code; clippy exempts only the test functions themselves"
)]

mod crosscheck;
mod golden;
mod proofs;
mod publishing;
mod rfc6962;
mod support;
mod tampering;
mod verifiers;
