//! The real binary, started on free ports with a directory of its own, and used as its users use it.
//!
//! A module for each feature. What they share is [`harness`].

mod harness;

mod audit;
mod cli;
mod commands;
mod operators;
mod policy;
mod requests;
