//! Tools behind placet when things go wrong: servers that die, flood and lie, clients that come and go, and a power cut with a
//! thousand calls held.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Http, Options, Placet, at_once, eventually};
use crate::tools::{pending, result, text};

const ACCEPTED: [&str; 6] = ["echo", "flood", "huge", "garbage", "asks", "answers"];

/// A placet with a server behind it that behaves as it is told.
struct Rough {
    placet: Placet,
    home: PathBuf,
}

impl Rough {
    fn start() -> Self {
        Self::with(Options::default().env("PLACET__MCP__HOLD", "1s"))
    }

    fn with(options: Options) -> Self {
        let placet = options.start();
        let home = placet.space().join("server");
        fs::create_dir(&home).unwrap();
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/rough.py");
        let command = ["mcp", "add", "rough", "--yes", "--", "/usr/bin/env", "python3", server];
        placet.cli(command).arg(&home).succeeds();
        let rough = Rough { placet, home };
        rough.placet.cli(["mcp", "accept", "rough", "--yes"]).args(ACCEPTED).succeeds();
        rough
    }

    fn crash(self) -> Self {
        Rough { placet: self.placet.crash().start(), home: self.home }
    }

    fn tell(&self, name: &str) {
        fs::write(self.home.join(name), "").unwrap();
    }

    fn untell(&self, name: &str) {
        fs::remove_file(self.home.join(name)).unwrap();
    }

    /// How often the server was called with this text.
    fn calls(&self, text: &str) -> usize {
        let calls = fs::read_to_string(self.home.join("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.contains(text)).count()
    }

    fn door(&self) -> Http<'_> {
        self.placet.agents().header("accept", "application/json, text/event-stream")
    }

    fn call(&self, tool: &str, text: &str) -> Value {
        result(&self.door().post("/mcp/rough", &asking(tool, text)).expect(200))
    }

    /// The same call again until it says this.
    fn until(&self, tool: &str, said: &str, expected: &str) -> Value {
        eventually(expected, || Some(self.call(tool, said)).filter(|told| text(told).contains(expected)))
    }

    fn approved(&self, tool: &str, text: &str) -> String {
        let id = pending(&self.call(tool, text));
        self.placet.session_of("Ada").approve(&id);
        id
    }
}

fn asking(tool: &str, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": text}}})
}

/// What the fixture answers.
fn echoed(said: &str) -> String {
    format!("{{\"text\": \"{said}\"}}")
}

#[test]
fn a_server_that_is_down_costs_no_approval() {
    let rough = Rough::start();
    rough.approved("echo", "before");
    // It dies after the approval and before the dispatch, and does not come up again.
    rough.tell("down");
    for _ in 0..2 {
        let told = rough.call("echo", "before");
        assert!(text(&told).starts_with("NOT EXECUTED. The server rough cannot be reached"), "{told}");
    }
    assert_eq!(rough.calls("before"), 0);
    rough.untell("down");
    rough.until("echo", "before", &echoed("before"));
    // It dies as soon as it has answered: what it said counts, and the next call finds it alive.
    rough.tell("die-afterwards");
    rough.approved("echo", "after");
    assert_eq!(text(&rough.call("echo", "after")), echoed("after"));
    rough.untell("die-afterwards");
    rough.approved("echo", "again");
    rough.until("echo", "again", &echoed("again"));
    assert_eq!(["before", "after", "again"].map(|said| rough.calls(said)), [1, 1, 1]);
    assert_eq!(rough.placet.verdicts("execution.finished"), ["succeeded"; 3]);
}

#[test]
fn a_server_that_floods_lies_and_asks_is_heard_for_what_it_was_asked() {
    let rough = Rough::start();
    for tool in ["flood", "asks", "answers"] {
        rough.approved(tool, "x");
        rough.until(tool, "x", &echoed("x"));
        assert_eq!(rough.calls(tool), 1);
    }
    // A line that is no UTF-8 is no message, and so no answer either: the one after it is.
    rough.approved("garbage", "x");
    rough.until("garbage", "x", &echoed("x"));
    // A hundred megabytes are not read to their end. Nobody knows what the call did, and it is not made again.
    rough.approved("huge", "x");
    let told = rough.until("huge", "x", "is not known");
    assert!(told.to_string().len() < 10_000, "none of it is passed on");
    rough.approved("echo", "alive");
    rough.until("echo", "alive", &echoed("alive"));
    assert_eq!((rough.calls("huge"), rough.calls("alive")), (1, 1));
}

#[test]
fn a_list_without_end_offers_nothing() {
    let rough = Rough::start();
    let listed = |rough: &Rough| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let tools = result(&rough.door().post("/mcp/rough", &body).expect(200))["tools"].clone();
        tools.as_array().unwrap().len()
    };
    assert_eq!(listed(&rough), ACCEPTED.len() + 1);
    for told in ["endless", "crowded"] {
        rough.tell(told);
        let shown = rough.placet.cli(["mcp", "ls"]).fails(1, "");
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("more than"), "{shown}");
        // What is approved in the meantime is held against a list that is read anew.
        rough.approved("echo", told);
        assert!(text(&rough.call("echo", told)).contains("cannot be reached"), "{told}");
        rough.untell(told);
        rough.until("echo", told, &echoed(told));
        assert_eq!(rough.calls(told), 1);
    }
}

#[test]
fn a_tool_with_a_name_of_ours_is_none() {
    let rough = Rough::start();
    let shown = rough.placet.cli(["mcp", "show", "rough"]).succeeds();
    assert!(shown.contains("placet_await_approval") && shown.contains("placet's own"), "{shown}");
    let refused = rough.placet.cli(["mcp", "accept", "rough", "--yes", "placet_await_approval"]);
    refused.fails(64, "placet_await_approval");
    // Nor does policy take it, whoever wrote it there.
    let file = rough.placet.policy().join("mcp/rough.tools.jsonl");
    let line = r#"{"name":"placet_await_approval","inputSchema":{"type":"object"}}"#;
    fs::write(&file, format!("{}{line}\n", fs::read_to_string(&file).unwrap())).unwrap();
    rough.placet.cli(["policy", "activate", "--yes"]).arg(rough.placet.policy()).fails(1, "placet's own");
}

#[test]
fn a_client_that_comes_and_goes_is_served_once() {
    let rough = Rough::with(Options::default().env("PLACET__MCP__HOLD", "20s"));
    let (url, token) = (rough.placet.ready.agents.clone(), rough.placet.ready.agent_token.clone().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let hung_up = |said: &str| {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(700)).build().unwrap();
        let call = http.post(format!("{url}/mcp/rough")).bearer_auth(&token).json(&asking("echo", said));
        let call = call.header("accept", "application/json, text/event-stream");
        runtime.block_on(async { call.send().await?.text().await }).unwrap_err()
    };
    for _ in 0..3 {
        assert!(hung_up("gone").is_timeout());
    }
    let session = rough.placet.session_of("Ada");
    let id = session.waiting();
    assert_eq!(session.door.get("/v1/reviews").expect(200).json()["reviews"].as_array().unwrap().len(), 1);
    session.approve(&id);
    assert_eq!(rough.calls("gone"), 0, "nobody waits for it, so it is not carried out");
    // Twenty come back for it at once.
    let door = rough.door();
    let calls: Vec<_> =
        (0..20).map(|_| (door.clone(), "/mcp/rough".to_owned(), asking("echo", "gone"))).collect();
    for answer in at_once(&calls) {
        assert_eq!(text(&result(&answer)), echoed("gone"));
    }
    assert_eq!(rough.calls("gone"), 1);
    assert_eq!(rough.placet.verdicts("execution.started").len(), 1);
}

#[test]
fn what_was_altered_after_the_review_is_something_else() {
    let rough = Rough::start();
    rough.approved("echo", "9007199254740992");
    for other in ["9007199254740993", "9007199254740992 ", "\u{ff19}007199254740992"] {
        pending(&rough.call("echo", other));
    }
    assert_eq!(rough.calls(""), 0);
    assert_eq!(text(&rough.call("echo", "9007199254740992")), echoed("9007199254740992"));
    assert_eq!(rough.calls(""), 1);
}

#[test]
fn an_agent_holds_as_much_as_it_may_and_is_told_when_it_is_too_much() {
    let rough = Rough::start();
    let door = rough.door();
    let call =
        |place: usize| (door.clone(), "/mcp/rough".to_owned(), asking("echo", &format!("call {place}.")));
    let calls: Vec<_> = (0..200).map(call).collect();
    let told: Vec<Value> = at_once(&calls).iter().map(result).collect();
    let (held, refused): (Vec<&Value>, Vec<&Value>) =
        told.iter().partition(|told| told["_meta"]["dev.placet/approval"]["status"] == "pending");
    assert_eq!((held.len(), refused.len()), (50, 150));
    for refused in refused {
        assert!(text(refused).starts_with("NOT EXECUTED.") && refused["isError"] == true, "{refused}");
    }
    // What waits is not in the way of anybody else.
    let other = rough.placet.add_agent("other");
    let call = door.bearer(Some(&other)).post("/mcp/rough", &asking("echo", "other"));
    pending(&result(&call.expect(200)));
}

/// How many calls are held when the power goes: a thousand, or as many as `PLACET_HELD` says.
fn held_calls() -> usize {
    std::env::var("PLACET_HELD").map_or(1_000, |count| count.parse().unwrap())
}

/// One credential may hold 256 calls open.
const HELD_EACH: usize = 200;
/// Of how many of them somebody decides around that moment.
const DECIDED: usize = 60;

#[test]
fn a_power_cut_with_a_thousand_calls_held_loses_none_and_repeats_none() {
    let held = held_calls();
    let connections = (held + 1_000).to_string();
    let many = [
        ("PENDING", "2000"),
        ("CALLS_PER_MINUTE", "100000"),
        ("REVIEWS_PER_HOUR", "100000"),
        ("CONNECTIONS", &connections),
    ];
    let options = Options::default().env("PLACET__MCP__HOLD", "1h");
    let rough = Rough::with(
        many.iter()
            .fold(options, |options, (name, value)| options.env(&format!("PLACET__LIMITS__{name}"), value)),
    );
    let said = |place: usize| format!("held {place}.");
    let agents = 0..held.div_ceil(HELD_EACH);
    let tokens: Vec<String> = agents.map(|agent| rough.placet.add_agent(&format!("agent-{agent}"))).collect();
    let token = |place: usize| tokens[place % tokens.len()].clone();
    let url = rough.placet.ready.agents.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let all =
        |rough: &Rough| tokens.iter().flat_map(|token| requests(rough, token)).collect::<BTreeMap<_, _>>();
    for place in 0..held {
        let call = http
            .post(format!("{url}/mcp/rough"))
            .bearer_auth(token(place))
            .json(&asking("echo", &said(place)));
        let call = call.header("accept", "application/json, text/event-stream");
        // Whether an answer comes before the power goes is chance.
        runtime.spawn(async move { call.send().await.ok()?.text().await.ok() });
        // A busy machine takes its time for a thousand.
        if (place + 1) % 100 == 0 {
            eventually("a hundred more", || (all(&rough).len() > place).then_some(()));
        }
    }
    let before = all(&rough);
    // People decide, and in the middle of it the power goes.
    let session = rough.placet.session_of("Ada");
    for place in 0..DECIDED / 2 {
        session.approve(&before[&said(place)].0);
    }
    drop(runtime);
    let rough = rough.crash();
    let after = all(&rough);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "none is lost");
    assert!(after.iter().all(|(said, (id, _))| *id == before[said].0), "each is the one that it was");
    let session = rough.placet.session_of("Ada");
    for place in DECIDED / 2..DECIDED {
        session.approve(&before[&said(place)].0);
    }
    let call = |place| {
        (rough.door().bearer(Some(&token(place))), "/mcp/rough".to_owned(), asking("echo", &said(place)))
    };
    let calls: Vec<_> = (0..DECIDED).map(call).collect();
    let mut unknown = BTreeSet::new();
    for (place, answer) in at_once(&calls).iter().enumerate() {
        let told = result(answer);
        let is_result = text(&told) == echoed(&said(place));
        let is_unknown = ["is not known", "nobody knows"].iter().any(|words| text(&told).contains(words));
        assert!(is_result || is_unknown, "{told}");
        if !is_result {
            unknown.insert(place);
        }
    }
    // Only what was going on at that moment can be unknown, and it happened once or not at all.
    assert!(unknown.iter().all(|place| *place < DECIDED / 2), "{unknown:?}");
    for place in 0..held {
        let calls = rough.calls(&said(place));
        let expected = if unknown.contains(&place) {
            0..=1
        } else if place < DECIDED {
            1..=1
        } else {
            0..=0
        };
        assert!(expected.contains(&calls), "call {place}: {calls}");
    }
    assert_eq!(all(&rough).values().filter(|(_, status)| status == "pending").count(), held - DECIDED);
}

/// An agent's own requests: id and status, by what they say.
fn requests(rough: &Rough, token: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let mut cursor = String::new();
    let door = rough.placet.agents().bearer(Some(token));
    loop {
        let page = door.get(&format!("/v1/requests?limit=200{cursor}")).expect(200).json();
        for request in page["requests"].as_array().unwrap() {
            let field = |name: &str| request[name].as_str().unwrap().to_owned();
            let canonical: Value = serde_json::from_str(&field("canonical")).unwrap();
            let said = canonical["arguments"]["arguments"]["text"].as_str().unwrap().to_owned();
            assert!(found.insert(said, (field("id"), field("status"))).is_none(), "two of one call");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}
