//! The test command: stages in order, cheap ones first, stopping at the first that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::exec::{Failure, Machine, Result, say};
use crate::{arrows, bench, dependencies, generate, mcp, setup, text};

/// Directories whose children are bundles: what `placet up --starter` unpacks, and what the examples bring along.
const BUNDLES: [(&str, &str); 2] = [("crates/placet/starters", ""), ("examples", "policy")];

/// One step of the test command.
pub(crate) struct Stage {
    name: &'static str,
    about: &'static str,
    run: fn(&Machine) -> Result<Note>,
}

/// What the summary says about a stage that passed, for instance how many tests ran.
type Note = String;

pub(crate) const STAGES: [Stage; 13] = [
    Stage { name: "setup", about: "install what is missing", run: |m| quiet(setup::run(m)) },
    Stage { name: "fmt", about: "every file is formatted", run: |m| quiet(fmt(m)) },
    Stage { name: "text", about: "no file contains what it must not", run: |m| quiet(text::check(m)) },
    Stage {
        name: "arrows",
        about: "crates depend on each other as designed",
        run: |m| quiet(arrows::check(m)),
    },
    Stage {
        name: "dependencies",
        about: "licences, sources and versions of what we build on",
        run: |m| quiet(dependencies::check(m)),
    },
    Stage { name: "clippy", about: "no warning anywhere", run: |m| quiet(clippy(m)) },
    Stage { name: "test", about: "every test of every crate", run: test },
    Stage { name: "build", about: "the binary that the next stages use", run: |m| quiet(generate::build(m)) },
    Stage {
        name: "policy",
        about: "starter and example bundles check and pass their own tests",
        run: policy,
    },
    Stage { name: "generated", about: "generated files are up to date", run: |m| quiet(generate::check(m)) },
    Stage {
        name: "bench",
        about: "the benchmarks run, with sizes that measure nothing",
        run: |m| quiet(bench::smoke(m)),
    },
    Stage { name: "browser", about: "the inbox in a real browser, on the real binary", run: browser },
    Stage {
        name: "mcp",
        about: "other people's clients and servers of tools, at the real binary",
        run: tools,
    },
];

/// What `ci`'s options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    List,
    /// Run these, by their place in the table.
    Run(std::ops::Range<usize>),
}

impl Selection {
    pub(crate) fn parse(options: &[&str]) -> std::result::Result<Self, String> {
        let find = |name: &str| {
            let place = STAGES.iter().position(|stage| stage.name == name);
            place.ok_or_else(|| format!("unknown stage: {name} (`cargo xtask ci --list` shows all)"))
        };
        match options {
            [] => Ok(Self::Run(0..STAGES.len())),
            ["--list"] => Ok(Self::List),
            ["--only", name] => find(name).map(|place| Self::Run(place..place + 1)),
            ["--from", name] => find(name).map(|place| Self::Run(place..STAGES.len())),
            other => Err(format!("unknown options: {}", other.join(" "))),
        }
    }
}

pub(crate) fn list() {
    for Stage { name, about, .. } in &STAGES {
        say(&format!("{name:<14}{about}"));
    }
}

/// How a stage ended, for the summary.
struct Line {
    name: &'static str,
    word: &'static str,
    took: Duration,
    note: Note,
}

pub(crate) fn run(machine: &Machine, selected: std::ops::Range<usize>) -> Result<()> {
    let started = Instant::now();
    let mut lines = Vec::new();
    let mut failure = None;
    for stage in STAGES.get(selected).unwrap_or_default() {
        if failure.is_some() {
            lines.push(Line { name: stage.name, word: "not run", took: Duration::ZERO, note: Note::new() });
            continue;
        }
        say(&format!("\n== {}: {}", stage.name, stage.about));
        let began = Instant::now();
        let (word, note) = match (stage.run)(machine) {
            Ok(note) => ("ok", note),
            Err(why) => {
                say(&format!("== {} failed: {why}", stage.name));
                failure = Some(Failure::new(format!("stage {} failed", stage.name)));
                ("FAILED", Note::new())
            }
        };
        let took = began.elapsed();
        if word == "ok" {
            say(&format!("== {} ok in {}", stage.name, shown(took)));
        }
        lines.push(Line { name: stage.name, word, took, note });
    }
    say("");
    lines.iter().for_each(|line| say(&summary_line(line)));
    say(&format!(
        "{:<14}{:<10}{:>9}",
        "all",
        if failure.is_none() { "ok" } else { "FAILED" },
        shown(started.elapsed())
    ));
    failure.map_or(Ok(()), Err)
}

fn summary_line(line: &Line) -> String {
    let took = if line.word == "not run" { String::new() } else { shown(line.took) };
    format!("{:<14}{:<10}{took:>9}  {}", line.name, line.word, line.note).trim_end().to_owned()
}

fn shown(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} m {:02} s", seconds / 60, seconds % 60)
    }
}

fn quiet(result: Result<()>) -> Result<Note> {
    result.map(|()| Note::new())
}

fn fmt(machine: &Machine) -> Result<()> {
    // Rustfmt takes a log for a terminal and colours it.
    machine.run(machine.cargo().args(["fmt", "--all", "--check", "--", "--color", "never"]))
}

fn clippy(machine: &Machine) -> Result<()> {
    machine.run(machine.cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn test(machine: &Machine) -> Result<Note> {
    let mut tally = Tally::default();
    machine.run_lines(machine.cargo().args(["test", "--locked", "--workspace"]), |line| tally.cargo(line))?;
    tally.judge()
}

fn browser(machine: &Machine) -> Result<Note> {
    let mut node = machine.command("node");
    node.current_dir(machine.path("tests/browser"));
    node_tests(machine, node)
}

fn tools(machine: &Machine) -> Result<Note> {
    mcp::rust(machine)?;
    node_tests(machine, mcp::node(machine)?)
}

/// For one test in milliseconds, or, where Node is older than 24, for one file: ten times what the longest takes.
const NODE_TEST_TIME_MAX: &str = "--test-timeout=900000";

fn node_tests(machine: &Machine, mut node: Command) -> Result<Note> {
    if !machine.path(generate::BINARY).exists() {
        return Err(Failure::new("the binary is not built; start with `cargo xtask ci --from build`"));
    }
    let mut tally = Tally::default();
    // Two files at a time, also on two cores: most of the time each waits for others. A test that hangs is a test that
    // failed, and one that failed may leave behind what would keep its process from ending.
    node.args(["--test", "--test-concurrency=2", "--test-reporter=spec"]);
    node.args([NODE_TEST_TIME_MAX, "--test-force-exit"]);
    machine.run_lines(&mut node, |line| tally.node(line))?;
    tally.judge()
}

fn policy(machine: &Machine) -> Result<Note> {
    let binary = machine.path(generate::BINARY);
    let bundles = bundles(machine)?;
    for bundle in &bundles {
        for word in ["check", "test"] {
            machine.run(machine.command(&binary.to_string_lossy()).args(["policy", word]).arg(bundle))?;
        }
    }
    Ok(format!("{} bundles", bundles.len()))
}

fn bundles(machine: &Machine) -> Result<Vec<PathBuf>> {
    let mut bundles = Vec::new();
    for (directory, below) in BUNDLES {
        let failed = |error| Failure::new(format!("failed to list {directory}: {error}"));
        for entry in fs::read_dir(machine.path(directory)).map_err(failed)? {
            let path = Path::new(directory).join(entry.map_err(failed)?.file_name()).join(below);
            if machine.path("").join(&path).join("bundle.toml").exists() {
                bundles.push(path);
            }
        }
    }
    bundles.sort();
    Ok(bundles)
}

/// Counts tests by the closing lines of their runners: a run in which nothing ran is not a pass.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    left_out: u64,
}

impl Tally {
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
    fn cargo(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        for part in rest.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "ignored")) => self.left_out += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// `ℹ pass 12`, `ℹ skipped 0`, `ℹ todo 0`
    fn node(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("ℹ ") else { return };
        match rest.trim().split_once(' ') {
            Some(("pass", count)) => self.passed += count.parse().unwrap_or(0),
            Some(("skipped" | "todo", count)) => self.left_out += count.parse().unwrap_or(0),
            _ => {}
        }
    }

    fn judge(self) -> Result<Note> {
        let Self { passed, left_out } = self;
        if left_out > 0 {
            return Err(Failure::new(format!("{left_out} tests were left out: run them or delete them")));
        }
        if passed == 0 {
            return Err(Failure::new("no test ran"));
        }
        Ok(format!("{passed} tests passed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_select_stages() {
        let place = |name| STAGES.iter().position(|stage| stage.name == name).unwrap();
        let last = STAGES.len();
        assert_eq!(Selection::parse(&[]), Ok(Selection::Run(0..last)));
        assert_eq!(Selection::parse(&["--list"]), Ok(Selection::List));
        assert_eq!(Selection::parse(&["--only", "fmt"]), Ok(Selection::Run(place("fmt")..place("fmt") + 1)));
        assert_eq!(Selection::parse(&["--from", "test"]), Ok(Selection::Run(place("test")..last)));
        for wrong in
            [&["--only"][..], &["--only", "nothing"], &["--form", "test"], &["--list", "--only", "fmt"]]
        {
            assert!(Selection::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tests_are_counted_by_their_closing_lines() {
        let mut tally = Tally::default();
        for line in [
            "running 12 tests",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            tally.cargo(line);
        }
        for line in ["✔ approve (1.2ms)", "ℹ tests 4", "ℹ pass 4", "ℹ fail 0", "ℹ skipped 1", "ℹ todo 1"]
        {
            tally.node(line);
        }
        assert_eq!(tally, Tally { passed: 19, left_out: 3 });
    }

    #[test]
    fn a_run_without_tests_or_with_some_left_out_is_no_pass() {
        assert_eq!(Tally { passed: 7, left_out: 0 }.judge().unwrap(), "7 tests passed");
        assert!(Tally { passed: 7, left_out: 1 }.judge().is_err());
        assert!(Tally::default().judge().is_err());
    }

    #[test]
    fn every_bundle_of_ours_is_found() {
        let bundles = bundles(&Machine::here()).unwrap();
        for starter in ["solo", "team"] {
            assert!(bundles.contains(&Path::new("crates/placet/starters").join(starter)), "{bundles:?}");
        }
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(shown(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(shown(Duration::from_secs(125)), "2 m 05 s");
    }

    #[test]
    fn the_summary_reads_in_columns() {
        let line = Line {
            name: "test",
            word: "ok",
            took: Duration::from_secs(3),
            note: "7 tests passed".to_owned(),
        };
        assert_eq!(summary_line(&line), "test          ok            3.0 s  7 tests passed");
        let line = Line { name: "policy", word: "not run", took: Duration::ZERO, note: Note::new() };
        assert_eq!(summary_line(&line), "policy        not run");
    }
}
