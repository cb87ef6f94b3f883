//! Proofs: every honest one holds, no other one does.

use placet_ledger::proof::{
    ProofError, ProveError, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use placet_ledger::tlog_proof::{EXTRA_BYTES_MAX, NotATlogProof, PROOF_BYTES_MAX, TlogProofError};
use placet_ledger::{Checkpoint, Hash, TlogProof, TreeHead, leaf_hash};
use proptest::prelude::*;

use crate::rfc6962::Leaves;
use crate::support::{signer, signer_named};

#[test]
fn every_inclusion_proof_of_every_small_tree_and_of_nothing_else() {
    let mut leaves = Leaves::numbered(40);
    for size in 1..=40 {
        let head = leaves.head(size);
        for index in 0..size {
            let proof = prove_inclusion(&mut leaves, index, size).unwrap();
            for other in 0..size {
                let leaf = leaves.0[other as usize];
                let as_proven = verify_inclusion(leaf, index, &head, &proof);
                assert_eq!(as_proven.is_ok(), other == index, "leaf {other} as {index} of {size}");
                let elsewhere = verify_inclusion(leaves.0[index as usize], other, &head, &proof);
                assert_eq!(elsewhere.is_ok(), other == index, "leaf {index} at {other} of {size}");
            }
        }
    }
}

#[test]
fn every_consistency_proof_of_every_small_tree_and_of_nothing_else() {
    let mut leaves = Leaves::numbered(40);
    for new in 0..=40 {
        for old in 0..=new {
            let proof = prove_consistency(&mut leaves, old, new).unwrap();
            let (old_head, new_head) = (leaves.head(old), leaves.head(new));
            assert_eq!(verify_consistency(&old_head, &new_head, &proof), Ok(()), "{old} to {new}");
            let forged = TreeHead { size: old, root: leaf_hash(b"forged") };
            assert!(verify_consistency(&forged, &new_head, &proof).is_err(), "{old} to {new}");
            let rewritten = TreeHead { size: new, root: leaf_hash(b"forged") };
            // The empty tree is the beginning of every tree, also of a forged one.
            let holds = verify_consistency(&old_head, &rewritten, &proof).is_ok();
            assert_eq!(holds, old == 0 && new > 0, "{old} to {new}");
        }
    }
}

#[test]
fn what_a_tree_does_not_have_cannot_be_proven() {
    let mut leaves = Leaves::numbered(8);
    assert!(matches!(prove_inclusion(&mut leaves, 8, 8), Err(ProveError::Beyond { wanted: 8, size: 8 })));
    assert!(matches!(prove_inclusion(&mut leaves, 0, 0), Err(ProveError::Beyond { .. })));
    assert!(matches!(prove_inclusion(&mut leaves, 0, u64::MAX), Err(ProveError::Beyond { .. })));
    assert!(matches!(prove_consistency(&mut leaves, 9, 8), Err(ProveError::Beyond { wanted: 9, size: 8 })));
    let head = leaves.head(8);
    let beyond = Err(ProofError::Beyond { wanted: 8, size: 8 });
    assert_eq!(verify_inclusion(leaves.0[0], 8, &head, &[]), beyond);
    assert!(verify_inclusion(leaves.0[0], 0, &TreeHead::EMPTY, &[]).is_err());
    let older = TreeHead { size: 9, root: head.root };
    assert_eq!(verify_consistency(&older, &head, &[]), Err(ProofError::Beyond { wanted: 9, size: 8 }));
}

proptest! {
    #[test]
    fn altered_proofs_fail(size in 2..700_u64, at: prop::sample::Index, spot: prop::sample::Index, bit in 0..256_usize) {
        let mut leaves = Leaves::numbered(size);
        let index = at.index(size as usize) as u64;
        let head = leaves.head(size);
        let leaf = leaves.0[index as usize];
        let proof = prove_inclusion(&mut leaves, index, size).unwrap();
        prop_assert_eq!(verify_inclusion(leaf, index, &head, &proof), Ok(()));
        for altered in alterations(&proof, &spot, bit) {
            prop_assert!(verify_inclusion(leaf, index, &head, &altered).is_err());
        }

        let old = leaves.head(index.max(1));
        let proof = prove_consistency(&mut leaves, old.size, size).unwrap();
        prop_assert_eq!(verify_consistency(&old, &head, &proof), Ok(()));
        for altered in alterations(&proof, &spot, bit) {
            prop_assert!(verify_consistency(&old, &head, &altered).is_err());
        }
    }

    #[test]
    fn no_proof_makes_the_checks_panic(
        index: u64, old: u64, new: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        let proof: Vec<Hash> = proof.into_iter().map(Hash::from_bytes).collect();
        let (old, new) = (TreeHead { size: old, root: leaf_hash(b"a") }, TreeHead { size: new, root: leaf_hash(b"b") });
        prop_assert!(verify_inclusion(leaf_hash(b"c"), index, &new, &proof).is_err());
        prop_assert!(verify_consistency(&old, &new, &proof).is_err());
    }

    #[test]
    fn no_bytes_make_the_proof_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(TlogProof::parse(&bytes), Err(NotATlogProof));
    }
}

fn alterations(proof: &[Hash], spot: &prop::sample::Index, bit: usize) -> Vec<Vec<Hash>> {
    let mut altered = vec![[proof, &[leaf_hash(b"more")]].concat(), [&[leaf_hash(b"more")], proof].concat()];
    if !proof.is_empty() {
        let spot = spot.index(proof.len());
        let mut bytes = *proof[spot].as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut flipped = proof.to_vec();
        flipped[spot] = Hash::from_bytes(bytes);
        altered.push(flipped);
        let mut shorter = proof.to_vec();
        shorter.remove(spot);
        altered.push(shorter);
    }
    altered
}

fn proof_file(extra: Option<&[u8]>) -> TlogProof {
    let mut leaves = Leaves::numbered(11);
    let checkpoint = Checkpoint::sign(leaves.head(11), &signer());
    TlogProof {
        unverified_extra: extra.map(<[u8]>::to_vec),
        index: 5,
        hashes: prove_inclusion(&mut leaves, 5, 11).unwrap(),
        checkpoint: checkpoint.note().to_owned(),
    }
}

#[test]
fn a_proof_file_reads_as_the_standard_says() {
    let text = proof_file(Some(b"anything")).to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra YW55dGhpbmc=\nindex 5\n"), "{text}");
    assert_eq!(TlogProof::parse(text.as_bytes()), Ok(proof_file(Some(b"anything"))));
    let text = proof_file(None).to_string();
    assert_eq!(TlogProof::parse(text.as_bytes()), Ok(proof_file(None)));
    // The only entry of a log needs no hash.
    let single = TlogProof { index: 0, hashes: vec![], ..proof_file(None) };
    assert_eq!(TlogProof::parse(single.to_string().as_bytes()), Ok(single));
}

#[test]
fn a_proof_file_proves_one_entry_of_one_log() {
    let (proof, key) = (proof_file(None), signer().verifier_key());
    assert!(proof.verify(&5_u64.to_be_bytes(), &key).is_ok());
    let other_entry = proof.verify(&6_u64.to_be_bytes(), &key);
    assert_eq!(other_entry, Err(TlogProofError::Proof(ProofError::Root)));
    let other_log = signer_named("placet.example/other", "other").verifier_key();
    let other_log = proof.verify(&5_u64.to_be_bytes(), &other_log);
    assert!(matches!(other_log, Err(TlogProofError::Checkpoint(_))));
}

#[test]
fn no_byte_of_a_proof_file_can_be_altered_or_cut() {
    let (text, key) = (proof_file(None).to_string(), signer().verifier_key());
    let holds =
        |bytes: &[u8]| TlogProof::parse(bytes).is_ok_and(|p| p.verify(&5_u64.to_be_bytes(), &key).is_ok());
    assert!(holds(text.as_bytes()));
    for position in 0..text.len() {
        let mut altered = text.clone().into_bytes();
        altered[position] ^= 1;
        assert!(!holds(&altered), "byte {position}");
        assert!(!holds(&text.as_bytes()[..position]), "cut at {position}");
    }
}

#[test]
fn malformed_proof_files_are_refused() {
    let good = proof_file(None).to_string();
    let hash = leaf_hash(b"x");
    for wrong in [
        good.replace("@v1", "@v2"),
        good.replace("index 5", "index 05"),
        good.replace("index 5", "index +5"),
        good.replace("index 5", "index 18446744073709551615"),
        good.replace("index 5", "index"),
        good.replace("index 5\n", ""),
        good.replace("index 5", "extra \nindex 5"),
        good.replace("index 5", "extra ====\nindex 5"),
        good.replace("index 5", "extra AA==\nextra AA==\nindex 5"),
        good.replace("index 5", &format!("extra {}\nindex 5", "AAAA".repeat(EXTRA_BYTES_MAX / 3 + 1))),
        good.replace("index 5\n", &format!("index 5\n{}", format!("{hash}\n").repeat(65))),
        good.replace("index 5\n", "index 5\nnot a hash\n"),
        good.replace("\n\n", "\n"),
        "x".repeat(PROOF_BYTES_MAX + 1),
    ] {
        assert_eq!(TlogProof::parse(wrong.as_bytes()), Err(NotATlogProof), "{wrong:.60}");
    }
}
