//! What an auditor holds in hand is checked by programs that share no code with placet: Go's sumdb packages, and the
//! Python package `aics-tlog`. See `tests/verifiers/README.md` at the root of the repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Placet, Stopped, walk};
use crate::people::deploy;

const HINT_GO: &str = "Go's verifier is part of the tests: apt-get install golang-go golang-golang-x-mod-dev";
const HINT_PYTHON: &str = "set PLACET_PYTHON to a Python that has aics-tlog, which `cargo xtask ci` installs";

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/verifiers").canonicalize().unwrap()
}

/// Somebody else's verifier: a command that takes the key and what is to be checked.
struct Verifier(Vec<String>);

impl Verifier {
    /// Built offline, from Debian's packaged sources.
    fn go(into: &Path) -> Self {
        let program = into.join("verify-log").to_str().unwrap().to_owned();
        let built = Command::new("go")
            .args(["build", "-o", &program, "main.go"])
            .current_dir(sources().join("go"))
            .envs([
                ("GO111MODULE", "off"),
                ("GOPATH", "/usr/share/gocode"),
                ("GOFLAGS", ""),
                ("GOPROXY", "off"),
            ])
            .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
            .output()
            .unwrap_or_else(|error| panic!("{HINT_GO} ({error})"));
        assert!(built.status.success(), "{HINT_GO}\n{}", String::from_utf8_lossy(&built.stderr));
        Verifier(vec![program])
    }

    /// None where nobody asked for it.
    fn python() -> Option<Self> {
        let required = env::var("CI").is_ok_and(|ci| ci == "true")
            || env::var("PLACET_REQUIRE_VERIFIERS").is_ok_and(|required| required == "1");
        match env::var("PLACET_PYTHON") {
            Ok(python) => {
                Some(Verifier(vec![python, sources().join("python/verify.py").to_str().unwrap().to_owned()]))
            }
            Err(_) if required => panic!("{HINT_PYTHON}"),
            Err(_) => {
                eprintln!("notice: not checked with Python; {HINT_PYTHON}");
                None
            }
        }
    }

    /// Its verdict, and what it said.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let (program, first) = self.0.split_first().unwrap();
        let output = Command::new(program).args(first).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    fn accepts(&self, arguments: &[&str], says: &str) {
        let (accepted, said) = self.run(arguments);
        assert!(accepted && said.contains(says), "{arguments:?}: {said}");
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str]) {
        let (accepted, said) = self.run(arguments);
        assert!(!accepted, "{arguments:?}: {said}");
    }
}

/// Everything that an auditor got: the log's key, a checkpoint from before the end, a bundle, and the log itself.
struct Evidence {
    stopped: Stopped,
    key: String,
    kept: PathBuf,
    bundle: PathBuf,
}

/// A reviewed and a denied deployment, one that policy refused, and a vote that was refused.
fn evidence() -> Evidence {
    let placet = Placet::team();
    placet.add_person("Grace", &["reviewers"]);
    let door = placet.agents();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let grace = placet.session_of("Grace");
    let submit = |to: &str, version: &str| {
        let request = door.post("/v1/requests", &deploy(to, version)).expect(201).json();
        (request["id"].as_str().unwrap().to_owned(), request["digest"].clone())
    };
    let (approved, digest) = submit("production", "1");
    ada.cast(&approved, &ada.ballot(&approved, "approve")).problem(403, "self_approval");
    let kept = placet.space().join("kept");
    fs::write(&kept, placet.cli(["audit", "checkpoint"]).succeeds()).unwrap();
    grace.approve(&approved);
    let claimed =
        door.post(&format!("/v1/requests/{approved}/execution"), &json!({ "digest": digest, "claim": "c" }));
    let execution = claimed.expect(200).json()["execution_id"].clone();
    let outcome = json!({ "execution_id": execution, "outcome": "succeeded", "summary": "done" });
    door.post(&format!("/v1/requests/{approved}/outcome"), &outcome).expect(200);
    let (denied, _) = submit("production", "2");
    grace.cast(&denied, &grace.ballot(&denied, "deny")).expect(200);
    submit("nowhere", "1");
    let key = placet.log_key();
    let bundle = placet.space().join("bundle");
    placet.cli(["audit", "bundle", &approved, "-o"]).arg(&bundle).succeeds();
    Evidence { stopped: placet.stop(), key, kept, bundle }
}

impl Evidence {
    /// placet's own verdict on the log.
    fn placet_accepts(&self) -> bool {
        let verify =
            self.stopped.cli(["audit", "verify", "--vkey", &self.key, "--checkpoint"]).arg(&self.kept).run();
        assert!(matches!(verify.code, 0 | 1), "{verify:?}");
        verify.code == 0
    }

    fn check_with(&self, verifier: &Verifier) {
        let log = self.stopped.data().join("log");
        let (log, kept, bundle) =
            (log.to_str().unwrap(), self.kept.to_str().unwrap(), self.bundle.to_str().unwrap());
        verifier.accepts(&[&self.key, log], "checkpoint: size ");
        verifier.accepts(&[&self.key, log, kept], "consistent with size ");
        verifier.accepts(&["bundle", &self.key, bundle], ": included");

        let stranger = self.key.replace("placet.local", "placet.locul");
        verifier.refuses(&[&stranger, log]);
        verifier.refuses(&["bundle", &stranger, bundle]);
        let size = fs::read_to_string(Path::new(log).join("checkpoint")).unwrap();
        let size = size.lines().nth(1).unwrap();
        self.each_altered(Path::new(log), |file| {
            let parent = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
            if parent.ends_with(".p") && !file.ends_with(size) {
                // A tile as it was while the log was smaller: nobody needs it any more.
                return;
            }
            verifier.refuses(&[&self.key, log, kept]);
            assert!(!self.placet_accepts(), "placet accepts what {} was made", file.display());
        });
        let proven = |file: &Path| {
            let name = file.strip_prefix(&self.bundle).unwrap().to_str().unwrap();
            name == "checkpoint" || name.starts_with("entries/") || name.starts_with("proofs/")
        };
        self.each_altered(Path::new(bundle), |file| {
            if proven(file) {
                verifier.refuses(&["bundle", &self.key, bundle]);
            }
            let verified = self.stopped.cli(["audit", "verify", "--vkey", &self.key, bundle]).run();
            assert_eq!(verified.code, 1, "placet on what {} was made: {verified:?}", file.display());
        });
        assert!(self.placet_accepts());
    }

    /// Shows each file of a directory altered in its middle, one after the other, and puts it back.
    fn each_altered(&self, directory: &Path, show: impl Fn(&Path)) {
        for file in walk(directory) {
            let name = file.file_name().unwrap().to_str().unwrap();
            // The publisher's own lock, and the history of checkpoints that nobody needs for a proof.
            if name.contains("lock") || file.starts_with(directory.join("checkpoints")) {
                continue;
            }
            let good = fs::read(&file).unwrap();
            if good.is_empty() {
                continue;
            }
            let mut bad = good.clone();
            bad[good.len() / 2] ^= 1;
            fs::write(&file, bad).unwrap();
            show(&file);
            fs::write(&file, good).unwrap();
        }
    }
}

#[test]
fn others_agree_on_the_log_and_on_every_bundle() {
    let evidence = evidence();
    let built = tempfile::tempdir().unwrap();
    evidence.check_with(&Verifier::go(built.path()));
    if let Some(python) = Verifier::python() {
        evidence.check_with(&python);
    }
}

#[test]
fn a_log_that_was_cut_short_does_not_continue_the_kept_checkpoint() {
    let stopped = Placet::start().stop();
    let earlier = stopped.data().with_file_name("earlier");
    let copied = Command::new("cp").arg("-r").arg(stopped.data().join("log")).arg(&earlier).status();
    assert!(copied.unwrap().success());
    let placet = stopped.start();
    placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201);
    let kept = placet.space().join("kept");
    fs::write(&kept, placet.cli(["audit", "checkpoint"]).succeeds()).unwrap();
    let key = placet.log_key();
    let stopped = placet.stop();
    let verify = || stopped.cli(["audit", "verify", "--vkey", &key, "--log"]).arg(&earlier);
    // Alone it is a perfect log; only the kept checkpoint tells that something is gone.
    verify().succeeds();
    verify().arg("--checkpoint").arg(&kept).fails(1, "");
    let built = tempfile::tempdir().unwrap();
    let go = Verifier::go(built.path());
    go.accepts(&[&key, earlier.to_str().unwrap()], "checkpoint: size ");
    go.refuses(&[&key, earlier.to_str().unwrap(), kept.to_str().unwrap()]);
}
