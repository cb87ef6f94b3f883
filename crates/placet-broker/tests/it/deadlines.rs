//! Time runs out to no.

use std::time::Duration;

use placet_core::action::PepKind;
use placet_core::request::Status;
use placet_core::review::Verdict;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_review_expires_a_grant_lapses_a_lease_ends_in_unknown() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let pending = world.deploy("production").await.unwrap().seen.stored.request;
    let granted = world.deploy("staging").await.unwrap().seen.stored.request;
    let executing = world.deploy("staging").await.unwrap().seen.stored.request;
    let digest = executing.canonical.digest().to_string();
    world.broker.claim_external(&world.bot, executing.id, &digest, "c").await.unwrap();
    assert_eq!(world.broker.pass_deadlines().await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(world.broker.pass_deadlines().await.unwrap(), 3);
    for (id, status) in
        [(pending.id, Status::Expired), (granted.id, Status::Lapsed), (executing.id, Status::Unknown)]
    {
        let seen = world.broker.request_of(&world.bot, id).await.unwrap();
        assert_eq!(seen.stored.request.status(), status);
    }
    assert_eq!(world.broker.pass_deadlines().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_or_claimed_after_its_time_even_before_it_was_passed() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let pending = world.deploy("production").await.unwrap().seen.stored.request;
    let granted = world.deploy("staging").await.unwrap().seen.stored.request;
    let ballot = crate::world::ballot(&world.review(&rev, pending.id).await, Verdict::Approve);
    world.clock.advance(Duration::from_secs(3 * 3600));
    let late = world.broker.vote(&rev, pending.id, ballot, "inbox").await.unwrap_err();
    assert_eq!(late.code(), "late");
    let digest = granted.canonical.digest().to_string();
    let late = world.broker.claim_external(&world.bot, granted.id, &digest, "c").await.unwrap_err();
    assert_eq!(late.code(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_turned_back_grants_nothing() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    world.clock.turn_back(Duration::from_secs(3600));
    let refused = world.deploy("staging").await.unwrap_err();
    assert_eq!(refused.code(), "unavailable");
    assert!(refused.to_string().contains("clock"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_of_a_process_that_is_gone_are_unknown_and_resolved_by_a_person() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    let digest = request.canonical.digest().to_string();
    world.broker.claim_external(&world.bot, request.id, &digest, "c").await.unwrap();
    assert_eq!(world.broker.executions_of(&PepKind::Command.into()).await.unwrap(), []);
    let external = PepKind::External.into();
    let [(held, execution)] = world.broker.executions_of(&external).await.unwrap()[..] else { panic!("one") };
    assert_eq!(held, request.id);
    world.broker.abandon(&external, held, execution, "placet restarted").await.unwrap();
    assert_eq!(world.deploy("production").await.unwrap_err().code(), "outcome_unknown");
    world.broker.resolve(&rev, request.id, "it never began".into()).await.unwrap();
    assert!(world.deploy("production").await.unwrap().new);
}
