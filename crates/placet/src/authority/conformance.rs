//! What every [`Authority`] promises, as one suite that both run: over the broker in this process, and over the agents'
//! door with an enforcement point's own credential. In each case the other one is another enforcement point, which must
//! not touch what is not its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use placet_api::client::Peps;
use placet_api::request::Status;
use placet_broker::peps::NewPep;
use placet_broker::review::BallotInput;
use placet_core::action::{ActionName, Grade, PepKind, Pins, ResourceRef, SecretVersion};
use placet_core::c14n::Value;
use placet_core::directory::CredentialVersion;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::OutcomeKind;
use placet_core::review::Verdict;
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_gateway::authority::{
    Authority, AuthorityErrorKind, Caller, Claimed, Completion, Intercepted, Shown,
};
use placet_gateway::remote::RemoteAuthority;
use placet_gateway::runner::plan::Target;
use placet_server::{App, Limits, Listener, Parts, PublicUrl};
use placet_testkit::world::World;
use tokio::sync::watch;

use super::BrokerAuthority;
use crate::agent_users::AgentUsers;

/// The value of the secret `db`.
const SECRET: &str = "hunter22";

/// Which of the two is tried.
#[derive(Clone, Copy, Debug)]
enum Which {
    Local,
    Remote,
}

struct Bench {
    world: World,
    authority: Arc<dyn Authority>,
    /// What its requests are aimed at.
    target: String,
    other: Arc<dyn Authority>,
    caller: Caller,
    stop: watch::Sender<bool>,
}

/// Runs a case over both, each in a world of its own.
async fn each(case: impl AsyncFn(Bench)) {
    for which in [Which::Local, Which::Remote] {
        println!("{which:?}");
        let bench = Box::pin(Bench::new(which)).await;
        Box::pin(case(bench)).await;
    }
}

impl Bench {
    async fn new(which: Which) -> Self {
        let policy: PathBuf = [env!("CARGO_MANIFEST_DIR"), "starters", "solo"].iter().collect();
        let world = World::new(&policy, &["reviewers", "owners"]).await;
        world.person("rob", &["reviewers"]).await;
        world.broker.set_secret(&world.operator, "db", Secret::new(SECRET)).await.unwrap();
        let token = Secret::new(world.agent("bot").await);
        let bearer = String::from_utf8(token.expose().to_vec()).unwrap();
        let principal = world.broker.authenticate_agent(&bearer).await.unwrap().principal;
        let (stop, stopping) = watch::channel(false);
        let app = App::new(Parts {
            broker: world.broker.clone(),
            views: world.store.clone(),
            entropy: world.entropy.clone(),
            reviewers_url: PublicUrl::localhost(7070),
            ledger_public: false,
            stop: stopping.clone(),
        });
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = format!("http://localhost:{}", listener.address().port());
        let door = placet_server::agents_door(&app, axum::Router::new());
        let served = app.clone();
        tokio::spawn(async move {
            placet_server::serve(listener, "agents", door, &served, Limits::default(), stopping).await
        });
        let new = NewPep { name: "elsewhere".into(), kind: PepKind::Command, sponsor: "ann".into() };
        let (_, pep) = world.broker.add_pep(&world.operator, new).await.unwrap();
        let pep = Secret::new(pep.expose().to_owned());
        let remote = RemoteAuthority::connect(Peps::new(&url, pep).unwrap(), None).await.unwrap();
        let document = Arc::new(move |seen: &_| app.request_document(seen));
        let local: Arc<dyn Authority> =
            Arc::new(BrokerAuthority::new(world.broker.clone(), document, None, AgentUsers::default()));
        let target = remote.executor().runner();
        let remote: Arc<dyn Authority> = Arc::new(remote);
        let caller = Caller::proven(principal, token);
        let (authority, other, target) = match which {
            Which::Local => (local, remote, "runner:local".to_owned()),
            Which::Remote => (remote, local, target),
        };
        Bench { world, authority, target, other, caller, stop }
    }

    /// From now on policy permits commands.
    async fn permit(&self) {
        let mut files = self.world.broker.policy().await.unwrap().files;
        files.retain(|path, _| !path.starts_with("tests/"));
        let ask = files.get_mut("ask.cedar").unwrap();
        let (before, rest) = ask.split_once("@id(\"any-command\")").unwrap();
        let (_, after) = rest.split_once("@id(\"any-tool\")").unwrap();
        *ask = format!("{before}@id(\"any-tool\"){after}");
        let files = files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
        let staged = self.world.broker.stage(&self.world.operator, files).await.unwrap();
        self.world.broker.activate(&self.world.operator, staged.digest).await.unwrap();
    }

    /// A command that uses the secret.
    async fn call(&self) -> Intercepted {
        let guidance = self.authority.guide(None, vec!["/usr/bin/true".to_owned()]).await.unwrap();
        Intercepted {
            caller: self.caller.clone(),
            pep: PepKind::Command,
            target: self.target.clone(),
            grade: Grade::Advisory,
            planned_for: Some(guidance.target),
            arguments: Value::parse(br#"{"argv":["/usr/bin/true"]}"#).unwrap(),
            pins: Pins { secrets: BTreeMap::from([("PASSWORD".into(), secret())]), ..Pins::default() },
            justification: Some("because".into()),
            on_behalf_of: None,
            idempotency_key: None,
        }
    }

    async fn approve(&self, id: RequestId) {
        let broker = &self.world.broker;
        let signed = broker.sign_in(&self.world.link("rob").await, "localhost").await.unwrap();
        let rob = broker.reviewer_by_cookie(signed.cookie.expose(), "localhost").await.unwrap();
        let review = broker.review(&rob, id).await.unwrap();
        let ballot = BallotInput {
            verdict: Verdict::Approve,
            reason: None,
            digest: review.card.digest.clone(),
            content_version: review.card.content_version,
            card: review.card_hash.to_string(),
        };
        broker.vote(&rob, id, ballot, "inbox").await.unwrap();
    }

    async fn now(&self, id: RequestId) -> Shown {
        self.authority.wait(self.caller.clone(), id, 0, Duration::ZERO).await.unwrap()
    }

    async fn claim(&self, id: RequestId, value: &str) -> Result<Claimed, (AuthorityErrorKind, String)> {
        let claimed = self.authority.claim(self.caller.clone(), id, Secret::new(value)).await;
        claimed.map_err(|error| (error.kind, error.code))
    }

    async fn granted(&self) -> RequestId {
        let id = self.authority.submit(self.call().await).await.unwrap().shown.id;
        self.approve(id).await;
        id
    }
}

fn secret() -> SecretVersion {
    SecretVersion { name: "db".into(), version: 1 }
}

fn completion(kind: OutcomeKind) -> Completion {
    Completion {
        kind,
        summary: Untrusted::new("exit code 0"),
        measures: BTreeMap::from([("exit_code".to_owned(), 0)]),
        result: None,
        recording: None,
        delivery: None,
    }
}

fn refusal<T: std::fmt::Debug>(
    answer: Result<T, placet_gateway::authority::AuthorityError>,
) -> (AuthorityErrorKind, String) {
    let error = answer.unwrap_err();
    (error.kind, error.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewed_command_goes_from_guidance_to_outcome() {
    each(async |bench| {
        let call = bench.call().await;
        assert_eq!(call.planned_for.as_ref().unwrap().action.as_str(), "command.run");
        let submitted = bench.authority.submit(call.clone()).await.unwrap();
        let id = submitted.shown.id;
        assert!(submitted.new);
        let document = &submitted.shown.document;
        assert_eq!((document.status, document.pep.as_str()), (Status::Pending, "command"));
        assert!(document.canonical.contains(&bench.target), "{}", document.canonical);
        let again = bench.authority.submit(call).await.unwrap();
        assert_eq!((again.new, again.shown.id), (false, id));
        assert_eq!(bench.claim(id, "mine").await.unwrap_err().1, "wrong_state");
        assert!(bench.authority.held().await.unwrap().is_empty());

        let pending = bench.now(id).await.document;
        let waiting =
            bench.authority.wait(bench.caller.clone(), id, pending.version, Duration::from_secs(30));
        let (waited, ()) = tokio::join!(waiting, bench.approve(id));
        assert_eq!(waited.unwrap().document.status, Status::Granted);
        let claimed = bench.claim(id, "mine").await.unwrap();
        assert_eq!(claimed.canonical().as_str(), pending.canonical);
        assert!(claimed.releases("PASSWORD", &secret(), &Secret::new(SECRET)));
        let execution = claimed.execution();
        assert_eq!(bench.claim(id, "mine").await.unwrap().execution(), execution);
        let conflict = |code: &str| (AuthorityErrorKind::Conflict, code.to_owned());
        assert_eq!(bench.claim(id, "other").await.unwrap_err(), conflict("already_claimed"));
        assert_eq!(bench.authority.held().await.unwrap(), [(id, execution)]);

        let done = completion(OutcomeKind::Succeeded);
        let other = ExecutionId::from_bytes([7; 16]);
        let wrong = bench.authority.complete(id, other, done.clone()).await;
        assert_eq!(refusal(wrong), conflict("other_execution"));
        bench.authority.complete(id, execution, done.clone()).await.unwrap();
        bench.authority.complete(id, execution, done).await.unwrap();
        let otherwise = bench.authority.complete(id, execution, completion(OutcomeKind::Failed)).await;
        assert_eq!(refusal(otherwise), conflict("wrong_state"));
        let ended = bench.now(id).await.document;
        assert_eq!(ended.status, Status::Succeeded);
        assert_eq!(ended.outcome.unwrap().reported_by, "placet");
        // Its secrets are for as long as it lasts.
        assert_eq!(bench.claim(id, "mine").await.unwrap_err(), conflict("other_execution"));
        assert!(bench.authority.held().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_replaced_gets_nothing_however_long_its_call_is_open() {
    each(async |bench| {
        let id = bench.authority.submit(bench.call().await).await.unwrap().shown.id;
        let old = match bench.target.as_str() {
            "runner:local" => Caller::known(bench.caller.principal(), Some(CredentialVersion(1))),
            _ => bench.caller.clone(),
        };
        let pending = bench.authority.wait(old.clone(), id, 0, Duration::ZERO).await.unwrap();
        bench.world.broker.rotate_agent(&bench.world.operator, "bot").await.unwrap();
        bench.approve(id).await;
        let version = pending.document.version;
        let waited = bench.authority.wait(old.clone(), id, version, Duration::from_secs(1)).await;
        assert_eq!(refusal(waited).0, AuthorityErrorKind::Unauthenticated);
        let claimed = bench.authority.claim(old, id, Secret::new("late")).await;
        assert_eq!(refusal(claimed).0, AuthorityErrorKind::Unauthenticated);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_too_often_is_refused_before_there_is_work() {
    each(async |bench| {
        let guide =
            async || bench.authority.guide(Some(bench.caller.clone()), vec!["/usr/bin/true".into()]).await;
        guide().await.unwrap();
        let broker = &bench.world.broker;
        let bot = broker.caller(bench.caller.principal()).await.unwrap();
        for _ in 0..placet_broker::limits::Caps::default().calls_per_minute {
            broker.cancel(&bot, RequestId::from_bytes([9; 16])).await.unwrap_err();
        }
        let refused = guide().await.unwrap_err();
        assert!(matches!(refused.kind, AuthorityErrorKind::TooMany { .. }), "{refused:?}");
        assert_eq!(refused.code, "call_rate");
        // What is about nobody's call is answered.
        bench.authority.guide(None, vec!["/usr/bin/true".into()]).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_touches_what_another_took_in() {
    each(async |bench| {
        let id = bench.granted().await;
        let theirs = bench.other.claim(bench.caller.clone(), id, Secret::new("theirs")).await;
        assert_eq!(refusal(theirs), (AuthorityErrorKind::Forbidden, "not_the_executor".to_owned()));
        let execution = bench.claim(id, "mine").await.unwrap().execution();
        assert!(bench.other.held().await.unwrap().is_empty());
        let ended = bench.other.complete(id, execution, completion(OutcomeKind::Succeeded)).await;
        assert_eq!(refusal(ended).0, AuthorityErrorKind::NotFound);
        assert_eq!(refusal(bench.other.abandon(id, execution, "gone").await).0, AuthorityErrorKind::NotFound);
        let theirs = bench.other.claim(bench.caller.clone(), id, Secret::new("mine")).await;
        assert_eq!(refusal(theirs).1, "not_the_executor", "also not with the right value");
        assert_eq!(bench.now(id).await.document.status, Status::Executing);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_permitted_starts_with_its_intake() {
    each(async |bench| {
        let (waits, nothing) =
            bench.authority.submit_and_start(bench.call().await, Secret::new("mine")).await.unwrap();
        assert_eq!((waits.shown.document.status, nothing.is_none()), (Status::Pending, true));
        bench.authority.cancel(bench.caller.clone(), waits.shown.id).await.unwrap();
        bench.permit().await;
        let (started, claimed) =
            bench.authority.submit_and_start(bench.call().await, Secret::new("mine")).await.unwrap();
        let claimed = claimed.unwrap();
        assert_eq!((started.new, started.shown.document.status), (true, Status::Executing));
        assert!(claimed.releases("PASSWORD", &secret(), &Secret::new(SECRET)));
        let id = started.shown.id;
        assert_eq!(bench.claim(id, "mine").await.unwrap().execution(), claimed.execution());
        assert_eq!(bench.claim(id, "other").await.unwrap_err().1, "already_claimed");
        bench.authority.complete(id, claimed.execution(), completion(OutcomeKind::Failed)).await.unwrap();
        assert_eq!(bench.now(id).await.document.status, Status::Failed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withdrawn_or_abandoned_is_over() {
    each(async |bench| {
        let id = bench.authority.submit(bench.call().await).await.unwrap().shown.id;
        let cancelled = bench.authority.cancel(bench.caller.clone(), id).await.unwrap();
        assert_eq!(cancelled.document.status, Status::Cancelled);
        assert_eq!(bench.claim(id, "mine").await.unwrap_err().1, "wrong_state");
        let again = bench.authority.cancel(bench.caller.clone(), id).await;
        assert_eq!(refusal(again), (AuthorityErrorKind::Conflict, "wrong_state".to_owned()));

        let id = bench.authority.submit(bench.call().await).await.unwrap().shown.id;
        bench.approve(id).await;
        let execution = bench.claim(id, "mine").await.unwrap().execution();
        let other = ExecutionId::from_bytes([7; 16]);
        assert_eq!(refusal(bench.authority.abandon(id, other, "gone").await).1, "other_execution");
        bench.authority.abandon(id, execution, "it was restarted").await.unwrap();
        let unknown = bench.now(id).await.document;
        assert_eq!(unknown.status, Status::Unknown);
        let outcome = unknown.outcome.unwrap();
        assert_eq!((outcome.reported_by.as_str(), outcome.summary.as_str()), ("nobody", "it was restarted"));
        assert_eq!(refusal(bench.authority.abandon(id, execution, "again").await).1, "wrong_state");
        let late = bench.authority.complete(id, execution, completion(OutcomeKind::Succeeded)).await;
        assert_eq!(refusal(late).1, "wrong_state");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_no_says_which_it_is() {
    each(async |bench| {
        let call = bench.call().await;
        let nowhere = RequestId::from_bytes([7; 16]);
        let unknown = bench.authority.wait(bench.caller.clone(), nowhere, 0, Duration::ZERO).await;
        assert_eq!(refusal(unknown).0, AuthorityErrorKind::NotFound);
        let unknown = bench
            .authority
            .complete(nowhere, ExecutionId::from_bytes([7; 16]), completion(OutcomeKind::Failed))
            .await;
        assert_eq!(refusal(unknown).0, AuthorityErrorKind::NotFound);
        assert_eq!(
            refusal(bench.authority.guide(None, Vec::new()).await),
            (AuthorityErrorKind::Invalid, "bad_argv".to_owned())
        );
        let no_words = Intercepted { arguments: Value::parse(b"{}").unwrap(), ..call.clone() };
        let error = bench.authority.submit(no_words).await.unwrap_err();
        assert_eq!((error.kind, error.pointer.as_deref()), (AuthorityErrorKind::Invalid, Some("/argv")));
        let elsewhere = Intercepted { target: "runner:elsewhere".into(), ..call.clone() };
        assert_eq!(
            refusal(bench.authority.submit(elsewhere).await),
            (AuthorityErrorKind::Invalid, "bad_target".to_owned())
        );
        let target = Target {
            action: ActionName::parse("data.export").unwrap(),
            resource: ResourceRef::new("Dataset", "shop").unwrap(),
        };
        let moved = Intercepted { planned_for: Some(target), ..call.clone() };
        assert_eq!(
            refusal(bench.authority.submit(moved).await),
            (AuthorityErrorKind::Conflict, "mapping_moved".to_owned())
        );
        let foreign = Intercepted { on_behalf_of: Some("nobody".into()), ..call.clone() };
        assert_eq!(
            refusal(bench.authority.submit(foreign).await),
            (AuthorityErrorKind::Forbidden, "on_behalf_of_refused".to_owned())
        );
        for claim in ["", &"x".repeat(256)] {
            let refused = bench.authority.submit_and_start(call.clone(), Secret::new(claim)).await;
            assert_eq!(refusal(refused).0, AuthorityErrorKind::Invalid);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_revoked_meanwhile_starts_nothing() {
    each(async |bench| {
        let id = bench.granted().await;
        let call = bench.call().await;
        bench.world.broker.revoke_agent(&bench.world.operator, "bot").await.unwrap();
        assert_eq!(bench.claim(id, "mine").await.unwrap_err().0, AuthorityErrorKind::Unauthenticated);
        let refused = bench.authority.submit(call).await;
        assert_eq!(refusal(refused), (AuthorityErrorKind::Unauthenticated, "unauthenticated".to_owned()));
        assert!(bench.authority.held().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_credential_or_its_authority_a_gateway_does_nothing() {
    let bench = Box::pin(Bench::new(Which::Remote)).await;
    let id = bench.granted().await;
    bench.world.broker.revoke_pep(&bench.world.operator, "elsewhere").await.unwrap();
    let gone = (AuthorityErrorKind::Unavailable, "gateway_refused".to_owned());
    assert_eq!(bench.claim(id, "mine").await.unwrap_err(), gone);
    assert_eq!(refusal(bench.authority.guide(None, vec!["true".into()]).await), gone);
    assert_eq!(refusal(bench.authority.held().await), gone);
    bench.stop.send(true).unwrap();
    let unreachable = async || {
        let refused = bench.authority.held().await.unwrap_err();
        (refused.kind, refused.code)
    };
    // The door answers what it has begun, and then nothing.
    while unreachable().await == gone {
        tokio::task::yield_now().await;
    }
    assert_eq!(unreachable().await, (AuthorityErrorKind::Unavailable, "authority_unreachable".to_owned()));
    let started = bench.claim(id, "mine").await.unwrap_err();
    assert_eq!(started, (AuthorityErrorKind::Unavailable, "authority_unreachable".to_owned()));
}
