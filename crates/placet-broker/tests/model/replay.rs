//! What an auditor who has nothing but the entries can say: where every request stands.

use std::collections::BTreeMap;

use placet_core::entry::Kind;
use placet_core::request::Status;

use crate::naive::Entry;

/// The state of every request, by the entries alone. A trail that no request can have is an error.
pub(crate) fn states(entries: &[Entry]) -> Result<BTreeMap<usize, Status>, String> {
    let mut states: BTreeMap<usize, Status> = BTreeMap::new();
    // A denial ends a review unless a decision follows it that asks again.
    let mut denied: Option<usize> = None;
    for entry in entries {
        let Some(place) = entry.request else { continue };
        let state = states.get(&place).copied();
        let denied_before = std::mem::take(&mut denied) == Some(place);
        let next = match (entry.kind, state, entry.verdict) {
            (Kind::RequestReceived, None, Some("permit")) => Status::Granted,
            (Kind::RequestReceived, None, Some("ask")) => Status::Pending,
            (Kind::RequestReceived, None, Some("forbid")) => Status::Refused,
            (Kind::RequestAttached | Kind::VoteRefused | Kind::ClaimRefused, Some(same), _) => same,
            (Kind::VoteCast, Some(Status::Pending), Some("approve")) => Status::Pending,
            (Kind::VoteCast, Some(Status::Pending | Status::Granted), Some("deny")) => {
                denied = Some(place);
                Status::Denied
            }
            (Kind::DecisionMade, Some(Status::Denied), Some("ask")) if denied_before => Status::Pending,
            (Kind::DecisionMade, Some(Status::Denied), Some("permit")) if denied_before => Status::Granted,
            (Kind::DecisionMade, Some(Status::Denied), Some("forbid")) if denied_before => Status::Pending,
            (Kind::DecisionMade, Some(Status::Pending), Some("permit")) => Status::Granted,
            (
                Kind::DecisionMade,
                Some(same @ (Status::Pending | Status::Granted)),
                Some("ask" | "forbid"),
            ) => same,
            (Kind::RequestRefusedLater, Some(Status::Pending | Status::Granted), _) => Status::Refused,
            (Kind::RequestExpired, Some(Status::Pending), _) => Status::Expired,
            (Kind::RequestLapsed, Some(Status::Granted), _) => Status::Lapsed,
            (Kind::RequestCancelled, Some(Status::Pending | Status::Granted), _) => Status::Cancelled,
            (Kind::ExecutionStarted, Some(Status::Granted), Some("permit")) => Status::Executing,
            (Kind::ExecutionFinished, Some(Status::Executing), Some("succeeded")) => Status::Succeeded,
            (Kind::ExecutionFinished, Some(Status::Executing), Some("failed")) => Status::Failed,
            (Kind::ExecutionFinished, Some(Status::Executing), Some("unknown")) => Status::Unknown,
            (Kind::RequestResolved, Some(Status::Unknown), _) => Status::Unknown,
            (kind, state, verdict) => {
                return Err(format!("{} {verdict:?} follows {state:?} of request {place}", kind.as_str()));
            }
        };
        states.insert(place, next);
    }
    Ok(states)
}

/// The verdict words that histories lead to.
const WORDS: [&str; 35] = [
    "permit",
    "forbid",
    "ask",
    "approve",
    "deny",
    "succeeded",
    "failed",
    "unknown",
    "disabled",
    "revoked",
    "rotated",
    "joined",
    "left",
    "unauthenticated",
    "already_decided",
    "late",
    "other_digest",
    "content_moved",
    "self_approval",
    "no_standing",
    "already_voted",
    "assurance_too_low",
    "vouched",
    "token_may_not_approve",
    "not_the_executor",
    "already_claimed",
    "wrong_state",
    "refused",
    "cooled_down",
    "pending_cap",
    "review_cap",
    "call_rate",
    "moved",
    "secret_gone",
    "key_reused",
];

/// A verdict's word, as the model writes it; one that it does not know is none of its words.
pub(crate) fn word(text: &str) -> &'static str {
    WORDS.into_iter().find(|word| *word == text).unwrap_or("a word that the model does not know")
}
