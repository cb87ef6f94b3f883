//! What holds for all votes, guards and facts.

use std::collections::BTreeSet;
use std::time::Duration;

use placet_core::action::{Fact, Facts};
use placet_core::decision::{Effect, ForbidReason};
use placet_core::review::{Assurance, Vote};
use placet_policy::Bundle;
use proptest::prelude::*;

use crate::common::{World, bundle, decide, export, facts, person_id, vote};

const FORBID: &str = "forbid (principal, action == Action::\"data.export\", resource)";

/// Evidence in the guards' grammar. Age stands only beside a count.
fn evidence() -> impl Strategy<Value = String> {
    let role = prop_oneof![Just("reviewers"), Just("security"), Just("reviewers@L2")];
    let count = (role, 1..4u32).prop_map(|(role, count)| format!("context.approvals[\"{role}\"] >= {count}"));
    let leaf = prop_oneof![
        4 => count.clone(),
        1 => (1..4u32).prop_map(|count| format!("context.approvals.distinct >= {count}")),
        2 => (count, 1..60u64).prop_map(|(count, age)| format!(
            "({count} && context.approvals.age <= duration(\"{age}m\"))"
        )),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let data = prop_oneof![
            Just("(context has rows && context.rows > 50)".to_owned()),
            Just("context has forced".to_owned()),
        ];
        let joined = (proptest::collection::vec(inner.clone(), 2..4), prop_oneof![Just("&&"), Just("||")])
            .prop_map(|(parts, word)| format!("({})", parts.join(&format!(" {word} "))));
        prop_oneof![3 => joined, 1 => (inner, data, prop_oneof![Just("&&"), Just("||")])
            .prop_map(|(part, data, word)| format!("({part} {word} {data})"))]
    })
}

/// Persons 2 to 7: 2 to 5 review, 4 to 6 are security, 7 is nobody, 1 is the sponsor.
fn world() -> World {
    World::default()
        .person(1, &["reviewers", "security"])
        .person(2, &["reviewers"])
        .person(3, &["reviewers"])
        .person(4, &["reviewers", "security"])
        .person(5, &["reviewers", "security"])
        .person(6, &["security"])
        .person(7, &[])
        .agent(1, 1)
}

fn votes() -> impl Strategy<Value = Vec<Vote>> {
    let one = (1..8u128, 0..70u64, any::<bool>()).prop_map(|(person, minutes, fresh)| Vote {
        assurance: if fresh { Assurance::L2 } else { Assurance::L1 },
        ..vote(person, Duration::from_secs(minutes * 60))
    });
    proptest::collection::vec(one, 0..8).prop_map(|votes| {
        let mut seen = BTreeSet::new();
        votes.into_iter().filter(|vote| seen.insert(vote.person)).collect()
    })
}

fn some_facts() -> impl Strategy<Value = Facts> {
    (proptest::option::of(0..100i64), any::<bool>()).prop_map(|(rows, forced)| {
        let mut known = facts([]);
        known.known.extend(rows.map(|rows| ("rows".to_owned(), Fact::Long(rows))));
        if forced {
            known.known.insert("forced".to_owned(), Fact::Bool(true));
        }
        known
    })
}

fn guarded(evidences: &[String]) -> Bundle {
    let guards: String = evidences
        .iter()
        .enumerate()
        .map(|(n, evidence)| format!("@id(\"g{n}\") {FORBID} unless {{ {evidence} }};\n"))
        .collect();
    bundle(&[("ask.cedar", &guards)])
}

/// How strict an effect is: the more, the stricter.
fn strictness(effect: &Effect) -> u8 {
    match effect {
        Effect::Permit => 0,
        Effect::RequireApproval(_) => 1,
        Effect::Forbid(_) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// What reviewers see says the same as Cedar.
    #[test]
    fn the_tree_agrees_with_cedar(evidence in evidence(), votes in votes(), facts in some_facts()) {
        let bundle = guarded(std::slice::from_ref(&evidence));
        let judgement = decide(&bundle, &world(), &export("prices"), &facts, &votes);
        // The tree with its conditions filled, from a decision without votes.
        let bare = decide(&bundle, &world(), &export("prices"), &facts, &[]);
        match &bare.decision.effect {
            Effect::RequireApproval(requirement) => {
                let met = requirement.guards[0].needs.is_met(&judgement.tally);
                prop_assert_eq!(met, judgement.decision.effect == Effect::Permit, "{} {:?}", evidence, judgement);
            }
            Effect::Permit => prop_assert_eq!(&judgement.decision.effect, &Effect::Permit),
            Effect::Forbid(ForbidReason::NobodyCanApprove(_) | ForbidReason::CannotBeApproved) => {
                prop_assert_ne!(&judgement.decision.effect, &Effect::Permit, "{}", evidence);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// More votes never turn a permit into anything else.
    #[test]
    fn votes_only_help(evidence in evidence(), votes in votes(), facts in some_facts(), fewer in 0..8usize) {
        let bundle = guarded(&[evidence]);
        let judge = |votes: &[Vote]| decide(&bundle, &world(), &export("prices"), &facts, votes).decision.effect;
        let (some, all) = (judge(&votes[..fewer.min(votes.len())]), judge(&votes));
        prop_assert!(strictness(&all) <= strictness(&some), "{some:?} then {all:?}");
    }

    /// One more guard never loosens anything.
    #[test]
    fn guards_only_tighten(evidences in proptest::collection::vec(evidence(), 2..4), votes in votes(), facts in some_facts()) {
        let judge = |evidences: &[String]| {
            decide(&guarded(evidences), &world(), &export("prices"), &facts, &votes).decision.effect
        };
        let (fewer, all) = (judge(&evidences[1..]), judge(&evidences));
        prop_assert!(strictness(&all) >= strictness(&fewer), "{fewer:?} then {all:?}");
    }

    /// The sponsor never counts, and neither does who has no role.
    #[test]
    fn nobody_decides_on_what_is_theirs(evidence in evidence(), votes in votes(), facts in some_facts()) {
        let judgement = decide(&guarded(&[evidence]), &world(), &export("prices"), &facts, &votes);
        prop_assert!(!judgement.tally.people.contains(&person_id(1)));
        prop_assert!(!judgement.tally.people.contains(&person_id(7)));
    }

    /// A policy that errs refuses, whatever else permits.
    #[test]
    fn an_error_is_a_no(evidence in evidence(), votes in votes(), rows in 1..i64::MAX) {
        let guard = format!("@id(\"g\") {FORBID} unless {{ {evidence} }};");
        let never = format!("@id(\"over\") {FORBID} when {{ context has rows && context.rows + 9223372036854775807 < 0 }};");
        let bundle = bundle(&[("ask.cedar", &guard), ("never.cedar", &never)]);
        let judgement = decide(&bundle, &world(), &export("prices"), &facts([("rows", Fact::Long(rows))]), &votes);
        prop_assert_eq!(judgement.decision.effect, Effect::Forbid(ForbidReason::PolicyError(vec!["over".to_owned()])));
    }

    /// No text is read as a bundle by crashing.
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n\"{}()\\[\\]@;=]{0,200}", file in 0..8usize) {
        let files = ["bundle.toml", "schema.cedarschema", "entities.toml", "allow.cedar", "ask.cedar", "mapping.toml", "runner.toml", "tests/a.toml"];
        for finding in crate::common::refused(&[(files[file], &text)]) {
            prop_assert!(!finding.message.is_empty() && finding.line >= 1 && finding.column >= 1);
        }
    }
}
