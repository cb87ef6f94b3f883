//! The calls of an authorization server's token endpoint, in the words of the `oauth2` crate, over our own client.

use std::time::Duration;

use axum::http::Response;
use futures::future::BoxFuture;
use oauth2::basic::{
    BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    TokenResponse, TokenUrl,
};
use placet_core::secret::Secret;
use placet_core::text::visible;
use reqwest::{Request, Url};
use serde::{Deserialize, Serialize};

use super::discovery::{Issuer, words};
use super::outside::{Outside, shown};

/// A shorter token could not be found in a result without finding it everywhere.
const TOKEN_BYTES_MIN: usize = 6;
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How many characters of an error's code are shown.
const CODE_MAX: usize = 64;

/// Who placet is to an authorization server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<Secret>,
    pub(super) proof: Proof,
}

/// How a client proves who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proof {
    ClientSecretBasic,
    ClientSecretPost,
    None,
}

impl Proof {
    /// The name in metadata and registrations.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Proof::ClientSecretBasic => "client_secret_basic",
            Proof::ClientSecretPost => "client_secret_post",
            Proof::None => "none",
        }
    }

    /// The best of those that an authorization server takes, with or without a secret.
    pub(super) fn at(issuer: &Issuer, allowed: &[Proof]) -> Result<Proof, String> {
        let taken = &issuer.token_endpoint_auth_methods_supported;
        // Said by nobody, it is this one.
        let takes = |proof: Proof| match taken.is_empty() {
            true => proof != Proof::ClientSecretPost,
            false => taken.iter().any(|name| name == proof.as_str()),
        };
        let found = allowed.iter().copied().find(|proof| takes(*proof));
        found.ok_or_else(|| format!("{} takes no proof of a client that placet can give", issuer.issuer))
    }
}

/// What was issued.
pub(super) struct Issued {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    pub(super) lives: Option<Duration>,
    /// What it is good for, if that is not what was asked for.
    pub(super) scopes: Option<Vec<String>>,
}

/// Why nothing was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoToken {
    /// It was refused, and will be again.
    Refused(String),
    /// It may work another time.
    NotNow(String),
}

impl NoToken {
    pub(super) fn reason(self) -> String {
        match self {
            NoToken::Refused(why) | NoToken::NotNow(why) => why,
        }
    }
}

/// Where tokens come from, and what for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TokenEndpoint {
    pub(super) outside: Outside,
    pub(super) url: Url,
    pub(super) resource: String,
    pub(super) client: Client,
}

type Known = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;
type Refused = RequestTokenError<Unsent, BasicErrorResponse>;

/// A call that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsent(String);

impl TokenEndpoint {
    /// For what an operator's browser brought back.
    pub(super) async fn by_code(
        &self,
        code: &str,
        verifier: &Secret,
        redirect: &str,
    ) -> Result<Issued, NoToken> {
        let redirect = RedirectUrl::new(redirect.to_owned());
        let redirect = redirect.map_err(|_| NoToken::Refused("the redirect is no address".to_owned()))?;
        let known = self.known().set_redirect_uri(redirect);
        let call = known.exchange_code(AuthorizationCode::new(code.to_owned()));
        let call = call.set_pkce_verifier(PkceCodeVerifier::new(text(verifier)));
        let call = call.add_extra_param("resource", self.resource.as_str());
        issued(call.request_async(self).await)
    }

    /// For a token that is good for another one.
    pub(super) async fn by_refresh(&self, refresh: &Secret) -> Result<Issued, NoToken> {
        let (known, refresh) = (self.known(), RefreshToken::new(text(refresh)));
        let call = known.exchange_refresh_token(&refresh).add_extra_param("resource", self.resource.as_str());
        issued(call.request_async(self).await)
    }

    /// For who placet is.
    pub(super) async fn by_credentials(&self, scopes: &[String]) -> Result<Issued, NoToken> {
        let known = self.known();
        let call = known.exchange_client_credentials().add_scopes(scopes.iter().cloned().map(Scope::new));
        let call = call.add_extra_param("resource", self.resource.as_str());
        issued(call.request_async(self).await)
    }

    fn known(&self) -> Known {
        let known = BasicClient::new(ClientId::new(self.client.id.clone()));
        let known = known.set_token_uri(TokenUrl::from_url(self.url.clone()));
        let known = known.set_auth_type(match self.client.proof {
            Proof::ClientSecretBasic => AuthType::BasicAuth,
            Proof::ClientSecretPost | Proof::None => AuthType::RequestBody,
        });
        match &self.client.secret {
            Some(secret) if self.client.proof != Proof::None => {
                known.set_client_secret(ClientSecret::new(text(secret)))
            }
            _ => known,
        }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Unsent> {
        let (status, body) =
            self.outside.call(&self.url, |_| Request::try_from(request)).await.map_err(Unsent)?;
        let answered = Response::builder().status(status).body(body);
        answered.map_err(|_| Unsent(format!("{} gave no answer", shown(&self.url))))
    }
}

impl<'a> AsyncHttpClient<'a> for TokenEndpoint {
    type Error = Unsent;
    type Future = BoxFuture<'a, Result<HttpResponse, Unsent>>;

    fn call(&'a self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

fn text(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.expose()).into_owned()
}

/// Whether a secret that others made up is long enough to be looked for in what they answer.
pub(super) fn fits(secret: &[u8]) -> bool {
    (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&secret.len())
}

fn issued(answer: Result<BasicTokenResponse, Refused>) -> Result<Issued, NoToken> {
    let answer = answer.map_err(refused)?;
    if *answer.token_type() != BasicTokenType::Bearer {
        return Err(NoToken::Refused("its tokens are of a kind that placet cannot carry".to_owned()));
    }
    let access = answer.access_token().secret();
    if !fits(access.as_bytes()) || !access.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NoToken::Refused("its token fits no header".to_owned()));
    }
    let refresh = answer.refresh_token().map(|refresh| refresh.secret().as_bytes());
    if refresh.is_some_and(|refresh| !fits(refresh)) {
        return Err(NoToken::NotNow("its token for renewal is too short or too long".to_owned()));
    }
    Ok(Issued {
        access: Secret::new(access.as_bytes()),
        refresh: refresh.map(Secret::new),
        lives: answer.expires_in(),
        scopes: answer.scopes().map(|scopes| scopes.iter().flat_map(|scope| words(scope)).collect()),
    })
}

/// In words of ours: what an authorization server wrote may hold what it was sent.
fn refused(error: Refused) -> NoToken {
    use BasicErrorResponseType::InvalidGrant;
    match error {
        RequestTokenError::Request(Unsent(why)) => NoToken::NotNow(why),
        RequestTokenError::ServerResponse(answer) => {
            let code: String = answer.error().to_string().chars().take(CODE_MAX).collect();
            let why = format!("the authorization server says {}", visible(&code));
            match answer.error() {
                InvalidGrant => NoToken::Refused(why),
                // Whatever else is wrong with how placet asks, the login may still be good.
                _ => NoToken::NotNow(why),
            }
        }
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            NoToken::NotNow("what the authorization server answered is no token".to_owned())
        }
    }
}
