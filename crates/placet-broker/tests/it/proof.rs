//! What an auditor can check, and what placet refuses when its own past does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_broker::audit::AuditFiles;
use placet_broker::{CallError, Config};
use placet_core::c14n::Value;
use placet_core::entry::Disclosure;
use placet_core::id::RequestId;
use placet_core::review::Verdict;
use placet_ledger::{SignedCheckpoint, Verification};

use crate::world::{World, ballot, open};

/// A request that went all the way, and its audit bundle.
async fn exported(world: &World) -> (RequestId, AuditFiles) {
    let rev = world.reviewer("rev").await;
    let request = world.deploy("production").await.unwrap().seen.stored.request;
    world.vote(&rev, request.id, Verdict::Approve).await.unwrap();
    world.claim(&request, "mine").await.unwrap();
    (request.id, world.broker.audit_bundle(&world.operator, request.id).await.unwrap())
}

fn write(files: &AuditFiles, to: &Path) {
    for (path, bytes) in files {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Go's checksum-database code, built from Debian's sources; see `tests/verifiers/README.md`.
fn go_verifier() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verify-log");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/verifiers/go");
    let built = Command::new("go")
        .args(["build", "-o", program.to_str().unwrap(), "main.go"])
        .current_dir(sources)
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", ""), ("GOPROXY", "off")])
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
        .output()
        .expect("apt-get install golang-go golang-golang-x-mod-dev");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn accepts(verifier: &Path, arguments: &[&str]) -> bool {
    Command::new(verifier).args(arguments).output().unwrap().status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn go_checks_the_audit_bundle_and_the_log() {
    let world = World::new("team").await;
    let kept = world.broker.publish().await.unwrap();
    let (_, files) = exported(&world).await;
    let (verifier, key) = (go_verifier(), world.broker.verifier_key().to_string());
    let bundle = tempfile::tempdir().unwrap();
    write(&files, bundle.path());
    let old = bundle.path().join("kept");
    fs::write(&old, kept).unwrap();
    let (dir, log) = (bundle.path().to_str().unwrap(), world.broker.log_dir().to_str().unwrap());
    assert!(accepts(&verifier, &["bundle", &key, dir]));
    assert!(accepts(&verifier, &[&key, log, old.to_str().unwrap()]));
    let entry = files.keys().find(|path| path.starts_with("entries/")).unwrap();
    fs::write(bundle.path().join(entry), b"{}").unwrap();
    assert!(!accepts(&verifier, &["bundle", &key, dir]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_disclosure_is_committed_to_and_every_commitment_is_disclosed() {
    let world = World::new("team").await;
    let (_, files) = exported(&world).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut disclosed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut told = BTreeMap::new();
    for line in text(&files["disclosures.jsonl"]).lines() {
        let line = Value::parse(line.as_bytes()).unwrap();
        let line = line.as_object().unwrap();
        let disclosure = Disclosure::from_stored(line["disclosure"].as_str().unwrap());
        let index = line["index"].canonical();
        disclosed.entry(index).or_default().insert(disclosure.commitment());
        let (name, value) = disclosure.open().unwrap();
        told.insert(name, value);
    }
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("entries/")) {
        let index = path.trim_start_matches("entries/").trim_end_matches(".json");
        let entry = Value::parse(bytes).unwrap();
        let committed = entry.as_object().unwrap()["_sd"].as_array().unwrap().iter();
        let committed: BTreeSet<String> = committed.map(|sd| sd.as_str().unwrap().to_owned()).collect();
        assert_eq!(disclosed[index], committed, "{path}");
    }
    // What is disclosed says what the other files are.
    let card = told["card"].as_str().unwrap();
    assert!(files.contains_key(&format!("cards/{card}.json")));
    let canonical = &files["request.json"];
    let digest = told["digest"].as_str().unwrap();
    let prefixed = [b"placet/action/v1\0".as_slice(), canonical].concat();
    assert_eq!(placet_core::digest::Sha256Digest::of(&prefixed).to_string(), digest);
    assert!(files.keys().any(|path| path.starts_with("policy/") && path.ends_with("/ask.cedar")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_verifies_and_continues_what_was_kept() {
    let world = World::new("team").await;
    let key = world.broker.verifier_key();
    let kept = world.broker.publish().await.unwrap();
    let kept = SignedCheckpoint::open(kept.as_bytes(), &key).unwrap();
    exported(&world).await;
    let verification = Verification::open(world.broker.log_dir(), &key).unwrap().continuing(&kept).unwrap();
    let report = verification.run(|_, _| Ok(())).unwrap();
    assert_eq!(report.older_checkpoints, 1);
    assert!(report.entries > kept.head().size);
}

/// Copies the database, as a backup would.
fn copy(from: &Path, to: &Path) {
    for name in ["placet.db", "placet.db-wal", "placet.db-shm"] {
        let (from, to) = (from.join(name), to.join(name));
        if from.exists() {
            fs::copy(from, to).unwrap();
        } else if to.exists() {
            fs::remove_file(to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_restored_from_a_copy_lets_nobody_in_and_signs_nothing() {
    let world = World::new("team").await;
    let rev = world.reviewer("rev").await;
    let agent_token = world.broker.rotate_agent(&world.operator, "bot").await.unwrap().1;
    let bot = world.broker.authenticate_agent(agent_token.expose()).await.unwrap();
    let world = World { bot, ..world };
    let granted = world.deploy("staging").await.unwrap().seen.stored.request;
    let pending = world.deploy("production").await.unwrap().seen.stored.request;
    let cast = ballot(&world.review(&rev, pending.id).await, Verdict::Approve);
    let link = world.broker.invite(&world.operator, "ann").await.unwrap().secret;
    let backup = tempfile::tempdir().unwrap();
    let world = world.restarted_after(|data| copy(data, backup.path())).await;

    // The grant and the link are used, and all that is published.
    world.claim(&granted, "mine").await.unwrap();
    world.broker.sign_in(link.expose(), "localhost").await.unwrap();
    let signed = world.broker.publish().await.unwrap();
    let world = world.restarted_after(|data| copy(backup.path(), data)).await;

    let answers = [
        world.claim(&granted, "again").await.map(drop),
        world.deploy("staging").await.map(drop),
        world.broker.vote(&rev, pending.id, cast, "inbox").await.map(drop),
        world.broker.cancel(&world.bot, pending.id).await.map(drop),
        world.broker.sign_in(link.expose(), "localhost").await.map(drop),
        world.broker.authenticate_agent(agent_token.expose()).await.map(drop),
        world.broker.invite(&world.operator, "rev").await.map(drop),
        world.broker.publish().await.map(drop),
        world.broker.ready().await,
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        assert!(matches!(answer, Err(CallError::Unavailable(_))), "{number}: {answer:?}");
    }
    let published = fs::read_to_string(world.broker.log_dir().join("checkpoint")).unwrap();
    assert_eq!(published, signed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_makes_placet_unready_and_heals() {
    let world = World::new("team").await;
    assert!(world.broker.ready().await.is_ok());
    world.broker.publish().await.unwrap();
    // Something stands where the next copy of the checkpoint goes.
    world.deploy("staging").await.unwrap();
    let copies = world.broker.log_dir().join("checkpoints");
    let aside = world.broker.log_dir().join("aside");
    fs::rename(&copies, &aside).unwrap();
    fs::write(&copies, b"in the way").unwrap();
    assert!(world.broker.publish().await.is_err());
    assert!(world.broker.ready().await.is_err());
    // What was recorded is recorded: the log is published later.
    world.deploy("staging").await.unwrap();
    fs::remove_file(&copies).unwrap();
    fs::rename(&aside, &copies).unwrap();
    world.broker.publish().await.unwrap();
    assert!(world.broker.ready().await.is_ok());
}

#[tokio::test(flavor = "current_thread")]
async fn publishing_needs_no_second_thread() {
    let data = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .unwrap();
    let (_, _, broker) = open(data.path(), &std::sync::Arc::default(), 1, Config::default());
    broker.publish().await.unwrap();
}
