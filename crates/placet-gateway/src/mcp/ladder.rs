//! The ways in which a call waits: one request, seen as each client can see it.
//!
//! ```text
//! a call ──────────────────► held ─► result | state to come again with | words that say how to come back
//! a call with a state ─────► held ─► the same, one round later; it is known already which request it is
//! placet_await_approval ───► held ─► the same
//! tools/call with a task ──► the task, at once
//! ```
//!
//! None of them needs a process, a connection or a second request: what is waited for is named by its id, by a state, or
//! by the same call again, and each is good only for the principal that it was given to.

use std::time::Duration;

use placet_api::request::Status;
use placet_core::c14n::Value;
use placet_core::time::Timestamp;

use super::Mcp;
use super::call::{OwnError, Request, Settled, Taken};
use super::front::Scope;
use super::gated::Gated;
use super::patience::{Client, Patience, Then};
use super::tasks;
use super::ticket::Kind;
use super::told::{Told, is_tool_call, no_tool_call, pending, refused_call};
use super::wire::{Era, RpcError};
use crate::authority::{Caller, Shown};

/// For how long a state is good: longer than its client takes to bring it back.
const STATE_LIFETIME: Duration = Duration::from_secs(3600);

/// Which request a client goes on waiting for.
struct State {
    request: String,
    /// How often it came back.
    round: i64,
    /// The call that it was given for.
    call: String,
    until: String,
    has_schema: bool,
}

impl State {
    fn read(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |name| Some(members.get(name)?.as_str()?.to_owned());
        let Some(Value::Number(round)) = members.get("round") else { return None };
        Some(State {
            request: text("request")?,
            round: round.as_integer()?,
            call: text("call")?,
            until: text("until")?,
            has_schema: members.get("schema") == Some(&Value::Bool(true)),
        })
    }

    fn value(&self) -> Value {
        Value::object([
            ("request", Value::string(self.request.clone())),
            ("round", Value::integer(self.round)),
            ("call", Value::string(self.call.clone())),
            ("until", Value::string(self.until.clone())),
            ("schema", Value::Bool(self.has_schema)),
        ])
    }
}

impl Mcp {
    /// Something is asked for, and its client waits for the answer.
    pub(super) async fn ask(&self, client: &Client, call: Gated) -> Result<Told, RpcError> {
        let fingerprint = call.fingerprint().to_string();
        let (is_tool, can_come_again) = (call.what.is_tool(), call.what.can_come_again());
        let request = match self.take(caller(client), call, client.heard.clone()).await? {
            Taken::Told(told) => return Ok(told),
            Taken::Request(request) => *request,
        };
        let has_schema = request.has_schema;
        if client.takes_tasks && is_tool {
            if request.shown.document.status == Status::Pending {
                return Ok(self.task_for(client, &request.shown));
            }
            let patience = Patience { hold: self.0.parts.pace.hold, then: Then::Pending };
            return match self.held(client, request, patience).await? {
                Settled::Told(told) => Ok(told),
                Settled::Open(shown) => Ok(self.task_for(client, &shown)),
            };
        }
        let mut patience = self.0.profiles.patience(client, self.0.parts.pace.hold, 0);
        if !can_come_again {
            patience.then = Then::Pending;
        }
        match self.held(client, request, patience).await? {
            Settled::Told(told) => Ok(told),
            Settled::Open(shown) if patience.then == Then::Again => {
                Ok(self.again(client, &shown, fingerprint, 1, has_schema))
            }
            Settled::Open(shown) => Ok(pending(&shown.document, has_schema)),
        }
    }

    /// A tool is called as a task of the older kind: whatever comes of it, the answer is the task.
    pub(super) async fn call_tool_as_task(&self, client: &Client, call: Gated) -> Result<Told, RpcError> {
        match self.take(caller(client), call, client.heard.clone()).await? {
            // It became no request, so there is nothing that could be asked for later.
            Taken::Told(told) => Ok(told),
            Taken::Request(request) => Ok(self.task_for(client, &request.shown)),
        }
    }

    /// A client brings back the state that it was given for this call.
    pub(super) async fn resume(&self, client: &Client, call: &Gated, state: &str) -> Result<Told, RpcError> {
        let none = || RpcError::bad_params("requestState: placet gave you none like this for this call");
        let state = self.0.tickets.read(Kind::State, client.principal, state).ok_or_else(none)?;
        let state = State::read(&state).ok_or_else(none)?;
        let until = Timestamp::parse(&state.until).map_err(|_| none())?;
        if state.call != call.fingerprint().to_string() || self.0.parts.clock.now() >= until {
            return Err(none());
        }
        self.0.profiles.echoed(client);
        let shown =
            match self.own_call(caller(client), &Scope::One(call.server.clone()), &state.request).await {
                Ok(shown) => shown,
                Err(OwnError::None) => return Err(none()),
                Err(OwnError::Refused(error)) => return refused_call(error),
            };
        let patience = self.0.profiles.patience(client, self.0.parts.pace.hold, state.round);
        match self.held(client, Request::found(shown, state.has_schema), patience).await? {
            Settled::Told(told) => Ok(told),
            Settled::Open(shown) if patience.then == Then::Again => {
                Ok(self.again(client, &shown, state.call, state.round + 1, state.has_schema))
            }
            Settled::Open(shown) => Ok(pending(&shown.document, state.has_schema)),
        }
    }

    /// An agent comes back for its own request.
    pub(super) async fn await_approval(
        &self,
        client: &Client,
        scope: &Scope,
        arguments: &Value,
    ) -> Result<Told, RpcError> {
        let members = arguments.as_object().cloned().unwrap_or_default();
        let id = members.get("approval_id").and_then(Value::as_str).unwrap_or_default();
        let none = || RpcError::bad_params("approval_id: no tool call of yours has this id");
        let mut patience = self.0.profiles.patience(client, self.0.parts.pace.hold, i64::MAX);
        if let Some(seconds) = members.get("wait_s") {
            let whole = || RpcError::bad_params("wait_s: whole seconds");
            let Value::Number(seconds) = seconds else { return Err(whole()) };
            let seconds = seconds.as_integer().and_then(|seconds| u64::try_from(seconds).ok());
            patience.hold = patience.hold.min(Duration::from_secs(seconds.ok_or_else(whole)?));
        }
        let shown = match self.own_call(caller(client), scope, id).await {
            Ok(shown) => shown,
            Err(OwnError::None) => return Err(none()),
            Err(OwnError::Refused(error)) => return refused_call(error),
        };
        if !is_tool_call(&shown.document) {
            return Ok(no_tool_call(&shown.document));
        }
        match self.held(client, Request::found(shown, false), patience).await? {
            Settled::Told(told) => Ok(told),
            Settled::Open(shown) => Ok(pending(&shown.document, false)),
        }
    }

    /// Waits while the client does, and learns from it.
    async fn held(&self, client: &Client, request: Request, patience: Patience) -> Result<Settled, RpcError> {
        let attending = self.0.profiles.attend(client);
        let settled = self.settle(caller(client), request, patience.hold, client.heard.as_ref()).await;
        attending.stayed();
        settled
    }

    /// The state with which the client comes again.
    fn again(&self, client: &Client, shown: &Shown, call: String, round: i64, has_schema: bool) -> Told {
        self.0.profiles.given(client);
        let until = self.0.parts.clock.now().plus(STATE_LIFETIME).to_string();
        let state = State { request: shown.document.id.clone(), round, call, until, has_schema };
        let state = self.0.tickets.issue(Kind::State, client.principal, &state.value());
        let kind = Value::string("input_required");
        Told::Result(
            Value::object([("resultType", kind), ("requestState", Value::String(state))]).canonical(),
        )
    }

    fn task_for(&self, client: &Client, shown: &Shown) -> Told {
        Told::Result(tasks::created(client.era, &shown.document, self.poll_after()))
    }
}

/// Whom the door has authenticated.
pub(super) fn caller(client: &Client) -> Caller {
    Caller::known(client.principal, client.credential)
}

impl Client {
    /// Whether its revisions know `resultType`.
    pub(super) fn is_modern(&self) -> bool {
        self.era == Era::Modern
    }
}
