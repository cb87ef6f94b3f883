//! The agents' door: bearer tokens of agents and pipelines; under `/v1/pep` those of enforcement points; nothing else.

pub(crate) mod events;
pub(crate) mod pep;
pub(crate) mod requests;

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use placet_broker::CallError;
use placet_broker::access::{PEP_PREFIX, PERSON_PREFIX};
use placet_broker::intake::Caller;
use placet_core::directory::CredentialVersion;

use crate::app::{App, Door};
use crate::failure::{Failure, Outcome};
use crate::frame::{framed, no_such_method, nothing_here, patient};
use crate::health;

pub(crate) const REALM: &str = "Bearer realm=\"placet agents\"";

/// The agents' door, with the calls of enforcement points that stand elsewhere. `mounted` are the routers of enforcement points: behind the same authentication, they find core's
/// `Principal` and broker's `Caller` among the request's extensions, and bound bodies and time by themselves. A failure
/// of theirs may leave an `placet_api::problem::Problem` among the response's extensions; its document is written here.
pub fn agents_door(app: &App, mounted: Router) -> Router {
    let requests = Router::new()
        .route("/v1/requests", get(requests::list).post(requests::submit))
        .route("/v1/requests/{id}", get(requests::show))
        .route("/v1/requests/{id}/events", get(events::follow))
        .route("/v1/requests/{id}/execution", post(requests::claim))
        .route("/v1/requests/{id}/outcome", post(requests::outcome))
        .route("/v1/requests/{id}/cancel", post(requests::cancel))
        .with_state(app.clone());
    let peps = Router::new()
        .route("/v1/pep", get(pep::whoami))
        .route("/v1/pep/caller", get(pep::caller))
        .route("/v1/pep/guide", post(pep::guide))
        .route("/v1/pep/requests", post(pep::submit))
        .route("/v1/pep/requests/{id}", get(pep::show))
        .route("/v1/pep/requests/{id}/execution", post(pep::claim))
        .route("/v1/pep/requests/{id}/outcome", post(pep::outcome))
        .route("/v1/pep/requests/{id}/abandonment", post(pep::abandon))
        .route("/v1/pep/requests/{id}/cancel", post(pep::cancel))
        .route("/v1/pep/executions", get(pep::executions))
        .with_state(app.clone())
        .route_layer(from_fn_with_state(app.clone(), pep::authenticate));
    let door = patient(requests)
        .merge(mounted)
        .route_layer(from_fn_with_state(app.clone(), authenticate))
        .merge(patient(peps))
        .merge(health::routes(app))
        .merge(crate::resource::routes(app))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method);
    framed(door, app, "agents")
}

async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Outcome<Response> {
    if let Some(resource) = &app.resource {
        resource.admit(request.headers(), request.uri())?;
    }
    let metadata = app.resource.as_ref().and_then(|resource| resource.metadata_of(request.uri().path()));
    let bearer = bearer_of(request.headers(), REALM);
    let caller = match bearer {
        Ok(bearer) => caller(&app, bearer, request.uri().path()).await,
        Err(failure) => Err(failure),
    };
    let caller = caller.map_err(|failure| failure.with_metadata(metadata))?;
    let Some(seat) = app.seats.take(caller.principal) else { return Err(too_many_open()) };
    request.extensions_mut().insert(caller.principal);
    request.extensions_mut().insert(CredentialVersion(caller.agent.credential_version));
    request.extensions_mut().insert(caller);
    Ok(seat.held_by(next.run(request).await))
}

/// Whose token it is: one of placet's own, or one that a trusted issuer signed for its workload.
async fn caller(app: &App, bearer: &str, path: &str) -> Outcome<Caller> {
    let Some(resource) = app.resource.as_ref().filter(|resource| resource.reads(bearer)) else {
        return match app.broker.authenticate_agent(bearer).await {
            Err(CallError::Unauthenticated) => Err(wrong_credential(app, bearer).await),
            authenticated => Ok(authenticated?),
        };
    };
    let workload = resource.workload(bearer, path, app.broker.now()).await?;
    match app.broker.agent_of(&workload).await {
        Err(CallError::Unauthenticated) => {
            let detail = "The token is good, and no active agent is its subject. An operator adds one with \
                          `placet agent add NAME --sponsor PERSON --issuer ISSUER --subject SUBJECT`.";
            Err(Failure::unauthenticated(detail).with_realm(REALM))
        }
        found => Ok(found?),
    }
}

pub(crate) fn too_many_open() -> Failure {
    let message =
        "Too many calls with this credential are open. End some of those that wait or follow.".to_owned();
    CallError::TooMany { code: "open_calls", message, retry_after: Duration::from_secs(1) }.into()
}

/// A person's token opens nothing here, and a valid one at this door is worth an entry.
async fn wrong_credential(app: &App, bearer: &str) -> Failure {
    if bearer.starts_with(PEP_PREFIX) {
        if let Ok(pep) = app.broker.authenticate_pep(bearer).await {
            let whose = format!("the token of enforcement point {} at the agents' calls", pep.id);
            if let Err(error) = app.note_wrong_door(Door::Agents, &whose).await {
                return error.into();
            }
        }
        let detail =
            "This is an enforcement point's token. It opens /v1/pep; agents have tokens of their own.";
        return Failure::unauthenticated(detail).with_realm(REALM);
    }
    if !bearer.starts_with(PERSON_PREFIX) {
        return Failure::unauthenticated("This token opens nothing here.").with_realm(REALM);
    }
    if let Ok(reviewer) = app.broker.reviewer_by_token(bearer).await {
        let whose = format!("a token of person {} at the agents' door", reviewer.verified.person);
        if let Err(error) = app.note_wrong_door(Door::Agents, &whose).await {
            return error.into();
        }
    }
    let detail = "This is a person's token. It opens the reviewers' door; agents have tokens of their own.";
    Failure::unauthenticated(detail).with_realm(REALM)
}

/// The one bearer token of a call.
pub(crate) fn bearer_of<'h>(headers: &'h HeaderMap, realm: &'static str) -> Outcome<&'h str> {
    let mut written = headers.get_all(header::AUTHORIZATION).iter();
    let refused = |detail: &str| Failure::unauthenticated(detail).with_realm(realm);
    let Some(value) = written.next() else {
        return Err(refused("Send your token in the header Authorization: Bearer …"));
    };
    if written.next().is_some() {
        return Err(refused("Send the header Authorization once."));
    }
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(token.trim())
        }
        _ => Err(refused("Send your token in the header Authorization: Bearer …")),
    }
}
