//! The committed OpenAPI documents against the real doors, by somebody else's tool: no answer that they do not declare, no
//! body that does not fit its schema, no failure of ours, whatever is sent.
//!
//! The tool is [schemathesis](https://schemathesis.readthedocs.io), which `cargo xtask setup` installs. A longer run:
//! `PLACET_CONTRACT_SECONDS=600 cargo xtask ci --only test`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Options, Placet, eventually};
use crate::people::deploy;

const HINT: &str = "set PLACET_PYTHON to a Python that has schemathesis, which `cargo xtask setup` installs";

/// What every answer is held against. What it would call a wrong refusal is policy's to refuse.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,ignored_auth,unsupported_method";

/// How long a door is tried if nobody says.
const SECONDS_DEFAULT: &str = "25";

fn schemathesis() -> Option<PathBuf> {
    let Ok(python) = env::var("PLACET_PYTHON") else {
        assert!(env::var_os("PLACET_REQUIRE_VERIFIERS").is_none(), "{HINT}");
        eprintln!("notice: the OpenAPI documents were not tried; {HINT}");
        return None;
    };
    Some(Path::new(&python).with_file_name("schemathesis"))
}

/// Nothing of what it sends is worth a cap here.
fn without_caps() -> Placet {
    Options::default()
        .env("PLACET__LIMITS__CALLS_PER_MINUTE", "1000000")
        .env("PLACET__LIMITS__PENDING", "100000")
        .env("PLACET__LIMITS__REVIEWS_PER_HOUR", "1000000")
        .start()
}

/// Tries a door with this token, and with values that lead somewhere: what it makes up by itself is never there.
fn holds(placet: &Placet, door: &str, base: &str, token: &str, known: &str) {
    let Some(tool) = schemathesis() else { return };
    let config = placet.space().join("schemathesis.toml");
    fs::write(&config, known).unwrap();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/openapi/{door}.json"));
    let seconds = env::var("PLACET_CONTRACT_SECONDS").unwrap_or_else(|_| SECONDS_DEFAULT.to_owned());
    let tried = Command::new(tool)
        .arg("--config-file")
        .arg(&config)
        .arg("run")
        .arg(document)
        .args(["--url", base, "--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "20", "--seed", "20261125", "--no-color"])
        // A stream of hints has no end: it is let go.
        .args(["--exclude-path", "/v1/reviews/events", "--continue-on-failure", "--max-time", &seconds])
        .current_dir(placet.space())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tried.stdout);
    assert!(tried.status.success(), "{said}\n{}", String::from_utf8_lossy(&tried.stderr));
    assert!(said.contains(" passed"), "{said}");
}

#[test]
fn the_agents_door_is_as_its_document_says() {
    let placet = without_caps();
    let door = placet.agents();
    let request = door.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let known =
        format!("[parameters]\n\"path.id\" = \"{}\"\n\"query.wait\" = 0\n", request["id"].as_str().unwrap());
    let token = placet.ready.agent_token.clone().unwrap();
    holds(&placet, "agents", &placet.ready.agents, &token, &known);
    assert_eq!(door.get("/readyz").status, 200);
}

#[test]
fn the_reviewers_door_is_as_its_document_says() {
    let placet = without_caps();
    let request = placet.agents().post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let widths = placet.data().join("log/tile/0/000.p");
    let tile = eventually("the first tile", || {
        let width = fs::read_dir(&widths).ok()?.next()?.ok()?.file_name().into_string().ok()?;
        Some(format!("0/000.p/{width}"))
    });
    let known = format!(
        "[parameters]\n\"path.id\" = \"{}\"\n\"path.path\" = \"{tile}\"\n\"query.wait\" = 0\n",
        request["id"].as_str().unwrap()
    );
    holds(&placet, "reviewers", &placet.ready.reviewers, &placet.token_of("Ada"), &known);
    assert_eq!(placet.admin("/admin/v1/status")["ready"], json!(true));
}
