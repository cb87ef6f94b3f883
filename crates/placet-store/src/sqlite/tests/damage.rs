//! What was altered behind the store's back is noticed, and never taken for the truth.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use placet_core::digest::Sha256Digest;
use placet_core::secret::Secret;
use rusqlite::params;

use super::Space;
use crate::keys::{KeysError, RootKeySource};
use crate::sqlite::{OpenError, Options, SchemaError, SqliteStore};
use crate::{Commit, EntryFilter, PrivateError, Transition, ViewError, Views, Write};

fn secrets(values: &[(&str, &str)]) -> Transition {
    let writes = values
        .iter()
        .map(|(name, value)| Write::Secret((*name).to_owned(), 1, Secret::new(*value)))
        .collect();
    Transition { writes, ..Transition::default() }
}

#[tokio::test]
async fn a_ciphertext_moved_to_another_row_is_refused() {
    let space = Space::new();
    let store = space.open();
    store.commit(secrets(&[("mine", "hunter2"), ("theirs", "secret")])).await.unwrap();
    let db = space.database();
    let sql = "UPDATE secret_version SET sealed = (SELECT sealed FROM secret_version WHERE name = 'theirs')
               WHERE name = 'mine'";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    let read = store.secret("mine".to_owned(), 1).await;
    assert!(matches!(read, Err(ViewError::Corrupt { what: "a secret", .. })), "{read:?}");
    assert_eq!(store.secret("theirs".to_owned(), 1).await.unwrap(), Some(Secret::new("secret")));
}

#[tokio::test]
async fn every_altered_byte_of_a_ciphertext_is_noticed() {
    let space = Space::new();
    let store = space.open();
    store.commit(secrets(&[("mine", "hunter2")])).await.unwrap();
    let db = space.database();
    let sealed: Vec<u8> = db.query_row("SELECT sealed FROM secret_version", [], |row| row.get(0)).unwrap();
    for position in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[position] ^= 0x80;
        db.execute("UPDATE secret_version SET sealed = ?1", params![altered]).unwrap();
        let read = store.secret("mine".to_owned(), 1).await;
        assert!(matches!(read, Err(ViewError::Corrupt { .. })), "byte {position}");
    }
}

/// Puts one member of each kind aside and gives a clear column another value: the sealed body says otherwise.
#[tokio::test]
async fn a_column_that_is_not_what_was_sealed_is_noticed() {
    let space = Space::new();
    let store = space.open();
    let request = super::secrecy::request(&space);
    store.commit(super::secrecy::everything(&space, &request)).await.unwrap();
    let db = space.database();
    db.execute_batch(
        "DROP TRIGGER request_is_what_was_asked; DROP TRIGGER request_lives_forward;
         DROP TRIGGER vote_never_changes; DROP TRIGGER vote_stays;
         DROP TRIGGER agent_credential_grows; PRAGMA ignore_check_constraints = ON;",
    )
    .unwrap();
    let columns = [
        ("status", "'granted'"),
        ("reviewed", "1"),
        ("principal", "'agt_00000000000000000000000000'"),
        ("version", "2"),
        ("short_code", "'0000-0000'"),
        ("deadline", "1"),
        ("execution", "zeroblob(16)"),
        ("created_at", "0"),
        ("updated_at", "created_at + 1"),
        ("resolved", "1"),
        ("twin_mac", "zeroblob(32)"),
    ];
    for (column, value) in columns {
        let before: rusqlite::types::Value =
            db.query_row(&format!("SELECT {column} FROM request"), [], |row| row.get(0)).unwrap();
        db.execute(&format!("UPDATE request SET {column} = {value}"), []).unwrap();
        let read = store.request(request.id).await;
        assert!(matches!(read, Err(ViewError::Corrupt { .. })), "{column}: {read:?}");
        db.execute(&format!("UPDATE request SET {column} = ?1"), [before]).unwrap();
        assert!(store.request(request.id).await.is_ok(), "{column}");
    }
    db.execute("UPDATE vote SET person = zeroblob(16)", []).unwrap();
    assert!(matches!(store.request(request.id).await, Err(ViewError::Corrupt { .. })));
    db.execute("DELETE FROM vote", []).unwrap();
    assert!(matches!(store.request(request.id).await, Err(ViewError::Corrupt { .. })));

    let hash = Sha256Digest::of(b"cookie");
    let other = Sha256Digest::of(b"stolen");
    db.execute("UPDATE session SET secret_hash = ?1", params![other.as_bytes().as_slice()]).unwrap();
    assert_eq!(store.session(hash).await.unwrap(), None);
    assert!(matches!(store.session(other).await, Err(ViewError::Corrupt { .. })));
    db.execute("UPDATE agent SET token_hash = ?1", params![other.as_bytes().as_slice()]).unwrap();
    assert!(matches!(store.agent_by_token(other).await, Err(ViewError::Corrupt { .. })));
    db.execute("UPDATE person SET active = 0", []).unwrap();
    assert!(matches!(store.directory().await, Err(ViewError::Corrupt { .. })));
}

#[tokio::test]
async fn entries_and_votes_cannot_be_changed_by_statements() {
    let space = Space::new();
    let store = space.open();
    let request = super::secrecy::request(&space);
    store.commit(super::secrecy::everything(&space, &request)).await.unwrap();
    let db = space.database();
    for statement in [
        "UPDATE entry SET body = x'00' WHERE idx = 0",
        "UPDATE entry SET time = 0",
        "DELETE FROM entry WHERE idx = 1",
        "INSERT INTO entry (idx, id, time, kind, body) VALUES (7, zeroblob(16), 9e15, 'x', x'00')",
        "INSERT INTO entry (idx, id, time, kind, body) VALUES (2, zeroblob(16), 0, 'x', x'00')",
        "UPDATE log_head SET size = 0",
        "UPDATE log_head SET origin = 'other'",
        "UPDATE log_head SET last_time = 0",
        "DELETE FROM log_head",
        "UPDATE vote SET round = 2",
        "DELETE FROM vote",
        "UPDATE request SET status = 'expired', version = version + 1",
        "UPDATE request SET version = version",
        "DELETE FROM bundle_activation",
        "DELETE FROM secret",
    ] {
        let count = |db: &rusqlite::Connection| -> i64 {
            db.query_row("SELECT total_changes()", [], |row| row.get(0)).unwrap()
        };
        let before = count(&db);
        let result = db.execute(statement, []);
        let refused = match &result {
            Err(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation),
            // A statement that finds no row is no change either.
            Ok(changed) => *changed == 0 && count(&db) == before,
        };
        assert!(refused, "{statement}: {result:?}");
    }
    assert_eq!(store.entry_bytes(0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_disclosure_moved_to_another_entry_is_refused() {
    let space = Space::new();
    let store = space.open();
    let request = super::secrecy::request(&space);
    store.commit(super::secrecy::everything(&space, &request)).await.unwrap();
    let sql = "UPDATE disclosure SET sealed = (SELECT sealed FROM disclosure WHERE idx = 1) WHERE idx = 0";
    space.database().execute(sql, []).unwrap();
    let read = store.entries(EntryFilter { limit: 10, ..EntryFilter::default() }).await;
    assert!(matches!(read, Err(ViewError::Corrupt { what: "disclosures", .. })));
}

#[tokio::test]
async fn a_bundle_with_other_files_is_refused() {
    let space = Space::new();
    let store = space.open();
    let files = std::collections::BTreeMap::from([("allow.cedar".to_owned(), b"permit".to_vec())]);
    let digest = placet_core::digest::BundleDigest::of_files([("allow.cedar", b"permit".as_slice())]);
    let writes = vec![Write::Bundle(digest, files), Write::ActivateBundle(digest)];
    store.commit(Transition { writes, ..Transition::default() }).await.unwrap();
    let db = space.database();
    db.execute_batch("INSERT INTO bundle_file SELECT digest, 'more.cedar', x'00' FROM bundle").unwrap();
    assert!(matches!(store.active_bundle().await, Err(ViewError::Corrupt { .. })));
    assert!(matches!(store.bundle(digest).await, Err(ViewError::Corrupt { .. })));
}

#[test]
fn a_newer_schema_is_refused() {
    let space = Space::new();
    drop(space.open());
    space
        .database()
        .execute("INSERT INTO schema_migration VALUES (99, 'from_the_future', 'x', 0)", [])
        .unwrap();
    let refused = space.try_open();
    assert!(matches!(refused, Err(OpenError::Schema(SchemaError::Newer { found: 99, .. }))));
}

#[test]
fn another_migration_under_a_known_number_is_refused() {
    let space = Space::new();
    drop(space.open());
    space.database().execute("UPDATE schema_migration SET sha256 = 'x'", []).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Schema(SchemaError::Altered(1)))));
}

#[test]
fn another_programs_database_is_refused() {
    let space = Space::new();
    drop(space.open());
    space.database().pragma_update(None, "application_id", 7).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Schema(SchemaError::NotOurs))));
    let space = Space::new();
    drop(space.open());
    fs::remove_file(space.path().join("placet.db")).unwrap();
    space.database().execute_batch("CREATE TABLE other (x)").unwrap();
    fs::set_permissions(space.path().join("placet.db"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Schema(SchemaError::NotOurs))));
}

#[test]
fn another_origin_is_refused() {
    let space = Space::new();
    drop(space.open());
    let options = Options { origin: "placet.example/other".to_owned(), ..space.options() };
    let refused = SqliteStore::open(&space.path(), options);
    assert!(matches!(refused, Err(OpenError::OtherOrigin { .. })));
}

#[test]
fn keys_of_other_data_are_refused() {
    let space = Space::new();
    drop(space.open());
    fs::rename(space.path().join("keys"), space.path().join("old keys")).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::OtherKeys(_))));
    fs::remove_dir_all(space.path().join("keys")).unwrap();
    fs::rename(space.path().join("old keys"), space.path().join("keys")).unwrap();
    drop(space.open());
    let file = RootKeySource::File(space.path().join("keys/keys.db"));
    let options = Options { root_key: file, ..space.options() };
    let refused = SqliteStore::open(&space.path(), options);
    assert!(matches!(refused, Err(OpenError::Keys(KeysError::RootKeyLength(_)))));
}

#[tokio::test]
async fn a_head_that_does_not_fit_the_entries_is_refused() {
    let space = Space::new();
    let store = space.open();
    store.commit(space.appends()).await.unwrap();
    drop(store);
    let db = space.database();
    db.execute_batch("DROP TRIGGER entry_stays; DELETE FROM entry;").unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Damaged { head: 1, entries: 0 })));
    db.execute_batch("DROP TRIGGER log_head_grows; UPDATE log_head SET size = 0;").unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Database(_))));
}

#[test]
fn a_directory_that_others_reach_is_refused() {
    let space = Space::new();
    fs::create_dir(space.path()).unwrap();
    fs::set_permissions(space.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Private(PrivateError::Open { .. }))));
    assert_eq!(fs::read_dir(space.path()).unwrap().count(), 0, "nothing was written into it");

    fs::set_permissions(space.path(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(space.open());
    let moved = space.directory.path().join("moved");
    fs::rename(space.path(), &moved).unwrap();
    symlink(&moved, space.path()).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Private(PrivateError::WrongType { .. }))));
    fs::remove_file(space.path()).unwrap();
    fs::rename(&moved, space.path()).unwrap();

    let db = space.path().join("placet.db");
    fs::set_permissions(&db, fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Private(PrivateError::Open { .. }))));
    fs::rename(&db, space.path().join("real.db")).unwrap();
    symlink(space.path().join("real.db"), &db).unwrap();
    assert!(matches!(space.try_open(), Err(OpenError::Private(PrivateError::WrongType { .. }))));
}
