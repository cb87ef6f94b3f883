//! Everyone, in memory as of the newest epoch: every call asks who is there, and that rarely changes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use placet_core::digest::Sha256Digest;
use placet_core::directory::{Agent, Directory};
use placet_core::id::AgentId;

use super::{Shared, read_directory};
use crate::ViewError;

/// The directory, and where in it each agent's token leads.
#[derive(Default)]
pub(super) struct Known {
    pub(super) directory: Arc<Directory>,
    by_token: HashMap<Sha256Digest, AgentId>,
}

impl Known {
    fn of(directory: Directory) -> Self {
        let by_token = directory.agents.values().map(|agent| (agent.token_hash, agent.id)).collect();
        Known { directory: Arc::new(directory), by_token }
    }

    pub(super) fn agent_by_token(&self, hash: Sha256Digest) -> Option<&Agent> {
        self.by_token.get(&hash).and_then(|id| self.directory.agents.get(id))
    }
}

impl Shared {
    /// Everyone, as of the newest epoch.
    pub(super) async fn known(self: &Arc<Self>) -> Result<Arc<Known>, ViewError> {
        // What is in memory is answered only as long as the database would be.
        self.up()?;
        let cached = Arc::clone(&self.directory.lock().unwrap_or_else(PoisonError::into_inner));
        if cached.directory.epoch == self.directory_epoch.load(Ordering::Acquire) {
            return Ok(cached);
        }
        let read = self.scan(|shared, db| read_directory::directory(db, &shared.sealer)).await?;
        let read = Arc::new(Known::of(read));
        let mut newest = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.directory.epoch < read.directory.epoch {
            *newest = Arc::clone(&read);
        }
        Ok(read)
    }
}
