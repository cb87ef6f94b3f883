//! What `cargo metadata` says about the workspace, reduced to the fields that the checks read.

use std::process::Command;

use serde_json::Value;

use crate::exec::{Failure, Machine, Result};

/// A package: one of ours, or one that we depend on.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// Where it came from; nothing for a package of this workspace.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `Cargo.toml`'s dependency tables.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What is compiled into the product: normal and build dependencies.
    Product,
    /// What only tests see.
    Dev,
}

/// Only our own packages, with their dependencies as written; touches no network.
pub(crate) fn ours(machine: &Machine) -> Result<Vec<Package>> {
    let mut cargo = machine.cargo();
    read(machine, cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]))
}

/// Every package of the lock file.
pub(crate) fn everything(machine: &Machine) -> Result<Vec<Package>> {
    let mut cargo = machine.cargo();
    read(machine, cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features"]))
}

/// Every package of the lock file of a workspace beside ours, as far as it is used.
pub(crate) fn beside(machine: &Machine, manifest: &str) -> Result<Vec<Package>> {
    let mut cargo = machine.cargo();
    read(machine, cargo.args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest]))
}

fn read(machine: &Machine, command: &mut Command) -> Result<Vec<Package>> {
    let output = machine.output(command)?;
    let document: Value = serde_json::from_slice(&output)
        .map_err(|error| Failure::new(format!("failed to read cargo's metadata: {error}")))?;
    packages(&document).ok_or_else(|| Failure::new("failed to read cargo's metadata: unknown form"))
}

/// Nothing if any field that we rely on is missing: a check that reads half of the truth passes too easily.
fn packages(document: &Value) -> Option<Vec<Package>> {
    document.get("packages")?.as_array()?.iter().map(package).collect()
}

fn package(value: &Value) -> Option<Package> {
    Some(Package {
        name: text(value.get("name")?)?,
        version: text(value.get("version")?)?,
        licence: value.get("license").and_then(text),
        source: value.get("source").and_then(text),
        dependencies: value.get("dependencies")?.as_array()?.iter().map(dependency).collect::<Option<_>>()?,
    })
}

fn dependency(value: &Value) -> Option<Dependency> {
    let kind = match value.get("kind")? {
        Value::Null => Kind::Product,
        Value::String(kind) if kind == "build" => Kind::Product,
        Value::String(kind) if kind == "dev" => Kind::Dev,
        _ => return None,
    };
    Some(Dependency { name: text(value.get("name")?)?, kind })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_form_is_no_answer() {
        for document in [
            r#"{}"#,
            r#"{"packages":[{"name":"a"}]}"#,
            r#"{"packages":[{"name":"a","version":"1.0.0"}]}"#,
            r#"{"packages":[{"name":"a","version":"1.0.0","dependencies":[{"name":"b","kind":"strange"}]}]}"#,
            r#"{"packages":[{"name":"a","version":"1.0.0","dependencies":[{"name":"b"}]}]}"#,
        ] {
            assert!(packages(&serde_json::from_str(document).unwrap()).is_none(), "{document}");
        }
    }

    #[test]
    fn this_workspace_is_read() {
        let packages = ours(&Machine::here()).unwrap();
        let xtask = packages.iter().find(|package| package.name == "xtask").unwrap();
        assert_eq!(xtask.source, None);
        assert_eq!(xtask.licence.as_deref(), Some("Apache-2.0"));
        let find = |name: &str| xtask.dependencies.iter().find(|d| d.name == name).map(|d| d.kind);
        assert_eq!(find("serde_json"), Some(Kind::Product));
        assert_eq!(find("tempfile"), Some(Kind::Dev));
    }
}
