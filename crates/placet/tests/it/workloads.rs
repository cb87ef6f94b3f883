//! Agents that call with tokens which their platform signed.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Options, Placet};
use crate::people::deploy;

const ISSUER: &str = "https://token.actions.example";
const SUBJECT: &str = "repo:acme/shop:environment:production";

/// A platform whose keys are in a file.
struct Platform {
    directory: TempDir,
    key: EncodingKey,
}

impl Platform {
    fn new() -> Self {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(made.as_ref());
        let directory = TempDir::new().unwrap();
        let public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        fs::write(directory.path().join("keys.json"), json!({ "keys": [public] }).to_string()).unwrap();
        Platform { directory, key }
    }

    fn keys(&self) -> String {
        self.directory.path().join("keys.json").display().to_string()
    }

    /// A placet that trusts it.
    fn trusted(&self) -> Placet {
        Options::default().env("PLACET__AGENTS__ISSUERS", &format!("{ISSUER}={}", self.keys())).start()
    }

    fn token(&self, audience: &str, subject: &str) -> String {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        self.sign(&json!({ "iss": ISSUER, "sub": subject, "aud": audience, "exp": now + 600 }))
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::ES256), claims, &self.key).unwrap()
    }
}

fn added(placet: &Placet, name: &str) -> String {
    let who =
        ["agent", "add", name, "--sponsor", "Ada", "--pipeline", "--issuer", ISSUER, "--subject", SUBJECT];
    placet.cli(who).succeeds()
}

#[track_caller]
fn refused(placet: &Placet, token: &str, why: &str) {
    let answer = placet.agents().bearer(Some(token)).post("/v1/requests", &deploy("staging", "1"));
    answer.problem(401, "unauthenticated");
    assert!(answer.json()["detail"].as_str().unwrap().contains(why), "{}", answer.text());
    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"placet agents\"");
}

#[test]
fn a_workload_asks_with_the_token_of_its_platform_and_has_none_of_placets() {
    let platform = Platform::new();
    let placet = platform.trusted();
    let said = added(&placet, "shop-ci");
    assert!(!said.contains("placet_agent_") && said.contains(SUBJECT), "{said}");
    let agents = placet.cli(["agent", "ls"]).json();
    let agent = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "shop-ci").unwrap();
    assert_eq!(agent["workload"], json!({ "issuer": ISSUER, "subject": SUBJECT }));

    let ask = |placet: &Placet, version: &str| {
        let token = platform.token(&placet.ready.agents, SUBJECT);
        placet
            .agents()
            .bearer(Some(&token))
            .post("/v1/requests", &deploy("staging", version))
            .expect(201)
            .json()
    };
    let request = ask(&placet, "1");
    assert_eq!(request["principal"]["name"], "shop-ci", "{request}");
    assert_eq!(request["status"], "granted");

    // It is somebody still after a restart, and nobody once it is revoked.
    let placet = placet.stop().start();
    assert_eq!(ask(&placet, "2")["principal"]["id"], request["principal"]["id"]);
    let token = platform.token(&placet.ready.agents, SUBJECT);
    placet.cli(["agent", "revoke", "shop-ci"]).succeeds();
    refused(&placet, &token, "no active agent is its subject");
    // Another agent may be it then. It has no token that could be replaced.
    added(&placet, "shop-ci-2");
    assert_eq!(ask(&placet, "3")["principal"]["name"], "shop-ci-2");
    placet.cli(["agent", "rotate", "shop-ci-2"]).fails(77, "has none of placet's");
}

#[test]
fn a_token_opens_what_it_was_issued_for() {
    let platform = Platform::new();
    let placet = platform.trusted();
    added(&placet, "shop-ci");
    let door = placet.ready.agents.clone();
    let tools = |audience: &str, path: &str| {
        let token = platform.token(audience, SUBJECT);
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        let mcp =
            placet.agents().bearer(Some(&token)).header("accept", "application/json, text/event-stream");
        mcp.post(path, &ping)
    };
    for audience in [door.clone(), format!("{door}/"), format!("{door}/mcp")] {
        assert_eq!(tools(&audience, "/mcp").expect(200).json()["result"], json!({}), "{audience}");
    }
    tools(&format!("{door}/mcp/files"), "/mcp/files").expect(200);
    for (audience, path) in [
        (format!("{door}/mcp/files"), "/mcp/%66iles"),
        (format!("{door}/mcp/files"), "/mcp"),
        (format!("{door}/mcp/files"), "/mcp/git"),
        ("https://elsewhere.example".to_owned(), "/mcp"),
    ] {
        let answer = tools(&audience, path);
        answer.problem(401, "unauthenticated");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(
            path.contains('%')
                || challenge.contains(&format!("{door}/.well-known/oauth-protected-resource{path}")),
            "{challenge}"
        );
    }
    refused(&placet, &platform.token(&format!("{door}/mcp"), SUBJECT), "another audience");
    let metadata =
        placet.agents().bearer(None).get("/.well-known/oauth-protected-resource/mcp/files").expect(200);
    assert_eq!(metadata.json()["authorization_servers"], json!([ISSUER]));
}

#[test]
fn a_token_of_nobody_that_is_known_opens_nothing() {
    let (platform, other) = (Platform::new(), Platform::new());
    let placet = platform.trusted();
    added(&placet, "shop-ci");
    let door = placet.ready.agents.clone();
    refused(
        &placet,
        &platform.token(&door, "repo:acme/shop:environment:staging"),
        "no active agent is its subject",
    );
    refused(&placet, &other.token(&door, SUBJECT), "No key of its issuer signed it.");
    let of = |issuer: &str| {
        platform.sign(&json!({ "iss": issuer, "sub": SUBJECT, "aud": door, "exp": 4_000_000_000_u64 }))
    };
    refused(&placet, &of("https://token.actions.example.evil.example"), "agents.issuers");
    refused(
        &placet,
        &platform.sign(&json!({ "iss": ISSUER, "sub": SUBJECT, "aud": door, "exp": 1 })),
        "expired",
    );
    // It is an agent's token at most: neither people nor enforcement points are recognised by one.
    let token = platform.token(&door, SUBJECT);
    placet.reviewers(Some(&token)).get("/v1/reviews").problem(401, "unauthenticated");
    placet.agents().bearer(Some(&token)).get("/v1/pep").problem(401, "unauthenticated");
    // Where nobody is trusted, nothing of this is looked at.
    let alone = Placet::start();
    refused(&alone, &token, "This token opens nothing here.");
    let sponsor = ["agent", "add", "shop-ci", "--sponsor", "Ada", "--issuer", ISSUER, "--subject", SUBJECT];
    alone.cli(sponsor).fails(64, "agents.issuers");
}

#[test]
fn without_the_keys_of_an_issuer_its_tokens_wait_and_others_do_not() {
    let platform = Platform::new();
    let placet = platform.trusted();
    added(&placet, "shop-ci");
    fs::remove_file(Path::new(&platform.keys())).unwrap();
    let token = platform.token(&placet.ready.agents, SUBJECT);
    let answer = placet.agents().bearer(Some(&token)).post("/v1/requests", &deploy("staging", "1"));
    answer.problem(503, "issuer_unavailable");
    placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201);
    let doctor =
        placet.cli(["doctor"]).env("PLACET__AGENTS__ISSUERS", format!("{ISSUER}={}", platform.keys())).run();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains(&format!("issuer {ISSUER}")) && said.contains("its keys cannot be read"), "{said}");
}

#[test]
fn who_a_workload_is_is_said_whole_and_once() {
    let platform = Platform::new();
    let placet = platform.trusted();
    // Also of an agent whose sponsor has gone.
    placet.add_person("Grace", &[]);
    let theirs = ["agent", "add", "shop-ci", "--sponsor", "Grace", "--issuer", ISSUER, "--subject", SUBJECT];
    placet.cli(theirs).succeeds();
    placet.cli(["person", "disable", "Grace"]).succeeds();
    refused(&placet, &platform.token(&placet.ready.agents, SUBJECT), "no active agent is its subject");
    let again = ["agent", "add", "other", "--sponsor", "Ada", "--issuer", ISSUER, "--subject", SUBJECT];
    placet.cli(again).fails(77, "shop-ci is that workload already");
    placet.cli(["agent", "add", "half", "--sponsor", "Ada", "--issuer", ISSUER]).fails(64, "--subject");
    let long = "x".repeat(257);
    let subject = ["agent", "add", "long", "--sponsor", "Ada", "--issuer", ISSUER, "--subject", &long];
    placet.cli(subject).fails(64, "256 bytes");
}
