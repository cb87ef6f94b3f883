//! The executions of this process: which request is being run by which, and whose output is where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_core::action::Principal;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::time::Timestamp;
use tokio::sync::watch;

use crate::runner::exec::{Running, Stop};
use crate::runner::room::Room;
use crate::runner::spool::Spool;

/// How many programs this process ever runs at a time; a bundle's `concurrent_max` is usually smaller.
const RUNNING_MAX: usize = 64;
/// For so long a place is kept free for an agent that was turned away: three times what it is told to wait.
const KEPT_FREE_FOR: Duration = Duration::from_secs(15);
/// How many finished executions keep their output at most; beyond, the oldest is deleted.
const KEPT_MAX: usize = 128;

/// All executions. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Executions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    running: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    entries: HashMap<RequestId, Entry>,
    draining: bool,
    concurrent_max: Option<usize>,
    /// Who was turned away because all places were taken, and when.
    turned_away: HashMap<Principal, Timestamp>,
}

struct Entry {
    principal: Principal,
    phase: Phase,
}

enum Phase {
    Starting,
    Started { execution: ExecutionId, spool: Arc<Spool>, running: Option<Running> },
}

/// What somebody who wants to run a request finds.
pub(super) enum Place {
    /// Nobody runs it: the place is theirs.
    Free(Slot),
    /// It runs, or ran.
    Taken(ExecutionId),
    /// Somebody is just doing it.
    Starting,
    /// It is somebody else's.
    NotYours,
    /// As many run as may.
    Busy,
    /// None are started any more.
    Draining,
}

/// A place among the running programs, until it is dropped. If nothing was started, nothing is left of it.
pub(super) struct Slot {
    executions: Executions,
    request: RequestId,
}

impl Executions {
    pub(super) fn enter(&self, principal: Principal, request: RequestId, now: Timestamp) -> Place {
        let mut state = self.state();
        match state.entries.get(&request) {
            Some(entry) if entry.principal != principal => return Place::NotYours,
            Some(Entry { phase: Phase::Started { execution, .. }, .. }) => return Place::Taken(*execution),
            Some(_) => return Place::Starting,
            None => {}
        }
        if state.draining {
            return Place::Draining;
        }
        let running_max = state.concurrent_max.unwrap_or(RUNNING_MAX).min(RUNNING_MAX);
        let free = running_max.saturating_sub(*self.0.running.borrow());
        if free <= state.kept_free(principal, now) {
            state.turned_away.insert(principal, now);
            return Place::Busy;
        }
        state.turned_away.remove(&principal);
        state.entries.insert(request, Entry { principal, phase: Phase::Starting });
        self.0.running.send_modify(|running| *running += 1);
        Place::Free(Slot { executions: self.clone(), request })
    }

    /// The bundle in force says how many may run at a time.
    pub(super) fn limit(&self, concurrent_max: usize) {
        self.state().concurrent_max = Some(concurrent_max);
    }

    /// Asks a running program of the principal's to end. Whether there is one.
    pub(super) fn cancel(&self, principal: Principal, request: RequestId) -> bool {
        let state = self.state();
        let entry = state.entries.get(&request).filter(|entry| entry.principal == principal);
        match entry.map(|entry| &entry.phase) {
            Some(Phase::Started { running: Some(running), spool, .. }) if !has_ended(spool) => {
                running.stop(Stop::Cancelled);
                true
            }
            _ => false,
        }
    }

    /// The output of the principal's own execution.
    pub(super) fn output(&self, principal: Principal, request: RequestId) -> Option<Arc<Spool>> {
        let state = self.state();
        let entry = state.entries.get(&request).filter(|entry| entry.principal == principal)?;
        match &entry.phase {
            Phase::Started { spool, .. } => Some(Arc::clone(spool)),
            Phase::Starting => None,
        }
    }

    /// Forgets executions that ended long enough ago, and the oldest ones where there are too many.
    pub(super) fn sweep(&self, now: Timestamp, kept_for: Duration) {
        let mut state = self.state();
        let mut ended: Vec<(Timestamp, RequestId)> =
            state.entries.iter().filter_map(|(request, entry)| Some((ended_at(entry)?, *request))).collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(KEPT_MAX);
        for (place, (at, request)) in ended.into_iter().enumerate() {
            if place >= surplus && now.since(at) < kept_for {
                continue;
            }
            if let Some(Entry { phase: Phase::Started { spool, .. }, .. }) = state.entries.remove(&request) {
                spool.discard();
            }
        }
    }

    /// Deletes the oldest output of programs that have ended, until there is room for more. Whether there is.
    pub(super) fn make_room(&self, room: &Room) -> bool {
        let mut state = self.state();
        while !room.is_roomy() {
            let ended = |(request, entry): (&RequestId, &Entry)| Some((ended_at(entry)?, *request));
            let Some((_, oldest)) = state.entries.iter().filter_map(ended).min() else { return false };
            if let Some(Entry { phase: Phase::Started { spool, .. }, .. }) = state.entries.remove(&oldest) {
                spool.discard();
            }
        }
        true
    }

    pub(super) async fn drain(&self) {
        {
            let mut state = self.state();
            state.draining = true;
            for entry in state.entries.values() {
                if let Phase::Started { running: Some(running), spool, .. } = &entry.phase
                    && !has_ended(spool)
                {
                    running.stop(Stop::Cancelled);
                }
            }
        }
        // The sender is ours, so it cannot be closed.
        let _ = self.0.running.subscribe().wait_for(|running| *running == 0).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many places are not for this agent: one for each that was turned away and has fewer than it has.
    fn kept_free(&mut self, principal: Principal, now: Timestamp) -> usize {
        self.turned_away.retain(|_, at| now.since(*at) < KEPT_FREE_FOR);
        let own = self.running_of(principal);
        let waits = |other: &&Principal| **other != principal && self.running_of(**other) < own;
        self.turned_away.keys().filter(waits).count()
    }

    fn running_of(&self, principal: Principal) -> usize {
        let entries = self.entries.values().filter(|entry| entry.principal == principal);
        entries.filter(|entry| ended_at(entry).is_none()).count()
    }
}

impl Slot {
    /// The execution has begun; its output can be read from now on.
    pub(super) fn start(&self, execution: ExecutionId, spool: Arc<Spool>, running: Option<Running>) {
        let mut state = self.executions.state();
        if state.draining
            && let Some(running) = &running
        {
            running.stop(Stop::Cancelled);
        }
        if let Some(entry) = state.entries.get_mut(&self.request) {
            entry.phase = Phase::Started { execution, spool, running };
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.executions.state();
        if state.entries.get(&self.request).is_some_and(|entry| matches!(entry.phase, Phase::Starting)) {
            state.entries.remove(&self.request);
        }
        self.executions.0.running.send_modify(|running| *running = running.saturating_sub(1));
    }
}

fn has_ended(spool: &Spool) -> bool {
    spool.progress().borrow().ended.is_some()
}

fn ended_at(entry: &Entry) -> Option<Timestamp> {
    match &entry.phase {
        Phase::Started { spool, .. } => spool.progress().borrow().ended,
        Phase::Starting => None,
    }
}

#[cfg(test)]
mod tests {
    use placet_core::id::AgentId;

    use super::*;

    fn agent(number: u8) -> Principal {
        Principal::Agent(AgentId::from_bytes([number; 16]))
    }

    fn request(number: u8) -> RequestId {
        RequestId::from_bytes([number; 16])
    }

    #[test]
    fn who_was_turned_away_comes_before_who_has_more() {
        let (greedy, patient, executions) = (agent(1), agent(2), Executions::default());
        executions.limit(2);
        let at = |seconds: u64| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        let enter = |who, number, seconds| match executions.enter(who, request(number), at(seconds)) {
            Place::Free(slot) => Some(slot),
            Place::Busy => None,
            _ => panic!("neither free nor busy"),
        };
        // Alone, an agent may have every place.
        let first = enter(greedy, 1, 0).unwrap();
        let _second = enter(greedy, 2, 0).unwrap();
        assert!(enter(patient, 3, 1).is_none());
        drop(first);
        // The place that is free now is not for who has one already, however often it asks.
        assert!((2..6).all(|seconds| enter(greedy, 4, seconds).is_none()));
        let third = enter(patient, 3, 6).unwrap();
        // Nothing is kept for who got what it wanted.
        drop(third);
        let fourth = enter(greedy, 5, 7).unwrap();
        assert!(enter(patient, 6, 8).is_none());
        drop(fourth);
        // A place is not kept for who does not come back.
        assert!(enter(greedy, 7, 22).is_none());
        assert!(enter(greedy, 7, 23).is_some());
    }
}
