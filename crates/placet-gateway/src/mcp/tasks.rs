//! Requests as tasks: for clients that ask instead of waiting.
//!
//! A task is a request of the caller's under its own id, so there is nothing to be kept beside it, and any process
//! answers for it. The older revision (2025-11-25) and the extension of the newest one differ in words, and in where the
//! result is: the older one has a call for it, the newer one puts it beside the status.
//!
//! A grant is used only while somebody is there, and whoever asks for a task is.

use std::time::Duration;

use placet_api::request::{RequestDocument, Status};
use placet_core::c14n::Value;
use placet_core::entropy::random_bytes;
use placet_core::id::RequestId;
use placet_core::text::visible;
use placet_core::time::Timestamp;

use super::Mcp;
use super::call::{OwnError, Request, Settled};
use super::front::Scope;
use super::ladder::caller;
use super::patience::Client;
use super::told::{is_reached, is_tool_call, pending_text};
use super::wire::{Call, Era, META, RpcError, complete, with_member, with_meta};
use crate::authority::{AuthorityErrorKind, Shown};

/// Where the older revision names the task of a result.
const META_RELATED: &str = "io.modelcontextprotocol/related-task";
/// What a host may tell its model at once.
const META_IMMEDIATE: &str = "io.modelcontextprotocol/model-immediate-response";
/// How long a result is kept once there is one.
const RESULT_KEPT: Duration = Duration::from_secs(3600);
/// How many tasks a page of their list has.
const PAGE: usize = 50;
/// Longer than any request is open: every state of one ends by itself.
const OPEN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The answer to a call that became a task.
pub(super) fn created(era: Era, document: &RequestDocument, poll_after: Duration) -> String {
    let mut members = members(era, document, poll_after, None);
    match era {
        Era::Modern => {
            members.push(("resultType", Value::string("task")));
            Value::object(members).canonical()
        }
        Era::Legacy => {
            let meta = Value::object([(META_IMMEDIATE, Value::string(pending_text(document)))]);
            Value::object([("task", Value::object(members)), (META, meta)]).canonical()
        }
    }
}

fn members(
    era: Era,
    document: &RequestDocument,
    poll_after: Duration,
    message: Option<String>,
) -> Vec<(&'static str, Value)> {
    let (lifetime, interval) = match era {
        Era::Modern => ("ttlMs", "pollIntervalMs"),
        Era::Legacy => ("ttl", "pollInterval"),
    };
    let milliseconds = |time: Duration| Value::integer(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let message = message.unwrap_or_else(|| message_of(document));
    let mut members = vec![
        ("taskId", Value::string(document.id.clone())),
        ("status", Value::string(status(era, document.status))),
        ("statusMessage", Value::string(message)),
        ("createdAt", Value::string(document.created_at.clone())),
        ("lastUpdatedAt", Value::string(document.updated_at.clone())),
        (lifetime, lifetime_of(document).map_or(Value::Null, milliseconds)),
    ];
    if document.status.is_open() {
        members.push((interval, milliseconds(poll_after)));
    }
    members
}

/// The older revision calls a tool's own failure one of the task; the newer one keeps that word for what never reached
/// the tool.
fn status(era: Era, status: Status) -> &'static str {
    match (status, era) {
        (Status::Pending | Status::Granted | Status::Executing, _) => "working",
        (Status::Succeeded, _) => "completed",
        (Status::Cancelled, _) => "cancelled",
        (_, Era::Modern) => "completed",
        (_, Era::Legacy) => "failed",
    }
}

fn message_of(document: &RequestDocument) -> String {
    let code = &document.short_code;
    match document.status {
        Status::Pending => format!("waiting for a person to approve it (code {code})"),
        Status::Granted => "approved, and about to be carried out".to_owned(),
        Status::Executing => "being carried out".to_owned(),
        Status::Succeeded => "carried out".to_owned(),
        Status::Failed => "carried out, and failed".to_owned(),
        Status::Unknown => format!("nobody knows what became of it (code {code})"),
        Status::Refused => "policy forbids it".to_owned(),
        Status::Denied => {
            let reason = document.denial.as_ref().and_then(|denial| denial.reason.as_deref());
            reason.map_or("a person denied it".to_owned(), |reason| {
                format!("a person denied it: {}", visible(reason))
            })
        }
        Status::Expired => "nobody decided in time".to_owned(),
        Status::Cancelled => "withdrawn".to_owned(),
        Status::Lapsed => "approved, and nobody came for it in time".to_owned(),
    }
}

/// From its beginning until its result is forgotten, as far as that is known now.
fn lifetime_of(document: &RequestDocument) -> Option<Duration> {
    let ends = document.expires_at.as_ref().unwrap_or(&document.updated_at);
    let (began, ends) = (Timestamp::parse(&document.created_at).ok()?, Timestamp::parse(ends).ok()?);
    Some(ends.since(began) + RESULT_KEPT)
}

impl Mcp {
    /// A call about tasks.
    pub(super) async fn tasks(
        &self,
        client: &Client,
        scope: &Scope,
        call: &Call,
    ) -> Result<String, RpcError> {
        if client.is_modern() && !client.takes_tasks {
            return Err(RpcError::missing_tasks());
        }
        match (call.method.as_str(), client.era) {
            ("tasks/get", _) => self.task(client, scope, call).await,
            ("tasks/cancel", _) => self.cancel_task(client, scope, call).await,
            ("tasks/result", Era::Legacy) => self.task_result(client, scope, call).await,
            ("tasks/list", Era::Legacy) => self.list_tasks(client, scope, call).await,
            ("tasks/update", Era::Modern) => {
                // Nothing was asked of the client, so nothing that it says can answer it: least of all an approval.
                self.own_task(client, scope, call).await?;
                Ok("{}".to_owned())
            }
            (method, _) => Err(RpcError::no_such_method(method)),
        }
    }

    /// When a client is to ask again: not all of them at once.
    pub(super) fn poll_after(&self) -> Duration {
        let [one, other] = random_bytes::<2>(self.0.parts.entropy.as_ref());
        Duration::from_millis(3000 + u64::from(u16::from_be_bytes([one, other]) % 2000))
    }

    async fn task(&self, client: &Client, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let mut shown = self.own_task(client, scope, call).await?;
        let mut message = None;
        if shown.document.status == Status::Granted {
            // A quick tool has answered before the client would have to ask again.
            let wait = self.0.parts.pace.quick / 2;
            let told = self.carry_out_once(caller(client), &shown, wait, client.heard.clone()).await;
            shown = self.own_task(client, scope, call).await?;
            // What keeps it from being carried out may pass; until then the client is told.
            let told = told.filter(|_| shown.document.status == Status::Granted);
            message = told.and_then(|told| told.words().map(str::to_owned));
        }
        let document = &shown.document;
        let task = Value::object(members(client.era, document, self.poll_after(), message)).canonical();
        if client.is_modern() && status(client.era, document.status) == "completed" {
            let result = complete(self.ended(caller(client), &shown).await?.into_tool_result());
            return Ok(with_member(&task, "result", &result));
        }
        Ok(task)
    }

    /// The older revision's answer to the call itself, once there is one.
    async fn task_result(&self, client: &Client, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let shown = self.own_task(client, scope, call).await?;
        let related = Value::object([("taskId", Value::string(shown.document.id.clone()))]);
        let request = Request::found(shown, false);
        match self.settle(caller(client), request, OPEN_MAX, client.heard.as_ref()).await? {
            Settled::Told(told) => Ok(with_meta(&told.into_tool_result(), META_RELATED, &related)),
            Settled::Open(_) => Err(RpcError::internal("there is no result yet; ask for it again")),
        }
    }

    async fn cancel_task(&self, client: &Client, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let shown = self.own_task(client, scope, call).await?;
        let cancelled = match self.0.parts.authority.cancel(caller(client), shown.id).await {
            Ok(cancelled) => cancelled,
            // It is being carried out, or has ended. The newer revision takes a cancellation for a wish.
            Err(error) if error.kind == AuthorityErrorKind::Conflict && client.is_modern() => {
                return Ok("{}".to_owned());
            }
            Err(error) if error.kind == AuthorityErrorKind::Conflict => {
                let message = format!("the task cannot be cancelled: {}", message_of(&shown.document));
                return Err(RpcError::bad_params(message));
            }
            Err(error) => return Err(error.into()),
        };
        match client.era {
            Era::Modern => Ok("{}".to_owned()),
            Era::Legacy => {
                let members = members(client.era, &cancelled.document, self.poll_after(), None);
                Ok(Value::object(members).canonical())
            }
        }
    }

    async fn list_tasks(&self, client: &Client, scope: &Scope, call: &Call) -> Result<String, RpcError> {
        let cursor = || RpcError::bad_params("cursor: give the nextCursor of a page");
        let before = match call.params.get("cursor") {
            None => None,
            Some(text) => {
                Some(text.as_str().and_then(|text| RequestId::parse(text).ok()).ok_or_else(cursor)?)
            }
        };
        let page = self.0.parts.source.requests(client.principal, before, PAGE).await?;
        let next = page.last().filter(|_| page.len() == PAGE);
        let next = next.map(|last| ("nextCursor", Value::string(last.document.id.clone())));
        let own =
            page.iter().filter(|shown| is_reached(scope, &shown.document) && is_tool_call(&shown.document));
        let tasks =
            own.map(|shown| Value::object(members(client.era, &shown.document, self.poll_after(), None)));
        let mut answer = vec![("tasks", Value::Array(tasks.collect()))];
        answer.extend(next);
        Ok(Value::object(answer).canonical())
    }

    async fn own_task(&self, client: &Client, scope: &Scope, call: &Call) -> Result<Shown, RpcError> {
        let id = call.text("taskId").unwrap_or_default();
        let none = || RpcError::bad_params("taskId: no task of yours has this id");
        match self.own_call(caller(client), scope, id).await {
            Ok(shown) if is_tool_call(&shown.document) => Ok(shown),
            Ok(_) | Err(OwnError::None) => Err(none()),
            Err(OwnError::Refused(error)) => Err(error.into()),
        }
    }
}
