//! What people see of a text that somebody else wrote.

use placet_core::decision::ForbidReason;
use placet_core::text::{Untrusted, visible};
use proptest::prelude::*;

use crate::c14n::any_text;

/// Characters of every kind that hides itself or moves others.
const HIDDEN: &str = "\0\u{7}\u{1b}\u{7f}\u{85}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{1680}\u{17b4}\u{180e}\u{2003}\u{200b}\
\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{206f}\u{2800}\u{3000}\u{3164}\u{e000}\
\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffd}\u{ffff}\u{13430}\u{16fe4}\u{1d159}\u{1d173}\u{e0001}\u{e0041}\u{e0100}\u{10fffd}";

#[test]
fn every_hidden_character_becomes_an_escape() {
    for hidden in HIDDEN.chars() {
        let code = u32::from(hidden);
        assert_eq!(visible(&format!("a{hidden}b")), format!("a\\u{{{code:x}}}b"));
    }
}

#[test]
fn letters_of_every_script_are_left_alone() {
    let text = "Grüße, Ελλάδα, Россия, עברית, العربية, हिन्दी, ไทย, 日本語, 한국어, 👍, é";
    assert_eq!(visible(text), text);
}

#[test]
fn debug_shows_no_hidden_character() {
    let shown = format!("{:?}", Untrusted::new("a\u{202e}\nb"));
    assert!(shown.chars().all(|seen| seen.is_ascii_graphic() || seen == ' '), "{shown}");
}

#[test]
fn a_refusal_tells_the_asker_nothing_hidden() {
    for reason in [
        // The name comes as people may see it, so it is escaped once and not twice.
        ForbidReason::UnknownEntity(visible("Dataset\u{202e}\n")),
        ForbidReason::BadFacts("rows\u{200b}".to_owned()),
    ] {
        let sentence = reason.sentence();
        assert_eq!(visible(&sentence).replace("\\\\", "\\"), sentence);
        assert!(sentence.contains("\\u{20") && !sentence.contains("\\\\u"), "{sentence}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_hides_nothing_and_has_one_reading(one in any_text(), other in any_text()) {
        let shown = visible(&one);
        // Showing it once more only doubles the backslashes: nothing was left to escape.
        prop_assert_eq!(visible(&shown), shown.replace('\\', "\\\\"));
        let hides = shown.contains(['\n', '\r', '\t', '\u{202e}', '\u{200b}']);
        prop_assert!(!hides, "{}", shown);
        prop_assert_eq!(one == other, shown == visible(&other));
    }
}
