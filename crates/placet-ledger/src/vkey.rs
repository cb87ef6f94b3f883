//! Key names and verifier keys: whom a reader of signed notes trusts.
//!
//! ```text
//! placet.example/ledger+bb9b277e+AZsfhHkc/HZjBFhU04netcqVRJ2HXydqg4QLBgqznPxx
//! name                  key id   base64(type || Ed25519 public key)
//! ```

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{PUBLIC_KEY_LENGTH, Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The longest name of a key or a log, in bytes; other verifiers stop there too.
pub const NAME_BYTES_MAX: usize = 255;
/// A name, two pluses, eight hexadecimal digits and 44 characters of base64.
const VKEY_BYTES_MAX: usize = NAME_BYTES_MAX + 2 + 8 + 44;

/// Identifies a key together with its name: the first four bytes of a hash over name, type and public key.
pub type KeyId = [u8; 4];

/// The name of a key, which is also the origin of the log that it signs.
///
/// Not empty, at most 255 bytes, no white space, no control character, no `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// A text that cannot name a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key name: use 1 to 255 bytes without white space, control characters or a plus sign")]
pub struct NotAKeyName;

impl KeyName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAKeyName> {
        let length_fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if length_fits && !text.contains(forbidden) { Ok(KeyName(text.to_owned())) } else { Err(NotAKeyName) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a key signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureType {
    /// A log's plain Ed25519 signature over the text of the note.
    Ed25519,
    /// A witness's Ed25519 signature over the time and the text of a checkpoint.
    CosignatureV1,
}

impl SignatureType {
    const fn byte(self) -> u8 {
        match self {
            SignatureType::Ed25519 => 0x01,
            SignatureType::CosignatureV1 => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(SignatureType::Ed25519),
            0x04 => Some(SignatureType::CosignatureV1),
            _ => None,
        }
    }
}

/// A public key with its name: what a verifier is configured with.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    signature_type: SignatureType,
    key: VerifyingKey,
    id: KeyId,
}

/// A text that is not a verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// Not `name+id+key`.
    #[error("not a verifier key: expected <name>+<8 hexadecimal digits>+<base64>")]
    Format,
    /// The type of signature is none that this program checks.
    #[error(
        "the verifier key has signature type {0:#04x}: only Ed25519 (0x01) and its cosignature (0x04) are known"
    )]
    SignatureType(u8),
    /// The public key is no point of the curve, or one under which signatures can be forged.
    #[error("the public key is not a safe Ed25519 key: ask the log's operator for the right one")]
    PublicKey,
    /// The key id does not belong to this name and key.
    #[error("the key id does not fit the name and the key: the text was altered or mistyped")]
    Id,
}

impl VerifierKey {
    pub(crate) fn new(name: KeyName, signature_type: SignatureType, key: VerifyingKey) -> Self {
        let digest = Sha256::new()
            .chain_update(name.as_str())
            .chain_update([b'\n', signature_type.byte()])
            .chain_update(key.as_bytes())
            .finalize();
        let [a, b, c, d, ..]: [u8; 32] = digest.into();
        VerifierKey { name, signature_type, key, id: [a, b, c, d] }
    }

    /// Reads a verifier key.
    pub fn parse(text: &str) -> Result<Self, VerifierKeyError> {
        if text.len() > VKEY_BYTES_MAX {
            return Err(VerifierKeyError::Format);
        }
        let (name, rest) = text.split_once('+').ok_or(VerifierKeyError::Format)?;
        let (id, material) = rest.split_once('+').ok_or(VerifierKeyError::Format)?;
        let name = KeyName::parse(name).map_err(|_| VerifierKeyError::Format)?;
        let material = BASE64_STANDARD.decode(material).map_err(|_| VerifierKeyError::Format)?;
        let (&type_byte, public_key) = material.split_first().ok_or(VerifierKeyError::Format)?;
        let signature_type =
            SignatureType::from_byte(type_byte).ok_or(VerifierKeyError::SignatureType(type_byte))?;
        let public_key: &[u8; PUBLIC_KEY_LENGTH] =
            public_key.try_into().map_err(|_| VerifierKeyError::Format)?;
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| VerifierKeyError::PublicKey)?;
        if key.is_weak() {
            return Err(VerifierKeyError::PublicKey);
        }
        let vkey = VerifierKey::new(name, signature_type, key);
        if vkey.id_hex() == id { Ok(vkey) } else { Err(VerifierKeyError::Id) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key signs.
    #[must_use]
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    fn id_hex(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }

    /// Whether these bytes are this key's signature over this message. Strict: one key and one message have exactly
    /// the signatures that the signer could have made.
    pub(crate) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = vec![self.signature_type.byte()];
        material.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id_hex(), BASE64_STANDARD.encode(material))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "placet.example/ledger+bb9b277e+AZsfhHkc/HZjBFhU04netcqVRJ2HXydqg4QLBgqznPxx";
    const WITNESS: &str = "witness.example/w1+24c2fdca+BHun0VNAaOinILs4fYx9M8U2nh2Uos9enWj6iwn0agfE";

    #[test]
    fn keys_survive_their_text() {
        for (text, signature_type) in [(LOG, SignatureType::Ed25519), (WITNESS, SignatureType::CosignatureV1)]
        {
            let key = VerifierKey::parse(text).unwrap();
            assert_eq!(key.to_string(), text);
            assert_eq!(key.signature_type(), signature_type);
        }
        // The example of the standard.
        let example = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        assert_eq!(VerifierKey::parse(example).unwrap().id(), [0x53, 0x0d, 0x90, 0x3a]);
    }

    #[test]
    fn an_altered_key_is_refused() {
        for position in 0..LOG.len() {
            let mut altered = LOG.as_bytes().to_vec();
            altered[position] ^= 1;
            let altered = String::from_utf8(altered).unwrap();
            assert!(VerifierKey::parse(&altered).is_err(), "{altered}");
            assert!(VerifierKey::parse(&LOG[..position]).is_err(), "cut at {position}");
        }
        assert_eq!(VerifierKey::parse(&LOG.replace("bb9b277e", "BB9B277E")), Err(VerifierKeyError::Id));
        assert_eq!(VerifierKey::parse(&"x".repeat(1 << 20)), Err(VerifierKeyError::Format));
        assert_eq!(VerifierKey::parse(""), Err(VerifierKeyError::Format));
    }

    #[test]
    fn keys_under_which_anyone_can_sign_are_refused() {
        // The identity and the point of order two.
        for weak in [
            {
                let mut k = [0; 32];
                k[0] = 1;
                k
            },
            {
                let mut k = [0xff; 32];
                k[0] = 0xec;
                k[31] = 0x7f;
                k
            },
        ] {
            let material = [&[1][..], &weak].concat();
            let text = format!("n+00000000+{}", BASE64_STANDARD.encode(material));
            assert_eq!(VerifierKey::parse(&text), Err(VerifierKeyError::PublicKey));
        }
        let unknown = format!("n+00000000+{}", BASE64_STANDARD.encode([2; 33]));
        assert_eq!(VerifierKey::parse(&unknown), Err(VerifierKeyError::SignatureType(2)));
    }

    #[test]
    fn names() {
        for good in ["a", "placet.example/ledger/e2", "schlüssel.example", &"n".repeat(255)] {
            assert_eq!(KeyName::parse(good).unwrap().as_str(), good);
        }
        for wrong in ["", "a b", "a+b", "a\nb", "a\u{a0}b", "a\u{2003}b", "a\0", "a\u{7f}", &"n".repeat(256)]
        {
            assert_eq!(KeyName::parse(wrong), Err(NotAKeyName), "{wrong:?}");
        }
    }
}
