//! What the tests build on: people, agents, decisions, and a request in any state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Grade, PepKind, Pins, Principal, ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::decision::{Decision, Effect, ForbidReason, GuardAsk, Need, Requirement, RoleName};
use placet_core::digest::{BundleDigest, Sha256Digest, ShortCode};
use placet_core::id::{AgentId, EvaluationId, ExecutionId, PersonId, RequestId};
use placet_core::request::{
    Denial, Execution, Grant, Intake, Lifetimes, Outcome, Reporter, Request, State, Status,
};
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const REVIEW_FOR: Duration = Duration::from_secs(60 * 60);
pub(crate) const AGE_MAX: Duration = Duration::from_secs(30 * 60);
pub(crate) const LIFETIMES: Lifetimes =
    Lifetimes { grant: Duration::from_secs(10 * 60), lease: Duration::from_secs(15 * 60) };

/// When every story here begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(crate) fn after(duration: Duration) -> Timestamp {
    START.plus(duration)
}

pub(crate) fn person(number: u8) -> PersonId {
    PersonId::from_bytes([number; 16])
}

pub(crate) fn agent(number: u8) -> AgentId {
    AgentId::from_bytes([number; 16])
}

pub(crate) fn execution_id() -> ExecutionId {
    ExecutionId::from_bytes([0xe; 16])
}

pub(crate) fn claim_value() -> Sha256Digest {
    Sha256Digest::of(b"claim")
}

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

/// The file of committed vectors.
pub(crate) fn vectors(name: &str) -> serde_json::Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A person's agent deploys to production, by itself.
pub(crate) fn action() -> ActionRequest {
    ActionRequest {
        tenant: "default".to_owned(),
        chain: ActorChain {
            requester: Principal::Agent(agent(1)),
            through: Vec::new(),
            on_behalf_of: person(1),
        },
        pep: PepKind::External,
        target: "external".to_owned(),
        action: ActionName::parse("example.deploy").unwrap(),
        resource: ResourceRef::new("Example", "production").unwrap(),
        arguments: Value::object([("build", Value::integer(7))]),
        pins: Pins::default(),
    }
}

pub(crate) fn requirement() -> Requirement {
    let needs = Need::All(vec![
        Need::AtLeast { count: 2, role: role("owners"), assurance: None },
        Need::Within(AGE_MAX),
    ]);
    Requirement {
        guards: vec![GuardAsk {
            id: "production".to_owned(),
            title: "Changes to production".to_owned(),
            because: None,
            situation: Vec::new(),
            needs,
            escalate: Vec::new(),
        }],
        review_for: REVIEW_FOR,
        age_max: Some(AGE_MAX),
        veto: 1,
        channels: BTreeSet::new(),
        eligible: BTreeMap::new(),
        self_review: None,
    }
}

pub(crate) fn decision(effect: Effect) -> Decision {
    Decision {
        evaluation: EvaluationId::from_bytes([9; 16]),
        bundle: BundleDigest::from_bytes([8; 32]),
        at: START,
        effect,
        because: Vec::new(),
    }
}

pub(crate) fn permits() -> Decision {
    decision(Effect::Permit)
}

pub(crate) fn forbids() -> Decision {
    decision(Effect::Forbid(ForbidReason::Policy))
}

pub(crate) fn asks(requirement: Requirement) -> Decision {
    decision(Effect::RequireApproval(requirement))
}

pub(crate) fn open(action: ActionRequest, decision: Decision) -> Request {
    let intake = Intake {
        id: RequestId::from_bytes([5; 16]),
        canonical: action.canonical().unwrap(),
        action,
        short_code: ShortCode::parse("7F3K9Q2M").unwrap(),
        taken_in_by: None,
        grade: Grade::Advisory,
        justification: Some(Untrusted::new("the release is tested")),
    };
    Request::open(intake, decision, LIFETIMES, START)
}

/// A request that waits for two owners.
pub(crate) fn pending() -> Request {
    open(action(), asks(requirement()))
}

pub(crate) fn outcome(now: Timestamp) -> Outcome {
    Outcome {
        summary: Untrusted::new("deployed"),
        measures: BTreeMap::from([("exit_code".to_owned(), 0)]),
        result: None,
        recording: None,
        reported_by: Reporter::Agent,
        at: now,
    }
}

/// A reviewed request in this state, put there by hand: what leads to it is what the tests are about.
pub(crate) fn request_in(status: Status) -> Request {
    let mut request = pending();
    let execution = Execution {
        id: execution_id(),
        claim: claim_value(),
        executor: PepKind::External,
        started_at: START,
        lease_until: after(LIFETIMES.lease),
    };
    if !matches!(status, Status::Pending | Status::Refused | Status::Denied | Status::Expired) {
        request.decision = permits();
    }
    request.state = match status {
        Status::Refused => State::Refused(ForbidReason::Policy),
        Status::Pending => return request,
        Status::Denied => {
            State::Denied(Denial { by: person(2), reason: None, cooldown_until: after(MINUTE) })
        }
        Status::Expired => State::Expired,
        Status::Cancelled => State::Cancelled,
        Status::Granted => State::Granted(Grant { minted_at: START, expires_at: after(LIFETIMES.grant) }),
        Status::Lapsed => State::Lapsed,
        Status::Executing => State::Executing(execution),
        Status::Succeeded => State::Succeeded(execution, outcome(START)),
        Status::Failed => State::Failed(execution, outcome(START)),
        Status::Unknown => State::Unknown(execution, outcome(START)),
    };
    request
}
