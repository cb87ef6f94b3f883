//! What a verifier reads of a log: notes, keys, checkpoints, proofs, paths, bundles of entries.

use placet_ledger::bundle::{push_entry, split_entries};
use placet_ledger::note::UnverifiedNote;
use placet_ledger::proof::{prove_consistency, prove_inclusion, verify_consistency, verify_inclusion};
use placet_ledger::tile::{Kind, growth};
use placet_ledger::{
    Checkpoint, Frontier, Hash, SignedCheckpoint, Tile, TlogProof, TreeHead, VerifierKey, leaf_hash,
};

use super::rfc6962::Leaves;
use super::{first, lossy};
use crate::seeds;

/// A note has one spelling, another reader takes what we take, and nothing is believed that our log did not sign.
pub(super) fn note(data: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::parse(&lossy(data)) {
        assert_eq!(checkpoint.to_string(), lossy(data));
    }
    let Ok(note) = UnverifiedNote::parse(data) else { return };
    let lines: String = note.signatures().iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(format!("{}\n{lines}", note.unverified_text()).as_bytes(), data, "one spelling");
    let theirs = signed_note::Note::from_bytes(data).expect("the other reader takes it too");
    assert_eq!(theirs.text(), note.unverified_text().as_bytes());
    for log in [seeds::signer().verifier_key(), seeds::signer().cosigner_key()] {
        if let Ok(verified) = note.verify(&[&log]) {
            assert!(!verified.is_empty());
            let signed = seeds::signed();
            let text = note.unverified_text();
            assert!(
                signed.iter().any(|ours| ours.starts_with(&format!("{text}\n"))),
                "a forged note: {text}"
            );
        }
    }
    if let Ok(opened) = SignedCheckpoint::open(data, &seeds::signer().verifier_key()) {
        assert_eq!(opened.note().as_bytes(), data);
    }
}

/// A key has one spelling; another reader takes each key of a log that we take.
pub(super) fn vkey(data: &[u8]) {
    let text = lossy(data);
    let Ok(key) = VerifierKey::parse(&text) else { return };
    assert_eq!(key.to_string(), text, "one spelling");
    if key.signature_type() == placet_ledger::vkey::SignatureType::Ed25519 {
        signed_note::StandardVerifier::new(&text).expect("the other reader takes it too");
    }
}

/// What is true is proven, and a proof with anything else in it proves nothing.
pub(super) fn proof(data: &[u8]) {
    file_of_a_proof(data);
    numbers(data);
    let [size, index, old, change, at, with, ..] = *data else { return };
    let size = 1 + usize::from(size % 70);
    let (index, old) = (usize::from(index) % size, usize::from(old) % (size + 1));
    let mut leaves = Leaves::numbered(size as u64);
    let mut frontier = Frontier::new();
    for leaf in &leaves.0 {
        frontier.append(*leaf).expect("there is room");
    }
    let (head, before) = (leaves.head(size as u64), leaves.head(old as u64));
    assert_eq!(frontier.head(), head);

    let inclusion = prove_inclusion(&mut leaves, index as u64, size as u64).expect("it is there");
    let leaf = leaves.0[index];
    verify_inclusion(leaf, index as u64, &head, &inclusion).expect("what is true is proven");
    let consistency = prove_consistency(&mut leaves, old as u64, size as u64).expect("it is older");
    verify_consistency(&before, &head, &consistency).expect("what is true is proven");
    for proof in [&inclusion, &consistency] {
        let altered = altered(proof, change, at, with);
        if altered != *proof {
            if proof == &inclusion {
                assert!(verify_inclusion(leaf, index as u64, &head, &altered).is_err());
            } else {
                assert!(verify_consistency(&before, &head, &altered).is_err());
            }
        }
    }
    let other = usize::from(with) % size;
    if other != index {
        assert!(verify_inclusion(leaf, other as u64, &head, &inclusion).is_err(), "another place");
        assert!(verify_inclusion(leaves.0[other], index as u64, &head, &inclusion).is_err(), "another entry");
    }
}

fn altered(proof: &[Hash], change: u8, at: u8, with: u8) -> Vec<Hash> {
    let mut altered = proof.to_vec();
    let place = usize::from(at) % (proof.len() + 1);
    match change % 4 {
        0 => altered.insert(place, leaf_hash(&[with])),
        1 if place < proof.len() => drop(altered.remove(place)),
        2 if place < proof.len() => {
            let mut bytes = *altered[place].as_bytes();
            bytes[usize::from(with) % bytes.len()] ^= 1 << (change >> 5);
            altered[place] = Hash::from_bytes(bytes);
        }
        _ => altered.reverse(),
    }
    altered
}

/// A file of a proof has one spelling, and proves only what our log signed.
fn file_of_a_proof(data: &[u8]) {
    let Ok(proof) = TlogProof::parse(data) else { return };
    assert_eq!(proof.to_string().as_bytes(), data, "one spelling");
    let key = seeds::signer().verifier_key();
    for entry in [seeds::entry(0), b"another".to_vec()] {
        if proof.verify(&entry, &key).is_ok() {
            assert_eq!((entry, proof.index), (seeds::entry(0), 0), "only this was logged");
        }
    }
}

/// Sizes and places of any height are answered, never with a panic.
fn numbers(data: &[u8]) {
    let mut words =
        data.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().expect("eight bytes")));
    let (Some(a), Some(b)) = (words.next(), words.next()) else { return };
    let hashes: Vec<Hash> = words.take(70).map(|word| leaf_hash(&word.to_be_bytes())).collect();
    let head = |size| TreeHead { size, root: leaf_hash(data) };
    assert!(verify_inclusion(leaf_hash(b"a"), a, &head(b), &hashes).is_err());
    if a != b && a != 0 {
        assert!(verify_consistency(&head(a), &head(b), &hashes).is_err());
    }
}

/// A path has one spelling, and tiles of a tree lie inside of it.
pub(super) fn tile(data: &[u8]) {
    let path = lossy(data);
    if let Ok(tile) = Tile::parse(&path) {
        assert_eq!(tile.path(), path, "one spelling");
        assert_eq!(Tile::new(tile.kind(), tile.index(), tile.width()), Ok(tile));
    }
    let (level, rest) = first(data);
    let mut words =
        rest.chunks(8).map(|word| word.iter().fold(0, |word: u64, byte| word << 8 | u64::from(*byte)));
    let (index, size) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    let kind = if level > 8 { Kind::Entries } else { Kind::Hashes { level } };
    for tile in [Tile::in_tree(kind, index, size), Tile::last_in_tree(kind, size)].into_iter().flatten() {
        assert_eq!(Tile::parse(&tile.path()), Ok(tile));
    }
    for tile in growth(index, size).take(40) {
        assert_eq!(Tile::parse(&tile.path()), Ok(tile));
    }
}

/// A bundle of entries has one spelling, and so has what the tree remembers of its edge.
pub(super) fn entries(data: &[u8]) {
    let (width, rest) = first(data);
    for width in [u16::from(width), u16::from_be_bytes([width, 255])] {
        if let Ok(entries) = split_entries(rest, width) {
            assert_eq!(entries.len(), usize::from(width));
            let mut bundle = Vec::new();
            entries.iter().for_each(|entry| push_entry(&mut bundle, entry).expect("it was in a bundle"));
            assert_eq!(bundle, rest, "one spelling");
        }
    }
    if let Ok(frontier) = Frontier::from_bytes(data) {
        assert_eq!(frontier.to_bytes(), data, "one spelling");
        assert_eq!(frontier.head().size, frontier.size());
    }
}
