//! Putting a backup where `placet up` finds it, and going on from one that is older than the published log.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_broker::restored::{self, Accepted};
use placet_core::directory::Operator;
use placet_core::entropy::Entropy;
use placet_core::time::Clock;
use placet_ledger::{KeyName, PublishedLog, SignedCheckpoint, Signer, VerifierKey};
use placet_store::keys::{KeyStore, RootKeySource};
use placet_store::sqlite::copy::DatabaseCopy;
use placet_store::{LogName, Options, SqliteStore, Views as _};
use serde::Serialize;

use super::check::{Checked, check};
use super::manifest::Manifest;
use super::take::hex;
use super::{BackupError, DATABASE, KEYS, LOG, Progress, VKEY, place};
use crate::config::Config;
use crate::log_key;

/// A restored backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Restored {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// What was checked of it.
    #[serde(flatten)]
    pub(crate) checked: Checked,
}

/// What a restore is made from and into.
struct Restoring<'a> {
    backup: &'a Path,
    keys: &'a Path,
    dir: &'a Path,
    config: &'a Config,
    manifest: &'a Manifest,
    /// The manifest's bytes, which the keys vouch for.
    bytes: &'a [u8],
}

/// Restores a backup into the data directory of this configuration. On any failure nothing of it stays there.
pub(crate) fn restore(
    backup: &Path,
    keys: Option<&Path>,
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    progress: &Progress,
) -> Result<Restored, BackupError> {
    let checked = check(backup, progress)?;
    let (manifest, bytes) = Manifest::read(backup)?;
    if manifest.log_origin != config.log.origin.as_str() {
        return Err(BackupError::OtherKeys(format!(
            "it is of the log {}, and log.origin says {}",
            manifest.log_origin, config.log.origin
        )));
    }
    let keys = keys.ok_or(BackupError::NoKeys)?;
    let dir = std::path::absolute(&config.dir)
        .map_err(|source| BackupError::Io { path: config.dir.clone(), source })?;
    place::make(&dir)?;
    let restoring = Restoring { backup, keys, dir: &dir, config, manifest: &manifest, bytes: &bytes };
    let put = restoring.put_keys(entropy).and_then(|()| restoring.put_files(progress)).and_then(|()| {
        // As `placet up` will: it brings the schema to this version too.
        open(&dir, config, clock, entropy).map(drop)
    });
    if let Err(error) = put {
        // It was empty before, so everything in it is ours to remove.
        let _ = fs::remove_dir_all(&dir);
        return Err(error);
    }
    Ok(Restored { directory: dir, checked })
}

impl Restoring<'_> {
    /// The keys, if they are those of this backup, and vouch for it.
    fn put_keys(&self, entropy: &Arc<dyn Entropy>) -> Result<(), BackupError> {
        let (manifest, own) = (self.manifest, self.dir.join(KEYS));
        place::make(&own)?;
        for name in key_files(self.keys)? {
            copy(&self.keys.join(&name), &own.join(&name))?;
        }
        if !own.join("keys.db").exists() {
            // The key store would make a new one, which opens nothing.
            return Err(BackupError::NoKeys);
        }
        let store = KeyStore::open(&own, &root_key(self.config), entropy.clone())?;
        if hex(&store.id()) != manifest.key_store {
            return Err(BackupError::OtherKeys("the keys belong to other data".to_owned()));
        }
        let missing = manifest.data_keys.saturating_sub(store.data_keys()?);
        if missing > 0 {
            return Err(BackupError::OtherKeys(format!(
                "the keys were copied before the backup was taken, and {missing} of its keys are not among them"
            )));
        }
        if !Manifest::is_vouched_for(self.backup, self.bytes, &store) {
            return Err(BackupError::Altered("its manifest was not written with these keys".to_owned()));
        }
        let name = LogName::of(&manifest.log_origin, manifest.epoch);
        if signer(&own, &name)?.verifier_key().to_string() != manifest.vkey {
            return Err(BackupError::OtherKeys("log.key is of another log".to_owned()));
        }
        Ok(())
    }

    fn put_files(&self, progress: &Progress) -> Result<(), BackupError> {
        let files = &self.manifest.files;
        for (done, path) in (1..).zip(files.keys()) {
            copy(&self.backup.join(path), &self.dir.join(path))?;
            progress.at("copying files", done, files.len() as u64);
        }
        place::sync(self.dir)
    }
}

fn root_key(config: &Config) -> RootKeySource {
    config.root_key_file.clone().map_or(RootKeySource::Own, RootKeySource::File)
}

fn open(
    dir: &Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<SqliteStore, BackupError> {
    let origin = config.log.origin.as_str().to_owned();
    let options =
        Options { clock: clock.clone(), entropy: entropy.clone(), origin, root_key: root_key(config) };
    Ok(SqliteStore::open(dir, options)?)
}

/// The files of a key store, and no others.
fn key_files(keys: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |source| BackupError::Io { path: keys.to_owned(), source };
    let mut files = log_key::files(keys).map_err(failed)?;
    files.extend(
        ["keys.db", "root.key"].map(str::to_owned).into_iter().filter(|name| keys.join(name).exists()),
    );
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    if let Some(parent) = to.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed(parent))?;
    }
    let no_link = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    let mut source =
        fs::OpenOptions::new().read(true).custom_flags(no_link).open(from).map_err(failed(from))?;
    let mut target =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed(to))?;
    io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(failed(to))
}

fn signer(keys: &Path, name: &LogName) -> Result<Signer, BackupError> {
    let path = log_key::path(keys, name.epoch);
    let seed = log_key::existing(&path).map_err(|source| BackupError::Io { path, source })?;
    let origin = KeyName::parse(&name.origin).map_err(|error| BackupError::Broken(error.to_string()))?;
    Ok(Signer::from_seed(origin, &seed))
}

/// A rollback that was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct AcceptedRollback {
    /// The log's name from now on.
    pub(crate) origin: String,
    /// Its key, to hand out.
    pub(crate) vkey: String,
    /// How many entries it begins with.
    pub(crate) entries: u64,
    /// How many had been published under the old name.
    pub(crate) published: u64,
    /// Where the old log lies, as evidence.
    pub(crate) evidence: PathBuf,
    /// Requests that were open and have ended.
    pub(crate) requests: usize,
    /// People whose links, sessions and API tokens have ended.
    pub(crate) people: usize,
    /// Agents whose tokens open nothing any more.
    pub(crate) agents: usize,
}

/// Lets a database go on that is behind the log beside it, as the next epoch of that log. What was interrupted is
/// finished by the next call.
pub(crate) async fn accept_rollback(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<AcceptedRollback, BackupError> {
    let dir = std::path::absolute(&config.dir)
        .map_err(|source| BackupError::Io { path: config.dir.clone(), source })?;
    if dir.join(DATABASE).symlink_metadata().is_err() {
        return Err(BackupError::NothingToAccept(format!("there is no database in {}", dir.display())));
    }
    let (keys, log) = (dir.join(KEYS), dir.join(LOG));
    let store = open(&dir, config, clock, entropy)?;
    let head = store.log().await.map_err(placet_broker::CallError::from)?;
    let (present, next) =
        (head.name, |name: &LogName| LogName::of(config.log.origin.as_str(), name.epoch.saturating_add(1)));
    let key = signer(&keys, &present)?.verifier_key();
    let published = match PublishedLog::open(&log, &key) {
        Ok(published) => published.checkpoint().clone(),
        Err(error) => {
            return finish_interrupted(&dir, config, &present, &store, &key).await?.ok_or(error.into());
        }
    };
    if let Some(then) = DatabaseCopy::open(&dir.join(DATABASE))?.replay(published.head().size)?
        && then.root() == published.head().root
    {
        return Err(BackupError::NothingToAccept(
            "this database continues what was published; start it with `placet up`".to_owned(),
        ));
    }
    let name = next(&present);
    let path = log_key::path(&keys, name.epoch);
    log_key::load(&path, true, entropy.as_ref()).map_err(|source| BackupError::Io { path, source })?;
    let operator = operator(&store).await?;
    let accepted =
        restored::accept_rollback(&store, entropy.as_ref(), &operator, name.clone(), &published).await?;
    drop(store);
    let evidence = set_aside(&dir, &present, &key)?;
    Ok(told(accepted, signer(&keys, &name)?.verifier_key(), &published, evidence))
}

fn told(
    accepted: Accepted,
    vkey: VerifierKey,
    published: &SignedCheckpoint,
    evidence: PathBuf,
) -> AcceptedRollback {
    AcceptedRollback {
        origin: accepted.name.origin,
        vkey: vkey.to_string(),
        entries: accepted.size,
        published: published.head().size,
        evidence,
        requests: accepted.requests,
        people: accepted.people,
        agents: accepted.agents,
    }
}

/// The epoch had begun already, and the old log still lies where the new one will: only that is left to do.
async fn finish_interrupted(
    dir: &Path,
    config: &Config,
    present: &LogName,
    store: &SqliteStore,
    key: &VerifierKey,
) -> Result<Option<AcceptedRollback>, BackupError> {
    if present.epoch < 2 {
        return Ok(None);
    }
    let old = LogName::of(config.log.origin.as_str(), present.epoch - 1);
    let old_key = signer(&dir.join(KEYS), &old)?.verifier_key();
    let Ok(published) = PublishedLog::open(&dir.join(LOG), &old_key) else { return Ok(None) };
    let published = published.checkpoint().clone();
    let size = store.log().await.map_err(placet_broker::CallError::from)?.frontier.size();
    let evidence = set_aside(dir, &old, &old_key)?;
    let accepted = Accepted { name: present.clone(), size, requests: 0, people: 0, agents: 0 };
    Ok(Some(told(accepted, key.clone(), &published, evidence)))
}

/// Moves the log of an epoch that has ended out of the way, with the key that verifies it.
fn set_aside(dir: &Path, old: &LogName, key: &VerifierKey) -> Result<PathBuf, BackupError> {
    let evidence = dir.join(format!("{LOG}.e{}", old.epoch));
    let failed = |source| BackupError::Io { path: evidence.clone(), source };
    fs::write(dir.join(format!("{LOG}.e{}.vkey", old.epoch)), format!("{key}\n")).map_err(failed)?;
    let _ = fs::remove_file(dir.join(VKEY));
    fs::rename(dir.join(LOG), &evidence).map_err(failed)?;
    place::sync(dir)?;
    Ok(evidence)
}

async fn operator(store: &SqliteStore) -> Result<Operator, BackupError> {
    let uid = nix::unistd::geteuid().as_raw();
    let directory = store.directory().await.map_err(placet_broker::CallError::from)?;
    let person = directory.people.values().find(|person| person.operator_uid == Some(uid));
    Ok(Operator { uid, person: person.map(|person| person.id) })
}
