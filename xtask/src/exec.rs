//! Running other programs: no stdin, one deadline for everything, and failures that say which command it was.

use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A machine that hangs must fail with a name on it before whatever runs us kills it without one (at 90 minutes).
const TIME_FOR_EVERYTHING: Duration = Duration::from_secs(85 * 60);

/// How often a running program is looked at; far below what a person notices, far above what costs anything.
const POLL: Duration = Duration::from_millis(50);

/// How long a program that has ended may leave its stdout open and silent, in the hands of what it started.
const SILENCE_AFTER_EXIT: Duration = Duration::from_secs(1);

/// Why a check or a chore did not succeed, in words for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// One failure out of several findings, each on its own line below the headline.
    pub(crate) fn findings(headline: &str, findings: &[String]) -> Self {
        Self(format!("{headline}\n  {}", findings.join("\n  ")))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The machine we run on: where the workspace is and when time is up.
pub(crate) struct Machine {
    root: PathBuf,
    deadline: Instant,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        Self { root: root.to_owned(), deadline: Instant::now() + TIME_FOR_EVERYTHING }
    }

    /// A path inside the workspace.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The cargo that started us, so that a `+toolchain` given on the command line holds for every stage.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
    }

    /// A program with the environment that every stage shares, in the root of the workspace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .env("PLACET_PYTHON", self.path("target/venv/bin/python"))
            // On a machine with everything installed, a verifier that cannot run is a failure and not a skipped test.
            .env("PLACET_REQUIRE_VERIFIERS", "1")
            // Logs are read by programs too: colour codes would hide the closing lines from them.
            .env("CARGO_TERM_COLOR", if std::io::stdout().is_terminal() { "auto" } else { "never" });
        // Cargo sets these for us and not for what we start; inherited, they rebuild crates that look at them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs to the end with our stdout and stderr; anything but success is a failure.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let child = spawn(command)?;
        let status = self.wait(child, command)?;
        succeeded(status, command)
    }

    /// Like [`Machine::run`], and hands each line of stdout to `on_line` after passing it on.
    pub(crate) fn run_lines(&self, command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
        let mut child = spawn(command.stdout(Stdio::piped()))?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::new("failed to capture stdout"))?;
        let (sender, receiver) = mpsc::channel();
        // The reader is its own thread, so that nobody waits for a grandchild which keeps the pipe open.
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        let mut pass_on = |line: &str| {
            println!("{line}");
            on_line(line);
        };
        let mut silent_since_exit = Duration::ZERO;
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(line) => pass_on(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if child.try_wait().is_ok_and(|exited| exited.is_some()) {
                        silent_since_exit += POLL;
                    }
                    if Instant::now() >= self.deadline || silent_since_exit >= SILENCE_AFTER_EXIT {
                        break;
                    }
                }
            }
        }
        let status = self.wait(child, command)?;
        succeeded(status, command)
    }

    /// Runs to the end and returns stdout; stderr stays ours.
    pub(crate) fn output(&self, command: &mut Command) -> Result<Vec<u8>> {
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure::new(format!("failed to start `{}`: {error}", shown(command))))?;
        succeeded(output.status, command)?;
        Ok(output.stdout)
    }

    /// Whether a probe exits with success; what it prints is of no interest, and that it is missing is an answer.
    pub(crate) fn succeeds(&self, command: &mut Command) -> bool {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn wait(&self, mut child: Child, command: &Command) -> Result<ExitStatus> {
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < self.deadline => std::thread::sleep(POLL),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let minutes = TIME_FOR_EVERYTHING.as_secs() / 60;
                    return Err(Failure::new(format!(
                        "`{}` was still running when the {minutes} minutes for everything were over",
                        shown(command)
                    )));
                }
                Err(error) => return Err(Failure::new(format!("failed to wait for a program: {error}"))),
            }
        }
    }
}

/// Prints a line now: stages share stdout with the programs that they start.
pub(crate) fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

fn spawn(command: &mut Command) -> Result<Child> {
    let shown = shown(command);
    command.spawn().map_err(|error| {
        Failure::new(format!(
            "failed to start `{shown}`: {error}; `cargo xtask setup` installs what is missing"
        ))
    })
}

fn succeeded(status: ExitStatus, command: &Command) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` ended with {status}", shown(command))))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(machine: &Machine, script: &str) -> Command {
        let mut command = machine.command("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failed_program_is_named_with_its_status() {
        let machine = Machine::here();
        let failure = machine.run(&mut shell(&machine, "exit 3")).unwrap_err().to_string();
        assert_eq!(failure, "`sh -c exit 3` ended with exit status: 3");
    }

    #[test]
    fn a_program_that_is_not_there_says_how_to_get_it() {
        let machine = Machine::here();
        let failure = machine.run(&mut machine.command("no-such-program")).unwrap_err().to_string();
        assert!(failure.contains("`no-such-program`") && failure.contains("cargo xtask setup"), "{failure}");
    }

    #[test]
    fn every_line_is_seen_and_the_status_still_counts() {
        let machine = Machine::here();
        let mut lines = Vec::new();
        let result = machine.run_lines(&mut shell(&machine, "printf 'one\\n\\377two\\nlast'; exit 1"), |l| {
            lines.push(l.to_owned())
        });
        assert!(result.is_err());
        assert_eq!(lines, ["one", "\u{fffd}two", "last"]);
    }

    #[test]
    fn nobody_waits_for_what_a_program_leaves_behind() {
        let machine = Machine::here();
        let began = Instant::now();
        let mut lines = Vec::new();
        machine
            .run_lines(&mut shell(&machine, "sleep 60 & echo done"), |l| lines.push(l.to_owned()))
            .unwrap();
        assert_eq!(lines, ["done"]);
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn nobody_waits_for_stdin() {
        let machine = Machine::here();
        assert_eq!(machine.output(&mut shell(&machine, "cat; echo end")).unwrap(), b"end\n");
    }

    #[test]
    fn what_outlives_the_deadline_is_killed_and_named() {
        let machine = Machine { deadline: Instant::now(), ..Machine::here() };
        for result in [
            machine.run(&mut shell(&machine, "exec sleep 600")),
            machine.run_lines(&mut shell(&machine, "exec sleep 600"), |_| ()),
        ] {
            let failure = result.unwrap_err().to_string();
            assert!(failure.contains("still running"), "{failure}");
        }
    }
}
