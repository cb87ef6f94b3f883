//! The program itself: how it starts, what it takes at rest, and what `placet run` adds to a program.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Bench;
use crate::Result;
use crate::figure::{Aim, Figure, Round};
use crate::floor::exec_ms;
use crate::machine::memory_of;
use crate::subject::{Setup, without};

/// `placet run -- true`, permitted by policy, against `true`.
pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let subject = bench.subject(Setup::lifted("team").with("PLACET__RUNNER__DANGER_SAME_USER", "true"))?;
    subject.change_policy(&[
        ("ask.cedar", &|text| without(text, "any-command")),
        // The starter's tests say what its guards do.
        ("tests/deploy.toml", &|_| String::new()),
        ("invariants.cedar", &|text| without(text, "commands-are-reviewed")),
    ])?;
    let times = bench.by_scale(2, 10, 30);
    let mut rounds = Vec::new();
    for _ in 0..times {
        let floor = exec_ms(&mut Command::new("true"))?;
        let value = exec_ms(subject.command().args(["run", "--", "true"]))?;
        rounds.push(Round { value, floor: Some(floor), cpu: None });
    }
    Ok(vec![Figure {
        name: "run-true",
        what: "`placet run -- true`: decided, recorded, executed, its outcome recorded".to_owned(),
        unit: "ms",
        aim: Aim::Nothing,
        floor: "`true` itself",
        rounds,
        note: String::new(),
    }])
}

/// Start, memory, size.
pub(super) fn process(bench: &Bench) -> Result<Vec<Figure>> {
    let version = || exec_ms(Command::new(&bench.binary).arg("--version"));
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut memory = Vec::new();
    for _ in 0..bench.by_scale(1, 3, 9) {
        let floor = version()?;
        let subject = bench.subject(Setup::lifted("solo"))?;
        first.push(Round { value: subject.start_ms, floor: Some(floor), cpu: None });
        let subject = subject.restart(Signal::SIGTERM)?;
        again.push(Round { value: subject.start_ms, floor: Some(floor), cpu: None });
        // Whatever it does at its start is over by then.
        std::thread::sleep(Duration::from_secs(bench.by_scale(0, 1, 2)));
        memory.push(Round { value: memory_of(subject.pid()) / 1e6, floor: None, cpu: None });
    }
    let start = |name, what: &str, rounds| Figure {
        name,
        what: what.to_owned(),
        unit: "ms",
        aim: Aim::AtMost(150.0),
        floor: "placet --version",
        rounds,
        note: String::new(),
    };
    let size = std::fs::metadata(&bench.binary)?.len() as f64 / 1e6;
    Ok(vec![
        start("start-first", "`placet up` in an empty directory, until it is ready", first),
        start("start-again", "`placet up` in its directory, until it is ready", again),
        Figure {
            name: "memory",
            what: "Resident memory at rest".to_owned(),
            unit: "MB",
            aim: Aim::AtMost(40.0),
            floor: "",
            rounds: memory,
            note: String::new(),
        },
        Figure {
            name: "size",
            what: "Size of the binary".to_owned(),
            unit: "MB",
            aim: Aim::Nothing,
            floor: "",
            rounds: vec![Round { value: size, floor: None, cpu: None }],
            note: String::new(),
        },
    ])
}
