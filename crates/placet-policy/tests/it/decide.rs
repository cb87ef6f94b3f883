//! Decisions: who counts, what is asked, and that whatever goes wrong is a no.

use std::time::Duration;

use placet_core::action::{Fact, Facts, PepKind, Principal};
use placet_core::c14n::Value;
use placet_core::decision::{Condition, Effect, ForbidReason, Need, Requirement, RoleName};
use placet_core::directory::{AgentKind, Conflict, Status};
use placet_core::id::TokenId;
use placet_core::review::{Assurance, Evidence, Verdict, VerifiedReviewer, Vote};
use placet_core::time::Timestamp;
use placet_policy::{Bundle, Judgement};

use crate::common::{
    ASK, MANIFEST, NOW, World, agent_id, bundle, decide, export, facts, minutes, person_id, question, vote,
};

const FORBID: &str = "forbid (principal, action == Action::\"data.export\", resource)";

/// Person 1 sponsors agent 1; persons 2 and 3 review, 4 is security, 5 is nobody.
fn world() -> World {
    World::default()
        .person(1, &["reviewers"])
        .person(2, &["reviewers"])
        .person(3, &["reviewers", "security"])
        .person(4, &["security"])
        .person(5, &[])
        .agent(1, 1)
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

#[track_caller]
fn forbidden(judgement: &Judgement) -> &ForbidReason {
    match &judgement.decision.effect {
        Effect::Forbid(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn asked(judgement: &Judgement) -> &Requirement {
    match &judgement.decision.effect {
        Effect::RequireApproval(requirement) => requirement,
        other => panic!("{other:?}"),
    }
}

fn because(judgement: &Judgement) -> Vec<&str> {
    judgement.decision.because.iter().map(|because| because.policy.as_str()).collect()
}

fn guard(clauses: &str) -> String {
    format!("@id(\"a\") {FORBID} {clauses};")
}

#[test]
fn a_permit_names_its_policy() {
    let judgement = decide(&bundle(&[]), &world(), &export("prices"), &Facts::default(), &[]);
    assert_eq!(judgement.decision.effect, Effect::Permit);
    assert_eq!(because(&judgement), ["export"]);
    assert_eq!(judgement.evidence_until, None);
    assert_eq!(judgement.decision.bundle, bundle(&[]).digest());
}

#[test]
fn a_question_says_what_is_asked_and_of_whom() {
    let ask = r#"
@id("pii") @title("Personal data") @because("It is personal.") @timeout("30m") @veto("2")
@channel("slack:#data") @escalate("security after 10m")
forbid (principal, action == Action::"data.export", resource)
when { resource.class == Classification::"pii" || !(context has rows && context.rows <= 10) }
unless { (context.approvals.reviewers >= 1 && context.approvals.age <= duration("20m")) || (context has forced && context.forced) };
@id("rows") @timeout("15m") @channel("mail:a@b.example")
forbid (principal, action == Action::"data.export", resource)
when { context has rows && context.rows > 5 }
unless { context.approvals["security@L2"] >= 1 };
"#;
    let bundle = bundle(&[("ask.cedar", ask)]);
    let judgement = decide(&bundle, &world(), &export("customers"), &facts([("rows", Fact::Long(7))]), &[]);
    let requirement = asked(&judgement);
    assert_eq!(because(&judgement), ["pii", "rows"]);
    assert_eq!(requirement.review_for, minutes(15));
    assert_eq!(requirement.age_max, Some(minutes(20)));
    assert_eq!(requirement.veto, 1, "one guard says nothing, so one denial is enough");
    assert_eq!(requirement.channels.iter().collect::<Vec<_>>(), ["mail:a@b.example", "slack:#data"]);
    assert_eq!(requirement.eligible[&role("reviewers")], [person_id(2), person_id(3)].into());
    assert_eq!(requirement.eligible[&role("security")], [person_id(3), person_id(4)].into());
    assert_eq!(requirement.self_review, None);

    let pii = &requirement.guards[0];
    assert_eq!((pii.title.as_str(), pii.because.as_deref()), ("Personal data", Some("It is personal.")));
    assert_eq!((pii.escalate[0].to.as_str(), pii.escalate[0].after), ("security", minutes(10)));
    let condition =
        |text: &str, words: &str, holds| Condition { text: text.to_owned(), words: words.to_owned(), holds };
    assert_eq!(
        pii.situation,
        [
            condition("resource.class == Classification::\"pii\"", "resource.class is pii", Some(true)),
            condition(
                "!((context has rows) && (context.rows <= 10))",
                "rows is not given or rows is over 10",
                Some(false)
            ),
        ]
    );
    let by_role = Need::AtLeast { count: 1, role: role("reviewers"), assurance: None };
    let Need::Any(branches) = &pii.needs else { panic!("{:?}", pii.needs) };
    assert_eq!(branches[0], Need::All(vec![by_role, Need::Within(minutes(20))]));
    let security = Need::AtLeast { count: 1, role: role("security"), assurance: Some(Assurance::L2) };
    assert_eq!(requirement.guards[1].needs, security);
}

#[test]
fn a_condition_that_cannot_stand_alone_is_neither_held_nor_not() {
    let ask = guard(
        "when { context has rows && context.rows > 5 || resource.class == Classification::\"pii\" } unless { context.approvals.reviewers >= 1 }",
    );
    let judgement =
        decide(&bundle(&[("ask.cedar", &ask)]), &world(), &export("customers"), &Facts::default(), &[]);
    let holds: Vec<Option<bool>> = asked(&judgement).guards[0].situation.iter().map(|c| c.holds).collect();
    assert_eq!(holds, [Some(false), None, Some(true)]);
}

#[test]
fn votes_clear_a_guard_until_they_age() {
    let ask =
        guard("unless { context.approvals.reviewers >= 2 && context.approvals.age <= duration(\"30m\") }");
    let bundle = bundle(&[("ask.cedar", &ask)]);
    let judge = |votes: &[Vote]| decide(&bundle, &world(), &export("prices"), &Facts::default(), votes);
    assert_eq!(asked(&judge(&[vote(2, minutes(5))])).guards.len(), 1);
    let granted = judge(&[vote(2, minutes(5)), vote(3, minutes(25))]);
    assert_eq!(granted.decision.effect, Effect::Permit);
    assert_eq!(granted.evidence_until, Some(NOW.plus(minutes(5))));
    assert_eq!(granted.tally.count(&role("reviewers"), None), 2);
    assert_eq!(granted.tally.age, minutes(25));
    // At the bound it counts, a moment later it does not.
    assert_eq!(judge(&[vote(2, minutes(5)), vote(3, minutes(30))]).decision.effect, Effect::Permit);
    let late = minutes(30) + Duration::from_millis(1);
    assert_eq!(asked(&judge(&[vote(2, minutes(5)), vote(3, late)])).guards.len(), 1);
    // A stale vote beside enough fresh ones takes nothing away.
    let three = World(world().0.clone()).person(6, &["reviewers"]);
    let votes = [vote(2, minutes(5)), vote(3, minutes(5)), vote(6, minutes(90))];
    let judgement = decide(&bundle, &three, &export("prices"), &Facts::default(), &votes);
    assert_eq!(judgement.decision.effect, Effect::Permit);
    assert_eq!(judgement.tally.people.len(), 2);
}

#[test]
fn the_smallest_age_bound_of_the_matching_guards_counts() {
    let ask = format!(
        "{}\n@id(\"b\") {FORBID} when {{ resource.class == Classification::\"pii\" }} unless {{ context.approvals.reviewers >= 1 && context.approvals.age <= duration(\"10m\") }};",
        guard("unless { context.approvals.reviewers >= 1 && context.approvals.age <= duration(\"30m\") }")
    );
    let bundle = bundle(&[("ask.cedar", &ask)]);
    let judge = |dataset: &str| {
        decide(&bundle, &world(), &export(dataset), &Facts::default(), &[vote(2, minutes(20))])
    };
    assert_eq!(judge("prices").decision.effect, Effect::Permit);
    assert_eq!(judge("prices").evidence_until, Some(NOW.plus(minutes(10))));
    assert_eq!(asked(&judge("customers")).age_max, Some(minutes(10)));
}

#[test]
fn votes_that_do_not_count() {
    // One denial does not end it here, and it is no approval either.
    let bundle = bundle(&[("ask.cedar", &ASK.replace("@timeout", "@veto(\"2\") @timeout"))]);
    let uncounted = |vote: Vote| {
        let judgement = decide(&bundle, &world(), &export("customers"), &Facts::default(), &[vote]);
        assert!(judgement.tally.people.is_empty(), "{judgement:?}");
        asked(&judgement);
    };
    uncounted(vote(1, minutes(1))); // the sponsor
    uncounted(vote(4, minutes(1))); // another role
    uncounted(vote(5, minutes(1))); // no role
    uncounted(vote(99, minutes(1))); // unknown
    uncounted(Vote { verdict: Verdict::Deny, ..vote(2, minutes(1)) });
    uncounted(Vote { vouched: true, ..vote(2, minutes(1)) });
    uncounted(Vote { evidence: Evidence::Token(TokenId::from_bytes([1; 16])), ..vote(2, minutes(1)) });
    uncounted(Vote { at: NOW.plus(minutes(1)), ..vote(2, minutes(1)) });
    uncounted(Vote { self_reviewed: true, ..vote(1, minutes(1)) });
}

#[test]
fn the_bundle_may_count_vouched_votes_and_tokens() {
    let manifest = MANIFEST
        .replace("name = \"test\"", "name = \"test\"\noperator_vouches = true\ntoken_may_approve = true");
    let bundle = bundle(&[("bundle.toml", &manifest)]);
    for vote in [
        Vote { vouched: true, ..vote(2, minutes(1)) },
        Vote { evidence: Evidence::Token(TokenId::from_bytes([1; 16])), ..vote(2, minutes(1)) },
    ] {
        let judgement = decide(&bundle, &world(), &export("customers"), &Facts::default(), &[vote]);
        assert_eq!(judgement.decision.effect, Effect::Permit);
    }
}

#[test]
fn only_the_latest_word_of_a_person_counts() {
    let renewed = [vote(2, minutes(50)), Vote { verdict: Verdict::Deny, round: 2, ..vote(2, minutes(5)) }];
    let judgement = decide(&bundle(&[]), &world(), &export("customers"), &Facts::default(), &renewed);
    assert!(judgement.tally.people.is_empty());
    let twice = [vote(2, minutes(50)), Vote { round: 2, ..vote(2, minutes(5)) }];
    let judgement = decide(&bundle(&[]), &world(), &export("customers"), &Facts::default(), &twice);
    assert_eq!((judgement.tally.people.len(), judgement.tally.age), (1, minutes(5)));
}

#[test]
fn leavers_and_the_disabled_stop_counting() {
    let votes = [vote(2, minutes(1))];
    let judge = |world: &World| decide(&bundle(&[]), world, &export("customers"), &Facts::default(), &votes);
    assert_eq!(judge(&world()).decision.effect, Effect::Permit);
    let mut left = world();
    left.0.people.get_mut(&person_id(2)).unwrap().groups.clear();
    asked(&judge(&left));
    let mut disabled = world();
    disabled.0.people.get_mut(&person_id(2)).unwrap().status = Status::Disabled;
    asked(&judge(&disabled));
}

#[test]
fn whoever_shares_an_address_with_the_sponsor_is_in_conflict() {
    let mut world = world();
    world.0.people.get_mut(&person_id(1)).unwrap().email = Some("Ann@example.com".to_owned());
    world.0.people.get_mut(&person_id(2)).unwrap().email = Some(" ann@EXAMPLE.com".to_owned());
    let judgement =
        decide(&bundle(&[]), &world, &export("customers"), &Facts::default(), &[vote(2, minutes(1))]);
    assert_eq!(asked(&judgement).eligible[&role("reviewers")], [person_id(3)].into());
}

#[test]
fn two_records_that_may_be_one_human_count_once() {
    let two = bundle(&[(
        "ask.cedar",
        &guard("unless { context.approvals.reviewers >= 2 && context.approvals.distinct >= 2 }"),
    )]);
    let mut world = world();
    for person in [2, 3] {
        world.0.people.get_mut(&person_id(person)).unwrap().email = Some("eve@example.com".to_owned());
    }
    let judge =
        |world: &World, votes: &[Vote]| decide(&two, world, &export("prices"), &Facts::default(), votes);
    let nobody = judge(&world, &[]);
    assert_eq!(forbidden(&nobody), &ForbidReason::NobodyCanApprove(role("reviewers")));
    let world = world.person(7, &["reviewers"]);
    let alone = judge(&world, &[vote(2, minutes(1)), vote(3, minutes(1))]);
    asked(&alone);
    assert_eq!((alone.tally.people.len(), alone.tally.roles[&role("reviewers")]), (1, 1));
    let together = judge(&world, &[vote(2, minutes(1)), vote(7, minutes(1))]);
    assert_eq!(together.decision.effect, Effect::Permit);
}

#[test]
fn assurance_is_counted_apart() {
    let ask = guard("unless { context.approvals[\"reviewers@L2\"] >= 1 }");
    let bundle_l2 = bundle(&[("ask.cedar", &ask)]);
    let judge = |bundle: &Bundle, assurance| {
        let vote = Vote { assurance, ..vote(2, minutes(1)) };
        decide(bundle, &world(), &export("prices"), &Facts::default(), &[vote])
    };
    asked(&judge(&bundle_l2, Assurance::L1));
    assert_eq!(judge(&bundle_l2, Assurance::L2).decision.effect, Effect::Permit);
    // A bare role means the bundle's minimum.
    let manifest = MANIFEST.replace("name = \"test\"", "name = \"test\"\nmin_assurance = \"L2\"");
    let strict = bundle(&[("bundle.toml", &manifest), ("ask.cedar", ASK)]);
    let judgement =
        decide(&strict, &world(), &export("customers"), &Facts::default(), &[vote(2, minutes(1))]);
    assert!(judgement.tally.people.is_empty());
    let fresh = Vote { assurance: Assurance::L2, ..vote(2, minutes(1)) };
    let judgement = decide(&strict, &world(), &export("customers"), &Facts::default(), &[fresh]);
    assert_eq!(judgement.decision.effect, Effect::Permit);
}

#[test]
fn nobody_is_asked_when_too_few_could_answer() {
    let need = |clauses: &str| {
        let bundle = bundle(&[("ask.cedar", &guard(clauses))]);
        decide(&bundle, &world(), &export("prices"), &Facts::default(), &[]).decision.effect
    };
    let nobody = |name| Effect::Forbid(ForbidReason::NobodyCanApprove(role(name)));
    assert_eq!(need("unless { context.approvals.reviewers >= 3 }"), nobody("reviewers"));
    assert_eq!(
        need("unless { context.approvals.reviewers >= 3 && context.approvals.security >= 1 }"),
        nobody("reviewers")
    );
    assert!(matches!(
        need("unless { context.approvals.reviewers >= 3 || context.approvals.security >= 1 }"),
        Effect::RequireApproval(_)
    ));
    assert!(matches!(need("unless { context.approvals.distinct >= 3 }"), Effect::RequireApproval(_)));
    assert!(matches!(
        need("unless { context.approvals.distinct >= 4 }"),
        Effect::Forbid(ForbidReason::NobodyCanApprove(_))
    ));
    // data-owners own it, and nobody is in that group.
    assert_eq!(need("unless { context.approvals.owner >= 1 }"), nobody("owner"));
}

#[test]
fn a_role_by_attribute_is_the_resources_own() {
    let world = world().person(6, &["data-owners"]);
    let bundle = bundle(&[("ask.cedar", &guard("unless { context.approvals.owner >= 1 }"))]);
    let judgement = decide(&bundle, &world, &export("prices"), &Facts::default(), &[vote(6, minutes(1))]);
    assert_eq!(judgement.decision.effect, Effect::Permit);
}

#[test]
fn whatever_is_not_permitted_is_forbidden_without_asking() {
    let never = "@id(\"ban\") @because(\"No.\") forbid (principal, action == Action::\"data.export\", resource) when { context has rows && context.rows > 100 };";
    let changed = bundle(&[("never.cedar", never)]);
    let judge =
        |rows| decide(&changed, &world(), &export("customers"), &facts([("rows", Fact::Long(rows))]), &[]);
    asked(&judge(100));
    assert_eq!(forbidden(&judge(101)), &ForbidReason::Policy);
    assert_eq!(judge(101).decision.because[0].text.as_deref(), Some("No."));

    let allow = "@id(\"export\") permit (principal, action == Action::\"data.export\", resource) when { context has rows };";
    let changed = bundle(&[("allow.cedar", allow)]);
    let judgement = decide(&changed, &world(), &export("customers"), &Facts::default(), &[]);
    assert_eq!(forbidden(&judgement), &ForbidReason::NotPermitted);
    let judgement = decide(&changed, &world(), &export("prices"), &Facts::default(), &[]);
    assert_eq!(forbidden(&judgement), &ForbidReason::NotPermitted);
}

#[test]
fn an_error_in_any_policy_is_a_no() {
    // An overflow in a forbid would switch it off, and the permit would stand.
    let overflow = "@id(\"over\") forbid (principal, action == Action::\"data.export\", resource) when { context has rows && context.rows + 9223372036854775807 > 0 };";
    let changed = bundle(&[("never.cedar", overflow)]);
    let judge =
        |rows| decide(&changed, &world(), &export("prices"), &facts([("rows", Fact::Long(rows))]), &[]);
    assert_eq!(forbidden(&judge(1)), &ForbidReason::PolicyError(vec!["over".to_owned()]));
    assert_eq!(forbidden(&judge(0)), &ForbidReason::Policy);
    // The same in a permit beside another permit.
    let allow = "@id(\"a\") permit (principal, action == Action::\"data.export\", resource);\n@id(\"b\") permit (principal, action == Action::\"data.export\", resource) when { context has rows && context.rows * 2 > 0 };";
    let changed = bundle(&[("allow.cedar", allow)]);
    let judgement =
        decide(&changed, &world(), &export("prices"), &facts([("rows", Fact::Long(i64::MAX))]), &[]);
    assert_eq!(forbidden(&judgement), &ForbidReason::PolicyError(vec!["b".to_owned()]));
}

#[test]
fn a_long_policy_is_decided_on_or_refused() {
    let never = format!(
        "@id(\"long\") forbid (principal, action == Action::\"data.export\", resource) when {{ context has rows{} }};",
        " && context.rows > 1".repeat(60)
    );
    let ask = guard(&format!(
        "when {{ true{} }} unless {{ context.approvals.reviewers >= 1 }}",
        " && true".repeat(120)
    ));
    let changed = bundle(&[("never.cedar", &never), ("ask.cedar", &ask)]);
    let judge =
        |rows| decide(&changed, &world(), &export("prices"), &facts([("rows", Fact::Long(rows))]), &[]);
    // Cedar watches its stack: what is too deep for it is an error, and so a no.
    let error = |id: &str| ForbidReason::PolicyError(vec![id.to_owned()]);
    let is_no = |judgement: &Judgement, reason: ForbidReason| {
        [reason, error("a"), error("long"), ForbidReason::PolicyError(vec!["a".into(), "long".into()])]
            .contains(forbidden(judgement))
    };
    assert!(is_no(&judge(2), ForbidReason::Policy));
    match judge(1).decision.effect {
        Effect::RequireApproval(requirement) => assert_eq!(requirement.guards[0].situation.len(), 1),
        Effect::Forbid(ForbidReason::PolicyError(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let bundle = bundle(&[]);
    let judge = |change: &dyn Fn(&mut placet_core::action::ActionRequest)| {
        let mut action = export("prices");
        change(&mut action);
        forbidden(&decide(&bundle, &world(), &action, &Facts::default(), &[])).clone()
    };
    let name = |text: &str| placet_core::action::ActionName::parse(text).unwrap();
    let resource = |kind: &str, id: &str| placet_core::action::ResourceRef::new(kind, id).unwrap();
    assert_eq!(judge(&|action| action.action = name("data.delete")), ForbidReason::UnknownAction);
    assert_eq!(judge(&|action| action.action = name("privileged")), ForbidReason::UnknownAction);
    assert_eq!(judge(&|action| action.action = name("review.approve")), ForbidReason::UnknownAction);
    assert_eq!(judge(&|action| action.resource = resource("Program", "ls")), ForbidReason::UnknownAction);
    assert_eq!(
        judge(&|action| action.resource = resource("Dataset", "a\u{202e}b")),
        ForbidReason::UnknownEntity("Dataset::\"a\\u{202e}b\"".to_owned())
    );
}

#[test]
fn facts_are_those_that_the_action_declares() {
    let bundle = bundle(&[]);
    let judge = |name: &str, fact| {
        let judgement = decide(&bundle, &world(), &export("prices"), &facts([(name, fact)]), &[]);
        forbidden(&judgement).code()
    };
    assert_eq!(judge("rows", Fact::Text("10".to_owned())), "bad_facts");
    assert_eq!(judge("row", Fact::Long(1)), "bad_facts");
    assert_eq!(judge("approvals", Fact::Long(1)), "bad_facts");
    assert_eq!(judge("now", Fact::Text("2030".to_owned())), "bad_facts");
    assert_eq!(judge("columns", Fact::Text("a".to_owned())), "bad_facts");
}

#[test]
fn what_policy_cannot_represent_is_forbidden_or_asked_about() {
    let mut carries = Facts::default();
    carries.unrepresentable.insert("ratio".to_owned());
    let judgement = decide(&bundle(&[]), &world(), &export("prices"), &carries, &[]);
    assert_eq!(forbidden(&judgement), &ForbidReason::Policy);
    assert_eq!(because(&judgement), ["never-unrepresentable"]);
    let guard = "@id(\"unrepresentable\") forbid (principal, action in Action::\"privileged\", resource) when { !context.unrepresentable.isEmpty() } unless { context.approvals.reviewers >= 1 };";
    let judgement = decide(&bundle(&[("ask.cedar", guard)]), &world(), &export("prices"), &carries, &[]);
    assert_eq!(asked(&judgement).guards[0].id, "unrepresentable");
}

#[test]
fn a_guard_about_what_cannot_be_represented_leaves_nothing_out() {
    let guard = |head: &str, when: &str, unless: &str| {
        format!("@id(\"unrepresentable\") forbid ({head}) when {{ {when} }} unless {{ {unless} }};")
    };
    let (head, when, unless) = (
        "principal, action in Action::\"privileged\", resource",
        "!context.unrepresentable.isEmpty()",
        "context.approvals.reviewers >= 1",
    );
    let codes = |text: String| -> Vec<&str> {
        crate::common::refused(&[("ask.cedar", &text)]).iter().map(|finding| finding.code).collect()
    };
    assert!(codes(guard(head, when, unless)).is_empty());
    for text in [
        guard("principal, action == Action::\"data.export\", resource", when, unless),
        guard("principal is Agent, action in Action::\"privileged\", resource", when, unless),
        guard("principal, action in Action::\"privileged\", resource is Dataset", when, unless),
        guard(head, "!context.unrepresentable.isEmpty() && context.grade == Grade::\"advisory\"", unless),
        guard(head, "context.unrepresentable.isEmpty()", unless),
        guard(head, when, "context.approvals.reviewers >= 1 || context.grade == Grade::\"enforced\""),
    ] {
        assert_eq!(codes(text.clone()), ["L3"], "{text}");
    }
}

#[test]
fn what_is_in_a_group_is_in_the_groups_around_it() {
    let schema = "entity Folder in [Folder]; entity File in [Folder]; action \"any\"; action \"write\" in [Action::\"any\"];
        action \"data.export\" in [Action::\"write\"] appliesTo { principal: [Agent, Pipeline, Person], resource: [File] };";
    let entities = "[Folder.root]\n[Folder.secret]\nin = [\"Folder::root\"]\n[File.a]\nin = [\"Folder::secret\"]\n[File.b]\n";
    let allow = "@id(\"a\") permit (principal, action in Action::\"any\", resource in Folder::\"root\");";
    let manifest = MANIFEST.replace("[role.owner]\nresource_attr = \"owner\"", "");
    let bundle = bundle(&[
        ("schema.cedarschema", schema),
        ("entities.toml", entities),
        ("allow.cedar", allow),
        ("ask.cedar", ""),
        ("bundle.toml", &manifest),
    ]);
    let judge = |file: &str| {
        let mut action = export("x");
        action.resource = placet_core::action::ResourceRef::new("File", file).unwrap();
        decide(&bundle, &world(), &action, &Facts::default(), &[]).decision.effect
    };
    assert_eq!(judge("a"), Effect::Permit);
    assert_eq!(judge("b"), Effect::Forbid(ForbidReason::NotPermitted));
    let dangling = crate::common::refused(&[
        ("schema.cedarschema", schema),
        ("entities.toml", "[File.a]\nin = [\"Folder::gone\"]"),
        ("allow.cedar", allow),
        ("ask.cedar", ""),
        ("bundle.toml", &manifest),
    ]);
    assert!(dangling[0].message.contains("not in this file"), "{dangling:#?}");
}

#[test]
fn a_broken_chain_may_do_nothing() {
    let bundle = bundle(&[]);
    let judge = |world: &World| decide(&bundle, world, &export("prices"), &Facts::default(), &[]);
    let mut revoked = world();
    revoked.0.agents.get_mut(&agent_id(1)).unwrap().status = Status::Disabled;
    assert_eq!(forbidden(&judge(&revoked)), &ForbidReason::ChainBroken);
    let mut sponsorless = world();
    sponsorless.0.people.get_mut(&person_id(1)).unwrap().status = Status::Disabled;
    assert_eq!(forbidden(&judge(&sponsorless)), &ForbidReason::ChainBroken);
    let mut other_kind = world();
    other_kind.0.agents.get_mut(&agent_id(1)).unwrap().kind = AgentKind::Pipeline;
    assert_eq!(forbidden(&judge(&other_kind)), &ForbidReason::ChainBroken);
    let mut elsewhere = export("prices");
    elsewhere.chain.on_behalf_of = person_id(2);
    let judgement = decide(&bundle, &world(), &elsewhere, &Facts::default(), &[]);
    assert_eq!(forbidden(&judgement), &ForbidReason::ChainBroken);
}

#[test]
fn policy_sees_through_which_door_and_how_well_it_is_enforced() {
    let never = "@id(\"weak\") forbid (principal, action == Action::\"data.export\", resource) when { context.grade == Grade::\"advisory\" || context.pep == Pep::\"mcp\" };";
    let bundle = bundle(&[("never.cedar", never)]);
    let world = world();
    let facts = Facts::default();
    let mut action = export("prices");
    let judge = |action: &placet_core::action::ActionRequest, grade| {
        let mut question = question(&world, action, &facts, &[]);
        question.grade = grade;
        bundle.decide(&question).decision.effect
    };
    use placet_core::action::Grade::{Advisory, Enforced};
    assert_eq!(judge(&action, Enforced), Effect::Permit);
    assert_eq!(judge(&action, Advisory), Effect::Forbid(ForbidReason::Policy));
    action.pep = PepKind::Mcp;
    assert_eq!(judge(&action, Enforced), Effect::Forbid(ForbidReason::Policy));
}

fn solo() -> Bundle {
    let manifest = MANIFEST.replace("name = \"test\"", "name = \"test\"\nconflict = \"sponsor-may-approve\"");
    bundle(&[("bundle.toml", &manifest)])
}

#[test]
fn the_sponsor_may_approve_as_long_as_nobody_else_can() {
    let alone = World::default().person(1, &["reviewers"]).person(5, &[]).agent(1, 1);
    let own = || Vote { self_reviewed: true, ..vote(1, minutes(1)) };
    let judge = |world: &World, votes: &[Vote]| {
        decide(&solo(), world, &export("customers"), &Facts::default(), votes)
    };
    let first = judge(&alone, &[]);
    assert_eq!(asked(&first).self_review, Some(person_id(1)));
    assert!(asked(&first).eligible[&role("reviewers")].is_empty());
    assert_eq!(judge(&alone, &[own()]).decision.effect, Effect::Permit);
    // The vote has to have been cast under the exception.
    asked(&judge(&alone, &[vote(1, minutes(1))]));
    // A second reviewer ends it, also for a vote that was cast before.
    let second = World(alone.0.clone()).person(2, &["reviewers"]);
    let judgement = judge(&second, &[own()]);
    assert_eq!(asked(&judgement).self_review, None);
    assert!(judgement.tally.people.is_empty());
    // One who is disabled is no second one.
    let mut disabled = second.clone();
    disabled.0.people.get_mut(&person_id(2)).unwrap().status = Status::Disabled;
    assert_eq!(judge(&disabled, &[own()]).decision.effect, Effect::Permit);
    // Without the role, the sponsor is nobody either.
    let roleless = World::default().person(1, &[]).agent(1, 1);
    assert_eq!(forbidden(&judge(&roleless, &[own()])), &ForbidReason::NobodyCanApprove(role("reviewers")));
}

#[test]
fn the_exception_is_for_what_an_agent_asked_and_only_for_its_sponsor() {
    let mut world = World::default().person(1, &["reviewers"]).person(2, &["reviewers"]).agent(1, 1);
    let votes = [Vote { self_reviewed: true, ..vote(1, minutes(1)) }];
    let mut own = export("customers");
    own.chain.requester = Principal::Person(person_id(1));
    world.0.people.remove(&person_id(2));
    let judgement = decide(&solo(), &world, &own, &Facts::default(), &votes);
    assert_eq!(forbidden(&judgement), &ForbidReason::NobodyCanApprove(role("reviewers")));
    // The one it is for is not the sponsor.
    let mut for_other = World::default().person(1, &[]).person(2, &["reviewers"]).agent(1, 1);
    for_other.0.agents.get_mut(&agent_id(1)).unwrap().acts_for.insert(person_id(2));
    let mut action = export("customers");
    action.chain.on_behalf_of = person_id(2);
    let votes = [Vote { self_reviewed: true, ..vote(2, minutes(1)) }];
    let judgement = decide(&solo(), &for_other, &action, &Facts::default(), &votes);
    assert_eq!(forbidden(&judgement), &ForbidReason::NobodyCanApprove(role("reviewers")));
    // An owner is not the sponsor.
    let mut owner = World::default().person(1, &[]).person(2, &["reviewers"]).agent(1, 1);
    owner.0.agents.get_mut(&agent_id(1)).unwrap().owners.insert(person_id(2));
    let judgement = decide(&solo(), &owner, &export("customers"), &Facts::default(), &votes);
    assert_eq!(forbidden(&judgement), &ForbidReason::NobodyCanApprove(role("reviewers")));
}

fn reviewer(person: u128) -> VerifiedReviewer {
    VerifiedReviewer {
        person: person_id(person),
        assurance: Assurance::L1,
        evidence: vote(person, minutes(0)).evidence,
        minted_by: None,
    }
}

#[test]
fn standing_is_what_policy_and_directory_say_now() {
    let (bundle, world, action, facts) = (bundle(&[]), world(), export("customers"), Facts::default());
    let question = question(&world, &action, &facts, &[]);
    let standing = |reviewer: &VerifiedReviewer| bundle.standing(&question, reviewer, Verdict::Approve);
    let two = standing(&reviewer(2));
    assert_eq!((two.active, two.conflict, two.self_review, two.vouched), (true, None, false, false));
    assert_eq!(two.roles, [role("reviewers")].into());
    // A role that no matching guard asks for gives no say in this.
    assert!(standing(&reviewer(4)).roles.is_empty());
    assert!(standing(&reviewer(5)).roles.is_empty());
    let sponsor = standing(&reviewer(1));
    assert_eq!(sponsor.conflict, Some(Conflict::Sponsor(agent_id(1))));
    assert!(!sponsor.self_review);
    assert!(!standing(&reviewer(77)).active);
    // Whoever could have signed in in their place is in conflict.
    assert!(standing(&VerifiedReviewer { minted_by: Some(person_id(1)), ..reviewer(2) }).vouched);
    assert!(!standing(&VerifiedReviewer { minted_by: Some(person_id(3)), ..reviewer(2) }).vouched);
    assert!(!standing(&VerifiedReviewer { minted_by: Some(person_id(2)), ..reviewer(2) }).vouched);
    assert!(!two.vouched_counts && !two.token_may_approve);
    assert_eq!(two.assurance_min, Assurance::L1);
}

#[test]
fn the_sponsors_standing_by_exception() {
    let (bundle, action, facts) = (solo(), export("customers"), Facts::default());
    let alone = World::default().person(1, &["reviewers"]).agent(1, 1);
    let standing = bundle.standing(&question(&alone, &action, &facts, &[]), &reviewer(1), Verdict::Approve);
    assert_eq!((standing.conflict, standing.self_review), (Some(Conflict::Sponsor(agent_id(1))), true));
    let two = World(alone.0.clone()).person(2, &["reviewers"]);
    let standing = bundle.standing(&question(&two, &action, &facts, &[]), &reviewer(1), Verdict::Approve);
    assert!(!standing.self_review);
}

#[test]
fn a_rule_may_ask_more_for_a_yes_than_for_a_no() {
    let review = "@id(\"fresh\") forbid (principal, action == Action::\"review.approve\", resource) when { context.assurance < 2 };";
    let bundle = bundle(&[("review.cedar", review)]);
    let (world, action, facts) = (world(), export("customers"), Facts::default());
    let question = question(&world, &action, &facts, &[]);
    assert!(bundle.standing(&question, &reviewer(2), Verdict::Approve).roles.is_empty());
    assert_eq!(bundle.standing(&question, &reviewer(2), Verdict::Deny).roles, [role("reviewers")].into());
    let fresh = VerifiedReviewer { assurance: Assurance::L2, ..reviewer(2) };
    assert_eq!(bundle.standing(&question, &fresh, Verdict::Approve).roles, [role("reviewers")].into());
}

#[test]
fn review_cedar_may_give_a_role_that_bundle_toml_leaves_to_it() {
    let manifest = format!("{MANIFEST}[role.board]\nreview_cedar = true\n");
    let review = "@id(\"board\") permit (principal, action == Action::\"review.approve\", resource) when { context.role == \"board\" && principal in Group::\"security\" && resource.action == \"data.export\" };";
    let bundle = bundle(&[
        ("bundle.toml", &manifest),
        ("review.cedar", review),
        ("ask.cedar", &guard("unless { context.approvals.board >= 1 }")),
    ]);
    let judgement = decide(&bundle, &world(), &export("prices"), &Facts::default(), &[vote(2, minutes(1))]);
    assert_eq!(asked(&judgement).eligible[&role("board")], [person_id(3), person_id(4)].into());
    let judgement = decide(&bundle, &world(), &export("prices"), &Facts::default(), &[vote(4, minutes(1))]);
    assert_eq!(judgement.decision.effect, Effect::Permit);
}

#[test]
fn an_error_in_a_rule_about_votes_is_no_vote() {
    let review = "@id(\"over\") forbid (principal, action == Action::\"review.approve\", resource) when { context.assurance * 9223372036854775807 > 0 };";
    let bundle = bundle(&[("review.cedar", review)]);
    let fresh = Vote { assurance: Assurance::L2, ..vote(2, minutes(1)) };
    let judgement = decide(&bundle, &world(), &export("customers"), &Facts::default(), &[fresh]);
    assert_eq!(forbidden(&judgement), &ForbidReason::NobodyCanApprove(role("reviewers")));
    assert!(judgement.tally.people.is_empty());
}

#[test]
fn the_inputs_are_all_that_was_passed() {
    let known =
        facts([("rows", Fact::Long(7)), ("columns", Fact::Texts(["b".to_owned(), "a".to_owned()].into()))]);
    let judgement = decide(&bundle(&[]), &world(), &export("customers"), &known, &[vote(2, minutes(1))]);
    let inputs = judgement.inputs.canonical();
    for part in [
        r#""facts":{"columns":["a","b"],"rows":7}"#,
        r#""roles":{"reviewers":1,"reviewers@L1":1}"#,
        r#""age_ms":60000"#,
        r#""guards":["pii"]"#,
        r#""pep":"external""#,
        r#""engine":"cedar-policy 4.14.1""#,
    ] {
        assert!(inputs.contains(part), "{part} in {inputs}");
    }
    assert_eq!(Value::parse(inputs.as_bytes()).unwrap(), judgement.inputs);
    let at = Timestamp::parse(judgement.inputs.as_object().unwrap()["now"].as_str().unwrap()).unwrap();
    assert_eq!(at, NOW);
}
