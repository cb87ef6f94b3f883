//! From a granted request to a running program, and from its end to the outcome.
//!
//! What is executed is what the claimed bytes say. Beside that, everything is planned anew under the bundle in force, and
//! has to come out the same: what a bundle does not allow any more, an old review does not bring back.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use placet_core::action::{ActionRequest, PepKind, Pins, Principal, Recorded};
use placet_core::digest::Sha256Digest;
use placet_core::entropy::random_bytes;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::OutcomeKind;
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;

use super::Commands;
use super::executions::{Place, Slot};
use super::intake::arguments;
use super::problem::{Refusal, internal, no_such_request};
use crate::authority::{AuthorityError, AuthorityErrorKind, Caller, Claimed, Completion};
use crate::frames::{End, EndStatus};
use crate::runner::config::Caps;
use crate::runner::exec::{Launch, Report, Running, Stop};
use crate::runner::plan::Target;
use crate::runner::record::Kept;
use crate::runner::spool::Spool;
use crate::runner::workdir::Input;

/// How often an outcome is reported to an authority that cannot write, before it counts as unknown.
const REPORTS_MAX: usize = 5;

impl Commands {
    /// Claims the grant and starts the program, or says which execution that was done by before.
    pub(super) async fn run(
        &self,
        caller: Caller,
        request: RequestId,
    ) -> Result<(ExecutionId, bool), Refusal> {
        let principal = caller.principal();
        let slot = match self.0.executions.enter(principal, request, self.0.parts.clock.now()) {
            Place::Free(slot) => slot,
            Place::Taken(execution) => return Ok((execution, false)),
            Place::Starting => {
                let detail = "Another call is starting this command; ask again.";
                return Err(Refusal::new(StatusCode::CONFLICT, "starting", detail).retry_after(1));
            }
            Place::NotYours => return Err(no_such_request()),
            Place::Draining => {
                let detail = "placet is shutting down and starts no more programs.";
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail).retry_after(5));
            }
            Place::Busy => {
                let detail = "As many programs as may are running, or other agents that have fewer wait; ask again. The grant is untouched.";
                return Err(
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "runner_busy", detail).retry_after(5)
                );
            }
        };
        if !self.0.executions.make_room(&self.0.parts.output) {
            let detail = "The output of the programs that run takes all the room that there is; ask again. The grant is untouched.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "runner_busy", detail).retry_after(5));
        }
        // Written in hex: it may travel as text.
        let claim = Sha256Digest::from_bytes(random_bytes::<32>(self.0.parts.entropy.as_ref()));
        let claim = Secret::new(claim.to_string());
        let claimed = self.0.parts.authority.claim(caller, request, claim).await?;
        Ok((self.carry_out(principal, request, claimed, slot).await?, true))
    }

    /// From here on there is an execution, and it gets an outcome whatever happens.
    async fn carry_out(
        &self,
        principal: Principal,
        request: RequestId,
        claimed: Claimed,
        slot: Slot,
    ) -> Result<ExecutionId, Refusal> {
        let (execution, lease_until) = (claimed.execution(), claimed.lease_until());
        let prepared = self.prepare(principal, claimed).await;
        let caps = prepared.as_ref().map_or_else(|_| Caps::default(), |(_, caps)| *caps);
        let spool = self.spool(execution, caps.output_bytes_max);
        let launched = prepared.and_then(|(launch, caps)| {
            let spool = spool.clone().ok_or("not_started")?;
            let running = self.0.parts.engine.start(launch, spool).map_err(|_| "not_started")?;
            let runtime_ends = self.0.parts.clock.now().plus(caps.runtime_max);
            Ok((running, lease_until.min(runtime_ends)))
        });
        match launched {
            Ok((running, deadline)) => {
                slot.start(execution, Arc::clone(&running.spool), Some(running.clone()));
                let commands = self.clone();
                tokio::spawn(
                    async move { commands.follow(request, execution, running, deadline, slot).await },
                );
                Ok(execution)
            }
            Err(reason) => {
                let end = not_executed(reason);
                let end = self.report(request, execution, end, None, None).await;
                let Some(spool) = spool else { return Err(internal()) };
                finish(&spool, &end, self.0.parts.clock.now());
                slot.start(execution, spool, None);
                Ok(execution)
            }
        }
    }

    fn spool(&self, execution: ExecutionId, cap: u64) -> Option<Arc<Spool>> {
        let parts = &self.0.parts;
        let (name, seal) = (execution.to_string(), (parts.seals)(execution));
        let spool = Spool::create(&parts.spools, &name, seal, cap, &parts.output);
        spool
            .inspect_err(|error| tracing::error!(%execution, %error, "no place to spool output"))
            .ok()
            .map(Arc::new)
    }

    /// Checks the claimed bytes against what would be run, and puts together what is run. The error is the reason code of
    /// the outcome.
    async fn prepare(&self, principal: Principal, claimed: Claimed) -> Result<(Launch, Caps), &'static str> {
        let action = ActionRequest::from_canonical(claimed.canonical()).map_err(|_| "not_understood")?;
        let is_ours = action.pep == PepKind::Command && action.target == self.0.parts.target;
        if !is_ours || action.chain.requester != principal {
            return Err("not_ours");
        }
        let argv = argv(&action).ok_or("not_understood")?;
        let guidance = self.guide(None, &argv).await.map_err(|_| "not_planned")?;
        let target = Target { action: action.action.clone(), resource: action.resource.clone() };
        if guidance.target != target {
            return Err("mapping_changed");
        }
        let identity = self.identity(&guidance).map_err(|_| "runner_off")?;
        let planned = self.plan(&argv, &guidance).await.map_err(|_| "program_changed")?;
        if planned.program != action.pins.program {
            return Err("program_changed");
        }
        let secrets_fit =
            planned.secrets.iter().eq(action.pins.secrets.iter().map(|(key, pin)| (key, &pin.name)));
        // A request of an older placet says nothing about a recording, and nobody approved one.
        let record = action.pins.record.unwrap_or(Recorded::Nothing);
        if planned.environment != action.pins.environment
            || action.pins.record.is_some_and(|record| record != planned.record)
            || !secrets_fit
            || action.pins.run_as.as_deref() != Some(identity.name())
        {
            return Err("runner_changed");
        }
        let execution = claimed.execution();
        let secrets = released(claimed, &action.pins).ok_or("secrets_changed")?;
        let inputs = action.pins.inputs.iter().map(|(name, sha256)| self.input(principal, name, *sha256));
        let launch = Launch {
            execution,
            identity,
            program: action.pins.program.clone(),
            argv,
            environment: action.pins.environment.clone(),
            secrets,
            record,
            inputs: inputs.collect::<Option<_>>().ok_or("input_gone")?,
            stdin: match action.pins.stdin {
                Some(sha256) => Some(self.input(principal, "stdin", sha256).ok_or("input_gone")?),
                None => None,
            },
        };
        Ok((launch, guidance.config.caps))
    }

    fn input(&self, principal: Principal, name: &str, sha256: Sha256Digest) -> Option<Input> {
        let stored = self.0.parts.blobs.find(principal, sha256)?;
        Some(Input { name: name.to_owned(), stored, sha256 })
    }

    /// Waits for the end, makes an end when the lease runs out, and reports it.
    async fn follow(
        self,
        request: RequestId,
        execution: ExecutionId,
        running: Running,
        deadline: Timestamp,
        slot: Slot,
    ) {
        let report = tokio::select! {
            report = running.finished() => report,
            () = self.0.parts.timer.until(deadline) => {
                running.stop(Stop::LeaseExpired);
                running.finished().await
            }
        };
        let recording = running.take_recording();
        let end = match &report {
            Some(report) => report.end.clone(),
            // The thread that conducted it died: a bug, and nobody knows what became of the program.
            None => End { status: EndStatus::Unknown, ..not_executed("runner_failed") },
        };
        let end = self.report(request, execution, end, report.as_deref(), recording).await;
        finish(&running.spool, &end, self.0.parts.clock.now());
        drop(slot);
    }

    /// Reports an outcome. What could not be recorded did not end well: the end says so.
    async fn report(
        &self,
        request: RequestId,
        execution: ExecutionId,
        end: End,
        report: Option<&Report>,
        recording: Option<Kept>,
    ) -> End {
        let completion = completion(&end, report, recording);
        let mut last = None;
        for _ in 0..REPORTS_MAX {
            match self.0.parts.authority.complete(request, execution, completion.clone()).await {
                Ok(()) => return end,
                Err(error @ AuthorityError { kind: AuthorityErrorKind::Unavailable, .. }) => {
                    last = Some(error)
                }
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
            tokio::time::sleep(self.0.parts.pace.report_again).await;
        }
        tracing::error!(%request, %execution, error = ?last, "an outcome could not be recorded");
        let reason = end.reason.clone().unwrap_or_else(|| "outcome_not_recorded".to_owned());
        End { status: EndStatus::Unknown, reason: Some(reason), ..end }
    }
}

fn finish(spool: &Spool, end: &End, now: Timestamp) {
    if let Err(error) = spool.end(end, now) {
        tracing::error!(%error, "the end of an execution could not be spooled");
    }
}

/// The tokens, if the arguments are exactly what intake makes of tokens.
fn argv(action: &ActionRequest) -> Option<Vec<String>> {
    let list = action.arguments.as_object()?.get("argv")?.as_array()?;
    let argv: Vec<String> =
        list.iter().map(|token| token.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    (arguments(&argv) == action.arguments).then_some(argv)
}

/// The released secrets, if they are exactly those that were pinned.
fn released(claimed: Claimed, pins: &Pins) -> Option<BTreeMap<String, Secret>> {
    let released = claimed.into_secrets();
    let same = released.iter().map(|(variable, (version, _))| (variable, version)).eq(pins.secrets.iter());
    same.then(|| released.into_iter().map(|(variable, (_, secret))| (variable, secret)).collect())
}

/// The end of an execution in which no program was started.
fn not_executed(reason: &str) -> End {
    End {
        status: EndStatus::Failed,
        exit_code: None,
        signal: None,
        reason: Some(reason.to_owned()),
        stdout_bytes: 0,
        stderr_bytes: 0,
        sha256: Sha256Digest::of(b"").to_string(),
        duration_ms: 0,
        truncated: false,
    }
}

fn completion(end: &End, report: Option<&Report>, recording: Option<Kept>) -> Completion {
    let kind = match end.status {
        EndStatus::Succeeded => OutcomeKind::Succeeded,
        EndStatus::Failed => OutcomeKind::Failed,
        EndStatus::Unknown => OutcomeKind::Unknown,
    };
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut measures = BTreeMap::from([
        ("bytes".to_owned(), number(end.stdout_bytes)),
        ("stderr_bytes".to_owned(), number(end.stderr_bytes)),
        ("duration_ms".to_owned(), number(end.duration_ms)),
    ]);
    measures.extend(end.exit_code.map(|code| ("exit_code".to_owned(), code.into())));
    measures.extend(end.signal.map(|signal| ("signal".to_owned(), signal.into())));
    Completion {
        kind,
        summary: Untrusted::new(summary(end, report)),
        measures,
        result: report.map(|report| report.stdout_sha256),
        recording,
        delivery: None,
    }
}

/// One line: how it ended, and the last thing that a failed program said.
fn summary(end: &End, report: Option<&Report>) -> String {
    let how = match (end.exit_code, end.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) if end.status == EndStatus::Unknown => "its end was not seen".to_owned(),
        (None, None) => "not executed".to_owned(),
    };
    let why = end.reason.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
    let said = report.filter(|_| end.status != EndStatus::Succeeded).and_then(|report| {
        let line = report.stderr_tail.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(format!("; stderr: {}", line.trim().chars().take(200).collect::<String>()))
    });
    format!("{how}{why}{}", said.unwrap_or_default())
}
