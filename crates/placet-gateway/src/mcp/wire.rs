//! JSON-RPC 2.0 as the Model Context Protocol uses it, on raw JSON.
//!
//! What an agent sends is read with core's strict reader: one object, no member twice at any depth, numbers kept as
//! they were written. What a server answers is kept as the bytes it sent. Nothing is retyped on the way.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_core::c14n::Value;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The revision without sessions, in which every call describes itself.
pub(super) const MODERN: &str = "2026-07-28";
/// The revisions that open with `initialize`, newest first.
pub(super) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Where a modern call says which revision it speaks.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Where a modern call says who its client is.
pub(super) const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// Where a modern call says what its client can do.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Members beside the protocol's own.
pub(super) const META: &str = "_meta";

/// The extension by which a call is answered with a task.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";
/// How a header says that its value is encoded.
const SENTINEL: &str = "=?base64?";
const SENTINEL_END: &str = "?=";

/// Which of the two incompatible families of revisions a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Era {
    /// 2025-11-25 and older.
    Legacy,
    /// 2026-07-28.
    Modern,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A call that wants an answer.
    Call(Call),
    /// A call that wants none.
    Notification,
    /// An answer to something that we never asked.
    Answer,
}

/// A call that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// A string or a whole number.
    pub(super) id: Value,
    /// What is called.
    pub(super) method: String,
    /// With what.
    pub(super) params: BTreeMap<String, Value>,
}

/// Why a call is refused on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    /// The protocol's number for it.
    pub(super) code: i64,
    /// For people and models.
    pub(super) message: String,
    /// For programs.
    pub(super) data: Option<Value>,
    /// How HTTP says it.
    pub(super) status: StatusCode,
}

impl RpcError {
    fn new(code: i64, status: StatusCode, message: impl Into<String>) -> Self {
        RpcError { code, message: message.into(), data: None, status }
    }

    /// The bytes are not JSON as placet takes it.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(-32700, StatusCode::BAD_REQUEST, message)
    }

    /// It is JSON, and no call.
    pub(super) fn not_a_call(message: impl Into<String>) -> Self {
        Self::new(-32600, StatusCode::BAD_REQUEST, message)
    }

    /// Nobody knows the method. Modern clients take the status for the sign to speak an older revision.
    pub(super) fn no_such_method(method: &str) -> Self {
        let method = placet_core::text::visible(&method.chars().take(64).collect::<String>());
        Self::new(-32601, StatusCode::NOT_FOUND, format!("placet does not pass {method} on"))
    }

    /// A parameter is missing or wrong.
    pub(super) fn bad_params(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::OK, message)
    }

    /// Placet cannot answer now.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, StatusCode::OK, message)
    }

    /// A header and the body say different things.
    fn headers_differ(message: impl Into<String>) -> Self {
        Self::new(-32020, StatusCode::BAD_REQUEST, message)
    }

    /// Words for whoever called, where a result has no room for them.
    pub(super) fn words(text: String, data: Option<Value>) -> Self {
        // Outside the range that JSON-RPC and the protocol keep for themselves.
        RpcError { data, ..Self::new(-31000, StatusCode::OK, text) }
    }

    /// A server's own no.
    pub(super) fn of_server(code: i64, message: String, data: Option<Value>) -> Self {
        RpcError { data, ..Self::new(code, StatusCode::OK, message) }
    }

    /// The session that a call names is none of its caller's.
    pub(super) fn no_such_session() -> Self {
        let message = "there is no such session here: begin again with initialize";
        Self::new(-32600, StatusCode::NOT_FOUND, message)
    }

    /// The client did not say that it can do what the call needs.
    pub(super) fn missing_tasks() -> Self {
        let extensions = Value::object([(TASKS, Value::object::<String>([]))]);
        let required = Value::object([("extensions", extensions)]);
        let data = Some(Value::object([("requiredCapabilities", required)]));
        let message = "the call does not declare the extension for tasks";
        RpcError { data, ..Self::new(-32021, StatusCode::BAD_REQUEST, message) }
    }

    /// A call of the newest revision does not describe itself.
    fn incomplete(missing: &str) -> Self {
        let message = format!("_meta must have {missing}");
        RpcError { status: StatusCode::BAD_REQUEST, ..Self::bad_params(message) }
    }

    /// A revision that nobody here speaks.
    fn other_revision(asked: &str) -> Self {
        let supported = std::iter::once(MODERN).chain(LEGACY).map(Value::string).collect();
        let asked = placet_core::text::visible(&asked.chars().take(32).collect::<String>());
        let message = format!("protocol version {asked} is not spoken here");
        let data = Some(Value::object([
            ("requested", Value::string(asked)),
            ("supported", Value::Array(supported)),
        ]));
        RpcError { data, ..Self::new(-32022, StatusCode::BAD_REQUEST, message) }
    }
}

/// Reads what a client sent.
pub(super) fn read(body: &[u8]) -> Result<Incoming, RpcError> {
    let value = Value::parse(body).map_err(|error| RpcError::unreadable(error.to_string()))?;
    let Value::Object(mut members) = value else {
        return Err(RpcError::not_a_call("send one JSON-RPC object; batches are not taken"));
    };
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(RpcError::not_a_call("jsonrpc must be \"2.0\""));
    }
    let Some(method) = members.remove("method") else {
        let answers = members.contains_key("result") || members.contains_key("error");
        return if answers { Ok(Incoming::Answer) } else { Err(RpcError::not_a_call("method is missing")) };
    };
    let Value::String(method) = method else { return Err(RpcError::not_a_call("method must be a string")) };
    let params = match members.remove("params") {
        None => BTreeMap::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(RpcError::not_a_call("params must be an object")),
    };
    match members.remove("id") {
        None => Ok(Incoming::Notification),
        Some(id) if is_id(&id) => Ok(Incoming::Call(Call { id, method, params })),
        Some(_) => Err(RpcError::not_a_call("id must be a string or a whole number")),
    }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= 256,
        Value::Number(number) => number.as_integer().is_some(),
        _ => false,
    }
}

/// The headers by which a call repeats what its body says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mirrored<'a> {
    /// `MCP-Protocol-Version`
    pub(super) version: Option<&'a str>,
    /// `Mcp-Method`
    pub(super) method: Option<&'a str>,
    /// `Mcp-Name`
    pub(super) name: Option<&'a str>,
}

impl Call {
    /// Which era the call speaks. What headers say must be what the body says: somebody on the way may have decided by
    /// the headers.
    pub(super) fn era(&self, headers: Mirrored<'_>) -> Result<Era, RpcError> {
        let Some(version) = self.meta(META_VERSION) else {
            return match headers.version {
                None => Ok(Era::Legacy),
                Some(version) if LEGACY.contains(&version) => Ok(Era::Legacy),
                Some(MODERN) => Err(RpcError::incomplete(META_VERSION)),
                Some(other) => Err(RpcError::other_revision(other)),
            };
        };
        let version = version.as_str().unwrap_or_default();
        let same = |header: &str, said: Option<&str>, expected: Option<&str>| {
            if said == expected {
                return Ok(());
            }
            Err(RpcError::headers_differ(format!("the header {header} must be there and equal the body")))
        };
        // Which revision is meant has to be certain before it is said to be none of ours.
        same("MCP-Protocol-Version", headers.version, Some(version))?;
        if version != MODERN {
            return Err(RpcError::other_revision(version));
        }
        if !matches!(self.meta(META_CAPABILITIES), Some(Value::Object(_))) {
            return Err(RpcError::incomplete(META_CAPABILITIES));
        }
        same("Mcp-Method", headers.method, Some(&self.method))?;
        if let Some(member) = named_by(&self.method) {
            let said = headers.name.map(plain);
            // Clients that poll for tasks leave it out. Nobody on the way decides by the name of a task.
            let may_be_absent = self.method.starts_with("tasks/");
            if said.is_some() || !may_be_absent {
                same("Mcp-Name", said.as_deref(), self.text(member))?;
            }
        }
        Ok(Era::Modern)
    }

    /// A member of `_meta`.
    pub(super) fn meta(&self, name: &str) -> Option<&Value> {
        self.params.get(META)?.as_object()?.get(name)
    }

    /// A member of `params` that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }
}

/// The parameter that the header `Mcp-Name` repeats.
pub fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        method if method.starts_with("tasks/") => Some("taskId"),
        _ => None,
    }
}

/// The revision in which `initialize` is answered: the one that is asked for, or the newest of the older ones.
pub(super) fn spoken(initialize: &Call) -> &'static str {
    let asked = initialize.text("protocolVersion").unwrap_or_default();
    LEGACY.iter().find(|version| **version == asked).or(LEGACY.first()).copied().unwrap_or_default()
}

/// A header's value as it is meant: what fits no header travels as `=?base64?…?=`.
fn plain(value: &str) -> Cow<'_, str> {
    let Some(encoded) = value.strip_prefix(SENTINEL).and_then(|rest| rest.strip_suffix(SENTINEL_END)) else {
        return Cow::Borrowed(value);
    };
    let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map_or(Cow::Borrowed(value), Cow::Owned)
}

/// A text as the value of a header.
pub fn as_header(text: &str) -> Cow<'_, str> {
    let fits = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if fits && text.trim() == text && !text.starts_with(SENTINEL) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{SENTINEL}{}{SENTINEL_END}", STANDARD.encode(text)))
}

/// An object with one more member. Both are JSON; what is in the object stays as it is.
pub(super) fn with_member(object: &str, name: &str, value: &str) -> String {
    let rest = object.trim_start().strip_prefix('{').unwrap_or("}");
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!("{{{}:{value}{comma}{rest}", Value::string(name).canonical())
}

/// A result that nobody else may keep, as the newest revision says it. A server knows nothing of who may see it here.
pub(super) fn private(result: &str) -> String {
    let Ok(mut members) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(result) else {
        return result.to_owned();
    };
    for (name, value) in [("ttlMs", "0"), ("cacheScope", "\"private\"")] {
        let value = RawValue::from_string(value.to_owned());
        members.extend(value.ok().map(|value| (name.to_owned(), value)));
    }
    serde_json::to_string(&members).unwrap_or_else(|_| result.to_owned())
}

/// A result with one more member of its `_meta`. What is in it stays as it is.
pub(super) fn with_meta(result: &str, name: &str, value: &Value) -> String {
    type Raw = BTreeMap<String, Box<RawValue>>;
    let Ok(mut members) = serde_json::from_str::<Raw>(result) else { return result.to_owned() };
    let meta = members.remove(META);
    let mut meta: Raw = meta.and_then(|meta| serde_json::from_str(meta.get()).ok()).unwrap_or_default();
    let raw = |json: String| RawValue::from_string(json).ok();
    meta.extend(raw(value.canonical()).map(|value| (name.to_owned(), value)));
    let meta = serde_json::to_string(&meta).ok().and_then(raw);
    members.extend(meta.map(|meta| (META.to_owned(), meta)));
    serde_json::to_string(&members).unwrap_or_else(|_| result.to_owned())
}

/// A result as the newest revision wants it. What the server wrote stays as it is.
pub(super) fn complete(result: String) -> String {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "resultType", default)]
        kind: Option<IgnoredAny>,
    }
    let typed = serde_json::from_str::<Typed>(&result).is_ok_and(|typed| typed.kind.is_some());
    if typed { result } else { with_member(&result, "resultType", "\"complete\"") }
}

/// The answer to a call. `result` is the JSON of an object.
pub(super) fn answer(id: &Value, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", id.canonical())
}

/// The refusal of a call; without an id where none could be read.
pub(super) fn refusal(id: Option<&Value>, error: &RpcError) -> String {
    let mut members =
        vec![("code", Value::integer(error.code)), ("message", Value::string(error.message.clone()))];
    members.extend(error.data.clone().map(|data| ("data", data)));
    let id = id.cloned().unwrap_or(Value::Null);
    Value::object([("jsonrpc", Value::string("2.0")), ("id", id), ("error", Value::object(members))])
        .canonical()
}

/// A call of ours, or a notification if it has no id. `params` is the JSON of an object.
pub(super) fn call(id: Option<u64>, method: &str, params: &str) -> String {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let method = Value::string(method).canonical();
    format!("{{\"jsonrpc\":\"2.0\",{id}\"method\":{method},\"params\":{params}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern(method: &str, params: &str) -> Call {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{{"{META_VERSION}":"{MODERN}","{META_CAPABILITIES}":{{}}}}{params}}}}}"#
        );
        match read(body.as_bytes()).unwrap() {
            Incoming::Call(call) => call,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_object_with_a_method_is_a_call() {
        let code = |body: &str| read(body.as_bytes()).map_err(|error| error.code);
        assert!(matches!(code(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Ok(Incoming::Call(_))));
        assert!(matches!(code(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#), Ok(Incoming::Call(_))));
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
            Ok(Incoming::Notification)
        );
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(Incoming::Answer));
        for (body, expected) in [
            ("{", -32700),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32700),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"a":{"b":1,"b":2}}}"#, -32700),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
            (r#"{"id":1,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, -32600),
        ] {
            assert_eq!(code(body), Err(expected), "{body}");
        }
    }

    #[test]
    fn numbers_next_to_each_other_stay_two_numbers() {
        let argument = |number: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"n":{number}}}}}"#);
            match read(body.as_bytes()).unwrap() {
                Incoming::Call(call) => call.params["n"].canonical(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(argument("9007199254740993"), "9007199254740993");
        assert_ne!(argument("9007199254740993"), argument("9007199254740992"));
        assert_ne!(argument("1"), argument("1.0"));
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let call = modern("tools/call", r#","name":"export""#);
        let right = Mirrored { version: Some(MODERN), method: Some("tools/call"), name: Some("export") };
        assert_eq!(call.era(right), Ok(Era::Modern));
        for wrong in [
            Mirrored { version: None, ..right },
            Mirrored { version: Some("2025-11-25"), ..right },
            Mirrored { method: Some("tools/list"), ..right },
            Mirrored { name: Some("delete"), ..right },
            Mirrored { name: None, ..right },
        ] {
            assert_eq!(call.era(wrong).map_err(|error| error.code), Err(-32020), "{wrong:?}");
        }
        let task = modern("tasks/get", r#","taskId":"req_1""#);
        let polls = |name| task.era(Mirrored { version: Some(MODERN), method: Some("tasks/get"), name });
        assert_eq!((polls(None), polls(Some("req_1"))), (Ok(Era::Modern), Ok(Era::Modern)));
        assert_eq!(polls(Some("req_2")).map_err(|error| error.code), Err(-32020));
        let list = modern("tools/list", "");
        let headers = Mirrored { version: Some(MODERN), method: Some("tools/list"), name: None };
        assert_eq!(list.era(headers), Ok(Era::Modern));
    }

    #[test]
    fn a_header_that_is_encoded_is_read_as_it_is_meant() {
        for name in ["export", "größe", " padded ", "=?base64?x?=", "a\nb"] {
            let json = Value::string(name).canonical();
            let call = modern("resources/read", &format!(",\"uri\":{json}"));
            let encoded = as_header(name);
            let headers = |name| Mirrored { version: Some(MODERN), method: Some("resources/read"), name };
            assert_eq!(call.era(headers(Some(&encoded))), Ok(Era::Modern), "{encoded}");
            assert!(call.era(headers(Some("=?base64?ZWxzZQ==?="))).is_err());
        }
        assert_eq!(as_header("export"), "export");
    }

    #[test]
    fn members_are_added_and_nothing_else_is_touched() {
        assert_eq!(with_member("{}", "a", "1"), r#"{"a":1}"#);
        assert_eq!(with_member(r#" { "n": 1.0 }"#, "a", "{}"), r#"{"a":{}, "n": 1.0 }"#);
        let meta = |result: &str| with_meta(result, "m", &Value::integer(1));
        assert_eq!(meta(r#"{"x":{"n":1.0}}"#), r#"{"_meta":{"m":1},"x":{"n":1.0}}"#);
        assert_eq!(
            meta(r#"{"_meta":{"own":[ 1.50 ]},"x":2e3}"#),
            r#"{"_meta":{"m":1,"own":[ 1.50 ]},"x":2e3}"#
        );
    }

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
    fn a_call_without_a_revision_is_of_the_older_era() {
        let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let Incoming::Call(call) = read(body).unwrap() else { panic!("a call") };
        let of = |version| call.era(Mirrored { version, ..Mirrored::default() }).map_err(|error| error.code);
        assert_eq!(of(None), Ok(Era::Legacy));
        assert_eq!(of(Some("2025-06-18")), Ok(Era::Legacy));
        assert_eq!(of(Some(MODERN)), Err(-32602));
        assert_eq!(of(Some("1999-01-01")), Err(-32022));
    }

    #[test]
    fn a_call_of_the_newest_revision_describes_itself() {
        let with = |meta: &str, version| {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
            let Incoming::Call(call) = read(body.as_bytes()).unwrap() else { panic!("a call") };
            let headers = Mirrored { version: Some(version), method: Some("tools/list"), name: None };
            call.era(headers).map_err(|error| (error.code, error.status.as_u16()))
        };
        assert_eq!(with("{}", MODERN), Err((-32602, 400)));
        assert_eq!(with(&format!(r#"{{"{META_VERSION}":"{MODERN}"}}"#), MODERN), Err((-32602, 400)));
        let other = format!(r#"{{"{META_VERSION}":"1999-01-01","{META_CAPABILITIES}":{{}}}}"#);
        assert_eq!(with(&other, "1999-01-01"), Err((-32022, 400)));
        // A header that says something else is the first thing that is wrong with it.
        assert_eq!(with(&other, MODERN), Err((-32020, 400)));
    }

    #[test]
    fn answers_keep_the_id_as_it_was_written() {
        assert_eq!(answer(&Value::string("a\"b"), "{}"), r#"{"jsonrpc":"2.0","id":"a\"b","result":{}}"#);
        let error = RpcError::bad_params("no such tool");
        assert_eq!(
            refusal(Some(&Value::integer(7)), &error),
            r#"{"error":{"code":-32602,"message":"no such tool"},"id":7,"jsonrpc":"2.0"}"#
        );
        assert_eq!(
            call(None, "notifications/initialized", "{}"),
            r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":{}}"#
        );
    }
}
