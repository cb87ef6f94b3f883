//! Commands that use a token at one of the doors.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// A program to run.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  placet run --justification 'weekly report' -- pg_dump -t accounts shop > accounts.sql
  placet run --input plan.bin -- terraform apply plan.bin
  echo 'select 1' | placet run -- psql shop
  placet run --resume req_01jd2t3v4w5x6y7z8a9b0c1d2e

The program runs in placet's place, not here: in an empty directory with only the given inputs, without your
environment, with secrets that you never see. Ctrl-C while people are asked stops waiting and withdraws nothing;
Ctrl-C while it runs ends it.

Needs PLACET_AGENT_TOKEN, and PLACET_AGENTS_URL unless it is http://localhost:7071.")]
pub(crate) struct RunArgs {
    /// Why; reviewers read it, policy does not
    #[arg(long, short = 'j', value_name = "TEXT")]
    pub(crate) justification: Option<String>,
    /// The person on whose behalf, by name or id [default: the agent's sponsor]
    #[arg(long, value_name = "PERSON")]
    pub(crate) on_behalf_of: Option<String>,
    /// A file that the program finds in its directory, under the file's name; or NAME=FILE
    #[arg(long = "input", short = 'i', value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Standard input: - reads all of ours, which is the default if it is a pipe or a file; none gives nothing
    #[arg(long, value_enum, default_value_t = Stdin::Auto)]
    pub(crate) stdin: Stdin,
    /// Repeating the call with the same key within 24 hours never makes a second request
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Go on with an earlier request instead of making one
    #[arg(long, value_name = "REQUEST", conflicts_with_all = [
        "argv", "justification", "on_behalf_of", "inputs", "idempotency_key", "stdin",
    ])]
    pub(crate) resume: Option<String>,
    /// The program and its arguments
    #[arg(last = true, value_name = "PROGRAM", required_unless_present = "resume")]
    pub(crate) argv: Vec<String>,
}

/// What the program reads as its standard input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Stdin {
    /// Ours if it is a pipe or a file, nothing otherwise
    Auto,
    /// All of ours
    #[value(name = "-")]
    Read,
    /// Nothing
    None,
}

/// Requests of an agent or pipeline.
#[derive(Subcommand, Debug)]
pub(crate) enum Requests {
    /// List them, newest first
    Ls {
        /// Only those with this status; may be repeated
        #[arg(long, value_name = "STATUS")]
        status: Vec<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Everything about one
    Show {
        /// Its id
        #[arg(value_name = "REQUEST")]
        id: String,
    },
    /// Wait until people have decided, or what was executed has ended
    Wait {
        /// Its id
        #[arg(value_name = "REQUEST")]
        id: String,
        /// Stop waiting after so many seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Withdraw it, or end the command that it started
    Cancel {
        /// Its id
        #[arg(value_name = "REQUEST")]
        id: String,
    },
}

/// Reviews of a person.
#[derive(Subcommand, Debug)]
pub(crate) enum Review {
    /// List them, newest first
    Ls {
        /// Which of them
        #[arg(long, value_enum, default_value_t = ReviewState::Waiting)]
        state: ReviewState,
        /// Only those that you may decide on
        #[arg(long)]
        mine: bool,
        #[command(flatten)]
        page: Page,
    },
    /// The whole review, as it would be decided on
    Show {
        /// Its request's id or short code
        #[arg(value_name = "REVIEW")]
        id: String,
    },
    /// What the program wrote when it was carried out, as an asciicast that asciinema plays
    #[command(after_help = "\
Example:
  placet review recording 7F3K-9Q2M -o export.cast && asciinema play export.cast

The hash of what was recorded stands in the ledger, with the outcome; what arrives is compared with it.")]
    Recording {
        /// Its request's id or short code
        #[arg(value_name = "REVIEW")]
        id: String,
        /// The file; it must not exist [default: standard output]
        #[arg(long, short = 'o', value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show it, ask, and approve what was shown
    #[command(after_help = "\
Example:
  placet review approve 7F3K-9Q2M --reason 'checked with finance'

An API token approves only where the policy bundle says token_may_approve = true. The vote names the hash of the card
that was printed: if what is to be decided has changed meanwhile, it does not count.")]
    Approve(VoteArgs),
    /// Show it, ask, and deny it
    Deny(VoteArgs),
}

/// A vote.
#[derive(Args, Debug)]
pub(crate) struct VoteArgs {
    /// Its request's id or short code
    #[arg(value_name = "REVIEW")]
    pub(crate) id: String,
    /// Why; the requester reads it after a denial, auditors always
    #[arg(long, short = 'r', value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// Which reviews to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ReviewState {
    /// Those that wait for somebody
    Waiting,
    /// Those that are decided, or ran out
    Decided,
    /// All of them
    All,
}

impl ReviewState {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ReviewState::Waiting => "waiting",
            ReviewState::Decided => "decided",
            ReviewState::All => "all",
        }
    }
}

/// Which part of a list.
#[derive(Args, Debug)]
pub(crate) struct Page {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Where the previous page ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}
