//! One decision of policy, in a bundle of a dozen policies and in one of a thousand.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Facts, Grade, PepKind, Pins, Principal, ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::directory::{Agent, AgentKind, Directory, GroupName, Person, Status};
use placet_core::id::{AgentId, EvaluationId, PersonId};
use placet_core::time::Timestamp;
use placet_policy::{Bundle, BundleFiles, Question};

use super::Bench;
use crate::Result;
use crate::figure::{Aim, Figure, Round};
use crate::floor::{each_us, sha256_us};

const MANIFEST: &str = "format = 1\nname = \"bench\"\n[role.reviewers]\ngroup = \"reviewers\"\n[external]\nactions = [\"bench.a0\"]\n";
const ENTITIES: &str =
    "[Example.staging]\nenvironment = \"staging\"\n[Example.production]\nenvironment = \"production\"\n";
/// How many policies each action has beside the one that permits it.
const GUARDS_EACH: usize = 11;
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (actions, permit, ask) in [(1, "policy-12", "policy-12-ask"), (84, "policy-1000", "policy-1000-ask")]
    {
        let actions = bench.by_scale(actions.min(3), actions, actions);
        let bundle = bundle(actions)?;
        let policies = actions * (GUARDS_EACH + 1);
        for (name, resource, effect) in [(permit, "staging", "permits"), (ask, "production", "asks people")] {
            let rounds = decisions(bench, &bundle, resource)?;
            figures.push(Figure {
                name,
                what: format!(
                    "One decision that {effect}, with {policies} policies, all but 12 of other actions"
                ),
                unit: "µs",
                aim: if effect == "permits" { Aim::AtMost(30.0) } else { Aim::Nothing },
                floor: "one SHA-256 of 1 KiB",
                rounds,
                note: String::new(),
            });
        }
    }
    Ok(figures)
}

fn decisions(bench: &Bench, bundle: &Bundle, resource: &str) -> Result<Vec<Round>> {
    let directory = directory()?;
    let action = action(resource)?;
    let facts: Facts =
        bundle.map_external(&action.action, &action.arguments).map_err(|error| error.to_string())?;
    let question = Question {
        action: &action,
        facts: &facts,
        grade: Grade::Advisory,
        directory: &directory,
        votes: &[],
        now: NOW,
        evaluation: EvaluationId::from_bytes([7; 16]),
    };
    let times = bench.by_scale(20, 5_000, 20_000);
    let round = |_| {
        let floor = sha256_us(&[7; 1024], times);
        Round { value: each_us(times, || bundle.decide(&question)), floor: Some(floor), cpu: None }
    };
    Ok((0..bench.rounds()).map(round).collect())
}

/// A bundle of so many actions, each with one policy that permits it and eleven that ask about production.
fn bundle(actions: usize) -> Result<Bundle> {
    let mut schema = String::from(
        "entity Environment enum [\"staging\", \"production\"];\nentity Example = { \"environment\": Environment };\n",
    );
    let (mut allow, mut ask) = (String::new(), String::new());
    for action in 0..actions {
        let name = format!("bench.a{action}");
        writeln!(
            schema,
            "action \"{name}\" appliesTo {{ principal: [Agent, Pipeline, Person], resource: [Example], \
             context: {{ \"service\"?: String, \"version\"?: String }} }};"
        )?;
        writeln!(
            allow,
            "@id(\"allow-{action}\") permit (principal, action == Action::\"{name}\", resource);"
        )?;
        for guard in 0..GUARDS_EACH {
            writeln!(
                ask,
                "@id(\"guard-{action}-{guard}\") @title(\"Guard {guard}\")\n\
                 forbid (principal, action == Action::\"{name}\", resource)\n\
                 when {{ resource.environment == Environment::\"production\" && \
                        !(context has version && context.version == \"{guard}\") }}\n\
                 unless {{ context.approvals.reviewers >= 1 }};\n"
            )?;
        }
    }
    let files = [
        ("bundle.toml", MANIFEST),
        ("schema.cedarschema", schema.as_str()),
        ("entities.toml", ENTITIES),
        ("allow.cedar", allow.as_str()),
        ("ask.cedar", ask.as_str()),
    ];
    let files = BundleFiles::new(files.map(|(path, text)| (path, text.as_bytes())));
    let loaded =
        Bundle::load(&files).map_err(|findings| format!("the bundle does not load: {findings:?}"))?;
    Ok(loaded.bundle)
}

fn action(resource: &str) -> Result<ActionRequest> {
    Ok(ActionRequest {
        tenant: "default".to_owned(),
        chain: ActorChain {
            requester: Principal::Agent(agent_id()),
            through: Vec::new(),
            on_behalf_of: person_id(0),
        },
        pep: PepKind::External,
        target: "external".to_owned(),
        action: ActionName::parse("bench.a0")?,
        resource: ResourceRef::new("Example", resource)?,
        arguments: Value::object([("service", Value::string("shop")), ("version", Value::string("1.2.3"))]),
        pins: Pins::default(),
    })
}

fn agent_id() -> AgentId {
    AgentId::from_bytes([1; 16])
}

fn person_id(number: u8) -> PersonId {
    PersonId::from_bytes([number; 16])
}

/// Ten persons, who review all, and one agent of the first.
fn directory() -> Result<Directory> {
    let mut directory = Directory { epoch: 1, ..Directory::default() };
    let reviewers = GroupName::parse("reviewers")?;
    for number in 0..10 {
        let person = Person {
            id: person_id(number),
            name: format!("person {number}"),
            email: None,
            groups: BTreeSet::from([reviewers.clone()]),
            operator_uid: None,
            status: Status::Active,
            created_at: Timestamp::EPOCH,
        };
        directory.people.insert(person.id, person);
    }
    directory.groups.insert(reviewers);
    let agent = Agent {
        id: agent_id(),
        kind: AgentKind::Agent,
        name: "agent".to_owned(),
        sponsor: person_id(0),
        owners: BTreeSet::new(),
        acts_for: BTreeSet::new(),
        groups: BTreeSet::new(),
        status: Status::Active,
        token_hash: Sha256Digest::of(b"token"),
        credential_version: 1,
        workload: None,
        created_at: Timestamp::EPOCH,
    };
    directory.agents.insert(agent.id, agent);
    Ok(directory)
}
