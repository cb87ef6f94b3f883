//! Casting a vote: every refusal, the order in which a reviewer hears of them, and how votes are counted.

use std::collections::BTreeSet;
use std::time::Duration;

use placet_core::action::Principal;
use placet_core::decision::Requirement;
use placet_core::digest::{ActionDigest, Sha256Digest};
use placet_core::directory::Conflict;
use placet_core::id::{SessionId, TokenId};
use placet_core::request::{Request, State, Status};
use placet_core::retry::DENIAL_COOLDOWN;
use placet_core::review::{
    Assurance, Ballot, Evidence, REASON_MAX, Standing, Verdict, VerifiedReviewer, Vote, VoteRefusal, Voted,
    vote,
};
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;

use crate::common::*;

/// A vote on its way. As made by [`Cast::by`], it is accepted.
#[derive(Clone)]
pub(crate) struct Cast {
    pub(crate) reviewer: VerifiedReviewer,
    pub(crate) ballot: Ballot,
    pub(crate) standing: Standing,
}

impl Cast {
    /// An owner in a session votes on what they see.
    pub(crate) fn by(request: &Request, number: u8, verdict: Verdict) -> Self {
        Cast {
            reviewer: VerifiedReviewer {
                person: person(number),
                assurance: Assurance::L1,
                evidence: Evidence::Session(SessionId::from_bytes([number; 16])),
                minted_by: None,
            },
            ballot: Ballot {
                verdict,
                reason: Some(Untrusted::new("I looked")),
                digest: request.canonical.digest(),
                content_version: request.content_version,
                card: Sha256Digest::of(b"card"),
            },
            standing: Standing {
                active: true,
                roles: BTreeSet::from([role("owners")]),
                conflict: None,
                self_review: false,
                vouched: false,
                vouched_counts: false,
                token_may_approve: false,
                assurance_min: Assurance::L1,
            },
        }
    }

    fn on(self, request: Request, now: Timestamp) -> Result<Voted, VoteRefusal> {
        vote(request, &self.reviewer, self.ballot, self.standing, now)
    }
}

fn cast(request: Request, number: u8, verdict: Verdict, now: Timestamp) -> Result<Voted, VoteRefusal> {
    Cast::by(&request, number, verdict).on(request, now)
}

fn counted(voted: Result<Voted, VoteRefusal>) -> Request {
    match voted {
        Ok(Voted::Counted(request)) => request,
        other => panic!("not counted: {other:?}"),
    }
}

fn denied(voted: Result<Voted, VoteRefusal>) -> Request {
    match voted {
        Ok(Voted::Denied(request)) => request,
        other => panic!("not denied: {other:?}"),
    }
}

fn approve(request: Request, number: u8, now: Timestamp) -> Request {
    counted(cast(request, number, Verdict::Approve, now))
}

fn with_veto(veto: u32) -> Request {
    open(action(), asks(Requirement { veto, ..requirement() }))
}

fn voters(request: &Request, now: Timestamp) -> Vec<u8> {
    request.approvals(now).iter().map(|vote| vote.person.as_bytes()[0]).collect()
}

/// A story that ends in a vote, and one thing that makes it refused.
struct Story {
    request: Request,
    cast: Cast,
    now: Timestamp,
}

type Spoil = fn(&mut Story);

/// Every refusal with what leads to it, in the order in which a reviewer hears of them.
const REFUSALS: [(VoteRefusal, Spoil); 12] = [
    (VoteRefusal::OtherDigest, |story| story.cast.ballot.digest = ActionDigest::of_canonical("{}")),
    (VoteRefusal::Decided, |story| story.request.state = State::Expired),
    (VoteRefusal::Late, |story| story.now = after(REVIEW_FOR)),
    (VoteRefusal::ContentMoved, |story| story.cast.ballot.content_version = 2),
    (VoteRefusal::ReasonTooLong, |story| {
        story.cast.ballot.reason = Some(Untrusted::new("x".repeat(REASON_MAX + 1)));
    }),
    (VoteRefusal::Disabled, |story| story.cast.standing.active = false),
    (VoteRefusal::Conflicted(Conflict::OnBehalfOf), |story| {
        story.cast.standing.conflict = Some(Conflict::OnBehalfOf);
    }),
    (VoteRefusal::NoStanding, |story| story.cast.standing.roles.clear()),
    (VoteRefusal::TokenMayNotApprove, |story| {
        story.cast.reviewer.evidence = Evidence::Token(TokenId::from_bytes([2; 16]));
    }),
    (VoteRefusal::AssuranceTooLow, |story| story.cast.standing.assurance_min = Assurance::L2),
    (VoteRefusal::Vouched, |story| story.cast.standing.vouched = true),
    (VoteRefusal::AlreadyVoted, |story| {
        let earlier = approve(pending(), 2, START);
        story.request.votes = earlier.votes;
    }),
];

fn tell(spoils: &[Spoil]) -> Result<Voted, VoteRefusal> {
    let request = pending();
    let cast = Cast::by(&request, 2, Verdict::Approve);
    let mut story = Story { request, cast, now: START };
    for spoil in spoils {
        spoil(&mut story);
    }
    story.cast.on(story.request, story.now)
}

#[test]
fn a_vote_without_fault_is_counted() {
    let request = counted(tell(&[]));
    assert_eq!(request.status(), Status::Pending);
    assert_eq!(request.votes.len(), 1);
}

#[test]
fn every_refusal_has_its_cause() {
    for (refusal, spoil) in REFUSALS {
        assert_eq!(tell(&[spoil]), Err(refusal));
    }
}

#[test]
fn of_two_faults_the_earlier_is_heard() {
    for (position, (refusal, first)) in REFUSALS.into_iter().enumerate() {
        for (later, second) in REFUSALS.into_iter().skip(position + 1) {
            assert_eq!(tell(&[second, first]), Err(refusal), "before {later:?}");
        }
    }
}

#[test]
fn refusals_have_codes_of_their_own() {
    let codes: BTreeSet<&str> = REFUSALS.into_iter().map(|(refusal, _)| refusal.code()).collect();
    assert_eq!(codes.len(), REFUSALS.len());
}

#[test]
fn an_accepted_vote_keeps_what_was_known_of_it() {
    let request = pending();
    let mut cast = Cast::by(&request, 2, Verdict::Approve);
    cast.reviewer.assurance = Assurance::L2;
    cast.standing.vouched = true;
    cast.standing.vouched_counts = true;
    let expected = Vote {
        person: person(2),
        verdict: Verdict::Approve,
        reason: Some(Untrusted::new("I looked")),
        round: 1,
        content_version: 1,
        card: Sha256Digest::of(b"card"),
        roles: BTreeSet::from([role("owners")]),
        assurance: Assurance::L2,
        evidence: cast.reviewer.evidence,
        vouched: true,
        self_reviewed: false,
        at: after(MINUTE),
    };
    let request = counted(cast.on(request, after(MINUTE)));
    assert_eq!(request.votes, [expected]);
    assert_eq!(request.updated_at, after(MINUTE));
    assert_eq!(request.version, 1, "who stores it counts up");
}

#[test]
fn a_reason_may_be_4096_bytes_not_characters() {
    for (reason, fits) in [("x".repeat(4096), true), ("é".repeat(2048), true), ("é".repeat(2049), false)] {
        let request = pending();
        let mut cast = Cast::by(&request, 2, Verdict::Deny);
        cast.ballot.reason = Some(Untrusted::new(reason));
        assert_eq!(cast.on(request, START).is_ok(), fits);
    }
}

#[test]
fn a_vote_on_an_older_or_newer_content_is_refused() {
    let mut request = pending();
    request.content_version = 5;
    for (seen, fits) in [(4, false), (5, true), (6, false)] {
        for verdict in [Verdict::Approve, Verdict::Deny] {
            let mut cast = Cast::by(&request, 2, verdict);
            cast.ballot.content_version = seen;
            assert_eq!(cast.on(request.clone(), START).is_ok(), fits, "{verdict:?} on {seen}");
        }
    }
}

#[test]
fn another_vote_does_not_move_the_content() {
    let request = approve(pending(), 2, START);
    assert_eq!(request.content_version, 1);
    assert_eq!(voters(&approve(request, 3, START), START), [2, 3]);
}

#[test]
fn one_denial_ends_it_and_starts_the_cool_down() {
    let request = denied(cast(approve(pending(), 2, START), 3, Verdict::Deny, after(MINUTE)));
    let State::Denied(denial) = &request.state else { panic!("not denied") };
    assert_eq!(denial.by, person(3));
    assert_eq!(denial.reason, Some(Untrusted::new("I looked")));
    assert_eq!(denial.cooldown_until, after(MINUTE + DENIAL_COOLDOWN));
    assert_eq!(request.votes.len(), 2);
    assert_eq!(cast(request, 4, Verdict::Deny, after(MINUTE)), Err(VoteRefusal::Decided));
}

#[test]
fn an_approver_may_deny_later_and_then_counts_no_more() {
    let request = approve(with_veto(2), 2, START);
    let request = counted(cast(request, 2, Verdict::Deny, after(MINUTE)));
    assert_eq!(voters(&request, after(MINUTE)), [] as [u8; 0]);
    assert_eq!(request.votes.iter().map(|vote| vote.round).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(denied(cast(approve(pending(), 2, START), 2, Verdict::Deny, START)).status(), Status::Denied);
}

#[test]
fn a_veto_of_two_takes_two_people() {
    let once = counted(cast(with_veto(2), 2, Verdict::Deny, START));
    assert_eq!(once.status(), Status::Pending);
    assert_eq!(cast(once.clone(), 2, Verdict::Deny, START), Err(VoteRefusal::AlreadyVoted));
    let twice = denied(cast(once, 3, Verdict::Deny, START));
    let State::Denied(denial) = &twice.state else { panic!("not denied") };
    assert_eq!(denial.by, person(3), "whoever's denial ended it");
}

#[test]
fn a_veto_of_none_is_a_veto_of_one() {
    assert_eq!(denied(cast(with_veto(0), 2, Verdict::Deny, START)).status(), Status::Denied);
}

#[test]
fn a_denial_stands_and_is_never_taken_back() {
    let request = counted(cast(with_veto(2), 2, Verdict::Deny, START));
    for now in [START, after(AGE_MAX), after(AGE_MAX + MILLI), after(REVIEW_FOR - MILLI)] {
        for verdict in [Verdict::Approve, Verdict::Deny] {
            assert_eq!(cast(request.clone(), 2, verdict, now), Err(VoteRefusal::AlreadyVoted), "{now}");
        }
        assert!(!request.vote_is_stale(person(2), now));
        assert_eq!(request.current_vote(person(2), now).map(|vote| vote.verdict), Some(Verdict::Deny));
    }
    // It still blocks when it is older than approvals may be.
    assert_eq!(denied(cast(request, 3, Verdict::Deny, after(AGE_MAX * 2 - MILLI))).status(), Status::Denied);
}

#[test]
fn an_approval_is_renewed_when_it_is_too_old_and_not_before() {
    let request = approve(pending(), 2, START);
    let last = after(AGE_MAX);
    assert_eq!(voters(&request, last), [2], "at the bound it counts");
    assert_eq!(cast(request.clone(), 2, Verdict::Approve, last), Err(VoteRefusal::AlreadyVoted));
    assert!(!request.vote_is_stale(person(2), last));
    let stale = last.plus(MILLI);
    assert_eq!(voters(&request, stale), [] as [u8; 0]);
    assert!(request.vote_is_stale(person(2), stale));
    assert_eq!(request.current_vote(person(2), stale), None);
    let renewed = approve(request, 2, stale);
    assert_eq!(renewed.votes.iter().map(|vote| vote.round).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(voters(&renewed, stale), [2], "one person counts once");
    assert_eq!(cast(renewed.clone(), 2, Verdict::Approve, stale), Err(VoteRefusal::AlreadyVoted));
    // While the second round counts, a denial makes the third.
    let later = stale.plus(AGE_MAX - MILLI * 2);
    assert_eq!(voters(&renewed, later), [2]);
    assert_eq!(denied(cast(renewed, 2, Verdict::Deny, later)).votes.len(), 3);
}

#[test]
fn without_an_age_bound_an_approval_stays() {
    let request = open(action(), asks(Requirement { age_max: None, ..requirement() }));
    let request = approve(request, 2, START);
    let last = after(REVIEW_FOR - MILLI);
    assert_eq!(voters(&request, last), [2]);
    assert_eq!(cast(request, 2, Verdict::Approve, last), Err(VoteRefusal::AlreadyVoted));
}

#[test]
fn a_stale_vote_leaves_the_fresh_ones_alone() {
    let request = approve(pending(), 2, START);
    let request = approve(request, 3, after(MINUTE * 20));
    assert_eq!(voters(&request, after(MINUTE * 25)), [2, 3]);
    assert_eq!(voters(&request, after(MINUTE * 31)), [3]);
    assert_eq!(voters(&request, after(MINUTE * 50)), [3]);
    assert_eq!(voters(&request, after(MINUTE * 51)), [] as [u8; 0]);
}

#[test]
fn a_granted_request_is_denied_by_one_late_denial() {
    for veto in [1, 2] {
        let request = approve(approve(with_veto(veto), 2, START), 3, START);
        let granted = request.redecide(permits(), None, LIFETIMES, START).unwrap();
        let last = Timestamp::from_millis(after(LIFETIMES.grant).as_millis() - 1);
        assert_eq!(cast(granted.clone(), 4, Verdict::Approve, START), Err(VoteRefusal::Decided));
        assert_eq!(denied(cast(granted.clone(), 4, Verdict::Deny, last)).status(), Status::Denied);
        assert_eq!(denied(cast(granted.clone(), 2, Verdict::Deny, START)).votes.len(), 3);
        let lapsed = after(LIFETIMES.grant);
        assert_eq!(cast(granted, 4, Verdict::Deny, lapsed), Err(VoteRefusal::Late), "it has lapsed");
    }
}

#[test]
fn what_has_begun_is_not_denied() {
    for status in [Status::Executing, Status::Succeeded, Status::Failed, Status::Unknown, Status::Lapsed] {
        for verdict in [Verdict::Approve, Verdict::Deny] {
            assert_eq!(cast(request_in(status), 2, verdict, START), Err(VoteRefusal::Decided), "{status:?}");
        }
    }
}

#[test]
fn weak_evidence_may_block_and_not_grant() {
    let weak: [(VoteRefusal, Spoil); 4] = [
        REFUSALS[8],
        REFUSALS[9],
        REFUSALS[10],
        (VoteRefusal::TokenMayNotApprove, |story| {
            (REFUSALS[8].1)(story);
            (REFUSALS[9].1)(story);
            (REFUSALS[10].1)(story);
        }),
    ];
    for (refusal, spoil) in weak {
        assert_eq!(tell(&[spoil]), Err(refusal));
        let voted = tell(&[spoil, |story| story.cast.ballot.verdict = Verdict::Deny]);
        assert_eq!(denied(voted).status(), Status::Denied, "{refusal:?}");
    }
}

#[test]
fn without_standing_nobody_may_block_either() {
    for position in [0, 1, 2, 3, 4, 5, 6, 7] {
        let (refusal, spoil) = REFUSALS[position];
        assert_eq!(tell(&[|story| story.cast.ballot.verdict = Verdict::Deny, spoil]), Err(refusal));
    }
}

#[test]
fn a_token_approves_where_the_bundle_says_so_and_never_above_the_first_level() {
    let with_token: Spoil = |story| {
        story.cast.reviewer.evidence = Evidence::Token(TokenId::from_bytes([2; 16]));
        story.cast.reviewer.assurance = Assurance::L3;
        story.cast.standing.token_may_approve = true;
    };
    let request = counted(tell(&[with_token]));
    assert_eq!(request.votes[0].assurance, Assurance::L1, "whatever its door claimed");
    let strict: Spoil = |story| story.cast.standing.assurance_min = Assurance::L2;
    assert_eq!(tell(&[with_token, strict]), Err(VoteRefusal::AssuranceTooLow));
}

#[test]
fn assurance_is_a_ladder() {
    let levels = [Assurance::L1, Assurance::L2, Assurance::L3];
    for (have, level) in levels.into_iter().enumerate() {
        assert_eq!(Assurance::parse(level.as_str()), Some(level));
        for (needed, minimum) in levels.into_iter().enumerate() {
            let request = pending();
            let mut cast = Cast::by(&request, 2, Verdict::Approve);
            cast.reviewer.assurance = level;
            cast.standing.assurance_min = minimum;
            let voted = cast.on(request, START);
            assert_eq!(voted.is_ok(), have >= needed, "{level:?} for {minimum:?}");
        }
    }
    assert_eq!(Assurance::parse("l1"), None);
}

#[test]
fn a_vouched_vote_counts_only_where_the_bundle_says_so() {
    let vouched: Spoil = |story| story.cast.standing.vouched = true;
    let counts: Spoil = |story| story.cast.standing.vouched_counts = true;
    assert_eq!(tell(&[vouched]), Err(VoteRefusal::Vouched));
    assert!(counted(tell(&[vouched, counts])).votes[0].vouched, "and says so");
    assert!(!counted(tell(&[counts])).votes[0].vouched);
}

#[test]
fn a_sponsor_approves_what_their_agent_asks_only_by_exception() {
    let sponsor = Some(Conflict::Sponsor(agent(1)));
    for (conflict, exception, fits) in [
        (sponsor, true, true),
        (sponsor, false, false),
        // The exception is the sponsor's alone.
        (Some(Conflict::Requester), true, false),
        (Some(Conflict::OnBehalfOf), true, false),
        (Some(Conflict::Owner(agent(1))), true, false),
        (Some(Conflict::Alias(person(1))), true, false),
    ] {
        for verdict in [Verdict::Approve, Verdict::Deny] {
            let request = pending();
            let mut cast = Cast::by(&request, 1, verdict);
            cast.standing.conflict = conflict;
            cast.standing.self_review = exception;
            match cast.on(request, START) {
                Ok(Voted::Counted(request) | Voted::Denied(request)) => {
                    assert!(fits, "{conflict:?}");
                    assert!(request.votes[0].self_reviewed, "and the vote says so");
                }
                Err(refusal) => {
                    assert!(!fits, "{conflict:?}");
                    assert_eq!(refusal, VoteRefusal::Conflicted(conflict.unwrap()));
                    assert_eq!(refusal.code(), "self_approval");
                }
            }
        }
    }
}

#[test]
fn nobody_approves_what_they_submitted_themselves() {
    let mut own = action();
    own.chain.requester = Principal::Person(person(1));
    let request = open(own, asks(requirement()));
    for conflict in [Conflict::Requester, Conflict::OnBehalfOf, Conflict::Sponsor(agent(1))] {
        let mut cast = Cast::by(&request, 1, Verdict::Approve);
        cast.standing.conflict = Some(conflict);
        cast.standing.self_review = true;
        assert_eq!(cast.on(request.clone(), START), Err(VoteRefusal::Conflicted(conflict)));
    }
}

#[test]
fn the_exception_without_a_conflict_marks_nothing() {
    let request = pending();
    let mut cast = Cast::by(&request, 2, Verdict::Approve);
    cast.standing.self_review = true;
    assert!(!counted(cast.on(request, START)).votes[0].self_reviewed);
}

#[test]
fn a_review_ends_at_its_exact_millisecond() {
    for verdict in [Verdict::Approve, Verdict::Deny] {
        let last = after(REVIEW_FOR - Duration::from_millis(1));
        assert!(cast(pending(), 2, verdict, last).is_ok());
        assert_eq!(cast(pending(), 2, verdict, after(REVIEW_FOR)), Err(VoteRefusal::Late));
    }
}

#[test]
fn verdict_words_are_read_back() {
    for verdict in [Verdict::Approve, Verdict::Deny] {
        assert_eq!(Verdict::parse(verdict.as_str()), Some(verdict));
    }
    assert_eq!(Verdict::parse("Approve"), None);
}
