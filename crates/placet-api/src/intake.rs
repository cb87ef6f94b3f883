//! What agents send: a request for an action they execute themselves, a claim, an outcome.

use std::collections::BTreeMap;

use placet_core::action::{ActionName, ResourceRef};
use placet_core::c14n::Value;
use placet_core::digest::ActionDigest;
use placet_core::retry::KEY_BYTES_MAX;
use utoipa::ToSchema;

use crate::read::{InputError, Members};

/// How many bytes a justification may have.
pub const JUSTIFICATION_BYTES_MAX: usize = 4096;
/// How many bytes a claim value may have.
pub const CLAIM_BYTES_MAX: usize = 255;
/// How many bytes an outcome's summary may have.
pub const SUMMARY_BYTES_MAX: usize = 4096;
/// How many numbers an outcome may measure.
pub const MEASURES_MAX: usize = 32;
/// How many bytes a name may have that is looked up: longer ones are nobody's.
pub(crate) const NAME_BYTES_MAX: usize = 1024;

/// `POST /v1/requests`: an action that the agent would execute itself.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
#[schema(as = SubmitRequest)]
pub struct SubmitRequest {
    /// What would be done: a dotted name that the active bundle lists under `[external]`.
    #[schema(value_type = String, example = "example.deploy")]
    pub action: ActionName,
    /// On what.
    #[schema(value_type = Resource)]
    pub resource: ResourceRef,
    /// The call itself, any JSON. Number tokens are kept as they are written: `1`, `1.0` and `1e0` are three values.
    #[schema(value_type = Value, example = json!({"version": "1.2.3"}))]
    pub arguments: Value,
    /// Why. Shown to reviewers as the agent's words; never reaches policy, and is not part of the digest.
    #[schema(value_type = Option<String>, max_length = 4096)]
    pub justification: Option<String>,
    /// The person on whose behalf, by id or name; the agent's sponsor if absent.
    #[schema(value_type = Option<String>)]
    pub on_behalf_of: Option<String>,
    /// Repeating a call under the same key within 24 hours gives the same request.
    #[schema(value_type = Option<String>, max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// What an action is on.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, ToSchema)]
pub struct Resource {
    /// The entity type.
    #[serde(rename = "type")]
    #[schema(example = "Example")]
    pub kind: String,
    /// The entity's id.
    #[schema(example = "production")]
    pub id: String,
}

impl SubmitRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let action = members.text("action", NAME_BYTES_MAX)?;
        let action = ActionName::parse(&action)
            .map_err(|error| members.refuse("action", "bad_value", sentence(&error)))?;
        let mut resource = members.object("resource")?;
        let (kind, id) = (resource.text("type", NAME_BYTES_MAX)?, resource.text("id", NAME_BYTES_MAX)?);
        resource.end()?;
        let resource = ResourceRef::new(&kind, &id)
            .map_err(|error| members.refuse("resource", "bad_value", sentence(&error)))?;
        let arguments = members.verbatim("arguments")?;
        let common = Common::take(&mut members)?;
        members.end()?;
        Ok(SubmitRequest {
            action,
            resource,
            arguments,
            justification: common.justification,
            on_behalf_of: common.on_behalf_of,
            idempotency_key: common.idempotency_key,
        })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let resource =
            [("type", Value::string(self.resource.kind())), ("id", Value::string(self.resource.id()))];
        let mut members = vec![
            ("action", Value::string(self.action.as_str())),
            ("resource", Value::object(resource)),
            ("arguments", self.arguments.clone()),
        ];
        put_text(&mut members, "justification", self.justification.as_deref());
        put_text(&mut members, "on_behalf_of", self.on_behalf_of.as_deref());
        put_text(&mut members, "idempotency_key", self.idempotency_key.as_deref());
        Value::object(members).canonical()
    }
}

/// What every intake has beside the action.
pub(crate) struct Common {
    pub(crate) justification: Option<String>,
    pub(crate) on_behalf_of: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

impl Common {
    pub(crate) fn take(members: &mut Members) -> Result<Self, InputError> {
        let idempotency_key = members.optional_text("idempotency_key", KEY_BYTES_MAX)?;
        if idempotency_key.as_deref() == Some("") {
            return Err(members.refuse(
                "idempotency_key",
                "bad_value",
                "Write at least one byte, or leave it out.",
            ));
        }
        Ok(Common {
            justification: members.optional_text("justification", JUSTIFICATION_BYTES_MAX)?,
            on_behalf_of: members.optional_text("on_behalf_of", NAME_BYTES_MAX)?,
            idempotency_key,
        })
    }
}

/// `POST /v1/requests/{id}/execution`: redeems the grant of an `external` request.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct ClaimRequest {
    /// The digest of what will be executed, 64 lower-case hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: ActionDigest,
    /// A value of the caller's choice: repeating it repeats the answer, any other is refused.
    #[schema(min_length = 1, max_length = 255)]
    pub claim: String,
}

impl ClaimRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let digest = members.text("digest", NAME_BYTES_MAX)?;
        let digest = ActionDigest::parse(&digest)
            .map_err(|error| members.refuse("digest", "bad_value", sentence(&error)))?;
        let claim = members.text("claim", CLAIM_BYTES_MAX)?;
        if claim.is_empty() {
            return Err(members.refuse("claim", "bad_value", "Write at least one byte of your choice."));
        }
        members.end()?;
        Ok(ClaimRequest { digest, claim })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let members = [
            ("digest", Value::string(self.digest.to_string())),
            ("claim", Value::string(self.claim.clone())),
        ];
        Value::object(members).canonical()
    }
}

/// How an execution ended, in the caller's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the same words as the states")]
pub enum OutcomeWord {
    Succeeded,
    Failed,
    Unknown,
}

impl OutcomeWord {
    /// The word itself.
    pub fn as_str(self) -> &'static str {
        match self {
            OutcomeWord::Succeeded => "succeeded",
            OutcomeWord::Failed => "failed",
            OutcomeWord::Unknown => "unknown",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [OutcomeWord::Succeeded, OutcomeWord::Failed, OutcomeWord::Unknown]
            .into_iter()
            .find(|word| word.as_str() == text)
    }
}

/// `POST /v1/requests/{id}/outcome`: what became of an `external` execution.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct OutcomeRequest {
    /// The execution that the claim answered with.
    #[schema(example = "exe_01jd2t3v4w5x6y7z8a9b0c1d2e")]
    pub execution_id: String,
    /// How it ended.
    pub outcome: OutcomeWord,
    /// One line about it.
    #[schema(max_length = 4096)]
    pub summary: String,
    /// Numbers that were measured: `exit_code`, `bytes`, `rows`, `duration_ms`.
    #[schema(required = false)]
    pub measures: BTreeMap<String, i64>,
    /// SHA-256 of what came out, 64 lower-case hexadecimal digits.
    pub result_digest: Option<String>,
}

impl OutcomeRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let read = Self::take(&mut members)?;
        members.end()?;
        Ok(read)
    }

    pub(crate) fn take(members: &mut Members) -> Result<Self, InputError> {
        let execution_id = members.text("execution_id", NAME_BYTES_MAX)?;
        let outcome = members.text("outcome", NAME_BYTES_MAX)?;
        let outcome = OutcomeWord::parse(&outcome)
            .ok_or_else(|| members.refuse("outcome", "bad_value", "Write succeeded, failed or unknown."))?;
        let summary = members.optional_text("summary", SUMMARY_BYTES_MAX)?.unwrap_or_default();
        let measures = take_measures(members)?;
        let result_digest = members.optional_text("result_digest", NAME_BYTES_MAX)?;
        Ok(OutcomeRequest { execution_id, outcome, summary, measures, result_digest })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        Value::object(self.members()).canonical()
    }

    pub(crate) fn members(&self) -> Vec<(&'static str, Value)> {
        let measures = self.measures.iter().map(|(name, value)| (name.clone(), Value::integer(*value)));
        let mut members = vec![
            ("execution_id", Value::string(self.execution_id.clone())),
            ("outcome", Value::string(self.outcome.as_str())),
            ("summary", Value::string(self.summary.clone())),
            ("measures", Value::object(measures)),
        ];
        put_text(&mut members, "result_digest", self.result_digest.as_deref());
        members
    }
}

fn take_measures(members: &mut Members) -> Result<BTreeMap<String, i64>, InputError> {
    let Some(value) = members.optional("measures") else { return Ok(BTreeMap::new()) };
    let Value::Object(written) = value else {
        return Err(members.refuse("measures", "wrong_type", "Write an object of whole numbers here."));
    };
    if written.len() > MEASURES_MAX {
        return Err(members.refuse(
            "measures",
            "too_long",
            format!("Write at most {MEASURES_MAX} numbers here."),
        ));
    }
    let mut measures = BTreeMap::new();
    for (name, value) in written {
        let integer = match &value {
            Value::Number(number) if name.len() <= 64 => number.as_integer(),
            _ => None,
        };
        let Some(integer) = integer else {
            let rule = "Write whole numbers of 64 bits under names of at most 64 bytes.";
            return Err(members.refuse("measures", "bad_value", rule));
        };
        measures.insert(name, integer);
    }
    Ok(measures)
}

pub(crate) fn put_text(members: &mut Vec<(&'static str, Value)>, key: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        members.push((key, Value::string(text)));
    }
}

/// An error's fragment as a sentence.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let fragment = error.to_string();
    let mut characters = fragment.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(arguments: &str, more: &str) -> String {
        format!(
            r#"{{"action":"example.deploy","resource":{{"type":"Example","id":"production"}},"arguments":{arguments}{more}}}"#
        )
    }

    #[test]
    fn arguments_keep_their_tokens() {
        for arguments in ["1", "1.0", "1e0", "9007199254740993", "null", r#"{"a":[0.10,-0]}"#, r#""\u0000""#]
        {
            let read = SubmitRequest::from_json(body(arguments, "").as_bytes()).unwrap();
            assert_eq!(read.arguments.canonical(), arguments);
            assert_eq!(SubmitRequest::from_json(read.to_json().as_bytes()), Ok(read));
        }
    }

    #[test]
    fn null_says_the_same_as_nothing_beside_the_arguments() {
        let read = SubmitRequest::from_json(body("{}", r#","justification":null"#).as_bytes()).unwrap();
        assert_eq!(read.justification, None);
    }

    #[test]
    fn refuses_with_a_code_and_a_pointer() {
        let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
        let unknown: String = (0..10_000).map(|n| format!(",\"x{n:05}\":1")).collect();
        let long = format!(",\"justification\":\"{}\"", "x".repeat(JUSTIFICATION_BYTES_MAX + 1));
        let key = format!(",\"idempotency_key\":\"{}\"", "k".repeat(256));
        for (body, code, pointer) in [
            (String::new(), "json_syntax", None),
            ("[]".into(), "wrong_type", Some("")),
            (body("{}", ",\"action\":\"x\""), "json_duplicate_key", None),
            (body(r#"{"a":{"b":1,"b":1}}"#, ""), "json_duplicate_key", None),
            (body(r#""\ud800""#, ""), "json_lone_surrogate", None),
            (body(&deep, ""), "json_too_deep", None),
            (body(&format!("\"{}\"", "x".repeat(1024 * 1024)), ""), "body_too_large", None),
            (body("{}", &unknown), "unknown_member", Some("/x00000")),
            (body("{}", ",\"pep\":\"command\""), "unknown_member", Some("/pep")),
            (body("{}", ",\"a/b~\":1"), "unknown_member", Some("/a~1b~0")),
            (body("{}", &long), "too_long", Some("/justification")),
            (body("{}", &key), "too_long", Some("/idempotency_key")),
            (body("{}", ",\"idempotency_key\":\"\""), "bad_value", Some("/idempotency_key")),
            (body("{}", ",\"on_behalf_of\":1"), "wrong_type", Some("/on_behalf_of")),
            (r#"{"resource":{},"arguments":1}"#.into(), "missing_member", Some("/action")),
            (r#"{"action":"1","resource":{}}"#.into(), "bad_value", Some("/action")),
            (r#"{"action":"a","resource":{"type":"T"}}"#.into(), "missing_member", Some("/resource/id")),
            (
                r#"{"action":"a","resource":{"type":"T","id":""},"arguments":1}"#.into(),
                "bad_value",
                Some("/resource"),
            ),
            (
                r#"{"action":"a","resource":{"type":"T","id":"i","x":1}}"#.into(),
                "unknown_member",
                Some("/resource/x"),
            ),
            (
                r#"{"action":"a","resource":{"type":"T","id":"i"}}"#.into(),
                "missing_member",
                Some("/arguments"),
            ),
        ] {
            let error = SubmitRequest::from_json(body.as_bytes()).unwrap_err();
            let shown: String = body.chars().take(80).collect();
            assert_eq!((error.code, error.pointer.as_deref()), (code, pointer), "{shown}");
        }
        assert_eq!(SubmitRequest::from_json(b"\"\xff\"").unwrap_err().code, "json_not_utf8");
    }

    #[test]
    fn a_pointer_does_not_grow_with_the_callers_keys() {
        let error =
            SubmitRequest::from_json(body("{}", &format!(",\"{}\":1", "x".repeat(10_000))).as_bytes());
        let error = error.unwrap_err();
        assert_eq!((error.code, error.pointer), ("unknown_member", None));
        assert!(error.message.len() < 200);
    }

    #[test]
    fn claims_and_outcomes_are_read_strictly() {
        let digest = "0".repeat(64);
        let claim =
            ClaimRequest::from_json(format!(r#"{{"digest":"{digest}","claim":"c"}}"#).as_bytes()).unwrap();
        assert_eq!(ClaimRequest::from_json(claim.to_json().as_bytes()), Ok(claim));
        for (body, pointer) in [
            (format!(r#"{{"digest":"sha256:{digest}","claim":"c"}}"#), "/digest"),
            (format!(r#"{{"digest":"{digest}","claim":""}}"#), "/claim"),
            (format!(r#"{{"digest":"{digest}"}}"#), "/claim"),
        ] {
            assert_eq!(
                ClaimRequest::from_json(body.as_bytes()).unwrap_err().pointer.as_deref(),
                Some(pointer)
            );
        }

        let whole = r#"{"execution_id":"exe_1","outcome":"failed","summary":"no","measures":{"bytes":-1}}"#;
        let outcome = OutcomeRequest::from_json(whole.as_bytes()).unwrap();
        assert_eq!(outcome.measures.get("bytes"), Some(&-1));
        assert_eq!(OutcomeRequest::from_json(outcome.to_json().as_bytes()), Ok(outcome));
        for (body, pointer) in [
            (whole.replace("failed", "fine"), "/outcome"),
            (whole.replace("-1", "1.0"), "/measures"),
            (whole.replace("-1", "9223372036854775808"), "/measures"),
            (whole.replace(r#"{"bytes":-1}"#, "[]"), "/measures"),
        ] {
            assert_eq!(
                OutcomeRequest::from_json(body.as_bytes()).unwrap_err().pointer.as_deref(),
                Some(pointer)
            );
        }
    }
}
