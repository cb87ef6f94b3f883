//! What a repeated call gets: the same request, a recorded answer, or a new request.

use std::time::Duration;

use crate::digest::ActionDigest;
use crate::id::RequestId;
use crate::request::Status;
use crate::time::Timestamp;

/// How long an idempotency key is remembered.
pub const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the same digest gets the recorded denial.
pub const DENIAL_COOLDOWN: Duration = Duration::from_secs(60);
/// How long the same digest gets the recorded outcome of a reviewed action.
pub const OUTCOME_MEMORY: Duration = Duration::from_secs(10 * 60);
/// How many bytes an idempotency key may have.
pub const KEY_BYTES_MAX: usize = 255;

/// A remembered idempotency key of the same principal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// What was asked under it.
    pub digest: ActionDigest,
    /// The request it made.
    pub request: RequestId,
    /// When.
    pub at: Timestamp,
}

/// The newest request of the same principal with the same digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Twin {
    /// Which.
    pub request: RequestId,
    /// Where it stands.
    pub status: Status,
    /// Whether a human was asked.
    pub reviewed: bool,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether a person said what an unknown outcome really was.
    pub resolved: bool,
}

/// What to do with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It is a new request.
    New,
    /// It is this request; a justification of its own becomes an entry and never changes what reviewers see.
    Attach(RequestId),
    /// The key was used for something else.
    KeyReused(RequestId),
    /// Nobody knows what became of this action; a person has to say so before it can be asked again.
    OutcomeUnknown(RequestId),
}

/// Decides on a call with this digest. What policy permitted without a review is a new request each time, whatever
/// became of the one before; a key that is not remembered changes nothing.
pub fn retry(digest: ActionDigest, key: Option<KeyRecord>, twin: Option<Twin>, now: Timestamp) -> Retry {
    if let Some(key) = key.filter(|key| now.since(key.at) < KEY_LIFETIME) {
        return if key.digest == digest { Retry::Attach(key.request) } else { Retry::KeyReused(key.request) };
    }
    let Some(twin) = twin else { return Retry::New };
    let age = now.since(twin.updated_at);
    let attaches = match twin.status {
        Status::Pending => true,
        Status::Granted | Status::Executing => twin.reviewed,
        Status::Denied => age < DENIAL_COOLDOWN,
        Status::Succeeded | Status::Failed => twin.reviewed && age < OUTCOME_MEMORY,
        Status::Unknown if twin.reviewed && !twin.resolved => return Retry::OutcomeUnknown(twin.request),
        Status::Unknown | Status::Refused | Status::Expired | Status::Cancelled | Status::Lapsed => false,
    };
    if attaches { Retry::Attach(twin.request) } else { Retry::New }
}
