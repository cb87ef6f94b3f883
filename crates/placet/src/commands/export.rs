//! What vouches for the files of an audit bundle that no proof of their own covers: the manifest, and the ledger entry of
//! the export, which commits to it.
//!
//! ```text
//! checkpoint ─► export/<index>.tlog-proof ─► export/<index>.json ─► manifest ─► README.txt, names.json, …
//! ```

use std::collections::{BTreeMap, BTreeSet};

use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::entry::Kind;
use placet_ledger::{SignedCheckpoint, TlogProof, VerifierKey};

use super::bundle::{Files, found, read_disclosure};
use super::trail::Entry;
use crate::exit::{Exit, Failure};

/// The list of files that the entry of the export commits to.
const MANIFEST: &str = "MANIFEST.sha256";

/// The hash of every file, taken before any of them is used up.
pub(super) struct Hashes(BTreeMap<String, Sha256Digest>);

impl Hashes {
    pub(super) fn of(files: &Files) -> Self {
        Hashes(files.iter().map(|(path, bytes)| (path.clone(), Sha256Digest::of(bytes))).collect())
    }
}

/// Checks the manifest and the entry that commits to it; gives the entry's index.
pub(super) fn check(
    files: &mut Files,
    hashes: &Hashes,
    checkpoint: &SignedCheckpoint,
    key: &VerifierKey,
    request: &str,
) -> Result<u64, Failure> {
    let manifest = files.must(MANIFEST)?;
    let listed = listed(&manifest)?;
    for (path, hash) in &listed {
        match hashes.0.get(path) {
            // What a program wrote may be left out: it is not always for those who check the rest.
            None if path.starts_with("recordings/") => {}
            None => return found(format!("{path} stands in the manifest and is missing from the bundle")),
            Some(own) if own.to_string() != *hash => {
                return found(format!(
                    "{path} is not the file that was exported: the manifest has another hash"
                ));
            }
            Some(_) => {}
        }
    }
    // What comes after the entry of the export cannot stand in it; all of that is proven by itself.
    let later = |path: &str| path == MANIFEST || path == "checkpoint" || path.starts_with("proofs/");
    let unlisted = hashes
        .0
        .keys()
        .find(|path| !later(path) && !path.starts_with("export/") && !listed.contains_key(path.as_str()));
    if let Some(path) = unlisted {
        return found(format!("{path} is proven by nothing: take it out"));
    }
    let (index, disclosed) = entry(files, checkpoint, key)?;
    let says = |name: &str| disclosed.get(name).and_then(Value::as_str);
    if says("manifest") != Some(&Sha256Digest::of(&manifest).to_string()) {
        return found(format!("{MANIFEST} is not the one that entry {index}, the export, commits to"));
    }
    if says("request") != Some(request) {
        return found(format!("entry {index} is of the export of another request"));
    }
    Ok(index)
}

/// `<hash>  <path>`, as `sha256sum` writes them.
fn listed(manifest: &[u8]) -> Result<BTreeMap<String, String>, Failure> {
    let unreadable = || Failure::new(Exit::Found, format!("{MANIFEST} is not a list of hashes and files"));
    let text = std::str::from_utf8(manifest).map_err(|_| unreadable())?;
    let line = |line: &str| line.split_once("  ").map(|(hash, path)| (path.to_owned(), hash.to_owned()));
    text.lines().map(line).collect::<Option<_>>().ok_or_else(unreadable)
}

/// The entry of the export, proven against the bundle's checkpoint, with what it discloses.
fn entry(
    files: &mut Files,
    checkpoint: &SignedCheckpoint,
    key: &VerifierKey,
) -> Result<(u64, BTreeMap<String, Value>), Failure> {
    let lines = files.must("export/disclosures.jsonl")?;
    let mut entries = files.take_all("export/");
    let position = entries.iter().position(|(name, _)| name.ends_with(".json"));
    let (name, bytes) = match position {
        Some(position) => entries.swap_remove(position),
        None => return found("the entry of the export is missing from the bundle"),
    };
    let Some(index) = name.strip_suffix(".json").and_then(|index| index.parse::<u64>().ok()) else {
        return found(format!("export/{name} is not named after an index"));
    };
    let proof = match entries.as_slice() {
        [(name, proof)] if *name == format!("{index}.tlog-proof") => proof,
        _ => {
            return found(format!(
                "export/ holds something else than entry {index}, its proof and its disclosures"
            ));
        }
    };
    let refused = |error: &(dyn std::error::Error + 'static)| {
        let mut failure = Failure::of(Exit::Found, error);
        failure.message = format!("entry {index}: {}", failure.message);
        failure
    };
    let proof = TlogProof::parse(proof).map_err(|error| refused(&error))?;
    let proven_in = proof.verify(&bytes, key).map_err(|error| refused(&error))?;
    if proof.index != index || proven_in.head() != checkpoint.head() {
        return found(format!("entry {index}: its proof is of another entry or leads to another checkpoint"));
    }
    let read =
        Entry::read(&bytes, checkpoint.checkpoint().origin.as_str()).map_err(|error| refused(&error))?;
    if read.kind != Kind::AuditExported {
        return found(format!("entry {index} is not that of an export"));
    }
    let mut disclosed = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (number, line) in (1..).zip(String::from_utf8_lossy(&lines).lines()) {
        let at =
            |why: &str| Failure::new(Exit::Found, format!("export/disclosures.jsonl, line {number}: {why}"));
        let (of, disclosure) =
            read_disclosure(line).ok_or_else(|| at("it is not {\"disclosure\", \"index\"}"))?;
        let commitment = disclosure.commitment();
        if of != index || !read.commitments.contains(&commitment) || !seen.insert(commitment) {
            return Err(at("the entry does not commit to this, or it stands there twice"));
        }
        let (name, value) = disclosure.open().map_err(|error| at(&error.to_string()))?;
        disclosed.insert(name, value);
    }
    Ok((index, disclosed))
}
