//! What travels between placet and the rest of the world: wire types of both doors, problem+json, and a client.
//!
//! ```text
//!  agents' door      intake ──► SubmitRequest, CommandIntake … ──► server, gateway
//!                    request ◄── RequestDocument
//!                    pep    ◄─► what an enforcement point elsewhere needs
//!  reviewers' door   review ◄── ReviewDocument      vote ──► VoteRequest
//!                    entry  ◄── EntryDocument
//!  both              problem ◄── Problem
//! ```
//!
//! These types know no state machine and no storage. What comes in is read from the raw bytes with the canonical form's
//! strict reader, so that an argument `1.0` stays `1.0` and a key that stands twice is refused wherever it stands; a
//! member that is not known is refused, with a pointer to it. What goes out may gain members: readers ignore what they
//! do not know.

pub mod admin;
pub mod audit;
pub mod backup;
#[cfg(feature = "client")]
pub mod client;
pub mod command;
pub mod entry;
pub mod intake;
pub mod mcp;
pub mod overview;
pub mod pep;
pub mod policy;
pub mod problem;
pub mod read;
pub mod recording;
pub mod request;
pub mod review;

/// The media type of every JSON body.
pub const JSON: &str = "application/json";
/// The longest wait that a call may ask for, in seconds.
pub const WAIT_SECONDS_MAX: u64 = 50;
/// The most bytes that a JSON body may have.
pub const BODY_BYTES_MAX: usize = placet_core::c14n::SIZE_MAX;
