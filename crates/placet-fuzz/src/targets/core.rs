//! The canonical form, actions, names, and text that people are shown.

use placet_core::action::{ActionName, ActionRequest, Canonical, ResourceRef};
use placet_core::c14n::{DEPTH_MAX, Reason, Value};
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::id::{AgentId, ExecutionId, PersonId, RequestId};
use placet_core::text::visible;
use serde_json::value::RawValue;

use super::lossy;

/// One value has one spelling, which is read back as that value; JSON's grammar is that of another reader.
pub(super) fn canonical(data: &[u8]) {
    let grammar = serde_json::from_slice::<&RawValue>(data);
    match Value::parse(data) {
        Ok(value) => {
            assert!(grammar.is_ok(), "another reader says {grammar:?}");
            let text = value.canonical();
            let again = Value::parse(text.as_bytes()).expect("a canonical form can be read");
            assert_eq!(again, value, "read back");
            assert_eq!(again.canonical(), text, "one spelling");
            assert!(depth(&value) <= DEPTH_MAX);
        }
        Err(error) => {
            assert!(error.at <= data.len());
            match error.reason {
                Reason::Syntax => assert!(grammar.is_err(), "{error}, and another reader takes it"),
                Reason::NotUtf8 => assert!(std::str::from_utf8(data).is_err()),
                Reason::TooLarge => assert!(data.len() > placet_core::c14n::SIZE_MAX),
                Reason::TooMany => panic!("no text of this size has too many values"),
                Reason::TooDeep | Reason::DuplicateKey | Reason::LoneSurrogate => {}
            }
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// What is stored as an action is exactly the bytes that this action has.
pub(super) fn action(data: &[u8]) {
    let canonical = Canonical::from_stored(lossy(data));
    let Ok(action) = ActionRequest::from_canonical(&canonical) else { return };
    let written = action.canonical().expect("an action that was read can be written");
    assert_eq!(written.as_str(), canonical.as_str(), "the reviewed bytes");
}

/// An id, a digest or a name has one spelling; a short code is found however people type it.
pub(super) fn names(data: &[u8]) {
    let text = lossy(data);
    macro_rules! one_spelling {
        ($($kind:ty),*) => {$(
            if let Ok(read) = <$kind>::parse(&text) {
                assert_eq!(read.to_string(), text);
            }
        )*};
    }
    one_spelling!(
        RequestId,
        AgentId,
        PersonId,
        ExecutionId,
        Sha256Digest,
        ActionDigest,
        BundleDigest,
        ActionName
    );
    if let Ok(code) = ShortCode::parse(&text) {
        let typed = code.as_str();
        assert!(typed.len() == 9 && typed.as_bytes()[4] == b'-');
        for spelled in
            [typed.to_owned(), typed.to_lowercase(), typed.replace('-', " "), typed.replace('0', "o")]
        {
            assert_eq!(ShortCode::parse(&spelled).as_ref(), Ok(&code), "{spelled}");
        }
    }
    let (kind, id) = text.split_once(':').unwrap_or((&text, ""));
    if let Ok(resource) = ResourceRef::new(kind, id) {
        assert_eq!((resource.kind(), resource.id()), (kind, id));
        assert_eq!(visible_only(&resource.visible()), None, "{resource:?}");
    }
}

/// What is shown hides nothing, and has one reading.
pub(super) fn text(data: &[u8]) {
    let raw = lossy(data);
    let shown = visible(&raw);
    assert_eq!(visible_only(&shown), None, "{shown:?}");
    assert_eq!(read_back(&shown), raw);
}

/// A character that would have to be an escape.
fn visible_only(shown: &str) -> Option<char> {
    shown.chars().find(|seen| *seen != '\\' && visible(&seen.to_string()) != seen.to_string())
}

/// The other way round, as a person would read it.
fn read_back(shown: &str) -> String {
    let (mut raw, mut rest) = (String::new(), shown);
    while let Some(at) = rest.find('\\') {
        raw.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        rest = &escape[1..];
        match escape.as_bytes()[0] {
            b'\\' => raw.push('\\'),
            b'n' => raw.push('\n'),
            b'r' => raw.push('\r'),
            b't' => raw.push('\t'),
            b'u' => {
                let (digits, after) = rest[1..].split_once('}').expect("an escape ends");
                raw.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).expect("a character"));
                rest = after;
            }
            other => panic!("the escape {}", char::from(other)),
        }
    }
    raw + rest
}
