//! Whether a text tells a secret, however it is written.

use placet_core::c14n::Value;
use placet_core::secret::Secret;

use crate::runner::scan::{Scanner, Seen};

/// How deep JSON that stands in JSON is looked through for secrets.
const NESTED_MAX: usize = 3;

/// Whether a text contains one of these secrets: as it is written, or in what its JSON means, for everybody escapes in a way
/// of their own. What cannot be looked through is taken for one.
pub(in crate::mcp) fn shows_any(secrets: &[Secret], text: &str) -> bool {
    if secrets.is_empty() {
        return false;
    }
    let mut meant = String::new();
    let is_json = text.trim_start().starts_with(['{', '[', '"']);
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => meaning(&value, NESTED_MAX, &mut meant),
        Err(_) if is_json => return true,
        Err(_) => {}
    }
    let Ok(mut scanner) = Scanner::new(secrets) else { return true };
    let mut found = |text: &str| {
        let mut clean = Vec::new();
        let seen = scanner.push(text.as_bytes(), &mut clean);
        // The next text begins anew.
        scanner.finish(&mut clean);
        seen == Seen::Secret
    };
    found(text)
        || found(&meant)
        || escaped(secrets).any(|inner| text.contains(&inner) || meant.contains(&inner))
}

/// The secrets as JSON escapes them.
fn escaped(secrets: &[Secret]) -> impl Iterator<Item = String> {
    let escaped = |secret: &Secret| {
        let meant = String::from_utf8_lossy(secret.expose());
        Value::string(meant.into_owned()).canonical().trim_matches('"').to_owned()
    };
    secrets.iter().map(escaped).filter(|inner| !inner.is_empty())
}

/// Every text in a value, and in the JSON that stands in one.
fn meaning(value: &serde_json::Value, nested: usize, into: &mut String) {
    use serde_json::Value::{Array, Object, String as Text};
    match value {
        Text(text) => {
            into.push_str(text);
            into.push('\n');
            let inner = text.trim_start().starts_with(['{', '[', '"']) && nested > 0;
            if let Some(value) = inner.then(|| serde_json::from_str(text).ok()).flatten() {
                meaning(&value, nested - 1, into);
            }
        }
        Array(items) => items.iter().for_each(|item| meaning(item, nested, into)),
        Object(members) => members.iter().for_each(|(name, value)| {
            into.push_str(name);
            into.push('\n');
            meaning(value, nested, into);
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_means_is_found_however_it_is_escaped() {
        for text in [
            r#"{"a":"p\/q&\u00e9"}"#,
            r#"["p/q\u0026é"]"#,
            r#"{"p/q&é":1}"#,
            r#"{"content":[{"text":"{\"key\":\"p\\/q\\u0026\\u00e9\"}"}]}"#,
        ] {
            let mut meant = String::new();
            meaning(&serde_json::from_str(text).unwrap(), NESTED_MAX, &mut meant);
            assert!(meant.contains("p/q&é"), "{text}: {meant}");
        }
    }
}
