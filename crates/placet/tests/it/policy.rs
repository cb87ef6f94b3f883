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

fn deploy(placet: &Placet, to: &str) -> serde_json::Value {
    let body = serde_json::json!({
        "action": "example.deploy",
        "resource": { "type": "Example", "id": to },
        "arguments": { "service": "shop", "version": "1.2.3" },
    });
    placet.agents().post("/v1/requests", &body).expect(201).json()
}

#[test]
fn a_recorded_request_is_explained_to_the_operator() {
    let placet = Placet::start();
    let asked = deploy(&placet, "production");
    let code = asked["short_code"].as_str().unwrap();
    for name in [asked["id"].as_str().unwrap(), code] {
        let told = placet.cli(["policy", "explain", name]).succeeds();
        for part in [
            "asked because resource.environment is production; 0 of 1 reviewers",
            "guard deploy-production (ask.cedar:",
            "yes resource.environment is production",
            "missing now: 0 of 1 reviewers",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }
    let refused = deploy(&placet, "nowhere");
    let told = placet.cli(["policy", "explain", refused["id"].as_str().unwrap()]).json();
    assert_eq!(
        told["decisions"][0]["hint"],
        "Example::\"nowhere\" is not in entities.toml, or not active in the directory"
    );
    placet.cli(["policy", "explain", "req_01m83g3jv2eygtwyh2g1gtcnhb"]).fails(64, "not_found");
    placet.cli(["policy", "explain", "no-such-thing"]).fails(64, "no request and no file");
    let shown = placet.cli(["requests", "show", asked["id"].as_str().unwrap()]).run();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(!shown.contains("resource.environment"), "agents read no policy: {shown}");
    let token = placet.token_of("Ada");
    let review = placet.cli(["review", "show", code]).env("PLACET_PERSON_TOKEN", &token).succeeds();
    assert!(review.contains("guard deploy-production (ask.cedar:"), "{review}");
}

#[test]
fn a_case_is_explained_without_a_server() {
    let space = tempfile::tempdir().unwrap();
    alone(space.path(), ["policy", "new", "mine"]).succeeds();
    let told = alone(space.path(), ["policy", "explain", "mine/tests/deploy.toml"]).succeeds();
    assert!(told.contains("asked because resource.environment is production"), "{told}");
    let question = "\
[people]
ann = {}
[agents]
helper = { sponsor = \"ann\" }
[[case]]
name = \"may it?\"
principal = \"helper\"
action = \"example.deploy\"
resource = 'Example::\"nowhere\"'
";
    fs::write(space.path().join("question.toml"), question).unwrap();
    let explain =
        |more: &[&str]| alone(space.path(), ["policy", "explain", "question.toml"].iter().chain(more));
    explain(&[]).fails(64, "it lies in no bundle");
    let told = explain(&["--bundle", "mine"]).succeeds();
    assert!(told.contains("question.toml:5 may it?") && told.contains("is not in entities.toml"), "{told}");
    explain(&["--starter", "team", "--case", "other"]).fails(64, "no such case");
    fs::write(space.path().join("question.toml"), "[[case]]\nname = 3\n").unwrap();
    explain(&["--bundle", "mine"]).fails(1, "question.toml:2:8");
}

#[test]
fn a_stage_shows_what_recorded_requests_would_come_to_and_grows_stale() {
    let placet = Placet::start();
    deploy(&placet, "staging");
    let policy = placet.policy();
    let stage = |from: &str, to: &str| {
        crate::harness::replace_in(&policy.join("ask.cedar"), from, to);
        placet.cli(["policy", "stage"]).arg(&policy)
    };
    for path in ["deploy.toml", "second-reviewer.toml"] {
        fs::remove_file(policy.join("tests").join(path)).unwrap();
    }
    let staged = stage("== Environment::\"production\"", "== Environment::\"staging\"").run();
    assert_eq!(staged.code, 0, "{staged:?}");
    let text = String::from_utf8_lossy(&staged.stdout).into_owned();
    for part in [
        "replayed 1 recorded requests: 1 come out differently",
        "1  permit → ask",
        "example.deploy on Example::\"staging\"",
        "+1 question for reviewers",
        "+when { resource.environment == Environment::\"staging\" }",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let digest = text.lines().rev().find_map(|line| line.strip_prefix("staged ")).unwrap().to_owned();
    assert!(staged.stderr.contains(&format!("placet policy activate {digest}")), "{staged:?}");

    let other = stage("== Environment::\"staging\"", "!= Environment::\"staging\"").json();
    placet.cli(["policy", "activate", other["digest"].as_str().unwrap()]).succeeds();
    let refused = placet.cli(["policy", "activate", &digest]).fails(77, "stage_stale");
    assert!(refused.stderr.contains(&format!("placet policy stage {digest}")), "{refused:?}");
    let again = placet.cli(["policy", "stage", &digest, "--since", "1h", "--last", "10"]).json();
    assert_eq!((&again["replay"]["requests"], &again["digest"]), (&1.into(), &digest.as_str().into()));
    placet.cli(["policy", "stage", &digest, "--since", "soon"]).fails(64, "30d");
    placet.cli(["policy", "activate", &digest]).succeeds();

    let listed = placet.cli(["policy", "ls"]).json();
    let events: Vec<(&str, &str)> = listed["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["what"].as_str().unwrap(), event["by"].as_str().unwrap()))
        .collect();
    assert_eq!(events.len(), 7, "{listed}");
    assert_eq!(events[0], ("activated", "Ada"));
    assert!(placet.cli(["policy", "ls", "--limit", "2"]).succeeds().contains("activation 3"));
}

#[test]
fn a_directory_that_is_no_bundle_is_not_staged() {
    let placet = Placet::start();
    let policy = placet.policy();
    let before = placet.cli(["policy", "show"]).json();
    let entries = placet.verdicts("bundle.staged").len();
    let never = policy.join("never.cedar");
    let text = fs::read_to_string(&never).unwrap();
    let stage = || placet.cli(["policy", "stage"]).arg(&policy);
    fs::write(&never, format!("{text}\n// {}", "x".repeat(256 * 1024))).unwrap();
    stage().fails(64, "at most 256 KiB");
    fs::remove_file(&never).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &never).unwrap();
    stage().fails(64, "plain files only");
    fs::remove_file(&never).unwrap();
    fs::write(&never, "@id(\"half\") forbid (principal,\n").unwrap();
    stage().fails(1, "never.cedar:");
    assert_eq!(placet.cli(["policy", "show"]).json(), before);
    assert_eq!(placet.verdicts("bundle.staged").len(), entries, "what was not staged left an entry");
}

#[test]
fn files_come_into_one_style_once_and_keep_what_they_say() {
    let space = tempfile::tempdir().unwrap();
    alone(space.path(), ["policy", "new", "mine", "--starter", "team"]).succeeds();
    let ask = space.path().join("mine/ask.cedar");
    let text = fs::read_to_string(&ask).unwrap();
    fs::write(&ask, text.replace("forbid (principal, action", "forbid(principal,action // why\n")).unwrap();
    let fmt = |more: &[&str]| alone(space.path(), ["policy", "fmt", "mine"].iter().chain(more));
    let checked = fmt(&["--check"]).run();
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("would change ask.cedar"));
    assert!(fmt(&[]).succeeds().contains("formatted ask.cedar"));
    assert!(fmt(&["--check"]).succeeds().contains("in style"));
    let text = fs::read_to_string(&ask).unwrap();
    assert!(text.contains("// why") && text.contains("// What a human must decide."), "{text}");
    alone(space.path(), ["policy", "test", "mine"]).succeeds();
    fs::write(&ask, "forbid (principal,").unwrap();
    fmt(&[]).fails(1, "ask.cedar:1:");
    assert_eq!(fs::read_to_string(&ask).unwrap(), "forbid (principal,");
}

#[test]
fn guards_and_roles_are_begun_in_a_bundle_that_stays_in_order() {
    let space = tempfile::tempdir().unwrap();
    alone(space.path(), ["policy", "new", "mine", "--starter", "team"]).succeeds();
    let new = |arguments: &[&str]| {
        alone(space.path(), ["policy", "new"].iter().chain(arguments).chain(&["--bundle", "mine"]))
    };
    new(&["role", "data-owners"]).succeeds();
    new(&["guard", "big-deploys", "--role", "data-owners", "--count", "2"]).succeeds();
    assert!(
        alone(space.path(), ["policy", "check", "mine"])
            .succeeds()
            .contains("in order: 0 errors, 0 warnings")
    );
    let ask = fs::read_to_string(space.path().join("mine/ask.cedar")).unwrap();
    assert!(ask.contains("context.approvals[\"data-owners\"] >= 2"), "{ask}");
    new(&["guard", "big-deploys"]).fails(1, "stands in ask.cedar already");
    new(&["guard", "x", "--role", "nobody"]).fails(64, "data-owners, reviewers");
    new(&["guard", "x", "--action", "data.exprt"]).fails(64, "example.deploy");
    new(&["role", "Bad Name"]).fails(64, "a-z 0-9");
    new(&["role", "by-owner", "--resource-attr", "keeper"]).fails(1, "keeper: Group");
    assert_eq!(fs::read_to_string(space.path().join("mine/ask.cedar")).unwrap(), ask);
}
