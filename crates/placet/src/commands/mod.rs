//! What the commands do: one module for each word of the command line.

mod agents;
mod audit;
mod backups;
mod bundle;
mod doctor;
mod export;
mod follow;
mod groups;
mod inputs;
mod interrupt;
mod login;
mod people;
mod peps;
mod policy;
mod recordings;
mod reference;
mod requests;
mod review;
mod run;
mod search;
mod secrets;
mod settings;
mod stdio;
mod tools;
pub(crate) mod trail;
mod waiting;

use std::future::Future;

use crate::admin::Admin;
use crate::cli::checking::{ConfigCommand, DoorName, ReferenceTopic};
use crate::cli::{Cli, Command};
use crate::config::{self, ConfigArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, Output};
use crate::{gateway, logging, up};

/// Does what was asked.
pub(crate) fn run(cli: Cli, output: Output) -> Result<Exit, Failure> {
    let config = cli.config;
    match cli.command {
        Command::Up(args) => {
            let config = config::load(&config)?;
            logging::start(output);
            let up = Box::pin(up::up(config, args.options(output.is_json())));
            block_on(async {
                up.await.map(|()| Exit::Done).map_err(|error| Failure::of(Exit::Configuration, &error))
            })
        }
        Command::Gateway(args) => {
            let config = config::load_with(&config, args.said())?;
            logging::start(output);
            block_on(Box::pin(gateway::serve(config, output)))
        }
        Command::Run(args) => block_on(run::run(args, output)),
        Command::Requests(command) => block_on(requests::run(command, output)),
        Command::Review(command) => block_on(review::run(command, output)),
        Command::Login => on_socket(&config, async |admin| people::login(&admin, output).await),
        Command::Agent(command) => {
            on_socket(&config, async |admin| agents::run(command, &admin, output).await)
        }
        Command::Person(command) => {
            on_socket(&config, async |admin| people::run(command, &admin, output).await)
        }
        Command::Pep(command) => on_socket(&config, async |admin| peps::run(command, &admin, output).await),
        Command::Group(command) => {
            on_socket(&config, async |admin| groups::run(command, &admin, output).await)
        }
        Command::Secret(command) => {
            on_socket(&config, async |admin| secrets::run(command, &admin, output).await)
        }
        Command::Mcp(command) => tools::run(command, &config, output),
        Command::Policy(command) => policy::run(command, &config, output),
        Command::Audit(command) => audit::run(command, &config, output),
        Command::Backup(args) => backups::backup(args, &config, output),
        Command::Restore(args) => backups::restore(args, &config, output),
        Command::Doctor => doctor::run(&config, output),
        Command::Config(ConfigCommand::Check) => settings::check(&config, output),
        Command::Openapi { door } => output::data(openapi(door).as_bytes()).map(|()| Exit::Done),
        Command::Reference { topic } => {
            let page = match topic {
                ReferenceTopic::Cli => reference::cli(),
                ReferenceTopic::Config => reference::config(),
            };
            output::data(page.as_bytes()).map(|()| Exit::Done)
        }
    }
}

fn openapi(door: DoorName) -> String {
    match door {
        DoorName::Agents => placet_server::openapi_agents(),
        DoorName::Reviewers => placet_server::openapi_reviewers(),
    }
}

/// Runs a command that waits for others.
fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(Exit::Bug, &error))?;
    let ended = runtime.block_on(command);
    // A thread that still reads the terminal must not keep us.
    runtime.shutdown_background();
    ended
}

/// Runs an operator's command on the socket of the data directory that the configuration names.
fn on_socket(
    config: &ConfigArgs,
    command: impl AsyncFnOnce(Admin) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let admin = Admin::of(&config::load(config)?.dir);
    block_on(command(admin))
}
