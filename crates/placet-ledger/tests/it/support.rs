//! The log of the golden vectors, at any size.

use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use placet_ledger::vkey::KeyName;
use placet_ledger::{Frontier, Publisher, SignedCheckpoint, Signer, TreeHead, leaf_hash};
use sha2::{Digest as _, Sha256};

pub(crate) const ORIGIN: &str = "placet.example/ledger";

/// The log's key of the golden vectors.
pub(crate) fn signer() -> Signer {
    signer_named(ORIGIN, "log")
}

/// A key whose seed is the hash of a word.
pub(crate) fn signer_named(name: &str, seed: &str) -> Signer {
    Signer::from_seed(KeyName::parse(name).unwrap(), &Sha256::digest(seed).into())
}

/// Entry `i` of the golden vectors.
pub(crate) fn entry(i: u64) -> Vec<u8> {
    let commitment = BASE64_STANDARD.encode(Sha256::digest(format!("salt{i}")));
    format!(r#"{{"seq":{i},"type":"decision","c":"{commitment}"}}"#).into_bytes()
}

/// A store with these entries.
pub(crate) fn entries(range: Range<u64>) -> Result<Vec<Vec<u8>>, Infallible> {
    Ok(range.map(entry).collect())
}

/// The head that the store's writer would have.
pub(crate) fn head(size: u64) -> TreeHead {
    head_of((0..size).map(entry))
}

pub(crate) fn head_of(entries: impl Iterator<Item = Vec<u8>>) -> TreeHead {
    let mut frontier = Frontier::new();
    entries.for_each(|entry| {
        frontier.append(leaf_hash(&entry)).unwrap();
    });
    frontier.head()
}

/// Publishes the golden log at each of these sizes, one after the other.
pub(crate) fn publish(dir: &Path, sizes: &[u64]) -> Vec<SignedCheckpoint> {
    let mut publisher = Publisher::open(dir, signer()).unwrap();
    sizes.iter().map(|size| publisher.publish(head(*size), &mut entries).unwrap()).collect()
}

/// All files below a directory that are part of the log, with their path below it, sorted.
pub(crate) fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            match (path.is_dir(), name.starts_with('.')) {
                (true, _) => open.push(path),
                (false, true) => {}
                (false, false) => found.push((name, path)),
            }
        }
    }
    found.sort();
    found
}

/// The content of a whole log.
pub(crate) fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    files(dir).into_iter().map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}
