//! The one thread that writes.
//!
//! It takes one transition, then whatever else is waiting, and writes them in one transaction: the fsync of a batch is
//! the time in which the next one gathers, so there is no timer. What a transition requires is looked at before its first
//! row is written, so whatever is refused there leaves nothing behind. If the batch as a whole fails, nobody is told that it
//! was written.
//!
//! A constraint of the database may still refuse a row. That is rare, and a savepoint for each transition is dear: SQLite
//! copies every page that is touched under one. So a batch is written without, and if one of its rows is refused, the whole
//! batch is rolled back and written again with savepoints: what is refused is rolled back to its own, and the rest goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use placet_core::entry;
use placet_core::time::Timestamp;
use placet_ledger::{Frontier, leaf_hash};
use rusqlite::{Connection, ErrorCode, ffi, params};
use tokio::sync::{mpsc, oneshot};

use super::prepare::{Prepared, PreparedEntry, Row};
use super::requires::{self, Times};
use super::search::{self, IndexWrite};
use super::stopped::Stopped;
use super::{Shared, head, rows};
use crate::{Change, CommitError, LogName, Receipt};

/// How many transitions one transaction takes at most.
pub(super) const BATCH_MAX: usize = 1024;

/// What waits for the writer.
pub(super) enum Job {
    /// A transition, and whoever waits for it.
    Commit(Box<Prepared>, oneshot::Sender<Result<Receipt, CommitError>>),
    /// Something for the search index, and whoever waits for it.
    Index(IndexWrite, oneshot::Sender<rusqlite::Result<i64>>),
    /// Tests reach for the writer's connection.
    #[cfg(test)]
    With(Box<dyn FnOnce(&Connection) + Send>),
}

/// Where the log stands, and which epochs decisions are bound to, in memory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: LogName,
    pub(super) frontier: Frontier,
    pub(super) last_time: Timestamp,
    pub(super) epochs: Epochs,
}

/// The epochs that decisions are bound to. Nobody else writes the database, so what the writer counts is what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Epochs {
    pub(super) bundle: u64,
    pub(super) directory: u64,
}

/// What happens to the rest of a batch when a row is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoints {
    /// All of it has to be written again.
    None,
    /// It stays, for each transition has a savepoint of its own.
    Each,
}

/// Why something was not written.
pub(super) enum Failure {
    /// This transition is refused; others are not concerned.
    Transition(CommitError),
    /// The database fails: the batch is lost.
    Batch(rusqlite::Error),
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        Failure::Transition(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let constraint = match &error {
            rusqlite::Error::SqliteFailure(code, message) => match code.code {
                ErrorCode::ConstraintViolation if code.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
                    Some("something that it refers to is not there, or is still in use".to_owned())
                }
                ErrorCode::ConstraintViolation | ErrorCode::TooBig => {
                    Some(message.clone().unwrap_or_else(|| code.to_string()))
                }
                _ => None,
            },
            _ => None,
        };
        match constraint {
            Some(reason) => Failure::Transition(CommitError::Refused(reason)),
            None => Failure::Batch(error),
        }
    }
}

impl Epochs {
    /// Counts as the database does, once these rows are written.
    fn move_by(&mut self, rows: &[Row]) {
        let activated = rows.iter().filter(|row| matches!(row, Row::ActivateBundle(_))).count();
        self.bundle += activated as u64;
        self.directory += u64::from(rows.iter().any(Row::moves_directory));
    }
}

pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) head: Head,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Receiver<Job>,
}

/// A transition that stands in the open transaction.
struct Written {
    receipt: Receipt,
    changes: Vec<Change>,
}

/// Where the log stands after a batch, and what became of each of its transitions.
type Batched = (Head, Vec<Result<Written, CommitError>>);

type Waiting = (Box<Prepared>, oneshot::Sender<Result<Receipt, CommitError>>);

impl Writer {
    /// Writes until the store is dropped. A panic ends the store: see [`Stopped`].
    pub(super) fn run(mut self) {
        let _mourner = Mourner(Arc::clone(&self.shared));
        while let Some(first) = self.queue.blocking_recv() {
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Commit(transition, waiter) => batch.push((transition, waiter)),
                    Job::Index(write, waiter) => {
                        // In the order in which they came.
                        self.write(std::mem::take(&mut batch));
                        // A store that has stopped drops its waiters, which tells them; whoever left needs no answer.
                        if !self.shared.is_stopped() {
                            let _ = waiter.send(self.index(&write));
                        }
                    }
                    #[cfg(test)]
                    Job::With(act) => act(&self.db),
                }
                next = if batch.len() < BATCH_MAX { self.queue.try_recv().ok() } else { None };
            }
            self.write(batch);
        }
        self.fold();
    }

    /// At an orderly end the write-ahead log goes into the database, so that `placet.db` alone is all there is. Whatever
    /// keeps that from happening costs nothing: the next start reads both.
    fn fold(&self) {
        if self.shared.is_stopped() {
            return;
        }
        let folded = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if !matches!(folded, Ok(0)) {
            tracing::debug!("the write-ahead log stays beside the database");
        }
    }

    fn index(&self, write: &IndexWrite) -> rusqlite::Result<i64> {
        let written = search::write(&self.db, write);
        if let Some(error) = written.as_ref().err().filter(|error| is_fatal(error)) {
            self.shared.stop(Stopped::Disk(error.to_string()));
        }
        written
    }

    fn write(&mut self, batch: Vec<Waiting>) {
        // A store that has stopped drops its waiters, which tells them.
        if batch.is_empty() || self.shared.is_stopped() {
            return;
        }
        // Nearly every batch goes through whole.
        match self.attempt(&batch, Savepoints::None) {
            Ok((head, written)) => {
                self.head = head;
                self.shared.last_time.store(self.head.last_time.as_millis(), Ordering::Release);
                self.shared.set_epochs(self.head.epochs);
                self.shared.write_failed.store(false, Ordering::Release);
                let mut changes = Vec::new();
                for ((_, waiter), result) in batch.into_iter().zip(written) {
                    let answer = result.map(|written| {
                        changes.extend(written.changes);
                        written.receipt
                    });
                    // Whoever gave up waiting reads the truth from the views.
                    let _ = waiter.send(answer);
                }
                for change in changes {
                    // Without listeners there is nobody to tell.
                    let _ = self.shared.changes.send(change);
                }
            }
            Err(error) => self.lose(batch, &error),
        }
    }

    fn attempt(&self, batch: &[Waiting], savepoints: Savepoints) -> rusqlite::Result<Batched> {
        let mut head = self.head.clone();
        self.execute("BEGIN IMMEDIATE")?;
        let mut results = Vec::with_capacity(batch.len());
        for (transition, _) in batch {
            let times = Times { clock: self.shared.clock.now(), last: head.last_time };
            match self.check(transition, times, head.epochs) {
                Ok(()) => {}
                Err(Failure::Transition(error)) => {
                    results.push(Err(error));
                    continue;
                }
                Err(Failure::Batch(error)) => return Err(error),
            }
            if savepoints == Savepoints::Each {
                self.execute("SAVEPOINT transition")?;
            }
            let mut next = head.clone();
            match self.rows(transition, times, &mut next) {
                Ok(written) => {
                    head = next;
                    results.push(Ok(written));
                }
                // There is nothing to go back to but the beginning.
                Err(Failure::Transition(_)) if savepoints == Savepoints::None => {
                    self.execute("ROLLBACK")?;
                    return self.attempt(batch, Savepoints::Each);
                }
                Err(Failure::Transition(error)) => {
                    self.execute("ROLLBACK TO transition")?;
                    results.push(Err(error));
                }
                Err(Failure::Batch(error)) => return Err(error),
            }
            if savepoints == Savepoints::Each {
                self.execute("RELEASE transition")?;
            }
        }
        head::write(&self.db, &head)?;
        self.execute("COMMIT")?;
        tracing::trace!(transitions = batch.len(), entries = head.frontier.size(), "committed");
        Ok((head, results))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Whether everything that a transition requires holds. Writes nothing.
    fn check(&self, transition: &Prepared, times: Times, epochs: Epochs) -> Result<(), Failure> {
        for requires in &transition.requires {
            requires::check(&self.db, &self.shared.sealer, times, epochs, requires)?;
        }
        Ok(())
    }

    fn rows(&self, transition: &Prepared, times: Times, head: &mut Head) -> Result<Written, Failure> {
        // What was decided before the clock went back is not in the future of the log.
        let now = times.now().max(decided_at(transition));
        for row in &transition.rows {
            rows::write(&self.db, row, now)?;
        }
        if let Some(Row::Epoch(name)) = transition.rows.iter().find(|row| matches!(row, Row::Epoch(_))) {
            head.name = name.clone();
        }
        if transition.rows.iter().any(Row::moves_directory) {
            rows::move_directory(&self.db)?;
        }
        head.epochs.move_by(&transition.rows);
        let first_index = head.frontier.size();
        for entry in &transition.entries {
            self.append(entry, now, head)?;
        }
        let entries = head.frontier.size().saturating_sub(first_index);
        let changes = changes(transition, head.frontier.size());
        Ok(Written { receipt: Receipt { first_index, entries, time: now }, changes })
    }

    fn append(&self, entry: &PreparedEntry, now: Timestamp, head: &mut Head) -> Result<(), Failure> {
        let draft = &entry.sealed.draft;
        let previous = match draft.request {
            Some(request) if !entry.is_first => {
                rows::last_entry(&self.db, request.as_bytes())?.map(requires::unsigned)
            }
            _ => None,
        };
        let place = entry::Place { log: &head.name.origin, time: now, previous };
        let refused = |error: &dyn std::fmt::Display| CommitError::Refused(error.to_string());
        let body = entry.sealed.entry(place).map_err(|error| refused(&error))?;
        let index = head.frontier.append(leaf_hash(&body)).map_err(|error| refused(&error))?;
        head.last_time = now;
        let index = i64::try_from(index).map_err(|error| refused(&error))?;
        let sql = "INSERT INTO entry (idx, id, time, kind, request, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.db.prepare_cached(sql)?.execute(params![
            index,
            entry.sealed.id.as_bytes().as_slice(),
            now.as_millis(),
            draft.kind.as_str(),
            draft.request.as_ref().map(|request| request.as_bytes().as_slice()),
            body
        ])?;
        if let Some(sealed) = &entry.disclosures {
            let sql = "INSERT INTO disclosure (idx, sealed) VALUES (?1, ?2)";
            self.db.prepare_cached(sql)?.execute(params![index, sealed])?;
        }
        if let Some(request) = draft.request {
            rows::write_facts(&self.db, draft.kind, request, &entry.tokens, now)?;
        }
        Ok(())
    }

    /// The batch failed. Nothing of it is known to be written; the store goes on only if the database says that nothing
    /// was.
    fn lose(&mut self, batch: Vec<Waiting>, error: &rusqlite::Error) {
        tracing::error!(error = error as &dyn std::error::Error, transitions = batch.len(), "commit failed");
        let reason = error.to_string();
        let taken_back = self.db.is_autocommit() || self.db.execute_batch("ROLLBACK").is_ok();
        let as_before = matches!(head::read(&self.db), Ok(Some(stored)) if stored.head == self.head);
        if is_fatal(error) {
            self.shared.stop(Stopped::Disk(reason.clone()));
        } else if !(taken_back && as_before) {
            self.shared.stop(Stopped::Diverged);
        }
        self.shared.write_failed.store(true, Ordering::Release);
        let told = match self.shared.up() {
            Ok(()) => CommitError::Unavailable(reason),
            Err(why) => why.into(),
        };
        for (_, waiter) in batch {
            let _ = waiter.send(Err(told.clone()));
        }
    }
}

/// The latest time that a request of the transition bears.
fn decided_at(transition: &Prepared) -> Timestamp {
    let requests = transition.rows.iter().filter_map(|row| match row {
        Row::Request(request) => Some(request.columns.updated_at),
        _ => None,
    });
    requests.max().unwrap_or(Timestamp::EPOCH)
}

/// Whether nobody knows afterwards what is on the disk: a sync failed, or a write within a file, or the file is damaged.
fn is_fatal(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | CannotOpen) => true,
        Some(_) => false,
        None => true,
    }
}

fn changes(transition: &Prepared, size: u64) -> Vec<Change> {
    if transition.rows.is_empty() && transition.entries.is_empty() {
        return Vec::new();
    }
    let requests = transition.rows.iter().filter_map(|row| match row {
        Row::Request(request) => {
            let columns = &request.columns;
            Some(Change { request: Some(columns.id), status: Some(columns.status), size })
        }
        _ => None,
    });
    let changes: Vec<Change> = requests.collect();
    if changes.is_empty() { vec![Change { request: None, status: None, size }] } else { changes }
}

/// Tells everyone that the writer is gone, if it went by panicking.
struct Mourner(Arc<Shared>);

impl Drop for Mourner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Stopped::Panicked);
        }
    }
}
