//! The human step: lists, one review, votes, and what a vote leads to.

use placet_core::action::Principal;
use placet_core::c14n::Value;
use placet_core::decision::{Decision, Effect, ForbidReason, Tally};
use placet_core::digest::{ActionDigest, Sha256Digest, ShortCode};
use placet_core::directory::Session;
use placet_core::entry::{Kind, Sealed};
use placet_core::id::{PersonId, RequestId};
use placet_core::request::{Request, State, Status};
use placet_core::review::{Ballot, REASON_MAX, Verdict, VerifiedReviewer, Vote, VoteRefusal, Voted, vote};
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;
use placet_policy::Judgement;
use placet_store::{EntryFilter, PAGE_MAX, RequestFilter, Requires, StoredEntry, Transition, Write};

use crate::beside::{Compared, PinnedTool, pinned_tool};
use crate::card::{Card, card};
use crate::error::{Attempt, CallError, rejected, vote_refused};
use crate::explain::ToldDecision;
use crate::show::name_of;
use crate::{Broker, Seen, Snapshot, attempts, drafts, successor};

/// A person who was recognised just now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reviewer {
    /// Who, how sure, by what.
    pub verified: VerifiedReviewer,
    /// Their name.
    pub name: String,
    /// Their session; none with an API token.
    pub session: Option<Session>,
    /// What every form of this session has to carry.
    pub form_token: String,
}

/// Which reviews to list.
#[derive(Clone, Debug, Default)]
pub struct ReviewFilter {
    /// Only in these states; all if empty.
    pub statuses: Vec<Status>,
    /// Only those that the reviewer may decide on.
    pub mine: bool,
    /// Only those older than this one.
    pub before: Option<RequestId>,
    /// At most so many.
    pub limit: usize,
}

/// One line of a list of reviews.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReviewLine {
    /// The request.
    pub seen: Seen,
    /// Whether the reviewer may still decide on it.
    pub may_vote: bool,
    /// What they said already.
    pub my_vote: Option<Verdict>,
}

/// One review, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Review {
    /// The request.
    pub seen: Seen,
    /// What is to be decided on.
    pub card: Card,
    /// What a vote on it has to name.
    pub card_hash: Sha256Digest,
    /// What the reviewer may do.
    pub standing: MyStanding,
    /// Who voted what.
    pub votes: Vec<VoteLine>,
    /// What happened, oldest first.
    pub timeline: Vec<StoredEntry>,
    /// Why policy decided as it did, oldest first.
    pub decisions: Vec<ToldDecision>,
    /// What is different from the last similar call that was approved, if there was one.
    pub compared: Option<Compared>,
    /// The definition of the tool that would be called, if it is one.
    pub tool: Option<PinnedTool>,
}

/// What a reviewer may do with a review.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MyStanding {
    /// Whether they may approve, or why not.
    pub approve: Result<(), VoteRefusal>,
    /// Whether they may deny, or why not.
    pub deny: Result<(), VoteRefusal>,
    /// Whether it is theirs, and only the bundle's exception lets them.
    pub self_review: bool,
}

/// A vote as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoteLine {
    /// Who.
    pub name: String,
    /// The vote.
    pub vote: Vote,
    /// Whether it is among those that count now.
    pub counted: bool,
}

/// A ballot as it comes through a door.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BallotInput {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// The digest they decide on.
    pub digest: String,
    /// The content version they saw.
    pub content_version: u32,
    /// The hash of the card they saw.
    pub card: String,
}

impl Broker {
    /// Reviews, newest first. Requests that policy decided alone are not among them.
    pub async fn reviews(
        &self,
        reviewer: &Reviewer,
        filter: ReviewFilter,
    ) -> Result<Vec<ReviewLine>, CallError> {
        let snapshot = self.snapshot().await?;
        let limit = filter.limit.clamp(1, PAGE_MAX);
        let mut lines = Vec::new();
        let mut before = filter.before;
        // Without `mine` every request of a page is a line.
        let chunk = if filter.mine { PAGE_MAX } else { limit };
        // Nobody may decide on anything else, and the past is long.
        let decidable = |status: &Status| matches!(status, Status::Pending | Status::Granted);
        let wanted: Vec<Status> =
            if filter.statuses.is_empty() { Status::ALL.to_vec() } else { filter.statuses };
        let wanted: Vec<Status> =
            wanted.into_iter().filter(|status| !filter.mine || decidable(status)).collect();
        if wanted.is_empty() {
            return Ok(lines);
        }
        loop {
            let statuses = wanted.clone();
            let page = RequestFilter { principal: None, statuses, reviewed_only: true, before, limit: chunk };
            let page = self.0.views.requests(page).await?;
            let whole = page.len() == chunk;
            before = page.last().map(|stored| stored.request.id);
            for stored in page {
                let may = |verdict| would_count(&stored.request, reviewer, &snapshot, verdict).is_ok();
                let may_vote =
                    decidable(&stored.request.status()) && (may(Verdict::Deny) || may(Verdict::Approve));
                if filter.mine && !may_vote {
                    continue;
                }
                let person = reviewer.verified.person;
                let my_vote = stored.request.votes.iter().rev().find(|vote| vote.person == person);
                let my_vote = my_vote.map(|vote| vote.verdict);
                lines.push(ReviewLine { may_vote, my_vote, seen: snapshot.seen(stored) });
                if lines.len() == limit {
                    return Ok(lines);
                }
            }
            if !whole {
                return Ok(lines);
            }
        }
    }

    /// One review.
    pub async fn review(&self, reviewer: &Reviewer, id: RequestId) -> Result<Review, CallError> {
        let stored = self.stored(id).await?;
        let snapshot = self.snapshot().await?;
        let card = self.shown(&stored.request, &snapshot).await?;
        let timeline = self.timeline(id).await?;
        let decisions = self.told(&timeline).await?;
        Ok(Review {
            card_hash: card.hash(),
            standing: my_standing(&stored.request, reviewer, &snapshot),
            votes: vote_lines(&stored.request, &snapshot),
            compared: self.compared(&stored.request).await?,
            tool: pinned_tool(&stored.request.action, &snapshot.bundle),
            seen: self.seen(stored).await?,
            card,
            timeline,
            decisions,
        })
    }

    /// What happened, oldest first. Where it is too much for one page, what anybody can repeat is left out: no caller
    /// pushes a vote or a decision out of sight.
    pub(crate) async fn timeline(&self, id: RequestId) -> Result<Vec<StoredEntry>, CallError> {
        let mut filter = EntryFilter { request: Some(id), limit: PAGE_MAX, ..EntryFilter::default() };
        let mut newest = self.0.views.entries(filter.clone()).await?;
        if newest.len() == PAGE_MAX {
            let repeatable = [Kind::RequestAttached, Kind::ClaimRefused, Kind::VoteRefused];
            filter.kinds = Kind::ALL.into_iter().filter(|kind| !repeatable.contains(kind)).collect();
            newest = self.0.views.entries(filter).await?;
        }
        newest.reverse();
        Ok(newest)
    }

    /// The review that a short code finds.
    pub async fn review_by_code(&self, reviewer: &Reviewer, code: &str) -> Result<Review, CallError> {
        let code = ShortCode::parse(code).map_err(|_| CallError::NotFound)?;
        let stored = self.0.views.request_by_code(code).await?.ok_or(CallError::NotFound)?;
        self.review(reviewer, stored.request.id).await
    }

    /// Casts a vote. A refused vote is an entry too, and leaves everything else as it is.
    pub async fn vote(
        &self,
        reviewer: &Reviewer,
        id: RequestId,
        input: BallotInput,
        channel: &'static str,
    ) -> Result<Seen, CallError> {
        self.take_call(Principal::Person(reviewer.verified.person)).await?;
        let ballot = ballot(input)?;
        let _turn = self.0.locks.lock(id.as_bytes()).await;
        let denied = attempts(|| self.try_vote(reviewer, id, &ballot, channel)).await?;
        if let Some(action) = denied {
            self.0.limiter.denied(&action, self.now());
        }
        self.seen(self.stored(id).await?).await
    }

    /// One attempt. Gives the action if the vote ended it in a denial.
    async fn try_vote(
        &self,
        reviewer: &Reviewer,
        id: RequestId,
        ballot: &Ballot,
        channel: &'static str,
    ) -> Result<Option<placet_core::action::ActionRequest>, Attempt> {
        let request = self.stored(id).await?.request;
        let snapshot = self.snapshot().await?;
        // After the snapshot: whatever ends a session or a token moves the directory's epoch too. The disabled are told so.
        let active = snapshot.directory.active_person(reviewer.verified.person).is_some();
        if let (true, Err(error)) = (active, self.still_recognised(reviewer).await) {
            let entry = drafts::vote_refused(&request, &reviewer.verified, error.code(), channel);
            self.commit(Transition { entries: vec![self.seal(entry)], ..Transition::default() }).await?;
            return Err(Attempt::Failed(error));
        }
        let shown = self.shown(&request, &snapshot).await?;
        let standing = snapshot.standing(&request, &reviewer.verified, ballot.verdict);
        let (version, deadline) = (request.version, request.deadline());
        let before = request.clone();
        let voted = vote(request, &reviewer.verified, ballot.clone(), standing, snapshot.now);
        let voted =
            if voted.is_ok() && ballot.card != shown.hash() { Err(VoteRefusal::ContentMoved) } else { voted };
        let voted = match voted {
            Ok(voted) => voted,
            Err(refusal) => {
                let entry =
                    self.seal(drafts::vote_refused(&before, &reviewer.verified, refusal.code(), channel));
                self.commit(Transition { entries: vec![entry], ..Transition::default() }).await?;
                return Err(Attempt::Failed(vote_refused(refusal, id)));
            }
        };
        let mut requires = snapshot.requires();
        requires.extend(deadline.map(Requires::Before));
        let mut writes = vec![Write::Card { hash: shown.hash(), request: id, bytes: shown.to_bytes() }];
        let (next, entries) = match voted {
            Voted::Denied(next) => {
                let entries = self.vote_entries(&next, channel);
                (next, entries)
            }
            Voted::Counted(next) => self.after_vote(next, &snapshot, channel, &mut requires)?,
        };
        let denied = (next.status() == Status::Denied).then(|| next.action.clone());
        writes.push(successor(version, next));
        self.commit(Transition { requires, writes, entries }).await?;
        Ok(denied)
    }

    /// The card that shows a request now. Once it is decided that is the card it was decided on, as it was kept.
    async fn shown(&self, request: &Request, snapshot: &Snapshot) -> Result<Card, CallError> {
        let deciding = request.votes.last().filter(|_| request.status() != Status::Pending);
        if let Some(vote) = deciding {
            let kept = self.0.views.card(vote.card).await?;
            if let Some(kept) = kept.and_then(|bytes| Card::from_bytes(&bytes)) {
                return Ok(kept);
            }
        }
        Ok(card(request, snapshot))
    }

    fn vote_entries(&self, request: &Request, channel: &'static str) -> Vec<Sealed> {
        let latest = request.votes.last();
        latest.map(|vote| self.seal(drafts::vote_cast(request, vote, channel))).into_iter().collect()
    }

    /// A vote is on record: policy decides whether the evidence is complete.
    fn after_vote(
        &self,
        request: Request,
        snapshot: &Snapshot,
        channel: &'static str,
        requires: &mut Vec<Requires>,
    ) -> Result<(Request, Vec<Sealed>), Attempt> {
        let mut entries = self.vote_entries(&request, channel);
        if request.status() != Status::Pending {
            return Ok((request, entries));
        }
        let judgement = self.judge(&request, snapshot);
        let id = request.id;
        let next = request
            .redecide(
                judgement.decision.clone(),
                judgement.evidence_until,
                self.0.config.lifetimes,
                snapshot.now,
            )
            .map_err(|rejection| rejected(rejection, id))?;
        if next.status() == Status::Granted {
            requires.push(Requires::SteadyClock);
        }
        entries.push(self.seal(drafts::decided(&next, &judgement, "vote")));
        if next.status() == Status::Refused {
            entries.push(self.seal(drafts::ended(Kind::RequestRefusedLater, &next)));
        }
        Ok((next, entries))
    }

    /// Policy's word on a stored request as it stands now: with the bundle, the people and the votes of now.
    pub(crate) fn judge(&self, request: &Request, snapshot: &Snapshot) -> Judgement {
        let votes = request.standing_votes(snapshot.now);
        match snapshot.bundle.facts_again(&request.action) {
            Ok(facts) => snapshot.decide(&request.action, &facts, request.grade, &votes, self.evaluation()),
            Err(refusal) => Judgement {
                decision: Decision {
                    evaluation: self.evaluation(),
                    bundle: snapshot.bundle.digest(),
                    at: snapshot.now,
                    effect: Effect::Forbid(ForbidReason::BadFacts(refusal.to_string())),
                    because: Vec::new(),
                },
                tally: Tally::default(),
                evidence_until: None,
                inputs: Value::Null,
                explained: Vec::new(),
                hint: Some("the call maps to something else under the bundle in force now".to_owned()),
            },
        }
    }

    /// A named person says what an unknown outcome really was.
    pub async fn resolve(&self, reviewer: &Reviewer, id: RequestId, text: String) -> Result<Seen, CallError> {
        if text.trim().is_empty() || text.len() > REASON_MAX {
            return Err(CallError::invalid("bad_text", "write 1 to 4096 bytes", "/text"));
        }
        self.take_call(Principal::Person(reviewer.verified.person)).await?;
        let text = Untrusted::new(text);
        let _turn = self.0.locks.lock(id.as_bytes()).await;
        attempts(|| async {
            let request = self.stored(id).await?.request;
            let snapshot = self.snapshot().await?;
            self.still_recognised(reviewer).await?;
            let person = reviewer.verified.person;
            if snapshot.directory.active_person(person).is_none() {
                return Err(Attempt::Failed(vote_refused(VoteRefusal::Disabled, id)));
            }
            let version = request.version;
            let next = request
                .resolve(person, text.clone(), snapshot.now)
                .map_err(|rejection| rejected(rejection, id))?;
            let entries = vec![self.seal(drafts::resolved(&next, person, &text))];
            let writes = vec![successor(version, next)];
            self.commit(Transition { requires: snapshot.requires(), writes, entries }).await?;
            Ok(())
        })
        .await?;
        self.seen(self.stored(id).await?).await
    }

    /// Ledger entries with what they disclose, newest first.
    pub async fn entries(&self, filter: EntryFilter) -> Result<Vec<StoredEntry>, CallError> {
        Ok(self.0.views.entries(filter).await?)
    }
}

fn ballot(input: BallotInput) -> Result<Ballot, CallError> {
    let digest = ActionDigest::parse(&input.digest)
        .map_err(|error| CallError::invalid("bad_digest", error.to_string(), "/digest"))?;
    let card = Sha256Digest::parse(&input.card)
        .map_err(|error| CallError::invalid("bad_card", error.to_string(), "/card"))?;
    let reason = input.reason.filter(|reason| !reason.trim().is_empty()).map(Untrusted::new);
    Ok(Ballot { verdict: input.verdict, reason, digest, content_version: input.content_version, card })
}

/// What a vote of theirs would get right now, without casting one.
fn my_standing(request: &Request, reviewer: &Reviewer, snapshot: &Snapshot) -> MyStanding {
    let own = snapshot.standing(request, &reviewer.verified, Verdict::Approve);
    MyStanding {
        approve: would_count(request, reviewer, snapshot, Verdict::Approve),
        deny: would_count(request, reviewer, snapshot, Verdict::Deny),
        self_review: own.conflict.is_some() && own.self_review,
    }
}

/// Whether this vote of theirs would count right now, or why not.
fn would_count(
    request: &Request,
    reviewer: &Reviewer,
    snapshot: &Snapshot,
    verdict: Verdict,
) -> Result<(), VoteRefusal> {
    let ballot = Ballot {
        verdict,
        reason: None,
        digest: request.canonical.digest(),
        content_version: request.content_version,
        card: Sha256Digest::of(b""),
    };
    let standing = snapshot.standing(request, &reviewer.verified, verdict);
    vote(request.clone(), &reviewer.verified, ballot, standing, snapshot.now).map(drop)
}

fn vote_lines(request: &Request, snapshot: &Snapshot) -> Vec<VoteLine> {
    let counted: std::collections::BTreeSet<PersonId> = match request.state {
        State::Pending(_) => snapshot.tally(request).people,
        _ => request.approvals(last_moment(request)).into_iter().map(|vote| vote.person).collect(),
    };
    let line = |vote: &Vote| VoteLine {
        name: name_of(Principal::Person(vote.person), &snapshot.directory),
        counted: vote.verdict == Verdict::Deny || counted.contains(&vote.person),
        vote: vote.clone(),
    };
    request.votes.iter().map(line).collect()
}

fn last_moment(request: &Request) -> Timestamp {
    request.updated_at
}
