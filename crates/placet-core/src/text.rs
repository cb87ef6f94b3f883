//! Text that somebody else wrote.
//!
//! [`Untrusted`] has no `Display`: what an agent wrote reaches people only through [`Untrusted::visible`], which shows
//! control, bidirectional and zero-width characters as escapes, so that no text can hide, reorder or forge another.

use std::fmt;

/// Text from outside. Keeps the exact characters; shows them only with [`visible`](Untrusted::visible).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Untrusted(String);

impl Untrusted {
    /// Takes the text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Untrusted(text.into())
    }

    /// The exact characters, for storing, hashing and passing on to machines. Never for people.
    pub fn as_raw(&self) -> &str {
        &self.0
    }

    /// The text as people may see it.
    pub fn visible(&self) -> String {
        visible(&self.0)
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Untrusted({:?})", self.visible())
    }
}

/// The text with each character that cannot be seen, or that changes how others are seen, as an escape like `\u{202e}`.
/// Line breaks become `\n`; a backslash becomes two, so that the result has one reading.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            hidden if is_hidden(hidden) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(hidden))),
            seen => shown.push(seen),
        }
    }
    shown
}

/// Whether a character is invisible or steers how its neighbours are drawn: Unicode's categories Cc and Zl/Zp, the
/// default-ignorable code points, the bidirectional controls, spaces other than U+0020, letters and marks without a shape, tags and private use.
fn is_hidden(character: char) -> bool {
    matches!(u32::from(character),
        0x00..=0x1f | 0x7f..=0xa0 | 0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x1680 | 0x17b4..=0x17b5
        | 0x180b..=0x180f | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x2800 | 0x3000 | 0x3164
        | 0xe000..=0xf8ff | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xffff | 0x13430..=0x13440 | 0x16fe4
        | 0x1bca0..=0x1bca3 | 0x1d159
        | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff | 0xf0000..=0x10_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_hides() {
        for (raw, shown) in [
            ("plain text, ümlaut, 日本", "plain text, ümlaut, 日本"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("line\nbreak\0", "line\\nbreak\\u{0}"),
            ("\\u{202e}", "\\\\u{202e}"),
            ("\u{e0041}tag", "\\u{e0041}tag"),
            ("no\u{a0}break", "no\\u{a0}break"),
        ] {
            assert_eq!(Untrusted::new(raw).visible(), shown);
        }
    }
}
