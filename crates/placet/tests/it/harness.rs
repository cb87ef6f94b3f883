//! Starts `placet up`, reads its ready line, and drives it: with the command line, and with plain HTTP.
//!
//! ```no_run
//! let placet = Placet::start();
//! let ended = placet.cli(["agent", "ls"]).run();
//! let answer = placet.agents().post("/v1/requests", &json!({ … }));
//! ```
//!
//! Every placet has its own directory and ports, and is killed when it is dropped.

#![allow(dead_code, reason = "each feature uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The binary under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_placet")
}

/// A running placet.
pub(crate) struct Placet {
    space: TempDir,
    process: Child,
    /// Kept open, or the process would be told that nobody reads.
    stdout: BufReader<ChildStdout>,
    /// What the ready line said.
    pub(crate) ready: Ready,
    options: Options,
    runtime: Runtime,
}

/// How to start it.
#[derive(Clone, Default)]
pub(crate) struct Options {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The ready line. Token and invitation are there on the first start only.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// Where agents come in.
    pub(crate) agents: String,
    /// Where people come in.
    pub(crate) reviewers: String,
    /// The first agent's token.
    pub(crate) agent_token: Option<String>,
    /// The first reviewer's link.
    pub(crate) invitation: Option<String>,
    /// The admin socket.
    pub(crate) admin: PathBuf,
}

impl Options {
    /// With this argument of `placet up`.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it in an empty directory.
    pub(crate) fn start(self) -> Placet {
        Placet::start_in(tempfile::tempdir().unwrap(), self)
    }
}

impl Placet {
    /// With the starter for one person, who is called Ada.
    pub(crate) fn start() -> Self {
        Options::default().start()
    }

    /// With the starter for a team; Ada is its first reviewer.
    pub(crate) fn team() -> Self {
        Options::default().arg("--starter").arg("team").start()
    }

    fn start_in(space: TempDir, options: Options) -> Self {
        let log = fs::File::options().create(true).append(true).open(space.path().join("up.log")).unwrap();
        let mut command = clean(space.path());
        command
            .args(["up", "--json", "--reviewer", "Ada"])
            .args(&options.arguments)
            .env("PLACET__AGENTS__LISTEN", "127.0.0.1:0")
            .env("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0")
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut process = command.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            let log = fs::read_to_string(space.path().join("up.log")).unwrap_or_default();
            panic!("placet did not become ready: {line:?}\n{log}");
        };
        let text = |name: &str| said[name].as_str().map(str::to_owned);
        assert_eq!(said["ready"], true);
        let ready = Ready {
            agents: text("agents").unwrap(),
            reviewers: text("reviewers").unwrap(),
            agent_token: text("agent_token"),
            invitation: text("invitation"),
            admin: text("admin").unwrap().into(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Placet { space, process, stdout, ready, options, runtime }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.space.path().join("placet-data")
    }

    /// A directory for the test's own files.
    pub(crate) fn space(&self) -> &Path {
        self.space.path()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.space.path().join("up.log")).unwrap()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// A command of the binary, with the first agent's credentials and this data directory.
    pub(crate) fn cli<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Cli {
        let mut command = clean(self.space.path());
        command.args(arguments).env("PLACET_AGENTS_URL", &self.ready.agents);
        command.env("PLACET_REVIEWERS_URL", &self.ready.reviewers);
        if let Some(token) = &self.ready.agent_token {
            command.env("PLACET_AGENT_TOKEN", token);
        }
        Cli { command, input: Vec::new() }
    }

    /// The agents' door as the first agent.
    pub(crate) fn agents(&self) -> Http<'_> {
        Http { placet: self, base: self.ready.agents.clone(), token: self.ready.agent_token.clone() }
    }

    /// The reviewers' door, with this API token or none.
    pub(crate) fn reviewers(&self, token: Option<&str>) -> Http<'_> {
        Http { placet: self, base: self.ready.reviewers.clone(), token: token.map(str::to_owned) }
    }

    /// An API token of this person.
    pub(crate) fn token_of(&self, person: &str) -> String {
        self.cli(["person", "token", "add", person]).succeeds().trim().to_owned()
    }

    /// Puts a bundle in force that is the active starter with this text replaced in this file.
    pub(crate) fn change_policy(&self, file: &str, from: &str, to: &str) {
        let path = self.data().join("policy").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(&path, text.replace(from, to)).unwrap();
        self.cli(["policy", "activate", "--yes"]).arg(self.data().join("policy")).succeeds();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Stopped {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        let status = self.process.wait().unwrap();
        self.stopped(status)
    }

    /// Kills it, as a power cut would.
    pub(crate) fn crash(mut self) -> Stopped {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        self.stopped(status)
    }

    fn stopped(mut self, status: ExitStatus) -> Stopped {
        let space = std::mem::replace(&mut self.space, tempfile::tempdir().unwrap());
        Stopped { space, status, options: self.options.clone(), first: self.ready.clone() }
    }
}

impl Drop for Placet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A placet that is over, with everything that it left.
pub(crate) struct Stopped {
    space: TempDir,
    /// How it ended.
    pub(crate) status: ExitStatus,
    options: Options,
    first: Ready,
}

impl Stopped {
    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.space.path().join("placet-data")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.space.path().join("up.log")).unwrap()
    }

    /// A command of the binary on this data directory.
    pub(crate) fn cli<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Cli {
        let mut command = clean(self.space.path());
        command.args(arguments);
        Cli { command, input: Vec::new() }
    }

    /// Starts it again. The first agent keeps its token, which the new ready line does not tell.
    pub(crate) fn start(self) -> Placet {
        let mut placet = Placet::start_in(self.space, self.options);
        assert_eq!((&placet.ready.agent_token, &placet.ready.invitation), (&None, &None), "shown twice");
        placet.ready.agent_token = self.first.agent_token;
        placet
    }
}

/// A command in the test's directory that inherits nothing but the search path.
fn clean(space: &Path) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().current_dir(space).env("HOME", space).env("PLACET_DIR", space.join("placet-data"));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// A command of the binary without any placet.
pub(crate) fn alone<A: AsRef<OsStr>>(space: &Path, arguments: impl IntoIterator<Item = A>) -> Cli {
    let mut command = clean(space);
    command.args(arguments);
    Cli { command, input: Vec::new() }
}

/// A command of the binary, to be run.
pub(crate) struct Cli {
    command: Command,
    input: Vec<u8>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal if one ended it.
    pub(crate) code: i32,
    /// Its data.
    pub(crate) stdout: Vec<u8>,
    /// Its talk.
    pub(crate) stderr: String,
}

impl Cli {
    /// With one more argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without this variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// With this as standard input.
    pub(crate) fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Starts it, and leaves it running.
    pub(crate) fn spawn(mut self) -> Child {
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child =
            self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            // It may refuse before it has read everything.
            let _ = stdin.write_all(&self.input);
        }
        child
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ended {
        ended(self.spawn())
    }

    /// Runs it; it has to succeed.
    pub(crate) fn succeeds(self) -> String {
        let ended = self.run();
        assert_eq!(ended.code, 0, "{ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    /// Runs it; it has to succeed with one JSON document.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.arg("--json").succeeds()).unwrap()
    }

    /// Runs it; it has to end with this code, and to say this on stderr.
    pub(crate) fn fails(self, code: i32, says: &str) -> Ended {
        let ended = self.run();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(says), "{says:?} is not in {ended:?}");
        ended
    }
}

/// Waits for a command that was left running.
pub(crate) fn ended(child: Child) -> Ended {
    use std::os::unix::process::ExitStatusExt as _;
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap();
    Ended { code, stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// A door, with a token or without.
pub(crate) struct Http<'a> {
    placet: &'a Placet,
    base: String,
    token: Option<String>,
}

/// What a door answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: reqwest::header::HeaderMap,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Http<'_> {
    /// With this token, or none.
    pub(crate) fn bearer(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(reqwest::Method::GET, path, None)
    }

    /// POST of JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(reqwest::Method::POST, path, Some(body.to_string()))
    }

    /// POST of exactly these bytes as JSON.
    pub(crate) fn post_raw(&self, path: &str, body: &str) -> Answer {
        self.call(reqwest::Method::POST, path, Some(body.to_owned()))
    }

    fn call(&self, method: reqwest::Method, path: &str, body: Option<String>) -> Answer {
        self.placet.runtime.block_on(async {
            let http =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
            let mut call = http.unwrap().request(method, format!("{}{path}", self.base));
            if let Some(token) = &self.token {
                call = call.bearer_auth(token);
            }
            if let Some(body) = body {
                call = call.header("content-type", "application/json").body(body);
            }
            let answer = call.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
        })
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// It, if it has this status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// It, if it is a problem with this status and code.
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json()["code"], code, "{}", self.text());
    }
}
