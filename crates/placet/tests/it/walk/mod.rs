//! Every operation of every door, as everybody: the answer of each (operation, caller) is written down in a table.
//!
//! ```text
//!  docs/openapi/*.json ─┐                                                       ┌─ agents.table
//!  `.route(` in source ─┴─► every operation there is ══ has to be the same as ══┤  reviewers.table
//!                                                                               └─ admin.table
//! ```
//!
//! Whoever adds an operation has to say here who gets what from it: until then this module fails. What answers without a
//! credential stands in [`OPEN`], which may only get shorter.

mod admin;
mod agents;
mod reviewers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::walk as files_below;

/// What answers without any credential. None of it says anything about anybody: health, our own style and script, the
/// link that is a credential itself, and where clients of MCP read which tokens open the agents' door (RFC 9728): they read
/// that before they have one.
const OPEN: [&str; 7] = [
    "GET /healthz",
    "GET /readyz",
    "GET /assets/{hash}/{name}",
    "GET /join/{secret}",
    "POST /join/{secret}",
    "GET /.well-known/oauth-protected-resource",
    "GET /.well-known/oauth-protected-resource/{resource}",
];

/// So many there may be. Lower this number when one is gone; whoever has to raise it explains why.
const OPEN_MAX: usize = 7;

/// An operation, `GET /v1/requests`, and the status that each caller gets.
type Table = Vec<(String, BTreeMap<String, u16>)>;

/// Reads a table: callers in the first line, then a line an operation.
fn table(text: &str) -> Table {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let callers: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let rows = lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (operation, statuses) = words.split_at(2);
        assert_eq!(statuses.len(), callers.len(), "a status for each caller: {line}");
        let statuses = statuses.iter().map(|status| status.parse().unwrap());
        let named = callers.iter().map(|caller| (*caller).to_owned());
        (operation.join(" "), named.zip(statuses).collect())
    });
    rows.collect()
}

/// Compares what everybody got with what the table says, and shows all differences at once.
fn compare(expected: &Table, got: &Table) {
    let mut wrong = Vec::new();
    for ((operation, expected), (_, got)) in expected.iter().zip(got) {
        for (caller, status) in expected {
            if got[caller] != *status {
                wrong.push(format!("{operation} as {caller}: {} instead of {status}", got[caller]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The operations of a committed OpenAPI document.
fn documented(door: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join(format!("docs/openapi/{door}.json"))).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        operations.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

/// The operations that the source routes, wherever they are mounted: `.route("/path", get(a).post(b))`.
fn routed() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in ["placet-server", "placet-gateway", "placet"]
        .iter()
        .flat_map(|name| files_below(&repository().join("crates").join(name).join("src")))
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
    {
        let text = fs::read_to_string(&file).unwrap();
        // What a file tests with its own little servers is not ours.
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for call in text.split(".route(").skip(1) {
            let written = call.trim_start().strip_prefix('"');
            let written = written.unwrap_or_else(|| panic!("{}: write routes as literals", file.display()));
            let (path, rest) = written.split_once('"').unwrap();
            let handlers = rest.split(".with_state").next().unwrap().split("\n").next().unwrap();
            let methods = ["get", "post", "put", "delete", "patch", "any"];
            let routed: Vec<&str> = methods
                .into_iter()
                .filter(|method| {
                    handlers.contains(&format!(" {method}(")) || handlers.contains(&format!(".{method}("))
                })
                .collect();
            assert!(!routed.is_empty(), "{}: no method for {path}: {handlers}", file.display());
            let path = path.replace("{*", "{");
            found.extend(routed.into_iter().map(|method| format!("{} {path}", method.to_uppercase())));
        }
    }
    found
}

#[test]
fn every_operation_there_is_has_its_line() {
    let lines = |text: &str| -> BTreeSet<String> { table(text).into_iter().map(|(name, _)| name).collect() };
    let (agents, reviewers, admin) = (lines(agents::TABLE), lines(reviewers::TABLE), lines(admin::TABLE));
    for (door, lines) in [("agents", &agents), ("reviewers", &reviewers)] {
        let missing: Vec<_> = documented(door).difference(lines).cloned().collect();
        assert_eq!(missing, [""; 0], "documented at the {door}' door, and without a line in its table");
    }
    let everything: BTreeSet<String> =
        agents.iter().chain(&reviewers).chain(&admin).cloned().chain(OPEN.map(str::to_owned)).collect();
    let routed = routed();
    let missing: Vec<_> = routed.difference(&everything).collect();
    assert_eq!(missing, [""; 0], "routed, and without a line in a table");
    let gone: Vec<_> = everything.difference(&routed).collect();
    assert_eq!(gone, [""; 0], "a line in a table, and not routed any more");
}

#[test]
fn what_answers_without_a_credential_only_gets_less() {
    assert!(OPEN.len() <= OPEN_MAX, "{OPEN:?} are more than {OPEN_MAX}");
    for (door, text) in [("agents", agents::TABLE), ("reviewers", reviewers::TABLE)] {
        for (operation, statuses) in table(text) {
            let open = OPEN.contains(&operation.as_str());
            let refused = matches!(statuses["nobody"], 401);
            assert!(open != refused, "{operation} at the {door}' door gives nobody {}", statuses["nobody"]);
        }
    }
}
