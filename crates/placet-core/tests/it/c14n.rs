//! The canonical form: committed vectors, checked here and by another implementation, and what holds for every value.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_core::c14n::{C14nError, DEPTH_MAX, Reason, SIZE_MAX, Value};
use placet_core::digest::Sha256Digest;
use proptest::prelude::*;

use crate::common::vectors;

fn refusal(bytes: &[u8]) -> Option<Reason> {
    Value::parse(bytes).err().map(|error| error.reason)
}

fn canonical(text: &str) -> String {
    Value::parse(text.as_bytes()).unwrap().canonical()
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::TooLarge => "too_large",
        Reason::TooMany => "too_many",
        Reason::TooDeep => "too_deep",
        Reason::DuplicateKey => "duplicate_key",
        Reason::LoneSurrogate => "lone_surrogate",
        Reason::NotUtf8 => "not_utf8",
        Reason::Syntax => "syntax",
    }
}

fn input_of(vector: &serde_json::Value) -> Vec<u8> {
    match vector["input_base64"].as_str() {
        Some(encoded) => STANDARD.decode(encoded).unwrap(),
        None => vector["input"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[test]
fn accepts_the_committed_vectors() {
    let form = vectors("c14n.json");
    assert_eq!(form["form"], "placet-c14n/1");
    let accepted = form["accepted"].as_array().unwrap();
    assert!(accepted.len() >= 50, "vectors were lost: {}", accepted.len());
    for vector in accepted {
        let value = Value::parse(&input_of(vector)).unwrap_or_else(|error| panic!("{vector}: {error}"));
        let written = value.canonical();
        assert_eq!(written, vector["canonical"].as_str().unwrap(), "{}", vector["name"]);
        assert_eq!(Sha256Digest::of(written.as_bytes()).to_string(), vector["sha256"], "{}", vector["name"]);
        assert_eq!(Value::parse(written.as_bytes()), Ok(value), "{}", vector["name"]);
    }
    let spellings: BTreeSet<&str> =
        accepted.iter().filter_map(|vector| vector["canonical"].as_str()).collect();
    assert_eq!(spellings.len(), accepted.len(), "two vectors share one spelling");
}

#[test]
fn refuses_the_committed_vectors_at_the_right_byte() {
    let form = vectors("c14n.json");
    let refused = form["refused"].as_array().unwrap();
    assert!(refused.len() >= 90, "vectors were lost: {}", refused.len());
    for vector in refused {
        let error = Value::parse(&input_of(vector)).expect_err(&vector.to_string());
        assert_eq!(word(error.reason), vector["reason"], "{}", vector["name"]);
        assert_eq!(error.at as u64, vector["at"].as_u64().unwrap(), "{}", vector["name"]);
    }
}

#[test]
fn another_implementation_agrees_with_all_committed_vectors() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/check.py");
    // -B: the check must leave nothing behind in the tree.
    let output = Command::new("python3")
        .arg("-B")
        .arg(script)
        .output()
        .expect("run python3: install Python 3.9 or newer, for example with `apt-get install python3`");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with(" vectors hold\n"), "{said}");
}

#[test]
fn size_ends_at_one_mebibyte() {
    let text_of = |bytes: usize| format!("\"{}\"", "a".repeat(bytes - 2));
    assert_eq!(SIZE_MAX, 1_048_576);
    assert_eq!(canonical(&text_of(SIZE_MAX)), text_of(SIZE_MAX));
    let refused = C14nError { at: SIZE_MAX, reason: Reason::TooLarge };
    assert_eq!(Value::parse(text_of(SIZE_MAX + 1).as_bytes()), Err(refused.clone()));
    // White space counts: the bound is on what is read. What is too large is not read at all.
    assert_eq!(Value::parse(format!("1{}", " ".repeat(SIZE_MAX)).as_bytes()), Err(refused.clone()));
    assert_eq!(Value::parse(&vec![0xff; SIZE_MAX + 1]), Err(refused));
}

#[test]
fn depth_ends_at_64_in_every_mixture() {
    let nested = |depth: usize| {
        let open: String = (0..depth).map(|level| if level % 2 == 0 { "[" } else { "{\"k\":" }).collect();
        let close: String = (0..depth).rev().map(|level| if level % 2 == 0 { "]" } else { "}" }).collect();
        format!("{open}0{close}")
    };
    assert_eq!(DEPTH_MAX, 64);
    assert_eq!(canonical(&nested(DEPTH_MAX)), nested(DEPTH_MAX));
    assert_eq!(refusal(nested(DEPTH_MAX + 1).as_bytes()), Some(Reason::TooDeep));
    // Far beyond: refused at the same place, and not by the stack.
    assert_eq!(refusal("[".repeat(SIZE_MAX).as_bytes()), Some(Reason::TooDeep));
    assert_eq!(refusal("{\"k\":".repeat(200_000).as_bytes()), Some(Reason::TooDeep));
}

#[test]
fn ten_thousand_members_are_sorted_and_a_repeated_one_is_found() {
    let members: Vec<String> = (0..10_000).rev().map(|number| format!("\"k{number:05}\":{number}")).collect();
    let mut sorted = members.clone();
    sorted.sort();
    assert_eq!(canonical(&format!("{{{}}}", members.join(","))), format!("{{{}}}", sorted.join(",")));
    let repeated = format!("{{{},\"k05000\":0}}", members.join(","));
    assert_eq!(refusal(repeated.as_bytes()), Some(Reason::DuplicateKey));
}

#[test]
fn whole_numbers_are_only_what_has_no_twin() {
    for (token, expected) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9007199254740993", Some(9_007_199_254_740_993)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("-0", None),
        ("1.0", None),
        ("1e0", None),
        ("1E2", None),
    ] {
        let Ok(Value::Number(number)) = Value::parse(token.as_bytes()) else { panic!("{token}") };
        assert_eq!(number.as_str(), token);
        assert_eq!(number.as_integer(), expected, "{token}");
    }
    assert_eq!(Value::integer(i64::MIN).canonical(), "-9223372036854775808");
}

/// Any value, up to six levels deep.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,4})?"
        .prop_map(|token| Value::parse(token.as_bytes()).unwrap());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        any_text().prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any_text(), inner, 0..6).prop_map(Value::Object),
        ]
    })
}

/// Texts of all planes, and often of characters that need an escape or look like nothing.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-c\"\\\\/\u{0}-\u{20}\u{7f}-\u{a0}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{fffd}-\u{ffff}\u{10000}]{0,6}",
    ]
}

/// The same value as serde_json has it, for numbers that it keeps: whole ones of 64 bits.
fn of_serde(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => Value::parse(number.to_string().as_bytes()).unwrap(),
        serde_json::Value::String(text) => Value::string(text.clone()),
        serde_json::Value::Array(items) => Value::Array(items.iter().map(of_serde).collect()),
        serde_json::Value::Object(members) => {
            Value::object(members.iter().map(|(key, member)| (key.clone(), of_serde(member))))
        }
    }
}

fn any_serde() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any_text().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            prop::collection::btree_map(any_text(), inner, 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in any_value()) {
        let written = value.canonical();
        prop_assert_eq!(Value::parse(written.as_bytes()), Ok(value));
    }

    #[test]
    fn different_values_never_share_bytes(one in any_value(), other in any_value()) {
        prop_assert_eq!(one == other, one.canonical() == other.canonical());
    }

    #[test]
    fn changing_one_byte_never_keeps_value_and_spelling(value in any_value(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let written = value.canonical();
        let mut altered = written.clone().into_bytes();
        let place = place.index(altered.len());
        altered[place] = byte;
        if let Ok(read) = Value::parse(&altered) {
            prop_assert_eq!(read == value, read.canonical() == written);
        }
    }

    #[test]
    fn bytes_never_panic_and_what_is_accepted_has_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = Value::parse(&bytes) {
            let written = value.canonical();
            prop_assert!(written.len() <= bytes.len());
            prop_assert_eq!(Value::parse(written.as_bytes()), Ok(value));
        }
    }

    #[test]
    fn almost_json_is_judged_as_serde_json_judges_it(text in "[\\[\\]{}:,\"\\\\aeu01.+\\-tfn \u{9}dDc8]{0,16}") {
        // serde_json takes the last of two equal keys, and refuses numbers that its f64 cannot hold.
        let oracle = serde_json::from_str::<serde_json::Value>(&text);
        match (Value::parse(text.as_bytes()), oracle) {
            (Ok(value), Ok(_)) => {
                prop_assert_eq!(canonical(&value.canonical()), value.canonical());
            }
            (Err(error), Ok(_)) => prop_assert_eq!(error.reason, Reason::DuplicateKey),
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range"), "{}", error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn what_serde_json_writes_means_the_same_here(oracle in any_serde()) {
        let expected = of_serde(&oracle);
        prop_assert_eq!(Value::parse(oracle.to_string().as_bytes()), Ok(expected.clone()));
        prop_assert_eq!(Value::parse(&serde_json::to_vec_pretty(&oracle).unwrap()), Ok(expected.clone()));
        let read: serde_json::Value = serde_json::from_str(&expected.canonical()).unwrap();
        prop_assert_eq!(read, oracle);
    }
}
