//! Digests: what they are over is part of their type.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

use crate::id::RequestId;
use crate::secret::Secret;

/// A plain SHA-256, of bytes that stand for themselves: a program, an input, a card.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

/// SHA-256 over `"placet/action/v1\0"` and the canonical bytes of an action request: what a vote is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionDigest(Sha256Digest);

/// SHA-256 over the sorted list of a policy bundle's paths and file digests: what a decision was made under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleDigest(Sha256Digest);

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a digest: expected 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl Sha256Digest {
    /// The SHA-256 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256Digest(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Sha256Digest(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| DigestError)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return Err(DigestError) };
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Sha256Digest(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError),
    }
}

/// In one piece: a call writes a dozen digests, and a formatter costs more than a digit.
impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What separates an action's digest from every other SHA-256 that placet computes.
const ACTION_DOMAIN: &[u8] = b"placet/action/v1\0";

impl ActionDigest {
    /// The digest of an action's canonical bytes.
    pub fn of_canonical(canonical: &str) -> Self {
        let hash = Sha256::new().chain_update(ACTION_DOMAIN).chain_update(canonical.as_bytes());
        ActionDigest(Sha256Digest(hash.finalize().into()))
    }

    /// A digest that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        ActionDigest(Sha256Digest(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        Sha256Digest::parse(text).map(ActionDigest)
    }
}

impl BundleDigest {
    /// The digest of a bundle from its files' paths and contents. The order in which they come does not matter.
    pub fn of_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut lines: Vec<String> =
            files.into_iter().map(|(path, bytes)| format!("{path}\0{}\n", Sha256Digest::of(bytes))).collect();
        lines.sort();
        let mut hash = Sha256::new().chain_update(b"placet/bundle/v1\0");
        for line in lines {
            hash.update(line.as_bytes());
        }
        BundleDigest(Sha256Digest(hash.finalize().into()))
    }

    /// A digest that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        BundleDigest(Sha256Digest(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        Sha256Digest::parse(text).map(BundleDigest)
    }
}

impl fmt::Display for ActionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl fmt::Debug for ActionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl fmt::Debug for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What people read to each other, `7F3K-9Q2M`: it finds a request, it proves nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortCode(String);

/// The text is not a short code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a short code: expected eight letters or digits like 7F3K-9Q2M")]
pub struct ShortCodeError;

/// Crockford's base32: no I, L, O or U, which people mix up.
const SHORT_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl ShortCode {
    /// The first 40 bits of HMAC-SHA-256 under the server's key over the request's id and digest. `attempt` makes
    /// another code when the first is taken by an open request.
    pub fn derive(key: &Secret, request: RequestId, digest: ActionDigest, attempt: u8) -> Self {
        let mut code = String::with_capacity(9);
        // HMAC takes keys of any length, so the error cannot occur; an empty code would find nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return ShortCode(code) };
        mac.update(request.as_bytes());
        mac.update(digest.as_bytes());
        mac.update(&[attempt]);
        let bits =
            mac.finalize().into_bytes().iter().take(5).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            let digit = (bits >> (place * 5)) & 31;
            code.push(char::from(SHORT_ALPHABET.get(digit as usize).copied().unwrap_or(b'0')));
            if place == 4 {
                code.push('-');
            }
        }
        ShortCode(code)
    }

    /// Reads a code as people type it: any case, with or without the dash, `O` for 0 and `I` or `L` for 1.
    pub fn parse(text: &str) -> Result<Self, ShortCodeError> {
        if text.len() > 16 {
            return Err(ShortCodeError);
        }
        let mut code = String::with_capacity(9);
        for typed in text.chars().filter(|typed| *typed != '-' && *typed != ' ') {
            let letter = match typed.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            if !letter.is_ascii() || !SHORT_ALPHABET.contains(&(letter as u8)) {
                return Err(ShortCodeError);
            }
            if code.len() == 4 {
                code.push('-');
            }
            code.push(letter);
        }
        if code.len() == 9 { Ok(ShortCode(code)) } else { Err(ShortCodeError) }
    }

    /// The code as it is written, with its dash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_digests_are_separated_from_plain_ones() {
        let plain = Sha256Digest::of(b"{}");
        let action = ActionDigest::of_canonical("{}");
        assert_ne!(plain.as_bytes(), action.as_bytes());
        assert_eq!(ActionDigest::parse(&action.to_string()), Ok(action));
    }

    #[test]
    fn bundle_digests_ignore_order_and_see_every_byte() {
        let one = BundleDigest::of_files([("a", b"1".as_slice()), ("b", b"2")]);
        assert_eq!(one, BundleDigest::of_files([("b", b"2".as_slice()), ("a", b"1")]));
        assert_ne!(one, BundleDigest::of_files([("a", b"1".as_slice()), ("b", b"3")]));
        assert_ne!(one, BundleDigest::of_files([("a", b"2".as_slice()), ("b", b"1")]));
    }

    #[test]
    fn refuses_digests_in_other_forms() {
        let good = Sha256Digest::of(b"").to_string();
        for text in ["", &good[1..], &good.to_uppercase(), &format!("{good}0"), &good.replace('e', "g")] {
            assert_eq!(Sha256Digest::parse(text), Err(DigestError), "{text}");
        }
    }

    #[test]
    fn short_codes_are_read_as_people_type_them() {
        let code = ShortCode::parse("7f3k9q2m").unwrap();
        assert_eq!(code.as_str(), "7F3K-9Q2M");
        assert_eq!(ShortCode::parse(" 7F3K-9Q2M "), Ok(code));
        assert_eq!(ShortCode::parse("OIL0-0000"), ShortCode::parse("01100000"));
        for text in ["", "7F3K", "7F3K-9Q2M-1", "7F3K-9Q2U", "7F3K-9Q2é", "7f3k9q2m7f3k9q2m7"] {
            assert_eq!(ShortCode::parse(text), Err(ShortCodeError), "{text}");
        }
    }

    #[test]
    fn short_codes_depend_on_key_request_digest_and_attempt() {
        let request = RequestId::from_bytes([1; 16]);
        let digest = ActionDigest::of_canonical("{}");
        let derive = |key: &str, attempt| ShortCode::derive(&Secret::new(key), request, digest, attempt);
        assert_eq!(derive("k", 0), derive("k", 0));
        assert_eq!(ShortCode::parse(derive("k", 0).as_str()), Ok(derive("k", 0)));
        assert_ne!(derive("k", 0), derive("k", 1));
        assert_ne!(derive("k", 0), derive("l", 0));
    }
}
