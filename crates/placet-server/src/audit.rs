//! Questions of auditors over HTTP: the same words at the reviewers' door, on its page and on the admin socket.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use placet_api::audit::{AuditContent, AuditList, AuditRequest, AuditStory, AuditVote};
use placet_api::entry::EntryLog;
use placet_broker::search::{Answers, Question, Story};
use placet_core::action::Principal;
use placet_core::directory::Directory;
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::{Found, Happened, StoredRequest};

use crate::app::App;
use crate::calendar::{Said, Window, window};
use crate::document;
use crate::failure::{Failure, Outcome};
use crate::openapi::ReviewersProblems;
use crate::query::{Query, whole};

/// Requests by who, what, when and how they ended, newest first.
///
/// Everything that is said has to fit. A request fits the time if something happened to it then: it was asked, voted or
/// decided on, begun, or ended; `happened` says which of these is meant.
#[utoipa::path(
    get,
    path = "/v1/audit/requests",
    tag = "audit",
    params(
        ("action" = Option<String>, Query, description = "The action's name, like `data.export`"),
        ("by" = Option<String>, Query, description = "Who asked, or on whose behalf: name or id of an agent or person"),
        ("resource" = Option<String>, Query, description = "The resource, like `Dataset::\"shop.accounts\"`"),
        ("reviewer" = Option<String>, Query, description = "Who voted: name or id of a person"),
        ("verdict" = Option<String>, Query, description = "How somebody voted: `approve` or `deny`"),
        ("status" = Option<String>, Query, description = "Only in these states now, separated by commas"),
        ("request" = Option<String>, Query, description = "One request, by its id or short code"),
        ("happened" = Option<String>, Query, description = "`anything` (the default), `asked`, `voted`, `started` or `ended`"),
        ("on" = Option<String>, Query, description = "A day: `tuesday` (the last one that has begun), `tuesday afternoon`, `today`, `yesterday`, `2026-11-24`"),
        ("between" = Option<String>, Query, description = "Hours of that day: `12:00-18:00`, `morning`, `afternoon`, `evening`, `night`"),
        ("from" = Option<String>, Query, description = "At or after this time: RFC 3339, or a local time or a day in `tz`"),
        ("to" = Option<String>, Query, description = "Before this time, or to the end of this day"),
        ("tz" = Option<String>, Query, description = "Time zone by its IANA name; UTC if absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "At most so many"),
    ),
    responses((status = 200, description = "A page of requests", body = AuditList), ReviewersProblems),
)]
pub(crate) async fn requests(State(app): State<App>, uri: Uri) -> Outcome<Json<AuditList>> {
    let mut query = Query::of(&uri)?;
    let mut text = |name: &str| query.take(name);
    let said = Said {
        on: text("on")?,
        between: text("between")?,
        from: text("from")?,
        to: text("to")?,
        tz: text("tz")?,
    };
    let (action, by, resource) = (text("action")?, text("by")?, text("resource")?);
    let (reviewer, request) = (text("reviewer")?, text("request")?);
    let verdict = query.take_as("verdict", "write approve or deny", Verdict::parse)?;
    let statuses = query.take_as("status", "write states like denied,succeeded", statuses)?;
    let happened =
        query.take_as("happened", "write anything, asked, voted, started or ended", Happened::parse)?;
    let before =
        query.take_as("cursor", "give the next_cursor of a page", |text| RequestId::parse(text).ok())?;
    let limit = query.take_limit()?;
    query.end()?;
    let window = understood(&app, &said)?;
    let question = Question {
        action,
        by,
        resource,
        reviewer,
        verdict,
        statuses: statuses.unwrap_or_default(),
        request,
        happened: happened.unwrap_or_default(),
        from: window.from,
        to: window.to,
        before,
        limit,
    };
    let answers = app.broker.audit_search(question).await?;
    Ok(Json(list(&answers, &window)))
}

fn statuses(text: &str) -> Option<Vec<Status>> {
    text.split(',').map(Status::parse).collect()
}

/// The moments that were meant.
pub(crate) fn understood(app: &App, said: &Said) -> Outcome<Window> {
    window(said, app.broker.now()).map_err(|error| Failure::bad_request("bad_time", error.to_string()))
}

/// Everything about one request: who, what, when, and the cards that were shown.
#[utoipa::path(
    get,
    path = "/v1/audit/requests/{id}",
    tag = "audit",
    params(("id" = String, Path, description = "The request's id, or its short code")),
    responses((status = 200, description = "The request's story", body = AuditStory), ReviewersProblems),
)]
pub(crate) async fn story(
    State(app): State<App>,
    Path(id): Path<String>,
    uri: Uri,
) -> Outcome<Json<AuditStory>> {
    Query::of(&uri)?.end()?;
    Ok(Json(told(&app.broker.audit_story(&id).await?)))
}

/// Ledger entries from an index on, oldest first; waits for the next one.
///
/// Give `next` as `from` of the following call. Without `from` it begins at the end of the log.
#[utoipa::path(
    get,
    path = "/v1/audit/log",
    tag = "audit",
    params(
        ("from" = Option<u64>, Query, description = "The first index"),
        ("wait" = Option<u64>, Query, minimum = 0, maximum = 50, description = "Seconds to wait for an entry if there is none yet"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "At most so many"),
    ),
    responses((status = 200, description = "Entries, and where to go on", body = EntryLog), ReviewersProblems),
)]
pub(crate) async fn follow(State(app): State<App>, uri: Uri) -> Outcome<Json<EntryLog>> {
    let mut query = Query::of(&uri)?;
    let from = query.take_as("from", "give the index of an entry", whole)?;
    let wait = query.take_wait()?;
    let limit = query.take_limit()?;
    query.end()?;
    let followed = tokio::select! {
        followed = app.broker.follow(from, limit, wait) => followed?,
        // Whoever waits comes back, and finds the next process.
        () = app.stopped() => app.broker.follow(from, limit, std::time::Duration::ZERO).await?,
    };
    let directory = app.broker.directory().await?;
    let entries = followed.entries.iter().map(|entry| document::entry(entry, &directory));
    Ok(Json(EntryLog { entries: entries.collect(), next: followed.next }))
}

fn list(answers: &Answers, window: &Window) -> AuditList {
    AuditList {
        requests: answers.found.iter().map(|found| request(found, &answers.directory)).collect(),
        next_cursor: answers.next.map(|id| id.to_string()),
        from: window.from.map(|time| time.to_string()),
        to: window.to.map(|time| time.to_string()),
    }
}

fn told(story: &Story) -> AuditStory {
    AuditStory {
        request: request(&story.found, &story.directory),
        timeline: document::timeline_lines(&story.timeline, &story.directory),
        cards: story.cards.iter().map(|card| String::from_utf8_lossy(card).into_owned()).collect(),
    }
}

/// A found request with everybody's names; exact texts, which whoever prints them has to make visible.
pub(crate) fn request(found: &Found, directory: &Directory) -> AuditRequest {
    match found {
        Found::Whole(stored) => AuditRequest {
            id: stored.request.id.to_string(),
            status: stored.request.status().into(),
            asked_at: stored.request.created_at.to_string(),
            updated_at: stored.request.updated_at.to_string(),
            entries: stored.entries.clone(),
            content: Some(content(stored, directory)),
        },
        Found::Erased { request, status, created_at, updated_at, entries } => AuditRequest {
            id: request.to_string(),
            status: (*status).into(),
            asked_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
            entries: entries.clone(),
            content: None,
        },
    }
}

fn content(stored: &StoredRequest, directory: &Directory) -> AuditContent {
    let request = &stored.request;
    let named = |principal| document::named(principal, directory);
    let vote = |vote: &placet_core::review::Vote| AuditVote {
        person: named(Principal::Person(vote.person)),
        verdict: document::verdict(vote.verdict),
        reason: vote.reason.as_ref().map(|reason| reason.as_raw().to_owned()),
        roles: vote.roles.iter().map(ToString::to_string).collect(),
        assurance: vote.assurance.as_str().to_owned(),
        self_reviewed: vote.self_reviewed,
        vouched: vote.vouched,
        card: vote.card.to_string(),
        at: vote.at.to_string(),
    };
    let decision = document::decision(&request.decision);
    AuditContent {
        action: request.action.action.to_string(),
        resource: document::resource(&request.action.resource),
        requester: named(request.requester()),
        on_behalf_of: named(Principal::Person(request.action.chain.on_behalf_of)),
        justification: request.justification.as_ref().map(|text| text.as_raw().to_owned()),
        short_code: request.short_code.to_string(),
        digest: request.canonical.digest().to_string(),
        pep: request.action.pep.as_str().to_owned(),
        grade: request.grade.as_str().to_owned(),
        effect: decision.effect,
        bundle: decision.bundle,
        votes: request.votes.iter().map(vote).collect(),
        execution: document::execution(request),
        outcome: document::outcome(request),
    }
}
