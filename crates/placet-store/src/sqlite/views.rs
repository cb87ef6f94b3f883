//! The reading side: each view is one snapshot. What reads a row or two runs on the caller's thread, what reads many
//! on one that may take its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use placet_core::action::Principal;
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{Agent, Directory, EndedAccess, Invitation, Pep, PersonToken, Session};
use placet_core::entry::Kind;
use placet_core::id::{ExecutionId, PersonId, RequestId};
use placet_core::request::Status;
use placet_core::retry::{KeyRecord, Twin};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use tokio::sync::broadcast;

use super::{SqliteStore, ended, overview, read_directory, read_log, read_requests, search};
use crate::{
    ActiveBundle, Answer, Change, Commit, CommitError, Due, EntryFilter, Files, Load, LogHead, Overview,
    RequestFilter, SearchFilter, SearchPage, SecretInfo, StoredEntry, StoredRequest, Transition, ViewError,
    Views,
};

impl From<rusqlite::Error> for ViewError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        match error {
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
                ViewError::Corrupt { what: "a column", reason: error.to_string() }
            }
            _ => ViewError::Unavailable(error.to_string()),
        }
    }
}

impl Views for SqliteStore {
    fn now(&self) -> Timestamp {
        self.shared.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    fn health(&self) -> Answer<'_, Result<(), ViewError>> {
        Box::pin(async move {
            self.shared.point(|db| read_log::log(db).map(drop)).await?;
            if !self.shared.last_write_failed() {
                return Ok(());
            }
            // Whoever waits for health writes nothing, so health itself finds out whether writing works again: an empty
            // transition writes the head anew.
            let tried = self.commit(Transition::default()).await;
            tried.map(drop).map_err(|error| match error {
                CommitError::Stopped(why) => ViewError::Stopped(why),
                other => ViewError::Unavailable(other.to_string()),
            })
        })
    }

    fn request(&self, id: RequestId) -> Answer<'_, Result<Option<StoredRequest>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_requests::request(db, sealer, id)))
    }

    fn request_by_code(&self, code: ShortCode) -> Answer<'_, Result<Option<StoredRequest>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_requests::request_by_code(db, sealer, &code)))
    }

    fn requests(&self, filter: RequestFilter) -> Answer<'_, Result<Vec<StoredRequest>, ViewError>> {
        Box::pin(self.shared.scan(move |shared, db| read_requests::requests(db, &shared.sealer, &filter)))
    }

    fn due(
        &self,
        at: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<Due>, ViewError>> {
        Box::pin(self.shared.point(move |db| read_requests::due(db, at, after, limit)))
    }

    fn search(&self, filter: SearchFilter) -> Answer<'_, Result<SearchPage, ViewError>> {
        Box::pin(self.shared.scan(move |shared, db| search::search(db, &shared.sealer, &filter)))
    }

    fn next_deadline(&self) -> Answer<'_, Result<Option<Timestamp>, ViewError>> {
        Box::pin(self.shared.point(read_requests::next_deadline))
    }

    fn counts(&self) -> Answer<'_, Result<BTreeMap<Status, u64>, ViewError>> {
        Box::pin(self.shared.scan(|_, db| read_requests::counts(db)))
    }

    fn overview(&self, since: Timestamp, decided: Timestamp) -> Answer<'_, Result<Overview, ViewError>> {
        Box::pin(self.shared.scan(move |_, db| overview::overview(db, since, decided)))
    }

    fn load_of(&self, principal: Principal, since: Timestamp) -> Answer<'_, Result<Load, ViewError>> {
        Box::pin(self.shared.point(move |db| read_requests::load_of(db, principal, since)))
    }

    fn twin(
        &self,
        principal: Principal,
        digest: ActionDigest,
    ) -> Answer<'_, Result<Option<Twin>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_requests::twin(db, sealer, principal, digest)))
    }

    fn key(&self, principal: Principal, key: String) -> Answer<'_, Result<Option<KeyRecord>, ViewError>> {
        let (sealer, now) = (&self.shared.sealer, self.shared.now());
        Box::pin(self.shared.point(move |db| read_requests::key(db, sealer, principal, &key, now)))
    }

    fn card(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Vec<u8>>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_requests::card(db, sealer, hash)))
    }

    fn recording(&self, execution: ExecutionId) -> Answer<'_, Result<Option<Vec<u8>>, ViewError>> {
        // Megabytes to read and to open.
        Box::pin(self.shared.scan(move |shared, db| read_requests::recording(db, &shared.sealer, execution)))
    }

    fn delivery(&self, request: RequestId) -> Answer<'_, Result<Option<Vec<u8>>, ViewError>> {
        let (sealer, now) = (&self.shared.sealer, self.shared.now());
        Box::pin(self.shared.point(move |db| read_requests::delivery(db, sealer, request, now)))
    }

    fn directory(&self) -> Answer<'_, Result<Arc<Directory>, ViewError>> {
        Box::pin(async move { Ok(Arc::clone(&self.shared.known().await?.directory)) })
    }

    fn agent_by_token(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Agent>, ViewError>> {
        Box::pin(async move { Ok(self.shared.known().await?.agent_by_token(hash).cloned()) })
    }

    fn pep_by_token(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Pep>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_directory::pep_by_token(db, sealer, hash)))
    }

    fn invitation(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Invitation>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_directory::invitation(db, sealer, hash)))
    }

    fn session(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Session>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_directory::session(db, sealer, hash)))
    }

    fn token(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<PersonToken>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_directory::token(db, sealer, hash)))
    }

    fn tokens_of(&self, person: PersonId) -> Answer<'_, Result<Vec<PersonToken>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_directory::tokens_of(db, sealer, person)))
    }

    fn ended_access(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<EndedAccess>, ViewError>> {
        let now = self.shared.now();
        Box::pin(self.shared.point(move |db| ended::ended_access(db, hash, now)))
    }

    fn bundle_epoch(&self) -> Answer<'_, Result<u64, ViewError>> {
        Box::pin(async move {
            self.shared.up()?;
            Ok(self.shared.bundle_epoch.load(Ordering::Acquire))
        })
    }

    fn active_bundle(&self) -> Answer<'_, Result<Option<ActiveBundle>, ViewError>> {
        Box::pin(self.shared.scan(|_, db| read_directory::active_bundle(db)))
    }

    fn bundle(&self, digest: BundleDigest) -> Answer<'_, Result<Option<Files>, ViewError>> {
        Box::pin(self.shared.scan(move |_, db| read_directory::bundle(db, digest)))
    }

    fn secrets(&self) -> Answer<'_, Result<Vec<SecretInfo>, ViewError>> {
        Box::pin(self.shared.point(read_directory::secrets))
    }

    fn secret(&self, name: String, version: u32) -> Answer<'_, Result<Option<Secret>, ViewError>> {
        let sealer = &self.shared.sealer;
        Box::pin(self.shared.point(move |db| read_directory::secret(db, sealer, &name, version)))
    }

    fn secret_version(&self, name: String) -> Answer<'_, Result<u32, ViewError>> {
        Box::pin(self.shared.point(move |db| read_directory::secret_version(db, &name)))
    }

    fn log(&self) -> Answer<'_, Result<LogHead, ViewError>> {
        Box::pin(self.shared.point(read_log::log))
    }

    fn entry_bytes(&self, first: u64, limit: usize) -> Answer<'_, Result<Vec<Vec<u8>>, ViewError>> {
        Box::pin(self.shared.scan(move |_, db| read_log::entry_bytes(db, first, limit)))
    }

    fn entry_counts(&self, first: u64) -> Answer<'_, Result<BTreeMap<Kind, u64>, ViewError>> {
        Box::pin(self.shared.scan(move |_, db| read_log::entry_counts(db, first)))
    }

    fn entries(&self, filter: EntryFilter) -> Answer<'_, Result<Vec<StoredEntry>, ViewError>> {
        Box::pin(self.shared.scan(move |shared, db| read_log::entries(db, &shared.sealer, &filter)))
    }
}
