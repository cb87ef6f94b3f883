//! Verifying the log, offline and whole.

use std::ops::Range;

use placet_ledger::note::Signer;
use placet_ledger::vkey::KeyName;
use placet_ledger::{Frontier, Publisher, Verification, leaf_hash};

use super::Bench;
use crate::Result;
use crate::figure::{Aim, Figure, Round};
use crate::floor::sha256_us;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let directory = bench.space.path().join("ledger");
    let entries = bench.by_scale(1_000, 50_000, 200_000);
    let signer = Signer::from_seed(KeyName::parse("placet.bench/ledger")?, &[7; 32]);
    let key = signer.verifier_key();
    let mut frontier = Frontier::new();
    for index in 0..entries {
        frontier.append(leaf_hash(&entry(index)))?;
    }
    let mut read = |range: Range<u64>| std::io::Result::Ok(range.map(entry).collect::<Vec<_>>());
    Publisher::open(&directory, signer)?.publish(frontier.head(), &mut read)?;

    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let floor = 1e6 / sha256_us(&entry(0), 20_000);
        let began = std::time::Instant::now();
        let report = Verification::open(&directory, &key)?.run(|_, _| Ok(()))?;
        let value = report.entries as f64 / began.elapsed().as_secs_f64();
        rounds.push(Round { value, floor: Some(floor), cpu: None });
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(vec![Figure {
        name: "verify",
        what: format!("Verifying a log of {entries} entries of {} bytes, on one core", entry(0).len()),
        unit: "entries/s",
        aim: Aim::AtLeast(300_000.0),
        floor: "one SHA-256 of such an entry",
        rounds,
        note: String::new(),
    }])
}

/// An entry as long as one that placet writes about an intake.
fn entry(index: u64) -> Vec<u8> {
    let mut entry = format!("{{\"v\":1,\"index\":{index:020},\"_sd\":[").into_bytes();
    entry.resize(1_000, b'x');
    entry
}
