//! Durable state, behind two traits: [`Commit`] changes it, [`Views`] reads it.
//!
//! ```text
//!  broker ──Transition { requires, writes, entries }──► Commit ──one transaction──► rows + sealed entries + log head
//!     ▲                                                                                   │
//!     └──────────────────────── Views (snapshots, epochs) ◄────────────────── Changes ◄───┘
//! ```
//!
//! A transition is all or nothing: what it requires is checked in the transaction that writes it, and its entries get
//! their index, time and predecessor there. The store knows no policy and makes no decision.
//!
//! What is personal (request bodies, votes, cards, disclosures, secrets) is sealed under keys that live apart from the
//! data and can be destroyed.

#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
#[cfg(any(test, feature = "test-support"))]
pub mod faulty;
#[cfg(any(test, feature = "test-support"))]
pub mod filler;
pub mod keys;
mod private;
mod row;
pub mod search;
pub mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use placet_core::action::Principal;
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{
    AccessEnd, Agent, Directory, EndedAccess, GroupName, Invitation, Pep, Person, PersonToken, Session,
};
use placet_core::entry::{Disclosure, Kind, Sealed};
use placet_core::id::{ExecutionId, InvitationId, PersonId, RequestId, SessionId, TokenId};
use placet_core::request::{Request, Status};
use placet_core::retry::{KeyRecord, Twin};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use placet_ledger::Frontier;

pub use self::keys::{KeyStore, RootKeySource};
pub use self::private::PrivateError;
pub use self::search::{Found, Happened, Reindexed, SearchFilter, SearchPage};
pub use self::sqlite::{OpenError, Options, SqliteStore};

/// What a store's methods give: boxed, so that the traits stay object-safe.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A bundle's files, by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A change of state with everything that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    /// What must still hold in the transaction; what the decision behind it read.
    pub requires: Vec<Requires>,
    /// What changes.
    pub writes: Vec<Write>,
    /// What happened, in this order.
    pub entries: Vec<Sealed>,
}

/// A precondition. If one does not hold, nothing of the transition is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requires {
    /// The active bundle has not changed.
    BundleEpoch(u64),
    /// Nobody in the directory has changed.
    DirectoryEpoch(u64),
    /// The store's time is before this.
    Before(Timestamp),
    /// The store's time is at or after this.
    NotBefore(Timestamp),
    /// The machine's clock is at most two seconds behind the last entry: required of what grants and claims.
    SteadyClock,
    /// The newest request of this principal and digest that a repeated call could attach to is still this one, or none.
    Twin(Principal, ActionDigest, Option<RequestId>),
    /// The principal's idempotency key still belongs to this request, or to none.
    Key(Principal, String, Option<RequestId>),
    /// The sign-in link was not used.
    InvitationUnused(InvitationId),
    /// No open request has this code.
    ShortCodeFree(ShortCode),
    /// The newest version ever given to a secret of this name is this, also if it was removed; zero if it is new.
    SecretVersion(String, u32),
    /// The principal has fewer pending requests than this.
    PendingBelow(Principal, u32),
}

impl Requires {
    /// The word for it, which [`CommitError::Stale`] bears.
    pub fn as_str(&self) -> &'static str {
        match self {
            Requires::BundleEpoch(_) => "bundle_epoch",
            Requires::DirectoryEpoch(_) => "directory_epoch",
            Requires::Before(_) => "before",
            Requires::NotBefore(_) => "not_before",
            Requires::SteadyClock => "steady_clock",
            Requires::Twin(..) => "twin",
            Requires::Key(..) => "key",
            Requires::InvitationUnused(_) => "invitation",
            Requires::ShortCodeFree(_) => "short_code",
            Requires::SecretVersion(..) => "secret_version",
            Requires::PendingBelow(..) => "pending_below",
        }
    }
}

/// One change. The order in which a transition lists its changes does not matter: what is referred to is written first,
/// and what ends does so before its successor begins.
///
/// A request's own version is always a precondition: version 1 must be new, version n needs n - 1 stored.
#[derive(Clone, Debug)]
pub enum Write {
    /// A request, new or changed.
    Request(Box<Request>),
    /// An idempotency key; an older record under the same key is replaced.
    Key(Principal, String, KeyRecord),
    /// A card as shown, by its hash. One that is there already stays.
    Card {
        /// SHA-256 of the bytes.
        hash: Sha256Digest,
        /// Whose card.
        request: RequestId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The recording of an execution, in the transition that stores its outcome. It never changes.
    Recording {
        /// Of which execution.
        execution: ExecutionId,
        /// Whose execution.
        request: RequestId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// What came out of an execution, kept for a while for those who come for it.
    Delivery(RequestId, Vec<u8>),
    /// Every delivery that is older than [`DELIVERY_LIFETIME`] goes.
    ForgetDeliveries,
    /// A person, new or changed. Moves the directory's epoch.
    Person(Person),
    /// An agent, new or changed. Moves the directory's epoch.
    Agent(Agent),
    /// An enforcement point, new or changed. Moves the directory's epoch.
    Pep(Pep),
    /// A group that exists from now on. Moves the directory's epoch.
    Group(GroupName),
    /// A group that is no more; nobody may be in it. Moves the directory's epoch.
    RemoveGroup(GroupName),
    /// A sign-in link, new or consumed.
    Invitation(Invitation),
    /// A session that begins.
    Session(Session),
    /// A session that its person ends.
    EndSession(SessionId),
    /// Every session, unused link and API token of a person ends, for this reason.
    EndAccess(PersonId, AccessEnd),
    /// A person's API token.
    Token(PersonToken),
    /// An operator ends a person's API token.
    RevokeToken(TokenId),
    /// A secret's next version: one more than the newest that was ever given, so that `name@version` stays one value.
    Secret(String, u32, Secret),
    /// What stands under a version of a secret is replaced: a login whose tokens were renewed is the same login.
    RenewSecret(String, u32, Secret),
    /// Every version of a secret goes.
    RemoveSecret(String),
    /// A bundle's files. Those of a digest that is there already stay.
    Bundle(BundleDigest, Files),
    /// This bundle decides from now on. Moves the bundle's epoch.
    ActivateBundle(BundleDigest),
    /// The log goes on under the name of its next epoch; the transition's own entries bear it already.
    Epoch(LogName),
}

/// What a committed transition got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Index of its first entry; of the next one, if it had none.
    pub first_index: u64,
    /// How many entries it had.
    pub entries: u64,
    /// The time that its entries bear.
    pub time: Timestamp,
}

/// Why a transition was not written. Nothing of it was, unless the store has stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// What the decision read has moved: read again, decide again. The word says what: that of a [`Requires`], or
    /// `request_version`, `short_code`, `secret_version`, `invitation`, `session`, `token`, `secret`, `group`.
    #[error("commit: what the decision was based on has changed ({0})")]
    Stale(String),
    /// An entry is larger than the ledger can hold, or a value does not fit its column.
    #[error("commit: {0}")]
    Refused(String),
    /// The store cannot write now: disk full, read-only, shut down. It is not known to have been written.
    #[error("commit: the store is unavailable: {0}")]
    Unavailable(String),
    /// The store has stopped, and nothing but a restart opens it again: a write or its sync failed, or its writer did.
    /// Whether this was written is known then.
    #[error("commit: the store has stopped: {0}")]
    Stopped(String),
}

/// Why something could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ViewError {
    /// What is stored cannot be read by this version, or was altered, or its key is gone.
    #[error("read {what}: {reason}")]
    Corrupt {
        /// What was to be read.
        what: &'static str,
        /// Why it cannot.
        reason: String,
    },
    /// The store cannot read now.
    #[error("read: the store is unavailable: {0}")]
    Unavailable(String),
    /// The store has stopped, and nothing but a restart opens it again.
    #[error("read: the store has stopped: {0}")]
    Stopped(String),
}

/// A store: both sides.
pub trait Store: Commit + Views {}
impl<S: Commit + Views + ?Sized> Store for S {}

/// The writing side. Object-safe.
pub trait Commit: Send + Sync {
    /// Writes a transition durably, or nothing of it.
    fn commit(&self, transition: Transition) -> Answer<'_, Result<Receipt, CommitError>>;
    /// Makes the search index anew from the entries, compares it with the one there was, and answers from it from then
    /// on. Others may write and search meanwhile. It goes on if the caller leaves.
    fn reindex(&self) -> Answer<'_, Result<Reindexed, CommitError>>;
    /// Destroys every key of a subject, durably: nobody reads what they sealed any more, here or in a copy of the data.
    /// Says how many there were. Whoever calls this has committed the entry that says so.
    fn erase(&self, subject: keys::Subject) -> Answer<'_, Result<usize, CommitError>>;
}

/// A request as stored, with where its entries are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRequest {
    /// The request.
    pub request: Request,
    /// Indices of its ledger entries, ascending.
    pub entries: Vec<u64>,
}

/// Which requests to list.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// Only of this principal.
    pub principal: Option<Principal>,
    /// Only in these states; all if empty.
    pub statuses: Vec<Status>,
    /// Only those about which a human was asked at any time.
    pub reviewed_only: bool,
    /// Only those older than this one: the last of the previous page.
    pub before: Option<RequestId>,
    /// At most so many; the store caps it at [`PAGE_MAX`].
    pub limit: usize,
}

/// A request whose present state ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub request: RequestId,
}

/// The most items that any list gives at once.
pub const PAGE_MAX: usize = 200;

/// The most entries whose bytes are given at once: with entries of the largest size, 64 MiB.
pub const ENTRIES_MAX: usize = 1024;

/// How long what came out of an execution is kept for those who come for it.
pub const DELIVERY_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The bundle in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveBundle {
    /// Counts up with each activation.
    pub epoch: u64,
    /// Which.
    pub digest: BundleDigest,
    /// Its files.
    pub files: Files,
}

/// A stored secret, without its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// When that was set.
    pub set_at: Timestamp,
}

/// Which log it is. Its first epoch has the origin that was configured; each later one began when a restored database had
/// to go on beside a log that was published further, under another origin and another key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogName {
    /// The origin in this epoch.
    pub origin: String,
    /// Counts up from one.
    pub epoch: u32,
}

impl LogName {
    /// The first epoch of a log.
    pub fn first(origin: &str) -> Self {
        LogName { origin: origin.to_owned(), epoch: 1 }
    }

    /// This epoch of the log that began with this origin.
    pub fn of(first: &str, epoch: u32) -> Self {
        let origin = if epoch <= 1 { first.to_owned() } else { format!("{first}/e{epoch}") };
        LogName { origin, epoch: epoch.max(1) }
    }
}

/// Where the log stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogHead {
    /// Which log it is.
    pub name: LogName,
    /// Its right edge: size, and root.
    pub frontier: Frontier,
    /// Time of the last entry.
    pub last_time: Timestamp,
}

/// An entry with what it commits to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEntry {
    /// Where it stands.
    pub index: u64,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// What happened.
    pub kind: Kind,
    /// When.
    pub time: Timestamp,
    /// Whose.
    pub request: Option<RequestId>,
    /// What it commits to; empty once erased.
    pub disclosures: Vec<Disclosure>,
}

/// Which entries to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Only of these kinds; all if empty.
    pub kinds: Vec<Kind>,
    /// Only of this request.
    pub request: Option<RequestId>,
    /// Only at or after this time.
    pub from: Option<Timestamp>,
    /// Only before this time.
    pub to: Option<Timestamp>,
    /// Only before this index.
    pub before: Option<u64>,
    /// At most so many; the store caps it at [`PAGE_MAX`].
    pub limit: usize,
}

/// A committed change, as a hint: read the truth from [`Views`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The request that changed, if it was one.
    pub request: Option<RequestId>,
    /// Its new state.
    pub status: Option<Status>,
    /// The log's size afterwards.
    pub size: u64,
}

/// The reading side. Object-safe; every answer is a consistent snapshot of its own.
pub trait Views: Send + Sync {
    /// The store's time: the machine's clock, but never before the last entry.
    fn now(&self) -> Timestamp;
    /// Hints about what was committed, from now on. A slow reader misses some, and has to poll.
    fn changes(&self) -> tokio::sync::broadcast::Receiver<Change>;
    /// Whether the store can read and write: the reason if not.
    fn health(&self) -> Answer<'_, Result<(), ViewError>>;

    /// One request.
    fn request(&self, id: RequestId) -> Answer<'_, Result<Option<StoredRequest>, ViewError>>;
    /// The open request with this code, else the newest one.
    fn request_by_code(&self, code: ShortCode) -> Answer<'_, Result<Option<StoredRequest>, ViewError>>;
    /// Requests, newest first.
    fn requests(&self, filter: RequestFilter) -> Answer<'_, Result<Vec<StoredRequest>, ViewError>>;
    /// Requests whose present state ends by itself at or before this time, soonest first; only
    /// those after this one, if one is given; at most [`PAGE_MAX`].
    fn due(&self, at: Timestamp, after: Option<Due>, limit: usize)
    -> Answer<'_, Result<Vec<Due>, ViewError>>;
    /// Requests that fit a question, newest first.
    fn search(&self, filter: SearchFilter) -> Answer<'_, Result<SearchPage, ViewError>>;
    /// When the next deadline is.
    fn next_deadline(&self) -> Answer<'_, Result<Option<Timestamp>, ViewError>>;
    /// How many requests are in each state.
    fn counts(&self) -> Answer<'_, Result<BTreeMap<Status, u64>, ViewError>>;
    /// Numbers since this time, decisions since that, and what waits now. Opens nothing, and names nobody.
    fn overview(&self, since: Timestamp, decided: Timestamp) -> Answer<'_, Result<Overview, ViewError>>;
    /// How many requests of this principal needed a review since this time, for up to an hour back and rounded up to
    /// whole minutes, and how many are pending now.
    fn load_of(&self, principal: Principal, since: Timestamp) -> Answer<'_, Result<Load, ViewError>>;
    /// The newest request that a repeated call could attach to: one that was reviewed, or whose outcome is unknown.
    fn twin(&self, principal: Principal, digest: ActionDigest)
    -> Answer<'_, Result<Option<Twin>, ViewError>>;
    /// A remembered idempotency key.
    fn key(&self, principal: Principal, key: String) -> Answer<'_, Result<Option<KeyRecord>, ViewError>>;
    /// A card as shown.
    fn card(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Vec<u8>>, ViewError>>;
    /// The recording of an execution; none if there is none, or if it was erased.
    fn recording(&self, execution: ExecutionId) -> Answer<'_, Result<Option<Vec<u8>>, ViewError>>;

    /// What came out of a request's execution, for [`DELIVERY_LIFETIME`] after it ended.
    fn delivery(&self, request: RequestId) -> Answer<'_, Result<Option<Vec<u8>>, ViewError>>;

    /// Everyone, as of the newest epoch. Cheap when nothing has changed.
    fn directory(&self) -> Answer<'_, Result<Arc<Directory>, ViewError>>;
    /// The agent whose bearer token has this hash, active or not.
    fn agent_by_token(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Agent>, ViewError>>;
    /// The enforcement point whose bearer token has this hash, active or not.
    fn pep_by_token(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Pep>, ViewError>>;
    /// The sign-in link whose secret has this hash.
    fn invitation(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Invitation>, ViewError>>;
    /// The session whose secret has this hash, as long as nobody ended it.
    fn session(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<Session>, ViewError>>;
    /// The person's API token that has this hash, as long as nobody ended it.
    fn token(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<PersonToken>, ViewError>>;
    /// A person's API tokens.
    fn tokens_of(&self, person: PersonId) -> Answer<'_, Result<Vec<PersonToken>, ViewError>>;

    /// The session or token of this hash that was ended before its time. Remembered until it would have ended by itself.
    fn ended_access(&self, hash: Sha256Digest) -> Answer<'_, Result<Option<EndedAccess>, ViewError>>;

    /// The epoch of the active bundle, zero before the first. Cheap.
    fn bundle_epoch(&self) -> Answer<'_, Result<u64, ViewError>>;
    /// The bundle in force.
    fn active_bundle(&self) -> Answer<'_, Result<Option<ActiveBundle>, ViewError>>;
    /// A stored bundle's files.
    fn bundle(&self, digest: BundleDigest) -> Answer<'_, Result<Option<Files>, ViewError>>;

    /// The stored secrets, by name. Removed ones are not in it.
    fn secrets(&self) -> Answer<'_, Result<Vec<SecretInfo>, ViewError>>;
    /// One version of a secret.
    fn secret(&self, name: String, version: u32) -> Answer<'_, Result<Option<Secret>, ViewError>>;
    /// The newest version ever given to a secret of this name, also if it was removed; zero if it is new. The next one
    /// is one more.
    fn secret_version(&self, name: String) -> Answer<'_, Result<u32, ViewError>>;

    /// Where the log stands.
    fn log(&self) -> Answer<'_, Result<LogHead, ViewError>>;
    /// The exact bytes of the entries from `first`, at most `limit` of them; the store caps it at
    /// [`ENTRIES_MAX`].
    fn entry_bytes(&self, first: u64, limit: usize) -> Answer<'_, Result<Vec<Vec<u8>>, ViewError>>;
    /// How many entries of each kind there are from this index on.
    fn entry_counts(&self, first: u64) -> Answer<'_, Result<BTreeMap<Kind, u64>, ViewError>>;
    /// Entries with their disclosures, newest first.
    fn entries(&self, filter: EntryFilter) -> Answer<'_, Result<Vec<StoredEntry>, ViewError>>;
}

/// How many decisions an overview looks at, the newest of them.
pub const ENDED_MAX: usize = 200_000;

/// How many roles, guards and requesters an overview names.
pub const LABELS_MAX: usize = 10;

/// Numbers over many requests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overview {
    /// How many wait for people now.
    pub waiting: u64,
    /// Since when the oldest of them does.
    pub oldest: Option<Timestamp>,
    /// How many of them wait for whom; one may wait for several.
    pub waiting_roles: Vec<(String, u64)>,
    /// What people decided, newest first.
    pub decided: Vec<Decided>,
    /// How requests ended, by the hour.
    pub ended: Vec<Ended>,
    /// The guards that asked most.
    pub guards: Vec<(String, u64)>,
    /// Who asked most. A pipeline is named as an agent.
    pub requesters: Vec<(Principal, u64)>,
    /// Votes that were refused.
    pub votes_refused: u64,
    /// Votes that were accepted.
    pub votes_cast: u64,
}

/// A review that people ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decided {
    /// When they were asked.
    pub asked_at: Timestamp,
    /// When they had decided.
    pub at: Timestamp,
}

/// Requests that ended in one hour in one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The hour's beginning.
    pub hour: Timestamp,
    /// How.
    pub status: Status,
    /// How many.
    pub count: u64,
}

/// How much a principal asks of people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Reviews since the time that was asked for.
    pub reviews: u32,
    /// Requests that wait now.
    pub pending: u32,
}
