//! The ledger: entries, their order, their times, their tree.

use std::time::Duration;

use placet_core::action::ActionName;
use placet_core::c14n::Value;
use placet_core::entry::{Draft, ENTRY_BYTES_MAX, Kind, Place, Sealed};
use placet_core::time::{Clock, Timestamp};
use placet_ledger::{Hash, leaf_hash, node_hash};

use super::Bench;
use super::fixtures::{next, stored};
use crate::{EntryFilter, PAGE_MAX, Receipt, StoredEntry, Transition, Write};

fn entries(entries: impl IntoIterator<Item = Sealed>) -> Transition {
    Transition { entries: entries.into_iter().collect(), ..Transition::default() }
}

async fn read(bench: &Bench, filter: EntryFilter) -> Vec<StoredEntry> {
    bench.store().entries(filter).await.unwrap()
}

fn all() -> EntryFilter {
    EntryFilter { limit: PAGE_MAX, ..EntryFilter::default() }
}

fn member(entry: &StoredEntry, name: &str) -> Option<Value> {
    let value = Value::parse(&entry.bytes).unwrap();
    value.as_object().unwrap().get(name).cloned()
}

pub(super) async fn entries_chain_by_request(bench: Bench) {
    let (first, second) = (bench.pending("a"), bench.pending("b"));
    let about = |request| bench.entry_about(Kind::RequestReceived, request);
    let transition = Transition {
        writes: vec![stored(&first), stored(&second)],
        entries: vec![about(&first), about(&second), bench.entry(Kind::CapReached), about(&first)],
        ..Transition::default()
    };
    let receipt = bench.commit(transition).await;
    assert_eq!((receipt.first_index, receipt.entries), (0, 4));
    let receipt = bench.commit(entries([about(&second), about(&first)])).await;
    assert_eq!((receipt.first_index, receipt.entries), (4, 2));
    let mut read = read(&bench, all()).await;
    read.reverse();
    let chain: Vec<(u64, Option<Value>)> =
        read.iter().map(|entry| (entry.index, member(entry, "ref"))).collect();
    let to = |index| Some(Value::integer(index));
    assert_eq!(chain, [(0, None), (1, None), (2, None), (3, to(0)), (4, to(1)), (5, to(3))]);
    assert_eq!(bench.store().request(first.id).await.unwrap().unwrap().entries, [0, 3, 5]);
    assert_eq!(bench.store().request(second.id).await.unwrap().unwrap().entries, [1, 4]);
    let origin = bench.store().log().await.unwrap().name.origin;
    for (entry, request) in read.iter().zip([Some(first.id), Some(second.id), None]) {
        assert_eq!(member(entry, "log"), Some(Value::string(origin.clone())));
        assert_eq!(member(entry, "kind"), Some(Value::string(entry.kind.as_str())));
        assert_eq!(member(entry, "time"), Some(Value::string(entry.time.to_string())));
        assert_eq!(entry.request, request);
        assert_eq!(member(entry, "request"), request.map(|id| Value::string(id.to_string())));
    }
    let nothing: Receipt = bench.commit(Transition::default()).await;
    assert_eq!((nothing.first_index, nothing.entries), (6, 0));
}

pub(super) async fn time_never_falls(mut bench: Bench) {
    let start = bench.clock.now();
    let later = start.plus(Duration::from_secs(60));
    let earlier = Timestamp::from_millis(start.as_millis() - 60_000);
    let mut times = Vec::new();
    for time in [start, later, earlier, start] {
        bench.clock.set(time);
        let receipt = bench.commit(entries([bench.entry(Kind::CapReached)])).await;
        times.push(receipt.time);
        assert_eq!(bench.now(), receipt.time.max(time), "the store's time is never before the last entry");
    }
    assert_eq!(times, [start, later, later, later]);
    assert_eq!(bench.store().log().await.unwrap().last_time, later);
    bench.reopen().await;
    assert_eq!(bench.now(), later, "nor after reopening");
    bench.clock.set(later.plus(Duration::from_secs(1)));
    assert_eq!(bench.now(), later.plus(Duration::from_secs(1)));
    let mut read = read(&bench, all()).await;
    read.reverse();
    assert_eq!(read.iter().map(|entry| entry.time).collect::<Vec<_>>(), times);
}

/// RFC 6962 §2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
        }
    }
}

pub(super) async fn the_head_is_that_of_the_entries(bench: Bench) {
    let store = bench.store();
    assert_eq!(store.log().await.unwrap().frontier.root(), Hash::EMPTY_ROOT);
    let mut size = 0;
    for count in [1, 2, 3, 5, 7, 13] {
        let request = bench.pending(&format!("{count}"));
        let drafts = (0..count).map(|_| bench.entry_about(Kind::RequestReceived, &request));
        bench.commit(entries(drafts.collect::<Vec<_>>())).await;
        size += count;
        let head = store.log().await.unwrap();
        let bytes = store.entry_bytes(0, 1000).await.unwrap();
        let leaves: Vec<Hash> = bytes.iter().map(|bytes| leaf_hash(bytes)).collect();
        assert_eq!((head.frontier.size(), bytes.len() as u64), (size, size));
        assert_eq!(head.frontier.root(), naive_root(&leaves));
    }
    let whole = store.entry_bytes(0, 1000).await.unwrap();
    assert_eq!(store.entry_bytes(4, 3).await.unwrap(), whole[4..7]);
    assert_eq!(store.entry_bytes(30, 10).await.unwrap(), whole[30..]);
    assert!(store.entry_bytes(31, 10).await.unwrap().is_empty());
    assert!(store.entry_bytes(u64::MAX, 10).await.unwrap().is_empty());
}

pub(super) async fn disclosures_match_what_was_committed_to(bench: Bench) {
    let request = bench.pending("a");
    let plain = Draft::new(Kind::LogOpened).seal(bench.id(), bench.entropy.as_ref());
    let sealed = [bench.entry_about(Kind::RequestReceived, &request), bench.entry(Kind::CapReached), plain];
    let transition =
        Transition { writes: vec![stored(&request)], entries: sealed.to_vec(), ..Transition::default() };
    bench.commit(transition).await;
    let mut read = read(&bench, all()).await;
    read.reverse();
    for (entry, sealed) in read.iter().zip(sealed) {
        assert_eq!(entry.disclosures, sealed.disclosures);
        let mut commitments: Vec<String> =
            entry.disclosures.iter().map(|disclosure| disclosure.commitment()).collect();
        commitments.sort();
        let commitments = commitments.into_iter().map(Value::String).collect();
        let expected = if entry.disclosures.is_empty() { None } else { Some(Value::Array(commitments)) };
        assert_eq!(member(entry, "_sd"), expected);
    }
}

pub(super) async fn an_entry_is_written_once(bench: Bench) {
    let entry = bench.entry(Kind::CapReached);
    bench.commit(entries([entry.clone()])).await;
    // The same transition again, after an answer that was lost.
    bench.impossible(entries([entry.clone()])).await;
    let fresh = bench.entry(Kind::CapReached);
    bench.impossible(entries([fresh.clone(), fresh])).await;
    assert_eq!(bench.size().await, 1);
}

/// One of exactly the largest size is written, one that is a byte larger is not.
pub(super) async fn an_entry_has_a_size(bench: Bench) {
    let origin = bench.store().log().await.unwrap().name.origin;
    let place = Place { log: &origin, time: bench.now(), previous: None };
    let draft = |commitments: usize, name: usize| {
        let mut draft = Draft::new(Kind::CapReached);
        draft.action = ActionName::parse(&"a".repeat(name)).ok();
        (0..commitments).fold(draft, |draft, _| draft.commit("n", Value::Null))
    };
    let sealed = |draft: Draft| draft.seal(bench.id(), bench.entropy.as_ref());
    // Each commitment takes 46 bytes; the action's name fills what is left.
    let bare = sealed(draft(1400, 1)).entry(place).unwrap().len();
    let commitments = 1400 + (ENTRY_BYTES_MAX - bare) / 46;
    let left = (ENTRY_BYTES_MAX - bare) % 46;
    let largest = sealed(draft(commitments, 1 + left));
    assert_eq!(largest.entry(place).unwrap().len(), ENTRY_BYTES_MAX);
    let larger = sealed(draft(commitments, 2 + left));
    bench.impossible(entries([bench.entry(Kind::CapReached), larger])).await;
    bench.commit(entries([largest])).await;
    assert_eq!(bench.store().entry_bytes(0, 1).await.unwrap()[0].len(), ENTRY_BYTES_MAX);
    assert_eq!(read(&bench, all()).await[0].disclosures.len(), commitments);
}

pub(super) async fn entries_are_found(bench: Bench) {
    let request = bench.pending("a");
    let start = bench.clock.now();
    for number in 0..12_u64 {
        bench.clock.set(start.plus(Duration::from_secs(number)));
        let entry = match number % 3 {
            0 => bench.entry_about(Kind::VoteCast, &request),
            1 => bench.entry(Kind::CapReached),
            _ => bench.entry(Kind::PersonSignedIn),
        };
        bench.commit(entries([entry])).await;
    }
    let at = |seconds| Some(start.plus(Duration::from_secs(seconds)));
    let cases: [(EntryFilter, Vec<u64>); 11] = [
        (all(), (0..12).rev().collect()),
        (EntryFilter { limit: 2, ..all() }, vec![11, 10]),
        (EntryFilter { limit: 2, before: Some(10), ..all() }, vec![9, 8]),
        (EntryFilter { before: Some(0), ..all() }, vec![]),
        (EntryFilter { kinds: vec![Kind::CapReached], ..all() }, vec![10, 7, 4, 1]),
        (EntryFilter { kinds: vec![Kind::CapReached, Kind::VoteCast], limit: 3, ..all() }, vec![10, 9, 7]),
        (EntryFilter { request: Some(request.id), ..all() }, vec![9, 6, 3, 0]),
        (EntryFilter { from: at(10), ..all() }, vec![11, 10]),
        (EntryFilter { to: at(2), ..all() }, vec![1, 0]),
        (EntryFilter { from: at(3), to: at(5), kinds: vec![Kind::CapReached], ..all() }, vec![4]),
        (EntryFilter { from: at(12), ..all() }, vec![]),
    ];
    for (filter, expected) in cases {
        let found: Vec<u64> = read(&bench, filter.clone()).await.iter().map(|entry| entry.index).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let huge = EntryFilter { limit: usize::MAX, before: Some(u64::MAX), ..EntryFilter::default() };
    assert_eq!(read(&bench, huge).await.len(), 12);
}

pub(super) async fn everything_is_there_after_reopening(mut bench: Bench) {
    let request = bench.pending("a");
    let ada = bench.person("ada");
    let session = bench.session(ada.id, "cookie");
    let secret = placet_core::secret::Secret::new("hunter2");
    let transition = Transition {
        writes: vec![
            stored(&request),
            Write::Person(ada.clone()),
            Write::Session(session.clone()),
            Write::Secret("db".to_owned(), 1, secret.clone()),
        ],
        entries: vec![bench.entry_about(Kind::RequestReceived, &request)],
        ..Transition::default()
    };
    bench.commit(transition).await;
    let stored_request = bench.store().request(request.id).await.unwrap();
    let head = bench.store().log().await.unwrap();
    let written = read(&bench, all()).await;
    let directory = bench.store().directory().await.unwrap();
    for _ in 0..2 {
        bench.reopen().await;
        let store = bench.store();
        assert_eq!(store.request(request.id).await.unwrap(), stored_request);
        assert_eq!(store.log().await.unwrap(), head);
        assert_eq!(read(&bench, all()).await, written);
        assert_eq!(store.directory().await.unwrap(), directory);
        assert_eq!(store.session(session.secret_hash).await.unwrap().as_ref(), Some(&session));
        assert_eq!(store.secret("db".to_owned(), 1).await.unwrap().as_ref(), Some(&secret));
    }
    bench.write([stored(&next(&request).cancel(bench.now()).unwrap())]).await;
    bench.commit(entries([bench.entry_about(Kind::RequestCancelled, &request)])).await;
    assert_eq!(bench.size().await, 2);
}
