//! The policy in force, what is staged beside it, and who changed what. Operators change it on the admin socket.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use placet_broker::policies::{FileChange, PolicyEvent, PolicyStep, Waiting};
use placet_broker::review::Reviewer;
use placet_core::text::visible;

use super::view::{When, when};
use super::{Chrome, page};
use crate::app::App;
use crate::failure::Outcome;

/// How many events the page tells; `placet policy ls` and the audit page go back further.
const EVENTS: usize = 20;

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    chrome: Chrome,
    digest: String,
    epoch: u64,
    warnings: Vec<String>,
    staged: Vec<StagedView>,
    events: Vec<EventView>,
    files: Vec<FileView>,
}

struct FileView {
    path: String,
    text: String,
    lines: usize,
    open: bool,
}

/// A staged bundle, and what it would change.
struct StagedView {
    digest: String,
    by: String,
    at: When,
    outcomes: Vec<String>,
    changes: Vec<ChangeView>,
}

struct ChangeView {
    path: String,
    change: &'static str,
    text: String,
}

struct EventView {
    at: When,
    sentence: String,
    index: u64,
}

pub(super) async fn show(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
) -> Outcome<Response> {
    let policy = app.broker.policy().await?;
    let waiting = app.broker.policy_waiting().await?;
    let events = app.broker.policy_history(None, EVENTS).await?;
    let view = |(path, text): (String, String)| FileView {
        // What asks people is what a reviewer comes to read.
        open: path == "ask.cedar",
        lines: text.lines().count(),
        text: visible_lines(&text),
        path: visible(&path),
    };
    let view = PolicyPage {
        chrome: Chrome::new("Policy", Some(&reviewer), "/policy"),
        digest: policy.digest.to_string(),
        epoch: policy.epoch,
        warnings: policy.warnings.iter().map(|warning| visible(warning)).collect(),
        staged: waiting.iter().map(staged_view).collect(),
        events: events.iter().map(event_view).collect(),
        files: policy.files.into_iter().map(view).collect(),
    };
    page(StatusCode::OK, &view)
}

fn staged_view(waiting: &Waiting) -> StagedView {
    let change = |change: &FileChange| ChangeView {
        path: visible(&change.path),
        change: change.change,
        text: visible_lines(&change.lines.join("\n")),
    };
    StagedView {
        digest: waiting.event.digest.to_string(),
        by: visible(&waiting.event.operator),
        at: when(waiting.event.at),
        outcomes: waiting.outcomes.iter().map(|line| visible(line)).collect(),
        changes: waiting.changes.iter().map(change).collect(),
    }
}

fn event_view(event: &PolicyEvent) -> EventView {
    let digest = event.digest.to_string();
    let short = digest.get(..12).unwrap_or(&digest);
    let by = visible(&event.operator);
    let sentence = match event.step {
        PolicyStep::Staged { .. } => format!("{by} staged {short}"),
        PolicyStep::Activated { epoch } => format!("{by} activated {short}: activation {epoch}"),
    };
    EventView { at: when(event.at), sentence, index: event.index }
}

/// A text whose lines stay lines, and in which everything else that hides is visible. A backslash of policy's own stays
/// one: this is source to read, and its bytes are told by the digest.
fn visible_lines(text: &str) -> String {
    let line = |line: &str| {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let (indent, rest) = line.split_at(indent);
        format!("{}{}", indent.replace('\t', "    "), visible(rest).replace("\\\\", "\\"))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_keeps_its_lines_and_hides_nothing() {
        assert_eq!(visible_lines("a {\n\t  b\\n \u{202e}c\r\n}"), "a {\n      b\\n \\u{202e}c\n}");
    }
}
