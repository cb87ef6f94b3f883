//! Which tokens are taken for whose, and why any other is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by panicking, its helpers too"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use placet_core::time::Timestamp;
use placet_identity::{Issuer, Refused, WorkloadTokens};
use serde_json::{Value, json};
use tempfile::TempDir;

const ISSUER: &str = "https://idp.example/tenant";
const DOOR: &str = "https://agents.example";
const NOW: i64 = 1_790_000_000;

/// One key of an issuer.
struct Key {
    signs: EncodingKey,
    algorithm: Algorithm,
    public: Jwk,
}

impl Key {
    fn named(name: &str) -> Self {
        let rng = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        Key::of(name, EncodingKey::from_ec_der(made.as_ref()), Algorithm::ES256)
    }

    fn rsa(name: &str, size: KeySize) -> Self {
        let made = RsaKeyPair::generate(size).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = made.as_der().unwrap();
        // The library wants the key within.
        let at = pkcs8.as_ref().windows(4).position(|bytes| bytes == [0x02, 0x01, 0x00, 0x02]).unwrap();
        let key = &pkcs8.as_ref()[at - 4..];
        Key::of(name, EncodingKey::from_rsa_der(key), Algorithm::RS256)
    }

    fn of(name: &str, signs: EncodingKey, algorithm: Algorithm) -> Self {
        let mut public = Jwk::from_encoding_key(&signs, algorithm).unwrap();
        public.common.key_id = Some(name.to_owned());
        Key { signs, algorithm, public }
    }

    fn header(&self) -> Header {
        Header { kid: self.public.common.key_id.clone(), ..Header::new(self.algorithm) }
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.signs).unwrap()
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "repo:acme/shop", "aud": DOOR, "exp": NOW + 300, "nbf": NOW - 5})
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[member] = value;
    claims
}

fn without(member: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(member);
    claims
}

/// Keys in a file, as an operator names it.
struct Kept {
    directory: TempDir,
}

impl Kept {
    fn new(keys: &[&Key]) -> Self {
        let kept = Kept { directory: TempDir::new().unwrap() };
        kept.write(keys);
        kept
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys.json")
    }

    fn write(&self, keys: &[&Key]) {
        let keys: Vec<&Jwk> = keys.iter().map(|key| &key.public).collect();
        fs::write(self.path(), json!({ "keys": keys }).to_string()).unwrap();
    }

    fn tokens(&self) -> WorkloadTokens {
        let named = format!("{ISSUER}={}", self.path().display());
        WorkloadTokens::new(vec![Issuer::parse(&named).unwrap()])
    }
}

async fn verified(tokens: &WorkloadTokens, token: &str) -> Result<String, Refused> {
    let audiences = [format!("{DOOR}/"), DOOR.to_owned()];
    let now = Timestamp::from_millis(NOW * 1000);
    let workload = tokens.verified(token, &audiences, now).await?;
    Ok(format!("{} of {}", workload.subject(), workload.issuer()))
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_is_its_subjects() {
    let (key, rsa) = (Key::named("a"), Key::rsa("b", KeySize::Rsa2048));
    let tokens = Kept::new(&[&key, &rsa]);
    let tokens = tokens.tokens();
    let whose = Ok("repo:acme/shop of https://idp.example/tenant".to_owned());
    for key in [&key, &rsa] {
        assert_eq!(verified(&tokens, &key.sign(&claims())).await, whose);
    }
    // Audiences are one or many, a token may end a moment ago, and need not name its key or say when it begins.
    for claims in [
        with("aud", json!(["https://other.example", "https://agents.example/"])),
        with("exp", json!(NOW - 59)),
        with("nbf", json!(NOW + 59)),
        without("nbf"),
    ] {
        assert_eq!(verified(&tokens, &key.sign(&claims)).await, whose, "{claims}");
    }
    for typ in [None, Some("at+jwt"), Some("application/AT+JWT")] {
        let header = Header { typ: typ.map(str::to_owned), kid: None, ..key.header() };
        assert_eq!(verified(&tokens, &encode(&header, &claims(), &key.signs).unwrap()).await, whose);
    }
}

#[tokio::test]
async fn what_a_token_says_has_to_be_for_us_and_for_now() {
    let key = Key::named("a");
    let kept = Kept::new(&[&key]);
    let tokens = kept.tokens();
    let over = "the end of time".to_owned();
    for (claims, refused) in [
        (with("iss", json!("https://idp.example")), Refused::Issuer),
        (with("iss", json!("https://idp.example/tenant/")), Refused::Issuer),
        (with("aud", json!("https://agents.example.evil.example")), Refused::Audience),
        (with("aud", json!(["https://agents.example/mcp"])), Refused::Audience),
        (with("aud", json!([])), Refused::Audience),
        (without("aud"), Refused::Audience),
        (with("exp", json!(NOW - 60)), Refused::Expired),
        (with("exp", json!(-1)), Refused::Expired),
        (with("nbf", json!(NOW + 61)), Refused::Early),
        (
            with("act", json!({"sub": "somebody"})),
            Refused::Bound("says that somebody acts for its subject (act)"),
        ),
        (with("cnf", json!({"jkt": "x"})), Refused::Bound("is bound to a key (cnf)")),
        (with("sub", json!("")), Refused::Subject),
        (with("sub", json!("a\nb")), Refused::Subject),
        (with("sub", json!("x".repeat(257))), Refused::Subject),
        (without("sub"), Refused::Subject),
        (without("exp"), Refused::Unreadable("its claims are none")),
        (with("exp", json!(over)), Refused::Unreadable("its claims are none")),
        (without("iss"), Refused::Unreadable("its claims are none")),
        (with("sub", json!(7)), Refused::Unreadable("its claims are none")),
    ] {
        assert_eq!(verified(&tokens, &key.sign(&claims)).await, Err(refused), "{claims}");
    }
}

#[tokio::test]
async fn only_a_key_of_its_issuer_signs() {
    let (key, foreign) = (Key::named("a"), Key::named("a"));
    let kept = Kept::new(&[&key]);
    let tokens = kept.tokens();
    assert_eq!(verified(&tokens, &foreign.sign(&claims())).await, Err(Refused::Signature));
    assert_eq!(verified(&tokens, &Key::named("b").sign(&claims())).await, Err(Refused::Signature));
    // Claims of one token behind another's signature.
    let (mine, other) = (key.sign(&claims()), key.sign(&with("sub", json!("admin"))));
    let mine: Vec<&str> = mine.split('.').collect();
    let other: Vec<&str> = other.split('.').collect();
    let mixed = [mine[0], other[1], mine[2]].join(".");
    assert_eq!(verified(&tokens, &mixed).await, Err(Refused::Signature));
    let unsigned = format!("{}.{}.", mine[0], mine[1]);
    assert_eq!(verified(&tokens, &unsigned).await, Err(Refused::Signature));

    // A key that is for something else signs nothing.
    let mut encrypts = Key::named("a");
    encrypts.public.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Encryption);
    kept.write(&[&encrypts]);
    assert_eq!(verified(&kept.tokens(), &encrypts.sign(&claims())).await, Err(Refused::Signature));
    let mut other_algorithm = Key::rsa("a", KeySize::Rsa2048);
    other_algorithm.public.common.key_algorithm = Some(KeyAlgorithm::PS256);
    kept.write(&[&other_algorithm]);
    assert_eq!(verified(&kept.tokens(), &other_algorithm.sign(&claims())).await, Err(Refused::Signature));
}

#[tokio::test]
async fn a_shared_secret_or_no_signature_proves_nothing() {
    let key = Key::rsa("a", KeySize::Rsa2048);
    let kept = Kept::new(&[&key]);
    let tokens = kept.tokens();
    // The public key as the secret of an algorithm with shared secrets.
    let public = serde_json::to_vec(&key.public).unwrap();
    let header = Header { kid: Some("a".to_owned()), ..Header::new(Algorithm::HS256) };
    let confused = encode(&header, &claims(), &EncodingKey::from_secret(&public)).unwrap();
    let refused = Err(Refused::Unreadable("it is signed with a shared secret"));
    assert_eq!(verified(&tokens, &confused).await, refused);
    let signed = key.sign(&claims());
    let parts: Vec<&str> = signed.split('.').collect();
    // {"alg":"none"}
    let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    assert_eq!(verified(&tokens, &none).await, Err(Refused::Unreadable("its header is none")));
}

#[tokio::test]
async fn a_token_for_another_purpose_is_refused() {
    let key = Key::named("a");
    let kept = Kept::new(&[&key]);
    let tokens = kept.tokens();
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "", "JWE"] {
        let header = Header { typ: Some(typ.to_owned()), ..key.header() };
        let refused = Err(Refused::Unreadable("it is of a type for another purpose"));
        assert_eq!(
            verified(&tokens, &encode(&header, &claims(), &key.signs).unwrap()).await,
            refused,
            "{typ}"
        );
    }
    let header = Header { crit: Some(vec!["exp".to_owned()]), ..key.header() };
    let refused = Err(Refused::Unreadable("its header holds what has to be understood"));
    assert_eq!(verified(&tokens, &encode(&header, &claims(), &key.signs).unwrap()).await, refused);
    let long = with("sub", json!("x".repeat(17_000)));
    let refused = Err(Refused::Unreadable("it is too long"));
    assert_eq!(verified(&tokens, &key.sign(&long)).await, refused);
    for text in ["a.b.c", "..", "eyJ9.e30.", "\u{e4}.\u{e4}.\u{e4}"] {
        assert!(matches!(verified(&tokens, text).await, Err(Refused::Unreadable(_))), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_soon_and_a_key_that_was_taken_out_of_it_ends() {
    let (old, new) = (Key::named("old"), Key::named("new"));
    let kept = Kept::new(&[&old]);
    let tokens = kept.tokens();
    assert!(verified(&tokens, &old.sign(&claims())).await.is_ok());
    kept.write(&[&new]);
    // Not at once, whatever name of a key is invented.
    assert_eq!(verified(&tokens, &new.sign(&claims())).await, Err(Refused::Signature));
    assert!(verified(&tokens, &old.sign(&claims())).await.is_ok());
    tokio::time::advance(Duration::from_secs(21)).await;
    assert_eq!(verified(&tokens, &old.sign(&claims())).await, Err(Refused::Signature));
    assert!(verified(&tokens, &new.sign(&claims())).await.is_ok());
    // Another key under the same name.
    let replaced = Key::named("new");
    kept.write(&[&replaced]);
    tokio::time::advance(Duration::from_secs(21)).await;
    assert!(verified(&tokens, &replaced.sign(&claims())).await.is_ok());
    assert_eq!(verified(&tokens, &new.sign(&claims())).await, Err(Refused::Signature));
    fs::remove_file(kept.path()).unwrap();
    tokio::time::advance(Duration::from_secs(21)).await;
    assert!(verified(&tokens, &replaced.sign(&claims())).await.is_ok(), "it may just be written anew");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(matches!(verified(&tokens, &replaced.sign(&claims())).await, Err(Refused::Keys(..))));
}

/// An issuer on this machine: what it answers at which path. Returns its address and how often it was asked.
fn issuer(answers: impl Fn(&str, &str) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let (own, asked) = (address.clone(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            count.fetch_add(1, Ordering::SeqCst);
            let path = head.split(' ').nth(1).unwrap_or_default();
            let _ = stream.write_all(answers(path, &own).as_bytes());
        }
    });
    (address, asked)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

const NOTHING: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What comes of a token once the keys of its issuer were read, which on a busy machine takes longer than a call waits.
async fn in_time(tokens: &WorkloadTokens, token: &str) -> Result<String, Refused> {
    for _ in 0..10 {
        match verified(tokens, token).await {
            Err(Refused::Keys(_, why)) if why.contains("not there in time") => {}
            ended => return ended,
        }
    }
    panic!("an issuer on this machine does not answer");
}

async fn said_of(address: &str, key: &Key) -> Result<String, Refused> {
    let tokens = WorkloadTokens::new(vec![Issuer::parse(address).unwrap()]);
    in_time(&tokens, &key.sign(&with("iss", json!(address)))).await
}

#[tokio::test]
async fn an_issuer_says_itself_where_its_keys_are() {
    for metadata_at in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let key = Key::named("a");
        let keys = json!({"keys": [key.public]}).to_string();
        let (address, asked) = issuer(move |path, own| match path {
            "/keys" => ok(&keys),
            path if path == metadata_at => {
                ok(&json!({"issuer": own, "jwks_uri": format!("{own}/keys")}).to_string())
            }
            _ => NOTHING.to_owned(),
        });
        let tokens = WorkloadTokens::new(vec![Issuer::parse(&address).unwrap()]);
        let token = key.sign(&with("iss", json!(address)));
        assert_eq!(in_time(&tokens, &token).await, Ok(format!("repo:acme/shop of {address}")));
        let after_first = asked.load(Ordering::SeqCst);
        // Kept, and whoever invents keys sends nobody around.
        let invented = Key::named("invented").sign(&with("iss", json!(address)));
        for _ in 0..5 {
            assert!(verified(&tokens, &token).await.is_ok());
            assert_eq!(verified(&tokens, &invented).await, Err(Refused::Signature));
        }
        assert_eq!(asked.load(Ordering::SeqCst), after_first);
    }
}

#[tokio::test]
async fn an_issuer_that_says_what_it_should_not_has_no_keys() {
    type Answers = fn(&str, &str) -> String;
    let cases: [(&str, Answers); 7] = [
        ("is the metadata of another issuer", |_, own| {
            ok(&json!({"issuer": format!("{own}/"), "jwks_uri": format!("{own}/keys")}).to_string())
        }),
        ("its jwks_uri is not https", |_, own| {
            ok(&json!({"issuer": own, "jwks_uri": "http://idp.example/keys"}).to_string())
        }),
        ("its jwks_uri is not https", |_, own| {
            ok(&json!({"issuer": own, "jwks_uri": "file:///etc/passwd"}).to_string())
        }),
        ("is no metadata of an issuer", |_, _| ok("<html>")),
        ("it has no metadata", |_, _| NOTHING.to_owned()),
        ("answers with 302", |_, own| {
            format!(
                "HTTP/1.1 302 Found\r\nlocation: {own}/else\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        }),
        ("is too large", |_, _| ok(&" ".repeat(300 * 1024))),
    ];
    for (why, answers) in cases {
        let (address, _) = issuer(answers);
        match said_of(&address, &Key::named("a")).await {
            Err(Refused::Keys(named, said)) => {
                assert_eq!(named, address);
                assert!(said.contains(why), "{said}");
            }
            other => panic!("{why}: {other:?}"),
        }
    }
}
