//! The command line: what can be asked of the binary, and how it explains itself.
//!
//! Who asks uses a token at one of the doors ([`asking`]); who operates uses the admin socket ([`operating`]); who
//! checks needs neither ([`checking`]).

pub(crate) mod asking;
pub(crate) mod checking;
pub(crate) mod operating;
pub(crate) mod tools;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::ConfigArgs;

/// Action-level approval gateway for AI agents and automated pipelines.
///
/// An agent tries a privileged action; policy permits it, forbids it, or asks people; only then does placet carry out
/// exactly what was reviewed. Every step is in a ledger that can be checked offline.
#[derive(Parser, Debug)]
#[command(
    name = "placet",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100,
    after_help = "\
Exit codes: the program's own for `placet run`, 128+n if a signal ended it; otherwise
   1  a check found something      64  wrong usage         69  placet cannot be reached
  70  a bug in placet              74  it ran before, and its output is gone
  75  waited, expired, lapsed or cancelled                 76  the outcome is unknown
  77  refused or denied            78  wrong configuration

Start here:  placet up"
)]
pub(crate) struct Cli {
    /// One JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve both doors; on the first start, set everything up
    #[command(after_help = "\
Examples:
  placet up                              data in ./placet-data, policy for one person alone
  placet up --starter team               a bundle in which nobody approves what their own agent asks
  placet up --json                       one line on stdout when ready, with addresses and the first credentials")]
    Up(UpArgs),
    /// Run commands on this machine, decided by a placet elsewhere
    ///
    /// Agents that cannot reach placet's own machine ask here, with the tokens that they have. What may be done, and the
    /// secrets for it, come from the authority with each claim; nothing of it is kept.
    #[command(after_help = "\
Examples:
  placet gateway --authority https://agents.placet.example --pep-token-file /etc/placet/pep.token
  placet gateway --listen 127.0.0.1:0 --json     one line on stdout when ready; the rest from placet.toml, [gateway]")]
    Gateway(GatewayArgs),
    /// Have a program run by placet, as soon as it is approved
    Run(asking::RunArgs),
    /// Requests of an agent or pipeline
    #[command(subcommand)]
    Requests(asking::Requests),
    /// Reviews, as the person whose API token is given
    #[command(subcommand)]
    Review(asking::Review),
    /// A sign-in link for the person that you are
    ///
    /// The admin socket tells which operating system user you are; the link signs in the person added with
    /// `placet person add --operator` as that user, and nobody else. Your other sessions and links end.
    Login,
    /// Agents and pipelines, and their tokens
    #[command(subcommand)]
    Agent(operating::Agent),
    /// People, their sign-in links and API tokens
    #[command(subcommand)]
    Person(operating::Person),
    /// Enforcement points outside of placet's own process, and their tokens
    #[command(subcommand)]
    Pep(operating::Pep),
    /// Groups of people and agents
    #[command(subcommand)]
    Group(operating::Group),
    /// Secrets that only placet holds
    #[command(subcommand)]
    Secret(operating::Secret),
    /// MCP servers whose tools agents call through placet
    #[command(subcommand)]
    Mcp(tools::Mcp),
    /// Policy bundles
    #[command(subcommand)]
    Policy(checking::Policy),
    /// Evidence
    #[command(subcommand)]
    Audit(checking::Audit),
    /// A copy of everything but the keys, taken while placet serves or while it does not
    #[command(after_help = "\
Examples:
  placet backup /backup/placet-$(date +%F)                                the data, without its keys
  placet backup /backup/placet-$(date +%F) --keys /vault/placet-keys      and the keys, to another place
  placet backup --verify /backup/placet-2026-11-25                        is it whole? no key is needed

What is personal stays encrypted in it. Without its keys it restores to nothing; whoever has both can read everything.")]
    Backup(operating::BackupArgs),
    /// Put a backup where `placet up` finds it, or go on from one that is older than the published ledger
    #[command(after_help = "\
Examples:
  placet restore /backup/placet-2026-11-25 --keys /vault/placet-keys --dir ./placet-data
  placet restore --accept-rollback --dir ./placet-data

A database that is behind its published ledger serves nobody: what happened since is not in it. With --accept-rollback it
goes on as a new epoch of the ledger, under a new name and a new key: an entry says so, what was open ends, and every
link, session and token of the backup is void.")]
    Restore(operating::RestoreArgs),
    /// What on this machine keeps placet from being worth what it could be
    Doctor,
    /// The configuration
    #[command(subcommand)]
    Config(checking::ConfigCommand),
    /// The OpenAPI document of a door
    Openapi {
        /// Which door
        door: checking::DoorName,
    },
    /// Reference pages, in Markdown
    Reference {
        /// About what
        topic: checking::ReferenceTopic,
    },
}

/// How to serve.
#[derive(clap::Args, Debug)]
pub(crate) struct UpArgs {
    /// The policy bundle to begin with, on the first start
    #[arg(long, value_enum, default_value_t = Starter::Solo)]
    pub(crate) starter: Starter,
    /// The name of the first reviewer, on the first start [default: the operating system's name for you]
    #[arg(long, value_name = "NAME")]
    pub(crate) reviewer: Option<String>,
}

/// How to serve as a gateway; what is not said here is in the configuration.
#[derive(clap::Args, Debug)]
pub(crate) struct GatewayArgs {
    /// The agents' door of the placet that decides
    #[arg(long, value_name = "URL")]
    pub(crate) authority: Option<String>,
    /// A file of mode 0600 with the token that `placet pep add` printed
    #[arg(long, value_name = "FILE")]
    pub(crate) pep_token_file: Option<String>,
    /// Where to listen for agents
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
}

impl GatewayArgs {
    /// What was said, by the key that it sets.
    pub(crate) fn said(self) -> [(&'static str, &'static str, Option<String>); 3] {
        [
            ("gateway.authority", "--authority", self.authority),
            ("gateway.token_file", "--pep-token-file", self.pep_token_file),
            ("gateway.listen", "--listen", self.listen),
        ]
    }
}

/// A bundle to begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Starter {
    /// One person alone: they may approve what their own agent asks, and every record says so
    Solo,
    /// Several people: nobody approves what is their own
    Team,
}

/// How to serve, for whoever wires it up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UpOptions {
    /// The bundle to begin with.
    pub(crate) starter: Starter,
    /// Whether to print one ready line of JSON.
    pub(crate) json: bool,
    /// The name of the first reviewer, if one was given.
    pub(crate) reviewer: Option<String>,
}

impl UpArgs {
    /// With what was said for every command.
    pub(crate) fn options(self, json: bool) -> UpOptions {
        UpOptions { starter: self.starter, json, reviewer: self.reviewer }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_programs_arguments_are_never_ours() {
        let cli = Cli::try_parse_from(["placet", "run", "--", "ls", "--json", "--help"]).unwrap();
        assert!(!cli.json);
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!(run.argv, ["ls", "--json", "--help"]);
        assert!(Cli::try_parse_from(["placet", "run", "ls"]).is_err(), "without -- a typo would be executed");
    }

    #[test]
    fn no_secret_is_an_argument() {
        for arguments in [
            ["placet", "secret", "set", "shop", "hunter2"].as_slice(),
            &["placet", "--token", "x", "requests", "ls"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err());
        }
    }
}
