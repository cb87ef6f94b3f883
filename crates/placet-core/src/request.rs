//! The life of a request: states that carry their data, and transitions that take the request and give the next.
//!
//! ```text
//! intake ──┬─ Refused                    policy forbids
//!          ├─ Pending ─┬─ Denied         an eligible reviewer says no
//!          │           ├─ Expired        the review's deadline
//!          │           ├─ Cancelled      by the requester
//!          │           ├─ Refused        a later decision forbids
//!          │           └─ Granted ─┬─ Lapsed | Denied | Cancelled | Refused
//!          ├─ Granted              └─ Executing ─── Succeeded | Failed | Unknown
//!          └─ Executing            a permitted call whose enforcement point holds the caller
//! ```
//!
//! Every transition names the state it starts from; from any other it is a [`Rejection`]. Deadlines are checked here,
//! with the time that the transition is given.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::{ActionRequest, Canonical, Executor, Grade, PepKind, Principal};
use crate::decision::{Decision, Effect, ForbidReason, Requirement};
use crate::digest::{Sha256Digest, ShortCode};
use crate::id::{ExecutionId, PepId, PersonId, RequestId};
use crate::review::{Verdict, Vote};
use crate::text::Untrusted;
use crate::time::Timestamp;

/// One action request, from intake to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which.
    pub id: RequestId,
    /// Counts up with every stored change; the store refuses a change that starts from another. Transitions leave it
    /// alone, as one stored change may hold several: who stores it counts up, once.
    pub version: u64,
    /// Counts up when what is to be decided changes.
    pub content_version: u32,
    /// What is asked.
    pub action: ActionRequest,
    /// Its canonical bytes and digest.
    pub canonical: Canonical,
    /// What people read to each other.
    pub short_code: ShortCode,
    /// The enforcement point that took it in, if that has a credential of its own. Only it carries the action out.
    pub taken_in_by: Option<PepId>,
    /// How far the enforcement point can be trusted.
    pub grade: Grade,
    /// Why, in the words of whoever asks. Never reaches policy.
    pub justification: Option<Untrusted>,
    /// When it came.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The latest decision of policy on it.
    pub decision: Decision,
    /// Whether a human was asked at any time.
    pub reviewed: bool,
    /// Every accepted vote, oldest first.
    pub votes: Vec<Vote>,
    /// Where it stands.
    pub state: State,
    /// What a named person said about an unknown outcome.
    pub resolution: Option<Resolution>,
}

/// Where a request stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Policy forbids it.
    Refused(ForbidReason),
    /// Waits for people.
    Pending(Pending),
    /// A person said no.
    Denied(Denial),
    /// Nobody decided in time.
    Expired,
    /// The requester withdrew it.
    Cancelled,
    /// May be carried out once, soon.
    Granted(Grant),
    /// Nobody carried it out in time.
    Lapsed,
    /// Being carried out.
    Executing(Execution),
    /// Carried out.
    Succeeded(Execution, Outcome),
    /// Tried, and failed.
    Failed(Execution, Outcome),
    /// Nobody knows. Final; a named person may say what really happened.
    Unknown(Execution, Outcome),
}

/// The name of a state, without its data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the same words as the states")]
pub enum Status {
    Refused,
    Pending,
    Denied,
    Expired,
    Cancelled,
    Granted,
    Lapsed,
    Executing,
    Succeeded,
    Failed,
    Unknown,
}

impl Status {
    /// All of them, in the order of a request's life.
    pub const ALL: [Status; 11] = [
        Status::Pending,
        Status::Granted,
        Status::Executing,
        Status::Succeeded,
        Status::Failed,
        Status::Unknown,
        Status::Refused,
        Status::Denied,
        Status::Expired,
        Status::Cancelled,
        Status::Lapsed,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Refused => "refused",
            Status::Pending => "pending",
            Status::Denied => "denied",
            Status::Expired => "expired",
            Status::Cancelled => "cancelled",
            Status::Granted => "granted",
            Status::Lapsed => "lapsed",
            Status::Executing => "executing",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Unknown => "unknown",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Status::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether something may still happen by itself or by somebody's act.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Pending | Status::Granted | Status::Executing)
    }
}

/// A review in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// When it ends in no.
    pub expires_at: Timestamp,
}

/// A person's no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// Who.
    pub by: PersonId,
    /// Why.
    pub reason: Option<Untrusted>,
    /// Until when the same digest gets the same answer.
    pub cooldown_until: Timestamp,
}

/// A single-use right to execute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// When it was minted.
    pub minted_at: Timestamp,
    /// When it lapses; never later than its evidence.
    pub expires_at: Timestamp,
}

/// One execution: who runs it, and until when an outcome is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execution {
    /// Which.
    pub id: ExecutionId,
    /// SHA-256 of the claim value: repeating it repeats the answer, any other is refused.
    pub claim: Sha256Digest,
    /// Which kind of enforcement point holds it.
    pub executor: PepKind,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when an outcome is waited for.
    pub lease_until: Timestamp,
}

/// What became of an execution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// One line, in the words of whoever executed.
    pub summary: Untrusted,
    /// Numbers that were measured: `exit_code`, `bytes`, `rows`, `duration_ms`.
    pub measures: BTreeMap<String, i64>,
    /// SHA-256 of what came out.
    pub result: Option<Sha256Digest>,
    /// The recording that was kept of it, if one was.
    pub recording: Option<Recording>,
    /// Who says so.
    pub reported_by: Reporter,
    /// When it ended.
    pub at: Timestamp,
}

/// A recording by its content. It is kept beside the request, and can be erased like it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recording {
    /// SHA-256 of its exact bytes.
    pub sha256: Sha256Digest,
    /// How many there are.
    pub bytes: u64,
    /// Whether the program wrote more than was kept.
    pub truncated: bool,
}

/// Who reported an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reporter {
    /// placet executed it.
    Placet,
    /// The agent executed it by itself, and this is its word.
    Agent,
    /// Nobody: the lease ran out, or placet restarted in between.
    Nobody,
}

impl Reporter {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reporter::Placet => "placet",
            Reporter::Agent => "agent",
            Reporter::Nobody => "nobody",
        }
    }
}

/// How an execution ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeKind {
    /// As it should.
    Succeeded,
    /// It did not.
    Failed,
    /// Nobody knows.
    Unknown,
}

impl OutcomeKind {
    /// Reads the word of a finished status.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "succeeded" => Some(OutcomeKind::Succeeded),
            "failed" => Some(OutcomeKind::Failed),
            "unknown" => Some(OutcomeKind::Unknown),
            _ => None,
        }
    }
}

/// What a named person found out about an unknown outcome. It changes no state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolution {
    /// Who.
    pub by: PersonId,
    /// What really happened, in their words.
    pub text: Untrusted,
    /// When.
    pub at: Timestamp,
}

/// Why a transition does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It starts from another state.
    #[error("the request is {}", .0.as_str())]
    WrongState(Status),
    /// Its time has not come.
    #[error("its deadline has not passed")]
    TooEarly,
    /// Its time is over.
    #[error("its deadline has passed")]
    TooLate,
    /// Somebody else's claim holds the execution.
    #[error("the grant was claimed already")]
    AlreadyClaimed,
    /// The execution is another.
    #[error("the outcome names another execution")]
    OtherExecution,
    /// The enforcement point is another.
    #[error("only the enforcement point that intercepted the call may execute it")]
    NotTheExecutor,
    /// It is resolved already.
    #[error("the outcome is resolved already")]
    AlreadyResolved,
}

/// What a new request begins with, beside the decision.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Its id.
    pub id: RequestId,
    /// What is asked.
    pub action: ActionRequest,
    /// Its canonical bytes.
    pub canonical: Canonical,
    /// Its short code.
    pub short_code: ShortCode,
    /// The enforcement point that took it in, if that has a credential of its own.
    pub taken_in_by: Option<PepId>,
    /// The enforcement point's grade.
    pub grade: Grade,
    /// Why.
    pub justification: Option<Untrusted>,
}

/// How long grants and leases live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// A grant, from when it was minted.
    pub grant: Duration,
    /// An execution, from when it started.
    pub lease: Duration,
}

impl Request {
    /// A new request under its first decision: refused, pending or granted.
    pub fn open(intake: Intake, decision: Decision, lifetimes: Lifetimes, now: Timestamp) -> Request {
        let (state, reviewed) = match &decision.effect {
            Effect::Forbid(reason) => (State::Refused(reason.clone()), false),
            Effect::RequireApproval(needs) => {
                (State::Pending(Pending { expires_at: now.plus(needs.review_for) }), true)
            }
            Effect::Permit => {
                (State::Granted(Grant { minted_at: now, expires_at: now.plus(lifetimes.grant) }), false)
            }
        };
        Request {
            id: intake.id,
            version: 1,
            content_version: 1,
            action: intake.action,
            canonical: intake.canonical,
            short_code: intake.short_code,
            taken_in_by: intake.taken_in_by,
            grade: intake.grade,
            justification: intake.justification,
            created_at: now,
            updated_at: now,
            decision,
            reviewed,
            votes: Vec::new(),
            state,
            resolution: None,
        }
    }

    /// The name of its state.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Refused(_) => Status::Refused,
            State::Pending(_) => Status::Pending,
            State::Denied(_) => Status::Denied,
            State::Expired => Status::Expired,
            State::Cancelled => Status::Cancelled,
            State::Granted(_) => Status::Granted,
            State::Lapsed => Status::Lapsed,
            State::Executing(_) => Status::Executing,
            State::Succeeded(..) => Status::Succeeded,
            State::Failed(..) => Status::Failed,
            State::Unknown(..) => Status::Unknown,
        }
    }

    /// Who asked.
    pub fn requester(&self) -> Principal {
        self.action.chain.requester
    }

    /// The enforcement point that took it in, and the only one that may carry it out.
    pub fn executor(&self) -> Executor {
        Executor { kind: self.action.pep, pep: self.taken_in_by }
    }

    /// What the latest decision asks for, if it asks.
    pub fn requirement(&self) -> Option<&Requirement> {
        match &self.decision.effect {
            Effect::RequireApproval(requirement) => Some(requirement),
            Effect::Permit | Effect::Forbid(_) => None,
        }
    }

    /// When its present state ends by itself.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Pending(pending) => Some(pending.expires_at),
            State::Granted(grant) => Some(grant.expires_at),
            State::Executing(execution) => Some(execution.lease_until),
            _ => None,
        }
    }

    /// The execution, once there is one.
    pub fn execution(&self) -> Option<&Execution> {
        match &self.state {
            State::Executing(execution)
            | State::Succeeded(execution, _)
            | State::Failed(execution, _)
            | State::Unknown(execution, _) => Some(execution),
            _ => None,
        }
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Succeeded(_, outcome) | State::Failed(_, outcome) | State::Unknown(_, outcome) => {
                Some(outcome)
            }
            _ => None,
        }
    }

    /// The person's latest vote, if it is not stale.
    pub fn current_vote(&self, person: PersonId, now: Timestamp) -> Option<&Vote> {
        let latest = self.votes.iter().rev().find(|vote| vote.person == person)?;
        if self.is_stale(latest, now) { None } else { Some(latest) }
    }

    /// Whether the person has voted, and the vote is too old to count.
    pub fn vote_is_stale(&self, person: PersonId, now: Timestamp) -> bool {
        self.votes
            .iter()
            .rev()
            .find(|vote| vote.person == person)
            .is_some_and(|vote| self.is_stale(vote, now))
    }

    /// The approvals that could count: each person's latest word, if it is yes and not older than the guards accept.
    pub fn approvals(&self, now: Timestamp) -> Vec<&Vote> {
        let mut votes = self.standing_votes(now);
        votes.retain(|vote| vote.verdict == Verdict::Approve);
        votes
    }

    /// Each person's latest word, as long as it stands: an approval until it is older than the guards accept, a denial
    /// for good.
    pub fn standing_votes(&self, now: Timestamp) -> Vec<&Vote> {
        let mut latest: BTreeMap<PersonId, &Vote> = BTreeMap::new();
        for vote in &self.votes {
            latest.insert(vote.person, vote);
        }
        latest.into_values().filter(|vote| !self.is_stale(vote, now)).collect()
    }

    /// Only an approval grows old. A denial stands: it needs no renewal to block, and nobody takes it back.
    fn is_stale(&self, vote: &Vote, now: Timestamp) -> bool {
        let age_max = self.requirement().and_then(|requirement| requirement.age_max);
        vote.verdict == Verdict::Approve && age_max.is_some_and(|age_max| now.since(vote.at) > age_max)
    }

    /// Takes the next state: every transition ends here.
    pub(crate) fn end(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.updated_at = now;
    }

    fn to(mut self, state: State, now: Timestamp) -> Request {
        self.end(state, now);
        self
    }

    fn wrong(&self) -> Rejection {
        Rejection::WrongState(self.status())
    }

    /// A pending request under a new decision. A permit mints the grant, which never outlives its evidence:
    /// `evidence_until` is when the oldest counted vote becomes too old. Where it asks again, the review ends when the
    /// shortest guard says, counted from intake, and never later than it would have.
    pub fn redecide(
        mut self,
        decision: Decision,
        evidence_until: Option<Timestamp>,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Request, Rejection> {
        let State::Pending(pending) = self.state.clone() else { return Err(self.wrong()) };
        if now >= pending.expires_at {
            return Err(Rejection::TooLate);
        }
        let state = match &decision.effect {
            Effect::Forbid(reason) => State::Refused(reason.clone()),
            Effect::Permit => {
                let own = now.plus(lifetimes.grant);
                let expires_at = evidence_until.map_or(own, |until| until.min(own));
                State::Granted(Grant { minted_at: now, expires_at })
            }
            Effect::RequireApproval(needs) => {
                if !self.requirement().is_some_and(|before| before.same_content(needs)) {
                    self.content_version = self.content_version.saturating_add(1);
                }
                let expires_at = pending.expires_at.min(self.created_at.plus(needs.review_for));
                State::Pending(Pending { expires_at })
            }
        };
        self.decision = decision;
        Ok(self.to(state, now))
    }

    /// Nobody decided in time.
    pub fn expire(self, now: Timestamp) -> Result<Request, Rejection> {
        match &self.state {
            State::Pending(pending) if now < pending.expires_at => Err(Rejection::TooEarly),
            State::Pending(_) => Ok(self.to(State::Expired, now)),
            _ => Err(self.wrong()),
        }
    }

    /// Nobody carried it out in time.
    pub fn lapse(self, now: Timestamp) -> Result<Request, Rejection> {
        match &self.state {
            State::Granted(grant) if now < grant.expires_at => Err(Rejection::TooEarly),
            State::Granted(_) => Ok(self.to(State::Lapsed, now)),
            _ => Err(self.wrong()),
        }
    }

    /// The requester withdraws it.
    pub fn cancel(self, now: Timestamp) -> Result<Request, Rejection> {
        match &self.state {
            State::Pending(_) | State::Granted(_) => Ok(self.to(State::Cancelled, now)),
            _ => Err(self.wrong()),
        }
    }

    /// A later decision forbids what was pending or granted.
    pub fn refuse(
        mut self,
        decision: Decision,
        reason: ForbidReason,
        now: Timestamp,
    ) -> Result<Request, Rejection> {
        match &self.state {
            State::Pending(_) | State::Granted(_) => {
                self.decision = decision;
                Ok(self.to(State::Refused(reason), now))
            }
            _ => Err(self.wrong()),
        }
    }

    /// The enforcement point redeems the grant, under a third decision, which must permit: any other starts nothing and
    /// leads to [`Request::refuse`]. Repeating the same claim is not a transition: see [`Request::holds_claim`].
    pub fn claim(
        mut self,
        decision: Decision,
        execution: ExecutionId,
        claim: Sha256Digest,
        executor: impl Into<Executor>,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Request, Rejection> {
        let executor = executor.into();
        if executor != self.executor() {
            return Err(Rejection::NotTheExecutor);
        }
        match &self.state {
            State::Granted(grant) if now >= grant.expires_at => return Err(Rejection::TooLate),
            State::Granted(_) if decision.effect != Effect::Permit => return Err(self.wrong()),
            State::Granted(_) => {}
            _ if self.execution().is_some() => return Err(Rejection::AlreadyClaimed),
            _ => return Err(self.wrong()),
        }
        self.decision = decision;
        let lease_until = now.plus(lifetimes.lease);
        let execution =
            Execution { id: execution, claim, executor: executor.kind, started_at: now, lease_until };
        Ok(self.to(State::Executing(execution), now))
    }

    /// The execution that this claim already holds.
    pub fn holds_claim(&self, claim: Sha256Digest) -> Option<&Execution> {
        self.execution().filter(|execution| execution.claim == claim)
    }

    /// The execution ended.
    pub fn complete(
        self,
        execution: ExecutionId,
        kind: OutcomeKind,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Request, Rejection> {
        let State::Executing(held) = self.state.clone() else { return Err(self.wrong()) };
        if held.id != execution {
            return Err(Rejection::OtherExecution);
        }
        if now >= held.lease_until {
            return Err(Rejection::TooLate);
        }
        let state = match kind {
            OutcomeKind::Succeeded => State::Succeeded(held, outcome),
            OutcomeKind::Failed => State::Failed(held, outcome),
            OutcomeKind::Unknown => State::Unknown(held, outcome),
        };
        Ok(self.to(state, now))
    }

    /// Nobody reported in time: what happened is unknown, and is never tried again by itself.
    pub fn lose(self, now: Timestamp) -> Result<Request, Rejection> {
        match &self.state {
            State::Executing(execution) if now < execution.lease_until => Err(Rejection::TooEarly),
            State::Executing(_) => self.abandon("no outcome was reported before the lease ran out", now),
            _ => Err(self.wrong()),
        }
    }

    /// Whoever executed is gone, and nobody will report.
    pub fn abandon(self, why: &str, now: Timestamp) -> Result<Request, Rejection> {
        let State::Executing(held) = self.state.clone() else { return Err(self.wrong()) };
        let outcome = Outcome {
            summary: Untrusted::new(why),
            measures: BTreeMap::new(),
            result: None,
            recording: None,
            reported_by: Reporter::Nobody,
            at: now,
        };
        Ok(self.to(State::Unknown(held, outcome), now))
    }

    /// A named person says what an unknown outcome really was.
    pub fn resolve(mut self, by: PersonId, text: Untrusted, now: Timestamp) -> Result<Request, Rejection> {
        match &self.state {
            State::Unknown(..) if self.resolution.is_some() => Err(Rejection::AlreadyResolved),
            State::Unknown(..) => {
                self.resolution = Some(Resolution { by, text, at: now });
                self.updated_at = now;
                Ok(self)
            }
            _ => Err(self.wrong()),
        }
    }
}
