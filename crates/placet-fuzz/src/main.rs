//! `cargo xtask fuzz` runs this: long runs, and replays of what broke.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use placet_fuzz::{TARGETS, Target, save};

const USAGE: &str = "usage: placet-fuzz run TARGET|all SECONDS SEED | replay TARGET FILE | list";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            ExitCode::SUCCESS
        }
        ["run", "all", seconds, seed] => run(&TARGETS.iter().collect::<Vec<_>>(), seconds, seed),
        ["run", name, seconds, seed] => match Target::named(name) {
            Some(target) => run(&[target], seconds, seed),
            None => usage(),
        },
        ["replay", name, file] => match (Target::named(name), std::fs::read(file)) {
            (Some(target), Ok(input)) => replay(target, &input),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

fn run(targets: &[&Target], seconds: &str, seed: &str) -> ExitCode {
    let (Ok(seconds), Ok(seed)) = (seconds.parse(), seed.parse()) else { return usage() };
    let mut ended = ExitCode::SUCCESS;
    for target in targets {
        let begun = Instant::now();
        match target.run(seed, |_| begun.elapsed() < Duration::from_secs(seconds)) {
            Ok(run) => println!(
                "{}: {} inputs, {} classes of answers, seed {seed}",
                target.name, run.tried, run.classes
            ),
            Err(crash) => {
                println!("{}: {}", target.name, crash.why);
                match save(target, &crash) {
                    Ok(path) => println!(
                        "saved as {0}; again: cargo xtask fuzz {1} --replay {0}",
                        path.display(),
                        target.name
                    ),
                    Err(error) => println!("it could not be saved: {error}"),
                }
                ended = ExitCode::FAILURE;
            }
        }
    }
    ended
}

fn replay(target: &Target, input: &[u8]) -> ExitCode {
    match target.judge(input) {
        Ok(class) => {
            println!("{}: holds ({class})", target.name);
            ExitCode::SUCCESS
        }
        Err(crash) => {
            println!("{}: {}", target.name, crash.why);
            ExitCode::FAILURE
        }
    }
}
