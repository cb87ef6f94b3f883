//! `placet policy`: offline checks, and the way into force.

use std::fs;

use crate::harness::{Placet, alone};

#[test]
fn both_starters_are_in_order_and_their_tests_pass() {
    let space = tempfile::tempdir().unwrap();
    for starter in ["solo", "team"] {
        let report = alone(space.path(), ["policy", "test", "--starter", starter]).json();
        assert_eq!(report["ok"], true, "{report}");
        assert!(report["tests"].as_array().unwrap().len() > 3);
        assert!(
            alone(space.path(), ["policy", "check", "--starter", starter])
                .succeeds()
                .contains("in order: 0 errors")
        );
    }
}

#[test]
fn an_error_names_file_line_and_column() {
    let space = tempfile::tempdir().unwrap();
    alone(space.path(), ["policy", "init", "mine"]).succeeds();
    alone(space.path(), ["policy", "init", "mine"]).fails(64, "Name a directory that does not exist");
    let ask = space.path().join("mine/ask.cedar");
    let text = fs::read_to_string(&ask).unwrap();
    let line = text.lines().position(|line| line.contains("resource.environment")).unwrap() + 1;
    fs::write(&ask, text.replace("resource.environment", "resource.enviroment")).unwrap();
    let ended = alone(space.path(), ["policy", "check", "mine"]).fails(1, &format!("ask.cedar:{line}:"));
    assert!(ended.stderr.contains("enviroment"), "{ended:?}");
    assert!(!ended.stderr.contains('\u{1b}'), "colours where no terminal is");
    let report = alone(space.path(), ["policy", "check", "mine", "--json"]).run();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["findings"][0]["line"], line);
    assert_eq!(report["ok"], false);
}

#[test]
fn a_failing_test_and_a_wrong_runner_file_keep_a_bundle_out() {
    let space = tempfile::tempdir().unwrap();
    alone(space.path(), ["policy", "init", "mine"]).succeeds();
    let at = |file: &str| space.path().join("mine").join(file);
    let ask = fs::read_to_string(at("ask.cedar")).unwrap();
    fs::write(at("ask.cedar"), ask.replace("approvals.reviewers >= 1", "approvals.reviewers >= 2")).unwrap();
    alone(space.path(), ["policy", "check", "mine"]).succeeds();
    let ended = alone(space.path(), ["policy", "test", "mine"]).run();
    assert_eq!(ended.code, 1);
    assert!(String::from_utf8_lossy(&ended.stdout).contains("FAIL tests/"), "{ended:?}");
    fs::write(at("ask.cedar"), ask).unwrap();
    fs::write(at("runner.toml"), "[runner]\nrun_as = 'root'\n").unwrap();
    alone(space.path(), ["policy", "check", "mine"]).fails(1, "without privileges");
}

#[test]
fn a_bundle_is_staged_shown_and_activated() {
    let placet = Placet::start();
    let policy = placet.data().join("policy");
    let before = placet.cli(["policy", "show"]).json();
    let bundle = policy.join("bundle.toml");
    let text = fs::read_to_string(&bundle).unwrap();
    fs::write(&bundle, text.replace("timeout = \"1h\"", "timeout = \"2h\"")).unwrap();

    let ended = placet.cli(["policy", "activate"]).arg(&policy).fails(64, "there is no terminal");
    assert!(ended.stderr.contains("+timeout = \"2h\""), "{ended:?}");
    assert_eq!(placet.cli(["policy", "show"]).json(), before, "asking changed something");

    let staged = placet.cli(["policy", "stage"]).arg(&policy).json();
    assert_eq!(placet.cli(["policy", "show"]).json(), before, "staging changed something");
    let digest = staged["digest"].as_str().unwrap();
    let active = placet.cli(["policy", "activate", digest]).json();
    assert_eq!(active["digest"], digest);
    assert_eq!(active["epoch"].as_u64(), before["epoch"].as_u64().map(|epoch| epoch + 1));

    placet.cli(["policy", "activate", &"0".repeat(64)]).fails(64, "not_found");
    fs::write(policy.join("ask.cedar"), "forbid (principal").unwrap();
    placet.cli(["policy", "activate", "--yes"]).arg(&policy).fails(1, "ask.cedar:1:");
    assert_eq!(placet.cli(["policy", "show"]).json()["digest"], digest);
}
