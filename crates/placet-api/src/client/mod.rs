//! An async client of both doors: [`Agents`] and [`Peps`] at the agents', [`Reviewers`] at the reviewers'.
//!
//! It follows no redirect, because a token must never travel to where it was not meant for; it bounds what it reads and
//! how long it waits; and it tells three things apart: placet said no ([`ClientError::Problem`]), placet could not be
//! reached, and something answered that is not placet.

mod agents;
mod error;
mod http;
mod output;
mod peps;
mod reviewers;

pub use agents::{Agents, ListRequests};
pub use error::ClientError;
pub use output::Output;
pub use peps::Peps;
pub use reviewers::{ListReviews, Reviewers};
