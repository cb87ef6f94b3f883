//! A small bundle and a small world for the tests.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Fact, Facts, Grade, PepKind, Pins, Principal, ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::directory::{Agent, AgentKind, Directory, GroupName, Person, Status};
use placet_core::id::{AgentId, EvaluationId, PersonId, SessionId};
use placet_core::review::{Assurance, Evidence, Verdict, Vote};
use placet_core::time::Timestamp;
use placet_policy::{Bundle, BundleFiles, Finding, Judgement, Question};

pub(crate) const MANIFEST: &str = r#"
format = 1
name = "test"
[role.reviewers]
group = "reviewers"
[role.security]
group = "security"
[role.owner]
resource_attr = "owner"
[external]
actions = ["data.export"]
"#;

pub(crate) const SCHEMA: &str = r#"
entity Classification enum ["public", "pii"];
entity Dataset = { "owner": Group, "class": Classification, "size"?: Long };
action "data.export" appliesTo {
  principal: [Agent, Pipeline, Person], resource: [Dataset],
  context: { "rows"?: Long, "destination"?: String, "columns"?: Set<String>, "forced"?: Bool }
};
"#;

pub(crate) const ENTITIES: &str = r#"
[Dataset.customers]
owner = "data-owners"
class = "pii"
[Dataset.prices]
owner = "data-owners"
class = "public"
"#;

pub(crate) const ALLOW: &str = r#"
@id("export") permit (principal, action == Action::"data.export", resource);
"#;

pub(crate) const ASK: &str = r#"
@id("pii") @title("Personal data") @timeout("30m")
forbid (principal, action == Action::"data.export", resource)
when { resource.class == Classification::"pii" }
unless { context.approvals.reviewers >= 1 };
"#;

/// The small bundle with these files in place of its own; an empty text takes a file away.
pub(crate) fn files(changes: &[(&str, &str)]) -> BundleFiles {
    let mut all = BTreeMap::from([
        ("bundle.toml", MANIFEST),
        ("schema.cedarschema", SCHEMA),
        ("entities.toml", ENTITIES),
        ("allow.cedar", ALLOW),
        ("ask.cedar", ASK),
    ]);
    for (file, text) in changes {
        all.insert(file, text);
    }
    BundleFiles::new(
        all.into_iter().filter(|(_, text)| !text.is_empty()).map(|(file, text)| (file, text.as_bytes())),
    )
}

pub(crate) fn bundle(changes: &[(&str, &str)]) -> Bundle {
    Bundle::load(&files(changes)).unwrap_or_else(|findings| panic!("{findings:#?}")).bundle
}

pub(crate) fn refused(changes: &[(&str, &str)]) -> Vec<Finding> {
    match Bundle::load(&files(changes)) {
        Ok(_) => Vec::new(),
        Err(findings) => findings,
    }
}

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(crate) fn person_id(number: u128) -> PersonId {
    PersonId::from_bytes(number.to_be_bytes())
}

pub(crate) fn agent_id(number: u128) -> AgentId {
    AgentId::from_bytes(number.to_be_bytes())
}

/// People by number and groups, agents by number and sponsor.
#[derive(Clone, Default)]
pub(crate) struct World(pub(crate) Directory);

impl World {
    pub(crate) fn person(mut self, number: u128, groups: &[&str]) -> Self {
        let id = person_id(number);
        let person = Person {
            id,
            name: format!("person {number}"),
            email: None,
            groups: groups.iter().map(|group| GroupName::parse(group).unwrap()).collect(),
            status: Status::Active,
            operator_uid: None,
            created_at: Timestamp::EPOCH,
        };
        self.0.people.insert(id, person);
        self
    }

    pub(crate) fn agent(mut self, number: u128, sponsor: u128) -> Self {
        let id = agent_id(number);
        let agent = Agent {
            id,
            kind: AgentKind::Agent,
            name: format!("agent {number}"),
            sponsor: person_id(sponsor),
            owners: BTreeSet::new(),
            acts_for: BTreeSet::new(),
            groups: BTreeSet::new(),
            status: Status::Active,
            token_hash: Sha256Digest::of(b""),
            credential_version: 1,
            workload: None,
            created_at: Timestamp::EPOCH,
        };
        self.0.agents.insert(id, agent);
        self
    }
}

/// Agent 1 of person 1 asks to export this dataset.
pub(crate) fn export(dataset: &str) -> ActionRequest {
    ActionRequest {
        tenant: "default".to_owned(),
        chain: ActorChain {
            requester: Principal::Agent(agent_id(1)),
            through: Vec::new(),
            on_behalf_of: person_id(1),
        },
        pep: PepKind::External,
        target: "external".to_owned(),
        action: ActionName::parse("data.export").unwrap(),
        resource: ResourceRef::new("Dataset", dataset).unwrap(),
        arguments: Value::object::<String>([]),
        pins: Pins::default(),
    }
}

pub(crate) fn facts<const N: usize>(known: [(&str, Fact); N]) -> Facts {
    let known = known.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect();
    Facts { known, unrepresentable: BTreeSet::new() }
}

pub(crate) fn vote(person: u128, ago: Duration) -> Vote {
    Vote {
        person: person_id(person),
        verdict: Verdict::Approve,
        reason: None,
        round: 1,
        content_version: 1,
        card: Sha256Digest::of(b""),
        roles: BTreeSet::new(),
        assurance: Assurance::L1,
        evidence: Evidence::Session(SessionId::from_bytes([0; 16])),
        vouched: false,
        self_reviewed: false,
        at: Timestamp::from_millis(NOW.as_millis() - i64::try_from(ago.as_millis()).unwrap()),
    }
}

pub(crate) fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

pub(crate) fn decide(
    bundle: &Bundle,
    world: &World,
    action: &ActionRequest,
    facts: &Facts,
    votes: &[Vote],
) -> Judgement {
    let votes: Vec<&Vote> = votes.iter().collect();
    bundle.decide(&question(world, action, facts, &votes))
}

pub(crate) fn question<'a>(
    world: &'a World,
    action: &'a ActionRequest,
    facts: &'a Facts,
    votes: &'a [&'a Vote],
) -> Question<'a> {
    Question {
        action,
        facts,
        grade: Grade::Enforced,
        directory: &world.0,
        votes,
        now: NOW,
        evaluation: EvaluationId::from_bytes([9; 16]),
    }
}
