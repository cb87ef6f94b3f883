//! Each precondition, when it holds and when it does not.

use std::time::Duration;

use placet_core::action::Principal;
use placet_core::digest::BundleDigest;
use placet_core::entry::Kind;
use placet_core::id::AgentId;
use placet_core::retry::{KEY_LIFETIME, KeyRecord};
use placet_core::secret::Secret;
use placet_core::time::{Clock, Timestamp};

use super::Bench;
use super::fixtures::{next, stored, writes};
use crate::{Requires, Transition, Write};

pub(super) async fn epochs_are_compared(bench: Bench) {
    bench.holds(Requires::BundleEpoch(0)).await;
    bench.holds(Requires::DirectoryEpoch(0)).await;
    bench.write([Write::Person(bench.person("ada"))]).await;
    bench.fails(Requires::DirectoryEpoch(0)).await;
    let epoch = bench.store().directory().await.unwrap().epoch;
    bench.holds(Requires::DirectoryEpoch(epoch)).await;
    let digest = BundleDigest::of_files([]);
    bench.write([Write::Bundle(digest, Default::default())]).await;
    bench.holds(Requires::BundleEpoch(0)).await;
    bench.write([Write::ActivateBundle(digest)]).await;
    bench.fails(Requires::BundleEpoch(0)).await;
    bench.holds(Requires::BundleEpoch(1)).await;
}

pub(super) async fn deadlines_are_compared_with_the_stores_time(bench: Bench) {
    let now = bench.now();
    let after = now.plus(Duration::from_millis(1));
    bench.holds(Requires::Before(after)).await;
    bench.fails(Requires::Before(now)).await;
    bench.holds(Requires::NotBefore(now)).await;
    bench.fails(Requires::NotBefore(after)).await;
    // The time of the last entry counts, even if the machine's clock goes back.
    bench.clock.set(after);
    bench.commit(Transition { entries: vec![bench.entry(Kind::CapReached)], ..Transition::default() }).await;
    bench.clock.set(now);
    bench.fails(Requires::Before(after)).await;
    bench.holds(Requires::NotBefore(after)).await;
}

pub(super) async fn a_clock_that_went_back_grants_nothing(bench: Bench) {
    bench.holds(Requires::SteadyClock).await;
    bench.commit(Transition { entries: vec![bench.entry(Kind::CapReached)], ..Transition::default() }).await;
    let last = bench.clock.now();
    for (behind, steady) in [(0, true), (2000, true), (2001, false), (3_600_000, false)] {
        bench.clock.set(Timestamp::from_millis(last.as_millis() - behind));
        if steady {
            bench.holds(Requires::SteadyClock).await;
        } else {
            bench.fails(Requires::SteadyClock).await;
        }
    }
}

pub(super) async fn a_twin_that_appeared_is_seen(bench: Bench) {
    let principal = bench.principal();
    let request = bench.pending("a");
    let digest = request.canonical.digest();
    bench.holds(Requires::Twin(principal, digest, None)).await;
    bench.fails(Requires::Twin(principal, digest, Some(request.id))).await;
    bench.write([stored(&request)]).await;
    bench.fails(Requires::Twin(principal, digest, None)).await;
    bench.holds(Requires::Twin(principal, digest, Some(request.id))).await;
    bench.holds(Requires::Twin(Principal::Agent(AgentId::from_bytes([1; 16])), digest, None)).await;
    bench.clock.advance(Duration::from_secs(1));
    let permitted = bench.opened(principal, "a", bench.permits());
    bench.write([stored(&permitted)]).await;
    bench.holds(Requires::Twin(principal, digest, Some(request.id))).await;
    let newer = bench.store_request(bench.pending("a")).await;
    bench.fails(Requires::Twin(principal, digest, Some(request.id))).await;
    bench.holds(Requires::Twin(principal, digest, Some(newer.id))).await;
}

pub(super) async fn a_key_belongs_to_a_request_for_a_day(bench: Bench) {
    let principal = bench.principal();
    let other = Principal::Agent(AgentId::from_bytes([1; 16]));
    let key = || "order 66".to_owned();
    let (first, second) = (bench.pending("a"), bench.pending("b"));
    let record = |request: &placet_core::request::Request| KeyRecord {
        digest: request.canonical.digest(),
        request: request.id,
        at: request.created_at,
    };
    bench.holds(Requires::Key(principal, key(), None)).await;
    bench.impossible(writes([Write::Key(principal, key(), record(&first))])).await;
    bench.write([Write::Key(principal, key(), record(&first)), stored(&first)]).await;
    assert_eq!(bench.store().key(principal, key()).await.unwrap(), Some(record(&first)));
    assert_eq!(bench.store().key(other, key()).await.unwrap(), None);
    bench.fails(Requires::Key(principal, key(), None)).await;
    bench.fails(Requires::Key(principal, key(), Some(second.id))).await;
    bench.holds(Requires::Key(principal, key(), Some(first.id))).await;
    bench.holds(Requires::Key(other, key(), None)).await;
    bench.holds(Requires::Key(principal, "order 67".to_owned(), None)).await;

    bench.write([stored(&second), Write::Key(principal, key(), record(&second))]).await;
    bench.holds(Requires::Key(principal, key(), Some(second.id))).await;

    bench.clock.advance(KEY_LIFETIME - Duration::from_millis(1));
    bench.holds(Requires::Key(principal, key(), Some(second.id))).await;
    bench.clock.advance(Duration::from_millis(1));
    bench.fails(Requires::Key(principal, key(), Some(second.id))).await;
    bench.holds(Requires::Key(principal, key(), None)).await;
    assert_eq!(bench.store().key(principal, key()).await.unwrap(), None);
}

pub(super) async fn a_link_is_used_once(bench: Bench) {
    let person = bench.person("ada");
    let mut invitation = bench.invitation(person.id, "link");
    bench.fails(Requires::InvitationUnused(invitation.id)).await;
    bench.write([Write::Invitation(invitation.clone()), Write::Person(person)]).await;
    bench.holds(Requires::InvitationUnused(invitation.id)).await;
    invitation.consumed_at = Some(bench.now());
    bench.write([Write::Invitation(invitation.clone())]).await;
    bench.fails(Requires::InvitationUnused(invitation.id)).await;
    bench.stale(writes([Write::Invitation(invitation.clone())]), "invitation").await;
    invitation.consumed_at = None;
    bench.impossible(writes([Write::Invitation(invitation.clone())])).await;
    let found = bench.store().invitation(invitation.secret_hash).await.unwrap().unwrap();
    assert!(found.consumed_at.is_some());
}

pub(super) async fn a_code_in_use_is_seen(bench: Bench) {
    let request = bench.pending("a");
    let code = request.short_code.clone();
    bench.holds(Requires::ShortCodeFree(code.clone())).await;
    bench.write([stored(&request)]).await;
    bench.fails(Requires::ShortCodeFree(code.clone())).await;
    bench.write([stored(&next(&request).cancel(bench.now()).unwrap())]).await;
    bench.holds(Requires::ShortCodeFree(code)).await;
}

pub(super) async fn a_secrets_version_is_compared(bench: Bench) {
    let name = || "shop-db".to_owned();
    bench.holds(Requires::SecretVersion(name(), 0)).await;
    bench.fails(Requires::SecretVersion(name(), 1)).await;
    bench.write([Write::Secret(name(), 1, Secret::new("hunter2"))]).await;
    bench.fails(Requires::SecretVersion(name(), 0)).await;
    bench.holds(Requires::SecretVersion(name(), 1)).await;
    bench.write([Write::RemoveSecret(name())]).await;
    bench.holds(Requires::SecretVersion(name(), 1)).await;
}

pub(super) async fn pending_requests_are_counted(bench: Bench) {
    let below = |limit| Requires::PendingBelow(bench.principal(), limit);
    bench.fails(below(0)).await;
    bench.holds(below(1)).await;
    let first = bench.store_request(bench.pending("a")).await;
    bench.write([stored(&bench.opened(bench.principal(), "b", bench.permits()))]).await;
    bench.fails(below(1)).await;
    bench.holds(below(2)).await;
    bench.write([stored(&next(&first).cancel(bench.now()).unwrap())]).await;
    bench.holds(below(1)).await;
}

pub(super) async fn one_failing_condition_is_enough(bench: Bench) {
    let request = bench.pending("a");
    let transition = Transition {
        requires: vec![
            Requires::BundleEpoch(0),
            Requires::SteadyClock,
            Requires::DirectoryEpoch(1),
            Requires::NotBefore(Timestamp::EPOCH),
        ],
        writes: vec![stored(&request)],
        entries: vec![bench.entry(Kind::RequestReceived)],
    };
    bench.stale(transition, "directory_epoch").await;
    assert_eq!(bench.store().request(request.id).await.unwrap(), None);
}
