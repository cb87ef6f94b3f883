//! The reviewers' door, as a person's program uses it with an API token.

use std::time::Duration;

use placet_core::secret::Secret;

use super::error::ClientError;
use super::http::{Call, Door};
use crate::entry::EntryList;
use crate::recording::MEDIA_TYPE;
use crate::request::RequestDocument;
use crate::review::{ResolveRequest, ReviewDocument, ReviewList, VoteRequest};

/// The reviewers' door with a person's API token.
#[derive(Debug)]
pub struct Reviewers {
    door: Door,
}

/// Which reviews to list.
#[derive(Clone, Debug, Default)]
pub struct ListReviews {
    /// `waiting`, `decided` or `all`.
    pub state: Option<String>,
    /// Only those that the caller may decide on.
    pub mine: bool,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Reviewers {
    /// The door at this address, `http://localhost:7070`.
    pub fn new(url: &str, token: Secret) -> Result<Self, ClientError> {
        Ok(Reviewers { door: Door::new(url, token)? })
    }

    /// Reviews, newest first.
    pub async fn reviews(&self, list: &ListReviews) -> Result<ReviewList, ClientError> {
        let mut query = Vec::new();
        query.extend(list.state.clone().map(|state| ("state", state)));
        query.extend(list.mine.then(|| ("mine", "true".to_owned())));
        query.extend(list.cursor.clone().map(|cursor| ("cursor", cursor)));
        query.extend(list.limit.map(|limit| ("limit", limit.to_string())));
        self.door.json(Call::get(self.door.url(&["v1", "reviews"], &query)?)).await
    }

    /// One review, by its request's id or its short code.
    pub async fn review(&self, id: &str) -> Result<ReviewDocument, ClientError> {
        self.door.json(Call::get(self.door.url(&["v1", "reviews", id], &[])?)).await
    }

    /// What was recorded of a request's execution, as an asciicast.
    pub async fn recording(&self, id: &str) -> Result<Vec<u8>, ClientError> {
        self.door.bytes(Call::get(self.door.url(&["v1", "reviews", id, "recording"], &[])?), MEDIA_TYPE).await
    }

    /// Votes.
    pub async fn vote(&self, id: &str, vote: &VoteRequest) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "reviews", id, "votes"], &[])?;
        self.door.json(Call::post(url, vote.to_json())).await
    }

    /// Says what an unknown outcome really was.
    pub async fn resolve(
        &self,
        id: &str,
        resolution: &ResolveRequest,
    ) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "reviews", id, "resolution"], &[])?;
        self.door.json(Call::post(url, resolution.to_json())).await
    }

    /// Asks for any document below `/v1`.
    pub async fn get<T: serde::de::DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let path: Vec<&str> = std::iter::once("v1").chain(segments.iter().copied()).collect();
        let waits = query.iter().any(|(name, _)| *name == "wait");
        let wait = if waits { crate::WAIT_SECONDS_MAX } else { 0 };
        let call = Call::get(self.door.url(&path, query)?).waiting(Duration::from_secs(wait));
        self.door.json(call).await
    }

    /// Ledger entries, newest first. The query is that of `GET /v1/audit/entries`.
    pub async fn entries(&self, query: &[(&str, String)]) -> Result<EntryList, ClientError> {
        self.door.json(Call::get(self.door.url(&["v1", "audit", "entries"], query)?)).await
    }
}
