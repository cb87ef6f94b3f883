//! The crash matrix: the real binary is killed before every write on the way from intake to outcome, or the write
//! fails, or the last one is torn; then it starts again, and no promise may be broken.
//!
//! ```text
//! cargo test -p placet --test crash       every fsync, and some of the writes between them
//! cargo xtask crash                       every write; with `--every 3` every third
//! ```
//!
//! After each: no acknowledged step is lost, what was not acknowledged happened or did not, nothing was carried out
//! twice or without an entry that permits it, the work goes on to its end, and the log verifies and continues the
//! checkpoint that was kept before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by panicking, its helpers too"
)]

#[path = "../it/harness.rs"]
mod harness;
#[path = "../it/people.rs"]
#[allow(dead_code, reason = "each feature uses a part of it")]
mod people;

mod external;
mod run;
mod stage;
mod victim;

use stage::{Flow, Stage};
use victim::{Point, can_trace};

/// A row of the matrix: a call that dies or fails, at each place where it is made.
struct Row {
    call: &'static str,
    file: Option<&'static str>,
    what: &'static str,
    /// In the test command only every so manieth place is tried; zero leaves the row out of it.
    stride: u32,
    /// Whether the write that is not yet on the disk is torn afterwards.
    torn: bool,
    /// Which flow makes such calls, if not all do.
    only: Option<&'static str>,
}

const KILLED: &str = "signal=SIGKILL";
const DATABASE: Option<&str> = Some("placet.db-wal");

/// What most rows say.
const ROW: Row = Row { call: "", file: None, what: KILLED, stride: 0, torn: false, only: None };

const MATRIX: [Row; 14] = [
    Row { call: "fsync", file: DATABASE, stride: 1, ..ROW },
    Row { call: "fsync", file: DATABASE, stride: 2, torn: true, ..ROW },
    Row { call: "pwrite64", file: DATABASE, stride: 37, ..ROW },
    Row { call: "fsync", file: DATABASE, what: "error=EIO", stride: 2, ..ROW },
    Row { call: "pwrite64", file: DATABASE, what: "error=ENOSPC", stride: 53, ..ROW },
    Row { call: "pwrite64", file: DATABASE, what: "error=EIO", ..ROW },
    // Keys are written before what they seal.
    Row { call: "pwrite64", file: Some("keys/keys.db"), stride: 3, ..ROW },
    Row { call: "pwrite64", file: Some("keys/keys.db-journal"), ..ROW },
    Row { call: "fsync", file: Some("keys/keys.db"), what: "error=EIO", stride: 1, ..ROW },
    // The published log: tiles, then the checkpoint.
    Row { call: "rename", stride: 4, ..ROW },
    Row { call: "fsync", ..ROW },
    Row { call: "rename", what: "error=ENOSPC", ..ROW },
    // It is done, and nobody is told.
    Row { call: "writev", stride: 2, ..ROW },
    Row { call: "sendto", only: Some(run::NAME), ..ROW },
];

/// No row has more places than this; one that does is not deterministic.
const PLACES_MAX: u32 = 400;

/// Goes through the whole matrix, or through the part of it that the test command has time for.
fn sweep(flow: &dyn Flow) {
    if !can_trace() {
        return;
    }
    let every =
        std::env::var("PLACET_CRASH").ok().map(|every| every.parse().expect("PLACET_CRASH is a number"));
    let stage = Stage::set(flow);
    let mut tried = 0;
    for row in &MATRIX {
        let stride = every.unwrap_or(row.stride);
        if stride == 0 || row.only.is_some_and(|only| only != flow.name()) {
            continue;
        }
        let before = tried;
        for when in (1..=PLACES_MAX).step_by(stride as usize) {
            let point = Point { call: row.call, file: row.file, what: row.what, when };
            let reached = stage.play(flow, &point, row.torn);
            tried += 1;
            if !reached {
                assert!(when > 1, "{point:?}: nobody ever comes there");
                break;
            }
            assert!(when < PLACES_MAX, "{point:?}: it does not end");
        }
        println!(
            "{}: {} {} of {}, {} places",
            flow.name(),
            row.call,
            row.what,
            row.file.unwrap_or("any file"),
            tried - before
        );
    }
    println!("{tried} crashes and failures of {}", flow.name());
}

#[test]
fn an_external_action_survives_a_crash_before_every_write() {
    sweep(&external::External);
}

#[test]
fn a_command_survives_a_crash_before_every_write() {
    sweep(&run::Run);
}
