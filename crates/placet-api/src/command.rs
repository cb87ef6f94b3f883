//! What the command enforcement point's client sends: a program and its arguments, inputs by content.

use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use utoipa::ToSchema;

use crate::intake::{Common, NAME_BYTES_MAX, put_text, sentence};
use crate::read::{InputError, Members};

/// The largest input, in bytes.
pub const BLOB_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The media type of an execution's output.
pub const FRAMES: &str = "application/vnd.placet.frames";
/// How many words a command may have.
const ARGV_MAX: usize = 4096;
/// How many inputs a command may have.
const INPUTS_MAX: usize = 64;

/// `POST /v1/commands`: a program that placet would run.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct CommandIntake {
    /// The program and its arguments.
    #[schema(min_items = 1, max_items = 4096, example = json!(["pg_dump", "-t", "accounts", "shop"]))]
    pub argv: Vec<String>,
    /// Inputs by name and content, uploaded before.
    #[schema(required = false, max_items = 64)]
    pub inputs: Vec<CommandInput>,
    /// The content of standard input, uploaded before; nothing if absent.
    #[schema(value_type = Option<String>)]
    pub stdin: Option<Sha256Digest>,
    /// Why. Shown to reviewers as the agent's words; never reaches policy, and is not part of the digest.
    #[schema(max_length = 4096)]
    pub justification: Option<String>,
    /// The person on whose behalf, by id or name; the agent's sponsor if absent.
    pub on_behalf_of: Option<String>,
    /// Repeating a call under the same key within 24 hours gives the same request.
    #[schema(max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// One input of a command.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct CommandInput {
    /// The file's name in the program's directory.
    #[schema(example = "plan.bin")]
    pub name: String,
    /// SHA-256 of its content, 64 lower-case hexadecimal digits.
    #[schema(value_type = String)]
    pub sha256: Sha256Digest,
}

impl CommandIntake {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let argv = members.texts("argv", ARGV_MAX)?;
        if argv.first().is_none_or(String::is_empty) {
            return Err(members.refuse("argv", "bad_value", "Name a program, then its arguments."));
        }
        if argv.iter().any(|word| word.contains('\0')) {
            return Err(members.refuse("argv", "bad_value", "No word of a command can hold a NUL byte."));
        }
        let mut inputs = Vec::new();
        for mut input in members.objects("inputs", INPUTS_MAX)? {
            let name = input.text("name", 255)?;
            let sha256 = take_sha256(&mut input, "sha256")?
                .ok_or_else(|| input.refuse("sha256", "missing_member", "Name the content's SHA-256."))?;
            input.end()?;
            inputs.push(CommandInput { name, sha256 });
        }
        let stdin = take_sha256(&mut members, "stdin")?;
        let common = Common::take(&mut members)?;
        members.end()?;
        Ok(CommandIntake {
            argv,
            inputs,
            stdin,
            justification: common.justification,
            on_behalf_of: common.on_behalf_of,
            idempotency_key: common.idempotency_key,
        })
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let inputs = self.inputs.iter().map(|input| {
            Value::object([
                ("name", Value::string(input.name.clone())),
                ("sha256", Value::string(input.sha256.to_string())),
            ])
        });
        let mut members = vec![
            ("argv", Value::Array(self.argv.iter().map(Value::string).collect())),
            ("inputs", Value::Array(inputs.collect())),
        ];
        let stdin = self.stdin.map(|digest| digest.to_string());
        put_text(&mut members, "stdin", stdin.as_deref());
        put_text(&mut members, "justification", self.justification.as_deref());
        put_text(&mut members, "on_behalf_of", self.on_behalf_of.as_deref());
        put_text(&mut members, "idempotency_key", self.idempotency_key.as_deref());
        Value::object(members).canonical()
    }
}

fn take_sha256(members: &mut Members, key: &str) -> Result<Option<Sha256Digest>, InputError> {
    let Some(text) = members.optional_text(key, NAME_BYTES_MAX)? else { return Ok(None) };
    Sha256Digest::parse(&text).map(Some).map_err(|error| members.refuse(key, "bad_value", sentence(&error)))
}

/// What `PUT /v1/blobs/{sha256}` answers.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, ToSchema)]
pub struct Blob {
    /// SHA-256 of the content.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What `POST /v1/commands/{id}/run` answers: the execution has begun.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, ToSchema)]
pub struct Run {
    /// Which execution.
    pub execution_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_word_by_word() {
        let digest = "0".repeat(64);
        let body = format!(
            r#"{{"argv":["cat","-","ü b"],"inputs":[{{"name":"a","sha256":"{digest}"}}],"stdin":"{digest}","justification":"j"}}"#
        );
        let read = CommandIntake::from_json(body.as_bytes()).unwrap();
        assert_eq!(read.argv, ["cat", "-", "ü b"]);
        assert_eq!(read.inputs.len(), 1);
        assert_eq!(CommandIntake::from_json(read.to_json().as_bytes()), Ok(read));
    }

    #[test]
    fn refuses_what_is_no_command() {
        for (body, code, pointer) in [
            (r#"{}"#, "bad_value", "/argv"),
            (r#"{"argv":[]}"#, "bad_value", "/argv"),
            (r#"{"argv":[""]}"#, "bad_value", "/argv"),
            (r#"{"argv":"ls -l"}"#, "wrong_type", "/argv"),
            (r#"{"argv":["ls",1]}"#, "wrong_type", "/argv/1"),
            (r#"{"argv":["ls","a\u0000b"]}"#, "bad_value", "/argv"),
            (r#"{"argv":["ls"],"inputs":[{"name":"a"}]}"#, "missing_member", "/inputs/0/sha256"),
            (r#"{"argv":["ls"],"inputs":[{"sha256":"x"}]}"#, "missing_member", "/inputs/0/name"),
            (r#"{"argv":["ls"],"stdin":"abc"}"#, "bad_value", "/stdin"),
            (r#"{"argv":["ls"],"env":{"PGHOSTADDR":"x"}}"#, "unknown_member", "/env"),
        ] {
            let error = CommandIntake::from_json(body.as_bytes()).unwrap_err();
            assert_eq!((error.code, error.pointer.as_deref()), (code, Some(pointer)), "{body}");
        }
    }
}
