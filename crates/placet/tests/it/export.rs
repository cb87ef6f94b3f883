//! The real job: a table leaves a database whose password only placet holds, after one of its owners said yes.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;

use nix::unistd::{User, geteuid};
use placet_core::digest::Sha256Digest;
use serde_json::{Value, json};

use crate::harness::{Ended, Placet, ended, eventually, replace_in, walk};
use crate::people::Session;
use crate::postgres::Cluster;

const DUMP: [&str; 8] = ["pg_dump", "-h", "127.0.0.1", "-U", "exporter", "-t", "pgbench_accounts", "shop"];

/// Puts the example's policy in force, with this cluster's binaries and port, and its password into the vault.
fn hold_password_of(cluster: &Cluster, placet: &Placet, run_as: Option<&str>) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/export-postgres/policy");
    fs::remove_dir_all(placet.policy()).unwrap();
    let copied = Command::new("cp").arg("-r").arg(example).arg(placet.policy()).status().unwrap();
    assert!(copied.success());
    let runner = placet.policy().join("runner.toml");
    replace_in(&runner, "/usr/lib/postgresql/15/bin", cluster.bin.to_str().unwrap());
    replace_in(&runner, "environment = {", &format!("environment = {{ PGPORT = \"{}\",", cluster.port));
    if let Some(user) = run_as {
        replace_in(&runner, "danger_same_user = true", &format!("run_as = \"{user}\""));
    }
    placet.activate();
    placet.cli(["secret", "set", "shop-exporter"]).stdin(format!("{}\n", cluster.password)).succeeds();
    placet.cli(["group", "add", "data-owners"]).succeeds();
}

/// A user that is neither placet's nor the agent's.
pub(crate) fn runner_user() -> &'static str {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let name = "placet-runner";
    assert!(
        geteuid().is_root(),
        "only root can execute as another user, and what is enforced has to be seen: run the tests as root"
    );
    if User::from_name(name).unwrap().is_none() {
        let made = Command::new("useradd").args(["--system", "--shell", "/usr/sbin/nologin", name]).output();
        let made: Output = made.expect("useradd makes the user that executes");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    name
}

/// The dump, asked for with an environment that would lead it elsewhere; with what the client said until it ended.
fn dump_approved_by(placet: &Placet, reviewer: &Session<'_>, meanwhile: impl Fn(&str, u32)) -> Ended {
    let run = placet.cli(["run", "--justification", "weekly report", "--"]).args(DUMP);
    let hostile =
        [("PGHOSTADDR", "10.255.255.1"), ("PGPORT", "1"), ("PGPASSWORD", "wrong"), ("PGOPTIONS", "-c x=y")];
    let run = hostile.into_iter().fold(run, |run, (name, value)| run.env(name, value));
    let client = run.env("LD_PRELOAD", "/no/such/preload.so").spawn();
    let id = reviewer.waiting();
    meanwhile(&id, client.id());
    reviewer.approve(&id);
    ended(client)
}

/// What every review of the dump shows.
fn check_card(cluster: &Cluster, review: &Value, user: &str) {
    let card = &review["card"];
    assert_eq!(
        (&card["action"], &card["resource"]),
        (&json!("data.export"), &json!("Dataset::\"shop.accounts\""))
    );
    assert_eq!((&card["justification"], &card["on_behalf_of"]), (&json!("weekly report"), &json!("Ada")));
    assert_eq!(
        (&card["guards"][0]["id"], &card["guards"][0]["title"]),
        (&json!("pii-export"), &json!("Export of personal data"))
    );
    let program = cluster.bin.join("pg_dump").canonicalize().unwrap();
    let sha256 = Sha256Digest::of(&fs::read(&program).unwrap()).to_string();
    let facts = [&card["arguments"], &card["facts"], &card["pins"], &card["resource_facts"]];
    let shown: Vec<String> = facts
        .into_iter()
        .flat_map(|facts| facts.as_array().unwrap())
        .map(|fact| format!("{}: {}", fact["name"].as_str().unwrap(), fact["value"].as_str().unwrap()))
        .collect();
    let shown = shown.join("\n");
    for part in [
        program.to_str().unwrap(),
        &sha256,
        "shop-exporter@1",
        user,
        "PGPORT",
        &cluster.port.to_string(),
        "pii",
        "data-owners",
    ] {
        assert!(shown.contains(part), "{part:?} is not on the card:\n{shown}");
    }
    for word in DUMP {
        assert!(shown.contains(word), "{word:?} is not on the card:\n{shown}");
    }
}

/// The outcome is that of exactly these bytes.
fn check_outcome(placet: &Placet, id: &str, dump: &[u8]) {
    let request = placet.agents().get(&format!("/v1/requests/{id}")).expect(200).json();
    let outcome = &request["outcome"];
    assert_eq!((&request["status"], &outcome["reported_by"]), (&json!("succeeded"), &json!("placet")));
    let sha256 = Sha256Digest::of(dump).to_string();
    assert_eq!(outcome["result_digest"], sha256);
    assert_eq!(outcome["measures"]["bytes"], dump.len());
    assert_eq!(outcome["measures"]["exit_code"], 0);
    let duration = outcome["measures"]["duration_ms"].as_u64().unwrap();
    let shown = placet.cli(["requests", "show", id]).succeeds();
    for part in ["exit_code 0", &format!("bytes {}", dump.len()), &format!("duration_ms {duration}"), &sha256]
    {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
}

fn check_dump(dump: &[u8]) {
    let text = std::str::from_utf8(dump).unwrap();
    assert!(text.contains("COPY public.pgbench_accounts"), "{}", &text[..text.len().min(500)]);
    assert_eq!(text.lines().filter(|line| line.split('\t').count() == 4).count(), 100_000);
    assert!(text.contains("\n-- PostgreSQL database dump complete\n"));
}

/// Nothing that placet keeps, says or serves has the password in it.
fn check_secrecy(cluster: &Cluster, placet: &Placet, reviewer: &Session<'_>, id: &str) {
    let secret = cluster.password.as_bytes();
    let has = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    for file in walk(placet.space()) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!has(&bytes), "the password is in {}", file.display());
    }
    let agents = placet.agents();
    for (door, path) in [
        (&agents, format!("/v1/requests/{id}")),
        (&agents, "/v1/requests".to_owned()),
        (&reviewer.cookie, format!("/v1/reviews/{id}")),
        (&reviewer.cookie, format!("/r/{id}")),
        (&reviewer.cookie, "/v1/audit/entries?limit=200".to_owned()),
    ] {
        assert!(!has(&door.get(&path).expect(200).body), "the password is at {path}");
    }
    assert!(!has(placet.admin("/admin/v1/audit/entries?limit=200").to_string().as_bytes()));
    assert!(!has(placet.cli(["secret", "ls"]).succeeds().as_bytes()));
}

#[test]
fn a_table_leaves_after_its_owner_said_yes_by_a_user_that_nobody_shares() {
    let (cluster, placet) = (Cluster::start(), Placet::start());
    let user = runner_user();
    hold_password_of(&cluster, &placet, Some(user));
    placet.add_person("Grace", &["data-owners"]);
    placet.cli(["group", "join", "data-owners", "Ada"]).succeeds();

    // Without placet, the same command is refused by the database.
    let mut direct = Command::new(cluster.bin.join("pg_dump"));
    direct.env("PGPORT", cluster.port.to_string()).arg("-w").args(&DUMP[1..]);
    let direct = direct.output().unwrap();
    assert!(!direct.status.success() && direct.stdout.is_empty());
    assert!(String::from_utf8_lossy(&direct.stderr).contains("no password supplied"), "{direct:?}");

    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let grace = placet.session_of("Grace");
    let dump = dump_approved_by(&placet, &grace, |id, client| {
        let review = grace.review(id);
        check_card(&cluster, &review, user);
        assert_eq!(
            (&review["request"]["grade"], &review["card"]["grade"]),
            (&json!("enforced"), &json!("enforced"))
        );
        // A second owner is there, so the sponsor's own exception is over.
        ada.cast(id, &ada.ballot(id, "approve")).problem(403, "self_approval");
        for file in ["environ", "cmdline"] {
            let seen = fs::read(format!("/proc/{client}/{file}")).unwrap();
            assert!(!String::from_utf8_lossy(&seen).contains(&cluster.password), "/proc/{client}/{file}");
        }
    });
    assert_eq!(dump.code, 0, "{}", dump.stderr);
    let id = placet.agents().get("/v1/requests").json()["requests"][0]["id"].as_str().unwrap().to_owned();
    let code = grace.review(&id)["request"]["short_code"].as_str().unwrap().to_owned();
    for part in [
        "data.export on Dataset::\"shop.accounts\" waits for people",
        &format!("review    {}/r/{code}", placet.ready.reviewers),
        &format!("code      {code}"),
        "deadline  ",
        "0 of 1 data-owners",
    ] {
        assert!(dump.stderr.contains(part), "{part:?} is not in {}", dump.stderr);
    }
    check_dump(&dump.stdout);
    check_outcome(&placet, &id, &dump.stdout);
    let page = grace.cookie.get(&format!("/r/{code}")).expect(200).text();
    for part in [Sha256Digest::of(&dump.stdout).to_string(), dump.stdout.len().to_string(), "enforced".into()]
    {
        assert!(page.contains(&part), "{part:?} is not on the review page");
    }
    check_secrecy(&cluster, &placet, &grace, &id);
    // The database says who came: once, and from nowhere else.
    let bundle = placet.space().join("evidence");
    placet.cli(["audit", "bundle", &id, "-o"]).arg(&bundle).succeeds();
    placet.cli(["audit", "verify", "--vkey", &placet.log_key()]).arg(&bundle).succeeds();
    check_secrecy(&cluster, &placet, &grace, &id);
}

#[test]
fn a_table_leaves_as_ones_own_user_and_everybody_is_told_what_that_is_worth() {
    let (cluster, placet) = (Cluster::start(), Placet::start());
    hold_password_of(&cluster, &placet, None);
    placet.cli(["group", "join", "data-owners", "Ada"]).succeeds();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let own = User::from_uid(geteuid()).unwrap().unwrap().name;
    let dump = dump_approved_by(&placet, &ada, |id, _| {
        let review = ada.review(id);
        check_card(&cluster, &review, &own);
        assert_eq!(
            (&review["card"]["grade"], &review["card"]["self_review"]),
            (&json!("advisory"), &json!(true))
        );
        let page = ada.cookie.get(&format!("/r/{id}")).expect(200).text();
        assert!(page.contains("advisory") && page.contains(review["card"]["grade_note"].as_str().unwrap()));
    });
    assert_eq!(dump.code, 0, "{}", dump.stderr);
    check_dump(&dump.stdout);

    // What is mapped as something else gets no secret, whoever approves it.
    let other = placet.cli([
        "run",
        "--",
        "pg_dump",
        "-w",
        "-h",
        "127.0.0.1",
        "-U",
        "exporter",
        "-t",
        "pgbench_*",
        "shop",
    ]);
    let other = other.spawn();
    let id = ada.waiting();
    let review = ada.review(&id);
    assert_eq!(review["card"]["resource"], "Program::\"pg_dump\"");
    assert!(!review["card"]["pins"].to_string().contains("shop-exporter"), "{review}");
    ada.approve(&id);
    let other = ended(other);
    assert_eq!((other.code, other.stdout.len()), (1, 0), "{other:?}");
    assert!(other.stderr.contains("no password supplied"), "{other:?}");

    // A secret that was replaced after the review is not the one that was reviewed; one that is gone is not released.
    let waiting = placet.cli(["run", "--"]).args(DUMP).arg("--no-such-option").spawn();
    drop(kill_and_wait(waiting));
    let waiting = placet
        .cli(["run", "-j", "again", "--"])
        .args(["pg_dump", "-t", "pgbench_branches"])
        .args(&DUMP[1..5]);
    let waiting = waiting.arg("shop").spawn();
    let id = eventually("the second export", || {
        let listed = ada.door.get("/v1/reviews").json();
        let all = listed["reviews"].as_array().unwrap().clone();
        let found = all.iter().find(|line| line["request"]["resource"]["id"] == "shop.branches")?;
        found["request"]["id"].as_str().map(str::to_owned)
    });
    placet.cli(["secret", "rm", "shop-exporter"]).succeeds();
    ada.approve(&id);
    let refused = ended(waiting);
    assert_eq!((refused.code, refused.stdout.len()), (77, 0), "{refused:?}");
    assert!(refused.stderr.contains("secret_gone"), "{refused:?}");
    assert_eq!(placet.verdicts("claim.refused"), ["secret_gone"]);
}

/// Ends a client that waits; its request stays.
fn kill_and_wait(mut client: std::process::Child) -> String {
    client.kill().unwrap();
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    client.wait().unwrap();
    said
}
