//! Health, readiness and metrics.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use placet_broker::CallError;

use crate::app::App;
use crate::failure::Failure;
use crate::frame::framed;

/// `/healthz` and `/readyz`, which every door has and nobody has to prove anything for.
pub(crate) fn routes(app: &App) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(app.clone())
}

/// A listener of its own for `/metrics`, for scrapers that cannot read a socket. It has `/healthz` and `/readyz` too.
pub fn metrics_listener(app: &App) -> Router {
    let router = Router::new().route("/metrics", get(metrics)).with_state(app.clone()).merge(routes(app));
    framed(router.fallback(crate::frame::nothing_here), app, "metrics")
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The process would serve calls: the store reads and writes, a bundle is active, the log can be published.
async fn readyz(State(app): State<App>) -> Response {
    if app.is_stopping() {
        return not_ready("draining");
    }
    match app.broker.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(error = %error, "not ready");
            if matches!(error, CallError::Stopped(_)) {
                return not_ready("placet has stopped after a failure; restart it");
            }
            not_ready("see the log of this process")
        }
    }
}

fn not_ready(why: &str) -> Response {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", format!("Not ready: {why}.")).into_response()
}

/// Prometheus' text format.
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let counts = app.views.counts().await.map_err(CallError::from)?;
    let log = app.views.log().await.map_err(CallError::from)?;
    let from = app.metrics.uncounted();
    let entries = app.views.entry_counts(from).await.map_err(CallError::from)?;
    app.metrics.count(from, &entries);
    app.metrics.stored(&counts, log.frontier.head().size, app.broker.ready().await.is_ok());
    let text = app.metrics.text();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
