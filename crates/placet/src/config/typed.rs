//! What the settings come to: a type for each, and what does not go together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use placet_gateway::runner::config::RunAs;
use placet_gateway::runner::room::Room;
use placet_identity::Issuer;
use placet_ledger::KeyName;
use placet_server::PublicUrl;

use super::keys;
use super::settings::{Origin, Settings};

/// Everything that placet has to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Config {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// Whether a proxy that terminates TLS is all that can reach the doors.
    pub(crate) trusted_proxy: bool,
    /// Where agents come in.
    pub(crate) agents: Door,
    /// Where people come in.
    pub(crate) reviewers: Door,
    /// This process as a gateway.
    pub(crate) gateway: Gateway,
    /// The operating system's users that agents run as, as far as that was said.
    pub(crate) agent_users: Vec<String>,
    /// Those whose tokens open the agents' door, too, as far as that was said.
    pub(crate) issuers: Vec<String>,
    /// The ledger.
    pub(crate) log: Log,
    /// Who executes, if this machine overrides the bundle.
    pub(crate) run_as: Option<RunAs>,
    /// How long a tool call that waits for people is held open.
    pub(crate) mcp_hold: Duration,
    /// What a single credential may ask for.
    pub(crate) limits: Limits,
    /// How long things live.
    pub(crate) lifetimes: Lifetimes,
    /// The root key, if it is kept elsewhere than in the data directory.
    pub(crate) root_key_file: Option<PathBuf>,
}

/// One of the two doors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Door {
    /// What to bind. The port may be 0.
    pub(crate) listen: SocketAddr,
    /// How it is reached, if that was said.
    pub(crate) public_url: Option<PublicUrl>,
}

impl Door {
    /// How it is reached, once it is bound to this port.
    pub(crate) fn url(&self, bound: SocketAddr) -> PublicUrl {
        self.public_url.clone().unwrap_or_else(|| PublicUrl::localhost(bound.port()))
    }
}

/// What `placet gateway` has to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Gateway {
    /// The agents' door of the placet that decides.
    pub(crate) authority: Option<String>,
    /// The file of this enforcement point's token.
    pub(crate) token_file: Option<PathBuf>,
    /// What to bind. The port may be 0.
    pub(crate) listen: SocketAddr,
    /// The directory for inputs and output.
    pub(crate) dir: PathBuf,
}

/// The ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    /// Its name.
    pub(crate) origin: KeyName,
    /// Whether its files are for everybody.
    pub(crate) public: bool,
}

/// What a single credential may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Calls that create or attach, a minute.
    pub(crate) calls_per_minute: u32,
    /// Requests that wait for people at one time.
    pub(crate) pending: u32,
    /// Reviews asked for, an hour.
    pub(crate) reviews_per_hour: u32,
    /// Open connections of each door.
    pub(crate) connections: u32,
    /// MiB that the output of all programs may come to.
    pub(crate) output_mib: u32,
}

impl Limits {
    /// Room for the output of all programs.
    pub(crate) fn output(&self) -> Room {
        let bytes = u64::from(self.output_mib) * 1024 * 1024;
        Room::of(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

/// How long things live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lifetimes {
    /// A grant.
    pub(crate) grant: Duration,
    /// An execution without an outcome.
    pub(crate) lease: Duration,
    /// A sign-in link.
    pub(crate) invitation: Duration,
    /// A session.
    pub(crate) session: Duration,
    /// A person's API token.
    pub(crate) token: Duration,
}

/// Why there is no configuration. Each says where, and what to write.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file could not be read.
    #[error("read {}: name a readable file with --config, or leave it out", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else may have written the file.
    #[error(
        "trust {}: {why}; if you mean it, name it with --config", path.display()
    )]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is not TOML.
    #[error("read {}: it is not TOML", path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// Nobody knows such a key.
    #[error("understand {key} in {origin}: there is no such key, see `placet reference config`")]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Where.
        origin: Origin,
    },
    /// The value is not one.
    #[error("understand {key} in {origin}: {rule}")]
    Value {
        /// Which key.
        key: String,
        /// Where it was said.
        origin: Origin,
        /// What to write.
        rule: String,
    },
    /// A secret stands where others can read it.
    #[error(
        "use {variable}: a secret in the environment is readable by others; write it to a file of mode 0600 and name that in {variable}_FILE"
    )]
    SecretInEnvironment {
        /// The variable.
        variable: String,
    },
    /// A variable is not text.
    #[error("read {variable}: its value is not UTF-8")]
    NotText {
        /// The variable.
        variable: String,
    },
}

impl Config {
    /// Gives every setting its type, and refuses what does not go together.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let config = Config {
            dir: settings.text("dir").into(),
            trusted_proxy: settings.flag("trusted_proxy")?,
            agents: door(settings, "agents.listen", "agents.public_url")?,
            reviewers: door(settings, "reviewers.listen", "reviewers.public_url")?,
            gateway: gateway(settings)?,
            agent_users: settings.optional("agents.os_users", user_names)?.unwrap_or_default(),
            issuers: settings.optional("agents.issuers", issuers)?.unwrap_or_default(),
            log: Log { origin: settings.parsed("log.origin", origin)?, public: settings.flag("log.public")? },
            run_as: run_as(settings)?,
            mcp_hold: settings.duration("mcp.hold")?,
            limits: Limits {
                calls_per_minute: settings.count("limits.calls_per_minute")?,
                pending: settings.count("limits.pending")?,
                reviews_per_hour: settings.count("limits.reviews_per_hour")?,
                connections: settings.count("limits.connections")?,
                output_mib: settings.count("limits.output_mib")?,
            },
            lifetimes: Lifetimes {
                grant: settings.duration("lifetimes.grant")?,
                lease: settings.duration("lifetimes.lease")?,
                invitation: settings.duration("lifetimes.invitation")?,
                session: settings.duration("lifetimes.session")?,
                token: settings.duration("lifetimes.token")?,
            },
            root_key_file: settings.root_key_file().map(PathBuf::from),
        };
        if config.dir.as_os_str().is_empty() {
            return Err(settings.refuse("dir", "name a directory"));
        }
        config.check_door(settings, &config.agents, "agents.listen", "agents.public_url")?;
        config.check_door(settings, &config.reviewers, "reviewers.listen", "reviewers.public_url")?;
        if !config.gateway.listen.ip().is_loopback() && !config.trusted_proxy {
            let rule = "this is not on loopback, and placet speaks plain HTTP: put a proxy with TLS in front and declare it \
                        with trusted_proxy = true, or listen on 127.0.0.1";
            return Err(settings.refuse("gateway.listen", rule));
        }
        if config.agents.listen == config.reviewers.listen && config.agents.listen.port() != 0 {
            return Err(settings
                .refuse("agents.listen", "the two doors need two addresses, and this is the reviewers'"));
        }
        Ok(config)
    }

    /// Off loopback a door speaks to strangers: it needs a name, and something that makes TLS of it.
    fn check_door(
        &self,
        settings: &Settings,
        door: &Door,
        listen: &str,
        public_url: &str,
    ) -> Result<(), ConfigError> {
        if let Some(url) = &door.public_url
            && !url.is_https()
            && !is_localhost(url)
        {
            return Err(settings.refuse(public_url, "write https: tokens and sessions would travel in clear"));
        }
        if door.listen.ip().is_loopback() {
            return Ok(());
        }
        if !self.trusted_proxy {
            let rule = "this is not on loopback, and placet speaks plain HTTP: put a proxy with TLS in front and declare it \
                        with trusted_proxy = true, or listen on 127.0.0.1";
            return Err(settings.refuse(listen, rule));
        }
        match &door.public_url {
            Some(url) if url.is_https() => Ok(()),
            Some(_) => Err(settings.refuse(public_url, "write the https address of the proxy")),
            None => Err(settings
                .refuse(listen, &format!("this is not on loopback: say how it is reached in {public_url}"))),
        }
    }
}

fn is_localhost(url: &PublicUrl) -> bool {
    url.host() == "localhost" || url.host().ends_with(".localhost")
}

fn door(settings: &Settings, listen: &str, public_url: &str) -> Result<Door, ConfigError> {
    Ok(Door {
        listen: settings.parsed(listen, |text| {
            text.parse().map_err(|_| format!("write {}", keys::Kind::Address.expected()))
        })?,
        public_url: settings
            .optional(public_url, |text| PublicUrl::parse(text).map_err(|error| error.rule().to_owned()))?,
    })
}

fn gateway(settings: &Settings) -> Result<Gateway, ConfigError> {
    let named = |text: &str, what: &str| match text.trim() {
        "" => Err(format!("name {what}")),
        text => Ok(text.to_owned()),
    };
    let token_file = settings.optional("gateway.token_file", |text| named(text, "a file"))?;
    Ok(Gateway {
        authority: settings.optional("gateway.authority", |text| named(text, "an address"))?,
        token_file: token_file.map(PathBuf::from),
        listen: settings.parsed("gateway.listen", |text| {
            text.parse().map_err(|_| format!("write {}", keys::Kind::Address.expected()))
        })?,
        dir: settings.parsed("gateway.dir", |text| named(text, "a directory"))?.into(),
    })
}

fn user_names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err("name users of the operating system, separated by commas".to_owned());
    }
    Ok(names)
}

fn issuers(text: &str) -> Result<Vec<String>, String> {
    let named: Vec<String> = text.split(',').map(|issuer| issuer.trim().to_owned()).collect();
    let mut names = BTreeSet::new();
    for issuer in &named {
        let read = Issuer::parse(issuer).map_err(|error| error.to_string())?;
        if !names.insert(read.name().to_owned()) {
            return Err(format!("{} stands there twice: leave one of them", read.name()));
        }
    }
    Ok(named)
}

/// The name of a log's first epoch. Those of later ones end in `/e2` and so on, so this one does not.
fn origin(text: &str) -> Result<KeyName, String> {
    if text.rsplit_once("/e").is_some_and(|(_, epoch)| epoch.parse::<u32>().is_ok()) {
        return Err("choose a name that does not end like an epoch's, /e2".to_owned());
    }
    // Room for the end of a later epoch's name.
    let name = KeyName::parse(text).ok().filter(|_| text.len() <= 240);
    name.ok_or_else(|| "write 1 to 240 visible bytes without spaces or +".to_owned())
}

fn run_as(settings: &Settings) -> Result<Option<RunAs>, ConfigError> {
    let user = settings.optional("runner.run_as", |user| match user {
        "" | "root" => Err("name a user without privileges, like placet-runner".to_owned()),
        user => Ok(user.to_owned()),
    })?;
    match (user, settings.flag("runner.danger_same_user")?) {
        (Some(_), true) => {
            Err(settings.refuse("runner.danger_same_user", "choose one of this and runner.run_as"))
        }
        (Some(user), false) => Ok(Some(RunAs::User(user))),
        (None, true) => Ok(Some(RunAs::DangerSameUser)),
        (None, false) => Ok(None),
    }
}
