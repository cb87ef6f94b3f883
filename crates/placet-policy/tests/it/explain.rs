//! Why: golden explanations in the world of the fact sheet, and where each policy stands.

use placet_core::review::Verdict;
use placet_policy::{Bundle, BundleFiles, CaseResult, PolicyKind};

use crate::common::{World, bundle, decide, export, files, minutes, person_id, vote};

fn golden() -> Bundle {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    Bundle::load(&BundleFiles::read_dir(&path).unwrap()).unwrap().bundle
}

const PEOPLE: &str = r#"
[people]
ann = { groups = ["analytics", "data-owners"] }
dora = { groups = ["data-owners"] }
dirk = { groups = ["data-owners"] }
sam = { groups = ["security"] }
[agents]
churn-bot = { sponsor = "ann", groups = ["analytics"] }
ops-bot = { sponsor = "sam", groups = ["platform"] }
"#;

fn explained(bundle: &Bundle, case: &str) -> CaseResult {
    let text = format!("{PEOPLE}\n[[case]]\nname = \"a question\"\n{case}\n");
    let results = bundle.run_cases("question.toml", &text).unwrap_or_else(|found| panic!("{found:#?}"));
    results.into_iter().next().unwrap()
}

#[test]
fn the_sheets_world_is_explained_in_sentences() {
    let bundle = golden();
    let customers = "resource = 'Dataset::\"customers\"'\naction = \"data.export\"";
    let prices = "resource = 'Dataset::\"prices\"'\naction = \"data.export\"";
    for (case, sentence, hint) in [
        (
            format!("principal = \"churn-bot\"\n{prices}\ncontext = {{ rows = 10, destination = \"s3://acme-x\" }}"),
            "permitted by agents-export-own-team-data",
            None,
        ),
        (
            format!("principal = \"churn-bot\"\n{customers}\ncontext = {{ rows = 10, destination = \"s3://acme-x\" }}\nvotes = [{{ person = \"dora\", ago = \"5m\" }}]"),
            "asked because resource.class is pii; 1 of 2 data-owners and no vote older than 30m",
            None,
        ),
        (
            format!("principal = \"churn-bot\"\n{prices}\ncontext = {{ rows = 20000, destination = \"https://evil\" }}"),
            "asked because of export-outside; destination is like s3://acme-* or 0 of 1 security; and because rows is over 10000; 0 of 2 data-owners and no vote older than 30m",
            None,
        ),
        (
            format!("principal = \"ops-bot\"\n{customers}\ncontext = {{ rows = 10, destination = \"s3://acme-x\" }}"),
            "refused: no policy permits this action",
            Some("the permit agents-export-own-team-data comes nearest; it does not hold that the requester is in resource.owner, nor that the requester is in group analytics"),
        ),
        (
            "principal = \"ops-bot\"\naction = \"role.grant\"\nresource = 'Role::\"db-admin\"'\ncontext = { hours = 8, grantee = \"sam\" }".to_owned(),
            "refused because hours is over 4: a policy forbids this action",
            None,
        ),
    ] {
        let result = explained(&bundle, &case);
        assert_eq!(result.failures, Vec::<String>::new(), "{case}");
        let explanation = result.explanation.unwrap();
        assert_eq!(explanation.sentence(), sentence, "{case}");
        assert_eq!(explanation.hint.as_deref(), hint, "{case}");
    }
}

#[test]
fn a_case_that_is_a_test_says_what_it_expects() {
    let test = format!(
        "{PEOPLE}\n[[case]]\nname = \"open\"\nprincipal = \"ann\"\naction = \"data.export\"\nresource = 'Dataset::\"prices\"'\n"
    );
    let found = Bundle::load(&files(&[("tests/a.toml", &test)])).unwrap_err();
    assert_eq!((found[0].code, found[0].line), ("tests", 11), "{found:#?}");
}

#[test]
fn an_explanation_is_recorded_and_read_back() {
    let world = World::default().person(1, &[]).person(2, &["reviewers"]).agent(1, 1);
    let judgement = decide(&bundle(&[]), &world, &export("customers"), &Default::default(), &[]);
    let recorded = judgement.explained_value().unwrap();
    let entry = placet_core::c14n::Value::object([
        ("effect", placet_core::c14n::Value::string("ask")),
        ("explained", recorded),
    ]);
    let read = placet_policy::Explanation::from_record(&entry).unwrap();
    assert_eq!(read.policies, judgement.explained);
    assert_eq!(read.policies[0].kind, PolicyKind::Guard);
    assert_eq!(read.sentence(), "asked because resource.class is pii; 0 of 1 reviewers");
    // What is permitted costs no explanation.
    let judgement = decide(&bundle(&[]), &world, &export("prices"), &Default::default(), &[]);
    assert_eq!((judgement.explained_value(), judgement.hint), (None, None));
}

#[test]
fn a_policy_stands_in_a_line_of_its_file() {
    let bundle = bundle(&[]);
    let place = |id: &str| bundle.place(id).map(|place| place.to_string());
    assert_eq!(place("pii").as_deref(), Some("ask.cedar:2"));
    assert_eq!(place("export").as_deref(), Some("allow.cedar:2"));
    assert_eq!(place("no-self-approval-person"), None, "placet's own");
    let commented = "// @id(\"b\") was here\n\n@id(\"a\")\npermit (principal, action == Action::\"data.export\", resource);\n";
    let files = files(&[("allow.cedar", commented)]);
    assert_eq!(placet_policy::place_of(&files, "a").unwrap().line, 3);
    assert_eq!(placet_policy::place_of(&files, "b"), None);
}

#[test]
fn denials_on_record_end_it_as_soon_as_the_guard_asks_for_so_few() {
    let world =
        World::default().person(1, &[]).person(2, &["reviewers"]).person(3, &["reviewers"]).agent(1, 1);
    let veto = |count: &str| {
        bundle(&[(
            "ask.cedar",
            &format!(
                "@id(\"pii\") @veto(\"{count}\") forbid (principal, action == Action::\"data.export\", resource) when {{ resource.class == Classification::\"pii\" }} unless {{ context.approvals.reviewers >= 1 }};"
            ),
        )])
    };
    let mut no = vote(2, minutes(5));
    no.verdict = Verdict::Deny;
    let votes = [no, vote(3, minutes(1))];
    let effect = |bundle: &Bundle| {
        let judgement = decide(bundle, &world, &export("customers"), &Default::default(), &votes);
        (judgement.explanation().sentence(), judgement.tally.people.contains(&person_id(3)))
    };
    assert_eq!(
        effect(&veto("2")),
        ("permitted by export, after 1 approval by reviewers cleared pii".to_owned(), true)
    );
    let (sentence, _) = effect(&veto("1"));
    assert_eq!(sentence, "refused: the denials on record end it under the policy in force now");
}

#[test]
fn a_quorum_above_the_people_there_are_is_a_warning_with_a_place() {
    let world = World::default().person(1, &["reviewers"]).agent(1, 1);
    let two = bundle(&[(
        "ask.cedar",
        "\n@id(\"pii\") forbid (principal, action == Action::\"data.export\", resource) unless { context.approvals.reviewers >= 2 || context.approvals.security >= 1 };\n@id(\"own\") forbid (principal, action == Action::\"data.export\", resource) unless { context.approvals.owner >= 1 && context.approvals.reviewers >= 2 };",
    )]);
    let found = two.quorums_out_of_reach(&world.0);
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ask.cedar:3:1: L6: own asks for 1 owner; 0 active people are in the group data-owners",
            "ask.cedar:3:1: L6: own asks for 2 reviewers; 1 active person is in the group reviewers",
        ],
        "where there is another way, nothing is certain"
    );
}
