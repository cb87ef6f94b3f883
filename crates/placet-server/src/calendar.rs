//! Times as people say them: "tuesday afternoon in Europe/Berlin" as two moments.
//!
//! Time zones come with the program, so that an answer does not depend on the machine it is given on. Where a clock is
//! set forward, a time that does not exist means the moment of the change; where it is set back, a time that comes twice
//! means the first one for a beginning and the second one for an end: nothing falls between.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use placet_core::text::visible;
use placet_core::time::Timestamp;

/// What was said about when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Said {
    /// `tuesday`, `tuesday afternoon`, `today`, `yesterday`, `2026-11-24`.
    pub(crate) on: Option<String>,
    /// `12:00-18:00`, `morning`, `afternoon`, `evening`, `night`.
    pub(crate) between: Option<String>,
    /// A time, or a day from its beginning.
    pub(crate) from: Option<String>,
    /// A time, or a day to its end.
    pub(crate) to: Option<String>,
    /// An IANA name; UTC if absent.
    pub(crate) tz: Option<String>,
}

/// Two moments: at or after the first, before the second.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Window {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

/// What was said means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotATime(String);

fn refused<T>(why: impl Into<String>) -> Result<T, NotATime> {
    Err(NotATime(why.into()))
}

/// Whether a time is where something begins, or where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Begin,
    End,
}

/// No word about when is longer.
const WORD_MAX: usize = 64;

/// A part of a day, `HH:MM` to `HH:MM`; the second may be on the next day.
type Hours = (Time, Time);

/// The moments that were meant, seen from now.
pub(crate) fn window(said: &Said, now: Timestamp) -> Result<Window, NotATime> {
    let zone = zone(said.tz.as_deref())?;
    match (&said.on, &said.between, &said.from, &said.to) {
        (Some(_), _, Some(_), _) | (Some(_), _, _, Some(_)) => {
            refused("Say either a day (on) or times (from, to), not both.")
        }
        (None, Some(_), ..) => refused("Say of which day the hours are: add on."),
        (Some(on), between, ..) => {
            let mut words = on.split_whitespace();
            let day_word = words.next().unwrap_or_default();
            let part = words.collect::<Vec<_>>().join(" ");
            let day = day(day_word, today(&zone, now)?)?;
            let hours = match (part.as_str(), between) {
                ("", None) => None,
                (part, None) => Some(hours(part)?),
                ("", Some(between)) => Some(hours(between)?),
                (_, Some(_)) => return refused("Say the hours once: with the day, or as between."),
            };
            of_day(&zone, day, hours)
        }
        (None, None, from, to) => {
            let edge = |text: &Option<String>, edge| text.as_deref().map(|text| moment(text, &zone, edge));
            let (from, to) = (edge(from, Edge::Begin).transpose()?, edge(to, Edge::End).transpose()?);
            if let (Some(from), Some(to)) = (from, to)
                && from >= to
            {
                return refused("The end is not after the beginning.");
            }
            Ok(Window { from, to })
        }
    }
}

fn shown(text: &str) -> String {
    visible(text).chars().take(WORD_MAX).collect()
}

fn zone(name: Option<&str>) -> Result<TimeZone, NotATime> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let known = if name.len() <= WORD_MAX { TimeZone::get(name).ok() } else { None };
    known.ok_or_else(|| {
        NotATime(format!("There is no time zone {:?}: write an IANA name like Europe/Berlin.", shown(name)))
    })
}

fn today(zone: &TimeZone, now: Timestamp) -> Result<Date, NotATime> {
    let now = jiff::Timestamp::from_millisecond(now.as_millis());
    let now = now.map_err(|_| NotATime("The clock stands outside of what calendars know.".to_owned()))?;
    Ok(now.to_zoned(zone.clone()).date())
}

/// A weekday means the last one that has begun, which may be today.
fn day(word: &str, today: Date) -> Result<Date, NotATime> {
    let word = word.to_ascii_lowercase();
    let out_of_range = |_| NotATime("That day is outside of what calendars know.".to_owned());
    let weekday = match word.as_str() {
        "today" => return Ok(today),
        "yesterday" => return today.yesterday().map_err(out_of_range),
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        date => return plain_date(date),
    };
    if today.weekday() == weekday { Ok(today) } else { today.nth_weekday(-1, weekday).map_err(out_of_range) }
}

fn plain_date(text: &str) -> Result<Date, NotATime> {
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date: Option<Date> = if plain { text.parse().ok() } else { None };
    date.ok_or_else(|| {
        NotATime(format!(
            "{:?} is no day: write a weekday, today, yesterday, or a date like 2026-11-24.",
            shown(text)
        ))
    })
}

fn hours(text: &str) -> Result<Hours, NotATime> {
    let at = |hour: i8| Time::constant(hour, 0, 0, 0);
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "morning" => (at(6), at(12)),
        "afternoon" => (at(12), at(18)),
        "evening" => (at(18), at(0)),
        "night" => (at(0), at(6)),
        span => {
            let parts = span.split_once('-').and_then(|(begin, end)| Some((clock(begin)?, clock(end)?)));
            match parts {
                Some((begin, end)) if begin != end => (begin, end),
                _ => {
                    return refused(format!(
                        "{:?} are no hours: write 12:00-18:00, morning, afternoon, evening or night.",
                        shown(text)
                    ));
                }
            }
        }
    })
}

/// `9:30` or `09:30`; `24:00` is the end of the day, which is the beginning of the next.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let plain = digits.contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
        if plain { text.parse::<i8>().ok() } else { None }
    };
    match (number(hour, 1..=2)?, number(minute, 2..=2)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

fn of_day(zone: &TimeZone, day: Date, hours: Option<Hours>) -> Result<Window, NotATime> {
    let next =
        day.tomorrow().map_err(|_| NotATime("That day is outside of what calendars know.".to_owned()))?;
    let (begin, end) = match hours {
        None => (day.to_datetime(Time::midnight()), next.to_datetime(Time::midnight())),
        Some((begin, end)) => {
            let end_day = if end > begin { day } else { next };
            (day.to_datetime(begin), end_day.to_datetime(end))
        }
    };
    Ok(Window { from: Some(in_zone(zone, begin, Edge::Begin)?), to: Some(in_zone(zone, end, Edge::End)?) })
}

/// A moment as RFC 3339 writes it, or a date or local time in the zone.
fn moment(text: &str, zone: &TimeZone, edge: Edge) -> Result<Timestamp, NotATime> {
    let text = text.trim();
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let wrong = || {
        NotATime(format!(
            "{:?} is no time: write 2026-11-24, 2026-11-24T14:05 or 2026-11-24T14:05:00Z.",
            shown(text)
        ))
    };
    if text.len() == 10 {
        let day = of_day(zone, plain_date(text).map_err(|_| wrong())?, None)?;
        let moment = if edge == Edge::Begin { day.from } else { day.to };
        return moment.ok_or_else(wrong);
    }
    let local = matches!(text.len(), 16 | 19) && matches!(text.as_bytes().get(10), Some(b'T' | b' '));
    let local = if local { text.parse::<DateTime>().ok() } else { None };
    in_zone(zone, local.ok_or_else(wrong)?, edge)
}

fn in_zone(zone: &TimeZone, local: DateTime, edge: Edge) -> Result<Timestamp, NotATime> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let moment = match (ambiguous.offset(), edge) {
        // Read with the offset after the change, the skipped time lies before the change.
        (AmbiguousOffset::Gap { .. }, _) => ambiguous.earlier().map(|before| {
            let change = zone.following(before).next().map(|change| change.timestamp());
            change.unwrap_or(before)
        }),
        (_, Edge::Begin) => ambiguous.earlier(),
        (_, Edge::End) => ambiguous.later(),
    };
    let moment = moment.map_err(|_| NotATime("That time is outside of what calendars know.".to_owned()))?;
    Ok(Timestamp::from_millis(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Wednesday, 21:57 in UTC and 22:57 in Berlin; already Thursday in Auckland.
    const NOW: &str = "2026-11-25T21:57:00Z";

    fn said(on: &str, between: &str, from: &str, to: &str, tz: &str) -> Said {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Said { on: some(on), between: some(between), from: some(from), to: some(to), tz: some(tz) }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn days_and_hours_are_two_moments() {
        let berlin = "Europe/Berlin";
        for (now, on, between, tz, from, to) in [
            (NOW, "tuesday", "", "", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            (NOW, "tuesday", "", berlin, "2026-11-23T23:00:00Z", "2026-11-24T23:00:00Z"),
            (NOW, "Tuesday afternoon", "", berlin, "2026-11-24T11:00:00Z", "2026-11-24T17:00:00Z"),
            (NOW, "tue", "12:00-18:00", berlin, "2026-11-24T11:00:00Z", "2026-11-24T17:00:00Z"),
            (NOW, "tue", "9:30-9:45", "", "2026-11-24T09:30:00Z", "2026-11-24T09:45:00Z"),
            (NOW, "tue morning", "", "", "2026-11-24T06:00:00Z", "2026-11-24T12:00:00Z"),
            (NOW, "tue evening", "", "", "2026-11-24T18:00:00Z", "2026-11-25T00:00:00Z"),
            (NOW, "tue night", "", "", "2026-11-24T00:00:00Z", "2026-11-24T06:00:00Z"),
            (NOW, "tue", "18:00-24:00", "", "2026-11-24T18:00:00Z", "2026-11-25T00:00:00Z"),
            (NOW, "tue", "22:00-06:00", "", "2026-11-24T22:00:00Z", "2026-11-25T06:00:00Z"),
            // The last one that has begun: today counts, a week ago does not.
            (NOW, "wednesday", "", "", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
            (NOW, "thursday", "", "", "2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"),
            (NOW, "thursday", "", "Pacific/Auckland", "2026-11-25T11:00:00Z", "2026-11-26T11:00:00Z"),
            (NOW, "today", "", "Pacific/Auckland", "2026-11-25T11:00:00Z", "2026-11-26T11:00:00Z"),
            (NOW, "yesterday", "", "", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            (NOW, "2026-02-28", "", "Asia/Kolkata", "2026-02-27T18:30:00Z", "2026-02-28T18:30:00Z"),
            ("2026-11-25T23:30:00Z", "today", "", berlin, "2026-11-25T23:00:00Z", "2026-11-26T23:00:00Z"),
            // A day of 23 hours, one of 25.
            (NOW, "2026-03-29", "", berlin, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (NOW, "2026-10-25", "", berlin, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            // A time that does not exist is the change; one that comes twice takes both in.
            (NOW, "2026-03-29", "2:30-4:00", berlin, "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
            (NOW, "2026-03-29", "1:00-2:30", berlin, "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
            (NOW, "2026-10-25", "2:15-2:45", berlin, "2026-10-25T00:15:00Z", "2026-10-25T01:45:00Z"),
            // Where midnight itself does not exist, the day begins with the change.
            (NOW, "2018-11-04", "", "America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
        ] {
            let found = window(&said(on, between, "", "", tz), at(now));
            let expected = Window { from: Some(at(from)), to: Some(at(to)) };
            assert_eq!(found, Ok(expected), "{on} {between} {tz}");
        }
    }

    #[test]
    fn times_are_moments_or_local() {
        let berlin = "Europe/Berlin";
        for (from, to, tz, begins, ends) in [
            ("2026-11-24", "2026-11-24", "", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            ("2026-11-24", "2026-11-25", berlin, "2026-11-23T23:00:00Z", "2026-11-25T23:00:00Z"),
            ("2026-11-24T12:00", "2026-11-24 18:00", berlin, "2026-11-24T11:00:00Z", "2026-11-24T17:00:00Z"),
            (
                "2026-11-24T12:00:05Z",
                "2026-11-24T19:00:00+01:00",
                berlin,
                "2026-11-24T12:00:05Z",
                "2026-11-24T18:00:00Z",
            ),
        ] {
            let found = window(&said("", "", from, to, tz), at(NOW));
            assert_eq!(found, Ok(Window { from: Some(at(begins)), to: Some(at(ends)) }), "{from} {to}");
        }
        assert_eq!(window(&Said::default(), at(NOW)), Ok(Window::default()));
        let open = window(&said("", "", "2026-11-24", "", ""), at(NOW)).unwrap();
        assert_eq!(open.to, None);
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_to_write() {
        for (on, between, from, to, tz, says) in [
            ("someday", "", "", "", "", "is no day"),
            ("2026-02-30", "", "", "", "", "is no day"),
            ("2026-11-24T00:00", "", "", "", "", "is no day"),
            ("", "", "", "", "Europe/Berlinn", "no time zone"),
            ("tuesday", "", "", "", "../../etc/passwd", "no time zone"),
            ("tuesday", "", "", "", "CET\u{202e}", "\\\\u{202e}"),
            ("tuesday", "noon", "", "", "", "are no hours"),
            ("tuesday noon", "", "", "", "", "are no hours"),
            ("tuesday", "12:00", "", "", "", "are no hours"),
            ("tuesday", "12:00-12:00", "", "", "", "are no hours"),
            ("tuesday", "12:60-13:00", "", "", "", "are no hours"),
            ("tuesday", "-1:00-13:00", "", "", "", "are no hours"),
            ("tuesday afternoon", "12:00-13:00", "", "", "", "once"),
            ("", "12:00-13:00", "", "", "", "add on"),
            ("tuesday", "", "2026-11-24", "", "", "not both"),
            ("", "", "yesterday", "", "", "is no time"),
            ("", "", "2026-11-24T25:00", "", "", "is no time"),
            ("", "", "2026-11-24T12:00+99:00", "", "", "is no time"),
            ("", "", "2026-11-24", "2026-11-23", "", "not after"),
            ("'; DROP TABLE entry; --", "", "", "", "", "is no day"),
        ] {
            let error = window(&said(on, between, from, to, tz), at(NOW)).unwrap_err().to_string();
            assert!(error.contains(says), "{on} {between} {from} {to} {tz}: {error}");
        }
        let long = "x".repeat(10_000);
        for said in
            [said(&long, "", "", "", ""), said("today", &long, "", "", ""), said("today", "", "", "", &long)]
        {
            assert!(window(&said, at(NOW)).unwrap_err().to_string().len() < 300);
        }
    }
}
