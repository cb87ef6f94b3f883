//! Backups with the real binary: taken under load, checked, restored, refused; and the way on from one that is too old.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::harness::{Options, Placet, Stopped, eventually, walk};
use crate::people::deploy;

/// Texts that stand in the data and may stand in no backup.
const CANARIES: [&str; 3] = ["Canary Person", "canary-justification", "canary-secret-value"];

fn backup(placet: &Placet, name: &str) -> std::path::PathBuf {
    let target = placet.space().join(name);
    let keys = placet.space().join(format!("{name}-keys"));
    let taken = placet.cli(["backup"]).arg(&target).arg("--keys").arg(&keys).json();
    assert_eq!(taken["online"], true, "{taken}");
    target
}

/// Everything of a directory, so that it can be put back.
fn copy(from: &Path, to: &Path) {
    for path in walk(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, &target).unwrap();
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Puts a backup in place of the data directory.
fn put_back(stopped: &Stopped, backup: &Path) -> Value {
    let data = stopped.data();
    fs::rename(&data, data.with_extension("lost")).unwrap();
    let keys = format!("{}-keys", backup.display());
    stopped.cli(["restore"]).arg(backup).arg("--keys").arg(keys).json()
}

#[test]
fn a_backup_taken_under_load_restores_to_a_ledger_that_continues_its_checkpoint() {
    let placet = Placet::start();
    placet.cli(["person", "add", "Canary Person"]).succeeds();
    placet.cli(["secret", "set", "canary"]).stdin("canary-secret-value").succeeds();
    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    let (agents, token) = (placet.ready.agents.clone(), placet.ready.agent_token.clone().unwrap());
    let target = std::thread::scope(|scope| {
        for writer in 0..3 {
            let (stop, written, agents, token) = (&stop, &written, &agents, &token);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let client = reqwest::Client::new();
                for number in 0.. {
                    let mut body = deploy("staging", &format!("{writer}.{number}"));
                    body["justification"] = json!("canary-justification");
                    let call = client.post(format!("{agents}/v1/requests")).bearer_auth(token).json(&body);
                    // The cap of a minute may be reached; what counts is that something is written all the time.
                    runtime.block_on(async { call.send().await.unwrap() });
                    written.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        eventually("the writers", || (written.load(Ordering::Relaxed) > 30).then_some(()));
        let before = written.load(Ordering::Relaxed);
        let target = backup(&placet, "b1");
        let during = written.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        assert!(during > 0, "nothing was written while the backup was taken");
        target
    });
    assert_eq!(placet.verdicts("backup.taken"), ["with_keys"]);
    let checked = placet.cli(["backup", "--verify"]).arg(&target).json();
    assert!(checked["entries"].as_u64() >= checked["published"].as_u64(), "{checked}");
    for path in walk(&target).iter().chain(&walk(&placet.data().join("log"))) {
        let bytes = fs::read(path).unwrap();
        for canary in CANARIES {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} stands in {}", path.display());
        }
    }
    for (path, mode) in [(target.clone(), 0o700), (target.join("placet.db"), 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    assert!(!walk(&target).iter().any(|path| path.ends_with("keys.db") || path.ends_with("root.key")));

    let key = placet.log_key();
    let stopped = placet.stop();
    let restored = put_back(&stopped, &target);
    assert_eq!(restored["entries"], checked["entries"]);
    let placet = stopped.start();
    placet.agents().post("/v1/requests", &deploy("staging", "after")).expect(201);
    placet.cli(["audit", "checkpoint"]).succeeds();
    let report = placet
        .cli(["audit", "verify", "--vkey", &key, "--checkpoint"])
        .arg(target.join("log/checkpoint"))
        .json();
    assert_eq!(report["older_checkpoints"], 1, "{report}");
    let people = placet.cli(["person", "ls"]).json();
    assert!(people.to_string().contains("Canary Person"));
}

#[test]
fn a_backup_that_was_torn_altered_or_added_to_is_refused() {
    let placet = Placet::start();
    placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201);
    let target = backup(&placet, "b1");
    let stopped = placet.stop();
    stopped.cli(["backup", "--verify"]).arg(&target).succeeds();
    let space = target.parent().unwrap().to_owned();
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let damages: Vec<(&str, Damage<'_>)> = vec![
        ("no manifest", Box::new(|at| fs::remove_file(at.join("manifest.json")).unwrap())),
        ("not what its manifest says", Box::new(|at| flip(&at.join("placet.db"), 20_000))),
        ("not what its manifest says", Box::new(|at| flip(&at.join("log/checkpoint"), 10))),
        ("is missing", Box::new(|at| fs::remove_file(at.join("log/checkpoint")).unwrap())),
        ("is not in its manifest", Box::new(|at| fs::write(at.join("log/extra"), "x").unwrap())),
        ("no plain file", Box::new(|at| std::os::unix::fs::symlink("/etc/passwd", at.join("x")).unwrap())),
        (
            "not what its manifest says",
            Box::new(|at| {
                let file = fs::OpenOptions::new().write(true).open(at.join("placet.db")).unwrap();
                file.set_len(8192).unwrap();
            }),
        ),
        ("newer placet", Box::new(|at| replace(&at.join("manifest.json"), "\"v\": 1", "\"v\": 2"))),
    ];
    for (number, (says, damage)) in damages.iter().enumerate() {
        let altered = space.join(format!("altered-{number}"));
        copy(&target, &altered);
        damage(&altered);
        let ended = stopped.cli(["backup", "--verify"]).arg(&altered).run();
        assert_ne!(ended.code, 0, "{says}");
        assert!(ended.stderr.contains(says), "{says}: {ended:?}");
        let fresh = space.join(format!("fresh-{number}"));
        let restore = stopped.cli(["restore"]).arg(&altered).arg("--keys").arg(space.join("b1-keys"));
        assert_ne!(restore.arg("--dir").arg(&fresh).run().code, 0, "{says}");
        assert!(!fresh.exists(), "{says}: something was left");
    }
    // Altered together with its manifest: the keys notice, whoever has none cannot.
    let altered = space.join("altered-both");
    copy(&target, &altered);
    replace(&altered.join("manifest.json"), "\"placet\": \"", "\"placet\": \"9");
    stopped.cli(["backup", "--verify"]).arg(&altered).succeeds();
    let restore = stopped.cli(["restore"]).arg(&altered).arg("--keys").arg(space.join("b1-keys"));
    restore.arg("--dir").arg(space.join("fresh")).fails(1, "not written with these keys");
}

fn replace(path: &Path, from: &str, to: &str) {
    crate::harness::replace_in(path, from, to);
}

#[test]
fn a_restore_wants_its_own_keys_and_an_empty_place() {
    let placet = Placet::start();
    let target = backup(&placet, "b1");
    let other = Placet::start();
    let foreign = backup(&other, "b2");
    let restore = |to: &Path| {
        let cli = placet.cli(["restore"]).arg(&target).arg("--dir").arg(to);
        cli.without("PLACET_DIR")
    };
    let keys = placet.space().join("b1-keys");
    let fresh = placet.space().join("fresh");
    restore(&fresh).fails(64, "--keys");
    let foreign_keys = format!("{}-keys", foreign.display());
    restore(&fresh).arg("--keys").arg(&foreign_keys).fails(78, "other data");
    // Whoever is new has a key of their own, which keys of yesterday do not have.
    placet.cli(["person", "add", "Newcomer"]).succeeds();
    let newer = backup(&placet, "b3");
    let old_keys = placet.cli(["restore"]).arg(&newer).arg("--dir").arg(&fresh).without("PLACET_DIR");
    old_keys.arg("--keys").arg(&keys).fails(78, "copied before the backup");
    let no_log_key = placet.space().join("mixed-keys");
    copy(&keys, &no_log_key);
    fs::copy(Path::new(&foreign_keys).join("log.key"), no_log_key.join("log.key")).unwrap();
    restore(&fresh).arg("--keys").arg(&no_log_key).fails(78, "another log");
    assert!(!fresh.exists());
    fs::create_dir(&fresh).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(fresh.join("x"), "x").unwrap();
    restore(&fresh).arg("--keys").arg(&keys).fails(64, "not empty");
    fs::remove_file(fresh.join("x")).unwrap();
    restore(&fresh).arg("--keys").arg(&keys).succeeds();
    // What is there stays what it was.
    restore(&fresh).arg("--keys").arg(&keys).fails(64, "not empty");
}

#[test]
fn a_backup_goes_to_a_new_place_of_its_own_and_keys_to_another() {
    let placet = Placet::start();
    let space = placet.space();
    let into = |path: &Path| placet.cli(["backup"]).arg(path);
    into(&placet.data().join("b")).fails(64, "not empty");
    fs::create_dir(space.join("open")).unwrap();
    fs::set_permissions(space.join("open"), fs::Permissions::from_mode(0o755)).unwrap();
    into(&space.join("open")).fails(64, "mode 0700");
    fs::set_permissions(space.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    into(&space.join("open/b")).fails(64, "somebody else could swap it");
    into(&space.join("none/b")).fails(64, "above it is not there");
    into(&space.join("b")).arg("--keys").arg(space.join("b/keys")).fails(64, "another place");
    into(&space.join("b")).succeeds();
    into(&space.join("b")).fails(64, "not empty");
    let warned = into(&space.join("b2")).arg("--keys").arg(space.join("k2")).run();
    assert!(warned.stderr.contains("Keep them apart"), "{warned:?}");
}

#[test]
fn a_stopped_placet_is_backed_up_under_its_lock() {
    let placet = Placet::start();
    placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201);
    let stopped = placet.crash();
    let target = stopped.data().with_file_name("b1");
    let taken = stopped.cli(["backup"]).arg(&target).json();
    assert_eq!(taken["online"], false);
    let checked = stopped.cli(["backup", "--verify"]).arg(&target).json();
    assert_eq!(checked["entries"], taken["entries"]);
    let nowhere = stopped.data().with_file_name("nowhere");
    stopped
        .cli(["backup"])
        .arg(stopped.data().with_file_name("b2"))
        .arg("--dir")
        .arg(nowhere)
        .fails(64, "no database");
}

#[test]
fn a_database_behind_its_log_goes_on_only_as_a_new_epoch_that_says_so() {
    let issuer = "https://idp.example";
    let placet = Options::default().env("PLACET__AGENTS__ISSUERS", &format!("{issuer}=/no/keys")).start();
    let workload = ["--issuer", issuer, "--subject", "ci"];
    placet.cli(["agent", "add", "ci", "--sponsor", "Ada"]).args(workload).succeeds();
    let door = placet.agents();
    let granted = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let pending = door.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let token = placet.token_of("Ada");
    let old_key = placet.log_key();
    let target = backup(&placet, "b1");
    // After the backup the grant is used.
    let path =
        |request: &Value, rest: &str| format!("/v1/requests/{}{rest}", request["id"].as_str().unwrap());
    let claim = json!({ "digest": granted["digest"], "claim": "c1" });
    door.post(&path(&granted, "/execution"), &claim).expect(200);
    placet.cli(["audit", "checkpoint"]).succeeds();
    let stopped = placet.stop();
    stopped.cli(["restore", "--accept-rollback", "--yes"]).fails(64, "continues what was published");
    put_back(&stopped, &target);
    // The log that was published further is put beside the old database.
    let (data, lost) = (stopped.data(), stopped.data().with_extension("lost"));
    fs::remove_dir_all(data.join("log")).unwrap();
    copy(&lost.join("log"), &data.join("log"));
    let published = fs::read(data.join("log/checkpoint")).unwrap();

    let placet = stopped.start();
    eventually("the contradiction is seen", || {
        (placet.reviewers(None).get("/readyz").status == 503).then_some(())
    });
    placet.agents().post(&path(&granted, "/execution"), &claim).problem(503, "unavailable");
    let doctor = placet.cli(["doctor"]).run();
    assert_eq!(doctor.code, 1);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("restore --accept-rollback"), "{doctor:?}");
    placet.cli(["restore", "--accept-rollback", "--yes"]).fails(77, "another placet is running");
    let stopped = placet.stop();
    assert!(stopped.log().contains("restore --accept-rollback"), "{}", stopped.log());
    assert_eq!(fs::read(data.join("log/checkpoint")).unwrap(), published, "something was signed");

    stopped.cli(["restore", "--accept-rollback"]).fails(64, "--yes");
    let accepted = stopped.cli(["restore", "--accept-rollback", "--yes"]).json();
    assert_eq!(accepted["origin"], "placet.local/ledger/e2", "{accepted}");
    assert_eq!((&accepted["requests"], &accepted["agents"]), (&json!(2), &json!(2)), "{accepted}");
    assert_eq!(fs::read(data.join("log.e1/checkpoint")).unwrap(), published);
    // Interrupted before the old log was out of the way, the next call finishes it.
    fs::rename(data.join("log.e1"), data.join("log")).unwrap();
    let again = stopped.cli(["restore", "--accept-rollback", "--yes"]).json();
    assert_eq!((&again["vkey"], &again["origin"]), (&accepted["vkey"], &accepted["origin"]));

    let placet = stopped.start();
    let new_key = placet.log_key();
    assert_eq!(json!(new_key), accepted["vkey"]);
    assert_ne!(new_key, old_key);
    // Nothing of the backup opens a door.
    assert_eq!(placet.agents().get("/v1/requests").status, 401);
    assert_eq!(placet.reviewers(Some(&token)).get("/v1/reviews").status, 401);
    let agents = placet.cli(["agent", "ls"]).json();
    let workloads = agents.as_array().unwrap().iter().map(|agent| agent["workload"].clone());
    assert_eq!(workloads.collect::<Vec<_>>(), [Value::Null, Value::Null]);
    let rotated = placet.cli(["agent", "rotate", "first-agent"]).succeeds();
    let door = placet.agents().bearer(Some(rotated.trim()));
    for request in [&granted, &pending] {
        assert_eq!(door.get(&path(request, "")).expect(200).json()["status"], "cancelled");
    }
    door.post(&path(&granted, "/execution"), &claim).problem(409, "wrong_state");
    door.post("/v1/requests", &deploy("staging", "2")).expect(201);
    assert_eq!(placet.verdicts("log.restored"), ["rollback_accepted"]);
    placet.cli(["audit", "checkpoint"]).succeeds();
    let report = placet.cli(["audit", "verify", "--vkey", &new_key]).json();
    assert_eq!(report["kinds"]["log.restored"], 1, "{report}");
    let old = placet.cli(["audit", "verify", "--vkey", &old_key, "--log"]).arg(data.join("log.e1")).json();
    assert_eq!(old["origin"], "placet.local/ledger");
    // The old key signs nothing any more, and what it signed is no checkpoint of this log.
    placet.cli(["audit", "verify", "--vkey", &old_key]).fails(1, "not one of this log");
    // It can be backed up and restored like any other.
    let second = backup(&placet, "b3");
    let stopped = placet.stop();
    fs::remove_dir_all(stopped.data().with_extension("lost")).unwrap();
    put_back(&stopped, &second);
    let placet = stopped.start();
    assert_eq!(placet.log_key(), new_key);
    placet.reviewers(None).get("/readyz").expect(200);
}
