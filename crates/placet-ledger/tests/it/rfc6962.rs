//! A tree by its definition, RFC 6962 §2.1, word for word: slow, and without anything that the log is fast with.
//!
//! The fuzz targets of the log compare with the same file.

use placet_ledger::proof::{HashReader, Node};
use placet_ledger::{Hash, ReadError, TreeHead, leaf_hash, node_hash};

/// A tree held as its leaf hashes; every subtree is hashed anew by the definition.
pub(crate) struct Leaves(pub(crate) Vec<Hash>);

impl Leaves {
    pub(crate) fn numbered(count: u64) -> Self {
        Leaves((0..count).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect())
    }

    pub(crate) fn head(&self, size: u64) -> TreeHead {
        TreeHead { size, root: root(&self.0[..size as usize]) }
    }
}

impl HashReader for Leaves {
    fn hash(&mut self, node: Node) -> Result<Hash, ReadError> {
        let (start, width) = ((node.index << node.height) as usize, 1_usize << node.height);
        Ok(root(&self.0[start..start + width]))
    }
}

fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}
