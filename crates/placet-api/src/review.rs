//! What reviewers read and send.

use placet_core::c14n::Value;
use placet_core::review::REASON_MAX;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::intake::{NAME_BYTES_MAX, put_text};
use crate::policy::DecisionTold;
use crate::read::{InputError, Members};
use crate::request::RequestDocument;

/// A page of reviews, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewList {
    /// The reviews.
    pub reviews: Vec<ReviewLine>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One review in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewLine {
    /// What is to be decided, or was.
    pub request: RequestDocument,
    /// Whether the caller may vote on it now.
    pub may_vote: bool,
    /// What the caller voted, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub my_vote: Option<VerdictWord>,
    /// What is still missing, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Yes or no.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

impl VerdictWord {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            VerdictWord::Approve => "approve",
            VerdictWord::Deny => "deny",
        }
    }
}

/// One review, whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReviewDocument {
    /// The request.
    pub request: RequestDocument,
    /// Everything that a reviewer is shown.
    pub card: CardDocument,
    /// The card's exact bytes, which are JSON: what is kept as evidence of what was shown.
    pub card_bytes: String,
    /// SHA-256 of these bytes: name it in the vote.
    pub card_hash: String,
    /// How the caller stands to it.
    pub standing: StandingPart,
    /// What was voted so far, oldest first.
    pub votes: Vec<VoteLine>,
    /// What happened so far, oldest first.
    pub timeline: Vec<TimelineLine>,
    /// Why policy decided as it did, oldest first.
    #[serde(default)]
    pub decisions: Vec<DecisionTold>,
    /// What is different from the last similar call of the same requester that was approved, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<ComparedPart>,
    /// The definition of the tool that would be called, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolPart>,
}

/// A call against the last similar one that was approved: of the same tool, the same program, or the same action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ComparedPart {
    /// Which request it is held against.
    pub request: String,
    /// Its code.
    pub short_code: String,
    /// When that was asked.
    #[schema(format = DateTime)]
    pub asked_at: String,
    /// What is different in the call; nothing if it is the same.
    pub changes: Vec<ChangePart>,
}

/// One part of a call that is different. What cannot be seen stands in it as visible escapes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangePart {
    /// Where it is.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// What it is; absent if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

/// A tool of an MCP server as the call is pinned to it. What cannot be seen stands in it as visible escapes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ToolPart {
    /// Whether the definition is still accepted as it was. If it is not, the call is not carried out.
    pub accepted: bool,
    /// What the server says that it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the server tells models about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What the server claims about its effects. Nobody checked it, and policy does not read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<Fact>,
    /// The whole definition, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}

/// How the caller stands to a review.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StandingPart {
    /// Whether they may deny now.
    pub may_deny: bool,
    /// Whether they may approve now.
    pub may_approve: bool,
    /// Whether they would approve what is their own agent's, by the bundle's exception.
    pub self_review: bool,
    /// Why they may not approve, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why they may not approve, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Everything that a reviewer is shown. What cannot be seen stands in it as visible escapes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CardDocument {
    /// Version of the card's shape.
    pub v: u32,
    /// What it is about, in a few words.
    pub title: String,
    /// Who asks.
    pub requester: CardActor,
    /// On whose behalf.
    pub on_behalf_of: String,
    /// What would be done.
    pub action: String,
    /// On what.
    pub resource: String,
    /// What placet knows about that.
    pub resource_facts: Vec<Fact>,
    /// How far the enforcement point can be trusted.
    pub grade: String,
    /// What that means here.
    pub grade_note: String,
    /// Through which kind of enforcement point it came.
    pub pep: String,
    /// What the enforcement point would talk to.
    pub target: String,
    /// The call itself, by path.
    pub arguments: Vec<Fact>,
    /// What policy knows about the call.
    pub facts: Vec<Fact>,
    /// What else pins the meaning.
    pub pins: Vec<Fact>,
    /// The agent's words. Nobody checked them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// The guards that ask.
    pub guards: Vec<CardGuard>,
    /// Whether a sponsor reviews what is their own agent's.
    pub self_review: bool,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CardActor {
    /// As the operator named it.
    pub name: String,
    /// `agent`, `pipeline` or `person`.
    pub kind: String,
    /// Which.
    pub id: String,
    /// The person who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
}

/// A named text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    /// Its name or path.
    pub name: String,
    /// What it is.
    pub value: String,
}

/// A guard as a reviewer reads it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CardGuard {
    /// Its id in the bundle.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Why it asks, if the bundle says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What of its situation held.
    pub situation: Vec<String>,
    /// What would be enough.
    pub needs: String,
}

/// One vote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VoteLine {
    /// Who.
    pub name: String,
    /// Yes or no.
    pub verdict: VerdictWord,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As what.
    pub roles: Vec<String>,
    /// How sure placet was of who it is.
    pub assurance: String,
    /// Whether it is on what is their own agent's.
    pub self_reviewed: bool,
    /// Whether somebody in conflict could have signed in in their place.
    pub vouched: bool,
    /// Whether it counts now.
    pub counted: bool,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TimelineLine {
    /// Index of its ledger entry.
    pub index: u64,
    /// When.
    #[schema(format = DateTime)]
    pub time: String,
    /// What, as the ledger names it.
    pub kind: String,
    /// What, for people.
    pub sentence: String,
}

/// `POST /v1/reviews/{id}/votes`.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct VoteRequest {
    /// Yes or no.
    pub verdict: VerdictWord,
    /// Why.
    #[schema(max_length = 4096)]
    pub reason: Option<String>,
    /// The digest of what is decided.
    pub digest: String,
    /// The content version that was read.
    pub version: u32,
    /// The hash of the card that was shown; an approval has to name it.
    pub card: Option<String>,
}

impl VoteRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let verdict = match members.text("verdict", NAME_BYTES_MAX)?.as_str() {
            "approve" => VerdictWord::Approve,
            "deny" => VerdictWord::Deny,
            _ => return Err(members.refuse("verdict", "bad_value", "Write approve or deny.")),
        };
        let reason = members.optional_text("reason", REASON_MAX)?;
        let digest = members.text("digest", NAME_BYTES_MAX)?;
        let version = members.optional_integer("version")?.and_then(|version| u32::try_from(version).ok());
        let version = version.ok_or_else(|| {
            members.refuse("version", "bad_value", "Name the content version that you read.")
        })?;
        let card = members.optional_text("card", NAME_BYTES_MAX)?;
        members.end()?;
        Ok(VoteRequest { verdict, reason, digest, version, card })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let mut members = vec![
            ("verdict", Value::string(self.verdict.as_str())),
            ("digest", Value::string(self.digest.clone())),
            ("version", Value::integer(i64::from(self.version))),
        ];
        put_text(&mut members, "reason", self.reason.as_deref());
        put_text(&mut members, "card", self.card.as_deref());
        Value::object(members).canonical()
    }
}

/// `POST /v1/reviews/{id}/resolution`: what an unknown outcome really was.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct ResolveRequest {
    /// What really happened.
    #[schema(min_length = 1, max_length = 4096)]
    pub text: String,
}

impl ResolveRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let text = members.text("text", REASON_MAX)?;
        if text.trim().is_empty() {
            return Err(members.refuse("text", "bad_value", "Say what really happened."));
        }
        members.end()?;
        Ok(ResolveRequest { text })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        Value::object([("text", Value::string(self.text.clone()))]).canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_read_strictly() {
        let whole = r#"{"verdict":"deny","reason":"no","digest":"d","version":2,"card":"c"}"#;
        let vote = VoteRequest::from_json(whole.as_bytes()).unwrap();
        assert_eq!(VoteRequest::from_json(vote.to_json().as_bytes()), Ok(vote));
        for (body, pointer) in [
            (whole.replace("deny", "maybe"), "/verdict"),
            (whole.replace("\"no\"", &format!("\"{}\"", "x".repeat(REASON_MAX + 1))), "/reason"),
            (whole.replace(":2", ":-1"), "/version"),
            (whole.replace(":2", ":2.0"), "/version"),
            (whole.replace(",\"version\":2", ""), "/version"),
            (whole.replace("card", "cart"), "/cart"),
        ] {
            let error = VoteRequest::from_json(body.as_bytes()).unwrap_err();
            assert_eq!(error.pointer.as_deref(), Some(pointer));
        }
        assert!(ResolveRequest::from_json(br#"{"text":"  "}"#).is_err());
    }
}
