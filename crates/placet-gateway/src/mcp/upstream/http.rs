//! A server of the streamable HTTP transport: one POST for each message, answered with JSON or a stream of events.
//!
//! Every header is ours: nothing that a client sent travels on. Redirects are not followed, as they would carry a
//! credential to somebody else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use placet_core::c14n::Value;
use placet_core::secret::Secret;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::stdio::WrittenError;
use super::{CallError, Listener, MESSAGE_BYTES_MAX};
use crate::mcp::catalogue::Definition;
use crate::mcp::events::Events;
use crate::mcp::oauth::Credential;
use crate::mcp::wire::{self, LEGACY, MODERN};
use tokio::time::Instant;

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// A server behind a URL.
pub(super) struct Http {
    client: Client,
    url: String,
    next_id: AtomicU64,
    session: Mutex<Option<HeaderValue>>,
    /// Which of the older revisions it speaks, if it speaks one.
    version: &'static str,
    gone: AtomicBool,
    /// Where the token for each call comes from.
    credential: Option<Arc<Credential>>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<WrittenError>,
}

impl Http {
    pub(super) fn new(
        url: &str,
        headers: Vec<(String, Vec<u8>)>,
        credential: Option<Arc<Credential>>,
    ) -> Result<Self, String> {
        let mut carried = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{name:?} is no header's name"))?;
            let mut value = HeaderValue::from_bytes(&value)
                .map_err(|_| format!("the secret for {name} fits no header"))?;
            value.set_sensitive(true);
            carried.insert(name, value);
        }
        let client = Client::builder()
            .default_headers(carried)
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("placet/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("prepare a client: {error}"))?;
        Ok(Http {
            client,
            url: url.to_owned(),
            next_id: AtomicU64::new(1),
            session: Mutex::default(),
            version: LEGACY.first().copied().unwrap_or_default(),
            gone: AtomicBool::new(false),
            credential,
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }

    /// Nothing more is sent over this connection; the next call opens another.
    pub(super) fn give_up(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// The older revision that it said it speaks, which each call repeats from now on.
    pub(super) fn speaks(&mut self, version: Option<&str>) {
        let known = LEGACY.iter().copied().find(|known| Some(*known) == version);
        self.version = known.unwrap_or(self.version);
    }

    pub(super) async fn exchange(
        &self,
        modern: bool,
        method: &str,
        params: &str,
        headers: HeaderMap,
        wait: Duration,
        listener: Option<Listener>,
    ) -> Result<Box<RawValue>, CallError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = wire::call(Some(id), method, params);
        // What has no token is not sent.
        let began = Instant::now();
        let token = tokio::time::timeout(wait, self.token());
        let token =
            token.await.map_err(|_| CallError::NotSent("there was no token in time".to_owned()))??;
        let wait = wait.saturating_sub(began.elapsed());
        let exchange = async {
            let response = self.send_with(token, modern, method, params, headers, body).await?;
            self.answer(id, method, response, listener).await
        };
        let answered = tokio::time::timeout(wait, exchange).await;
        answered.unwrap_or_else(|_| Err(CallError::Lost(format!("no answer within {} s", wait.as_secs()))))
    }

    pub(super) async fn notify(&self, modern: bool, method: &str) -> Result<(), CallError> {
        let body = wire::call(None, method, "{}");
        let token = self.token().await?;
        let response = self.send_with(token, modern, method, "{}", HeaderMap::new(), body).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(CallError::NotSent(format!("it answered {method} with {}", response.status())))
    }

    async fn token(&self) -> Result<Option<Secret>, CallError> {
        match &self.credential {
            Some(credential) => credential.token().await.map(Some).map_err(CallError::NotSent),
            None => Ok(None),
        }
    }

    /// Sends with a token, once more with another one if the server refuses the first, and not a third time. A refused call
    /// did not happen.
    async fn send_with(
        &self,
        token: Option<Secret>,
        modern: bool,
        method: &str,
        params: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Response, CallError> {
        let send = |token, headers, body| self.send(token, modern, method, params, headers, body);
        let (Some(credential), Some(first)) = (&self.credential, token) else {
            return send(None, headers, body).await;
        };
        let mut response = send(Some(&first), headers.clone(), body.clone()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let second = credential.token_after(&first).await.map_err(CallError::NotSent)?;
            response = send(Some(&second), headers, body).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                return Err(CallError::NotSent(credential.refused_although_new(&second)));
            }
        }
        let refused = (response.status() == StatusCode::FORBIDDEN).then_some(response.headers());
        match refused.and_then(|headers| credential.not_enough(headers)) {
            Some(why) => Err(CallError::NotSent(why)),
            None => Ok(response),
        }
    }

    async fn send(
        &self,
        token: Option<&Secret>,
        modern: bool,
        method: &str,
        params: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Response, CallError> {
        let mut request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .headers(headers);
        if let Some(token) = token {
            let carried = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
            let mut carried =
                carried.map_err(|_| CallError::NotSent("its token fits no header".to_owned()))?;
            carried.set_sensitive(true);
            request = request.header(AUTHORIZATION, carried);
        }
        if modern {
            request = request.header(VERSION, MODERN).header("mcp-method", method);
            if let Some(name) = wire::named_by(method).and_then(|member| text_in(params, member)) {
                request = request.header("mcp-name", &*wire::as_header(&name));
            }
        } else if method != "initialize" {
            request = request.header(VERSION, self.version);
        }
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let held = session.is_some();
        if let Some(session) = session {
            request = request.header(SESSION, session);
        }
        let response = request.body(body).send().await.map_err(|error| {
            // A connection that never came about carried nothing.
            let unsent = error.is_connect();
            let why = format!("reach {}: {}", self.url, error.without_url());
            if unsent { CallError::NotSent(why) } else { CallError::Lost(why) }
        })?;
        if response.status() == StatusCode::NOT_FOUND && held {
            // The server forgot the session, and did nothing.
            self.give_up();
            return Err(CallError::NotSent("it forgot the session; try again".to_owned()));
        }
        if response.status() == StatusCode::BAD_REQUEST && held {
            // Some that were started anew say it like this. Its words are passed on, and the next call begins anew.
            self.give_up();
        }
        if method == "initialize"
            && let Some(session) = response.headers().get(SESSION)
        {
            let mut session = session.clone();
            session.set_sensitive(true);
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        }
        Ok(response)
    }

    async fn answer(
        &self,
        id: u64,
        method: &str,
        response: Response,
        listener: Option<Listener>,
    ) -> Result<Box<RawValue>, CallError> {
        let status = response.status();
        if status.is_redirection() {
            let why = format!("it answered {method} with a redirect ({status}), which is not followed");
            return Err(CallError::Refused(why.into()));
        }
        let media =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if media == "text/event-stream" {
            return self.answer_in_stream(id, response, listener).await;
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|_| CallError::Lost("its answer broke off".to_owned()))?);
            if body.len() > MESSAGE_BYTES_MAX {
                return Err(too_large());
            }
        }
        match serde_json::from_slice::<Message>(&body) {
            Ok(Message { result: Some(result), id: Some(own), .. }) if own == id => Ok(result),
            Ok(Message { error: Some(error), .. }) => Err(error.into_error()),
            _ if status.is_success() => Err(CallError::Lost(format!("its answer to {method} is none"))),
            // Proxies and servers of another era refuse in their own words.
            _ => Err(CallError::Refused(format!("it answered {method} with {status}").into())),
        }
    }

    /// Reads events until the one that answers.
    async fn answer_in_stream(
        &self,
        id: u64,
        response: Response,
        listener: Option<Listener>,
    ) -> Result<Box<RawValue>, CallError> {
        let mut events = Events::bounded(MESSAGE_BYTES_MAX);
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| CallError::Lost("its answer broke off".to_owned()))?;
            for data in events.push(&chunk).map_err(|_| too_large())? {
                match serde_json::from_str::<Message>(&data) {
                    Ok(Message { id: Some(own), result: Some(result), .. }) if own == id => {
                        return Ok(result);
                    }
                    Ok(Message { id: Some(own), error: Some(error), .. }) if own == id => {
                        return Err(error.into_error());
                    }
                    Ok(Message { method: Some(method), params: Some(params), .. })
                        if method == "notifications/progress" =>
                    {
                        listener.iter().for_each(|listener| listener.hear(&params));
                    }
                    // Logs, and whatever else a server says meanwhile.
                    _ => {}
                }
            }
        }
        Err(CallError::Lost("its stream ended before it answered".to_owned()))
    }
}

/// A member of an object that is a text.
fn text_in(object: &str, member: &str) -> Option<String> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(object).ok()?;
    serde_json::from_str(members.get(member)?.get()).ok()
}

/// The headers that repeat those arguments whose properties a tool's definition marks with `x-mcp-header`.
pub(super) fn mirrored(tool: &Definition, arguments: Option<&Value>) -> HeaderMap {
    let properties =
        tool.input_schema().and_then(|schema| schema.as_object()?.get("properties")?.as_object());
    let arguments = arguments.and_then(Value::as_object);
    let mut headers = HeaderMap::new();
    for (name, property) in properties.into_iter().flatten() {
        let marked = property.as_object().and_then(|property| property.get("x-mcp-header")?.as_str());
        let value = match arguments.and_then(|arguments| arguments.get(name)) {
            Some(Value::String(text)) => wire::as_header(text).into_owned(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.canonical(),
            _ => continue,
        };
        let header = marked.and_then(|marked| HeaderName::try_from(format!("mcp-param-{marked}")).ok());
        headers.extend(header.zip(HeaderValue::try_from(value).ok()));
    }
    headers
}

fn too_large() -> CallError {
    CallError::Lost(format!("its answer has more than {} MiB", MESSAGE_BYTES_MAX / 1024 / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_arguments_are_repeated_in_headers_that_carry_anything() {
        let tool = br#"{"name":"query","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},"rows":{"type":"integer","x-mcp-header":"Rows"},
            "dry":{"type":"boolean","x-mcp-header":"Dry"},"none":{"type":"string","x-mcp-header":"None"},
            "bad":{"type":"string","x-mcp-header":"not a name"},"sql":{"type":"string"}}}}"#;
        let arguments =
            r#"{"region":"\u4e16\r\n","rows":9007199254740993,"dry":false,"none":null,"bad":"x","sql":"s"}"#;
        let arguments = Value::parse(arguments.as_bytes()).unwrap();
        let headers = mirrored(&Definition::read(tool).unwrap(), Some(&arguments));
        let mut headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("mcp-param-dry", "false"),
                ("mcp-param-region", "=?base64?5LiWDQo=?="),
                ("mcp-param-rows", "9007199254740993")
            ]
        );
    }
}
