//! One tool call, from its interception to a result for the agent.
//!
//! ```text
//! tools/call ─► accepted? unchanged? arguments fit? ─► submit ─┬─ permit ───────► carry out ─► result
//!                                                              ├─ ask ─► wait ─┬─► carry out ─► result
//!                                                              │               ├─► denied: a result that says why
//!                                                              │               └─► still pending: a result that says how to come back
//!                                                              └─ forbid ──────► a result that says why
//! ```
//!
//! The request is durable; waiting for it is only a view of it. Whoever comes back, by the same call or by
//! `placet_await_approval`, finds it where it stands, also in another process. It is carried out while somebody waits for
//! it, by one of those who wait, with the arguments that were reviewed, and its result is kept for those who come later.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_api::request::{RequestDocument, Status};
use placet_core::action::{ActionRequest, Canonical, Grade, PepKind, Pins};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::entropy::random_bytes;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::OutcomeKind;
use placet_core::secret::Secret;
use placet_core::text::{Untrusted, visible};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Mcp;
use super::catalogue::{Accepted, Reach, Server, ServerName};
use super::upstream::{CallError, Freshness, Session};
use super::wire::RpcError;
use crate::authority::{AuthorityError, AuthorityErrorKind, Caller, Claimed, Completion, Intercepted, Shown};
use crate::runner::user::Identity;

/// The tool by which an agent comes back for what it asked. There is none to approve or to deny.
pub(super) const AWAIT_TOOL: &str = "placet_await_approval";
/// Where a result of ours carries what programs want to know of a request.
const META_APPROVAL: &str = "dev.placet/approval";
/// How many bytes a result may have to be passed on and kept.
pub(super) const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One wait of the authority's.
const WAIT: Duration = Duration::from_secs(45);
/// How often an outcome is reported to an authority that cannot write.
const REPORTS_MAX: usize = 5;

/// A call of a tool as an agent made it.
pub(super) struct ToolCall {
    pub(super) server: ServerName,
    pub(super) tool: String,
    pub(super) arguments: Value,
    pub(super) justification: Option<String>,
    pub(super) on_behalf_of: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

/// What an agent is told: the JSON of a `CallToolResult`.
pub(super) type Told = String;

/// Requests that this process is carrying out.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<RequestId>>>);

struct Holding {
    claims: Claims,
    request: RequestId,
}

impl Claims {
    fn take(&self, request: RequestId) -> Option<Holding> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request);
        new.then(|| Holding { claims: self.clone(), request })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request);
    }
}

impl Mcp {
    /// A tool is called: what comes of it within `hold`, or how to come back for it.
    pub(super) async fn call_tool(
        &self,
        caller: Caller,
        call: ToolCall,
        hold: Duration,
    ) -> Result<Told, RpcError> {
        let catalogue = self.catalogue().await?;
        let unknown = || RpcError::bad_params(format!("there is no tool {}", visible(&call.tool)));
        let server = catalogue.server(&call.server).ok_or_else(unknown)?;
        let accepted = server.tool(&call.tool).ok_or_else(unknown)?;
        let session = match self.unchanged(server, accepted, Freshness::Kept).await {
            Ok(session) => session,
            Err(refused) => return Ok(refused),
        };
        if let Err(why) = accepts(accepted, &call.arguments) {
            return Ok(failure(&format!(
                "NOT EXECUTED. The arguments do not fit the tool's inputSchema: {why}"
            )));
        }
        let has_schema = accepted.definition.has_output_schema();
        let call = intercepted(caller.clone(), server, accepted, call);
        match self.0.parts.authority.submit_and_start(call, self.claim_value()).await {
            // Policy permits it without a review: intake and start were one transaction.
            Ok((submitted, Some(claimed))) => {
                let (mcp, request) = (self.clone(), submitted.shown.id);
                let executing =
                    tokio::spawn(async move { Some(mcp.execute(request, claimed, &session).await) });
                let told = within(hold, executing).await;
                Ok(told.unwrap_or_else(|| pending(&submitted.shown.document, has_schema)))
            }
            Ok((submitted, None)) => self.settle(caller, submitted.shown, hold, has_schema).await,
            Err(error) => refused_call(error),
        }
    }

    /// An agent comes back for its own request.
    pub(super) async fn await_approval(
        &self,
        caller: Caller,
        arguments: &Value,
        hold: Duration,
    ) -> Result<Told, RpcError> {
        let members = arguments.as_object().cloned().unwrap_or_default();
        let id = members.get("approval_id").and_then(Value::as_str).unwrap_or_default();
        let id = RequestId::parse(id)
            .map_err(|_| RpcError::bad_params("approval_id: give the id that a pending result told"))?;
        let hold = match members.get("wait_s") {
            None => hold,
            Some(Value::Number(seconds)) => {
                let seconds = seconds.as_integer().and_then(|seconds| u64::try_from(seconds).ok());
                hold.min(Duration::from_secs(
                    seconds.ok_or_else(|| RpcError::bad_params("wait_s: whole seconds"))?,
                ))
            }
            Some(_) => return Err(RpcError::bad_params("wait_s: whole seconds")),
        };
        match self.0.parts.authority.wait(caller.clone(), id, 0, Duration::ZERO).await {
            Ok(shown) if shown.document.pep == PepKind::Mcp.as_str() => {
                self.settle(caller.clone(), shown, hold, false).await
            }
            Ok(_) => Err(RpcError::bad_params("approval_id: no tool call of yours has this id")),
            Err(AuthorityError { kind: AuthorityErrorKind::NotFound, .. }) => {
                Err(RpcError::bad_params("approval_id: no tool call of yours has this id"))
            }
            Err(error) => refused_call(error),
        }
    }

    /// Waits until something is to be told.
    async fn settle(
        &self,
        caller: Caller,
        mut shown: Shown,
        hold: Duration,
        has_schema: bool,
    ) -> Result<Told, RpcError> {
        let until = Instant::now() + hold;
        loop {
            match shown.document.status {
                Status::Pending | Status::Executing => {}
                Status::Granted => {
                    let left = until.saturating_duration_since(Instant::now());
                    if let Some(told) = self.carry_out_once(caller.clone(), &shown, left).await {
                        return Ok(told);
                    }
                }
                Status::Succeeded | Status::Failed => return self.told_again(caller.clone(), &shown).await,
                Status::Unknown => return Ok(unknown_outcome(&shown.document)),
                Status::Refused | Status::Denied | Status::Expired | Status::Cancelled | Status::Lapsed => {
                    return Ok(denied(&shown.document));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(pending(&shown.document, has_schema));
            }
            let waited = self
                .0
                .parts
                .authority
                .wait(caller.clone(), shown.id, shown.document.version, left.min(WAIT))
                .await;
            match waited {
                Ok(newer) => shown = newer,
                Err(error) => return refused_call(error),
            }
        }
    }

    /// Carries a granted request out, if nobody else in this process does. `None`: somebody else does, or it takes
    /// longer.
    ///
    /// In a task of its own: once it was claimed, nothing may be lost because a client hung up.
    async fn carry_out_once(&self, caller: Caller, shown: &Shown, wait: Duration) -> Option<Told> {
        let holding = self.0.claims.take(shown.id)?;
        let (mcp, document) = (self.clone(), shown.document.clone());
        let request = shown.id;
        let carrying = tokio::spawn(async move {
            let _holding = holding;
            mcp.carry_out(caller, request, &document).await
        });
        within(wait, carrying).await
    }

    async fn carry_out(
        &self,
        caller: Caller,
        request: RequestId,
        document: &RequestDocument,
    ) -> Option<Told> {
        let reviewed = match Reviewed::of(Canonical::from_stored(document.canonical.clone())) {
            Ok(reviewed) => reviewed,
            Err(why) => return Some(failure(&format!("NOT EXECUTED. {why}"))),
        };
        // Whatever can keep it from being carried out is looked at before the grant is used up.
        let session = match self.ready(&reviewed).await {
            Ok(session) => session,
            Err(told) => return Some(told),
        };
        let claimed = self.0.parts.authority.claim(caller, request, self.claim_value()).await;
        match claimed {
            Ok(claimed) => Some(self.execute(request, claimed, &session).await),
            // Another process was faster, or a decision moved: what is stored says which.
            Err(AuthorityError { kind: AuthorityErrorKind::Conflict, code, .. }) if code != "secret_gone" => {
                None
            }
            Err(error) => Some(refused_call(error).unwrap_or_else(|error| failure(&error.message))),
        }
    }

    /// The connection over which a reviewed call can be carried out right now.
    async fn ready(&self, reviewed: &Reviewed) -> Result<Arc<Session>, Told> {
        let not_now = |why: &str| {
            failure(&format!("NOT EXECUTED. {why} The approval stands; repeat this exact call later."))
        };
        let catalogue = self.catalogue().await.map_err(|error| not_now(&error.message))?;
        let gone = || failure("NOT EXECUTED. The tool is no longer offered here.");
        let server = catalogue.server(&reviewed.server).ok_or_else(gone)?;
        let accepted = server.tool(&reviewed.tool).ok_or_else(gone)?;
        if Some(accepted.pin) != reviewed.pin {
            return Err(failure(
                "NOT EXECUTED. The tool's definition is not the one that was reviewed. Call it again, to have it reviewed as it is now.",
            ));
        }
        self.unchanged(server, accepted, Freshness::Fresh).await
    }

    /// The connection to a server, if it offers the tool exactly as it was accepted.
    async fn unchanged(
        &self,
        server: &Server,
        accepted: &Accepted,
        freshness: Freshness,
    ) -> Result<Arc<Session>, Told> {
        let name = accepted.definition.name();
        let unreachable = |why: String| {
            failure(&format!(
                "NOT EXECUTED. The server {} cannot be reached: {why}. Try again later.",
                server.name
            ))
        };
        let session = self.session(server).await.map_err(unreachable)?;
        let listing = session.listing(freshness).await.map_err(unreachable)?;
        match listing.pin(&server.name, name) {
            Some(pin) if pin == accepted.pin => Ok(session),
            Some(_) => Err(failure(&format!(
                "NOT EXECUTED. The definition of {name} has changed since an operator accepted it. It stays closed until somebody has looked at it."
            ))),
            None => {
                Err(failure(&format!("NOT EXECUTED. The server {} no longer offers {name}.", server.name)))
            }
        }
    }

    /// A value that claims one grant. Written in hex: it may travel as text.
    fn claim_value(&self) -> Secret {
        let claim = Sha256Digest::from_bytes(random_bytes::<32>(self.0.parts.entropy.as_ref()));
        Secret::new(claim.to_string())
    }

    /// From here on there is an execution, and it gets an outcome whatever happens.
    async fn execute(&self, request: RequestId, claimed: Claimed, session: &Session) -> Told {
        let execution = claimed.execution();
        let began = Instant::now();
        let (kind, told, summary) = match Reviewed::of(claimed.canonical().clone()) {
            Ok(reviewed) => {
                let left = claimed.lease_until().since(self.0.parts.clock.now());
                let wait = left.min(self.0.parts.pace.call_max);
                judged(session, session.call_tool(&reviewed.tool, &reviewed.arguments, wait).await)
            }
            Err(why) => (OutcomeKind::Failed, failure(&format!("NOT EXECUTED. {why}")), why.to_owned()),
        };
        let number = |value: u128| i64::try_from(value).unwrap_or(i64::MAX);
        let measures = BTreeMap::from([
            ("bytes".to_owned(), number(told.len() as u128)),
            ("duration_ms".to_owned(), number(began.elapsed().as_millis())),
        ]);
        let completion = Completion {
            kind,
            summary: Untrusted::new(summary),
            measures,
            result: Some(Sha256Digest::of(told.as_bytes())),
            recording: None,
            delivery: Some(told.clone().into_bytes()),
        };
        self.report(request, execution, completion).await;
        told
    }

    async fn report(&self, request: RequestId, execution: ExecutionId, completion: Completion) {
        let mut last = None;
        for _ in 0..REPORTS_MAX {
            match self.0.parts.authority.complete(request, execution, completion.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    let again = error.kind == AuthorityErrorKind::Unavailable;
                    last = Some(error);
                    if !again {
                        break;
                    }
                }
            }
            tokio::time::sleep(self.0.parts.pace.report_again).await;
        }
        tracing::error!(%request, %execution, error = ?last, "an outcome could not be recorded");
    }

    /// The kept result of a request that was carried out before.
    async fn told_again(&self, caller: Caller, shown: &Shown) -> Result<Told, RpcError> {
        match self.0.parts.source.delivered(caller.principal(), shown.id).await {
            Ok(Some(kept)) => {
                String::from_utf8(kept).map_err(|_| RpcError::internal("the kept result cannot be read"))
            }
            Ok(None) => Ok(failure(&format!(
                "This call was carried out before ({}), and its result is not kept any more. It was not carried out again.",
                shown.document.status.as_str()
            ))),
            Err(error) => refused_call(error),
        }
    }
}

/// What a task has to tell within this time. It goes on in any case: once something has begun, nothing may be lost because
/// a client hung up or waits no longer.
async fn within(wait: Duration, task: JoinHandle<Option<Told>>) -> Option<Told> {
    match tokio::time::timeout(wait, task).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => Some(failure(LOST)),
        Err(_) => None,
    }
}

/// What was reviewed, read from the canonical bytes and from nothing else.
struct Reviewed {
    server: ServerName,
    tool: String,
    arguments: Value,
    pin: Option<Sha256Digest>,
}

impl Reviewed {
    fn of(canonical: Canonical) -> Result<Self, &'static str> {
        const NOT_OURS: &str = "What was approved is not a tool call of this gateway.";
        let action = ActionRequest::from_canonical(&canonical).map_err(|_| NOT_OURS)?;
        let members = action.arguments.as_object().ok_or(NOT_OURS)?;
        let text = |name| members.get(name).and_then(Value::as_str).ok_or(NOT_OURS);
        let server = ServerName::parse(text(SERVER)?).ok_or(NOT_OURS)?;
        if action.pep != PepKind::Mcp || action.target != target(&server) {
            return Err(NOT_OURS);
        }
        Ok(Reviewed {
            server,
            tool: text(TOOL)?.to_owned(),
            arguments: members.get(ARGUMENTS).cloned().ok_or(NOT_OURS)?,
            pin: action.pins.tool,
        })
    }
}

/// What an agent is told when a task of ours ended before it could say something.
const LOST: &str = "placet failed while it carried this call out. What became of it is not known.";
/// The members of an intercepted tool call.
const SERVER: &str = "server";
const TOOL: &str = "tool";
const ARGUMENTS: &str = "arguments";

fn target(server: &ServerName) -> String {
    format!("mcp:{server}")
}

fn intercepted(caller: Caller, server: &Server, accepted: &Accepted, call: ToolCall) -> Intercepted {
    Intercepted {
        caller,
        pep: PepKind::Mcp,
        target: target(&server.name),
        grade: grade(&server.reach),
        planned_for: None,
        arguments: Value::object([
            (SERVER, Value::string(server.name.as_str())),
            (TOOL, Value::string(call.tool)),
            (ARGUMENTS, call.arguments),
        ]),
        pins: Pins { tool: Some(accepted.pin), ..Pins::default() },
        justification: call.justification,
        on_behalf_of: call.on_behalf_of,
        idempotency_key: call.idempotency_key,
    }
}

/// What placet's place in front of a server is worth: can the agent do without?
fn grade(reach: &Reach) -> Grade {
    match reach {
        Reach::Process { run_as, .. } => {
            Identity::resolve(run_as).map_or(Grade::Advisory, |identity| identity.grade())
        }
        // Whoever knows the address of a server that wants no credential can call it.
        Reach::Http { headers, .. } if headers.is_empty() => Grade::Advisory,
        Reach::Http { .. } => Grade::Enforced,
    }
}

/// Whether arguments fit the schema that was accepted. Nothing is fetched for it.
fn accepts(accepted: &Accepted, arguments: &Value) -> Result<(), String> {
    let Some(schema) = accepted.definition.input_schema() else { return Ok(()) };
    let plain = |value: &Value| serde_json::from_str::<serde_json::Value>(&value.canonical());
    let (Ok(schema), Ok(arguments)) = (plain(schema), plain(arguments)) else {
        return Err("they cannot be compared with it".to_owned());
    };
    let validator = jsonschema::options().with_retriever(Nothing).build(&schema);
    let validator = validator.map_err(|error| format!("the schema itself cannot be used: {error}"))?;
    let mut wrong = validator.iter_errors(&arguments).map(|error| {
        let place = error.instance_path().to_string();
        visible(&format!("{}{error}", if place.is_empty() { String::new() } else { format!("{place}: ") }))
    });
    wrong.next().map_or(Ok(()), |first| Err(first.chars().take(500).collect()))
}

/// A schema that refers to somewhere else is not followed there.
struct Nothing;

impl jsonschema::Retrieve for Nothing {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("placet fetches no schema: {uri}").into())
    }
}

/// What a server's answer is worth, what the agent is told, and what the ledger is told.
fn judged(session: &Session, answered: Result<Box<RawValue>, CallError>) -> (OutcomeKind, Told, String) {
    #[derive(Deserialize)]
    struct Judged {
        #[serde(rename = "isError", default)]
        is_error: bool,
        #[serde(rename = "resultType", default)]
        result_type: Option<String>,
    }
    let withheld = |kind, why: &str| {
        let told = failure(&format!("The tool was called, and its result is withheld: {why}."));
        (kind, told, format!("result withheld: {why}"))
    };
    match answered {
        Ok(result) if result.get().len() > RESULT_BYTES_MAX => {
            withheld(OutcomeKind::Unknown, "it has more than 4 MiB")
        }
        Ok(result) if session.leaks(result.get()) => {
            withheld(OutcomeKind::Failed, "it contains a secret that placet holds")
        }
        Ok(result) => match serde_json::from_str::<Judged>(result.get()) {
            Ok(Judged { result_type: Some(kind), .. }) if kind != "complete" => withheld(
                OutcomeKind::Unknown,
                "the server wants something from the caller that placet does not pass on",
            ),
            Ok(Judged { is_error: true, .. }) => {
                (OutcomeKind::Failed, result.get().to_owned(), "the tool says that it failed".to_owned())
            }
            Ok(_) => (OutcomeKind::Succeeded, result.get().to_owned(), "the tool answered".to_owned()),
            Err(_) => withheld(OutcomeKind::Unknown, "it is not a tool's result"),
        },
        Err(CallError::NotSent(why)) => (
            OutcomeKind::Failed,
            failure(&format!("NOT EXECUTED. The server could not be reached: {why}.")),
            format!("not sent: {why}"),
        ),
        Err(CallError::Refused(why)) => (
            OutcomeKind::Failed,
            failure(&format!("The server refused the call: {why}")),
            format!("refused by the server: {why}"),
        ),
        Err(CallError::Lost(why)) => {
            let told = format!(
                "The call was sent, and what came of it is not known ({why}). It is not sent again. Tell a person."
            );
            (OutcomeKind::Unknown, failure(&told), format!("sent, and not answered: {why}"))
        }
    }
}

/// A result that says no.
pub(super) fn failure(text: &str) -> Told {
    told(text, true, Vec::new())
}

fn told(text: &str, is_error: bool, mut more: Vec<(&'static str, Value)>) -> Told {
    let block = Value::object([("type", Value::string("text")), ("text", Value::string(text))]);
    let mut members = vec![("content", Value::Array(vec![block])), ("isError", Value::Bool(is_error))];
    members.append(&mut more);
    Value::object(members).canonical()
}

fn about(document: &RequestDocument) -> Value {
    let mut members = vec![
        ("id", Value::string(document.id.clone())),
        ("status", Value::string(document.status.as_str())),
        ("digest", Value::string(document.digest.clone())),
        ("code", Value::string(document.short_code.clone())),
    ];
    members.extend(document.expires_at.clone().map(|at| ("expires_at", Value::String(at))));
    members.extend(document.review.as_ref().map(|review| ("url", Value::string(review.url.clone()))));
    Value::object([(META_APPROVAL, Value::object(members))])
}

fn what(document: &RequestDocument) -> String {
    format!("{} on {}::\"{}\"", document.action, document.resource.kind, visible(&document.resource.id))
}

/// Nobody has decided yet: how to come back, in words that a model follows.
fn pending(document: &RequestDocument, has_schema: bool) -> Told {
    let until = document.expires_at.as_deref().unwrap_or("it is decided");
    let state = match document.status {
        Status::Pending => "A person has to approve it first",
        _ => "It is being carried out",
    };
    let not_yet = if document.status == Status::Pending { "NOT EXECUTED. " } else { "" };
    let text = format!(
        "{not_yet}{state}: {} (code {}, until {until}). To get the outcome, call {AWAIT_TOOL} with {{\"approval_id\":\"{}\"}}, or repeat this exact call. \
         Do not try to reach the same end in another way.",
        what(document),
        document.short_code,
        document.id,
    );
    // Clients hold a result that is no error against the tool's outputSchema.
    told(&text, has_schema, vec![("_meta", about(document))])
}

/// Somebody or something said no.
fn denied(document: &RequestDocument) -> Told {
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
    told(&text, true, vec![("_meta", about(document))])
}

fn unknown_outcome(document: &RequestDocument) -> Told {
    let text = format!(
        "What became of {} is not known, and it is not tried again by itself. A person has to find out (code {}).",
        what(document),
        document.short_code
    );
    told(&text, true, vec![("_meta", about(document))])
}

/// The authority did not take the call. What the agent can act on is a result, as an error ends some agents' loops.
fn refused_call(error: AuthorityError) -> Result<Told, RpcError> {
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

#[cfg(test)]
mod tests {
    use super::super::catalogue::Definition;
    use super::*;

    fn accepted(schema: &str) -> Accepted {
        let json = format!("{{\"name\":\"t\",\"inputSchema\":{schema}}}");
        let definition = Definition::read(json.as_bytes()).unwrap();
        let pin = definition.pin(&ServerName::parse("s").unwrap(), None);
        Accepted { definition, pin }
    }

    #[test]
    fn arguments_are_held_against_the_accepted_schema() {
        let tool = accepted(
            r#"{"type":"object","required":["table"],"properties":{"table":{"type":"string"}},"additionalProperties":false}"#,
        );
        let fits = |json: &str| accepts(&tool, &Value::parse(json.as_bytes()).unwrap());
        assert_eq!(fits(r#"{"table":"accounts"}"#), Ok(()));
        assert!(fits("{}").unwrap_err().contains("table"));
        assert!(fits(r#"{"table":1}"#).unwrap_err().starts_with("/table"));
        assert!(fits(r#"{"table":"a","drop":true}"#).is_err());
    }

    #[test]
    fn a_schema_that_points_elsewhere_is_not_followed() {
        let tool = accepted(r#"{"$ref":"http://169.254.169.254/schema"}"#);
        assert!(accepts(&tool, &Value::object::<String>([])).unwrap_err().contains("cannot be used"));
    }

    #[test]
    fn a_call_is_read_back_from_its_canonical_bytes_alone() {
        let action = |pep, target: &str| ActionRequest {
            tenant: "default".into(),
            chain: placet_core::action::ActorChain {
                requester: placet_core::action::Principal::Agent(placet_core::id::AgentId::from_bytes(
                    [1; 16],
                )),
                through: Vec::new(),
                on_behalf_of: placet_core::id::PersonId::from_bytes([2; 16]),
            },
            pep,
            target: target.to_owned(),
            action: placet_core::action::ActionName::parse("mcp.call").unwrap(),
            resource: placet_core::action::ResourceRef::new("Tool", "files/read").unwrap(),
            arguments: Value::parse(
                br#"{"server":"files","tool":"read","arguments":{"n":9007199254740993}}"#,
            )
            .unwrap(),
            pins: Pins { tool: Some(Sha256Digest::of(b"x")), ..Pins::default() },
        };
        let read = |pep, target| Reviewed::of(action(pep, target).canonical().unwrap());
        let reviewed = read(PepKind::Mcp, "mcp:files").unwrap();
        assert_eq!(reviewed.arguments.canonical(), r#"{"n":9007199254740993}"#);
        assert_eq!((reviewed.server.as_str(), reviewed.tool.as_str()), ("files", "read"));
        assert!(read(PepKind::Mcp, "mcp:other").is_err());
        assert!(read(PepKind::External, "mcp:files").is_err());
    }
}
