//! Logs and audit bundles checked by programs that share no code with this crate: Go's sumdb packages, and the Python
//! package `aics-tlog`. See `tests/verifiers/README.md` at the root of the repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_ledger::PublishedLog;

use crate::support::{publish, signer};

const HINT_GO: &str = "Go's verifier is part of the tests: apt-get install golang-go golang-golang-x-mod-dev";
const HINT_PYTHON: &str = "set PLACET_PYTHON to a Python that has aics-tlog: python3 -m venv V && \
     V/bin/pip install --ignore-requires-python aics-tlog==0.2.1 && export PLACET_PYTHON=$PWD/V/bin/python";

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/verifiers").canonicalize().unwrap()
}

/// Builds the Go verifier offline, from Debian's packaged sources.
fn go_verifier(into: &Path) -> Vec<String> {
    let program = into.join("verify-log");
    let built = Command::new("go")
        .args(["build", "-o", program.to_str().unwrap(), "main.go"])
        .current_dir(sources().join("go"))
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", ""), ("GOPROXY", "off")])
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
        .output()
        .unwrap_or_else(|error| panic!("{HINT_GO} ({error})"));
    assert!(built.status.success(), "{HINT_GO}\n{}", String::from_utf8_lossy(&built.stderr));
    vec![program.to_str().unwrap().to_owned()]
}

/// The Python verifier, or `None` where nobody asked for it.
fn python_verifier() -> Option<Vec<String>> {
    let required = env::var("CI").is_ok_and(|ci| ci == "true")
        || env::var("PLACET_REQUIRE_VERIFIERS").is_ok_and(|required| required == "1");
    match env::var("PLACET_PYTHON") {
        Ok(python) => {
            let has_package = Command::new(&python).args(["-c", "import aics_tlog"]).output();
            assert!(
                has_package.is_ok_and(|output| output.status.success()),
                "{python} does not: {HINT_PYTHON}"
            );
            Some(vec![python, sources().join("python/verify.py").to_str().unwrap().to_owned()])
        }
        Err(_) if required => panic!("{HINT_PYTHON}"),
        Err(_) => {
            eprintln!("notice: not checked with Python; {HINT_PYTHON}");
            None
        }
    }
}

/// Runs a verifier; its verdict and what it said.
fn run(verifier: &[String], arguments: &[&str]) -> (bool, String) {
    let output = Command::new(&verifier[0]).args(&verifier[1..]).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A verifier accepts what is right and refuses what is not, for logs and for bundles.
fn check(verifier: &[String]) {
    logs_of_many_sizes(verifier);
    a_tampered_log(verifier);
    an_audit_bundle(verifier);
}

fn logs_of_many_sizes(verifier: &[String]) {
    let key = signer().verifier_key().to_string();
    for sizes in [&[0, 1][..], &[0], &[1, 2], &[255, 256], &[256, 257], &[300, 300], &[100, 5_000]] {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), sizes);
        let old = dir.path().join(format!("checkpoints/{}", sizes[0]));
        let (accepted, said) = run(verifier, &[&key, dir.path().to_str().unwrap(), old.to_str().unwrap()]);
        assert!(accepted, "{sizes:?}: {said}");
        assert!(said.contains(&format!("entries: {} ", sizes[sizes.len() - 1])), "{said}");
        assert!(said.contains(&format!("consistent with size {}\n", sizes[0])), "{said}");
        let (accepted, said) = run(verifier, &[&key, dir.path().to_str().unwrap()]);
        assert!(accepted, "{sizes:?}: {said}");
    }
}

fn a_tampered_log(verifier: &[String]) {
    let key = signer().verifier_key().to_string();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(dir.path(), &[600]);
    publish(other.path(), &[700]);
    let log = dir.path().to_str().unwrap();
    let refuses = |arguments: &[&str], what: &str| {
        let (accepted, said) = run(verifier, arguments);
        assert!(!accepted, "{what}: {said}");
    };
    for name in ["checkpoint", "tile/0/001", "tile/1/000.p/2", "tile/entries/000", "tile/entries/002.p/88"] {
        let path = dir.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, &bad).unwrap();
        refuses(&[&key, log], name);
        fs::remove_file(&path).unwrap();
        refuses(&[&key, log], name);
        fs::write(&path, &good).unwrap();
    }
    let newer = other.path().join("checkpoint");
    refuses(&[&key, log, newer.to_str().unwrap()], "a log shorter than the kept checkpoint");
    let stranger =
        crate::support::signer_named("placet.example/ledger", "stranger").verifier_key().to_string();
    refuses(&[&stranger, log], "another key");
    assert!(run(verifier, &[&key, log]).0);
}

fn an_audit_bundle(verifier: &[String]) {
    let key = signer().verifier_key().to_string();
    let (dir, bundle) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(dir.path(), &[600]);
    let mut log = PublishedLog::open(dir.path(), &signer().verifier_key()).unwrap();
    let (entries, proofs) = (bundle.path().join("entries"), bundle.path().join("proofs"));
    fs::create_dir(&entries).unwrap();
    fs::create_dir(&proofs).unwrap();
    fs::write(bundle.path().join("checkpoint"), log.checkpoint().note()).unwrap();
    for index in [0, 17, 256, 599] {
        let (entry, proof) = log.entry_and_proof(index).unwrap();
        fs::write(entries.join(format!("{index}.json")), entry).unwrap();
        fs::write(proofs.join(format!("{index}.tlog-proof")), proof.to_string()).unwrap();
    }
    let arguments = ["bundle", &key, bundle.path().to_str().unwrap()];
    let (accepted, said) = run(verifier, &arguments);
    assert!(accepted, "{said}");
    assert!(said.contains("entry 599: included"), "{said}");

    for name in ["entries/17.json", "proofs/17.tlog-proof", "checkpoint"] {
        let path = bundle.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 3] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(!run(verifier, &arguments).0, "{name} altered");
        fs::remove_file(&path).unwrap();
        assert!(!run(verifier, &arguments).0, "{name} removed");
        fs::write(&path, &good).unwrap();
    }
    // An entry under the number of another.
    fs::copy(entries.join("17.json"), entries.join("256.json")).unwrap();
    assert!(!run(verifier, &arguments).0);
}

#[test]
fn go_agrees() {
    let built = tempfile::tempdir().unwrap();
    check(&go_verifier(built.path()));
}

#[test]
fn python_agrees() {
    if let Some(verifier) = python_verifier() {
        check(&verifier);
    }
}
