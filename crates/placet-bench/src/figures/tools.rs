//! Calls of tools: what placet adds to one that policy permits, what one costs that is held, and how soon a vote is heard.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::{Method, header};
use serde_json::{Value, json};

use super::Bench;
use super::resume::{approval, text};
use crate::Result;
use crate::client::{Caller, Door, Until, drive_to};
use crate::figure::{Aim, Figure, Round, quantile};
use crate::floor::fdatasync_ms;
use crate::machine::memory_of;
use crate::subject::{Setup, Subject, without};
use crate::upstream;

const PATH: &str = "/mcp/bench";
/// How many callers there are at a time.
const CALLERS: [(&str, usize); 3] = [("tools-1", 1), ("tools-8", 8), ("tools-32", 32)];
/// How many calls one credential holds here; placet lets it hold 256.
const HELD_EACH: usize = 200;

/// What placet adds to a call that policy permits.
pub(super) fn permitted(bench: &Bench) -> Result<Vec<Figure>> {
    let upstream = upstream::start()?;
    let subject = in_front_of(bench, &upstream, Setup::lifted("team"))?;
    subject.change_policy(&[
        ("ask.cedar", &|text| without(text, "any-tool")),
        // The starter's tests say what its guards do.
        ("tests/deploy.toml", &|_| String::new()),
    ])?;
    let through = streaming(subject.agents()?)?;
    let mut figures = Vec::new();
    for (name, count) in CALLERS {
        let mut beside = bench.callers(&[Door::at(&upstream)?], count)?;
        let mut callers = bench.callers(std::slice::from_ref(&through), count)?;
        let bodies = bodies();
        let call = |callers: &mut Vec<Caller>, pid, path, until| {
            bench.block_on(drive_to(callers, pid, path, 200, until, bodies.clone()))
        };
        let warm = Until::Calls(bench.by_scale(count, 300, 1_000));
        call(&mut beside, std::process::id(), "/mcp", warm)?;
        call(&mut callers, subject.pid(), PATH, warm)?;
        let (mut half, mut tail) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            let until = Until::Elapsed(bench.round_time());
            let direct = call(&mut beside, std::process::id(), "/mcp", until)?;
            let commits = 2.0 * fdatasync_ms(bench.space.path(), bench.fdatasyncs())?;
            let load = call(&mut callers, subject.pid(), PATH, until)?;
            half.push(load.round(load.ms(0.5), Some(direct.ms(0.5) + commits)));
            tail.push(load.round(load.ms(0.99), Some(direct.ms(0.99) + commits)));
        }
        let own = if count == 1 { "One caller".to_owned() } else { format!("{count} callers") };
        let figure = |name, share: &str, aim, rounds| Figure {
            name,
            what: format!("{own}, a tool call that policy permits, start and outcome durable: {share}"),
            unit: "ms",
            aim,
            floor: "the same call without placet, and two fdatasyncs of 4 KiB",
            rounds,
            note: String::new(),
        };
        // The aim is for a call that shares its commits with nobody.
        let aim = if count == 1 { Aim::Floors(1.0, 0.15) } else { Aim::Nothing };
        figures.push(figure(name, "half of the calls within", aim, half));
        if count == 1 {
            figures.push(figure("tools-1-p99", "99 of 100 within", Aim::Nothing, tail));
        }
    }
    Ok(figures)
}

/// What calls cost that wait for people, and how soon a vote is heard beside them.
pub(super) fn held(bench: &Bench) -> Result<Vec<Figure>> {
    let others: usize = bench.by_scale(100, 2_000, 10_000);
    let upstream = upstream::start()?;
    let setup = Setup::lifted("team")
        .with("PLACET__LIMITS__CONNECTIONS", &(others + 1_000).to_string())
        .with("PLACET__MCP__HOLD", "1h");
    let subject = in_front_of(bench, &upstream, setup)?;
    let reviewer = subject.add_reviewer()?;
    let tokens = subject.add_agents(others.div_ceil(HELD_EACH) + 1)?;
    let (measured, waiting) = tokens.split_first().ok_or("no agents")?;
    let before = memory_of(subject.pid());
    let (mut half, mut tail, mut while_held) = (Vec::new(), Vec::new(), 0.0);
    bench.block_on(async {
        let mut holding = Vec::new();
        for (number, token) in waiting.iter().enumerate() {
            let count = HELD_EACH.min(others - number * HELD_EACH);
            holding.extend(hold_all(&subject, token, count).await?);
        }
        while_held = memory_of(subject.pid());
        for _ in 0..bench.rounds() {
            let floor = fdatasync_ms(bench.space.path(), bench.fdatasyncs())?;
            let took = heard(bench.by_scale(5, 50, 100), &subject, measured, &reviewer).await?;
            half.push(Round { value: quantile(&took, 0.5), floor: Some(floor), cpu: None });
            tail.push(Round { value: quantile(&took, 0.99), floor: Some(floor), cpu: None });
        }
        holding.iter().for_each(tokio::task::JoinHandle::abort);
        Result::Ok(())
    })?;
    // The connections are gone; the requests wait on.
    std::thread::sleep(Duration::from_secs(bench.by_scale(1, 3, 5)));
    let parked = memory_of(subject.pid());
    let each =
        |bytes: f64| vec![Round { value: (bytes - before) / 1e3 / others as f64, floor: None, cpu: None }];
    let memory = |name, what: &str, rounds| Figure {
        name,
        what: format!("{others} tool calls {what}: placet's memory for each"),
        unit: "KB",
        aim: Aim::Nothing,
        floor: "",
        rounds,
        note: String::new(),
    };
    let vote = |name, share: &str, aim, rounds| Figure {
        name,
        what: format!(
            "From a vote to the tool's result in the held call, with {others} others held: {share}"
        ),
        unit: "ms",
        aim,
        floor: "one fdatasync of 4 KiB",
        rounds,
        note: String::new(),
    };
    Ok(vec![
        memory("tools-held", "held open", each(while_held)),
        memory("tools-parked", "whose callers have gone", each(parked)),
        vote("tools-heard-p50", "half within", Aim::Nothing, half),
        vote("tools-heard-p99", "99 of 100 within", Aim::AtMost(50.0), tail),
    ])
}

/// A placet in front of this server, its tool accepted.
fn in_front_of(bench: &Bench, upstream: &str, setup: Setup) -> Result<Subject> {
    let subject = bench.subject(setup)?;
    subject.cli(["mcp", "add", "bench", "--yes", "--url", &format!("{upstream}/mcp")])?;
    subject.cli(["mcp", "accept", "bench", "--yes", "echo"])?;
    Ok(subject)
}

/// As a client that takes events calls.
fn streaming(door: Door) -> Result<Door> {
    door.with(header::ACCEPT, "application/json, text/event-stream")
}

/// Calls that say something else each time.
fn bodies() -> impl Fn() -> String + Clone + 'static {
    let count = Rc::new(Cell::new(0_u64));
    move || {
        count.set(count.get() + 1);
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{0},\"method\":\"tools/call\",\
             \"params\":{{\"name\":\"echo\",\"arguments\":{{\"text\":\"call {0}\"}}}}}}",
            count.get()
        )
    }
}

/// So many calls of one agent, each on a connection of its own, until they are dropped.
async fn hold_all(subject: &Subject, token: &str, count: usize) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let door = streaming(subject.agents_as(token)?)?;
    let bodies = bodies();
    let mut holding = Vec::new();
    for _ in 0..count {
        let mut caller = Caller::connect(&door).await?;
        let body = bodies();
        holding.push(tokio::task::spawn_local(async move {
            // Nobody decides on it.
            let _ = caller.post(PATH, body).await;
        }));
    }
    let mut looking = Caller::connect(&subject.agents_as(token)?).await?;
    while pending(&mut looking).await?.len() < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(holding)
}

async fn pending(caller: &mut Caller) -> Result<Vec<Value>> {
    let page = caller.get("/v1/requests?status=pending&limit=200").await?.json()?;
    Ok(page.pointer("/requests").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// How long it took from each vote to the result in the call that waited for it, in milliseconds, shortest first.
async fn heard(votes: usize, subject: &Subject, token: &str, reviewer: &str) -> Result<Vec<f64>> {
    let mut looking = Caller::connect(&subject.agents_as(token)?).await?;
    let mut voting = Caller::connect(&subject.reviewers_as(reviewer)?).await?;
    let door = streaming(subject.agents_as(token)?)?;
    let mut took = Vec::with_capacity(votes);
    for number in 0..votes {
        let mut caller = Caller::connect(&door).await?;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "echo", "arguments": {"text": format!("{number} {:?}", Instant::now())}}});
        let held = tokio::task::spawn_local(async move {
            let answer = caller.post(PATH, body.to_string()).await?;
            Result::Ok((Instant::now(), answer))
        });
        let id = loop {
            if let Some(request) = pending(&mut looking).await?.first() {
                break text(request, "/id")?.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let review = voting.get(&format!("/v1/reviews/{id}")).await?.json()?;
        let ballot = approval(&review)?;
        let path = format!("/v1/reviews/{id}/votes");
        let cast = Instant::now();
        voting.call(Method::POST, &path, Some(ballot.into())).await?.json()?;
        let (resumed, answer) = held.await??;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        if !said.contains("\"content\"") || said.contains("NOT EXECUTED") {
            return Err(format!("the call was answered with {said}").into());
        }
        took.push(resumed.duration_since(cast).as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}
