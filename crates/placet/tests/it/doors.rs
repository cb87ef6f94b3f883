//! Who gets in where, and who may do what once inside. Whatever is refused is named, and what matters is an entry.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Options, Placet, eventually};
use crate::people::{Session, deploy};

/// The path of a request, and what follows it.
fn at(request: &Value, rest: &str) -> String {
    format!("/v1/requests/{}{rest}", request["id"].as_str().unwrap())
}

fn claim(request: &Value, claim: &str) -> Value {
    json!({ "digest": request["digest"], "claim": claim })
}

#[test]
fn each_door_opens_to_its_own_credentials_only() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let (agent, person) = (placet.ready.agent_token.clone().unwrap(), placet.token_of("Ada"));
    let request = placet.agents().post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let vote = format!("/v1/reviews/{}/votes", request["id"].as_str().unwrap());

    let garbage = ["", "x", "placet_agent_", "placet_person_0", &"x".repeat(5000), &agent[..agent.len() - 1]];
    for token in garbage.into_iter().map(Some).chain([None]) {
        let agents = placet.agents().bearer(token);
        agents.get("/v1/requests").problem(401, "unauthenticated");
        agents.post("/v1/requests", &deploy("staging", "1")).problem(401, "unauthenticated");
        agents.post("/v1/commands", &json!({ "argv": ["ls"] })).problem(401, "unauthenticated");
        agents.put(&format!("/v1/blobs/{}", "0".repeat(64)), b"x").problem(401, "unauthenticated");
        let reviewers = placet.reviewers(token);
        for path in ["/v1/reviews", "/v1/audit/entries", "/v1/reviews/events", "/log/checkpoint"] {
            reviewers.get(path).problem(401, "unauthenticated");
        }
        reviewers.post(&vote, &json!({})).problem(401, "unauthenticated");
    }
    assert_eq!(
        placet.verdicts("intake.refused"),
        [""; 0],
        "what opens nothing anywhere is not worth an entry"
    );

    let asked = placet.agents().bearer(Some(&person)).post("/v1/requests", &deploy("staging", "1"));
    asked.problem(401, "unauthenticated");
    assert_eq!(asked.headers["www-authenticate"], "Bearer realm=\"placet agents\"");
    assert!(asked.json()["detail"].as_str().unwrap().contains("person's token"), "{}", asked.text());
    assert_eq!(placet.verdicts("intake.refused").len(), 1);
    let ballot = ada.ballot(request["id"].as_str().unwrap(), "approve");
    let voted = placet.reviewers(Some(&agent)).post(&vote, &ballot);
    voted.problem(401, "unauthenticated");
    assert!(voted.json()["detail"].as_str().unwrap().contains("no agent can review"), "{}", voted.text());
    assert_eq!(placet.verdicts("intake.refused").len(), 2);
    // A cookie is no bearer token, and no cookie opens the agents' door.
    let secret = ada.secret.split_once('=').unwrap().1;
    placet.agents().bearer(Some(secret)).get("/v1/requests").problem(401, "unauthenticated");
    placet.reviewers(Some(secret)).get("/v1/reviews").problem(401, "unauthenticated");
    placet
        .agents()
        .bearer(None)
        .header("cookie", &ada.secret)
        .get("/v1/requests")
        .problem(401, "unauthenticated");
    assert_eq!(placet.agents().get(&at(&request, "")).json()["status"], "pending");
    placet.agents().get("/").problem(404, "not_found");
}

#[test]
fn a_session_votes_from_its_own_pages_only() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let request = placet.agents().post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let id = request["id"].as_str().unwrap();
    let (vote, ballot) = (format!("/v1/reviews/{id}/votes"), ada.ballot(id, "approve"));
    let own = placet.ready.reviewers.as_str();
    ada.cookie.post(&vote, &ballot).problem(403, "foreign_origin");
    ada.cookie
        .clone()
        .header("origin", "http://elsewhere.test")
        .post(&vote, &ballot)
        .problem(403, "foreign_origin");
    ada.cookie.clone().header("origin", "null").post(&vote, &ballot).problem(403, "foreign_origin");
    ada.cookie.clone().header("origin", own).post(&vote, &ballot).problem(403, "foreign_form");
    ada.door.clone().header("host", "elsewhere.test").get("/v1/reviews").problem(421, "other_host");
    let used =
        placet.reviewers(None).get(placet.ready.invitation.as_ref().unwrap().strip_prefix(own).unwrap());
    assert_eq!(used.status, 404, "a link works once");
    assert_eq!(placet.agents().get(&at(&request, "")).json()["status"], "pending");
    assert_eq!(ada.approve(id)["status"], "granted");
}

#[test]
fn a_credential_that_ended_opens_nothing() {
    let placet = Placet::start();
    let (agents, token) = (placet.agents(), placet.add_agent("reporter"));
    let as_reporter = agents.clone().bearer(Some(&token));
    let granted = as_reporter.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let waits = as_reporter.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    placet.cli(["agent", "revoke", "reporter"]).succeeds();
    as_reporter.post(&at(&granted, "/execution"), &claim(&granted, "c")).problem(401, "unauthenticated");
    as_reporter.get(&at(&waits, "?wait=50&version=1")).problem(401, "unauthenticated");

    // Nobody answers for an agent whose sponsor has gone.
    placet.cli(["person", "add", "Grace"]).succeeds();
    let orphan = placet.cli(["agent", "add", "orphan", "--sponsor", "Grace"]).succeeds();
    let as_orphan = agents.clone().bearer(Some(orphan.trim()));
    as_orphan.get("/v1/requests").expect(200);
    placet.cli(["person", "disable", "Grace"]).succeeds();
    as_orphan.get("/v1/requests").problem(401, "unauthenticated");
    as_orphan.post("/v1/requests", &deploy("staging", "1")).problem(401, "unauthenticated");
}

#[test]
fn nobody_sees_or_touches_anothers_request() {
    let placet = Placet::start();
    let request = placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let command = placet.agents().post("/v1/commands", &json!({ "argv": ["/bin/true"] })).expect(201).json();
    let other = placet.agents().bearer(Some(&placet.add_agent("other")));
    for request in [&request, &command] {
        let outcome = json!({ "execution_id": "exe_00000000000000000000000000", "outcome": "succeeded" });
        other.get(&at(request, "")).problem(404, "not_found");
        other.get(&at(request, "/events")).problem(404, "not_found");
        other.post_raw(&at(request, "/cancel"), "").problem(404, "not_found");
        other.post(&at(request, "/execution"), &claim(request, "c")).problem(404, "not_found");
        other.post(&at(request, "/outcome"), &outcome).problem(404, "not_found");
        let command = |rest: &str| at(request, rest).replace("requests", "commands");
        other.post_raw(&command("/run"), "").problem(404, "not_found");
        other.post_raw(&command("/cancel"), "").problem(404, "not_found");
        other.get(&command("/output")).problem(404, "not_found");
    }
    assert_eq!(other.get("/v1/requests").json()["requests"], json!([]));
    // An input is private too: to name it is not to have it.
    let sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    placet.agents().put(&format!("/v1/blobs/{sha256}"), b"x").expect(201);
    let attached = json!({ "argv": ["/bin/cat", "x"], "inputs": [{ "name": "x", "sha256": sha256 }] });
    other.post("/v1/commands", &attached).problem(409, "input_missing");
    placet.agents().post("/v1/commands", &attached).expect(201);
}

#[test]
fn a_vote_without_standing_is_refused_and_an_entry() {
    let placet = Placet::team();
    placet.add_person("Grace", &["reviewers"]);
    placet.add_person("Linus", &["reviewers"]);
    placet.add_person("Eve", &[]);
    let request = placet.agents().post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let other = placet.agents().post("/v1/requests", &deploy("production", "2")).expect(201).json();
    let id = request["id"].as_str().unwrap();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let [grace, linus, eve] = ["Grace", "Linus", "Eve"].map(|name| placet.session_of(name));
    let standing = |session: &Session<'_>| session.review(id)["standing"].clone();
    assert_eq!(standing(&ada)["code"], "self_approval");
    assert_eq!(standing(&eve)["code"], "no_standing");
    assert_eq!(standing(&grace)["may_approve"], true);

    let refused = |session: &Session<'_>, ballot: Value, status: u16, code: &str| {
        session.cast(id, &ballot).problem(status, code);
        assert_eq!(placet.verdicts("vote.refused").last().map(String::as_str), Some(code));
    };
    let altered = |member: &str, value: Value| {
        let mut ballot = grace.ballot(id, "approve");
        ballot[member] = value;
        ballot
    };
    refused(&ada, ada.ballot(id, "approve"), 403, "self_approval");
    refused(&ada, ada.ballot(id, "deny"), 403, "self_approval");
    refused(&eve, eve.ballot(id, "approve"), 403, "no_standing");
    refused(&eve, eve.ballot(id, "deny"), 403, "no_standing");
    refused(&grace, altered("digest", other["digest"].clone()), 409, "other_digest");
    refused(&grace, altered("version", json!(2)), 409, "content_moved");
    refused(&grace, altered("card", json!("0".repeat(64))), 409, "content_moved");
    let token = placet.reviewers(Some(&placet.token_of("Grace")));
    token
        .post(&format!("/v1/reviews/{id}/votes"), &grace.ballot(id, "approve"))
        .problem(403, "token_may_not_approve");
    assert_eq!(placet.verdicts("vote.refused").last().unwrap(), "token_may_not_approve");
    // What is not even a vote is refused before that, and no entry.
    for (member, value, code) in [
        ("card", Value::Null, "missing_card"),
        ("digest", json!("sha256:0"), "bad_digest"),
        ("verdict", json!("maybe"), "bad_value"),
        ("because", json!("x"), "unknown_member"),
        ("reason", json!("x".repeat(4097)), "too_long"),
    ] {
        grace.cast(id, &altered(member, value)).problem(400, code);
    }
    assert_eq!(placet.verdicts("vote.refused").len(), 8);

    // Who is disabled while they read is let in nowhere, with nothing that they held.
    let (ballot, held) = (linus.ballot(id, "approve"), placet.reviewers(Some(&placet.token_of("Linus"))));
    placet.cli(["person", "disable", "Linus"]).succeeds();
    linus.cast(id, &ballot).problem(401, "unauthenticated");
    held.post(&format!("/v1/reviews/{id}/votes"), &ballot).problem(401, "unauthenticated");
    assert_eq!(placet.verdicts("vote.cast"), [""; 0]);
    assert_eq!(placet.agents().get(&at(&request, "")).json()["status"], "pending");

    assert_eq!(grace.approve(id)["status"], "granted");
    refused(&grace, grace.ballot(id, "approve"), 409, "already_decided");
    assert_eq!(placet.verdicts("vote.cast"), ["approve"]);
}

#[test]
fn a_grant_is_claimed_once_and_in_time() {
    let placet = Options::default().env("PLACET__LIFETIMES__GRANT", "1s").start();
    let door = placet.agents();
    let lapsed = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let once = door.post("/v1/requests", &deploy("staging", "2")).expect(201).json();
    door.post(&at(&once, "/execution"), &claim(&once, "c1")).expect(200);
    door.post(&at(&once, "/execution"), &claim(&once, "c2")).problem(409, "already_claimed");
    assert_eq!(placet.verdicts("claim.refused"), ["already_claimed"]);

    eventually("the grant runs out", || {
        (door.get(&at(&lapsed, "")).json()["status"] == "lapsed").then_some(())
    });
    let late = door.post(&at(&lapsed, "/execution"), &claim(&lapsed, "c1")).expect(409).json();
    assert_eq!(late["code"], "wrong_state");
    assert!(late["detail"].as_str().unwrap().contains("lapsed"), "{late}");
    assert_eq!(placet.verdicts("claim.refused"), ["already_claimed", "wrong_state"]);
    assert_eq!(placet.verdicts("request.lapsed").len(), 1);
    assert_eq!(placet.verdicts("execution.started").len(), 1);
    assert_eq!(door.get(&at(&lapsed, "")).json()["denial"]["code"], "lapsed");
}

#[test]
fn an_agent_does_not_claim_what_placet_executes() {
    let placet = Placet::start();
    let door = placet.agents();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let command =
        door.post("/v1/commands", &json!({ "argv": ["/bin/echo", "by placet"] })).expect(201).json();
    let id = command["id"].as_str().unwrap();
    assert_eq!((&command["pep"], &command["grade"]), (&json!("command"), &json!("advisory")));
    door.post_raw(&format!("/v1/commands/{id}/run"), "").problem(409, "wrong_state");
    ada.approve(id);
    door.post(&at(&command, "/execution"), &claim(&command, "c1")).problem(403, "not_the_executor");
    assert_eq!(placet.verdicts("claim.refused").last().unwrap(), "not_the_executor");
    let outcome = json!({ "execution_id": "exe_00000000000000000000000000", "outcome": "succeeded" });
    door.post(&at(&command, "/outcome"), &outcome).problem(403, "not_the_executor");
    // The grant is as it was, and placet redeems it.
    assert_eq!(placet.cli(["run", "--resume", id]).succeeds(), "by placet\n");
    assert_eq!(door.get(&at(&command, "")).json()["outcome"]["reported_by"], "placet");

    // The other way round: placet runs nothing that an agent said it would do itself.
    let external = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let run = at(&external, "/run").replace("requests", "commands");
    door.post_raw(&run, "").problem(403, "not_the_executor");
    assert_eq!(door.get(&at(&external, "")).json()["status"], "granted");
}

/// What a door says to exactly these bytes until it closes the connection, which it has to do.
fn raw(base: &str, bytes: &[u8], then: Option<Shutdown>) -> String {
    let address = base.strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(address).unwrap();
    // It only keeps a test from hanging; a door that waits for a body gives up after half of it.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // It may have heard enough before it was told everything.
    let _ = stream.write_all(bytes);
    then.into_iter().for_each(|how| drop(stream.shutdown(how)));
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&piece[..read]),
            // What it was still told when it had closed.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the door neither answers nor closes: {error}"),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_length_that_is_none_gets_a_clean_no_at_every_door() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let agent = format!("Authorization: Bearer {}", placet.ready.agent_token.as_ref().unwrap());
    let person = format!("Cookie: {}\r\nOrigin: {}", ada.secret, placet.ready.reviewers);
    let vote = "/v1/reviews/req_00000000000000000000000000/votes";
    let (agents, reviewers) = (placet.ready.agents.as_str(), placet.ready.reviewers.as_str());
    let blob = format!("/v1/blobs/{}", "0".repeat(64));
    let calls = [
        (agents, "POST", "/v1/requests", agent.as_str()),
        (agents, "POST", "/v1/commands", &agent),
        (agents, "POST", "/mcp", &agent),
        (agents, "PUT", &blob, &agent),
        (agents, "GET", "/v1/requests", &agent),
        (reviewers, "POST", vote, &person),
        (reviewers, "POST", "/join/placet_link_x", &person),
        (reviewers, "GET", "/healthz", &person),
    ];
    let length = |value: &str| format!("Content-Length: {value}");
    let heads = [
        // What fits no number, or no length that hyper counts to: it answers by itself.
        (length("18446744073709551615"), 431),
        (length("18446744073709551614"), 431),
        (length("18446744073709551616"), 400),
        (length("99999999999999999999999999999999"), 400),
        (length("-1"), 400),
        (length("+2"), 400),
        (length("0x2"), 400),
        (length("2e0"), 400),
        (length("2, 2"), 400),
        (length(""), 400),
        // Whoever reads one of two lengths may read another body than whoever reads the other.
        ("Content-Length: 2\r\nContent-Length: 3".to_owned(), 400),
        ("Transfer-Encoding: gzip".to_owned(), 400),
        ("Transfer-Encoding: chunked, identity".to_owned(), 400),
        // Longer than anything that any call takes: nobody waits for it.
        (length("18446744073709551613"), 413),
        (length("9223372036854775808"), 413),
        (length("268435457"), 413),
    ];
    for (base, method, path, credential) in calls {
        let host = base.strip_prefix("http://").unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{credential}\r\nContent-Type: application/json\r\n"
        );
        for (length, status) in &heads {
            let said = raw(base, format!("{head}{length}\r\n\r\n{{}}").as_bytes(), None);
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path} {length}: {said}");
        }
        if method == "GET" {
            continue;
        }
        for size in ["10000000000000000", "-1", "zz", "", "ffffffffffffffff", "fffffffffffffff0"] {
            let call = format!("{head}Transfer-Encoding: chunked\r\n\r\n{size}\r\n{{}}");
            let said = raw(base, call.as_bytes(), Some(Shutdown::Write));
            let clean = said.is_empty() || said.starts_with("HTTP/1.1 4");
            assert!(clean, "{method} {path} with a chunk of {size}: {said}");
        }
        // A chunk that is as long as it says, and longer than a call may be.
        let mut endless =
            format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n").into_bytes();
        endless.resize(endless.len() + 3 * 1024 * 1024, b' ');
        let said = raw(base, &endless, Some(Shutdown::Write));
        let clean = said.is_empty() || said.starts_with("HTTP/1.1 4");
        assert!(clean, "{method} {path} with a body without end: {said}");
    }
    placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201);
    assert!(!placet.log().contains("panicked"), "{}", placet.log());
}
