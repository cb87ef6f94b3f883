//! The reviewers' API: lists, one review, votes, entries.

use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use placet_api::entry::EntryList;
use placet_api::problem::Problem;
use placet_api::recording;
use placet_api::request::RequestDocument;
use placet_api::review::{ResolveRequest, ReviewDocument, ReviewList, VerdictWord, VoteRequest};
use placet_broker::review::{BallotInput, Review, ReviewFilter, Reviewer};
use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_core::time::Timestamp;
use placet_store::EntryFilter;

use crate::app::App;
use crate::body::read_json;
use crate::document;
use crate::failure::{Failure, Outcome};
use crate::openapi::ReviewersProblems;
use crate::pages;
use crate::query::{Query, whole};

/// Every state but `pending`.
pub(crate) fn decided() -> Vec<Status> {
    Status::ALL.into_iter().filter(|status| *status != Status::Pending).collect()
}

/// Reviews, newest first.
#[utoipa::path(
    get,
    path = "/v1/reviews",
    tag = "reviews",
    params(
        ("state" = Option<String>, Query, description = "`waiting` (the default), `decided` or `all`"),
        ("mine" = Option<bool>, Query, description = "Only those that you may decide on"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "At most so many"),
    ),
    responses((status = 200, description = "A page of reviews", body = ReviewList), ReviewersProblems),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    uri: Uri,
) -> Outcome<Json<ReviewList>> {
    let mut query = Query::of(&uri)?;
    let states = query.take_as("state", "write waiting, decided or all", |text| match text {
        "waiting" => Some(vec![Status::Pending]),
        "decided" => Some(decided()),
        "all" => Some(Vec::new()),
        _ => None,
    })?;
    let mine = query.take_as("mine", "write true or false", |text| text.parse().ok())?;
    let before =
        query.take_as("cursor", "give the next_cursor of a page", |text| RequestId::parse(text).ok())?;
    let limit = query.take_limit()?;
    query.end()?;
    let statuses = states.unwrap_or_else(|| vec![Status::Pending]);
    let filter = ReviewFilter { statuses, mine: mine.unwrap_or(false), before, limit };
    let lines = app.broker.reviews(&reviewer, filter).await?;
    let next = lines.last().filter(|_| lines.len() == limit);
    Ok(Json(ReviewList {
        next_cursor: next.map(|line| line.seen.stored.request.id.to_string()),
        reviews: lines.iter().map(|line| document::review_line(&app, line)).collect(),
    }))
}

/// One review, by its request's id or its short code.
#[utoipa::path(
    get,
    path = "/v1/reviews/{id}",
    tag = "reviews",
    params(("id" = String, Path, description = "The request's id, or its short code")),
    responses((status = 200, description = "The review", body = ReviewDocument), ReviewersProblems),
)]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(id): Path<String>,
    uri: Uri,
) -> Outcome<Json<ReviewDocument>> {
    Query::of(&uri)?.end()?;
    let review = find(&app, &reviewer, &id).await?;
    let directory = app.broker.directory().await?;
    Ok(Json(document::review(&app, &review, &directory)))
}

/// The review that an id or a code names.
pub(crate) async fn find(app: &App, reviewer: &Reviewer, name: &str) -> Outcome<Review> {
    match RequestId::parse(name) {
        Ok(id) => Ok(app.broker.review(reviewer, id).await?),
        Err(_) => Ok(app.broker.review_by_code(reviewer, name).await?),
    }
}

/// What was recorded of the execution, as an asciicast.
///
/// Its SHA-256 is the one that the outcome names and the ledger commits to.
#[utoipa::path(
    get,
    path = "/v1/reviews/{id}/recording",
    tag = "reviews",
    params(("id" = String, Path, description = "The request's id, or its short code")),
    responses(
        (status = 200, description = "asciicast version 3", content_type = "application/x-asciicast", body = Vec<u8>),
        (status = 410, description = "It was erased", content_type = "application/problem+json", body = Problem),
        ReviewersProblems,
    ),
)]
pub(crate) async fn recording(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(id): Path<String>,
    uri: Uri,
) -> Outcome<Response> {
    Query::of(&uri)?.end()?;
    let review = find(&app, &reviewer, &id).await?;
    let (execution, bytes) = pages::recording::bytes(&app, &review).await?;
    Ok(asciicast(&execution, bytes))
}

/// A recording as a file to keep: no browser shows it as anything else.
pub(crate) fn asciicast(execution: &str, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{execution}.cast\"");
    let headers = [
        (header::CONTENT_TYPE, recording::MEDIA_TYPE.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes).into_response()
}

/// Vote.
///
/// Name the digest, the content version and the card that you read. An API token approves only where the active policy
/// lets it. A vote that is refused is recorded, and changes nothing else.
#[utoipa::path(
    post,
    path = "/v1/reviews/{id}/votes",
    tag = "reviews",
    params(("id" = String, Path, description = "The request's id, or its short code")),
    request_body = VoteRequest,
    responses((status = 200, description = "The request as it is after the vote", body = RequestDocument), ReviewersProblems),
)]
pub(crate) async fn vote(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<RequestDocument>> {
    Query::of(&uri)?.end()?;
    let body = read_json(request, VoteRequest::from_json).await?;
    let (id, card) = match (RequestId::parse(&id), body.card) {
        // It names all that it is about: no need to show the review once more.
        (Ok(id), Some(card)) => (id, card),
        (_, card) => {
            let review = find(&app, &reviewer, &id).await?;
            let card = match (card, body.verdict) {
                (Some(card), _) => card,
                // Weak evidence may block: a denial stands for what the card says now.
                (None, VerdictWord::Deny) => review.card_hash.to_string(),
                (None, VerdictWord::Approve) => {
                    let detail =
                        "An approval names the hash of the card that it was made on. Read the review first.";
                    return Err(Failure::bad_request("missing_card", detail));
                }
            };
            (review.seen.stored.request.id, card)
        }
    };
    let ballot = BallotInput {
        verdict: match body.verdict {
            VerdictWord::Approve => Verdict::Approve,
            VerdictWord::Deny => Verdict::Deny,
        },
        reason: body.reason,
        digest: body.digest,
        content_version: body.version,
        card,
    };
    let seen = app.broker.vote(&reviewer, id, ballot, "api").await?;
    Ok(Json(document::request(&app, &seen)))
}

/// Say what an unknown outcome really was.
#[utoipa::path(
    post,
    path = "/v1/reviews/{id}/resolution",
    tag = "reviews",
    params(("id" = String, Path, description = "The request's id, or its short code")),
    request_body = ResolveRequest,
    responses((status = 200, description = "The request with its resolution", body = RequestDocument), ReviewersProblems),
)]
pub(crate) async fn resolve(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<RequestDocument>> {
    Query::of(&uri)?.end()?;
    let body = read_json(request, ResolveRequest::from_json).await?;
    let review = find(&app, &reviewer, &id).await?;
    let seen = app.broker.resolve(&reviewer, review.seen.stored.request.id, body.text).await?;
    Ok(Json(document::request(&app, &seen)))
}

/// Ledger entries with what they disclose, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit/entries",
    tag = "audit",
    params(
        ("kind" = Option<String>, Query, description = "Only of these kinds, separated by commas"),
        ("request" = Option<String>, Query, description = "Only of this request"),
        ("from" = Option<String>, Query, description = "Only at or after this time, RFC 3339"),
        ("to" = Option<String>, Query, description = "Only before this time, RFC 3339"),
        ("cursor" = Option<u64>, Query, description = "The `next_cursor` of the previous page"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "At most so many"),
    ),
    responses((status = 200, description = "A page of entries", body = EntryList), ReviewersProblems),
)]
pub(crate) async fn entries(State(app): State<App>, uri: Uri) -> Outcome<Json<EntryList>> {
    Ok(Json(entry_list(&app, &uri).await?))
}

/// A page of entries as the query names it; the admin socket has the same.
pub(crate) async fn entry_list(app: &App, uri: &Uri) -> Outcome<EntryList> {
    let time = |text: &str| Timestamp::parse(text).ok();
    let time_rule = "write a time like 2026-11-23T14:05:09Z";
    let mut query = Query::of(uri)?;
    let kinds = query
        .take_as("kind", "write kinds like vote.cast", |text| text.split(',').map(Kind::parse).collect())?;
    let request = query.take_as("request", "give a request's id", |text| RequestId::parse(text).ok())?;
    let from = query.take_as("from", time_rule, time)?;
    let to = query.take_as("to", time_rule, time)?;
    let before = query.take_as("cursor", "give the next_cursor of a page", whole)?;
    let limit = query.take_limit()?;
    query.end()?;
    let filter = EntryFilter { kinds: kinds.unwrap_or_default(), request, from, to, before, limit };
    let page = app.broker.entries(filter).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|entry| entry.index);
    let directory = app.broker.directory().await?;
    let entries = page.iter().map(|entry| document::entry(entry, &directory)).collect();
    Ok(EntryList { entries, next_cursor: next })
}
