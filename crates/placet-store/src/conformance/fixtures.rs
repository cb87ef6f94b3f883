//! People, agents, requests and entries to put into a store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Grade, PepKind, Pins, Principal, ResourceRef, SecretVersion,
};
use placet_core::c14n::Value;
use placet_core::decision::{
    Because, Condition, Decision, Effect, Escalation, ForbidReason, GuardAsk, Need, Requirement, RoleName,
};
use placet_core::digest::{BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{
    Agent, AgentKind, GroupName, Invitation, Operator, Pep, Person, PersonToken, Session, Status, Workload,
};
use placet_core::entry::{Draft, Kind, Sealed};
use placet_core::id::{AgentId, PersonId};
use placet_core::request::{Intake, Lifetimes, Outcome, Recording, Reporter, Request};
use placet_core::review::{Assurance, Evidence, Verdict, Vote};
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_core::time::Clock;

use super::Bench;
use crate::{Transition, Write};

/// Changes without conditions or entries.
pub(super) fn writes(writes: impl IntoIterator<Item = Write>) -> Transition {
    Transition { writes: writes.into_iter().collect(), ..Transition::default() }
}

/// The change that stores this request.
pub(super) fn stored(request: &Request) -> Write {
    Write::Request(Box::new(request.clone()))
}

/// What a stored change begins with: the next version.
pub(super) fn next(request: &Request) -> Request {
    Request { version: request.version + 1, ..request.clone() }
}

pub(super) const LIFETIMES: Lifetimes =
    Lifetimes { grant: Duration::from_secs(300), lease: Duration::from_secs(900) };

pub(super) const REVIEW_FOR: Duration = Duration::from_secs(1800);

pub(super) fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

pub(super) fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

/// A requirement with every kind of need in it.
pub(super) fn requirement(reviewer: PersonId) -> Requirement {
    let condition =
        |text: &str, words: &str, holds| Condition { text: text.to_owned(), words: words.to_owned(), holds };
    let needs = Need::All(vec![
        Need::AtLeast { count: 2, role: role("data-owners"), assurance: Some(Assurance::L2) },
        Need::Any(vec![
            Need::AtLeast { count: 1, role: role("security"), assurance: None },
            Need::Data(condition("context.rows < 10", "rows is below 10", Some(false))),
        ]),
        Need::Distinct(3),
        Need::Within(Duration::from_secs(600)),
    ]);
    let guard = GuardAsk {
        id: "pii-export".to_owned(),
        title: "Export of personal data".to_owned(),
        because: Some("GDPR".to_owned()),
        situation: vec![
            condition("resource.class == \"pii\"", "resource.class is \"pii\"", Some(true)),
            condition("!(has rows)", "!(has rows)", None),
        ],
        needs,
        escalate: vec![Escalation { to: "security".to_owned(), after: Duration::from_secs(60) }],
    };
    Requirement {
        guards: vec![guard],
        review_for: REVIEW_FOR,
        age_max: Some(Duration::from_millis(600_001)),
        veto: 1,
        channels: BTreeSet::from(["slack:#data-approvals".to_owned()]),
        eligible: BTreeMap::from([(role("data-owners"), BTreeSet::from([reviewer]))]),
        self_review: Some(reviewer),
    }
}

impl Bench {
    pub(super) fn person(&self, name: &str) -> Person {
        Person {
            id: self.id(),
            name: name.to_owned(),
            email: Some(format!("{name}@example.com")),
            groups: BTreeSet::new(),
            operator_uid: None,
            status: Status::Active,
            created_at: self.clock.now(),
        }
    }

    pub(super) fn pep(&self, name: &str, sponsor: PersonId) -> Pep {
        Pep {
            id: self.id(),
            kind: PepKind::Command,
            name: name.to_owned(),
            sponsor,
            status: Status::Active,
            token_hash: Sha256Digest::of(name.as_bytes()),
            credential_version: 1,
            created_at: self.clock.now(),
        }
    }

    pub(super) fn agent(&self, name: &str, sponsor: PersonId) -> Agent {
        Agent {
            id: self.id(),
            kind: AgentKind::Agent,
            name: name.to_owned(),
            sponsor,
            owners: BTreeSet::new(),
            acts_for: BTreeSet::new(),
            groups: BTreeSet::new(),
            status: Status::Active,
            token_hash: Sha256Digest::of(name.as_bytes()),
            credential_version: 1,
            workload: Workload::new("https://idp.example", name),
            created_at: self.clock.now(),
        }
    }

    pub(super) fn principal(&self) -> Principal {
        Principal::Agent(AgentId::from_bytes([7; 16]))
    }

    /// What `principal` asks for; another `topic` is another digest.
    pub(super) fn action(&self, principal: Principal, topic: &str) -> ActionRequest {
        let pins = Pins {
            run_as: Some("placet-run".to_owned()),
            secrets: BTreeMap::from([(
                "PGPASSWORD".to_owned(),
                SecretVersion { name: "shop-db".to_owned(), version: 1 },
            )]),
            ..Pins::default()
        };
        ActionRequest {
            tenant: "default".to_owned(),
            chain: ActorChain {
                requester: principal,
                through: Vec::new(),
                on_behalf_of: PersonId::from_bytes([8; 16]),
            },
            pep: PepKind::Command,
            target: "runner:local".to_owned(),
            action: ActionName::parse("data.export").unwrap(),
            resource: ResourceRef::new("Dataset", "shop.accounts").unwrap(),
            arguments: Value::object([("topic", Value::string(topic))]),
            pins,
        }
    }

    pub(super) fn decision(&self, effect: Effect) -> Decision {
        Decision {
            evaluation: self.id(),
            bundle: BundleDigest::of_files([]),
            at: self.now(),
            effect,
            because: vec![Because {
                policy: "pii-export".to_owned(),
                title: "Export of personal data".to_owned(),
                text: None,
            }],
        }
    }

    pub(super) fn asks(&self) -> Decision {
        self.decision(Effect::RequireApproval(requirement(PersonId::from_bytes([9; 16]))))
    }

    pub(super) fn permits(&self) -> Decision {
        self.decision(Effect::Permit)
    }

    pub(super) fn forbids(&self) -> Decision {
        self.decision(Effect::Forbid(ForbidReason::PolicyError(vec!["overflow".to_owned()])))
    }

    /// A new request of this principal under this decision.
    pub(super) fn opened(&self, principal: Principal, topic: &str, decision: Decision) -> Request {
        let action = self.action(principal, topic);
        let canonical = action.canonical().unwrap();
        let id = self.id();
        let intake = Intake {
            id,
            short_code: ShortCode::derive(&Secret::new("codes"), id, canonical.digest(), 0),
            action,
            canonical,
            taken_in_by: None,
            grade: Grade::Enforced,
            justification: Some(Untrusted::new("weekly report \u{202e}")),
        };
        Request::open(intake, decision, LIFETIMES, self.now())
    }

    /// A new request that waits for people.
    pub(super) fn pending(&self, topic: &str) -> Request {
        self.opened(self.principal(), topic, self.asks())
    }

    /// Stores a request and gives it back.
    pub(super) async fn store_request(&self, request: Request) -> Request {
        self.write([stored(&request)]).await;
        request
    }

    pub(super) fn vote(&self, person: PersonId, round: u32, verdict: Verdict) -> Vote {
        Vote {
            person,
            verdict,
            reason: Some(Untrusted::new("because")),
            round,
            content_version: 1,
            card: Sha256Digest::of(b"card"),
            roles: BTreeSet::from([role("data-owners")]),
            assurance: Assurance::L1,
            evidence: Evidence::Session(self.id()),
            vouched: true,
            self_reviewed: false,
            at: self.now(),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            summary: Untrusted::new("exit 0"),
            measures: BTreeMap::from([("exit_code".to_owned(), 0), ("bytes".to_owned(), -1)]),
            result: Some(Sha256Digest::of(b"out")),
            recording: Some(Recording { sha256: Sha256Digest::of(b"cast"), bytes: 4, truncated: true }),
            reported_by: Reporter::Placet,
            at: self.now(),
        }
    }

    pub(super) fn entry(&self, kind: Kind) -> Sealed {
        Draft::new(kind)
            .commit("who", Value::string("somebody"))
            .commit("number", Value::integer(7))
            .seal(self.id(), self.entropy.as_ref())
    }

    pub(super) fn entry_about(&self, kind: Kind, request: &Request) -> Sealed {
        Draft::new(kind)
            .about(request)
            .verdict("ask")
            .under(request.decision.bundle)
            .commit("digest", Value::string(request.canonical.digest().to_string()))
            .seal(self.id(), self.entropy.as_ref())
    }

    pub(super) fn invitation(&self, person: PersonId, secret: &str) -> Invitation {
        Invitation {
            id: self.id(),
            person,
            secret_hash: Sha256Digest::of(secret.as_bytes()),
            minted_by: Operator { uid: 1000, person: Some(person) },
            expires_at: self.now().plus(Duration::from_secs(3600)),
            consumed_at: None,
        }
    }

    pub(super) fn session(&self, person: PersonId, secret: &str) -> Session {
        Session {
            id: self.id(),
            person,
            secret_hash: Sha256Digest::of(secret.as_bytes()),
            host: "reviews.example.com".to_owned(),
            minted_by: Operator { uid: 1000, person: None },
            created_at: self.now(),
            expires_at: self.now().plus(Duration::from_secs(3600)),
        }
    }

    pub(super) fn token(&self, person: PersonId, secret: &str) -> PersonToken {
        PersonToken {
            id: self.id(),
            person,
            token_hash: Sha256Digest::of(secret.as_bytes()),
            minted_by: Operator { uid: 0, person: None },
            created_at: self.now(),
            expires_at: self.now().plus(Duration::from_secs(3600)),
        }
    }
}
