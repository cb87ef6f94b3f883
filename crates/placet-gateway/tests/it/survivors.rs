//! What programs leave behind, and what is left when placet or its supervisor is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_core::action::Grade;
use placet_gateway::frames::EndStatus;
use placet_gateway::runner::config::RunAs;
use placet_gateway::runner::processes::{Leftover, MARK, kill_leftovers};

use crate::bench::*;

/// Ways for a child to get out of its parent's reach. Each child holds the named pipe `$1` open for ever.
const ESCAPES: [(&str, &str); 5] = [
    ("in the background", "sh -c 'echo here >&7; exec sleep 1000' &"),
    ("in a session of its own", "setsid sh -c 'echo here >&7; exec sleep 1000' &"),
    ("forked twice", "(setsid sh -c '(echo here >&7; exec sleep 1000) & exit 0' &);"),
    ("ignoring TERM", "sh -c 'trap \"\" TERM HUP INT; echo here >&7; while :; do sleep 1000; done' &"),
    ("without the mark", "setsid env -i /bin/sh -c 'echo here >&7; exec /bin/sleep 1000' &"),
];

#[tokio::test]
async fn no_child_outlives_its_program() {
    for bench in benches() {
        for (place, (way, escape)) in ESCAPES.iter().enumerate() {
            let (fifo, sync) = (bench.fifo(&format!("alive-{place}")), bench.fifo(&format!("sync-{place}")));
            // The program ends when the test has heard from the child.
            let script = format!("exec 7>\"$1\"; {escape} head -n 1 \"$2\" >/dev/null; echo main done");
            let paths = [&fifo, &sync].map(|path| path.to_str().unwrap().to_owned());
            let running = bench.start(launch("/bin/sh", &["-c", &script, "sh", &paths[0], &paths[1]]));
            let heard = tokio::spawn({
                let fifo = fifo.clone();
                async move { drained_after(&fifo, &sync).await }
            });
            let done = finish(&running).await;
            assert_eq!(done.stdout, "main done\n", "{way}: {}", done.stderr);
            assert_eq!(done.report.end.status, EndStatus::Succeeded, "{way}");
            assert_eq!(heard.await.unwrap(), "here\n", "{way}");
        }
    }
}

/// Waits for the first line, lets the program go on, and waits for the end of all writers.
async fn drained_after(fifo: &Path, sync: &Path) -> String {
    let (fifo, sync) = (fifo.to_owned(), sync.to_owned());
    elsewhere(move || {
        // Open for both, so that it never blocks and never breaks.
        let mut go = std::fs::OpenOptions::new().read(true).write(true).open(sync).unwrap();
        let mut reader = BufReader::new(std::fs::File::open(fifo).unwrap());
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        go.write_all(b"go\n").unwrap();
        while reader.read_line(&mut text).unwrap() > 0 {}
        text
    })
    .await
}

#[tokio::test]
async fn no_child_outlives_the_supervisor() {
    for bench in benches() {
        let fifo = bench.fifo("alive");
        let script = "exec 7>\"$1\"; setsid sh -c 'echo here >&7; exec sleep 1000' & echo $PPID.; sleep 1000";
        let running = bench.start(launch("/bin/sh", &["-c", script, "sh", fifo.to_str().unwrap()]));
        let alive = tokio::spawn(async move { drained(&fifo).await });
        until_written(&running, ".").await;
        let stdout = String::from_utf8(output(&running.spool).0).unwrap();
        let supervisor: i32 = stdout.trim().trim_end_matches('.').parse().unwrap();
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
        let done = finish(&running).await;
        assert_eq!(done.report.end.status, EndStatus::Unknown);
        assert_eq!(done.report.end.reason.as_deref(), Some("supervisor_lost"));
        alive.await.unwrap();
    }
}

/// Not a test by itself: the placet that the next test kills.
#[tokio::test]
async fn a_placet_to_be_killed() {
    let Some(fifo) = std::env::var_os("PLACET_TEST_FIFO") else { return };
    let run_as = match std::env::var("PLACET_TEST_USER") {
        Ok(user) => RunAs::User(user),
        Err(_) => RunAs::DangerSameUser,
    };
    let bench = Bench::new(&run_as);
    let script = "exec 7>\"$1\"; setsid env -i /bin/sh -c 'trap \"\" TERM HUP; echo here >&7; while :; do /bin/sleep 1000; done' & sleep 1000";
    let running = bench.start(launch("/bin/sh", &["-c", script, "sh", fifo.to_str().unwrap()]));
    running.finished().await;
    unreachable!("it is killed before");
}

#[tokio::test]
async fn no_child_outlives_placet() {
    for bench in benches() {
        let fifo = bench.fifo("alive");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "survivors::a_placet_to_be_killed"]).env("PLACET_TEST_FIFO", &fifo);
        if bench.identity.grade() == Grade::Enforced {
            command.env("PLACET_TEST_USER", "nobody");
        }
        let mut placet = command.stdout(Stdio::null()).spawn().unwrap();
        elsewhere(move || {
            let mut reader = BufReader::new(std::fs::File::open(fifo).unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "here\n");
            placet.kill().unwrap();
            placet.wait().unwrap();
            // The end of the pipe: nobody holds it any more.
            while reader.read_line(&mut line).unwrap() > 0 {}
        })
        .await;
    }
}

#[test]
fn leftovers_are_found_by_their_mark_and_only_ours() {
    let (ours, others) = (execution(), execution());
    let sleeper = |mark: String| Command::new("sleep").arg("1000").env(MARK, mark).spawn().unwrap();
    let (mut left, mut foreign) = (sleeper(ours.to_string()), sleeper(others.to_string()));
    let own = nix::unistd::geteuid().as_raw();

    assert_eq!(kill_leftovers(&|found| found == ours, &[own + 1]), [], "another user's are not ours");
    let killed = kill_leftovers(&|found| found == ours, &[own]);
    assert_eq!(killed, [Leftover { pid: left.id().cast_signed(), execution: ours }]);
    assert!(!left.wait().unwrap().success());
    assert_eq!(foreign.try_wait().unwrap(), None, "another placet's child lives");
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}
