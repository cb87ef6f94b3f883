//! Copies of a store that is in use, and a log that begins its next epoch.

use std::os::unix::fs::MetadataExt as _;

use placet_core::secret::Secret;

use super::{ORIGIN, Space};
use crate::keys::{KeyStore, RootKeySource};
use crate::sqlite::OpenError;
use crate::sqlite::copy::{CopyError, DatabaseCopy};
use crate::{Commit as _, CommitError, LogName, Transition, Views as _, Write};

#[tokio::test]
async fn a_copy_is_a_snapshot_that_anyone_can_check() {
    let space = Space::new();
    let store = space.open();
    for _ in 0..3 {
        store.commit(space.appends()).await.unwrap();
    }
    let target = space.directory.path().join("copy.db");
    store.copy_to(&target).await.unwrap();
    store.commit(space.appends()).await.unwrap();
    assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o777, 0o600);
    let copy = DatabaseCopy::open(&target).unwrap();
    copy.check().unwrap();
    assert_eq!((copy.about().frontier.size(), copy.about().key_store), (3, store.keys().id()));
    assert_eq!(copy.about().log, LogName::first(ORIGIN));
    assert_eq!(copy.replay(3).unwrap(), Some(copy.about().frontier.clone()));
    assert_eq!(copy.replay(2).unwrap().unwrap().size(), 2);
    assert_eq!(copy.replay(4).unwrap(), None, "it never had so many");
    assert!(store.copy_to(&target).await.is_err(), "what is there is not written over");
}

#[tokio::test]
async fn a_copy_whose_entries_were_altered_or_that_is_another_programs_is_refused() {
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    let target = space.directory.path().join("copy.db");
    store.copy_to(&target).await.unwrap();
    let db = rusqlite::Connection::open(&target).unwrap();
    db.execute_batch("DROP TRIGGER entry_never_changes; UPDATE entry SET body = x'78'").unwrap();
    assert!(matches!(DatabaseCopy::open(&target).unwrap().replay(0), Err(CopyError::Head { .. })));
    db.execute_batch("INSERT INTO schema_migration VALUES (999, 'later', '', 0)").unwrap();
    assert!(matches!(DatabaseCopy::open(&target), Err(CopyError::Newer { found: 999, .. })));
    db.pragma_update(None, "application_id", 7).unwrap();
    assert!(matches!(DatabaseCopy::open(&target), Err(CopyError::NotOurs)));
}

#[tokio::test]
async fn copied_keys_open_what_they_sealed_and_are_vouched_for_alike() {
    let space = Space::new();
    let store = space.open();
    store
        .commit(Transition {
            writes: vec![Write::Secret("a".into(), 1, Secret::new(b"x".to_vec()))],
            ..Transition::default()
        })
        .await
        .unwrap();
    let target = space.directory.path().join("keys");
    store.keys().copy_to(&target).unwrap();
    let copied = KeyStore::open(&target, &RootKeySource::Own, space.entropy.clone()).unwrap();
    assert_eq!(copied.id(), store.keys().id());
    assert_eq!(copied.mac("a", b"x"), store.keys().mac("a", b"x"));
    assert_ne!(copied.mac("a", b"x"), copied.mac("b", b"x"));
    assert_ne!(copied.mac("a", b"x"), copied.mac("a", b"y"));
    assert!(store.keys().copy_to(&target).is_err(), "what is there is not written over");
}

#[tokio::test]
async fn the_next_epoch_has_its_own_name_and_no_epoch_is_skipped() {
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    let next =
        |epoch| Transition { writes: vec![Write::Epoch(LogName::of(ORIGIN, epoch))], ..space.appends() };
    let skipped = store.commit(next(3)).await;
    assert!(matches!(skipped, Err(CommitError::Refused(_) | CommitError::Unavailable(_))), "{skipped:?}");
    drop(store);
    let store = space.open();
    store.commit(next(2)).await.unwrap();
    let log = store.log().await.unwrap();
    assert_eq!(
        (log.name.origin.as_str(), log.name.epoch, log.frontier.size()),
        ("placet.example/ledger/e2", 2, 2)
    );
    let bytes = store.entry_bytes(0, 10).await.unwrap();
    let names: Vec<bool> = bytes.iter().map(|entry| String::from_utf8_lossy(entry).contains("/e2")).collect();
    assert_eq!(names, [false, true], "the entry that begins it bears its name");
    drop(store);
    assert_eq!(space.open().log().await.unwrap().name, LogName::of(ORIGIN, 2));
    let other = crate::SqliteStore::open(
        &space.path(),
        crate::Options { origin: "placet.example/x".into(), ..space.options() },
    );
    assert!(matches!(other, Err(OpenError::OtherOrigin { .. })));
    let db = space.database();
    for sql in [
        "UPDATE log_head SET origin = 'x'",
        "UPDATE log_head SET epoch = 3",
        "UPDATE log_head SET epoch = 1, origin = 'x'",
    ] {
        assert!(db.execute(sql, []).is_err(), "{sql}");
    }
}
