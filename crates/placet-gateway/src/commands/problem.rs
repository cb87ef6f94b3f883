//! How the command routes say no: problem+json, with the door's id of the call.

use axum::Json;
use axum::extract::Request;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use placet_api::problem::{PROBLEM_JSON, Problem};
use placet_api::read::InputError;

use crate::authority::{AuthorityError, AuthorityErrorKind};
use crate::blobs::BlobError;
use crate::runner::spool::SpoolError;

/// A no, and when to try again.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let problem = Box::new(Problem::new(status.as_u16(), title, code, detail));
        Refusal { problem, retry_after_seconds: None }
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn at(mut self, pointer: &str) -> Self {
        self.problem.pointer = Some(pointer.to_owned());
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&*self.problem)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(*self.problem);
        response
    }
}

/// Writes the id that the door gave to the call into a problem. The door puts it into the request's `x-request-id`.
pub(crate) async fn with_call_id(request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let (Some(id), Some(problem)) = (id, problem) else { return response };
    let (mut head, _) = response.into_parts();
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    let problem = problem.of_call(&id);
    let body = Json(&problem).into_response().into_body();
    head.extensions.insert(problem);
    Response::from_parts(head, body)
}

impl From<AuthorityError> for Refusal {
    fn from(error: AuthorityError) -> Self {
        let status = match error.kind {
            AuthorityErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            // In the words of what was never there: which of the two it is stays ours.
            AuthorityErrorKind::NotFound => return no_such_request(),
            AuthorityErrorKind::Forbidden => StatusCode::FORBIDDEN,
            AuthorityErrorKind::Conflict => StatusCode::CONFLICT,
            AuthorityErrorKind::Invalid => StatusCode::BAD_REQUEST,
            AuthorityErrorKind::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            AuthorityErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            AuthorityErrorKind::Internal => {
                tracing::error!(%error, "the authority failed");
                return internal();
            }
        };
        let mut refusal = Refusal::new(status, &error.code, error.message);
        refusal.problem.request = error.request.map(|request| request.to_string());
        refusal.problem.pointer = error.pointer;
        match error.kind {
            AuthorityErrorKind::TooMany { retry_after } => refusal.retry_after(retry_after.as_secs().max(1)),
            _ => refusal,
        }
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        let (status, code) = match &error {
            BlobError::OtherBytes(_) => (StatusCode::UNPROCESSABLE_ENTITY, "other_bytes"),
            BlobError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            BlobError::Quota(_) => (StatusCode::PAYLOAD_TOO_LARGE, "quota"),
            BlobError::Broken => (StatusCode::BAD_REQUEST, "broken_upload"),
            BlobError::Io(cause) if is_full(cause) => {
                tracing::warn!(error = %cause, "a blob could not be stored");
                return unavailable();
            }
            BlobError::Io(cause) => {
                tracing::error!(error = %cause, "a blob could not be stored");
                return internal();
            }
        };
        Refusal::new(status, code, error.to_string())
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        let (status, code) = match &error {
            SpoolError::Offset(_) => (StatusCode::BAD_REQUEST, "bad_offset"),
            SpoolError::Gone => (StatusCode::GONE, "output_gone"),
            SpoolError::Io(cause) => {
                tracing::error!(error = %cause, "spooled output could not be read");
                return internal();
            }
        };
        Refusal::new(status, code, error.to_string())
    }
}

/// Whether the disk is the reason: no bug, and over when there is room again.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn unavailable() -> Refusal {
    let detail = "placet cannot write now; nothing was done. Try again later.";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(5)
}

pub(crate) fn unauthenticated() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", "This door needs an agent's token.")
}

pub(crate) fn no_such_request() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is no such request of yours here.")
}

pub(crate) fn internal() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "This is a bug of placet's; its log says more.",
    )
}

pub(crate) fn bad_query(name: &str, expected: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_query", format!("Only {name} may be given, as {expected}."))
}

pub(crate) fn no_query() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_query", "This call takes no query: leave it out.")
}

pub(crate) fn bad_digest() -> Refusal {
    let detail = "Name a blob by its SHA-256, in 64 lower-case hexadecimal digits.";
    Refusal::new(StatusCode::BAD_REQUEST, "bad_digest", detail)
}

pub(crate) fn not_json() -> Refusal {
    let detail = "Send JSON, with content-type application/json.";
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

pub(crate) fn unreadable(rejection: BytesRejection) -> Refusal {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Refusal::new(
            rejection.status(),
            "body_too_large",
            "A command may have 1 MiB; attach inputs as blobs.",
        );
    }
    Refusal::new(StatusCode::BAD_REQUEST, "broken_upload", "The body broke off; send it again.")
}

pub(crate) fn bad_body(error: InputError) -> Refusal {
    let status = match error.code {
        "body_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut refusal = Refusal::new(status, error.code, error.to_string());
    refusal.problem.pointer = error.pointer;
    refusal
}
