//! `placet review`: the reviewers' door, for a person with an API token.

use std::io::{self, BufRead as _, IsTerminal as _};

use placet_api::client::{ListReviews, Reviewers};
use placet_api::review::{ReviewDocument, ReviewLine, ReviewList, VerdictWord, VoteRequest};
use placet_core::digest::Sha256Digest;

use super::policy::decision_text;
use super::recordings;
use super::requests::resource;
use super::waiting::progress;
use crate::cli::asking::{Review, VoteArgs};
use crate::credentials;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// Does it.
pub(crate) async fn run(command: Review, output: Output) -> Result<Exit, Failure> {
    let reviewers = credentials::reviewers()?;
    match command {
        Review::Ls { state, mine, page } => {
            let list = ListReviews {
                state: Some(state.as_str().to_owned()),
                mine,
                cursor: page.cursor,
                limit: Some(page.limit),
            };
            let listed = reviewers.reviews(&list).await?;
            output.result(&listed, || rows(&listed))?;
            if let Some(cursor) = listed.next_cursor.as_ref().filter(|_| !output.is_json()) {
                output.say(&format!("There are more: --cursor {cursor}"));
            }
        }
        Review::Show { id } => {
            let review = reviewers.review(&id).await?;
            output.result(&review, || shown(&review))?;
        }
        Review::Recording { id, output: file } => {
            let review = reviewers.review(&id).await?;
            let bytes = reviewers.recording(&review.request.id).await?;
            let promised = review.request.outcome.and_then(|outcome| outcome.recording);
            if promised.is_none_or(|promised| promised.sha256 != Sha256Digest::of(&bytes).to_string()) {
                let message =
                    "the recording does not have the hash that the outcome names: keep it as evidence";
                return Err(Failure::new(Exit::Found, message));
            }
            recordings::write(&bytes, file.as_deref(), output)?;
        }
        Review::Approve(vote) => cast(&reviewers, VerdictWord::Approve, vote, output).await?,
        Review::Deny(vote) => cast(&reviewers, VerdictWord::Deny, vote, output).await?,
    }
    Ok(Exit::Done)
}

/// Shows the whole card, asks, and votes on exactly what was shown.
async fn cast(
    reviewers: &Reviewers,
    verdict: VerdictWord,
    args: VoteArgs,
    output: Output,
) -> Result<(), Failure> {
    let review = reviewers.review(&args.id).await?;
    if Sha256Digest::of(review.card_bytes.as_bytes()).to_string() != review.card_hash {
        return Err(Failure::new(Exit::Bug, "vote: the card does not have the hash that placet gave for it"));
    }
    output.say(&shown(&review));
    if !args.yes {
        confirm(verdict, &review, output)?;
    }
    let vote = VoteRequest {
        verdict,
        reason: args.reason,
        digest: review.request.digest.clone(),
        version: review.request.content_version,
        card: Some(review.card_hash.clone()),
    };
    let request = reviewers.vote(&review.request.id, &vote).await?;
    output.result(&request, || {
        let missing = progress(&request);
        let missing = if missing.is_empty() { String::new() } else { format!(" ({missing})") };
        format!(
            "Your vote counts: {}. {} is {}{missing}.",
            verdict.as_str(),
            request.id,
            request.status.as_str()
        )
    })
}

/// A person at a terminal says yes; anything else has to say --yes.
fn confirm(verdict: VerdictWord, review: &ReviewDocument, output: Output) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} it without being asked: there is no terminal", verdict.as_str()),
        )
        .hint("Read the card above, and say --yes."));
    }
    let word = verdict.as_str();
    output.say(&format!("Type {word} to {word} {} on {}:", review.request.action, resource(&review.request)));
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(|error| Failure::of(Exit::Bug, &error))?;
    if typed.trim() == word {
        Ok(())
    } else {
        Err(Failure::new(Exit::Waited, "you did not say so: nothing was voted"))
    }
}

fn rows(list: &ReviewList) -> String {
    let row = |line: &ReviewLine| {
        let request = &line.request;
        [
            request.short_code.clone(),
            request.status.as_str().to_owned(),
            request.action.clone(),
            resource(request),
            plain(request.principal.name.as_deref().unwrap_or(&request.principal.id)),
            match (line.my_vote, line.may_vote) {
                (Some(vote), _) => format!("you: {}", vote.as_str()),
                (None, true) => "yours to decide".to_owned(),
                (None, false) => String::new(),
            },
            plain(line.missing.as_deref().unwrap_or_default()),
        ]
    };
    table(
        ["CODE", "STATUS", "ACTION", "RESOURCE", "WHO ASKS", "", "MISSING"],
        &list.reviews.iter().map(row).collect::<Vec<_>>(),
    )
}

/// The whole card, and how the reader stands to it.
fn shown(review: &ReviewDocument) -> String {
    let (card, request) = (&review.card, &review.request);
    let mut text = String::new();
    let mut put = |name: &str, value: &str| text.push_str(&format!("{name:<12} {}\n", plain(value)));
    put("", &card.title);
    put("code", &request.short_code);
    put("status", request.status.as_str());
    if let Some(until) = &request.expires_at {
        put("until", until);
    }
    let sponsor = card
        .requester
        .sponsor
        .as_deref()
        .map(|sponsor| format!(", sponsored by {sponsor}"))
        .unwrap_or_default();
    put(
        "who asks",
        &format!("{} {} ({}){sponsor}", card.requester.kind, card.requester.name, card.requester.id),
    );
    put("on behalf of", &card.on_behalf_of);
    put("action", &card.action);
    put("resource", &card.resource);
    for fact in &card.resource_facts {
        put("", &format!("{} = {}", fact.name, fact.value));
    }
    put("through", &format!("{} {}", card.pep, card.target));
    put("grade", &format!("{}: {}", card.grade, card.grade_note));
    for (title, facts) in [("arguments", &card.arguments), ("facts", &card.facts), ("pinned", &card.pins)] {
        for (position, fact) in facts.iter().enumerate() {
            put(if position == 0 { title } else { "" }, &format!("{} = {}", fact.name, fact.value));
        }
    }
    if let Some(compared) = &review.compared {
        put("compared", &format!("with {}, the last one like it that was approved", compared.short_code));
        if compared.changes.is_empty() {
            put("", "the same call");
        }
        for change in &compared.changes {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "(not there)".to_owned());
            put("", &format!("{}: {} -> {}", change.path, word(&change.was), word(&change.now)));
        }
    }
    if let Some(tool) = &review.tool {
        match tool.accepted {
            true => put("the tool", tool.description.as_deref().unwrap_or("(it says nothing about itself)")),
            false => put("the tool", "is not accepted any more as it was: this will not be carried out"),
        }
        for hint in &tool.hints {
            put("", &format!("the server claims: {} {}", hint.name, hint.value));
        }
    }
    put("they say", card.justification.as_deref().unwrap_or("(nothing)"));
    for guard in &card.guards {
        put("asked by", &format!("{} ({})", guard.title, guard.id));
        for why in guard.because.iter().chain(&guard.situation) {
            put("", why);
        }
        put("", &format!("needs {}", guard.needs));
    }
    if let Some(decision) = review.decisions.last() {
        for (position, line) in decision_text(decision).lines().enumerate() {
            put(if position == 0 { "policy" } else { "" }, line.trim_end());
        }
    }
    for vote in &review.votes {
        let mut notes = vec![vote.assurance.as_str()];
        notes.extend(vote.self_reviewed.then_some("self-reviewed"));
        notes.extend(vote.vouched.then_some("vouched"));
        notes.extend((!vote.counted).then_some("does not count"));
        let reason = vote.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        put(
            "vote",
            &format!("{} {} ({}) {}{reason}", vote.name, vote.verdict.as_str(), notes.join(", "), vote.at),
        );
    }
    if card.self_review {
        put("mind", "a sponsor reviews what is their own agent's; the record will say self-reviewed");
    }
    let standing = &review.standing;
    put(
        "you may",
        match (standing.may_approve, standing.may_deny) {
            (true, _) => "approve or deny",
            (false, true) => "deny",
            (false, false) => "read",
        },
    );
    if let Some(reason) = &standing.reason {
        put("", reason);
    }
    put("digest", &request.digest);
    put("card", &review.card_hash);
    text
}
