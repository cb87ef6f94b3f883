//! Who is turned away, with which code, and what is recorded of it.

use placet_broker::CallError;
use placet_core::action::PepKind;
use placet_core::c14n::Value;
use placet_core::entry::Kind;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::{EntryFilter, Views, Write};
use std::time::Duration;

use crate::world::{World, ballot, deploy};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_on_what_is_theirs() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    world.broker.join_group(&world.operator, "reviewers", "ann").await.unwrap();
    let ann = world.signed_in("ann").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    for verdict in [Verdict::Approve, Verdict::Deny] {
        assert_eq!(world.vote(&ann, id, verdict).await.unwrap_err().code(), "self_approval");
    }
    assert_eq!(world.kinds(id).await, [Kind::RequestReceived, Kind::VoteRefused, Kind::VoteRefused]);
    let seen = world.broker.request_of(&world.bot, id).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_solo_the_exception_ends_with_the_second_eligible_person() {
    let world = World::new("solo").await;
    world.broker.join_group(&world.operator, "reviewers", "ann").await.unwrap();
    let ann = world.signed_in("ann").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    world.reviewer("rev").await;
    assert_eq!(world.vote(&ann, id, Verdict::Approve).await.unwrap_err().code(), "self_approval");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_has_to_name_what_was_shown() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let other = world.deploy_version("1.4.3").await;
    let shown = world.review(&rev, id).await;
    let other = world.review(&rev, other).await;

    let mut wrong_digest = ballot(&shown, Verdict::Approve);
    wrong_digest.digest = other.card.digest.clone();
    let mut wrong_card = ballot(&shown, Verdict::Approve);
    wrong_card.card = other.card_hash.to_string();
    let mut wrong_version = ballot(&shown, Verdict::Approve);
    wrong_version.content_version += 1;
    for (ballot, code) in
        [(wrong_digest, "other_digest"), (wrong_card, "content_moved"), (wrong_version, "content_moved")]
    {
        assert_eq!(world.broker.vote(&rev, id, ballot, "inbox").await.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_vote_and_a_vote_after_the_end_are_told() {
    let world = World::new("team").await;
    let (rev, late) = (world.reviewer("rev").await, world.reviewer("late").await);
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let stale = ballot(&world.review(&late, id).await, Verdict::Approve);
    world.vote(&rev, id, Verdict::Approve).await.unwrap();
    let refused = world.broker.vote(&late, id, stale, "inbox").await.unwrap_err();
    assert_eq!(refused.code(), "already_decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_person_is_nobody_and_their_vote_stops_counting() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    world.reviewer("other").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    world.broker.disable_person(&world.operator, "rev").await.unwrap();
    let digest = request.canonical.digest().to_string();
    let refused = world.broker.claim_external(&world.bot, request.id, &digest, "c1").await.unwrap_err();
    assert_eq!(refused.code(), "refused");
    let seen = world.broker.request_of(&world.bot, request.id).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_with_what_was_ended_leaves_an_entry_a_minute() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let link = world.broker.invite(&world.operator, "rev").await.unwrap().secret;
    let cookie = world.broker.sign_in(link.expose(), "localhost").await.unwrap().cookie;
    let (_, token) = world.broker.mint_token(&world.operator, "rev").await.unwrap();
    let (cookie, token) = (cookie.expose(), token.expose());
    let name = id.to_string();
    let tries = async |credential: &str| {
        world.broker.note_ended_vote(credential, &name, "api").await.unwrap();
        let filter = EntryFilter { kinds: vec![Kind::VoteRefused], limit: 200, ..EntryFilter::default() };
        let entries = world.store.entries(filter).await.unwrap();
        entries.iter().map(|entry| String::from_utf8(entry.bytes.clone()).unwrap()).collect::<Vec<_>>()
    };
    // What still lets somebody in is not ended, and what never did is nobody's.
    for credential in [cookie, token, "placet_session_0", "placet_person_0", "x", ""] {
        assert_eq!(tries(credential).await, [""; 0], "{credential}");
    }
    world.broker.disable_person(&world.operator, "rev").await.unwrap();
    for _ in 0..50 {
        assert_eq!(tries(cookie).await.len(), 1);
    }
    let told = tries(token).await;
    assert_eq!(told.len(), 2, "each credential has its own minute");
    assert!(told.iter().all(|entry| entry.contains(r#""verdict":"person_disabled""#)), "{told:?}");
    assert!(told.iter().all(|entry| entry.contains(&name)), "{told:?}");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(tries(cookie).await.len(), 3);
    // Who comes back does not come back with what they had.
    let mut rev =
        world.broker.directory().await.unwrap().people.values().find(|p| p.name == "rev").unwrap().clone();
    rev.status = placet_core::directory::Status::Active;
    let writes = vec![Write::Person(rev)];
    let transition = placet_store::Transition { writes, ..placet_store::Transition::default() };
    placet_store::Commit::commit(world.store.as_ref(), transition).await.unwrap();
    assert!(world.broker.reviewer_by_cookie(cookie, "localhost").await.is_err());
    assert!(world.broker.reviewer_by_token(token).await.is_err());
    world.clock.advance(Duration::from_secs(60));
    let told = tries(cookie).await;
    assert!(told[0].contains(r#""verdict":"access_ended""#), "{told:?}");
    // No review, no entry; and none once it would have ended by itself.
    world.broker.note_ended_vote(token, "req_00000000000000000000000000", "api").await.unwrap();
    world.broker.note_ended_vote(token, "0000-0000", "api").await.unwrap();
    assert_eq!(tries("").await.len(), 4);
    world.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(tries(cookie).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_claimed_once_by_its_own_enforcement_point() {
    let world = World::new("team").await;
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    let digest = request.canonical.digest().to_string();
    let claim = |value: &'static str| world.broker.claim_external(&world.bot, request.id, &digest, value);
    let first = claim("mine").await.unwrap();
    assert_eq!(claim("mine").await.unwrap(), first);
    assert_eq!(claim("theirs").await.unwrap_err().code(), "already_claimed");
    let other =
        world.broker.claim_for(&PepKind::Command.into(), &world.bot, request.id, "x").await.unwrap_err();
    assert_eq!(other.code(), "not_the_executor");
    let kinds = world.kinds(request.id).await;
    assert_eq!(
        kinds,
        [Kind::RequestReceived, Kind::ExecutionStarted, Kind::ClaimRefused, Kind::ClaimRefused]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agents_request_is_not_there() {
    let world = World::new("team").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let stranger = world.agent("stranger").await;
    for error in [
        world.broker.request_of(&stranger, id).await.unwrap_err(),
        world.broker.cancel(&stranger, id).await.unwrap_err(),
        world.broker.claim_external(&stranger, id, &"0".repeat(64), "c").await.unwrap_err(),
    ] {
        assert!(matches!(error, CallError::NotFound), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_open_only_their_own_door() {
    let world = World::new("team").await;
    let (_, person_token) = world.broker.mint_token(&world.operator, "ann").await.unwrap();
    let (_, agent_token) = world.broker.rotate_agent(&world.operator, "bot").await.unwrap();
    let unauthenticated = |error: CallError| matches!(error, CallError::Unauthenticated);
    assert!(unauthenticated(world.broker.authenticate_agent(person_token.expose()).await.unwrap_err()));
    assert!(unauthenticated(world.broker.reviewer_by_token(agent_token.expose()).await.unwrap_err()));
    assert!(world.broker.authenticate_agent(agent_token.expose()).await.is_ok());
    assert!(world.broker.reviewer_by_token(person_token.expose()).await.is_ok());
    world.broker.revoke_agent(&world.operator, "bot").await.unwrap();
    assert!(unauthenticated(world.broker.authenticate_agent(agent_token.expose()).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agents_grant_is_not_carried_out() {
    let world = World::new("team").await;
    let request = world.deploy("staging").await.unwrap().seen.stored.request;
    world.broker.revoke_agent(&world.operator, "bot").await.unwrap();
    let digest = request.canonical.digest().to_string();
    let refused = world.broker.claim_external(&world.bot, request.id, &digest, "c1").await.unwrap_err();
    assert_eq!(refused.code(), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_link_works_once_and_inviting_again_ends_what_was() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let invited = world.broker.invite(&world.operator, "rev").await.unwrap();
    let signed = world.broker.sign_in(invited.secret.expose(), "localhost").await.unwrap();
    assert!(matches!(
        world.broker.sign_in(invited.secret.expose(), "localhost").await.unwrap_err(),
        CallError::NotFound
    ));
    assert!(world.broker.reviewer_by_cookie(signed.cookie.expose(), "evil.example").await.is_err());
    assert!(world.broker.reviewer_by_cookie(signed.cookie.expose(), "localhost").await.is_ok());
    world.broker.invite(&world.operator, "rev").await.unwrap();
    assert!(world.broker.reviewer_by_cookie(signed.cookie.expose(), "localhost").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_say_something_unclear_are_refused() {
    let world = World::new("team").await;
    let with = |arguments: &str| {
        let mut call = deploy("staging");
        call.arguments = Value::parse(arguments.as_bytes()).unwrap();
        call
    };
    for (call, code) in [
        (with("[]"), "bad_arguments"),
        (with(r#"{"service":"shop","version":"1","now":1}"#), "bad_arguments"),
        (with(r#"{"service":"shop","version":"1","unheard_of":1}"#), "bad_arguments"),
        (with(r#"{"service":1,"version":"1"}"#), "bad_arguments"),
        (with(r#"{"service":null,"version":"1"}"#), "bad_arguments"),
    ] {
        assert_eq!(world.submit(call.clone()).await.unwrap_err().code(), code, "{call:?}");
    }
    let mut foreign = deploy("staging");
    foreign.envelope.on_behalf_of = Some("per_00000000000000000000000000".into());
    assert_eq!(world.submit(foreign).await.unwrap_err().code(), "on_behalf_of_refused");
    let mut internal = deploy("staging");
    internal.action = "data.export".into();
    assert_eq!(world.submit(internal).await.unwrap_err().code(), "action_not_external");
    let unknown = world.deploy("nowhere").await.unwrap().seen.stored.request;
    assert_eq!(unknown.status(), Status::Refused);
}

impl World {
    async fn deploy_version(&self, version: &str) -> placet_core::id::RequestId {
        let mut call = deploy("production");
        let arguments = format!(r#"{{"service":"shop","version":"{version}"}}"#);
        call.arguments = Value::parse(arguments.as_bytes()).unwrap();
        self.submit(call).await.unwrap().seen.stored.request.id
    }

    pub(crate) async fn agent(&self, name: &str) -> placet_broker::intake::Caller {
        let new = placet_broker::directory::NewAgent {
            name: name.into(),
            kind: placet_core::directory::AgentKind::Agent,
            sponsor: "ann".into(),
            owners: vec![],
            acts_for: vec![],
            groups: vec![],
            workload: None,
        };
        let (_, token) = self.broker.add_agent(&self.operator, new).await.unwrap();
        self.broker.authenticate_agent(token.expose()).await.unwrap()
    }
}
