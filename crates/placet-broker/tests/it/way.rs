//! The way through: permitted at once, and after a review.

use placet_broker::execution::OutcomeReport;
use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;
use std::collections::BTreeMap;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_permitted_action_is_granted_at_once_with_one_entry() {
    let world = World::new("team").await;
    let submitted = world.deploy("staging").await.unwrap();
    assert!(submitted.new);
    let request = &submitted.seen.stored.request;
    assert_eq!(request.status(), Status::Granted);
    assert!(!request.reviewed);
    assert_eq!(world.kinds(request.id).await, [Kind::RequestReceived]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewed_action_goes_from_intake_to_proof() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    assert_eq!(request.status(), Status::Pending);

    let shown = world.review(&rev, request.id).await;
    assert_eq!(shown.card.guards.len(), 1);
    let seen = world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Granted);

    let decided = world.review(&rev, request.id).await;
    assert_eq!(decided.card, shown.card, "the card that it was decided on stays");

    let digest = request.canonical.digest().to_string();
    let claimed = world.broker.claim_external(&world.bot, request.id, &digest, "c1").await.unwrap();
    assert_eq!(claimed.canonical, request.canonical.as_str());
    let report = OutcomeReport {
        execution: claimed.execution.to_string(),
        outcome: "succeeded".into(),
        summary: "runs".into(),
        measures: BTreeMap::from([("instances".into(), 3)]),
        result_digest: None,
    };
    let done = world.broker.report_outcome(&world.bot, request.id, report.clone()).await.unwrap();
    assert_eq!(done.stored.request.status(), Status::Succeeded);
    // Reporting the same again is the same answer.
    world.broker.report_outcome(&world.bot, request.id, report).await.unwrap();
    assert_eq!(
        world.kinds(request.id).await,
        [
            Kind::RequestReceived,
            Kind::VoteCast,
            Kind::DecisionMade,
            Kind::ExecutionStarted,
            Kind::ExecutionFinished
        ]
    );

    let files = world.broker.audit_bundle(&world.operator, request.id).await.unwrap();
    assert_eq!(files["request.json"], request.canonical.as_str().as_bytes());
    assert_eq!(files.keys().filter(|path| path.starts_with("proofs/")).count(), 5);
    assert_eq!(files.keys().filter(|path| path.starts_with("cards/")).count(), 1);
    let key = world.broker.verifier_key();
    for (path, proof) in files.iter().filter(|(path, _)| path.starts_with("proofs/")) {
        let entry = path.replace("proofs/", "entries/").replace(".tlog-proof", ".json");
        let proof = placet_ledger::TlogProof::parse(proof).unwrap();
        proof.verify(&files[&entry], &key).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_ends_it_with_its_reason() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let seen = world.vote(&rev, id, Verdict::Deny).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Denied);
    assert_eq!(world.kinds(id).await, [Kind::RequestReceived, Kind::VoteCast]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_stops_what_was_granted_and_not_begun() {
    let world = World::new("team").await;
    let (rev, late) = (world.reviewer("rev").await, world.reviewer("late").await);
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    world.vote(&late, request.id, Verdict::Deny).await.unwrap();
    let digest = request.canonical.digest().to_string();
    let refused = world.broker.claim_external(&world.bot, request.id, &digest, "c1").await.unwrap_err();
    assert_eq!(refused.code(), "wrong_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let before = world.deploy("production").await.unwrap().seen.stored;
    let world = world.restarted().await;
    let after = world.broker.request_of(&world.bot, before.request.id).await.unwrap();
    assert_eq!(after.stored, before);
    let seen = world.vote(&rev, before.request.id, Verdict::Approve).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_solo_the_sponsor_may_approve_the_agents_action_and_it_is_marked() {
    let world = World::new("solo").await;
    world.broker.join_group(&world.operator, "reviewers", "ann").await.unwrap();
    let ann = world.signed_in("ann").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    assert!(world.review(&ann, id).await.standing.self_review);
    let seen = world.vote(&ann, id, Verdict::Approve).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Granted);
    assert!(seen.stored.request.votes[0].self_reviewed);
}
