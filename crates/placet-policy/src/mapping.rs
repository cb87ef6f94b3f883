//! From an intercepted call to what policy talks about: action, resource and typed facts.
//!
//! A mapping never guesses. What a template does not account for is no match, and goes to the default guard of
//! `command.run` or `mcp.call`; what an external caller sends and the schema does not declare is a refusal. It never
//! produces `arguments`: these are the call itself.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::action::{ActionName, ActionRequest, Fact, Facts, PepKind, RESERVED_FACTS, ResourceRef};
use placet_core::c14n::Value;
use serde::Deserialize;

use crate::bundle::Bundle;
use crate::finding::{Finding, Source};
use crate::schema::{
    COMMAND_RUN, FactKind, FactShape, MCP_CALL, MCP_COMPLETE, MCP_PROMPT, MCP_READ, Vocabulary,
};
use crate::warnings::WARNS;

mod command;
mod template;
mod tool;

use command::CommandTemplate;
use tool::ToolRule;

/// The member of a command's arguments that holds its words.
pub const ARGV: &str = "argv";
/// The member of a tool call's arguments that names the upstream server.
pub const SERVER: &str = "server";
/// The member of a tool call's arguments that names the tool.
pub const TOOL: &str = "tool";
/// The member of a tool call's arguments that holds what the tool gets.
pub const TOOL_ARGUMENTS: &str = "arguments";

/// The member of another MCP call's arguments that names the method.
pub const METHOD: &str = "method";
/// The member of another MCP call's arguments that holds its parameters.
pub const PARAMS: &str = "params";

/// What a call is about, in policy's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// What would be done.
    pub action: ActionName,
    /// On what.
    pub resource: ResourceRef,
    /// What else policy may read.
    pub facts: Facts,
}

/// Why a call cannot be put into policy's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapRefusal {
    /// The schema has no such action.
    #[error("the active policy does not know the action {0}")]
    UnknownAction(String),
    /// The bundle does not list it.
    #[error("the active policy does not let agents carry out {0} by themselves")]
    NotExternal(String),
    /// The arguments are not what this kind of call has.
    #[error("the arguments are not {0}")]
    Shape(&'static str),
    /// placet fills this itself.
    #[error("the argument {0} is a name that placet fills itself")]
    Reserved(String),
    /// The schema does not declare it.
    #[error("the argument {0} is not declared for this action")]
    Undeclared(String),
    /// The schema requires it.
    #[error("the argument {0} is missing")]
    Missing(String),
    /// It is something else than the schema says.
    #[error("the argument {name} has to be {expected}")]
    Unfit {
        /// Which.
        name: String,
        /// What the schema says.
        expected: &'static str,
    },
    /// The name cannot stand for a resource.
    #[error("the call names nothing that policy could speak of: {0}")]
    Name(String),
    /// The bundle now calls it something else than what was reviewed.
    #[error("the active policy maps this call to another action or resource than the one that was asked for")]
    Moved,
}

/// `mapping.toml`, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    commands: Vec<CommandTemplate>,
    tools: Vec<ToolRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    command: Vec<toml::Spanned<command::Written>>,
    #[serde(default)]
    tool: Vec<toml::Spanned<tool::Written>>,
}

const RULES_MAX: usize = 1000;

impl Mapping {
    pub(crate) fn read(source: Source<'_>, vocabulary: &Vocabulary) -> Result<Mapping, Vec<Finding>> {
        let written: Written = toml::from_str(source.text).map_err(|error| vec![source.toml(&error)])?;
        let mut findings = Vec::new();
        if written.command.len() + written.tool.len() > RULES_MAX {
            findings.push(source.error(
                "mapping",
                0..0,
                format!("a bundle has at most {RULES_MAX} mapping rules"),
            ));
        }
        let mut mapping = Mapping::default();
        for command in &written.command {
            match CommandTemplate::read(source, command, vocabulary) {
                Ok(template) => mapping.commands.push(template),
                Err(found) => findings.extend(found),
            }
        }
        for tool in &written.tool {
            match ToolRule::read(source, tool, vocabulary) {
                Ok(rule) => mapping.tools.push(rule),
                Err(found) => findings.extend(found),
            }
        }
        if findings.is_empty() { Ok(mapping) } else { Err(findings) }
    }
}

impl Bundle {
    /// The facts of an external call: every argument is declared by the action's context, of its type, and there if it
    /// must be.
    pub fn map_external(&self, action: &ActionName, arguments: &Value) -> Result<Facts, MapRefusal> {
        if !self.is_external(action) {
            return Err(MapRefusal::NotExternal(action.to_string()));
        }
        let shape = self
            .vocabulary
            .actions
            .get(action)
            .ok_or_else(|| MapRefusal::UnknownAction(action.to_string()))?;
        let members = arguments.as_object().ok_or(MapRefusal::Shape("a JSON object"))?;
        let mut facts = Facts::default();
        for (name, value) in members {
            if RESERVED_FACTS.contains(&name.as_str()) {
                return Err(MapRefusal::Reserved(shown(name)));
            }
            let declared = shape.facts.get(name).ok_or_else(|| MapRefusal::Undeclared(shown(name)))?;
            let fact = typed(value, declared.kind).ok_or_else(|| MapRefusal::Unfit {
                name: name.clone(),
                expected: declared.kind.describe(),
            })?;
            facts.known.insert(name.clone(), fact);
        }
        match missing(&shape.facts, &facts) {
            Some(name) => Err(MapRefusal::Missing(name)),
            None => Ok(facts),
        }
    }

    /// What a command is about: what the one template says that accounts for every word of it, or else `command.run` on
    /// the program.
    pub fn map_command(&self, argv: &[String]) -> Result<Mapped, MapRefusal> {
        let mut matches = self.mapping.commands.iter().filter_map(|template| template.apply(argv));
        // Two readings are no reading.
        match (matches.next(), matches.next()) {
            (Some(mapped), None) => Ok(mapped),
            _ => unmapped_command(argv),
        }
    }

    /// What a tool call is about: what the first rule for the tool says whose condition holds, or else `mcp.call` on the
    /// tool.
    pub fn map_tool(&self, server: &str, tool: &str, arguments: &Value) -> Result<Mapped, MapRefusal> {
        for rule in self.mapping.tools.iter().filter(|rule| rule.is_for(server, tool)) {
            match rule.apply(arguments) {
                tool::Applied::Mapped(mapped) => return Ok(mapped),
                tool::Applied::NotThisOne => {}
                // A rule that errs says nothing; the ones after it were written for when it does not hold.
                tool::Applied::Failed => break,
            }
        }
        unmapped_tool(server, tool, self.warnings.of(server, tool))
    }

    /// The facts of a stored action under this bundle. If this bundle calls it something else than what was asked for
    /// and reviewed, that is a refusal.
    pub fn facts_again(&self, action: &ActionRequest) -> Result<Facts, MapRefusal> {
        if action.pep == PepKind::External {
            return self.map_external(&action.action, &action.arguments);
        }
        let mapped = self.mapped(action)?;
        if mapped.action == action.action && mapped.resource == action.resource {
            Ok(mapped.facts)
        } else {
            Err(MapRefusal::Moved)
        }
    }

    /// What this bundle makes of a stored call.
    pub(crate) fn mapped(&self, action: &ActionRequest) -> Result<Mapped, MapRefusal> {
        if action.pep == PepKind::External {
            return Ok(Mapped {
                action: action.action.clone(),
                resource: action.resource.clone(),
                facts: self.map_external(&action.action, &action.arguments)?,
            });
        }
        self.map_intercepted(action.pep, &action.arguments)
    }

    /// Whether a rule may map calls of this tool: then what they are about depends on their arguments.
    pub fn maps_tool(&self, server: &str, tool: &str) -> bool {
        self.mapping.tools.iter().any(|rule| rule.is_for(server, tool))
    }

    /// What an intercepted call is about.
    pub fn map_intercepted(&self, pep: PepKind, arguments: &Value) -> Result<Mapped, MapRefusal> {
        let members = || arguments.as_object().ok_or(MapRefusal::Shape("a JSON object"));
        match pep {
            // What nobody intercepted has a door of its own, with rules of its own.
            PepKind::External => Err(MapRefusal::Shape("a call that an enforcement point intercepted")),
            PepKind::Command => {
                const SHAPE: MapRefusal = MapRefusal::Shape("an object with argv, an array of strings");
                let words = members()?.get(ARGV).and_then(Value::as_array).ok_or(SHAPE)?;
                let argv: Option<Vec<String>> =
                    words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
                self.map_command(&argv.ok_or(SHAPE)?)
            }
            PepKind::Mcp => {
                const SHAPE: MapRefusal = MapRefusal::Shape("an object with server, tool and arguments");
                let members = members()?;
                let text = |name| members.get(name).and_then(Value::as_str).ok_or(SHAPE);
                // A call is of one kind, or a guard on the other would not see it.
                let mixed = |names: [&str; 2]| names.iter().any(|name| members.contains_key(*name));
                if mixed([METHOD, PARAMS]) && mixed([TOOL, TOOL_ARGUMENTS]) {
                    return Err(SHAPE);
                }
                if let Some(method) = members.get(METHOD) {
                    let params = members.get(PARAMS).and_then(Value::as_object).ok_or(SHAPE)?;
                    return unmapped_method(text(SERVER)?, method.as_str().ok_or(SHAPE)?, params);
                }
                let arguments = members.get(TOOL_ARGUMENTS).ok_or(SHAPE)?;
                self.map_tool(text(SERVER)?, text(TOOL)?, arguments)
            }
        }
    }
}

/// A command that no template accounts for. A name with a slash stays whole: `./ls` is not `ls`.
fn unmapped_command(argv: &[String]) -> Result<Mapped, MapRefusal> {
    let program = argv.first().ok_or(MapRefusal::Shape("a command: it has no words"))?;
    let resource =
        ResourceRef::new("Program", program).map_err(|error| MapRefusal::Name(error.to_string()))?;
    let known = BTreeMap::from([("program".to_owned(), Fact::Text(program.clone()))]);
    Ok(Mapped {
        action: built_in(COMMAND_RUN)?,
        resource,
        facts: Facts { known, unrepresentable: BTreeSet::new() },
    })
}

fn unmapped_tool(server: &str, tool: &str, warns: Option<&BTreeSet<String>>) -> Result<Mapped, MapRefusal> {
    let resource = ResourceRef::new("Tool", &format!("{server}/{tool}"))
        .map_err(|error| MapRefusal::Name(error.to_string()))?;
    let text = |name: &str, text: &str| (name.to_owned(), Fact::Text(text.to_owned()));
    let mut known = BTreeMap::from([text("server", server), text("tool", tool)]);
    known.extend(warns.map(|warns| (WARNS.to_owned(), Fact::Texts(warns.clone()))));
    Ok(Mapped {
        action: built_in(MCP_CALL)?,
        resource,
        facts: Facts { known, unrepresentable: BTreeSet::new() },
    })
}

/// A call of an MCP server that is none of a tool. What is not known here is no call that policy could speak of.
fn unmapped_method(
    server: &str,
    method: &str,
    params: &BTreeMap<String, Value>,
) -> Result<Mapped, MapRefusal> {
    const SHAPE: MapRefusal = MapRefusal::Shape("those of a method that policy knows");
    let text = |of: &BTreeMap<String, Value>, name: &str| {
        of.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(SHAPE)
    };
    let (action, kind, name, fact) = match method {
        "resources/read" => (MCP_READ, "McpResource", text(params, "uri")?, Some("uri")),
        "prompts/get" => (MCP_PROMPT, "McpPrompt", text(params, "name")?, Some("prompt")),
        "completion/complete" => {
            let of = params.get("ref").and_then(Value::as_object).ok_or(SHAPE)?;
            match text(of, "type")?.as_str() {
                "ref/prompt" => (MCP_COMPLETE, "McpPrompt", text(of, "name")?, None),
                "ref/resource" => (MCP_COMPLETE, "McpResource", text(of, "uri")?, None),
                _ => return Err(SHAPE),
            }
        }
        _ => return Err(SHAPE),
    };
    let resource = ResourceRef::new(kind, &format!("{server}/{name}"))
        .map_err(|error| MapRefusal::Name(error.to_string()))?;
    let mut known = BTreeMap::from([("server".to_owned(), Fact::Text(server.to_owned()))]);
    known.extend(fact.map(|fact| (fact.to_owned(), Fact::Text(name))));
    Ok(Mapped {
        action: built_in(action)?,
        resource,
        facts: Facts { known, unrepresentable: BTreeSet::new() },
    })
}

fn built_in(name: &str) -> Result<ActionName, MapRefusal> {
    ActionName::parse(name).map_err(|_| MapRefusal::UnknownAction(name.to_owned()))
}

/// A JSON value as a fact of this kind, if it is one exactly.
fn typed(value: &Value, kind: FactKind) -> Option<Fact> {
    match (kind, value) {
        (FactKind::Bool, Value::Bool(yes)) => Some(Fact::Bool(*yes)),
        (FactKind::Long, Value::Number(number)) => number.as_integer().map(Fact::Long),
        (FactKind::Text, Value::String(text)) => Some(Fact::Text(text.clone())),
        (FactKind::Texts, Value::Array(items)) => {
            let texts: Option<BTreeSet<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(Fact::Texts)
        }
        _ => None,
    }
}

fn missing(declared: &BTreeMap<String, FactShape>, facts: &Facts) -> Option<String> {
    let absent = |(name, shape): &(&String, &FactShape)| shape.required && !facts.known.contains_key(*name);
    declared.iter().find(absent).map(|(name, _)| name.clone())
}

/// A name from outside, short enough for a message and with nothing hidden in it.
fn shown(name: &str) -> String {
    placet_core::text::visible(&name.chars().take(64).collect::<String>())
}
