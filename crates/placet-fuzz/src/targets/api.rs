//! Bodies of calls, and recordings.

use std::fmt::Debug;

use placet_api::command::CommandIntake;
use placet_api::intake::{ClaimRequest, OutcomeRequest, SubmitRequest};
use placet_api::pep::{AbandonRequest, GuideRequest, InterceptedRequest, PepClaim};
use placet_api::read::InputError;
use placet_api::recording::{Recording, Stream, What};
use placet_api::review::{ResolveRequest, VoteRequest};

/// What was read of a body is what a client would have to write to mean it.
pub(super) fn bodies(data: &[u8]) {
    body(data, SubmitRequest::from_json, SubmitRequest::to_json);
    body(data, CommandIntake::from_json, CommandIntake::to_json);
    body(data, ClaimRequest::from_json, ClaimRequest::to_json);
    body(data, OutcomeRequest::from_json, OutcomeRequest::to_json);
    body(data, VoteRequest::from_json, VoteRequest::to_json);
    body(data, ResolveRequest::from_json, ResolveRequest::to_json);
    body(data, GuideRequest::from_json, GuideRequest::to_json);
    body(data, InterceptedRequest::from_json, InterceptedRequest::to_json);
    body(data, PepClaim::from_json, PepClaim::to_json);
    body(data, AbandonRequest::from_json, AbandonRequest::to_json);
}

fn body<T: PartialEq + Debug>(
    data: &[u8],
    read: fn(&[u8]) -> Result<T, InputError>,
    write: fn(&T) -> String,
) {
    match read(data) {
        Ok(meant) => {
            let written = write(&meant);
            let again = read(written.as_bytes());
            assert_eq!(again.as_ref().ok(), Some(&meant), "{again:?} of {written}");
        }
        Err(error) => assert!(!error.code.is_empty() && !error.message.is_empty()),
    }
}

/// So much time that a recording's fractions of seconds are exact.
const AFTER_MS_MAX: u64 = 1 << 40;

/// What was read of a recording can be written, and is read as the same.
pub(super) fn recording(data: &[u8]) {
    let Ok(recording) = Recording::parse(data) else { return };
    if recording.events.iter().any(|event| event.after_ms > AFTER_MS_MAX) {
        return;
    }
    let mut text = serde_json::to_string(&recording.header).expect("a header can be written") + "\n";
    let mut last: Option<Stream> = None;
    for event in &recording.events {
        text.push_str(&event.lines(last));
        if let What::Text(stream, _) = &event.what {
            last = Some(*stream);
        }
    }
    assert_eq!(Recording::parse(text.as_bytes()).as_ref(), Ok(&recording), "{text}");
}
