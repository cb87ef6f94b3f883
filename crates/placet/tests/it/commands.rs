//! `placet run`: programs that placet runs.

use std::io::{BufRead as _, BufReader};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Placet, ended};

/// A placet whose policy permits every command without a review.
fn permitting() -> Placet {
    let placet = Placet::start();
    permit_commands(&placet);
    placet.activate();
    placet
}

/// Takes the question about commands out of a placet's policy, which has to be activated then.
pub(crate) fn permit_commands(placet: &Placet) {
    let policy = placet.policy().join("ask.cedar");
    let text = std::fs::read_to_string(&policy).unwrap();
    let guard = text.split("@id(\"any-tool\")").next().unwrap().split("@id(\"any-command\")").nth(1).unwrap();
    std::fs::write(&policy, text.replace(&format!("@id(\"any-command\"){guard}"), "")).unwrap();
    std::fs::remove_dir_all(placet.policy().join("tests")).unwrap();
}

#[test]
fn a_program_runs_as_if_it_were_here() {
    let placet = permitting();
    let run = |arguments: &[&str]| placet.cli(["run", "--"].iter().chain(arguments));
    let ended = run(&["/bin/echo", "hello", "wörld"]).run();
    assert_eq!((ended.code, ended.stdout.as_slice()), (0, "hello wörld\n".as_bytes()), "{ended:?}");
    assert_eq!(run(&["/bin/sh", "-c", "exit 3"]).run().code, 3);
    assert_eq!(run(&["/bin/sh", "-c", "kill -KILL $$"]).run().code, 137);
    let both = run(&["/bin/sh", "-c", "echo out; echo err >&2"]).run();
    assert_eq!((both.stdout.as_slice(), both.code), (b"out\n".as_slice(), 0));
    assert!(both.stderr.contains("err\n"), "{both:?}");
    run(&["no-such-program"]).fails(64, "no_such_program");
}

#[test]
fn inputs_and_standard_input_go_along() {
    let placet = permitting();
    let input = placet.space().join("plan.txt");
    std::fs::write(&input, "the plan\n").unwrap();
    let run =
        placet.cli(["run", "--input"]).arg(&input).arg("--input").arg(format!("second={}", input.display()));
    assert_eq!(
        run.arg("--").arg("/bin/cat").arg("plan.txt").arg("second").succeeds(),
        "the plan\nthe plan\n"
    );
    assert_eq!(placet.cli(["run", "--", "/bin/cat"]).stdin("from the pipe").succeeds(), "from the pipe");
    assert_eq!(placet.cli(["run", "--stdin", "none", "--", "/bin/cat"]).stdin("not read").succeeds(), "");
    placet.cli(["run", "--input", "no-such-file", "--", "/bin/true"]).fails(64, "no-such-file");
}

#[test]
fn with_json_every_step_is_a_line() {
    let placet = permitting();
    let said = placet.cli(["run", "--json", "--", "/bin/sh", "-c", "printf hi; exit 2"]).run();
    assert_eq!(said.code, 2);
    let lines: Vec<serde_json::Value> = said
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "request");
    assert!(lines.iter().any(|line| line["event"] == "stdout" && line["text"] == "hi"), "{lines:?}");
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["exit"], &last["end"]["exit_code"]),
        (&"end".into(), &2.into(), &2.into())
    );
}

#[test]
fn ctrl_c_while_waiting_withdraws_nothing_and_tells_how_to_go_on() {
    let placet = Placet::start();
    let mut waiting = placet.cli(["run", "--", "/bin/echo", "approved"]).spawn();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("deadline") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    // The last line before it waits names what is missing.
    stderr.read_line(&mut said).unwrap();
    kill(Pid::from_raw(i32::try_from(waiting.id()).unwrap()), Signal::SIGINT).unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    let stopped = ended(waiting);
    assert_eq!(stopped.code, 75, "{said}");
    let resume = said.split("placet run --resume ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    assert_eq!(placet.cli(["requests", "show", &resume]).json()["status"], "pending");

    placet.change_policy("bundle.toml", "token_may_approve = false", "token_may_approve = true");
    let token = placet.token_of("Ada");
    placet.cli(["review", "approve", &resume, "--yes"]).env("PLACET_PERSON_TOKEN", &token).succeeds();
    assert_eq!(placet.cli(["run", "--resume", &resume]).succeeds(), "approved\n");
    placet.cli(["run", "--resume", &resume, "--", "ls"]).fails(64, "cannot be used with");
}

#[test]
fn ctrl_c_while_it_runs_ends_it() {
    let placet = permitting();
    let mut running = placet.cli(["run", "--", "/bin/sh", "-c", "echo started; sleep 600"]).spawn();
    let mut stdout = BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    kill(Pid::from_raw(i32::try_from(running.id()).unwrap()), Signal::SIGINT).unwrap();
    let stopped = ended(running);
    assert_eq!(stopped.code, 143, "{stopped:?}");
    assert!(stopped.stderr.contains("ending it"), "{stopped:?}");
    let failed = placet.cli(["requests", "ls", "--status", "failed"]).json();
    assert_eq!(failed["requests"].as_array().unwrap().len(), 1);
}

#[test]
fn a_denied_command_is_not_run() {
    let placet = Placet::start();
    let file = placet.space().join("touched");
    let waiting = placet.cli(["run", "-j", "please", "--", "/usr/bin/touch"]).arg(&file).spawn();
    let token = placet.token_of("Ada");
    let review = |arguments: &[&str]| {
        placet.cli(["review"].iter().chain(arguments)).env("PLACET_PERSON_TOKEN", &token)
    };
    let id = loop {
        let listed = review(&["ls"]).json();
        if let Some(id) = listed["reviews"][0]["request"]["id"].as_str() {
            break id.to_owned();
        }
    };
    review(&["deny", &id, "--yes", "--reason", "use the other disk"]).succeeds();
    let denied = ended(waiting);
    assert_eq!(denied.code, 77, "{denied:?}");
    assert!(denied.stderr.contains("a reviewer denied this: use the other disk"), "{denied:?}");
    assert!(!file.exists());
    // The same command gets the same answer while it cools down, and bothers nobody.
    let again = placet.cli(["run", "--", "/usr/bin/touch"]).arg(&file).fails(77, "use the other disk");
    assert!(again.stderr.contains("gets this same answer until"), "{again:?}");
}

#[test]
fn without_a_runner_commands_are_refused_at_once() {
    let placet = Placet::team();
    placet.cli(["run", "--", "/bin/true"]).fails(69, "run_as");
    assert_eq!(placet.cli(["requests", "ls"]).json()["requests"], serde_json::json!([]));
}

#[test]
fn nobody_knows_what_a_command_did_while_placet_crashed() {
    let placet = permitting();
    let mut running = placet.cli(["run", "--", "/bin/sh", "-c", "echo started; sleep 600"]).spawn();
    let mut stdout = BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    let id = placet.cli(["requests", "ls"]).json()["requests"][0]["id"].as_str().unwrap().to_owned();
    let placet = placet.crash().start();
    let lost = ended(running);
    assert_eq!(lost.code, 69, "{lost:?}");
    assert!(lost.stderr.contains(&format!("placet run --resume {id}")), "{lost:?}");
    placet.cli(["run", "--resume", &id]).fails(76, "unknown");
    assert_eq!(placet.cli(["requests", "wait", &id]).run().code, 76);
}
