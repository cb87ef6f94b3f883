//! What an enforcement point outside of placet's own process asks of the agents' door: `/v1/pep`.
//!
//! ```text
//! bearer ─► which enforcement point, of which kind         x-placet-agent-token ─► which agent it calls for
//!                 └───────────── Enforcer ── use case ── Caller ─────────────┘
//! ```
//!
//! It sees and carries out what it took in itself, and nothing else. Secrets leave with a claim, to whoever holds the
//! execution.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_api::intake::Resource;
use placet_api::pep::{
    AGENT_TOKEN_HEADER, AbandonRequest, CALLER_UNAUTHENTICATED, CallerDocument, GuideDocument, GuideRequest,
    HeldDocument, HeldExecution, HeldList, InterceptedRequest, OUTCOME_BODY_BYTES_MAX, PepClaim, PepDocument,
    PepOutcome, ReleasedSecret, TakenIn,
};
use placet_api::request::RequestDocument;
use placet_broker::CallError;
use placet_broker::access::AGENT_PREFIX;
use placet_broker::execution::{ClaimedGrant, Ended, Recorded};
use placet_broker::intake::{Caller, Envelope, InterceptedCall};
use placet_broker::peps::Enforcer;
use placet_core::digest::Sha256Digest;
use placet_core::directory::Pep;
use placet_core::id::ExecutionId;
use placet_core::request::{OutcomeKind, Request as ActionRequest};

use super::requests::{request_id, waited};
use super::{REALM, bearer_of, too_many_open};
use crate::app::{App, Door};
use crate::body::{read_json, read_large_json, read_nothing};
use crate::document;
use crate::failure::{Failure, Outcome};
use crate::openapi::AgentsProblems;
use crate::query::{Query, whole};

/// Lets an enforcement point in, and finds out for which agent it calls, if it says for one.
pub(crate) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Outcome<Response> {
    let bearer = bearer_of(request.headers(), REALM)?;
    let pep = match app.broker.authenticate_pep(bearer).await {
        Ok(pep) => pep,
        Err(CallError::Unauthenticated) => return Err(wrong_credential(&app, bearer).await),
        Err(error) => return Err(error.into()),
    };
    let caller = caller_of(&app, request.headers()).await?;
    let seat = match &caller {
        Some(caller) => app.seats.take(caller.principal),
        None => app.seats.take(pep.id),
    };
    let Some(seat) = seat else { return Err(too_many_open()) };
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    request.extensions_mut().insert(pep);
    Ok(seat.held_by(next.run(request).await))
}

/// The agent whose token the enforcement point was shown, if it passes one on.
async fn caller_of(app: &App, headers: &HeaderMap) -> Outcome<Option<Caller>> {
    let mut written = headers.get_all(AGENT_TOKEN_HEADER).iter();
    let Some(token) = written.next() else { return Ok(None) };
    let refused = |detail: &str| Failure::new(StatusCode::UNAUTHORIZED, CALLER_UNAUTHENTICATED, detail);
    if written.next().is_some() {
        return Err(refused("Send the agent's token once."));
    }
    match app.broker.authenticate_agent(token.to_str().unwrap_or_default()).await {
        Ok(caller) => Ok(Some(caller)),
        Err(CallError::Unauthenticated) => Err(refused("The agent's token opens nothing here.")),
        Err(error) => Err(error.into()),
    }
}

/// An agent's token opens nothing here, and a valid one is worth an entry.
async fn wrong_credential(app: &App, bearer: &str) -> Failure {
    if !bearer.starts_with(AGENT_PREFIX) {
        return Failure::unauthenticated("This token opens nothing here.").with_realm(REALM);
    }
    if let Ok(caller) = app.broker.authenticate_agent(bearer).await {
        let whose = format!("the token of agent {} at the enforcement points' calls", caller.agent.id);
        if let Err(error) = app.note_wrong_door(Door::Agents, &whose).await {
            return error.into();
        }
    }
    let detail =
        "This is an agent's token. These calls are an enforcement point's, which has a token of its own.";
    Failure::unauthenticated(detail).with_realm(REALM)
}

/// The agent on whose behalf an enforcement point calls.
pub(crate) struct OnBehalfOf(Caller);

impl<S: Sync> FromRequestParts<S> for OnBehalfOf {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let detail = format!("Send the token of the agent that asks in the header {AGENT_TOKEN_HEADER}.");
        let missing = || Failure::bad_request("missing_agent_token", detail);
        parts.extensions.get::<Caller>().cloned().map(OnBehalfOf).ok_or_else(missing)
    }
}

/// Who you are.
#[utoipa::path(
    get,
    path = "/v1/pep",
    tag = "enforcement points",
    responses((status = 200, description = "You", body = PepDocument), AgentsProblems),
    security(("pep_token" = [])),
)]
pub(crate) async fn whoami(Extension(pep): Extension<Pep>, uri: Uri) -> Outcome<Json<PepDocument>> {
    Query::of(&uri)?.end()?;
    Ok(Json(PepDocument { id: pep.id.to_string(), name: pep.name, kind: pep.kind.as_str().to_owned() }))
}

/// Whose token an agent has shown you.
#[utoipa::path(
    get,
    path = "/v1/pep/caller",
    tag = "enforcement points",
    responses((status = 200, description = "The agent", body = CallerDocument), AgentsProblems),
    security(("pep_token" = [], "shown_agent_token" = [])),
)]
pub(crate) async fn caller(OnBehalfOf(caller): OnBehalfOf, uri: Uri) -> Outcome<Json<CallerDocument>> {
    Query::of(&uri)?.end()?;
    let principal = caller.principal;
    Ok(Json(CallerDocument { kind: principal.kind().to_owned(), id: principal.to_string() }))
}

/// What does the active policy say about a command: what it means, how it would be run, which secrets there are?
///
/// With an agent's token it is refused while that agent calls too often, before there is any work.
#[utoipa::path(
    post,
    path = "/v1/pep/guide",
    tag = "enforcement points",
    request_body = GuideRequest,
    responses((status = 200, description = "What it says", body = GuideDocument), AgentsProblems),
    security(("pep_token" = []), ("pep_token" = [], "shown_agent_token" = [])),
)]
pub(crate) async fn guide(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    caller: Option<Extension<Caller>>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<GuideDocument>> {
    Query::of(&uri)?.end()?;
    if let Some(Extension(caller)) = caller {
        app.broker.may_call(&caller).await?;
    }
    let body = read_json(request, GuideRequest::from_json).await?;
    let guide = app.broker.guide_command(&Enforcer::Remote(pep), &body.argv).await?;
    Ok(Json(GuideDocument {
        action: guide.action.as_str().to_owned(),
        resource: Resource { kind: guide.resource.kind().to_owned(), id: guide.resource.id().to_owned() },
        bundle: guide.bundle.to_string(),
        runner_toml: guide.runner_toml,
        secrets: guide.secrets,
    }))
}

/// Hand in what an agent asked you for.
///
/// With `start`, what policy permits without a review begins in the transaction that takes it in, and the answer is its
/// execution; everything else is as without.
#[utoipa::path(
    post,
    path = "/v1/pep/requests",
    tag = "enforcement points",
    request_body = InterceptedRequest,
    responses(
        (status = 201, description = "A new request", body = TakenIn),
        (status = 200, description = "The request that this call repeats", body = TakenIn),
        AgentsProblems,
    ),
    security(("pep_token" = [], "shown_agent_token" = [])),
)]
pub(crate) async fn submit(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    OnBehalfOf(caller): OnBehalfOf,
    uri: Uri,
    request: Request,
) -> Outcome<Response> {
    Query::of(&uri)?.end()?;
    let body = read_json(request, InterceptedRequest::from_json).await?;
    let enforcer = Enforcer::Remote(pep);
    let call = InterceptedCall {
        target: body.target,
        planned_for: Some((body.action, body.resource)),
        grade: body.grade,
        arguments: body.arguments,
        pins: body.pins,
        envelope: Envelope {
            justification: body.justification,
            on_behalf_of: body.on_behalf_of,
            idempotency_key: body.idempotency_key,
        },
    };
    let (submitted, claimed) = match &body.start {
        Some(claim) => app.broker.submit_and_start(&enforcer, &caller, call, claim).await?,
        None => (app.broker.submit_intercepted(&enforcer, &caller, call).await?, None),
    };
    let execution = match claimed {
        Some(grant) => Some(held(&app, &enforcer, &submitted.seen.stored.request, grant).await?),
        None => None,
    };
    let status = if submitted.new { StatusCode::CREATED } else { StatusCode::OK };
    let request = document::request(&app, &submitted.seen);
    Ok((status, Json(TakenIn { new: submitted.new, request, execution })).into_response())
}

/// An execution with the secrets that go with it.
async fn held(
    app: &App,
    enforcer: &Enforcer,
    request: &ActionRequest,
    grant: ClaimedGrant,
) -> Outcome<HeldDocument> {
    let released = app.broker.secrets_for(enforcer, request.id, grant.execution).await?;
    let mut secrets = BTreeMap::new();
    for (variable, secret) in released {
        let Some(pin) = request.action.pins.secrets.get(&variable) else {
            return Err(Failure::internal("a secret was released that nobody approved"));
        };
        let value = STANDARD.encode(secret.expose());
        secrets.insert(variable, ReleasedSecret { name: pin.name.clone(), version: pin.version, value });
    }
    Ok(HeldDocument {
        execution_id: grant.execution.to_string(),
        digest: request.canonical.digest().to_string(),
        canonical: grant.canonical,
        outcome_deadline: grant.outcome_deadline.to_string(),
        secrets,
    })
}

/// A request that you took in, for the agent that asked for it.
///
/// With `wait`, the answer comes as soon as its version is above `version`, or the time is up.
#[utoipa::path(
    get,
    path = "/v1/pep/requests/{id}",
    tag = "enforcement points",
    params(
        ("id" = String, Path, description = "The request's id"),
        ("wait" = Option<u64>, Query, minimum = 0, maximum = 50, description = "Seconds to wait for a change"),
        ("version" = Option<u64>, Query, description = "The version that you know"),
    ),
    responses((status = 200, description = "The request", body = RequestDocument), AgentsProblems),
    security(("pep_token" = [], "shown_agent_token" = [])),
)]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    OnBehalfOf(caller): OnBehalfOf,
    Path(id): Path<String>,
    uri: Uri,
) -> Outcome<Json<RequestDocument>> {
    let id = request_id(&id)?;
    let mut query = Query::of(&uri)?;
    let wait = query.take_wait()?;
    let version = query.take_as("version", "write the version that you know", whole)?;
    query.end()?;
    let seen = app.broker.intercepted_request(&Enforcer::Remote(pep), &caller, id).await?;
    let seen = waited(&app, &caller, seen, version, wait).await?;
    Ok(Json(document::request(&app, &seen)))
}

/// Redeem the grant of a request that you took in: from here on you may execute the canonical bytes, once.
#[utoipa::path(
    post,
    path = "/v1/pep/requests/{id}/execution",
    tag = "enforcement points",
    params(("id" = String, Path, description = "The request's id")),
    request_body = PepClaim,
    responses((status = 200, description = "The execution is yours", body = HeldDocument), AgentsProblems),
    security(("pep_token" = [], "shown_agent_token" = [])),
)]
pub(crate) async fn claim(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    OnBehalfOf(caller): OnBehalfOf,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<HeldDocument>> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    let body = read_json(request, PepClaim::from_json).await?;
    let enforcer = Enforcer::Remote(pep);
    let seen = app.broker.request_of(&caller, id).await?;
    let grant = app.broker.claim_for(&enforcer, &caller, id, &body.claim).await?;
    Ok(Json(held(&app, &enforcer, &seen.stored.request, grant).await?))
}

/// Say what became of an execution of yours.
#[utoipa::path(
    post,
    path = "/v1/pep/requests/{id}/outcome",
    tag = "enforcement points",
    params(("id" = String, Path, description = "The request's id")),
    request_body = PepOutcome,
    responses((status = 204, description = "It is recorded"), AgentsProblems),
    security(("pep_token" = [])),
)]
pub(crate) async fn outcome(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<StatusCode> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    let PepOutcome { outcome: body, recording } =
        read_large_json(request, OUTCOME_BODY_BYTES_MAX, PepOutcome::from_json).await?;
    let execution = execution_id(&body.execution_id)?;
    let result = body.result_digest.as_deref().map(Sha256Digest::parse).transpose();
    let result = result.map_err(|error| Failure::bad_request("bad_digest", error.to_string()))?;
    let kind = OutcomeKind::parse(body.outcome.as_str())
        .ok_or_else(|| Failure::internal("an outcome's word is not one of ours"))?;
    let ended = Ended {
        kind,
        summary: body.summary,
        measures: body.measures,
        result,
        recording: recording
            .map(|recording| Recorded { bytes: recording.asciicast, truncated: recording.truncated }),
        delivery: None,
    };
    app.broker.complete_for(&Enforcer::Remote(pep), id, execution, ended).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say that nobody knows what became of an execution of yours: whoever carried it out is gone.
#[utoipa::path(
    post,
    path = "/v1/pep/requests/{id}/abandonment",
    tag = "enforcement points",
    params(("id" = String, Path, description = "The request's id")),
    request_body = AbandonRequest,
    responses((status = 204, description = "Its outcome is unknown from now on"), AgentsProblems),
    security(("pep_token" = [])),
)]
pub(crate) async fn abandon(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<StatusCode> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    let body = read_json(request, AbandonRequest::from_json).await?;
    let execution = execution_id(&body.execution_id)?;
    app.broker.abandon(&Enforcer::Remote(pep), id, execution, &body.why).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraw a request that you took in, for the agent that asked for it.
#[utoipa::path(
    post,
    path = "/v1/pep/requests/{id}/cancel",
    tag = "enforcement points",
    params(("id" = String, Path, description = "The request's id")),
    responses((status = 200, description = "The request, cancelled", body = RequestDocument), AgentsProblems),
    security(("pep_token" = [], "shown_agent_token" = [])),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    OnBehalfOf(caller): OnBehalfOf,
    Path(id): Path<String>,
    uri: Uri,
    request: Request,
) -> Outcome<Json<RequestDocument>> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    read_nothing(request).await?;
    app.broker.intercepted_request(&Enforcer::Remote(pep), &caller, id).await?;
    let seen = app.broker.cancel(&caller, id).await?;
    Ok(Json(document::request(&app, &seen)))
}

/// Every execution that you hold, for your recovery after a restart.
#[utoipa::path(
    get,
    path = "/v1/pep/executions",
    tag = "enforcement points",
    responses((status = 200, description = "All of them", body = HeldList), AgentsProblems),
    security(("pep_token" = [])),
)]
pub(crate) async fn executions(
    State(app): State<App>,
    Extension(pep): Extension<Pep>,
    uri: Uri,
) -> Outcome<Json<HeldList>> {
    Query::of(&uri)?.end()?;
    let held = app.broker.executions_of(&Enforcer::Remote(pep)).await?;
    let line = |(request, execution): (placet_core::id::RequestId, ExecutionId)| HeldExecution {
        request: request.to_string(),
        execution_id: execution.to_string(),
    };
    Ok(Json(HeldList { executions: held.into_iter().map(line).collect() }))
}

fn execution_id(text: &str) -> Outcome<ExecutionId> {
    ExecutionId::parse(text).map_err(|error| Failure::bad_request("bad_execution", error.to_string()))
}
