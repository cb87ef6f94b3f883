//! Moments and rows as people read them.

use placet_broker::Seen;
use placet_core::request::Status;
use placet_core::time::Timestamp;

use crate::document::missing;

/// A moment, for machines and for people.
pub(crate) struct When {
    pub(crate) iso: String,
    pub(crate) text: String,
}

/// A deadline, and how long until then.
pub(crate) struct Deadline {
    pub(crate) iso: String,
    pub(crate) left: String,
}

/// `2026-11-23 14:05:09`
pub(crate) fn when(at: Timestamp) -> When {
    let iso = at.to_string();
    let text = iso.get(..19).unwrap_or(&iso).replace('T', " ");
    When { iso, text }
}

/// `in 29 min`
pub(crate) fn deadline(at: Timestamp, now: Timestamp) -> Deadline {
    Deadline { iso: at.to_string(), left: left(at, now) }
}

fn left(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.since(now).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => "now".to_owned(),
        (0, 0, 0, seconds) => format!("in {seconds} s"),
        (0, 0, minutes, _) => format!("in {minutes} min"),
        (0, hours, minutes, _) => format!("in {hours} h {minutes} min"),
        (days, hours, ..) => format!("in {days} d {hours} h"),
    }
}

/// What a present state does by itself when its time is over.
pub(crate) fn deadline_word(status: Status) -> &'static str {
    match status {
        Status::Pending => "expires",
        Status::Granted => "lapses",
        _ => "is waited for, ends",
    }
}

/// A request in a list.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) code: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) requester: String,
    pub(crate) kind: &'static str,
    pub(crate) on_behalf_of: String,
    pub(crate) grade: &'static str,
    pub(crate) status: &'static str,
    pub(crate) missing: Option<String>,
    pub(crate) my_vote: Option<&'static str>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) deadline_word: &'static str,
    pub(crate) since: When,
    pub(crate) since_word: &'static str,
}

pub(crate) fn row(seen: &Seen, my_vote: Option<&'static str>, now: Timestamp) -> Row {
    let request = &seen.stored.request;
    let status = request.status();
    let (since, since_word) = match status {
        Status::Pending => (request.created_at, "asked"),
        _ => (request.updated_at, "since"),
    };
    Row {
        code: request.short_code.to_string(),
        // A decided request's code may be another's by now: its id never is.
        name: if status.is_open() { request.short_code.to_string() } else { request.id.to_string() },
        action: request.action.action.to_string(),
        resource: request.action.resource.visible(),
        requester: seen.requester_name.clone(),
        kind: request.requester().kind(),
        on_behalf_of: seen.on_behalf_of_name.clone(),
        grade: request.grade.as_str(),
        status: status.as_str(),
        missing: missing(seen),
        my_vote,
        deadline: request.deadline().map(|at| deadline(at, now)),
        deadline_word: deadline_word(status),
        since: when(since),
        since_word,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_are_told_in_their_two_largest_units() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        for (seconds, told) in [
            (0, "now"),
            (59, "in 59 s"),
            (61, "in 1 min"),
            (3_600, "in 1 h 0 min"),
            (7_380, "in 2 h 3 min"),
            (90_000, "in 1 d 1 h"),
        ] {
            assert_eq!(left(now.plus(Duration::from_secs(seconds)), now), told);
        }
        assert_eq!(left(now, now.plus(Duration::from_secs(9))), "now");
        assert_eq!(when(now).text, "2026-09-21 14:13:20");
    }
}
