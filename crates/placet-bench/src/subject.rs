//! The real binary, as a process of its own in a directory of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use hyper::header;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Result;
use crate::client::{Caller, Door};
use crate::space::Space;

/// What becomes of a file's text.
pub(crate) type Change<'a> = &'a dyn Fn(&str) -> String;

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    starter: &'static str,
    environment: Vec<(&'static str, String)>,
}

impl Setup {
    /// With this starter bundle, and every cap out of the way: the caps are for agents, and this is no agent.
    pub(crate) fn lifted(starter: &'static str) -> Setup {
        let large = "4000000000".to_owned();
        let environment = vec![
            ("PLACET__LIMITS__CALLS_PER_MINUTE", large.clone()),
            ("PLACET__LIMITS__PENDING", large.clone()),
            ("PLACET__LIMITS__REVIEWS_PER_HOUR", large),
            ("PLACET__AGENTS__LISTEN", "127.0.0.1:0".to_owned()),
            ("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0".to_owned()),
        ];
        Setup { starter, environment }
    }

    /// With one more setting.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Setup {
        self.environment.push((variable, value.to_owned()));
        self
    }
}

/// A running placet.
pub(crate) struct Subject {
    binary: PathBuf,
    setup: Setup,
    space: Rc<Space>,
    process: Child,
    /// Kept open, or the process would be told that nobody reads.
    _stdout: BufReader<ChildStdout>,
    agents: String,
    reviewers: String,
    agent_token: String,
    /// From its start to its ready line.
    pub(crate) start_ms: f64,
}

impl Subject {
    /// Starts one in an empty directory below this one.
    pub(crate) fn start(binary: &Path, below: &Path, setup: Setup) -> Result<Subject> {
        let space = Rc::new(Space::below(below)?);
        Subject::start_in(binary.to_owned(), space, setup, String::new())
    }

    fn start_in(binary: PathBuf, space: Rc<Space>, setup: Setup, agent_token: String) -> Result<Subject> {
        let log = std::fs::File::options().create(true).append(true).open(space.path().join("up.log"))?;
        let mut command = clean(&binary, space.path());
        command
            .args(["up", "--json", "--reviewer", "Ada", "--starter", setup.starter])
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let began = Instant::now();
        let mut process = command.spawn()?;
        let mut stdout = BufReader::new(process.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let start_ms = began.elapsed().as_secs_f64() * 1e3;
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let _ = process.kill();
            let _ = process.wait();
            let log = std::fs::read_to_string(space.path().join("up.log")).unwrap_or_default();
            return Err(format!("placet did not become ready: {line}{log}").into());
        };
        let text = |name: &str| ready.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let first_token = text("agent_token");
        Ok(Subject {
            binary,
            setup,
            space,
            process,
            _stdout: stdout,
            agents: text("agents"),
            reviewers: text("reviewers"),
            agent_token: if first_token.is_empty() { agent_token } else { first_token },
            start_ms,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.space.path().join("placet-data")
    }

    /// The agents' door for its first agent.
    pub(crate) fn agents(&self) -> Result<Door> {
        self.agents_as(&self.agent_token)
    }

    /// The agents' door for whoever holds this token.
    pub(crate) fn agents_as(&self, token: &str) -> Result<Door> {
        Door::at(&self.agents)?.bearer(token)
    }

    /// The reviewers' door for whoever holds this token.
    pub(crate) fn reviewers_as(&self, token: &str) -> Result<Door> {
        Door::at(&self.reviewers)?.bearer(token)
    }

    /// The reviewers' door with a session of this person, as a browser has it.
    pub(crate) async fn session_of(&self, person: &str) -> Result<Door> {
        let link = self.cli(["person", "invite", person])?;
        let path = link.trim().strip_prefix(&self.reviewers).ok_or("the link leads elsewhere")?.to_owned();
        let bare = Door::at(&self.reviewers)?.with(header::ORIGIN, &self.reviewers)?;
        let answer = Caller::connect(&bare).await?.call(hyper::Method::POST, &path, None).await?;
        let cookie = answer.headers.get(header::SET_COOKIE).ok_or("no session began")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        bare.with(header::COOKIE, &cookie)
    }

    /// A command with its first agent's credentials and its data directory.
    pub(crate) fn command(&self) -> Command {
        let mut command = clean(&self.binary, self.space.path());
        command.env("PLACET_AGENTS_URL", &self.agents).env("PLACET_AGENT_TOKEN", &self.agent_token);
        command.env("PLACET_REVIEWERS_URL", &self.reviewers);
        command
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub(crate) fn cli<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let output = self.command().args(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("a command failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Tokens of so many new agents.
    pub(crate) fn add_agents(&self, count: usize) -> Result<Vec<String>> {
        let add = |number| self.cli(["agent", "add", &format!("agent-{number}"), "--sponsor", "Ada"]);
        (0..count).map(|number| Ok(add(number)?.trim().to_owned())).collect()
    }

    /// Puts its policy in force with each file's text changed.
    pub(crate) fn change_policy(&self, changes: &[(&str, Change<'_>)]) -> Result<()> {
        let policy = self.data().join("policy");
        for (file, change) in changes {
            let path = policy.join(file);
            let text = std::fs::read_to_string(&path)?;
            let changed = change(&text);
            if changed == text {
                return Err(format!("{file} of the starter is not what it was").into());
            }
            std::fs::write(path, changed)?;
        }
        let policy = policy.to_string_lossy().into_owned();
        self.cli(["policy", "activate", "--yes", &policy]).map(drop)
    }

    /// A second reviewer beside Ada, who sponsors the agents; and the policy that lets an API token approve. Gives the token.
    pub(crate) fn add_reviewer(&self) -> Result<String> {
        self.cli(["person", "add", "Grace", "--group", "reviewers"])?;
        let may = |text: &str| text.replace("token_may_approve = false", "token_may_approve = true");
        self.change_policy(&[("bundle.toml", &may)])?;
        Ok(self.cli(["person", "token", "add", "Grace"])?.trim().to_owned())
    }

    /// Stops it with this signal, waits until it has ended, and starts it again.
    pub(crate) fn restart(mut self, signal: Signal) -> Result<Subject> {
        self.signal(signal)?;
        self.process.wait()?;
        Subject::start_in(
            self.binary.clone(),
            self.space.clone(),
            self.setup.clone(),
            self.agent_token.clone(),
        )
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command in this directory that inherits nothing but the search path.
fn clean(binary: &Path, space: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().current_dir(space).env("HOME", space).env("PLACET_DIR", space.join("placet-data"));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// A policy file without the policy that has this id. Policies are separated by blank lines.
pub(crate) fn without(text: &str, id: &str) -> String {
    let marker = format!("@id(\"{id}\")");
    text.split("\n\n").filter(|block| !block.contains(&marker)).collect::<Vec<_>>().join("\n\n")
}
