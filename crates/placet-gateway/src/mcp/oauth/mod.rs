//! placet as a client of the authorization servers that issue tokens for servers of tools.
//!
//! An operator logs in once ([`login`]), or placet's own client credentials are enough. From then on a [`Credential`] has a
//! token for every call: renewed before it ends, once at a time, and kept in the vault before it is used. A token is sent
//! to the server it was issued for and to nobody else; what others named is called by the rules of [`outside`].
//!
//! ```text
//! call ─► token? ── good for a while ──────────────────────────────► sent
//!           └────── ends, or the server says 401 ─► renew ─► vault ─┘
//!                                                     └─ refused ─► "placet mcp login", nothing is sent
//! ```

mod discovery;
mod kept;
mod login;
mod outside;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::action::SecretVersion;
use placet_core::secret::Secret;
use placet_core::time::Clock;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use self::discovery::{Challenge, discover};
use self::kept::Tokens;
use self::outside::Outside;
use self::tokens::{Client, Issued, NoToken, Proof, TokenEndpoint};
use super::catalogue::{Oauth, OauthGrant, Server, ServerName};
use super::upstream::shows_any;
use super::{ServerSecrets, ToolSource};
use crate::authority::AuthorityErrorKind;

pub(super) use self::kept::Login;
pub(super) use self::login::{Asked, Logins};
pub(super) use self::outside::is_protected;

/// A token is renewed this long before it ends: what is sent has to arrive with it.
const MARGIN: Duration = Duration::from_secs(60);
/// For this long a token is new: one that lives shorter than the margin is used, and where one was refused the next would
/// be, too.
const NEW_FOR: Duration = Duration::from_secs(10);
const USELESS: &str = "the server refuses a new token";
/// How many tokens that were in use are still looked for in what a server answers.
const SEEN_MAX: usize = 8;
/// How many scopes are taken from one refusal.
const SCOPES_MAX: usize = 16;
const SCOPE_BYTES_MAX: usize = 128;

/// Who placet is at one server: the same for all connections to it, as a token is renewed once at a time.
pub(super) struct Credential {
    server: ServerName,
    grant: OauthGrant,
    endpoint: TokenEndpoint,
    /// Under which version of the vault it is kept. None: nothing of it is.
    kept_as: Option<SecretVersion>,
    held: Arc<tokio::sync::Mutex<Held>>,
    seen: Mutex<Vec<Secret>>,
    lacking: Mutex<Vec<String>>,
    /// The token that the server refused although it was new, and when.
    useless: Mutex<Option<(Instant, Secret)>>,
    source: Arc<dyn ToolSource>,
    clock: Arc<dyn Clock>,
}

struct Held {
    login: Login,
    /// What was issued last is in the vault.
    saved: bool,
    /// Another credential took its place: this one renews nothing any more.
    retired: bool,
    /// When a token was issued last, while this process runs.
    issued_at: Option<Instant>,
    /// When none was issued, and why.
    failed: Option<(Instant, String)>,
}

impl Held {
    /// Whether its token was issued just now.
    fn is_new(&self) -> bool {
        self.issued_at.is_some_and(|at| at.elapsed() < NEW_FOR)
    }
}

impl Credential {
    /// Reads the login at a server, or finds out where placet's own credentials are good.
    pub(super) async fn open(
        server: &Server,
        url: &str,
        oauth: &Oauth,
        secrets: &ServerSecrets,
        source: Arc<dyn ToolSource>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let address = Url::parse(url).map_err(|_| "its url is no address".to_owned())?;
        let issuer = oauth.issuer.as_deref().and_then(|issuer| Url::parse(issuer).ok());
        let outside = Outside::of(&address, issuer.as_ref());
        let secret = of_client(oauth, secrets)?;
        let (login, kept_as) = match oauth.grant {
            OauthGrant::Login => {
                let (version, kept) = secrets.get(&server.login()).ok_or_else(|| {
                    format!(
                        "nobody has logged in there: ask an operator to run `placet mcp login {}`",
                        server.name
                    )
                })?;
                (Login::from_secret(kept)?, Some(version.clone()))
            }
            OauthGrant::ClientCredentials => {
                (own(&outside, &address, url, oauth, secret.clone()).await?, None)
            }
        };
        let elsewhere = login.url != url
            || oauth.issuer.as_ref().is_some_and(|issuer| *issuer != login.issuer)
            || oauth.client_id.as_ref().is_some_and(|id| *id != login.client.id);
        if elsewhere {
            return Err(format!(
                "its policy has changed since somebody logged in there: ask an operator to run `placet mcp login {}`",
                server.name
            ));
        }
        let client = Client { secret: login.client.secret.clone().or(secret), ..login.client.clone() };
        let token_endpoint = outside.admitted(&login.token_endpoint)?;
        let endpoint =
            TokenEndpoint { url: token_endpoint, outside, resource: login.resource.clone(), client };
        let credential = Credential {
            server: server.name.clone(),
            grant: oauth.grant,
            endpoint,
            kept_as,
            held: Arc::new(tokio::sync::Mutex::new(Held {
                login: login.clone(),
                saved: true,
                retired: false,
                issued_at: None,
                failed: None,
            })),
            seen: Mutex::default(),
            lacking: Mutex::default(),
            useless: Mutex::default(),
            source,
            clock,
        };
        credential.remember_tokens(&login);
        Ok(credential)
    }

    /// The token for a call.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Secret, String> {
        let asked = Instant::now();
        let held = self.held.clone().lock_owned().await;
        let now = self.clock.now();
        // One that lives shorter than the margin is used as long as it is new.
        let margin = if held.is_new() { Duration::ZERO } else { MARGIN };
        match &held.login.tokens {
            Some(Tokens { access, until, .. })
                if held.saved && until.is_none_or(|until| now.plus(margin) < until) =>
            {
                Ok(access.clone())
            }
            _ => self.renewed(held, asked).await,
        }
    }

    /// Another token than one that a server refused.
    pub(super) async fn token_after(self: &Arc<Self>, refused: &Secret) -> Result<Secret, String> {
        let asked = Instant::now();
        let held = self.held.clone().lock_owned().await;
        match &held.login.tokens {
            // Somebody else was faster.
            Some(Tokens { access, .. }) if held.saved && access != refused => Ok(access.clone()),
            Some(_) if held.saved && self.is_useless(refused) => Err(self.ended(USELESS)),
            _ => self.renewed(held, asked).await,
        }
    }

    /// What to say when a server refuses a token that was just issued. For a while none is issued for it again: a server that
    /// takes no token at all is not to cost a renewal for each call.
    pub(super) fn refused_although_new(&self, token: &Secret) -> String {
        let useless = Some((Instant::now(), token.clone()));
        *self.useless.lock().unwrap_or_else(PoisonError::into_inner) = useless;
        self.ended(USELESS)
    }

    fn is_useless(&self, token: &Secret) -> bool {
        let useless = self.useless.lock().unwrap_or_else(PoisonError::into_inner);
        useless.as_ref().is_some_and(|(at, useless)| useless == token && at.elapsed() < NEW_FOR)
    }

    /// In a task of its own: what was issued may not be lost because a client hung up.
    async fn renewed(
        self: &Arc<Self>,
        held: OwnedMutexGuard<Held>,
        asked: Instant,
    ) -> Result<Secret, String> {
        let credential = self.clone();
        let renewing = tokio::spawn(async move { credential.renew(held, asked).await });
        renewing.await.unwrap_or_else(|_| Err("placet failed while it renewed its token".to_owned()))
    }

    async fn renew(&self, mut held: OwnedMutexGuard<Held>, asked: Instant) -> Result<Secret, String> {
        if held.retired {
            return Err("somebody has just logged in there anew; try again".to_owned());
        }
        if let Some((at, why)) = &held.failed
            && *at >= asked
        {
            // It failed while somebody waited for it, who is not to wait for the same again.
            return Err(why.clone());
        }
        if held.saved {
            let refresh = held.login.tokens.as_ref().and_then(|tokens| tokens.refresh.clone());
            if self.grant == OauthGrant::Login && refresh.is_none() {
                // The vault keeps it: that a server refuses it now does not say that it has ended.
                return Err(self.ended("the server does not take its token, and nothing renews it"));
            }
            match self.issued(refresh.as_ref(), held.login.scopes.clone()).await {
                Ok(issued) => {
                    held.issued_at = Some(Instant::now());
                    held.failed = None;
                    held.login.tokens = Some(Tokens::of(issued, refresh, self.clock.now()));
                    self.remember_tokens(&held.login);
                }
                Err(NoToken::NotNow(why)) => {
                    let why = format!(
                        "its token could not be renewed ({why}); if that stays so, ask an operator to look at `placet mcp ls`"
                    );
                    held.failed = Some((Instant::now(), why.clone()));
                    return Err(why);
                }
                Err(NoToken::Refused(why)) => {
                    // Nothing of it will be good again, in no process.
                    held.login.tokens = None;
                    let _ = self.save(held.login.to_secret()?).await;
                    return Err(self.ended(&why));
                }
            }
        }
        held.saved = false;
        self.save(held.login.to_secret()?).await?;
        held.saved = true;
        let tokens = held.login.tokens.as_ref();
        tokens.map(|tokens| tokens.access.clone()).ok_or_else(|| self.ended("its token has ended"))
    }

    async fn issued(&self, refresh: Option<&Secret>, scopes: Vec<String>) -> Result<Issued, NoToken> {
        match (self.grant, refresh) {
            (OauthGrant::ClientCredentials, _) => self.endpoint.by_credentials(&scopes).await,
            (OauthGrant::Login, Some(refresh)) => self.endpoint.by_refresh(refresh).await,
            (OauthGrant::Login, None) => Err(NoToken::Refused("its token has ended".to_owned())),
        }
    }

    /// Into the vault, under the version that it has.
    async fn save(&self, login: Secret) -> Result<(), String> {
        let Some(version) = &self.kept_as else { return Ok(()) };
        let renewed = self.source.renew_login(version.clone(), login).await;
        renewed.map_err(|error| match error.kind {
            AuthorityErrorKind::Conflict => "somebody has just logged in there anew; try again".to_owned(),
            _ => "its new token could not be kept, so it is not used; try again".to_owned(),
        })
    }

    /// What is said when nothing but an operator helps.
    pub(super) fn ended(&self, why: &str) -> String {
        match self.grant {
            OauthGrant::Login => {
                format!(
                    "the login there has ended ({why}): ask an operator to run `placet mcp login {}`",
                    self.server
                )
            }
            OauthGrant::ClientCredentials => {
                format!("placet gets no token for it ({why}): ask an operator to look at `placet mcp ls`")
            }
        }
    }

    /// What to say of an answer that wants a better token, if it does. The next login asks for what is lacking.
    pub(super) fn not_enough(&self, headers: &HeaderMap) -> Option<String> {
        let challenge = Challenge::of(headers);
        let secrets = self.secrets();
        let fits = |scope: &&String| scope.len() <= SCOPE_BYTES_MAX && !shows_any(&secrets, scope);
        let scopes: Vec<String> =
            challenge.lacking()?.iter().filter(fits).take(SCOPES_MAX).cloned().collect();
        let why = format!(
            "its token is not good enough for this (it lacks {}): ask an operator to run `placet mcp login {}`",
            scopes.join(" "),
            self.server
        );
        *self.lacking.lock().unwrap_or_else(PoisonError::into_inner) = scopes;
        Some(why)
    }

    /// What a token lacked, when one was not good enough.
    pub(super) fn lacking(&self) -> Vec<String> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews nothing from here on: what was renewed is in the vault for who comes next.
    pub(super) async fn retire(&self) {
        self.held.lock().await.retired = true;
    }

    /// What may not stand in what a server answers.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember_tokens(&self, login: &Login) {
        let tokens = login.tokens.iter().flat_map(|tokens| [Some(&tokens.access), tokens.refresh.as_ref()]);
        tokens.for_each(|token| self.remember(token));
        self.remember(login.client.secret.as_ref());
    }

    fn remember(&self, secret: Option<&Secret>) {
        let Some(secret) = secret else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that was used last is the last to be forgotten.
        seen.retain(|known| known != secret);
        seen.push(secret.clone());
        let over = seen.len().saturating_sub(SEEN_MAX);
        seen.drain(..over);
    }
}

/// The secret by which placet proves which client it is, if its policy names one.
pub(super) fn of_client(oauth: &Oauth, secrets: &ServerSecrets) -> Result<Option<Secret>, String> {
    let Some(name) = &oauth.client_secret else { return Ok(None) };
    let (_, secret) = secrets.get(name).ok_or_else(|| super::upstream::missing(name))?;
    Ok(Some(secret.clone()))
}

/// Where placet's own credentials are good. There are no tokens yet, and none is kept: another one costs one call.
async fn own(
    outside: &Outside,
    address: &Url,
    url: &str,
    oauth: &Oauth,
    secret: Option<Secret>,
) -> Result<Login, String> {
    let found = discover(outside, address, oauth).await?;
    let proof = Proof::at(&found.issuer, &[Proof::ClientSecretBasic, Proof::ClientSecretPost])?;
    Ok(Login {
        url: url.to_owned(),
        resource: found.resource,
        issuer: found.issuer.issuer,
        token_endpoint: found.issuer.token_endpoint,
        client: Client { id: oauth.client_id.clone().unwrap_or_default(), secret, proof },
        scopes: found.scopes,
        tokens: None,
    })
}
