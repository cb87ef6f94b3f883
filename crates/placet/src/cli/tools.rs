//! Commands about MCP servers and their tools.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// MCP servers whose tools agents call through placet.
#[derive(Subcommand, Debug)]
pub(crate) enum Mcp {
    /// Add a server to the policy; none of its tools can be called before it is accepted
    #[command(after_help = "\
Examples:
  placet mcp add files --run-as mcp-files -- npx -y @modelcontextprotocol/server-filesystem /srv/data
  placet mcp add git --url https://git.example/mcp --header 'Authorization=Bearer git-token'
  placet mcp add docs --url https://docs.example/mcp --oauth && placet mcp login docs
  placet mcp add shop --secret DATABASE_URL=shop-url --run-as mcp-shop -- /usr/bin/shop-mcp

In --secret, --header and --client-secret-from, the last word is a secret's name, stored with `placet secret set`.")]
    Add(Box<NewServer>),
    /// List the servers and their tools, each held against what its server offers right now
    Ls,
    /// Show the tools of a server: what models would read, and what has changed since it was accepted
    Show {
        /// The server
        server: String,
        /// One tool
        tool: Option<String>,
    },
    /// Accept tools as they are offered now; agents see them from then on
    Accept {
        /// The server
        server: String,
        /// Which tools
        #[arg(required_unless_present = "all")]
        tools: Vec<String>,
        /// Every tool that is new or has changed
        #[arg(long, conflicts_with = "tools")]
        all: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Log in at a server that wants OAuth, in a browser
    ///
    /// The tokens stay in placet's vault; agents never get them. Log in again when `placet mcp ls` says so.
    Login(Login),
    /// Take a server and its tools out of the policy
    Rm {
        /// The server
        server: String,
        #[command(flatten)]
        change: Change,
    },
    /// Print what an agent's client needs in its configuration
    Config {
        /// Which client
        #[arg(value_enum)]
        client: Client,
        /// One server; all of them if left out
        server: Option<String>,
        #[command(flatten)]
        hold: Hold,
    },
    /// Serve the tools over standard input and output, for clients that speak only that
    ///
    /// Uses PLACET_AGENTS_URL and PLACET_AGENT_TOKEN, as every agent does.
    Stdio {
        /// One server; all of them if left out
        server: Option<String>,
        #[command(flatten)]
        hold: Hold,
    },
}

/// A login.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// The server
    pub(crate) server: String,
    /// The browser is on another machine: paste the address that it ends up at on standard input
    #[arg(long)]
    pub(crate) paste: bool,
    /// The port of this machine that the browser comes back to, for authorization servers that know it; any if left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

/// How placet gets tokens for a server.
#[derive(Args, Debug)]
pub(crate) struct NewOauth {
    /// It wants tokens of an authorization server; log in afterwards with `placet mcp login`
    #[arg(long, requires = "url")]
    pub(crate) oauth: bool,
    /// Which authorization server; the server says which if left out
    #[arg(long, value_name = "URL", requires = "oauth")]
    pub(crate) issuer: Option<String>,
    /// What placet is called there: a registered id, or the address of a client metadata document
    #[arg(long, value_name = "ID", requires = "oauth")]
    pub(crate) client_id: Option<String>,
    /// The secret of the vault by which placet proves that
    #[arg(long, value_name = "SECRET", requires_all = ["client_id", "issuer"])]
    pub(crate) client_secret_from: Option<String>,
    /// What the tokens are to be good for; what the server asks for if left out
    #[arg(long = "scope", value_name = "SCOPE", requires = "oauth")]
    pub(crate) scopes: Vec<String>,
    /// Nobody logs in: placet's own client credentials are enough
    #[arg(long, requires = "client_secret_from")]
    pub(crate) unattended: bool,
}

/// How long a client waits.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Hold {
    /// How many seconds its calls are held while people decide; learned from its calls if left out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) hold: Option<u16>,
}

impl Hold {
    /// How an address says so.
    pub(crate) fn query(self) -> String {
        self.hold.map(|seconds| format!("?hold={seconds}")).unwrap_or_default()
    }
}

/// A server to add.
#[derive(Args, Debug)]
pub(crate) struct NewServer {
    /// Its name: a-z 0-9 - _
    pub(crate) name: String,
    /// Where it is, if it is reached over HTTP
    #[arg(long, conflicts_with_all = ["command", "environment", "secrets", "run_as"])]
    pub(crate) url: Option<String>,
    /// A header with a secret of the vault, NAME=[PREFIX ]SECRET
    #[arg(long = "header", value_name = "NAME=SECRET", requires = "url")]
    pub(crate) headers: Vec<String>,
    #[command(flatten)]
    pub(crate) oauth: NewOauth,
    /// A variable of its environment, NAME=VALUE
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<String>,
    /// A variable that carries a secret of the vault, NAME=SECRET
    #[arg(long = "secret", value_name = "NAME=SECRET")]
    pub(crate) secrets: Vec<String>,
    /// The operating system user that it runs as; placet's own if left out, which is worth less
    #[arg(long, value_name = "USER")]
    pub(crate) run_as: Option<String>,
    /// What of it is passed on beside its tools, as it is and unread: resources, prompts, completions
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    pub(crate) pass: Vec<Passed>,
    #[command(flatten)]
    pub(crate) change: Change,
    /// The program that serves, and its arguments
    #[arg(last = true, required_unless_present = "url")]
    pub(crate) command: Vec<String>,
}

/// What a server may offer beside tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Passed {
    /// Its resources and their templates
    Resources,
    /// Its prompts
    Prompts,
    /// Completions of the arguments of both
    Completions,
}

/// How a change of the policy is made.
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// The policy's directory [default: policy in the data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// A client of MCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code and Claude Desktop
    Claude,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Any other that takes `mcpServers`
    Json,
}
