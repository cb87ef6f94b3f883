//! A machine that turns against placet: a full disk, one that is read-only, a clock that jumps, callers by the thousand that say
//! nothing, no descriptors left. Each time: a clear no, nothing lost, and everything as before once the cause is gone.
//!
//! Mounting takes root, as in CI. Elsewhere these tests say that they were left out.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Options, Placet, binary, eventually};
use crate::people::deploy;

/// Whether this process may mount. In CI it has to.
fn may_turn_the_machine() -> bool {
    let may = nix::unistd::geteuid().is_root();
    assert!(may || std::env::var_os("PLACET_REQUIRE_VERIFIERS").is_none(), "these tests need root");
    if !may {
        eprintln!("left out: mounting needs root");
    }
    may
}

/// A small disk of its own, in memory, gone with this value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={mebibytes}m,mode=0700");
        tool(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at));
        Disk(at.to_owned())
    }

    fn remount(&self, how: &str) {
        tool(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0));
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is about to be killed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn tool(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// What was acknowledged is there, the log is whole, and the door works.
fn is_as_before(placet: Placet, acknowledged: &[Value]) {
    let door = placet.agents();
    for request in acknowledged {
        let found = door.get(&format!("/v1/requests/{}", request["id"].as_str().unwrap())).expect(200).json();
        assert_eq!(found["digest"], request["digest"]);
    }
    door.post("/v1/requests", &deploy("staging", "after")).expect(201);
    let key = placet.log_key();
    let stopped = placet.stop();
    stopped.cli(["audit", "verify", "--vkey", &key]).succeeds();
}

fn claim(placet: &Placet, request: &Value, claim: &str) -> crate::harness::Answer {
    let path = format!("/v1/requests/{}/execution", request["id"].as_str().unwrap());
    placet.agents().post(&path, &json!({ "digest": request["digest"], "claim": claim }))
}

#[test]
fn a_full_disk_refuses_everything_and_loses_nothing() {
    if !may_turn_the_machine() {
        return;
    }
    let space = TempDir::new().unwrap();
    let disk = Disk::mount(&space.path().join("placet-data"), 24);
    let placet = Options::default().start_in(space);
    let door = placet.agents();
    let submit = |version: &str| door.post("/v1/requests", &deploy("staging", version));
    let mut acknowledged: Vec<Value> = (0..3).map(|n| submit(&format!("1.{n}")).expect(201).json()).collect();

    let filler = disk.fill();
    // What is left in pages that were allocated before may take a few more; none of them is lost.
    let refused = (0..200).find_map(|n| {
        let answer = submit(&format!("2.{n}"));
        if answer.status == 201 {
            acknowledged.push(answer.json());
            return None;
        }
        Some(answer)
    });
    let refused = refused.expect("a full disk is noticed");
    refused.problem(503, "unavailable");
    assert!(refused.headers.contains_key("retry-after"));
    claim(&placet, &acknowledged[0], "c").problem(503, "unavailable");
    let sha256 = placet_core::digest::Sha256Digest::of(&[7; 100_000]).to_string();
    door.put(&format!("/v1/blobs/{sha256}"), &[7; 100_000]).problem(503, "unavailable");
    assert_eq!(door.get("/healthz").status, 200, "the process lives");
    let before = acknowledged[0]["id"].as_str().unwrap();
    let read = door.get(&format!("/v1/requests/{before}")).expect(200).json();
    assert_eq!(read["status"], "granted", "what was not recorded was not done");

    fs::remove_file(filler).unwrap();
    eventually("it works again", || (submit("3").status == 201).then_some(()));
    claim(&placet, &acknowledged[0], "c").expect(200);
    eventually("it is ready", || (door.get("/readyz").status == 200).then_some(()));
    is_as_before(placet, &acknowledged);
    drop(disk);
}

/// Whether this machine lets one process trace another. Where it does not there is nothing to install.
fn may_trace() -> bool {
    match Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => return true,
        Ok(_) => eprintln!("left out: this machine does not let one process trace another"),
        Err(error) if std::env::var_os("PLACET_REQUIRE_VERIFIERS").is_some() => {
            panic!("install strace, as `cargo xtask setup` does: {error}")
        }
        Err(_) => eprintln!("left out: strace is missing"),
    }
    false
}

/// What fails for whoever syncs this file: every time.
fn syncs_that_fail(file: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "signal=none", "-e", "trace=fsync,fdatasync"]);
    strace.args(["-e", "inject=fsync,fdatasync:error=EIO", "-o", "/dev/null", "-P"]).arg(file);
    strace
}

/// A disk that fails a running placet. Its log cannot be synced until this is mended.
struct BrokenDisk {
    strace: Child,
    /// Kept open, so that it can go on talking.
    _said: BufReader<ChildStderr>,
}

impl BrokenDisk {
    fn under(placet: &Placet) -> Self {
        let mut strace = syncs_that_fail(&placet.data().join("placet.db-wal"));
        strace.args(["-p", &placet.pid().to_string()]);
        let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut said, mut line) = (BufReader::new(strace.stderr.take().unwrap()), String::new());
        while !line.contains("attached") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "strace has ended");
        }
        BrokenDisk { strace, _said: said }
    }

    fn mend(mut self) {
        kill(Pid::from_raw(i32::try_from(self.strace.id()).unwrap()), Signal::SIGINT).unwrap();
        self.strace.wait().unwrap();
    }
}

#[test]
fn a_sync_that_failed_closes_placet_until_it_is_restarted() {
    if !may_trace() {
        return;
    }
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let door = placet.agents();
    let submit = |environment: &str, version: &str| {
        let mut call = deploy(environment, version);
        call["idempotency_key"] = json!(version);
        placet.agents().post("/v1/requests", &call)
    };
    let voted = submit("production", "1").expect(201).json();
    let code = voted["short_code"].as_str().unwrap();
    assert_eq!(ada.approve(code)["status"], "granted");
    let granted = submit("staging", "2").expect(201).json();
    let path = |request: &Value| format!("/v1/requests/{}", request["id"].as_str().unwrap());

    let disk = BrokenDisk::under(&placet);
    let doubtful = submit("staging", "3");
    doubtful.problem(503, "stopped");
    assert!(doubtful.headers.contains_key("retry-after"));
    disk.mend();
    // The disk is as good as ever. What the process could read now may not be what is stored.
    submit("staging", "4").problem(503, "stopped");
    claim(&placet, &granted, "c").problem(503, "stopped");
    door.get(&path(&granted)).problem(503, "stopped");
    ada.door.get("/v1/reviews").problem(503, "stopped");
    assert_eq!(door.get("/healthz").status, 200, "the process lives");
    let ready = door.get("/readyz");
    ready.problem(503, "not_ready");
    assert!(ready.text().contains("restart it"), "{}", ready.text());
    let doctor = placet.cli(["doctor"]).run();
    let said = String::from_utf8(doctor.stdout).unwrap();
    let found = said.lines().find(|line| line.starts_with("FAIL  placet ")).unwrap();
    assert!(doctor.code == 1 && found.contains("until its operator restarts it"), "{said}");
    let log = placet.log();
    assert!(log.contains("the store has stopped") && log.contains("then restart placet"), "{log}");

    let stopped = placet.stop();
    assert!(stopped.status.success(), "it ends in good order: {}", stopped.log());
    let placet = stopped.start();
    let door = placet.agents();
    assert_eq!(door.get(&path(&voted)).expect(200).json()["status"], "granted", "the vote is there");
    // What was not acknowledged happened or did not, and its key finds out which.
    let mut again = deploy("staging", "3");
    again["idempotency_key"] = json!("3");
    let again = door.post("/v1/requests", &again);
    assert!([200, 201].contains(&again.status), "{}", again.text());
    let listed = door.get("/v1/requests").expect(200).json();
    assert_eq!(listed["requests"].as_array().unwrap().len(), 3, "{listed}");
    claim(&placet, &granted, "c").expect(200);
    is_as_before(placet, &[voted, granted, again.json()]);
}

#[test]
fn what_a_crash_left_is_on_the_disk_before_anything_is_built_upon_it() {
    if !may_trace() {
        return;
    }
    let placet = Placet::start();
    let request = placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let stopped = placet.crash();
    let left = stopped.data().join("placet.db-wal");
    let bytes = fs::read(&left).unwrap();
    assert!(!bytes.is_empty(), "a crash leaves a log");
    let mut up = syncs_that_fail(&left);
    up.arg("-qq").arg(binary()).args(["up", "--json"]).env("PLACET_DIR", stopped.data());
    for door in ["AGENTS", "REVIEWERS"] {
        up.env(format!("PLACET__{door}__LISTEN"), "127.0.0.1:0");
    }
    let refused = up.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(said.contains("placet.db-wal"), "{said}");
    assert_eq!(fs::read(&left).unwrap(), bytes, "it is as it was");
    is_as_before(stopped.start(), &[request]);
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused_at_the_start() {
    if !may_turn_the_machine() {
        return;
    }
    let space = TempDir::new().unwrap();
    let disk = Disk::mount(&space.path().join("placet-data"), 24);
    let placet = Options::default().start_in(space);
    let request = placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let stopped = placet.stop();
    disk.remount("ro");
    let up = stopped.cli(["up"]).env("PLACET__AGENTS__LISTEN", "127.0.0.1:0");
    let refused = up.env("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0").run();
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("placet-data") && refused.stderr.contains("ead-only"), "{refused:?}");
    assert!(refused.stdout.is_empty(), "it never said that it was ready: {refused:?}");
    disk.remount("rw");
    is_as_before(stopped.start(), &[request]);
    drop(disk);
}

#[test]
fn a_clock_that_jumps_grants_nothing_and_ends_what_is_over() {
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
        .map(|directory| format!("{directory}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(library) = library else {
        assert!(std::env::var_os("PLACET_REQUIRE_VERIFIERS").is_none(), "Debian's faketime is missing");
        eprintln!("left out: Debian's faketime is missing");
        return;
    };
    let hand = tempfile::NamedTempFile::new().unwrap();
    let set = |offset: &str| fs::write(hand.path(), format!("{offset}\n")).unwrap();
    set("+0");
    let options = Options::default()
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_TIMESTAMP_FILE", hand.path().to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let placet = options.start();
    let door = placet.agents();
    let submit = |version: &str| door.post("/v1/requests", &deploy("staging", version));
    let granted = submit("1").expect(201).json();

    set("-3600");
    for refused in [claim(&placet, &granted, "c"), submit("2")] {
        assert!(matches!(refused.status, 409 | 503), "{}", refused.text());
    }
    assert_eq!(placet.verdicts("execution.started"), [""; 0]);
    set("+0");
    claim(&placet, &granted, "c").expect(200);
    let waits = door.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let unclaimed = submit("3").expect(201).json();

    set("+86400");
    for (request, status) in [(&waits, "expired"), (&unclaimed, "lapsed")] {
        let path = format!("/v1/requests/{}", request["id"].as_str().unwrap());
        eventually(status, || (door.get(&path).json()["status"] == status).then_some(()));
        claim(&placet, request, "late").problem(409, "wrong_state");
    }
    let executing = format!("/v1/requests/{}", granted["id"].as_str().unwrap());
    eventually("its lease is over", || (door.get(&executing).json()["status"] == "unknown").then_some(()));
    is_as_before(placet, &[granted, waits, unclaimed]);
}

/// A connection that has said the beginning of a call, and says nothing more.
fn half_a_call(base: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address(base)).unwrap();
    stream.write_all(b"GET /v1/requests HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
    stream
}

fn address(base: &str) -> String {
    base.strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1")
}

fn resident_mebibytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn ten_thousand_silent_connections_keep_nobody_out() {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // A machine that grants fewer descriptors gets as many as it can hold.
    let each = usize::try_from(hard.saturating_sub(2000) / 2).unwrap_or(0).min(5000);
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let before = resident_mebibytes(placet.pid());
    let mut silent = Vec::new();
    for base in [&placet.ready.agents, &placet.ready.reviewers] {
        silent.extend((0..each).map(|_| half_a_call(base)));
    }
    for version in ["1", "2", "3"] {
        placet.agents().post("/v1/requests", &deploy("production", version)).expect(201);
        assert_eq!(
            ada.door.get("/v1/reviews").expect(200).json()["reviews"][0]["request"]["status"],
            "pending"
        );
        ada.cookie.get("/").expect(200);
    }
    let now = resident_mebibytes(placet.pid());
    assert!(now < before + 256, "{} connections took it from {before} to {now} MiB", silent.len());
    drop(silent);
    eventually("they are forgotten", || {
        let metrics = placet.admin_text("/metrics");
        let open = metrics.lines().filter(|line| line.starts_with("placet_http_connections"));
        let open: f64 = open.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        (open < 16.0).then_some(())
    });
}

#[test]
fn a_process_that_was_stopped_goes_on_where_it_was() {
    let placet = Placet::start();
    placet.signal(Signal::SIGSTOP);
    let waiting = placet.cli(["requests", "ls", "--json"]).spawn();
    let mut stream = TcpStream::connect(address(&placet.ready.agents)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    placet.signal(Signal::SIGCONT);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(crate::harness::ended(waiting).code, 0);
    is_as_before(placet, &[]);
}

#[test]
fn without_descriptors_it_waits_and_then_goes_on() {
    let placet = Placet::start();
    let token = placet.ready.agent_token.clone().unwrap();
    let acknowledged = [placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201).json()];
    let mut open = TcpStream::connect(address(&placet.ready.agents)).unwrap();
    let mut get = |path: &str| {
        write!(open, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
            .unwrap();
        let mut answer = [0; 4096];
        let read = open.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    let files = fs::read_dir(format!("/proc/{}/fd", placet.pid())).unwrap().count();
    let limit = |soft: usize| {
        let pid = placet.pid().to_string();
        tool(
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).stdout(Stdio::null()),
        );
    };
    limit(files);
    let mut beyond: Vec<TcpStream> = (0..8).map(|_| half_a_call(&placet.ready.agents)).collect();
    // Who is in is served, also from the store; who is not yet in waits.
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(get("/v1/requests").starts_with("HTTP/1.1 200"));
    limit(4096);
    let mut late = beyond.pop().unwrap();
    write!(late, "x\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    late.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200", "who waited is served");
    is_as_before(placet, &acknowledged);
}
