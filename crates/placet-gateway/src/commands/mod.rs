//! The command enforcement point's part of the agents' door.
//!
//! ```text
//! PUT  /v1/blobs/{sha256}            bytes ─► blobs
//! POST /v1/commands                  argv ─guide, plan, pin─► submit ─► request
//! POST /v1/commands/{id}/run         claim ─check against pins─► start ─► execution
//! GET  /v1/commands/{id}/output      spool ─► frames
//! POST /v1/commands/{id}/cancel      TERM, or withdrawal
//! ```
//!
//! Whoever mounts [`Commands::router`] has authenticated the caller and put core's `Principal` into the request, or a
//! [`Caller`] with the token that proves it elsewhere; a request without one is refused.

mod executions;
mod intake;
mod output;
pub(crate) mod problem;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use futures::future::BoxFuture;
use placet_api::command::{Blob, CommandIntake, Run};
use placet_api::{BODY_BYTES_MAX, JSON, WAIT_SECONDS_MAX};
use placet_core::action::Principal;
use placet_core::digest::Sha256Digest;
use placet_core::directory::CredentialVersion;
use placet_core::entropy::Entropy;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::time::{Clock, Timestamp};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::authority::{Authority, Caller, Shown};
use crate::blobs::Blobs;
use crate::runner::exec::Engine;
use crate::runner::room::Room;
use crate::runner::spool::SpoolSeal;
use executions::Executions;
use problem::{Refusal, no_such_request};

/// What the commands need from outside.
pub struct Parts {
    /// Who says what may be done.
    pub authority: Arc<dyn Authority>,
    /// Which runner this is, as its requests say: `runner:local`, or the one whose id stands there.
    pub target: String,
    /// How programs are executed.
    pub engine: Engine,
    /// Where inputs are.
    pub blobs: Blobs,
    /// Where output is spooled.
    pub spools: PathBuf,
    /// What the output of all executions may come to.
    pub output: Room,
    /// Makes the seal of an execution's spool, with a key of its own.
    pub seals: Arc<dyn Fn(ExecutionId) -> Box<dyn SpoolSeal> + Send + Sync>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Chance, for claim values.
    pub entropy: Arc<dyn Entropy>,
    /// Waits for the end of a lease.
    pub timer: Arc<dyn Timer>,
    /// Numbers that tests change.
    pub pace: Pace,
}

/// How long this crate waits for things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A silent stream of output says this often that it lives.
    pub keep_alive: Duration,
    /// Between two attempts at reporting an outcome that the authority could not write.
    pub report_again: Duration,
    /// From the end of an execution to the deletion of its output.
    pub output_kept_for: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            // Well below the idle time-outs of proxies.
            keep_alive: Duration::from_secs(15),
            report_again: Duration::from_secs(1),
            output_kept_for: Duration::from_secs(60 * 60),
        }
    }
}

/// Waits until a point in time.
pub trait Timer: Send + Sync {
    /// Ready when it is `deadline` or later.
    fn until(&self, deadline: Timestamp) -> BoxFuture<'static, ()>;
}

/// Waits by the runtime's timer, and looks at the clock when it rings.
pub struct ClockTimer(pub Arc<dyn Clock>);

impl Timer for ClockTimer {
    fn until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(&self.0);
        Box::pin(async move {
            loop {
                let left = deadline.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left).await;
            }
        })
    }
}

/// The command enforcement point. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Commands(Arc<Inner>);

/// How many programs are hashed at a time.
const HASHED_AT_ONCE: usize = 4;

struct Inner {
    parts: Parts,
    executions: Executions,
    hashing: Semaphore,
}

impl Commands {
    /// An enforcement point that executes on this machine.
    pub fn new(parts: Parts) -> Self {
        let (executions, hashing) = (Executions::default(), Semaphore::new(HASHED_AT_ONCE));
        Commands(Arc::new(Inner { parts, executions, hashing }))
    }

    /// Its routes, to be mounted behind the agents' door's authentication.
    pub fn router(&self) -> Router {
        let json = DefaultBodyLimit::max(BODY_BYTES_MAX);
        Router::new()
            .route("/v1/commands", post(submit).layer(json))
            .route("/v1/commands/{id}/run", post(run))
            .route("/v1/commands/{id}/cancel", post(cancel))
            .route("/v1/commands/{id}/output", get(read_output))
            .route("/v1/blobs/{sha256}", put(put_blob).layer(DefaultBodyLimit::disable()))
            .layer(middleware::from_fn(problem::with_call_id))
            .with_state(self.clone())
    }

    /// Deletes output and inputs that nobody came for. Asks for nothing and can run at any time.
    pub fn sweep(&self, now: Timestamp) {
        self.0.executions.sweep(now, self.0.parts.pace.output_kept_for);
        if let Err(error) = self.0.parts.blobs.sweep(now) {
            tracing::error!(%error, "old inputs could not be deleted");
        }
    }

    /// Starts no more programs, cancels those that run, and waits until their outcomes are reported.
    pub async fn drain(&self) {
        self.0.executions.drain().await;
    }
}

/// Who called; put into the request by the door.
pub(crate) struct By(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut RequestParts, _: &S) -> Result<Self, Refusal> {
        let proven = parts.extensions.get::<Caller>().cloned();
        let credential = parts.extensions.get::<CredentialVersion>().copied();
        let known = parts.extensions.get::<Principal>().map(|who| Caller::known(*who, credential));
        proven.or(known).map(By).ok_or_else(problem::unauthenticated)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    #[serde(default)]
    wait: u64,
}

async fn submit(
    State(commands): State<Commands>,
    By(caller): By,
    query: Result<Query<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let bad_wait = || problem::bad_query("wait", &format!("whole seconds, {WAIT_SECONDS_MAX} at most"));
    let Query(query) = query.map_err(|_| bad_wait())?;
    if query.wait > WAIT_SECONDS_MAX {
        return Err(bad_wait());
    }
    if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return Err(problem::not_json());
    }
    let call = CommandIntake::from_json(&body.map_err(problem::unreadable)?).map_err(problem::bad_body)?;
    let submitted = commands.intake(caller.clone(), call).await?;
    let shown = commands.wait_while_pending(caller, submitted.shown, query.wait).await?;
    let status = if submitted.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown.document)).into_response())
}

/// Whether it says JSON, and no other encoding than JSON's own.
fn is_json(value: &axum::http::HeaderValue) -> bool {
    let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
    let named = parts.next().unwrap_or_default().eq_ignore_ascii_case(JSON);
    named && parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"))
}

impl Commands {
    async fn wait_while_pending(&self, caller: Caller, shown: Shown, seconds: u64) -> Result<Shown, Refusal> {
        if seconds == 0 || shown.document.status != placet_api::request::Status::Pending {
            return Ok(shown);
        }
        let wait = Duration::from_secs(seconds);
        Ok(self.0.parts.authority.wait(caller, shown.id, shown.document.version, wait).await?)
    }
}

/// For calls that take no query: what nobody knows is refused, not ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

async fn run(
    State(commands): State<Commands>,
    By(caller): By,
    Path(id): Path<String>,
    query: Result<Query<NoQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    query.map_err(|_| problem::no_query())?;
    let request = request_id(&id)?;
    // A task of its own: between the claim and the start nothing may be lost because a client hung up.
    let started = tokio::spawn(async move { commands.run(caller, request).await });
    let (execution, new) = started.await.map_err(|_| problem::internal())??;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Run { execution_id: execution.to_string() })).into_response())
}

async fn cancel(
    State(commands): State<Commands>,
    By(caller): By,
    Path(id): Path<String>,
    query: Result<Query<NoQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    query.map_err(|_| problem::no_query())?;
    let request = request_id(&id)?;
    if commands.0.executions.cancel(caller.principal(), request) {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let shown = commands.0.parts.authority.cancel(caller, request).await?;
    Ok(Json(shown.document).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputQuery {
    #[serde(default)]
    from: u64,
}

async fn read_output(
    State(commands): State<Commands>,
    By(caller): By,
    Path(id): Path<String>,
    query: Result<Query<OutputQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|_| problem::bad_query("from", "a number of bytes"))?;
    let spool = commands.0.executions.output(caller.principal(), request_id(&id)?);
    let spool = spool.ok_or_else(no_such_request)?;
    output::respond(spool, query.from, commands.0.parts.pace.keep_alive).await
}

async fn put_blob(
    State(commands): State<Commands>,
    By(caller): By,
    Path(sha256): Path<String>,
    query: Result<Query<NoQuery>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Response, Refusal> {
    query.map_err(|_| problem::no_query())?;
    let sha256 = Sha256Digest::parse(&sha256).map_err(|_| problem::bad_digest())?;
    let kept = commands.0.parts.blobs.put(caller.principal(), sha256, body.into_data_stream()).await?;
    let status = if kept.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Blob { sha256: sha256.to_string(), bytes: kept.bytes })).into_response())
}

pub(crate) fn request_id(text: &str) -> Result<RequestId, Refusal> {
    // What is no id names nothing.
    RequestId::parse(text).map_err(|_| no_such_request())
}
