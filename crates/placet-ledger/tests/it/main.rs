//! The ledger as its users meet it: logs on disk, other people's code, and every way to tamper.

mod crosscheck;
mod golden;
mod proofs;
mod publishing;
mod support;
mod tampering;
mod verifiers;
