//! The ledger's entries, searched by kind, request and time.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use placet_broker::review::Reviewer;
use placet_core::c14n::Value;
use placet_core::directory::Directory;
use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_store::{EntryFilter, StoredEntry};

use super::view::{When, when};
use super::{Chrome, page};
use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::query::{encoded, pairs, whole};
use crate::reviewers::api::find;
use crate::timeline;

/// How many entries a page shows.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "entries.html")]
struct EntriesPage {
    chrome: Chrome,
    kinds: Vec<(&'static str, bool)>,
    request: String,
    from: String,
    to: String,
    problem: Option<&'static str>,
    entries: Vec<EntryView>,
    older: Option<String>,
}

struct EntryView {
    index: u64,
    kind: &'static str,
    at: When,
    sentence: String,
    request: Option<String>,
    bytes: String,
    disclosed: Vec<(String, String)>,
}

/// What was typed into the form.
#[derive(Default)]
struct Typed {
    kind: String,
    request: String,
    from: String,
    to: String,
    before: String,
}

impl Typed {
    fn of(uri: &Uri) -> Outcome<Self> {
        let refused = || Failure::bad_request("bad_query", "This address cannot be read.");
        let mut typed = Typed::default();
        for (name, value) in pairs(uri.query().unwrap_or_default()).ok_or_else(refused)? {
            match name.as_str() {
                "kind" => typed.kind = value,
                "request" => typed.request = value.trim().to_owned(),
                "from" => typed.from = value,
                "to" => typed.to = value,
                "before" => typed.before = value,
                _ => {}
            }
        }
        Ok(typed)
    }

    /// The filter, or what of it is not understood.
    async fn filter(&self, app: &App, reviewer: &Reviewer) -> Result<EntryFilter, &'static str> {
        let kinds = match self.kind.as_str() {
            "" => Vec::new(),
            word => vec![Kind::parse(word).ok_or("There is no such kind of entry.")?],
        };
        let request = match self.request.as_str() {
            "" => None,
            name => match RequestId::parse(name) {
                Ok(id) => Some(id),
                Err(_) => {
                    let found = find(app, reviewer, name).await;
                    Some(found.map_err(|_| "No request has this id or code.")?.seen.stored.request.id)
                }
            },
        };
        let before = match self.before.as_str() {
            "" => None,
            index => Some(whole(index).ok_or("This is no page of the search.")?),
        };
        Ok(EntryFilter { kinds, request, from: time(&self.from)?, to: time(&self.to)?, before, limit: PAGE })
    }

    fn older(&self, last: u64) -> String {
        let mut address = format!("/audit/entries?before={last}");
        for (name, value) in
            [("kind", &self.kind), ("request", &self.request), ("from", &self.from), ("to", &self.to)]
        {
            if !value.is_empty() {
                address.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        address
    }
}

/// A time as the browser's field writes it, `2026-11-23T14:05`, in UTC.
fn time(typed: &str) -> Result<Option<Timestamp>, &'static str> {
    if typed.is_empty() {
        return Ok(None);
    }
    let written =
        if typed.len() == 16 { format!("{typed}:00Z") } else { format!("{}Z", typed.trim_end_matches('Z')) };
    Timestamp::parse(&written).map(Some).map_err(|_| "Write times like 2026-11-23T14:05.")
}

pub(super) async fn entries(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    uri: Uri,
) -> Outcome<Response> {
    let typed = Typed::of(&uri)?;
    let (page_of_entries, problem) = match typed.filter(&app, &reviewer).await {
        Ok(filter) => (app.broker.entries(filter).await?, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let directory = app.broker.directory().await?;
    let last = page_of_entries.last().filter(|_| page_of_entries.len() == PAGE);
    let view = EntriesPage {
        chrome: Chrome::new("Entries of the ledger", Some(&reviewer), "/audit"),
        kinds: Kind::ALL.into_iter().map(|kind| (kind.as_str(), kind.as_str() == typed.kind)).collect(),
        request: visible(&typed.request),
        from: visible(&typed.from),
        to: visible(&typed.to),
        problem,
        older: last.map(|entry| typed.older(entry.index)),
        entries: page_of_entries.iter().map(|entry| entry_view(entry, &directory)).collect(),
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    page(status, &view)
}

fn entry_view(entry: &StoredEntry, directory: &Directory) -> EntryView {
    let disclosed = entry.disclosures.iter().filter_map(|disclosure| disclosure.open().ok());
    EntryView {
        index: entry.index,
        kind: entry.kind.as_str(),
        at: when(entry.time),
        sentence: timeline::sentence(entry, directory),
        request: entry.request.map(|id| id.to_string()),
        bytes: visible(&String::from_utf8_lossy(&entry.bytes)),
        disclosed: disclosed.map(|(name, value)| (visible(&name), shown(&value))).collect(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => visible(text),
        other => visible(&other.canonical()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_browsers_field_writes_them() {
        for typed in ["2026-11-23T14:05", "2026-11-23T14:05:00", "2026-11-23T14:05:00Z"] {
            assert_eq!(
                time(typed).unwrap(),
                Some(Timestamp::parse("2026-11-23T14:05:00Z").unwrap()),
                "{typed}"
            );
        }
        assert_eq!(time(""), Ok(None));
        for typed in ["yesterday", "2026-13-23T14:05", "2026-11-23", "2026-11-23T14:05:00+01:00"] {
            assert!(time(typed).is_err(), "{typed}");
        }
    }
}
