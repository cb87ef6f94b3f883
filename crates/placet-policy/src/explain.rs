//! Why: which policies had a say in a decision, and which of their parts held.
//!
//! ```text
//! guard ──split at && and ||──► parts ──each its own permit──► one evaluation ──► held, or not
//!                                                                │
//!           "asked because resource.class is pii; 1 of 2 data-owners" ◄┘
//! ```
//!
//! The parts are evaluated once, where a decision asks or forbids, and their truth is recorded with the decision: people
//! change their groups and the directory keeps no past, so evaluating later would answer about another world. A permit
//! costs nothing here.

use std::collections::BTreeSet;

use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, Effect, EntityOrSlot, EntityType, EntityUID, Expr, Literal,
    Policy as Pst, PrincipalConstraint, ResourceConstraint, StaticPolicy, Template, UnaryOp, Var,
};
use cedar_policy::{Authorizer, Entities, Policy, PolicySet, Request};
use placet_core::c14n::Value;
use placet_core::decision::{Condition, Effect as Outcome, ForbidReason, Tally};

use crate::decide::{Judgement, erring_policy};
use crate::words::in_words;

/// What a policy does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyKind {
    /// It asks people.
    Guard,
    /// It forbids, whoever approves.
    Ban,
    /// It permits; where it is part of a no, it nearly did.
    Permit,
}

impl PolicyKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyKind::Guard => "guard",
            PolicyKind::Ban => "ban",
            PolicyKind::Permit => "permit",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [PolicyKind::Guard, PolicyKind::Ban, PolicyKind::Permit]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One policy's part in a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// Its `@id`.
    pub policy: String,
    /// What it does.
    pub kind: PolicyKind,
    /// The parts of its situation.
    pub parts: Vec<Condition>,
    /// What it accepts as enough, as far as it was there: `1 of 2 data-owners`.
    pub asks: Option<String>,
}

/// Why a decision was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// `permit`, `ask` or `forbid`.
    pub effect: String,
    /// Why not, in one sentence.
    pub reason: Option<String>,
    /// The policies that determined it.
    pub because: Vec<String>,
    /// What held in them.
    pub policies: Vec<Explained>,
    /// What would change it.
    pub hint: Option<String>,
    /// Where votes were needed for a permit: who cleared which guards, `2 approvals by data-owners cleared pii-export`.
    pub cleared: Option<String>,
}

/// How many policies of a decision are explained.
const EXPLAINED_MAX: usize = 8;

impl Judgement {
    /// Why it came out so.
    pub fn explanation(&self) -> Explanation {
        let (effect, reason) = match &self.decision.effect {
            Outcome::Permit => ("permit", None),
            Outcome::Forbid(reason) => ("forbid", Some(reason.sentence())),
            Outcome::RequireApproval(_) => ("ask", None),
        };
        Explanation {
            effect: effect.to_owned(),
            reason,
            because: self.decision.because.iter().map(|because| because.policy.clone()).collect(),
            policies: self.explained.clone(),
            hint: self.hint.clone(),
            cleared: cleared(effect, &self.inputs),
        }
    }

    /// What an entry keeps of it, beside effect, reason and the policies' names.
    pub fn explained_value(&self) -> Option<Value> {
        let policy = |explained: &Explained| {
            let parts = explained.parts.iter().map(|part| {
                let holds = part.holds.map_or(Value::Null, Value::Bool);
                Value::Array(vec![Value::string(&*part.text), Value::string(&*part.words), holds])
            });
            let asks = explained.asks.as_deref().map_or(Value::Null, Value::string);
            Value::object([
                ("policy", Value::string(&*explained.policy)),
                ("kind", Value::string(explained.kind.as_str())),
                ("parts", Value::Array(parts.collect())),
                ("asks", asks),
            ])
        };
        (!self.explained.is_empty()).then(|| Value::Array(self.explained.iter().map(policy).collect()))
    }
}

impl Explanation {
    /// Reads what an entry keeps of a decision. What it does not keep is not explained.
    pub fn from_record(decision: &Value) -> Option<Explanation> {
        let members = decision.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = |name: &str| members.get(name).and_then(Value::as_array).into_iter().flatten();
        let effect = text("effect")?;
        Some(Explanation {
            cleared: members.get("inputs").and_then(|inputs| cleared(&effect, inputs)),
            effect,
            reason: text("detail"),
            because: list("because").filter_map(|id| id.as_str().map(str::to_owned)).collect(),
            policies: list("explained").filter_map(Explained::from_value).collect(),
            hint: text("hint"),
        })
    }

    /// One sentence: `asked because resource.class is pii; 1 of 2 data-owners`.
    pub fn sentence(&self) -> String {
        let mut clauses: Vec<String> = self.policies.iter().filter_map(Explained::clause).collect();
        if clauses.is_empty() && !self.because.is_empty() {
            clauses.push(self.because.join(", "));
        }
        match (self.effect.as_str(), &self.reason) {
            ("permit", _) => {
                let cleared =
                    self.cleared.as_deref().map(|cleared| format!(", after {cleared}")).unwrap_or_default();
                format!("permitted by {}{cleared}", self.because.join(", "))
            }
            ("ask", _) => format!("asked because {}", clauses.join("; and because ")),
            (_, reason) => {
                let reason = reason.as_deref().map(lower).unwrap_or_default();
                let bans: Vec<String> = self
                    .policies
                    .iter()
                    .filter(|policy| policy.kind == PolicyKind::Ban)
                    .filter_map(Explained::clause)
                    .collect();
                if bans.is_empty() {
                    format!("refused: {reason}")
                } else {
                    format!("refused because {}: {reason}", bans.join("; and because "))
                }
            }
        }
    }
}

/// What votes did for a permit, from what was recorded of its evidence.
fn cleared(effect: &str, inputs: &Value) -> Option<String> {
    let inputs = inputs.as_object().filter(|_| effect == "permit")?;
    let guards: Vec<&str> = inputs.get("guards")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let roles = inputs.get("approvals")?.as_object()?.get("roles")?.as_object()?;
    // With an @ stand the counts by assurance, which say the same people again.
    let votes = roles.iter().filter(|(role, _)| !role.contains('@'));
    let votes: Vec<String> = votes
        .map(|(role, count)| match count.canonical().as_str() {
            "1" => format!("1 approval by {role}"),
            count => format!("{count} approvals by {role}"),
        })
        .collect();
    (!guards.is_empty()).then(|| format!("{} cleared {}", votes.join(" and "), guards.join(", ")))
}

/// A sentence within a sentence.
fn lower(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    // A name keeps its letters.
    if sentence.split(' ').next().is_some_and(|word| word.contains(['"', ':'])) {
        return sentence.to_owned();
    }
    let mut letters = sentence.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

impl Explained {
    fn from_value(value: &Value) -> Option<Explained> {
        let members = value.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let part = |part: &Value| match part.as_array()? {
            [text, words, holds] => Some(Condition {
                text: text.as_str()?.to_owned(),
                words: words.as_str()?.to_owned(),
                holds: match holds {
                    Value::Bool(yes) => Some(*yes),
                    _ => None,
                },
            }),
            _ => None,
        };
        Some(Explained {
            policy: text("policy")?,
            kind: PolicyKind::parse(&text("kind")?)?,
            parts: members.get("parts")?.as_array()?.iter().filter_map(part).collect(),
            asks: text("asks"),
        })
    }

    /// What of it held, and what it asks for.
    fn clause(&self) -> Option<String> {
        if self.kind == PolicyKind::Permit {
            return None;
        }
        let held: Vec<&str> = self
            .parts
            .iter()
            .filter(|part| part.holds == Some(true))
            .map(|part| part.words.as_str())
            .collect();
        let held = if held.is_empty() { format!("of {}", self.policy) } else { held.join(" and ") };
        Some(match &self.asks {
            Some(asks) => format!("{held}; {asks}"),
            None => held,
        })
    }
}

/// Parts of a policy, each compiled to a permit that holds exactly if the part does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    permits: PolicySet,
    /// Text and words; a permit's id is its part's position.
    known: Vec<(String, String)>,
}

/// A part that Cedar does not take by itself.
pub(crate) struct Unreadable(pub(crate) String);

impl Parts {
    /// The parts of a policy that is no guard: its scope, then its clauses.
    pub(crate) fn of(policy: &Policy) -> Result<Parts, Unreadable> {
        let mut parts = Parts::default();
        let Ok(Pst::Static(policy)) = policy.to_pst() else { return Ok(parts) };
        let body = policy.body();
        for scope in scope(&body.principal, &body.resource) {
            parts.add(&scope)?;
        }
        for clause in body.clauses() {
            match clause {
                Clause::When(expression) => parts.split(expression)?,
                Clause::Unless(expression) => {
                    parts.add(&Expr::UnaryOp { op: UnaryOp::Not, expr: expression.clone() })?;
                }
            }
        }
        Ok(parts)
    }

    fn split(&mut self, expression: &Expr) -> Result<(), Unreadable> {
        if let Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } = expression {
            self.split(left)?;
            return self.split(right);
        }
        self.add(expression).map(drop)
    }

    /// Adds a part, and gives its text and words.
    pub(crate) fn add(&mut self, expression: &Expr) -> Result<(String, String), Unreadable> {
        let text = expression.to_string();
        let words = in_words(expression);
        if self.known.iter().any(|(known, _)| *known == text) {
            return Ok((text, words));
        }
        let unreadable = || Unreadable(text.clone());
        let template = Template::new(
            self.known.len().to_string().as_str(),
            Effect::Permit,
            PrincipalConstraint::Any,
            ActionConstraint::Any,
            ResourceConstraint::Any,
        );
        let template = template
            .try_with_clauses([Clause::When(std::sync::Arc::new(expression.clone()))])
            .map_err(|_| unreadable())?;
        let policy = StaticPolicy::try_from(template).map_err(|_| unreadable())?;
        let policy = Policy::from_pst(Pst::from(policy)).map_err(|_| unreadable())?;
        self.permits.add(policy).map_err(|_| unreadable())?;
        self.known.push((text.clone(), words.clone()));
        Ok((text, words))
    }

    /// Which parts hold. One that cannot be evaluated by itself is none.
    pub(crate) fn evaluate(&self, request: &Request, entities: &Entities) -> Vec<Condition> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let response = Authorizer::new().is_authorized(request, &self.permits, entities);
        let held: BTreeSet<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let erred: BTreeSet<String> = response.diagnostics().errors().map(erring_policy).collect();
        let part = |(position, (text, words)): (usize, &(String, String))| {
            let id = position.to_string();
            let holds = if erred.contains(&id) { None } else { Some(held.contains(&id)) };
            Condition { text: text.clone(), words: words.clone(), holds }
        };
        self.known.iter().enumerate().map(part).collect()
    }
}

/// What a policy's head says about who and what, as conditions.
fn scope(principal: &PrincipalConstraint, resource: &ResourceConstraint) -> Vec<Expr> {
    let entity = |entity: &EntityOrSlot| match entity {
        EntityOrSlot::Entity(uid) => Some(uid.clone()),
        EntityOrSlot::Slot(_) => None,
    };
    let first = match principal {
        PrincipalConstraint::Any => None,
        PrincipalConstraint::Eq(uid) => entity(uid).map(|uid| related(Var::Principal, BinaryOp::Eq, uid)),
        PrincipalConstraint::In(uid) => entity(uid).map(|uid| related(Var::Principal, BinaryOp::In, uid)),
        PrincipalConstraint::Is(kind) => Some(typed(Var::Principal, kind, None)),
        PrincipalConstraint::IsIn(kind, uid) => Some(typed(Var::Principal, kind, entity(uid))),
    };
    let second = match resource {
        ResourceConstraint::Any => None,
        ResourceConstraint::Eq(uid) => entity(uid).map(|uid| related(Var::Resource, BinaryOp::Eq, uid)),
        ResourceConstraint::In(uid) => entity(uid).map(|uid| related(Var::Resource, BinaryOp::In, uid)),
        ResourceConstraint::Is(kind) => Some(typed(Var::Resource, kind, None)),
        ResourceConstraint::IsIn(kind, uid) => Some(typed(Var::Resource, kind, entity(uid))),
    };
    first.into_iter().chain(second).collect()
}

fn related(var: Var, op: BinaryOp, uid: EntityUID) -> Expr {
    let right = Expr::Literal(Literal::EntityUID(uid));
    Expr::BinaryOp { op, left: Expr::Var(var).into(), right: right.into() }
}

fn typed(var: Var, kind: &EntityType, within: Option<EntityUID>) -> Expr {
    let in_expr = within.map(|uid| std::sync::Arc::new(Expr::Literal(Literal::EntityUID(uid))));
    Expr::Is { expr: Expr::Var(var).into(), entity_type: kind.clone(), in_expr }
}

/// The policies of a no that are worth telling, at most so many.
pub(crate) fn bounded(mut explained: Vec<Explained>) -> Vec<Explained> {
    explained.truncate(EXPLAINED_MAX);
    explained
}

/// The permits that come nearest to holding: those with the fewest parts that do not.
pub(crate) fn nearest(mut permits: Vec<Explained>) -> Vec<Explained> {
    let missing = |permit: &Explained| permit.parts.iter().filter(|part| part.holds != Some(true)).count();
    permits.sort_by_key(|permit| (missing(permit), permit.policy.clone()));
    permits.truncate(NEAREST_MAX);
    permits
}

/// Somebody who was refused needs one or two ideas, not the whole bundle.
const NEAREST_MAX: usize = 3;

/// What would have permitted it, if there is anything to say.
pub(crate) fn hint_for_permits(action: &str, nearest: &[Explained]) -> String {
    let Some(first) = nearest.first() else {
        return format!("no permit is about {action}: add one to allow.cedar");
    };
    let missing: Vec<&str> =
        first.parts.iter().filter(|part| part.holds != Some(true)).map(|part| part.words.as_str()).collect();
    if missing.is_empty() {
        return format!("the permit {} comes nearest", first.policy);
    }
    format!(
        "the permit {} comes nearest; it does not hold that {}",
        first.policy,
        missing.join(", nor that ")
    )
}

/// Guards with what they still lack under these votes.
pub(crate) fn of_guards(asks: &[placet_core::decision::GuardAsk], tally: &Tally) -> Vec<Explained> {
    let explained = asks.iter().map(|ask| Explained {
        policy: ask.id.clone(),
        kind: PolicyKind::Guard,
        parts: ask.situation.clone(),
        asks: Some(ask.needs.sentence(tally)),
    });
    bounded(explained.collect())
}

/// What to do about a no that no policy says.
pub(crate) fn hint_for(reason: &ForbidReason) -> Option<String> {
    match reason {
        ForbidReason::UnknownAction => Some(
            "schema.cedarschema does not say that this action applies to this requester and resource"
                .to_owned(),
        ),
        ForbidReason::UnknownEntity(name) => {
            Some(format!("{name} is not in entities.toml, or not active in the directory"))
        }
        ForbidReason::PolicyError(ids) => Some(format!(
            "could not be evaluated: {}; `placet policy test` with a case like this shows it",
            ids.join(", ")
        )),
        _ => None,
    }
}
