//! What is asked: an action on a resource, by whom, through which enforcement point, with which arguments.
//!
//! [`ActionRequest`] holds exactly what the digest is over. Why the agent asks, when, under which key or trace id is
//! not in it: those change nothing about what would happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::c14n::Value;
use crate::digest::{ActionDigest, Sha256Digest};
use crate::id::{AgentId, PepId, PersonId};

/// A dotted name of an action, `data.export`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ActionName(String);

/// The text is not a name that placet accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    rule: &'static str,
}

impl ActionName {
    /// Reads a name of 1 to 128 of `a-z A-Z 0-9 _ - . /`, starting with a letter.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let starts = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        let fits = text.len() <= 128
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
        if starts && fits {
            Ok(ActionName(text.to_owned()))
        } else {
            Err(NameError {
                what: "an action's name",
                rule: "write 1 to 128 of a-z 0-9 _ - . /, like data.export",
            })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What pins a tool of an MCP server: its definition, member for member, and what its server tells models about itself.
pub fn tool_pin(server: &str, instructions: Option<&str>, definition: &Value) -> Sha256Digest {
    let pinned = Value::object([
        ("v", Value::integer(1)),
        ("server", Value::string(server)),
        ("instructions", instructions.map_or(Value::Null, Value::string)),
        ("tool", definition.clone()),
    ]);
    Sha256Digest::of(pinned.canonical().as_bytes())
}

/// What the action is on: an entity type and an id, `Dataset::"shop.accounts"`. The id is the agent's text where the
/// agent named it: show it only through [`visible`](crate::text::visible).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceRef {
    kind: String,
    id: String,
}

impl ResourceRef {
    /// A type of 1 to 64 of `A-Z a-z 0-9 _` that starts with a letter, and an id of 1 to 1024 bytes.
    pub fn new(kind: &str, id: &str) -> Result<Self, NameError> {
        let starts = kind.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        let named = kind.len() <= 64 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !starts || !named {
            return Err(NameError {
                what: "a resource's type",
                rule: "write 1 to 64 letters or digits, like Dataset",
            });
        }
        if id.is_empty() || id.len() > 1024 {
            return Err(NameError { what: "a resource's id", rule: "write 1 to 1024 bytes" });
        }
        Ok(ResourceRef { kind: kind.to_owned(), id: id.to_owned() })
    }

    /// The entity type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The id, as it was written.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As people may see it: `Dataset::"shop.accounts"`.
    pub fn visible(&self) -> String {
        // Without the escape, an id could close the quotes and show a second resource.
        format!("{}::\"{}\"", self.kind, crate::text::visible(&self.id).replace('"', "\\\""))
    }
}

/// Who asks, proven by a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Principal {
    /// An AI agent.
    Agent(AgentId),
    /// An automated pipeline.
    Pipeline(AgentId),
    /// A person.
    Person(PersonId),
}

impl Principal {
    /// The word for its kind: `agent`, `pipeline` or `person`.
    pub fn kind(self) -> &'static str {
        match self {
            Principal::Agent(_) => "agent",
            Principal::Pipeline(_) => "pipeline",
            Principal::Person(_) => "person",
        }
    }

    /// The agent's or pipeline's id.
    pub fn agent(self) -> Option<AgentId> {
        match self {
            Principal::Agent(id) | Principal::Pipeline(id) => Some(id),
            Principal::Person(_) => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Agent(id) | Principal::Pipeline(id) => id.fmt(f),
            Principal::Person(id) => id.fmt(f),
        }
    }
}

/// From the one that asks to the person on whose behalf. Version 1 has chains of one agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActorChain {
    /// Who holds the credential that asked.
    pub requester: Principal,
    /// The agents that it works for, nearest first.
    pub through: Vec<Principal>,
    /// The person at the end.
    pub on_behalf_of: PersonId,
}

impl ActorChain {
    /// The requester and every agent it works for.
    pub fn actors(&self) -> impl Iterator<Item = Principal> + '_ {
        std::iter::once(self.requester).chain(self.through.iter().copied())
    }
}

/// Which kind of enforcement point a call came through. The door sets it, never the body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PepKind {
    /// placet runs a program.
    Command,
    /// placet forwards a tool call.
    Mcp,
    /// The agent executes by itself and reports: nobody enforces.
    External,
}

impl PepKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            PepKind::Command => "command",
            PepKind::Mcp => "mcp",
            PepKind::External => "external",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [PepKind::Command, PepKind::Mcp, PepKind::External].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One enforcement point: its kind, and which one of that kind it is. Who took a call in is who carries it out, and
/// nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Executor {
    /// Its kind.
    pub kind: PepKind,
    /// Its credential's id; none for the one in placet's own process, and for the agent itself.
    pub pep: Option<PepId>,
}

impl Executor {
    /// What a command's request names as its target: which runner would execute it.
    pub fn runner(self) -> String {
        self.pep.map_or_else(|| "runner:local".to_owned(), |pep| format!("runner:{pep}"))
    }
}

impl From<PepKind> for Executor {
    /// The one in placet's own process.
    fn from(kind: PepKind) -> Self {
        Executor { kind, pep: None }
    }
}

/// How far an enforcement point can be trusted to enforce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Grade {
    /// In the agent's process, or sharing its OS user.
    Advisory,
    /// A hook outside the agent that fails closed.
    Gated,
    /// placet holds the credential.
    Enforced,
}

impl Grade {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Advisory => "advisory",
            Grade::Gated => "gated",
            Grade::Enforced => "enforced",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Grade::Advisory, Grade::Gated, Grade::Enforced].into_iter().find(|grade| grade.as_str() == text)
    }
}

/// What pins the meaning of an action beside its arguments. What changes one of these changes the digest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pins {
    /// The files that would be executed: the program, then its interpreter if it is a script. Path and content.
    pub program: Vec<FilePin>,
    /// The OS user that would execute.
    pub run_as: Option<String>,
    /// The environment that the program would get, without the secrets.
    pub environment: BTreeMap<String, String>,
    /// The secrets that it would get, by the environment variable that carries them.
    pub secrets: BTreeMap<String, SecretVersion>,
    /// Its inputs, by name and content.
    pub inputs: BTreeMap<String, Sha256Digest>,
    /// What it would read from standard input.
    pub stdin: Option<Sha256Digest>,
    /// The definition of the tool that would be called.
    pub tool: Option<Sha256Digest>,
    /// What placet would keep of what it writes. Absent is nothing, as in requests of an older placet.
    pub record: Option<Recorded>,
}

/// What placet keeps of what a program writes. Whoever approves an execution approves this too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Recorded {
    /// Nothing. The outcome says how much it was.
    Nothing,
    /// The text of standard error, and when how much came to standard output: an export is not copied by being recorded.
    #[default]
    Stderr,
    /// The text of both.
    All,
}

impl Recorded {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Recorded::Nothing => "none",
            Recorded::Stderr => "stderr",
            Recorded::All => "all",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Recorded::Nothing, Recorded::Stderr, Recorded::All].into_iter().find(|what| what.as_str() == text)
    }

    /// What it means, for whoever decides.
    pub fn sentence(self) -> &'static str {
        match self {
            Recorded::Nothing => "nothing of what it writes",
            Recorded::Stderr => "what it writes to standard error; of its output only when and how much",
            Recorded::All => "everything it writes, its output too",
        }
    }
}

/// A file by path and content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePin {
    /// Absolute, links resolved.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
}

/// One version of a stored secret. Never the secret itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretVersion {
    /// The name under which it was stored.
    pub name: String,
    /// Counts from one, up with each `secret set`.
    pub version: u32,
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What is asked, whole: all that the digest is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActionRequest {
    /// Who runs this placet; `default` in version 1.
    pub tenant: String,
    /// Who asks, on whose behalf.
    pub chain: ActorChain,
    /// Through which kind of enforcement point.
    pub pep: PepKind,
    /// What the enforcement point would talk to: `runner:local`, `runner:pep_…`, `external`, an upstream's name.
    pub target: String,
    /// What would be done.
    pub action: ActionName,
    /// On what.
    pub resource: ResourceRef,
    /// The intercepted call itself, token for token.
    pub arguments: Value,
    /// What else pins the meaning.
    pub pins: Pins,
}

/// An action request's canonical bytes and their digest. Only [`ActionRequest::canonical`] and
/// [`Canonical::from_stored`] make one, so the two always belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Canonical {
    text: String,
    digest: ActionDigest,
}

impl Canonical {
    /// The canonical bytes, which are UTF-8.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Their digest.
    pub fn digest(&self) -> ActionDigest {
        self.digest
    }

    /// Takes stored bytes back; they are digested anew, so altered bytes are another action.
    pub fn from_stored(text: String) -> Self {
        let digest = ActionDigest::of_canonical(&text);
        Canonical { text, digest }
    }
}

/// Stored canonical bytes are not an action request: they were written by a newer version, or altered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read an action request: {0}")]
pub struct ActionRequestError(String);

/// The version of the shape that is digested.
const SHAPE_VERSION: i64 = 1;

impl ActionRequest {
    /// The canonical bytes and their digest. Fails if the whole is larger or deeper than the canonical form allows.
    pub fn canonical(&self) -> Result<Canonical, ActionRequestError> {
        let text = self.to_value().canonical();
        // Reading it back applies the form's bounds to the whole, and proves that it is one spelling.
        Value::parse(text.as_bytes()).map_err(|error| ActionRequestError(error.to_string()))?;
        Ok(Canonical::from_stored(text))
    }

    fn to_value(&self) -> Value {
        let chain = Value::object([
            ("requester", principal_value(self.chain.requester)),
            ("through", Value::Array(self.chain.through.iter().copied().map(principal_value).collect())),
            ("on_behalf_of", Value::string(self.chain.on_behalf_of.to_string())),
        ]);
        let resource = Value::object([
            ("type", Value::string(self.resource.kind.clone())),
            ("id", Value::string(self.resource.id.clone())),
        ]);
        Value::object([
            ("v", Value::integer(SHAPE_VERSION)),
            ("tenant", Value::string(self.tenant.clone())),
            ("chain", chain),
            ("pep", Value::string(self.pep.as_str())),
            ("target", Value::string(self.target.clone())),
            ("action", Value::string(self.action.as_str())),
            ("resource", resource),
            ("arguments", self.arguments.clone()),
            ("pins", self.pins.to_value()),
        ])
    }

    /// Reads stored canonical bytes back. Every member must be known: what a newer version wrote is refused. So is
    /// another spelling of the same request: what is read has exactly these bytes and this digest.
    pub fn from_canonical(canonical: &Canonical) -> Result<Self, ActionRequestError> {
        let value = Value::parse(canonical.as_str().as_bytes())
            .map_err(|error| ActionRequestError(error.to_string()))?;
        let mut members = Members::of(value, "the request")?;
        let version = members.take("v")?;
        if version != Value::integer(SHAPE_VERSION) {
            return Err(ActionRequestError("its version is not one that this placet knows".to_owned()));
        }
        let mut chain = Members::of(members.take("chain")?, "chain")?;
        let mut resource = Members::of(members.take("resource")?, "resource")?;
        let request = ActionRequest {
            tenant: members.text("tenant")?,
            chain: ActorChain {
                requester: read_principal(chain.take("requester")?)?,
                through: chain.list("through")?.into_iter().map(read_principal).collect::<Result<_, _>>()?,
                on_behalf_of: PersonId::parse(&chain.text("on_behalf_of")?).map_err(refuse)?,
            },
            pep: PepKind::parse(&members.text("pep")?)
                .ok_or_else(|| ActionRequestError("its pep is unknown".to_owned()))?,
            target: members.text("target")?,
            action: ActionName::parse(&members.text("action")?).map_err(refuse)?,
            resource: ResourceRef::new(&resource.text("type")?, &resource.text("id")?).map_err(refuse)?,
            arguments: members.take("arguments")?,
            pins: Pins::from_value(members.take("pins")?)?,
        };
        chain.end()?;
        resource.end()?;
        members.end()?;
        if request.to_value().canonical() != canonical.as_str() {
            return Err(ActionRequestError("its bytes are not in canonical form".to_owned()));
        }
        Ok(request)
    }
}

impl Pins {
    /// As they stand in the canonical form.
    pub fn to_value(&self) -> Value {
        let mut members = BTreeMap::new();
        let mut put = |key: &str, value: Value| members.insert(key.to_owned(), value);
        if !self.program.is_empty() {
            let files = self.program.iter().map(|file| {
                Value::object([
                    ("path", Value::string(file.path.clone())),
                    ("sha256", Value::string(file.sha256.to_string())),
                ])
            });
            put("program", Value::Array(files.collect()));
        }
        if let Some(user) = &self.run_as {
            put("run_as", Value::string(user.clone()));
        }
        // An empty environment is a statement too, so the maps of a command stand even when they are empty.
        if !self.program.is_empty() || !self.environment.is_empty() {
            put("environment", text_map(self.environment.iter().map(|(k, v)| (k, v.clone()))));
        }
        if !self.secrets.is_empty() {
            put("secrets", text_map(self.secrets.iter().map(|(k, v)| (k, v.to_string()))));
        }
        if !self.inputs.is_empty() {
            put("inputs", text_map(self.inputs.iter().map(|(k, v)| (k, v.to_string()))));
        }
        if let Some(digest) = self.stdin {
            put("stdin", Value::string(digest.to_string()));
        }
        if let Some(digest) = self.tool {
            put("tool", Value::string(digest.to_string()));
        }
        if let Some(what) = self.record {
            put("record", Value::string(what.as_str()));
        }
        Value::Object(members)
    }

    /// Reads them back; what is not known is refused.
    pub fn from_value(value: Value) -> Result<Self, ActionRequestError> {
        let mut members = Members::of(value, "pins")?;
        let mut program = Vec::new();
        for file in members.optional("program").map(list_of).transpose()?.unwrap_or_default() {
            let mut file = Members::of(file, "program")?;
            program.push(FilePin { path: file.text("path")?, sha256: read_digest(&file.text("sha256")?)? });
            file.end()?;
        }
        let pins = Pins {
            program,
            run_as: members.optional("run_as").map(text_of).transpose()?,
            environment: members.text_map("environment")?,
            secrets: members
                .text_map("secrets")?
                .into_iter()
                .map(|(variable, written)| Ok((variable, read_secret_version(&written)?)))
                .collect::<Result<_, ActionRequestError>>()?,
            inputs: members
                .text_map("inputs")?
                .into_iter()
                .map(|(name, written)| Ok((name, read_digest(&written)?)))
                .collect::<Result<_, ActionRequestError>>()?,
            stdin: members
                .optional("stdin")
                .map(text_of)
                .transpose()?
                .map(|d| read_digest(&d))
                .transpose()?,
            tool: members.optional("tool").map(text_of).transpose()?.map(|d| read_digest(&d)).transpose()?,
            record: members
                .optional("record")
                .map(text_of)
                .transpose()?
                .map(|d| read_recorded(&d))
                .transpose()?,
        };
        members.end()?;
        Ok(pins)
    }
}

fn principal_value(principal: Principal) -> Value {
    Value::object([("kind", Value::string(principal.kind())), ("id", Value::string(principal.to_string()))])
}

fn read_principal(value: Value) -> Result<Principal, ActionRequestError> {
    let mut members = Members::of(value, "a principal")?;
    let (kind, id) = (members.text("kind")?, members.text("id")?);
    members.end()?;
    match kind.as_str() {
        "agent" => AgentId::parse(&id).map(Principal::Agent).map_err(refuse),
        "pipeline" => AgentId::parse(&id).map(Principal::Pipeline).map_err(refuse),
        "person" => PersonId::parse(&id).map(Principal::Person).map_err(refuse),
        _ => Err(ActionRequestError("a principal's kind is unknown".to_owned())),
    }
}

fn read_secret_version(written: &str) -> Result<SecretVersion, ActionRequestError> {
    let refused = || ActionRequestError("a secret is not written as name@version".to_owned());
    let (name, version) = written.rsplit_once('@').ok_or_else(refused)?;
    Ok(SecretVersion { name: name.to_owned(), version: version.parse().map_err(|_| refused())? })
}

fn read_recorded(text: &str) -> Result<Recorded, ActionRequestError> {
    Recorded::parse(text).ok_or_else(|| ActionRequestError("what would be recorded is unknown".to_owned()))
}

fn read_digest(text: &str) -> Result<Sha256Digest, ActionRequestError> {
    Sha256Digest::parse(text).map_err(refuse)
}

fn refuse(error: impl fmt::Display) -> ActionRequestError {
    ActionRequestError(error.to_string())
}

fn text_map<'a>(pairs: impl Iterator<Item = (&'a String, String)>) -> Value {
    Value::object(pairs.map(|(key, text)| (key.clone(), Value::String(text))))
}

fn text_of(value: Value) -> Result<String, ActionRequestError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(ActionRequestError("a text is not a string".to_owned())),
    }
}

fn list_of(value: Value) -> Result<Vec<Value>, ActionRequestError> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(ActionRequestError("a list is not an array".to_owned())),
    }
}

/// An object that is emptied member by member: what is left at the end is unknown, and refused.
struct Members {
    of: &'static str,
    left: BTreeMap<String, Value>,
}

impl Members {
    fn of(value: Value, of: &'static str) -> Result<Self, ActionRequestError> {
        match value {
            Value::Object(left) => Ok(Members { of, left }),
            _ => Err(ActionRequestError(format!("{of} is not an object"))),
        }
    }

    fn optional(&mut self, key: &str) -> Option<Value> {
        self.left.remove(key)
    }

    fn take(&mut self, key: &str) -> Result<Value, ActionRequestError> {
        self.optional(key).ok_or_else(|| ActionRequestError(format!("{} lacks {key}", self.of)))
    }

    fn text(&mut self, key: &str) -> Result<String, ActionRequestError> {
        self.take(key).and_then(text_of)
    }

    fn list(&mut self, key: &str) -> Result<Vec<Value>, ActionRequestError> {
        self.take(key).and_then(list_of)
    }

    fn text_map(&mut self, key: &'static str) -> Result<BTreeMap<String, String>, ActionRequestError> {
        let Some(value) = self.optional(key) else { return Ok(BTreeMap::new()) };
        let members = Members::of(value, key)?;
        members.left.into_iter().map(|(name, text)| Ok((name, text_of(text)?))).collect()
    }

    fn end(self) -> Result<(), ActionRequestError> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(ActionRequestError(format!("{} has an unknown member {key:?}", self.of))),
        }
    }
}

/// A fact about a call that policy may read: a typed pair, never parsed from an agent's JSON by guessing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// Yes or no.
    Bool(bool),
    /// A whole number of 64 bits.
    Long(i64),
    /// A text.
    Text(String),
    /// A set of texts.
    Texts(BTreeSet<String>),
}

/// The typed context of a call, as the mapping found it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// By name; never one of the names that placet fills itself.
    pub known: BTreeMap<String, Fact>,
    /// Names of what the call carries but policy cannot represent: the default guard asks about these.
    pub unrepresentable: BTreeSet<String>,
}

/// Names that placet fills itself: no call may set them.
pub const RESERVED_FACTS: [&str; 7] =
    ["now", "risk", "approvals", "usage", "pep", "grade", "unrepresentable"];
