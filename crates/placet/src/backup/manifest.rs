//! What a backup says of itself: which log, which keys, and the hash of every file. It is written last, so that a torn
//! backup has none, and it is vouched for under the root key, so that nobody without it can alter both.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use placet_core::digest::Sha256Digest;
use placet_store::keys::KeyStore;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{BackupError, place};

/// The manifest's file.
pub(crate) const MANIFEST: &str = "manifest.json";
/// What vouches for it.
pub(super) const MAC: &str = "manifest.mac";
/// What the key that vouches is derived for.
const LABEL: &str = "backup-manifest";
/// A log of a hundred million entries has files for this much.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// The form that this version writes and reads.
const VERSION: u32 = 1;

/// A backup, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The form of this file.
    pub(crate) v: u32,
    /// The version that wrote it.
    pub(crate) placet: String,
    /// When it was taken.
    pub(crate) taken_at: String,
    /// The origin of the log's first epoch, as it is configured.
    pub(crate) log_origin: String,
    /// The log's epoch.
    pub(crate) epoch: u32,
    /// The log's public key.
    pub(crate) vkey: String,
    /// Which key store opens it.
    pub(crate) key_store: String,
    /// How many data keys it had at least: an older copy of it opens less.
    pub(crate) data_keys: u64,
    /// The number of the schema.
    pub(crate) schema: i64,
    /// Entries in the database.
    pub(crate) entries: u64,
    /// Root of the tree over them.
    pub(crate) root: String,
    /// Size of the newest checkpoint that was published then; none if there was none.
    pub(crate) published: Option<u64>,
    /// Every other file.
    pub(crate) files: BTreeMap<String, FileNote>,
}

/// A file of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileNote {
    /// How long.
    pub(crate) bytes: u64,
    /// Its hash, in hex.
    pub(crate) sha256: String,
}

impl Manifest {
    /// The form that this version writes.
    pub(super) const V: u32 = VERSION;

    /// Reads a backup's manifest.
    pub(crate) fn read(backup: &Path) -> Result<(Self, Vec<u8>), BackupError> {
        let path = backup.join(MANIFEST);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BackupError::Torn(backup.to_owned()));
            }
            Err(source) => return Err(BackupError::Io { path, source }),
        }
        let said: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| BackupError::Altered(format!("{MANIFEST} cannot be read: {error}")))?;
        if said.get("v").and_then(serde_json::Value::as_u64).is_some_and(|v| v > u64::from(VERSION)) {
            return Err(BackupError::NewerManifest);
        }
        let manifest = serde_json::from_value(said)
            .map_err(|error| BackupError::Altered(format!("{MANIFEST} cannot be read: {error}")))?;
        Ok((manifest, bytes))
    }

    /// Writes it beside the files that it speaks of, and what vouches for it.
    pub(super) fn write(&self, backup: &Path, keys: &KeyStore) -> Result<(), BackupError> {
        let failed = |source| BackupError::Io { path: backup.join(MANIFEST), source };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        write_new(&backup.join(MAC), format!("{}\n", mac(keys, &bytes)).as_bytes())?;
        place::sync(backup)?;
        // Under its name only when it is whole.
        let next = backup.join(".manifest");
        write_new(&next, &bytes)?;
        fs::rename(&next, backup.join(MANIFEST)).map_err(failed)?;
        place::sync(backup)
    }

    /// Whether these keys vouch for the manifest's bytes.
    pub(super) fn is_vouched_for(backup: &Path, bytes: &[u8], keys: &KeyStore) -> bool {
        let said = fs::read_to_string(backup.join(MAC)).ok();
        said.and_then(|said| Sha256Digest::parse(said.trim()).ok())
            .is_some_and(|said| said == mac(keys, bytes))
    }
}

fn mac(keys: &KeyStore, bytes: &[u8]) -> Sha256Digest {
    // Hashed once more, so that comparing it tells nothing of the mac.
    Sha256Digest::of(keys.mac(LABEL, bytes).expose())
}

/// Writes a file that was not there, for nobody else, durably.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| BackupError::Io { path: path.to_owned(), source })
}

/// Every file below a directory with its hash, but the manifest's own.
pub(super) fn notes(
    root: &Path,
    mut hashed: impl FnMut(u64, u64),
) -> Result<BTreeMap<String, FileNote>, BackupError> {
    let files = place::files(root)?;
    let all = files.len() as u64;
    let mut notes = BTreeMap::new();
    for (done, path) in (1..).zip(files) {
        if path != MANIFEST && path != MAC {
            notes.insert(path.clone(), note(&root.join(&path))?);
        }
        hashed(done, all);
    }
    Ok(notes)
}

fn note(path: &Path) -> Result<FileNote, BackupError> {
    let failed = |source| BackupError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut buffer, mut bytes) = (sha2::Sha256::new(), vec![0; 1 << 16], 0_u64);
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(read as u64);
    }
    let sha256 = Sha256Digest::from_bytes(hasher.finalize().into()).to_string();
    Ok(FileNote { bytes, sha256 })
}
