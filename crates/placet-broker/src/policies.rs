//! The bundle in force: loaded once, swapped whole, staged and activated by operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use placet_core::directory::Operator;
use placet_core::entry::Kind;
use placet_policy::{Bundle, BundleFiles, Finding};
use placet_store::{Requires, Transition, Write};

use crate::error::CallError;
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
}

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
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let files =
            active.bundle.files().iter().map(|(path, bytes)| (path.to_owned(), text(bytes))).collect();
        Ok(PolicyView { digest: active.bundle.digest(), epoch: active.epoch, files })
    }

    /// Checks a bundle, runs its tests and stores it. It decides nothing before it is activated.
    pub async fn stage(
        &self,
        operator: &Operator,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Staged, StageError> {
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
        let digest = loaded.bundle.digest();
        let before = self.0.views.active_bundle().await.map_err(CallError::from)?;
        let active = before.as_ref().is_some_and(|active| active.digest == digest);
        let changes = changes(&before.map(|active| active.files).unwrap_or_default(), &files);
        if self.0.views.bundle(digest).await.map_err(CallError::from)?.is_none() {
            let draft = drafts::operated(Kind::BundleStaged, operator, ("bundle", digest.to_string()));
            let transition = Transition {
                requires: Vec::new(),
                writes: vec![Write::Bundle(digest, files)],
                entries: vec![self.seal(draft.under(digest))],
            };
            self.commit_once(transition).await?;
        }
        Ok(Staged { digest, active, warnings: loaded.warnings, changes })
    }

    /// Lets a staged bundle decide from now on. What is pending or granted is decided anew when it moves next.
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
        let draft = drafts::operated(Kind::BundleActivated, operator, ("bundle", digest.to_string()))
            .commit("epoch", Value::integer(i64::try_from(epoch.saturating_add(1)).unwrap_or(i64::MAX)));
        let transition = Transition {
            requires: vec![Requires::BundleEpoch(epoch)],
            writes: vec![Write::ActivateBundle(digest)],
            entries: vec![self.seal(draft.under(digest))],
        };
        self.commit_once(transition).await?;
        self.policy().await
    }
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
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
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
