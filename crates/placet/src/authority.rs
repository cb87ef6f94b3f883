//! The gateway's port over the broker in this process.
//!
//! Nothing is decided here: calls are put into the broker's words, its answers into the gateway's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use placet_api::request::RequestDocument;
use placet_broker::execution::{ClaimedGrant, Ended, Recorded};
use placet_broker::intake::{Caller as BrokerCaller, Envelope, InterceptedCall};
use placet_broker::peps::Enforcer;
use placet_broker::{Broker, CallError, Seen};
use placet_core::action::{PepKind, Principal, SecretVersion};
use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use placet_core::directory::{CredentialVersion, Operator};
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::Request;
use placet_core::secret::Secret;
use placet_gateway::authority::{
    Authority, AuthorityError, AuthorityErrorKind, Caller, Claimed, Completion, Guidance, Intercepted, Shown,
    Submitted,
};
use placet_gateway::mcp::catalogue::Catalogue;
use placet_gateway::mcp::{ServerSecrets, ToolSource};
use placet_gateway::runner::bundled::Bundled;
use placet_gateway::runner::config::{Config as RunnerConfig, RunAs};
use placet_gateway::runner::plan::Target;

use crate::agent_users::AgentUsers;

/// How a request is written for its requester: the agents' door knows.
pub(crate) type Document = Arc<dyn Fn(&Seen) -> RequestDocument + Send + Sync>;

/// The broker as the gateway's authority.
pub(crate) struct BrokerAuthority {
    broker: Broker,
    document: Document,
    /// The enforcement point of this process that it stands for.
    enforcer: Enforcer,
    bundled: Bundled,
    /// Whom nothing is executed as.
    agent_users: AgentUsers,
    /// The MCP servers of the bundle in force.
    catalogue: Mutex<Option<Arc<Catalogue>>>,
}

impl BrokerAuthority {
    /// `run_as` is what this machine's operator said about who executes.
    pub(crate) fn new(
        broker: Broker,
        document: Document,
        run_as: Option<RunAs>,
        agent_users: AgentUsers,
    ) -> Self {
        let enforcer = Enforcer::Local(PepKind::Command);
        let (bundled, catalogue) = (Bundled::new(run_as), Mutex::new(None));
        BrokerAuthority { broker, document, enforcer, bundled, agent_users, catalogue }
    }

    /// The same for the enforcement point for tools.
    pub(crate) fn of_tools(broker: Broker, document: Document) -> Self {
        let enforcer = Enforcer::Local(PepKind::Mcp);
        BrokerAuthority { enforcer, ..Self::new(broker, document, None, AgentUsers::default()) }
    }

    /// How this machine executes commands under the bundle in force.
    pub(crate) async fn runner(&self) -> Result<Arc<RunnerConfig>, AuthorityError> {
        let bundle = self.broker.bundle().await.map_err(refused)?;
        self.config(bundle.digest(), bundle.runner_toml())
    }

    /// The bundle's `runner.toml`, if what it says separates programs from agents here.
    fn config(&self, bundle: BundleDigest, text: Option<&str>) -> Result<Arc<RunnerConfig>, AuthorityError> {
        let config = self.bundled.read(bundle, text)?;
        match self.agent_users.shared(&config.run_as) {
            None => Ok(config),
            Some(why) => {
                let message = format!("placet executes no commands here: {why}.");
                Err(AuthorityError::new(AuthorityErrorKind::Forbidden, "no_runner", message))
            }
        }
    }

    async fn caller(&self, caller: &Caller) -> Result<BrokerCaller, AuthorityError> {
        let known = self.broker.caller(caller.principal()).await.map_err(refused)?;
        // A call may be open for long, and its token replaced in the meantime.
        match caller.credential() {
            Some(CredentialVersion(came)) if came != known.agent.credential_version => {
                Err(refused(CallError::Unauthenticated))
            }
            _ => Ok(known),
        }
    }

    fn shown(&self, seen: &Seen) -> Shown {
        Shown { id: seen.stored.request.id, document: (self.document)(seen) }
    }

    /// A claim that was made, with the secrets that go with it.
    async fn released(&self, approved: &Request, grant: ClaimedGrant) -> Result<Claimed, AuthorityError> {
        let released = self.broker.secrets_for(&self.enforcer, approved.id, grant.execution).await;
        let mut secrets = BTreeMap::new();
        for (variable, secret) in released.map_err(refused)? {
            let Some(version) = approved.action.pins.secrets.get(&variable) else {
                return Err(internal("a secret was released that nobody approved"));
            };
            secrets.insert(variable, (version.clone(), secret));
        }
        let digest = approved.canonical.digest();
        Claimed::by_authority(grant.execution, digest, grant.canonical, grant.outcome_deadline, secrets)
            .map_err(|error| internal(&error.to_string()))
    }
}

/// A call in broker's words.
fn intercepted(call: Intercepted) -> InterceptedCall {
    InterceptedCall {
        target: call.target,
        planned_for: call.planned_for.map(|target| (target.action, target.resource)),
        grade: call.grade,
        arguments: call.arguments,
        pins: call.pins,
        envelope: Envelope {
            justification: call.justification,
            on_behalf_of: call.on_behalf_of,
            idempotency_key: call.idempotency_key,
        },
    }
}

impl Authority for BrokerAuthority {
    fn guide(
        &self,
        caller: Option<Caller>,
        argv: Vec<String>,
    ) -> BoxFuture<'_, Result<Guidance, AuthorityError>> {
        Box::pin(async move {
            if let Some(caller) = &caller {
                let caller = self.caller(caller).await?;
                self.broker.may_call(&caller).await.map_err(refused)?;
            }
            let guide = self.broker.guide_command(&self.enforcer, &argv).await.map_err(refused)?;
            let config = self.config(guide.bundle, guide.runner_toml.as_deref())?;
            let target = Target { action: guide.action, resource: guide.resource };
            Ok(Guidance { target, config, secret_versions: guide.secrets })
        })
    }

    fn submit(&self, call: Intercepted) -> BoxFuture<'_, Result<Submitted, AuthorityError>> {
        Box::pin(async move {
            let caller = self.caller(&call.caller).await?;
            let submitted = self.broker.submit_intercepted(&self.enforcer, &caller, intercepted(call)).await;
            let submitted = submitted.map_err(refused)?;
            Ok(Submitted { shown: self.shown(&submitted.seen), new: submitted.new })
        })
    }

    fn submit_and_start(
        &self,
        call: Intercepted,
        claim: Secret,
    ) -> BoxFuture<'_, Result<(Submitted, Option<Claimed>), AuthorityError>> {
        Box::pin(async move {
            let caller = self.caller(&call.caller).await?;
            let claim = String::from_utf8_lossy(claim.expose()).into_owned();
            let started =
                self.broker.submit_and_start(&self.enforcer, &caller, intercepted(call), &claim).await;
            let (submitted, grant) = started.map_err(refused)?;
            let claimed = match grant {
                Some(grant) => Some(self.released(&submitted.seen.stored.request, grant).await?),
                None => None,
            };
            Ok((Submitted { shown: self.shown(&submitted.seen), new: submitted.new }, claimed))
        })
    }

    fn wait(
        &self,
        caller: Caller,
        request: RequestId,
        newer_than: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let caller = self.caller(&caller).await?;
            let seen =
                self.broker.wait_of(&caller, request, Some(newer_than), wait).await.map_err(refused)?;
            Ok(self.shown(&seen))
        })
    }

    fn claim(
        &self,
        caller: Caller,
        request: RequestId,
        claim: Secret,
    ) -> BoxFuture<'_, Result<Claimed, AuthorityError>> {
        Box::pin(async move {
            let caller = self.caller(&caller).await?;
            let approved = self.broker.request_of(&caller, request).await.map_err(refused)?;
            let claim = String::from_utf8_lossy(claim.expose()).into_owned();
            let grant = self.broker.claim_for(&self.enforcer, &caller, request, &claim).await;
            self.released(&approved.stored.request, grant.map_err(refused)?).await
        })
    }

    fn complete(
        &self,
        request: RequestId,
        execution: ExecutionId,
        completion: Completion,
    ) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async move {
            let ended = Ended {
                kind: completion.kind,
                summary: completion.summary.as_raw().to_owned(),
                measures: completion.measures,
                result: completion.result,
                recording: completion
                    .recording
                    .map(|kept| Recorded { bytes: kept.bytes, truncated: kept.truncated }),
                delivery: completion.delivery,
            };
            let completed = self.broker.complete_for(&self.enforcer, request, execution, ended).await;
            completed.map(drop).map_err(refused)
        })
    }

    fn cancel(&self, caller: Caller, request: RequestId) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let caller = self.caller(&caller).await?;
            let seen = self.broker.cancel(&caller, request).await.map_err(refused)?;
            Ok(self.shown(&seen))
        })
    }

    fn held(&self) -> BoxFuture<'_, Result<Vec<(RequestId, ExecutionId)>, AuthorityError>> {
        Box::pin(async move { self.broker.executions_of(&self.enforcer).await.map_err(refused) })
    }

    fn abandon(
        &self,
        request: RequestId,
        execution: ExecutionId,
        why: &str,
    ) -> BoxFuture<'_, Result<(), AuthorityError>> {
        let why = why.to_owned();
        Box::pin(async move {
            self.broker.abandon(&self.enforcer, request, execution, &why).await.map_err(refused)
        })
    }
}

impl ToolSource for BrokerAuthority {
    fn delivered(
        &self,
        principal: Principal,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, AuthorityError>> {
        Box::pin(async move {
            let caller = self.broker.caller(principal).await.map_err(refused)?;
            self.broker.delivery_of(&caller, request).await.map_err(refused)
        })
    }

    fn tools(&self) -> BoxFuture<'_, Result<Arc<Catalogue>, AuthorityError>> {
        Box::pin(async move {
            let known = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let guide =
                self.broker.guide_tools(known.as_ref().map(|known| known.bundle)).await.map_err(refused)?;
            let Some(guide) = guide else { return known.ok_or_else(|| internal("a catalogue was lost")) };
            let files = guide.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
            let read = Catalogue::read(guide.bundle, files).map_err(|error| {
                let message = format!("The active policy's MCP servers cannot be used: {error}.");
                AuthorityError::new(AuthorityErrorKind::Forbidden, "no_tools", message)
            })?;
            let read = Arc::new(read);
            *self.catalogue.lock().unwrap_or_else(PoisonError::into_inner) = Some(read.clone());
            Ok(read)
        })
    }

    fn callable(
        &self,
        principal: Principal,
        calls: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<bool>, AuthorityError>> {
        Box::pin(async move {
            let caller = self.broker.caller(principal).await.map_err(refused)?;
            self.broker.callable(&caller, calls).await.map_err(refused)
        })
    }

    fn secret_versions(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<SecretVersion>, AuthorityError>> {
        Box::pin(async move { self.broker.secret_versions(&names).await.map_err(refused) })
    }

    fn server_secrets(
        &self,
        versions: Vec<SecretVersion>,
    ) -> BoxFuture<'_, Result<ServerSecrets, AuthorityError>> {
        Box::pin(async move { self.broker.server_secrets(versions).await.map_err(refused) })
    }

    fn set_login(
        &self,
        operator: Operator,
        server: String,
        login: Secret,
    ) -> BoxFuture<'_, Result<SecretVersion, AuthorityError>> {
        Box::pin(async move { self.broker.set_login(&operator, &server, login).await.map_err(refused) })
    }

    fn renew_login(&self, of: SecretVersion, login: Secret) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async move { self.broker.renew_login(&of, login).await.map_err(refused) })
    }

    fn requests(
        &self,
        principal: Principal,
        before: Option<RequestId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Shown>, AuthorityError>> {
        Box::pin(async move {
            let caller = self.broker.caller(principal).await.map_err(refused)?;
            let page = self.broker.requests_of(&caller, Vec::new(), before, limit).await.map_err(refused)?;
            Ok(page.iter().map(|seen| self.shown(seen)).collect())
        })
    }
}

fn internal(message: &str) -> AuthorityError {
    AuthorityError::new(AuthorityErrorKind::Internal, "internal", message)
}

fn refused(error: CallError) -> AuthorityError {
    let kind = match &error {
        CallError::Unauthenticated => AuthorityErrorKind::Unauthenticated,
        CallError::NotFound => AuthorityErrorKind::NotFound,
        CallError::Forbidden { .. } => AuthorityErrorKind::Forbidden,
        CallError::Conflict { .. } => AuthorityErrorKind::Conflict,
        CallError::Invalid { .. } => AuthorityErrorKind::Invalid,
        CallError::TooMany { retry_after, .. } => AuthorityErrorKind::TooMany { retry_after: *retry_after },
        CallError::Unavailable(_) | CallError::Stopped(_) => AuthorityErrorKind::Unavailable,
        CallError::Internal(_) => AuthorityErrorKind::Internal,
    };
    let mut told = AuthorityError::new(kind, error.code(), error.to_string());
    match error {
        CallError::Conflict { request, .. } => told.request = request,
        CallError::Invalid { pointer, .. } => told.pointer = pointer,
        _ => {}
    }
    told
}

#[cfg(test)]
mod conformance;
