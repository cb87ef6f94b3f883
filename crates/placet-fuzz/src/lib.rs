//! Arbitrary bytes against every reader of what strangers send: none may panic, and each answer is held against
//! something that knows better — another implementation, a round trip, or a law.
//!
//! ```text
//! corpus/TARGET/* ──mutate──► bytes ──► Target::check ──► Ok(class) ── a new class? ──► it joins the pool
//!                                            └── panic, or a law that does not hold ──► crashes/TARGET-<hash>
//! ```
//!
//! The engine is small and of our own: coverage-guided fuzzing needs a nightly compiler, or a runtime under a licence
//! that we do not take. In place of coverage it follows *classes*: what a check answers (accepted, or which refusal)
//! tells inputs that went new ways from those that did not. Everything follows from the seed, so a run can be repeated.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test tool: what it panics on is what it looks for"
)]

mod ledger;
mod mutate;
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::mutate::Chance;
pub use crate::targets::TARGETS;

/// What a check says of an input: the class of its answer, or the law that does not hold.
pub type Verdict = Result<String, String>;

/// One reader, and what is known about its answers.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// How it is judged.
    pub check: fn(&[u8]) -> Verdict,
    /// Words of its language, to be strewn in.
    pub words: &'static [&'static str],
    /// Seeds that are made, not written: what is signed or hashed.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many inputs the short run tries: one to three seconds of them.
    pub short_run: u64,
}

/// An input that broke something.
#[derive(Debug)]
pub struct Crash {
    /// The bytes.
    pub input: Vec<u8>,
    /// What broke.
    pub why: String,
}

/// How a run went.
#[derive(Debug)]
pub struct Run {
    /// How many inputs were tried.
    pub tried: u64,
    /// How many classes of answers there were.
    pub classes: usize,
}

/// No input is longer, except as it stands in the corpus.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// How many inputs the pool holds at most.
const POOL_MAX: usize = 4096;

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Its corpus: crafted seeds, and what once broke something.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let directory = home().join("corpus").join(self.name);
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|_| panic!("{} is missing", directory.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        // The order of a directory is nobody's; that of names is everybody's.
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).chain((self.seeds)()).collect()
    }

    /// Judges one input; a panic is a broken law too.
    pub fn judge(&self, input: &[u8]) -> Result<String, Crash> {
        let verdict = catch_unwind(AssertUnwindSafe(|| (self.check)(input)));
        let broken = |why: String| Crash { input: input.to_vec(), why };
        match verdict {
            Ok(Ok(class)) => Ok(class),
            Ok(Err(law)) => Err(broken(law)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(broken(format!("it panicked: {}", text.unwrap_or("without words"))))
            }
        }
    }

    /// Judges the corpus, then mutations of it, while `more` says so after each round of a thousand.
    pub fn run(&self, seed: u64, mut more: impl FnMut(u64) -> bool) -> Result<Run, Crash> {
        let mut pool = self.corpus();
        let mut classes = BTreeSet::new();
        for input in &pool {
            classes.insert(self.judge(input)?);
        }
        let mut chance = Chance::new(seed);
        let mut tried = pool.len() as u64;
        while more(tried) {
            for _ in 0..100 {
                let input = mutate::mutated(&pool, self.words, &mut chance, INPUT_BYTES_MAX);
                tried += 1;
                let class = self.judge(&input)?;
                if pool.len() < POOL_MAX && classes.insert(class) {
                    pool.push(input);
                }
            }
        }
        Ok(Run { tried, classes: classes.len() })
    }
}

/// Writes a crash where it can be replayed and says where.
pub fn save(target: &Target, crash: &Crash) -> std::io::Result<PathBuf> {
    let directory = home().join("crashes");
    fs::create_dir_all(&directory)?;
    let hash: String =
        Sha256::digest(&crash.input).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(format!("{}-{hash}", target.name));
    fs::write(&path, &crash.input)?;
    Ok(path)
}

/// Where corpus and crashes are.
fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
