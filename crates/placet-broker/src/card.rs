//! The card: everything a reviewer decides on, in one deterministic value.
//!
//! A card depends on the request, its content version, the active bundle's words and the names in the directory, and
//! on nothing else: not on who looks, not on the votes so far. Its bytes are kept by hash beside every vote, and a vote
//! names the hash of the card it was cast on, so that what was seen is evidence. Every text in it is already visible:
//! no character in it hides or reorders another.

use placet_core::action::{ActionRequest, Fact, Facts, Grade, Principal};
use placet_core::c14n::Value;
use placet_core::decision::{GuardAsk, Tally, short_duration};
use placet_core::digest::Sha256Digest;
use placet_core::request::Request;
use placet_core::text::visible;

use crate::Snapshot;
use crate::show::name_of;

/// A card. Show all of it, or link to it and let nobody decide.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the label's own word; see the module's text")]
pub struct Card {
    pub title: String,
    pub request: String,
    pub short_code: String,
    pub digest: String,
    pub content_version: u32,
    pub requester: CardActor,
    pub on_behalf_of: String,
    pub action: String,
    pub resource: String,
    pub resource_facts: Vec<(String, String)>,
    pub grade: String,
    pub grade_note: String,
    pub pep: String,
    pub target: String,
    pub arguments: Vec<(String, String)>,
    pub facts: Vec<(String, String)>,
    pub pins: Vec<(String, String)>,
    pub justification: Option<String>,
    pub guards: Vec<CardGuard>,
    pub self_review: bool,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub bundle: String,
    pub canonical: String,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the label's own word")]
pub struct CardActor {
    pub name: String,
    pub kind: String,
    pub id: String,
    pub sponsor: Option<String>,
}

/// A guard that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the label's own word")]
pub struct CardGuard {
    pub id: String,
    pub title: String,
    pub because: Option<String>,
    /// The parts of its situation that held, in plain words.
    pub situation: Vec<String>,
    /// What it accepts, with no vote counted: `0 of 2 data-owners`.
    pub needs: String,
}

impl Card {
    /// The card's exact bytes, as they are kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_value().canonical().into_bytes()
    }

    /// The hash that a vote names.
    pub fn hash(&self) -> Sha256Digest {
        Sha256Digest::of(&self.to_bytes())
    }

    /// Reads a kept card back; none if a newer version wrote it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Card> {
        let value = Value::parse(bytes).ok()?;
        let text = |key: &str| Some(value.as_object()?.get(key)?.as_str()?.to_owned());
        let list = |key: &str| value.as_object()?.get(key)?.as_array();
        let pairs = |key: &str| list(key)?.iter().map(read_pair).collect::<Option<Vec<_>>>();
        let requester = value.as_object()?.get("requester")?.as_object()?;
        let of_requester = |key: &str| Some(requester.get(key)?.as_str()?.to_owned());
        let card = Card {
            title: text("title")?,
            request: text("request")?,
            short_code: text("short_code")?,
            digest: text("digest")?,
            content_version: u32::try_from(whole(value.as_object()?.get("content_version")?)?).ok()?,
            requester: CardActor {
                name: of_requester("name")?,
                kind: of_requester("kind")?,
                id: of_requester("id")?,
                sponsor: of_requester("sponsor"),
            },
            on_behalf_of: text("on_behalf_of")?,
            action: text("action")?,
            resource: text("resource")?,
            resource_facts: pairs("resource_facts")?,
            grade: text("grade")?,
            grade_note: text("grade_note")?,
            pep: text("pep")?,
            target: text("target")?,
            arguments: pairs("arguments")?,
            facts: pairs("facts")?,
            pins: pairs("pins")?,
            justification: text("justification"),
            guards: list("guards")?.iter().map(CardGuard::from_value).collect::<Option<_>>()?,
            self_review: value.as_object()?.get("self_review")? == &Value::Bool(true),
            created_at: text("created_at")?,
            expires_at: text("expires_at"),
            bundle: text("bundle")?,
            canonical: text("canonical")?,
        };
        // What does not give the same bytes again was not read whole.
        (card.to_bytes() == bytes).then_some(card)
    }

    fn to_value(&self) -> Value {
        let pairs = |pairs: &[(String, String)]| {
            let pair = |(name, text): &(String, String)| Value::Array(vec![string(name), string(text)]);
            Value::Array(pairs.iter().map(pair).collect())
        };
        let requester = Value::object([
            ("name", string(&self.requester.name)),
            ("kind", string(&self.requester.kind)),
            ("id", string(&self.requester.id)),
            ("sponsor", maybe(&self.requester.sponsor)),
        ]);
        Value::object([
            ("v", Value::integer(1)),
            ("title", string(&self.title)),
            ("request", string(&self.request)),
            ("short_code", string(&self.short_code)),
            ("digest", string(&self.digest)),
            ("content_version", Value::integer(i64::from(self.content_version))),
            ("requester", requester),
            ("on_behalf_of", string(&self.on_behalf_of)),
            ("action", string(&self.action)),
            ("resource", string(&self.resource)),
            ("resource_facts", pairs(&self.resource_facts)),
            ("grade", string(&self.grade)),
            ("grade_note", string(&self.grade_note)),
            ("pep", string(&self.pep)),
            ("target", string(&self.target)),
            ("arguments", pairs(&self.arguments)),
            ("facts", pairs(&self.facts)),
            ("pins", pairs(&self.pins)),
            ("justification", maybe(&self.justification)),
            ("guards", Value::Array(self.guards.iter().map(CardGuard::to_value).collect())),
            ("self_review", Value::Bool(self.self_review)),
            ("created_at", string(&self.created_at)),
            ("expires_at", maybe(&self.expires_at)),
            ("bundle", string(&self.bundle)),
            ("canonical", string(&self.canonical)),
        ])
    }
}

impl CardGuard {
    fn of(guard: &GuardAsk) -> Self {
        let held = guard.situation.iter().filter(|condition| condition.holds != Some(false));
        let mut needs = guard.needs.sentence(&Tally::default());
        for escalation in &guard.escalate {
            needs.push_str(&format!("; {} after {}", escalation.to, short_duration(escalation.after)));
        }
        CardGuard {
            id: guard.id.clone(),
            title: visible(&guard.title),
            because: guard.because.as_deref().map(visible),
            situation: held.map(|condition| visible(&condition.words)).collect(),
            needs: visible(&needs),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |key: &str| Some(members.get(key)?.as_str()?.to_owned());
        let situation = members.get("situation")?.as_array()?.iter();
        Some(CardGuard {
            id: text("id")?,
            title: text("title")?,
            because: text("because"),
            situation: situation.map(|part| part.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            needs: text("needs")?,
        })
    }

    fn to_value(&self) -> Value {
        Value::object([
            ("id", string(&self.id)),
            ("title", string(&self.title)),
            ("because", maybe(&self.because)),
            ("situation", Value::Array(self.situation.iter().map(|text| string(text)).collect())),
            ("needs", string(&self.needs)),
        ])
    }
}

fn read_pair(value: &Value) -> Option<(String, String)> {
    match value.as_array()? {
        [name, text] => Some((name.as_str()?.to_owned(), text.as_str()?.to_owned())),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_integer(),
        _ => None,
    }
}

fn string(text: &str) -> Value {
    Value::string(text)
}

fn maybe(text: &Option<String>) -> Value {
    text.as_deref().map_or(Value::Null, Value::string)
}

/// The card of a request, under this snapshot's words and names.
pub(crate) fn card(request: &Request, snapshot: &Snapshot) -> Card {
    let action = &request.action;
    let facts = snapshot.bundle.facts_again(action).unwrap_or_default();
    let requirement = request.requirement();
    let resource = action.resource.visible();
    Card {
        title: format!("{} on {resource}", action.action),
        request: request.id.to_string(),
        short_code: request.short_code.to_string(),
        digest: request.canonical.digest().to_string(),
        content_version: request.content_version,
        requester: requester(action, snapshot),
        on_behalf_of: name_of(Principal::Person(action.chain.on_behalf_of), &snapshot.directory),
        action: action.action.to_string(),
        resource,
        resource_facts: snapshot.bundle.resource_facts(&action.resource).into_iter().map(shown).collect(),
        grade: request.grade.as_str().to_owned(),
        grade_note: grade_note(request.grade).to_owned(),
        pep: action.pep.as_str().to_owned(),
        target: target(request, snapshot),
        arguments: flattened(&action.arguments),
        facts: fact_lines(&facts),
        pins: pin_lines(action),
        justification: request.justification.as_ref().map(|text| text.visible()),
        guards: requirement.map(|needs| needs.guards.iter().map(CardGuard::of).collect()).unwrap_or_default(),
        self_review: requirement.is_some_and(|needs| needs.self_review.is_some()),
        created_at: request.created_at.to_string(),
        expires_at: request.deadline().map(|deadline| deadline.to_string()),
        bundle: request.decision.bundle.to_string(),
        canonical: visible(request.canonical.as_str()),
    }
}

/// What the enforcement point would talk to, with the name of one that stands elsewhere.
fn target(request: &Request, snapshot: &Snapshot) -> String {
    let target = visible(&request.action.target);
    match request.taken_in_by.and_then(|pep| snapshot.directory.peps.get(&pep)) {
        Some(pep) => format!("{target} ({})", visible(&pep.name)),
        None => target,
    }
}

fn requester(action: &ActionRequest, snapshot: &Snapshot) -> CardActor {
    let requester = action.chain.requester;
    let sponsor =
        requester.agent().and_then(|id| snapshot.directory.agents.get(&id)).map(|agent| agent.sponsor);
    CardActor {
        name: name_of(requester, &snapshot.directory),
        kind: requester.kind().to_owned(),
        id: requester.to_string(),
        sponsor: sponsor.map(|person| name_of(Principal::Person(person), &snapshot.directory)),
    }
}

/// What a grade means to whoever decides.
fn grade_note(grade: Grade) -> &'static str {
    match grade {
        Grade::Enforced => "placet carries this out itself, with credentials the requester does not hold.",
        Grade::Gated => "A hook outside the requester's process waits for this decision and fails closed.",
        Grade::Advisory => {
            "The requester could act without waiting for this decision: nothing here stops it."
        }
    }
}

fn shown((name, text): (String, String)) -> (String, String) {
    (visible(&name), visible(&text))
}

/// Every leaf of a value with its path, `argv[0]` or `options.force`, in order. Nothing is left out.
pub(crate) fn flattened(value: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    flatten(value, String::new(), &mut lines);
    lines
}

fn flatten(value: &Value, path: String, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(member, format!("{path}{dot}{}", visible(key)), lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (position, item) in items.iter().enumerate() {
                flatten(item, format!("{path}[{position}]"), lines);
            }
        }
        Value::String(text) => lines.push((path, visible(text))),
        other => lines.push((path, other.canonical())),
    }
}

fn fact_lines(facts: &Facts) -> Vec<(String, String)> {
    let written = |fact: &Fact| match fact {
        Fact::Bool(value) => value.to_string(),
        Fact::Long(value) => value.to_string(),
        Fact::Text(text) => visible(text),
        Fact::Texts(texts) => texts.iter().map(|text| visible(text)).collect::<Vec<_>>().join(", "),
    };
    let known = facts.known.iter().map(|(name, fact)| (visible(name), written(fact)));
    let unread =
        facts.unrepresentable.iter().map(|name| (visible(name), "not representable in policy".to_owned()));
    known.chain(unread).collect()
}

fn pin_lines(action: &ActionRequest) -> Vec<(String, String)> {
    let pins = &action.pins;
    let mut lines = Vec::new();
    for file in &pins.program {
        lines.push(("program".to_owned(), visible(&file.path)));
        lines.push(("program sha256".to_owned(), file.sha256.to_string()));
    }
    lines.extend(pins.run_as.as_ref().map(|user| ("runs as".to_owned(), visible(user))));
    for (name, value) in &pins.environment {
        lines.push((format!("environment {}", visible(name)), visible(value)));
    }
    for (name, secret) in &pins.secrets {
        lines.push((format!("secret in {}", visible(name)), visible(&secret.to_string())));
    }
    for (name, digest) in &pins.inputs {
        lines.push((format!("input {}", visible(name)), format!("sha256 {digest}")));
    }
    lines.extend(pins.stdin.map(|digest| ("standard input".to_owned(), format!("sha256 {digest}"))));
    lines.extend(pins.record.map(|what| ("recorded".to_owned(), what.sentence().to_owned())));
    lines.extend(pins.tool.map(|digest| ("tool definition".to_owned(), format!("sha256 {digest}"))));
    lines
}
