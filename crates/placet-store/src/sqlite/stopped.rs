//! A store that has stopped, and what a start does about what such a store has left.
//!
//! ```text
//!  open ──a write or sync failed, the head is another, the writer panicked──► stopped ──restart──► settle ──► open
//! ```
//!
//! After an `fsync` that failed, Linux counts the pages that it could not write as written: reading shows them, the
//! next `fsync` succeeds, and a power cut takes them away. So whoever goes on after such a failure acknowledges what
//! is not stored. A stopped store answers nothing, and does not try again. The next start finds in the write-ahead log
//! what the kernel shows, which may be more than the disk has: [`settle`] writes it once more and waits until it is
//! stored, before anything is built upon it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Shared;
use crate::{CommitError, ViewError};

/// Why a store has stopped. Only a restart of placet opens it again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Stopped {
    /// What can be read may not be what is stored.
    #[error(
        "a write to its disk failed ({0}), so what can be read may not be what is stored: mend the disk, then restart placet"
    )]
    Disk(String),
    /// What the writer remembers is not what is stored.
    #[error("what failed was written after all, or not taken back: restart placet")]
    Diverged,
    /// Our bug.
    #[error("its writer failed for a reason of ours: restart placet")]
    Panicked,
}

impl From<Stopped> for ViewError {
    fn from(why: Stopped) -> Self {
        ViewError::Stopped(why.to_string())
    }
}

impl From<Stopped> for CommitError {
    fn from(why: Stopped) -> Self {
        CommitError::Stopped(why.to_string())
    }
}

impl Shared {
    /// From now on nothing is answered. What stopped it first is what is told.
    pub(super) fn stop(&self, why: Stopped) {
        if self.stopped.set(why.clone()).is_ok() {
            tracing::error!(reason = %why, "the store has stopped: nothing is read or written until placet is restarted");
        }
    }

    /// Whether it answers.
    pub(super) fn up(&self) -> Result<(), Stopped> {
        self.stopped.get().cloned().map_or(Ok(()), Err)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// Why nobody answers. A writer that is gone without a word has panicked, and is about to say so.
    pub(super) fn why_stopped(&self) -> Stopped {
        self.stopped.get().cloned().unwrap_or(Stopped::Panicked)
    }
}

/// How much is settled at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// Makes sure that a write-ahead log that was left is on the disk as it reads: the same bytes, written once more. A
/// process that ended in good order leaves none.
pub(super) fn settle(log: &Path) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut piece, at)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        file.write_all_at(bytes, at)?;
        at = at.saturating_add(read as u64);
    }
    if at > 0 { file.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_changes_no_byte() {
        let space = tempfile::tempdir().unwrap();
        let log = space.path().join("placet.db-wal");
        settle(&log).unwrap();
        assert!(!log.exists(), "none is made");
        for length in [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            std::fs::write(&log, &bytes).unwrap();
            settle(&log).unwrap();
            assert!(std::fs::read(&log).unwrap() == bytes, "{length}");
        }
    }
}
