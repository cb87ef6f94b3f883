//! The agents' door: every call, and every way to be refused.

use std::time::Duration;

use placet_api::client::{Agents, ListRequests};
use placet_api::intake::{ClaimRequest, OutcomeRequest, OutcomeWord, SubmitRequest};
use placet_api::request::Status;
use placet_core::digest::ActionDigest;
use placet_core::secret::Secret;
use serde_json::json;

use crate::world::{Doors, deploy};

fn client(doors: &Doors) -> Agents {
    Agents::new(&doors.agents, Secret::new(doors.bot.as_bytes())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn permitted_claimed_executed_and_reported_through_our_own_client() {
    let doors = Doors::open("solo").await;
    let agents = client(&doors);
    let call = SubmitRequest::from_json(deploy("staging").to_string().as_bytes()).unwrap();
    let request = agents.submit(&call, Duration::ZERO).await.unwrap();
    assert_eq!(request.status, Status::Granted);
    assert_eq!((request.pep.as_str(), request.grade.as_str()), ("external", "advisory"));
    assert_eq!(ActionDigest::of_canonical(&request.canonical).to_string(), request.digest);
    assert!(request.review.is_none(), "nobody was asked");

    let digest = ActionDigest::parse(&request.digest).unwrap();
    let claim = ClaimRequest { digest, claim: "mine".into() };
    let claimed = agents.claim(&request.id, &claim).await.unwrap();
    assert_eq!(claimed.canonical, request.canonical);
    assert_eq!(
        agents.claim(&request.id, &claim).await.unwrap(),
        claimed,
        "a repeated claim gets the same answer"
    );
    let other = ClaimRequest { digest, claim: "another's".into() };
    let refused = agents.claim(&request.id, &other).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (Some(409), Some("already_claimed")));

    let report = OutcomeRequest {
        execution_id: claimed.execution_id,
        outcome: OutcomeWord::Succeeded,
        summary: "deployed".into(),
        measures: [("duration_ms".to_owned(), 1200)].into(),
        result_digest: None,
    };
    let done = agents.outcome(&request.id, &report).await.unwrap();
    assert_eq!(done.status, Status::Succeeded);
    let outcome = done.outcome.unwrap();
    assert_eq!((outcome.summary.as_str(), outcome.reported_by.as_str()), ("deployed", "agent"));
    assert_eq!(done.ledger.entries.len(), 4, "received, started, a claim refused, finished");

    let list = ListRequests { statuses: vec![Status::Succeeded, Status::Pending], ..ListRequests::default() };
    assert_eq!(agents.requests(&list).await.unwrap().requests.len(), 1);
    let list = ListRequests { statuses: vec![Status::Denied], ..ListRequests::default() };
    assert!(agents.requests(&list).await.unwrap().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_waited_for_and_seen_as_events() {
    let doors = Doors::open("team").await;
    let agents = client(&doors);
    let call = SubmitRequest::from_json(deploy("production").to_string().as_bytes()).unwrap();
    let request = agents.submit(&call, Duration::ZERO).await.unwrap();
    assert_eq!(request.status, Status::Pending);
    let review = request.review.clone().unwrap();
    assert_eq!(review.url, doors.at(&format!("/r/{}", request.short_code)));
    let requirement = serde_json::to_value(review.requirement.unwrap()).unwrap();
    assert!(requirement["guards"].as_array().is_some_and(|guards| !guards.is_empty()), "{requirement}");
    assert!(!requirement.to_string().contains("context."), "agents do not read policy: {requirement}");

    let mut events = doors
        .http
        .get(format!("{}/v1/requests/{}/events", doors.agents, request.id))
        .bearer_auth(&doors.bot)
        .send()
        .await
        .unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let first = String::from_utf8(events.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(
        first.contains("event: request") && first.contains("id: 1") && first.contains("\"pending\""),
        "{first}"
    );

    let waiting = tokio::spawn({
        let (agents, id) = (client(&doors), request.id.clone());
        async move { agents.wait(&id, 1, Duration::from_secs(50)).await.unwrap() }
    });
    let rob = doors.signed_in("rob").await;
    let answer = rob.decide(&request.short_code, "deny", "not on a Friday").await;
    assert_eq!(answer.status, 303, "{}", answer.text);

    let denied = waiting.await.unwrap();
    assert_eq!(denied.status, Status::Denied);
    let denial = denied.denial.unwrap();
    assert_eq!((denial.code.as_str(), denial.reason.as_deref()), ("denied", Some("not on a Friday")));
    assert!(denial.cooldown_until.is_some());
    let mut rest = String::new();
    while let Some(chunk) = events.chunk().await.unwrap() {
        rest.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(rest.contains("\"denied\""), "the last event is the final state, then the stream ends: {rest}");

    let again = agents.submit(&call, Duration::ZERO).await.unwrap();
    assert_eq!(again.id, request.id, "within the cool-down the same call gets the recorded denial");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_is_201_and_repeated_is_200() {
    let doors = Doors::open("team").await;
    let mut call = deploy("production");
    call["idempotency_key"] = json!("k1");
    assert_eq!(doors.bot_post("/v1/requests", call.to_string()).await.status, 201);
    assert_eq!(doors.bot_post("/v1/requests", call.to_string()).await.status, 200);
    call["arguments"] = json!({"version": "2"});
    let reused = doors.bot_post("/v1/requests", call.to_string()).await;
    assert_eq!(reused.problem(), (409, "key_reused".into()));
    assert!(reused.json()["request"].as_str().unwrap().starts_with("req_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_requests_stay_withdrawn() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let cancel = format!("/v1/requests/{}/cancel", request["id"].as_str().unwrap());
    let cancelled = doors.bot_post(&cancel, "").await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(doors.bot_post(&cancel, "").await.problem(), (409, "wrong_state".into()));
    assert_eq!(doors.bot_post(&cancel, "{\"force\":true}").await.problem(), (400, "unexpected_body".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_requests_follow_each_other() {
    let doors = Doors::open("team").await;
    for version in 0..3 {
        let mut call = deploy("production");
        call["arguments"] = json!({ "version": version.to_string() });
        assert_eq!(doors.bot_post("/v1/requests", call.to_string()).await.status, 201);
    }
    let first = doors.bot_get("/v1/requests?limit=2").await.json();
    assert_eq!(first["requests"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = doors.bot_get(&format!("/v1/requests?limit=2&cursor={cursor}")).await.json();
    assert_eq!(second["requests"].as_array().unwrap().len(), 1);
    assert!(second.get("next_cursor").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_request_is_there() {
    let doors = Doors::open("team").await;
    let request = doors.deploy("production").await;
    let id = request["id"].as_str().unwrap();
    let other = doors.world.agent("other").await;
    for (method, path, body) in [
        ("GET", format!("/v1/requests/{id}"), String::new()),
        ("GET", format!("/v1/requests/{id}/events"), String::new()),
        ("POST", format!("/v1/requests/{id}/cancel"), String::new()),
        (
            "POST",
            format!("/v1/requests/{id}/execution"),
            json!({"digest": request["digest"], "claim": "c"}).to_string(),
        ),
        ("GET", "/v1/requests/req_00000000000000000000000000".into(), String::new()),
        ("GET", "/v1/requests/nonsense".into(), String::new()),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let call = doors.http.request(method, format!("{}{path}", doors.agents)).bearer_auth(&other);
        let answer = doors.send(call.header("content-type", "application/json").body(body)).await;
        assert_eq!(answer.problem(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(doors.bot_get(&format!("/v1/requests/{id}")).await.json()["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_by_policy_are_answers() {
    let doors = Doors::open("team").await;
    let mut call = deploy("nowhere");
    let refused = doors.bot_post("/v1/requests", call.to_string()).await;
    assert_eq!((refused.status, &refused.json()["status"]), (201, &json!("refused")), "{}", refused.text);
    assert!(refused.json()["denial"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    call["action"] = json!("data.export");
    assert_eq!(
        doors.bot_post("/v1/requests", call.to_string()).await.problem(),
        (403, "action_not_external".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_its_place() {
    let doors = Doors::open("team").await;
    let good = deploy("production").to_string();
    let with = |arguments: &str| good.replace(r#"{"version":"1.4.2"}"#, arguments);
    let deep = format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65));
    let unknown: String = (0..10_000).map(|n| format!("\"x{n:05}\":1,")).collect();
    for (body, status, code) in [
        (with(r#"{"a":1,"a":2}"#), 400, "json_duplicate_key"),
        (with(r#"{"a":"\ud800"}"#), 400, "json_lone_surrogate"),
        (with(&deep), 400, "json_too_deep"),
        (with(&format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024))), 413, "body_too_large"),
        (good.replacen('{', &format!("{{{unknown}"), 1), 400, "unknown_member"),
        (with("1"), 400, "bad_arguments"),
        ("{".into(), 400, "json_syntax"),
        (String::new(), 400, "json_syntax"),
    ] {
        let answer = doors.bot_post("/v1/requests", body).await;
        assert_eq!(answer.problem(), (status, code.into()));
    }
    assert_eq!(doors.bot_post("/v1/requests", vec![0xff]).await.problem(), (400, "json_not_utf8".into()));
    for path in [
        "/v1/requests?wait=51",
        "/v1/requests?wait=x",
        "/v1/requests?verbose=1",
        "/v1/requests?wait=1&wait=1",
    ] {
        assert_eq!(doors.bot_post(path, good.clone()).await.problem(), (400, "bad_query".into()), "{path}");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
    {
        let call = doors.http.post(format!("{}/v1/requests", doors.agents)).bearer_auth(&doors.bot);
        let answer = doors.send(call.header("content-type", media_type).body(good.clone())).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type".into()), "{media_type}");
    }
    let list = doors.bot_get("/v1/requests").await.json();
    assert_eq!(list["requests"], json!([]), "none of it became a request");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_arrive_exactly_or_not_at_all() {
    let doors = Doors::open("team").await;
    let submit = async |arguments: &str| {
        let body = deploy("production").to_string().replace(r#"{"version":"1.4.2"}"#, arguments);
        doors.bot_post("/v1/requests", body).await
    };
    for arguments in [
        "{\"version\":\"a\u{202e}b\u{200b}c\"}",
        r#"{"version":"\u0000"}"#,
        r#"{"service":"","version":"9007199254740993"}"#,
        "{}",
    ] {
        let answer = submit(arguments).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let canonical = answer.json()["canonical"].as_str().unwrap().to_owned();
        assert!(canonical.contains(&format!("\"arguments\":{arguments}")), "{canonical}");
    }
    for arguments in
        [r#"{"version":1}"#, r#"{"pep":"command"}"#, r#"{"approvals":"2"}"#, r#"{"undeclared":"x"}"#]
    {
        assert_eq!(submit(arguments).await.problem(), (400, "bad_arguments".into()), "{arguments}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_agents_tokens_open_this_door() {
    let doors = Doors::open("team").await;
    let rob = doors.signed_in("rob").await;
    let person = doors.world.person_token("rob").await;
    let url = format!("{}/v1/requests", doors.agents);
    let bad = |answer: crate::world::Answer| {
        assert_eq!(answer.problem(), (401, "unauthenticated".into()));
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"placet agents\"");
    };
    bad(doors.send(doors.http.get(&url)).await);
    bad(doors.send(doors.http.get(&url).header("cookie", &rob.cookie)).await);
    bad(doors.send(doors.http.get(&url).bearer_auth("")).await);
    bad(doors.send(doors.http.get(&url).bearer_auth("placet_agent_0")).await);
    bad(doors.send(doors.http.get(&url).basic_auth(&doors.bot, Some(""))).await);
    let twice = doors.http.get(&url).header("authorization", format!("Bearer {}", doors.bot));
    bad(doors.send(twice.header("authorization", "Bearer x")).await);

    for _ in 0..2 {
        let answer = doors.send(doors.http.get(&url).bearer_auth(&person)).await;
        assert!(answer.json()["detail"].as_str().unwrap().contains("person's token"));
        bad(answer);
    }
    let noted = rob.get("/v1/audit/entries?kind=intake.refused").await.json();
    assert_eq!(noted["entries"].as_array().unwrap().len(), 1, "an entry, and one a minute: {noted}");

    doors.world.broker.revoke_agent(&doors.world.operator, "bot").await.unwrap();
    bad(doors.bot_get("/v1/requests").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_cannot_hold_the_door_open_for_itself_alone() {
    let doors = Doors::open("team").await;
    let pending = doors.deploy("production").await;
    let events = format!("{}/v1/requests/{}/events", doors.agents, pending["id"].as_str().unwrap());
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 1000, "streams have a bound");
        let stream = doors.http.get(&events).bearer_auth(&doors.bot).send().await.unwrap();
        match stream.status().as_u16() {
            200 => held.push(stream),
            _ => break stream,
        }
    };
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(doors.bot_get("/v1/requests").await.problem(), (429, "open_calls".into()));
    let other = doors.world.agent("other").await;
    let listed = doors.http.get(format!("{}/v1/requests", doors.agents)).bearer_auth(&other);
    assert_eq!(doors.send(listed).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_and_methods_are_problems_too() {
    let doors = Doors::open("team").await;
    assert_eq!(doors.bot_get("/v2/requests").await.problem(), (404, "not_found".into()));
    assert_eq!(doors.bot_post("/healthz", "").await.problem(), (405, "method_not_allowed".into()));
    assert_eq!(doors.bot_get("/").await.problem(), (404, "not_found".into()), "no pages at this door");
}
