//! What a caller does before it queues for the writer: conversion, sealing, hashing. The writer only binds and hashes
//! entries.

use std::collections::{HashMap, HashSet};

use placet_core::action::Principal;
use placet_core::digest::{BundleDigest, ShortCode};
use placet_core::directory::{
    self, AccessEnd, Agent, GroupName, Invitation, Pep, Person, PersonToken, Session,
};
use placet_core::entry::Sealed;
use placet_core::id::{ExecutionId, PersonId, RequestId, SessionId, TokenId};
use placet_core::request::{Request, Status};
use placet_core::time::Timestamp;

use super::sealer::{MacBytes, Place, Sealer};
use super::search::{self, Token};
use crate::keys::Subject;
use crate::row::Body;
use crate::{CommitError, Files, LogName, Requires, Transition, Write};

/// A transition that is ready to be written.
pub(super) struct Prepared {
    pub(super) requires: Vec<Requires>,
    pub(super) rows: Vec<Row>,
    pub(super) entries: Vec<PreparedEntry>,
}

/// An entry with its disclosures sealed.
pub(super) struct PreparedEntry {
    pub(super) sealed: Sealed,
    /// Whether it is the first about its request: this transition opens it, so there is no earlier entry to look for.
    pub(super) is_first: bool,
    /// None if it commits to nothing.
    pub(super) disclosures: Option<Vec<u8>>,
    /// What its request is found by.
    pub(super) tokens: Vec<Token>,
}

/// A change as columns. What is said about a request, votes and disclosures too, is sealed under its requester's key:
/// a request is whole, or it is erased.
/// The order of the variants is the order in which a transition's changes are applied, so that
/// what is referred to is there, and what ends does so before its successor begins.
pub(super) enum Row {
    Epoch(LogName),
    Bundle { digest: BundleDigest, files: Files },
    ActivateBundle(BundleDigest),
    Group(GroupName),
    Person { id: PersonId, active: bool, operator_uid: Option<u32>, groups: Vec<GroupName>, sealed: Vec<u8> },
    Agent(Box<AgentRow>),
    Pep(Box<PepRow>),
    RemoveGroup(GroupName),
    EndAccess(PersonId, AccessEnd),
    Invitation { invitation: Invitation, sealed: Vec<u8> },
    EndSession(SessionId),
    Session { session: Session, sealed: Vec<u8> },
    RevokeToken(TokenId),
    Token { token: PersonToken, sealed: Vec<u8> },
    RemoveSecret(String),
    Secret { name: String, version: u32, sealed: Vec<u8> },
    RenewSecret { name: String, version: u32, sealed: Vec<u8> },
    Request(Box<RequestRow>),
    Key { mac: MacBytes, request: RequestId, at: Timestamp, sealed: Vec<u8> },
    Card { mac: MacBytes, request: RequestId, sealed: Vec<u8> },
    Recording { execution: ExecutionId, request: RequestId, sealed: Vec<u8> },
    Delivery { request: RequestId, sealed: Vec<u8> },
    ForgetDeliveries,
}

pub(super) struct AgentRow {
    pub(super) agent: Agent,
    pub(super) name_mac: MacBytes,
    pub(super) sealed: Vec<u8>,
}

pub(super) struct PepRow {
    pub(super) pep: Pep,
    pub(super) name_mac: MacBytes,
    pub(super) sealed: Vec<u8>,
}

pub(super) struct RequestRow {
    pub(super) columns: RequestColumns,
    /// The guards and roles of its requirement: words of the policy.
    pub(super) words: Vec<(&'static str, String)>,
    pub(super) votes: Vec<VoteRow>,
    pub(super) sealed: Vec<u8>,
}

pub(super) struct VoteRow {
    pub(super) person: PersonId,
    pub(super) round: u32,
    pub(super) sealed: Vec<u8>,
}

/// What of a request stands in clear. All of it is in the sealed body too, and compared when it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestColumns {
    pub(super) id: RequestId,
    pub(super) version: u64,
    pub(super) principal: String,
    pub(super) status: Status,
    pub(super) reviewed: bool,
    pub(super) resolved: bool,
    pub(super) twin_mac: MacBytes,
    pub(super) short_code: ShortCode,
    pub(super) execution: Option<[u8; 16]>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl RequestColumns {
    pub(super) fn of(request: &Request, sealer: &Sealer) -> Self {
        RequestColumns {
            id: request.id,
            version: request.version,
            principal: request.requester().to_string(),
            status: request.status(),
            reviewed: request.reviewed,
            resolved: request.resolution.is_some(),
            twin_mac: sealer.twin_mac(request.requester(), request.canonical.digest()),
            short_code: request.short_code.clone(),
            execution: request.execution().map(|execution| *execution.id.as_bytes()),
            deadline: request.deadline(),
            created_at: request.created_at,
            updated_at: request.updated_at,
        }
    }
}

/// Which guards ask, and which roles they ask.
fn words(request: &Request) -> Vec<(&'static str, String)> {
    let Some(requirement) = request.requirement() else { return Vec::new() };
    let guards = requirement.guards.iter().map(|guard| ("guard", guard.id.clone()));
    let roles = requirement.eligible.keys().map(|role| ("role", role.as_str().to_owned()));
    guards.chain(roles).collect()
}

/// Requests that a transition speaks of without writing them: their requester's key seals what is said about them.
pub(super) fn unknown_requests(transition: &Transition) -> Vec<RequestId> {
    let written = requesters(transition);
    let kept = transition.writes.iter().filter_map(|write| match write {
        Write::Card { request, .. } | Write::Recording { request, .. } | Write::Delivery(request, _) => {
            Some(*request)
        }
        _ => None,
    });
    let mut unknown: Vec<RequestId> = transition
        .entries
        .iter()
        .filter_map(|entry| entry.draft.request)
        .chain(kept)
        .filter(|request| !written.contains_key(request))
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

fn requesters(transition: &Transition) -> HashMap<RequestId, Subject> {
    let requests = transition.writes.iter().filter_map(|write| match write {
        Write::Request(request) => Some((request.id, Subject::from(request.requester()))),
        _ => None,
    });
    requests.collect()
}

/// Converts and seals. `known` are the subjects of the requests that the transition does not write.
pub(super) fn prepare(
    sealer: &Sealer,
    transition: Transition,
    mut known: HashMap<RequestId, Subject>,
    now: Timestamp,
) -> Result<Prepared, CommitError> {
    known.extend(requesters(&transition));
    let subjects = Subjects { requests: known, person: only_person(&transition) };
    let preparing = Preparing { sealer, subjects, now };
    let mut opened = opened(&transition);
    let mut is_first = |entry: &Sealed| entry.draft.request.is_some_and(|request| opened.remove(&request));
    let entries = transition.entries.into_iter().map(|entry| preparing.entry(is_first(&entry), entry));
    let entries = entries.collect::<Result<_, _>>()?;
    let mut rows: Vec<Row> =
        transition.writes.into_iter().map(|write| preparing.row(write)).collect::<Result<_, _>>()?;
    rows.sort_by_key(Row::rank);
    Ok(Prepared { requires: transition.requires, rows, entries })
}

fn opened(transition: &Transition) -> HashSet<RequestId> {
    let requests = transition.writes.iter().filter_map(|write| match write {
        Write::Request(request) if request.version == 1 => Some(request.id),
        _ => None,
    });
    requests.collect()
}

/// The person that a transition is about, if it is about one: what its entries say is theirs.
fn only_person(transition: &Transition) -> Option<PersonId> {
    let mut people = transition.writes.iter().filter_map(|write| match write {
        Write::Person(person) => Some(person.id),
        Write::Invitation(invitation) => Some(invitation.person),
        Write::Session(session) => Some(session.person),
        Write::Token(token) => Some(token.person),
        Write::EndAccess(person, _) => Some(*person),
        _ => None,
    });
    let first = people.next()?;
    people.all(|person| person == first).then_some(first)
}

struct Subjects {
    requests: HashMap<RequestId, Subject>,
    person: Option<PersonId>,
}

impl Subjects {
    fn of(&self, request: Option<RequestId>) -> Subject {
        let theirs = request.and_then(|request| self.requests.get(&request).copied());
        theirs.or(self.person.map(Subject::Person)).unwrap_or(Subject::Ledger)
    }
}

struct Preparing<'a> {
    sealer: &'a Sealer,
    subjects: Subjects,
    now: Timestamp,
}

impl Preparing<'_> {
    fn entry(&self, is_first: bool, entry: Sealed) -> Result<PreparedEntry, CommitError> {
        let disclosures = if entry.disclosures.is_empty() {
            None
        } else {
            let subject = self.subjects.of(entry.draft.request);
            let place = Place::new("disclosure", &[entry.id.as_bytes()]);
            Some(self.sealer.seal(subject, self.now, &place, &entry.disclosures)?)
        };
        let tokens = search::of_draft(self.sealer, &entry.draft);
        Ok(PreparedEntry { sealed: entry, is_first, disclosures, tokens })
    }

    fn row(&self, write: Write) -> Result<Row, CommitError> {
        let (sealer, now) = (self.sealer, self.now);
        Ok(match write {
            Write::Request(request) => Row::Request(Box::new(self.request(*request)?)),
            Write::Key(principal, key, record) => {
                let mac = sealer.key_mac(principal, &key);
                let sealed = sealer.seal(principal.into(), now, &Place::new("key", &[&mac]), &record)?;
                Row::Key { mac, request: record.request, at: record.at, sealed }
            }
            Write::Card { hash, request, bytes } => {
                let mac = sealer.card_mac(hash);
                let subject = self.subjects.of(Some(request));
                let sealed = sealer.seal_bytes(subject, now, &Place::new("card", &[&mac]), &bytes)?;
                Row::Card { mac, request, sealed }
            }
            Write::Recording { execution, request, bytes } => {
                let place = Place::recording(execution.as_bytes());
                let subject = self.subjects.of(Some(request));
                let sealed = sealer.seal_bytes(subject, now, &place, &bytes)?;
                Row::Recording { execution, request, sealed }
            }
            Write::Delivery(request, bytes) => {
                let place = Place::new("delivery", &[request.as_bytes()]);
                let sealed = sealer.seal_bytes(self.subjects.of(Some(request)), now, &place, &bytes)?;
                Row::Delivery { request, sealed }
            }
            Write::ForgetDeliveries => Row::ForgetDeliveries,
            Write::Person(person) => self.person(&person)?,
            Write::Agent(agent) => Row::Agent(Box::new(self.agent(agent)?)),
            Write::Pep(pep) => Row::Pep(Box::new(self.pep(pep)?)),
            Write::Group(name) => Row::Group(name),
            Write::RemoveGroup(name) => Row::RemoveGroup(name),
            Write::Invitation(invitation) => {
                let place = Place::new("invitation", &[invitation.id.as_bytes()]);
                let sealed = sealer.seal(Subject::Person(invitation.person), now, &place, &invitation)?;
                Row::Invitation { invitation, sealed }
            }
            Write::Session(session) => {
                let place = Place::new("session", &[session.id.as_bytes()]);
                let sealed = sealer.seal(Subject::Person(session.person), now, &place, &session)?;
                Row::Session { session, sealed }
            }
            Write::EndSession(id) => Row::EndSession(id),
            Write::EndAccess(person, why) => Row::EndAccess(person, why),
            Write::Token(token) => {
                let place = Place::new("token", &[token.id.as_bytes()]);
                let sealed = sealer.seal(Subject::Person(token.person), now, &place, &token)?;
                Row::Token { token, sealed }
            }
            Write::RevokeToken(id) => Row::RevokeToken(id),
            Write::Secret(name, version, value) => {
                let place = Place::secret(&name, version);
                let sealed = sealer.seal_bytes(Subject::Secrets, now, &place, value.expose())?;
                Row::Secret { name, version, sealed }
            }
            Write::RenewSecret(name, version, value) => {
                let place = Place::secret(&name, version);
                let sealed = sealer.seal_bytes(Subject::Secrets, now, &place, value.expose())?;
                Row::RenewSecret { name, version, sealed }
            }
            Write::RemoveSecret(name) => Row::RemoveSecret(name),
            Write::Bundle(digest, files) => Row::Bundle { digest, files },
            Write::ActivateBundle(digest) => Row::ActivateBundle(digest),
            Write::Epoch(name) => Row::Epoch(name),
        })
    }

    fn request(&self, request: Request) -> Result<RequestRow, CommitError> {
        let principal: Principal = request.requester();
        let subject = Subject::from(principal);
        let columns = RequestColumns::of(&request, self.sealer);
        let place = Place::request(columns.id.as_bytes(), columns.version);
        let words = words(&request);
        let (body, cast) = Body::of(request);
        let sealed = self.sealer.seal(subject, self.now, &place, &body)?;
        let mut votes = Vec::with_capacity(cast.len());
        for (seq, vote) in cast.iter().enumerate() {
            let place = Place::vote(columns.id.as_bytes(), seq);
            let sealed = self.sealer.seal(subject, self.now, &place, vote)?;
            votes.push(VoteRow { person: vote.person, round: vote.round, sealed });
        }
        Ok(RequestRow { columns, words, votes, sealed })
    }

    fn person(&self, person: &Person) -> Result<Row, CommitError> {
        let place = Place::new("person", &[person.id.as_bytes()]);
        Ok(Row::Person {
            id: person.id,
            active: person.status == directory::Status::Active,
            operator_uid: person.operator_uid,
            groups: person.groups.iter().cloned().collect(),
            sealed: self.sealer.seal(Subject::Person(person.id), self.now, &place, person)?,
        })
    }

    fn agent(&self, agent: Agent) -> Result<AgentRow, CommitError> {
        let place = Place::new("agent", &[agent.id.as_bytes()]);
        let sealed = self.sealer.seal(Subject::Directory, self.now, &place, &agent)?;
        Ok(AgentRow { name_mac: self.sealer.name_mac(&agent.name), agent, sealed })
    }

    fn pep(&self, pep: Pep) -> Result<PepRow, CommitError> {
        let place = Place::new("pep", &[pep.id.as_bytes()]);
        let sealed = self.sealer.seal(Subject::Directory, self.now, &place, &pep)?;
        Ok(PepRow { name_mac: self.sealer.name_mac(&pep.name), pep, sealed })
    }
}

impl Row {
    /// See [`Row`].
    fn rank(&self) -> u8 {
        match self {
            Row::Epoch(_) | Row::Bundle { .. } => 0,
            Row::ActivateBundle(_) => 1,
            Row::Group(_) => 2,
            Row::Person { .. } => 3,
            Row::Agent(_) => 4,
            Row::Pep(_) => 5,
            Row::RemoveGroup(_) => 6,
            Row::EndAccess(..) => 7,
            Row::Invitation { .. } => 8,
            Row::EndSession(_) => 9,
            Row::Session { .. } => 10,
            Row::RevokeToken(_) => 11,
            Row::Token { .. } => 12,
            Row::RemoveSecret(_) => 13,
            Row::Secret { .. } => 14,
            Row::RenewSecret { .. } => 15,
            Row::Request(_) => 16,
            Row::Key { .. } => 17,
            Row::Card { .. } => 18,
            Row::Recording { .. } => 19,
            Row::ForgetDeliveries => 20,
            Row::Delivery { .. } => 21,
        }
    }

    /// Whether it changes who there is.
    pub(super) fn moves_directory(&self) -> bool {
        matches!(self, Row::Person { .. } | Row::Agent(_) | Row::Pep(_) | Row::Group(_) | Row::RemoveGroup(_))
    }
}
