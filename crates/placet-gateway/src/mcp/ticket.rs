//! What a client carries for placet and brings back: text that only placet can make, and that only the one it was made
//! for can use.
//!
//! A ticket grants nothing. It says what a client said before, or which of its own requests it waits for; what it may do
//! is asked anew each time. So there is nothing secret in it, and nothing that a second use could do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use placet_core::action::Principal;
use placet_core::c14n::Value;
use placet_core::secret::Secret;
use sha2::Sha256;

/// How many bytes of text a ticket may have.
const TEXT_BYTES_MAX: usize = 4096;
const MAC_BYTES: usize = 32;

/// What a ticket is for. One kind is none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a client of the older revisions said when it began.
    Session,
    /// Which request a call goes on waiting for.
    State,
}

/// Makes tickets and reads them back.
pub(super) struct Tickets {
    key: Secret,
}

impl Tickets {
    pub(super) fn new(key: Secret) -> Self {
        Tickets { key }
    }

    /// A ticket for this principal.
    pub(super) fn issue(&self, kind: Kind, whose: Principal, says: &Value) -> String {
        let says = says.canonical();
        let mac = self.mac(kind, whose, says.as_bytes()).finalize().into_bytes();
        BASE64.encode([mac.as_slice(), says.as_bytes()].concat())
    }

    /// What a ticket says, if placet made it for this principal.
    pub(super) fn read(&self, kind: Kind, whose: Principal, text: &str) -> Option<Value> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = BASE64.decode(text).ok()?;
        let (mac, says) = bytes.split_at_checked(MAC_BYTES)?;
        self.mac(kind, whose, says).verify_slice(mac).ok()?;
        Value::parse(says).ok()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, kind: Kind, whose: Principal, says: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("any key will do");
        let kind: &[u8] = match kind {
            Kind::Session => b"placet/mcp-session/v1\0",
            Kind::State => b"placet/mcp-state/v1\0",
        };
        // Neither a kind nor a principal has a zero byte in it, so no two of them meet.
        for part in [kind, whose.kind().as_bytes(), b"\0", whose.to_string().as_bytes(), b"\0", says] {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use placet_core::id::AgentId;

    use super::*;

    #[test]
    fn a_ticket_is_of_one_kind_for_one_principal_under_one_key_and_unaltered() {
        let tickets = Tickets::new(Secret::new("key"));
        let [one, other] = [[1; 16], [2; 16]].map(|bytes| Principal::Agent(AgentId::from_bytes(bytes)));
        let says = Value::object([("round", Value::integer(1))]);
        let text = tickets.issue(Kind::State, one, &says);
        assert_eq!(tickets.read(Kind::State, one, &text), Some(says));
        assert_eq!(tickets.read(Kind::State, other, &text), None);
        assert_eq!(tickets.read(Kind::State, Principal::Pipeline(AgentId::from_bytes([1; 16])), &text), None);
        assert_eq!(tickets.read(Kind::Session, one, &text), None);
        assert_eq!(Tickets::new(Secret::new("other")).read(Kind::State, one, &text), None);
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(altered == text || tickets.read(Kind::State, one, &altered).is_none(), "byte {at}");
        }
        for none in ["", "AAAA", "not base64!", &"A".repeat(5000)] {
            assert_eq!(tickets.read(Kind::State, one, none), None);
        }
    }
}
