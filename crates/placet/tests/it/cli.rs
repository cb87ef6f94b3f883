//! The command line by itself: help, usage, configuration, references, starters.

use serde_json::Value;

use crate::harness::alone;

#[test]
fn help_and_version_are_data_and_a_misunderstanding_is_64() {
    let space = tempfile::tempdir().unwrap();
    assert!(alone(space.path(), ["--version"]).succeeds().starts_with("placet 0."));
    assert!(alone(space.path(), ["--help"]).succeeds().contains("Exit codes"));
    assert!(alone(space.path(), ["run", "--help"]).succeeds().contains("pg_dump"));
    for wrong in [
        ["frobnicate"].as_slice(),
        &["run", "ls"],
        &["run", "--"],
        &["up", "--colour"],
        &["review", "approve"],
    ] {
        let ended = alone(space.path(), wrong).fails(64, "Usage");
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn without_a_placet_commands_say_so_with_69_and_the_next_step() {
    let space = tempfile::tempdir().unwrap();
    for command in
        [["agent", "ls"].as_slice(), &["login"], &["person", "ls"], &["secret", "ls"], &["policy", "show"]]
    {
        let ended = alone(space.path(), command).fails(69, "hint: Start it with `placet up`");
        assert!(ended.stderr.contains("admin.sock"), "{ended:?}");
    }
    let unreachable = alone(space.path(), ["requests", "ls"])
        .env("PLACET_AGENT_TOKEN", "plc_agt_x")
        .env("PLACET_AGENTS_URL", "http://localhost:1");
    unreachable.fails(69, "reach placet at http://localhost:1");
}

#[test]
fn without_a_credential_commands_say_where_one_goes() {
    let space = tempfile::tempdir().unwrap();
    alone(space.path(), ["requests", "ls"]).fails(78, "PLACET_AGENT_TOKEN");
    alone(space.path(), ["run", "--", "true"]).fails(78, "PLACET_AGENT_TOKEN");
    alone(space.path(), ["review", "ls"]).fails(78, "PLACET_PERSON_TOKEN");
    let file = space.path().join("client.toml");
    std::fs::write(&file, "agent_token = 'hunter2'").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ended = alone(space.path(), ["requests", "ls"])
        .env("PLACET_CLIENT_FILE", &file)
        .fails(78, "lets others read");
    assert!(!ended.stderr.contains("hunter2"));
}

#[test]
fn a_failure_is_json_if_json_was_asked_for() {
    let space = tempfile::tempdir().unwrap();
    let ended = alone(space.path(), ["--json", "agent", "ls"]).fails(69, "admin.sock");
    let said: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(said["exit"], 69);
    assert!(said["hint"].as_str().unwrap().contains("placet up"));
}

#[test]
fn the_configuration_is_checked_before_anything_is_opened() {
    let space = tempfile::tempdir().unwrap();
    let lines = alone(space.path(), ["config", "check"]).env("PLACET__AGENTS__LISTEN", "127.0.0.1:1").json();
    let line = |key: &str| lines.as_array().unwrap().iter().find(|line| line["key"] == key).unwrap().clone();
    assert_eq!(line("agents.listen")["value"], "127.0.0.1:1");
    assert_eq!(line("agents.listen")["origin"], "the variable PLACET__AGENTS__LISTEN");
    assert_eq!(line("dir")["origin"], "--dir");
    assert_eq!(line("log.public")["origin"], "the defaults");

    std::fs::write(space.path().join("placet.toml"), "[agents]\nlisen = '127.0.0.1:1'\n").unwrap();
    for command in [["config", "check"].as_slice(), &["up"], &["agent", "ls"], &["doctor"]] {
        alone(space.path(), command).fails(78, "agents.lisen");
    }
    std::fs::remove_file(space.path().join("placet.toml")).unwrap();
    alone(space.path(), ["up"]).env("PLACET__LOG__PUBLIK", "true").fails(78, "PLACET__LOG__PUBLIK");
    alone(space.path(), ["up"]).env("PLACET__AGENTS__LISTEN", "0.0.0.0:0").fails(78, "trusted_proxy");
    alone(space.path(), ["up"]).env("PLACET_ROOT_KEY", "x").fails(78, "PLACET_ROOT_KEY_FILE");
    alone(space.path(), ["up", "--config", "nowhere.toml"]).fails(78, "nowhere.toml");
    assert!(!space.path().join("placet-data").exists(), "nothing was opened");
}

#[test]
fn references_and_api_documents_are_printed() {
    let space = tempfile::tempdir().unwrap();
    assert!(alone(space.path(), ["reference", "cli"]).succeeds().contains("### placet run"));
    assert!(alone(space.path(), ["reference", "config"]).succeeds().contains("### `agents.listen`"));
    for (door, path) in [("agents", "/v1/requests"), ("reviewers", "/v1/reviews")] {
        let document: Value =
            serde_json::from_str(&alone(space.path(), ["openapi", door]).succeeds()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        assert!(document["paths"][path].is_object(), "{path}");
    }
}
