//! Erasing what is personal: its keys are destroyed, and with them every copy of it, in files and backups of the data.
//! The ledger stays whole and verifies; what it committed to cannot be disclosed any more.
//!
//! ```text
//!  disabled or revoked? nothing open? ──► entry key.destroyed ──► keys destroyed ──► a person without a name
//! ```
//!
//! The record comes before the deed: between the two, a repeated call finishes it.

use std::collections::BTreeSet;

use placet_core::action::Principal;
use placet_core::directory::{AccessEnd, Agent, AgentKind, Operator, Person, Status};
use placet_core::entry::Kind;
use placet_core::request;
use placet_store::keys::Subject;
use placet_store::{CommitError, RequestFilter, Requires, Transition, Write};

use crate::error::CallError;
use crate::{Broker, drafts};

/// What stands where a name was.
const ERASED_NAME: &str = "(erased)";

impl Broker {
    /// Erases a person who was disabled: name, address, what entries say about them, what they asked for themselves. What
    /// they wrote on an agent's request is that request's, and goes with it.
    pub async fn erase_person(&self, operator: &Operator, who: &str) -> Result<Person, CallError> {
        let directory = self.directory().await?;
        let named =
            directory.people.values().filter(|person| person.id.to_string() == who || person.name == who);
        let person = only_ended(named, |person| person.status, "person disable")?;
        self.require_nothing_open(Principal::Person(person.id)).await?;
        let draft = drafts::operated(Kind::KeyDestroyed, operator, ("person", person.id.to_string()));
        self.destroy(draft.verdict("person"), Subject::Person(person.id), directory.epoch).await?;
        let erased = Person {
            name: ERASED_NAME.to_owned(),
            email: None,
            groups: BTreeSet::new(),
            operator_uid: None,
            ..person
        };
        // Under a new key: that somebody was there is not personal, and the directory has to notice.
        let draft = drafts::operated(Kind::PersonChanged, operator, ("person", erased.id.to_string()));
        self.commit_once(Transition {
            requires: vec![Requires::DirectoryEpoch(directory.epoch)],
            writes: vec![Write::EndAccess(erased.id, AccessEnd::Disabled), Write::Person(erased.clone())],
            entries: vec![self.seal(draft.verdict("erased"))],
        })
        .await?;
        Ok(erased)
    }

    /// Erases what an agent or pipeline that was revoked asked for: requests, votes and reasons, cards, disclosures.
    pub async fn erase_agent(&self, operator: &Operator, which: &str) -> Result<Agent, CallError> {
        let directory = self.directory().await?;
        let named =
            directory.agents.values().filter(|agent| agent.id.to_string() == which || agent.name == which);
        let agent = only_ended(named, |agent| agent.status, "agent revoke")?;
        self.require_nothing_open(match agent.kind {
            AgentKind::Agent => Principal::Agent(agent.id),
            AgentKind::Pipeline => Principal::Pipeline(agent.id),
        })
        .await?;
        let draft = drafts::operated(Kind::KeyDestroyed, operator, ("agent", agent.id.to_string()));
        self.destroy(draft.verdict("agent"), Subject::Agent(agent.id), directory.epoch).await?;
        Ok(agent)
    }

    async fn destroy(
        &self,
        draft: placet_core::entry::Draft,
        subject: Subject,
        epoch: u64,
    ) -> Result<(), CallError> {
        let requires = vec![Requires::DirectoryEpoch(epoch)];
        self.commit_once(Transition { requires, writes: Vec::new(), entries: vec![self.seal(draft)] })
            .await?;
        let failed = |error: CommitError| match error {
            CommitError::Stopped(why) => CallError::Stopped(why),
            other => CallError::Unavailable(other.to_string()),
        };
        self.0.commit.erase(subject).await.map_err(failed)?;
        // Whoever holds the root key could test a guess on the tokens that the search index keeps.
        self.0.commit.reindex().await.map(drop).map_err(failed)
    }

    /// What still waits or runs could not go on without its key.
    async fn require_nothing_open(&self, principal: Principal) -> Result<(), CallError> {
        let statuses = request::Status::ALL.into_iter().filter(|status| status.is_open()).collect();
        let filter =
            RequestFilter { principal: Some(principal), statuses, limit: 1, ..RequestFilter::default() };
        match self.0.views.requests(filter).await?.first() {
            None => Ok(()),
            Some(open) => Err(CallError::Conflict {
                code: "still_open",
                message: format!(
                    "{} is still {}. Erase when it has ended, by a decision or by its deadline.",
                    open.request.id,
                    open.request.status().as_str()
                ),
                request: Some(open.request.id),
            }),
        }
    }
}

/// The only one of them, if their access has ended: a slip of the hand must not erase somebody who works here.
fn only_ended<'a, T: Clone + 'a>(
    named: impl Iterator<Item = &'a T>,
    status: impl Fn(&T) -> Status,
    end_with: &str,
) -> Result<T, CallError> {
    let (active, ended): (Vec<&T>, Vec<&T>) = named.partition(|one| status(one) == Status::Active);
    match (ended.as_slice(), active.as_slice()) {
        ([one], []) => Ok((*one).clone()),
        ([], []) => Err(CallError::NotFound),
        ([], _) => Err(CallError::Conflict {
            code: "still_active",
            message: format!("Erasing cannot be undone, so access ends first: `placet {end_with}`."),
            request: None,
        }),
        _ => Err(CallError::Invalid {
            code: "ambiguous",
            message: "more than one has this name: use the id".to_owned(),
            pointer: None,
        }),
    }
}
