//! What operators do to people, agents, groups and secrets, and what they cannot do by being somebody else.

use placet_broker::directory::{NewAgent, NewPerson};
use placet_core::action::SecretVersion;
use placet_core::directory::{AgentKind, Operator};
use placet_core::entry::Kind;
use placet_core::id::PersonId;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_core::secret::Secret;
use placet_store::{EntryFilter, Views};

use crate::world::{World, edit, edited, starter};

fn person(name: &str) -> NewPerson {
    NewPerson { name: name.into(), ..NewPerson::default() }
}

fn agent(name: &str) -> NewAgent {
    NewAgent {
        name: name.into(),
        kind: AgentKind::Agent,
        sponsor: "ann".into(),
        owners: vec![],
        acts_for: vec![],
        groups: vec![],
        workload: None,
    }
}

impl World {
    async fn add(&self, new: NewPerson) -> Result<PersonId, &'static str> {
        let added = self.broker.add_person(&self.operator, new).await;
        added.map(|person| person.id).map_err(|error| error.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_of_the_operating_system_is_one_person() {
    let world = World::new("team").await;
    let twice = NewPerson { operator_uid: Some(1000), ..person("ann two") };
    assert_eq!(world.add(twice).await, Err("operator_taken"));
    let ben = NewPerson { operator_uid: Some(1001), ..person("ben") };
    let ben = world.add(ben).await.unwrap();
    assert_eq!(world.broker.operator(1001).await.unwrap().person, Some(ben));
    // Who is disabled operates as nobody, and leaves the user free.
    world.broker.disable_person(&world.operator, "ben").await.unwrap();
    assert_eq!(world.broker.operator(1001).await.unwrap().person, None);
    let next = NewPerson { operator_uid: Some(1001), ..person("cleo") };
    assert!(world.add(next).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_name_one_and_are_not_ids() {
    let world = World::new("team").await;
    let ben = world.add(person("ben")).await.unwrap();
    assert_eq!(world.add(person("ben")).await, Err("name_taken"));
    for name in ["", " ", "a\u{202e}b", &"x".repeat(201), &ben.to_string(), &world.bot.agent.id.to_string()] {
        assert_eq!(world.add(person(name)).await, Err("bad_name"), "{name:?}");
    }
    world.broker.disable_person(&world.operator, "ben").await.unwrap();
    let again = world.add(person("ben")).await.unwrap();
    assert_ne!(again, ben, "the name is free again, the person is another");
    let taken = world.broker.add_agent(&world.operator, agent("bot")).await.unwrap_err();
    assert_eq!(taken.code(), "name_taken");
    // A person and an agent may share a name; then it names neither.
    world.broker.add_agent(&world.operator, agent("ben")).await.unwrap();
    let unclear = world.broker.join_group(&world.operator, "reviewers", "ben").await.unwrap_err();
    assert_eq!(unclear.code(), "ambiguous");
    world.broker.join_group(&world.operator, "reviewers", &again.to_string()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_members_stays() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let refused = world.broker.remove_group(&world.operator, "reviewers").await.unwrap_err();
    assert_eq!(refused.code(), "group_in_use");
    let unknown = NewPerson { groups: vec!["nobody".into()], ..person("ben") };
    assert_eq!(world.add(unknown).await, Err("unknown_group"));
    world.broker.leave_group(&world.operator, "reviewers", "rev").await.unwrap();
    world.broker.remove_group(&world.operator, "reviewers").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_signs_in_as_nobody_else() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    assert_eq!(world.broker.login(&world.operator).await.unwrap().person.name, "ann");
    // Signing in once more ends nothing; being invited by others ends everything.
    let (_, token) = world.broker.mint_token(&world.operator, "ann").await.unwrap();
    world.broker.login(&world.operator).await.unwrap();
    assert!(world.broker.reviewer_by_token(token.expose()).await.is_ok());
    world.broker.invite(&world.operator, "ann").await.unwrap();
    assert!(world.broker.reviewer_by_token(token.expose()).await.is_err());
    let stranger = world.broker.operator(4242).await.unwrap();
    assert_eq!(stranger, Operator { uid: 4242, person: None });
    assert_eq!(world.broker.login(&stranger).await.unwrap_err().code(), "no_own_person");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_have_voted_in_their_place_makes_a_vote_vouched() {
    let strict = edited("team", "bundle.toml", "operator_vouches = true", "operator_vouches = false");
    let world = World::under(strict, placet_broker::Config::default()).await;
    let cleo = NewPerson { groups: vec!["reviewers".into()], operator_uid: Some(1001), ..person("cleo") };
    world.add(cleo).await.unwrap();
    // Ann sponsors the agent, and made this link.
    let rev = world.reviewer("rev").await;
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    assert_eq!(world.vote(&rev, id, Verdict::Approve).await.unwrap_err().code(), "vouched");
    // Nobody knows who this operator is: it could be Ann under another user.
    let unknown = world.broker.operator(4242).await.unwrap();
    let link = world.broker.invite(&unknown, "rev").await.unwrap().secret;
    let cookie = world.broker.sign_in(link.expose(), "localhost").await.unwrap().cookie;
    let rev = world.broker.reviewer_by_cookie(cookie.expose(), "localhost").await.unwrap();
    assert_eq!(world.vote(&rev, id, Verdict::Approve).await.unwrap_err().code(), "vouched");
    assert_eq!(world.review(&rev, id).await.standing.approve.unwrap_err().code(), "vouched");
    // Cleo has nothing to do with it, and signs herself in.
    let cleo = world.broker.operator(1001).await.unwrap();
    let link = world.broker.login(&cleo).await.unwrap().secret;
    let cookie = world.broker.sign_in(link.expose(), "localhost").await.unwrap().cookie;
    let cleo = world.broker.reviewer_by_cookie(cookie.expose(), "localhost").await.unwrap();
    let seen = world.vote(&cleo, id, Verdict::Approve).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Granted);
    assert!(!seen.stored.request.votes[0].vouched);
    // Weak evidence may still block.
    let seen = world.vote(&rev, id, Verdict::Deny).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn vouched_votes_count_where_the_bundle_says_so_until_it_does_not() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    world.reviewer("other").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    let seen = world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    assert!(seen.stored.request.votes[0].vouched);
    assert_eq!(seen.stored.request.status(), Status::Granted);
    let strict = edited("team", "bundle.toml", "operator_vouches = true", "operator_vouches = false");
    world.activate(strict).await;
    assert_eq!(world.claim(&request, "mine").await.unwrap_err().code(), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_denies_and_does_not_approve_and_ends_when_revoked() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let (token, secret) = world.broker.mint_token(&world.operator, "rev").await.unwrap();
    let rev = world.broker.reviewer_by_token(secret.expose()).await.unwrap();
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    let refused = world.vote(&rev, id, Verdict::Approve).await.unwrap_err();
    assert_eq!(refused.code(), "token_may_not_approve");
    let seen = world.vote(&rev, id, Verdict::Deny).await.unwrap();
    assert_eq!(seen.stored.request.status(), Status::Denied);

    world.broker.revoke_token(&world.operator, &token.id.to_string()).await.unwrap();
    assert!(world.broker.reviewer_by_token(secret.expose()).await.is_err());
    let again = world.broker.revoke_token(&world.operator, &token.id.to_string()).await.unwrap_err();
    assert_eq!(again.code(), "not_found");
    // It was at the door just before it was revoked.
    world.clock.advance(std::time::Duration::from_secs(61));
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    assert_eq!(world.vote(&rev, id, Verdict::Deny).await.unwrap_err().code(), "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_removed_can_be_set_again_under_a_new_number() {
    let world = World::new("team").await;
    let set = async |value: &str| {
        world.broker.set_secret(&world.operator, "db", Secret::new(value)).await.map(|set| set.version)
    };
    assert_eq!(set("hunter22").await.unwrap(), 1);
    world.broker.remove_secret(&world.operator, "db").await.unwrap();
    assert_eq!(world.broker.newest_secret("db").await.unwrap(), None);
    assert_eq!(world.broker.remove_secret(&world.operator, "db").await.unwrap_err().code(), "not_found");
    assert_eq!(set("hunter33").await.unwrap(), 2);
    for (name, value, code) in [
        ("", "hunter22", "bad_name"),
        ("DB", "hunter22", "bad_name"),
        ("oauth.git", "hunter22", "bad_name"),
        ("db", "short", "bad_secret"),
        ("db", "hun\0ter", "bad_secret"),
    ] {
        let refused = world.broker.set_secret(&world.operator, name, Secret::new(value)).await.unwrap_err();
        assert_eq!(refused.code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_one_version_however_often_it_is_renewed() {
    let world = World::new("team").await;
    let login =
        async |value: &str| world.broker.set_login(&world.operator, "git", Secret::new(value)).await.unwrap();
    let stored = async |version: &SecretVersion| {
        let read = world.broker.server_secrets(vec![version.clone()]).await.unwrap();
        read.get("oauth.git").map(|(_, secret)| secret.clone())
    };
    let first = login("first login").await;
    let entries = world.store.log().await.unwrap().frontier.size();
    world.broker.renew_login(&first, Secret::new("renewed tokens")).await.unwrap();
    assert_eq!(stored(&first).await, Some(Secret::new("renewed tokens")));
    assert_eq!(world.store.log().await.unwrap().frontier.size(), entries, "nobody did anything");
    // A newer login, or none any more: what was renewed meanwhile is nobody's.
    let second = login("second login").await;
    assert_eq!((first.version, second.version), (1, 2));
    let late = world.broker.renew_login(&first, Secret::new("too late")).await.unwrap_err();
    assert_eq!(late.code(), "moved");
    world.broker.remove_secret(&world.operator, "oauth.git").await.unwrap();
    assert!(world.broker.renew_login(&second, Secret::new("too late")).await.is_err());
    // And nothing else is renewed, or gets a login.
    let db = world.broker.set_secret(&world.operator, "db", Secret::new("hunter22")).await.unwrap();
    assert!(world.broker.renew_login(&db, Secret::new("hunter33")).await.is_err());
    login("third login").await;
    assert_eq!(world.broker.newest_secret("oauth.git").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_link_fills_nothing_however_often_it_comes() {
    let world = World::new("team").await;
    world.reviewer("rev").await;
    let link = world.broker.invite(&world.operator, "rev").await.unwrap().secret;
    world.broker.sign_in(link.expose(), "localhost").await.unwrap();
    let refused = async || {
        let filter = EntryFilter { kinds: vec![Kind::SignInRefused], limit: 200, ..EntryFilter::default() };
        world.store.entries(filter).await.unwrap().len()
    };
    for _ in 0..50 {
        assert!(world.broker.sign_in(link.expose(), "localhost").await.is_err());
    }
    assert_eq!(refused().await, 1);
    world.clock.advance(std::time::Duration::from_secs(60));
    assert!(world.broker.sign_in(link.expose(), "localhost").await.is_err());
    assert_eq!(refused().await, 2);
    // What never was a link leaves nothing.
    assert!(world.broker.sign_in("placet_link_0", "localhost").await.is_err());
    assert_eq!(refused().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_twice_is_signing_out() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    world.broker.sign_out(&rev).await.unwrap();
    world.broker.sign_out(&rev).await.unwrap();
    let id = world.deploy("production").await.unwrap().seen.stored.request.id;
    assert_eq!(world.vote(&rev, id, Verdict::Approve).await.unwrap_err().code(), "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_shows_what_would_change_and_only_that() {
    let world = World::new("team").await;
    let mut files = starter("team");
    edit(&mut files, "ask.cedar", "approvals.reviewers >= 1", "approvals.reviewers >= 2");
    let Err(placet_broker::policies::StageError::TestsFail(failed)) =
        world.broker.stage(&world.operator, files).await
    else {
        panic!("its own tests still expect one reviewer");
    };
    assert!(!failed.is_empty());
    let mut files = starter("team");
    edit(&mut files, "never.cedar", "// What may never happen", "// What must never happen");
    let staged = world.broker.stage(&world.operator, files).await.unwrap();
    let [change] = staged.changes.as_slice() else { panic!("{:?}", staged.changes) };
    assert_eq!((change.path.as_str(), change.change), ("never.cedar", "changed"));
    let signs = |sign| change.lines.iter().filter(|line| line.starts_with(sign)).count();
    assert_eq!((signs('-'), signs('+')), (1, 1), "{:?}", change.lines);
}
