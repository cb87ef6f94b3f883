//! What agents do with requests: submit, read, wait, claim, report, withdraw.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use placet_api::intake::{ClaimRequest, OutcomeRequest, SubmitRequest};
use placet_api::request::{ClaimedDocument, RequestDocument, RequestList};
use placet_broker::Seen;
use placet_broker::execution::OutcomeReport;
use placet_broker::intake::{Caller, Envelope, ExternalCall};
use placet_core::id::RequestId;
use placet_core::request::Status;

use crate::app::App;
use crate::body::{read_json, read_nothing};
use crate::document;
use crate::failure::{Failure, Outcome};
use crate::openapi::AgentsProblems;
use crate::query::{Query, whole};

/// Ask for an action that you execute yourself.
///
/// Policy decides at once; if it wants people to decide, the request is `pending` and its `review.url` is where they do.
/// A refusal by policy or by a person is an answer with a status, not an error.
#[utoipa::path(
    post,
    path = "/v1/requests",
    tag = "requests",
    params(("wait" = Option<u64>, Query, minimum = 0, maximum = 50, description = "Seconds to wait for a change while it is pending")),
    request_body = SubmitRequest,
    responses(
        (status = 201, description = "A new request", body = RequestDocument),
        (status = 200, description = "The request that this call repeats", body = RequestDocument),
        AgentsProblems,
    ),
)]
pub(crate) async fn submit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    request: Request,
) -> Outcome<Response> {
    let mut query = Query::of(&uri)?;
    let wait = query.take_wait()?;
    query.end()?;
    let body = read_json(request, SubmitRequest::from_json).await?;
    let call = ExternalCall {
        action: body.action.as_str().to_owned(),
        resource_type: body.resource.kind().to_owned(),
        resource_id: body.resource.id().to_owned(),
        arguments: body.arguments,
        envelope: Envelope {
            justification: body.justification,
            on_behalf_of: body.on_behalf_of,
            idempotency_key: body.idempotency_key,
        },
    };
    let submitted = app.broker.submit_external(&caller, call).await?;
    let status = if submitted.new { StatusCode::CREATED } else { StatusCode::OK };
    let pending = submitted.seen.stored.request.status() == Status::Pending;
    let seen =
        if pending { waited(&app, &caller, submitted.seen, None, wait).await? } else { submitted.seen };
    Ok((status, Json(document::request(&app, &seen))).into_response())
}

/// Your requests, newest first.
#[utoipa::path(
    get,
    path = "/v1/requests",
    tag = "requests",
    params(
        ("status" = Option<String>, Query, description = "Only in these states, separated by commas"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "At most so many"),
    ),
    responses((status = 200, description = "A page of requests", body = RequestList), AgentsProblems),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Outcome<Json<RequestList>> {
    let mut query = Query::of(&uri)?;
    let statuses =
        query.take_as("status", "write states like pending,granted", statuses)?.unwrap_or_default();
    let before =
        query.take_as("cursor", "give the next_cursor of a page", |text| RequestId::parse(text).ok())?;
    let limit = query.take_limit()?;
    query.end()?;
    let page = app.broker.requests_of(&caller, statuses, before, limit).await?;
    Ok(Json(request_list(&app, &page, limit)))
}

pub(crate) fn request_list(app: &App, page: &[Seen], limit: usize) -> RequestList {
    let next = page.last().filter(|_| page.len() == limit);
    RequestList {
        next_cursor: next.map(|seen| seen.stored.request.id.to_string()),
        requests: page.iter().map(|seen| document::request(app, seen)).collect(),
    }
}

/// States, separated by commas.
pub(crate) fn statuses(text: &str) -> Option<Vec<Status>> {
    text.split(',').map(Status::parse).collect()
}

/// One of your requests.
///
/// With `wait`, the answer comes as soon as its version is above `version`, or the time is up.
#[utoipa::path(
    get,
    path = "/v1/requests/{id}",
    tag = "requests",
    params(
        ("id" = String, Path, description = "The request's id"),
        ("wait" = Option<u64>, Query, minimum = 0, maximum = 50, description = "Seconds to wait for a change"),
        ("version" = Option<u64>, Query, description = "The version that you know"),
    ),
    responses((status = 200, description = "The request", body = RequestDocument), AgentsProblems),
)]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
) -> Outcome<Json<RequestDocument>> {
    let id = request_id(&id)?;
    let mut query = Query::of(&uri)?;
    let wait = query.take_wait()?;
    let version = query.take_as("version", "write the version that you know", whole)?;
    query.end()?;
    let seen = app.broker.request_of(&caller, id).await?;
    let seen = waited(&app, &caller, seen, version, wait).await?;
    Ok(Json(document::request(&app, &seen)))
}

/// Redeem a grant: from here on you may execute the canonical bytes, once.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/execution",
    tag = "requests",
    params(("id" = String, Path, description = "The request's id")),
    request_body = ClaimRequest,
    responses((status = 200, description = "The grant is yours", body = ClaimedDocument), AgentsProblems),
)]
pub(crate) async fn claim(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<ClaimedDocument>> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    let body = read_json(request, ClaimRequest::from_json).await?;
    let claimed = app.broker.claim_external(&caller, id, &body.digest.to_string(), &body.claim).await?;
    Ok(Json(ClaimedDocument {
        execution_id: claimed.execution.to_string(),
        canonical: claimed.canonical,
        outcome_deadline: claimed.outcome_deadline.to_string(),
    }))
}

/// Say what became of your execution.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/outcome",
    tag = "requests",
    params(("id" = String, Path, description = "The request's id")),
    request_body = OutcomeRequest,
    responses((status = 200, description = "The request with its outcome", body = RequestDocument), AgentsProblems),
)]
pub(crate) async fn outcome(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<RequestDocument>> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    let body = read_json(request, OutcomeRequest::from_json).await?;
    let report = OutcomeReport {
        execution: body.execution_id,
        outcome: body.outcome.as_str().to_owned(),
        summary: body.summary,
        measures: body.measures,
        result_digest: body.result_digest,
    };
    let seen = app.broker.report_outcome(&caller, id, report).await?;
    Ok(Json(document::request(&app, &seen)))
}

/// Withdraw a request that nobody has begun to execute.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}/cancel",
    tag = "requests",
    params(("id" = String, Path, description = "The request's id")),
    responses((status = 200, description = "The request, cancelled", body = RequestDocument), AgentsProblems),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<RequestDocument>> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    read_nothing(request).await?;
    let seen = app.broker.cancel(&caller, id).await?;
    Ok(Json(document::request(&app, &seen)))
}

/// An id that is none names nothing of the caller's.
pub(crate) fn request_id(text: &str) -> Outcome<RequestId> {
    RequestId::parse(text).map_err(|_| Failure::not_found())
}

/// The request once it is newer than a version, the time is up, or the process drains.
pub(crate) async fn waited(
    app: &App,
    caller: &Caller,
    seen: Seen,
    newer_than: Option<u64>,
    wait: Duration,
) -> Outcome<Seen> {
    if wait.is_zero() || !seen.stored.request.status().is_open() {
        return Ok(seen);
    }
    let request = &seen.stored.request;
    let known = newer_than.unwrap_or(request.version);
    tokio::select! {
        newer = app.broker.wait_of(caller, request.id, Some(known), wait) => Ok(newer?),
        () = app.stopped() => Ok(seen),
    }
}
