//! The log in public: checkpoints while it grows, and what follows when the store contradicts one of them.
//!
//! ```text
//!  commit ──► has this process seen that the store continues what was published? ──► no: publish first
//!                                     │ it contradicts it
//!                                     └──► nobody is let in, nothing is written, nothing is signed, not ready
//! ```
//!
//! A store that is behind its published log was restored from a copy. In it grants that were used are there to be
//! claimed again, sign-in links are unused, revoked credentials work. So all doors close, not only the signer: the way
//! on is a newer copy of the data, or a new log. A restart looks again.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_core::directory::Operator;
use placet_core::entry::Kind;
use placet_ledger::publish::PublishError;
use placet_ledger::{Publisher, Signer, TreeHead, VerifierKey};
use placet_store::{Transition, ViewError, Views};
use tokio::sync::{OwnedMutexGuard, watch};
use tracing::error;

use crate::error::CallError;
use crate::{Broker, drafts};

/// How often the log is published while it grows.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// What an operator can do about a database that is behind its log.
const WAY_ON: &str = "; nobody is served until then; if there is no newer backup, stop placet and let the ledger begin a \
                      new epoch with `placet restore --accept-rollback`";

/// The publisher, once it was opened, and how store and published log stand to each other.
pub(crate) struct PublisherSeat {
    signer: Signer,
    publisher: Arc<tokio::sync::Mutex<Option<Publisher>>>,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// This process has seen that the store continues what was published.
    continues: bool,
    /// The store contradicts what was published, for good.
    contradiction: Option<String>,
    /// The last publication failed.
    trouble: Option<String>,
}

impl PublisherSeat {
    pub(crate) fn new(signer: Signer) -> Self {
        PublisherSeat { signer, publisher: Arc::default(), standing: Mutex::default() }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers how a publication ended.
    fn judged(&self, published: Result<String, PublishError>) -> Result<String, CallError> {
        let mut standing = self.standing();
        let error = match published {
            Ok(note) => {
                standing.continues = true;
                standing.trouble = None;
                return Ok(note);
            }
            Err(error) => error,
        };
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        let mut text = format!("the log cannot be published: {error}{}", source.unwrap_or_default());
        if let PublishError::Rollback { .. } | PublishError::Fork { .. } | PublishError::Checkpoint(_) = error
        {
            text.push_str(WAY_ON);
        }
        if contradicts(&error) {
            standing.contradiction = Some(text.clone());
        }
        standing.trouble = Some(text.clone());
        Err(CallError::Unavailable(text))
    }
}

/// Whether an error says that store and published log are not one history, and not only that a file could not be used.
fn contradicts(error: &PublishError) -> bool {
    match error {
        PublishError::Rollback { .. }
        | PublishError::Fork { .. }
        | PublishError::Replaced
        | PublishError::CheckpointGone
        | PublishError::Checkpoint(_)
        | PublishError::EntryMissing { .. }
        | PublishError::Surplus { .. } => true,
        PublishError::Damaged
        | PublishError::Locked
        | PublishError::EntryTooLong(_)
        | PublishError::Entries(_)
        | PublishError::Read(_)
        | PublishError::Write(_) => false,
    }
}

impl Broker {
    pub(crate) async fn run_publisher(&self, mut stop: watch::Receiver<bool>) {
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
        let seat = &self.0.publisher;
        // The guard goes along with the work, which goes on when the caller of this leaves.
        let guard = seat.publisher.clone().lock_owned().await;
        if let Some(why) = seat.standing().contradiction.clone() {
            return Err(CallError::Unavailable(why));
        }
        let head = self.0.views.log().await?.frontier.head();
        let (views, runtime) = (self.0.views.clone(), tokio::runtime::Handle::current());
        let (dir, signer) = (self.0.log_dir.clone(), seat.signer.clone());
        let published = tokio::task::spawn_blocking(move || {
            let mut entries = |range: Range<u64>| runtime.block_on(entries_of(views.as_ref(), range));
            publish_to(head, guard, || Publisher::open(&dir, signer), &mut entries)
        });
        let published = published.await.map_err(|error| CallError::Internal(error.to_string()))?;
        seat.judged(published)
    }

    /// Ok as long as the store continues what was published. Whoever is first in a process finds out.
    pub(crate) async fn trusted(&self) -> Result<(), CallError> {
        {
            let standing = self.0.publisher.standing();
            if let Some(why) = &standing.contradiction {
                return Err(CallError::Unavailable(why.clone()));
            }
            if standing.continues {
                return Ok(());
            }
        }
        self.publish().await.map(drop)
    }

    /// Whether everything that a decision needs is there: the reason if not.
    pub async fn ready(&self) -> Result<(), CallError> {
        self.0.views.health().await?;
        self.active_policy().await?;
        self.trusted().await?;
        match self.0.publisher.standing().trouble.clone() {
            Some(why) => Err(CallError::Unavailable(why)),
            None => Ok(()),
        }
    }

    /// Records that a copy of the data is taken, before it is, and publishes the log, so that the copy begins there.
    pub async fn record_backup(
        &self,
        operator: &Operator,
        target: &str,
        keys: bool,
    ) -> Result<(), CallError> {
        let draft = drafts::operated(Kind::BackupTaken, operator, ("target", target.to_owned()))
            .verdict(if keys { "with_keys" } else { "without_keys" });
        self.commit_once(Transition { entries: vec![self.seal(draft)], ..Transition::default() }).await?;
        self.publish().await.map(drop)
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

/// Publishes with the publisher in the seat, or a new one. One that failed half-way does not come back: the next reads
/// its edge from the files again.
fn publish_to(
    head: TreeHead,
    mut seat: OwnedMutexGuard<Option<Publisher>>,
    open: impl FnOnce() -> Result<Publisher, PublishError>,
    entries: &mut impl FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, ViewError>,
) -> Result<String, PublishError> {
    let mut publisher = match seat.take() {
        Some(publisher) => publisher,
        None => open()?,
    };
    let note = match publisher.published().filter(|done| done.head() == head) {
        Some(done) => done.note().to_owned(),
        None => publisher.publish(head, entries)?.note().to_owned(),
    };
    *seat = Some(publisher);
    Ok(note)
}

/// The bytes of a range of entries; fewer where the store has fewer.
async fn entries_of(views: &dyn Views, range: Range<u64>) -> Result<Vec<Vec<u8>>, ViewError> {
    let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut entries = views.entry_bytes(range.start, wanted).await?;
    // The store may have grown since its head was read.
    entries.truncate(wanted);
    Ok(entries)
}
