//! Requests, votes, codes, cards.

use std::collections::BTreeSet;
use std::time::Duration;

use placet_core::action::{PepKind, Principal};
use placet_core::decision::{ForbidReason, RoleName};
use placet_core::digest::{Sha256Digest, ShortCode};
use placet_core::entry::Kind;
use placet_core::id::{AgentId, ExecutionId, PersonId, RequestId};
use placet_core::request::{OutcomeKind, Request, State, Status};
use placet_core::retry::Twin;
use placet_core::review::{Evidence, Verdict};
use placet_core::text::Untrusted;
use placet_core::time::{Clock, Timestamp};

use super::Bench;
use super::fixtures::{LIFETIMES, REVIEW_FOR, next, stored, writes};
use crate::{Change, DELIVERY_LIFETIME, Due, Load, PAGE_MAX, RequestFilter, Requires, Transition, Write};

async fn read(bench: &Bench, id: RequestId) -> Request {
    bench.store().request(id).await.unwrap().unwrap().request
}

pub(super) async fn a_request_reads_back_as_it_was(bench: Bench) {
    let request = bench.pending("a");
    assert_eq!(bench.store().request(request.id).await.unwrap(), None);
    let entry = bench.entry_about(Kind::RequestReceived, &request);
    let transition =
        Transition { writes: vec![stored(&request)], entries: vec![entry], ..Transition::default() };
    let receipt = bench.commit(transition).await;
    let found = bench.store().request(request.id).await.unwrap().unwrap();
    assert_eq!(found.request, request);
    assert_eq!(found.entries, [receipt.first_index]);
    assert_eq!((receipt.first_index, receipt.entries, receipt.time), (0, 1, bench.clock.now()));
}

/// Walks a request through a life that touches every state and every kind of evidence.
pub(super) async fn every_state_reads_back_as_it_was(bench: Bench) {
    let now = bench.now();
    let late = now.plus(Duration::from_secs(10_000));
    let person = PersonId::from_bytes([9; 16]);
    let mut all = Vec::new();

    let pending = bench.pending("walk");
    let mut voted = next(&pending);
    voted.votes.push(bench.vote(person, 1, Verdict::Approve));
    let mut vote = bench.vote(PersonId::from_bytes([10; 16]), 1, Verdict::Deny);
    vote.evidence = Evidence::Token(bench.id());
    vote.reason = None;
    voted.votes.push(vote);
    let granted = next(&voted).redecide(bench.permits(), None, LIFETIMES, now).unwrap();
    let claim = Sha256Digest::of(b"claim");
    let executing =
        next(&granted).claim(bench.permits(), bench.id(), claim, PepKind::Command, LIFETIMES, now).unwrap();
    let execution = executing.execution().unwrap().id;
    let lost = next(&executing).lose(late).unwrap();
    let resolved = next(&lost).resolve(person, Untrusted::new("it ran"), late).unwrap();
    all.push(vec![pending, voted, granted, executing, lost, resolved]);

    for (topic, kind) in [("ok", OutcomeKind::Succeeded), ("no", OutcomeKind::Failed)] {
        let mut granted = bench.opened(bench.principal(), topic, bench.permits());
        granted.justification = None;
        granted.taken_in_by = (topic == "no").then(|| bench.id());
        let executor = granted.executor();
        let executing =
            next(&granted).claim(bench.permits(), bench.id(), claim, executor, LIFETIMES, now).unwrap();
        let id = executing.execution().unwrap().id;
        assert_ne!(id, execution);
        let done = next(&executing).complete(id, kind, bench.outcome(), now).unwrap();
        all.push(vec![granted, executing, done]);
    }

    let granted = || bench.opened(bench.principal(), "granted", bench.permits());
    let first = granted();
    all.push(vec![first.clone(), next(&first).lapse(late).unwrap()]);
    let first = granted();
    all.push(vec![first.clone(), next(&first).cancel(now).unwrap()]);
    let first = bench.pending("expires");
    all.push(vec![first.clone(), next(&first).expire(late).unwrap()]);
    let first = bench.pending("denied");
    let mut denied = next(&first);
    denied.votes.push(bench.vote(person, 1, Verdict::Deny));
    denied.state = State::Denied(placet_core::request::Denial {
        by: person,
        reason: Some(Untrusted::new("no")),
        cooldown_until: late,
    });
    all.push(vec![first, denied]);

    for reason in [
        ForbidReason::NotPermitted,
        ForbidReason::Policy,
        ForbidReason::CannotBeApproved,
        ForbidReason::NobodyCanApprove(RoleName::parse("data-owners").unwrap()),
        ForbidReason::UnknownAction,
        ForbidReason::UnknownEntity("Dataset::\"x\"".to_owned()),
        ForbidReason::BadFacts("rows".to_owned()),
        ForbidReason::ChainBroken,
        ForbidReason::PolicyError(vec!["overflow".to_owned()]),
        ForbidReason::EvidenceGone,
        ForbidReason::Vetoed,
    ] {
        let first = bench.pending("refused");
        let refused = next(&first).refuse(bench.forbids(), reason, now).unwrap();
        all.push(vec![first, refused]);
    }

    let mut seen = BTreeSet::new();
    for life in all {
        for request in life {
            seen.insert(request.status());
            bench.write([stored(&request)]).await;
            assert_eq!(read(&bench, request.id).await, request);
        }
    }
    assert_eq!(seen.len(), Status::ALL.len());
}

pub(super) async fn a_version_is_written_once(bench: Bench) {
    let request = bench.store_request(bench.pending("a")).await;
    let stale = || writes([stored(&request)]);
    bench.stale(stale(), "request_version").await;
    let second = next(&request).cancel(bench.now()).unwrap();
    bench.write([stored(&second)]).await;
    bench.stale(writes([stored(&second)]), "request_version").await;
    let skipped = next(&next(&second));
    bench.stale(writes([stored(&skipped)]), "request_version").await;
    let unborn = next(&bench.pending("b"));
    bench.stale(writes([stored(&unborn)]), "request_version").await;
    assert_eq!(read(&bench, request.id).await, second);
}

pub(super) async fn of_sixty_four_writers_one_wins(bench: Bench) {
    let request = bench.store_request(bench.pending("a")).await;
    let size = bench.size().await;
    let cancelled = next(&request).cancel(bench.now()).unwrap();
    let commits = (0..64).map(|_| {
        let entry = bench.entry_about(Kind::RequestCancelled, &cancelled);
        let transition =
            Transition { writes: vec![stored(&cancelled)], entries: vec![entry], ..Transition::default() };
        bench.store().commit(transition)
    });
    let results = together(commits.collect()).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(bench.size().await, size + 1);
    assert_eq!(read(&bench, request.id).await, cancelled);
}

/// Polls all of them at once, so that they gather in one batch.
async fn together<T>(mut pending: Vec<crate::Answer<'_, T>>) -> Vec<T> {
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|answer| match answer.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                done.push(result);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

pub(super) async fn a_state_leads_only_where_life_does(bench: Bench) {
    let now = bench.now();
    let ended = bench.store_request(bench.opened(bench.principal(), "a", bench.forbids())).await;
    let mut revived = next(&ended);
    revived.state = bench.opened(bench.principal(), "a", bench.permits()).state;
    bench.impossible(writes([stored(&revived)])).await;

    let granted = bench.store_request(bench.opened(bench.principal(), "b", bench.permits())).await;
    let executing = next(&granted)
        .claim(bench.permits(), bench.id(), Sha256Digest::of(b"c"), PepKind::Command, LIFETIMES, now)
        .unwrap();
    bench.write([stored(&executing)]).await;
    let mut again = next(&executing);
    again.state = granted.state.clone();
    bench.impossible(writes([stored(&again)])).await;

    let mut unasked = bench.pending("c");
    unasked.reviewed = false;
    bench.impossible(writes([stored(&unasked)])).await;
    assert_eq!(read(&bench, executing.id).await, executing);
}

pub(super) async fn a_request_stays_what_was_asked(bench: Bench) {
    let request = bench.store_request(bench.pending("a")).await;
    let mut other = next(&request);
    other.action = bench.action(bench.principal(), "another topic");
    other.canonical = other.action.canonical().unwrap();
    bench.impossible(writes([stored(&other)])).await;
    let mut other = next(&request);
    other.created_at = Timestamp::EPOCH;
    bench.impossible(writes([stored(&other)])).await;
    assert_eq!(read(&bench, request.id).await, request);
}

pub(super) async fn a_vote_counts_once_a_round(bench: Bench) {
    let person = PersonId::from_bytes([9; 16]);
    let request = bench.store_request(bench.pending("a")).await;
    let mut voted = next(&request);
    voted.votes.push(bench.vote(person, 1, Verdict::Approve));
    bench.write([stored(&voted)]).await;
    let mut twice = next(&voted);
    twice.votes.push(bench.vote(person, 1, Verdict::Approve));
    bench.impossible(writes([stored(&twice)])).await;
    let mut renewed = next(&voted);
    renewed.votes.push(bench.vote(person, 2, Verdict::Approve));
    bench.write([stored(&renewed)]).await;
    assert_eq!(read(&bench, request.id).await.votes, renewed.votes);
}

pub(super) async fn votes_stay(bench: Bench) {
    let mut request = bench.pending("a");
    request.votes.push(bench.vote(PersonId::from_bytes([9; 16]), 1, Verdict::Approve));
    bench.write([stored(&request)]).await;
    let mut without = next(&request);
    without.votes.clear();
    bench.impossible(writes([stored(&without)])).await;
    assert_eq!(read(&bench, request.id).await, request);
}

fn coded(bench: &Bench, topic: &str, code: &ShortCode) -> Request {
    Request { short_code: code.clone(), ..bench.pending(topic) }
}

pub(super) async fn a_code_is_unique_among_open_requests(bench: Bench) {
    let first = bench.store_request(bench.pending("a")).await;
    let code = first.short_code.clone();
    bench.stale(writes([stored(&coded(&bench, "b", &code))]), "short_code").await;
    bench.write([stored(&next(&first).cancel(bench.now()).unwrap())]).await;
    bench.write([stored(&coded(&bench, "b", &code))]).await;
}

pub(super) async fn a_code_finds_the_open_request_else_the_newest(bench: Bench) {
    let found = async |code: &ShortCode| {
        let found = bench.store().request_by_code(code.clone()).await.unwrap();
        found.map(|stored| stored.request.id)
    };
    let first = bench.store_request(bench.pending("a")).await;
    let code = first.short_code.clone();
    assert_eq!(found(&code).await, Some(first.id));
    bench.write([stored(&next(&first).cancel(bench.now()).unwrap())]).await;
    bench.clock.advance(Duration::from_secs(1));
    let second = bench.store_request(coded(&bench, "b", &code)).await;
    assert_eq!(found(&code).await, Some(second.id));
    bench.write([stored(&next(&second).cancel(bench.now()).unwrap())]).await;
    assert_eq!(found(&code).await, Some(second.id), "the newest of the closed ones");
    bench.clock.advance(Duration::from_secs(1));
    let refused = bench.opened(bench.principal(), "c", bench.forbids());
    bench.write([stored(&Request { short_code: code.clone(), ..refused })]).await;
    let older = RequestId::from_bytes([0; 16]);
    let open = Request { id: older, ..coded(&bench, "d", &code) };
    bench.write([stored(&open)]).await;
    assert_eq!(found(&code).await, Some(older), "an open one before newer closed ones");
    assert_eq!(found(&bench.pending("z").short_code).await, None);
}

pub(super) async fn the_newest_request_that_can_be_attached_to_is_the_twin(bench: Bench) {
    let principal = bench.principal();
    let digest = bench.pending("a").canonical.digest();
    let twin = async |principal| bench.store().twin(principal, digest).await.unwrap();
    assert_eq!(twin(principal).await, None);

    bench.write([stored(&bench.opened(principal, "a", bench.permits()))]).await;
    assert_eq!(twin(principal).await, None, "permitted without a review: not to be attached to");
    bench.clock.advance(Duration::from_millis(1));
    let first = bench.store_request(bench.pending("a")).await;
    let expected = Twin {
        request: first.id,
        status: Status::Pending,
        reviewed: true,
        updated_at: first.updated_at,
        resolved: false,
    };
    assert_eq!(twin(principal).await, Some(expected));
    assert_eq!(twin(Principal::Agent(AgentId::from_bytes([1; 16]))).await, None, "another principal");
    let other = bench.pending("b").canonical.digest();
    assert_eq!(bench.store().twin(principal, other).await.unwrap(), None, "another digest");

    bench.clock.advance(Duration::from_millis(1));
    let now = bench.now();
    let granted = bench.store_request(bench.opened(principal, "a", bench.permits())).await;
    let executing = next(&granted)
        .claim(bench.permits(), bench.id(), Sha256Digest::of(b"c"), PepKind::Command, LIFETIMES, now)
        .unwrap();
    bench.write([stored(&executing)]).await;
    assert_eq!(twin(principal).await, Some(expected));
    let unknown = next(&executing).abandon("gone", now).unwrap();
    bench.write([stored(&unknown)]).await;
    let found = twin(principal).await.unwrap();
    assert_eq!((found.request, found.status, found.resolved), (granted.id, Status::Unknown, false));
    let resolved = next(&unknown).resolve(PersonId::from_bytes([9; 16]), Untrusted::new("ran"), now).unwrap();
    bench.write([stored(&resolved)]).await;
    assert!(twin(principal).await.unwrap().resolved);
    bench.clock.advance(Duration::from_millis(1));
    let newest = bench.store_request(bench.pending("a")).await;
    assert_eq!(twin(principal).await.unwrap().request, newest.id);
    // In one millisecond ids come in any order, and the last one is the newest all the same.
    for _ in 0..8 {
        let last = bench.store_request(bench.pending("a")).await;
        assert_eq!(twin(principal).await.unwrap().request, last.id);
    }
}

pub(super) async fn deadlines_come_soonest_first(bench: Bench) {
    let store = bench.store();
    assert_eq!(store.next_deadline().await.unwrap(), None);
    let first = bench.store_request(bench.pending("a")).await;
    bench.clock.advance(Duration::from_secs(10));
    let second = bench.store_request(bench.opened(bench.principal(), "b", bench.permits())).await;
    bench.write([stored(&bench.opened(bench.principal(), "c", bench.forbids()))]).await;
    let (pending_until, granted_until) = (first.deadline().unwrap(), second.deadline().unwrap());
    assert!(granted_until < pending_until);
    assert_eq!(store.next_deadline().await.unwrap(), Some(granted_until));
    let before = Timestamp::from_millis(granted_until.as_millis() - 1);
    let due = async |at, after, limit| {
        let due = bench.store().due(at, after, limit).await.unwrap();
        due.iter().map(|due| due.request).collect::<Vec<_>>()
    };
    for (at, expected) in
        [(before, vec![]), (granted_until, vec![second.id]), (pending_until, vec![second.id, first.id])]
    {
        assert_eq!(due(at, None, 10).await, expected, "{at}");
    }
    assert_eq!(due(pending_until, None, 1).await, [second.id]);
    let after = Some(Due { at: granted_until, request: second.id });
    assert_eq!(due(pending_until, after, 10).await, [first.id], "a page goes on after its last one");
    let after = Some(Due { at: pending_until, request: first.id });
    assert_eq!(due(pending_until, after, 10).await, []);
    bench.write([stored(&next(&second).lapse(granted_until).unwrap())]).await;
    assert_eq!(due(pending_until, None, 10).await, [first.id]);
    assert_eq!(store.next_deadline().await.unwrap(), Some(pending_until));
}

pub(super) async fn pages_follow_each_other(bench: Bench) {
    let other = Principal::Person(PersonId::from_bytes([3; 16]));
    let mut stored_requests = Vec::new();
    for number in 0..30 {
        bench.clock.advance(Duration::from_millis(1));
        let principal = if number % 3 == 0 { other } else { bench.principal() };
        let decision = if number % 2 == 0 { bench.forbids() } else { bench.permits() };
        let request = bench.opened(principal, &format!("{number}"), decision);
        stored_requests.insert(0, bench.store_request(request).await);
    }
    let filters = [
        (None, vec![]),
        (Some(other), vec![]),
        (None, vec![Status::Granted]),
        (None, vec![Status::Granted, Status::Refused, Status::Pending]),
        (Some(bench.principal()), vec![Status::Refused]),
        (Some(bench.principal()), vec![Status::Pending]),
    ];
    for (principal, statuses) in filters {
        let expected: Vec<&Request> = stored_requests
            .iter()
            .filter(|request| principal.is_none_or(|principal| request.requester() == principal))
            .filter(|request| statuses.is_empty() || statuses.contains(&request.status()))
            .collect();
        let mut found = Vec::new();
        loop {
            let filter = RequestFilter {
                principal,
                statuses: statuses.clone(),
                reviewed_only: false,
                before: found.last().map(|request: &Request| request.id),
                limit: 7,
            };
            let page = bench.store().requests(filter).await.unwrap();
            let last = page.len() < 7;
            found.extend(page.into_iter().map(|stored| stored.request));
            if last {
                break;
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{principal:?} {statuses:?}");
    }
    let asked = bench.store_request(bench.pending("asked")).await;
    let cancelled = next(&bench.store_request(bench.opened(other, "other", bench.asks())).await);
    let cancelled = cancelled.cancel(bench.now()).unwrap();
    bench.write([stored(&cancelled)]).await;
    for (principal, statuses, expected) in [
        (None, vec![], vec![cancelled.id, asked.id]),
        (None, vec![Status::Pending, Status::Granted], vec![asked.id]),
        (Some(other), vec![], vec![cancelled.id]),
        (Some(other), vec![Status::Pending], vec![]),
    ] {
        let filter = RequestFilter { principal, statuses, reviewed_only: true, limit: 10, before: None };
        let page = bench.store().requests(filter.clone()).await.unwrap();
        let found: BTreeSet<RequestId> = page.iter().map(|stored| stored.request.id).collect();
        assert_eq!(found, expected.into_iter().collect(), "{filter:?}");
    }
    let all = RequestFilter { limit: usize::MAX, ..RequestFilter::default() };
    assert!(bench.store().requests(all).await.unwrap().len() <= PAGE_MAX);
    let none = RequestFilter::default();
    assert_eq!(bench.store().requests(none).await.unwrap().len(), 0, "a limit of zero");
}

pub(super) async fn counts_and_loads(bench: Bench) {
    let store = bench.store();
    assert!(store.counts().await.unwrap().values().all(|count| *count == 0));
    let since = bench.now();
    bench.write([stored(&bench.opened(bench.principal(), "a", bench.permits()))]).await;
    let first = bench.store_request(bench.pending("b")).await;
    bench.clock.advance(Duration::from_secs(60));
    let later = bench.now();
    bench.write([stored(&bench.pending("c"))]).await;
    let load = async |since| bench.store().load_of(bench.principal(), since).await.unwrap();
    assert_eq!(load(since).await, Load { reviews: 2, pending: 2 });
    assert_eq!(load(later).await, Load { reviews: 1, pending: 2 });
    bench.write([stored(&next(&first).cancel(later).unwrap())]).await;
    assert_eq!(load(since).await, Load { reviews: 2, pending: 1 });
    let other = Principal::Agent(AgentId::from_bytes([1; 16]));
    assert_eq!(store.load_of(other, since).await.unwrap(), Load::default());
    let counts = store.counts().await.unwrap();
    assert_eq!(counts[&Status::Pending], 1);
    assert_eq!(counts[&Status::Granted], 1);
    assert_eq!(counts[&Status::Cancelled], 1);
    assert_eq!(counts.values().sum::<u64>(), 3);
}

pub(super) async fn a_card_stays_as_it_was_shown(bench: Bench) {
    let request = bench.pending("a");
    let hash = Sha256Digest::of(b"<card>");
    let card = |bytes: &[u8]| Write::Card { hash, request: request.id, bytes: bytes.to_vec() };
    bench.impossible(writes([card(b"<card>")])).await;
    assert_eq!(bench.store().card(hash).await.unwrap(), None);
    // Listed before what it refers to: the order does not matter.
    bench.write([card(b"<card>"), stored(&request)]).await;
    bench.write([card(b"another")]).await;
    assert_eq!(bench.store().card(hash).await.unwrap().as_deref(), Some(b"<card>".as_slice()));
}

pub(super) async fn a_recording_is_written_once_and_with_its_request(bench: Bench) {
    let request = bench.pending("a");
    let execution = ExecutionId::from_bytes([5; 16]);
    let recording = |bytes: &[u8]| Write::Recording { execution, request: request.id, bytes: bytes.to_vec() };
    bench.impossible(writes([recording(b"cast")])).await;
    assert_eq!(bench.store().recording(execution).await.unwrap(), None);
    bench.write([recording(b"cast"), stored(&request)]).await;
    bench.impossible(writes([recording(b"other")])).await;
    assert_eq!(bench.store().recording(execution).await.unwrap().as_deref(), Some(b"cast".as_slice()));
    assert_eq!(bench.store().recording(ExecutionId::from_bytes([6; 16])).await.unwrap(), None);
}

pub(super) async fn what_came_out_is_kept_for_a_while(bench: Bench) {
    let (first, second) = (bench.pending("a"), bench.pending("b"));
    bench.impossible(writes([Write::Delivery(first.id, b"out".to_vec())])).await;
    bench.write([Write::Delivery(first.id, b"<first>".to_vec()), stored(&first)]).await;
    let kept = async |id| bench.store().delivery(id).await.unwrap();
    assert_eq!(kept(first.id).await.as_deref(), Some(b"<first>".as_slice()));
    assert_eq!(kept(second.id).await, None);
    // One request comes to one end.
    bench.impossible(writes([Write::Delivery(first.id, b"other".to_vec())])).await;
    bench.clock.advance(DELIVERY_LIFETIME);
    assert_eq!(kept(first.id).await, None);
    bench.write([stored(&second), Write::Delivery(second.id, b"<second>".to_vec())]).await;
    assert_eq!(kept(second.id).await.as_deref(), Some(b"<second>".as_slice()));
}

pub(super) async fn changes_are_hinted_at(bench: Bench) {
    let mut changes = bench.store().changes();
    let request = bench.pending("a");
    let entry = bench.entry_about(Kind::RequestReceived, &request);
    let transition =
        Transition { writes: vec![stored(&request)], entries: vec![entry], ..Transition::default() };
    bench.commit(transition).await;
    let expected = Change { request: Some(request.id), status: Some(Status::Pending), size: 1 };
    assert_eq!(changes.recv().await.unwrap(), expected);
    let entries = vec![bench.entry(Kind::CapReached)];
    bench.commit(Transition { entries, ..Transition::default() }).await;
    assert_eq!(changes.recv().await.unwrap(), Change { request: None, status: None, size: 2 });
    bench.stale(writes([stored(&request)]), "request_version").await;
    assert!(changes.try_recv().is_err(), "nothing changed");
}

/// Transitions that are written together fail one by one.
pub(super) async fn a_failing_transition_leaves_the_others(bench: Bench) {
    let mut commits = Vec::new();
    let mut expected = Vec::new();
    let before = bench.now().plus(REVIEW_FOR);
    for number in 0..50 {
        let request = bench.pending(&format!("{number}"));
        let fails = number % 3 == 0;
        let requires = if fails { Requires::NotBefore(before) } else { Requires::Before(before) };
        let entries = vec![bench.entry_about(Kind::RequestReceived, &request)];
        let transition = Transition { requires: vec![requires], writes: vec![stored(&request)], entries };
        commits.push(bench.store().commit(transition));
        expected.push((request.id, !fails));
    }
    let written = expected.iter().filter(|(_, written)| *written).count();
    let results = together(commits).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), written);
    assert_eq!(bench.size().await, written as u64);
    for (id, written) in expected {
        assert_eq!(bench.store().request(id).await.unwrap().is_some(), written);
    }
}
