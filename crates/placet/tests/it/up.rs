//! `placet up`: the first start, the next ones, and the end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Placet, alone, ended};

#[test]
fn a_restart_keeps_everything_and_shows_no_secret_twice() {
    let placet = Placet::start();
    assert!(placet.ready.invitation.is_some() && placet.ready.agent_token.is_some());
    placet.cli(["person", "add", "Grace"]).succeeds();
    let policy = placet.cli(["policy", "show"]).json();
    let stopped = placet.stop();
    assert!(stopped.status.success(), "{:?}", stopped.status);
    let placet = stopped.start();
    assert!(placet.cli(["person", "ls"]).succeeds().contains("Grace"));
    assert_eq!(placet.cli(["policy", "show"]).json(), policy);
    placet.agents().get("/v1/requests").expect(200);
    let placet = placet.crash().start();
    assert!(placet.cli(["person", "ls"]).succeeds().contains("Grace"));
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let placet = Placet::start();
    let second = placet.cli(["up"]).env("PLACET__AGENTS__LISTEN", "127.0.0.1:0");
    second.env("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0").fails(78, "error: ");
    placet.agents().get("/v1/requests").expect(200);
}

#[test]
fn data_that_others_can_open_is_refused() {
    let placet = Placet::start();
    let stopped = placet.stop();
    fs::set_permissions(stopped.data(), fs::Permissions::from_mode(0o755)).unwrap();
    stopped.cli(["up"]).fails(78, "lets others in");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let space = tempfile::tempdir().unwrap();
    let up = alone(space.path(), ["up"]).env("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0");
    up.env("PLACET__AGENTS__LISTEN", taken.local_addr().unwrap().to_string()).fails(78, "agents.listen");
}

#[test]
fn the_client_file_serves_instead_of_variables() {
    let placet = Placet::start();
    let file = placet.space().join(".config/placet/client.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let (url, token) = (&placet.ready.agents, placet.ready.agent_token.as_ref().unwrap());
    fs::write(&file, format!("agents_url = '{url}'\nagent_token = '{token}'\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    placet.cli(["requests", "ls"]).without("PLACET_AGENTS_URL").without("PLACET_AGENT_TOKEN").succeeds();
}

#[test]
fn without_json_people_are_told_where_to_go_and_what_this_machine_is_worth() {
    let space = tempfile::tempdir().unwrap();
    let told = |arguments: &[&str]| {
        let up = alone(space.path(), ["up", "--reviewer", "Ada"]).args(arguments);
        let up =
            up.env("PLACET__AGENTS__LISTEN", "127.0.0.1:0").env("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0");
        let mut process = up.spawn();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ctrl-C stops.") {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGINT).unwrap();
        let ended = ended(process);
        assert_eq!(ended.code, 0, "{ended:?}");
        said
    };
    let first = told(&[]);
    for part in [
        "agents ask at      http://localhost:",
        "people decide at   http://localhost:",
        "graded advisory",
        "Ada signs in (works once, for a day)",
        "/join/placet_link_",
        "export PLACET_AGENT_TOKEN=placet_agent_",
        "Try next: ",
        "examples/agent.py",
    ] {
        assert!(first.contains(part), "{part:?} is not in {first}");
    }
    let again = told(&[]);
    for part in ["placet_link_", "placet_agent_", "Shown once"] {
        assert!(!again.contains(part), "{part:?} is in {again}");
    }
    assert!(again.contains("To sign in: placet login"), "{again}");
}

#[test]
fn the_starter_for_a_team_has_no_runner_and_no_exception() {
    let placet = Placet::team();
    let doctor = placet.cli(["doctor", "--json"]).run();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("run_as"), "{doctor:?}");
    let body = crate::people::deploy("production", "1");
    let refused = placet.agents().post("/v1/requests", &body).expect(201).json();
    assert_eq!(
        (&refused["status"], &refused["denial"]["code"]),
        (&"refused".into(), &"nobody_can_approve".into())
    );
    // As soon as somebody else can, people are asked.
    placet.add_person("Grace", &["reviewers"]);
    let asked = placet.agents().post("/v1/requests", &body).expect(201).json();
    assert_eq!(asked["status"], "pending");
}
