//! A copy of a published log: what its newest checkpoint needs, and that checkpoint.
//!
//! The log may grow meanwhile: files never change once they are there, and the checkpoint is read first. Checkpoints of
//! earlier sizes and their partial tiles stay behind: what they prove follows from the newest.

use std::path::Path;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::files::{self, CHECKPOINT, CHECKPOINTS, ReadError, WriteError, Writer};
use crate::tile::{Kind, growth};
use crate::vkey::VerifierKey;

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is a checkpoint, and it is not one of this log.
    #[error("the published checkpoint is not one of this log: check the directory and the key")]
    Checkpoint(#[from] CheckpointError),
    /// A file could not be read.
    #[error("a published file cannot be read")]
    Read(#[from] ReadError),
    /// A file could not be written.
    #[error("a file cannot be copied")]
    Write(#[from] WriteError),
}

/// Copies a log into an empty directory. Gives the checkpoint that was copied last; none if nothing was published yet.
/// `copied` hears how many tiles are done, of how many.
pub fn copy(
    from: &Path,
    to: &Path,
    log: &VerifierKey,
    mut copied: impl FnMut(u64, u64),
) -> Result<Option<SignedCheckpoint>, CopyError> {
    let Some(note) = files::read_checkpoint(from)? else { return Ok(None) };
    let checkpoint = SignedCheckpoint::open(&note, log)?;
    let size = checkpoint.head().size;
    let all = u64::try_from(growth(0, size).count()).unwrap_or(u64::MAX);
    let mut writer = Writer::new(to);
    for (done, tile) in (1..).zip(growth(0, size)) {
        let bytes = match tile.kind() {
            Kind::Entries => files::read_bundle(from, tile)?,
            Kind::Hashes { .. } => {
                files::read_hashes(from, tile)?.iter().flat_map(|hash| *hash.as_bytes()).collect()
            }
        };
        writer.create(&tile.path(), &bytes)?;
        copied(done, all);
    }
    writer.create(&format!("{CHECKPOINTS}/{size}"), &note)?;
    writer.sync()?;
    writer.replace(CHECKPOINT, &note)?;
    writer.sync()?;
    Ok(Some(checkpoint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vkey::KeyName;
    use crate::{Frontier, Publisher, Signer, Verification, leaf_hash};

    fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        range.map(|index| format!("entry {index}").into_bytes()).collect()
    }

    fn publish(publisher: &mut Publisher, size: u64) {
        let mut frontier = Frontier::new();
        for entry in entries(0..size) {
            frontier.append(leaf_hash(&entry)).unwrap();
        }
        let mut read = |range: std::ops::Range<u64>| Ok::<_, std::io::Error>(entries(range));
        publisher.publish(frontier.head(), &mut read).unwrap();
    }

    #[test]
    fn a_copy_verifies_and_goes_on_like_the_log() {
        let (log, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let signer = Signer::from_seed(KeyName::parse("placet.example/a").unwrap(), &[7; 32]);
        let key = signer.verifier_key();
        let nothing = copy(empty.path(), empty.path(), &key, |_, _| {}).unwrap();
        assert_eq!(nothing, None);
        let mut publisher = Publisher::open(log.path(), signer.clone()).unwrap();
        for size in [1, 255, 256, 257, 600] {
            publish(&mut publisher, size);
            let target = tempfile::tempdir().unwrap();
            let mut last = (0, 0);
            let copied =
                copy(log.path(), target.path(), &key, |done, all| last = (done, all)).unwrap().unwrap();
            assert_eq!((copied.head().size, last.0), (size, last.1));
            let report = Verification::open(target.path(), &key).unwrap().run(|_, _| Ok(())).unwrap();
            assert_eq!(report.entries, size);
            publish(&mut Publisher::open(target.path(), signer.clone()).unwrap(), size + 300);
        }
    }

    #[test]
    fn another_logs_checkpoint_and_a_missing_tile_are_refused() {
        let (log, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let signer = |seed| Signer::from_seed(KeyName::parse("placet.example/a").unwrap(), &[seed; 32]);
        publish(&mut Publisher::open(log.path(), signer(7)).unwrap(), 300);
        let other = copy(log.path(), target.path(), &signer(8).verifier_key(), |_, _| {});
        assert!(matches!(other, Err(CopyError::Checkpoint(_))));
        std::fs::remove_file(log.path().join("tile/entries/000")).unwrap();
        let torn = copy(log.path(), target.path(), &signer(7).verifier_key(), |_, _| {});
        assert!(matches!(torn, Err(CopyError::Read(_))));
        assert!(!target.path().join("checkpoint").exists(), "a copy without its tiles has no checkpoint");
    }
}
