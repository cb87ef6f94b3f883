//! `c2sp.org/tlog-proof`: one file that proves, offline, that an entry is in a log.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra YW55dGhpbmc=            optional, vouched for by nobody
//! index 12345
//! SS45NGPz…                     inclusion proof, from the sibling up
//! …
//!
//! placet.example/ledger         the signed checkpoint
//! …
//! ```

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::hash::{Hash, leaf_hash};
use crate::note::NOTE_BYTES_MAX;
use crate::parse_decimal;
use crate::proof::{PROOF_HASHES_MAX, ProofError, verify_inclusion};
use crate::vkey::VerifierKey;

/// How such a file's name ends.
pub const FILE_SUFFIX: &str = ".tlog-proof";
/// The most extra bytes that are read or written.
pub const EXTRA_BYTES_MAX: usize = 64 * 1024;
/// The longest file that is read: a note, the extra data in base64, 64 hashes, and the words between.
pub const PROOF_BYTES_MAX: usize = NOTE_BYTES_MAX + EXTRA_BYTES_MAX / 3 * 4 + PROOF_HASHES_MAX * 45 + 128;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// An entry's index, its inclusion proof, and the note of the checkpoint that the proof leads to. Nothing is checked
/// until [`verify`](TlogProof::verify).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Anything the maker wanted to add. **Not authenticated**: nobody signed it.
    pub unverified_extra: Option<Vec<u8>>,
    /// Where the entry stands.
    pub index: u64,
    /// The inclusion proof.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, word for word.
    pub checkpoint: String,
}

/// Bytes that are not a proof file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a c2sp.org/tlog-proof@v1 file: it is cut, altered, or of another version")]
pub struct NotATlogProof;

/// A proof file that does not prove that the entry is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// The checkpoint in it is not one of the log.
    #[error("the checkpoint in the proof is not one of this log")]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead from the entry to the checkpoint's root.
    #[error("the proof does not lead from the entry to the checkpoint")]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Reads a proof file.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotATlogProof> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(NotATlogProof);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NotATlogProof)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(NotATlogProof)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(NotATlogProof);
        }
        let mut line = lines.next().ok_or(NotATlogProof)?;
        let mut unverified_extra = None;
        if let Some(extra) = line.strip_prefix("extra ") {
            let extra = BASE64_STANDARD.decode(extra).map_err(|_| NotATlogProof)?;
            if extra.is_empty() || extra.len() > EXTRA_BYTES_MAX {
                return Err(NotATlogProof);
            }
            unverified_extra = Some(extra);
            line = lines.next().ok_or(NotATlogProof)?;
        }
        let index = line.strip_prefix("index ").and_then(parse_decimal).ok_or(NotATlogProof)?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == PROOF_HASHES_MAX {
                return Err(NotATlogProof);
            }
            hashes.push(Hash::parse_base64(line).map_err(|_| NotATlogProof)?);
        }
        Ok(TlogProof { unverified_extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that this entry, byte for byte, stands at [`index`](TlogProof::index) in the log of this key.
    pub fn verify(&self, entry: &[u8], log: &VerifierKey) -> Result<SignedCheckpoint, TlogProofError> {
        let checkpoint = SignedCheckpoint::open(self.checkpoint.as_bytes(), log)?;
        verify_inclusion(leaf_hash(entry), self.index, &checkpoint.head(), &self.hashes)?;
        Ok(checkpoint)
    }
}

impl std::fmt::Display for TlogProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = self.unverified_extra.as_ref().filter(|extra| !extra.is_empty()) {
            writeln!(f, "extra {}", BASE64_STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
