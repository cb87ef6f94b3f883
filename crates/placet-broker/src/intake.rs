//! Intake: a call becomes a request, or attaches to the one that it repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Canonical, Executor, Facts, Grade, PepKind, Pins, Principal,
    ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::digest::{BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{Agent, Directory};
use placet_core::entry::{Draft, Kind};
use placet_core::id::{ExecutionId, PersonId, RequestId};
use placet_core::request::{Intake, Request, Status};
use placet_core::retry::{KEY_BYTES_MAX, KeyRecord, Retry, Twin, retry};
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;
use placet_policy::{MapRefusal, Mapped};
use placet_store::{RequestFilter, Requires, StoredRequest, Transition, Write};

use crate::error::{Attempt, CallError, rejected};
use crate::execution::{ClaimedGrant, checked_claim};
use crate::limits::Capped;
use crate::peps::Enforcer;
use crate::vault::is_login;
use crate::{Broker, Seen, Snapshot, attempts, drafts, successor};

/// An agent or pipeline whose credential was checked just now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// What is known of it.
    pub agent: Agent,
}

/// A call at the door for actions that nobody enforces: all of it is the agent's claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalCall {
    /// The action's name.
    pub action: String,
    /// The resource's type.
    pub resource_type: String,
    /// The resource's id.
    pub resource_id: String,
    /// The arguments, token for token.
    pub arguments: Value,
    /// What every call may say beside it.
    pub envelope: Envelope,
}

/// What every call may say beside what it wants done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// Why.
    pub justification: Option<String>,
    /// The person on whose behalf; the sponsor if absent.
    pub on_behalf_of: Option<String>,
    /// The caller's key for this call.
    pub idempotency_key: Option<String>,
}

/// A call that an enforcement point of ours intercepted, already mapped and pinned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterceptedCall {
    /// What it would talk to: for a command, [`Executor::runner`].
    pub target: String,
    /// The action and resource that the pins were planned for, if they were. If the mapping says something else by now, the
    /// call is refused: its secrets were chosen for this and for nothing else.
    pub planned_for: Option<(ActionName, ResourceRef)>,
    /// How far it can be trusted here.
    pub grade: Grade,
    /// The call itself.
    pub arguments: Value,
    /// What else pins the meaning.
    pub pins: Pins,
    /// What the call may say beside it.
    pub envelope: Envelope,
}

/// What the bundle in force says about one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandGuide {
    /// What the mapping makes of it.
    pub action: ActionName,
    /// On what.
    pub resource: ResourceRef,
    /// The bundle's `runner.toml`, if it has one.
    pub runner_toml: Option<String>,
    /// Which bundle.
    pub bundle: BundleDigest,
    /// The newest version of each stored secret that `runner.toml` names.
    pub secrets: BTreeMap<String, u32>,
}

/// What a call got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submitted {
    /// The request.
    pub seen: Seen,
    /// Whether this call made it.
    pub new: bool,
}

/// How many bytes a justification may have.
const JUSTIFICATION_MAX: usize = 4096;
/// How long a caller may wait for a change in one call.
pub const WAIT_MAX: Duration = Duration::from_secs(50);

/// A call whose border checks are done.
struct Call {
    action: ActionRequest,
    canonical: Canonical,
    facts: Facts,
    executor: Executor,
    grade: Grade,
    justification: Option<Untrusted>,
    key: Option<String>,
    /// The claim under which it starts at once if policy permits it without a review.
    start: Option<Sha256Digest>,
}

impl Broker {
    /// Takes a call in that the agent would carry out itself.
    pub async fn submit_external(&self, caller: &Caller, call: ExternalCall) -> Result<Submitted, CallError> {
        self.take_call(caller.principal).await?;
        let action = ActionName::parse(&call.action)
            .map_err(|error| CallError::invalid("bad_action", error.to_string(), "/action"))?;
        let resource = ResourceRef::new(&call.resource_type, &call.resource_id)
            .map_err(|error| CallError::invalid("bad_resource", error.to_string(), "/resource"))?;
        if call.arguments.as_object().is_none() {
            return Err(CallError::invalid("bad_arguments", "arguments must be an object", "/arguments"));
        }
        attempts(|| async {
            let snapshot = self.snapshot().await?;
            if !snapshot.bundle.is_external(&action) {
                return Err(Attempt::Failed(CallError::forbidden(
                    "action_not_external",
                    format!("The active policy does not list {action} under [external]: no agent may execute it itself."),
                )));
            }
            let facts = snapshot
                .bundle
                .map_external(&action, &call.arguments)
                .map_err(|refusal| CallError::invalid("bad_arguments", refusal.to_string(), "/arguments"))?;
            let action = ActionRequest {
                tenant: self.0.config.tenant.clone(),
                chain: chain(caller, &call.envelope, &snapshot.directory)?,
                pep: PepKind::External,
                target: "external".to_owned(),
                action: action.clone(),
                resource: resource.clone(),
                arguments: call.arguments.clone(),
                pins: Pins::default(),
            };
            let executor = PepKind::External.into();
            let call = checked(action, facts, executor, Grade::Advisory, &call.envelope)?;
            self.take_in(caller, call, snapshot).await
        })
        .await
    }

    /// Takes a call in that this enforcement point intercepted and would carry out.
    pub async fn submit_intercepted(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        call: InterceptedCall,
    ) -> Result<Submitted, CallError> {
        self.intercepted(enforcer, caller, call, None).await
    }

    /// The same, for an enforcement point that holds its caller: if policy permits at once, without a review, the
    /// execution begins in the transaction that takes the call in, under this claim value. What people have to decide on
    /// waits for them as ever, and is claimed afterwards.
    pub async fn submit_and_start(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        call: InterceptedCall,
        claim: &str,
    ) -> Result<(Submitted, Option<ClaimedGrant>), CallError> {
        let claim = checked_claim(claim)?;
        let submitted = self.intercepted(enforcer, caller, call, Some(claim)).await?;
        // A repeated call under the same key and claim gets the execution that the first one began.
        let claimed = ClaimedGrant::held(&submitted.seen.stored.request, claim);
        Ok((submitted, claimed))
    }

    async fn intercepted(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        call: InterceptedCall,
        start: Option<Sha256Digest>,
    ) -> Result<Submitted, CallError> {
        self.take_call(caller.principal).await?;
        let executor = enforcer.executor();
        attempts(|| async {
            let snapshot = self.snapshot().await?;
            snapshot.admits_enforcer(enforcer)?;
            let mapped = mapped(&snapshot, enforcer, &call)?;
            let planned = |(action, resource): &(ActionName, ResourceRef)| {
                (action, resource) == (&mapped.action, &mapped.resource)
            };
            if !call.planned_for.as_ref().is_none_or(planned) {
                let message = "The policy changed while this call was prepared. Try again.".to_owned();
                let code = "mapping_moved";
                return Err(Attempt::Failed(CallError::Conflict { code, message, request: None }));
            }
            let action = ActionRequest {
                tenant: self.0.config.tenant.clone(),
                chain: chain(caller, &call.envelope, &snapshot.directory)?,
                pep: executor.kind,
                target: call.target.clone(),
                action: mapped.action,
                resource: mapped.resource,
                arguments: call.arguments.clone(),
                pins: call.pins.clone(),
            };
            let call = checked(action, mapped.facts, executor, call.grade, &call.envelope)?;
            self.take_in(caller, Call { start, ..call }, snapshot).await
        })
        .await
    }

    /// What the bundle in force says about a command, for the enforcement point that would run it.
    pub async fn guide_command(
        &self,
        enforcer: &Enforcer,
        argv: &[String],
    ) -> Result<CommandGuide, CallError> {
        runs_commands(enforcer.executor())?;
        let bundle = self.bundle().await?;
        let mapped = bundle.map_command(argv).map_err(unmapped)?;
        // An enforcement point is told of no secret that its runner.toml does not name.
        let runner_toml = bundle.runner_toml().map(str::to_owned);
        let named = |name: &str| runner_toml.as_deref().is_some_and(|text| text.contains(name));
        let stored =
            self.secrets().await?.into_iter().filter(|secret| named(&secret.name) && !is_login(&secret.name));
        let secrets = stored.map(|secret| (secret.name, secret.version)).collect();
        Ok(CommandGuide {
            action: mapped.action,
            resource: mapped.resource,
            runner_toml,
            bundle: bundle.digest(),
            secrets,
        })
    }

    /// A principal that the door has authenticated, as the caller it is.
    pub async fn caller(&self, principal: Principal) -> Result<Caller, CallError> {
        let directory = self.directory().await?;
        let agent = principal.agent().and_then(|id| directory.active_agent(id));
        let agent = agent.filter(|agent| agent.principal() == principal).ok_or(CallError::Unauthenticated)?;
        Ok(Caller { principal, agent: agent.clone() })
    }

    /// Every call that writes takes from its principal's bucket, so that nobody can fill the ledger with refusals.
    pub(crate) async fn take_call(&self, principal: Principal) -> Result<(), CallError> {
        match self.0.limiter.call(principal, self.now()) {
            Ok(()) => Ok(()),
            Err(capped) => Err(self.capped(principal, capped).await),
        }
    }

    /// Whether this caller may call now, for an enforcement point that has work to do before it hands the call in. It
    /// takes none of the caller's calls; handing in does.
    pub async fn may_call(&self, caller: &Caller) -> Result<(), CallError> {
        match self.0.limiter.may_call(caller.principal, self.now()) {
            Ok(()) => Ok(()),
            Err(capped) => Err(self.capped(caller.principal, capped).await),
        }
    }

    /// Writes the summary entry that is due, and gives what the caller gets.
    async fn capped(&self, principal: Principal, capped: Capped) -> CallError {
        if let Some(refused) = capped.summary {
            let entry = self.seal(drafts::cap_reached(principal, capped.error.code(), refused));
            let transition = Transition { entries: vec![entry], ..Transition::default() };
            if let Err(error) = self.commit_once(transition).await {
                return error;
            }
        }
        capped.error
    }

    async fn take_in(&self, caller: &Caller, call: Call, snapshot: Snapshot) -> Result<Submitted, Attempt> {
        let digest = call.canonical.digest();
        let _turn = self.0.locks.lock(digest.as_bytes()).await;
        snapshot.admits(caller)?;
        let key = match &call.key {
            Some(key) => self.0.views.key(caller.principal, key.clone()).await?,
            None => None,
        };
        let twin = self.0.views.twin(caller.principal, digest).await?;
        match retry(digest, key, twin, snapshot.now) {
            Retry::KeyReused(request) => Err(Attempt::Failed(CallError::conflict(
                "key_reused",
                "This idempotency key was used for another action. Use a new key for a new action.",
                request,
            ))),
            Retry::OutcomeUnknown(request) => Err(Attempt::Failed(CallError::conflict(
                "outcome_unknown",
                "This action was started before and nobody knows how it ended. A person has to resolve that first.",
                request,
            ))),
            Retry::Attach(request) => self.attach(caller, request, &call, key, &snapshot).await,
            Retry::New => self.open(caller, call, key, twin, snapshot).await,
        }
    }

    /// The repeated call gets the request that it repeats, and leaves an entry with its own justification.
    async fn attach(
        &self,
        caller: &Caller,
        id: RequestId,
        call: &Call,
        known: Option<KeyRecord>,
        snapshot: &Snapshot,
    ) -> Result<Submitted, Attempt> {
        let stored = self.stored(id).await?;
        if stored.request.executor() != call.executor {
            let message = "This action was asked for through another enforcement point. Go on there.";
            return Err(Attempt::Failed(CallError::conflict("other_pep", message, id)));
        }
        let entries = vec![self.seal(drafts::attached(&stored.request, call.justification.as_ref()))];
        let (mut requires, mut writes) = (snapshot.requires(), Vec::new());
        if let (Some(key), None) = (&call.key, known) {
            // A key that comes with a repeated call stands for the same request from now on.
            let record = KeyRecord { digest: call.canonical.digest(), request: id, at: snapshot.now };
            requires.push(Requires::Key(caller.principal, key.clone(), None));
            writes.push(Write::Key(caller.principal, key.clone(), record));
        }
        self.commit(Transition { requires, writes, entries }).await?;
        Ok(Submitted { seen: self.seen(self.stored(id).await?).await?, new: false })
    }

    async fn open(
        &self,
        caller: &Caller,
        call: Call,
        key: Option<KeyRecord>,
        twin: Option<Twin>,
        snapshot: Snapshot,
    ) -> Result<Submitted, Attempt> {
        if let Some(wait) = self.0.limiter.cooled_down(&call.action, snapshot.now) {
            let message = "This action was denied three times in ten minutes and is cooled down.";
            let capped = self.0.limiter.refuse(caller.principal, "cooled_down", message, wait, snapshot.now);
            return Err(Attempt::Failed(self.capped(caller.principal, capped).await));
        }
        let judgement = snapshot.decide(&call.action, &call.facts, call.grade, &[], self.evaluation());
        let id = RequestId::new(snapshot.now, self.0.entropy.as_ref());
        let digest = call.canonical.digest();
        // Of 2^40 codes: one that is taken is refused by the store, and the next attempt has another id and another code.
        let short_code = ShortCode::derive(&self.0.short_code_key, id, digest, 0);
        let intake = Intake {
            id,
            action: call.action,
            canonical: call.canonical,
            short_code: short_code.clone(),
            taken_in_by: call.executor.pep,
            grade: call.grade,
            justification: call.justification,
        };
        let lifetimes = self.0.config.lifetimes;
        let mut request = Request::open(intake, judgement.decision.clone(), lifetimes, snapshot.now);
        let mut requires = snapshot.requires();
        requires.push(Requires::ShortCodeFree(short_code));
        requires.push(Requires::Twin(caller.principal, digest, twin.map(|twin| twin.request)));
        if request.status() == Status::Granted {
            requires.push(Requires::SteadyClock);
        }
        if request.status() == Status::Pending {
            self.may_ask_people(caller, snapshot.now).await?;
            requires.push(Requires::PendingBelow(caller.principal, self.0.limiter.caps().pending_max));
        }
        let mut key_write = None;
        if let Some(name) = call.key {
            requires.push(Requires::Key(caller.principal, name.clone(), key.map(|key| key.request)));
            let record = KeyRecord { digest, request: id, at: snapshot.now };
            key_write = Some(Write::Key(caller.principal, name, record));
        }
        let mut entries = vec![self.seal(drafts::received(&request, &judgement))];
        if let Some(claim) = call.start.filter(|_| request.status() == Status::Granted)
            && self.has_secrets(&request).await?
        {
            // One decision stands for intake and start: both are of this moment, under this snapshot.
            requires.extend(request.deadline().map(Requires::Before));
            let execution = ExecutionId::new(snapshot.now, self.0.entropy.as_ref());
            request = request
                .claim(judgement.decision.clone(), execution, claim, call.executor, lifetimes, snapshot.now)
                .map_err(|rejection| rejected(rejection, id))?;
            let held = request.execution();
            entries.extend(held.map(|held| self.seal(drafts::started(&request, held, &judgement))));
        }
        let mut writes = vec![Write::Request(Box::new(request.clone()))];
        writes.extend(key_write);
        let receipt = self.commit(Transition { requires, writes, entries }).await?;
        // What was just written is in hand: reading it back would only decrypt it again.
        let entries = (receipt.first_index..receipt.first_index.saturating_add(receipt.entries)).collect();
        let stored = StoredRequest { request, entries };
        Ok(Submitted { seen: self.seen(stored).await?, new: true })
    }

    /// Refuses when the caller has as many requests waiting, or asked people as often, as it may.
    async fn may_ask_people(&self, caller: &Caller, now: Timestamp) -> Result<(), Attempt> {
        const HOUR: Duration = Duration::from_secs(3600);
        let hour_ago = Timestamp::from_millis(now.as_millis().saturating_sub(3_600_000));
        let load = self.0.views.load_of(caller.principal, hour_ago).await?;
        let caps = self.0.limiter.caps();
        let (code, message, retry_after) = if load.pending >= caps.pending_max {
            ("pending_cap", "Too many of your requests wait for people already.", Duration::from_secs(30))
        } else if load.reviews >= caps.reviews_per_hour {
            ("review_cap", "You asked people too often within the hour.", HOUR / 12)
        } else {
            return Ok(());
        };
        let capped = self.0.limiter.refuse(caller.principal, code, message, retry_after, now);
        Err(Attempt::Failed(self.capped(caller.principal, capped).await))
    }

    /// One of the caller's own requests.
    pub async fn request_of(&self, caller: &Caller, id: RequestId) -> Result<Seen, CallError> {
        let stored = self.stored(id).await?;
        if stored.request.requester() != caller.principal {
            return Err(CallError::NotFound);
        }
        self.seen(stored).await
    }

    /// The caller's own requests, newest first.
    pub async fn requests_of(
        &self,
        caller: &Caller,
        statuses: Vec<Status>,
        before: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<Seen>, CallError> {
        let principal = Some(caller.principal);
        self.list(RequestFilter { principal, statuses, before, limit, reviewed_only: false }).await
    }

    /// Requests of anybody, for the operator.
    pub async fn list(&self, filter: RequestFilter) -> Result<Vec<Seen>, CallError> {
        let page = self.0.views.requests(filter).await?;
        self.seen_all(page).await
    }

    /// Waits until the request is newer than this version, or the time is up, or placet stops, and gives it as it is then.
    pub async fn wait_of(
        &self,
        caller: &Caller,
        id: RequestId,
        newer_than: Option<u64>,
        wait: Duration,
    ) -> Result<Seen, CallError> {
        let first = self.request_of(caller, id).await?;
        let known = newer_than.unwrap_or(first.stored.request.version);
        let deadline = tokio::time::Instant::now() + wait.min(WAIT_MAX);
        let place = self.0.hub.wait(id);
        loop {
            // Registered before looking, so that no change falls in between.
            let changed = place.changed();
            // Who waits may wait for long: what they knew of themselves may be over.
            self.snapshot().await?.admits(caller)?;
            let seen = self.request_of(caller, id).await?;
            let request = &seen.stored.request;
            if request.version > known || !request.status().is_open() || self.0.hub.is_closed() {
                return Ok(seen);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                self.snapshot().await?.admits(caller)?;
                return self.request_of(caller, id).await;
            }
        }
    }

    /// The requester withdraws a request that nobody has begun to carry out.
    pub async fn cancel(&self, caller: &Caller, id: RequestId) -> Result<Seen, CallError> {
        self.take_call(caller.principal).await?;
        self.request_of(caller, id).await?;
        let _turn = self.0.locks.lock(id.as_bytes()).await;
        attempts(|| async {
            let snapshot = self.snapshot().await?;
            snapshot.admits(caller)?;
            let request = self.stored(id).await?.request;
            let (version, now) = (request.version, self.now());
            let next = request.cancel(now).map_err(|rejection| rejected(rejection, id))?;
            let entries = vec![self.seal(drafts::ended(Kind::RequestCancelled, &next))];
            let writes = vec![successor(version, next)];
            self.commit(Transition { requires: snapshot.requires(), writes, entries }).await?;
            Ok(())
        })
        .await?;
        self.request_of(caller, id).await
    }

    /// Writes an entry that a call was refused before it became a request, where that is worth remembering.
    pub async fn record_refused_call(&self, what: &'static str, detail: &str) -> Result<(), CallError> {
        let draft = Draft::new(Kind::IntakeRefused).verdict(what).commit("detail", Value::string(detail));
        let entries = vec![self.seal(draft)];
        self.commit_once(Transition { entries, ..Transition::default() }).await.map(drop)
    }
}

fn checked(
    action: ActionRequest,
    facts: Facts,
    executor: Executor,
    grade: Grade,
    envelope: &Envelope,
) -> Result<Call, CallError> {
    let canonical = action
        .canonical()
        .map_err(|error| CallError::invalid("bad_arguments", error.to_string(), "/arguments"))?;
    if envelope.justification.as_ref().is_some_and(|text| text.len() > JUSTIFICATION_MAX) {
        return Err(CallError::invalid("justification_too_long", "at most 4096 bytes", "/justification"));
    }
    if envelope.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        return Err(CallError::invalid("bad_idempotency_key", "write 1 to 255 bytes", "/idempotency_key"));
    }
    Ok(Call {
        action,
        canonical,
        facts,
        executor,
        grade,
        justification: envelope.justification.clone().map(Untrusted::new),
        key: envelope.idempotency_key.clone(),
        start: None,
    })
}

/// Who asks on whose behalf: the sponsor, or a person that the agent is registered to act for.
pub(crate) fn chain(
    caller: &Caller,
    envelope: &Envelope,
    directory: &Directory,
) -> Result<ActorChain, CallError> {
    let agent = directory.active_agent(caller.agent.id).ok_or(CallError::Unauthenticated)?;
    let on_behalf_of = match &envelope.on_behalf_of {
        None => agent.sponsor,
        Some(text) => {
            let refused = || {
                CallError::forbidden(
                    "on_behalf_of_refused",
                    "This agent is not registered to act for that person. Leave on_behalf_of out to act for its sponsor.",
                )
            };
            let person = PersonId::parse(text).map_err(|_| refused())?;
            if agent.sponsor != person && !agent.acts_for.contains(&person) {
                return Err(refused());
            }
            person
        }
    };
    Ok(ActorChain { requester: caller.principal, through: Vec::new(), on_behalf_of })
}

fn unmapped(refusal: MapRefusal) -> CallError {
    CallError::invalid("bad_argv", refusal.to_string(), "/argv")
}

/// What a call is about, if this enforcement point may hand it in.
fn mapped(snapshot: &Snapshot, enforcer: &Enforcer, call: &InterceptedCall) -> Result<Mapped, CallError> {
    if let Enforcer::Local(PepKind::Mcp) = enforcer {
        return snapshot
            .bundle
            .map_intercepted(PepKind::Mcp, &call.arguments)
            .map_err(|refusal| CallError::invalid("bad_arguments", refusal.to_string(), "/arguments"));
    }
    let executor = enforcer.executor();
    runs_commands(executor)?;
    if call.target != executor.runner() {
        let message = format!("this enforcement point's commands have the target {}", executor.runner());
        return Err(CallError::invalid("bad_target", message, "/target"));
    }
    snapshot.bundle.map_command(&argv_of(&call.arguments)?).map_err(unmapped)
}

/// Only an enforcement point of that kind hands commands in: what it intercepts is its credential's, never the call's.
fn runs_commands(executor: Executor) -> Result<(), CallError> {
    match executor.kind {
        PepKind::Command => Ok(()),
        PepKind::Mcp | PepKind::External => Err(CallError::forbidden(
            "other_kind",
            format!("An enforcement point of kind {} hands in no commands.", executor.kind.as_str()),
        )),
    }
}

/// The program and its arguments of an intercepted command.
fn argv_of(arguments: &Value) -> Result<Vec<String>, CallError> {
    let refused = || CallError::invalid("bad_argv", "argv must be a list of one or more strings", "/argv");
    let argv = arguments.as_object().and_then(|members| members.get("argv")).and_then(Value::as_array);
    let argv = argv.filter(|argv| !argv.is_empty()).ok_or_else(refused)?;
    argv.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(refused)).collect()
}
