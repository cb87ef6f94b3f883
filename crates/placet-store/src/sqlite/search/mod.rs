//! The index for questions about requests.
//!
//! ```text
//!  entry ──► facts ──► tokens ──same transaction──► search_fact (gen, token, request)
//!    │                                                   ▲ walked newest first, the rest of the filter probed
//!    └── read again, in chunks ──► the next generation ──┘ compared, then active
//! ```

mod facts;
mod find;
mod rebuild;

pub(super) use self::facts::{Token, life, of_draft};
pub(super) use self::find::search;
pub(super) use self::rebuild::{IndexWrite, fill_if_new, reindex, write};

/// The generation that answers, and its longest life. None while there is none.
pub(super) fn active(db: &rusqlite::Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    use rusqlite::OptionalExtension as _;
    let sql = "SELECT gen, life FROM search_generation WHERE state = 'active'";
    db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}
