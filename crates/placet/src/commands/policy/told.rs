//! `placet policy explain`: why a request came out as it did.

use std::path::{Path, PathBuf};

use placet_api::policy::{DecisionTold, ExplanationDocument, PartTold, PolicyTold};
use placet_core::digest::ShortCode;
use placet_core::id::RequestId;
use placet_policy::{Bundle, BundleFiles, CaseResult, Explanation};
use serde::Serialize;

use super::{drawn, read_dir};
use crate::admin::Admin;
use crate::cli::Starter;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};
use crate::starters;

/// What is to be explained.
pub(super) enum What {
    /// A recorded request, by id or code.
    Recorded(String),
    /// A file of cases.
    File(PathBuf),
}

/// Reads what was named: a file that is there is one, whatever it is called.
pub(super) fn what(named: &str) -> Result<What, Failure> {
    let path = Path::new(named);
    if path.is_file() {
        return Ok(What::File(path.to_owned()));
    }
    if RequestId::parse(named).is_ok() || ShortCode::parse(named).is_ok() {
        return Ok(What::Recorded(named.to_owned()));
    }
    Err(Failure::new(Exit::Usage, format!("explain {}: it is no request and no file", plain(named)))
        .hint("Name a request by id or code, or a file of cases like those in a bundle's tests/."))
}

pub(super) async fn recorded(name: &str, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let told: ExplanationDocument = admin.get(&["requests", name, "explanation"]).await?;
    output.result(&told, || {
        let mut text = format!(
            "{} {} is {}: {} on {}\n",
            told.request,
            told.short_code,
            told.status,
            plain(&told.action),
            plain(&told.resource)
        );
        for decision in &told.decisions {
            text.push_str(&format!(
                "\n{} at {}, under {}\n",
                decision.occasion,
                decision.at,
                decision.bundle.get(..12).unwrap_or(&decision.bundle)
            ));
            text.push_str(&decision_text(decision));
        }
        for missing in &told.missing {
            text.push_str(&format!("\nmissing now: {}\n", plain(missing)));
        }
        text
    })?;
    Ok(Exit::Done)
}

/// A decision, for people. Also of a review, whose reader may read policy.
pub(crate) fn decision_text(decision: &DecisionTold) -> String {
    let mut text = format!("  {}\n", plain(&decision.sentence));
    for policy in &decision.policies {
        let place = policy.place.as_deref().unwrap_or("placet's own rule");
        let nearly = if policy.kind == "permit" { ", does not match" } else { "" };
        text.push_str(&format!("  {} {} ({}{nearly})\n", policy.kind, plain(&policy.id), plain(place)));
        for part in &policy.parts {
            text.push_str(&format!("    {} {}\n", mark(part.held), plain(&part.words)));
        }
        if let Some(asks) = &policy.asks {
            text.push_str(&format!("    asks for: {}\n", plain(asks)));
        }
    }
    if let Some(hint) = &decision.hint {
        text.push_str(&format!("  hint: {}\n", plain(hint)));
    }
    text
}

fn mark(held: Option<bool>) -> &'static str {
    match held {
        Some(true) => "yes",
        Some(false) => "no ",
        None => "?  ",
    }
}

/// A case that was explained.
#[derive(Serialize)]
struct CaseTold {
    name: String,
    line: usize,
    failures: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionTold>,
}

/// Decides the cases of a file under a bundle on disk, and says why.
pub(super) fn file(
    path: &Path,
    bundle: Option<&Path>,
    starter: Option<Starter>,
    case: Option<&str>,
    output: Output,
) -> Result<Exit, Failure> {
    let files = match (bundle, starter) {
        (Some(directory), _) => read_dir(directory)?,
        (None, Some(starter)) => starters::files(starter),
        (None, None) => read_dir(&home(path)?)?,
    };
    let loaded = Bundle::load(&files).map_err(|findings| {
        findings.iter().for_each(|finding| output.say(drawn(finding, &files).trim_end()));
        Failure::new(Exit::Found, "explain a case: the bundle is not in order")
    })?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("read {}: {error}", path.display())))?;
    let name = path.display().to_string();
    let results = loaded.bundle.run_cases(&name, &text).map_err(|findings| {
        let shown = BundleFiles::new([(name.as_str(), text.as_str())]);
        findings.iter().for_each(|finding| output.say(drawn(finding, &shown).trim_end()));
        Failure::new(Exit::Found, format!("read {name}: it is no file of cases"))
    })?;
    let wanted = |result: &&CaseResult| case.is_none_or(|case| result.name == case);
    let told: Vec<CaseTold> =
        results.iter().filter(wanted).map(|result| case_told(result, &loaded.bundle)).collect();
    if told.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("explain {name}: it has no such case"))
            .hint("A case begins with [[case]] and has a name."));
    }
    output.result(&told, || told.iter().map(|told| case_text(&name, told)).collect())?;
    Ok(Exit::Done)
}

/// The bundle that a file lies in: its directory, or the one above its `tests/`.
fn home(path: &Path) -> Result<PathBuf, Failure> {
    let within = path.ancestors().skip(1).take(2);
    let here = |directory: &&Path| directory.join("bundle.toml").is_file();
    let found = within.filter(here).map(Path::to_owned).next();
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("explain {}: it lies in no bundle", path.display()))
            .hint("Name one with --bundle DIR or --starter solo.")
    })
}

fn case_told(result: &CaseResult, bundle: &Bundle) -> CaseTold {
    CaseTold {
        name: result.name.clone(),
        line: result.line,
        failures: result.failures.clone(),
        decision: result.explanation.as_ref().map(|explanation| decision(explanation, bundle)),
    }
}

fn decision(explanation: &Explanation, bundle: &Bundle) -> DecisionTold {
    let part = |part: &placet_core::decision::Condition| PartTold {
        words: part.words.clone(),
        text: part.text.clone(),
        held: part.holds,
    };
    let policies = explanation.policies.iter().map(|policy| PolicyTold {
        id: policy.policy.clone(),
        kind: policy.kind.as_str().to_owned(),
        place: bundle.place(&policy.policy).map(|place| place.to_string()),
        parts: policy.parts.iter().map(part).collect(),
        asks: policy.asks.clone(),
    });
    DecisionTold {
        at: String::new(),
        occasion: "case".to_owned(),
        bundle: bundle.digest().to_string(),
        sentence: explanation.sentence(),
        hint: explanation.hint.clone(),
        policies: policies.collect(),
    }
}

fn case_text(file: &str, told: &CaseTold) -> String {
    let mut text = format!("{file}:{} {}\n", told.line, plain(&told.name));
    if let Some(decision) = &told.decision {
        text.push_str(&decision_text(decision));
    }
    for failure in &told.failures {
        text.push_str(&format!("  but: {}\n", plain(failure)));
    }
    text
}
