//! What policy may look at beside the call: the bundle's resources, and the people and agents of the directory.
//!
//! A decision sees three entities: who asks, on what, and the action, each with all that it is in. Policies are held to
//! level 1, so they cannot ask for more. Each entity carries all its ancestors, so no closure is computed at decision.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use placet_core::action::{Principal, ResourceRef};
use placet_core::directory::{Agent, Directory, GroupName, Person};
use placet_core::id::{AgentId, PersonId};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Spanned as At};

use crate::finding::{Finding, Source};
use crate::schema::{AttributeKind, EntityShape, IMPLICIT_TYPES, Vocabulary};

const ENTITIES_MAX: usize = 10_000;
/// The key that names what an entity is in. Cedar reserves the word, so no attribute has it.
const PARENTS: &str = "in";

/// The bundle's resources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    by_name: BTreeMap<(String, String), Resource>,
}

#[derive(Clone, Debug)]
struct Resource {
    entity: Entity,
    /// Attributes that name a group: a review carries some of them over.
    groups: BTreeMap<String, String>,
}

/// An entity's name in Cedar. The type's name is one of the schema's or of this file's, so it parses.
pub(crate) fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    // A decision names a dozen entities of these types, and reading a type's name costs more than the rest of it.
    let known = known_types().iter().find(|(name, _)| *name == kind).map(|(_, kind)| kind.clone());
    let kind = match known {
        Some(kind) => kind,
        None => kind.parse().ok()?,
    };
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn known_types() -> &'static [(&'static str, EntityTypeName)] {
    const NAMES: [&str; 10] =
        ["Person", "Agent", "Pipeline", "Group", "Pep", "Grade", "Program", "Tool", "Review", "Action"];
    static KNOWN: OnceLock<Vec<(&str, EntityTypeName)>> = OnceLock::new();
    KNOWN.get_or_init(|| NAMES.iter().filter_map(|name| Some((*name, name.parse().ok()?))).collect())
}

impl Resources {
    /// Reads `entities.toml`: `[Dataset."shop.accounts"]` with attributes typed by the schema.
    pub(crate) fn read(source: Source<'_>, vocabulary: &Vocabulary) -> Result<Resources, Vec<Finding>> {
        let table = DeTable::parse(source.text).map_err(|error| vec![source.toml(&error)])?;
        let mut reader = Reader { source, vocabulary, findings: Vec::new() };
        let written = reader.walk(table.get_ref());
        if !reader.findings.is_empty() {
            return Err(reader.findings);
        }
        let parents: BTreeMap<Name, BTreeSet<Name>> =
            written.iter().map(|(name, entity)| (name.clone(), entity.parents.clone())).collect();
        let mut by_name = BTreeMap::new();
        for (name, entity) in written {
            let ancestors: HashSet<EntityUid> =
                ancestors(&name, &parents).iter().filter_map(|(kind, id)| uid(kind, id)).collect();
            let built = uid(&name.0, &name.1)
                .and_then(|uid| Entity::new(uid, entity.attributes, ancestors).ok())
                .ok_or_else(|| {
                    vec![source.error("entities", entity.span.clone(), "Cedar does not take this entity")]
                })?;
            by_name.insert(name, Resource { entity: built, groups: entity.groups });
        }
        let all = by_name.values().map(|resource| resource.entity.clone());
        Entities::from_entities(all, Some(&vocabulary.schema))
            .map_err(|error| vec![source.error("entities", 0..0, error.to_string())])?;
        Ok(Resources { by_name })
    }

    /// The resource as Cedar sees it, if it exists.
    pub(crate) fn entity(&self, resource: &ResourceRef, vocabulary: &Vocabulary) -> Option<Entity> {
        let name = (resource.kind().to_owned(), resource.id().to_owned());
        if let Some(found) = self.by_name.get(&name) {
            return Some(found.entity.clone());
        }
        let shape = vocabulary.entities.get(resource.kind())?;
        let implicit = shape.built_in && IMPLICIT_TYPES.contains(&resource.kind());
        let enumerated = shape.names.as_ref().is_some_and(|names| names.contains(resource.id()));
        (implicit || enumerated)
            .then(|| uid(resource.kind(), resource.id()))
            .flatten()
            .map(|uid| Entity::new_no_attrs(uid, HashSet::new()))
    }

    /// What is known of a resource, by attribute, as people may read it.
    pub(crate) fn facts(&self, resource: &ResourceRef) -> Vec<(String, String)> {
        let name = (resource.kind().to_owned(), resource.id().to_owned());
        let attributes = self.by_name.get(&name).into_iter().flat_map(|known| known.entity.attrs());
        let written = |value: Result<cedar_policy::EvalResult, _>| value.ok().map(|value| value.to_string());
        attributes.filter_map(|(attribute, value)| Some((attribute.to_owned(), written(value)?))).collect()
    }

    /// Every group that this attribute names anywhere.
    pub(crate) fn groups_named(&self, attribute: &str) -> BTreeSet<String> {
        self.by_name.values().filter_map(|resource| resource.groups.get(attribute).cloned()).collect()
    }

    /// The group that an attribute of a resource names.
    pub(crate) fn group(&self, resource: &ResourceRef, attribute: &str) -> Option<&str> {
        let name = (resource.kind().to_owned(), resource.id().to_owned());
        self.by_name.get(&name)?.groups.get(attribute).map(String::as_str)
    }
}

type Name = (String, String);

fn ancestors(of: &Name, parents: &BTreeMap<Name, BTreeSet<Name>>) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&Name> = parents.get(of).into_iter().flatten().collect();
    while let Some(name) = next.pop() {
        if found.insert(name.clone()) {
            next.extend(parents.get(name).into_iter().flatten());
        }
    }
    found
}

struct Written {
    span: Range<usize>,
    attributes: HashMap<String, RestrictedExpression>,
    groups: BTreeMap<String, String>,
    parents: BTreeSet<Name>,
}

struct Reader<'a> {
    source: Source<'a>,
    vocabulary: &'a Vocabulary,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn refuse(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.findings.push(self.source.error("entities", span, message));
    }

    fn walk(&mut self, table: &DeTable<'_>) -> BTreeMap<Name, Written> {
        let mut written = BTreeMap::new();
        for (kind, entities) in table {
            let name = kind.get_ref().as_ref();
            let vocabulary = self.vocabulary;
            let shape = match vocabulary.entities.get(name) {
                Some(shape) if shape.names.is_some() => {
                    self.refuse(
                        kind.span(),
                        format!("{name} is an enumeration: its entities stand in the schema"),
                    );
                    continue;
                }
                Some(shape) if !shape.built_in => shape,
                Some(_) => {
                    self.refuse(
                        kind.span(),
                        format!("{name} is filled by placet: only resources stand here"),
                    );
                    continue;
                }
                None => {
                    self.refuse(kind.span(), format!("schema.cedarschema has no entity type {name}"));
                    continue;
                }
            };
            let Some(entities) = entities.get_ref().as_table() else {
                self.refuse(entities.span(), format!("write [{name}.\"id\"]"));
                continue;
            };
            for (id, attributes) in entities {
                if let Err(error) = ResourceRef::new(name, id.get_ref()) {
                    self.refuse(id.span(), error.to_string());
                    continue;
                }
                if let Some(entity) = self.entity(name, shape, id, attributes) {
                    written.insert((name.to_owned(), id.get_ref().to_string()), entity);
                }
            }
        }
        if written.len() > ENTITIES_MAX {
            self.refuse(0..0, format!("a bundle has at most {ENTITIES_MAX} entities"));
        }
        let names: BTreeSet<Name> = written.keys().cloned().collect();
        for entity in written.values() {
            for (kind, id) in entity.parents.difference(&names) {
                let message = format!("{kind}::\"{id}\" is not in this file");
                self.findings.push(self.source.error("entities", entity.span.clone(), message));
            }
        }
        written
    }

    fn entity(
        &mut self,
        kind: &str,
        shape: &EntityShape,
        id: &Spanned<impl AsRef<str>>,
        value: &At<DeValue<'_>>,
    ) -> Option<Written> {
        let Some(table) = value.get_ref().as_table() else {
            self.refuse(
                value.span(),
                format!("write the attributes of {kind}::\"{}\" as a table", id.get_ref().as_ref()),
            );
            return None;
        };
        let mut entity = Written {
            span: id.span(),
            attributes: HashMap::new(),
            groups: BTreeMap::new(),
            parents: BTreeSet::new(),
        };
        for (attribute, value) in table {
            let name = attribute.get_ref().as_ref();
            if name == PARENTS {
                self.parents(kind, shape, value, &mut entity);
                continue;
            }
            let Some((expected, _)) = shape.attributes.get(name) else {
                self.refuse(
                    attribute.span(),
                    format!("{kind} has no attribute {name} in schema.cedarschema"),
                );
                continue;
            };
            if let Some(expression) = self.value(expected, value) {
                entity.attributes.insert(name.to_owned(), expression);
            }
            if let (AttributeKind::Entity(of), Some(group)) = (expected, value.get_ref().as_str())
                && of == "Group"
            {
                entity.groups.insert(name.to_owned(), group.to_owned());
            }
        }
        for (name, (_, required)) in &shape.attributes {
            if *required && !table.iter().any(|(written, _)| written.get_ref() == name.as_str()) {
                self.refuse(id.span(), format!("{kind}::\"{}\" lacks {name}", id.get_ref().as_ref()));
            }
        }
        Some(entity)
    }

    fn parents(&mut self, kind: &str, shape: &EntityShape, value: &At<DeValue<'_>>, entity: &mut Written) {
        let Some(items) = value.get_ref().as_array() else {
            return self.refuse(value.span(), "write in = [\"Type::id\"]");
        };
        for item in items.iter() {
            match item.get_ref().as_str().and_then(|text| text.split_once("::")) {
                Some((parent, id)) if shape.parents.contains(parent) => {
                    entity.parents.insert((parent.to_owned(), id.to_owned()));
                }
                _ => self.refuse(item.span(), format!("the schema does not say that {kind} may be in this")),
            }
        }
    }

    fn value(&mut self, expected: &AttributeKind, value: &At<DeValue<'_>>) -> Option<RestrictedExpression> {
        let read = match (expected, value.get_ref()) {
            (AttributeKind::Bool, DeValue::Boolean(yes)) => Some(RestrictedExpression::new_bool(*yes)),
            (AttributeKind::Long, DeValue::Integer(number)) if number.radix() == 10 => {
                number.as_str().parse().ok().map(RestrictedExpression::new_long)
            }
            (AttributeKind::Text, DeValue::String(text)) => {
                Some(RestrictedExpression::new_string(text.to_string()))
            }
            (AttributeKind::Entity(kind), DeValue::String(id)) => self.reference(kind, id, value.span()),
            (AttributeKind::Set(element), DeValue::Array(items)) => {
                let read: Vec<_> = items.iter().filter_map(|item| self.value(element, item)).collect();
                return Some(RestrictedExpression::new_set(read));
            }
            _ => None,
        };
        if read.is_none() {
            self.refuse(value.span(), format!("expected {}", describe(expected)));
        }
        read
    }

    fn reference(&mut self, kind: &str, id: &str, span: Range<usize>) -> Option<RestrictedExpression> {
        let exists = match kind {
            "Group" => GroupName::parse(id).is_ok(),
            "Person" => PersonId::parse(id).is_ok(),
            "Agent" | "Pipeline" => AgentId::parse(id).is_ok(),
            _ => {
                let names = self.vocabulary.entities.get(kind).and_then(|shape| shape.names.as_ref());
                names.is_none_or(|names| names.contains(id))
            }
        };
        if !exists {
            self.refuse(span, format!("{kind} has no {id:?}"));
        }
        uid(kind, id).map(RestrictedExpression::new_entity_uid)
    }
}

fn describe(kind: &AttributeKind) -> String {
    match kind {
        AttributeKind::Bool => "true or false".to_owned(),
        AttributeKind::Long => "a whole decimal number of 64 bits".to_owned(),
        AttributeKind::Text => "a string".to_owned(),
        AttributeKind::Entity(kind) => format!("the id of a {kind}, as a string"),
        AttributeKind::Set(element) => format!("an array, each item {}", describe(element)),
    }
}

/// Who asks, as Cedar sees it.
pub(crate) fn principal(principal: Principal, directory: &Directory) -> Option<Entity> {
    match principal {
        Principal::Person(id) => directory.active_person(id).and_then(person),
        Principal::Agent(id) | Principal::Pipeline(id) => {
            directory.active_agent(id).filter(|found| found.principal() == principal).and_then(agent)
        }
    }
}

/// A person as Cedar sees them.
pub(crate) fn person(person: &Person) -> Option<Entity> {
    Some(Entity::new_no_attrs(person_uid(person.id)?, groups(&person.groups)))
}

fn agent(agent: &Agent) -> Option<Entity> {
    let sponsor = RestrictedExpression::new_entity_uid(person_uid(agent.sponsor)?);
    let attributes = HashMap::from([("sponsor".to_owned(), sponsor)]);
    Entity::new(principal_uid(agent.principal())?, attributes, groups(&agent.groups)).ok()
}

/// A person's name in Cedar.
pub(crate) fn person_uid(id: PersonId) -> Option<EntityUid> {
    uid("Person", &id.to_string())
}

/// A principal's name in Cedar.
pub(crate) fn principal_uid(principal: Principal) -> Option<EntityUid> {
    uid(principal_type(principal), &principal.to_string())
}

/// A principal's type in Cedar.
pub(crate) fn principal_type(principal: Principal) -> &'static str {
    match principal {
        Principal::Agent(_) => "Agent",
        Principal::Pipeline(_) => "Pipeline",
        Principal::Person(_) => "Person",
    }
}

fn groups(groups: &BTreeSet<GroupName>) -> HashSet<EntityUid> {
    groups.iter().filter_map(|group| uid("Group", group.as_str())).collect()
}
