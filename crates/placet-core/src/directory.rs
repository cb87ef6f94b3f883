//! Who there is: persons, agents, groups, and how they belong together.
//!
//! [`Directory`] is a snapshot with an epoch. Policy and review are functions over it; absent means no.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{ActorChain, Executor, PepKind, Principal};
use crate::digest::Sha256Digest;
use crate::id::{AgentId, InvitationId, PepId, PersonId, SessionId, TokenId};
use crate::review::Evidence;
use crate::time::Timestamp;

/// The name of a group of people or agents, `data-owners`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupName(String);

/// The text is not a group's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a group's name: write 1 to 64 of a-z 0-9 - _ ., starting with a letter")]
pub struct GroupNameError;

impl GroupName {
    /// Reads a name of 1 to 64 of `a-z 0-9 - _ .` that starts with a letter.
    pub fn parse(text: &str) -> Result<Self, GroupNameError> {
        let starts = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let fits = text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if starts && fits { Ok(GroupName(text.to_owned())) } else { Err(GroupNameError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether someone may still act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// May act.
    Active,
    /// May not: disabled, revoked, gone.
    Disabled,
}

/// A human being. Only persons vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// As the operator wrote it.
    pub name: String,
    /// A weak alias: two persons with one address are taken for one where that blocks, never where it grants.
    pub email: Option<String>,
    /// The groups they are in.
    pub groups: BTreeSet<GroupName>,
    /// The operating system's user that is this person at the admin socket; at most one person has it.
    pub operator_uid: Option<u32>,
    /// Whether they may act.
    pub status: Status,
    /// When they were added.
    pub created_at: Timestamp,
}

impl Person {
    /// The address by which two persons may be one human: case and surrounding space do not tell people apart, and a
    /// blank is no address.
    fn address(&self) -> Option<String> {
        self.email.as_ref().map(|email| email.trim().to_lowercase()).filter(|address| !address.is_empty())
    }
}

/// Whether an automated principal decides by itself what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgentKind {
    /// An AI agent.
    Agent,
    /// A pipeline with fixed steps.
    Pipeline,
}

/// An agent or a pipeline. Every one has a person who answers for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    /// Who.
    pub id: AgentId,
    /// Agent or pipeline.
    pub kind: AgentKind,
    /// As the operator wrote it; unique among those that are active.
    pub name: String,
    /// The person who answers for it.
    pub sponsor: PersonId,
    /// Further persons who own it.
    pub owners: BTreeSet<PersonId>,
    /// Persons it may act for, beside its sponsor.
    pub acts_for: BTreeSet<PersonId>,
    /// The groups it is in.
    pub groups: BTreeSet<GroupName>,
    /// Whether it may act.
    pub status: Status,
    /// SHA-256 of its bearer token.
    pub token_hash: Sha256Digest,
    /// Counts up with each new token, so that a decision made for an old one is refused.
    pub credential_version: u32,
    /// Whose tokens of another issuer are its own, too; unique among agents that are active.
    pub workload: Option<Workload>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Who an automated principal is to the platform that it runs on: the issuer and the subject of its tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Workload {
    issuer: String,
    subject: String,
}

impl Workload {
    /// These two, if each is a text of 1 to 256 bytes without control characters.
    pub fn new(issuer: &str, subject: &str) -> Option<Self> {
        let fits = |text: &str| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        let both = fits(issuer) && fits(subject);
        both.then(|| Workload { issuer: issuer.to_owned(), subject: subject.to_owned() })
    }

    /// Who issues its tokens, an address.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What it is called there.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// Which of an agent's tokens a call came with. Whoever came with one that was replaced gets nothing any more, however
/// long the call was open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CredentialVersion(pub u32);

impl Agent {
    /// It as a principal.
    pub fn principal(&self) -> Principal {
        match self.kind {
            AgentKind::Agent => Principal::Agent(self.id),
            AgentKind::Pipeline => Principal::Pipeline(self.id),
        }
    }
}

/// An enforcement point outside of placet's own process, with a credential of its own. It asks for nothing itself: it
/// hands in what agents ask for, and carries out what it took in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pep {
    /// Which.
    pub id: PepId,
    /// What it intercepts; never `external`.
    pub kind: PepKind,
    /// As the operator wrote it; unique among those that are active.
    pub name: String,
    /// The person who answers for it.
    pub sponsor: PersonId,
    /// Whether it may act.
    pub status: Status,
    /// SHA-256 of its bearer token.
    pub token_hash: Sha256Digest,
    /// Counts up with each new token, so that what an old one began is refused.
    pub credential_version: u32,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Pep {
    /// It, as who carries out what it took in.
    pub fn executor(&self) -> Executor {
        Executor { kind: self.kind, pep: Some(self.id) }
    }
}

/// Everyone, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// Counts up with every change to anyone in it.
    pub epoch: u64,
    /// Persons, active or not.
    pub people: BTreeMap<PersonId, Person>,
    /// Agents and pipelines, active or not.
    pub agents: BTreeMap<AgentId, Agent>,
    /// Enforcement points with credentials of their own, active or not.
    pub peps: BTreeMap<PepId, Pep>,
    /// Groups that exist, also empty ones.
    pub groups: BTreeSet<GroupName>,
}

/// Why somebody may not decide on a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Conflict {
    /// They asked themselves.
    Requester,
    /// The action is on their behalf.
    OnBehalfOf,
    /// They sponsor an agent in the chain.
    Sponsor(AgentId),
    /// They own an agent in the chain.
    Owner(AgentId),
    /// They may be the same human as this person, who is in conflict.
    Alias(PersonId),
}

impl Conflict {
    /// The word for it: `requester`, `on_behalf_of`, `sponsor`, `owner` or `alias`.
    pub fn as_str(self) -> &'static str {
        match self {
            Conflict::Requester => "requester",
            Conflict::OnBehalfOf => "on_behalf_of",
            Conflict::Sponsor(_) => "sponsor",
            Conflict::Owner(_) => "owner",
            Conflict::Alias(_) => "alias",
        }
    }
}

impl Directory {
    /// The person, if they may act.
    pub fn active_person(&self, id: PersonId) -> Option<&Person> {
        self.people.get(&id).filter(|person| person.status == Status::Active)
    }

    /// The agent, if it may act and its sponsor may.
    pub fn active_agent(&self, id: AgentId) -> Option<&Agent> {
        let agent = self.agents.get(&id).filter(|agent| agent.status == Status::Active)?;
        self.active_person(agent.sponsor).map(|_| agent)
    }

    /// The agent that this workload is, unless it was revoked. Whether its sponsor stands, [`Self::active_agent`] says.
    pub fn agent_of(&self, workload: &Workload) -> Option<&Agent> {
        let is_it =
            |agent: &&Agent| agent.status == Status::Active && agent.workload.as_ref() == Some(workload);
        self.agents.values().find(is_it)
    }

    /// The enforcement point, if it may act and its sponsor may.
    pub fn active_pep(&self, id: PepId) -> Option<&Pep> {
        let pep = self.peps.get(&id).filter(|pep| pep.status == Status::Active)?;
        self.active_person(pep.sponsor).map(|_| pep)
    }

    /// Whether everyone in the chain may act, and the agent may act for the person at its end. Only agents stand between
    /// the two.
    pub fn chain_stands(&self, chain: &ActorChain) -> bool {
        let actors_stand = chain.actors().all(|actor| match actor {
            Principal::Agent(id) | Principal::Pipeline(id) => {
                self.active_agent(id).is_some_and(|agent| agent.principal() == actor)
            }
            Principal::Person(id) => chain.through.is_empty() && self.active_person(id).is_some(),
        });
        let may_act_for = match chain.requester {
            Principal::Agent(id) | Principal::Pipeline(id) => self.agents.get(&id).is_some_and(|agent| {
                agent.sponsor == chain.on_behalf_of || agent.acts_for.contains(&chain.on_behalf_of)
            }),
            Principal::Person(id) => id == chain.on_behalf_of,
        };
        actors_stand && may_act_for && self.active_person(chain.on_behalf_of).is_some()
    }

    /// Everyone who may not decide on what this chain asks, and why: closed over the requester, the person it is for,
    /// sponsors and owners of every agent in the chain, and whoever may be the same human as these.
    ///
    /// One reason is named for each. A requester is never anything else, so that no exception fits them; a sponsor is
    /// named as that even where the action is on their behalf, as that is what the bundle's exception speaks of.
    pub fn conflicts(&self, chain: &ActorChain) -> BTreeMap<PersonId, Conflict> {
        let mut conflicts = BTreeMap::new();
        if let Principal::Person(id) = chain.requester {
            conflicts.insert(id, Conflict::Requester);
        }
        for agent in chain.actors().filter_map(Principal::agent).filter_map(|id| self.agents.get(&id)) {
            conflicts.entry(agent.sponsor).or_insert(Conflict::Sponsor(agent.id));
        }
        conflicts.entry(chain.on_behalf_of).or_insert(Conflict::OnBehalfOf);
        for actor in &chain.through {
            if let Principal::Person(id) = actor {
                conflicts.entry(*id).or_insert(Conflict::OnBehalfOf);
            }
        }
        for agent in chain.actors().filter_map(Principal::agent).filter_map(|id| self.agents.get(&id)) {
            for owner in &agent.owners {
                conflicts.entry(*owner).or_insert(Conflict::Owner(agent.id));
            }
        }
        for (id, alias) in self.aliases(&conflicts) {
            conflicts.entry(id).or_insert(alias);
        }
        conflicts
    }

    /// Of these persons, one for each human that they may be at least: two who share an address count once, as a weak
    /// alias may block and never grant. Where distinct people are counted, count these.
    pub fn distinct(&self, persons: impl IntoIterator<Item = PersonId>) -> BTreeSet<PersonId> {
        let mut addresses = BTreeSet::new();
        let sorted: BTreeSet<PersonId> = persons.into_iter().collect();
        sorted
            .into_iter()
            .filter(|id| {
                self.people.get(id).and_then(Person::address).is_none_or(|own| addresses.insert(own))
            })
            .collect()
    }

    /// Persons who share an address with one in conflict.
    fn aliases(&self, conflicts: &BTreeMap<PersonId, Conflict>) -> Vec<(PersonId, Conflict)> {
        let blocked: BTreeMap<String, PersonId> =
            conflicts.keys().filter_map(|id| Some((self.people.get(id)?.address()?, *id))).collect();
        self.people
            .values()
            .filter_map(|person| Some((person.id, Conflict::Alias(*blocked.get(&person.address()?)?))))
            .collect()
    }
}

/// A single-use link by which a person signs in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invitation {
    /// Which.
    pub id: InvitationId,
    /// Whom it signs in.
    pub person: PersonId,
    /// SHA-256 of the secret in the link.
    pub secret_hash: Sha256Digest,
    /// Who minted it: they could have used it themselves.
    pub minted_by: Operator,
    /// Until when it works.
    pub expires_at: Timestamp,
    /// Whether it was used.
    pub consumed_at: Option<Timestamp>,
}

/// Whoever works on the admin socket, named by the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operator {
    /// The operating system's user id.
    pub uid: u32,
    /// The person that this operator is known to be, if any.
    pub person: Option<PersonId>,
}

/// A reviewer who signed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Who.
    pub person: PersonId,
    /// SHA-256 of the secret in the cookie.
    pub secret_hash: Sha256Digest,
    /// The host name it began on, and the only one it is good for.
    pub host: String,
    /// Who minted the link that it began with.
    pub minted_by: Operator,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A person's API token: reads and denies; approves only where the bundle says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PersonToken {
    /// Which.
    pub id: TokenId,
    /// Whose.
    pub person: PersonId,
    /// SHA-256 of the token.
    pub token_hash: Sha256Digest,
    /// Who minted it.
    pub minted_by: Operator,
    /// When it was minted.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Why a session or an API token ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessEnd {
    /// Its person signed out.
    SignedOut,
    /// Its person was invited anew, which ends whatever let them in before.
    Invited,
    /// Its person was disabled.
    Disabled,
    /// An operator revoked it.
    Revoked,
}

impl AccessEnd {
    /// All of them.
    pub const ALL: [AccessEnd; 4] =
        [AccessEnd::SignedOut, AccessEnd::Invited, AccessEnd::Disabled, AccessEnd::Revoked];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessEnd::SignedOut => "signed_out",
            AccessEnd::Invited => "invited",
            AccessEnd::Disabled => "disabled",
            AccessEnd::Revoked => "revoked",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        AccessEnd::ALL.into_iter().find(|end| end.as_str() == text)
    }
}

/// A session or an API token that ended before its time. It lets nobody in, and tells whose it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedAccess {
    /// Whose.
    pub person: PersonId,
    /// Which.
    pub evidence: Evidence,
    /// Why it ended.
    pub why: AccessEnd,
    /// When it ended.
    pub ended_at: Timestamp,
}
