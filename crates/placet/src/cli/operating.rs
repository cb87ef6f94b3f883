//! Commands of the operator, who works on the admin socket.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Agents and pipelines.
#[derive(Subcommand, Debug)]
pub(crate) enum Agent {
    /// Add one; prints its token, once
    #[command(after_help = "\
Examples:
  placet agent add reporter --sponsor Ada --for Grace
  placet agent add deploy --pipeline --sponsor Ada --issuer https://token.actions.githubusercontent.com \\
    --subject repo:acme/shop:environment:production")]
    Add(NewAgent),
    /// List them
    Ls,
    /// Revoke one: its token opens nothing from now on, and what it was granted is not carried out
    Revoke {
        /// Its name or id
        #[arg(value_name = "AGENT")]
        which: String,
    },
    /// Erase what one asked for, with votes, reasons and cards: a revoked one with nothing open; nothing brings it back
    Erase {
        /// Its name or id
        #[arg(value_name = "AGENT")]
        which: String,
    },
    /// Give it a new token, printed once; the old one opens nothing from now on
    Rotate {
        /// Its name or id
        #[arg(value_name = "AGENT")]
        which: String,
    },
}

/// An agent to add.
#[derive(Args, Debug)]
pub(crate) struct NewAgent {
    /// Its name
    pub(crate) name: String,
    /// The person who answers for it, by name or id
    #[arg(long, value_name = "PERSON")]
    pub(crate) sponsor: String,
    /// A further owner; none of the owners approves what it asks
    #[arg(long = "owner", value_name = "PERSON")]
    pub(crate) owners: Vec<String>,
    /// A person that it may act for
    #[arg(long = "for", value_name = "PERSON")]
    pub(crate) acts_for: Vec<String>,
    /// A group that it is in
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// It is a pipeline with fixed steps
    #[arg(long)]
    pub(crate) pipeline: bool,
    /// It calls with tokens that this issuer signs, one of agents.issuers, and gets none of placet's
    #[arg(long, value_name = "URL", requires = "subject")]
    pub(crate) issuer: Option<String>,
    /// What it is called in these tokens (the claim sub)
    #[arg(long, requires = "issuer")]
    pub(crate) subject: Option<String>,
}

/// Enforcement points outside of placet's own process, and their tokens.
#[derive(Subcommand, Debug)]
pub(crate) enum Pep {
    /// Add one; prints its token, once
    #[command(after_help = "\
Example:
  placet pep add build-host --kind command --sponsor Ada > token    then, on that machine:
  placet gateway --authority https://agents.placet.example --pep-token-file token")]
    Add {
        /// Its name
        name: String,
        /// What it intercepts
        #[arg(long, value_enum)]
        kind: PepKindName,
        /// The person who answers for it, by name or id
        #[arg(long, value_name = "PERSON")]
        sponsor: String,
    },
    /// List them
    Ls,
    /// Revoke one: its token opens nothing from now on, and what it took in is not carried out
    Revoke {
        /// Its name or id
        #[arg(value_name = "PEP")]
        which: String,
    },
    /// Give it a new token, printed once; the old one opens nothing from now on
    Rotate {
        /// Its name or id
        #[arg(value_name = "PEP")]
        which: String,
    },
}

/// What an enforcement point intercepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PepKindName {
    /// Commands
    Command,
    /// Tool calls
    Mcp,
}

/// People.
#[derive(Subcommand, Debug)]
pub(crate) enum Person {
    /// Add one; invite them afterwards
    Add(NewPerson),
    /// Make a single-use sign-in link, printed once; their sessions, earlier links and API tokens end
    Invite {
        /// Their name or id
        #[arg(value_name = "PERSON")]
        who: String,
    },
    /// List them
    Ls,
    /// Disable one: their access ends, their votes stop counting, their agents stop
    Disable {
        /// Their name or id
        #[arg(value_name = "PERSON")]
        who: String,
    },
    /// Erase a disabled one: name, address, what the log says about them; nothing brings it back
    #[command(after_help = "\
The log stays whole and verifies: it holds commitments, whose key is destroyed. What a person wrote when they voted on an
agent's request is that request's; `placet agent erase` takes it along.")]
    Erase {
        /// Their id, or the name that they had
        #[arg(value_name = "PERSON")]
        who: String,
    },
    /// API tokens of a person
    #[command(subcommand)]
    Token(Token),
}

/// A person to add.
#[derive(Args, Debug)]
pub(crate) struct NewPerson {
    /// Their name
    pub(crate) name: String,
    /// Their e-mail address; it proves nothing
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: Option<String>,
    /// A group that they are in
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// They are you: the operating system user who runs this command
    #[arg(long)]
    pub(crate) operator: bool,
}

/// API tokens of a person.
#[derive(Subcommand, Debug)]
pub(crate) enum Token {
    /// Mint one, printed once
    Add {
        /// Their name or id
        #[arg(value_name = "PERSON")]
        who: String,
    },
    /// List them, without the tokens themselves
    Ls {
        /// Their name or id
        #[arg(value_name = "PERSON")]
        who: String,
    },
    /// End one
    Revoke {
        /// Its id, as listed
        #[arg(value_name = "TOKEN_ID")]
        id: String,
    },
}

/// Groups.
#[derive(Subcommand, Debug)]
pub(crate) enum Group {
    /// Add one
    Add {
        /// Its name
        #[arg(value_name = "GROUP")]
        name: String,
    },
    /// Remove one that nobody is in
    Rm {
        /// Its name
        #[arg(value_name = "GROUP")]
        name: String,
    },
    /// List them, with who is in them
    Ls,
    /// Put a person or an agent into one
    Join {
        /// The group
        #[arg(value_name = "GROUP")]
        name: String,
        /// The person or agent, by name or id
        #[arg(value_name = "MEMBER")]
        who: String,
    },
    /// Take a person or an agent out of one
    Leave {
        /// The group
        #[arg(value_name = "GROUP")]
        name: String,
        /// The person or agent, by name or id
        #[arg(value_name = "MEMBER")]
        who: String,
    },
}

/// Secrets.
#[derive(Subcommand, Debug)]
pub(crate) enum Secret {
    /// Store a secret's next version; the value comes from standard input or a file, never from the command line
    #[command(after_help = "\
Examples:
  placet secret set shop-exporter-password < password.txt
  placet secret set shop-exporter-password --from-file password.txt

One line break at the end is not part of the value.")]
    Set {
        /// Its name
        name: String,
        /// Read the value from this file
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// List them, without their values
    Ls,
    /// Remove every version of one
    Rm {
        /// Its name
        name: String,
    },
}

/// A backup to take, or to check.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The directory; new or empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Copy the keys too, into this other directory
    #[arg(long, value_name = "OTHER_DIR", conflicts_with = "verify")]
    pub(crate) keys: Option<PathBuf>,
    /// Take nothing; check the backup that is there
    #[arg(long)]
    pub(crate) verify: bool,
}

/// A backup to restore.
#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = true, args = ["backup", "accept_rollback"])]
pub(crate) struct RestoreArgs {
    /// The backup's directory; it goes into the data directory, which has to be new or empty
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: Option<PathBuf>,
    /// The directory that its keys were copied to
    #[arg(long, value_name = "DIR", requires = "backup")]
    pub(crate) keys: Option<PathBuf>,
    /// Let a database that is behind its published ledger go on, as a new epoch of that ledger
    #[arg(long, conflicts_with = "backup")]
    pub(crate) accept_rollback: bool,
    /// Do not ask
    #[arg(long, short = 'y', requires = "accept_rollback")]
    pub(crate) yes: bool,
}
