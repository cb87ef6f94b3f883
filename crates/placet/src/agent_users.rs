//! The operating system's users that agents run as, as the operator says. What an agent's own user executes, or what it
//! can reach as placet or root, is held back from it by nobody.

use nix::unistd::{User, geteuid};
use placet_gateway::runner::config::RunAs;

/// Groups whose members become root when they like.
const ROOT_GROUPS: [&str; 6] = ["root", "sudo", "wheel", "admin", "docker", "lxd"];

/// The users of agents, by name, with their ids where this machine knows them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct AgentUsers(Vec<(String, Option<u32>)>);

impl AgentUsers {
    /// Looks them up on this machine.
    pub(crate) fn resolve(names: &[String]) -> Self {
        AgentUsers(names.iter().map(|name| (name.clone(), uid_of(name))).collect())
    }

    /// Each with its id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        self.0.iter().map(|(name, uid)| (name.as_str(), *uid))
    }

    /// Why nothing separates an agent from what is executed so; none if something does, or if it is said to be advisory.
    pub(crate) fn shared(&self, run_as: &RunAs) -> Option<String> {
        let RunAs::User(executor) = run_as else { return None };
        let executor_uid = uid_of(executor);
        self.iter().find_map(|(name, uid)| match uid {
            _ if name == executor || (uid.is_some() && uid == executor_uid) => {
                Some(format!("run_as is {executor}, a user that agents run as"))
            }
            Some(0) => Some(format!("{name}, a user that agents run as, is root")),
            Some(uid) if uid == geteuid().as_raw() => {
                Some(format!("{name}, a user that agents run as, is placet's own"))
            }
            _ => None,
        })
    }
}

fn uid_of(name: &str) -> Option<u32> {
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// The groups of a user that make it root.
pub(crate) fn root_groups(name: &str) -> Vec<String> {
    let member = |group: &&&str| {
        let found = nix::unistd::Group::from_name(group).ok().flatten();
        let primary = User::from_name(name).ok().flatten().map(|user| user.gid);
        found.is_some_and(|found| found.mem.iter().any(|member| member == name) || primary == Some(found.gid))
    };
    ROOT_GROUPS.iter().filter(member).map(|group| (*group).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_run_as_executes_nothing_for_them() {
        let users = |names: &[&str]| {
            AgentUsers::resolve(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let runs = |name: &str| RunAs::User(name.to_owned());
        assert!(users(&["agent"]).shared(&runs("agent")).is_some_and(|why| why.contains("run_as is agent")));
        assert_eq!(users(&["no-such-user"]).shared(&runs("placet-runner")), None);
        assert_eq!(users(&[]).shared(&runs("agent")), None);
        assert!(users(&["root"]).shared(&runs("placet-runner")).is_some_and(|why| why.contains("is root")));
        // Said to be advisory, it claims nothing.
        assert_eq!(users(&["root"]).shared(&RunAs::DangerSameUser), None);
    }
}
