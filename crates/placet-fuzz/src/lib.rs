//! What strangers may send, each reader of it as a function over any bytes that states what has to hold: what is read is
//! written back the same, another reader agrees, pieces are read as the whole is, nothing forged is believed.
//!
//! ```text
//! TARGETS ─┬─ tests/it: the corpus, the seeds, and some thousands of mutations of both, from one seed   (cargo test)
//!          └─ ../../fuzz: the same functions under libFuzzer, guided by coverage                      (cargo xtask fuzz)
//! ```
//!
//! A target that finds something panics. Its input then goes into `corpus/TARGET/`, named after what was wrong, and is
//! tried by every test run from then on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target that finds something says so by panicking"
)]

mod config;
mod mutator;
mod seeds;
mod targets;

use std::path::{Path, PathBuf};

pub use mutator::Mutator;

/// A reader of what strangers send.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called, on the command line and in `corpus/`.
    pub name: &'static str,
    /// What has to hold of any bytes.
    pub run: fn(&[u8]),
    /// Inputs that it reads, made from our own formats.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its format, which no chance would find.
    pub words: &'static [&'static str],
    /// How many mutated inputs the test command tries: as many as fit into about a second without optimisation.
    pub rounds: u32,
}

/// All of them.
pub const TARGETS: &[Target] = targets::ALL;

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Where its committed inputs are.
    pub fn corpus_directory(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// Its committed inputs, with their files' names, in the order of these.
    pub fn corpus(&self) -> Vec<(String, Vec<u8>)> {
        let Ok(directory) = std::fs::read_dir(self.corpus_directory()) else { return Vec::new() };
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.expect("the corpus can be listed");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("an input can be read"))
        };
        let mut found: Vec<_> = directory.map(read).collect();
        found.sort();
        found
    }
}
