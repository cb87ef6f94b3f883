//! The gateway's port over the broker in this process.
//!
//! Nothing is decided here: calls are put into the broker's words, its answers into the gateway's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use placet_api::request::RequestDocument;
use placet_broker::execution::{Ended, Recorded};
use placet_broker::intake::{Envelope, InterceptedCall};
use placet_broker::{Broker, CallError, Seen};
use placet_core::action::{PepKind, Principal};
use placet_core::digest::BundleDigest;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::secret::Secret;
use placet_gateway::authority::{
    Authority, AuthorityError, AuthorityErrorKind, Claimed, Completion, Guidance, Intercepted, Shown,
    Submitted,
};
use placet_gateway::runner::config::{Config as RunnerConfig, RunAs};
use placet_gateway::runner::plan::Target;

/// How a request is written for its requester: the agents' door knows.
pub(crate) type Document = Arc<dyn Fn(&Seen) -> RequestDocument + Send + Sync>;

/// The broker as the gateway's authority.
pub(crate) struct BrokerAuthority {
    broker: Broker,
    document: Document,
    /// Who executes on this machine, if the operator said other than the bundle.
    run_as: Option<RunAs>,
    /// The parsed `runner.toml` of the bundle in force.
    parsed: Mutex<Option<(BundleDigest, Arc<RunnerConfig>)>>,
}

impl BrokerAuthority {
    pub(crate) fn new(broker: Broker, document: Document, run_as: Option<RunAs>) -> Self {
        BrokerAuthority { broker, document, run_as, parsed: Mutex::new(None) }
    }

    /// How this machine executes commands under the bundle in force.
    pub(crate) async fn runner(&self) -> Result<Arc<RunnerConfig>, AuthorityError> {
        let bundle = self.broker.bundle().await.map_err(refused)?;
        self.runner_of(bundle.digest(), bundle.runner_toml())
    }

    fn runner_of(
        &self,
        bundle: BundleDigest,
        text: Option<&str>,
    ) -> Result<Arc<RunnerConfig>, AuthorityError> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = parsed.as_ref().filter(|(digest, _)| *digest == bundle) {
            return Ok(config.clone());
        }
        let unusable =
            |message: String| AuthorityError::new(AuthorityErrorKind::Forbidden, "no_runner", message);
        let text = text.ok_or_else(|| {
            unusable("The active policy has no runner.toml, so placet executes no commands.".to_owned())
        })?;
        let mut config = RunnerConfig::parse(text)
            .map_err(|error| unusable(format!("The active policy's runner.toml cannot be used: {error}.")))?;
        if let Some(run_as) = &self.run_as {
            config.run_as = run_as.clone();
        }
        let config = Arc::new(config);
        *parsed = Some((bundle, config.clone()));
        Ok(config)
    }

    fn shown(&self, seen: &Seen) -> Shown {
        Shown { id: seen.stored.request.id, document: (self.document)(seen) }
    }

    async fn claimed(
        &self,
        principal: Principal,
        id: RequestId,
        claim: Secret,
    ) -> Result<Claimed, AuthorityError> {
        let caller = self.broker.caller(principal).await.map_err(refused)?;
        let approved = self.broker.request_of(&caller, id).await.map_err(refused)?;
        let approved = approved.stored.request;
        let claim = String::from_utf8_lossy(claim.expose()).into_owned();
        let grant = self.broker.claim_for(PepKind::Command, &caller, id, &claim).await.map_err(refused)?;
        let released = self.broker.secrets_for(id, grant.execution).await.map_err(refused)?;
        let mut secrets = BTreeMap::new();
        for (variable, secret) in released {
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

impl Authority for BrokerAuthority {
    fn guide(&self, argv: Vec<String>) -> BoxFuture<'_, Result<Guidance, AuthorityError>> {
        Box::pin(async move {
            let guide = self.broker.guide_command(&argv).await.map_err(refused)?;
            let config = self.runner_of(guide.bundle, guide.runner_toml.as_deref())?;
            let target = Target { action: guide.action, resource: guide.resource };
            Ok(Guidance { target, config, secret_versions: guide.secrets })
        })
    }

    fn submit(&self, call: Intercepted) -> BoxFuture<'_, Result<Submitted, AuthorityError>> {
        Box::pin(async move {
            let caller = self.broker.caller(call.principal).await.map_err(refused)?;
            let intercepted = InterceptedCall {
                pep: call.pep,
                target: call.target,
                planned_for: (call.planned_for.action, call.planned_for.resource),
                grade: call.grade,
                arguments: call.arguments,
                pins: call.pins,
                envelope: Envelope {
                    justification: call.justification,
                    on_behalf_of: call.on_behalf_of,
                    idempotency_key: call.idempotency_key,
                },
            };
            let submitted = self.broker.submit_command(&caller, intercepted).await.map_err(refused)?;
            Ok(Submitted { shown: self.shown(&submitted.seen), new: submitted.new })
        })
    }

    fn wait(
        &self,
        principal: Principal,
        request: RequestId,
        newer_than: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let caller = self.broker.caller(principal).await.map_err(refused)?;
            let seen =
                self.broker.wait_of(&caller, request, Some(newer_than), wait).await.map_err(refused)?;
            Ok(self.shown(&seen))
        })
    }

    fn claim(
        &self,
        principal: Principal,
        request: RequestId,
        claim: Secret,
    ) -> BoxFuture<'_, Result<Claimed, AuthorityError>> {
        Box::pin(self.claimed(principal, request, claim))
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
            };
            self.broker.complete_for(request, execution, ended).await.map(drop).map_err(refused)
        })
    }

    fn cancel(
        &self,
        principal: Principal,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let caller = self.broker.caller(principal).await.map_err(refused)?;
            let seen = self.broker.cancel(&caller, request).await.map_err(refused)?;
            Ok(self.shown(&seen))
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
        CallError::Unavailable(_) => AuthorityErrorKind::Unavailable,
        CallError::Internal(_) => AuthorityErrorKind::Internal,
    };
    AuthorityError::new(kind, error.code(), error.to_string())
}
