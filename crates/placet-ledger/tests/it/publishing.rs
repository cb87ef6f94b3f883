//! The publisher: what it writes, what it refuses, and what a crash leaves.

use std::fs;
use std::path::Path;

use placet_ledger::publish::PublishError;
use placet_ledger::tile::growth;
use placet_ledger::{Hash, Publisher, SignedCheckpoint, TreeHead, Verification, WriteError, leaf_hash};
use proptest::prelude::*;

use crate::support::{contents, entries, entry, files, head, head_of, publish, signer, signer_named};

fn verify(dir: &Path) -> u64 {
    let verification = Verification::open(dir, &signer().verifier_key()).unwrap();
    verification.run(|_, _| Ok(())).unwrap().entries
}

/// A store whose entry 3 is another one.
fn forked(range: std::ops::Range<u64>) -> Result<Vec<Vec<u8>>, std::convert::Infallible> {
    Ok(range.map(forked_entry).collect())
}

fn forked_entry(i: u64) -> Vec<u8> {
    if i == 3 { b"something else".to_vec() } else { entry(i) }
}

fn forked_head(size: u64) -> TreeHead {
    head_of((0..size).map(forked_entry))
}

#[test]
fn an_empty_log_has_a_checkpoint_and_no_tile() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = publish(dir.path(), &[0]);
    assert_eq!(checkpoints[0].head(), TreeHead::EMPTY);
    let names: Vec<String> = files(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["checkpoint", "checkpoints/0"]);
    assert_eq!(verify(dir.path()), 0);
}

#[test]
fn publishing_twice_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = publish(dir.path(), &[300]);
    let before = contents(dir.path());
    assert_eq!(publish(dir.path(), &[300, 300]), [first[0].clone(), first[0].clone()]);
    assert_eq!(contents(dir.path()), before);
    assert_eq!(fs::read_to_string(dir.path().join("checkpoint")).unwrap(), first[0].note());
    assert_eq!(fs::read_to_string(dir.path().join("checkpoints/300")).unwrap(), first[0].note());
}

#[test]
fn a_full_tile_replaces_its_partial_ones() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[1, 100, 255]);
    for kept in ["tile/0/000.p/1", "tile/0/000.p/100", "tile/entries/000.p/255"] {
        assert!(dir.path().join(kept).exists(), "{kept}: a checkpoint of that size was signed");
    }
    publish(dir.path(), &[257]);
    assert!(!dir.path().join("tile/0/000.p").exists());
    assert!(!dir.path().join("tile/entries/000.p").exists());
    let tiles: Vec<String> = files(dir.path())
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("tile/"))
        .collect();
    let mut expected: Vec<String> = growth(0, 257).map(|tile| tile.path()).collect();
    expected.sort();
    assert_eq!(tiles, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// In whatever steps a log is published, and whether by one process or many: the same files.
    #[test]
    fn steps_do_not_matter(mut sizes in prop::collection::vec(0..1200_u64, 1..5), restart: bool) {
        sizes.sort_unstable();
        let last = sizes[sizes.len() - 1];
        let (stepwise, at_once) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if restart {
            sizes.iter().for_each(|size| { publish(stepwise.path(), &[*size]); });
        } else {
            publish(stepwise.path(), &sizes);
        }
        publish(at_once.path(), &[last]);
        let found = contents(stepwise.path());
        for expected in contents(at_once.path()) {
            prop_assert!(found.contains(&expected), "{}", expected.0);
        }
        prop_assert_eq!(verify(stepwise.path()), last);
    }
}

/// Refused, and the published log is byte for byte what it was.
fn refuses(
    dir: &Path,
    attempt: impl FnOnce(&mut Publisher) -> Result<SignedCheckpoint, PublishError>,
) -> PublishError {
    let (checkpoint, size) = (
        fs::read(dir.join("checkpoint")).ok(),
        fs::read_dir(dir.join("checkpoints")).map(Iterator::count).ok(),
    );
    let mut publisher = Publisher::open(dir, signer()).unwrap();
    let error = attempt(&mut publisher).unwrap_err();
    assert_eq!(fs::read(dir.join("checkpoint")).ok(), checkpoint);
    assert_eq!(fs::read_dir(dir.join("checkpoints")).map(Iterator::count).ok(), size);
    error
}

#[test]
fn a_store_with_fewer_entries_is_a_rollback() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[300]);
    for smaller in [0, 1, 256, 299] {
        let error = refuses(dir.path(), |publisher| publisher.publish(head(smaller), &mut entries));
        assert!(matches!(error, PublishError::Rollback { published: 300, head } if head == smaller));
        let error = refuses(dir.path(), |publisher| publisher.rebuild(head(smaller), &mut entries));
        assert!(matches!(error, PublishError::Rollback { .. }));
    }
}

#[test]
fn a_store_with_other_entries_is_a_fork() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[300]);
    // Restored from a backup, then grown differently: to the same size, a little further, beyond the next tiles.
    for size in [300, 301, 512, 700] {
        let error = refuses(dir.path(), |publisher| publisher.publish(forked_head(size), &mut forked));
        assert!(matches!(error, PublishError::Fork { size: at, .. } if at == size), "{size}: {error}");
    }
    // What was published is noticed first when everything is compared.
    let error = refuses(dir.path(), |publisher| publisher.rebuild(forked_head(700), &mut forked));
    assert!(matches!(error, PublishError::Write(WriteError::Conflict { .. })), "{error}");
    fs::remove_dir_all(dir.path().join("tile")).unwrap();
    let error = refuses(dir.path(), |publisher| publisher.rebuild(forked_head(700), &mut forked));
    assert!(matches!(error, PublishError::Fork { size: 300, .. }), "{error}");
}

#[test]
fn a_head_that_its_own_entries_do_not_give_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[300]);
    let wrong = TreeHead { size: 400, root: leaf_hash(b"a damaged head row") };
    let error = refuses(dir.path(), |publisher| publisher.publish(wrong, &mut entries));
    assert!(matches!(error, PublishError::Fork { size: 400, .. }));
    // The truth can still be published.
    publish(dir.path(), &[400]);
    assert_eq!(verify(dir.path()), 400);
}

#[test]
fn a_store_that_does_not_give_its_entries_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = refuses(dir.path(), |publisher| {
        publisher
            .publish(head(300), &mut |range: std::ops::Range<u64>| entries(range.start..range.end.min(280)))
    });
    assert!(matches!(error, PublishError::EntryMissing { index: 280 }), "{error}");
    let error = refuses(dir.path(), |publisher| {
        publisher.publish(head(300), &mut |range: std::ops::Range<u64>| entries(range.start..range.end + 1))
    });
    // One too many in the first bundle shifts nothing; one beyond the head is refused.
    assert!(matches!(error, PublishError::Surplus { size: 300 }), "{error}");
    let error = refuses(dir.path(), |publisher| {
        publisher.publish(head(300), &mut |_| Err::<Vec<Vec<u8>>, _>(std::fmt::Error))
    });
    assert!(matches!(error, PublishError::Entries(_)));
    let error = refuses(dir.path(), |publisher| {
        publisher.publish(head(300), &mut |_| Ok::<_, std::fmt::Error>(vec![vec![0; 65_536]]))
    });
    assert!(matches!(error, PublishError::EntryTooLong(_)));
    let error = refuses(dir.path(), |publisher| publisher.begin(head(1))?.finish());
    assert!(matches!(error, PublishError::EntryMissing { index: 0 }));
}

#[test]
fn entries_can_be_brought_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::open(dir.path(), signer()).unwrap();
    let mut growth = publisher.begin(head(600)).unwrap();
    let mut ranges = Vec::new();
    while let Some(range) = growth.wanted() {
        ranges.push((range.start, range.end));
        range.for_each(|index| growth.push(&entry(index)).unwrap());
    }
    assert_eq!(ranges, [(0, 256), (256, 512), (512, 600)]);
    assert_eq!(growth.finish().unwrap().head(), head(600));
    assert_eq!(verify(dir.path()), 600);
}

#[test]
fn a_crash_before_the_checkpoint_leaves_the_old_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[100]);
    for crash_at in [101, 255, 256, 257, 512, 599] {
        let mut publisher = Publisher::open(dir.path(), signer()).unwrap();
        let mut growth = publisher.begin(head(600)).unwrap();
        (100..crash_at).for_each(|index| growth.push(&entry(index)).unwrap());
        drop(growth);
        // The same process goes on from the files, and so does the next one.
        assert_eq!(publisher.publish(head(100), &mut entries).unwrap().head(), head(100));
        drop(publisher);
        assert_eq!(verify(dir.path()), 100);
    }
    publish(dir.path(), &[600]);
    assert_eq!(verify(dir.path()), 600);
}

#[test]
fn a_crash_between_the_checkpoint_and_its_copy_is_made_good() {
    for next_size in [200, 300] {
        let dir = tempfile::tempdir().unwrap();
        let published = publish(dir.path(), &[100, 200]);
        fs::remove_file(dir.path().join("checkpoints/200")).unwrap();
        publish(dir.path(), &[next_size]);
        assert_eq!(fs::read_to_string(dir.path().join("checkpoints/200")).unwrap(), published[1].note());
    }
}

#[test]
fn a_disk_that_refuses_stops_everything_and_can_be_repaired() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[100]);
    let before = fs::read(dir.path().join("checkpoint")).unwrap();
    let mut publisher = Publisher::open(dir.path(), signer()).unwrap();
    // A file where the directory of level 1 should come.
    fs::write(dir.path().join("tile/1"), b"").unwrap();
    let error = publisher.publish(head(300), &mut entries).unwrap_err();
    assert!(matches!(error, PublishError::Read(_) | PublishError::Write(_)), "{error}");
    assert_eq!(fs::read(dir.path().join("checkpoint")).unwrap(), before);
    fs::remove_file(dir.path().join("tile/1")).unwrap();
    assert_eq!(publisher.publish(head(300), &mut entries).unwrap().head(), head(300));
    drop(publisher);
    assert_eq!(verify(dir.path()), 300);
}

#[test]
fn a_half_written_file_of_a_crash_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[100]);
    fs::write(dir.path().join(".next"), b"half a ti").unwrap();
    publish(dir.path(), &[300]);
    assert_eq!(verify(dir.path()), 300);
}

#[test]
fn unsigned_files_of_another_history_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[2]);
    let mut publisher = Publisher::open(dir.path(), signer()).unwrap();
    let mut growth = publisher.begin(forked_head(300)).unwrap();
    (2..256).for_each(|index| growth.push(&forked_entry(index)).unwrap());
    drop(publisher);
    let error = refuses(dir.path(), |publisher| publisher.publish(head(300), &mut entries));
    assert!(matches!(error, PublishError::Write(WriteError::Conflict { .. })), "{error}");
}

#[test]
fn one_process_publishes() {
    let dir = tempfile::tempdir().unwrap();
    let first = Publisher::open(dir.path(), signer()).unwrap();
    assert!(matches!(Publisher::open(dir.path(), signer()), Err(PublishError::Locked)));
    drop(first);
    assert!(Publisher::open(dir.path(), signer()).is_ok());
}

#[test]
fn a_directory_of_another_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[5]);
    let other_key = signer_named("placet.example/ledger", "stolen");
    assert!(matches!(Publisher::open(dir.path(), other_key), Err(PublishError::Checkpoint(_))));
    let other_log = signer_named("placet.example/ledger/e2", "log");
    assert!(matches!(Publisher::open(dir.path(), other_log), Err(PublishError::Checkpoint(_))));
}

#[test]
fn a_directory_restored_under_a_living_publisher_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[100]);
    let backup = fs::read(dir.path().join("checkpoint")).unwrap();
    let mut publisher = Publisher::open(dir.path(), signer()).unwrap();
    publisher.publish(head(200), &mut entries).unwrap();
    fs::write(dir.path().join("checkpoint"), backup).unwrap();
    assert!(matches!(publisher.publish(head(300), &mut entries), Err(PublishError::Replaced)));
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(matches!(publisher.publish(head(300), &mut entries), Err(PublishError::CheckpointGone)));
    drop(publisher);
    assert!(matches!(Publisher::open(dir.path(), signer()), Err(PublishError::CheckpointGone)));
}

#[test]
fn lost_tiles_are_rebuilt_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[700]);
    let before = contents(dir.path());
    fs::remove_dir_all(dir.path().join("tile")).unwrap();
    let error = refuses(dir.path(), |publisher| publisher.publish(head(701), &mut entries));
    assert!(matches!(error, PublishError::Read(_)), "{error}");
    let mut publisher = Publisher::open(dir.path(), signer()).unwrap();
    publisher.rebuild(head(700), &mut entries).unwrap();
    assert_eq!(contents(dir.path()), before);
    publisher.publish(head(900), &mut entries).unwrap();
    assert_eq!(verify(dir.path()), 900);
}

#[test]
fn nothing_is_built_on_damaged_tiles() {
    for (path, position) in [("tile/0/002.p/188", 0), ("tile/1/000.p/2", 63), ("tile/entries/002.p/188", 5)] {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &[700]);
        let mut bytes = fs::read(dir.path().join(path)).unwrap();
        bytes[position] ^= 1;
        fs::write(dir.path().join(path), bytes).unwrap();
        let error = refuses(dir.path(), |publisher| publisher.publish(head(800), &mut entries));
        assert!(matches!(error, PublishError::Damaged), "{path}: {error}");
        // Moved away, it can be rebuilt from the store.
        fs::remove_file(dir.path().join(path)).unwrap();
        Publisher::open(dir.path(), signer()).unwrap().rebuild(head(800), &mut entries).unwrap();
        assert_eq!(verify(dir.path()), 800);
    }
}

#[test]
fn errors_say_what_to_do_next() {
    let rollback = PublishError::Rollback { published: 2, head: 1 }.to_string();
    assert!(rollback.contains("backup") && rollback.contains("restore a newer one"), "{rollback}");
    let fork =
        PublishError::Fork { size: 1, published: Hash::EMPTY_ROOT, head: Hash::EMPTY_ROOT }.to_string();
    assert!(fork.contains("keep both as evidence"), "{fork}");
}
