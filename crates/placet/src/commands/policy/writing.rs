//! `placet policy new` and `placet policy fmt`: the commands that write into a bundle's directory.
//!
//! What is written is checked before: a scaffold goes into a file only if the bundle with it still loads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use placet_core::decision::RoleName;
use placet_core::directory::GroupName;
use placet_policy::{Bundle, BundleFiles, Finding, Severity, format_cedar};
use serde::Serialize;

use super::{drawn, read_dir};
use crate::cli::Starter;
use crate::cli::checking::NewPart;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};
use crate::starters;

/// Writes a starter into a new directory.
pub(super) fn starter(directory: &Path, starter: Starter, output: Output) -> Result<Exit, Failure> {
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(Exit::Usage, format!("write {}: {error}", path.display()))
            .hint("Name a directory that does not exist, in one that does.")
    };
    fs::create_dir(directory).map_err(|error| failed(directory, &error))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for (path, bytes) in starters::files(starter).iter() {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        }
        fs::write(&path, bytes).map_err(|error| failed(&path, &error))?;
        written.push(path);
    }
    output.result(&written, || written.iter().map(|path| format!("{}\n", path.display())).collect())?;
    if !output.is_json() {
        let shown = directory.display();
        output.say(&format!(
            "Change it, try it with `placet policy test {shown}`, then `placet policy stage {shown}`."
        ));
    }
    Ok(Exit::Done)
}

/// What was added to a file.
#[derive(Serialize)]
struct Added {
    file: String,
    text: String,
}

/// Begins a guard or a role.
pub(super) fn part(part: &NewPart, output: Output) -> Result<Exit, Failure> {
    match part {
        NewPart::Guard { name, bundle, action, role, count } => {
            let files = read_dir(bundle)?;
            let loaded = load(&files, output)?;
            let action = chosen(action.as_deref(), "action", loaded.own_actions())?;
            let roles = loaded.roles().keys().map(ToString::to_string).collect();
            let role = match role {
                Some(role) => chosen(Some(role), "role", roles)?,
                None => first(roles)?,
            };
            let text = guard(name, &action, &role, *count);
            append(bundle, files, "ask.cedar", text, output)
        }
        NewPart::Role { name, bundle, group, resource_attr } => {
            let files = read_dir(bundle)?;
            load(&files, output)?;
            let text = role(name, group.as_deref(), resource_attr.as_deref())?;
            append(bundle, files, "bundle.toml", text, output)
        }
    }
}

fn load(files: &BundleFiles, output: Output) -> Result<Bundle, Failure> {
    match Bundle::load(files) {
        Ok(loaded) => Ok(loaded.bundle),
        Err(findings) => {
            say_all(&findings, files, output);
            Err(Failure::new(Exit::Found, "begin something new: the bundle is not in order")
                .hint("Name its directory with --bundle, and correct what `placet policy check` finds."))
        }
    }
}

fn say_all(findings: &[Finding], files: &BundleFiles, output: Output) {
    if !output.is_json() {
        findings.iter().for_each(|finding| output.say(drawn(finding, files).trim_end()));
    }
}

/// The one that was named, or the only one there is.
fn chosen(named: Option<&str>, what: &str, known: Vec<String>) -> Result<String, Failure> {
    match (named, known.as_slice()) {
        (Some(named), _) if known.iter().any(|one| one == named) => Ok(named.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (named, _) => {
            let problem = named.map_or_else(
                || format!("the bundle has several {what}s"),
                |named| format!("the bundle has no {what} {}", plain(named)),
            );
            Err(Failure::new(Exit::Usage, format!("write a guard: {problem}"))
                .hint(format!("Choose with --{what}: {}.", known.join(", "))))
        }
    }
}

fn first(roles: Vec<String>) -> Result<String, Failure> {
    roles.into_iter().next().ok_or_else(|| {
        Failure::new(Exit::Usage, "write a guard: the bundle has no role that could decide")
            .hint("Begin one with `placet policy new role NAME`.")
    })
}

fn guard(name: &str, action: &str, role: &str, count: u32) -> String {
    let title = name.replace('-', " ");
    format!(
        r#"
@id("{name}")
@title("{title}")
@because("Say here why people are asked.")
@timeout("1h")
forbid (
  principal,
  action == Action::"{action}",
  resource
)
// when {{ the situation in which people are asked, like resource.class == Classification::"pii" }};
// without a when, people are asked each time
unless {{ context.approvals["{role}"] >= {count} }};
"#
    )
}

fn role(name: &str, group: Option<&str>, resource_attr: Option<&str>) -> Result<String, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::new(Exit::Usage, error.to_string());
    RoleName::parse(name).map_err(|error| refused(&error))?;
    let line = match resource_attr {
        Some(attribute) => format!("resource_attr = {attribute:?}"),
        None => {
            let group = GroupName::parse(group.unwrap_or(name)).map_err(|error| refused(&error))?;
            format!("group = {:?}", group.as_str())
        }
    };
    Ok(format!("\n[role.{name}]\n{line}\n"))
}

/// Adds a text to the end of a file, if the bundle with it still loads.
fn append(
    directory: &Path,
    files: BundleFiles,
    file: &str,
    text: String,
    output: Output,
) -> Result<Exit, Failure> {
    let mut whole = files.get(file).map(<[u8]>::to_vec).unwrap_or_default();
    if whole.last().is_some_and(|last| *last != b'\n') {
        whole.push(b'\n');
    }
    whole.extend_from_slice(text.as_bytes());
    let mut all: Vec<(String, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    all.retain(|(path, _)| path != file);
    all.push((file.to_owned(), whole.clone()));
    let changed = BundleFiles::new(all);
    match Bundle::load(&changed) {
        Ok(loaded) => say_all(&loaded.warnings, &changed, output),
        Err(findings) => {
            let errors: Vec<Finding> =
                findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect();
            say_all(&errors, &changed, output);
            return Err(Failure::new(
                Exit::Found,
                format!("add to {file}: the bundle would not load with it"),
            )
            .hint("Nothing was written."));
        }
    }
    let path = directory.join(file);
    replace(&path, &whole)?;
    let added = Added { file: path.display().to_string(), text };
    output.result(&added, || format!("{}{}\n", added.text.trim_start(), added.file))?;
    if !output.is_json() {
        let shown = directory.display();
        output
            .say(&format!("Change it, add a case to tests/, and try it with `placet policy test {shown}`."));
    }
    Ok(Exit::Done)
}

/// Writes a file beside its place and moves it there, so that whoever reads sees the old one or the new one, whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Usage, format!("write {}: {error}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    // A name that starts with a dot is no part of a bundle.
    let beside = path.with_file_name(format!(".{name}.new"));
    fs::write(&beside, bytes).map_err(failed)?;
    if let Ok(metadata) = fs::metadata(path) {
        fs::set_permissions(&beside, metadata.permissions()).map_err(failed)?;
    }
    fs::rename(&beside, path).map_err(failed)
}

/// Which files are not in the one style.
#[derive(Serialize)]
struct Formatted {
    changed: Vec<String>,
    unchanged: usize,
}

/// Formats Cedar files in place, or only says which would change.
pub(super) fn format(path: &Path, check: bool, output: Output) -> Result<Exit, Failure> {
    let files = if path.is_dir() {
        read_dir(path)?
    } else {
        let bytes = fs::read(path)
            .map_err(|error| Failure::new(Exit::Usage, format!("read {}: {error}", path.display())))?;
        BundleFiles::new([(path.display().to_string(), bytes)])
    };
    let mut done = Formatted { changed: Vec::new(), unchanged: 0 };
    let mut refused = false;
    let mut changes = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".cedar")) {
        let text = String::from_utf8_lossy(bytes);
        match format_cedar(name, &text) {
            Ok(formatted) if formatted == text => done.unchanged += 1,
            Ok(formatted) => {
                done.changed.push(name.to_owned());
                changes.push((if path.is_dir() { path.join(name) } else { path.to_owned() }, formatted));
            }
            Err(findings) => {
                refused = true;
                say_all(&findings, &files, output);
            }
        }
    }
    if refused {
        return Err(Failure::new(Exit::Found, "format: a file cannot be read")
            .hint("Nothing was written. Correct it first."));
    }
    if !check {
        for (path, text) in &changes {
            replace(path, text.as_bytes())?;
        }
    }
    output.result(&done, || {
        let word = if check { "would change" } else { "formatted" };
        let mut text: String = done.changed.iter().map(|name| format!("{word} {}\n", plain(name))).collect();
        if done.changed.is_empty() {
            text.push_str(&format!("{} files are in style\n", done.unchanged));
        }
        text
    })?;
    Ok(if check && !done.changed.is_empty() { Exit::Found } else { Exit::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_loads_in_every_starter() {
        for starter in [Starter::Solo, Starter::Team] {
            let files = starters::files(starter);
            let bundle = Bundle::load(&files).unwrap().bundle;
            let action = bundle.own_actions().remove(0);
            let role_name = bundle.roles().keys().next().unwrap().to_string();
            let begun = [
                ("ask.cedar", guard("big-things", &action, &role_name, 2)),
                ("bundle.toml", role("data-owners", None, None).unwrap()),
                ("bundle.toml", role("legal", Some("lawyers"), None).unwrap()),
            ];
            for (file, text) in begun {
                let mut all: Vec<(String, Vec<u8>)> =
                    files.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
                let whole = all.iter_mut().find(|(path, _)| path == file).unwrap();
                whole.1.extend_from_slice(text.as_bytes());
                let loaded =
                    Bundle::load(&BundleFiles::new(all)).unwrap_or_else(|found| panic!("{found:#?}"));
                assert_eq!(loaded.warnings, [], "{text}");
            }
            // A guard is begun in the one style.
            let begun = guard("big-things", &action, &role_name, 2);
            assert_eq!(format_cedar("ask.cedar", begun.trim_start()).unwrap(), begun.trim_start());
        }
        assert!(role("Bad Name", None, None).is_err());
    }
}
