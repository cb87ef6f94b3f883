//! The head row: where the log stands, and which log it is.

use placet_core::time::Timestamp;
use placet_ledger::Frontier;
use rusqlite::{Connection, OptionalExtension, params};

use super::requires::{bundle_epoch, directory_epoch};
use super::schema::EPOCHS_SINCE;
use super::writer::{Epochs, Head};
use crate::LogName;

/// The head row as stored.
pub(super) struct StoredHead {
    pub(super) key_store: [u8; 16],
    pub(super) head: Head,
}

/// The first head of a new log.
pub(super) fn create(db: &Connection, origin: &str, key_store: [u8; 16]) -> rusqlite::Result<Head> {
    let frontier = Frontier::new();
    db.execute(
        "INSERT INTO log_head (id, origin, key_store, size, frontier, last_time) VALUES (1, ?1, ?2, 0, ?3, 0)",
        params![origin, key_store.as_slice(), frontier.to_bytes()],
    )?;
    let name = LogName::first(origin);
    Ok(Head { name, frontier, last_time: Timestamp::EPOCH, epochs: epochs(db)? })
}

fn epochs(db: &Connection) -> rusqlite::Result<Epochs> {
    Ok(Epochs { bundle: bundle_epoch(db)?, directory: directory_epoch(db)? })
}

/// Moves the head in the transaction that appends.
pub(super) fn write(db: &Connection, head: &Head) -> rusqlite::Result<()> {
    let size = i64::try_from(head.frontier.size()).unwrap_or(i64::MAX);
    let sql = "UPDATE log_head SET size = ?1, frontier = ?2, last_time = ?3, origin = ?4, epoch = ?5";
    let changed = db.prepare_cached(sql)?.execute(params![
        size,
        head.frontier.to_bytes(),
        head.last_time.as_millis(),
        head.name.origin,
        head.name.epoch
    ])?;
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

/// Reads the head. One that does not fit itself is an error.
pub(super) fn read(db: &Connection) -> rusqlite::Result<Option<StoredHead>> {
    read_any(db, EPOCHS_SINCE)
}

/// The same from a database that may not have been brought to this version's schema yet.
pub(super) fn read_any(db: &Connection, schema: i64) -> rusqlite::Result<Option<StoredHead>> {
    let epoch = if schema < EPOCHS_SINCE { "1" } else { "epoch" };
    let sql = &format!("SELECT origin, key_store, size, frontier, last_time, {epoch} FROM log_head");
    let epochs = epochs(db)?;
    let mut statement = db.prepare_cached(sql)?;
    let read = statement.query_row([], |row| {
        let bytes: Vec<u8> = row.get(3)?;
        let damaged = |error: Box<dyn std::error::Error + Send + Sync>| {
            rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Blob, error)
        };
        let frontier = Frontier::from_bytes(&bytes).map_err(|error| damaged(error.into()))?;
        let size: i64 = row.get(2)?;
        if u64::try_from(size) != Ok(frontier.size()) {
            return Err(damaged("the frontier has another size than the head".into()));
        }
        Ok(StoredHead {
            key_store: row.get(1)?,
            head: Head {
                name: LogName { origin: row.get(0)?, epoch: row.get(5)? },
                frontier,
                last_time: Timestamp::from_millis(row.get(4)?),
                epochs,
            },
        })
    });
    read.optional()
}
