//! Placet's side of one execution: starts the supervisor, moves output into the spool, stops what has to be stopped, and
//! says at the end what happened.
//!
//! Each execution has three threads: one that conducts it and one for each output stream. All of it is blocking work with
//! pipes and files; how many there may be at a time is bounded by the runner.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use placet_api::recording::Stream;
use placet_core::action::{FilePin, Recorded};
use placet_core::digest::Sha256Digest;
use placet_core::id::ExecutionId;
use placet_core::secret::Secret;
use placet_core::time::Clock;
use tokio::sync::watch;

use super::processes;
use super::record::{Kept, Recorder};
use super::room::Room;
use super::scan::{Scanner, Seen};
use super::spool::Spool;
use super::supervisor;
use super::user::Identity;
use super::wire::{self, Job, Refusal, SecretBytes};
use super::workdir::{Input, WorkRoot};
use crate::frames::{End, EndStatus, Kind};
use crate::hash::Hasher;

/// Between TERM and KILL.
pub const TERM_GRACE: Duration = Duration::from_secs(10);

/// How much of standard error is kept for the outcome's summary: its end, where programs say why they failed.
const STDERR_TAIL_BYTES: usize = 2048;

/// What does not change from one execution to the next.
#[derive(Clone)]
pub struct Engine {
    /// The binary that becomes the supervisor; [`Engine::own_binary`] unless a test says otherwise.
    pub supervisor: PathBuf,
    /// Where private directories are made.
    pub work: WorkRoot,
    /// Between TERM and KILL; [`TERM_GRACE`] unless a test says otherwise.
    pub term_grace: Duration,
    /// For the duration, and for recordings.
    pub clock: Arc<dyn Clock>,
    /// Where recordings grow, those of all executions together.
    pub recordings: Room,
}

/// One program to run: everything about it was reviewed.
pub struct Launch {
    /// Its id.
    pub execution: ExecutionId,
    /// Who executes.
    pub identity: Identity,
    /// The files to execute.
    pub program: Vec<FilePin>,
    /// All tokens.
    pub argv: Vec<String>,
    /// The whole environment but the secrets.
    pub environment: BTreeMap<String, String>,
    /// The secrets, by the variable that carries them.
    pub secrets: BTreeMap<String, Secret>,
    /// Files to attach.
    pub inputs: Vec<Input>,
    /// Standard input; its name plays no part.
    pub stdin: Option<Input>,
    /// What is kept of what it writes.
    pub record: Recorded,
}

/// Why an execution was stopped from outside the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The requester, or the operator, wanted no more of it.
    Cancelled,
    /// Its time was over.
    LeaseExpired,
    /// It wrote more than it may.
    OutputCap,
    /// It wrote a secret to standard output.
    SecretLeaked,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The last word, ready to be delivered as the end frame.
    pub end: End,
    /// SHA-256 over standard output exactly as delivered.
    pub stdout_sha256: Sha256Digest,
    /// The end of standard error, scrubbed. What a program wrote is not to be trusted.
    pub stderr_tail: String,
}

/// An execution that goes on whether anyone looks or not.
#[derive(Clone)]
pub struct Running {
    /// Its output.
    pub spool: Arc<Spool>,
    stopper: Arc<Stopper>,
    report: watch::Receiver<Option<Arc<Report>>>,
    recording: Arc<Mutex<Option<Kept>>>,
}

impl Engine {
    /// The path under which a process can start the binary it runs from, also when that was replaced on disk.
    pub fn own_binary() -> PathBuf {
        PathBuf::from("/proc/self/exe")
    }

    /// Starts an execution. Fails only if the machine has no thread or socket left; whatever goes wrong later is in the
    /// report.
    pub fn start(&self, launch: Launch, spool: Arc<Spool>) -> io::Result<Running> {
        let (ours, theirs) = UnixStream::pair()?;
        let stopper = Arc::new(Stopper { control: ours.try_clone()?, state: Mutex::default() });
        let (reporter, report) = watch::channel(None);
        let recording = Arc::new(Mutex::default());
        let running = Running {
            spool: Arc::clone(&spool),
            stopper: Arc::clone(&stopper),
            report,
            recording: Arc::clone(&recording),
        };
        let conductor = Conductor { engine: self.clone(), control: ours, stopper, spool, recording };
        thread::Builder::new().name("execution".to_owned()).spawn(move || {
            let report = conductor.conduct(launch, theirs);
            // Nobody may be waiting any more.
            let _ = reporter.send(Some(Arc::new(report)));
        })?;
        Ok(running)
    }
}

impl Running {
    /// Stops it: gently for a cancellation, at once for everything else. The first reason is the one that is reported.
    pub fn stop(&self, why: Stop) {
        self.stopper.stop(why);
    }

    /// Waits until it is over.
    pub async fn finished(&self) -> Option<Arc<Report>> {
        let mut report = self.report.clone();
        let seen = report.wait_for(Option::is_some).await.ok()?;
        seen.clone()
    }

    /// The recording, once it is over. It is large, so whoever takes it has the only one.
    pub fn take_recording(&self) -> Option<Kept> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells the supervisor to stop, but not before it was told what to do.
struct Stopper {
    control: UnixStream,
    state: Mutex<StopState>,
}

#[derive(Default)]
struct StopState {
    instructed: bool,
    reason: Option<Stop>,
}

impl Stopper {
    fn stop(&self, why: Stop) {
        let mut state = self.state();
        state.reason.get_or_insert(why);
        if state.instructed {
            self.send(why);
        }
    }

    /// To be called when the job was sent.
    fn instructed(&self) {
        let mut state = self.state();
        state.instructed = true;
        if let Some(why) = state.reason {
            self.send(why);
        }
    }

    fn send(&self, why: Stop) {
        let request = match why {
            Stop::Cancelled => wire::STOP,
            Stop::LeaseExpired | Stop::OutputCap | Stop::SecretLeaked => wire::KILL,
        };
        // A supervisor that is gone has nothing left to stop.
        let _ = (&self.control).write_all(&[request]);
    }

    fn reason(&self) -> Option<Stop> {
        self.state().reason
    }

    fn state(&self) -> MutexGuard<'_, StopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the supervisor, or its silence, says about the program.
enum Fate {
    Refused(Refusal),
    Ended {
        exit_code: Option<i32>,
        signal: Option<i32>,
        asked: bool,
    },
    /// It was started, or may have been, and nobody saw its end.
    Lost,
}

struct Conductor {
    engine: Engine,
    control: UnixStream,
    stopper: Arc<Stopper>,
    spool: Arc<Spool>,
    recording: Arc<Mutex<Option<Kept>>>,
}

impl Conductor {
    fn conduct(self, launch: Launch, theirs: UnixStream) -> Report {
        let began = self.engine.clock.now();
        let (fate, stdout, stderr) = match self.execute(launch, theirs) {
            Ok(executed) => executed,
            Err(refusal) => (Fate::Refused(refusal), StreamTally::default(), StreamTally::default()),
        };
        let duration = self.engine.clock.now().since(began);
        let (status, reason) = verdict(&fate, self.stopper.reason());
        let (exit_code, signal) = match fate {
            Fate::Ended { exit_code, signal, .. } => (exit_code, signal),
            Fate::Refused(_) | Fate::Lost => (None, None),
        };
        let stdout_sha256 = stdout.hasher.finish();
        let end = End {
            status,
            exit_code,
            signal,
            reason: reason.map(str::to_owned),
            stdout_bytes: stdout.delivered,
            stderr_bytes: stderr.delivered,
            sha256: stdout_sha256.to_string(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            truncated: stdout.truncated || stderr.truncated,
        };
        Report { end, stdout_sha256, stderr_tail: String::from_utf8_lossy(&stderr.tail).into_owned() }
    }

    fn execute(
        &self,
        launch: Launch,
        theirs: UnixStream,
    ) -> Result<(Fate, StreamTally, StreamTally), Refusal> {
        let engine = &self.engine;
        let scanner = || Scanner::new(launch.secrets.values()).map_err(|_| Refusal::NotStarted);
        let (stdout_scanner, stderr_scanner) = (scanner()?, scanner()?);
        let recorder = (launch.record != Recorded::Nothing).then(scanner).transpose()?.map(|scanner| {
            let (room, began) = (engine.recordings.clone(), engine.clock.now());
            Arc::new(Recorder::new(launch.execution, launch.record, scanner, room, began))
        });
        let directory = engine.work.create(launch.execution, &launch.inputs, &launch.identity)?;
        let (execution, users) = (launch.execution, launch.identity.users());
        let job = job(launch, directory.path().to_owned(), engine);

        let mut supervisor = self.spawn_supervisor(execution, theirs).map_err(|error| {
            tracing::error!(%execution, %error, "the supervisor of an execution could not be started");
            Refusal::NotStarted
        })?;
        let stdout = self.pump(supervisor.stdout.take(), Kind::Stdout, stdout_scanner, recorder.clone());
        let stderr = self.pump(supervisor.stderr.take(), Kind::Stderr, stderr_scanner, recorder.clone());
        let fate = self.instruct_and_wait(&job);
        drop(job);
        if matches!(fate, Fate::Lost) {
            tracing::error!(%execution, "the supervisor of an execution is lost; killing what it left");
            let _ = supervisor.kill();
            processes::kill_leftovers(&|found| found == execution, &users);
        }
        if let Err(error) = supervisor.wait() {
            tracing::error!(%execution, %error, "the supervisor of an execution could not be waited for");
        }
        let tallies = (joined(stdout), joined(stderr));
        if let Some(recorder) = recorder.filter(|_| !matches!(fate, Fate::Refused(_))) {
            let kept = recorder.finish(exit_status(&fate), engine.clock.now());
            *self.recording.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        Ok((fate, tallies.0, tallies.1))
    }

    fn spawn_supervisor(&self, execution: ExecutionId, theirs: UnixStream) -> io::Result<Child> {
        Command::new(&self.engine.supervisor)
            .arg(supervisor::ARGUMENT)
            .arg(execution.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn instruct_and_wait(&self, job: &Job) -> Fate {
        if wire::send(&self.control, job).is_err() {
            return Fate::Lost;
        }
        self.stopper.instructed();
        loop {
            match wire::receive(&self.control) {
                Ok(wire::Report::Started) => {}
                Ok(wire::Report::Refused(refusal)) => return Fate::Refused(refusal),
                Ok(wire::Report::Ended { exit_code: None, signal: None, .. }) | Err(_) => return Fate::Lost,
                Ok(wire::Report::Ended { exit_code, signal, asked }) => {
                    return Fate::Ended { exit_code, signal, asked };
                }
            }
        }
    }

    fn pump<R: Read + Send + 'static>(
        &self,
        pipe: Option<R>,
        kind: Kind,
        scanner: Scanner,
        recorder: Option<Arc<Recorder>>,
    ) -> Option<JoinHandle<StreamTally>> {
        let pump = Pump {
            kind,
            scanner,
            recorder,
            clock: Arc::clone(&self.engine.clock),
            spool: Arc::clone(&self.spool),
            stopper: Arc::clone(&self.stopper),
            tally: StreamTally::default(),
        };
        let pipe = pipe?;
        let started = thread::Builder::new().name("output".to_owned()).spawn(move || pump.run(pipe));
        if started.is_err() {
            // Its output would be lost, so the program must not go on.
            self.stopper.stop(Stop::OutputCap);
        }
        started.ok()
    }
}

fn job(launch: Launch, directory: PathBuf, engine: &Engine) -> Job {
    Job {
        execution: launch.execution.to_string(),
        program: launch.program.iter().map(|file| (file.path.clone(), file.sha256.to_string())).collect(),
        argv: launch.argv,
        environment: launch.environment.into_iter().collect(),
        secrets: launch
            .secrets
            .iter()
            .map(|(variable, secret)| (variable.clone(), SecretBytes(secret.expose().to_vec())))
            .collect(),
        user: launch.identity.ids(),
        directory,
        stdin: launch.stdin.map(|stdin| (stdin.stored, stdin.sha256.to_string())),
        term_grace_ms: u64::try_from(engine.term_grace.as_millis()).unwrap_or(u64::MAX),
    }
}

fn joined(pump: Option<JoinHandle<StreamTally>>) -> StreamTally {
    pump.and_then(|pump| pump.join().ok())
        .unwrap_or(StreamTally { truncated: true, ..StreamTally::default() })
}

/// The exit code, as a shell would tell it.
fn exit_status(fate: &Fate) -> Option<i32> {
    match fate {
        Fate::Ended { exit_code: Some(code), .. } => Some(*code),
        Fate::Ended { signal, .. } => signal.map(|signal| signal.saturating_add(128)),
        Fate::Refused(_) | Fate::Lost => None,
    }
}

/// What the outcome is, and why if it is not the program's own doing.
fn verdict(fate: &Fate, stop: Option<Stop>) -> (EndStatus, Option<&'static str>) {
    match (fate, stop) {
        (Fate::Refused(Refusal::ProgramChanged), _) => (EndStatus::Failed, Some("program_changed")),
        (Fate::Refused(Refusal::InputChanged), _) => (EndStatus::Failed, Some("input_changed")),
        (Fate::Refused(Refusal::NotStarted), _) => (EndStatus::Failed, Some("not_started")),
        (Fate::Ended { .. }, Some(Stop::SecretLeaked)) => (EndStatus::Failed, Some("secret_leaked")),
        (Fate::Ended { .. }, Some(Stop::OutputCap)) => (EndStatus::Failed, Some("output_cap")),
        // Exit code 0 after being asked to stop may be politeness; it is not the program's usual end.
        (Fate::Ended { asked: true, .. }, Some(Stop::Cancelled)) => (EndStatus::Failed, Some("cancelled")),
        (Fate::Ended { asked: true, .. }, Some(Stop::LeaseExpired)) => {
            (EndStatus::Unknown, Some("lease_expired"))
        }
        (Fate::Ended { exit_code: Some(0), .. }, _) => (EndStatus::Succeeded, None),
        (Fate::Ended { .. }, _) => (EndStatus::Failed, None),
        (Fate::Lost, _) => (EndStatus::Unknown, Some("supervisor_lost")),
    }
}

#[derive(Default)]
struct StreamTally {
    delivered: u64,
    truncated: bool,
    hasher: Hasher,
    tail: Vec<u8>,
}

/// Moves one stream into the spool.
struct Pump {
    kind: Kind,
    scanner: Scanner,
    recorder: Option<Arc<Recorder>>,
    clock: Arc<dyn Clock>,
    spool: Arc<Spool>,
    stopper: Arc<Stopper>,
    tally: StreamTally,
}

impl Pump {
    fn run(mut self, mut pipe: impl Read) -> StreamTally {
        let mut buffer = vec![0; 64 * 1024];
        let mut clean = Vec::new();
        loop {
            let read = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            clean.clear();
            let seen = if self.kind == Kind::Stderr {
                self.scanner.scrub(bytes, &mut clean);
                Seen::Clean
            } else {
                self.scanner.push(bytes, &mut clean)
            };
            let delivered = self.deliver(&clean);
            if seen == Seen::Secret {
                self.tally.truncated = true;
                self.stopper.stop(Stop::SecretLeaked);
                return self.tally;
            }
            if !delivered {
                return self.tally;
            }
        }
        clean.clear();
        self.scanner.finish(&mut clean);
        self.deliver(&clean);
        self.tally
    }

    /// Whether all of it was taken. If not, the program is stopped, and closing the pipe holds it up until then.
    fn deliver(&mut self, clean: &[u8]) -> bool {
        let taken = self.spool.append(self.kind, clean).unwrap_or_else(|error| {
            tracing::error!(%error, "output could not be spooled");
            0
        });
        let accepted = clean.get(..taken).unwrap_or_default();
        self.tally.delivered += taken as u64;
        self.tally.hasher.update(accepted);
        if let Some(recorder) = &self.recorder {
            let stream = if self.kind == Kind::Stderr { Stream::Stderr } else { Stream::Stdout };
            recorder.take(stream, accepted, self.clock.now());
        }
        self.tally.tail.extend_from_slice(accepted);
        let surplus = self.tally.tail.len().saturating_sub(STDERR_TAIL_BYTES);
        self.tally.tail.drain(..surplus);
        if taken < clean.len() {
            self.tally.truncated = true;
            self.stopper.stop(Stop::OutputCap);
        }
        taken == clean.len()
    }
}
