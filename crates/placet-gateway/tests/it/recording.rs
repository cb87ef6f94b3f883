//! What is recorded of real programs.

use placet_api::recording::{Recording, What};
use placet_core::action::Recorded;
use placet_gateway::runner::config::RunAs;
use placet_gateway::runner::exec::{Launch, Stop};
use placet_gateway::runner::record::RECORDING_BYTES_MAX;

use crate::bench::*;

fn recorded(record: Recorded, script: &str) -> Launch {
    Launch { record, ..shell(script) }
}

async fn recording_of(bench: &Bench, launch: Launch) -> (Done, Option<Recording>) {
    let running = bench.start(launch);
    let done = finish(&running).await;
    let kept = running.take_recording();
    assert!(running.take_recording().is_none(), "whoever takes it has the only one");
    (done, kept.map(|kept| Recording::parse(&kept.bytes).unwrap()))
}

fn text(recording: &Recording) -> String {
    let texts = recording.events.iter().filter_map(|event| match &event.what {
        What::Text(_, text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test]
async fn a_program_is_recorded_as_far_as_was_approved() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let script = "echo ada@example.com; echo oops >&2; exit 3";
    let (_, nothing) = recording_of(&bench, recorded(Recorded::Nothing, script)).await;
    assert!(nothing.is_none());
    for (record, out) in [(Recorded::Stderr, false), (Recorded::All, true)] {
        let launch = recorded(record, script);
        let execution = launch.execution.to_string();
        let (done, recording) = recording_of(&bench, launch).await;
        let recording = recording.unwrap();
        assert_eq!(done.stdout, "ada@example.com\n", "what is delivered does not change");
        assert_eq!(text(&recording).contains("ada@example.com"), out);
        assert!(text(&recording).contains("oops\n"));
        assert_eq!(recording.events.last().unwrap().what, What::Exit(3));
        let about = recording.header.placet;
        assert_eq!((about.execution, about.stdout_bytes, about.stderr_bytes), (execution, 16, 5));
    }
}

#[tokio::test]
async fn a_secret_cut_in_two_is_in_no_recording() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let script = "printf 'correct ' >&2; sleep 0.1; printf 'horse, wrong\\n' >&2";
    let launch = with_secret(recorded(Recorded::All, script), "PGPASSWORD", "correct horse");
    let (done, recording) = recording_of(&bench, launch).await;
    assert_eq!(done.stderr, "[redacted], wrong\n");
    assert_eq!(text(&recording.unwrap()), "[redacted], wrong\n");

    let script = "echo rows; printf 'correct '; printf 'horse'; sleep 1000";
    let launch = with_secret(recorded(Recorded::All, script), "PGPASSWORD", "correct horse");
    let (done, recording) = recording_of(&bench, launch).await;
    assert_eq!(done.report.end.reason.as_deref(), Some("secret_leaked"));
    let recording = recording.unwrap();
    assert_eq!(text(&recording), "rows\n");
    assert_eq!(recording.events.last().unwrap().what, What::Exit(137), "and how it ended is told");
}

#[tokio::test]
async fn endless_output_is_recorded_up_to_the_bound() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    // Text until the bound of the recording, and much more than that delivered.
    let launch = recorded(Recorded::All, "yes 'a line of text' | head -c 64000000; echo end >&2");
    let (done, recording) = recording_of(&bench, launch).await;
    let recording = recording.unwrap();
    assert_eq!((done.stdout.len(), done.report.end.truncated), (64_000_000, false));
    let about = &recording.header.placet;
    assert_eq!((about.truncated, about.stdout_bytes), (true, 64_000_000));
    assert!(text(&recording).len() <= RECORDING_BYTES_MAX);
    // What is no text costs nothing.
    let launch = recorded(Recorded::All, "head -c 64000000 /dev/zero");
    let (_, recording) = recording_of(&bench, launch).await;
    let recording = recording.unwrap();
    assert_eq!((text(&recording).as_str(), recording.header.placet.truncated), ("", false));
    assert!(recording.events.len() < 1_000, "{}", recording.events.len());
}

#[tokio::test]
async fn two_at_once_have_a_recording_each() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let launches = ["one", "two"].map(|word| {
        recorded(Recorded::All, &format!("for i in 1 2 3; do echo {word}; echo {word} >&2; done"))
    });
    let [one, two] = launches.map(|launch| bench.start(launch));
    for (running, word) in [(one, "one\n"), (two, "two\n")] {
        finish(&running).await;
        let recording = Recording::parse(&running.take_recording().unwrap().bytes).unwrap();
        assert_eq!(text(&recording), word.repeat(6));
    }
}

#[tokio::test]
async fn what_was_stopped_was_recorded_until_then_and_what_never_began_was_not() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let running = bench.start(recorded(Recorded::All, "echo ready; sleep 1000"));
    until_written(&running, "ready").await;
    running.stop(Stop::LeaseExpired);
    finish(&running).await;
    let recording = Recording::parse(&running.take_recording().unwrap().bytes).unwrap();
    assert_eq!(text(&recording), "ready\n");
    assert_eq!(recording.events.last().unwrap().what, What::Exit(137));

    let mut launch = recorded(Recorded::All, "echo ran");
    launch.program[0].sha256 = placet_core::digest::Sha256Digest::of(b"other");
    let (done, recording) = recording_of(&bench, launch).await;
    assert_eq!(done.report.end.reason.as_deref(), Some("program_changed"));
    assert!(recording.is_none());
}
