//! Two processes, and one that dies.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use placet_core::time::Timestamp;
use placet_ledger::{Frontier, leaf_hash};

use super::Space;
use crate::conformance::{CountedEntropy, HandClock};
use crate::sqlite::{OpenError, SqliteStore};
use crate::{Commit, Views};

#[test]
fn a_second_store_on_one_directory_is_refused() {
    let space = Space::new();
    let store = space.open();
    match space.try_open() {
        Err(error @ OpenError::Locked(_)) => {
            assert!(error.to_string().contains("another placet is running"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    drop(store);
    space.open();
}

/// Set for the child: the directory it works in.
const CHILD: &str = "PLACET_STORE_TEST_CHILD";

/// Starts this test binary again to run [`child_appends_until_it_is_killed`] in this directory.
fn child(directory: &std::path::Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::process::child_appends_until_it_is_killed", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: appends forever and prints the index of what is acknowledged, if it is told where.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seed = u64::from(std::process::id());
    let space = Space {
        directory: tempfile::tempdir().unwrap(),
        clock: Arc::new(HandClock::at(Timestamp::from_millis(1_790_000_000_000))),
        entropy: Arc::new(CountedEntropy::new(seed)),
    };
    let store = SqliteStore::open(&directory, space.options()).unwrap();
    runtime.block_on(async {
        loop {
            let (first, second, third) = tokio::join!(
                store.commit(space.appends()),
                store.commit(space.appends()),
                store.commit(space.appends())
            );
            for receipt in [first, second, third] {
                println!("acknowledged {}", receipt.unwrap().first_index);
            }
        }
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let space = Space::new();
    let mut acknowledged = BTreeSet::new();
    for round in 1..=4 {
        let mut child = child(&space.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let indices = lines.map_while(Result::ok).filter_map(|line| {
            line.split("acknowledged ").nth(1).and_then(|index| index.parse::<u64>().ok())
        });
        let mut taken = 0;
        for index in indices {
            acknowledged.insert(index);
            taken += 1;
            if taken == 1 {
                assert!(matches!(space.try_open(), Err(OpenError::Locked(_))), "another process has it");
            }
            // At another moment in each round; what the pipe still holds was acknowledged too.
            if taken == 37 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(taken >= 37 * round, "the child said only {taken} lines");
    }
    let store = space.open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let head = store.log().await.unwrap().frontier;
        assert!(acknowledged.last().is_some_and(|last| *last < head.size()));
        let mut naive = Frontier::new();
        while naive.size() < head.size() {
            for bytes in store.entry_bytes(naive.size(), 500).await.unwrap() {
                naive.append(leaf_hash(&bytes)).unwrap();
            }
        }
        assert_eq!(naive, head);
    });
}
