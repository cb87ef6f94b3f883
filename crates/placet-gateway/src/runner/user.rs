//! Whose OS user a program runs as, and how far that can be trusted.

use nix::unistd::{Uid, User, geteuid};
use placet_core::action::Grade;

use super::config::RunAs;
use super::wire::Ids;

/// The user that executes on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    other: Option<Ids>,
}

/// The runner does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing is said about who executes.
    #[error(
        "start the runner: set run_as in runner.toml to a user of its own (or danger_same_user = true to try it out)"
    )]
    Unsaid,
    /// There is no such user here.
    #[error(
        "start the runner: there is no user {0:?} on this machine, create it with `useradd --system {0}`"
    )]
    NoSuchUser(String),
    /// The user is root.
    #[error("start the runner: run_as is {0:?}, which is root; name a user without privileges")]
    Root(String),
    /// The user is the one placet itself runs as.
    #[error("start the runner: run_as is {0:?}, the user that placet runs as; name another")]
    Own(String),
    /// Placet may not change to another user.
    #[error(
        "start the runner: only root can execute as {0:?}; start placet as root, or set danger_same_user = true to try it out"
    )]
    NotRoot(String),
}

impl Identity {
    /// Looks the user up on this machine.
    pub fn resolve(run_as: &RunAs) -> Result<Self, IdentityError> {
        match run_as {
            RunAs::Nobody => Err(IdentityError::Unsaid),
            RunAs::DangerSameUser => Ok(Identity { name: own_name(), other: None }),
            RunAs::User(name) => Self::other(name),
        }
    }

    fn other(name: &str) -> Result<Self, IdentityError> {
        let found = User::from_name(name).ok().flatten();
        let user = found.ok_or_else(|| IdentityError::NoSuchUser(name.to_owned()))?;
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            return Err(IdentityError::Root(name.to_owned()));
        }
        if user.uid == geteuid() {
            return Err(IdentityError::Own(name.to_owned()));
        }
        if !geteuid().is_root() {
            return Err(IdentityError::NotRoot(name.to_owned()));
        }
        Ok(Identity { name: user.name, other: Some(Ids { uid: user.uid.as_raw(), gid: user.gid.as_raw() }) })
    }

    /// The user's name, as it is pinned.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What executing as this user is worth.
    pub fn grade(&self) -> Grade {
        if self.is_other() { Grade::Enforced } else { Grade::Advisory }
    }

    /// The users that leftovers of an execution may belong to.
    pub fn users(&self) -> Vec<u32> {
        let own = geteuid().as_raw();
        self.other.map_or_else(|| vec![own], |ids| vec![own, ids.uid])
    }

    /// Whether it is another user than placet's own.
    pub(super) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// The other user's ids, if it is another.
    pub(crate) fn uid_and_gid(&self) -> Option<(u32, u32)> {
        self.other.map(|ids| (ids.uid, ids.gid))
    }

    pub(super) fn ids(&self) -> Option<Ids> {
        self.other
    }
}

fn own_name() -> String {
    let own: Uid = geteuid();
    User::from_uid(own).ok().flatten().map_or_else(|| format!("uid {own}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_nothing_is_executed() {
        assert_eq!(Identity::resolve(&RunAs::Nobody), Err(IdentityError::Unsaid));
    }

    #[test]
    fn refuses_users_that_separate_nothing() {
        let resolve = |name: &str| Identity::resolve(&RunAs::User(name.to_owned()));
        assert_eq!(resolve("no-such-user"), Err(IdentityError::NoSuchUser("no-such-user".into())));
        assert_eq!(resolve("root"), Err(IdentityError::Root("root".into())));
        if !geteuid().is_root() {
            assert_eq!(resolve(&own_name()), Err(IdentityError::Own(own_name())));
            assert_eq!(resolve("nobody"), Err(IdentityError::NotRoot("nobody".into())));
        }
    }

    #[test]
    fn the_same_user_is_advisory() {
        let identity = Identity::resolve(&RunAs::DangerSameUser).unwrap();
        assert_eq!(identity.grade(), Grade::Advisory);
        assert_eq!(identity.users(), [geteuid().as_raw()]);
    }
}
