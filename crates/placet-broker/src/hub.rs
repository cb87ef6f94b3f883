//! Who waits for a request, and who works on it.
//!
//! [`Hub`] wakes the callers that wait for one request when it changes, and nobody else: ten thousand waiting callers
//! cost nothing while one request moves. [`Locks`] lets one task at a time work on a request within this process, so
//! that two hundred simultaneous votes queue instead of making each other stale; correctness never depends on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use placet_core::id::RequestId;
use tokio::sync::{Notify, OwnedMutexGuard};

/// Callers that wait, by request.
#[derive(Default)]
pub(crate) struct Hub {
    waiting: Mutex<HashMap<RequestId, Waiters>>,
    closed: AtomicBool,
}

struct Waiters {
    notify: Arc<Notify>,
    count: usize,
}

/// One caller's place; leaving it makes room.
pub(crate) struct Waiting<'a> {
    hub: &'a Hub,
    id: RequestId,
    notify: Arc<Notify>,
}

impl Hub {
    /// Takes a place. What changes from here on wakes [`Waiting::changed`].
    pub(crate) fn wait(&self, id: RequestId) -> Waiting<'_> {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiters = all.entry(id).or_insert_with(|| Waiters { notify: Arc::new(Notify::new()), count: 0 });
        waiters.count += 1;
        Waiting { hub: self, id, notify: waiters.notify.clone() }
    }

    /// Wakes those who wait for this request.
    pub(crate) fn wake(&self, id: RequestId) {
        let all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = all.get(&id) {
            waiters.notify.notify_waiters();
        }
    }

    /// Nothing will be told any more: nobody waits from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether waiting is in vain.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Wakes everybody: some changes were missed.
    pub(crate) fn wake_all(&self) {
        let all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for waiters in all.values() {
            waiters.notify.notify_waiters();
        }
    }
}

impl Waiting<'_> {
    /// A future that was registered before the caller looked, so that no change falls in between. Making it registers
    /// it: `notify_waiters` reaches also what was not polled yet.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = self.hub.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = all.get_mut(&self.id) {
            waiters.count -= 1;
            if waiters.count == 0 {
                all.remove(&self.id);
            }
        }
    }
}

/// How many requests can be worked on at once without sharing a lock by chance.
const STRIPES: usize = 1024;

/// A fixed number of locks, over which requests are spread by their id.
pub(crate) struct Locks(Vec<Arc<tokio::sync::Mutex<()>>>);

impl Default for Locks {
    fn default() -> Self {
        Locks((0..STRIPES).map(|_| Arc::default()).collect())
    }
}

impl Locks {
    /// Waits until nobody else in this process works on what these bytes name.
    pub(crate) async fn lock(&self, bytes: &[u8]) -> Option<OwnedMutexGuard<()>> {
        let stripe =
            bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let lock = self.0.get(stripe % STRIPES)?;
        Some(lock.clone().lock_owned().await)
    }
}
