//! The database's schema, as numbered migrations. The same numbers are meant for every engine.

use placet_core::digest::Sha256Digest;
use placet_core::time::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

/// One step of the schema. Its text never changes once it was released: the checksum is stored.
struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 8] = [
    Migration {
        number: 1,
        name: "requests_people_and_ledger",
        sql: include_str!("migrations/0001_requests_people_and_ledger.sql"),
    },
    Migration { number: 2, name: "recordings", sql: include_str!("migrations/0002_recordings.sql") },
    Migration { number: 3, name: "audit_search", sql: include_str!("migrations/0003_audit_search.sql") },
    Migration { number: 4, name: "ended_access", sql: include_str!("migrations/0004_ended_access.sql") },
    Migration {
        number: 5,
        name: "enforcement_points",
        sql: include_str!("migrations/0005_enforcement_points.sql"),
    },
    Migration {
        number: 6,
        name: "load_of_principals",
        sql: include_str!("migrations/0006_load_of_principals.sql"),
    },
    Migration {
        number: EPOCHS_SINCE,
        name: "epochs_and_review_times",
        sql: include_str!("migrations/0007_epochs_and_review_times.sql"),
    },
    Migration { number: 8, name: "deliveries", sql: include_str!("migrations/0008_deliveries.sql") },
];

/// The migration that gave logs epochs.
pub(super) const EPOCHS_SINCE: i64 = 7;

/// The newest schema that this version knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.number).max().unwrap_or(0)
}

/// What stands in the database's header, so that no other program's database is taken for ours: `plct`.
pub(super) const APPLICATION_ID: i64 = 0x706c_6374;

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It belongs to another program.
    #[error("placet.db is another program's database: name an empty data directory")]
    NotOurs,
    /// A newer placet wrote it.
    #[error("placet.db has schema {found}, and this placet knows {known}: use the placet that wrote it")]
    Newer {
        /// What it has.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// A migration that was applied is not the one that this version knows.
    #[error("migration {0} of placet.db is not the one that this placet has: restore the right database")]
    Altered(i64),
    /// The database could not be read or written.
    #[error("read or write the schema of placet.db")]
    Database(#[from] rusqlite::Error),
}

/// Brings the schema to this version, in one transaction, or changes nothing.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<(), SchemaError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    match (application, tables) {
        (APPLICATION_ID, _) => {}
        (0, 0) => {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.execute_batch(
                "CREATE TABLE schema_migration (
                     number     INTEGER PRIMARY KEY,
                     name       TEXT NOT NULL,
                     sha256     TEXT NOT NULL,
                     applied_at INTEGER NOT NULL
                 ) STRICT;",
            )?;
        }
        _ => return Err(SchemaError::NotOurs),
    }
    let applied: Vec<(i64, String)> = transaction
        .prepare("SELECT number, sha256 FROM schema_migration ORDER BY number")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let known = newest();
    if let Some((found, _)) = applied.iter().find(|(number, _)| *number > known) {
        return Err(SchemaError::Newer { found: *found, known });
    }
    for migration in &MIGRATIONS {
        let checksum = Sha256Digest::of(migration.sql.as_bytes()).to_string();
        match applied.iter().find(|(number, _)| *number == migration.number) {
            Some((_, stored)) if *stored == checksum => {}
            Some((number, _)) => return Err(SchemaError::Altered(*number)),
            None => {
                transaction.execute_batch(migration.sql)?;
                transaction.execute(
                    "INSERT INTO schema_migration (number, name, sha256, applied_at) VALUES (?1, ?2, ?3, ?4)",
                    params![migration.number, migration.name, checksum, now.as_millis()],
                )?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}
