//! A few read-only connections. Each answer is one snapshot.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many readers work at once. Point reads take microseconds, so a few connections serve many callers.
const READERS: usize = 4;
/// How many of them may read many rows, so that one is always left for the next credential or request.
const SCANNERS: usize = READERS - 1;

pub(super) struct Pool {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    scans: Arc<Semaphore>,
}

/// A connection that goes back when it is dropped.
pub(super) struct Reader {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
    _scan: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let mut idle = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.set_prepared_statement_cache_capacity(128);
            super::keep_plans(&connection)?;
            connection.pragma_update(None, "query_only", "ON")?;
            connection.pragma_update(None, "trusted_schema", "OFF")?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            idle.push(connection);
        }
        Ok(Pool {
            idle: Arc::new(Mutex::new(idle)),
            permits: Arc::new(Semaphore::new(READERS)),
            scans: Arc::new(Semaphore::new(SCANNERS)),
        })
    }

    /// The next free connection, to read a row or two. None if one was lost.
    pub(super) async fn reader(&self) -> Option<Reader> {
        self.take(None).await
    }

    /// The next free connection, to read many rows.
    pub(super) async fn scanner(&self) -> Option<Reader> {
        let scan = Arc::clone(&self.scans).acquire_owned().await.ok()?;
        self.take(Some(scan)).await
    }

    async fn take(&self, scan: Option<OwnedSemaphorePermit>) -> Option<Reader> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Reader {
            connection: Some(connection),
            idle: Arc::clone(&self.idle),
            _permit: permit,
            _scan: scan,
        })
    }
}

impl Reader {
    /// Reads in one snapshot.
    pub(super) fn snapshot<T, E>(&self, read: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        let Some(connection) = &self.connection else {
            return Err(E::from(rusqlite::Error::InvalidQuery));
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = read(connection);
        // Nothing was written, so that both ends of a transaction are the same.
        connection.prepare_cached("ROLLBACK")?.execute([])?;
        answer
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Before the permit goes, so that whoever gets it finds the connection.
        if let Some(connection) = self.connection.take() {
            if !connection.is_autocommit() {
                // A read that panicked left its snapshot open.
                let _ = connection.execute_batch("ROLLBACK");
            }
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
