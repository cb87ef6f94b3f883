//! Requests that wait for people, many of them.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Bench;
use super::decisions::{bodies, work_each};
use crate::Result;
use crate::client::{Caller, Door, Until, drive};
use crate::figure::{Aim, Figure, Round};
use crate::floor::{Rows, exec_ms, fdatasync_ms};
use crate::machine::{disk_use, memory_of};
use crate::subject::{Setup, Subject};

/// How many callers there are at a time.
const CALLERS: usize = 64;
/// What an auditor asks.
const QUESTION: &str =
    "/v1/audit/requests?action=example.deploy&by=agent-1&resource=Example%3A%3A%22production%22&on=today";
/// How many credentials they have between them.
const AGENTS: usize = 16;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    // Nothing may run out while it is measured.
    let subject = bench.subject(Setup::lifted("team").with("PLACET__LIFETIMES__TOKEN", "1d"))?;
    subject.add_reviewer()?;
    subject
        .change_policy(&[("ask.cedar", &|text| text.replace("@timeout(\"30m\")", "@timeout(\"24h\")"))])?;
    let tokens = subject.add_agents(bench.by_scale(2, AGENTS, AGENTS))?;
    let doors = tokens.iter().map(|token| subject.agents_as(token)).collect::<Result<Vec<_>>>()?;
    let mut callers = bench.callers(&doors, CALLERS)?;
    let bodies = bodies("production");

    let warm = bench.by_scale(100, 2_000, 5_000);
    bench.block_on(drive(&mut callers, subject.pid(), "/v1/requests", Until::Calls(warm), bodies.clone()))?;
    let rows = Rows::of(&subject.data().join("placet.db"), warm.min(2_000))?;
    let waiting = bench.by_scale(300, 20_000, 100_000);
    let each = (waiting - warm) / bench.rounds();
    let (mut rates, mut work) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let floor = rows.insert(bench.space.path(), CALLERS, bench.round_time() / 2)?;
        let load = drive(&mut callers, subject.pid(), "/v1/requests", Until::Calls(each), bodies.clone());
        let load = bench.block_on(load)?;
        rates.push(load.round(load.rate(), Some(floor)));
        work.push(load.round(load.subject_us(), None));
    }
    drop(callers);
    let waiting = warm + each * bench.rounds();
    let mut figures = vec![Figure {
        name: "park",
        what: format!("{CALLERS} callers, requests that wait for people, durable before the answer"),
        unit: "requests/s",
        aim: Aim::AtLeast(5_000.0),
        floor: "the same rows in bare SQLite tables, 64 in each transaction",
        rounds: rates,
        note: format!("{:.1} KB of rows each", rows.bytes_each() / 1e3),
    }];
    figures.push(work_each("park-cpu", work));
    figures.extend(at_rest(bench, subject, waiting)?);
    Ok(figures)
}

/// How long this page takes, again and again.
fn timed(bench: &Bench, door: &Door, path: &str) -> Result<Vec<Round>> {
    bench.block_on(async {
        let mut caller = Caller::connect(door).await?;
        let mut rounds = Vec::new();
        for _ in 0..bench.by_scale(3, 20, 50) {
            let floor = fdatasync_ms(bench.space.path(), 5)?;
            let began = Instant::now();
            let answer = caller.get(path).await?;
            rounds.push(Round { value: began.elapsed().as_secs_f64() * 1e3, floor: Some(floor), cpu: None });
            if answer.status != 200 {
                return Err(format!("{path} answers {}: {:?}", answer.status, answer.body).into());
            }
        }
        Ok(rounds)
    })
}

/// What they cost while they wait.
fn at_rest(bench: &Bench, mut subject: Subject, waiting: usize) -> Result<Vec<Figure>> {
    // The log is published within a second or two.
    std::thread::sleep(Duration::from_secs(bench.by_scale(1, 3, 3)));
    let memory = memory_of(subject.pid()) / 1e6;
    let door = bench.block_on(subject.session_of("Grace"))?;
    let inbox = timed(bench, &door, "/")?;
    let question = timed(bench, &door, QUESTION)?;

    let (mut orderly, mut crashed) = (Vec::new(), Vec::new());
    for _ in 0..bench.by_scale(1, 2, 5) {
        for (signal, rounds) in [(Signal::SIGTERM, &mut orderly), (Signal::SIGKILL, &mut crashed)] {
            let floor = exec_ms(std::process::Command::new(&bench.binary).arg("--version"))?;
            subject = subject.restart(signal)?;
            let (answered, door) = (Instant::now(), subject.agents()?);
            bench.block_on(async {
                Caller::connect(&door).await?.post("/v1/requests", bodies("staging")()).await?.json()
            })?;
            let value = subject.start_ms + answered.elapsed().as_secs_f64() * 1e3;
            rounds.push(Round { value, floor: Some(floor), cpu: None });
        }
    }
    // Stopped in order, everything is in the database and nothing in its write-ahead log.
    let subject = subject.restart(Signal::SIGTERM)?;
    let (database, log) = (disk_use(&subject.data()) / 1e3, disk_use(&subject.data().join("log")) / 1e3);
    let after_restart = memory_of(subject.pid()) / 1e6;

    let what = |rest: &str| format!("{} requests waiting: {rest}", waiting);
    let single = |value: f64| vec![Round { value, floor: None, cpu: None }];
    let restart = |name, rest: &str, rounds| Figure {
        name,
        what: what(rest),
        unit: "ms",
        aim: Aim::AtMost(1_000.0),
        floor: "placet --version",
        rounds,
        note: String::new(),
    };
    let page = |name, rest: &str, aim, rounds| Figure {
        name,
        what: what(rest),
        unit: "ms",
        aim: Aim::AtMost(aim),
        floor: "one fdatasync of 4 KiB",
        rounds,
        note: String::new(),
    };
    Ok(vec![
        Figure {
            name: "pending-disk",
            what: what("disk for each"),
            unit: "KB",
            aim: Aim::AtMost(3.0),
            floor: "",
            rounds: single(database / waiting as f64),
            note: format!("{:.2} KB of it in the published log", log / waiting as f64),
        },
        Figure {
            name: "pending-memory",
            what: what("resident memory"),
            unit: "MB",
            aim: Aim::AtMost(200.0),
            floor: "",
            rounds: single(memory),
            note: format!("{after_restart:.0} MB after a restart"),
        },
        page("pending-inbox", "a reviewer opens the inbox", 50.0, inbox),
        page("pending-question", "an auditor asks what one agent asked for today", 100.0, question),
        restart("pending-restart", "from start to the first answer after an orderly stop", orderly),
        restart("pending-crash", "from start to the first answer after a kill", crashed),
    ])
}
