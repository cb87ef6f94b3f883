//! What the ledger is told: one constructor for each kind of entry that broker writes.
//!
//! In clear stands what completeness checks need. Who, what, why and every digest are commitments.

use placet_core::action::{Executor, Principal};
use placet_core::c14n::Value;
use placet_core::decision::{Decision, Effect};
use placet_core::digest::Sha256Digest;
use placet_core::directory::{EndedAccess, Operator};
use placet_core::entry::{Draft, Kind};
use placet_core::id::PersonId;
use placet_core::request::{Execution, Outcome, Recording, Request};
use placet_core::review::{Evidence, VerifiedReviewer, Vote};
use placet_core::text::Untrusted;
use placet_policy::Judgement;

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn maybe(value: Option<&Untrusted>) -> Value {
    value.map_or(Value::Null, |value| text(value.as_raw()))
}

/// Which enforcement point, beside its kind: null for the one in placet's own process.
fn enforcer(executor: Executor) -> Value {
    executor.pep.map_or(Value::Null, |pep| text(pep.to_string()))
}

/// The word for what a decision said.
pub(crate) fn effect_word(decision: &Decision) -> &'static str {
    match decision.effect {
        Effect::Permit => "permit",
        Effect::Forbid(_) => "forbid",
        Effect::RequireApproval(_) => "ask",
    }
}

/// A decision as it is committed to: enough to replay it.
fn decision_value(judgement: &Judgement) -> Value {
    let Judgement { decision, inputs, .. } = judgement;
    let because = decision.because.iter().map(|because| text(&because.policy)).collect();
    let mut members = vec![
        ("evaluation", text(decision.evaluation.to_string())),
        ("effect", text(effect_word(decision))),
        ("because", Value::Array(because)),
        ("inputs", inputs.clone()),
    ];
    if let Effect::Forbid(reason) = &decision.effect {
        members.push(("reason", text(reason.code())));
        members.push(("detail", text(reason.sentence())));
    }
    members.extend(judgement.explained_value().map(|explained| ("explained", explained)));
    members.extend(judgement.hint.as_ref().map(|hint| ("hint", text(hint))));
    Value::object(members)
}

/// A call became a request. A request that is permitted at once has this one entry before it is claimed.
pub(crate) fn received(request: &Request, judgement: &Judgement) -> Draft {
    Draft::new(Kind::RequestReceived)
        .about(request)
        .verdict(effect_word(&judgement.decision))
        .under(judgement.decision.bundle)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("requester", text(request.requester().to_string()))
        .commit("on_behalf_of", text(request.action.chain.on_behalf_of.to_string()))
        .commit("resource", text(request.action.resource.visible()))
        .commit("pep", text(request.action.pep.as_str()))
        .commit("taken_in_by", enforcer(request.executor()))
        .commit("target", text(&request.action.target))
        .commit("grade", text(request.grade.as_str()))
        .commit("justification", maybe(request.justification.as_ref()))
        .commit("short_code", text(request.short_code.as_str()))
        .commit("decision", decision_value(judgement))
}

/// A repeated call attached to a request.
pub(crate) fn attached(request: &Request, justification: Option<&Untrusted>) -> Draft {
    Draft::new(Kind::RequestAttached).about(request).commit("justification", maybe(justification))
}

/// A request ended by itself or by its requester.
pub(crate) fn ended(kind: Kind, request: &Request) -> Draft {
    Draft::new(kind).about(request).commit("digest", text(request.canonical.digest().to_string()))
}

/// Policy decided again.
pub(crate) fn decided(request: &Request, judgement: &Judgement, when: &'static str) -> Draft {
    Draft::new(Kind::DecisionMade)
        .about(request)
        .verdict(effect_word(&judgement.decision))
        .under(judgement.decision.bundle)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("occasion", text(when))
        .commit("decision", decision_value(judgement))
}

fn evidence_value(evidence: Evidence) -> Value {
    match evidence {
        Evidence::Session(id) => text(id.to_string()),
        Evidence::Token(id) => text(id.to_string()),
    }
}

/// A vote was accepted.
pub(crate) fn vote_cast(request: &Request, vote: &Vote, channel: &'static str) -> Draft {
    let roles = vote.roles.iter().map(|role| text(role.as_str())).collect();
    Draft::new(Kind::VoteCast)
        .about(request)
        .verdict(vote.verdict.as_str())
        .under(request.decision.bundle)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("person", text(vote.person.to_string()))
        .commit("reason", maybe(vote.reason.as_ref()))
        .commit("card", text(vote.card.to_string()))
        .commit("channel", text(channel))
        .commit("roles", Value::Array(roles))
        .commit("assurance", text(vote.assurance.as_str()))
        .commit("evidence", evidence_value(vote.evidence))
        .commit("content_version", Value::integer(i64::from(vote.content_version)))
        .commit("round", Value::integer(i64::from(vote.round)))
        .commit("self_reviewed", Value::Bool(vote.self_reviewed))
        .commit("vouched", Value::Bool(vote.vouched))
}

/// A vote was refused.
pub(crate) fn vote_refused(
    request: &Request,
    reviewer: &VerifiedReviewer,
    code: &'static str,
    channel: &'static str,
) -> Draft {
    Draft::new(Kind::VoteRefused)
        .about(request)
        .verdict(code)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("person", text(reviewer.person.to_string()))
        .commit("evidence", evidence_value(reviewer.evidence))
        .commit("channel", text(channel))
}

/// Somebody tried to vote with what lets nobody in any more: one entry a minute stands for all tries.
pub(crate) fn ended_vote_refused(
    request: &Request,
    ended: &EndedAccess,
    code: &'static str,
    channel: &'static str,
    refused: u32,
) -> Draft {
    Draft::new(Kind::VoteRefused)
        .about(request)
        .verdict(code)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("person", text(ended.person.to_string()))
        .commit("evidence", evidence_value(ended.evidence))
        .commit("ended", text(ended.why.as_str()))
        .commit("ended_at", text(ended.ended_at.to_string()))
        .commit("channel", text(channel))
        .commit("refused", Value::integer(i64::from(refused)))
}

/// An execution began: from here on the action may happen.
pub(crate) fn started(request: &Request, execution: &Execution, judgement: &Judgement) -> Draft {
    Draft::new(Kind::ExecutionStarted)
        .about(request)
        .verdict("permit")
        .under(judgement.decision.bundle)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("execution", text(execution.id.to_string()))
        .commit("executor", text(execution.executor.as_str()))
        .commit("taken_in_by", enforcer(request.executor()))
        .commit("lease_until", text(execution.lease_until.to_string()))
        .commit("decision", decision_value(judgement))
}

/// A claim was refused.
pub(crate) fn claim_refused(request: &Request, who: &str, at: Executor, code: &'static str) -> Draft {
    Draft::new(Kind::ClaimRefused)
        .about(request)
        .verdict(code)
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("by", text(who))
        .commit("at", text(at.kind.as_str()))
        .commit("at_pep", enforcer(at))
}

/// An execution ended.
pub(crate) fn finished(request: &Request, execution: &Execution, outcome: &Outcome) -> Draft {
    let measures = outcome.measures.iter().map(|(name, number)| (name.clone(), Value::integer(*number)));
    let result = outcome.result.map_or(Value::Null, |digest: Sha256Digest| text(digest.to_string()));
    Draft::new(Kind::ExecutionFinished)
        .about(request)
        .verdict(request.status().as_str())
        .commit("digest", text(request.canonical.digest().to_string()))
        .commit("execution", text(execution.id.to_string()))
        .commit("summary", text(outcome.summary.as_raw()))
        .commit("measures", Value::object(measures))
        .commit("result", result)
        .commit("recording", recording_value(outcome.recording))
        .commit("reported_by", text(outcome.reported_by.as_str()))
}

/// What was kept of what the program wrote. That nothing was kept is committed to as well.
fn recording_value(recording: Option<Recording>) -> Value {
    let Some(recording) = recording else { return Value::Null };
    Value::object([
        ("format", text("asciicast-v3")),
        ("sha256", text(recording.sha256.to_string())),
        ("bytes", Value::integer(i64::try_from(recording.bytes).unwrap_or(i64::MAX))),
        ("truncated", Value::Bool(recording.truncated)),
    ])
}

/// A person said what an unknown outcome really was.
pub(crate) fn resolved(request: &Request, by: PersonId, what: &Untrusted) -> Draft {
    Draft::new(Kind::RequestResolved)
        .about(request)
        .commit("person", text(by.to_string()))
        .commit("text", text(what.as_raw()))
}

/// Calls were refused because of a cap: one summary a minute.
pub(crate) fn cap_reached(principal: Principal, code: &'static str, refused: u32) -> Draft {
    Draft::new(Kind::CapReached)
        .verdict(code)
        .commit("requester", text(principal.to_string()))
        .commit("refused", Value::integer(i64::from(refused)))
}

/// Something that an operator did, about this subject.
pub(crate) fn operated(kind: Kind, operator: &Operator, subject: (&'static str, String)) -> Draft {
    Draft::new(kind)
        .commit("operator_uid", Value::integer(i64::from(operator.uid)))
        .commit("operator", operator.person.map_or(Value::Null, |person| text(person.to_string())))
        .commit(subject.0, text(subject.1))
}
