//! Inclusion and consistency proofs of RFC 6962: making them from the nodes of a tree, and checking them.
//!
//! A proof is a list of hashes of subtrees. Making one asks a [`HashReader`] for *complete* subtrees only, which is
//! what tiles hold; checking one needs nothing but the heads.

use crate::SIZE_MAX;
use crate::checkpoint::TreeHead;
use crate::files::ReadError;
use crate::hash::{Hash, node_hash};

/// The most hashes in a proof: an inclusion proof has one for each level, a consistency proof one more.
pub const PROOF_HASHES_MAX: usize = 64;

/// A complete subtree: the entries `[index << height, (index + 1) << height)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Levels above the leaves; a node of height 0 is a leaf.
    pub height: u8,
    /// The how manieth of its height.
    pub index: u64,
}

/// Where the hashes of complete subtrees are found.
pub trait HashReader {
    /// The hash of one complete subtree.
    fn hash(&mut self, node: Node) -> Result<Hash, ReadError>;
}

/// A proof that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The tree does not have what is asked for.
    #[error("{wanted} is beyond the published size {size}: publish first, or ask for less")]
    Beyond {
        /// An index, or a size.
        wanted: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A hash that the proof needs could not be read.
    #[error("a tile that the proof needs cannot be read")]
    Read(#[from] ReadError),
    /// The tiles on disk are not those of the tree.
    #[error("the tiles do not give the published root: verify the log, then publish it again from the store")]
    Damaged,
}

/// A proof that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not in the tree, or the old tree is larger than the new one.
    #[error(
        "the proof speaks of entry or size {wanted} in a tree of {size}: the log was cut, or the proof is of another log"
    )]
    Beyond {
        /// An index, or a size.
        wanted: u64,
        /// The size of the tree.
        size: u64,
    },
    /// Too few or too many hashes.
    #[error("the proof has the wrong number of hashes: it was made for another entry or size")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root: the entry, the proof or the log was altered")]
    Root,
}

/// Makes the inclusion proof of an entry, from its sibling up.
pub fn prove_inclusion(reader: &mut impl HashReader, index: u64, size: u64) -> Result<Vec<Hash>, ProveError> {
    if index >= size || size > SIZE_MAX {
        return Err(ProveError::Beyond { wanted: index, size });
    }
    let (mut start, mut end, mut aside) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            aside.push(middle..end);
            end = middle;
        } else {
            aside.push(start..middle);
            start = middle;
        }
    }
    aside.into_iter().rev().map(|range| range_root(reader, range.start, range.end)).collect()
}

/// Makes the proof that the tree of `new` entries begins with the tree of `old` entries. It is empty if `old` is 0
/// or equals `new`.
pub fn prove_consistency(reader: &mut impl HashReader, old: u64, new: u64) -> Result<Vec<Hash>, ProveError> {
    if old > new || new > SIZE_MAX {
        return Err(ProveError::Beyond { wanted: old, size: new });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut start, mut end, mut aside) = (0, new, Vec::new());
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            aside.push(middle..end);
            end = middle;
        } else {
            aside.push(start..middle);
            start = middle;
        }
    }
    // The reader of the proof knows the old root; any other subtree at the seam has to be told.
    if start > 0 {
        aside.push(start..end);
    }
    aside.into_iter().rev().map(|range| range_root(reader, range.start, range.end)).collect()
}

/// The largest power of two below a number greater than one: where RFC 6962 splits a tree.
const fn split(items: u64) -> u64 {
    1 << (items - 1).ilog2()
}

/// The root over a range that starts at a multiple of the power of two that covers it: one complete subtree for each
/// bit of its length, the largest first, folded from the right.
fn range_root(reader: &mut impl HashReader, start: u64, end: u64) -> Result<Hash, ProveError> {
    let (length, mut at, mut root) = (end - start, end, None);
    for height in (0..64_u8).filter(|height| length >> height & 1 == 1) {
        at -= 1 << height;
        let hash = reader.hash(Node { height, index: at >> height })?;
        root = Some(root.map_or(hash, |right| node_hash(&hash, &right)));
    }
    root.ok_or(ProveError::Damaged)
}

/// Checks that a leaf stands at an index of a tree (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, head: &TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= head.size {
        return Err(ProofError::Beyond { wanted: index, size: head.size });
    }
    let (mut node, mut last, mut root) = (index, head.size - 1, leaf);
    for hash in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            root = node_hash(hash, &root);
            // The last node of an uneven row rises until it has a left neighbour.
            let rise = node.trailing_zeros().min(63);
            (node, last) = (node >> rise, last >> rise);
        } else {
            root = node_hash(&root, hash);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, root == head.root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// Checks that one tree begins with another (RFC 9162 §2.1.4.2).
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    if old.size > new.size {
        return Err(ProofError::Beyond { wanted: old.size, size: new.size });
    }
    if old.size == 0 || old.size == new.size {
        // Nothing to prove: the same tree has the same root, and the empty tree begins every other.
        let same = old.size < new.size || old.root == new.root;
        let empty = old.size > 0 || old.root == Hash::EMPTY_ROOT;
        return match (proof, same && empty) {
            ([], true) => Ok(()),
            ([], false) => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        };
    }
    // The proof begins at the largest complete subtree that ends where the old tree ends. If that is the old tree
    // itself, its hash is known and left out.
    let (first, rest) = match (old.size.is_power_of_two(), proof.split_first()) {
        (true, _) => (old.root, proof),
        (false, Some((first, rest))) => (*first, rest),
        (false, None) => return Err(ProofError::Length),
    };
    let complete = (old.size - 1).trailing_ones();
    let (mut node, mut last) = ((old.size - 1) >> complete, (new.size - 1) >> complete);
    let (mut old_root, mut new_root) = (first, first);
    for hash in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_root = node_hash(hash, &old_root);
            new_root = node_hash(hash, &new_root);
            let rise = node.trailing_zeros().min(63);
            (node, last) = (node >> rise, last >> rise);
        } else {
            new_root = node_hash(&new_root, hash);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, old_root == old.root && new_root == new.root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}
