//! Questions of auditors: names become ids, what was found is given with everyone's names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::action::{ActionName, Principal, ResourceRef};
use placet_core::digest::{Sha256Digest, ShortCode};
use placet_core::directory::Directory;
use placet_core::id::{AgentId, PersonId, RequestId};
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_store::{EntryFilter, Found, Happened, PAGE_MAX, Reindexed, SearchFilter, StoredEntry};

use crate::Broker;
use crate::error::CallError;
use crate::intake::WAIT_MAX;

/// A question, in an auditor's words. Everything that is said has to fit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// The action's name.
    pub action: Option<String>,
    /// Who asked, or on whose behalf: an id or a name.
    pub by: Option<String>,
    /// The resource, like `Dataset::"shop.accounts"`.
    pub resource: Option<String>,
    /// Who voted: an id or a name.
    pub reviewer: Option<String>,
    /// How somebody voted.
    pub verdict: Option<Verdict>,
    /// Where requests stand now.
    pub statuses: Vec<Status>,
    /// One request, by id or short code.
    pub request: Option<String>,
    /// What has to have happened between `from` and `to`.
    pub happened: Happened,
    /// At or after this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Only older ones than this.
    pub before: Option<RequestId>,
    /// At most so many.
    pub limit: usize,
}

/// What was found, and who everyone is.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Newest first.
    pub found: Vec<Found>,
    /// Where to go on.
    pub next: Option<RequestId>,
    /// Names.
    pub directory: Arc<Directory>,
}

/// Everything about one request.
#[derive(Clone, Debug)]
pub struct Story {
    /// The request.
    pub found: Found,
    /// What happened, oldest first.
    pub timeline: Vec<StoredEntry>,
    /// The cards on which votes were cast, as they were kept.
    pub cards: Vec<Vec<u8>>,
    /// Names.
    pub directory: Arc<Directory>,
}

/// Entries from some index on, and where to go on.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Oldest first.
    pub entries: Vec<StoredEntry>,
    /// The index after the last one.
    pub next: u64,
}

/// How far the making of the search index has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reindexing {
    /// Whether it is being made now.
    pub running: bool,
    /// What came of the last one.
    pub last: Option<Result<Reindexed, String>>,
}

/// The state of it, shared with the task that does it.
pub(crate) type ReindexSeat = Arc<Mutex<Reindexing>>;

impl Broker {
    /// Answers a question.
    pub async fn audit_search(&self, question: Question) -> Result<Answers, CallError> {
        let directory = self.directory().await?;
        let reviewers = question.reviewer.as_deref().map(|who| people(&directory, who)).transpose()?;
        let filter = SearchFilter {
            action: question.action.as_deref().map(action).transpose()?,
            by: question
                .by
                .as_deref()
                .map(|who| principals(&directory, who))
                .transpose()?
                .unwrap_or_default(),
            resource: question.resource.as_deref().map(resource).transpose()?,
            reviewers: reviewers.unwrap_or_default(),
            verdict: question.verdict,
            statuses: question.statuses,
            request: match &question.request {
                Some(name) => Some(self.request_named(name).await?),
                None => None,
            },
            happened: question.happened,
            from: question.from,
            to: question.to,
            before: question.before,
            limit: question.limit,
        };
        let page = self.0.views.search(filter).await?;
        Ok(Answers { found: page.found, next: page.next, directory })
    }

    async fn request_named(&self, name: &str) -> Result<RequestId, CallError> {
        if let Ok(id) = RequestId::parse(name) {
            return Ok(id);
        }
        let unknown = || {
            let message = format!("No request has the id or code {:?}.", shown(name));
            CallError::invalid("unknown_request", message, "/request")
        };
        let code = ShortCode::parse(name).map_err(|_| unknown())?;
        let found = self.0.views.request_by_code(code).await?;
        found.map(|stored| stored.request.id).ok_or_else(unknown)
    }

    /// Everything about one request.
    pub async fn audit_story(&self, name: &str) -> Result<Story, CallError> {
        let id = self.request_named(name).await.map_err(|error| match error {
            CallError::Invalid { .. } => CallError::NotFound,
            error => error,
        })?;
        let filter = SearchFilter { request: Some(id), limit: 1, ..SearchFilter::default() };
        let found = self.0.views.search(filter).await?.found.pop().ok_or(CallError::NotFound)?;
        let mut cards = Vec::new();
        if let Found::Whole(stored) = &found {
            let mut hashes: Vec<Sha256Digest> = stored.request.votes.iter().map(|vote| vote.card).collect();
            hashes.dedup();
            for hash in hashes {
                cards.extend(self.0.views.card(hash).await?);
            }
        }
        let (timeline, directory) = (self.timeline(id).await?, self.directory().await?);
        Ok(Story { found, timeline, cards, directory })
    }

    /// Entries from this index on, oldest first; from the end of the log on, if none is given. Waits for one if there is
    /// none yet, at most so long.
    pub async fn follow(
        &self,
        from: Option<u64>,
        limit: usize,
        wait: Duration,
    ) -> Result<Followed, CallError> {
        let deadline = tokio::time::Instant::now() + wait.min(WAIT_MAX);
        // Subscribed before looking, so that no change falls in between.
        let mut changes = self.0.views.changes();
        let size = self.size().await?;
        let from = from.unwrap_or(size);
        if from > size {
            let message =
                format!("The log has {size} entries, fewer than {from}: this is not the log you followed.");
            return Err(CallError::invalid("index_ahead", message, "/from"));
        }
        while self.size().await? <= from {
            let change = tokio::time::timeout_at(deadline, changes.recv()).await;
            if !matches!(change, Ok(Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)))) {
                break;
            }
        }
        let limit = limit.min(PAGE_MAX);
        let until = from.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX));
        let filter = EntryFilter { before: Some(until), limit, ..EntryFilter::default() };
        let mut entries = self.0.views.entries(filter).await?;
        entries.retain(|entry| entry.index >= from);
        entries.reverse();
        let next = entries.last().map_or(from, |entry| entry.index.saturating_add(1));
        Ok(Followed { entries, next })
    }

    async fn size(&self) -> Result<u64, CallError> {
        Ok(self.0.views.log().await?.frontier.size())
    }

    /// Begins to make the search index anew, unless that is going on already.
    pub fn begin_reindex(&self) {
        let seat = Arc::clone(&self.0.reindexing);
        {
            let mut state = seat.lock().unwrap_or_else(PoisonError::into_inner);
            if state.running {
                return;
            }
            *state = Reindexing { running: true, last: None };
        }
        let broker = self.clone();
        tokio::spawn(async move {
            let made = broker.0.commit.reindex().await.map_err(|error| error.to_string());
            if let Err(error) = &made {
                tracing::error!(error, "the search index could not be made anew");
            }
            let mut state = seat.lock().unwrap_or_else(PoisonError::into_inner);
            *state = Reindexing { running: false, last: Some(made) };
        });
    }

    /// How far that has come.
    pub fn reindexing(&self) -> Reindexing {
        self.0.reindexing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// No name of ours is longer, and nothing longer is repeated to whoever asks.
const SHOWN_MAX: usize = 80;

fn shown(text: &str) -> String {
    visible(text).chars().take(SHOWN_MAX).collect()
}

fn action(name: &str) -> Result<ActionName, CallError> {
    ActionName::parse(name).map_err(|error| CallError::invalid("bad_action", error.to_string(), "/action"))
}

/// `Dataset::"shop.accounts"`, also without the quotes, which shells eat.
fn resource(text: &str) -> Result<ResourceRef, CallError> {
    let refused = || {
        let message = format!(
            "{:?} is no resource: write its type and id, like Dataset::\"shop.accounts\".",
            shown(text)
        );
        CallError::invalid("bad_resource", message, "/resource")
    };
    let (kind, id) = text.split_once("::").ok_or_else(refused)?;
    let quoted = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'));
    let id = quoted.map_or_else(|| Some(id.to_owned()), unescaped).ok_or_else(refused)?;
    ResourceRef::new(kind, &id).map_err(|_| refused())
}

/// What was shown with escapes, as it was written.
fn unescaped(text: &str) -> Option<String> {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        written.push_str(before);
        let escape = after.chars().next()?;
        rest = after.get(escape.len_utf8()..)?;
        written.push(match escape {
            '\\' | '"' => escape,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (digits, after) = rest.strip_prefix('{')?.split_once('}')?;
                rest = after;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        });
    }
    written.push_str(rest);
    Some(written)
}

/// Everybody who ever had this id or name, also those who may not act any more.
fn principals(directory: &Directory, who: &str) -> Result<Vec<Principal>, CallError> {
    let agents = directory.agents.values().filter(|agent| is(who, &agent.name, agent.id));
    let people = directory.people.values().filter(|person| is(who, &person.name, person.id));
    let found: Vec<Principal> = agents
        .map(|agent| agent.principal())
        .chain(people.map(|person| Principal::Person(person.id)))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    // What was erased from the directory may still be asked for by its id.
    let agent = AgentId::parse(who).map(Principal::Agent);
    let by_id = agent.or_else(|_| PersonId::parse(who).map(Principal::Person));
    by_id.map(|id| vec![id]).map_err(|_| unknown(who, "agent or person", "/by"))
}

fn people(directory: &Directory, who: &str) -> Result<Vec<PersonId>, CallError> {
    let found: Vec<PersonId> = directory
        .people
        .values()
        .filter(|person| is(who, &person.name, person.id))
        .map(|person| person.id)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    PersonId::parse(who).map(|id| vec![id]).map_err(|_| unknown(who, "person", "/reviewer"))
}

fn is(who: &str, name: &str, id: impl ToString) -> bool {
    name == who || id.to_string() == who
}

fn unknown(who: &str, what: &str, pointer: &str) -> CallError {
    let message = format!("No {what} is or was called {:?}. Write a name or an id.", shown(who));
    CallError::invalid("unknown_name", message, pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_read_as_it_is_shown() {
        for (text, kind, id) in [
            ("Dataset::\"shop.accounts\"", "Dataset", "shop.accounts"),
            ("Dataset::shop.accounts", "Dataset", "shop.accounts"),
            ("Dataset::\"a\\\"b\"", "Dataset", "a\"b"),
            ("File::\"C::D\"", "File", "C::D"),
            ("T::%' OR 1=1 --", "T", "%' OR 1=1 --"),
        ] {
            let read = resource(text).unwrap();
            assert_eq!((read.kind(), read.id()), (kind, id), "{text}");
        }
        for text in [
            "",
            "T::\"\\x\"",
            "T::\"\\\"",
            "T::\"\\u{110000}\"",
            "Dataset",
            "Dataset:shop",
            "Data set::x",
            "::x",
            "Dataset::",
            "Dataset::\"\"",
        ] {
            assert_eq!(resource(text).unwrap_err().code(), "bad_resource", "{text}");
        }
        let shown = ResourceRef::new("T", "a\u{202e}\"b").unwrap();
        assert_eq!(resource(&shown.visible()).unwrap(), shown, "as copied from a page");
    }
}
