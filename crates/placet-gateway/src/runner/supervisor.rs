//! The process between placet and a program: placet's own binary, started anew for one execution.
//!
//! ```text
//! placet ──socket──► supervisor ──► program ──► its children … (also those that left their session)
//!    ▲                                 │ stdout, stderr: straight to placet
//!    └─────────────────────────────────┘
//! ```
//!
//! It exists because only a process of its own can be the reaper of everything that the program leaves behind, and because
//! it survives placet: when the socket closes, it kills what there is. `waitpid` failing with `ECHILD` is the proof that no
//! descendant is left, since orphans become children of the supervisor.
//!
//! It opens the program itself, compares it with what was reviewed, and executes that very descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, setsid};

use super::processes::{MARK, signal_descendants};
use super::program::Program;
use super::wire::{self, Job, KILL, Refusal, Report, STOP};
use crate::hash;

/// The hidden argument under which the binary becomes a supervisor.
pub const ARGUMENT: &str = "__supervise";

/// Between two looks for descendants that are still alive after they were killed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a supervising process does from its start to its end. The binary calls this when its first argument is
/// [`ARGUMENT`], before it does anything else. What follows is for the reader of a process list.
pub fn supervise_main(_arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        // Placet is gone or never was: there is no one to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn supervise() -> io::Result<()> {
    close_inherited()?;
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    isolate()?;
    let job: Job = wire::receive(&control)?;
    let grace = Duration::from_millis(job.term_grace_ms);
    let main = match start(job) {
        Ok(main) => main,
        Err(refusal) => return wire::send(&control, &Report::Refused(refusal)),
    };
    // If placet is gone, the reader below notices at once; the program must not be left alone for it.
    let _ = wire::send(&control, &Report::Started);
    let end = watch(main, &control, grace)?;
    wire::send(&control, &report(&end))
}

/// Whatever descriptors placet itself was started with are none of the program's business.
fn close_inherited() -> io::Result<()> {
    let listed =
        fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let open: Vec<RawFd> = listed.filter(|descriptor| *descriptor > 2).collect();
    for descriptor in open {
        // One of them was the directory that was just read, which is closed by now.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// Orphans come to us; no terminal, no new privileges, no core file and no debugger that could show a secret.
fn isolate() -> io::Result<()> {
    // Already a leader where a shell started us by hand; the terminal is then the shell's business.
    let _ = setsid();
    prctl::set_child_subreaper(true)?;
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// Opens, compares and starts the program.
fn start(job: Job) -> Result<Pid, Refusal> {
    let program = open_reviewed(&job.program)?;
    let stdin = match &job.stdin {
        Some((path, sha256)) => Stdio::from(open_stdin(path, sha256)?),
        None => Stdio::null(),
    };
    let mut command = Command::new(program.executable());
    if let Some((script, arguments)) = program.script() {
        // The interpreter opens the script by its descriptor, so it has to inherit it. We start nothing else.
        fcntl(script, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|_| Refusal::NotStarted)?;
        command.args(arguments);
    }
    let (name, arguments) = job.argv.split_first().ok_or(Refusal::NotStarted)?;
    if program.script().is_none() {
        command.arg0(name);
    }
    command.args(arguments).env_clear().envs(job.environment).env(MARK, &job.execution);
    for (variable, value) in &job.secrets {
        command.env(variable, OsStr::from_bytes(&value.0));
    }
    command.current_dir(&job.directory).stdin(stdin).process_group(0);
    if let Some(ids) = job.user {
        // Clears the supplementary groups too, since we are root here.
        command.uid(ids.uid).gid(ids.gid);
    }
    let child = command.spawn().map_err(|_| Refusal::NotStarted)?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(|_| Refusal::NotStarted)
}

fn open_reviewed(reviewed: &[(String, String)]) -> Result<Program, Refusal> {
    let (path, _) = reviewed.first().ok_or(Refusal::ProgramChanged)?;
    let program = Program::open(Path::new(path)).map_err(|_| Refusal::ProgramChanged)?;
    let found = program.pins().iter().map(|file| (file.path.clone(), file.sha256.to_string()));
    if found.eq(reviewed.iter().cloned()) { Ok(program) } else { Err(Refusal::ProgramChanged) }
}

/// The descriptor that is hashed is the one that the program reads.
fn open_stdin(path: &Path, sha256: &str) -> Result<File, Refusal> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path);
    let file = opened.map_err(|_| Refusal::InputChanged)?;
    let found = hash::of_file(&file).map_err(|_| Refusal::InputChanged)?;
    if found.to_string() == sha256 { Ok(file) } else { Err(Refusal::InputChanged) }
}

#[derive(Default)]
struct End {
    status: Option<WaitStatus>,
    /// Whether the program was still running when it was asked to stop.
    asked: bool,
}

enum Event {
    Stop,
    Kill,
    MainEnded(WaitStatus),
    AllGone,
}

/// Waits until neither the program nor any descendant is left, and ends them when that is asked for or due.
fn watch(main: Pid, control: &UnixStream, grace: Duration) -> io::Result<End> {
    let (events, inbox) = mpsc::channel();
    let reader = control.try_clone()?;
    let asked = events.clone();
    thread::Builder::new().spawn(move || read_requests(reader, &asked))?;
    thread::Builder::new().spawn(move || reap(main, &events))?;

    let mut end = End::default();
    let mut kill_at: Option<Instant> = None;
    loop {
        let event = match kill_at {
            None => inbox.recv().ok(),
            Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
        };
        match event {
            Some(Event::AllGone) => return Ok(end),
            Some(Event::Stop) => {
                end.asked |= end.status.is_none();
                signal_descendants(getpid().as_raw(), Signal::SIGTERM);
                kill_at = kill_at.or(Some(Instant::now() + grace));
            }
            // Whoever was left behind has no one left to work for.
            Some(Event::MainEnded(ended)) => {
                end.status = Some(ended);
                kill_at = Some(Instant::now());
            }
            Some(Event::Kill) => {
                end.asked |= end.status.is_none();
                kill_at = Some(Instant::now());
            }
            None => {
                signal_descendants(getpid().as_raw(), Signal::SIGKILL);
                kill_at = Some(Instant::now() + LOOK_AGAIN);
            }
        }
    }
}

fn read_requests(mut control: UnixStream, events: &mpsc::Sender<Event>) {
    let mut request = [0];
    loop {
        let event = match control.read(&mut request) {
            Ok(1..) if request == [STOP] => Event::Stop,
            Ok(1..) if request == [KILL] => Event::Kill,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Closed, broken or not understood: placet is not there any more.
            _ => {
                let _ = events.send(Event::Kill);
                return;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn reap(main: Pid, events: &mpsc::Sender<Event>) {
    loop {
        let event = match waitpid(None, None) {
            Ok(status) if status.pid() == Some(main) => Event::MainEnded(status),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => Event::AllGone,
        };
        let over = matches!(event, Event::AllGone);
        if events.send(event).is_err() || over {
            return;
        }
    }
}

fn report(end: &End) -> Report {
    let (exit_code, signal) = match end.status {
        Some(WaitStatus::Exited(_, code)) => (Some(code), None),
        Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal as i32)),
        _ => (None, None),
    };
    Report::Ended { exit_code, signal, asked: end.asked }
}
