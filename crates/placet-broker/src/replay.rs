//! What a staged bundle would have said of what was asked: recorded requests under the bundle in force and under the
//! candidate, without votes, among the people there are now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use placet_core::c14n::Value;
use placet_core::decision::RoleName;
use placet_core::directory::Directory;
use placet_core::id::RequestId;
use placet_core::request::Request;
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_policy::{Bundle, Recorded, ReplayOutcome};
use placet_store::{PAGE_MAX, RequestFilter};

use crate::Broker;
use crate::error::CallError;

/// Which recorded requests to replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplaySpan {
    /// The newest so many.
    pub last: usize,
    /// Only those that came within this time.
    pub since: Option<Duration>,
}

/// How many are replayed unless somebody says otherwise, and at most: each is read, decrypted and decided twice.
pub const REPLAY_DEFAULT: usize = 1000;
/// More would keep an operator's call waiting for a minute.
pub const REPLAY_MAX: usize = 10_000;
/// Examples of each kind of change.
const EXAMPLES_MAX: usize = 3;

impl Default for ReplaySpan {
    fn default() -> Self {
        ReplaySpan { last: REPLAY_DEFAULT, since: None }
    }
}

/// What would come out differently.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// How many requests were decided under both bundles.
    pub requests: usize,
    /// How many could not be compared, as somebody in their chain may not act any more.
    pub gone: usize,
    /// Outcomes that differ, the loosening ones first.
    pub changes: Vec<OutcomeChange>,
    /// How many more or fewer questions each role would have got.
    pub load: BTreeMap<RoleName, i64>,
}

/// Requests whose outcome changes in the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomeChange {
    /// `permit`, `ask` or `deny`.
    pub from: &'static str,
    /// The same; equal to `from` where other people are asked, or for other evidence.
    pub to: &'static str,
    /// How many.
    pub count: usize,
    /// A few of them, newest first.
    pub examples: Vec<Example>,
}

/// One request whose outcome changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Example {
    /// Which.
    pub request: RequestId,
    /// What was asked, `data.export on Dataset::"customers"`.
    pub what: String,
    /// Why it was so: policies, or a reason.
    pub before: String,
    /// Why it would be so.
    pub after: String,
}

impl Replayed {
    /// What the entry of a stage keeps of it: counts.
    pub(crate) fn to_value(&self) -> Value {
        let number = |number: usize| Value::integer(i64::try_from(number).unwrap_or(i64::MAX));
        let change = |change: &OutcomeChange| {
            Value::Array(vec![Value::string(change.from), Value::string(change.to), number(change.count)])
        };
        Value::object([
            ("requests", number(self.requests)),
            ("changes", Value::Array(self.changes.iter().map(change).collect())),
            (
                "load",
                Value::object(
                    self.load.iter().map(|(role, delta)| (role.to_string(), Value::integer(*delta))),
                ),
            ),
        ])
    }
}

/// What was shown of a stage's outcomes, from its entry, a line each.
pub(crate) fn lines(kept: &Value) -> Vec<String> {
    let Some(members) = kept.as_object() else { return Vec::new() };
    let requests = members.get("requests").map(Value::canonical).unwrap_or_default();
    let mut lines = vec![format!("replayed {requests} recorded requests")];
    for change in members.get("changes").and_then(Value::as_array).into_iter().flatten() {
        if let Some([Value::String(from), Value::String(to), count]) = change.as_array() {
            let what = if from == to { format!("{to}, otherwise") } else { format!("{from} → {to}") };
            lines.push(format!("{}: {what}", count.canonical()));
        }
    }
    for (role, delta) in members.get("load").and_then(Value::as_object).into_iter().flatten() {
        let delta = delta.canonical();
        let sign = if delta.starts_with('-') { "" } else { "+" };
        lines.push(format!("{sign}{delta} questions for {role}"));
    }
    lines
}

impl Broker {
    /// Replays recorded requests under both bundles.
    pub(crate) async fn replay(
        &self,
        active: Arc<Bundle>,
        candidate: Arc<Bundle>,
        span: ReplaySpan,
    ) -> Result<Replayed, CallError> {
        let directory = self.0.views.directory().await?;
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let from = span.since.map_or(Timestamp::EPOCH, |since| {
            Timestamp::from_millis(self.now().as_millis().saturating_sub(millis(since)))
        });
        let wanted = span.last.min(REPLAY_MAX);
        let mut tally = Tally::default();
        let (mut before, mut seen) = (None, 0usize);
        while seen < wanted {
            let limit = PAGE_MAX.min(wanted - seen);
            let filter = RequestFilter { before, limit, ..RequestFilter::default() };
            let page = self.0.views.requests(filter).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.request.id);
            let whole = page.len() == limit;
            let recent: Vec<Request> = page
                .into_iter()
                .map(|stored| stored.request)
                .filter(|request| request.created_at >= from)
                .collect();
            let ended = recent.is_empty();
            seen += recent.len();
            let (active, candidate, directory) = (active.clone(), candidate.clone(), directory.clone());
            // Deciding thousands of times would keep others from being served.
            let decided = tokio::task::spawn_blocking(move || {
                recent.iter().for_each(|request| tally.take(request, &active, &candidate, &directory));
                tally
            });
            tally = decided.await.map_err(|error| CallError::Internal(error.to_string()))?;
            if ended || !whole {
                break;
            }
        }
        Ok(tally.done())
    }
}

#[derive(Default)]
struct Tally {
    replayed: Replayed,
    changes: BTreeMap<(u8, &'static str, &'static str), OutcomeChange>,
}

impl Tally {
    fn take(&mut self, request: &Request, active: &Bundle, candidate: &Bundle, directory: &Directory) {
        let recorded = Recorded { action: &request.action, grade: request.grade, at: request.created_at };
        let before = active.replay(recorded, directory);
        let after = candidate.replay(recorded, directory);
        if before.chain_broken || after.chain_broken {
            self.replayed.gone += 1;
            return;
        }
        self.replayed.requests += 1;
        for (roles, step) in [(&before.roles, -1), (&after.roles, 1)] {
            for role in roles {
                *self.replayed.load.entry(role.clone()).or_default() += step;
            }
        }
        let other_question = before.effect == "ask" && (&before.by, &before.asks) != (&after.by, &after.asks);
        if before.effect == after.effect && !other_question {
            return;
        }
        let key = (strictness(before.effect, after.effect), before.effect, after.effect);
        let change = self.changes.entry(key).or_insert_with(|| OutcomeChange {
            from: before.effect,
            to: after.effect,
            count: 0,
            examples: Vec::new(),
        });
        change.count += 1;
        if change.examples.len() < EXAMPLES_MAX {
            change.examples.push(Example {
                request: request.id,
                what: format!("{} on {}", request.action.action, request.action.resource.visible()),
                before: why(&before),
                after: why(&after),
            });
        }
    }

    fn done(self) -> Replayed {
        let mut replayed = self.replayed;
        replayed.load.retain(|_, delta| *delta != 0);
        replayed.changes = self.changes.into_values().collect();
        replayed
    }
}

/// What lets more happen comes first: it is what somebody has to look at.
fn strictness(from: &str, to: &str) -> u8 {
    let rank = |effect: &str| match effect {
        "permit" => 0,
        "ask" => 1,
        _ => 2,
    };
    match rank(to).cmp(&rank(from)) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

fn why(outcome: &ReplayOutcome) -> String {
    let by: BTreeSet<&str> = outcome.by.iter().map(String::as_str).collect();
    let mut parts: Vec<String> = Vec::new();
    if !by.is_empty() {
        parts.push(by.into_iter().collect::<Vec<_>>().join(", "));
    }
    parts.extend(outcome.asks.iter().cloned());
    parts.extend(outcome.reason.clone());
    visible(&parts.join("; "))
}
