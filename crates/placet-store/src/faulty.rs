//! A store that fails where a test says so.
//!
//! [`Faulty`] wraps a store and follows a script, or a seed: a commit fails before it happened, or its answer is lost
//! after it happened, or the process dies at either point. A commit can also be held at a point until the test lets it
//! go, which is how races are made to happen.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use placet_core::action::Principal;
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{Agent, Directory, EndedAccess, Invitation, Pep, PersonToken, Session};
use placet_core::entropy::{Entropy, random_bytes};
use placet_core::entry::Kind;
use placet_core::id::{ExecutionId, PersonId, RequestId};
use placet_core::request::Status;
use placet_core::retry::{KeyRecord, Twin};
use placet_core::secret::Secret;
use placet_core::time::Timestamp;
use tokio::sync::{Semaphore, broadcast};

use crate::keys::Subject;
use crate::{
    ActiveBundle, Answer, Change, Commit, CommitError, Due, EntryFilter, Files, Load, LogHead, Overview,
    Receipt, Reindexed, RequestFilter, SearchFilter, SearchPage, SecretInfo, Store, StoredEntry,
    StoredRequest, Transition, ViewError, Views,
};

/// Where in a commit something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// Nothing is written yet.
    Before,
    /// It is durable, and its answer is not given yet.
    After,
}

/// What happens to one commit.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Nothing: it is committed as usual.
    #[default]
    None,
    /// It fails at this point. After the write that is the ambiguous case: the caller hears that it failed.
    Fail(Point),
    /// The process dies at this point: nothing answers from then on.
    Crash(Point),
    /// It waits at this point until the test lets it go.
    Hold(Point, Hold),
}

/// A commit that is held. The test keeps a clone.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    reached: Semaphore,
    open: Semaphore,
}

impl Default for Hold {
    fn default() -> Self {
        Hold(Arc::new(Gate { reached: Semaphore::new(0), open: Semaphore::new(0) }))
    }
}

impl Hold {
    /// A new one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the commit has come to the point.
    pub async fn reached(&self) {
        pass(&self.0.reached).await;
    }

    /// Lets it go.
    pub fn release(&self) {
        self.0.open.add_permits(1);
    }

    async fn wait(&self) {
        self.0.reached.add_permits(1);
        pass(&self.0.open).await;
    }
}

async fn pass(semaphore: &Semaphore) {
    // Nobody closes these semaphores, so there is always a permit in the end.
    if let Ok(permit) = semaphore.acquire().await {
        permit.forget();
    }
}

/// A store that fails where a test says so.
pub struct Faulty {
    inner: Arc<dyn Store>,
    script: Mutex<VecDeque<Fault>>,
    chance: Option<(Arc<dyn Entropy>, u16)>,
    commits: AtomicU64,
    reads_fail: AtomicBool,
    crashed: AtomicBool,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("commits", &self.commits()).finish_non_exhaustive()
    }
}

impl Faulty {
    /// Follows a script: the first commit meets the first fault, and so on; none is left when it ends.
    pub fn scripted(inner: Arc<dyn Store>, script: impl IntoIterator<Item = Fault>) -> Self {
        Faulty {
            inner,
            script: Mutex::new(script.into_iter().collect()),
            chance: None,
            commits: AtomicU64::new(0),
            reads_fail: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
        }
    }

    /// Fails so many commits of a thousand, half of them before and half after the write, as this chance says.
    pub fn by_chance(inner: Arc<dyn Store>, entropy: Arc<dyn Entropy>, per_thousand: u16) -> Self {
        Faulty { chance: Some((entropy, per_thousand)), ..Faulty::scripted(inner, []) }
    }

    /// Dies at this point of the commit with this number; the first is number zero.
    pub fn crashing(inner: Arc<dyn Store>, number: usize, point: Point) -> Self {
        let script = std::iter::repeat_n(Fault::None, number).chain([Fault::Crash(point)]);
        Faulty::scripted(inner, script)
    }

    /// Adds a fault to the end of the script.
    pub fn then(&self, fault: Fault) {
        self.script().push_back(fault);
    }

    /// Takes out of the script what has not happened yet.
    pub fn forget(&self) {
        self.script().clear();
    }

    /// Holds the commit that comes after those of the script at this point.
    pub fn then_hold(&self, point: Point) -> Hold {
        let hold = Hold::new();
        self.then(Fault::Hold(point, hold.clone()));
        hold
    }

    /// From now on every read fails.
    pub fn fail_reads(&self) {
        self.reads_fail.store(true, Ordering::SeqCst);
    }

    /// From now on reads work again.
    pub fn heal_reads(&self) {
        self.reads_fail.store(false, Ordering::SeqCst);
    }

    /// How many commits were tried.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Whether a crash has happened.
    pub fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }

    fn script(&self) -> std::sync::MutexGuard<'_, VecDeque<Fault>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self) -> Fault {
        if let Some(fault) = self.script().pop_front() {
            return fault;
        }
        let Some((entropy, per_thousand)) = &self.chance else { return Fault::None };
        let [high, low, side] = random_bytes::<3>(entropy.as_ref());
        let drawn = u16::from_be_bytes([high, low]) % 1000;
        let point = if side % 2 == 0 { Point::Before } else { Point::After };
        if drawn < *per_thousand { Fault::Fail(point) } else { Fault::None }
    }

    /// What happens at this point of a commit.
    async fn meet(&self, fault: &Fault, here: Point) -> Result<(), CommitError> {
        match fault {
            Fault::Fail(point) if *point == here => {
                return Err(CommitError::Unavailable("injected failure".to_owned()));
            }
            Fault::Crash(point) if *point == here => self.crashed.store(true, Ordering::SeqCst),
            Fault::Hold(point, hold) if *point == here => hold.wait().await,
            _ => {}
        }
        if self.has_crashed() { Err(CommitError::Unavailable("injected crash".to_owned())) } else { Ok(()) }
    }

    fn readable(&self) -> Result<(), ViewError> {
        if self.reads_fail.load(Ordering::SeqCst) || self.has_crashed() {
            return Err(ViewError::Unavailable("injected failure".to_owned()));
        }
        Ok(())
    }
}

impl Commit for Faulty {
    fn commit(&self, transition: Transition) -> Answer<'_, Result<Receipt, CommitError>> {
        Box::pin(async move {
            self.commits.fetch_add(1, Ordering::SeqCst);
            let fault = self.next_fault();
            self.meet(&fault, Point::Before).await?;
            let answer = self.inner.commit(transition).await;
            self.meet(&fault, Point::After).await?;
            answer
        })
    }

    fn reindex(&self) -> Answer<'_, Result<Reindexed, CommitError>> {
        Box::pin(async move {
            // It writes no entry and no state, so it is none of the commits that a script counts.
            self.meet(&Fault::None, Point::Before).await?;
            self.inner.reindex().await
        })
    }

    fn erase(&self, subject: Subject) -> Answer<'_, Result<usize, CommitError>> {
        Box::pin(async move {
            let fault = self.next_fault();
            self.meet(&fault, Point::Before).await?;
            let answer = self.inner.erase(subject).await;
            self.meet(&fault, Point::After).await?;
            answer
        })
    }
}

/// Every view fails or is passed on.
macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($argument: $type),*) -> Answer<'_, Result<$answer, ViewError>> {
            Box::pin(async move {
                self.readable()?;
                self.inner.$name($($argument),*).await
            })
        }
    )*};
}

impl Views for Faulty {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes()
    }

    passed_on! {
        health() -> ();
        request(id: RequestId) -> Option<StoredRequest>;
        request_by_code(code: ShortCode) -> Option<StoredRequest>;
        requests(filter: RequestFilter) -> Vec<StoredRequest>;
        due(at: Timestamp, after: Option<Due>, limit: usize) -> Vec<Due>;
        search(filter: SearchFilter) -> SearchPage;
        next_deadline() -> Option<Timestamp>;
        counts() -> BTreeMap<Status, u64>;
        overview(since: Timestamp, decided: Timestamp) -> Overview;
        load_of(principal: Principal, since: Timestamp) -> Load;
        twin(principal: Principal, digest: ActionDigest) -> Option<Twin>;
        key(principal: Principal, key: String) -> Option<KeyRecord>;
        card(hash: Sha256Digest) -> Option<Vec<u8>>;
        recording(execution: ExecutionId) -> Option<Vec<u8>>;
        delivery(request: RequestId) -> Option<Vec<u8>>;
        directory() -> Arc<Directory>;
        agent_by_token(hash: Sha256Digest) -> Option<Agent>;
        pep_by_token(hash: Sha256Digest) -> Option<Pep>;
        invitation(hash: Sha256Digest) -> Option<Invitation>;
        session(hash: Sha256Digest) -> Option<Session>;
        token(hash: Sha256Digest) -> Option<PersonToken>;
        tokens_of(person: PersonId) -> Vec<PersonToken>;
        ended_access(hash: Sha256Digest) -> Option<EndedAccess>;
        bundle_epoch() -> u64;
        active_bundle() -> Option<ActiveBundle>;
        bundle(digest: BundleDigest) -> Option<Files>;
        secrets() -> Vec<SecretInfo>;
        secret(name: String, version: u32) -> Option<Secret>;
        secret_version(name: String) -> u32;
        log() -> LogHead;
        entry_bytes(first: u64, limit: usize) -> Vec<Vec<u8>>;
        entry_counts(first: u64) -> BTreeMap<Kind, u64>;
        entries(filter: EntryFilter) -> Vec<StoredEntry>;
    }
}

#[cfg(test)]
mod tests {
    use placet_core::entry::{Draft, Kind, Sealed};
    use placet_core::id::EntryId;

    use super::*;
    use crate::conformance::CountedEntropy;
    use crate::sqlite::tests::Space;

    fn entry(number: u8) -> Sealed {
        Draft::new(Kind::CapReached).seal(EntryId::from_bytes([number; 16]), &CountedEntropy::new(0))
    }

    fn appends(number: u8) -> Transition {
        Transition { entries: vec![entry(number)], ..Transition::default() }
    }

    async fn size(store: &dyn Store) -> u64 {
        store.log().await.unwrap().frontier.size()
    }

    #[tokio::test]
    async fn a_failure_before_writes_nothing_and_one_after_does() {
        let space = Space::new();
        let store: Arc<dyn Store> = Arc::new(space.open());
        let script = [Fault::Fail(Point::Before), Fault::Fail(Point::After), Fault::None];
        let faulty = Faulty::scripted(Arc::clone(&store), script);
        assert!(matches!(faulty.commit(appends(1)).await, Err(CommitError::Unavailable(_))));
        assert_eq!(size(store.as_ref()).await, 0);
        assert!(matches!(faulty.commit(appends(1)).await, Err(CommitError::Unavailable(_))));
        assert_eq!(size(store.as_ref()).await, 1);
        // Whoever tries again after a lost answer does not write twice.
        assert!(matches!(faulty.commit(appends(1)).await, Err(CommitError::Refused(_))));
        assert!(faulty.commit(appends(2)).await.is_ok(), "the script has ended");
        assert_eq!((size(store.as_ref()).await, faulty.commits()), (2, 4));
    }

    #[tokio::test]
    async fn after_a_crash_nothing_answers() {
        for (point, written) in [(Point::Before, 1), (Point::After, 2)] {
            let space = Space::new();
            let store: Arc<dyn Store> = Arc::new(space.open());
            let faulty = Faulty::crashing(Arc::clone(&store), 1, point);
            assert!(faulty.commit(appends(1)).await.is_ok());
            assert!(matches!(faulty.commit(appends(2)).await, Err(CommitError::Unavailable(_))));
            assert!(matches!(faulty.commit(appends(3)).await, Err(CommitError::Unavailable(_))));
            assert!(matches!(faulty.log().await, Err(ViewError::Unavailable(_))));
            assert!(faulty.has_crashed());
            assert_eq!(size(store.as_ref()).await, written, "{point:?}");
        }
    }

    #[tokio::test]
    async fn a_held_commit_waits() {
        let space = Space::new();
        let store: Arc<dyn Store> = Arc::new(space.open());
        let faulty = Arc::new(Faulty::scripted(Arc::clone(&store), []));
        for (number, point, size_then) in [(1, Point::Before, 0), (2, Point::After, 2)] {
            let hold = faulty.then_hold(point);
            let held = tokio::spawn({
                let faulty = Arc::clone(&faulty);
                async move { faulty.commit(appends(number)).await }
            });
            hold.reached().await;
            assert_eq!(size(store.as_ref()).await, size_then);
            assert!(!held.is_finished());
            hold.release();
            assert!(held.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn reads_fail_and_heal() {
        let space = Space::new();
        let faulty = Faulty::scripted(Arc::new(space.open()), []);
        faulty.fail_reads();
        assert!(matches!(faulty.health().await, Err(ViewError::Unavailable(_))));
        faulty.heal_reads();
        assert!(faulty.health().await.is_ok());
    }

    #[tokio::test]
    async fn the_same_seed_fails_the_same_commits() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let space = Space::new();
            let entropy = Arc::new(CountedEntropy::new(42));
            let faulty = Faulty::by_chance(Arc::new(space.open()), entropy, 500);
            let mut results = Vec::new();
            for number in 1..40 {
                results.push(faulty.commit(appends(number)).await.is_ok());
            }
            runs.push(results);
        }
        assert_eq!(runs[0], runs[1]);
        assert!(runs[0].contains(&true) && runs[0].contains(&false));
    }
}
