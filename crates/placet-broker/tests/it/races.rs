//! What happens at the same moment: one end for each request, one holder for each grant, one session for each link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use placet_broker::{CallError, Config};
use placet_core::c14n::Value;
use placet_core::entry::Kind;
use placet_core::request::{Request, Status};
use placet_core::review::Verdict;
use placet_store::Views;
use placet_store::faulty::Point;

use crate::world::{World, ballot, deploy, edited, starter};

/// Codes by how often they were given; `done` where nothing was refused.
type Codes = BTreeMap<&'static str, usize>;

fn count(codes: &mut Codes, answer: Result<(), CallError>) {
    *codes.entry(answer.err().map_or("done", |error| error.code())).or_default() += 1;
}

/// How a request ended, by its entries; more than one is a broken promise.
fn ends(kinds: &[Kind], last: &Request) -> usize {
    let final_kinds = [
        Kind::RequestExpired,
        Kind::RequestLapsed,
        Kind::RequestCancelled,
        Kind::RequestRefusedLater,
        Kind::ExecutionStarted,
    ];
    let denied = usize::from(last.status() == Status::Denied);
    kinds.iter().filter(|kind| final_kinds.contains(kind)).count() + denied
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_leave_one_end_and_every_loser_is_told_why() {
    let world = Arc::new(World::new("team").await);
    let mut reviewers = Vec::new();
    for number in 0..8 {
        reviewers.push(world.reviewer(&format!("rev{number}")).await);
    }
    for round in 0..4 {
        let mut call = deploy("production");
        call.arguments = Value::parse(format!(r#"{{"version":"{round}"}}"#).as_bytes()).unwrap();
        let request = world.submit(call).await.unwrap().seen.stored.request;
        let id = request.id;
        let shown = Arc::new(world.review(&reviewers[0], id).await);
        let mut tasks = Vec::new();
        for number in 0..200 {
            let (world, request, shown) = (world.clone(), request.clone(), shown.clone());
            let reviewer = reviewers[number / 5 % 8].clone();
            tasks.push(tokio::spawn(async move {
                // Some rounds begin with votes, some with claims, some late.
                match (number + round) % 5 {
                    0 => {
                        let ballot = ballot(&shown, Verdict::Approve);
                        world.broker.vote(&reviewer, id, ballot, "inbox").await.map(drop)
                    }
                    1 if number > 150 => {
                        let ballot = ballot(&shown, Verdict::Deny);
                        world.broker.vote(&reviewer, id, ballot, "inbox").await.map(drop)
                    }
                    2 if number > 150 => world.broker.cancel(&world.bot, id).await.map(drop),
                    3 if number > 180 => {
                        world.clock.advance(Duration::from_secs(600));
                        world.broker.pass_deadlines().await.map(drop)
                    }
                    _ => world.claim(&request, &format!("claim {number}")).await.map(drop),
                }
            }));
        }
        let mut codes = Codes::new();
        for task in join_all(tasks).await {
            count(&mut codes, task.unwrap());
        }
        let told = ["done", "already_decided", "already_voted", "wrong_state", "already_claimed", "late"];
        assert!(codes.keys().all(|code| told.contains(code)), "{codes:?}");
        let kinds = world.kinds(id).await;
        assert_eq!(ends(&kinds, &world.stored(id).await), 1, "{kinds:?} {codes:?}");
        world.clock.advance(Duration::from_secs(61));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_different_claims_at_once_one_wins_and_its_repetition_gets_the_same() {
    let world = World::new("team").await;
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    let values: Vec<String> = (0..40).map(|number| format!("claim {}", number % 20)).collect();
    let answers = join_all(values.iter().map(|value| world.claim(&request, value))).await;
    let won: Vec<_> = values.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).collect();
    assert_eq!(won.len(), 2, "the winner's value came twice");
    assert_eq!(won[0].0, won[1].0);
    assert_eq!(won[0].1.as_ref().unwrap(), won[1].1.as_ref().unwrap());
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error.code(), "already_claimed");
    }
    let started = world.kinds(request.id).await.into_iter().filter(|kind| *kind == Kind::ExecutionStarted);
    assert_eq!(started.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_follow_one_link_one_is_signed_in() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let invited = world.broker.invite(&world.operator, "rev").await.unwrap();
    let before = world.store.log().await.unwrap().frontier.size();
    let answers = join_all((0..20).map(|_| world.broker.sign_in(invited.secret.expose(), "localhost"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for error in answers.into_iter().filter_map(Result::err) {
        assert!(matches!(error, CallError::NotFound), "{error}");
    }
    // The losers are one entry: they can come as often as they like.
    assert_eq!(world.store.log().await.unwrap().frontier.size(), before + 2);
}

/// What an operator does between the claim's decision and its commit.
async fn between_decision_and_commit(
    world: World,
    request: Request,
    act: impl AsyncFnOnce(&World),
) -> String {
    let world = Arc::new(world);
    // The claim's commit waits; the one after it does not.
    let held = world.faulty.then_hold(Point::Before);
    let claiming = {
        let (world, request) = (world.clone(), request.clone());
        tokio::spawn(async move { world.claim(&request, "mine").await.map(drop) })
    };
    held.reached().await;
    act(&world).await;
    held.release();
    let answer = claiming.await.unwrap();
    let status = world.stored(request.id).await.status();
    assert_eq!(answer.is_ok(), status == Status::Executing);
    answer.err().map_or("done", |error| error.code()).to_owned()
}

async fn approved() -> (World, Request) {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    world.reviewer("other").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    (world, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_under_a_claim_is_decided_on_again() {
    let (world, request) = approved().await;
    let disable = async |world: &World| {
        world.broker.disable_person(&world.operator, "rev").await.unwrap();
    };
    assert_eq!(between_decision_and_commit(world, request, disable).await, "refused");

    let (world, request) = approved().await;
    let leave = async |world: &World| {
        world.broker.leave_group(&world.operator, "reviewers", "rev").await.unwrap();
    };
    assert_eq!(between_decision_and_commit(world, request, leave).await, "refused");

    let (world, request) = approved().await;
    let revoke = async |world: &World| {
        world.broker.revoke_agent(&world.operator, "bot").await.unwrap();
    };
    assert_eq!(between_decision_and_commit(world, request, revoke).await, "refused");

    let (world, request) = approved().await;
    let rotate = async |world: &World| {
        world.broker.rotate_agent(&world.operator, "bot").await.unwrap();
    };
    assert_eq!(between_decision_and_commit(world, request, rotate).await, "unauthenticated");

    let (world, request) = approved().await;
    let two = edited("team", "ask.cedar", "reviewers >= 1", "reviewers >= 2");
    let activate = async |world: &World| world.activate(two).await;
    assert_eq!(between_decision_and_commit(world, request, activate).await, "refused");

    // What changes nothing for it is no reason to refuse.
    let (world, request) = approved().await;
    let join = async |world: &World| {
        world.broker.join_group(&world.operator, "reviewers", "ann").await.unwrap();
    };
    assert_eq!(between_decision_and_commit(world, request, join).await, "done");

    let (world, request) = approved().await;
    let wait = async |world: &World| world.clock.advance(Duration::from_secs(3600));
    assert_eq!(between_decision_and_commit(world, request, wait).await, "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_whose_review_changes_under_it_is_refused() {
    let world = Arc::new(World::new("team").await);
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let cast = ballot(&world.review(&rev, id).await, Verdict::Approve);
    let held = world.faulty.then_hold(Point::Before);
    let voting = {
        let (world, rev) = (world.clone(), rev.clone());
        tokio::spawn(async move { world.broker.vote(&rev, id, cast, "inbox").await.map(drop) })
    };
    held.reached().await;
    // Production becomes staging by name: the card shows another fact.
    let mut files = starter("team");
    files.retain(|path, _| !path.starts_with("tests/"));
    crate::world::edit(&mut files, "ask.cedar", "Production serves real people.", "It is the holidays.");
    crate::world::edit(
        &mut files,
        "entities.toml",
        "[Example.production]\nenvironment = \"production\"",
        "[Example.production]\nenvironment = \"staging\"",
    );
    world.activate(files).await;
    held.release();
    assert_eq!(voting.await.unwrap().unwrap_err().code(), "content_moved");
    assert_eq!(world.stored(id).await.votes.len(), 0);
    assert_eq!(world.kinds(id).await, [Kind::RequestReceived, Kind::VoteRefused]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_of_a_session_that_ends_under_it_does_not_count() {
    let world = Arc::new(World::new("team").await);
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let cast = ballot(&world.review(&rev, id).await, Verdict::Approve);
    let held = world.faulty.then_hold(Point::Before);
    let voting = {
        let (world, rev) = (world.clone(), rev.clone());
        tokio::spawn(async move { world.broker.vote(&rev, id, cast, "inbox").await.map(drop) })
    };
    held.reached().await;
    world.broker.invite(&world.operator, "rev").await.unwrap();
    held.release();
    assert!(matches!(voting.await.unwrap().unwrap_err(), CallError::Unauthenticated));
    assert_eq!(world.stored(id).await.status(), Status::Pending);
    assert_eq!(world.kinds(id).await, [Kind::RequestReceived, Kind::VoteRefused]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_with_two_calls_at_once_stands_for_one_of_them() {
    let world = Arc::new(World::new("team").await);
    world.reviewer("rev").await;
    world.deploy("production").await.unwrap();
    let keyed = |environment: &str| {
        let mut call = deploy(environment);
        call.envelope.idempotency_key = Some("k1".into());
        call
    };
    // The first attaches with the key; before it is written, another call takes the key.
    let held = world.faulty.then_hold(Point::Before);
    let attaching = {
        let (world, call) = (world.clone(), keyed("production"));
        tokio::spawn(async move { world.submit(call).await.map(drop) })
    };
    held.reached().await;
    let other = world.submit(keyed("staging")).await.unwrap();
    held.release();
    assert_eq!(attaching.await.unwrap().unwrap_err().code(), "key_reused");
    let again = world.submit(keyed("staging")).await.unwrap();
    assert_eq!(again.seen.stored.request.id, other.seen.stored.request.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_last_place_is_told_the_cap() {
    let caps = placet_broker::limits::Caps { pending_max: 3, ..Default::default() };
    let world = World::under(starter("team"), Config { caps, ..Config::default() }).await;
    world.reviewer("rev").await;
    let calls = (0..20).map(|version| {
        let mut call = deploy("production");
        call.arguments = Value::parse(format!(r#"{{"version":"{version}"}}"#).as_bytes()).unwrap();
        world.submit(call)
    });
    let mut codes = Codes::new();
    for answer in join_all(calls).await {
        count(&mut codes, answer.map(drop));
    }
    assert_eq!(codes, Codes::from([("done", 3), ("pending_cap", 17)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcilers_may_run_beside_themselves() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let pending = world.deploy("production").await.unwrap().seen.stored.request.id;
    let granted = world.deploy("staging").await.unwrap().seen.stored.request.id;
    world.clock.advance(Duration::from_secs(24 * 3600));
    let passed = join_all((0..8).map(|_| world.broker.pass_deadlines())).await;
    assert_eq!(passed.into_iter().map(Result::unwrap).sum::<usize>(), 2);
    assert_eq!(world.kinds(pending).await, [Kind::RequestReceived, Kind::RequestExpired]);
    assert_eq!(world.kinds(granted).await, [Kind::RequestReceived, Kind::RequestLapsed]);
    join_all((0..8).map(|_| world.broker.publish())).await.into_iter().for_each(|note| drop(note.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_decided_just_before_the_clock_went_back_can_be_voted_on() {
    let world = Arc::new(World::new("team").await);
    let rev = world.reviewer("rev").await;
    world.clock.advance(Duration::from_secs(1));
    let held = world.faulty.then_hold(Point::Before);
    let calling = {
        let world = world.clone();
        tokio::spawn(async move { world.deploy("production").await.map(|new| new.seen.stored.request) })
    };
    held.reached().await;
    world.clock.turn_back(Duration::from_millis(1500));
    held.release();
    let request = calling.await.unwrap().unwrap();
    // Its review would end in an internal error, as nothing changes before it began.
    let seen = world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Granted);
    assert!(world.store.now() >= request.created_at);
}
