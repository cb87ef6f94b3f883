//! The request as its requester, and everyone else, sees it on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::intake::Resource;

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for people.
    Pending,
    /// May be carried out once, soon.
    Granted,
    /// Being carried out.
    Executing,
    /// Carried out.
    Succeeded,
    /// Tried, and failed.
    Failed,
    /// Nobody knows. Never tried again by itself.
    Unknown,
    /// Policy forbids it.
    Refused,
    /// A person said no.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// The requester withdrew it.
    Cancelled,
    /// Nobody carried it out in time.
    Lapsed,
}

impl Status {
    /// Whether something may still happen.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Pending | Status::Granted | Status::Executing)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        placet_core::request::Status::from(self).as_str()
    }
}

impl From<placet_core::request::Status> for Status {
    fn from(status: placet_core::request::Status) -> Self {
        use placet_core::request::Status as Core;
        match status {
            Core::Pending => Status::Pending,
            Core::Granted => Status::Granted,
            Core::Executing => Status::Executing,
            Core::Succeeded => Status::Succeeded,
            Core::Failed => Status::Failed,
            Core::Unknown => Status::Unknown,
            Core::Refused => Status::Refused,
            Core::Denied => Status::Denied,
            Core::Expired => Status::Expired,
            Core::Cancelled => Status::Cancelled,
            Core::Lapsed => Status::Lapsed,
        }
    }
}

impl From<Status> for placet_core::request::Status {
    fn from(status: Status) -> Self {
        use placet_core::request::Status as Core;
        match status {
            Status::Pending => Core::Pending,
            Status::Granted => Core::Granted,
            Status::Executing => Core::Executing,
            Status::Succeeded => Core::Succeeded,
            Status::Failed => Core::Failed,
            Status::Unknown => Core::Unknown,
            Status::Refused => Core::Refused,
            Status::Denied => Core::Denied,
            Status::Expired => Core::Expired,
            Status::Cancelled => Core::Cancelled,
            Status::Lapsed => Core::Lapsed,
        }
    }
}

/// One action request. Members that say nothing are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RequestDocument {
    /// Which.
    #[schema(example = "req_01jd2t3v4w5x6y7z8a9b0c1d2e")]
    pub id: String,
    /// Counts up with every change; give it to the next wait.
    pub version: u64,
    /// Counts up when what is to be decided changes.
    pub content_version: u32,
    /// Where it stands.
    pub status: Status,
    /// SHA-256 over `"placet/action/v1\0"` and `canonical`, 64 lower-case hexadecimal digits.
    pub digest: String,
    /// What people read to each other. It finds a request, it proves nothing.
    #[schema(example = "7F3K-9Q2M")]
    pub short_code: String,
    /// Through which kind of enforcement point it came: `command`, `mcp` or `external`.
    #[schema(example = "external")]
    pub pep: String,
    /// How far that can be trusted: `enforced`, `gated` or `advisory`.
    #[schema(example = "advisory")]
    pub grade: String,
    /// What would be done.
    #[schema(example = "example.deploy")]
    pub action: String,
    /// On what.
    pub resource: Resource,
    /// The canonical bytes that were digested, which are UTF-8: what is shown, decided on and executed.
    pub canonical: String,
    /// Who asks.
    pub principal: PrincipalRef,
    /// From the one that asks to the person on whose behalf.
    pub actor_chain: Vec<PrincipalRef>,
    /// When it came, RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// When its present state ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// The human step, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewPart>,
    /// The latest decision of policy.
    pub decision: DecisionPart,
    /// Why not, if it was refused or denied, or ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialPart>,
    /// The right to execute, while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantPart>,
    /// The execution, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionPart>,
    /// What became of it, once that is known or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomePart>,
    /// Where its entries are.
    pub ledger: LedgerPart,
}

/// Somebody who acts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PrincipalRef {
    /// `agent`, `pipeline` or `person`.
    #[schema(example = "agent")]
    pub kind: String,
    /// Which.
    #[schema(example = "agt_01jd2t3v4w5x6y7z8a9b0c1d2e")]
    pub id: String,
    /// As the operator named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The human step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewPart {
    /// Where people review it.
    pub url: String,
    /// What is asked for, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirement: Option<RequirementPart>,
    /// What is there of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressPart>,
}

/// What all matching guards ask for together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RequirementPart {
    /// All of them have to be cleared.
    pub guards: Vec<GuardPart>,
    /// Where people are asked, beside the inbox.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
}

/// One guard that asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GuardPart {
    /// Its id in the bundle.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Why it asks, if the bundle says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What would be enough.
    pub needs: NeedPart,
}

/// A tree of evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(no_recursion)]
pub enum NeedPart {
    /// All of these.
    All(Vec<NeedPart>),
    /// One of these.
    Any(Vec<NeedPart>),
    /// So many distinct people in this role.
    AtLeast {
        /// How many.
        count: u32,
        /// How many there are.
        have: u32,
        /// Voting as what.
        role: String,
        /// How sure placet has to be of who they are, at least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assurance: Option<String>,
    },
    /// So many different people in all.
    Distinct {
        /// How many.
        count: u32,
        /// How many there are.
        have: u32,
    },
    /// No vote older than this.
    WithinSeconds(u64),
    /// A condition of the policy that speaks of no votes.
    Condition {
        /// Whether it holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holds: Option<bool>,
    },
}

/// How far a review is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProgressPart {
    /// How many people's approvals count now.
    pub approvals: u32,
    /// How many of them in each role.
    pub roles: BTreeMap<String, u32>,
}

/// A decision of policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DecisionPart {
    /// `permit`, `forbid` or `ask`.
    #[schema(example = "ask")]
    pub effect: String,
    /// The policies that determined it.
    pub because: Vec<BecausePart>,
    /// Digest of the bundle in force.
    pub bundle: String,
    /// Which evaluation.
    pub evaluation_id: String,
}

/// A policy that determined a decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct BecausePart {
    /// Its id in the bundle.
    pub policy: String,
    /// Its title.
    pub title: String,
    /// Its reason, if the bundle says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DenialPart {
    /// What kind of no, for programs.
    #[schema(example = "denied")]
    pub code: String,
    /// Why, for people and models: text of a reviewer or of placet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether asking again, later or differently, may end in another answer.
    pub retryable: bool,
    /// Until when the same call gets this same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub cooldown_until: Option<String>,
}

/// A right to execute once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GrantPart {
    /// When it lapses.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// An execution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecutionPart {
    /// Which.
    pub id: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// Until when an outcome is waited for.
    #[schema(format = DateTime)]
    pub outcome_deadline: String,
}

/// What became of an execution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OutcomePart {
    /// `succeeded`, `failed` or `unknown`.
    pub outcome: String,
    /// One line of whoever executed it.
    pub summary: String,
    /// What was measured.
    pub measures: BTreeMap<String, i64>,
    /// SHA-256 of what came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
    /// What was recorded of it, if anything was; reviewers can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingPart>,
    /// Who says so: `placet`, `agent` or `nobody`.
    pub reported_by: String,
    /// When it ended.
    #[schema(format = DateTime)]
    pub at: String,
    /// What a named person found out about an unknown outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
}

/// The recording of an execution, by its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordingPart {
    /// SHA-256 of its exact bytes, which the ledger commits to.
    pub sha256: String,
    /// How many there are.
    pub bytes: u64,
    /// Whether the program wrote more than was kept.
    pub truncated: bool,
}

/// Where a request's entries are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LedgerPart {
    /// Indices in the log, ascending.
    pub entries: Vec<u64>,
}

/// A page of requests, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RequestList {
    /// The requests.
    pub requests: Vec<RequestDocument>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What a claim answers with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClaimedDocument {
    /// Name it in the outcome.
    pub execution_id: String,
    /// The bytes that were reviewed: execute these.
    pub canonical: String,
    /// Until when an outcome is waited for; after it the outcome is `unknown`.
    #[schema(format = DateTime)]
    pub outcome_deadline: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_word_of_the_life_cycle() {
        for status in placet_core::request::Status::ALL {
            let wire = Status::from(status);
            assert_eq!(serde_json::to_value(wire).unwrap(), status.as_str());
            assert_eq!(placet_core::request::Status::from(wire), status);
            assert_eq!(wire.is_open(), status.is_open());
        }
    }

    #[test]
    fn an_unknown_status_is_not_read() {
        assert!(serde_json::from_str::<Status>("\"approved\"").is_err());
    }

    #[test]
    fn a_tree_of_needs_has_one_shape() {
        let need = NeedPart::All(vec![
            NeedPart::AtLeast { count: 2, have: 1, role: "owners".into(), assurance: None },
            NeedPart::WithinSeconds(1800),
        ]);
        let json = serde_json::to_string(&need).unwrap();
        assert_eq!(
            json,
            r#"{"all":[{"at_least":{"count":2,"have":1,"role":"owners"}},{"within_seconds":1800}]}"#
        );
        assert_eq!(serde_json::from_str::<NeedPart>(&json).unwrap(), need);
    }
}
