//! What every store must do, as one suite that every store runs.
//!
//! A backend gives a [`Place`]; [`run`] makes a new one for each case and panics at the first that does not hold. The
//! cases speak only through [`Commit`](crate::Commit) and [`Views`](crate::Views): what they cannot see is not promised.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test, as a library"
)]

mod fixtures;
mod log;
mod people;
mod preconditions;
mod requests;
mod search;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use placet_core::entropy::Entropy;
use placet_core::id::{Id, Kind};
use placet_core::time::{Clock, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{Answer, CommitError, Receipt, Requires, Store, Transition, Write};

/// Where one store lives. Opening it again after the store was dropped gives the same state.
pub trait Place: Send + Sync {
    /// Opens the store that lives here.
    fn open(&self, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Answer<'_, Box<dyn Store>>;
}

/// A clock that stands where it is put.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that stands at this time.
    pub fn at(time: Timestamp) -> Self {
        HandClock(AtomicI64::new(time.as_millis()))
    }

    /// Puts it to another time, also an earlier one.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_millis(), Ordering::SeqCst);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Chance that repeats: SHA-256 of a seed and a counter.
#[derive(Debug)]
pub struct CountedEntropy {
    seed: u64,
    count: AtomicU64,
}

impl CountedEntropy {
    /// The sequence that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        CountedEntropy { seed, count: AtomicU64::new(0) }
    }
}

impl Entropy for CountedEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let count = self.count.fetch_add(1, Ordering::SeqCst);
            let block = Sha256::new()
                .chain_update(self.seed.to_be_bytes())
                .chain_update(count.to_be_bytes())
                .finalize();
            for (byte, fresh) in chunk.iter_mut().zip(block) {
                *byte = fresh;
            }
        }
    }
}

/// One case's store, its clock and its chance.
struct Bench {
    place: Box<dyn Place>,
    store: Option<Box<dyn Store>>,
    clock: Arc<HandClock>,
    entropy: Arc<CountedEntropy>,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bench")
    }
}

impl Bench {
    async fn at(place: Box<dyn Place>) -> Self {
        let clock = Arc::new(HandClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let mut bench = Bench { place, store: None, clock, entropy: Arc::new(CountedEntropy::new(1)) };
        bench.reopen().await;
        bench
    }

    /// Closes the store and opens it again.
    async fn reopen(&mut self) {
        self.store = None;
        let clock = Arc::clone(&self.clock);
        let entropy = Arc::clone(&self.entropy);
        self.store = Some(self.place.open(clock, entropy).await);
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.store().now()
    }

    fn id<K: Kind>(&self) -> Id<K> {
        Id::new(self.clock.now(), self.entropy.as_ref())
    }

    async fn size(&self) -> u64 {
        self.store().log().await.unwrap().frontier.size()
    }

    /// Commits what must be written.
    async fn commit(&self, transition: Transition) -> Receipt {
        self.store().commit(transition).await.unwrap()
    }

    /// Commits changes without conditions or entries.
    async fn write(&self, writes: impl IntoIterator<Item = Write>) {
        self.commit(fixtures::writes(writes)).await;
    }

    /// Commits what must not be written, and says why it was not.
    async fn refused(&self, transition: Transition) -> CommitError {
        let size = self.size().await;
        let error = self.store().commit(transition).await.unwrap_err();
        assert_eq!(self.size().await, size, "a refused transition left entries");
        error
    }

    /// Commits what must be refused because something has moved, and this word says what.
    async fn stale(&self, transition: Transition, word: &str) {
        match self.refused(transition).await {
            CommitError::Stale(what) => assert_eq!(what, word),
            other => panic!("expected stale {word}, got {other:?}"),
        }
    }

    /// Commits what must be refused for good.
    async fn impossible(&self, transition: Transition) {
        let error = self.refused(transition).await;
        assert!(matches!(error, CommitError::Refused(_)), "{error:?}");
    }

    /// This condition holds: a transition that requires it is written.
    async fn holds(&self, requires: Requires) {
        let transition = Transition { requires: vec![requires.clone()], ..Transition::default() };
        let result = self.store().commit(transition).await;
        assert!(result.is_ok(), "{requires:?} should hold: {result:?}");
    }

    /// This condition does not hold: a transition that requires it is refused, and writes nothing.
    async fn fails(&self, requires: Requires) {
        let word = requires.as_str();
        let entry = self.entry(placet_core::entry::Kind::CapReached);
        let transition = Transition { requires: vec![requires], entries: vec![entry], writes: Vec::new() };
        self.stale(transition, word).await;
    }
}

macro_rules! cases {
    ($make:ident: $($module:ident :: {$($case:ident),* $(,)?})*) => {$($(
        // Boxed: together they would be one very large future.
        let case = Box::pin(async {
            let bench = Bench::at($make()).await;
            $module::$case(bench).await;
        });
        case.await;
    )*)*};
}

/// Runs every case, each on a place of its own. Panics at the first that does not hold.
pub async fn run(make: impl Fn() -> Box<dyn Place>) {
    cases! { make:
        requests::{
            a_request_reads_back_as_it_was,
            every_state_reads_back_as_it_was,
            a_version_is_written_once,
            of_sixty_four_writers_one_wins,
            a_state_leads_only_where_life_does,
            a_request_stays_what_was_asked,
            a_vote_counts_once_a_round,
            votes_stay,
            a_code_is_unique_among_open_requests,
            a_code_finds_the_open_request_else_the_newest,
            the_newest_request_that_can_be_attached_to_is_the_twin,
            deadlines_come_soonest_first,
            pages_follow_each_other,
            counts_and_loads,
            a_card_stays_as_it_was_shown,
            a_recording_is_written_once_and_with_its_request,
            what_came_out_is_kept_for_a_while,
            changes_are_hinted_at,
            a_failing_transition_leaves_the_others,
        }
        preconditions::{
            epochs_are_compared,
            deadlines_are_compared_with_the_stores_time,
            a_clock_that_went_back_grants_nothing,
            a_twin_that_appeared_is_seen,
            a_key_belongs_to_a_request_for_a_day,
            a_link_is_used_once,
            a_code_in_use_is_seen,
            a_secrets_version_is_compared,
            pending_requests_are_counted,
            one_failing_condition_is_enough,
        }
        people::{
            the_directory_reads_back_and_its_epoch_moves,
            what_people_belong_to_must_be_there,
            an_agents_name_and_token_are_its_own,
            a_new_token_counts_the_credential_up,
            an_enforcement_point_is_found_by_its_token_and_keeps_its_kind,
            an_operator_is_one_person,
            access_is_found_by_hash_and_ends,
            ending_access_ends_it_for_one_person,
            what_ended_is_remembered_and_never_comes_back,
            a_session_ends_once,
            secrets_count_up_and_never_come_back,
            bundles_are_kept_and_one_is_active,
        }
        log::{
            entries_chain_by_request,
            time_never_falls,
            the_head_is_that_of_the_entries,
            disclosures_match_what_was_committed_to,
            an_entry_is_written_once,
            an_entry_has_a_size,
            entries_are_found,
            everything_is_there_after_reopening,
        }
        search::{
            requests_are_found_by_what_is_known_of_them,
            what_was_found_comes_in_pages,
            the_index_is_what_the_entries_say,
            a_new_index_answers_after_reopening,
        }
    }
}
