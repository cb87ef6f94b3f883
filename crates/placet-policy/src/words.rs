//! Parts of a policy in plain words: `resource.class == Classification::"pii"` is "resource.class is pii".
//!
//! Words are for people beside the text, never in place of it: what cannot be said simply keeps its text. They are made
//! when a bundle is loaded, from the tree that Cedar read, so they cannot say something about another text.

use cedar_policy::pst::{BinaryOp, Expr, Literal, PatternElem, UnaryOp, Var};

/// Whether a clause is said as it is, or denied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Holds,
    DoesNot,
}

impl Side {
    fn turned(self) -> Side {
        match self {
            Side::Holds => Side::DoesNot,
            Side::DoesNot => Side::Holds,
        }
    }

    fn pick(self, holds: &'static str, does_not: &'static str) -> &'static str {
        match self {
            Side::Holds => holds,
            Side::DoesNot => does_not,
        }
    }
}

/// A condition in plain words.
pub(crate) fn in_words(expression: &Expr) -> String {
    clause(expression, Side::Holds)
}

fn clause(expression: &Expr, side: Side) -> String {
    match expression {
        Expr::UnaryOp { op: UnaryOp::Not, expr } => clause(expr, side.turned()),
        Expr::UnaryOp { op: UnaryOp::IsEmpty, expr } if is_unrepresentable(expr) => {
            side.pick("policy can read every argument", "policy cannot read every argument").to_owned()
        }
        Expr::UnaryOp { op: UnaryOp::IsEmpty, expr } => {
            format!("{} {}", term(expr), side.pick("is empty", "is not empty"))
        }
        Expr::BinaryOp { op, left, right } => binary(*op, left, right, side, expression),
        Expr::HasAttr { expr, attrs } => {
            let path: Vec<&str> = attrs.iter().map(|attr| attr.as_str()).collect();
            let path = path.join(".");
            match expr.as_ref() {
                Expr::Var(Var::Context) => format!("{path} {}", side.pick("is given", "is not given")),
                Expr::Var(Var::Principal) => {
                    format!("the requester's {path} {}", side.pick("is set", "is not set"))
                }
                Expr::Var(Var::Resource) => format!("resource.{path} {}", side.pick("is set", "is not set")),
                other => format!("{}.{path} {}", term(other), side.pick("is set", "is not set")),
            }
        }
        Expr::Like { expr, pattern } => {
            let pattern: String = pattern
                .iter()
                .map(|part| match part {
                    PatternElem::Char(letter) => *letter,
                    PatternElem::Wildcard => '*',
                })
                .collect();
            format!("{} {} {pattern}", term(expr), side.pick("is like", "is not like"))
        }
        Expr::Is { expr, entity_type, in_expr } => {
            let kind = entity_type.to_string();
            let within = in_expr.as_ref().map(|group| format!(" in {}", place(group))).unwrap_or_default();
            format!("{} {} {}{within}", term(expr), side.pick("is", "is not"), article(&kind))
        }
        Expr::Literal(Literal::Bool(yes)) => {
            let side = if *yes { side } else { side.turned() };
            side.pick("always", "never").to_owned()
        }
        Expr::GetAttr { .. } => format!("{} {}", term(expression), side.pick("is true", "is not true")),
        other => match side {
            Side::Holds => other.to_string(),
            Side::DoesNot => format!("not ({other})"),
        },
    }
}

fn binary(op: BinaryOp, left: &Expr, right: &Expr, side: Side, whole: &Expr) -> String {
    let say = |holds, does_not| format!("{} {} {}", term(left), side.pick(holds, does_not), term(right));
    match op {
        // What is denied of both is denied of each.
        BinaryOp::And => joined(left, right, side, side.pick(" and ", " or ")),
        BinaryOp::Or => joined(left, right, side, side.pick(" or ", " and ")),
        BinaryOp::Eq => say("is", "is not"),
        BinaryOp::NotEq => say("is not", "is"),
        BinaryOp::Less | BinaryOp::DecimalLessThan => say("is below", "is at least"),
        BinaryOp::LessEq | BinaryOp::DecimalLessEq => say("is at most", "is over"),
        BinaryOp::Greater | BinaryOp::DecimalGreater => say("is over", "is at most"),
        BinaryOp::GreaterEq | BinaryOp::DecimalGreaterEq => say("is at least", "is below"),
        BinaryOp::In => format!("{} {} {}", term(left), side.pick("is in", "is not in"), place(right)),
        BinaryOp::IsInRange => say("is in the range", "is not in the range"),
        BinaryOp::Contains => say("contains", "does not contain"),
        BinaryOp::ContainsAll => say("contains all of", "does not contain all of"),
        BinaryOp::ContainsAny => say("contains any of", "contains none of"),
        _ => match side {
            Side::Holds => whole.to_string(),
            Side::DoesNot => format!("not ({whole})"),
        },
    }
}

fn joined(left: &Expr, right: &Expr, side: Side, word: &str) -> String {
    let part = |part: &Expr| {
        let text = clause(part, side);
        let mixed = text.contains(" and ") && word == " or " || text.contains(" or ") && word == " and ";
        if mixed { format!("({text})") } else { text }
    };
    format!("{}{word}{}", part(left), part(right))
}

/// A thing, as it stands in a sentence.
fn term(expression: &Expr) -> String {
    match expression {
        Expr::Var(Var::Principal) => "the requester".to_owned(),
        Expr::Var(Var::Resource) => "the resource".to_owned(),
        Expr::Var(Var::Action) => "the action".to_owned(),
        Expr::Var(Var::Context) => "the call".to_owned(),
        Expr::GetAttr { expr, attr } => match expr.as_ref() {
            Expr::Var(Var::Context) if attr == "now" => "the time".to_owned(),
            Expr::Var(Var::Context) => attr.to_string(),
            Expr::Var(Var::Resource) => format!("resource.{attr}"),
            Expr::Var(Var::Principal) => format!("the requester's {attr}"),
            other => format!("{}.{attr}", term(other)),
        },
        Expr::Literal(Literal::Bool(yes)) => yes.to_string(),
        Expr::Literal(Literal::Long(number)) => number.to_string(),
        Expr::Literal(Literal::String(text)) => format!("{:?}", text.as_str()),
        Expr::Literal(Literal::EntityUID(uid)) => uid.eid.to_string(),
        Expr::UnaryOp { op: UnaryOp::Neg, expr } => format!("-{}", term(expr)),
        Expr::UnaryOp {
            op: UnaryOp::Datetime | UnaryOp::Duration | UnaryOp::Decimal | UnaryOp::Ip,
            expr,
        } => match expr.as_ref() {
            Expr::Literal(Literal::String(text)) => text.to_string(),
            other => other.to_string(),
        },
        Expr::BinaryOp { op: op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul), left, right } => {
            let sign = match op {
                BinaryOp::Add => "+",
                BinaryOp::Sub => "-",
                _ => "×",
            };
            format!("{} {sign} {}", term(left), term(right))
        }
        Expr::Set(items) => items.iter().map(|item| term(item)).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What something is in: groups are called so.
fn place(expression: &Expr) -> String {
    match expression {
        Expr::Literal(Literal::EntityUID(uid)) => {
            let kind = uid.ty.to_string();
            if kind == "Group" { format!("group {}", uid.eid) } else { format!("{kind} {}", uid.eid) }
        }
        Expr::Set(items) => {
            let items: Vec<String> = items.iter().map(|item| place(item)).collect();
            format!("one of {}", items.join(", "))
        }
        other => term(other),
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

fn is_unrepresentable(expression: &Expr) -> bool {
    matches!(expression, Expr::GetAttr { expr, attr }
        if attr == "unrepresentable" && matches!(expr.as_ref(), Expr::Var(Var::Context)))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;
    use cedar_policy::pst::{Clause, Policy as Pst};

    use super::*;

    fn said(text: &str) -> String {
        let policy: Policy =
            format!("permit (principal, action, resource) when {{ {text} }};").parse().unwrap();
        let Ok(Pst::Static(policy)) = policy.to_pst() else { panic!("{text}") };
        match &policy.body().clauses()[0] {
            Clause::When(expression) | Clause::Unless(expression) => in_words(expression),
        }
    }

    #[test]
    fn conditions_read_as_sentences() {
        for (text, words) in [
            ("resource.class == Classification::\"pii\"", "resource.class is pii"),
            ("resource.class != Classification::\"pii\"", "resource.class is not pii"),
            ("context.rows > 10000", "rows is over 10000"),
            ("!(context.rows > 10000)", "rows is at most 10000"),
            ("!(context has rows && context.rows <= 10)", "rows is not given or rows is over 10"),
            ("context has rows", "rows is given"),
            ("resource has owner", "resource.owner is set"),
            ("context.destination like \"s3://acme-*\"", "destination is like s3://acme-*"),
            ("!(context.destination like \"s3://acme-*\")", "destination is not like s3://acme-*"),
            ("principal in Group::\"analytics\"", "the requester is in group analytics"),
            ("principal in resource.owner", "the requester is in resource.owner"),
            (
                "resource in [Program::\"sh\", Program::\"bash\"]",
                "the resource is in one of Program sh, Program bash",
            ),
            ("principal is Agent", "the requester is an Agent"),
            ("principal is Agent in Group::\"x\"", "the requester is an Agent in group x"),
            ("!context.unrepresentable.isEmpty()", "policy cannot read every argument"),
            (
                "context.columns.containsAny([\"iban\", \"name\"])",
                "columns contains any of \"iban\", \"name\"",
            ),
            ("!context.columns.contains(\"iban\")", "columns does not contain \"iban\""),
            ("context.forced", "forced is true"),
            ("!context.forced", "forced is not true"),
            ("resource.env == \"prod\"", "resource.env is \"prod\""),
            ("context.now < datetime(\"2026-01-01\")", "the time is below 2026-01-01"),
            ("context.a + 1 >= context.b * 2", "a + 1 is at least b × 2"),
            ("true", "always"),
            ("(context.a == 1 || context.b == 2) && context.c == 3", "(a is 1 or b is 2) and c is 3"),
            ("context.pep == Pep::\"external\"", "pep is external"),
        ] {
            assert_eq!(said(text), words, "{text}");
        }
    }
}
