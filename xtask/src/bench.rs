//! Benchmarks: builds the binary as it is published, builds the harness, and lets it measure.

use crate::exec::{Failure, Machine, Result};

/// The page whose tables are the last run.
const PAGE: &str = "docs/benchmarks.md";

/// What `bench`'s options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    profile: String,
    /// Passed on to the harness as they are.
    arguments: Vec<String>,
}

impl Options {
    pub(crate) fn parse(options: &[&str]) -> std::result::Result<Self, String> {
        let mut parsed = Options { profile: "dist".to_owned(), arguments: Vec::new() };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match *option {
                "--profile" => {
                    let name = options.next().ok_or("--profile needs a name: dist, release")?;
                    parsed.profile = (*name).to_owned();
                }
                "--markdown" => parsed.arguments.extend(["--markdown".to_owned(), PAGE.to_owned()]),
                other => parsed.arguments.push(other.to_owned()),
            }
        }
        Ok(parsed)
    }
}

/// Builds and measures.
pub(crate) fn run(machine: &Machine, options: &Options) -> Result<()> {
    measure(machine, &options.profile, &options.arguments)
}

/// Sizes so small that it takes seconds: only to see that the harness still works with the binary of the other checks.
pub(crate) fn smoke(machine: &Machine) -> Result<()> {
    measure(machine, "dev", &["--smoke".to_owned()])
}

fn measure(machine: &Machine, profile: &str, arguments: &[String]) -> Result<()> {
    let packages = ["--package", "placet", "--package", "placet-bench"];
    machine.run(machine.cargo().args(["build", "--locked", "--profile", profile]).args(packages))?;
    // Cargo's own profile is called dev, and its directory debug.
    let directory = if profile == "dev" { "debug" } else { profile };
    let built = |name: &str| {
        let path = machine.path("target").join(directory).join(name);
        path.to_str().map(str::to_owned).ok_or_else(|| Failure::new("the workspace's path is no text"))
    };
    let mut harness = machine.command(&built("placet-bench")?);
    machine.run(harness.args(["--placet", &built("placet")?, "--profile", profile]).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_ours_and_the_rest_is_the_harness() {
        let parsed = Options::parse(&["park", "--quick", "--profile", "release", "--markdown"]).unwrap();
        assert_eq!(parsed.profile, "release");
        assert_eq!(parsed.arguments, ["park", "--quick", "--markdown", PAGE]);
        assert_eq!(Options::parse(&[]).unwrap().profile, "dist");
        assert!(Options::parse(&["--profile"]).is_err());
    }
}
