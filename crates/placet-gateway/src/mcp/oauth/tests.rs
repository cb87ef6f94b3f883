//! What becomes of a token that was issued and could not be kept: it is not used before it is.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::Router;
use futures::future::BoxFuture;
use placet_core::action::Principal;
use placet_core::c14n::Value;
use placet_core::directory::Operator;
use placet_core::id::RequestId;
use placet_core::time::Timestamp;
use placet_testkit::ManualClock;

use super::*;
use crate::authority::{AuthorityError, Shown};
use crate::mcp::catalogue::Catalogue;

/// A vault that may be full.
#[derive(Default)]
struct Vault {
    full: AtomicBool,
    kept: Mutex<Vec<Login>>,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, AuthorityError>>;

impl ToolSource for Vault {
    fn renew_login(&self, _: SecretVersion, login: Secret) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.full.load(Ordering::Relaxed) {
                return Err(AuthorityError::new(AuthorityErrorKind::Unavailable, "unavailable", "full"));
            }
            self.kept.lock().unwrap().push(Login::from_secret(&login).unwrap());
            Ok(())
        })
    }

    fn tools(&self) -> Answer<'_, Arc<Catalogue>> {
        panic!("nobody asks")
    }
    fn callable(&self, _: Principal, _: Vec<Value>) -> Answer<'_, Vec<bool>> {
        panic!("nobody asks")
    }
    fn secret_versions(&self, _: Vec<String>) -> Answer<'_, Vec<SecretVersion>> {
        panic!("nobody asks")
    }
    fn server_secrets(&self, _: Vec<SecretVersion>) -> Answer<'_, ServerSecrets> {
        panic!("nobody asks")
    }
    fn set_login(&self, _: Operator, _: String, _: Secret) -> Answer<'_, SecretVersion> {
        panic!("nobody asks")
    }
    fn requests(&self, _: Principal, _: Option<RequestId>, _: usize) -> Answer<'_, Vec<Shown>> {
        panic!("nobody asks")
    }
    fn delivered(&self, _: Principal, _: RequestId) -> Answer<'_, Option<Vec<u8>>> {
        panic!("nobody asks")
    }
}

/// An authorization server that takes each token that renews once, and counts.
async fn issuer() -> (String, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let issued = Arc::new(AtomicU32::new(0));
    let counted = issued.clone();
    let token = axum::routing::post(async move |body: String| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        if !body.contains(&format!("refresh_token=refresh-{number}")) {
            return (axum::http::StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#.to_owned());
        }
        let next = number + 1;
        let issued = format!(
            r#"{{"access_token":"access-{next}","refresh_token":"refresh-{next}","token_type":"bearer","expires_in":300}}"#
        );
        (axum::http::StatusCode::OK, issued)
    });
    tokio::spawn(async { axum::serve(listener, Router::new().fallback_service(token)).await });
    (url, issued)
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_used_and_not_lost() {
    let (issuer, issued) = issuer().await;
    let (vault, clock) =
        (Arc::new(Vault::default()), Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000))));
    let url = format!("{issuer}/mcp");
    let login = Login {
        url: url.clone(),
        resource: url.clone(),
        issuer: issuer.clone(),
        token_endpoint: format!("{issuer}/token"),
        client: Client { id: "placet".into(), secret: None, proof: Proof::None },
        scopes: Vec::new(),
        tokens: Some(Tokens {
            access: Secret::new("access-0"),
            refresh: Some(Secret::new("refresh-0")),
            until: Some(clock.now().plus(Duration::from_secs(300))),
        }),
    };
    let files = [("mcp/git.toml".to_owned(), format!("url = {url:?}\n[oauth]\n"))];
    let files = files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let bundle = placet_core::digest::BundleDigest::from_bytes([0; 32]);
    let catalogue = Catalogue::read(bundle, files).unwrap();
    let server = catalogue.servers().next().unwrap();
    let version = SecretVersion { name: server.login(), version: 1 };
    let secrets = ServerSecrets::from([(server.login(), (version, login.to_secret().unwrap()))]);
    let oauth = server.oauth().unwrap();
    let opened = Credential::open(server, &url, oauth, &secrets, vault.clone(), clock.clone()).await.unwrap();
    let credential = Arc::new(opened);
    let token =
        async || credential.token().await.map(|token| String::from_utf8(token.expose().to_vec()).unwrap());

    assert_eq!(token().await.unwrap(), "access-0");
    clock.advance(Duration::from_secs(241));
    vault.full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let refused = token().await.unwrap_err();
        assert!(refused.contains("could not be kept"), "{refused}");
    }
    assert_eq!(issued.load(Ordering::Relaxed), 1, "what was issued once is not asked for again");
    vault.full.store(false, Ordering::Relaxed);
    assert_eq!(token().await.unwrap(), "access-1");
    let kept = vault.kept.lock().unwrap().last().cloned().unwrap();
    assert_eq!(kept.tokens.unwrap().refresh, Some(Secret::new("refresh-1")));
    assert_eq!(token().await.unwrap(), "access-1");
    // Who was slower is given what was issued for the first.
    assert_eq!(credential.token_after(&Secret::new("access-0")).await.unwrap(), Secret::new("access-1"));
    assert_eq!(credential.token_after(&Secret::new("access-1")).await.unwrap(), Secret::new("access-2"));
    // Whatever was in use is still looked for in results.
    let seen = credential.secrets();
    assert!(["access-0", "access-1", "refresh-2"].iter().all(|one| seen.contains(&Secret::new(*one))));
    // Another login takes its place: this one renews nothing any more, and keeps nothing.
    credential.retire().await;
    clock.advance(Duration::from_secs(300));
    assert!(token().await.unwrap_err().contains("try again"));
    assert_eq!((issued.load(Ordering::Relaxed), vault.kept.lock().unwrap().len()), (2, 2));
}
