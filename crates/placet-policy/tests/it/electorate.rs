//! Who may vote is remembered, and never longer than it is true.

use std::collections::BTreeSet;

use placet_core::action::{ActionRequest, ActorChain, Principal};
use placet_core::decision::{Effect, RoleName};
use placet_core::id::PersonId;
use placet_policy::Bundle;

use crate::common::{World, agent_id, bundle, decide, export, person_id};

const OWNERS: &str = "@id(\"pii\") forbid (principal, action == Action::\"data.export\", resource) unless { context.approvals.owner >= 1 || context.approvals.reviewers >= 1 };";

fn world(epoch: u64) -> World {
    let mut world = World::default()
        .person(1, &[])
        .person(2, &["reviewers"])
        .person(3, &["reviewers", "data-owners"])
        .person(4, &["data-owners"])
        .agent(1, 1)
        .agent(2, 2);
    world.0.epoch = epoch;
    world
}

fn of_agent(number: u128, dataset: &str) -> ActionRequest {
    let requester = Principal::Agent(agent_id(number));
    let chain = ActorChain { requester, through: Vec::new(), on_behalf_of: person_id(number) };
    ActionRequest { chain, ..export(dataset) }
}

fn eligible(bundle: &Bundle, world: &World, action: &ActionRequest, role: &str) -> Vec<PersonId> {
    let judgement = decide(bundle, world, action, &Default::default(), &[]);
    let Effect::RequireApproval(requirement) = judgement.decision.effect else { return Vec::new() };
    let people: BTreeSet<PersonId> = requirement.eligible[&RoleName::parse(role).unwrap()].clone();
    people.into_iter().collect()
}

#[test]
fn the_directory_that_moved_is_asked_anew() {
    let bundle = bundle(&[("ask.cedar", OWNERS)]);
    let ask = |world: &World, role| eligible(&bundle, world, &of_agent(1, "customers"), role);
    let mut moving = world(7);
    for _ in 0..2 {
        assert_eq!(ask(&moving, "reviewers"), [person_id(2), person_id(3)]);
        assert_eq!(ask(&moving, "owner"), [person_id(3), person_id(4)]);
    }
    moving.0.people.get_mut(&person_id(3)).unwrap().groups.clear();
    moving.0.epoch = 8;
    assert_eq!(ask(&moving, "reviewers"), [person_id(2)]);
    assert_eq!(ask(&moving, "owner"), [person_id(4)]);
    // A snapshot from before may still be in use.
    assert_eq!(ask(&world(7), "reviewers"), [person_id(2), person_id(3)]);
}

#[test]
fn whom_a_request_belongs_to_is_left_out_of_what_is_remembered() {
    let bundle = bundle(&[("ask.cedar", OWNERS)]);
    let world = world(7);
    assert_eq!(
        eligible(&bundle, &world, &of_agent(1, "customers"), "reviewers"),
        [person_id(2), person_id(3)]
    );
    assert_eq!(eligible(&bundle, &world, &of_agent(2, "customers"), "reviewers"), [person_id(3)]);
}

#[test]
fn a_rule_about_votes_that_reads_the_clock_is_asked_each_time() {
    let late = "@id(\"late\") forbid (principal, action == Action::\"review.approve\", resource) when { context.now > datetime(\"2027-01-15T08:00:00.500Z\") };";
    let bundle = bundle(&[("ask.cedar", OWNERS), ("review.cedar", late)]);
    let world = world(7);
    let (action, facts) = (of_agent(1, "customers"), Default::default());
    let question = crate::common::question(&world, &action, &facts, &[]);
    let asks = |millis: i64| {
        let now = placet_core::time::Timestamp::from_millis(crate::common::NOW.as_millis() + millis);
        let decision = bundle.decide(&placet_policy::Question { now, ..question }).decision;
        matches!(decision.effect, Effect::RequireApproval(_))
    };
    // 1,800,000,000 s is 2027-01-15T08:00:00Z.
    // Policies see whole seconds.
    assert_eq!([asks(0), asks(999), asks(1000), asks(999)], [true, true, false, true]);
}
