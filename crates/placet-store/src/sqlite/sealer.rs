//! Seals and opens what stands in rows, and computes the macs by which sealed things are found.

use hmac::{Hmac, KeyInit, Mac};
use placet_core::action::Principal;
use placet_core::digest::{ActionDigest, Sha256Digest};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::{Envelope, KeyError, KeyStore, Subject};
use crate::row::{self, Form};
use crate::{CommitError, ViewError};

/// An HMAC that stands in a column instead of what it is over.
pub(super) type MacBytes = [u8; 32];

pub(super) struct Sealer {
    pub(super) keys: KeyStore,
    index_key: Secret,
}

/// Where a sealed value stands: the table, and what makes the row that row. It opens nowhere else.
pub(super) struct Place(Vec<u8>);

impl Place {
    pub(super) fn new(table: &str, parts: &[&[u8]]) -> Self {
        Place(joined(b"placet/row/v1\0", table, parts))
    }

    pub(super) fn request(id: &[u8; 16], version: u64) -> Self {
        Place::new("request", &[id, &version.to_be_bytes()])
    }

    pub(super) fn vote(request: &[u8; 16], seq: usize) -> Self {
        Place::new("vote", &[request, &(seq as u64).to_be_bytes()])
    }

    pub(super) fn recording(execution: &[u8; 16]) -> Self {
        Place::new("recording", &[execution])
    }

    pub(super) fn secret(name: &str, version: u32) -> Self {
        Place::new("secret", &[name.as_bytes(), &version.to_be_bytes()])
    }
}

/// Each part with its length in front, so that no two lists of parts have the same bytes.
fn joined(domain: &[u8], name: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = domain.to_vec();
    for part in std::iter::once(name.as_bytes()).chain(parts.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// What an opened row is.
pub(super) enum Opened<T> {
    Whole(T),
    /// Its key was destroyed.
    Erased,
}

impl<T> Opened<T> {
    /// For what cannot do without: an erased row is a row that cannot be read.
    pub(super) fn or_corrupt(self, what: &'static str) -> Result<T, ViewError> {
        match self {
            Opened::Whole(value) => Ok(value),
            Opened::Erased => Err(corrupt(what, "its key was destroyed")),
        }
    }

    /// For credentials: an erased one opens no door.
    pub(super) fn whole(self) -> Option<T> {
        match self {
            Opened::Whole(value) => Some(value),
            Opened::Erased => None,
        }
    }
}

pub(super) fn corrupt(what: &'static str, reason: impl ToString) -> ViewError {
    ViewError::Corrupt { what, reason: reason.to_string() }
}

impl Sealer {
    pub(super) fn new(keys: KeyStore) -> Self {
        let index_key = keys.derive("row-index");
        Sealer { keys, index_key }
    }

    /// Seals a row's content.
    pub(super) fn seal<T: Form>(
        &self,
        subject: Subject,
        now: Timestamp,
        place: &Place,
        value: &T,
    ) -> Result<Vec<u8>, CommitError> {
        let bytes = row::encode(value).map_err(|error| CommitError::Refused(error.to_string()))?;
        self.seal_bytes(subject, now, place, &bytes)
    }

    /// Seals bytes as they are.
    pub(super) fn seal_bytes(
        &self,
        subject: Subject,
        now: Timestamp,
        place: &Place,
        bytes: &[u8],
    ) -> Result<Vec<u8>, CommitError> {
        let sealed = self.keys.seal(subject, now, &place.0, bytes);
        sealed.map(|envelope| envelope.to_bytes()).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "sealing a row failed");
            CommitError::Unavailable(format!("seal: {error}"))
        })
    }

    /// Opens a row's content.
    pub(super) fn open<T: Form>(
        &self,
        what: &'static str,
        place: &Place,
        sealed: &[u8],
    ) -> Result<Opened<T>, ViewError> {
        Ok(match self.open_bytes(what, place, sealed)? {
            Opened::Whole(bytes) => Opened::Whole(row::decode(&bytes).map_err(|error| corrupt(what, error))?),
            Opened::Erased => Opened::Erased,
        })
    }

    /// Opens bytes.
    pub(super) fn open_bytes(
        &self,
        what: &'static str,
        place: &Place,
        sealed: &[u8],
    ) -> Result<Opened<Zeroizing<Vec<u8>>>, ViewError> {
        let envelope = Envelope::from_bytes(sealed).map_err(|error| corrupt(what, error))?;
        match self.keys.open_envelope(&envelope, &place.0) {
            Ok(bytes) => Ok(Opened::Whole(bytes)),
            Err(KeyError::Destroyed(_)) => Ok(Opened::Erased),
            Err(KeyError::Database(error)) => Err(ViewError::Unavailable(error.to_string())),
            Err(error @ (KeyError::Unknown(_) | KeyError::Altered)) => Err(corrupt(what, error)),
        }
    }

    fn mac(&self, name: &str, parts: &[&[u8]]) -> MacBytes {
        // HMAC takes keys of any length, so the error cannot occur; a mac of nothing would find nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.index_key.expose()) else { return [0; 32] };
        mac.update(&joined(b"placet/mac/v1\0", name, parts));
        mac.finalize().into_bytes().into()
    }

    /// What requests with the same principal and digest share.
    pub(super) fn twin_mac(&self, principal: Principal, digest: ActionDigest) -> MacBytes {
        self.mac("twin", &[principal.to_string().as_bytes(), digest.as_bytes()])
    }

    /// How an idempotency key is found.
    pub(super) fn key_mac(&self, principal: Principal, key: &str) -> MacBytes {
        self.mac("key", &[principal.to_string().as_bytes(), key.as_bytes()])
    }

    /// How a card is found.
    pub(super) fn card_mac(&self, hash: Sha256Digest) -> MacBytes {
        self.mac("card", &[hash.as_bytes()])
    }

    /// What the search index holds instead of a fact. Half an HMAC: enough that no two facts share one.
    pub(super) fn search_token(&self, name: &str, parts: [&str; 2]) -> [u8; 16] {
        let [first, second] = parts;
        let mac = self.mac("search", &[name.as_bytes(), first.as_bytes(), second.as_bytes()]);
        mac.first_chunk().copied().unwrap_or_default()
    }

    /// What tells agents' names apart.
    pub(super) fn name_mac(&self, name: &str) -> MacBytes {
        self.mac("agent-name", &[name.as_bytes()])
    }
}
