//! Two hundred canaries through everything that placet does: what is secret or somebody's stands in no log, in no metric,
//! in nothing that somebody else is answered, and readable in no file.
//!
//! Everything that an operator can switch on is switched on: `RUST_LOG=trace`.

mod canaries;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use placet_core::digest::Sha256Digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::PRINTENV_GETS_SHOP;
use crate::harness::{Answer, Cli, Http, Options, Placet, ended, eventually, walk};
use crate::people::Session;
use canaries::Canaries;

/// How many there have to be.
const CANARIES_MIN: usize = 200;

/// A placet with everybody that it takes, and the canaries that were let out.
struct Cage {
    placet: Placet,
    canaries: Canaries,
    /// Everything that anybody was answered: who, what they called, and what came.
    answers: RefCell<Vec<(String, String, Vec<u8>)>>,
    tokens: BTreeMap<&'static str, String>,
    names: BTreeMap<&'static str, String>,
}

impl Cage {
    fn new() -> Self {
        let placet = Options::default().env("RUST_LOG", "trace").env("PLACET__MCP__HOLD", "1s").start();
        let mut cage = Cage {
            placet,
            canaries: Canaries::default(),
            answers: RefCell::default(),
            tokens: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        cage.add_everybody();
        cage
    }

    fn canary(&self, what: &str) -> String {
        self.canaries.text(what)
    }

    fn add_everybody(&mut self) {
        for (who, groups) in [("reviewer", &["reviewers"][..]), ("stranger", &[]), ("leaver", &["reviewers"])]
        {
            let name = self.canary(&format!("people: name of {who}"));
            let address = format!("{}@corp.example", self.canary(&format!("people: address of {who}")));
            let add = self.placet.cli(["person", "add", &name, "--email", &address]);
            add.args(groups.iter().flat_map(|group| ["--group", group])).succeeds();
            self.placet.cli(["person", "add", &name]).fails(77, "name_taken");
            self.names.insert(who, name);
        }
        for who in ["one", "two"] {
            let name = self.canary(&format!("agents: name of {who}"));
            self.tokens.insert(who, self.placet.add_agent(&name));
            self.names.insert(who, name);
        }
    }

    /// The agents' door as one of them.
    fn agent(&self, who: &str) -> Http<'_> {
        self.placet.agents().bearer(Some(&self.tokens[who]))
    }

    /// A command as one of them.
    fn cli(&self, who: &str, arguments: &[&str]) -> Cli {
        self.placet.cli(arguments).env("PLACET_AGENT_TOKEN", &self.tokens[who])
    }

    /// Keeps what somebody was answered.
    fn heard(&self, who: &str, call: &str, answer: Answer) -> Answer {
        let head = format!("{:?}\n", answer.headers).into_bytes();
        self.answers.borrow_mut().push((
            who.to_owned(),
            call.to_owned(),
            [head, answer.body.clone()].concat(),
        ));
        answer
    }

    /// A deployment that asks people, with canaries wherever something can be written.
    fn deployment(&self, who: &str) -> Value {
        let canary = |what: &str| self.canary(&format!("{who}: {what}"));
        json!({
            "action": "example.deploy",
            "resource": { "type": "Example", "id": "production" },
            "arguments": { "service": canary("an argument"), "version": canary("another argument") },
            "justification": canary("a justification"),
            "idempotency_key": canary("a key"),
        })
    }

    /// Asks for a deployment.
    fn asked(&self, who: &str) -> Value {
        let door = self.agent(who);
        self.heard(who, "ask", door.post("/v1/requests", &self.deployment(who)).expect(201)).json()
    }

    /// Votes with a canary for a reason, on what is shown now.
    fn vote(&self, session: &Session<'_>, request: &Value, verdict: &str, whose: &str) -> Answer {
        let id = request["id"].as_str().unwrap();
        let mut ballot = session.ballot(id, verdict);
        ballot["reason"] = json!(self.canary(&format!("{whose}: reason of a vote")));
        session.cast(id, &ballot)
    }
}

/// The only command that waits for people.
fn waiting(reviewer: &Session<'_>) -> String {
    eventually("a command that waits", || {
        let listed = reviewer.door.get("/v1/reviews").expect(200).json();
        let mut requests = listed["reviews"].as_array().unwrap().iter().map(|line| &line["request"]);
        let found =
            requests.find(|request| request["action"] == "command.run" && request["status"] == "pending")?;
        found["id"].as_str().map(str::to_owned)
    })
}

fn path(request: &Value, rest: &str) -> String {
    format!("/v1/requests/{}{rest}", request["id"].as_str().unwrap())
}

/// Everything that agents do by themselves: approved, denied, withdrawn, refused, reported.
fn externals(cage: &Cage, reviewer: &Session<'_>, stranger: &Session<'_>) {
    for who in ["one", "two"] {
        let door = cage.agent(who);
        let carried_out = cage.asked(who);
        cage.vote(stranger, &carried_out, "approve", "stranger").problem(403, "no_standing");
        cage.vote(reviewer, &carried_out, "approve", who).expect(200);
        let claim =
            json!({ "digest": carried_out["digest"], "claim": cage.canary(&format!("{who}: a claim")) });
        let claimed =
            cage.heard(who, "claim", door.post(&path(&carried_out, "/execution"), &claim)).expect(200);
        let outcome = json!({
            "execution_id": claimed.json()["execution_id"], "outcome": "failed",
            "summary": cage.canary(&format!("{who}: a summary")),
            "measures": { cage.canary(&format!("{who}: a measure")): 1 },
        });
        cage.heard(who, "outcome", door.post(&path(&carried_out, "/outcome"), &outcome)).expect(200);
        let unknown = cage.asked(who);
        cage.vote(reviewer, &unknown, "approve", who).expect(200);
        let claim = json!({ "digest": unknown["digest"], "claim": cage.canary(&format!("{who}: a claim")) });
        let claimed = door.post(&path(&unknown, "/execution"), &claim).expect(200).json();
        let outcome = json!({ "execution_id": claimed["execution_id"], "outcome": "unknown",
            "summary": cage.canary(&format!("{who}: a summary of an unknown end")) });
        door.post(&path(&unknown, "/outcome"), &outcome).expect(200);
        let resolution = json!({ "text": cage.canary(&format!("{who}: a resolution")) });
        let id = unknown["id"].as_str().unwrap();
        reviewer.door.post(&format!("/v1/reviews/{id}/resolution"), &resolution).expect(200);
        let denied = cage.asked(who);
        cage.vote(reviewer, &denied, "deny", who).expect(200);
        assert_eq!(cage.vote(reviewer, &denied, "approve", who).status, 409);
        let withdrawn = cage.asked(who);
        cage.heard(who, "cancel", door.post_raw(&path(&withdrawn, "/cancel"), "")).expect(200);
        let mut elsewhere = cage.deployment(who);
        elsewhere["resource"]["id"] = json!(cage.canary(&format!("{who}: a resource")));
        cage.heard(who, "ask for what is not there", door.post("/v1/requests", &elsewhere)).expect(201);
        let mut undeclared = cage.deployment(who);
        undeclared["arguments"] = json!({
            cage.canary(&format!("{who}: a member's name")): [{ "password": cage.canary(&format!("{who}: a deep argument")) }],
        });
        cage.heard(who, "ask with more", door.post("/v1/requests", &undeclared)).expect(400);
        let mut foreign = cage.deployment(who);
        foreign["on_behalf_of"] = json!(cage.canary(&format!("{who}: a person who is not there")));
        cage.heard(who, "ask for somebody", door.post("/v1/requests", &foreign));
        cage.asked(who);
        for query in ["", "?limit=1", "?status=denied"] {
            cage.heard(who, "list", door.get(&format!("/v1/requests{query}"))).expect(200);
        }
        cage.heard(who, "read", door.get(&path(&denied, ""))).expect(200);
        let events = door.follow(&path(&denied, "/events")).rest();
        cage.answers.borrow_mut().push((who.to_owned(), "follow".to_owned(), events.into_bytes()));
        // The other one finds nothing of it, at any address.
        let other = if who == "one" { "two" } else { "one" };
        for rest in ["", "/events"] {
            cage.heard(other, "read another's", cage.agent(other).get(&path(&carried_out, rest)))
                .problem(404, "not_found");
        }
        for rest in ["/execution", "/outcome", "/cancel"] {
            let claim = json!({ "digest": carried_out["digest"], "claim": cage.canary(&format!("{other}: a claim")) });
            cage.heard(other, "use another's", cage.agent(other).post(&path(&carried_out, rest), &claim));
        }
    }
}

/// Calls that are wrong in every way, by everybody, at every door.
fn mistakes(cage: &Cage, reviewer: &Session<'_>) {
    let bare = cage.placet.agents().bearer(None);
    let doors = [
        ("one", cage.agent("one")),
        ("nobody", bare.clone()),
        ("reviewer", reviewer.door.clone()),
        ("nobody there", cage.placet.reviewers(None)),
    ];
    for (who, door) in doors {
        let canary = |what: &str| cage.canary(&format!("{who}: {what}"));
        let hear = |call: &str, answer: Answer| drop(cage.heard(who, call, answer));
        for route in ["/v1/requests", "/v1/commands", "/v1/reviews/x/votes", "/mcp/fixture"] {
            let bad = [
                format!("{{\"{}\": \"{}\"", canary("a torn member"), canary("a torn value")),
                json!({ "action": canary("a bad action"), "argv": canary("no list") }).to_string(),
                json!({ canary("a member nobody knows"): 1 }).to_string(),
            ];
            for body in bad {
                hear("bad JSON", door.post_raw(route, &body));
            }
            hear("bad media", door.post_as(route, &format!("text/{}", canary("a media type")), "x"));
        }
        hear("bad path", door.get(&format!("/{}/{}", canary("a path"), canary("a deep path"))));
        hear("bad id", door.get(&format!("/v1/requests/{}", canary("an id"))));
        hear("bad query", door.get(&format!("/v1/requests?{}={}", canary("a key"), canary("a value"))));
        hear("bad cursor", door.get(&format!("/v1/requests?cursor={}", canary("a cursor"))));
        hear("bad page", door.get(&format!("/r/{}?page={}", canary("a code"), canary("a page"))));
        hear("bad link", door.get(&format!("/join/{}", canary("a link"))));
        hear("bad search", door.get(&format!("/v1/audit/requests?by={}", canary("a search"))));
        let method = Method::from_bytes(canary("a method").as_bytes()).unwrap();
        hear("bad method", door.send(method, "/v1/requests", Vec::new()));
        let digest = Sha256Digest::of(b"other bytes");
        hear("bad blob", door.put(&format!("/v1/blobs/{digest}"), canary("bytes of a bad blob").as_bytes()));
        let headers = [
            ("user-agent", canary("a client")),
            ("referer", format!("http://{}.example/", canary("a referrer"))),
            ("x-forwarded-for", format!("203.0.113.77, {}", canary("a forwarded address"))),
            ("forwarded", format!("for={}", canary("another forwarded address"))),
            ("cookie", format!("placet={}", canary("a cookie"))),
            ("x-request-id", canary("an id of a call")),
            ("origin", format!("http://{}.example", canary("an origin"))),
            ("last-event-id", canary("an event")),
            ("idempotency-key", canary("a key in a header")),
        ];
        let odd = headers.iter().fold(door.clone(), |door, (name, value)| door.header(name, value));
        hear("odd headers", odd.get("/v1/requests"));
        hear("odd headers", odd.post("/v1/requests", &json!({})));
        let host = door.clone().header("host", &format!("{}.example", canary("a host")));
        hear("odd host", host.get("/"));
        let token = format!("placet_agent_{}", canary("a token"));
        hear("bad token", door.bearer(Some(&token)).get("/v1/requests"));
    }
}

/// Programs: their words, inputs, environment, output, secrets.
fn commands(cage: &Cage, reviewer: &Session<'_>) {
    let secret = cage.canary("secret: of a program");
    cage.placet.cli(["secret", "set", "shop"]).stdin(secret.clone()).succeeds();
    cage.placet
        .cli(["secret", "set", "Not A Name"])
        .stdin(cage.canary("secret: refused"))
        .fails(64, "bad_name");
    let runner = cage.placet.policy().join("runner.toml");
    let text = fs::read_to_string(&runner).unwrap();
    let text = text.replace("danger_same_user = true", "danger_same_user = true\nrecord = \"all\"");
    fs::write(&runner, text + PRINTENV_GETS_SHOP).unwrap();
    cage.placet.activate();
    let input = cage.placet.space().join(cage.canary("one: name of an input"));
    fs::write(&input, cage.canary("one: bytes of an input")).unwrap();
    let script = "cat *; cat; echo \"$0\" >&2; printf '\\033[1m%s' \"$1\"";
    let run = |words: &[&str]| {
        let client = cage.cli("one", &["run", "-j", &cage.canary("one: why a command")]);
        let client = client.arg("--input").arg(&input).arg("--").args(words);
        let client = client.env("PGPASSWORD", cage.canary("one: environment of a client"));
        let client = client.env("RUST_LOG", "trace").stdin(cage.canary("one: standard input")).spawn();
        let id = waiting(reviewer);
        cage.vote(reviewer, &json!({ "id": id }), "approve", "one").expect(200);
        let ended = ended(client);
        assert!(
            cage.canaries.seen_in(ended.stderr.as_bytes()).iter().all(|seen| seen.what.starts_with("one: "))
        );
        (id, ended)
    };
    let words = [cage.canary("one: a word of a command"), cage.canary("one: a printed word")];
    let (id, told) = run(&["/bin/sh", "-c", script, &words[0], &words[1]]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains(&words[1]), "{told:?}");
    for page in ["", "/recording", "/recording/events"] {
        reviewer.cookie.get(&format!("/r/{id}{page}")).expect(200);
    }
    cage.placet.cli(["audit", "recording", &id, "-o"]).arg(cage.placet.space().join("one.cast")).succeeds();
    // One that prints a secret is stopped, and nobody gets it.
    let (id, told) = run(&["printenv", "PASSWORD"]);
    assert_ne!(told.code, 0, "{told:?}");
    assert!(!format!("{told:?}").contains(&secret), "{told:?}");
    let cast = reviewer.cookie.get(&format!("/v1/reviews/{id}/recording"));
    assert!(!cast.text().contains(&secret), "{}", cast.text());
    // One that nobody has, one that is killed, one that is denied.
    let absent = format!("/no/such/{}", cage.canary("one: a program that is not there"));
    cage.cli("one", &["run", "--", &absent]).fails(64, "no_such_program");
    let (_, told) = run(&["/bin/sh", "-c", "kill -KILL $$", &cage.canary("one: a word of a killed command")]);
    assert_eq!(told.code, 137, "{told:?}");
    let client =
        cage.cli("one", &["run", "--", "/bin/echo", &cage.canary("one: a word of a denied command")]).spawn();
    let id = waiting(reviewer);
    cage.vote(reviewer, &json!({ "id": id }), "deny", "one").expect(200);
    assert_eq!(ended(client).code, 77);
}

/// Tools: arguments, results, what servers mutter, and what clients send that is no call.
fn tools(cage: &Cage, reviewer: &Session<'_>) -> PathBuf {
    let home = cage.placet.space().join("server");
    fs::create_dir(&home).unwrap();
    let secret = cage.canary("secret: of a server");
    cage.placet.cli(["secret", "set", "fixture"]).stdin(secret.clone()).succeeds();
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server.py");
    let add = [
        "mcp",
        "add",
        "fixture",
        "--yes",
        "--secret",
        "SHOP_PASSWORD=fixture",
        "--",
        "/usr/bin/env",
        "python3",
    ];
    cage.placet.cli(add).arg(server).arg(&home).succeeds();
    let names = ["echo", "leak", "die", "mutter", "refuse"];
    cage.placet.cli(["mcp", "accept", "fixture", "--yes"]).args(names).succeeds();
    let call = |who: &str, tool: &str, arguments: &Value| {
        let door = cage.agent(who).header("accept", "application/json, text/event-stream");
        let body = json!({ "jsonrpc": "2.0", "id": cage.canary(&format!("{who}: id of a call")), "method": "tools/call",
            "params": { "name": tool, "arguments": arguments } });
        cage.heard(who, tool, door.post("/mcp/fixture", &body)).text()
    };
    for who in ["one", "two"] {
        for tool in names {
            let canary = cage.canary(&format!("{who}: an argument of {tool}"));
            let arguments =
                if matches!(tool, "leak" | "die") { json!({}) } else { json!({ "text": canary }) };
            let pending = call(who, tool, &arguments);
            let id =
                pending.split("\\\"approval_id\\\":\\\"").nth(1).and_then(|rest| rest.split('\\').next());
            let id = id.unwrap_or_else(|| panic!("{tool}: {pending}")).to_owned();
            cage.vote(reviewer, &json!({ "id": id }), "approve", who).expect(200);
            let told = call(who, "placet_await_approval", &json!({ "approval_id": id }));
            assert!(!told.contains(&secret), "{tool}: {told}");
            if tool == "echo" {
                assert!(told.contains(&canary), "{told}");
            }
        }
        let pending = call(who, "refuse", &json!({ "text": "secret" }));
        let id =
            pending.split("\\\"approval_id\\\":\\\"").nth(1).unwrap().split('\\').next().unwrap().to_owned();
        cage.vote(reviewer, &json!({ "id": id }), "approve", who).expect(200);
        let told = call(who, "placet_await_approval", &json!({ "approval_id": id }));
        assert!(told.contains("its words are withheld"), "{told}");
        let canary = |what: &str| cage.canary(&format!("{who}: {what}"));
        let door = cage.agent(who).header("accept", "application/json");
        for body in [
            json!({ "jsonrpc": "2.0", "id": 1, "method": canary("a method of MCP") }),
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": canary("a tool") } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "message": canary("a notice") } }),
            json!({ "jsonrpc": "2.0", "id": { canary("no id"): 1 }, "method": "ping" }),
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": "echo", "arguments": { canary("no argument"): 1 } } }),
        ] {
            cage.heard(who, "no call", door.post("/mcp/fixture", &body));
        }
        let named = door
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-name", &canary("a name in a header"));
        cage.heard(
            who,
            "no call",
            named.post("/mcp/fixture", &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })),
        );
    }
    // A server that does not start says why to operators, and its secret to nobody.
    fs::write(home.join("fail"), "yes").unwrap();
    let other = cage.canary("secret: of a server, its second version");
    cage.placet.cli(["secret", "set", "fixture"]).stdin(other.clone()).succeeds();
    let listed = cage.placet.cli(["mcp", "ls"]).run();
    let listed = format!("{}{}", String::from_utf8_lossy(&listed.stdout), listed.stderr);
    assert!(listed.contains("last words: withheld") && !listed.contains(&other), "{listed}");
    let refused = call("one", "echo", &json!({ "text": cage.canary("one: an argument that goes nowhere") }));
    assert!(refused.contains("cannot be reached") && !refused.contains("last words"), "{refused}");
    home
}

/// What operators do, well and badly: policy, questions, evidence, backups, recordings, tokens.
fn operators(cage: &Cage) -> Vec<PathBuf> {
    let placet = &cage.placet;
    let never = placet.policy().join("never.cedar");
    let before = fs::read_to_string(&never).unwrap();
    fs::write(&never, format!("forbid (principal, {}", cage.canary("operator: torn policy"))).unwrap();
    placet.cli(["policy", "activate", "--yes"]).arg(placet.policy()).fails(1, "");
    fs::write(&never, before).unwrap();
    placet.cli(["policy", "stage"]).arg(placet.policy()).run();
    for name in cage.names.values() {
        placet.cli(["audit", "search", "--by", name]).run();
        placet.cli(["audit", "search", "--reviewer", name]).run();
    }
    placet.cli(["audit", "search", "--by", &cage.canary("operator: a search for nobody")]).run();
    placet
        .cli([
            "audit",
            "search",
            "--resource",
            &format!("Example::\"{}\"", cage.canary("operator: a resource")),
        ])
        .run();
    placet.cli(["audit", "reindex"]).succeeds();
    let all = cage.agent("one").get("/v1/requests?limit=50").expect(200).json();
    for request in all["requests"].as_array().unwrap().iter().step_by(4) {
        let id = request["id"].as_str().unwrap();
        placet.cli(["audit", "show", id]).succeeds();
        placet.cli(["policy", "explain", id]).run();
    }
    let request = all["requests"][0]["id"].as_str().unwrap();
    placet.cli(["audit", "bundle", request, "-o"]).arg(placet.space().join("evidence")).succeeds();
    placet.cli(["doctor"]).run();
    let (backup, keys) = (placet.space().join("backup"), placet.space().join("backup-keys"));
    placet.cli(["backup"]).arg(&backup).arg("--keys").arg(&keys).succeeds();
    placet.cli(["backup", "--verify"]).arg(&backup).succeeds();
    placet.cli(["backup"]).arg(placet.space().join(cage.canary("operator: a directory")).join("no")).run();
    vec![backup, keys]
}

/// A gateway elsewhere: what it logs and keeps.
fn gateway(cage: &Cage, reviewer: &Session<'_>) -> (PathBuf, Vec<u8>) {
    let (space, name) = (cage.placet.space(), cage.canary("agents: name of a gateway"));
    let (token, home, log) = (space.join("pep.token"), space.join("gateway"), space.join("gateway.log"));
    let added = cage.placet.cli(["pep", "add", &name, "--kind", "command", "--sponsor", "Ada"]).succeeds();
    fs::write(&token, added).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let agents = &cage.placet.ready.agents;
    let command = cage.placet.cli(["gateway", "--json", "--listen", "127.0.0.1:0", "--authority", agents]);
    let command = command.arg("--pep-token-file").arg(&token).env("PLACET__GATEWAY__DIR", &home);
    let mut process = command.without("PLACET_AGENT_TOKEN").env("RUST_LOG", "trace").spawn_talking_into(&log);
    let mut line = String::new();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let words = ["run", "-j", &cage.canary("one: why elsewhere"), "--", "printenv", "PLACET_EXECUTION"];
    let client = cage.cli("one", &words).env("PLACET_AGENTS_URL", ready["agents"].as_str().unwrap());
    let client = client.stdin(cage.canary("one: standard input elsewhere")).spawn();
    let id = waiting(reviewer);
    cage.vote(reviewer, &json!({ "id": id }), "approve", "one").expect(200);
    assert_eq!(ended(client).code, 0);
    process.kill().unwrap();
    process.wait().unwrap();
    (home, fs::read(log).unwrap())
}

/// Every level that there is was logged, by whoever was called.
fn is_loud(log: &str) {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (level, target, says) in [
        ("TRACE", "placet_store", "committed"),
        ("DEBUG", "placet_server", "received"),
        ("INFO", "", "answered"),
    ] {
        let found = lines.iter().any(|line| {
            let of = line["target"].as_str().unwrap_or_default();
            line["level"] == level && of.starts_with(target) && line["fields"]["message"] == says
        });
        assert!(found, "nothing of {target} at {level} in {log}");
    }
}

/// Fails with everything that was seen and may not be.
fn only(cage: &Cage, place: &str, bytes: &[u8], may: impl Fn(&str) -> bool) {
    let seen = cage.canaries.seen_in(bytes).into_iter().filter(|seen| !may(&seen.what));
    let seen: Vec<_> = seen.collect();
    assert!(seen.is_empty(), "in {place}: {seen:#?}");
}

fn nothing(_: &str) -> bool {
    false
}

fn only_in_files(cage: &Cage, directory: &Path) {
    for file in walk(directory) {
        // Sockets cannot be read.
        let Ok(bytes) = fs::read(&file) else { continue };
        // Inputs lie there for a day, which the threat model says.
        let is_input = file.starts_with(directory.join("blobs"));
        let may =
            |what: &str| is_input && (what == "one: bytes of an input" || what.contains(": standard input"));
        only(cage, &file.display().to_string(), &bytes, may);
    }
}

/// What each was answered is theirs, and what people read of one's request is that request's.
fn everybody_reads_their_own(cage: &Cage, reviewer: &Session<'_>) {
    for (who, call, answer) in cage.answers.borrow().iter() {
        let own = [format!("{who}: "), format!("agents: name of {who}"), format!("people: name of {who}")];
        only(cage, &format!("{call}, as {who}"), answer, |what| own.iter().any(|own| what.starts_with(own)));
    }
    for who in ["one", "two"] {
        let all = cage.agent(who).get("/v1/requests?limit=50").expect(200).json();
        let own = [format!("{who}: "), format!("agents: name of {who}")];
        // Who reviews knows the people, and which gateway would run a command.
        let known = ["people: name of", "stranger: reason of a vote", "agents: name of a gateway"];
        let own = |what: &str| {
            own.iter().any(|own| what.starts_with(own)) || known.iter().any(|known| what.starts_with(known))
        };
        let requests = all["requests"].as_array().unwrap();
        assert!(requests.len() > 5, "{all}");
        for request in requests {
            let id = request["id"].as_str().unwrap();
            for page in [format!("/v1/reviews/{id}"), format!("/r/{id}")] {
                let answer = reviewer.cookie.get(&page);
                // What policy decided alone is nobody's review.
                if answer.status != 404 {
                    only(cage, &page, &answer.expect(200).body, own);
                }
            }
        }
    }
}

/// What of this can be read in the log's disclosures.
fn disclosed(cage: &Cage, of: &str) -> BTreeSet<String> {
    let entries = cage.placet.admin_text("/admin/v1/audit/entries?limit=200");
    let seen = cage.canaries.seen_in(entries.as_bytes()).into_iter().map(|seen| seen.what);
    seen.filter(|what| what.starts_with(of)).collect()
}

#[test]
fn canaries_are_seen_by_whom_they_belong_to_and_stand_nowhere_else() {
    let mut cage = Cage::new();
    let reviewer = cage.placet.session_of(&cage.names["reviewer"]);
    let stranger = cage.placet.session_of(&cage.names["stranger"]);
    externals(&cage, &reviewer, &stranger);
    mistakes(&cage, &reviewer);
    commands(&cage, &reviewer);
    tools(&cage, &reviewer);
    let (elsewhere, its_log) = gateway(&cage, &reviewer);
    let backups = operators(&cage);
    everybody_reads_their_own(&cage, &reviewer);
    only(&cage, "metrics", cage.placet.admin_text("/metrics").as_bytes(), nothing);
    only_in_files(&cage, &cage.placet.data());
    backups.iter().chain([&elsewhere]).for_each(|directory| only_in_files(&cage, directory));
    only(&cage, "the log of a gateway", &its_log, nothing);
    is_loud(&cage.placet.log());

    // What was erased can be read nowhere, and what is left proves that nothing was taken out.
    assert!(disclosed(&cage, "one: ").len() > 5, "there was something to erase");
    let key = cage.placet.log_key();
    let open = cage.agent("one").get("/v1/requests?status=pending").expect(200).json();
    for request in open["requests"].as_array().unwrap() {
        cage.agent("one").post_raw(&path(request, "/cancel"), "").expect(200);
    }
    for (what, who, end) in [("agent", "one", "revoke"), ("person", "leaver", "disable")] {
        cage.placet.cli([what, end, &cage.names[who]]).succeeds();
        cage.placet.cli([what, "erase", &cage.names[who]]).succeeds();
    }
    for erased in ["one: ", "people: name of leaver"] {
        assert_eq!(disclosed(&cage, erased), BTreeSet::new());
    }
    assert!(disclosed(&cage, "two: ").len() > 2, "only what was erased");
    cage.placet.cli(["audit", "checkpoint"]).succeeds();
    drop((reviewer, stranger));

    let Cage { placet, canaries, .. } = cage;
    let stopped = placet.crash();
    let log = stopped.log();
    cage = Cage {
        placet: stopped.start(),
        canaries,
        answers: RefCell::default(),
        tokens: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    only_in_files(&cage, &cage.placet.data());
    cage.placet.cli(["audit", "verify", "--vkey", &key]).succeeds();
    only(&cage, "the log", log.as_bytes(), nothing);
    only(&cage, "the log after a restart", cage.placet.log().as_bytes(), nothing);
    assert!(cage.canaries.len() >= CANARIES_MIN, "only {}", cage.canaries.len());
}
