//! From a name to what is executed: what is refused, and that the reviewed bytes are those that run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use placet_gateway::frames::EndStatus;
use placet_gateway::runner::config::{Config, RunAs};
use placet_gateway::runner::program::{Program, ProgramError, find};

use crate::bench::*;

fn refused(path: &Path) -> String {
    Program::open(path).unwrap_err().to_string()
}

#[test]
fn names_are_found_where_the_bundle_or_root_put_them() {
    let config = Config::parse("[[program]]\nname = \"dump\"\npath = \"/opt/real/dump\"").unwrap();
    for name in ["dump", "/opt/real/dump"] {
        assert_eq!(find(name, &config).unwrap(), PathBuf::from("/opt/real/dump"));
    }
    assert!(find("sh", &config).unwrap().ends_with("sh"));
    assert_eq!(find("/usr/bin/env", &config).unwrap(), PathBuf::from("/usr/bin/env"));
    for name in ["./sh", "bin/sh", "/tmp/sh", "/usr/bin/../../tmp/sh", "/usr/bin/.", "../sh"] {
        assert!(matches!(find(name, &config), Err(ProgramError::Place(_))), "{name}");
    }
    for name in ["", ".", "..", "no-such-program"] {
        assert!(matches!(find(name, &config), Err(ProgramError::NotFound(_))), "{name}");
    }
}

#[test]
fn links_are_followed_to_the_file_that_is_pinned() {
    let directory = trusted_directory();
    let at = |name: &str| directory.path().join(name);
    write_executable(&at("real"), b"\x7fELF one");
    fs::create_dir(at("bin")).unwrap();
    symlink("../real", at("bin/by-link")).unwrap();
    symlink("bin", at("linked-directory")).unwrap();
    let pins = Program::open(&at("linked-directory/by-link")).unwrap().pins().to_vec();
    assert_eq!(pins.len(), 1);
    assert_eq!(Path::new(&pins[0].path), fs::canonicalize(at("real")).unwrap());
    assert_eq!(pins, Program::open(&at("real")).unwrap().pins());

    symlink("round", at("round")).unwrap();
    assert!(refused(&at("round")).contains("too many links"));
    assert!(refused(&at("missing")).contains("check that it exists"));
    assert!(refused(Path::new("bin/by-link")).contains("plain name"));
    assert!(refused(&at("real/below")).contains("open"), "a file is no directory");
}

#[test]
fn what_others_can_write_to_is_refused() {
    let directory = trusted_directory();
    let at = |name: &str| directory.path().join(name);
    let set_mode =
        |name: &str, mode: u32| fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    write_executable(&at("file"), b"\x7fELF");
    fs::create_dir(at("open")).unwrap();
    write_executable(&at("open/file"), b"\x7fELF");
    symlink("open/file", at("through-open")).unwrap();
    symlink("../file", at("open/link-in-open")).unwrap();

    assert!(Program::open(&at("open/file")).is_ok(), "all is well to begin with");
    set_mode("open", 0o777);
    for name in ["open/file", "through-open", "open/link-in-open"] {
        assert!(refused(&at(name)).contains("others can write"), "{name}");
    }
    set_mode("open", 0o1777);
    assert!(refused(&at("open/file")).contains("others can write"), "sticky does not help");
    set_mode("file", 0o757);
    assert!(refused(&at("file")).contains("others can write"));

    if is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        for (name, mode, uid, gid) in [
            ("file", 0o755, Some(uid), None),
            ("file", 0o775, Some(0), Some(gid)),
            ("open", 0o755, Some(uid), None),
            ("open", 0o775, Some(0), Some(gid)),
        ] {
            set_mode(name, mode);
            std::os::unix::fs::chown(at(name), uid, gid).unwrap();
            let program = if name == "open" { at("open/file") } else { at("file") };
            assert!(refused(&program).contains("others can write"), "{name} {mode:o} {uid:?} {gid:?}");
        }
    }
}

#[test]
fn only_programs_are_executed() {
    let directory = trusted_directory();
    let at = |name: &str| directory.path().join(name);
    write_executable(&at("text"), "echo a shell would run this\n");
    write_executable(&at("empty"), "");
    fs::write(at("not-executable"), b"\x7fELF").unwrap();
    for name in ["text", "empty", "not-executable", ""] {
        assert!(refused(&at(name)).contains("not an executable file"), "{name:?}");
    }
    fs::create_dir(at("directory")).unwrap();
    assert!(refused(&at("directory")).contains("not an executable file"));
}

#[test]
fn scripts_are_pinned_with_their_interpreter() {
    let directory = trusted_directory();
    let at = |name: &str| directory.path().join(name);
    let sh = Program::open(Path::new("/bin/sh")).unwrap().pins()[0].clone();
    for (line, arguments) in
        [("#!/bin/sh", 1), ("#! /bin/sh -eu", 1), ("#!/usr/bin/env sh", 1), ("#!/bin/env\tsh", 1)]
    {
        write_executable(&at("script"), format!("{line}\ntrue\n"));
        let pins = Program::open(&at("script")).unwrap().pins().to_vec();
        assert_eq!(pins.len(), 1 + arguments, "{line}");
        assert_eq!(pins[1], sh, "{line}: what env would look up is pinned, not env");
    }
    write_executable(&at("nested"), format!("#!{}\n", at("script").display()));
    assert!(refused(&at("nested")).contains("first line"));
    let long = format!("#!/bin/sh {}\n", "x".repeat(300));
    for line in [
        "#!sh\n",
        "#!./sh\n",
        "#!\n",
        "#!/bin/sh",
        "#!/usr/bin/env\n",
        "#!/usr/bin/env -S sh -e\n",
        "#!/usr/bin/env A=b\n",
        "#!/usr/bin/env no-such-program\n",
        "#!/bin/s\0h\n",
        "#!/bin/\u{fffd}\0\n",
        &long,
    ] {
        write_executable(&at("script"), line);
        assert!(refused(&at("script")).contains("first line"), "{line:?}: {}", refused(&at("script")));
    }
}

#[tokio::test]
async fn scripts_run_with_their_interpreter_and_argument() {
    for bench in benches() {
        let script = bench.program("greet", "#!/bin/sh -e\necho \"hello $1\"\nfalse\necho not reached\n");
        let done = bench.run(launch(script.to_str().unwrap(), &["world"])).await;
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("hello world\n", ""));
        assert_eq!(done.report.end.exit_code, Some(1));
    }
}

/// Changes the program, or the interpreter, at these paths.
type Swap = fn(&Path, &Path);

#[tokio::test]
async fn a_program_swapped_after_the_review_is_not_run() {
    for bench in benches() {
        let shell = fs::read("/bin/sh").unwrap();
        let swaps: [(&str, Swap); 4] = [
            ("rewritten in place", |program, _| write_executable(program, "#!/bin/sh\necho swapped\n")),
            ("another file of that name", |program, _| {
                fs::remove_file(program).unwrap();
                write_executable(program, "#!/bin/sh\necho swapped\n");
            }),
            ("a link to another", |program, interpreter| {
                fs::remove_file(program).unwrap();
                symlink(interpreter, program).unwrap();
            }),
            ("another interpreter", |_, interpreter| {
                fs::remove_file(interpreter).unwrap();
                write_executable(interpreter, fs::read("/bin/cat").unwrap());
            }),
        ];
        for (what, swap) in swaps {
            let interpreter = bench.program("interpreter", &shell);
            let program = bench.program("program", format!("#!{}\necho reviewed\n", interpreter.display()));
            let launch = launch(program.to_str().unwrap(), &[]);
            swap(&program, &interpreter);
            let done = bench.run(launch).await;
            assert_eq!(done.stdout, "", "{what}");
            assert_eq!(done.report.end.status, EndStatus::Failed, "{what}");
            assert_eq!(done.report.end.reason.as_deref(), Some("program_changed"), "{what}");
            for path in [program, interpreter] {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_descriptor_is_run_even_if_the_path_is_gone() {
    let bench = Bench::new(&RunAs::DangerSameUser);
    let busy = bench.program("self-removing", "#!/bin/sh\nrm -f \"$1\"; echo still here\n");
    let path = busy.to_str().unwrap();
    let done = bench.run(launch(path, &[path])).await;
    assert_eq!(done.stdout, "still here\n");
    assert!(!busy.exists());
}
