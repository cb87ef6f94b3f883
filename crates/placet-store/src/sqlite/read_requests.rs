//! Reads requests, votes, keys and cards.

use std::collections::{BTreeMap, HashMap};

use placet_core::action::Principal;
use placet_core::digest::{ActionDigest, Sha256Digest, ShortCode};
use placet_core::id::{AgentId, ExecutionId, PersonId, RequestId};
use placet_core::request::Status;
use placet_core::retry::{KEY_LIFETIME, KeyRecord, Twin};
use placet_core::review::Vote;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::prepare::RequestColumns;
use super::requires::{newest_twin, pending, unsigned};
use super::sealer::{Opened, Place, Sealer, corrupt};
use crate::keys::Subject;
use crate::row::Body;
use crate::{DELIVERY_LIFETIME, Due, Load, PAGE_MAX, RequestFilter, StoredRequest, ViewError};

const WHAT: &str = "a request";

/// One request, if it is there and not erased.
pub(super) fn request(
    db: &Connection,
    sealer: &Sealer,
    id: RequestId,
) -> Result<Option<StoredRequest>, ViewError> {
    Ok(load(db, sealer, id)?.and_then(Opened::whole))
}

/// One request; erased if its key was destroyed.
pub(super) fn load(
    db: &Connection,
    sealer: &Sealer,
    id: RequestId,
) -> Result<Option<Opened<StoredRequest>>, ViewError> {
    let sql = "SELECT id, version, principal, status, reviewed, resolved, twin_mac, short_code, execution,
                      deadline, created_at, updated_at, sealed FROM request WHERE id = ?1";
    let found = db
        .prepare_cached(sql)?
        .query_row(params![id.as_bytes().as_slice()], |row| Ok((columns(row)?, row.get::<_, Vec<u8>>(12)?)))
        .optional()?;
    let Some((columns, sealed)) = found else { return Ok(None) };
    let columns = columns.ok_or_else(|| corrupt(WHAT, "a column holds a word that no version wrote"))?;
    let place = Place::request(id.as_bytes(), columns.version);
    let body: Body = match sealer.open(WHAT, &place, &sealed)? {
        Opened::Whole(body) => body,
        Opened::Erased => return Ok(Some(Opened::Erased)),
    };
    let mut request = body.request;
    if RequestColumns::of(&request, sealer) != columns {
        return Err(corrupt(WHAT, "its columns are not those that were sealed"));
    }
    request.votes = match votes(db, sealer, id)? {
        Opened::Whole(votes) => votes,
        Opened::Erased => return Ok(Some(Opened::Erased)),
    };
    if request.votes.len() != body.votes {
        return Err(corrupt(WHAT, "a vote is missing, or there is one too many"));
    }
    Ok(Some(Opened::Whole(StoredRequest { request, entries: entry_indices(db, id)? })))
}

/// None if a word in it is unknown.
fn columns(row: &Row<'_>) -> rusqlite::Result<Option<RequestColumns>> {
    let status: String = row.get(3)?;
    let code: String = row.get(7)?;
    let (Some(status), Ok(short_code)) = (Status::parse(&status), ShortCode::parse(&code)) else {
        return Ok(None);
    };
    Ok(Some(RequestColumns {
        id: RequestId::from_bytes(row.get(0)?),
        version: unsigned(row.get(1)?),
        principal: row.get(2)?,
        status,
        reviewed: row.get(4)?,
        resolved: row.get(5)?,
        twin_mac: row.get(6)?,
        short_code,
        execution: row.get(8)?,
        deadline: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_millis),
        created_at: Timestamp::from_millis(row.get(10)?),
        updated_at: Timestamp::from_millis(row.get(11)?),
    }))
}

fn votes(db: &Connection, sealer: &Sealer, request: RequestId) -> Result<Opened<Vec<Vote>>, ViewError> {
    let sql = "SELECT person, round, sealed FROM vote WHERE request = ?1 ORDER BY seq";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![request.as_bytes().as_slice()])?;
    let mut votes: Vec<Vote> = Vec::new();
    while let Some(row) = rows.next()? {
        let (person, round): ([u8; 16], u32) = (row.get(0)?, row.get(1)?);
        let sealed: Vec<u8> = row.get(2)?;
        let place = Place::vote(request.as_bytes(), votes.len());
        let vote: Vote = match sealer.open("a vote", &place, &sealed)? {
            Opened::Whole(vote) => vote,
            Opened::Erased => return Ok(Opened::Erased),
        };
        if *vote.person.as_bytes() != person || vote.round != round {
            return Err(corrupt("a vote", "its columns are not those that were sealed"));
        }
        votes.push(vote);
    }
    Ok(Opened::Whole(votes))
}

pub(super) fn entry_indices(db: &Connection, request: RequestId) -> rusqlite::Result<Vec<u64>> {
    let mut statement = db.prepare_cached("SELECT idx FROM entry WHERE request = ?1 ORDER BY idx")?;
    let rows = statement.query_map(params![request.as_bytes().as_slice()], |row| row.get(0).map(unsigned))?;
    rows.collect()
}

/// The open request with this code, else the newest one.
pub(super) fn request_by_code(
    db: &Connection,
    sealer: &Sealer,
    code: &ShortCode,
) -> Result<Option<StoredRequest>, ViewError> {
    let sql = "SELECT id FROM request WHERE short_code = ?1
               ORDER BY status IN ('pending', 'granted', 'executing') DESC, id DESC LIMIT 1";
    let id = db.prepare_cached(sql)?.query_row(params![code.as_str()], id_column).optional()?;
    id.map_or(Ok(None), |id| request(db, sealer, id))
}

fn id_column(row: &Row<'_>) -> rusqlite::Result<RequestId> {
    row.get(0).map(RequestId::from_bytes)
}

/// Requests, newest first. Erased ones are left out: there is nothing to show.
pub(super) fn requests(
    db: &Connection,
    sealer: &Sealer,
    filter: &RequestFilter,
) -> Result<Vec<StoredRequest>, ViewError> {
    let limit = filter.limit.min(PAGE_MAX);
    let mut page = Vec::with_capacity(limit);
    let mut before = filter.before;
    // More than one round only where erased requests left gaps.
    while page.len() < limit {
        let ids = ids(db, filter, before, limit)?;
        for id in &ids {
            match load(db, sealer, *id)? {
                Some(Opened::Whole(request)) if page.len() < limit => page.push(request),
                _ => {}
            }
        }
        if ids.len() < limit {
            break;
        }
        before = ids.last().copied();
    }
    Ok(page)
}

/// One ordered index walk for each state, merged: what a page costs does not depend on how many requests there are.
fn ids(
    db: &Connection,
    filter: &RequestFilter,
    before: Option<RequestId>,
    limit: usize,
) -> rusqlite::Result<Vec<RequestId>> {
    // An id of all ones sorts after every other.
    let before = before.map_or([0xff; 16], |id| *id.as_bytes());
    let (before, limit) = (before.as_slice(), limit as i64);
    let mut found: Vec<RequestId> = Vec::new();
    match (filter.principal, filter.statuses.as_slice()) {
        (None, statuses) if filter.reviewed_only => {
            // Served by the index of these requests alone: what policy decided by itself costs nothing here.
            let statuses = if statuses.is_empty() { &Status::ALL } else { statuses };
            let sql = "SELECT id FROM request WHERE reviewed = 1 AND status = ?3 AND id < ?1
                       ORDER BY id DESC LIMIT ?2";
            let mut statement = db.prepare_cached(sql)?;
            for status in statuses {
                for id in statement.query_map(params![before, limit, status.as_str()], id_column)? {
                    found.push(id?);
                }
            }
        }
        (None, []) => {
            let sql = "SELECT id FROM request WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            let mut statement = db.prepare_cached(sql)?;
            for id in statement.query_map(params![before, limit], id_column)? {
                found.push(id?);
            }
        }
        (None, statuses) => {
            let sql = "SELECT id FROM request WHERE status = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2";
            let mut statement = db.prepare_cached(sql)?;
            for status in statuses {
                for id in statement.query_map(params![before, limit, status.as_str()], id_column)? {
                    found.push(id?);
                }
            }
        }
        (Some(principal), statuses) => {
            let statuses = if statuses.is_empty() { &Status::ALL } else { statuses };
            let sql =
                "SELECT id FROM request WHERE principal = ?4 AND status = ?3 AND id < ?1 AND reviewed >= ?5
                       ORDER BY id DESC LIMIT ?2";
            let mut statement = db.prepare_cached(sql)?;
            for status in statuses {
                let reviewed = filter.reviewed_only;
                let params = params![before, limit, status.as_str(), principal.to_string(), reviewed];
                for id in statement.query_map(params, id_column)? {
                    found.push(id?);
                }
            }
        }
    }
    found.sort_unstable_by(|left, right| right.cmp(left));
    found.dedup();
    found.truncate(limit as usize);
    Ok(found)
}

/// Requests whose deadline has come, soonest first.
pub(super) fn due(
    db: &Connection,
    at: Timestamp,
    after: Option<Due>,
    limit: usize,
) -> Result<Vec<Due>, ViewError> {
    let sql = "SELECT id, deadline FROM request WHERE deadline <= ?1 AND (deadline, id) > (?2, ?3)
               ORDER BY deadline, id LIMIT ?4";
    let mut statement = db.prepare_cached(sql)?;
    let (deadline, id) = after.map_or((-1, [0; 16]), |due| (due.at.as_millis(), *due.request.as_bytes()));
    let params = params![at.as_millis(), deadline, id.as_slice(), limit.min(PAGE_MAX) as i64];
    let rows = statement.query_map(params, |row| {
        Ok(Due { at: Timestamp::from_millis(row.get(1)?), request: id_column(row)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn next_deadline(db: &Connection) -> Result<Option<Timestamp>, ViewError> {
    let sql = "SELECT min(deadline) FROM request WHERE deadline IS NOT NULL";
    let next: Option<i64> = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_millis))
}

pub(super) fn counts(db: &Connection) -> Result<BTreeMap<Status, u64>, ViewError> {
    let mut statement = db.prepare_cached("SELECT status, count(*) FROM request GROUP BY status")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let mut counts: BTreeMap<Status, u64> = Status::ALL.into_iter().map(|status| (status, 0)).collect();
    for row in rows {
        let (word, count) = row?;
        let status = Status::parse(&word).ok_or_else(|| corrupt(WHAT, "its state is unknown"))?;
        counts.insert(status, unsigned(count));
    }
    Ok(counts)
}

/// Counted by the minute, so that the answer may hold a few reviews of the minute in which `since` lies.
pub(super) fn load_of(db: &Connection, principal: Principal, since: Timestamp) -> Result<Load, ViewError> {
    let sql =
        "SELECT coalesce(sum(reviews), 0) FROM principal_asked WHERE principal = ?1 AND minute >= ?2 / 60000";
    let mut statement = db.prepare_cached(sql)?;
    let reviews = statement.query_row(params![principal.to_string(), since.as_millis()], |row| row.get(0))?;
    Ok(Load { reviews, pending: pending(db, principal)? })
}

pub(super) fn twin(
    db: &Connection,
    sealer: &Sealer,
    principal: Principal,
    digest: ActionDigest,
) -> Result<Option<Twin>, ViewError> {
    let Some(id) = newest_twin(db, &sealer.twin_mac(principal, digest))? else { return Ok(None) };
    let sql = "SELECT id, status, reviewed, updated_at, resolved FROM request WHERE id = ?1";
    let (request, word, reviewed, updated_at, resolved) =
        db.prepare_cached(sql)?.query_row(params![id.as_slice()], |row| {
            let status: String = row.get(1)?;
            let updated_at = Timestamp::from_millis(row.get(3)?);
            Ok((id_column(row)?, status, row.get::<_, bool>(2)?, updated_at, row.get::<_, bool>(4)?))
        })?;
    let status = Status::parse(&word).ok_or_else(|| corrupt(WHAT, "its state is unknown"))?;
    Ok(Some(Twin { request, status, reviewed, updated_at, resolved }))
}

/// A key, while it is remembered. An erased one is forgotten.
pub(super) fn key(
    db: &Connection,
    sealer: &Sealer,
    principal: Principal,
    key: &str,
    now: Timestamp,
) -> Result<Option<KeyRecord>, ViewError> {
    let mac = sealer.key_mac(principal, key);
    let sql = "SELECT sealed FROM idempotency_key WHERE mac = ?1";
    let sealed: Option<Vec<u8>> =
        db.prepare_cached(sql)?.query_row(params![mac.as_slice()], |row| row.get(0)).optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let record: Option<KeyRecord> =
        sealer.open("an idempotency key", &Place::new("key", &[&mac]), &sealed)?.whole();
    Ok(record.filter(|record| now.since(record.at) < KEY_LIFETIME))
}

/// What came out of an execution, while it is kept. What was erased is gone.
pub(super) fn delivery(
    db: &Connection,
    sealer: &Sealer,
    request: RequestId,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, ViewError> {
    let after = now.as_millis().saturating_sub(DELIVERY_LIFETIME.as_millis() as i64);
    let sealed: Option<Vec<u8>> = db
        .prepare_cached("SELECT sealed FROM delivery WHERE request = ?1 AND at > ?2")?
        .query_row(params![request.as_bytes().as_slice(), after], |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let place = Place::new("delivery", &[request.as_bytes()]);
    match sealer.open_bytes("what came out of an execution", &place, &sealed)? {
        Opened::Whole(bytes) => Ok(Some(bytes.to_vec())),
        Opened::Erased => Ok(None),
    }
}

/// A card as shown. An erased one is gone.
pub(super) fn card(
    db: &Connection,
    sealer: &Sealer,
    hash: Sha256Digest,
) -> Result<Option<Vec<u8>>, ViewError> {
    let mac = sealer.card_mac(hash);
    let sealed: Option<Vec<u8>> = db
        .prepare_cached("SELECT sealed FROM card WHERE mac = ?1")?
        .query_row(params![mac.as_slice()], |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let opened = sealer.open_bytes("a card", &Place::new("card", &[&mac]), &sealed)?;
    Ok(opened.whole().map(|bytes| bytes.to_vec()))
}

/// The recording of an execution. An erased one is gone.
pub(super) fn recording(
    db: &Connection,
    sealer: &Sealer,
    execution: ExecutionId,
) -> Result<Option<Vec<u8>>, ViewError> {
    let id = execution.as_bytes();
    let sealed: Option<Vec<u8>> = db
        .prepare_cached("SELECT sealed FROM recording WHERE execution = ?1")?
        .query_row(params![id.as_slice()], |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let opened = sealer.open_bytes("a recording", &Place::recording(id), &sealed)?;
    Ok(opened.whole().map(|bytes| bytes.to_vec()))
}

/// Whose requests these are. Unknown ones are left out.
pub(super) fn subjects(
    db: &Connection,
    requests: &[RequestId],
) -> Result<HashMap<RequestId, Subject>, ViewError> {
    let mut subjects = HashMap::new();
    let mut statement = db.prepare_cached("SELECT principal FROM request WHERE id = ?1")?;
    for id in requests {
        let principal: Option<String> =
            statement.query_row(params![id.as_bytes().as_slice()], |row| row.get(0)).optional()?;
        let Some(principal) = principal else { continue };
        let agent = AgentId::parse(&principal).map(Subject::Agent);
        let subject = agent.or_else(|_| PersonId::parse(&principal).map(Subject::Person));
        subjects.insert(*id, subject.map_err(|_| corrupt(WHAT, "its principal is unknown"))?);
    }
    Ok(subjects)
}
