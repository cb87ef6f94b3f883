//! Floors: what the same disk and the same processor do without placet.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, params};
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::figure::median;

/// One durable append of 4 KiB, in milliseconds: the median of many.
pub(crate) fn fdatasync_ms(directory: &Path, times: usize) -> Result<f64> {
    let path = directory.join("floor.fdatasync");
    let mut file = File::create(&path)?;
    let page = [0x5a; 4096];
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(median(took.into_iter()))
}

/// Rows as placet wrote them: what one decision leaves in its three largest tables.
pub(crate) struct Rows(Vec<RowSet>);

struct RowSet {
    id: Vec<u8>,
    request: Vec<u8>,
    entry: Vec<u8>,
    disclosure: Vec<u8>,
}

impl Rows {
    /// Reads the newest rows of a running placet's database.
    pub(crate) fn of(database: &Path, limit: usize) -> Result<Rows> {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sql = "SELECT r.id, r.sealed, e.body, d.sealed FROM request r
                   JOIN entry e ON e.request = r.id JOIN disclosure d ON d.idx = e.idx ORDER BY e.idx DESC LIMIT ?1";
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([i64::try_from(limit)?], |row| {
            Ok(RowSet { id: row.get(0)?, request: row.get(1)?, entry: row.get(2)?, disclosure: row.get(3)? })
        })?;
        let mut rows: Vec<RowSet> = rows.collect::<rusqlite::Result<_>>()?;
        if rows.is_empty() {
            return Err("there are no rows to copy".into());
        }
        // In the order in which they came.
        rows.reverse();
        Ok(Rows(rows))
    }

    /// How many bytes one of them has, on average.
    pub(crate) fn bytes_each(&self) -> f64 {
        let bytes = |row: &RowSet| row.request.len() + row.entry.len() + row.disclosure.len();
        self.0.iter().map(bytes).sum::<usize>() as f64 / self.0.len() as f64
    }

    /// Inserts them into bare tables, without an index or a check beside the key, so many in each durable
    /// transaction; gives rows a second.
    pub(crate) fn insert(&self, directory: &Path, batch: usize, time: Duration) -> Result<f64> {
        let path = directory.join("floor.db");
        let db = Connection::open(&path)?;
        db.pragma_update(None, "page_size", 8192)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "wal_autocheckpoint", 2000)?;
        db.pragma_update(None, "cache_size", -65_536)?;
        db.execute_batch(
            "CREATE TABLE request (idx INTEGER PRIMARY KEY, id BLOB NOT NULL, sealed BLOB NOT NULL) STRICT;
             CREATE TABLE entry (idx INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
             CREATE TABLE disclosure (idx INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;",
        )?;
        let began = Instant::now();
        let mut inserted: usize = 0;
        while began.elapsed() < time {
            db.execute_batch("BEGIN IMMEDIATE")?;
            for row in self.0.iter().cycle().skip(inserted % self.0.len()).take(batch) {
                db.prepare_cached("INSERT INTO request (id, sealed) VALUES (?1, ?2)")?
                    .execute(params![row.id, row.request])?;
                db.prepare_cached("INSERT INTO entry (body) VALUES (?1)")?.execute(params![row.entry])?;
                db.prepare_cached("INSERT INTO disclosure (sealed) VALUES (?1)")?
                    .execute(params![row.disclosure])?;
            }
            db.execute_batch("COMMIT")?;
            inserted += batch;
        }
        let rate = inserted as f64 / began.elapsed().as_secs_f64();
        drop(db);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(directory.join(format!("floor.db{suffix}")));
        }
        Ok(rate)
    }
}

/// One SHA-256 over these bytes, in microseconds.
pub(crate) fn sha256_us(bytes: &[u8], times: usize) -> f64 {
    each_us(times, || Sha256::digest(bytes))
}

/// One plain parse of these bytes as JSON, in microseconds.
pub(crate) fn json_us(bytes: &[u8], times: usize) -> f64 {
    each_us(times, || serde_json::from_slice::<serde_json::Value>(bytes))
}

/// Microseconds that each of many runs took: the median of a few batches, so that a clock's resolution is no matter.
pub(crate) fn each_us<T>(times: usize, mut run: impl FnMut() -> T) -> f64 {
    const BATCHES: usize = 9;
    let per_batch = times.div_ceil(BATCHES).max(1);
    let batches = (0..BATCHES).map(|_| {
        let began = Instant::now();
        for _ in 0..per_batch {
            std::hint::black_box(run());
        }
        began.elapsed().as_secs_f64() * 1e6 / per_batch as f64
    });
    median(batches)
}

/// One program from its start to its end, in milliseconds.
pub(crate) fn exec_ms(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    if status.success() { Ok(took) } else { Err(format!("{command:?} ended with {status}").into()) }
}
