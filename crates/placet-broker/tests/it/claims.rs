//! The third decision: what a grant is still worth when it is claimed, and what goes with it.

use placet_broker::CallError;
use placet_broker::execution::{Ended, OutcomeReport};
use placet_broker::intake::{Envelope, InterceptedCall};
use placet_broker::peps::Enforcer;
use placet_core::action::{ActionName, Grade, PepKind, Pins, ResourceRef, SecretVersion};
use placet_core::c14n::Value;
use placet_core::entry::Kind;
use placet_core::request::{OutcomeKind, Request, Status};
use placet_core::review::Verdict;
use placet_core::secret::Secret;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::{World, edit, edited, starter};

async fn approved(world: &World) -> Request {
    let rev = world.reviewer("rev").await;
    world.reviewer("other").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_policy_no_longer_gives_is_refused_and_recorded() {
    let ban = (
        "never.cedar",
        "// What may never",
        "@id(\"stop\") @title(\"Stop\") forbid (principal, action, resource);\n// What may never",
    );
    let gone = ("entities.toml", "[Example.production]\nenvironment = \"production\"", "");
    let undeclared = ("schema.cedarschema", "\"service\"?: String, ", "");
    let more = ("ask.cedar", "reviewers >= 1", "reviewers >= 2");
    for (file, from, to) in [ban, gone, undeclared, more] {
        let world = World::new("team").await;
        let request = approved(&world).await;
        world.activate(edited("team", file, from, to)).await;
        let refused = world.claim(&request, "mine").await.unwrap_err();
        assert_eq!(refused.code(), "refused", "{file}");
        assert!(!refused.to_string().contains("rev"), "names no voter: {refused}");
        assert_eq!(world.stored(request.id).await.status(), Status::Refused, "{file}");
        let kinds = world.kinds(request.id).await;
        let end = [Kind::DecisionMade, Kind::RequestRefusedLater, Kind::ClaimRefused];
        assert_eq!(kinds[kinds.len() - 3..], end, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sponsor_who_is_gone_takes_the_grant_along() {
    let world = World::new("team").await;
    let request = approved(&world).await;
    world.broker.disable_person(&world.operator, "ann").await.unwrap();
    assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "refused");
    assert_eq!(world.stored(request.id).await.status(), Status::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_grant_is_the_new_tokens() {
    let world = World::new("team").await;
    let request = approved(&world).await;
    let (_, token) = world.broker.rotate_agent(&world.operator, "bot").await.unwrap();
    // The old token passed the door just before.
    let refused = world.claim(&request, "mine").await.unwrap_err();
    assert!(matches!(refused, CallError::Unauthenticated), "{refused}");
    assert_eq!(world.kinds(request.id).await.last(), Some(&Kind::ClaimRefused));
    for error in [
        world.deploy("staging").await.unwrap_err(),
        world.broker.cancel(&world.bot, request.id).await.unwrap_err(),
        world.broker.wait_of(&world.bot, request.id, None, Duration::ZERO).await.unwrap_err(),
    ] {
        assert!(matches!(error, CallError::Unauthenticated), "{error}");
    }
    let bot = world.broker.authenticate_agent(token.expose()).await.unwrap();
    let digest = request.canonical.digest().to_string();
    world.broker.claim_external(&bot, request.id, &digest, "mine").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ran_out_is_late_whatever_policy_says_of_it() {
    let world = World::new("team").await;
    let request = approved(&world).await;
    world.broker.disable_person(&world.operator, "rev").await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "late");
    assert_eq!(world.broker.pass_deadlines().await.unwrap(), 1);
    assert_eq!(world.stored(request.id).await.status(), Status::Lapsed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_not_reported_a_second_time_as_another() {
    let world = World::new("team").await;
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    let claimed = world.claim(&request, "mine").await.unwrap();
    let report = |outcome: &str| OutcomeReport {
        execution: claimed.execution.to_string(),
        outcome: outcome.to_owned(),
        summary: "done".into(),
        measures: BTreeMap::new(),
        result_digest: None,
    };
    world.broker.report_outcome(&world.bot, request.id, report("succeeded")).await.unwrap();
    world.broker.report_outcome(&world.bot, request.id, report("succeeded")).await.unwrap();
    let other = world.broker.report_outcome(&world.bot, request.id, report("failed")).await.unwrap_err();
    assert_eq!(other.code(), "wrong_state");
    let finished = world.kinds(request.id).await.into_iter().filter(|kind| *kind == Kind::ExecutionFinished);
    assert_eq!(finished.count(), 1);
}

fn local() -> Enforcer {
    PepKind::Command.into()
}

/// A command that uses a secret, as an enforcement point would hand it in.
pub(crate) fn command() -> InterceptedCall {
    let secret = SecretVersion { name: "db".into(), version: 1 };
    InterceptedCall {
        target: "runner:local".into(),
        planned_for: Some((
            ActionName::parse("command.run").unwrap(),
            ResourceRef::new("Program", "/usr/bin/true").unwrap(),
        )),
        grade: Grade::Enforced,
        arguments: Value::parse(br#"{"argv":["/usr/bin/true"]}"#).unwrap(),
        pins: Pins { secrets: BTreeMap::from([("PASSWORD".into(), secret)]), ..Pins::default() },
        envelope: Envelope::default(),
    }
}

/// An approved command whose secret has this value.
async fn approved_command(world: &World) -> Request {
    let rev = world.reviewer("rev").await;
    world.broker.set_secret(&world.operator, "db", Secret::new("hunter22")).await.unwrap();
    let argv = ["/usr/bin/true".to_owned()];
    let guide = world.broker.guide_command(&local(), &argv).await.unwrap();
    let mut call = command();
    call.planned_for = Some((guide.action, guide.resource));
    let request =
        world.broker.submit_intercepted(&local(), &world.bot, call).await.unwrap().seen.stored.request;
    assert_eq!(request.status(), Status::Pending);
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_that_was_reviewed_is_released_and_no_other() {
    let world = World::new("team").await;
    let request = approved_command(&world).await;
    let newer = world.broker.set_secret(&world.operator, "db", Secret::new("hunter33")).await.unwrap();
    assert_eq!(newer.version, 2);
    let other = placet_core::id::ExecutionId::new(world.broker.now(), &placet_testkit::SeededEntropy::new(9));
    let refused = |error: CallError| error.code();
    assert_eq!(
        refused(world.broker.secrets_for(&local(), request.id, other).await.unwrap_err()),
        "other_execution"
    );
    let claimed = world.broker.claim_for(&local(), &world.bot, request.id, "mine").await.unwrap().execution;
    assert_eq!(
        refused(world.broker.secrets_for(&local(), request.id, other).await.unwrap_err()),
        "other_execution"
    );
    let released = world.broker.secrets_for(&local(), request.id, claimed).await.unwrap();
    assert_eq!(released, BTreeMap::from([("PASSWORD".to_owned(), Secret::new("hunter22"))]));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(refused(world.broker.secrets_for(&local(), request.id, claimed).await.unwrap_err()), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_released_only_while_their_execution_lasts() {
    let world = World::new("team").await;
    let request = approved_command(&world).await;
    let claimed = world.broker.claim_for(&local(), &world.bot, request.id, "mine").await.unwrap();
    let ended = Ended {
        recording: None,
        kind: OutcomeKind::Succeeded,
        summary: "exit 0".into(),
        measures: BTreeMap::new(),
        result: None,
        delivery: None,
    };
    world.broker.complete_for(&local(), request.id, claimed.execution, ended).await.unwrap();
    let refused = world.broker.secrets_for(&local(), request.id, claimed.execution).await.unwrap_err();
    assert_eq!(refused.code(), "other_execution");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_without_the_secret_it_was_approved_with() {
    let world = World::new("team").await;
    let request = approved_command(&world).await;
    world.broker.remove_secret(&world.operator, "db").await.unwrap();
    // A secret of the same name is another secret, and its number says so.
    let again = world.broker.set_secret(&world.operator, "db", Secret::new("hunter44")).await.unwrap();
    assert_eq!(again.version, 2);
    let refused = world.broker.claim_for(&local(), &world.bot, request.id, "mine").await.unwrap_err();
    assert_eq!(refused.code(), "secret_gone");
    assert_eq!(world.stored(request.id).await.status(), Status::Granted);
    assert_eq!(world.kinds(request.id).await.last(), Some(&Kind::ClaimRefused));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_intercepted_does_not_come_in_as_intercepted() {
    let world = World::new("team").await;
    let refused =
        world.broker.submit_intercepted(&PepKind::External.into(), &world.bot, command()).await.unwrap_err();
    assert_eq!(refused.code(), "other_kind");
    let elsewhere = InterceptedCall {
        planned_for: Some((
            ActionName::parse("data.export").unwrap(),
            ResourceRef::new("Dataset", "shop").unwrap(),
        )),
        ..command()
    };
    let refused = world.broker.submit_intercepted(&local(), &world.bot, elsewhere).await.unwrap_err();
    assert_eq!(refused.code(), "mapping_moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evidence_that_aged_is_no_evidence_at_the_claim() {
    let aged = "reviewers >= 1 && context.approvals.age <= duration(\"5m\")";
    let mut files = starter("team");
    files.retain(|path, _| !path.starts_with("tests/"));
    edit(&mut files, "ask.cedar", "reviewers >= 1", aged);
    let world = World::under(files, placet_broker::Config::default()).await;
    let request = approved(&world).await;
    let granted = world.stored(request.id).await;
    assert_eq!(granted.deadline(), Some(granted.updated_at.plus(Duration::from_secs(300))));
    world.clock.advance(Duration::from_secs(301));
    assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "late");
}
