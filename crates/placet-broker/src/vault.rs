//! Secrets that only placet holds: set by an operator, released to an execution that was approved with them.

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
/// A shorter secret could not be found in an output without finding it everywhere.
const SECRET_MIN: usize = 6;

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

    /// The newest version of a secret, for a plan that would use it; none if there is none.
    pub async fn newest_secret(&self, name: &str) -> Result<Option<SecretVersion>, CallError> {
        let version = self.version_of(name).await?;
        Ok((version > 0).then(|| SecretVersion { name: name.to_owned(), version }))
    }

    async fn version_of(&self, name: &str) -> Result<u32, CallError> {
        let stored = self.secrets().await?.into_iter().find(|secret| secret.name == name);
        Ok(stored.map_or(0, |secret| secret.version))
    }
}
