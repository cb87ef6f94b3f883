//! Targets of the ledger, held against `signed_note` and `tlog_tiles`, which are ports of Go's code, and against a tree
//! whose every true proof is known.

use placet_ledger::note::UnverifiedNote;
use placet_ledger::proof::{
    HashReader, Node, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use placet_ledger::{
    Checkpoint, Frontier, Hash, ReadError, SignedCheckpoint, Signer, Tile, TlogProof, TreeHead, VerifierKey,
    bundle, leaf_hash, node_hash, vkey::KeyName,
};
use sha2::{Digest as _, Sha256};
use signed_note::Note;

use crate::Verdict;

/// The words of a refusal, without what it says about this one input.
fn refused(error: impl std::fmt::Display) -> Verdict {
    Ok(error.to_string().chars().filter(|character| !character.is_ascii_digit()).take(60).collect())
}

fn signer() -> Signer {
    let name = KeyName::parse("placet.example/ledger").unwrap();
    Signer::from_seed(name, &Sha256::digest("log").into())
}

/// The only checkpoint that this key has ever signed.
fn signed_once() -> SignedCheckpoint {
    Checkpoint::sign(Leaves::of(37).head(), &signer())
}

pub(crate) fn notes_seeds() -> Vec<Vec<u8>> {
    let witness = Signer::from_seed(KeyName::parse("witness.example/w1").unwrap(), &[7; 32]);
    let signed = signed_once();
    let cosigned = signed_once().cosigned(&witness, 1_790_000_000);
    vec![signed.note().as_bytes().to_vec(), cosigned.note().as_bytes().to_vec()]
}

pub(crate) fn vkeys_seeds() -> Vec<Vec<u8>> {
    vec![signer().verifier_key().to_string().into_bytes(), signer().cosigner_key().to_string().into_bytes()]
}

pub(crate) fn frontiers_seeds() -> Vec<Vec<u8>> {
    [0, 1, 2, 37, 64]
        .map(|size| {
            let mut frontier = Frontier::new();
            Leaves::of(size).0.iter().for_each(|leaf| {
                frontier.append(*leaf).unwrap();
            });
            frontier.to_bytes()
        })
        .to_vec()
}

pub(crate) fn proofs_seeds() -> Vec<Vec<u8>> {
    let inclusion = [(0, 1), (3, 7), (36, 37), (63, 64)].map(|(index, size)| {
        let proof = prove_inclusion(&mut Leaves::of(64), index, size).unwrap();
        let hashes = proof.iter().flat_map(|hash| hash.as_bytes().to_vec());
        [index as u8, 1, size as u8].into_iter().chain(hashes).collect()
    });
    let consistency = [(1, 2), (3, 7), (6, 8), (37, 64)].map(|(old, new)| {
        let proof = prove_consistency(&mut Leaves::of(64), old, new).unwrap();
        let hashes = proof.iter().flat_map(|hash| hash.as_bytes().to_vec());
        [0, old as u8, new as u8].into_iter().chain(hashes).collect()
    });
    inclusion.into_iter().chain(consistency).collect()
}

/// Our parser takes no note that theirs refuses, and reads the same; nothing verifies but what was signed.
pub(crate) fn notes(input: &[u8]) -> Verdict {
    let opened = SignedCheckpoint::open(input, &signer().verifier_key());
    if let Ok(opened) = &opened
        && opened.head() != signed_once().head()
    {
        return Err(format!("a checkpoint opens that was never signed: {:?}", opened.head()));
    }
    let note = match UnverifiedNote::parse(input) {
        Ok(note) => note,
        Err(error) => return refused(error),
    };
    let theirs =
        Note::from_bytes(input).map_err(|error| format!("signed_note refuses this note: {error:?}"))?;
    if theirs.text() != note.unverified_text().as_bytes() {
        return Err("signed_note reads another text".to_owned());
    }
    Ok(format!("{} signatures, opens: {}", note.signatures().len(), opened.is_ok()))
}

/// A key reads back as it was written, and theirs takes it too.
pub(crate) fn vkeys(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else { return Ok("not text".to_owned()) };
    let key = match VerifierKey::parse(text) {
        Ok(key) => key,
        Err(error) => return refused(error),
    };
    if key.to_string() != text {
        return Err(format!("{text:?} is written {key}"));
    }
    // Keys of cosigners have a type of their own, which theirs does not know.
    let theirs = signed_note::StandardVerifier::new(text).is_ok();
    Ok(format!("a key; theirs: {theirs}"))
}

/// A tile has one path, and theirs reads it as the same tile. A bundle of entries has one reading.
pub(crate) fn tiles(input: &[u8]) -> Verdict {
    let width = input.first().copied().unwrap_or(0);
    if let Ok(entries) = bundle::split_entries(input.get(1..).unwrap_or_default(), width.into()) {
        let mut again = Vec::new();
        for entry in &entries {
            bundle::push_entry(&mut again, entry).map_err(|error| error.to_string())?;
        }
        if again != input[1..] || entries.len() != usize::from(width) {
            return Err("a bundle of entries reads as another one".to_owned());
        }
    }
    let Ok(text) = std::str::from_utf8(input) else { return Ok("not text".to_owned()) };
    let tile = match Tile::parse(text) {
        Ok(tile) => tile,
        Err(_) => return Ok("not a tile".to_owned()),
    };
    if tile.path() != text {
        return Err(format!("{text:?} is written {:?}", tile.path()));
    }
    // Go's paths name the height; those of C2SP do not.
    let with_height = text.replacen("tile/", "tile/8/", 1).replace("/entries/", "/data/");
    match tlog_tiles::Tile::from_path(&with_height) {
        Ok(_) => Ok(format!("{:?}", tile.kind())),
        // Theirs counts on where ours ends.
        Err(error) => Err(format!("tlog_tiles refuses {with_height}: {error:?}")),
    }
}

/// The stored form of a tree's edge has one reading.
pub(crate) fn frontiers(input: &[u8]) -> Verdict {
    match Frontier::from_bytes(input) {
        Ok(frontier) if frontier.to_bytes() == input => Ok(format!("{} hashes", frontier.hashes().len())),
        Ok(_) => Err("it is written differently".to_owned()),
        Err(error) => refused(error),
    }
}

/// Nothing is proven but the truth: `index, old size, new size, hashes…`, over a tree of 64 leaves.
pub(crate) fn proofs(input: &[u8]) -> Verdict {
    let proof = TlogProof::parse(input);
    if let Ok(proof) = &proof
        && proof.verify(b"an entry that is in no tree", &signer().verifier_key()).is_ok()
    {
        return Err("an entry is proven that is in no tree".to_owned());
    }
    let number = |at: usize| u64::from(input.get(at).copied().unwrap_or(0)) % 66;
    let (index, old, new) = (number(0), number(1), number(2).min(64));
    let hashes: Vec<Hash> = input
        .get(3..)
        .unwrap_or_default()
        .chunks(32)
        .filter_map(|chunk| Hash::from_slice(chunk).ok())
        .collect();
    let mut leaves = Leaves::of(64);
    let head = Leaves::of(new).head();
    let leaf = leaves.0.get(index as usize).copied().unwrap_or(Hash::EMPTY_ROOT);
    let mut class = format!("parses: {}", proof.is_ok());
    for (what, given) in
        [("given", hashes), ("true", prove_inclusion(&mut leaves, index, new).unwrap_or_default())]
    {
        let holds = verify_inclusion(leaf, index, &head, &given).is_ok();
        let truth = prove_inclusion(&mut leaves, index, new).is_ok_and(|truth| truth == given);
        if holds != truth {
            return Err(format!("inclusion of {index} in {new}: {holds}, and the truth is {truth}"));
        }
        class += &format!("; {what} inclusion {holds}");
        let older = Leaves::of(old.min(64)).head();
        let holds = verify_consistency(&older, &head, &given).is_ok();
        let truth = prove_consistency(&mut leaves, older.size, new).is_ok_and(|truth| truth == given);
        if holds && !truth && older.size != new && older.size != 0 {
            return Err(format!("consistency of {old} with {new} holds, and is not the proof"));
        }
        class += &format!("; {what} consistency {holds}");
    }
    Ok(class)
}

/// Leaves, and any subtree of them by the definition.
struct Leaves(Vec<Hash>);

impl Leaves {
    fn of(size: u64) -> Self {
        Leaves((0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect())
    }

    fn head(&self) -> TreeHead {
        TreeHead { size: self.0.len() as u64, root: root(&self.0) }
    }
}

fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

impl HashReader for Leaves {
    fn hash(&mut self, node: Node) -> Result<Hash, ReadError> {
        let (start, width) = ((node.index << node.height) as usize, 1_usize << node.height);
        Ok(root(&self.0[start..start + width]))
    }
}
