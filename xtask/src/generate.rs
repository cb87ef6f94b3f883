//! Files that are committed and made by the binary: written by `generate`, compared by `generate --check`.

use std::fs;

use crate::exec::{Failure, Machine, Result, say};

/// The binary that all checks from outside use.
pub(crate) const BINARY: &str = "target/debug/placet";

/// A committed file and the words that make the binary print it.
struct Generated {
    path: &'static str,
    arguments: &'static [&'static str],
}

const GENERATED: [Generated; 4] = [
    Generated { path: "docs/openapi/agents.json", arguments: &["openapi", "agents"] },
    Generated { path: "docs/openapi/reviewers.json", arguments: &["openapi", "reviewers"] },
    Generated { path: "docs/reference/cli.md", arguments: &["reference", "cli"] },
    Generated { path: "docs/reference/configuration.md", arguments: &["reference", "config"] },
];

/// Builds the binary and writes what it prints.
pub(crate) fn write(machine: &Machine) -> Result<()> {
    build(machine)?;
    for generated in &GENERATED {
        let text = printed(machine, generated)?;
        let path = machine.path(generated.path);
        let failed = |error| Failure::new(format!("failed to write {}: {error}", path.display()));
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        fs::write(&path, text).map_err(failed)?;
        say(&format!("wrote {}", generated.path));
    }
    Ok(())
}

/// Builds the binary and fails if a committed file is not what it prints.
pub(crate) fn check(machine: &Machine) -> Result<()> {
    build(machine)?;
    let mut findings = Vec::new();
    for generated in &GENERATED {
        let expected = printed(machine, generated)?;
        let committed = fs::read_to_string(machine.path(generated.path)).unwrap_or_default();
        if let Some(line) = first_difference(&committed, &expected) {
            findings.push(format!("{}:{line}: not what the binary prints", generated.path));
        }
    }
    if findings.is_empty() {
        say(&format!("{} generated files are up to date", GENERATED.len()));
        return Ok(());
    }
    Err(Failure::findings("run `cargo xtask generate` and commit what it writes:", &findings))
}

/// Builds the binary as every check from outside uses it.
pub(crate) fn build(machine: &Machine) -> Result<()> {
    machine.run(machine.cargo().args(["build", "--locked", "--package", "placet"]))
}

fn printed(machine: &Machine, generated: &Generated) -> Result<String> {
    let words = generated.arguments.join(" ");
    let binary = machine.path(BINARY);
    let bytes = machine.output(machine.command(&binary.to_string_lossy()).args(generated.arguments))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::new(format!("`placet {words}` printed no text")))?;
    if text.trim().is_empty() {
        return Err(Failure::new(format!("`placet {words}` printed nothing")));
    }
    Ok(text)
}

/// The number of the first line that differs, from 1; nothing if none does.
fn first_difference(committed: &str, expected: &str) -> Option<usize> {
    if committed == expected {
        return None;
    }
    let mut lines = committed.split('\n').zip(expected.split('\n'));
    let shorter = committed.split('\n').count().min(expected.split('\n').count());
    Some(1 + lines.position(|(left, right)| left != right).unwrap_or(shorter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs() {
        for (committed, expected, line) in [
            ("a\nb\n", "a\nb\n", None),
            ("a\nb\n", "a\nc\n", Some(2)),
            ("", "a\n", Some(1)),
            ("a\n", "a\nb\n", Some(2)),
            ("a\nb\n", "a\n", Some(2)),
            ("a", "a\n", Some(2)),
        ] {
            assert_eq!(first_difference(committed, expected), line, "{committed:?} {expected:?}");
        }
    }
}
