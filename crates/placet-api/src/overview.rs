//! Numbers over all reviews.

use serde::{Deserialize, Serialize};

/// `GET /v1/overview`: how reviewing goes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OverviewDocument {
    /// `day`, `week` or `month`: 24 hours, 7 days or 30 days until now
    pub window: String,
    /// What waits now
    pub waiting: WaitingDocument,
    /// How long people took, in each window
    pub time_to_decide: Vec<TimeToDecide>,
    /// How requests ended in the window, oldest first
    pub outcomes: Vec<OutcomesDocument>,
    /// Who asked most in the window
    pub requesters: Vec<CountDocument>,
    /// Which guards asked people most in the window
    pub guards: Vec<CountDocument>,
    /// Votes in the window
    pub votes: VotesDocument,
}

/// What waits now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaitingDocument {
    /// How many requests
    pub count: u64,
    /// When the oldest of them was asked
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// How many for each role; one may wait for several
    pub roles: Vec<CountDocument>,
}

/// How long people took. Reviews that expired or were withdrawn are not in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TimeToDecide {
    /// `day`, `week` or `month`
    pub window: String,
    /// How many they decided
    pub count: u64,
    /// Half of them took at most so many seconds
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_seconds: Option<u64>,
    /// Nine of ten took at most so many seconds
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90_seconds: Option<u64>,
}

/// How requests ended in one stretch of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OutcomesDocument {
    /// When it begins
    pub from: String,
    /// Carried out, and succeeded
    pub succeeded: u64,
    /// Carried out, and failed or of unknown outcome
    pub failed: u64,
    /// Denied by people
    pub denied: u64,
    /// Refused by policy
    pub refused: u64,
    /// Expired, lapsed or cancelled
    pub ended: u64,
}

/// How many of something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CountDocument {
    /// Its name
    pub name: String,
    /// How many
    pub count: u64,
}

/// Votes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VotesDocument {
    /// That were accepted
    pub cast: u64,
    /// That were refused: of the wrong person, twice, too late, or on something else than is to be decided
    pub refused: u64,
}
