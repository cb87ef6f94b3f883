//! What happens by itself: deadlines pass, and the log is published.
//!
//! Each reconciler takes no input, looks at what is stored, and does what is due. It can run twice, or beside itself in
//! another process: the transitions carry their preconditions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::request::{Request, State};
use placet_ledger::publish::PublishError;
use placet_ledger::{Publisher, Signer, TreeHead, VerifierKey};
use placet_store::{Requires, Transition};
use tokio::sync::{Mutex, broadcast, watch};
use tracing::{error, warn};

use crate::error::{CallError, rejected};
use crate::{Broker, attempts, drafts, successor};

/// How many deadlines are handled in one go.
const DUE_MAX: usize = 256;
/// How often deadlines are looked at, whatever else happens.
const DEADLINE_POLL: Duration = Duration::from_secs(1);
/// How often the log is published while it grows.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// The publisher, once it was opened, and whether it found the store behind what was published.
pub(crate) struct PublisherSeat {
    signer: Signer,
    publisher: Mutex<Option<Publisher>>,
    refused: AtomicBool,
}

impl PublisherSeat {
    pub(crate) fn new(signer: Signer) -> Self {
        PublisherSeat { signer, publisher: Mutex::new(None), refused: AtomicBool::new(false) }
    }
}

impl Broker {
    /// Runs the reconcilers until the signal says stop.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        tokio::join!(self.run_hub(stop.clone()), self.run_deadlines(stop.clone()), self.run_publisher(stop));
    }

    /// Passes the store's changes on to those who wait.
    async fn run_hub(&self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.0.views.changes();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                _ = stop.wait_for(|stop| *stop) => return self.0.hub.wake_all(),
            };
            match change {
                Ok(change) => {
                    if let Some(id) = change.request {
                        self.0.hub.wake(id);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.0.hub.wake_all(),
                Err(broadcast::error::RecvError::Closed) => return,
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

    /// Ends every review, grant and execution whose time is over. Gives how many.
    pub async fn pass_deadlines(&self) -> Result<usize, CallError> {
        let mut passed = 0;
        loop {
            let due = self.0.views.due(self.now(), DUE_MAX).await?;
            let some_left = due.len() == DUE_MAX;
            let before = passed;
            for id in due {
                let _turn = self.0.locks.lock(id.as_bytes()).await;
                match attempts(|| self.try_pass(id)).await {
                    Ok(()) => passed += 1,
                    // It moved meanwhile, which is fine; anything else stays due and is tried again.
                    Err(CallError::Conflict { .. } | CallError::NotFound) => {}
                    Err(error) => warn!(request.id = %id, error = %error, "a deadline could not be passed"),
                }
            }
            if !some_left || passed == before {
                return Ok(passed);
            }
        }
    }

    async fn try_pass(&self, id: RequestId) -> Result<(), crate::error::Attempt> {
        let request = self.stored(id).await?.request;
        let (version, now, deadline) = (request.version, self.now(), request.deadline());
        let (kind, next) = match &request.state {
            State::Pending(_) => (Kind::RequestExpired, request.expire(now)),
            State::Granted(_) => (Kind::RequestLapsed, request.lapse(now)),
            State::Executing(_) => (Kind::ExecutionFinished, request.lose(now)),
            _ => return Ok(()),
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
        Ok(())
    }

    async fn run_publisher(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.publish().await {
                error!(error = %error, "the log could not be published");
            }
            let stopping = tokio::select! {
                () = tokio::time::sleep(PUBLISH_EVERY) => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if stopping {
                // What was acknowledged last is published before the process goes.
                if let Err(error) = self.publish().await {
                    error!(error = %error, "the log could not be published");
                }
                return;
            }
        }
    }

    /// Publishes the log up to its head, and gives the checkpoint's note. Nothing is signed that contradicts what was
    /// published before.
    pub async fn publish(&self) -> Result<String, CallError> {
        let mut seat = self.0.publisher.publisher.lock().await;
        let head = self.0.views.log().await?.frontier.head();
        let mut publisher = match seat.take() {
            Some(publisher) => publisher,
            None => {
                let (dir, signer) = (self.0.log_dir.clone(), self.0.publisher.signer.clone());
                let opened = tokio::task::spawn_blocking(move || Publisher::open(&dir, signer)).await;
                opened.map_err(|error| CallError::Internal(error.to_string()))?.map_err(|e| self.refuse(e))?
            }
        };
        if let Some(done) = publisher.published().filter(|done| done.head() == head) {
            let note = done.note().to_owned();
            *seat = Some(publisher);
            return Ok(note);
        }
        let published = self.grow(&mut publisher, head).await;
        // A publisher that failed half-way is opened anew: it reads its edge from the files again.
        if published.is_ok() {
            *seat = Some(publisher);
            self.0.publisher.refused.store(false, Ordering::Release);
        }
        published
    }

    async fn grow(&self, publisher: &mut Publisher, head: TreeHead) -> Result<String, CallError> {
        let mut growth = publisher.begin(head).map_err(|error| self.refuse(error))?;
        while let Some(range) = growth.wanted() {
            let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let entries = self.0.views.entry_bytes(range.start, wanted).await?;
            if entries.len() < wanted {
                return Err(
                    self.refuse(PublishError::EntryMissing { index: range.start + entries.len() as u64 })
                );
            }
            for entry in entries.iter().take(wanted) {
                growth.push(entry).map_err(|error| self.refuse(error))?;
            }
        }
        let finished = tokio::task::block_in_place(|| growth.finish());
        Ok(finished.map_err(|error| self.refuse(error))?.note().to_owned())
    }

    /// A store that contradicts what was published makes this process not ready until somebody looked.
    fn refuse(&self, error: PublishError) -> CallError {
        self.0.publisher.refused.store(true, Ordering::Release);
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        CallError::Unavailable(format!("the log cannot be published: {error}{source}"))
    }

    /// Whether everything that a decision needs is there: the reason if not.
    pub async fn ready(&self) -> Result<(), CallError> {
        self.0.views.health().await?;
        self.active_policy().await?;
        if self.0.publisher.refused.load(Ordering::Acquire) {
            let message =
                "the store and the published log contradict each other: see the log of this process";
            return Err(CallError::Unavailable(message.to_owned()));
        }
        Ok(())
    }

    /// What readers check the log with.
    pub fn verifier_key(&self) -> VerifierKey {
        self.0.publisher.signer.verifier_key()
    }

    /// Where checkpoint and tiles are published.
    pub fn log_dir(&self) -> &std::path::Path {
        &self.0.log_dir
    }
}
