//! The offline verifier: a directory, a key, and nothing else.
//!
//! ```text
//! checkpoint ── signature, origin
//! tile/entries/N ── entry ── leaf hash ── = tile/0/N ── subtree ── = tile/1/… ── … ── root = checkpoint
//!                     │                                                          └── root at size s = kept checkpoint
//!                     └─► visit(index, bytes): what the caller wants to know about the content
//! ```
//!
//! Every tile is computed again from the entries and compared; one bundle is in memory at a time. A consistency proof
//! is not needed: the root at an older size comes up on the way. Files that the checkpoint does not need, such as the
//! partial tiles of older sizes, are not looked at.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::bundle::split_entries;
use crate::checkpoint::{SignedCheckpoint, TreeHead};
use crate::edge::Edge;
use crate::files::{self, ReadError};
use crate::hash::{Hash, leaf_hash};
use crate::published::{OpenError, PublishedLog};
use crate::tile::{Kind, TILE_WIDTH, Tile};
use crate::vkey::VerifierKey;

/// What an entry's content told the visitor; any error stops the verification.
pub type VisitorError = Box<dyn Error + Send + Sync>;

/// A verification to be run.
#[derive(Debug)]
pub struct Verification {
    dir: PathBuf,
    checkpoint: SignedCheckpoint,
    older: Vec<TreeHead>,
}

/// What was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The checkpoint that the log was verified against.
    pub checkpoint: SignedCheckpoint,
    /// How many entries were hashed and compared.
    pub entries: u64,
    /// How many bytes they have together.
    pub entry_bytes: u64,
    /// How many tiles of hashes were computed again and compared.
    pub tiles: u64,
    /// How many older checkpoints the log was found to agree with.
    pub older_checkpoints: u64,
}

/// What is wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no checkpoint of this log.
    #[error("the log cannot be opened")]
    Open(#[from] OpenError),
    /// A file is missing or is not what its name says.
    #[error("a file of the log cannot be read")]
    Read(#[from] ReadError),
    /// An entry does not have the hash that its tile holds.
    #[error("entry {index} was altered: its hash is not the one in {tile}")]
    Entry {
        /// Which entry.
        index: u64,
        /// The path of the tile.
        tile: String,
    },
    /// A tile is not the one that the tiles below give.
    #[error("{tile} was altered: it does not follow from the entries below it")]
    Tile {
        /// The path of the tile.
        tile: String,
    },
    /// The entries and tiles fit each other, but not the signed root.
    #[error(
        "the entries give the root {found}, the checkpoint at size {size} says {signed}: history was rewritten"
    )]
    Root {
        /// The size of the signed checkpoint.
        size: u64,
        /// The signed root.
        signed: Hash,
        /// What the entries give.
        found: Hash,
    },
    /// An older checkpoint speaks of entries that the log no longer has.
    #[error("the log has {size} entries, an older checkpoint of it has {older}: entries were removed")]
    Shrunk {
        /// The size of the log.
        size: u64,
        /// The size of the older checkpoint.
        older: u64,
    },
    /// The older checkpoint is one of another log.
    #[error("the older checkpoint is one of another log: give one whose first line is the same")]
    OtherLog,
    /// The visitor stopped at an entry.
    #[error("entry {index} is what the log says, but its content is wrong")]
    Content {
        /// Which entry.
        index: u64,
        /// What the visitor said.
        source: VisitorError,
    },
}

impl Verification {
    /// Prepares to verify a directory against its newest checkpoint.
    pub fn open(dir: &Path, log: &VerifierKey) -> Result<Self, VerifyError> {
        let checkpoint = PublishedLog::open(dir, log)?.checkpoint().clone();
        Ok(Verification::at(dir, checkpoint))
    }

    /// Prepares to verify a directory against a checkpoint that came another way.
    #[must_use]
    pub fn at(dir: &Path, checkpoint: SignedCheckpoint) -> Self {
        Verification { dir: dir.to_owned(), checkpoint, older: Vec::new() }
    }

    /// Also requires that the log continues this older checkpoint.
    pub fn continuing(mut self, older: &SignedCheckpoint) -> Result<Self, VerifyError> {
        if older.checkpoint().origin != self.checkpoint.checkpoint().origin {
            return Err(VerifyError::OtherLog);
        }
        let (size, older) = (self.checkpoint.head().size, older.head());
        if older.size > size {
            return Err(VerifyError::Shrunk { size, older: older.size });
        }
        self.older.push(older);
        Ok(self)
    }

    /// Verifies everything. The visitor sees every entry in order after its bytes were compared with its tile; what
    /// it saw counts only if the result is `Ok`, because the root comes last.
    pub fn run(
        mut self,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), VisitorError>,
    ) -> Result<Report, VerifyError> {
        self.older.sort_unstable_by_key(|head| head.size);
        let size = self.checkpoint.head().size;
        let mut pass = Pass {
            dir: &self.dir,
            edge: Edge::default(),
            older: &self.older,
            report: Report {
                checkpoint: self.checkpoint.clone(),
                entries: 0,
                entry_bytes: 0,
                tiles: 0,
                older_checkpoints: 0,
            },
        };
        pass.compare_older()?;
        for number in 0..size.div_ceil(u64::from(TILE_WIDTH)) {
            pass.bundle(number, size, &mut visit)?;
        }
        for (tile, hashes) in pass.edge.partial().filter(|(tile, _)| tile.kind() != LEAVES) {
            compare_tile(&self.dir, tile, hashes)?;
            pass.report.tiles += 1;
        }
        compare_root(self.checkpoint.head(), &pass.edge)?;
        Ok(pass.report)
    }
}

const LEAVES: Kind = Kind::Hashes { level: 0 };

/// One walk over the log.
struct Pass<'a> {
    dir: &'a Path,
    edge: Edge,
    /// What is still to be compared, smallest first.
    older: &'a [TreeHead],
    report: Report,
}

impl Pass<'_> {
    fn bundle(
        &mut self,
        number: u64,
        size: u64,
        visit: &mut impl FnMut(u64, &[u8]) -> Result<(), VisitorError>,
    ) -> Result<(), VerifyError> {
        let missing = || ReadError::Missing { path: format!("bundle {number}") };
        let tile = Tile::in_tree(Kind::Entries, number, size).ok_or_else(missing)?;
        let leaves_tile = Tile::in_tree(LEAVES, number, size).ok_or_else(missing)?;
        let bundle = files::read_bundle(self.dir, tile)?;
        let damaged = |_| ReadError::Damaged { path: tile.path() };
        let entries = split_entries(&bundle, tile.width()).map_err(damaged)?;
        let leaves = files::read_hashes(self.dir, leaves_tile)?;
        self.report.tiles += 1;
        let indexed = || (tile.first_item()..).zip(&entries);
        for ((index, entry), expected) in indexed().zip(&leaves) {
            let leaf = leaf_hash(entry);
            if leaf != *expected {
                return Err(VerifyError::Entry { index, tile: leaves_tile.path() });
            }
            self.push(leaf)?;
        }
        for (index, entry) in indexed() {
            visit(index, entry).map_err(|source| VerifyError::Content { index, source })?;
            self.report.entries += 1;
            self.report.entry_bytes += u64::try_from(entry.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn push(&mut self, leaf: Hash) -> Result<(), VerifyError> {
        let (dir, tiles) = (self.dir, &mut self.report.tiles);
        self.edge.push(leaf, |tile, hashes| {
            // The leaves were compared one by one already.
            if tile.kind() == LEAVES {
                return Ok(());
            }
            *tiles += 1;
            compare_tile(dir, tile, hashes)
        })?;
        self.compare_older()
    }

    fn compare_older(&mut self) -> Result<(), VerifyError> {
        while let Some((older, rest)) =
            self.older.split_first().filter(|(older, _)| older.size == self.edge.size())
        {
            compare_root(*older, &self.edge)?;
            self.report.older_checkpoints += 1;
            self.older = rest;
        }
        Ok(())
    }
}

fn compare_tile(dir: &Path, tile: Tile, hashes: &[Hash]) -> Result<(), VerifyError> {
    if files::read_hashes(dir, tile)? == hashes {
        Ok(())
    } else {
        Err(VerifyError::Tile { tile: tile.path() })
    }
}

fn compare_root(signed: TreeHead, edge: &Edge) -> Result<(), VerifyError> {
    let found = edge.root();
    if found == signed.root {
        Ok(())
    } else {
        Err(VerifyError::Root { size: signed.size, signed: signed.root, found })
    }
}
