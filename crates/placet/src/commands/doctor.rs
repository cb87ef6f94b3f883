//! `placet doctor`: what on this machine keeps placet from being worth what it could be. It changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use placet_api::admin::{AgentDocument, PersonDocument, PolicyDocument, SecretDocument, StatusDocument};
use placet_api::mcp::LoginDocument;
use placet_core::action::Grade;
use placet_core::time::{Clock as _, Timestamp};
use placet_gateway::runner::config::{Config as RunnerConfig, RunAs};
use placet_gateway::runner::program::Program;
use placet_gateway::runner::user::Identity;
use placet_identity::Issuer;
use placet_policy::{Bundle, BundleFiles, ConflictRule, RoleRule};
use serde::Serialize;

use super::audit::LOG_DIR;
use super::block_on;
use crate::admin::Admin;
use crate::agent_users::{self, AgentUsers};
use crate::backup;
use crate::config::{self, Config, ConfigArgs};
use crate::exit::{Exit, Failure};
use crate::machine::SystemClock;
use crate::output::{Output, Paint, paint_data, plain};

/// Below this the ledger may stop taking entries within hours: 1 GiB.
const DISK_LOW: u64 = 1 << 30;
/// Below this it will stop soon, and with it everything: 100 MiB.
const DISK_EMPTY: u64 = 100 << 20;
/// What placet itself allows the clock to be behind the last entry.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(2);

/// A backup that is older than this misses more than a week.
const BACKUP_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Fewer are not enough for every connection that the doors accept.
const OPEN_FILES_LOW: u64 = 16 * 1024;

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warn,
    /// It takes away from what placet is for.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: &str, said: impl Into<String>) {
        self.put(name, State::Ok, said, None);
    }

    fn warn(&mut self, name: &str, said: impl Into<String>, hint: impl Into<String>) {
        self.put(name, State::Warn, said, Some(hint.into()));
    }

    fn fail(&mut self, name: &str, said: impl Into<String>, hint: impl Into<String>) {
        self.put(name, State::Fail, said, Some(hint.into()));
    }

    fn put(&mut self, name: &str, state: State, said: impl Into<String>, hint: Option<String>) {
        self.0.push(Check { name: name.to_owned(), state, said: said.into(), hint });
    }
}

/// Looks at everything; fails if anything does.
pub(crate) fn run(args: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let config = config::load(args)?;
    let mut checks = Checks::default();
    data_directory(&config, &mut checks);
    disk(&config.dir, &mut checks);
    clock(&config.dir, &mut checks);
    open_files(&mut checks);
    agents_users(&config, &mut checks);
    backups(&config.dir, &mut checks);
    doors(&config, &mut checks);
    block_on(async {
        issuers(&config, &mut checks).await;
        running(&config, &mut checks).await;
        Ok(Exit::Done)
    })?;
    let failed = checks.0.iter().any(|check| check.state == State::Fail);
    output.result(&checks.0, || text(&checks.0))?;
    Ok(if failed { Exit::Found } else { Exit::Done })
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.state {
            State::Ok => paint_data(Paint::Good, "ok  "),
            State::Warn => paint_data(Paint::Doubtful, "warn"),
            State::Fail => paint_data(Paint::Bad, "FAIL"),
        };
        text.push_str(&format!("{word}  {:<16} {}\n", check.name, plain(&check.said)));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("{:24}→ {}\n", "", plain(hint)));
        }
    }
    text
}

/// Data directory and keys are for placet's user alone.
fn data_directory(config: &Config, checks: &mut Checks) {
    let dir = &config.dir;
    if dir.symlink_metadata().is_err() {
        checks.warn("data directory", format!("{} is not there", dir.display()), "`placet up` makes it.");
        return;
    }
    private(dir, "data directory", checks);
    let keys = dir.join("keys");
    private(&keys, "keys", checks);
    for entry in fs::read_dir(&keys).into_iter().flatten().flatten() {
        private(&entry.path(), "keys", checks);
    }
    parents(dir, checks);
    match &config.root_key_file {
        Some(root_key) => {
            private(root_key, "root key", checks);
            parents(root_key, checks);
        }
        None => {
            let said = "lies beside the data that it opens: whoever takes this disk can read everything";
            checks.ok("root key", format!("{said}; PLACET_ROOT_KEY_FILE keeps it elsewhere"));
        }
    }
}

/// Whoever may write to a directory above may put another one in its place.
fn parents(path: &Path, checks: &mut Checks) {
    match backup::place::open_parent(path) {
        Ok(None) => checks.ok("parents", format!("nobody else can swap {}", path.display())),
        Ok(Some((parent, why))) => checks.fail(
            "parents",
            format!("{} {why}: somebody else could swap {}", parent.display(), path.display()),
            "Move it below directories that only root and placet's user can change.",
        ),
        Err(error) => checks.warn("parents", format!("{}: {error}", path.display()), "Look at them by hand."),
    }
}

/// Every connection is an open file, and so are the database and each program's pipes.
fn open_files(checks: &mut Checks) {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < OPEN_FILES_LOW => checks.warn(
            "open files",
            format!("at most {hard} for each process"),
            "Raise the hard limit: LimitNOFILE=16384 in its systemd unit, or ulimit -Hn.",
        ),
        Ok((_, hard)) => checks.ok("open files", format!("up to {hard} for each process")),
        Err(error) => checks.warn("open files", error.to_string(), "Look at it by hand."),
    }
}

/// What the users of agents could reach without placet.
fn agents_users(config: &Config, checks: &mut Checks) {
    let users = AgentUsers::resolve(&config.agent_users);
    for (name, uid) in users.iter() {
        let check = format!("agent user {name}");
        let groups = agent_users::root_groups(name);
        match uid {
            None => checks.warn(&check, "is not known on this machine", "Correct agents.os_users."),
            Some(0) => {
                checks.fail(&check, "is root, which nothing is kept from", "Run agents as another user.")
            }
            Some(uid) if uid == geteuid().as_raw() => checks.fail(
                &check,
                "is placet's own user: it reads the keys and needs no approval",
                "Run placet and agents as two users.",
            ),
            Some(_) if !groups.is_empty() => checks.fail(
                &check,
                format!("is in {}, so it can become root", groups.join(", ")),
                "Take it out of these groups.",
            ),
            Some(_) => checks.ok(&check, "is neither root nor placet's user"),
        }
    }
}

fn private(path: &Path, name: &str, checks: &mut Checks) {
    let shown = path.display();
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            return checks.fail(
                name,
                format!("{shown}: {error}"),
                "Run this as the user that placet runs as.",
            );
        }
    };
    let mode = metadata.mode() & 0o7777;
    if metadata.is_symlink() {
        checks.fail(name, format!("{shown} is a link"), "Name the real one.");
    } else if metadata.uid() != geteuid().as_raw() {
        let said = format!("{shown} belongs to user {}, and you are {}", metadata.uid(), geteuid());
        checks.fail(name, said, "Run this as the user that placet runs as, or chown it.");
    } else if mode & 0o077 != 0 {
        checks.fail(
            name,
            format!("{shown} has mode {mode:04o}, which lets others in"),
            format!("chmod go-rwx {shown}"),
        );
    } else {
        checks.ok(name, format!("{shown} is yours alone"));
    }
}

fn disk(dir: &Path, checks: &mut Checks) {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    // What is not there yet will be on the disk of what is.
    let at = dir.ancestors().find(|at| at.is_dir()).unwrap_or(Path::new("/"));
    match statvfs(at) {
        Ok(found) => {
            let free = found.blocks_available().saturating_mul(found.fragment_size());
            let said = format!("{} MiB are free on the disk of {}", free >> 20, at.display());
            let hint = "Without space nothing is recorded, and what is not recorded is not done.";
            if free < DISK_EMPTY {
                checks.fail("disk", said, hint);
            } else if free < DISK_LOW {
                checks.warn("disk", said, hint);
            } else {
                checks.ok("disk", said);
            }
        }
        Err(error) => checks.warn("disk", format!("{}: {error}", at.display()), "Look at it by hand."),
    }
}

/// The checkpoint was written when the ledger last grew: a clock before that grants nothing.
fn clock(dir: &Path, checks: &mut Checks) {
    let now = SystemClock.now();
    let published =
        fs::metadata(dir.join(LOG_DIR).join("checkpoint")).and_then(|metadata| metadata.modified());
    let Ok(published) = published else {
        return checks.ok("clock", format!("it is {now} here; there is no ledger yet to compare with"));
    };
    let since = published.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let published = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    if published.since(now) > CLOCK_BEHIND_MAX {
        let said = format!("it is {now} here, and the ledger was last published at {published}");
        checks.fail("clock", said, "Set the clock: until it has caught up, nothing is granted or claimed.");
    } else {
        checks.ok("clock", format!("it is {now} here, after the ledger's last checkpoint"));
    }
}

/// What was written since the last backup is lost with the disk.
fn backups(dir: &Path, checks: &mut Checks) {
    if !dir.join("placet.db").exists() {
        return;
    }
    let hint = "placet backup /another/disk/placet-backup, and keep its keys apart";
    let Some(last) = backup::last_taken(dir) else {
        return checks.warn("backup", "none was taken with `placet backup`", hint);
    };
    let said = format!("the last one was taken at {}, to {}", last.taken_at, last.directory.display());
    let age = Timestamp::parse(&last.taken_at).map(|at| SystemClock.now().since(at));
    if age.is_ok_and(|age| age <= BACKUP_AGE_MAX) {
        checks.ok("backup", said);
    } else {
        checks.warn("backup", said, hint);
    }
}

fn doors(config: &Config, checks: &mut Checks) {
    for (name, door) in [("agents' door", &config.agents), ("reviewers' door", &config.reviewers)] {
        let reach = match &door.public_url {
            Some(url) => format!("reached as {url}"),
            None => "reached from this machine only".to_owned(),
        };
        if door.listen.ip().is_loopback() {
            checks.ok(name, format!("{}, {reach}", door.listen));
        } else {
            let said = format!(
                "{} in plain HTTP, {reach}: the proxy is trusted to be all that can reach it",
                door.listen
            );
            checks.warn(name, said, "Make sure of it with a firewall.");
        }
    }
}

/// Whether the tokens of workloads could be verified.
async fn issuers(config: &Config, checks: &mut Checks) {
    for issuer in config.issuers.iter().filter_map(|issuer| Issuer::parse(issuer).ok()) {
        let check = format!("issuer {}", issuer.name());
        match issuer.check().await {
            Ok(_) if issuer.is_open_to_this_machine() => checks.warn(
                &check,
                "is asked over plain http on this machine: whoever answers at that port says who agents are",
                "Name a file of its keys after =.",
            ),
            Ok(count) => checks.ok(&check, format!("has {count} keys to verify tokens with")),
            Err(why) => checks.fail(
                &check,
                format!("its keys cannot be read: {why}"),
                "Correct agents.issuers, or let placet reach it. Until then its tokens open nothing.",
            ),
        }
    }
}

/// What only a running placet knows.
async fn running(config: &Config, checks: &mut Checks) {
    let admin = Admin::of(&config.dir);
    let status: StatusDocument = match admin.get(&["status"]).await {
        Ok(status) => status,
        Err(failure) if failure.code.as_deref() == Some("stopped") => {
            return checks.fail(
                "placet",
                failure.message,
                "Look at its log, mend the disk, then restart it.",
            );
        }
        Err(failure) => {
            let hint = failure.hint.unwrap_or_else(|| "Start it with `placet up`.".to_owned());
            return checks.warn(
                "placet",
                format!("{}; policy, people and runner were not looked at", failure.message),
                hint,
            );
        }
    };
    match (&status.ready, &status.reason) {
        (true, _) => checks.ok("placet", "serves, and is ready"),
        (false, reason) => {
            let reason = reason.as_deref().unwrap_or("it does not say why");
            checks.fail("placet", format!("is not ready: {reason}"), "Look at its log.");
        }
    }
    if let Some(log) = &status.log {
        checks.ok(
            "ledger",
            format!("{} with {} entries, the last at {}", log.origin, log.entries, log.last_entry),
        );
        if log.epoch > 1 {
            let said = format!(
                "it is epoch {}: a restored database went on beside a log that was published further",
                log.epoch
            );
            checks.warn("ledger", said, "Keep the older log with its key: auditors need both.");
        }
    }
    match &status.operator.person {
        Some(person) => checks.ok("you", format!("user {} is {person}", status.operator.uid)),
        None => checks.warn(
            "you",
            format!("user {} is no person that placet knows", status.operator.uid),
            "`placet person add NAME --operator`, or your reviews cannot be told from anybody's.",
        ),
    }
    if let Err(failure) = policy(config, &admin, checks).await {
        checks.fail(
            "policy",
            failure.message,
            failure.hint.unwrap_or_else(|| "Look at placet's log.".to_owned()),
        );
    }
}

async fn policy(config: &Config, admin: &Admin, checks: &mut Checks) -> Result<(), Failure> {
    let policy: PolicyDocument = admin.get(&["policy"]).await?;
    let people: Vec<PersonDocument> = admin.get(&["people"]).await?;
    let agents: Vec<AgentDocument> = admin.get(&["agents"]).await?;
    let secrets: Vec<SecretDocument> = admin.get(&["secrets"]).await?;
    let files = BundleFiles::new(policy.files.into_iter().map(|(path, text)| (path, text.into_bytes())));
    let bundle = match Bundle::load(&files) {
        Ok(loaded) => loaded.bundle,
        Err(_) => {
            checks.fail(
                "policy",
                format!("{} does not load in this version", policy.digest),
                "Run the version that serves.",
            );
            return Ok(());
        }
    };
    checks.ok("policy", format!("{} ({}) is in force", bundle.settings().name, policy.digest));
    for warning in &policy.warnings {
        checks.warn("policy", warning.clone(), "Add people to the group, or ask for fewer.");
    }
    reviewers(&bundle, &people, &agents, checks);
    match admin.get::<Vec<LoginDocument>>(&["mcp", "logins"]).await {
        Ok(known) => logins(&known, checks),
        Err(failure) => checks.fail("mcp", failure.message, "`placet mcp ls` says more."),
    }
    match RunnerConfig::parse(bundle.runner_toml().unwrap_or_default()) {
        Ok(runner) => {
            let run_as = config.run_as.as_ref().unwrap_or(&runner.run_as);
            match AgentUsers::resolve(&config.agent_users).shared(run_as) {
                Some(why) => checks.fail(
                    "runner",
                    format!("no commands run: {why}"),
                    "Name a user for run_as that is nobody else's: useradd --system placet-runner",
                ),
                None => who_executes(run_as, checks),
            }
            programs(&runner, &secrets, checks);
        }
        Err(error) => {
            let failure = Failure::of(Exit::Found, &error);
            checks.fail(
                "runner",
                failure.message,
                "`placet policy check` on the bundle's directory says where.",
            );
        }
    }
    Ok(())
}

/// For each server that somebody has to log in at: is somebody?
fn logins(logins: &[LoginDocument], checks: &mut Checks) {
    for login in logins {
        let name = format!("login {}", login.server);
        let again = || format!("placet mcp login {}", login.server);
        match login.standing.as_str() {
            "good" | "own" => checks.ok(&name, "placet has, or gets, a token for it"),
            "none" => {
                checks.fail(&name, "nobody has logged in there, so its tools cannot be called", again())
            }
            _ => checks.fail(&name, "the login there has ended, so its tools cannot be called", again()),
        }
    }
}

/// For each role: is there somebody, who is not the sponsor of whoever asks?
fn reviewers(bundle: &Bundle, people: &[PersonDocument], agents: &[AgentDocument], checks: &mut Checks) {
    let owning: BTreeSet<&str> = agents
        .iter()
        .filter(|agent| agent.active)
        .flat_map(|agent| std::iter::once(&agent.sponsor).chain(&agent.owners))
        .map(String::as_str)
        .collect();
    let exception = bundle.settings().conflict == ConflictRule::SponsorMayApprove;
    for (role, rule) in bundle.roles() {
        let name = format!("role {}", role.as_str());
        let RoleRule::Group(group) = rule else {
            checks.ok(&name, "is decided for each request; who it is cannot be told beforehand");
            continue;
        };
        let eligible: Vec<&str> = people
            .iter()
            .filter(|person| person.active && person.groups.iter().any(|found| found == group.as_str()))
            .map(|person| person.name.as_str())
            .collect();
        let hint = format!("placet group join {} PERSON", group.as_str());
        match eligible.as_slice() {
            [] => checks.fail(
                &name,
                format!("nobody is in {}: what asks for it can only expire", group.as_str()),
                hint,
            ),
            [only] if owning.contains(only) && exception => {
                let said = format!(
                    "only {only}, who may approve what their own agents ask; it is recorded as self-reviewed"
                );
                checks.warn(&name, said, hint);
            }
            [only] if owning.contains(only) => {
                let said =
                    format!("only {only}, who answers for agents and may not decide on what those ask");
                checks.warn(&name, said, hint);
            }
            some => checks.ok(&name, some.join(", ")),
        }
    }
}

fn who_executes(run_as: &RunAs, checks: &mut Checks) {
    match Identity::resolve(run_as) {
        Ok(identity) if identity.grade() == Grade::Advisory => checks.fail(
            "runner",
            format!(
                "commands run as {}, placet's own user: whoever shares it can do without placet",
                identity.name()
            ),
            if geteuid().is_root() {
                "Set run_as in the bundle's runner.toml to a user of its own: useradd --system placet-runner"
            } else {
                "Run placet as root, and set run_as in the bundle's runner.toml to a user of its own."
            },
        ),
        Ok(identity) => {
            checks
                .ok("runner", format!("commands run as {}: {}", identity.name(), identity.grade().as_str()));
        }
        Err(error) => {
            checks.warn("runner", format!("no commands run: {error}"), "It is fine if none should.")
        }
    }
}

fn programs(runner: &RunnerConfig, secrets: &[SecretDocument], checks: &mut Checks) {
    for rule in runner.programs() {
        let name = format!("program {}", rule.name);
        match Program::open(&rule.path) {
            Ok(_) => checks.ok(&name, rule.path.display().to_string()),
            Err(error) => {
                checks.fail(
                    &name,
                    Failure::of(Exit::Found, &error).message,
                    "Install it, or correct its path in runner.toml.",
                );
            }
        }
    }
    let named: BTreeSet<&str> = runner.secrets().iter().map(|rule| rule.secret.as_str()).collect();
    for secret in named {
        let name = format!("secret {secret}");
        match secrets.iter().find(|known| known.name == secret) {
            Some(known) => checks.ok(&name, format!("version {}", known.version)),
            None => {
                checks.fail(&name, "the vault has none of this name", format!("placet secret set {secret}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_others_can_open_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, state) in [(0o700, State::Ok), (0o750, State::Fail), (0o701, State::Fail)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let mut checks = Checks::default();
            private(dir.path(), "x", &mut checks);
            assert_eq!(checks.0[0].state, state, "{mode:o}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let mut checks = Checks::default();
        private(&link, "x", &mut checks);
        assert_eq!(checks.0[0].state, State::Fail);
    }

    #[test]
    fn a_runner_that_shares_placets_user_fails() {
        let mut checks = Checks::default();
        who_executes(&RunAs::DangerSameUser, &mut checks);
        assert_eq!(checks.0[0].state, State::Fail);
        assert!(checks.0[0].said.contains("can do without placet"));
    }

    #[test]
    fn a_data_directory_that_others_could_swap_fails() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("open").join("data");
        fs::create_dir_all(&inner).unwrap();
        for (mode, state) in [(0o755, State::Ok), (0o777, State::Fail), (0o1777, State::Ok)] {
            fs::set_permissions(dir.path().join("open"), fs::Permissions::from_mode(mode)).unwrap();
            let mut checks = Checks::default();
            parents(&inner, &mut checks);
            assert_eq!(checks.0[0].state, state, "{mode:o}: {:?}", checks.0);
        }
    }

    #[test]
    fn an_agent_that_is_root_fails() {
        let mut config =
            Config::of(&config::Settings::read(None, None, &config::Environment::default()).unwrap())
                .unwrap();
        config.agent_users = vec!["root".into(), "no-such-user".into()];
        let mut checks = Checks::default();
        agents_users(&config, &mut checks);
        assert_eq!(checks.0.iter().map(|check| check.state).collect::<Vec<_>>(), [State::Fail, State::Warn]);
    }

    #[test]
    fn a_role_without_people_fails_and_one_of_sponsors_alone_is_doubtful() {
        let bundle = Bundle::load(&crate::starters::files(crate::cli::Starter::Team)).unwrap().bundle;
        let person = |name: &str, active| PersonDocument {
            id: String::new(),
            name: name.into(),
            email: None,
            groups: vec!["reviewers".into(), "owners".into()],
            operator_uid: None,
            active,
            created_at: String::new(),
        };
        let agent = AgentDocument {
            id: String::new(),
            name: "bot".into(),
            kind: "agent".into(),
            sponsor: "Ada".into(),
            owners: Vec::new(),
            acts_for: Vec::new(),
            groups: Vec::new(),
            workload: None,
            active: true,
            created_at: String::new(),
        };
        let states = |people: &[PersonDocument]| {
            let mut checks = Checks::default();
            reviewers(&bundle, people, std::slice::from_ref(&agent), &mut checks);
            let groups = |check: &&Check| !check.said.contains("cannot be told");
            checks.0.iter().filter(groups).map(|check| check.state).collect::<BTreeSet<_>>()
        };
        assert_eq!(states(&[]), BTreeSet::from([State::Fail]));
        assert_eq!(states(&[person("Ada", false)]), BTreeSet::from([State::Fail]));
        assert_eq!(states(&[person("Ada", true)]), BTreeSet::from([State::Warn]));
        assert_eq!(states(&[person("Ada", true), person("Bob", true)]), BTreeSet::from([State::Ok]));
    }
}
