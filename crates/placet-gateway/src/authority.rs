//! The one port of this crate: who says what may be done.
//!
//! ```text
//! guide ─► (plan, pin) ─► submit ─► wait … ─► claim ─► Claimed ─► forward ─► complete
//!                                    └─► cancel
//! ```
//!
//! There are two implementations: over the broker in the same process, and [over the agents' door](crate::remote) with an
//! enforcement point's own credential. An enforcement point forwards only a [`Claimed`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use placet_api::request::RequestDocument;
use placet_core::action::{Canonical, Grade, PepKind, Pins, Principal, SecretVersion};
use placet_core::c14n::Value;
use placet_core::digest::{ActionDigest, Sha256Digest};
use placet_core::directory::CredentialVersion;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::OutcomeKind;
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;

use crate::runner::config::Config;
use crate::runner::plan::Target;
use crate::runner::record::Kept;

/// Who says what may be done. Every method fails closed: an error is a no.
pub trait Authority: Send + Sync {
    /// What the bundle in force says about a command: what it means, how it would be run, which secrets there are. Where a
    /// caller is given, it is about to be handed in for them, and one who calls too often is refused before anything is
    /// opened or hashed.
    fn guide(
        &self,
        caller: Option<Caller>,
        argv: Vec<String>,
    ) -> BoxFuture<'_, Result<Guidance, AuthorityError>>;

    /// Takes an intercepted call in; the answer is a new request or the one that the call attaches to.
    fn submit(&self, call: Intercepted) -> BoxFuture<'_, Result<Submitted, AuthorityError>>;

    /// Takes a call in for a caller who is there, and starts it if policy permits without a review: intake and start
    /// are one transaction then, and the claim is made. What people decide on waits for them as after
    /// [`submit`](Authority::submit).
    fn submit_and_start(
        &self,
        call: Intercepted,
        claim: Secret,
    ) -> BoxFuture<'_, Result<(Submitted, Option<Claimed>), AuthorityError>>;

    /// Waits until the caller's own request is newer than `newer_than`, or the time is up.
    fn wait(
        &self,
        caller: Caller,
        request: RequestId,
        newer_than: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Shown, AuthorityError>>;

    /// Redeems the grant of the caller's own request, which this enforcement point took in. The same `claim` value gets
    /// the same answer again, another value gets none.
    fn claim(
        &self,
        caller: Caller,
        request: RequestId,
        claim: Secret,
    ) -> BoxFuture<'_, Result<Claimed, AuthorityError>>;

    /// Reports what became of an execution of this enforcement point.
    fn complete(
        &self,
        request: RequestId,
        execution: ExecutionId,
        completion: Completion,
    ) -> BoxFuture<'_, Result<(), AuthorityError>>;

    /// Withdraws the caller's own request, before anyone carried it out.
    fn cancel(&self, caller: Caller, request: RequestId) -> BoxFuture<'_, Result<Shown, AuthorityError>>;

    /// Every execution that this enforcement point holds: after a restart, those that an earlier process left.
    fn held(&self) -> BoxFuture<'_, Result<Vec<(RequestId, ExecutionId)>, AuthorityError>>;

    /// Says that nobody knows what became of an execution of this enforcement point. Whatever it left running has to be
    /// gone before.
    fn abandon(
        &self,
        request: RequestId,
        execution: ExecutionId,
        why: &str,
    ) -> BoxFuture<'_, Result<(), AuthorityError>>;
}

/// Who called an enforcement point: known by the door that let them in, and for an authority elsewhere proven there by
/// the token that they showed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    principal: Principal,
    credential: Option<CredentialVersion>,
    token: Option<Secret>,
}

impl Caller {
    /// One whom a door in this process has authenticated, by this one of its tokens.
    pub fn known(principal: Principal, credential: Option<CredentialVersion>) -> Self {
        Caller { principal, credential, token: None }
    }

    /// One whose token an authority elsewhere has recognised, and will again with each call.
    pub fn proven(principal: Principal, token: Secret) -> Self {
        Caller { principal, credential: None, token: Some(token) }
    }

    /// Who it is.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// Which of its tokens it came with, if a door in this process has seen it.
    pub fn credential(&self) -> Option<CredentialVersion> {
        self.credential
    }

    /// What proves it elsewhere.
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }
}

/// What the bundle in force says about one command.
#[derive(Debug, Clone)]
pub struct Guidance {
    /// What the mapping makes of it.
    pub target: Target,
    /// The bundle's `runner.toml`.
    pub config: Arc<Config>,
    /// The newest version of each secret that `runner.toml` names and the vault has.
    pub secret_versions: BTreeMap<String, u32>,
}

/// A call that an enforcement point intercepted, with everything pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intercepted {
    /// Who called.
    pub caller: Caller,
    /// Which kind of enforcement point intercepted it.
    pub pep: PepKind,
    /// What the enforcement point would talk to.
    pub target: String,
    /// How far the enforcement point can be trusted here.
    pub grade: Grade,
    /// What the pins were planned for, if they were planned for something. If the mapping says something else by now, the
    /// call must be refused: secrets were chosen for this and for nothing else.
    pub planned_for: Option<Target>,
    /// The call itself, token for token.
    pub arguments: Value,
    /// What else pins the meaning.
    pub pins: Pins,
    /// Why.
    pub justification: Option<String>,
    /// The person on whose behalf.
    pub on_behalf_of: Option<String>,
    /// The caller's key for this call.
    pub idempotency_key: Option<String>,
}

/// What a call got.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The request.
    pub shown: Shown,
    /// Whether this call made it.
    pub new: bool,
}

/// A request as its requester may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub id: RequestId,
    /// The whole of it, ready to be sent.
    pub document: RequestDocument,
}

/// A consumed grant: the right, and the duty, to carry out exactly these bytes once.
///
/// Not `Clone`, and without a way to change what is in it. Only implementations of [`Authority`] make one, out of a claim
/// that was recorded.
pub struct Claimed {
    execution: ExecutionId,
    canonical: Canonical,
    lease_until: Timestamp,
    secrets: BTreeMap<String, (SecretVersion, Secret)>,
}

/// The bytes of a claim are not those that were approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("claim an action: its bytes do not have the digest that was approved")]
pub struct OtherBytes;

impl Claimed {
    /// The answer to a recorded claim. To be called by implementations of [`Authority`] and by nothing else.
    pub fn by_authority(
        execution: ExecutionId,
        approved: ActionDigest,
        canonical: String,
        lease_until: Timestamp,
        secrets: BTreeMap<String, (SecretVersion, Secret)>,
    ) -> Result<Self, OtherBytes> {
        let canonical = Canonical::from_stored(canonical);
        if canonical.digest() != approved {
            return Err(OtherBytes);
        }
        Ok(Claimed { execution, canonical, lease_until, secrets })
    }

    /// The execution that the claim began.
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// What was approved.
    pub fn canonical(&self) -> &Canonical {
        &self.canonical
    }

    /// Until when an outcome is waited for.
    pub fn lease_until(&self) -> Timestamp {
        self.lease_until
    }

    /// Whether exactly this secret was released for this variable. Whoever asks has to know it already.
    pub fn releases(&self, variable: &str, version: &SecretVersion, secret: &Secret) -> bool {
        self.secrets.get(variable).is_some_and(|(held, value)| held == version && value == secret)
    }

    /// The secrets that were released, by the variable that carries them.
    pub(crate) fn into_secrets(self) -> BTreeMap<String, (SecretVersion, Secret)> {
        self.secrets
    }
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("execution", &self.execution)
            .field("digest", &self.canonical.digest())
            .field("lease_until", &self.lease_until)
            .field("secrets", &self.secrets.len())
            .finish_non_exhaustive()
    }
}

/// What became of an execution, in the enforcement point's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// How it ended.
    pub kind: OutcomeKind,
    /// One line.
    pub summary: Untrusted,
    /// Numbers that were measured.
    pub measures: BTreeMap<String, i64>,
    /// SHA-256 of what came out.
    pub result: Option<Sha256Digest>,
    /// What was recorded of it, if anything was to be.
    pub recording: Option<Kept>,
    /// What came out, where it is to be kept for those who come for it later.
    pub delivery: Option<Vec<u8>>,
}

/// Why the authority did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AuthorityError {
    /// What sort of no it is.
    pub kind: AuthorityErrorKind,
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
    /// JSON pointer to what is wrong in the call.
    pub pointer: Option<String>,
    /// The request that the call does not fit.
    pub request: Option<RequestId>,
}

/// The sorts of no. Only [`Unavailable`](AuthorityErrorKind::Unavailable) may be tried again as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityErrorKind {
    /// The credential opens nothing here.
    Unauthenticated,
    /// Not there, or not the caller's to know of.
    NotFound,
    /// Not the caller's to do.
    Forbidden,
    /// Does not fit what happened before.
    Conflict,
    /// The call itself is wrong.
    Invalid,
    /// Too often.
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// The authority cannot read or write now.
    Unavailable,
    /// A bug of ours.
    Internal,
}

impl AuthorityError {
    /// An error of this sort.
    pub fn new(kind: AuthorityErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        AuthorityError { kind, code: code.into(), message: message.into(), pointer: None, request: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_were_not_approved_cannot_be_claimed() {
        let execution = ExecutionId::from_bytes([7; 16]);
        let claim = |bytes: &str| {
            let approved = ActionDigest::of_canonical("{\"v\":1}");
            Claimed::by_authority(execution, approved, bytes.to_owned(), Timestamp::EPOCH, BTreeMap::new())
        };
        assert_eq!(claim("{\"v\":1}").unwrap().canonical().as_str(), "{\"v\":1}");
        assert_eq!(claim("{\"v\":2}").unwrap_err(), OtherBytes);
        assert_eq!(claim("{\"v\": 1}").unwrap_err(), OtherBytes);
    }

    #[test]
    fn a_claim_shows_no_secret() {
        let secret = (SecretVersion { name: "shop".into(), version: 1 }, Secret::new("hunter2"));
        let secrets = BTreeMap::from([("PGPASSWORD".to_owned(), secret)]);
        let execution = ExecutionId::from_bytes([7; 16]);
        let digest = ActionDigest::of_canonical("{}");
        let claimed =
            Claimed::by_authority(execution, digest, "{}".into(), Timestamp::EPOCH, secrets).unwrap();
        assert!(!format!("{claimed:?}").contains("hunter2"));
    }
}
