//! The enforcement points: what stands between an approval and a deed.
//!
//! One port, [`authority`], says what may be done; the modules beside it do it. This crate knows neither policy nor
//! storage: in placet's own process it asks the broker, on another machine the agents' door ([`remote`], [`sidecar`]).

pub mod authority;
pub mod blobs;
pub mod commands;
pub mod frames;
mod hash;
pub mod mcp;
pub mod recovery;
pub mod remote;
pub mod runner;
pub mod sidecar;
