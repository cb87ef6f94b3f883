//! Secrets that only placet holds: set by an operator, released to an execution that was approved with them.
//!
//! A login at a server is one too, under a name that nothing else can have: `oauth.` and the server's. Its tokens are
//! renewed under one version, as it stays the same login; another login is another version.

use placet_core::action::SecretVersion;
use placet_core::c14n::Value;
use placet_core::directory::Operator;
use placet_core::entry::Kind;
use placet_core::secret::Secret;
use placet_store::{Requires, SecretInfo, Transition, Write};

use crate::error::CallError;
use crate::{Broker, drafts};

/// How many bytes a secret may have.
const SECRET_MAX: usize = 64 * 1024;
/// How the names of logins begin.
const LOGIN: &str = "oauth.";
/// A shorter secret could not be found in an output without finding it everywhere.
const SECRET_MIN: usize = 6;

/// Whether this is the name of a login at a server.
pub(crate) fn is_login(name: &str) -> bool {
    name.starts_with(LOGIN)
}

impl Broker {
    /// Stores a secret's next version.
    pub async fn set_secret(
        &self,
        operator: &Operator,
        name: &str,
        value: Secret,
    ) -> Result<SecretVersion, CallError> {
        let fits = !name.is_empty()
            && name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
        if !fits {
            return Err(CallError::invalid("bad_name", "write 1 to 64 of a-z 0-9 - _ .", "/name"));
        }
        if is_login(name) {
            let message = "names that begin with oauth. are those of logins: use `placet mcp login`";
            return Err(CallError::invalid("bad_name", message, "/name"));
        }
        self.store_secret(operator, name, value).await
    }

    /// Stores that an operator logged in at a server.
    pub async fn set_login(
        &self,
        operator: &Operator,
        server: &str,
        login: Secret,
    ) -> Result<SecretVersion, CallError> {
        self.store_secret(operator, &format!("{LOGIN}{server}"), login).await
    }

    /// Stores a login's renewed tokens, if it is still the newest one.
    pub async fn renew_login(&self, of: &SecretVersion, login: Secret) -> Result<(), CallError> {
        if !is_login(&of.name) {
            return Err(CallError::Internal("only a login is renewed".to_owned()));
        }
        let transition = Transition {
            requires: vec![Requires::SecretVersion(of.name.clone(), of.version)],
            writes: vec![Write::RenewSecret(of.name.clone(), of.version, login)],
            entries: Vec::new(),
        };
        self.commit_once(transition).await.map(drop)
    }

    async fn store_secret(
        &self,
        operator: &Operator,
        name: &str,
        value: Secret,
    ) -> Result<SecretVersion, CallError> {
        if !(SECRET_MIN..=SECRET_MAX).contains(&value.expose().len()) || value.expose().contains(&0) {
            let message = "a secret has 6 to 65536 bytes, none of them NUL";
            return Err(CallError::invalid("bad_secret", message, "/value"));
        }
        // Also a removed secret had versions: a number that was reviewed never stands for another value.
        let known = self.0.views.secret_version(name.to_owned()).await?;
        let version = known.saturating_add(1);
        let draft = drafts::operated(Kind::SecretSet, operator, ("secret", name.to_owned()))
            .commit("version", Value::integer(i64::from(version)));
        let transition = Transition {
            requires: vec![Requires::SecretVersion(name.to_owned(), known)],
            writes: vec![Write::Secret(name.to_owned(), version, value)],
            entries: vec![self.seal(draft)],
        };
        self.commit_once(transition).await?;
        Ok(SecretVersion { name: name.to_owned(), version })
    }

    /// Removes every version of a secret.
    pub async fn remove_secret(&self, operator: &Operator, name: &str) -> Result<(), CallError> {
        let known = self.version_of(name).await?;
        if known == 0 {
            return Err(CallError::NotFound);
        }
        let transition = Transition {
            requires: vec![Requires::SecretVersion(name.to_owned(), known)],
            writes: vec![Write::RemoveSecret(name.to_owned())],
            entries: vec![self.seal(drafts::operated(
                Kind::SecretRemoved,
                operator,
                ("secret", name.to_owned()),
            ))],
        };
        self.commit_once(transition).await.map(drop)
    }

    /// The stored secrets, without their values.
    pub async fn secrets(&self) -> Result<Vec<SecretInfo>, CallError> {
        Ok(self.0.views.secrets().await?)
    }

    /// The newest version of a secret, for a plan that would use it; none if there is none. A login is for its server only.
    pub async fn newest_secret(&self, name: &str) -> Result<Option<SecretVersion>, CallError> {
        if is_login(name) {
            return Ok(None);
        }
        let version = self.version_of(name).await?;
        Ok((version > 0).then(|| SecretVersion { name: name.to_owned(), version }))
    }

    async fn version_of(&self, name: &str) -> Result<u32, CallError> {
        let stored = self.secrets().await?.into_iter().find(|secret| secret.name == name);
        Ok(stored.map_or(0, |secret| secret.version))
    }
}
