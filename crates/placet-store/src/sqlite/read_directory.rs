//! Reads who there is, their credentials, bundles and secrets.

use placet_core::digest::{BundleDigest, Sha256Digest};
use placet_core::directory::{
    Agent, Directory, GroupName, Invitation, Pep, Person, PersonToken, Session, Status,
};
use placet_core::id::{AgentId, InvitationId, PepId, PersonId, SessionId, TokenId};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::requires::{bundle_epoch, directory_epoch, newest_secret};
use super::sealer::{Opened, Place, Sealer, corrupt};
use crate::{ActiveBundle, Files, SecretInfo, ViewError};

/// Everyone, at one epoch.
pub(super) fn directory(db: &Connection, sealer: &Sealer) -> Result<Directory, ViewError> {
    let mut directory = Directory { epoch: directory_epoch(db)?, ..Directory::default() };
    let mut statement = db.prepare_cached("SELECT id, active, sealed FROM person")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let person =
            person(sealer, PersonId::from_bytes(row.get(0)?), row.get(1)?, &row.get::<_, Vec<u8>>(2)?)?;
        directory.people.insert(person.id, person);
    }
    let mut statement = db.prepare_cached("SELECT id, active, token_hash, sealed FROM agent")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let hash = Sha256Digest::from_bytes(row.get(2)?);
        let id = AgentId::from_bytes(row.get(0)?);
        if let Some(agent) = agent(sealer, id, row.get(1)?, hash, &row.get::<_, Vec<u8>>(3)?)? {
            directory.agents.insert(agent.id, agent);
        }
    }
    let mut statement = db.prepare_cached("SELECT id, active, token_hash, sealed FROM pep")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let hash = Sha256Digest::from_bytes(row.get(2)?);
        let id = PepId::from_bytes(row.get(0)?);
        if let Some(pep) = pep(sealer, id, row.get(1)?, hash, &row.get::<_, Vec<u8>>(3)?)? {
            directory.peps.insert(pep.id, pep);
        }
    }
    let mut statement = db.prepare_cached("SELECT name FROM directory_group")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = GroupName::parse(&row.get::<_, String>(0)?).map_err(|error| corrupt("a group", error))?;
        directory.groups.insert(name);
    }
    Ok(directory)
}

/// A person whose key was destroyed is still somebody, who has no name and may not act.
fn person(sealer: &Sealer, id: PersonId, active: bool, sealed: &[u8]) -> Result<Person, ViewError> {
    let place = Place::new("person", &[id.as_bytes()]);
    let person: Person = match sealer.open("a person", &place, sealed)? {
        Opened::Whole(person) => person,
        Opened::Erased => {
            return Ok(Person {
                id,
                name: "(erased)".to_owned(),
                email: None,
                groups: Default::default(),
                status: Status::Disabled,
                operator_uid: None,
                created_at: Timestamp::EPOCH,
            });
        }
    };
    if person.id != id || (person.status == Status::Active) != active {
        return Err(corrupt("a person", "its columns are not those that were sealed"));
    }
    Ok(person)
}

/// An erased agent is nobody.
fn agent(
    sealer: &Sealer,
    id: AgentId,
    active: bool,
    hash: Sha256Digest,
    sealed: &[u8],
) -> Result<Option<Agent>, ViewError> {
    let place = Place::new("agent", &[id.as_bytes()]);
    let Some(agent): Option<Agent> = sealer.open("an agent", &place, sealed)?.whole() else {
        return Ok(None);
    };
    if agent.id != id || (agent.status == Status::Active) != active || agent.token_hash != hash {
        return Err(corrupt("an agent", "its columns are not those that were sealed"));
    }
    Ok(Some(agent))
}

/// An erased enforcement point is none.
fn pep(
    sealer: &Sealer,
    id: PepId,
    active: bool,
    hash: Sha256Digest,
    sealed: &[u8],
) -> Result<Option<Pep>, ViewError> {
    let place = Place::new("pep", &[id.as_bytes()]);
    let Some(pep): Option<Pep> = sealer.open("an enforcement point", &place, sealed)?.whole() else {
        return Ok(None);
    };
    if pep.id != id || (pep.status == Status::Active) != active || pep.token_hash != hash {
        return Err(corrupt("an enforcement point", "its columns are not those that were sealed"));
    }
    Ok(Some(pep))
}

pub(super) fn pep_by_token(
    db: &Connection,
    sealer: &Sealer,
    hash: Sha256Digest,
) -> Result<Option<Pep>, ViewError> {
    let sql = "SELECT id, active, sealed FROM pep WHERE token_hash = ?1";
    let found = db
        .prepare_cached(sql)?
        .query_row(params![hash.as_bytes().as_slice()], |row| {
            Ok((PepId::from_bytes(row.get(0)?), row.get(1)?, row.get::<_, Vec<u8>>(2)?))
        })
        .optional()?;
    let Some((id, active, sealed)) = found else { return Ok(None) };
    pep(sealer, id, active, hash, &sealed)
}

type SealedRow = ([u8; 16], Vec<u8>);

fn by_hash(db: &Connection, sql: &str, hash: Sha256Digest) -> rusqlite::Result<Option<SealedRow>> {
    db.prepare_cached(sql)?
        .query_row(params![hash.as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

pub(super) fn invitation(
    db: &Connection,
    sealer: &Sealer,
    hash: Sha256Digest,
) -> Result<Option<Invitation>, ViewError> {
    let sql = "SELECT id, sealed, consumed_at FROM invitation WHERE secret_hash = ?1";
    let consumed: Option<Option<i64>> = db
        .prepare_cached(sql)?
        .query_row(params![hash.as_bytes().as_slice()], |row| row.get(2))
        .optional()?;
    let (Some((id, sealed)), Some(consumed)) = (by_hash(db, sql, hash)?, consumed) else { return Ok(None) };
    let place = Place::new("invitation", &[&id]);
    let Some(found): Option<Invitation> = sealer.open("a sign-in link", &place, &sealed)?.whole() else {
        return Ok(None);
    };
    let same = found.id == InvitationId::from_bytes(id)
        && found.secret_hash == hash
        && found.consumed_at.map(Timestamp::as_millis) == consumed;
    if same { Ok(Some(found)) } else { Err(corrupt("a sign-in link", "it is not the one that was sealed")) }
}

pub(super) fn session(
    db: &Connection,
    sealer: &Sealer,
    hash: Sha256Digest,
) -> Result<Option<Session>, ViewError> {
    let sql = "SELECT id, sealed FROM session WHERE secret_hash = ?1";
    let Some((id, sealed)) = by_hash(db, sql, hash)? else { return Ok(None) };
    let place = Place::new("session", &[&id]);
    let Some(found): Option<Session> = sealer.open("a session", &place, &sealed)?.whole() else {
        return Ok(None);
    };
    let same = found.id == SessionId::from_bytes(id) && found.secret_hash == hash;
    if same { Ok(Some(found)) } else { Err(corrupt("a session", "it is not the one that was sealed")) }
}

pub(super) fn token(
    db: &Connection,
    sealer: &Sealer,
    hash: Sha256Digest,
) -> Result<Option<PersonToken>, ViewError> {
    let sql = "SELECT id, sealed FROM person_token WHERE token_hash = ?1";
    let Some((id, sealed)) = by_hash(db, sql, hash)? else { return Ok(None) };
    let found = open_token(sealer, id, &sealed)?;
    match found {
        Some(found) if found.token_hash != hash => {
            Err(corrupt("a token", "it is not the one that was sealed"))
        }
        other => Ok(other),
    }
}

fn open_token(sealer: &Sealer, id: [u8; 16], sealed: &[u8]) -> Result<Option<PersonToken>, ViewError> {
    let place = Place::new("token", &[&id]);
    let Some(found): Option<PersonToken> = sealer.open("a token", &place, sealed)?.whole() else {
        return Ok(None);
    };
    if found.id != TokenId::from_bytes(id) {
        return Err(corrupt("a token", "it is not the one that was sealed"));
    }
    Ok(Some(found))
}

pub(super) fn tokens_of(
    db: &Connection,
    sealer: &Sealer,
    person: PersonId,
) -> Result<Vec<PersonToken>, ViewError> {
    let sql = "SELECT id, sealed FROM person_token WHERE person = ?1 ORDER BY id";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![person.as_bytes().as_slice()])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.extend(open_token(sealer, row.get(0)?, &row.get::<_, Vec<u8>>(1)?)?);
    }
    Ok(tokens)
}

pub(super) fn active_bundle(db: &Connection) -> Result<Option<ActiveBundle>, ViewError> {
    let epoch = bundle_epoch(db)?;
    if epoch == 0 {
        return Ok(None);
    }
    let sql = "SELECT digest FROM bundle_activation ORDER BY epoch DESC LIMIT 1";
    let digest = BundleDigest::from_bytes(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?);
    let files = bundle(db, digest)?.ok_or_else(|| corrupt("the active bundle", "its files are missing"))?;
    Ok(Some(ActiveBundle { epoch, digest, files }))
}

/// A bundle's files. Files that are not those of the digest are no bundle.
pub(super) fn bundle(db: &Connection, digest: BundleDigest) -> Result<Option<Files>, ViewError> {
    let key = params![digest.as_bytes().as_slice()];
    if !db.prepare_cached("SELECT 1 FROM bundle WHERE digest = ?1")?.exists(key)? {
        return Ok(None);
    }
    let mut statement = db.prepare_cached("SELECT path, bytes FROM bundle_file WHERE digest = ?1")?;
    let rows = statement.query_map(key, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let files: Files = rows.collect::<Result<_, _>>()?;
    let found = BundleDigest::of_files(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
    if found != digest {
        return Err(corrupt("a bundle", "its files are not those of its digest"));
    }
    Ok(Some(files))
}

pub(super) fn secrets(db: &Connection) -> Result<Vec<SecretInfo>, ViewError> {
    let mut statement =
        db.prepare_cached("SELECT name, newest, set_at FROM secret WHERE live = 1 ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        let set_at = Timestamp::from_millis(row.get(2)?);
        Ok(SecretInfo { name: row.get(0)?, version: row.get(1)?, set_at })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn secret(
    db: &Connection,
    sealer: &Sealer,
    name: &str,
    version: u32,
) -> Result<Option<Secret>, ViewError> {
    let sql = "SELECT sealed FROM secret_version WHERE name = ?1 AND version = ?2";
    let sealed: Option<Vec<u8>> =
        db.prepare_cached(sql)?.query_row(params![name, version], |row| row.get(0)).optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let value =
        sealer.open_bytes("a secret", &Place::secret(name, version), &sealed)?.or_corrupt("a secret")?;
    Ok(Some(Secret::new(value.to_vec())))
}

/// The newest version that was ever given to a secret of this name.
pub(super) fn secret_version(db: &Connection, name: &str) -> Result<u32, ViewError> {
    Ok(newest_secret(db, name)?)
}
