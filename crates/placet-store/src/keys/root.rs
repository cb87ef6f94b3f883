//! The root key: wraps data keys, derives keys for single purposes, and is written to disk once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use placet_core::entropy::{Entropy, random_bytes};
use placet_core::secret::Secret;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Envelope, KeyId, KeysError, RootKeySource};
use crate::private;

/// Its file, if it is our own.
const FILE: &str = "root.key";

pub(super) struct RootKey(Zeroizing<[u8; 32]>);

impl RootKey {
    /// Reads the root key. Our own is made if there are no data keys yet: a fresh one could open none of them.
    pub(super) fn load(
        directory: &Path,
        source: &RootKeySource,
        has_data_keys: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeysError> {
        let path = match source {
            RootKeySource::File(path) => {
                private::linked_file(path)?;
                return read(path);
            }
            RootKeySource::Own => directory.join(FILE),
        };
        if path.symlink_metadata().is_err() {
            if has_data_keys {
                return Err(KeysError::RootKeyMissing(path));
            }
            let key: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes(entropy));
            write_durably(directory, &path, key.as_slice())
                .map_err(|source| KeysError::Io { path: path.clone(), source })?;
        }
        private::file(&path)?;
        read(&path)
    }

    /// Wraps a data key: an envelope whose context is the key's own id.
    pub(super) fn wrap(&self, id: KeyId, key: &[u8; 32], nonce: [u8; 12]) -> Option<Vec<u8>> {
        Envelope::seal(id, &self.0, nonce, &wrapping(id), key).map(|envelope| envelope.to_bytes())
    }

    pub(super) fn unwrap(&self, id: KeyId, wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let envelope = Envelope::from_bytes(wrapped).ok()?;
        let key = envelope.open(&self.0, &wrapping(id))?;
        key.as_slice().try_into().ok().map(Zeroizing::new)
    }

    pub(super) fn derive(&self, label: &str) -> Secret {
        hmac(self.0.as_slice(), &[b"placet/derive/v1\0", label.as_bytes()])
    }

    /// A MAC under a key that is derived for this purpose alone.
    pub(super) fn mac(&self, label: &str, bytes: &[u8]) -> Secret {
        hmac(self.derive(label).expose(), &[bytes])
    }

    /// Writes it into another directory.
    pub(super) fn write(&self, directory: &Path) -> Result<(), KeysError> {
        let path = directory.join(FILE);
        write_durably(directory, &path, self.0.as_slice()).map_err(|source| KeysError::Io { path, source })
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Secret {
    // HMAC takes keys of any length, so the error cannot occur.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Secret::new(Vec::new()) };
    for part in parts {
        mac.update(part);
    }
    Secret::new(mac.finalize().into_bytes().to_vec())
}

fn wrapping(id: KeyId) -> Vec<u8> {
    [b"placet/data-key/v1\0".as_slice(), id.as_bytes()].concat()
}

fn read(path: &Path) -> Result<RootKey, KeysError> {
    let bytes = fs::read(path).map_err(|source| KeysError::Io { path: path.to_owned(), source })?;
    let bytes = Zeroizing::new(bytes);
    let key = bytes.as_slice().try_into().map_err(|_| KeysError::RootKeyLength(path.to_owned()))?;
    Ok(RootKey(Zeroizing::new(key)))
}

/// Under another name first, so that a crash leaves no half of a key.
fn write_durably(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh: PathBuf = path.with_extension("new");
    if fresh.symlink_metadata().is_ok() {
        fs::remove_file(&fresh)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}
