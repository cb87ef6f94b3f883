//! People, agents, groups, access, secrets, bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use placet_core::action::PepKind;
use placet_core::digest::{BundleDigest, Sha256Digest};
use placet_core::directory::{AccessEnd, AgentKind, EndedAccess, Status};
use placet_core::review::Evidence;
use placet_core::secret::Secret;

use super::Bench;
use super::fixtures::{group, writes};
use crate::Write;

pub(super) async fn the_directory_reads_back_and_its_epoch_moves(bench: Bench) {
    let store = bench.store();
    let empty = store.directory().await.unwrap();
    assert_eq!((empty.epoch, empty.people.len()), (0, 0));
    let mut ada = bench.person("ada");
    ada.groups = BTreeSet::from([group("data-owners"), group("security")]);
    let mut bob = bench.person("bob");
    bob.email = None;
    bob.status = Status::Disabled;
    bob.operator_uid = Some(1000);
    let mut agent = bench.agent("reporter", ada.id);
    agent.owners = BTreeSet::from([bob.id]);
    agent.acts_for = BTreeSet::from([bob.id]);
    agent.groups = BTreeSet::from([group("security")]);
    let mut pipeline = bench.agent("deployer", ada.id);
    pipeline.kind = AgentKind::Pipeline;
    // Listed before what it refers to: the order does not matter.
    bench
        .write([
            Write::Agent(agent.clone()),
            Write::Agent(pipeline.clone()),
            Write::Person(ada.clone()),
            Write::Person(bob.clone()),
            Write::Group(group("data-owners")),
            Write::Group(group("security")),
        ])
        .await;
    let read = store.directory().await.unwrap();
    assert_eq!(read.people, BTreeMap::from([(ada.id, ada.clone()), (bob.id, bob)]));
    assert_eq!(read.agents, BTreeMap::from([(agent.id, agent.clone()), (pipeline.id, pipeline)]));
    assert_eq!(read.groups, BTreeSet::from([group("data-owners"), group("security")]));
    assert!(read.epoch > empty.epoch);
    assert!(Arc::ptr_eq(&read, &store.directory().await.unwrap()), "cheap while nothing changes");

    let mut epoch = read.epoch;
    ada.name = "Ada L.".to_owned();
    ada.groups.clear();
    agent.status = Status::Disabled;
    agent.groups.clear();
    for write in [
        Write::Person(ada.clone()),
        Write::Agent(agent.clone()),
        Write::Group(group("new")),
        Write::RemoveGroup(group("security")),
    ] {
        bench.write([write]).await;
        let moved = store.directory().await.unwrap().epoch;
        assert!(moved > epoch);
        epoch = moved;
    }
    let read = store.directory().await.unwrap();
    assert_eq!(read.people[&ada.id], ada);
    assert_eq!(read.agents[&agent.id], agent);
    assert_eq!(read.groups, BTreeSet::from([group("data-owners"), group("new")]));
    let session = bench.session(ada.id, "cookie");
    bench.write([Write::Session(session)]).await;
    assert_eq!(store.directory().await.unwrap().epoch, epoch, "a session is nobody");
}

pub(super) async fn what_people_belong_to_must_be_there(bench: Bench) {
    let mut ada = bench.person("ada");
    ada.groups = BTreeSet::from([group("data-owners")]);
    bench.impossible(writes([Write::Person(ada.clone())])).await;
    bench.impossible(writes([Write::Agent(bench.agent("reporter", ada.id))])).await;
    bench.impossible(writes([Write::Session(bench.session(ada.id, "cookie"))])).await;
    bench.write([Write::Group(group("data-owners")), Write::Person(ada.clone())]).await;
    bench.impossible(writes([Write::RemoveGroup(group("data-owners"))])).await;
    bench.stale(writes([Write::RemoveGroup(group("nobodys"))]), "group").await;
    ada.groups.clear();
    bench.write([Write::RemoveGroup(group("data-owners")), Write::Person(ada)]).await;
    assert!(bench.store().directory().await.unwrap().groups.is_empty());
}

pub(super) async fn an_agents_name_and_token_are_its_own(bench: Bench) {
    let ada = bench.person("ada");
    let mut first = bench.agent("reporter", ada.id);
    bench.write([Write::Person(ada.clone()), Write::Agent(first.clone())]).await;
    let by_token = async |hash| bench.store().agent_by_token(hash).await.unwrap();
    assert_eq!(by_token(first.token_hash).await.as_ref(), Some(&first));
    assert_eq!(by_token(Sha256Digest::of(b"another")).await, None);
    let mut second = bench.agent("reporter", ada.id);
    second.token_hash = Sha256Digest::of(b"another");
    bench.impossible(writes([Write::Agent(second.clone())])).await;
    second.name = "other".to_owned();
    second.token_hash = first.token_hash;
    bench.impossible(writes([Write::Agent(second.clone())])).await;
    first.status = Status::Disabled;
    second.name = "reporter".to_owned();
    second.token_hash = Sha256Digest::of(b"another");
    bench.write([Write::Agent(first.clone()), Write::Agent(second.clone())]).await;
    assert_eq!(by_token(first.token_hash).await, Some(first), "also one that is disabled");
    assert_eq!(by_token(second.token_hash).await, Some(second));
}

pub(super) async fn a_new_token_counts_the_credential_up(bench: Bench) {
    let ada = bench.person("ada");
    let first = bench.agent("reporter", ada.id);
    bench.write([Write::Person(ada), Write::Agent(first.clone())]).await;
    let mut next = first.clone();
    next.token_hash = Sha256Digest::of(b"new");
    bench.impossible(writes([Write::Agent(next.clone())])).await;
    next.credential_version = 0;
    bench.impossible(writes([Write::Agent(next.clone())])).await;
    next.credential_version = 2;
    bench.write([Write::Agent(next.clone())]).await;
    assert_eq!(bench.store().agent_by_token(first.token_hash).await.unwrap(), None);
    assert_eq!(bench.store().agent_by_token(next.token_hash).await.unwrap(), Some(next));
}

pub(super) async fn an_enforcement_point_is_found_by_its_token_and_keeps_its_kind(bench: Bench) {
    let store = bench.store();
    let ada = bench.person("ada");
    let first = bench.pep("build-host", ada.id);
    bench.impossible(writes([Write::Pep(first.clone())])).await;
    bench.write([Write::Pep(first.clone()), Write::Person(ada.clone())]).await;
    let epoch = store.directory().await.unwrap().epoch;
    assert_eq!(store.directory().await.unwrap().peps, BTreeMap::from([(first.id, first.clone())]));
    assert_eq!(store.pep_by_token(first.token_hash).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.pep_by_token(Sha256Digest::of(b"another")).await.unwrap(), None);
    assert_eq!(store.agent_by_token(first.token_hash).await.unwrap(), None, "it is no agent");
    let mut second = bench.pep("build-host", ada.id);
    second.token_hash = Sha256Digest::of(b"another");
    bench.impossible(writes([Write::Pep(second.clone())])).await;
    let mut other = first.clone();
    other.kind = PepKind::Mcp;
    bench.impossible(writes([Write::Pep(other)])).await;
    let mut rotated = first.clone();
    rotated.token_hash = Sha256Digest::of(b"new");
    bench.impossible(writes([Write::Pep(rotated.clone())])).await;
    rotated.credential_version = 2;
    bench.write([Write::Pep(rotated.clone())]).await;
    assert_eq!(store.pep_by_token(first.token_hash).await.unwrap(), None);
    rotated.status = Status::Disabled;
    bench.write([Write::Pep(rotated.clone()), Write::Pep(second.clone())]).await;
    assert_eq!(
        store.pep_by_token(rotated.token_hash).await.unwrap(),
        Some(rotated),
        "also one that is revoked"
    );
    assert!(store.directory().await.unwrap().epoch > epoch);
}

pub(super) async fn an_operator_is_one_person(bench: Bench) {
    let (mut ada, mut bob) = (bench.person("ada"), bench.person("bob"));
    ada.operator_uid = Some(1000);
    bob.operator_uid = Some(1000);
    bench.write([Write::Person(ada.clone())]).await;
    bench.impossible(writes([Write::Person(bob.clone())])).await;
    ada.operator_uid = None;
    bench.write([Write::Person(ada)]).await;
    bench.write([Write::Person(bob)]).await;
}

pub(super) async fn access_is_found_by_hash_and_ends(bench: Bench) {
    let store = bench.store();
    let ada = bench.person("ada");
    let (invitation, session) = (bench.invitation(ada.id, "link"), bench.session(ada.id, "cookie"));
    let (token, second) = (bench.token(ada.id, "token"), bench.token(ada.id, "second"));
    bench
        .write([
            Write::Person(ada.clone()),
            Write::Invitation(invitation.clone()),
            Write::Session(session.clone()),
            Write::Token(token.clone()),
            Write::Token(second.clone()),
        ])
        .await;
    let none = Sha256Digest::of(b"none");
    assert_eq!(store.invitation(none).await.unwrap(), None);
    assert_eq!(store.session(none).await.unwrap(), None);
    assert_eq!(store.token(none).await.unwrap(), None);
    assert_eq!(store.invitation(invitation.secret_hash).await.unwrap(), Some(invitation));
    assert_eq!(store.session(session.secret_hash).await.unwrap(), Some(session));
    assert_eq!(store.token(token.token_hash).await.unwrap().as_ref(), Some(&token));
    let of = store.tokens_of(ada.id).await.unwrap();
    assert_eq!(of.len(), 2);
    assert!(of.contains(&token) && of.contains(&second));
    bench.write([Write::RevokeToken(token.id)]).await;
    assert_eq!(store.token(token.token_hash).await.unwrap(), None);
    assert_eq!(store.tokens_of(ada.id).await.unwrap(), [second]);
    bench.stale(writes([Write::RevokeToken(token.id)]), "token").await;
}

pub(super) async fn ending_access_ends_it_for_one_person(bench: Bench) {
    let store = bench.store();
    let (ada, bob) = (bench.person("ada"), bench.person("bob"));
    let session = bench.session(ada.id, "cookie");
    let token = bench.token(ada.id, "token");
    let unused = bench.invitation(ada.id, "unused");
    let mut used = bench.invitation(ada.id, "used");
    let kept = bench.session(bob.id, "bob's");
    bench
        .write([
            Write::Person(ada.clone()),
            Write::Person(bob),
            Write::Session(session.clone()),
            Write::Session(kept.clone()),
            Write::Token(token.clone()),
            Write::Invitation(unused.clone()),
            Write::Invitation(used.clone()),
        ])
        .await;
    used.consumed_at = Some(bench.now());
    bench.write([Write::Invitation(used.clone())]).await;
    // The new link is listed first, and still outlives the end of what was.
    let fresh = bench.invitation(ada.id, "fresh");
    bench.write([Write::Invitation(fresh.clone()), Write::EndAccess(ada.id, AccessEnd::Invited)]).await;
    assert_eq!(store.session(session.secret_hash).await.unwrap(), None);
    assert_eq!(store.token(token.token_hash).await.unwrap(), None);
    assert_eq!(store.invitation(unused.secret_hash).await.unwrap(), None);
    assert_eq!(store.invitation(used.secret_hash).await.unwrap(), Some(used), "what was used is a record");
    assert_eq!(store.invitation(fresh.secret_hash).await.unwrap(), Some(fresh));
    assert_eq!(store.session(kept.secret_hash).await.unwrap(), Some(kept));
    let mut late = unused.clone();
    late.consumed_at = Some(bench.now());
    bench.stale(writes([Write::Invitation(late)]), "invitation").await;
}

pub(super) async fn what_ended_is_remembered_and_never_comes_back(bench: Bench) {
    let store = bench.store();
    let (ada, bob) = (bench.person("ada"), bench.person("bob"));
    let (session, other) = (bench.session(ada.id, "cookie"), bench.session(bob.id, "bob's"));
    let (token, revoked) = (bench.token(ada.id, "token"), bench.token(ada.id, "revoked"));
    bench
        .write([
            Write::Person(ada.clone()),
            Write::Person(bob.clone()),
            Write::Session(session.clone()),
            Write::Session(other.clone()),
            Write::Token(token.clone()),
            Write::Token(revoked.clone()),
        ])
        .await;
    let hashes = [session.secret_hash, other.secret_hash, token.token_hash, revoked.token_hash];
    for hash in hashes {
        assert_eq!(store.ended_access(hash).await.unwrap(), None, "it lets its person in");
    }
    bench.clock.advance(Duration::from_secs(1));
    bench.write([Write::RevokeToken(revoked.id), Write::EndSession(other.id)]).await;
    bench.write([Write::EndAccess(ada.id, AccessEnd::Disabled)]).await;
    let ended_at = bench.now();
    let ended = |person, evidence, why| Some(EndedAccess { person, evidence, why, ended_at });
    for (hash, expected) in hashes.into_iter().zip([
        ended(ada.id, Evidence::Session(session.id), AccessEnd::Disabled),
        ended(bob.id, Evidence::Session(other.id), AccessEnd::SignedOut),
        ended(ada.id, Evidence::Token(token.id), AccessEnd::Disabled),
        ended(ada.id, Evidence::Token(revoked.id), AccessEnd::Revoked),
    ]) {
        assert_eq!(store.ended_access(hash).await.unwrap(), expected);
    }
    // Whoever comes back begins anew.
    bench.write([Write::Person(ada.clone())]).await;
    assert_eq!(store.session(session.secret_hash).await.unwrap(), None);
    assert_eq!(store.token(token.token_hash).await.unwrap(), None);
    bench.impossible(writes([Write::Session(session.clone())])).await;
    bench.impossible(writes([Write::Token(token.clone())])).await;
    // What would be over by now is nothing to remember.
    bench.clock.set(session.expires_at.max(token.expires_at));
    for hash in hashes {
        assert_eq!(store.ended_access(hash).await.unwrap(), None);
    }
}

pub(super) async fn a_session_ends_once(bench: Bench) {
    let ada = bench.person("ada");
    let session = bench.session(ada.id, "cookie");
    bench.write([Write::Person(ada.clone()), Write::Session(session.clone())]).await;
    bench.impossible(writes([Write::Session(bench.session(ada.id, "cookie"))])).await;
    bench.write([Write::EndSession(session.id)]).await;
    assert_eq!(bench.store().session(session.secret_hash).await.unwrap(), None);
    bench.stale(writes([Write::EndSession(session.id)]), "session").await;
}

pub(super) async fn secrets_count_up_and_never_come_back(bench: Bench) {
    let store = bench.store();
    let name = || "shop-db".to_owned();
    let set = |version, value: &str| writes([Write::Secret(name(), version, Secret::new(value))]);
    assert_eq!(store.secret_version(name()).await.unwrap(), 0);
    bench.stale(set(2, "too soon"), "secret_version").await;
    bench.commit(set(1, "one")).await;
    bench.stale(set(1, "again"), "secret_version").await;
    bench.clock.advance(Duration::from_secs(1));
    bench.commit(set(2, "two")).await;
    let info = store.secrets().await.unwrap();
    assert_eq!((info[0].name.as_str(), info[0].version, info[0].set_at), ("shop-db", 2, bench.now()));
    assert_eq!(info.len(), 1);
    assert_eq!(store.secret(name(), 1).await.unwrap(), Some(Secret::new("one")));
    assert_eq!(store.secret(name(), 2).await.unwrap(), Some(Secret::new("two")));
    assert_eq!(store.secret(name(), 3).await.unwrap(), None);
    // What is renewed stays the version that it is.
    let renew = |version, value: &str| writes([Write::RenewSecret(name(), version, Secret::new(value))]);
    bench.commit(renew(2, "new")).await;
    bench.stale(renew(3, "none"), "secret").await;
    assert_eq!(store.secret(name(), 2).await.unwrap(), Some(Secret::new("new")));
    assert_eq!(store.secret_version(name()).await.unwrap(), 2);

    bench.write([Write::RemoveSecret(name())]).await;
    bench.stale(renew(2, "late"), "secret").await;
    assert!(store.secrets().await.unwrap().is_empty());
    assert_eq!(store.secret(name(), 2).await.unwrap(), None);
    bench.stale(writes([Write::RemoveSecret(name())]), "secret").await;
    assert_eq!(store.secret_version(name()).await.unwrap(), 2);
    // What was pinned as version 1 is never another value.
    bench.stale(set(1, "other"), "secret_version").await;
    bench.commit(set(3, "three")).await;
    assert_eq!(store.secret(name(), 3).await.unwrap(), Some(Secret::new("three")));
    assert_eq!(store.secret(name(), 1).await.unwrap(), None);
}

pub(super) async fn bundles_are_kept_and_one_is_active(bench: Bench) {
    let store = bench.store();
    let bundle = |text: &str| {
        let files = BTreeMap::from([
            ("ask.cedar".to_owned(), text.as_bytes().to_vec()),
            ("tests/one.toml".to_owned(), vec![0xff, 0]),
        ]);
        let digest =
            BundleDigest::of_files(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
        (digest, files)
    };
    let ((first, files), (second, others)) = (bundle("one"), bundle("two"));
    assert_eq!(store.bundle_epoch().await.unwrap(), 0);
    assert_eq!(store.active_bundle().await.unwrap(), None);
    bench.impossible(writes([Write::ActivateBundle(first)])).await;
    bench.write([Write::ActivateBundle(first), Write::Bundle(first, files.clone())]).await;
    bench.write([Write::Bundle(first, others.clone()), Write::Bundle(second, others.clone())]).await;
    assert_eq!(store.bundle(first).await.unwrap(), Some(files.clone()), "files stay those of the digest");
    assert_eq!(store.bundle(second).await.unwrap(), Some(others));
    assert_eq!(store.bundle(BundleDigest::of_files([])).await.unwrap(), None);
    let active = store.active_bundle().await.unwrap().unwrap();
    assert_eq!((active.epoch, active.digest, active.files), (1, first, files));
    for (epoch, digest) in [(2, second), (3, first)] {
        bench.write([Write::ActivateBundle(digest)]).await;
        assert_eq!(store.bundle_epoch().await.unwrap(), epoch);
        let active = store.active_bundle().await.unwrap().unwrap();
        assert_eq!((active.epoch, active.digest), (epoch, digest));
    }
}
