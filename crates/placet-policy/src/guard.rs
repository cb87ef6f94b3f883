//! Guards: the grammar of evidence, and the parts of a situation that can be shown one by one.
//!
//! ```text
//! E    := E && E | E || E | atom
//! atom := context.approvals["role"] >= N | context.approvals.distinct >= N | context.approvals.age <= duration("…")
//!       | any expression that does not speak of approvals
//! ```
//!
//! Cedar alone says whether votes are enough. What is read here is for people: what is asked, what is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use cedar_policy::Policy;
use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, Policy as Pst, Template, UnaryOp, Var};
use placet_core::decision::{Condition, Escalation, Need, RoleName};
use placet_core::review::Assurance;

use crate::explain::{Parts, Unreadable};
use crate::warnings::WARNS;

/// A policy of `ask.cedar`.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) because: Option<String>,
    /// What is enough; its conditions are filled at each decision.
    pub(crate) needs: Need,
    /// Each part of the situation, in the policy's order.
    pub(crate) situation: Vec<String>,
    /// Each part of the situation and each condition of the evidence as its own permit.
    pub(crate) parts: Parts,
    pub(crate) timeout: Duration,
    pub(crate) veto: u32,
    pub(crate) channels: BTreeSet<String>,
    pub(crate) escalate: Vec<Escalation>,
}

/// What a guard's clauses say.
#[derive(Debug)]
pub(crate) struct Clauses {
    pub(crate) needs: Need,
    pub(crate) situation: Vec<String>,
    pub(crate) parts: Parts,
}

/// Why clauses are not a guard's, with the rule that says so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GrammarError {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

impl From<Unreadable> for GrammarError {
    fn from(Unreadable(text): Unreadable) -> Self {
        off_grammar(format!("{text} cannot be evaluated by itself"), EVIDENCE)
    }
}

fn off_grammar(message: impl Into<String>, help: &'static str) -> GrammarError {
    GrammarError { rule: "L3", message: message.into(), help }
}

const ONE_UNLESS: &str = "two unless clauses clear a policy as OR: write one, and join its parts with && (a ban without unless belongs in never.cedar)";
const EVIDENCE: &str = "write context.approvals[\"role\"] >= N, context.approvals.distinct >= N or context.approvals.age <= duration(\"…\"), joined by && and ||";

/// Reads the clauses of a guard.
pub(crate) fn read(policy: &Policy, roles: &BTreeSet<&RoleName>) -> Result<Clauses, GrammarError> {
    let clauses = clauses_of(policy)?;
    let mut compiled = Parts::default();
    let (mut situation, mut evidence) = (Vec::new(), None);
    for clause in &clauses {
        match clause {
            Clause::When(expression) => {
                if !situation.is_empty() {
                    return Err(off_grammar("a guard has one when clause", "join its parts with &&"));
                }
                if speaks_of_votes(expression) {
                    return Err(off_grammar(
                        "the situation speaks of approvals",
                        "when says in which situation a guard asks; what is enough stands in unless",
                    ));
                }
                split(expression, &mut situation, &mut compiled)?;
            }
            Clause::Unless(expression) => {
                if evidence.is_some() {
                    return Err(off_grammar("a guard has one unless clause", ONE_UNLESS));
                }
                evidence = Some(read_need(expression, roles, &mut compiled)?);
            }
        }
    }
    let needs = evidence.ok_or_else(|| off_grammar("a guard has an unless clause", ONE_UNLESS))?;
    if !counts_votes(&needs) {
        return Err(off_grammar("this guard asks for no votes", EVIDENCE));
    }
    if age_stands_alone(&needs) {
        return Err(off_grammar(
            "without any vote the age is zero, so this age bound is cleared by nobody",
            "put context.approvals.age into an && with a count",
        ));
    }
    Ok(Clauses { needs, situation, parts: compiled })
}

/// The clauses of a policy as a tree.
fn clauses_of(policy: &Policy) -> Result<Vec<Clause>, GrammarError> {
    match policy.to_pst() {
        Ok(Pst::Static(policy)) => Ok(policy.body().clauses().clone()),
        Ok(Pst::Linked(_)) | Err(_) => Err(off_grammar("this policy cannot be read as a guard", EVIDENCE)),
    }
}

/// Whether a policy is about exactly the situation that this text is about.
pub(crate) fn has_situation_of(policy: &Policy, text: &str) -> bool {
    let read = |policy: &Policy| match policy.to_pst() {
        Ok(Pst::Static(policy)) => Some(policy.body().clone()),
        Ok(Pst::Linked(_)) | Err(_) => None,
    };
    let Some((one, other)) = read(policy).zip(text.parse().ok().as_ref().and_then(read)) else {
        return false;
    };
    let situation = |template: &Template| {
        let whens = template.clauses().iter().filter(|clause| matches!(clause, Clause::When(_)));
        whens.cloned().collect::<Vec<_>>()
    };
    one.effect == other.effect
        && one.principal == other.principal
        && one.action == other.action
        && one.resource == other.resource
        && situation(&one) == situation(&other)
}

/// What a tool says against itself may only add a question or a ban: it stands in `when`, and nothing turns it around.
pub(crate) fn only_heeds_warnings(policy: &Policy) -> bool {
    clauses_of(policy).is_ok_and(|clauses| {
        clauses.iter().all(|clause| match clause {
            Clause::When(expression) => heeds_warnings(expression),
            Clause::Unless(expression) => !speaks_of(expression, WARNS),
        })
    })
}

fn heeds_warnings(expression: &Expr) -> bool {
    let warns =
        |part: &Expr| matches!(part, Expr::GetAttr { expr, attr } if is_context(expr) && attr == WARNS);
    match expression {
        Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } => {
            heeds_warnings(left) && heeds_warnings(right)
        }
        Expr::BinaryOp {
            op: BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny,
            left,
            right,
        } if warns(left) => !speaks_of(right, WARNS),
        Expr::HasAttr { expr, .. } if is_context(expr) => true,
        other => !speaks_of(other, WARNS),
    }
}

/// Whether a policy speaks of what tools say against themselves.
pub(crate) fn policy_speaks_of_warnings(policy: &Policy) -> bool {
    policy_speaks_of(policy, WARNS)
}

/// Whether a policy speaks of votes anywhere, or passes the whole context on so that it could.
pub(crate) fn policy_speaks_of_votes(policy: &Policy) -> bool {
    policy_speaks_of(policy, "approvals")
}

/// Whether a policy reads the time, or passes the whole context on so that it could.
pub(crate) fn policy_speaks_of_time(policy: &Policy) -> bool {
    policy_speaks_of(policy, "now")
}

fn policy_speaks_of(policy: &Policy, fact: &str) -> bool {
    clauses_of(policy).map_or(true, |clauses| {
        clauses.iter().any(|clause| match clause {
            Clause::When(expression) | Clause::Unless(expression) => speaks_of(expression, fact),
        })
    })
}

fn speaks_of_votes(expression: &Expr) -> bool {
    speaks_of(expression, "approvals")
}

fn speaks_of(expression: &Expr, fact: &str) -> bool {
    expression.reduce(
        &|part| match part {
            Expr::GetAttr { expr, attr } if is_context(expr) => Some(attr == fact),
            Expr::HasAttr { expr, attrs } if is_context(expr) => Some(attrs.first() == fact),
            // The bare context could be compared, or put in a record and opened there.
            Expr::Var(Var::Context) => Some(true),
            _ => None,
        },
        &|left, right| left || right,
        false,
    )
}

fn is_context(expression: &Expr) -> bool {
    matches!(expression, Expr::Var(Var::Context))
}

fn read_need(
    expression: &Expr,
    roles: &BTreeSet<&RoleName>,
    compiled: &mut Parts,
) -> Result<Need, GrammarError> {
    match expression {
        Expr::BinaryOp { op: BinaryOp::And, left, right } => {
            let mut parts = Vec::new();
            for side in [left, right] {
                match read_need(side, roles, compiled)? {
                    Need::All(inner) => parts.extend(inner),
                    other => parts.push(other),
                }
            }
            Ok(Need::All(parts))
        }
        Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
            let mut parts = Vec::new();
            for side in [left, right] {
                match read_need(side, roles, compiled)? {
                    Need::Any(inner) => parts.extend(inner),
                    other => parts.push(other),
                }
            }
            Ok(Need::Any(parts))
        }
        atom if speaks_of_votes(atom) => read_vote_atom(atom, roles),
        atom => {
            let (text, words) = compiled.add(atom)?;
            Ok(Need::Data(Condition { text, words, holds: None }))
        }
    }
}

fn read_vote_atom(atom: &Expr, roles: &BTreeSet<&RoleName>) -> Result<Need, GrammarError> {
    let refused = || off_grammar(format!("{atom} is not a way to ask for votes"), EVIDENCE);
    let Expr::BinaryOp { op, left, right } = atom else { return Err(refused()) };
    let Expr::GetAttr { expr, attr } = left.as_ref() else { return Err(refused()) };
    let Expr::GetAttr { expr: inner, attr: approvals } = expr.as_ref() else { return Err(refused()) };
    if !(is_context(inner) && approvals == "approvals") {
        return Err(refused());
    }
    match (op, attr.as_str(), right.as_ref()) {
        (BinaryOp::LessEq, "age", Expr::UnaryOp { op: UnaryOp::Duration, expr }) => match expr.as_ref() {
            Expr::Literal(Literal::String(text)) => {
                cedar_duration(text).filter(|age| !age.is_zero()).map(Need::Within).ok_or_else(refused)
            }
            _ => Err(refused()),
        },
        (BinaryOp::GreaterEq, "age" | "people", _) => Err(refused()),
        (BinaryOp::GreaterEq, name, Expr::Literal(Literal::Long(count))) => {
            let count = u32::try_from(*count).ok().filter(|count| (1..=COUNT_MAX).contains(count));
            let count = count.ok_or_else(|| {
                off_grammar(
                    format!("{atom}: a count is 1 to {COUNT_MAX}"),
                    "zero votes would clear it without anyone",
                )
            })?;
            if name == "distinct" { Ok(Need::Distinct(count)) } else { read_role(name, count, roles) }
        }
        _ => Err(refused()),
    }
}

/// The most evidence that is ever assumed is above this.
const COUNT_MAX: u32 = 100;

fn read_role(name: &str, count: u32, roles: &BTreeSet<&RoleName>) -> Result<Need, GrammarError> {
    let unknown = |message: String| GrammarError {
        rule: "L5",
        message,
        help: "declare the role in bundle.toml, [role.NAME], or correct its name here",
    };
    let (role, assurance) = match name.split_once('@') {
        None => (name, None),
        Some((role, "L2")) => (role, Some(Assurance::L2)),
        Some((_, "L3")) => return Err(unknown(format!("{name}: assurance L3 is not built yet"))),
        Some((role, level)) => {
            return Err(unknown(format!(
                "{role}@{level}: write {role} for the bundle's minimum or {role}@L2"
            )));
        }
    };
    let parsed = RoleName::parse(role).ok().filter(|role| roles.contains(role));
    let role = parsed.ok_or_else(|| unknown(format!("no role {role:?} is declared")))?;
    Ok(Need::AtLeast { count, role, assurance })
}

/// Whether every way to satisfy it passes through a count.
fn counts_votes(need: &Need) -> bool {
    match need {
        Need::All(parts) | Need::Any(parts) => parts.iter().any(counts_votes),
        Need::AtLeast { .. } | Need::Distinct(_) => true,
        Need::Within(_) | Need::Data(_) => false,
    }
}

/// Whether satisfying it takes a vote, whatever the data say.
pub(crate) fn takes_a_vote(need: &Need) -> bool {
    match need {
        Need::All(parts) => parts.iter().any(takes_a_vote),
        Need::Any(parts) => parts.iter().all(takes_a_vote),
        Need::AtLeast { .. } | Need::Distinct(_) => true,
        Need::Within(_) | Need::Data(_) => false,
    }
}

/// Whether an age bound stands anywhere but in an AND that takes a vote.
fn age_stands_alone(need: &Need) -> bool {
    match need {
        Need::Within(_) => true,
        Need::Any(parts) => parts.iter().any(age_stands_alone),
        Need::All(parts) if takes_a_vote(need) => {
            parts.iter().any(|part| !matches!(part, Need::Within(_)) && age_stands_alone(part))
        }
        Need::All(parts) => parts.iter().any(age_stands_alone),
        Need::AtLeast { .. } | Need::Distinct(_) | Need::Data(_) => false,
    }
}

/// The smallest age bound anywhere in it.
pub(crate) fn age_bound(need: &Need) -> Option<Duration> {
    match need {
        Need::All(parts) | Need::Any(parts) => parts.iter().filter_map(age_bound).min(),
        Need::Within(age) => Some(*age),
        Need::AtLeast { .. } | Need::Distinct(_) | Need::Data(_) => None,
    }
}

/// How many people each role has to have for every way through: where there is a choice, nothing is certain.
pub(crate) fn wanted(need: &Need) -> Vec<(RoleName, u32)> {
    match need {
        Need::All(parts) => parts.iter().flat_map(wanted).collect(),
        Need::AtLeast { count, role, .. } => vec![(role.clone(), *count)],
        Need::Any(_) | Need::Distinct(_) | Need::Within(_) | Need::Data(_) => Vec::new(),
    }
}

/// Whether it counts people whatever their role.
pub(crate) fn counts_anyone(need: &Need) -> bool {
    match need {
        Need::All(parts) | Need::Any(parts) => parts.iter().any(counts_anyone),
        Need::Distinct(_) => true,
        Need::AtLeast { .. } | Need::Within(_) | Need::Data(_) => false,
    }
}

/// Whether two roles have to vote, and one person in both would do (L7).
pub(crate) fn one_person_may_do_for_two(need: &Need) -> bool {
    match need {
        Need::Any(parts) => parts.iter().any(one_person_may_do_for_two),
        Need::All(parts) => {
            let roles: BTreeSet<&RoleName> = parts
                .iter()
                .filter_map(|part| match part {
                    Need::AtLeast { role, .. } => Some(role),
                    _ => None,
                })
                .collect();
            let distinct = parts.iter().any(|part| matches!(part, Need::Distinct(_)));
            (roles.len() > 1 && !distinct) || parts.iter().any(one_person_may_do_for_two)
        }
        Need::AtLeast { .. } | Need::Distinct(_) | Need::Within(_) | Need::Data(_) => false,
    }
}

/// Splits a situation at `&&` and `||` into parts that can be shown one by one.
fn split(expression: &Expr, situation: &mut Vec<String>, compiled: &mut Parts) -> Result<(), GrammarError> {
    if let Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } = expression {
        split(left, situation, compiled)?;
        return split(right, situation, compiled);
    }
    let (text, _) = compiled.add(expression)?;
    situation.push(text);
    Ok(())
}

/// Reads Cedar's `duration("1h30m")`; negative ones are no bound.
fn cedar_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    for (unit, millis_each) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (written, after) = after.split_at_checked(letters)?;
        if digits == 0 || written != unit {
            continue;
        }
        millis = number.parse::<u64>().ok()?.checked_mul(millis_each)?.checked_add(millis)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cedar_durations() {
        for (text, millis) in [
            ("30m", Some(1_800_000)),
            ("1h30m", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("5ms", Some(5)),
            ("1s5ms", Some(1_005)),
            ("", None),
            ("-30m", None),
            ("30", None),
            ("m", None),
            ("1m1h", None),
        ] {
            assert_eq!(cedar_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
