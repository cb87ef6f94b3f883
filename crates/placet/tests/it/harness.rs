//! Starts `placet up`, reads its ready line, and drives it: with the command line, and with plain HTTP.
//!
//! ```no_run
//! let placet = Placet::start();
//! let ended = placet.cli(["agent", "ls"]).run();
//! let answer = placet.agents().post("/v1/requests", &json!({ … }));
//! ```
//!
//! Every placet has its own directory and ports, and is killed when it is dropped. How people sign in and vote stands in
//! [`crate::people`].

#![allow(dead_code, reason = "each feature uses a part of it")]

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

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

    /// Everything after the program's name.
    pub(crate) fn command_line(&self) -> impl Iterator<Item = &str> {
        ["up", "--json", "--reviewer", "Ada"].into_iter().chain(self.arguments.iter().map(String::as_str))
    }

    /// The variables that are its own.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let listen = ["PLACET__AGENTS__LISTEN", "PLACET__REVIEWERS__LISTEN"];
        let own = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        listen.into_iter().map(|name| (name, "127.0.0.1:0")).chain(own)
    }

    /// Starts it in an empty directory.
    pub(crate) fn start(self) -> Placet {
        self.start_in(tempfile::tempdir().unwrap())
    }

    /// Starts it in this directory.
    pub(crate) fn start_in(self, space: TempDir) -> Placet {
        Placet::start_in(space, self)
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

    /// Starts it in a directory in which it may have been before.
    pub(crate) fn start_in(space: TempDir, options: Options) -> Self {
        let log = fs::File::options().create(true).append(true).open(space.path().join("up.log")).unwrap();
        let mut command = clean(space.path());
        command
            .args(options.command_line())
            .envs(options.variables())
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
        self.http(&self.ready.agents).bearer(self.ready.agent_token.as_deref())
    }

    /// The reviewers' door, with this API token or none.
    pub(crate) fn reviewers(&self, token: Option<&str>) -> Http<'_> {
        self.http(&self.ready.reviewers).bearer(token)
    }

    fn http(&self, base: &str) -> Http<'_> {
        Http { placet: self, base: base.to_owned(), headers: Vec::new() }
    }

    /// GET of JSON at the admin socket.
    pub(crate) fn admin(&self, path: &str) -> Value {
        serde_json::from_str(&self.admin_text(path)).unwrap()
    }

    /// GET at the admin socket.
    pub(crate) fn admin_text(&self, path: &str) -> String {
        let mut socket = UnixStream::connect(&self.ready.admin).unwrap();
        let call = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(call.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        body.to_owned()
    }

    /// The verdict words of all entries of this kind, oldest first.
    pub(crate) fn verdicts(&self, kind: &str) -> Vec<String> {
        let found = self.admin(&format!("/admin/v1/audit/entries?limit=200&kind={kind}"));
        let words = found["entries"].as_array().unwrap().iter().map(|entry| {
            let clear: Value = serde_json::from_str(entry["entry"].as_str().unwrap()).unwrap();
            clear["verdict"].as_str().unwrap_or_default().to_owned()
        });
        let mut words: Vec<String> = words.collect();
        words.reverse();
        words
    }

    /// What `placet audit key` says.
    pub(crate) fn log_key(&self) -> String {
        self.cli(["audit", "key"]).succeeds().trim().to_owned()
    }

    /// An API token of this person.
    pub(crate) fn token_of(&self, person: &str) -> String {
        self.cli(["person", "token", "add", person]).succeeds().trim().to_owned()
    }

    /// Puts a bundle in force that is the active starter with this text replaced in this file.
    pub(crate) fn change_policy(&self, file: &str, from: &str, to: &str) {
        replace_in(&self.policy().join(file), from, to);
        self.activate();
    }

    /// The directory of its policy; what is changed there holds from [`Placet::activate`] on.
    pub(crate) fn policy(&self) -> PathBuf {
        self.data().join("policy")
    }

    /// Puts the bundle in its policy directory in force.
    pub(crate) fn activate(&self) {
        self.cli(["policy", "activate", "--yes"]).arg(self.policy()).succeeds();
    }

    /// Sends it a signal, and does not wait for anything.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> Stopped {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits until it has ended, of which it was told before.
    pub(crate) fn ended(mut self) -> Stopped {
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
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal if one ended it.
    pub(crate) code: i32,
    /// Its data.
    pub(crate) stdout: Vec<u8>,
    /// Its talk.
    pub(crate) stderr: String,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = String::from_utf8_lossy(&self.stdout);
        write!(f, "exit {}\n--- stdout\n{data}\n--- stderr\n{}", self.code, self.stderr)
    }
}

impl Cli {
    /// With one more argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// With these arguments too.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
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

    /// Starts it, leaves it running, and has its data written to this file.
    pub(crate) fn spawn_into(mut self, file: &Path) -> Child {
        let file = fs::File::create(file).unwrap();
        self.command.stdin(Stdio::null()).stdout(file).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts it, leaves it running, and has its talk written to this file.
    pub(crate) fn spawn_talking_into(mut self, file: &Path) -> Child {
        let file = fs::File::create(file).unwrap();
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn().unwrap()
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
#[derive(Clone)]
pub(crate) struct Http<'a> {
    placet: &'a Placet,
    base: String,
    headers: Vec<(String, String)>,
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

impl<'a> Http<'a> {
    /// With this token, or none.
    pub(crate) fn bearer(mut self, token: Option<&str>) -> Self {
        self.headers.retain(|(name, _)| name != "authorization");
        match token {
            Some(token) => self.header("authorization", &format!("Bearer {token}")),
            None => self,
        }
    }

    /// With this header too.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(reqwest::Method::GET, path, Vec::new())
    }

    /// POST of JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_raw(path, &body.to_string())
    }

    /// POST of exactly these bytes as JSON.
    pub(crate) fn post_raw(&self, path: &str, body: &(impl AsRef<[u8]> + ?Sized)) -> Answer {
        self.post_as(path, "application/json", body)
    }

    /// POST of exactly these bytes as whatever this says.
    pub(crate) fn post_as(&self, path: &str, media: &str, body: &(impl AsRef<[u8]> + ?Sized)) -> Answer {
        let call = self.clone().header("content-type", media);
        call.send(reqwest::Method::POST, path, body.as_ref().to_vec())
    }

    /// PUT of these bytes.
    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.send(reqwest::Method::PUT, path, body.to_vec())
    }

    /// GET of something that goes on.
    pub(crate) fn follow(&self, path: &str) -> Followed<'a> {
        let answer = self.placet.runtime.block_on(self.call(reqwest::Method::GET, path).send()).unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        Followed { placet: self.placet, answer, said: String::new() }
    }

    /// GET of which only a refusal's body is read: what goes on for ever is let go.
    pub(crate) fn head(&self, path: &str) -> Answer {
        let call = self.call(reqwest::Method::GET, path);
        self.placet.runtime.block_on(async {
            let answer = call.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = if status < 400 { Vec::new() } else { answer.bytes().await.unwrap().to_vec() };
            Answer { status, headers, body }
        })
    }

    /// Any call.
    pub(crate) fn send(&self, method: reqwest::Method, path: &str, body: Vec<u8>) -> Answer {
        let call = self.call(method, path).body(body);
        self.placet.runtime.block_on(async {
            let answer = call.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
        })
    }

    fn call(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.call_with(&client(), method, path)
    }

    fn call_with(
        &self,
        http: &reqwest::Client,
        method: reqwest::Method,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let call = http.request(method, format!("{}{path}", self.base));
        self.headers.iter().fold(call, |call, (name, value)| call.header(name, value))
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// POSTs of JSON, all at once.
pub(crate) fn at_once(calls: &[(Http<'_>, String, Value)]) -> Vec<Answer> {
    let Some((first, ..)) = calls.first() else { return Vec::new() };
    // One client for all: to make one takes longer than to call.
    let http = client();
    let call = |(door, path, body): &(Http<'_>, String, Value)| {
        let call = door.call_with(&http, reqwest::Method::POST, path).json(body);
        async {
            let answer = call.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
        }
    };
    first.placet.runtime.block_on(futures::future::join_all(calls.iter().map(call)))
}

/// An answer that goes on.
pub(crate) struct Followed<'a> {
    placet: &'a Placet,
    answer: reqwest::Response,
    said: String,
}

impl Followed<'_> {
    /// Everything that came until this did.
    pub(crate) fn until(&mut self, expected: &str) -> &str {
        while !self.said.contains(expected) {
            assert!(self.more(), "it ended without {expected:?}: {}", self.said);
        }
        &self.said
    }

    /// Everything until its end.
    pub(crate) fn rest(mut self) -> String {
        while self.more() {}
        self.said
    }

    fn more(&mut self) -> bool {
        let chunk = self.placet.runtime.block_on(self.answer.chunk()).unwrap();
        self.said.push_str(&String::from_utf8_lossy(chunk.as_deref().unwrap_or_default()));
        chunk.is_some()
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

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until there is something to see.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Replaces text in a file, which has to have it.
pub(crate) fn replace_in(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

/// All files under a directory.
pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() && !path.is_symlink() { walk(&path) } else { vec![path] })
        .collect()
}

/// A port that is free, and stays so until it is used: it is not among those that the kernel gives to others.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let from = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut ports = std::iter::repeat_with(|| from + TAKEN.fetch_add(1, Ordering::Relaxed));
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
