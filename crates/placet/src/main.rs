//! The binary `placet`: everything wired together, and a command line for all who have to do with it.
//!
//! ```text
//! argv ─┬─ __supervise ─► gateway's supervisor: the parent of one reviewed program
//!       └─ cli ─► commands ─┬─ up: store, broker, doors, runner, until Ctrl-C
//!                           ├─ gateway: commands of this machine, decided by a placet elsewhere
//!                           ├─ run, requests ─► agents' door        (token of an agent)
//!                           ├─ review ─► reviewers' door            (token of a person)
//!                           ├─ agent, person, secret … ─► admin.sock (operating system user)
//!                           └─ policy check, audit verify … ─► files, offline
//! ```

mod admin;
mod agent_users;
mod authority;
mod backup;
mod cli;
mod commands;
mod config;
mod credentials;
mod exit;
mod gateway;
mod log_key;
mod logging;
mod machine;
mod output;
mod reindex;
mod runner;
mod seal;
mod starters;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use placet_gateway::runner::supervisor;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output::Output;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == supervisor::ARGUMENT) {
        return supervisor::supervise_main(arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            // Help and version are what was asked for; everything else is a misunderstanding.
            let exit = if said.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = said.print();
            let _ = std::io::stdout().flush();
            return exit.into();
        }
    };
    let output = Output::new(cli.json);
    match commands::run(cli, output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
