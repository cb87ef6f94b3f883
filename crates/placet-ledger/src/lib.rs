//! A C2SP transparency log over opaque bytes.
//!
//! The crate knows bytes, hashes, files and one Ed25519 key. It does not know what an entry means, who wrote it, what
//! time it is, or where the database is; it draws no random numbers. Everything it writes can be checked by tools
//! that are not ours: the formats are `tlog-tiles`, `tlog-checkpoint`, `signed-note` and `tlog-proof` of C2SP, the
//! hashing is that of RFC 6962.
//!
//! ```text
//!  writer's transaction                    publisher (each second, or on demand)
//!  ────────────────────                    ─────────────────────────────────────
//!  entry bytes                              Publisher::begin(head)   ◄─ refuses a rollback or a fork
//!     │ leaf_hash                              │ push(entry)…           entries [published, head) from the store
//!     ▼                                        ▼
//!  Frontier::append ──► head row            tile/entries/…, tile/<level>/…   full, then partial, all durable
//!     │ root()                                 │
//!     └────────► TreeHead ───────────────►  root of the files = root of the head, or nothing is signed
//!                                              │ finish()
//!                                              ▼
//!                                           checkpoint, checkpoints/<size>
//!                                              │
//!               ┌──────────────────────────────┼───────────────────────────────┐
//!               ▼                              ▼                               ▼
//!        PublishedLog: proofs           verify::Verification            other people's tools
//!        (inclusion, consistency,       (every byte recomputed,         (tests/verifiers: Go, Python)
//!         *.tlog-proof)                  offline, streaming)
//! ```
//!
//! A receipt is an inclusion proof against a published checkpoint. Nothing is signed in the write path: a signature
//! exists only for a tree whose files are already durable.

pub mod bundle;
pub mod checkpoint;
pub mod copy;
mod edge;
mod files;
pub mod frontier;
pub mod hash;
pub mod note;
pub mod proof;
pub mod publish;
pub mod published;
pub mod tile;
pub mod tlog_proof;
pub mod verify;
pub mod vkey;

pub use checkpoint::{Checkpoint, SignedCheckpoint, TreeHead};
pub use files::{ReadError, WriteError};
pub use frontier::Frontier;
pub use hash::{Hash, leaf_hash, node_hash};
pub use note::Signer;
pub use publish::{Entries, Publisher};
pub use published::PublishedLog;
pub use tile::Tile;
pub use tlog_proof::TlogProof;
pub use verify::Verification;
pub use vkey::{KeyName, VerifierKey};

/// The most entries a log may hold: what a signed 64-bit integer can say, because databases and Go's verifier count
/// in those.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// The longest entry, in bytes: its length travels as a 16-bit number in an entry bundle.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Reads a decimal number in its one spelling: ASCII digits, no sign, no leading zero, at most [`SIZE_MAX`].
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number <= SIZE_MAX && number.to_string() == text).then_some(number)
}
