//! Bugs, planted between broker and store: no line of the product knows of them.
//!
//! [`Planted`] passes everything on, and lies where its bug says so: it leaves out a precondition, forgets a write that
//! it acknowledged, or shows broker a directory, a policy or a time that are not those in force. That is what the
//! corresponding mistake in broker or store would look like from outside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use placet_core::action::Principal;
use placet_core::decision::Effect;
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::directory::{Agent, Directory, Invitation, PersonToken, Session, Status as Standing};
use placet_core::entry::Kind;
use placet_core::id::{ExecutionId, PersonId, RequestId};
use placet_core::request::{Grant, Request, State, Status};
use placet_core::retry::{KeyRecord, Twin};
use placet_core::review::Verdict;
use placet_core::secret::Secret;
use placet_core::time::{Clock, Timestamp};
use placet_store::{
    ActiveBundle, Answer, Change, Commit, CommitError, Due, EntryFilter, Files, Load, LogHead, Receipt,
    Reindexed, RequestFilter, Requires, SearchFilter, SearchPage, SecretInfo, Store, StoredEntry,
    StoredRequest, Transition, ViewError, Views, Write,
};
use placet_testkit::ManualClock;
use tokio::sync::broadcast;

/// A bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// None: everything is passed on.
    None,
    /// The grant is consumed after the execution, not before it.
    ConsumedAfterTheExecution,
    /// The execution starts, and the entry that permits it is missing.
    NoPermitEntry,
    /// What is acknowledged is written with the next commit: a crash loses it.
    AcknowledgedBeforeTheDisk,
    /// Compare-and-set became set: the last writer wins.
    LastWriterWins,
    /// The transition does not look at who is there again.
    DirectoryEpochNotChecked,
    /// The transition does not look at the policy in force again.
    BundleEpochNotChecked,
    /// Deadlines are checked before the transition, and not in it.
    DeadlineOutsideTheTransition,
    /// Two equal calls at once are two requests.
    TwinNotChecked,
    /// One key at once stands for two calls.
    KeyNotCheckedInTheTransition,
    /// A key that was used is not looked at.
    KeyReuseNotChecked,
    /// The cap on pending requests is only checked beforehand.
    CapNotCheckedInTheTransition,
    /// Grants are minted while the clock is behind.
    ClockNotChecked,
    /// Deadlines follow the wall clock, also when it is turned back.
    WallClock,
    /// Another policy is in force, and decisions are still made by the old one.
    StalePolicy,
    /// Votes are counted by account: two accounts of one human are two people.
    VotesByAccount,
    /// The sponsor's second account is somebody else.
    SponsorsAliasVotes,
    /// A disabled person's vote still counts.
    DisabledStillCounts,
    /// A vote grants without policy being asked again.
    SecondDecisionSkipped,
    /// A claim starts on the people and the policy of when it was granted.
    ThirdDecisionSkipped,
    /// What nobody knows the outcome of may be asked again.
    UnknownIsRetried,
    /// A denial after the grant is acknowledged, and changes nothing.
    LateDenialIgnored,
    /// Deadlines never pass.
    NothingIsEverDue,
    /// A token that was replaced still opens the door.
    OldTokenStillOpens,
}

impl Bug {
    /// All of them.
    pub(crate) const ALL: [Bug; 23] = [
        Bug::ConsumedAfterTheExecution,
        Bug::NoPermitEntry,
        Bug::AcknowledgedBeforeTheDisk,
        Bug::LastWriterWins,
        Bug::DirectoryEpochNotChecked,
        Bug::BundleEpochNotChecked,
        Bug::DeadlineOutsideTheTransition,
        Bug::TwinNotChecked,
        Bug::KeyNotCheckedInTheTransition,
        Bug::KeyReuseNotChecked,
        Bug::CapNotCheckedInTheTransition,
        Bug::ClockNotChecked,
        Bug::WallClock,
        Bug::StalePolicy,
        Bug::VotesByAccount,
        Bug::SponsorsAliasVotes,
        Bug::DisabledStillCounts,
        Bug::SecondDecisionSkipped,
        Bug::ThirdDecisionSkipped,
        Bug::UnknownIsRetried,
        Bug::LateDenialIgnored,
        Bug::NothingIsEverDue,
        Bug::OldTokenStillOpens,
    ];

    /// Which precondition the transition loses.
    fn loses(self, requires: &Requires) -> bool {
        match requires {
            // Who shows other people than there are still names the true epoch.
            Requires::DirectoryEpoch(_) => self == Bug::DirectoryEpochNotChecked,
            Requires::BundleEpoch(_) => matches!(self, Bug::BundleEpochNotChecked | Bug::StalePolicy),
            Requires::Before(_) => self == Bug::DeadlineOutsideTheTransition,
            Requires::Twin(..) => self == Bug::TwinNotChecked,
            Requires::Key(..) => matches!(self, Bug::KeyNotCheckedInTheTransition | Bug::KeyReuseNotChecked),
            Requires::PendingBelow(..) => self == Bug::CapNotCheckedInTheTransition,
            Requires::SteadyClock => self == Bug::ClockNotChecked,
            _ => false,
        }
    }
}

/// A store with a bug in front of it.
pub(crate) struct Planted {
    inner: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    bug: Bug,
    /// Whether the call that is made now is a claim.
    claiming: Arc<AtomicBool>,
    held_back: Mutex<Option<Transition>>,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    directory: Option<Arc<Directory>>,
    bundle: Option<ActiveBundle>,
}

impl Planted {
    pub(crate) fn new(
        inner: Arc<dyn Store>,
        clock: Arc<ManualClock>,
        bug: Bug,
        claiming: Arc<AtomicBool>,
    ) -> Self {
        let (held_back, remembered) = Default::default();
        Planted { inner, clock, bug, claiming, held_back, remembered }
    }

    /// Whether a claim is decided on what was remembered when it was granted.
    fn skips_third(&self) -> bool {
        self.bug == Bug::ThirdDecisionSkipped && self.claiming.load(Ordering::SeqCst)
    }

    async fn lying_commit(&self, mut transition: Transition) -> Result<Receipt, CommitError> {
        transition.requires.retain(|requires| !self.bug.loses(requires));
        if self.skips_third() {
            let epoch = |requires: &Requires| {
                matches!(requires, Requires::DirectoryEpoch(_) | Requires::BundleEpoch(_))
            };
            transition.requires.retain(|requires| !epoch(requires));
        }
        let status = written(&mut transition).map(|request| request.status());
        let started = transition.entries.iter().any(|entry| entry.draft.kind == Kind::ExecutionStarted);
        match self.bug {
            Bug::ConsumedAfterTheExecution if started => {
                transition.writes.clear();
                transition.entries.clear();
            }
            Bug::NoPermitEntry if started => transition.entries.clear(),
            Bug::LateDenialIgnored if status == Some(Status::Denied) => {
                let id = written(&mut transition).unwrap().id;
                let before = self.inner.request(id).await.ok().flatten();
                if before.is_some_and(|before| before.request.status() == Status::Granted) {
                    transition.writes.clear();
                }
            }
            Bug::SecondDecisionSkipped => grant_by_vote(&mut transition),
            Bug::ThirdDecisionSkipped if status == Some(Status::Granted) => {
                let directory = self.inner.directory().await.ok();
                let bundle = self.inner.active_bundle().await.ok().flatten();
                *self.remembered.lock().unwrap() = Remembered { directory, bundle };
            }
            Bug::AcknowledgedBeforeTheDisk => {
                let before = self.held_back.lock().unwrap().take();
                if let Some(before) = before {
                    let _ = self.inner.commit(before).await;
                }
                if transition.entries.iter().any(|entry| entry.draft.kind == Kind::VoteCast) {
                    *self.held_back.lock().unwrap() = Some(transition);
                    let log =
                        self.inner.log().await.map_err(|error| CommitError::Refused(error.to_string()))?;
                    return Ok(Receipt { first_index: log.frontier.size(), entries: 0, time: self.now() });
                }
            }
            _ => {}
        }
        let again = (self.bug == Bug::LastWriterWins).then(|| transition.clone());
        match (self.inner.commit(transition).await, again) {
            (Err(CommitError::Stale(what)), Some(mut again)) if what == "request_version" => {
                if let Some(request) = written(&mut again) {
                    let stored = self.inner.request(request.id).await.ok().flatten();
                    request.version = stored.map_or(1, |stored| stored.request.version + 1);
                }
                self.inner.commit(again).await
            }
            (answer, _) => answer,
        }
    }
}

/// The request that a transition writes.
fn written(transition: &mut Transition) -> Option<&mut Request> {
    transition.writes.iter_mut().find_map(|write| match write {
        Write::Request(request) => Some(request.as_mut()),
        _ => None,
    })
}

/// One approval is enough.
fn grant_by_vote(transition: &mut Transition) {
    let Some(request) = written(transition) else { return };
    let approved = request.votes.last().is_some_and(|vote| vote.verdict == Verdict::Approve);
    if approved && matches!(request.state, State::Pending(_)) {
        let minted_at = request.updated_at;
        let expires_at = minted_at.plus(std::time::Duration::from_secs(900));
        request.state = State::Granted(Grant { minted_at, expires_at });
        request.decision.effect = Effect::Permit;
    }
}

impl Commit for Planted {
    fn commit(&self, transition: Transition) -> Answer<'_, Result<Receipt, CommitError>> {
        Box::pin(self.lying_commit(transition))
    }

    fn reindex(&self) -> Answer<'_, Result<Reindexed, CommitError>> {
        self.inner.reindex()
    }

    fn erase(&self, subject: placet_store::keys::Subject) -> Answer<'_, Result<usize, CommitError>> {
        self.inner.erase(subject)
    }
}

/// Passes views on as they are.
macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($argument: $type),*) -> Answer<'_, Result<$answer, ViewError>> {
            self.inner.$name($($argument),*)
        }
    )*};
}

impl Views for Planted {
    fn now(&self) -> Timestamp {
        if self.bug == Bug::WallClock { self.clock.now() } else { self.inner.now() }
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes()
    }

    fn directory(&self) -> Answer<'_, Result<Arc<Directory>, ViewError>> {
        Box::pin(async move {
            let truth = self.inner.directory().await?;
            if self.skips_third() {
                return Ok(self.remembered.lock().unwrap().directory.clone().unwrap_or(truth));
            }
            let mut shown = Directory::clone(&truth);
            let sponsors: Vec<_> = shown.agents.values().map(|agent| agent.sponsor).collect();
            match self.bug {
                Bug::VotesByAccount => {
                    // Nothing is hers or gil's, so that all that changes is how many they are.
                    shown.people.values_mut().for_each(|person| {
                        let fay = person.name == "fay";
                        person.email = person.email.take().filter(|_| !fay);
                    });
                }
                Bug::SponsorsAliasVotes => {
                    for (id, person) in &mut shown.people {
                        if sponsors.contains(id) {
                            person.email = None;
                        }
                    }
                }
                Bug::DisabledStillCounts => {
                    shown.people.values_mut().for_each(|person| person.status = Standing::Active);
                }
                Bug::OldTokenStillOpens => {
                    shown.agents.values_mut().for_each(|agent| agent.credential_version = 1);
                }
                _ => return Ok(truth),
            }
            Ok(Arc::new(shown))
        })
    }

    fn twin(
        &self,
        principal: Principal,
        digest: ActionDigest,
    ) -> Answer<'_, Result<Option<Twin>, ViewError>> {
        Box::pin(async move {
            let mut twin = self.inner.twin(principal, digest).await?;
            if let (Bug::UnknownIsRetried, Some(twin)) = (self.bug, &mut twin) {
                twin.resolved = true;
            }
            Ok(twin)
        })
    }

    fn key(&self, principal: Principal, key: String) -> Answer<'_, Result<Option<KeyRecord>, ViewError>> {
        Box::pin(async move {
            let known = self.inner.key(principal, key).await?;
            Ok(known.filter(|_| self.bug != Bug::KeyReuseNotChecked))
        })
    }

    fn bundle_epoch(&self) -> Answer<'_, Result<u64, ViewError>> {
        Box::pin(async move {
            let truth = self.inner.bundle_epoch().await?;
            Ok(self.old_bundle().await?.map_or(truth, |bundle| bundle.epoch))
        })
    }

    fn active_bundle(&self) -> Answer<'_, Result<Option<ActiveBundle>, ViewError>> {
        Box::pin(async move {
            match self.old_bundle().await? {
                Some(bundle) => Ok(Some(bundle)),
                None => self.inner.active_bundle().await,
            }
        })
    }

    fn due(
        &self,
        at: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<Due>, ViewError>> {
        let limit = if self.bug == Bug::NothingIsEverDue { 0 } else { limit };
        self.inner.due(at, after, limit)
    }

    passed_on! {
        health() -> ();
        request(id: RequestId) -> Option<StoredRequest>;
        request_by_code(code: ShortCode) -> Option<StoredRequest>;
        requests(filter: RequestFilter) -> Vec<StoredRequest>;
        next_deadline() -> Option<Timestamp>;
        counts() -> BTreeMap<Status, u64>;
        load_of(principal: Principal, since: Timestamp) -> Load;
        card(hash: Sha256Digest) -> Option<Vec<u8>>;
        agent_by_token(hash: Sha256Digest) -> Option<Agent>;
        invitation(hash: Sha256Digest) -> Option<Invitation>;
        session(hash: Sha256Digest) -> Option<Session>;
        token(hash: Sha256Digest) -> Option<PersonToken>;
        tokens_of(person: PersonId) -> Vec<PersonToken>;
        bundle(digest: BundleDigest) -> Option<Files>;
        secrets() -> Vec<SecretInfo>;
        secret(name: String, version: u32) -> Option<Secret>;
        secret_version(name: String) -> u32;
        log() -> LogHead;
        entry_bytes(first: u64, limit: usize) -> Vec<Vec<u8>>;
        entries(filter: EntryFilter) -> Vec<StoredEntry>;
        search(filter: SearchFilter) -> SearchPage;
        recording(execution: ExecutionId) -> Option<Vec<u8>>;
        delivery(request: RequestId) -> Option<Vec<u8>>;
        overview(since: Timestamp, decided: Timestamp) -> placet_store::Overview;
        pep_by_token(hash: Sha256Digest) -> Option<placet_core::directory::Pep>;
        ended_access(hash: Sha256Digest) -> Option<placet_core::directory::EndedAccess>;
        entry_counts(first: u64) -> BTreeMap<placet_core::entry::Kind, u64>;
    }
}

impl Planted {
    /// The policy that a bug still decides by.
    async fn old_bundle(&self) -> Result<Option<ActiveBundle>, ViewError> {
        if self.skips_third() {
            return Ok(self.remembered.lock().unwrap().bundle.clone());
        }
        if self.bug != Bug::StalePolicy {
            return Ok(None);
        }
        let known = self.remembered.lock().unwrap().bundle.clone();
        if known.is_none() {
            let first = self.inner.active_bundle().await?;
            self.remembered.lock().unwrap().bundle.clone_from(&first);
            return Ok(first);
        }
        Ok(known)
    }
}
