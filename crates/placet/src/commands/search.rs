//! `placet audit search` and `placet audit show`: who asked for what, on what, when, who let them, and the proof of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_api::admin::FilesDocument;
use placet_api::audit::{AuditContent, AuditList, AuditRequest, AuditStory, AuditVote};
use placet_api::client::Reviewers;
use placet_api::request::PrincipalRef;
use placet_ledger::VerifierKey;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bundle::{self, Files, Taken};
use crate::admin::Admin;
use crate::cli::checking::{DoorArgs, SearchArgs};
use crate::config::{self, ConfigArgs};
use crate::credentials;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Paint, paint_data, plain};

/// Whom to ask: the admin socket of this machine, or the reviewers' door as a person.
pub(super) enum Asked {
    Socket(Admin),
    Door(Reviewers),
}

impl Asked {
    pub(super) fn of(door: &DoorArgs, config: &ConfigArgs) -> Result<Self, Failure> {
        if door.reviewers {
            return Ok(Asked::Door(credentials::reviewers()?));
        }
        Ok(Asked::Socket(Admin::of(&config::load(config)?.dir)))
    }

    /// Asks for a document below `/admin/v1` or `/v1`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        match self {
            Asked::Socket(admin) => admin.query(segments, query).await,
            Asked::Door(reviewers) => Ok(reviewers.get(segments, query).await?),
        }
    }
}

/// Searches.
pub(super) async fn search(asked: &Asked, args: SearchArgs, output: Output) -> Result<Exit, Failure> {
    let list: AuditList = asked.get(&["audit", "requests"], &query(args)).await?;
    output.result(&list, || found(&list))?;
    if !output.is_json() {
        if let (Some(from), Some(to)) = (&list.from, &list.to) {
            output.say(&format!("Understood as {from} to {to}."));
        }
        match (&list.next_cursor, list.requests.is_empty()) {
            (Some(cursor), _) => output.say(&format!("There may be more: --cursor {cursor}")),
            (None, true) => output.say("No request fits."),
            (None, false) => {}
        }
    }
    Ok(Exit::Done)
}

fn query(args: SearchArgs) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", args.page.limit.to_string())];
    let statuses = (!args.status.is_empty()).then(|| args.status.join(","));
    for (name, value) in [
        ("action", args.action),
        ("by", args.by),
        ("resource", args.resource),
        ("reviewer", args.reviewer),
        ("verdict", args.verdict),
        ("status", statuses),
        ("request", args.request.or(args.code)),
        ("happened", args.happened),
        ("on", args.on),
        ("between", args.between),
        ("from", args.from),
        ("to", args.to),
        ("tz", args.tz),
        ("cursor", args.page.cursor),
    ] {
        query.extend(value.map(|value| (name, value)));
    }
    query
}

fn found(list: &AuditList) -> String {
    list.requests.iter().map(|request| lines(request, true)).collect::<Vec<_>>().join("\n")
}

/// Each value stays in its line, whatever is in it.
fn put(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("{name:<12} {}\n", plain(value)));
}

/// A request, for people.
fn lines(request: &AuditRequest, with_commands: bool) -> String {
    let mut text = String::new();
    let mut put = |name: &str, value: &str| put(&mut text, name, value);
    put("request", &request.id);
    put("status", request.status.as_str());
    match &request.content {
        None => put("", "erased: its key was destroyed; what follows is what stands in clear"),
        Some(content) => of_content(content, &mut put),
    }
    put("asked", &request.asked_at);
    put("changed", &request.updated_at);
    let entries: Vec<String> = request.entries.iter().map(u64::to_string).collect();
    put("entries", &entries.join(", "));
    if with_commands {
        put("whole story", &format!("placet audit show {}", request.id));
        put("proof", &format!("placet audit bundle {}", request.id));
    }
    text
}

fn of_content(content: &AuditContent, put: &mut impl FnMut(&str, &str)) {
    let resource = format!("{}::{:?}", content.resource.kind, content.resource.id);
    put("action", &format!("{} on {resource}", content.action));
    put("code", &content.short_code);
    put("who asked", &format!("{} {}", content.requester.kind, named(&content.requester)));
    put("on behalf of", &named(&content.on_behalf_of));
    if let Some(why) = &content.justification {
        put("they said", why);
    }
    put("through", &format!("{} ({})", content.pep, content.grade));
    put("decision", &format!("{} under policy {}", content.effect, content.bundle));
    for vote in &content.votes {
        put(vote.verdict.as_str(), &of_vote(vote));
        put("", &format!("on card {}", vote.card));
    }
    if let Some(execution) = &content.execution {
        put("execution", &format!("{} since {}", execution.id, execution.started_at));
    }
    if let Some(outcome) = &content.outcome {
        let word = &outcome.outcome;
        put(
            "outcome",
            &format!("{word} at {}, says {}: {}", outcome.at, outcome.reported_by, outcome.summary),
        );
        if let Some(resolution) = &outcome.resolution {
            put("really", resolution);
        }
    }
    put("digest", &content.digest);
}

fn of_vote(vote: &AuditVote) -> String {
    let mut notes = vec![vote.assurance.clone()];
    notes.extend((!vote.roles.is_empty()).then(|| format!("as {}", vote.roles.join(", "))));
    notes.extend(vote.self_reviewed.then(|| "self-reviewed".to_owned()));
    notes.extend(vote.vouched.then(|| "vouched".to_owned()));
    let reason = vote.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{} at {} ({}){reason}", named(&vote.person), vote.at, notes.join(", "))
}

fn named(who: &PrincipalRef) -> String {
    match &who.name {
        Some(name) => format!("{name} ({})", who.id),
        None => who.id.clone(),
    }
}

/// Shows everything about one request, and checks the proof of it right now.
pub(super) async fn show(
    asked: &Asked,
    id: &str,
    key: Option<VerifierKey>,
    output: Output,
) -> Result<Exit, Failure> {
    let story: AuditStory = asked.get(&["audit", "requests", id], &[]).await?;
    let proof = match (asked, key) {
        (Asked::Socket(admin), Some(key)) => Some(prove(admin, &story.request.id, &key).await?),
        _ => None,
    };
    let verified = proof.as_ref().map(|(report, _)| report.summary());
    let document = serde_json::json!({
        "story": &story,
        "proof": proof.as_ref().map(|(report, _)| report),
        "policy": proof.as_ref().map(|(_, policy)| policy),
    });
    output
        .result(&document, || told(&story, proof.as_ref().map(|(_, policy)| policy), verified.as_deref()))?;
    Ok(Exit::Done)
}

/// The texts of the policy bundles that decided, by path.
type Policy = BTreeMap<String, String>;

/// Fetches what proves the request and checks it here, with the log's key alone.
async fn prove(admin: &Admin, id: &str, key: &VerifierKey) -> Result<(bundle::Report, Policy), Failure> {
    let evidence: FilesDocument = admin.get(&["audit", "requests", id, "evidence"]).await?;
    let mut files = BTreeMap::new();
    for (path, content) in &evidence.files {
        let bytes = STANDARD.decode(content).map_err(|error| Failure::of(Exit::Bug, &error))?;
        files.insert(path.clone(), bytes);
    }
    let policy = files.iter().filter(|(path, _)| path.starts_with("policy/"));
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let policy = policy.map(|(path, bytes)| (path.clone(), text(bytes))).collect();
    Ok((bundle::check(Files::of(files), key, Taken::Nowhere)?, policy))
}

fn told(story: &AuditStory, policy: Option<&Policy>, verified: Option<&str>) -> String {
    let heading = |word: &str| format!("\n{}\n", paint_data(Paint::Strong, word));
    let mut text = lines(&story.request, false);
    text.push_str(&heading("What happened"));
    for line in &story.timeline {
        let (time, kind, sentence) = (plain(&line.time), plain(&line.kind), plain(&line.sentence));
        text.push_str(&format!("{:>8}  {time}  {kind:<20} {sentence}\n", line.index));
    }
    for card in &story.cards {
        text.push_str(&heading("The card, as it was shown"));
        card_lines(card, &mut text);
    }
    // What only tests the policy decided nothing.
    for (path, file) in policy.into_iter().flatten().filter(|(path, _)| !path.contains("/tests/")) {
        text.push_str(&heading(&plain(path)));
        for line in file.lines() {
            text.push_str(&format!("  {}\n", plain(line)));
        }
    }
    text.push_str(&heading("Proof"));
    match verified {
        Some(summary) => {
            text.push_str(&format!("{}: {summary}\n", paint_data(Paint::Good, "verified just now")))
        }
        None => text.push_str("not checked here: that takes the admin socket and the log's key\n"),
    }
    text.push_str(&format!("To take away: placet audit bundle {}\n", plain(&story.request.id)));
    text
}

/// A card's members, one a line.
fn card_lines(card: &str, text: &mut String) {
    let Ok(Value::Object(members)) = serde_json::from_str::<Value>(card) else {
        put(text, "card", card);
        return;
    };
    for (name, value) in &members {
        // The exact bytes stand in the digest's place already, and make the card unreadable.
        if name == "canonical" || value.is_null() {
            continue;
        }
        match value {
            Value::Array(items) => {
                for item in items {
                    put(text, name, &card_value(item));
                }
            }
            other => put(text, name, &card_value(other)),
        }
    }
}

fn card_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(pair) => pair.iter().map(card_value).collect::<Vec<_>>().join(" = "),
        other => other.to_string(),
    }
}
