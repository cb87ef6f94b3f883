//! `placet audit`: the ledger and audit bundles, verified offline; bundles fetched over the admin socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use placet_api::admin::FilesDocument;
use placet_ledger::{SignedCheckpoint, Verification, VerifierKey};
use serde::Serialize;

use super::search::Asked;
use super::trail::Rules;
use super::{block_on, bundle, follow, on_socket, recordings, search};
use crate::admin::{Admin, Body};
use crate::cli::checking::{Audit, KeyArgs, VerifyArgs};
use crate::config::{self, Config, ConfigArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Paint, paint_data};
use crate::reindex;

/// The ledger's directory in the data directory.
pub(crate) const LOG_DIR: &str = "log";
/// Where `placet up` writes the ledger's public key.
const VKEY: &str = "log.vkey";
/// A checkpoint with all the cosignatures that there may be.
const NOTE_BYTES_MAX: u64 = 1024 * 1024;

/// Does it.
pub(crate) fn run(command: Audit, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    match command {
        Audit::Verify(args) => {
            let key = key(&args.key)?;
            match &args.bundle {
                Some(directory) => {
                    let report = bundle::verify(directory, &key)?;
                    output.result(&report, || report.text())?;
                }
                None => {
                    let report = verify_log(&args, config, &key)?;
                    output.result(&report, || report.text())?;
                    if args.checkpoints.is_empty() && !output.is_json() {
                        output.say("A checkpoint kept from earlier (--checkpoint) would also show that nothing was rewritten since.");
                    }
                }
            }
            Ok(Exit::Done)
        }
        Audit::Search(args) => {
            let asked = Asked::of(&args.door, config)?;
            block_on(search::search(&asked, *args, output))
        }
        Audit::Show { id, door, vkey_file } => {
            let asked = Asked::of(&door, config)?;
            let key = match (&vkey_file, door.reviewers) {
                (Some(path), _) => Some(parsed(&String::from_utf8_lossy(&read(path)?))?),
                (None, true) => None,
                (None, false) => Some(parsed(&own_key(&config::load(config)?)?)?),
            };
            block_on(search::show(&asked, &id, key, output))
        }
        Audit::Watch { from, door } => {
            let asked = Asked::of(&door, config)?;
            block_on(follow::watch(&asked, from, output))
        }
        Audit::Reindex => block_on(reindex::run(config::load(config)?, output)),
        Audit::Key => {
            let vkey = own_key(&config::load(config)?)?;
            output.result(&serde_json::json!({ "vkey": vkey }), || vkey.clone())?;
            Ok(Exit::Done)
        }
        Audit::Checkpoint => on_socket(config, async |admin| {
            let note = admin.post_for_text(&["audit", "checkpoint"]).await?;
            output.result(&serde_json::json!({ "checkpoint": note }), || note.clone())?;
            Ok(Exit::Done)
        }),
        Audit::Recording { id, output: file } => on_socket(config, async |admin| {
            let bytes = admin.post_for_bytes(&["audit", "recordings", &id]).await?;
            recordings::write(&bytes, file.as_deref(), output)?;
            Ok(Exit::Done)
        }),
        Audit::Bundle { id, output: directory } => {
            let directory = directory.unwrap_or_else(|| PathBuf::from(&id));
            on_socket(config, async |admin| fetch(&admin, &id, &directory, output).await)
        }
    }
}

/// What was checked of a whole ledger.
#[derive(Serialize)]
struct Report {
    origin: String,
    size: u64,
    root: String,
    entries: u64,
    entry_bytes: u64,
    tiles: u64,
    older_checkpoints: u64,
    requests: usize,
    first: Option<String>,
    last: Option<String>,
    kinds: std::collections::BTreeMap<&'static str, u64>,
}

fn verify_log(args: &VerifyArgs, config: &ConfigArgs, key: &VerifierKey) -> Result<Report, Failure> {
    let log = match &args.log {
        Some(log) => log.clone(),
        None => config::load(config)?.dir.join(LOG_DIR),
    };
    let broken = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Found, error);
    let mut verification = Verification::open(&log, key).map_err(|error| {
        broken(&error).hint(format!("Is {} the ledger's directory, and the key its own?", log.display()))
    })?;
    for path in &args.checkpoints {
        let kept = SignedCheckpoint::open(&read(path)?, key).map_err(|error| {
            let mut failure = broken(&error);
            failure.message = format!("{}: {}", path.display(), failure.message);
            failure
        })?;
        verification = verification.continuing(&kept).map_err(|error| broken(&error))?;
    }
    let mut rules = Rules::of(key.name().as_str());
    let (mut first, mut last) = (None, None);
    let report = verification.run(|index, bytes| {
        let entry = rules.take(index, bytes)?;
        first.get_or_insert(entry.time);
        last = Some(entry.time);
        Ok(())
    });
    let report = report.map_err(|error| broken(&error))?;
    let head = report.checkpoint.head();
    Ok(Report {
        origin: report.checkpoint.checkpoint().origin.to_string(),
        size: head.size,
        root: head.root.to_string(),
        entries: report.entries,
        entry_bytes: report.entry_bytes,
        tiles: report.tiles,
        older_checkpoints: report.older_checkpoints,
        requests: rules.requests(),
        first: first.map(|time| time.to_string()),
        last: last.map(|time| time.to_string()),
        kinds: rules.kinds().collect(),
    })
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("ledger {} with {} entries, root {}\n", self.origin, self.size, self.root);
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            text.push_str(&format!("from {first} to {last}, {} requests\n", self.requests));
        }
        for (kind, count) in &self.kinds {
            text.push_str(&format!("{count:>8}  {kind}\n"));
        }
        text.push_str(&format!(
            "{}: signature, {} entries, {} tiles, every request's trail, {} kept checkpoints\n",
            paint_data(Paint::Good, "verified"),
            self.entries,
            self.tiles,
            self.older_checkpoints
        ));
        text
    }
}

/// The public key that `placet up` wrote down for this data directory.
fn own_key(config: &Config) -> Result<String, Failure> {
    let path = config.dir.join(VKEY);
    let text = read(&path).map_err(|failure| {
        failure.hint("`placet up` writes it at its first start. Is this the data directory?")
    })?;
    let key = VerifierKey::parse(String::from_utf8_lossy(&text).trim());
    key.map(|key| key.to_string()).map_err(|error| Failure::of(Exit::Found, &error))
}

fn key(args: &KeyArgs) -> Result<VerifierKey, Failure> {
    let text = match (&args.vkey, &args.vkey_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => String::from_utf8_lossy(&read(path)?).into_owned(),
        (None, None) => {
            return Err(Failure::new(Exit::Usage, "name the ledger's public key with --vkey or --vkey-file"));
        }
    };
    parsed(&text)
}

fn parsed(text: &str) -> Result<VerifierKey, Failure> {
    VerifierKey::parse(text.trim()).map_err(|error| Failure::of(Exit::Usage, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::Usage, format!("read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(unreadable)?
        .take(NOTE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// Fetches everything about a request, and writes it where only we can read it: it is personal data.
async fn fetch(admin: &Admin, id: &str, directory: &Path, output: Output) -> Result<Exit, Failure> {
    if directory.symlink_metadata().is_ok() {
        return Err(Failure::new(Exit::Usage, format!("write {}: it is there already", directory.display()))
            .hint("Name another directory with -o."));
    }
    let bundle: FilesDocument = admin.post(&["audit", "bundles", id], Body::Empty).await?;
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(Exit::Usage, format!("write {}: {error}", path.display()))
    };
    let mut private = fs::DirBuilder::new();
    private.mode(0o700);
    private.create(directory).map_err(|error| failed(directory, error))?;
    private.recursive(true);
    let mut written = Vec::with_capacity(bundle.files.len());
    for (name, content) in &bundle.files {
        let relative = Path::new(name);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        let bytes = base64::engine::general_purpose::STANDARD.decode(content);
        let (true, Ok(bytes)) = (plain && !name.is_empty(), bytes) else {
            return Err(Failure::new(Exit::Bug, "read the bundle: it holds a file that it may not hold"));
        };
        let path = directory.join(relative);
        if let Some(parent) = path.parent() {
            private.create(parent).map_err(|error| failed(parent, error))?;
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(&bytes)).map_err(|error| failed(&path, error))?;
        written.push(path);
    }
    output.result(&written, || directory.display().to_string())?;
    if !output.is_json() {
        output.say(&format!("Check it with `placet audit verify {} --vkey-file KEY`.", directory.display()));
    }
    Ok(Exit::Done)
}
