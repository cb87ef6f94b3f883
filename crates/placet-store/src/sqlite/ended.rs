//! Sessions and tokens that are ended before their time.
//!
//! What lets somebody in leaves its table, with everything that was sealed: nothing is left that a change of one column
//! could bring back. What stays is whose it was, when it ended and why, until it would have ended by itself.

use placet_core::digest::Sha256Digest;
use placet_core::directory::{AccessEnd, EndedAccess};
use placet_core::id::{PersonId, SessionId, TokenId};
use placet_core::review::Evidence;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::prepare::Row;
use super::rows::{execute, one};
use super::sealer::corrupt;
use super::writer::Failure;
use crate::ViewError;

/// Writes one row that ends something.
pub(super) fn write(db: &Connection, row: &Row, now: Timestamp) -> Result<(), Failure> {
    match row {
        Row::EndSession(id) => {
            let ended = end_session(db, "id", id.as_bytes(), AccessEnd::SignedOut, now)?;
            one(ended, "session")
        }
        Row::EndAccess(person, why) => {
            end_session(db, "person", person.as_bytes(), *why, now)?;
            let sql = "DELETE FROM invitation WHERE person = ?1 AND consumed_at IS NULL";
            execute(db, sql, params![person.as_bytes().as_slice()])?;
            end_token(db, "person", person.as_bytes(), *why, now).map(drop)
        }
        Row::RevokeToken(id) => {
            let ended = end_token(db, "id", id.as_bytes(), AccessEnd::Revoked, now)?;
            one(ended, "token")
        }
        _ => Ok(()),
    }
}

/// Ends the sessions whose column has this value. How many.
fn end_session(
    db: &Connection,
    column: &'static str,
    value: &[u8; 16],
    why: AccessEnd,
    now: Timestamp,
) -> Result<usize, Failure> {
    let values = params![value.as_slice(), why.as_str(), now.as_millis()];
    forget_expired(db, now)?;
    let sql = format!(
        "INSERT INTO ended_access (hash, kind, id, person, why, ended_at, expires_at)
         SELECT secret_hash, 'session', id, person, ?2, ?3, expires_at FROM session
         WHERE {column} = ?1 AND expires_at > ?3"
    );
    execute(db, &sql, values)?;
    execute(db, &format!("DELETE FROM session WHERE {column} = ?1"), params![value.as_slice()])
}

/// The same for API tokens.
fn end_token(
    db: &Connection,
    column: &'static str,
    value: &[u8; 16],
    why: AccessEnd,
    now: Timestamp,
) -> Result<usize, Failure> {
    let values = params![value.as_slice(), why.as_str(), now.as_millis()];
    forget_expired(db, now)?;
    let sql = format!(
        "INSERT INTO ended_access (hash, kind, id, person, why, ended_at, expires_at)
         SELECT token_hash, 'token', id, person, ?2, ?3, expires_at FROM person_token
         WHERE {column} = ?1 AND expires_at > ?3"
    );
    execute(db, &sql, values)?;
    execute(db, &format!("DELETE FROM person_token WHERE {column} = ?1"), params![value.as_slice()])
}

fn forget_expired(db: &Connection, now: Timestamp) -> Result<(), Failure> {
    execute(db, "DELETE FROM ended_access WHERE expires_at <= ?1", params![now.as_millis()]).map(drop)
}

/// What of this hash was ended before its time, as long as that time is not over.
pub(super) fn ended_access(
    db: &Connection,
    hash: Sha256Digest,
    now: Timestamp,
) -> Result<Option<EndedAccess>, ViewError> {
    let sql = "SELECT kind, id, person, why, ended_at FROM ended_access WHERE hash = ?1 AND expires_at > ?2";
    type Row = (String, [u8; 16], [u8; 16], String, i64);
    let found: Option<Row> = db
        .prepare_cached(sql)?
        .query_row(params![hash.as_bytes().as_slice(), now.as_millis()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((kind, id, person, why, ended_at)) = found else { return Ok(None) };
    let unknown = || corrupt("an ended access", "it has a word that this version does not know");
    let evidence = match kind.as_str() {
        "session" => Evidence::Session(SessionId::from_bytes(id)),
        "token" => Evidence::Token(TokenId::from_bytes(id)),
        _ => return Err(unknown()),
    };
    Ok(Some(EndedAccess {
        person: PersonId::from_bytes(person),
        evidence,
        why: AccessEnd::parse(&why).ok_or_else(unknown)?,
        ended_at: Timestamp::from_millis(ended_at),
    }))
}
