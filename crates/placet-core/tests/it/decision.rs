//! What would be enough evidence, counted and told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_core::decision::{Condition, ForbidReason, Need, RoleName, Tally, short_duration};
use placet_core::review::Assurance;

use crate::common::{MILLI, MINUTE, person, requirement, role};

fn at_least(count: u32, name: &str, assurance: Option<Assurance>) -> Need {
    Need::AtLeast { count, role: role(name), assurance }
}

/// Two owners, one of them at L2, and one of these is security too; the oldest vote is ten minutes old.
fn tally() -> Tally {
    Tally {
        roles: BTreeMap::from([(role("owners"), 2), (role("security"), 1)]),
        assured: BTreeMap::from([((role("owners"), Assurance::L2), 1)]),
        people: BTreeSet::from([person(1), person(2)]),
        age: MINUTE * 10,
    }
}

#[test]
fn a_need_is_met_by_no_less_than_it_says() {
    let holds = |holds| Need::Data(Condition { text: "x".to_owned(), words: "x".to_owned(), holds });
    for (need, met) in [
        (at_least(2, "owners", None), true),
        (at_least(3, "owners", None), false),
        (at_least(1, "owners", Some(Assurance::L2)), true),
        (at_least(2, "owners", Some(Assurance::L2)), false),
        (at_least(1, "owners", Some(Assurance::L3)), false),
        (at_least(1, "nobody", None), false),
        (Need::Distinct(2), true),
        (Need::Distinct(3), false),
        (Need::Within(MINUTE * 10), true),
        (Need::Within(MINUTE * 10 - MILLI), false),
        (holds(Some(true)), true),
        (holds(Some(false)), false),
        (holds(None), false),
        (Need::All(vec![at_least(2, "owners", None), at_least(1, "security", None)]), true),
        (Need::All(vec![at_least(2, "owners", None), at_least(2, "security", None)]), false),
        (Need::Any(vec![at_least(3, "owners", None), at_least(1, "security", None)]), true),
        (Need::Any(vec![at_least(3, "owners", None), holds(None)]), false),
        (Need::All(Vec::new()), false),
        (Need::Any(Vec::new()), false),
    ] {
        assert_eq!(need.is_met(&tally()), met, "{need:?}");
    }
}

#[test]
fn nobodys_votes_meet_no_need_for_people() {
    for need in [at_least(1, "owners", None), at_least(1, "owners", Some(Assurance::L1)), Need::Distinct(1)] {
        assert!(!need.is_met(&Tally::default()), "{need:?}");
    }
    assert!(requirement().guards.iter().all(|guard| !guard.needs.is_met(&Tally::default())));
}

#[test]
fn a_need_tells_people_what_is_missing() {
    let need = Need::All(vec![
        Need::Any(vec![at_least(3, "owners", None), at_least(1, "owners", Some(Assurance::L2))]),
        Need::Distinct(3),
        Need::Within(MINUTE * 30),
    ]);
    assert_eq!(
        need.sentence(&tally()),
        "(2 of 3 owners or 1 of 1 owners at L2) and 2 of 3 different people and no vote older than 30m"
    );
    assert_eq!(at_least(1, "owners", None).sentence(&tally()), "1 of 1 owners", "more than enough is enough");
    assert_eq!(need.roles(), BTreeSet::from([role("owners")]));
    assert_eq!(requirement().roles(), BTreeSet::from([role("owners")]));
}

#[test]
fn durations_are_told_in_their_largest_whole_unit() {
    for (seconds, told) in
        [(0, "0ms"), (1, "1s"), (90, "90s"), (120, "2m"), (5400, "90m"), (14_400, "4h"), (172_800, "2d")]
    {
        assert_eq!(short_duration(Duration::from_secs(seconds)), told);
    }
    assert_eq!(short_duration(Duration::from_millis(1500)), "1500ms");
}

#[test]
fn role_names_are_plain() {
    let long = "a".repeat(65);
    for good in ["a", "data-owners", "a9", &long[..64]] {
        assert_eq!(RoleName::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "9a", "-a", "A", "a b", "a_b", "a@L2", "ä", &long] {
        assert!(RoleName::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn reasons_have_codes_of_their_own_and_tell_no_policy_text() {
    let reasons = [
        ForbidReason::NotPermitted,
        ForbidReason::Policy,
        ForbidReason::CannotBeApproved,
        ForbidReason::NobodyCanApprove(role("owners")),
        ForbidReason::UnknownAction,
        ForbidReason::UnknownEntity("Dataset".to_owned()),
        ForbidReason::BadFacts("rows is missing".to_owned()),
        ForbidReason::ChainBroken,
        ForbidReason::PolicyError(vec!["secret-policy: overflow".to_owned()]),
        ForbidReason::EvidenceGone,
        ForbidReason::Vetoed,
    ];
    let codes: BTreeSet<&str> = reasons.iter().map(ForbidReason::code).collect();
    assert_eq!(codes.len(), reasons.len());
    for reason in reasons {
        let sentence = reason.sentence();
        assert!(!sentence.is_empty() && !sentence.contains("secret-policy"), "{sentence}");
    }
}
