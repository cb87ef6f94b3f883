//! Two hundred calls at once over HTTP: one end, and everybody else is told why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Answer, Placet, at_once};
use crate::people::deploy;

/// How many calls come at once.
const CROWD: usize = 200;

/// How often each answer was given; `done` where nothing was refused. A refusal is a problem with a code.
fn told(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for answer in answers {
        let code = if answer.status < 300 {
            "done".to_owned()
        } else {
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.text());
            answer.json()["code"].as_str().unwrap().to_owned()
        };
        *told.entry(code).or_default() += 1;
    }
    told
}

fn path(request: &Value, rest: &str) -> String {
    format!("/v1/requests/{}{rest}", request["id"].as_str().unwrap())
}

/// The kinds of a request's entries that end it, or begin its execution.
fn ends(placet: &Placet, request: &Value) -> Vec<String> {
    let found = placet.admin("/admin/v1/audit/entries?limit=200");
    let entries = found["entries"].as_array().unwrap().iter();
    let clear =
        entries.map(|entry| -> Value { serde_json::from_str(entry["entry"].as_str().unwrap()).unwrap() });
    let of_it = clear.filter(|entry| entry["request"] == request["id"]);
    let is_end = |entry: &Value| match entry["kind"].as_str().unwrap() {
        "request.cancelled" | "request.expired" | "request.lapsed" | "request.refused"
        | "execution.started" => true,
        "vote.cast" => entry["verdict"] == "deny",
        _ => false,
    };
    of_it.filter(is_end).map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_crowd_of_votes_claims_and_cancels_over_http_leaves_one_end() {
    let placet = Placet::team();
    for name in ["Ben", "Cleo", "Dan"] {
        placet.add_person(name, &["reviewers"]);
    }
    // Ada sponsors the agent, so she is not among those who decide.
    let sessions: Vec<_> = ["Ben", "Cleo", "Dan"].iter().map(|name| placet.session_of(name)).collect();
    let door = placet.agents();
    let request = door.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let id = request["id"].as_str().unwrap();
    let [approve, deny] = ["approve", "deny"].map(|verdict| sessions[0].ballot(id, verdict));
    let vote = format!("/v1/reviews/{id}/votes");
    let calls: Vec<_> = (0..CROWD)
        .map(|number| match number % 4 {
            0 => (sessions[number / 4 % 3].door.clone(), vote.clone(), approve.clone()),
            1 if number > CROWD / 2 => (sessions[number / 4 % 3].door.clone(), vote.clone(), deny.clone()),
            2 if number > CROWD / 2 => (door.clone(), path(&request, "/cancel"), json!({})),
            _ => {
                let claim = json!({ "digest": request["digest"], "claim": format!("claim {number}") });
                (door.clone(), path(&request, "/execution"), claim)
            }
        })
        .collect();
    let told = told(&at_once(&calls));
    let known = ["done", "already_decided", "already_voted", "wrong_state", "already_claimed"];
    assert!(told.keys().all(|code| known.contains(&code.as_str())), "{told:?}");
    let ends = ends(&placet, &request);
    assert_eq!(ends.len(), 1, "{ends:?} {told:?}");
    let status = door.get(&path(&request, "")).json()["status"].as_str().unwrap().to_owned();
    let end = match status.as_str() {
        "denied" => "vote.cast",
        "cancelled" => "request.cancelled",
        "executing" => "execution.started",
        other => panic!("it ended as {other}: {told:?}"),
    };
    assert_eq!(ends, [end]);
}

#[test]
fn a_crowd_of_equal_calls_over_http_is_one_request() {
    let placet = Placet::start();
    let door = placet.agents();
    let call = deploy("production", "1");
    let calls: Vec<_> = (0..CROWD).map(|_| (door.clone(), "/v1/requests".to_owned(), call.clone())).collect();
    let answers = at_once(&calls);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(told(&answers), BTreeMap::from([("done".to_owned(), CROWD)]));
    let ids: Vec<_> = answers.iter().map(|answer| answer.json()["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(door.get("/v1/requests").json()["requests"].as_array().unwrap().len(), 1);
}

#[test]
fn a_crowd_of_claims_over_http_is_one_execution() {
    let placet = Placet::start();
    let door = placet.agents();
    let request = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let claim = |number: usize| json!({ "digest": request["digest"], "claim": format!("claim {number}") });
    let calls: Vec<_> =
        (0..CROWD).map(|number| (door.clone(), path(&request, "/execution"), claim(number))).collect();
    let told = told(&at_once(&calls));
    let expected = [("already_claimed".to_owned(), CROWD - 1), ("done".to_owned(), 1)];
    assert_eq!(told, BTreeMap::from(expected));
    assert_eq!(ends(&placet, &request), ["execution.started"]);
}
