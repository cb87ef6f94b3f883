//! The stage: the real brokers over the real store, on which a history is played beside the naive model.
//!
//! ```text
//! step ──► brokers ──► answer, requests, entries ─┐
//!   └────► naive model ──► what may be so now ────┴──► the one that is, or a finding
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use placet_core::c14n::Value;
use placet_core::digest::Sha256Digest;
use placet_core::entry::Kind;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::Status;
use placet_core::review::{Evidence, Verdict};
use placet_ledger::checkpoint::SignedCheckpoint;
use placet_ledger::verify::Verification;
use placet_store::faulty::{Fault, Hold, Point};
use placet_store::{RequestFilter, Views};
use placet_testkit::ManualClock;
use tempfile::TempDir;

use crate::call::{Call, Got};
use crate::cast::{Cast, Process, cast};
use crate::history::{History, Meanwhile, Op, Side, Step, When};
use crate::naive::{Answer, Entry, Gives, Naive, Request, Shown};
use crate::planted::Bug;
use crate::replay;

/// What was found, at which step.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) step: usize,
    pub(crate) what: String,
}

/// How long an answer may take before it is none. It only keeps a test from hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// What may be so after a step: the answer, and everything else.
type Candidate = (&'static str, Gives, Naive);

/// A stage with one history on it.
struct Stage {
    cast: &'static Cast,
    data: TempDir,
    clock: Arc<ManualClock>,
    bug: Bug,
    process: Option<Process>,
    starts: u64,
    naive: Naive,
    /// The requests in the order in which they came.
    ids: Vec<RequestId>,
    /// The bytes of each as it came.
    canonical: BTreeMap<RequestId, String>,
    /// What was handed out for execution.
    executed: BTreeMap<usize, BTreeSet<ExecutionId>>,
    checkpoints: Vec<String>,
    /// The requests as they were last read, and the entries: the log only grows.
    stored: BTreeMap<RequestId, placet_core::request::Request>,
    told: Vec<Entry>,
}

/// Plays a history; a finding is where product and model do not agree, or a promise is broken.
pub(crate) fn play(history: &History, bug: Bug) -> Result<(), Finding> {
    // Before there is a runtime: they have their own.
    cast();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::set(history.seed, bug);
        for (step, what) in history.steps.iter().enumerate() {
            let played = tokio::time::timeout(PATIENCE, stage.step(what)).await;
            let played = played.unwrap_or_else(|_| Err("nobody answers".to_owned()));
            played.map_err(|what| Finding { step, what })?;
        }
        let step = history.steps.len();
        stage.end().await.map_err(|what| Finding { step, what })
    })
}

impl Stage {
    fn set(seed: u64, bug: Bug) -> Stage {
        let cast = cast();
        let data = cast.copy();
        let clock = Arc::new(ManualClock::at(cast.at));
        let starts = seed.wrapping_mul(1000).wrapping_add(2);
        let process = Some(Process::open(data.path(), &clock, starts, bug));
        let at = cast.at.as_millis();
        Stage {
            cast,
            data,
            clock,
            bug,
            process,
            starts,
            naive: Naive::begin(at, at, at),
            ids: Vec::new(),
            canonical: BTreeMap::new(),
            executed: BTreeMap::new(),
            checkpoints: Vec::new(),
            stored: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Do(side, op) => self.play(*side, op).await,
            Step::Fails(op, when) => self.play_failing(op, Fault::Fail(point(*when)), *when).await,
            Step::Crashes(op, when) => {
                self.play_failing(op, Fault::Crash(point(*when)), *when).await?;
                self.restart();
                self.look().await
            }
            Step::Held(op, meanwhile) => self.play_held(op, meanwhile).await,
            Step::Clock(by) => {
                self.turn(*by);
                Ok(())
            }
            Step::Restart => {
                self.restart();
                self.look().await
            }
            Step::Publish => {
                let note = self.process().brokers[0].publish().await;
                self.checkpoints.push(note.map_err(|error| format!("not published: {error}"))?);
                Ok(())
            }
        }
    }

    fn turn(&mut self, by: i64) {
        let much = Duration::from_millis(by.unsigned_abs());
        if by < 0 {
            self.clock.turn_back(much)
        } else {
            self.clock.advance(much)
        }
        self.naive.clock += by;
    }

    fn restart(&mut self) {
        self.process = None;
        self.starts += 1;
        self.process = Some(Process::open(self.data.path(), &self.clock, self.starts, self.bug));
        self.naive.memory = Default::default();
    }

    /// What a voter sees now, as the model knows it.
    fn shown(&self, op: &Op) -> Option<Shown> {
        match op {
            Op::Vote { back, .. } => self.naive.back(*back).map(|request| self.naive.shown(request)),
            _ => None,
        }
    }

    async fn prepare(&self, side: Side, op: &Op) -> Result<Option<Call>, String> {
        let broker = &self.process().brokers[side as usize];
        let prepared = Call::prepare(broker, self.cast, &self.naive, &self.ids, &self.stored, op).await;
        prepared.map_err(|error| format!("{op:?} could not be prepared: {error}"))
    }

    async fn perform(&self, side: Side, call: Call) -> Got {
        let process = self.process();
        process.claiming.store(matches!(call, Call::Claim(..)), Ordering::SeqCst);
        let got = call.perform(process.brokers[side as usize].clone(), self.cast).await;
        process.claiming.store(false, Ordering::SeqCst);
        got
    }

    /// What a step comes to in this situation.
    fn meant(&self, op: &Op) -> Op {
        let Op::Again { back, key } = *op else { return op.clone() };
        let Some(place) = self.naive.back(back) else { return Op::Deadlines };
        let Request { bot, behalf, thing, .. } = self.naive.requests[place];
        Op::Submit { bot, old_token: false, thing, behalf: Some(behalf), key }
    }

    async fn play(&mut self, side: Side, op: &Op) -> Result<(), String> {
        let op = &self.meant(op);
        let Some(call) = self.prepare(side, op).await? else { return Ok(()) };
        let answers = self.naive.act(op, side, self.naive.now(), self.shown(op));
        let candidates = self.taken(&self.naive, &answers, side);
        let got = self.perform(side, call).await;
        self.settle(op, &got, candidates).await
    }

    fn taken(&self, from: &Naive, answers: &[Answer], side: Side) -> Vec<Candidate> {
        let take = |answer: &Answer| {
            let mut next = from.clone();
            next.take(answer, side);
            (answer.code, answer.gives, next)
        };
        answers.iter().map(take).collect()
    }

    /// The first commit of a call fails, before or after it was written; or everything does from there on.
    async fn play_failing(&mut self, op: &Op, fault: Fault, when: When) -> Result<(), String> {
        let op = &self.meant(op);
        let Some(call) = self.prepare(Side::First, op).await? else { return Ok(()) };
        let answers = self.naive.act(op, Side::First, self.naive.now(), self.shown(op));
        let crashes = matches!(fault, Fault::Crash(_));
        let mut candidates = Vec::new();
        for answer in &answers {
            let mut next = self.naive.clone();
            next.remember(answer, Side::First);
            match (answer.gives, answer.commits.as_slice()) {
                // Nothing is written, so nothing fails.
                (_, []) => {
                    candidates.extend(self.taken(&self.naive, std::slice::from_ref(answer), Side::First))
                }
                // A reconciler goes on with what is next. Which comes first of those that are due at once, is open.
                (Gives::Count(_), commits) => {
                    for failing in 0..commits.len() {
                        let mut next = next.clone();
                        let is_written = |place: usize| {
                            let own = place == failing;
                            if crashes {
                                own && when == When::AfterTheWrite
                            } else {
                                !own || when == When::AfterTheWrite
                            }
                        };
                        let kept = commits.iter().enumerate().filter(|(place, _)| is_written(*place));
                        kept.for_each(|(_, commit)| next.write(commit));
                        let count = if crashes { 0 } else { commits.len() - 1 };
                        candidates.push(("done", Gives::Count(count), next));
                    }
                }
                (_, [first, ..]) => {
                    if when == When::AfterTheWrite {
                        next.write(first);
                    }
                    candidates.push(("unavailable", Gives::Nothing, next));
                }
            }
        }
        self.process().faulty.then(fault);
        let got = self.perform(Side::First, call).await;
        self.process().faulty.forget();
        self.settle(op, &got, candidates).await
    }

    /// A call is held just before it writes, and something else happens.
    async fn play_held(&mut self, op: &Op, meanwhile: &[Meanwhile]) -> Result<(), String> {
        let op = &self.meant(op);
        let Some(call) = self.prepare(Side::First, op).await? else { return Ok(()) };
        let (before, began, shown) = (self.naive.clone(), self.naive.now(), self.shown(op));
        let first = before.act(op, Side::First, began, shown);
        let target = before.target(op);
        let hold = Hold::new();
        self.process().faulty.then(Fault::Hold(Point::Before, hold.clone()));
        self.process().claiming.store(matches!(call, Call::Claim(..)), Ordering::SeqCst);
        let held = call.perform(self.process().brokers[0].clone(), self.cast);
        let mut held = tokio::spawn(held);
        let early = tokio::select! {
            () = hold.reached() => None,
            got = &mut held => Some(got.map_err(|error| error.to_string())?),
        };
        self.process().claiming.store(false, Ordering::SeqCst);
        if let Some(got) = early {
            self.process().faulty.forget();
            return self.settle(op, &got, self.taken(&before, &first, Side::First)).await;
        }
        for what in meanwhile {
            match what {
                Meanwhile::Do(op) => self.play(Side::Second, op).await?,
                Meanwhile::Clock(by) => self.turn(*by),
            }
        }
        self.process().claiming.store(matches!(op, Op::Claim { .. }), Ordering::SeqCst);
        hold.release();
        let got = held.await.map_err(|error| error.to_string())?;
        self.process().claiming.store(false, Ordering::SeqCst);
        let now = self.naive.now();
        let retargeted = self.naive.later(op, &before);
        let surroundings = self.naive.surroundings_stay(&before);
        let mut candidates = Vec::new();
        for answer in &first {
            // A refusal that is only told to the ledger stays what it was; so does whatever a repeated call attached to.
            let only_told =
                !answer.commits.is_empty() && answer.commits.iter().all(|commit| commit.is_only_told());
            if only_told && (answer.code != "done" || (surroundings && self.naive.keys == before.keys)) {
                candidates.extend(self.taken(&self.naive, std::slice::from_ref(answer), Side::First));
            }
        }
        // While the clock is behind, that is reason enough for a no, whatever else has become one meanwhile.
        let behind = |answer: &&Answer| answer.code == "unavailable" && !self.naive.steady();
        let behind: Vec<Answer> = first.iter().filter(behind).cloned().collect();
        if candidates.is_empty() {
            let over = target.and_then(|target| self.naive.requests[target].deadline);
            // A withdrawal asks for no deadline; everything else does.
            let over = !matches!(op, Op::Cancel { .. }) && over.is_some_and(|over| now >= over);
            let target_stays =
                target.is_none_or(|target| self.naive.requests[target] == before.requests[target]);
            // It is decided again, now; or what was decided still holds, at the time at which it was decided.
            let mut times = vec![now];
            if surroundings && target_stays && !over && began != now {
                times.push(began);
            }
            for at in times {
                let again = self.naive.act(&retargeted, Side::First, at, shown);
                candidates.extend(self.taken(&self.naive, &again, Side::First));
            }
            candidates.extend(self.taken(&self.naive, &behind, Side::First));
        }
        self.settle(op, &got, candidates).await
    }

    /// Exactly one of the candidates has to be what is so now.
    async fn settle(&mut self, op: &Op, got: &Got, candidates: Vec<Candidate>) -> Result<(), String> {
        self.learn().await?;
        let mut why = Vec::new();
        for (code, gives, next) in candidates {
            if got.code != code {
                why.push(format!("expected {code}"));
                continue;
            }
            match self.compare(&next, got, gives) {
                Ok(()) => {
                    self.naive = next;
                    return Ok(());
                }
                Err(difference) => why.push(format!("{code}, but {difference}")),
            }
        }
        Err(format!("{op:?} got {got:?}; {}", why.join("; or ")))
    }

    /// What is so now has to be what the model says.
    async fn look(&mut self) -> Result<(), String> {
        self.learn_all().await?;
        let (naive, nothing) = (self.naive.clone(), Got::default());
        self.compare(&naive, &nothing, Gives::Nothing)
    }
}

fn point(when: When) -> Point {
    match when {
        When::BeforeTheWrite => Point::Before,
        When::AfterTheWrite => Point::After,
    }
}

// --- what is so ---

/// A request as product and model both can tell of it.
#[derive(PartialEq, Eq, Debug)]
struct Told {
    status: Status,
    version: u64,
    content: u32,
    created: i64,
    updated: i64,
    deadline: Option<i64>,
    reviewed: bool,
    resolved: bool,
    /// Under which law it waits or was granted.
    law: Option<usize>,
    claim: Option<Sha256Digest>,
    /// Person, approval, by token, self-reviewed, vouched, round, time.
    votes: Vec<(usize, bool, bool, bool, bool, u32, i64)>,
}

impl Stage {
    /// Reads the entries that are new, and the requests that they are about.
    async fn learn(&mut self) -> Result<(), String> {
        let mut touched = BTreeSet::new();
        for bytes in self.entry_bytes(self.cast.entries + self.told.len() as u64).await? {
            let entry = Value::parse(&bytes).map_err(|error| error.to_string())?;
            let text =
                |name: &str| entry.as_object().and_then(|members| members.get(name)).and_then(Value::as_str);
            let request = text("request").map(|id| RequestId::parse(id).unwrap()).map(|id| {
                touched.insert(id);
                self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                    self.ids.push(id);
                    self.ids.len() - 1
                })
            });
            let kind = text("kind").and_then(Kind::parse).ok_or("an entry without a kind")?;
            let verdict = text("verdict").map(replay::word);
            self.told.push(Entry { kind, verdict, request });
        }
        for id in touched {
            let stored = self.process().store.request(id).await.map_err(|error| error.to_string())?;
            self.stored.insert(id, stored.ok_or("a request is gone")?.request);
        }
        Ok(())
    }

    /// Reads everything again.
    async fn learn_all(&mut self) -> Result<(), String> {
        self.told.clear();
        self.learn().await?;
        let filter = RequestFilter { limit: 200, ..RequestFilter::default() };
        let stored = self.process().store.requests(filter).await.map_err(|error| error.to_string())?;
        self.stored = stored.into_iter().map(|stored| (stored.request.id, stored.request)).collect();
        Ok(())
    }

    fn compare(&mut self, naive: &Naive, got: &Got, gives: Gives) -> Result<(), String> {
        if (self.stored.len(), self.ids.len()) != (naive.requests.len(), naive.requests.len()) {
            return Err(format!("{} requests are stored, not {}", self.stored.len(), naive.requests.len()));
        }
        for (place, (id, should)) in self.ids.iter().zip(&naive.requests).enumerate() {
            let request = self.stored.get(id).ok_or("a request is gone")?;
            let (is, should) = (self.as_told(request), model(should));
            if is != should {
                return Err(format!("request {place} is {is:?}, not {should:?}"));
            }
            let bytes = self.canonical.entry(*id).or_insert_with(|| request.canonical.as_str().to_owned());
            if request.canonical.as_str() != bytes {
                return Err(format!("request {place} has other bytes now"));
            }
        }
        match gives {
            Gives::Nothing => {}
            Gives::Count(count) if got.count == Some(count) => {}
            Gives::Request { request, new } if got.request == Some((self.ids[request], new)) => {}
            Gives::Execution { request } => {
                let id = self.ids[request];
                let held = self.stored[&id].execution().map(|execution| execution.id);
                let (execution, canonical) = got.execution.clone().ok_or("a claim without an execution")?;
                if held != Some(execution) || canonical != self.canonical[&id] {
                    return Err("the claim gave another execution, or other bytes".to_owned());
                }
                let executed = self.executed.entry(request).or_default();
                executed.insert(execution);
                if executed.len() > 1 {
                    return Err(format!("request {request} was handed out for execution twice"));
                }
            }
            expected => return Err(format!("it gave {got:?}, not {expected:?}")),
        }
        let (is, should) = (&self.told, &naive.entries);
        let fits = by_request(is) == by_request(should);
        if fits { Ok(()) } else { Err(format!("the entries are {:?}, not {:?}", tail(is), tail(should))) }
    }

    fn as_told(&self, request: &placet_core::request::Request) -> Told {
        let person = |id| self.cast.people.iter().position(|known| *known == id).unwrap();
        let votes = request.votes.iter().map(|vote| {
            let by_token = matches!(vote.evidence, Evidence::Token(_));
            let approve = vote.verdict == Verdict::Approve;
            let marks = (vote.self_reviewed, vote.vouched);
            (person(vote.person), approve, by_token, marks.0, marks.1, vote.round, vote.at.as_millis())
        });
        let law = self.cast.laws.iter().position(|law| *law == request.decision.bundle);
        Told {
            status: request.status(),
            version: request.version,
            content: request.content_version,
            created: request.created_at.as_millis(),
            updated: request.updated_at.as_millis(),
            deadline: request.deadline().map(|deadline| deadline.as_millis()),
            reviewed: request.reviewed,
            resolved: request.resolution.is_some(),
            law: law.filter(|_| is_decided_by_law(request.status())),
            claim: request.execution().map(|execution| execution.claim),
            votes: votes.collect(),
        }
    }

    async fn entry_bytes(&self, from: u64) -> Result<Vec<Vec<u8>>, String> {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        loop {
            let next = from + entries.len() as u64;
            let more =
                self.process().store.entry_bytes(next, 1000).await.map_err(|error| error.to_string())?;
            if more.is_empty() {
                return Ok(entries);
            }
            entries.extend(more);
        }
    }

    /// After the last step: everything survives a restart, the entries alone tell every state, and the log verifies and
    /// continues every checkpoint that was kept.
    async fn end(&mut self) -> Result<(), String> {
        self.restart();
        self.look().await?;
        let states = replay::states(&self.told)?;
        for (place, request) in self.naive.requests.iter().enumerate() {
            if states.get(&place) != Some(&request.status) {
                return Err(format!("by its entries request {place} is {:?}", states.get(&place)));
            }
        }
        let broker = &self.process().brokers[0];
        broker.publish().await.map_err(|error| format!("not published: {error}"))?;
        let key = broker.verifier_key();
        let verify = || -> Result<(), Box<dyn std::error::Error>> {
            let mut verification = Verification::open(broker.log_dir(), &key)?;
            for note in &self.checkpoints {
                verification = verification.continuing(&SignedCheckpoint::open(note.as_bytes(), &key)?)?;
            }
            verification.run(|_, _| Ok(()))?;
            Ok(())
        };
        verify().map_err(|error| format!("the log does not verify: {error}"))
    }
}

/// Whether a request stands where its latest decision put it.
fn is_decided_by_law(status: Status) -> bool {
    matches!(status, Status::Pending | Status::Granted)
}

fn model(request: &Request) -> Told {
    let mut rounds: BTreeMap<usize, u32> = BTreeMap::new();
    let votes = request.votes.iter().map(|vote| {
        let round = rounds.entry(vote.person).or_default();
        *round += 1;
        (vote.person, vote.approve, vote.by_token, vote.self_reviewed, vote.vouched, *round, vote.at)
    });
    Told {
        status: request.status,
        version: request.version,
        content: request.content,
        created: request.created,
        updated: request.updated,
        deadline: request.deadline,
        reviewed: request.reviewed,
        resolved: request.resolved,
        law: Some(request.law()).filter(|_| is_decided_by_law(request.status)),
        votes: votes.collect(),
        claim: request.claim.map(|value| Sha256Digest::of(Call::claim_value(value).as_bytes())),
    }
}

/// Of requests whose deadlines pass at once, which comes first is open.
fn by_request(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.request);
    sorted
}

fn tail(entries: &[Entry]) -> &[Entry] {
    &entries[entries.len().saturating_sub(6)..]
}
