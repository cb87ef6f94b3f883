//! HTTP in: the agents' door, the reviewers' door with its inbox, and the admin socket.
//!
//! ```text
//!  listener ──► frame (id, span, panic, metrics) ──► door (who is it?) ──► handler ──► broker
//!                                                                             │
//!  problem+json or page ◄── frame ◄── Failure | document, page ◄──────────────┘
//! ```
//!
//! This crate turns calls into use cases and their answers into documents and pages. It decides nothing: whether a
//! credential opens this door, whether a vote counts, what a request may do next, all of that is broker's. What it
//! guards is HTTP itself: bounds on everything, strict bodies, hosts and origins, cookies, and text that nobody checked.

pub mod admin;
mod agents;
mod app;
mod assets;
mod audit;
mod backups;
mod body;
mod calendar;
mod document;
mod failure;
mod frame;
mod gate;
mod health;
mod idle;
mod keeping;
mod metrics;
mod openapi;
mod overview;
mod pages;
mod policy;
mod query;
#[cfg(feature = "test-support")]
#[doc(hidden)]
pub mod readers;
mod resource;
mod reviewers;
mod seats;
mod serve;
mod timeline;

pub use agents::agents_door;
pub use app::{App, Parts};
pub use backups::{BackupRefused, Backups};
pub use frame::{CallId, standalone_door};
pub use gate::{PublicUrl, PublicUrlError};
pub use health::metrics_listener;
pub use openapi::{openapi_agents, openapi_reviewers};
pub use pages::sign_in_path;
pub use resource::Resource;
pub use reviewers::reviewers_door;
pub use serve::{AdminListener, Drained, Limits, Listener, serve, serve_admin, serve_standalone};
