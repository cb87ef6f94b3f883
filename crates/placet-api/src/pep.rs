//! What an enforcement point outside of placet's own process and the agents' door say to each other, under `/v1/pep`.
//!
//! The enforcement point's own bearer token says who it is and of which kind; nothing in a body does. A call on an agent's
//! behalf carries that agent's token in a second header, and the door verifies it: an enforcement point cannot make up
//! who calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_core::action::{ActionName, Grade, Pins, ResourceRef};
use placet_core::c14n::Value;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::intake::{
    CLAIM_BYTES_MAX, Common, NAME_BYTES_MAX, OutcomeRequest, Resource, SUMMARY_BYTES_MAX, put_text, sentence,
};
use crate::read::{InputError, Members};
use crate::recording::Recording;
use crate::request::RequestDocument;

/// Where the token of the agent stands on whose behalf an enforcement point calls.
pub const AGENT_TOKEN_HEADER: &str = "x-placet-agent-token";
/// The code of the refusal that means the agent's token, not the enforcement point's.
pub const CALLER_UNAUTHENTICATED: &str = "caller_unauthenticated";
/// How many bytes the body of an outcome may have: the largest recording in base64, and the rest.
pub const OUTCOME_BODY_BYTES_MAX: usize = 12 * 1024 * 1024;
/// How many words a command may have.
const ARGV_MAX: usize = 4096;

/// `GET /v1/pep`: who the enforcement point is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PepDocument {
    /// Its id.
    #[schema(example = "pep_01jd2t3v4w5x6y7z8a9b0c1d2e")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it intercepts: `command` or `mcp`.
    pub kind: String,
}

/// `GET /v1/pep/caller`: whose token an agent has shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallerDocument {
    /// `agent` or `pipeline`.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// `POST /v1/pep/guide`: what does the bundle in force say about a command?
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct GuideRequest {
    /// The program and its arguments.
    #[schema(min_items = 1, max_items = 4096)]
    pub argv: Vec<String>,
}

impl GuideRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let argv = members.texts("argv", ARGV_MAX)?;
        members.end()?;
        Ok(GuideRequest { argv })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let argv = self.argv.iter().map(Value::string).collect();
        Value::object([("argv", Value::Array(argv))]).canonical()
    }
}

/// What the bundle in force says about a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GuideDocument {
    /// What the mapping makes of it.
    pub action: String,
    /// On what.
    pub resource: Resource,
    /// The bundle's digest.
    pub bundle: String,
    /// The bundle's `runner.toml`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_toml: Option<String>,
    /// The newest version of each stored secret that `runner.toml` names.
    pub secrets: BTreeMap<String, u32>,
}

/// `POST /v1/pep/requests`: a call that the enforcement point intercepted, with everything pinned.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct InterceptedRequest {
    /// What it would talk to: for a command, `runner:` and the enforcement point's id.
    pub target: String,
    /// How far it can be trusted to enforce here: `advisory`, `gated` or `enforced`.
    #[schema(value_type = String, example = "enforced")]
    pub grade: Grade,
    /// The action that the pins were planned for, as the guide answered.
    #[schema(value_type = String, example = "data.export")]
    pub action: ActionName,
    /// The resource that they were planned for.
    #[schema(value_type = Resource)]
    pub resource: ResourceRef,
    /// The call itself, token for token.
    #[schema(value_type = Value, example = json!({"argv": ["pg_dump", "shop"]}))]
    pub arguments: Value,
    /// What else pins the meaning: program, environment, secrets as `name@version`, inputs by content.
    #[schema(value_type = Value)]
    pub pins: Pins,
    /// Why, in the agent's words.
    #[schema(max_length = 4096)]
    pub justification: Option<String>,
    /// The person on whose behalf.
    pub on_behalf_of: Option<String>,
    /// The agent's key for this call.
    #[schema(max_length = 255)]
    pub idempotency_key: Option<String>,
    /// A claim value: if policy permits without a review, the execution begins in the transaction that takes the call in.
    #[schema(max_length = 255)]
    pub start: Option<String>,
}

impl InterceptedRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let target = members.text("target", NAME_BYTES_MAX)?;
        let grade = Grade::parse(&members.text("grade", NAME_BYTES_MAX)?)
            .ok_or_else(|| members.refuse("grade", "bad_value", "Write advisory, gated or enforced."))?;
        let action = ActionName::parse(&members.text("action", NAME_BYTES_MAX)?)
            .map_err(|error| members.refuse("action", "bad_value", sentence(&error)))?;
        let mut resource = members.object("resource")?;
        let (kind, id) = (resource.text("type", NAME_BYTES_MAX)?, resource.text("id", NAME_BYTES_MAX)?);
        resource.end()?;
        let resource = ResourceRef::new(&kind, &id)
            .map_err(|error| members.refuse("resource", "bad_value", sentence(&error)))?;
        let arguments = members.verbatim("arguments")?;
        let pins = Pins::from_value(members.verbatim("pins")?)
            .map_err(|error| members.refuse("pins", "bad_value", sentence(&error)))?;
        let start = members.optional_text("start", CLAIM_BYTES_MAX)?;
        if start.as_deref() == Some("") {
            return Err(members.refuse("start", "bad_value", "Write at least one byte, or leave it out."));
        }
        let common = Common::take(&mut members)?;
        members.end()?;
        Ok(InterceptedRequest {
            target,
            grade,
            action,
            resource,
            arguments,
            pins,
            justification: common.justification,
            on_behalf_of: common.on_behalf_of,
            idempotency_key: common.idempotency_key,
            start,
        })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let resource =
            [("type", Value::string(self.resource.kind())), ("id", Value::string(self.resource.id()))];
        let mut members = vec![
            ("target", Value::string(self.target.as_str())),
            ("grade", Value::string(self.grade.as_str())),
            ("action", Value::string(self.action.as_str())),
            ("resource", Value::object(resource)),
            ("arguments", self.arguments.clone()),
            ("pins", self.pins.to_value()),
        ];
        put_text(&mut members, "justification", self.justification.as_deref());
        put_text(&mut members, "on_behalf_of", self.on_behalf_of.as_deref());
        put_text(&mut members, "idempotency_key", self.idempotency_key.as_deref());
        put_text(&mut members, "start", self.start.as_deref());
        Value::object(members).canonical()
    }
}

/// What an intercepted call got.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TakenIn {
    /// Whether this call made the request.
    pub new: bool,
    /// The request.
    pub request: RequestDocument,
    /// The execution that began with it, if `start` was given and policy permitted at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<HeldDocument>,
}

/// `POST /v1/pep/requests/{id}/execution`: redeems the grant of what the enforcement point took in.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct PepClaim {
    /// A value of the enforcement point's choice: repeating it repeats the answer, any other is refused.
    #[schema(min_length = 1, max_length = 255)]
    pub claim: String,
}

impl PepClaim {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let claim = members.text("claim", CLAIM_BYTES_MAX)?;
        if claim.is_empty() {
            return Err(members.refuse("claim", "bad_value", "Write at least one byte of your choice."));
        }
        members.end()?;
        Ok(PepClaim { claim })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        Value::object([("claim", Value::string(self.claim.as_str()))]).canonical()
    }
}

/// An execution that the enforcement point holds: the right, and the duty, to carry out exactly these bytes once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HeldDocument {
    /// Which execution.
    pub execution_id: String,
    /// The digest of what was approved, 64 lower-case hexadecimal digits.
    pub digest: String,
    /// The canonical bytes of what was approved.
    pub canonical: String,
    /// Until when an outcome is waited for.
    pub outcome_deadline: String,
    /// The secrets that it was approved with, by environment variable.
    pub secrets: BTreeMap<String, ReleasedSecret>,
}

/// One released secret. It is in memory only, on both sides.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleasedSecret {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its bytes in base64.
    pub value: String,
}

impl fmt::Debug for ReleasedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}=<redacted>", self.name, self.version)
    }
}

/// `POST /v1/pep/requests/{id}/outcome`: what became of an execution, and what was recorded of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PepOutcome {
    /// How it ended: its members stand beside the recording.
    pub outcome: OutcomeRequest,
    /// What was recorded, if anything was. The outcome's entry commits to its hash.
    pub recording: Option<PepRecording>,
}

/// A recording on its way: an asciicast, version 3.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct PepRecording {
    /// Its exact bytes, in base64.
    #[schema(value_type = String)]
    pub asciicast: Arc<[u8]>,
    /// Whether the program wrote more than was kept.
    pub truncated: bool,
}

impl PepOutcome {
    /// Reads a body of at most [`OUTCOME_BODY_BYTES_MAX`] bytes.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_large_body(body, OUTCOME_BODY_BYTES_MAX)?;
        let outcome = OutcomeRequest::take(&mut members)?;
        let read = |members| PepRecording::read(members, &outcome.execution_id);
        let recording = members.optional_object("recording")?.map(read).transpose()?;
        members.end()?;
        Ok(PepOutcome { outcome, recording })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let mut members = self.outcome.members();
        if let Some(recording) = &self.recording {
            let recording = [
                ("asciicast", Value::string(STANDARD.encode(&recording.asciicast))),
                ("truncated", Value::Bool(recording.truncated)),
            ];
            members.push(("recording", Value::object(recording)));
        }
        Value::object(members).canonical()
    }
}

impl PartialSchema for PepOutcome {
    fn schema() -> RefOr<Schema> {
        let recording = ObjectBuilder::new().property("recording", Ref::from_schema_name("PepRecording"));
        AllOfBuilder::new().item(OutcomeRequest::schema()).item(recording).into()
    }
}

impl ToSchema for PepOutcome {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        OutcomeRequest::schemas(schemas);
        schemas.push((PepRecording::name().into(), PepRecording::schema()));
    }
}

impl PepRecording {
    fn read(mut members: Members, execution: &str) -> Result<Self, InputError> {
        let written = members.text("asciicast", OUTCOME_BODY_BYTES_MAX)?;
        let asciicast = STANDARD.decode(written).map_err(|_| {
            members.refuse("asciicast", "bad_value", "Write the recording's bytes in base64.")
        })?;
        // A recording that nobody can play must not stand behind a hash that looks as if one could.
        let recording = Recording::parse(&asciicast)
            .map_err(|error| members.refuse("asciicast", "bad_value", sentence(&error)))?;
        if recording.header.placet.execution != execution {
            let other = "This is the recording of another execution.";
            return Err(members.refuse("asciicast", "bad_value", other));
        }
        let truncated = members.optional_flag("truncated")?.unwrap_or_default();
        members.end()?;
        Ok(PepRecording { asciicast: asciicast.into(), truncated })
    }
}

/// `POST /v1/pep/requests/{id}/abandonment`: whoever carried this out is gone, and nobody knows how it ended.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct AbandonRequest {
    /// Which execution.
    pub execution_id: String,
    /// Why nobody knows, in one line.
    #[schema(min_length = 1, max_length = 4096)]
    pub why: String,
}

impl AbandonRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let execution_id = members.text("execution_id", NAME_BYTES_MAX)?;
        let why = members.text("why", SUMMARY_BYTES_MAX)?;
        if why.is_empty() {
            return Err(members.refuse("why", "bad_value", "Say why nobody knows."));
        }
        members.end()?;
        Ok(AbandonRequest { execution_id, why })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let members = [
            ("execution_id", Value::string(self.execution_id.as_str())),
            ("why", Value::string(self.why.as_str())),
        ];
        Value::object(members).canonical()
    }
}

/// `GET /v1/pep/executions`: what the enforcement point holds, for its recovery after a restart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HeldList {
    /// All of them.
    pub executions: Vec<HeldExecution>,
}

/// One execution that the enforcement point holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HeldExecution {
    /// Whose it is.
    pub request: String,
    /// Which.
    pub execution_id: String,
}

#[cfg(test)]
mod tests {
    use placet_core::action::SecretVersion;
    use placet_core::digest::Sha256Digest;

    use super::*;
    use crate::intake::OutcomeWord;

    fn intercepted() -> InterceptedRequest {
        InterceptedRequest {
            target: "runner:pep_00000000000000000000000000".into(),
            grade: Grade::Enforced,
            action: ActionName::parse("data.export").unwrap(),
            resource: ResourceRef::new("Dataset", "shop.accounts").unwrap(),
            arguments: Value::parse(br#"{"argv":["pg_dump","1.0"]}"#).unwrap(),
            pins: Pins {
                run_as: Some("placet-runner".into()),
                environment: BTreeMap::from([("LANG".into(), "C.UTF-8".into())]),
                secrets: BTreeMap::from([(
                    "PGPASSWORD".into(),
                    SecretVersion { name: "shop@db".into(), version: 3 },
                )]),
                stdin: Some(Sha256Digest::of(b"")),
                ..Pins::default()
            },
            justification: Some("weekly".into()),
            on_behalf_of: None,
            idempotency_key: Some("k".into()),
            start: Some("mine".into()),
        }
    }

    #[test]
    fn an_intercepted_call_reads_back_as_it_was_sent() {
        let call = intercepted();
        assert_eq!(InterceptedRequest::from_json(call.to_json().as_bytes()), Ok(call));
    }

    #[test]
    fn nothing_but_the_credential_says_who_intercepts() {
        let whole = intercepted().to_json();
        for (from, to, code, pointer) in [
            (r#"{"action""#, r#"{"pep":"mcp","action""#, "unknown_member", "/pep"),
            (r#"{"action""#, r#"{"principal":"agt_1","action""#, "unknown_member", "/principal"),
            (r#""enforced""#, r#""best""#, "bad_value", "/grade"),
            (r#""shop@db@3""#, r#""shop""#, "bad_value", "/pins"),
            (r#""run_as":"placet-runner""#, r#""run_as":"placet-runner","x":1"#, "bad_value", "/pins"),
            (r#""start":"mine""#, r#""start":"""#, "bad_value", "/start"),
            (r#""target":"runner:pep_00000000000000000000000000""#, r#""target":1"#, "wrong_type", "/target"),
        ] {
            assert!(whole.contains(from), "{from}");
            let error = InterceptedRequest::from_json(whole.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!((error.code, error.pointer.as_deref()), (code, Some(pointer)), "{to}");
        }
    }

    #[test]
    fn the_other_bodies_are_read_strictly() {
        let guide = GuideRequest { argv: vec!["ls".into(), "-l".into()] };
        assert_eq!(GuideRequest::from_json(guide.to_json().as_bytes()), Ok(guide));
        let claim = PepClaim { claim: "mine".into() };
        assert_eq!(PepClaim::from_json(claim.to_json().as_bytes()), Ok(claim));
        let abandon = AbandonRequest { execution_id: "exe_1".into(), why: "gone".into() };
        assert_eq!(AbandonRequest::from_json(abandon.to_json().as_bytes()), Ok(abandon));
        assert!(PepClaim::from_json(br#"{"claim":""}"#).is_err());
        assert!(PepClaim::from_json(br#"{"claim":"a","digest":"b"}"#).is_err());
        assert!(AbandonRequest::from_json(br#"{"execution_id":"exe_1","why":""}"#).is_err());
        assert!(GuideRequest::from_json(br#"{"argv":["ls"],"env":{}}"#).is_err());
    }

    #[test]
    fn an_outcome_brings_a_recording_that_can_be_played_or_none() {
        let about = r#"{"execution":"exe_1","record":"all","stdout_bytes":2,"stderr_bytes":0,"invalid_bytes":0,"styles_left_out":0,"binary":[],"truncated":true,"withheld":false}"#;
        let cast = format!(
            "{{\"version\":3,\"term\":{{\"cols\":80,\"rows\":24}},\"timestamp\":1,\"placet\":{about}}}\n[0.1,\"o\",\"hi\"]\n"
        );
        let outcome = OutcomeRequest {
            execution_id: "exe_1".into(),
            outcome: OutcomeWord::Succeeded,
            summary: "exit code 0".into(),
            measures: BTreeMap::from([("bytes".into(), 3)]),
            result_digest: None,
        };
        let mut sent = PepOutcome { outcome, recording: None };
        assert_eq!(PepOutcome::from_json(sent.to_json().as_bytes()), Ok(sent.clone()));
        assert_eq!(OutcomeRequest::from_json(sent.to_json().as_bytes()), Ok(sent.outcome.clone()));
        sent.recording = Some(PepRecording { asciicast: cast.as_bytes().into(), truncated: true });
        let body = sent.to_json();
        assert_eq!(PepOutcome::from_json(body.as_bytes()), Ok(sent.clone()));
        for (from, to, code) in [
            (STANDARD.encode(&cast), "%".to_owned(), "bad_value"),
            (STANDARD.encode(&cast), STANDARD.encode(b"no recording"), "bad_value"),
            (STANDARD.encode(&cast), STANDARD.encode(cast.replace("exe_1", "exe_2")), "bad_value"),
            ("\"truncated\":true".into(), "\"truncated\":1".into(), "wrong_type"),
            ("\"truncated\":true".into(), "\"truncated\":true,\"path\":\"/\"".into(), "unknown_member"),
        ] {
            let error = PepOutcome::from_json(body.replace(&from, &to).as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{to}");
        }
        sent.outcome.summary = "x".repeat(OUTCOME_BODY_BYTES_MAX);
        assert_eq!(PepOutcome::from_json(sent.to_json().as_bytes()).unwrap_err().code, "body_too_large");
    }

    #[test]
    fn a_large_body_is_large_because_of_its_texts() {
        // Read whole, this would take some hundred times its size.
        for (open, item, close) in [("[", "0,", "0]"), ("{\"measures\":[", "[],", "0]}")] {
            let many = format!("{open}{}{close}", item.repeat(OUTCOME_BODY_BYTES_MAX / item.len() - 16));
            let error = PepOutcome::from_json(many.as_bytes()).unwrap_err();
            assert_eq!(error.code, "json_too_many_values");
        }
    }

    #[test]
    fn a_released_secret_shows_nothing_of_itself() {
        let secret = ReleasedSecret { name: "shop".into(), version: 1, value: "aHVudGVyMg==".into() };
        assert_eq!(format!("{secret:?}"), "shop@1=<redacted>");
    }
}
