//! What is particular to the embedded store. What every store must do is the conformance suite.

mod copies;
mod damage;
mod process;
mod secrecy;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;

use placet_core::entropy::Entropy;
use placet_core::entry::{Draft, Kind, Sealed};
use placet_core::id::EntryId;
use placet_core::time::{Clock, Timestamp};

use super::writer::Job;
use super::{OpenError, Options, SqliteStore};
use crate::conformance::{self, CountedEntropy, HandClock, Place};
use crate::keys::RootKeySource;
use crate::{Answer, Store, Transition};

pub(crate) const ORIGIN: &str = "placet.example/ledger";

/// A directory in which a store lives.
pub(crate) struct Space {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) entropy: Arc<CountedEntropy>,
}

impl Space {
    pub(crate) fn new() -> Self {
        Space {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(HandClock::at(Timestamp::from_millis(1_790_000_000_000))),
            entropy: Arc::new(CountedEntropy::new(1)),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            clock: Arc::<HandClock>::clone(&self.clock),
            entropy: Arc::<CountedEntropy>::clone(&self.entropy),
            origin: ORIGIN.to_owned(),
            root_key: RootKeySource::Own,
        }
    }

    pub(crate) fn try_open(&self) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(&self.path(), self.options())
    }

    pub(crate) fn open(&self) -> SqliteStore {
        self.try_open().unwrap()
    }

    /// The database, past the store.
    pub(crate) fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path().join("placet.db")).unwrap()
    }

    pub(crate) fn entry(&self) -> Sealed {
        let id = EntryId::new(self.clock.now(), self.entropy.as_ref());
        Draft::new(Kind::CapReached).seal(id, self.entropy.as_ref())
    }

    pub(crate) fn appends(&self) -> Transition {
        Transition { entries: vec![self.entry()], ..Transition::default() }
    }
}

impl Place for Space {
    fn open(&self, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Answer<'_, Box<dyn Store>> {
        let options = Options { clock, entropy, ..self.options() };
        let store = SqliteStore::open(&self.path(), options).unwrap();
        Box::pin(std::future::ready(Box::new(store) as Box<dyn Store>))
    }
}

impl SqliteStore {
    /// Does something with the writer's connection, and waits until it is done.
    pub(crate) async fn with_writer(&self, act: impl FnOnce(&rusqlite::Connection) + Send + 'static) {
        let (done, waits) = tokio::sync::oneshot::channel();
        let job = Job::With(Box::new(move |db| {
            act(db);
            done.send(()).unwrap();
        }));
        self.queue.as_ref().unwrap().send(job).await.ok().unwrap();
        waits.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    conformance::run(|| Box::new(Space::new())).await;
}
