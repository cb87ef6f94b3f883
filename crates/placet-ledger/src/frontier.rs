//! The right edge of a tree: all that is needed to append to it.
//!
//! A tree of `size` entries is a row of complete subtrees, one for each bit set in `size`, the largest first. Their
//! hashes are the frontier. Appending merges as many of them as `size` has trailing ones; the root is their fold from
//! the right. Both cost a few hashes, so the store's writer does them inside its transaction.
//!
//! ```text
//! size 7 = 0b111      [0 1 2 3]  [4 5]  [6]       append 7 → [0 … 7], size 8, one hash
//! ```

use crate::SIZE_MAX;
use crate::checkpoint::TreeHead;
use crate::hash::{HASH_BYTES, Hash, node_hash};

/// First byte of the stored form; another number is a newer version and is refused.
const CODEC_VERSION: u8 = 1;
/// Version and size.
const HEADER_BYTES: usize = 1 + 8;

/// The right edge of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// One hash for each bit set in `size`, the largest subtree first: an invariant of every constructor.
    hashes: Vec<Hash>,
}

/// The log holds [`SIZE_MAX`] entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is full: begin another with another origin")]
pub struct LogFull;

/// Stored bytes that are not a frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// The first byte names another version of the stored form.
    #[error(
        "the stored frontier has version {0}, this program reads version 1: use the program that wrote it"
    )]
    Version(u8),
    /// The number of hashes does not fit the size, or the size is beyond [`SIZE_MAX`].
    #[error(
        "the stored frontier is damaged: its length does not fit its size; restore the store from a backup"
    )]
    Length,
}

impl Frontier {
    /// The frontier of the tree without entries.
    #[must_use]
    pub const fn new() -> Self {
        Frontier { size: 0, hashes: Vec::new() }
    }

    /// How many entries the tree has; also the index of the next one.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the complete subtrees, the largest first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Appends a leaf and returns its index.
    pub fn append(&mut self, leaf: Hash) -> Result<u64, LogFull> {
        if self.size >= SIZE_MAX {
            return Err(LogFull);
        }
        let index = self.size;
        self.push(leaf);
        Ok(index)
    }

    /// Appends without asking for room; for trees whose size is bounded by their source.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let merged = self.size.trailing_ones() as usize;
        let kept = self.hashes.len().saturating_sub(merged);
        let subtree = self.hashes.drain(kept..).rev().fold(leaf, |right, left| node_hash(&left, &right));
        self.hashes.push(subtree);
        self.size = self.size.saturating_add(1);
    }

    /// The root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let subtrees = self.hashes.iter().rev().copied();
        subtrees.reduce(|right, left| node_hash(&left, &right)).unwrap_or(Hash::EMPTY_ROOT)
    }

    /// Size and root together.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// The stored form: version, size as big-endian 64-bit number, the hashes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.hashes.len() * HASH_BYTES);
        bytes.push(CODEC_VERSION);
        bytes.extend_from_slice(&self.size.to_be_bytes());
        self.hashes.iter().for_each(|hash| bytes.extend_from_slice(hash.as_bytes()));
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let (&version, rest) = bytes.split_first().ok_or(FrontierError::Length)?;
        if version != CODEC_VERSION {
            return Err(FrontierError::Version(version));
        }
        let (size, rest) = rest.split_first_chunk().ok_or(FrontierError::Length)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, remainder) = rest.as_chunks::<HASH_BYTES>();
        if !remainder.is_empty() || hashes.len() != size.count_ones() as usize || size > SIZE_MAX {
            return Err(FrontierError::Length);
        }
        Ok(Frontier { size, hashes: hashes.iter().copied().map(Hash::from_bytes).collect() })
    }
}

/// The root of the tree over these leaves. Also the hash of a complete subtree over the nodes of a lower level,
/// because the shape of the tree depends on the number of items alone.
pub(crate) fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    leaves.into_iter().for_each(|leaf| frontier.push(leaf));
    frontier.root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    /// RFC 6962 §2.1, word for word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::EMPTY_ROOT,
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
            }
        }
    }

    #[test]
    fn every_size_up_to_600_agrees_with_the_definition() {
        let leaves: Vec<Hash> = (0..600_u32).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut frontier = Frontier::new();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), naive_root(&leaves[..index]), "size {index}");
            assert_eq!(frontier.append(*leaf), Ok(index as u64));
            assert_eq!(frontier.hashes().len(), frontier.size().count_ones() as usize);
            assert_eq!(Frontier::from_bytes(&frontier.to_bytes()), Ok(frontier.clone()));
        }
        assert_eq!(frontier.head(), TreeHead { size: 600, root: naive_root(&leaves) });
    }

    #[test]
    fn the_stored_form_is_fixed() {
        let mut frontier = Frontier::new();
        assert_eq!(frontier.to_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        frontier.append(leaf_hash(b"a")).unwrap();
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 1];
        expected.extend_from_slice(leaf_hash(b"a").as_bytes());
        assert_eq!(frontier.to_bytes(), expected);
    }

    #[test]
    fn other_bytes_are_refused() {
        let mut frontier = Frontier::new();
        (0..3_u8).for_each(|i| frontier.push(leaf_hash(&[i])));
        let good = frontier.to_bytes();
        for length in 0..good.len() {
            assert_eq!(Frontier::from_bytes(&good[..length]), Err(FrontierError::Length), "cut at {length}");
        }
        let mut long = good.clone();
        long.extend_from_slice(&[0; 32]);
        assert_eq!(Frontier::from_bytes(&long), Err(FrontierError::Length));
        let mut newer = good.clone();
        newer[0] = 2;
        assert_eq!(Frontier::from_bytes(&newer), Err(FrontierError::Version(2)));
        let mut beyond = vec![1];
        beyond.extend_from_slice(&(SIZE_MAX + 1).to_be_bytes());
        beyond.extend_from_slice(&[0; 32]);
        assert_eq!(Frontier::from_bytes(&beyond), Err(FrontierError::Length));
    }

    #[test]
    fn a_full_log_takes_nothing() {
        let mut frontier = Frontier { size: SIZE_MAX, hashes: vec![Hash::EMPTY_ROOT; 63] };
        let before = frontier.clone();
        assert_eq!(frontier.append(Hash::EMPTY_ROOT), Err(LogFull));
        assert_eq!(frontier, before);
    }
}
