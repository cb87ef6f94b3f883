//! Argument vectors that a template accounts for, word by word.
//!
//! ```toml
//! [[command]]
//! program = "pg_dump"
//! action = "data.export"
//! resource = 'Dataset::"{database}.{table}"'
//! positionals = ["{database}"]
//! [command.options]               # each stands exactly once, in any order, before the positionals
//! "-h" = "{host}"
//! "-t" = "{table}"
//! [command.optional]              # each stands at most once
//! "--no-owner" = true             # an option without a value
//! [command.values]
//! host = { one_of = ["127.0.0.1"] }
//! table = { names = { pgbench_accounts = "accounts" } }
//! database = { chars = "a-z 0-9 _", max = 63 }
//! ```
//!
//! There are no abbreviations, no joined short options (`-hlocalhost`), no repetition and no options after the first
//! positional, because programs differ in how they read these. `--name=value` and `--name value` are the same. `--` is
//! accepted between options and positionals if the template says `double_dash = true`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use placet_core::action::{ActionName, Fact, Facts, ResourceRef};
use serde::Deserialize;
use toml::{Spanned, Value as Toml};

use super::Mapped;
use super::template::{Bindings, Template, ValueRule, WrittenValue};
use crate::finding::{Finding, Source};
use crate::schema::{ActionShape, FactKind, Vocabulary};

/// A `[[command]]` as it stands in the file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    program: String,
    #[serde(default)]
    words: Vec<String>,
    action: String,
    resource: String,
    #[serde(default)]
    positionals: Vec<String>,
    #[serde(default)]
    double_dash: bool,
    #[serde(default)]
    options: BTreeMap<String, Toml>,
    #[serde(default)]
    optional: BTreeMap<String, Toml>,
    #[serde(default)]
    values: BTreeMap<String, WrittenValue>,
    #[serde(default)]
    facts: BTreeMap<String, Toml>,
}

/// A template, checked against the schema.
#[derive(Clone, Debug)]
pub(super) struct CommandTemplate {
    program: String,
    words: Vec<String>,
    action: ActionName,
    resource_type: String,
    resource_id: Template,
    options: BTreeMap<String, CommandOption>,
    positionals: Vec<Expected>,
    double_dash: bool,
    values: BTreeMap<String, ValueRule>,
    facts: BTreeMap<String, FactSource>,
}

#[derive(Clone, Debug)]
struct CommandOption {
    required: bool,
    /// None for one without a value.
    value: Option<Expected>,
}

/// What a word has to be.
#[derive(Clone, Debug)]
enum Expected {
    Literal(String),
    Placeholder(String),
}

/// Where a fact comes from.
#[derive(Clone, Debug)]
enum FactSource {
    Constant(Fact),
    Text(Template),
    Long(String),
    Texts(Vec<Template>),
    /// Whether this option stands.
    Flag(String),
}

impl CommandTemplate {
    pub(super) fn read(
        source: Source<'_>,
        written: &Spanned<Written>,
        vocabulary: &Vocabulary,
    ) -> Result<CommandTemplate, Vec<Finding>> {
        let mut reader = Reader { source, span: written.span(), vocabulary, findings: Vec::new() };
        let template = reader.read(written.get_ref());
        match template {
            Some(template) if reader.findings.is_empty() => Ok(template),
            _ => Err(reader.findings),
        }
    }

    /// What this command is about, if the template accounts for every word of it.
    pub(super) fn apply(&self, argv: &[String]) -> Option<Mapped> {
        let (program, rest) = argv.split_first()?;
        let words = rest.get(..self.words.len())?;
        if *program != self.program || words != self.words.as_slice() {
            return None;
        }
        let mut bindings = Bindings::new();
        let mut seen = BTreeSet::new();
        let after_options = self.read_options(rest.get(self.words.len()..)?, &mut bindings, &mut seen)?;
        let complete =
            self.options.iter().all(|(name, option)| !option.required || seen.contains(name.as_str()));
        if !complete || after_options.len() != self.positionals.len() {
            return None;
        }
        for (expected, word) in self.positionals.iter().zip(after_options) {
            self.bind(expected, word, &mut bindings)?;
        }
        let resource = ResourceRef::new(&self.resource_type, &self.resource_id.fill(&bindings)?).ok()?;
        let mut facts = Facts::default();
        for (name, from) in &self.facts {
            // A fact whose placeholder an optional option did not bind is absent; guards treat that as the bad case.
            if let Some(fact) = from.fact(&bindings, &seen) {
                facts.known.insert(name.clone(), fact);
            }
        }
        Some(Mapped { action: self.action.clone(), resource, facts })
    }

    /// Consumes the options; what is left are the positionals.
    fn read_options<'a>(
        &'a self,
        mut rest: &'a [String],
        bindings: &mut Bindings,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<&'a [String]> {
        while let Some((word, after)) = rest.split_first() {
            if word == "--" {
                return self.double_dash.then_some(after);
            }
            if !word.starts_with('-') {
                break;
            }
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (word.as_str(), None),
            };
            let (name, option) = self.options.get_key_value(name)?;
            if !seen.insert(name) {
                return None;
            }
            rest = after;
            match (&option.value, joined) {
                (None, None) => {}
                (None, Some(_)) => return None,
                (Some(expected), Some(value)) => self.bind(expected, value, bindings)?,
                (Some(expected), None) => {
                    let (value, after) = after.split_first()?;
                    self.bind(expected, value, bindings)?;
                    rest = after;
                }
            }
        }
        Some(rest)
    }

    fn bind(&self, expected: &Expected, word: &str, bindings: &mut Bindings) -> Option<()> {
        match expected {
            Expected::Literal(literal) => (literal == word).then_some(()),
            Expected::Placeholder(name) => {
                bindings.insert(name.clone(), self.values.get(name)?.accept(word)?);
                Some(())
            }
        }
    }
}

impl FactSource {
    fn fact(&self, bindings: &Bindings, seen: &BTreeSet<&str>) -> Option<Fact> {
        match self {
            FactSource::Constant(fact) => Some(fact.clone()),
            FactSource::Text(template) => template.fill(bindings).map(Fact::Text),
            FactSource::Long(name) => bindings.get(name)?.parse().ok().map(Fact::Long),
            FactSource::Texts(templates) => {
                let texts: Option<BTreeSet<String>> =
                    templates.iter().map(|template| template.fill(bindings)).collect();
                texts.map(Fact::Texts)
            }
            FactSource::Flag(option) => Some(Fact::Bool(seen.contains(option.as_str()))),
        }
    }

    /// The placeholders it needs.
    fn placeholders(&self) -> Vec<&str> {
        match self {
            FactSource::Constant(_) | FactSource::Flag(_) => Vec::new(),
            FactSource::Text(template) => template.placeholders().collect(),
            FactSource::Long(name) => vec![name],
            FactSource::Texts(templates) => templates.iter().flat_map(Template::placeholders).collect(),
        }
    }
}

/// Checks a template once, so that applying it can be plain.
struct Reader<'a> {
    source: Source<'a>,
    span: Range<usize>,
    vocabulary: &'a Vocabulary,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn refuse(&mut self, message: impl Into<String>) {
        self.findings.push(self.source.error("mapping", self.span.clone(), message));
    }

    fn accept<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|message| self.refuse(message)).ok()
    }

    fn read(&mut self, written: &Written) -> Option<CommandTemplate> {
        if written.program.is_empty() || written.program.contains('/') || written.program.len() > 255 {
            self.refuse(
                "program is the plain name by which the command is called; its path stands in runner.toml",
            );
        }
        let mut values = BTreeMap::new();
        for (name, rule) in &written.values {
            if let Some(rule) =
                self.accept(ValueRule::read(rule).map_err(|message| format!("{name}: {message}")))
            {
                values.insert(name.clone(), rule);
            }
        }
        let mut bound = BTreeSet::new();
        let mut always = BTreeSet::new();
        let mut options = BTreeMap::new();
        for (required, part) in [(true, &written.options), (false, &written.optional)] {
            for (name, value) in part {
                let Some(value) = self.option(name, value, &values, &mut bound) else { continue };
                if let (true, Some(Expected::Placeholder(placeholder))) = (required, &value) {
                    always.insert(placeholder.clone());
                }
                if options.insert(name.clone(), CommandOption { required, value }).is_some() {
                    self.refuse(format!("{name} stands under options and under optional"));
                }
            }
        }
        let mut positionals = Vec::new();
        for text in &written.positionals {
            let Some(expected) = self.expected(text, &values, &mut bound) else { continue };
            if let Expected::Placeholder(placeholder) = &expected {
                always.insert(placeholder.clone());
            }
            positionals.push(expected);
        }
        for name in values.keys().filter(|name| !bound.contains(*name)) {
            self.refuse(format!("{{{name}}} has a value rule but stands in no word"));
        }
        let (resource_type, resource_id) = self.resource(&written.resource, &values, &always)?;
        let action = self.action(&written.action, &resource_type)?;
        let shape = self.vocabulary.actions.get(&action)?;
        let facts = self.facts(&written.facts, shape, &values, &options, &always);
        Some(CommandTemplate {
            program: written.program.clone(),
            words: written.words.clone(),
            action,
            resource_type,
            resource_id,
            options,
            positionals,
            double_dash: written.double_dash,
            values,
            facts,
        })
    }

    fn option(
        &mut self,
        name: &str,
        value: &Toml,
        values: &BTreeMap<String, ValueRule>,
        bound: &mut BTreeSet<String>,
    ) -> Option<Option<Expected>> {
        let short = name.len() == 2 && name.starts_with('-') && name != "--";
        let long = name.starts_with("--") && name.len() > 2 && !name.contains('=');
        if !short && !long {
            self.refuse(format!("{name}: an option is -x or --name"));
        }
        match value {
            Toml::Boolean(true) => Some(None),
            Toml::String(text) => self.expected(text, values, bound).map(Some),
            _ => {
                self.refuse(format!(
                    "{name}: write a value like \"{{name}}\", or true for an option without one"
                ));
                None
            }
        }
    }

    fn expected(
        &mut self,
        text: &str,
        values: &BTreeMap<String, ValueRule>,
        bound: &mut BTreeSet<String>,
    ) -> Option<Expected> {
        let template = self.accept(Template::parse(text))?;
        if let Some(literal) = template.literal() {
            return Some(Expected::Literal(literal));
        }
        let Some(name) = template.single() else {
            self.refuse(format!("{text:?}: a word is one placeholder or plain text"));
            return None;
        };
        if !values.contains_key(name) {
            self.refuse(format!("{{{name}}} has no rule: say under [command.values] what it may be"));
        }
        if !bound.insert(name.to_owned()) {
            self.refuse(format!("{{{name}}} stands in two words"));
        }
        Some(Expected::Placeholder(name.to_owned()))
    }

    fn resource(
        &mut self,
        text: &str,
        values: &BTreeMap<String, ValueRule>,
        always: &BTreeSet<String>,
    ) -> Option<(String, Template)> {
        let parts = text.split_once("::").and_then(|(kind, id)| {
            Some((kind, id.strip_prefix('"')?.strip_suffix('"')?)).filter(|(_, id)| !id.contains('"'))
        });
        let Some((kind, id)) = parts else {
            self.refuse("write resource = 'Type::\"{placeholder}\"'");
            return None;
        };
        let template = self.accept(Template::parse(id))?;
        if let Some(name) = template.placeholders().find(|name| !always.contains(*name)) {
            self.refuse(format!("the resource needs {{{name}}}, which not every matching command has"));
        }
        if template.is_ambiguous(values) {
            self.refuse("two different commands could name the same resource: put between the placeholders a character that the value before it cannot contain");
        }
        Some((kind.to_owned(), template))
    }

    fn action(&mut self, name: &str, resource_type: &str) -> Option<ActionName> {
        let vocabulary = self.vocabulary;
        let action = self.accept(ActionName::parse(name).map_err(|error| error.to_string()))?;
        let Some(shape) = vocabulary.actions.get(&action) else {
            self.refuse(format!("schema.cedarschema has no action {action}"));
            return None;
        };
        if !shape.resources.contains(resource_type) {
            self.refuse(format!("{action} does not apply to {resource_type}"));
        }
        Some(action)
    }

    fn facts(
        &mut self,
        written: &BTreeMap<String, Toml>,
        shape: &ActionShape,
        values: &BTreeMap<String, ValueRule>,
        options: &BTreeMap<String, CommandOption>,
        always: &BTreeSet<String>,
    ) -> BTreeMap<String, FactSource> {
        let mut facts = BTreeMap::new();
        for (name, value) in written {
            let Some(declared) = shape.facts.get(name) else {
                self.refuse(format!("{name} is not a fact of this action in schema.cedarschema"));
                continue;
            };
            let Some(from) = self.fact(name, value, declared.kind, values, options) else { continue };
            let placeholders: Vec<String> = from.placeholders().into_iter().map(str::to_owned).collect();
            for placeholder in placeholders {
                if !values.contains_key(&placeholder) {
                    self.refuse(format!("{name}: {{{placeholder}}} stands in no word"));
                } else if declared.required && !always.contains(&placeholder) {
                    self.refuse(format!(
                        "{name} is required, but {{{placeholder}}} is optional: declare {name}? in the schema"
                    ));
                }
            }
            facts.insert(name.clone(), from);
        }
        let missing = |(name, declared): &(&String, &crate::schema::FactShape)| {
            declared.required && !written.contains_key(*name)
        };
        for (name, _) in shape.facts.iter().filter(missing) {
            self.refuse(format!("{name} is required by schema.cedarschema and not under [command.facts]"));
        }
        facts
    }

    fn fact(
        &mut self,
        name: &str,
        value: &Toml,
        kind: FactKind,
        values: &BTreeMap<String, ValueRule>,
        options: &BTreeMap<String, CommandOption>,
    ) -> Option<FactSource> {
        let read = match (kind, value) {
            (FactKind::Bool, Toml::Boolean(yes)) => Some(FactSource::Constant(Fact::Bool(*yes))),
            (FactKind::Bool, Toml::Table(table)) => match table.get("flag") {
                Some(Toml::String(option)) if table.len() == 1 && options.contains_key(option) => {
                    Some(FactSource::Flag(option.clone()))
                }
                _ => None,
            },
            (FactKind::Long, Toml::Integer(number)) => Some(FactSource::Constant(Fact::Long(*number))),
            (FactKind::Long, Toml::String(text)) => {
                let template = self.accept(Template::parse(text))?;
                let single = template.single().filter(|name| values.get(*name) == Some(&ValueRule::Long));
                single.map(|name| FactSource::Long(name.to_owned()))
            }
            (FactKind::Text, Toml::String(text)) => {
                Some(FactSource::Text(self.accept(Template::parse(text))?))
            }
            (FactKind::Texts, Toml::Array(items)) => {
                let templates: Option<Vec<Template>> =
                    items.iter().map(|item| Template::parse(item.as_str()?).ok()).collect();
                templates.map(FactSource::Texts)
            }
            _ => None,
        };
        if read.is_none() {
            let how = match kind {
                FactKind::Bool => "true, false or { flag = \"--option\" }",
                FactKind::Long => "a number, or \"{name}\" where the value rule is long = true",
                FactKind::Text => "a text with placeholders",
                FactKind::Texts => "an array of texts with placeholders",
            };
            self.refuse(format!("{name}: write {how}"));
        }
        read
    }
}
