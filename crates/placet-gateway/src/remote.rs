//! The authority elsewhere: over the agents' door, with this enforcement point's own credential.
//!
//! Whatever is asked for an agent carries that agent's token, which the door verifies: a gateway cannot make up a caller.
//! Nothing is decided and nothing is remembered here. An authority that cannot be reached is a no.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use placet_api::client::{ClientError, Peps};
use placet_api::intake::{OutcomeRequest, OutcomeWord};
use placet_api::pep::{
    AbandonRequest, CALLER_UNAUTHENTICATED, GuideRequest, HeldDocument, InterceptedRequest, PepClaim,
    PepOutcome, PepRecording,
};
use placet_api::problem::Problem;
use placet_api::request::RequestDocument;
use placet_core::action::{ActionName, Executor, PepKind, Principal, ResourceRef, SecretVersion};
use placet_core::digest::{ActionDigest, BundleDigest};
use placet_core::id::{AgentId, ExecutionId, PepId, RequestId};
use placet_core::request::OutcomeKind;
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use zeroize::Zeroizing;

use crate::authority::{
    Authority, AuthorityError, AuthorityErrorKind, Caller, Claimed, Completion, Guidance, Intercepted, Shown,
    Submitted,
};
use crate::runner::bundled::Bundled;
use crate::runner::config::RunAs;
use crate::runner::plan::Target;

/// How often a claim is sent whose answer got lost: under the same value it is the same claim.
const CLAIMS_MAX: usize = 3;
/// Between two of them.
const CLAIM_AGAIN: Duration = Duration::from_millis(200);

/// An authority at the agents' door of a placet elsewhere.
#[derive(Debug)]
pub struct RemoteAuthority {
    door: Peps,
    executor: Executor,
    bundled: Bundled,
}

impl RemoteAuthority {
    /// Asks the door who this enforcement point is. `run_as` is what this machine's operator said about who executes.
    pub async fn connect(door: Peps, run_as: Option<RunAs>) -> Result<Self, AuthorityError> {
        let known = door.whoami().await.map_err(refused)?;
        let kind = PepKind::parse(&known.kind);
        let pep = PepId::parse(&known.id);
        let (Some(kind), Ok(pep)) = (kind, pep) else {
            return Err(strange("it names an enforcement point that this version does not know"));
        };
        Ok(RemoteAuthority {
            door,
            executor: Executor { kind, pep: Some(pep) },
            bundled: Bundled::new(run_as),
        })
    }

    /// Whether the authority still knows this enforcement point.
    pub async fn ready(&self) -> Result<(), AuthorityError> {
        self.door.whoami().await.map(drop).map_err(refused)
    }

    /// Who this enforcement point is.
    pub fn executor(&self) -> Executor {
        self.executor
    }

    /// The agent or pipeline whose token this is.
    pub async fn caller(&self, token: Secret) -> Result<Caller, AuthorityError> {
        let known = self.door.caller(&token).await.map_err(refused)?;
        let id = AgentId::parse(&known.id).map_err(|_| strange("it names a caller that is none"))?;
        let principal = match known.kind.as_str() {
            "agent" => Principal::Agent(id),
            "pipeline" => Principal::Pipeline(id),
            _ => return Err(strange("it names a caller of a kind that this version does not know")),
        };
        Ok(Caller::proven(principal, token))
    }

    async fn taken_in(
        &self,
        call: Intercepted,
        start: Option<Secret>,
    ) -> Result<(Submitted, Option<Claimed>), AuthorityError> {
        let token = token_of(&call.caller)?.clone();
        let planned_for = call.planned_for.ok_or_else(|| strange("it takes in only commands so far"))?;
        let request = InterceptedRequest {
            target: call.target,
            grade: call.grade,
            action: planned_for.action,
            resource: planned_for.resource,
            arguments: call.arguments,
            pins: call.pins,
            justification: call.justification,
            on_behalf_of: call.on_behalf_of,
            idempotency_key: call.idempotency_key,
            start: start.map(|claim| String::from_utf8_lossy(claim.expose()).into_owned()),
        };
        let taken = self.door.submit(&token, &request).await.map_err(refused)?;
        let claimed = taken.execution.map(claimed).transpose()?;
        Ok((Submitted { shown: shown(taken.request)?, new: taken.new }, claimed))
    }
}

impl Authority for RemoteAuthority {
    fn guide(
        &self,
        caller: Option<Caller>,
        argv: Vec<String>,
    ) -> BoxFuture<'_, Result<Guidance, AuthorityError>> {
        Box::pin(async move {
            let token = caller.as_ref().map(token_of).transpose()?;
            let guide = self.door.guide(token, &GuideRequest { argv }).await.map_err(refused)?;
            let action = ActionName::parse(&guide.action);
            let resource = ResourceRef::new(&guide.resource.kind, &guide.resource.id);
            let bundle = BundleDigest::parse(&guide.bundle);
            let (Ok(action), Ok(resource), Ok(bundle)) = (action, resource, bundle) else {
                return Err(strange("its guidance cannot be read"));
            };
            let config = self.bundled.read(bundle, guide.runner_toml.as_deref())?;
            Ok(Guidance { target: Target { action, resource }, config, secret_versions: guide.secrets })
        })
    }

    fn submit(&self, call: Intercepted) -> BoxFuture<'_, Result<Submitted, AuthorityError>> {
        Box::pin(async move { Ok(self.taken_in(call, None).await?.0) })
    }

    fn submit_and_start(
        &self,
        call: Intercepted,
        claim: Secret,
    ) -> BoxFuture<'_, Result<(Submitted, Option<Claimed>), AuthorityError>> {
        Box::pin(self.taken_in(call, Some(claim)))
    }

    fn wait(
        &self,
        caller: Caller,
        request: RequestId,
        newer_than: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let token = token_of(&caller)?;
            let document = self.door.wait(token, &request.to_string(), newer_than, wait).await;
            shown(document.map_err(refused)?)
        })
    }

    fn claim(
        &self,
        caller: Caller,
        request: RequestId,
        claim: Secret,
    ) -> BoxFuture<'_, Result<Claimed, AuthorityError>> {
        Box::pin(async move {
            let token = token_of(&caller)?;
            let claim = PepClaim { claim: String::from_utf8_lossy(claim.expose()).into_owned() };
            let mut answer = self.door.claim(token, &request.to_string(), &claim).await;
            for _ in 1..CLAIMS_MAX {
                if !matches!(answer, Err(ClientError::Unreachable { .. })) {
                    break;
                }
                tokio::time::sleep(CLAIM_AGAIN).await;
                answer = self.door.claim(token, &request.to_string(), &claim).await;
            }
            claimed(answer.map_err(refused)?)
        })
    }

    fn complete(
        &self,
        request: RequestId,
        execution: ExecutionId,
        completion: Completion,
    ) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async move {
            let outcome = OutcomeRequest {
                execution_id: execution.to_string(),
                outcome: match completion.kind {
                    OutcomeKind::Succeeded => OutcomeWord::Succeeded,
                    OutcomeKind::Failed => OutcomeWord::Failed,
                    OutcomeKind::Unknown => OutcomeWord::Unknown,
                },
                summary: completion.summary.as_raw().to_owned(),
                measures: completion.measures,
                result_digest: completion.result.map(|digest| digest.to_string()),
            };
            let recording = completion
                .recording
                .map(|kept| PepRecording { asciicast: kept.bytes, truncated: kept.truncated });
            let outcome = PepOutcome { outcome, recording };
            self.door.outcome(&request.to_string(), &outcome).await.map_err(refused)
        })
    }

    fn cancel(&self, caller: Caller, request: RequestId) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let token = token_of(&caller)?;
            shown(self.door.cancel(token, &request.to_string()).await.map_err(refused)?)
        })
    }

    fn held(&self) -> BoxFuture<'_, Result<Vec<(RequestId, ExecutionId)>, AuthorityError>> {
        Box::pin(async move {
            let list = self.door.executions().await.map_err(refused)?;
            let mut held = Vec::with_capacity(list.executions.len());
            for line in &list.executions {
                let ids = (RequestId::parse(&line.request), ExecutionId::parse(&line.execution_id));
                let (Ok(request), Ok(execution)) = ids else {
                    return Err(strange("it names an execution that is none"));
                };
                held.push((request, execution));
            }
            Ok(held)
        })
    }

    fn abandon(
        &self,
        request: RequestId,
        execution: ExecutionId,
        why: &str,
    ) -> BoxFuture<'_, Result<(), AuthorityError>> {
        let abandoned = AbandonRequest { execution_id: execution.to_string(), why: why.to_owned() };
        Box::pin(async move { self.door.abandon(&request.to_string(), &abandoned).await.map_err(refused) })
    }
}

/// Only a caller that showed a token here can be proven elsewhere.
fn token_of(caller: &Caller) -> Result<&Secret, AuthorityError> {
    let unproven =
        || AuthorityError::new(AuthorityErrorKind::Internal, "internal", "the caller showed no token");
    caller.token().ok_or_else(unproven)
}

fn shown(document: RequestDocument) -> Result<Shown, AuthorityError> {
    let id = RequestId::parse(&document.id).map_err(|_| strange("it names a request that is none"))?;
    Ok(Shown { id, document })
}

fn claimed(held: HeldDocument) -> Result<Claimed, AuthorityError> {
    let execution = ExecutionId::parse(&held.execution_id);
    let approved = ActionDigest::parse(&held.digest);
    let lease_until = Timestamp::parse(&held.outcome_deadline);
    let (Ok(execution), Ok(approved), Ok(lease_until)) = (execution, approved, lease_until) else {
        return Err(strange("it answers a claim with something else"));
    };
    let mut secrets = BTreeMap::new();
    for (variable, released) in held.secrets {
        let written = Zeroizing::new(released.value);
        let value = STANDARD.decode(written.as_bytes()).map_err(|_| strange("a secret is not in base64"))?;
        let version = SecretVersion { name: released.name, version: released.version };
        secrets.insert(variable, (version, Secret::new(value)));
    }
    Claimed::by_authority(execution, approved, held.canonical, lease_until, secrets)
        .map_err(|error| AuthorityError::new(AuthorityErrorKind::Internal, "internal", error.to_string()))
}

/// An answer that no placet of this version gives.
fn strange(what: &str) -> AuthorityError {
    let message = format!("the authority's answer is not understood: {what}");
    AuthorityError::new(AuthorityErrorKind::Internal, "internal", message)
}

/// What a failed call means for whoever asked the gateway.
fn refused(error: ClientError) -> AuthorityError {
    match &error {
        ClientError::Problem(problem) => of_problem(problem),
        ClientError::Unreachable { .. } => {
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "the authority cannot be reached");
            let message =
                "This gateway cannot reach the placet that decides, so it does nothing. Try again later.";
            AuthorityError::new(AuthorityErrorKind::Unavailable, "authority_unreachable", message)
        }
        ClientError::Unexpected { .. } | ClientError::Configuration(_) => {
            AuthorityError::new(AuthorityErrorKind::Internal, "internal", error.to_string())
        }
    }
}

fn of_problem(problem: &Problem) -> AuthorityError {
    let retry_after = Duration::from_secs(problem.retry_after_seconds.unwrap_or(1));
    let kind = match (problem.status, problem.code.as_str()) {
        (401, CALLER_UNAUTHENTICATED) => {
            let message = "This token opens nothing here.";
            return AuthorityError::new(AuthorityErrorKind::Unauthenticated, "unauthenticated", message);
        }
        (401, _) => {
            tracing::error!(detail = problem.detail, "the authority does not accept this gateway's token");
            let message = "The placet that decides does not accept this gateway any more. Tell its operator.";
            return AuthorityError::new(AuthorityErrorKind::Unavailable, "gateway_refused", message);
        }
        (403, _) => AuthorityErrorKind::Forbidden,
        (404, _) => AuthorityErrorKind::NotFound,
        (409, _) => AuthorityErrorKind::Conflict,
        (429, _) => AuthorityErrorKind::TooMany { retry_after },
        (408 | 503, _) => AuthorityErrorKind::Unavailable,
        (400..500, _) => AuthorityErrorKind::Invalid,
        _ => AuthorityErrorKind::Internal,
    };
    let mut refused = AuthorityError::new(kind, problem.code.as_str(), problem.detail.as_str());
    refused.pointer = problem.pointer.clone();
    refused.request = problem.request.as_deref().and_then(|id| RequestId::parse(id).ok());
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_is_refused_is_not_taken_for_an_agent_that_is() {
        for (status, code, kind, shown) in [
            (401, "caller_unauthenticated", AuthorityErrorKind::Unauthenticated, "unauthenticated"),
            (401, "unauthenticated", AuthorityErrorKind::Unavailable, "gateway_refused"),
            (403, "not_the_executor", AuthorityErrorKind::Forbidden, "not_the_executor"),
            (404, "not_found", AuthorityErrorKind::NotFound, "not_found"),
            (409, "already_claimed", AuthorityErrorKind::Conflict, "already_claimed"),
            (400, "bad_value", AuthorityErrorKind::Invalid, "bad_value"),
            (413, "body_too_large", AuthorityErrorKind::Invalid, "body_too_large"),
            (408, "timeout", AuthorityErrorKind::Unavailable, "timeout"),
            (503, "unavailable", AuthorityErrorKind::Unavailable, "unavailable"),
            (500, "internal", AuthorityErrorKind::Internal, "internal"),
        ] {
            let error = of_problem(&Problem::new(status, "", code, "no"));
            assert_eq!((error.kind, error.code.as_str()), (kind, shown), "{status} {code}");
        }
        let mut busy = Problem::new(429, "", "call_rate", "no");
        busy.retry_after_seconds = Some(7);
        let retry_after = Duration::from_secs(7);
        assert_eq!(of_problem(&busy).kind, AuthorityErrorKind::TooMany { retry_after });
    }
}
