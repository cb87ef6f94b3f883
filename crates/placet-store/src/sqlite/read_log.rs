//! Reads the log.

use std::collections::BTreeMap;

use placet_core::entry::{Disclosure, Kind};
use placet_core::id::RequestId;
use placet_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::head;
use super::requires::unsigned;
use super::sealer::{Place, Sealer, corrupt};
use crate::{ENTRIES_MAX, EntryFilter, LogHead, PAGE_MAX, StoredEntry, ViewError};

pub(super) fn log(db: &Connection) -> Result<LogHead, ViewError> {
    let stored = head::read(db)?.ok_or_else(|| corrupt("the log's head", "it is missing"))?;
    let head = stored.head;
    Ok(LogHead { name: head.name, frontier: head.frontier, last_time: head.last_time })
}

pub(super) fn entry_bytes(db: &Connection, first: u64, limit: usize) -> Result<Vec<Vec<u8>>, ViewError> {
    let Ok(first) = i64::try_from(first) else { return Ok(Vec::new()) };
    let mut statement = db.prepare_cached("SELECT body FROM entry WHERE idx >= ?1 ORDER BY idx LIMIT ?2")?;
    let rows = statement.query_map(params![first, limit.min(ENTRIES_MAX) as i64], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn entry_counts(db: &Connection, first: u64) -> Result<BTreeMap<Kind, u64>, ViewError> {
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    let mut statement =
        db.prepare_cached("SELECT kind, count(*) FROM entry WHERE idx >= ?1 GROUP BY kind")?;
    let mut rows = statement.query(params![first])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let kind = Kind::parse(&row.get::<_, String>(0)?);
        let kind = kind.ok_or_else(|| corrupt("an entry", "its kind is unknown"))?;
        counts.insert(kind, unsigned(row.get(1)?));
    }
    Ok(counts)
}

/// Entries, newest first. The query is put together from fixed parts; every value is bound.
pub(super) fn entries(
    db: &Connection,
    sealer: &Sealer,
    filter: &EntryFilter,
) -> Result<Vec<StoredEntry>, ViewError> {
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut bind = |condition, value| {
        conditions.push(condition);
        values.push(value);
    };
    if let Some(request) = filter.request {
        bind("e.request = ?", Value::Blob(request.as_bytes().to_vec()));
    }
    if let Some(from) = filter.from {
        bind("e.idx >= ?", Value::Integer(first_at(db, from)?));
    }
    if let Some(to) = filter.to {
        bind("e.idx < ?", Value::Integer(first_at(db, to)?));
    }
    if let Some(before) = filter.before {
        bind("e.idx < ?", Value::Integer(i64::try_from(before).unwrap_or(i64::MAX)));
    }
    let mut sql = String::from(
        "SELECT e.idx, e.id, e.time, e.kind, e.request, e.body, d.sealed
         FROM entry e LEFT JOIN disclosure d ON d.idx = e.idx WHERE 1",
    );
    for condition in conditions {
        sql.push_str(" AND ");
        sql.push_str(condition);
    }
    if !filter.kinds.is_empty() {
        let marks = vec!["?"; filter.kinds.len()].join(", ");
        sql.push_str(&format!(" AND e.kind IN ({marks})"));
        values.extend(filter.kinds.iter().map(|kind| Value::Text(kind.as_str().to_owned())));
    }
    sql.push_str(" ORDER BY e.idx DESC LIMIT ?");
    values.push(Value::Integer(filter.limit.min(PAGE_MAX) as i64));
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(sealer, row)?);
    }
    Ok(entries)
}

/// Index of the first entry at or after this time; of the next one, if there is none. Times never fall, so it is found
/// by halving.
pub(super) fn first_at(db: &Connection, time: Timestamp) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(idx) + 1, 0) FROM entry";
    let (mut low, mut high): (i64, i64) = (0, db.prepare_cached(sql)?.query_row([], |row| row.get(0))?);
    let mut statement = db.prepare_cached("SELECT time FROM entry WHERE idx = ?1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found: i64 = statement.query_row(params![middle], |row| row.get(0))?;
        if found < time.as_millis() { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

pub(super) fn entry(sealer: &Sealer, row: &Row<'_>) -> Result<StoredEntry, ViewError> {
    let id: [u8; 16] = row.get(1)?;
    let kind = Kind::parse(&row.get::<_, String>(3)?);
    let disclosures = match row.get::<_, Option<Vec<u8>>>(6)? {
        Some(sealed) => {
            let opened = sealer.open("disclosures", &Place::new("disclosure", &[&id]), &sealed)?;
            opened.whole().unwrap_or_default()
        }
        None => Vec::<Disclosure>::new(),
    };
    Ok(StoredEntry {
        index: unsigned(row.get(0)?),
        bytes: row.get(5)?,
        kind: kind.ok_or_else(|| corrupt("an entry", "its kind is unknown"))?,
        time: Timestamp::from_millis(row.get(2)?),
        request: row.get::<_, Option<[u8; 16]>>(4)?.map(RequestId::from_bytes),
        disclosures,
    })
}
