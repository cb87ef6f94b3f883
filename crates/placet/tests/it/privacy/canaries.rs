//! Canaries: texts that stand nowhere by chance, and a search for them in every form in which bytes are written down.

use std::cell::RefCell;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What every canary begins with. Four digits and a letter follow.
const MARKER: &str = "qzcanaryk";

/// All canaries that were let out, with what each is.
#[derive(Default)]
pub(super) struct Canaries {
    told: RefCell<Vec<String>>,
}

/// A canary that was seen.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
pub(super) struct Seen {
    /// What it is.
    pub(super) what: String,
    /// In which form it stands there.
    pub(super) form: String,
    /// What stands around it.
    pub(super) around: String,
}

impl Canaries {
    /// A new one, for this.
    pub(super) fn text(&self, what: impl Into<String>) -> String {
        let mut told = self.told.borrow_mut();
        told.push(what.into());
        written(told.len() - 1)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.told.borrow().len()
    }

    /// Which of them stand in these bytes, in any form.
    pub(super) fn seen_in(&self, bytes: &[u8]) -> BTreeSet<Seen> {
        let mut seen = BTreeSet::new();
        let lower = bytes.to_ascii_lowercase();
        for (form, needle) in forms(MARKER.as_bytes()) {
            for at in memchr::memmem::find_iter(form.within(bytes, &lower), &needle) {
                let what = self.named(&form, bytes, &lower, at);
                let (from, to) = (at.saturating_sub(60), (at + 120).min(bytes.len()));
                let around = bytes[from..to].escape_ascii().to_string();
                seen.insert(Seen { what, form: form.name.to_owned(), around });
            }
        }
        seen
    }

    /// Which one begins there.
    fn named(&self, form: &Form, bytes: &[u8], lower: &[u8], at: usize) -> String {
        let rest = &form.within(bytes, lower)[at..];
        let whole = self.told.borrow().iter().enumerate().find_map(|(number, what)| {
            let same = forms(written(number).as_bytes()).into_iter().find(|(other, _)| other == form);
            same.is_some_and(|(_, needle)| rest.starts_with(&needle)).then(|| what.clone())
        });
        whole.unwrap_or_else(|| "a part of one".to_owned())
    }
}

fn written(number: usize) -> String {
    // The letter takes the bits of the last digit whole into each form that cuts bytes elsewhere.
    format!("{MARKER}{number:04}z")
}

/// A way to write bytes down.
#[derive(PartialEq, Eq, Clone, Debug)]
struct Form {
    name: String,
    /// Whether capitals mean something else in it.
    has_case: bool,
}

impl Form {
    fn within<'a>(&self, bytes: &'a [u8], lower: &'a [u8]) -> &'a [u8] {
        if self.has_case { bytes } else { lower }
    }
}

/// Every form of a text of lower-case letters and digits.
fn forms(text: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let mut all: Vec<(Form, Vec<u8>)> = Vec::new();
    let mut add = |name: String, has_case: bool, needle: Vec<u8>| {
        if !all.iter().any(|(_, known)| *known == needle) {
            all.push((Form { name, has_case }, needle));
        }
    };
    let each =
        |write: &dyn Fn(u8) -> String| text.iter().map(|byte| write(*byte)).collect::<String>().into_bytes();
    let joined =
        |between: &str| text.iter().map(u8::to_string).collect::<Vec<_>>().join(between).into_bytes();
    add("as it is".into(), false, text.to_vec());
    for (engine, name) in [(&STANDARD_NO_PAD, "base64"), (&URL_SAFE_NO_PAD, "base64url")] {
        for shift in 0..3_usize {
            // Digits that depend on what stands before or after are left out.
            let encoded = engine.encode([&vec![0; shift][..], text].concat());
            let (first, last) = ((shift * 8).div_ceil(6), (shift + text.len()) * 8 / 6);
            add(format!("{name}, shifted by {shift}"), true, encoded.as_bytes()[first..last].to_vec());
        }
    }
    add("hexadecimal".into(), false, each(&|byte| format!("{byte:02x}")));
    add("percent-encoded".into(), false, each(&|byte| format!("%{byte:02x}")));
    add("escaped as in JSON".into(), false, each(&|byte| format!("\\u{byte:04x}")));
    add("escaped as in Rust".into(), false, each(&|byte| format!("\\x{byte:02x}")));
    add("as a list of numbers".into(), false, joined(", "));
    add("as a short list of numbers".into(), false, joined(","));
    add("UTF-16, little end first".into(), false, text.iter().flat_map(|byte| [*byte, 0]).collect());
    add("UTF-16, big end first".into(), false, text.iter().flat_map(|byte| [0, *byte]).collect());
    all
}

#[test]
fn a_canary_is_seen_in_every_form() {
    let canaries = Canaries::default();
    for number in 0..20 {
        canaries.text(format!("number {number}"));
    }
    let canary = written(17);
    for before in ["", "x", "xy", "xyz"] {
        let text = format!("{before}{canary} and more");
        let bytes = text.as_bytes();
        let each = |write: fn(u8) -> String| bytes.iter().map(|byte| write(*byte)).collect::<String>();
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let capitals = text.to_uppercase();
        for hidden in [
            bytes.to_vec(),
            capitals.into_bytes(),
            base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes(),
            base64::engine::general_purpose::URL_SAFE.encode(bytes).into_bytes(),
            each(|byte| format!("{byte:02x}")).into_bytes(),
            each(|byte| format!("{byte:02X}")).into_bytes(),
            each(|byte| format!("%{byte:02X}")).into_bytes(),
            each(|byte| format!("\\u{byte:04x}")).into_bytes(),
            format!("{bytes:?}").into_bytes(),
            serde_json::to_vec(bytes).unwrap(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ] {
            let around = [b"\0binary \xff".as_slice(), &hidden, b"\xfe the rest"].concat();
            let seen = canaries.seen_in(&around);
            let shown = hidden.escape_ascii();
            assert!(seen.iter().any(|seen| seen.what == "number 17"), "{shown}: {seen:?}");
            assert!(!seen.iter().any(|seen| seen.what == "number 16"), "{shown}: {seen:?}");
        }
    }
    let cut = canaries.seen_in(&canary.as_bytes()[..MARKER.len() + 2]);
    assert_eq!(cut.first().unwrap().what, "a part of one");
    assert!(canaries.seen_in(b"a canary sang, qzcanary, cXpjYW5h").is_empty());
}
