//! Commands about policy, evidence and this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Starter;
use super::asking::Page;

/// Policy bundles.
#[derive(Subcommand, Debug)]
pub(crate) enum Policy {
    /// Read a bundle as placet would, offline, and say what is wrong with it
    #[command(after_help = "\
Examples:
  placet policy check ./policy
  placet policy check --starter solo")]
    Check(BundleArgs),
    /// Check a bundle and run its own tests, offline
    Test(BundleArgs),
    /// Bring a bundle's Cedar files into one style; comments stay
    Fmt {
        /// The bundle's directory, or one Cedar file
        path: PathBuf,
        /// Change nothing; fail if something would change
        #[arg(long)]
        check: bool,
    },
    /// Say why a request was permitted, asked about or refused
    ///
    /// A recorded request is explained under the bundle that decided it, from what was recorded with the decision. A file of
    /// test cases is decided and explained offline; its cases may leave out what they expect.
    #[command(after_help = "\
Examples:
  placet policy explain req_01m83g3jv2eygtwyh2g1gtcnhb
  placet policy explain 307H-H44X
  placet policy explain my-policy/tests/flags.toml
  placet policy explain question.toml --bundle my-policy")]
    Explain {
        /// A request's id or code, or a file of cases
        #[arg(value_name = "REQUEST|FILE")]
        what: String,
        /// For a file: the bundle's directory [default: the one that the file lies in]
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
        /// For a file: a bundle that placet brings along
        #[arg(long, value_enum, conflicts_with = "bundle")]
        starter: Option<Starter>,
        /// For a file: only the case of this name
        #[arg(long, value_name = "NAME")]
        case: Option<String>,
    },
    /// Write a starter bundle into a new directory, or begin a guard or a role
    #[command(
        visible_alias = "init",
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "\
Examples:
  placet policy new my-policy --starter team
  placet policy new guard big-exports --bundle my-policy --action data.export --role reviewers
  placet policy new role data-owners --bundle my-policy --group data-owners"
    )]
    New {
        #[command(subcommand)]
        part: Option<NewPart>,
        /// The directory; it must not exist
        #[arg(required = true)]
        directory: Option<PathBuf>,
        /// Which starter
        #[arg(long, value_enum, default_value_t = Starter::Solo)]
        starter: Starter,
    },
    /// The bundle in force
    Show,
    /// What was staged and activated, when, and by whom
    Ls {
        #[command(flatten)]
        page: HistoryArgs,
    },
    /// Check, test and store a bundle, and show what it would change; it decides nothing before it is activated
    ///
    /// Shown are the differences of text, and how recorded requests would come out: who is asked, permitted or refused now and
    /// would not be, or the other way round.
    #[command(after_help = "\
Examples:
  placet policy stage my-policy
  placet policy stage my-policy --since 30d
  placet policy stage 92b71eaa33de…      a stored bundle, against what is in force by now")]
    Stage {
        /// The bundle's directory, or the digest of a bundle that was staged before
        bundle: String,
        #[command(flatten)]
        replay: ReplayArgs,
    },
    /// Let a bundle decide from now on
    ///
    /// A directory is staged first: its differences are shown and you are asked. A digest names a staged bundle, and activates
    /// exactly that; if another one was activated since, it has to be staged, and looked at, again.
    Activate {
        /// The bundle's directory, or the digest of a staged one
        bundle: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// What to begin.
#[derive(Subcommand, Debug)]
pub(crate) enum NewPart {
    /// A guard, at the end of ask.cedar
    Guard {
        /// Its id
        name: String,
        /// The bundle's directory
        #[arg(long, value_name = "DIR", default_value = ".")]
        bundle: PathBuf,
        /// The action that it asks about [default: the bundle's only one]
        #[arg(long)]
        action: Option<String>,
        /// The role that decides [default: the bundle's first]
        #[arg(long)]
        role: Option<String>,
        /// How many of them
        #[arg(long, default_value_t = 1)]
        count: u32,
    },
    /// A reviewer role, at the end of bundle.toml
    Role {
        /// Its name
        name: String,
        /// The bundle's directory
        #[arg(long, value_name = "DIR", default_value = ".")]
        bundle: PathBuf,
        /// The group whose people have it [default: the role's name]
        #[arg(long, conflicts_with = "resource_attr")]
        group: Option<String>,
        /// The attribute by which each resource names the group whose people have it
        #[arg(long, value_name = "ATTRIBUTE")]
        resource_attr: Option<String>,
    },
}

/// Which recorded requests to replay.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Replay the newest so many recorded requests; 0 replays none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) last: u32,
    /// Replay only what came within this time, like 12h or 30d
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
}

/// A page of the history.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) limit: u32,
    /// Only what is older than this entry
    #[arg(long, value_name = "ENTRY")]
    pub(crate) before: Option<u64>,
}

/// A bundle on disk, or a starter.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct BundleArgs {
    /// The bundle's directory
    pub(crate) directory: Option<PathBuf>,
    /// A bundle that placet brings along
    #[arg(long, value_enum)]
    pub(crate) starter: Option<Starter>,
}

/// Evidence.
#[derive(Subcommand, Debug)]
pub(crate) enum Audit {
    /// Verify the whole ledger, or an audit bundle, offline
    #[command(after_help = "\
Examples:
  placet audit verify --vkey-file ledger.vkey                          the ledger of ./placet-data
  placet audit verify --log /backup/log --vkey 'NAME+ID+KEY' --checkpoint kept/checkpoint
  placet audit verify ./req_01jd2t3v4w5x6y7z8a9b0c1d2e --vkey-file ledger.vkey

The key has to come from elsewhere than what is verified, or it proves nothing. A checkpoint that you kept shows that
nothing was rewritten since.")]
    Verify(VerifyArgs),
    /// Requests by who, what, when and how they ended
    ///
    /// Everything that is said has to fit. A request fits the time if something happened to it then: it was asked, voted
    /// or decided on, begun, or ended.
    #[command(after_help = "\
Examples:
  placet audit search --action data.export --on 'tuesday afternoon' --tz Europe/Berlin
  placet audit search --by first-agent --resource 'Dataset::\"shop.accounts\"' --happened started
  placet audit search --reviewer Ada --verdict deny --from 2026-11-01 --to 2026-11-30")]
    Search(Box<SearchArgs>),
    /// The whole story of one request: what happened, the cards as shown, the policy, and its proof, checked right now
    Show {
        /// The request's id or code
        #[arg(value_name = "REQUEST")]
        id: String,
        #[command(flatten)]
        door: DoorArgs,
        /// A file with the ledger's public key [default: log.vkey in the data directory]
        #[arg(long, value_name = "FILE")]
        vkey_file: Option<PathBuf>,
    },
    /// Follow the ledger: every new entry, as it comes, until Ctrl-C; with --json one document a line
    #[command(after_help = "\
Examples:
  placet audit watch
  placet audit watch --from 0 --json > entries.jsonl

When placet goes away, this waits for it and goes on at the same index.")]
    Watch {
        /// Begin with the entry of this index [default: the next new one]
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// Make the search index anew from the ledger, and compare it with the one that was there
    ///
    /// While placet runs, it does so beside its work; when it does not, this command opens the data directory itself.
    Reindex,
    /// The ledger's public key, as verifiers want it; give it to auditors by another way than the ledger
    Key,
    /// Publish the ledger as it is now, and print the signed checkpoint; keep it where placet cannot write
    #[command(after_help = "\
Example:
  placet audit checkpoint > kept/checkpoint-$(date +%F)")]
    Checkpoint,
    /// What the program of one request wrote, as an asciicast that asciinema plays
    #[command(after_help = "\
Example:
  placet audit recording req_01jd2t3v4w5x6y7z8a9b0c1d2e -o export.cast

Taking it out is recorded. `placet audit bundle` has it too, with the proof that it is the one.")]
    Recording {
        /// The request's id
        #[arg(value_name = "REQUEST")]
        id: String,
        /// The file; it must not exist [default: standard output]
        #[arg(long, short = 'o', value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Everything about one request with its proofs, into a new directory
    Bundle {
        /// The request's id
        #[arg(value_name = "REQUEST")]
        id: String,
        /// The directory; it must not exist [default: the request's id]
        #[arg(long, short = 'o', value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

/// Whom to ask.
#[derive(Args, Debug)]
pub(crate) struct DoorArgs {
    /// Ask at the reviewers' door as the person of PLACET_PERSON_TOKEN, not on the admin socket
    #[arg(long)]
    pub(crate) reviewers: bool,
}

/// What to look for.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// The action's name, like data.export
    #[arg(long, value_name = "NAME")]
    pub(crate) action: Option<String>,
    /// Who asked, or on whose behalf: an agent or a person, by name or id
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,
    /// The resource, like 'Dataset::"shop.accounts"'
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) resource: Option<String>,
    /// Who voted, by name or id
    #[arg(long, value_name = "PERSON")]
    pub(crate) reviewer: Option<String>,
    /// How somebody voted: approve or deny
    #[arg(long, value_name = "WORD")]
    pub(crate) verdict: Option<String>,
    /// Where it stands now; several with commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// One request, by its id
    #[arg(long, value_name = "REQUEST")]
    pub(crate) request: Option<String>,
    /// One request, by its code
    #[arg(long, value_name = "CODE", conflicts_with = "request")]
    pub(crate) code: Option<String>,
    /// What has to have happened then: anything, asked, voted, started or ended [default: anything]
    #[arg(long, value_name = "WORD")]
    pub(crate) happened: Option<String>,
    /// A day: tuesday (the last one that has begun), 'tuesday afternoon', today, yesterday, 2026-11-24
    #[arg(long, value_name = "DAY")]
    pub(crate) on: Option<String>,
    /// Hours of that day: 12:00-18:00, morning, afternoon, evening, night
    #[arg(long, value_name = "HOURS")]
    pub(crate) between: Option<String>,
    /// From this time, or from the beginning of this day
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Before this time, or to the end of this day
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// The time zone in which days and hours are meant, by its IANA name [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) tz: Option<String>,
    #[command(flatten)]
    pub(crate) page: Page,
    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

/// What to verify, and by which key.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The directory of an audit bundle; the whole ledger if absent
    #[arg(value_name = "BUNDLE_DIR", conflicts_with = "log")]
    pub(crate) bundle: Option<PathBuf>,
    /// The ledger's directory [default: log/ in the data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// A checkpoint kept from earlier, which the ledger must continue; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub(crate) checkpoints: Vec<PathBuf>,
}

/// The ledger's public key.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyArgs {
    /// The ledger's public key, NAME+ID+KEY
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: Option<String>,
    /// A file that holds it
    #[arg(long, value_name = "FILE")]
    pub(crate) vkey_file: Option<PathBuf>,
}

/// The configuration.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Read it as `placet up` would, and print every key with its value and where that was said
    Check,
}

/// A door.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DoorName {
    /// Where agents and pipelines come in
    Agents,
    /// Where people come in
    Reviewers,
}

/// What a reference page is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ReferenceTopic {
    /// Every command
    Cli,
    /// Every key and variable
    Config,
}
