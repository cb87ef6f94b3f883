//! The bundle in force: loaded once, swapped whole, staged and activated by operators.
//!
//! ```text
//! files ─► check, tests ─► diff of text, diff of outcomes ─► stored by digest, entry bundle.staged ─► activate(digest)
//!                                                                        │                               │
//!                                                stale as soon as another bundle was activated ──► refused
//! ```
//!
//! The ledger is the record of who staged and activated what: a bundle may be activated if its newest `bundle.staged`
//! came after the last `bundle.activated`, so that somebody was shown what would change. There is no second table that
//! could say otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_core::action::Principal;
use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use placet_core::directory::{Directory, Operator};
use placet_core::entry::Kind;
use placet_core::id::PersonId;
use placet_core::time::Timestamp;
use placet_policy::{Bundle, BundleFiles, Finding};
use placet_store::{EntryFilter, PAGE_MAX, Requires, StoredEntry, Transition, Write};

use crate::error::{Attempt, CallError};
use crate::explain::{bundle_of, disclosed};
use crate::replay::{ReplaySpan, Replayed, lines};
use crate::show::name_of;
use crate::{Broker, drafts};

/// The bundle in force, as this process knows it.
pub(crate) struct Active {
    pub(crate) epoch: u64,
    pub(crate) bundle: Arc<Bundle>,
}

/// A bundle that was checked and stored, and decides nothing yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Staged {
    /// What to activate it by.
    pub digest: BundleDigest,
    /// Whether it decides already.
    pub active: bool,
    /// What is doubtful in it.
    pub warnings: Vec<Finding>,
    /// Files that differ from the bundle in force: added, changed, removed.
    pub changes: Vec<FileChange>,
    /// Recorded requests that would come out differently; none before the first activation, and where nobody asked.
    pub replayed: Option<Replayed>,
}

/// Something that happened to a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyEvent {
    /// The entry that says so.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub step: PolicyStep,
    /// Which bundle.
    pub digest: BundleDigest,
    /// Who, by name; their user id where nobody is known by it.
    pub operator: String,
}

/// What happened to a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyStep {
    /// It was checked, shown and stored.
    Staged {
        /// Whether it may be activated: nothing else was activated since.
        fresh: bool,
    },
    /// It decides from then on.
    Activated {
        /// Counts up with each activation.
        epoch: u64,
    },
}

/// A staged bundle that may be activated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// When, and by whom.
    pub event: PolicyEvent,
    /// What would change.
    pub changes: Vec<FileChange>,
    /// How recorded requests came out when it was staged, a line each; empty if none were replayed.
    pub outcomes: Vec<String>,
}

/// How a file differs from the bundle in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileChange {
    /// The file's relative path.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: &'static str,
    /// A unified diff of the file's lines.
    pub lines: Vec<String>,
}

/// Why a bundle was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It is not a bundle that could decide.
    #[error("stage the bundle: it has {} error(s); nothing has changed", .0.iter().filter(|f| f.severity == placet_policy::Severity::Error).count())]
    Invalid(Vec<Finding>),
    /// Its own tests fail.
    #[error("stage the bundle: its tests fail; nothing has changed")]
    TestsFail(Vec<String>),
    /// It could not be stored.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The bundle in force, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyView {
    /// Which.
    pub digest: BundleDigest,
    /// Counts up with each activation.
    pub epoch: u64,
    /// Its files; text where they are text.
    pub files: BTreeMap<String, String>,
    /// What is doubtful in it, with the people there are today.
    pub warnings: Vec<String>,
}

/// How many events of the policy's history are told at once.
pub const HISTORY_MAX: usize = PAGE_MAX;

impl Broker {
    /// Loads the active bundle at start. Without one that loads, nothing is decided.
    pub async fn load_policy(&self) -> Result<(), CallError> {
        self.active_policy().await.map(drop)
    }

    /// The bundle in force. Another process may have activated another one: the epoch tells.
    pub(crate) async fn active_policy(&self) -> Result<Arc<Active>, CallError> {
        let epoch = self.0.views.bundle_epoch().await?;
        if let Some(active) = self.0.active.load_full().filter(|active| active.epoch == epoch) {
            return Ok(active);
        }
        // One loads, and whoever came meanwhile takes what was loaded.
        let _turn = self.0.loading.lock().await;
        if let Some(active) = self.0.active.load_full().filter(|active| active.epoch == epoch) {
            return Ok(active);
        }
        let stored = self.0.views.active_bundle().await?;
        let stored = stored.ok_or_else(|| CallError::Unavailable("no policy bundle is active".to_owned()))?;
        let files = stored.files;
        let bundle = aside(move || load(files)).await?.map_err(|findings| {
            CallError::Internal(format!("the active bundle does not load: {}", all(&findings)))
        })?;
        if bundle.digest() != stored.digest {
            return Err(CallError::Internal("the active bundle's files do not have its digest".to_owned()));
        }
        let active = Arc::new(Active { epoch: stored.epoch, bundle: Arc::new(bundle) });
        self.0.active.store(Some(active.clone()));
        Ok(active)
    }

    /// The bundle in force.
    pub async fn bundle(&self) -> Result<Arc<Bundle>, CallError> {
        Ok(self.active_policy().await?.bundle.clone())
    }

    /// The bundle in force, for people.
    pub async fn policy(&self) -> Result<PolicyView, CallError> {
        let active = self.active_policy().await?;
        let directory = self.0.views.directory().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let files =
            active.bundle.files().iter().map(|(path, bytes)| (path.to_owned(), text(bytes))).collect();
        let warnings =
            active.bundle.quorums_out_of_reach(&directory).iter().map(Finding::to_string).collect();
        Ok(PolicyView { digest: active.bundle.digest(), epoch: active.epoch, files, warnings })
    }

    /// Checks a bundle, runs its tests and stores it. It decides nothing before it is activated.
    pub async fn stage(
        &self,
        operator: &Operator,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Staged, StageError> {
        self.stage_and_replay(operator, files, ReplaySpan { last: 0, since: None }).await
    }

    /// A bundle that is stored already, shown anew: against the bundle that is in force by now.
    pub async fn stage_again(
        &self,
        operator: &Operator,
        digest: BundleDigest,
        span: ReplaySpan,
    ) -> Result<Staged, StageError> {
        let files = self.0.views.bundle(digest).await.map_err(CallError::from)?.ok_or(CallError::NotFound)?;
        self.stage_and_replay(operator, files, span).await
    }

    /// Checks a bundle, runs its tests, replays recorded requests, and stores it.
    pub async fn stage_and_replay(
        &self,
        operator: &Operator,
        files: BTreeMap<String, Vec<u8>>,
        span: ReplaySpan,
    ) -> Result<Staged, StageError> {
        let epoch = self.0.views.bundle_epoch().await.map_err(CallError::from)?;
        let bundle = BundleFiles::new(files.clone());
        let (loaded, tests) = aside(move || {
            let loaded = Bundle::load(&bundle)?;
            let tests = loaded.bundle.run_tests();
            Ok((loaded, tests))
        })
        .await?
        .map_err(StageError::Invalid)?;
        let failed: Vec<String> =
            tests.into_iter().filter(|case| !case.passed()).map(|case| case.to_string()).collect();
        if !failed.is_empty() {
            return Err(StageError::TestsFail(failed));
        }
        let directory = self.0.views.directory().await.map_err(CallError::from)?;
        let mut warnings = loaded.warnings;
        if epoch > 0 {
            // Before the first activation nobody is there yet.
            warnings.extend(loaded.bundle.quorums_out_of_reach(&directory));
        }
        let digest = loaded.bundle.digest();
        let before = self.0.views.active_bundle().await.map_err(CallError::from)?;
        let active = before.as_ref().is_some_and(|active| active.digest == digest);
        let base = before.as_ref().map_or(Value::Null, |active| Value::string(active.digest.to_string()));
        let changes = changes(&before.map(|active| active.files).unwrap_or_default(), &files);
        let replayed = if active || epoch == 0 || span.last == 0 {
            None
        } else {
            let in_force = self.active_policy().await?;
            Some(self.replay(in_force.bundle.clone(), Arc::new(loaded.bundle), span).await?)
        };
        if !active {
            let draft = drafts::operated(Kind::BundleStaged, operator, ("bundle", digest.to_string()))
                .commit("base", base)
                .commit("replayed", replayed.as_ref().map_or(Value::Null, Replayed::to_value));
            let transition = Transition {
                // What was shown is a difference to this bundle and no other.
                requires: vec![Requires::BundleEpoch(epoch)],
                writes: vec![Write::Bundle(digest, files)],
                entries: vec![self.seal(draft.under(digest))],
            };
            self.commit_once(transition).await?;
        }
        Ok(Staged { digest, active, warnings, changes, replayed })
    }

    /// Lets a staged bundle decide from now on. What is pending or granted is decided anew when it moves next.
    ///
    /// Only a bundle that was staged since the last activation: what was shown of an older stage was a difference to
    /// another bundle.
    pub async fn activate(&self, operator: &Operator, digest: BundleDigest) -> Result<PolicyView, CallError> {
        let epoch = self.0.views.bundle_epoch().await?;
        let files = self.0.views.bundle(digest).await?.ok_or(CallError::NotFound)?;
        aside(move || load(files)).await?.map_err(|findings| CallError::Invalid {
            code: "bundle_invalid",
            message: format!("The staged bundle does not load in this version: {}", all(&findings)),
            pointer: None,
        })?;
        if self.0.views.active_bundle().await?.is_some_and(|active| active.digest == digest) {
            return self.policy().await;
        }
        if !self.fresh_stages().await?.iter().any(|stage| bundle_of(stage) == Some(digest)) {
            return Err(stale_stage(digest));
        }
        let draft = drafts::operated(Kind::BundleActivated, operator, ("bundle", digest.to_string()))
            .commit("epoch", Value::integer(i64::try_from(epoch.saturating_add(1)).unwrap_or(i64::MAX)));
        let transition = Transition {
            requires: vec![Requires::BundleEpoch(epoch)],
            writes: vec![Write::ActivateBundle(digest)],
            entries: vec![self.seal(draft.under(digest))],
        };
        match self.commit(transition).await {
            Ok(_) => self.policy().await,
            // Somebody else activated one in the meantime.
            Err(Attempt::Stale(_)) => Err(stale_stage(digest)),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }

    /// The entries of every stage since the last activation, newest first.
    async fn fresh_stages(&self) -> Result<Vec<StoredEntry>, CallError> {
        let mut fresh = Vec::new();
        let mut before = None;
        loop {
            let page = self.policy_entries(before, PAGE_MAX).await?;
            let whole = page.len() == PAGE_MAX;
            before = page.last().map(|entry| entry.index);
            for entry in page {
                if entry.kind == Kind::BundleActivated {
                    return Ok(fresh);
                }
                fresh.push(entry);
            }
            if !whole {
                return Ok(fresh);
            }
        }
    }

    async fn policy_entries(&self, before: Option<u64>, limit: usize) -> Result<Vec<StoredEntry>, CallError> {
        let kinds = vec![Kind::BundleStaged, Kind::BundleActivated];
        let filter = EntryFilter { kinds, before, limit, ..EntryFilter::default() };
        Ok(self.0.views.entries(filter).await?)
    }

    /// Who staged and activated what, newest first.
    pub async fn policy_history(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<PolicyEvent>, CallError> {
        let fresh: BTreeSet<u64> = self.fresh_stages().await?.iter().map(|entry| entry.index).collect();
        let directory = self.0.views.directory().await?;
        let page = self.policy_entries(before, limit.clamp(1, HISTORY_MAX)).await?;
        Ok(page.iter().filter_map(|entry| event(entry, &fresh, &directory)).collect())
    }

    /// The staged bundles that may be activated now, newest first, each with what it would change.
    pub async fn policy_waiting(&self) -> Result<Vec<Waiting>, CallError> {
        let stages = self.fresh_stages().await?;
        let fresh: BTreeSet<u64> = stages.iter().map(|entry| entry.index).collect();
        let directory = self.0.views.directory().await?;
        let active = self.0.views.active_bundle().await?;
        let in_force = active.map(|active| active.files).unwrap_or_default();
        let mut waiting: Vec<Waiting> = Vec::new();
        for stage in &stages {
            let Some(event) = event(stage, &fresh, &directory) else { continue };
            let known = waiting.iter().any(|staged| staged.event.digest == event.digest);
            if known || waiting.len() == WAITING_MAX {
                continue;
            }
            let files = self.0.views.bundle(event.digest).await?.unwrap_or_default();
            let outcomes = disclosed(stage, "replayed").as_ref().map(lines).unwrap_or_default();
            waiting.push(Waiting { changes: changes(&in_force, &files), event, outcomes });
        }
        Ok(waiting)
    }
}

/// Staged bundles that are shown with their differences.
const WAITING_MAX: usize = 10;

fn stale_stage(digest: BundleDigest) -> CallError {
    CallError::Conflict {
        code: "stage_stale",
        message: format!(
            "Another bundle was activated since {digest} was staged, so nobody has seen what it would change now. Stage it again: placet policy stage {digest}"
        ),
        request: None,
    }
}

fn event(entry: &StoredEntry, fresh: &BTreeSet<u64>, directory: &Directory) -> Option<PolicyEvent> {
    let step = match entry.kind {
        Kind::BundleStaged => PolicyStep::Staged { fresh: fresh.contains(&entry.index) },
        _ => {
            let epoch = match disclosed(entry, "epoch") {
                Some(Value::Number(number)) => {
                    number.as_integer().and_then(|epoch| u64::try_from(epoch).ok())
                }
                _ => None,
            };
            PolicyStep::Activated { epoch: epoch.unwrap_or_default() }
        }
    };
    let person = disclosed(entry, "operator");
    let person = person.as_ref().and_then(Value::as_str).and_then(|id| PersonId::parse(id).ok());
    let operator = match (person, disclosed(entry, "operator_uid")) {
        (Some(person), _) => name_of(Principal::Person(person), directory),
        (None, Some(uid)) => format!("user {}", uid.canonical()),
        (None, None) => "somebody (erased)".to_owned(),
    };
    Some(PolicyEvent { index: entry.index, at: entry.time, step, digest: bundle_of(entry)?, operator })
}

/// Compiling a bundle takes many milliseconds, in which others shall go on.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CallError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CallError::Internal(error.to_string()))
}

fn load(files: BTreeMap<String, Vec<u8>>) -> Result<Bundle, Vec<Finding>> {
    Bundle::load(&BundleFiles::new(files)).map(|loaded| loaded.bundle)
}

fn all(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

fn changes(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<FileChange> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for path in paths {
        let change = match (before.get(path), after.get(path)) {
            (None, Some(_)) => "added",
            (Some(_), None) => "removed",
            (Some(old), Some(new)) if old != new => "changed",
            _ => continue,
        };
        let lines = changed_lines(before.get(path), after.get(path));
        changes.push(FileChange { path: path.clone(), change, lines });
    }
    changes
}

/// The lines that differ, as in a unified diff, each with a line of what stands around it.
fn changed_lines(before: Option<&Vec<u8>>, after: Option<&Vec<u8>>) -> Vec<String> {
    let text =
        |bytes: Option<&Vec<u8>>| String::from_utf8_lossy(bytes.map_or(&[], Vec::as_slice)).into_owned();
    let (before, after) = (text(before), text(after));
    let diff = similar::TextDiff::from_lines(&before, &after);
    diff.unified_diff().context_radius(1).to_string().lines().map(str::to_owned).collect()
}
