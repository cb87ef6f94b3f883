//! Vectors that were computed by other programs.

use std::fs;

use placet_ledger::proof::{verify_consistency, verify_inclusion};
use placet_ledger::vkey::VerifierKey;
use placet_ledger::{
    Checkpoint, Frontier, Hash, PublishedLog, SignedCheckpoint, TlogProof, Verification, leaf_hash,
};

use crate::support::{entry, files, publish, signer, signer_named};

const ROOTS: [(u64, &str); 12] = [
    (0, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    (1, "giS+O8irA0csMmV1nJ67dbDN+Tt+bOF3oqUEaI5gsWA="),
    (2, "tGP9KNjZc5TB8UcasK0n+if8IROaspuwoHIIsJMKrfw="),
    (3, "6fGR4nENWChfLioCGCbrkTGg6DLqOxd+A7YqzwFrqqY="),
    (7, "9O0ASuc8Kgged+RmqyhYNHsSc65glQhtgITxfdmzseA="),
    (8, "Cd7G1fqcw9IZjECQ2kRYAiEtZxhu0MstiRI6j9UqEcg="),
    (255, "tlRbqYs0drk+mRrE8HF03q9tmrbcaWvfxJKdyrMbutM="),
    (256, "yzqmsxN74XUSaPgNkEgfvxOrpsT8nulQwadV2U7kda8="),
    (257, "D1iRehpP7R+/1RJOx5rtpsQRFfGRRrH+boprF5gIa4g="),
    (512, "/06FxN4hEhx3lSsoXPHy0mZNCP+hDZK1vcTFJ7mCqls="),
    (35_001, "Eus9OSGD0C1LM6eepOqKnIf+i+vVIakRdS2AXK0Pfbs="),
    (70_000, "4oR9mes72+ZIgvGXSTsYAFL6BJUKguZLEoPf44NRN1E="),
];
const LOG_KEY: &str = "placet.example/ledger+bb9b277e+AZsfhHkc/HZjBFhU04netcqVRJ2HXydqg4QLBgqznPxx";
const WITNESS_KEY: &str = "witness.example/w1+24c2fdca+BHun0VNAaOinILs4fYx9M8U2nh2Uos9enWj6iwn0agfE";
const LOG_LINE: &str = "— placet.example/ledger \
    u5snfve53wch9ggJjRFr79KzAIC6LSBtXDZ25ZgUeXJ3/y7ZIDIcnllGVGaECBXbqKBqNu1ATCbK/sky0W7XHgRNrwY=";
const WITNESS_LINE: &str = "— witness.example/w1 \
    JML9ygAAAABqsTuArMTrx/iGpyTSXWJu5SZiYSEXhhl8T2YqUB8R21fVhpsmd3hVJcgXLa4ThZ2FXXGPXKOsmCoKZ4e6hIUIeyb8Cg==";

#[test]
fn roots_of_the_frontier() {
    let mut frontier = Frontier::new();
    for (size, expected) in ROOTS {
        while frontier.size() < size {
            frontier.append(leaf_hash(&entry(frontier.size()))).unwrap();
        }
        assert_eq!(frontier.root().to_string(), expected, "size {size}");
    }
}

#[test]
fn keys_and_note_lines() {
    assert_eq!(signer().verifier_key().to_string(), LOG_KEY);
    let witness = signer_named("witness.example/w1", "wit");
    assert_eq!(witness.cosigner_key().to_string(), WITNESS_KEY);

    let head = placet_ledger::TreeHead { size: 70_000, root: Hash::parse_base64(ROOTS[11].1).unwrap() };
    let signed = Checkpoint::sign(head, &signer()).cosigned(&witness, 1_790_000_000);
    let expected = format!("placet.example/ledger\n70000\n{}\n\n{LOG_LINE}\n{WITNESS_LINE}\n", ROOTS[11].1);
    assert_eq!(signed.note(), expected);

    let keys = [LOG_KEY, WITNESS_KEY].map(|key| VerifierKey::parse(key).unwrap());
    let opened = SignedCheckpoint::open_with_cosigners(expected.as_bytes(), &keys[0], &keys[1..]).unwrap();
    assert_eq!(opened, signed);
}

#[test]
fn a_log_of_seventy_thousand_entries() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = publish(dir.path(), &[35_001, 70_000]);
    let (old, new) = (checkpoints[0].head(), checkpoints[1].head());
    assert_eq!((old.root.to_string(), new.root.to_string()), (ROOTS[10].1.into(), ROOTS[11].1.into()));
    assert!(checkpoints[1].note().ends_with(&format!("{LOG_LINE}\n")));

    // The tiles of the standard's own example.
    let names: Vec<String> = files(dir.path()).into_iter().map(|(name, _)| name).collect();
    let full =
        |prefix: &str| names.iter().filter(|name| name.starts_with(prefix) && !name.contains(".p/")).count();
    assert_eq!((full("tile/entries/"), full("tile/0/"), full("tile/1/"), full("tile/2/")), (273, 273, 1, 0));
    for partial in ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"] {
        assert!(names.iter().any(|name| name == partial), "{partial}");
    }
    assert_eq!(fs::metadata(dir.path().join("tile/0/272")).unwrap().len(), 8192);
    assert!(!dir.path().join("tile/0/136.p").exists(), "what a full tile has replaced is gone");

    let key = VerifierKey::parse(LOG_KEY).unwrap();
    let mut log = PublishedLog::open(dir.path(), &key).unwrap();
    let inclusion = log.inclusion(12_345).unwrap();
    assert_eq!(inclusion.len(), 17);
    assert!(inclusion[0].to_string().starts_with("SS45NGPz"));
    assert!(inclusion[16].to_string().starts_with("yEMP72aZ"));
    assert_eq!(verify_inclusion(leaf_hash(&entry(12_345)), 12_345, &new, &inclusion), Ok(()));
    let consistency = log.consistency(35_001).unwrap();
    assert_eq!(consistency.len(), 18);
    assert!(consistency[0].to_string().starts_with("IZiFbBSp"));
    assert_eq!(verify_consistency(&old, &new, &consistency), Ok(()));

    for index in [0, 1, 255, 256, 35_001, 65_535, 65_536, 69_999] {
        assert_eq!(log.entry(index).unwrap(), entry(index));
        let (bytes, proof) = log.entry_and_proof(index).unwrap();
        let read = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(&bytes, &key).unwrap(), checkpoints[1]);
    }

    let mut seen = 0;
    let verification = Verification::open(dir.path(), &key).unwrap().continuing(&checkpoints[0]).unwrap();
    let report = verification
        .run(|index, bytes| {
            assert_eq!((index, bytes), (seen, &entry(index)[..]));
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((seen, report.entries, report.older_checkpoints), (70_000, 70_000, 1));
    assert_eq!(report.tiles, 273 + 1 + 1 + 1 + 1);
    assert_eq!(report.entry_bytes, (0..70_000).map(|i| entry(i).len() as u64).sum::<u64>());
}
