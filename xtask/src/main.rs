//! Project chores: `cargo xtask ci` is the test command, `generate` keeps committed files true, `setup` installs, `bench`
//! measures.
//!
//! Knows the workspace from outside, through cargo, files and the built binary, and depends on no crate of ours:
//! it judges their arrows and could not do so from inside.

mod arrows;
mod bench;
mod chaos;
mod ci;
mod dependencies;
mod exec;
mod fuzz;
mod generate;
mod mcp;
mod metadata;
mod setup;
mod spdx;
mod text;

use std::process::ExitCode;

use exec::{Failure, Machine};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci [--only STAGE | --from STAGE | --list]   install what is missing, then run every check
  setup                                       only install what the checks need
  generate [--check]                          write the generated files, or say which are out of date
  bench [NAME…] [--quick] [--profile NAME] [--json FILE] [--markdown] [--list]
                                              measure, and with --markdown write docs/benchmarks.md
  model [--histories N] [--seed S]            play random histories on the broker and on the naive model
  mcp-matrix                                  which MCP client gets a late decision, in real time, into docs/mcp-matrix.md
  crash [--every N]                           kill the binary before every write, or every Nth, and let every such write fail
  fuzz [TARGET…] [--seconds N] [--list]       try any bytes on what reads them, guided by coverage, N seconds each
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Usage(message)) => {
            eprintln!("xtask: {message}\n\n{USAGE}");
            ExitCode::from(64)
        }
        Err(Stop::Failed(failure)) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command ended early: it was called wrongly, or what it checks is wrong.
enum Stop {
    Usage(String),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn run(arguments: &[String]) -> Result<(), Stop> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let machine = Machine::here();
    match words.as_slice() {
        ["ci", options @ ..] => match ci::Selection::parse(options).map_err(Stop::Usage)? {
            ci::Selection::List => ci::list(),
            ci::Selection::Run(stages) => ci::run(&machine, stages)?,
        },
        ["setup"] => setup::run(&machine)?,
        ["model", options @ ..] => {
            chaos::model(&machine, &chaos::Histories::parse(options).map_err(Stop::Usage)?)?;
        }
        ["mcp-matrix"] => mcp::matrix(&machine)?,
        ["crash"] => chaos::crash(&machine, 1)?,
        ["crash", "--every", every] => {
            let places = every.parse().ok().filter(|every| *every > 0);
            let wrong = || Stop::Usage(format!("--every needs a number from one on, not {every}"));
            chaos::crash(&machine, places.ok_or_else(wrong)?)?;
        }
        ["fuzz", options @ ..] => {
            fuzz::run(&machine, &fuzz::Options::parse(options).map_err(Stop::Usage)?)?;
        }
        ["generate"] => generate::write(&machine)?,
        ["generate", "--check"] => generate::check(&machine)?,
        ["bench", options @ ..] => {
            bench::run(&machine, &bench::Options::parse(options).map_err(Stop::Usage)?)?
        }
        ["help" | "--help" | "-h"] => print!("{USAGE}"),
        [] => return Err(Stop::Usage("no command given".to_owned())),
        other => return Err(Stop::Usage(format!("unknown command: {}", other.join(" ")))),
    }
    Ok(())
}
