//! A place to run programs: directories of its own, a supervisor, and an identity to execute as.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use placet_core::action::Recorded;
use placet_core::digest::Sha256Digest;
use placet_core::id::ExecutionId;
use placet_core::secret::Secret;
use placet_core::time::{Clock, Timestamp};
use placet_gateway::frames::{Decoder, Kind};
use placet_gateway::runner::config::RunAs;
use placet_gateway::runner::exec::{Engine, Launch, Report, Running};
use placet_gateway::runner::program::Program;
use placet_gateway::runner::record::ROOM_BYTES;
use placet_gateway::runner::room::Room;
use placet_gateway::runner::spool::{Spool, SpoolSeal};
use placet_gateway::runner::user::Identity;
use placet_gateway::runner::workdir::{Input, WorkRoot};
use tempfile::TempDir;

/// Long enough for a slow machine; reached only by a defect.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Each look at this clock is a millisecond later than the last one.
pub(crate) struct Ticking(AtomicU64);

impl Ticking {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Ticking(AtomicU64::new(1_790_000_000_000)))
    }
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(1, Ordering::Relaxed) as i64)
    }
}

/// Passes blocks through.
pub(crate) struct Open;
impl SpoolSeal for Open {
    fn seal(&self, _: u64, plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }
    fn open(&self, _: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) identity: Identity,
    pub(crate) shared: TempDir,
    pub(crate) cap: u64,
    programs: TempDir,
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A bench that executes as placet's own user, and as root one that executes as `nobody`.
pub(crate) fn benches() -> Vec<Bench> {
    let mut benches = vec![Bench::new(&RunAs::DangerSameUser)];
    if is_root() {
        benches.push(Bench::new(&RunAs::User("nobody".into())));
    }
    benches
}

impl Bench {
    pub(crate) fn new(run_as: &RunAs) -> Self {
        let shared = tempfile::tempdir().unwrap();
        fs::set_permissions(shared.path(), Permissions::from_mode(0o711)).unwrap();
        let identity = Identity::resolve(run_as).unwrap();
        let engine = Engine {
            supervisor: PathBuf::from(env!("CARGO_BIN_EXE_placet-supervise")),
            work: WorkRoot::prepare(&shared.path().join("work")).unwrap(),
            term_grace: Duration::from_millis(50),
            clock: Ticking::new(),
            recordings: Room::of(ROOM_BYTES),
        };
        engine.work.check_reachable(&identity).unwrap();
        Bench { engine, identity, shared, cap: 1 << 30, programs: trusted_directory() }
    }

    /// Writes an executable where nobody else can.
    pub(crate) fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.programs.path().join(name);
        write_executable(&path, content);
        path
    }

    /// Writes bytes that placet keeps, as an input under this name.
    pub(crate) fn input(&self, name: &str, content: &str) -> Input {
        let stored = self.shared.path().join(format!("stored-{name}"));
        fs::write(&stored, content).unwrap();
        Input { name: name.to_owned(), stored, sha256: Sha256Digest::of(content.as_bytes()) }
    }

    /// A named pipe that the executing user can write to. Reading it to its end proves that no one has it open.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.shared.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        path
    }

    pub(crate) fn start(&self, mut launch: Launch) -> Running {
        launch.identity = self.identity.clone();
        let seal = Box::new(Open);
        let name = launch.execution.to_string();
        let spool = Spool::create(self.shared.path(), &name, seal, self.cap, &Room::of(1 << 30)).unwrap();
        self.engine.start(launch, Arc::new(spool)).unwrap()
    }

    pub(crate) async fn run(&self, launch: Launch) -> Done {
        let running = self.start(launch);
        finish(&running).await
    }

    pub(crate) async fn shell(&self, script: &str) -> Done {
        self.run(shell(script)).await
    }
}

/// A directory that only we can write to, on a path that only we and root can write to.
pub(crate) fn trusted_directory() -> TempDir {
    placet_testkit::trusted_directory(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

pub(crate) fn write_executable(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn execution() -> ExecutionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) | u64::from(std::process::id()) << 32;
    ExecutionId::from_bytes(u128::from(number).to_be_bytes())
}

/// A launch of whatever is at `path`.
pub(crate) fn launch(path: &str, arguments: &[&str]) -> Launch {
    Launch {
        execution: execution(),
        identity: Identity::resolve(&RunAs::DangerSameUser).unwrap(),
        program: Program::open(Path::new(path)).unwrap().pins().to_vec(),
        argv: std::iter::once(path).chain(arguments.iter().copied()).map(str::to_owned).collect(),
        environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        secrets: BTreeMap::new(),
        inputs: Vec::new(),
        stdin: None,
        record: Recorded::Nothing,
    }
}

pub(crate) fn shell(script: &str) -> Launch {
    launch("/bin/sh", &["-c", script])
}

pub(crate) fn with_secret(mut launch: Launch, variable: &str, secret: &str) -> Launch {
    launch.secrets.insert(variable.to_owned(), Secret::new(secret));
    launch
}

pub(crate) struct Done {
    pub(crate) report: Arc<Report>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) async fn finish(running: &Running) -> Done {
    let report = tokio::time::timeout(PATIENCE, running.finished()).await.expect("it ends").unwrap();
    let (stdout, stderr) = output(&running.spool);
    let (sha256, bytes) = (Sha256Digest::of(&stdout), stdout.len() as u64);
    assert_eq!(report.stdout_sha256, sha256, "the hash is over what was delivered");
    assert_eq!(report.end.stdout_bytes, bytes);
    assert_eq!(report.end.stderr_bytes, stderr.len() as u64);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done { report, stdout: text(stdout), stderr: text(stderr) }
}

/// What is in the spool now, as (stdout, stderr).
pub(crate) fn output(spool: &Spool) -> (Vec<u8>, Vec<u8>) {
    let mut decoder = Decoder::default();
    let (mut stdout, mut stderr, mut offset) = (Vec::new(), Vec::new(), 0);
    loop {
        let bytes = spool.read(offset).unwrap();
        if bytes.is_empty() {
            return (stdout, stderr);
        }
        offset += bytes.len() as u64;
        decoder.push(&bytes);
        while let Some(frame) = decoder.next_frame().unwrap() {
            match frame.kind {
                Kind::Stdout => stdout.extend_from_slice(&frame.payload),
                Kind::Stderr => stderr.extend_from_slice(&frame.payload),
                Kind::KeepAlive | Kind::End => {}
            }
        }
    }
}

/// Waits until the program has written this to standard output.
pub(crate) async fn until_written(running: &Running, expected: &str) {
    let mut progress = running.spool.progress();
    let written = |spool: &Spool| String::from_utf8_lossy(&output(spool).0).contains(expected);
    let waiting = progress.wait_for(|_| written(&running.spool));
    tokio::time::timeout(PATIENCE, waiting).await.expect("the program gets there").unwrap();
}

/// Does blocking work on a thread of its own, which a failing test does not wait for.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(work()).ok());
    tokio::time::timeout(PATIENCE, result).await.expect("it ends").expect("it does not panic")
}

/// Reads a named pipe to its end, that is, until no process has it open for writing.
pub(crate) async fn drained(fifo: &Path) -> String {
    let fifo = fifo.to_owned();
    elsewhere(move || {
        let mut text = String::new();
        fs::File::open(fifo).unwrap().read_to_string(&mut text).unwrap();
        text
    })
    .await
}
