//! `placet gateway`: the command enforcement point as a process of its own, on another machine or as another user, decided
//! by a placet elsewhere.
//!
//! ```text
//! token of this enforcement point ─► authority: who am I? ─► leftovers killed, their executions reported as unknown
//!                                                              └─► agents' calls served ─► ready line ─► … ─► drain
//! ```
//!
//! It holds no policy, no ledger and no secret of its own: what it may do it is told with each claim.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_api::client::Peps;
use placet_core::action::PepKind;
use placet_core::entropy::Entropy;
use placet_core::secret::Secret;
use placet_core::time::Clock;
use placet_gateway::authority::{Authority as _, AuthorityError, AuthorityErrorKind};
use placet_gateway::recovery::recover;
use placet_gateway::remote::RemoteAuthority;
use placet_gateway::runner::user::Identity;
use placet_gateway::sidecar;
use placet_server::{Limits, Listener, serve_standalone, standalone_door};
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::machine::{self, OsEntropy, SystemClock};
use crate::output::Output;
use crate::runner;
use crate::up::{DRAIN_MAX, StopSignals};

/// A token is shorter.
const TOKEN_FILE_BYTES_MAX: u64 = 1024;

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn serve(config: Config, output: Output) -> Result<Exit, Failure> {
    let connections = config.limits.connections;
    machine::close_to_others(connections).map_err(|error| failed("close this process to others", &error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let (url, token) = credentials(&config)?;
    let data = private_directory(&config.gateway.dir)?;
    let _lock = lock(&data)?;

    let authority = RemoteAuthority::connect(Peps::new(&url, token)?, config.run_as.clone()).await;
    let authority = Arc::new(authority.map_err(|error| refused(&url, &error))?);
    let executor = authority.executor();
    if executor.kind != PepKind::Command {
        let message = format!(
            "serve commands: this token is of an enforcement point of kind {}",
            executor.kind.as_str()
        );
        return Err(Failure::new(Exit::Configuration, message)
            .hint("An operator makes one with `placet pep add NAME --kind command --sponsor PERSON`."));
    }
    let users = users(&authority, &url).await?;
    recover(authority.as_ref(), &users).await.map_err(|error| refused(&url, &error))?;
    let (target, room) = (executor.runner(), config.limits.output());
    let commands = runner::commands(&data, authority.clone(), target, room, &clock, &entropy)
        .map_err(|error| Failure::of(Exit::Configuration, &error))?;

    let address = config.gateway.listen;
    let listener = Listener::bind(address).map_err(|error| {
        failed(&format!("listen on {address}"), &error).hint("Choose another with --listen.")
    })?;
    let bound = listener.address();
    // Before anybody is told that it is up: whoever stops it then gets a drain.
    let signals = StopSignals::take().map_err(|error| failed("take the signals of this process", &error))?;
    let runner_name = executor.runner();
    tell(output, &format!("http://localhost:{}", bound.port()), &url, &runner_name)
        .map_err(|error| failed("write to stdout", &error))?;

    let (stop, stopping) = watch::channel(false);
    let sweeper = tokio::spawn(runner::sweep(commands.clone(), clock, stopping.clone()));
    let router = standalone_door(sidecar::router(authority, &commands), entropy, "gateway");
    let connections_max = usize::try_from(connections).unwrap_or(usize::MAX);
    let limits = Limits { connections_max, ..Limits::default() };
    let door = tokio::spawn(serve_standalone(listener, "gateway", router, limits, stopping));

    signals.first().await;
    info!("stopping: no new calls; running programs are asked to end");
    // Nobody listens only if everything has ended already.
    let _ = stop.send(true);
    let drained = tokio::time::timeout(DRAIN_MAX, async {
        commands.drain().await;
        door.await
    });
    if drained.await.is_err() {
        warn!("some calls did not end within {} seconds and were cut off", DRAIN_MAX.as_secs());
    }
    sweeper.abort();
    Ok(Exit::Done)
}

/// Where the authority is, and what proves to it who this is.
fn credentials(config: &Config) -> Result<(String, Secret), Failure> {
    let missing = |what: &str, hint: &str| Failure::new(Exit::Configuration, what.to_owned()).hint(hint);
    let url = config.gateway.authority.clone().ok_or_else(|| {
        missing(
            "find the placet that decides",
            "Name its agents' door with --authority, or gateway.authority in the configuration.",
        )
    })?;
    let path = config.gateway.token_file.as_deref().ok_or_else(|| {
        missing(
            "find this gateway's token",
            "Name its file with --pep-token-file, or gateway.token_file. An operator makes one with `placet pep add NAME \
             --kind command --sponsor PERSON`.",
        )
    })?;
    Ok((url, token(path)?))
}

fn token(path: &Path) -> Result<Secret, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Configuration, format!("read the token file {shown}: {error}"))
    };
    // What is opened is what is looked at and read.
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        let message =
            format!("use the token file {shown}: its mode {:04o} lets others read it", mode & 0o7777);
        return Err(Failure::new(Exit::Configuration, message)
            .hint(format!("chmod 600 {shown}, and give the gateway a new token with `placet pep rotate`.")));
    }
    let mut text = String::new();
    file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(
            Exit::Configuration,
            format!("use the token file {shown}: it holds no token"),
        ));
    }
    Ok(Secret::new(token))
}

fn private_directory(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: std::io::Error| failed(&format!("use {}", dir.display()), &error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let mode = std::fs::metadata(dir).map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        let message = format!("use {}: its mode {:04o} lets others in", dir.display(), mode & 0o7777);
        return Err(Failure::new(Exit::Configuration, message).hint(format!("chmod 700 {}", dir.display())));
    }
    std::path::absolute(dir).map_err(failed)
}

/// One gateway to a directory: another would delete what this one has running.
fn lock(data: &Path) -> Result<File, Failure> {
    let path = data.join("gateway.lock");
    let failed = |error: std::io::Error| failed(&format!("use {}", path.display()), &error);
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Configuration,
            format!("use {}: another gateway runs there", data.display()),
        )
        .hint("Stop it, or name another directory in gateway.dir.")),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Who may have executed here: whoever would now. Without a runner nobody could.
async fn users(authority: &RemoteAuthority, url: &str) -> Result<Vec<u32>, Failure> {
    let own = vec![nix::unistd::geteuid().as_raw()];
    // What the command is does not matter: how this machine executes any is what is asked for.
    match authority.guide(None, vec!["true".to_owned()]).await {
        Ok(guidance) => match Identity::resolve(&guidance.config.run_as) {
            Ok(identity) => Ok(identity.users()),
            Err(error) => {
                warn!(%error, "commands will not run here");
                Ok(own)
            }
        },
        Err(error @ AuthorityError { kind: AuthorityErrorKind::Unavailable, .. }) => {
            Err(refused(url, &error))
        }
        Err(error) => {
            warn!(%error, "commands will not run here");
            Ok(own)
        }
    }
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Configuration, format!("{what}: {error}"))
}

/// Why the authority does not let this gateway begin.
fn refused(url: &str, error: &AuthorityError) -> Failure {
    let failure = |exit, hint: &str| {
        let mut failure =
            Failure::new(exit, format!("ask {url} what may be done: {}", error.message)).hint(hint);
        failure.code = Some(error.code.clone());
        failure
    };
    match error.code.as_str() {
        "gateway_refused" => failure(
            Exit::Refused,
            "Was it revoked? An operator gives it a new token with `placet pep rotate`, or adds it anew with `placet pep add`.",
        ),
        "authority_unreachable" => {
            failure(Exit::NoBroker, "Is placet up, and is --authority the address of its agents' door?")
        }
        _ => failure(Exit::NoBroker, "Its log says more, and so does this one's."),
    }
}

fn tell(output: Output, agents: &str, authority: &str, runner: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if output.is_json() {
        let line = json!({"ready": true, "agents": agents, "authority": authority, "runner": runner});
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "placet gateway is up.\n")?;
        writeln!(out, "  agents ask at    {agents}")?;
        writeln!(out, "  decided by       {authority}")?;
        writeln!(out, "  requests say     {runner}")?;
        writeln!(
            out,
            "\nTry next, with an agent's token:\n\n  PLACET_AGENTS_URL={agents} placet run -- date\n"
        )?;
        writeln!(out, "Ctrl-C stops.")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_file_is_private_and_holds_one_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (text, mode, good) in [
            ("placet_pep_0\n", 0o600, true),
            ("placet_pep_0\n", 0o400, true),
            ("placet_pep_0\n", 0o640, false),
            ("placet_pep_0\n", 0o604, false),
            ("", 0o600, false),
            ("a b", 0o600, false),
        ] {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = token(&path);
            assert_eq!(read.is_ok(), good, "{text:?} {mode:o}");
            if let Err(failure) = read {
                assert_eq!(failure.exit, Exit::Configuration);
                assert!(!failure.message.contains("placet_pep_0"));
            }
        }
        assert!(token(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_directory_has_one_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let data = private_directory(&dir.path().join("data")).unwrap();
        let held = lock(&data).unwrap();
        assert!(lock(&data).is_err());
        drop(held);
        assert!(lock(&data).is_ok());
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_directory(&data).is_err(), "others could read what agents uploaded");
    }
}
