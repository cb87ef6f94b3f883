//! Finds requests: walks the rarest of what is asked for, newest first, and probes the rest.
//!
//! A search looks at a bounded number of requests and then says where to go on: no question is so broad that it keeps a
//! reader for long.

use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::request::Status;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::read_log::first_at;
use super::super::read_requests::{entry_indices, load};
use super::super::sealer::{Opened, Sealer, corrupt};
use super::facts::{Fact, Token, first_id};
use crate::search::{Found, SearchFilter, SearchPage};
use crate::{PAGE_MAX, ViewError};

/// How many requests one search looks at.
const CANDIDATES_MAX: usize = 100_000;
/// How many are taken from the index at a time.
const BATCH: usize = 256;
/// How far one looks to find out what is rare.
const SAMPLE: i64 = 4096;
/// An id bears the time at which its request was decided on, the entry the time at which it was written; a clock that is
/// set back in between makes the first the later one.
const CLOCK_SLACK_MS: i64 = 5 * 60 * 1000;

/// The ids between which the answer lies: at or after the first, before the second.
struct Bounds {
    low: [u8; 16],
    high: [u8; 16],
}

/// Where candidates come from.
enum Source {
    /// Requests with any of these tokens.
    Tokens(Vec<Token>),
    /// Requests in any of these states.
    Statuses(Vec<Status>),
    /// One request.
    One(RequestId),
    /// All of them.
    All,
}

/// What a candidate is held against.
struct Search<'a> {
    db: &'a Connection,
    generation: i64,
    /// Each a list of tokens, of which one has to be there.
    tokens: Vec<Vec<Token>>,
    statuses: &'a [Status],
    /// The entries among which one has to be of one of the kinds.
    window: Option<(i64, i64)>,
    kinds: &'static [Kind],
}

pub(in crate::sqlite) fn search(
    db: &Connection,
    sealer: &Sealer,
    filter: &SearchFilter,
) -> Result<SearchPage, ViewError> {
    let limit = filter.limit.min(PAGE_MAX);
    let (generation, life) =
        super::active(db)?.ok_or_else(|| corrupt("the search index", "it was not made yet"))?;
    let window = match (filter.from, filter.to) {
        (None, None) => None,
        (from, to) => {
            let first = |time: Option<Timestamp>| time.map(|time| first_at(db, time)).transpose();
            Some((first(from)?.unwrap_or(0), first(to)?.unwrap_or(i64::MAX)))
        }
    };
    let search = Search {
        db,
        generation,
        tokens: tokens(sealer, filter),
        statuses: &filter.statuses,
        window,
        kinds: filter.happened.kinds(),
    };
    // What only an erased part could have told is not told by the index either.
    let sealed = !filter.by.is_empty() || filter.resource.is_some() || !filter.reviewers.is_empty();
    let bounds = bounds(filter, life);
    let source = search.source(filter.request, &bounds)?;
    let mut page = SearchPage::default();
    let mut before = bounds.high;
    let mut looked_at = 0;
    if limit == 0 {
        return Ok(page);
    }
    loop {
        let ids = search.candidates(&source, before, &bounds)?;
        let last_batch = ids.len() < BATCH;
        for id in ids {
            before = *id.as_bytes();
            if search.fits(id)? {
                page.found.extend(found(db, sealer, id, sealed)?);
            }
            if page.found.len() == limit {
                page.next = Some(id);
                return Ok(page);
            }
        }
        looked_at += BATCH;
        if last_batch {
            break;
        }
        if looked_at >= CANDIDATES_MAX {
            page.next = Some(RequestId::from_bytes(before));
            break;
        }
    }
    Ok(page)
}

fn bounds(filter: &SearchFilter, life: i64) -> Bounds {
    let low = filter.from.map_or([0; 16], |from| first_id(from.as_millis().saturating_sub(life)));
    // An id of all ones sorts after every other.
    let before = filter.before.map_or([0xff; 16], |before| *before.as_bytes());
    let until = filter.to.map_or([0xff; 16], |to| first_id(to.as_millis().saturating_add(CLOCK_SLACK_MS)));
    Bounds { low, high: before.min(until) }
}

fn tokens(sealer: &Sealer, filter: &SearchFilter) -> Vec<Vec<Token>> {
    let mut sets = Vec::new();
    if let Some(action) = &filter.action {
        sets.push(vec![Fact::Action(action.as_str()).token(sealer)]);
    }
    if !filter.by.is_empty() {
        sets.push(filter.by.iter().map(|who| Fact::By(&who.to_string()).token(sealer)).collect());
    }
    if let Some(resource) = &filter.resource {
        sets.push(vec![Fact::Resource(&resource.visible()).token(sealer)]);
    }
    let verdict = filter.verdict.map(|verdict| verdict.as_str());
    match (filter.reviewers.as_slice(), verdict) {
        ([], None) => {}
        ([], Some(verdict)) => sets.push(vec![Fact::Verdict(verdict).token(sealer)]),
        (reviewers, None) => {
            sets.push(reviewers.iter().map(|who| Fact::Reviewer(&who.to_string()).token(sealer)).collect());
        }
        (reviewers, Some(verdict)) => {
            let vote = |who: &placet_core::id::PersonId| Fact::Vote(&who.to_string(), verdict).token(sealer);
            sets.push(reviewers.iter().map(vote).collect());
        }
    }
    sets
}

impl Search<'_> {
    /// The rarest of what is asked for, as far as a short look tells.
    fn source(&self, one: Option<RequestId>, bounds: &Bounds) -> rusqlite::Result<Source> {
        if let Some(id) = one {
            return Ok(Source::One(id));
        }
        let sets = self.tokens.iter().cloned().map(Source::Tokens);
        let statuses = (!self.statuses.is_empty()).then(|| Source::Statuses(self.statuses.to_vec()));
        let mut rarest = (i64::MAX, Source::All);
        for source in sets.chain(statuses) {
            let count = self.sample(&source, bounds)?;
            if count < rarest.0 {
                rarest = (count, source);
            }
        }
        Ok(rarest.1)
    }

    fn sample(&self, source: &Source, bounds: &Bounds) -> rusqlite::Result<i64> {
        let (low, high) = (bounds.low.as_slice(), bounds.high.as_slice());
        let mut total = 0;
        match source {
            Source::Tokens(tokens) => {
                let sql = "SELECT count(*) FROM (SELECT 1 FROM search_fact WHERE gen = ?1 AND token = ?2
                           AND request >= ?3 AND request < ?4 LIMIT ?5)";
                let mut statement = self.db.prepare_cached(sql)?;
                for token in tokens {
                    let params = params![self.generation, token.as_slice(), low, high, SAMPLE];
                    total += statement.query_row(params, |row| row.get::<_, i64>(0))?;
                }
            }
            Source::Statuses(statuses) => {
                let sql = "SELECT count(*) FROM (SELECT 1 FROM request WHERE status = ?1
                           AND id >= ?2 AND id < ?3 LIMIT ?4)";
                let mut statement = self.db.prepare_cached(sql)?;
                for status in statuses {
                    let params = params![status.as_str(), low, high, SAMPLE];
                    total += statement.query_row(params, |row| row.get::<_, i64>(0))?;
                }
            }
            Source::One(_) | Source::All => {}
        }
        Ok(total)
    }

    /// The next candidates before this id, newest first; fewer than a batch at the end.
    fn candidates(
        &self,
        source: &Source,
        before: [u8; 16],
        bounds: &Bounds,
    ) -> rusqlite::Result<Vec<RequestId>> {
        let (before, low, limit) = (before.as_slice(), bounds.low.as_slice(), BATCH as i64);
        let mut ids: Vec<[u8; 16]> = Vec::new();
        match source {
            Source::One(id) => {
                let id = *id.as_bytes();
                ids.extend((id.as_slice() < before && id.as_slice() >= low).then_some(id));
            }
            Source::Tokens(tokens) => {
                let sql = "SELECT request FROM search_fact WHERE gen = ?1 AND token = ?2
                           AND request < ?3 AND request >= ?4 ORDER BY request DESC LIMIT ?5";
                let mut statement = self.db.prepare_cached(sql)?;
                for token in tokens {
                    let params = params![self.generation, token.as_slice(), before, low, limit];
                    for id in statement.query_map(params, |row| row.get(0))? {
                        ids.push(id?);
                    }
                }
            }
            Source::Statuses(statuses) => {
                let sql = "SELECT id FROM request WHERE status = ?1 AND id < ?2 AND id >= ?3
                           ORDER BY id DESC LIMIT ?4";
                let mut statement = self.db.prepare_cached(sql)?;
                for status in statuses {
                    let params = params![status.as_str(), before, low, limit];
                    for id in statement.query_map(params, |row| row.get(0))? {
                        ids.push(id?);
                    }
                }
            }
            Source::All => {
                let sql = "SELECT id FROM request WHERE id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3";
                let mut statement = self.db.prepare_cached(sql)?;
                for id in statement.query_map(params![before, low, limit], |row| row.get(0))? {
                    ids.push(id?);
                }
            }
        }
        ids.sort_unstable_by(|left, right| right.cmp(left));
        ids.dedup();
        ids.truncate(BATCH);
        Ok(ids.into_iter().map(RequestId::from_bytes).collect())
    }

    /// Whether a candidate is what was asked for.
    fn fits(&self, id: RequestId) -> rusqlite::Result<bool> {
        let id = id.as_bytes().as_slice();
        let sql = "SELECT 1 FROM search_fact WHERE gen = ?1 AND token = ?2 AND request = ?3";
        let mut statement = self.db.prepare_cached(sql)?;
        for set in &self.tokens {
            let mut any = false;
            for token in set {
                any = any || statement.exists(params![self.generation, token.as_slice(), id])?;
            }
            if !any {
                return Ok(false);
            }
        }
        if !self.statuses.is_empty() {
            let sql = "SELECT status FROM request WHERE id = ?1";
            let status: Option<String> =
                self.db.prepare_cached(sql)?.query_row(params![id], |row| row.get(0)).optional()?;
            let status = status.and_then(|word| Status::parse(&word));
            if !status.is_some_and(|status| self.statuses.contains(&status)) {
                return Ok(false);
            }
        }
        let Some((first, last)) = self.window else { return Ok(true) };
        let sql = "SELECT kind FROM entry WHERE request = ?1 AND idx >= ?2 AND idx < ?3";
        let mut statement = self.db.prepare_cached(sql)?;
        let kinds = statement.query_map(params![id, first, last], |row| row.get::<_, String>(0))?;
        for kind in kinds {
            let kind = kind?;
            if self.kinds.iter().any(|wanted| wanted.as_str() == kind) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A request that fits. None if its key was destroyed and what fits was among what that erased.
fn found(
    db: &Connection,
    sealer: &Sealer,
    id: RequestId,
    by_sealed: bool,
) -> Result<Option<Found>, ViewError> {
    match load(db, sealer, id)? {
        Some(Opened::Whole(stored)) => return Ok(Some(Found::Whole(Box::new(stored)))),
        Some(Opened::Erased) if !by_sealed => {}
        // Facts without a request are of an index that somebody wrote by hand.
        Some(Opened::Erased) | None => return Ok(None),
    }
    let sql = "SELECT status, created_at, updated_at FROM request WHERE id = ?1";
    let (status, created_at, updated_at): (String, i64, i64) = db
        .prepare_cached(sql)?
        .query_row(params![id.as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Some(Found::Erased {
        request: id,
        status: Status::parse(&status).ok_or_else(|| corrupt("a request", "its state is unknown"))?,
        created_at: Timestamp::from_millis(created_at),
        updated_at: Timestamp::from_millis(updated_at),
        entries: entry_indices(db, id)?,
    }))
}
