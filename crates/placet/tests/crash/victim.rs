//! A placet that dies at a chosen system call: the binary as it is, under strace.
//!
//! `strace -e inject=pwrite64:signal=SIGKILL:when=7` kills it as it is about to write for the seventh time; `error=EIO`
//! makes that call fail instead. No line of the product knows of it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Options, binary};

/// What happens, at which call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Point {
    /// The system call.
    pub(crate) call: &'static str,
    /// Only on this file of the data directory.
    pub(crate) file: Option<&'static str>,
    /// What happens: `signal=SIGKILL`, `error=EIO`.
    pub(crate) what: &'static str,
    /// At which of these calls, counted from one in each thread.
    pub(crate) when: u32,
}

/// Whether this machine lets one process trace another. Where it does not there is nothing to install.
pub(crate) fn can_trace() -> bool {
    let required = std::env::var("CI").is_ok_and(|ci| ci == "true")
        || std::env::var("PLACET_REQUIRE_VERIFIERS").is_ok_and(|required| required == "1");
    match Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => return true,
        Ok(_) => eprintln!("notice: no crash was tried; this machine does not let one process trace another"),
        Err(error) if required => panic!("install strace, as `cargo xtask setup` does: {error}"),
        Err(_) => eprintln!("notice: no crash was tried; install strace, as `cargo xtask setup` does"),
    }
    false
}

/// A running placet under strace.
pub(crate) struct Victim {
    space: TempDir,
    strace: Child,
    /// Kept open, or the process would be told that nobody reads.
    stdout: BufReader<ChildStdout>,
    /// Where it listens; none if it died before that.
    pub(crate) doors: Option<(String, String)>,
    runtime: tokio::runtime::Runtime,
    dies: bool,
}

/// How long what is to happen may take when nothing is asked for any more: the log is published every second.
const REACHED_MAX: Duration = Duration::from_secs(2);

impl Victim {
    /// Starts it in a directory in which it was before.
    pub(crate) fn start(space: TempDir, options: &Options, point: &Point) -> Victim {
        let data = space.path().join("placet-data");
        let log = fs::File::options().create(true).append(true).open(space.path().join("up.log")).unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-y", "-e", "signal=none", "-o"]).arg(space.path().join("trace"));
        if let Some(file) = point.file {
            command.arg("-P").arg(data.join(file));
        }
        let inject = format!("inject={}:{}:when={}", point.call, point.what, point.when);
        command.args(["-e", &format!("trace={}", point.call), "-e", &inject]);
        command.arg(binary()).args(options.command_line());
        command.env_clear().envs(options.variables()).current_dir(space.path());
        command.env("HOME", space.path()).env("PLACET_DIR", &data);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let mut strace = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(strace.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        let doors = said["agents"].as_str().zip(said["reviewers"].as_str());
        let doors = doors.map(|(agents, reviewers)| (agents.to_owned(), reviewers.to_owned()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Victim { space, strace, stdout, doors, runtime, dies: point.what.starts_with("signal=") }
    }

    /// The directory of the test's own files.
    pub(crate) fn space(&self) -> &Path {
        self.space.path()
    }

    /// A call of it; none if it died meanwhile.
    pub(crate) fn call(
        &self,
        method: reqwest::Method,
        url: String,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        // It only keeps a test from hanging.
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let mut call = client.request(method, url);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        if let Some(body) = body {
            call = call.json(body);
        }
        self.runtime.block_on(async {
            let answer = call.send().await.ok()?;
            let status = answer.status().as_u16();
            let body = answer.bytes().await.ok()?;
            Some((status, serde_json::from_slice(&body).unwrap_or_default()))
        })
    }

    /// Makes sure that it is dead, and gives what it left; whether the point was reached, and the last call before it.
    pub(crate) fn end(mut self) -> (TempDir, bool, String) {
        let reached = self.is_reached();
        // Nobody asks it to stop: it is killed where it stands.
        for pid in children(self.strace.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.strace.wait().unwrap();
        // Whatever it left running may still hold this end.
        let _ = self.stdout.get_mut().read(&mut [0; 1]);
        let trace = self.trace();
        let last = trace.lines().rev().find(|line| line.contains('(') && !line.contains("+++"));
        let last = last.unwrap_or_default().chars().take(160).collect();
        (self.space, reached, last)
    }

    /// Whether what was to happen has happened, to a process that nobody has touched otherwise.
    fn is_reached(&mut self) -> bool {
        let until = Instant::now() + REACHED_MAX;
        loop {
            let reached = if self.dies { !self.is_alive() } else { self.trace().contains("(INJECTED)") };
            if reached || Instant::now() > until {
                return reached;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn trace(&self) -> String {
        let trace = fs::read(self.space.path().join("trace")).unwrap_or_default();
        String::from_utf8_lossy(&trace).into_owned()
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.strace.try_wait().unwrap().is_none()
    }
}

/// The processes that this one started.
fn children(pid: u32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Copies a directory with everything below it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}
