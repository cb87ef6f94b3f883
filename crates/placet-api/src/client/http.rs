//! One connection pool to one door with one token.

use std::fmt;
use std::time::Duration;

use placet_core::secret::Secret;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::error::ClientError;
use crate::JSON;
use crate::pep::AGENT_TOKEN_HEADER;
use crate::problem::{PROBLEM_JSON, Problem};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take, beside what the call asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// No answer of ours is larger.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A door, and the token that opens it.
pub(super) struct Door {
    base: Url,
    token: Secret,
    http: reqwest::Client,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("base", &self.base.as_str()).field("token", &self.token).finish()
    }
}

impl Door {
    pub(super) fn new(base: &str, token: Secret) -> Result<Self, ClientError> {
        let refused = |reason: &str| ClientError::Configuration(reason.to_owned());
        let mut base =
            Url::parse(base).map_err(|error| refused(&format!("{error}: write it like http://host:port")))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(refused("write the address like http://host:port or https://host"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(refused("an address has no user, password or query"));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .referer(false)
            .user_agent(concat!("placet/", env!("CARGO_PKG_VERSION")));
        if base.scheme() == "http" {
            // A proxy would read the token in clear.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Configuration(error.to_string()))?;
        Ok(Door { base, token, http })
    }

    /// Whether what travels to it stays on this machine, or is encrypted.
    pub(super) fn is_private(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.base.scheme() == "https" || host == "localhost" || loopback
    }

    /// The address of a path below the door's own, with these query parameters.
    pub(super) fn url(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Configuration("the address cannot have a path".to_owned()))?
            .pop_if_empty()
            .extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends a call and gives the answer if it is a good one; a problem is an error.
    pub(super) async fn send(&self, call: Call) -> Result<Response, ClientError> {
        let url = call.url.clone();
        let unreachable = |source: reqwest::Error| ClientError::Unreachable {
            url: shown(&url),
            // The address may end in what the caller wrote; it is shown once, by us.
            source: source.without_url(),
        };
        let bearer = sensitive(&[b"Bearer ", self.token.expose()].concat())?;
        let mut request = self
            .http
            .request(call.method, call.url)
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, call.accept);
        if let Some(agent) = call.agent {
            request = request.header(AGENT_TOKEN_HEADER, sensitive(agent.expose())?);
        }
        if let Some(wait) = call.wait {
            request = request.timeout(ANSWER_TIMEOUT + wait);
        }
        if let Some((media_type, body)) = call.body {
            request = request.header(CONTENT_TYPE, media_type).body(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// Sends a call and reads what it answers with, which has to be of this media type.
    pub(super) async fn bytes(&self, call: Call, expected: &'static str) -> Result<Vec<u8>, ClientError> {
        let response = self.send(Call { accept: expected, ..call }).await?;
        let url = shown(response.url());
        let media_type = media_type(&response);
        let body = body_of(response).await?;
        if media_type != expected {
            let reason = format!("it is {media_type:?} instead of {expected}");
            return Err(ClientError::Unexpected { url, reason });
        }
        Ok(body)
    }

    /// Sends a call and reads the JSON that it answers with.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let url = shown(&call.url);
        let body = self.bytes(call, JSON).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected {
            url,
            reason: format!("{error}; upgrade this client if placet is newer"),
        })
    }
}

/// A header that is shown nowhere.
fn sensitive(value: &[u8]) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| ClientError::Configuration("the token has characters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A call to a door.
pub(super) struct Call {
    method: Method,
    url: Url,
    accept: &'static str,
    body: Option<(&'static str, reqwest::Body)>,
    /// How long the call itself waits; none if it streams without end.
    wait: Option<Duration>,
    /// The token of the agent on whose behalf an enforcement point calls.
    agent: Option<Secret>,
}

impl Call {
    pub(super) fn get(url: Url) -> Self {
        Call { method: Method::GET, url, accept: JSON, body: None, wait: Some(Duration::ZERO), agent: None }
    }

    pub(super) fn post(url: Url, body: String) -> Self {
        Call { method: Method::POST, body: Some((JSON, body.into())), ..Call::get(url) }
    }

    pub(super) fn put(url: Url, body: reqwest::Body) -> Self {
        // An upload takes as long as it takes; the server has its own patience.
        Call {
            method: Method::PUT,
            body: Some(("application/octet-stream", body)),
            wait: None,
            ..Call::get(url)
        }
    }

    pub(super) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    pub(super) fn on_behalf_of(mut self, agent: &Secret) -> Self {
        self.agent = Some(agent.clone());
        self
    }

    pub(super) fn streaming(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self.wait = None;
        self
    }
}

/// An address without its query, for messages.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.into()
}

fn media_type(response: &Response) -> String {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let url = shown(response.url());
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk
            .map_err(|error| ClientError::Unreachable { url: url.clone(), source: error.without_url() })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(ClientError::Unexpected { url, reason: "it is larger than 16 MiB".to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
}

async fn refusal(response: Response) -> ClientError {
    let (status, url) = (response.status(), shown(response.url()));
    if status.is_redirection() {
        return unexpected(url, status, "a redirect, which this client does not follow");
    }
    if media_type(&response) != PROBLEM_JSON {
        return unexpected(
            url,
            status,
            "no problem document: this is not placet, or something stands in between",
        );
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match body_of(response).await.map(|body| serde_json::from_slice::<Problem>(&body)) {
        Ok(Ok(problem)) => {
            ClientError::Problem(Box::new(Problem { retry_after_seconds: retry_after, ..problem }))
        }
        Ok(Err(error)) => unexpected(url, status, &error.to_string()),
        Err(error) => error,
    }
}

fn unexpected(url: String, status: StatusCode, reason: &str) -> ClientError {
    ClientError::Unexpected { url, reason: format!("status {} and {reason}", status.as_u16()) }
}
