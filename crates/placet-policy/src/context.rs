//! What Cedar is told beside the entities: the call's facts, what placet fills itself, the evidence; and the record of
//! all that, for the ledger.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cedar_policy::{Context, Request, RestrictedExpression};
use placet_core::action::{Fact, Facts, Principal, RESERVED_FACTS};
use placet_core::c14n::Value;
use placet_core::decision::{ForbidReason, RoleName, Tally};
use placet_core::review::Assurance;
use placet_core::time::Timestamp;

use crate::bundle::Bundle;
use crate::decide::{Question, Refusal, Scene};
use crate::entities;
use crate::schema::{ActionShape, FactKind};
use crate::settings::RoleRule;

/// Evidence as Cedar gets it.
#[derive(Clone, Copy)]
pub(crate) enum Evidence<'a> {
    Nothing,
    Counted(&'a Tally),
    Most,
}

/// More of every role than any guard may ask for.
const MOST: i64 = 1000;

impl Bundle {
    /// The request as Cedar reads it, checked against the schema.
    pub(crate) fn request(
        &self,
        scene: &Scene<'_>,
        question: &Question<'_>,
        evidence: Evidence<'_>,
    ) -> Result<Request, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Refusal::from(ForbidReason::BadFacts(error.to_string()));
        let pairs = self.context(question, evidence)?;
        let context = Context::from_pairs(pairs).map_err(|error| bad(&error))?;
        Request::new(
            scene.principal.clone(),
            scene.bucket.action.clone(),
            scene.resource.clone(),
            context,
            Some(&self.vocabulary.schema),
        )
        .map_err(|error| bad(&error))
    }

    fn context(
        &self,
        question: &Question<'_>,
        evidence: Evidence<'_>,
    ) -> Result<Vec<(String, RestrictedExpression)>, ForbidReason> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let named = |kind: &str, name: &str| {
            entities::uid(kind, name)
                .map(RestrictedExpression::new_entity_uid)
                .ok_or_else(|| ForbidReason::BadFacts(format!("{kind} has no {name}")))
        };
        let mut pairs: Vec<(String, RestrictedExpression)> = question
            .facts
            .known
            .iter()
            .map(|(name, fact)| {
                let value = match fact {
                    Fact::Bool(yes) => RestrictedExpression::new_bool(*yes),
                    Fact::Long(number) => RestrictedExpression::new_long(*number),
                    Fact::Text(value) => text(value),
                    Fact::Texts(values) => {
                        RestrictedExpression::new_set(values.iter().map(|value| text(value)))
                    }
                };
                (name.clone(), value)
            })
            .collect();
        let unrepresentable = question.facts.unrepresentable.iter().map(|name| text(name));
        pairs.push(("unrepresentable".to_owned(), RestrictedExpression::new_set(unrepresentable)));
        pairs.push(("now".to_owned(), self.fixed.now.expression(question.now)));
        pairs.push(("pep".to_owned(), named("Pep", question.action.pep.as_str())?));
        pairs.push(("grade".to_owned(), named("Grade", question.grade.as_str())?));
        pairs.push(("approvals".to_owned(), self.approvals(evidence)?));
        Ok(pairs)
    }

    fn approvals(&self, evidence: Evidence<'_>) -> Result<RestrictedExpression, ForbidReason> {
        match evidence {
            Evidence::Nothing => Ok(self.fixed.nothing.clone()),
            Evidence::Most => Ok(self.fixed.most.clone()),
            Evidence::Counted(_) => record(self.roles(), evidence).map_err(ForbidReason::BadFacts),
        }
    }

    /// Evidence and context as they were passed.
    pub(crate) fn inputs(&self, question: &Question<'_>, tally: &Tally, guards: &[String]) -> Value {
        let texts =
            |items: &mut dyn Iterator<Item = String>| Value::Array(items.map(Value::String).collect());
        let count = |number: &u32| Value::integer(i64::from(*number));
        let facts = question.facts.known.iter().map(|(name, fact)| {
            let value = match fact {
                Fact::Bool(yes) => Value::Bool(*yes),
                Fact::Long(number) => Value::integer(*number),
                Fact::Text(text) => Value::string(text.clone()),
                Fact::Texts(items) => texts(&mut items.iter().cloned()),
            };
            (name.clone(), value)
        });
        let roles = tally.roles.iter().map(|(role, number)| (role.to_string(), count(number)));
        let assured = tally
            .assured
            .iter()
            .map(|((role, level), number)| (format!("{role}@{}", level.as_str()), count(number)));
        let approvals = Value::object([
            ("roles", Value::object(roles.chain(assured))),
            ("people", texts(&mut tally.people.iter().map(ToString::to_string))),
            ("age_ms", Value::integer(millis(tally.age))),
        ]);
        let epoch = i64::try_from(question.directory.epoch).unwrap_or(i64::MAX);
        Value::object([
            ("engine", Value::string(format!("cedar-policy {}", cedar_policy::get_sdk_version()))),
            ("principal", Value::string(question.action.chain.requester.to_string())),
            ("principal_groups", texts(&mut groups_of(question))),
            ("directory_epoch", Value::integer(epoch)),
            ("facts", Value::object(facts)),
            ("unrepresentable", texts(&mut question.facts.unrepresentable.iter().cloned())),
            ("pep", Value::string(question.action.pep.as_str())),
            ("grade", Value::string(question.grade.as_str())),
            ("now", Value::string(whole_seconds(question.now).to_string())),
            ("approvals", approvals),
            ("guards", texts(&mut guards.iter().cloned())),
        ])
    }
}

/// The groups of whoever asks: the directory keeps no past.
fn groups_of<'a>(question: &'a Question<'_>) -> impl Iterator<Item = String> + 'a {
    let groups = match question.action.chain.requester {
        Principal::Person(id) => question.directory.people.get(&id).map(|person| &person.groups),
        Principal::Agent(id) | Principal::Pipeline(id) => {
            question.directory.agents.get(&id).map(|agent| &agent.groups)
        }
    };
    groups.into_iter().flatten().map(|group| group.as_str().to_owned())
}

/// The time as policy sees it.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.as_millis().div_euclid(1000).saturating_mul(1000))
}

/// The time as Cedar gets it. Cedar reads its own name for a type anew each time, which costs as much as a dozen
/// policies, so the second that was asked for last is kept.
#[derive(Debug, Default)]
pub(crate) struct Now(Mutex<Option<(Timestamp, RestrictedExpression)>>);

impl Now {
    pub(crate) fn expression(&self, now: Timestamp) -> RestrictedExpression {
        let now = whole_seconds(now);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((second, expression)) if *second == now => expression.clone(),
            _ => {
                let expression = RestrictedExpression::new_datetime(now.to_string());
                *last = Some((now, expression.clone()));
                expression
            }
        }
    }
}

/// What is the same for every question, or for many, made once.
#[derive(Clone, Debug)]
pub(crate) struct FixedEvidence {
    nothing: RestrictedExpression,
    most: RestrictedExpression,
    pub(crate) now: Arc<Now>,
}

impl FixedEvidence {
    /// For these roles.
    pub(crate) fn of(roles: &BTreeMap<RoleName, RoleRule>) -> Result<Self, String> {
        Ok(FixedEvidence {
            nothing: record(roles, Evidence::Nothing)?,
            most: record(roles, Evidence::Most)?,
            now: Arc::default(),
        })
    }
}

/// `context.approvals`.
fn record(
    roles: &BTreeMap<RoleName, RoleRule>,
    evidence: Evidence<'_>,
) -> Result<RestrictedExpression, String> {
    let count = |role: &RoleName, assurance| match evidence {
        Evidence::Nothing => 0,
        Evidence::Counted(tally) => i64::from(tally.count(role, assurance)),
        Evidence::Most => MOST,
    };
    let mut fields = Vec::with_capacity(roles.len() * 2 + 3);
    for role in roles.keys() {
        fields.push((role.to_string(), RestrictedExpression::new_long(count(role, None))));
        let assured = RestrictedExpression::new_long(count(role, Some(Assurance::L2)));
        fields.push((format!("{role}@L2"), assured));
    }
    let (distinct, people, age) = match evidence {
        Evidence::Nothing => (0, None, 0),
        Evidence::Counted(tally) => {
            (i64::try_from(tally.people.len()).unwrap_or(i64::MAX), Some(&tally.people), millis(tally.age))
        }
        // No real person is among those: the rules against self-approval are about real ones.
        Evidence::Most => (MOST, None, 0),
    };
    let people = people.into_iter().flatten().filter_map(|person| entities::person_uid(*person));
    let people = people.map(RestrictedExpression::new_entity_uid);
    fields.push(("distinct".to_owned(), RestrictedExpression::new_long(distinct)));
    fields.push(("people".to_owned(), RestrictedExpression::new_set(people)));
    fields.push(("age".to_owned(), RestrictedExpression::new_duration(format!("{age}ms"))));
    RestrictedExpression::new_record(fields).map_err(|error| error.to_string())
}

/// The facts must be those that the action declares.
pub(crate) fn check_facts(shape: &ActionShape, facts: &Facts) -> Result<(), ForbidReason> {
    let bad = |message: String| Err(ForbidReason::BadFacts(message));
    for (name, fact) in &facts.known {
        if RESERVED_FACTS.contains(&name.as_str()) {
            return bad(format!("{name} is filled by placet"));
        }
        let Some(declared) = shape.facts.get(name) else {
            return bad(format!("{name} is not a fact of this action"));
        };
        let kind = match fact {
            Fact::Bool(_) => FactKind::Bool,
            Fact::Long(_) => FactKind::Long,
            Fact::Text(_) => FactKind::Text,
            Fact::Texts(_) => FactKind::Texts,
        };
        if kind != declared.kind {
            return bad(format!("{name} is {}", declared.kind.describe()));
        }
    }
    // What could not be represented is asked about; policies never see it as a fact.
    let missing =
        shape.facts.iter().find(|(name, declared)| declared.required && !facts.known.contains_key(*name));
    match missing {
        Some((name, _)) => bad(format!("{name} is missing")),
        None => Ok(()),
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
