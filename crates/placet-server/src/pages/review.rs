//! One review: everything a reviewer decides on, the form, and what a vote led to.

use askama::Template;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use placet_api::policy::{PartTold, PolicyTold};
use placet_broker::beside::{Compared, PinnedTool, ToolShown};
use placet_broker::card::Card;
use placet_broker::explain::ToldDecision;
use placet_broker::review::{BallotInput, Review, Reviewer, VoteLine};
use placet_broker::{CallError, Seen};
use placet_core::action::PepKind;
use placet_core::decision::GuardAsk;
use placet_core::directory::Directory;
use placet_core::request::{Reporter, Request as ActionRequest, State as Stands, Status};
use placet_core::review::{Verdict, VoteRefusal};
use placet_core::text::visible;

use super::view::{Deadline, When, deadline, deadline_word, when};
use super::{Chrome, page};
use crate::app::App;
use crate::body::read_form;
use crate::document::decision_told;
use crate::failure::{Failure, Outcome};
use crate::frame::CallId;
use crate::query::pairs;
use crate::reviewers::api::find;
use crate::reviewers::require_form_token;
use crate::timeline;

#[derive(Template)]
#[template(path = "review.html")]
struct ReviewPage {
    chrome: Chrome,
    card: Card,
    card_hash: String,
    short_digest: String,
    status: &'static str,
    standing_now: String,
    progress: Vec<ProgressView>,
    deadline: Option<Deadline>,
    deadline_word: &'static str,
    created: When,
    notice: Option<Notice>,
    arguments_title: &'static str,
    agents_arguments: bool,
    compared: Option<Compared>,
    tool: Option<ToolView>,
    outcome: Option<OutcomeView>,
    votes: Vec<VoteView>,
    timeline: Vec<LineView>,
    decisions: Vec<DecisionView>,
    form: Option<FormView>,
    is_late: bool,
    why_no_form: String,
    resolve_token: Option<String>,
}

/// What a guard has of the votes that it needs.
struct ProgressView {
    title: String,
    so_far: String,
    met: bool,
}

/// The definition of the tool that would be called.
struct ToolView {
    accepted: bool,
    shown: ToolShown,
}

struct Notice {
    tone: &'static str,
    text: &'static str,
}

struct OutcomeView {
    summary: String,
    measures: Vec<(String, String)>,
    result: Option<String>,
    recording: Option<RecordingView>,
    reported_by: &'static str,
    agents_word: bool,
    at: When,
    resolution: Option<String>,
}

struct RecordingView {
    size: String,
    sha256: String,
    truncated: bool,
}

struct VoteView {
    name: String,
    verdict: &'static str,
    reason: Option<String>,
    roles: String,
    assurance: &'static str,
    self_reviewed: bool,
    vouched: bool,
    counted: bool,
    at: When,
}

struct LineView {
    at: When,
    sentence: String,
    kind: &'static str,
    index: u64,
}

/// Why policy decided so.
struct DecisionView {
    occasion: &'static str,
    at: When,
    sentence: String,
    hint: Option<String>,
    policies: Vec<PolicyView>,
    short_bundle: String,
}

struct PolicyView {
    id: String,
    place: String,
    parts: Vec<PartView>,
    asks: Option<String>,
}

struct PartView {
    held: &'static str,
    words: String,
    text: String,
}

struct FormView {
    token: String,
    may_approve: bool,
    may_deny: bool,
    why_not_approve: Option<String>,
    self_review: bool,
}

pub(super) async fn show(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(name): Path<String>,
    uri: Uri,
) -> Outcome<Response> {
    let review = find(&app, &reviewer, &name).await?;
    let directory = app.broker.directory().await?;
    page(StatusCode::OK, &review_page(&app, &reviewer, review, &directory, notice(&uri)))
}

/// What the redirection after a form says. It names one of our own sentences, so nobody can put words there.
fn notice(uri: &Uri) -> Option<Notice> {
    let pairs = pairs(uri.query()?)?;
    let (_, done) = pairs.iter().find(|(name, _)| name == "done")?;
    match done.as_str() {
        "approve" => Some(Notice { tone: "good", text: "Your approval is on record." }),
        "deny" => Some(Notice { tone: "good", text: "Your denial is on record." }),
        "resolution" => Some(Notice { tone: "good", text: "What you found out is on record." }),
        _ => None,
    }
}

fn review_page(
    app: &App,
    reviewer: &Reviewer,
    review: Review,
    directory: &Directory,
    notice: Option<Notice>,
) -> ReviewPage {
    let request = &review.seen.stored.request;
    let status = request.status();
    let external = request.action.pep == PepKind::External;
    let resolvable = status == Status::Unknown && request.resolution.is_none();
    ReviewPage {
        chrome: Chrome::new(format!("Review {}", request.short_code), Some(reviewer), ""),
        card_hash: review.card_hash.to_string(),
        short_digest: review.card.digest.chars().take(12).collect(),
        status: status.as_str(),
        standing_now: standing_now(request),
        progress: progress(&review.seen),
        deadline: request.deadline().map(|at| deadline(at, app.broker.now())),
        deadline_word: deadline_word(status),
        created: when(request.created_at),
        notice,
        arguments_title: if external { "Arguments" } else { "The intercepted call, token for token" },
        agents_arguments: external,
        compared: review.compared.clone(),
        tool: review.tool.clone().map(tool_view),
        outcome: outcome(request),
        votes: review.votes.iter().map(vote_view).collect(),
        timeline: lines(&review, directory),
        decisions: review.decisions.iter().map(decision_view).collect(),
        is_late: status == Status::Granted && review.standing.deny.is_ok(),
        form: form(reviewer, &review),
        why_no_form: why_no_form(&review),
        resolve_token: resolvable.then(|| reviewer.form_token.clone()),
        card: review.card,
    }
}

fn tool_view(tool: PinnedTool) -> ToolView {
    match tool {
        PinnedTool::Accepted(shown) => ToolView { accepted: true, shown },
        PinnedTool::Gone => ToolView { accepted: false, shown: ToolShown::default() },
    }
}

/// The votes so far, guard by guard, as long as votes are what it waits for.
fn progress(seen: &Seen) -> Vec<ProgressView> {
    let request = &seen.stored.request;
    let requirement = request.requirement().filter(|_| request.status() == Status::Pending);
    let guards = requirement.map(|requirement| requirement.guards.as_slice()).unwrap_or_default();
    let view = |guard: &GuardAsk| ProgressView {
        title: visible(&guard.title),
        so_far: visible(&guard.needs.sentence(&seen.tally)),
        met: guard.needs.is_met(&seen.tally),
    };
    guards.iter().map(view).collect()
}

/// A card counts from no vote at all, `0 of 2 data-owners`. To people it says what is needed: `2 from data-owners`.
fn votes_needed(needs: &str) -> String {
    let mut parts = needs.split("0 of ");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told.push_str(&part.replacen(' ', " from ", 1));
    }
    told
}

/// Where a request stands, in one sentence.
fn standing_now(request: &ActionRequest) -> String {
    match &request.state {
        Stands::Refused(reason) => format!("Refused by policy. {}", reason.sentence()),
        Stands::Pending(_) => "It waits for people to decide. Nothing happens before.".to_owned(),
        Stands::Denied(denial) => match &denial.reason {
            Some(reason) => format!("Denied: {}", reason.visible()),
            None => "Denied, without a reason.".to_owned(),
        },
        Stands::Expired => "Expired: nobody decided in time. It does not happen.".to_owned(),
        Stands::Cancelled => "Cancelled: the requester withdrew it.".to_owned(),
        Stands::Granted(grant) => {
            format!("Granted: it may be carried out once, until {}.", when(grant.expires_at).text)
        }
        Stands::Lapsed => "Lapsed: it was granted, and nobody carried it out in time.".to_owned(),
        Stands::Executing(execution) => {
            format!("It is being carried out since {}.", when(execution.started_at).text)
        }
        Stands::Succeeded(..) => "It was carried out.".to_owned(),
        Stands::Failed(..) => "It was tried, and failed.".to_owned(),
        Stands::Unknown(..) => {
            "It was begun, and nobody knows how it ended. placet never tries again by itself.".to_owned()
        }
    }
}

fn outcome(request: &ActionRequest) -> Option<OutcomeView> {
    let outcome = request.outcome()?;
    let measure = |(name, value): (&String, &i64)| (words(name), value.to_string());
    Some(OutcomeView {
        summary: outcome.summary.visible(),
        measures: outcome.measures.iter().map(measure).collect(),
        result: outcome.result.map(|digest| digest.to_string()),
        recording: outcome.recording.map(|recording| RecordingView {
            size: format!("{} bytes", recording.bytes),
            sha256: recording.sha256.to_string(),
            truncated: recording.truncated,
        }),
        reported_by: outcome.reported_by.as_str(),
        agents_word: outcome.reported_by == Reporter::Agent,
        at: when(outcome.at),
        resolution: request.resolution.as_ref().map(|resolution| resolution.text.visible()),
    })
}

/// A measure's name: those that every execution has in words, any other as it was reported.
fn words(measure: &str) -> String {
    match measure {
        "exit_code" => "Exit code".to_owned(),
        "bytes" => "Bytes".to_owned(),
        "duration_ms" => "Duration in ms".to_owned(),
        other => visible(other),
    }
}

fn vote_view(line: &VoteLine) -> VoteView {
    let roles: Vec<String> = line.vote.roles.iter().map(|role| role.to_string()).collect();
    VoteView {
        name: line.name.clone(),
        verdict: line.vote.verdict.as_str(),
        reason: line.vote.reason.as_ref().map(|reason| reason.visible()),
        roles: roles.join(", "),
        assurance: line.vote.assurance.as_str(),
        self_reviewed: line.vote.self_reviewed,
        vouched: line.vote.vouched,
        counted: line.counted,
        at: when(line.vote.at),
    }
}

fn lines(review: &Review, directory: &Directory) -> Vec<LineView> {
    let line = |entry: &placet_store::StoredEntry| LineView {
        at: when(entry.time),
        sentence: timeline::sentence(entry, directory),
        kind: entry.kind.as_str(),
        index: entry.index,
    };
    review.timeline.iter().map(line).collect()
}

fn decision_view(told: &ToldDecision) -> DecisionView {
    let occasion = match told.occasion.as_str() {
        "intake" => "When it came",
        "vote" => "After a vote",
        "claim" => "When it was claimed",
        _ => "Again",
    };
    let at = when(told.at);
    let told = decision_told(told);
    DecisionView {
        occasion,
        at,
        short_bundle: told.bundle.chars().take(12).collect(),
        sentence: told.sentence,
        hint: told.hint,
        policies: told.policies.into_iter().map(policy_view).collect(),
    }
}

fn policy_view(told: PolicyTold) -> PolicyView {
    let part = |part: PartTold| PartView {
        held: match part.held {
            Some(true) => "held",
            Some(false) => "did not hold",
            None => "could not be told",
        },
        words: part.words,
        text: part.text,
    };
    PolicyView {
        id: told.id,
        place: told.place.unwrap_or_else(|| "placet's own rule".to_owned()),
        parts: told.parts.into_iter().map(part).collect(),
        asks: told.asks,
    }
}

/// The form, if the reviewer may vote either way.
fn form(reviewer: &Reviewer, review: &Review) -> Option<FormView> {
    let standing = &review.standing;
    let (may_approve, may_deny) = (standing.approve.is_ok(), standing.deny.is_ok());
    (may_approve || may_deny).then(|| FormView {
        token: reviewer.form_token.clone(),
        may_approve,
        may_deny,
        // After the grant only a denial is left to say, which needs no explanation.
        why_not_approve: standing
            .approve
            .err()
            .filter(|refusal| *refusal != VoteRefusal::Decided)
            .map(why_not_approve),
        self_review: standing.self_review,
    })
}

fn why_not_approve(refusal: VoteRefusal) -> String {
    match refusal {
        VoteRefusal::AlreadyVoted => {
            "You have approved it. Until it is carried out you can still deny it.".to_owned()
        }
        other => format!("You may not approve it: {other}."),
    }
}

fn why_no_form(review: &Review) -> String {
    match review.standing.deny {
        Ok(()) => String::new(),
        Err(VoteRefusal::Decided) => "There is nothing left to decide.".to_owned(),
        Err(refusal) => format!("You cannot vote on this: {refusal}."),
    }
}

#[derive(Template)]
#[template(path = "vote_refused.html")]
struct VoteRefusedPage {
    chrome: Chrome,
    message: String,
    now: Option<NowView>,
    kept_reason: Option<String>,
    code: String,
    call_id: String,
}

struct NowView {
    code: String,
    status: &'static str,
    sentence: String,
}

pub(super) async fn vote(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Extension(call): Extension<CallId>,
    Path(name): Path<String>,
    request: Request,
) -> Outcome<Response> {
    let form = read_form(request).await?;
    require_form_token(&reviewer, form.require("token")?)?;
    let verdict = Verdict::parse(form.require("verdict")?)
        .ok_or_else(|| Failure::bad_request("bad_form", "The form names no verdict. Open the page again."))?;
    let content_version = form.require("version")?.parse();
    let ballot = BallotInput {
        verdict,
        reason: form.get("reason").map(unix_lines).filter(|reason| !reason.trim().is_empty()),
        digest: form.require("digest")?.to_owned(),
        content_version: content_version.map_err(|_| {
            Failure::bad_request("bad_form", "The form names no version. Open the page again.")
        })?,
        card: form.require("card")?.to_owned(),
    };
    let id = find(&app, &reviewer, &name).await?.seen.stored.request.id;
    let reason = ballot.reason.clone();
    match app.broker.vote(&reviewer, id, ballot, "inbox").await {
        Ok(seen) => {
            let done = seen.stored.request.id;
            Ok(Redirect::to(&format!("/r/{done}?done={}", verdict.as_str())).into_response())
        }
        Err(
            error @ (CallError::Conflict { .. } | CallError::Forbidden { .. } | CallError::Invalid { .. }),
        ) => refused(&app, &reviewer, &name, &error, reason, &call).await,
        Err(error) => Err(error.into()),
    }
}

/// Browsers send line breaks as CR LF, whatever was typed.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// A vote that did not count: what happened meanwhile, and the way on.
async fn refused(
    app: &App,
    reviewer: &Reviewer,
    name: &str,
    error: &CallError,
    reason: Option<String>,
    call: &CallId,
) -> Outcome<Response> {
    let status = Failure::from(error.clone()).status();
    let now = find(app, reviewer, name).await.ok().map(|review| {
        let request = &review.seen.stored.request;
        NowView {
            code: request.short_code.to_string(),
            status: request.status().as_str(),
            sentence: standing_now(request),
        }
    });
    let view = VoteRefusedPage {
        chrome: Chrome::new("Your vote did not count", Some(reviewer), ""),
        message: error.to_string(),
        now,
        kept_reason: reason.map(|reason| visible(&reason)),
        code: error.code().to_owned(),
        call_id: call.as_str().to_owned(),
    };
    page(status, &view)
}

pub(super) async fn resolve(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(name): Path<String>,
    request: Request,
) -> Outcome<Response> {
    let form = read_form(request).await?;
    require_form_token(&reviewer, form.require("token")?)?;
    let text = unix_lines(form.require("text")?);
    let id = find(&app, &reviewer, &name).await?.seen.stored.request.id;
    app.broker.resolve(&reviewer, id, text).await?;
    Ok(Redirect::to(&format!("/r/{id}?done=resolution")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_votes_are_told_without_a_count() {
        for (needs, told) in [
            ("0 of 1 reviewers", "1 from reviewers"),
            (
                "(0 of 2 owners at L2 or 0 of 10 legal) and 0 of 2 different people; lead after 10m",
                "(2 from owners at L2 or 10 from legal) and 2 from different people; lead after 10m",
            ),
            ("no vote older than 30m", "no vote older than 30m"),
        ] {
            assert_eq!(votes_needed(needs), told);
        }
    }
}
