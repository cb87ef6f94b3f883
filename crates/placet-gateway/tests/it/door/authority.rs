//! An authority that keeps everything in memory: it maps by the first argument, grants at once (or when told), releases
//! secrets by name, and remembers every outcome. It keeps the promises that the port makes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Canonical, Principal, ResourceRef, SecretVersion,
};
use placet_core::id::{ExecutionId, PersonId, RequestId};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use placet_gateway::authority::*;
use placet_gateway::runner::config::Config;
use placet_gateway::runner::plan::Target;
use serde_json::json;
use tokio::sync::watch;

pub(crate) struct Desk {
    pub(crate) state: Mutex<State>,
    granted: watch::Sender<bool>,
}

pub(crate) struct State {
    pub(crate) config: Arc<Config>,
    pub(crate) resource: &'static str,
    pub(crate) vault: BTreeMap<String, (u32, &'static str)>,
    pub(crate) calls: Vec<Intercepted>,
    pub(crate) outcomes: Vec<(RequestId, Completion)>,
    /// Errors that the next reports get.
    pub(crate) report_errors: Vec<AuthorityErrorKind>,
    claims: BTreeMap<RequestId, Secret>,
    actions: BTreeMap<RequestId, Canonical>,
}

impl Desk {
    pub(crate) fn new(config: Config) -> Self {
        Desk {
            state: Mutex::new(State {
                config: Arc::new(config),
                resource: "shop.accounts",
                vault: BTreeMap::from([("shop".to_owned(), (3, "correct horse"))]),
                calls: Vec::new(),
                outcomes: Vec::new(),
                report_errors: Vec::new(),
                claims: BTreeMap::new(),
                actions: BTreeMap::new(),
            }),
            granted: watch::Sender::new(true),
        }
    }

    pub(crate) fn review_first(&self) {
        self.granted.send_replace(false);
    }

    pub(crate) fn approve(&self) {
        self.granted.send_replace(true);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(crate) fn only_outcome(&self) -> Completion {
        let state = self.state.lock().unwrap();
        assert_eq!(state.outcomes.len(), 1, "one execution has one outcome");
        state.outcomes[0].1.clone()
    }

    pub(crate) fn last_call(&self) -> Intercepted {
        self.state.lock().unwrap().calls.last().unwrap().clone()
    }

    fn shown(&self, principal: Principal, id: RequestId) -> Result<Shown, AuthorityError> {
        let state = self.state.lock().unwrap();
        let action = state.actions.get(&id).ok_or_else(not_found)?;
        let request = ActionRequest::from_canonical(action).unwrap();
        if request.chain.requester != principal {
            return Err(not_found());
        }
        let status = if *self.granted.borrow() { "granted" } else { "pending" };
        let who = json!({"kind": principal.kind(), "id": principal.to_string()});
        let document = json!({
            "id": id.to_string(), "version": 1, "content_version": 1, "status": status,
            "digest": action.digest().to_string(), "short_code": "7F3K-9Q2M", "pep": "command", "grade": "advisory",
            "action": request.action.as_str(), "resource": {"type": request.resource.kind(), "id": request.resource.id()},
            "canonical": action.as_str(), "principal": who, "actor_chain": [],
            "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z",
            "decision": {"effect": "ask", "because": [], "bundle": "00", "evaluation_id": "evl_0"},
            "ledger": {"entries": []},
        });
        Ok(Shown { id, document: serde_json::from_value(document).unwrap() })
    }
}

pub(crate) fn not_found() -> AuthorityError {
    AuthorityError::new(AuthorityErrorKind::NotFound, "not_found", "there is no such request")
}

impl Authority for Desk {
    fn guide(
        &self,
        _caller: Option<Caller>,
        _argv: Vec<String>,
    ) -> BoxFuture<'_, Result<Guidance, AuthorityError>> {
        let state = self.state.lock().unwrap();
        let target = Target {
            action: ActionName::parse("data.export").unwrap(),
            resource: ResourceRef::new("Dataset", state.resource).unwrap(),
        };
        let secret_versions =
            state.vault.iter().map(|(name, (version, _))| (name.clone(), *version)).collect();
        let guidance = Guidance { target, config: state.config.clone(), secret_versions };
        Box::pin(async move { Ok(guidance) })
    }

    fn submit(&self, call: Intercepted) -> BoxFuture<'_, Result<Submitted, AuthorityError>> {
        Box::pin(async move {
            let planned = call.planned_for.as_ref().expect("a command is planned for something");
            let action = ActionRequest {
                tenant: "default".into(),
                chain: ActorChain {
                    requester: call.caller.principal(),
                    through: Vec::new(),
                    on_behalf_of: PersonId::from_bytes([9; 16]),
                },
                pep: call.pep,
                target: call.target.clone(),
                action: planned.action.clone(),
                resource: planned.resource.clone(),
                arguments: call.arguments.clone(),
                pins: call.pins.clone(),
            };
            let id = {
                let mut state = self.state.lock().unwrap();
                state.calls.push(call.clone());
                let id = RequestId::from_bytes([state.calls.len() as u8; 16]);
                state.actions.insert(id, action.canonical().unwrap());
                id
            };
            Ok(Submitted { shown: self.shown(call.caller.principal(), id)?, new: true })
        })
    }

    fn submit_and_start(
        &self,
        call: Intercepted,
        _claim: Secret,
    ) -> BoxFuture<'_, Result<(Submitted, Option<Claimed>), AuthorityError>> {
        Box::pin(async move { Ok((self.submit(call).await?, None)) })
    }

    fn wait(
        &self,
        caller: Caller,
        request: RequestId,
        _newer_than: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move {
            let mut granted = self.granted.subscribe();
            let _ = tokio::time::timeout(wait, granted.wait_for(|granted| *granted)).await;
            self.shown(caller.principal(), request)
        })
    }

    fn claim(
        &self,
        caller: Caller,
        request: RequestId,
        claim: Secret,
    ) -> BoxFuture<'_, Result<Claimed, AuthorityError>> {
        Box::pin(async move {
            let conflict = |code: &str| AuthorityError::new(AuthorityErrorKind::Conflict, code, "no");
            self.shown(caller.principal(), request)?;
            if !*self.granted.borrow() {
                return Err(conflict("wrong_state"));
            }
            let mut state = self.state.lock().unwrap();
            if state.claims.entry(request).or_insert_with(|| claim.clone()) != &claim {
                return Err(conflict("already_claimed"));
            }
            let canonical = state.actions[&request].clone();
            let pins = ActionRequest::from_canonical(&canonical).unwrap().pins;
            let release = |(variable, pin): (&String, &SecretVersion)| {
                let (version, value) = *state.vault.get(&pin.name)?;
                let pin = SecretVersion { name: pin.name.clone(), version };
                Some((variable.clone(), (pin, Secret::new(value))))
            };
            let secrets = pins.secrets.iter().filter_map(release).collect();
            let execution = ExecutionId::from_bytes(*request.as_bytes());
            let lease_until = Timestamp::from_millis(i64::MAX);
            let text = canonical.as_str().to_owned();
            Ok(Claimed::by_authority(execution, canonical.digest(), text, lease_until, secrets).unwrap())
        })
    }

    fn complete(
        &self,
        request: RequestId,
        _execution: ExecutionId,
        completion: Completion,
    ) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            if let Some(kind) = state.report_errors.pop() {
                return Err(AuthorityError::new(kind, "no", "no"));
            }
            state.outcomes.push((request, completion));
            Ok(())
        })
    }

    fn cancel(&self, caller: Caller, request: RequestId) -> BoxFuture<'_, Result<Shown, AuthorityError>> {
        Box::pin(async move { self.shown(caller.principal(), request) })
    }

    fn held(&self) -> BoxFuture<'_, Result<Vec<(RequestId, ExecutionId)>, AuthorityError>> {
        Box::pin(async move { Ok(Vec::new()) })
    }

    fn abandon(
        &self,
        _request: RequestId,
        _execution: ExecutionId,
        _why: &str,
    ) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async move { Err(not_found()) })
    }
}
