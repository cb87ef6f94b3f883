//! Reading a body strictly: from raw bytes through the canonical form's reader, member by member.
//!
//! Every refusal has a stable code and points at what is wrong.

use std::collections::BTreeMap;

use placet_core::c14n::{Bounds, C14nError, Reason, Value};
use placet_core::text::visible;

/// A body is not what the call takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the body: {message}")]
pub struct InputError {
    /// Stable.
    pub code: &'static str,
    /// For people: what is wrong, and what to write instead.
    pub message: String,
    /// JSON pointer to what is wrong.
    pub pointer: Option<String>,
}

/// No pointer that we answer with is longer: keys are the caller's, and may be a mebibyte.
const POINTER_BYTES_MAX: usize = 256;

/// How many values a body may have that is large because of a few texts. None of ours has a hundred.
const LARGE_BODY_VALUES_MAX: usize = 1024;

impl InputError {
    pub(crate) fn at(pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        let pointer = (pointer.len() <= POINTER_BYTES_MAX).then(|| pointer.to_owned());
        InputError { code, message: message.into(), pointer }
    }
}

impl From<C14nError> for InputError {
    fn from(error: C14nError) -> Self {
        let code = match error.reason {
            Reason::TooLarge => "body_too_large",
            Reason::TooMany => "json_too_many_values",
            Reason::TooDeep => "json_too_deep",
            Reason::DuplicateKey => "json_duplicate_key",
            Reason::LoneSurrogate => "json_lone_surrogate",
            Reason::NotUtf8 => "json_not_utf8",
            Reason::Syntax => "json_syntax",
        };
        InputError { code, message: format!("At byte {}: {}.", error.at, error.reason), pointer: None }
    }
}

/// An object that is emptied member by member: what is left at the end is unknown, and refused.
pub(crate) struct Members {
    pointer: String,
    left: BTreeMap<String, Value>,
}

impl Members {
    /// Reads a body, which has to be an object.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, InputError> {
        Self::of(Value::parse(body)?, "")
    }

    /// Reads a body that may be larger than others are, because of a few texts in it.
    pub(crate) fn of_large_body(body: &[u8], bytes_max: usize) -> Result<Self, InputError> {
        let bounds = Bounds { size: bytes_max, values: LARGE_BODY_VALUES_MAX, ..Bounds::CANONICAL };
        Self::of(Value::parse_within(body, bounds)?, "")
    }

    fn of(value: Value, pointer: &str) -> Result<Self, InputError> {
        match value {
            Value::Object(left) => Ok(Members { pointer: pointer.to_owned(), left }),
            _ => Err(InputError::at(pointer, "wrong_type", "Write a JSON object here.")),
        }
    }

    pub(crate) fn pointer_to(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }

    /// Refuses a member.
    pub(crate) fn refuse(&self, key: &str, code: &'static str, message: impl Into<String>) -> InputError {
        InputError::at(&self.pointer_to(key), code, message)
    }

    pub(crate) fn optional(&mut self, key: &str) -> Option<Value> {
        // `null` says the same as leaving the member out: many clients write absent members so.
        self.left.remove(key).filter(|value| *value != Value::Null)
    }

    /// The member as it is, `null` included.
    pub(crate) fn verbatim(&mut self, key: &str) -> Result<Value, InputError> {
        self.left.remove(key).ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> InputError {
        self.refuse(key, "missing_member", format!("The member {key:?} is missing."))
    }

    pub(crate) fn optional_text(
        &mut self,
        key: &str,
        bytes_max: usize,
    ) -> Result<Option<String>, InputError> {
        match self.optional(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text)),
            Some(Value::String(_)) => {
                Err(self.refuse(key, "too_long", format!("Write at most {bytes_max} bytes here.")))
            }
            Some(_) => Err(self.refuse(key, "wrong_type", "Write a string here.")),
        }
    }

    pub(crate) fn text(&mut self, key: &str, bytes_max: usize) -> Result<String, InputError> {
        self.optional_text(key, bytes_max)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn object(&mut self, key: &str) -> Result<Members, InputError> {
        self.optional_object(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn optional_object(&mut self, key: &str) -> Result<Option<Members>, InputError> {
        let pointer = self.pointer_to(key);
        self.optional(key).map(|value| Members::of(value, &pointer)).transpose()
    }

    /// A list of at most so many items; empty if it is absent.
    pub(crate) fn list(&mut self, key: &str, items_max: usize) -> Result<Vec<Value>, InputError> {
        match self.optional(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= items_max => Ok(items),
            Some(Value::Array(_)) => {
                Err(self.refuse(key, "too_long", format!("Write at most {items_max} items here.")))
            }
            Some(_) => Err(self.refuse(key, "wrong_type", "Write a list here.")),
        }
    }

    /// A list of texts, all of them within bounds.
    pub(crate) fn texts(&mut self, key: &str, items_max: usize) -> Result<Vec<String>, InputError> {
        let items = self.list(key, items_max)?;
        let mut texts = Vec::with_capacity(items.len());
        for (position, item) in items.into_iter().enumerate() {
            let Value::String(text) = item else {
                let pointer = format!("{}/{position}", self.pointer_to(key));
                return Err(InputError::at(&pointer, "wrong_type", "Write a string here."));
            };
            texts.push(text);
        }
        Ok(texts)
    }

    /// A list of objects.
    pub(crate) fn objects(&mut self, key: &str, items_max: usize) -> Result<Vec<Members>, InputError> {
        let items = self.list(key, items_max)?;
        let pointer = self.pointer_to(key);
        items
            .into_iter()
            .enumerate()
            .map(|(position, item)| Members::of(item, &format!("{pointer}/{position}")))
            .collect()
    }

    pub(crate) fn optional_integer(&mut self, key: &str) -> Result<Option<i64>, InputError> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        let Value::Number(number) = value else {
            return Err(self.refuse(key, "wrong_type", "Write a whole number here."));
        };
        match number.as_integer() {
            Some(integer) => Ok(Some(integer)),
            None => Err(self.refuse(
                key,
                "bad_value",
                "Write a whole number of 64 bits, without fraction or exponent.",
            )),
        }
    }

    pub(crate) fn optional_flag(&mut self, key: &str) -> Result<Option<bool>, InputError> {
        match self.optional(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.refuse(key, "wrong_type", "Write true or false here.")),
        }
    }

    /// Every member that is left, by name.
    pub(crate) fn drain(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.left).into_iter().collect()
    }

    /// Refuses what nobody asked for.
    pub(crate) fn end(self) -> Result<(), InputError> {
        let Some(key) = self.left.keys().next() else { return Ok(()) };
        let shown: String = visible(key).chars().take(64).collect();
        Err(self.refuse(key, "unknown_member", format!("No member {shown:?} is known here: leave it out.")))
    }
}
