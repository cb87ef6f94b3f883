//! The keys under which everything personal is sealed. They live apart from the data, and destroying one is how data
//! is erased: the ciphertext may stay, the ledger stays whole, and nobody can read it any more.
//!
//! ```text
//!  root.key ──wraps──► data key (subject, month) ──seals──► a row's envelope { key id, nonce, ciphertext }
//!     └──derives──► keys for codes, form tokens and the row index
//! ```
//!
//! A new data key is durable before [`KeyStore::seal`] returns, so before any transaction can use it. This module knows
//! no tables of the store and no placet types but ids.

mod database;
mod envelope;
mod root;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placet_core::action::Principal;
use placet_core::entropy::{Entropy, random_bytes};
use placet_core::id::{AgentId, PersonId};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use zeroize::Zeroizing;

use self::database::{Database, Found};
pub use self::envelope::{Envelope, EnvelopeError};
use self::root::RootKey;
use crate::private::{self, PrivateError};

/// Whose data a key seals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// What an agent or a pipeline asked.
    Agent(AgentId),
    /// What is about a person, or what they asked.
    Person(PersonId),
    /// What is about no single person: the agents.
    Directory,
    /// The secrets of the vault.
    Secrets,
    /// What entries commit to that belong to no request and to no person.
    Ledger,
}

impl From<Principal> for Subject {
    fn from(principal: Principal) -> Self {
        match principal {
            Principal::Agent(id) | Principal::Pipeline(id) => Subject::Agent(id),
            Principal::Person(id) => Subject::Person(id),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Agent(id) => id.fmt(f),
            Subject::Person(id) => id.fmt(f),
            Subject::Directory => f.write_str("directory"),
            Subject::Secrets => f.write_str("secrets"),
            Subject::Ledger => f.write_str("ledger"),
        }
    }
}

/// Which data key: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The id that has these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        KeyId(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What to destroy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destroy {
    /// Every key of a subject, of all months.
    Subject(Subject),
    /// One key.
    Key(KeyId),
}

/// Where the root key comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum RootKeySource {
    /// `keys/root.key`, made at the first start.
    #[default]
    Own,
    /// A file that the operator provides: exactly 32 bytes, closed to everybody else.
    File(PathBuf),
}

/// Why the key store does not open.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Its directory or a file in it is not private.
    #[error("keep keys private")]
    Private(#[from] PrivateError),
    /// A file could not be read or written.
    #[error("read or write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The root key file has another length.
    #[error("read the root key from {}: it must have exactly 32 bytes", .0.display())]
    RootKeyLength(PathBuf),
    /// There are data keys, but no root key to unwrap them.
    #[error("{} is missing, but there are keys that it wraps: restore it", .0.display())]
    RootKeyMissing(PathBuf),
    /// The root key is another than the one that wrapped the data keys.
    #[error("the root key is not the one that wraps these data keys: give the right one back")]
    OtherRootKey,
    /// A newer placet wrote the key database.
    #[error("keys.db has version {0}, which is newer than this placet knows: use the placet that wrote it")]
    Newer(i64),
    /// The key database does not open.
    #[error("open keys.db")]
    Database(#[source] rusqlite::Error),
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key was destroyed: what it sealed is erased.
    #[error("its key {0} was destroyed")]
    Destroyed(KeyId),
    /// No such key was ever here.
    #[error("its key {0} is not in this key store")]
    Unknown(KeyId),
    /// The ciphertext, or the place it stands in, was altered; or the key was.
    #[error("it was altered, or moved from where it was written")]
    Altered,
    /// The key database could not be read or written.
    #[error("use keys.db")]
    Database(#[source] rusqlite::Error),
}

/// The key database's file.
const DATABASE: &str = "keys.db";

/// A month of the calendar, `2026-11`, in UTC.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Month(String);

impl Month {
    fn of(time: Timestamp) -> Self {
        Month(time.to_string().chars().take("2026-11".len()).collect())
    }
}

/// A data key in memory, wiped when it is dropped.
type DataKey = Arc<Zeroizing<[u8; 32]>>;

/// How many data keys stay unwrapped in memory. Beyond that all are forgotten, and unwrapped again when needed.
const UNWRAPPED_MAX: usize = 4096;

/// The key store. One process has it open: the store's lock sees to that.
pub struct KeyStore {
    entropy: Arc<dyn Entropy>,
    directory: PathBuf,
    /// Whether the root key lies in the directory too.
    own_root: bool,
    root: RootKey,
    id: [u8; 16],
    state: Mutex<State>,
}

struct State {
    database: Database,
    unwrapped: HashMap<KeyId, DataKey>,
    current: HashMap<(Subject, Month), KeyId>,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStore")
    }
}

impl KeyStore {
    /// Opens the key store in this directory, or makes it.
    pub fn open(
        directory: &Path,
        source: &RootKeySource,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KeysError> {
        private::directory(directory)?;
        let path = directory.join(DATABASE);
        let known = path.symlink_metadata().is_ok();
        let root = RootKey::load(directory, source, known, entropy.as_ref())?;
        let (database, id) = Database::open(&path, &root, entropy.as_ref())?;
        let state = State { database, unwrapped: HashMap::new(), current: HashMap::new() };
        let (directory, own_root) = (directory.to_owned(), *source == RootKeySource::Own);
        Ok(KeyStore { entropy, directory, own_root, root, id, state: Mutex::new(state) })
    }

    /// Which key store this is: data remembers it, so that it is never opened with other keys.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// A key for one purpose, derived from the root key. The same label gives the same key.
    pub fn derive(&self, label: &str) -> Secret {
        self.root.derive(label)
    }

    /// Vouches for bytes that leave this machine: who comes back with them altered has no root key.
    pub fn mac(&self, label: &str, bytes: &[u8]) -> Secret {
        self.root.mac(label, bytes)
    }

    /// How many data keys there ever were. Keys are added and never leave, so a copy with fewer is an older one.
    pub fn data_keys(&self) -> Result<u64, KeyError> {
        self.state().database.count().map_err(KeyError::Database)
    }

    /// Copies the key store into a new directory: the database, and the root key if it is our own. Says which files.
    /// Nothing that was destroyed is in it.
    pub fn copy_to(&self, directory: &Path) -> Result<(), KeysError> {
        private::directory(directory)?;
        let target = directory.join(DATABASE);
        let failed = |source| KeysError::Io { path: target.clone(), source };
        {
            // Nobody makes or destroys a key meanwhile.
            let _state = self.state();
            private::create(&target).map_err(failed)?;
            crate::sqlite::copy::vacuum(&self.directory.join(DATABASE), &target)
                .map_err(KeysError::Database)?;
        }
        std::fs::File::open(&target).and_then(|file| file.sync_all()).map_err(failed)?;
        if self.own_root {
            self.root.write(directory)?;
        }
        Ok(())
    }

    /// Seals under the subject's key of this month. `context` is where the envelope will stand: it opens nowhere else.
    pub fn seal(
        &self,
        subject: Subject,
        now: Timestamp,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Envelope, KeyError> {
        let (id, key) = self.current(subject, Month::of(now), now)?;
        let nonce = random_bytes::<12>(self.entropy.as_ref());
        Envelope::seal(id, &key, nonce, context, plaintext).ok_or(KeyError::Altered)
    }

    /// Opens what was sealed in this context.
    pub fn open_envelope(&self, envelope: &Envelope, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.unwrapped(envelope.key())?;
        envelope.open(&key, context).ok_or(KeyError::Altered)
    }

    /// Destroys keys durably. Says how many; none if they were destroyed before, or never were.
    pub fn destroy(&self, which: Destroy, now: Timestamp) -> Result<usize, KeyError> {
        let mut state = self.state();
        let destroyed = state.database.destroy(which, now).map_err(KeyError::Database)?;
        for id in &destroyed {
            state.unwrapped.remove(id);
        }
        state.current.retain(|_, id| !destroyed.contains(id));
        Ok(destroyed.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is cached is either right or absent, so a panic elsewhere has not spoiled it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, subject: Subject, month: Month, now: Timestamp) -> Result<(KeyId, DataKey), KeyError> {
        let mut state = self.state();
        if let Some(id) = state.current.get(&(subject, month.clone())).copied() {
            return Ok((id, self.unwrap(&mut state, id)?));
        }
        let id = match state.database.current(subject, &month.0).map_err(KeyError::Database)? {
            Some(id) => id,
            None => self.create(&mut state, subject, &month, now)?,
        };
        let key = self.unwrap(&mut state, id)?;
        state.current.insert((subject, month), id);
        Ok((id, key))
    }

    fn create(
        &self,
        state: &mut State,
        subject: Subject,
        month: &Month,
        now: Timestamp,
    ) -> Result<KeyId, KeyError> {
        let id = KeyId(random_bytes(self.entropy.as_ref()));
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes(self.entropy.as_ref()));
        let nonce = random_bytes::<12>(self.entropy.as_ref());
        let wrapped = self.root.wrap(id, &key, nonce).ok_or(KeyError::Altered)?;
        state.database.insert(id, subject, &month.0, &wrapped, now).map_err(KeyError::Database)?;
        state.remember(id, Arc::new(key));
        Ok(id)
    }

    fn unwrapped(&self, id: KeyId) -> Result<DataKey, KeyError> {
        self.unwrap(&mut self.state(), id)
    }

    fn unwrap(&self, state: &mut State, id: KeyId) -> Result<DataKey, KeyError> {
        if let Some(key) = state.unwrapped.get(&id) {
            return Ok(Arc::clone(key));
        }
        match state.database.find(id).map_err(KeyError::Database)? {
            None => Err(KeyError::Unknown(id)),
            Some(Found::Destroyed) => Err(KeyError::Destroyed(id)),
            Some(Found::Wrapped(wrapped)) => {
                let key = Arc::new(self.root.unwrap(id, &wrapped).ok_or(KeyError::Altered)?);
                state.remember(id, Arc::clone(&key));
                Ok(key)
            }
        }
    }
}

impl State {
    fn remember(&mut self, id: KeyId, key: DataKey) {
        if self.unwrapped.len() >= UNWRAPPED_MAX {
            self.unwrapped.clear();
            self.current.clear();
        }
        self.unwrapped.insert(id, key);
    }
}

#[cfg(test)]
mod tests;
