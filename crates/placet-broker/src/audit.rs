//! Evidence to take away: everything about one request that an auditor can check offline, with code that is not ours.
//!
//! ```text
//! README.txt                what is what, and how to check it
//! vkey                      the log's public key
//! entries/<index>.json      the exact bytes that the log hashes
//! disclosures.jsonl         what the entries' commitments stand for
//! request.json              the canonical bytes: what was reviewed and executed
//! cards/<sha256>.json       every card a vote was cast on, as shown
//! recordings/<exe>.cast     what was recorded of the execution, unless it was erased
//! policy/<digest>/…         every bundle that decided
//! names.json                who the ids in all this are
//! MANIFEST.sha256           the hashes of all files above ──┐
//! export/…                  the entry of this export, which commits to the manifest ◄┘, its disclosures and its proof
//! checkpoint                signed, as published after that entry
//! proofs/<index>.tlog-proof inclusion of each entry, against that checkpoint
//! ```

use std::collections::{BTreeMap, BTreeSet};

use placet_core::c14n::Value;
use placet_core::digest::{BundleDigest, Sha256Digest};
use placet_core::directory::{Directory, Operator};
use placet_core::entry::{Disclosure, Kind};
use placet_core::id::{AgentId, PersonId, RequestId};
use placet_ledger::{PublishedLog, SignedCheckpoint};
use placet_store::{EntryFilter, PAGE_MAX, StoredEntry, Transition};

use crate::error::CallError;
use crate::execution::SeenRecording;
use crate::explain::bundle_of;
use crate::{Broker, drafts};

/// The files of an audit bundle, by relative path.
pub type AuditFiles = BTreeMap<String, Vec<u8>>;

const README: &str = "\
This directory proves what one placet request was, who decided on it, and what came of it.

vkey                       the log's public key; compare it with the one you were given by another way
checkpoint                 the signed tree head that everything here is proven against (C2SP tlog-checkpoint)
entries/<index>.json       ledger entries, byte for byte as the log hashes them
proofs/<index>.tlog-proof  inclusion proofs (C2SP tlog-proof)
disclosures.jsonl          {\"index\", \"disclosure\"}: base64url of [salt, name, value]; the base64url SHA-256 of each
                           disclosure's text stands in its entry's _sd list (RFC 9901 section 4.2)
request.json               the canonical bytes that were reviewed and executed; SHA-256 over
                           \"placet/action/v1\" NUL and these bytes is the disclosed digest
cards/<sha256>.json        the cards that the reviewers were shown; each vote discloses the hash of its card
recordings/<exe>.cast      what was recorded of the execution (asciicast v3): its SHA-256 stands in what the entry of
                           the outcome discloses as `recording`
policy/<digest>/           the policy bundles that decided
names.json                 the names behind the ids of agents and persons, as placet knew them when this was exported
MANIFEST.sha256            SHA-256 of every file that is not checked by a proof of its own, this one and names.json
                           too: sha256sum -c MANIFEST.sha256
export/<index>.json        the ledger entry of this export; export/disclosures.jsonl opens it, export/<index>.tlog-proof
                           proves it. It discloses the SHA-256 of MANIFEST.sha256 as manifest: so the log vouches for
                           the names, as what placet said at that time

Check it with `placet audit verify`, with the Go packages golang.org/x/mod/sumdb, or with any C2SP verifier.
";

/// The list of files that the entry of the export commits to.
const MANIFEST: &str = "MANIFEST.sha256";

impl Broker {
    /// Everything about one request, with proofs. The export is an entry itself: it commits to what is taken away, and is
    /// in the log that everything is proven against.
    pub async fn audit_bundle(&self, operator: &Operator, id: RequestId) -> Result<AuditFiles, CallError> {
        // Before the entries are read: one of them speaks of it.
        let recording = self.recording_of(&self.stored(id).await?.request).await?;
        let (mut files, mut indices) = self.gathered(id).await?;
        if let SeenRecording::Whole(execution, bytes) = recording {
            files.insert(format!("recordings/{execution}.cast"), bytes);
        }
        let manifest = manifest(&files);
        let draft = drafts::operated(Kind::AuditExported, operator, ("request", id.to_string()))
            .commit("manifest", Value::string(Sha256Digest::of(&manifest).to_string()));
        files.insert(MANIFEST.to_owned(), manifest);
        let export = self.seal(draft);
        let opened = export.disclosures.clone();
        let receipt = self.commit_once(Transition { entries: vec![export], ..Transition::default() }).await?;
        let exported = receipt.first_index;
        indices.push(exported);
        files.extend(self.proven(indices).await?);
        for (from, to) in [
            (format!("entries/{exported}.json"), format!("export/{exported}.json")),
            (format!("proofs/{exported}.tlog-proof"), format!("export/{exported}.tlog-proof")),
        ] {
            let moved = files.remove(&from);
            files.extend(moved.map(|bytes| (to, bytes)));
        }
        files.insert("export/disclosures.jsonl".to_owned(), disclosure_lines(exported, &opened).into_bytes());
        Ok(files)
    }

    /// The same to be looked at, and not to be taken away: without the entry of an export, and without what a program
    /// wrote, which nobody takes out without one.
    pub async fn evidence(&self, id: RequestId) -> Result<AuditFiles, CallError> {
        let (mut files, indices) = self.gathered(id).await?;
        files.extend(self.proven(indices).await?);
        Ok(files)
    }

    /// What there is to prove about a request, and the indices of its entries.
    async fn gathered(&self, id: RequestId) -> Result<(AuditFiles, Vec<u64>), CallError> {
        let request = self.stored(id).await?.request;
        let entries = self.entries_of(id).await?;
        let mut files = AuditFiles::new();
        files.insert("README.txt".to_owned(), README.as_bytes().to_vec());
        files.insert("vkey".to_owned(), format!("{}\n", self.verifier_key()).into_bytes());
        files.insert("request.json".to_owned(), request.canonical.as_str().as_bytes().to_vec());
        let lines = entries.iter().map(|entry| disclosure_lines(entry.index, &entry.disclosures));
        files.insert("disclosures.jsonl".to_owned(), lines.collect::<String>().into_bytes());
        let opened: Vec<(String, Value)> = entries
            .iter()
            .flat_map(|entry| &entry.disclosures)
            .filter_map(|disclosure| disclosure.open().ok())
            .collect();
        files.insert("names.json".to_owned(), names(&opened, &*self.directory().await?).into_bytes());
        // Those that the entries speak of: the request may go on meanwhile.
        for card in opened.iter().filter(|(name, _)| name == "card").filter_map(|(_, card)| card.as_str()) {
            let Ok(hash) = Sha256Digest::parse(card) else { continue };
            if let Some(bytes) = self.0.views.card(hash).await? {
                files.insert(format!("cards/{card}.json"), bytes);
            }
        }
        for digest in bundles(&entries) {
            for (path, bytes) in self.0.views.bundle(digest).await?.unwrap_or_default() {
                files.insert(format!("policy/{digest}/{path}"), bytes);
            }
        }
        let indices = entries.iter().map(|entry| entry.index).collect();
        files.extend(entries.into_iter().map(|entry| (format!("entries/{}.json", entry.index), entry.bytes)));
        Ok((files, indices))
    }

    /// A checkpoint of now, and these entries with their proofs against it.
    async fn proven(&self, indices: Vec<u64>) -> Result<AuditFiles, CallError> {
        let note = self.publish().await?;
        let mut files = self.proofs(note.clone(), indices).await?;
        files.insert("checkpoint".to_owned(), note.into_bytes());
        Ok(files)
    }

    async fn entries_of(&self, id: RequestId) -> Result<Vec<StoredEntry>, CallError> {
        let mut entries = Vec::new();
        let mut before = None;
        loop {
            let filter = EntryFilter { request: Some(id), before, limit: PAGE_MAX, ..EntryFilter::default() };
            let page = self.0.views.entries(filter).await?;
            before = page.last().map(|entry| entry.index);
            let last = page.len() < PAGE_MAX;
            entries.extend(page);
            if last {
                entries.reverse();
                return Ok(entries);
            }
        }
    }

    async fn proofs(&self, note: String, indices: Vec<u64>) -> Result<AuditFiles, CallError> {
        let (dir, key) = (self.0.log_dir.clone(), self.verifier_key());
        let prove = move || -> Result<AuditFiles, String> {
            let checkpoint =
                SignedCheckpoint::open(note.as_bytes(), &key).map_err(|error| error.to_string())?;
            let mut log = PublishedLog::at(&dir, checkpoint);
            let mut files = AuditFiles::new();
            for index in indices {
                let (entry, proof) = log.entry_and_proof(index).map_err(|error| error.to_string())?;
                files.insert(format!("entries/{index}.json"), entry);
                files.insert(format!("proofs/{index}.tlog-proof"), proof.to_string().into_bytes());
            }
            Ok(files)
        };
        let proven = tokio::task::spawn_blocking(prove).await;
        proven.map_err(|error| CallError::Internal(error.to_string()))?.map_err(CallError::Internal)
    }
}

fn disclosure_lines(index: u64, disclosures: &[Disclosure]) -> String {
    let mut lines = String::new();
    for disclosure in disclosures {
        let line = Value::object([
            ("index", Value::integer(i64::try_from(index).unwrap_or(i64::MAX))),
            ("disclosure", Value::string(disclosure.as_str())),
        ]);
        lines.push_str(&line.canonical());
        lines.push('\n');
    }
    lines
}

/// A line for each file, as `sha256sum` reads them.
fn manifest(files: &AuditFiles) -> Vec<u8> {
    let line = |(path, bytes): (&String, &Vec<u8>)| format!("{}  {path}\n", Sha256Digest::of(bytes));
    files.iter().map(line).collect::<String>().into_bytes()
}

/// The name behind every id that is disclosed, and behind those who answer for the agents among them.
fn names(opened: &[(String, Value)], directory: &Directory) -> String {
    let mut names = BTreeMap::new();
    let person = |id: PersonId| directory.people.get(&id).map(|person| (id.to_string(), person.name.clone()));
    for text in opened.iter().filter_map(|(_, value)| value.as_str()) {
        names.extend(PersonId::parse(text).ok().and_then(person));
        let agent = AgentId::parse(text).ok().and_then(|id| directory.agents.get(&id));
        if let Some(agent) = agent {
            names.insert(agent.id.to_string(), agent.name.clone());
            names.extend(std::iter::once(&agent.sponsor).chain(&agent.owners).copied().filter_map(person));
        }
    }
    Value::object(names.into_iter().map(|(id, name)| (id, Value::string(name)))).canonical()
}

/// Every bundle that an entry names in clear.
fn bundles(entries: &[StoredEntry]) -> BTreeSet<BundleDigest> {
    entries.iter().filter_map(bundle_of).collect()
}
