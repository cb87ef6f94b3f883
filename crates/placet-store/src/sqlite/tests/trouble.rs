//! The disk is full, the writer panics, callers give up: nobody is told that something was written that was not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use placet_core::time::{Clock, Timestamp};

use super::Space;
use crate::sqlite::{Options, SqliteStore};
use crate::{Commit, CommitError, Transition, ViewError, Views, Write};
use placet_core::secret::Secret;

fn large(name: &str) -> Transition {
    let value = Secret::new(vec![7; 1024 * 1024]);
    Transition { writes: vec![Write::Secret(name.to_owned(), 1, value)], ..Transition::default() }
}

#[tokio::test]
async fn a_full_disk_loses_the_batch_and_nothing_else() {
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    store
        .with_writer(|db| {
            let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
            // Room for the small one, not for the large one.
            let _: i64 = db
                .query_row(&format!("PRAGMA max_page_count = {}", pages + 20), [], |row| row.get(0))
                .unwrap();
        })
        .await;
    let (lost, also_lost) = tokio::join!(store.commit(large("a")), store.commit(large("b")));
    assert!(matches!(lost, Err(CommitError::Unavailable(_))), "{lost:?}");
    assert!(matches!(also_lost, Err(CommitError::Unavailable(_))));
    assert!(store.health().await.is_ok(), "what is small still fits: health tries");
    assert_eq!(store.secret("a".to_owned(), 1).await.unwrap(), None);

    let receipt = store.commit(space.appends()).await.unwrap();
    assert_eq!(receipt.first_index, 1, "the head in memory is that of the database");
    assert!(store.health().await.is_ok());
    store
        .with_writer(|db| {
            let _: i64 = db.query_row("PRAGMA max_page_count = 1000000", [], |row| row.get(0)).unwrap();
        })
        .await;
    store.commit(large("a")).await.unwrap();
    drop(store);
    assert_eq!(space.open().log().await.unwrap().frontier.size(), 2);
}

#[tokio::test]
async fn a_commit_that_fails_is_not_acknowledged() {
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    // A deferred constraint fails only when everything else is done, at COMMIT itself.
    store
        .with_writer(|db| {
            db.execute_batch(
                "CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TEMP TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TEMP TRIGGER orphan AFTER INSERT ON main.entry BEGIN INSERT INTO child VALUES (1); END;",
            )
            .unwrap();
        })
        .await;
    let (first, second) = tokio::join!(store.commit(space.appends()), store.commit(space.appends()));
    assert!(matches!(first, Err(CommitError::Unavailable(_))), "{first:?}");
    assert!(matches!(second, Err(CommitError::Unavailable(_))));
    assert_eq!(store.log().await.unwrap().frontier.size(), 1);
    assert!(store.health().await.is_ok());
    store
        .with_writer(|db| {
            db.execute_batch(
                "DROP TRIGGER orphan;
                 CREATE TEMP TRIGGER orphan AFTER UPDATE ON main.log_head BEGIN INSERT INTO child VALUES (1); END;",
            )
            .unwrap();
        })
        .await;
    assert!(store.health().await.is_ok(), "the last write went well, so health writes nothing");
    assert!(store.commit(Transition::default()).await.is_err());
    assert!(matches!(store.health().await, Err(ViewError::Unavailable(_))));
    store.with_writer(|db| db.execute_batch("DROP TRIGGER orphan").unwrap()).await;
    assert!(store.health().await.is_ok(), "health finds out that writing works again");
    assert_eq!(store.commit(space.appends()).await.unwrap().first_index, 1);
}

#[tokio::test]
async fn a_failed_commit_that_was_written_after_all_closes_the_store() {
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    store
        .with_writer(|db| {
            db.execute_batch(
                "UPDATE log_head SET last_time = last_time + 1;
                 CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TEMP TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TEMP TRIGGER orphan AFTER INSERT ON main.entry BEGIN INSERT INTO child VALUES (1); END;",
            )
            .unwrap();
        })
        .await;
    for _ in 0..2 {
        let lost = store.commit(space.appends()).await;
        assert!(matches!(lost, Err(CommitError::Stopped(_))), "{lost:?}");
    }
    assert!(matches!(store.log().await, Err(ViewError::Stopped(_))), "its memory is not the database's");
    drop(store);
    assert_eq!(space.open().log().await.unwrap().frontier.size(), 1);
}

#[tokio::test]
async fn the_writer_is_set_to_be_durable() {
    let space = Space::new();
    let store = space.open();
    store
        .with_writer(|db| {
            let is = |pragma: &str, expected: &str| {
                let value: rusqlite::types::Value =
                    db.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
                let text = match value {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => panic!("{other:?}"),
                };
                assert_eq!(text, expected, "{pragma}");
            };
            is("journal_mode", "wal");
            is("synchronous", "2");
            is("page_size", "8192");
            is("secure_delete", "1");
            is("foreign_keys", "1");
            is("recursive_triggers", "1");
            is("wal_autocheckpoint", "2000");
        })
        .await;
}

/// A clock that panics on demand, in the writer.
struct Bomb {
    armed: AtomicBool,
}

impl Clock for Bomb {
    fn now(&self) -> Timestamp {
        let in_writer = std::thread::current().name() == Some("placet-store");
        assert!(!(in_writer && self.armed.load(Ordering::SeqCst)), "the writer panics, as this test wants");
        Timestamp::from_millis(1_790_000_000_000)
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_closes_the_store() {
    let space = Space::new();
    let bomb = Arc::new(Bomb { armed: AtomicBool::new(false) });
    let options = Options { clock: Arc::<Bomb>::clone(&bomb), ..space.options() };
    let store = SqliteStore::open(&space.path(), options).unwrap();
    store.commit(space.appends()).await.unwrap();
    bomb.armed.store(true, Ordering::SeqCst);
    let (first, second) = tokio::join!(store.commit(space.appends()), store.commit(space.appends()));
    assert!(matches!(first, Err(CommitError::Stopped(_))), "{first:?}");
    assert!(matches!(second, Err(CommitError::Stopped(_))), "{second:?}");
    bomb.armed.store(false, Ordering::SeqCst);
    assert!(matches!(store.commit(space.appends()).await, Err(CommitError::Stopped(_))));
    assert!(matches!(store.log().await, Err(ViewError::Stopped(_))));
    assert!(matches!(store.health().await, Err(ViewError::Stopped(_))));
    drop(store);
    assert_eq!(space.open().log().await.unwrap().frontier.size(), 1, "a restart finds what was acknowledged");
}

#[tokio::test]
async fn who_gives_up_waiting_loses_nothing() {
    let space = Space::new();
    let store = space.open();
    for _ in 0..20 {
        let mut commit = store.commit(space.appends());
        // Queued, and then forgotten.
        std::future::poll_fn(|context| {
            let _ = commit.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
        drop(commit);
    }
    drop(store);
    assert_eq!(space.open().log().await.unwrap().frontier.size(), 20, "what is queued is written at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_queue_holds_is_written_too() {
    let space = Arc::new(Space::new());
    let store = Arc::new(space.open());
    let commits: Vec<_> = (0..3000)
        .map(|_| {
            let (space, store) = (Arc::clone(&space), Arc::clone(&store));
            tokio::spawn(async move { store.commit(space.appends()).await.unwrap().first_index })
        })
        .collect();
    let mut indices = Vec::new();
    for commit in commits {
        indices.push(commit.await.unwrap());
    }
    indices.sort_unstable();
    assert_eq!(indices, (0..3000).collect::<Vec<u64>>());
}
