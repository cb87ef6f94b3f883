//! The command enforcement point of this process, whoever its authority is: what `placet up` and `placet gateway` have in
//! common.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use placet_core::digest::Sha256Digest;
use placet_core::entropy::Entropy;
use placet_core::time::Clock;
use placet_gateway::authority::Authority;
use placet_gateway::blobs::{Blobs, Bounds};
use placet_gateway::commands::{ClockTimer, Commands, Pace, Parts};
use placet_gateway::runner::exec::{Engine, TERM_GRACE};
use placet_gateway::runner::record::ROOM_BYTES;
use placet_gateway::runner::room::Room;
use placet_gateway::runner::workdir::{WorkRoot, WorkRootError};
use tokio::sync::watch;

use crate::seal::FreshKey;

/// How often output and inputs that nobody came for are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Why there is no runner.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunnerError {
    /// A directory of its own cannot be used.
    #[error("use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has no place to work.
    #[error("prepare the runner")]
    Work(#[from] WorkRootError),
}

/// An enforcement point that keeps what it needs in this directory. `target` is the name by which requests know it.
pub(crate) fn commands(
    data: &Path,
    authority: Arc<dyn Authority>,
    target: String,
    output: Room,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Commands, RunnerError> {
    let work = WorkRoot::prepare(&work_root(data))?;
    let spools = private_directory(data.join("spool"))?;
    let blobs_dir = private_directory(data.join("blobs"))?;
    let blobs = Blobs::open(&blobs_dir, Bounds::default(), clock.clone())
        .map_err(|source| RunnerError::Io { path: blobs_dir, source })?;
    let seal_entropy = entropy.clone();
    Ok(Commands::new(Parts {
        authority,
        target,
        engine: Engine {
            supervisor: Engine::own_binary(),
            work,
            term_grace: TERM_GRACE,
            clock: clock.clone(),
            recordings: Room::of(ROOM_BYTES),
        },
        blobs,
        spools,
        output,
        seals: Arc::new(move |_| Box::new(FreshKey::new(&seal_entropy))),
        clock: clock.clone(),
        entropy: entropy.clone(),
        timer: Arc::new(ClockTimer(clock.clone())),
        pace: Pace::default(),
    }))
}

fn private_directory(path: PathBuf) -> Result<PathBuf, RunnerError> {
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(RunnerError::Io { path, source }),
    }
}

/// Programs work outside the data directory, through which no other user can pass.
fn work_root(data: &Path) -> PathBuf {
    let name = Sha256Digest::of(data.as_os_str().as_encoded_bytes()).to_string();
    let short: String = name.chars().take(12).collect();
    PathBuf::from(format!("/var/tmp/placet-runner-{}-{short}", nix::unistd::geteuid()))
}

/// Deletes what nobody came for, until it is time to stop.
pub(crate) async fn sweep(commands: Commands, clock: Arc<dyn Clock>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => commands.sweep(clock.now()),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}
