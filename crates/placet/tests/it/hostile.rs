//! Programs, callers and files that want more than was reviewed. None gets it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::commands::permit_commands;
use crate::export::runner_user;
use crate::harness::{Ended, Options, Placet, ended, eventually, walk};
use crate::restart::processes;

/// A secret that reads like nothing else here.
const SECRET: &str = "correct-horse-battery-staple";

/// A directory that only root, or placet's own user, can write to, all the way up: nothing else holds a program.
fn trusted() -> TempDir {
    placet_testkit::trusted_directory(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Adds to `runner.toml` the program `tool` at this path, which gets the secret.
fn declare(placet: &Placet, path: &Path, bounds: &str) {
    let file = placet.policy().join("runner.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[runner]\n", &format!("[runner]\n{bounds}\n"));
    let tool = format!(
        "[[program]]\nname = \"tool\"\npath = \"{}\"\nenvironment = {{ TOOL_MODE = \"quiet\" }}\n\
         [[secret]]\nenv = \"TOOL_SECRET\"\nsecret = \"tool\"\nprogram = \"tool\"\n\
         target = {{ action = \"command.run\", resource = 'Program::\"tool\"' }}\n",
        path.display()
    );
    fs::write(&file, text + &tool).unwrap();
    placet.cli(["secret", "set", "tool"]).stdin(SECRET).succeeds();
}

/// A placet that runs this script as `tool` without a review, within these bounds.
fn with_tool(options: Options, script: &str, bounds: &str) -> (Placet, TempDir) {
    let (placet, directory) = (options.start(), trusted());
    let tool = directory.path().join("tool");
    write_script(&tool, script);
    permit_commands(&placet);
    declare(&placet, &tool, bounds);
    placet.activate();
    (placet, directory)
}

/// The latest request's outcome, as the agent sees it.
fn outcome(placet: &Placet) -> Value {
    placet.agents().get("/v1/requests?limit=1").expect(200).json()["requests"][0].clone()
}

#[test]
fn a_callers_environment_does_not_arrive() {
    let script = "env -u TOOL_SECRET | sort; [ \"$TOOL_SECRET\" != /evil ] && echo own secret\n\
                  echo \"$#\" \"$@\"; ls -A; ulimit -c";
    let (placet, _directory) = with_tool(Options::default(), script, "");
    let hostile = [
        "PGHOSTADDR",
        "PGSERVICEFILE",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "BASH_ENV",
        "ENV",
        "IFS",
        "TOOL_MODE",
        "TOOL_SECRET",
        "PLACET_EXECUTION",
    ];
    let run = placet.cli(["run", "--", "tool", "a b", "$(id)", ""]);
    let ended = hostile.into_iter().fold(run, |run, name| run.env(name, "/evil")).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(!said.contains("evil"), "{said}");
    let names: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // What bash itself makes, what the bundle says, and the runner's mark.
    assert_eq!(names, ["PLACET_EXECUTION", "PWD", "SHLVL", "TOOL_MODE", "_"], "{said}");
    assert!(said.ends_with("\nown secret\n3 a b $(id) \n0\n"), "{said}");
}

#[test]
fn a_program_that_was_swapped_after_the_review_is_not_run() {
    let (placet, directory) = (Placet::start(), trusted());
    let at = |name: &str| directory.path().join(name);
    for version in ["one", "two"] {
        fs::create_dir(at(version)).unwrap();
        write_script(&at(version).join("tool"), &format!("echo {version}"));
    }
    symlink("one", at("current")).unwrap();
    declare(&placet, &at("current/tool"), "");
    placet.activate();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let approved_after = |arguments: &str, swap: &dyn Fn()| {
        let waiting = placet.cli(["run", "--", "tool", arguments]).spawn();
        let id = ada.waiting();
        assert!(ada.review(&id)["card"]["pins"].to_string().contains("/one/tool"));
        swap();
        ada.approve(&id);
        ended(waiting)
    };
    let refused = |ended: &Ended, reason: &str| {
        assert_eq!((ended.code, ended.stdout.len()), (77, 0), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");
        let request = outcome(&placet);
        assert_eq!(request["status"], "failed");
        assert!(request["outcome"]["summary"].as_str().unwrap().contains(reason), "{request}");
    };
    assert_eq!(approved_after("unchanged", &|| {}).stdout, b"one\n");
    // Another file behind the same name, through a link that was turned.
    let turned = approved_after("link", &|| {
        fs::remove_file(at("current")).unwrap();
        symlink("two", at("current")).unwrap();
    });
    refused(&turned, "program_changed");
    fs::remove_file(at("current")).unwrap();
    symlink("one", at("current")).unwrap();
    // Other bytes in the same file.
    let rewritten = approved_after("bytes", &|| write_script(&at("one/tool"), "echo three"));
    refused(&rewritten, "program_changed");
    write_script(&at("one/tool"), "echo one");
    // The same bytes where others can write.
    let opened = approved_after("open", &|| {
        fs::set_permissions(at("one"), Permissions::from_mode(0o777)).unwrap();
    });
    refused(&opened, "program_changed");
    // Now it is not even asked about.
    placet.cli(["run", "--", "tool"]).fails(77, "program_refused");
    fs::set_permissions(at("one"), Permissions::from_mode(0o755)).unwrap();
    // The environment that a new bundle gives it was not reviewed.
    let changed = approved_after("bundle", &|| placet.change_policy("runner.toml", "quiet", "loud"));
    refused(&changed, "runner_changed");
}

#[test]
fn an_input_that_was_swapped_after_the_review_is_not_used() {
    let placet = Placet::start();
    let ada = placet.sign_in(placet.ready.invitation.as_ref().unwrap());
    let plan = placet.space().join("plan");
    let blobs = || walk(&placet.data().join("blobs"));
    let approved_after = |content: &str, as_stdin: bool, swap: &dyn Fn(&Path)| {
        fs::write(&plan, content).unwrap();
        let known = blobs();
        let run = placet.cli(["run"]);
        let waiting = if as_stdin {
            run.args(["--", "/bin/cat"]).stdin(content).spawn()
        } else {
            run.arg("--input").arg(&plan).args(["--", "/bin/cat", "plan"]).spawn()
        };
        let id = ada.waiting();
        let uploaded: Vec<PathBuf> = blobs().into_iter().filter(|blob| !known.contains(blob)).collect();
        assert_eq!(uploaded.len(), 1, "{uploaded:?}");
        // The caller's own file plays no part any more.
        fs::write(&plan, "something else").unwrap();
        swap(&uploaded[0]);
        ada.approve(&id);
        ended(waiting)
    };
    assert_eq!(approved_after("unchanged", false, &|_| {}).stdout, b"unchanged");
    let elsewhere = placet.space().join("elsewhere");
    fs::write(&elsewhere, "evil").unwrap();
    for (content, reason) in
        [("overwritten", "input_changed"), ("removed", "input_gone"), ("linked", "input_changed")]
    {
        let swap = |blob: &Path| {
            fs::remove_file(blob).unwrap();
            match content {
                "overwritten" => fs::write(blob, "evil").unwrap(),
                "linked" => symlink(&elsewhere, blob).unwrap(),
                _ => {}
            }
        };
        for as_stdin in [false, true] {
            let refused = approved_after(&format!("{content} {as_stdin}"), as_stdin, &swap);
            assert_eq!((refused.code, refused.stdout.len()), (77, 0), "{content}: {refused:?}");
            assert!(refused.stderr.contains(reason), "{content}: {refused:?}");
            assert_eq!(outcome(&placet)["status"], "failed");
        }
    }
    // A name that would lead out of the directory is none.
    for name in ["../plan", "/etc/passwd", ".", "..", "a/b"] {
        let run = placet.cli(["run", "--input"]).arg(format!("{name}={}", plan.display()));
        run.args(["--", "/bin/cat", "plan"]).fails(64, "bad_input_name");
    }
}

#[test]
fn nothing_outlives_its_program() {
    let mark = format!("placet-test-orphan-{}", std::process::id());
    // A child in the background, one in a session of its own that ignores signals, and one that another child left.
    let script = format!(
        "(touch 1; exec -a {mark} sleep 600) &\n\
         setsid bash -c 'trap \"\" TERM HUP; touch 2; exec -a {mark} sleep 600' </dev/null >/dev/null 2>&1 &\n\
         (setsid bash -c '(touch 3; exec -a {mark} sleep 600) & disown' &)\n\
         until [ -e 1 -a -e 2 -a -e 3 ]; do sleep 0.01; done\n\
         ln -s / root; echo ended; pwd -P"
    );
    let options = Options::default().env("PLACET__RUNNER__RUN_AS", runner_user());
    let (placet, _directory) = with_tool(options, &script, "");
    let done = placet.cli(["run", "--", "tool"]).run();
    assert_eq!(done.code, 0, "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    let (ended, directory) = said.trim_end().split_once('\n').unwrap();
    assert_eq!(ended, "ended");
    assert_eq!(processes(&mark), [""; 0]);
    assert!(!Path::new(directory).exists(), "{directory} is left");
    let request = outcome(&placet);
    assert_eq!((&request["grade"], &request["status"]), (&json!("enforced"), &json!("succeeded")));
}

#[test]
fn a_program_that_prints_its_secret_is_stopped() {
    let script = "case $1 in\n\
        plain) echo before; echo \"it is $TOOL_SECRET\"; echo after;;\n\
        split) printf 'x%s' \"${TOOL_SECRET:0:9}\"; sleep 0.05; printf '%s' \"${TOOL_SECRET:9}\"; sleep 600;;\n\
        base64) printf '%s' \"$TOOL_SECRET\" | base64;;\n\
        hex) printf '%s' \"$TOOL_SECRET\" | od -An -tx1 | tr -d ' \\n';;\n\
        stderr) echo \"failed with $TOOL_SECRET\" >&2; exit 3;;\nesac";
    let (placet, _directory) = with_tool(Options::default(), script, "");
    for how in ["plain", "split", "base64", "hex"] {
        let stopped = placet.cli(["run", "--", "tool", how]).run();
        assert_eq!(stopped.code, 77, "{how}: {stopped:?}");
        assert!(stopped.stderr.contains("secret_leaked"), "{how}: {stopped:?}");
        let expected: &[u8] = match how {
            "plain" => b"before\nit is ",
            "split" => b"x",
            _ => b"",
        };
        assert_eq!(stopped.stdout, expected, "{how}");
        let request = outcome(&placet);
        assert_eq!(request["status"], "failed", "{how}");
        assert!(request["outcome"]["summary"].as_str().unwrap().contains("secret_leaked"), "{request}");
    }
    let failed = placet.cli(["run", "--", "tool", "stderr"]).run();
    assert_eq!(failed.code, 3, "{failed:?}");
    assert!(failed.stderr.contains("failed with [redacted]"), "{failed:?}");
    assert!(outcome(&placet)["outcome"]["summary"].as_str().unwrap().contains("failed with [redacted]"));
    for file in walk(placet.space()) {
        let bytes = fs::read(&file).unwrap_or_default();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "the secret is in {}", file.display());
    }
}

#[test]
fn a_program_that_prints_without_end_is_stopped_at_the_cap() {
    let mark = format!("placet-test-flood-{}", std::process::id());
    let script = format!("exec -a {mark} yes");
    let (placet, _directory) = with_tool(Options::default(), &script, "output_bytes_max = 65536");
    let stopped = placet.cli(["run", "--", "tool"]).run();
    assert_eq!(stopped.code, 77, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("output_cap"), "{}", stopped.stderr);
    assert!((1..=65536).contains(&stopped.stdout.len()), "{} bytes", stopped.stdout.len());
    assert!(stopped.stdout.chunks(2).all(|line| line == b"y\n" || line == b"y"));
    assert_eq!(processes(&mark), [""; 0]);
    let request = outcome(&placet);
    assert_eq!(
        (&request["status"], &request["outcome"]["measures"]["bytes"]),
        (&json!("failed"), &json!(stopped.stdout.len()))
    );
}

#[test]
fn a_program_that_never_ends_is_ended_with_its_lease() {
    let mark = format!("placet-test-endless-{}", std::process::id());
    let script = format!("trap '' TERM INT HUP; (exec -a {mark} sleep 600) & echo started; wait; wait");
    // Once the lease is over, nobody may report any more; the bound of the bundle is the runner's own.
    for (lease, bounds, reporter) in [("1s", "", "nobody"), ("15m", "seconds_max = 1", "placet")] {
        let options = Options::default().env("PLACET__LIFETIMES__LEASE", lease);
        let (placet, _directory) = with_tool(options, &script, bounds);
        let running: Child = placet.cli(["run", "--", "tool"]).spawn();
        let over = ended(running);
        assert_eq!((over.code, over.stdout.as_slice()), (76, b"started\n".as_slice()), "{over:?}");
        let request =
            eventually("the outcome", || Some(outcome(&placet)).filter(|it| it["status"] == "unknown"));
        assert_eq!(request["outcome"]["reported_by"], reporter, "{request}");
        assert_eq!(processes(&mark), [""; 0]);
    }
}

#[test]
fn placets_memory_is_nobody_elses() {
    use std::os::unix::fs::MetadataExt as _;

    let placet = Placet::start();
    let of = |file: &str| format!("/proc/{}/{file}", placet.pid());
    let limits = fs::read_to_string(of("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // The kernel gives what a debugger would want to root, whoever runs the process.
    assert_eq!(fs::metadata(of("environ")).unwrap().uid(), 0);
}
