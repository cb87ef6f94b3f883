//! What waits, and what was decided.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use placet_broker::review::{ReviewFilter, ReviewLine, Reviewer};
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_store::PAGE_MAX;

use super::view::{Row, row};
use super::{Chrome, page};
use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::query::pairs;
use crate::reviewers::api::decided;

/// How many decided requests a page shows.
const HISTORY_PAGE: usize = 50;

#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    chrome: Chrome,
    mine: Vec<Row>,
    others: Vec<Row>,
    more: bool,
}

pub(super) async fn inbox(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
) -> Outcome<Response> {
    let filter = ReviewFilter { statuses: vec![Status::Pending], limit: PAGE_MAX, ..ReviewFilter::default() };
    let lines = app.broker.reviews(&reviewer, filter).await?;
    let more = lines.len() == PAGE_MAX;
    // What I voted on already waits for others.
    let (mine, others): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.may_vote && line.my_vote != Some(Verdict::Approve));
    let title = if mine.is_empty() { "Inbox".to_owned() } else { format!("Inbox ({})", mine.len()) };
    let rows = |lines: Vec<&ReviewLine>| lines.into_iter().map(|line| to_row(&app, line)).collect();
    let view = InboxPage {
        chrome: Chrome::new(title, Some(&reviewer), "/"),
        mine: rows(mine),
        others: rows(others),
        more,
    };
    page(StatusCode::OK, &view)
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage {
    chrome: Chrome,
    rows: Vec<Row>,
    paged: bool,
    older: Option<String>,
}

pub(super) async fn history(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    uri: Uri,
) -> Outcome<Response> {
    let before = before_of(&uri)?;
    let filter = ReviewFilter { statuses: decided(), mine: false, before, limit: HISTORY_PAGE };
    let lines = app.broker.reviews(&reviewer, filter).await?;
    let last = lines.last().filter(|_| lines.len() == HISTORY_PAGE);
    let view = HistoryPage {
        chrome: Chrome::new("History", Some(&reviewer), "/history"),
        rows: lines.iter().map(|line| to_row(&app, line)).collect(),
        paged: before.is_some(),
        older: last.map(|line| line.seen.stored.request.id.to_string()),
    };
    page(StatusCode::OK, &view)
}

/// Where an earlier page ended.
fn before_of(uri: &Uri) -> Outcome<Option<RequestId>> {
    let refused = || Failure::bad_request("bad_query", "This is no page of the history.");
    let pairs = pairs(uri.query().unwrap_or_default()).ok_or_else(refused)?;
    match pairs.iter().find(|(name, _)| name == "before") {
        None => Ok(None),
        Some((_, id)) => RequestId::parse(id).map(Some).map_err(|_| refused()),
    }
}

fn to_row(app: &App, line: &ReviewLine) -> Row {
    row(&line.seen, line.my_vote.map(Verdict::as_str), app.broker.now())
}
