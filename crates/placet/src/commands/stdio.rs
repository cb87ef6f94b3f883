//! `placet mcp stdio`: for clients that start their servers themselves. Each line is a message for the agents' door, each
//! message of its answer a line. The client's own process holds nothing but the agent's token.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use placet_core::c14n::Value;
use placet_core::secret::Secret;
use placet_gateway::mcp::events::Events;
use placet_gateway::mcp::wire::{as_header, named_by};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::tools::Hold;
use crate::credentials;
use crate::exit::{Exit, Failure};

/// A line may be as long as a body of the door.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// No answer is larger.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many calls may be under way.
const CALLS_MAX: usize = 64;

struct Bridge {
    http: reqwest::Client,
    url: String,
    token: Secret,
    /// What placet gave the client when it began.
    session: Mutex<Option<HeaderValue>>,
}

const SESSION: &str = "mcp-session-id";

/// Serves until standard input ends.
pub(super) async fn serve(server: Option<String>, hold: Hold) -> Result<Exit, Failure> {
    let (base, token) = credentials::agents_door()?;
    let path = server.map(|server| format!("/{server}")).unwrap_or_default();
    let mut http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if base.starts_with("http://") {
        // A proxy would read the token in clear.
        http = http.no_proxy();
    }
    let bridge = Arc::new(Bridge {
        http: http.build().map_err(|error| Failure::of(Exit::Bug, &error))?,
        url: format!("{}/mcp{path}{}", base.trim_end_matches('/'), hold.query()),
        token,
        session: Mutex::default(),
    });
    let (lines, mut read) = mpsc::channel(1);
    std::thread::spawn(move || read_lines(&lines));
    let mut calls = JoinSet::new();
    while let Some(line) = read.recv().await {
        let line = line.map_err(|error| Failure::of(Exit::Usage, &error))?;
        while calls.len() >= CALLS_MAX {
            calls.join_next().await;
        }
        let bridge = bridge.clone();
        calls.spawn(async move { bridge.pass(line).await });
    }
    // Nobody reads answers any more, but what is being said shall be said.
    while calls.join_next().await.is_some() {}
    Ok(Exit::Done)
}

/// Reads messages until standard input ends, or until one cannot be read.
fn read_lines(lines: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut stdin = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = stdin.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        let line = match read {
            Ok(0) => return,
            Ok(_) if line.len() as u64 > LINE_BYTES_MAX => {
                Err(io::Error::other("a message has more than 1 MiB"))
            }
            Ok(_) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Ok(_) => Ok(line),
            Err(error) => Err(error),
        };
        let last = line.is_err();
        if lines.blocking_send(line).is_err() || last {
            return;
        }
    }
}

impl Bridge {
    async fn pass(&self, line: Vec<u8>) {
        let message = Value::parse(&line).ok();
        let id = message.as_ref().and_then(|message| message.as_object()?.get("id").cloned());
        if let Err(why) = self.exchange(line, message.as_ref()).await
            && let Some(id) = id
        {
            let error = Value::object([("code", Value::integer(-32603)), ("message", Value::string(why))]);
            let refusal = Value::object([("jsonrpc", Value::string("2.0")), ("id", id), ("error", error)]);
            say(&refusal.canonical());
        }
    }

    async fn exchange(&self, line: Vec<u8>, message: Option<&Value>) -> Result<(), String> {
        let mut headers = headers(&self.token, message)?;
        if !headers.contains_key("mcp-protocol-version") {
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
            headers.extend(session.map(|session| (HeaderName::from_static(SESSION), session)));
        }
        let unreachable =
            |error: reqwest::Error| format!("placet cannot be reached: {}", error.without_url());
        let sent = self.http.post(&self.url).headers(headers).body(line).send().await;
        let mut response = sent.map_err(unreachable)?;
        if let Some(session) = response.headers().get(SESSION) {
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        }
        let media =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_owned();
        if media == "text/event-stream" {
            let mut events = Events::bounded(ANSWER_BYTES_MAX);
            while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                for data in events.push(&chunk).map_err(|error| error.to_string())? {
                    say(&data);
                }
            }
            return Ok(());
        }
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err("placet's answer is larger than 16 MiB".to_owned());
            }
        }
        match String::from_utf8(body) {
            Ok(text) if media == "application/json" => say(&text),
            _ if status.is_success() => {}
            _ => return Err(format!("placet answered with {status}")),
        }
        Ok(())
    }
}

fn say(message: &str) {
    // A message is one line, whatever is in it.
    let line = message.replace(['\n', '\r'], " ") + "\n";
    let mut stdout = io::stdout().lock();
    // Whoever closed it does not want to hear.
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}

/// The headers of a message: those of the newest revision have to repeat what the body says.
fn headers(token: &Secret, message: Option<&Value>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat())
        .map_err(|_| "the token has characters that no token has".to_owned())?;
    bearer.set_sensitive(true);
    headers.insert(AUTHORIZATION, bearer);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let members = message.and_then(Value::as_object);
    let params = members.and_then(|members| members.get("params")?.as_object());
    let meta = params.and_then(|params| params.get("_meta")?.as_object());
    let version = meta.and_then(|meta| meta.get("io.modelcontextprotocol/protocolVersion")?.as_str());
    let Some(version) = version else { return Ok(headers) };
    let method = members.and_then(|members| members.get("method")?.as_str());
    let name = method.and_then(named_by).and_then(|member| params?.get(member)?.as_str()).map(as_header);
    for (header, value) in
        [("mcp-protocol-version", Some(version)), ("mcp-method", method), ("mcp-name", name.as_deref())]
    {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value).map_err(|_| format!("{header} fits no header"))?;
            headers.insert(header, value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_revision_has_its_body_repeated_in_headers() {
        let of =
            |json: &str| headers(&Secret::new("t"), Value::parse(json.as_bytes()).ok().as_ref()).unwrap();
        let modern = of(
            r#"{"method":"tools/call","params":{"name":"read","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        );
        assert_eq!(modern["mcp-method"], "tools/call");
        assert_eq!(modern["mcp-name"], "read");
        assert_eq!(modern["mcp-protocol-version"], "2026-07-28");
        let legacy = of(r#"{"method":"tools/call","params":{"name":"read"}}"#);
        assert!(!legacy.contains_key("mcp-method"));
        assert!(!format!("{legacy:?}").contains("Bearer t"));
    }
}
