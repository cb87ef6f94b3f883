//! A bundle's own tests: requests in a small world, and what policy has to say of them.
//!
//! ```toml
//! [people]
//! dora = { groups = ["data-owners"] }
//! [agents]
//! churn-bot = { sponsor = "ann", groups = ["analytics"] }
//!
//! [[case]]
//! name = "personal data is asked about"
//! principal = "churn-bot"
//! action = "data.export"
//! resource = 'Dataset::"customers"'
//! context = { rows = 10 }
//! votes = [{ person = "dora", ago = "5m" }]
//! expect = "ask"
//! by = ["pii-export"]
//! missing = { data-owners = 1 }
//! ```
//!
//! A case names its facts with `context`, or gives the call itself: `arguments` for an external one, `argv` for a
//! command, which then also names what it is expected to map to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_core::action::{
    ActionName, ActionRequest, ActorChain, Fact, Facts, Grade, PepKind, Pins, Principal, ResourceRef,
};
use placet_core::c14n::Value;
use placet_core::decision::{Effect, Need, Tally};
use placet_core::digest::Sha256Digest;
use placet_core::directory::{Agent, AgentKind, Directory, GroupName, Person, Status};
use placet_core::id::{AgentId, EvaluationId, PersonId, SessionId};
use placet_core::review::{Assurance, Evidence, Verdict, VerifiedReviewer, Vote};
use placet_core::time::Timestamp;
use serde::Deserialize;
use toml::{Spanned, Value as Toml};

use crate::bundle::Bundle;
use crate::decide::{Judgement, Question};
use crate::explain::Explanation;
use crate::finding::{Finding, Source};
use crate::settings::read_duration;

/// How one case ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseResult {
    /// The file it stands in.
    pub file: String,
    /// Its name.
    pub name: String,
    /// The line where it begins.
    pub line: usize,
    /// What was not as expected; nothing if it passed.
    pub failures: Vec<String>,
    /// Why it came out as it did: `asked because resource.class is pii; 1 of 2 data-owners`. Nothing where the call itself
    /// was refused.
    pub explanation: Option<Explanation>,
}

impl CaseResult {
    /// Whether everything was as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl std::fmt::Display for CaseResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CaseResult { file, name, line, failures, .. } = self;
        write!(f, "{file}:{line}: {name}: ")?;
        if failures.is_empty() { f.write_str("passed") } else { f.write_str(&failures.join("; ")) }
    }
}

/// The cases of all files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cases(Vec<CaseFile>);

#[derive(Clone, Debug)]
struct CaseFile {
    file: String,
    world: World,
    cases: Vec<(usize, Case)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    #[serde(default)]
    people: BTreeMap<String, WrittenPerson>,
    #[serde(default)]
    agents: BTreeMap<String, WrittenAgent>,
    #[serde(default)]
    pipelines: BTreeMap<String, WrittenAgent>,
    #[serde(default)]
    case: Vec<Spanned<Case>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPerson {
    #[serde(default)]
    groups: BTreeSet<String>,
    email: Option<String>,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAgent {
    sponsor: String,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    owners: BTreeSet<String>,
    #[serde(default)]
    acts_for: BTreeSet<String>,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    principal: String,
    on_behalf_of: Option<String>,
    action: Option<String>,
    resource: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Toml>,
    arguments: Option<toml::Table>,
    argv: Option<Vec<String>>,
    #[serde(default)]
    unrepresentable: BTreeSet<String>,
    pep: Option<String>,
    grade: Option<String>,
    #[serde(default)]
    votes: Vec<CaseVote>,
    /// Required where it is a test.
    expect: Option<Expect>,
    reason: Option<String>,
    by: Option<BTreeSet<String>>,
    missing: Option<BTreeMap<String, u32>>,
    maps_to: Option<String>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct CaseVote {
    person: String,
    #[serde(default)]
    ago: Option<String>,
    #[serde(default)]
    assurance: Option<String>,
    /// What policy has to say of the vote itself.
    #[serde(default)]
    roles: Option<BTreeSet<String>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Allow,
    Ask,
    Deny,
    /// The call cannot be put into policy's words.
    Refuse,
}

impl Expect {
    fn as_str(self) -> &'static str {
        match self {
            Expect::Allow => "allow",
            Expect::Ask => "ask",
            Expect::Deny => "deny",
            Expect::Refuse => "refuse",
        }
    }
}

impl Bundle {
    /// Decides the cases of a file that need not be one of the bundle's, to explain them. They may leave out what they
    /// expect.
    pub fn run_cases(&self, file: &str, text: &str) -> Result<Vec<CaseResult>, Vec<Finding>> {
        Ok(Cases::read_any(&[Source { file, text }])?.run(self))
    }
}

impl Cases {
    /// Cases that are tests: each says what it expects.
    pub(crate) fn read(sources: Vec<Source<'_>>) -> Result<Cases, Vec<Finding>> {
        let cases = Cases::read_any(&sources)?;
        let mut findings = Vec::new();
        for (source, file) in sources.iter().zip(&cases.0) {
            for (line, case) in file.cases.iter().filter(|(_, case)| case.expect.is_none()) {
                let message = format!("the case {:?} does not say what it expects", case.name);
                let start = source.text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
                let finding = source.error("tests", start..start, message);
                findings.push(finding.help("write expect = \"allow\", \"ask\", \"deny\" or \"refuse\""));
            }
        }
        if findings.is_empty() { Ok(cases) } else { Err(findings) }
    }

    /// Cases that may also be questions.
    pub(crate) fn read_any(sources: &[Source<'_>]) -> Result<Cases, Vec<Finding>> {
        let mut files = Vec::new();
        let mut findings = Vec::new();
        for source in sources.iter().copied() {
            let written: WrittenFile = match toml::from_str(source.text) {
                Ok(written) => written,
                Err(error) => {
                    findings.push(source.toml(&error));
                    continue;
                }
            };
            let world = match World::new(&written) {
                Ok(world) => world,
                Err(message) => {
                    findings.push(source.error("tests", 0..0, message));
                    continue;
                }
            };
            let line = |case: &Spanned<Case>| source.error("tests", case.span(), "").line;
            let cases = written.case.iter().map(|case| (line(case), case.get_ref().clone())).collect();
            files.push(CaseFile { file: source.file.to_owned(), world, cases });
        }
        if findings.is_empty() { Ok(Cases(files)) } else { Err(findings) }
    }

    pub(crate) fn run(&self, bundle: &Bundle) -> Vec<CaseResult> {
        let mut results = Vec::new();
        for file in &self.0 {
            for (line, case) in &file.cases {
                let (failures, explanation) = match run(bundle, &file.world, case) {
                    Ok(ran) => ran,
                    Err(unreadable) => (vec![unreadable], None),
                };
                results.push(CaseResult {
                    file: file.file.clone(),
                    name: case.name.clone(),
                    line: *line,
                    failures,
                    explanation,
                });
            }
        }
        results
    }
}

/// The people and agents of a file, by the names that its cases use.
#[derive(Clone, Debug)]
struct World {
    directory: Directory,
    people: BTreeMap<String, PersonId>,
    agents: BTreeMap<String, Principal>,
}

/// When every case plays.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

impl World {
    fn new(written: &WrittenFile) -> Result<World, String> {
        let mut world =
            World { directory: Directory::default(), people: BTreeMap::new(), agents: BTreeMap::new() };
        let groups = |names: &BTreeSet<String>| -> Result<BTreeSet<GroupName>, String> {
            names
                .iter()
                .map(|name| GroupName::parse(name).map_err(|error| format!("{name}: {error}")))
                .collect()
        };
        for (number, (name, person)) in written.people.iter().enumerate() {
            let id = PersonId::from_bytes(numbered(number));
            world.people.insert(name.clone(), id);
            let person = Person {
                id,
                name: name.clone(),
                email: person.email.clone(),
                groups: groups(&person.groups)?,
                status: status(person.disabled),
                operator_uid: None,
                created_at: Timestamp::EPOCH,
            };
            world.directory.people.insert(id, person);
        }
        let agents = written.agents.iter().map(|agent| (AgentKind::Agent, agent));
        let pipelines = written.pipelines.iter().map(|pipeline| (AgentKind::Pipeline, pipeline));
        for (number, (kind, (name, agent))) in agents.chain(pipelines).enumerate() {
            let persons = |names: &BTreeSet<String>| -> Result<BTreeSet<PersonId>, String> {
                names.iter().map(|name| world.person(name)).collect()
            };
            let entry = Agent {
                id: AgentId::from_bytes(numbered(number)),
                kind,
                name: name.clone(),
                sponsor: world.person(&agent.sponsor)?,
                owners: persons(&agent.owners)?,
                acts_for: persons(&agent.acts_for)?,
                groups: groups(&agent.groups)?,
                status: status(agent.disabled),
                token_hash: Sha256Digest::of(name.as_bytes()),
                credential_version: 1,
                workload: None,
                created_at: Timestamp::EPOCH,
            };
            if world.people.contains_key(name)
                || world.agents.insert(name.clone(), entry.principal()).is_some()
            {
                return Err(format!("{name} is the name of two in this file"));
            }
            world.directory.agents.insert(entry.id, entry);
        }
        Ok(world)
    }

    fn person(&self, name: &str) -> Result<PersonId, String> {
        self.people.get(name).copied().ok_or_else(|| format!("no person {name} in [people]"))
    }

    fn chain(&self, case: &Case) -> Result<ActorChain, String> {
        let requester = match self.agents.get(&case.principal) {
            Some(agent) => *agent,
            None => Principal::Person(self.person(&case.principal)?),
        };
        let on_behalf_of = match (&case.on_behalf_of, requester) {
            (Some(name), _) => self.person(name)?,
            (None, Principal::Person(id)) => id,
            (None, Principal::Agent(id) | Principal::Pipeline(id)) => {
                self.directory.agents.get(&id).map(|agent| agent.sponsor).ok_or("no such agent")?
            }
        };
        Ok(ActorChain { requester, through: Vec::new(), on_behalf_of })
    }
}

fn numbered(number: usize) -> [u8; 16] {
    (number as u128 + 1).to_be_bytes()
}

fn status(disabled: bool) -> Status {
    if disabled { Status::Disabled } else { Status::Active }
}

/// What was not as expected, and why it came out as it did.
type Ran = (Vec<String>, Option<Explanation>);

/// A call that has no words in policy.
fn refused(case: &Case, refusal: &str) -> Ran {
    match case.expect {
        Some(Expect::Refuse) => (expected_text("reason", &case.reason, refusal), None),
        Some(_) | None => (vec![format!("the call was refused: {refusal}")], None),
    }
}

fn run(bundle: &Bundle, world: &World, case: &Case) -> Result<Ran, String> {
    let action = match call(bundle, world, case)? {
        Ok(action) => action,
        Err(refusal) => return Ok(refused(case, &refusal)),
    };
    let facts = if case.arguments.is_some() || case.argv.is_some() {
        match bundle.facts_again(&action) {
            Ok(facts) => facts,
            Err(refusal) => return Ok(refused(case, &refusal.to_string())),
        }
    } else {
        written_facts(case)?
    };
    let grade = match &case.grade {
        None => Grade::Enforced,
        Some(word) => Grade::parse(word).ok_or_else(|| format!("no grade {word}"))?,
    };
    let mut question = Question {
        action: &action,
        facts: &facts,
        grade,
        directory: &world.directory,
        votes: &[],
        now: NOW,
        evaluation: EvaluationId::from_bytes([0; 16]),
    };
    let mut failures = Vec::new();
    let mut votes = Vec::new();
    for written in &case.votes {
        votes.push(cast(bundle, world, &question, written, &mut failures)?);
    }
    let votes: Vec<&Vote> = votes.iter().collect();
    question.votes = &votes;
    let judgement = bundle.decide(&question);
    failures.extend(compare(case, &action, &judgement));
    Ok((failures, Some(judgement.explanation())))
}

/// The request that a case is about; or why the call has no words in policy.
fn call(bundle: &Bundle, world: &World, case: &Case) -> Result<Result<ActionRequest, String>, String> {
    let chain = world.chain(case)?;
    let (pep, arguments) = match (&case.argv, &case.arguments) {
        (Some(_), Some(_)) => return Err("a case has argv or arguments, not both".to_owned()),
        (Some(argv), None) => {
            let words = argv.iter().map(|word| Value::string(word.clone())).collect();
            (PepKind::Command, Value::object([(crate::mapping::ARGV, Value::Array(words))]))
        }
        (None, Some(table)) => (PepKind::External, json(&Toml::Table(table.clone()))?),
        (None, None) => (PepKind::External, Value::object::<String>([])),
    };
    let pep = match &case.pep {
        None => pep,
        Some(word) => PepKind::parse(word).ok_or_else(|| format!("no pep {word}"))?,
    };
    let (action, resource) = match (&case.argv, &case.action, &case.resource) {
        (Some(argv), None, None) => match bundle.map_command(argv) {
            Ok(mapped) => (mapped.action, mapped.resource),
            Err(refusal) => return Ok(Err(refusal.to_string())),
        },
        (_, Some(action), Some(resource)) => {
            let action = ActionName::parse(action).map_err(|error| error.to_string())?;
            (action, read_resource(resource)?)
        }
        _ => return Err("a case names action and resource, or gives argv".to_owned()),
    };
    Ok(Ok(ActionRequest {
        tenant: "default".to_owned(),
        chain,
        pep,
        target: pep.as_str().to_owned(),
        action,
        resource,
        arguments,
        pins: Pins::default(),
    }))
}

fn read_resource(text: &str) -> Result<ResourceRef, String> {
    let parts =
        text.split_once("::").and_then(|(kind, id)| Some((kind, id.strip_prefix('"')?.strip_suffix('"')?)));
    let (kind, id) = parts.ok_or_else(|| format!("{text}: write resource = 'Type::\"id\"'"))?;
    ResourceRef::new(kind, id).map_err(|error| error.to_string())
}

fn written_facts(case: &Case) -> Result<Facts, String> {
    let mut facts = Facts { known: BTreeMap::new(), unrepresentable: case.unrepresentable.clone() };
    for (name, value) in &case.context {
        let fact = match value {
            Toml::Boolean(yes) => Some(Fact::Bool(*yes)),
            Toml::Integer(number) => Some(Fact::Long(*number)),
            Toml::String(text) => Some(Fact::Text(text.clone())),
            Toml::Array(items) => {
                let texts: Option<BTreeSet<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                texts.map(Fact::Texts)
            }
            Toml::Float(_) | Toml::Datetime(_) | Toml::Table(_) => None,
        };
        let fact =
            fact.ok_or_else(|| format!("{name}: a fact is a text, a whole number, true, false or texts"))?;
        facts.known.insert(name.clone(), fact);
    }
    Ok(facts)
}

fn json(value: &Toml) -> Result<Value, String> {
    Ok(match value {
        Toml::String(text) => Value::string(text.clone()),
        Toml::Integer(number) => Value::integer(*number),
        Toml::Boolean(yes) => Value::Bool(*yes),
        Toml::Array(items) => Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Toml::Table(table) => {
            let members: Result<Vec<_>, String> =
                table.iter().map(|(key, value)| Ok((key.clone(), json(value)?))).collect();
            Value::object(members?)
        }
        // Anything that the canonical form reads keeps its own spelling.
        Toml::Float(number) => {
            Value::parse(format!("{number:?}").as_bytes()).map_err(|error| error.to_string())?
        }
        Toml::Datetime(_) => return Err("arguments are JSON, which has no dates".to_owned()),
    })
}

/// Casts a vote as the broker would record it, under the standing that the person has.
fn cast(
    bundle: &Bundle,
    world: &World,
    question: &Question<'_>,
    written: &CaseVote,
    failures: &mut Vec<String>,
) -> Result<Vote, String> {
    let person = world.person(&written.person)?;
    let ago = match &written.ago {
        None => Duration::ZERO,
        Some(text) => read_duration(text).ok_or_else(|| format!("{text}: write a duration like 5m"))?,
    };
    let assurance = match &written.assurance {
        None => Assurance::L1,
        Some(word) => Assurance::parse(word).ok_or_else(|| format!("no assurance {word}"))?,
    };
    let evidence = Evidence::Session(SessionId::from_bytes([0; 16]));
    let reviewer = VerifiedReviewer { person, assurance, evidence, minted_by: None };
    let standing = bundle.standing(question, &reviewer, Verdict::Approve);
    if let Some(expected) = &written.roles {
        let stands_in: BTreeSet<String> = standing.roles.iter().map(ToString::to_string).collect();
        if *expected != stands_in {
            failures.push(format!("{} may vote as {stands_in:?}, expected {expected:?}", written.person));
        }
    }
    Ok(Vote {
        person,
        verdict: Verdict::Approve,
        reason: None,
        round: 1,
        content_version: 1,
        card: Sha256Digest::of(b""),
        roles: standing.roles,
        assurance,
        evidence,
        vouched: standing.vouched,
        self_reviewed: standing.self_review,
        at: Timestamp::from_millis(NOW.as_millis() - crate::context::millis(ago)),
    })
}

fn compare(case: &Case, action: &ActionRequest, judgement: &Judgement) -> Vec<String> {
    let mut failures = Vec::new();
    let (effect, reason) = match &judgement.decision.effect {
        Effect::Permit => (Expect::Allow, None),
        Effect::Forbid(reason) => (Expect::Deny, Some(reason.code().to_owned())),
        Effect::RequireApproval(_) => (Expect::Ask, None),
    };
    let by: BTreeSet<String> =
        judgement.decision.because.iter().map(|because| because.policy.clone()).collect();
    if let Some(expected) = case.expect.filter(|expected| *expected != effect) {
        let why = reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        failures.push(format!("expected {}, got {}{why}", expected.as_str(), effect.as_str()));
    }
    if let Some(expected) = &case.by
        && *expected != by
    {
        failures.push(format!("expected it by {}, was by {}", listed(expected), listed(&by)));
    }
    if case.reason.is_some() {
        failures.extend(expected_text("reason", &case.reason, &reason.unwrap_or_default()));
    }
    if let Some(expected) = &case.missing {
        let missing = missing(&judgement.decision.effect, &judgement.tally);
        if *expected != missing {
            failures.push(format!("expected to miss {}, misses {}", counted(expected), counted(&missing)));
        }
    }
    let mapped = format!("{} {}", action.action, action.resource.visible());
    failures.extend(expected_text("maps_to", &case.maps_to, &mapped));
    failures
}

fn expected_text(what: &str, expected: &Option<String>, found: &str) -> Vec<String> {
    match expected {
        Some(expected) if expected != found => vec![format!("expected {what} {expected:?}, got {found:?}")],
        _ => Vec::new(),
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "no policy".to_owned();
    }
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn counted(missing: &BTreeMap<String, u32>) -> String {
    if missing.is_empty() {
        return "nothing".to_owned();
    }
    missing.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// How many votes each role still lacks.
fn missing(effect: &Effect, tally: &Tally) -> BTreeMap<String, u32> {
    let mut missing: BTreeMap<String, u32> = BTreeMap::new();
    if let Effect::RequireApproval(requirement) = effect {
        for guard in &requirement.guards {
            add_missing(&guard.needs, tally, &mut missing);
        }
    }
    missing
}

fn add_missing(need: &Need, tally: &Tally, missing: &mut BTreeMap<String, u32>) {
    let mut lacks = |name: String, wanted: u32, have: u32| {
        let lack = wanted.saturating_sub(have);
        if lack > 0 {
            let entry = missing.entry(name).or_default();
            *entry = lack.max(*entry);
        }
    };
    match need {
        Need::All(parts) => parts.iter().for_each(|part| add_missing(part, tally, missing)),
        Need::Any(parts) if parts.iter().any(|part| part.is_met(tally)) => {}
        Need::Any(parts) => parts.iter().for_each(|part| add_missing(part, tally, missing)),
        Need::AtLeast { count, role, assurance } => {
            let level = assurance.map(|level| format!("@{}", level.as_str())).unwrap_or_default();
            lacks(format!("{role}{level}"), *count, tally.count(role, *assurance));
        }
        Need::Distinct(count) => {
            lacks("distinct".to_owned(), *count, u32::try_from(tally.people.len()).unwrap_or(u32::MAX));
        }
        Need::Within(_) | Need::Data(_) => {}
    }
}
