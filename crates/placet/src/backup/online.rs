//! Backups that an operator asks a running placet for: one at a time, and it goes on when whoever asked leaves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use placet_api::backup::{BackupDocument, BackupRequest, BackupState};
use placet_broker::Broker;
use placet_core::directory::Operator;
use placet_core::time::Clock;
use placet_server::{BackupRefused, Backups};
use placet_store::SqliteStore;
use tracing::{error, info};

use super::{BackupError, Progress, Source, Taken, Target, take};
use crate::exit::{Exit, Failure};

/// What a running placet backs up with.
pub(crate) struct OnlineBackups {
    parts: Arc<Parts>,
    present: Arc<Mutex<Option<Present>>>,
}

struct Parts {
    data: PathBuf,
    log_origin: String,
    store: Arc<SqliteStore>,
    broker: Broker,
    clock: Arc<dyn Clock>,
}

/// The backup that runs, or the last one of this process.
struct Present {
    progress: Progress,
    /// None while it runs.
    ended: Option<Result<Taken, String>>,
}

impl OnlineBackups {
    pub(crate) fn new(
        data: PathBuf,
        log_origin: String,
        store: Arc<SqliteStore>,
        broker: Broker,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let parts = Parts { data, log_origin, store, broker, clock };
        OnlineBackups { parts: Arc::new(parts), present: Arc::default() }
    }
}

impl Backups for OnlineBackups {
    fn begin(&self, operator: Operator, request: BackupRequest) -> Result<BackupDocument, BackupRefused> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|present| present.ended.is_none()) {
            return Err(BackupRefused::Busy);
        }
        let target = Target { directory: request.directory.into(), keys: request.keys.map(PathBuf::from) };
        super::take::prepare(&self.parts.data, &target)
            .map_err(|error| BackupRefused::Target(said(&error)))?;
        let progress = Progress::default();
        *present = Some(Present { progress: progress.clone(), ended: None });
        let (parts, seat) = (self.parts.clone(), self.present.clone());
        tokio::spawn(async move {
            let ended = parts.run(&operator, &target, &progress).await;
            match &ended {
                Ok(taken) => info!(entries = taken.entries, bytes = taken.bytes, "a backup was taken"),
                Err(error) => error!(error = %said(error), "a backup failed"),
            }
            if let Some(present) = seat.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                present.ended = Some(ended.map_err(|error| said(&error)));
            }
        });
        drop(present);
        self.progress().ok_or(BackupRefused::Busy)
    }

    fn progress(&self) -> Option<BackupDocument> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let present = present.as_ref()?;
        let step = present.progress.now();
        let mut document = BackupDocument {
            state: BackupState::Running,
            step: step.what.to_owned(),
            done: step.done,
            all: step.all,
            ..BackupDocument::default()
        };
        match &present.ended {
            None => {}
            Some(Ok(taken)) => {
                document.state = BackupState::Done;
                document.taken_at = Some(taken.taken_at.clone());
                document.entries = taken.entries;
                document.bytes = taken.bytes;
                document.files = taken.files;
            }
            Some(Err(error)) => {
                document.state = BackupState::Failed;
                document.error = Some(error.clone());
            }
        }
        Some(document)
    }
}

impl Parts {
    async fn run(
        &self,
        operator: &Operator,
        target: &Target,
        progress: &Progress,
    ) -> Result<Taken, BackupError> {
        let directory = target.directory.display().to_string();
        self.broker.record_backup(operator, &directory, target.keys.is_some()).await?;
        let source = Source {
            data: &self.data,
            store: &self.store,
            vkey: self.broker.verifier_key(),
            log_origin: &self.log_origin,
            now: self.clock.now(),
        };
        take(source, target, progress).await
    }
}

/// An error with its causes, in one line.
fn said(error: &BackupError) -> String {
    Failure::of(Exit::Usage, error).message
}
