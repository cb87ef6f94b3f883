//! The same answers as the crates `tlog_tiles` and `signed_note`, which are ports of Go's code.

use placet_ledger::proof::{prove_consistency, prove_inclusion};
use placet_ledger::tile::{Kind, growth};
use placet_ledger::{Checkpoint, Frontier, Hash, SignedCheckpoint, Tile, TreeHead, VerifierKey, leaf_hash};
use proptest::prelude::*;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

use crate::rfc6962::Leaves;
use crate::support::{signer, signer_named};

/// Their tree: all hashes that were ever stored, in their order.
#[derive(Default)]
struct Theirs(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

impl Theirs {
    fn of(leaves: &[Hash]) -> Self {
        let mut theirs = Theirs::default();
        for (index, leaf) in leaves.iter().enumerate() {
            let leaf = tlog_tiles::Hash(*leaf.as_bytes());
            let stored = tlog_tiles::stored_hashes_for_record_hash(index as u64, leaf, &theirs).unwrap();
            theirs.0.extend(stored);
        }
        theirs
    }
}

fn ours(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| Hash::from_bytes(hash.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn roots_and_proofs(size in 1..1200_u64, at: prop::sample::Index) {
        let mut leaves = Leaves::numbered(size);
        let theirs = Theirs::of(&leaves.0);
        let mut frontier = Frontier::new();
        leaves.0.iter().for_each(|leaf| { frontier.append(*leaf).unwrap(); });
        let root = tlog_tiles::tree_hash(size, &theirs).unwrap();
        prop_assert_eq!(*frontier.root().as_bytes(), root.0);

        let index = at.index(size as usize) as u64;
        let inclusion = prove_inclusion(&mut leaves, index, size).unwrap();
        prop_assert_eq!(&inclusion, &ours(tlog_tiles::prove_record(size, index, &theirs).unwrap()));
        let old = index + 1;
        let consistency = prove_consistency(&mut leaves, old, size).unwrap();
        prop_assert_eq!(&consistency, &ours(tlog_tiles::prove_tree(size, old, &theirs).unwrap()));
    }

    #[test]
    fn tile_paths(level in 0..4_u8, index in 0..5_000_000_u64, width in 1..=256_u16) {
        let tile = Tile::new(Kind::Hashes { level }, index, width).unwrap();
        let theirs = tlog_tiles::Tile::new(8, level, index, u32::from(width), false).path();
        // Go's paths name the height; those of C2SP do not.
        prop_assert_eq!(tile.path(), theirs.replacen("tile/8/", "tile/", 1));
    }

    #[test]
    fn tiles_of_a_growth(a in 0..80_000_u64, b in 0..80_000_u64) {
        let (old, new) = (a.min(b), a.max(b));
        let theirs = tlog_tiles::Tile::new_tiles(8, old, new);
        let theirs: Vec<String> = theirs.iter().map(|tile| tile.path().replacen("tile/8/", "tile/", 1)).collect();
        let ours: Vec<String> =
            growth(old, new).filter(|tile| tile.kind() != Kind::Entries).map(|tile| tile.path()).collect();
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn their_verifier_opens_our_checkpoint() {
    let head = TreeHead { size: 70_000, root: leaf_hash(b"root") };
    let signed =
        Checkpoint::sign(head, &signer()).cosigned(&signer_named("witness.example/w1", "wit"), 1_790_000_000);
    let verifier = StandardVerifier::new(&signer().verifier_key().to_string()).unwrap();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let note = Note::from_bytes(signed.note().as_bytes()).unwrap();
    let (verified, ignored) = note.verify(&known).unwrap();
    assert_eq!((verified.len(), ignored.len()), (1, 1));
    let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((theirs.origin(), theirs.size()), ("placet.example/ledger", 70_000));
    assert_eq!(&theirs.hash().0, head.root.as_bytes());
}

#[test]
fn we_open_a_checkpoint_that_they_signed() {
    // The key pair of the documentation of Go's note package.
    let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let head = TreeHead { size: 3, root: leaf_hash(b"root") };
    let body = format!("PeterNeumann\n{}\n{}\n", head.size, head.root);
    let mut note = Note::new(body.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&StandardSigner::new(private).unwrap()]).unwrap();
    let opened = SignedCheckpoint::open(&note.to_bytes(), &VerifierKey::parse(public).unwrap()).unwrap();
    assert_eq!(opened.head(), head);
}
