//! Backups: taken while placet serves, checked without keys, restored into a new directory, and the deliberate way on
//! from one that is older than the published log.
//!
//! ```text
//!  DIR/ manifest.json   hash of every file, which log, which keys; vouched for under the root key   (written last)
//!       manifest.mac
//!       placet.db       one snapshot of the database; what was sealed stays sealed
//!       log/            checkpoint and tiles; the database has all of it, and perhaps more
//!       log.vkey
//!  KEYS/ root.key, keys.db, log.key    only where asked for, and never in DIR
//! ```

mod check;
mod manifest;
mod online;
pub(crate) mod place;
mod restore;
mod take;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use check::check;
pub(crate) use online::OnlineBackups;
pub(crate) use restore::{accept_rollback, restore};
use take::Taken;
pub(crate) use take::{Source, last_taken, prepare, take};

/// The database.
const DATABASE: &str = "placet.db";
/// The published log.
const LOG: &str = "log";
/// The log's public key.
const VKEY: &str = "log.vkey";
/// The keys.
const KEYS: &str = "keys";

/// Where a backup goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Everything but the keys.
    pub(crate) directory: PathBuf,
    /// The keys, if they were asked for.
    pub(crate) keys: Option<PathBuf>,
}

/// How far something is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Step {
    /// What is being done.
    pub(crate) what: &'static str,
    /// How much of it is done.
    pub(crate) done: u64,
    /// Of how much; zero if nobody knows.
    pub(crate) all: u64,
}

/// How far something is, for whoever watches.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Step>>);

impl Progress {
    pub(crate) fn now(&self) -> Step {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn at(&self, what: &'static str, done: u64, all: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Step { what, done, all };
    }
}

/// Why there is no backup, or no restored one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// A file or directory could not be used.
    #[error("use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory above it is missing.
    #[error("make {}: the directory above it is not there; make that first", .0.display())]
    NoParent(PathBuf),
    /// Others could swap it.
    #[error("use {}: {} {why}, so somebody else could swap it; name a place that is yours", path.display(), parent.display())]
    Parent {
        /// What was to be made.
        path: PathBuf,
        /// The directory above it.
        parent: PathBuf,
        /// What is wrong with that.
        why: String,
    },
    /// Others can look into it, or it is a link.
    #[error("use {}: it has to be a directory of mode 0700 that is yours; name a new one", .0.display())]
    Open(PathBuf),
    /// There is something in it.
    #[error("use {}: it is not empty; name a new directory", .0.display())]
    NotEmpty(PathBuf),
    /// Keys and data would lie together.
    #[error("write {}: keys go to another place than data; whoever finds both can read everything", .0.display())]
    Together(PathBuf),
    /// It has no manifest.
    #[error("read the backup {}: it has no manifest.json, so it was never finished; take another", .0.display())]
    Torn(PathBuf),
    /// It is not what its manifest says.
    #[error("trust the backup: {0}; use another")]
    Altered(String),
    /// A newer placet wrote the manifest.
    #[error("read the backup: a newer placet wrote its manifest; use that one")]
    NewerManifest,
    /// Its keys are missing.
    #[error("restore the backup: it has no keys; name the directory that they were backed up to with --keys")]
    NoKeys,
    /// The keys are others.
    #[error("restore the backup: {0}; name the keys that belong to it with --keys")]
    OtherKeys(String),
    /// There is nothing to accept.
    #[error("accept a rollback: {0}")]
    NothingToAccept(String),
    /// The database cannot be copied or read.
    #[error("use the database")]
    Copy(#[from] placet_store::sqlite::copy::CopyError),
    /// The store does not open.
    #[error("open the store")]
    Store(#[from] placet_store::OpenError),
    /// The keys cannot be used.
    #[error("use the keys")]
    Keys(#[from] placet_store::keys::KeysError),
    /// A key cannot be used.
    #[error("use a key")]
    Seal(#[from] placet_store::keys::KeyError),
    /// The log cannot be copied.
    #[error("copy the log")]
    CopyLog(#[from] placet_ledger::copy::CopyError),
    /// The log does not verify.
    #[error("verify the log of the backup")]
    Verify(#[from] placet_ledger::verify::VerifyError),
    /// What was published cannot be read.
    #[error("read what was published")]
    Published(#[from] placet_ledger::published::OpenError),
    /// It could not be recorded, so it is not done.
    #[error("record it")]
    Record(#[from] placet_broker::CallError),
    /// A thread is gone.
    #[error("do it: {0}")]
    Broken(String),
}
