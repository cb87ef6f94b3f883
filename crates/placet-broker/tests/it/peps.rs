//! Enforcement points with credentials of their own, and starting what is permitted in the transaction that takes it in.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_broker::CallError;
use placet_broker::execution::Ended;
use placet_broker::intake::InterceptedCall;
use placet_broker::peps::{Enforcer, NewPep};
use placet_core::action::{PepKind, Pins};
use placet_core::entry::Kind;
use placet_core::request::{OutcomeKind, Status};
use placet_core::review::Verdict;
use placet_core::secret::Secret;
use placet_store::EntryFilter;
use placet_store::Views as _;

use crate::claims::command;
use crate::world::{World, edited};

/// The starter's guard on commands, which a world that permits them does without.
const ANY_COMMAND: &str = r#"@id("any-command") @title("A command without a rule of its own") @because("No template in mapping.toml accounts for every word of it.")
forbid (principal, action == Action::"command.run", resource)
unless { context.approvals.reviewers >= 1 };
"#;

async fn permitting() -> World {
    World::under(edited("team", "ask.cedar", ANY_COMMAND, ""), placet_broker::Config::default()).await
}

impl World {
    async fn pep(&self, name: &str, kind: PepKind) -> (Enforcer, String) {
        let new = NewPep { name: name.into(), kind, sponsor: "ann".into() };
        let (_, token) = self.broker.add_pep(&self.operator, new).await.unwrap();
        let token = token.expose().to_owned();
        (Enforcer::Remote(self.broker.authenticate_pep(&token).await.unwrap()), token)
    }

    /// A command without secrets, as this enforcement point would hand it in.
    async fn command_at(&self, enforcer: &Enforcer) -> InterceptedCall {
        let guide = self.broker.guide_command(enforcer, &["/usr/bin/true".to_owned()]).await.unwrap();
        InterceptedCall {
            planned_for: Some((guide.action, guide.resource)),
            target: enforcer.executor().runner(),
            pins: Pins::default(),
            ..command()
        }
    }
}

fn local() -> Enforcer {
    PepKind::Command.into()
}

fn ended() -> Ended {
    Ended {
        kind: OutcomeKind::Succeeded,
        summary: "exit 0".into(),
        measures: BTreeMap::new(),
        result: None,
        recording: None,
        delivery: None,
    }
}

fn unauthenticated(error: &CallError) -> bool {
    matches!(error, CallError::Unauthenticated)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_enforcement_point_carries_out_what_it_took_in_itself() {
    let world = permitting().await;
    let (first, second) =
        (world.pep("one", PepKind::Command).await.0, world.pep("two", PepKind::Command).await.0);
    let call = world.command_at(&first).await;
    let request =
        world.broker.submit_intercepted(&first, &world.bot, call).await.unwrap().seen.stored.request;
    assert_eq!(request.action.target, first.executor().runner());
    for other in [&second, &local()] {
        let refused = world.broker.claim_for(other, &world.bot, request.id, "theirs").await.unwrap_err();
        assert_eq!(refused.code(), "not_the_executor");
        let hidden = world.broker.intercepted_request(other, &world.bot, request.id).await.unwrap_err();
        assert!(matches!(hidden, CallError::NotFound), "{hidden}");
    }
    let claimed = world.broker.claim_for(&first, &world.bot, request.id, "mine").await.unwrap();
    assert_eq!(world.broker.claim_for(&first, &world.bot, request.id, "mine").await.unwrap(), claimed);
    let again = world.broker.claim_for(&first, &world.bot, request.id, "other").await.unwrap_err();
    assert_eq!(again.code(), "already_claimed");
    let execution = claimed.execution;
    for other in [&second, &local()] {
        assert_eq!(world.broker.executions_of(other).await.unwrap(), []);
        let refused = world.broker.complete_for(other, request.id, execution, ended()).await.unwrap_err();
        assert!(matches!(refused, CallError::NotFound), "{refused}");
        let refused = world.broker.abandon(other, request.id, execution, "gone").await.unwrap_err();
        assert!(matches!(refused, CallError::NotFound), "{refused}");
        assert!(world.broker.secrets_for(other, request.id, execution).await.is_err());
    }
    assert_eq!(world.broker.executions_of(&first).await.unwrap(), [(request.id, execution)]);
    let other = placet_core::id::ExecutionId::from_bytes([9; 16]);
    let refused = world.broker.abandon(&first, request.id, other, "gone").await.unwrap_err();
    assert_eq!(refused.code(), "other_execution");
    world.broker.complete_for(&first, request.id, execution, ended()).await.unwrap();
    let refused = Kind::ClaimRefused;
    let kinds =
        [Kind::RequestReceived, refused, refused, Kind::ExecutionStarted, refused, Kind::ExecutionFinished];
    assert_eq!(world.kinds(request.id).await, kinds);
    // Who took it in stands in the record, of the intake and of the start.
    let Enforcer::Remote(pep) = &first else { panic!("it has a credential") };
    let filter = EntryFilter { request: Some(request.id), limit: 200, ..EntryFilter::default() };
    let entries = world.store.entries(filter).await.unwrap();
    for kind in [Kind::RequestReceived, Kind::ExecutionStarted] {
        let entry = entries.iter().find(|entry| entry.kind == kind).unwrap();
        let told: BTreeMap<_, _> =
            entry.disclosures.iter().map(|disclosure| disclosure.open().unwrap()).collect();
        assert_eq!(told["taken_in_by"].as_str(), Some(pep.id.to_string().as_str()), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_of_the_kind_and_the_runner_of_whoever_hands_it_in() {
    let world = World::new("team").await;
    let (command, mcp) = (world.pep("one", PepKind::Command).await.0, world.pep("two", PepKind::Mcp).await.0);
    let call = world.command_at(&command).await;
    let refused = world.broker.submit_intercepted(&mcp, &world.bot, call.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "other_kind");
    let argv = ["/usr/bin/true".to_owned()];
    assert_eq!(world.broker.guide_command(&mcp, &argv).await.unwrap_err().code(), "other_kind");
    let elsewhere = InterceptedCall { target: "runner:local".into(), ..call };
    let refused = world.broker.submit_intercepted(&command, &world.bot, elsewhere).await.unwrap_err();
    assert_eq!(refused.code(), "bad_target");
    for (name, kind, code) in [
        ("three", PepKind::External, "bad_kind"),
        ("one", PepKind::Command, "name_taken"),
        ("", PepKind::Command, "bad_name"),
        ("pep_00000000000000000000000000", PepKind::Command, "bad_name"),
    ] {
        let new = NewPep { name: name.into(), kind, sponsor: "ann".into() };
        assert_eq!(world.broker.add_pep(&world.operator, new).await.unwrap_err().code(), code, "{name}");
    }
    let new = NewPep { name: "three".into(), kind: PepKind::Command, sponsor: "nobody".into() };
    assert_eq!(world.broker.add_pep(&world.operator, new).await.unwrap_err().code(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_enforcement_point_does_nothing_any_more() {
    let world = permitting().await;
    let (pep, token) = world.pep("one", PepKind::Command).await;
    let call = world.command_at(&pep).await;
    let (running, granted) = (
        world.broker.submit_intercepted(&pep, &world.bot, call.clone()).await.unwrap().seen.stored.request,
        world.broker.submit_intercepted(&pep, &world.bot, call.clone()).await.unwrap().seen.stored.request,
    );
    let claimed = world.broker.claim_for(&pep, &world.bot, running.id, "mine").await.unwrap();
    // A new token keeps what was taken in, and ends the old one.
    let (_, rotated) = world.broker.rotate_pep(&world.operator, "one").await.unwrap();
    assert!(unauthenticated(&world.broker.authenticate_pep(&token).await.unwrap_err()));
    let refused = world.broker.claim_for(&pep, &world.bot, running.id, "mine").await.unwrap_err();
    assert!(unauthenticated(&refused), "{refused}");
    let pep = Enforcer::Remote(world.broker.authenticate_pep(rotated.expose()).await.unwrap());
    assert_eq!(world.broker.claim_for(&pep, &world.bot, running.id, "mine").await.unwrap(), claimed);

    world.broker.revoke_pep(&world.operator, "one").await.unwrap();
    assert!(unauthenticated(&world.broker.authenticate_pep(rotated.expose()).await.unwrap_err()));
    // It was at the door just before.
    let execution = claimed.execution;
    for refused in [
        world.broker.submit_intercepted(&pep, &world.bot, call.clone()).await.unwrap_err(),
        world.broker.submit_and_start(&pep, &world.bot, call, "mine").await.unwrap_err(),
        world.broker.claim_for(&pep, &world.bot, granted.id, "mine").await.unwrap_err(),
        world.broker.secrets_for(&pep, running.id, execution).await.unwrap_err(),
        world.broker.complete_for(&pep, running.id, execution, ended()).await.unwrap_err(),
        world.broker.abandon(&pep, running.id, execution, "gone").await.unwrap_err(),
    ] {
        assert!(unauthenticated(&refused), "{refused}");
    }
    assert_eq!(world.stored(running.id).await.status(), Status::Executing);
    world.clock.advance(Duration::from_secs(3600));
    world.broker.pass_deadlines().await.unwrap();
    assert_eq!(world.stored(running.id).await.status(), Status::Unknown);
    assert_eq!(world.stored(granted.id).await.status(), Status::Lapsed);
    let again = world.broker.revoke_pep(&world.operator, "one").await.unwrap_err();
    assert_eq!(again.code(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_person_who_answers_for_it_an_enforcement_point_is_nothing() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let new = NewPep { name: "one".into(), kind: PepKind::Command, sponsor: "rev".into() };
    let (_, token) = world.broker.add_pep(&world.operator, new).await.unwrap();
    world.broker.disable_person(&world.operator, "rev").await.unwrap();
    assert!(unauthenticated(&world.broker.authenticate_pep(token.expose()).await.unwrap_err()));
    assert!(unauthenticated(&world.broker.authenticate_agent(token.expose()).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_permits_starts_in_the_transaction_that_takes_it_in() {
    let world = permitting().await;
    let call = world.command_at(&local()).await;
    let before = world.faulty.commits();
    let submitted = world.broker.submit_intercepted(&local(), &world.bot, call.clone()).await.unwrap();
    world.broker.claim_for(&local(), &world.bot, submitted.seen.stored.request.id, "a").await.unwrap();
    let in_two = world.faulty.commits() - before;
    let before = world.faulty.commits();
    let (submitted, claimed) =
        world.broker.submit_and_start(&local(), &world.bot, call.clone(), "b").await.unwrap();
    assert_eq!((in_two, world.faulty.commits() - before), (2, 1), "one commit is saved");
    let (request, claimed) = (submitted.seen.stored.request.clone(), claimed.unwrap());
    assert!(submitted.new);
    assert_eq!((request.status(), request.version), (Status::Executing, 1));
    assert_eq!(claimed.canonical, request.canonical.as_str());
    assert_eq!(world.stored(request.id).await, request);
    assert_eq!(world.kinds(request.id).await, [Kind::RequestReceived, Kind::ExecutionStarted]);
    assert_eq!(submitted.seen.stored, world.store.request(request.id).await.unwrap().unwrap());
    // It is a claim like any other: the same value gets the same answer, and no other gets one.
    assert_eq!(world.broker.claim_for(&local(), &world.bot, request.id, "b").await.unwrap(), claimed);
    let other = world.broker.claim_for(&local(), &world.bot, request.id, "c").await.unwrap_err();
    assert_eq!(other.code(), "already_claimed");
    world.broker.complete_for(&local(), request.id, claimed.execution, ended()).await.unwrap();
    // What policy permitted alone is a new request each time, also under the same claim value.
    let (again, second) = world.broker.submit_and_start(&local(), &world.bot, call, "b").await.unwrap();
    assert!(again.new && second.unwrap().execution != claimed.execution);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_start_begins_nothing_twice() {
    let world = permitting().await;
    let mut call = world.command_at(&local()).await;
    call.envelope.idempotency_key = Some("k1".into());
    let start = async |claim: &str| {
        world.broker.submit_and_start(&local(), &world.bot, call.clone(), claim).await.unwrap()
    };
    let (first, claimed) = start("mine").await;
    let claimed = claimed.unwrap();
    // Its answer was lost.
    let (again, repeated) = start("mine").await;
    assert_eq!((again.new, repeated.as_ref()), (false, Some(&claimed)));
    // Somebody else under the same key is told what there is, and holds nothing.
    let (other, nothing) = start("theirs").await;
    assert_eq!((other.new, nothing), (false, None));
    let id = first.seen.stored.request.id;
    assert_eq!(other.seen.stored.request.id, id);
    let kinds = [Kind::RequestReceived, Kind::ExecutionStarted, Kind::RequestAttached, Kind::RequestAttached];
    assert_eq!(world.kinds(id).await, kinds);
    for claim in ["", &"x".repeat(256)] {
        let refused =
            world.broker.submit_and_start(&local(), &world.bot, call.clone(), claim).await.unwrap_err();
        assert_eq!(refused.code(), "bad_claim");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_decide_on_waits_for_them_and_starts_by_a_claim() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let call = world.command_at(&local()).await;
    let (submitted, nothing) =
        world.broker.submit_and_start(&local(), &world.bot, call.clone(), "mine").await.unwrap();
    let id = submitted.seen.stored.request.id;
    assert_eq!((submitted.seen.stored.request.status(), nothing), (Status::Pending, None));
    world.vote(&rev, id, Verdict::Approve).await.unwrap();
    // The repeated call attaches to what was reviewed, and leaves the claim to a claim.
    let (again, nothing) = world.broker.submit_and_start(&local(), &world.bot, call, "mine").await.unwrap();
    assert_eq!((again.new, again.seen.stored.request.status(), nothing), (false, Status::Granted, None));
    world.broker.claim_for(&local(), &world.bot, id, "mine").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_at_once_under_another_clock_or_without_its_secret() {
    let world = permitting().await;
    let mut call = world.command_at(&local()).await;
    call.pins = command().pins;
    let (submitted, nothing) =
        world.broker.submit_and_start(&local(), &world.bot, call.clone(), "mine").await.unwrap();
    let request = submitted.seen.stored.request;
    assert_eq!((request.status(), nothing), (Status::Granted, None), "the claim will tell why");
    let gone = world.broker.claim_for(&local(), &world.bot, request.id, "mine").await.unwrap_err();
    assert_eq!(gone.code(), "secret_gone");
    world.broker.set_secret(&world.operator, "db", Secret::new("hunter22")).await.unwrap();
    world.clock.turn_back(Duration::from_secs(3600));
    let refused = world.broker.submit_and_start(&local(), &world.bot, call, "mine").await.unwrap_err();
    assert!(refused.to_string().contains("clock"), "{refused}");
}
