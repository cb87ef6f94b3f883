//! `cargo xtask fuzz`: long runs of the fuzz targets, whose short run is a test. What breaks is saved and can be replayed.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::exec::{Failure, Machine, Result};

/// What `fuzz`'s options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    List,
    Run { target: String, seconds: u64, seed: Option<u64> },
    Replay { target: String, file: String },
}

/// How long a target runs if nobody says.
const SECONDS_DEFAULT: u64 = 60;

impl Options {
    pub(crate) fn parse(words: &[&str]) -> std::result::Result<Self, String> {
        let (target, mut rest) = match words {
            ["--list"] => return Ok(Options::List),
            [target, rest @ ..] if !target.starts_with('-') => ((*target).to_owned(), rest),
            rest => ("all".to_owned(), rest),
        };
        let (mut seconds, mut seed) = (SECONDS_DEFAULT, None);
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no whole number"));
        while let [option, value, more @ ..] = rest {
            match *option {
                "--replay" if more.is_empty() && target != "all" => {
                    return Ok(Options::Replay { target, file: (*value).to_owned() });
                }
                "--seconds" => seconds = number(value)?,
                "--seed" => seed = Some(number(value)?),
                other => return Err(format!("unknown option: {other}")),
            }
            rest = more;
        }
        if rest.is_empty() {
            Ok(Options::Run { target, seconds, seed })
        } else {
            Err(format!("unknown options: {}", rest.join(" ")))
        }
    }
}

pub(crate) fn run(machine: &Machine, options: Options) -> Result<()> {
    let mut cargo = machine.cargo();
    // Optimised, because inputs a second are what counts.
    cargo.args(["run", "--locked", "--quiet", "--release", "-p", "placet-fuzz", "--"]);
    match options {
        Options::List => cargo.arg("list"),
        Options::Run { target, seconds, seed } => {
            let seed = seed.map_or_else(seed_of_now, Ok)?;
            cargo.args(["run".to_owned(), target, seconds.to_string(), seed.to_string()])
        }
        Options::Replay { target, file } => {
            let path = std::path::absolute(&file)
                .map_err(|error| Failure::new(format!("failed to read {file}: {error}")))?;
            cargo.args(["replay".to_owned(), target, path.to_string_lossy().into_owned()])
        }
    };
    machine.run(&mut cargo)
}

/// Another one each time: a long run is there to look where no run has looked.
#[expect(clippy::disallowed_methods, reason = "a chore's seed, which it prints")]
fn seed_of_now() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|now| now.as_secs()).map_err(|_| Failure::new("the clock is before 1970: give a --seed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_a_target_a_time_and_a_seed() {
        let run = |target: &str, seconds, seed| Ok(Options::Run { target: target.to_owned(), seconds, seed });
        assert_eq!(Options::parse(&[]), run("all", 60, None));
        assert_eq!(Options::parse(&["c14n", "--seconds", "5", "--seed", "7"]), run("c14n", 5, Some(7)));
        assert_eq!(Options::parse(&["--seconds", "5"]), run("all", 5, None));
        assert_eq!(Options::parse(&["--list"]), Ok(Options::List));
        let replay = Options::Replay { target: "c14n".to_owned(), file: "x".to_owned() };
        assert_eq!(Options::parse(&["c14n", "--replay", "x"]), Ok(replay));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--replay", "x"], &["c14n", "--for", "5"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
