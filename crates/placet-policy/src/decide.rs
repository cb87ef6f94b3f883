//! The decision: as it stands, then with the most evidence there could be. Any error is a no.
//!
//! ```text
//! chain stands? ─► known? ─► Cedar without votes ─┬─ allow ───────────────────────────► Permit
//!                                                 ├─ nothing permits, or a ban ───────► Forbid
//!                                                 └─ guards ─► count votes ─► Cedar ─┬─► Permit, until the evidence ages
//!                                                                                    └─► Cedar with the most evidence
//!                                                          denied still ► Forbid ◄──────┤
//!                                                          nobody could ► Forbid ◄──────┴──────► RequireApproval
//! ```
//!
//! The first evaluation is without votes, so the guards that match are those of the situation, whatever votes there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cedar_policy::{
    Authorizer, Context, Decision as Cedar, Entities, Entity, EntityUid, Request, RestrictedExpression,
};
use placet_core::action::{ActionRequest, Fact, Facts, Grade, RESERVED_FACTS};
use placet_core::c14n::Value;
use placet_core::decision::{
    Because, Condition, Decision, Effect, ForbidReason, GuardAsk, Need, Requirement, RoleName, Tally,
};
use placet_core::directory::Directory;
use placet_core::id::EvaluationId;
use placet_core::review::{Assurance, Vote};
use placet_core::time::Timestamp;

use crate::bundle::{Bucket, Bundle};
use crate::entities;
use crate::guard::{self, Guard};
use crate::policies::Rule;
use crate::schema::{ActionShape, FactKind};
use crate::votes::Electorate;

/// What is to be decided, under what is known now.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub action: &'a ActionRequest,
    /// The call's facts, from this bundle's mapping.
    pub facts: &'a Facts,
    /// The enforcement point's grade.
    pub grade: Grade,
    /// Everyone, now.
    pub directory: &'a Directory,
    /// The votes so far. Only approvals count here; which of them still do is decided here.
    pub votes: &'a [&'a Vote],
    /// The time.
    pub now: Timestamp,
    /// The decision's id.
    pub evaluation: EvaluationId,
}

/// A decision, and what it was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// What policy says.
    pub decision: Decision,
    /// The votes that count now.
    pub tally: Tally,
    /// Until when this permit's evidence is fresh enough: the oldest counted vote and the smallest age bound of the
    /// matching guards. None if no guard bounds the age, or no votes were needed.
    pub evidence_until: Option<Timestamp>,
    /// Evidence and context as they were passed, for the ledger.
    pub inputs: Value,
}

/// Evidence as Cedar gets it.
#[derive(Clone, Copy)]
enum Evidence<'a> {
    Nothing,
    Counted(&'a Tally),
    Most,
}

/// More of every role than any guard may ask for.
const MOST: i64 = 1000;

/// Everything about a question that does not depend on votes.
pub(crate) struct Scene<'a> {
    bucket: &'a Bucket,
    principal: EntityUid,
    resource: EntityUid,
    entities: Entities,
}

/// What Cedar said.
enum Answer<'a> {
    Allow(Vec<&'a Rule>),
    Deny(Vec<&'a Rule>),
}

impl Bundle {
    /// Decides. Never fails: what goes wrong is a `Forbid` that says so.
    pub fn decide(&self, question: &Question<'_>) -> Judgement {
        let mut tally = Tally::default();
        let outcome = self.judge(question, &mut tally);
        let evidence_until = match &outcome {
            Ok(Outcome { effect: Effect::Permit, age_max: Some(age_max), .. })
                if !tally.people.is_empty() =>
            {
                let oldest = Timestamp::from_millis(question.now.as_millis() - millis(tally.age));
                Some(oldest.plus(*age_max))
            }
            _ => None,
        };
        let (effect, because, guards) = match outcome {
            Ok(outcome) => (outcome.effect, outcome.because, outcome.guards),
            Err(Refusal { reason, because }) => (Effect::Forbid(reason), because, Vec::new()),
        };
        let inputs = self.inputs(question, &tally, &guards);
        let decision = Decision {
            evaluation: question.evaluation,
            bundle: self.digest(),
            at: question.now,
            effect,
            because,
        };
        Judgement { decision, tally, evidence_until, inputs }
    }

    fn judge(&self, question: &Question<'_>, tally: &mut Tally) -> Result<Outcome, Refusal> {
        if !question.directory.chain_stands(&question.action.chain) {
            return Err(ForbidReason::ChainBroken.into());
        }
        let scene = self.scene(question)?;
        let guards = match self.ask_cedar(&scene, question, Evidence::Nothing)? {
            Answer::Allow(rules) => return Ok(Outcome::permit(because(&rules), Vec::new(), None)),
            Answer::Deny(rules) => only_guards(&rules)?,
        };
        let guard_ids: Vec<String> = guards.iter().map(|guard| guard.id.clone()).collect();
        let age_max = guards.iter().filter_map(|guard| guard::age_bound(&guard.needs)).min();
        let electorate = Electorate::new(self, question, self.asked_roles(&guards));
        *tally = electorate.tally(age_max);
        if !tally.people.is_empty() {
            match self.ask_cedar(&scene, question, Evidence::Counted(tally))? {
                Answer::Allow(rules) => return Ok(Outcome::permit(because(&rules), guard_ids, age_max)),
                // A vote can bring up a ban: the rules against self-approval.
                Answer::Deny(rules) => only_guards(&rules)?,
            };
        }
        if let Answer::Deny(rules) = self.ask_cedar(&scene, question, Evidence::Most)? {
            // Without a permit there is nothing that anyone could approve.
            let reason =
                if rules.is_empty() { ForbidReason::NotPermitted } else { ForbidReason::CannotBeApproved };
            return Err(Refusal { reason, because: because(&rules) });
        }
        let asks: Vec<GuardAsk> = guards.iter().map(|guard| self.ask(guard, &scene, question)).collect();
        electorate.could_clear(&asks)?;
        let requirement = Requirement {
            review_for: guards.iter().map(|guard| guard.timeout).min().unwrap_or(self.settings().timeout),
            age_max,
            veto: guards.iter().map(|guard| guard.veto).min().unwrap_or(1),
            channels: guards.iter().flat_map(|guard| guard.channels.iter().cloned()).collect(),
            eligible: electorate.eligible().clone(),
            self_review: electorate.self_review(),
            guards: asks,
        };
        let asking: Vec<&Rule> = self.sorted_rules(&guard_ids);
        Ok(Outcome {
            effect: Effect::RequireApproval(requirement),
            because: because(&asking),
            guards: guard_ids,
            age_max,
        })
    }

    /// The roles that these guards ask for: all of the bundle's if one of them counts people whatever their role.
    fn asked_roles(&self, guards: &[&Guard]) -> BTreeSet<RoleName> {
        if guards.iter().any(|guard| guard::counts_anyone(&guard.needs)) {
            return self.roles().keys().cloned().collect();
        }
        guards.iter().flat_map(|guard| guard.needs.roles()).collect()
    }

    /// The roles that matter to a question: those that its matching guards ask for. Where none ask any more, for a late
    /// denial, every role of the bundle.
    pub(crate) fn roles_of_question(
        &self,
        question: &Question<'_>,
    ) -> (BTreeSet<RoleName>, Option<Duration>) {
        let guards = self.scene(question).map_err(Refusal::from).and_then(|scene| {
            match self.ask_cedar(&scene, question, Evidence::Nothing)? {
                Answer::Deny(rules) => only_guards(&rules),
                Answer::Allow(_) => Err(ForbidReason::NotPermitted.into()),
            }
        });
        match guards {
            Ok(guards) => {
                let age_max = guards.iter().filter_map(|guard| guard::age_bound(&guard.needs)).min();
                (self.asked_roles(&guards), age_max)
            }
            Err(_) => (self.roles().keys().cloned().collect(), None),
        }
    }

    /// Principal, action and resource must be known, and the facts must be those that the action declares.
    pub(crate) fn scene(&self, question: &Question<'_>) -> Result<Scene<'_>, ForbidReason> {
        let ActionRequest { chain, action, resource, .. } = question.action;
        let shape = self.vocabulary.actions.get(action).ok_or(ForbidReason::UnknownAction)?;
        let bucket = self.buckets.get(action.as_str()).ok_or(ForbidReason::UnknownAction)?;
        let principal_type = entities::principal_type(chain.requester);
        if !shape.principals.contains(principal_type) || !shape.resources.contains(resource.kind()) {
            return Err(ForbidReason::UnknownAction);
        }
        check_facts(shape, question.facts)?;
        let principal = entities::principal(chain.requester, question.directory)
            .ok_or_else(|| ForbidReason::UnknownEntity(chain.requester.to_string()))?;
        let resource = self
            .resources
            .entity(resource, &self.vocabulary)
            .ok_or_else(|| ForbidReason::UnknownEntity(resource.visible()))?;
        let (principal_uid, resource_uid) = (principal.uid(), resource.uid());
        let entities = slice([principal, resource, bucket.entity.clone()])?;
        Ok(Scene { bucket, principal: principal_uid, resource: resource_uid, entities })
    }

    fn ask_cedar(
        &self,
        scene: &Scene<'_>,
        question: &Question<'_>,
        evidence: Evidence<'_>,
    ) -> Result<Answer<'_>, Refusal> {
        let request = self.request(scene, question, evidence)?;
        let response = Authorizer::new().is_authorized(&request, &scene.bucket.policies, &scene.entities);
        let mut errors: Vec<String> = response.diagnostics().errors().map(erring_policy).collect();
        if !errors.is_empty() {
            // A forbid that errs would be a forbid that is off.
            errors.sort();
            let rules = self.sorted_rules(&errors);
            return Err(Refusal {
                because: because(&rules),
                reason: ForbidReason::PolicyError(errors.clone()),
            });
        }
        let ids: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let rules = self.sorted_rules(&ids);
        Ok(match response.decision() {
            Cedar::Allow => Answer::Allow(rules),
            Cedar::Deny => Answer::Deny(rules),
        })
    }

    fn request(
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
        pairs.push(("now".to_owned(), RestrictedExpression::new_datetime(question.now.to_string())));
        pairs.push(("pep".to_owned(), named("Pep", question.action.pep.as_str())?));
        pairs.push(("grade".to_owned(), named("Grade", question.grade.as_str())?));
        pairs.push(("approvals".to_owned(), self.approvals(evidence)?));
        Ok(pairs)
    }

    fn approvals(&self, evidence: Evidence<'_>) -> Result<RestrictedExpression, ForbidReason> {
        let count = |role: &RoleName, assurance| match evidence {
            Evidence::Nothing => 0,
            Evidence::Counted(tally) => i64::from(tally.count(role, assurance)),
            Evidence::Most => MOST,
        };
        let mut fields = Vec::with_capacity(self.roles().len() * 2 + 3);
        for role in self.roles().keys() {
            fields.push((role.to_string(), RestrictedExpression::new_long(count(role, None))));
            let assured = RestrictedExpression::new_long(count(role, Some(Assurance::L2)));
            fields.push((format!("{role}@L2"), assured));
        }
        let (distinct, people, age) = match evidence {
            Evidence::Nothing => (0, None, 0),
            Evidence::Counted(tally) => (
                i64::try_from(tally.people.len()).unwrap_or(i64::MAX),
                Some(&tally.people),
                millis(tally.age),
            ),
            // No real person is among those: the rules against self-approval are about real ones.
            Evidence::Most => (MOST, None, 0),
        };
        let people = people.into_iter().flatten().filter_map(|person| entities::person_uid(*person));
        let people = people.map(RestrictedExpression::new_entity_uid);
        fields.push(("distinct".to_owned(), RestrictedExpression::new_long(distinct)));
        fields.push(("people".to_owned(), RestrictedExpression::new_set(people)));
        fields.push(("age".to_owned(), RestrictedExpression::new_duration(format!("{age}ms"))));
        RestrictedExpression::new_record(fields).map_err(|error| ForbidReason::BadFacts(error.to_string()))
    }

    /// A guard as reviewers see it: what of its situation held, and what it accepts.
    fn ask(&self, guard: &Guard, scene: &Scene<'_>, question: &Question<'_>) -> GuardAsk {
        let holds = self.explain(guard, scene, question);
        let condition =
            |text: &String| Condition { text: text.clone(), holds: holds.get(text).copied().flatten() };
        GuardAsk {
            id: guard.id.clone(),
            title: guard.title.clone(),
            because: guard.because.clone(),
            situation: guard.situation.iter().map(condition).collect(),
            needs: with_conditions(&guard.needs, &condition),
            escalate: guard.escalate.clone(),
        }
    }

    /// Which parts of a guard hold. One that cannot be evaluated alone is none.
    fn explain(
        &self,
        guard: &Guard,
        scene: &Scene<'_>,
        question: &Question<'_>,
    ) -> BTreeMap<String, Option<bool>> {
        let Ok(request) = self.request(scene, question, Evidence::Nothing) else { return BTreeMap::new() };
        let response = Authorizer::new().is_authorized(&request, &guard.explain.permits, &scene.entities);
        let held: BTreeSet<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let erred: BTreeSet<String> = response.diagnostics().errors().map(erring_policy).collect();
        let part = |(position, text): (usize, &String)| {
            let id = position.to_string();
            (text.clone(), if erred.contains(&id) { None } else { Some(held.contains(&id)) })
        };
        guard.explain.texts.iter().enumerate().map(part).collect()
    }

    fn inputs(&self, question: &Question<'_>, tally: &Tally, guards: &[String]) -> Value {
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
            ("directory_epoch", Value::integer(epoch)),
            ("facts", Value::object(facts)),
            ("unrepresentable", texts(&mut question.facts.unrepresentable.iter().cloned())),
            ("pep", Value::string(question.action.pep.as_str())),
            ("grade", Value::string(question.grade.as_str())),
            ("now", Value::string(question.now.to_string())),
            ("approvals", approvals),
            ("guards", texts(&mut guards.iter().cloned())),
        ])
    }
}

/// What a judgement comes to.
struct Outcome {
    effect: Effect,
    because: Vec<Because>,
    /// The guards that match, cleared or not.
    guards: Vec<String>,
    age_max: Option<Duration>,
}

impl Outcome {
    fn permit(because: Vec<Because>, guards: Vec<String>, age_max: Option<Duration>) -> Self {
        Outcome { effect: Effect::Permit, because, guards, age_max }
    }
}

/// A no, and the policies that say it.
pub(crate) struct Refusal {
    reason: ForbidReason,
    because: Vec<Because>,
}

impl From<ForbidReason> for Refusal {
    fn from(reason: ForbidReason) -> Self {
        Refusal { reason, because: Vec::new() }
    }
}

/// The guards among these rules, if nothing but guards stands against the action.
fn only_guards<'a>(rules: &[&'a Rule]) -> Result<Vec<&'a Guard>, Refusal> {
    if rules.is_empty() {
        return Err(ForbidReason::NotPermitted.into());
    }
    let bans: Vec<&Rule> = rules.iter().filter(|rule| rule.guard.is_none()).copied().collect();
    if !bans.is_empty() {
        return Err(Refusal { reason: ForbidReason::Policy, because: because(&bans) });
    }
    Ok(rules.iter().filter_map(|rule| rule.guard.as_ref()).collect())
}

fn because(rules: &[&Rule]) -> Vec<Because> {
    let because = |rule: &&Rule| Because {
        policy: rule.id.clone(),
        title: rule.title.clone(),
        text: rule.because.clone(),
    };
    rules.iter().map(because).collect()
}

fn check_facts(shape: &ActionShape, facts: &Facts) -> Result<(), ForbidReason> {
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

/// The few entities that one evaluation sees.
pub(crate) fn slice(entities: impl IntoIterator<Item = Entity>) -> Result<Entities, ForbidReason> {
    Entities::from_entities(entities, None).map_err(|error| ForbidReason::UnknownEntity(error.to_string()))
}

fn erring_policy(error: &cedar_policy::AuthorizationError) -> String {
    match error {
        cedar_policy::AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    }
}

fn with_conditions(need: &Need, condition: &dyn Fn(&String) -> Condition) -> Need {
    let all = |parts: &[Need]| parts.iter().map(|part| with_conditions(part, condition)).collect();
    match need {
        Need::All(parts) => Need::All(all(parts)),
        Need::Any(parts) => Need::Any(all(parts)),
        Need::Data(data) => Need::Data(condition(&data.text)),
        Need::AtLeast { .. } | Need::Distinct(_) | Need::Within(_) => need.clone(),
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use placet_core::action::{ActionName, ActorChain, PepKind, Pins, Principal, ResourceRef};
    use placet_core::digest::Sha256Digest;
    use placet_core::directory::{Agent, AgentKind, Person, Status};
    use placet_core::id::{AgentId, PersonId};

    use super::*;
    use crate::files::BundleFiles;

    const MANIFEST: &str = "format = 1\nname = 'x'\n[role.reviewers]\ngroup = 'reviewers'\n";
    const SCHEMA: &str =
        "entity Thing; action \"do\" appliesTo { principal: [Agent, Pipeline, Person], resource: [Thing] };";
    const ALLOW: &str = "@id(\"all\") permit (principal, action == Action::\"do\", resource);";

    fn bundle() -> Bundle {
        let files = BundleFiles::new([
            ("bundle.toml", MANIFEST),
            ("schema.cedarschema", SCHEMA),
            ("allow.cedar", ALLOW),
            ("entities.toml", "[Thing.it]\n"),
        ]);
        Bundle::load(&files).unwrap().bundle
    }

    fn directory(kind: AgentKind) -> Directory {
        let sponsor = PersonId::from_bytes([1; 16]);
        let person = Person {
            id: sponsor,
            name: "sponsor".to_owned(),
            email: None,
            groups: BTreeSet::new(),
            status: Status::Active,
            operator_uid: None,
            created_at: Timestamp::EPOCH,
        };
        let agent = Agent {
            id: AgentId::from_bytes([2; 16]),
            kind,
            name: "agent".to_owned(),
            sponsor,
            owners: BTreeSet::new(),
            acts_for: BTreeSet::new(),
            groups: BTreeSet::new(),
            status: Status::Active,
            token_hash: Sha256Digest::of(b""),
            credential_version: 1,
            created_at: Timestamp::EPOCH,
        };
        let mut directory = Directory::default();
        directory.people.insert(sponsor, person);
        directory.agents.insert(agent.id, agent);
        directory
    }

    /// The host never counts such a vote. Should it ever, Cedar still says no.
    #[test]
    fn cedar_itself_forbids_what_was_approved_by_whom_it_belongs_to() {
        let bundle = bundle();
        let sponsor = PersonId::from_bytes([1; 16]);
        let agent = AgentId::from_bytes([2; 16]);
        for (kind, requester, rule) in [
            (AgentKind::Agent, Principal::Agent(agent), "no-self-approval"),
            (AgentKind::Pipeline, Principal::Pipeline(agent), "no-self-approval-pipeline"),
            (AgentKind::Agent, Principal::Person(sponsor), "no-self-approval-person"),
        ] {
            let directory = directory(kind);
            let action = ActionRequest {
                tenant: "default".to_owned(),
                chain: ActorChain { requester, through: Vec::new(), on_behalf_of: sponsor },
                pep: PepKind::Mcp,
                target: "mcp".to_owned(),
                action: ActionName::parse("do").unwrap(),
                resource: ResourceRef::new("Thing", "it").unwrap(),
                arguments: Value::Null,
                pins: Pins::default(),
            };
            let question = Question {
                action: &action,
                facts: &Facts::default(),
                grade: Grade::Enforced,
                directory: &directory,
                votes: &[],
                now: Timestamp::EPOCH,
                evaluation: EvaluationId::from_bytes([0; 16]),
            };
            let scene = bundle.scene(&question).unwrap();
            let counted = |people: BTreeSet<PersonId>| {
                let tally = Tally { people, ..Tally::default() };
                match bundle.ask_cedar(&scene, &question, Evidence::Counted(&tally)) {
                    Ok(Answer::Allow(_)) => Vec::new(),
                    Ok(Answer::Deny(rules)) => rules.iter().map(|rule| rule.id.clone()).collect(),
                    Err(refusal) => panic!("{:?}", refusal.reason),
                }
            };
            assert_eq!(counted(BTreeSet::from([sponsor])), [rule]);
            assert_eq!(counted(BTreeSet::from([PersonId::from_bytes([7; 16])])), Vec::<String>::new());
        }
    }
}
