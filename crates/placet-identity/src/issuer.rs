//! One issuer and its keys: read from where it says they are, or from a file, and kept.
//!
//! ```text
//! keys(name) ─► kept, fresh, and one of that name? ─ yes ─► them
//!                             │ no
//!                             ▼
//!               one reading for all who wait, every 20 s at most, in a task that nobody's hanging up ends
//!                             │ too slow, or failed
//!                             ▼
//!               what was read of it before, for some hours ─► or why there is nothing
//! ```

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};

use crate::fetch;

/// At most so often anybody asks: whoever invents names of keys does not send placet around.
const ASKED_EVERY: Duration = Duration::from_secs(20);
/// After so long what an issuer said is asked for anew: one that takes a key away means it. A file is read as often as that
/// is allowed.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// For so long old keys are good enough while their issuer cannot be reached.
const USABLE: Duration = Duration::from_secs(6 * 60 * 60);
/// The same for a file, which may just be written.
const FILE_USABLE: Duration = Duration::from_secs(60);
/// How long a reading may take, and how long a call waits for it.
const READING_MAX: Duration = Duration::from_secs(15);
const WAITING_MAX: Duration = Duration::from_secs(5);
/// How many calls wait for an issuer at one time. Most of them have not proven who they are.
const WAITERS_MAX: usize = 1024;
/// How many keys an issuer may have.
const KEYS_MAX: usize = 100;
/// How long an issuer's name may be, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Somebody who issues tokens, and whose keys can be had.
#[derive(Debug)]
pub struct Issuer {
    source: Arc<Read>,
    waiters: Semaphore,
}

/// What is read of an issuer, shared with the task that reads.
#[derive(Debug)]
struct Read {
    name: String,
    source: Source,
    kept: RwLock<Option<Kept>>,
    /// When it was last asked, and what came of it. Whoever holds it asks.
    asked: Arc<Mutex<Option<Asked>>>,
}

type Asked = (Instant, Result<(), String>);

#[derive(Debug)]
enum Source {
    /// What its metadata names (RFC 8414, or OpenID Connect Discovery).
    Metadata(Url),
    /// A JWK set (RFC 7517) on this machine.
    File(PathBuf),
    /// What a test says.
    #[cfg(test)]
    Given(Arc<tests::Given>),
}

/// The keys of an issuer, as they were read.
#[derive(Debug, Clone)]
struct Kept {
    keys: Arc<Vec<Jwk>>,
    at: Instant,
}

impl Kept {
    fn has(&self, named: Option<&str>) -> bool {
        named.is_none_or(|named| self.keys.iter().any(|key| key.common.key_id.as_deref() == Some(named)))
    }
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
        let plain = url.query().is_none() && !url.path().contains("//");
        if name.len() > NAME_BYTES_MAX || !plain || !fetch::is_protected(&url) {
            return Err(IssuerError);
        }
        Ok(Issuer::of(name, file.map_or_else(|| Source::Metadata(url), |file| Source::File(file.into()))))
    }

    fn of(name: &str, source: Source) -> Self {
        let read = Read { name: name.to_owned(), source, kept: RwLock::default(), asked: Arc::default() };
        Issuer { source: Arc::new(read), waiters: Semaphore::new(WAITERS_MAX) }
    }

    /// Its name, to the letter as it stands in its tokens.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Whether its keys come over a connection of this machine that anybody here could answer.
    pub fn is_open_to_this_machine(&self) -> bool {
        matches!(&self.source.source, Source::Metadata(url) if url.scheme() == "http")
    }

    /// Reads its keys, whatever is kept of them. Returns how many there are.
    pub async fn check(&self) -> Result<usize, String> {
        match self.source.within_time().await?.len() {
            0 => Err("there is none for signatures among them".to_owned()),
            count => Ok(count),
        }
    }

    /// Its keys, among them one of this name if it has one.
    pub(crate) async fn keys(&self, named: Option<&str>) -> Result<Arc<Vec<Jwk>>, String> {
        let before = self.source.kept();
        if let Some(kept) = before.as_ref().filter(|kept| kept.has(named)) {
            let age = kept.at.elapsed();
            // Somebody else asks already: nobody waits for what they have.
            let may_be_old = age < self.source.usable() && self.source.asked.try_lock().is_err();
            if age < self.source.fresh() || may_be_old {
                return Ok(kept.keys.clone());
            }
        }
        let renewed = self.renewed().await;
        match (self.source.kept(), renewed) {
            // Also without the one that was named: then nobody signed the token.
            (Some(kept), Ok(())) => Ok(kept.keys),
            (Some(kept), Err(_)) if kept.has(named) && kept.at.elapsed() < self.source.usable() => {
                Ok(kept.keys)
            }
            (_, renewed) => Err(renewed.err().unwrap_or_else(|| "there are none".to_owned())),
        }
    }

    /// Its keys, if there are others by now: one may have been replaced under its name, or have none. Nobody knows that if
    /// the ones at hand are old, and no new ones can be had.
    pub(crate) async fn other_keys(&self, than: &Arc<Vec<Jwk>>) -> Result<Option<Arc<Vec<Jwk>>>, String> {
        let renewed = self.renewed().await;
        match (self.source.kept(), renewed) {
            (Some(kept), Err(why)) if kept.at.elapsed() >= self.source.fresh() => Err(why),
            (kept, _) => Ok(kept.map(|kept| kept.keys).filter(|keys| !Arc::ptr_eq(keys, than))),
        }
    }

    /// Waits until it was asked, if it may be asked now, and not too long.
    async fn renewed(&self) -> Result<(), String> {
        let _waiter = self.waiters.try_acquire().map_err(|_| "too many wait for them".to_owned())?;
        let asked = timeout(WAITING_MAX, self.asked()).await;
        asked.unwrap_or_else(|_| Err("they are not there in time".to_owned()))
    }

    async fn asked(&self) -> Result<(), String> {
        loop {
            let Ok(mut asked) = self.source.asked.clone().try_lock_owned() else {
                // Somebody asks: what comes of it is for all.
                match recent(self.source.asked.lock().await.as_ref()) {
                    Some(read) => return read,
                    None => continue,
                }
            };
            if let Some(read) = recent(asked.as_ref()) {
                return read;
            }
            // In a task of its own: a caller that hangs up neither ends a reading nor has the next one begin at once.
            let source = self.source.clone();
            let reading = tokio::spawn(async move {
                let read = source.renew().await;
                *asked = Some((Instant::now(), read.clone()));
                read
            });
            return reading.await.unwrap_or_else(|_| Err("reading them ended badly".to_owned()));
        }
    }
}

/// What came of asking, if that was a moment ago.
fn recent(asked: Option<&Asked>) -> Option<Result<(), String>> {
    asked.filter(|(at, _)| at.elapsed() < ASKED_EVERY).map(|(_, read)| read.clone())
}

impl Read {
    fn kept(&self) -> Option<Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Duration {
        if matches!(self.source, Source::File(_)) { ASKED_EVERY } else { FRESH }
    }

    fn usable(&self) -> Duration {
        if matches!(self.source, Source::File(_)) { FILE_USABLE } else { USABLE }
    }

    /// Reads the keys and keeps them.
    async fn renew(&self) -> Result<(), String> {
        let read = self.within_time().await.map(|keys| {
            let kept = Kept { keys: Arc::new(keys), at: Instant::now() };
            *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        });
        if let Err(why) = &read {
            tracing::warn!(issuer = self.name, why, "the keys of an issuer cannot be read");
        }
        read
    }

    async fn within_time(&self) -> Result<Vec<Jwk>, String> {
        timeout(READING_MAX, self.read())
            .await
            .unwrap_or_else(|_| Err("reading them takes too long".to_owned()))
    }

    async fn read(&self) -> Result<Vec<Jwk>, String> {
        let bytes = match &self.source {
            Source::File(path) => fetch::file(path).await.map_err(|error| format!("their file: {error}"))?,
            Source::Metadata(url) => {
                let keys_at = self.metadata(url).await?.jwks_uri;
                let keys_at = keys_address(url, &keys_at).ok_or("its jwks_uri is not https")?;
                {
                    // Where that is others wrote.
                    let keys =
                        fetch::document(&keys_at).await.map_err(|why| format!("its jwks_uri {why}"))?;
                    keys.ok_or("there is nothing at its jwks_uri")?
                }
            }
            #[cfg(test)]
            Source::Given(given) => given.read().await?,
        };
        public_keys(&bytes)
    }

    /// What it says of itself, under either of the two standards.
    async fn metadata(&self, url: &Url) -> Result<Metadata, String> {
        for address in metadata_addresses(url) {
            let read = fetch::document(&address).await.map_err(|why| format!("{address} {why}"))?;
            let Some(bytes) = read else { continue };
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
    .map(|path| {
        let mut address = issuer.clone();
        address.set_path(&path);
        address
    })
    .collect()
}

/// Where an issuer may have its keys. One on this machine may have them there, and nobody else.
fn keys_address(issuer: &Url, named: &str) -> Option<Url> {
    let url = Url::parse(named).ok()?;
    (fetch::is_protected(&url) && (fetch::is_here(issuer) || !fetch::is_here(&url))).then_some(url)
}

/// The keys of a set that signatures can be verified with, perhaps none: an issuer may take all of them away. What is of
/// another kind stays out, as the standard wants it.
fn public_keys(bytes: &[u8]) -> Result<Vec<Jwk>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|_| "they are no JWK set".to_owned())?;
    let verifies = |key: &Jwk| {
        use AlgorithmParameters::{EllipticCurve, OctetKeyPair, RSA};
        let uses = key.common.key_operations.as_ref();
        matches!(key.algorithm, EllipticCurve(_) | OctetKeyPair(_) | RSA(_))
            && uses.is_none_or(|uses| uses.contains(&KeyOperations::Verify))
    };
    let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key).ok());
    Ok(keys.filter(verifies).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"KID"}"#;

    fn set(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    fn of_key(name: &str) -> String {
        set(&[&KEY.replace("KID", name)])
    }

    /// An issuer that says what a test wants, as slowly as it wants.
    #[derive(Debug, Default)]
    pub(super) struct Given {
        says: std::sync::Mutex<Option<String>>,
        hangs: AtomicBool,
        asked: AtomicUsize,
    }

    impl Given {
        pub(super) async fn read(&self) -> Result<Vec<u8>, String> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_secs(8)).await;
            }
            let says = self.says.lock().unwrap().clone();
            says.map(String::into_bytes).ok_or_else(|| "it is away".to_owned())
        }

        fn say(&self, said: Option<String>) {
            *self.says.lock().unwrap() = said;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn issuer(said: Option<String>) -> (Arc<Given>, Arc<Issuer>) {
        let given = Arc::new(Given::default());
        given.say(said);
        let issuer = Issuer::of("https://idp.example", Source::Given(given.clone()));
        (given, Arc::new(issuer))
    }

    async fn minutes(minutes: u64) {
        tokio::time::advance(Duration::from_secs(60 * minutes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_once_for_all_who_wait_and_seldom() {
        let (given, issuer) = issuer(Some(of_key("a")));
        given.hangs.store(true, Ordering::SeqCst);
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let issuer = issuer.clone();
                tokio::spawn(async move { issuer.keys(Some("a")).await.is_ok() })
            })
            .collect();
        for call in calls {
            assert!(!call.await.unwrap(), "it takes longer than a call waits");
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(issuer.keys(Some("a")).await.is_ok(), "what nobody waited for any more was read");
        for name in 0..50 {
            assert!(issuer.keys(Some(&format!("invented-{name}"))).await.is_ok());
        }
        assert_eq!(given.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_up_neither_ends_a_reading_nor_begins_another() {
        let (given, issuer) = issuer(Some(of_key("a")));
        given.hangs.store(true, Ordering::SeqCst);
        for _ in 0..20 {
            assert!(timeout(Duration::from_millis(10), issuer.keys(Some("a"))).await.is_err());
        }
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(given.asked(), 1);
        assert!(issuer.keys(Some("a")).await.is_ok());
        // An old key that somebody uses over and over does not keep the new ones away.
        given.say(Some(of_key("b")));
        minutes(16).await;
        for _ in 0..20 {
            let _ = timeout(Duration::from_millis(10), issuer.keys(Some("a"))).await;
        }
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(given.asked(), 2);
        assert!(!issuer.source.kept().unwrap().has(Some("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let (given, issuer) = issuer(Some(of_key("a")));
        given.hangs.store(true, Ordering::SeqCst);
        let waiting = (0..WAITERS_MAX).map(|_| {
            let issuer = issuer.clone();
            tokio::spawn(async move { issuer.keys(None).await })
        });
        let waiting: Vec<_> = waiting.collect();
        while issuer.waiters.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(issuer.keys(None).await.unwrap_err(), "too many wait for them");
        for call in waiting {
            assert_eq!(call.await.unwrap().unwrap_err(), "they are not there in time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_good_for_hours_while_it_cannot_be_read_again_and_not_for_ever() {
        let (given, issuer) = issuer(Some(of_key("a")));
        assert!(issuer.keys(Some("a")).await.is_ok());
        given.say(None);
        minutes(5 * 60).await;
        assert!(issuer.keys(Some("a")).await.is_ok());
        assert_eq!(issuer.keys(Some("b")).await.unwrap_err(), "it is away", "it may be a new key");
        minutes(2 * 60).await;
        assert_eq!(issuer.keys(Some("a")).await.unwrap_err(), "it is away");
        given.say(Some(of_key("a")));
        minutes(1).await;
        assert!(issuer.keys(Some("a")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_all_keys_away_means_it() {
        let (given, issuer) = issuer(Some(of_key("a")));
        assert_eq!(issuer.keys(Some("a")).await.unwrap().len(), 1);
        given.say(Some(set(&[])));
        minutes(16).await;
        assert_eq!(issuer.keys(Some("a")).await.unwrap().len(), 0);
        assert!(issuer.check().await.is_err(), "an operator is told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_replaced_under_its_name_is_found() {
        let (given, issuer) = issuer(Some(of_key("a")));
        let keys = issuer.keys(Some("a")).await.unwrap();
        assert_eq!(issuer.other_keys(&keys).await, Ok(None), "it was just asked");
        given.say(Some(of_key("a")));
        minutes(1).await;
        let others = issuer.other_keys(&keys).await.unwrap().unwrap();
        given.say(None);
        minutes(1).await;
        assert_eq!(issuer.other_keys(&others).await, Ok(None), "they are new enough");
        minutes(20).await;
        assert_eq!(issuer.other_keys(&others).await.unwrap_err(), "it is away");
    }

    #[test]
    fn an_issuer_is_an_address_of_its_own() {
        let issuer = Issuer::parse(" https://idp.example/tenant ").unwrap();
        assert_eq!(issuer.name(), "https://idp.example/tenant");
        assert!(matches!(issuer.source.source, Source::Metadata(_)));
        let kept = Issuer::parse("https://idp.example=/etc/keys.json").unwrap();
        assert_eq!(kept.name(), "https://idp.example");
        assert!(matches!(kept.source.source, Source::File(_)));
        for wrong in [
            "",
            "idp.example",
            "http://idp.example",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a=",
            "https://a//b",
        ] {
            assert!(Issuer::parse(wrong).is_err(), "{wrong}");
        }
        let here = Issuer::parse("http://localhost:7/").unwrap();
        assert!(here.is_open_to_this_machine() && !issuer.is_open_to_this_machine());
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
    fn keys_are_elsewhere_than_on_this_machine_unless_their_issuer_is_here() {
        let (away, here) =
            (Url::parse("https://idp.example").unwrap(), Url::parse("http://localhost:7").unwrap());
        assert!(keys_address(&away, "https://keys.example/set").is_some());
        for here_only in ["http://localhost:7/set", "https://127.0.0.1/set", "https://[::1]/set"] {
            assert!(keys_address(&away, here_only).is_none(), "{here_only}");
            assert!(keys_address(&here, here_only).is_some(), "{here_only}");
        }
        for nowhere in ["http://keys.example/set", "file:///etc/passwd", "https://u:p@keys.example", "/set"] {
            assert!(keys_address(&here, nowhere).is_none(), "{nowhere}");
        }
    }

    #[test]
    fn only_keys_that_verify_are_taken_from_a_set() {
        let (secret, unknown) = (r#"{"kty":"oct","k":"c2VjcmV0","kid":"a"}"#, r#"{"kty":"new","kid":"b"}"#);
        let encrypts = KEY.replace("\"kid\"", "\"key_ops\":[\"encrypt\"],\"kid\"");
        let verifies = KEY.replace("\"kid\"", "\"key_ops\":[\"verify\"],\"kid\"");
        let keys = public_keys(set(&[secret, unknown, &encrypts, &verifies, KEY]).as_bytes()).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(public_keys(set(&[secret, unknown]).as_bytes()), Ok(Vec::new()));
        assert!(public_keys(b"[]").is_err());
    }
}
