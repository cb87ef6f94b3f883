//! The overview: numbers as pictures that are drawn here, each with its table. No script, no inline style.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use placet_api::overview::{CountDocument, OutcomesDocument, OverviewDocument};
use placet_broker::review::Reviewer;
use placet_core::time::Timestamp;

use super::{Chrome, page};
use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::overview::{Window, overview};
use crate::query::pairs;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    chrome: Chrome,
    windows: Vec<WindowLink>,
    window: &'static str,
    waiting: u64,
    oldest: Option<String>,
    roles: Vec<CountDocument>,
    times: Vec<TimeRow>,
    chart: Chart,
    requesters: Vec<Ranked>,
    guards: Vec<Ranked>,
    cast: u64,
    refused: u64,
}

struct WindowLink {
    word: &'static str,
    title: &'static str,
    active: bool,
}

struct TimeRow {
    title: &'static str,
    count: u64,
    median: String,
    p90: String,
}

/// Columns of outcomes over time.
struct Chart {
    total: u64,
    summary: String,
    columns: Vec<Column>,
    lines: Vec<Line>,
    legend: Vec<Legend>,
}

struct Column {
    label: String,
    /// Where the label stands, if this column has one.
    label_x: Option<u64>,
    anchor: &'static str,
    title: String,
    parts: Vec<Part>,
    counts: [u64; 5],
    total: u64,
}

struct Part {
    class: &'static str,
    x: String,
    y: String,
    width: String,
    height: String,
}

struct Line {
    y: String,
    text_y: String,
    text: u64,
}

struct Legend {
    class: &'static str,
    text: &'static str,
    count: u64,
}

struct Ranked {
    name: String,
    count: u64,
    /// Of the longest bar, in percent.
    width: u64,
}

/// The picture's size in its own units; it is scaled to whatever room there is.
const WIDTH: f64 = 420.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 150.0;
const LEFT: f64 = 34.0;

/// What is drawn from the bottom up, with its class and its words.
const KINDS: [(&str, &str); 5] = [
    ("bar-succeeded", "carried out"),
    ("bar-failed", "failed or unknown"),
    ("bar-denied", "denied"),
    ("bar-refused", "refused by policy"),
    ("bar-ended", "expired, lapsed or cancelled"),
];

pub(super) async fn show(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    uri: Uri,
) -> Outcome<Response> {
    let window = window_of(&uri)?;
    let numbers = overview(&app, window).await?;
    page(StatusCode::OK, &view(numbers, window, &reviewer, app.broker.now()))
}

fn window_of(uri: &Uri) -> Outcome<Window> {
    let refused = || Failure::bad_request("bad_query", "This is no window of the overview.");
    let pairs = pairs(uri.query().unwrap_or_default()).ok_or_else(refused)?;
    match pairs.iter().find(|(name, _)| name == "window") {
        None => Ok(Window::Week),
        Some((_, word)) => Window::parse(word).ok_or_else(refused),
    }
}

fn view(numbers: OverviewDocument, window: Window, reviewer: &Reviewer, now: Timestamp) -> OverviewPage {
    let title = |word: &str| Window::parse(word).map_or("", Window::title);
    let time = |seconds: Option<u64>| seconds.map_or_else(|| "–".to_owned(), span);
    OverviewPage {
        chrome: Chrome::new("Overview", Some(reviewer), "/overview"),
        windows: Window::ALL
            .map(|each| WindowLink { word: each.as_str(), title: each.title(), active: each == window })
            .into(),
        window: window.title(),
        waiting: numbers.waiting.count,
        oldest: numbers
            .waiting
            .oldest
            .and_then(|at| Timestamp::parse(&at).ok())
            .map(|at| span(now.since(at).as_secs())),
        roles: numbers.waiting.roles,
        times: numbers
            .time_to_decide
            .iter()
            .map(|row| TimeRow {
                title: title(&row.window),
                count: row.count,
                median: time(row.median_seconds),
                p90: time(row.p90_seconds),
            })
            .collect(),
        chart: chart(&numbers.outcomes, window),
        requesters: ranked(numbers.requesters),
        guards: ranked(numbers.guards),
        cast: numbers.votes.cast,
        refused: numbers.votes.refused,
    }
}

fn ranked(counts: Vec<CountDocument>) -> Vec<Ranked> {
    let most = counts.iter().map(|each| each.count).max().unwrap_or(0).max(1);
    let width = |count: u64| (count.saturating_mul(100) / most).max(1);
    counts
        .into_iter()
        .map(|each| Ranked { width: width(each.count), name: each.name, count: each.count })
        .collect()
}

/// `4 min 12 s`: the two largest units.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

fn chart(outcomes: &[OutcomesDocument], window: Window) -> Chart {
    let counts =
        |each: &OutcomesDocument| [each.succeeded, each.failed, each.denied, each.refused, each.ended];
    let totals: Vec<u64> = outcomes.iter().map(|each| counts(each).iter().sum()).collect();
    let top = ceiling(totals.iter().copied().max().unwrap_or(0));
    let height = |count: u64| count as f64 / top as f64 * (BOTTOM - TOP);
    let step = (WIDTH - LEFT) / outcomes.len().max(1) as f64;
    let columns: Vec<Column> = outcomes
        .iter()
        .zip(&totals)
        .enumerate()
        .map(|(number, (each, total))| {
            let x = LEFT + step * number as f64;
            let mut y = BOTTOM;
            let mut parts = Vec::new();
            for ((class, _), count) in KINDS.iter().zip(counts(each)).filter(|(_, count)| *count > 0) {
                let tall = height(count);
                y -= tall;
                parts.push(Part {
                    class,
                    x: format!("{:.1}", x + step * 0.12),
                    y: format!("{y:.1}"),
                    width: format!("{:.1}", step * 0.76),
                    // A hairline between parts; one that is too small to have one is drawn all the same.
                    height: format!("{:.1}", (tall - 1.0).max(0.8)),
                });
            }
            let (label_x, anchor) = label_place(number, outcomes.len(), x, step);
            let label = label(&each.from, window);
            Column {
                title: told(&label, *total, counts(each)),
                label,
                label_x,
                anchor,
                parts,
                counts: counts(each),
                total: *total,
            }
        })
        .collect();
    let total: u64 = totals.iter().sum();
    let lines = [top, top / 2].into_iter().filter(|count| *count > 0).map(|count| Line {
        y: format!("{:.1}", BOTTOM - height(count)),
        text_y: format!("{:.1}", BOTTOM - height(count) + 4.0),
        text: count,
    });
    let sum = |kind: usize| outcomes.iter().filter_map(|each| counts(each).get(kind).copied()).sum();
    let legend: Vec<Legend> = KINDS
        .iter()
        .enumerate()
        .map(|(kind, (class, text))| Legend { class, text, count: sum(kind) })
        .collect();
    let most = columns.iter().max_by_key(|column| column.total);
    let summary = match most.filter(|column| column.total > 0) {
        None => "Nothing ended in this time.".to_owned(),
        Some(most) => format!("{total} requests ended, most of them, {}, at {}.", most.total, most.label),
    };
    Chart { total, summary, lines: lines.collect(), columns, legend }
}

/// The next round number, whose half is whole too.
fn ceiling(most: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        let steps = [2, 4, 10].map(|step| unit.saturating_mul(step));
        // The last step is beyond every number in the end.
        if let Some(top) = steps.into_iter().find(|top| *top >= most) {
            return top;
        }
        unit = unit.saturating_mul(10);
    }
}

fn told(label: &str, total: u64, counts: [u64; 5]) -> String {
    let parts = KINDS.iter().zip(counts).filter(|(_, count)| *count > 0);
    let words: Vec<String> = parts.map(|((_, words), count)| format!("{count} {words}")).collect();
    if words.is_empty() {
        format!("{label}: nothing")
    } else {
        format!("{label}: {total}: {}", words.join(", "))
    }
}

/// `14:00` or `11-25`, in UTC.
fn label(from: &str, window: Window) -> String {
    let range = match window {
        Window::Day => 11..16,
        Window::Week | Window::Month => 5..10,
    };
    from.get(range).unwrap_or_default().to_owned()
}

/// Only as many labels as fit on a phone: the first, the last, and one between.
fn label_place(number: usize, columns: usize, x: f64, step: f64) -> (Option<u64>, &'static str) {
    let middle = x + step / 2.0;
    match number {
        0 => (Some(x as u64), "start"),
        last if last + 1 == columns => (Some((x + step) as u64), "end"),
        half if half == columns / 2 => (Some(middle as u64), "middle"),
        _ => (None, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number_that_is_large_enough() {
        for most in [0, 1, 2, 3, 7, 11, 99, 100, 101, 5_000, 123_456, u64::MAX / 4] {
            let top = ceiling(most);
            assert!(top >= most && top.is_multiple_of(2) && top >= 2, "{most}: {top}");
            assert!(most < 3 || top <= most.saturating_mul(3), "{most}: {top}");
        }
    }

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        for (seconds, told) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7_380, "2 h 3 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(span(seconds), told);
        }
    }

    #[test]
    fn columns_stay_in_the_picture() {
        let stretch = |succeeded| OutcomesDocument {
            from: "2026-11-25T00:00:00.000Z".into(),
            succeeded,
            failed: 1,
            denied: 2,
            refused: 0,
            ended: 1_000_000,
        };
        let drawn = chart(&[stretch(0), stretch(7), stretch(90_000_000)], Window::Week);
        assert_eq!(drawn.total, 93_000_016);
        for part in drawn.columns.iter().flat_map(|column| &column.parts) {
            let number = |text: &str| text.parse::<f64>().unwrap();
            assert!(number(&part.x) >= LEFT && number(&part.x) + number(&part.width) <= WIDTH);
            assert!(number(&part.y) >= TOP - 0.1 && number(&part.y) + number(&part.height) <= BOTTOM + 1.0);
        }
        assert_eq!(drawn.columns.iter().filter(|column| column.label_x.is_some()).count(), 3);
    }
}
