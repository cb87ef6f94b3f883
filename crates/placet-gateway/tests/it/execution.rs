//! One execution: what the program gets, what comes back, how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use placet_gateway::frames::EndStatus;
use placet_gateway::runner::config::RunAs;
use placet_gateway::runner::exec::Stop;

use crate::bench::*;

#[tokio::test]
async fn a_program_gets_its_arguments_and_tells_how_it_ended() {
    for bench in benches() {
        let done = bench
            .run(launch("/bin/sh", &["-c", "printf '%s|' \"$@\"; echo oops >&2; exit 3", "x", "a b", "*"]))
            .await;
        assert_eq!(done.stdout, "a b|*|");
        assert_eq!(done.stderr, "oops\n");
        let end = &done.report.end;
        assert_eq!((end.status, end.exit_code, end.signal), (EndStatus::Failed, Some(3), None));
        assert_eq!((end.reason.as_deref(), end.truncated), (None, false));
        assert_eq!(done.report.stderr_tail, "oops\n");

        let done = bench.shell("exit 0").await;
        assert_eq!(done.report.end.status, EndStatus::Succeeded);
        let done = bench.shell("kill -SEGV $$").await;
        assert_eq!((done.report.end.status, done.report.end.signal), (EndStatus::Failed, Some(11)));
    }
}

#[tokio::test]
async fn output_of_many_blocks_arrives_whole() {
    for bench in benches() {
        let done = bench.shell("seq 1 300000; echo done >&2").await;
        let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
        assert!(done.stdout == expected, "{} bytes", done.stdout.len());
        assert_eq!(done.stderr, "done\n");
    }
}

#[tokio::test]
async fn the_directory_is_private_empty_and_removed() {
    for bench in benches() {
        let done =
            bench.shell("pwd; ls -A; stat -c '%a %U' .; mkdir -p a/b; ln -s / a/root; touch a/b/c").await;
        let lines: Vec<&str> = done.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "nothing in it: {}", done.stdout);
        assert_eq!(lines[1], format!("700 {}", bench.identity.name()));
        assert!(!fs::exists(lines[0]).unwrap(), "{} is gone", lines[0]);
        assert!(fs::exists("/bin/sh").unwrap(), "the link was not followed");
    }
}

#[tokio::test]
async fn it_runs_as_another_user_with_no_way_back() {
    if !is_root() {
        return;
    }
    let bench = Bench::new(&RunAs::User("nobody".into()));
    let done = bench.shell("id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; ulimit -c").await;
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid, nobody.gid);
    assert_eq!(done.stdout, format!("{uid}\n{gid}\n{gid}\nNoNewPrivs:\t1\n0\n"));
    // The supervisor is root and holds the secrets: it is out of reach.
    let done = bench.shell("cat /proc/$PPID/environ; ls /proc/$PPID/fd; kill -9 $PPID; echo $?").await;
    assert_eq!(done.stdout, "1\n", "{}", done.stderr);
    assert_eq!(done.report.end.status, EndStatus::Succeeded);
}

#[tokio::test]
async fn the_program_has_no_terminal_and_no_other_descriptors() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let inherited = fs::File::open("/dev/null").unwrap();
    fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    for bench in benches() {
        let done = bench.shell("ls /proc/$$/fd; cat; (: < /dev/tty) || echo none").await;
        assert_eq!(done.stdout, "0\n1\n2\nnone\n", "{}", done.stderr);
    }
}

/// Runs one test of this binary again, alone, in another environment.
fn again(test: &str, environment: &[(&str, &str)]) -> std::process::Output {
    let binary = std::env::current_exe().unwrap();
    let mut command = Command::new(binary);
    command.args(["--exact", test, "--nocapture"]).env("PLACET_TEST_AGAIN", "1");
    command.envs(environment.iter().copied()).output().unwrap()
}

#[tokio::test]
async fn nothing_of_the_surroundings_reaches_the_program() {
    if std::env::var_os("PLACET_TEST_AGAIN").is_none() {
        let output = again(
            "execution::nothing_of_the_surroundings_reaches_the_program",
            &[("PGHOSTADDR", "203.0.113.9"), ("LD_PRELOAD", "/nonexistent/evil.so"), ("LD_DEBUG", "libs")],
        );
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
        return;
    }
    assert!(std::env::var_os("PGHOSTADDR").is_some(), "it is there to be inherited");
    for bench in benches() {
        let mut launch = with_secret(launch("/usr/bin/env", &[]), "PGPASSWORD", "never printed");
        launch.secrets.clear();
        launch.environment = [("LANG".to_owned(), "C.UTF-8".to_owned())].into();
        let expected = format!("LANG=C.UTF-8\nPLACET_EXECUTION={}\n", launch.execution);
        let done = bench.run(launch).await;
        assert_eq!(done.stdout, expected);
        assert_eq!(done.stderr, "", "no loader was told anything");
    }
}

#[tokio::test]
async fn inputs_are_attached_by_content() {
    for bench in benches() {
        let mut launch = shell("cat plan.json; stat -c %a plan.json; cat");
        launch.inputs = vec![bench.input("plan.json", "{\"replicas\":3}\n")];
        launch.stdin = Some(bench.input("stdin", "from stdin"));
        let done = bench.run(launch).await;
        assert_eq!(done.stdout, "{\"replicas\":3}\n444\nfrom stdin");
    }
}

#[tokio::test]
async fn a_swapped_input_is_refused() {
    for bench in benches() {
        for (place, swap) in [("input", false), ("input", true), ("stdin", false), ("stdin", true)] {
            let input = bench.input("data", "reviewed");
            let other = bench.input("other", "swapped");
            if swap {
                fs::remove_file(&input.stored).unwrap();
                std::os::unix::fs::symlink(&other.stored, &input.stored).unwrap();
            } else {
                fs::write(&input.stored, "swapped").unwrap();
            }
            let mut launch = shell("echo ran");
            match place {
                "input" => launch.inputs.push(input),
                _ => launch.stdin = Some(input),
            }
            let done = bench.run(launch).await;
            assert_eq!(done.report.end.reason.as_deref(), Some("input_changed"), "{place}");
            assert_eq!((done.report.end.status, done.stdout.as_str()), (EndStatus::Failed, ""));
            fs::remove_file(bench.shared.path().join("stored-data")).unwrap();
        }
    }
}

#[tokio::test]
async fn an_input_cannot_be_placed_elsewhere() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    for name in ["../escaped", "/tmp/escaped", "a/b", "..", ".", "", "a\0b"] {
        let mut launch = shell("echo ran");
        let mut input = bench.input("data", "content");
        input.name = name.to_owned();
        launch.inputs.push(input);
        let done = bench.run(launch).await;
        assert_eq!(done.report.end.reason.as_deref(), Some("input_changed"), "{name:?}");
        assert!(!fs::exists(bench.shared.path().join("work/escaped")).unwrap());
    }
}

#[tokio::test]
async fn a_secret_reaches_the_program_and_not_its_reader() {
    for bench in benches() {
        let secret = "correct horse";
        let done =
            bench.run(with_secret(shell("printf %s \"$PGPASSWORD\" | wc -c"), "PGPASSWORD", secret)).await;
        assert_eq!(done.stdout.trim(), "13");

        let script = "printf 'rows: '; printf 'correct '; printf 'horse'; printf 'after'; sleep 1000";
        let done = bench.run(with_secret(shell(script), "PGPASSWORD", secret)).await;
        assert_eq!(done.stdout, "rows: ", "stopped at the secret, although the program goes on");
        assert_eq!(done.report.end.status, EndStatus::Failed);
        assert_eq!(done.report.end.reason.as_deref(), Some("secret_leaked"));
        assert!(done.report.end.truncated);

        let script = "printf %s \"$PGPASSWORD\" | base64";
        let done = bench.run(with_secret(shell(script), "PGPASSWORD", secret)).await;
        assert_eq!((done.stdout.as_str(), done.report.end.reason.as_deref()), ("", Some("secret_leaked")));

        let script = "echo \"password $PGPASSWORD refused\" >&2; exit 1";
        let done = bench.run(with_secret(shell(script), "PGPASSWORD", secret)).await;
        assert_eq!(done.stderr, "password [redacted] refused\n");
        assert_eq!(done.report.stderr_tail, done.stderr);
        assert_eq!(done.report.end.exit_code, Some(1));
    }
}

#[tokio::test]
async fn endless_output_is_cut_off_at_the_cap() {
    for mut bench in benches() {
        bench.cap = 1_000_000;
        for script in ["yes", "yes >&2", "yes & yes >&2"] {
            let running = bench.start(shell(script));
            let done = finish(&running).await;
            assert_eq!(done.report.end.status, EndStatus::Failed);
            assert_eq!(done.report.end.reason.as_deref(), Some("output_cap"), "{script}");
            assert!(done.report.end.truncated);
            let length = running.spool.progress().borrow().length;
            assert!((1_000_000 - 8..=1_000_000).contains(&length), "{length}");
        }
    }
}

#[tokio::test]
async fn a_program_that_never_ends_is_ended_with_its_lease() {
    for bench in benches() {
        let running = bench.start(shell("trap '' TERM; echo ready; while :; do sleep 1000; done"));
        until_written(&running, "ready").await;
        running.stop(Stop::LeaseExpired);
        let done = finish(&running).await;
        assert_eq!(done.report.end.status, EndStatus::Unknown, "half done is not failed");
        assert_eq!(done.report.end.reason.as_deref(), Some("lease_expired"));
        assert_eq!(done.report.end.signal, Some(9));
    }
}

#[tokio::test]
async fn cancelling_is_gentle_first() {
    for bench in benches() {
        let running = bench
            .start(shell("trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 1 & wait; done"));
        until_written(&running, "ready").await;
        running.stop(Stop::Cancelled);
        let done = finish(&running).await;
        assert_eq!(done.stdout, "ready\ncleaned\n");
        assert_eq!(done.report.end.status, EndStatus::Failed, "a polite exit is not a success");
        assert_eq!(
            (done.report.end.reason.as_deref(), done.report.end.exit_code),
            (Some("cancelled"), Some(0))
        );

        let running = bench.start(shell("trap '' TERM; echo ready; while :; do sleep 1000; done"));
        until_written(&running, "ready").await;
        running.stop(Stop::Cancelled);
        let done = finish(&running).await;
        assert_eq!((done.report.end.reason.as_deref(), done.report.end.signal), (Some("cancelled"), Some(9)));
    }
}

#[tokio::test]
async fn stopping_what_is_over_changes_nothing() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let running = bench.start(shell("echo done"));
    let done = finish(&running).await;
    running.stop(Stop::Cancelled);
    assert_eq!(running.finished().await.unwrap().end, done.report.end);
    assert_eq!(done.report.end.status, EndStatus::Succeeded);
}

#[tokio::test]
async fn stopping_at_once_is_not_lost() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let running = bench.start(shell("sleep 1000"));
    running.stop(Stop::Cancelled);
    let done = finish(&running).await;
    assert_eq!(done.report.end.reason.as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn a_directory_that_is_taken_is_not_used() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let launch = shell("echo ran");
    let place = bench.shared.path().join("work").join(launch.execution.to_string());
    let elsewhere = bench.shared.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    let done = bench.run(launch).await;
    assert_eq!((done.report.end.reason.as_deref(), done.stdout.as_str()), (Some("not_started"), ""));
    assert_eq!(fs::metadata(elsewhere).unwrap().permissions().mode() & 0o777, 0o755, "untouched");
}
