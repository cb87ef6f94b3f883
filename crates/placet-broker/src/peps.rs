//! Enforcement points outside of this process: their credentials, and what each of them may do.
//!
//! ```text
//! bearer ─► Pep (kind, sponsor) ─► Enforcer ─► hands calls in, claims, reports: only what it took in itself
//! ```
//!
//! One enforcement point never touches what another took in, and the one in placet's own process is one among them. It
//! asks for nothing itself: each call that it hands in is an agent's, whose own credential is checked beside.

use placet_core::action::{Executor, PepKind};
use placet_core::c14n::Value;
use placet_core::directory::{Directory, Operator, Pep, Status};
use placet_core::entry::Kind;
use placet_core::id::{PepId, RequestId};
use placet_core::request::Request;
use placet_store::Write;

use crate::access::{Credential, PEP_PREFIX, hash_of};
use crate::directory::{checked_name, find_person, only, taken};
use crate::error::CallError;
use crate::intake::Caller;
use crate::{Broker, Seen, Snapshot, drafts};

/// Who enforces: the enforcement point of a kind in this process, or one whose credential was checked just now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Enforcer {
    /// The one in this process.
    Local(PepKind),
    /// One with a credential of its own.
    Remote(Pep),
}

impl Enforcer {
    /// Who carries out what it takes in.
    pub fn executor(&self) -> Executor {
        match self {
            Enforcer::Local(kind) => (*kind).into(),
            Enforcer::Remote(pep) => pep.executor(),
        }
    }

    /// Whether it took this request in.
    pub(crate) fn took_in(&self, request: &Request) -> bool {
        request.executor() == self.executor()
    }
}

impl From<PepKind> for Enforcer {
    fn from(kind: PepKind) -> Self {
        Enforcer::Local(kind)
    }
}

/// An enforcement point to add.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPep {
    /// Its name.
    pub name: String,
    /// What it intercepts.
    pub kind: PepKind,
    /// Who answers for it, by id or name.
    pub sponsor: String,
}

impl Broker {
    /// Adds an enforcement point, and mints its bearer token.
    pub async fn add_pep(&self, operator: &Operator, new: NewPep) -> Result<(Pep, Credential), CallError> {
        let directory = self.directory().await?;
        let name = checked_name(&new.name)?;
        if directory.peps.values().any(|pep| pep.status == Status::Active && pep.name == name) {
            return Err(taken(&name));
        }
        if new.kind == PepKind::External {
            let message = "an enforcement point is of kind command or mcp: external is what nobody enforces";
            return Err(CallError::invalid("bad_kind", message, "/kind"));
        }
        let now = self.now();
        let (token, token_hash) = self.credential(PEP_PREFIX);
        let pep = Pep {
            id: PepId::new(now, self.0.entropy.as_ref()),
            kind: new.kind,
            name,
            sponsor: find_person(&directory, &new.sponsor)?.id,
            status: Status::Active,
            token_hash,
            credential_version: 1,
            created_at: now,
        };
        let draft = drafts::operated(Kind::PepAdded, operator, ("pep", pep.id.to_string()))
            .commit("name", Value::string(pep.name.as_str()))
            .commit("kind", Value::string(pep.kind.as_str()))
            .commit("sponsor", Value::string(pep.sponsor.to_string()));
        self.change(&directory, vec![Write::Pep(pep.clone())], draft).await?;
        Ok((pep, token))
    }

    /// Revokes an enforcement point: its token opens nothing from now on, and what it took in is not carried out.
    pub async fn revoke_pep(&self, operator: &Operator, which: &str) -> Result<Pep, CallError> {
        let directory = self.directory().await?;
        let mut pep = find_pep(&directory, which)?;
        pep.status = Status::Disabled;
        let draft =
            drafts::operated(Kind::PepChanged, operator, ("pep", pep.id.to_string())).verdict("revoked");
        self.change(&directory, vec![Write::Pep(pep.clone())], draft).await?;
        Ok(pep)
    }

    /// Mints a new bearer token for an enforcement point, which keeps what it took in; the old one opens nothing any
    /// more.
    pub async fn rotate_pep(&self, operator: &Operator, which: &str) -> Result<(Pep, Credential), CallError> {
        let directory = self.directory().await?;
        let mut pep = find_pep(&directory, which)?;
        let (token, token_hash) = self.credential(PEP_PREFIX);
        pep.token_hash = token_hash;
        pep.credential_version = pep.credential_version.saturating_add(1);
        let draft =
            drafts::operated(Kind::PepChanged, operator, ("pep", pep.id.to_string())).verdict("rotated");
        self.change(&directory, vec![Write::Pep(pep.clone())], draft).await?;
        Ok((pep, token))
    }

    /// The enforcement point that holds this bearer token.
    pub async fn authenticate_pep(&self, bearer: &str) -> Result<Pep, CallError> {
        let hash = hash_of(bearer, PEP_PREFIX)?;
        self.trusted().await?;
        let pep = self.0.views.pep_by_token(hash).await?.ok_or(CallError::Unauthenticated)?;
        let directory = self.directory().await?;
        let pep = directory.active_pep(pep.id).filter(|known| known.token_hash == hash);
        pep.cloned().ok_or(CallError::Unauthenticated)
    }

    /// One of the caller's own requests, if this enforcement point took it in.
    pub async fn intercepted_request(
        &self,
        enforcer: &Enforcer,
        caller: &Caller,
        id: RequestId,
    ) -> Result<Seen, CallError> {
        let seen = self.request_of(caller, id).await?;
        if enforcer.took_in(&seen.stored.request) { Ok(seen) } else { Err(CallError::NotFound) }
    }
}

impl Snapshot {
    /// Whether the credential that the enforcement point was recognised by still opens the door.
    pub(crate) fn admits_enforcer(&self, enforcer: &Enforcer) -> Result<(), CallError> {
        admits(&self.directory, enforcer)
    }
}

pub(crate) fn admits(directory: &Directory, enforcer: &Enforcer) -> Result<(), CallError> {
    let Enforcer::Remote(pep) = enforcer else { return Ok(()) };
    let same = |known: &Pep| known.credential_version == pep.credential_version;
    let known = directory.active_pep(pep.id);
    if known.is_some_and(same) { Ok(()) } else { Err(CallError::Unauthenticated) }
}

/// An active enforcement point by id, or by name if only one has it.
fn find_pep(directory: &Directory, which: &str) -> Result<Pep, CallError> {
    let active = directory.peps.values().filter(|pep| pep.status == Status::Active);
    only(active.filter(|pep| pep.id.to_string() == which || pep.name == which))
}
