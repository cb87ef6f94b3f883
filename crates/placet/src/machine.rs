//! The machine: the only place where placet asks for the time and for chance, and what it asks of the kernel for itself.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use placet_core::entropy::Entropy;
use placet_core::time::{Clock, Timestamp};

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970: the store sees that it is behind, and grants nothing.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's random source.
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    #[expect(clippy::panic, reason = "without chance there are no secrets: nothing may go on")]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the operating system gives no random bytes: {error}");
        }
    }
}

/// Enough for the files of store, runner and uploads.
const OTHER_FILES: u64 = 4096;
/// Enough for operators.
const ADMIN_CONNECTIONS: u64 = 128;

/// How many connections each listener may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connections {
    pub(crate) agents: usize,
    pub(crate) reviewers: usize,
    pub(crate) admin: usize,
}

/// As many as wanted at each door, if the kernel grants the descriptors for them and for the files beside them.
pub(crate) fn connections(wanted: u32) -> Connections {
    let granted = getrlimit(Resource::RLIMIT_NOFILE).map_or(OTHER_FILES, |(soft, _)| soft);
    shared_out(u64::from(wanted), granted)
}

/// Where descriptors are short, agents have four of five: they hold a connection while they wait, people read and leave.
fn shared_out(wanted: u64, granted: u64) -> Connections {
    let all = granted.saturating_sub(OTHER_FILES.min(granted / 2));
    let admin = ADMIN_CONNECTIONS.min(all / 8);
    let doors = all - admin;
    // Whoever wants less than their share leaves the rest to the other.
    let agents = wanted.min(doors - wanted.min(doors / 5));
    let reviewers = wanted.min(doors - agents);
    let count = |count: u64| usize::try_from(count.max(1)).unwrap_or(usize::MAX);
    Connections { agents: count(agents), reviewers: count(reviewers), admin: count(admin) }
}

/// Before any key is read: no core file and no debugger of the same user shows it, and connections, so many of each
/// listener, do not use up the descriptors that the store needs.
pub(crate) fn close_to_others(connections: u32) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = 2 * u64::from(connections) + ADMIN_CONNECTIONS + OTHER_FILES;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out_and_never_more_than_there_are() {
        let shared = |wanted, granted| {
            let Connections { agents, reviewers, admin } = shared_out(wanted, granted);
            (agents, reviewers, admin)
        };
        assert_eq!(shared(4096, 1_048_576), (4096, 4096, 128));
        // Not as many as were wanted: agents have most of them.
        assert_eq!(shared(11_000, 20_000), (11_000, 4_776, 128));
        assert_eq!(shared(65_000, 20_000), (12_621, 3_155, 128));
        assert_eq!(shared(4096, 1024), (359, 89, 64));
        for granted in [0, 1, 3, 64, 256, 1024, 4096, 20_000, 1 << 20] {
            for wanted in [1, 100, 4096, 1 << 20] {
                let (agents, reviewers, admin) = shared(wanted, granted);
                assert!(agents.min(reviewers).min(admin) >= 1, "nobody is locked out");
                let left = granted - OTHER_FILES.min(granted / 2);
                let all = (agents + reviewers + admin) as u64;
                assert!(all <= left || all <= 4, "{wanted} of {granted}: files need some, too");
            }
        }
    }
}
