//! `keys.db`: the wrapped data keys.
//!
//! A rollback journal and `synchronous=EXTRA` instead of a write-ahead log: writes are rare, each must be durable when
//! it returns, and no second file may keep a copy of a destroyed key. `secure_delete` overwrites it in the first.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use placet_core::entropy::{Entropy, random_bytes};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::root::RootKey;
use super::{Destroy, KeyId, KeysError, Subject};
use crate::private;

const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE key_store (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    store_id   BLOB NOT NULL CHECK (length(store_id) = 16),
    root_check BLOB NOT NULL CHECK (length(root_check) = 32)
) STRICT;
CREATE TABLE data_key (
    id           BLOB PRIMARY KEY CHECK (length(id) = 16),
    subject      TEXT NOT NULL,
    month        TEXT NOT NULL CHECK (month GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]'),
    wrapped      BLOB,
    created_at   INTEGER NOT NULL,
    destroyed_at INTEGER,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX data_key_current ON data_key (subject, month) WHERE wrapped IS NOT NULL;
";

pub(super) struct Database(Connection);

pub(super) enum Found {
    Wrapped(Vec<u8>),
    Destroyed,
}

impl Database {
    /// Opens the key database, or makes it. Gives its id too.
    pub(super) fn open(
        path: &Path,
        root: &RootKey,
        entropy: &dyn Entropy,
    ) -> Result<(Self, [u8; 16]), KeysError> {
        if path.symlink_metadata().is_err() {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|source| KeysError::Io { path: path.to_owned(), source })?;
        }
        private::file(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(KeysError::Database)?;
        let version = prepare(&mut connection, root, entropy).map_err(KeysError::Database)?;
        if version != VERSION {
            return Err(KeysError::Newer(version));
        }
        let (id, check): ([u8; 16], Vec<u8>) = connection
            .query_row("SELECT store_id, root_check FROM key_store", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(KeysError::Database)?;
        if Secret::new(check) != root_check(root) {
            return Err(KeysError::OtherRootKey);
        }
        Ok((Database(connection), id))
    }

    pub(super) fn current(&self, subject: Subject, month: &str) -> rusqlite::Result<Option<KeyId>> {
        let sql = "SELECT id FROM data_key WHERE subject = ?1 AND month = ?2 AND wrapped IS NOT NULL";
        let mut statement = self.0.prepare_cached(sql)?;
        statement.query_row(params![subject.to_string(), month], |row| row.get(0).map(KeyId)).optional()
    }

    pub(super) fn find(&self, id: KeyId) -> rusqlite::Result<Option<Found>> {
        let mut statement = self.0.prepare_cached("SELECT wrapped FROM data_key WHERE id = ?1")?;
        let found: Option<Option<Vec<u8>>> =
            statement.query_row(params![id.as_bytes().as_slice()], |row| row.get(0)).optional()?;
        Ok(found.map(|wrapped| wrapped.map_or(Found::Destroyed, Found::Wrapped)))
    }

    /// How many there are, destroyed ones too.
    pub(super) fn count(&self) -> rusqlite::Result<u64> {
        let count: i64 = self.0.query_row("SELECT count(*) FROM data_key", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Durable when it returns.
    pub(super) fn insert(
        &self,
        id: KeyId,
        subject: Subject,
        month: &str,
        wrapped: &[u8],
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let sql =
            "INSERT INTO data_key (id, subject, month, wrapped, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
        let id = id.as_bytes().as_slice();
        self.0.execute(sql, params![id, subject.to_string(), month, wrapped, now.as_millis()])?;
        Ok(())
    }

    /// Durable when it returns. Keeps the ids, so that what they sealed is known to be erased.
    pub(super) fn destroy(&self, which: Destroy, now: Timestamp) -> rusqlite::Result<Vec<KeyId>> {
        let set = "UPDATE data_key SET wrapped = NULL, destroyed_at = ?1 WHERE wrapped IS NOT NULL AND";
        let now = now.as_millis();
        match which {
            Destroy::Subject(subject) => self
                .0
                .prepare(&format!("{set} subject = ?2 RETURNING id"))?
                .query_map(params![now, subject.to_string()], |row| row.get(0).map(KeyId))?
                .collect(),
            Destroy::Key(id) => self
                .0
                .prepare(&format!("{set} id = ?2 RETURNING id"))?
                .query_map(params![now, id.as_bytes().as_slice()], |row| row.get(0).map(KeyId))?
                .collect(),
        }
    }
}

fn prepare(connection: &mut Connection, root: &RootKey, entropy: &dyn Entropy) -> rusqlite::Result<i64> {
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let transaction = connection.transaction()?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != 0 {
        return Ok(version);
    }
    transaction.execute_batch(SCHEMA)?;
    transaction.execute(
        "INSERT INTO key_store (id, store_id, root_check) VALUES (1, ?1, ?2)",
        params![random_bytes::<16>(entropy).as_slice(), root_check(root).expose()],
    )?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(VERSION)
}

/// Tells one root key from another without telling anything about it.
fn root_check(root: &RootKey) -> Secret {
    root.derive("root-key-check")
}
