//! What a single credential may ask for: the rate of its calls, how much it may have waiting, how often it may bother
//! people. Held in memory: a restart forgives, the counts of pending requests and reviews come from the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use placet_core::action::{ActionRequest, Principal};
use placet_core::digest::Sha256Digest;
use placet_core::id::InvitationId;
use placet_core::time::Timestamp;

use crate::error::CallError;

/// The caps of one credential.
#[derive(Clone, Debug)]
pub struct Caps {
    /// Calls that create or attach, per minute.
    pub calls_per_minute: u32,
    /// Requests waiting for people at one time.
    pub pending_max: u32,
    /// Reviews asked for in an hour.
    pub reviews_per_hour: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { calls_per_minute: 600, pending_max: 50, reviews_per_hour: 120 }
    }
}

/// So many denials of one thing …
const DENIALS_MAX: usize = 3;
/// … within this time cool it down for as long.
const DENIALS_WINDOW: Duration = Duration::from_secs(600);
/// A summary entry about refused calls at most so often for each credential.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);
/// Credentials, triples and links remembered at once; beyond it those are forgotten that hold nobody back any more. All of
/// them are of people and operators making, so that no caller can make up a new one.
const REMEMBERED_MAX: usize = 100_000;

/// Counts calls and denials.
pub(crate) struct Limiter {
    caps: Caps,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: HashMap<Principal, Bucket>,
    denials: HashMap<Triple, VecDeque<Timestamp>>,
    links: HashMap<InvitationId, Refusals>,
    ended: HashMap<Sha256Digest, Refusals>,
}

/// Refusals of one thing since the last entry about them.
#[derive(Default)]
struct Refusals {
    count: u32,
    noted_at: Option<Timestamp>,
}

/// What a call takes from a bucket, in thousandths of one.
const CALL: u64 = 1000;

type Triple = (Principal, String, String);

struct Bucket {
    /// Thousandths of a call that may still be made.
    tokens: u64,
    filled_at: Timestamp,
    refused: Refusals,
}

/// A cap was reached.
pub(crate) struct Capped {
    /// What the caller gets.
    pub(crate) error: CallError,
    /// How many refusals the next summary entry stands for; none if one was written within the minute.
    pub(crate) summary: Option<u32>,
}

impl Limiter {
    pub(crate) fn new(caps: Caps) -> Self {
        Limiter { caps, state: Mutex::default() }
    }

    pub(crate) fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Takes one call from the credential's bucket.
    pub(crate) fn call(&self, principal: Principal, now: Timestamp) -> Result<(), Capped> {
        self.draw(principal, CALL, now)
    }

    /// Whether there is one to be taken.
    pub(crate) fn may_call(&self, principal: Principal, now: Timestamp) -> Result<(), Capped> {
        self.draw(principal, 0, now)
    }

    fn draw(&self, principal: Principal, tokens: u64, now: Timestamp) -> Result<(), Capped> {
        let per_minute = u64::from(self.caps.calls_per_minute);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = state.bucket(principal, per_minute, now);
        let elapsed = u64::try_from(now.since(bucket.filled_at).as_millis()).unwrap_or(u64::MAX);
        // Calls per minute are thousandths of a call per sixtieth of a millisecond, so this stays in whole numbers.
        bucket.tokens =
            bucket.tokens.saturating_add(elapsed.saturating_mul(per_minute) / 60).min(per_minute * CALL);
        bucket.filled_at = now;
        if bucket.tokens >= CALL {
            bucket.tokens -= tokens;
            return Ok(());
        }
        let millis = (CALL - bucket.tokens).saturating_mul(60) / per_minute.max(1);
        Err(bucket.refuse(
            "call_rate",
            "Too many calls with this credential.",
            Duration::from_millis(millis),
            now,
        ))
    }

    /// Refuses because of a cap that was counted elsewhere.
    pub(crate) fn refuse(
        &self,
        principal: Principal,
        code: &'static str,
        message: &str,
        retry_after: Duration,
        now: Timestamp,
    ) -> Capped {
        let per_minute = u64::from(self.caps.calls_per_minute);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bucket(principal, per_minute, now).refuse(code, message, retry_after, now)
    }

    /// A sign-in link was refused: how many refusals the entry that is due stands for.
    pub(crate) fn sign_in_refused(&self, link: InvitationId, now: Timestamp) -> Option<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.links.len() >= REMEMBERED_MAX {
            state.links.retain(|_, link| link.noted_at.is_some_and(|at| now.since(at) < SUMMARY_EVERY));
        }
        state.links.entry(link).or_default().another(now)
    }

    /// A vote with an ended session or token was refused: how many refusals the entry that is due stands for.
    pub(crate) fn ended_vote_refused(&self, credential: Sha256Digest, now: Timestamp) -> Option<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended.len() >= REMEMBERED_MAX {
            state.ended.retain(|_, ended| ended.noted_at.is_some_and(|at| now.since(at) < SUMMARY_EVERY));
        }
        state.ended.entry(credential).or_default().another(now)
    }

    /// Remembers a denial.
    pub(crate) fn denied(&self, action: &ActionRequest, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.denials.len() >= REMEMBERED_MAX {
            state
                .denials
                .retain(|_, times| times.back().is_some_and(|last| now.since(*last) < DENIALS_WINDOW));
        }
        let times = state.denials.entry(triple(action)).or_default();
        times.push_back(now);
        while times.len() > DENIALS_MAX {
            times.pop_front();
        }
    }

    /// How long this agent, action and resource are still cooled down.
    pub(crate) fn cooled_down(&self, action: &ActionRequest, now: Timestamp) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let times = state.denials.get(&triple(action))?;
        let (first, last) = (times.front()?, times.back()?);
        let cooled = times.len() >= DENIALS_MAX && last.since(*first) < DENIALS_WINDOW;
        let until = last.plus(DENIALS_WINDOW);
        (cooled && now < until).then(|| until.since(now))
    }
}

fn triple(action: &ActionRequest) -> Triple {
    (action.chain.requester, action.action.as_str().to_owned(), action.resource.visible())
}

impl State {
    fn bucket(&mut self, principal: Principal, per_minute: u64, now: Timestamp) -> &mut Bucket {
        if self.buckets.len() >= REMEMBERED_MAX {
            self.buckets.retain(|_, bucket| now.since(bucket.filled_at) < SUMMARY_EVERY);
        }
        self.buckets.entry(principal).or_insert(Bucket {
            tokens: per_minute * CALL,
            filled_at: now,
            refused: Refusals::default(),
        })
    }
}

impl Bucket {
    fn refuse(&mut self, code: &'static str, message: &str, retry_after: Duration, now: Timestamp) -> Capped {
        let summary = self.refused.another(now);
        let retry_after = retry_after.max(Duration::from_secs(1));
        Capped { error: CallError::TooMany { code, message: message.to_owned(), retry_after }, summary }
    }
}

impl Refusals {
    /// One more. Gives how many the entry that is due stands for; none if there was one within the minute.
    fn another(&mut self, now: Timestamp) -> Option<u32> {
        self.count = self.count.saturating_add(1);
        if self.noted_at.is_some_and(|at| now.since(at) < SUMMARY_EVERY) {
            return None;
        }
        self.noted_at = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use placet_core::id::AgentId;

    use super::*;

    fn caller() -> Principal {
        Principal::Agent(AgentId::from_bytes([7; 16]))
    }

    #[test]
    fn a_bucket_empties_refuses_with_one_summary_a_minute_and_fills_again() {
        let limiter = Limiter::new(Caps { calls_per_minute: 2, ..Caps::default() });
        let start = Timestamp::from_millis(1_000_000);
        assert!(limiter.call(caller(), start).is_ok());
        assert!(limiter.may_call(caller(), start).is_ok(), "to ask takes nothing");
        assert!(limiter.call(caller(), start).is_ok());
        let capped = limiter.call(caller(), start).err().unwrap();
        assert_eq!(capped.error.code(), "call_rate");
        assert_eq!(capped.summary, Some(1));
        assert_eq!(limiter.may_call(caller(), start).err().unwrap().summary, None);
        let later = start.plus(Duration::from_secs(30));
        assert!(limiter.call(caller(), later).is_ok());
        assert!(limiter.call(caller(), later).is_err());
        let much_later = start.plus(Duration::from_secs(61));
        assert!(limiter.call(caller(), much_later).is_ok());
        assert_eq!(limiter.call(caller(), much_later).err().unwrap().summary, Some(3));
    }
}
