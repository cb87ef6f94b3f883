//! The life of a request: every transition from every state, deadlines to the millisecond, and random lives.

use std::collections::BTreeMap;
use std::time::Duration;

use placet_core::action::PepKind;
use placet_core::decision::{Effect, ForbidReason, Need, Requirement};
use placet_core::digest::Sha256Digest;
use placet_core::id::ExecutionId;
use placet_core::request::{OutcomeKind, Rejection, Reporter, Request, State, Status};
use placet_core::review::{Verdict, VoteRefusal, Voted, vote};
use placet_core::text::Untrusted;
use placet_core::time::Timestamp;
use proptest::prelude::*;

use crate::common::*;
use crate::votes::Cast;

/// What can happen to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    DecidePermit,
    DecideForbid,
    DecideAsk,
    Approve,
    Deny,
    Expire,
    Lapse,
    Cancel,
    Refuse,
    Claim,
    Succeed,
    Fail,
    LoseSight,
    Lose,
    Abandon,
    Resolve,
}

use Event::*;

const EVENTS: [Event; 16] = [
    DecidePermit,
    DecideForbid,
    DecideAsk,
    Approve,
    Deny,
    Expire,
    Lapse,
    Cancel,
    Refuse,
    Claim,
    Succeed,
    Fail,
    LoseSight,
    Lose,
    Abandon,
    Resolve,
];

/// Whether a state's deadline has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Before,
    Due,
}

use When::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Transition(Rejection),
    Vote(VoteRefusal),
}

/// Every arrow of the design's picture, and nothing else. Where an arrow is missing at one time, a clock decides.
const ARROWS: [(Status, Event, When, Status); 25] = [
    (Status::Pending, DecidePermit, Before, Status::Granted),
    (Status::Pending, DecideForbid, Before, Status::Refused),
    (Status::Pending, DecideAsk, Before, Status::Pending),
    (Status::Pending, Approve, Before, Status::Pending),
    (Status::Pending, Deny, Before, Status::Denied),
    (Status::Pending, Expire, Due, Status::Expired),
    (Status::Pending, Cancel, Before, Status::Cancelled),
    (Status::Pending, Cancel, Due, Status::Cancelled),
    (Status::Pending, Refuse, Before, Status::Refused),
    (Status::Pending, Refuse, Due, Status::Refused),
    (Status::Granted, Deny, Before, Status::Denied),
    (Status::Granted, Lapse, Due, Status::Lapsed),
    (Status::Granted, Cancel, Before, Status::Cancelled),
    (Status::Granted, Cancel, Due, Status::Cancelled),
    (Status::Granted, Refuse, Before, Status::Refused),
    (Status::Granted, Refuse, Due, Status::Refused),
    (Status::Granted, Claim, Before, Status::Executing),
    (Status::Executing, Succeed, Before, Status::Succeeded),
    (Status::Executing, Fail, Before, Status::Failed),
    (Status::Executing, LoseSight, Before, Status::Unknown),
    (Status::Executing, Lose, Due, Status::Unknown),
    (Status::Executing, Abandon, Before, Status::Unknown),
    (Status::Executing, Abandon, Due, Status::Unknown),
    // A resolution is no new state. It has no deadline.
    (Status::Unknown, Resolve, Before, Status::Unknown),
    (Status::Unknown, Resolve, Due, Status::Unknown),
];

/// What the event does here, from the picture and, where there is no arrow, the reason why.
fn expected(from: Status, event: Event, when: When) -> Result<Status, Refusal> {
    if let Some((.., to)) =
        ARROWS.iter().find(|(status, arrow, time, _)| (*status, *arrow, *time) == (from, event, when))
    {
        return Ok(*to);
    }
    let rejection = match (from, event, when) {
        (Status::Pending, Approve | Deny, Due) | (Status::Granted, Deny, Due) => {
            return Err(Refusal::Vote(VoteRefusal::Late));
        }
        (_, Approve | Deny, _) => return Err(Refusal::Vote(VoteRefusal::Decided)),
        (Status::Pending, DecidePermit | DecideForbid | DecideAsk, Due)
        | (Status::Granted, Claim, Due)
        | (Status::Executing, Succeed | Fail | LoseSight, Due) => Rejection::TooLate,
        (Status::Pending, Expire, Before)
        | (Status::Granted, Lapse, Before)
        | (Status::Executing, Lose, Before) => Rejection::TooEarly,
        (Status::Executing | Status::Succeeded | Status::Failed | Status::Unknown, Claim, _) => {
            Rejection::AlreadyClaimed
        }
        _ => Rejection::WrongState(from),
    };
    Err(Refusal::Transition(rejection))
}

/// When the grant's evidence has gone: the oldest counted vote and the age that the guards accept.
fn evidence_until(request: &Request, now: Timestamp) -> Option<Timestamp> {
    let age_max = request.requirement()?.age_max?;
    request.approvals(now).iter().map(|vote| vote.at.plus(age_max)).min()
}

fn apply(
    request: Request,
    event: Event,
    voter: u8,
    asked: Requirement,
    now: Timestamp,
) -> Result<Request, Refusal> {
    let cast = |request: Request, verdict: Verdict| {
        let cast = Cast::by(&request, voter, verdict);
        match vote(request, &cast.reviewer, cast.ballot, cast.standing, now) {
            Ok(Voted::Counted(request)) => {
                assert!(matches!(request.status(), Status::Pending | Status::Granted));
                Ok(request)
            }
            Ok(Voted::Denied(request)) => {
                assert_eq!(request.status(), Status::Denied);
                Ok(request)
            }
            Err(refusal) => Err(Refusal::Vote(refusal)),
        }
    };
    let end = |request: Request, kind: OutcomeKind| request.complete(execution_id(), kind, outcome(now), now);
    let moved = match event {
        DecidePermit => {
            let until = evidence_until(&request, now);
            request.redecide(permits(), until, LIFETIMES, now)
        }
        DecideForbid => request.redecide(forbids(), None, LIFETIMES, now),
        DecideAsk => request.redecide(asks(asked), None, LIFETIMES, now),
        Approve => return cast(request, Verdict::Approve),
        Deny => return cast(request, Verdict::Deny),
        Expire => request.expire(now),
        Lapse => request.lapse(now),
        Cancel => request.cancel(now),
        Refuse => request.refuse(forbids(), ForbidReason::ChainBroken, now),
        Claim => request.claim(permits(), execution_id(), claim_value(), PepKind::External, LIFETIMES, now),
        Succeed => end(request, OutcomeKind::Succeeded),
        Fail => end(request, OutcomeKind::Failed),
        LoseSight => end(request, OutcomeKind::Unknown),
        Lose => request.lose(now),
        Abandon => request.abandon("placet restarted", now),
        Resolve => request.resolve(person(2), Untrusted::new("it was deployed"), now),
    };
    moved.map_err(Refusal::Transition)
}

#[test]
fn every_transition_from_every_state_is_as_the_picture_says() {
    for from in Status::ALL {
        let deadline = request_in(from).deadline();
        assert_eq!(deadline.is_some(), from.is_open(), "{from:?}");
        let deadline = deadline.unwrap_or(after(REVIEW_FOR));
        let last = Timestamp::from_millis(deadline.as_millis() - 1);
        for event in EVENTS {
            for (when, now) in
                [(Before, START), (Before, last), (Due, deadline), (Due, deadline.plus(REVIEW_FOR))]
            {
                let request = request_in(from);
                let before = request.clone();
                let got = apply(request, event, 2, requirement(), now);
                assert_eq!(
                    got.as_ref().map(Request::status).map_err(|refusal| *refusal),
                    expected(from, event, when),
                    "{event:?} from {from:?} {when:?}"
                );
                if let Ok(after) = got {
                    assert_eq!(after.updated_at, now, "{event:?} from {from:?}");
                    assert_eq!((after.id, after.version), (before.id, before.version));
                    assert_eq!(after.canonical, before.canonical);
                }
            }
        }
    }
}

#[test]
fn only_open_states_have_arrows_and_ends_have_none() {
    for (from, event, _, to) in ARROWS {
        assert!(from.is_open() || (event == Resolve && from == to), "{from:?} {event:?}");
    }
}

#[test]
fn intake_begins_where_the_first_decision_says() {
    for (decision, status, reviewed, deadline) in [
        (forbids(), Status::Refused, false, None),
        (asks(requirement()), Status::Pending, true, Some(after(REVIEW_FOR))),
        (permits(), Status::Granted, false, Some(after(LIFETIMES.grant))),
    ] {
        let request = open(action(), decision.clone());
        assert_eq!(request.status(), status);
        assert_eq!(request.reviewed, reviewed, "{status:?}");
        assert_eq!(request.deadline(), deadline, "{status:?}");
        assert_eq!((request.version, request.content_version), (1, 1));
        assert_eq!(request.decision, decision);
        assert_eq!((request.created_at, request.updated_at), (START, START));
        assert!(request.votes.is_empty() && request.resolution.is_none());
    }
}

#[test]
fn a_refusal_keeps_its_reason() {
    let State::Refused(reason) = open(action(), forbids()).state else { panic!("not refused") };
    assert_eq!(reason, ForbidReason::Policy);
    let refused = pending().refuse(permits(), ForbidReason::ChainBroken, START).unwrap();
    assert_eq!(refused.state, State::Refused(ForbidReason::ChainBroken));
}

#[test]
fn a_grant_never_outlives_its_evidence() {
    let own = after(LIFETIMES.grant);
    for (until, expected) in [
        (None, own),
        (Some(after(MINUTE)), after(MINUTE)),
        (Some(own), own),
        (Some(own.plus(MILLI)), own),
        // The evidence has gone already: the grant is born too late to be claimed.
        (Some(START), START),
    ] {
        let granted = pending().redecide(permits(), until, LIFETIMES, START).unwrap();
        assert_eq!(granted.deadline(), Some(expected));
        let claim = |now| {
            granted.clone().claim(permits(), execution_id(), claim_value(), PepKind::External, LIFETIMES, now)
        };
        assert_eq!(claim(expected), Err(Rejection::TooLate));
        if expected > START {
            assert!(claim(Timestamp::from_millis(expected.as_millis() - 1)).is_ok());
        }
    }
}

#[test]
fn a_claim_takes_a_decision_that_permits() {
    for decision in [forbids(), asks(requirement())] {
        let claimed = request_in(Status::Granted).claim(
            decision,
            execution_id(),
            claim_value(),
            PepKind::External,
            LIFETIMES,
            START,
        );
        assert_eq!(claimed, Err(Rejection::WrongState(Status::Granted)));
    }
}

#[test]
fn only_the_enforcement_point_that_intercepted_may_claim() {
    for status in Status::ALL {
        for other in [PepKind::Command, PepKind::Mcp] {
            let claimed =
                request_in(status).claim(permits(), execution_id(), claim_value(), other, LIFETIMES, START);
            assert_eq!(claimed, Err(Rejection::NotTheExecutor), "{other:?} {status:?}");
        }
    }
}

#[test]
fn a_repeated_claim_finds_its_execution_and_another_finds_none() {
    let other = Sha256Digest::of(b"other");
    for status in [Status::Executing, Status::Succeeded, Status::Failed, Status::Unknown] {
        let request = request_in(status);
        assert_eq!(request.holds_claim(claim_value()).map(|held| held.id), Some(execution_id()));
        assert_eq!(request.holds_claim(other), None);
        let second = ExecutionId::from_bytes([0xf; 16]);
        let claimed = request.claim(permits(), second, other, PepKind::External, LIFETIMES, START);
        assert_eq!(claimed, Err(Rejection::AlreadyClaimed), "{status:?}");
    }
    for status in [Status::Pending, Status::Granted, Status::Lapsed, Status::Denied] {
        assert_eq!(request_in(status).holds_claim(claim_value()), None, "{status:?}");
    }
}

#[test]
fn a_claim_starts_the_lease() {
    let now = after(MINUTE);
    let claimed = apply(request_in(Status::Granted), Claim, 2, requirement(), now).unwrap();
    let execution = claimed.execution().unwrap();
    assert_eq!(
        (execution.id, execution.claim, execution.executor),
        (execution_id(), claim_value(), PepKind::External)
    );
    assert_eq!((execution.started_at, execution.lease_until), (now, now.plus(LIFETIMES.lease)));
}

#[test]
fn an_outcome_of_another_execution_is_refused_early_and_late() {
    let other = ExecutionId::from_bytes([0xf; 16]);
    for now in [START, after(LIFETIMES.lease)] {
        for kind in [OutcomeKind::Succeeded, OutcomeKind::Failed, OutcomeKind::Unknown] {
            let ended = request_in(Status::Executing).complete(other, kind, outcome(now), now);
            assert_eq!(ended, Err(Rejection::OtherExecution));
        }
    }
}

#[test]
fn what_nobody_reports_is_unknown_and_says_nobody() {
    for event in [Lose, Abandon] {
        let lost =
            apply(request_in(Status::Executing), event, 2, requirement(), after(LIFETIMES.lease)).unwrap();
        let outcome = lost.outcome().unwrap();
        assert_eq!(outcome.reported_by, Reporter::Nobody);
        assert_eq!((outcome.result, outcome.measures.len()), (None, 0));
        assert_eq!(lost.execution().unwrap().id, execution_id());
    }
}

#[test]
fn an_unknown_outcome_is_resolved_once_and_stays_unknown() {
    let resolved = apply(request_in(Status::Unknown), Resolve, 2, requirement(), after(MINUTE)).unwrap();
    assert_eq!(resolved.state, request_in(Status::Unknown).state);
    let resolution = resolved.resolution.clone().unwrap();
    assert_eq!(
        (resolution.by, resolution.text.as_raw(), resolution.at),
        (person(2), "it was deployed", after(MINUTE))
    );
    let again = resolved.resolve(person(3), Untrusted::new("it was not"), after(MINUTE));
    assert_eq!(again, Err(Rejection::AlreadyResolved));
}

#[test]
fn content_moves_only_if_something_else_is_to_be_decided() {
    type Change = fn(&mut Requirement);
    let cases: [(&str, Change, u32); 7] = [
        ("nothing", |_| {}, 1),
        ("who is eligible", |asked| drop(asked.eligible.insert(role("owners"), [person(2)].into())), 1),
        ("the channels", |asked| asked.channels.extend(["inbox".to_owned()]), 1),
        ("a guard's need", |asked| asked.guards[0].needs = Need::Distinct(3), 2),
        ("another guard", |asked| asked.guards[0].id = "other".to_owned(), 2),
        ("the age", |asked| asked.age_max = None, 2),
        ("the veto", |asked| asked.veto = 2, 2),
    ];
    for (name, change, content_version) in cases {
        let mut asked = requirement();
        change(&mut asked);
        let cast = apply(pending(), Approve, 2, requirement(), START).unwrap();
        let moved = cast.redecide(asks(asked.clone()), None, LIFETIMES, START).unwrap();
        assert_eq!(moved.content_version, content_version, "{name}");
        assert_eq!(moved.votes.len(), 1, "{name}: votes are kept");
        assert_eq!(moved.requirement(), Some(&asked), "{name}");
    }
}

#[test]
fn a_new_requirement_may_shorten_the_review_and_never_lengthens_it() {
    for (review_for, expected) in [
        (Duration::from_secs(7200), after(REVIEW_FOR)),
        (REVIEW_FOR, after(REVIEW_FOR)),
        (MINUTE * 10, after(MINUTE * 10)),
        (MINUTE, after(MINUTE)),
    ] {
        let asked = Requirement { review_for, ..requirement() };
        let moved = pending().redecide(asks(asked), None, LIFETIMES, after(MINUTE * 5)).unwrap();
        assert_eq!(moved.deadline(), Some(expected), "counted from intake");
    }
}

#[test]
fn status_words_are_read_back_and_are_those_of_the_interface() {
    let words = "pending granted executing succeeded failed unknown refused denied expired cancelled lapsed";
    assert_eq!(Status::ALL.map(Status::as_str).join(" "), words);
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
        assert_eq!(request_in(status).status(), status);
    }
    assert_eq!(Status::parse("Pending"), None);
    for (word, kind) in [
        ("succeeded", Some(OutcomeKind::Succeeded)),
        ("failed", Some(OutcomeKind::Failed)),
        ("unknown", Some(OutcomeKind::Unknown)),
        ("executing", None),
    ] {
        assert_eq!(OutcomeKind::parse(word), kind);
    }
}

/// One step of a random life: what happens, after how many minutes, by whom, and what policy would ask for.
type Step = (prop::sample::Index, u64, u8, u8, u32);

fn asked(age_minutes: u8, veto: u32) -> Requirement {
    let age_max = (age_minutes > 0).then(|| MINUTE * u32::from(age_minutes) * 10);
    Requirement { age_max, veto, ..requirement() }
}

/// Each person's verdicts so far.
fn by_person(request: &Request) -> BTreeMap<placet_core::id::PersonId, Vec<&placet_core::review::Vote>> {
    let mut votes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for vote in &request.votes {
        votes.entry(vote.person).or_default().push(vote);
    }
    votes
}

fn check_votes(request: &Request, now: Timestamp) -> Result<(), TestCaseError> {
    let approvals = request.approvals(now);
    for (person, votes) in by_person(request) {
        let counted = approvals.iter().filter(|vote| vote.person == person).count();
        let denials = votes.iter().filter(|vote| vote.verdict == Verdict::Deny).count();
        prop_assert!(counted + denials <= 1, "{person} counts {counted} times and denied {denials} times");
        let rounds: Vec<u32> = votes.iter().map(|vote| vote.round).collect();
        prop_assert_eq!(rounds, (1..=votes.len() as u32).collect::<Vec<_>>());
    }
    if let Some(age_max) = request.requirement().and_then(|asked| asked.age_max) {
        prop_assert!(approvals.iter().all(|vote| now.since(vote.at) <= age_max), "a stale vote counts");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_life_leaves_the_picture(
        first in 0..3u8,
        age in 0..4u8,
        veto in 0..4u32,
        steps in prop::collection::vec(any::<Step>().prop_map(|(event, minutes, voter, age, veto)| {
            (event, minutes % 12, voter % 4 + 2, age % 4, veto % 4)
        }), 0..40),
    ) {
        let decision = match first {
            0 => permits(),
            _ => asks(asked(age, veto)),
        };
        let mut request = open(action(), decision);
        let mut now = START;
        for (event, minutes, voter, age, veto) in steps {
            let event = *event.get(&EVENTS);
            now = now.plus(MINUTE * minutes as u32);
            let before = request.clone();
            let evidence = evidence_until(&before, now);
            let Ok(next) = apply(request, event, voter, asked(age, veto), now) else {
                // A refused transition leaves no trace: the store keeps what it had.
                request = before;
                continue;
            };
            let arrow = ARROWS.iter().any(|(from, by, _, to)| {
                (*from, *by) == (before.status(), event)
                    && (*to == next.status() || (event == Deny && next.status() == Status::Pending))
            });
            prop_assert!(arrow, "{:?} --{event:?}--> {:?}", before.status(), next.status());
            if !before.status().is_open() {
                prop_assert_eq!(&next.state, &before.state);
                prop_assert!(before.resolution.is_none() && next.resolution.is_some());
            }
            prop_assert_eq!(next.version, before.version);
            prop_assert!(next.content_version >= before.content_version);
            prop_assert!(next.updated_at >= before.updated_at);
            prop_assert_eq!(next.created_at, before.created_at);
            prop_assert_eq!(&next.action, &before.action);
            prop_assert_eq!(&next.canonical, &before.canonical);
            prop_assert_eq!(next.reviewed, before.reviewed);
            prop_assert!(next.votes.starts_with(&before.votes), "a vote was altered");
            if let (State::Granted(grant), Status::Pending) = (&next.state, before.status()) {
                prop_assert_eq!(grant.minted_at, now);
                prop_assert!(grant.expires_at <= now.plus(LIFETIMES.grant));
                prop_assert!(evidence.is_none_or(|until| grant.expires_at <= until));
            }
            if let (State::Pending(one), State::Pending(other)) = (&before.state, &next.state) {
                prop_assert!(other.expires_at <= one.expires_at);
            }
            if let Effect::Permit = next.decision.effect {
                prop_assert!(next.status() != Status::Pending);
            }
            check_votes(&next, now)?;
            request = next;
        }
    }
}
