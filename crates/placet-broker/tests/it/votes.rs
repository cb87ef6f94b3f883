//! Votes while the policy changes, vetoes, and what a caller cannot do however often it calls.

use std::time::Duration;

use placet_broker::review::ReviewFilter;
use placet_broker::{Config, limits::Caps};
use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::{PAGE_MAX, Views};

use crate::world::{World, ballot, edited};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_that_wants_more_keeps_the_votes_and_refuses_the_old_card() {
    let world = World::new("team").await;
    let (first, second) = (world.reviewer("first").await, world.reviewer("second").await);
    world.reviewer("third").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let old_card = ballot(&world.review(&second, id).await, Verdict::Approve);
    world.activate(edited("team", "ask.cedar", "reviewers >= 1", "reviewers >= 2")).await;
    let seen = world.vote(&first, id, Verdict::Approve).await.unwrap().stored.request;
    assert_eq!((seen.status(), seen.content_version, seen.votes.len()), (Status::Pending, 2, 1));
    let refused = world.broker.vote(&second, id, old_card, "inbox").await.unwrap_err();
    assert_eq!(refused.code(), "content_moved");
    let review = world.review(&second, id).await;
    assert_eq!(review.card.guards[0].needs, "0 of 2 reviewers");
    assert!(review.votes[0].counted);
    let seen = world.vote(&second, id, Verdict::Approve).await.unwrap().stored.request;
    assert_eq!((seen.status(), seen.content_version, seen.votes.len()), (Status::Granted, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_under_a_policy_that_forbids_by_now_ends_it_and_says_so() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.broker.disable_person(&world.operator, "ann").await.unwrap();
    let seen = world.vote(&rev, id, Verdict::Approve).await.unwrap().stored.request;
    assert_eq!(seen.status(), Status::Refused);
    let end = [Kind::RequestReceived, Kind::VoteCast, Kind::DecisionMade, Kind::RequestRefusedLater];
    assert_eq!(world.kinds(id).await, end);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_two_denials_are_asked_for_one_does_not_end_it() {
    let veto = edited("team", "ask.cedar", "@timeout(\"30m\")", "@timeout(\"30m\") @veto(\"2\")");
    let world = World::under(veto, Config::default()).await;
    let (first, second) = (world.reviewer("first").await, world.reviewer("second").await);
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let seen = world.vote(&first, id, Verdict::Deny).await.unwrap().stored.request;
    assert_eq!(seen.status(), Status::Pending);
    assert_eq!(world.vote(&first, id, Verdict::Approve).await.unwrap_err().code(), "already_voted");
    assert_eq!(world.vote(&first, id, Verdict::Deny).await.unwrap_err().code(), "already_voted");
    let seen = world.vote(&second, id, Verdict::Deny).await.unwrap().stored.request;
    assert_eq!(seen.status(), Status::Denied);
    // For what was granted meanwhile, one late denial is enough.
    world.clock.advance(Duration::from_secs(61));
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.vote(&first, id, Verdict::Approve).await.unwrap();
    let seen = world.vote(&second, id, Verdict::Deny).await.unwrap().stored.request;
    assert_eq!(seen.status(), Status::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_fills_the_ledger_with_refusals() {
    let caps = Caps { calls_per_minute: 5, ..Caps::default() };
    let world = World::under(crate::world::starter("team"), Config { caps, ..Config::default() }).await;
    world.reviewer("rev").await;
    world.broker.join_group(&world.operator, "reviewers", "ann").await.unwrap();
    let ann = world.signed_in("ann").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    let size = async || world.store.log().await.unwrap().frontier.size();
    let cast = ballot(&world.review(&ann, request.id).await, Verdict::Approve);
    let before = size().await;
    let mut codes = std::collections::BTreeSet::new();
    for _ in 0..40 {
        codes.insert(world.broker.vote(&ann, request.id, cast.clone(), "inbox").await.unwrap_err().code());
        codes.insert(world.claim(&request, "mine").await.unwrap_err().code());
        if let Err(error) = world.deploy("production").await {
            codes.insert(error.code());
        }
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["call_rate", "self_approval", "wrong_state"]);
    // Five of hers, four of the agent's, and a summary for each of them.
    assert_eq!(size().await, before + 5 + 4 + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_what_waits_for_me_holds_what_i_may_decide() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let denied = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.vote(&rev, denied, Verdict::Deny).await.unwrap();
    world.clock.advance(Duration::from_secs(61));
    let waiting = world.deploy("production").await.unwrap().seen.stored.request.id;
    let listed = async |mine: bool| -> Vec<_> {
        let filter = ReviewFilter { mine, limit: 50, ..ReviewFilter::default() };
        let lines = world.broker.reviews(&rev, filter).await.unwrap();
        lines.into_iter().map(|line| (line.seen.stored.request.id, line.may_vote)).collect()
    };
    assert_eq!(listed(true).await, [(waiting, true)]);
    assert_eq!(listed(false).await, [(waiting, true), (denied, false)]);
    let done = ReviewFilter { statuses: vec![Status::Denied], mine: true, before: None, limit: 50 };
    assert_eq!(world.broker.reviews(&rev, done).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_pushes_what_happened_out_of_sight() {
    let world = World::new("team").await;
    let (first, second) = (world.reviewer("first").await, world.reviewer("second").await);
    world.activate(edited("team", "ask.cedar", "reviewers >= 1", "reviewers >= 2")).await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.vote(&first, id, Verdict::Approve).await.unwrap();
    for _ in 0..PAGE_MAX {
        assert!(!world.deploy("production").await.unwrap().new);
    }
    let timeline = world.review(&second, id).await.timeline;
    let kinds: Vec<Kind> = timeline.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::RequestReceived, Kind::VoteCast, Kind::DecisionMade]);
}
