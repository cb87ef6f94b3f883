//! Permitted requests over HTTP: each is decided by policy and durable before its answer.

use std::cell::Cell;
use std::rc::Rc;

use super::Bench;
use crate::Result;
use crate::client::{Until, drive};
use crate::figure::{Aim, Figure, Round};
use crate::floor::{Rows, fdatasync_ms};
use crate::subject::Setup;

/// One after the other.
pub(super) fn one(bench: &Bench) -> Result<Vec<Figure>> {
    let subject = bench.subject(Setup::lifted("team"))?;
    let mut callers = bench.callers(&[subject.agents()?], 1)?;
    let bodies = bodies("staging");
    let warm = Until::Calls(bench.by_scale(5, 100, 300));
    bench.block_on(drive(&mut callers, subject.pid(), "/v1/requests", warm, bodies.clone()))?;
    let (mut half, mut tail) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let floor = fdatasync_ms(bench.space.path(), bench.fdatasyncs())?;
        let until = Until::Elapsed(bench.round_time());
        let load =
            bench.block_on(drive(&mut callers, subject.pid(), "/v1/requests", until, bodies.clone()))?;
        half.push(load.round(load.ms(0.5), Some(floor)));
        tail.push(load.round(load.ms(0.99), Some(floor)));
    }
    let figure = |name, share: &str, aim, rounds| Figure {
        name,
        what: format!("One caller, permitted request, durable before the answer: {share}"),
        unit: "ms",
        aim,
        floor: "one fdatasync of 4 KiB",
        rounds,
        note: String::new(),
    };
    Ok(vec![
        figure("http-1-p50", "half of the calls within", Aim::Floors(1.3, 0.2), half),
        figure("http-1-p99", "99 of 100 within", Aim::Nothing, tail),
    ])
}

/// How many callers there are at a time.
const CALLERS: usize = 64;

/// Sixty-four at a time.
pub(super) fn many(bench: &Bench) -> Result<Vec<Figure>> {
    let subject = bench.subject(Setup::lifted("team"))?;
    let mut callers = bench.callers(&[subject.agents()?], CALLERS)?;
    let bodies = bodies("staging");
    let warm = Until::Calls(bench.by_scale(64, 2_000, 5_000));
    bench.block_on(drive(&mut callers, subject.pid(), "/v1/requests", warm, bodies.clone()))?;
    let rows = Rows::of(&subject.data().join("placet.db"), 2_000)?;
    let (mut rates, mut half, mut tail, mut work) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let floor = rows.insert(bench.space.path(), CALLERS, bench.round_time() / 2)?;
        let fdatasync = fdatasync_ms(bench.space.path(), bench.fdatasyncs())?;
        let until = Until::Elapsed(bench.round_time());
        let load =
            bench.block_on(drive(&mut callers, subject.pid(), "/v1/requests", until, bodies.clone()))?;
        rates.push(load.round(load.rate(), Some(floor)));
        work.push(load.round(load.subject_us(), None));
        half.push(load.round(load.ms(0.5), Some(fdatasync)));
        tail.push(load.round(load.ms(0.99), Some(fdatasync)));
    }
    let latency = |name, share: &str, rounds| Figure {
        name,
        what: format!("The same, {share}"),
        unit: "ms",
        aim: Aim::Nothing,
        floor: "one fdatasync of 4 KiB",
        rounds,
        note: String::new(),
    };
    Ok(vec![
        Figure {
            name: "http-64",
            what: format!("{CALLERS} callers, permitted requests, durable before the answer"),
            unit: "decisions/s",
            aim: Aim::AtLeast(10_000.0),
            floor: "the same rows in bare SQLite tables, 64 in each transaction",
            rounds: rates,
            note: format!("{:.1} KB of rows each", rows.bytes_each() / 1e3),
        },
        work_each("http-64-cpu", work),
        latency("http-64-p50", "half of the calls within", half),
        latency("http-64-p99", "99 of 100 within", tail),
    ])
}

/// What placet itself did for each call.
pub(super) fn work_each(name: &'static str, rounds: Vec<Round>) -> Figure {
    Figure {
        name,
        what: "The same, placet's processor time for each, system calls and all threads included".to_owned(),
        unit: "µs",
        aim: Aim::Nothing,
        floor: "",
        rounds,
        note: String::new(),
    }
}

/// Calls that deploy to this environment, each with another version.
pub(super) fn bodies(environment: &'static str) -> impl Fn() -> String + Clone + 'static {
    let count = Rc::new(Cell::new(0_u64));
    move || {
        count.set(count.get() + 1);
        format!(
            "{{\"action\":\"example.deploy\",\"resource\":{{\"type\":\"Example\",\"id\":\"{environment}\"}},\
             \"arguments\":{{\"service\":\"shop\",\"version\":\"1.{}\"}},\"justification\":\"release day\"}}",
            count.get()
        )
    }
}
