//! A sealed value: AES-256-GCM, with the key's id, the nonce and the place it belongs to.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use zeroize::Zeroizing;

use super::KeyId;

/// First byte of the stored form; another one is a newer version and is refused.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A sealed value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    key: KeyId,
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
}

/// The bytes are not an envelope that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a sealed value: it is cut short, or of a newer version")]
pub struct EnvelopeError;

impl Envelope {
    /// Seals. Fails only for plaintexts beyond what the cipher can count, 64 GiB.
    pub(super) fn seal(
        id: KeyId,
        key: &[u8; 32],
        nonce: [u8; NONCE_BYTES],
        context: &[u8],
        plaintext: &[u8],
    ) -> Option<Self> {
        let payload = Payload { msg: plaintext, aad: context };
        let ciphertext = cipher(key).encrypt(&Nonce::from(nonce), payload).ok()?;
        Some(Envelope { key: id, nonce, ciphertext })
    }

    pub(super) fn open(&self, key: &[u8; 32], context: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let payload = Payload { msg: &self.ciphertext, aad: context };
        cipher(key).decrypt(&Nonce::from(self.nonce), payload).ok().map(Zeroizing::new)
    }

    /// Under which key it is sealed.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The stored form: version, key id, nonce, ciphertext with its tag.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 16 + NONCE_BYTES + self.ciphertext.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.ciphertext);
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (version, rest) = bytes.split_first().ok_or(EnvelopeError)?;
        let (key, rest) = rest.split_first_chunk().ok_or(EnvelopeError)?;
        let (nonce, ciphertext) = rest.split_first_chunk().ok_or(EnvelopeError)?;
        if *version != VERSION || ciphertext.len() < TAG_BYTES {
            return Err(EnvelopeError);
        }
        Ok(Envelope { key: KeyId::from_bytes(*key), nonce: *nonce, ciphertext: ciphertext.to_vec() })
    }
}

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
}
