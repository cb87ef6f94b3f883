//! The agents' door, as an agent or a pipeline uses it.

use std::time::Duration;

use placet_core::digest::Sha256Digest;
use placet_core::secret::Secret;

use super::error::ClientError;
use super::http::{Call, Door};
use super::output::Output;
use crate::WAIT_SECONDS_MAX;
use crate::command::{Blob, CommandIntake, Run};
use crate::intake::{ClaimRequest, OutcomeRequest, SubmitRequest};
use crate::request::{ClaimedDocument, RequestDocument, RequestList, Status};

/// The agents' door with the bearer token of an agent or pipeline.
#[derive(Debug)]
pub struct Agents {
    door: Door,
}

/// Which of the caller's requests to list.
#[derive(Clone, Debug, Default)]
pub struct ListRequests {
    /// Only in these states; all if empty.
    pub statuses: Vec<Status>,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Agents {
    /// The door at this address, `http://localhost:7071`.
    pub fn new(url: &str, token: Secret) -> Result<Self, ClientError> {
        Ok(Agents { door: Door::new(url, token)? })
    }

    /// Asks for an action that the caller executes itself; waits at most so long for people.
    pub async fn submit(
        &self,
        request: &SubmitRequest,
        wait: Duration,
    ) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "requests"], &waiting(wait))?;
        self.door.json(Call::post(url, request.to_json()).waiting(wait)).await
    }

    /// Asks for a command that placet runs; waits at most so long for people.
    pub async fn command(
        &self,
        command: &CommandIntake,
        wait: Duration,
    ) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "commands"], &waiting(wait))?;
        self.door.json(Call::post(url, command.to_json()).waiting(wait)).await
    }

    /// One of the caller's requests.
    pub async fn request(&self, id: &str) -> Result<RequestDocument, ClientError> {
        self.door.json(Call::get(self.door.url(&["v1", "requests", id], &[])?)).await
    }

    /// One of the caller's requests, as soon as it is newer than this version or the time is up.
    pub async fn wait(
        &self,
        id: &str,
        newer_than: u64,
        wait: Duration,
    ) -> Result<RequestDocument, ClientError> {
        let mut query = waiting(wait);
        query.push(("version", newer_than.to_string()));
        let url = self.door.url(&["v1", "requests", id], &query)?;
        self.door.json(Call::get(url).waiting(wait)).await
    }

    /// The caller's requests, newest first.
    pub async fn requests(&self, list: &ListRequests) -> Result<RequestList, ClientError> {
        let mut query = Vec::new();
        if !list.statuses.is_empty() {
            let words: Vec<&str> = list.statuses.iter().map(|status| status.as_str()).collect();
            query.push(("status", words.join(",")));
        }
        query.extend(list.cursor.clone().map(|cursor| ("cursor", cursor)));
        query.extend(list.limit.map(|limit| ("limit", limit.to_string())));
        self.door.json(Call::get(self.door.url(&["v1", "requests"], &query)?)).await
    }

    /// Redeems the grant of an `external` request.
    pub async fn claim(&self, id: &str, claim: &ClaimRequest) -> Result<ClaimedDocument, ClientError> {
        let url = self.door.url(&["v1", "requests", id, "execution"], &[])?;
        self.door.json(Call::post(url, claim.to_json())).await
    }

    /// Says what became of an `external` execution.
    pub async fn outcome(&self, id: &str, outcome: &OutcomeRequest) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "requests", id, "outcome"], &[])?;
        self.door.json(Call::post(url, outcome.to_json())).await
    }

    /// Withdraws a request.
    pub async fn cancel(&self, id: &str) -> Result<RequestDocument, ClientError> {
        let url = self.door.url(&["v1", "requests", id, "cancel"], &[])?;
        self.door.json(Call::post(url, "{}".to_owned())).await
    }

    /// Ends the command that a request started; withdraws the request if it has not started.
    pub async fn cancel_command(&self, id: &str) -> Result<(), ClientError> {
        let url = self.door.url(&["v1", "commands", id, "cancel"], &[])?;
        self.door.send(Call::post(url, "{}".to_owned())).await.map(drop)
    }

    /// Uploads an input by its content.
    pub async fn put_blob(&self, sha256: Sha256Digest, body: reqwest::Body) -> Result<Blob, ClientError> {
        let url = self.door.url(&["v1", "blobs", &sha256.to_string()], &[])?;
        self.door.json(Call::put(url, body)).await
    }

    /// Claims a granted command, which starts it.
    pub async fn run(&self, id: &str) -> Result<Run, ClientError> {
        let url = self.door.url(&["v1", "commands", id, "run"], &[])?;
        self.door.json(Call::post(url, "{}".to_owned())).await
    }

    /// The output of a command that was started, from this offset on.
    pub fn output(&self, id: &str, from: u64) -> Output<'_> {
        Output::new(&self.door, id, from)
    }
}

pub(super) fn waiting(wait: Duration) -> Vec<(&'static str, String)> {
    match wait.as_secs().min(WAIT_SECONDS_MAX) {
        0 => Vec::new(),
        seconds => vec![("wait", seconds.to_string())],
    }
}
