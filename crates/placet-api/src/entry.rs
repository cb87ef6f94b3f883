//! Ledger entries, as auditors read them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of entries, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EntryList {
    /// The entries.
    pub entries: Vec<EntryDocument>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<u64>,
}

/// Entries from some index on, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EntryLog {
    /// The entries.
    pub entries: Vec<EntryDocument>,
    /// Give it as `from` to go on.
    pub next: u64,
}

/// One entry with what it commits to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EntryDocument {
    /// Where it stands in the log.
    pub index: u64,
    /// When.
    #[schema(format = DateTime)]
    pub time: String,
    /// What happened.
    #[schema(example = "vote.cast")]
    pub kind: String,
    /// The request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What happened, in a sentence with the names of now.
    #[serde(default)]
    pub sentence: String,
    /// The entry's exact bytes, which are JSON: what the log hashes.
    pub entry: String,
    /// What it commits to, base64url of `[salt, name, value]`; empty once erased.
    pub disclosures: Vec<String>,
}
