//! The deliberate way on from a database that is behind its published log.
//!
//! ```text
//!  published:  0 ──────────── n ──────────── p      origin A, key 1      stays as it is, as evidence
//!  restored:   0 ──────────── n
//!                             └─ log.restored, …    origin A/e2, key 2   goes on from here
//! ```
//!
//! What happened between `n` and `p` is known to the published log alone: grants that were used are there to be used
//! again, links are unused, revoked credentials work. So nothing of what was open or opens a door survives: all of it
//! ends in the transaction that begins the next epoch, or nothing does.

use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::directory::{AccessEnd, Operator};
use placet_core::entropy::{Entropy, random_bytes};
use placet_core::entry::{Draft, Kind};
use placet_core::id::EntryId;
use placet_core::request::{Request, State, Status};
use placet_ledger::SignedCheckpoint;
use placet_store::{LogName, PAGE_MAX, RequestFilter, Requires, Store, Transition, Write};

use crate::error::{CallError, rejected};
use crate::{drafts, successor};

/// What ended with the old epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The log from now on.
    pub name: LogName,
    /// How many entries of the restored database it begins with.
    pub size: u64,
    /// Requests that were open.
    pub requests: usize,
    /// People whose links, sessions and API tokens ended.
    pub people: usize,
    /// Agents whose tokens open nothing any more.
    pub agents: usize,
}

/// Begins the next epoch of a log whose restored database does not continue what was published. `published` is the last
/// checkpoint of the epoch that ends. No broker may be running on this store.
pub async fn accept_rollback(
    store: &dyn Store,
    entropy: &dyn Entropy,
    operator: &Operator,
    name: LogName,
    published: &SignedCheckpoint,
) -> Result<Accepted, CallError> {
    let (log, directory, now) = (store.log().await?, store.directory().await?, store.now());
    let seal = |draft: Draft| draft.seal(EntryId::new(now, entropy), entropy);
    let head = log.frontier.head();
    let (checkpoint, size) = (text(published.note()), head.size);
    let restored = drafts::operated(Kind::LogRestored, operator, ("origin", name.origin.clone()))
        .verdict("rollback_accepted")
        .commit("published", checkpoint)
        .commit("published_size", number(published.head().size))
        .commit("restored_size", number(size))
        .commit("restored_root", text(&head.root.to_string()))
        .commit("restored_origin", text(&log.name.origin));
    let mut transition = Transition {
        requires: vec![Requires::DirectoryEpoch(directory.epoch)],
        writes: vec![Write::Epoch(name.clone())],
        entries: vec![seal(restored)],
    };
    let open = open_requests(store).await?;
    let requests = open.len();
    for request in open {
        let (version, id) = (request.version, request.id);
        let why = "the database was restored from a backup; what became of this is not in it";
        let next = match &request.state {
            State::Executing(_) => request.abandon(why, now),
            _ => request.cancel(now),
        };
        let next = next.map_err(|rejection| rejected(rejection, id))?;
        let draft = match (next.execution(), next.outcome()) {
            (Some(execution), Some(outcome)) => drafts::finished(&next, execution, outcome),
            _ => drafts::ended(Kind::RequestCancelled, &next).verdict("restored"),
        };
        transition.entries.push(seal(draft));
        transition.writes.push(successor(version, next));
    }
    let ends = directory.people.keys().map(|person| Write::EndAccess(*person, AccessEnd::Revoked));
    transition.writes.extend(ends);
    for agent in directory.agents.values() {
        let mut agent = agent.clone();
        // The hash of nothing that anybody knows; an operator hands out a new token.
        agent.token_hash = Sha256Digest::of(&random_bytes::<32>(entropy));
        agent.credential_version = agent.credential_version.saturating_add(1);
        // It may have been another's since, or nobody's.
        agent.workload = None;
        transition.writes.push(Write::Agent(agent));
    }
    for pep in directory.peps.values() {
        let mut pep = pep.clone();
        pep.token_hash = Sha256Digest::of(&random_bytes::<32>(entropy));
        pep.credential_version = pep.credential_version.saturating_add(1);
        transition.writes.push(Write::Pep(pep));
    }
    let committed = store.commit(transition).await;
    committed.map_err(|error| CallError::Unavailable(format!("the new epoch was not begun: {error}")))?;
    Ok(Accepted { name, size, requests, people: directory.people.len(), agents: directory.agents.len() })
}

/// Every request that is not over. There are as many as all principals may have pending together.
async fn open_requests(store: &dyn Store) -> Result<Vec<Request>, CallError> {
    let statuses = vec![Status::Pending, Status::Granted, Status::Executing];
    let mut open = Vec::new();
    let mut before = None;
    loop {
        let filter =
            RequestFilter { statuses: statuses.clone(), before, limit: PAGE_MAX, ..RequestFilter::default() };
        let page = store.requests(filter).await?;
        before = page.last().map(|stored| stored.request.id);
        let last = page.len() < PAGE_MAX;
        open.extend(page.into_iter().map(|stored| stored.request));
        if last {
            return Ok(open);
        }
    }
}

fn text(text: &str) -> Value {
    Value::string(text)
}

fn number(number: u64) -> Value {
    Value::integer(i64::try_from(number).unwrap_or(i64::MAX))
}
