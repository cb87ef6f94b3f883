//! Writes prepared rows. Each checks that it changed exactly what it meant to.

use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::retry::KEY_LIFETIME;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::ended;
use super::prepare::{AgentRow, PepRow, RequestColumns, RequestRow, Row};
use super::requires::newest_secret;
use super::search::{self, Token};
use super::writer::Failure;
use crate::{CommitError, DELIVERY_LIFETIME};

/// Writes one row of a transition.
pub(super) fn write(db: &Connection, row: &Row, now: Timestamp) -> Result<(), Failure> {
    match row {
        Row::Request(request) => write_request(db, request),
        Row::Key { mac, request, at, sealed } => {
            let expired = now.as_millis().saturating_sub(KEY_LIFETIME.as_millis() as i64);
            execute(db, "DELETE FROM idempotency_key WHERE at <= ?1", params![expired])?;
            let sql = "INSERT INTO idempotency_key (mac, request, at, sealed) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (mac) DO UPDATE
                       SET request = excluded.request, at = excluded.at, sealed = excluded.sealed";
            let (request, at) = (request.as_bytes().as_slice(), at.as_millis());
            execute(db, sql, params![mac.as_slice(), request, at, sealed]).map(drop)
        }
        Row::Card { mac, request, sealed } => {
            let sql =
                "INSERT INTO card (mac, request, sealed) VALUES (?1, ?2, ?3) ON CONFLICT (mac) DO NOTHING";
            execute(db, sql, params![mac.as_slice(), request.as_bytes().as_slice(), sealed]).map(drop)
        }
        Row::Recording { execution, request, sealed } => {
            let sql = "INSERT INTO recording (execution, request, sealed) VALUES (?1, ?2, ?3)";
            let (execution, request) = (execution.as_bytes().as_slice(), request.as_bytes().as_slice());
            execute(db, sql, params![execution, request, sealed]).map(drop)
        }
        Row::ForgetDeliveries => {
            let expired = now.as_millis().saturating_sub(DELIVERY_LIFETIME.as_millis() as i64);
            execute(db, "DELETE FROM delivery WHERE at <= ?1", params![expired]).map(drop)
        }
        Row::Delivery { request, sealed } => {
            let sql = "INSERT INTO delivery (request, at, sealed) VALUES (?1, ?2, ?3)";
            execute(db, sql, params![request.as_bytes().as_slice(), now.as_millis(), sealed]).map(drop)
        }
        Row::Person { id, active, operator_uid, groups, sealed } => {
            let sql = "INSERT INTO person (id, active, operator_uid, sealed) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (id) DO UPDATE SET active = excluded.active, sealed = excluded.sealed,
                                                      operator_uid = excluded.operator_uid";
            execute(db, sql, params![id.as_bytes().as_slice(), active, operator_uid, sealed])?;
            write_groups(db, id.as_bytes(), groups.iter().map(|group| group.as_str()))
        }
        Row::Agent(agent) => write_agent(db, agent),
        Row::Pep(pep) => write_pep(db, pep),
        Row::Group(name) => {
            let sql = "INSERT INTO directory_group (name) VALUES (?1) ON CONFLICT (name) DO NOTHING";
            execute(db, sql, params![name.as_str()]).map(drop)
        }
        Row::RemoveGroup(name) => {
            let sql = "DELETE FROM directory_group WHERE name = ?1";
            one(execute(db, sql, params![name.as_str()])?, "group")
        }
        Row::Invitation { .. } | Row::Session { .. } | Row::Token { .. } => write_access(db, row, now),
        Row::EndSession(_) | Row::EndAccess(..) | Row::RevokeToken(_) => ended::write(db, row, now),
        Row::Secret { name, version, sealed } => write_secret(db, name, *version, sealed, now),
        Row::RenewSecret { name, version, sealed } => {
            let sql = "UPDATE secret_version SET sealed = ?3 WHERE name = ?1 AND version = ?2";
            one(execute(db, sql, params![name, version, sealed])?, "secret")
        }
        Row::RemoveSecret(name) => {
            let sql = "UPDATE secret SET live = 0 WHERE name = ?1 AND live = 1";
            one(execute(db, sql, params![name])?, "secret")?;
            execute(db, "DELETE FROM secret_version WHERE name = ?1", params![name]).map(drop)
        }
        Row::Bundle { digest, files } => {
            let digest = digest.as_bytes().as_slice();
            let sql = "INSERT INTO bundle (digest) VALUES (?1) ON CONFLICT (digest) DO NOTHING";
            if execute(db, sql, params![digest])? == 0 {
                return Ok(());
            }
            for (path, bytes) in files {
                let sql = "INSERT INTO bundle_file (digest, path, bytes) VALUES (?1, ?2, ?3)";
                execute(db, sql, params![digest, path, bytes])?;
            }
            Ok(())
        }
        // It stands in the head, which is written with every batch.
        Row::Epoch(_) => Ok(()),
        Row::ActivateBundle(digest) => {
            let sql = "INSERT INTO bundle_activation (epoch, digest, at)
                       SELECT coalesce(max(epoch), 0) + 1, ?1, ?2 FROM bundle_activation";
            execute(db, sql, params![digest.as_bytes().as_slice(), now.as_millis()]).map(drop)
        }
    }
}

/// Moves the epoch that decisions about people are bound to.
pub(super) fn move_directory(db: &Connection) -> Result<(), Failure> {
    one(execute(db, "UPDATE directory_head SET epoch = epoch + 1", [])?, "directory_epoch")
}

pub(super) fn execute(db: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<usize, Failure> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// What should have changed one row and did not was decided on something that has moved.
pub(super) fn one(changed: usize, what: &str) -> Result<(), Failure> {
    if changed == 1 { Ok(()) } else { Err(CommitError::Stale(what.to_owned()).into()) }
}

fn write_request(db: &Connection, row: &RequestRow) -> Result<(), Failure> {
    let columns = &row.columns;
    let id = columns.id.as_bytes().as_slice();
    let stored = if columns.version == 1 {
        insert_request(db, columns, &row.sealed)?;
        0
    } else {
        update_request(db, columns, &row.sealed)?;
        stored_votes(db, id)?
    };
    if stored > row.votes.len() {
        return Err(CommitError::Refused("a request's votes stay".to_owned()).into());
    }
    for (seq, vote) in row.votes.iter().enumerate().skip(stored) {
        let sql = "INSERT INTO vote (request, seq, person, round, sealed) VALUES (?1, ?2, ?3, ?4, ?5)";
        let person = vote.person.as_bytes().as_slice();
        execute(db, sql, params![id, seq as i64, person, vote.round, vote.sealed])?;
    }
    if columns.reviewed { write_review(db, row) } else { Ok(()) }
}

/// When people were asked, and when and how that ended. What is decided stays decided.
fn write_review(db: &Connection, row: &RequestRow) -> Result<(), Failure> {
    let columns = &row.columns;
    let id = columns.id.as_bytes().as_slice();
    let sql = "INSERT INTO review (request, asked_at) VALUES (?1, ?2) ON CONFLICT (request) DO NOTHING";
    execute(db, sql, params![id, columns.created_at.as_millis()])?;
    if columns.status == Status::Pending {
        execute(db, "DELETE FROM review_word WHERE request = ?1", params![id])?;
        for (kind, word) in &row.words {
            let sql = "INSERT INTO review_word (request, kind, word, asked_at) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT DO NOTHING";
            execute(db, sql, params![id, kind, word, columns.created_at.as_millis()])?;
        }
        return Ok(());
    }
    let result = match columns.status {
        Status::Denied | Status::Expired | Status::Cancelled | Status::Refused => columns.status.as_str(),
        _ => Status::Granted.as_str(),
    };
    let sql = "UPDATE review SET decided_at = ?2, result = ?3 WHERE request = ?1 AND decided_at IS NULL";
    execute(db, sql, params![id, columns.updated_at.as_millis(), result]).map(drop)
}

fn stored_votes(db: &Connection, request: &[u8]) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM vote WHERE request = ?1";
    let stored: i64 = db.prepare_cached(sql)?.query_row(params![request], |row| row.get(0))?;
    Ok(usize::try_from(stored).unwrap_or(usize::MAX))
}

fn insert_request(db: &Connection, columns: &RequestColumns, sealed: &[u8]) -> Result<(), Failure> {
    let id = columns.id.as_bytes().as_slice();
    let code = columns.short_code.as_str();
    let sql = "INSERT INTO request (id, version, principal, status, reviewed, resolved, twin_mac, short_code,
                                    execution, deadline, created_at, updated_at, sealed)
               VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let inserted = execute(
        db,
        sql,
        params![
            id,
            columns.principal,
            columns.status.as_str(),
            columns.reviewed,
            columns.resolved,
            columns.twin_mac.as_slice(),
            code,
            columns.execution.as_ref().map(|id| id.as_slice()),
            columns.deadline.map(Timestamp::as_millis),
            columns.created_at.as_millis(),
            columns.updated_at.as_millis(),
            sealed
        ],
    );
    // The constraints keep both out; which of them it was is asked only when one did.
    if let Err(Failure::Transition(_)) = &inserted {
        if db.prepare_cached("SELECT 1 FROM request WHERE id = ?1")?.exists(params![id])? {
            return Err(CommitError::Stale("request_version".to_owned()).into());
        }
        let taken =
            "SELECT 1 FROM request WHERE short_code = ?1 AND status IN ('pending', 'granted', 'executing')";
        if columns.status.is_open() && db.prepare_cached(taken)?.exists(params![code])? {
            return Err(CommitError::Stale("short_code".to_owned()).into());
        }
    }
    inserted.map(drop)
}

fn update_request(db: &Connection, columns: &RequestColumns, sealed: &[u8]) -> Result<(), Failure> {
    // The columns of what was asked are written too, so that the trigger refuses a request that became another.
    let sql = "UPDATE request
               SET version = ?2, principal = ?3, status = ?4, reviewed = ?5, resolved = ?6, twin_mac = ?7,
                   short_code = ?8, execution = ?9, deadline = ?10, created_at = ?11, updated_at = ?12, sealed = ?13
               WHERE id = ?1 AND version = ?2 - 1";
    let version = i64::try_from(columns.version)
        .map_err(|_| CommitError::Refused("the version does not fit its column".to_owned()))?;
    let changed = execute(
        db,
        sql,
        params![
            columns.id.as_bytes().as_slice(),
            version,
            columns.principal,
            columns.status.as_str(),
            columns.reviewed,
            columns.resolved,
            columns.twin_mac.as_slice(),
            columns.short_code.as_str(),
            columns.execution.as_ref().map(|id| id.as_slice()),
            columns.deadline.map(Timestamp::as_millis),
            columns.created_at.as_millis(),
            columns.updated_at.as_millis(),
            sealed
        ],
    )?;
    one(changed, "request_version")
}

fn write_agent(db: &Connection, row: &AgentRow) -> Result<(), Failure> {
    let agent = &row.agent;
    let sql = "INSERT INTO agent (id, sponsor, name_mac, token_hash, credential, active, sealed)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (id) DO UPDATE
               SET sponsor = excluded.sponsor, name_mac = excluded.name_mac, token_hash = excluded.token_hash,
                   credential = excluded.credential, active = excluded.active, sealed = excluded.sealed";
    execute(
        db,
        sql,
        params![
            agent.id.as_bytes().as_slice(),
            agent.sponsor.as_bytes().as_slice(),
            row.name_mac.as_slice(),
            agent.token_hash.as_bytes().as_slice(),
            agent.credential_version,
            agent.status == placet_core::directory::Status::Active,
            row.sealed
        ],
    )?;
    write_groups(db, agent.id.as_bytes(), agent.groups.iter().map(|group| group.as_str()))
}

fn write_pep(db: &Connection, row: &PepRow) -> Result<(), Failure> {
    let pep = &row.pep;
    let sql = "INSERT INTO pep (id, kind, sponsor, name_mac, token_hash, credential, active, sealed)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (id) DO UPDATE
               SET kind = excluded.kind, sponsor = excluded.sponsor, name_mac = excluded.name_mac,
                   token_hash = excluded.token_hash, credential = excluded.credential, active = excluded.active,
                   sealed = excluded.sealed";
    let values = params![
        pep.id.as_bytes().as_slice(),
        pep.kind.as_str(),
        pep.sponsor.as_bytes().as_slice(),
        row.name_mac.as_slice(),
        pep.token_hash.as_bytes().as_slice(),
        pep.credential_version,
        pep.status == placet_core::directory::Status::Active,
        row.sealed
    ];
    execute(db, sql, values).map(drop)
}

fn write_groups<'a>(
    db: &Connection,
    member: &[u8; 16],
    groups: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    execute(db, "DELETE FROM membership WHERE member = ?1", params![member.as_slice()])?;
    for group in groups {
        let sql = r#"INSERT INTO membership (member, "group") VALUES (?1, ?2)"#;
        execute(db, sql, params![member.as_slice(), group])?;
    }
    Ok(())
}

fn write_access(db: &Connection, row: &Row, now: Timestamp) -> Result<(), Failure> {
    match row {
        Row::Invitation { invitation, sealed } => {
            let id = invitation.id.as_bytes().as_slice();
            if let Some(consumed_at) = invitation.consumed_at {
                let sql = "UPDATE invitation SET consumed_at = ?2, sealed = ?3
                           WHERE id = ?1 AND consumed_at IS NULL AND person = ?4 AND secret_hash = ?5";
                let person = invitation.person.as_bytes().as_slice();
                let hash = invitation.secret_hash.as_bytes().as_slice();
                let changed = execute(db, sql, params![id, consumed_at.as_millis(), sealed, person, hash])?;
                return one(changed, "invitation");
            }
            let sql = "INSERT INTO invitation (id, person, secret_hash, expires_at, sealed)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let person = invitation.person.as_bytes().as_slice();
            let hash = invitation.secret_hash.as_bytes().as_slice();
            execute(db, sql, params![id, person, hash, invitation.expires_at.as_millis(), sealed]).map(drop)
        }
        Row::Session { session, sealed } => {
            let person = session.person.as_bytes().as_slice();
            let sql = "DELETE FROM session WHERE person = ?1 AND expires_at <= ?2";
            execute(db, sql, params![person, now.as_millis()])?;
            let sql = "INSERT INTO session (id, person, secret_hash, expires_at, sealed)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let id = session.id.as_bytes().as_slice();
            let hash = session.secret_hash.as_bytes().as_slice();
            execute(db, sql, params![id, person, hash, session.expires_at.as_millis(), sealed]).map(drop)
        }
        Row::Token { token, sealed } => {
            let sql = "INSERT INTO person_token (id, person, token_hash, expires_at, sealed)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let id = token.id.as_bytes().as_slice();
            let person = token.person.as_bytes().as_slice();
            let hash = token.token_hash.as_bytes().as_slice();
            execute(db, sql, params![id, person, hash, token.expires_at.as_millis(), sealed]).map(drop)
        }
        _ => Ok(()),
    }
}

fn write_secret(
    db: &Connection,
    name: &str,
    version: u32,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), Failure> {
    if newest_secret(db, name)?.checked_add(1) != Some(version) {
        return Err(CommitError::Stale("secret_version".to_owned()).into());
    }
    let sql = "INSERT INTO secret (name, newest, set_at, live) VALUES (?1, ?2, ?3, 1)
               ON CONFLICT (name) DO UPDATE SET newest = excluded.newest, set_at = excluded.set_at, live = 1";
    execute(db, sql, params![name, version, now.as_millis()])?;
    let sql = "INSERT INTO secret_version (name, version, sealed) VALUES (?1, ?2, ?3)";
    execute(db, sql, params![name, version, sealed]).map(drop)
}

/// Writes what a request is found by from now on, to the index that answers and to one that is being made.
pub(super) fn write_facts(
    db: &Connection,
    kind: Kind,
    request: RequestId,
    tokens: &[Token],
    now: Timestamp,
) -> Result<(), Failure> {
    for token in tokens {
        let sql = "INSERT OR IGNORE INTO search_fact (gen, token, request)
                   SELECT gen, ?1, ?2 FROM search_generation";
        execute(db, sql, params![token.as_slice(), request.as_bytes().as_slice()])?;
    }
    if let Some(life) = search::life(kind, request, now) {
        execute(db, "UPDATE search_generation SET life = ?1 WHERE life < ?1", params![life])?;
    }
    Ok(())
}

/// Index of the last entry of this request.
pub(super) fn last_entry(db: &Connection, request: &[u8; 16]) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT idx FROM entry WHERE request = ?1 ORDER BY idx DESC LIMIT 1";
    db.prepare_cached(sql)?.query_row(params![request.as_slice()], |row| row.get(0)).optional()
}
