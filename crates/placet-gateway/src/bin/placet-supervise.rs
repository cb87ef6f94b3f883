//! The supervisor alone, for the tests of this crate. The product's binary becomes its own supervisor.

use std::process::ExitCode;

fn main() -> ExitCode {
    placet_gateway::runner::supervisor::supervise_main(std::env::args_os().skip(1))
}
