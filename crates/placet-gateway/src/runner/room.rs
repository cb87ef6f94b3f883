//! Bytes that the executions of one process share, so that all of them together have a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Room {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    /// A room for so many bytes.
    pub fn of(bytes: usize) -> Self {
        Room { left: Arc::new(AtomicUsize::new(bytes)), bytes }
    }

    /// Takes them all, or none.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether something new should begin here: an eighth is free.
    pub(crate) fn is_roomy(&self) -> bool {
        self.left() >= self.bytes / 8
    }

    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}
