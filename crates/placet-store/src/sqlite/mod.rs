//! The embedded store: one SQLite database, one writer thread, a few readers.
//!
//! ```text
//!  commit() ── prepare: convert, seal ──► queue ──► writer: BEGIN · check · write · append · head · COMMIT ──► receipt
//!  views    ── reader: snapshot, open ◄── placet.db (WAL, synchronous=FULL)          └──► changes
//! ```
//!
//! The directory belongs to one process: a lock file says so. The log's head is a row of the same transaction as the
//! rows it speaks of; nothing is acknowledged before it is on the disk.

pub mod copy;
mod ended;
mod head;
mod known;
mod overview;
mod pool;
mod prepare;
mod read_directory;
mod read_log;
mod read_requests;
mod requires;
mod rows;
mod schema;
mod sealer;
mod search;
mod stopped;
mod views;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use placet_core::entropy::Entropy;
use placet_core::id::RequestId;
use placet_core::time::{Clock, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, mpsc, oneshot};

use self::known::Known;
use self::pool::Pool;
pub use self::schema::SchemaError;
use self::sealer::Sealer;
use self::stopped::{Stopped, settle};
use self::writer::{Epochs, Head, Job, Writer};
use crate::keys::{Destroy, KeyStore, KeysError, RootKeySource, Subject};
use crate::private::{self, PrivateError};
use crate::{Answer, Change, Commit, CommitError, LogName, Receipt, Reindexed, Transition, ViewError};

/// How many transitions may wait for the writer. Whoever comes next waits to queue.
const QUEUE_MAX: usize = 1024;
/// How many hints a slow listener may be behind before it misses some.
const CHANGES_MAX: usize = 1024;
/// Pages of 8 KiB in the write-ahead log before it is checkpointed: 16 MiB has the best tail of what was measured.
const WAL_PAGES: i64 = 2000;

/// What a store needs beside its directory.
pub struct Options {
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// The machine's chance.
    pub entropy: Arc<dyn Entropy>,
    /// The log's origin. It is set once: a log under another name is another log.
    pub origin: String,
    /// Where the root key comes from.
    pub root_key: RootKeySource,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("origin", &self.origin).field("root_key", &self.root_key).finish()
    }
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it is not private.
    #[error("keep the data directory private")]
    Private(#[from] PrivateError),
    /// Another process has it.
    #[error("another placet is running on {}: stop it first", .0.display())]
    Locked(PathBuf),
    /// The lock or the database file could not be used.
    #[error("use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The keys could not be opened.
    #[error("open the key store")]
    Keys(#[from] KeysError),
    /// The keys are not those that the data was sealed with.
    #[error("the keys in {} belong to other data: restore keys and data together", .0.display())]
    OtherKeys(PathBuf),
    /// The schema cannot be used.
    #[error("use the schema")]
    Schema(#[from] SchemaError),
    /// The log has another origin.
    #[error("the log's origin is {stored}, not {asked}: an origin never changes")]
    OtherOrigin {
        /// What the log has.
        stored: String,
        /// What was asked for.
        asked: String,
    },
    /// The head does not fit the entries.
    #[error("the log's head says {head} entries and there are {entries}: restore the database")]
    Damaged {
        /// Size by the head.
        head: u64,
        /// Entries that are there.
        entries: u64,
    },
    /// The file system does not support a write-ahead log.
    #[error("{} is on a file system that allows journal {journal:?} only: use a local disk", path.display())]
    Journal {
        /// The database.
        path: PathBuf,
        /// What it fell back to.
        journal: String,
    },
    /// The index of an older database could not be made.
    #[error("make the search index")]
    Index(#[source] ViewError),
    /// The database could not be opened.
    #[error("open placet.db")]
    Database(#[from] rusqlite::Error),
}

/// What writer and readers share.
struct Shared {
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    pool: Pool,
    last_time: AtomicI64,
    bundle_epoch: AtomicU64,
    directory_epoch: AtomicU64,
    stopped: OnceLock<Stopped>,
    write_failed: AtomicBool,
    changes: broadcast::Sender<Change>,
    directory: Mutex<Arc<Known>>,
    reindexing: tokio::sync::Mutex<()>,
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.clock.now().max(Timestamp::from_millis(self.last_time.load(Ordering::Acquire)))
    }

    /// What was committed last. Set before anybody hears of it, so that who was told reads no older one.
    fn set_epochs(&self, epochs: Epochs) {
        self.bundle_epoch.store(epochs.bundle, Ordering::Release);
        self.directory_epoch.store(epochs.directory, Ordering::Release);
    }

    fn last_write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Acquire)
    }

    /// A point read, on the caller's thread: it takes microseconds.
    async fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ViewError>) -> Result<T, ViewError> {
        let reader = self.pool.reader().await;
        self.up()?;
        reader.ok_or_else(|| ViewError::Unavailable(NO_READER.to_owned()))?.snapshot(read)
    }

    /// A read of many rows, on a thread that may take its time.
    async fn scan<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Shared, &Connection) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let reader = self.pool.scanner().await;
        self.up()?;
        let reader = reader.ok_or_else(|| ViewError::Unavailable(NO_READER.to_owned()))?;
        let shared = Arc::clone(self);
        let answer =
            tokio::task::spawn_blocking(move || reader.snapshot(|connection| read(&shared, connection)));
        answer.await.unwrap_or_else(|error| Err(ViewError::Unavailable(error.to_string())))
    }
}

const NO_READER: &str = "a connection to it was lost: restart placet";

/// The embedded store.
pub struct SqliteStore {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    _lock: File,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the store in this directory, or makes it. Refuses what others could have touched.
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        private::directory(directory)?;
        let lock = lock(directory)?;
        let keys_path = directory.join("keys");
        let keys = KeyStore::open(&keys_path, &options.root_key, Arc::clone(&options.entropy))?;
        let path = directory.join("placet.db");
        let log = directory.join("placet.db-wal");
        settle(&log).map_err(|source| OpenError::Io { path: log, source })?;
        let mut db = open_writer(&path)?;
        schema::migrate(&mut db, options.clock.now())?;
        let head = open_log(&db, &options.origin, keys.id(), keys_path)?;
        let sealer = Sealer::new(keys);
        search::fill_if_new(&db, &sealer).map_err(OpenError::Index)?;
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let shared = Arc::new(Shared {
            sealer,
            clock: options.clock,
            path: path.clone(),
            pool: Pool::open(&path)?,
            last_time: AtomicI64::new(head.last_time.as_millis()),
            bundle_epoch: AtomicU64::new(head.epochs.bundle),
            directory_epoch: AtomicU64::new(head.epochs.directory),
            stopped: OnceLock::new(),
            write_failed: AtomicBool::new(false),
            changes,
            directory: Mutex::default(),
            reindexing: tokio::sync::Mutex::default(),
        });
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { db, head, shared: Arc::clone(&shared), queue: jobs };
        let thread = std::thread::Builder::new().name("placet-store".to_owned());
        let writer = thread
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        Ok(SqliteStore { shared, queue: Some(queue), writer: Some(writer), _lock: lock })
    }

    /// The key store: derives keys for single purposes, and destroys keys.
    pub fn keys(&self) -> &KeyStore {
        &self.shared.sealer.keys
    }

    /// The subjects of requests that a transition speaks of and does not write.
    async fn subjects(&self, requests: Vec<RequestId>) -> Result<HashMap<RequestId, Subject>, CommitError> {
        if requests.is_empty() {
            return Ok(HashMap::new());
        }
        let read = self.shared.point(move |db| read_requests::subjects(db, &requests)).await;
        read.map_err(|error| match error {
            ViewError::Stopped(why) => CommitError::Stopped(why),
            other => CommitError::Unavailable(other.to_string()),
        })
    }
}

impl Commit for SqliteStore {
    fn commit(&self, transition: Transition) -> Answer<'_, Result<Receipt, CommitError>> {
        Box::pin(async move {
            let stopped = || CommitError::from(self.shared.why_stopped());
            let known = self.subjects(prepare::unknown_requests(&transition)).await?;
            let prepared = prepare::prepare(&self.shared.sealer, transition, known, self.shared.now())?;
            let (waiter, answer) = oneshot::channel();
            let queue = self.queue.as_ref().ok_or_else(stopped)?;
            queue.send(Job::Commit(Box::new(prepared), waiter)).await.map_err(|_| stopped())?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    fn reindex(&self) -> Answer<'_, Result<Reindexed, CommitError>> {
        Box::pin(async move {
            let stopped = || CommitError::from(self.shared.why_stopped());
            let queue = self.queue.as_ref().ok_or_else(stopped)?.downgrade();
            // On a task of its own: a generation that nobody finishes would be written for ever.
            let made = tokio::spawn(search::reindex(Arc::clone(&self.shared), queue));
            made.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    fn erase(&self, subject: Subject) -> Answer<'_, Result<usize, CommitError>> {
        Box::pin(async move {
            let destroyed = self.keys().destroy(Destroy::Subject(subject), self.shared.now());
            destroyed.map_err(|error| CommitError::Unavailable(format!("destroy keys: {error}")))
        })
    }
}

impl Drop for SqliteStore {
    /// What is queued is written; then the lock goes.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // It panicked if it fails, and everyone knows.
            let _ = writer.join();
        }
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("placet.lock");
    let file = create_private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

fn create_private(path: &Path) -> Result<File, OpenError> {
    if path.symlink_metadata().is_ok() {
        private::file(path)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    // SQLite gives its journal files the mode of the database.
    drop(create_private(path)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(128);
    db.busy_timeout(Duration::from_secs(5))?;
    keep_plans(&db)?;
    db.pragma_update(None, "page_size", 8192)?;
    let journal: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if journal != "wal" {
        return Err(OpenError::Journal { path: path.to_owned(), journal });
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync alone does not reach the disk; without effect elsewhere.
    db.pragma_update(None, "fullfsync", "ON")?;
    db.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    db.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    db.pragma_update(None, "secure_delete", "ON")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "recursive_triggers", "ON")?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    db.pragma_update(None, "cache_size", -65_536)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(db)
}

/// Prepares a statement once and not again for each value that is bound to it: a plan that depended on values would be
/// made anew at every call, which costs more than the statement.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn open_log(db: &Connection, origin: &str, keys: [u8; 16], keys_path: PathBuf) -> Result<Head, OpenError> {
    let Some(stored) = head::read(db)? else {
        return Ok(head::create(db, origin, keys)?);
    };
    if stored.key_store != keys {
        return Err(OpenError::OtherKeys(keys_path));
    }
    let name = LogName::of(origin, stored.head.name.epoch);
    if stored.head.name != name {
        return Err(OpenError::OtherOrigin { stored: stored.head.name.origin, asked: name.origin });
    }
    let entries: i64 = db.query_row("SELECT coalesce(max(idx) + 1, 0) FROM entry", [], |row| row.get(0))?;
    let (head, entries) = (stored.head.frontier.size(), requires::unsigned(entries));
    if head != entries {
        return Err(OpenError::Damaged { head, entries });
    }
    Ok(stored.head)
}

#[cfg(test)]
pub(crate) mod tests;
