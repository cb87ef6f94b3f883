//! From a vote to the caller that it resumes, while many others wait.

use std::time::Instant;

use hyper::Method;
use serde_json::{Value, json};

use super::Bench;
use super::decisions::bodies;
use crate::Result;
use crate::client::Caller;
use crate::figure::{Aim, Figure, Round, quantile};
use crate::floor::fdatasync_ms;
use crate::machine::{cpu_of, own_cpu};
use crate::subject::{Setup, Subject};

/// How many calls one credential holds open here; placet lets it hold 256.
const WAITERS_EACH: usize = 200;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let others: usize = bench.by_scale(100, 2_000, 10_000);
    let connections = (others + 1_000).to_string();
    let setup = Setup::lifted("team").with("PLACET__LIMITS__CONNECTIONS", &connections);
    let subject = bench.subject(setup)?;
    let reviewer = subject.add_reviewer()?;
    let tokens = subject.add_agents(others.div_ceil(WAITERS_EACH) + 1)?;
    let (measured, waiting) = tokens.split_first().ok_or("no agents")?;
    bench.block_on(async {
        for (number, token) in waiting.iter().enumerate() {
            let count = WAITERS_EACH.min(others - number * WAITERS_EACH);
            wait_all(&subject, token, count).await?;
        }
        resume(bench, &subject, measured, &reviewer, others).await
    })
}

/// So many callers of one agent, each waiting for a request of its own, again and again until the end.
async fn wait_all(subject: &Subject, token: &str, count: usize) -> Result<()> {
    let door = subject.agents_as(token)?;
    let bodies = bodies("production");
    for _ in 0..count {
        let mut caller = Caller::connect(&door).await?;
        let request = caller.post("/v1/requests", bodies()).await?.json()?;
        let path = format!("/v1/requests/{}?wait=50&version=1", text(&request, "/id")?);
        tokio::task::spawn_local(async move {
            // Ends with the server.
            while caller.get(&path).await.is_ok_and(|answer| answer.status == 200) {}
        });
    }
    Ok(())
}

async fn resume(
    bench: &Bench,
    subject: &Subject,
    agent: &str,
    reviewer: &str,
    others: usize,
) -> Result<Vec<Figure>> {
    let door = subject.agents_as(agent)?;
    let (mut asking, mut waiting) = (Caller::connect(&door).await?, Caller::connect(&door).await?);
    let mut voting = Caller::connect(&subject.reviewers_as(reviewer)?).await?;
    let bodies = bodies("production");
    let votes = bench.by_scale(5, 50, 150);
    let (mut half, mut tail) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let floor = fdatasync_ms(bench.space.path(), bench.fdatasyncs())?;
        let (began, cpu, own) = (Instant::now(), cpu_of(subject.pid()), own_cpu());
        let mut took = Vec::with_capacity(votes);
        for _ in 0..votes {
            let request = asking.post("/v1/requests", bodies()).await?.json()?;
            let id = text(&request, "/id")?;
            let review = voting.get(&format!("/v1/reviews/{id}")).await?.json()?;
            let ballot = approval(&review)?;
            let path = format!("/v1/requests/{id}?wait=50&version=1");
            let resumed = async {
                let answer = waiting.get(&path).await?.json()?;
                Result::Ok((Instant::now(), answer))
            };
            let vote = async {
                // So that the caller waits already: the server has read its call when this one is read.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                let cast = Instant::now();
                voting
                    .call(Method::POST, &format!("/v1/reviews/{id}/votes"), Some(ballot.into()))
                    .await?
                    .json()?;
                Result::Ok(cast)
            };
            let (resumed, cast) = tokio::join!(resumed, vote);
            let ((resumed, answer), cast) = (resumed?, cast?);
            if text(&answer, "/status")? != "granted" {
                return Err(format!("the caller was resumed with {answer}").into());
            }
            took.push(resumed.duration_since(cast).as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let wall = began.elapsed().as_secs_f64();
        let cpu = Some(((own_cpu() - own) / wall, (cpu_of(subject.pid()) - cpu) / wall));
        half.push(Round { value: quantile(&took, 0.5), floor: Some(floor), cpu });
        tail.push(Round { value: quantile(&took, 0.99), floor: Some(floor), cpu });
    }
    let figure = |name, share: &str, aim, rounds| Figure {
        name,
        what: format!("From a vote to the caller that it resumes, with {others} others waiting: {share}"),
        unit: "ms",
        aim: Aim::AtMost(aim),
        floor: "one fdatasync of 4 KiB",
        rounds,
        note: String::new(),
    };
    Ok(vec![
        figure("resume-p50", "half within", 2.0, half),
        figure("resume-p99", "99 of 100 within", 10.0, tail),
    ])
}

/// The approval of what a reviewer was shown.
pub(super) fn approval(review: &Value) -> Result<String> {
    let ballot = json!({
        "verdict": "approve",
        "digest": text(review, "/request/digest")?,
        "version": review.pointer("/request/content_version"),
        "card": text(review, "/card_hash")?,
    });
    Ok(ballot.to_string())
}

pub(super) fn text<'a>(document: &'a Value, pointer: &str) -> Result<&'a str> {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no {pointer} in {document}").into())
}
