//! Verifying an audit bundle: one request with its proofs, in a directory, checked against the ledger's key alone.
//!
//! ```text
//! vkey (given) ─► checkpoint ─► proofs/N ─► entries/N ─► trail
//!                                              └ _sd ◄── disclosures ─┬─ digest ◄── request.json
//!                                                                     ├─ card   ◄── cards/<sha256>.json
//!                                                                     └─ recording ◄── recordings/<exe>.cast
//!                                           bundle ◄── policy/<digest>/…
//! ```
//!
//! What is left (how to read it all, and who is who) the entry of the export vouches for: see [`super::export`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use placet_core::c14n::Value;
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest};
use placet_core::entry::Disclosure;
use placet_ledger::{SignedCheckpoint, TlogProof, VerifierKey};
use serde::Serialize;

use super::export::{self, Hashes};
use super::trail::{Entry, Rules};
use crate::exit::{Exit, Failure};

/// A card, a policy file or the request: none is larger.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Entries, proofs, cards and policy files of one request.
const FILES_MAX: usize = 100_000;

/// What was checked.
#[derive(Serialize, Debug)]
pub(super) struct Report {
    /// The request.
    request: String,
    /// The log's name.
    origin: String,
    /// The size of the log that everything is proven to be in.
    size: u64,
    /// Its root.
    root: String,
    /// How many commitments were opened, of how many.
    disclosed: usize,
    commitments: usize,
    /// The digest that was reviewed and executed, if it is disclosed.
    digest: Option<String>,
    /// How many recordings of executions were kept, and are in the bundle; an erased one is not.
    recordings: Recordings,
    /// Index of the entry of the export, which vouches for the names and the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    export: Option<u64>,
    /// Who the ids are.
    names: BTreeMap<String, String>,
    /// What happened, oldest first.
    entries: Vec<Line>,
}

#[derive(Serialize, Debug, Default, PartialEq, Eq)]
struct Recordings {
    kept: usize,
    present: usize,
}

#[derive(Serialize, Debug)]
struct Line {
    index: u64,
    time: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    /// What is disclosed about it.
    disclosed: BTreeMap<String, serde_json::Value>,
}

/// An entry with what is known about it.
struct Proven {
    entry: Entry,
    disclosed: BTreeMap<String, Value>,
}

/// The files of a bundle, by path; each is taken out when it is checked, so that what is left was proven by nothing.
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

/// Whether evidence was taken away, or is looked at where it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Then an entry of its export vouches for it.
    Away,
    /// Then whoever shows it does.
    Nowhere,
}

pub(super) fn found<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Exit::Found, why))
}

/// Verifies the bundle in this directory.
pub(super) fn verify(directory: &Path, key: &VerifierKey) -> Result<Report, Failure> {
    check(Files::read(directory)?, key, Taken::Away)
}

/// Verifies what is in hand.
pub(super) fn check(mut files: Files, key: &VerifierKey, taken: Taken) -> Result<Report, Failure> {
    let hashes = Hashes::of(&files);
    let checkpoint = checkpoint(&mut files, key)?;
    let mut entries = entries(&mut files, &checkpoint, key)?;
    let (disclosed, commitments) = disclose(&mut files, &mut entries)?;
    let digest = check_request(&mut files, &entries)?;
    check_cards(&mut files, &entries)?;
    let recordings = check_recordings(&mut files, &entries)?;
    check_policies(&mut files, &entries)?;
    files.take("README.txt");
    let names = names(&mut files)?;
    let Some(request) = entries.values().find_map(|proven| proven.entry.request) else {
        return found("there is no entry in the bundle");
    };
    let export = match taken {
        Taken::Away => Some(export::check(&mut files, &hashes, &checkpoint, key, &request.to_string())?),
        Taken::Nowhere => None,
    };
    if let Some(stranger) = files.0.keys().next() {
        return found(format!("{stranger} is proven by nothing: take it out"));
    }
    Ok(Report {
        request: request.to_string(),
        origin: checkpoint.checkpoint().origin.to_string(),
        size: checkpoint.head().size,
        root: checkpoint.head().root.to_string(),
        disclosed,
        commitments,
        digest: digest.map(|digest| digest.to_string()),
        recordings,
        export,
        names,
        entries: entries.iter().map(|(index, proven)| line(*index, proven)).collect(),
    })
}

/// Who the ids are, by the word of whoever made the bundle.
fn names(files: &mut Files) -> Result<BTreeMap<String, String>, Failure> {
    let bytes = files.must("names.json")?;
    serde_json::from_slice(&bytes).map_err(|_| Failure::new(Exit::Found, "names.json is not a list of names"))
}

fn line(index: u64, proven: &Proven) -> Line {
    let disclosed = proven.disclosed.iter().map(|(name, value)| {
        // The canonical form is JSON; a number that serde cannot hold stays a text.
        let json = serde_json::from_str(&value.canonical()).unwrap_or_else(|_| value.canonical().into());
        (name.clone(), json)
    });
    Line {
        index,
        time: proven.entry.time.to_string(),
        kind: proven.entry.kind.as_str(),
        action: proven.entry.action.clone(),
        verdict: proven.entry.verdict.clone(),
        disclosed: disclosed.collect(),
    }
}

fn checkpoint(files: &mut Files, key: &VerifierKey) -> Result<SignedCheckpoint, Failure> {
    if let Some(own) = files.take("vkey")
        && own.trim_ascii() != key.to_string().as_bytes()
    {
        return found(
            "the bundle brings another key than the one that was given: one of the two is not the ledger's",
        );
    }
    let note = files.must("checkpoint")?;
    SignedCheckpoint::open(&note, key).map_err(|error| Failure::of(Exit::Found, &error))
}

/// Every entry with a proof against the one checkpoint; together they follow the rules.
fn entries(
    files: &mut Files,
    checkpoint: &SignedCheckpoint,
    key: &VerifierKey,
) -> Result<BTreeMap<u64, Proven>, Failure> {
    let mut entries = BTreeMap::new();
    for (name, bytes) in files.take_all("entries/") {
        let index = name.strip_suffix(".json").and_then(|index| index.parse::<u64>().ok());
        let Some(index) = index.filter(|index| format!("{index}.json") == name) else {
            return found(format!("entries/{name} is not named after an index"));
        };
        let proof = files.must(&format!("proofs/{index}.tlog-proof"))?;
        let refused = |error: &(dyn std::error::Error + 'static)| {
            let mut failure = Failure::of(Exit::Found, error);
            failure.message = format!("entry {index}: {}", failure.message);
            failure
        };
        let proof = TlogProof::parse(&proof).map_err(|error| refused(&error))?;
        if proof.index != index {
            return found(format!("entry {index}: its proof is of entry {}", proof.index));
        }
        let proven_in = proof.verify(&bytes, key).map_err(|error| refused(&error))?;
        if proven_in.head() != checkpoint.head() {
            return found(format!("entry {index}: its proof leads to another checkpoint than the bundle's"));
        }
        entries.insert(index, bytes);
    }
    let mut rules = Rules::of(checkpoint.checkpoint().origin.as_str());
    let mut proven = BTreeMap::new();
    for (index, bytes) in entries {
        let entry = match rules.take(index, &bytes) {
            Ok(entry) => entry,
            Err(error) => return found(format!("entry {index}: {error}")),
        };
        proven.insert(index, Proven { entry, disclosed: BTreeMap::new() });
    }
    if rules.requests() != 1 || proven.values().any(|proven| proven.entry.request.is_none()) {
        return found("the entries are not those of one request");
    }
    Ok(proven)
}

/// Opens commitments; counts the opened ones, and all.
fn disclose(files: &mut Files, entries: &mut BTreeMap<u64, Proven>) -> Result<(usize, usize), Failure> {
    let text = String::from_utf8(files.take("disclosures.jsonl").unwrap_or_default());
    let text = text.map_err(|_| Failure::new(Exit::Found, "disclosures.jsonl is not UTF-8"))?;
    let mut opened = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let at = |why: &str| Failure::new(Exit::Found, format!("disclosures.jsonl, line {number}: {why}"));
        let (index, disclosure) =
            read_disclosure(line).ok_or_else(|| at("it is not {\"disclosure\", \"index\"}"))?;
        let proven =
            entries.get_mut(&index).ok_or_else(|| at("it opens an entry that is not in the bundle"))?;
        let commitment = disclosure.commitment();
        if !proven.entry.commitments.contains(&commitment) {
            return Err(at("the entry does not commit to this"));
        }
        if !opened.insert((index, commitment)) {
            return Err(at("it stands there twice"));
        }
        let (name, value) = disclosure.open().map_err(|error| at(&error.to_string()))?;
        if proven.disclosed.insert(name, value).is_some() {
            return Err(at("the entry commits to two values under one name"));
        }
    }
    Ok((opened.len(), entries.values().map(|proven| proven.entry.commitments.len()).sum()))
}

/// A line that opens a commitment, and of which entry.
pub(super) fn read_disclosure(line: &str) -> Option<(u64, Disclosure)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let members = value.as_object().filter(|members| members.len() == 2)?;
    let disclosure = Disclosure::from_stored(members.get("disclosure")?.as_str()?);
    Some((members.get("index")?.as_u64()?, disclosure))
}

/// The bytes that were reviewed and executed: every entry that discloses a digest must mean them.
fn check_request(
    files: &mut Files,
    entries: &BTreeMap<u64, Proven>,
) -> Result<Option<ActionDigest>, Failure> {
    let Some(bytes) = files.take("request.json") else { return Ok(None) };
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Found, "request.json is not UTF-8"))?;
    if Value::parse(text.as_bytes()).map(|value| value.canonical()) != Ok(text.clone()) {
        return found("request.json is not in canonical form");
    }
    let digest = ActionDigest::of_canonical(&text);
    let mut meant = None;
    for (index, proven) in entries {
        let Some(disclosed) = proven.disclosed.get("digest") else { continue };
        if disclosed.as_str() != Some(&digest.to_string()) {
            return found(format!("entry {index} is about another action than request.json"));
        }
        meant = Some(digest);
    }
    match meant {
        Some(digest) => Ok(Some(digest)),
        None => found("request.json is there, and no entry discloses its digest"),
    }
}

/// What each voter was shown.
fn check_cards(files: &mut Files, entries: &BTreeMap<u64, Proven>) -> Result<(), Failure> {
    let named: BTreeSet<&str> =
        entries.values().filter_map(|proven| proven.disclosed.get("card")?.as_str()).collect();
    for card in named {
        let bytes = files.must(&format!("cards/{card}.json"))?;
        if Sha256Digest::of(&bytes).to_string() != card {
            return found(format!("cards/{card}.json is not the card that was voted on"));
        }
    }
    Ok(())
}

/// What was recorded, if it is there: it may have been erased, and another one is no substitute.
fn check_recordings(files: &mut Files, entries: &BTreeMap<u64, Proven>) -> Result<Recordings, Failure> {
    let mut recordings = Recordings::default();
    for proven in entries.values() {
        let disclosed = |name: &str| proven.disclosed.get(name);
        let sha256 = disclosed("recording").and_then(|kept| kept.as_object()?.get("sha256")?.as_str());
        let Some((sha256, execution)) = sha256.zip(disclosed("execution").and_then(Value::as_str)) else {
            continue;
        };
        recordings.kept += 1;
        let path = format!("recordings/{execution}.cast");
        let Some(bytes) = files.take(&path) else { continue };
        if Sha256Digest::of(&bytes).to_string() != sha256 {
            return found(format!("{path} is not the recording that the outcome names"));
        }
        recordings.present += 1;
    }
    Ok(recordings)
}

/// The bundles that decided.
fn check_policies(files: &mut Files, entries: &BTreeMap<u64, Proven>) -> Result<(), Failure> {
    let named: BTreeSet<BundleDigest> = entries.values().filter_map(|proven| proven.entry.bundle).collect();
    for digest in named {
        let policy = files.take_all(&format!("policy/{digest}/"));
        if policy.is_empty() {
            return found(format!("the policy bundle {digest}, which decided, is missing"));
        }
        let computed =
            BundleDigest::of_files(policy.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
        if computed != digest {
            return found(format!("policy/{digest} is not the bundle that decided"));
        }
    }
    Ok(())
}

impl Files {
    fn read(directory: &Path) -> Result<Self, Failure> {
        let mut files = BTreeMap::new();
        // An unread name is a hole in what was checked, so the walk goes everywhere and follows no link.
        let mut open = vec![(directory.to_owned(), String::new())];
        while let Some((at, prefix)) = open.pop() {
            let unreadable =
                |error: std::io::Error| Failure::new(Exit::Usage, format!("read {}: {error}", at.display()));
            for entry in fs::read_dir(&at).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let Ok(name) = entry.file_name().into_string() else {
                    return found(format!("{} holds a name that is not UTF-8", at.display()));
                };
                let kind = entry.file_type().map_err(unreadable)?;
                let path = format!("{prefix}{name}");
                if kind.is_dir() {
                    open.push((entry.path(), format!("{path}/")));
                } else if kind.is_file() && files.len() < FILES_MAX {
                    let mut bytes = Vec::new();
                    let file = fs::File::open(entry.path()).map_err(unreadable)?;
                    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
                    if bytes.len() as u64 > FILE_BYTES_MAX {
                        return found(format!("{path} is larger than any file of an audit bundle"));
                    }
                    files.insert(path, bytes);
                } else {
                    return found(format!("{path} is no plain file, or one too many"));
                }
            }
        }
        Ok(Files(files))
    }

    /// What came over the socket.
    pub(super) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        Files(files)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.0.iter()
    }

    fn take(&mut self, path: &str) -> Option<Vec<u8>> {
        self.0.remove(path)
    }

    pub(super) fn must(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        match self.take(path) {
            Some(bytes) => Ok(bytes),
            None => found(format!("{path} is missing from the bundle")),
        }
    }

    /// Everything below a directory, by the rest of its path.
    pub(super) fn take_all(&mut self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let paths: Vec<String> = self.0.keys().filter(|path| path.starts_with(prefix)).cloned().collect();
        let below = |path: String| Some((path.strip_prefix(prefix)?.to_owned(), self.0.remove(&path)?));
        paths.into_iter().filter_map(below).collect()
    }
}

impl Report {
    /// One line: what was checked.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} entries are in the signed tree of {}, {} of {} commitments are disclosed and fit",
            self.entries.len(),
            self.size,
            self.disclosed,
            self.commitments
        )
    }

    /// For people: what happened, and what of it is proven.
    pub(super) fn text(&self) -> String {
        let mut text =
            format!("request {} in the ledger {} of {} entries\n", self.request, self.origin, self.size);
        for line in &self.entries {
            let verdict = line.verdict.as_deref().unwrap_or_default();
            text.push_str(&format!("{:>8}  {}  {:<20} {verdict}\n", line.index, line.time, line.kind));
            for name in ["requester", "on_behalf_of", "person", "card", "execution", "summary", "reason"] {
                if let Some(value) = line.disclosed.get(name).filter(|value| !value.is_null()) {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let known = self.names.get(&value).map(|name| format!(" ({name})")).unwrap_or_default();
                    let shown = crate::output::plain(&format!("{value}{known}"));
                    text.push_str(&format!("{:>10}{name}: {shown}\n", ""));
                }
            }
        }
        match &self.digest {
            Some(digest) => {
                text.push_str(&format!("action digest {digest}: request.json is what was decided on\n"))
            }
            None => text.push_str("the action itself is not disclosed\n"),
        }
        match &self.recordings {
            Recordings { kept: 0, .. } => {}
            Recordings { kept, present } if kept == present => {
                text.push_str("recording: what the program wrote is the one that the outcome names\n");
            }
            Recordings { .. } => {
                text.push_str(
                    "recording: one was kept, and is not in this bundle: it was erased, or taken out\n",
                );
            }
        }
        if let Some(export) = self.export {
            text.push_str(&format!(
                "exported with entry {export}, which vouches for the names and every other file\n"
            ));
        }
        text.push_str(&format!(
            "verified: {} entries are in the tree {}, {} of {} commitments are disclosed and fit\n",
            self.entries.len(),
            self.root,
            self.disclosed,
            self.commitments
        ));
        text
    }
}
