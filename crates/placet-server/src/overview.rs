//! How reviewing goes, as numbers: what waits, how long people take, how it ends. Pure over what the store counted.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use placet_api::overview::{
    CountDocument, OutcomesDocument, OverviewDocument, TimeToDecide, VotesDocument, WaitingDocument,
};
use placet_broker::CallError;
use placet_core::action::Principal;
use placet_core::directory::Directory;
use placet_core::request::Status;
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_store::{Decided, Ended, Overview};

use crate::app::App;
use crate::failure::Outcome;
use crate::openapi::ReviewersProblems;
use crate::query::Query;

/// How old the numbers may be that somebody is shown.
const FRESH: Duration = Duration::from_secs(5);
/// The newest numbers of each window, with when they were counted.
pub(crate) type Kept = [tokio::sync::Mutex<Option<(Timestamp, OverviewDocument)>>; 3];
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far back to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Window {
    Day,
    Week,
    Month,
}

impl Window {
    pub(crate) const ALL: [Window; 3] = [Window::Day, Window::Week, Window::Month];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Window::Day => "day",
            Window::Week => "week",
            Window::Month => "month",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Window::Day => "24 hours",
            Window::Week => "7 days",
            Window::Month => "30 days",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Window::ALL.into_iter().find(|window| window.as_str() == text)
    }

    /// How wide each stretch is, and how many there are.
    fn stretches(self) -> (Duration, u32) {
        match self {
            Window::Day => (HOUR, 24),
            Window::Week => (DAY, 7),
            Window::Month => (DAY, 30),
        }
    }

    /// The first stretch's beginning: the present stretch is the last one, so that each is whole but that.
    fn begin(self, now: Timestamp) -> Timestamp {
        let (width, count) = self.stretches();
        let width = millis(width);
        let present = now.as_millis().div_euclid(width).saturating_mul(width);
        Timestamp::from_millis(present.saturating_sub(width.saturating_mul(i64::from(count) - 1)).max(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn before(now: Timestamp, window: Window) -> Timestamp {
    let (width, count) = window.stretches();
    let whole = millis(width).saturating_mul(i64::from(count));
    Timestamp::from_millis(now.as_millis().saturating_sub(whole).max(0))
}

/// What the store counts for this window, in words and names.
pub(crate) async fn overview(app: &App, window: Window) -> Outcome<OverviewDocument> {
    let now = app.broker.now();
    // All see the same numbers, so whoever reloads often, or comes at the same moment, makes nobody count again.
    let [day, week, month] = app.overviews.as_ref();
    let mut kept = match window {
        Window::Day => day,
        Window::Week => week,
        Window::Month => month,
    }
    .lock()
    .await;
    if let Some((_, known)) = kept.as_ref().filter(|(at, _)| now.since(*at) < FRESH) {
        return Ok(known.clone());
    }
    let counted = app.views.overview(window.begin(now), before(now, Window::Month)).await;
    let directory = app.broker.directory().await?;
    let fresh = document(&counted.map_err(CallError::from)?, &directory, window, now);
    *kept = Some((now, fresh.clone()));
    Ok(fresh)
}

fn document(counted: &Overview, directory: &Directory, window: Window, now: Timestamp) -> OverviewDocument {
    let named = |(name, count): &(String, u64)| CountDocument { name: visible(name), count: *count };
    OverviewDocument {
        window: window.as_str().to_owned(),
        waiting: WaitingDocument {
            count: counted.waiting,
            oldest: counted.oldest.map(|at| at.to_string()),
            roles: counted.waiting_roles.iter().map(named).collect(),
        },
        time_to_decide: Window::ALL
            .map(|window| took(&counted.decided, before(now, window), window))
            .to_vec(),
        outcomes: outcomes(&counted.ended, window, now),
        requesters: counted
            .requesters
            .iter()
            .map(|(principal, count)| CountDocument { name: name_of(*principal, directory), count: *count })
            .collect(),
        guards: counted.guards.iter().map(named).collect(),
        votes: VotesDocument { cast: counted.votes_cast, refused: counted.votes_refused },
    }
}

fn name_of(principal: Principal, directory: &Directory) -> String {
    let name = match principal {
        Principal::Agent(id) | Principal::Pipeline(id) => directory.agents.get(&id).map(|agent| &agent.name),
        Principal::Person(id) => directory.people.get(&id).map(|person| &person.name),
    };
    name.map_or_else(|| principal.to_string(), |name| visible(name))
}

/// By nearest rank: an answer that somebody really waited for.
fn took(decided: &[Decided], since: Timestamp, window: Window) -> TimeToDecide {
    let recent = decided.iter().filter(|review| review.at >= since);
    let mut seconds: Vec<u64> = recent.map(|review| review.at.since(review.asked_at).as_secs()).collect();
    seconds.sort_unstable();
    let rank = |tenths: usize| {
        let at = (seconds.len() * tenths).div_ceil(10).saturating_sub(1);
        seconds.get(at).copied()
    };
    TimeToDecide {
        window: window.as_str().to_owned(),
        count: seconds.len() as u64,
        median_seconds: rank(5),
        p90_seconds: rank(9),
    }
}

fn outcomes(ended: &[Ended], window: Window, now: Timestamp) -> Vec<OutcomesDocument> {
    let (width, count) = window.stretches();
    let begin = window.begin(now);
    let mut stretches: BTreeMap<Timestamp, OutcomesDocument> = (0..count)
        .map(|number| begin.plus(width.saturating_mul(number)))
        .map(|from| (from, OutcomesDocument { from: from.to_string(), ..NOTHING }))
        .collect();
    for Ended { hour, status, count } in ended {
        let Some((_, stretch)) = stretches.range_mut(..=hour).next_back() else { continue };
        let slot = match status {
            Status::Succeeded => &mut stretch.succeeded,
            Status::Failed | Status::Unknown => &mut stretch.failed,
            Status::Denied => &mut stretch.denied,
            Status::Refused => &mut stretch.refused,
            Status::Expired | Status::Cancelled | Status::Lapsed => &mut stretch.ended,
            Status::Pending | Status::Granted | Status::Executing => continue,
        };
        *slot = slot.saturating_add(*count);
    }
    stretches.into_values().collect()
}

const NOTHING: OutcomesDocument =
    OutcomesDocument { from: String::new(), succeeded: 0, failed: 0, denied: 0, refused: 0, ended: 0 };

/// How reviewing goes.
///
/// Everybody who reviews may see it, as they may see the reviews.
#[utoipa::path(
    get,
    path = "/v1/overview",
    tag = "reviews",
    params(("window" = Option<String>, Query, description = "`day`, `week` (the default) or `month`")),
    responses((status = 200, description = "The numbers", body = OverviewDocument), ReviewersProblems),
)]
pub(crate) async fn show(State(app): State<App>, uri: Uri) -> Outcome<Json<OverviewDocument>> {
    let mut query = Query::of(&uri)?;
    let window = query.take_as("window", "write day, week or month", Window::parse)?;
    query.end()?;
    Ok(Json(overview(&app, window.unwrap_or(Window::Week)).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    #[test]
    fn times_to_decide_are_by_nearest_rank_and_within_the_window() {
        let decided: Vec<Decided> = (1..=10).map(|n| Decided { asked_at: at(0), at: at(n * 60) }).collect();
        let told = took(&decided, at(0), Window::Day);
        assert_eq!((told.count, told.median_seconds, told.p90_seconds), (10, Some(300), Some(540)));
        let told = took(&decided, at(600), Window::Day);
        assert_eq!((told.count, told.median_seconds, told.p90_seconds), (1, Some(600), Some(600)));
        let told = took(&[], at(0), Window::Day);
        assert_eq!((told.count, told.median_seconds, told.p90_seconds), (0, None, None));
    }

    #[test]
    fn each_end_stands_in_its_stretch_and_the_present_one_is_the_last() {
        let now = at(0);
        for window in Window::ALL {
            let (width, count) = window.stretches();
            let stretches = outcomes(
                &[
                    Ended { hour: window.begin(now), status: Status::Denied, count: 2 },
                    Ended { hour: now, status: Status::Unknown, count: 3 },
                    Ended { hour: now, status: Status::Lapsed, count: 4 },
                    Ended { hour: Timestamp::from_millis(0), status: Status::Succeeded, count: 9 },
                ],
                window,
                now,
            );
            assert_eq!(stretches.len(), count as usize);
            assert_eq!((stretches[0].denied, stretches[0].succeeded), (2, 0), "{window:?}");
            let last = stretches.last().unwrap();
            assert_eq!((last.failed, last.ended), (3, 4), "{window:?}");
            let from = Timestamp::parse(&last.from).unwrap();
            assert!(from <= now && now.since(from) < width);
        }
    }

    #[test]
    fn a_window_has_one_word() {
        for window in Window::ALL {
            assert_eq!(Window::parse(window.as_str()), Some(window));
        }
        assert_eq!(Window::parse("year"), None);
    }
}
