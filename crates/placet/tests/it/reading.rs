//! What agents reach of a server beside its tools: nothing that nobody passed on, and nothing that a guard did not see.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Http, Options, eventually};
use crate::tools::{Bench, MODERN, message, result};

const PASS: [&str; 2] = ["--pass", "resources,prompts,completions"];

/// The answer to a call, to one path or the other.
fn call(bench: &Bench, path: &str, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    message(&bench.door().post(path, &body).expect(200))
}

/// The id of the request that a call waits for.
fn waits(answer: &Value) -> String {
    let error = &answer["error"];
    assert_eq!(error["code"], -31000, "{answer}");
    assert!(error["message"].as_str().unwrap().starts_with("NOT EXECUTED. A person has to approve it first"));
    assert!(error["message"].as_str().unwrap().contains("repeat this exact call"), "{answer}");
    error["data"]["dev.placet/approval"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_passed_on_is_listed_as_it_is_written_and_says_whose_it_is() {
    let bench = Bench::with("1s", &PASS);
    let one = |method: &str| call(&bench, "/mcp/fixture", method, json!({}))["result"].clone();
    let all = |method: &str| call(&bench, "/mcp", method, json!({}))["result"].clone();
    let named = |list: &Value, name: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
    };
    let listed = one("resources/list");
    assert_eq!(named(&listed["resources"], "uri"), ["note:///1", "note:///2"], "every page of it");
    assert_eq!(listed["resources"][0]["x-vendor"].to_string(), "1.0");
    let theirs = all("resources/list");
    assert_eq!(named(&theirs["resources"], "uri"), ["fixture+note:///1", "fixture+note:///2"]);
    assert_eq!(named(&one("resources/templates/list")["resourceTemplates"], "uriTemplate"), ["note:///{n}"]);
    let templates = all("resources/templates/list");
    assert_eq!(named(&templates["resourceTemplates"], "uriTemplate"), ["fixture+note:///{n}"]);
    assert_eq!(named(&one("prompts/list")["prompts"], "name"), ["greet"]);
    assert_eq!(named(&all("prompts/list")["prompts"], "name"), ["fixture__greet"]);
    let begun = call(&bench, "/mcp", "initialize", json!({"protocolVersion": "2025-06-18"}));
    let capabilities = json!({"tools": {}, "resources": {}, "prompts": {}, "completions": {}});
    assert_eq!(begun["result"]["capabilities"], capabilities);
    assert_eq!(bench.calls(), [""; 0]);
}

/// The names in a list.
fn names(list: &Value) -> Vec<String> {
    let (_, items) = list["result"].as_object().unwrap().iter().next().unwrap();
    let name = |item: &Value| {
        ["uri", "uriTemplate", "name"].into_iter().find_map(|name| item[name].as_str().map(str::to_owned))
    };
    items.as_array().unwrap().iter().filter_map(name).collect()
}

/// How often the server was asked for a list.
fn readings(bench: &Bench, method: &str) -> usize {
    let lists = fs::read_to_string(bench.home.join("lists")).unwrap_or_default();
    lists.lines().filter(|line| *line == method).count()
}

#[test]
fn what_policy_rules_out_by_its_name_is_not_listed() {
    let bench = Bench::with("1s", &PASS);
    let other = bench.placet.add_agent("other");
    bench.placet.cli(["group", "add", "polite"]).succeeds();
    bench.placet.cli(["group", "join", "polite", "other"]).succeeds();
    let rules = r#"
        @id("no-second") @because("It is private.")
        forbid (principal, action == Action::"mcp.read", resource == McpResource::"fixture/note:///2");
        @id("no-templates") @because("One by one.")
        forbid (principal, action == Action::"mcp.read", resource) when { context.uri like "*{*" };
        @id("no-greetings") @because("They are rude.")
        forbid (principal, action == Action::"mcp.prompt", resource) when { context.server == "fixture" && context.prompt == "greet" && !(principal in Group::"polite") };
    "#;
    fs::write(bench.placet.policy().join("never.cedar"), rules).unwrap();
    bench.placet.activate();
    for (path, prefix, prompt) in [("/mcp/fixture", "", "greet"), ("/mcp", "fixture+", "fixture__greet")] {
        let listed = |method: &str| names(&call(&bench, path, method, json!({})));
        assert_eq!(listed("resources/list"), [format!("{prefix}note:///1")]);
        assert_eq!(listed("resources/templates/list"), [""; 0]);
        assert_eq!(listed("prompts/list"), [""; 0]);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/list"});
        let theirs = bench.door().bearer(Some(&other)).post(path, &body).expect(200);
        assert_eq!(names(&message(&theirs)), [prompt], "another agent's list is its own");
    }
    // What is not listed is not to be had by its name either.
    for (method, params) in
        [("resources/read", json!({"uri": "note:///2"})), ("prompts/get", json!({"name": "greet"}))]
    {
        let refused = call(&bench, "/mcp/fixture", method, params);
        assert!(refused["error"]["message"].as_str().unwrap().contains("Policy forbids it"), "{refused}");
    }
    assert_eq!(bench.calls(), [""; 0]);
}

#[test]
fn a_list_is_read_once_for_all_agents_and_again_when_its_server_says_so() {
    let bench = Bench::with("1s", &PASS);
    let other = bench.placet.add_agent("other");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/templates/list"});
    for _ in 0..5 {
        for door in [bench.door(), bench.door().bearer(Some(&other))] {
            assert_eq!(names(&message(&door.post("/mcp/fixture", &body).expect(200))), ["note:///{n}"]);
        }
    }
    assert_eq!(readings(&bench, "resources/templates/list"), 1);
    for (said, again) in [
        ("notifications/resources/list_changed", 2),
        ("notifications/prompts/list_changed", 3),
        ("notifications/resources/updated", 3),
    ] {
        bench.tell("changed", said);
        // It says so when it is asked for something else.
        call(&bench, "/mcp/fixture", "resources/list", json!({}));
        call(&bench, "/mcp/fixture", "prompts/list", json!({}));
        fs::remove_file(bench.home.join("changed")).unwrap();
        call(&bench, "/mcp/fixture", "resources/templates/list", json!({}));
        assert_eq!(readings(&bench, "resources/templates/list"), again, "{said}");
    }
}

#[test]
fn a_list_of_all_servers_goes_on_where_it_grows_long() {
    let bench = Bench::with("1s", &PASS);
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server.py");
    let add =
        ["mcp", "add", "second", "--yes", "--pass", "resources", "--", "/usr/bin/env", "python3", server];
    bench.placet.cli(add).arg(&bench.home).succeeds();
    let all = |params: Value| call(&bench, "/mcp", "resources/list", params);
    let whole = ["fixture+note:///1", "fixture+note:///2", "second+note:///1", "second+note:///2"];
    assert_eq!(names(&all(json!({}))), whole);

    bench.tell("fat", "30");
    bench.tell("changed", "notifications/resources/list_changed");
    // Each says so when it is asked for something else.
    call(&bench, "/mcp", "resources/templates/list", json!({}));
    let first = eventually("the lists are read anew", || {
        let first = all(json!({}));
        (first["result"]["nextCursor"] == "1").then_some(first)
    });
    let all_of = |list: &Value, server: &str| {
        let names = names(list);
        assert_eq!(names.len(), 2 * 31);
        assert!(names.iter().all(|name| name.starts_with(server)), "{names:?}");
    };
    all_of(&first, "fixture+");
    let second = all(json!({"cursor": "1"}));
    all_of(&second, "second+");
    assert_eq!(second["result"]["nextCursor"], Value::Null);
    // One server's list is always whole.
    assert_eq!(names(&call(&bench, "/mcp/second", "resources/list", json!({}))).len(), 2 * 31);
    for cursor in ["2", "", "-1", "second"] {
        assert_eq!(all(json!({"cursor": cursor}))["error"]["code"], -32602, "{cursor}");
    }
}

#[test]
fn whoever_may_call_nothing_of_a_server_is_told_nothing_by_it() {
    let bench = Bench::with("1s", &PASS);
    let other = bench.placet.add_agent("other");
    bench.placet.cli(["group", "add", "trusted"]).succeeds();
    bench.placet.cli(["group", "join", "trusted", "other"]).succeeds();
    let rule = r#"@id("trusted-only") @because("It is.")
        forbid (principal, action == Action::"mcp.call", resource)
        when { context.server == "fixture" && !(principal in Group::"trusted") };"#;
    fs::write(bench.placet.policy().join("never.cedar"), rule).unwrap();
    bench.placet.activate();
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}});
    for path in ["/mcp", "/mcp/fixture"] {
        let told = |door: Http<'_>| {
            let begun = result(&door.post(path, &begin).expect(200));
            begun["instructions"].as_str().unwrap().contains("Echo is harmless.")
        };
        assert!(!told(bench.door()), "{path}");
        assert!(told(bench.door().bearer(Some(&other))), "{path}");
    }
}

#[test]
fn what_has_no_name_is_not_listed() {
    let bench = Bench::with("1s", &PASS);
    bench.tell("quarrel", "yes");
    assert_eq!(names(&call(&bench, "/mcp/fixture", "prompts/list", json!({}))), ["greet"]);
}

#[test]
fn who_lists_over_and_over_is_told_to_wait() {
    let bench = Bench::of(Options::default().env("PLACET__LIMITS__CALLS_PER_MINUTE", "6"), &PASS);
    for method in ["tools/list", "resources/list", "resources/templates/list", "prompts/list", "tools/list"] {
        assert!(call(&bench, "/mcp/fixture", method, json!({})).get("error").is_none(), "{method}");
    }
    let refused = (0..3).map(|_| call(&bench, "/mcp/fixture", "resources/list", json!({}))).last().unwrap();
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("Too many calls") && said.contains("Try again in"), "{refused}");
    // It may begin nevertheless.
    let begun = call(&bench, "/mcp/fixture", "initialize", json!({"protocolVersion": "2025-06-18"}));
    assert!(begun["result"]["instructions"].is_string(), "{begun}");
    // It is the same bucket as that of other calls, and another agent has its own.
    assert!(bench.call("echo", "{}").to_string().contains("Too many calls"));
    let other = bench.placet.add_agent("other");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/list"});
    assert_eq!(
        names(&message(&bench.door().bearer(Some(&other)).post("/mcp/fixture", &body).expect(200))),
        ["greet"]
    );
    assert_eq!(readings(&bench, "resources/list"), 2, "two pages, once");
}

#[test]
fn what_carries_something_to_a_server_waits_for_a_person() {
    let bench = Bench::with("1s", &PASS);
    let session = bench.placet.session_of("Ada");
    let prompt = json!({"ref": {"type": "ref/prompt", "name": "fixture__greet"}, "argument": {"name": "who", "value": "A"}});
    for (path, method, params, action, resource, expected) in [
        (
            "/mcp/fixture",
            "resources/read",
            json!({"uri": "note:///1"}),
            "mcp.read",
            json!({"type": "McpResource", "id": "fixture/note:///1"}),
            json!({"contents": [{"uri": "note:///1", "text": "read", "x-vendor": 1.0}]}),
        ),
        (
            "/mcp",
            "prompts/get",
            json!({"name": "fixture__greet", "arguments": {"who": "Ada"}}),
            "mcp.prompt",
            json!({"type": "McpPrompt", "id": "fixture/greet"}),
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "Hello Ada"}}]}),
        ),
        (
            "/mcp",
            "completion/complete",
            prompt,
            "mcp.complete",
            json!({"type": "McpPrompt", "id": "fixture/greet"}),
            json!({"completion": {"values": ["Aa"]}}),
        ),
    ] {
        let before = bench.calls().len();
        let id = waits(&call(&bench, path, method, params.clone()));
        assert_eq!(
            waits(&call(&bench, path, method, params.clone())),
            id,
            "the same call is the same request"
        );
        let review = session.review(&id);
        assert_eq!(
            (&review["request"]["action"], &review["request"]["resource"]),
            (&json!(action), &resource)
        );
        // The tool for that waits for calls of tools, and carries nothing else out.
        let waited = bench.wait_for(&id);
        assert!(waited["isError"] == true && waited.to_string().contains("make that exact call again"));
        session.approve(&id);
        assert!(bench.wait_for(&id)["isError"] == true && bench.calls().len() == before);
        assert_eq!(call(&bench, path, method, params.clone())["result"], expected, "{method}");
        assert_eq!(call(&bench, path, method, params)["result"], expected, "kept, and not asked again");
        assert_eq!(bench.calls().len(), before + 1);
    }
    // The same prompt with other arguments is another call.
    let other =
        call(&bench, "/mcp", "prompts/get", json!({"name": "fixture__greet", "arguments": {"who": "Eve"}}));
    let id = waits(&other);
    session.cast(&id, &session.ballot(&id, "deny")).expect(200);
    let denied =
        call(&bench, "/mcp", "prompts/get", json!({"name": "fixture__greet", "arguments": {"who": "Eve"}}));
    assert!(denied["error"]["message"].as_str().unwrap().contains("A person denied it"), "{denied}");
    // A server's own no is the server's own, for programs too.
    let missing = json!({"uri": "note:///none"});
    let id = waits(&call(&bench, "/mcp/fixture", "resources/read", missing.clone()));
    session.approve(&id);
    let refused = call(&bench, "/mcp/fixture", "resources/read", missing);
    let error = json!({"code": -32002, "message": "there is no such note", "data": {"uri": "note:///none"}});
    assert_eq!(refused["error"], error);
    // But for what it must not tell.
    let telling = json!({"uri": "note:///none/secret"});
    let id = waits(&call(&bench, "/mcp/fixture", "resources/read", telling.clone()));
    session.approve(&id);
    let withheld = call(&bench, "/mcp/fixture", "resources/read", telling);
    assert!(withheld["error"]["message"].as_str().unwrap().contains("withheld"), "{withheld}");
    assert!(
        !withheld.to_string().contains("battery") && withheld["error"].get("data").is_none(),
        "{withheld}"
    );
    // A secret does not leave, and why stands where the result would.
    let secret = json!({"uri": "note:///secret"});
    session.approve(&waits(&call(&bench, "/mcp/fixture", "resources/read", secret.clone())));
    for _ in 0..2 {
        let withheld = call(&bench, "/mcp/fixture", "resources/read", secret.clone());
        assert!(withheld["error"]["message"].as_str().unwrap().contains("withheld"), "{withheld}");
    }
    assert_eq!(bench.calls().len(), 6);
}

#[test]
fn a_modern_client_reads_without_a_connection_and_keeps_it_to_itself() {
    let bench = Bench::with("1s", &PASS);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} });
    let read = |state: Option<&Value>| {
        let door = bench.door().header("mcp-protocol-version", MODERN).header("mcp-method", "resources/read");
        let mut params = json!({"uri": "note:///1", "_meta": meta});
        params.as_object_mut().unwrap().extend(state.map(|state| ("requestState".to_owned(), state.clone())));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params});
        result(&door.header("mcp-name", "note:///1").post("/mcp/fixture", &body).expect(200))
    };
    let again = read(None);
    assert_eq!(again["resultType"], "input_required");
    let session = bench.placet.session_of("Ada");
    session.approve(&session.waiting());
    let told = read(Some(&again["requestState"]));
    assert_eq!(told["contents"][0]["text"], "read");
    assert_eq!((&told["cacheScope"], &told["ttlMs"]), (&json!("private"), &json!(0)));
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn what_nobody_passed_on_is_no_method() {
    let bench = Bench::with("1s", &["--pass", "prompts"]);
    for (method, params) in [
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", json!({"uri": "note:///1"})),
        ("completion/complete", json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {}})),
        ("resources/subscribe", json!({"uri": "note:///1"})),
        ("resources/unsubscribe", json!({"uri": "note:///1"})),
        ("logging/setLevel", json!({"level": "debug"})),
        ("sampling/createMessage", json!({})),
        ("elicitation/create", json!({})),
        ("roots/list", json!({})),
        ("x/anything", json!({})),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = bench.door().post("/mcp/fixture", &body).expect(404).json();
        assert_eq!(answer["error"]["code"], -32601, "{method}");
    }
    for params in [
        json!({}),
        json!({"name": 1}),
        json!({"name": "greet", "extra": 1}),
        json!({"name": "greet", "task": {}}),
        json!({"name": "greet", "requestState": "x"}),
    ] {
        let answer = call(&bench, "/mcp/fixture", "prompts/get", params.clone());
        assert_eq!(answer["error"]["code"], -32602, "{params}");
    }
    let stranger = call(&bench, "/mcp", "prompts/get", json!({"name": "greet"}));
    assert_eq!(stranger["error"]["code"], -32602, "nobody's");
    assert_eq!(bench.calls(), [""; 0]);
    let add = ["mcp", "add", "other", "--yes", "--pass", "sampling", "--", "true"];
    bench.placet.cli(add).fails(64, "resources, prompts, completions");
}
