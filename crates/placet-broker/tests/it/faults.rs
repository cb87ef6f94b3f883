//! Commits that fail, and commits whose answer is lost: nothing happens twice, nothing is lost, nobody is starved.

use std::time::Duration;

use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::faulty::{Fault, Point};

use crate::world::{World, deploy};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_answered_when_repeated() {
    for (point, started) in [(Point::Before, 0), (Point::After, 1)] {
        let world = World::new("team").await;
        let request = world.deploy("staging").await.unwrap().seen.stored.request;
        world.faulty.then(Fault::Fail(point));
        assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "unavailable");
        let count = |kinds: Vec<Kind>| kinds.iter().filter(|kind| **kind == Kind::ExecutionStarted).count();
        assert_eq!(count(world.kinds(request.id).await), started);
        let claimed = world.claim(&request, "mine").await.unwrap();
        assert_eq!(claimed.canonical, request.canonical.as_str());
        assert_eq!(count(world.kinds(request.id).await), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_whose_answer_was_lost_counts_once() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.faulty.then(Fault::Fail(Point::After));
    assert_eq!(world.vote(&rev, id, Verdict::Approve).await.unwrap_err().code(), "unavailable");
    assert_eq!(world.vote(&rev, id, Verdict::Approve).await.unwrap_err().code(), "already_decided");
    assert_eq!(world.stored(id).await.votes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_was_lost_is_found_again_by_its_key() {
    let world = World::new("team").await;
    let mut call = deploy("staging");
    call.envelope.idempotency_key = Some("k1".into());
    world.faulty.then(Fault::Fail(Point::After));
    assert_eq!(world.submit(call.clone()).await.unwrap_err().code(), "unavailable");
    let again = world.submit(call).await.unwrap();
    assert!(!again.new);
    assert_eq!(again.seen.stored.request.status(), Status::Granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_cannot_be_recorded_is_unavailable() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.faulty.then(Fault::Fail(Point::Before));
    assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "unavailable");
    assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "wrong_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_deadline_that_cannot_be_passed_holds_back_no_other() {
    let world = World::new("team").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.deploy("staging").await.unwrap().seen.stored.request.id);
    }
    world.clock.advance(Duration::from_secs(24 * 3600));
    world.faulty.then(Fault::Fail(Point::Before));
    assert_eq!(world.broker.pass_deadlines().await.unwrap(), 2);
    assert_eq!(world.broker.pass_deadlines().await.unwrap(), 1);
    for id in ids {
        assert_eq!(world.kinds(id).await, [Kind::RequestReceived, Kind::RequestLapsed]);
    }
}
