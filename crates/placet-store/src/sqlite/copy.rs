//! Copies of the database: made while the store is in use, and read again without any key.
//!
//! `VACUUM INTO` reads one snapshot and writes a database of its own: whole, without the residue of deleted rows, and
//! without a write-ahead log beside it. What was sealed stays sealed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use placet_core::time::Timestamp;
use placet_ledger::Frontier;
use rusqlite::{Connection, OpenFlags, params};

use super::{SqliteStore, head, read_log, schema};
use crate::{Answer, LogName, private};

/// Why a copy was not made, or is not one.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file could not be made.
    #[error("write the copy of the database")]
    Io(#[from] io::Error),
    /// The database could not be read, or the copy could not be written.
    #[error("copy the database")]
    Database(#[from] rusqlite::Error),
    /// The file is another program's.
    #[error("this is no database of placet")]
    NotOurs,
    /// A newer placet wrote it.
    #[error("it has schema {found}, and this placet knows {known}: use the placet that wrote it")]
    Newer {
        /// What it has.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// SQLite's own check found damage.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Its entries are not those of its head.
    #[error("its log's head speaks of {head} entries with another root than the {entries} that are there")]
    Head {
        /// Size by the head.
        head: u64,
        /// Entries that are there.
        entries: u64,
    },
}

impl SqliteStore {
    /// Copies the database as it is now into a new file that only we can read. It is durable when this returns.
    pub fn copy_to<'a>(&'a self, target: &'a Path) -> Answer<'a, Result<(), CopyError>> {
        let (shared, target) = (Arc::clone(&self.shared), target.to_owned());
        Box::pin(async move {
            let copied = tokio::task::spawn_blocking(move || copy(&shared.path, &target)).await;
            copied.unwrap_or_else(|error| Err(io::Error::other(error).into()))
        })
    }

    /// How many bytes a copy will have, about.
    pub fn copy_bytes(&self) -> u64 {
        std::fs::metadata(&self.shared.path).map_or(0, |metadata| metadata.len())
    }
}

fn copy(source: &Path, target: &Path) -> Result<(), CopyError> {
    // An empty file is taken as the target; made by us, it is nobody else's to read.
    private::create(target)?;
    vacuum(source, target)?;
    File::open(target)?.sync_all()?;
    Ok(())
}

/// Copies one database into another file, which is empty. Also for the keys' database.
pub(crate) fn vacuum(source: &Path, target: &Path) -> rusqlite::Result<()> {
    let db = read_only(source)?;
    let target = target.to_str().ok_or(rusqlite::Error::InvalidPath(target.to_owned()))?;
    db.execute("VACUUM INTO ?1", params![target]).map(drop)
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    Ok(db)
}

/// A database that nobody uses, opened to be looked at. Nothing in it can be unsealed with this.
pub struct DatabaseCopy {
    db: Connection,
    about: About,
}

/// What a database says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// The number of its newest migration.
    pub schema: i64,
    /// Which log it holds.
    pub log: LogName,
    /// Which key store it was sealed with.
    pub key_store: [u8; 16],
    /// Its log.
    pub frontier: Frontier,
    /// When its last entry was written.
    pub last_time: Timestamp,
}

impl DatabaseCopy {
    /// Opens it, and refuses what this version cannot read.
    pub fn open(path: &Path) -> Result<Self, CopyError> {
        let db = read_only(path)?;
        let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application != schema::APPLICATION_ID {
            return Err(CopyError::NotOurs);
        }
        let sql = "SELECT coalesce(max(number), 0) FROM schema_migration";
        let (schema, known) = (db.query_row(sql, [], |row| row.get::<_, i64>(0))?, schema::newest());
        if schema > known {
            return Err(CopyError::Newer { found: schema, known });
        }
        let stored = head::read_any(&db, schema)?.ok_or(CopyError::NotOurs)?;
        let about = About {
            schema,
            log: stored.head.name,
            key_store: stored.key_store,
            frontier: stored.head.frontier,
            last_time: stored.head.last_time,
        };
        Ok(DatabaseCopy { db, about })
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// SQLite's own check of every page and index, and of what rows refer to.
    pub fn check(&self) -> Result<(), CopyError> {
        let said: String = self.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            return Err(CopyError::Damaged(said));
        }
        let dangling = self.db.prepare("PRAGMA foreign_key_check")?.exists([])?;
        if dangling {
            Err(CopyError::Damaged("a row refers to one that is not there".to_owned()))
        } else {
            Ok(())
        }
    }

    /// Hashes every entry anew. Gives the log as it was at this size, if it ever had it; the whole must be what the head
    /// says.
    pub fn replay(&self, size: u64) -> Result<Option<Frontier>, CopyError> {
        let (mut frontier, mut found) = (Frontier::new(), None);
        loop {
            if frontier.size() == size {
                found = Some(frontier.clone());
            }
            let page = read_log::entry_bytes(&self.db, frontier.size(), crate::ENTRIES_MAX)
                .map_err(|error| CopyError::Damaged(error.to_string()))?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                if frontier.size() == size {
                    found = Some(frontier.clone());
                }
                if frontier.append(placet_ledger::leaf_hash(&entry)).is_err() {
                    return Err(CopyError::Damaged("the log is full".to_owned()));
                }
            }
        }
        if frontier != self.about.frontier {
            let (head, entries) = (self.about.frontier.size(), frontier.size());
            return Err(CopyError::Head { head, entries });
        }
        Ok(found)
    }
}
