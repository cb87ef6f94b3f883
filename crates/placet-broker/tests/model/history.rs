//! Histories: what agents, reviewers, operators, clocks and failures do, drawn from a seed.
//!
//! Every step is a few small numbers that mean something in any situation ("the request that came `n` before the newest
//! one"), so that a history stays one when steps are taken out of it. That is how a finding is made small.

use placet_core::entropy::Entropy;
use placet_testkit::SeededEntropy;

/// A whole history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct History {
    /// What it was drawn from.
    pub(crate) seed: u64,
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Somebody does something, through the first or the second broker on the same store.
    Do(Side, Op),
    /// The same through the first, whose store fails before or after it wrote.
    Fails(Op, When),
    /// The process dies before or after the write, and a new one begins.
    Crashes(Op, When),
    /// The first broker has decided and is held just before it writes; meanwhile this happens through the second.
    Held(Op, Vec<Meanwhile>),
    /// The machine's clock moves.
    Clock(i64),
    /// The process ends in good order, and a new one begins.
    Restart,
    /// The log is published, and its checkpoint is kept.
    Publish,
}

/// What happens while another call is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Meanwhile {
    Do(Op),
    Clock(i64),
}

/// Which broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    First,
    Second,
}

/// When a commit fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    BeforeTheWrite,
    AfterTheWrite,
}

/// What somebody does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// A bot calls.
    Submit {
        bot: usize,
        old_token: bool,
        thing: Thing,
        behalf: Option<usize>,
        key: Option<u8>,
    },
    /// What was asked for before is asked for again, by the same bot.
    Again {
        back: usize,
        key: Option<u8>,
    },
    /// A person votes on what they are shown.
    Vote {
        person: usize,
        by_token: bool,
        back: usize,
        approve: bool,
        twist: Twist,
    },
    /// The bot that asked, or another one, withdraws a request.
    Cancel {
        stranger: bool,
        old_token: bool,
        back: usize,
    },
    /// A bot, or our enforcement point for it, claims a grant.
    Claim {
        stranger: bool,
        old_token: bool,
        back: usize,
        other_pep: bool,
        value: u8,
        other_digest: bool,
    },
    /// The outcome of the execution of one request is reported for another, mostly the same.
    Report {
        stranger: bool,
        back: usize,
        of: usize,
        how: How,
        note: u8,
    },
    /// A person says what an unknown outcome really was.
    Resolve {
        person: usize,
        back: usize,
    },
    /// Deadlines pass.
    Deadlines,
    /// Executions of commands are given up, as after a restart.
    Abandon,
    /// The operator disables a person, revokes or rotates a bot's token, or moves a person in or out of the reviewers.
    Disable {
        person: usize,
    },
    Revoke {
        bot: usize,
    },
    Rotate {
        bot: usize,
    },
    Join {
        person: usize,
    },
    Leave {
        person: usize,
    },
    /// The operator puts a law in force, mostly after they were shown what it would change.
    Activate {
        law: usize,
        unseen: bool,
    },
}

/// What a bot wants done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Thing {
    Staging(u8),
    Production(u8),
    Vault(u8),
    Command(u8),
}

/// What is wrong with a ballot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Twist {
    Nothing,
    OtherDigest,
    OtherVersion,
    OtherCard,
}

/// What is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    Succeeded,
    Failed,
    Unknown,
}

/// How many people, bots and laws there are: see `naive::PEOPLE`.
pub(crate) const PEOPLE: u64 = 7;
pub(crate) const BOTS: u64 = 2;

/// Chance that repeats.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes) % bound
    }

    fn pick(&self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }

    fn small(&self, bound: u64) -> u8 {
        u8::try_from(self.below(bound)).unwrap()
    }

    /// In so many cases of a hundred.
    fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.pick(choices.len() as u64)]
    }
}

impl History {
    /// The history that belongs to this seed.
    pub(crate) fn draw(seed: u64, length: usize) -> History {
        let dice = Dice(SeededEntropy::new(seed));
        History { seed, steps: (0..length).map(|_| dice.step()).collect() }
    }
}

/// Milliseconds. Around each bound of the design: cool-down, vault age, outcome memory, grant, lease, review, key.
const MOVES: [i64; 12] =
    [1, 1, 1_000, 20_000, 61_000, 301_000, 599_000, 600_001, 901_000, 1_801_000, 3_601_000, -700];
const BACK: [i64; 4] = [-1_500, -2_500, -30_000, -900_000];

impl Dice {
    fn step(&self) -> Step {
        match self.below(100) {
            0..60 => Step::Do(if self.percent(75) { Side::First } else { Side::Second }, self.op()),
            60..67 => Step::Fails(self.op(), self.when()),
            67..69 => Step::Crashes(self.op(), self.when()),
            69..83 => {
                let held = self.held();
                let meanwhile = (0..1 + self.below(2)).map(|_| self.meanwhile(&held)).collect();
                Step::Held(held, meanwhile)
            }
            83..93 => Step::Clock(self.of(&MOVES)),
            93..95 => Step::Clock(self.of(&BACK)),
            95 => Step::Clock(25 * 3_600_000),
            96..98 => Step::Restart,
            _ => Step::Publish,
        }
    }

    fn when(&self) -> When {
        if self.percent(50) { When::BeforeTheWrite } else { When::AfterTheWrite }
    }

    /// Mostly something that gets in the way of what is held.
    fn meanwhile(&self, held: &Op) -> Meanwhile {
        match self.below(100) {
            0..20 => Meanwhile::Clock(self.of(&MOVES)),
            20..25 => Meanwhile::Clock(self.of(&BACK)),
            // Rare among what operators do, and what a decision depends on most.
            25..33 => Meanwhile::Do(self.activate()),
            33..45 => Meanwhile::Do(self.operator()),
            45..60 => Meanwhile::Do(self.op()),
            _ => Meanwhile::Do(self.in_the_way_of(held)),
        }
    }

    /// The same call, or another one about the same request.
    fn in_the_way_of(&self, held: &Op) -> Op {
        let target = match held {
            Op::Vote { back, .. }
            | Op::Cancel { back, .. }
            | Op::Claim { back, .. }
            | Op::Report { back, .. } => *back,
            Op::Submit { .. } if self.percent(40) => return self.beside(held),
            same => return same.clone(),
        };
        let mut op = match self.below(5) {
            0 | 1 => self.vote(),
            2 => self.claim(),
            3 => self.cancel(),
            _ => self.report(),
        };
        match &mut op {
            Op::Vote { back, .. } | Op::Cancel { back, .. } | Op::Claim { back, .. } => *back = target,
            Op::Report { back, of, .. } => (*back, *of) = (target, target),
            _ => {}
        }
        op
    }

    /// Another call of the same bot, under the same key if there is one.
    fn beside(&self, call: &Op) -> Op {
        let mut other = self.submit();
        if let (Op::Submit { bot, key, old_token, .. }, Op::Submit { bot: same, key: known, .. }) =
            (&mut other, call)
        {
            (*bot, *key, *old_token) = (*same, *known, false);
        }
        other
    }

    /// What can be held: everything in which something is decided.
    fn held(&self) -> Op {
        match self.below(10) {
            0..3 => self.submit(),
            3..6 => self.vote(),
            6..8 => self.claim(),
            8 => self.cancel(),
            _ => self.report(),
        }
    }

    fn op(&self) -> Op {
        match self.below(100) {
            0..18 => self.submit(),
            18..24 => Op::Again { back: self.pick(6), key: self.key() },
            24..48 => self.vote(),
            48..64 => self.claim(),
            64..70 => self.cancel(),
            70..80 => self.report(),
            80..83 => Op::Resolve { person: self.pick(PEOPLE), back: self.pick(6) },
            83..90 => Op::Deadlines,
            90 => Op::Abandon,
            _ => self.operator(),
        }
    }

    fn operator(&self) -> Op {
        match self.below(20) {
            0..2 => Op::Disable { person: self.pick(PEOPLE) },
            2 => Op::Revoke { bot: self.pick(BOTS) },
            3..6 => Op::Rotate { bot: self.pick(BOTS) },
            6..10 => Op::Join { person: self.pick(PEOPLE) },
            10..16 => Op::Leave { person: self.pick(PEOPLE) },
            _ => self.activate(),
        }
    }

    fn activate(&self) -> Op {
        Op::Activate { law: self.pick(4), unseen: self.percent(15) }
    }

    fn submit(&self) -> Op {
        let version = self.small(2);
        let thing = match self.below(10) {
            0 | 1 => Thing::Staging(version),
            2..6 => Thing::Production(version),
            6..8 => Thing::Vault(version),
            _ => Thing::Command(version),
        };
        let behalf = self.percent(15).then(|| self.pick(PEOPLE));
        let (bot, old_token, key) = (self.bot(), self.percent(5), self.key());
        Op::Submit { bot, old_token, thing, behalf, key }
    }

    fn key(&self) -> Option<u8> {
        self.percent(35).then(|| self.small(3))
    }

    fn vote(&self) -> Op {
        let twist = match self.below(20) {
            0 => Twist::OtherDigest,
            1 => Twist::OtherVersion,
            2 => Twist::OtherCard,
            _ => Twist::Nothing,
        };
        Op::Vote {
            person: self.voter(),
            by_token: self.percent(20),
            back: self.back(),
            approve: self.percent(75),
            twist,
        }
    }

    /// Often one of the two who may be one human.
    fn voter(&self) -> usize {
        if self.percent(25) { self.of(&[5, 6]) } else { self.pick(PEOPLE) }
    }

    fn cancel(&self) -> Op {
        Op::Cancel { stranger: self.percent(5), old_token: self.percent(5), back: self.back() }
    }

    fn claim(&self) -> Op {
        Op::Claim {
            stranger: self.percent(5),
            old_token: self.percent(5),
            back: self.back(),
            other_pep: self.percent(5),
            value: self.small(2),
            other_digest: self.percent(5),
        }
    }

    fn report(&self) -> Op {
        let (back, other) = (self.back(), self.percent(10));
        let of = if other { self.back() } else { back };
        let how = self.of(&[How::Succeeded, How::Succeeded, How::Failed, How::Unknown, How::Unknown]);
        Op::Report { stranger: self.percent(5), back, of, how, note: self.small(2) }
    }

    fn bot(&self) -> usize {
        usize::from(self.percent(30))
    }

    /// Mostly the newest requests.
    fn back(&self) -> usize {
        if self.percent(70) { self.pick(2) } else { self.pick(6) }
    }
}
