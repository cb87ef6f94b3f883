//! Two hundred texts that nobody else may read, driven through every path of the real binary at the finest log level, and
//! looked for everywhere: in the log, metrics, others' answers, and byte by byte in every file of the data directory.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::commands::permit_commands;
use crate::harness::{Http, Options, Placet, eventually, walk};
use crate::people::deploy;

/// Stands in every canary, and nowhere else.
const MARK: &str = "QZXK7WJ4canary";

/// Makes canaries, and counts them.
#[derive(Default)]
struct Canaries(RefCell<BTreeSet<String>>);

impl Canaries {
    fn new(&self, kind: &str) -> String {
        let mut made = self.0.borrow_mut();
        let canary = format!("{MARK}-{kind}-{}", made.len());
        made.insert(canary.clone());
        canary
    }

    fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// The mark as it might stand in a file: as it is, in base64 at each offset, in hexadecimal, percent-encoded, as JSON
/// escapes, and in UTF-16.
fn forms(text: &str) -> Vec<(&'static str, String)> {
    let bytes = text.as_bytes();
    let each = |write: &dyn Fn(u8) -> String| -> String { bytes.iter().map(|byte| write(*byte)).collect() };
    let mut forms = vec![
        ("plain", text.to_owned()),
        ("hex", each(&|byte| format!("{byte:02x}"))),
        ("HEX", each(&|byte| format!("{byte:02X}"))),
        ("percent", each(&|byte| format!("%{byte:02x}"))),
        ("PERCENT", each(&|byte| format!("%{byte:02X}"))),
        ("JSON escapes", each(&|byte| format!("\\u{:04x}", u32::from(byte)))),
        ("UTF-16LE", each(&|byte| format!("{}\0", char::from(byte)))),
        ("UTF-16BE", each(&|byte| format!("\0{}", char::from(byte)))),
    ];
    for offset in 0..3 {
        let padded = [&vec![b'x'; offset], bytes].concat();
        // Its letters are those of both alphabets; the edges depend on what stands beside it.
        let encoded = STANDARD.encode(&padded[..padded.len() / 3 * 3]);
        forms.push(("base64", encoded[offset * 2..].to_owned()));
    }
    forms
}

/// Where something of this is, and as what. Every form is of ASCII, which survives the reading as text.
fn leak(text: &str, haystack: &[u8]) -> Option<&'static str> {
    let said = String::from_utf8_lossy(haystack);
    forms(text).into_iter().find(|(_, needle)| said.contains(needle.as_str())).map(|(form, _)| form)
}

/// Nothing of this may be in it.
fn clean(place: &str, said: &[u8]) {
    let how = leak(MARK, said);
    assert!(how.is_none(), "{place} tells a canary ({}): {}", how.unwrap(), String::from_utf8_lossy(said));
}

/// Nothing of this may be in any file; the bytes of inputs, which lie open, are only where inputs lie.
fn files_are_clean(placet: &Path, secrets: &[String]) {
    let files = walk(placet);
    assert!(files.iter().any(|file| file.ends_with("placet.db")) && files.len() > 8, "{files:?}");
    for file in files {
        let Ok(bytes) = fs::read(&file) else { continue };
        let shown = file.strip_prefix(placet).unwrap();
        if !shown.starts_with("blobs") {
            let how = leak(MARK, &bytes);
            assert!(how.is_none(), "{} has a canary ({})", shown.display(), how.unwrap());
        }
        for secret in secrets {
            let how = leak(secret, &bytes);
            assert!(how.is_none(), "{} has a credential ({})", shown.display(), how.unwrap());
        }
    }
}

/// Everything that an agent can do with texts of its own, well and badly.
fn drive_agent(door: &Http<'_>, other: &Http<'_>, canaries: &Canaries) -> Vec<String> {
    let mut pending = Vec::new();
    for _ in 0..6 {
        let mut body = deploy("production", &canaries.new("argument"));
        body["arguments"]["service"] = json!(canaries.new("service"));
        body["justification"] = json!(canaries.new("justification"));
        body["idempotency_key"] = json!(canaries.new("key"));
        let request = door.post("/v1/requests", &body).expect(201).json();
        pending.push(request["id"].as_str().unwrap().to_owned());
        // Attached, with a justification of its own.
        body["justification"] = json!(canaries.new("justification"));
        door.post("/v1/requests", &body).expect(200);
        clean(
            "another agent's key",
            other.post("/v1/requests", &json!({ "idempotency_key": 1 })).text().as_bytes(),
        );
    }
    let mut unknown = deploy("staging", "1");
    unknown["resource"]["id"] = json!(canaries.new("resource"));
    let refused = door.post("/v1/requests", &unknown).expect(201).json();
    assert_eq!(refused["denial"]["code"], "unknown_entity");
    for (member, value) in [
        ("on_behalf_of", json!(canaries.new("person"))),
        ("justification", json!([canaries.new("justification")])),
        ("arguments", json!({ "version": { "x": canaries.new("argument") } })),
    ] {
        let mut body = deploy("staging", "1");
        body[member] = value;
        let answer = door.post("/v1/requests", &body);
        assert!(answer.status >= 400, "{member}: {}", answer.text());
        clean("a refusal", &answer.body);
    }
    let torn = format!("{{\"action\":\"{}\",\"action\":\"{}", canaries.new("body"), canaries.new("body"));
    clean("a refused body", &door.post_raw("/v1/requests", &torn).body);
    clean("a refused command", &door.post_raw("/v1/commands", &torn).body);
    for path in ["/v1/requests/", "/v1/commands/", "/nothing/", "/v1/blobs/"] {
        clean("an unknown path", &door.get(&format!("{path}{}", canaries.new("path"))).body);
    }
    clean("a query", &door.get(&format!("/v1/requests?status={}", canaries.new("query"))).body);
    let header = door
        .clone()
        .header("x-request-id", &canaries.new("header"))
        .header("user-agent", &canaries.new("agent"));
    header.header("cookie", &canaries.new("cookie")).get("/v1/requests").expect(200);
    clean("a false token", &door.clone().bearer(Some(&canaries.new("token"))).get("/v1/requests").body);

    let staged = door.post("/v1/requests", &deploy("staging", &canaries.new("argument"))).expect(201).json();
    let at = |rest: &str| format!("/v1/requests/{}{rest}", staged["id"].as_str().unwrap());
    let claim = json!({ "digest": staged["digest"], "claim": canaries.new("claim") });
    let claimed = door.post(&at("/execution"), &claim).expect(200).json();
    let outcome = json!({
        "execution_id": claimed["execution_id"], "outcome": "failed", "summary": canaries.new("summary"),
    });
    door.post(&at("/outcome"), &outcome).expect(200);

    let argv = [
        "/bin/sh",
        "-c",
        "cat; echo $0 $1; echo $1 >&2; exit 3",
        &canaries.new("word"),
        &canaries.new("word"),
    ];
    let input = canaries.new("input");
    let sha256 = placet_core::digest::Sha256Digest::of(input.as_bytes()).to_string();
    door.put(&format!("/v1/blobs/{sha256}"), input.as_bytes()).expect(201);
    let command = json!({ "argv": argv, "stdin": sha256, "justification": canaries.new("justification") });
    let command = door.post("/v1/commands", &command).expect(201).json();
    let path = format!("/v1/commands/{}/run", command["id"].as_str().unwrap());
    // Its output is not read: it stays in the spool.
    door.post_raw(&path, "").expect(201);
    eventually("the command's end", || {
        let path = format!("/v1/requests/{}", command["id"].as_str().unwrap());
        (door.get(&path).json()["status"] == "failed").then_some(())
    });
    pending
}

#[test]
fn two_hundred_canaries_are_read_by_nobody_else() {
    let placet = Options::default().env("RUST_LOG", "trace").start();
    permit_commands(&placet);
    placet.activate();
    let canaries = Canaries::default();
    let mut secrets: Vec<String> = vec![placet.ready.agent_token.clone().unwrap()];
    secrets.push(placet.ready.invitation.clone().unwrap().rsplit('/').next().unwrap().to_owned());

    let people: Vec<String> = (0..4)
        .map(|_| {
            let name = canaries.new("person");
            let mail = format!("{}@corp.example", canaries.new("mail"));
            placet.cli(["person", "add", &name, "--email", &mail, "--group", "reviewers"]).succeeds();
            name
        })
        .collect();
    let sessions: Vec<_> = people.iter().map(|name| placet.session_of(name)).collect();
    secrets.extend(sessions.iter().map(|session| session.secret.split_once('=').unwrap().1.to_owned()));
    secrets.extend(people.iter().take(2).map(|name| placet.token_of(name)));
    let agents: Vec<(String, String)> = (0..5)
        .map(|_| {
            let name = canaries.new("agent");
            let token = placet.add_agent(&name);
            (name, token)
        })
        .collect();
    secrets.extend(agents.iter().map(|(_, token)| token.clone()));
    for name in ["one", "two"] {
        let value = canaries.new("secret");
        placet.cli(["secret", "set", name]).stdin(value).succeeds();
    }
    let said = placet.cli(["secret", "ls", "--json"]).succeeds();
    clean("the list of secrets", said.as_bytes());

    // The directory's own words stand in the log of nobody: that agents and people have canaries for names is enough.
    let stranger = placet.agents();
    for (_, token) in &agents {
        let door = stranger.clone().bearer(Some(token));
        let pending = drive_agent(&door, &stranger, &canaries);
        let mut followed = sessions[0].door.follow("/v1/reviews/events");
        for (position, id) in pending.iter().enumerate().skip(1) {
            let session = &sessions[position % 3];
            let mut ballot = session.ballot(id, if position == 1 { "approve" } else { "deny" });
            ballot["reason"] = json!(canaries.new("reason"));
            let decided = session.cast(id, &ballot).expect(200).json();
            if position == 1 {
                let claim = json!({ "digest": decided["digest"], "claim": canaries.new("claim") });
                let claimed = door.post(&format!("/v1/requests/{id}/execution"), &claim).expect(200).json();
                let outcome = json!({ "execution_id": claimed["execution_id"], "outcome": "succeeded" });
                door.post(&format!("/v1/requests/{id}/outcome"), &outcome).expect(200);
            }
            // Again, and for something else.
            let late = session.cast(id, &ballot);
            assert!(late.status >= 400);
            clean("a refused vote", &late.body);
            let text = json!({ "text": canaries.new("resolution") });
            clean(
                "a refused resolution",
                &session.door.post(&format!("/v1/reviews/{id}/resolution"), &text).body,
            );
        }
        clean("a hint", followed.until("data").as_bytes());
        for id in &pending {
            clean("another's request", &stranger.get(&format!("/v1/requests/{id}")).body);
        }
    }
    for (place, path) in [("a false link", "/join/"), ("no review", "/r/"), ("no review", "/v1/reviews/")] {
        clean(place, &placet.reviewers(None).get(&format!("{path}{}", canaries.new("path"))).body);
    }
    let form = format!("token={}&verdict={}", canaries.new("form"), canaries.new("form"));
    let posted = sessions[0].door.post_as("/r/x/vote", "application/x-www-form-urlencoded", &form);
    assert_eq!(posted.status, 403);
    clean("a refused form", posted.text().replace(&people[0], "").as_bytes());
    placet.reviewers(Some(&agents[0].1)).get("/v1/reviews").problem(401, "unauthenticated");
    stranger.clone().bearer(Some(&secrets[secrets.len() - 6])).get("/v1/requests");

    let broken = placet.space().join("broken");
    fs::create_dir(&broken).unwrap();
    for file in walk(&placet.policy()).iter().filter(|file| file.parent() == Some(&placet.policy())) {
        fs::copy(file, broken.join(file.file_name().unwrap())).unwrap();
    }
    for (file, text) in [
        (
            "never.cedar",
            format!(
                "@id(\"{}\") forbid (principal, action, resource) when {{ {} }};",
                canaries.new("id"),
                canaries.new("cedar")
            ),
        ),
        ("bundle.toml", format!("x = {}", canaries.new("toml"))),
        ("mapping.toml", format!("[[{}]]", canaries.new("mapping"))),
    ] {
        fs::write(broken.join(file), text).unwrap();
        let refused = placet.cli(["policy", "activate", "--yes"]).arg(&broken).run();
        assert_ne!(refused.code, 0, "{refused:?}");
    }
    fs::remove_dir_all(&broken).unwrap();

    // The doctor tells the operator who could decide; nothing else of what is personal.
    let doctor = String::from_utf8(placet.cli(["doctor", "--json"]).run().stdout).unwrap();
    clean("the doctor", doctor.replace(&format!("{MARK}-person"), "").as_bytes());
    let metrics = placet.admin_text("/metrics");
    assert!(metrics.contains("placet_"), "{metrics}");
    clean("metrics", metrics.as_bytes());
    assert_eq!(stranger.get("/v1/requests").json()["requests"], json!([]));
    assert!(canaries.count() >= 200, "{} canaries", canaries.count());
    let log = placet.log();
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the finest level is on");
    if leak(MARK, log.as_bytes()).is_some() {
        let line = log.lines().find(|line| leak(MARK, line.as_bytes()).is_some());
        panic!("the log tells a canary: {line:?}");
    }
    for secret in &secrets {
        assert!(leak(secret, log.as_bytes()).is_none(), "the log tells a credential");
    }
    // While it runs, with its write-ahead log, and after it has stopped.
    files_are_clean(&placet.data(), &secrets);
    let names = (people.clone(), agents.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    drop(sessions);
    let stopped = placet.stop();
    assert!(stopped.status.success());
    files_are_clean(&stopped.data(), &secrets);
    erased_on_demand(stopped.start(), &names.0, &names.1);
}

/// Everything that those who may read everything can read: entries with what they disclose, requests, people, pages.
fn everything(placet: &Placet) -> Vec<(String, Vec<u8>)> {
    let ada = placet.session_of("Ada");
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/audit/entries?limit=200{cursor}");
        let page = ada.door.get(&path).expect(200);
        let next = page.json()["next_cursor"].as_u64();
        all.push((path, page.body));
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    for path in ["/v1/reviews?state=all&limit=200", "/people", "/history", "/audit", "/"] {
        all.push((path.to_owned(), ada.door.get(path).expect(200).body));
    }
    for path in ["/admin/v1/people", "/admin/v1/requests?limit=200"] {
        all.push((path.to_owned(), placet.admin_text(path).into_bytes()));
    }
    all
}

/// Erases everybody, and looks whether anything of them can still be read by those who may read everything.
fn erased_on_demand(placet: Placet, people: &[String], agents: &[String]) {
    let read = |all: &[(String, Vec<u8>)], text: &str| -> Vec<String> {
        all.iter().filter(|(_, said)| leak(text, said).is_some()).map(|(place, _)| place.clone()).collect()
    };
    let before = everything(&placet);
    for text in [&format!("{MARK}-justification"), &format!("{MARK}-reason"), &people[0]] {
        assert!(!read(&before, text).is_empty(), "{text} was never there: this test would find nothing");
    }
    placet.cli(["person", "erase", &people[0]]).fails(77, "person disable");
    placet.cli(["agent", "erase", &agents[0]]).fails(77, "agent revoke");
    placet.cli(["person", "erase", "nobody"]).fails(64, "not_found");
    for name in agents {
        placet.cli(["agent", "revoke", name]).succeeds();
        placet.cli(["agent", "erase", name]).fails(77, "still_open");
    }
    let last = placet.session_of(&people[3]);
    for review in last.door.get("/v1/reviews?limit=200").json()["reviews"].as_array().unwrap() {
        let id = review["request"]["id"].as_str().unwrap();
        last.cast(id, &last.ballot(id, "deny")).expect(200);
    }
    let size = placet.verdicts("key.destroyed").len();
    for name in agents {
        placet.cli(["agent", "erase", name]).succeeds();
    }
    for name in people {
        placet.cli(["person", "disable", name]).succeeds();
        let erased = placet.cli(["person", "erase", name]).json();
        assert_eq!((&erased["name"], &erased["email"]), (&json!("(erased)"), &Value::Null));
        // Nobody has that name any more.
        placet.cli(["person", "erase", name]).fails(64, "not_found");
        // Who died between the two entries is finished by the id.
        placet.cli(["person", "erase", erased["id"].as_str().unwrap()]).succeeds();
    }
    let destroyed = placet.verdicts("key.destroyed");
    assert_eq!(destroyed.len() - size, agents.len() + 2 * people.len(), "{destroyed:?}");

    let after = everything(&placet);
    for name in people {
        assert_eq!(read(&after, name), [""; 0], "{name} can still be read");
    }
    // An agent's name is the operator's word for it, and stays.
    let without_agents: Vec<(String, Vec<u8>)> =
        after.into_iter().filter(|(place, _)| !place.starts_with("/v1/audit/entries")).collect();
    assert_eq!(read(&without_agents, MARK), [""; 0]);
    let entries = everything(&placet).into_iter().filter(|(place, _)| place.starts_with("/v1/audit/entries"));
    for (_, page) in entries {
        let page: Value = serde_json::from_slice(&page).unwrap();
        for entry in page["entries"].as_array().unwrap() {
            let of_agent = entry["entry"].as_str().unwrap().contains("agent.");
            assert!(of_agent || leak(MARK, entry.to_string().as_bytes()).is_none(), "{entry}");
        }
    }
    let key = placet.log_key();
    let stopped = placet.stop();
    stopped.cli(["audit", "verify", "--vkey", &key]).succeeds();
    // Whoever has the files and the root key reads as little: the door says so after a restart, too.
    let placet = stopped.start();
    assert_eq!(read(&everything(&placet), &people[0]), [""; 0]);
    assert_eq!(placet.agents().get("/readyz").status, 200);
}
