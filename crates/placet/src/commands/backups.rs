//! `placet backup` and `placet restore`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use placet_api::backup::{BackupDocument, BackupRequest, BackupState};
use placet_core::entropy::Entropy;
use placet_core::time::Clock;
use placet_store::keys::RootKeySource;
use placet_store::{OpenError, Options, SqliteStore, Views as _};
use serde::Serialize;

use super::block_on;
use crate::admin::{Admin, Body};
use crate::backup::{self, BackupError, Progress, Source, Target};
use crate::cli::operating::{BackupArgs, RestoreArgs};
use crate::config::{self, Config, ConfigArgs};
use crate::exit::{Exit, Failure};
use crate::log_key;
use crate::machine::{OsEntropy, SystemClock};
use crate::output::{Output, Paint, paint, paint_data, plain};

/// How often a backup is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Takes or checks a backup.
pub(crate) fn backup(args: BackupArgs, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let directory = absolute(&args.directory)?;
    if args.verify {
        let progress = Progress::default();
        let checked = watched(&progress, output, || backup::check(&directory, &progress))?;
        output.result(&checked, || {
            format!(
                "{}: {} files, {} bytes, taken at {}\nledger {} with {} entries, root {}; published up to {}\n",
                paint_data(Paint::Good, "whole"),
                checked.files,
                checked.bytes,
                plain(&checked.taken_at),
                plain(&checked.origin),
                checked.entries,
                checked.root,
                checked.published.unwrap_or(0),
            )
        })?;
        return Ok(Exit::Done);
    }
    let config = config::load(config)?;
    let keys = args.keys.as_deref().map(absolute).transpose()?;
    if keys.is_some() {
        output.say(&format!(
            "{} whoever finds the data and its keys together can read everything. Keep them apart.",
            paint(Paint::Doubtful, "warning:")
        ));
    }
    let target = Target { directory, keys };
    let taken = block_on_value(async {
        match online(&Admin::of(&config.dir), &target, output).await {
            Err(failure) if failure.exit == Exit::NoBroker => offline(&config, &target, output).await,
            done => done,
        }
    })?;
    output.result(&taken, || {
        let keys = match &taken.keys {
            Some(keys) => format!("its keys, which belong elsewhere: {}", keys.display()),
            None => "without its keys: it restores only with those of this data directory".to_owned(),
        };
        format!(
            "{} {}\n{} entries, {} files, {} bytes; {keys}\n",
            paint_data(Paint::Good, "backed up to"),
            taken.directory.display(),
            taken.entries,
            taken.files,
            taken.bytes
        )
    })?;
    if !output.is_json() {
        output.say(&format!("Check it at any time: placet backup --verify {}", taken.directory.display()));
    }
    Ok(Exit::Done)
}

/// What was taken, for whoever asked.
#[derive(Serialize)]
struct TakenDocument {
    directory: PathBuf,
    keys: Option<PathBuf>,
    taken_at: String,
    entries: u64,
    files: u64,
    bytes: u64,
    /// Whether placet was serving meanwhile.
    online: bool,
}

async fn online(admin: &Admin, target: &Target, output: Output) -> Result<TakenDocument, Failure> {
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::new(Exit::Usage, "name a directory whose path is UTF-8"))
    };
    let keys = target.keys.as_deref().map(text).transpose()?;
    let request = BackupRequest { directory: text(&target.directory)?, keys };
    let mut state: BackupDocument = admin.post(&["backup"], Body::Json(request.to_json())).await?;
    let bar = Bar::begin(output);
    while state.state == BackupState::Running {
        bar.show(&state.step, state.done, state.all);
        tokio::time::sleep(ASK_EVERY).await;
        state = admin.get(&["backup"]).await?;
    }
    if let Some(error) = state.error {
        return Err(Failure::new(Exit::Found, error)
            .hint(format!("Nothing in {} is a backup; remove it.", target.directory.display())));
    }
    Ok(TakenDocument {
        directory: target.directory.clone(),
        keys: target.keys.clone(),
        taken_at: state.taken_at.unwrap_or_default(),
        entries: state.entries,
        files: state.files,
        bytes: state.bytes,
        online: true,
    })
}

/// placet does not serve: its lock is ours for as long as this takes.
async fn offline(config: &Config, target: &Target, output: Output) -> Result<TakenDocument, Failure> {
    let dir = absolute(&config.dir)?;
    if !dir.join("placet.db").exists() {
        return Err(Failure::new(
            Exit::Usage,
            format!("back up {}: there is no database in it", dir.display()),
        )
        .hint("Name the data directory with --dir or PLACET_DIR."));
    }
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let origin = config.log.origin.as_str().to_owned();
    let root_key = config.root_key_file.clone().map_or(RootKeySource::Own, RootKeySource::File);
    let options = Options { clock: clock.clone(), entropy, origin, root_key };
    let store = SqliteStore::open(&dir, options).map_err(|error| failure(&BackupError::Store(error)))?;
    backup::prepare(&dir, target).map_err(|error| failure(&error))?;
    let name = store.log().await.map_err(|error| Failure::of(Exit::Found, &error))?.name;
    let key = log_key::existing(&log_key::path(&dir.join("keys"), name.epoch));
    let key = key.map_err(|error| Failure::of(Exit::Configuration, &error))?;
    let origin = placet_ledger::KeyName::parse(&name.origin)
        .map_err(|error| Failure::of(Exit::Configuration, &error))?;
    let source = Source {
        data: &dir,
        store: &store,
        vkey: placet_ledger::Signer::from_seed(origin, &key).verifier_key(),
        log_origin: config.log.origin.as_str(),
        now: clock.now(),
    };
    let (bar, progress) = (Bar::begin(output), Progress::default());
    let taking = backup::take(source, target, &progress);
    tokio::pin!(taking);
    let taken = loop {
        tokio::select! {
            taken = &mut taking => break taken.map_err(|error| failure(&error))?,
            () = tokio::time::sleep(ASK_EVERY) => {
                let step = progress.now();
                bar.show(step.what, step.done, step.all);
            }
        }
    };
    Ok(TakenDocument {
        directory: taken.directory,
        keys: taken.keys,
        taken_at: taken.taken_at,
        entries: taken.entries,
        files: taken.files,
        bytes: taken.bytes,
        online: false,
    })
}

/// Restores a backup, or goes on from one that is behind the published log.
pub(crate) fn restore(args: RestoreArgs, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let config = config::load(config)?;
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let Some(from) = &args.backup else { return accept(&args, &config, &clock, &entropy, output) };
    let progress = Progress::default();
    let restored = watched(&progress, output, || {
        backup::restore(from, args.keys.as_deref(), &config, &clock, &entropy, &progress)
    })?;
    let dir = restored.directory.display().to_string();
    output.result(&restored, || {
        format!(
            "{} {dir}\n{} entries, taken at {}; published up to {}\n",
            paint_data(Paint::Good, "restored to"),
            restored.checked.entries,
            plain(&restored.checked.taken_at),
            restored.checked.published.unwrap_or(0)
        )
    })?;
    if !output.is_json() {
        output.say(&format!(
            "Start it: placet up --dir {dir}\nIf anything was published after this backup was taken, put that log's files in place of \
             {dir}/log first, and run `placet restore --accept-rollback --dir {dir}`: going on without that signs a second history."
        ));
    }
    Ok(Exit::Done)
}

fn accept(
    args: &RestoreArgs,
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    output: Output,
) -> Result<Exit, Failure> {
    if !args.yes {
        return Err(Failure::new(
            Exit::Usage,
            "accept a rollback: what was recorded after the backup stays in the old ledger alone; every open request, session, link \
             and token ends, and the ledger goes on under a new name and a new key",
        )
        .hint("Look for a newer backup first. If there is none, say it with --yes."));
    }
    let accepted = block_on_value(async {
        backup::accept_rollback(config, clock, entropy).await.map_err(|error| failure(&error))
    })?;
    output.result(&accepted, || {
        format!(
            "{} the ledger goes on as {}, from entry {}\n\
             its key      {}\n\
             old ledger   {} ({} entries were published)\n\
             ended        {} open requests, what let {} people in, the tokens of {} agents\n",
            paint_data(Paint::Doubtful, "rollback accepted:"),
            plain(&accepted.origin),
            accepted.entries,
            plain(&accepted.vkey),
            accepted.evidence.display(),
            accepted.published,
            accepted.requests,
            accepted.people,
            accepted.agents
        )
    })?;
    if !output.is_json() {
        output.say(
            "Next: give auditors the new key and keep the old ledger; `placet up`; `placet login`; look at people, groups, secrets and \
             the policy in force, which are those of the backup; `placet agent rotate NAME` for each agent; \
             those that called with tokens of their platform, revoke and add anew.",
        );
    }
    Ok(Exit::Done)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::of(Exit::Usage, &error))
}

fn failure(error: &BackupError) -> Failure {
    let exit = match error {
        BackupError::Torn(_) | BackupError::Altered(_) | BackupError::Copy(_) | BackupError::Verify(_) => {
            Exit::Found
        }
        BackupError::Store(OpenError::Locked(_)) => Exit::Refused,
        BackupError::Store(_) | BackupError::Keys(_) | BackupError::OtherKeys(_) => Exit::Configuration,
        _ => Exit::Usage,
    };
    Failure::of(exit, error)
}

/// Runs what takes its time on this thread, while another shows how far it is.
fn watched<T: Send>(
    progress: &Progress,
    output: Output,
    work: impl FnOnce() -> Result<T, BackupError> + Send,
) -> Result<T, Failure> {
    let done = std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let bar = Bar::begin(output);
        while !working.is_finished() {
            let step = progress.now();
            bar.show(step.what, step.done, step.all);
            std::thread::sleep(Duration::from_millis(20));
        }
        working.join()
    });
    let done = done.map_err(|_| Failure::new(Exit::Bug, "do it: a thread panicked"))?;
    done.map_err(|error| failure(&error))
}

/// A line that tells how far it is, on a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn begin(output: Output) -> Self {
        if output.is_json() || !io::stderr().is_terminal() {
            return Bar(None);
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}%") {
            bar.set_style(style);
        }
        Bar(Some(bar))
    }

    fn show(&self, what: &str, done: u64, all: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
            bar.set_length(all);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn block_on_value<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut value = None;
    block_on(async {
        value = Some(work.await?);
        Ok(Exit::Done)
    })?;
    value.ok_or_else(|| Failure::new(Exit::Bug, "do it: nothing came back"))
}
