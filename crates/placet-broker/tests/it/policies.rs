//! Policy that changes: stages, what they would have changed, who activated what, and what explains an old decision.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_broker::policies::{PolicyStep, StageError};
use placet_broker::replay::ReplaySpan;
use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::faulty::Point;
use placet_store::{EntryFilter, Views};

use crate::world::{World, edit, edited, starter};

const GUARD: &str = "when { resource.environment == Environment::\"production\" }";

/// The team's bundle in which production asks two reviewers, and staging one.
fn stricter() -> BTreeMap<String, Vec<u8>> {
    let mut files = edited("team", "ask.cedar", GUARD, "");
    edit(
        &mut files,
        "ask.cedar",
        "unless { context.approvals.reviewers >= 1 };\n\n@id(\"any-command\")",
        "unless { context.approvals.reviewers >= 2 };\n\n@id(\"any-command\")",
    );
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_tells_how_recorded_requests_would_come_out() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    world.reviewer("other").await;
    let asked = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.vote(&rev, asked, Verdict::Deny).await.unwrap();
    for _ in 0..3 {
        world.deploy("staging").await.unwrap();
    }
    let span = ReplaySpan::default();
    let staged = world.broker.stage_and_replay(&world.operator, stricter(), span).await.unwrap();
    let replayed = staged.replayed.unwrap();
    let changes: Vec<_> =
        replayed.changes.iter().map(|change| (change.from, change.to, change.count)).collect();
    assert_eq!(changes, [("ask", "ask", 1), ("permit", "ask", 3)]);
    assert_eq!((replayed.requests, replayed.gone), (4, 0));
    let load: Vec<_> = replayed.load.iter().map(|(role, delta)| (role.as_str(), *delta)).collect();
    assert_eq!(load, [("reviewers", 3)], "who was asked before and is asked again is no more work");
    let example = &replayed.changes[0].examples[0];
    assert_eq!(example.request, asked);
    assert_eq!(example.what, "example.deploy on Example::\"production\"");
    assert_eq!(example.before, "deploy-production; 0 of 1 reviewers");
    assert_eq!(example.after, "deploy-production; 0 of 2 reviewers");

    let waiting = world.broker.policy_waiting().await.unwrap();
    assert_eq!(
        waiting[0].outcomes,
        [
            "replayed 4 recorded requests",
            "1: ask, otherwise",
            "3: permit → ask",
            "+3 questions for reviewers"
        ]
    );

    // What lets more happen comes first.
    let looser = edited("team", "ask.cedar", "== Environment::\"production\"", "== Environment::\"staging\"");
    let staged = world.broker.stage_and_replay(&world.operator, looser, span).await.unwrap();
    let changes: Vec<_> = staged
        .replayed
        .unwrap()
        .changes
        .iter()
        .map(|change| (change.from, change.to, change.count))
        .collect();
    assert_eq!(changes, [("ask", "permit", 1), ("permit", "ask", 3)]);

    // Only what somebody wants replayed.
    for (last, since, requests) in [(2, None, 2), (0, None, 0), (100, Some(Duration::from_secs(60)), 0)] {
        world.clock.advance(Duration::from_secs(120));
        let span = ReplaySpan { last, since };
        let staged = world.broker.stage_and_replay(&world.operator, stricter(), span).await.unwrap();
        assert_eq!(staged.replayed.map_or(0, |replayed| replayed.requests), requests);
    }
    // Of those who are gone there is nothing to say.
    world.broker.revoke_agent(&world.operator, "bot").await.unwrap();
    let staged = world.broker.stage_and_replay(&world.operator, stricter(), span).await.unwrap();
    let replayed = staged.replayed.unwrap();
    assert_eq!((replayed.requests, replayed.gone, replayed.changes.len()), (0, 4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_activated_only_as_long_as_what_it_showed_is_true() {
    let world = World::new("team").await;
    let first = world.broker.bundle().await.unwrap().digest();
    let two = world.broker.stage(&world.operator, stricter()).await.unwrap().digest;
    let other = edited("team", "ask.cedar", "Production serves real people.", "People are asked.");
    let three = world.broker.stage(&world.operator, other).await.unwrap().digest;
    assert_eq!(world.broker.policy_waiting().await.unwrap().len(), 2);
    world.broker.activate(&world.operator, three).await.unwrap();
    assert_eq!(world.broker.policy_waiting().await.unwrap(), []);
    let stale = world.broker.activate(&world.operator, two).await.unwrap_err();
    assert_eq!(stale.code(), "stage_stale");
    assert!(stale.to_string().contains(&format!("placet policy stage {two}")), "{stale}");
    assert_eq!(world.broker.policy().await.unwrap().digest, three);
    // Nor is what was in force before: a way back is a change too.
    assert_eq!(world.broker.activate(&world.operator, first).await.unwrap_err().code(), "stage_stale");
    // Looked at again, it may.
    let again = world.broker.stage_again(&world.operator, two, ReplaySpan::default()).await.unwrap();
    assert!(again.changes.iter().any(|change| change.path == "ask.cedar"));
    world.broker.activate(&world.operator, two).await.unwrap();
    let history = world.broker.policy_history(None, 10).await.unwrap();
    let told: Vec<_> =
        history.iter().map(|event| (event.step, event.digest, event.operator.as_str())).collect();
    let staged = |fresh| PolicyStep::Staged { fresh };
    assert_eq!(
        told,
        [
            (PolicyStep::Activated { epoch: 3 }, two, "ann"),
            (staged(false), two, "ann"),
            (PolicyStep::Activated { epoch: 2 }, three, "ann"),
            (staged(false), three, "ann"),
            (staged(false), two, "ann"),
            (PolicyStep::Activated { epoch: 1 }, first, "user 1000"),
            (staged(false), first, "user 1000"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_activations_at_once_one_wins() {
    let world = std::sync::Arc::new(World::new("team").await);
    let one = world.broker.stage(&world.operator, stricter()).await.unwrap().digest;
    let other = edited("team", "ask.cedar", "Production serves real people.", "People are asked.");
    let other = world.broker.stage(&world.operator, other).await.unwrap().digest;
    // The first has decided and is about to write when the second comes.
    let held = world.faulty.then_hold(Point::Before);
    let slow = {
        let world = world.clone();
        tokio::spawn(async move { world.broker.activate(&world.operator, one).await })
    };
    held.reached().await;
    world.broker.activate(&world.operator, other).await.unwrap();
    held.release();
    assert_eq!(slow.await.unwrap().unwrap_err().code(), "stage_stale");
    assert_eq!(world.broker.policy().await.unwrap().digest, other);
    let filter = EntryFilter { kinds: vec![Kind::BundleActivated], limit: 10, ..EntryFilter::default() };
    assert_eq!(world.store.entries(filter).await.unwrap().len(), 2, "the starter's, and one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_under_a_stage_makes_it_no_stage() {
    let world = std::sync::Arc::new(World::new("team").await);
    let other = edited("team", "ask.cedar", "Production serves real people.", "People are asked.");
    let other = world.broker.stage(&world.operator, other).await.unwrap().digest;
    let held = world.faulty.then_hold(Point::Before);
    let staging = {
        let world = world.clone();
        tokio::spawn(async move { world.broker.stage(&world.operator, stricter()).await })
    };
    held.reached().await;
    world.broker.activate(&world.operator, other).await.unwrap();
    held.release();
    let Err(StageError::Call(error)) = staging.await.unwrap() else {
        panic!("what it showed is not true any more")
    };
    assert_eq!(error.code(), "moved");
    assert_eq!(world.broker.policy_waiting().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_stage_changes_nothing_and_says_where() {
    let world = World::new("team").await;
    let size = async || world.store.log().await.unwrap().frontier.size();
    let before = size().await;
    let mut half = starter("team");
    half.insert("ask.cedar".into(), b"@id(\"a\")\nforbid (principal,".to_vec());
    let Err(StageError::Invalid(found)) = world.broker.stage(&world.operator, half).await else {
        panic!("half a file is no policy")
    };
    assert_eq!((found[0].file.as_str(), found[0].line), ("ask.cedar", 2));
    let mut gone = starter("team");
    gone.remove("bundle.toml");
    let mut large = starter("team");
    large.insert("never.cedar".into(), vec![b' '; 256 * 1024 + 1]);
    for (files, file) in [(gone, "bundle.toml"), (large, "never.cedar")] {
        let Err(StageError::Invalid(found)) = world.broker.stage(&world.operator, files).await else {
            panic!("{file}")
        };
        assert!(found.iter().any(|finding| finding.file == file), "{found:#?}");
    }
    assert_eq!(size().await, before);
    assert_eq!(world.broker.policy_waiting().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_decision_is_explained_under_the_bundle_that_decided_it() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    world.reviewer("other").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let old = world.broker.bundle().await.unwrap().digest();
    let told = world.broker.explain(id).await.unwrap();
    assert_eq!(told.missing, ["0 of 1 reviewers"]);
    let [intake] = told.decisions.as_slice() else { panic!("{told:#?}") };
    let sentence = "asked because resource.environment is production; 0 of 1 reviewers";
    assert_eq!(intake.explanation.as_ref().unwrap().sentence(), sentence);
    let place = intake.places["deploy-production"].clone();
    assert!(place.starts_with("ask.cedar:"), "{place}");

    // The guard moves down, asks for two, and is about all environments.
    let mut files = stricter();
    let text = String::from_utf8(files["ask.cedar"].clone()).unwrap();
    files.insert("ask.cedar".into(), format!("// new\n\n\n{text}").into_bytes());
    world.activate(files).await;
    world.vote(&rev, id, Verdict::Approve).await.unwrap();
    let told = world.broker.explain(id).await.unwrap();
    let [intake, vote] = told.decisions.as_slice() else { panic!("{told:#?}") };
    assert_eq!((intake.bundle, intake.occasion.as_str()), (old, "intake"));
    assert_eq!(intake.explanation.as_ref().unwrap().sentence(), sentence);
    assert_eq!(intake.places["deploy-production"], place);
    assert_ne!(vote.bundle, old);
    assert_ne!(vote.places["deploy-production"], place);
    let now = "asked because of deploy-production; 1 of 2 reviewers";
    assert_eq!(
        (vote.occasion.as_str(), vote.explanation.as_ref().unwrap().sentence().as_str()),
        ("vote", now)
    );
    assert_eq!(told.missing, ["1 of 2 reviewers"]);
}

/// Two denials were asked for when the first came; then a bundle asks for one.
async fn denied_once_of_two() -> (World, placet_core::id::RequestId) {
    let veto = |count: u8| {
        edited("team", "ask.cedar", "@timeout(\"30m\")", &format!("@timeout(\"30m\") @veto(\"{count}\")"))
    };
    let world = World::under(veto(2), placet_broker::Config::default()).await;
    let (first, second) = (world.reviewer("first").await, world.reviewer("second").await);
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.vote(&first, id, Verdict::Deny).await.unwrap();
    assert_eq!(world.stored(id).await.status(), Status::Pending);
    let _ = second;
    (world, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_veto_ends_what_was_denied_before_an_approval_could_grant_it() {
    let (world, id) = denied_once_of_two().await;
    world.activate(edited("team", "ask.cedar", "@timeout(\"30m\")", "@timeout(\"30m\") @veto(\"1\")")).await;
    let second = world.signed_in("second").await;
    let seen = world.vote(&second, id, Verdict::Approve).await.unwrap().stored.request;
    assert_eq!(seen.status(), Status::Refused);
    let end = [
        Kind::RequestReceived,
        Kind::VoteCast,
        Kind::DecisionMade,
        Kind::VoteCast,
        Kind::DecisionMade,
        Kind::RequestRefusedLater,
    ];
    let kinds = world.kinds(id).await;
    assert_eq!(kinds.last(), end.last(), "{kinds:?}");
    let told = world.broker.explain(id).await.unwrap();
    let last = told.decisions.last().unwrap().explanation.as_ref().unwrap();
    assert_eq!(last.reason.as_deref(), Some("The denials on record end it under the policy in force now."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_veto_ends_what_was_granted_before_it_is_claimed() {
    let (world, id) = denied_once_of_two().await;
    let second = world.signed_in("second").await;
    let granted = world.vote(&second, id, Verdict::Approve).await.unwrap().stored.request;
    assert_eq!(granted.status(), Status::Granted, "one denial of two does not end it");
    world.activate(edited("team", "ask.cedar", "@timeout(\"30m\")", "@timeout(\"30m\") @veto(\"1\")")).await;
    assert_eq!(world.claim(&granted, "mine").await.unwrap_err().code(), "refused");
    assert_eq!(world.stored(id).await.status(), Status::Refused);
}
