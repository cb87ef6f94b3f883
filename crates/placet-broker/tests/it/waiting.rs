//! Callers that wait for a change hear of it, and are let go.

use std::sync::Arc;
use std::time::Duration;

use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::faulty::Point;
use tokio::sync::watch;

use crate::world::World;

const LONG: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_any_moment_of_waiting_is_heard() {
    let world = Arc::new(World::new("team").await);
    let (_stop, stopping) = watch::channel(false);
    let broker = world.broker.clone();
    let running = tokio::spawn(async move { broker.run(stopping).await });
    for round in 0..30 {
        let request = world.deploy("staging").await.unwrap().seen.stored.request;
        let waiting = {
            let (world, id) = (world.clone(), request.id);
            tokio::spawn(async move { world.broker.wait_of(&world.bot, id, Some(1), LONG).await })
        };
        // The change comes at another step of the wait each time.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        world.broker.cancel(&world.bot, request.id).await.unwrap();
        let seen = tokio::time::timeout(LONG / 2, waiting).await.expect("a wakeup was missed");
        assert_eq!(seen.unwrap().unwrap().stored.request.status(), Status::Cancelled);
    }
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_missed_hints_wakes_everybody() {
    let world = Arc::new(World::new("team").await);
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    let waiting = {
        let (world, id) = (world.clone(), request.id);
        tokio::spawn(async move { world.broker.wait_of(&world.bot, id, Some(1), LONG).await })
    };
    // Nobody passes hints on yet: what is committed now is heard of by looking again.
    tokio::task::yield_now().await;
    world.broker.cancel(&world.bot, request.id).await.unwrap();
    let (_stop, stopping) = watch::channel(false);
    let broker = world.broker.clone();
    let running = tokio::spawn(async move { broker.run(stopping).await });
    let seen = tokio::time::timeout(LONG / 2, waiting).await.expect("a wakeup was missed");
    assert_eq!(seen.unwrap().unwrap().stored.request.status(), Status::Cancelled);
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_let_go_when_placet_stops() {
    let world = Arc::new(World::new("team").await);
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    let (stop, stopping) = watch::channel(false);
    let broker = world.broker.clone();
    let running = tokio::spawn(async move { broker.run(stopping).await });
    let waiting = {
        let (world, id) = (world.clone(), request.id);
        tokio::spawn(async move { world.broker.wait_of(&world.bot, id, Some(1), LONG).await })
    };
    tokio::task::yield_now().await;
    stop.send(true).unwrap();
    let seen = tokio::time::timeout(LONG / 2, waiting).await.expect("it waits for nothing");
    assert_eq!(seen.unwrap().unwrap().stored.request.status(), Status::Granted);
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_passes_between_decision_and_commit() {
    let world = Arc::new(World::new("team").await);
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let cast = crate::world::ballot(&world.review(&rev, id).await, Verdict::Deny);
    let held = world.faulty.then_hold(Point::Before);
    let voting = {
        let world = world.clone();
        tokio::spawn(async move { world.broker.vote(&rev, id, cast, "inbox").await.map(drop) })
    };
    held.reached().await;
    world.clock.advance(Duration::from_secs(3600));
    held.release();
    assert_eq!(voting.await.unwrap().unwrap_err().code(), "late");
    assert_eq!(world.stored(id).await.status(), Status::Pending);
}
