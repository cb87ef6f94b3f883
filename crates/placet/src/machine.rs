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

/// Doors and admin socket.
const LISTENERS: u64 = 3;
/// Enough for the files of store, runner and uploads.
const OTHER_FILES: u64 = 4096;

/// How many connections each listener may have: as many as wanted, if the kernel grants the descriptors for them and for
/// the files beside them.
pub(crate) fn connections_max(wanted: u32) -> usize {
    let granted = getrlimit(Resource::RLIMIT_NOFILE).map_or(OTHER_FILES, |(soft, _)| soft);
    let each = granted.saturating_sub(OTHER_FILES.min(granted / 2)) / LISTENERS;
    usize::try_from(u64::from(wanted).min(each).max(1)).unwrap_or(usize::MAX)
}

/// Before any key is read: no core file and no debugger of the same user shows it, and connections, so many of each
/// listener, do not use up the descriptors that the store needs.
pub(crate) fn close_to_others(connections: u32) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = LISTENERS * u64::from(connections) + OTHER_FILES;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
    }
    Ok(())
}
