//! The threat model names a test for each threat: this checks that each of them is there.

use std::fs;
use std::path::Path;

use crate::exec::{Failure, Machine, Result, say};
use crate::text::files_below;

const THREAT_MODEL: &str = "docs/concepts/threat-model.md";

/// A test that a line of the threat model names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    line: usize,
    /// The crate's word: `broker` for `placet-broker`, `placet` for the binary, `browser` for the browser's tests.
    place: String,
    test: String,
}

pub(crate) fn check(machine: &Machine) -> Result<()> {
    let read = |path: &Path| {
        fs::read_to_string(machine.path("").join(path))
            .map_err(|error| Failure::new(format!("failed to read {}: {error}", path.display())))
    };
    let named = named(&read(Path::new(THREAT_MODEL))?);
    let files = files_below(&machine.path(""))?;
    let mut sources = Vec::new();
    for path in files {
        let Some(place) = place_of(&path) else { continue };
        sources.push((place, read(&path)?));
    }
    let missing: Vec<String> = named
        .iter()
        .filter(|test| !sources.iter().any(|(place, text)| *place == test.place && has(text, test)))
        .map(|test| format!("{THREAT_MODEL}:{}: {} has no test {:?}", test.line, test.place, test.test))
        .collect();
    if named.is_empty() {
        return Err(Failure::new(format!("{THREAT_MODEL} names no test at all")));
    }
    if missing.is_empty() {
        say(&format!("{} tests named, all there", named.len()));
        return Ok(());
    }
    Err(Failure::findings("the threat model names tests that are not there:", &missing))
}

/// The tests in the last column of its tables: a crate's word, then the names of tests in backticks.
fn named(text: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').collect();
        let [_, _, _, shown_by, _] = cells.as_slice() else { continue };
        let mut place = String::new();
        for (position, part) in shown_by.split('`').enumerate() {
            if position % 2 == 1 {
                found.push(Named { line: number + 1, place: place.clone(), test: part.to_owned() });
            } else if let Some(word) = part.split([' ', ';', ',']).rfind(|word| !word.is_empty()) {
                place = word.to_owned();
            }
        }
    }
    found
}

fn place_of(path: &Path) -> Option<String> {
    let mut parts = path.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
    let extension = path.extension().and_then(|extension| extension.to_str());
    match (parts.next()?, parts.next()?, extension?) {
        ("crates", "placet", "rs") => Some("placet".to_owned()),
        ("crates", name, "rs") => name.strip_prefix("placet-").map(str::to_owned),
        ("tests", "browser", "mjs") => Some("browser".to_owned()),
        _ => None,
    }
}

fn has(text: &str, test: &Named) -> bool {
    if test.place == "browser" {
        text.contains(&test.test)
    } else {
        text.contains(&format!("fn {}(", test.test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_last_column_after_their_crate() {
        let text = "| threat | what | shown by |\n|---|---|---|\n| a | `not_this` | core `one`, `two`; browser `three four` |\n";
        let test =
            |place: &str, test: &str| Named { line: 3, place: place.to_owned(), test: test.to_owned() };
        assert_eq!(named(text), [test("core", "one"), test("core", "two"), test("browser", "three four")]);
    }

    #[test]
    fn a_test_is_a_function_of_its_crate_or_a_title_in_the_browser() {
        let test =
            |place: &str, test: &str| Named { line: 1, place: place.to_owned(), test: test.to_owned() };
        assert!(
            has("async fn one() {", &test("core", "one")) && !has("fn one_more() {", &test("core", "one"))
        );
        assert!(has("test(\"three four\"", &test("browser", "three four")));
        assert_eq!(place_of(Path::new("crates/placet-core/src/a.rs")).as_deref(), Some("core"));
        assert_eq!(place_of(Path::new("crates/placet/tests/it/a.rs")).as_deref(), Some("placet"));
        assert_eq!(place_of(Path::new("docs/a.md")), None);
    }
}
