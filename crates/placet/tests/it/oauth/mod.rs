//! Servers that want tokens of an authorization server: how an operator logs in, how tokens are renewed, whom they reach,
//! and what is refused.

mod issuer;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Answer, Ended, Http, Options, Placet, binary, walk};
use crate::tools::{pending, result, text};
use issuer::{CLIENT_SECRET, Issuer};

const RULE: &str = "[[tool]]\nserver = \"fixture\"\ntool = \"echo\"\narguments = [\"text\"]\naction = \"example.deploy\"\nresource = { type = \"Example\", id = 'args.text' }\n";

/// A placet in front of a server that wants tokens. What is said to `staging` is permitted, to `production` it is asked about.
struct Bench {
    placet: Placet,
    issuer: Issuer,
}

impl Bench {
    /// Added with these flags.
    fn with(flags: &[&str]) -> Self {
        let placet = Options::default().env("PLACET__MCP__HOLD", "1s").start();
        let issuer = Issuer::start();
        placet.cli(["secret", "set", "client"]).stdin(CLIENT_SECRET).succeeds();
        fs::write(placet.policy().join("mapping.toml"), RULE).unwrap();
        let url = format!("{}/mcp", issuer.url);
        placet.cli(["mcp", "add", "fixture", "--yes", "--oauth", "--url", &url]).args(flags).succeeds();
        Bench { placet, issuer }
    }

    /// And logged in, its tool accepted.
    fn start() -> Self {
        let bench = Self::with(&[]);
        bench.logs_in();
        bench.accept();
        bench
    }

    fn accept(&self) {
        self.placet.cli(["mcp", "accept", "fixture", "--all", "--yes"]).succeeds();
    }

    /// Begins a login, as `placet mcp login` does, with its browser elsewhere.
    fn begin(&self) -> Begun {
        let mut command = Command::new(binary());
        command
            .args(["mcp", "login", "fixture", "--paste", "--json"])
            .env_clear()
            .env("PLACET_DIR", self.placet.data());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let talk = BufReader::new(child.stderr.take().unwrap());
        let mut begun = Begun { address: String::new(), child, talk };
        let mut said = String::new();
        while !begun.address.starts_with("http") {
            begun.address.clear();
            assert!(begun.talk.read_line(&mut begun.address).unwrap() > 0, "it told no address: {said}");
            said.push_str(&begun.address);
        }
        begun.address = begun.address.trim().to_owned();
        begun
    }

    fn logs_in(&self) -> Value {
        let begun = self.begin();
        let back = self.issuer.consent(&begun.address);
        let ended = begun.paste(&back);
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// What a login comes to that cannot begin.
    fn refuses_login(&self, says: &str) -> Ended {
        self.placet.cli(["mcp", "login", "fixture", "--paste"]).run_and_find(says)
    }

    fn door(&self) -> Http<'_> {
        self.placet.agents().header("accept", "application/json, text/event-stream")
    }

    fn post(&self, tool: &str, arguments: &Value) -> Answer {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments}});
        self.door().post("/mcp/fixture", &call).expect(200)
    }

    fn say(&self, words: &str) -> Value {
        result(&self.post("echo", &json!({"text": words})))
    }

    fn logins(&self) -> Value {
        self.placet.admin("/admin/v1/mcp/logins")[0].clone()
    }

    fn version(&self) -> Value {
        let secrets = self.placet.admin("/admin/v1/secrets");
        let login = secrets.as_array().unwrap().iter().find(|secret| secret["name"] == "oauth.fixture");
        login.map(|login| login["version"].clone()).unwrap_or_default()
    }
}

/// A login that waits for what the browser brings back.
struct Begun {
    address: String,
    child: Child,
    talk: BufReader<ChildStderr>,
}

impl Begun {
    fn paste(mut self, address: &str) -> Ended {
        writeln!(self.child.stdin.take().unwrap(), "{address}").unwrap();
        let mut stderr = String::new();
        self.talk.read_to_string(&mut stderr).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Ended { code: output.status.code().unwrap(), stdout: output.stdout, stderr }
    }
}

impl crate::harness::Cli {
    fn run_and_find(self, says: &str) -> Ended {
        let ended = self.run();
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains(says), "{says:?} is not in {ended:?}");
        ended
    }
}

#[test]
fn an_operator_logs_in_and_nobody_else_sees_the_token() {
    let bench = Bench::with(&[]);
    let shown = bench.placet.cli(["mcp", "ls"]).run();
    let says = "nobody has logged in there: ask an operator to run `placet mcp login fixture`";
    assert!(String::from_utf8(shown.stdout).unwrap().contains(says));
    assert_eq!(bench.logins()["standing"], "none");
    let doctor = bench.placet.cli(["doctor"]).run();
    assert!(String::from_utf8(doctor.stdout).unwrap().contains("placet mcp login fixture"));

    let login = bench.logs_in();
    assert_eq!(login, bench.logins());
    let expected = json!({"server": "fixture", "standing": "good", "issuer": bench.issuer.url, "scopes": ["read"],
        "renewable": true, "until": login["until"]});
    assert_eq!(login, expected);
    {
        let state = bench.issuer.state();
        let asked = &state.asked[0];
        assert_eq!(asked["resource"], format!("{}/mcp", bench.issuer.url));
        assert_eq!((asked["scope"].as_str(), asked["code_challenge_method"].as_str()), ("read", "S256"));
        assert!(asked["redirect_uri"].starts_with("http://127.0.0.1:"));
        let registered = &state.registered[0];
        assert_eq!(registered["redirect_uris"], json!([asked["redirect_uri"]]));
        assert_eq!(registered["grant_types"], json!(["authorization_code", "refresh_token"]));
    }
    bench.accept();
    assert_eq!(text(&bench.say("staging")), "staging");
    // Not even a server that tells its token.
    bench.issuer.tell("leak", "yes");
    let withheld = bench.say("staging");
    assert!(text(&withheld).contains("withheld: it contains a secret"), "{withheld}");
    let review = bench.placet.admin_text("/admin/v1/audit/entries?limit=200");
    let told = [
        review,
        bench.placet.log(),
        withheld.to_string(),
        bench.placet.cli(["mcp", "ls", "--json"]).succeeds(),
    ];
    let secrets: Vec<String> = bench.issuer.state().issued.clone();
    let stopped = bench.placet.stop();
    let mut places: Vec<Vec<u8>> = told.into_iter().map(String::into_bytes).collect();
    places.extend(walk(&stopped.data()).into_iter().filter_map(|path| fs::read(path).ok()));
    for secret in secrets {
        let found = places.iter().any(|place| memchr::memmem::find(place, secret.as_bytes()).is_some());
        assert!(!found, "{secret}");
    }
}

#[test]
fn a_server_that_is_taken_out_takes_its_login_along() {
    let bench = Bench::with(&[]);
    bench.logs_in();
    assert_eq!(bench.version(), 1);
    let ended = bench.placet.cli(["mcp", "rm", "fixture", "--yes"]).run();
    assert!(ended.code == 0 && ended.stderr.contains("The login at fixture is removed."), "{ended:?}");
    assert_eq!(bench.version(), Value::Null);
    assert_eq!(bench.placet.verdicts("secret.removed").len(), 1);
    bench.placet.cli(["mcp", "rm", "fixture", "--yes"]).fails(64, "there is no");
}

#[test]
fn what_is_left_of_a_removal_that_was_not_finished_is_removed_by_the_next() {
    let bench = Bench::with(&[]);
    bench.logs_in();
    // Its files were taken out, and the policy was activated by itself.
    for file in fs::read_dir(bench.placet.policy().join("mcp")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_eq!(bench.version(), 1);
    bench.placet.cli(["mcp", "rm", "fixture", "--yes"]).fails(64, "there is no");
    assert_eq!(bench.version(), 1, "the policy in force names it still");
    bench.placet.activate();
    bench.placet.cli(["mcp", "rm", "fixture", "--yes"]).succeeds();
    assert_eq!(bench.version(), Value::Null);
}

#[test]
fn a_token_is_renewed_before_it_ends_and_kept_before_it_is_used() {
    let bench = Bench::with(&[]);
    // Shorter than the margin: it is renewed as soon as it is no longer new, and each renewal takes another one that renews.
    bench.issuer.tell("lives", "30");
    bench.logs_in();
    bench.accept();
    assert_eq!(text(&bench.say("staging")), "staging");
    let refreshed = || bench.issuer.state().grants.iter().filter(|grant| *grant == "refresh_token").count();
    let before = refreshed();
    assert!(before > 0);
    assert_eq!(text(&bench.say("staging")), "staging");
    assert_eq!(bench.version(), 1, "it is the same login");
    let Bench { placet, issuer } = bench;
    let bench = Bench { placet: placet.crash().start(), issuer };
    assert_eq!(text(&bench.say("staging")), "staging");
    assert!(bench.issuer.state().grants.iter().filter(|grant| *grant == "refresh_token").count() > before);
    assert_eq!(bench.version(), 1);
    assert_eq!(bench.placet.verdicts("secret.set").len(), 2, "a renewal is nobody's deed");
}

#[test]
fn a_refused_token_is_renewed_once_for_all_who_call() {
    let bench = Bench::start();
    bench.issuer.state().end_tokens();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(text(&parallel(&bench, "staging")), "staging"));
        }
    });
    {
        let state = bench.issuer.state();
        assert_eq!(state.grants, ["authorization_code", "refresh_token"]);
        assert_eq!(
            state.calls.len(),
            8,
            "what was refused did not happen, and what was sent again happened once"
        );
    }
    // One that refuses whatever is new is not asked for ever.
    bench.issuer.tell("lives", "3600");
    bench.issuer.state().end_tokens();
    bench.issuer.tell("refreshes", "temporarily_unavailable");
    let refused = bench.say("staging");
    assert!(
        text(&refused).contains("NOT EXECUTED") && text(&refused).contains("could not be renewed"),
        "{refused}"
    );
    // What did not work once may work again.
    bench.issuer.usual("refreshes");
    assert_eq!(text(&bench.say("staging")), "staging");
}

#[test]
fn a_server_that_refuses_every_token_costs_one_renewal_and_no_login() {
    let bench = Bench::start();
    // How placet asks may be wrong without the login being over.
    bench.issuer.state().end_tokens();
    bench.issuer.tell("refreshes", "invalid_client");
    assert!(text(&bench.say("staging")).contains("could not be renewed"));
    assert_eq!(bench.logins()["standing"], "good");
    bench.issuer.usual("refreshes");
    assert_eq!(text(&bench.say("staging")), "staging");
    let before = bench.issuer.state().grants.len();
    bench.issuer.tell("refuses all", "yes");
    for _ in 0..3 {
        let refused = bench.say("staging");
        assert!(text(&refused).contains("refuses a new token"), "{refused}");
    }
    assert_eq!(bench.issuer.state().grants.len(), before + 1);
    assert_eq!(bench.logins()["standing"], "good");
}

#[test]
fn a_login_that_nothing_renews_is_not_forgotten_because_a_server_refuses_it_once() {
    let bench = Bench::with(&[]);
    bench.issuer.tell("no refresh", "yes");
    bench.logs_in();
    bench.accept();
    bench.issuer.tell("refuses all", "yes");
    let refused = bench.say("staging");
    assert!(text(&refused).contains("nothing renews it"), "{refused}");
    assert_eq!(bench.logins()["standing"], "good");
    bench.issuer.usual("refuses all");
    assert_eq!(text(&bench.say("staging")), "staging");
}

/// A call from a thread of its own.
fn parallel(bench: &Bench, words: &str) -> Value {
    let (url, token) =
        (format!("{}/mcp/fixture", bench.placet.ready.agents), bench.placet.ready.agent_token.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": words}}});
        let call = reqwest::Client::new().post(url).bearer_auth(token.unwrap()).json(&call);
        call.header("accept", "application/json, text/event-stream")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    });
    let last = answer.lines().rfind(|line| !line.is_empty()).unwrap();
    let message: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).unwrap();
    message["result"].clone()
}

#[test]
fn when_a_login_has_ended_nothing_is_sent_and_somebody_is_told_to_log_in() {
    let bench = Bench::start();
    let id = pending(&bench.say("production"));
    bench.placet.session_of("Ada").approve(&id);
    bench.issuer.state().end_tokens();
    bench.issuer.tell("refreshes", "invalid_grant");
    let wait = || result(&bench.post("placet_await_approval", &json!({"approval_id": id})));
    let refused = wait();
    assert!(text(&refused).contains("NOT EXECUTED"), "{refused}");
    assert!(text(&refused).contains("ask an operator to run `placet mcp login fixture`"), "{refused}");
    assert_eq!((bench.logins()["standing"].as_str(), bench.issuer.state().calls.len()), (Some("ended"), 0));
    // It has ended for every process to come, too, and nobody asks for what will be refused.
    let Bench { placet, issuer } = bench;
    let bench = Bench { placet: placet.stop().start(), issuer };
    let asked = bench.issuer.state().grants.len();
    assert!(text(&bench.say("staging")).contains("placet mcp login fixture"));
    assert_eq!(bench.issuer.state().grants.len(), asked);
    let doctor = bench.placet.cli(["doctor"]).run();
    assert!(String::from_utf8(doctor.stdout).unwrap().contains("placet mcp login fixture"));
    // Another login is another version, and what was approved is carried out.
    bench.logs_in();
    assert_eq!((bench.version(), bench.logins()["standing"].clone()), (json!(2), json!("good")));
    assert_eq!(
        text(&result(&bench.post("placet_await_approval", &json!({"approval_id": id})))),
        "production"
    );
}

#[test]
fn what_a_browser_brings_back_is_good_once_and_for_its_own_login() {
    let bench = Bench::with(&[]);
    let refused = |change: &dyn Fn(&str) -> String, says: &str| {
        let begun = bench.begin();
        let back = bench.issuer.consent(&begun.address);
        let ended = begun.paste(&change(&back));
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains(says), "{says:?} is not in {ended:?}");
        assert_eq!(bench.version(), Value::Null);
        back
    };
    let own = bench.issuer.url.clone();
    let form = |text: &str| {
        reqwest::Url::parse_with_params("http://x", [("x", text)]).unwrap().query().unwrap()[2..].to_owned()
    };
    let iss = format!("iss={}", form(&own));
    let none = "no login waits for this";
    refused(&|_| String::from("http://127.0.0.1:1/callback"), "not the address");
    refused(&|back| back.replace("state=", "state=x"), none);
    refused(&|back| back.replace("127.0.0.1", "127.0.0.2"), none);
    refused(&|back| format!("{back}&code=other"), "not the address");
    refused(&|back| back.replace(&iss, "iss=https%3A%2F%2Fevil.example"), "comes from https://evil.example");
    refused(&|back| back.replace(&format!("&{iss}"), ""), "does not say that it comes from");
    refused(&|back| back.replace("code=", "error=access_denied&was="), "says access_denied");
    let other = refused(&|back| back.replace("code=", "code=x"), "says invalid_grant");
    assert_eq!(bench.issuer.state().grants.len(), 1, "nothing but the last was worth a call");
    // A state that was used is none, and one of another login is not this one's: its code has its own verifier.
    refused(&|_| other.clone(), none);
    bench.issuer.tell("kind", "DPoP");
    refused(&|back| back.to_owned(), "of a kind that placet cannot carry");
    bench.issuer.usual("kind");
    bench.logs_in();
    assert_eq!(bench.version(), 1);
}

#[test]
fn what_a_server_says_about_its_tokens_is_believed_about_itself_only() {
    let bench = Bench::with(&[]);
    let own = bench.issuer.url.clone();
    for (what, how, says) in [
        ("resource", "https://other.example/mcp".to_owned(), "somebody else"),
        ("resource", format!("{own}/mcp/other"), "somebody else"),
        ("metadata at", "https://other.example/metadata".to_owned(), "not its own"),
        ("metadata at", "file:///etc/passwd".to_owned(), "not https"),
        ("issuer", "http://id.example".to_owned(), "not https"),
        ("issuer", "https://10.0.0.1".to_owned(), "private network"),
        ("issuer says", format!("{own}/"), "not about"),
        ("token endpoint", "http://other.example/token".to_owned(), "not https"),
        ("challenges", "plain".to_owned(), "S256"),
        ("registers nobody", String::new(), "register placet there"),
    ] {
        bench.issuer.tell(what, &how);
        bench.refuses_login(says);
        bench.issuer.usual(what);
    }
    assert!(bench.issuer.state().asked.is_empty() && bench.issuer.state().registered.is_empty());
    // A code goes to nobody else, either.
    bench.issuer.tell("token endpoint redirects", "https://evil.example/");
    let begun = bench.begin();
    let back = bench.issuer.consent(&begun.address);
    let ended = begun.paste(&back);
    assert!(ended.stderr.contains("redirect, which is not followed"), "{ended:?}");
}

#[test]
fn a_token_reaches_the_server_it_was_issued_for_and_no_other() {
    let bench = Bench::start();
    let carried = bench.issuer.state().carried.len();
    // Another server under the name of the first.
    let other = Issuer::start();
    let file = bench.placet.policy().join("mcp/fixture.toml");
    let written = fs::read_to_string(&file).unwrap();
    let changed = |from: &str, to: &str| {
        fs::write(&file, written.replace(from, to)).unwrap();
        bench.placet.activate();
    };
    changed(&bench.issuer.url, &other.url);
    let refused = bench.say("staging");
    assert!(text(&refused).contains("changed since somebody logged in"), "{refused}");
    assert_eq!(other.state().carried, [""; 0]);
    // Another issuer, another client.
    changed("[oauth]", "[oauth]\nissuer = \"https://other.example\"");
    assert!(text(&bench.say("staging")).contains("placet mcp login fixture"));
    changed("[oauth]", "[oauth]\nclient_id = \"other\"");
    assert!(text(&bench.say("staging")).contains("placet mcp login fixture"));
    assert_eq!(bench.issuer.state().carried.len(), carried);
    // A server that sends it on.
    changed("[oauth]", "[oauth]");
    bench.issuer.tell("redirect", &format!("{}/mcp", other.url));
    let redirected = bench.say("staging");
    assert!(text(&redirected).contains("redirect") && redirected["isError"] == true, "{redirected}");
    assert_eq!(other.state().carried, [""; 0]);
    // A login is no secret for anybody else.
    bench.placet.cli(["secret", "set", "oauth.fixture"]).stdin("anything").run_and_find("placet mcp login");
    fs::write(
        &file,
        format!("url = \"{}/mcp\"\n[headers]\nX-Key = {{ secret = \"oauth.fixture\" }}\n", other.url),
    )
    .unwrap();
    let checked = bench.placet.cli(["policy", "check"]).arg(bench.placet.policy()).run();
    assert!(format!("{checked:?}").contains("oauth.fixture is a login"), "{checked:?}");
}

#[test]
fn a_token_that_is_not_good_enough_is_asked_for_at_the_next_login() {
    let bench = Bench::start();
    // What it is sent it does not get to tell the agent.
    let token = bench.issuer.state().carried.last().cloned().unwrap();
    bench.issuer.tell("lacks", &format!("{token} x{token}x {}", "long".repeat(100)));
    let refused = bench.say("staging");
    assert!(text(&refused).contains("NOT EXECUTED") && !text(&refused).contains(&token), "{refused}");
    assert!(!text(&refused).contains("longlong"), "{refused}");
    bench.issuer.tell("lacks", "write");
    let refused = bench.say("staging");
    assert!(text(&refused).contains("it lacks write"), "{refused}");
    assert!(text(&refused).contains("placet mcp login fixture"), "{refused}");
    assert_eq!(bench.issuer.state().grants, ["authorization_code"], "no other token would be better");
    bench.logs_in();
    let mut scopes: Vec<String> =
        bench.issuer.state().asked[1]["scope"].split(' ').map(str::to_owned).collect();
    scopes.sort();
    assert_eq!(scopes, ["read", "write"]);
}

#[test]
fn client_credentials_need_nobody_and_go_to_the_issuer_that_an_operator_named() {
    let placet = Options::default().start();
    let flags = [
        "mcp",
        "add",
        "x",
        "--yes",
        "--url",
        "https://tools.example/mcp",
        "--oauth",
        "--client-id",
        "the-client",
    ];
    placet.cli(flags).args(["--client-secret-from", "client"]).fails(64, "--issuer");
    drop(placet);
    let issuer = Issuer::start();
    let bench = Bench::with(&[
        "--issuer",
        // Its server names another one below, to get the secret sent there.
        "http://127.0.0.1:9",
        "--client-id",
        "the-client",
        "--client-secret-from",
        "client",
        "--unattended",
    ]);
    let refused = bench.placet.cli(["mcp", "ls"]).run();
    assert!(String::from_utf8(refused.stdout).unwrap().contains("not issued by http://127.0.0.1:9"));
    assert_eq!((bench.issuer.state().grants.len(), issuer.state().grants.len()), (0, 0));
    let file = bench.placet.policy().join("mcp/fixture.toml");
    let written = fs::read_to_string(&file).unwrap().replace("http://127.0.0.1:9", &bench.issuer.url);
    fs::write(file, written).unwrap();
    bench.placet.activate();
    bench.accept();
    bench.refuses_login("nobody has to log in");
    assert_eq!(bench.logins()["standing"], "own");
    assert_eq!(text(&bench.say("staging")), "staging");
    assert_eq!(bench.issuer.state().grants, ["client_credentials"]);
    bench.issuer.state().end_tokens();
    assert_eq!(text(&bench.say("staging")), "staging");
    assert_eq!(bench.issuer.state().grants.len(), 2);
    assert_eq!(bench.version(), Value::Null, "nothing of it is kept");
    // Calls of a server whose credentials are none are not sent.
    bench.placet.cli(["secret", "set", "client"]).stdin("not the client's").succeeds();
    let refused = bench.say("staging");
    assert!(text(&refused).contains("NOT EXECUTED") && text(&refused).contains("placet mcp ls"), "{refused}");
}
