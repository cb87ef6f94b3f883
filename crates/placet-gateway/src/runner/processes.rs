//! What `/proc` says about processes: who descends from whom, and who carries the mark of an execution.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_core::id::ExecutionId;

/// The variable by which placet knows its children again, also after it was killed itself.
pub const MARK: &str = "PLACET_EXECUTION";

/// An environment larger than this is not searched further: the kernel's own bound on arguments and environment.
const ENVIRON_BYTES_MAX: usize = 6 * 1024 * 1024;

/// A process that outlived the placet that started it, and was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    /// Its process id.
    pub pid: i32,
    /// The execution whose mark it carried.
    pub execution: ExecutionId,
}

/// Kills every process of the given users that carries the mark of one of our executions, and says which. To be called
/// at start, before any of these executions is called over. Which executions are ours is the caller's to say, so that
/// two placets on one machine leave each other alone.
///
/// Goes on until a look finds none, because what is killed may fork until it is dead; the number of looks is bounded.
pub fn kill_leftovers(is_ours: &dyn Fn(ExecutionId) -> bool, users: &[u32]) -> Vec<Leftover> {
    const LOOKS_MAX: usize = 100;
    let mut killed: Vec<Leftover> = Vec::new();
    for _ in 0..LOOKS_MAX {
        let found: Vec<Leftover> =
            marked(users).into_iter().filter(|found| is_ours(found.execution)).collect();
        if found.is_empty() {
            break;
        }
        for leftover in found {
            send(leftover.pid, Signal::SIGKILL);
            if !killed.contains(&leftover) {
                killed.push(leftover);
            }
        }
        std::thread::yield_now();
    }
    killed
}

fn marked(users: &[u32]) -> Vec<Leftover> {
    let own = std::process::id().cast_signed();
    let candidates = all().into_iter().filter(|pid| *pid != own);
    candidates.filter_map(|pid| Some(Leftover { pid, execution: mark_of(pid, users)? })).collect()
}

/// The mark in a process's environment as it was when it was started. A zombie has none left.
fn mark_of(pid: i32, users: &[u32]) -> Option<ExecutionId> {
    let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    if !users.contains(&owner) {
        return None;
    }
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let searched = environ.get(..environ.len().min(ENVIRON_BYTES_MAX))?;
    searched.split(|byte| *byte == 0).find_map(|pair| {
        let value = pair.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        ExecutionId::parse(std::str::from_utf8(value).ok()?).ok()
    })
}

/// Sends a signal to every descendant of `ancestor`.
pub(super) fn signal_descendants(ancestor: i32, signal: Signal) {
    for pid in descendants(ancestor) {
        send(pid, signal);
    }
}

/// Everything below `ancestor`, at this moment.
fn descendants(ancestor: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in all() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut pending = vec![ancestor];
    while let Some(parent) = pending.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                pending.push(*child);
            }
        }
    }
    found.into_iter().collect()
}

fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The fourth field of `/proc/PID/stat`; the second one, in parentheses, may contain anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn send(pid: i32, signal: Signal) {
    match kill(Pid::from_raw(pid), signal) {
        // Gone already is what was wanted.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => {
            tracing::error!(pid, %signal, %error, "a process of an execution could not be signalled")
        }
    }
}
