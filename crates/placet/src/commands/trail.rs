//! What the ledger's content has to say in clear, entry by entry: that time goes on, that each request's entries hang
//! together, and that nothing was carried out without a permit, nor permitted after a question without an approval.
//!
//! ```text
//! request.received ─┬─ forbid ─► over
//!                   ├─ permit ─► permitted ─► execution.started ─► execution.finished ─► request.resolved
//!                   └─ ask ─► asked ─ vote.cast approve ─ decision.made ─┬─ permit ─► permitted
//!                                                                        ├─ ask ─► asked
//!                                                                        └─ forbid ─► over
//! ```
//!
//! The reader of a log has only the log: nothing here trusts placet's own state.

use std::collections::{BTreeMap, HashMap};

use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use placet_core::entry::Kind;
use placet_core::id::{EntryId, RequestId};
use placet_core::time::Timestamp;

/// An entry that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(String);

fn broken<T>(why: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(why.into()))
}

/// One entry, as far as it can be read in clear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// The log that it was written for.
    log: String,
    /// When.
    pub(crate) time: Timestamp,
    /// What.
    pub(crate) kind: Kind,
    /// The action's name.
    pub(crate) action: Option<String>,
    /// The verdict word.
    pub(crate) verdict: Option<String>,
    /// The bundle that it was decided under.
    pub(crate) bundle: Option<BundleDigest>,
    /// The request that it belongs to.
    pub(crate) request: Option<RequestId>,
    /// Index of that request's previous entry.
    pub(crate) previous: Option<u64>,
    /// What it commits to.
    pub(crate) commitments: Vec<String>,
}

/// The members that an entry may have. More would be something that this version cannot judge.
const MEMBERS: [&str; 12] =
    ["v", "log", "id", "time", "kind", "action", "verdict", "bundle", "request", "ref", "_sd", "_sd_alg"];

impl Entry {
    /// Reads an entry of this log, or of an epoch of it that has ended.
    pub(crate) fn read(bytes: &[u8], log: &str) -> Result<Self, Broken> {
        let entry = Entry::read_any(bytes)?;
        let ((first, last), (other, epoch)) = (epoch_of(log), epoch_of(&entry.log));
        if other != first || epoch > last {
            return broken(format!("it names another log than {log}"));
        }
        Ok(entry)
    }

    /// Reads an entry, of whatever log.
    fn read_any(bytes: &[u8]) -> Result<Self, Broken> {
        let value = Value::parse(bytes).map_err(|error| Broken(format!("it is not JSON: {error}")))?;
        if value.canonical().as_bytes() != bytes {
            return broken("it is not in canonical form");
        }
        let Some(members) = value.as_object() else { return broken("it is not an object") };
        if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return broken(format!(
                "it has an unknown member {unknown:?}: a newer placet wrote it, or nobody should"
            ));
        }
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text)),
                None => broken(format!("{name} is not a text")),
            },
        };
        let must = |name: &str| text(name)?.ok_or_else(|| Broken(format!("{name} is missing")));
        if members.get("v") != Some(&Value::integer(1)) {
            return broken("its version is not 1");
        }
        EntryId::parse(must("id")?).map_err(|error| Broken(error.to_string()))?;
        let request =
            text("request")?.map(RequestId::parse).transpose().map_err(|error| Broken(error.to_string()))?;
        let bundle = text("bundle")?
            .map(BundleDigest::parse)
            .transpose()
            .map_err(|error| Broken(error.to_string()))?;
        Ok(Entry {
            log: must("log")?.to_owned(),
            time: Timestamp::parse(must("time")?).map_err(|error| Broken(error.to_string()))?,
            kind: match Kind::parse(must("kind")?) {
                Some(kind) => kind,
                None => return broken("its kind is unknown: a newer placet wrote it"),
            },
            action: text("action")?.map(str::to_owned),
            verdict: text("verdict")?.map(str::to_owned),
            bundle,
            request,
            previous: match members.get("ref") {
                None => None,
                Some(Value::Number(number)) => {
                    match number.as_integer().and_then(|index| u64::try_from(index).ok()) {
                        Some(index) => Some(index),
                        None => return broken("ref is not an index"),
                    }
                }
                Some(_) => return broken("ref is not an index"),
            },
            commitments: commitments(members)?,
        })
    }
}

fn commitments(members: &BTreeMap<String, Value>) -> Result<Vec<String>, Broken> {
    let (list, algorithm) = (members.get("_sd"), members.get("_sd_alg").and_then(Value::as_str));
    let Some(list) = list else {
        return if algorithm.is_none() { Ok(Vec::new()) } else { broken("_sd_alg stands without _sd") };
    };
    if algorithm != Some("sha-256") {
        return broken("its commitments are not SHA-256");
    }
    let Some(list) = list.as_array() else { return broken("_sd is not a list") };
    let texts: Option<Vec<String>> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    match texts {
        Some(texts) if texts.windows(2).all(|pair| pair.first() < pair.last()) => Ok(texts),
        _ => broken("_sd is not a sorted list of different texts"),
    }
}

/// The origin of a log's first epoch, and which epoch this is.
fn epoch_of(origin: &str) -> (&str, u32) {
    let later = origin.rsplit_once("/e").and_then(|(first, epoch)| Some((first, epoch.parse().ok()?)));
    later.filter(|(_, epoch)| *epoch > 1).unwrap_or((origin, 1))
}

/// Where a request stands, as its entries tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// People are asked.
    Asked,
    /// It may be carried out.
    Permitted,
    /// It is being carried out.
    Started,
    /// It was carried out, or nobody knows.
    Finished { unknown: bool },
    /// It will not be carried out.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Trail {
    last: u64,
    stage: Stage,
    /// Whether somebody approved since people are asked.
    approved: bool,
}

/// The rules, and what they have seen so far.
#[derive(Debug)]
pub(crate) struct Rules {
    log: String,
    /// Where the last entry stood, and of which epoch it was.
    place: Option<(u64, u32)>,
    now: Timestamp,
    requests: HashMap<RequestId, Trail>,
    kinds: BTreeMap<Kind, u64>,
}

impl Rules {
    /// The rules of this log, before its first entry.
    pub(crate) fn of(log: &str) -> Self {
        Rules {
            log: log.to_owned(),
            place: None,
            now: Timestamp::EPOCH,
            requests: HashMap::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// How many entries of each kind there were.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.kinds.iter().map(|(kind, count)| (kind.as_str(), *count))
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Takes the next entry in.
    pub(crate) fn take(&mut self, index: u64, bytes: &[u8]) -> Result<Entry, Broken> {
        let entry = Entry::read(bytes, &self.log)?;
        self.belongs(index, &entry)?;
        if entry.time < self.now {
            return broken(format!("time goes back from {} to {}", self.now, entry.time));
        }
        if entry.kind == Kind::LogOpened && index > 0 {
            return broken("the log was opened a second time");
        }
        self.now = entry.time;
        *self.kinds.entry(entry.kind).or_default() += 1;
        match entry.request {
            Some(request) => self.follow(index, request, &entry)?,
            None if entry.previous.is_some() => {
                return broken("it refers to an entry and belongs to no request");
            }
            None => {}
        }
        Ok(entry)
    }

    /// An epoch that began after a restored database begins with the entries of those before it. Its own first entry
    /// says so, and the last epoch's name is that of the log.
    fn belongs(&mut self, index: u64, entry: &Entry) -> Result<(), Broken> {
        let (_, epoch) = epoch_of(&entry.log);
        let (follows, present) = match self.place {
            None => (index == 0, 1),
            Some((before, epoch)) => (before.checked_add(1) == Some(index), epoch),
        };
        let fits = match (entry.kind, follows) {
            (Kind::LogRestored, true) => present.checked_add(1) == Some(epoch),
            (_, true) => epoch == present,
            // Entries of single requests: those between them are not here.
            (_, false) => epoch >= present,
        };
        self.place = Some((index, epoch));
        if fits { Ok(()) } else { broken("it is of another epoch of the log than it may be") }
    }

    fn follow(&mut self, index: u64, request: RequestId, entry: &Entry) -> Result<(), Broken> {
        let known = self.requests.get(&request).copied();
        let previous = known.map(|trail| trail.last);
        if entry.previous != previous {
            return broken(match previous {
                None => "it refers to an earlier entry of its request, and there is none".to_owned(),
                Some(previous) => {
                    format!("its request's previous entry is {previous}, and it does not say so")
                }
            });
        }
        let mut trail = match known {
            Some(trail) => step(trail, entry)?,
            None => begin(entry)?,
        };
        trail.last = index;
        self.requests.insert(request, trail);
        Ok(())
    }
}

fn begin(entry: &Entry) -> Result<Trail, Broken> {
    if entry.kind != Kind::RequestReceived {
        return broken(format!("the request begins with {}", entry.kind.as_str()));
    }
    if entry.bundle.is_none() {
        return broken("a decision does not name its bundle");
    }
    let stage = match entry.verdict.as_deref() {
        Some("permit") => Stage::Permitted,
        Some("ask") => Stage::Asked,
        Some("forbid") => Stage::Over,
        other => return broken(format!("a request was received with the verdict {other:?}")),
    };
    Ok(Trail { last: 0, stage, approved: false })
}

fn step(mut trail: Trail, entry: &Entry) -> Result<Trail, Broken> {
    use Stage::{Asked, Finished, Over, Permitted, Started};
    let verdict = entry.verdict.as_deref();
    let misplaced =
        || broken(format!("{} does not follow from what was recorded before it", entry.kind.as_str()));
    trail.stage = match (entry.kind, trail.stage) {
        // These change nothing, and may come at any time.
        (Kind::RequestAttached | Kind::VoteRefused | Kind::ClaimRefused, stage) => stage,
        (Kind::VoteCast, stage @ (Asked | Permitted)) => match verdict {
            Some("approve") => {
                trail.approved = true;
                stage
            }
            // How many denials end it is the bundle's affair, which stands elsewhere.
            Some("deny") => stage,
            _ => return broken("a vote is neither yes nor no"),
        },
        (Kind::DecisionMade, stage @ (Asked | Permitted)) => {
            if entry.bundle.is_none() {
                return broken("a decision does not name its bundle");
            }
            match (verdict, stage) {
                (Some("permit"), Asked) if !trail.approved => {
                    return broken("it was permitted after people were asked, and nobody had approved");
                }
                (Some("permit"), _) => Permitted,
                (Some("ask"), Asked) => Asked,
                // A grant whose evidence has gone is refused; the entry that says so follows.
                (Some("ask"), stage) => stage,
                (Some("forbid"), Asked) => Over,
                (Some("forbid"), stage) => stage,
                _ => return broken("a decision has no verdict"),
            }
        }
        (Kind::ExecutionStarted, Permitted) if verdict == Some("permit") && entry.bundle.is_some() => Started,
        (Kind::ExecutionStarted, Permitted) => {
            return broken("an execution was started without a decision to permit it");
        }
        (Kind::ExecutionStarted, Asked | Over) => return broken("an execution was started without a permit"),
        (Kind::ExecutionStarted, Started | Finished { .. }) => {
            return broken("an execution was started a second time");
        }
        (Kind::ExecutionFinished, Started) => match verdict {
            Some("succeeded" | "failed") => Finished { unknown: false },
            Some("unknown") => Finished { unknown: true },
            _ => return broken("an execution finished without an outcome"),
        },
        (Kind::RequestResolved, stage @ Finished { unknown: true }) => stage,
        (Kind::RequestExpired, Asked) | (Kind::RequestLapsed, Permitted) => Over,
        (Kind::RequestCancelled | Kind::RequestRefusedLater, Asked | Permitted) => Over,
        _ => return misplaced(),
    };
    Ok(trail)
}

#[cfg(test)]
mod tests {
    use placet_core::entropy::Entropy;
    use placet_core::entry::{Draft, Place};

    use super::*;

    const LOG: &str = "placet.example/ledger";

    struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    /// What happened, with its verdict, for one request; `ref` and time as the store would write them.
    fn trail(steps: &[(Kind, Option<&'static str>)]) -> Result<(), String> {
        let mut rules = Rules::of(LOG);
        for (index, (kind, verdict)) in steps.iter().enumerate() {
            let index = index as u64;
            let place = Place {
                log: LOG,
                time: Timestamp::from_millis(index as i64),
                previous: index.checked_sub(1),
            };
            rules.take(index, &entry(*kind, *verdict, place)).map_err(|error| format!("{index}: {error}"))?;
        }
        Ok(())
    }

    fn entry(kind: Kind, verdict: Option<&'static str>, place: Place<'_>) -> Vec<u8> {
        let mut draft = Draft::new(kind).under(BundleDigest::from_bytes([1; 32])).commit("a", Value::Null);
        draft.request = Some(RequestId::from_bytes([9; 16]));
        draft.verdict = verdict;
        draft.seal(EntryId::from_bytes([3; 16]), &Sevens).entry(place).unwrap()
    }

    /// Entries that belong to no request, of these epochs; the indices are given.
    fn epochs(log: &str, steps: &[(u64, Kind, &str)]) -> Result<(), String> {
        let mut rules = Rules::of(log);
        for (index, kind, of) in steps {
            let place = Place { log: of, time: Timestamp::EPOCH, previous: None };
            let entry = Draft::new(*kind).seal(EntryId::from_bytes([3; 16]), &Sevens).entry(place).unwrap();
            rules.take(*index, &entry).map_err(|error| format!("{index}: {error}"))?;
        }
        Ok(())
    }

    #[test]
    fn a_new_epoch_begins_with_the_entry_that_says_so_and_never_otherwise() {
        use Kind::{CapReached, LogRestored};
        let (one, two, three) = ("placet.example/l", "placet.example/l/e2", "placet.example/l/e3");
        for (log, steps) in [
            (one, vec![(0, CapReached, one), (1, CapReached, one)]),
            (two, vec![(0, CapReached, one), (1, LogRestored, two), (2, CapReached, two)]),
            (three, vec![(0, CapReached, one), (1, LogRestored, two), (2, LogRestored, three)]),
            // The entries of single requests, with gaps between them.
            (three, vec![(4, CapReached, one), (9, CapReached, two), (12, CapReached, three)]),
        ] {
            assert_eq!(epochs(log, &steps), Ok(()), "{log} {steps:?}");
        }
        for (log, steps) in [
            (one, vec![(0, CapReached, "placet.example/other")]),
            (one, vec![(0, CapReached, two)]),
            (two, vec![(0, CapReached, two)]),
            (two, vec![(0, CapReached, one), (1, CapReached, two)]),
            (two, vec![(0, CapReached, one), (1, LogRestored, one)]),
            (two, vec![(0, CapReached, one), (1, LogRestored, two), (2, CapReached, one)]),
            (three, vec![(0, CapReached, one), (1, LogRestored, three)]),
            (three, vec![(9, CapReached, two), (12, CapReached, one)]),
            (two, vec![(0, CapReached, one), (1, LogRestored, "placet.example/other/e2")]),
        ] {
            assert!(epochs(log, &steps).is_err(), "{log} {steps:?}");
        }
    }

    #[test]
    fn lives_of_requests_are_followed() {
        use Kind::*;
        let (permit, ask, forbid) = (Some("permit"), Some("ask"), Some("forbid"));
        let (approve, deny) = (Some("approve"), Some("deny"));
        for life in [
            vec![(RequestReceived, forbid)],
            vec![
                (RequestReceived, permit),
                (ExecutionStarted, permit),
                (ExecutionFinished, Some("succeeded")),
            ],
            vec![
                (RequestReceived, ask),
                (RequestAttached, None),
                (VoteRefused, Some("conflict")),
                (VoteCast, approve),
                (DecisionMade, ask),
                (VoteCast, approve),
                (DecisionMade, permit),
                (ClaimRefused, Some("other_digest")),
                (ExecutionStarted, permit),
                (ExecutionFinished, Some("unknown")),
                (RequestResolved, None),
            ],
            vec![(RequestReceived, ask), (VoteCast, deny)],
            vec![(RequestReceived, ask), (RequestExpired, None), (RequestAttached, None)],
            vec![(RequestReceived, ask), (VoteCast, approve), (DecisionMade, permit), (VoteCast, deny)],
            vec![(RequestReceived, permit), (DecisionMade, ask), (RequestRefusedLater, None)],
            vec![(RequestReceived, permit), (RequestLapsed, None)],
            vec![(RequestReceived, ask), (RequestCancelled, None)],
        ] {
            assert_eq!(trail(&life), Ok(()), "{life:?}");
        }
    }

    #[test]
    fn a_forged_life_is_noticed() {
        use Kind::*;
        let (permit, ask, forbid, approve) = (Some("permit"), Some("ask"), Some("forbid"), Some("approve"));
        for (life, says) in [
            (vec![(VoteCast, approve)], "0: the request begins with vote.cast"),
            (vec![(RequestReceived, None)], "0: a request was received"),
            (
                vec![(RequestReceived, ask), (ExecutionStarted, permit)],
                "1: an execution was started without a permit",
            ),
            (
                vec![(RequestReceived, forbid), (ExecutionStarted, permit)],
                "1: an execution was started without",
            ),
            (
                vec![(RequestReceived, ask), (DecisionMade, permit)],
                "1: it was permitted after people were asked",
            ),
            (
                vec![(RequestReceived, ask), (VoteCast, Some("deny")), (DecisionMade, permit)],
                "2: it was permitted after",
            ),
            (vec![(RequestReceived, ask), (VoteCast, Some("maybe"))], "1: a vote is neither"),
            (
                vec![(RequestReceived, permit), (ExecutionStarted, ask)],
                "1: an execution was started without a decision",
            ),
            (
                vec![(RequestReceived, permit), (ExecutionStarted, permit), (ExecutionStarted, permit)],
                "2: an execution was started a second",
            ),
            (
                vec![(RequestReceived, permit), (ExecutionFinished, Some("succeeded"))],
                "1: execution.finished does not follow",
            ),
            (vec![(RequestReceived, permit), (RequestExpired, None)], "1: request.expired does not follow"),
            (
                vec![(RequestReceived, ask), (RequestCancelled, None), (VoteCast, approve)],
                "2: vote.cast does not follow",
            ),
            (vec![(RequestReceived, ask), (RequestReceived, ask)], "1: request.received does not follow"),
            (
                vec![
                    (RequestReceived, permit),
                    (ExecutionStarted, permit),
                    (ExecutionFinished, Some("failed")),
                    (RequestResolved, None),
                ],
                "3: request.resolved does not follow",
            ),
        ] {
            let said = trail(&life).unwrap_err();
            assert!(said.starts_with(says), "{life:?}: {said}");
        }
    }

    #[test]
    fn an_entry_out_of_its_place_is_noticed() {
        let place = |millis, previous| Place { log: LOG, time: Timestamp::from_millis(millis), previous };
        let first = entry(Kind::RequestReceived, Some("ask"), place(5, None));
        let text = String::from_utf8(first.clone()).unwrap();
        let read = |entries: &[(u64, &[u8])]| {
            let mut rules = Rules::of(LOG);
            entries
                .iter()
                .try_for_each(|(index, bytes)| rules.take(*index, bytes).map(drop))
                .unwrap_err()
                .to_string()
        };
        let back = entry(Kind::RequestAttached, None, place(4, Some(0)));
        assert!(read(&[(0, &first), (1, &back)]).contains("time goes back"));
        let skipped = entry(Kind::RequestAttached, None, place(6, Some(3)));
        assert!(read(&[(0, &first), (5, &skipped)]).contains("previous entry is 0"));
        let unlinked = entry(Kind::RequestAttached, None, place(6, None));
        assert!(read(&[(0, &first), (1, &unlinked)]).contains("previous entry is 0"));
        assert!(
            read(&[(4, &entry(Kind::RequestReceived, Some("ask"), place(5, Some(2))))])
                .contains("there is none")
        );
        for (from, to, says) in [
            ("\"v\":1", "\"v\":2", "version"),
            ("placet.example/ledger", "placet.example/other", "another log"),
            ("request.received", "request.imagined", "kind is unknown"),
            ("\"v\":1", "\"v\": 1", "canonical form"),
            ("\"ask\"}", "\"ask\",\"zz\":1}", "unknown member"),
            ("sha-256", "md5", "not SHA-256"),
            ("\"ask\"", "7", "verdict is not a text"),
            ("1970-01-01T", "1970-13-01T", "time"),
        ] {
            let altered = text.replacen(from, to, 1);
            assert_ne!(altered, text);
            let said = read(&[(0, altered.as_bytes())]);
            assert!(said.contains(says), "{from} → {to}: {said}");
        }
    }
}
