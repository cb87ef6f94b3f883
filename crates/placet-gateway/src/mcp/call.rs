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

use std::time::Duration;

use placet_api::request::Status;
use placet_core::action::PepKind;
use placet_core::id::RequestId;
use placet_core::text::visible;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Mcp;
use super::carry::within;
use super::catalogue::Server;
use super::front::Scope;
use super::gated::{Gated, What, grade, pins, target};
use super::told::{Told, denied, failure, forgotten, is_reached, refused_call, unknown_outcome};
use super::upstream::{Freshness, Heard};
use super::wire::RpcError;
use crate::authority::{AuthorityError, AuthorityErrorKind, Caller, Intercepted, Shown};

/// One wait of the authority's.
const WAIT: Duration = Duration::from_secs(45);

/// What a call came to.
pub(super) enum Taken {
    /// It is no request: this is why.
    Told(Told),
    /// It is this request.
    Request(Box<Request>),
}

/// A request that a call made, or found.
pub(super) struct Request {
    pub(super) shown: Shown,
    /// Whether clients hold its result against a schema.
    pub(super) has_schema: bool,
    /// Its execution, if policy permitted it at once.
    executing: Option<JoinHandle<Option<Told>>>,
}

impl Request {
    /// One that was made before.
    pub(super) fn found(shown: Shown, has_schema: bool) -> Self {
        Request { shown, has_schema, executing: None }
    }
}

/// Where a request stands when nobody waits for it any longer.
pub(super) enum Settled {
    /// There is something to be told.
    Told(Told),
    /// Somebody still has to decide, or it is still being carried out.
    Open(Box<Shown>),
}

impl Mcp {
    /// Takes a call in, and carries it out if policy permits that at once.
    pub(super) async fn take(
        &self,
        caller: Caller,
        call: Gated,
        heard: Option<Heard>,
    ) -> Result<Taken, RpcError> {
        let catalogue = self.catalogue().await?;
        let server = catalogue.server(&call.server);
        let (ready, call, has_schema) = match &call.what {
            What::Tool { name, arguments } => {
                let unknown = || RpcError::bad_params(format!("there is no tool {}", visible(name)));
                let server = server.ok_or_else(unknown)?;
                let accepted = server.tool(name).ok_or_else(unknown)?;
                let ready = match self.unchanged(server, accepted, Freshness::Kept).await {
                    Ok(ready) => ready,
                    Err(refused) => return Ok(Taken::Told(refused)),
                };
                if let Err(why) = self.0.schemas.accept(accepted, arguments) {
                    return Ok(Taken::Told(failure(&format!(
                        "NOT EXECUTED. The arguments do not fit the tool's inputSchema: {why}"
                    ))));
                }
                let has_schema = accepted.definition.has_output_schema();
                let pins = pins(Some(accepted.pin));
                (ready, Intercepted { pins, ..intercepted(caller, server, call) }, has_schema)
            }
            What::Method { method, .. } => {
                let server = server.filter(|server| server.takes(method));
                let server = server.ok_or_else(|| RpcError::no_such_method(method))?;
                match self.reached(server).await {
                    Ok(ready) => (ready, intercepted(caller, server, call), false),
                    Err(refused) => return Ok(Taken::Told(refused)),
                }
            }
        };
        match self.0.parts.authority.submit_and_start(call, self.claim_value()).await {
            Ok((submitted, claimed)) => {
                let (mcp, request) = (self.clone(), submitted.shown.id);
                // Policy permits it without a review: intake and start were one transaction.
                let executing = claimed.map(|claimed| {
                    tokio::spawn(async move { Some(mcp.execute(request, claimed, &ready, heard).await) })
                });
                Ok(Taken::Request(Box::new(Request { shown: submitted.shown, has_schema, executing })))
            }
            Err(error) => refused_call(error).map(Taken::Told),
        }
    }

    /// The caller's own call of this id, of a server that is reached where they ask: a token may be for one server alone.
    pub(super) async fn own_call(&self, caller: Caller, scope: &Scope, id: &str) -> Result<Shown, OwnError> {
        let id = RequestId::parse(id).map_err(|_| OwnError::None)?;
        match self.0.parts.authority.wait(caller, id, 0, Duration::ZERO).await {
            Ok(shown) if is_reached(scope, &shown.document) => Ok(shown),
            Ok(_) | Err(AuthorityError { kind: AuthorityErrorKind::NotFound, .. }) => Err(OwnError::None),
            Err(error) => Err(OwnError::Refused(error)),
        }
    }

    /// Waits until something is to be told, and carries out what was granted.
    pub(super) async fn settle(
        &self,
        caller: Caller,
        request: Request,
        hold: Duration,
        heard: Option<&Heard>,
    ) -> Result<Settled, RpcError> {
        let until = Instant::now() + hold;
        let left = || until.saturating_duration_since(Instant::now());
        let mut shown = request.shown;
        if let Some(executing) = request.executing {
            let told = within(hold, executing).await;
            return Ok(told.map_or_else(|| Settled::Open(Box::new(shown)), Settled::Told));
        }
        loop {
            match shown.document.status {
                Status::Pending | Status::Executing => {}
                Status::Granted => {
                    let heard = heard.cloned();
                    if let Some(told) = self.carry_out_once(caller.clone(), &shown, left(), heard).await {
                        return Ok(Settled::Told(told));
                    }
                }
                _ => return self.ended(caller, &shown).await.map(Settled::Told),
            }
            if left().is_zero() {
                return Ok(Settled::Open(Box::new(shown)));
            }
            let version = shown.document.version;
            let (began, wait) = (Instant::now(), left().min(WAIT));
            shown = match self.0.parts.authority.wait(caller.clone(), shown.id, version, wait).await {
                Ok(newer) => newer,
                Err(error) => return refused_call(error).map(Settled::Told),
            };
            // It came back early with nothing new: placet stops, and nobody is to wait any more.
            if shown.document.version == version && began.elapsed() < wait {
                return Ok(Settled::Open(Box::new(shown)));
            }
        }
    }

    /// What is told of a request that has ended.
    pub(super) async fn ended(&self, caller: Caller, shown: &Shown) -> Result<Told, RpcError> {
        match shown.document.status {
            Status::Succeeded | Status::Failed => self.told_again(caller, shown).await,
            Status::Unknown => Ok(unknown_outcome(&shown.document)),
            _ => Ok(denied(&shown.document)),
        }
    }

    /// The kept result of a request that was carried out before.
    async fn told_again(&self, caller: Caller, shown: &Shown) -> Result<Told, RpcError> {
        match self.0.parts.source.delivered(caller.principal(), shown.id).await {
            Ok(Some(kept)) => {
                let kept = String::from_utf8(kept).map(Told::Result);
                kept.map_err(|_| RpcError::internal("the kept result cannot be read"))
            }
            Ok(None) => Ok(forgotten(&shown.document)),
            Err(error) => refused_call(error),
        }
    }
}

/// Why there is no such request for a caller.
pub(super) enum OwnError {
    /// There is none, or it is somebody else's.
    None,
    /// The authority does not say.
    Refused(AuthorityError),
}

fn intercepted(caller: Caller, server: &Server, call: Gated) -> Intercepted {
    Intercepted {
        caller,
        pep: PepKind::Mcp,
        target: target(&server.name),
        grade: grade(&server.reach),
        planned_for: None,
        arguments: call.what.arguments(&server.name),
        pins: pins(None),
        justification: call.justification,
        on_behalf_of: call.on_behalf_of,
        idempotency_key: call.idempotency_key,
    }
}
