//! The agents' door of a gateway that stands elsewhere than placet: the command enforcement point's calls, and what its
//! callers need beside them. Agents come with the tokens that they have anyway; who they are, the authority says.
//!
//! ```text
//! bearer ─► authority: whose is it? ─► Caller ─► commands, GET /v1/requests/{id}, POST /v1/requests/{id}/cancel
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use placet_api::WAIT_SECONDS_MAX;
use placet_core::secret::Secret;
use serde::Deserialize;

use crate::authority::Authority;
use crate::commands::problem::{self, Refusal};
use crate::commands::{By, Commands, request_id};
use crate::remote::RemoteAuthority;

/// The whole door, to be framed and served. `/healthz` and `/readyz` need no token.
pub fn router(authority: Arc<RemoteAuthority>, commands: &Commands) -> Router {
    let requests = Router::new()
        .route("/v1/requests/{id}", get(show))
        .route("/v1/requests/{id}/cancel", post(cancel))
        .layer(from_fn(problem::with_call_id))
        .with_state(authority.clone());
    let open = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready))
        .with_state(authority.clone());
    requests.merge(commands.router()).route_layer(from_fn_with_state(authority, authenticate)).merge(open)
}

async fn authenticate(
    State(authority): State<Arc<RemoteAuthority>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let token = bearer_of(request.headers()).ok_or_else(problem::unauthenticated)?;
    let caller = authority.caller(token).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The one bearer token of a call.
fn bearer_of(headers: &HeaderMap) -> Option<Secret> {
    let mut written = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (written.next()?, written.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::new(token))
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The authority can be reached, and knows this gateway.
async fn ready(State(authority): State<Arc<RemoteAuthority>>) -> Response {
    match authority.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            let detail = "Not ready: see the log of this gateway.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail).into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowQuery {
    #[serde(default)]
    wait: u64,
    version: Option<u64>,
}

async fn show(
    State(authority): State<Arc<RemoteAuthority>>,
    By(caller): By,
    Path(id): Path<String>,
    query: Result<Query<ShowQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let bad =
        || problem::bad_query("wait and version", &format!("whole numbers, wait {WAIT_SECONDS_MAX} at most"));
    let Query(query) = query.map_err(|_| bad())?;
    if query.wait > WAIT_SECONDS_MAX {
        return Err(bad());
    }
    let (id, wait) = (request_id(&id)?, Duration::from_secs(query.wait));
    let known = match query.version {
        Some(version) => version,
        None => {
            // Every request has a first version, so this waits for nothing.
            let shown = authority.wait(caller.clone(), id, 0, Duration::ZERO).await?;
            if wait.is_zero() || !shown.document.status.is_open() {
                return Ok(Json(shown.document).into_response());
            }
            shown.document.version
        }
    };
    Ok(Json(authority.wait(caller, id, known, wait).await?.document).into_response())
}

async fn cancel(
    State(authority): State<Arc<RemoteAuthority>>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let id = request_id(&id)?;
    Ok(Json(authority.cancel(caller, id).await?.document).into_response())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_call_has_one_bearer_token() {
        for (written, token) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&[], None),
            (&["Bearer "], None),
            (&["Basic abc"], None),
            (&["abc"], None),
            (&["Bearer a", "Bearer b"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in written {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(bearer_of(&headers), token.map(Secret::new), "{written:?}");
        }
    }
}
