//! The reference page says what the code says.

use std::collections::BTreeSet;
use std::path::Path;

use placet_policy::{Bundle, format_cedar};

use crate::common::{World, decide, export, facts, files, refused};
use placet_core::action::Fact;

fn root(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let fences = page.split(&fence).skip(1);
    fences.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_lint_rule_of_the_code_stands_in_the_table() {
    let page = root("docs/reference/policy.md");
    let mut told = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| L")) {
        told.insert(line.split('|').nth(1).unwrap().trim().to_owned());
    }
    let mut raised = BTreeSet::new();
    for file in ["bundle", "policies", "guard", "settings", "schema", "decide"] {
        let text = root(&format!("crates/placet-policy/src/{file}.rs"));
        for piece in text.split('"') {
            let number = piece.strip_prefix('L').and_then(|number| number.parse::<u32>().ok());
            raised.extend(number.map(|number| format!("L{number}")));
        }
    }
    assert_eq!(told, raised);
}

#[test]
fn every_annotation_is_told_where_it_may_stand_and_no_other_exists() {
    let page = root("docs/reference/policy.md");
    let rows = page.lines().filter(|line| line.starts_with("| all |") || line.starts_with("| guards |"));
    let annotations: Vec<String> = rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(annotations.len(), 7, "{annotations:?}");
    let whole = annotations.join(" ").replace("security after", "reviewers after");
    let guard = format!(
        "{whole} forbid (principal, action == Action::\"data.export\", resource) unless {{ context.approvals.reviewers >= 1 }};"
    );
    assert_eq!(refused(&[("ask.cedar", &guard)]), []);
    let unknown = guard.replace("@veto", "@mask");
    assert_eq!(refused(&[("ask.cedar", &unknown)])[0].code, "L4");
}

#[test]
fn the_example_loads_is_in_style_and_is_explained_as_told() {
    let page = root("docs/reference/policy.md");
    let [example] = blocks(&page, "cedar").try_into().unwrap();
    assert_eq!(format_cedar("ask.cedar", &example).unwrap(), example);
    let bundle = Bundle::load(&files(&[("ask.cedar", &example)])).unwrap().bundle;
    let world =
        World::default().person(1, &[]).person(2, &["reviewers"]).person(3, &["reviewers"]).agent(1, 1);
    let asked = decide(&bundle, &world, &export("customers"), &Default::default(), &[]);
    let sentence = asked.explanation().sentence();
    assert!(page.contains(&format!("`{sentence}`")), "{sentence}");
    let ban = "@id(\"never\") forbid (principal, action == Action::\"data.export\", resource) when { context has rows && context.rows > 10000 };";
    let bundle = Bundle::load(&files(&[("never.cedar", ban)])).unwrap().bundle;
    let banned = decide(&bundle, &world, &export("prices"), &facts([("rows", Fact::Long(20_000))]), &[]);
    let sentence = banned.explanation().sentence().replace("rows is given and ", "");
    assert!(page.contains(&format!("`{sentence}`")), "{sentence}");
}

#[test]
fn the_case_of_the_page_can_be_read() {
    let page = root("docs/reference/policy.md");
    let [case] = blocks(&page, "toml").try_into().unwrap();
    let bundle = Bundle::load(&files(&[])).unwrap().bundle;
    let results = bundle.run_cases("page.toml", &case).unwrap();
    assert_eq!(results.len(), 1);
    assert!(results[0].explanation.is_some(), "{results:#?}");
}
