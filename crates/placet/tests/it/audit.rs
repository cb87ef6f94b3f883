//! `placet audit`: what an auditor checks with nothing but files and a key, and what they notice.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Placet, Stopped, ended, eventually, walk};

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
    let names: Vec<&str> =
        report["names"].as_object().unwrap().values().map(|name| name.as_str().unwrap()).collect();
    assert!(names.contains(&"Ada") && names.contains(&"first-agent"), "{names:?}");
    assert!(verify().succeeds().contains(" (Ada)"), "people have names");
    let mut sums = std::process::Command::new("sha256sum");
    sums.args(["--check", "--quiet", "MANIFEST.sha256"]).current_dir(&directory);
    assert!(sums.status().unwrap().success(), "anybody can check the manifest");
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
        ("names.json", "names.json is missing"),
        ("README.txt", "README.txt stands in the manifest and is missing"),
        ("MANIFEST.sha256", "MANIFEST.sha256 is missing"),
        ("export/disclosures.jsonl", "is missing from the bundle"),
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
const DAMAGES: [(&str, &str, &str, &str); 10] = [
    ("request.json", "shop", "cart", "is about another action"),
    ("/cards/", "release day", "holiday", "is not the card that was voted on"),
    ("bundle.toml", "reviewers", "everybody", "is not the bundle that decided"),
    ("/entries/", "request", "requesu", "entry "),
    ("disclosures.jsonl", "\"disclosure\":\"W", "\"disclosure\":\"X", "does not commit to this"),
    ("vkey", "+", "x+", "another key"),
    ("README.txt", "This directory", "That directory", "README.txt is not the file that was exported"),
    ("names.json", "Ada", "Eve", "names.json is not the file that was exported"),
    ("MANIFEST.sha256", "README.txt", "READYOU.txt", "READYOU.txt stands in the manifest and is missing"),
    ("export/disclosures.jsonl", "\"disclosure\":\"W", "\"disclosure\":\"X", "does not commit to this"),
];

#[test]
fn who_did_what_on_a_day_has_one_answer_with_proof() {
    let (placet, _, id) = deployed();
    let other = json!({
        "action": "example.deploy",
        "resource": { "type": "Example", "id": "staging" },
        "arguments": { "service": "shop" },
    });
    placet.agents().post("/v1/requests", &other).expect(201);
    let search = |arguments: &[&str]| placet.cli(["audit", "search"]).args(arguments);
    let question = [
        "--action",
        "example.deploy",
        "--from",
        "2020-01-01",
        "--by",
        "first-agent",
        "--happened",
        "started",
        "--resource",
        "Example::\"production\"",
        "--reviewer",
        "Ada",
        "--verdict",
        "approve",
        "--status",
        "succeeded",
    ];
    let found = search(&question).json();
    let [one] = found["requests"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!(one["id"], id.as_str());
    assert_eq!(one["content"]["votes"][0]["person"]["name"], "Ada");
    let text = search(&question).succeeds();
    for shown in [
        &format!("request      {id}"),
        "action       example.deploy on Example::\"production\"",
        "who asked    agent first-agent (agt_",
        "on behalf of Ada (per_",
        "approve      Ada (per_",
        "outcome      succeeded at ",
        &format!("whole story  placet audit show {id}"),
        &format!("proof        placet audit bundle {id}"),
    ] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    assert_eq!(search(&[]).json()["requests"].as_array().unwrap().len(), 2);
    assert_eq!(search(&["--on", "2001-01-01"]).run().stderr.trim().lines().last(), Some("No request fits."));
    // As a person, with a token and no more.
    let token = placet.token_of("Ada");
    let door = search(&["--reviewers", "--by", "Ada"]).env("PLACET_PERSON_TOKEN", &token).json();
    assert_eq!(door["requests"].as_array().unwrap().len(), 2);
    search(&["--reviewers"]).env("PLACET_PERSON_TOKEN", "nonsense").fails(77, "");
    for (arguments, says) in [
        (["--by", "nobody"], "is or was called"),
        (["--on", "someday"], "is no day"),
        (["--tz", "Mars/Olympus"], "no time zone"),
        (["--resource", "production"], "is no resource"),
        (["--limit", "100000"], "limit"),
    ] {
        search(&arguments).fails(64, says);
    }

    let show = placet.cli(["audit", "show", &id]).succeeds();
    for shown in [
        "What happened",
        "The card, as it was shown",
        "Ada approved it",
        "release day",
        "ask.cedar",
        "verified just now: 5 entries are in the signed tree of",
    ] {
        assert!(show.contains(shown), "{shown} in {show}");
    }
    let code = one["content"]["short_code"].as_str().unwrap();
    let shown = placet.cli(["audit", "show", code]).json();
    assert_eq!(shown["proof"]["request"], id.as_str());
    assert_eq!(placet.verdicts("audit.exported"), [""; 0], "looking is no export");
    placet.cli(["audit", "show", "req_00000000000000000000000000"]).fails(64, "not_found");
    let (stranger, key, _) = deployed();
    let path = stranger.space().join("key");
    fs::write(&path, key).unwrap();
    placet.cli(["audit", "show", &id, "--vkey-file"]).arg(&path).fails(1, "another key");
}

#[test]
fn the_search_index_is_made_anew_while_placet_runs_and_when_it_does_not() {
    let (placet, _, id) = deployed();
    let made = placet.cli(["audit", "reindex"]).json();
    assert_eq!((&made["missing"], &made["surplus"], &made["erased"]), (&json!(0), &json!(0), &json!(0)));
    assert!(made["facts"].as_u64().unwrap() >= 7, "{made}");
    assert!(placet.cli(["audit", "reindex"]).succeeds().contains("exactly the same"));
    let stopped = placet.stop();
    let again = stopped.cli(["audit", "reindex"]).json();
    assert_eq!(
        (&again["facts"], &again["missing"], &again["surplus"]),
        (&made["facts"], &json!(0), &json!(0))
    );
    let placet = stopped.start();
    let found = placet.cli(["audit", "search", "--by", "first-agent"]).json();
    assert_eq!(found["requests"][0]["id"], id.as_str());
    let empty = tempfile::tempdir().unwrap();
    crate::harness::alone(empty.path(), ["audit", "reindex"]).fails(69, "nobody serves");
}

#[test]
fn a_watcher_sees_every_entry_once_also_when_placet_goes_and_comes_back() {
    let (placet, _, _) = deployed();
    let seen = |text: &[u8]| -> Vec<u64> {
        let lines = std::str::from_utf8(text).unwrap().lines();
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap()).collect()
    };
    let output = placet.space().join("seen");
    let watch = placet.cli(["audit", "watch", "--from", "0", "--json"]).spawn_into(&output);
    let until = |index: u64| {
        eventually("the entry is seen", || {
            let text = fs::read(&output).unwrap();
            (text.ends_with(b"\n") && seen(&text).last().is_some_and(|last| *last >= index)).then_some(())
        });
    };
    let size = placet.admin("/admin/v1/audit/log")["next"].as_u64().unwrap();
    until(size - 1);
    placet.cli(["group", "add", "before"]).succeeds();
    until(size);
    let placet = placet.stop().start();
    placet.cli(["group", "add", "after"]).succeeds();
    let size = placet.admin("/admin/v1/audit/log")["next"].as_u64().unwrap();
    until(size - 1);
    kill(Pid::from_raw(i32::try_from(watch.id()).unwrap()), Signal::SIGINT).unwrap();
    let ended = ended(watch);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("asking again until it is back"), "{ended:?}");
    assert!(ended.stderr.contains(&format!("placet audit watch --from {size}")), "{ended:?}");
    assert_eq!(seen(&fs::read(&output).unwrap()), (0..size).collect::<Vec<_>>());
    placet.cli(["audit", "watch", "--from", "100000"]).fails(64, "not the log you followed");
    placet.stop().cli(["audit", "watch"]).fails(69, "nobody serves");
}
