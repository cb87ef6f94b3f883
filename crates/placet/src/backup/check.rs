//! Checking a backup: every file is what the manifest says, the database is whole, its entries give the root of its
//! head, the published log verifies, and the database continues it. No key is needed.

use std::collections::BTreeMap;
use std::path::Path;

use placet_core::time::Timestamp;
use placet_ledger::{SignedCheckpoint, Verification, VerifierKey};
use placet_store::LogName;
use placet_store::sqlite::copy::DatabaseCopy;
use serde::Serialize;

use super::manifest::{self, Manifest};
use super::take::hex;
use super::{BackupError, DATABASE, LOG, Progress};
use crate::commands::trail::Rules;

/// A backup that was found whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Checked {
    /// When it was taken.
    pub(crate) taken_at: String,
    /// The log's origin.
    pub(crate) origin: String,
    /// The number of its schema.
    pub(crate) schema: i64,
    /// Entries in the database.
    pub(crate) entries: u64,
    /// Root of the tree over them.
    pub(crate) root: String,
    /// Size of the published checkpoint in it.
    pub(crate) published: Option<u64>,
    /// How many files were hashed.
    pub(crate) files: u64,
    /// How many bytes they have.
    pub(crate) bytes: u64,
    /// How long the log is, in time.
    pub(crate) last_entry: Option<String>,
}

/// Checks a backup.
pub(crate) fn check(backup: &Path, progress: &Progress) -> Result<Checked, BackupError> {
    let (manifest, _) = Manifest::read(backup)?;
    let altered = |why: String| BackupError::Altered(why);
    let found = manifest::notes(backup, |done, all| progress.at("hashing files", done, all))?;
    compare(&manifest.files, &found)?;
    progress.at("checking the database", 0, 0);
    let copy = DatabaseCopy::open(&backup.join(DATABASE))?;
    copy.check()?;
    let about = copy.about();
    let name = LogName::of(&manifest.log_origin, manifest.epoch);
    let same = about.log == name
        && hex(&about.key_store) == manifest.key_store
        && about.schema == manifest.schema
        && about.frontier.size() == manifest.entries
        && about.frontier.root().to_string() == manifest.root;
    if !same {
        return Err(altered("its database is not the one of its manifest".to_owned()));
    }
    let vkey = VerifierKey::parse(&manifest.vkey)
        .ok()
        .filter(|vkey| vkey.name().as_str() == name.origin)
        .ok_or_else(|| altered("its log has another name than its key".to_owned()))?;
    let published = match manifest.published {
        None => None,
        Some(size) => {
            progress.at("verifying the log", 0, size);
            let checkpoint = verify(&backup.join(LOG), &vkey, progress)?;
            if checkpoint.head().size != size {
                return Err(altered("its checkpoint is not the one of its manifest".to_owned()));
            }
            Some(checkpoint)
        }
    };
    extends(&copy, published.as_ref())?;
    let last = (about.last_time > Timestamp::EPOCH).then(|| about.last_time.to_string());
    Ok(Checked {
        taken_at: manifest.taken_at,
        origin: name.origin,
        schema: manifest.schema,
        entries: manifest.entries,
        root: manifest.root,
        published: manifest.published,
        files: found.len() as u64,
        bytes: found.values().map(|file| file.bytes).sum(),
        last_entry: last,
    })
}

fn compare(
    said: &BTreeMap<String, manifest::FileNote>,
    found: &BTreeMap<String, manifest::FileNote>,
) -> Result<(), BackupError> {
    if let Some(path) = found.keys().find(|path| !said.contains_key(*path)) {
        return Err(BackupError::Altered(format!("{path} is not in its manifest")));
    }
    for (path, note) in said {
        match found.get(path) {
            None => return Err(BackupError::Altered(format!("{path} is missing"))),
            Some(other) if other != note => {
                return Err(BackupError::Altered(format!("{path} is not what its manifest says")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The whole log, with every request's trail.
fn verify(log: &Path, vkey: &VerifierKey, progress: &Progress) -> Result<SignedCheckpoint, BackupError> {
    let mut rules = Rules::of(vkey.name().as_str());
    let verification = Verification::open(log, vkey)?;
    let report = verification.run(|index, bytes| {
        progress.at("verifying the log", index, 0);
        rules.take(index, bytes).map(drop).map_err(Into::into)
    })?;
    Ok(report.checkpoint)
}

/// Whether a database has everything that was published of it, and its entries are those of its head.
pub(super) fn extends(copy: &DatabaseCopy, published: Option<&SignedCheckpoint>) -> Result<(), BackupError> {
    let Some(published) = published else { return Ok(copy.replay(0).map(drop)?) };
    let head = published.head();
    match copy.replay(head.size)? {
        Some(then) if then.root() == head.root => Ok(()),
        Some(_) => Err(BackupError::Altered(format!(
            "its database has another history than its log published, at size {}",
            head.size
        ))),
        None => Err(BackupError::Altered(format!(
            "its database has {} entries, and its log published {}",
            copy.about().frontier.size(),
            head.size
        ))),
    }
}
