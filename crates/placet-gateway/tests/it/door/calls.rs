//! Calls: what they answer, and what they refuse.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use placet_core::action::{Grade, PepKind, Recorded, SecretVersion};
use placet_core::digest::Sha256Digest;
use placet_core::request::OutcomeKind;
use placet_gateway::authority::AuthorityErrorKind;
use placet_gateway::frames::EndStatus;
use placet_gateway::runner::program::Program;
use serde_json::{Value, json};

use super::*;

/// A bundle that knows one program and one secret for it.
fn exporter(door_program: &str) -> String {
    format!(
        r#"
        [runner]
        danger_same_user = true
        [environment]
        LANG = "C.UTF-8"
        [[program]]
        name = "export"
        path = "{door_program}"
        environment = {{ PGAPPNAME = "placet" }}
        [[secret]]
        env = "PGPASSWORD"
        secret = "shop"
        program = "export"
        target = {{ action = "data.export", resource = 'Dataset::"shop.accounts"' }}
        "#
    )
}

#[tokio::test]
async fn the_whole_way_from_upload_to_outcome() {
    let door = Door::new(SAME_USER);
    let (file, stdin) = (door.upload("from a file\n").await, door.upload("from stdin\n").await);
    let body = json!({
        "argv": ["sh", "-c", "cat data.txt -; echo oops >&2; exit 3"],
        "inputs": [{"name": "data.txt", "sha256": file}], "stdin": stdin,
        "justification": "weekly report",
    });
    let (stdout, stderr, end) = door.whole(&body).await;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("from a file\nfrom stdin\n", "oops\n"));
    assert_eq!((end.status, end.exit_code), (EndStatus::Failed, Some(3)));
    let outcome = door.desk.only_outcome();
    assert_eq!(outcome.kind, OutcomeKind::Failed);
    assert_eq!(outcome.summary.as_raw(), "exit code 3; stderr: oops");
    assert_eq!(outcome.result, Some(Sha256Digest::of(stdout.as_bytes())));
    assert_eq!((outcome.measures["bytes"], outcome.measures["exit_code"]), (stdout.len() as i64, 3));
    assert_eq!(door.desk.last_call().justification.as_deref(), Some("weekly report"));
}

#[tokio::test]
async fn everything_that_matters_is_pinned() {
    let bench_program = trusted_directory();
    let program = bench_program.path().join("export");
    write_executable(
        &program,
        "#!/bin/sh\nprintf %s \"$PGPASSWORD\" | wc -c; env | cut -d= -f1 | sort | tr '\\n' ' '\n",
    );
    let door = Door::new(&exporter(program.to_str().unwrap()));
    let input = door.upload("x").await;
    let body = json!({"argv": ["export", "a"], "inputs": [{"name": "in", "sha256": input}], "stdin": input});
    let (stdout, _, end) = door.whole(&body).await;
    assert_eq!(end.status, EndStatus::Succeeded);
    assert_eq!(stdout, "13\nLANG PGAPPNAME PGPASSWORD PLACET_EXECUTION PWD ");

    let call = door.desk.last_call();
    assert_eq!(
        (call.pep, call.target.as_str(), call.grade),
        (PepKind::Command, "runner:local", Grade::Advisory)
    );
    assert_eq!(call.pins.program, Program::open(&program).unwrap().pins());
    assert_eq!(call.pins.program.len(), 2, "the script and its interpreter");
    assert_eq!(call.pins.run_as.as_deref(), Some(door.bench.identity.name()));
    assert_eq!(call.pins.record, Some(Recorded::Stderr), "what is recorded is decided on too");
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    assert_eq!(call.pins.environment, text(&[("LANG", "C.UTF-8"), ("PGAPPNAME", "placet")]));
    let secret = SecretVersion { name: "shop".into(), version: 3 };
    assert_eq!(call.pins.secrets, BTreeMap::from([("PGPASSWORD".to_owned(), secret)]));
    let digest = Sha256Digest::of(b"x");
    assert_eq!(
        (call.pins.inputs, call.pins.stdin),
        (BTreeMap::from([("in".to_owned(), digest)]), Some(digest))
    );
}

#[tokio::test]
async fn another_target_gets_no_secret() {
    let programs = trusted_directory();
    let program = programs.path().join("export");
    write_executable(&program, "#!/bin/sh\necho \"${PGPASSWORD-none}\"\n");
    let door = Door::new(&exporter(program.to_str().unwrap()));
    door.desk.change(|state| state.resource = "shop.cards");
    let (stdout, _, _) = door.whole(&json!({"argv": ["export"]})).await;
    assert_eq!(stdout, "none\n");
    assert!(door.desk.last_call().pins.secrets.is_empty());
}

#[tokio::test]
async fn waits_for_the_review() {
    let door = Door::new(SAME_USER);
    door.desk.review_first();
    let body = sh("echo done").to_string();
    let (status, request) = door.call(AGENT, "POST", "/v1/commands", body.clone()).await;
    assert_eq!((status, &request["status"]), (StatusCode::CREATED, &json!("pending")));
    let id = RequestId::parse(request["id"].as_str().unwrap()).unwrap();
    let (status, refused) = door.run(id).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("wrong_state")));

    let desk = door.desk.clone();
    let (answer, ()) =
        tokio::join!(door.call(AGENT, "POST", "/v1/commands?wait=50", body), async move { desk.approve() });
    assert_eq!(answer.1["status"], "granted");
    assert_eq!(door.run_to_the_end(id).await.0, "done\n", "an early run did not use it up");
}

#[tokio::test]
async fn bad_calls_are_told_what_is_wrong() {
    let door = Door::new(SAME_USER);
    let blob = door.upload("x").await;
    let other = Sha256Digest::of(b"never uploaded").to_string();
    let input =
        |name: &str, sha256: &str| json!({"argv": ["true"], "inputs": [{"name": name, "sha256": sha256}]});
    for (body, status, code, pointer) in [
        (json!({"argv": ["no-such-program"]}), 400, "no_such_program", Some("/argv/0")),
        (json!({"argv": ["./sh"]}), 400, "no_such_program", Some("/argv/0")),
        (json!({"argv": ["/tmp/sh"]}), 400, "no_such_program", Some("/argv/0")),
        (json!({"argv": []}), 400, "bad_value", Some("/argv")),
        (json!({"argv": ["true"], "env": {"LD_PRELOAD": "x"}}), 400, "unknown_member", Some("/env")),
        (json!([]), 400, "wrong_type", None),
        (input("a/b", &blob), 400, "bad_input_name", Some("/inputs/0/name")),
        (input("..", &blob), 400, "bad_input_name", Some("/inputs/0/name")),
        (input("a", &other), 409, "input_missing", None),
        (json!({"argv": ["true"], "stdin": other}), 409, "input_missing", None),
        (
            json!({"argv": ["true"], "inputs": [{"name": "a", "sha256": blob}, {"name": "a", "sha256": blob}]}),
            400,
            "bad_input_name",
            Some("/inputs/1/name"),
        ),
    ] {
        let (answered, problem) = door.submit(&body).await;
        assert_eq!((answered.as_u16(), problem["code"].as_str()), (status, Some(code)), "{body}: {problem}");
        if let Some(pointer) = pointer {
            assert_eq!(problem["pointer"], pointer, "{body}");
        }
    }
    assert!(door.desk.state.lock().unwrap().calls.is_empty(), "none of them became a request");
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let door = Door::new(SAME_USER);
    let id = RequestId::from_bytes([1; 16]);
    let json_body = sh("true").to_string();
    for (method, path, body, status, code) in [
        ("POST", "/v1/commands".to_owned(), "x".repeat((1 << 20) + 1), 413, "body_too_large"),
        ("POST", "/v1/commands?wait=soon".to_owned(), json_body.clone(), 400, "bad_query"),
        ("POST", "/v1/commands?weight=1".to_owned(), json_body.clone(), 400, "bad_query"),
        ("POST", format!("/v1/commands/{id}/run"), String::new(), 404, "not_found"),
        ("POST", "/v1/commands/1/run".to_owned(), String::new(), 404, "not_found"),
        ("POST", format!("/v1/commands/{id}/cancel"), String::new(), 404, "not_found"),
        ("GET", format!("/v1/commands/{id}/output"), String::new(), 404, "not_found"),
        ("GET", format!("/v1/commands/{id}/output?from=-1"), String::new(), 400, "bad_query"),
        ("PUT", "/v1/blobs/abc".to_owned(), String::new(), 400, "bad_digest"),
        ("PUT", format!("/v1/blobs/{}", Sha256Digest::of(b"a")), "b".to_owned(), 422, "other_bytes"),
    ] {
        let (answered, problem) = door.call(AGENT, method, &path, body).await;
        assert_eq!(
            (answered.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {problem}"
        );
    }
    let mut text = request(AGENT, "POST", "/v1/commands", json_body);
    text.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(door.send(text).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn without_a_principal_nothing_is_there() {
    let door = Door::new(SAME_USER);
    let id = RequestId::from_bytes([1; 16]);
    for (method, path) in [
        ("POST", "/v1/commands".to_owned()),
        ("POST", format!("/v1/commands/{id}/run")),
        ("POST", format!("/v1/commands/{id}/cancel")),
        ("GET", format!("/v1/commands/{id}/output")),
        ("PUT", format!("/v1/blobs/{}", Sha256Digest::of(b""))),
    ] {
        let call = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
        assert_eq!(door.send(call).await.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test]
async fn another_agent_finds_nothing() {
    let door = Door::new(SAME_USER);
    let id = door.granted(&sh("echo private")).await;
    for (method, what) in [("POST", "run"), ("POST", "cancel"), ("GET", "output")] {
        let (status, _) = door.call(2, method, &format!("/v1/commands/{id}/{what}"), Body::empty()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "before: {what}");
    }
    assert_eq!(door.run(id).await.0, StatusCode::CREATED);
    for (method, what) in [("POST", "run"), ("POST", "cancel"), ("GET", "output")] {
        let (status, _) = door.call(2, method, &format!("/v1/commands/{id}/{what}"), Body::empty()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "after: {what}");
    }
    let blob = door.upload("mine").await;
    let body = json!({"argv": ["cat"], "stdin": blob}).to_string();
    let (status, problem) = door.call(2, "POST", "/v1/commands", body).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("input_missing")),
        "another's bytes"
    );
}

#[tokio::test]
async fn running_twice_is_running_once() {
    let door = Door::new(SAME_USER);
    let count = door.bench.shared.path().join("count");
    let id = door.granted(&sh(&format!("echo once >> {}", count.display()))).await;
    let (first, second) = tokio::join!(door.run(id), door.run(id));
    let statuses = [first.0, second.0];
    assert!(statuses.contains(&StatusCode::CREATED), "{statuses:?}");
    assert!(statuses.iter().all(|status| *status != StatusCode::CREATED) || statuses[0] != statuses[1]);
    read_frames(door.output(AGENT, id, 0).await).await;
    let (status, again) = door.run(id).await;
    assert_eq!(
        (status, &again["execution_id"]),
        (StatusCode::OK, &json!(ExecutionId::from_bytes([1; 16]).to_string()))
    );
    assert_eq!(fs::read_to_string(count).unwrap(), "once\n");
}

#[tokio::test]
async fn without_run_as_the_runner_is_off() {
    for (config, why) in [("", "run_as"), ("[runner]\nrun_as = \"no-such-user-here\"\n", "no user")] {
        let (status, problem) = Door::new(config).submit(&sh("true")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("runner_off")));
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
}

#[tokio::test]
async fn a_missing_secret_is_said_before_anyone_reviews() {
    let programs = trusted_directory();
    let program = programs.path().join("export");
    write_executable(&program, "#!/bin/sh\n");
    let door = Door::new(&exporter(program.to_str().unwrap()));
    door.desk.change(|state| state.vault.clear());
    let (status, problem) = door.submit(&json!({"argv": ["export"]})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("secret_missing")));
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (status, problem) = door.submit(&json!({"argv": ["export"]})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("program_refused")));
}

#[tokio::test]
async fn problems_carry_the_id_of_the_call() {
    let door = Door::new(SAME_USER);
    let mut call = request(AGENT, "POST", "/v1/commands/x/run", Body::empty());
    call.headers_mut().insert("x-request-id", "0f3a9c51".parse().unwrap());
    let response = door.send(call).await;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["request_id"], "0f3a9c51");
    assert_eq!(problem["type"], "urn:placet:problem:not_found");
}

#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_is_unknown() {
    use AuthorityErrorKind::{Conflict, Unavailable};
    for (errors, status, recorded) in [
        (vec![Unavailable; 4], EndStatus::Succeeded, 1),
        (vec![Unavailable; 5], EndStatus::Unknown, 0),
        (vec![Conflict], EndStatus::Unknown, 0),
    ] {
        let door = Door::new(SAME_USER);
        door.desk.change(|state| state.report_errors = errors);
        let (stdout, _, end) = door.whole(&sh("echo done")).await;
        assert_eq!((stdout.as_str(), end.status), ("done\n", status));
        assert_eq!(end.reason.as_deref(), (recorded == 0).then_some("outcome_not_recorded"));
        assert_eq!(door.desk.state.lock().unwrap().outcomes.len(), recorded);
    }
}
