//! `placet policy`: bundles, checked offline and activated over the admin socket.

mod staging;
mod told;
mod writing;

use std::io::{self, IsTerminal as _};
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};
use placet_api::admin::PolicyDocument;
use placet_core::digest::BundleDigest;
use placet_gateway::mcp::catalogue::Catalogue;
use placet_gateway::runner::config::Config as RunnerConfig;
use placet_policy::{Bundle, BundleFiles, Finding, Severity};
use serde::Serialize;

use self::staging::Candidate;
use self::told::What;
pub(super) use self::told::decision_text;
use super::{block_on, on_socket};
use crate::admin::Admin;
use crate::cli::Starter;
use crate::cli::checking::{BundleArgs, Policy};
use crate::config::ConfigArgs;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Paint, paint, plain};
use crate::starters;

/// Does it.
pub(crate) fn run(command: Policy, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    match command {
        Policy::Check(bundle) => check(&read(&bundle)?, Depth::Load, output),
        Policy::Test(bundle) => check(&read(&bundle)?, Depth::Test, output),
        Policy::Fmt { path, check } => writing::format(&path, check, output),
        Policy::Explain { what, bundle, starter, case } => match told::what(&what)? {
            What::Recorded(name) => {
                on_socket(config, async |admin| told::recorded(&name, &admin, output).await)
            }
            What::File(path) => told::file(&path, bundle.as_deref(), starter, case.as_deref(), output),
        },
        Policy::New { part: Some(part), .. } => writing::part(&part, output),
        Policy::New { directory: Some(directory), starter, part: None } => {
            writing::starter(&directory, starter, output)
        }
        Policy::New { directory: None, part: None, .. } => {
            Err(Failure::new(Exit::Usage, "write a starter: name the directory"))
        }
        Policy::Show => on_socket(config, async |admin| show(&admin, output).await),
        Policy::Ls { page } => on_socket(config, async |admin| staging::history(&page, &admin, output).await),
        Policy::Stage { bundle, replay } => {
            let span = staging::span(&replay)?;
            let candidate = match BundleDigest::parse(&bundle) {
                Ok(digest) => Candidate::Stored(digest),
                Err(_) => Candidate::Files(checked(Path::new(&bundle), output)?),
            };
            on_socket(config, async |admin| staging::stage_only(&candidate, span, &admin, output).await)
        }
        Policy::Activate { bundle, yes } => {
            let admin = Admin::of(&crate::config::load(config)?.dir);
            if let Ok(digest) = BundleDigest::parse(&bundle) {
                return block_on(staging::activate_stage(digest, &admin, output));
            }
            activate_directory(Path::new(&bundle), yes, config, output)
        }
    }
}

/// Stages a directory, shows what differs from what is in force, asks, and activates it.
pub(super) fn activate_directory(
    directory: &Path,
    yes: bool,
    config: &ConfigArgs,
    output: Output,
) -> Result<Exit, Failure> {
    let admin = Admin::of(&crate::config::load(config)?.dir);
    let candidate = Candidate::Files(checked(directory, output)?);
    block_on(staging::stage_and_activate(&candidate, yes, &admin, output))
}

/// How far a bundle is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Whether it loads.
    Load,
    /// Whether its tests pass, too.
    Test,
}

/// What was found in a bundle.
#[derive(Serialize)]
struct Report {
    digest: String,
    ok: bool,
    findings: Vec<FindingLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tests: Option<Vec<TestLine>>,
}

#[derive(Serialize)]
struct FindingLine {
    severity: &'static str,
    code: &'static str,
    file: String,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
}

#[derive(Serialize)]
struct TestLine {
    file: String,
    line: usize,
    name: String,
    failures: Vec<String>,
    /// Why it came out as it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn read(bundle: &BundleArgs) -> Result<BundleFiles, Failure> {
    match (&bundle.directory, bundle.starter) {
        (Some(directory), _) => read_dir(directory),
        (None, starter) => Ok(starters::files(starter.unwrap_or(Starter::Solo))),
    }
}

fn read_dir(directory: &Path) -> Result<BundleFiles, Failure> {
    BundleFiles::read_dir(directory).map_err(|error| Failure::of(Exit::Usage, &error))
}

/// Says what is wrong with a bundle, as far as it was asked for.
fn check(files: &BundleFiles, depth: Depth, output: Output) -> Result<Exit, Failure> {
    let report = examine(files, depth, output);
    let exit = if report.ok { Exit::Done } else { Exit::Found };
    output.result(&report, || summary(&report))?;
    Ok(exit)
}

/// The directory's files, if placet would take them.
fn checked(directory: &Path, output: Output) -> Result<BundleFiles, Failure> {
    let files = read_dir(directory)?;
    let report = examine(&files, Depth::Test, output);
    if report.ok {
        return Ok(files);
    }
    if !output.is_json() {
        output.say(&summary(&report));
    }
    let shown = directory.display();
    Err(Failure::new(Exit::Found, format!("stage {shown}: it is not in order, and nothing has changed"))
        .hint(format!("`placet policy test {shown}` checks it without staging.")))
}

fn examine(files: &BundleFiles, depth: Depth, output: Output) -> Report {
    let (mut findings, bundle) = match Bundle::load(files) {
        Ok(loaded) => (loaded.warnings, Some(loaded.bundle)),
        Err(findings) => (findings, None),
    };
    findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if !output.is_json() {
        for finding in &findings {
            output.say(drawn(finding, files).trim_end());
        }
    }
    let mut lines: Vec<FindingLine> = findings.iter().map(finding_line).collect();
    let runner = bundle.as_ref().and_then(Bundle::runner_toml).map(RunnerConfig::parse);
    if let Some(Err(error)) = runner {
        let failure = Failure::of(Exit::Found, &error);
        if !output.is_json() {
            output.say(&format!("{} {}", paint(Paint::Bad, "error:"), failure.message));
        }
        lines.push(runner_line(failure.message));
    }
    let texts: Vec<(&str, &str)> =
        bundle.as_ref().map(|bundle| bundle.mcp_files().collect()).unwrap_or_default();
    if let Err(error) = Catalogue::read(files.digest(), texts) {
        if !output.is_json() {
            output.say(&format!("{} {error}", paint(Paint::Bad, "error:")));
        }
        lines.push(FindingLine { file: error.file.clone(), code: "mcp", ..runner_line(error.problem) });
    }
    let tests = bundle.as_ref().filter(|_| depth == Depth::Test).map(tested);
    let failed = tests.iter().flatten().any(|test| !test.failures.is_empty());
    let ok = bundle.is_some() && !failed && lines.iter().all(|line| line.severity != "error");
    Report { digest: files.digest().to_string(), ok, findings: lines, tests }
}

fn tested(bundle: &Bundle) -> Vec<TestLine> {
    let line = |case: placet_policy::CaseResult| TestLine {
        file: case.file,
        line: case.line,
        name: case.name,
        why: case.explanation.as_ref().map(placet_policy::Explanation::sentence),
        failures: case.failures,
    };
    bundle.run_tests().into_iter().map(line).collect()
}

fn finding_line(finding: &Finding) -> FindingLine {
    FindingLine {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        code: finding.code,
        file: finding.file.clone(),
        line: finding.line,
        column: finding.column,
        message: finding.message.clone(),
        help: finding.help.clone(),
    }
}

/// The runner reads its own file, and knows no columns.
fn runner_line(message: String) -> FindingLine {
    FindingLine {
        severity: "error",
        code: "runner",
        file: "runner.toml".to_owned(),
        line: 1,
        column: 1,
        message,
        help: None,
    }
}

/// A finding with its source; in plain characters where no terminal is.
fn drawn(finding: &Finding, files: &BundleFiles) -> String {
    let coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let theme = if coloured { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut drawn = format!("{finding}\n");
    let report = finding.report(files);
    match GraphicalReportHandler::new_themed(theme).with_links(false).render_report(&mut drawn, &report) {
        Ok(()) => drawn,
        // Where it cannot be drawn, the line above says where it is.
        Err(_) => format!("{finding}\n"),
    }
}

fn summary(report: &Report) -> String {
    let mut text = String::new();
    for test in report.tests.iter().flatten() {
        let word = if test.failures.is_empty() { "ok  " } else { "FAIL" };
        text.push_str(&format!("{word} {}:{} {}\n", test.file, test.line, plain(&test.name)));
        for failure in &test.failures {
            text.push_str(&format!("       {}\n", plain(failure)));
        }
        // Why it came out so is what somebody wants to know where it should not have.
        if let Some(why) = test.why.as_ref().filter(|_| !test.failures.is_empty()) {
            text.push_str(&format!("       it was {}\n", plain(why)));
        }
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let failed = report.tests.iter().flatten().filter(|test| !test.failures.is_empty()).count();
    let tests = report
        .tests
        .as_ref()
        .map(|tests| format!(", {} tests, {failed} failed", tests.len()))
        .unwrap_or_default();
    let verdict = if report.ok { "in order" } else { "not in order" };
    text.push_str(&format!("{verdict}: {} errors, {} warnings{tests}\n", count("error"), count("warning")));
    text.push_str(&format!("bundle {}\n", report.digest));
    text
}

async fn show(admin: &Admin, output: Output) -> Result<Exit, Failure> {
    let policy: PolicyDocument = admin.get(&["policy"]).await?;
    output.result(&policy, || {
        let mut text = format!("bundle {} (activation {})\n", policy.digest, policy.epoch);
        for (path, content) in &policy.files {
            text.push_str(&format!("\n── {path}\n{}\n", content.trim_end()));
        }
        text
    })?;
    Ok(Exit::Done)
}
