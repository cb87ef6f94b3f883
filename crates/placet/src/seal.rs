//! Seals spooled output under a key that lives as long as the execution's output, and only in memory.

use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use placet_core::entropy::{Entropy, random_bytes};
use placet_gateway::runner::spool::SpoolSeal;

/// AES-256-GCM with a fresh key for each spool; the block's number is the nonce.
pub(crate) struct FreshKey(Aes256Gcm);

impl FreshKey {
    pub(crate) fn new(entropy: &Arc<dyn Entropy>) -> Self {
        FreshKey(Aes256Gcm::new(&random_bytes::<32>(entropy.as_ref()).into()))
    }
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (place, byte) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
        *place = byte;
    }
    nonce
}

impl SpoolSeal for FreshKey {
    #[expect(clippy::expect_used, reason = "AES-GCM fails only above 64 GiB, and a block has 64 KiB")]
    fn seal(&self, number: u64, plain: &[u8]) -> Vec<u8> {
        self.0.encrypt(&Nonce::from(nonce(number)), plain).expect("a block is far below the cipher's bound")
    }

    fn open(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&Nonce::from(nonce(number)), sealed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::OsEntropy;

    #[test]
    fn a_block_opens_only_in_its_place_and_unaltered() {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let seal = FreshKey::new(&entropy);
        let mut sealed = seal.seal(3, b"output");
        assert_eq!(seal.open(3, &sealed).as_deref(), Some(b"output".as_slice()));
        assert_eq!(seal.open(4, &sealed), None);
        assert_eq!(FreshKey::new(&entropy).open(3, &sealed), None);
        sealed[0] ^= 1;
        assert_eq!(seal.open(3, &sealed), None);
    }
}
