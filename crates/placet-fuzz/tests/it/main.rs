//! The short run: the seeds, the committed corpus, and some thousands of mutations of both, from one seed.
//!
//! ```text
//! cargo test -p placet-fuzz                                     # about twenty seconds
//! PLACET_FUZZ_SEED=7 PLACET_FUZZ_ROUNDS=10 cargo test -p placet-fuzz
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use placet_fuzz::{Mutator, TARGETS, Target};

/// The whole committed corpus of a target.
const CORPUS_BYTES_MAX: usize = 64 * 1024;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Tries it, and says how to try it again.
fn tried(target: &Target, input: &[u8], what: &str) {
    let tried = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    assert!(tried.is_ok(), "{}: {what} does not hold: b\"{}\"", target.name, input.escape_ascii());
}

/// Everything that is tried of a target.
fn run(target: &Target) {
    let seed = number("PLACET_FUZZ_SEED", 1);
    let rounds = u64::from(target.rounds) * number("PLACET_FUZZ_ROUNDS", 1);
    let mut known = Vec::new();
    for (name, input) in target.corpus() {
        tried(target, &input, &format!("corpus/{}/{name}", target.name));
        known.push(input);
    }
    assert!(known.iter().map(Vec::len).sum::<usize>() <= CORPUS_BYTES_MAX, "{}: a small corpus", target.name);
    for (number, input) in (target.seeds)().into_iter().enumerate() {
        tried(target, &input, &format!("seed {number}"));
        known.push(input);
    }
    println!("{}: {rounds} mutations of {} inputs from PLACET_FUZZ_SEED={seed}", target.name, known.len());
    let mut mutator = Mutator::new(seed);
    for round in 0..rounds {
        let input = mutator.input(&known, target.words);
        tried(target, &input, &format!("mutation {round} of PLACET_FUZZ_SEED={seed}"));
    }
}

/// A test for each, so that they run side by side and each says its name.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { run(placet_fuzz::target(stringify!($name)).unwrap()); })*

        #[test]
        fn every_target_has_its_test() {
            let tested = [$(stringify!($name)),*];
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, tested);
            for directory in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).unwrap() {
                let name = directory.unwrap().file_name().into_string().unwrap();
                assert!(names.contains(&name.as_str()), "corpus/{name} belongs to no target");
            }
        }
    };
}

tests!(
    canonical,
    action,
    names,
    text,
    bodies,
    recording,
    note,
    vkey,
    proof,
    tile,
    entries,
    frames,
    scanner,
    mcp_wire,
    mcp_events,
    mcp_catalogue,
    mcp_lists,
    workload_token,
    configuration,
    query,
    cookies,
    times,
    bundle,
    format,
    mapping,
);

#[test]
fn a_seed_makes_the_same_inputs_everywhere() {
    let known = vec![b"{\"a\":1}".to_vec(), b"[true]".to_vec()];
    let mut mutator = Mutator::new(1);
    let inputs: Vec<Vec<u8>> = (0..1000).map(|_| mutator.input(&known, &["null"])).collect();
    let mut again = Mutator::new(1);
    assert!(inputs.iter().all(|input| *input == again.input(&known, &["null"])));
    let distinct: std::collections::BTreeSet<_> = inputs.iter().collect();
    assert!(distinct.len() > 800, "{} of 1000 inputs are distinct", distinct.len());
}

#[test]
fn what_is_wrong_is_found() {
    // A reader with a mistake that no seed shows, and the property that it breaks.
    fn mistaken(data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        let read: Option<i64> = text.trim().parse().ok();
        if let Some(number) = read {
            assert_eq!(number.to_string(), text, "one spelling");
        }
    }
    let mut mutator = Mutator::new(1);
    let known = vec![b"127".to_vec(), b"-4".to_vec()];
    let found = (0..20_000).any(|_| {
        let input = mutator.input(&known, &[" "]);
        catch_unwind(|| mistaken(&input)).is_err()
    });
    assert!(found);
}
