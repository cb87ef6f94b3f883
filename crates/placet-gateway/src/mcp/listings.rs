//! Lists of what a server offers beside its tools: resources, their templates, and prompts.
//!
//! They are passed on as the server wrote them, for servers whose file says so (`pass`); nobody has read them before. What
//! they name is asked for by calls that are gated, and what policy rules out for the caller by its name is left out. A
//! server is asked once for all agents, and again when it says that something changed, or after a while. Where the lists of all servers are one, names say whose they are:
//! `files__review` for a prompt, `files+file:///srv/data` for a resource.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use placet_core::c14n::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Mcp;
use super::catalogue::{JOINT, Pass, Server, ServerName};
use super::front::Scope;
use super::gated::What;
use super::methods::in_scope;
use super::patience::Client;
use super::upstream::{CallError, SETUP_MAX, Session};
use super::wire::RpcError;

/// How many pages a server's list may have.
const PAGES_MAX: usize = 32;
/// How many things a server's list may name.
const ITEMS_MAX: usize = 4096;
/// How many bytes a server's list may have, and about how many a list of all servers has before it goes on elsewhere.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// A list is read anew after this long, also without a word of the server; and one that could not be read is tried again.
const AGE_MAX: Duration = Duration::from_secs(15);

/// What a server lists beside its tools, as it was last read. All agents see the same reading.
#[derive(Default)]
pub(super) struct Lists {
    resources: Kept,
    templates: Kept,
    prompts: Kept,
}

type Kept = tokio::sync::Mutex<Option<Reading>>;

struct Reading {
    at: Instant,
    /// How often the server had said that something changed.
    changes: u64,
    items: Arc<Vec<Item>>,
}

/// Something that a server lists.
pub(super) struct Item {
    /// By which name its server knows it.
    pub(super) name: String,
    /// As the server wrote it.
    pub(super) written: Box<RawValue>,
}

/// A kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    Resources,
    Templates,
    Prompts,
}

impl Listed {
    /// The one that a method asks for.
    pub(super) fn by(method: &str) -> Option<Self> {
        match method {
            "resources/list" => Some(Listed::Resources),
            "resources/templates/list" => Some(Listed::Templates),
            "prompts/list" => Some(Listed::Prompts),
            _ => None,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Listed::Resources => "resources/list",
            Listed::Templates => "resources/templates/list",
            Listed::Prompts => "prompts/list",
        }
    }

    fn member(self) -> &'static str {
        match self {
            Listed::Resources => "resources",
            Listed::Templates => "resourceTemplates",
            Listed::Prompts => "prompts",
        }
    }

    fn pass(self) -> Pass {
        match self {
            Listed::Resources | Listed::Templates => Pass::Resources,
            Listed::Prompts => Pass::Prompts,
        }
    }

    /// The member that names an item.
    fn name(self) -> &'static str {
        match self {
            Listed::Resources => "uri",
            Listed::Templates => "uriTemplate",
            Listed::Prompts => "name",
        }
    }

    /// An item, if it can be read and names itself.
    pub(super) fn item(self, written: Box<RawValue>) -> Option<Item> {
        let value = Value::parse(written.get().as_bytes()).ok()?;
        let name = value.as_object()?.get(self.name())?.as_str()?.to_owned();
        Some(Item { name, written })
    }

    /// What would be called to get an item. A template is judged as the address that it is written as: what it stands for
    /// is not known before it is filled in, and then it is judged again.
    fn call(self, name: &str) -> What {
        let (method, member) = match self {
            Listed::Resources | Listed::Templates => ("resources/read", "uri"),
            Listed::Prompts => ("prompts/get", "name"),
        };
        What::Method { method: method.to_owned(), params: Value::object([(member, Value::string(name))]) }
    }

    /// An item under a name that says whose it is.
    pub(super) fn of_server(self, server: &ServerName, item: &Item) -> Option<String> {
        let Value::Object(mut members) = Value::parse(item.written.get().as_bytes()).ok()? else {
            return None;
        };
        let named = match self {
            Listed::Resources | Listed::Templates => uri_of(server, &item.name),
            Listed::Prompts => format!("{server}{JOINT}{}", item.name),
        };
        members.insert(self.name().to_owned(), Value::String(named));
        Some(Value::Object(members).canonical())
    }
}

impl Lists {
    fn of(&self, listed: Listed) -> &Kept {
        match listed {
            Listed::Resources => &self.resources,
            Listed::Templates => &self.templates,
            Listed::Prompts => &self.prompts,
        }
    }
}

/// A resource's address where those of all servers are offered: a scheme has no `_`, a server's name no `.`.
fn uri_of(server: &ServerName, uri: &str) -> String {
    format!("{}+{uri}", server.as_str().replace('_', "."))
}

/// Whose resource an address names, and by which address its server knows it.
pub(super) fn uri_in(scope: &Scope, uri: &str) -> Option<(ServerName, String)> {
    match scope {
        Scope::One(server) => Some((server.clone(), uri.to_owned())),
        Scope::All => {
            let (server, uri) = uri.split_once('+')?;
            Some((ServerName::parse(&server.replace('.', "_"))?, uri.to_owned()))
        }
    }
}

/// Whose prompt or tool a name names, and by which name its server knows it.
pub(super) fn name_in(scope: &Scope, name: &str) -> Option<(ServerName, String)> {
    match scope {
        Scope::One(server) => Some((server.clone(), name.to_owned())),
        Scope::All => {
            let (server, name) = name.split_once(JOINT)?;
            Some((ServerName::parse(server)?, name.to_owned()))
        }
    }
}

impl Mcp {
    /// A list of all servers in this scope, without what policy rules out for this caller. One server's is whole; that of
    /// all goes on, where it grows long, after as many servers as the cursor says.
    pub(super) async fn list(
        &self,
        client: &Client,
        scope: &Scope,
        listed: Listed,
        cursor: Option<&str>,
    ) -> Result<String, RpcError> {
        let catalogue = self.catalogue().await?;
        let servers = in_scope(&catalogue, scope)?;
        let passing: Vec<&Server> =
            servers.into_iter().filter(|server| server.passes.contains(&listed.pass())).collect();
        if passing.is_empty() {
            return Err(RpcError::no_such_method(listed.method()));
        }
        let count = passing.len();
        let asked: Vec<&Server> = match cursor {
            None => passing,
            Some(cursor) => passing.into_iter().skip(cursor.parse().unwrap_or(usize::MAX)).collect(),
        };
        if asked.is_empty() {
            return Err(RpcError::bad_params("the cursor leads nowhere: begin the list anew"));
        }
        // All at once: those that do not answer cost the time of one.
        let readings = asked.iter().map(|server| {
            self.read_of(&catalogue, &server.name, move |session| async move {
                Some(read(&session, listed).await)
            })
        });
        let readings = join_all(readings).await;
        let (skipped, mut named, mut bytes, mut next) = (count - asked.len(), Vec::new(), 0, None);
        // A server that cannot be reached offers nothing that could be asked for.
        let readings = asked.into_iter().zip(readings.into_iter().map(Option::unwrap_or_default));
        for (place, (server, items)) in readings.enumerate() {
            let written = items.iter().filter_map(|item| {
                let written = match scope {
                    Scope::One(_) => item.written.get().to_owned(),
                    Scope::All => listed.of_server(&server.name, item)?,
                };
                Some((written, listed.call(&item.name).arguments(&server.name)))
            });
            let written: Vec<(String, Value)> = written.collect();
            bytes += written.iter().map(|(written, _)| written.len()).sum::<usize>();
            if bytes > BYTES_MAX && !named.is_empty() {
                next = Some(skipped + place);
                break;
            }
            named.extend(written);
        }
        let items = self.callable(client.principal, named).await?;
        let next = next.map(|after| format!(",\"nextCursor\":\"{after}\"")).unwrap_or_default();
        let fresh = if client.is_modern() { ",\"ttlMs\":0,\"cacheScope\":\"private\"" } else { "" };
        Ok(format!("{{\"{}\":[{}]{next}{fresh}}}", listed.member(), items.join(",")))
    }
}

/// What a server lists. One that lists nothing that can be read lists nothing.
async fn read(session: &Session, listed: Listed) -> Arc<Vec<Item>> {
    let mut kept = session.lists.of(listed).lock().await;
    let changes = session.lists_changed();
    let good = |reading: &&Reading| reading.changes == changes && reading.at.elapsed() < AGE_MAX;
    if let Some(reading) = kept.as_ref().filter(good) {
        return reading.items.clone();
    }
    let items = tokio::time::timeout(SETUP_MAX, items_of(session, listed)).await;
    let items = Arc::new(items.ok().and_then(Result::ok).unwrap_or_default());
    *kept = Some(Reading { at: Instant::now(), changes, items: items.clone() });
    items
}

async fn items_of(session: &Session, listed: Listed) -> Result<Vec<Item>, CallError> {
    let unlike = |what: &str| CallError::Refused(format!("its list {what}").into());
    let (mut items, mut cursor, mut bytes) = (Vec::new(), None, 0);
    for _ in 0..PAGES_MAX {
        let params = Value::object(cursor.take().map(|cursor| ("cursor", Value::String(cursor))));
        let page = session.ask(listed.method(), params, None, SETUP_MAX, None).await?;
        bytes += page.get().len();
        if bytes > BYTES_MAX {
            return Err(unlike("has more than 4 MiB"));
        }
        if session.leaks(page.get()) {
            return Err(unlike("contains a secret that placet holds"));
        }
        let (found, next) = page_of(&page, listed).ok_or_else(|| unlike("is none"))?;
        items.extend(found.into_iter().filter_map(|item| listed.item(item)));
        if items.len() > ITEMS_MAX {
            return Err(unlike("names too much"));
        }
        match next.filter(|next| !next.is_empty()) {
            Some(next) => cursor = Some(next),
            None => return Ok(items),
        }
    }
    Err(unlike("has too many pages"))
}

/// The items of a page as they were written, and where it goes on.
pub(super) fn page_of(page: &RawValue, listed: Listed) -> Option<(Vec<Box<RawValue>>, Option<String>)> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(page.get()).ok()?;
    let items = serde_json::from_str(members.get(listed.member())?.get()).ok()?;
    let next = members.get("nextCursor").and_then(|next| serde_json::from_str(next.get()).ok());
    Some((items, next.flatten()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn an_address_says_whose_it_is_and_leads_back() {
        let server = ServerName::parse("my_files-2").unwrap();
        let uri = uri_of(&server, "file:///srv/a+b");
        assert_eq!(uri, "my.files-2+file:///srv/a+b");
        assert_eq!(uri_in(&Scope::All, &uri), Some((server.clone(), "file:///srv/a+b".to_owned())));
        assert_eq!(uri_in(&Scope::One(server.clone()), "x:y"), Some((server.clone(), "x:y".to_owned())));
        assert_eq!(name_in(&Scope::All, "my_files-2__a__b"), Some((server, "a__b".to_owned())));
        for none in ["file:///srv/a", "+file:///a", "Files+file:///a", "a b+c:d"] {
            assert_eq!(uri_in(&Scope::All, none), None, "{none}");
        }
    }

    #[test]
    fn items_keep_all_but_their_name() {
        let server = ServerName::parse("files").unwrap();
        let item =
            Listed::Resources.item(raw(r#"{"uri":"file:///a","name":"a","size":1.50,"x":[]}"#)).unwrap();
        assert_eq!(
            Listed::Resources.of_server(&server, &item).unwrap(),
            r#"{"name":"a","size":1.50,"uri":"files+file:///a","x":[]}"#
        );
        for none in [r#"{"name":"a"}"#, r#"{"uri":1}"#, r#"{"uri":"a","uri":"b"}"#, "[]"] {
            assert!(Listed::Resources.item(raw(none)).is_none(), "{none}");
        }
        let page = raw(r#"{"prompts":[ {"name":"a","n":1.0} ],"nextCursor":"2"}"#);
        let (items, next) = page_of(&page, Listed::Prompts).unwrap();
        assert_eq!((items[0].get(), next.as_deref()), (r#"{"name":"a","n":1.0}"#, Some("2")));
        assert!(page_of(&raw(r#"{"prompts":{}}"#), Listed::Prompts).is_none());
    }
}
