//! Checkpoints: the size and root of a log at one moment, signed by the log.
//!
//! ```text
//! placet.example/ledger                            origin, the name of the log's key
//! 70000                                            size
//! 4oR9mes72+ZIgvGXSTsYAFL6BJUKguZLEoPf44NRN1E=     root
//! ```
//!
//! Extension lines are refused: no monitor could audit them, and some signatures do not cover them.

use std::fmt;

use crate::hash::Hash;
use crate::note::{
    NoteError, SignatureError, SignatureLine, Signer, UnverifiedNote, VerifiedSignature, format_note,
};
use crate::parse_decimal;
use crate::vkey::{KeyName, SignatureType, VerifierKey};

/// The size and root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// How many entries it has.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

impl TreeHead {
    /// The head of the tree without entries.
    pub const EMPTY: TreeHead = TreeHead { size: 0, root: Hash::EMPTY_ROOT };
}

/// A tree head of a named log; its `Display` is the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's identity: the name of its key.
    pub origin: KeyName,
    /// Size and root.
    pub head: TreeHead,
}

/// A text that is not the body of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: expected three lines with origin, size and root, and nothing else")]
pub struct NotACheckpoint;

impl Checkpoint {
    /// Reads the text of a checkpoint.
    pub fn parse(text: &str) -> Result<Self, NotACheckpoint> {
        let mut lines = text.strip_suffix('\n').ok_or(NotACheckpoint)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NotACheckpoint);
        };
        let origin = KeyName::parse(origin).map_err(|_| NotACheckpoint)?;
        let size = parse_decimal(size).ok_or(NotACheckpoint)?;
        let root = Hash::parse_base64(root).map_err(|_| NotACheckpoint)?;
        if size == 0 && root != Hash::EMPTY_ROOT {
            return Err(NotACheckpoint);
        }
        Ok(Checkpoint { origin, head: TreeHead { size, root } })
    }

    /// Signs it with the log's key, whose name is the origin.
    #[must_use]
    pub fn sign(head: TreeHead, signer: &Signer) -> SignedCheckpoint {
        let checkpoint = Checkpoint { origin: signer.name().clone(), head };
        let text = checkpoint.to_string();
        let line = signer.sign(&text);
        let signatures =
            vec![VerifiedSignature { name: line.name().clone(), id: line.id(), cosigned_at: None }];
        SignedCheckpoint { checkpoint, note: format_note(&text, &[line]), signatures }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.head.size, self.head.root)
    }
}

/// A checkpoint whose log signature was made or checked here, with the note as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
    signatures: Vec<VerifiedSignature>,
}

/// A note that is not a checkpoint of the expected log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note.
    #[error("the checkpoint is not a signed note")]
    Note(#[from] NoteError),
    /// The signatures do not convince.
    #[error("the signatures of the checkpoint do not hold")]
    Signature(#[from] SignatureError),
    /// A key for cosignatures was given as the log's key.
    #[error("the given key makes cosignatures: use the log's own key, whose base64 part begins with \"A\"")]
    NotALogKey,
    /// The text is not that of a checkpoint.
    #[error("the signed text is not a checkpoint")]
    Body(#[from] NotACheckpoint),
    /// The log's key signed a checkpoint with another origin.
    #[error("the checkpoint is of the log {found}, not of {expected}: check which log the file came from")]
    Origin {
        /// The name of the given key.
        expected: KeyName,
        /// What the checkpoint says.
        found: KeyName,
    },
}

impl SignedCheckpoint {
    /// Reads a checkpoint of the log that this key belongs to.
    pub fn open(note: &[u8], log: &VerifierKey) -> Result<Self, CheckpointError> {
        Self::open_with_cosigners(note, log, &[])
    }

    /// The same, and checks the lines of these cosigners if they are there. How many of them are enough is the
    /// caller's policy; see [`signatures`](Self::signatures).
    pub fn open_with_cosigners(
        note: &[u8],
        log: &VerifierKey,
        cosigners: &[VerifierKey],
    ) -> Result<Self, CheckpointError> {
        if log.signature_type() != SignatureType::Ed25519 {
            return Err(CheckpointError::NotALogKey);
        }
        let unverified = UnverifiedNote::parse(note)?;
        let known: Vec<&VerifierKey> = std::iter::once(log).chain(cosigners).collect();
        let signatures = unverified.verify(&known)?;
        // Cosigners alone do not make a checkpoint: the log must have signed it.
        if !signatures.iter().any(|signature| signature.name == *log.name() && signature.id == log.id()) {
            return Err(SignatureError::Unsigned.into());
        }
        let checkpoint = Checkpoint::parse(unverified.unverified_text())?;
        if checkpoint.origin != *log.name() {
            return Err(CheckpointError::Origin { expected: log.name().clone(), found: checkpoint.origin });
        }
        let note = format_note(unverified.unverified_text(), unverified.signatures());
        Ok(SignedCheckpoint { checkpoint, note, signatures })
    }

    /// Adds a witness's line; the time is when the witness saw the checkpoint, in Unix seconds.
    #[must_use]
    pub fn cosigned(mut self, witness: &Signer, unix_seconds: u64) -> Self {
        let line: SignatureLine = witness.cosign(&self.checkpoint.to_string(), unix_seconds);
        self.note.push_str(&format!("{line}\n"));
        let cosigned_at = Some(unix_seconds);
        self.signatures.push(VerifiedSignature { name: line.name().clone(), id: line.id(), cosigned_at });
        self
    }

    /// Origin, size and root.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Size and root.
    #[must_use]
    pub const fn head(&self) -> TreeHead {
        self.checkpoint.head
    }

    /// The whole note with all its lines, also those of unknown keys.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The signatures that were made or checked here.
    #[must_use]
    pub fn signatures(&self) -> &[VerifiedSignature] {
        &self.signatures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::leaf_hash;

    fn signer(name: &str) -> Signer {
        Signer::from_seed(KeyName::parse(name).unwrap(), &[7; 32])
    }

    fn head() -> TreeHead {
        TreeHead { size: 7, root: leaf_hash(b"x") }
    }

    #[test]
    fn a_signed_checkpoint_opens_under_its_key_alone() {
        let log = signer("placet.example/a");
        let signed = Checkpoint::sign(head(), &log);
        assert_eq!(SignedCheckpoint::open(signed.note().as_bytes(), &log.verifier_key()), Ok(signed.clone()));
        let other = Signer::from_seed(log.name().clone(), &[8; 32]).verifier_key();
        let refused = SignedCheckpoint::open(signed.note().as_bytes(), &other);
        assert_eq!(refused, Err(SignatureError::Unsigned.into()));
        let cosigner = log.cosigner_key();
        assert_eq!(
            SignedCheckpoint::open(signed.note().as_bytes(), &cosigner),
            Err(CheckpointError::NotALogKey)
        );
    }

    #[test]
    fn every_altered_or_missing_byte_is_noticed() {
        let log = signer("placet.example/a");
        let note = Checkpoint::sign(head(), &log).note().to_owned();
        for position in 0..note.len() {
            let mut altered = note.clone().into_bytes();
            altered[position] ^= 0x01;
            assert!(SignedCheckpoint::open(&altered, &log.verifier_key()).is_err(), "byte {position}");
            assert!(SignedCheckpoint::open(&note.as_bytes()[..position], &log.verifier_key()).is_err());
        }
    }

    #[test]
    fn the_log_itself_must_have_signed_under_its_own_name() {
        let (log, witness) = (signer("placet.example/a"), signer("witness.example"));
        let checkpoint = Checkpoint { origin: log.name().clone(), head: head() };
        let text = checkpoint.to_string();
        let only_witness = format_note(&text, &[witness.cosign(&text, 5)]);
        let opened = SignedCheckpoint::open_with_cosigners(
            only_witness.as_bytes(),
            &log.verifier_key(),
            &[witness.cosigner_key()],
        );
        assert_eq!(opened, Err(SignatureError::Unsigned.into()));
        let foreign =
            Checkpoint { origin: KeyName::parse("placet.example/b").unwrap(), head: head() }.to_string();
        let note = format_note(&foreign, &[log.sign(&foreign)]);
        let opened = SignedCheckpoint::open(note.as_bytes(), &log.verifier_key());
        assert!(matches!(opened, Err(CheckpointError::Origin { .. })));
    }

    #[test]
    fn a_cosignature_carries_its_time_and_cannot_be_moved() {
        let (log, witness) = (signer("placet.example/a"), signer("witness.example"));
        let signed = Checkpoint::sign(head(), &log).cosigned(&witness, 1_790_000_000);
        let cosigners = [witness.cosigner_key()];
        let opened =
            SignedCheckpoint::open_with_cosigners(signed.note().as_bytes(), &log.verifier_key(), &cosigners);
        assert_eq!(opened.as_ref(), Ok(&signed));
        assert_eq!(opened.unwrap().signatures()[1].cosigned_at, Some(1_790_000_000));
        // Without the cosigner's key the line is ignored but kept.
        let opened = SignedCheckpoint::open(signed.note().as_bytes(), &log.verifier_key()).unwrap();
        assert_eq!((opened.signatures().len(), opened.note()), (1, signed.note()));
        // The line of one checkpoint under another.
        let other = Checkpoint::sign(TreeHead::EMPTY, &log);
        let moved = format!("{}{}\n", other.note(), signed.note().lines().last().unwrap());
        let opened = SignedCheckpoint::open_with_cosigners(moved.as_bytes(), &log.verifier_key(), &cosigners);
        assert!(matches!(opened, Err(CheckpointError::Signature(SignatureError::Invalid { .. }))));
    }

    #[test]
    fn bodies_have_one_spelling() {
        let root = Hash::EMPTY_ROOT;
        assert!(Checkpoint::parse(&format!("a\n0\n{root}\n")).is_ok());
        assert!(Checkpoint::parse(&format!("a\n9223372036854775807\n{root}\n")).is_ok());
        for wrong in [
            String::new(),
            "a\n".into(),
            format!("a\n1\n{root}"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("a\n9223372036854775808\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            format!("\n1\n{root}\n"),
            format!("a b\n1\n{root}\n"),
            format!("a\n1\n{root}\nextension\n"),
            format!("a\n1\n{root}\n\n"),
            format!("a\n0\n{}\n", leaf_hash(b"not the empty root")),
            "a\n1\nAAAA\n".into(),
        ] {
            assert_eq!(Checkpoint::parse(&wrong), Err(NotACheckpoint), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_head_survives_its_text(size in 1..=crate::SIZE_MAX, root: [u8; 32]) {
            let head = TreeHead { size, root: Hash::from_bytes(root) };
            let checkpoint = Checkpoint { origin: KeyName::parse("a").unwrap(), head };
            prop_assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
        }
    }
}
