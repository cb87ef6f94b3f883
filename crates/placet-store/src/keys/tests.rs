use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use placet_core::time::Timestamp;

use super::*;
use crate::conformance::CountedEntropy;

const NOVEMBER: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const DECEMBER: Timestamp = Timestamp::from_millis(1_797_000_000_000);

struct Space {
    directory: tempfile::TempDir,
    entropy: Arc<CountedEntropy>,
}

impl Space {
    fn new() -> Self {
        Space { directory: tempfile::tempdir().unwrap(), entropy: Arc::new(CountedEntropy::new(1)) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    fn open(&self) -> Result<KeyStore, KeysError> {
        self.open_from(&RootKeySource::Own)
    }

    fn open_from(&self, source: &RootKeySource) -> Result<KeyStore, KeysError> {
        KeyStore::open(&self.path(), source, Arc::<CountedEntropy>::clone(&self.entropy))
    }

    /// A root key file beside the key store.
    fn root_file(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn agent(number: u8) -> Subject {
    Subject::Agent(AgentId::from_bytes([number; 16]))
}

#[test]
fn what_is_sealed_opens_in_its_place_only() {
    let space = Space::new();
    let keys = space.open().unwrap();
    let sealed = keys.seal(agent(1), NOVEMBER, b"here", b"hello").unwrap();
    assert_eq!(keys.open_envelope(&sealed, b"here").unwrap().as_slice(), b"hello");
    assert!(matches!(keys.open_envelope(&sealed, b"there"), Err(KeyError::Altered)));
    let bytes = sealed.to_bytes();
    assert_eq!(Envelope::from_bytes(&bytes), Ok(sealed));
    for position in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[position] ^= 1;
        let opens = Envelope::from_bytes(&altered)
            .is_ok_and(|envelope| keys.open_envelope(&envelope, b"here").is_ok());
        assert!(!opens, "altered at {position}");
    }
    for length in 0..45 {
        assert_eq!(Envelope::from_bytes(&bytes[..length.min(bytes.len())]).is_ok(), length >= 45, "{length}");
    }
}

#[test]
fn a_subject_has_one_key_a_month() {
    let space = Space::new();
    let key = |keys: &KeyStore, subject, time| keys.seal(subject, time, b"", b"").unwrap().key();
    let keys = space.open().unwrap();
    let first = key(&keys, agent(1), NOVEMBER);
    assert_eq!(key(&keys, agent(1), NOVEMBER.plus(std::time::Duration::from_secs(60))), first);
    assert_ne!(key(&keys, agent(1), DECEMBER), first);
    assert_ne!(key(&keys, agent(2), NOVEMBER), first);
    assert_ne!(key(&keys, Subject::Person(PersonId::from_bytes([1; 16])), NOVEMBER), first);
    drop(keys);
    assert_eq!(key(&space.open().unwrap(), agent(1), NOVEMBER), first, "also after reopening");
}

#[test]
fn a_key_is_durable_before_it_is_used() {
    let space = Space::new();
    let keys = space.open().unwrap();
    let sealed = keys.seal(agent(1), NOVEMBER, b"", b"hello").unwrap();
    // Another connection sees what is committed, while the first is still open.
    let other = space.open().unwrap();
    assert_eq!(other.open_envelope(&sealed, b"").unwrap().as_slice(), b"hello");
}

#[test]
fn a_destroyed_key_opens_nothing_and_leaves_no_bytes() {
    let space = Space::new();
    let keys = space.open().unwrap();
    let old = keys.seal(agent(1), NOVEMBER, b"", b"old").unwrap();
    let new = keys.seal(agent(1), DECEMBER, b"", b"new").unwrap();
    let other = keys.seal(agent(2), NOVEMBER, b"", b"other").unwrap();
    let wrapped: Vec<u8> = {
        let database = rusqlite::Connection::open(space.path().join("keys.db")).unwrap();
        let sql = "SELECT wrapped FROM data_key WHERE id = ?1";
        database.query_row(sql, [old.key().as_bytes().as_slice()], |row| row.get(0)).unwrap()
    };
    let contains = || {
        let bytes = fs::read(space.path().join("keys.db")).unwrap();
        bytes.windows(wrapped.len()).any(|window| window == wrapped)
    };
    assert!(contains());
    assert_eq!(keys.destroy(Destroy::Key(new.key()), DECEMBER).unwrap(), 1);
    assert!(matches!(keys.open_envelope(&new, b""), Err(KeyError::Destroyed(id)) if id == new.key()));
    assert_eq!(keys.open_envelope(&old, b"").unwrap().as_slice(), b"old");
    assert_eq!(keys.destroy(Destroy::Subject(agent(1)), DECEMBER).unwrap(), 1);
    assert_eq!(keys.destroy(Destroy::Subject(agent(1)), DECEMBER).unwrap(), 0);
    assert!(!contains(), "secure_delete overwrites it");
    for keys in [&keys, &space.open().unwrap()] {
        assert!(matches!(keys.open_envelope(&old, b""), Err(KeyError::Destroyed(_))));
        assert_eq!(keys.open_envelope(&other, b"").unwrap().as_slice(), b"other");
    }
    let again = keys.seal(agent(1), NOVEMBER, b"", b"again").unwrap();
    assert_ne!(again.key(), old.key());
    assert_eq!(keys.open_envelope(&again, b"").unwrap().as_slice(), b"again");
}

#[test]
fn a_key_of_another_store_is_unknown() {
    let (space, other) = (Space::new(), Space::new());
    other.entropy.fill(&mut [0; 1024]);
    let sealed = space.open().unwrap().seal(agent(1), NOVEMBER, b"", b"").unwrap();
    let keys = other.open().unwrap();
    assert!(matches!(keys.open_envelope(&sealed, b""), Err(KeyError::Unknown(_))));
}

#[test]
fn an_altered_key_opens_nothing() {
    let space = Space::new();
    let sealed = space.open().unwrap().seal(agent(1), NOVEMBER, b"", b"").unwrap();
    let other = space.open().unwrap().seal(agent(2), NOVEMBER, b"", b"").unwrap();
    let database = rusqlite::Connection::open(space.path().join("keys.db")).unwrap();
    let sql = "UPDATE data_key SET wrapped = (SELECT wrapped FROM data_key WHERE id = ?2) WHERE id = ?1";
    database.execute(sql, [sealed.key().as_bytes().as_slice(), other.key().as_bytes()]).unwrap();
    assert!(matches!(space.open().unwrap().open_envelope(&sealed, b""), Err(KeyError::Altered)));
}

#[test]
fn derived_keys_differ_by_label_and_stay() {
    let space = Space::new();
    let keys = space.open().unwrap();
    let codes = keys.derive("short-code");
    assert_eq!(codes.expose().len(), 32);
    assert_ne!(codes, keys.derive("form-token"));
    drop(keys);
    assert_eq!(space.open().unwrap().derive("short-code"), codes);
}

#[test]
fn files_are_closed_to_others_and_must_be() {
    let space = Space::new();
    drop(space.open().unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&space.path()), 0o700);
    for name in ["root.key", "keys.db"] {
        let path = space.path().join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(space.open(), Err(KeysError::Private(PrivateError::Open { .. }))), "{name}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let moved = space.directory.path().join(name);
        fs::rename(&path, &moved).unwrap();
        symlink(&moved, &path).unwrap();
        assert!(matches!(space.open(), Err(KeysError::Private(PrivateError::WrongType { .. }))), "{name}");
        fs::remove_file(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
    }
    fs::set_permissions(space.path(), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(space.open(), Err(KeysError::Private(PrivateError::Open { .. }))));
}

#[test]
fn a_lost_or_other_root_key_is_noticed() {
    let space = Space::new();
    drop(space.open().unwrap());
    let path = space.path().join("root.key");
    let key = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(space.open(), Err(KeysError::RootKeyMissing(_))));
    assert!(!path.exists(), "no fresh one is made in its place");
    space.root_file("keys/root.key", &[1; 32], 0o600);
    assert!(matches!(space.open(), Err(KeysError::OtherRootKey)));
    space.root_file("keys/root.key", &key[..31], 0o600);
    assert!(matches!(space.open(), Err(KeysError::RootKeyLength(_))));
    space.root_file("keys/root.key", &key, 0o600);
    space.open().unwrap();
}

#[test]
fn a_root_key_file_of_the_operator_is_used() {
    let space = Space::new();
    let good = space.root_file("root", &[7; 32], 0o400);
    let link = space.directory.path().join("link");
    symlink(&good, &link).unwrap();
    let derived = space.open_from(&RootKeySource::File(good.clone())).unwrap().derive("x");
    assert!(!space.path().join("root.key").exists());
    assert_eq!(space.open_from(&RootKeySource::File(link)).unwrap().derive("x"), derived);
    let open = space.root_file("open", &[7; 32], 0o644);
    let refused = space.open_from(&RootKeySource::File(open));
    assert!(matches!(refused, Err(KeysError::Private(PrivateError::Open { .. }))));
    let long = space.root_file("long", &[7; 33], 0o600);
    assert!(matches!(space.open_from(&RootKeySource::File(long)), Err(KeysError::RootKeyLength(_))));
    let none = space.directory.path().join("none");
    let refused = space.open_from(&RootKeySource::File(none));
    assert!(matches!(refused, Err(KeysError::Private(PrivateError::Io { .. }))));
}

#[test]
fn a_newer_key_database_is_refused() {
    let space = Space::new();
    drop(space.open().unwrap());
    let database = rusqlite::Connection::open(space.path().join("keys.db")).unwrap();
    database.pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(space.open(), Err(KeysError::Newer(2))));
}
