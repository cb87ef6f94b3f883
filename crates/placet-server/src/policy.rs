//! The admin socket's calls about policy: what decides, what is staged, and why something was decided.

use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::Uri;
use placet_api::admin::{ActivateRequest, FileChange, PolicyDocument};
use placet_api::policy::{
    ExplanationDocument, OutcomeChange, PolicyEvent, PolicyHistory, ReplayDocument, ReplayExample,
    StageRequest, StageSource, StagedDocument,
};
use placet_broker::policies::{self, PolicyStep, PolicyView, StageError, Staged};
use placet_broker::replay::{REPLAY_DEFAULT, ReplaySpan, Replayed};
use placet_core::digest::ShortCode;
use placet_core::directory::Operator;
use placet_core::id::RequestId;
use std::time::Duration;

use crate::app::App;
use crate::body::read_json;
use crate::document;
use crate::failure::{Failure, Outcome};
use crate::query::{Query, whole};

pub(crate) async fn show(State(app): State<App>) -> Outcome<Json<PolicyDocument>> {
    Ok(Json(policy_document(app.broker.policy().await?)))
}

pub(crate) async fn history(State(app): State<App>, uri: Uri) -> Outcome<Json<PolicyHistory>> {
    let mut query = Query::of(&uri)?;
    let before = query.take_as("before", "give the next of a page", whole)?;
    let limit = query.take_limit()?;
    query.end()?;
    let events = app.broker.policy_history(before, limit).await?;
    let next = events.last().filter(|_| events.len() == limit).map(|event| event.index);
    Ok(Json(PolicyHistory { events: events.iter().map(event).collect(), next }))
}

fn event(event: &policies::PolicyEvent) -> PolicyEvent {
    let (what, activation, fresh) = match event.step {
        PolicyStep::Staged { fresh } => ("staged", None, Some(fresh)),
        PolicyStep::Activated { epoch } => ("activated", Some(epoch), None),
    };
    PolicyEvent {
        entry: event.index,
        at: event.at.to_string(),
        what: what.to_owned(),
        digest: event.digest.to_string(),
        by: event.operator.clone(),
        activation,
        fresh,
    }
}

pub(crate) async fn stage(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Json<StagedDocument>> {
    let body = read_json(request, StageRequest::from_json).await?;
    let last = body.last.map_or(REPLAY_DEFAULT, |last| usize::try_from(last).unwrap_or(usize::MAX));
    let span = ReplaySpan { last, since: body.since_seconds.map(Duration::from_secs) };
    let staged = match body.bundle {
        StageSource::Files(files) => {
            let files = files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
            app.broker.stage_and_replay(&operator, files, span).await
        }
        StageSource::Stored(digest) => app.broker.stage_again(&operator, digest, span).await,
    };
    Ok(Json(staged_document(staged.map_err(stage_failure)?)))
}

/// A refused bundle tells what is wrong with it, a line each.
fn stage_failure(error: StageError) -> Failure {
    match error {
        StageError::Invalid(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            Failure::bad_request("bundle_invalid", lines.join("\n"))
        }
        StageError::TestsFail(lines) => Failure::bad_request("bundle_tests_fail", lines.join("\n")),
        StageError::Call(error) => error.into(),
    }
}

fn staged_document(staged: Staged) -> StagedDocument {
    StagedDocument {
        digest: staged.digest.to_string(),
        active: staged.active,
        warnings: staged.warnings.iter().map(ToString::to_string).collect(),
        changes: staged.changes.into_iter().map(file_change).collect(),
        replay: staged.replayed.map(replay_document),
    }
}

fn file_change(change: policies::FileChange) -> FileChange {
    FileChange { path: change.path, change: change.change.to_owned(), lines: change.lines }
}

fn replay_document(replayed: Replayed) -> ReplayDocument {
    let changes = replayed.changes.into_iter().map(|change| OutcomeChange {
        from: change.from.to_owned(),
        to: change.to.to_owned(),
        count: change.count,
        examples: change
            .examples
            .into_iter()
            .map(|example| ReplayExample {
                request: example.request.to_string(),
                what: example.what,
                before: example.before,
                after: example.after,
            })
            .collect(),
    });
    ReplayDocument {
        requests: replayed.requests,
        gone: replayed.gone,
        changes: changes.collect(),
        load: replayed.load.into_iter().map(|(role, delta)| (role.to_string(), delta)).collect(),
    }
}

pub(crate) async fn activate(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Json<PolicyDocument>> {
    let body = read_json(request, ActivateRequest::from_json).await?;
    Ok(Json(policy_document(app.broker.activate(&operator, body.digest).await?)))
}

fn policy_document(view: PolicyView) -> PolicyDocument {
    PolicyDocument {
        digest: view.digest.to_string(),
        epoch: view.epoch,
        files: view.files,
        warnings: view.warnings,
    }
}

/// By id or by the code that people read to each other.
pub(crate) async fn explain(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Outcome<Json<ExplanationDocument>> {
    let id = match RequestId::parse(&name) {
        Ok(id) => id,
        Err(_) => {
            let code = ShortCode::parse(&name).map_err(|_| Failure::not_found())?;
            app.broker.request_by_code(code).await?
        }
    };
    Ok(Json(document::explanation(&app.broker.explain(id).await?)))
}
