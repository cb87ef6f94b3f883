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

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use placet_core::action::Principal;
use placet_core::c14n::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::call::{AWAIT_TOOL, Told, ToolCall};
use super::catalogue::{Catalogue, JOINT, Server, ServerName};
use super::upstream::Freshness;
use super::wire::{Call, Era, Incoming, LEGACY, META, MODERN, Mirrored, RpcError, answer, read, refusal};
use super::{Mcp, wire};
use crate::authority::Caller;

const EVENTS: &str = "text/event-stream";
/// How a caller names its reasons, beside the protocol.
const META_JUSTIFICATION: &str = "dev.placet/justification";
const META_ON_BEHALF_OF: &str = "dev.placet/on_behalf_of";
const META_KEY: &str = "dev.placet/idempotency_key";

/// Which servers a path speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    One(ServerName),
}

/// Answers to come, as the JSON of a result.
type Answering = BoxFuture<'static, Result<String, RpcError>>;

/// What a waiting caller is told meanwhile.
struct Progress {
    token: Value,
    said: i64,
}

pub(super) async fn post_one(
    state: State<Mcp>,
    caller: super::Caller,
    Path(server): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match ServerName::parse(&server) {
        Some(server) => post(state, caller, Scope::One(server), headers, body).await,
        None => refuse(None, &no_such_server()),
    }
}

pub(super) async fn post_all(
    state: State<Mcp>,
    caller: super::Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    post(state, caller, Scope::All, headers, body).await
}

async fn post(
    State(mcp): State<Mcp>,
    super::Caller(principal): super::Caller,
    scope: Scope,
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
    let era = match call.era(mirrored(&headers)) {
        Ok(era) => era,
        Err(error) => return refuse(Some(&call.id), &error),
    };
    let id = call.id.clone();
    let progress = call.meta("progressToken").cloned().map(|token| Progress { token, said: 0 });
    let quick = mcp.0.parts.pace.quick;
    let mut answering = mcp.answer(principal, scope, era, call);
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
    match soon {
        Some(Ok(result)) => json(StatusCode::OK, answer(&id, &result)),
        Some(Err(error)) => refuse(Some(&id), &error),
        None => stream(id, answering, progress, mcp.0.parts.pace.keep_alive),
    }
}

fn mirrored(headers: &HeaderMap) -> Mirrored<'_> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    Mirrored { version: text("mcp-protocol-version"), method: text("mcp-method"), name: text("mcp-name") }
}

fn no_such_server() -> RpcError {
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

impl Mcp {
    /// The answer to one call. Methods that carry nothing to a server are answered here; those that placet does not gate
    /// are not passed on.
    fn answer(&self, principal: Principal, scope: Scope, era: Era, call: Call) -> Answering {
        let mcp = self.clone();
        Box::pin(async move {
            let result = match (call.method.as_str(), era) {
                ("initialize", Era::Legacy) => mcp.initialize(&scope, &call).await,
                ("server/discover", Era::Modern) => mcp.discover(&scope).await,
                ("ping", Era::Legacy) => Ok("{}".to_owned()),
                ("tools/list", _) => mcp.list_tools(principal, &scope, era).await,
                ("tools/call", _) => mcp.tools_call(Caller::known(principal), &scope, call).await,
                (method, _) => Err(RpcError::no_such_method(method)),
            }?;
            Ok(if era == Era::Modern { complete(result) } else { result })
        })
    }

    async fn initialize(&self, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let asked = call.text("protocolVersion").unwrap_or_default();
        let spoken =
            LEGACY.iter().find(|version| **version == asked).or(LEGACY.first()).copied().unwrap_or_default();
        let catalogue = self.catalogue().await?;
        let mut members = vec![
            ("protocolVersion", Value::string(spoken)),
            ("capabilities", Value::object([("tools", Value::object::<String>([]))])),
            ("serverInfo", server_info()),
        ];
        members.extend(instructions(&catalogue, scope)?.map(|text| ("instructions", Value::String(text))));
        Ok(Value::object(members).canonical())
    }

    async fn discover(&self, scope: &Scope) -> Result<String, RpcError> {
        let catalogue = self.catalogue().await?;
        let versions = std::iter::once(MODERN).chain(LEGACY).map(Value::string).collect();
        let mut members = vec![
            ("supportedVersions", Value::Array(versions)),
            ("capabilities", Value::object([("tools", Value::object::<String>([]))])),
            ("serverInfo", server_info()),
            ("ttlMs", Value::integer(0)),
            ("cacheScope", Value::string("private")),
        ];
        members.extend(instructions(&catalogue, scope)?.map(|text| ("instructions", Value::String(text))));
        Ok(Value::object(members).canonical())
    }

    /// The accepted tools that are what they were, and that policy does not rule out for this caller whatever the
    /// arguments.
    async fn list_tools(&self, principal: Principal, scope: &Scope, era: Era) -> Result<String, RpcError> {
        let catalogue = self.catalogue().await?;
        let mut tools = Vec::new();
        for server in in_scope(&catalogue, scope)? {
            for (name, definition) in self.offered(principal, server).await? {
                let name = if *scope == Scope::All { format!("{}{JOINT}{name}", server.name) } else { name };
                tools.push((name.clone(), definition.named(name)));
            }
        }
        tools.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut tools: Vec<Value> = tools.into_iter().map(|(_, tool)| tool).collect();
        if !tools.is_empty() {
            tools.push(await_tool());
        }
        let mut members = vec![("tools", Value::Array(tools))];
        if era == Era::Modern {
            members.extend([("ttlMs", Value::integer(0)), ("cacheScope", Value::string("private"))]);
        }
        Ok(Value::object(members).canonical())
    }

    async fn offered(
        &self,
        principal: Principal,
        server: &Server,
    ) -> Result<BTreeMap<String, super::catalogue::Definition>, RpcError> {
        let names: Vec<String> = server.tools().map(|tool| tool.definition.name().to_owned()).collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        // A server that cannot be reached offers nothing that could be called.
        let Ok(session) = self.session(server).await else { return Ok(BTreeMap::new()) };
        let Ok(listing) = session.listing(Freshness::Kept).await else { return Ok(BTreeMap::new()) };
        let source = &self.0.parts.source;
        let callable = source.callable(principal, server.name.as_str().to_owned(), names).await?;
        let offered = server.tools().filter(|tool| {
            let name = tool.definition.name();
            callable.iter().any(|callable| callable == name)
                && listing.pin(&server.name, name) == Some(tool.pin)
        });
        Ok(offered.map(|tool| (tool.definition.name().to_owned(), tool.definition.clone())).collect())
    }

    async fn tools_call(&self, caller: Caller, scope: &Scope, call: Call) -> Result<Told, RpcError> {
        let named = call.text("name").ok_or_else(|| RpcError::bad_params("name is missing"))?;
        let arguments = match call.params.get("arguments") {
            None => Value::object::<String>([]),
            Some(arguments @ Value::Object(_)) => arguments.clone(),
            Some(_) => return Err(RpcError::bad_params("arguments must be an object")),
        };
        let known = ["name", "arguments", META];
        if let Some(unknown) = call.params.keys().find(|name| !known.contains(&name.as_str())) {
            // What would be dropped on the way is refused: a task, or an answer to a question that nobody asked.
            let unknown = placet_core::text::visible(&unknown.chars().take(64).collect::<String>());
            return Err(RpcError::bad_params(format!("placet does not pass {unknown} on")));
        }
        let hold = self.0.parts.pace.hold;
        if named == AWAIT_TOOL {
            return self.await_approval(caller, &arguments, hold).await;
        }
        let unknown =
            || RpcError::bad_params(format!("there is no tool {}", placet_core::text::visible(named)));
        let (server, tool) = match scope {
            Scope::One(server) => (server.clone(), named.to_owned()),
            Scope::All => {
                let (server, tool) = named.split_once(JOINT).ok_or_else(unknown)?;
                (ServerName::parse(server).ok_or_else(unknown)?, tool.to_owned())
            }
        };
        let said = |name: &str| match call.meta(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(RpcError::bad_params(format!("_meta: {name} must be a string"))),
        };
        let call = ToolCall {
            server,
            tool,
            arguments,
            justification: said(META_JUSTIFICATION)?,
            on_behalf_of: said(META_ON_BEHALF_OF)?,
            idempotency_key: said(META_KEY)?,
        };
        self.call_tool(caller, call, hold).await
    }
}

fn in_scope<'c>(catalogue: &'c Catalogue, scope: &Scope) -> Result<Vec<&'c Server>, RpcError> {
    match scope {
        Scope::All => Ok(catalogue.servers().collect()),
        Scope::One(name) => Ok(vec![catalogue.server(name).ok_or_else(no_such_server)?]),
    }
}

/// What the server tells models, as accepted, and what placet adds to it.
fn instructions(catalogue: &Catalogue, scope: &Scope) -> Result<Option<String>, RpcError> {
    let own = format!(
        "Some of these tools wait for a person to approve the call. A result that says so is no failure: call {AWAIT_TOOL} with the \
         approval_id that it tells, or repeat the exact same call, to get the outcome."
    );
    let servers = in_scope(catalogue, scope)?;
    let accepted = servers.iter().filter_map(|server| server.instructions.clone());
    let all: Vec<String> = accepted.chain([own]).collect();
    Ok(Some(all.join("\n\n")))
}

fn server_info() -> Value {
    Value::object([("name", Value::string("placet")), ("version", Value::string(env!("CARGO_PKG_VERSION")))])
}

fn await_tool() -> Value {
    let text = |text: &str| Value::string(text);
    let properties = Value::object([
        (
            "approval_id",
            Value::object([
                ("type", text("string")),
                ("description", text("The id that the pending result told, req_…")),
            ]),
        ),
        (
            "wait_s",
            Value::object([
                ("type", text("integer")),
                ("minimum", Value::integer(0)),
                ("description", text("How many seconds to wait at most")),
            ]),
        ),
    ]);
    let schema = Value::object([
        ("type", text("object")),
        ("properties", properties),
        ("required", Value::Array(vec![text("approval_id")])),
        ("additionalProperties", Value::Bool(false)),
    ]);
    let hints = Value::object([("readOnlyHint", Value::Bool(true)), ("openWorldHint", Value::Bool(false))]);
    Value::object([
        ("name", text(AWAIT_TOOL)),
        ("title", text("Wait for an approval")),
        (
            "description",
            text(
                "Waits for people to decide on a tool call that is pending, and gives that call's result. It approves nothing.",
            ),
        ),
        ("inputSchema", schema),
        ("annotations", hints),
    ])
}

/// A result as the newest revision wants it. What the server wrote stays as it is.
fn complete(result: String) -> String {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "resultType", default)]
        kind: Option<serde::de::IgnoredAny>,
    }
    let typed = serde_json::from_str::<Typed>(&result).is_ok_and(|typed| typed.kind.is_some());
    let trimmed = result.trim_start();
    match trimmed.strip_prefix('{') {
        Some(rest) if !typed => {
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            format!("{{\"resultType\":\"complete\"{comma}{rest}")
        }
        _ => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_said_to_be_complete_once() {
        for (result, expected) in [
            ("{}", r#"{"resultType":"complete"}"#),
            (r#"{"content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
            (r#" { "n": 1.0 }"#, r#"{"resultType":"complete", "n": 1.0 }"#),
            (r#"{"resultType":"complete","content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
        ] {
            let whole = complete(result.to_owned());
            assert_eq!(whole, expected);
            serde_json::from_str::<serde_json::Value>(&whole).unwrap();
        }
    }

    #[test]
    fn progress_is_a_notification_for_the_token_as_it_was_given() {
        let progress = Progress { token: Value::string("a"), said: 3 };
        assert!(progress.event().contains(r#""params":{"message":"#));
        assert!(progress.event().contains(r#""progressToken":"a""#));
    }
}
