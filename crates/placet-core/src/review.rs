//! The human step: a verified person with standing casts a vote.

use std::collections::BTreeSet;

use crate::decision::RoleName;
use crate::digest::{ActionDigest, Sha256Digest};
use crate::directory::Conflict;
use crate::id::{PersonId, SessionId, TokenId};
use crate::request::{Denial, Request, State};
use crate::text::Untrusted;
use crate::time::Timestamp;

/// How sure placet is of who voted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Assurance {
    /// Chat click, link session or API token.
    L1,
    /// Fresh sign-in with a passkey or company account.
    L2,
    /// A passkey's signature over the decision.
    L3,
}

impl Assurance {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::L1 => "L1",
            Assurance::L2 => "L2",
            Assurance::L3 => "L3",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Assurance::L1, Assurance::L2, Assurance::L3].into_iter().find(|level| level.as_str() == text)
    }
}

/// Yes or no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Verdict::Approve, Verdict::Deny].into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// By what a person was recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// A session in the inbox.
    Session(SessionId),
    /// An API token.
    Token(TokenId),
}

/// A person whose credential was checked just now. Channels and doors make it, nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedReviewer {
    /// Who.
    pub person: PersonId,
    /// How sure.
    pub assurance: Assurance,
    /// By what.
    pub evidence: Evidence,
    /// The person who could have signed in in their place: whoever minted the link or token.
    pub minted_by: Option<PersonId>,
}

/// What a reviewer sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ballot {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why; at most [`REASON_MAX`] bytes.
    pub reason: Option<Untrusted>,
    /// What they decide on.
    pub digest: ActionDigest,
    /// Which version of what is to be decided they saw.
    pub content_version: u32,
    /// The card that they were shown.
    pub card: Sha256Digest,
}

/// How many bytes a reason may have.
pub const REASON_MAX: usize = 4096;

/// How a reviewer stands to a request, as policy and directory see it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Whether the person may act at all.
    pub active: bool,
    /// The roles they may vote in.
    pub roles: BTreeSet<RoleName>,
    /// Why they may not, although they have a role.
    pub conflict: Option<Conflict>,
    /// Whether the bundle's exception lets this sponsor approve the agent's action nonetheless.
    pub self_review: bool,
    /// Whether whoever could have signed in in their place is in conflict.
    pub vouched: bool,
    /// Whether the bundle counts vouched votes.
    pub vouched_counts: bool,
    /// Whether the bundle lets API tokens approve.
    pub token_may_approve: bool,
    /// What the bundle asks for at least.
    pub assurance_min: Assurance,
}

/// A vote that was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vote {
    /// Who.
    pub person: PersonId,
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<Untrusted>,
    /// Counts this person's votes on this request: more than one if an old vote was renewed.
    pub round: u32,
    /// Which content they decided on.
    pub content_version: u32,
    /// The card that they were shown.
    pub card: Sha256Digest,
    /// In which roles they stood when they voted.
    pub roles: BTreeSet<RoleName>,
    /// How sure placet was of them.
    pub assurance: Assurance,
    /// By what they were recognised.
    pub evidence: Evidence,
    /// Someone in conflict could have signed in in their place.
    pub vouched: bool,
    /// The bundle's exception let the sponsor approve.
    pub self_reviewed: bool,
    /// When.
    pub at: Timestamp,
}

/// Why a vote was refused. Each is an entry in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefusal {
    /// The person is disabled.
    #[error("this person may not act any more")]
    Disabled,
    /// Nothing is to be decided any more.
    #[error("the request is not waiting for a review any more")]
    Decided,
    /// The review's deadline has passed, or for a late denial the grant's.
    #[error("the deadline has passed")]
    Late,
    /// The digest is of another action.
    #[error("the vote names another action")]
    OtherDigest,
    /// What is to be decided has changed since.
    #[error("what is to be decided has changed: read it again")]
    ContentMoved,
    /// The reviewer decides on what is theirs.
    #[error("nobody decides on what is theirs: this person is the request's {}", .0.as_str())]
    Conflicted(Conflict),
    /// No role.
    #[error("this person has no role in this review")]
    NoStanding,
    /// They voted already, and the vote still counts.
    #[error("this person has voted on it already")]
    AlreadyVoted,
    /// Not sure enough of who they are.
    #[error("approving this takes a stronger sign-in")]
    AssuranceTooLow,
    /// Someone in conflict could have signed in in their place.
    #[error("the sign-in link came from somebody who may not decide on this")]
    Vouched,
    /// A token may only read and deny.
    #[error("an API token may not approve under the active policy")]
    TokenMayNotApprove,
    /// The reason is too long.
    #[error("the reason is longer than 4096 bytes")]
    ReasonTooLong,
}

impl VoteRefusal {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            VoteRefusal::Disabled => "disabled",
            VoteRefusal::Decided => "already_decided",
            VoteRefusal::Late => "late",
            VoteRefusal::OtherDigest => "other_digest",
            VoteRefusal::ContentMoved => "content_moved",
            VoteRefusal::Conflicted(_) => "self_approval",
            VoteRefusal::NoStanding => "no_standing",
            VoteRefusal::AlreadyVoted => "already_voted",
            VoteRefusal::AssuranceTooLow => "assurance_too_low",
            VoteRefusal::Vouched => "vouched",
            VoteRefusal::TokenMayNotApprove => "token_may_not_approve",
            VoteRefusal::ReasonTooLong => "reason_too_long",
        }
    }
}

/// What a vote led to, before policy was asked again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Voted {
    /// The vote is on record; policy decides whether it is enough.
    Counted(Request),
    /// The denial ended the request.
    Denied(Request),
}

/// Casts a vote: the whole rule, in the order in which a reviewer should hear of it.
pub fn vote(
    request: Request,
    reviewer: &VerifiedReviewer,
    ballot: Ballot,
    standing: Standing,
    now: Timestamp,
) -> Result<Voted, VoteRefusal> {
    check_ballot(&request, &ballot, now)?;
    check_standing(&request, reviewer, ballot.verdict, &standing)?;
    // An approval may be taken back at any time, and renewed once it is too old to count. A denial stands.
    if request
        .current_vote(reviewer.person, now)
        .is_some_and(|held| held.verdict == Verdict::Deny || ballot.verdict == Verdict::Approve)
    {
        return Err(VoteRefusal::AlreadyVoted);
    }
    let earlier =
        request.votes.iter().filter(|vote| vote.person == reviewer.person).map(|vote| vote.round).max();
    let vote = Vote {
        person: reviewer.person,
        verdict: ballot.verdict,
        reason: ballot.reason,
        round: earlier.map_or(1, |round| round.saturating_add(1)),
        content_version: ballot.content_version,
        card: ballot.card,
        self_reviewed: standing.conflict.is_some(),
        vouched: standing.vouched,
        roles: standing.roles,
        assurance: proven(reviewer),
        evidence: reviewer.evidence,
        at: now,
    };
    Ok(record(request, vote, now))
}

fn check_ballot(request: &Request, ballot: &Ballot, now: Timestamp) -> Result<(), VoteRefusal> {
    if ballot.digest != request.canonical.digest() {
        return Err(VoteRefusal::OtherDigest);
    }
    match &request.state {
        State::Pending(pending) if now >= pending.expires_at => return Err(VoteRefusal::Late),
        State::Pending(_) => {}
        State::Granted(grant) if ballot.verdict == Verdict::Deny && now >= grant.expires_at => {
            return Err(VoteRefusal::Late);
        }
        // A denial may still stop what nobody has begun.
        State::Granted(_) if ballot.verdict == Verdict::Deny => {}
        _ => return Err(VoteRefusal::Decided),
    }
    if ballot.content_version != request.content_version {
        return Err(VoteRefusal::ContentMoved);
    }
    if ballot.reason.as_ref().is_some_and(|reason| reason.as_raw().len() > REASON_MAX) {
        return Err(VoteRefusal::ReasonTooLong);
    }
    Ok(())
}

fn check_standing(
    request: &Request,
    reviewer: &VerifiedReviewer,
    verdict: Verdict,
    standing: &Standing,
) -> Result<(), VoteRefusal> {
    if !standing.active {
        return Err(VoteRefusal::Disabled);
    }
    if let Some(conflict) = standing.conflict {
        // The exception is for the sponsor of what an agent did by itself: never for what a person submitted, never
        // for another kind of conflict.
        let sponsors_it = matches!(conflict, Conflict::Sponsor(_));
        let agent_asked = request.action.chain.requester.agent().is_some();
        if !(standing.self_review && sponsors_it && agent_asked) {
            return Err(VoteRefusal::Conflicted(conflict));
        }
    }
    if standing.roles.is_empty() {
        return Err(VoteRefusal::NoStanding);
    }
    if verdict == Verdict::Deny {
        // Weak evidence may block; only strong evidence may grant.
        return Ok(());
    }
    if matches!(reviewer.evidence, Evidence::Token(_)) && !standing.token_may_approve {
        return Err(VoteRefusal::TokenMayNotApprove);
    }
    if proven(reviewer) < standing.assurance_min {
        return Err(VoteRefusal::AssuranceTooLow);
    }
    if standing.vouched && !standing.vouched_counts {
        return Err(VoteRefusal::Vouched);
    }
    Ok(())
}

/// How sure placet may be: a token never proves more than that somebody has it.
fn proven(reviewer: &VerifiedReviewer) -> Assurance {
    match reviewer.evidence {
        Evidence::Session(_) => reviewer.assurance,
        Evidence::Token(_) => Assurance::L1,
    }
}

fn record(mut request: Request, vote: Vote, now: Timestamp) -> Voted {
    let (verdict, person, reason) = (vote.verdict, vote.person, vote.reason.clone());
    request.votes.push(vote);
    request.updated_at = now;
    if verdict == Verdict::Approve {
        return Voted::Counted(request);
    }
    let deniers: BTreeSet<PersonId> =
        request.votes.iter().filter(|vote| vote.verdict == Verdict::Deny).map(|vote| vote.person).collect();
    // A grant asks for nothing any more, so a late denial needs no second one.
    let veto = request.requirement().map_or(1, |requirement| requirement.veto);
    if deniers.len() < veto as usize {
        return Voted::Counted(request);
    }
    let denial = Denial { by: person, reason, cooldown_until: now.plus(crate::retry::DENIAL_COOLDOWN) };
    request.end(State::Denied(denial), now);
    Voted::Denied(request)
}
