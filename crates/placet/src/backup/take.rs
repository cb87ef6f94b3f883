//! Taking a backup. The order is what makes it consistent: the log first, up to a checkpoint; then the database, which
//! has all that was published; then the keys, which are older than whatever they seal.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_core::time::Timestamp;
use placet_ledger::VerifierKey;
use placet_store::SqliteStore;
use placet_store::sqlite::copy::DatabaseCopy;
use serde::{Deserialize, Serialize};

use super::check::extends;
use super::manifest::{self, Manifest};
use super::{BackupError, DATABASE, KEYS, LOG, Progress, Target, VKEY, place};
use crate::log_key;

/// What is backed up.
pub(crate) struct Source<'a> {
    /// The data directory.
    pub(crate) data: &'a Path,
    /// The store that has it open.
    pub(crate) store: &'a SqliteStore,
    /// The log's public key.
    pub(crate) vkey: VerifierKey,
    /// The origin of the log's first epoch.
    pub(crate) log_origin: &'a str,
    /// Now.
    pub(crate) now: Timestamp,
}

/// The last backup, as the data directory remembers it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// Where its keys are, if they were taken.
    pub(crate) keys: Option<PathBuf>,
    /// When it was taken.
    pub(crate) taken_at: String,
    /// How many entries it has.
    pub(crate) entries: u64,
    /// How many bytes.
    pub(crate) bytes: u64,
    /// How many files.
    pub(crate) files: u64,
}

/// Where the data directory remembers it.
const LAST: &str = "last-backup.json";
/// How often the size of a copy that grows is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Refuses a target before anything is written, and makes it.
pub(crate) fn prepare(data: &Path, target: &Target) -> Result<(), BackupError> {
    let whole = |path: &Path| {
        std::path::absolute(path).map_err(|source| BackupError::Io { path: path.to_owned(), source })
    };
    let (data, directory) = (whole(data)?, whole(&target.directory)?);
    if directory.starts_with(&data) {
        return Err(BackupError::NotEmpty(data));
    }
    if let Some(keys) = &target.keys {
        let keys = whole(keys)?;
        if keys.starts_with(&directory) || directory.starts_with(&keys) || keys.starts_with(&data) {
            return Err(BackupError::Together(keys));
        }
        place::make(&keys)?;
    }
    place::make(&directory)
}

/// Takes a backup into directories that [`prepare`] made.
pub(crate) async fn take(
    source: Source<'_>,
    target: &Target,
    progress: &Progress,
) -> Result<Taken, BackupError> {
    let directory = &target.directory;
    let published = {
        let (from, to, key) = (source.data.join(LOG), directory.join(LOG), source.vkey.clone());
        let progress = progress.clone();
        blocking(move || {
            place::make(&to)?;
            let copied = |done, all| progress.at("copying the log", done, all);
            Ok(placet_ledger::copy::copy(&from, &to, &key, copied)?)
        })
        .await?
    };
    manifest::write_new(&directory.join(VKEY), format!("{}\n", source.vkey).as_bytes())?;
    copy_database(source.store, &directory.join(DATABASE), progress).await?;
    let data_keys = source.store.keys().data_keys().map_err(BackupError::Seal)?;
    if let Some(keys) = &target.keys {
        copy_keys(&source, keys)?;
    }
    let (directory, progress) = (directory.clone(), progress.clone());
    let (vkey, log_origin) = (source.vkey.to_string(), source.log_origin.to_owned());
    let taken_at = source.now.to_string();
    let manifest = blocking(move || {
        progress.at("checking the copy", 0, 0);
        let copy = DatabaseCopy::open(&directory.join(DATABASE))?;
        copy.check()?;
        extends(&copy, published.as_ref())?;
        let about = copy.about().clone();
        let files = manifest::notes(&directory, |done, all| progress.at("hashing files", done, all))?;
        Ok(Manifest {
            v: Manifest::V,
            placet: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at,
            log_origin,
            epoch: about.log.epoch,
            vkey,
            key_store: hex(&about.key_store),
            data_keys,
            schema: about.schema,
            entries: about.frontier.size(),
            root: about.frontier.root().to_string(),
            published: published.map(|checkpoint| checkpoint.head().size),
            files,
        })
    })
    .await?;
    manifest.write(&target.directory, source.store.keys())?;
    let taken = Taken {
        directory: target.directory.clone(),
        keys: target.keys.clone(),
        taken_at: manifest.taken_at.clone(),
        entries: manifest.entries,
        bytes: manifest.files.values().map(|file| file.bytes).sum(),
        files: manifest.files.len() as u64,
    };
    remember(source.data, &taken)?;
    Ok(taken)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs what takes its time where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BackupError::Broken(error.to_string())))
}

async fn copy_database(store: &SqliteStore, target: &Path, progress: &Progress) -> Result<(), BackupError> {
    let all = store.copy_bytes();
    let copying = store.copy_to(target);
    tokio::pin!(copying);
    loop {
        let done = fs::metadata(target).map_or(0, |metadata| metadata.len());
        progress.at("copying the database", done.min(all), all);
        tokio::select! {
            copied = &mut copying => return Ok(copied?),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The key store, and the keys that sign and have signed the log.
fn copy_keys(source: &Source<'_>, target: &Path) -> Result<(), BackupError> {
    source.store.keys().copy_to(target)?;
    let keys = source.data.join(KEYS);
    for name in log_key::files(&keys).map_err(|source| BackupError::Io { path: keys.clone(), source })? {
        let path = keys.join(&name);
        let bytes = fs::read(&path).map_err(|source| BackupError::Io { path, source })?;
        manifest::write_new(&target.join(&name), &bytes)?;
    }
    place::sync(target)
}

/// Remembers it for the doctor. Nothing depends on it.
fn remember(data: &Path, taken: &Taken) -> Result<(), BackupError> {
    let (path, next) = (data.join(LAST), data.join(".last-backup"));
    let failed = |source| BackupError::Io { path: path.clone(), source };
    let bytes = serde_json::to_vec(taken).map_err(|error| failed(error.into()))?;
    fs::write(&next, bytes).map_err(failed)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&next, &path).map_err(failed)
}

/// The last backup of a data directory, if it remembers one.
pub(crate) fn last_taken(data: &Path) -> Option<Taken> {
    serde_json::from_slice(&fs::read(data.join(LAST)).ok()?).ok()
}
