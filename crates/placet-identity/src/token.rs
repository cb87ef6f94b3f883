//! One token: what it says, who signed it, and whether it is for us.

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use placet_core::directory::Workload;
use placet_core::time::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How long a token may be, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far the clocks of an issuer and of placet may be apart, in seconds.
const LEEWAY: f64 = 60.0;
/// How many keys are tried for a token that does not say with which of them it was signed.
const UNNAMED_KEYS_MAX: usize = 16;

/// Those with a public key. What is signed with a shared secret, or not at all, could be signed by anybody who verifies it.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Access tokens (RFC 9068), and what platforms write that give no type. A token of another type is for another purpose.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none, or none of the kind that is read here.
    #[error("It is no signed token (JWT) that can be read: {0}.")]
    Unreadable(&'static str),
    /// Nobody of those who are trusted says to have issued it.
    #[error("Its issuer is not one of those that the operator named in agents.issuers.")]
    Issuer,
    /// The issuer's keys cannot be had. It may be good, and nobody can say so now.
    #[error("The keys of {0} cannot be read: {1}.")]
    Keys(String, String),
    /// No key of its issuer signed it.
    #[error("No key of its issuer signed it.")]
    Signature,
    /// It was issued for somebody else.
    #[error("It was issued for another audience: get one for the address that you call.")]
    Audience,
    /// It is over.
    #[error("It is expired: get a new one.")]
    Expired,
    /// It is for later.
    #[error("It is not valid yet; the issuer's clock and this one differ by more than a minute.")]
    Early,
    /// It says more than is looked at.
    #[error("It {0}, which is not looked at here, so that it would count for more than it is.")]
    Bound(&'static str),
    /// Nobody is named.
    #[error("It names nobody.")]
    Subject,
}

/// What a token says, nothing of it proven yet.
pub(crate) struct Token<'t> {
    text: &'t str,
    header: Header,
    claims: Claims,
}

/// What a token says, signed by a key of its issuer.
#[derive(Debug)]
pub(crate) struct Verified(Claims);

#[derive(Deserialize, Debug)]
struct Claims {
    iss: String,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: f64,
    nbf: Option<f64>,
    /// Who really acts (RFC 8693).
    act: Option<IgnoredAny>,
    /// The key that its holder has to prove (RFC 7800).
    cnf: Option<IgnoredAny>,
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum Audience {
    One(String),
    Some(Vec<String>),
}

impl<'t> Token<'t> {
    pub(crate) fn read(text: &'t str) -> Result<Self, Refused> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Unreadable("it is too long"));
        }
        let header = decode_header(text).map_err(|_| Refused::Unreadable("its header is none"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refused::Unreadable("it is signed with a shared secret"));
        }
        if header.crit.is_some() {
            return Err(Refused::Unreadable("its header holds what has to be understood"));
        }
        let fits = |typ: &String| TYPES.contains(&typ.to_ascii_lowercase().as_str());
        if !header.typ.as_ref().is_none_or(fits) {
            return Err(Refused::Unreadable("it is of a type for another purpose"));
        }
        // Only to know whose keys to ask.
        let claims = jsonwebtoken::dangerous::insecure_decode_claims(text)
            .map_err(|_| Refused::Unreadable("its claims are none"))?;
        Ok(Token { text, header, claims })
    }

    /// Who says to have issued it.
    pub(crate) fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// The name of the key that is said to have signed it.
    pub(crate) fn key(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// It, if one of these keys signed it.
    pub(crate) fn verified(&self, keys: &[Jwk]) -> Result<Verified, Refused> {
        let mut validation = Validation::new(self.header.alg);
        validation.required_spec_claims.clear();
        // All of it is looked at in `for_us`, on placet's clock.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let named = |key: &&Jwk| self.key().is_none_or(|name| key.common.key_id.as_deref() == Some(name));
        keys.iter()
            .filter(named)
            .filter(|key| signs(key, self.header.alg))
            .take(UNNAMED_KEYS_MAX)
            .filter_map(|key| DecodingKey::from_jwk(key).ok())
            .find_map(|key| decode::<Claims>(self.text, &key, &validation).ok())
            .map(|data| Verified(data.claims))
            .ok_or(Refused::Signature)
    }
}

/// Whether a key is for signatures, and for those of this algorithm.
fn signs(key: &Jwk, algorithm: Algorithm) -> bool {
    let purpose = key.common.public_key_use.as_ref();
    let named = key.common.key_algorithm.map(|named| named.to_string());
    purpose.is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
        && named.is_none_or(|named| named.parse() == Ok(algorithm))
}

impl Verified {
    /// Whose it is, if it is for one of these audiences and for now.
    pub(crate) fn for_us(self, audiences: &[String], now: Timestamp) -> Result<Workload, Refused> {
        let Verified(claims) = self;
        let named: &[String] = match &claims.aud {
            Some(Audience::One(audience)) => std::slice::from_ref(audience),
            Some(Audience::Some(audiences)) => audiences,
            None => &[],
        };
        if !named.iter().any(|named| audiences.contains(named)) {
            return Err(Refused::Audience);
        }
        let now = seconds(now);
        if now >= claims.exp + LEEWAY {
            return Err(Refused::Expired);
        }
        if claims.nbf.is_some_and(|from| from > now + LEEWAY) {
            return Err(Refused::Early);
        }
        if claims.act.is_some() {
            return Err(Refused::Bound("says that somebody acts for its subject (act)"));
        }
        if claims.cnf.is_some() {
            return Err(Refused::Bound("is bound to a key (cnf)"));
        }
        Workload::new(&claims.iss, claims.sub.as_deref().unwrap_or_default()).ok_or(Refused::Subject)
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}
