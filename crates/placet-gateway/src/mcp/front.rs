//! What agents talk to: MCP over streamable HTTP, in both eras, without a session on our side.
//!
//! ```text
//! POST /mcp/{server}   the tools of one server
//! POST /mcp            the tools of all of them, as SERVER__TOOL
//! ```
//!
//! A call that is answered soon is answered in JSON. One that waits gets its headers at once and then a comment every
//! ten seconds, with progress if it asked for some, so that clients and proxies see that it lives. Whether the client is
//! still there changes nothing about the request: it may come back for it.
//!
//! What a client of the older revisions says when it begins travels with it, as its session id: any process reads it.
//! It is made for one principal, names preferences, and is no credential. A client that has lost it is served as well.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use placet_core::c14n::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::catalogue::ServerName;
use super::patience::{Client, Program};
use super::ticket::Kind;
use super::wire::{
    Call, Era, Incoming, META_CAPABILITIES, META_CLIENT_INFO, Mirrored, RpcError, TASKS, answer, read,
    refusal, spoken,
};
use super::{Mcp, wire};

const EVENTS: &str = "text/event-stream";
/// How a client of the older revisions says what it said when it began.
const SESSION: &str = "mcp-session-id";
/// How much of a client's name and version is kept.
const PROGRAM_MAX: usize = 64;
/// How long a call may be held at most, whatever its client's configuration says.
const HOLD_MAX: u64 = 600;

/// Which servers a path speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    One(ServerName),
}

/// Answers to come, as the JSON of a result.
pub(super) type Answering = BoxFuture<'static, Result<String, RpcError>>;

/// What a waiting caller is told meanwhile.
struct Progress {
    token: Value,
    said: i64,
}

pub(super) async fn post_one(
    state: State<Mcp>,
    caller: super::Caller,
    Path(server): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match ServerName::parse(&server) {
        Some(server) => post(state, caller, Scope::One(server), &uri, headers, body).await,
        None => refuse(None, &no_such_server()),
    }
}

pub(super) async fn post_all(
    state: State<Mcp>,
    caller: super::Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    post(state, caller, Scope::All, &uri, headers, body).await
}

async fn post(
    State(mcp): State<Mcp>,
    caller: super::Caller,
    scope: Scope,
    uri: &Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !headers.get(CONTENT_TYPE).is_some_and(super::is_json) {
        let error = RpcError {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..RpcError::not_a_call("send application/json")
        };
        return refuse(None, &error);
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let error =
                RpcError { status: rejection.status(), ..RpcError::unreadable("a call may have 1 MiB") };
            return refuse(None, &error);
        }
    };
    let call = match read(&body) {
        Ok(Incoming::Call(call)) => call,
        // A cancellation ends a wait, and the wait ends when its client hangs up.
        Ok(Incoming::Notification | Incoming::Answer) => return StatusCode::ACCEPTED.into_response(),
        Err(error) => return refuse(None, &error),
    };
    let (client, version) = match mcp.client(&caller, &call, uri, &headers) {
        Ok(known) => known,
        Err(error) => return refuse(Some(&call.id), &error),
    };
    let id = call.id.clone();
    let session = mcp.session_of(&client, &call);
    let progress = call.meta("progressToken").cloned().map(|token| Progress { token, said: 0 });
    let quick = mcp.0.parts.pace.quick;
    let mut answering = mcp.answer(client, version, scope, call);
    let streams = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(EVENTS));
    let soon = if streams {
        tokio::time::timeout(quick, &mut answering).await.ok()
    } else {
        Some((&mut answering).await)
    };
    let mut response = match soon {
        Some(Ok(result)) => json(StatusCode::OK, answer(&id, &result)),
        Some(Err(error)) => refuse(Some(&id), &error),
        None => stream(id, answering, progress, mcp.0.parts.pace.keep_alive),
    };
    if response.status().is_success() {
        response.headers_mut().extend(session.map(|session| (HeaderName::from_static(SESSION), session)));
    }
    response
}

impl Mcp {
    /// Who calls, and which of the older revisions it began with, if that is known.
    fn client(
        &self,
        caller: &super::Caller,
        call: &Call,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(Client, Option<String>), RpcError> {
        let era = call.era(mirrored(headers))?;
        let began = match headers.get(SESSION) {
            Some(session) if era == Era::Legacy && call.method != "initialize" => {
                let text = session.to_str().unwrap_or_default();
                let said = self.0.tickets.read(Kind::Session, caller.0, text);
                Some(said.ok_or_else(RpcError::no_such_session)?)
            }
            _ => None,
        };
        let said = |name: &str| Some(began.as_ref()?.as_object()?.get(name)?.as_str()?.to_owned());
        let program = match era {
            Era::Modern => program(call.meta(META_CLIENT_INFO)),
            Era::Legacy => program(began.as_ref()),
        };
        let version = headers.get("mcp-protocol-version").and_then(|version| version.to_str().ok());
        let version = version.map(str::to_owned).or_else(|| said("protocol"));
        let client = Client {
            principal: caller.0,
            credential: caller.1,
            era,
            program,
            takes_tasks: era == Era::Modern && declares_tasks(call),
            wants_progress: call.meta("progressToken").is_some(),
            hold: hold(uri)?,
        };
        Ok((client, version))
    }

    /// What a client of the older revisions is to bring with each call from now on.
    fn session_of(&self, client: &Client, call: &Call) -> Option<HeaderValue> {
        if call.method != "initialize" || client.is_modern() {
            return None;
        }
        let Program { name, version } = program(call.params.get("clientInfo"));
        let says = Value::object([
            ("name", Value::String(name)),
            ("version", Value::String(version)),
            ("protocol", Value::string(spoken(call))),
        ]);
        HeaderValue::from_str(&self.0.tickets.issue(Kind::Session, client.principal, &says)).ok()
    }
}

fn program(info: Option<&Value>) -> Program {
    let text = |name: &str| {
        let text = info.and_then(|info| info.as_object()?.get(name)?.as_str()).unwrap_or_default();
        text.chars().take(PROGRAM_MAX).collect()
    };
    Program { name: text("name"), version: text("version") }
}

fn declares_tasks(call: &Call) -> bool {
    let extensions = call.meta(META_CAPABILITIES).and_then(|said| said.as_object()?.get("extensions"));
    extensions.and_then(Value::as_object).is_some_and(|extensions| extensions.contains_key(TASKS))
}

/// How long whoever configured the client says that it waits: `?hold=SECONDS`.
fn hold(uri: &Uri) -> Result<Option<Duration>, RpcError> {
    let said = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("hold="));
    let Some(said) = said else { return Ok(None) };
    match said.parse() {
        Ok(seconds @ 1..=HOLD_MAX) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(RpcError {
            status: StatusCode::BAD_REQUEST,
            ..RpcError::bad_params(format!("hold: write whole seconds, 1 to {HOLD_MAX}"))
        }),
    }
}

fn mirrored(headers: &HeaderMap) -> Mirrored<'_> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    Mirrored { version: text("mcp-protocol-version"), method: text("mcp-method"), name: text("mcp-name") }
}

pub(super) fn no_such_server() -> RpcError {
    RpcError { status: StatusCode::NOT_FOUND, ..RpcError::bad_params("there is no such server here") }
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

fn refuse(id: Option<&Value>, error: &RpcError) -> Response {
    json(error.status, refusal(id, error))
}

/// Comments until the answer is there.
fn stream(id: Value, answering: Answering, progress: Option<Progress>, every: Duration) -> Response {
    struct Waiting {
        id: Value,
        answering: Option<Answering>,
        progress: Option<Progress>,
        ticks: Interval,
        began: Instant,
    }
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waiting = Waiting { id, answering: Some(answering), progress, ticks, began: Instant::now() };
    let events = futures::stream::unfold(waiting, |mut waiting| async move {
        let mut answering = waiting.answering.take()?;
        let event = tokio::select! {
            answered = &mut answering => {
                let text = match answered {
                    Ok(result) => answer(&waiting.id, &result),
                    Err(error) => refusal(Some(&waiting.id), &error),
                };
                format!("event: message\ndata: {text}\n\n")
            }
            _ = waiting.ticks.tick() => {
                let seconds = i64::try_from(waiting.began.elapsed().as_secs()).unwrap_or(i64::MAX);
                waiting.answering = Some(answering);
                let mut event = ": waiting\n\n".to_owned();
                // Progress has to grow with each message.
                if let Some(progress) = waiting.progress.as_mut().filter(|progress| seconds > progress.said) {
                    progress.said = seconds;
                    event.push_str(&progress.event());
                }
                event
            }
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), waiting))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Progress {
    fn event(&self) -> String {
        let params = Value::object([
            ("progressToken", self.token.clone()),
            ("progress", Value::integer(self.said)),
            ("message", Value::string("waiting for a person to approve this call")),
        ]);
        let text = wire::call(None, "notifications/progress", &params.canonical());
        format!("event: message\ndata: {text}\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_notification_for_the_token_as_it_was_given() {
        let progress = Progress { token: Value::string("a"), said: 3 };
        assert!(progress.event().contains(r#""params":{"message":"#));
        assert!(progress.event().contains(r#""progressToken":"a""#));
    }
}
