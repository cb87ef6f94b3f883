//! A step of a history as a call of the real broker, with everything that the caller knew when they made it.

use std::collections::BTreeMap;

use placet_broker::execution::{Ended, OutcomeReport};
use placet_broker::intake::{Caller, Envelope, ExternalCall, InterceptedCall};
use placet_broker::peps::Enforcer;
use placet_broker::policies::StageError;
use placet_broker::review::{BallotInput, Reviewer};
use placet_broker::{Broker, CallError};
use placet_core::action::{Grade, PepKind, Pins};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::{OutcomeKind, Request};
use placet_core::review::Verdict;

use crate::cast::Cast;
use crate::history::{How, Op, Thing, Twist};
use crate::law::{LAWS, bundle};
use crate::naive::Naive;

/// A call, ready to be made.
pub(crate) enum Call {
    External(Caller, ExternalCall),
    Command(Caller, Box<InterceptedCall>),
    Vote(Box<Reviewer>, RequestId, BallotInput),
    Cancel(Caller, RequestId),
    Claim(PepKind, Caller, RequestId, String, String),
    Report(Caller, RequestId, OutcomeReport),
    Complete(RequestId, ExecutionId, Ended),
    Resolve(Box<Reviewer>, RequestId),
    Operate(Op),
}

/// What a call got.
#[derive(Clone, Default, Debug)]
pub(crate) struct Got {
    /// `done`, or the code of the refusal.
    pub(crate) code: String,
    pub(crate) request: Option<(RequestId, bool)>,
    pub(crate) execution: Option<(ExecutionId, String)>,
    pub(crate) count: Option<usize>,
}

impl Call {
    /// What the caller sends; none if the step speaks of a request and there is none yet.
    pub(crate) async fn prepare(
        broker: &Broker,
        cast: &Cast,
        naive: &Naive,
        ids: &[RequestId],
        stored: &BTreeMap<RequestId, Request>,
        op: &Op,
    ) -> Result<Option<Call>, CallError> {
        let directory = broker.directory().await?;
        // A rotated bot has a new token, and may still try the old one.
        let caller = |bot: usize, old_token: bool| {
            let first = cast.bots[bot].clone();
            let now = directory.agents.get(&first.agent.id).cloned();
            Caller { agent: now.filter(|_| !old_token).unwrap_or(first.agent), principal: first.principal }
        };
        let found = |back: usize| naive.back(back).map(|place| (&naive.requests[place], ids[place]));
        Ok(Some(match *op {
            Op::Submit { bot, old_token, thing, behalf, key } => {
                let envelope = Envelope {
                    justification: None,
                    on_behalf_of: behalf.map(|person| cast.people[person].to_string()),
                    idempotency_key: key.map(|key| format!("key {key}")),
                };
                submit(broker, caller(bot, old_token), thing, envelope).await?
            }
            Op::Vote { person, by_token, back, approve, twist } => {
                let Some((_, id)) = found(back) else { return Ok(None) };
                let known = if by_token { &cast.by_token } else { &cast.by_session };
                let reviewer = known[person].clone();
                let ballot = ballot(broker, &reviewer, id, approve, twist).await?;
                Call::Vote(Box::new(reviewer), id, ballot)
            }
            Op::Cancel { stranger, old_token, back } => {
                let Some((request, id)) = found(back) else { return Ok(None) };
                Call::Cancel(caller(request.bot ^ usize::from(stranger), old_token), id)
            }
            Op::Claim { stranger, old_token, back, other_pep, value, other_digest } => {
                let Some((request, id)) = found(back) else { return Ok(None) };
                let command = matches!(request.thing, Thing::Command(_)) ^ other_pep;
                let pep = if command { PepKind::Command } else { PepKind::External };
                let caller = caller(request.bot ^ usize::from(stranger), old_token);
                let digest = if other_digest {
                    Sha256Digest::of(b"something else").to_string()
                } else {
                    stored[&id].canonical.digest().to_string()
                };
                Call::Claim(pep, caller, id, digest, Call::claim_value(value))
            }
            Op::Report { stranger, back, of, how, note } => {
                let Some((request, id)) = found(back) else { return Ok(None) };
                let named = found(of).and_then(|(_, id)| stored[&id].execution()).map(|held| held.id);
                let execution = named.unwrap_or_else(|| ExecutionId::from_bytes([7; 16]));
                report(
                    request.thing,
                    caller(request.bot ^ usize::from(stranger), false),
                    id,
                    execution,
                    how,
                    note,
                )
            }
            Op::Resolve { person, back } => {
                let Some((_, id)) = found(back) else { return Ok(None) };
                Call::Resolve(Box::new(cast.by_session[person].clone()), id)
            }
            Op::Again { .. } => unreachable!("it is played as the call that it repeats"),
            ref operator => Call::Operate(operator.clone()),
        }))
    }

    pub(crate) fn claim_value(value: u8) -> String {
        format!("claim {value}")
    }

    /// Makes the call.
    pub(crate) async fn perform(self, broker: Broker, cast: &'static Cast) -> Got {
        let mut got = Got { code: "done".to_owned(), ..Got::default() };
        let answer = match self {
            Call::External(caller, call) => broker.submit_external(&caller, call).await.map(|submitted| {
                got.request = Some((submitted.seen.stored.request.id, submitted.new));
            }),
            Call::Command(caller, call) => {
                broker.submit_intercepted(&runner(), &caller, *call).await.map(|submitted| {
                    got.request = Some((submitted.seen.stored.request.id, submitted.new));
                })
            }
            Call::Vote(reviewer, id, ballot) => broker.vote(&reviewer, id, ballot, "inbox").await.map(drop),
            Call::Cancel(caller, id) => broker.cancel(&caller, id).await.map(drop),
            Call::Claim(PepKind::External, caller, id, digest, claim) => {
                let claimed = broker.claim_external(&caller, id, &digest, &claim).await;
                claimed.map(|grant| got.execution = Some((grant.execution, grant.canonical)))
            }
            Call::Claim(pep, caller, id, _, claim) => {
                let claimed = broker.claim_for(&pep.into(), &caller, id, &claim).await;
                claimed.map(|grant| got.execution = Some((grant.execution, grant.canonical)))
            }
            Call::Report(caller, id, report) => broker.report_outcome(&caller, id, report).await.map(drop),
            Call::Complete(id, execution, ended) => {
                broker.complete_for(&runner(), id, execution, ended).await.map(drop)
            }
            Call::Resolve(reviewer, id) => broker.resolve(&reviewer, id, "looked".to_owned()).await.map(drop),
            Call::Operate(op) => operate(&broker, cast, &op).await.map(|count| got.count = count),
        };
        if let Err(error) = answer {
            got.code = error.code().to_owned();
        }
        got
    }
}

/// The command enforcement point of placet's own process.
fn runner() -> Enforcer {
    PepKind::Command.into()
}

async fn operate(broker: &Broker, cast: &Cast, op: &Op) -> Result<Option<usize>, CallError> {
    let operator = &cast.operator;
    let person = |person: usize| cast.people[person].to_string();
    let bot = |bot: usize| cast.bots[bot].agent.id.to_string();
    match *op {
        Op::Deadlines => return broker.pass_deadlines().await.map(Some),
        Op::Abandon => {
            let mut abandoned = 0;
            for (id, execution) in broker.executions_of(&runner()).await? {
                // As recovery does: what cannot be written stays executing until its lease runs out.
                if broker.abandon(&runner(), id, execution, "it is gone").await.is_ok() {
                    abandoned += 1;
                }
            }
            return Ok(Some(abandoned));
        }
        Op::Disable { person: who } => broker.disable_person(operator, &person(who)).await.map(drop)?,
        Op::Join { person: who } => broker.join_group(operator, "reviewers", &person(who)).await?,
        Op::Leave { person: who } => broker.leave_group(operator, "reviewers", &person(who)).await?,
        Op::Revoke { bot: which } => broker.revoke_agent(operator, &bot(which)).await.map(drop)?,
        Op::Rotate { bot: which } => broker.rotate_agent(operator, &bot(which)).await.map(drop)?,
        Op::Activate { law, unseen } => {
            if !unseen {
                broker.stage(operator, bundle(&LAWS[law])).await.map_err(|error| match error {
                    StageError::Call(error) => error,
                    other => CallError::Internal(other.to_string()),
                })?;
            }
            broker.activate(operator, cast.laws[law]).await.map(drop)?;
        }
        ref other => unreachable!("no operator does {other:?}"),
    }
    Ok(None)
}

async fn submit(
    broker: &Broker,
    caller: Caller,
    thing: Thing,
    envelope: Envelope,
) -> Result<Call, CallError> {
    let (environment, version) = match thing {
        Thing::Staging(version) => ("staging", version),
        Thing::Production(version) => ("production", version),
        Thing::Vault(version) => ("vault", version),
        Thing::Command(number) => {
            let argv = ["/usr/bin/tool".to_owned(), number.to_string()];
            let guide = broker.guide_command(&runner(), &argv).await?;
            let words = argv.iter().map(Value::string).collect();
            return Ok(Call::Command(
                caller,
                Box::new(InterceptedCall {
                    target: "runner:local".to_owned(),
                    planned_for: Some((guide.action, guide.resource)),
                    grade: Grade::Enforced,
                    arguments: Value::object([("argv", Value::Array(words))]),
                    pins: Pins::default(),
                    envelope,
                }),
            ));
        }
    };
    let call = ExternalCall {
        action: "example.deploy".to_owned(),
        resource_type: "Example".to_owned(),
        resource_id: environment.to_owned(),
        arguments: Value::object([("version", Value::string(version.to_string()))]),
        envelope,
    };
    Ok(Call::External(caller, call))
}

/// A ballot on what this person is shown now.
async fn ballot(
    broker: &Broker,
    reviewer: &Reviewer,
    id: RequestId,
    approve: bool,
    twist: Twist,
) -> Result<BallotInput, CallError> {
    let review = broker.review(reviewer, id).await?;
    let mut ballot = BallotInput {
        verdict: if approve { Verdict::Approve } else { Verdict::Deny },
        reason: None,
        digest: review.card.digest.clone(),
        content_version: review.card.content_version,
        card: review.card_hash.to_string(),
    };
    let other = || Sha256Digest::of(b"something else").to_string();
    match twist {
        Twist::Nothing => {}
        Twist::OtherDigest => ballot.digest = other(),
        Twist::OtherVersion => ballot.content_version += 1,
        Twist::OtherCard => ballot.card = other(),
    }
    Ok(ballot)
}

fn report(thing: Thing, caller: Caller, id: RequestId, execution: ExecutionId, how: How, note: u8) -> Call {
    let summary = format!("note {note}");
    let (kind, outcome) = match how {
        How::Succeeded => (OutcomeKind::Succeeded, "succeeded"),
        How::Failed => (OutcomeKind::Failed, "failed"),
        How::Unknown => (OutcomeKind::Unknown, "unknown"),
    };
    if matches!(thing, Thing::Command(_)) {
        let ended =
            Ended { kind, summary, measures: BTreeMap::new(), result: None, recording: None, delivery: None };
        return Call::Complete(id, execution, ended);
    }
    let report = OutcomeReport {
        execution: execution.to_string(),
        outcome: outcome.to_owned(),
        summary,
        measures: BTreeMap::new(),
        result_digest: None,
    };
    Call::Report(caller, id, report)
}
