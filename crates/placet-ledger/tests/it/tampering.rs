//! The offline verifier: nothing in a log can be altered, cut, swapped or left out.

use std::fs;
use std::path::Path;

use placet_ledger::verify::{Report, VerifyError};
use placet_ledger::{Publisher, SignedCheckpoint, Verification};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::support::{entry, files, head, head_of, publish, signer, signer_named};

fn verify(dir: &Path) -> Result<Report, VerifyError> {
    Verification::open(dir, &signer().verifier_key())?.run(|_, _| Ok(()))
}

/// The files that the checkpoint stands on.
fn evidence(dir: &Path) -> Vec<(String, std::path::PathBuf)> {
    files(dir).into_iter().filter(|(name, _)| !name.starts_with("checkpoints/")).collect()
}

#[test]
fn no_file_can_be_flipped_cut_extended_emptied_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[600]);
    assert_eq!(evidence(dir.path()).len(), 8);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (name, path) in evidence(dir.path()) {
        let good = fs::read(&path).unwrap();
        let length = good.len();
        let check = |bad: &[u8], what: &str| {
            fs::write(&path, bad).unwrap();
            assert!(verify(dir.path()).is_err(), "{name}: {what}");
        };
        for _ in 0..60 {
            let (at, bit) = (0..length, 0..8).new_tree(&mut runner).unwrap().current();
            let mut flipped = good.clone();
            flipped[at] ^= 1_u8 << bit;
            check(&flipped, &format!("bit {bit} of byte {at}"));
        }
        for cut in [0, 1, 2, length / 2, length - 33.min(length), length - 1] {
            check(&good[..cut], &format!("cut at {cut}"));
        }
        check(&[&good[..], &[0]].concat(), "one byte more");
        check(&[&good[..], &good[..]].concat(), "twice");
        fs::remove_file(&path).unwrap();
        assert!(verify(dir.path()).is_err(), "{name}: removed");
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(verify(dir.path()).unwrap().entries, 600);
}

#[test]
fn huge_files_are_refused_without_being_read() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[300]);
    for (name, path) in evidence(dir.path()) {
        let good = fs::read(&path).unwrap();
        // A sparse file of a terabyte.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(verify(dir.path()).is_err(), "{name}");
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_consistently_rewritten_log_is_caught_by_the_signature_or_the_kept_checkpoint() {
    let (dir, forged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = publish(dir.path(), &[200, 300]).remove(0);
    // Whoever holds the key can sign another history; whoever kept an old checkpoint sees it.
    let rewritten = |i: u64| if i == 150 { b"rewritten".to_vec() } else { entry(i) };
    let mut publisher = Publisher::open(forged.path(), signer()).unwrap();
    let mut store =
        |range: std::ops::Range<u64>| Ok::<_, std::fmt::Error>(range.map(rewritten).collect::<Vec<_>>());
    publisher.publish(head_of((0..300).map(rewritten)), &mut store).unwrap();
    assert!(verify(forged.path()).is_ok());
    let key = signer().verifier_key();
    let against = |dir: &Path, kept: &SignedCheckpoint| {
        Verification::open(dir, &key)?
            .continuing(kept)?
            .run(|_, _| Ok(()))
            .map(|report| report.older_checkpoints)
    };
    assert!(matches!(against(forged.path(), &kept), Err(VerifyError::Root { size: 200, .. })));
    assert_eq!(against(dir.path(), &kept).unwrap(), 1);

    // Without the key the checkpoint of the honest log stays, and does not fit.
    fs::copy(dir.path().join("checkpoint"), forged.path().join("checkpoint")).unwrap();
    assert!(matches!(verify(forged.path()), Err(VerifyError::Root { size: 300, .. })));
}

#[test]
fn a_log_that_shrank_or_is_another_one_does_not_continue_a_kept_checkpoint() {
    let (dir, longer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(dir.path(), &[200]);
    let kept = publish(longer.path(), &[201]).remove(0);
    let key = signer().verifier_key();
    let refused = Verification::open(dir.path(), &key).unwrap().continuing(&kept);
    assert!(matches!(refused, Err(VerifyError::Shrunk { size: 200, older: 201 })));
    let other = placet_ledger::Checkpoint::sign(head(3), &signer_named("placet.example/other", "log"));
    let refused = Verification::open(dir.path(), &key).unwrap().continuing(&other);
    assert!(matches!(refused, Err(VerifyError::OtherLog)));
}

#[test]
fn every_kept_checkpoint_of_any_size_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let kept = publish(dir.path(), &[0, 1, 255, 256, 257, 512, 600]);
    let mut verification = Verification::open(dir.path(), &signer().verifier_key()).unwrap();
    for checkpoint in kept.iter().rev() {
        verification = verification.continuing(checkpoint).unwrap();
    }
    assert_eq!(verification.run(|_, _| Ok(())).unwrap().older_checkpoints, 7);
    // An older checkpoint can itself be verified in a directory that has grown since.
    for checkpoint in kept {
        let size = checkpoint.head().size;
        assert_eq!(Verification::at(dir.path(), checkpoint).run(|_, _| Ok(())).unwrap().entries, size);
    }
}

#[test]
fn the_visitor_sees_only_entries_that_match_their_tile_and_can_stop() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[300]);
    let key = signer().verifier_key();
    let stopped = Verification::open(dir.path(), &key).unwrap().run(|index, bytes| {
        assert_eq!(bytes, entry(index));
        if index == 270 { Err("time runs backwards".into()) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(VerifyError::Content { index: 270, .. })));

    let path = dir.path().join("tile/entries/001.p/44");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut seen = 0;
    let altered = Verification::open(dir.path(), &key).unwrap().run(|_, _| {
        seen += 1;
        Ok(())
    });
    assert!(matches!(altered, Err(VerifyError::Entry { index: 299, .. })));
    assert_eq!(seen, 256, "nothing of the altered bundle was shown");
}

#[test]
fn another_key_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[10]);
    let stranger = signer_named("placet.example/ledger", "stranger").verifier_key();
    assert!(matches!(Verification::open(dir.path(), &stranger), Err(VerifyError::Open(_))));
    assert!(matches!(Verification::open(&dir.path().join("nothing"), &stranger), Err(VerifyError::Open(_))));
}
