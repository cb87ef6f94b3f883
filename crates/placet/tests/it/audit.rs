//! `placet audit`: what an auditor checks with nothing but files and a key, and what they notice.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{Placet, Stopped, walk};

/// A ledger with an approved and carried out deployment; its key, and the request's id.
fn deployed() -> (Placet, String, String) {
    let placet = Placet::start();
    placet.change_policy("bundle.toml", "token_may_approve = false", "token_may_approve = true");
    let body = json!({
        "action": "example.deploy",
        "resource": { "type": "Example", "id": "production" },
        "arguments": { "service": "shop" },
        "justification": "release day",
    });
    let request = placet.agents().post("/v1/requests", &body).expect(201).json();
    let id = request["id"].as_str().unwrap().to_owned();
    let token = placet.token_of("Ada");
    placet.cli(["review", "approve", &id, "--yes", "-r", "ok"]).env("PLACET_PERSON_TOKEN", &token).succeeds();
    let claim = json!({ "digest": request["digest"], "claim": "c1" });
    let execution = placet.agents().post(&format!("/v1/requests/{id}/execution"), &claim).json();
    let outcome =
        json!({ "execution_id": execution["execution_id"], "outcome": "succeeded", "summary": "done" });
    placet.agents().post(&format!("/v1/requests/{id}/outcome"), &outcome).expect(200);
    let key = placet.cli(["audit", "key"]).succeeds().trim().to_owned();
    (placet, key, id)
}

#[test]
fn the_whole_ledger_is_verified_offline_against_a_kept_checkpoint() {
    let (placet, key, _) = deployed();
    let kept = placet.space().join("kept");
    fs::write(&kept, placet.cli(["audit", "checkpoint"]).succeeds()).unwrap();
    placet.cli(["group", "add", "later"]).succeeds();
    placet.cli(["audit", "checkpoint"]).succeeds();
    let stopped = placet.stop();
    let verify =
        |stopped: &Stopped| stopped.cli(["audit", "verify", "--vkey", &key, "--checkpoint"]).arg(&kept);
    let report = verify(&stopped).json();
    assert_eq!(report["older_checkpoints"], 1);
    assert_eq!(report["requests"], 1);
    assert_eq!(report["kinds"]["vote.cast"], 1);
    assert_eq!(report["kinds"]["execution.finished"], 1);
    assert!(verify(&stopped).succeeds().contains("verified"));

    // Another key, no key, another log's checkpoint, an altered entry, a removed one.
    stopped.cli(["audit", "verify"]).fails(64, "--vkey");
    let (other, other_key, _) = deployed();
    stopped.cli(["audit", "verify", "--vkey", &other_key]).fails(1, "");
    let foreign = other.space().join("foreign");
    fs::write(&foreign, other.cli(["audit", "checkpoint"]).succeeds()).unwrap();
    stopped.cli(["audit", "verify", "--vkey", &key, "--checkpoint"]).arg(&foreign).fails(1, "foreign");
    let bundle = entries_file(&stopped.data().join("log/tile/entries"));
    let bytes = fs::read(&bundle).unwrap();
    let mut altered = bytes.clone();
    let at = bytes.windows(9).position(|window| window == b"vote.cast").unwrap();
    altered[at..at + 9].copy_from_slice(b"vote.lost");
    fs::write(&bundle, altered).unwrap();
    verify(&stopped).fails(1, "was altered");
    fs::remove_file(&bundle).unwrap();
    verify(&stopped).fails(1, "missing");
}

/// The file of the newest entries.
fn entries_file(directory: &Path) -> std::path::PathBuf {
    let mut found: Vec<_> = walk(directory);
    found.sort_by_key(|path| fs::metadata(path).unwrap().len());
    found.pop().unwrap()
}

#[test]
fn an_audit_bundle_proves_who_did_what() {
    let (placet, key, id) = deployed();
    let directory = placet.space().join("bundle");
    placet.cli(["audit", "bundle", &id, "-o"]).arg(&directory).succeeds();
    placet.cli(["audit", "bundle", &id, "-o"]).arg(&directory).fails(64, "is there already");
    placet.cli(["audit", "bundle", "req_00000000000000000000000000"]).fails(64, "not_found");
    let stopped = placet.stop();
    let verify = || stopped.cli(["audit", "verify", "--vkey", &key]).arg(&directory);
    let report = verify().json();
    assert_eq!(report["request"], id.as_str());
    assert_eq!(report["disclosed"], report["commitments"], "everything is disclosed");
    let kinds: Vec<&str> =
        report["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["request.received", "vote.cast", "decision.made", "execution.started", "execution.finished"]
    );
    assert!(verify().succeeds().contains("verified"));

    for damage in DAMAGES {
        let (file, from, to, says) = damage;
        let path = walk(&directory).into_iter().find(|path| path.to_string_lossy().contains(file)).unwrap();
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        verify().fails(1, says);
        fs::write(&path, bytes).unwrap();
    }
    for (file, says) in [
        ("checkpoint", "checkpoint is missing"),
        ("tlog-proof", "tlog-proof is missing"),
        ("cards/", "is missing from the bundle"),
    ] {
        let path = walk(&directory).into_iter().find(|path| path.to_string_lossy().contains(file)).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        verify().fails(1, says);
        fs::write(&path, bytes).unwrap();
    }
    fs::write(directory.join("note.txt"), "trust me").unwrap();
    verify().fails(1, "proven by nothing");
    fs::remove_file(directory.join("note.txt")).unwrap();
    verify().succeeds();
}

/// File, what stands in it, what is written instead, and what the verifier says.
const DAMAGES: [(&str, &str, &str, &str); 6] = [
    ("request.json", "shop", "cart", "is about another action"),
    ("/cards/", "release day", "holiday", "is not the card that was voted on"),
    ("bundle.toml", "reviewers", "everybody", "is not the bundle that decided"),
    ("/entries/", "request", "requesu", "entry "),
    ("disclosures.jsonl", "\"disclosure\":\"W", "\"disclosure\":\"X", "does not commit to this"),
    ("vkey", "+", "x+", "another key"),
];
