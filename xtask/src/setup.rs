//! Installs what the checks need and is not there: Debian's packages, Python environments, modules for Node.
//!
//! Looks before it installs, so a second run costs a second. As root on Debian it acts; anywhere else it says exactly
//! what to install.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exec::{Failure, Machine, Result, say};
use crate::mcp;

/// What judges us in Python: the log's formats, which asks for Python 3.12 and runs on Debian 12's 3.11, and the OpenAPI
/// documents of both doors.
const PYTHON_JUDGES: [(&str, &str); 2] = [("aics-tlog", "0.2.1"), ("schemathesis", "4.32.5")];

/// The oldest Node whose test runner the browser tests use.
const NODE_MAJOR_MIN: u32 = 20;

/// The oldest Python that the verifier runs on, as Python writes it.
const PYTHON_MIN: &str = "(3, 11)";

const BROWSER_TESTS: &str = "tests/browser";

/// A Debian package, and how to see that what we need from it is there.
struct DebianPackage {
    name: &'static str,
    is_there: fn(&Machine) -> bool,
}

const DEBIAN_PACKAGES: [DebianPackage; 6] = [
    DebianPackage { name: "chromium", is_there: |_| Path::new("/usr/bin/chromium").exists() },
    DebianPackage { name: "postgresql", is_there: |_| postgresql_server().is_some() },
    DebianPackage {
        name: "golang-go",
        is_there: |machine| machine.succeeds(machine.command("go").arg("version")),
    },
    DebianPackage {
        name: "golang-golang-x-mod-dev",
        is_there: |_| Path::new("/usr/share/gocode/src/golang.org/x/mod/sumdb").exists(),
    },
    // A clock that jumps, for the tests of hostile surroundings.
    DebianPackage { name: "faketime", is_there: |_| Path::new("/usr/bin/faketime").exists() },
    DebianPackage {
        name: "python3-venv",
        is_there: |machine| {
            machine.succeeds(machine.command("python3").args(["-c", "import venv, ensurepip"]))
        },
    },
];

pub(crate) fn run(machine: &Machine) -> Result<()> {
    rust_components(machine)?;
    debian_packages(machine)?;
    // After Debian's packages, which bring Python where there was none.
    tools_we_do_not_install(machine)?;
    python_environment(machine)?;
    mcp::environments(machine)?;
    [BROWSER_TESTS, mcp::TESTS].iter().try_for_each(|tests| node_modules(machine, tests))?;
    say("everything that the checks need is here");
    Ok(())
}

fn rust_components(machine: &Machine) -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !machine.succeeds(machine.cargo().args([subcommand, "--version"])) {
            machine.run(machine.command("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

fn debian_packages(machine: &Machine) -> Result<()> {
    let missing = || {
        let absent = DEBIAN_PACKAGES.iter().filter(|package| !(package.is_there)(machine));
        absent.map(|package| package.name).collect::<Vec<_>>()
    };
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    if !is_root(machine) || !Path::new("/usr/bin/apt-get").exists() {
        return Err(Failure::new(by_hand(&wanted)));
    }
    say(&format!("installing {}", wanted.join(" ")));
    if !package_lists_are_here() {
        apt_get(machine, &["update"])?;
        apt_install(machine, &wanted)?;
    } else if apt_install(machine, &wanted).is_err() {
        say("once more, with new package lists");
        apt_get(machine, &["update"])?;
        apt_install(machine, &wanted)?;
    }
    let missing = missing();
    if missing.is_empty() { Ok(()) } else { Err(Failure::new(by_hand(&missing))) }
}

fn by_hand(packages: &[&str]) -> String {
    format!(
        "the checks need packages that are not here; as root on Debian 12:\n  \
         apt-get update && apt-get install --yes --no-install-recommends {}",
        packages.join(" ")
    )
}

fn apt_install(machine: &Machine, packages: &[&str]) -> Result<()> {
    apt_get(machine, &[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(machine: &Machine, arguments: &[&str]) -> Result<()> {
    // A new machine may still be installing its own updates: wait for the lock instead of failing on it.
    let patience = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-qq"];
    let mut command = machine.command("apt-get");
    machine.run(command.env("DEBIAN_FRONTEND", "noninteractive").args(patience).args(arguments))
}

fn package_lists_are_here() -> bool {
    let Ok(mut lists) = fs::read_dir("/var/lib/apt/lists") else { return false };
    lists.any(|list| list.is_ok_and(|list| list.file_name().to_string_lossy().contains("_Packages")))
}

fn is_root(machine: &Machine) -> bool {
    machine.output(machine.command("id").arg("-u")).is_ok_and(|id| id == b"0\n")
}

/// Debian keeps the server's programs off the PATH, by major version.
fn postgresql_server() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .find(|bin| ["initdb", "postgres", "pgbench"].iter().all(|program| bin.join(program).exists()))
}

/// Debian 12's own Node is too old for us, and which Python there is, is not ours to change.
fn tools_we_do_not_install(machine: &Machine) -> Result<()> {
    let node = machine.output(machine.command("node").arg("--version")).unwrap_or_default();
    let node = String::from_utf8_lossy(&node);
    if node_major(&node).is_none_or(|major| major < NODE_MAJOR_MIN) {
        let found = if node.is_empty() { "found none" } else { node.trim() };
        return Err(Failure::new(format!(
            "the browser tests need Node {NODE_MAJOR_MIN} or newer with npm on the PATH ({found})"
        )));
    }
    let probe = format!("import sys; sys.exit(sys.version_info < {PYTHON_MIN})");
    if !machine.succeeds(machine.command("python3").args(["-c", &probe])) {
        return Err(Failure::new(format!(
            "the ledger's verifiers need python3 of version {PYTHON_MIN} or newer"
        )));
    }
    Ok(())
}

/// `v20.20.2` → 20
fn node_major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn python_environment(machine: &Machine) -> Result<()> {
    let python = machine.path("target/venv/bin/python");
    let python = python.to_string_lossy();
    let wanted = PYTHON_JUDGES.map(|(package, version)| format!("{package}=={version}"));
    let versions = PYTHON_JUDGES.map(|(package, version)| format!("m.version('{package}') == '{version}'"));
    let probe = format!("import importlib.metadata as m, sys; sys.exit(not ({}))", versions.join(" and "));
    if machine.succeeds(machine.command(&python).args(["-c", &probe])) {
        return Ok(());
    }
    say(&format!("making target/venv with {}", wanted.join(" ")));
    machine.run(machine.command("python3").args(["-m", "venv", "--clear", "target/venv"]))?;
    let options =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-requires-python"];
    machine.run(machine.command(&python).args(options).args(wanted))
}

fn node_modules(machine: &Machine, tests: &str) -> Result<()> {
    let directory = machine.path(tests);
    let locked = fs::read(directory.join("package-lock.json"))
        .map_err(|error| Failure::new(format!("failed to read {tests}/package-lock.json: {error}")))?;
    // What was installed last, so that a changed lock file is noticed and an unchanged one costs nothing.
    let stamp = directory.join("node_modules/.installed-lock.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == locked) {
        return Ok(());
    }
    say(&format!("installing the modules of {tests}"));
    // Some of them say that they want a newer Node than npm's; they get it when they run.
    let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    machine.run(machine.command("npm").args(options).current_dir(&directory))?;
    fs::write(&stamp, locked)
        .map_err(|error| Failure::new(format!("failed to write {}: {error}", stamp.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_read_closed() {
        for (version, expected) in
            [("v20.20.2\n", Some(20)), ("v9.0.0", Some(9)), ("20.1.0", None), ("", None), ("vx.1", None)]
        {
            assert_eq!(node_major(version), expected, "{version}");
        }
    }

    #[test]
    fn the_way_by_hand_names_every_package() {
        let text = by_hand(&["chromium", "golang-go"]);
        assert!(text.ends_with("apt-get install --yes --no-install-recommends chromium golang-go"), "{text}");
    }
}
