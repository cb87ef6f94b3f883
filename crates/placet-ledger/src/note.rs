//! Signed notes: a text and the lines that sign it.
//!
//! ```text
//! text, any number of lines, the last one ended
//!                                                             ◄─ an empty line
//! — placet.example/ledger u5snfve53wch9ggJjRFr79KzAIC6LS…     ◄─ name, base64(key id || signature)
//! ```
//!
//! Lines of keys that the reader does not know are ignored, so a key can be rotated and a witness can cosign without
//! breaking anyone. A line that claims a known key and does not verify spoils the whole note.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{Signer as _, SigningKey};

use crate::vkey::{KeyId, KeyName, SignatureType, VerifierKey};

/// The longest note that is read, in bytes: 64 post-quantum signatures of 3.2 KB and a text.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// The most signature lines that are read; the standard asks for at least 16.
pub const SIGNATURES_MAX: usize = 64;
/// A key id and at least one byte of signature.
const SIGNATURE_BYTES_MIN: usize = 5;
const LINE_PREFIX: &str = "— ";

/// A private key that signs notes under its name.
#[derive(Clone)]
pub struct Signer {
    name: KeyName,
    key: SigningKey,
}

impl Signer {
    /// Makes the key from the 32 secret bytes of Ed25519.
    #[must_use]
    pub fn from_seed(name: KeyName, seed: &[u8; 32]) -> Self {
        Signer { name, key: SigningKey::from_bytes(seed) }
    }

    /// The name of the key, which is the origin of the log.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// What a reader needs to check this log's signatures.
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey::new(self.name.clone(), SignatureType::Ed25519, self.key.verifying_key())
    }

    /// What a reader needs to check this key's cosignatures.
    #[must_use]
    pub fn cosigner_key(&self) -> VerifierKey {
        VerifierKey::new(self.name.clone(), SignatureType::CosignatureV1, self.key.verifying_key())
    }

    pub(crate) fn sign(&self, text: &str) -> SignatureLine {
        let signature = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        SignatureLine { name: self.name.clone(), id: self.verifier_key().id(), signature }
    }

    pub(crate) fn cosign(&self, text: &str, unix_seconds: u64) -> SignatureLine {
        let mut signature = unix_seconds.to_be_bytes().to_vec();
        signature.extend_from_slice(&self.key.sign(&cosigned_message(text, unix_seconds)).to_bytes());
        SignatureLine { name: self.name.clone(), id: self.cosigner_key().id(), signature }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).field("key", &"<redacted>").finish()
    }
}

fn cosigned_message(text: &str, unix_seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}").into_bytes()
}

/// One signature line, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    id: KeyId,
    signature: Vec<u8>,
}

impl SignatureLine {
    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(LINE_PREFIX)?.split_once(' ')?;
        let bytes = BASE64_STANDARD.decode(base64).ok().filter(|bytes| bytes.len() >= SIGNATURE_BYTES_MIN)?;
        let (id, signature) = bytes.split_first_chunk()?;
        Some(SignatureLine { name: KeyName::parse(name).ok()?, id: *id, signature: signature.to_vec() })
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id of the key that is said to have signed.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the line is the key's signature over the text, and if it says when it was made, that time.
    fn check(&self, text: &str, key: &VerifierKey) -> Option<Option<u64>> {
        match key.signature_type() {
            SignatureType::Ed25519 => key.accepts(text.as_bytes(), &self.signature).then_some(None),
            SignatureType::CosignatureV1 => {
                let (time, signature) = self.signature.split_first_chunk()?;
                let time = u64::from_be_bytes(*time);
                key.accepts(&cosigned_message(text, time), signature).then_some(Some(time))
            }
        }
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.signature].concat();
        write!(f, "{LINE_PREFIX}{} {}", self.name, BASE64_STANDARD.encode(bytes))
    }
}

/// A well-formed note whose signatures have not been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedNote {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// Bytes that are not a signed note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`NOTE_BYTES_MAX`].
    #[error("the note has more than {NOTE_BYTES_MAX} bytes: it is not a checkpoint")]
    TooLong,
    /// Invalid UTF-8 or a control character.
    #[error("the note is not plain text: it is not a checkpoint, or it was altered")]
    NotText,
    /// No empty line between text and signatures, or no signature.
    #[error("the note has no signature: it is not a checkpoint, or it was cut")]
    NoSignature,
    /// A line of the signature block that is none.
    #[error("a signature line of the note is malformed: it was altered or cut")]
    SignatureLine,
    /// More than [`SIGNATURES_MAX`] lines.
    #[error("the note has more than {SIGNATURES_MAX} signatures: remove those you do not need")]
    TooManySignatures,
}

/// A note whose signatures do not convince.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No line of a known key.
    #[error("no known key signed the note: check that the verifier key belongs to this log")]
    Unsigned,
    /// A line claims a known key and does not verify.
    #[error("the signature of {name} does not verify: the note was altered, or another key uses that name")]
    Invalid {
        /// The key that the line claims.
        name: KeyName,
    },
}

/// A signature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// The name of the key.
    pub name: KeyName,
    /// The id of the key.
    pub id: KeyId,
    /// When a cosigner says it signed, in Unix seconds.
    pub cosigned_at: Option<u64>,
}

impl UnverifiedNote {
    /// Reads a note; says nothing about who signed it.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::NotText);
        }
        // The last empty line separates; the text keeps its final newline, the block of signatures too.
        let (text, block) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignature)?;
        let lines = block.strip_suffix('\n').ok_or(NoteError::NoSignature)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(SignatureLine::parse(line).ok_or(NoteError::SignatureLine)?);
        }
        Ok(UnverifiedNote { text: format!("{text}\n"), signatures })
    }

    /// The text, which nobody vouches for yet.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Checks every line of a known key. At least one must be there and none may fail; lines of unknown keys are
    /// ignored, also if they share the name or the id (but not both) with a known key.
    pub fn verify(&self, known: &[&VerifierKey]) -> Result<Vec<VerifiedSignature>, SignatureError> {
        let mut verified = Vec::new();
        for line in &self.signatures {
            for key in known.iter().filter(|key| *key.name() == line.name && key.id() == line.id) {
                let cosigned_at = line
                    .check(&self.text, key)
                    .ok_or_else(|| SignatureError::Invalid { name: line.name.clone() })?;
                verified.push(VerifiedSignature { name: line.name.clone(), id: line.id, cosigned_at });
            }
        }
        if verified.is_empty() { Err(SignatureError::Unsigned) } else { Ok(verified) }
    }
}

/// Writes a note: the text, an empty line, the signatures.
pub(crate) fn format_note(text: &str, signatures: &[SignatureLine]) -> String {
    let lines: String = signatures.iter().map(|line| format!("{line}\n")).collect();
    format!("{text}\n{lines}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(name: &str) -> Signer {
        Signer::from_seed(KeyName::parse(name).unwrap(), &[name.len() as u8; 32])
    }

    fn signed(text: &str, signers: &[&Signer]) -> String {
        let lines: Vec<SignatureLine> = signers.iter().map(|signer| signer.sign(text)).collect();
        format_note(text, &lines)
    }

    #[test]
    fn the_example_of_the_standard_verifies() {
        let key = VerifierKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
            .unwrap();
        let note = "This is an example message.\n\n— example.com/foo \
                    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let note = UnverifiedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(note.unverified_text(), "This is an example message.\n");
        assert_eq!(note.verify(&[&key]).unwrap().len(), 1);
    }

    #[test]
    fn unknown_keys_are_ignored_and_a_known_one_is_needed() {
        let (known, other) = (signer("known"), signer("other"));
        let both = UnverifiedNote::parse(signed("text\n", &[&other, &known]).as_bytes()).unwrap();
        let verified = both.verify(&[&known.verifier_key()]).unwrap();
        assert_eq!(verified.len(), 1);
        assert_eq!(verified[0].name, *known.name());
        let foreign = UnverifiedNote::parse(signed("text\n", &[&other]).as_bytes()).unwrap();
        assert_eq!(foreign.verify(&[&known.verifier_key()]), Err(SignatureError::Unsigned));
        assert_eq!(foreign.verify(&[]), Err(SignatureError::Unsigned));
    }

    #[test]
    fn a_known_key_that_fails_spoils_the_note_even_beside_a_good_line() {
        let (good, bad) = (signer("good"), signer("bad"));
        let lines = [good.sign("text\n"), bad.sign("other text\n")];
        let note = UnverifiedNote::parse(format_note("text\n", &lines).as_bytes()).unwrap();
        assert!(note.verify(&[&good.verifier_key()]).is_ok());
        let refused = note.verify(&[&good.verifier_key(), &bad.verifier_key()]);
        assert_eq!(refused, Err(SignatureError::Invalid { name: bad.name().clone() }));
        // Also if a good line of the same key stands before it.
        let twice = [good.sign("text\n"), good.sign("other text\n")];
        let note = UnverifiedNote::parse(format_note("text\n", &twice).as_bytes()).unwrap();
        assert!(matches!(note.verify(&[&good.verifier_key()]), Err(SignatureError::Invalid { .. })));
    }

    #[test]
    fn a_key_of_the_same_name_or_the_same_id_is_not_the_same_key() {
        let known = signer("known");
        let same_name = Signer::from_seed(known.name().clone(), &[99; 32]);
        let mut same_id = signer("other").sign("text\n");
        same_id.id = known.verifier_key().id();
        let note = format_note("text\n", &[same_name.sign("text\n"), same_id]);
        let note = UnverifiedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(note.verify(&[&known.verifier_key()]), Err(SignatureError::Unsigned));
    }

    #[test]
    fn sixty_four_signatures_are_read_and_one_more_is_not() {
        let others: Vec<Signer> = (0..64).map(|i| signer(&"k".repeat(i + 1))).collect();
        let others: Vec<&Signer> = others.iter().collect();
        let note = UnverifiedNote::parse(signed("text\n", &others).as_bytes()).unwrap();
        assert_eq!(note.signatures().len(), 64);
        let last = others[63].verifier_key();
        assert_eq!(note.verify(&[&last]).unwrap().len(), 1);
        let one_more = format!("{}{}\n", signed("text\n", &others), others[0].sign("text\n"));
        assert_eq!(UnverifiedNote::parse(one_more.as_bytes()), Err(NoteError::TooManySignatures));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let line = signer("a").sign("t\n").to_string();
        let cases: [(String, NoteError); 17] = [
            (String::new(), NoteError::NoSignature),
            ("text".into(), NoteError::NoSignature),
            ("text\n".into(), NoteError::NoSignature),
            ("text\n\n".into(), NoteError::NoSignature),
            (format!("text\n{line}\n"), NoteError::NoSignature),
            (format!("text\n\n{line}"), NoteError::NoSignature),
            (format!("text\n\n{line}\n\n"), NoteError::NoSignature),
            (format!("text\n\n\n{line}\nrest\n"), NoteError::SignatureLine),
            (format!("text\n\n{line} \n"), NoteError::SignatureLine),
            (format!("text\n\n {line}\n"), NoteError::SignatureLine),
            (format!("text\n\n{}\n", line.replace('—', "-")), NoteError::SignatureLine),
            (format!("text\n\n{}\n", line.replace("— a", "— a+a")), NoteError::SignatureLine),
            (format!("text\n\n{}\n", line.trim_end_matches('=')), NoteError::SignatureLine),
            ("text\n\n— a AAAAAA==\n".into(), NoteError::SignatureLine),
            (format!("te\rxt\n\n{line}\n"), NoteError::NotText),
            (format!("te\0xt\n\n{line}\n"), NoteError::NotText),
            ("x".repeat(NOTE_BYTES_MAX + 1), NoteError::TooLong),
        ];
        for (note, error) in cases {
            assert_eq!(UnverifiedNote::parse(note.as_bytes()), Err(error), "{:.80}", note);
        }
        assert_eq!(UnverifiedNote::parse(b"text\xff\n\n"), Err(NoteError::NotText));
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", Signer::from_seed(KeyName::parse("name").unwrap(), &[0xab; 32]));
        assert_eq!(shown, "Signer { name: \"name\", key: \"<redacted>\" }");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _refused_or_not = UnverifiedNote::parse(&bytes);
        }

        #[test]
        fn what_is_read_is_what_was_written(text in "([ -~]{0,10}\n){1,4}", count in 1..5_usize) {
            let signers: Vec<Signer> = (0..count).map(|i| signer(&"n".repeat(i + 1))).collect();
            let note = signed(&text, &signers.iter().collect::<Vec<_>>());
            let read = UnverifiedNote::parse(note.as_bytes()).unwrap();
            prop_assert_eq!(read.unverified_text(), &text);
            prop_assert_eq!(format_note(&read.text, &read.signatures), note);
        }
    }
}
