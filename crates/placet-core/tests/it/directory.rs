//! Who may not decide, and whose chain does not stand.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::action::{ActorChain, Principal};
use placet_core::digest::Sha256Digest;
use placet_core::directory::{Agent, AgentKind, Conflict, Directory, GroupName, Person, Status};
use placet_core::id::{AgentId, PersonId};

use crate::common::{START, agent, person};

/// Persons 1 to 9 without addresses; agent 1 of person 1 with owner 2, which may act for 3; pipeline 2 of person 4.
fn directory() -> Directory {
    let mut directory = Directory::default();
    for number in 1..=9 {
        let id = person(number);
        let name = format!("person {number}");
        let person = Person {
            id,
            name,
            email: None,
            groups: BTreeSet::new(),
            operator_uid: None,
            status: Status::Active,
            created_at: START,
        };
        directory.people.insert(id, person);
    }
    let mut add = |number: u8, kind: AgentKind, sponsor: u8, owners: &[u8], acts_for: &[u8]| {
        let id = agent(number);
        let agent = Agent {
            id,
            kind,
            name: format!("agent {number}"),
            sponsor: person(sponsor),
            owners: owners.iter().copied().map(person).collect(),
            acts_for: acts_for.iter().copied().map(person).collect(),
            groups: BTreeSet::new(),
            status: Status::Active,
            token_hash: Sha256Digest::of(b""),
            credential_version: 1,
            workload: None,
            created_at: START,
        };
        directory.agents.insert(id, agent);
    };
    add(1, AgentKind::Agent, 1, &[2], &[3]);
    add(2, AgentKind::Pipeline, 4, &[], &[]);
    directory
}

fn chain(requester: Principal, through: &[Principal], on_behalf_of: u8) -> ActorChain {
    ActorChain { requester, through: through.to_vec(), on_behalf_of: person(on_behalf_of) }
}

fn address(directory: &mut Directory, number: u8, email: &str) {
    directory.people.get_mut(&person(number)).unwrap().email = Some(email.to_owned());
}

fn asked_by_agent(on_behalf_of: u8) -> ActorChain {
    chain(Principal::Agent(agent(1)), &[], on_behalf_of)
}

fn conflicts(directory: &Directory, chain: &ActorChain) -> Vec<(PersonId, Conflict)> {
    directory.conflicts(chain).into_iter().collect()
}

#[test]
fn the_conflict_set_holds_sponsor_owner_and_the_person_at_the_end() {
    assert_eq!(
        conflicts(&directory(), &asked_by_agent(3)),
        [
            (person(1), Conflict::Sponsor(agent(1))),
            (person(2), Conflict::Owner(agent(1))),
            (person(3), Conflict::OnBehalfOf),
        ]
    );
}

#[test]
fn a_sponsor_is_named_as_that_even_where_the_action_is_for_them() {
    assert_eq!(directory().conflicts(&asked_by_agent(1))[&person(1)], Conflict::Sponsor(agent(1)));
    let mut directory = directory();
    directory.agents.get_mut(&agent(1)).unwrap().owners.insert(person(1));
    assert_eq!(directory.conflicts(&asked_by_agent(1))[&person(1)], Conflict::Sponsor(agent(1)));
}

#[test]
fn a_requester_is_never_named_as_anything_that_an_exception_fits() {
    let own = chain(Principal::Person(person(1)), &[Principal::Agent(agent(1))], 1);
    assert_eq!(directory().conflicts(&own)[&person(1)], Conflict::Requester);
    let alone = chain(Principal::Person(person(5)), &[], 5);
    assert_eq!(conflicts(&directory(), &alone), [(person(5), Conflict::Requester)]);
}

#[test]
fn every_agent_in_the_chain_brings_its_sponsor_and_owners() {
    let long = chain(Principal::Pipeline(agent(2)), &[Principal::Agent(agent(1))], 3);
    assert_eq!(
        conflicts(&directory(), &long),
        [
            (person(1), Conflict::Sponsor(agent(1))),
            (person(2), Conflict::Owner(agent(1))),
            (person(3), Conflict::OnBehalfOf),
            (person(4), Conflict::Sponsor(agent(2))),
        ]
    );
    let with_person = chain(Principal::Agent(agent(1)), &[Principal::Person(person(9))], 3);
    assert!(directory().conflicts(&with_person).contains_key(&person(9)));
}

#[test]
fn who_was_disabled_is_in_conflict_still() {
    let mut directory = directory();
    directory.agents.get_mut(&agent(1)).unwrap().status = Status::Disabled;
    directory.people.get_mut(&person(1)).unwrap().status = Status::Disabled;
    address(&mut directory, 1, "ann@example.org");
    address(&mut directory, 7, "ann@example.org");
    let found = directory.conflicts(&asked_by_agent(3));
    assert_eq!(found[&person(1)], Conflict::Sponsor(agent(1)));
    assert_eq!(found[&person(7)], Conflict::Alias(person(1)));
}

#[test]
fn an_address_makes_an_alias_of_anyone_in_conflict() {
    // Whose address, how the alias writes it, and whose alias that is.
    for (blocked, written) in [(1, "ann@example.org"), (2, "ANN@Example.ORG"), (3, "  ann@example.org\t")] {
        let mut directory = directory();
        address(&mut directory, blocked, "Ann@example.org");
        address(&mut directory, 7, written);
        address(&mut directory, 8, "ann@example.net");
        let found = directory.conflicts(&asked_by_agent(3));
        assert_eq!(found[&person(7)], Conflict::Alias(person(blocked)), "{written:?}");
        assert!(!found.contains_key(&person(8)));
        assert_eq!(found.len(), 4);
    }
}

#[test]
fn letters_beyond_ascii_are_compared_without_case_too() {
    let mut directory = directory();
    address(&mut directory, 1, "ÄNNE@example.org");
    address(&mut directory, 7, "änne@example.org");
    assert_eq!(directory.conflicts(&asked_by_agent(3))[&person(7)], Conflict::Alias(person(1)));
}

#[test]
fn aliases_of_aliases_are_in_conflict_with_everyone_who_shares_the_address() {
    let mut directory = directory();
    for (number, email) in
        [(3, "c@example.org"), (7, "C@example.org"), (8, "c@EXAMPLE.org"), (9, " c@example.org")]
    {
        address(&mut directory, number, email);
    }
    let found = directory.conflicts(&asked_by_agent(3));
    for number in [7, 8, 9] {
        assert_eq!(found[&person(number)], Conflict::Alias(person(3)));
    }
    // Someone who is in conflict for a reason of their own keeps it.
    address(&mut directory, 2, "c@example.org");
    assert_eq!(directory.conflicts(&asked_by_agent(3))[&person(2)], Conflict::Owner(agent(1)));
}

#[test]
fn a_missing_or_blank_address_is_nobodys() {
    for blank in ["", "   "] {
        let mut directory = directory();
        address(&mut directory, 1, blank);
        address(&mut directory, 7, blank);
        assert!(!directory.conflicts(&asked_by_agent(3)).contains_key(&person(7)));
    }
    assert_eq!(directory().conflicts(&asked_by_agent(3)).len(), 3);
}

#[test]
fn persons_of_one_address_are_one_where_people_are_counted() {
    let mut directory = directory();
    address(&mut directory, 5, "eve@example.org");
    address(&mut directory, 6, "Eve@Example.org ");
    address(&mut directory, 7, "gus@example.org");
    let stranger = PersonId::from_bytes([0xff; 16]);
    let counted = |numbers: &[u8]| directory.distinct(numbers.iter().copied().map(person)).len();
    assert_eq!(counted(&[]), 0);
    assert_eq!(counted(&[5, 5]), 1);
    assert_eq!(counted(&[5, 6]), 1, "one human under two names");
    assert_eq!(counted(&[5, 6, 7]), 2);
    assert_eq!(counted(&[8, 9]), 2, "who has no address is nobody's alias");
    assert_eq!(directory.distinct([person(6), person(5)]), BTreeSet::from([person(5)]));
    assert_eq!(directory.distinct([stranger]), BTreeSet::from([stranger]));
}

#[test]
fn a_chain_stands_while_everyone_in_it_may_act() {
    let directory = directory();
    for (name, chain) in [
        ("for its sponsor", asked_by_agent(1)),
        ("for a person it is registered with", asked_by_agent(3)),
        ("a pipeline", chain(Principal::Pipeline(agent(2)), &[], 4)),
        ("through another", chain(Principal::Agent(agent(1)), &[Principal::Pipeline(agent(2))], 1)),
        ("a person", chain(Principal::Person(person(5)), &[], 5)),
    ] {
        assert!(directory.chain_stands(&chain), "{name}");
    }
}

#[test]
fn a_chain_falls_with_anyone_in_it() {
    let agent_of = |id: AgentId| Principal::Agent(id);
    let disable_person = |number: u8| {
        move |directory: &mut Directory| {
            directory.people.get_mut(&person(number)).unwrap().status = Status::Disabled;
        }
    };
    let disable_agent = |number: u8| {
        move |directory: &mut Directory| {
            directory.agents.get_mut(&agent(number)).unwrap().status = Status::Disabled;
        }
    };
    type Change = Box<dyn Fn(&mut Directory)>;
    let through = chain(agent_of(agent(1)), &[Principal::Pipeline(agent(2))], 1);
    let cases: Vec<(&str, Change, ActorChain)> = vec![
        ("the agent is disabled", Box::new(disable_agent(1)), asked_by_agent(1)),
        ("its sponsor is disabled", Box::new(disable_person(1)), asked_by_agent(3)),
        ("the person it is for is disabled", Box::new(disable_person(3)), asked_by_agent(3)),
        ("an agent between is disabled", Box::new(disable_agent(2)), through.clone()),
        ("the sponsor of an agent between is disabled", Box::new(disable_person(4)), through),
        (
            "the person who asks is disabled",
            Box::new(disable_person(5)),
            chain(Principal::Person(person(5)), &[], 5),
        ),
        ("the agent is unknown", Box::new(|_| {}), chain(agent_of(agent(9)), &[], 1)),
        (
            "the sponsor is unknown",
            Box::new(|directory| drop(directory.people.remove(&person(1)))),
            asked_by_agent(3),
        ),
        (
            "the person it is for is unknown",
            Box::new(|directory| drop(directory.people.remove(&person(3)))),
            asked_by_agent(3),
        ),
        ("it may not act for them", Box::new(|_| {}), asked_by_agent(5)),
        ("an owner is not whom it acts for", Box::new(|_| {}), asked_by_agent(2)),
        ("an agent's id as a pipeline's", Box::new(|_| {}), chain(Principal::Pipeline(agent(1)), &[], 1)),
        ("a pipeline's id as an agent's", Box::new(|_| {}), chain(agent_of(agent(2)), &[], 4)),
        ("a person for another", Box::new(|_| {}), chain(Principal::Person(person(5)), &[], 6)),
        ("a person between", Box::new(|_| {}), chain(agent_of(agent(1)), &[Principal::Person(person(5))], 1)),
    ];
    for (name, change, chain) in cases {
        let mut directory = directory();
        change(&mut directory);
        assert!(!directory.chain_stands(&chain), "{name}");
    }
}

#[test]
fn an_agent_acts_only_while_its_sponsor_may() {
    let mut directory = directory();
    assert!(directory.active_agent(agent(1)).is_some());
    directory.people.get_mut(&person(1)).unwrap().status = Status::Disabled;
    assert!(directory.active_person(person(1)).is_none());
    assert!(directory.active_agent(agent(1)).is_none());
    assert!(directory.active_agent(agent(9)).is_none());
}

#[test]
fn group_names_are_plain() {
    let long = "a".repeat(65);
    for good in ["a", "data-owners", "a.b_c-9", &long[..64]] {
        assert_eq!(GroupName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "9a", "-a", "A", "data owners", "a/b", "ä", &long] {
        assert!(GroupName::parse(bad).is_err(), "{bad}");
    }
    let words: BTreeMap<&str, Conflict> = [
        Conflict::Requester,
        Conflict::OnBehalfOf,
        Conflict::Sponsor(agent(1)),
        Conflict::Owner(agent(1)),
        Conflict::Alias(person(1)),
    ]
    .map(|conflict| (conflict.as_str(), conflict))
    .into();
    assert_eq!(words.len(), 5);
}
