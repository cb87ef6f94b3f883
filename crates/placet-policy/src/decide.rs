//! The decision: as it stands, then with the most evidence there could be. Any error is a no.
//!
//! ```text
//! chain stands? ─► known? ─► Cedar without votes ─┬─ allow ───────────────────────────► Permit
//!                                                 ├─ nothing permits, or a ban ───────► Forbid
//!                                                 └─ guards ─┬─ as many denials as they ask for ─► Forbid
//!                                                            └─ count votes ─► Cedar ─┬─► Permit, until the evidence ages
//!                                                                                     └─► Cedar with the most evidence
//!                                                          denied still ► Forbid ◄───────┤
//!                                                          nobody could ► Forbid ◄───────┴──────► RequireApproval
//! ```
//!
//! The first evaluation is without votes, so the guards that match are those of the situation, whatever votes there are.

use std::collections::BTreeSet;
use std::time::Duration;

use cedar_policy::{Authorizer, Decision as Cedar, Entities, Entity, EntityUid, Request};
use placet_core::action::{ActionRequest, Facts, Grade};
use placet_core::c14n::Value;
use placet_core::decision::{
    Because, Condition, Decision, Effect, ForbidReason, GuardAsk, Need, Requirement, RoleName, Tally,
};
use placet_core::directory::Directory;
use placet_core::id::EvaluationId;
use placet_core::review::{Verdict, Vote};
use placet_core::time::Timestamp;

use crate::bundle::{Bucket, Bundle};
use crate::context::{Evidence, check_facts, millis};
use crate::entities;
use crate::explain::{self, Explained, PolicyKind};
use crate::guard::{self, Guard};
use crate::policies::{Kind, Rule};
use crate::settings::RoleRule;
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
    /// Each person's standing vote. Which approvals count is decided here, and whether the denials end it.
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
    /// The policies behind a question or a no, and which of their parts held. Nothing where it permits.
    pub explained: Vec<Explained>,
    /// What would change a no, for those who write policy.
    pub hint: Option<String>,
}

/// Of how many policies the parts are evaluated for one decision: a bundle may have a thousand.
const EXPLAINED_RULES_MAX: usize = 32;

/// Everything about a question that does not depend on votes.
pub(crate) struct Scene<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) principal: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) entities: Entities,
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
        let (effect, because, guards, explained, hint) = match outcome {
            Ok(outcome) => (outcome.effect, outcome.because, outcome.guards, outcome.explained, None),
            Err(Refusal { reason, because, explained, hint }) => {
                let hint = hint.or_else(|| explain::hint_for(&reason));
                (Effect::Forbid(reason), because, Vec::new(), explained, hint)
            }
        };
        let inputs = self.inputs(question, &tally, &guards);
        let decision = Decision {
            evaluation: question.evaluation,
            bundle: self.digest(),
            at: question.now,
            effect,
            because,
        };
        Judgement { decision, tally, evidence_until, inputs, explained, hint }
    }

    fn judge(&self, question: &Question<'_>, tally: &mut Tally) -> Result<Outcome, Refusal> {
        if !question.directory.chain_stands(&question.action.chain) {
            return Err(ForbidReason::ChainBroken.into());
        }
        let scene = self.scene(question)?;
        let bare = self.request(&scene, question, Evidence::Nothing)?;
        let guards = match self.ask_cedar(&scene, &bare)? {
            Answer::Allow(rules) => return Ok(Outcome::permit(because(&rules), Vec::new(), None)),
            Answer::Deny(rules) => self.only_guards(&rules, &scene, &bare)?,
        };
        let guard_ids: Vec<String> = guards.iter().map(|guard| guard.id.clone()).collect();
        let age_max = guards.iter().filter_map(|guard| guard::age_bound(&guard.needs)).min();
        let electorate = Electorate::new(self, question, self.asked_roles(&guards));
        *tally = electorate.tally(age_max);
        let veto = guards.iter().map(|guard| guard.veto).min().unwrap_or(1);
        if deniers(question) >= veto as usize {
            // The denials stand, whatever was asked for when they were given.
            let asks = self.asks(&guards, &scene, &bare);
            let asking: Vec<&Rule> = self.sorted_rules(&guard_ids);
            let explained = explain::of_guards(&asks, tally);
            return Err(Refusal {
                because: because(&asking),
                explained,
                ..Refusal::from(ForbidReason::Vetoed)
            });
        }
        if !tally.people.is_empty() {
            let counted = self.request(&scene, question, Evidence::Counted(tally))?;
            match self.ask_cedar(&scene, &counted)? {
                Answer::Allow(rules) => return Ok(Outcome::permit(because(&rules), guard_ids, age_max)),
                // A vote can bring up a ban: the rules against self-approval.
                Answer::Deny(rules) => self.only_guards(&rules, &scene, &counted)?,
            };
        }
        let most = self.request(&scene, question, Evidence::Most)?;
        if let Answer::Deny(rules) = self.ask_cedar(&scene, &most)? {
            // Without a permit there is nothing that anyone could approve.
            return Err(if rules.is_empty() {
                self.not_permitted(&scene, &bare)
            } else {
                let explained = self.explained(&rules, &scene, &most);
                Refusal {
                    because: because(&rules),
                    explained,
                    ..Refusal::from(ForbidReason::CannotBeApproved)
                }
            });
        }
        let asks = self.asks(&guards, &scene, &bare);
        electorate.could_clear(&asks).map_err(|reason| Refusal {
            explained: explain::of_guards(&asks, tally),
            hint: self.hint_for_role(&reason),
            ..Refusal::from(reason)
        })?;
        let explained = explain::of_guards(&asks, tally);
        let requirement = Requirement {
            review_for: guards.iter().map(|guard| guard.timeout).min().unwrap_or(self.settings().timeout),
            age_max,
            veto,
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
            explained,
        })
    }

    /// The guards among these rules, if nothing but guards stands against the action.
    fn only_guards<'a>(
        &self,
        rules: &[&'a Rule],
        scene: &Scene<'_>,
        request: &Request,
    ) -> Result<Vec<&'a Guard>, Refusal> {
        if rules.is_empty() {
            return Err(self.not_permitted(scene, request));
        }
        let bans: Vec<&Rule> = rules.iter().filter(|rule| rule.guard.is_none()).copied().collect();
        if !bans.is_empty() {
            let explained = self.explained(&bans, scene, request);
            return Err(Refusal {
                because: because(&bans),
                explained,
                ..Refusal::from(ForbidReason::Policy)
            });
        }
        Ok(guards_of(rules))
    }

    /// Nothing permits it: the permits that come nearest.
    fn not_permitted(&self, scene: &Scene<'_>, request: &Request) -> Refusal {
        let ids: Vec<String> =
            scene.bucket.policies.policies().map(|policy| policy.id().to_string()).collect();
        let permits: Vec<&Rule> =
            self.sorted_rules(&ids).into_iter().filter(|rule| rule.kind == Kind::Allow).collect();
        let nearest = explain::nearest(self.explained(&permits, scene, request));
        let hint = explain::hint_for_permits(scene.bucket.action.id().unescaped(), &nearest);
        Refusal { explained: nearest, hint: Some(hint), ..Refusal::from(ForbidReason::NotPermitted) }
    }

    /// What of these rules holds.
    fn explained(&self, rules: &[&Rule], scene: &Scene<'_>, request: &Request) -> Vec<Explained> {
        let one = |rule: &&Rule| {
            let (kind, parts) = match &rule.guard {
                Some(guard) => (PolicyKind::Guard, &guard.parts),
                None if rule.kind == Kind::Allow => (PolicyKind::Permit, &rule.parts),
                None => (PolicyKind::Ban, &rule.parts),
            };
            let parts = parts.evaluate(request, &scene.entities);
            Explained { policy: rule.id.clone(), kind, parts, asks: None }
        };
        rules.iter().take(EXPLAINED_RULES_MAX).map(one).collect()
    }

    /// How somebody could come to have the role that too few people have.
    fn hint_for_role(&self, reason: &ForbidReason) -> Option<String> {
        let ForbidReason::NobodyCanApprove(role) = reason else { return None };
        Some(match self.roles().get(role)? {
            RoleRule::Group(group) => {
                format!(
                    "too few people who have nothing to do with the request are in the group {}",
                    group.as_str()
                )
            }
            RoleRule::ResourceAttr(attribute) => format!(
                "too few people who have nothing to do with the request are in the group that the resource names as its {attribute}"
            ),
            RoleRule::Policy => format!("review.cedar lets too few people vote as {role}"),
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
            let bare = self.request(&scene, question, Evidence::Nothing)?;
            match self.ask_cedar(&scene, &bare)? {
                Answer::Deny(rules) if rules.iter().all(|rule| rule.guard.is_some()) => Ok(guards_of(&rules)),
                Answer::Deny(_) | Answer::Allow(_) => Ok(Vec::new()),
            }
        });
        match guards {
            Ok(guards) if !guards.is_empty() => {
                let age_max = guards.iter().filter_map(|guard| guard::age_bound(&guard.needs)).min();
                (self.asked_roles(&guards), age_max)
            }
            Ok(_) | Err(_) => (self.roles().keys().cloned().collect(), None),
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

    fn ask_cedar(&self, scene: &Scene<'_>, request: &Request) -> Result<Answer<'_>, Refusal> {
        let response = Authorizer::new().is_authorized(request, &scene.bucket.policies, &scene.entities);
        let mut errors: Vec<String> = response.diagnostics().errors().map(erring_policy).collect();
        if !errors.is_empty() {
            // A forbid that errs would be a forbid that is off.
            errors.sort();
            let rules = self.sorted_rules(&errors);
            return Err(Refusal {
                because: because(&rules),
                ..Refusal::from(ForbidReason::PolicyError(errors.clone()))
            });
        }
        let ids: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let rules = self.sorted_rules(&ids);
        Ok(match response.decision() {
            Cedar::Allow => Answer::Allow(rules),
            Cedar::Deny => Answer::Deny(rules),
        })
    }

    /// The guards as reviewers see them.
    fn asks(&self, guards: &[&Guard], scene: &Scene<'_>, request: &Request) -> Vec<GuardAsk> {
        guards.iter().map(|guard| self.ask(guard, scene, request)).collect()
    }

    /// A guard as reviewers see it: what of its situation held, and what it accepts.
    fn ask(&self, guard: &Guard, scene: &Scene<'_>, request: &Request) -> GuardAsk {
        let parts = guard.parts.evaluate(request, &scene.entities);
        let condition = |text: &String| {
            let known = parts.iter().find(|part| part.text == *text).cloned();
            known.unwrap_or_else(|| Condition { text: text.clone(), words: text.clone(), holds: None })
        };
        GuardAsk {
            id: guard.id.clone(),
            title: guard.title.clone(),
            because: guard.because.clone(),
            situation: guard.situation.iter().map(condition).collect(),
            needs: with_conditions(&guard.needs, &condition),
            escalate: guard.escalate.clone(),
        }
    }
}

/// What a judgement comes to.
struct Outcome {
    effect: Effect,
    because: Vec<Because>,
    /// The guards that match, cleared or not.
    guards: Vec<String>,
    age_max: Option<Duration>,
    explained: Vec<Explained>,
}

impl Outcome {
    fn permit(because: Vec<Because>, guards: Vec<String>, age_max: Option<Duration>) -> Self {
        Outcome { effect: Effect::Permit, because, guards, age_max, explained: Vec::new() }
    }
}

/// A no, and the policies that say it.
pub(crate) struct Refusal {
    reason: ForbidReason,
    because: Vec<Because>,
    explained: Vec<Explained>,
    hint: Option<String>,
}

impl From<ForbidReason> for Refusal {
    fn from(reason: ForbidReason) -> Self {
        Refusal { reason, because: Vec::new(), explained: Vec::new(), hint: None }
    }
}

fn guards_of<'a>(rules: &[&'a Rule]) -> Vec<&'a Guard> {
    rules.iter().filter_map(|rule| rule.guard.as_ref()).collect()
}

/// How many people deny it.
fn deniers(question: &Question<'_>) -> usize {
    let denials = question.votes.iter().filter(|vote| vote.verdict == Verdict::Deny);
    denials.map(|vote| vote.person).collect::<BTreeSet<_>>().len()
}

fn because(rules: &[&Rule]) -> Vec<Because> {
    let because = |rule: &&Rule| Because {
        policy: rule.id.clone(),
        title: rule.title.clone(),
        text: rule.because.clone(),
    };
    rules.iter().map(because).collect()
}

/// The few entities that one evaluation sees.
pub(crate) fn slice(entities: impl IntoIterator<Item = Entity>) -> Result<Entities, ForbidReason> {
    Entities::from_entities(entities, None)
        .map_err(|error| ForbidReason::UnknownEntity(placet_core::text::visible(&error.to_string())))
}

pub(crate) fn erring_policy(error: &cedar_policy::AuthorizationError) -> String {
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
            workload: None,
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
                let request = bundle.request(&scene, &question, Evidence::Counted(&tally));
                match request.and_then(|request| bundle.ask_cedar(&scene, &request)) {
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
