//! A login at a server: what an operator's browser is sent to, and what it brings back.
//!
//! ```text
//! placet mcp login ─begin─► discovery, registration ─► address with a state that works once ─► browser ─► authorization server
//!                  ─finish─► code, state, issuer ─► token endpoint ─► the vault
//! ```
//!
//! The state is ours, in memory and for a few minutes; the verifier of the code never leaves this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use placet_core::entropy::{Entropy, random_bytes};
use placet_core::secret::Secret;
use placet_core::text::visible;
use placet_core::time::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::discovery::{Found, Issuer, discover};
use super::kept::{Login, Tokens};
use super::outside::{Outside, is_here, shown};
use super::tokens::{Client, Proof, TokenEndpoint, fits};
use crate::mcp::catalogue::{Oauth, ServerName};

/// How long an operator may take in the browser.
const LOGIN_MAX: Duration = Duration::from_secs(10 * 60);
/// How many logins may be under way.
const LOGINS_MAX: usize = 16;
/// What makes an authorization server issue tokens that can be renewed, where it is known.
const OFFLINE: &str = "offline_access";

/// Logins that were begun.
#[derive(Default)]
pub(in crate::mcp) struct Logins(Mutex<HashMap<String, Begun>>);

/// One of them.
struct Begun {
    server: ServerName,
    until: Timestamp,
    redirect: String,
    verifier: Secret,
    issuer: String,
    /// Whether the issuer said that it names itself in what the browser brings back.
    names_itself: bool,
    endpoint: TokenEndpoint,
    registered: bool,
    scopes: Vec<String>,
    url: String,
}

/// Where an operator goes.
pub(in crate::mcp) struct Invitation {
    pub(in crate::mcp) address: String,
    pub(in crate::mcp) state: String,
    pub(in crate::mcp) issuer: String,
    pub(in crate::mcp) scopes: Vec<String>,
}

/// At which server, and as whom.
pub(in crate::mcp) struct Asked<'a> {
    pub(in crate::mcp) server: &'a ServerName,
    pub(in crate::mcp) url: &'a str,
    pub(in crate::mcp) oauth: &'a Oauth,
    /// The client's secret, if it has one.
    pub(in crate::mcp) secret: Option<Secret>,
    /// What was granted before, or is known to be lacking.
    pub(in crate::mcp) scopes: Vec<String>,
    /// Where the browser comes back to: on the operator's machine.
    pub(in crate::mcp) redirect: &'a str,
}

impl Logins {
    /// Begins one.
    pub(in crate::mcp) async fn begin(
        &self,
        asked: Asked<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Invitation, String> {
        let server = Url::parse(asked.url).map_err(|_| "its url is no address".to_owned())?;
        let back = Url::parse(asked.redirect).ok().filter(|back| back.scheme() == "http" && is_here(back));
        if back.is_none_or(|back| back.query().is_some()) {
            return Err("the browser has to come back to this machine: http://127.0.0.1:PORT/".to_owned());
        }
        let named = asked.oauth.issuer.as_deref().and_then(|issuer| Url::parse(issuer).ok());
        let outside = Outside::of(&server, named.as_ref());
        let Found { resource, scopes, issuer } = discover(&outside, &server, asked.oauth).await?;
        // What its policy says is what there is.
        let before = if asked.oauth.scopes.is_empty() { asked.scopes } else { Vec::new() };
        let scopes = wanted(scopes, before, &issuer);
        let authorize = issuer.authorization_endpoint.as_deref();
        let authorize =
            outside.admitted(authorize.ok_or("its authorization server asks nobody in a browser")?)?;
        if !issuer.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            return Err(format!("{} does not say that it proves codes (PKCE, S256)", issuer.issuer));
        }
        let (client, registered) = match &asked.oauth.client_id {
            Some(id) => {
                let with_secret = [Proof::ClientSecretBasic, Proof::ClientSecretPost];
                let allowed = if asked.secret.is_some() { with_secret.as_slice() } else { &[Proof::None] };
                // A client without a secret has nothing to prove with, whatever else is taken.
                let proof = if asked.secret.is_some() { Proof::at(&issuer, allowed)? } else { Proof::None };
                (Client { id: id.clone(), secret: asked.secret, proof }, false)
            }
            None => (register(&outside, &issuer, asked.redirect, &scopes).await?, true),
        };
        let (state, verifier) = (chance(entropy), chance(entropy));
        let address = address(&authorize, &client, asked.redirect, &state, &verifier, &scopes, &resource)?;
        let endpoint =
            TokenEndpoint { url: outside.admitted(&issuer.token_endpoint)?, outside, resource, client };
        let begun = Begun {
            server: asked.server.clone(),
            until: now.plus(LOGIN_MAX),
            redirect: asked.redirect.to_owned(),
            verifier: Secret::new(verifier),
            issuer: issuer.issuer.clone(),
            names_itself: issuer.authorization_response_iss_parameter_supported,
            endpoint,
            registered,
            scopes: scopes.clone(),
            url: asked.url.to_owned(),
        };
        self.keep(state.clone(), begun, now)?;
        Ok(Invitation { address, state, issuer: issuer.issuer, scopes })
    }

    fn keep(&self, state: String, begun: Begun, now: Timestamp) -> Result<(), String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, begun| now < begun.until);
        if all.len() >= LOGINS_MAX {
            return Err("too many logins are under way: finish one, or wait ten minutes".to_owned());
        }
        all.insert(state, begun);
        Ok(())
    }

    /// Finishes one, with the address that the browser came back to. Its state works once, whatever comes of it.
    pub(in crate::mcp) async fn finish(
        &self,
        server: &ServerName,
        returned: &str,
        now: Timestamp,
    ) -> Result<Login, String> {
        let returned = Returned::read(returned)?;
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&returned.state);
        let begun = begun
            .filter(|begun| begun.server == *server && now < begun.until && begun.redirect == returned.to);
        let begun =
            begun.ok_or("no login waits for this: it was used, is over, or began elsewhere; begin anew")?;
        match &returned.issuer {
            Some(issuer) if *issuer != begun.issuer => {
                return Err(format!(
                    "the browser comes from {}, and not from {}",
                    visible(issuer),
                    begun.issuer
                ));
            }
            None if begun.names_itself => {
                return Err(format!("the browser does not say that it comes from {}", begun.issuer));
            }
            _ => {}
        }
        let code =
            returned.code.map_err(|error| format!("the authorization server says {}", visible(&error)))?;
        let issued = begun.endpoint.by_code(&code, &begun.verifier, &begun.redirect).await;
        let issued = issued.map_err(|why| why.reason())?;
        let TokenEndpoint { url, resource, client, .. } = begun.endpoint;
        Ok(Login {
            url: begun.url,
            resource,
            issuer: begun.issuer,
            token_endpoint: url.to_string(),
            // A secret of the vault stays there alone.
            client: Client { secret: client.secret.filter(|_| begun.registered), ..client },
            scopes: issued.scopes.clone().unwrap_or(begun.scopes),
            tokens: Some(Tokens::of(issued, None, now)),
        })
    }
}

/// What the tokens should be good for: what the server wants, what was granted before, and to be renewed.
fn wanted(mut scopes: Vec<String>, before: Vec<String>, issuer: &Issuer) -> Vec<String> {
    let offline = issuer.scopes_supported.iter().any(|scope| scope == OFFLINE).then(|| OFFLINE.to_owned());
    for scope in before.into_iter().chain(offline) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

fn chance(entropy: &dyn Entropy) -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<32>(entropy))
}

fn address(
    authorize: &Url,
    client: &Client,
    redirect: &str,
    state: &str,
    verifier: &str,
    scopes: &[String],
    resource: &str,
) -> Result<String, String> {
    let redirect =
        RedirectUrl::new(redirect.to_owned()).map_err(|_| "the redirect is no address".to_owned())?;
    let known = BasicClient::new(ClientId::new(client.id.clone()))
        .set_auth_uri(AuthUrl::from_url(authorize.clone()))
        .set_redirect_uri(redirect);
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.to_owned()));
    let mut asked = known
        .authorize_url(|| CsrfToken::new(state.to_owned()))
        .add_scopes(scopes.iter().cloned().map(Scope::new))
        .set_pkce_challenge(challenge)
        .add_extra_param("resource", resource);
    if scopes.iter().any(|scope| scope == OFFLINE) {
        // OpenID Connect ignores the scope otherwise.
        asked = asked.add_extra_param("prompt", "consent");
    }
    Ok(asked.url().0.to_string())
}

/// Introduces placet to an authorization server that knows no client of ours (RFC 7591). Anew for each login: some hold a
/// client to the port that it named.
async fn register(
    outside: &Outside,
    issuer: &Issuer,
    redirect: &str,
    scopes: &[String],
) -> Result<Client, String> {
    #[derive(Deserialize)]
    struct Registered {
        client_id: String,
        #[serde(default)]
        client_secret: Option<String>,
        #[serde(default)]
        token_endpoint_auth_method: Option<Proof>,
    }
    let Some(endpoint) = &issuer.registration_endpoint else {
        return Err(format!(
            "{} registers nobody by itself: register placet there, and name it with client_id in the policy",
            issuer.issuer
        ));
    };
    let url = outside.admitted(endpoint)?;
    let proof = Proof::at(issuer, &[Proof::ClientSecretBasic, Proof::ClientSecretPost, Proof::None])?;
    let mut client = json!({
        "client_name": "placet",
        "application_type": "native",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": proof.as_str(),
    });
    if let Some(members) = client.as_object_mut().filter(|_| !scopes.is_empty()) {
        members.insert("scope".to_owned(), scopes.join(" ").into());
    }
    let (status, body) = outside.call(&url, |http| http.post(url.clone()).json(&client).build()).await?;
    if !status.is_success() {
        return Err(format!("{} does not register placet ({status})", shown(&url)));
    }
    let unreadable = |_| format!("{} did not say how placet is registered", shown(&url));
    let registered: Registered = serde_json::from_slice(&body).map_err(unreadable)?;
    let secret = registered.client_secret.filter(|secret| !secret.is_empty()).map(Secret::new);
    if secret.as_ref().is_some_and(|secret| !fits(secret.expose())) {
        return Err(format!("{} gave placet a secret that is too short or too long", shown(&url)));
    }
    let proof = match (&secret, registered.token_endpoint_auth_method.unwrap_or(proof)) {
        (None, _) => Proof::None,
        (Some(_), proof) => proof,
    };
    Ok(Client { id: registered.client_id, secret, proof })
}

/// What a browser brought back.
struct Returned {
    to: String,
    state: String,
    issuer: Option<String>,
    /// The code, or what is wrong.
    code: Result<String, String>,
}

impl Returned {
    fn read(address: &str) -> Result<Self, String> {
        let unusable =
            || "this is not the address that the browser came back to: it has a code and a state".to_owned();
        let mut url = Url::parse(address.trim()).map_err(|_| unusable())?;
        let mut parts = HashMap::new();
        for (name, value) in url.query_pairs() {
            // Whichever of two were meant, somebody else could mean the other.
            if parts.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(unusable());
            }
        }
        url.set_query(None);
        url.set_fragment(None);
        let state = parts.remove("state").ok_or_else(unusable)?;
        let code = match (parts.remove("error"), parts.remove("code")) {
            (Some(error), _) => Err(error),
            (None, Some(code)) if !code.is_empty() => Ok(code),
            (None, _) => return Err(unusable()),
        };
        Ok(Returned { to: url.to_string(), state, issuer: parts.remove("iss"), code })
    }
}
