//! `placet up`: everything is put together here, in one function, and served until somebody says stop.
//!
//! ```text
//! data directory ─► store ─► broker ─► first start? starter bundle, first person, first agent
//!                              │
//!                              ├─► runner: leftovers killed, their executions recorded as unknown
//!                              └─► doors and admin socket bound ─► ready line ─► … ─► drain
//! ```

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use placet_broker::directory::{NewAgent, NewPerson};
use placet_broker::{Broker, CallError, limits};
use placet_core::action::{Executor, PepKind};
use placet_core::directory::{AgentKind, Operator};
use placet_core::entropy::Entropy;
use placet_core::request::Lifetimes;
use placet_core::secret::Secret;
use placet_core::time::Clock;
use placet_gateway::authority::AuthorityError;
use placet_gateway::commands::Commands;
use placet_gateway::mcp::{self, Mcp, Parts as McpParts};
use placet_gateway::recovery::recover;
use placet_gateway::runner::room::Room;
use placet_gateway::runner::user::Identity;
use placet_identity::{Issuer, WorkloadTokens};
use placet_ledger::{KeyName, Signer};
use placet_server::{AdminListener, App, Limits, Listener, Resource};
use placet_store::Views;
use placet_store::keys::RootKeySource;
use placet_store::sqlite::{OpenError, Options, SqliteStore};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::agent_users::AgentUsers;
use crate::authority::{BrokerAuthority, Document};
use crate::backup::OnlineBackups;
use crate::cli::UpOptions;
use crate::config::Config;
use crate::log_key;
use crate::machine::{self, OsEntropy, SystemClock};
use crate::runner::{self, RunnerError};
use crate::starters;

/// How long calls may go on after somebody said stop.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(20);
/// The groups that the starter bundles speak of.
const STARTER_GROUPS: [&str; 2] = ["reviewers", "owners"];

/// Why placet does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// The data directory, or something in it, cannot be used.
    #[error("use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel does not let this process keep its memory to itself.
    #[error("close this process to others")]
    Process(#[source] std::io::Error),
    /// The store does not open.
    #[error("open the store")]
    Store(#[from] OpenError),
    /// The runner has no place to work.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// What an earlier process held is not known.
    #[error("find out what an earlier process left running")]
    Recover(#[source] AuthorityError),
    /// A door could not be opened.
    #[error("listen on {address}: choose another address with {setting}")]
    Listen {
        /// What was to be bound.
        address: SocketAddr,
        /// The setting that says so.
        setting: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The starter bundle is not one.
    #[error("stage the starter bundle: {0}")]
    Starter(String),
    /// A use case of the first start failed.
    #[error("begin")]
    Call(#[from] CallError),
    /// An issuer of tokens is none.
    #[error("read agents.issuers")]
    Issuer(#[source] placet_identity::IssuerError),
    /// The log's name does not name a key.
    #[error("use the log's origin {0}: choose another log.origin before the first start")]
    Origin(String),
}

/// What is shown once, and never again.
struct FirstStart {
    reviewer: String,
    invitation: String,
    agent_token: String,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn up(config: Config, options: UpOptions) -> Result<(), UpError> {
    machine::close_to_others(config.limits.connections).map_err(UpError::Process)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let data = data_directory(&config.dir)?;
    let store = Arc::new(open_store(&data, &config, &clock, &entropy)?);
    let broker = broker(&data, &config, &store, &entropy).await?;
    let operator = operator(&broker).await?;

    let agents = listen(config.agents.listen, "agents.listen")?;
    let reviewers = listen(config.reviewers.listen, "reviewers.listen")?;
    let agents_url = config.agents.url(agents.address());
    let reviewers_url = config.reviewers.url(reviewers.address());
    let first = first_start(&broker, &data, &operator, &options).await?;
    broker.load_policy().await?;
    // Whoever starts it learns at once that it serves nobody, and why.
    if let Err(error) = broker.publish().await {
        eprintln!("placet: not ready: {error}");
    }

    publish_key(&data, &broker)?;

    let (stop, stopping) = watch::channel(false);
    let app = App::new(placet_server::Parts {
        broker: broker.clone(),
        views: store.clone(),
        entropy: entropy.clone(),
        reviewers_url: reviewers_url.clone(),
        ledger_public: config.log.public,
        stop: stopping.clone(),
    });
    let app = app.with_backups(Arc::new(OnlineBackups::new(
        data.clone(),
        config.log.origin.to_string(),
        store.clone(),
        broker.clone(),
        clock.clone(),
    )));
    let app = app.with_resource(Resource::new(agents_url.clone(), workload_tokens(&config.issuers)?));
    let written = app.clone();
    let document: Document = Arc::new(move |seen| written.request_document(seen));
    let authority = Arc::new(BrokerAuthority::new(
        broker.clone(),
        document.clone(),
        config.run_as.clone(),
        AgentUsers::resolve(&config.agent_users),
    ));
    let commands = runner(&data, &authority, config.limits.output(), &clock, &entropy).await?;
    let ticket_key = store.keys().derive("mcp-ticket");
    let tools = tools(&broker, &document, config.mcp_hold, ticket_key, &clock, &entropy).await?;
    let machine = machine_grade(&authority).await;

    let admin = AdminListener::bind(data.join("admin.sock"))
        .map_err(|source| UpError::Io { path: data.join("admin.sock"), source })?;
    // Before anybody is told that it is up: whoever stops it then gets a drain.
    let signals = StopSignals::take()
        .map_err(|source| UpError::Io { path: "the signals of this process".into(), source })?;
    let ready = Ready {
        agents: agents_url.to_string(),
        reviewers: reviewers_url.to_string(),
        first,
        machine,
        data: &data,
    };
    ready.print(options.json).map_err(|source| UpError::Io { path: "stdout".into(), source })?;

    let connections = machine::connections(config.limits.connections);
    let limits = |connections_max| Limits { connections_max, ..Limits::default() };
    let reconcilers = tokio::spawn({
        let (broker, stopping) = (broker.clone(), stopping.clone());
        async move { broker.run(stopping).await }
    });
    let sweeper = tokio::spawn(runner::sweep(commands.clone(), clock.clone(), stopping.clone()));
    let doors = tokio::spawn({
        let agents_door = placet_server::agents_door(&app, commands.router().merge(tools.router()));
        let reviewers_door = placet_server::reviewers_door(&app);
        let admin_door = placet_server::admin::admin_router(&app, tools.operators_router());
        let stopping = stopping.clone();
        async move {
            tokio::join!(
                placet_server::serve(
                    agents,
                    "agents",
                    agents_door,
                    &app,
                    limits(connections.agents),
                    stopping.clone()
                ),
                placet_server::serve(
                    reviewers,
                    "reviewers",
                    reviewers_door,
                    &app,
                    limits(connections.reviewers),
                    stopping.clone()
                ),
                placet_server::serve_admin(admin, admin_door, &app, limits(connections.admin), stopping),
            )
        }
    });

    signals.first().await;
    info!("stopping: no new calls; running programs are asked to end");
    // Nobody listens only if everything has ended already.
    let _ = stop.send(true);
    let drained = tokio::time::timeout(DRAIN_MAX, async {
        commands.drain().await;
        tools.drain().await;
        doors.await
    });
    if drained.await.is_err() {
        warn!("some calls did not end within {} seconds and were cut off", DRAIN_MAX.as_secs());
    }
    sweeper.abort();
    if let Err(error) = reconcilers.await {
        warn!(%error, "the reconcilers ended badly");
    }
    Ok(())
}

/// The data directory, absolute. It is made for nobody else; one that is there already is checked by the store.
fn data_directory(dir: &Path) -> Result<PathBuf, UpError> {
    let failed = |source| UpError::Io { path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    std::path::absolute(dir).map_err(failed)
}

/// The store of this data directory, under the machine's clock and chance.
pub(crate) fn open_store(
    data: &Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<SqliteStore, UpError> {
    let root_key = match &config.root_key_file {
        Some(path) => RootKeySource::File(path.clone()),
        None => RootKeySource::Own,
    };
    let origin = config.log.origin.as_str().to_owned();
    Ok(SqliteStore::open(data, Options { clock: clock.clone(), entropy: entropy.clone(), origin, root_key })?)
}

async fn broker(
    data: &Path,
    config: &Config,
    store: &Arc<SqliteStore>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Broker, UpError> {
    let lifetimes = config.lifetimes;
    let log = store.log().await.map_err(CallError::from)?;
    let is_empty = log.frontier.size() == 0 && log.name.epoch == 1;
    let origin = KeyName::parse(&log.name.origin).map_err(|_| UpError::Origin(log.name.origin.clone()))?;
    let key_path = log_key::path(&data.join("keys"), log.name.epoch);
    let seed = log_key::load(&key_path, is_empty, entropy.as_ref())
        .map_err(|source| UpError::Io { path: key_path, source })?;
    Ok(Broker::new(placet_broker::Parts {
        commit: store.clone(),
        views: store.clone(),
        entropy: entropy.clone(),
        short_code_key: store.keys().derive("short-code"),
        form_key: store.keys().derive("form"),
        signer: Signer::from_seed(origin, &seed),
        log_dir: data.join("log"),
        config: placet_broker::Config {
            lifetimes: Lifetimes { grant: lifetimes.grant, lease: lifetimes.lease },
            invitation_lifetime: lifetimes.invitation,
            session_lifetime: lifetimes.session,
            token_lifetime: lifetimes.token,
            caps: limits::Caps {
                calls_per_minute: config.limits.calls_per_minute,
                pending_max: config.limits.pending,
                reviews_per_hour: config.limits.reviews_per_hour,
            },
            ..placet_broker::Config::default()
        },
    }))
}

/// The tokens that open the agents' door beside placet's own.
fn workload_tokens(issuers: &[String]) -> Result<WorkloadTokens, UpError> {
    let issuers = issuers.iter().map(|issuer| Issuer::parse(issuer));
    issuers.collect::<Result<_, _>>().map(WorkloadTokens::new).map_err(UpError::Issuer)
}

/// Writes the log's public key where the operator finds it, to hand to whoever verifies the log.
fn publish_key(data: &Path, broker: &Broker) -> Result<(), UpError> {
    let path = data.join("log.vkey");
    let written = std::fs::write(&path, format!("{}\n", broker.verifier_key()));
    written.map_err(|source| UpError::Io { path, source })
}

/// Whoever started this process.
async fn operator(broker: &Broker) -> Result<Operator, UpError> {
    Ok(broker.operator(nix::unistd::geteuid().as_raw()).await?)
}

/// The first start stages and activates the starter bundle, writes it where it can be edited, and adds the first
/// person and the first agent.
async fn first_start(
    broker: &Broker,
    data: &Path,
    operator: &Operator,
    options: &UpOptions,
) -> Result<Option<FirstStart>, UpError> {
    if !broker.directory().await?.people.is_empty() {
        return Ok(None);
    }
    let starter = starters::files(options.starter);
    write_policy(&data.join("policy"), &starter)?;
    let files = starter.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    let staged = broker.stage(operator, files).await.map_err(|error| UpError::Starter(error.to_string()))?;
    broker.activate(operator, staged.digest).await?;

    let groups = broker.directory().await?.groups.clone();
    for group in STARTER_GROUPS {
        if !groups.iter().any(|known| known.as_str() == group) {
            broker.add_group(operator, group).await?;
        }
    }
    let name = options.reviewer.clone().unwrap_or_else(own_name);
    let person = NewPerson {
        name: name.clone(),
        email: None,
        groups: STARTER_GROUPS.map(str::to_owned).to_vec(),
        operator_uid: Some(operator.uid),
    };
    broker.add_person(operator, person).await?;
    let agent = NewAgent {
        name: "first-agent".to_owned(),
        kind: AgentKind::Agent,
        sponsor: name.clone(),
        owners: Vec::new(),
        acts_for: Vec::new(),
        groups: Vec::new(),
        workload: None,
    };
    let (_, token) = broker.add_agent(operator, agent).await?;
    let known = broker.operator(operator.uid).await?;
    let invited = broker.invite(&known, &name).await?;
    Ok(Some(FirstStart {
        reviewer: name,
        invitation: invited.secret.expose().to_owned(),
        agent_token: token.expose().to_owned(),
    }))
}

/// The operating system's name for whoever runs this.
fn own_name() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map_or_else(|| "operator".to_owned(), |user| user.name)
}

fn write_policy(directory: &Path, files: &placet_policy::BundleFiles) -> Result<(), UpError> {
    for (path, bytes) in files.iter() {
        let path = directory.join(path);
        let failed = |source| UpError::Io { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, bytes).map_err(failed)?;
    }
    Ok(())
}

fn listen(address: SocketAddr, setting: &'static str) -> Result<Listener, UpError> {
    Listener::bind(address).map_err(|source| UpError::Listen { address, setting, source })
}

/// The command enforcement point. What an earlier process left running is killed first; only then are its executions
/// called unknown.
async fn runner(
    data: &Path,
    authority: &Arc<BrokerAuthority>,
    output: Room,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Commands, UpError> {
    let users = match authority.runner().await.ok().and_then(|config| Identity::resolve(&config.run_as).ok())
    {
        Some(identity) => identity.users(),
        None => vec![nix::unistd::geteuid().as_raw()],
    };
    recover(authority.as_ref(), &users).await.map_err(UpError::Recover)?;
    let target = Executor::from(PepKind::Command).runner();
    Ok(runner::commands(data, authority.clone(), target, output, clock, entropy)?)
}

/// The enforcement point for tools. Servers are its children and ended with the earlier process; what became of the calls
/// that they were at work on is not known.
async fn tools(
    broker: &Broker,
    document: &Document,
    hold: Duration,
    ticket_key: Secret,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Mcp, UpError> {
    let authority = Arc::new(BrokerAuthority::of_tools(broker.clone(), document.clone()));
    recover(authority.as_ref(), &[nix::unistd::geteuid().as_raw()]).await.map_err(UpError::Recover)?;
    Ok(Mcp::new(McpParts {
        authority: authority.clone(),
        source: authority,
        clock: clock.clone(),
        entropy: entropy.clone(),
        ticket_key,
        pace: mcp::Pace { hold, ..mcp::Pace::default() },
    }))
}

/// What commands are worth on this machine, in a sentence.
async fn machine_grade(authority: &BrokerAuthority) -> String {
    let resolved = match authority.runner().await {
        Ok(config) => Identity::resolve(&config.run_as).map_err(|error| error.to_string()),
        Err(error) => Err(error.message),
    };
    match resolved {
        Ok(identity) => match identity.grade() {
            placet_core::action::Grade::Advisory => {
                same_user(identity.name(), nix::unistd::geteuid().is_root())
            }
            grade => format!("commands run as {}: graded {}.", identity.name(), grade.as_str()),
        },
        Err(reason) => format!("no commands run here ({reason})."),
    }
}

/// What to say where nothing separates commands from placet.
pub(crate) fn same_user(name: &str, is_root: bool) -> String {
    let root = if is_root { "An approved command may do anything to this machine. " } else { "" };
    format!(
        "commands run as {name}, placet's own user: graded advisory. {root}Whoever shares that user can do without placet; \
         set run_as in runner.toml for more."
    )
}

/// SIGINT and SIGTERM, which do not end this process any more from here on.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(crate) fn take() -> std::io::Result<Self> {
        let taken = signal;
        Ok(StopSignals {
            interrupt: taken(SignalKind::interrupt())?,
            terminate: taken(SignalKind::terminate())?,
        })
    }

    /// Waits for the first one. The next one ends the process at once.
    pub(crate) async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(130);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What to tell whoever started this.
struct Ready<'a> {
    agents: String,
    reviewers: String,
    first: Option<FirstStart>,
    machine: String,
    data: &'a Path,
}

impl Ready<'_> {
    fn print(&self, json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", self.line())?;
        } else {
            self.tell(&mut out)?;
        }
        out.flush()
    }

    fn invitation(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(format!("{}{}", self.reviewers, placet_server::sign_in_path(&first.invitation)))
    }

    fn line(&self) -> serde_json::Value {
        json!({
            "ready": true,
            "agents": self.agents,
            "reviewers": self.reviewers,
            "agent_token": self.first.as_ref().map(|first| first.agent_token.as_str()),
            "invitation": self.invitation(),
            "admin": self.data.join("admin.sock").display().to_string(),
        })
    }

    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (agents, reviewers, data) = (&self.agents, &self.reviewers, self.data.display());
        writeln!(out, "placet is up.\n")?;
        writeln!(out, "  agents ask at      {agents}")?;
        writeln!(out, "  people decide at   {reviewers}")?;
        writeln!(out, "  data and policy    {data}")?;
        writeln!(out, "  the log's key      {data}/log.vkey")?;
        writeln!(out, "\n{}\n", self.machine)?;
        if let (Some(first), Some(invitation)) = (&self.first, self.invitation()) {
            writeln!(out, "Shown once, and never again:\n")?;
            writeln!(out, "  {} signs in (works once, for a day)\n    {invitation}\n", first.reviewer)?;
            writeln!(out, "  first-agent asks with\n    export PLACET_AGENTS_URL={agents}")?;
            writeln!(out, "    export PLACET_AGENT_TOKEN={}\n", first.agent_token)?;
            writeln!(out, "Try next: sign in, then in another terminal\n\n  python3 examples/agent.py\n")?;
        } else {
            writeln!(out, "To sign in: placet login --dir {data}\n")?;
        }
        writeln!(out, "Ctrl-C stops.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_as_root_are_announced_as_what_they_are() {
        assert!(same_user("root", true).contains("anything to this machine"));
        let other = same_user("you", false);
        assert!(other.contains("graded advisory") && !other.contains("anything"), "{other}");
    }
}
