//! Who is at the door: bearer tokens of agents, enforcement points and persons, sign-in links, sessions.
//!
//! Every credential is 256 random bits that placet keeps only as a SHA-256. A prefix tells people and scanners what it
//! is; what it opens is decided by the table it is found in, so no credential opens both doors.

use hmac::{Hmac, KeyInit, Mac};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::directory::{Operator, Person, Session, Status, Workload};
use placet_core::entropy::random_bytes;
use placet_core::entry::{Draft, Kind};
use placet_core::id::SessionId;
use placet_core::review::{Assurance, Evidence, VerifiedReviewer};
use placet_core::time::Timestamp;
use placet_store::{Requires, Transition, Write};
use sha2::Sha256;

use crate::Broker;
use crate::error::CallError;
use crate::intake::Caller;
use crate::review::Reviewer;

/// A credential in clear: shown once, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// The text to hand over.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What starts an agent's token.
pub const AGENT_PREFIX: &str = "placet_agent_";
/// What starts the token of an enforcement point.
pub const PEP_PREFIX: &str = "placet_pep_";
/// What starts a person's API token.
pub const PERSON_PREFIX: &str = "placet_person_";
/// What starts the secret of a sign-in link.
pub const LINK_PREFIX: &str = "placet_link_";
/// What starts the secret of a session's cookie.
pub const SESSION_PREFIX: &str = "placet_session_";
/// No credential is longer.
const CREDENTIAL_MAX: usize = 128;

/// Whom a sign-in link would sign in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvitationView {
    /// Their name.
    pub person_name: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}

/// A session that just began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedIn {
    /// The cookie's secret.
    pub cookie: Credential,
    /// When the session ends by itself.
    pub expires_at: Timestamp,
    /// Whose it is.
    pub name: String,
}

impl Broker {
    /// A new credential and the hash that is stored of it.
    pub(crate) fn credential(&self, prefix: &str) -> (Credential, Sha256Digest) {
        let secret = random_bytes::<32>(self.0.entropy.as_ref());
        let text = format!("{prefix}{}", Sha256Digest::from_bytes(secret));
        let hash = Sha256Digest::of(text.as_bytes());
        (Credential(text), hash)
    }

    /// The agent or pipeline that holds this bearer token.
    pub async fn authenticate_agent(&self, bearer: &str) -> Result<Caller, CallError> {
        let hash = hash_of(bearer, AGENT_PREFIX)?;
        self.trusted().await?;
        let agent = self.0.views.agent_by_token(hash).await?.ok_or(CallError::Unauthenticated)?;
        let directory = self.0.views.directory().await?;
        // The sponsor has to stand too: nobody answers for an agent whose sponsor has gone.
        let agent = directory.active_agent(agent.id).filter(|known| known.token_hash == hash);
        let agent = agent.ok_or(CallError::Unauthenticated)?.clone();
        Ok(Caller { principal: agent.principal(), agent })
    }

    /// The agent or pipeline that this workload is. Whoever asks has proof of that.
    pub async fn agent_of(&self, workload: &Workload) -> Result<Caller, CallError> {
        self.trusted().await?;
        let directory = self.0.views.directory().await?;
        let agent = directory.agent_of(workload).and_then(|agent| directory.active_agent(agent.id));
        let agent = agent.ok_or(CallError::Unauthenticated)?.clone();
        Ok(Caller { principal: agent.principal(), agent })
    }

    /// The person that holds this API token.
    pub async fn reviewer_by_token(&self, bearer: &str) -> Result<Reviewer, CallError> {
        let hash = hash_of(bearer, PERSON_PREFIX)?;
        self.trusted().await?;
        let token = self.0.views.token(hash).await?.ok_or(CallError::Unauthenticated)?;
        if self.now() >= token.expires_at {
            return Err(CallError::Unauthenticated);
        }
        let person = self.active(token.person).await?;
        let verified = VerifiedReviewer {
            person: person.id,
            assurance: Assurance::L1,
            evidence: Evidence::Token(token.id),
            minted_by: token.minted_by.person,
        };
        Ok(Reviewer { verified, name: person.name, session: None, form_token: String::new() })
    }

    /// The person whose session this cookie is, on the host that it began on.
    pub async fn reviewer_by_cookie(&self, cookie: &str, host: &str) -> Result<Reviewer, CallError> {
        let hash = hash_of(cookie, SESSION_PREFIX)?;
        self.trusted().await?;
        let session = self.0.views.session(hash).await?.ok_or(CallError::Unauthenticated)?;
        if self.now() >= session.expires_at || session.host != host {
            return Err(CallError::Unauthenticated);
        }
        let person = self.active(session.person).await?;
        let verified = VerifiedReviewer {
            person: person.id,
            assurance: Assurance::L1,
            evidence: Evidence::Session(session.id),
            minted_by: session.minted_by.person,
        };
        let form_token = self.form_token(session.id)?;
        Ok(Reviewer { verified, name: person.name, session: Some(session), form_token })
    }

    /// Whether what a person was recognised by still stands, read anew.
    pub(crate) async fn still_recognised(&self, reviewer: &Reviewer) -> Result<(), CallError> {
        let stands = match (reviewer.verified.evidence, &reviewer.session) {
            (Evidence::Session(id), Some(session)) => {
                let stored = self.0.views.session(session.secret_hash).await?;
                stored.is_some_and(|stored| stored.id == id && self.now() < stored.expires_at)
            }
            (Evidence::Session(_), None) => false,
            (Evidence::Token(id), _) => {
                let held = self.0.views.tokens_of(reviewer.verified.person).await?;
                held.iter().any(|token| token.id == id && self.now() < token.expires_at)
            }
        };
        if stands { Ok(()) } else { Err(CallError::Unauthenticated) }
    }

    async fn active(&self, id: placet_core::id::PersonId) -> Result<Person, CallError> {
        let directory = self.0.views.directory().await?;
        directory.active_person(id).cloned().ok_or(CallError::Unauthenticated)
    }

    /// What every form of a session has to carry.
    fn form_token(&self, session: SessionId) -> Result<String, CallError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.form_key.expose())
            .map_err(|_| CallError::Internal("the form key does not fit".to_owned()))?;
        mac.update(b"placet/form/v1\0");
        mac.update(session.as_bytes());
        Ok(Sha256Digest::from_bytes(mac.finalize().into_bytes().into()).to_string())
    }

    /// Whom a sign-in link would sign in. Looking does not use it up.
    pub async fn invitation_of(&self, secret: &str) -> Result<InvitationView, CallError> {
        let invitation = self.usable_invitation(secret).await?;
        let person = self.active(invitation.person).await?;
        Ok(InvitationView { person_name: person.name, expires_at: invitation.expires_at })
    }

    async fn usable_invitation(&self, secret: &str) -> Result<placet_core::directory::Invitation, CallError> {
        let hash = hash_of(secret, LINK_PREFIX).map_err(|_| CallError::NotFound)?;
        let invitation = self.0.views.invitation(hash).await?.ok_or(CallError::NotFound)?;
        if invitation.consumed_at.is_some() || self.now() >= invitation.expires_at {
            return Err(CallError::NotFound);
        }
        Ok(invitation)
    }

    /// Uses a sign-in link up and begins a session on this host.
    pub async fn sign_in(&self, secret: &str, host: &str) -> Result<SignedIn, CallError> {
        let mut invitation = match self.usable_invitation(secret).await {
            Ok(invitation) => invitation,
            Err(error @ CallError::NotFound) => {
                self.note_refused_sign_in(secret).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let person = self.active(invitation.person).await?;
        let now = self.now();
        let (cookie, secret_hash) = self.credential(SESSION_PREFIX);
        let session = Session {
            id: SessionId::new(now, self.0.entropy.as_ref()),
            person: person.id,
            secret_hash,
            host: host.to_owned(),
            minted_by: invitation.minted_by.clone(),
            created_at: now,
            expires_at: now.plus(self.0.config.session_lifetime),
        };
        invitation.consumed_at = Some(now);
        let entry =
            signed(Kind::PersonSignedIn, &session).commit("link", Value::string(invitation.id.to_string()));
        let transition = Transition {
            requires: vec![
                Requires::InvitationUnused(invitation.id),
                Requires::Before(invitation.expires_at),
            ],
            writes: vec![Write::Invitation(invitation), Write::Session(session.clone())],
            entries: vec![self.seal(entry)],
        };
        match self.commit_once(transition).await {
            // Somebody else was faster with the same link.
            Err(CallError::Conflict { .. }) => {
                self.note_refused_sign_in(secret).await?;
                Err(CallError::NotFound)
            }
            Err(error) => Err(error),
            Ok(_) => Ok(SignedIn { cookie, expires_at: session.expires_at, name: person.name }),
        }
    }

    /// A link that was used before, or ran out, is worth an entry: somebody may have read it. One that never was is not.
    /// There is one entry a minute for each link, as anyone who has it could fill the ledger.
    async fn note_refused_sign_in(&self, secret: &str) -> Result<(), CallError> {
        let Ok(hash) = hash_of(secret, LINK_PREFIX) else { return Ok(()) };
        let Some(known) = self.0.views.invitation(hash).await? else { return Ok(()) };
        let Some(refused) = self.0.limiter.sign_in_refused(known.id, self.now()) else { return Ok(()) };
        let draft = Draft::new(Kind::SignInRefused)
            .verdict(if known.consumed_at.is_some() { "used" } else { "expired" })
            .commit("link", Value::string(known.id.to_string()))
            .commit("person", Value::string(known.person.to_string()))
            .commit("refused", Value::integer(i64::from(refused)));
        let entries = vec![self.seal(draft)];
        self.commit_once(Transition { entries, ..Transition::default() }).await.map(drop)
    }

    /// Ends the reviewer's session.
    pub async fn sign_out(&self, reviewer: &Reviewer) -> Result<(), CallError> {
        let Some(session) = &reviewer.session else { return Ok(()) };
        let transition = Transition {
            requires: Vec::new(),
            writes: vec![Write::EndSession(session.id)],
            entries: vec![self.seal(signed(Kind::PersonSignedOut, session))],
        };
        match self.commit_once(transition).await {
            // It ended already, which is what was asked for.
            Err(CallError::Conflict { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The operator that the kernel named, with the person that they are known to be.
    pub async fn operator(&self, uid: u32) -> Result<Operator, CallError> {
        let directory = self.0.views.directory().await?;
        let mut known = directory.people.values().filter(|person| person.operator_uid == Some(uid));
        let person = known.find(|person| person.status == Status::Active).map(|person| person.id);
        Ok(Operator { uid, person })
    }
}

fn signed(kind: Kind, session: &Session) -> Draft {
    Draft::new(kind)
        .commit("person", Value::string(session.person.to_string()))
        .commit("session", Value::string(session.id.to_string()))
        .commit("host", Value::string(session.host.as_str()))
        .commit("minted_by_uid", Value::integer(i64::from(session.minted_by.uid)))
}

pub(crate) fn hash_of(credential: &str, prefix: &str) -> Result<Sha256Digest, CallError> {
    if credential.len() > CREDENTIAL_MAX || !credential.starts_with(prefix) {
        return Err(CallError::Unauthenticated);
    }
    Ok(Sha256Digest::of(credential.as_bytes()))
}
