//! The agents' door over HTTP, as any language calls it: every call, its exact status, and every way to call it wrong.

use placet_core::digest::ActionDigest;
use serde_json::{Value, json};

use crate::harness::{Answer, Placet, replace_in};
use crate::people::deploy;

/// The body of a call that deploys to staging with these arguments, written exactly so.
fn with_arguments(arguments: &str) -> String {
    deploy("staging", "1").to_string().replace(r#"{"service":"shop","version":"1"}"#, arguments)
}

#[test]
fn what_policy_permits_is_granted_claimed_carried_out_and_recorded() {
    let placet = Placet::start();
    let door = placet.agents();
    let request = door.post("/v1/requests", &deploy("staging", "1.4.2")).expect(201).json();
    let canonical = request["canonical"].as_str().unwrap();
    assert_eq!(request["digest"], ActionDigest::of_canonical(canonical).to_string());
    for (member, expected) in [("status", "granted"), ("pep", "external"), ("grade", "advisory")] {
        assert_eq!(request[member], expected, "{member}");
    }
    assert_eq!(request["decision"]["effect"], "permit");
    assert_eq!(request["decision"]["because"][0]["policy"], "deploy-example");
    assert_eq!(request["actor_chain"].as_array().unwrap().len(), 2, "the agent, and Ada whom it acts for");
    assert!(request.get("review").is_none(), "nobody was asked: {request}");

    let at = |rest: &str| format!("/v1/requests/{}{rest}", request["id"].as_str().unwrap());
    let claim = |digest: &Value, claim: &str| {
        door.post(&at("/execution"), &json!({ "digest": digest, "claim": claim }))
    };
    claim(&json!("0".repeat(64)), "c1").problem(409, "other_digest");
    let claimed = claim(&request["digest"], "c1").expect(200).json();
    assert_eq!(claimed["canonical"], canonical);
    assert!(claimed["outcome_deadline"].is_string());
    assert_eq!(claim(&request["digest"], "c1").expect(200).json(), claimed, "repeated");
    claim(&request["digest"], "c2").problem(409, "already_claimed");
    door.post_raw(&at("/cancel"), "").problem(409, "wrong_state");

    let outcome = |execution: &Value, outcome: &str| {
        let report = json!({
            "execution_id": execution, "outcome": outcome, "summary": "shop runs", "measures": { "instances": 3 },
            "result_digest": "0".repeat(64),
        });
        door.post(&at("/outcome"), &report)
    };
    outcome(&json!("exe_00000000000000000000000000"), "succeeded").problem(409, "other_execution");
    outcome(&claimed["execution_id"], "splendid").problem(400, "bad_value");
    let done = outcome(&claimed["execution_id"], "succeeded").expect(200).json();
    assert_eq!((&done["status"], &done["outcome"]["reported_by"]), (&json!("succeeded"), &json!("agent")));
    assert_eq!(done["outcome"]["measures"], json!({ "instances": 3 }));
    let again = outcome(&claimed["execution_id"], "succeeded").expect(200).json();
    assert_eq!(again["version"], done["version"], "a repeated report changes nothing");
    outcome(&claimed["execution_id"], "failed").problem(409, "wrong_state");
    assert_eq!(placet.verdicts("execution.finished"), ["succeeded"]);
    // What policy permitted alone is a new request each time.
    let next = door.post("/v1/requests", &deploy("staging", "1.4.2")).expect(201).json();
    assert_ne!(next["id"], request["id"]);
}

#[test]
fn a_review_reaches_whoever_waits_by_whatever_means() {
    let placet = Placet::start();
    let door = placet.agents();
    let body = deploy("production", "1.4.2");
    let request = door.post("/v1/requests?wait=0", &body).expect(201).json();
    assert_eq!((&request["status"], &request["version"]), (&json!("pending"), &json!(1)));
    let id = request["id"].as_str().unwrap();
    let review = &request["review"];
    let code = request["short_code"].as_str().unwrap();
    assert_eq!(review["url"], format!("{}/r/{code}", placet.ready.reviewers));
    let guard = &review["requirement"]["guards"][0];
    assert_eq!(
        (&guard["id"], &guard["title"]),
        (&json!("deploy-production"), &json!("Deployment to production"))
    );
    assert!(guard["because"].is_string() && request["expires_at"].is_string(), "{request}");
    assert_eq!(review["progress"]["approvals"], 0);

    let mut events = door.follow(&format!("/v1/requests/{id}/events"));
    let first = events.until("\n\n");
    assert!(first.starts_with("event: request\nid: 1\n") && first.contains("\"pending\""), "{first}");
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let told = std::thread::scope(|scope| {
        let polled =
            scope.spawn(|| door.get(&format!("/v1/requests/{id}?wait=50&version=1")).expect(200).json());
        // The same call again attaches, and waits like the first.
        let attached = scope.spawn(|| door.post("/v1/requests?wait=50", &body).expect(200).json());
        // As soon as the second call is on record, both wait or will be told at once.
        crate::harness::eventually("the attached call", || {
            let entries = placet.verdicts("request.attached");
            (entries.len() == 1).then_some(())
        });
        assert_eq!(ada.approve(code)["status"], "granted");
        [polled.join().unwrap(), attached.join().unwrap()]
    });
    for answer in told {
        assert_eq!((&answer["id"], &answer["status"]), (&request["id"], &json!("granted")));
        assert!(answer["grant"]["expires_at"].is_string());
    }
    events.until("\"granted\"");
    door.post_raw(&format!("/v1/requests/{id}/cancel"), "{}").expect(200);
    let events = events.rest();
    assert!(events.contains("\"cancelled\"") && events.contains("id: 3\n"), "{events}");
    // Whoever comes back with the version that they know gets what is newer.
    let known = door.clone().header("last-event-id", "2").follow(&format!("/v1/requests/{id}/events")).rest();
    assert!(known.contains("id: 3\n") && !known.contains("id: 2\n"), "{known}");
    let known = door.header("last-event-id", "3").follow(&format!("/v1/requests/{id}/events")).rest();
    assert!(!known.contains("event:"), "{known}");
}

#[test]
fn lists_go_on_where_their_cursor_says() {
    let placet = Placet::start();
    let door = placet.agents();
    let made: Vec<Value> = ["1", "2", "3"]
        .map(|version| door.post("/v1/requests", &deploy("production", version)).expect(201).json())
        .to_vec();
    let granted = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let ids = |list: &Value| -> Vec<Value> {
        list["requests"].as_array().unwrap().iter().map(|request| request["id"].clone()).collect()
    };
    let first = door.get("/v1/requests?limit=2&status=pending").expect(200).json();
    assert_eq!(ids(&first), [made[2]["id"].clone(), made[1]["id"].clone()], "newest first");
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = door.get(&format!("/v1/requests?limit=2&status=pending&cursor={cursor}")).expect(200).json();
    assert_eq!(ids(&rest), [made[0]["id"].clone()]);
    assert!(rest.get("next_cursor").is_none());
    let both = door.get("/v1/requests?status=granted,denied").expect(200).json();
    assert_eq!(ids(&both), [granted["id"].clone()]);
    for query in ["cursor=x", "limit=0", "limit=201", "status=maybe", "status=", "limit=1&limit=1", "page=2"]
    {
        door.get(&format!("/v1/requests?{query}")).problem(400, "bad_query");
    }
}

#[test]
fn a_bad_call_gets_a_clear_4xx_and_becomes_no_request() {
    let placet = Placet::start();
    let door = placet.agents();
    let good = deploy("staging", "1").to_string();
    let nested = |levels: usize| {
        with_arguments(&format!("{}{}", "{\"a\":".repeat(levels), "1".to_owned() + &"}".repeat(levels)))
    };
    let unknown: String = (0..10_000).map(|n| format!("\"x{n:05}\":1,")).collect();
    let undeclared = format!("{{{}}}", unknown.trim_end_matches(','));
    let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    let member = |name: &str, value: &str| good.replacen('{', &format!("{{\"{name}\":{value},"), 1);
    let cases: Vec<(Vec<u8>, u16, &str, Option<&str>)> = vec![
        (member("action", "\"x\"").into(), 400, "json_duplicate_key", None),
        (with_arguments(r#"{"a":{"b":[{"c":1,"c":1}]}}"#).into(), 400, "json_duplicate_key", None),
        (with_arguments(r#"{"version":"1","version":"1"}"#).into(), 400, "json_duplicate_key", None),
        (with_arguments(r#"{"version":"\ud800"}"#).into(), 400, "json_lone_surrogate", None),
        (with_arguments(r#"{"version":"\udc00\ud800"}"#).into(), 400, "json_lone_surrogate", None),
        (with_arguments(r#"{"\ud800":1}"#).into(), 400, "json_lone_surrogate", None),
        (good.replace("1\"", "\0\"").into(), 400, "json_syntax", None),
        ([good.as_bytes(), b"\0"].concat(), 400, "json_syntax", None),
        ([&good.as_bytes()[..good.len() - 1], b",\"\xff\":1}"].concat(), 400, "json_not_utf8", None),
        // An overlong slash, a surrogate half in UTF-8, and a byte order mark.
        (b"\"\xc0\xaf\"".to_vec(), 400, "json_not_utf8", None),
        (b"\"\xed\xa0\x80\"".to_vec(), 400, "json_not_utf8", None),
        ([b"\xef\xbb\xbf", good.as_bytes()].concat(), 400, "json_syntax", None),
        // 64 levels are read, and refused for what they say; 65 are not.
        (nested(63).into(), 400, "bad_arguments", Some("/arguments")),
        (nested(64).into(), 400, "json_too_deep", None),
        (padded(1024 * 1024 + 1).into(), 413, "body_too_large", None),
        (good.replacen('{', &format!("{{{unknown}"), 1).into(), 400, "unknown_member", Some("/x00000")),
        (with_arguments(&undeclared).into(), 400, "bad_arguments", Some("/arguments")),
        (with_arguments("[]").into(), 400, "bad_arguments", Some("/arguments")),
        (with_arguments("null").into(), 400, "bad_arguments", Some("/arguments")),
        (with_arguments(r#"{"version":1}"#).into(), 400, "bad_arguments", Some("/arguments")),
        (member("pep", "\"command\"").into(), 400, "unknown_member", Some("/pep")),
        (member("grade", "\"enforced\"").into(), 400, "unknown_member", Some("/grade")),
        (member("on_behalf_of", "\"nobody\"").into(), 403, "on_behalf_of_refused", None),
        (good.replace("\"example.deploy\"", "7").into(), 400, "wrong_type", Some("/action")),
        (good.replace("example.deploy", "../deploy").into(), 400, "bad_value", Some("/action")),
        (good.replace("example.deploy", "command.run").into(), 403, "action_not_external", None),
        (good.replace("example.deploy", "no.such").into(), 403, "action_not_external", None),
        ("".into(), 400, "json_syntax", None),
        ("[]".into(), 400, "wrong_type", Some("")),
        (format!("{good}{good}").into(), 400, "json_syntax", None),
        (good.replace("\"1\"", "01").into(), 400, "json_syntax", None),
        (good.replace("\"1\"", "NaN").into(), 400, "json_syntax", None),
        (good.replace("\"1\"", "'1'").into(), 400, "json_syntax", None),
    ];
    for (body, status, code, pointer) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let answer = door.post_raw("/v1/requests", &body);
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{shown}: {}",
            answer.text()
        );
        answer.problem(status, code);
        assert_eq!(answer.json().get("pointer").and_then(Value::as_str), pointer, "{shown}");
        assert!(answer.body.len() < 1000, "{shown}: it answers with {} bytes", answer.body.len());
    }
    for name in ["now", "risk", "approvals", "usage", "pep", "grade", "unrepresentable"] {
        let arguments = with_arguments(&format!("{{\"{name}\":\"x\"}}"));
        door.post_raw("/v1/requests", &arguments).problem(400, "bad_arguments");
    }
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonp",
    ] {
        door.post_as("/v1/requests", media, &good).problem(415, "unsupported_media_type");
    }
    for query in ["wait=51", "wait=-1", "wait=1.0", "wait=1&wait=1", "verbose=1", "%ff=1"] {
        door.post_raw(&format!("/v1/requests?{query}"), &good).problem(400, "bad_query");
    }
    door.put("/v1/requests", good.as_bytes()).problem(405, "method_not_allowed");
    door.get("/v1/request").problem(404, "not_found");
    for id in ["x", "req_", "req_00000000000000000000000000", "..%2frequests", "%00"] {
        door.get(&format!("/v1/requests/{id}")).problem(404, "not_found");
    }
    assert_eq!(door.clone().header("x-large", &"x".repeat(64 * 1024)).get("/v1/requests").status, 431);
    let many = (0..100).fold(door.clone(), |door, n| door.header(&format!("x-{n}"), "x"));
    assert_eq!(many.get("/v1/requests").status, 431);

    assert_eq!(door.get("/v1/requests").expect(200).json()["requests"], json!([]));
    assert_eq!(placet.verdicts("request.received"), [""; 0]);
    // One byte less is taken.
    door.post_raw("/v1/requests", &padded(1024 * 1024)).expect(201);
}

#[test]
fn a_key_stands_for_one_action() {
    let placet = Placet::start();
    let door = placet.agents();
    let keyed = |version: &str| {
        let mut body = deploy("staging", version);
        body["idempotency_key"] = json!("deploy-7");
        door.post("/v1/requests", &body)
    };
    let first = keyed("1").expect(201).json();
    let repeated = keyed("1").expect(200).json();
    assert_eq!(first["id"], repeated["id"]);
    let reused: Answer = keyed("2");
    reused.problem(409, "key_reused");
    assert_eq!(reused.json()["request"], first["id"]);
    // Another agent's keys are another's.
    let other = placet.add_agent("other");
    let mut body = deploy("staging", "2");
    body["idempotency_key"] = json!("deploy-7");
    door.clone().bearer(Some(&other)).post("/v1/requests", &body).expect(201);
}

#[test]
fn numbers_are_kept_as_they_are_written_or_refused() {
    let placet = Placet::start();
    let schema = placet.policy().join("schema.cedarschema");
    replace_in(&schema, "\"version\"?: String", "\"version\"?: String, \"replicas\"?: Long");
    let never = placet.policy().join("never.cedar");
    let guard = "@id(\"too-many\") forbid (principal, action == Action::\"example.deploy\", resource)\n\
                 when { context has replicas && context.replicas * 2 > 9007199254740999900 };\n";
    std::fs::write(never, guard).unwrap();
    placet.activate();
    let door = placet.agents();
    let submit =
        |number: &str| door.post_raw("/v1/requests", &with_arguments(&format!("{{\"replicas\":{number}}}")));
    let mut digests = std::collections::BTreeSet::new();
    for number in [
        "0",
        "1",
        "-1",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "-9007199254740993",
        "4503599627370499950",
    ] {
        let request = submit(number).expect(201).json();
        assert_eq!(request["status"], "granted", "{number}");
        let canonical = request["canonical"].as_str().unwrap();
        assert!(canonical.contains(&format!("\"arguments\":{{\"replicas\":{number}}}")), "{canonical}");
        assert!(digests.insert(request["digest"].to_string()), "{number} is another number's digest");
    }
    for number in
        ["1.0", "1e0", "10e-1", "9007199254740993.0", "9223372036854775808", "1E400", "\"1\"", "null"]
    {
        submit(number).problem(400, "bad_arguments");
    }
    // What overflows in a `forbid` does not slip through it.
    for number in ["9223372036854775807", "-9223372036854775808"] {
        let refused = submit(number).expect(201).json();
        assert_eq!(
            (&refused["status"], &refused["denial"]["code"]),
            (&json!("refused"), &json!("policy_error"))
        );
        assert_eq!(refused["denial"]["reason"], "A policy could not be evaluated.");
        assert_eq!(refused["denial"]["retryable"], false);
    }
    let refused = submit("4503599627370499951").expect(201).json();
    assert_eq!((&refused["status"], &refused["denial"]["code"]), (&json!("refused"), &json!("forbidden")));
    let id = refused["id"].as_str().unwrap();
    let claim = json!({ "digest": refused["digest"], "claim": "c" });
    door.post(&format!("/v1/requests/{id}/execution"), &claim).problem(409, "wrong_state");
}

#[test]
fn what_policy_does_not_know_is_refused_with_the_reason() {
    let placet = Placet::start();
    let door = placet.agents();
    for (kind, id, code, says) in [
        ("Example", "qa", "unknown_entity", "qa"),
        // Escaped once: escaped again, the escape itself could not be read.
        ("Example", "prod\u{202e}uction", "unknown_entity", "Example::\"prod\\u{202e}uction\" is not known"),
        ("Dataset", "shop", "unknown_action", "does not know this action for this resource"),
    ] {
        let mut body = deploy("staging", "1");
        body["resource"] = json!({ "type": kind, "id": id });
        let refused = door.post("/v1/requests", &body).expect(201).json();
        assert_eq!(
            (&refused["status"], &refused["decision"]["effect"]),
            (&json!("refused"), &json!("forbid"))
        );
        assert_eq!(
            (&refused["denial"]["code"], &refused["denial"]["retryable"]),
            (&json!(code), &json!(false))
        );
        assert!(refused["denial"]["reason"].as_str().unwrap().contains(says), "{refused}");
    }
    assert_eq!(placet.verdicts("request.received"), ["forbid"; 3]);
}

#[test]
fn what_cannot_be_seen_is_shown_as_escapes() {
    let placet = Placet::start();
    let hidden = "a\u{202e}b\u{200b}c\u{2066}d\u{feff}e\u{0}f\u{1b}[31m<b>";
    let mut body = deploy("production", hidden);
    body["justification"] = json!(format!("please {hidden}"));
    let request = placet.agents().post("/v1/requests", &body).expect(201).json();
    // The bytes stay as they came: this is what would be executed.
    let canonical: Value = serde_json::from_str(request["canonical"].as_str().unwrap()).unwrap();
    assert_eq!(canonical["arguments"]["version"], hidden);

    let shown = "a\\u{202e}b\\u{200b}c\\u{2066}d\\u{feff}e\\u{0}f\\u{1b}[31m<b>";
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let code = request["short_code"].as_str().unwrap();
    let card = &ada.review(code)["card"];
    assert!(
        card["arguments"]
            .as_array()
            .unwrap()
            .iter()
            .any(|fact| fact["value"].as_str().unwrap().contains(shown)),
        "{card}"
    );
    assert_eq!(card["justification"], format!("please {shown}"));
    let page = ada.cookie.get(&format!("/r/{code}")).expect(200).text();
    let person =
        placet.cli(["review", "show", code]).env("PLACET_PERSON_TOKEN", placet.token_of("Ada")).succeeds();
    for (place, text) in [("page", page), ("terminal", person)] {
        assert!(
            text.contains("a\\u{202e}b\\u{200b}c\\u{2066}d\\u{feff}e\\u{0}f\\u{1b}[31m"),
            "{place}: {text}"
        );
        for hidden in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\0', '\u{1b}'] {
            assert!(!text.contains(hidden), "{place} has {hidden:?}");
        }
        assert!(place != "page" || !text.contains("[31m<b>"), "markup of the agent's: {text}");
    }
}

#[test]
fn a_query_that_nobody_knows_is_refused_at_every_call() {
    let placet = Placet::start();
    let door = placet.agents();
    let request = door.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let command = door.post("/v1/commands", &json!({ "argv": ["/bin/true"] })).expect(201).json();
    let requests = format!("/v1/requests/{}", request["id"].as_str().unwrap());
    let commands = format!("/v1/commands/{}", command["id"].as_str().unwrap());
    let claim = json!({ "digest": request["digest"], "claim": "c" });
    for path in ["", "/events"] {
        door.get(&format!("{requests}{path}?force=1")).problem(400, "bad_query");
    }
    door.post(&format!("{requests}/execution?force=1"), &claim).problem(400, "bad_query");
    let outcome = json!({ "execution_id": "exe_00000000000000000000000000", "outcome": "failed" });
    door.post(&format!("{requests}/outcome?force=1"), &outcome).problem(400, "bad_query");
    door.post_raw(&format!("{requests}/cancel?force=1"), "").problem(400, "bad_query");
    for path in ["/run", "/cancel"] {
        door.post_raw(&format!("{commands}{path}?force=1"), "").problem(400, "bad_query");
    }
    door.get(&format!("{commands}/output?force=1")).problem(400, "bad_query");
    for query in ["force=1", "wait=51", "wait=x", "wait=1&wait=1"] {
        door.post(&format!("/v1/commands?{query}"), &json!({ "argv": ["/bin/true"] }))
            .problem(400, "bad_query");
    }
    door.put(&format!("/v1/blobs/{}?force=1", "0".repeat(64)), b"x").problem(400, "bad_query");
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let review = format!("/v1/reviews/{}", request["id"].as_str().unwrap());
    let ballot = ada.ballot(request["id"].as_str().unwrap(), "approve");
    ada.door.get(&format!("{review}?force=1")).problem(400, "bad_query");
    ada.door.post(&format!("{review}/votes?force=1"), &ballot).problem(400, "bad_query");
    ada.door.post(&format!("{review}/resolution?force=1"), &json!({ "text": "x" })).problem(400, "bad_query");
    for request in [&request, &command] {
        let path = format!("/v1/requests/{}", request["id"].as_str().unwrap());
        assert_eq!(door.get(&path).json()["status"], "pending");
    }
}

#[test]
fn a_bad_command_gets_a_clear_4xx_and_an_odd_one_is_shown_as_it_is() {
    let placet = Placet::start();
    let door = placet.agents();
    let sha256 = "0".repeat(64);
    for (body, status, code) in [
        (json!({ "argv": [] }).to_string(), 400, "bad_value"),
        (json!({ "argv": "ls" }).to_string(), 400, "wrong_type"),
        (json!({ "argv": ["/bin/echo", 1] }).to_string(), 400, "wrong_type"),
        (json!({ "argv": ["/bin/echo", "a\0b"] }).to_string(), 400, "bad_value"),
        (json!({ "argv": ["/bin/echo"], "cwd": "/" }).to_string(), 400, "unknown_member"),
        (json!({ "argv": ["/bin/echo"], "env": {} }).to_string(), 400, "unknown_member"),
        (
            json!({ "argv": ["/bin/echo"], "inputs": [{ "name": "a/b", "sha256": sha256 }] }).to_string(),
            400,
            "bad_input_name",
        ),
        (json!({ "argv": ["/bin/echo"], "stdin": sha256 }).to_string(), 409, "input_missing"),
        (r#"{"argv":["/bin/echo"],"argv":["/bin/true"]}"#.to_owned(), 400, "json_duplicate_key"),
        (r#"{"argv":["/bin/echo","\ud800"]}"#.to_owned(), 400, "json_lone_surrogate"),
        (json!({ "argv": vec!["x"; 4097] }).to_string(), 400, "too_long"),
        (json!({ "argv": ["./tool"] }).to_string(), 400, "no_such_program"),
        (json!({ "argv": ["/bin/../bin/echo"] }).to_string(), 400, "no_such_program"),
        (json!({ "argv": ["no-such-program"] }).to_string(), 400, "no_such_program"),
    ] {
        let answer = door.post_raw("/v1/commands", &body);
        let shown: String = body.chars().take(80).collect();
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{shown}: {}",
            answer.text()
        );
    }
    door.post_raw("/v1/commands", &vec![b' '; 1024 * 1024 + 1]).problem(413, "body_too_large");
    for media in ["text/plain", "application/json; charset=utf-16"] {
        door.post_as("/v1/commands", media, r#"{"argv":["/bin/true"]}"#)
            .problem(415, "unsupported_media_type");
    }
    door.put(&format!("/v1/blobs/{sha256}"), b"other bytes").problem(422, "other_bytes");
    door.put("/v1/blobs/0", b"x").problem(400, "bad_digest");
    assert_eq!(door.get("/v1/requests").json()["requests"], json!([]));

    // Each word by itself: no space, quote or hidden character makes one word look like two.
    let odd = json!({ "argv": ["/bin/echo", "a b", "\u{202e}c", "", "'\"", "$(id)\n"] });
    let request = door.post("/v1/commands", &odd).expect(201).json();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let id = request["id"].as_str().unwrap();
    let card = ada.review(id)["card"]["arguments"].to_string();
    assert!(card.contains("\\\\u{202e}c") && !card.contains('\u{202e}'), "{card}");
    ada.approve(id);
    let said = placet.cli(["run", "--resume", id]).succeeds();
    assert_eq!(said, "a b \u{202e}c  '\" $(id)\n\n");
}
