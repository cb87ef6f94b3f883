//! The enforcement points: what stands between an approval and a deed.
//!
//! One port, [`authority`], says what may be done; the modules beside it do it. This crate knows neither policy nor
//! storage, and could run on another machine than the broker.

pub mod authority;
pub mod blobs;
pub mod commands;
pub mod frames;
mod hash;
pub mod runner;
