//! Checks that read our files as text: what must not stand in any of them, and what has grown too long.
//!
//! Walks the tree itself instead of asking git, so that an unpacked archive is checked like a clone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exec::{Failure, Machine, Result, say};

/// A text that no file may contain, and why.
struct Unwanted {
    needle: &'static str,
    why: &'static str,
}

const REGISTRY_HOST: &str = "a registry's host is the builder's choice: name the package, not the address";
const CONFLICT: &str = "a merge was left half done";

/// Add a line to forbid a text. Each needle is written in two halves, so that this file does not find itself.
const UNWANTED: [Unwanted; 9] = [
    Unwanted { needle: concat!("static.", "crates.io"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("index.", "crates.io"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("registry.", "npmjs.org"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("registry.", "yarnpkg.com"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("pypi.org", "/simple"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("files.", "pythonhosted.org"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("proxy.", "golang.org"), why: REGISTRY_HOST },
    Unwanted { needle: concat!("\n<<<<", "<<< "), why: CONFLICT },
    Unwanted { needle: concat!("\n>>>>", ">>> "), why: CONFLICT },
];

/// Directories that hold what was built, fetched or recorded.
const NOT_OURS: [&str; 6] = [".git", "target", "node_modules", "shots", "placet-data", "__pycache__"];

/// A file of Rust over this many lines is asking to be two rooms; its tests are not counted.
const RUST_LINES_MAX: usize = 600;

pub(crate) fn check(machine: &Machine) -> Result<()> {
    let files = files_below(&machine.path(""))?;
    let mut findings = Vec::new();
    let mut warnings = 0;
    for path in &files {
        let bytes = fs::read(machine.path("").join(path))
            .map_err(|error| Failure::new(format!("failed to read {}: {error}", path.display())))?;
        // What is not UTF-8 is a picture, a key or a test vector, and has no text to check.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        findings.extend(unwanted(&text).into_iter().map(|finding| format!("{}:{finding}", path.display())));
        if let Some(lines) = too_long(path, &text) {
            warnings += 1;
            say(&format!("warning: {} has {lines} lines without its tests", path.display()));
        }
    }
    if !findings.is_empty() {
        return Err(Failure::findings("these files contain what they must not:", &findings));
    }
    say(&format!("{} files read, {warnings} warnings", files.len()));
    Ok(())
}

fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = |error| Failure::new(format!("failed to list {}: {error}", directory.display()));
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Of the entry itself: a link is neither followed nor read.
            let kind = entry.file_type().map_err(failed)?;
            let path = entry.path();
            if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                directories.push(path);
            } else if kind.is_file() {
                files.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn unwanted(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for Unwanted { needle, why } in &UNWANTED {
        if let Some(at) = text.find(needle) {
            let line = line_of(text, at + needle.len());
            findings.push(format!("{line}: {:?}: {why}", needle.trim()));
        }
    }
    if let Some((at, character)) = text.char_indices().find(|(_, character)| is_deceptive(*character)) {
        let line = line_of(text, at);
        findings.push(format!(
            "{line}: {}: invisible or turns text around: escape it",
            character.escape_unicode()
        ));
    }
    findings
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// What makes a reader see other text than the compiler does; we warn reviewers of it and cannot have it ourselves.
fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{0}')
}

fn too_long(path: &Path, text: &str) -> Option<usize> {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let is_test = path.iter().any(|part| part == "tests" || part == "benches" || part == "tests.rs");
    if !is_rust || is_test {
        return None;
    }
    let product = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    Some(product.lines().count()).filter(|lines| *lines > RUST_LINES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unwanted_text_is_found_on_its_line() {
        for Unwanted { needle, why } in &UNWANTED {
            let findings = unwanted(&format!("first\nsecond\n{needle}x\n"));
            let line = if needle.starts_with('\n') { 4 } else { 3 };
            assert_eq!(findings, [format!("{line}: {:?}: {why}", needle.trim())]);
        }
        assert!(unwanted("the package on crates.io, and a rule\n=======\n").is_empty());
    }

    #[test]
    fn text_that_deceives_its_reader_is_found() {
        for character in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{0}'] {
            let findings = unwanted(&format!("a\nb{character}c"));
            assert!(matches!(findings.as_slice(), [one] if one.starts_with("2: \\u{")), "{findings:?}");
        }
        assert!(unwanted("ordinary: äöü → ≤ 你好\u{a0}\n").is_empty());
    }

    #[test]
    fn only_product_code_counts_for_length() {
        let long = "fn f() {}\n".repeat(RUST_LINES_MAX + 1);
        assert_eq!(too_long(Path::new("crates/a/src/lib.rs"), &long), Some(RUST_LINES_MAX + 1));
        assert_eq!(too_long(Path::new("crates/a/src/lib.rs"), &long["fn f() {}\n".len()..]), None);
        assert_eq!(too_long(Path::new("crates/a/tests/it/main.rs"), &long), None);
        assert_eq!(too_long(Path::new("crates/a/src/tests.rs"), &long), None);
        assert_eq!(too_long(Path::new("docs/long.md"), &long), None);
        let tested = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(too_long(Path::new("crates/a/src/lib.rs"), &tested), None);
    }

    #[test]
    fn the_walk_stays_in_what_is_ours() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a.rs", "b/c.md", "target/x.rs", "b/node_modules/y.js", ".ci/run"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        std::os::unix::fs::symlink("/", root.path().join("b/everything")).unwrap();
        let files = files_below(root.path()).unwrap();
        assert_eq!(files, [".ci/run", "a.rs", "b/c.md"].map(PathBuf::from));
    }
}
