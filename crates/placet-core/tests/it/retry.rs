//! What a repeated call gets: the whole table, at its exact milliseconds.

use std::time::Duration;

use placet_core::digest::ActionDigest;
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::retry::{DENIAL_COOLDOWN, KEY_LIFETIME, KeyRecord, OUTCOME_MEMORY, Retry, Twin, retry};

use crate::common::{MILLI, START, after};

fn digest() -> ActionDigest {
    ActionDigest::of_canonical("{}")
}

fn keyed() -> RequestId {
    RequestId::from_bytes([1; 16])
}

fn twin_of(status: Status, reviewed: bool, resolved: bool) -> Twin {
    Twin { request: RequestId::from_bytes([2; 16]), status, reviewed, updated_at: START, resolved }
}

#[test]
fn the_windows_are_those_of_the_design() {
    assert_eq!(KEY_LIFETIME, Duration::from_secs(86_400));
    assert_eq!(DENIAL_COOLDOWN, Duration::from_secs(60));
    assert_eq!(OUTCOME_MEMORY, Duration::from_secs(600));
}

/// What a twin does to a call of the same digest without a key: for how long, and what comes then.
#[derive(Clone, Copy)]
enum Answer {
    New,
    Attach,
    AttachFor(Duration),
    Unknown,
}

#[test]
fn a_twin_attaches_as_the_design_says() {
    use Answer::*;
    // Where it stands, what a reviewed twin does, what one does that policy permitted.
    let table = [
        (Status::Pending, Attach, Attach),
        (Status::Granted, Attach, New),
        (Status::Executing, Attach, New),
        (Status::Denied, AttachFor(DENIAL_COOLDOWN), AttachFor(DENIAL_COOLDOWN)),
        (Status::Succeeded, AttachFor(OUTCOME_MEMORY), New),
        (Status::Failed, AttachFor(OUTCOME_MEMORY), New),
        (Status::Unknown, Unknown, New),
        (Status::Refused, New, New),
        (Status::Expired, New, New),
        (Status::Cancelled, New, New),
        (Status::Lapsed, New, New),
    ];
    assert_eq!(
        table.map(|(status, ..)| status).into_iter().collect::<std::collections::BTreeSet<_>>().len(),
        11
    );
    let year = Duration::from_secs(365 * 86_400);
    for (status, reviewed, permitted) in table {
        for (answer, was_reviewed) in [(reviewed, true), (permitted, false)] {
            let twin = twin_of(status, was_reviewed, false);
            let at = |age: Duration| retry(digest(), None, Some(twin), after(age));
            let attach = Retry::Attach(twin.request);
            let steps = match answer {
                New => vec![(Duration::ZERO, Retry::New), (year, Retry::New)],
                Attach => vec![(Duration::ZERO, attach), (year, attach)],
                AttachFor(window) => {
                    vec![
                        (Duration::ZERO, attach),
                        (window - MILLI, attach),
                        (window, Retry::New),
                        (year, Retry::New),
                    ]
                }
                Unknown => {
                    let unknown = Retry::OutcomeUnknown(twin.request);
                    vec![(Duration::ZERO, unknown), (year, unknown)]
                }
            };
            for (age, expected) in steps {
                assert_eq!(at(age), expected, "{status:?}, reviewed {was_reviewed}, after {age:?}");
            }
        }
    }
}

#[test]
fn a_resolved_unknown_outcome_holds_nothing_back() {
    assert_eq!(retry(digest(), None, Some(twin_of(Status::Unknown, true, true)), START), Retry::New);
}

#[test]
fn without_a_twin_or_a_key_it_is_new() {
    assert_eq!(retry(digest(), None, None, START), Retry::New);
}

#[test]
fn a_key_names_its_request_in_any_state_for_a_day() {
    let key = KeyRecord { digest: digest(), request: keyed(), at: START };
    let last = after(KEY_LIFETIME - MILLI);
    for status in Status::ALL {
        for reviewed in [true, false] {
            let twin = Some(twin_of(status, reviewed, false));
            assert_eq!(retry(digest(), Some(key), twin, last), Retry::Attach(keyed()), "{status:?}");
        }
    }
    assert_eq!(retry(digest(), Some(key), None, START), Retry::Attach(keyed()));
    assert_eq!(retry(digest(), Some(key), None, after(KEY_LIFETIME)), Retry::New);
}

#[test]
fn a_key_for_something_else_is_refused_until_it_is_forgotten() {
    let key = KeyRecord { digest: ActionDigest::of_canonical("[]"), request: keyed(), at: START };
    let pending = Some(twin_of(Status::Pending, true, false));
    assert_eq!(retry(digest(), Some(key), None, START), Retry::KeyReused(keyed()));
    assert_eq!(retry(digest(), Some(key), pending, after(KEY_LIFETIME - MILLI)), Retry::KeyReused(keyed()));
    assert_eq!(retry(digest(), Some(key), None, after(KEY_LIFETIME)), Retry::New);
    assert_eq!(
        retry(digest(), Some(key), pending, after(KEY_LIFETIME)),
        Retry::Attach(RequestId::from_bytes([2; 16])),
        "a forgotten key leaves the twin"
    );
}

#[test]
fn a_clock_that_went_back_forgets_nothing() {
    let now = START;
    let key = KeyRecord { digest: digest(), request: keyed(), at: after(Duration::from_secs(5)) };
    assert_eq!(retry(digest(), Some(key), None, now), Retry::Attach(keyed()));
    let mut denied = twin_of(Status::Denied, true, false);
    denied.updated_at = after(Duration::from_secs(5));
    assert_eq!(retry(digest(), None, Some(denied), now), Retry::Attach(denied.request));
}
