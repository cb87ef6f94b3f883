//! Numbers over many requests, from columns that stand in clear: nothing is opened.

use std::collections::BTreeMap;

use placet_core::action::Principal;
use placet_core::entry::Kind;
use placet_core::id::{AgentId, PersonId};
use placet_core::request::Status;
use placet_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::read_log::first_at;
use super::requires::unsigned;
use super::sealer::corrupt;
use crate::{Decided, ENDED_MAX, Ended, LABELS_MAX, Overview, ViewError};

/// Everything since this time, decisions since that, and what waits now.
pub(super) fn overview(
    db: &Connection,
    since: Timestamp,
    decided_since: Timestamp,
) -> Result<Overview, ViewError> {
    let (waiting, oldest) = db
        .prepare_cached("SELECT count(*), min(created_at) FROM request WHERE status = 'pending'")?
        .query_row([], |row| Ok((unsigned(row.get(0)?), row.get::<_, Option<i64>>(1)?)))?;
    Ok(Overview {
        waiting,
        oldest: oldest.map(Timestamp::from_millis),
        waiting_roles: words(
            db,
            "SELECT w.word, count(*) FROM request r JOIN review_word w ON w.request = r.id AND w.kind = 'role'
             WHERE r.status = 'pending' AND ?1 IS NOT NULL GROUP BY w.word ORDER BY 2 DESC, 1 LIMIT ?2",
            since,
        )?,
        decided: decided(db, decided_since)?,
        ended: ended(db, since)?,
        guards: words(
            db,
            "SELECT word, count(*) FROM review_word WHERE kind = 'guard' AND asked_at >= ?1
             GROUP BY word ORDER BY 2 DESC, 1 LIMIT ?2",
            since,
        )?,
        requesters: requesters(db, since)?,
        votes_refused: counted(db, Kind::VoteRefused, since)?,
        votes_cast: counted(db, Kind::VoteCast, since)?,
    })
}

fn words(db: &Connection, sql: &str, since: Timestamp) -> Result<Vec<(String, u64)>, ViewError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![since.as_millis(), LABELS_MAX as i64], |row| {
        Ok((row.get(0)?, unsigned(row.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest decisions of people, from one index.
fn decided(db: &Connection, since: Timestamp) -> Result<Vec<Decided>, ViewError> {
    let sql = "SELECT decided_at, asked_at FROM review
               WHERE decided_at >= ?1 AND result IN ('granted', 'denied') ORDER BY decided_at DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![since.as_millis(), ENDED_MAX as i64], |row| {
        let (decided, asked): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Decided { at: Timestamp::from_millis(decided), asked_at: Timestamp::from_millis(asked) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many requests ended in each hour, in each state.
fn ended(db: &Connection, since: Timestamp) -> Result<Vec<Ended>, ViewError> {
    let sql = "SELECT updated_at / 3600000, status, count(*) FROM request
               WHERE updated_at >= ?1 AND status NOT IN ('pending', 'granted', 'executing') GROUP BY 1, 2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![since.as_millis()])?;
    let mut ended = Vec::new();
    while let Some(row) = rows.next()? {
        let (hour, word, count): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let status = Status::parse(&word).ok_or_else(|| corrupt("a request", "its state is unknown"))?;
        let hour = Timestamp::from_millis(hour.saturating_mul(3_600_000));
        ended.push(Ended { hour, status, count: unsigned(count) });
    }
    Ok(ended)
}

/// Who asked most. An id begins with the millisecond of its intake, so the table is walked from there.
fn requesters(db: &Connection, since: Timestamp) -> Result<Vec<(Principal, u64)>, ViewError> {
    let mut first = [0; 16];
    for (byte, millis) in first.iter_mut().zip(since.as_millis().to_be_bytes().iter().skip(2)) {
        *byte = *millis;
    }
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    // Each principal has a stretch of the index by principal, status and id: they are found by jumping from one to the
    // next, and counted there.
    let mut next = db.prepare_cached("SELECT min(principal) FROM request WHERE principal > ?1")?;
    let mut count =
        db.prepare_cached("SELECT count(*) FROM request WHERE principal = ?1 AND status = ?2 AND id >= ?3")?;
    let mut principal: Option<String> = next.query_row([""], |row| row.get(0))?;
    while let Some(found) = principal {
        let mut total: u64 = 0;
        for status in Status::ALL {
            let params = params![found, status.as_str(), first.as_slice()];
            total = total.saturating_add(unsigned(count.query_row(params, |row| row.get(0))?));
        }
        principal = next.query_row([&found], |row| row.get(0))?;
        if total > 0 {
            totals.insert(found, total);
        }
    }
    let mut ranked: Vec<(String, u64)> = totals.into_iter().collect();
    ranked.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    ranked.truncate(LABELS_MAX);
    // A pipeline's id is an agent's id; the directory tells which it is.
    let typed = |(id, total): (String, u64)| {
        let agent = AgentId::parse(&id).map(Principal::Agent);
        let principal = agent.or_else(|_| PersonId::parse(&id).map(Principal::Person));
        principal
            .map(|principal| (principal, total))
            .map_err(|_| corrupt("a request", "its principal is unknown"))
    };
    ranked.into_iter().map(typed).collect()
}

fn counted(db: &Connection, kind: Kind, since: Timestamp) -> Result<u64, ViewError> {
    let first = first_at(db, since)?;
    let sql = "SELECT count(*) FROM entry WHERE kind = ?1 AND idx >= ?2";
    let count: i64 = db.prepare_cached(sql)?.query_row(params![kind.as_str(), first], |row| row.get(0))?;
    Ok(unsigned(count))
}
