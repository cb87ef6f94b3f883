//! Looks for released secrets in what a program writes, across the borders of reads and writes.
//!
//! A secret is looked for as it is, in base64 (at each of the three alignments that it can have inside a longer text),
//! in hexadecimal and percent-encoded. What could be the beginning of a match is held back until the next bytes tell;
//! everything before it goes on at once. This catches accidents and honest programs. A program that wants to smuggle a
//! secret out can always encode it in a way of its own: which programs get one is what the review is about.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use placet_core::secret::Secret;
use zeroize::Zeroizing;

/// What stands where a secret stood.
pub const REDACTED: &[u8] = b"[redacted]";

/// An encoded form shorter than this is ordinary text too often to mean anything.
const ENCODED_BYTES_MIN: usize = 8;

/// Scans one stream.
pub struct Scanner {
    patterns: Vec<Zeroizing<Vec<u8>>>,
    held: Zeroizing<Vec<u8>>,
}

/// What came of looking at more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// No secret so far.
    Clean,
    /// A secret begins right after the bytes that were passed on.
    Secret,
}

/// The value is empty: every output contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("look for a secret in output: it is empty, set it again with `placet secret set`")]
pub struct EmptySecret;

impl Scanner {
    /// A scanner for these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Result<Self, EmptySecret> {
        let mut patterns: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for secret in secrets {
            if secret.expose().is_empty() {
                return Err(EmptySecret);
            }
            for form in forms(secret.expose()) {
                if !patterns.contains(&form) {
                    patterns.push(form);
                }
            }
        }
        Ok(Scanner { patterns, held: Zeroizing::default() })
    }

    /// Looks at more bytes and appends to `clean` what may be passed on. After [`Seen::Secret`] the stream is over.
    pub fn push(&mut self, bytes: &[u8], clean: &mut Vec<u8>) -> Seen {
        self.held.extend_from_slice(bytes);
        if let Some((start, _)) = self.first_match() {
            clean.extend_from_slice(self.held.get(..start).unwrap_or_default());
            self.held.clear();
            return Seen::Secret;
        }
        self.release(clean);
        Seen::Clean
    }

    /// Looks at more bytes and appends them to `clean` with every secret replaced.
    pub fn scrub(&mut self, bytes: &[u8], clean: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        while let Some((start, end)) = self.first_match() {
            clean.extend_from_slice(self.held.get(..start).unwrap_or_default());
            clean.extend_from_slice(REDACTED);
            self.held.drain(..end);
        }
        self.release(clean);
    }

    /// The stream is over: what was held back turned out to be harmless.
    pub fn finish(&mut self, clean: &mut Vec<u8>) {
        clean.append(&mut self.held);
    }

    /// The match that begins first; among those the longest, so that nothing of it stays behind.
    fn first_match(&self) -> Option<(usize, usize)> {
        let matches = self.patterns.iter().filter_map(|pattern| {
            memmem::find(&self.held, pattern).map(|start| (start, start + pattern.len()))
        });
        matches.min_by_key(|(start, end)| (*start, usize::MAX - end))
    }

    /// Passes on all but the longest tail with which some pattern begins.
    fn release(&mut self, clean: &mut Vec<u8>) {
        let tail = self.patterns.iter().map(|pattern| begun(&self.held, pattern)).max().unwrap_or(0);
        let passed = self.held.len() - tail;
        clean.extend_from_slice(self.held.get(..passed).unwrap_or_default());
        self.held.drain(..passed);
    }
}

/// The length of the longest end of `bytes` with which `pattern` begins, without being whole.
fn begun(bytes: &[u8], pattern: &[u8]) -> usize {
    let longest = pattern.len().saturating_sub(1).min(bytes.len());
    (1..=longest)
        .rev()
        .find(|length| pattern.get(..*length).is_some_and(|prefix| bytes.ends_with(prefix)))
        .unwrap_or(0)
}

/// The secret as it is, then its encodings.
fn forms(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut encoded = Vec::new();
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for shift in 0..3usize {
            encoded.push(base64_within(engine, secret, shift));
        }
    }
    encoded.push(Zeroizing::new(secret.iter().flat_map(|byte| hex(*byte, LOWER)).collect()));
    for digits in [LOWER, UPPER] {
        let escaped = secret.iter().flat_map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => vec![*byte],
            _ => [&b"%"[..], &hex(*byte, digits)].concat(),
        });
        encoded.push(Zeroizing::new(escaped.collect()));
    }
    encoded.retain(|form| form.len() >= ENCODED_BYTES_MIN);
    encoded.insert(0, Zeroizing::new(secret.to_vec()));
    encoded
}

/// The characters of base64 that are the same whatever stands around the secret, if `shift` bytes (modulo 3) precede it.
fn base64_within(engine: &base64::engine::GeneralPurpose, secret: &[u8], shift: usize) -> Zeroizing<Vec<u8>> {
    let padded = Zeroizing::new([vec![0; shift], secret.to_vec()].concat());
    let text = Zeroizing::new(engine.encode(&*padded).into_bytes());
    // A character holds 6 bits: the first whole one of the secret starts at or after bit 8 * shift.
    let first = (8 * shift).div_ceil(6);
    let last = 8 * padded.len() / 6;
    Zeroizing::new(text.get(first..last).unwrap_or_default().to_vec())
}

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or(b'0');
    [digit(byte >> 4), digit(byte & 15)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stop_at(secrets: &[&str], output: &[u8], piece: usize) -> (Vec<u8>, Seen) {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        let mut scanner = Scanner::new(&secrets).unwrap();
        let mut clean = Vec::new();
        for part in output.chunks(piece.max(1)) {
            if scanner.push(part, &mut clean) == Seen::Secret {
                return (clean, Seen::Secret);
            }
        }
        scanner.finish(&mut clean);
        (clean, Seen::Clean)
    }

    fn scrubbed(secrets: &[&str], output: &[u8], piece: usize) -> Vec<u8> {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        let mut scanner = Scanner::new(&secrets).unwrap();
        let mut clean = Vec::new();
        for part in output.chunks(piece.max(1)) {
            scanner.scrub(part, &mut clean);
        }
        scanner.finish(&mut clean);
        clean
    }

    #[test]
    fn finds_each_form_of_a_secret() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};
        let secret = "s3cr3t/pass+w\u{f6}rd??>>";
        let mut outputs = vec![
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE.encode(secret),
            STANDARD.encode(format!("exporter:{secret}")),
            STANDARD.encode(format!("a:{secret}@host")),
            STANDARD.encode(format!("ab:{secret}@host")),
            "s3cr3t%2fpass%2bw%c3%b6rd%3f%3f%3e%3e".to_owned(),
            "s3cr3t%2Fpass%2Bw%C3%B6rd%3F%3F%3E%3E".to_owned(),
        ];
        outputs.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
        for output in outputs {
            let output = format!("rows\n{output}\nmore");
            for piece in 1..output.len() {
                let (clean, seen) = stop_at(&[secret], output.as_bytes(), piece);
                assert_eq!(seen, Seen::Secret, "{output} in pieces of {piece}");
                assert!(
                    clean.starts_with(b"rows\n") && clean.len() < 5 + 20,
                    "{output} in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn passes_on_the_rest_unaltered_and_without_delay() {
        let secrets = [Secret::new("hunter2")];
        let mut scanner = Scanner::new(&secrets).unwrap();
        let mut clean = Vec::new();
        assert_eq!(scanner.push(b"a line\n", &mut clean), Seen::Clean);
        assert_eq!(clean, b"a line\n", "nothing here begins a match, so nothing waits");
        assert_eq!(scanner.push(b"hunt", &mut clean), Seen::Clean);
        assert_eq!(clean, b"a line\n", "this may become a match");
        assert_eq!(scanner.push(b"ing", &mut clean), Seen::Clean);
        assert_eq!(clean, b"a line\nhunting");
    }

    #[test]
    fn scrubs_every_occurrence() {
        for piece in 1..40 {
            let output = b"hunter2hunter2 x hunter3 hunterhunter2";
            let expected = "[redacted][redacted] x hunter3 hunter[redacted]";
            assert_eq!(scrubbed(&["hunter2"], output, piece), expected.as_bytes());
            assert_eq!(scrubbed(&["hunter2", "hunter2!"], b"<hunter2!>", piece).last(), Some(&b'>'));
        }
    }

    #[test]
    fn refuses_an_empty_secret() {
        assert!(matches!(Scanner::new(&[Secret::new("")]), Err(EmptySecret)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_in_the_whole(
            secret in "[ab]{3,6}", output in "[ab]{0,60}", piece in 1usize..9,
        ) {
            let (clean, seen) = stop_at(&[&secret], output.as_bytes(), piece);
            match output.find(&secret) {
                // In small pieces a later, shorter piece cannot hide an earlier match.
                Some(at) => {
                    prop_assert_eq!(seen, Seen::Secret);
                    prop_assert_eq!(clean, &output.as_bytes()[..at]);
                }
                None => {
                    prop_assert_eq!(seen, Seen::Clean);
                    prop_assert_eq!(clean, output.as_bytes());
                }
            }
        }
    }
}
