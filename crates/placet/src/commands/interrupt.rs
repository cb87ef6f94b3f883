//! Ctrl-C, which must not kill us where there is something to say or to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};

/// From its making on Ctrl-C is ours, and none is lost between two waits.
pub(super) struct Interrupts(Signal);

impl Interrupts {
    /// Takes Ctrl-C over.
    pub(super) fn take() -> Result<Self, Failure> {
        signal(SignalKind::interrupt()).map(Interrupts).map_err(|error| Failure::of(Exit::Bug, &error))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // There will never be one.
            std::future::pending::<()>().await;
        }
    }
}
