//! `placet-fuzz list`, `placet-fuzz seeds TARGET DIRECTORY`, `placet-fuzz run TARGET FILE…`: what `cargo xtask fuzz` and
//! whoever looks into a finding need beside the targets.

use std::path::Path;
use std::process::ExitCode;

use placet_fuzz::{TARGETS, Target, target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["seeds", name, directory] => {
            known(name).and_then(|target| write_seeds(target, Path::new(directory)))
        }
        ["run", name, files @ ..] => known(name).and_then(|target| run(target, files)),
        _ => Err("usage: placet-fuzz list | seeds TARGET DIRECTORY | run TARGET FILE…".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("placet-fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}

fn known(name: &str) -> Result<&'static Target, String> {
    target(name).ok_or_else(|| format!("there is no target {name}: see `placet-fuzz list`"))
}

/// Everything that a long run begins with: the seeds, the corpus, and the words.
fn write_seeds(target: &Target, directory: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("write to {}: {error}", directory.display());
    std::fs::create_dir_all(directory.join("inputs")).map_err(failed)?;
    let seeds =
        (target.seeds)().into_iter().enumerate().map(|(number, seed)| (format!("seed-{number}"), seed));
    for (name, input) in seeds.chain(target.corpus()) {
        std::fs::write(directory.join("inputs").join(name), input).map_err(failed)?;
    }
    let quoted = |word: &&str| {
        let bytes = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        format!("\"{bytes}\"\n")
    };
    std::fs::write(directory.join("words"), target.words.iter().map(quoted).collect::<String>())
        .map_err(failed)
}

fn run(target: &Target, files: &[&str]) -> Result<(), String> {
    for file in files {
        (target.run)(&std::fs::read(file).map_err(|error| format!("read {file}: {error}"))?);
        println!("{}: {file} holds", target.name);
    }
    Ok(())
}
