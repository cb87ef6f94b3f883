//! The servers behind placet: reached when they are needed, asked what they offer, called once for each execution.
//!
//! A server that ended is started again by the next call that needs it, not more often than its back-off allows. What
//! it sends by itself is not passed on: it may say that its list changed, and it may `ping`.

mod http;
mod stdio;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::action::SecretVersion;
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::secret::Secret;
use placet_core::text::visible;
use placet_core::time::Clock;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::ToolSource;
use super::catalogue::{Definition, HeaderSecret, Reach, Server, ServerName};
use super::oauth::Credential;
use super::wire::{Era, LEGACY, META, META_CAPABILITIES, META_CLIENT_INFO, META_VERSION, MODERN};
use crate::runner::scan::{Scanner, Seen};
use crate::runner::user::Identity;

/// How long opening a connection and listing tools may take.
pub(super) const SETUP_MAX: Duration = Duration::from_secs(30);
/// A list of tools is read anew after this long, also without a word of the server.
const LISTING_AGE_MAX: Duration = Duration::from_secs(60);
/// How many pages a list of tools may have.
const PAGES_MAX: usize = 32;
/// How many tools a server may offer.
const TOOLS_MAX: usize = 512;
/// How many bytes one message of a server may have.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Between two attempts at starting a server that does not start: doubled each time, up to this.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
/// How many characters of a server's refusal are passed on.
const WORDS_MAX: usize = 2000;
/// How deep JSON that stands in JSON is looked through for secrets.
const NESTED_MAX: usize = 3;

/// The secrets of a server, by the name under which they were stored.
pub type ServerSecrets = BTreeMap<String, (SecretVersion, Secret)>;

/// Why a server did not answer with a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// Nothing was sent: it did not happen.
    NotSent(String),
    /// The server refused the call.
    Refused(String),
    /// It was sent, and nobody knows what came of it.
    Lost(String),
}

/// Why there is no connection to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreached {
    /// For everybody.
    pub(super) why: String,
    /// What the server wrote to standard error meanwhile, for operators.
    words: Option<String>,
}

impl Unreached {
    /// With the server's own words.
    pub(super) fn for_operators(&self) -> String {
        let words = self.words.as_ref().map(|words| format!("; its last words: {words}"));
        format!("{}{}", self.why, words.unwrap_or_default())
    }
}

impl From<String> for Unreached {
    fn from(why: String) -> Self {
        Unreached { why, words: None }
    }
}

/// What a server offers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) instructions: Option<String>,
    pub(super) tools: BTreeMap<String, Definition>,
    /// What it offered and placet does not take: what it is called, and why.
    pub(super) unusable: Vec<(String, String)>,
}

impl Listing {
    /// The pin of a tool as it is offered now.
    pub(super) fn pin(&self, server: &ServerName, tool: &str) -> Option<Sha256Digest> {
        Some(self.tools.get(tool)?.pin(server, self.instructions.as_deref()))
    }
}

/// A connection to a server, of either era.
pub(super) struct Session {
    wire: Wire,
    /// Whether it speaks the revision without sessions.
    modern: bool,
    instructions: Option<String>,
    secrets: Vec<Secret>,
    /// Where its token comes from, if it has one.
    credential: Option<Arc<Credential>>,
    listing: tokio::sync::Mutex<Option<(Instant, Arc<Listing>)>>,
}

enum Wire {
    Process(stdio::Process),
    Http(http::Http),
}

/// The part of an answer to `initialize` or `server/discover` that placet reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opening {
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    supported_versions: Vec<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(rename = "nextCursor", default)]
    next_cursor: Option<String>,
}

impl Session {
    async fn open(
        server: &Server,
        mut secrets: ServerSecrets,
        credential: Option<Arc<Credential>>,
    ) -> Result<Self, Unreached> {
        let wire = match &server.reach {
            Reach::Process { command, environment, secrets: variables, run_as } => {
                let identity = Identity::resolve(run_as).map_err(|error| error.to_string())?;
                let mut environment = environment.clone();
                for (variable, name) in variables {
                    let (_, value) = secrets.get(name).ok_or_else(|| missing(name))?;
                    let text = String::from_utf8(value.expose().to_vec());
                    environment.insert(
                        variable.clone(),
                        text.map_err(|_| format!("the secret {name} is not text"))?,
                    );
                }
                Wire::Process(stdio::Process::start(&server.name, command, environment, &identity)?)
            }
            Reach::Http { url, headers, .. } => {
                let mut carried = Vec::new();
                for (header, HeaderSecret { secret, prefix }) in headers {
                    let (_, value) = secrets.get(secret).ok_or_else(|| missing(secret))?;
                    carried.push((header.clone(), [prefix.as_bytes(), value.expose()].concat()));
                }
                Wire::Http(http::Http::new(url, carried, credential.clone())?)
            }
        };
        // The credential knows which secrets a login consists of.
        secrets.remove(&server.login());
        let secrets = secrets.into_values().map(|(_, secret)| secret).collect();
        let mut session = Session {
            wire,
            modern: false,
            instructions: None,
            secrets,
            credential,
            listing: tokio::sync::Mutex::default(),
        };
        match session.negotiate().await {
            Ok(()) => Ok(session),
            Err(why) => Err(Unreached { why, words: session.last_words() }),
        }
    }

    /// Opens. A server at an address is asked first whether it speaks the newest revision, as its clients do; a process is
    /// asked last, as some end when they are asked anything before `initialize`.
    async fn negotiate(&mut self) -> Result<(), String> {
        let (first, second) = match self.wire {
            Wire::Http(_) => (Era::Modern, Era::Legacy),
            Wire::Process(_) => (Era::Legacy, Era::Modern),
        };
        let opening = match self.begin(first).await {
            Err(CallError::Refused(why)) => {
                self.begin(second).await.map_err(|error| format!("{why}; {}", error.reason()))?
            }
            begun => begun.map_err(|error| error.reason())?,
        };
        self.instructions = opening.instructions.filter(|text| !text.is_empty());
        Ok(())
    }

    /// Opens in one way or the other.
    async fn begin(&mut self, era: Era) -> Result<Opening, CallError> {
        self.modern = era == Era::Modern;
        let (method, params) = match era {
            Era::Modern => ("server/discover", self.params(BTreeMap::new())),
            Era::Legacy => ("initialize", initialize().canonical()),
        };
        let answered = self.exchange(method, &params, SETUP_MAX).await?;
        let none = |_| CallError::Refused(format!("its answer to {method} is none"));
        let opening: Opening = serde_json::from_str(answered.get()).map_err(none)?;
        match era {
            Era::Modern if !opening.supported_versions.iter().any(|version| version == MODERN) => {
                return Err(CallError::Refused(format!("it does not speak {MODERN}")));
            }
            Era::Modern => {}
            Era::Legacy => {
                if let Wire::Http(http) = &mut self.wire {
                    http.speaks(opening.protocol_version.as_deref());
                }
                self.notify("notifications/initialized").await?;
            }
        }
        Ok(opening)
    }

    /// Parameters with what this server's era wants beside them.
    fn params(&self, mut members: BTreeMap<String, Value>) -> String {
        if self.modern {
            let meta = Value::object([
                (META_VERSION, Value::string(MODERN)),
                (META_CLIENT_INFO, client_info()),
                (META_CAPABILITIES, Value::object::<String>([])),
            ]);
            members.insert(META.to_owned(), meta);
        }
        Value::Object(members).canonical()
    }

    async fn exchange(&self, method: &str, params: &str, wait: Duration) -> Result<Box<RawValue>, CallError> {
        self.exchange_with(method, params, HeaderMap::new(), wait).await
    }

    async fn exchange_with(
        &self,
        method: &str,
        params: &str,
        headers: HeaderMap,
        wait: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let answered = match &self.wire {
            Wire::Process(process) => process.exchange(method, params, wait).await,
            Wire::Http(http) => http.exchange(self.modern, method, params, headers, wait).await,
        };
        // A refusal may tell a secret as well as a result may.
        answered.map_err(|error| match error {
            CallError::Refused(words) if self.leaks(&words) => CallError::Refused(
                "its words are withheld: they contain a secret that placet holds".to_owned(),
            ),
            CallError::Refused(words) => {
                CallError::Refused(visible(&words.chars().take(WORDS_MAX).collect::<String>()))
            }
            other => other,
        })
    }

    /// What a process wrote last to standard error, unless a secret is in it.
    fn last_words(&self) -> Option<String> {
        let Wire::Process(process) = &self.wire else { return None };
        let words = process.last_words()?;
        if self.leaks(&words) {
            return Some("withheld, they contain a secret that placet holds".to_owned());
        }
        Some(words)
    }

    async fn notify(&self, method: &str) -> Result<(), CallError> {
        match &self.wire {
            Wire::Process(process) => process.notify(method).await,
            Wire::Http(http) => http.notify(self.modern, method).await,
        }
    }

    fn is_alive(&self) -> bool {
        match &self.wire {
            Wire::Process(process) => process.is_alive(),
            Wire::Http(http) => http.is_alive(),
        }
    }

    /// What it offers; read anew if it is old, if the server said that it changed, or if `Fresh` is asked for.
    pub(super) async fn listing(&self, freshness: Freshness) -> Result<Arc<Listing>, String> {
        let mut kept = self.listing.lock().await;
        let changed = match &self.wire {
            Wire::Process(process) => process.take_list_changed(),
            Wire::Http(_) => false,
        };
        if let (Freshness::Kept, false, Some((at, listing))) = (freshness, changed, kept.as_ref())
            && at.elapsed() < LISTING_AGE_MAX
        {
            return Ok(listing.clone());
        }
        let listed = self.list().await.inspect_err(|_| {
            // It may have forgotten us, in words of its own: the next call begins anew.
            if let Wire::Http(http) = &self.wire {
                http.give_up();
            }
        });
        let listing = Arc::new(listed?);
        *kept = Some((Instant::now(), listing.clone()));
        Ok(listing)
    }

    async fn list(&self) -> Result<Listing, String> {
        let mut listing =
            Listing { instructions: self.instructions.clone(), tools: BTreeMap::new(), unusable: Vec::new() };
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let cursor_of = |cursor| ("cursor".to_owned(), Value::String(cursor));
            let members = cursor.take().map(cursor_of).into_iter().collect();
            let page = self.exchange("tools/list", &self.params(members), SETUP_MAX).await;
            let page = page.map_err(|error| error.reason())?;
            let page: Page<'_> =
                serde_json::from_str(page.get()).map_err(|_| "its list of tools is not one".to_owned())?;
            for tool in page.tools {
                take(&mut listing, tool);
            }
            if listing.tools.len() + listing.unusable.len() > TOOLS_MAX {
                return Err(format!("it offers more than {TOOLS_MAX} tools"));
            }
            match page.next_cursor.filter(|cursor| !cursor.is_empty()) {
                Some(next) => cursor = Some(next),
                None => return Ok(listing),
            }
        }
        Err(format!("its list of tools has more than {PAGES_MAX} pages"))
    }

    /// Asks for something, once. `params` are what was reviewed.
    pub(super) async fn ask(
        &self,
        method: &str,
        params: Value,
        wait: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let Value::Object(members) = params else {
            return Err(CallError::NotSent("its parameters are no object".to_owned()));
        };
        let began = Instant::now();
        let busy = |_| CallError::NotSent("what it offers is being read".to_owned());
        let headers = tokio::time::timeout(wait, self.mirrored(method, &members)).await.map_err(busy)?;
        let left = wait.saturating_sub(began.elapsed());
        self.exchange_with(method, &self.params(members), headers, left).await
    }

    /// The headers by which a call of the newest revision repeats those arguments that its tool's definition marks.
    async fn mirrored(&self, method: &str, members: &BTreeMap<String, Value>) -> HeaderMap {
        let repeats = self.modern && method == "tools/call" && matches!(self.wire, Wire::Http(_));
        let Some(name) = members.get("name").and_then(Value::as_str).filter(|_| repeats) else {
            return HeaderMap::new();
        };
        let kept = self.listing.lock().await;
        let tool = kept.as_ref().and_then(|(_, listing)| listing.tools.get(name));
        tool.map(|tool| http::mirrored(tool, members.get("arguments"))).unwrap_or_default()
    }

    /// Whether a text contains a secret of this server: as it is written, or in what its JSON means, for everybody escapes
    /// in a way of their own. What cannot be looked through is taken for one.
    pub(super) fn leaks(&self, text: &str) -> bool {
        let secrets = self.secrets();
        if secrets.is_empty() {
            return false;
        }
        let mut meant = String::new();
        let is_json = text.trim_start().starts_with(['{', '[', '"']);
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => meaning(&value, NESTED_MAX, &mut meant),
            Err(_) if is_json => return true,
            Err(_) => {}
        }
        shows(&secrets, text) || shows(&secrets, &meant)
    }

    /// What it was given, and what it is given with each call.
    fn secrets(&self) -> Vec<Secret> {
        let of_credential = self.credential.as_ref().map(|credential| credential.secrets());
        let all = self.secrets.iter().cloned().chain(of_credential.into_iter().flatten());
        all.filter(|secret| !secret.expose().is_empty()).collect()
    }
}

fn shows(secrets: &[Secret], text: &str) -> bool {
    let Ok(mut scanner) = Scanner::new(secrets) else { return true };
    let mut clean = Vec::new();
    // JSON escapes what a secret may consist of, so it is looked for as written and as meant.
    scanner.push(text.as_bytes(), &mut clean) == Seen::Secret
        || secrets.iter().any(|secret| {
            let meant = String::from_utf8_lossy(secret.expose());
            let escaped = Value::string(meant.into_owned()).canonical();
            let inner = escaped.trim_matches('"');
            !inner.is_empty() && text.contains(inner)
        })
}

/// Every text in a value, and in the JSON that stands in one.
fn meaning(value: &serde_json::Value, nested: usize, into: &mut String) {
    use serde_json::Value::{Array, Object, String as Text};
    match value {
        Text(text) => {
            into.push_str(text);
            into.push('\n');
            let inner = text.trim_start().starts_with(['{', '[', '"']) && nested > 0;
            if let Some(value) = inner.then(|| serde_json::from_str(text).ok()).flatten() {
                meaning(&value, nested - 1, into);
            }
        }
        Array(items) => items.iter().for_each(|item| meaning(item, nested, into)),
        Object(members) => members.iter().for_each(|(name, value)| {
            into.push_str(name);
            into.push('\n');
            meaning(value, nested, into);
        }),
        _ => {}
    }
}

/// How new a listing has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// The one at hand will do, if it is not old.
    Kept,
    /// Ask again: something was approved on the strength of it.
    Fresh,
}

impl CallError {
    pub(super) fn reason(&self) -> String {
        match self {
            CallError::NotSent(reason) | CallError::Refused(reason) | CallError::Lost(reason) => {
                reason.clone()
            }
        }
    }
}

fn take(listing: &mut Listing, tool: &RawValue) {
    match Definition::read(tool.get().as_bytes()) {
        Ok(definition) if !listing.tools.contains_key(definition.name()) => {
            listing.tools.insert(definition.name().to_owned(), definition);
        }
        // Two tools of one name: nobody can say which one was accepted.
        Ok(definition) => {
            let name = definition.name().to_owned();
            listing.tools.remove(&name);
            listing.unusable.push((name, "it is offered twice".to_owned()));
        }
        Err(why) => listing.unusable.push((name_in(tool), why)),
    }
}

/// What an unusable definition calls itself, as far as that can be read.
fn name_in(tool: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let named: Result<Named, _> = serde_json::from_str(tool.get());
    named.map_or_else(|_| "?".to_owned(), |named| named.name.chars().take(64).collect())
}

pub(super) fn missing(secret: &str) -> String {
    format!("the vault has no secret {secret}: store it with `placet secret set {secret}`")
}

fn initialize() -> Value {
    Value::object([
        ("protocolVersion", Value::string(LEGACY.first().copied().unwrap_or_default())),
        ("capabilities", Value::object::<String>([])),
        ("clientInfo", client_info()),
    ])
}

fn client_info() -> Value {
    Value::object([("name", Value::string("placet")), ("version", Value::string(env!("CARGO_PKG_VERSION")))])
}

/// All connections of this process. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Upstreams(Arc<Mutex<HashMap<ServerName, Arc<Seat>>>>);

/// One server's connection, or the memory of why there is none.
#[derive(Default)]
struct Seat {
    held: tokio::sync::Mutex<Held>,
    draining: AtomicBool,
}

#[derive(Default)]
struct Held {
    session: Option<(Fingerprint, Arc<Session>)>,
    /// Outlives its sessions: a token is renewed once at a time.
    credential: Option<(Fingerprint, Arc<Credential>)>,
    /// With what it failed last, how often, until when it is left alone, and why.
    failed: Option<(Fingerprint, u32, Instant, Unreached)>,
}

impl Held {
    /// Opens a connection, with secrets in exactly the versions that the fingerprint names.
    async fn open(
        &mut self,
        server: &Server,
        fingerprint: &Fingerprint,
        source: &Arc<dyn ToolSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Session, Unreached> {
        if let Some((_, replaced)) = self.credential.take_if(|(with, _)| with != fingerprint) {
            // Before the vault is read: what it renews at this moment is what has to be read.
            replaced.retire().await;
        }
        let secrets = source.server_secrets(fingerprint.1.clone()).await.map_err(|error| error.message)?;
        let credential = match (&self.credential, &server.reach) {
            (Some((_, known)), _) => Some(known.clone()),
            (None, Reach::Http { url, oauth: Some(oauth), .. }) => {
                let (source, clock) = (source.clone(), clock.clone());
                let opened = Arc::new(Credential::open(server, url, oauth, &secrets, source, clock).await?);
                self.credential = Some((fingerprint.clone(), opened.clone()));
                Some(opened)
            }
            _ => None,
        };
        Session::open(server, secrets, credential).await
    }
}

/// What a connection was opened with: if this changes, it is another one.
type Fingerprint = (Reach, Vec<SecretVersion>);

impl Upstreams {
    /// The connection to a server with its secrets in these versions, opened if there is none. The secrets themselves are
    /// read only then.
    pub(super) async fn session(
        &self,
        server: &Server,
        versions: Vec<SecretVersion>,
        source: &Arc<dyn ToolSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Session>, Unreached> {
        let seat = self.seat(&server.name);
        let mut held = seat.held.lock().await;
        if seat.draining.load(Ordering::Relaxed) {
            return Err("placet is shutting down".to_owned().into());
        }
        let fingerprint = (server.reach.clone(), versions.clone());
        if let Some((opened_with, session)) = &held.session {
            if *opened_with == fingerprint && session.is_alive() {
                return Ok(session.clone());
            }
            held.session = None;
        }
        let mut failures = 0;
        if let Some((_, times, until, last)) = held.failed.as_ref().filter(|failed| failed.0 == fingerprint) {
            if Instant::now() < *until {
                let left = until.duration_since(Instant::now()).as_secs() + 1;
                let why = format!("{} (tried again in {left} s)", last.why);
                return Err(Unreached { why, ..last.clone() });
            }
            failures = *times;
        }
        let opened = held.open(server, &fingerprint, source, clock);
        let opened = tokio::time::timeout(SETUP_MAX, opened).await;
        match opened.unwrap_or_else(|_| Err("it did not answer in time".to_owned().into())) {
            Ok(session) => {
                let session = Arc::new(session);
                held.session = Some((fingerprint, session.clone()));
                held.failed = None;
                Ok(session)
            }
            Err(unreached) => {
                // Why may be told in the server's own words, which are not for the log.
                tracing::warn!(server = %server.name, "an MCP server could not be reached: `placet mcp ls` says why");
                let wait =
                    BACK_OFF_MIN.saturating_mul(2u32.saturating_pow(failures.min(16))).min(BACK_OFF_MAX);
                let until = Instant::now() + wait;
                held.failed = Some((fingerprint, failures.saturating_add(1), until, unreached.clone()));
                Err(unreached)
            }
        }
    }

    /// The scopes that a server said its token lacks.
    pub(super) async fn lacking(&self, server: &ServerName) -> Vec<String> {
        let seat = self.seat(server);
        let held = seat.held.lock().await;
        held.credential.as_ref().map(|(_, credential)| credential.lacking()).unwrap_or_default()
    }

    /// Forgets servers that the bundle does not name any more; their processes end.
    pub(super) fn keep_only(&self, named: impl Fn(&ServerName) -> bool) {
        self.seats().retain(|name, _| named(name));
    }

    /// Ends every connection; none is opened any more.
    pub(super) async fn drain(&self) {
        let seats: Vec<Arc<Seat>> = self.seats().values().cloned().collect();
        for seat in seats {
            seat.draining.store(true, Ordering::Relaxed);
            seat.held.lock().await.session = None;
        }
    }

    fn seat(&self, name: &ServerName) -> Arc<Seat> {
        self.seats().entry(name.clone()).or_default().clone()
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<ServerName, Arc<Seat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_means_is_found_however_it_is_escaped() {
        for text in [
            r#"{"a":"p\/q&\u00e9"}"#,
            r#"["p/q\u0026é"]"#,
            r#"{"p/q&é":1}"#,
            r#"{"content":[{"text":"{\"key\":\"p\\/q\\u0026\\u00e9\"}"}]}"#,
        ] {
            let mut meant = String::new();
            meaning(&serde_json::from_str(text).unwrap(), NESTED_MAX, &mut meant);
            assert!(meant.contains("p/q&é"), "{text}: {meant}");
        }
    }
}
