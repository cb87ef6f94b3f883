//! All connections of a process: one for each server, opened when it is needed and not more often than it may.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::action::SecretVersion;
use placet_core::time::Clock;
use tokio::time::Instant;

use super::{SETUP_MAX, Session, Unreached};
use crate::mcp::ToolSource;
use crate::mcp::catalogue::{Reach, Server, ServerName};
use crate::mcp::oauth::Credential;

/// Between two attempts at starting a server that does not start: doubled each time, up to this.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
const BACK_OFF_MIN: Duration = Duration::from_millis(500);

/// All connections of this process. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(in crate::mcp) struct Upstreams(Arc<Mutex<HashMap<ServerName, Arc<Seat>>>>);

/// One server's connection, or the memory of why there is none.
#[derive(Default)]
struct Seat {
    held: tokio::sync::Mutex<Held>,
    draining: AtomicBool,
}

#[derive(Default)]
struct Held {
    session: Option<(Fingerprint, Arc<Session>)>,
    /// Outlives its sessions: a token is renewed once at a time.
    credential: Option<(Fingerprint, Arc<Credential>)>,
    /// With what it failed last, how often, until when it is left alone, and why.
    failed: Option<(Fingerprint, u32, Instant, Unreached)>,
}

impl Held {
    /// Opens a connection, with secrets in exactly the versions that the fingerprint names.
    async fn open(
        &mut self,
        server: &Server,
        fingerprint: &Fingerprint,
        source: &Arc<dyn ToolSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Session, Unreached> {
        if let Some((_, replaced)) = self.credential.as_ref().filter(|(with, _)| with != fingerprint) {
            // Before the vault is read: what it renews at this moment is what has to be read. Whoever gives up meanwhile
            // leaves it where it is, for the next to retire.
            replaced.retire().await;
            self.credential = None;
        }
        let secrets = source.server_secrets(fingerprint.1.clone()).await.map_err(|error| error.message)?;
        let credential = match (&self.credential, &server.reach) {
            (Some((_, known)), _) => Some(known.clone()),
            (None, Reach::Http { url, oauth: Some(oauth), .. }) => {
                let (source, clock) = (source.clone(), clock.clone());
                let opened = Arc::new(Credential::open(server, url, oauth, &secrets, source, clock).await?);
                self.credential = Some((fingerprint.clone(), opened.clone()));
                Some(opened)
            }
            _ => None,
        };
        Session::open(server, secrets, credential).await
    }
}

/// What a connection was opened with: if this changes, it is another one.
type Fingerprint = (Reach, Vec<SecretVersion>);

impl Upstreams {
    /// The connection to a server with its secrets in these versions, opened if there is none. The secrets themselves are
    /// read only then.
    pub(in crate::mcp) async fn session(
        &self,
        server: &Server,
        versions: Vec<SecretVersion>,
        source: &Arc<dyn ToolSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Session>, Unreached> {
        let seat = self.seat(&server.name);
        let mut held = seat.held.lock().await;
        if seat.draining.load(Ordering::Relaxed) {
            return Err("placet is shutting down".to_owned().into());
        }
        let fingerprint = (server.reach.clone(), versions.clone());
        if let Some((opened_with, session)) = &held.session {
            if *opened_with == fingerprint && session.is_alive() {
                return Ok(session.clone());
            }
            held.session = None;
        }
        let mut failures = 0;
        if let Some((_, times, until, last)) = held.failed.as_ref().filter(|failed| failed.0 == fingerprint) {
            if Instant::now() < *until {
                let left = until.duration_since(Instant::now()).as_secs() + 1;
                let why = format!("{} (tried again in {left} s)", last.why);
                return Err(Unreached { why, ..last.clone() });
            }
            failures = *times;
        }
        let opened = held.open(server, &fingerprint, source, clock);
        let opened = tokio::time::timeout(SETUP_MAX, opened).await;
        match opened.unwrap_or_else(|_| Err("it did not answer in time".to_owned().into())) {
            Ok(session) => {
                let session = Arc::new(session);
                held.session = Some((fingerprint, session.clone()));
                held.failed = None;
                Ok(session)
            }
            Err(unreached) => {
                // Why may be told in the server's own words, which are not for the log.
                tracing::warn!(server = %server.name, "an MCP server could not be reached: `placet mcp ls` says why");
                let wait =
                    BACK_OFF_MIN.saturating_mul(2u32.saturating_pow(failures.min(16))).min(BACK_OFF_MAX);
                let until = Instant::now() + wait;
                held.failed = Some((fingerprint, failures.saturating_add(1), until, unreached.clone()));
                Err(unreached)
            }
        }
    }

    /// The scopes that a server said its token lacks.
    pub(in crate::mcp) async fn lacking(&self, server: &ServerName) -> Vec<String> {
        let seat = self.seat(server);
        let held = seat.held.lock().await;
        held.credential.as_ref().map(|(_, credential)| credential.lacking()).unwrap_or_default()
    }

    /// Forgets servers that the bundle does not name any more; their processes end.
    pub(in crate::mcp) fn keep_only(&self, named: impl Fn(&ServerName) -> bool) {
        self.seats().retain(|name, _| named(name));
    }

    /// Ends every connection; none is opened any more.
    pub(in crate::mcp) async fn drain(&self) {
        let seats: Vec<Arc<Seat>> = self.seats().values().cloned().collect();
        for seat in seats {
            seat.draining.store(true, Ordering::Relaxed);
            seat.held.lock().await.session = None;
        }
    }

    fn seat(&self, name: &ServerName) -> Arc<Seat> {
        self.seats().entry(name.clone()).or_default().clone()
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, HashMap<ServerName, Arc<Seat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
