//! Intake: an argument list becomes an action request with everything pinned.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use placet_api::command::CommandIntake;
use placet_core::action::{PepKind, Pins, Principal, SecretVersion};
use placet_core::c14n::Value;

use super::problem::Refusal;
use super::{Commands, problem};
use crate::authority::{AuthorityError, Caller, Guidance, Intercepted, Submitted};
use crate::runner::plan::{Plan, PlanError, plan};
use crate::runner::program::{Program, ProgramError, find};
use crate::runner::user::Identity;
use crate::runner::workdir::is_plain_name;

impl Commands {
    pub(super) async fn intake(&self, caller: Caller, call: CommandIntake) -> Result<Submitted, Refusal> {
        let principal = caller.principal();
        let guidance = self.guide(Some(caller.clone()), &call.argv).await?;
        let identity = self.identity(&guidance)?;
        let planned = self.plan(&call.argv, &guidance).await?;
        let pins = Pins {
            inputs: self.inputs(principal, &call)?,
            stdin: call.stdin,
            ..pins(&planned, &guidance, &identity)?
        };
        let intercepted = Intercepted {
            caller,
            pep: PepKind::Command,
            target: self.0.parts.target.clone(),
            grade: identity.grade(),
            planned_for: Some(guidance.target),
            arguments: arguments(&call.argv),
            pins,
            justification: call.justification,
            on_behalf_of: call.on_behalf_of,
            idempotency_key: call.idempotency_key,
        };
        Ok(self.0.parts.authority.submit(intercepted).await?)
    }

    /// What the bundle in force says, of which the bound on running programs is heeded at once.
    pub(super) async fn guide(
        &self,
        caller: Option<Caller>,
        argv: &[String],
    ) -> Result<Guidance, AuthorityError> {
        let guidance = self.0.parts.authority.guide(caller, argv.to_vec()).await?;
        self.0.executions.limit(guidance.config.caps.concurrent_max);
        Ok(guidance)
    }

    /// Who would execute under the bundle in force.
    pub(super) fn identity(&self, guidance: &Guidance) -> Result<Identity, Refusal> {
        let off = |detail: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "runner_off", detail);
        let identity = Identity::resolve(&guidance.config.run_as).map_err(|error| off(error.to_string()))?;
        self.0.parts.engine.work.check_reachable(&identity).map_err(|error| off(error.to_string()))?;
        Ok(identity)
    }

    /// Finds, opens and hashes the program, and plans its execution. The descriptors are closed again: the execution
    /// opens the program anew and compares.
    pub(super) async fn plan(&self, argv: &[String], guidance: &Guidance) -> Result<Plan, Refusal> {
        let name = argv.first().cloned().unwrap_or_default();
        let config = guidance.config.clone();
        // Hashing is work, and those who ask for it pay nothing yet: a few at a time, and the others wait.
        let _turn = self.0.hashing.acquire().await.map_err(|_| problem::internal())?;
        let opened = tokio::task::spawn_blocking(move || Program::open(&find(&name, &config)?));
        let program = opened.await.map_err(|_| problem::internal())?.map_err(program_refused)?;
        plan(argv, &guidance.target, &guidance.config, program.pins()).map_err(plan_refused)
    }

    fn inputs(
        &self,
        principal: Principal,
        call: &CommandIntake,
    ) -> Result<BTreeMap<String, placet_core::digest::Sha256Digest>, Refusal> {
        let mut inputs = BTreeMap::new();
        for (place, input) in call.inputs.iter().enumerate() {
            let pointer = format!("/inputs/{place}/name");
            if !is_plain_name(&input.name) {
                let detail = "An input's name is a plain file name, without a slash.";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_input_name", detail).at(&pointer));
            }
            if inputs.insert(input.name.clone(), input.sha256).is_some() {
                let detail = "Two inputs have this name; give each its own.";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_input_name", detail).at(&pointer));
            }
        }
        let missing = |sha256: &&_| self.0.parts.blobs.find(principal, **sha256).is_none();
        match inputs.values().chain(call.stdin.iter()).find(missing) {
            None => Ok(inputs),
            Some(sha256) => {
                let detail = format!("Upload the input first: PUT /v1/blobs/{sha256}.");
                Err(Refusal::new(StatusCode::CONFLICT, "input_missing", detail))
            }
        }
    }
}

/// The intercepted call itself, token for token.
pub(super) fn arguments(argv: &[String]) -> Value {
    Value::object([("argv", Value::Array(argv.iter().map(Value::string).collect()))])
}

/// What a plan pins, but inputs. Secrets are pinned as the version that the vault has now.
fn pins(plan: &Plan, guidance: &Guidance, identity: &Identity) -> Result<Pins, Refusal> {
    let mut secrets = BTreeMap::new();
    for (variable, name) in &plan.secrets {
        let Some(version) = guidance.secret_versions.get(name) else {
            let detail =
                format!("The vault has no secret {name}: an operator stores it with `placet secret set`.");
            return Err(Refusal::new(StatusCode::CONFLICT, "secret_missing", detail));
        };
        secrets.insert(variable.clone(), SecretVersion { name: name.clone(), version: *version });
    }
    Ok(Pins {
        program: plan.program.clone(),
        run_as: Some(identity.name().to_owned()),
        environment: plan.environment.clone(),
        secrets,
        record: Some(plan.record),
        ..Pins::default()
    })
}

fn program_refused(error: ProgramError) -> Refusal {
    let (status, code) = match &error {
        ProgramError::Place(_) | ProgramError::NotFound(_) => (StatusCode::BAD_REQUEST, "no_such_program"),
        _ => (StatusCode::CONFLICT, "program_refused"),
    };
    Refusal::new(status, code, error.to_string()).at("/argv/0")
}

fn plan_refused(error: PlanError) -> Refusal {
    match &error {
        PlanError::Empty | PlanError::Nul(_) => {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_value", error.to_string()).at("/argv")
        }
        PlanError::Ambiguous(_) => Refusal::new(StatusCode::CONFLICT, "program_refused", error.to_string()),
    }
}
