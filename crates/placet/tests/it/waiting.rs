//! The ways in which a tool call waits for people, as clients of each kind see them; and what one agent gets that comes
//! with what was given to another.

use std::time::Duration;

use placet_core::digest::Sha256Digest;
use serde_json::{Value, json};

use crate::harness::{Answer, Http, eventually};
use crate::tools::{Bench, MODERN, pending, result, text};

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A client of one of the two families of revisions, with a token.
#[derive(Clone)]
struct Client<'a> {
    door: Http<'a>,
    path: String,
    modern: bool,
    extensions: Value,
}

impl<'a> Client<'a> {
    fn modern(bench: &'a Bench) -> Self {
        Client { door: bench.door(), path: "/mcp/fixture".to_owned(), modern: true, extensions: json!({}) }
    }

    /// One of the older revisions, after it has begun.
    fn legacy(bench: &'a Bench) -> Self {
        let mut client = Client { modern: false, ..Self::modern(bench) };
        let begun = client.answer(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        let session = begun.headers["mcp-session-id"].to_str().unwrap().to_owned();
        let tasks = &result(&begun)["capabilities"]["tasks"];
        assert_eq!(*tasks, json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}));
        client.door = client.door.header("mcp-session-id", &session);
        client
    }

    fn with_tasks(self) -> Self {
        Client { extensions: json!({ TASKS: {} }), ..self }
    }

    fn by_agent(self, token: &str) -> Self {
        Client { door: self.door.clone().bearer(Some(token)), ..self }
    }

    fn answer(&self, method: &str, mut params: Value) -> Answer {
        let mut door = self.door.clone();
        if self.modern {
            let name = ["name", "taskId"].into_iter().find_map(|name| params[name].as_str());
            door = door.header("mcp-protocol-version", MODERN).header("mcp-method", method);
            door = name.map_or(door.clone(), |name| door.header("mcp-name", name));
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {"extensions": self.extensions},
            });
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        door.post(&self.path, &body)
    }

    fn result(&self, method: &str, params: Value) -> Value {
        result(&self.answer(method, params).expect(200))
    }

    /// The refusal's code.
    fn refused(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        crate::tools::message(&answer)["error"]["code"].clone()
    }

    fn echo(&self, text: &str, more: Value) -> Value {
        let mut params = json!({"name": "echo", "arguments": {"text": text}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.result("tools/call", params)
    }

    /// The task once it is in none of these states any more.
    fn task_after(&self, id: &Value, working: &str) -> Value {
        eventually("the task moves", || {
            let task = self.result("tasks/get", json!({ "taskId": id }));
            (task["status"] != working).then_some(task)
        })
    }
}

#[test]
fn a_task_of_the_older_revision_is_asked_for_until_it_has_a_result() {
    let bench = Bench::start();
    let client = Client::legacy(&bench);
    let listed = client.result("tools/list", json!({}));
    assert_eq!(listed["tools"][0]["execution"], json!({"taskSupport": "optional"}));
    let created = client.echo("one", json!({"task": {"ttl": 60000}}));
    let task = &created["task"];
    let id = &task["taskId"];
    assert_eq!(task["status"], "working");
    assert!(task["ttl"].as_u64().unwrap() > 3_600_000 && task["pollInterval"].as_u64().unwrap() >= 3000);
    let immediate = &created["_meta"]["io.modelcontextprotocol/model-immediate-response"];
    assert!(immediate.as_str().unwrap().starts_with("NOT EXECUTED."));
    // The same call is the same task, whichever way it is made.
    assert_eq!(client.echo("one", json!({"task": {}}))["task"]["taskId"], *id);
    assert_eq!(pending(&client.echo("one", json!({}))), *id);
    let seen = client.result("tasks/get", json!({ "taskId": id }));
    assert_eq!((&seen["taskId"], &seen["status"]), (id, &json!("working")));
    assert!(seen["statusMessage"].as_str().unwrap().contains("waiting for a person"));
    assert_eq!(client.result("tasks/list", json!({}))["tasks"][0]["taskId"], *id);
    assert_eq!(client.refused("tasks/list", json!({"cursor": "x"})), -32602);
    // Another agent has no such task.
    let other = client.clone().by_agent(&bench.placet.add_agent("other"));
    assert_eq!(other.refused("tasks/get", json!({ "taskId": id })), -32600, "nor the session");
    let other = Client { modern: false, ..Client::modern(&bench) }.by_agent(&bench.placet.add_agent("third"));
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(other.refused(method, json!({ "taskId": id })), -32602, "{method}");
    }
    assert_eq!(other.result("tasks/list", json!({}))["tasks"], json!([]));

    bench.approve(id.as_str().unwrap());
    assert_eq!(client.task_after(id, "working")["status"], "completed");
    let told = client.result("tasks/result", json!({ "taskId": id }));
    assert_eq!(text(&told), r#"{"text": "one"}"#);
    assert_eq!(told["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], *id);
    assert_eq!(told["x-vendor"], "kept");
    assert_eq!(client.result("tasks/result", json!({ "taskId": id })), told);
    assert_eq!(client.refused("tasks/cancel", json!({ "taskId": id })), -32602, "it has ended");
    assert_eq!(bench.calls().len(), 1);

    // Withdrawn, it cannot be approved any more.
    let gone = &client.echo("two", json!({"task": {}}))["task"]["taskId"];
    let cancelled = client.result("tasks/cancel", json!({ "taskId": gone }));
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(client.refused("tasks/cancel", json!({ "taskId": gone })), -32602);
    let session = bench.placet.session_of("Ada");
    assert_eq!(session.review(gone.as_str().unwrap())["request"]["status"], "cancelled");
    assert!(text(&client.result("tasks/result", json!({ "taskId": gone }))).contains("withdrawn"));
    // Denied, it says why, and to whoever waits for the result.
    let denied = &client.echo("three", json!({"task": {}}))["task"]["taskId"];
    let id = denied.as_str().unwrap();
    session.cast(id, &session.ballot(id, "deny")).expect(200);
    let failed = client.result("tasks/get", json!({ "taskId": id }));
    assert_eq!(failed["status"], "failed");
    assert!(failed["statusMessage"].as_str().unwrap().contains("read and weighed"), "{failed}");
    let told = client.result("tasks/result", json!({ "taskId": id }));
    assert!(told["isError"] == true && text(&told).contains("A person denied it"), "{told}");
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn what_waits_at_one_server_is_not_reached_at_another() {
    let bench = Bench::start();
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server.py");
    let add = ["mcp", "add", "second", "--yes", "--", "/usr/bin/env", "python3", server];
    bench.placet.cli(add).arg(&bench.home).succeeds();
    let here = Client { modern: false, ..Client::modern(&bench) };
    let at = |path: &str| Client { path: path.to_owned(), ..here.clone() };
    let (there, all) = (at("/mcp/second"), at("/mcp"));
    let waits = pending(&here.echo("one", json!({})));
    let come_back =
        json!({"name": "placet_await_approval", "arguments": {"approval_id": waits, "wait_s": 0}});
    bench.approve(&waits);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(there.refused(method, json!({ "taskId": waits })), -32602, "{method}");
    }
    assert_eq!(there.refused("tools/call", come_back.clone()), -32602);
    assert_eq!(there.result("tasks/list", json!({}))["tasks"], json!([]));
    assert_eq!(bench.calls(), [""; 0], "nothing was carried out");
    // Where all servers are reached, it is.
    assert_eq!(all.result("tasks/list", json!({}))["tasks"][0]["taskId"], waits);
    assert_eq!(text(&all.result("tasks/result", json!({ "taskId": waits }))), r#"{"text": "one"}"#);
    assert_eq!(text(&here.result("tools/call", come_back)), r#"{"text": "one"}"#);
}

#[test]
fn a_task_outlives_the_process_and_its_result_can_be_waited_for() {
    let bench = Bench::start();
    let id = Client::legacy(&bench).echo("late", json!({"task": {}}))["task"]["taskId"].clone();
    let Bench { placet, home } = bench;
    let bench = Bench { placet: placet.crash().start(), home };
    let client = Client::legacy(&bench);
    assert_eq!(client.result("tasks/get", json!({ "taskId": id }))["status"], "working");
    std::thread::scope(|scope| {
        let (token, url) =
            (bench.placet.ready.agent_token.clone().unwrap(), bench.placet.ready.agents.clone());
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/result", "params": {"taskId": id}});
        let waiting = scope.spawn(move || waits(&format!("{url}/mcp/fixture"), &token, &body, None).unwrap());
        bench.approve(id.as_str().unwrap());
        let events = waiting.join().unwrap();
        assert!(events.contains(r#"{\"text\": \"late\"}"#), "{events}");
    });
    assert_eq!(bench.calls().len(), 1);
}

/// A call from another thread. `None`: its client hung up after this time.
fn waits(url: &str, token: &str, body: &Value, patience: Option<Duration>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let call = http.post(url).bearer_auth(token).header("accept", "application/json, text/event-stream");
        let answer = async { call.json(body).send().await.unwrap().text().await.unwrap() };
        match patience {
            None => Some(answer.await),
            Some(patience) => tokio::time::timeout(patience, answer).await.ok(),
        }
    })
}

#[test]
fn a_task_of_the_newest_revision_carries_its_result() {
    let bench = Bench::start();
    let client = Client::modern(&bench).with_tasks();
    let discovered = client.result("server/discover", json!({}));
    assert_eq!(discovered["capabilities"]["extensions"], json!({ TASKS: {} }));
    let created = client.echo("one", json!({"task": {"ttl": 1}}));
    assert_eq!((&created["resultType"], &created["status"]), (&json!("task"), &json!("working")));
    assert!(created["pollIntervalMs"].as_u64().unwrap() >= 3000 && created["ttlMs"].as_u64().is_some());
    let id = &created["taskId"];
    // Who does not say that they know tasks gets none, and is not told of any.
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let answer = Client::modern(&bench).answer(method, json!({ "taskId": id })).expect(400).json();
        assert_eq!(answer["error"]["code"], -32021, "{method}");
        assert_eq!(answer["error"]["data"]["requiredCapabilities"], json!({"extensions": { TASKS: {} }}));
    }
    for method in ["tasks/result", "tasks/list"] {
        assert_eq!(client.refused(method, json!({ "taskId": id })), -32601, "{method}");
    }
    let other = client.clone().by_agent(&bench.placet.add_agent("other"));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(other.refused(method, json!({ "taskId": id })), -32602, "{method}");
    }
    // Whatever a client answers, it approves nothing.
    let accepts = json!({"approve": {"action": "accept", "content": {"approved": true}}});
    let updated = client.result("tasks/update", json!({ "taskId": id, "inputResponses": accepts }));
    assert_eq!(updated, json!({"resultType": "complete"}));
    let seen = client.result("tasks/get", json!({ "taskId": id }));
    assert_eq!((&seen["status"], &seen["resultType"]), (&json!("working"), &json!("complete")));
    assert!(seen.get("result").is_none());
    bench.approve(id.as_str().unwrap());
    let done = client.task_after(id, "working");
    assert_eq!(done["status"], "completed");
    assert_eq!(text(&done["result"]), r#"{"text": "one"}"#);
    assert_eq!(client.result("tasks/get", json!({ "taskId": id }))["result"], done["result"]);
    // Too late to cancel, which is acknowledged and changes nothing.
    assert_eq!(client.result("tasks/cancel", json!({ "taskId": id })), json!({"resultType": "complete"}));
    assert_eq!(client.result("tasks/get", json!({ "taskId": id }))["status"], "completed");
    // A denial is a result, not an error of the protocol.
    let denied = client.echo("two", json!({}))["taskId"].as_str().unwrap().to_owned();
    let session = bench.placet.session_of("Ada");
    session.cast(&denied, &session.ballot(&denied, "deny")).expect(200);
    let task = client.result("tasks/get", json!({ "taskId": denied }));
    assert_eq!((&task["status"], &task["result"]["isError"]), (&json!("completed"), &json!(true)));
    let gone = client.echo("three", json!({}))["taskId"].clone();
    client.result("tasks/cancel", json!({ "taskId": gone }));
    assert_eq!(client.result("tasks/get", json!({ "taskId": gone }))["status"], "cancelled");
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn a_client_that_brings_the_state_back_waits_on_without_a_connection() {
    let bench = Bench::start();
    let client = Client::modern(&bench);
    let again = client.echo("one", json!({}));
    assert_eq!(again["resultType"], "input_required");
    assert!(again.get("inputRequests").is_none(), "nobody but a reviewer is asked");
    let state = |result: &Value| json!({ "requestState": result["requestState"] });
    let later = client.echo("one", state(&again));
    assert_eq!(later["resultType"], "input_required");
    assert_ne!(later["requestState"], again["requestState"]);
    // It is good for this call of this agent, and for nothing else.
    let call = |client: &Client<'_>, text: &str, state: &Value| {
        let mut params = json!({"name": "echo", "arguments": {"text": text}});
        params["requestState"] = state["requestState"].clone();
        client.refused("tools/call", params)
    };
    assert_eq!(call(&client, "two", &later), -32602, "another call");
    let other = client.clone().by_agent(&bench.placet.add_agent("other"));
    assert_eq!(call(&other, "one", &later), -32602, "another agent");
    let mut altered = later["requestState"].as_str().unwrap().to_owned();
    let last = altered.pop().unwrap();
    altered.push(if last == 'A' { 'B' } else { 'A' });
    assert_eq!(call(&client, "one", &json!({ "requestState": altered })), -32602, "altered");
    let answers = json!({"approve": {"action": "accept"}});
    let mut params = json!({"name": "echo", "arguments": {"text": "one"}, "inputResponses": answers});
    params["requestState"] = later["requestState"].clone();
    assert_eq!(client.refused("tools/call", params), -32602, "an answer to what nobody asked");
    // Nine rounds, and then a result, before clients give up counting.
    let mut round = later;
    for _ in 2..9 {
        round = client.echo("one", state(&round));
        assert_eq!(round["resultType"], "input_required");
    }
    let id = pending(&client.echo("one", state(&round)));
    bench.approve(&id);
    let Bench { placet, home } = bench;
    let bench = Bench { placet: placet.crash().start(), home };
    let client = Client::modern(&bench);
    // Another process knows it too, and whoever brings a state again gets the same result again.
    let told = client.echo("one", json!({ "requestState": round["requestState"], "inputResponses": {} }));
    assert_eq!(text(&told), r#"{"text": "one"}"#);
    assert_eq!(client.echo("one", json!({ "requestState": again["requestState"] })), told);
    assert_eq!(client.echo("one", json!({})), told);
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn a_session_is_its_agents_own_and_needed_by_nobody() {
    let bench = Bench::start();
    let client = Client::legacy(&bench);
    client.result("ping", json!({}));
    let stranger = client.clone().by_agent(&bench.placet.add_agent("other"));
    let refused = stranger.answer("ping", json!({})).expect(404);
    assert_eq!(refused.json()["error"]["code"], -32600);
    let forged = Client { door: bench.door().header("mcp-session-id", "AAAA"), ..client.clone() };
    forged.answer("tools/list", json!({})).expect(404);
    Client { door: bench.door(), ..client }.result("ping", json!({}));
    // How long a client is held may be said where it is configured.
    let said = |hold: &str| Client { path: format!("/mcp/fixture?hold={hold}"), ..Client::modern(&bench) };
    pending(&said("1").echo("one", json!({})));
    for hold in ["0", "601", "", "1s", "-1"] {
        said(hold).answer("tools/list", json!({})).expect(400);
    }
    let config = bench.placet.cli(["mcp", "config", "json", "fixture", "--hold", "240"]).succeeds();
    assert!(config.contains("/mcp/fixture?hold=240"), "{config}");
}

#[test]
fn who_hangs_up_twice_at_the_same_time_is_answered_before_that() {
    let bench = Bench::holding("10m");
    let (token, url) = (bench.placet.ready.agent_token.clone().unwrap(), &bench.placet.ready.agents);
    let url = format!("{url}/mcp/fixture");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let patience = Some(Duration::from_secs(2));
    for _ in 0..2 {
        assert_eq!(waits(&url, &token, &body, patience), None);
    }
    // Its third call is held for less than its client waits. Ten minutes would be for ever.
    let answer = waits(&url, &token, &body, Some(Duration::from_secs(30)));
    assert!(answer.unwrap().contains("NOT EXECUTED. A person has to approve it first"));
    assert_eq!(bench.calls().len(), 0);
}

/// A call that is held: what its client reads once it ends.
pub(crate) struct Held<'s>(std::thread::ScopedJoinHandle<'s, String>);

impl<'s> Held<'s> {
    /// Returns once its client has been told that it is held.
    pub(crate) fn begin(
        scope: &'s std::thread::Scope<'s, '_>,
        bench: &Bench,
        token: &str,
        method: &str,
        params: &Value,
    ) -> Self {
        let (token, url) = (token.to_owned(), format!("{}/mcp/fixture", bench.placet.ready.agents));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (began, streaming) = std::sync::mpsc::channel();
        let held = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let call =
                    reqwest::Client::builder().no_proxy().build().unwrap().post(url).bearer_auth(token);
                let call = call.header("accept", "application/json, text/event-stream").json(&body);
                let answer = call.send().await.unwrap();
                began.send(answer.headers()["content-type"].clone()).unwrap();
                answer.text().await.unwrap()
            })
        });
        assert_eq!(streaming.recv().unwrap(), "text/event-stream");
        Held(held)
    }

    pub(crate) fn told(self) -> String {
        self.0.join().unwrap()
    }
}

#[test]
fn who_is_held_is_told_to_come_back_when_placet_stops() {
    let bench = Bench::holding("10m");
    let token = bench.placet.ready.agent_token.clone().unwrap();
    let task = Client::legacy(&bench).echo("task", json!({"task": {}}))["task"]["taskId"].clone();
    std::thread::scope(|scope| {
        let call = json!({"name": "echo", "arguments": {"text": "call"}});
        let call = Held::begin(scope, &bench, &token, "tools/call", &call);
        let result = Held::begin(scope, &bench, &token, "tasks/result", &json!({"taskId": task}));
        let Bench { placet, .. } = bench;
        placet.stop();
        let (call, result) = (call.told(), result.told());
        assert!(call.contains("NOT EXECUTED. A person has to approve it first"), "{call}");
        assert!(result.contains("there is no result yet"), "{result}");
    });
}

#[test]
fn an_agents_token_that_is_replaced_ends_its_wait_for_a_tasks_result() {
    let bench = Bench::holding("10m");
    let first = bench.placet.add_agent("scout");
    let scout = |token: &str| Client { modern: false, ..Client::modern(&bench) }.by_agent(token);
    let task = scout(&first).echo("task", json!({"task": {}}))["task"]["taskId"].clone();
    let second = std::thread::scope(|scope| {
        let held = Held::begin(scope, &bench, &first, "tasks/result", &json!({"taskId": task}));
        let second = bench.placet.cli(["agent", "rotate", "scout"]).succeeds().trim().to_owned();
        bench.approve(task.as_str().unwrap());
        let told = held.told();
        assert!(told.contains("NOT EXECUTED.") && !told.contains("{\\\"text\\\": \\\"task\\\"}"), "{told}");
        second
    });
    assert_eq!(bench.calls(), [""; 0], "nothing is carried out for a token that is none");
    // The task is its agent's, whatever token it comes with now.
    let told = scout(&second).result("tasks/result", json!({ "taskId": task }));
    assert_eq!(text(&told), r#"{"text": "task"}"#);
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn a_servers_secret_that_is_replaced_while_a_tasks_result_is_waited_for_is_the_one_that_is_used() {
    let bench = Bench::holding("10m");
    let token = bench.placet.ready.agent_token.clone().unwrap();
    let task = Client::legacy(&bench).echo("task", json!({"task": {}}))["task"]["taskId"].clone();
    std::thread::scope(|scope| {
        let held = Held::begin(scope, &bench, &token, "tasks/result", &json!({"taskId": task}));
        bench.placet.cli(["secret", "set", "shop"]).stdin("another-horse").succeeds();
        bench.approve(task.as_str().unwrap());
        let told = held.told();
        assert!(told.contains(r#"{\"text\": \"task\"}"#), "{told}");
    });
    let started = std::fs::read_to_string(bench.home.join("started")).unwrap();
    let with = |secret: &str| Sha256Digest::of(secret.as_bytes()).to_string();
    let expected = [with(crate::tools::PASSWORD), with("another-horse")];
    assert_eq!(
        started.lines().collect::<Vec<_>>(),
        expected,
        "a server with the old one is not asked any more"
    );
    assert_eq!(bench.calls().len(), 1);
}
