//! Tool calls that a rule maps by [CEL](https://cel.dev), over the one variable `args`.
//!
//! ```toml
//! [[tool]]
//! server = "warehouse"
//! tool = "export_table"
//! arguments = ["table", "limit"]           # all that the rule accounts for; a call with more is not this one
//! when = 'args.table != "audit"'
//! action = "data.export"
//! resource = { type = "Dataset", id = '"shop." + args.table' }
//! [tool.facts]
//! rows = 'has(args.limit) ? args.limit : null'      # null is absence
//! ```
//!
//! A rule that errs maps nothing. Numbers that are not whole ones of 64 bits have no exact counterpart in CEL: the names
//! of the arguments that carry them are `unrepresentable`, and asked about. There are no loops over arguments, so a rule
//! takes time in proportion to its own length and theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Program, Value as Cel};
use placet_core::action::{ActionName, Fact, Facts, ResourceRef};
use placet_core::c14n::Value;
use serde::Deserialize;
use toml::Spanned;

use super::Mapped;
use crate::finding::{Finding, Source};
use crate::schema::{FactKind, FactShape, Vocabulary};

/// How many bytes an expression may have.
const EXPRESSION_BYTES_MAX: usize = 2048;
/// How many operators, dots and brackets an expression may have: parsing and evaluating go down with each.
const EXPRESSION_SYMBOLS_MAX: usize = 96;
/// Larger arguments are not looked into: an expression may repeat them as often as it is long.
const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;
/// The only variable.
const ARGS: &str = "args";

/// A `[[tool]]` as it stands in the file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    server: String,
    tool: String,
    arguments: BTreeSet<String>,
    when: Option<String>,
    action: String,
    resource: WrittenResource,
    #[serde(default)]
    facts: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct WrittenResource {
    r#type: String,
    id: String,
}

/// A rule, compiled and checked against the schema.
#[derive(Clone, Debug)]
pub(super) struct ToolRule {
    server: String,
    tool: String,
    arguments: BTreeSet<String>,
    when: Option<Arc<Program>>,
    action: ActionName,
    resource_type: String,
    resource_id: Arc<Program>,
    facts: BTreeMap<String, (FactShape, Arc<Program>)>,
}

/// What a rule says of a call.
pub(super) enum Applied {
    /// It is about this.
    Mapped(Mapped),
    /// It is about other calls.
    NotThisOne,
    /// It could not be evaluated.
    Failed,
}

impl ToolRule {
    pub(super) fn read(
        source: Source<'_>,
        written: &Spanned<Written>,
        vocabulary: &Vocabulary,
    ) -> Result<ToolRule, Vec<Finding>> {
        let mut reader = Reader { source, span: written.span(), findings: Vec::new() };
        match reader.read(written.get_ref(), vocabulary) {
            Some(rule) if reader.findings.is_empty() => Ok(rule),
            _ => Err(reader.findings),
        }
    }

    pub(super) fn is_for(&self, server: &str, tool: &str) -> bool {
        self.server == server && self.tool == tool
    }

    pub(super) fn apply(&self, arguments: &Value) -> Applied {
        let Some(members) = arguments.as_object() else { return Applied::NotThisOne };
        if members.keys().any(|name| !self.arguments.contains(name)) {
            return Applied::NotThisOne;
        }
        if arguments.canonical().len() > ARGUMENTS_BYTES_MAX {
            return Applied::Failed;
        }
        let mut context = Context::default();
        context.add_variable_from_value(ARGS, cel_value(arguments));
        match self.when.as_ref().map(|when| when.execute(&context)) {
            None | Some(Ok(Cel::Bool(true))) => {}
            Some(Ok(Cel::Bool(false))) => return Applied::NotThisOne,
            Some(_) => return Applied::Failed,
        }
        self.evaluate(members, &context).map_or(Applied::Failed, Applied::Mapped)
    }

    fn evaluate(&self, members: &BTreeMap<String, Value>, context: &Context<'_, '_>) -> Option<Mapped> {
        let Cel::String(id) = self.resource_id.execute(context).ok()? else { return None };
        let resource = ResourceRef::new(&self.resource_type, &id).ok()?;
        let inexact = members.iter().filter(|(_, value)| !is_exact(value)).map(|(name, _)| name.clone());
        let mut facts = Facts { known: BTreeMap::new(), unrepresentable: inexact.collect() };
        for (name, (shape, program)) in &self.facts {
            match program.execute(context).ok()? {
                Cel::Null if !shape.required => {}
                value => match fact(&value, shape.kind) {
                    Some(fact) => {
                        facts.known.insert(name.clone(), fact);
                    }
                    None => {
                        facts.unrepresentable.insert(name.clone());
                    }
                },
            }
        }
        Some(Mapped { action: self.action.clone(), resource, facts })
    }
}

fn fact(value: &Cel, kind: FactKind) -> Option<Fact> {
    match (kind, value) {
        (FactKind::Bool, Cel::Bool(yes)) => Some(Fact::Bool(*yes)),
        (FactKind::Long, Cel::Int(number)) => Some(Fact::Long(*number)),
        (FactKind::Text, Cel::String(text)) => Some(Fact::Text(text.to_string())),
        (FactKind::Texts, Cel::List(items)) => {
            let texts: Option<BTreeSet<String>> = items
                .iter()
                .map(|item| match item {
                    Cel::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            texts.map(Fact::Texts)
        }
        _ => None,
    }
}

/// Whether CEL has an exact counterpart for all of it.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_integer().is_some(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

fn cel_value(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(yes) => Cel::Bool(*yes),
        Value::Number(number) => match number.as_integer() {
            Some(whole) => Cel::Int(whole),
            // A map takes part in no arithmetic and no order, so an expression that counts on a number errs.
            None => Cel::from(HashMap::from([("inexact".to_owned(), number.as_str().to_owned())])),
        },
        Value::String(text) => Cel::from(text.clone()),
        Value::Array(items) => Cel::from(items.iter().map(cel_value).collect::<Vec<_>>()),
        Value::Object(members) => {
            let members: HashMap<String, Cel> =
                members.iter().map(|(name, value)| (name.clone(), cel_value(value))).collect();
            Cel::from(members)
        }
    }
}

struct Reader<'a> {
    source: Source<'a>,
    span: Range<usize>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn refuse(&mut self, message: impl Into<String>) {
        self.findings.push(self.source.error("mapping", self.span.clone(), message));
    }

    fn read(&mut self, written: &Written, vocabulary: &Vocabulary) -> Option<ToolRule> {
        let when = written.when.as_ref().map(|text| self.compile("when", text));
        let resource_id = self.compile("resource.id", &written.resource.id);
        let action =
            ActionName::parse(&written.action).map_err(|error| self.refuse(error.to_string())).ok()?;
        let Some(shape) = vocabulary.actions.get(&action) else {
            self.refuse(format!("schema.cedarschema has no action {action}"));
            return None;
        };
        if !shape.resources.contains(&written.resource.r#type) {
            self.refuse(format!("{action} does not apply to {}", written.resource.r#type));
        }
        let mut facts = BTreeMap::new();
        for (name, text) in &written.facts {
            match (shape.facts.get(name), self.compile(name, text)) {
                (Some(shape), Some(program)) => {
                    facts.insert(name.clone(), (*shape, program));
                }
                (None, _) => {
                    self.refuse(format!("{name} is not a fact of this action in schema.cedarschema"))
                }
                (Some(_), None) => {}
            }
        }
        for (name, declared) in &shape.facts {
            if declared.required && !written.facts.contains_key(name) {
                self.refuse(format!("{name} is required by schema.cedarschema and not under [tool.facts]"));
            }
        }
        Some(ToolRule {
            server: written.server.clone(),
            tool: written.tool.clone(),
            arguments: written.arguments.clone(),
            when: when.map_or(Some(None), |program| program.map(Some))?,
            action,
            resource_type: written.resource.r#type.clone(),
            resource_id: resource_id?,
            facts,
        })
    }

    fn compile(&mut self, name: &str, text: &str) -> Option<Arc<Program>> {
        if text.len() > EXPRESSION_BYTES_MAX {
            self.refuse(format!("{name}: an expression has at most {EXPRESSION_BYTES_MAX} bytes"));
            return None;
        }
        let symbols =
            text.chars().filter(|symbol| !symbol.is_alphanumeric() && !symbol.is_whitespace()).count();
        if symbols > EXPRESSION_SYMBOLS_MAX {
            self.refuse(format!(
                "{name}: an expression has at most {EXPRESSION_SYMBOLS_MAX} operators, dots and brackets"
            ));
            return None;
        }
        let program = match Program::compile(text) {
            Ok(program) => program,
            Err(error) => {
                self.refuse(format!("{name}: {error}"));
                return None;
            }
        };
        if loops(&program.expression().expr) {
            self.refuse(format!("{name}: all, exists, map and filter are not available here"));
            return None;
        }
        let strangers: Vec<String> = program
            .references()
            .variables()
            .into_iter()
            .filter(|variable| *variable != ARGS)
            .map(str::to_owned)
            .collect();
        if let Some(stranger) = strangers.first() {
            self.refuse(format!("{name}: there is no {stranger}, only args"));
            return None;
        }
        Some(Arc::new(program))
    }
}

/// Whether an expression goes through a list or a map. Anything that is not known to be plain counts as a loop.
fn loops(expression: &Expr) -> bool {
    match expression {
        Expr::Ident(_) | Expr::Literal(_) => false,
        Expr::Select(select) => loops(&select.operand.expr),
        Expr::Call(call) => {
            call.target.as_ref().is_some_and(|target| loops(&target.expr))
                || call.args.iter().any(|argument| loops(&argument.expr))
        }
        Expr::List(list) => list.elements.iter().any(|element| loops(&element.expr)),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => loops(&entry.key.expr) || loops(&entry.value.expr),
            EntryExpr::StructField(_) => true,
        }),
        Expr::Comprehension(_) | Expr::Struct(_) | Expr::Unspecified => true,
    }
}
