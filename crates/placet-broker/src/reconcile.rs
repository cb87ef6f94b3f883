//! What happens by itself: waiting callers are woken, deadlines pass, and the log is published.
//!
//! Each reconciler takes no input, looks at what is stored, and does what is due. It can run twice, or beside itself in
//! another process: the transitions carry their preconditions.

use std::time::Duration;

use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::request::{Request, State};
use placet_store::{Due, PAGE_MAX, Requires, Transition, Write};
use tokio::sync::{broadcast, watch};
use tracing::warn;

use crate::error::{CallError, rejected};
use crate::{Broker, attempts, drafts, successor};

/// How many deadlines are handled in one go.
const DUE_MAX: usize = PAGE_MAX;
/// How often deadlines are looked at, whatever else happens.
const DEADLINE_POLL: Duration = Duration::from_secs(1);
/// How often what was kept for an hour is looked at.
const FORGET_POLL: Duration = Duration::from_secs(60);
impl Broker {
    /// Runs the reconcilers until the signal says stop.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        tokio::join!(
            self.run_hub(stop.clone()),
            self.run_deadlines(stop.clone()),
            self.run_forgetting(stop.clone()),
            self.run_publisher(stop)
        );
    }

    /// Passes the store's changes on to those who wait.
    async fn run_hub(&self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.0.views.changes();
        // Whoever began to wait before we listened looks again.
        self.0.hub.wake_all();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                _ = stop.wait_for(|stop| *stop) => return self.0.hub.close(),
            };
            match change {
                Ok(change) => {
                    if let Some(id) = change.request {
                        self.0.hub.wake(id);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.0.hub.wake_all(),
                Err(broadcast::error::RecvError::Closed) => return self.0.hub.close(),
            }
        }
    }

    async fn run_deadlines(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.pass_deadlines().await {
                warn!(error = %error, "deadlines could not be passed");
            }
            tokio::select! {
                () = tokio::time::sleep(DEADLINE_POLL) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn run_forgetting(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.forget_deliveries().await {
                warn!(error = %error, "what came out of executions could not be forgotten");
            }
            tokio::select! {
                () = tokio::time::sleep(FORGET_POLL) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Deletes what came out of executions and was kept for long enough. Where there is nothing, nothing is written.
    pub async fn forget_deliveries(&self) -> Result<(), CallError> {
        let writes = vec![Write::ForgetDeliveries];
        self.commit_once(Transition { writes, ..Transition::default() }).await.map(drop)
    }

    /// Ends every review, grant and execution whose time is over. Gives how many.
    pub async fn pass_deadlines(&self) -> Result<usize, CallError> {
        let (mut passed, mut after) = (0, None);
        let now = self.now();
        loop {
            // From page to page, so that those that cannot be passed do not stand in the way of others.
            let due = self.0.views.due(now, after, DUE_MAX).await?;
            let some_left = due.len() == DUE_MAX;
            after = due.last().copied();
            for Due { request: id, .. } in due {
                let _turn = self.0.locks.lock(id.as_bytes()).await;
                match attempts(|| self.try_pass(id)).await {
                    Ok(true) => passed += 1,
                    Ok(false) => {}
                    // It moved meanwhile, which is fine; anything else stays due and is tried again.
                    Err(CallError::Conflict { .. } | CallError::NotFound) => {}
                    Err(error) => warn!(request.id = %id, error = %error, "a deadline could not be passed"),
                }
            }
            if !some_left {
                return Ok(passed);
            }
        }
    }

    /// Whether there was something to pass: somebody else may have been faster.
    async fn try_pass(&self, id: RequestId) -> Result<bool, crate::error::Attempt> {
        let request = self.stored(id).await?.request;
        let (version, now, deadline) = (request.version, self.now(), request.deadline());
        let (kind, next) = match &request.state {
            State::Pending(_) => (Kind::RequestExpired, request.expire(now)),
            State::Granted(_) => (Kind::RequestLapsed, request.lapse(now)),
            State::Executing(_) => (Kind::ExecutionFinished, request.lose(now)),
            _ => return Ok(false),
        };
        let next: Request = next.map_err(|rejection| rejected(rejection, id))?;
        let entry = match (next.execution(), next.outcome()) {
            (Some(execution), Some(outcome)) => drafts::finished(&next, execution, outcome),
            _ => drafts::ended(kind, &next),
        };
        let entries = vec![self.seal(entry)];
        let requires = deadline.map(Requires::NotBefore).into_iter().collect();
        let writes = vec![successor(version, next)];
        self.commit(Transition { requires, writes, entries }).await?;
        Ok(true)
    }
}
