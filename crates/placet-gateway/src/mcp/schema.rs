//! Arguments are held against the schema that was accepted, before anybody is asked about them.
//!
//! Nothing is fetched for it, and no pattern can stall it: they run on an engine whose time grows with pattern and text.
//! A schema with patterns that this engine does not know (look-around, back references) cannot be used; its tool is
//! refused rather than called unchecked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{PatternOptions, Validator};
use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::text::visible;

use super::catalogue::Accepted;

/// How many schemas are kept ready. More than an installation has tools; beyond it they are read again.
const KEPT_MAX: usize = 1024;
/// How many bytes a pattern may have once it is compiled.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// Schemas that were read before, by the pin of their tool. An unusable one is remembered as that.
#[derive(Default)]
pub(super) struct Schemas(Mutex<HashMap<Sha256Digest, Ready>>);

type Ready = Arc<Result<Validator, String>>;

impl Schemas {
    /// Whether arguments fit the schema that was accepted; if not, what is wrong with them.
    pub(super) fn accept(&self, accepted: &Accepted, arguments: &Value) -> Result<(), String> {
        let ready = self.ready(accepted);
        let validator = ready.as_ref().as_ref().map_err(Clone::clone)?;
        let arguments = plain(arguments).ok_or("they cannot be compared with it")?;
        let mut wrong = validator.iter_errors(&arguments).map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { place } else { format!("{place}: ") };
            visible(&format!("{place}{error}"))
        });
        wrong.next().map_or(Ok(()), |first| Err(first.chars().take(500).collect()))
    }

    fn ready(&self, accepted: &Accepted) -> Ready {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = kept().get(&accepted.pin) {
            return ready.clone();
        }
        // Read outside the lock: of two that come at once, one does it in vain.
        let ready = Arc::new(read(accepted));
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(accepted.pin, ready.clone());
        ready
    }
}

fn read(accepted: &Accepted) -> Result<Validator, String> {
    let schema = accepted.definition.input_schema().and_then(plain).ok_or("the schema cannot be read")?;
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let read = jsonschema::options().with_pattern_options(patterns).with_retriever(Nothing).build(&schema);
    read.map_err(|error| {
        visible(&format!("the schema itself cannot be used: {error}")).chars().take(500).collect()
    })
}

fn plain(value: &Value) -> Option<serde_json::Value> {
    serde_json::from_str(&value.canonical()).ok()
}

/// A schema that refers to somewhere else is not followed there.
struct Nothing;

impl jsonschema::Retrieve for Nothing {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("placet fetches no schema: {uri}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{Definition, ServerName};
    use super::*;

    fn accepted(schema: &str) -> Accepted {
        let json = format!("{{\"name\":\"t\",\"inputSchema\":{schema}}}");
        let definition = Definition::read(json.as_bytes()).unwrap();
        let pin = definition.pin(&ServerName::parse("s").unwrap(), None);
        Accepted { definition, pin }
    }

    fn check(schemas: &Schemas, schema: &str, arguments: &str) -> Result<(), String> {
        schemas.accept(&accepted(schema), &Value::parse(arguments.as_bytes()).unwrap())
    }

    #[test]
    fn arguments_are_held_against_the_accepted_schema() {
        let schemas = Schemas::default();
        let fits = |json: &str| {
            let schema = r#"{"type":"object","required":["table"],"properties":{"table":{"type":"string"}},"additionalProperties":false}"#;
            check(&schemas, schema, json)
        };
        assert_eq!(fits(r#"{"table":"accounts"}"#), Ok(()));
        assert!(fits("{}").unwrap_err().contains("table"));
        assert!(fits(r#"{"table":1}"#).unwrap_err().starts_with("/table"));
        assert!(fits(r#"{"table":"a","drop":true}"#).is_err());
        assert_eq!(schemas.0.lock().unwrap().len(), 1, "it is read once");
        // Another tool of the same name has another pin, and its own schema.
        assert_eq!(check(&schemas, r#"{"type":"object"}"#, r#"{"table":1}"#), Ok(()));
    }

    #[test]
    fn a_schema_that_points_elsewhere_is_not_followed() {
        let schemas = Schemas::default();
        let refused = check(&schemas, r#"{"$ref":"http://169.254.169.254/schema"}"#, "{}");
        assert!(refused.unwrap_err().contains("cannot be used"));
    }

    #[test]
    fn a_pattern_that_would_take_for_ever_elsewhere_is_answered() {
        let schemas = Schemas::default();
        let text = format!(r#"{{"t":"{}!"}}"#, "a".repeat(100_000));
        let slow = r#"{"type":"object","properties":{"t":{"pattern":"^(a|a)*(a+)+$"}}}"#;
        assert!(check(&schemas, slow, &text).unwrap_err().starts_with("/t"));
        for unknown in ["(?=a)b", "(a)\\\\1", "(a{1000}){1000}"] {
            let schema = format!(r#"{{"type":"object","properties":{{"t":{{"pattern":"{unknown}"}}}}}}"#);
            assert!(check(&schemas, &schema, &text).unwrap_err().contains("cannot be used"), "{unknown}");
        }
    }
}
