//! `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): how a call is told that it failed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a call was not carried out. Branch on `code`: it is stable, the words are not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem; it ends in the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:placet:problem:key_reused")]
    pub kind: String,
    /// The HTTP status in words.
    #[schema(example = "Conflict")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What went wrong, for programs.
    #[schema(example = "key_reused")]
    pub code: String,
    /// What went wrong, for people, and what to do next.
    pub detail: String,
    /// This one failure, as the server's log names it.
    #[schema(example = "urn:placet:call:0f3a9c51e2b84d77")]
    pub instance: String,
    /// The call's id, also in the header `x-request-id`.
    pub request_id: String,
    /// JSON pointer to what is wrong in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The action request that the call does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When to try again. It travels in the header `Retry-After`, where the client reads it.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_seconds: Option<u64>,
}

/// What the URIs of problems start with.
const KIND_PREFIX: &str = "urn:placet:problem:";

impl Problem {
    /// A problem with this status, title, code and detail. Whoever sends it adds the call's id.
    pub fn new(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("{KIND_PREFIX}{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            instance: String::new(),
            request_id: String::new(),
            pointer: None,
            request: None,
            retry_after_seconds: None,
        }
    }

    /// It, as the failure of this call.
    #[must_use]
    pub fn of_call(mut self, request_id: &str) -> Self {
        self.instance = format!("urn:placet:call:{request_id}");
        self.request_id = request_id.to_owned();
        self
    }

    /// It, pointing at a part of the body.
    #[must_use]
    pub fn at(mut self, pointer: Option<String>) -> Self {
        self.pointer = pointer;
        self
    }

    /// It, about an action request.
    #[must_use]
    pub fn about(mut self, request: Option<String>) -> Self {
        self.request = request;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_the_rfc_and_ours() {
        let problem = Problem::new(400, "Bad Request", "unknown_member", "Leave it out.")
            .at(Some("/x".into()))
            .of_call("ab");
        let json = serde_json::to_value(&problem).unwrap();
        for (member, value) in [
            ("type", "urn:placet:problem:unknown_member"),
            ("title", "Bad Request"),
            ("code", "unknown_member"),
            ("detail", "Leave it out."),
            ("instance", "urn:placet:call:ab"),
            ("request_id", "ab"),
            ("pointer", "/x"),
        ] {
            assert_eq!(json[member], value);
        }
        assert_eq!(json["status"], 400);
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
