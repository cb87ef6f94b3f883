//! What the operator and placet say to each other over the admin socket.

use std::collections::BTreeMap;

use placet_core::action::PepKind;
use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use serde::{Deserialize, Serialize};

use crate::intake::{NAME_BYTES_MAX, put_text, sentence};
use crate::read::{InputError, Members};

/// How many groups, owners or files a body may name.
const NAMES_MAX: usize = 1000;

/// A person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PersonDocument {
    /// Who.
    pub id: String,
    /// Their name.
    pub name: String,
    /// Their address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The groups they are in.
    pub groups: Vec<String>,
    /// The operating system's user that is this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_uid: Option<u32>,
    /// Whether they may act.
    pub active: bool,
    /// When they were added.
    pub created_at: String,
}

/// An agent or a pipeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentDocument {
    /// Which.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `agent` or `pipeline`.
    pub kind: String,
    /// The person who answers for it, by name.
    pub sponsor: String,
    /// Further owners, by name.
    pub owners: Vec<String>,
    /// Persons it may act for, by name.
    pub acts_for: Vec<String>,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Whose tokens of another issuer are its own.
    #[serde(default)]
    pub workload: Option<WorkloadDocument>,
    /// Whether it may act.
    pub active: bool,
    /// When it was added.
    pub created_at: String,
}

/// Who an agent is to the platform that it runs on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkloadDocument {
    /// Who issues its tokens.
    pub issuer: String,
    /// What it is called there.
    pub subject: String,
}

/// A sign-in link, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationDocument {
    /// Whom it signs in.
    pub person: PersonDocument,
    /// The whole link.
    pub url: String,
    /// Until when it works.
    pub expires_at: String,
}

/// An agent with its bearer token, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCredential {
    /// Which.
    pub agent: AgentDocument,
    /// Its token; none for one that calls with those of another issuer.
    pub token: Option<String>,
}

/// An enforcement point with a credential of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PepDocument {
    /// Which.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `command` or `mcp`.
    pub kind: String,
    /// The person who answers for it, by name.
    pub sponsor: String,
    /// Whether it may act.
    pub active: bool,
    /// When it was added.
    pub created_at: String,
}

/// An enforcement point with its bearer token, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PepCredential {
    /// Which.
    pub pep: PepDocument,
    /// Its token.
    pub token: String,
}

/// A person's API token. The token itself is shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDocument {
    /// Which.
    pub id: String,
    /// The token, when it was just minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When it was minted.
    pub created_at: String,
    /// When it ends by itself.
    pub expires_at: String,
}

/// A stored secret, without its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecretDocument {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// When that was set; absent in the answer to setting it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_at: Option<String>,
}

/// How placet is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusDocument {
    /// Whether it would serve calls now.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The operator, as the kernel and the directory name them.
    pub operator: OperatorDocument,
    /// The ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStatus>,
}

/// Where the ledger stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogStatus {
    /// Its name in this epoch.
    pub origin: String,
    /// Counts up when a restored database went on beside a log that was published further.
    pub epoch: u32,
    /// How many entries it has.
    pub entries: u64,
    /// When the last one was written.
    pub last_entry: String,
}

/// Who works on the socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OperatorDocument {
    /// The operating system's user id.
    pub uid: u32,
    /// The person that this is known to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// A person to add.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewPersonRequest {
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: Option<String>,
    /// The groups they are in.
    pub groups: Vec<String>,
    /// Whether they are whoever adds them: the operating system's user at the other end of the socket.
    pub is_operator: bool,
}

impl NewPersonRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let read = NewPersonRequest {
            name: members.text("name", NAME_BYTES_MAX)?,
            email: members.optional_text("email", NAME_BYTES_MAX)?,
            groups: members.texts("groups", NAMES_MAX)?,
            is_operator: members.optional_flag("is_operator")?.unwrap_or(false),
        };
        members.end()?;
        Ok(read)
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let mut members = vec![
            ("name", Value::string(self.name.clone())),
            ("groups", texts(&self.groups)),
            ("is_operator", Value::Bool(self.is_operator)),
        ];
        put_text(&mut members, "email", self.email.as_deref());
        Value::object(members).canonical()
    }
}

/// An agent or pipeline to add.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewAgentRequest {
    /// Its name.
    pub name: String,
    /// Whether it is a pipeline with fixed steps rather than an agent.
    pub pipeline: bool,
    /// Who answers for it, by id or name.
    pub sponsor: String,
    /// Further owners, by id or name.
    pub owners: Vec<String>,
    /// Persons it may act for, by id or name.
    pub acts_for: Vec<String>,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Who issues its tokens, and what it is called there, if they are not placet's.
    pub workload: Option<WorkloadDocument>,
}

impl NewAgentRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let pipeline = match members.optional_text("kind", NAME_BYTES_MAX)?.as_deref() {
            None | Some("agent") => false,
            Some("pipeline") => true,
            Some(_) => return Err(members.refuse("kind", "bad_value", "Write agent or pipeline.")),
        };
        let issuer = members.optional_text("issuer", NAME_BYTES_MAX)?;
        let workload = match (issuer, members.optional_text("subject", NAME_BYTES_MAX)?) {
            (Some(issuer), Some(subject)) => Some(WorkloadDocument { issuer, subject }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(members.refuse("subject", "missing_member", "It belongs to an issuer."));
            }
            (None, Some(_)) => {
                return Err(members.refuse("issuer", "missing_member", "It belongs to a subject."));
            }
        };
        let read = NewAgentRequest {
            name: members.text("name", NAME_BYTES_MAX)?,
            pipeline,
            workload,
            sponsor: members.text("sponsor", NAME_BYTES_MAX)?,
            owners: members.texts("owners", NAMES_MAX)?,
            acts_for: members.texts("acts_for", NAMES_MAX)?,
            groups: members.texts("groups", NAMES_MAX)?,
        };
        members.end()?;
        Ok(read)
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let always = [
            ("name", Value::string(self.name.clone())),
            ("kind", Value::string(if self.pipeline { "pipeline" } else { "agent" })),
            ("sponsor", Value::string(self.sponsor.clone())),
            ("owners", texts(&self.owners)),
            ("acts_for", texts(&self.acts_for)),
            ("groups", texts(&self.groups)),
        ];
        let workload = self.workload.iter().flat_map(|workload| {
            [("issuer", &workload.issuer), ("subject", &workload.subject)]
                .map(|(key, text)| (key, Value::string(text.clone())))
        });
        Value::object(always.into_iter().chain(workload)).canonical()
    }
}

/// An enforcement point to add.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPepRequest {
    /// Its name.
    pub name: String,
    /// What it intercepts.
    pub kind: PepKind,
    /// Who answers for it, by id or name.
    pub sponsor: String,
}

impl NewPepRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let kind = PepKind::parse(&members.text("kind", NAME_BYTES_MAX)?)
            .filter(|kind| *kind != PepKind::External)
            .ok_or_else(|| members.refuse("kind", "bad_value", "Write command or mcp."))?;
        let read = NewPepRequest {
            name: members.text("name", NAME_BYTES_MAX)?,
            kind,
            sponsor: members.text("sponsor", NAME_BYTES_MAX)?,
        };
        members.end()?;
        Ok(read)
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        Value::object([
            ("name", Value::string(self.name.clone())),
            ("kind", Value::string(self.kind.as_str())),
            ("sponsor", Value::string(self.sponsor.clone())),
        ])
        .canonical()
    }
}

/// How a file differs from the bundle in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileChange {
    /// The file's path.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// The lines that differ, with `-` and `+` in front.
    pub lines: Vec<String>,
}

/// `POST /admin/v1/policy/activate`: this staged bundle decides from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActivateRequest {
    /// Which.
    pub digest: BundleDigest,
}

impl ActivateRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let digest = members.text("digest", NAME_BYTES_MAX)?;
        let digest = BundleDigest::parse(&digest)
            .map_err(|error| members.refuse("digest", "bad_value", sentence(&error)))?;
        members.end()?;
        Ok(ActivateRequest { digest })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        Value::object([("digest", Value::string(self.digest.to_string()))]).canonical()
    }
}

/// The bundle in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyDocument {
    /// Which.
    pub digest: String,
    /// Counts up with each activation.
    pub epoch: u64,
    /// Its files.
    pub files: BTreeMap<String, String>,
    /// What is doubtful in it, with the people there are today.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A set of files: those of an audit bundle, base64 of their bytes by relative path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilesDocument {
    /// By path; each value is base64 (RFC 4648 §4) of the file's bytes.
    pub files: BTreeMap<String, String>,
}

fn texts(items: &[String]) -> Value {
    Value::Array(items.iter().map(Value::string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_bodies_read_back() {
        let person = NewPersonRequest {
            name: "Ada".into(),
            email: Some("ada@corp.example".into()),
            groups: vec!["data-owners".into()],
            is_operator: true,
        };
        assert_eq!(NewPersonRequest::from_json(person.to_json().as_bytes()), Ok(person));
        let agent = NewAgentRequest {
            name: "etl".into(),
            pipeline: true,
            sponsor: "Ada".into(),
            ..Default::default()
        };
        assert_eq!(NewAgentRequest::from_json(agent.to_json().as_bytes()), Ok(agent));
    }

    #[test]
    fn operators_bodies_are_read_strictly() {
        assert_eq!(NewPersonRequest::from_json(br#"{"nome":"x"}"#).unwrap_err().code, "missing_member");
        assert_eq!(
            NewPersonRequest::from_json(br#"{"name":"x","uid":0}"#).unwrap_err().code,
            "unknown_member"
        );
        let robot = br#"{"name":"x","sponsor":"y","kind":"robot"}"#;
        assert_eq!(NewAgentRequest::from_json(robot).unwrap_err().pointer.as_deref(), Some("/kind"));
    }
}
