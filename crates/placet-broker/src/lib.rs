//! The approval broker: the use cases of placet, in the order in which a request meets them.
//!
//! ```text
//!  agents' door ──► intake ──► decide ──┬─► Refused
//!                                       ├─► Granted ───────────────┐
//!                                       └─► Pending ◄── review ────┤ vote, then decide again
//!  reviewers' door ─────────────────────────────────────┘          ▼
//!  enforcement point ──► execution: claim (decide a third time) ─► Executing ─► outcome
//!  time ──► reconcile: expire, lapse, lose        the log ──► publish: checkpoints, or all doors closed
//! ```
//!
//! Broker is the only minter of grants. It reads a snapshot, decides outside the store, and hands the store a transition
//! that carries what it read; if that has moved it decides again, three times at most, and then says no.
//!
//! There is no HTTP, no SQL and no clock in here.

pub mod access;
pub mod audit;
pub mod beside;
pub mod card;
pub mod directory;
mod drafts;
mod ended;
mod erasure;
pub mod error;
pub mod execution;
pub mod explain;
mod hub;
pub mod intake;
pub mod limits;
pub mod peps;
pub mod policies;
mod publish;
pub mod reconcile;
pub mod replay;
pub mod restored;
pub mod review;
pub mod search;
mod show;
pub mod tools;
pub mod vault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use placet_core::decision::Tally;
use placet_core::directory::Directory;
use placet_core::entropy::Entropy;
use placet_core::entry::{Draft, Sealed};
use placet_core::id::{EntryId, RequestId};
use placet_core::request::{Lifetimes, Request};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use placet_ledger::Signer;
use placet_policy::Bundle;
use placet_store::{Commit, Requires, StoredRequest, Transition, Views, Write};

pub use error::CallError;
use error::{Attempt, moved};
use hub::{Hub, Locks};
use limits::Limiter;

/// Everything that broker needs from outside.
pub struct Parts {
    /// The writing side of the store.
    pub commit: Arc<dyn Commit>,
    /// The reading side of the store.
    pub views: Arc<dyn Views>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Keys the short codes of requests.
    pub short_code_key: Secret,
    /// Keys the tokens of forms.
    pub form_key: Secret,
    /// Signs published checkpoints.
    pub signer: Signer,
    /// Where tiles and checkpoints are published.
    pub log_dir: PathBuf,
    /// The numbers.
    pub config: Config,
}

/// The numbers that an operator may change.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tenant's name, which is in every digest.
    pub tenant: String,
    /// How long grants and executions live.
    pub lifetimes: Lifetimes,
    /// How long a sign-in link works.
    pub invitation_lifetime: Duration,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// How long a person's API token lasts.
    pub token_lifetime: Duration,
    /// What a single credential may ask for.
    pub caps: limits::Caps,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            tenant: "default".to_owned(),
            lifetimes: Lifetimes { grant: Duration::from_secs(15 * 60), lease: Duration::from_secs(15 * 60) },
            invitation_lifetime: Duration::from_secs(24 * 60 * 60),
            session_lifetime: Duration::from_secs(12 * 60 * 60),
            token_lifetime: Duration::from_secs(90 * 24 * 60 * 60),
            caps: limits::Caps::default(),
        }
    }
}

/// The broker. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) commit: Arc<dyn Commit>,
    pub(crate) views: Arc<dyn Views>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) short_code_key: Secret,
    pub(crate) form_key: Secret,
    pub(crate) config: Config,
    pub(crate) active: ArcSwapOption<policies::Active>,
    pub(crate) loading: tokio::sync::Mutex<()>,
    pub(crate) hub: Hub,
    pub(crate) locks: Locks,
    pub(crate) limiter: Limiter,
    pub(crate) publisher: publish::PublisherSeat,
    pub(crate) log_dir: PathBuf,
    pub(crate) reindexing: search::ReindexSeat,
}

/// How often a decision is made anew because what it read has moved.
const ATTEMPTS_MAX: usize = 3;

/// What one decision reads: everything in it is of one moment, and the transition requires that it still holds.
pub(crate) struct Snapshot {
    pub(crate) now: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) directory: Arc<Directory>,
}

impl Snapshot {
    /// What the transition requires of bundle and directory.
    pub(crate) fn requires(&self) -> Vec<Requires> {
        vec![Requires::BundleEpoch(self.epoch), Requires::DirectoryEpoch(self.directory.epoch)]
    }
}

/// A request as its readers see it: with the votes that count now, and the names of who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The request and where its entries are.
    pub stored: StoredRequest,
    /// The votes that count now; empty unless it is pending.
    pub tally: Tally,
    /// The requester's name.
    pub requester_name: String,
    /// The name of the person on whose behalf.
    pub on_behalf_of_name: String,
}

impl Broker {
    /// A broker over a store. Nothing is decided before [`Broker::load_policy`] found an active bundle.
    pub fn new(parts: Parts) -> Self {
        let hub = Hub::default();
        Broker(Arc::new(Inner {
            commit: parts.commit,
            views: parts.views,
            entropy: parts.entropy,
            short_code_key: parts.short_code_key,
            form_key: parts.form_key,
            limiter: Limiter::new(parts.config.caps.clone()),
            config: parts.config,
            active: ArcSwapOption::empty(),
            loading: tokio::sync::Mutex::default(),
            hub,
            locks: Locks::default(),
            publisher: publish::PublisherSeat::new(parts.signer),
            log_dir: parts.log_dir,
            reindexing: search::ReindexSeat::default(),
        }))
    }

    /// The store's time.
    pub fn now(&self) -> Timestamp {
        self.0.views.now()
    }

    /// Hints about what was committed. They say which request moved, so whoever passes them on leaves that out.
    pub fn hints(&self) -> tokio::sync::broadcast::Receiver<placet_store::Change> {
        self.0.views.changes()
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot, CallError> {
        let active = self.active_policy().await?;
        let directory = self.0.views.directory().await?;
        Ok(Snapshot { now: self.now(), epoch: active.epoch, bundle: active.bundle.clone(), directory })
    }

    pub(crate) async fn stored(&self, id: RequestId) -> Result<StoredRequest, CallError> {
        self.0.views.request(id).await?.ok_or(CallError::NotFound)
    }

    /// Salts a draft's commitments.
    pub(crate) fn seal(&self, draft: Draft) -> Sealed {
        let id = EntryId::new(self.now(), self.0.entropy.as_ref());
        draft.seal(id, self.0.entropy.as_ref())
    }

    /// Writes a transition of which a decision was part; `Stale` means: decide again. Nothing is written to a store that
    /// contradicts what was published of it.
    pub(crate) async fn commit(&self, transition: Transition) -> Result<placet_store::Receipt, Attempt> {
        self.trusted().await?;
        self.0.commit.commit(transition).await.map_err(Attempt::from)
    }

    /// Writes a transition that no decision stands behind, so that there is nothing to decide anew.
    pub(crate) async fn commit_once(
        &self,
        transition: Transition,
    ) -> Result<placet_store::Receipt, CallError> {
        self.commit(transition).await.map_err(|attempt| match attempt {
            Attempt::Stale(what) => moved(&what),
            Attempt::Failed(error) => error,
        })
    }
}

/// Runs one attempt after another until one is not stale. An attempt reads, decides and commits.
pub(crate) async fn attempts<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, Attempt>>,
{
    let mut last = String::new();
    for _ in 0..ATTEMPTS_MAX {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Attempt::Failed(error)) => return Err(error),
            Err(Attempt::Stale(what)) => last = what,
        }
    }
    Err(moved(&last))
}

/// The write that stores what became of a request whose stored version is this.
pub(crate) fn successor(version: u64, mut next: Request) -> Write {
    next.version = version.saturating_add(1);
    Write::Request(Box::new(next))
}
