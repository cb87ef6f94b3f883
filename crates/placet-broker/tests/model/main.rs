//! The model test: random histories of everything that agents, reviewers, operators, clocks, crashes and races do, played
//! on the real broker over the real store and beside it on a naive model. Every answer and every state is compared.
//!
//! ```text
//! cargo test -p placet-broker --test model                          a few histories, and every planted bug
//! PLACET_MODEL_SEED=42 cargo test -p placet-broker --test model     the history of one seed
//! cargo xtask model --histories 5000 --seed 1                       many
//! ```
//!
//! A model that finds nothing could also be blind: [`planted`] holds the bugs that it has to find.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as a test does"
)]

mod call;
mod cast;
mod history;
mod law;
mod naive;
mod planted;
mod replay;
mod stage;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use history::{History, How, Meanwhile, Op, Side, Step, Thing, Twist};
use planted::Bug;
use stage::Finding;

/// How many steps a history has.
const STEPS: usize = 60;
/// How many histories the test command plays; `cargo xtask model` plays more.
const HISTORIES: u64 = 20;
/// So many histories are enough to find any planted bug.
const HISTORIES_TO_FIND_A_BUG_MAX: u64 = 80;
/// How many smaller histories are tried to make a finding small.
const SHRINK_MAX: usize = 150;

/// Plays it; what the product or a planted bug panics about is a finding too.
fn play(history: &History, bug: Bug) -> Result<(), Finding> {
    let played = catch_unwind(AssertUnwindSafe(|| stage::play(history, bug)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Finding { step: history.steps.len(), what: format!("panicked: {}", text.unwrap_or_default()) })
    })
}

/// Takes steps out as long as something is found.
fn shrink(history: History, finding: Finding, bug: Bug) -> (History, Finding) {
    let (mut best, mut finding) = (history, finding);
    best.steps.truncate(finding.step + 1);
    let mut chunk = best.steps.len() / 2;
    let mut tried = 0;
    while chunk > 0 {
        let mut from = 0;
        while from < best.steps.len() && tried < SHRINK_MAX {
            let mut smaller = best.clone();
            smaller.steps.drain(from..(from + chunk).min(best.steps.len()));
            tried += 1;
            match play(&smaller, bug) {
                Err(found) => {
                    smaller.steps.truncate(found.step + 1);
                    (best, finding) = (smaller, found);
                }
                Ok(()) => from += chunk,
            }
        }
        chunk /= 2;
    }
    (best, finding)
}

/// The first finding in the histories of these seeds, as small as it gets.
fn search(seeds: Range<u64>, threads: usize, bug: Bug) -> Option<(History, Finding)> {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while found.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let history = History::draw(seed, STEPS);
                    if let Err(finding) = play(&history, bug) {
                        found.lock().unwrap().get_or_insert((history, finding));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

#[test]
fn random_histories_agree_with_the_naive_model() {
    let seed = number("PLACET_MODEL_SEED");
    let histories = number("PLACET_MODEL_HISTORIES");
    let threads = if histories.is_some() {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    } else {
        1
    };
    let histories = histories.unwrap_or(if seed.is_some() { 1 } else { HISTORIES });
    let first = seed.unwrap_or(1);
    println!("seeds {first} to {} with {STEPS} steps each", first + histories - 1);
    let Some((history, finding)) = search(first..first + histories, threads, Bug::None) else { return };
    let (small, finding) = shrink(history, finding, Bug::None);
    let steps: Vec<String> = small.steps.iter().map(|step| format!("  {step:?}")).collect();
    panic!(
        "{}\nat the end of:\n{}\nagain: PLACET_MODEL_SEED={} cargo test -p placet-broker --test model random",
        finding.what,
        steps.join("\n"),
        small.seed
    );
}

/// The planted bugs, and the seed of a history that finds each: the search begins there and goes on from there, so that
/// it is quick as long as histories are drawn as they are.
const BUGS: [(Bug, u64); 20] = [
    (Bug::ConsumedAfterTheExecution, 4),
    (Bug::NoPermitEntry, 4),
    (Bug::AcknowledgedBeforeTheDisk, 1),
    (Bug::LastWriterWins, 5),
    (Bug::DirectoryEpochNotChecked, 12),
    (Bug::BundleEpochNotChecked, 19),
    (Bug::DeadlineOutsideTheTransition, 13),
    (Bug::TwinNotChecked, 3),
    (Bug::KeyNotCheckedInTheTransition, 9),
    (Bug::KeyReuseNotChecked, 2),
    (Bug::ClockNotChecked, 1),
    (Bug::WallClock, 1),
    (Bug::StalePolicy, 2),
    (Bug::SponsorsAliasVotes, 10),
    (Bug::DisabledStillCounts, 6),
    (Bug::SecondDecisionSkipped, 2),
    (Bug::ThirdDecisionSkipped, 12),
    (Bug::LateDenialIgnored, 5),
    (Bug::NothingIsEverDue, 1),
    (Bug::OldTokenStillOpens, 4),
];

/// What has to happen for a bug to show that chance shows too seldom: the last place taken twice at once, two accounts of
/// one human whose votes are the only ones, and a call again whose outcome nobody knows.
fn written() -> [(Bug, Vec<Step>); 3] {
    let act = |op: Op| Step::Do(Side::First, op);
    let submit = |thing| Op::Submit { bot: 0, old_token: false, thing, behalf: None, key: None };
    let approve =
        |person| Op::Vote { person, by_token: false, back: 0, approve: true, twist: Twist::Nothing };
    let claim = Op::Claim {
        stranger: false,
        old_token: false,
        back: 0,
        other_pep: false,
        value: 0,
        other_digest: false,
    };
    let unknown = Op::Report { stranger: false, back: 0, of: 0, how: How::Unknown, note: 0 };
    let meanwhile = vec![Meanwhile::Do(submit(Thing::Vault(1)))];
    [
        (
            Bug::CapNotCheckedInTheTransition,
            vec![
                act(submit(Thing::Production(0))),
                act(submit(Thing::Production(1))),
                Step::Held(submit(Thing::Vault(0)), meanwhile),
            ],
        ),
        (Bug::VotesByAccount, vec![act(submit(Thing::Vault(0))), act(approve(5)), act(approve(6))]),
        (
            Bug::UnknownIsRetried,
            vec![
                act(submit(Thing::Production(0))),
                act(approve(1)),
                act(claim),
                act(unknown),
                act(Op::Again { back: 0, key: None }),
            ],
        ),
    ]
}

#[test]
fn bugs_that_chance_shows_seldom_are_found_where_they_show() {
    for (bug, steps) in written() {
        let history = History { seed: 0, steps };
        let clean = play(&history, Bug::None);
        assert!(clean.is_ok(), "{bug:?}: without any bug: {clean:?}");
        let found = play(&history, bug).expect_err("the model is blind for it");
        assert_eq!(found.step + 1, history.steps.len(), "{bug:?}: {}", found.what);
        println!("{bug:?}: {}", found.what);
    }
}

#[test]
fn every_planted_bug_is_found() {
    // By name, or `all`: also those whose seeds are not known.
    let wanted = std::env::var("PLACET_MODEL_BUG").ok();
    let named =
        |bug: &Bug| wanted.as_ref().is_some_and(|wanted| wanted == "all" || *wanted == format!("{bug:?}"));
    let bugs: Vec<(Bug, u64)> = match wanted {
        Some(_) => Bug::ALL.into_iter().filter(named).map(|bug| (bug, 1)).collect(),
        None => BUGS.to_vec(),
    };
    let mut missed = Vec::new();
    for (bug, seed) in bugs {
        match search(seed..seed + HISTORIES_TO_FIND_A_BUG_MAX, 1, bug) {
            Some((history, finding)) => {
                // Or it would be a finding of its own, and say nothing about the bug. The first seeds are all tried above.
                if history.seed > HISTORIES {
                    let clean = play(&history, Bug::None);
                    assert!(clean.is_ok(), "seed {} without any bug: {clean:?}", history.seed);
                }
                println!("{bug:?}: seed {}: {}", history.seed, finding.what);
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "the model is blind for {missed:?}");
}
