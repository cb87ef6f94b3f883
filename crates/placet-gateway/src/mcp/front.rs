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
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::catalogue::ServerName;
use super::patience::{Client, Program};
use super::ticket::Kind;
use super::upstream::{REPORTS_MAX, Reported};
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

/// What a waiting caller is told meanwhile: by placet while people decide, by the server while it works.
struct Progress {
    token: Value,
    /// What was said last. It grows with each message.
    said: Option<f64>,
    /// What the server says, and what it said first.
    reports: mpsc::Receiver<Reported>,
    first: Option<Reported>,
    /// How far it was when the server began to say something.
    base: Option<f64>,
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
    let (mut client, version) = match mcp.client(&caller, &call, uri, &headers) {
        Ok(known) => known,
        Err(error) => return refuse(Some(&call.id), &error),
    };
    let id = call.id.clone();
    let session = mcp.session_of(&client, &call);
    let streams = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(EVENTS));
    let mut progress = call.meta("progressToken").filter(|_| streams).cloned().map(|token| {
        let (heard, reports) = mpsc::channel(REPORTS_MAX);
        client.heard = Some(heard);
        Progress { token, said: None, reports, first: None, base: None }
    });
    let quick = mcp.0.parts.pace.quick;
    let mut answering = mcp.answer(client, version, scope, call);
    let soon = if streams {
        tokio::select! {
            biased;
            // Whoever hears something hears it as it comes.
            reported = reported(progress.as_mut()) => {
                progress.iter_mut().for_each(|progress| progress.first = Some(reported.clone()));
                None
            }
            answered = tokio::time::timeout(quick, &mut answering) => answered.ok(),
        }
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
            heard: None,
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

/// What the server says next, if anybody wants to hear it and it says something.
async fn reported(progress: Option<&mut Progress>) -> Reported {
    let Some(progress) = progress else { return std::future::pending().await };
    if let Some(first) = progress.first.take() {
        return first;
    }
    match progress.reports.recv().await {
        Some(reported) => reported,
        None => std::future::pending().await,
    }
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
            reported = reported(waiting.progress.as_mut()) => {
                waiting.answering = Some(answering);
                // Something has to be sent, or the stream would be over.
                let event = waiting.progress.as_mut().and_then(|progress| progress.of_server(reported));
                event.unwrap_or_else(|| ": working\n\n".to_owned())
            }
            answered = &mut answering => {
                let text = match answered {
                    Ok(result) => answer(&waiting.id, &result),
                    Err(error) => refusal(Some(&waiting.id), &error),
                };
                // What was said before the answer is heard before it.
                let said = waiting.progress.as_mut().map(Progress::rest).unwrap_or_default();
                format!("{said}event: message\ndata: {text}\n\n")
            }
            _ = waiting.ticks.tick() => {
                waiting.answering = Some(answering);
                let seconds = waiting.began.elapsed().as_secs_f64().floor();
                let own = waiting.progress.as_mut().and_then(|progress| progress.of_placet(seconds));
                format!(": waiting\n\n{}", own.unwrap_or_default())
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
    /// placet's own, while nobody else says something.
    fn of_placet(&mut self, seconds: f64) -> Option<String> {
        if seconds <= 0.0 || self.base.is_some() {
            return None;
        }
        self.event(seconds, None, Some("waiting for a person to approve this call"))
    }

    /// A server's, which goes on where placet's ended.
    fn of_server(&mut self, reported: Reported) -> Option<String> {
        let base = *self.base.get_or_insert(self.said.unwrap_or_default());
        let total = reported.total.map(|total| base + total);
        self.event(base + reported.progress, total, reported.message.as_deref())
    }

    /// What is left to be told of a server.
    fn rest(&mut self) -> String {
        let mut said = String::new();
        while let Some(reported) = self.first.take().or_else(|| self.reports.try_recv().ok()) {
            said.extend(self.of_server(reported));
        }
        said
    }

    /// Progress has to grow with each message: what does not is left out.
    fn event(&mut self, progress: f64, total: Option<f64>, message: Option<&str>) -> Option<String> {
        if !progress.is_finite() || self.said.is_some_and(|said| progress <= said) {
            return None;
        }
        self.said = Some(progress);
        let mut params = serde_json::json!({ "progress": number(progress) });
        let members = params.as_object_mut()?;
        members.extend(total.map(|total| ("total".to_owned(), number(total))));
        members.extend(message.map(|message| ("message".to_owned(), message.into())));
        // The token as it was given, whatever number it is.
        let text = format!("{{\"progressToken\":{},{}", self.token.canonical(), params.to_string().get(1..)?);
        let text = wire::call(None, "notifications/progress", &text);
        Some(format!("event: message\ndata: {text}\n\n"))
    }
}

/// A whole number without a fraction, as servers write it.
fn number(value: f64) -> serde_json::Value {
    #[expect(clippy::cast_possible_truncation, reason = "it was looked at")]
    match value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        true => (value as i64).into(),
        false => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let (_, reports) = mpsc::channel(1);
        Progress { token: Value::string("a"), said: None, reports, first: None, base: None }
    }

    #[test]
    fn progress_is_a_notification_for_the_token_as_it_was_given() {
        let event = progress().of_placet(3.0).unwrap();
        assert!(event.contains(r#""params":{"progressToken":"a","#), "{event}");
        assert!(event.contains(r#""progress":3"#) && event.contains("waiting for a person"), "{event}");
    }

    #[test]
    fn progress_grows_whoever_says_it() {
        let mut progress = progress();
        let mut said = Vec::new();
        let mut hear = |event: Option<String>| {
            let event = event.unwrap_or_default();
            let number = |name: &str| {
                let rest = event.split(&format!("\"{name}\":")).nth(1)?;
                rest.split([',', '}']).next()?.parse::<f64>().ok()
            };
            said.push((number("progress"), number("total")));
        };
        let reported = |progress, total| Reported { progress, total, message: None };
        hear(progress.of_placet(0.0));
        hear(progress.of_placet(10.0));
        hear(progress.of_placet(10.0));
        hear(progress.of_server(reported(0.0, Some(1.0))));
        hear(progress.of_server(reported(0.5, Some(1.0))));
        hear(progress.of_server(reported(0.25, Some(1.0))));
        hear(progress.of_server(reported(f64::NAN, None)));
        hear(progress.of_placet(20.0));
        hear(progress.of_server(reported(1.0, Some(1.0))));
        let ten = (Some(10.0), None);
        let none = (None, None);
        let expected =
            [none, ten, none, none, (Some(10.5), Some(11.0)), none, none, none, (Some(11.0), Some(11.0))];
        assert_eq!(said, expected);
    }
}
