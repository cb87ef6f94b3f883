//! A command that placet runs: `placet run`, a vote, and a program that leaves a mark each time it runs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::external::{approve, ok};
use crate::harness::{Placet, binary};
use crate::stage::{Acknowledged, Flow, Keys, entries};
use crate::victim::Victim;

/// For people.
pub(crate) const NAME: &str = "a command";

pub(crate) struct Run;

/// Where the program leaves its marks.
const MARKS: &str = "marks";

/// How long a client may go on after its placet died.
const CLIENT_GIVES_UP: Duration = Duration::from_secs(20);

impl Flow for Run {
    fn name(&self) -> &'static str {
        NAME
    }

    fn go(&self, victim: &mut Victim, keys: &Keys) -> Acknowledged {
        let mut was = Acknowledged::default();
        let Some((agents, _)) = victim.doors.clone() else { return was };
        let script = format!("echo ran >> {}", victim.space().join(MARKS).display());
        let mut client = Command::new(binary());
        client.args(["run", "--", "/bin/sh", "-c", &script]).env_clear().env("HOME", victim.space());
        client.env("PLACET_AGENTS_URL", &agents).env("PLACET_AGENT_TOKEN", &keys.agent);
        let client = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        if let Some(request) = waiting(victim, keys, &mut client) {
            was.voted = approve(victim, keys, &request).is_some();
            was.request = Some(request);
        }
        if !was.voted {
            // Nobody will decide any more, so it would wait for long.
            let _ = client.kill();
        }
        was.finished = ended(victim, &mut client);
        was
    }

    fn go_on(&self, placet: &Placet, keys: &Keys, was: &Acknowledged) {
        let door = placet.agents().bearer(Some(&keys.agent));
        let listed = door.get("/v1/requests").expect(200).json();
        let requests = listed["requests"].as_array().unwrap();
        let marks = marks(placet.space());
        let Some(request) = requests.first() else {
            assert!(was.request.is_none(), "an acknowledged request is gone");
            assert_eq!(marks, 0, "it ran without a request");
            return;
        };
        assert_eq!(requests.len(), 1);
        if let Some(known) = &was.request {
            assert_eq!((&request["id"], &request["digest"]), (&known["id"], &known["digest"]));
        }
        let started = entries(placet, "execution.started", request);
        let status = request["status"].as_str().unwrap();
        assert!(marks <= started, "it ran {marks} times with {started} entries that permit it");
        assert!(started <= 1, "it was permitted {started} times");
        let fits = match status {
            "pending" => !was.voted && started == 0,
            "granted" => started == 0,
            "succeeded" => marks == 1,
            "failed" => started == 1 && !was.finished,
            // What a process was doing when it died, nobody knows.
            "unknown" => started == 1 && !was.finished,
            _ => false,
        };
        assert!(fits, "{status} with {marks} marks and {started} starts");
        assert_eq!(entries(placet, "vote.cast", request), usize::from(status != "pending"));
        // Nothing is tried again by itself.
        assert_eq!(self::marks(placet.space()), marks);
    }
}

fn marks(space: &Path) -> usize {
    fs::read_to_string(space.join(MARKS)).unwrap_or_default().lines().count()
}

/// The request of the client, once it waits; none if one of the two died.
fn waiting(victim: &mut Victim, keys: &Keys, client: &mut Child) -> Option<Value> {
    let (agents, _) = victim.doors.clone()?;
    let bearer = keys.bearer();
    while victim.is_alive() && client.try_wait().unwrap().is_none() {
        let url = format!("{agents}/v1/requests?status=pending");
        let listed = ok(victim.call(Method::GET, url, &[("authorization", &bearer)], None))?;
        if let Some(request) = listed["requests"].as_array()?.first() {
            return Some(request.clone());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Waits until the client ends, but not for ever once its placet is dead. Gives whether it said that all went well.
fn ended(victim: &mut Victim, client: &mut Child) -> bool {
    let mut died: Option<Instant> = None;
    loop {
        if let Some(status) = client.try_wait().unwrap() {
            return status.success();
        }
        if !victim.is_alive() {
            let since = *died.get_or_insert_with(Instant::now);
            if since.elapsed() > CLIENT_GIVES_UP {
                client.kill().unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
