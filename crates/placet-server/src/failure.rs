//! A call that was not carried out, on its way to the caller.
//!
//! A [`Failure`] becomes a response that carries its [`Problem`] as an extension and has no body yet: the frame around
//! every call knows the call's id and writes the document, the pages turn it into a page. Routers that are mounted
//! behind a door may do the same.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use placet_api::problem::Problem;
use placet_api::read::InputError;
use placet_broker::CallError;

/// Why a call was not carried out.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Boxed: every handler's result is as large as its larger half.
    problem: Box<Problem>,
    retry_after: Option<Duration>,
    bearer_realm: Option<&'static str>,
    resource_metadata: Option<String>,
}

/// A result of a handler.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let problem = Box::new(Problem::new(status.as_u16(), title, code, detail));
        Failure { problem, retry_after: None, bearer_realm: None, resource_metadata: None }
    }

    pub(crate) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn not_found() -> Self {
        Failure::new(StatusCode::NOT_FOUND, "not_found", "There is nothing of that name here.")
    }

    pub(crate) fn forbidden(code: &str, detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::FORBIDDEN, code, detail)
    }

    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// It, telling which bearer token would have opened the door.
    pub(crate) fn with_realm(mut self, realm: &'static str) -> Self {
        self.bearer_realm = Some(realm);
        self
    }

    /// It, telling where it is written which tokens open the door (RFC 9728).
    pub(crate) fn with_metadata(mut self, url: Option<String>) -> Self {
        self.resource_metadata = url;
        self
    }

    /// Our bug: the text goes to the log, the caller gets the call's id.
    pub(crate) fn internal(text: &str) -> Self {
        tracing::error!(error = text, "a call failed for a reason of ours");
        let detail =
            "placet has a bug or a damaged store; nothing was done. Tell the operator the request id.";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    #[cfg(test)]
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let code = error.code();
        match error {
            CallError::Unauthenticated => Failure::unauthenticated("This credential opens nothing here."),
            CallError::NotFound => Failure::not_found(),
            CallError::Forbidden { message, .. } => Failure::forbidden(code, message),
            CallError::Conflict { message, request, .. } => {
                let mut failure = Failure::new(StatusCode::CONFLICT, code, message);
                failure.problem.request = request.map(|id| id.to_string());
                failure
            }
            CallError::Invalid { message, pointer, .. } => {
                let mut failure = Failure::bad_request(code, message);
                failure.problem.pointer = pointer;
                failure
            }
            CallError::TooMany { message, retry_after, .. } => {
                let mut failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, code, message);
                failure.retry_after = Some(retry_after);
                failure
            }
            CallError::Unavailable(text) => {
                tracing::warn!(error = text, "a call could not be carried out now");
                let detail = "placet cannot read or write now; nothing was done. Try again later.";
                let mut failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
                failure.retry_after = Some(Duration::from_secs(5));
                failure
            }
            CallError::Stopped(text) => {
                tracing::warn!(error = text, "a call could not be carried out: placet has to be restarted");
                let detail = "placet has stopped after a failure and does nothing until its operator restarts it. \
                              Whether this was recorded is known then: ask again.";
                let mut failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
                failure.retry_after = Some(Duration::from_secs(60));
                failure
            }
            CallError::Internal(text) => Failure::internal(&text),
        }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        let status = match error.code {
            "body_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut failure = Failure::new(status, error.code, error.message);
        failure.problem.pointer = error.pointer;
        failure
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Whole seconds, and never zero: a caller that comes back at once is refused again.
            headers
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
        }
        if let Some(realm) = self.bearer_realm {
            let metadata = self.resource_metadata.map(|url| format!("{realm}, resource_metadata=\"{url}\""));
            let challenge = metadata.and_then(|challenge| HeaderValue::from_str(&challenge).ok());
            let challenge = challenge.unwrap_or(HeaderValue::from_static(realm));
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(*self.problem);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capped_caller_is_told_when_to_come_back() {
        let error = CallError::TooMany {
            code: "call_rate",
            message: "Too many calls.".into(),
            retry_after: Duration::from_millis(1200),
        };
        let response = Failure::from(error).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn what_is_ours_to_know_stays_in_the_log() {
        for error in [
            CallError::Internal("row 7 of /secret".into()),
            CallError::Unavailable("/secret is full".into()),
            CallError::Stopped("/secret is broken".into()),
        ] {
            let failure = Failure::from(error);
            assert!(!failure.problem().detail.contains("secret"));
        }
    }
}
