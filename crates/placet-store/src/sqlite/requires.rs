//! Checks preconditions in the transaction that depends on them.

use std::time::Duration;

use placet_core::action::Principal;
use placet_core::retry::KEY_LIFETIME;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::sealer::Sealer;
use super::writer::{Epochs, Failure};
use crate::{CommitError, Requires};

/// How far the machine's clock may be behind the last entry before nothing is granted or claimed any more.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(2);

/// The times that a transition sees.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// The machine's clock.
    pub(super) clock: Timestamp,
    /// Of the last entry.
    pub(super) last: Timestamp,
}

impl Times {
    /// The store's time.
    pub(super) fn now(self) -> Timestamp {
        self.clock.max(self.last)
    }
}

/// Ok if it holds.
pub(super) fn check(
    db: &Connection,
    sealer: &Sealer,
    times: Times,
    epochs: Epochs,
    requires: &Requires,
) -> Result<(), Failure> {
    let holds = match requires {
        Requires::BundleEpoch(epoch) => epochs.bundle == *epoch,
        Requires::DirectoryEpoch(epoch) => epochs.directory == *epoch,
        Requires::Before(time) => times.now() < *time,
        Requires::NotBefore(time) => times.now() >= *time,
        Requires::SteadyClock => times.last.since(times.clock) <= CLOCK_BEHIND_MAX,
        Requires::Twin(principal, digest, expected) => {
            let found = newest_twin(db, &sealer.twin_mac(*principal, *digest))?;
            found == expected.map(|request| *request.as_bytes())
        }
        Requires::Key(principal, key, expected) => {
            let found = key_owner(db, &sealer.key_mac(*principal, key), times.now())?;
            found == expected.map(|request| *request.as_bytes())
        }
        Requires::InvitationUnused(id) => {
            let sql = "SELECT 1 FROM invitation WHERE id = ?1 AND consumed_at IS NULL";
            db.prepare_cached(sql)?.exists(params![id.as_bytes().as_slice()])?
        }
        Requires::ShortCodeFree(code) => {
            let sql = "SELECT 1 FROM request WHERE short_code = ?1
                       AND status IN ('pending', 'granted', 'executing')";
            !db.prepare_cached(sql)?.exists(params![code.as_str()])?
        }
        Requires::SecretVersion(name, version) => newest_secret(db, name)? == *version,
        Requires::PendingBelow(principal, limit) => pending(db, *principal)? < *limit,
    };
    if holds { Ok(()) } else { Err(CommitError::Stale(requires.as_str().to_owned()).into()) }
}

pub(super) fn bundle_epoch(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(epoch), 0) FROM bundle_activation";
    db.prepare_cached(sql)?.query_row([], |row| row.get(0)).map(unsigned)
}

pub(super) fn directory_epoch(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT epoch FROM directory_head")?.query_row([], |row| row.get(0)).map(unsigned)
}

/// The newest version that was ever given, also of a secret that was removed.
pub(super) fn newest_secret(db: &Connection, name: &str) -> rusqlite::Result<u32> {
    let newest = db
        .prepare_cached("SELECT newest FROM secret WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
        .optional()?;
    Ok(newest.unwrap_or(0))
}

pub(super) fn pending(db: &Connection, principal: Principal) -> rusqlite::Result<u32> {
    let sql = "SELECT pending FROM principal_waiting WHERE principal = ?1";
    let pending = db.prepare_cached(sql)?.query_row(params![principal.to_string()], |row| row.get(0));
    Ok(pending.optional()?.unwrap_or(0))
}

/// The newest request that a repeated call could attach to. Of several in one millisecond, whose ids say nothing about
/// their order, the one that was written last.
pub(super) fn newest_twin(db: &Connection, mac: &[u8; 32]) -> rusqlite::Result<Option<[u8; 16]>> {
    let sql = "SELECT id FROM request WHERE twin_mac = ?1 AND (reviewed = 1 OR status = 'unknown')
                 AND id >= (SELECT substr(max(id), 1, 6) FROM request
                            WHERE twin_mac = ?1 AND (reviewed = 1 OR status = 'unknown'))
               ORDER BY rowid DESC LIMIT 1";
    db.prepare_cached(sql)?.query_row(params![mac.as_slice()], |row| row.get(0)).optional()
}

/// Whose key it is, while it is remembered.
fn key_owner(db: &Connection, mac: &[u8; 32], now: Timestamp) -> rusqlite::Result<Option<[u8; 16]>> {
    let sql = "SELECT request, at FROM idempotency_key WHERE mac = ?1";
    let found: Option<([u8; 16], i64)> = db
        .prepare_cached(sql)?
        .query_row(params![mac.as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found
        .filter(|(_, at)| now.since(Timestamp::from_millis(*at)) < KEY_LIFETIME)
        .map(|(request, _)| request))
}

/// A column that a CHECK keeps from being negative.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
