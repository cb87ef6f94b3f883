//! Every key of the configuration, once: `placet config check` and the reference print from this table.

/// One key.
pub(crate) struct Key {
    /// `section.key`, or a plain key of no section.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// The value if nobody says anything; none if silence means something else, which `about` tells.
    pub(crate) default: Option<&'static str>,
    /// What it does, in Markdown.
    pub(crate) about: &'static str,
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A path; a relative one starts at the working directory.
    Path,
    /// An IP address and a port.
    Address,
    /// `http://` or `https://`, a host name and perhaps a port.
    Url,
    /// `true` or `false`.
    Flag,
    /// A word.
    Text,
    /// A whole number.
    Count,
    /// A whole number and one of `s`, `m`, `h`, `d`.
    Duration,
}

impl Kind {
    /// What to write, for people.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Kind::Path => "a path",
            Kind::Address => "an IP address and a port, like 127.0.0.1:7071 or [::1]:0",
            Kind::Url => "an address like https://placet.example.com",
            Kind::Flag => "true or false",
            Kind::Text => "a text",
            Kind::Count => "a whole number",
            Kind::Duration => "a duration like 90s, 15m, 12h or 90d",
        }
    }
}

impl Key {
    /// The variable that sets it, `PLACET__AGENTS__LISTEN`.
    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "__").to_ascii_uppercase())
    }
}

/// What every variable that sets a key starts with.
pub(crate) const VARIABLE_PREFIX: &str = "PLACET__";

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

/// All keys, in the order in which they are documented.
pub(crate) const KEYS: &[Key] = &[
    key(
        "dir",
        Kind::Path,
        Some("./placet-data"),
        "The data directory: database, keys, ledger and admin socket. Mode 0700, or placet does not start. \
         `--dir` and `PLACET_DIR` set it too.",
    ),
    key(
        "trusted_proxy",
        Kind::Flag,
        Some("false"),
        "Declares that a proxy stands in front of the doors, terminates TLS, and that nothing else can reach them. \
         Without it no door listens off loopback, because placet would speak plain HTTP there.",
    ),
    key(
        "agents.listen",
        Kind::Address,
        Some("127.0.0.1:7071"),
        "Where the agents' door listens. Port 0 takes a free one.",
    ),
    key(
        "agents.public_url",
        Kind::Url,
        None,
        "How agents reach their door. Never an IP address. `http://localhost:PORT` if absent; required if \
         `agents.listen` is not on loopback, and then `https`.",
    ),
    key(
        "agents.os_users",
        Kind::Text,
        None,
        "The operating system's users that agents run as on this machine, separated by commas. placet then executes no \
         command as one of them, and none as another user while one of them is root or placet's own; `placet doctor` \
         looks at what they can reach.",
    ),
    key(
        "agents.issuers",
        Kind::Text,
        None,
        "Whose signed tokens (JWT) open the agents' door beside placet's own: issuers as their tokens name them, \
         `https://…`, separated by commas. Their keys are read from where their metadata say; `https://…=/path/keys.json` \
         names a file instead. A token counts for the agent that was added with its issuer and subject, and only if it was \
         issued for `agents.public_url`, or for the address of an MCP server below it.",
    ),
    key(
        "reviewers.listen",
        Kind::Address,
        Some("127.0.0.1:7070"),
        "Where the reviewers' door listens. Port 0 takes a free one.",
    ),
    key(
        "reviewers.public_url",
        Kind::Url,
        None,
        "How people reach their door; links start with it, and browsers are bound to it. Never an IP address. \
         `http://localhost:PORT` if absent; required if `reviewers.listen` is not on loopback, and then `https`.",
    ),
    key(
        "gateway.authority",
        Kind::Text,
        None,
        "For `placet gateway`: the agents' door of the placet that decides, `https://…`; plain `http` only on this machine, as \
         secrets come through it. `--authority` sets it too.",
    ),
    key(
        "gateway.token_file",
        Kind::Path,
        None,
        "For `placet gateway`: a file of mode 0600 with the token that `placet pep add` printed. `--pep-token-file` sets it \
         too.",
    ),
    key(
        "gateway.listen",
        Kind::Address,
        Some("127.0.0.1:7072"),
        "For `placet gateway`: where it listens for agents. Port 0 takes a free one. Off loopback it needs `trusted_proxy`. \
         `--listen` sets it too.",
    ),
    key(
        "gateway.dir",
        Kind::Path,
        Some("./placet-gateway"),
        "For `placet gateway`: where inputs and output are, mode 0700. One gateway to a directory.",
    ),
    key(
        "log.origin",
        Kind::Text,
        Some("placet.local/ledger"),
        "The ledger's name, which is in every entry and checkpoint: a domain that you own and a path, without a scheme. \
         It cannot change after the first start.",
    ),
    key(
        "log.public",
        Kind::Flag,
        Some("false"),
        "Whether anybody who reaches the reviewers' door may read the ledger's files under `/log/`. Personal data is not \
         in them, only commitments to it.",
    ),
    key(
        "mcp.hold",
        Kind::Duration,
        Some("45s"),
        "How long a tool call that waits for people is held open before its agent is told how to come back for it. Most \
         clients give up after a minute; raise it for clients that wait longer.",
    ),
    key(
        "runner.run_as",
        Kind::Text,
        None,
        "The operating system's user that executes commands, whatever the bundle's `runner.toml` says. It is neither \
         placet's user nor an agent's, and placet has to run as root to become it.",
    ),
    key(
        "runner.danger_same_user",
        Kind::Flag,
        Some("false"),
        "Executes commands as placet's own user, whatever the bundle's `runner.toml` says. Whoever shares that user can \
         do without placet: everything that is executed so is graded advisory.",
    ),
    key(
        "limits.calls_per_minute",
        Kind::Count,
        Some("600"),
        "Calls of one credential that create, attach or list, a minute.",
    ),
    key(
        "limits.pending",
        Kind::Count,
        Some("50"),
        "Requests of one credential that wait for people at one time.",
    ),
    key(
        "limits.reviews_per_hour",
        Kind::Count,
        Some("120"),
        "Reviews that one credential may ask for, an hour.",
    ),
    key(
        "limits.connections",
        Kind::Count,
        Some("4096"),
        "Connections that each door holds open at one time, whoever they are of; beyond it new ones wait. Every caller \
         that waits for a decision holds one, and the process needs as many open files: where the system grants fewer, agents \
         have four of five.",
    ),
    key(
        "limits.output_mib",
        Kind::Count,
        Some("8192"),
        "MiB that the output of all programs may come to while it waits to be read. Where it takes nearly all of them, the \
         oldest output of a program that has ended is deleted before another program starts, and one that runs is ended \
         when nothing is left.",
    ),
    key("lifetimes.grant", Kind::Duration, Some("15m"), "How long a grant may be claimed."),
    key(
        "lifetimes.lease",
        Kind::Duration,
        Some("15m"),
        "How long an execution may take before its outcome is `unknown`.",
    ),
    key("lifetimes.invitation", Kind::Duration, Some("24h"), "How long a sign-in link works."),
    key("lifetimes.session", Kind::Duration, Some("12h"), "How long a session in the browser lasts."),
    key("lifetimes.token", Kind::Duration, Some("90d"), "How long a person's API token works."),
];

/// Variables that are no keys of the file.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    (
        "PLACET_CONFIG",
        "The configuration file; the same as `--config`. `./placet.toml` if absent, and if that is there.",
    ),
    ("PLACET_DIR", "The data directory; the same as `--dir`."),
    (
        ROOT_KEY_FILE,
        "A file of exactly 32 bytes, mode 0600, that wraps every other key. If absent, placet makes one in the data \
         directory's `keys/`.",
    ),
    ("PLACET_AGENTS_URL", "Where `placet run` and `placet requests` find the agents' door."),
    ("PLACET_AGENT_TOKEN", "The agent's or pipeline's bearer token, for them."),
    ("PLACET_REVIEWERS_URL", "Where `placet review` finds the reviewers' door."),
    ("PLACET_PERSON_TOKEN", "The person's API token, for it."),
    (
        "PLACET_CLIENT_FILE",
        "A TOML file, mode 0600, with `agents_url`, `agent_token`, `reviewers_url` and `person_token`; what a variable \
         says comes first. `~/.config/placet/client.toml` if absent.",
    ),
    ("RUST_LOG", "What `placet up` logs to stderr, like `info` or `placet_server=debug`."),
    ("NO_COLOR", "If set to anything, nothing is coloured."),
];

/// Names the file of the root key.
pub(crate) const ROOT_KEY_FILE: &str = "PLACET_ROOT_KEY_FILE";
