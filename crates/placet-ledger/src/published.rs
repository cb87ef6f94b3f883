//! A published log as its readers see it: the newest checkpoint, single entries, proofs.
//!
//! Whatever is returned here was checked against the signed root first. To check a *whole* log, use
//! [`Verification`](crate::Verification).

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};

use crate::bundle::split_entries;
use crate::checkpoint::{CheckpointError, SignedCheckpoint, TreeHead};
use crate::files::{self, CHECKPOINT, ReadError};
use crate::frontier::root_of;
use crate::hash::{Hash, leaf_hash, node_hash};
use crate::proof::{
    HashReader, Node, ProveError, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use crate::tile::{Kind, TILE_WIDTH, Tile};
use crate::tlog_proof::TlogProof;
use crate::vkey::VerifierKey;

/// How many tiles a reader remembers (8 KiB each). A proof needs two per level at most.
const TILES_CACHED_MAX: usize = 32;
/// A tile spans eight levels of the tree.
const HEIGHTS_PER_LEVEL: u8 = 8;

/// A log's directory at one checkpoint.
#[derive(Debug)]
pub struct PublishedLog {
    checkpoint: SignedCheckpoint,
    tiles: TileReader,
}

/// A directory without a checkpoint of this log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read, or is not there.
    #[error("the checkpoint cannot be read")]
    Read(#[from] ReadError),
    /// The file is not a checkpoint of this log.
    #[error("the checkpoint is not one of this log")]
    Checkpoint(#[from] CheckpointError),
}

impl PublishedLog {
    /// Opens a directory at its newest checkpoint.
    pub fn open(dir: &Path, log: &VerifierKey) -> Result<Self, OpenError> {
        let missing = || ReadError::Missing { path: CHECKPOINT.to_owned() };
        let note = files::read_checkpoint(dir)?.ok_or_else(missing)?;
        Ok(PublishedLog::at(dir, SignedCheckpoint::open(&note, log)?))
    }

    /// Opens a directory at an older checkpoint of the same log.
    #[must_use]
    pub fn at(dir: &Path, checkpoint: SignedCheckpoint) -> Self {
        let tiles = TileReader::new(dir, checkpoint.head().size);
        PublishedLog { checkpoint, tiles }
    }

    /// The checkpoint that everything is proven against.
    #[must_use]
    pub const fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// The bytes of an entry, proven to be in the log.
    pub fn entry(&mut self, index: u64) -> Result<Vec<u8>, ProveError> {
        Ok(self.entry_and_proof(index)?.0)
    }

    /// The inclusion proof of an entry.
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Hash>, ProveError> {
        let head = self.checkpoint.head();
        let proof = prove_inclusion(&mut self.tiles, index, head.size)?;
        let leaf = self.tiles.hash(Node { height: 0, index })?;
        verify_inclusion(leaf, index, &head, &proof).map_err(|_| ProveError::Damaged)?;
        Ok(proof)
    }

    /// The proof that this log begins with the tree of an older checkpoint. The root of that checkpoint is the
    /// reader's to compare: an honest proof does not fit a forged one.
    pub fn consistency(&mut self, old_size: u64) -> Result<Vec<Hash>, ProveError> {
        let head = self.checkpoint.head();
        let proof = prove_consistency(&mut self.tiles, old_size, head.size)?;
        let root = self.tiles.root_at(old_size)?;
        let old = TreeHead { size: old_size, root };
        verify_consistency(&old, &head, &proof).map_err(|_| ProveError::Damaged)?;
        Ok(proof)
    }

    /// An entry and the file that proves it, as they stand in an audit bundle.
    pub fn entry_and_proof(&mut self, index: u64) -> Result<(Vec<u8>, TlogProof), ProveError> {
        let head = self.checkpoint.head();
        let hashes = prove_inclusion(&mut self.tiles, index, head.size)?;
        let entry = self.tiles.entry(index)?;
        verify_inclusion(leaf_hash(&entry), index, &head, &hashes).map_err(|_| ProveError::Damaged)?;
        let checkpoint = self.checkpoint.note().to_owned();
        Ok((entry, TlogProof { unverified_extra: None, index, hashes, checkpoint }))
    }
}

/// Reads hashes of complete subtrees from the tiles of a tree. It trusts the files: check what you prove with them.
#[derive(Debug)]
pub struct TileReader {
    dir: PathBuf,
    size: u64,
    cached: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl TileReader {
    /// Reads the tiles of a tree of this size.
    #[must_use]
    pub fn new(dir: &Path, size: u64) -> Self {
        TileReader { dir: dir.to_owned(), size, cached: BTreeMap::new() }
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], ReadError> {
        if self.cached.len() >= TILES_CACHED_MAX && !self.cached.contains_key(&(level, index)) {
            self.cached.clear();
        }
        match self.cached.entry((level, index)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let kind = Kind::Hashes { level };
                let tile = Tile::in_tree(kind, index, self.size)
                    .ok_or_else(|| ReadError::Missing { path: format!("tile/{level}, number {index}") })?;
                Ok(unknown.insert(files::read_hashes(&self.dir, tile)?))
            }
        }
    }

    fn entry(&self, index: u64) -> Result<Vec<u8>, ReadError> {
        let (number, position) = (index / u64::from(TILE_WIDTH), index % u64::from(TILE_WIDTH));
        let missing = || ReadError::Missing { path: format!("entry {index}") };
        let tile = Tile::in_tree(Kind::Entries, number, self.size).ok_or_else(missing)?;
        let bundle = files::read_bundle(&self.dir, tile)?;
        let damaged = |_| ReadError::Damaged { path: tile.path() };
        let entries = split_entries(&bundle, tile.width()).map_err(damaged)?;
        let entry =
            usize::try_from(position).ok().and_then(|position| entries.get(position)).ok_or_else(missing)?;
        Ok(entry.to_vec())
    }

    fn root_at(&mut self, size: u64) -> Result<Hash, ReadError> {
        let (mut at, mut subtrees) = (0, Vec::new());
        for height in (0..64_u8).rev().filter(|height| size >> height & 1 == 1) {
            subtrees.push(self.hash(Node { height, index: at >> height })?);
            at += 1 << height;
        }
        let folded = subtrees.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        Ok(folded.unwrap_or(Hash::EMPTY_ROOT))
    }
}

impl HashReader for TileReader {
    fn hash(&mut self, node: Node) -> Result<Hash, ReadError> {
        let level = node.height / HEIGHTS_PER_LEVEL;
        // The subtree's hash is the root over this many hashes of the tile.
        let width = 1_u64 << (node.height % HEIGHTS_PER_LEVEL);
        let missing =
            || ReadError::Missing { path: format!("subtree {} of height {}", node.index, node.height) };
        let first = node.index.checked_mul(width).ok_or_else(missing)?;
        let tile = self.tile(level, first / u64::from(TILE_WIDTH))?;
        let start = usize::try_from(first % u64::from(TILE_WIDTH)).map_err(|_| missing())?;
        let end = start + usize::try_from(width).map_err(|_| missing())?;
        let hashes = tile.get(start..end).ok_or_else(missing)?;
        Ok(root_of(hashes.iter().copied()))
    }
}
