//! The servers behind placet: reached when they are needed, asked what they offer, called once for each execution.
//!
//! A server that ended is started again by the next call that needs it, not more often than its back-off allows. What
//! it sends by itself is not passed on: it may say that its list changed, and it may `ping`.

mod answers;
mod http;
mod leaks;
mod seats;
mod stdio;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placet_core::action::SecretVersion;
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::secret::Secret;
use placet_core::text::visible;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::catalogue::{Definition, HeaderSecret, Reach, Server, ServerName};
use super::listings::Lists;
use super::oauth::Credential;
use super::wire::{Era, LEGACY, META, META_CAPABILITIES, META_CLIENT_INFO, META_VERSION, MODERN};
use crate::runner::user::Identity;

use answers::Listener;
pub(super) use answers::{CallError, Heard, Refusal, Reported, ServerError, Unreached};
pub(super) use leaks::shows_any;
pub(super) use seats::Upstreams;

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
/// How many characters of a server's refusal are passed on.
const WORDS_MAX: usize = 2000;
const WITHHELD: &str = "its words are withheld: they contain a secret that placet holds";
/// How many bytes the data of a server's refusal may have to be passed on.
const DATA_BYTES_MAX: usize = 64 * 1024;
/// How many reports of progress may wait for whoever hears them.
pub(super) const REPORTS_MAX: usize = 16;

/// The secrets of a server, by the name under which they were stored.
pub type ServerSecrets = BTreeMap<String, (SecretVersion, Secret)>;

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

/// What a server offered when it last said so, and what came of asking it since.
#[derive(Default)]
struct Listed {
    /// With how often it had said that something changed.
    listing: Option<(Instant, u64, Arc<Listing>)>,
    failed: Option<(Instant, String)>,
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
    /// The last token under which a server reported progress.
    reports: AtomicU64,
    listed: tokio::sync::Mutex<Listed>,
    /// What it lists beside its tools.
    pub(super) lists: Lists,
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
            reports: AtomicU64::default(),
            listed: tokio::sync::Mutex::default(),
            lists: Lists::default(),
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
            Err(CallError::Refused(no)) => {
                self.begin(second).await.map_err(|error| format!("{}; {}", no.words, error.reason()))?
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
        let none = |_| CallError::Refused(format!("its answer to {method} is none").into());
        let opening: Opening = serde_json::from_str(answered.get()).map_err(none)?;
        match era {
            Era::Modern if !opening.supported_versions.iter().any(|version| version == MODERN) => {
                return Err(CallError::Refused(format!("it does not speak {MODERN}").into()));
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
    fn params(&self, members: BTreeMap<String, Value>) -> String {
        self.params_with(members, [])
    }

    /// And with more that is not what was asked.
    fn params_with<const N: usize>(
        &self,
        mut members: BTreeMap<String, Value>,
        more: [(&'static str, Value); N],
    ) -> String {
        let of_era = self.modern.then(|| {
            [
                (META_VERSION, Value::string(MODERN)),
                (META_CLIENT_INFO, client_info()),
                (META_CAPABILITIES, Value::object::<String>([])),
            ]
        });
        let meta: Vec<_> = of_era.into_iter().flatten().chain(more).collect();
        if !meta.is_empty() {
            members.insert(META.to_owned(), Value::object(meta));
        }
        Value::Object(members).canonical()
    }

    async fn exchange(&self, method: &str, params: &str, wait: Duration) -> Result<Box<RawValue>, CallError> {
        self.exchange_with(method, params, HeaderMap::new(), wait, None).await
    }

    async fn exchange_with(
        &self,
        method: &str,
        params: &str,
        headers: HeaderMap,
        wait: Duration,
        listener: Option<Listener>,
    ) -> Result<Box<RawValue>, CallError> {
        let answered = match &self.wire {
            Wire::Process(process) => process.exchange(method, params, wait, listener).await,
            Wire::Http(http) => http.exchange(self.modern, method, params, headers, wait, listener).await,
        };
        // Words that others wrote can stand in all of them.
        answered.map_err(|error| match error {
            CallError::Refused(refusal) => CallError::Refused(self.fit_to_tell(refusal)),
            CallError::NotSent(why) => CallError::NotSent(self.words_to_tell(&why)),
            CallError::Lost(why) => CallError::Lost(self.words_to_tell(&why)),
        })
    }

    fn words_to_tell(&self, words: &str) -> String {
        if self.leaks(words) {
            return WITHHELD.to_owned();
        }
        shown(words)
    }

    /// A refusal may tell a secret as well as a result may, and is no longer than people read.
    fn fit_to_tell(&self, Refusal { words, error }: Refusal) -> Refusal {
        let data = error.as_ref().and_then(|error| error.data.as_ref()).map(Value::canonical);
        if self.leaks(&words) || data.as_ref().is_some_and(|data| self.leaks(data)) {
            return WITHHELD.to_owned().into();
        }
        let fits = data.is_none_or(|data| data.len() <= DATA_BYTES_MAX);
        let error = error.map(|error| ServerError {
            message: shown(&error.message),
            data: error.data.filter(|_| fits),
            ..error
        });
        Refusal { words: shown(&words), error }
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
        let asked = Instant::now();
        let mut listed = self.listed.lock().await;
        let changes = self.lists_changed();
        if let (Freshness::Kept, Some((at, known, listing))) = (freshness, listed.listing.as_ref())
            && *known == changes
            && at.elapsed() < LISTING_AGE_MAX
        {
            return Ok(listing.clone());
        }
        if let Some((_, why)) = listed.failed.as_ref().filter(|(at, _)| *at >= asked) {
            // It failed while somebody waited for it, who is not to wait for the same again.
            return Err(why.clone());
        }
        let found = tokio::time::timeout(SETUP_MAX, self.list()).await;
        let found = found.unwrap_or_else(|_| Err("it did not list its tools in time".to_owned()));
        match found {
            Ok(listing) => {
                let listing = Arc::new(listing);
                listed.listing = Some((Instant::now(), changes, listing.clone()));
                Ok(listing)
            }
            Err(why) => {
                if let Wire::Http(http) = &self.wire {
                    // It may have forgotten us, in words of its own: the next call begins anew.
                    http.give_up();
                }
                listed.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// How often it has said that something that it lists has changed. One at an address says nothing by itself.
    pub(super) fn lists_changed(&self) -> u64 {
        match &self.wire {
            Wire::Process(process) => process.lists_changed(),
            Wire::Http(_) => 0,
        }
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

    /// Asks for something, once. `params` are what was reviewed; `tool` is the definition that was accepted, where a tool
    /// is called: a call of the newest revision repeats in headers those arguments that it marks. `heard` hears how far it
    /// is meanwhile.
    pub(super) async fn ask(
        &self,
        method: &str,
        params: Value,
        tool: Option<&Definition>,
        wait: Duration,
        heard: Option<Heard>,
    ) -> Result<Box<RawValue>, CallError> {
        let Value::Object(members) = params else {
            return Err(CallError::NotSent("its parameters are no object".to_owned()));
        };
        let tool = tool.filter(|_| self.modern && matches!(self.wire, Wire::Http(_)));
        let headers = tool.map(|tool| http::mirrored(tool, members.get("arguments"))).unwrap_or_default();
        let Some(heard) = heard else {
            return self.exchange_with(method, &self.params(members), headers, wait, None).await;
        };
        let token = self.reports.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, mut told) = mpsc::channel(REPORTS_MAX);
        let params = self.params_with(
            members,
            [("progressToken", Value::integer(i64::try_from(token).unwrap_or(i64::MAX)))],
        );
        let listener = Listener { token, heard: tell };
        let exchange = self.exchange_with(method, &params, headers, wait, Some(listener));
        tokio::pin!(exchange);
        loop {
            // In no order: a server that reports without end must not keep its time from running out.
            tokio::select! {
                Some(reported) = told.recv() => self.pass_on(reported, &heard),
                answered = &mut exchange => {
                    // What was said before the answer is heard before it.
                    while let Ok(reported) = told.try_recv() {
                        self.pass_on(reported, &heard);
                    }
                    return answered;
                }
            }
        }
    }

    /// Passes a report on, unless there is a secret in it.
    fn pass_on(&self, mut reported: Reported, heard: &Heard) {
        let message = reported.message.take();
        if message.as_ref().is_some_and(|message| self.leaks(message)) {
            return;
        }
        reported.message = message.map(|message| message.chars().take(WORDS_MAX).collect());
        let _ = heard.try_send(reported);
    }

    /// Whether a text contains a secret of this server: as it is written, or in what its JSON means, for everybody escapes
    /// in a way of their own. What cannot be looked through is taken for one.
    pub(super) fn leaks(&self, text: &str) -> bool {
        shows_any(&self.secrets(), text)
    }

    /// What it was given, and what it is given with each call.
    fn secrets(&self) -> Vec<Secret> {
        let of_credential = self.credential.as_ref().map(|credential| credential.secrets());
        let all = self.secrets.iter().cloned().chain(of_credential.into_iter().flatten());
        all.filter(|secret| !secret.expose().is_empty()).collect()
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

/// What others wrote, no longer than people read.
fn shown(words: &str) -> String {
    visible(&words.chars().take(WORDS_MAX).collect::<String>())
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
