//! The real binary, started on free ports with a directory of its own, and used as its users use it.
//!
//! A module for each feature. What they share is [`harness`] and [`people`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by panicking, its helpers too"
)]

mod harness;
mod people;
mod postgres;

mod audit;
mod backup;
mod bad_luck;
mod cli;
mod commands;
mod contract;
mod crowds;
mod doors;
mod example;
mod export;
mod foreign;
mod gateway;
mod hostile;
mod http;
mod oauth;
mod operators;
mod policy;
mod privacy;
mod proof;
mod reading;
mod recording;
mod requests;
mod restart;
mod surroundings;
mod tools;
mod up;
mod waiting;
mod walk;
mod workloads;
