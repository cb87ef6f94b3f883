//! The reviewers' door: people, by the cookie of a session or by an API token of theirs.
//!
//! ```text
//!  Host ours? ──► session cookie or person's token ──► pages, /v1, /log
//!                 every POST with a cookie: a page of ours made it (Origin), and it carries the form's token
//! ```

pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod log;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use placet_broker::CallError;
use placet_broker::access::{AGENT_PREFIX, PEP_PREFIX};
use placet_broker::review::Reviewer;
use placet_core::secret::Secret;

use crate::agents::bearer_of;
use crate::app::{App, Door};
use crate::failure::{Failure, Outcome};
use crate::frame::{framed, no_such_method, nothing_here, patient};
use crate::gate::{Host, Origin};
use crate::{assets, audit, health, overview, pages};

const REALM: &str = "Bearer realm=\"placet reviewers\"";
/// Where a program that uses a session's cookie puts the form's token.
const FORM_TOKEN_HEADER: &str = "x-placet-form-token";

/// The reviewers' door: the inbox, the API behind it, and the ledger's files.
pub fn reviewers_door(app: &App) -> Router {
    let api = Router::new()
        .route("/v1/reviews", get(api::list))
        .route("/v1/reviews/events", get(events::hints))
        .route("/v1/reviews/{id}", get(api::show))
        .route("/v1/reviews/{id}/recording", get(api::recording))
        .route("/v1/reviews/{id}/votes", post(api::vote))
        .route("/v1/reviews/{id}/resolution", post(api::resolve))
        .route("/v1/audit/requests", get(audit::requests))
        .route("/v1/audit/requests/{id}", get(audit::story))
        .route("/v1/audit/log", get(audit::follow))
        .route("/v1/audit/entries", get(api::entries))
        .route("/v1/overview", get(overview::show))
        .with_state(app.clone())
        .route_layer(from_fn_with_state(app.clone(), authenticate));
    let files = Router::new()
        .route("/log/checkpoint", get(log::checkpoint))
        .route("/log/tile/{*path}", get(log::tile))
        .with_state(app.clone())
        .route_layer(from_fn_with_state(app.clone(), authenticate_for_log));
    let door = patient(api.merge(files).merge(pages::routes(app)))
        .merge(assets::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), pages::failures_as_pages))
        .layer(from_fn_with_state(app.clone(), require_our_host))
        .merge(health::routes(app));
    framed(door, app, "reviewers")
}

/// Refuses calls that name another host: a rebound name, or a proxy that nobody declared.
async fn require_our_host(State(app): State<App>, mut request: Request, next: Next) -> Outcome<Response> {
    let Some(host) = app.gate.host(request.headers(), request.uri()) else {
        let detail = format!("This door answers at {} only.", app.reviewers_url);
        return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, "other_host", detail));
    };
    if app.gate.origin(request.headers(), &host) == Origin::Foreign && !is_reading(request.method()) {
        return Err(foreign_origin());
    }
    request.extensions_mut().insert(host);
    Ok(next.run(request).await)
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn foreign_origin() -> Failure {
    let detail = "Another site's page made this call, or one that hides where it is from. Nothing was done.";
    Failure::forbidden("foreign_origin", detail)
}

/// Lets a person in, by API token or by session.
async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Outcome<Response> {
    let host = host_of(&request)?.clone();
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let tried = VoteTried::by(&app, &request);
    let reviewer = match reviewer_of(&app, &method, &headers, &host).await {
        Ok(reviewer) => reviewer,
        Err(failure) => return Err(noted(&app, tried, failure).await),
    };
    request.extensions_mut().insert(reviewer);
    Ok(next.run(request).await)
}

/// The routes by which people vote, with the channel that they are.
const VOTES: [(&str, &str); 2] = [("/v1/reviews/{id}/votes", "api"), ("/r/{name}/vote", "inbox")];

/// A try to vote: with which credential, on which review, through which channel.
pub(crate) struct VoteTried {
    credential: String,
    review: String,
    channel: &'static str,
}

impl VoteTried {
    /// What this call tries, if it is to vote.
    pub(crate) fn by(app: &App, request: &Request) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        let (_, channel) = VOTES.into_iter().find(|(pattern, _)| route == *pattern)?;
        let headers = request.headers();
        let credential = if headers.contains_key(header::AUTHORIZATION) {
            bearer_of(headers, REALM).ok()?
        } else {
            app.gate.session_cookie(headers)?
        };
        let review = request.uri().path().rsplit('/').nth(1)?.to_owned();
        Some(VoteTried { credential: credential.to_owned(), review, channel })
    }
}

/// A call that was not let in, remembered if it tried to vote with what was a person's until it ended.
pub(crate) async fn noted(app: &App, tried: Option<VoteTried>, failure: Failure) -> Failure {
    let (StatusCode::UNAUTHORIZED, Some(tried)) = (failure.status(), tried) else { return failure };
    match app.broker.note_ended_vote(&tried.credential, &tried.review, tried.channel).await {
        Ok(()) => failure,
        Err(error) => error.into(),
    }
}

/// The ledger's files may be public: they hold commitments, not what is committed to.
async fn authenticate_for_log(State(app): State<App>, request: Request, next: Next) -> Outcome<Response> {
    if !app.ledger_public {
        let host = host_of(&request)?.clone();
        let (method, headers) = (request.method().clone(), request.headers().clone());
        reviewer_of(&app, &method, &headers, &host).await?;
    }
    Ok(next.run(request).await)
}

async fn reviewer_of(app: &App, method: &Method, headers: &HeaderMap, host: &Host) -> Outcome<Reviewer> {
    if headers.contains_key(header::AUTHORIZATION) {
        let bearer = bearer_of(headers, REALM)?;
        return match app.broker.reviewer_by_token(bearer).await {
            Err(CallError::Unauthenticated) => Err(wrong_credential(app, bearer).await),
            other => Ok(other?),
        };
    }
    let reviewer = reviewer_by_cookie(app, headers, host).await?;
    if !is_reading(method) {
        let token = headers.get(FORM_TOKEN_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        require_own_page(app, headers, host)?;
        require_form_token(&reviewer, token)?;
    }
    Ok(reviewer)
}

/// The person whose session a call's cookie is.
pub(crate) async fn reviewer_by_cookie(app: &App, headers: &HeaderMap, host: &Host) -> Outcome<Reviewer> {
    let Some(cookie) = app.gate.session_cookie(headers) else {
        return Err(Failure::unauthenticated("Sign in, or send a person's API token.").with_realm(REALM));
    };
    match app.broker.reviewer_by_cookie(cookie, &host.name).await {
        Err(CallError::Unauthenticated) => {
            Err(Failure::unauthenticated("Your session has ended. Sign in again.").with_realm(REALM))
        }
        other => Ok(other?),
    }
}

/// An agent's token opens nothing here, and a valid one at this door is worth an entry.
async fn wrong_credential(app: &App, bearer: &str) -> Failure {
    if bearer.starts_with(PEP_PREFIX) {
        let detail =
            "This is an enforcement point's token. It opens /v1/pep at the agents' door, and nothing here.";
        return Failure::unauthenticated(detail).with_realm(REALM);
    }
    if !bearer.starts_with(AGENT_PREFIX) {
        return Failure::unauthenticated("This token opens nothing here.").with_realm(REALM);
    }
    if let Ok(caller) = app.broker.authenticate_agent(bearer).await {
        let whose = format!("the token of agent {} at the reviewers' door", caller.agent.id);
        if let Err(error) = app.note_wrong_door(Door::Reviewers, &whose).await {
            return error.into();
        }
    }
    let detail = "This is an agent's token. It opens the agents' door; no agent can review.";
    Failure::unauthenticated(detail).with_realm(REALM)
}

/// The host that `require_our_host` found.
pub(crate) fn host_of(request: &Request) -> Outcome<&Host> {
    request.extensions().get::<Host>().ok_or_else(|| Failure::internal("a call got past the host check"))
}

/// Refuses what no page of this door sent.
pub(crate) fn require_own_page(app: &App, headers: &HeaderMap, host: &Host) -> Outcome<()> {
    if app.gate.origin(headers, host) == Origin::Same { Ok(()) } else { Err(foreign_origin()) }
}

/// Refuses a form that this session's pages did not make.
pub(crate) fn require_form_token(reviewer: &Reviewer, token: &str) -> Outcome<()> {
    let own = Secret::new(reviewer.form_token.as_bytes());
    // A person without a session has no forms, so an empty token is nobody's.
    if !reviewer.form_token.is_empty() && own == Secret::new(token.as_bytes()) {
        return Ok(());
    }
    let detail = "This form is not of your present session. Open the page again. Nothing was done.";
    Err(Failure::forbidden("foreign_form", detail))
}
