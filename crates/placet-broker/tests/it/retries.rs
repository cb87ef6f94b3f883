//! What a repeated call gets.

use std::time::Duration;

use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;

use crate::world::{World, deploy};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_its_first_call() {
    let world = World::new("team").await;
    let keyed = |environment: &str| {
        let mut call = deploy(environment);
        call.envelope.idempotency_key = Some("k1".into());
        call
    };
    let first = world.submit(keyed("staging")).await.unwrap();
    let again = world.submit(keyed("staging")).await.unwrap();
    assert!(first.new && !again.new);
    assert_eq!(first.seen.stored.request.id, again.seen.stored.request.id);
    assert_eq!(world.submit(keyed("production")).await.unwrap_err().code(), "key_reused");
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert!(world.submit(keyed("production")).await.unwrap().new);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_attaches_while_people_decide_and_leaves_its_justification() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let first = world.deploy("production").await.unwrap();
    let again = world.deploy("production").await.unwrap();
    assert!(!again.new);
    let id = first.seen.stored.request.id;
    assert_eq!(again.seen.stored.request.id, id);
    assert_eq!(world.kinds(id).await, [Kind::RequestReceived, Kind::RequestAttached]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_permitted_alone_is_a_new_request_each_time() {
    let world = World::new("team").await;
    let first = world.deploy("staging").await.unwrap();
    let again = world.deploy("staging").await.unwrap();
    assert!(again.new);
    assert_ne!(first.seen.stored.request.id, again.seen.stored.request.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_repeated_for_a_minute() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.vote(&rev, id, Verdict::Deny).await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    let again = world.deploy("production").await.unwrap();
    assert_eq!((again.new, again.seen.stored.request.status()), (false, Status::Denied));
    world.clock.advance(Duration::from_secs(1));
    assert!(world.deploy("production").await.unwrap().new);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_denials_in_ten_minutes_cool_it_down() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    for _ in 0..3 {
        let id = world.deploy("production").await.unwrap().seen.stored.request.id;
        world.vote(&rev, id, Verdict::Deny).await.unwrap();
        world.clock.advance(Duration::from_secs(61));
    }
    assert_eq!(world.deploy("production").await.unwrap_err().code(), "cooled_down");
    world.clock.advance(Duration::from_secs(600));
    assert!(world.deploy("production").await.unwrap().new);
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_calls_at_the_same_moment_make_one_request() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let calls = (0..20).map(|_| world.deploy("production"));
    let answers = futures::future::join_all(calls).await;
    let new = answers.iter().filter(|answer| answer.as_ref().unwrap().new).count();
    assert_eq!(new, 1);
}
