//! How fast placet is, beside what the same machine does without it.
//!
//! ```text
//!  placet-bench ──spawns──► placet up          a process of its own, driven over HTTP by keep-alive callers
//!       │                                       or, for what needs no process, a function of one of its crates
//!       └── round after round: floor, subject, floor, subject, …   ──► figures ──► table, JSON, Markdown
//! ```
//!
//! Every figure stands beside a floor that was measured in the same seconds: one fdatasync, one SHA-256, one exec. The
//! machine may be busy; the ratio says what placet adds. `cargo xtask bench` builds and runs this.

mod client;
mod figure;
mod figures;
mod floor;
mod machine;
mod report;
mod space;
mod subject;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use figures::{ALL, Bench};

/// Anything that can go wrong, in words: a benchmark that fails is read by whoever started it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "\
usage: placet-bench --placet BINARY [NAME…] [--quick | --smoke] [--json FILE] [--markdown FILE]

Measures the named figures, or all of them (`--list` shows their names).

  --placet BINARY   the placet to measure
  --profile NAME    how it was built, for the report
  --quick           fewer and shorter rounds
  --smoke           sizes so small that the numbers mean nothing: only to see that the harness works
  --json FILE       writes everything that was measured, round by round
  --markdown FILE   writes the page of docs/benchmarks.md
";

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Scale {
    /// Only to see that it works.
    Smoke,
    /// A first impression.
    Quick,
    /// What is published.
    Full,
}

#[derive(Debug)]
struct Options {
    placet: PathBuf,
    profile: String,
    scale: Scale,
    names: Vec<String>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        ALL.iter().for_each(|(name, about, _)| println!("{name:<12}{about}"));
        return ExitCode::SUCCESS;
    }
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("placet-bench: {wrong}\n\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("placet-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: Vec<String>) -> std::result::Result<Options, String> {
    let mut options = Options {
        placet: PathBuf::new(),
        profile: "unknown".to_owned(),
        scale: Scale::Full,
        names: Vec::new(),
        json: None,
        markdown: None,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--placet" => options.placet = value()?.into(),
            "--profile" => options.profile = value()?,
            "--json" => options.json = Some(value()?.into()),
            "--markdown" => options.markdown = Some(value()?.into()),
            "--quick" => options.scale = Scale::Quick,
            "--smoke" => options.scale = Scale::Smoke,
            name if ALL.iter().any(|(known, ..)| *known == name) => options.names.push(argument),
            other => return Err(format!("unknown figure or option: {other}")),
        }
    }
    if options.placet.as_os_str().is_empty() {
        return Err("--placet names the binary to measure".to_owned());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    machine::open_files();
    let bench = Bench::new(&options.placet, options.scale)?;
    let mut figures = Vec::new();
    for (name, about, measure) in ALL {
        if !options.names.is_empty() && !options.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("{name}: {about}");
        for figure in measure(&bench)? {
            println!("{}", report::line(&figure));
            figures.push(figure);
        }
    }
    let machine = machine::Machine::describe(&options.profile, bench.space.path());
    println!("\n{machine}");
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&machine, options.scale, &figures))?;
    }
    if let Some(path) = &options.markdown {
        report::write_markdown(path, &machine, options.scale, &figures)?;
    }
    Ok(())
}
