//! SHA-256 over what is too large to hold in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use placet_core::digest::Sha256Digest;
use sha2::Digest as _;

/// Feeds bytes in pieces.
#[derive(Clone, Default)]
pub(crate) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha256Digest {
        Sha256Digest::from_bytes(self.0.finalize().into())
    }
}

/// Hashes an open file from its first byte to its last, whatever its read position.
pub(crate) fn of_file(file: &File) -> io::Result<Sha256Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
    }
}
