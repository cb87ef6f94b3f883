//! A gateway of its own: commands run by another process than placet, decided and recorded by placet.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_core::digest::Sha256Digest;
use serde_json::{Value, json};

use crate::commands::permit_commands;
use crate::harness::{Cli, Options, Placet, ended, eventually, free_port, walk};
use crate::recording::{events, record_all};

const SECRET: &str = "correct horse battery staple";

/// A running gateway.
struct Gateway {
    process: Child,
    /// Kept open, or the process would be told that nobody reads.
    _stdout: BufReader<ChildStdout>,
    /// Where agents come in.
    url: String,
    ready: Value,
}

impl Gateway {
    /// One that placet knows by this name, in a directory of that name.
    fn start(placet: &Placet, name: &str) -> Self {
        let token = placet.space().join(format!("{name}.token"));
        if !token.exists() {
            let added = placet.cli(["pep", "add", name, "--kind", "command", "--sponsor", "Ada"]).succeeds();
            fs::write(&token, added).unwrap();
            fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut process = Gateway::command(placet, name).spawn();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            panic!("the gateway did not become ready: {line:?} {:?}", ended(process));
        };
        assert_eq!(ready["ready"], true);
        let url = ready["agents"].as_str().unwrap().to_owned();
        Gateway { process, _stdout: stdout, url, ready }
    }

    fn command(placet: &Placet, name: &str) -> Cli {
        placet
            .cli(["gateway", "--json", "--listen", "127.0.0.1:0", "--authority", &placet.ready.agents])
            .arg("--pep-token-file")
            .arg(placet.space().join(format!("{name}.token")))
            .env("PLACET__GATEWAY__DIR", placet.space().join(name))
            // What an agent holds is none of a gateway's business.
            .without("PLACET_AGENT_TOKEN")
    }

    /// A command of the first agent's, which asks here.
    fn cli(&self, placet: &Placet, arguments: &[&str]) -> Cli {
        placet.cli(arguments).env("PLACET_AGENTS_URL", &self.url)
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// For `runner.toml`: `printenv`, by that name, gets the secret `shop`.
pub(crate) const PRINTENV_GETS_SHOP: &str = r#"
[[program]]
name = "printenv"
path = "/usr/bin/printenv"

[[secret]]
env = "PASSWORD"
secret = "shop"
program = "printenv"
target = { action = "command.run", resource = 'Program::"printenv"' }
"#;

/// A policy in which `printenv` gets a secret.
fn with_secret(placet: &Placet) {
    let runner = placet.policy().join("runner.toml");
    let text = fs::read_to_string(&runner).unwrap();
    fs::write(&runner, text + PRINTENV_GETS_SHOP).unwrap();
    placet.cli(["secret", "set", "shop"]).stdin(SECRET).succeeds();
    placet.activate();
}

#[test]
fn a_command_with_a_secret_runs_at_a_gateway_after_a_person_said_yes() {
    let placet = Placet::start();
    with_secret(&placet);
    record_all(&placet);
    let gateway = Gateway::start(&placet, "elsewhere");
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let run = gateway.cli(&placet, &["run", "-j", "look", "--", "printenv", "PLACET_EXECUTION"]).spawn();
    let id = ada.waiting();
    let card = ada.review(&id)["card"].to_string();
    let runner = gateway.ready["runner"].as_str().unwrap();
    assert!(runner.starts_with("runner:pep_"), "{runner}");
    for part in [&format!("{runner} (elsewhere)"), "shop@1", "printenv"] {
        assert!(card.contains(part), "{part} is not on the card: {card}");
    }
    ada.approve(&id);
    let run = ended(run);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.starts_with(b"exe_"), "{run:?}");
    let request = placet.agents().get(&format!("/v1/requests/{id}")).expect(200).json();
    assert_eq!(
        (&request["status"], &request["outcome"]["reported_by"]),
        (&json!("succeeded"), &json!("placet"))
    );
    let cast = ada.cookie.get(&format!("/v1/reviews/{id}/recording")).expect(200).body;
    let kept = &ada.review(&id)["request"]["outcome"]["recording"]["sha256"];
    assert_eq!(*kept, Sha256Digest::of(&cast).to_string());
    let written = events(&cast).into_iter().filter(|(code, _)| code == "o").map(|(_, text)| text);
    assert_eq!(written.collect::<String>(), String::from_utf8_lossy(&run.stdout).replace('\n', "\r\n"));

    // The secret reached the program: what prints it is stopped.
    let leak = gateway.cli(&placet, &["run", "--", "printenv", "PASSWORD"]).spawn();
    ada.approve(&ada.waiting());
    let leak = ended(leak);
    assert!(leak.code != 0 && !String::from_utf8_lossy(&leak.stdout).contains(SECRET), "{leak:?}");
    assert!(leak.stderr.contains("secret"), "{leak:?}");
    for file in walk(placet.space()) {
        let bytes = fs::read(&file).unwrap_or_default();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "the secret is in {}", file.display());
    }

    // Where it was not taken in, nobody runs it; and who is revoked does nothing.
    let other = gateway.cli(&placet, &["run", "--", "printenv", "PATH"]).spawn();
    let id = ada.waiting();
    let here = placet.agents().post(&format!("/v1/commands/{id}/run"), &json!({}));
    here.problem(403, "not_the_executor");
    placet.cli(["pep", "revoke", "elsewhere"]).succeeds();
    ada.approve(&id);
    let other = ended(other);
    assert_eq!((other.code, other.stdout.len()), (69, 0), "{other:?}");
    assert!(other.stderr.contains("gateway_refused"), "{other:?}");
    placet.agents().post(&format!("/v1/commands/{id}/run"), &json!({})).problem(403, "not_the_executor");
    assert_eq!(placet.verdicts("pep.changed"), ["revoked"]);
    let listed = placet.cli(["pep", "ls"]).json();
    assert_eq!((&listed[0]["name"], &listed[0]["active"]), (&json!("elsewhere"), &json!(false)));
    let again =
        Gateway::command(&placet, "elsewhere").env("PLACET__GATEWAY__DIR", placet.space().join("new"));
    again.fails(77, "does not accept this gateway");
}

#[test]
fn what_a_killed_gateway_was_running_is_unknown_and_gone() {
    // A placet that comes back where its gateway knows it.
    let listen = format!("127.0.0.1:{}", free_port());
    let placet = Options::default().env("PLACET__AGENTS__LISTEN", &listen).start();
    permit_commands(&placet);
    placet.activate();
    let gateway = Gateway::start(&placet, "elsewhere");
    let script = "echo started; sleep 600";
    let mut running = gateway.cli(&placet, &["run", "--", "/bin/sh", "-c", script]).spawn();
    let mut here = placet.cli(["run", "--", "/bin/sh", "-c", script]).spawn();
    for client in [&mut running, &mut here] {
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
    }
    let requests = placet.agents().get("/v1/requests").json()["requests"].clone();
    let at = |target: &str| {
        let all = requests.as_array().unwrap();
        let found =
            all.iter().find(|request| request["canonical"].as_str().unwrap().contains(target)).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (lost, own) = (at("runner:pep_"), at("runner:local"));
    gateway.kill();
    assert_eq!(ended(running).code, 69);
    assert_eq!(status(&placet, &lost), "executing", "nobody has said anything yet");
    let again = Gateway::start(&placet, "elsewhere");
    assert_eq!(status(&placet, &lost), "unknown");
    assert_eq!(status(&placet, &own), "executing", "what placet itself runs is none of a gateway's");
    again.cli(&placet, &["run", "--resume", &lost]).fails(76, "unknown");
    // The other way round: a placet that comes back leaves alone what a gateway runs.
    let mut running = again.cli(&placet, &["run", "--", "/bin/sh", "-c", script]).spawn();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let placet = placet.crash().start();
    // Its client lost the connection, and perhaps found placet again and was told.
    let here = ended(here);
    assert!([69, 76].contains(&here.code), "{here:?}");
    assert_eq!(status(&placet, &own), "unknown");
    let held = placet.agents().get("/v1/requests?status=executing").json()["requests"].clone();
    let [held] = held.as_array().unwrap().as_slice() else { panic!("one is held: {held}") };
    let held = held["id"].as_str().unwrap();
    // An orderly stop ends what runs, and says so.
    kill(Pid::from_raw(i32::try_from(again.process.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_ne!(ended(running).code, 0);
    let told = eventually("the outcome", || Some(status(&placet, held)).filter(|now| now != "executing"));
    assert_eq!(told, "failed");
}

fn status(placet: &Placet, id: &str) -> Value {
    placet.agents().get(&format!("/v1/requests/{id}")).expect(200).json()["status"].clone()
}

#[test]
fn a_gateway_without_its_placet_says_so_and_does_nothing() {
    let placet = Placet::start();
    permit_commands(&placet);
    placet.activate();
    let gateway = Gateway::start(&placet, "elsewhere");
    // Whoever is nobody at placet is nobody here.
    let token = placet.ready.agent_token.clone().unwrap();
    for other in ["placet_agent_0", &placet.token_of("Ada"), ""] {
        let refused =
            gateway.cli(&placet, &["run", "--", "/bin/true"]).env("PLACET_AGENT_TOKEN", other).run();
        assert!([77, 78].contains(&refused.code), "{refused:?}");
    }
    placet.cli(["agent", "revoke", "first-agent"]).succeeds();
    let revoked = gateway.cli(&placet, &["run", "--", "/bin/true"]).env("PLACET_AGENT_TOKEN", &token).run();
    assert_eq!(revoked.code, 77, "{revoked:?}");
    let address = placet.ready.agents.clone();
    let command = Gateway::command(&placet, "second");
    fs::copy(placet.space().join("elsewhere.token"), placet.space().join("second.token")).unwrap();
    let space = tempfile::tempdir().unwrap();
    let stopped = placet.stop();
    let run = crate::harness::alone(space.path(), ["run", "--", "/bin/true"])
        .env("PLACET_AGENTS_URL", &gateway.url)
        .env("PLACET_AGENT_TOKEN", &token);
    let unreachable = run.fails(69, "authority_unreachable");
    assert!(unreachable.stderr.contains("cannot reach"), "{unreachable:?}");
    command.fails(69, &address);
    drop(stopped);
}

#[test]
fn a_gateway_is_told_what_it_lacks() {
    let space = tempfile::tempdir().unwrap();
    let alone = |arguments: &[&str]| crate::harness::alone(space.path(), arguments);
    alone(&["gateway"]).fails(78, "--authority");
    alone(&["gateway", "--authority", "http://localhost:1"]).fails(78, "--pep-token-file");
    let token = space.path().join("token");
    fs::write(&token, "placet_pep_0").unwrap();
    let with_token = |url: &str| alone(&["gateway", "--authority", url, "--pep-token-file"]).arg(&token);
    with_token("http://localhost:1").fails(78, "lets others read it");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    with_token("http://placet.example").fails(78, "in clear");
    with_token("http://localhost:1").fails(69, "cannot reach");
    with_token("http://localhost:1").arg("--listen").arg("0.0.0.0:0").fails(78, "trusted_proxy");
    with_token("http://localhost:1").arg("--listen").arg("nowhere").fails(78, "--listen");
}
