//! One issuer and its keys: read from where it says they are, or from a file, and kept.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fetch;

/// After so long the keys are read anew: an issuer that takes a key away means it.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// For so long old keys are good enough while new ones cannot be had.
const USABLE: Duration = Duration::from_secs(6 * 60 * 60);
/// At most so often anybody asks: whoever invents names of keys does not send placet around.
const ASKED_EVERY: Duration = Duration::from_secs(20);
/// How many keys an issuer may have.
const KEYS_MAX: usize = 100;
/// How long an issuer's name may be, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Somebody who issues tokens, and whose keys can be had.
#[derive(Debug)]
pub struct Issuer {
    name: String,
    source: Source,
    kept: RwLock<Option<Kept>>,
    /// When it was last asked, and what went wrong. Whoever holds it asks.
    asked: Mutex<Option<(Instant, Option<String>)>>,
}

#[derive(Debug)]
enum Source {
    /// What its metadata names (RFC 8414, or OpenID Connect Discovery).
    Metadata(Url),
    /// A JWK set (RFC 7517) on this machine.
    File(PathBuf),
}

#[derive(Debug, Clone)]
struct Kept {
    keys: Arc<Vec<Jwk>>,
    at: Instant,
}

/// An issuer cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write issuers as https://… without query or fragment, separated by commas; each perhaps with = and a file of its keys"
)]
pub struct IssuerError;

impl Issuer {
    /// Reads `https://issuer.example`, or `https://issuer.example=/etc/placet/keys.json` for one whose keys are in a file.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) if !file.trim().is_empty() => (name.trim(), Some(file.trim())),
            Some(_) => return Err(IssuerError),
            None => (text.trim(), None),
        };
        let url = Url::parse(name).map_err(|_| IssuerError)?;
        if name.len() > NAME_BYTES_MAX || url.query().is_some() || !fetch::is_protected(&url) {
            return Err(IssuerError);
        }
        let source = file.map_or_else(|| Source::Metadata(url), |file| Source::File(file.into()));
        Ok(Issuer { name: name.to_owned(), source, kept: RwLock::default(), asked: Mutex::default() })
    }

    /// Its name, to the letter as it stands in its tokens.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its keys, whatever is kept of them. Returns how many there are.
    pub async fn check(&self) -> Result<usize, String> {
        self.read().await.map(|keys| keys.len())
    }

    /// Its keys, among them one of this name if it has one.
    pub(crate) async fn keys(&self, named: Option<&str>) -> Result<Arc<Vec<Jwk>>, String> {
        let known = |kept: &Kept| {
            named.is_none_or(|named| kept.keys.iter().any(|key| key.common.key_id.as_deref() == Some(named)))
        };
        let (before, now) = (self.kept(), Instant::now());
        if let Some(kept) = before.as_ref().filter(|kept| known(kept)) {
            let age = now.duration_since(kept.at);
            // Somebody else asks already: nobody waits for what they have.
            if age < FRESH || (age < USABLE && self.asked.try_lock().is_err()) {
                return Ok(kept.keys.clone());
            }
        }
        let mut asked = self.asked.lock().await;
        // Perhaps somebody asked meanwhile.
        let recently = asked.as_ref().filter(|(at, _)| at.elapsed() < ASKED_EVERY);
        let failure = match recently {
            Some((_, failure)) => failure.clone(),
            None => {
                let failure = self.renew().await.err();
                *asked = Some((Instant::now(), failure.clone()));
                failure
            }
        };
        match (self.kept().filter(|kept| kept.at.elapsed() < USABLE), failure) {
            // Also without the one that was named: then nobody signed the token.
            (Some(kept), None) => Ok(kept.keys),
            (Some(kept), Some(_)) if known(&kept) => Ok(kept.keys),
            (_, failure) => Err(failure.unwrap_or_else(|| "they are too old".to_owned())),
        }
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn renew(&self) -> Result<(), String> {
        let keys = Arc::new(self.read().await?);
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(Kept { keys, at: Instant::now() });
        Ok(())
    }

    async fn read(&self) -> Result<Vec<Jwk>, String> {
        let bytes = match &self.source {
            Source::File(path) => {
                fetch::file(path).await.map_err(|error| format!("read {}: {error}", path.display()))?
            }
            Source::Metadata(url) => {
                let keys_at = self.metadata(url).await?.jwks_uri;
                let keys_at = Url::parse(&keys_at).map_err(|_| "its jwks_uri is no address".to_owned())?;
                // An issuer on this machine may have its keys there, and nobody else.
                let admitted =
                    fetch::is_protected(&keys_at) && (fetch::is_here(url) || !fetch::is_here(&keys_at));
                if !admitted {
                    return Err("its jwks_uri is not https".to_owned());
                }
                fetch::document(&keys_at).await?.ok_or("there is nothing at its jwks_uri")?
            }
        };
        public_keys(&bytes)
    }

    /// What it says of itself, under either of the two standards.
    async fn metadata(&self, url: &Url) -> Result<Metadata, String> {
        for address in metadata_addresses(url) {
            let Some(bytes) = fetch::document(&address).await? else { continue };
            let found: Metadata = serde_json::from_slice(&bytes)
                .map_err(|_| format!("{address} is no metadata of an issuer"))?;
            if found.issuer != self.name {
                return Err(format!("{address} is the metadata of another issuer"));
            }
            return Ok(found);
        }
        Err("it has no metadata".to_owned())
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// OpenID Connect puts its name behind the issuer's path, RFC 8414 before it.
fn metadata_addresses(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    [
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
    ]
    .into_iter()
    .filter_map(|path| issuer.join(&path).ok())
    .collect()
}

/// The keys of a set that signatures can be verified with. What is of another kind stays out, as the standard wants it.
fn public_keys(bytes: &[u8]) -> Result<Vec<Jwk>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|_| "they are no JWK set".to_owned())?;
    let is_public = |key: &Jwk| {
        use AlgorithmParameters::{EllipticCurve, OctetKeyPair, RSA};
        matches!(key.algorithm, EllipticCurve(_) | OctetKeyPair(_) | RSA(_))
    };
    let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key).ok());
    let keys: Vec<Jwk> = keys.filter(is_public).collect();
    if keys.is_empty() { Err("there is none for signatures among them".to_owned()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_address_of_its_own() {
        let issuer = Issuer::parse(" https://idp.example/tenant ").unwrap();
        assert_eq!(issuer.name(), "https://idp.example/tenant");
        assert!(matches!(issuer.source, Source::Metadata(_)));
        let kept = Issuer::parse("https://idp.example=/etc/keys.json").unwrap();
        assert_eq!(kept.name(), "https://idp.example");
        assert!(matches!(kept.source, Source::File(_)));
        for wrong in [
            "",
            "idp.example",
            "http://idp.example",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a=",
        ] {
            assert!(Issuer::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Issuer::parse("http://localhost:7/").is_ok(), "what does not leave this machine");
    }

    #[test]
    fn both_standards_say_where_metadata_are() {
        let addresses = |issuer: &str| -> Vec<String> {
            metadata_addresses(&Url::parse(issuer).unwrap()).iter().map(Url::to_string).collect()
        };
        assert_eq!(
            addresses("https://idp.example/tenant/"),
            [
                "https://idp.example/tenant/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/tenant"
            ]
        );
        assert_eq!(
            addresses("https://idp.example"),
            [
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server"
            ]
        );
    }

    #[test]
    fn only_public_keys_are_taken_from_a_set() {
        let secret = r#"{"kty":"oct","k":"c2VjcmV0","kid":"a"}"#;
        let unknown = r#"{"kty":"new","kid":"b"}"#;
        let public =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"c"}"#;
        let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let keys = public_keys(set(&[secret, unknown, public]).as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(public_keys(set(&[secret, unknown]).as_bytes()).is_err());
        assert!(public_keys(b"[]").is_err());
    }
}
