//! Fills a store with a past: requests of several agents on several datasets with their entries, disclosures and votes,
//! as a busy placet would have left them. For measurements, and for tests that need much.

#![allow(clippy::unwrap_used, reason = "a test, as a library")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Grade, PepKind, Pins, Principal, ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::decision::{Decision, Effect};
use placet_core::digest::{BundleDigest, Sha256Digest, ShortCode};
use placet_core::entropy::Entropy;
use placet_core::entry::{Draft, Kind, Sealed};
use placet_core::id::{AgentId, EntryId, EvaluationId, ExecutionId, PersonId, RequestId, SessionId};
use placet_core::request::{Intake, Lifetimes, Outcome, OutcomeKind, Reporter, Request};
use placet_core::review::{Assurance, Evidence, Verdict, Vote};
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_core::time::Clock;
use tokio::task::JoinSet;

use crate::conformance::HandClock;
use crate::{Store, Transition, Write};

/// What the past is like.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// How many requests.
    pub requests: u64,
    /// How many agents ask, in turn.
    pub agents: u8,
    /// How many datasets there are.
    pub datasets: u64,
    /// How much time lies between two requests.
    pub pace: Duration,
    /// Each so many-th request was reviewed.
    pub reviewed_every: u64,
}

/// How many requests are written at once: as many as a batch takes.
const AT_ONCE: u64 = 512;

/// The agent with this number.
pub fn agent(number: u8) -> AgentId {
    AgentId::from_bytes([number; 16])
}

/// The person for whom all agents ask.
pub fn sponsor() -> PersonId {
    PersonId::from_bytes([101; 16])
}

/// The person who reviews.
pub fn reviewer() -> PersonId {
    PersonId::from_bytes([102; 16])
}

/// The dataset with this number, of those that a past has.
pub fn dataset(number: u64) -> ResourceRef {
    ResourceRef::new("Dataset", &format!("shop.table{number}")).unwrap()
}

/// Writes the past, and moves the clock through it.
pub async fn fill(store: Arc<dyn Store>, clock: &HandClock, entropy: Arc<dyn Entropy>, past: Past) {
    for first in (0..past.requests).step_by(AT_ONCE as usize) {
        let mut writing = JoinSet::new();
        for number in first..past.requests.min(first + AT_ONCE) {
            clock.advance(past.pace);
            let life = Life { clock, entropy: entropy.as_ref(), past };
            let (store, transition) = (Arc::clone(&store), life.of(number));
            writing.spawn(async move { store.commit(transition).await });
        }
        while let Some(written) = writing.join_next().await {
            written.unwrap().unwrap();
        }
    }
}

struct Life<'a> {
    clock: &'a HandClock,
    entropy: &'a dyn Entropy,
    past: Past,
}

fn text(text: impl ToString) -> Value {
    Value::string(text.to_string())
}

impl Life<'_> {
    /// A whole life in one transition: asked, perhaps voted on, carried out.
    fn of(&self, number: u64) -> Transition {
        let now = self.clock.now();
        let reviewed = number.is_multiple_of(self.past.reviewed_every);
        let request = self.asked(number);
        let mut entries = vec![self.received(&request)];
        let mut next = request;
        if reviewed {
            next.reviewed = true;
            next.votes.push(self.vote(&next));
            entries.push(self.voted(&next));
            entries.push(self.about(Draft::new(Kind::DecisionMade), &next));
        }
        let lifetimes = lifetimes();
        let execution = ExecutionId::new(now, self.entropy);
        let claim = Sha256Digest::of(&number.to_be_bytes());
        let decision = self.decision();
        next = next.claim(decision, execution, claim, PepKind::Command, lifetimes, now).unwrap();
        entries.push(self.about(Draft::new(Kind::ExecutionStarted), &next));
        let outcome = Outcome {
            summary: Untrusted::new("exit 0"),
            measures: BTreeMap::from([("bytes".to_owned(), 4096), ("exit_code".to_owned(), 0)]),
            result: Some(claim),
            recording: None,
            reported_by: Reporter::Placet,
            at: now,
        };
        next = next.complete(execution, OutcomeKind::Succeeded, outcome, now).unwrap();
        entries.push(self.about(Draft::new(Kind::ExecutionFinished), &next));
        Transition { requires: Vec::new(), writes: vec![Write::Request(Box::new(next))], entries }
    }

    fn decision(&self) -> Decision {
        Decision {
            evaluation: EvaluationId::new(self.clock.now(), self.entropy),
            bundle: BundleDigest::of_files([]),
            at: self.clock.now(),
            effect: Effect::Permit,
            because: Vec::new(),
        }
    }

    fn asked(&self, number: u64) -> Request {
        let now = self.clock.now();
        let id = RequestId::new(now, self.entropy);
        // Of the two strides one has no factor in common with the other's usual numbers: all pairs come.
        let which = u8::try_from(number % u64::from(self.past.agents)).unwrap();
        let action = ActionRequest {
            tenant: "default".to_owned(),
            chain: ActorChain {
                requester: Principal::Agent(agent(which)),
                through: Vec::new(),
                on_behalf_of: sponsor(),
            },
            pep: PepKind::Command,
            target: "runner:local".to_owned(),
            action: ActionName::parse("data.export").unwrap(),
            resource: dataset((number * 7919 / 3) % self.past.datasets),
            arguments: Value::object([("argv", Value::Array(vec![text("pg_dump"), text(number)]))]),
            pins: Pins::default(),
        };
        let canonical = action.canonical().unwrap();
        let intake = Intake {
            id,
            short_code: ShortCode::derive(&Secret::new("codes"), id, canonical.digest(), 0),
            action,
            canonical,
            taken_in_by: None,
            grade: Grade::Enforced,
            justification: Some(Untrusted::new("the weekly report of the finance department")),
        };
        Request::open(intake, self.decision(), lifetimes(), now)
    }

    fn vote(&self, request: &Request) -> Vote {
        Vote {
            person: reviewer(),
            verdict: Verdict::Approve,
            reason: Some(Untrusted::new("as every week")),
            round: 1,
            content_version: request.content_version,
            card: Sha256Digest::of(request.canonical.as_str().as_bytes()),
            roles: BTreeSet::new(),
            assurance: Assurance::L1,
            evidence: Evidence::Session(SessionId::new(self.clock.now(), self.entropy)),
            vouched: false,
            self_reviewed: false,
            at: self.clock.now(),
        }
    }

    fn received(&self, request: &Request) -> Sealed {
        let draft = Draft::new(Kind::RequestReceived)
            .verdict("permit")
            .commit("requester", text(request.requester()))
            .commit("on_behalf_of", text(request.action.chain.on_behalf_of))
            .commit("resource", text(request.action.resource.visible()))
            .commit("justification", text("the weekly report of the finance department"))
            .commit("short_code", text(&request.short_code));
        self.about(draft, request)
    }

    fn voted(&self, request: &Request) -> Sealed {
        let draft = Draft::new(Kind::VoteCast).verdict("approve").commit("person", text(reviewer()));
        self.about(draft.commit("reason", text("as every week")), request)
    }

    fn about(&self, draft: Draft, request: &Request) -> Sealed {
        let digest = request.canonical.digest();
        let draft = draft.about(request).under(request.decision.bundle).commit("digest", text(digest));
        draft.seal(EntryId::new(self.clock.now(), self.entropy), self.entropy)
    }
}

fn lifetimes() -> Lifetimes {
    Lifetimes { grant: Duration::from_secs(300), lease: Duration::from_secs(900) }
}
