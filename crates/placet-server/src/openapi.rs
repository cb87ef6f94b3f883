//! The two OpenAPI documents, one a door, made from the handlers themselves.

use placet_api::command::{Blob, CommandIntake, Run};
use placet_api::problem::Problem;
use placet_api::request::RequestDocument;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use crate::agents::{events, pep, requests};
use crate::audit;
use crate::reviewers::{api, log};

/// One event of a stream, as the browser's `EventSource` gives it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described: axum writes events")]
pub(crate) struct ServerSentEvent {
    /// What kind of event
    event: String,
    /// What to continue after: it goes into `Last-Event-ID`
    id: Option<String>,
    /// What happened
    data: String,
}

/// The agents' door as OpenAPI, pretty-printed JSON.
pub fn openapi_agents() -> String {
    written(&AgentsDoor::openapi())
}

/// The reviewers' door as OpenAPI, pretty-printed JSON.
pub fn openapi_reviewers() -> String {
    written(&ReviewersDoor::openapi())
}

fn written(document: &utoipa::openapi::OpenApi) -> String {
    // Strings and lists: writing them cannot fail.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// How a call at the agents' door fails.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described: failures are made where they happen")]
pub(crate) enum AgentsProblems {
    /// The call cannot be read: `json_…`, `unknown_member`, `bad_value`, `bad_query` and others; `pointer` tells where
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// No agent's token
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// Not yours to do: `action_not_external`, `not_the_executor`, `on_behalf_of_refused`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// Nothing of yours has that name
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The call was not read or answered in time
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(Problem),
    /// It does not fit what happened before: `key_reused`, `outcome_unknown`, `already_claimed`, `late` and others
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is larger than 1 MiB
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not `application/json`
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// Too often; come back after `Retry-After` seconds
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// A bug of placet
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// placet cannot read or write now; nothing was done
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// How a call at the reviewers' door fails.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described: failures are made where they happen")]
pub(crate) enum ReviewersProblems {
    /// The call cannot be read; `pointer` tells where
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// No session, and no person's token
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// Not yours to decide: `self_approval`, `no_standing`, `token_may_not_approve`, `foreign_origin` and others
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is nothing of that name
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The call was not read or answered in time
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(Problem),
    /// The vote does not fit any more: `already_decided`, `already_voted`, `content_moved`, `late` and others
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is larger than 1 MiB
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not `application/json`
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// Another host was meant
    #[response(status = 421, content_type = "application/problem+json")]
    OtherHost(Problem),
    /// A bug of placet
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// placet cannot read or write now; nothing was done
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "placet: agents' door",
        description = "Where agents and pipelines ask for privileged actions. Bearer tokens of agents open it, and those of enforcement points open `/v1/pep`; nothing else does.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    servers((url = "http://localhost:7071")),
    tags(
        (name = "requests", description = "Actions that you execute yourself, and every request of yours"),
        (name = "commands", description = "Programs that placet runs for you"),
        (name = "enforcement points", description = "For enforcement points outside of placet's own process: what agents asked them for, and what became of it"),
    ),
    paths(
        requests::submit, requests::list, requests::show, events::follow, requests::claim, requests::outcome,
        requests::cancel, pep::whoami, pep::caller, pep::guide, pep::submit, pep::show, pep::claim, pep::outcome,
        pep::abandon, pep::cancel, pep::executions, put_blob, submit_command, run_command, cancel_command, command_output,
    ),
    components(schemas(Problem)),
    security(("agent_token" = [])),
    modifiers(&AgentToken),
)]
struct AgentsDoor;

struct AgentToken;

impl Modify for AgentToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that `placet agent add` showed once."))
            .build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("agent_token", SecurityScheme::Http(scheme));
        let pep = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that `placet pep add` showed once."))
            .build();
        components.add_security_scheme("pep_token", SecurityScheme::Http(pep));
        let shown = ApiKeyValue::with_description(
            placet_api::pep::AGENT_TOKEN_HEADER,
            "The token of the agent on whose behalf an enforcement point calls.",
        );
        components.add_security_scheme("shown_agent_token", SecurityScheme::ApiKey(ApiKey::Header(shown)));
    }
}

/// Upload an input by its content.
///
/// It is private to you. Uploading what is there already changes nothing.
#[utoipa::path(
    put,
    path = "/v1/blobs/{sha256}",
    tag = "commands",
    params(("sha256" = String, Path, description = "SHA-256 of the content, 64 lower-case hexadecimal digits")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "At most 256 MiB"),
    responses(
        (status = 201, description = "It is there now", body = Blob),
        (status = 200, description = "It was there already", body = Blob),
        (status = 422, description = "The bytes have another digest: `other_bytes`", content_type = "application/problem+json", body = Problem),
        AgentsProblems,
    ),
)]
#[expect(dead_code, reason = "only described: the command enforcement point serves it")]
fn put_blob() {}

/// Ask for a command that placet runs.
///
/// What it maps to, which secrets it would get and whether people have to decide is policy's.
#[utoipa::path(
    post,
    path = "/v1/commands",
    tag = "commands",
    params(("wait" = Option<u64>, Query, minimum = 0, maximum = 50, description = "Seconds to wait for a change while it is pending")),
    request_body = CommandIntake,
    responses(
        (status = 201, description = "A new request", body = RequestDocument),
        (status = 200, description = "The request that this call repeats", body = RequestDocument),
        AgentsProblems,
    ),
)]
#[expect(dead_code, reason = "only described: the command enforcement point serves it")]
fn submit_command() {}

/// Start a granted command.
#[utoipa::path(
    post,
    path = "/v1/commands/{id}/run",
    tag = "commands",
    params(("id" = String, Path, description = "The request's id")),
    responses(
        (status = 201, description = "It runs", body = Run),
        (status = 200, description = "It runs already, or ran", body = Run),
        AgentsProblems,
    ),
)]
#[expect(dead_code, reason = "only described: the command enforcement point serves it")]
fn run_command() {}

/// Stop a command: TERM, and KILL ten seconds later; or withdraw it, if it does not run yet.
#[utoipa::path(
    post,
    path = "/v1/commands/{id}/cancel",
    tag = "commands",
    params(("id" = String, Path, description = "The request's id")),
    responses(
        (status = 202, description = "It was asked to stop; its outcome follows"),
        (status = 200, description = "The request, withdrawn", body = RequestDocument),
        AgentsProblems,
    ),
)]
#[expect(dead_code, reason = "only described: the command enforcement point serves it")]
fn cancel_command() {}

/// Read a command's output.
///
/// Frames of `application/vnd.placet.frames`: kind u8 (0 keep-alive, 1 stdout, 2 stderr, 3 end), three zero bytes, length
/// u32 big endian, payload. The end frame is the outcome as JSON. Continue a broken stream with `from`: the bytes of all
/// whole frames received, keep-alives left out.
#[utoipa::path(
    get,
    path = "/v1/commands/{id}/output",
    tag = "commands",
    params(
        ("id" = String, Path, description = "The request's id"),
        ("from" = Option<u64>, Query, description = "Where to continue"),
    ),
    responses(
        (status = 200, description = "Frames", content_type = "application/vnd.placet.frames", body = Vec<u8>),
        (status = 410, description = "It was read to its end, or kept long enough: `output_gone`", content_type = "application/problem+json", body = Problem),
        AgentsProblems,
    ),
)]
#[expect(dead_code, reason = "only described: the command enforcement point serves it")]
fn command_output() {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "placet: reviewers' door",
        description = "Where people decide. A session's cookie opens it, or a person's API token, which reads and denies, and approves only where the active policy says so.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    servers((url = "http://localhost:7070")),
    tags(
        (name = "reviews", description = "What waits for people, and what they said"),
        (name = "audit", description = "The ledger: entries, and the files that prove them"),
    ),
    paths(
        api::list, api::show, api::recording, api::vote, api::resolve, crate::reviewers::events::hints, audit::requests, audit::story,
        audit::follow, api::entries, crate::overview::show, log::checkpoint, log::tile,
    ),
    components(schemas(Problem)),
    security(("person_token" = []), ("session" = [], "form_token" = [])),
    modifiers(&PersonAccess),
)]
struct ReviewersDoor;

struct PersonAccess;

impl Modify for PersonAccess {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that `placet person token` showed once."))
            .build();
        let described = |name: &str, text: &str| ApiKeyValue::with_description(name, text);
        let cookie = described(
            "placet_session",
            "The session of a browser. The cookie's name ends in the door's port over plain HTTP, and is `__Host-placet_session` over TLS.",
        );
        let form = described(
            "x-placet-form-token",
            "With a cookie, calls that change something need the token of the session's forms, and a same-origin `Origin`.",
        );
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("person_token", SecurityScheme::Http(token));
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        components.add_security_scheme("form_token", SecurityScheme::ApiKey(ApiKey::Header(form)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_name_every_call_its_errors_and_how_to_get_in() {
        for (text, paths, scheme) in
            [(openapi_agents(), 21, "agent_token"), (openapi_reviewers(), 13, "person_token")]
        {
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            let listed = document["paths"].as_object().unwrap();
            assert_eq!(listed.len(), paths, "{:?}", listed.keys());
            for (path, methods) in listed {
                for (method, operation) in methods.as_object().unwrap() {
                    let problem = &operation["responses"]["401"]["content"]["application/problem+json"];
                    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem", "{method} {path}");
                    assert!(
                        operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                        "{method} {path}"
                    );
                }
            }
            assert!(document["components"]["securitySchemes"][scheme].is_object());
            assert_every_reference_leads_somewhere(&document, &document);
        }
    }

    fn assert_every_reference_leads_somewhere(at: &serde_json::Value, document: &serde_json::Value) {
        match at {
            serde_json::Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(|value| value.as_str()) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| assert_every_reference_leads_somewhere(value, document));
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|value| assert_every_reference_leads_somewhere(value, document));
            }
            _ => {}
        }
    }
}
