//! From broker's shapes to the wire's: one function a document, nothing decided.

use placet_api::entry::EntryDocument;
use placet_api::intake::Resource;
use placet_api::policy::{DecisionTold, ExplanationDocument, PartTold, PolicyTold};
use placet_api::request::{
    BecausePart, DecisionPart, DenialPart, ExecutionPart, GrantPart, GuardPart, LedgerPart, NeedPart,
    OutcomePart, PrincipalRef, ProgressPart, RecordingPart, RequestDocument, RequirementPart, ReviewPart,
};
use placet_api::review::{
    CardActor, CardDocument, CardGuard, ChangePart, ComparedPart, Fact, ReviewDocument, ReviewLine,
    StandingPart, TimelineLine, ToolPart, VerdictWord, VoteLine,
};
use placet_broker::Seen;
use placet_broker::beside::{Change, Compared, PinnedTool, ToolShown};
use placet_broker::card::Card;
use placet_broker::explain::{Told, ToldDecision};
use placet_broker::review::{MyStanding, Review};
use placet_core::action::{Principal, ResourceRef};
use placet_core::decision::{Condition, Decision, Effect, Need, Requirement, Tally};
use placet_core::directory::Directory;
use placet_core::request::{Request, State, Status};
use placet_core::review::Verdict;
use placet_core::text::visible;
use placet_store::StoredEntry;

use crate::app::App;
use crate::timeline;

/// A request for machines: texts are exact, whoever prints them has to make them visible.
pub(crate) fn request(app: &App, seen: &Seen) -> RequestDocument {
    let request = &seen.stored.request;
    RequestDocument {
        id: request.id.to_string(),
        version: request.version,
        content_version: request.content_version,
        status: request.status().into(),
        digest: request.canonical.digest().to_string(),
        short_code: request.short_code.to_string(),
        pep: request.action.pep.as_str().to_owned(),
        grade: request.grade.as_str().to_owned(),
        action: request.action.action.to_string(),
        resource: resource(&request.action.resource),
        canonical: request.canonical.as_str().to_owned(),
        principal: principal(request.requester(), Some(&seen.requester_name)),
        actor_chain: chain(seen),
        created_at: request.created_at.to_string(),
        updated_at: request.updated_at.to_string(),
        expires_at: request.deadline().map(|deadline| deadline.to_string()),
        review: request.reviewed.then(|| review_part(app, seen)),
        decision: decision(&request.decision),
        denial: denial(request),
        grant: match &request.state {
            State::Granted(grant) => Some(GrantPart { expires_at: grant.expires_at.to_string() }),
            _ => None,
        },
        execution: execution(request),
        outcome: outcome(request),
        ledger: LedgerPart { entries: seen.stored.entries.clone() },
    }
}

pub(crate) fn resource(resource: &ResourceRef) -> Resource {
    Resource { kind: resource.kind().to_owned(), id: resource.id().to_owned() }
}

pub(crate) fn execution(request: &Request) -> Option<ExecutionPart> {
    request.execution().map(|execution| ExecutionPart {
        id: execution.id.to_string(),
        started_at: execution.started_at.to_string(),
        outcome_deadline: execution.lease_until.to_string(),
    })
}

/// Who it is, by the name that they have now.
pub(crate) fn named(who: Principal, directory: &Directory) -> PrincipalRef {
    let name = match who {
        Principal::Agent(id) | Principal::Pipeline(id) => directory.agents.get(&id).map(|agent| &agent.name),
        Principal::Person(id) => directory.people.get(&id).map(|person| &person.name),
    };
    principal(who, name.map(String::as_str))
}

fn principal(principal: Principal, name: Option<&str>) -> PrincipalRef {
    PrincipalRef {
        kind: principal.kind().to_owned(),
        id: principal.to_string(),
        name: name.map(str::to_owned),
    }
}

fn chain(seen: &Seen) -> Vec<PrincipalRef> {
    let chain = &seen.stored.request.action.chain;
    let mut links = vec![principal(chain.requester, Some(&seen.requester_name))];
    links.extend(chain.through.iter().map(|through| principal(*through, None)));
    links.push(principal(Principal::Person(chain.on_behalf_of), Some(&seen.on_behalf_of_name)));
    links
}

fn review_part(app: &App, seen: &Seen) -> ReviewPart {
    let request = &seen.stored.request;
    let roles = seen.tally.roles.iter().map(|(role, count)| (role.to_string(), *count)).collect();
    ReviewPart {
        url: app.review_url(request),
        requirement: request.requirement().map(|needs| requirement(needs, &seen.tally)),
        progress: (request.status() == Status::Pending).then(|| ProgressPart {
            approvals: u32::try_from(seen.tally.people.len()).unwrap_or(u32::MAX),
            roles,
        }),
    }
}

fn requirement(requirement: &Requirement, tally: &Tally) -> RequirementPart {
    let guards = requirement.guards.iter().map(|guard| GuardPart {
        id: guard.id.clone(),
        title: guard.title.clone(),
        because: guard.because.clone(),
        needs: need(&guard.needs, tally),
    });
    RequirementPart { guards: guards.collect(), channels: requirement.channels.iter().cloned().collect() }
}

/// Counts and roles; the text of conditions is policy's, and agents do not read policy.
fn need(need_: &Need, tally: &Tally) -> NeedPart {
    let parts = |parts: &[Need]| parts.iter().map(|part| need(part, tally)).collect();
    match need_ {
        Need::All(all) => NeedPart::All(parts(all)),
        Need::Any(any) => NeedPart::Any(parts(any)),
        Need::AtLeast { count, role, assurance } => NeedPart::AtLeast {
            count: *count,
            have: tally.count(role, *assurance),
            role: role.to_string(),
            assurance: assurance.map(|level| level.as_str().to_owned()),
        },
        Need::Distinct(count) => {
            NeedPart::Distinct { count: *count, have: u32::try_from(tally.people.len()).unwrap_or(u32::MAX) }
        }
        Need::Within(age) => NeedPart::WithinSeconds(age.as_secs()),
        Need::Data(condition) => NeedPart::Condition { holds: condition.holds },
    }
}

pub(crate) fn decision(decision: &Decision) -> DecisionPart {
    let effect = match decision.effect {
        Effect::Permit => "permit",
        Effect::Forbid(_) => "forbid",
        Effect::RequireApproval(_) => "ask",
    };
    let because = decision.because.iter().map(|because| BecausePart {
        policy: because.policy.clone(),
        title: because.title.clone(),
        reason: because.text.clone(),
    });
    DecisionPart {
        effect: effect.to_owned(),
        because: because.collect(),
        bundle: decision.bundle.to_string(),
        evaluation_id: decision.evaluation.to_string(),
    }
}

/// Why not, for every way of ending in no.
fn denial(request: &Request) -> Option<DenialPart> {
    let part = |code: &str, reason: Option<String>, retryable| DenialPart {
        code: code.to_owned(),
        reason,
        retryable,
        cooldown_until: None,
    };
    match &request.state {
        // The same call would get the same answer from the same policy.
        State::Refused(reason) => Some(part(reason.code(), Some(reason.sentence()), false)),
        State::Denied(denial) => Some(DenialPart {
            cooldown_until: Some(denial.cooldown_until.to_string()),
            ..part("denied", denial.reason.as_ref().map(|reason| reason.as_raw().to_owned()), true)
        }),
        State::Expired => Some(part("expired", Some("Nobody decided in time.".to_owned()), true)),
        State::Cancelled => Some(part("cancelled", Some("The requester withdrew it.".to_owned()), true)),
        State::Lapsed => Some(part("lapsed", Some("Nobody carried it out in time.".to_owned()), true)),
        _ => None,
    }
}

pub(crate) fn outcome(request: &Request) -> Option<OutcomePart> {
    let outcome = request.outcome()?;
    Some(OutcomePart {
        outcome: request.status().as_str().to_owned(),
        summary: outcome.summary.as_raw().to_owned(),
        measures: outcome.measures.clone(),
        result_digest: outcome.result.map(|digest| digest.to_string()),
        recording: outcome.recording.map(|recording| RecordingPart {
            sha256: recording.sha256.to_string(),
            bytes: recording.bytes,
            truncated: recording.truncated,
        }),
        reported_by: outcome.reported_by.as_str().to_owned(),
        at: outcome.at.to_string(),
        resolution: request.resolution.as_ref().map(|resolution| resolution.text.as_raw().to_owned()),
    })
}

/// What is still missing, in one line; none if nothing is, or nobody is asked any more.
pub(crate) fn missing(seen: &Seen) -> Option<String> {
    let request = &seen.stored.request;
    if request.status() != Status::Pending {
        return None;
    }
    let guards = &request.requirement()?.guards;
    let open = guards.iter().filter(|guard| !guard.needs.is_met(&seen.tally));
    let lines: Vec<String> = open.map(|guard| visible(&guard.needs.sentence(&seen.tally))).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

pub(crate) fn verdict(verdict: Verdict) -> VerdictWord {
    match verdict {
        Verdict::Approve => VerdictWord::Approve,
        Verdict::Deny => VerdictWord::Deny,
    }
}

pub(crate) fn review_line(app: &App, line: &placet_broker::review::ReviewLine) -> ReviewLine {
    ReviewLine {
        request: request(app, &line.seen),
        may_vote: line.may_vote,
        my_vote: line.my_vote.map(verdict),
        missing: missing(&line.seen),
    }
}

pub(crate) fn review(app: &App, review: &Review, directory: &Directory) -> ReviewDocument {
    ReviewDocument {
        request: request(app, &review.seen),
        card: card(&review.card),
        card_bytes: String::from_utf8(review.card.to_bytes()).unwrap_or_default(),
        card_hash: review.card_hash.to_string(),
        standing: standing(&review.standing),
        votes: review.votes.iter().map(vote_line).collect(),
        timeline: timeline_lines(&review.timeline, directory),
        decisions: review.decisions.iter().map(decision_told).collect(),
        compared: review.compared.as_ref().map(compared),
        tool: review.tool.as_ref().map(tool),
    }
}

fn compared(compared: &Compared) -> ComparedPart {
    let change = |change: &Change| ChangePart {
        path: change.path.clone(),
        was: change.was.clone(),
        now: change.now.clone(),
    };
    ComparedPart {
        request: compared.with.to_string(),
        short_code: compared.short_code.to_string(),
        asked_at: compared.asked_at.to_string(),
        changes: compared.changes.iter().map(change).collect(),
    }
}

fn tool(tool: &PinnedTool) -> ToolPart {
    let (accepted, shown) = match tool {
        PinnedTool::Accepted(shown) => (true, shown.clone()),
        PinnedTool::Gone => (false, ToolShown::default()),
    };
    ToolPart {
        accepted,
        description: shown.description,
        instructions: shown.instructions,
        hints: facts(&shown.hints),
        definition: accepted.then_some(shown.definition),
    }
}

/// Why policy decided so, for those who may read policy. Everything in it can be seen.
pub(crate) fn decision_told(told: &ToldDecision) -> DecisionTold {
    let erased = || "why is not known any more: what was recorded about it was erased".to_owned();
    let explanation = told.explanation.as_ref();
    let policies = explanation.into_iter().flat_map(|explanation| &explanation.policies);
    DecisionTold {
        at: told.at.to_string(),
        occasion: told.occasion.clone(),
        bundle: told.bundle.to_string(),
        sentence: explanation.map_or_else(erased, |explanation| visible(&explanation.sentence())),
        hint: explanation.and_then(|explanation| explanation.hint.as_deref()).map(visible),
        policies: policies
            .map(|policy| PolicyTold {
                id: policy.policy.clone(),
                kind: policy.kind.as_str().to_owned(),
                place: told.places.get(&policy.policy).cloned(),
                parts: policy.parts.iter().map(part_told).collect(),
                asks: policy.asks.as_deref().map(visible),
            })
            .collect(),
    }
}

fn part_told(part: &Condition) -> PartTold {
    PartTold { words: visible(&part.words), text: visible(&part.text), held: part.holds }
}

/// Why a request stands where it stands, for operators.
pub(crate) fn explanation(told: &Told) -> ExplanationDocument {
    let request = &told.seen.stored.request;
    ExplanationDocument {
        request: request.id.to_string(),
        short_code: request.short_code.to_string(),
        status: request.status().as_str().to_owned(),
        action: request.action.action.to_string(),
        resource: request.action.resource.visible(),
        decisions: told.decisions.iter().map(decision_told).collect(),
        missing: told.missing.iter().map(|missing| visible(missing)).collect(),
    }
}

fn standing(standing: &MyStanding) -> StandingPart {
    let refusal = standing.approve.err();
    StandingPart {
        may_deny: standing.deny.is_ok(),
        may_approve: standing.approve.is_ok(),
        self_review: standing.self_review,
        code: refusal.map(|refusal| refusal.code().to_owned()),
        reason: refusal.map(|refusal| refusal.to_string()),
    }
}

fn facts(pairs: &[(String, String)]) -> Vec<Fact> {
    pairs.iter().map(|(name, value)| Fact { name: name.clone(), value: value.clone() }).collect()
}

fn card(card: &Card) -> CardDocument {
    let guards = card.guards.iter().map(|guard| CardGuard {
        id: guard.id.clone(),
        title: guard.title.clone(),
        because: guard.because.clone(),
        situation: guard.situation.clone(),
        needs: guard.needs.clone(),
    });
    CardDocument {
        v: 1,
        title: card.title.clone(),
        requester: CardActor {
            name: card.requester.name.clone(),
            kind: card.requester.kind.clone(),
            id: card.requester.id.clone(),
            sponsor: card.requester.sponsor.clone(),
        },
        on_behalf_of: card.on_behalf_of.clone(),
        action: card.action.clone(),
        resource: card.resource.clone(),
        resource_facts: facts(&card.resource_facts),
        grade: card.grade.clone(),
        grade_note: card.grade_note.clone(),
        pep: card.pep.clone(),
        target: card.target.clone(),
        arguments: facts(&card.arguments),
        facts: facts(&card.facts),
        pins: facts(&card.pins),
        justification: card.justification.clone(),
        guards: guards.collect(),
        self_review: card.self_review,
    }
}

fn vote_line(line: &placet_broker::review::VoteLine) -> VoteLine {
    VoteLine {
        name: line.name.clone(),
        verdict: verdict(line.vote.verdict),
        reason: line.vote.reason.as_ref().map(|reason| reason.visible()),
        roles: line.vote.roles.iter().map(|role| role.to_string()).collect(),
        assurance: line.vote.assurance.as_str().to_owned(),
        self_reviewed: line.vote.self_reviewed,
        vouched: line.vote.vouched,
        counted: line.counted,
        at: line.vote.at.to_string(),
    }
}

pub(crate) fn timeline_lines(entries: &[StoredEntry], directory: &Directory) -> Vec<TimelineLine> {
    let line = |entry: &StoredEntry| TimelineLine {
        index: entry.index,
        time: entry.time.to_string(),
        kind: entry.kind.as_str().to_owned(),
        sentence: timeline::sentence(entry, directory),
    };
    entries.iter().map(line).collect()
}

pub(crate) fn entry(entry: &StoredEntry, directory: &Directory) -> EntryDocument {
    EntryDocument {
        index: entry.index,
        time: entry.time.to_string(),
        kind: entry.kind.as_str().to_owned(),
        request: entry.request.map(|id| id.to_string()),
        sentence: timeline::sentence(entry, directory),
        entry: String::from_utf8_lossy(&entry.bytes).into_owned(),
        disclosures: entry.disclosures.iter().map(|disclosure| disclosure.as_str().to_owned()).collect(),
    }
}
