//! Evidence to take away: everything about one request that an auditor can check offline, with code that is not ours.
//!
//! ```text
//! README.txt                what is what, and how to check it
//! vkey                      the log's public key
//! checkpoint                signed, as published
//! entries/<index>.json      the exact bytes that the log hashes
//! proofs/<index>.tlog-proof inclusion of each, against that checkpoint
//! disclosures.jsonl         what the entries' commitments stand for
//! request.json              the canonical bytes: what was reviewed and executed
//! cards/<sha256>.json       every card a vote was cast on, as shown
//! recordings/<exe>.cast     what was recorded of the execution, unless it was erased
//! policy/<digest>/…         every bundle that decided
//! ```

use std::collections::{BTreeMap, BTreeSet};

use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use placet_core::directory::Operator;
use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_ledger::{PublishedLog, SignedCheckpoint};
use placet_store::{EntryFilter, PAGE_MAX, StoredEntry, Transition};

use crate::error::CallError;
use crate::execution::SeenRecording;
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

Check it with `placet audit verify`, with the Go packages golang.org/x/mod/sumdb, or with any C2SP verifier.
";

impl Broker {
    /// Everything about one request, with proofs. The export is an entry itself, and is in the log that it is proven
    /// against.
    pub async fn audit_bundle(&self, operator: &Operator, id: RequestId) -> Result<AuditFiles, CallError> {
        self.stored(id).await?;
        let draft = drafts::operated(Kind::AuditExported, operator, ("request", id.to_string()));
        self.commit_once(Transition { entries: vec![self.seal(draft)], ..Transition::default() }).await?;
        // In this order, as the request may go on meanwhile: every entry is in the checkpoint, every card in the request.
        let entries = self.entries_of(id).await?;
        let request = self.stored(id).await?.request;
        let note = self.publish().await?;
        let mut files = AuditFiles::new();
        files.insert("README.txt".to_owned(), README.as_bytes().to_vec());
        files.insert("vkey".to_owned(), format!("{}\n", self.verifier_key()).into_bytes());
        files.insert("checkpoint".to_owned(), note.clone().into_bytes());
        files.insert("request.json".to_owned(), request.canonical.as_str().as_bytes().to_vec());
        files.insert("disclosures.jsonl".to_owned(), disclosures(&entries));
        let indices: Vec<u64> = entries.iter().map(|entry| entry.index).collect();
        files.extend(self.proofs(note, indices).await?);
        for card in request.votes.iter().map(|vote| vote.card).collect::<BTreeSet<_>>() {
            if let Some(bytes) = self.0.views.card(card).await? {
                files.insert(format!("cards/{card}.json"), bytes);
            }
        }
        if let SeenRecording::Whole(execution, bytes) = self.recording_of(&request).await? {
            files.insert(format!("recordings/{execution}.cast"), bytes);
        }
        for digest in bundles(&entries) {
            for (path, bytes) in self.0.views.bundle(digest).await?.unwrap_or_default() {
                files.insert(format!("policy/{digest}/{path}"), bytes);
            }
        }
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

fn disclosures(entries: &[StoredEntry]) -> Vec<u8> {
    let mut lines = String::new();
    for entry in entries {
        for disclosure in &entry.disclosures {
            let line = Value::object([
                ("index", Value::integer(i64::try_from(entry.index).unwrap_or(i64::MAX))),
                ("disclosure", Value::string(disclosure.as_str())),
            ]);
            lines.push_str(&line.canonical());
            lines.push('\n');
        }
    }
    lines.into_bytes()
}

/// Every bundle that an entry names in clear.
fn bundles(entries: &[StoredEntry]) -> BTreeSet<BundleDigest> {
    let named = |entry: &StoredEntry| {
        let value = Value::parse(&entry.bytes).ok()?;
        BundleDigest::parse(value.as_object()?.get("bundle")?.as_str()?).ok()
    };
    entries.iter().filter_map(named).collect()
}
