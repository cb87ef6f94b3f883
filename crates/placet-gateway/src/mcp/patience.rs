//! How long a call is held for this client, and what it gets then.
//!
//! ```text
//!                         ┌─ declared tasks ──────────► a task to ask for (see tasks)
//! somebody must decide ───┼─ echoes states ───────────► held a while, then "come again" with a state; nine times
//!                         └─ anything else ───────────► held a while, then a result that says how to come back
//! ```
//!
//! Clients do not say how long they wait, and what they call themselves is what their library is called. So it is learned
//! from what a credential's calls do: whether a state comes back, and after what time callers hang up. All of it is a
//! guess about convenience. Nothing that is learned changes what is permitted, and it is forgotten with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::action::Principal;
use placet_core::directory::CredentialVersion;
use tokio::time::Instant;

use super::upstream::Heard;
use super::wire::Era;

/// A client that was never seen to bring a state back is tried early, while most still wait.
const FIRST: Duration = Duration::from_secs(4);
/// One leg of a call that comes back with a state: below a minute, after which most clients give up.
const LEG_MAX: Duration = Duration::from_secs(45);
/// Clients bring a state back at most ten times.
const ROUNDS_MAX: i64 = 9;
/// A state that has not come back after this long does not come.
const ECHO_MAX: Duration = Duration::from_secs(5);
/// Claude Code waits for five minutes from one sign of progress to the next, and starts to fail soon after.
const WITH_PROGRESS: Duration = Duration::from_secs(240);
/// Who hangs up sooner than this did not run out of patience.
const LEFT_MIN: Duration = Duration::from_secs(1);
/// How many clients are remembered.
const PROFILES_MAX: usize = 10_000;

/// Who calls, as far as the wire tells.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Proven by the door.
    pub(super) principal: Principal,
    /// By this one of its tokens.
    pub(super) credential: Option<CredentialVersion>,
    /// Which family of revisions it speaks.
    pub(super) era: Era,
    /// What it calls itself, if it does.
    pub(super) program: Program,
    /// Whether it said with this call that it can take a task for an answer.
    pub(super) takes_tasks: bool,
    /// Whether it wants to hear that it goes on.
    pub(super) wants_progress: bool,
    /// How long whoever configured it says that it waits.
    pub(super) hold: Option<Duration>,
    /// Where it hears how far its call is.
    pub(super) heard: Option<Heard>,
}

/// A client's name and version: a hint, and no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) version: String,
}

/// How a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// For how long.
    pub(super) hold: Duration,
    /// What its client gets if nobody has decided by then.
    pub(super) then: Then,
}

/// What comes after the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// A result that says how to come back.
    Pending,
    /// A state to come again with.
    Again,
}

/// What was learned about the clients of this process. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Profiles(Arc<Mutex<HashMap<Key, Profile>>>);

type Key = (Principal, Era);

#[derive(Debug, Clone, Copy, Default)]
struct Profile {
    /// The longest that it was seen to wait for an answer.
    stayed: Duration,
    /// When it hung up last.
    left: Option<Duration>,
    /// When it hangs up: it did so twice in a row at about the same time. People do not, timers do.
    leaves: Option<Duration>,
    echo: Echo,
}

/// Whether it brings states back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Echo {
    #[default]
    Untried,
    /// It got one then.
    Tried(Instant),
    Comes,
    Never,
}

impl Profiles {
    /// How to hold a call of this client in this round. `usual` is what the operator configured.
    pub(super) fn patience(&self, client: &Client, usual: Duration, round: i64) -> Patience {
        match client.hold {
            Some(hold) => Patience { hold, then: Then::Pending },
            None => self.with(client, |profile| profile.patience(client, usual, round, Instant::now())),
        }
    }

    /// The client gets a state now.
    pub(super) fn given(&self, client: &Client) {
        self.with(client, |profile| profile.given(Instant::now()));
    }

    /// The client brought a state back.
    pub(super) fn echoed(&self, client: &Client) {
        self.with(client, |profile| profile.echo = Echo::Comes);
    }

    /// A call of this client begins to wait.
    pub(super) fn attend(&self, client: &Client) -> Attendance {
        Attendance { profiles: self.clone(), client: client.clone(), began: Instant::now(), stayed: false }
    }

    fn with<T>(&self, client: &Client, act: impl FnOnce(&mut Profile) -> T) -> T {
        let mut profiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if profiles.len() >= PROFILES_MAX {
            profiles.clear();
        }
        act(profiles.entry((client.principal, client.era)).or_default())
    }
}

impl Profile {
    fn patience(&mut self, client: &Client, usual: Duration, round: i64, now: Instant) -> Patience {
        if matches!(self.echo, Echo::Tried(at) if now.duration_since(at) > ECHO_MAX) {
            self.echo = Echo::Never;
        }
        let leaves = self.leaves.map(|leaves| (leaves * 3 / 4).max(LEFT_MIN));
        let at_most = |hold: Duration| leaves.map_or(hold, |leaves| hold.min(leaves));
        let hold = at_most(usual_for(client, self, usual));
        match (client.era, self.echo) {
            (Era::Modern, Echo::Comes) if round < ROUNDS_MAX => {
                Patience { hold: at_most(usual.min(LEG_MAX)), then: Then::Again }
            }
            (Era::Modern, Echo::Untried) => Patience { hold: hold.min(FIRST), then: Then::Again },
            _ => Patience { hold, then: Then::Pending },
        }
    }

    fn given(&mut self, now: Instant) {
        if self.echo == Echo::Untried {
            self.echo = Echo::Tried(now);
        }
    }

    /// It got an answer after this time.
    fn stayed(&mut self, waited: Duration) {
        self.stayed = self.stayed.max(waited);
        self.leaves = self.leaves.filter(|leaves| *leaves > waited);
    }

    /// It hung up after this time.
    fn left(&mut self, waited: Duration) {
        if waited < LEFT_MIN {
            return;
        }
        let about = (waited / 10).max(Duration::from_millis(500));
        if self.left.is_some_and(|before| before.abs_diff(waited) <= about) {
            self.leaves = Some(waited);
        }
        self.left = Some(waited);
    }
}

/// What a client of this name gets before anything better is known.
fn usual_for(client: &Client, profile: &Profile, usual: Duration) -> Duration {
    let Program { name, version } = &client.program;
    // The Python library's own name: behind it may be a host that gives up after five seconds, or one that waits for
    // minutes. It is held twice as long as it was seen to stay.
    if name == "mcp" && version == "0.1.0" {
        return usual.min(FIRST.max(profile.stayed * 2));
    }
    // An operator who asked for less gets less.
    let waits_long = name == "claude-code" && client.wants_progress && usual >= LEG_MAX;
    if waits_long { usual.max(WITH_PROGRESS) } else { usual }
}

/// A caller who waits. If this is dropped before the answer was there, they hung up.
pub(super) struct Attendance {
    profiles: Profiles,
    client: Client,
    began: Instant,
    stayed: bool,
}

impl Attendance {
    /// The answer is there, and so is the caller.
    pub(super) fn stayed(mut self) {
        self.stayed = true;
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let (waited, stayed) = (self.began.elapsed(), self.stayed);
        self.profiles.with(&self.client, |profile| match stayed {
            true => profile.stayed(waited),
            false => profile.left(waited),
        });
    }
}

#[cfg(test)]
mod tests {
    use placet_core::id::AgentId;

    use super::*;

    const USUAL: Duration = Duration::from_secs(45);

    fn client(era: Era, name: &str, version: &str) -> Client {
        Client {
            principal: Principal::Agent(AgentId::from_bytes([1; 16])),
            credential: None,
            era,
            program: Program { name: name.to_owned(), version: version.to_owned() },
            takes_tasks: false,
            wants_progress: true,
            hold: None,
            heard: None,
        }
    }

    fn seconds(profile: &mut Profile, client: &Client, now: Instant) -> (u64, Then) {
        let patience = profile.patience(client, USUAL, 0, now);
        (patience.hold.as_secs(), patience.then)
    }

    #[test]
    fn a_client_that_brings_a_state_back_gets_nine_legs() {
        let (mut profile, now) = (Profile::default(), Instant::now());
        let modern = client(Era::Modern, "inspector", "2");
        assert_eq!(seconds(&mut profile, &modern, now), (4, Then::Again));
        profile.given(now);
        // What comes beside it is not tried as well.
        assert_eq!(seconds(&mut profile, &modern, now), (45, Then::Pending));
        profile.echo = Echo::Comes;
        assert_eq!(seconds(&mut profile, &modern, now), (45, Then::Again));
        assert_eq!(profile.patience(&modern, USUAL, ROUNDS_MAX, now).then, Then::Pending);
        let legacy = client(Era::Legacy, "inspector", "2");
        assert_eq!(seconds(&mut profile, &legacy, now), (45, Then::Pending));
    }

    #[test]
    fn a_client_that_does_not_bring_it_back_gets_no_other() {
        let (mut profile, now) = (Profile::default(), Instant::now());
        let modern = client(Era::Modern, "mcp", "0.1.0");
        assert_eq!(seconds(&mut profile, &modern, now), (4, Then::Again));
        profile.given(now);
        let later = now + Duration::from_secs(6);
        assert_eq!(seconds(&mut profile, &modern, later), (4, Then::Pending));
        // A late one is better than none.
        profile.echo = Echo::Comes;
        assert_eq!(seconds(&mut profile, &modern, later), (45, Then::Again));
    }

    #[test]
    fn who_hangs_up_twice_at_the_same_time_is_answered_before() {
        let (mut profile, now) = (Profile::default(), Instant::now());
        let legacy = client(Era::Legacy, "some-host", "1");
        let left = |profile: &mut Profile, after: u64| {
            profile.left(Duration::from_secs(after));
            seconds(profile, &legacy, now).0
        };
        assert_eq!(left(&mut profile, 20), 45, "once is nothing");
        assert_eq!(left(&mut profile, 8), 45, "twice at other times is a person");
        assert_eq!(left(&mut profile, 8), 6);
        // Seen to wait longer, it is believed no more.
        profile.stayed(Duration::from_secs(10));
        assert_eq!(seconds(&mut profile, &legacy, now).0, 45);
        // Whoever hangs up at once says nothing about patience.
        for _ in 0..3 {
            profile.left(Duration::ZERO);
        }
        assert_eq!(seconds(&mut profile, &legacy, now).0, 45);
    }

    #[test]
    fn what_a_name_says_is_where_it_begins() {
        let (mut profile, now) = (Profile::default(), Instant::now());
        let python = client(Era::Legacy, "mcp", "0.1.0");
        for (stayed, holds) in [(0, 4), (4, 8), (30, 45)] {
            profile.stayed(Duration::from_secs(stayed));
            assert_eq!(seconds(&mut profile, &python, now).0, holds);
        }
        let claude = client(Era::Legacy, "claude-code", "2.1");
        assert_eq!(seconds(&mut profile, &claude, now).0, 240);
        assert_eq!(seconds(&mut profile, &Client { wants_progress: false, ..claude.clone() }, now).0, 45);
        let told = Client { hold: Some(Duration::from_secs(300)), ..claude };
        let patience = Profiles::default().patience(&told, USUAL, 0);
        assert_eq!((patience.hold.as_secs(), patience.then), (300, Then::Pending));
    }
}
