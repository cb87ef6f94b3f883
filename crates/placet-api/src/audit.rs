//! Answers to an auditor's question: requests with everybody who had a hand in them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::intake::Resource;
use crate::request::{ExecutionPart, OutcomePart, PrincipalRef, Status};
use crate::review::{TimelineLine, VerdictWord};

/// A page of answers, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// The requests.
    pub requests: Vec<AuditRequest>,
    /// Give it as `cursor` for the next page; absent on the last. A page may hold fewer than `limit` and still not be the
    /// last: a search looks at a bounded number of requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What was understood: at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// What was understood: before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub to: Option<String>,
}

/// One request, as an auditor reads it. Of an erased one only what stands in clear is there.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditRequest {
    /// Which.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// When it was asked.
    #[schema(format = DateTime)]
    pub asked_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Indices of its ledger entries, ascending.
    pub entries: Vec<u64>,
    /// The rest; absent if its key was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<AuditContent>,
}

/// What is known of a request beside what stands in clear.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditContent {
    /// The action.
    pub action: String,
    /// On what.
    pub resource: Resource,
    /// Who asked.
    pub requester: PrincipalRef,
    /// The person on whose behalf.
    pub on_behalf_of: PrincipalRef,
    /// Why, in the requester's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// What people call it.
    pub short_code: String,
    /// SHA-256 over the canonical bytes: what was decided on and carried out.
    pub digest: String,
    /// Through which kind of enforcement point.
    pub pep: String,
    /// How far that can be trusted.
    pub grade: String,
    /// What policy decided last: `permit`, `forbid` or `ask`.
    pub effect: String,
    /// Digest of the policy bundle that decided last.
    pub bundle: String,
    /// Who voted, oldest first.
    pub votes: Vec<AuditVote>,
    /// The execution, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionPart>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomePart>,
}

/// A vote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditVote {
    /// Who.
    pub person: PrincipalRef,
    /// Yes or no.
    pub verdict: VerdictWord,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The roles in which they voted.
    pub roles: Vec<String>,
    /// How sure it is that it was they.
    pub assurance: String,
    /// Whether it was theirs.
    pub self_reviewed: bool,
    /// Whether somebody in conflict, or unknown, had let them in.
    pub vouched: bool,
    /// SHA-256 of the card that they were shown.
    pub card: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
}

/// Everything about one request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditStory {
    /// The request.
    pub request: AuditRequest,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineLine>,
    /// The cards on which votes were cast, exactly as they were shown: each is JSON, and its SHA-256 stands in the votes.
    pub cards: Vec<String>,
}

/// How far the making of the search index has come, and what came of the last one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReindexDocument {
    /// Whether it is being made now.
    pub running: bool,
    /// What came of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ReindexResult>,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What came of making the search index anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReindexResult {
    /// How many entries were read.
    pub entries: u64,
    /// How many of them have nothing to disclose any more.
    pub erased: u64,
    /// How many facts the index holds.
    pub facts: u64,
    /// How many facts the old index lacked.
    pub missing: u64,
    /// How many facts the old index had that no entry tells any more.
    pub surplus: u64,
}
