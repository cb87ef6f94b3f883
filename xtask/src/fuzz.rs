//! The long run of the fuzz targets: the same functions as in the test command, under libFuzzer, guided by coverage.
//!
//! Works with the stable compiler: what libFuzzer wants to know of a program is a pass of LLVM, and the flags below turn
//! it on for all code but build scripts and macros.

use std::path::PathBuf;

use crate::exec::{Failure, Machine, Result, say};

/// Edges and comparisons are counted, so that libFuzzer sees what is new about an input.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Everything of it: what is built, inputs that were found, and findings.
const DIRECTORY: &str = "target/fuzz";
const SECONDS: u64 = 60;
const INPUT_BYTES_MAX: u64 = 4096;
/// An input that takes longer is a finding too.
const INPUT_SECONDS_MAX: u64 = 10;

/// What `fuzz`'s options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// All if there are none.
    targets: Vec<String>,
    seconds: u64,
    list: bool,
}

impl Options {
    pub(crate) fn parse(options: &[&str]) -> std::result::Result<Self, String> {
        let mut parsed = Options { targets: Vec::new(), seconds: SECONDS, list: false };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match *option {
                "--list" => parsed.list = true,
                "--seconds" => {
                    let seconds = options.next().and_then(|seconds| seconds.parse().ok());
                    parsed.seconds =
                        seconds.filter(|seconds| *seconds > 0).ok_or("--seconds needs a number")?;
                }
                unknown if unknown.starts_with('-') => return Err(format!("unknown option: {unknown}")),
                target => parsed.targets.push(target.to_owned()),
            }
        }
        Ok(parsed)
    }
}

pub(crate) fn run(machine: &Machine, options: &Options) -> Result<()> {
    let known =
        machine.output(machine.cargo().args(["run", "-q", "--locked", "-p", "placet-fuzz", "--", "list"]))?;
    let known = String::from_utf8_lossy(&known).into_owned();
    if options.list {
        say(known.trim_end());
        return Ok(());
    }
    if let Some(unknown) = options.targets.iter().find(|target| !known.lines().any(|known| known == *target))
    {
        return Err(Failure::new(format!("there is no target {unknown}: see `cargo xtask fuzz --list`")));
    }
    let program = build(machine)?;
    let chosen =
        |name: &&str| options.targets.is_empty() || options.targets.iter().any(|target| target == name);
    let mut findings = Vec::new();
    for target in known.lines().filter(chosen) {
        say(&format!("\n== {target}: {} seconds", options.seconds));
        if let Err(failure) = guided(machine, &program, target, options.seconds) {
            say(&format!("== {target}: {failure}"));
            findings.push(format!(
                "{target}: see {DIRECTORY}/findings/{target}-…, and try it with \
                 `cargo run -p placet-fuzz -- run {target} FILE`"
            ));
        }
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::findings("these do not hold of any bytes:", &findings))
    }
}

/// Builds all targets as one program, with everything that it is made of.
fn build(machine: &Machine) -> Result<PathBuf> {
    let host = machine.output(machine.command("rustc").arg("-vV"))?;
    let host = String::from_utf8_lossy(&host).into_owned();
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::new("failed to learn from rustc what this machine is"))?;
    let mut cargo = machine.cargo();
    cargo.current_dir(machine.path("fuzz")).args(["build", "--release", "--locked", "--target", host]);
    cargo.env("RUSTFLAGS", COVERAGE.join(" ")).env("CARGO_TARGET_DIR", machine.path(DIRECTORY));
    machine.run(&mut cargo)?;
    Ok(machine.path(DIRECTORY).join(host).join("release/placet-fuzz-guided"))
}

/// Runs a target until its time is up, or until something does not hold.
fn guided(machine: &Machine, program: &std::path::Path, target: &str, seconds: u64) -> Result<()> {
    let work = machine.path(DIRECTORY).join("work").join(target);
    let findings = machine.path(DIRECTORY).join("findings");
    std::fs::create_dir_all(&findings)
        .map_err(|error| Failure::new(format!("failed to make {}: {error}", findings.display())))?;
    let mut seeds = machine.cargo();
    seeds.args(["run", "-q", "--locked", "-p", "placet-fuzz", "--", "seeds", target]).arg(&work);
    machine.run(&mut seeds)?;
    let mut fuzzer = machine.command(&program.display().to_string());
    fuzzer.env("PLACET_FUZZ_TARGET", target);
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
    fuzzer.arg(format!("-timeout={INPUT_SECONDS_MAX}")).args(["-print_final_stats=1", "-verbosity=0"]);
    let words = work.join("words");
    // libFuzzer refuses a dictionary without words.
    if std::fs::metadata(&words).is_ok_and(|words| words.len() > 0) {
        fuzzer.arg(format!("-dict={}", words.display()));
    }
    fuzzer.arg(format!("-artifact_prefix={}/{target}-", findings.display())).arg(work.join("inputs"));
    machine.run(&mut fuzzer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_seconds_are_chosen() {
        let all = Options { targets: Vec::new(), seconds: SECONDS, list: false };
        assert_eq!(Options::parse(&[]), Ok(all));
        let chosen = Options { targets: vec!["note".to_owned(), "tile".to_owned()], seconds: 5, list: false };
        assert_eq!(Options::parse(&["note", "--seconds", "5", "tile"]), Ok(chosen));
        assert!(Options::parse(&["--list"]).is_ok_and(|options| options.list));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--seconds", "0"], &["--second", "1"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
