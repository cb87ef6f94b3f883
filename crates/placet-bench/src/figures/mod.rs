//! What is measured, a module for each thing that is set up once.

mod canonical;
mod decisions;
mod ledger;
mod parking;
mod policy;
mod process;
mod resume;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::client::{Caller, Door};
use crate::figure::Figure;
use crate::space::Space;
use crate::subject::{Setup, Subject};
use crate::{Result, Scale};

/// A name, what it is about, and how it is measured.
type Measure = (&'static str, &'static str, fn(&Bench) -> Result<Vec<Figure>>);

/// Everything, in the order of the report. What is measured within this process comes first: ten thousand callers leave it
/// with a heap in which every allocation is slow.
pub(crate) const ALL: [Measure; 11] = [
    ("policy", "one decision of policy", policy::measure),
    ("canonical", "canonical form and digest", canonical::measure),
    ("ledger", "verifying the log", ledger::measure),
    ("http-1", "one caller over HTTP, permitted at once", decisions::one),
    ("http-64", "64 callers over HTTP, permitted at once", decisions::many),
    ("park", "requests that wait for people: rate, disk, memory, inbox, restart", parking::measure),
    ("resume", "from a vote to the caller that it resumes, while ten thousand others wait", resume::measure),
    ("tools", "calls of tools that policy permits, beside the same calls without placet", tools::permitted),
    ("tools-held", "calls of tools that wait for people: memory, and how soon a vote is heard", tools::held),
    ("run", "placet run against running the program", process::run),
    ("process", "start, memory at rest, size", process::process),
];

/// What every figure needs.
pub(crate) struct Bench {
    /// The placet to measure.
    pub(crate) binary: PathBuf,
    /// How much is measured.
    pub(crate) scale: Scale,
    /// A directory on the disk that is measured; removed at the end.
    pub(crate) space: Space,
    runtime: Runtime,
}

impl Bench {
    /// Prepares to measure this binary.
    pub(crate) fn new(binary: &Path, scale: Scale) -> Result<Bench> {
        let binary = std::path::absolute(binary)?;
        // Beside the programs: a temporary directory of the system may be in memory, where nothing is durable.
        let beside = std::env::current_exe()?.parent().ok_or("no directory")?.to_owned();
        let space = Space::below(&beside)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Bench { binary, scale, space, runtime })
    }

    /// One of three, by how much is measured.
    pub(crate) fn by_scale<T>(&self, smoke: T, quick: T, full: T) -> T {
        match self.scale {
            Scale::Smoke => smoke,
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }

    /// How many rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.by_scale(1, 3, 7)
    }

    /// How long one round of load takes.
    pub(crate) fn round_time(&self) -> Duration {
        Duration::from_millis(self.by_scale(200, 1500, 3000))
    }

    /// How many fdatasyncs one round takes.
    pub(crate) fn fdatasyncs(&self) -> usize {
        self.by_scale(20, 200, 500)
    }

    /// Runs this to its end on the one thread of the load generator.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        LocalSet::new().block_on(&self.runtime, future)
    }

    /// A running placet.
    pub(crate) fn subject(&self, setup: Setup) -> Result<Subject> {
        Subject::start(&self.binary, self.space.path(), setup)
    }

    /// So many callers at a door.
    pub(crate) fn callers(&self, doors: &[Door], count: usize) -> Result<Vec<Caller>> {
        self.block_on(async {
            let mut callers = Vec::with_capacity(count);
            for door in doors.iter().cycle().take(count) {
                callers.push(Caller::connect(door).await?);
            }
            Ok(callers)
        })
    }
}
