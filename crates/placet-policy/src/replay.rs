//! A recorded call under another bundle: mapped anew, decided anew, without votes.

use std::collections::BTreeSet;

use placet_core::action::{ActionRequest, Facts, Grade};
use placet_core::decision::{Effect, ForbidReason, RoleName};
use placet_core::directory::Directory;
use placet_core::id::EvaluationId;
use placet_core::time::Timestamp;

use crate::bundle::Bundle;
use crate::decide::Question;
use crate::mapping::{MapRefusal, Mapped};

/// A call as it was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// What was asked.
    pub action: &'a ActionRequest,
    /// The enforcement point's grade.
    pub grade: Grade,
    /// When it came.
    pub at: Timestamp,
}

/// What a bundle says of a recorded call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayOutcome {
    /// `permit`, `ask` or `deny`.
    pub effect: &'static str,
    /// The policies that say so.
    pub by: BTreeSet<String>,
    /// The roles that people are asked in.
    pub roles: BTreeSet<RoleName>,
    /// What they are asked for, `0 of 2 data-owners`.
    pub asks: Vec<String>,
    /// Why not.
    pub reason: Option<String>,
    /// Whether somebody in the chain may not act any more, so that every bundle says no.
    pub chain_broken: bool,
}

impl Bundle {
    /// Decides a recorded call as if it came now, from the people there are now and at the time it came.
    pub fn replay(&self, recorded: Recorded<'_>, directory: &Directory) -> ReplayOutcome {
        let (action, facts) = match self.map_again(recorded.action) {
            Ok(mapped) => mapped,
            Err(refusal) => return ReplayOutcome::deny(refusal.to_string()),
        };
        let judgement = self.decide(&Question {
            action: &action,
            facts: &facts,
            grade: recorded.grade,
            directory,
            votes: &[],
            now: recorded.at,
            evaluation: EvaluationId::from_bytes([0; 16]),
        });
        let by = judgement.decision.because.iter().map(|because| because.policy.clone()).collect();
        match judgement.decision.effect {
            Effect::Permit => ReplayOutcome { by, ..ReplayOutcome::of("permit") },
            Effect::Forbid(reason) => ReplayOutcome {
                by,
                chain_broken: reason == ForbidReason::ChainBroken,
                ..ReplayOutcome::deny(reason.sentence())
            },
            Effect::RequireApproval(requirement) => ReplayOutcome {
                by,
                roles: requirement.roles(),
                asks: requirement.guards.iter().map(|guard| guard.needs.sentence(&judgement.tally)).collect(),
                ..ReplayOutcome::of("ask")
            },
        }
    }

    /// The call itself under this bundle's mapping, which may call it something else than it was called then.
    fn map_again(&self, recorded: &ActionRequest) -> Result<(ActionRequest, Facts), MapRefusal> {
        let Mapped { action, resource, facts } = self.mapped(recorded)?;
        Ok((ActionRequest { action, resource, ..recorded.clone() }, facts))
    }
}

impl ReplayOutcome {
    fn of(effect: &'static str) -> Self {
        ReplayOutcome {
            effect,
            by: BTreeSet::new(),
            roles: BTreeSet::new(),
            asks: Vec::new(),
            reason: None,
            chain_broken: false,
        }
    }

    fn deny(reason: String) -> Self {
        ReplayOutcome { reason: Some(reason), ..ReplayOutcome::of("deny") }
    }
}
