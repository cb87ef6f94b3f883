//! Identifiers: [TypeID](https://github.com/jetify-com/typeid) form, a prefix and a UUIDv7 in base32. Each kind is its
//! own Rust type, so that a person's id cannot stand where a request's belongs.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use uuid::Uuid;

use crate::entropy::{Entropy, random_bytes};
use crate::time::Timestamp;

/// The kinds of things that have an id.
pub trait Kind: 'static {
    /// What the written id starts with, before the underscore.
    const PREFIX: &'static str;
}

/// An id of one kind. It sorts by the time at which it was made.
pub struct Id<K: Kind>(Uuid, PhantomData<fn() -> K>);

/// The text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read an id: expected {expected}_ and 26 letters or digits")]
pub struct IdError {
    expected: &'static str,
}

/// Crockford's base32 in lower case, as TypeID prescribes.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LENGTH: usize = 26;

impl<K: Kind> Id<K> {
    /// A new id that sorts after those of earlier milliseconds.
    pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        let random = random_bytes::<10>(entropy);
        Id(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid(), PhantomData)
    }

    /// The id that has these 128 bits.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Id(Uuid::from_bytes(bytes), PhantomData)
    }

    /// The id's 128 bits.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads the written form, and only that: lower case, right prefix, no overflow.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refused = IdError { expected: K::PREFIX };
        let Some(encoded) = text.strip_prefix(K::PREFIX).and_then(|rest| rest.strip_prefix('_')) else {
            return Err(refused);
        };
        // 26 digits of 5 bits are 130 bits: the first digit may hold only three.
        if encoded.len() != ENCODED_LENGTH || encoded.as_bytes().first().is_none_or(|first| *first > b'7') {
            return Err(refused);
        }
        let mut value: u128 = 0;
        for digit in encoded.bytes() {
            let Some(position) = ALPHABET.iter().position(|letter| *letter == digit) else {
                return Err(refused);
            };
            value = (value << 5) | position as u128;
        }
        Ok(Id(Uuid::from_u128(value), PhantomData))
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; ENCODED_LENGTH];
        let mut value = self.0.as_u128();
        for letter in text.iter_mut().rev() {
            *letter = ALPHABET.get((value & 31) as usize).copied().unwrap_or(b'0');
            value >>= 5;
        }
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K: Kind> Copy for Id<K> {}
impl<K: Kind> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K: Kind> Eq for Id<K> {}
impl<K: Kind> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Kind> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K: Kind> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The kinds, as types that have no values.
pub mod kind {
    use super::Kind;

    macro_rules! kinds {
        ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}
            impl Kind for $name {
                const PREFIX: &'static str = $prefix;
            }
        )*};
    }

    // Ten times the same two items: the one place where a macro reads better than what it stands for.
    kinds! {
        /// An action request.
        Request = "req";
        /// An agent or a pipeline.
        Agent = "agt";
        /// A person.
        Person = "per";
        /// A delivery of a card to a channel.
        Delivery = "dlv";
        /// One evaluation of policy.
        Evaluation = "evl";
        /// One execution of a granted action.
        Execution = "exe";
        /// A ledger entry.
        Entry = "ent";
        /// A reviewer's session.
        Session = "ses";
        /// A single-use sign-in link.
        Invitation = "inv";
        /// A person's API token.
        Token = "tok";
        /// An enforcement point that stands outside of placet's own process.
        Pep = "pep";
    }
}

/// Id of an action request, `req_…`.
pub type RequestId = Id<kind::Request>;
/// Id of an agent or a pipeline, `agt_…`.
pub type AgentId = Id<kind::Agent>;
/// Id of a person, `per_…`.
pub type PersonId = Id<kind::Person>;
/// Id of a delivery, `dlv_…`.
pub type DeliveryId = Id<kind::Delivery>;
/// Id of an evaluation of policy, `evl_…`.
pub type EvaluationId = Id<kind::Evaluation>;
/// Id of an execution, `exe_…`.
pub type ExecutionId = Id<kind::Execution>;
/// Id of a ledger entry, `ent_…`.
pub type EntryId = Id<kind::Entry>;
/// Id of a session, `ses_…`.
pub type SessionId = Id<kind::Session>;
/// Id of a sign-in link, `inv_…`.
pub type InvitationId = Id<kind::Invitation>;
/// Id of a person's API token, `tok_…`.
pub type TokenId = Id<kind::Token>;
/// Id of an enforcement point with a credential of its own, `pep_…`.
pub type PepId = Id<kind::Pep>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_form_of_the_typeid_specification() {
        // The first and the last valid suffix, and one vector of the specification's valid.yml.
        for (bytes, suffix) in [
            (0u128, "00000000000000000000000000"),
            (u128::MAX, "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
            (0x0110c8531d0952d8d73e1194e95b5f19, "0123456789abcdefghjkmnpqrs"),
        ] {
            let id = RequestId::from_bytes(bytes.to_be_bytes());
            assert_eq!(id.to_string(), format!("req_{suffix}"));
            assert_eq!(RequestId::parse(&format!("req_{suffix}")), Ok(id));
        }
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "req_",
            "req",
            "per_00000000000000000000000000",
            "REQ_00000000000000000000000000",
            "req_0000000000000000000000000",
            "req_000000000000000000000000000",
            "req_80000000000000000000000000",
            "req_0000000000000000000000000i",
            "req_0000000000000000000000000A",
            "req_000000000000000000000000é",
        ] {
            assert!(RequestId::parse(text).is_err(), "{text}");
        }
    }
}
