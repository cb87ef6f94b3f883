//! The log's directory: bounded reads, and writes that survive a crash.
//!
//! A file of the log never changes once it is there, except `checkpoint`. Each is written beside, made durable,
//! renamed into place; [`Writer::sync`] then makes the names durable. One process writes, as many as like read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::bundle::{BUNDLE_BYTES_MAX, split_prefix};
use crate::hash::{HASH_BYTES, Hash};
use crate::note::NOTE_BYTES_MAX;
use crate::tile::Tile;

/// The newest signed checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// A copy of every checkpoint, by size.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// What the writer holds a lock on.
pub(crate) const LOCK: &str = ".lock";
/// Where a file is written before it gets its name. One is enough, because one process writes.
const NEXT: &str = ".next";

/// A file of the log that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("{path} is missing: fetch it again, or publish the log again from the store")]
    Missing {
        /// Below the log's directory.
        path: String,
    },
    /// It is there and is not what its name says.
    #[error("{path} is damaged: fetch it again, or remove it and publish the log again from the store")]
    Damaged {
        /// Below the log's directory.
        path: String,
    },
    /// The system refused.
    #[error("{path} cannot be read: check the directory's permissions and the disk")]
    Io {
        /// Below the log's directory.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Reads a whole file; `None` if there is none, damaged if it is longer than it may be.
pub(crate) fn read(dir: &Path, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let file = match File::open(dir.join(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max { Err(ReadError::Damaged { path: path.to_owned() }) } else { Ok(Some(bytes)) }
}

pub(crate) fn read_checkpoint(dir: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    read(dir, CHECKPOINT, NOTE_BYTES_MAX)
}

/// Reads the file of a tile, or of the full one at its place if the partial one is gone already; says which it was.
fn read_tile(dir: &Path, tile: Tile, bytes_max: usize) -> Result<(Tile, Vec<u8>), ReadError> {
    for candidate in [tile, tile.full()] {
        if let Some(bytes) = read(dir, &candidate.path(), bytes_max)? {
            return Ok((candidate, bytes));
        }
    }
    Err(ReadError::Missing { path: tile.path() })
}

/// The hashes of a tile, exactly as many as it is wide.
pub(crate) fn read_hashes(dir: &Path, tile: Tile) -> Result<Vec<Hash>, ReadError> {
    let (found, bytes) = read_tile(dir, tile, usize::from(tile.full().width()) * HASH_BYTES)?;
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() || hashes.len() != usize::from(found.width()) {
        return Err(ReadError::Damaged { path: found.path() });
    }
    Ok(hashes.iter().take(usize::from(tile.width())).copied().map(Hash::from_bytes).collect())
}

/// The bundle of a tile's entries, cut to exactly as many as it is wide.
pub(crate) fn read_bundle(dir: &Path, tile: Tile) -> Result<Vec<u8>, ReadError> {
    let (found, mut bytes) = read_tile(dir, tile, BUNDLE_BYTES_MAX)?;
    let behind = match split_prefix(&bytes, tile.width()) {
        Ok((_, behind)) => behind.len(),
        Err(_) => return Err(ReadError::Damaged { path: found.path() }),
    };
    if found == tile && behind > 0 {
        return Err(ReadError::Damaged { path: found.path() });
    }
    bytes.truncate(bytes.len() - behind);
    Ok(bytes)
}

/// A file of the log that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is there already, with other bytes.
    #[error(
        "{path} exists with other content: if the file was damaged, move it away and rebuild; if the store was \
         restored from a backup, restore a newer one"
    )]
    Conflict {
        /// Below the log's directory.
        path: String,
    },
    /// The file that is there cannot be compared.
    #[error("the existing file cannot be compared")]
    Read(#[from] ReadError),
    /// The system refused.
    #[error("{path} cannot be written: check the directory's permissions and the space on the disk")]
    Io {
        /// Below the log's directory.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Writes files of the log and remembers which directories are not durable yet.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    unsynced: BTreeSet<PathBuf>,
}

impl Writer {
    pub(crate) fn new(dir: &Path) -> Self {
        Writer { dir: dir.to_owned(), unsynced: BTreeSet::new() }
    }

    /// Writes a file that never changes. If it is there, it must have these bytes.
    pub(crate) fn create(&mut self, path: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let existing = match read(&self.dir, path, bytes.len()) {
            Err(ReadError::Damaged { path }) => return Err(WriteError::Conflict { path }),
            other => other?,
        };
        match existing {
            None => self.replace(path, bytes),
            Some(existing) if existing == bytes => {
                self.note_directories(path);
                Ok(())
            }
            Some(_) => Err(WriteError::Conflict { path: path.to_owned() }),
        }
    }

    /// Writes a file, whatever was there: readers see the old bytes or the new ones.
    pub(crate) fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let failed = |source| WriteError::Io { path: path.to_owned(), source };
        let target = self.dir.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let next = self.dir.join(NEXT);
        let mut file = File::create(&next).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&next, &target).map_err(failed)?;
        self.note_directories(path);
        Ok(())
    }

    /// Every directory on the way to the file: a crash may have left any of them without a durable name.
    fn note_directories(&mut self, path: &str) {
        let parents = Path::new(path).ancestors().skip(1).map(|parent| self.dir.join(parent));
        self.unsynced.extend(parents);
    }

    /// Makes the names of all files written so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), WriteError> {
        while let Some(directory) = self.unsynced.pop_first() {
            let synced = File::open(&directory).and_then(|directory| directory.sync_all());
            synced.map_err(|source| WriteError::Io { path: directory.display().to_string(), source })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        for _twice in 0..2 {
            writer.create("tile/0/000.p/1", b"abc").unwrap();
            writer.sync().unwrap();
        }
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            let refused = writer.create("tile/0/000.p/1", other);
            assert!(matches!(refused, Err(WriteError::Conflict { .. })), "{other:?}");
        }
        assert_eq!(fs::read(dir.path().join("tile/0/000.p/1")).unwrap(), b"abc");
        assert!(!dir.path().join(NEXT).exists());
    }

    #[test]
    fn a_long_file_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), vec![0; 1001]).unwrap();
        assert!(matches!(read(dir.path(), "x", 1000), Err(ReadError::Damaged { .. })));
        assert_eq!(read(dir.path(), "x", 1001).unwrap().unwrap().len(), 1001);
        assert!(read(dir.path(), "y", 1).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tile"), b"a file where a directory should be").unwrap();
        let refused = Writer::new(dir.path()).replace("tile/0/000", b"x");
        assert!(matches!(refused, Err(WriteError::Io { .. })));
    }
}
