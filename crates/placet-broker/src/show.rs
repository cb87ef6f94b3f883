//! Requests as their readers see them.

use std::collections::BTreeSet;

use placet_core::action::{ActionRequest, Facts, Grade, Principal};
use placet_core::decision::Tally;
use placet_core::directory::{Agent, Directory};
use placet_core::id::EvaluationId;
use placet_core::request::{Request, Status};
use placet_core::review::{Assurance, Standing, Verdict, VerifiedReviewer, Vote};
use placet_policy::{Judgement, Question};
use placet_store::StoredRequest;

use crate::error::CallError;
use crate::intake::Caller;
use crate::{Broker, Seen, Snapshot};

impl Broker {
    /// A fresh id for an evaluation of policy.
    pub(crate) fn evaluation(&self) -> EvaluationId {
        EvaluationId::new(self.now(), self.0.entropy.as_ref())
    }

    /// A stored request with the votes that count now and the names of who asks.
    pub(crate) async fn seen(&self, stored: StoredRequest) -> Result<Seen, CallError> {
        if stored.request.status() == Status::Pending {
            return Ok(self.snapshot().await?.seen(stored));
        }
        let directory = self.0.views.directory().await?;
        Ok(seen(stored, Tally::default(), &directory))
    }

    /// The same for a whole page, under one snapshot.
    pub(crate) async fn seen_all(&self, page: Vec<StoredRequest>) -> Result<Vec<Seen>, CallError> {
        if page.iter().any(|stored| stored.request.status() == Status::Pending) {
            let snapshot = self.snapshot().await?;
            return Ok(page.into_iter().map(|stored| snapshot.seen(stored)).collect());
        }
        let directory = self.0.views.directory().await?;
        Ok(page.into_iter().map(|stored| seen(stored, Tally::default(), &directory)).collect())
    }
}

fn seen(stored: StoredRequest, tally: Tally, directory: &Directory) -> Seen {
    let chain = &stored.request.action.chain;
    Seen {
        requester_name: name_of(chain.requester, directory),
        on_behalf_of_name: name_of(Principal::Person(chain.on_behalf_of), directory),
        tally,
        stored,
    }
}

/// The name under which somebody is known, or their id.
pub(crate) fn name_of(principal: Principal, directory: &Directory) -> String {
    let name = match principal {
        Principal::Agent(id) | Principal::Pipeline(id) => directory.agents.get(&id).map(|agent| &agent.name),
        Principal::Person(id) => directory.people.get(&id).map(|person| &person.name),
    };
    name.map_or_else(|| principal.to_string(), |name| placet_core::text::visible(name))
}

impl Snapshot {
    /// A request under this snapshot.
    pub(crate) fn seen(&self, stored: StoredRequest) -> Seen {
        let is_pending = stored.request.status() == Status::Pending;
        let tally = if is_pending { self.tally(&stored.request) } else { Tally::default() };
        seen(stored, tally, &self.directory)
    }

    /// Whether the credential that the caller was recognised by still opens the door: it may have been revoked, or
    /// rotated, since the call began.
    pub(crate) fn admits(&self, caller: &Caller) -> Result<(), CallError> {
        let known = self.directory.active_agent(caller.agent.id);
        let same = |agent: &Agent| {
            agent.principal() == caller.principal
                && agent.credential_version == caller.agent.credential_version
        };
        if known.is_some_and(same) { Ok(()) } else { Err(CallError::Unauthenticated) }
    }

    /// One decision of policy under this snapshot.
    pub(crate) fn decide(
        &self,
        action: &ActionRequest,
        facts: &Facts,
        grade: Grade,
        votes: &[&Vote],
        evaluation: EvaluationId,
    ) -> Judgement {
        let directory = self.directory.as_ref();
        self.bundle.decide(&Question { action, facts, grade, directory, votes, now: self.now, evaluation })
    }

    /// The votes on a request that count now. None do while its facts cannot be read under this bundle.
    pub(crate) fn tally(&self, request: &Request) -> Tally {
        let votes = request.approvals(self.now);
        if votes.is_empty() {
            return Tally::default();
        }
        self.with_question(request, &votes, |question| self.bundle.tally(question)).unwrap_or_default()
    }

    /// How a reviewer stands to a request, for this verdict.
    pub(crate) fn standing(
        &self,
        request: &Request,
        reviewer: &VerifiedReviewer,
        verdict: Verdict,
    ) -> Standing {
        let standing = |question: &Question<'_>| self.bundle.standing(question, reviewer, verdict);
        let mut standing = self.with_question(request, &[], standing).unwrap_or_else(|| Standing {
            active: self.directory.active_person(reviewer.person).is_some(),
            roles: BTreeSet::new(),
            conflict: self.directory.conflicts(&request.action.chain).get(&reviewer.person).copied(),
            self_review: false,
            vouched: false,
            vouched_counts: false,
            token_may_approve: false,
            assurance_min: Assurance::L3,
        });
        // An operator whom the directory does not know may be anyone, also somebody in conflict: what they let in is
        // vouched. Otherwise it would pay not to be known.
        standing.vouched |= reviewer.minted_by.is_none();
        standing
    }

    /// Asks about a stored request, if its facts can be read under this bundle.
    fn with_question<T>(
        &self,
        request: &Request,
        votes: &[&Vote],
        ask: impl FnOnce(&Question<'_>) -> T,
    ) -> Option<T> {
        let facts = self.bundle.facts_again(&request.action).ok()?;
        Some(ask(&Question {
            action: &request.action,
            facts: &facts,
            grade: request.grade,
            directory: &self.directory,
            votes,
            now: self.now,
            evaluation: request.decision.evaluation,
        }))
    }
}
