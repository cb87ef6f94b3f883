//! `placet policy stage`, `activate` and `ls`: what would change, and the way into force.

use std::io::{self, BufRead as _, IsTerminal as _};

use placet_api::admin::{ActivateRequest, PolicyDocument};
use placet_api::policy::{
    PolicyEvent, PolicyHistory, ReplayDocument, StageRequest, StageSource, StagedDocument,
};
use placet_core::digest::BundleDigest;
use placet_policy::BundleFiles;

use crate::admin::{Admin, Body};
use crate::cli::checking::{HistoryArgs, ReplayArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// What to replay, as the socket reads it.
#[derive(Clone, Copy)]
pub(super) struct Span {
    last: u32,
    since_seconds: Option<u64>,
}

/// As `placet policy activate` replays, which does not say.
pub(super) const USUAL: Span = Span { last: 1000, since_seconds: None };

/// Reads `--last` and `--since`.
pub(super) fn span(args: &ReplayArgs) -> Result<Span, Failure> {
    let refused = |text: &str| {
        Failure::new(Exit::Usage, format!("replay what came since {}: it is no time", plain(text)))
            .hint("Write a number and s, m, h or d, like 12h or 30d.")
    };
    let since = args.since.as_deref().map(|text| seconds(text).ok_or_else(|| refused(text))).transpose()?;
    Ok(Span { last: args.last, since_seconds: since })
}

fn seconds(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0)
}

/// What is staged: the very bytes that were read once, or what was stored by digest.
pub(super) enum Candidate {
    /// Files of a directory.
    Files(BundleFiles),
    /// A stored bundle.
    Stored(BundleDigest),
}

async fn send(candidate: &Candidate, span: Span, admin: &Admin) -> Result<StagedDocument, Failure> {
    let text = |(path, bytes): (&str, &[u8])| match std::str::from_utf8(bytes) {
        Ok(text) => Ok((path.to_owned(), text.to_owned())),
        Err(_) => Err(Failure::new(Exit::Usage, format!("stage {path}: it is not UTF-8"))),
    };
    let (bundle, expected) = match candidate {
        Candidate::Files(files) => {
            (StageSource::Files(files.iter().map(text).collect::<Result<_, _>>()?), files.digest())
        }
        Candidate::Stored(digest) => (StageSource::Stored(*digest), *digest),
    };
    let request = StageRequest { bundle, last: Some(span.last), since_seconds: span.since_seconds };
    let staged: StagedDocument = admin.post(&["policy", "stage"], Body::Json(request.to_json())).await?;
    if staged.digest != expected.to_string() {
        return Err(Failure::new(Exit::Bug, "stage: placet stored other files than were sent"));
    }
    Ok(staged)
}

pub(super) async fn stage_only(
    candidate: &Candidate,
    span: Span,
    admin: &Admin,
    output: Output,
) -> Result<Exit, Failure> {
    let staged = send(candidate, span, admin).await?;
    output.result(&staged, || format!("{}staged {}\n", differences(&staged), staged.digest))?;
    if !staged.active && !output.is_json() {
        output.say(&format!("It decides nothing yet: placet policy activate {}", staged.digest));
    }
    Ok(Exit::Done)
}

/// Stages, shows, asks unless told not to, and activates exactly what was shown.
pub(super) async fn stage_and_activate(
    candidate: &Candidate,
    yes: bool,
    admin: &Admin,
    output: Output,
) -> Result<Exit, Failure> {
    let staged = send(candidate, USUAL, admin).await?;
    if !output.is_json() {
        output.say(differences(&staged).trim_end());
    }
    if !staged.active && !yes {
        confirm(&staged, output)?;
    }
    let digest = BundleDigest::parse(&staged.digest).map_err(|error| Failure::of(Exit::Bug, &error))?;
    activate(digest, admin, output).await
}

/// A stage by its digest. One that is stale is shown anew where somebody can look; a script is told.
pub(super) async fn activate_stage(
    digest: BundleDigest,
    admin: &Admin,
    output: Output,
) -> Result<Exit, Failure> {
    match activate(digest, admin, output).await {
        Err(stale) if stale.code.as_deref() == Some("stage_stale") && io::stdin().is_terminal() => {
            output.say("Another bundle was activated since this was staged. Against what is in force now:");
            stage_and_activate(&Candidate::Stored(digest), false, admin, output).await
        }
        ended => ended,
    }
}

async fn activate(digest: BundleDigest, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let body = ActivateRequest { digest }.to_json();
    let policy: PolicyDocument = admin.post(&["policy", "activate"], Body::Json(body)).await?;
    output.result(&policy, || {
        format!("bundle {} decides from now on (activation {})", policy.digest, policy.epoch)
    })?;
    Ok(Exit::Done)
}

fn differences(staged: &StagedDocument) -> String {
    let mut text = String::new();
    for change in &staged.changes {
        text.push_str(&format!("{} {}\n", change.change, plain(&change.path)));
        for line in &change.lines {
            text.push_str(&format!("  {}\n", plain(line)));
        }
    }
    for warning in &staged.warnings {
        text.push_str(&format!("warning: {}\n", plain(warning)));
    }
    if let Some(replay) = &staged.replay {
        text.push_str(&outcomes(replay));
    }
    if staged.active {
        text.push_str("It is in force already.\n");
    }
    text
}

/// What recorded requests would have come to.
fn outcomes(replay: &ReplayDocument) -> String {
    let changed: usize = replay.changes.iter().map(|change| change.count).sum();
    let mut text = match (replay.requests, changed) {
        (0, _) => "no recorded request to replay\n".to_owned(),
        (requests, 0) => format!("replayed {requests} recorded requests: each comes out as before\n"),
        (requests, changed) => {
            format!("replayed {requests} recorded requests: {changed} come out differently\n")
        }
    };
    for change in &replay.changes {
        let what = if change.from == change.to {
            format!("{}, of other people or for other reasons", change.to)
        } else {
            format!("{} → {}", change.from, change.to)
        };
        text.push_str(&format!("  {:>5}  {what}\n", change.count));
        for example in &change.examples {
            text.push_str(&format!("         {} {}\n", example.request, plain(&example.what)));
            text.push_str(&format!("           was: {}\n", reason(&example.before)));
            text.push_str(&format!("           now: {}\n", reason(&example.after)));
        }
    }
    for (role, delta) in &replay.load {
        let plural = if delta.abs() == 1 { "question" } else { "questions" };
        text.push_str(&format!("  {delta:+} {plural} for {}\n", plain(role)));
    }
    if replay.gone > 0 {
        text.push_str(&format!(
            "  {} were left out: somebody in their chain may not act any more\n",
            replay.gone
        ));
    }
    text
}

fn reason(text: &str) -> String {
    if text.is_empty() { "permitted".to_owned() } else { plain(text) }
}

fn confirm(staged: &StagedDocument, output: Output) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "activate it without being asked: there is no terminal").hint(
            format!("Look at the differences, and say --yes, or `placet policy activate {}`.", staged.digest),
        ));
    }
    output.say("Type activate to let it decide from now on:");
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(|error| Failure::of(Exit::Bug, &error))?;
    if typed.trim() == "activate" {
        return Ok(());
    }
    Err(Failure::new(Exit::Waited, "you did not say so: it is staged, and decides nothing")
        .hint(format!("placet policy activate {}", staged.digest)))
}

pub(super) async fn history(page: &HistoryArgs, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let mut query = vec![("limit", page.limit.to_string())];
    query.extend(page.before.map(|before| ("before", before.to_string())));
    let history: PolicyHistory = admin.query(&["policy", "history"], &query).await?;
    output.result(&history, || rows(&history.events))?;
    if let Some(next) = history.next.filter(|_| !output.is_json()) {
        output.say(&format!("There are more: --before {next}"));
    }
    Ok(Exit::Done)
}

fn rows(events: &[PolicyEvent]) -> String {
    let row = |event: &PolicyEvent| {
        let note = match (event.activation, event.fresh) {
            (Some(activation), _) => format!("activation {activation}"),
            (None, Some(true)) => "may be activated".to_owned(),
            (None, _) => String::new(),
        };
        [
            event.entry.to_string(),
            event.at.clone(),
            event.what.clone(),
            event.digest.clone(),
            plain(&event.by),
            note,
        ]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    table(["ENTRY", "WHEN", "WHAT", "BUNDLE", "BY", ""], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, read) in [
            ("30d", Some(2_592_000)),
            ("12h", Some(43_200)),
            ("0d", None),
            ("d", None),
            ("", None),
            ("3w", None),
            ("-1h", None),
        ] {
            assert_eq!(seconds(text), read, "{text}");
        }
    }
}
