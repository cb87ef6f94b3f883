//! What is recorded of commands: kept beside the request, shown without steering anybody, proven by the ledger.

use std::fs;
use std::io::{BufRead as _, BufReader};

use placet_core::digest::Sha256Digest;
use serde_json::{Value, json};

use crate::harness::{Placet, ended};
use crate::people::{Session, deploy};

/// Runs a script that somebody approves, to its end. Its request's id.
fn run(placet: &Placet, reviewer: &Session<'_>, script: &str) -> String {
    let client = placet.cli(["run", "--", "/bin/bash", "-c", script]).spawn();
    let id = reviewer.waiting();
    reviewer.approve(&id);
    ended(client);
    id
}

pub(crate) fn record_all(placet: &Placet) {
    placet.change_policy(
        "runner.toml",
        "danger_same_user = true",
        "danger_same_user = true\nrecord = \"all\"",
    );
}

/// The events of a recording, as (code, data).
pub(crate) fn events(bytes: &[u8]) -> Vec<(String, String)> {
    let lines = std::str::from_utf8(bytes).unwrap().lines().skip(1).filter(|line| !line.starts_with('#'));
    let event = |line: &str| serde_json::from_str::<(f64, String, String)>(line).unwrap();
    lines.map(event).map(|(_, code, data)| (code, data)).collect()
}

const HOSTILE: &str = "printf 'out\\033[31mred\\033[0m<script>alert(1)</script>\\n'; sleep 0.1; \
                       printf '\\033]0;title\\007 \\342\\200\\256 gnp.exe \\377\\n' >&2; exit 3";

#[test]
fn what_a_program_wrote_is_shown_kept_and_proven() {
    let placet = Placet::start();
    record_all(&placet);
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let id = run(&placet, &ada, HOSTILE);

    let review = ada.review(&id);
    let recorded = json!({ "name": "recorded", "value": "everything it writes, its output too" });
    assert!(review["card"]["pins"].as_array().unwrap().contains(&recorded), "{}", review["card"]["pins"]);
    let kept = &review["request"]["outcome"]["recording"];
    let cast = ada.cookie.get(&format!("/v1/reviews/{id}/recording")).expect(200);
    assert_eq!(cast.headers["content-type"], "application/x-asciicast");
    assert!(cast.headers["content-disposition"].to_str().unwrap().starts_with("attachment; filename=\"exe_"));
    assert_eq!(kept["sha256"], Sha256Digest::of(&cast.body).to_string());
    assert_eq!((&kept["bytes"], &kept["truncated"]), (&json!(cast.body.len()), &json!(false)));
    let told = [
        ("o", "outred<script>alert(1)</script>\r\n"),
        ("o", "\\u{1b}]0;title\\u{7} \\u{202e} gnp.exe \\xff\r\n"),
        ("x", "3"),
    ];
    assert_eq!(events(&cast.body), told.map(|(code, data)| (code.to_owned(), data.to_owned())));
    let header: Value =
        serde_json::from_slice(cast.body.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((&header["version"], &header["placet"]["invalid_bytes"]), (&json!(3), &json!(1)));

    let page = ada.cookie.get(&format!("/r/{id}/recording")).expect(200).text();
    for part in [
        "&#60;script&#62;alert(1)",
        "\\u{1b}]0;title\\u{7} \\u{202e} gnp.exe \\xff",
        kept["sha256"].as_str().unwrap(),
    ] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{7}']) && !page.contains("<script>alert"), "{page}");
    ada.cookie.get(&format!("/r/{id}/recording?page=2")).expect(404);
    let played = ada.cookie.get(&format!("/r/{id}/recording/events")).expect(200).json();
    assert_eq!(played[0][1], "stdout");
    assert_eq!(played.as_array().unwrap().last().unwrap()[1], "placet");
    let page = ada.cookie.get(&format!("/r/{id}")).expect(200).text();
    assert!(page.contains(&format!("/r/{id}/recording")), "the review leads there");
    let shown = placet.cli(["requests", "show", &id]).succeeds();
    assert!(shown.contains(kept["sha256"].as_str().unwrap()), "{shown}");

    // Who may not see the review may not see this.
    placet.reviewers(None).get(&format!("/v1/reviews/{id}/recording")).expect(401);
    placet.agents().get(&format!("/v1/reviews/{id}/recording")).expect(404);

    // Out of placet, by either way, come the same bytes.
    let file = placet.space().join("out.cast");
    placet.cli(["audit", "recording", &id, "-o"]).arg(&file).succeeds();
    assert_eq!(fs::read(&file).unwrap(), cast.body);
    placet.cli(["audit", "recording", &id, "-o"]).arg(&file).fails(64, "exists");
    assert_eq!(placet.cli(["audit", "recording", &id]).run().stdout, cast.body);
    let token = placet.token_of("Ada");
    let own = placet.cli(["review", "recording", &id]).env("PLACET_PERSON_TOKEN", &token);
    let own = own.env("PLACET_REVIEWERS_URL", &placet.ready.reviewers).run();
    assert_eq!(own.stdout, cast.body, "{own:?}");
    let page = ada.cookie.get("/audit/entries").expect(200).text();
    assert!(page.contains("exported the recording of a request"), "taking it out is on record");

    // In a bundle it is proven; another one is none, and an erased one is missing without being a lie.
    let bundle = placet.space().join("bundle");
    placet.cli(["audit", "bundle", &id, "-o"]).arg(&bundle).succeeds();
    let verify = || placet.cli(["audit", "verify", "--vkey", &placet.log_key()]).arg(&bundle);
    assert!(verify().succeeds().contains("recording: what the program wrote is the one"));
    let execution = header["placet"]["execution"].as_str().unwrap();
    let path = bundle.join("recordings").join(format!("{execution}.cast"));
    assert_eq!(fs::read(&path).unwrap(), cast.body);
    fs::write(&path, [&cast.body[..], b"\n"].concat()).unwrap();
    verify().fails(1, "is not the recording that the outcome names");
    fs::remove_file(&path).unwrap();
    assert!(verify().succeeds().contains("is not in this bundle"));
}

#[test]
fn an_export_is_not_copied_by_being_recorded() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let id = run(&placet, &ada, "echo ada@example.com; echo 1 row >&2");
    let cast = ada.cookie.get(&format!("/v1/reviews/{id}/recording")).expect(200);
    assert!(!cast.text().contains("ada@example.com"), "{}", cast.text());
    let told = events(&cast.body);
    assert!(told.contains(&("o".into(), "1 row\r\n".into())), "{told:?}");
    assert!(told.contains(&("s".into(), "stdout 16".into())), "{told:?}");
    let page = ada.cookie.get(&format!("/r/{id}/recording")).expect(200).text();
    assert!(page.contains("16 bytes on stdout, not kept"), "{page}");
    let pins = ada.review(&id)["card"]["pins"].to_string();
    assert!(pins.contains("of its output only when and how much"), "{pins}");
}

#[test]
fn what_was_not_recorded_is_not_shown() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let request = placet.agents().post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let id = request["id"].as_str().unwrap();
    let recording = format!("/v1/reviews/{id}/recording");
    ada.cookie.get(&recording).problem(404, "no_recording");
    assert!(
        ada.cookie.get(&format!("/r/{id}/recording")).expect(404).text().contains("There is no recording")
    );
    placet.cli(["audit", "recording", id]).fails(64, "No recording was kept");
    ada.cast(id, &ada.ballot(id, "deny")).expect(200);
    placet.change_policy(
        "runner.toml",
        "danger_same_user = true",
        "danger_same_user = true\nrecord = \"none\"",
    );
    let id = run(&placet, &ada, "echo one; echo two >&2");
    assert!(ada.review(&id)["request"]["outcome"].get("recording").is_none());
    ada.cookie.get(&format!("/v1/reviews/{id}/recording")).problem(404, "no_recording");
}

#[test]
fn after_a_power_cut_there_is_no_recording_and_nobody_says_there_is() {
    let placet = Placet::start();
    record_all(&placet);
    let mut client = placet.cli(["run", "--", "/bin/bash", "-c", "echo started; sleep 600"]).spawn();
    let ada = placet.session_of("Ada");
    let id = ada.waiting();
    ada.approve(&id);
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    let placet = placet.crash().start();
    ended(client);
    let ada = placet.session_of("Ada");
    let request = &ada.review(&id)["request"];
    assert_eq!(request["status"], "unknown");
    assert!(request["outcome"].get("recording").is_none());
    ada.cookie.get(&format!("/v1/reviews/{id}/recording")).problem(404, "no_recording");
    let bundle = placet.space().join("bundle");
    placet.cli(["audit", "bundle", &id, "-o"]).arg(&bundle).succeeds();
    let disclosures = fs::read_to_string(bundle.join("disclosures.jsonl")).unwrap();
    assert!(!bundle.join("recordings").exists() && !disclosures.is_empty());
}
