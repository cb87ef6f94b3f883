//! The auditor's question as a page: who asked for what, on what, when, and who let them.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use placet_api::audit::{AuditRequest, AuditVote};
use placet_api::request::PrincipalRef;
use placet_broker::CallError;
use placet_broker::review::Reviewer;
use placet_broker::search::{Answers, Question};
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_store::Happened;

use super::view::{When, when};
use super::{Chrome, page};
use crate::app::App;
use crate::audit;
use crate::calendar::{Said, Window, window};
use crate::failure::{Failure, Outcome};
use crate::query::{encoded, pairs};

/// How many requests a page shows.
const PAGE: usize = 25;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    chrome: Chrome,
    typed: Typed,
    happened: Vec<Choice>,
    statuses: Vec<Choice>,
    verdicts: Vec<Choice>,
    problem: Option<String>,
    span: Option<String>,
    answers: Vec<Answer>,
    older: Option<String>,
}

/// A word to choose, and whether it is chosen.
type Choice = (&'static str, bool);

/// A request that fits.
struct Answer {
    id: String,
    name: String,
    what: String,
    status: &'static str,
    who: String,
    asked: When,
    votes: Vec<String>,
    outcome: Option<String>,
    entries: String,
    facts: Vec<(String, String)>,
}

/// What was typed into the form.
#[derive(Clone, Default)]
struct Typed {
    action: String,
    by: String,
    resource: String,
    on: String,
    between: String,
    from: String,
    to: String,
    tz: String,
    happened: String,
    status: String,
    reviewer: String,
    verdict: String,
    request: String,
    before: String,
}

impl Typed {
    fn of(uri: &Uri) -> Outcome<Self> {
        let refused = || Failure::bad_request("bad_query", "This address cannot be read.");
        let mut typed = Typed::default();
        for (name, value) in pairs(uri.query().unwrap_or_default()).ok_or_else(refused)? {
            if let Some(field) = typed.field(&name) {
                *field = value.trim().to_owned();
            }
        }
        Ok(typed)
    }

    fn field(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "action" => &mut self.action,
            "by" => &mut self.by,
            "resource" => &mut self.resource,
            "on" => &mut self.on,
            "between" => &mut self.between,
            "from" => &mut self.from,
            "to" => &mut self.to,
            "tz" => &mut self.tz,
            "happened" => &mut self.happened,
            "status" => &mut self.status,
            "reviewer" => &mut self.reviewer,
            "verdict" => &mut self.verdict,
            "request" => &mut self.request,
            "before" => &mut self.before,
            _ => return None,
        })
    }

    /// Every field but the place in the list, which belongs to one page of it.
    const FIELDS: [&'static str; 13] = [
        "action", "by", "resource", "on", "between", "from", "to", "tz", "happened", "status", "reviewer",
        "verdict", "request",
    ];

    fn question(&self, window: &Window) -> Result<Question, String> {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let word = |what: &str| format!("There is no such {what}.");
        Ok(Question {
            action: text(&self.action),
            by: text(&self.by),
            resource: text(&self.resource),
            reviewer: text(&self.reviewer),
            verdict: choice(&self.verdict, Verdict::parse).ok_or_else(|| word("vote"))?,
            statuses: choice(&self.status, Status::parse).ok_or_else(|| word("state"))?.into_iter().collect(),
            request: text(&self.request),
            happened: choice(&self.happened, Happened::parse)
                .ok_or_else(|| word("step of a request"))?
                .unwrap_or_default(),
            from: window.from,
            to: window.to,
            before: choice(&self.before, |id| RequestId::parse(id).ok())
                .ok_or_else(|| "This is no page of the search.".to_owned())?,
            limit: PAGE,
        })
    }

    fn said(&self) -> Said {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        Said {
            on: text(&self.on),
            between: text(&self.between),
            from: text(&self.from),
            to: text(&self.to),
            tz: text(&self.tz),
        }
    }

    fn older(&self, last: RequestId) -> String {
        let mut address = format!("/audit?before={last}");
        let mut typed = self.clone();
        for name in Typed::FIELDS {
            if let Some(value) = typed.field(name).filter(|value| !value.is_empty()) {
                address.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        address
    }

    fn visible(mut self) -> Self {
        for name in Typed::FIELDS {
            if let Some(field) = self.field(name) {
                *field = visible(field);
            }
        }
        self
    }
}

/// Nothing, or what a word means; none if it means nothing.
fn choice<T>(typed: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if typed.is_empty() { Some(None) } else { read(typed).map(Some) }
}

pub(super) async fn questions(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    uri: Uri,
) -> Outcome<Response> {
    let typed = Typed::of(&uri)?;
    let understood = window(&typed.said(), app.broker.now());
    let (window, asked) = match understood {
        Ok(window) => {
            let question = typed.question(&window);
            (window, question)
        }
        Err(error) => (Window::default(), Err(error.to_string())),
    };
    let answered = match asked {
        Ok(question) => match app.broker.audit_search(question).await {
            Ok(answers) => Ok(answers),
            Err(CallError::Invalid { message, .. }) => Err(message),
            Err(error) => return Err(error.into()),
        },
        Err(problem) => Err(problem),
    };
    let (answers, problem) = match answered {
        Ok(answers) => (Some(answers), None),
        Err(problem) => (None, Some(problem)),
    };
    let older = answers.as_ref().and_then(|answers| answers.next).map(|last| typed.older(last));
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let chosen = |word: &'static str, typed: &str| (word, word == typed);
    let view = AuditPage {
        chrome: Chrome::new("Audit", Some(&reviewer), "/audit"),
        happened: Happened::ALL.map(|happened| chosen(happened.as_str(), &typed.happened)).to_vec(),
        statuses: Status::ALL.map(|status| chosen(status.as_str(), &typed.status)).to_vec(),
        verdicts: [Verdict::Approve, Verdict::Deny]
            .map(|verdict| chosen(verdict.as_str(), &typed.verdict))
            .to_vec(),
        problem,
        span: span(&window),
        answers: answers.iter().flat_map(answer_views).collect(),
        older,
        typed: typed.visible(),
    };
    page(status, &view)
}

fn span(window: &Window) -> Option<String> {
    let text = |time: Timestamp| when(time).text;
    match (window.from, window.to) {
        (Some(from), Some(to)) => Some(format!("From {} until {} UTC.", text(from), text(to))),
        (Some(from), None) => Some(format!("From {} UTC on.", text(from))),
        (None, Some(to)) => Some(format!("Until {} UTC.", text(to))),
        (None, None) => None,
    }
}

fn answer_views(answers: &Answers) -> Vec<Answer> {
    answers.found.iter().map(|found| answer(&audit::request(found, &answers.directory))).collect()
}

fn answer(request: &AuditRequest) -> Answer {
    let asked = Timestamp::parse(&request.asked_at).unwrap_or(Timestamp::EPOCH);
    let entries: Vec<String> = request.entries.iter().map(u64::to_string).collect();
    let entries = format!("Entries {}", entries.join(", "));
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: &str| facts.push((name.to_owned(), visible(value)));
    fact("request", &request.id);
    let Some(content) = &request.content else {
        return Answer {
            name: request.id.clone(),
            what: "An erased request".to_owned(),
            status: request.status.as_str(),
            who: "Its key was destroyed: who asked for what is gone. It came".to_owned(),
            asked: when(asked),
            votes: Vec::new(),
            outcome: None,
            entries,
            facts,
            id: request.id.clone(),
        };
    };
    fact("digest", &content.digest);
    fact("policy", &content.bundle);
    for vote in &content.votes {
        fact("card", &vote.card);
    }
    if let Some(execution) = &content.execution {
        fact("execution", &format!("{} since {}", execution.id, execution.started_at));
    }
    fact("whole story", &format!("placet audit show {}", request.id));
    fact("proof to take away", &format!("placet audit bundle {}", request.id));
    // Without the escape, an id could close the quotes and show a second resource.
    let id = visible(&content.resource.id).replace('"', "\\\"");
    let resource = format!("{}::\"{id}\"", content.resource.kind);
    let outcome = content.outcome.as_ref().map(|outcome| {
        format!("{}, says {}: {}", outcome.outcome, outcome.reported_by, visible(&outcome.summary))
    });
    Answer {
        name: content.short_code.clone(),
        what: format!("{} on {resource}", content.action),
        status: request.status.as_str(),
        who: format!(
            "{} {} asked, on behalf of {},",
            content.requester.kind,
            named(&content.requester),
            named(&content.on_behalf_of)
        ),
        asked: when(asked),
        votes: content.votes.iter().map(vote_line).collect(),
        outcome,
        entries,
        facts,
        id: request.id.clone(),
    }
}

fn named(who: &PrincipalRef) -> String {
    visible(who.name.as_deref().unwrap_or(&who.id))
}

fn vote_line(vote: &AuditVote) -> String {
    let verdict = match vote.verdict {
        placet_api::review::VerdictWord::Approve => "approved",
        placet_api::review::VerdictWord::Deny => "denied",
    };
    let at = Timestamp::parse(&vote.at).map(|at| when(at).text).unwrap_or_default();
    let own = if vote.self_reviewed { ", self-reviewed" } else { "" };
    let reason = vote.reason.as_deref().map(|reason| format!(": {}", visible(reason))).unwrap_or_default();
    format!("{} {verdict} at {at}{own}{reason}", named(&vote.person))
}
