//! Between the review and the run the world may change. What was reviewed is run, or nothing is.

use placet_core::request::OutcomeKind;
use placet_gateway::frames::EndStatus;

use super::*;

const RUNNER: &str = r#"
    [runner]
    danger_same_user = true
    [environment]
    LANG = "C"
    [[program]]
    name = "export"
    path = "PROGRAM"
    [[secret]]
    env = "PGPASSWORD"
    secret = "shop"
    program = "export"
    target = { action = "data.export", resource = 'Dataset::"shop.accounts"' }
"#;

type Change = fn(&Door, &std::path::Path, &str);

#[tokio::test]
async fn whatever_changed_nothing_else_is_run() {
    let reconfigure = |door: &Door, from: &str, to: &str, program: &std::path::Path| {
        let text = RUNNER.replace("PROGRAM", program.to_str().unwrap()).replacen(from, to, 1);
        door.desk.change(|state| state.config = Arc::new(Config::parse(&text).unwrap()));
    };
    let changes: [(&str, Change, &str); 11] = [
        ("nothing", |_, _, _| {}, ""),
        (
            "the program",
            |_, program, _| write_executable(program, "#!/bin/sh\necho swapped\n"),
            "program_changed",
        ),
        ("the program is gone", |_, program, _| fs::remove_file(program).unwrap(), "program_changed"),
        (
            "an input's bytes",
            |door, _, blob| fs::write(door.stored_blob(blob), "swapped").unwrap(),
            "input_changed",
        ),
        ("an input is gone", |door, _, blob| fs::remove_file(door.stored_blob(blob)).unwrap(), "input_gone"),
        (
            "the mapping",
            |door, _, _| door.desk.change(|state| state.resource = "shop.cards"),
            "mapping_changed",
        ),
        (
            "a secret's version",
            |door, _, _| {
                door.desk.change(|state| {
                    state.vault.insert("shop".into(), (4, "new horse"));
                });
            },
            "secrets_changed",
        ),
        ("a secret is gone", |door, _, _| door.desk.change(|state| state.vault.clear()), "secrets_changed"),
        ("the environment", |_, _, _| {}, "runner_changed"),
        ("the rule for the secret", |_, _, _| {}, "runner_changed"),
        ("what is recorded", |_, _, _| {}, "runner_changed"),
    ];
    for (what, change, reason) in changes {
        let programs = trusted_directory();
        let program = programs.path().join("export");
        write_executable(&program, "#!/bin/sh\necho reviewed\n");
        let door = Door::new(&RUNNER.replace("PROGRAM", program.to_str().unwrap()));
        let blob = door.upload("reviewed").await;
        let id = door.granted(&json!({"argv": ["export"], "inputs": [{"name": "in", "sha256": blob}]})).await;
        change(&door, &program, &blob);
        match what {
            "the environment" => reconfigure(&door, "LANG = \"C\"", "LANG = \"D\"", &program),
            "what is recorded" => reconfigure(&door, "[runner]", "[runner]\nrecord = \"all\"", &program),
            "the rule for the secret" => reconfigure(&door, "shop.accounts", "shop.cards", &program),
            _ => {}
        }
        let (stdout, _, end) = door.run_to_the_end(id).await;
        let outcome = door.desk.only_outcome();
        if reason.is_empty() {
            assert_eq!((stdout.as_str(), end.status), ("reviewed\n", EndStatus::Succeeded));
            continue;
        }
        assert_eq!((stdout.as_str(), end.status), ("", EndStatus::Failed), "{what}");
        assert_eq!(end.reason.as_deref(), Some(reason), "{what}");
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{what}");
        assert_eq!(outcome.summary.as_raw(), format!("not executed; {reason}"), "{what}");
    }
}

#[tokio::test]
async fn the_runner_switched_off_after_the_review_runs_nothing() {
    let door = Door::new(SAME_USER);
    let id = door.granted(&sh("echo ran")).await;
    door.desk.change(|state| state.config = Arc::new(Config::parse("").unwrap()));
    let (stdout, _, end) = door.run_to_the_end(id).await;
    assert_eq!((stdout.as_str(), end.reason.as_deref()), ("", Some("runner_off")));
}
