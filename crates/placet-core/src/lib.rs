//! What an approval is: the types of placet and its pure transitions.
//!
//! This crate knows no IO, no async, no clock and no chance: time and entropy are parameters. It is read from the
//! request's birth to its end:
//!
//! ```text
//! c14n ──► action ──► digest ──► request (states) ◄── review (votes) ◄── directory (who may)
//!                                   │                        ▲
//!                                   ▼                        │
//!                                 entry (drafts)        decision (what policy said)
//! ```
//!
//! Core types are what placet stores and decides on. They are not wire types, row types or stored JSON: each of those
//! borders has its own structs and a conversion with its own error.

pub mod action;
pub mod c14n;
pub mod decision;
pub mod digest;
pub mod directory;
pub mod entropy;
pub mod entry;
pub mod id;
pub mod request;
pub mod retry;
pub mod review;
pub mod secret;
pub mod text;
pub mod time;
