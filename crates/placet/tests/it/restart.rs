//! What is left after a power cut, a polite stop, a second process, and a restored copy.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Options, Placet, ended, eventually, free_port};
use crate::people::deploy;

/// A program that stays, and leaves a child that would outlive it; the child's command line is like no other.
fn staying(mark: &str) -> String {
    format!("(exec -a {mark} sleep 600) & echo started; wait")
}

/// The processes of this name.
pub(crate) fn processes(mark: &str) -> Vec<String> {
    let listed = fs::read_dir("/proc").unwrap().flatten();
    let ids =
        listed.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
    ids.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).next().is_some_and(|name| name == mark.as_bytes())
    })
    .map(|entry| entry.file_name().to_string_lossy().into_owned())
    .collect()
}

/// Runs a command that was approved, until it has said `started`.
fn started(placet: &Placet, script: &str) -> Child {
    let mut running = placet.cli(["run", "--", "/bin/bash", "-c", script]).spawn();
    let ada = placet.session_of("Ada");
    ada.approve(&ada.waiting());
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    running
}

fn verify(placet: &Placet, key: &str, kept: &Path) -> Value {
    placet.cli(["audit", "checkpoint"]).succeeds();
    placet.cli(["audit", "verify", "--vkey", key, "--checkpoint"]).arg(kept).json()
}

#[test]
fn after_a_power_cut_everything_is_there_and_what_ran_is_unknown() {
    let placet = Placet::start();
    let door = placet.agents();
    let mark = format!("placet-test-child-{}", placet.pid());
    let running = started(&placet, &staying(&mark));
    let command = door.get("/v1/requests?status=executing").json()["requests"][0].clone();
    let pending = door.post("/v1/requests", &deploy("production", "1")).expect(201).json();
    let granted = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let claimed = door.post("/v1/requests", &deploy("staging", "2")).expect(201).json();
    let path =
        |request: &Value, rest: &str| format!("/v1/requests/{}{rest}", request["id"].as_str().unwrap());
    let claim = |request: &Value| json!({ "digest": request["digest"], "claim": "c1" });
    let execution = door.post(&path(&claimed, "/execution"), &claim(&claimed)).expect(200).json();
    eventually("the program's child", || (processes(&mark).len() == 1).then_some(()));
    let key = placet.log_key();
    let kept = placet.space().join("kept");
    fs::write(&kept, placet.cli(["audit", "checkpoint"]).succeeds()).unwrap();

    let placet = placet.crash().start();
    let door = placet.agents();
    let now = |request: &Value| door.get(&path(request, "")).expect(200).json();
    for request in [&pending, &granted, &claimed] {
        assert_eq!(now(request)["digest"], request["digest"]);
    }
    assert_eq!(
        [&pending, &granted, &claimed].map(|request| now(request)["status"].clone()),
        ["pending", "granted", "executing"]
    );
    let unknown = now(&command);
    assert_eq!(
        (&unknown["status"], &unknown["outcome"]["reported_by"]),
        (&json!("unknown"), &json!("nobody"))
    );
    assert!(unknown["outcome"]["summary"].as_str().unwrap().contains("restarted"), "{unknown}");
    assert_eq!(processes(&mark), [""; 0], "a leftover process");
    assert_ne!(ended(running).code, 0);
    // Nothing is tried again by itself, nor when asked.
    let again = json!({ "argv": ["/bin/bash", "-c", staying(&mark)] });
    door.post("/v1/commands", &again).problem(409, "outcome_unknown");
    // What was going on goes on: the same claim gets the same answer, the vote and the outcome count.
    assert_eq!(door.post(&path(&claimed, "/execution"), &claim(&claimed)).expect(200).json(), execution);
    let outcome = json!({ "execution_id": execution["execution_id"], "outcome": "succeeded" });
    door.post(&path(&claimed, "/outcome"), &outcome).expect(200);
    door.post(&path(&granted, "/execution"), &claim(&granted)).expect(200);
    let ada = placet.session_of("Ada");
    ada.approve(pending["id"].as_str().unwrap());

    let report = verify(&placet, &key, &kept);
    assert_eq!(report["older_checkpoints"], 1);
    assert_eq!(report["kinds"]["execution.finished"], 2);
    // A person says what really happened; only then may it be asked again.
    let resolve = format!("/v1/reviews/{}/resolution", command["id"].as_str().unwrap());
    ada.door.post(&resolve, &json!({ "text": "it had not begun" })).expect(200);
    door.post("/v1/commands", &again).expect(201);
}

#[test]
fn a_session_and_a_token_survive_a_power_cut() {
    // Cookies are bound to the port.
    let listen = format!("127.0.0.1:{}", free_port());
    let placet = Options::default().env("PLACET__REVIEWERS__LISTEN", &listen).start();
    let token = placet.token_of("Ada");
    let secret = placet.sign_in(placet.ready.invitation.as_ref().unwrap()).secret;
    let placet = placet.crash().start();
    placet.reviewers(Some(&token)).get("/v1/reviews").expect(200);
    placet.reviewers(None).header("cookie", &secret).get("/v1/reviews").expect(200);
}

#[test]
fn a_stop_answers_whoever_waits_and_ends_what_runs() {
    let placet = Placet::start();
    let mark = format!("placet-test-child-{}", placet.pid());
    let door = placet.agents();
    let running = started(&placet, &staying(&mark));
    let command = door.get("/v1/requests").json()["requests"][0]["id"].as_str().unwrap().to_owned();
    let body = deploy("production", "1");
    let request = door.post("/v1/requests", &body).expect(201).json();
    let path = format!("/v1/requests/{}", request["id"].as_str().unwrap());
    let mut events = door.follow(&format!("{path}/events"));
    events.until("\"pending\"");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| door.post("/v1/requests?wait=50", &body));
        // Once the repeated call is on record, it waits.
        eventually("the wait", || (placet.verdicts("request.attached").len() == 1).then_some(()));
        placet.signal(Signal::SIGINT);
        let answer = waiting.join().unwrap().expect(200).json();
        assert_eq!(answer["status"], "pending", "people are still asked, and its caller comes back");
    });
    assert!(events.rest().ends_with("\n\n"), "a stream ends between two events");
    let lost = ended(running);
    assert_eq!(lost.code, 143, "{lost:?}");
    let stopped = placet.ended();
    assert!(stopped.status.success(), "{:?}\n{}", stopped.status, stopped.log());
    assert_eq!(processes(&mark), [""; 0]);
    let placet = stopped.start();
    let ended = placet.agents().get(&format!("/v1/requests/{command}")).json();
    assert_eq!(
        (&ended["status"], &ended["outcome"]["reported_by"]),
        (&json!("failed"), &json!("placet")),
        "{ended}"
    );
    assert_eq!(placet.agents().get(&path).json()["status"], "pending");
}

/// The files of the database.
fn database(data: &Path) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("placet.db"))
}

#[test]
fn a_restored_database_is_noticed_and_signs_nothing() {
    let placet = Placet::start();
    let door = placet.agents();
    let request = door.post("/v1/requests", &deploy("staging", "1")).expect(201).json();
    let stopped = placet.stop();
    // As the guide for operators says: the database's files, while placet is stopped.
    let copied: Vec<(PathBuf, Vec<u8>)> =
        database(&stopped.data()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let placet = stopped.start();
    let path = format!("/v1/requests/{}/execution", request["id"].as_str().unwrap());
    let claim = json!({ "digest": request["digest"], "claim": "c1" });
    placet.agents().post(&path, &claim).expect(200);
    placet.cli(["audit", "checkpoint"]).succeeds();
    let stopped = placet.stop();
    let published = fs::read(stopped.data().join("log/checkpoint")).unwrap();
    // The copy still has the grant that was used.
    database(&stopped.data()).for_each(|path| fs::remove_file(path).unwrap());
    for (path, bytes) in copied {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let placet = stopped.start();
    let (agents, reviewers) = (placet.agents(), placet.reviewers(None));
    let not_ready = eventually("the contradiction is seen", || {
        let answer = reviewers.get("/readyz");
        (answer.status == 503).then_some(answer)
    });
    assert!(!not_ready.text().contains("placet.db"), "{}", not_ready.text());
    reviewers.get("/healthz").expect(200);
    agents.post(&path, &claim).problem(503, "unavailable");
    agents.get("/v1/requests").problem(503, "unavailable");
    agents.post("/v1/requests", &deploy("staging", "2")).problem(503, "unavailable");
    placet.cli(["audit", "checkpoint"]).run();
    placet.cli(["person", "add", "Mallory"]).run();
    let stopped = placet.stop();
    assert_eq!(fs::read(stopped.data().join("log/checkpoint")).unwrap(), published, "something was signed");
    assert!(stopped.log().contains("behind") || stopped.log().contains("published"), "{}", stopped.log());
}

#[test]
fn a_second_process_takes_nothing_away_from_the_first() {
    let placet = Placet::start();
    for _ in 0..2 {
        let second = placet.cli(["up"]).env("PLACET__AGENTS__LISTEN", "127.0.0.1:0");
        let refused = second.env("PLACET__REVIEWERS__LISTEN", "127.0.0.1:0").run();
        assert_eq!(refused.code, 78, "{refused:?}");
        assert!(refused.stderr.contains("another"), "{refused:?}");
    }
    // The socket is still the first one's.
    placet.cli(["person", "ls"]).succeeds();
    placet.agents().post("/v1/requests", &deploy("staging", "1")).expect(201);
}
