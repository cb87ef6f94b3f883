//! Streams of output: lost clients, silence, leases, cancellation, and what is left afterwards.

use axum::body::BodyDataStream;
use futures::StreamExt;
use placet_core::request::OutcomeKind;
use placet_gateway::frames::{EndStatus, Frame};

use super::*;

struct Reading {
    body: BodyDataStream,
    decoder: Decoder,
}

impl Reading {
    async fn begin(door: &Door, id: RequestId, from: u64) -> Self {
        let response = door.output(AGENT, id, from).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/vnd.placet.frames");
        Reading { body: response.into_body().into_data_stream(), decoder: Decoder::from_offset(from) }
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let part = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("something comes")?;
            self.decoder.push(&part.unwrap());
        }
    }

    async fn data(&mut self) -> String {
        loop {
            let frame = self.frame().await.unwrap();
            if frame.kind != Kind::KeepAlive {
                return String::from_utf8_lossy(&frame.payload).into_owned();
            }
        }
    }
}

async fn post(door: &Door, id: RequestId, what: &str) -> StatusCode {
    door.call(AGENT, "POST", &format!("/v1/commands/{id}/{what}"), Body::empty()).await.0
}

#[tokio::test]
async fn a_lost_client_stops_nothing_and_continues_where_it_was() {
    let door = Door::new(SAME_USER);
    let fifo = door.bench.fifo("go");
    let id =
        door.granted(&sh(&format!("echo one; read line < {}; echo two; seq 1 50000", fifo.display()))).await;
    assert_eq!(post(&door, id, "run").await, StatusCode::CREATED);
    let mut reading = Reading::begin(&door, id, 0).await;
    assert_eq!(reading.data().await, "one\n");
    let offset = reading.decoder.offset();
    drop(reading);

    elsewhere(move || fs::write(fifo, "go\n").unwrap()).await;
    let refused = door.output(AGENT, id, offset - 1).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "no frame starts there");
    let mut reading = Reading::begin(&door, id, offset).await;
    let mut rest = String::new();
    let end = loop {
        let frame = reading.frame().await.unwrap();
        match frame.kind {
            Kind::Stdout => rest.push_str(std::str::from_utf8(&frame.payload).unwrap()),
            Kind::End => break End::from_payload(&frame.payload).unwrap(),
            Kind::Stderr | Kind::KeepAlive => {}
        }
    };
    let expected = "two\n".to_owned() + &(1..=50_000).map(|number| format!("{number}\n")).collect::<String>();
    assert!(rest == expected, "{} bytes", rest.len());
    assert_eq!(end.sha256, Sha256Digest::of(format!("one\n{expected}").as_bytes()).to_string());

    assert_eq!(door.output(AGENT, id, 0).await.status(), StatusCode::OK, "not yet known to be received");
    assert!(reading.frame().await.is_none());
    assert_eq!(door.output(AGENT, id, 0).await.status(), StatusCode::GONE, "read to its end");
}

#[tokio::test]
async fn silence_is_filled_with_keep_alives() {
    let pace = Pace { keep_alive: Duration::from_millis(1), ..Pace::default() };
    let door = Door::at_pace(SAME_USER, pace);
    let fifo = door.bench.fifo("go");
    let id = door.granted(&sh(&format!("read line < {}", fifo.display()))).await;
    post(&door, id, "run").await;
    let mut reading = Reading::begin(&door, id, 0).await;
    for _ in 0..3 {
        assert_eq!(reading.frame().await.unwrap().kind, Kind::KeepAlive);
    }
    assert_eq!(reading.decoder.offset(), 0, "they do not count");
    elsewhere(move || fs::write(fifo, "go\n").unwrap()).await;
    assert!(reading.data().await.contains("\"succeeded\""));
}

#[tokio::test]
async fn the_lease_ends_in_unknown() {
    let door = Door::new(SAME_USER);
    let id = door.granted(&sh("trap '' TERM; echo ready; while :; do sleep 1000; done")).await;
    post(&door, id, "run").await;
    let mut reading = Reading::begin(&door, id, 0).await;
    assert_eq!(reading.data().await, "ready\n");
    door.lease.ring();
    let end = End::from_payload(reading.data().await.as_bytes()).unwrap();
    assert_eq!((end.status, end.reason.as_deref()), (EndStatus::Unknown, Some("lease_expired")));
    let outcome = door.desk.only_outcome();
    assert_eq!(outcome.kind, OutcomeKind::Unknown);
    // What there was until then goes along.
    assert_eq!((outcome.measures["bytes"], outcome.result), (6, Some(Sha256Digest::of(b"ready\n"))));
    let kept = outcome.recording.unwrap();
    let recording = placet_api::recording::Recording::parse(&kept.bytes).unwrap();
    assert_eq!((recording.header.placet.stdout_bytes, kept.truncated), (6, false));
}

#[tokio::test]
async fn cancelling_ends_the_program_or_withdraws_the_request() {
    let door = Door::new(SAME_USER);
    let id = door
        .granted(&sh("trap 'echo bye; exit 1' TERM; echo ready; while :; do sleep 1000 & wait; done"))
        .await;
    assert_eq!(post(&door, id, "cancel").await, StatusCode::OK, "nothing runs: the authority withdraws");
    post(&door, id, "run").await;
    let mut reading = Reading::begin(&door, id, 0).await;
    assert_eq!(reading.data().await, "ready\n");
    assert_eq!(post(&door, id, "cancel").await, StatusCode::ACCEPTED);
    assert_eq!(reading.data().await, "bye\n");
    let end = End::from_payload(reading.data().await.as_bytes()).unwrap();
    assert_eq!((end.status, end.reason.as_deref()), (EndStatus::Failed, Some("cancelled")));
}

#[tokio::test]
async fn as_many_run_as_the_bundle_says() {
    let door = Door::new("[runner]\ndanger_same_user = true\nconcurrent_max = 1\n");
    let (first, second) = (door.granted(&sh("sleep 1000")).await, door.granted(&sh("echo mine")).await);
    assert_eq!(post(&door, first, "run").await, StatusCode::CREATED);
    assert_eq!(post(&door, second, "run").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(post(&door, first, "cancel").await, StatusCode::ACCEPTED);
    read_frames(door.output(AGENT, first, 0).await).await;
    // The grant was not touched by the refusal. The place is free a moment after the end frame.
    tokio::time::timeout(PATIENCE, async {
        while post(&door, second, "run").await != StatusCode::CREATED {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(read_frames(door.output(AGENT, second, 0).await).await.0, "mine\n");
}

#[tokio::test]
async fn all_output_together_takes_no_more_than_its_room() {
    let pace = Pace { report_again: Duration::ZERO, ..Pace::default() };
    let door = Door::with_room(SAME_USER, pace, Room::of(400_000));
    let printing = |bytes: u32| sh(&format!("head -c {bytes} /dev/zero"));
    let first = door.granted(&printing(300_000)).await;
    post(&door, first, "run").await;
    let outcome = |count: usize| {
        let desk = &door.desk;
        async move {
            let reported = async {
                while desk.state.lock().unwrap().outcomes.len() < count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, reported).await.unwrap();
            desk.state.lock().unwrap().outcomes[count - 1].1.clone()
        }
    };
    assert_eq!(outcome(1).await.kind, OutcomeKind::Succeeded);
    // Nobody reads it, and the next one does not fit beside it.
    let second = door.granted(&printing(300_000)).await;
    assert_eq!(post(&door, second, "run").await, StatusCode::CREATED);
    let ended = outcome(2).await;
    assert_eq!(ended.kind, OutcomeKind::Failed);
    assert!(ended.summary.as_raw().contains("output_cap"), "{ended:?}");
    assert_eq!(door.output(AGENT, first, 0).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn where_there_is_hardly_room_the_oldest_output_makes_way() {
    let pace = Pace { report_again: Duration::ZERO, ..Pace::default() };
    let door = Door::with_room(SAME_USER, pace, Room::of(400_000));
    let printing = |bytes: u32| sh(&format!("head -c {bytes} /dev/zero"));
    let first = door.granted(&printing(360_000)).await;
    post(&door, first, "run").await;
    // It is read nearly to its end, so that it is known to have ended, and not deleted for having been read.
    let mut reading = Reading::begin(&door, first, 0).await;
    while !reading.data().await.contains("\"succeeded\"") {}
    drop(reading);
    let second = door.granted(&printing(300_000)).await;
    let (stdout, _, end) = door.run_to_the_end(second).await;
    assert_eq!((stdout.len(), end.status), (300_000, EndStatus::Succeeded));
    assert_eq!(door.output(AGENT, first, 0).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn draining_ends_everything_and_reports_it() {
    let door = Door::new(SAME_USER);
    let (running, waiting) =
        (door.granted(&sh("echo ready; sleep 1000")).await, door.granted(&sh("true")).await);
    post(&door, running, "run").await;
    let mut reading = Reading::begin(&door, running, 0).await;
    assert_eq!(reading.data().await, "ready\n");
    tokio::time::timeout(PATIENCE, door.commands.drain()).await.unwrap();
    let outcome = door.desk.only_outcome();
    assert_eq!(
        (outcome.kind, outcome.summary.as_raw()),
        (OutcomeKind::Failed, "ended by signal 15; cancelled")
    );
    assert_eq!(post(&door, waiting, "run").await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn output_that_nobody_reads_is_deleted_after_an_hour() {
    let door = Door::new(SAME_USER);
    let id = door.granted(&sh("echo forgotten")).await;
    post(&door, id, "run").await;
    let mut reading = Reading::begin(&door, id, 0).await;
    assert_eq!(reading.data().await, "forgotten\n");
    assert!(reading.data().await.contains("\"succeeded\""));
    drop(reading);
    let now = door.bench.engine.clock.now();
    door.commands.sweep(now.plus(Duration::from_secs(59 * 60)));
    assert_eq!(door.output(AGENT, id, 0).await.status(), StatusCode::OK);
    door.commands.sweep(now.plus(Duration::from_secs(61 * 60)));
    assert_eq!(door.output(AGENT, id, 0).await.status(), StatusCode::NOT_FOUND);
    let (status, problem) = door.run(id).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("already_claimed")),
        "and not run again"
    );
}
