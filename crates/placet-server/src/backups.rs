//! Backups on the admin socket. Who takes them is wired in: this knows no files.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use placet_api::backup::{BackupDocument, BackupRequest};
use placet_core::directory::Operator;

use crate::app::App;
use crate::body::read_json;
use crate::failure::{Failure, Outcome};

/// Takes backups, one at a time.
pub trait Backups: Send + Sync {
    /// Begins one, and comes back at once.
    fn begin(&self, operator: Operator, request: BackupRequest) -> Result<BackupDocument, BackupRefused>;
    /// How the one that runs is, or the last one of this process.
    fn progress(&self) -> Option<BackupDocument>;
}

/// Why no backup was begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackupRefused {
    /// Another one runs.
    Busy,
    /// It cannot go there.
    Target(String),
}

pub(crate) async fn begin(
    State(app): State<App>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Outcome<Response> {
    let body = read_json(request, BackupRequest::from_json).await?;
    let backups = app.backups.as_ref().ok_or_else(Failure::not_found)?;
    match backups.begin(operator, body) {
        Ok(document) => Ok((StatusCode::ACCEPTED, Json(document)).into_response()),
        Err(BackupRefused::Busy) => {
            let detail = "A backup is being taken already. Wait until it is done.";
            Err(Failure::new(StatusCode::CONFLICT, "backup_busy", detail))
        }
        Err(BackupRefused::Target(why)) => {
            Err(Failure::bad_request("bad_target", format!("Failed to {why}.")))
        }
    }
}

pub(crate) async fn progress(State(app): State<App>) -> Outcome<Json<BackupDocument>> {
    let backups = app.backups.as_ref().ok_or_else(Failure::not_found)?;
    backups.progress().map(Json).ok_or_else(Failure::not_found)
}
