//! Two hundred at once on the real store: one end, one request, one execution, and everybody else is told why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use placet_broker::CallError;
use placet_core::c14n::Value;
use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::{EntryFilter, Views};

use crate::world::{World, ballot, deploy, edited, starter};

/// How many come at once.
const CROWD: usize = 200;

type Codes = BTreeMap<&'static str, usize>;

/// Codes by how often they were given; `done` where nothing was refused.
fn count(answers: impl IntoIterator<Item = Result<(), CallError>>) -> Codes {
    let mut codes = Codes::new();
    for answer in answers {
        *codes.entry(answer.err().map_or("done", |error| error.code())).or_default() += 1;
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_equal_calls_is_one_request() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let answers = join_all((0..CROWD).map(|_| world.deploy("production"))).await;
    let submitted: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(submitted.iter().filter(|submitted| submitted.new).count(), 1);
    let id = submitted[0].seen.stored.request.id;
    assert!(submitted.iter().all(|submitted| submitted.seen.stored.request.id == id));
    let counts = world.store.counts().await.unwrap();
    assert_eq!(counts.values().sum::<u64>(), 1);
    let attached = EntryFilter { kinds: vec![Kind::RequestAttached], limit: CROWD, ..EntryFilter::default() };
    assert_eq!(world.store.entries(attached).await.unwrap().len(), CROWD - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_claims_is_one_execution() {
    let world = World::new("team").await;
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    let values: Vec<String> = (0..CROWD).map(|number| format!("claim {number}")).collect();
    let answers = join_all(values.iter().map(|value| world.claim(&request, value))).await;
    let codes = count(answers.into_iter().map(|answer| answer.map(drop)));
    assert_eq!(codes, Codes::from([("already_claimed", CROWD - 1), ("done", 1)]));
    let started = world.kinds(request.id).await.into_iter().filter(|kind| *kind == Kind::ExecutionStarted);
    assert_eq!(started.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_the_deadline_leaves_one_end() {
    let world = Arc::new(World::new("team").await);
    let mut reviewers = Vec::new();
    for number in 0..8 {
        reviewers.push(world.reviewer(&format!("rev{number}")).await);
    }
    for round in 0..3 {
        let mut call = deploy("production");
        call.arguments = Value::parse(format!(r#"{{"version":"{round}"}}"#).as_bytes()).unwrap();
        let id = world.submit(call).await.unwrap().seen.stored.request.id;
        let shown = Arc::new(world.review(&reviewers[0], id).await);
        // Whoever moves the clock makes it late for those who come after.
        let tasks = (0..CROWD).map(|number| {
            let (world, shown) = (world.clone(), shown.clone());
            let reviewer = reviewers[number % 8].clone();
            tokio::spawn(async move {
                match number % 4 {
                    0 | 1 if number > 30 * round => {
                        let verdict = if number % 8 == 1 { Verdict::Deny } else { Verdict::Approve };
                        world.broker.vote(&reviewer, id, ballot(&shown, verdict), "inbox").await.map(drop)
                    }
                    2 if number > 60 * round => world.broker.cancel(&world.bot, id).await.map(drop),
                    _ => {
                        if number % 40 == 3 {
                            world.clock.advance(Duration::from_secs(600));
                        }
                        world.broker.pass_deadlines().await.map(drop)
                    }
                }
            })
        });
        let codes = count(join_all(tasks).await.into_iter().map(Result::unwrap));
        let told = ["done", "already_decided", "already_voted", "wrong_state", "late"];
        assert!(codes.keys().all(|code| told.contains(code)), "{codes:?}");
        let (kinds, last) = (world.kinds(id).await, world.stored(id).await);
        let ends = [Kind::RequestExpired, Kind::RequestLapsed, Kind::RequestCancelled];
        let ended = kinds.iter().filter(|kind| ends.contains(kind)).count();
        let denied = usize::from(last.status() == Status::Denied);
        assert_eq!(ended + denied, 1, "{kinds:?} {codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_that_race_activations_are_counted_under_the_policy_that_grants() {
    let world = Arc::new(World::new("team").await);
    let mut reviewers = Vec::new();
    for number in 0..12 {
        reviewers.push(world.reviewer(&format!("rev{number}")).await);
    }
    let needs =
        |number: usize| edited("team", "ask.cedar", "reviewers >= 1", &format!("reviewers >= {number}"));
    let mut bundles = BTreeMap::new();
    for number in [2, 3, 4] {
        let staged = world.broker.stage(&world.operator, needs(number)).await.unwrap();
        bundles.insert(staged.digest, number);
    }
    let first = world.broker.stage(&world.operator, starter("team")).await.unwrap().digest;
    bundles.insert(first, 1);
    world.activate(needs(4)).await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let activations = {
        let world = world.clone();
        let files = [2, 3, 4].map(needs);
        tokio::spawn(async move {
            for number in 0..12 {
                world.activate(files[number % files.len()].clone()).await;
            }
        })
    };
    let votes = reviewers.iter().map(|reviewer| {
        let (world, reviewer) = (world.clone(), reviewer.clone());
        tokio::spawn(async move {
            // Whoever is told that what they saw has changed reads it again, as a person would.
            for _ in 0..20 {
                match world.vote(&reviewer, id, Verdict::Approve).await {
                    Err(error) if ["content_moved", "moved"].contains(&error.code()) => {}
                    answer => return answer.map(drop),
                }
            }
            Ok(())
        })
    });
    let codes = count(join_all(votes).await.into_iter().map(Result::unwrap));
    activations.await.unwrap();
    let told = ["done", "already_decided"];
    assert!(codes.keys().all(|code| told.contains(code)), "{codes:?}");
    let request = world.stored(id).await;
    assert_eq!(request.status(), Status::Granted, "{codes:?}");
    let needed = bundles[&request.decision.bundle];
    assert!(request.votes.len() >= needed, "{} votes where {needed} are needed", request.votes.len());
    let kinds = world.kinds(id).await;
    let cast = kinds.iter().filter(|kind| **kind == Kind::VoteCast).count();
    assert_eq!(cast, request.votes.len(), "{kinds:?}");
}
