//! A login as it is kept in the vault: who issued which tokens for what, and to whom.

use std::borrow::Cow;

use placet_api::mcp::LoginDocument;
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::tokens::{Client, Issued, Proof};

/// The only form that there is.
const FORM: u32 = 1;

/// A login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::mcp) struct Login {
    /// The server's address: its tokens are sent to no other.
    pub(super) url: String,
    pub(super) resource: String,
    pub(super) issuer: String,
    pub(super) token_endpoint: String,
    /// With a secret only if placet was registered with it.
    pub(super) client: Client,
    pub(super) scopes: Vec<String>,
    /// None: they are no longer good.
    pub(super) tokens: Option<Tokens>,
}

/// A token, and what it can be renewed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tokens {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    /// Until when the first one is good, if that was said.
    pub(super) until: Option<Timestamp>,
}

impl Tokens {
    /// Those that were issued. Where no other was, the one that renewed them will do so again.
    pub(super) fn of(issued: Issued, renewed_by: Option<Secret>, now: Timestamp) -> Self {
        Tokens {
            access: issued.access,
            refresh: issued.refresh.or(renewed_by),
            until: issued.lives.map(|lives| now.plus(lives)),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    form: u32,
    #[serde(borrow)]
    url: Cow<'a, str>,
    resource: Cow<'a, str>,
    issuer: Cow<'a, str>,
    token_endpoint: Cow<'a, str>,
    client_id: Cow<'a, str>,
    client_secret: Option<Cow<'a, str>>,
    proof: Proof,
    scopes: Vec<String>,
    access: Option<Cow<'a, str>>,
    refresh: Option<Cow<'a, str>>,
    until: Option<i64>,
}

impl Login {
    /// What it is good for.
    pub(in crate::mcp) fn into_scopes(self) -> Vec<String> {
        self.scopes
    }

    /// For operators.
    pub(in crate::mcp) fn described(self, server: String, now: Timestamp) -> LoginDocument {
        let over =
            |tokens: &Tokens| tokens.refresh.is_none() && tokens.until.is_some_and(|until| until <= now);
        let tokens = self.tokens.filter(|tokens| !over(tokens));
        LoginDocument {
            server,
            standing: if tokens.is_some() { "good" } else { "ended" }.to_owned(),
            issuer: Some(self.issuer),
            scopes: self.scopes,
            until: tokens.as_ref().and_then(|tokens| tokens.until).map(|until| until.to_string()),
            renewable: tokens.is_some_and(|tokens| tokens.refresh.is_some()),
        }
    }

    /// As bytes for the vault.
    pub(in crate::mcp) fn to_secret(&self) -> Result<Secret, String> {
        let text =
            |secret: &'_ Secret| String::from_utf8(secret.expose().to_vec()).map(Cow::<'static, str>::Owned);
        let write = || -> Result<Vec<u8>, Box<dyn std::error::Error>> {
            let tokens = self.tokens.as_ref();
            Ok(serde_json::to_vec(&Written {
                form: FORM,
                url: (&*self.url).into(),
                resource: (&*self.resource).into(),
                issuer: (&*self.issuer).into(),
                token_endpoint: (&*self.token_endpoint).into(),
                client_id: (&*self.client.id).into(),
                client_secret: self.client.secret.as_ref().map(text).transpose()?,
                proof: self.client.proof,
                scopes: self.scopes.clone(),
                access: tokens.map(|tokens| text(&tokens.access)).transpose()?,
                refresh: tokens.and_then(|tokens| tokens.refresh.as_ref()).map(text).transpose()?,
                until: tokens.and_then(|tokens| tokens.until).map(Timestamp::as_millis),
            })?)
        };
        write().map(Secret::new).map_err(|_| "a login cannot be kept".to_owned())
    }

    /// From the vault's bytes.
    pub(in crate::mcp) fn from_secret(secret: &Secret) -> Result<Self, String> {
        let read: Result<Written<'_>, _> = serde_json::from_slice(secret.expose());
        let written = read.ok().filter(|written| written.form == FORM);
        let written = written.ok_or("this version of placet cannot read its login")?;
        let secret = |text: Cow<'_, str>| Secret::new(text.as_bytes());
        let refresh = written.refresh.map(secret);
        let until = written.until.map(Timestamp::from_millis);
        Ok(Login {
            url: written.url.into_owned(),
            resource: written.resource.into_owned(),
            issuer: written.issuer.into_owned(),
            token_endpoint: written.token_endpoint.into_owned(),
            client: Client {
                id: written.client_id.into_owned(),
                secret: written.client_secret.map(secret),
                proof: written.proof,
            },
            scopes: written.scopes,
            tokens: written.access.map(secret).map(|access| Tokens { access, refresh, until }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_as_it_was_written_and_shows_no_secret() {
        let login = Login {
            url: "https://tools.example/mcp".into(),
            resource: "https://tools.example".into(),
            issuer: "https://id.example".into(),
            token_endpoint: "https://id.example/token".into(),
            client: Client {
                id: "a\"b".into(),
                secret: Some(Secret::new("client-secret")),
                proof: Proof::ClientSecretPost,
            },
            scopes: vec!["read".into()],
            tokens: Some(Tokens {
                access: Secret::new("access-token"),
                refresh: Some(Secret::new("refresh-token")),
                until: Some(Timestamp::from_millis(5)),
            }),
        };
        assert_eq!(Login::from_secret(&login.to_secret().unwrap()).unwrap(), login);
        let ended =
            Login { tokens: None, client: Client { secret: None, ..login.client.clone() }, ..login.clone() };
        assert_eq!(Login::from_secret(&ended.to_secret().unwrap()).unwrap(), ended);
        let shown = format!("{login:?}");
        for secret in ["client-secret", "access-token", "refresh-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for wrong in ["{}", "a secret", r#"{"form":2}"#] {
            assert!(Login::from_secret(&Secret::new(wrong)).is_err());
        }
    }
}
