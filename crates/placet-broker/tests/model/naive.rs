//! The naive model: what placet promises, as plain as it can be said. Written from the design and not from the code: no
//! store, no epochs, no versions to compare, one thing after the other.
//!
//! [`Naive::act`] gives every answer that a call may get in a situation, with what each of them changes. Where several
//! reasons for a no hold at once, any of them may be named. Nothing else may happen.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::entry::Kind;
use placet_core::request::Status;

use crate::history::{How, Op, Side, Thing, Twist};
use crate::law::{Ask, COMMAND, LAWS, VAULT_AGE};

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

const MINUTE: Millis = 60_000;
const GRANT: Millis = 15 * MINUTE;
const LEASE: Millis = 15 * MINUTE;
const KEY: Millis = 24 * 60 * MINUTE;
const COOL_DOWN: Millis = MINUTE;
const OUTCOME: Millis = 10 * MINUTE;
const SESSION: Millis = 12 * 60 * MINUTE;
const BEHIND_MAX: Millis = 2_000;
/// The caps that histories play under: small, so that they are reached.
pub(crate) const PENDING_MAX: u32 = 3;
pub(crate) const REVIEWS_MAX: u32 = 9;

/// Who there is. Persons 0 and 6 operate placet; 4 may be the same human as 0, and 5 as 6, of whom nothing is.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) email: Option<&'static str>,
    /// Who minted their link and token; none if it was somebody whom placet does not know.
    pub(crate) invited_by: Option<usize>,
}

pub(crate) const PEOPLE: [Known; 7] = [
    Known { name: "ann", email: Some("ann@example.com"), invited_by: Some(0) },
    Known { name: "bea", email: Some("bea@example.com"), invited_by: None },
    Known { name: "cem", email: Some("cem@example.com"), invited_by: Some(0) },
    Known { name: "dan", email: None, invited_by: Some(6) },
    Known { name: "eve", email: Some(" ANN@Example.com "), invited_by: Some(6) },
    Known { name: "fay", email: Some("GIL@example.com"), invited_by: Some(0) },
    Known { name: "gil", email: Some("gil@example.com"), invited_by: Some(6) },
];

/// The bots: sponsor, owners, and whom they may act for.
pub(crate) const BOTS: [(usize, &[usize], &[usize]); 2] = [(0, &[], &[3]), (1, &[2], &[3, 0])];

/// Everything that is so.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Naive {
    /// The machine's clock, and the time of the last entry.
    pub(crate) clock: Millis,
    pub(crate) last: Millis,
    /// When everybody signed in.
    pub(crate) signed_in: Millis,
    pub(crate) law: usize,
    /// Which were shown since the one in force was activated.
    pub(crate) staged: [bool; 4],
    pub(crate) law_changes: u32,
    pub(crate) people_changes: u32,
    pub(crate) active: [bool; 7],
    pub(crate) member: [bool; 7],
    pub(crate) bot_active: [bool; 2],
    pub(crate) bot_token: [usize; 2],
    pub(crate) requests: Vec<Request>,
    pub(crate) keys: BTreeMap<(usize, u8), Key>,
    /// What the two brokers remember until they restart.
    pub(crate) memory: [Memory; 2],
    /// What the ledger was told since the history began.
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) verdict: Option<&'static str>,
    pub(crate) request: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Key {
    pub(crate) request: usize,
    asked: (usize, Thing),
    at: Millis,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Memory {
    denials: BTreeMap<(usize, String), Vec<Millis>>,
    /// When the last summary about a cap was written, for each bot.
    noted: BTreeMap<usize, Millis>,
}

/// A request.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Request {
    pub(crate) bot: usize,
    pub(crate) behalf: usize,
    pub(crate) thing: Thing,
    pub(crate) status: Status,
    pub(crate) version: u64,
    pub(crate) content: u32,
    pub(crate) created: Millis,
    pub(crate) updated: Millis,
    pub(crate) deadline: Option<Millis>,
    pub(crate) reviewed: bool,
    pub(crate) votes: Vec<Vote>,
    /// What the latest decision asks for, if it asks; and what of it stands on the card.
    asks: Option<Ask>,
    card: Card,
    pub(crate) claim: Option<u8>,
    pub(crate) report: Option<(Status, u8)>,
    pub(crate) resolved: bool,
}

impl Request {
    /// The law of its latest decision.
    pub(crate) fn law(&self) -> usize {
        self.card.law
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Vote {
    pub(crate) person: usize,
    pub(crate) approve: bool,
    pub(crate) by_token: bool,
    pub(crate) self_reviewed: bool,
    pub(crate) vouched: bool,
    pub(crate) at: Millis,
    card: Card,
}

/// What of a card can change while a request lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Card {
    content: u32,
    law: usize,
    expires: Option<Millis>,
    self_review: bool,
}

/// What a person saw before they voted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Shown {
    content: u32,
    card: Card,
}

/// What policy says.
enum Say {
    Permit { until: Option<Millis> },
    Forbid,
    Ask(Ask),
}

/// One answer that a call may get, and what it changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// `done`, or the code of a refusal.
    pub(crate) code: &'static str,
    /// What comes back beside it.
    pub(crate) gives: Gives,
    /// What is written, in as many transactions.
    pub(crate) commits: Vec<Commit>,
    /// That a summary about a cap was due, which is remembered whether it could be written or not.
    pub(crate) noted: Option<(usize, Millis)>,
    /// That something was denied, which is remembered once it is written.
    pub(crate) denied: Option<(usize, String)>,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) enum Gives {
    #[default]
    Nothing,
    Request {
        request: usize,
        new: bool,
    },
    Execution {
        request: usize,
    },
    Count(usize),
}

/// One transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commit {
    pub(crate) request: Option<(usize, Request)>,
    pub(crate) key: Option<((usize, u8), Key)>,
    pub(crate) operated: Option<Operated>,
    pub(crate) entries: Vec<Entry>,
}

impl Commit {
    /// Whether it only tells the ledger something.
    pub(crate) fn is_only_told(&self) -> bool {
        self.request.is_none() && self.operated.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operated {
    Disabled(usize),
    Revoked(usize),
    Rotated(usize),
    Member(usize, bool),
    Staged(usize),
    Law(usize),
}

fn entry(kind: Kind, verdict: Option<&'static str>, request: usize) -> Entry {
    Entry { kind, verdict, request: Some(request) }
}

fn no(code: &'static str) -> Answer {
    Answer { code, ..Answer::default() }
}

fn done(commits: Vec<Commit>) -> Answer {
    Answer { code: "done", commits, ..Answer::default() }
}

fn told(kind: Kind, verdict: Option<&'static str>, request: usize) -> Commit {
    Commit { entries: vec![entry(kind, verdict, request)], ..Commit::default() }
}

impl Naive {
    /// Everybody is there and reviews, and the first law is in force.
    pub(crate) fn begin(clock: Millis, last: Millis, signed_in: Millis) -> Naive {
        Naive {
            clock,
            last,
            signed_in,
            law: 0,
            staged: [false; 4],
            law_changes: 0,
            people_changes: 0,
            active: [true; 7],
            member: [true; 7],
            bot_active: [true; 2],
            bot_token: [0; 2],
            requests: Vec::new(),
            keys: BTreeMap::new(),
            memory: Default::default(),
            entries: Vec::new(),
        }
    }

    /// Time never goes back behind what is on record.
    pub(crate) fn now(&self) -> Millis {
        self.clock.max(self.last)
    }

    /// With a clock that is behind, nothing is granted or claimed.
    pub(crate) fn steady(&self) -> bool {
        self.last - self.clock <= BEHIND_MAX
    }

    /// The request that came so many before the newest.
    pub(crate) fn back(&self, back: usize) -> Option<usize> {
        (!self.requests.is_empty()).then(|| self.requests.len() - 1 - back.min(self.requests.len() - 1))
    }

    /// What a person is shown of a request: while it waits, what is to be decided; later the card that it was decided on.
    pub(crate) fn shown(&self, request: usize) -> Shown {
        let request = &self.requests[request];
        let card = match request.votes.last() {
            Some(vote) if request.status != Status::Pending => vote.card,
            _ => Card { content: request.content, expires: request.deadline, ..request.card },
        };
        Shown { content: request.content, card }
    }

    /// The request that a call is about.
    pub(crate) fn target(&self, op: &Op) -> Option<usize> {
        match op {
            Op::Vote { back, .. }
            | Op::Cancel { back, .. }
            | Op::Claim { back, .. }
            | Op::Report { back, .. }
            | Op::Resolve { back, .. } => self.back(*back),
            _ => None,
        }
    }

    /// The same call, about the same requests, now that others have come, and with the same token, which may be old by now.
    pub(crate) fn later(&self, op: &Op, before: &Naive) -> Op {
        let more = self.requests.len() - before.requests.len();
        let mut op = op.clone();
        let caller = match &op {
            Op::Submit { bot, .. } => Some(*bot),
            other => before.target(other).map(|target| before.requests[target].bot),
        };
        let rotated = caller.is_some_and(|bot| self.bot_token[bot] != before.bot_token[bot]);
        if let Op::Submit { old_token, .. } | Op::Cancel { old_token, .. } | Op::Claim { old_token, .. } =
            &mut op
        {
            *old_token |= rotated;
        }
        match &mut op {
            Op::Vote { back, .. }
            | Op::Cancel { back, .. }
            | Op::Claim { back, .. }
            | Op::Resolve { back, .. } => *back = before.clamped(*back) + more,
            Op::Report { back, of, .. } => {
                (*back, *of) = (before.clamped(*back) + more, before.clamped(*of) + more);
            }
            _ => {}
        }
        op
    }

    fn clamped(&self, back: usize) -> usize {
        back.min(self.requests.len().saturating_sub(1))
    }

    /// Whether law and people are those of before.
    pub(crate) fn surroundings_stay(&self, before: &Naive) -> bool {
        (self.law_changes, self.people_changes) == (before.law_changes, before.people_changes)
    }

    /// One transaction happens.
    pub(crate) fn write(&mut self, commit: &Commit) {
        if let Some((place, request)) = &commit.request {
            if *place == self.requests.len() {
                self.requests.push(Request { version: 1, ..request.clone() });
            } else {
                let version = self.requests[*place].version + 1;
                self.requests[*place] = Request { version, ..request.clone() };
            }
        }
        if let Some((name, key)) = commit.key {
            self.keys.insert(name, key);
        }
        match commit.operated {
            Some(Operated::Law(law)) => (self.law, self.staged) = (law, [false; 4]),
            Some(Operated::Staged(law)) => self.staged[law] = true,
            Some(Operated::Disabled(person)) => self.active[person] = false,
            Some(Operated::Revoked(bot)) => self.bot_active[bot] = false,
            Some(Operated::Rotated(bot)) => self.bot_token[bot] += 1,
            Some(Operated::Member(person, member)) => self.member[person] = member,
            None => {}
        }
        match commit.operated {
            Some(Operated::Law(_)) => self.law_changes += 1,
            Some(Operated::Staged(_)) => {}
            Some(_) => self.people_changes += 1,
            None => {}
        }
        if !commit.entries.is_empty() {
            let decided = commit.request.as_ref().map_or(0, |(_, request)| request.updated);
            self.last = self.now().max(decided);
            self.entries.extend(commit.entries.iter().cloned());
        }
    }

    /// The answer is given.
    pub(crate) fn take(&mut self, answer: &Answer, side: Side) {
        answer.commits.iter().for_each(|commit| self.write(commit));
        self.remember(answer, side);
        if let Some(thing) = answer.denied.clone() {
            let now = self.now();
            let denials = self.memory[side as usize].denials.entry(thing).or_default();
            denials.push(now);
        }
    }

    /// What a broker remembers of a call even if nothing of it could be written.
    pub(crate) fn remember(&mut self, answer: &Answer, side: Side) {
        if let Some((bot, at)) = answer.noted {
            self.memory[side as usize].noted.insert(bot, at);
        }
    }

    /// Every answer that a call may get now. `at` is the time at which it is decided; `shown` what a voter saw.
    pub(crate) fn act(&self, op: &Op, side: Side, at: Millis, shown: Option<Shown>) -> Vec<Answer> {
        match *op {
            Op::Submit { bot, old_token, thing, behalf, key } => {
                self.submit(side, at, bot, old_token, thing, behalf.unwrap_or(BOTS[bot].0), key)
            }
            Op::Vote { person, by_token, back, approve, twist } => match (self.back(back), shown) {
                (Some(request), Some(shown)) => {
                    self.vote(at, person, by_token, request, approve, twist, shown)
                }
                _ => Vec::new(),
            },
            Op::Again { .. } => unreachable!("it is played as the call that it repeats"),
            Op::Cancel { stranger, old_token, back } => {
                self.about(back, |request| self.cancel(at, stranger, old_token, request))
            }
            Op::Claim { stranger, old_token, back, other_pep, value, other_digest } => self
                .about(back, |request| {
                    self.claim(at, stranger, old_token, request, other_pep, value, other_digest)
                }),
            Op::Report { stranger, back, of, how, note } => {
                self.about(back, |request| self.report(at, stranger, request, self.back(of), how, note))
            }
            Op::Resolve { person, back } => self.about(back, |request| self.resolve(at, person, request)),
            Op::Deadlines => vec![self.deadlines(at)],
            Op::Abandon => vec![self.abandon(at)],
            Op::Disable { person } => self.operate(
                self.active[person],
                (Kind::PersonChanged, "disabled"),
                Operated::Disabled(person),
            ),
            Op::Join { person } => self.operate(
                self.active[person],
                (Kind::GroupChanged, "joined"),
                Operated::Member(person, true),
            ),
            Op::Leave { person } => self.operate(
                self.active[person],
                (Kind::GroupChanged, "left"),
                Operated::Member(person, false),
            ),
            Op::Revoke { bot } => {
                self.operate(self.bot_active[bot], (Kind::AgentChanged, "revoked"), Operated::Revoked(bot))
            }
            Op::Rotate { bot } => {
                self.operate(self.bot_active[bot], (Kind::AgentChanged, "rotated"), Operated::Rotated(bot))
            }
            Op::Activate { law, .. } if law == self.law => vec![done(Vec::new())],
            Op::Activate { law, unseen: true } if !self.staged[law] => vec![no("stage_stale")],
            Op::Activate { law, unseen } => {
                let commit = |kind, operated| {
                    let entries = vec![Entry { kind, verdict: None, request: None }];
                    Commit { operated: Some(operated), entries, ..Commit::default() }
                };
                let activated = commit(Kind::BundleActivated, Operated::Law(law));
                let staged = commit(Kind::BundleStaged, Operated::Staged(law));
                vec![done(if unseen { vec![activated] } else { vec![staged, activated] })]
            }
        }
    }

    fn about(&self, back: usize, act: impl FnOnce(usize) -> Vec<Answer>) -> Vec<Answer> {
        self.back(back).map(act).unwrap_or_default()
    }

    fn operate(&self, possible: bool, told: (Kind, &'static str), operated: Operated) -> Vec<Answer> {
        if !possible {
            return vec![no("not_found")];
        }
        let entries = vec![Entry { kind: told.0, verdict: Some(told.1), request: None }];
        vec![done(vec![Commit { operated: Some(operated), entries, ..Commit::default() }])]
    }
}

// --- who there is ---

impl Naive {
    /// A bot acts as long as it and its sponsor may.
    fn bot_stands(&self, bot: usize) -> bool {
        self.bot_active[bot] && self.active[BOTS[bot].0]
    }

    fn token_opens(&self, bot: usize, old_token: bool) -> bool {
        self.bot_stands(bot) && !(old_token && self.bot_token[bot] > 0)
    }

    /// The same address, whatever its case and the space around it.
    fn may_be_one_human(one: usize, other: usize) -> bool {
        let address = |person: usize| PEOPLE[person].email.map(|email| email.trim().to_lowercase());
        one == other || (address(one).is_some() && address(one) == address(other))
    }

    /// Whose it is: nobody of these decides on it.
    fn conflicted(request: &Request) -> BTreeSet<usize> {
        let (sponsor, owners, _) = BOTS[request.bot];
        let theirs: BTreeSet<usize> = owners.iter().copied().chain([sponsor, request.behalf]).collect();
        (0..PEOPLE.len())
            .filter(|person| theirs.iter().any(|own| Self::may_be_one_human(*own, *person)))
            .collect()
    }

    /// Whether whoever could have signed in in their place may not decide, as far as that is known.
    fn vouched(request: &Request, person: usize) -> bool {
        let Some(by) = PEOPLE[person].invited_by else { return true };
        by != person && Self::conflicted(request).contains(&by)
    }

    fn eligible(&self, request: &Request) -> BTreeSet<usize> {
        let conflicted = Self::conflicted(request);
        (0..PEOPLE.len())
            .filter(|person| self.active[*person] && self.member[*person] && !conflicted.contains(person))
            .collect()
    }

    /// The sponsor, where the law lets them approve because nobody else could.
    fn excepted(&self, request: &Request) -> Option<usize> {
        let sponsor = BOTS[request.bot].0;
        let alone = self.eligible(request).is_empty();
        let may = LAWS[self.law].sponsor_may_approve && self.bot_stands(request.bot) && self.member[sponsor];
        (may && alone).then_some(sponsor)
    }

    /// So many humans at least.
    fn humans(people: &BTreeSet<usize>) -> u32 {
        let mut humans: Vec<usize> = Vec::new();
        for person in people {
            if !humans.iter().any(|known| Self::may_be_one_human(*known, *person)) {
                humans.push(*person);
            }
        }
        u32::try_from(humans.len()).unwrap()
    }
}

// --- policy ---

impl Naive {
    /// The guard that a thing meets, if it meets one.
    fn guard(&self, thing: Thing) -> Option<Ask> {
        match thing {
            Thing::Staging(_) => None,
            Thing::Production(_) => Some(LAWS[self.law].production),
            Thing::Vault(_) => Some(LAWS[self.law].vault),
            Thing::Command(_) => Some(COMMAND),
        }
    }

    /// How old a vote on it may be.
    fn age_max(thing: Thing) -> Option<Millis> {
        matches!(thing, Thing::Vault(_)).then_some(VAULT_AGE)
    }

    /// Whether a vote is too old for what it is about.
    fn too_old(request: &Request, vote: &Vote, at: Millis) -> bool {
        vote.approve && Self::age_max(request.thing).is_some_and(|age| at - vote.at > age)
    }

    fn latest_vote(request: &Request, person: usize) -> Option<&Vote> {
        request.votes.iter().rev().find(|vote| vote.person == person)
    }

    fn counts(&self, request: &Request, vote: &Vote, at: Millis) -> bool {
        let law = &LAWS[self.law];
        let strong = (!vote.by_token || law.token_may_approve) && (!vote.vouched || law.operator_vouches);
        let stands = self.eligible(request).contains(&vote.person)
            || (vote.self_reviewed && self.excepted(request) == Some(vote.person));
        vote.approve && strong && stands && !Self::too_old(request, vote, at)
    }

    /// What policy says of a request with the votes on it.
    fn say(&self, request: &Request, at: Millis) -> Say {
        let (sponsor, _, acts_for) = BOTS[request.bot];
        let may_act_for = request.behalf == sponsor || acts_for.contains(&request.behalf);
        if !self.bot_stands(request.bot) || !self.active[request.behalf] || !may_act_for {
            return Say::Forbid;
        }
        let Some(ask) = self.guard(request.thing) else { return Say::Permit { until: None } };
        if matches!(request.thing, Thing::Production(_)) && LAWS[self.law].frozen {
            return Say::Forbid;
        }
        let counted: Vec<&Vote> = (0..PEOPLE.len())
            .filter_map(|person| Self::latest_vote(request, person))
            .filter(|vote| self.counts(request, vote, at))
            .collect();
        let people = counted.iter().map(|vote| vote.person).collect();
        if !counted.is_empty() && Self::humans(&people) >= ask.needed {
            let oldest = counted.iter().map(|vote| vote.at).min();
            let until = Self::age_max(request.thing).zip(oldest).map(|(age, oldest)| oldest + age);
            return Say::Permit { until };
        }
        let mut possible = self.eligible(request);
        possible.extend(self.excepted(request));
        if Self::humans(&possible) < ask.needed { Say::Forbid } else { Say::Ask(ask) }
    }

    /// A decision's grant, review or refusal, as the new state of a request.
    fn decided(&self, mut request: Request, say: &Say, at: Millis) -> Request {
        request.updated = at;
        request.card = Card { law: self.law, self_review: false, ..request.card };
        match say {
            Say::Permit { until } => {
                let own = at + GRANT;
                request.status = Status::Granted;
                request.deadline = Some(until.map_or(own, |until| until.min(own)));
                request.asks = None;
            }
            Say::Forbid => {
                request.status = Status::Refused;
                request.deadline = None;
                request.asks = None;
            }
            Say::Ask(ask) => {
                let ends = request.created + ask.minutes * MINUTE;
                request.deadline = Some(request.deadline.map_or(ends, |before| before.min(ends)));
                let same = request.asks.is_some_and(|was| (was.needed, was.veto) == (ask.needed, ask.veto));
                if request.status == Status::Pending && !same {
                    request.content += 1;
                }
                request.status = Status::Pending;
                request.asks = Some(*ask);
                request.reviewed = true;
                request.card.self_review = self.excepted(&request).is_some();
            }
        }
        request
    }
}

fn word(say: &Say) -> &'static str {
    match say {
        Say::Permit { .. } => "permit",
        Say::Forbid => "forbid",
        Say::Ask(_) => "ask",
    }
}

mod calls;
