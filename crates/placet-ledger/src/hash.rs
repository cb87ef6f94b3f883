//! The hashes of RFC 6962: leaves, nodes, the root of nothing.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};

/// The length of a hash in bytes.
pub const HASH_BYTES: usize = 32;

/// Domain separation of RFC 6962 §2.1: a leaf can never be taken for a node.
const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

/// A SHA-256 hash of a leaf, a subtree or a whole tree.
///
/// `Display` writes the base64 of checkpoints and proofs, `{:x}` writes hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// The root of the tree without entries: SHA-256 of the empty string.
    pub const EMPTY_ROOT: Hash = Hash([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Takes 32 bytes as a hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Hash(bytes)
    }

    /// Takes a slice as a hash, if it has the right length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, NotAHash> {
        bytes.try_into().map(Hash).map_err(|_| NotAHash)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// Reads the padded standard base64 that [`Display`](fmt::Display) writes; any other spelling is refused.
    pub fn parse_base64(text: &str) -> Result<Self, NotAHash> {
        let mut bytes = [0; HASH_BYTES];
        // 44 characters are the only length that 32 bytes have; the engine refuses stray bits at the end.
        if text.len() != 44 {
            return Err(NotAHash);
        }
        match BASE64_STANDARD.decode_slice(text, &mut bytes) {
            Ok(HASH_BYTES) => Ok(Hash(bytes)),
            Ok(_) | Err(_) => Err(NotAHash),
        }
    }
}

/// Something that should be a hash is not 32 bytes, or not their canonical base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hash: expected 32 bytes, or their padded base64")]
pub struct NotAHash;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::LowerHex for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The hash of an entry: `SHA-256(0x00 || entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([LEAF_PREFIX]).chain_update(entry).finalize().into())
}

/// The hash of two neighbours: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([NODE_PREFIX])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_root_is_the_digest_of_nothing() {
        assert_eq!(Hash::EMPTY_ROOT.as_bytes().as_slice(), Sha256::digest(b"").as_slice());
        assert_eq!(Hash::EMPTY_ROOT.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert!(format!("{:x}", Hash::EMPTY_ROOT).starts_with("e3b0c44298fc1c14"));
    }

    #[test]
    fn leaf_and_node_are_separate_domains() {
        let (left, right) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let joined = [left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_ne!(leaf_hash(&joined), node_hash(&left, &right));
        assert_ne!(leaf_hash(b"").as_bytes().as_slice(), Sha256::digest(b"").as_slice());
    }

    #[test]
    fn base64_has_one_spelling() {
        let text = Hash::EMPTY_ROOT.to_string();
        assert_eq!(Hash::parse_base64(&text), Ok(Hash::EMPTY_ROOT));
        for wrong in [
            "",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==",
        ] {
            assert_eq!(Hash::parse_base64(wrong), Err(NotAHash), "{wrong:?}");
        }
        assert_eq!(Hash::from_slice(&[0; 31]), Err(NotAHash));
        assert_eq!(Hash::from_slice(&[0; 33]), Err(NotAHash));
    }
}
