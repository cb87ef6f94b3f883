//! What agents are told, in words that a model follows.

use placet_api::request::{RequestDocument, Status};
use placet_core::action::PepKind;
use placet_core::c14n::Value;
use placet_core::text::visible;

use super::front::Scope;
use super::gated::Reviewed;
use super::upstream::ServerError;
use super::wire::RpcError;
use crate::authority::{AuthorityError, AuthorityErrorKind};

/// The tool by which an agent comes back for what it asked. There is none to approve or to deny.
pub(super) const AWAIT_TOOL: &str = "placet_await_approval";
/// Where words of ours carry what programs want to know of a request.
const META_APPROVAL: &str = "dev.placet/approval";

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The JSON of a result: a server's, as it came, or one of the protocol's own.
    Result(String),
    /// Words of ours.
    Words(Words),
    /// A server's no, in words, and as it wrote it.
    Refused(String, ServerError),
}

/// Words of ours, and what they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    text: String,
    /// Whether they are a no.
    is_error: bool,
    about: Option<Value>,
}

impl Told {
    /// The words, if there are any.
    pub(super) fn words(&self) -> Option<&str> {
        match self {
            Told::Result(_) => None,
            Told::Words(words) => Some(&words.text),
            Told::Refused(text, _) => Some(text),
        }
    }

    /// As the result of a tool's call. What the agent can act on is never an error of the protocol, as that ends some
    /// agents' loops.
    pub(super) fn into_tool_result(self) -> String {
        let Words { text, is_error, about } = match self {
            Told::Result(json) => return json,
            Told::Words(words) => words,
            Told::Refused(text, _) => Words { text, is_error: true, about: None },
        };
        let block = Value::object([("type", Value::string("text")), ("text", Value::String(text))]);
        let mut members = vec![("content", Value::Array(vec![block])), ("isError", Value::Bool(is_error))];
        members.extend(about.map(|about| ("_meta", about)));
        Value::object(members).canonical()
    }

    /// As the answer to a call whose result has no room for words.
    pub(super) fn into_answer(self) -> Result<String, RpcError> {
        match self {
            Told::Result(json) => Ok(json),
            Told::Words(Words { text, about, .. }) => Err(RpcError::words(text, about)),
            Told::Refused(_, ServerError { code, message, data }) => {
                Err(RpcError::of_server(code, message, data))
            }
        }
    }
}

/// A no.
pub(super) fn failure(text: &str) -> Told {
    Told::Words(Words { text: text.to_owned(), is_error: true, about: None })
}

fn about(document: &RequestDocument) -> Option<Value> {
    let mut members = vec![
        ("id", Value::string(document.id.clone())),
        ("status", Value::string(document.status.as_str())),
        ("digest", Value::string(document.digest.clone())),
        ("code", Value::string(document.short_code.clone())),
    ];
    members.extend(document.expires_at.clone().map(|at| ("expires_at", Value::String(at))));
    members.extend(document.review.as_ref().map(|review| ("url", Value::string(review.url.clone()))));
    Some(Value::object([(META_APPROVAL, Value::object(members))]))
}

fn what(document: &RequestDocument) -> String {
    format!("{} on {}::\"{}\"", document.action, document.resource.kind, visible(&document.resource.id))
}

/// Nobody has decided yet: how to come back. Clients hold a result that is no error against a tool's schema, so for a
/// tool with one it has to be an error.
pub(super) fn pending(document: &RequestDocument, has_schema: bool) -> Told {
    Told::Words(Words { text: pending_text(document), is_error: has_schema, about: about(document) })
}

/// What somebody is told who has to come back.
pub(super) fn pending_text(document: &RequestDocument) -> String {
    let until = document.expires_at.as_deref().unwrap_or("it is decided");
    let state = match document.status {
        Status::Pending => "A person has to approve it first",
        _ => "It is being carried out",
    };
    let not_yet = if document.status == Status::Pending { "NOT EXECUTED. " } else { "" };
    let how = match is_tool_call(document) {
        true => {
            format!(
                "call {AWAIT_TOOL} with {{\"approval_id\":\"{}\"}}, or repeat this exact call",
                document.id
            )
        }
        false => "repeat this exact call".to_owned(),
    };
    format!(
        "{not_yet}{state}: {} (code {}, until {until}). To get the outcome, {how}. \
         Do not try to reach the same end in another way.",
        what(document),
        document.short_code,
    )
}

/// Whether a request is a call of a tool.
pub(super) fn is_tool_call(document: &RequestDocument) -> bool {
    Reviewed::of(&document.canonical).is_ok_and(|reviewed| reviewed.what.is_tool())
}

/// Whether a request is a call of a server that is reached here.
pub(super) fn is_reached(scope: &Scope, document: &RequestDocument) -> bool {
    let is_call = document.pep == PepKind::Mcp.as_str();
    is_call
        && match scope {
            Scope::All => true,
            Scope::One(server) => {
                Reviewed::of(&document.canonical).is_ok_and(|reviewed| reviewed.server == *server)
            }
        }
}

/// It was carried out before, and what came out of it is not there any more.
pub(super) fn forgotten(document: &RequestDocument) -> Told {
    let summary = document.outcome.as_ref().map(|outcome| format!(": {}", visible(&outcome.summary)));
    failure(&format!(
        "This call was carried out before ({}{}), and its result is not kept. It was not carried out again.",
        document.status.as_str(),
        summary.unwrap_or_default()
    ))
}

/// It waits by the call itself, not by the tool for that.
pub(super) fn no_tool_call(document: &RequestDocument) -> Told {
    failure(&format!(
        "{} is no call of a tool. To get its outcome, make that exact call again.",
        what(document)
    ))
}

/// Somebody or something said no.
pub(super) fn denied(document: &RequestDocument) -> Told {
    let denial = document.denial.as_ref();
    let how = match document.status {
        Status::Denied => "A person denied it",
        Status::Expired => "Nobody decided in time",
        Status::Cancelled => "It was withdrawn",
        Status::Lapsed => "It was approved, and nobody came for it in time",
        _ => "Policy forbids it",
    };
    let reason = denial.and_then(|denial| denial.reason.as_deref());
    let reason = reason.map(|reason| format!(" Reason: {}", visible(reason))).unwrap_or_default();
    let next = match denial {
        Some(denial) if denial.retryable => denial.cooldown_until.as_ref().map_or_else(
            || " It may be asked for again.".to_owned(),
            |until| format!(" The same call gets this same answer until {until}."),
        ),
        _ => " Do not ask again, and do not try to reach the same end in another way.".to_owned(),
    };
    let text = format!("NOT EXECUTED. {how}: {}.{reason}{next}", what(document));
    Told::Words(Words { text, is_error: true, about: about(document) })
}

/// It was begun, and nobody knows what came of it.
pub(super) fn unknown_outcome(document: &RequestDocument) -> Told {
    let text = format!(
        "What became of {} is not known, and it is not tried again by itself. A person has to find out (code {}).",
        what(document),
        document.short_code
    );
    Told::Words(Words { text, is_error: true, about: about(document) })
}

/// The authority did not take the call.
pub(super) fn refused_call(error: AuthorityError) -> Result<Told, RpcError> {
    match error.kind {
        AuthorityErrorKind::Unavailable | AuthorityErrorKind::Internal => {
            tracing::error!(%error, "the authority failed");
            Err(RpcError::internal("placet cannot decide now; nothing was executed"))
        }
        AuthorityErrorKind::TooMany { retry_after } => Ok(failure(&format!(
            "NOT EXECUTED. {} Try again in {} s.",
            error.message,
            retry_after.as_secs().max(1)
        ))),
        _ => Ok(failure(&format!("NOT EXECUTED. {}", error.message))),
    }
}
