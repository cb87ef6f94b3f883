//! Execution: a grant is claimed once, and its outcome is recorded.
//!
//! The third decision is made at the claim, under the bundle, the people and the votes of that moment. The entry that
//! permits the execution is durable before the caller gets the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use placet_core::action::{Executor, PepKind, SecretVersion};
use placet_core::c14n::Value;
use placet_core::decision::{Effect, ForbidReason};
use placet_core::digest::{ActionDigest, Sha256Digest};
use placet_core::directory::Operator;
use placet_core::entry::Kind;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::{Outcome, OutcomeKind, Recording, Rejection, Reporter, Request, Status};
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;
use placet_store::{PAGE_MAX, RequestFilter, Requires, Transition, Write};

use crate::error::{Attempt, CallError, rejected};
use crate::intake::Caller;
use crate::peps::{Enforcer, admits};
use crate::vault::is_login;
use crate::{Broker, Seen, attempts, drafts, successor};

/// A claimed grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedGrant {
    /// Which execution.
    pub execution: ExecutionId,
    /// The canonical bytes: exactly what was reviewed.
    pub canonical: String,
    /// Until when an outcome is waited for.
    pub outcome_deadline: Timestamp,
}

impl ClaimedGrant {
    /// The answer to whoever holds an execution under this claim: as long as there is one, it is the same.
    pub(crate) fn held(request: &Request, claim: Sha256Digest) -> Option<Self> {
        let held = request.holds_claim(claim)?;
        Some(ClaimedGrant {
            execution: held.id,
            canonical: request.canonical.as_str().to_owned(),
            outcome_deadline: held.lease_until,
        })
    }
}

/// An outcome as a caller reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomeReport {
    /// Which execution.
    pub execution: String,
    /// `succeeded`, `failed` or `unknown`.
    pub outcome: String,
    /// One line.
    pub summary: String,
    /// Numbers that were measured.
    pub measures: BTreeMap<String, i64>,
    /// SHA-256 of what came out.
    pub result_digest: Option<String>,
}

/// How an execution of ours ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// How.
    pub kind: OutcomeKind,
    /// One line.
    pub summary: String,
    /// Numbers that were measured.
    pub measures: BTreeMap<String, i64>,
    /// SHA-256 of what came out.
    pub result: Option<Sha256Digest>,
    /// What was recorded of it, if anything was.
    pub recording: Option<Recorded>,
    /// What came out, where it is to be kept for those who come for it later.
    pub delivery: Option<Vec<u8>>,
}

/// What an enforcement point recorded of an execution: an asciicast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its exact bytes.
    pub bytes: Arc<[u8]>,
    /// Whether the program wrote more than was kept.
    pub truncated: bool,
}

/// What there is of an execution's recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SeenRecording {
    /// None was kept.
    None,
    /// One was kept, and has been erased.
    Erased,
    /// Its exact bytes: they have the hash that the outcome commits to.
    Whole(ExecutionId, Vec<u8>),
}

/// How many bytes a recording may have: those of the enforcement points have half of it.
const RECORDING_MAX: usize = 16 * 1024 * 1024;
/// How many bytes a claim value may have.
const CLAIM_MAX: usize = 255;
/// How many bytes a summary may have.
const SUMMARY_MAX: usize = 4096;
/// How many measures an outcome may have, and how long their names may be.
const MEASURES_MAX: usize = 32;
const MEASURE_NAME_MAX: usize = 64;

impl Broker {
    /// The agent claims the grant of its own external request.
    pub async fn claim_external(
        &self,
        caller: &Caller,
        id: RequestId,
        digest: &str,
        claim: &str,
    ) -> Result<ClaimedGrant, CallError> {
        self.take_call(caller.principal).await?;
        let seen = self.request_of(caller, id).await?;
        self.claim_as(&PepKind::External.into(), caller, &seen.stored.request, digest, claim).await
    }

    /// An enforcement point claims the grant of a request that it took in from this caller.
    pub async fn claim_for(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        id: RequestId,
        claim: &str,
    ) -> Result<ClaimedGrant, CallError> {
        self.take_call(caller.principal).await?;
        let seen = self.request_of(caller, id).await?;
        let digest = seen.stored.request.canonical.digest().to_string();
        self.claim_as(enforcer, caller, &seen.stored.request, &digest, claim).await
    }

    async fn claim_as(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        request: &Request,
        digest: &str,
        claim: &str,
    ) -> Result<ClaimedGrant, CallError> {
        let id = request.id;
        let digest = ActionDigest::parse(digest)
            .map_err(|error| CallError::invalid("bad_digest", error.to_string(), "/digest"))?;
        let claim = checked_claim(claim)?;
        let at = enforcer.executor();
        let refusal = if !enforcer.took_in(request) {
            Some(rejected(Rejection::NotTheExecutor, id))
        } else if digest != request.canonical.digest() {
            Some(CallError::conflict("other_digest", "The claim names another action.", id))
        } else {
            None
        };
        if let Some(error) = refusal {
            return Err(self.claim_refused(request, at, error).await);
        }
        let _turn = self.0.locks.lock(id.as_bytes()).await;
        match attempts(|| self.try_claim(enforcer, caller, id, claim)).await {
            Err(error @ (CallError::Conflict { .. } | CallError::Unauthenticated)) => {
                Err(self.claim_refused(request, at, error).await)
            }
            answer => answer,
        }
    }

    /// Records a refused claim, and gives the refusal back.
    async fn claim_refused(&self, request: &Request, at: Executor, error: CallError) -> CallError {
        let by = request.requester().to_string();
        let entry = self.seal(drafts::claim_refused(request, &by, at, error.code()));
        match self.commit_once(Transition { entries: vec![entry], ..Transition::default() }).await {
            Ok(_) => error,
            Err(unavailable) => unavailable,
        }
    }

    async fn try_claim(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        id: RequestId,
        claim: Sha256Digest,
    ) -> Result<ClaimedGrant, Attempt> {
        let request = self.stored(id).await?.request;
        let snapshot = self.snapshot().await?;
        snapshot.admits_enforcer(enforcer)?;
        // A grant is its principal's, not its credential's: after a rotation the new token claims it, and the old one
        // nothing, also if it passed the door just before. One who may not act at all is left to the third decision,
        // which ends the grant.
        if snapshot.directory.active_agent(caller.agent.id).is_some() {
            snapshot.admits(caller)?;
        }
        if let Some(held) = ClaimedGrant::held(&request, claim) {
            return Ok(held);
        }
        let (version, deadline) = (request.version, request.deadline());
        if request.status() == Status::Granted {
            // A grant that ran out lapses, whatever policy would say of it.
            if deadline.is_some_and(|deadline| snapshot.now >= deadline) {
                return Err(Attempt::Failed(rejected(Rejection::TooLate, id)));
            }
            self.secrets_of(&request).await?;
        }
        let judgement = self.judge(&request, &snapshot);
        let mut requires = snapshot.requires();
        if judgement.decision.effect != Effect::Permit && request.status() == Status::Granted {
            let reason = match &judgement.decision.effect {
                Effect::Forbid(reason) => reason.clone(),
                Effect::RequireApproval(_) | Effect::Permit => ForbidReason::EvidenceGone,
            };
            let sentence = reason.sentence();
            let next = request
                .refuse(judgement.decision.clone(), reason, snapshot.now)
                .map_err(|rejection| rejected(rejection, id))?;
            let entries = vec![
                self.seal(drafts::decided(&next, &judgement, "claim")),
                self.seal(drafts::ended(Kind::RequestRefusedLater, &next)),
            ];
            let writes = vec![successor(version, next)];
            self.commit(Transition { requires, writes, entries }).await?;
            return Err(Attempt::Failed(CallError::conflict("refused", sentence, id)));
        }
        let execution = ExecutionId::new(snapshot.now, self.0.entropy.as_ref());
        let lifetimes = self.0.config.lifetimes;
        let next = request
            .claim(judgement.decision.clone(), execution, claim, enforcer.executor(), lifetimes, snapshot.now)
            .map_err(|rejection| rejected(rejection, id))?;
        let Some(held) = next.execution().cloned() else {
            return Err(Attempt::Failed(CallError::Internal(
                "a claimed request has no execution".to_owned(),
            )));
        };
        requires.push(Requires::SteadyClock);
        requires.extend(deadline.map(Requires::Before));
        let canonical = next.canonical.as_str().to_owned();
        let entries = vec![self.seal(drafts::started(&next, &held, &judgement))];
        let writes = vec![successor(version, next)];
        self.commit(Transition { requires, writes, entries }).await?;
        Ok(ClaimedGrant { execution: held.id, canonical, outcome_deadline: held.lease_until })
    }

    /// The secrets that a claimed execution was approved with, by environment variable. Only for the enforcement point
    /// that holds the execution, and only as long as it holds it.
    pub async fn secrets_for(
        &self,
        enforcer: &Enforcer,
        id: RequestId,
        execution: ExecutionId,
    ) -> Result<BTreeMap<String, Secret>, CallError> {
        self.trusted().await?;
        admits(&*self.directory().await?, enforcer)?;
        let request = self.stored(id).await?.request;
        let held = request.execution().filter(|held| held.id == execution);
        let held = held.filter(|_| request.status() == Status::Executing);
        let held = held.ok_or_else(|| rejected(Rejection::OtherExecution, id))?;
        if held.executor == PepKind::External || !enforcer.took_in(&request) {
            return Err(rejected(Rejection::NotTheExecutor, id));
        }
        if self.now() >= held.lease_until {
            return Err(rejected(Rejection::TooLate, id));
        }
        self.secrets_of(&request).await
    }

    /// Exactly the versions that were reviewed: a newer one was not, and one that was removed is gone.
    async fn secrets_of(&self, request: &Request) -> Result<BTreeMap<String, Secret>, CallError> {
        let mut secrets = BTreeMap::new();
        for (variable, SecretVersion { name, version }) in &request.action.pins.secrets {
            // A login is for the connection to its server, whatever an enforcement point pins.
            let secret = match is_login(name) {
                true => None,
                false => self.0.views.secret(name.clone(), *version).await?,
            };
            let gone = || format!("The secret {name}@{version} is not stored any more.");
            let secret = secret.ok_or_else(|| CallError::conflict("secret_gone", gone(), request.id))?;
            secrets.insert(variable.clone(), secret);
        }
        Ok(secrets)
    }

    /// Whether every secret that the request was pinned with is still there.
    pub(crate) async fn has_secrets(&self, request: &Request) -> Result<bool, CallError> {
        match self.secrets_of(request).await {
            Ok(_) => Ok(true),
            Err(CallError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The agent reports what became of its own external execution. It is the agent's word.
    pub async fn report_outcome(
        &self,
        caller: &Caller,
        id: RequestId,
        report: OutcomeReport,
    ) -> Result<Seen, CallError> {
        self.take_call(caller.principal).await?;
        let seen = self.request_of(caller, id).await?;
        if seen.stored.request.action.pep != PepKind::External {
            return Err(rejected(Rejection::NotTheExecutor, id));
        }
        let (execution, ended) = checked(report)?;
        self.complete(&PepKind::External.into(), id, execution, ended, Reporter::Agent).await
    }

    /// An enforcement point reports what became of an execution of its own.
    pub async fn complete_for(
        &self,
        enforcer: &Enforcer,
        id: RequestId,
        execution: ExecutionId,
        ended: Ended,
    ) -> Result<Seen, CallError> {
        let ended = checked_end(ended)?;
        self.complete(enforcer, id, execution, ended, Reporter::Placet).await
    }

    async fn complete(
        &self,
        enforcer: &Enforcer,
        id: RequestId,
        execution: ExecutionId,
        ended: Ended,
        reported_by: Reporter,
    ) -> Result<Seen, CallError> {
        let _turn = self.0.locks.lock(id.as_bytes()).await;
        let recorded = ended.recording.as_ref().filter(|recorded| recorded.bytes.len() <= RECORDING_MAX);
        let recording = recorded.map(|recorded| Recording {
            sha256: Sha256Digest::of(&recorded.bytes),
            bytes: recorded.bytes.len() as u64,
            truncated: recorded.truncated,
        });
        attempts(|| async {
            let request = self.held_by(enforcer, id).await?;
            let now = self.now();
            let outcome = Outcome {
                summary: Untrusted::new(ended.summary.clone()),
                measures: ended.measures.clone(),
                result: ended.result,
                recording,
                reported_by,
                at: now,
            };
            if is_repeated(&request, execution, ended.kind, &outcome) {
                return Ok(());
            }
            let (version, deadline) = (request.version, request.deadline());
            let next = request
                .complete(execution, ended.kind, outcome.clone(), now)
                .map_err(|rejection| rejected(rejection, id))?;
            let held = next.execution().cloned();
            let entries = held.map(|held| self.seal(drafts::finished(&next, &held, &outcome)));
            let mut writes = vec![successor(version, next)];
            writes.extend(recorded.map(|recorded| Write::Recording {
                execution,
                request: id,
                bytes: recorded.bytes.to_vec(),
            }));
            writes.extend(ended.delivery.clone().map(|bytes| Write::Delivery(id, bytes)));
            let requires = deadline.map(Requires::Before).into_iter().collect();
            self.commit(Transition { requires, writes, entries: entries.into_iter().collect() }).await?;
            Ok(())
        })
        .await?;
        self.seen(self.stored(id).await?).await
    }

    /// The recording of a request's execution. Whoever may see the request may see it.
    pub async fn recording_of(&self, request: &Request) -> Result<SeenRecording, CallError> {
        let kept = request.execution().zip(request.outcome().and_then(|outcome| outcome.recording));
        let Some((execution, recording)) = kept else { return Ok(SeenRecording::None) };
        let Some(bytes) = self.0.views.recording(execution.id).await? else {
            return Ok(SeenRecording::Erased);
        };
        if Sha256Digest::of(&bytes) != recording.sha256 {
            let what =
                format!("the recording of {} is not the one that its outcome commits to", execution.id);
            return Err(CallError::Internal(what));
        }
        Ok(SeenRecording::Whole(execution.id, bytes))
    }

    /// The recording of a request's execution, for an operator. Taking it out is an entry.
    pub async fn export_recording(
        &self,
        operator: &Operator,
        id: RequestId,
    ) -> Result<SeenRecording, CallError> {
        let request = self.stored(id).await?.request;
        let seen = self.recording_of(&request).await?;
        if let SeenRecording::Whole(..) = seen {
            let draft = drafts::operated(Kind::AuditExported, operator, ("request", id.to_string()));
            let draft = draft.commit("part", Value::string("recording"));
            self.commit_once(Transition { entries: vec![self.seal(draft)], ..Transition::default() }).await?;
        }
        Ok(seen)
    }

    /// A request that this enforcement point took in. Nobody else's is there for it.
    async fn held_by(&self, enforcer: &Enforcer, id: RequestId) -> Result<Request, CallError> {
        admits(&*self.directory().await?, enforcer)?;
        let request = self.stored(id).await?.request;
        if enforcer.took_in(&request) { Ok(request) } else { Err(CallError::NotFound) }
    }

    /// Every execution that this enforcement point holds, and whose it is.
    pub async fn executions_of(
        &self,
        enforcer: &Enforcer,
    ) -> Result<Vec<(RequestId, ExecutionId)>, CallError> {
        let mut held = Vec::new();
        let mut before = None;
        loop {
            let statuses = vec![Status::Executing];
            let filter = RequestFilter { statuses, before, limit: PAGE_MAX, ..RequestFilter::default() };
            let page = self.0.views.requests(filter).await?;
            let Some(last) = page.last() else { return Ok(held) };
            before = Some(last.request.id);
            let own = page.iter().map(|stored| &stored.request).filter(|request| enforcer.took_in(request));
            held.extend(own.filter_map(|request| Some((request.id, request.execution()?.id))));
        }
    }

    /// An execution of this enforcement point ended with the process that held it, and nobody knows how. Whatever it left
    /// running has to be gone before this is called. One that cannot be written stays executing until its lease runs out.
    pub async fn abandon(
        &self,
        enforcer: &Enforcer,
        id: RequestId,
        execution: ExecutionId,
        why: &str,
    ) -> Result<(), CallError> {
        if why.is_empty() || why.len() > SUMMARY_MAX {
            return Err(CallError::invalid("summary_too_long", "write 1 to 4096 bytes", "/why"));
        }
        let _turn = self.0.locks.lock(id.as_bytes()).await;
        attempts(|| async {
            let request = self.held_by(enforcer, id).await?;
            if request.execution().is_none_or(|held| held.id != execution) {
                return Err(Attempt::Failed(rejected(Rejection::OtherExecution, id)));
            }
            let version = request.version;
            let next = request.abandon(why, self.now()).map_err(|rejection| rejected(rejection, id))?;
            let ended = next.execution().zip(next.outcome());
            let entries = ended.map(|(held, outcome)| self.seal(drafts::finished(&next, held, outcome)));
            let entries = entries.into_iter().collect();
            let writes = vec![successor(version, next)];
            self.commit(Transition { requires: Vec::new(), writes, entries }).await.map(drop)
        })
        .await
    }
}

/// A claim value's hash: what is stored of it.
pub(crate) fn checked_claim(claim: &str) -> Result<Sha256Digest, CallError> {
    if claim.is_empty() || claim.len() > CLAIM_MAX {
        return Err(CallError::invalid("bad_claim", "write 1 to 255 bytes", "/claim"));
    }
    Ok(Sha256Digest::of(claim.as_bytes()))
}

/// The same report came before: it gets the same answer.
fn is_repeated(request: &Request, execution: ExecutionId, kind: OutcomeKind, outcome: &Outcome) -> bool {
    let status = match kind {
        OutcomeKind::Succeeded => Status::Succeeded,
        OutcomeKind::Failed => Status::Failed,
        OutcomeKind::Unknown => Status::Unknown,
    };
    request.status() == status
        && request.execution().is_some_and(|held| held.id == execution)
        && request.outcome().is_some_and(|known| {
            known.summary == outcome.summary
                && known.measures == outcome.measures
                && known.result == outcome.result
                && known.recording == outcome.recording
        })
}

fn checked(report: OutcomeReport) -> Result<(ExecutionId, Ended), CallError> {
    let execution = ExecutionId::parse(&report.execution)
        .map_err(|error| CallError::invalid("bad_execution", error.to_string(), "/execution_id"))?;
    let kind = OutcomeKind::parse(&report.outcome)
        .ok_or_else(|| CallError::invalid("bad_outcome", "write succeeded, failed or unknown", "/outcome"))?;
    let result = report.result_digest.as_deref().map(Sha256Digest::parse).transpose();
    let result =
        result.map_err(|error| CallError::invalid("bad_digest", error.to_string(), "/result_digest"))?;
    Ok((
        execution,
        checked_end(Ended {
            kind,
            summary: report.summary,
            measures: report.measures,
            result,
            recording: None,
            delivery: None,
        })?,
    ))
}

fn checked_end(ended: Ended) -> Result<Ended, CallError> {
    if ended.summary.len() > SUMMARY_MAX {
        return Err(CallError::invalid("summary_too_long", "at most 4096 bytes", "/summary"));
    }
    let names_fit = ended.measures.keys().all(|name| !name.is_empty() && name.len() <= MEASURE_NAME_MAX);
    if ended.measures.len() > MEASURES_MAX || !names_fit {
        return Err(CallError::invalid(
            "bad_measures",
            "at most 32 with names of 1 to 64 bytes",
            "/measures",
        ));
    }
    Ok(ended)
}
