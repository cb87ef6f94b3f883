//! An agent's requests and a person's reviews, from the command line.

use serde_json::{Value, json};

use crate::harness::{Placet, ended};

fn deploy(placet: &Placet, to: &str) -> Value {
    let body = json!({
        "action": "example.deploy",
        "resource": { "type": "Example", "id": to },
        "arguments": { "service": "shop", "version": "1.2.3" },
        "justification": "release day",
    });
    placet.agents().post("/v1/requests", &body).expect(201).json()
}

#[test]
fn a_person_approves_what_they_were_shown() {
    let placet = Placet::start();
    placet.change_policy("bundle.toml", "token_may_approve = false", "token_may_approve = true");
    let request = deploy(&placet, "production");
    assert_eq!(request["status"], "pending");
    let (id, code) = (request["id"].as_str().unwrap(), request["short_code"].as_str().unwrap());
    let waiting = placet.cli(["requests", "wait", id]).spawn();

    let token = placet.token_of("Ada");
    let review = |arguments: &[&str]| {
        placet.cli(["review"].iter().chain(arguments)).env("PLACET_PERSON_TOKEN", &token)
    };
    assert!(review(&["ls"]).succeeds().contains(code));
    let shown = review(&["show", code]).succeeds();
    for part in [
        "first-agent",
        "Ada",
        "example.deploy",
        "release day",
        "Deployment to production",
        "self-reviewed",
        code,
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    review(&["approve", code]).fails(64, "there is no terminal");
    let approved = review(&["approve", code, "--yes", "--reason", "looks right"]).run();
    assert_eq!(approved.code, 0, "{approved:?}");
    assert!(approved.stderr.contains("release day"), "it shows what it approves");
    review(&["approve", code, "--yes"]).fails(77, "(");

    let request = placet.cli(["requests", "show", id]).json();
    assert_eq!(request["status"], "granted");
    let claim = json!({ "digest": request["digest"], "claim": "c1" });
    let execution = placet.agents().post(&format!("/v1/requests/{id}/execution"), &claim).json();
    let outcome =
        json!({ "execution_id": execution["execution_id"], "outcome": "succeeded", "summary": "done" });
    placet.agents().post(&format!("/v1/requests/{id}/outcome"), &outcome).expect(200);
    let waited = ended(waiting);
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(String::from_utf8_lossy(&waited.stdout).contains("succeeded"), "{waited:?}");
    assert!(waited.stderr.contains("waits for people") && waited.stderr.contains(code), "{waited:?}");
}

#[test]
fn a_denial_reaches_whoever_waits() {
    let placet = Placet::start();
    let request = deploy(&placet, "production");
    let id = request["id"].as_str().unwrap();
    let waiting = placet.cli(["requests", "wait", id]).spawn();
    let token = placet.token_of("Ada");
    let deny = placet
        .cli(["review", "deny", id, "--yes", "--reason", "not today"])
        .env("PLACET_PERSON_TOKEN", &token);
    deny.succeeds();
    let waited = ended(waiting);
    assert_eq!(waited.code, 77, "{waited:?}");
    assert!(String::from_utf8_lossy(&waited.stdout).contains("not today"), "{waited:?}");
    let approve = placet.cli(["review", "approve", id, "--yes"]).env("PLACET_PERSON_TOKEN", &token);
    assert_eq!(approve.run().code, 77);
}

#[test]
fn a_token_does_not_approve_where_the_bundle_does_not_say_so() {
    let placet = Placet::start();
    let request = deploy(&placet, "production");
    let token = placet.token_of("Ada");
    let id = request["id"].as_str().unwrap();
    let approve = placet.cli(["review", "approve", id, "--yes"]).env("PLACET_PERSON_TOKEN", &token);
    approve.fails(77, "token");
    assert_eq!(placet.cli(["requests", "show", id]).json()["status"], "pending");
}

#[test]
fn requests_are_listed_waited_for_and_withdrawn() {
    let placet = Placet::start();
    assert_eq!(deploy(&placet, "staging")["status"], "granted");
    let pending = deploy(&placet, "production");
    let id = pending["id"].as_str().unwrap();
    let listed = placet.cli(["requests", "ls", "--status", "pending"]).json();
    assert_eq!(listed["requests"].as_array().unwrap().len(), 1);
    placet.cli(["requests", "ls", "--status", "perhaps"]).fails(64, "Write one of pending");
    placet.cli(["requests", "wait", id, "--timeout", "0"]).fails(75, "waits for people");
    assert_eq!(placet.cli(["requests", "cancel", id]).json()["status"], "cancelled");
    assert_eq!(placet.cli(["requests", "wait", id]).run().code, 75);
    placet.cli(["requests", "show", "req_00000000000000000000000000"]).fails(64, "not_found");
}

#[test]
fn no_token_opens_the_other_door() {
    let placet = Placet::start();
    let person = placet.token_of("Ada");
    placet.cli(["requests", "ls"]).env("PLACET_AGENT_TOKEN", &person).fails(77, "(");
    let agent = placet.ready.agent_token.clone().unwrap();
    placet.cli(["review", "ls"]).env("PLACET_PERSON_TOKEN", &agent).fails(77, "(");
}
