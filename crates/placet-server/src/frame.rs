//! The frame around every call: an id, a span, a metric, and an answer even when a handler panics.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use placet_api::WAIT_SECONDS_MAX;
use placet_api::command::BLOB_BYTES_MAX;
use placet_api::problem::{PROBLEM_JSON, Problem};
use placet_core::entropy::{Entropy, random_bytes};
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::app::App;
use crate::body::refuse_declared;
use crate::failure::Failure;
use crate::metrics::{Metrics, word_of};

/// The id of one call: in the answer's `x-request-id`, in every problem, and in every log line about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallId(String);

impl CallId {
    /// The id, sixteen hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long a call may take beside what it asked to wait.
const CALL_SECONDS_MAX: u64 = 30;

#[derive(Clone)]
struct Frame {
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
    door: &'static str,
}

/// Puts the frame around a door. What is mounted has its own patience and body limits.
pub(crate) fn framed(router: Router, app: &App, door: &'static str) -> Router {
    let frame = Frame { entropy: app.entropy.clone(), metrics: app.metrics.clone(), door };
    in_frame(router, frame)
}

/// Puts the frame around the door of a process that has no broker: an enforcement point's, elsewhere.
pub fn standalone_door(router: Router, entropy: Arc<dyn Entropy>, door: &'static str) -> Router {
    let router = router.fallback(nothing_here).method_not_allowed_fallback(no_such_method);
    in_frame(router, Frame { entropy, metrics: Arc::new(Metrics::new()), door })
}

fn in_frame(router: Router, around: Frame) -> Router {
    router.layer(CatchPanicLayer::custom(panicked)).layer(from_fn_with_state(around, frame))
}

/// Bounds how long each call of a router may take until its answer begins.
pub(crate) fn patient(router: Router) -> Router {
    router.route_layer(from_fn(patience))
}

async fn patience(request: Request, next: Next) -> Response {
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="));
    let seconds = CALL_SECONDS_MAX + if waits { WAIT_SECONDS_MAX } else { 0 };
    match tokio::time::timeout(Duration::from_secs(seconds), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail =
                "The call was not read or answered in time. Ask what became of it before you repeat it.";
            Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

async fn frame(State(frame): State<Frame>, mut request: Request, next: Next) -> Response {
    let id = CallId(hex(&random_bytes::<8>(frame.entropy.as_ref())));
    // Whatever a caller wrote there is not our id; what is mounted behind the door reads ours there.
    let header = HeaderValue::from_str(&id.0);
    request.headers_mut().remove(&REQUEST_ID);
    request.headers_mut().extend(header.ok().map(|value| (REQUEST_ID, value)));
    request.extensions_mut().insert(id.clone());
    // The route's pattern, and a method only if it is one of ours: what a caller writes may be a secret.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let span =
        tracing::info_span!("call", door = frame.door, call.id = %id.0, method = word_of(&method), route);
    span.in_scope(|| tracing::debug!("received"));
    let began = Instant::now();
    let response = if !crate::query::is_text(request.uri().path()) {
        // No name of ours is like that. The router would say so in words of its own.
        Failure::not_found().into_response()
    } else if let Err(failure) = refuse_declared(request.headers(), BLOB_BYTES_MAX) {
        // No call takes more than an input of a command has.
        failure.into_response()
    } else {
        next.run(request).instrument(span.clone()).await
    };
    let (status, took) = (response.status(), began.elapsed());
    frame.metrics.called(frame.door, &method, status, took);
    span.in_scope(|| tracing::info!(status = status.as_u16(), took_ms = took.as_millis() as u64, "answered"));
    finished(response, &id)
}

fn finished(mut response: Response, id: &CallId) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = written(response, problem.of_call(&id.0));
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    set_default(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set_default(headers, header::CACHE_CONTROL, "no-store");
    set_default(headers, header::REFERRER_POLICY, "same-origin");
    response
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}

/// The problem's document as the body, under the headers that the failure set.
fn written(response: Response, problem: Problem) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    // Strings and numbers: writing them cannot fail.
    Response::from_parts(parts, Body::from(serde_json::to_vec(&problem).unwrap_or_default()))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    Failure::internal(text).into_response()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What no route answers.
pub(crate) async fn nothing_here() -> Failure {
    Failure::not_found()
}

/// A route without this method.
pub(crate) async fn no_such_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not take that method.",
    )
}
