//! Policy as people read it: why a decision came out as it did, what a staged bundle would change, who changed what.

use std::collections::BTreeMap;

use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::FileChange;
use crate::intake::{NAME_BYTES_MAX, sentence};
use crate::read::{InputError, Members};

/// How many files a bundle may have on the way; policy says how many it really may.
const FILES_MAX: usize = 1000;

/// One decision of policy on a request, and why. For reviewers and operators: it shows policy's text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DecisionTold {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// `intake`, `vote` or `claim`.
    pub occasion: String,
    /// The bundle that decided.
    pub bundle: String,
    /// Why, in one sentence.
    pub sentence: String,
    /// What would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The policies that had a say.
    pub policies: Vec<PolicyTold>,
}

/// A policy's part in a decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyTold {
    /// Its id.
    pub id: String,
    /// `guard`, `ban` or `permit`; a permit that is told of a refusal is one that nearly held.
    pub kind: String,
    /// Where it stands, `ask.cedar:12`; placet's own rules stand in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The parts of its situation.
    pub parts: Vec<PartTold>,
    /// What it asks for, and how much of it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
}

/// A part of a policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PartTold {
    /// In plain words.
    pub words: String,
    /// As written.
    pub text: String,
    /// Whether it held; absent if it could not be evaluated by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
}

/// Why a request stands where it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExplanationDocument {
    /// Which request.
    pub request: String,
    /// What people call it.
    pub short_code: String,
    /// Where it stands.
    pub status: String,
    /// What was asked.
    pub action: String,
    /// On what.
    pub resource: String,
    /// The decisions, oldest first.
    pub decisions: Vec<DecisionTold>,
    /// What is missing now.
    pub missing: Vec<String>,
}

/// `POST /admin/v1/policy/stage`: these files, or a bundle that is stored already, shown anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageRequest {
    /// What to stage.
    pub bundle: StageSource,
    /// How many recorded requests to replay.
    pub last: Option<u32>,
    /// Only those that came within so many seconds.
    pub since_seconds: Option<u64>,
}

/// What to stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StageSource {
    /// Files by path relative to the bundle's directory. Policy is text, so they travel as strings.
    Files(BTreeMap<String, String>),
    /// A bundle that was staged before.
    Stored(BundleDigest),
}

impl StageRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let bundle = match members.optional_text("digest", NAME_BYTES_MAX)? {
            Some(text) => StageSource::Stored(
                BundleDigest::parse(&text)
                    .map_err(|error| members.refuse("digest", "bad_value", sentence(&error)))?,
            ),
            None => StageSource::Files(files(&mut members)?),
        };
        let last = members.optional_integer("last")?.map(u32::try_from).transpose();
        let last = last.map_err(|_| members.refuse("last", "bad_value", "Write a whole number."))?;
        let since = members.optional_integer("since_seconds")?.map(u64::try_from).transpose();
        let since_seconds =
            since.map_err(|_| members.refuse("since_seconds", "bad_value", "Write whole seconds."))?;
        members.end()?;
        Ok(StageRequest { bundle, last, since_seconds })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let mut members = vec![match &self.bundle {
            StageSource::Files(files) => {
                let files = files.iter().map(|(path, text)| (path.clone(), Value::string(text.clone())));
                ("files", Value::object(files))
            }
            StageSource::Stored(digest) => ("digest", Value::string(digest.to_string())),
        }];
        members.extend(self.last.map(|last| ("last", Value::integer(i64::from(last)))));
        let seconds = |seconds: u64| Value::integer(i64::try_from(seconds).unwrap_or(i64::MAX));
        members.extend(self.since_seconds.map(|since| ("since_seconds", seconds(since))));
        Value::object(members).canonical()
    }
}

fn files(members: &mut Members) -> Result<BTreeMap<String, String>, InputError> {
    let mut written = members.object("files")?;
    let mut files = BTreeMap::new();
    for (path, text) in written.drain() {
        let Value::String(text) = text else {
            return Err(members.refuse("files", "wrong_type", "Write each file's text as a string."));
        };
        files.insert(path, text);
    }
    if files.len() > FILES_MAX {
        return Err(members.refuse("files", "too_long", format!("Write at most {FILES_MAX} files here.")));
    }
    Ok(files)
}

/// A bundle that was checked, tested and stored, and decides nothing yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StagedDocument {
    /// What to activate it by.
    pub digest: String,
    /// Whether it decides already.
    pub active: bool,
    /// What is doubtful in it.
    pub warnings: Vec<String>,
    /// The files that differ from the bundle in force.
    pub changes: Vec<FileChange>,
    /// Recorded requests under both bundles; absent if none were replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayDocument>,
}

/// Recorded requests under the bundle in force and under a staged one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplayDocument {
    /// How many were compared.
    pub requests: usize,
    /// How many could not be: somebody in their chain may not act any more.
    pub gone: usize,
    /// Outcomes that differ, those that let more happen first.
    pub changes: Vec<OutcomeChange>,
    /// How many more questions each role would have got; negative for fewer.
    pub load: BTreeMap<String, i64>,
}

/// Requests whose outcome would change in the same way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutcomeChange {
    /// `permit`, `ask` or `deny`.
    pub from: String,
    /// The same words. Equal to `from` where other people are asked, or for other evidence.
    pub to: String,
    /// How many.
    pub count: usize,
    /// A few of them.
    pub examples: Vec<ReplayExample>,
}

/// One request whose outcome would change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplayExample {
    /// Which.
    pub request: String,
    /// What was asked.
    pub what: String,
    /// Why it is so under the bundle in force.
    pub before: String,
    /// Why it would be so.
    pub after: String,
}

/// Who staged and activated what, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyHistory {
    /// What happened.
    pub events: Vec<PolicyEvent>,
    /// Give it as `before` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Something that happened to a bundle.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyEvent {
    /// Index of the ledger entry that says so.
    pub entry: u64,
    /// When.
    pub at: String,
    /// `staged` or `activated`.
    pub what: String,
    /// Which bundle.
    pub digest: String,
    /// Who.
    pub by: String,
    /// The number of the activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<u64>,
    /// Whether a staged bundle may be activated: nothing else was activated since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_reads_back() {
        let files = BTreeMap::from([("a/b".to_owned(), "x\n".to_owned())]);
        let digest = BundleDigest::from_bytes([7; 32]);
        for bundle in [StageSource::Files(files), StageSource::Stored(digest)] {
            let stage = StageRequest { bundle, last: Some(10), since_seconds: Some(3600) };
            assert_eq!(StageRequest::from_json(stage.to_json().as_bytes()), Ok(stage));
        }
        for (body, code) in [
            (r#"{"files":{"a":1}}"#, "wrong_type"),
            (r#"{"digest":"x"}"#, "bad_value"),
            (r#"{"files":{},"last":-1}"#, "bad_value"),
            (r#"{"files":{},"digest":null,"x":1}"#, "unknown_member"),
            ("{}", "missing_member"),
        ] {
            assert_eq!(StageRequest::from_json(body.as_bytes()).unwrap_err().code, code, "{body}");
        }
    }
}
