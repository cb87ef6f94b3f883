//! Makes the index anew from entries and their disclosures, beside the one that answers, and compares the two.
//!
//! The writer adds every new fact to both generations from the moment the new one begins, so that only what is older has
//! to be read. It is never held for longer than a chunk takes.

use std::sync::Arc;

use placet_core::entry::Kind;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::super::Shared;
use super::super::read_log::entry;
use super::super::requires::unsigned;
use super::super::sealer::Sealer;
use super::super::writer::Job;
use super::facts::{Token, life, of_entry};
use crate::search::Reindexed;
use crate::{CommitError, ViewError};

/// How many entries are read at a time, and how many rows are written or removed in one transaction.
const CHUNK: u64 = 2048;

/// What the writer does for the index.
pub(in crate::sqlite) enum IndexWrite {
    /// Begins a new generation. Answers with its number.
    Begin,
    /// Adds facts to it.
    Facts(i64, Chunk),
    /// Lets it answer from now on.
    Finish(i64),
    /// Gives it up.
    Abandon,
    /// Removes some facts of generations that are no more. Answers how many.
    Forget,
}

/// What a number of entries tell.
#[derive(Default)]
pub(in crate::sqlite) struct Chunk {
    facts: Vec<(Token, [u8; 16])>,
    life: i64,
    /// How many entries that should disclose something do not.
    erased: u64,
    /// How many entries were read.
    read: u64,
}

/// Does it, in a transaction of its own.
pub(in crate::sqlite) fn write(db: &Connection, write: &IndexWrite) -> rusqlite::Result<i64> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let written = apply(db, write);
    let ended = db.execute_batch(if written.is_ok() { "COMMIT" } else { "ROLLBACK" });
    written.and_then(|answer| ended.map(|()| answer))
}

fn apply(db: &Connection, write: &IndexWrite) -> rusqlite::Result<i64> {
    match write {
        IndexWrite::Begin => {
            // One that was left behind by a process that ended in between is given up.
            db.execute("DELETE FROM search_generation WHERE state = 'building'", [])?;
            let sql = "INSERT INTO search_generation (gen, state, life)
                       SELECT 1 + max(coalesce((SELECT max(gen) FROM search_generation), 0),
                                      coalesce((SELECT max(gen) FROM search_fact), 0)), 'building', 0
                       RETURNING gen";
            db.query_row(sql, [], |row| row.get(0))
        }
        IndexWrite::Facts(generation, chunk) => {
            let sql = "INSERT OR IGNORE INTO search_fact (gen, token, request) VALUES (?1, ?2, ?3)";
            let mut statement = db.prepare_cached(sql)?;
            for (token, request) in &chunk.facts {
                statement.execute(params![generation, token.as_slice(), request.as_slice()])?;
            }
            let sql = "UPDATE search_generation SET life = max(life, ?2) WHERE gen = ?1";
            db.execute(sql, params![generation, chunk.life])?;
            Ok(0)
        }
        IndexWrite::Finish(generation) => {
            db.execute("DELETE FROM search_generation WHERE gen <> ?1", params![generation])?;
            db.execute("UPDATE search_generation SET state = 'active' WHERE gen = ?1", params![generation])?;
            Ok(0)
        }
        IndexWrite::Abandon => {
            db.execute("DELETE FROM search_generation WHERE state = 'building'", [])?;
            Ok(0)
        }
        IndexWrite::Forget => {
            // At most one is older than the one that answers, and one newer.
            let sql = "DELETE FROM search_fact WHERE (gen, token, request) IN (
                           SELECT gen, token, request FROM search_fact WHERE gen IN (
                               SELECT gen FROM (SELECT min(gen) AS gen FROM search_fact
                                                UNION SELECT max(gen) FROM search_fact)
                               WHERE gen NOT IN (SELECT gen FROM search_generation)) LIMIT ?1)";
            db.execute(sql, params![CHUNK as i64]).map(|removed| i64::try_from(removed).unwrap_or(i64::MAX))
        }
    }
}

/// What the entries from this one on tell, as far as a chunk goes.
fn collect(db: &Connection, sealer: &Sealer, first: u64) -> Result<Chunk, ViewError> {
    let sql = "SELECT e.idx, e.id, e.time, e.kind, e.request, e.body,
                      CASE WHEN e.kind IN ('request.received', 'vote.cast') THEN d.sealed END
               FROM entry e LEFT JOIN disclosure d ON d.idx = e.idx WHERE e.idx >= ?1 AND e.idx < ?2";
    let mut statement = db.prepare_cached(sql)?;
    let (first, end) = (i64::try_from(first).unwrap_or(i64::MAX), first.saturating_add(CHUNK));
    let mut rows = statement.query(params![first, i64::try_from(end).unwrap_or(i64::MAX)])?;
    let mut chunk = Chunk::default();
    while let Some(row) = rows.next()? {
        chunk.read += 1;
        let entry = entry(sealer, row)?;
        let Some(request) = entry.request else { continue };
        chunk.life = chunk.life.max(life(entry.kind, request, entry.time).unwrap_or(0));
        let speaks = matches!(entry.kind, Kind::RequestReceived | Kind::VoteCast);
        chunk.erased += u64::from(speaks && entry.disclosures.is_empty());
        let tokens = of_entry(sealer, &entry).into_iter();
        chunk.facts.extend(tokens.map(|token| (token, *request.as_bytes())));
    }
    Ok(chunk)
}

/// Makes the first generation of a database that is older than the index, before anybody uses it.
pub(in crate::sqlite) fn fill_if_new(db: &Connection, sealer: &Sealer) -> Result<(), ViewError> {
    if super::active(db)?.is_some() {
        return Ok(());
    }
    tracing::info!("making the search index of this database, once");
    let generation = write(db, &IndexWrite::Begin)?;
    let mut first = 0;
    loop {
        let chunk = collect(db, sealer, first)?;
        if chunk.read == 0 {
            break;
        }
        first += chunk.read;
        write(db, &IndexWrite::Facts(generation, chunk))?;
    }
    write(db, &IndexWrite::Finish(generation))?;
    Ok(())
}

/// The way to the writer for whoever makes the index anew; it does not keep the store from closing.
struct Hand {
    shared: Arc<Shared>,
    queue: mpsc::WeakSender<Job>,
}

impl Hand {
    async fn write(&self, write: IndexWrite) -> Result<i64, CommitError> {
        let stopped = || CommitError::from(self.shared.why_stopped());
        let (waiter, answer) = oneshot::channel();
        let queue = self.queue.upgrade().ok_or_else(stopped)?;
        queue.send(Job::Index(write, waiter)).await.map_err(|_| stopped())?;
        drop(queue);
        let written = answer.await.map_err(|_| stopped())?;
        written.map_err(|error| CommitError::Unavailable(error.to_string()))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared, &Connection) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, CommitError> {
        self.shared.scan(read).await.map_err(|error| match error {
            ViewError::Corrupt { .. } => CommitError::Refused(error.to_string()),
            ViewError::Unavailable(reason) => CommitError::Unavailable(reason),
            ViewError::Stopped(why) => CommitError::Stopped(why),
        })
    }

    async fn build(&self, generation: i64) -> Result<Reindexed, CommitError> {
        let mut done = Reindexed::default();
        // Everything that is written from now on is written to both generations.
        let size = self.read(|_, db| Ok(super::super::read_log::log(db)?.frontier.size())).await?;
        while done.entries < size {
            let first = done.entries;
            let chunk = self.read(move |shared, db| collect(db, &shared.sealer, first)).await?;
            if chunk.read == 0 {
                break;
            }
            done.entries += chunk.read;
            done.erased += chunk.erased;
            self.write(IndexWrite::Facts(generation, chunk)).await?;
        }
        let (facts, missing, surplus) = self.read(move |_, db| compare(db, generation)).await?;
        Ok(Reindexed { facts, missing, surplus, ..done })
    }
}

/// How many facts the new generation has, how many of them the active one lacks, and how many that has beyond them.
fn compare(db: &Connection, generation: i64) -> Result<(u64, u64, u64), ViewError> {
    let active = super::active(db)?.map_or(0, |(active, _)| active);
    let count = |sql: &str, left: i64, right: i64| {
        let counted: i64 = db.prepare_cached(sql)?.query_row(params![left, right], |row| row.get(0))?;
        Ok::<u64, ViewError>(unsigned(counted))
    };
    let only = "SELECT count(*) FROM search_fact AS fact WHERE gen = ?1 AND NOT EXISTS (
                    SELECT 1 FROM search_fact WHERE gen = ?2 AND token = fact.token AND request = fact.request)";
    let facts =
        count("SELECT count(*) FROM search_fact WHERE gen = ?1 AND ?2 IS NOT NULL", generation, generation)?;
    Ok((facts, count(only, generation, active)?, count(only, active, generation)?))
}

/// Makes the index anew while the store is in use.
pub(in crate::sqlite) async fn reindex(
    shared: Arc<Shared>,
    queue: mpsc::WeakSender<Job>,
) -> Result<Reindexed, CommitError> {
    // One at a time: a second one would take the first one's generation away.
    let _turn = shared.reindexing.lock().await;
    let hand = Hand { shared: Arc::clone(&shared), queue };
    let generation = hand.write(IndexWrite::Begin).await?;
    let built = hand.build(generation).await;
    match &built {
        Ok(_) => hand.write(IndexWrite::Finish(generation)).await?,
        Err(_) => hand.write(IndexWrite::Abandon).await?,
    };
    while hand.write(IndexWrite::Forget).await? > 0 {}
    built
}
