//! The publisher: entries of the store become files that anyone can check, and then one signature.
//!
//! The order is the point. Entry bundles and tiles come first, full ones and partial ones, each durable; their root
//! must be the root that the store's writer computed on its own; only then is the checkpoint signed, and it replaces
//! the old one in one rename. A crash at any step leaves the old checkpoint and files that the next run finds equal.
//!
//! The publisher never signs two different histories. A store that has fewer entries than were published was restored
//! from a backup ([`PublishError::Rollback`]); one that has other entries was forked ([`PublishError::Fork`]). Both
//! are refused, and nothing here can override it: the way on is another log with another origin and key.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::bundle::{EntryTooLong, push_entry, split_entries};
use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, TreeHead};
use crate::edge::Edge;
use crate::files::{self, CHECKPOINT, CHECKPOINTS, LOCK, ReadError, WriteError, Writer};
use crate::hash::{Hash, leaf_hash};
use crate::note::Signer;
use crate::tile::{Kind, TILE_WIDTH, Tile, growth};
use crate::vkey::VerifierKey;

/// Where the entries are: the store.
pub trait Entries {
    /// What can go wrong there.
    type Error: Error + Send + Sync + 'static;

    /// The entries of a range of at most 256 indices, in order and without a gap.
    fn read(&mut self, range: Range<u64>) -> Result<Vec<Vec<u8>>, Self::Error>;
}

impl<F, E> Entries for F
where
    F: FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, E>,
    E: Error + Send + Sync + 'static,
{
    type Error = E;

    fn read(&mut self, range: Range<u64>) -> Result<Vec<Vec<u8>>, E> {
        self(range)
    }
}

/// The only writer of a log's directory, and the only one that signs for it.
#[derive(Debug)]
pub struct Publisher {
    dir: PathBuf,
    signer: Signer,
    log: VerifierKey,
    published: Option<SignedCheckpoint>,
    /// The right edge at the published size, if the last growth ended well; else it is read from the files.
    edge: Option<(Edge, Vec<u8>)>,
    /// Held as long as the publisher lives.
    _lock: File,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store has fewer entries than were published.
    #[error(
        "the store has {head} entries, {published} were published: it was restored from a backup; restore a newer one"
    )]
    Rollback {
        /// The size of the last checkpoint.
        published: u64,
        /// The size that the store has.
        head: u64,
    },
    /// The store has other entries than were published.
    #[error(
        "the store's history is not the published one at size {size}: it was restored and went on differently; \
             keep both as evidence and restore the right one"
    )]
    Fork {
        /// The size at which the roots were compared.
        size: u64,
        /// The root of the published files, grown to this size.
        published: Hash,
        /// The root that the store has.
        head: Hash,
    },
    /// The checkpoint file is not the one that this publisher wrote or found.
    #[error(
        "the checkpoint was replaced from outside: stop what writes there; after a restored backup, restore a newer one"
    )]
    Replaced,
    /// There are copies of checkpoints, but the checkpoint itself is gone.
    #[error("checkpoints were published but the newest is gone: restore the directory")]
    CheckpointGone,
    /// The checkpoint file is not one of this log.
    #[error("the published checkpoint is not one of this log: check the directory and the key")]
    Checkpoint(#[from] CheckpointError),
    /// The published files do not give the published root.
    #[error("the published tiles do not give the published root: rebuild them from the store")]
    Damaged,
    /// Another publisher holds the directory.
    #[error("another process publishes to this directory: stop it first")]
    Locked,
    /// The store gave too few entries.
    #[error("entry {index} is missing in the store, whose head says it is there: check the store")]
    EntryMissing {
        /// The first that is missing.
        index: u64,
    },
    /// The store gave more entries than its head says.
    #[error("the store gave more entries than the {size} of its head: check the store")]
    Surplus {
        /// The size of the head.
        size: u64,
    },
    /// An entry is too long.
    #[error("an entry is too long")]
    EntryTooLong(#[from] EntryTooLong),
    /// The store could not give its entries.
    #[error("the store cannot give its entries")]
    Entries(#[source] Box<dyn Error + Send + Sync>),
    /// A file could not be read.
    #[error("a published file cannot be read")]
    Read(#[from] ReadError),
    /// A file could not be written.
    #[error("a file cannot be published")]
    Write(#[from] WriteError),
}

impl Publisher {
    /// Takes the directory, which is made if it is not there, and finds the last checkpoint.
    pub fn open(dir: &Path, signer: Signer) -> Result<Self, PublishError> {
        let failed = |source| WriteError::Io { path: dir.display().to_string(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = File::create(dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(PublishError::Locked),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        let log = signer.verifier_key();
        let published = read_published(dir, &log)?;
        Ok(Publisher { dir: dir.to_owned(), signer, log, published, edge: None, _lock: lock })
    }

    /// The newest checkpoint, if there is one.
    #[must_use]
    pub const fn published(&self) -> Option<&SignedCheckpoint> {
        self.published.as_ref()
    }

    /// What readers check this log with.
    #[must_use]
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.log
    }

    /// Publishes all entries up to the store's head. Does nothing if they are published already.
    pub fn publish<S: Entries>(
        &mut self,
        head: TreeHead,
        entries: &mut S,
    ) -> Result<SignedCheckpoint, PublishError> {
        self.begin(head)?.take_all(entries)
    }

    /// The same from the first entry on: writes every file that is missing and compares every one that is there.
    pub fn rebuild<S: Entries>(
        &mut self,
        head: TreeHead,
        entries: &mut S,
    ) -> Result<SignedCheckpoint, PublishError> {
        self.begin_rebuild(head)?.take_all(entries)
    }

    /// Begins to publish, for callers who bring the entries themselves. Refuses a head that the last checkpoint
    /// contradicts.
    pub fn begin(&mut self, head: TreeHead) -> Result<Growth<'_>, PublishError> {
        self.guard(head)?;
        let (edge, bundle) = match self.edge.take() {
            Some(edge) => edge,
            None => self.load_edge()?,
        };
        Ok(Growth::new(self, head, edge, bundle))
    }

    /// Begins to publish from the first entry on.
    pub fn begin_rebuild(&mut self, head: TreeHead) -> Result<Growth<'_>, PublishError> {
        self.guard(head)?;
        self.edge = None;
        Ok(Growth::new(self, head, Edge::default(), Vec::new()))
    }

    /// Compares a head with the last checkpoint, in memory and on disk.
    fn guard(&self, head: TreeHead) -> Result<(), PublishError> {
        if read_published(&self.dir, &self.log)? != self.published {
            return Err(PublishError::Replaced);
        }
        let published = self.published_head();
        if head.size < published.size {
            return Err(PublishError::Rollback { published: published.size, head: head.size });
        }
        if head.size == published.size && head.root != published.root {
            return Err(PublishError::Fork { size: head.size, published: published.root, head: head.root });
        }
        Ok(())
    }

    fn published_head(&self) -> TreeHead {
        self.published.as_ref().map_or(TreeHead::EMPTY, SignedCheckpoint::head)
    }

    /// Reads the unfinished tiles and the unfinished bundle at the published size, and checks that they are right.
    fn load_edge(&self) -> Result<(Edge, Vec<u8>), PublishError> {
        let head = self.published_head();
        let edge = Edge::load(head.size, |tile| files::read_hashes(&self.dir, tile))?;
        if edge.root() != head.root {
            return Err(PublishError::Damaged);
        }
        let Some(tile) = Tile::last_in_tree(Kind::Entries, head.size).filter(|tile| !tile.is_full()) else {
            return Ok((edge, Vec::new()));
        };
        let bundle = files::read_bundle(&self.dir, tile)?;
        let entries = split_entries(&bundle, tile.width()).map_err(|_| PublishError::Damaged)?;
        let leaves: Vec<Hash> = entries.into_iter().map(leaf_hash).collect();
        let fits = edge.partial().next().is_some_and(|(_, hashes)| hashes == leaves);
        if fits { Ok((edge, bundle)) } else { Err(PublishError::Damaged) }
    }
}

fn read_published(dir: &Path, log: &VerifierKey) -> Result<Option<SignedCheckpoint>, PublishError> {
    match files::read_checkpoint(dir)? {
        Some(note) => Ok(Some(SignedCheckpoint::open(&note, log)?)),
        None if has_copies(dir)? => Err(PublishError::CheckpointGone),
        None => Ok(None),
    }
}

fn has_copies(dir: &Path) -> Result<bool, ReadError> {
    match fs::read_dir(dir.join(CHECKPOINTS)) {
        Ok(mut copies) => Ok(copies.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ReadError::Io { path: CHECKPOINTS.to_owned(), source }),
    }
}

fn write_copy(writer: &mut Writer, checkpoint: &SignedCheckpoint) -> Result<(), WriteError> {
    let path = format!("{CHECKPOINTS}/{}", checkpoint.head().size);
    writer.create(&path, checkpoint.note().as_bytes())?;
    writer.sync()
}

/// A publication under way. Dropping it leaves the old checkpoint in force.
#[derive(Debug)]
pub struct Growth<'p> {
    publisher: &'p mut Publisher,
    target: TreeHead,
    edge: Edge,
    /// The unfinished entry bundle.
    bundle: Vec<u8>,
    writer: Writer,
}

impl<'p> Growth<'p> {
    fn new(publisher: &'p mut Publisher, target: TreeHead, edge: Edge, bundle: Vec<u8>) -> Self {
        let writer = Writer::new(&publisher.dir);
        Growth { publisher, target, edge, bundle, writer }
    }

    /// The entries to push next, at most one bundle of them; `None` when it is time to [`finish`](Growth::finish).
    #[must_use]
    pub fn wanted(&self) -> Option<Range<u64>> {
        let from = self.edge.size();
        let bundle_end =
            (from / u64::from(TILE_WIDTH)).saturating_add(1).saturating_mul(u64::from(TILE_WIDTH));
        let to = bundle_end.min(self.target.size);
        (from < to).then_some(from..to)
    }

    /// Takes the next entry, and writes whatever it completes.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), PublishError> {
        if self.edge.size() >= self.target.size {
            return Err(PublishError::Surplus { size: self.target.size });
        }
        push_entry(&mut self.bundle, entry)?;
        let writer = &mut self.writer;
        self.edge.push(leaf_hash(entry), |tile, hashes| write_hashes(writer, tile, hashes))?;
        self.compare_with_published()?;
        match Tile::last_in_tree(Kind::Entries, self.edge.size()) {
            Some(tile) if tile.is_full() => {
                self.writer.create(&tile.path(), &self.bundle)?;
                self.bundle.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A rebuild passes the published size on its way; there it must have the published root.
    fn compare_with_published(&self) -> Result<(), PublishError> {
        let published = self.publisher.published_head();
        if self.edge.size() != published.size || self.edge.root() == published.root {
            return Ok(());
        }
        Err(PublishError::Fork { size: published.size, published: published.root, head: self.edge.root() })
    }

    fn take_all<S: Entries>(mut self, entries: &mut S) -> Result<SignedCheckpoint, PublishError> {
        while let Some(range) = self.wanted() {
            let wanted_end = range.end;
            let found = entries.read(range).map_err(|error| PublishError::Entries(Box::new(error)))?;
            found.iter().try_for_each(|entry| self.push(entry))?;
            if self.edge.size() < wanted_end {
                return Err(PublishError::EntryMissing { index: self.edge.size() });
            }
        }
        self.finish()
    }

    /// Writes what is partial, makes everything durable, signs, and replaces the checkpoint.
    pub fn finish(mut self) -> Result<SignedCheckpoint, PublishError> {
        if self.edge.size() < self.target.size {
            return Err(PublishError::EntryMissing { index: self.edge.size() });
        }
        let root = self.edge.root();
        if root != self.target.root {
            return Err(PublishError::Fork {
                size: self.target.size,
                published: root,
                head: self.target.root,
            });
        }
        for (tile, hashes) in self.edge.partial() {
            write_hashes(&mut self.writer, tile, hashes)?;
        }
        if let Some(tile) = Tile::last_in_tree(Kind::Entries, self.target.size).filter(|tile| !tile.is_full())
        {
            self.writer.create(&tile.path(), &self.bundle)?;
        }
        self.writer.sync()?;
        self.sign()
    }

    fn sign(mut self) -> Result<SignedCheckpoint, PublishError> {
        let old_size = self.publisher.published_head().size;
        // A crash may have come between the checkpoint and its copy. Make up for it before the original goes.
        if let Some(published) = &self.publisher.published {
            write_copy(&mut self.writer, published)?;
        }
        let checkpoint = match &self.publisher.published {
            Some(published) if published.head() == self.target => published.clone(),
            _ => {
                let checkpoint = Checkpoint::sign(self.target, &self.publisher.signer);
                self.writer.replace(CHECKPOINT, checkpoint.note().as_bytes())?;
                // From here on readers may have seen it, whatever fails below.
                self.publisher.published = Some(checkpoint.clone());
                self.writer.sync()?;
                write_copy(&mut self.writer, &checkpoint)?;
                checkpoint
            }
        };
        prune(&self.publisher.dir, old_size, self.target.size);
        self.publisher.edge = Some((self.edge, self.bundle));
        Ok(checkpoint)
    }
}

fn write_hashes(writer: &mut Writer, tile: Tile, hashes: &[Hash]) -> Result<(), WriteError> {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    writer.create(&tile.path(), &bytes)
}

/// Removes the partial tiles that a full one has replaced; without this, one entry a second would cost 255 copies of
/// its bundle. A partial tile that stays behind takes space and harms nothing, so failing to remove it is no error.
fn prune(dir: &Path, old_size: u64, new_size: u64) {
    for tile in growth(old_size, new_size).filter(Tile::is_full) {
        let _stays_behind = fs::remove_dir_all(dir.join(format!("{}.p", tile.path())));
    }
}
