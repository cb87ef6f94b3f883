//! Ledger entries: commitments that disclose nothing, disclosures that open them, and bytes that fit.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_core::c14n::{SIZE_MAX, Value};
use placet_core::digest::{BundleDigest, Sha256Digest};
use placet_core::entropy::Entropy;
use placet_core::entry::{
    Disclosure, DisclosureError, Draft, ENTRY_BYTES_MAX, EntryTooLarge, Kind, Place, Sealed,
};
use placet_core::id::EntryId;
use placet_core::time::Timestamp;
use proptest::prelude::*;

use crate::c14n::{any_text, any_value};
use crate::common::*;

/// The first sixteen bytes are all ones, the next all twos, and so on.
struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for salt in buffer.chunks_mut(16) {
            salt.fill(self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        }
    }
}

fn seal(draft: Draft) -> Sealed {
    draft.seal(EntryId::from_bytes([4; 16]), &Counting(AtomicU8::new(0)))
}

fn place() -> Place<'static> {
    Place { log: "placet.example/log", time: START, previous: None }
}

fn entry(sealed: &Sealed) -> String {
    String::from_utf8(sealed.entry(place()).unwrap()).unwrap()
}

#[test]
fn writes_the_committed_vectors() {
    let vote = Draft::new(Kind::VoteCast)
        .about(&pending())
        .verdict("approve")
        .under(BundleDigest::from_bytes([8; 32]))
        .commit("person", Value::string(person(2).to_string()))
        .commit("reason", Value::string("looks right 👍\u{202e}"))
        .commit("roles", Value::Array(vec![Value::string("owners")]))
        .commit("self_reviewed", Value::Bool(false))
        .commit("card", Value::string(Sha256Digest::of(b"card").to_string()));
    let built = [
        (Draft::new(Kind::LogOpened), place()),
        (vote, Place { time: START.plus(MILLI * 123), previous: Some(41), ..place() }),
    ];
    let file = vectors("entry.json");
    let committed = file["entries"].as_array().unwrap();
    assert_eq!(committed.len(), built.len());
    for (vector, (draft, place)) in committed.iter().zip(built) {
        let sealed = seal(draft);
        let bytes = sealed.entry(place).unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            vector["entry"].as_str().unwrap(),
            "{}",
            vector["name"]
        );
        let disclosures: Vec<&str> = sealed.disclosures.iter().map(Disclosure::as_str).collect();
        let expected: Vec<&str> = vector["disclosures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kept| kept["disclosure"].as_str().unwrap())
            .collect();
        assert_eq!(disclosures, expected, "{}", vector["name"]);
    }
}

#[test]
fn in_clear_stands_what_the_design_names_and_no_more() {
    let full = Draft::new(Kind::VoteCast)
        .about(&pending())
        .verdict("approve")
        .under(BundleDigest::from_bytes([8; 32]))
        .commit("person", Value::Null);
    let sealed = seal(full);
    let bytes = sealed.entry(Place { previous: Some(0), ..place() }).unwrap();
    let value = Value::parse(&bytes).unwrap();
    let members: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        ["_sd", "_sd_alg", "action", "bundle", "id", "kind", "log", "ref", "request", "time", "v", "verdict"]
    );
    assert_eq!(value.canonical().as_bytes(), bytes, "an entry is canonical");
    // What nobody set is absent, not empty.
    let bare = Value::parse(entry(&seal(Draft::new(Kind::LogOpened))).as_bytes()).unwrap();
    let members: Vec<&str> = bare.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["id", "kind", "log", "time", "v"]);
}

#[test]
fn commitments_are_sorted_whatever_the_order_of_the_draft() {
    let mut draft = Draft::new(Kind::RequestReceived);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        draft = draft.commit(name, Value::string(name));
    }
    let sealed = seal(draft);
    assert!(sealed.commitments.is_sorted());
    let in_order: Vec<String> = sealed.disclosures.iter().map(Disclosure::commitment).collect();
    assert_ne!(in_order, sealed.commitments, "the order would tell which is which");
    assert_eq!(in_order.into_iter().collect::<BTreeSet<_>>(), sealed.commitments.iter().cloned().collect());
}

#[test]
fn equal_values_have_different_commitments() {
    let draft = || Draft::new(Kind::PersonAdded).commit("name", Value::string("Ann"));
    let twice = seal(draft().commit("name", Value::string("Ann")));
    assert_ne!(twice.commitments[0], twice.commitments[1]);
    let entropy = Counting(AtomicU8::new(0));
    let one = draft().seal(EntryId::from_bytes([1; 16]), &entropy);
    let other = draft().seal(EntryId::from_bytes([1; 16]), &entropy);
    assert_ne!(one.commitments, other.commitments, "a salt was used twice");
}

#[test]
fn what_is_no_disclosure_is_refused() {
    let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
    for text in [
        String::new(),
        "*".to_owned(),
        encode("[]"),
        encode(r#"["salt","name"]"#),
        encode(r#"["salt","name",1,2]"#),
        encode(r#"[1,"name",1]"#),
        encode(r#"["salt",1,1]"#),
        encode(r#"{"salt":1}"#),
        encode(r#"["salt","name",{"a":1,"a":2}]"#),
        encode(r#"["salt","name",1"#),
        format!("{}=", encode(r#"["salt","name",12]"#)),
    ] {
        assert_eq!(Disclosure::from_stored(text.clone()).open(), Err(DisclosureError), "{text}");
    }
    let good = encode(r#"["salt","name",12]"#);
    assert_eq!(Disclosure::from_stored(good).open(), Ok(("name".to_owned(), Value::integer(12))));
}

#[test]
fn the_largest_and_the_deepest_value_can_be_disclosed_again() {
    let deepest = Value::parse(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()).unwrap();
    // Each of these characters takes six bytes once it is escaped.
    for value in [deepest, Value::string("\u{1}".repeat(SIZE_MAX)), Value::string("\\".repeat(SIZE_MAX))] {
        let sealed = seal(Draft::new(Kind::RequestReceived).commit("canonical", value.clone()));
        assert!(sealed.disclosures[0].open() == Ok(("canonical".to_owned(), value)));
        assert!(entry(&sealed).len() < 400, "what is committed to makes no entry longer");
    }
}

#[test]
fn an_entry_of_65535_bytes_fits_and_one_more_does_not() {
    let sealed = seal(Draft::new(Kind::LogOpened));
    let rest = sealed.entry(Place { log: "", ..place() }).unwrap().len();
    assert_eq!(ENTRY_BYTES_MAX, 65_535);
    let log = "x".repeat(ENTRY_BYTES_MAX - rest + 1);
    let longest = sealed.entry(Place { log: &log[1..], ..place() }).unwrap();
    assert_eq!(longest.len(), ENTRY_BYTES_MAX);
    assert_eq!(sealed.entry(Place { log: &log, ..place() }), Err(EntryTooLarge(ENTRY_BYTES_MAX + 1)));
    let mut many = Draft::new(Kind::RequestReceived);
    for _ in 0..1500 {
        many = many.commit("input", Value::Null);
    }
    assert!(matches!(seal(many).entry(place()), Err(EntryTooLarge(bytes)) if bytes > ENTRY_BYTES_MAX));
}

#[test]
fn kinds_have_words_of_their_own() {
    let words: BTreeSet<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
    assert_eq!(words.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        assert!(kind.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte)));
    }
    assert_eq!(Kind::parse("vote.Cast"), None);
}

#[test]
fn the_last_time_and_index_are_written_exactly() {
    let sealed = seal(Draft::new(Kind::LogOpened));
    let last =
        Place { time: Timestamp::from_millis(i64::MAX), previous: Some(9_007_199_254_740_993), ..place() };
    let text = String::from_utf8(sealed.entry(last).unwrap()).unwrap();
    assert!(text.contains("\"ref\":9007199254740993,"), "{text}");
    assert!(text.contains("\"time\":\"9999-12-31T23:59:59.999Z\""), "{text}");
}

/// Every text within a value.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => {
            for (key, member) in members {
                found.push(key.clone());
                texts(member, found);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_committed_can_be_disclosed(value in any_value()) {
        let sealed = seal(Draft::new(Kind::VoteCast).commit("reason", value.clone()));
        let [disclosure] = &sealed.disclosures[..] else { panic!("not one disclosure") };
        prop_assert_eq!(disclosure.open(), Ok(("reason".to_owned(), value)));
        let hash = Sha256Digest::of(disclosure.as_str().as_bytes());
        prop_assert_eq!(disclosure.commitment(), URL_SAFE_NO_PAD.encode(hash.as_bytes()));
        prop_assert_eq!(&sealed.commitments, &[disclosure.commitment()]);
        let stored = Disclosure::from_stored(disclosure.as_str());
        prop_assert_eq!(&stored, disclosure);
    }

    #[test]
    fn an_altered_disclosure_has_another_commitment(text in any_text(), place in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_-]") {
        let sealed = seal(Draft::new(Kind::VoteCast).commit("reason", Value::string(text)));
        let written = sealed.disclosures[0].as_str();
        let place = place.index(written.len());
        let altered = format!("{}{letter}{}", &written[..place], &written[place + 1..]);
        let same = Disclosure::from_stored(altered.clone()).commitment() == sealed.commitments[0];
        prop_assert_eq!(same, altered == written);
    }

    #[test]
    fn nothing_that_is_committed_stands_in_the_entry(value in any_value(), secret in "[\\PC]{6,24}", name in "[ -~]{6,24}") {
        let committed = Value::object([("secret".to_owned(), Value::string(secret)), (name, value)]);
        let sealed = seal(
            Draft::new(Kind::VoteCast).about(&pending()).verdict("approve").commit("reason", committed.clone()),
        );
        let entry = entry(&sealed);
        // What an entry without it says as well, was not disclosed by it.
        let without = Draft { committed: Vec::new(), ..sealed.draft.clone() };
        let bare = self::entry(&seal(without));
        let mut all = Vec::new();
        texts(&committed, &mut all);
        // Shorter texts may occur in a hash by chance.
        for text in all.iter().filter(|text| text.len() >= 6 && !bare.contains(*text)) {
            let escaped = Value::string(text.clone()).canonical();
            let encoded = URL_SAFE_NO_PAD.encode(text);
            prop_assert!(!entry.contains(text.as_str()), "{text:?} stands in {entry}");
            prop_assert!(!entry.contains(escaped.trim_matches('"')), "{text:?} stands escaped in {entry}");
            prop_assert!(!entry.contains(&encoded), "{text:?} stands encoded in {entry}");
        }
        prop_assert!(!entry.contains("reason"));
        for disclosure in &sealed.disclosures {
            prop_assert!(!entry.contains(disclosure.as_str()));
        }
    }
}
