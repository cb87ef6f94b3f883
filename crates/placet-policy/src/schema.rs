//! The merged schema: what placet knows by itself, the evidence that the bundle's roles make, and the bundle's own part.
//!
//! A bundle declares its resources and, for each action, only the facts that a call carries. What placet fills itself
//! (`now`, `approvals`, `pep`, `grade`, `unrepresentable`) is added here, so no bundle can declare it differently, and
//! each action becomes a member of `Action::"privileged"`, so the rules against self-approval hold for all of them.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Schema, SchemaFragment};
use placet_core::action::{ActionName, RESERVED_FACTS};
use placet_core::decision::RoleName;
use serde_json::{Map, Value as Json, json};

use crate::finding::{Finding, Source};
use crate::policies::{statements, tangle};
use crate::settings::RoleRule;

/// The actions that are votes.
pub(crate) const VOTE_ACTIONS: [&str; 2] = ["review.approve", "review.deny"];
/// What a command that no template maps is called.
pub(crate) const COMMAND_RUN: &str = "command.run";
/// What a tool call that no rule maps is called.
pub(crate) const MCP_CALL: &str = "mcp.call";
/// What reading a resource of an MCP server is called.
pub(crate) const MCP_READ: &str = "mcp.read";
/// What getting a prompt of one is called.
pub(crate) const MCP_PROMPT: &str = "mcp.prompt";
/// What asking one to complete an argument is called.
pub(crate) const MCP_COMPLETE: &str = "mcp.complete";
/// Every action that is not a vote is a member.
pub(crate) const PRIVILEGED: &str = "privileged";
/// Resource types whose entities exist by being named: placet saw the program, or the call of the server, itself.
pub(crate) const IMPLICIT_TYPES: [&str; 4] = ["Program", "Tool", "McpResource", "McpPrompt"];

/// What the bundle's schema is merged with. `name` of persons and agents stays out: names are not stable.
const BASE: &str = r#"
entity Group;
entity Person in [Group];
entity Agent in [Group] = { "sponsor": Person };
entity Pipeline in [Group] = { "sponsor": Person };
entity Program;
entity Tool;
entity McpResource;
entity McpPrompt;
entity Pep enum ["command", "mcp", "external"];
entity Grade enum ["advisory", "gated", "enforced"];
action "privileged";
action "command.run" appliesTo { principal: [Agent, Pipeline, Person], resource: [Program], context: { "program": String } };
action "mcp.call" appliesTo { principal: [Agent, Pipeline, Person], resource: [Tool], context: { "server": String, "tool": String, "warns"?: Set<String> } };
action "mcp.read" appliesTo { principal: [Agent, Pipeline, Person], resource: [McpResource], context: { "server": String, "uri": String } };
action "mcp.prompt" appliesTo { principal: [Agent, Pipeline, Person], resource: [McpPrompt], context: { "server": String, "prompt": String } };
action "mcp.complete" appliesTo { principal: [Agent, Pipeline, Person], resource: [McpPrompt, McpResource], context: { "server": String } };
"#;

/// A schema, and what of it placet looks things up in.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    pub(crate) actions: BTreeMap<ActionName, ActionShape>,
    pub(crate) entities: BTreeMap<String, EntityShape>,
    /// Attributes of resources that a review carries over, because a role resolves through them.
    pub(crate) review_attributes: BTreeSet<String>,
}

/// An action that can be asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ActionShape {
    pub(crate) principals: BTreeSet<String>,
    pub(crate) resources: BTreeSet<String>,
    pub(crate) facts: BTreeMap<String, FactShape>,
    /// Whether placet declares it, not the bundle.
    pub(crate) built_in: bool,
}

/// A fact that policy may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FactShape {
    pub(crate) kind: FactKind,
    pub(crate) required: bool,
}

/// The kinds of facts, as in [`Fact`](placet_core::action::Fact).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FactKind {
    Bool,
    Long,
    Text,
    Texts,
}

impl FactKind {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            FactKind::Bool => "true or false",
            FactKind::Long => "a whole number of 64 bits",
            FactKind::Text => "a string",
            FactKind::Texts => "an array of strings",
        }
    }
}

/// An entity type that `entities.toml` may fill.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct EntityShape {
    pub(crate) attributes: BTreeMap<String, (AttributeKind, Required)>,
    /// The types its entities may be in.
    pub(crate) parents: BTreeSet<String>,
    /// Its only entities, if it is an enumeration.
    pub(crate) names: Option<BTreeSet<String>>,
    pub(crate) built_in: bool,
}

/// Whether an attribute must be there.
pub(crate) type Required = bool;

/// The kinds of attributes that `entities.toml` can write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AttributeKind {
    Bool,
    Long,
    Text,
    Entity(String),
    Set(Box<AttributeKind>),
}

impl Vocabulary {
    /// Merges placet's part with the bundle's.
    pub(crate) fn read(
        source: Source<'_>,
        roles: &BTreeMap<RoleName, RoleRule>,
    ) -> Result<Vocabulary, Vec<Finding>> {
        let tangled: Vec<Finding> =
            statements(source.text).iter().filter_map(|place| tangle(source, place)).collect();
        if !tangled.is_empty() {
            return Err(tangled);
        }
        let fragment = SchemaFragment::from_cedarschema_str(source.text);
        let user = match fragment {
            Ok((fragment, warnings)) => {
                let warned: Vec<Finding> = warnings.map(|warning| source.foreign("L8", &warning)).collect();
                if !warned.is_empty() {
                    return Err(warned);
                }
                fragment.to_json_value().map_err(|error| vec![source.error("L8", 0..0, error.to_string())])?
            }
            Err(error) => return Err(vec![source.foreign("L8", &error)]),
        };
        let mut reader = Reader { source, findings: Vec::new() };
        let mut user = reader.only_namespace(user);
        let review_attributes: BTreeSet<String> = roles
            .values()
            .filter_map(|rule| match rule {
                RoleRule::ResourceAttr(attribute) => Some(attribute.clone()),
                RoleRule::Group(_) | RoleRule::Policy => None,
            })
            .collect();
        let mut base =
            base_json(roles, &review_attributes).map_err(|error| vec![source.error("L8", 0..0, error)])?;
        reader.check_user(&user, &base);
        let mut actions = reader.actions(&mut user, false);
        actions.extend(reader.actions(&mut base, true));
        let mut entities = reader.entities(&user, &base);
        reader.check_review_attributes(&review_attributes, &entities);
        if !reader.findings.is_empty() {
            return Err(reader.findings);
        }
        for shape in entities.values_mut() {
            shape.parents.retain(|parent| !parent.is_empty());
        }
        let schema = merged(base, user).map_err(|error| vec![source.error("L8", 0..0, error)])?;
        Ok(Vocabulary { schema, actions, entities, review_attributes })
    }
}

fn merged(base: Json, user: Json) -> Result<Schema, String> {
    let whole = |part: Json| SchemaFragment::from_json_value(json!({ "": part })).map_err(|e| chain(&e));
    Schema::from_schema_fragments([whole(base)?, whole(user)?]).map_err(|error| chain(&error))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// placet's own part for these roles.
fn base_json(
    roles: &BTreeMap<RoleName, RoleRule>,
    review_attributes: &BTreeSet<String>,
) -> Result<Json, String> {
    let counts: String =
        roles.keys().map(|role| format!("\"{role}\": Long, \"{role}@L2\": Long, ")).collect();
    let carried: String =
        review_attributes.iter().map(|attribute| format!(", \"{attribute}\"?: Group")).collect();
    let text = format!(
        r#"{BASE}
type Approvals = {{ {counts}"distinct": Long, "people": Set<Person>, "age": duration }};
entity Review = {{ "action": String, "sponsor": Person{carried} }};
action "review.approve", "review.deny" appliesTo {{ principal: [Person], resource: [Review],
  context: {{ "now": datetime, "role": String, "assurance": Long }} }};"#
    );
    let (fragment, _) = SchemaFragment::from_cedarschema_str(&text).map_err(|error| chain(&error))?;
    let mut whole = fragment.to_json_value().map_err(|error| chain(&error))?;
    Ok(whole.get_mut("").map(Json::take).unwrap_or_else(|| json!({})))
}

/// What placet fills in every context beside the votes' own.
fn reserved_attributes() -> [(&'static str, Json); 5] {
    let named = |name: &str| json!({ "type": "EntityOrCommon", "name": name });
    [
        ("now", named("datetime")),
        ("approvals", named("Approvals")),
        ("pep", named("Pep")),
        ("grade", named("Grade")),
        ("unrepresentable", json!({ "type": "Set", "element": named("String") })),
    ]
}

/// Walks the JSON form of a schema. Places are found again by name: the JSON form has no positions.
struct Reader<'a> {
    source: Source<'a>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn refuse(&mut self, name: &str, message: String) {
        let offset = self.source.text.find(name).unwrap_or(0);
        let length = if self.source.text.contains(name) { name.len() } else { 0 };
        self.findings.push(self.source.error("L8", offset..offset + length, message));
    }

    fn only_namespace(&mut self, mut whole: Json) -> Json {
        let namespaces: Vec<String> =
            whole.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        for name in namespaces.iter().filter(|name| !name.is_empty()) {
            self.refuse(name, format!("namespace {name}: a bundle's schema has no namespaces"));
        }
        whole.get_mut("").map(Json::take).unwrap_or_else(|| json!({ "entityTypes": {}, "actions": {} }))
    }

    /// What the bundle may not declare: what placet declares, and names that placet could not address.
    fn check_user(&mut self, user: &Json, base: &Json) {
        for kind in ["entityTypes", "actions", "commonTypes"] {
            for name in keys(user, kind) {
                if member(base, kind, &name).is_some() {
                    self.refuse(
                        &name,
                        format!("{name} is declared by placet: leave it out of the bundle's schema"),
                    );
                }
            }
        }
        for name in keys(user, "commonTypes").into_iter().chain(keys(user, "entityTypes")) {
            let shadows = ["Bool", "Boolean", "Long", "String", "Set", "Record", "Entity", "Action"];
            if shadows.contains(&name.as_str())
                || ["datetime", "duration", "decimal", "ipaddr"].contains(&name.as_str())
            {
                self.refuse(&name, format!("{name} is a name of Cedar's: call the type something else"));
            }
        }
        for name in keys(user, "actions") {
            if let Err(error) = ActionName::parse(&name) {
                self.refuse(&name, error.to_string());
            }
            if name.starts_with("review.") || name.starts_with("policy.") {
                self.refuse(&name, format!("{name}: the names review.… and policy.… are placet's own"));
            }
        }
    }

    /// Reads the actions that can be asked for, and adds to each what placet fills.
    fn actions(&mut self, part: &mut Json, built_in: bool) -> BTreeMap<ActionName, ActionShape> {
        let common = part.get("commonTypes").cloned().unwrap_or(Json::Null);
        let mut shapes = BTreeMap::new();
        let Some(actions) = part.get_mut("actions").and_then(Json::as_object_mut) else { return shapes };
        for (name, action) in actions {
            if VOTE_ACTIONS.contains(&name.as_str()) {
                continue;
            }
            let Some(applies) = action.get_mut("appliesTo").and_then(Json::as_object_mut) else { continue };
            let mut shape = ActionShape {
                principals: texts(applies.get("principalTypes")),
                resources: texts(applies.get("resourceTypes")),
                facts: BTreeMap::new(),
                built_in,
            };
            if shape.principals.is_empty() && shape.resources.is_empty() {
                continue;
            }
            let strangers = shape
                .principals
                .iter()
                .filter(|kind| !["Agent", "Pipeline", "Person"].contains(&kind.as_str()));
            for stranger in strangers.cloned().collect::<Vec<_>>() {
                self.refuse(name, format!("{name}: {stranger} cannot ask for anything; principals are Agent, Pipeline and Person"));
            }
            let context = record(applies.get("context"), &common);
            let Some(mut attributes) = context else {
                self.refuse(
                    name,
                    format!("{name}: write its context as a record, or name a record type of this file"),
                );
                continue;
            };
            for (fact, written) in &attributes {
                match self.fact(name, fact, written, &common) {
                    Some(fact_shape) => {
                        shape.facts.insert(fact.clone(), fact_shape);
                    }
                    None => continue,
                }
            }
            for (reserved, kind) in reserved_attributes() {
                attributes.insert(reserved.to_owned(), kind);
            }
            applies.insert("context".to_owned(), json!({ "type": "Record", "attributes": attributes }));
            join_privileged(action);
            if let Ok(parsed) = ActionName::parse(name) {
                shapes.insert(parsed, shape);
            }
        }
        shapes
    }

    fn fact(&mut self, action: &str, fact: &str, written: &Json, common: &Json) -> Option<FactShape> {
        if RESERVED_FACTS.contains(&fact) {
            self.refuse(fact, format!("{action}: {fact} is filled by placet: leave it out of the context"));
            return None;
        }
        let required = written.get("required").and_then(Json::as_bool).unwrap_or(true);
        let kind = match attribute_kind(written, common, &BTreeSet::new()) {
            Some(AttributeKind::Bool) => FactKind::Bool,
            Some(AttributeKind::Long) => FactKind::Long,
            Some(AttributeKind::Text) => FactKind::Text,
            Some(AttributeKind::Set(element)) if *element == AttributeKind::Text => FactKind::Texts,
            Some(AttributeKind::Entity(_) | AttributeKind::Set(_)) | None => {
                self.refuse(
                    fact,
                    format!(
                        "{action}: {fact} is Bool, Long, String or Set<String>; calls carry nothing else"
                    ),
                );
                return None;
            }
        };
        Some(FactShape { kind, required })
    }

    fn entities(&mut self, user: &Json, base: &Json) -> BTreeMap<String, EntityShape> {
        let common = user.get("commonTypes").cloned().unwrap_or(Json::Null);
        let known: BTreeSet<String> =
            keys(user, "entityTypes").into_iter().chain(keys(base, "entityTypes")).collect();
        let mut shapes = BTreeMap::new();
        for (part, built_in) in [(base, true), (user, false)] {
            for name in keys(part, "entityTypes") {
                let Some(written) = member(part, "entityTypes", &name) else { continue };
                let mut shape = EntityShape { built_in, ..EntityShape::default() };
                shape.parents = texts(written.get("memberOfTypes"));
                shape.names = written.get("enum").map(|names| texts(Some(names)));
                if !built_in && written.get("tags").is_some() {
                    self.refuse(&name, format!("{name}: tags are not supported, use attributes"));
                }
                let attributes = match written.get("shape") {
                    None => Some(Map::new()),
                    shape => record(shape, &common),
                };
                for (attribute, kind) in attributes.iter().flatten() {
                    let required = kind.get("required").and_then(Json::as_bool).unwrap_or(true);
                    match attribute_kind(kind, &common, &known) {
                        Some(kind) => {
                            shape.attributes.insert(attribute.clone(), (kind, required));
                        }
                        None if built_in => {}
                        None => self.refuse(
                            attribute,
                            format!("{name}.{attribute}: entities have Bool, Long, String, entity and Set attributes"),
                        ),
                    }
                }
                shapes.insert(name, shape);
            }
        }
        shapes
    }

    fn check_review_attributes(
        &mut self,
        carried: &BTreeSet<String>,
        entities: &BTreeMap<String, EntityShape>,
    ) {
        for attribute in carried {
            let names_a_group = |shape: &EntityShape| {
                shape
                    .attributes
                    .get(attribute)
                    .is_some_and(|(kind, _)| *kind == AttributeKind::Entity("Group".to_owned()))
            };
            if !entities.values().any(|shape| !shape.built_in && names_a_group(shape)) {
                let message = format!(
                    "a role of bundle.toml resolves through {attribute}, but no entity type here has {attribute}: Group"
                );
                self.refuse(attribute, message);
            }
        }
    }
}

fn join_privileged(action: &mut Json) {
    let group = json!({ "type": "Action", "id": PRIVILEGED });
    let Some(action) = action.as_object_mut() else { return };
    match action.get_mut("memberOf").and_then(Json::as_array_mut) {
        Some(groups) if groups.contains(&group) => {}
        Some(groups) => groups.push(group),
        None => {
            action.insert("memberOf".to_owned(), json!([group]));
        }
    }
}

/// The attributes of a record type, written here or under a name of this file.
fn record(written: Option<&Json>, common: &Json) -> Option<Map<String, Json>> {
    let Some(written) = written else { return Some(Map::new()) };
    let kind = written.get("type").and_then(Json::as_str)?;
    let name = if kind == "EntityOrCommon" { written.get("name").and_then(Json::as_str)? } else { kind };
    if name == "Record" {
        if written.get("additionalAttributes").and_then(Json::as_bool) == Some(true) {
            return None;
        }
        return Some(written.get("attributes").and_then(Json::as_object).cloned().unwrap_or_default());
    }
    let named = common.get(name)?;
    // One step only: a name for a name for a record is more than a reader should have to follow.
    (named.get("type").and_then(Json::as_str) == Some("Record"))
        .then(|| named.get("attributes").and_then(Json::as_object).cloned().unwrap_or_default())
}

fn attribute_kind(written: &Json, common: &Json, entities: &BTreeSet<String>) -> Option<AttributeKind> {
    let kind = written.get("type").and_then(Json::as_str)?;
    let name = match kind {
        "EntityOrCommon" | "Entity" => written.get("name").and_then(Json::as_str)?,
        "Set" => {
            let element = attribute_kind(written.get("element")?, common, entities)?;
            return match element {
                AttributeKind::Set(_) => None,
                plain => Some(AttributeKind::Set(Box::new(plain))),
            };
        }
        other => other,
    };
    if let Some(named) = common.get(name) {
        // A named type may name a plain one, not another named one.
        return attribute_kind(named, &Json::Null, entities);
    }
    match name.strip_prefix("__cedar::").unwrap_or(name) {
        "Bool" | "Boolean" => Some(AttributeKind::Bool),
        "Long" => Some(AttributeKind::Long),
        "String" => Some(AttributeKind::Text),
        entity if entities.contains(entity) => Some(AttributeKind::Entity(entity.to_owned())),
        _ => None,
    }
}

fn keys(part: &Json, kind: &str) -> Vec<String> {
    part.get(kind).and_then(Json::as_object).into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn member<'a>(part: &'a Json, kind: &str, name: &str) -> Option<&'a Json> {
    part.get(kind).and_then(|members| members.get(name))
}

fn texts(written: Option<&Json>) -> BTreeSet<String> {
    let items = written.and_then(Json::as_array).into_iter().flatten();
    items.filter_map(Json::as_str).map(str::to_owned).collect()
}
