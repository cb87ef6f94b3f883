//! The enforcement point for tools: agents reach their MCP servers through placet, out of their own process.
//!
//! ```text
//! agent ─POST /mcp/{server}─► front (wire, era) ─► call ─submit─► Authority
//!                                                   │ wait … claim
//!                                                   └─► upstream: tools/call, once ─► result ─complete─► Authority
//! ```
//!
//! Which servers there are, what they may be called with and which of their tools were accepted is policy: the files
//! below `mcp/` of the bundle in force. Credentials of servers are placet's; a client's own never travels on.
//!
//! Whoever mounts [`Mcp::router`] has authenticated the caller and put core's `Principal` into the request.

mod call;
mod carry;
pub mod catalogue;
pub mod events;
mod front;
mod gated;
mod ladder;
mod listings;
mod logins;
mod methods;
mod oauth;
mod operators;
mod patience;
#[cfg(feature = "test-support")]
#[doc(hidden)]
pub mod readers;
mod schema;
mod tasks;
mod ticket;
mod told;
mod upstream;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::StatusCode;
use axum::http::header::HeaderValue;
use axum::http::request::Parts as RequestParts;
use axum::routing::{get, post};
use futures::future::BoxFuture;
use placet_api::{BODY_BYTES_MAX, JSON};
use placet_core::action::{Principal, SecretVersion};
use placet_core::c14n::Value;
use placet_core::directory::{CredentialVersion, Operator};
use placet_core::entropy::Entropy;
use placet_core::id::RequestId;
use placet_core::secret::Secret;
use placet_core::time::Clock;

use crate::authority::{Authority, AuthorityError, AuthorityErrorKind, Shown};
use catalogue::{Catalogue, Server, ServerName};
pub use upstream::ServerSecrets;
use upstream::{Session, Unreached, Upstreams};
use wire::RpcError;

/// What an enforcement point for tools asks beside what may be done. Every method fails closed.
pub trait ToolSource: Send + Sync {
    /// The MCP servers that the bundle in force names, with the tools that it accepts.
    fn tools(&self) -> BoxFuture<'_, Result<Arc<Catalogue>, AuthorityError>>;

    /// Which of these calls policy does not rule out for this caller by what they name alone, one answer for each: a call
    /// is given as its action's arguments, with nothing in it but a name. Asking counts as calling.
    fn callable(
        &self,
        principal: Principal,
        calls: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<bool>, AuthorityError>>;

    /// The newest versions of these secrets. One that is not stored is left out.
    fn secret_versions(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<SecretVersion>, AuthorityError>>;

    /// These versions of secrets, for the connection to a server that the bundle in force gives them to. One that is not
    /// stored any more is left out.
    fn server_secrets(
        &self,
        versions: Vec<SecretVersion>,
    ) -> BoxFuture<'_, Result<ServerSecrets, AuthorityError>>;

    /// Keeps that an operator logged in at a server.
    fn set_login(
        &self,
        operator: Operator,
        server: String,
        login: Secret,
    ) -> BoxFuture<'_, Result<SecretVersion, AuthorityError>>;

    /// Keeps what was renewed of a login, if it is still the newest one there.
    fn renew_login(&self, of: SecretVersion, login: Secret) -> BoxFuture<'_, Result<(), AuthorityError>>;

    /// The principal's own requests, newest first, that are older than `before`.
    fn requests(
        &self,
        principal: Principal,
        before: Option<RequestId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Shown>, AuthorityError>>;

    /// What came out of the principal's own request, if it was kept and still is.
    fn delivered(
        &self,
        principal: Principal,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, AuthorityError>>;
}

/// What the tools need from outside.
pub struct Parts {
    /// Who says what may be done.
    pub authority: Arc<dyn Authority>,
    /// Which tools there are.
    pub source: Arc<dyn ToolSource>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Chance, for claim values.
    pub entropy: Arc<dyn Entropy>,
    /// What vouches for the texts that clients carry for us. The same in every process of an installation.
    pub ticket_key: Secret,
    /// Numbers that tests change.
    pub pace: Pace,
}

/// How long this enforcement point waits for things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// An answer within this time comes as JSON, a later one as a stream of events.
    pub quick: Duration,
    /// How long a call is held before its agent is told how to come back.
    pub hold: Duration,
    /// Between two signs of life.
    pub keep_alive: Duration,
    /// How long a server may take for one call.
    pub call_max: Duration,
    /// Between two attempts at reporting an outcome that the authority could not write.
    pub report_again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            quick: Duration::from_millis(200),
            // Below the minute after which most clients give up.
            hold: Duration::from_secs(45),
            keep_alive: Duration::from_secs(10),
            call_max: Duration::from_secs(300),
            report_again: Duration::from_secs(1),
        }
    }
}

/// The enforcement point for tools. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Mcp(Arc<Inner>);

struct Inner {
    parts: Parts,
    upstreams: Upstreams,
    claims: carry::Claims,
    schemas: schema::Schemas,
    profiles: patience::Profiles,
    tickets: ticket::Tickets,
    logins: oauth::Logins,
}

impl Mcp {
    /// An enforcement point in front of the servers that the bundle in force names.
    pub fn new(parts: Parts) -> Self {
        Mcp(Arc::new(Inner {
            tickets: ticket::Tickets::new(parts.ticket_key.clone()),
            parts,
            upstreams: Upstreams::default(),
            claims: carry::Claims::default(),
            schemas: schema::Schemas::default(),
            profiles: patience::Profiles::default(),
            logins: oauth::Logins::default(),
        }))
    }

    /// Its routes for agents, to be mounted behind the agents' door's authentication.
    pub fn router(&self) -> Router {
        // There is no stream that a server would push into, and no session to end: other methods are none.
        Router::new()
            .route("/mcp", post(front::post_all))
            .route("/mcp/{server}", post(front::post_one))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Its routes for operators, to be mounted behind the admin socket's authentication.
    pub fn operators_router(&self) -> Router {
        Router::new()
            .route("/admin/v1/mcp", get(operators::servers))
            .route("/admin/v1/mcp/logins", get(logins::standing))
            .route("/admin/v1/mcp/{server}/login", post(logins::begin).put(logins::finish))
            .with_state(self.clone())
    }

    /// Ends the connections to all servers.
    pub async fn drain(&self) {
        self.0.upstreams.drain().await;
    }

    async fn catalogue(&self) -> Result<Arc<Catalogue>, AuthorityError> {
        let catalogue = self.0.parts.source.tools().await?;
        self.0.upstreams.keep_only(|name| catalogue.server(name).is_some());
        Ok(catalogue)
    }

    /// Those of these things that policy does not rule out for this caller by their names.
    async fn callable<T>(&self, principal: Principal, named: Vec<(T, Value)>) -> Result<Vec<T>, RpcError> {
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let (things, calls): (Vec<T>, Vec<Value>) = named.into_iter().unzip();
        let callable = self.0.parts.source.callable(principal, calls).await?;
        Ok(things
            .into_iter()
            .zip(callable)
            .filter_map(|(thing, callable)| callable.then_some(thing))
            .collect())
    }

    /// Reads what a server offers, in a task of its own: whoever hangs up meanwhile leaves it for the next to find, and
    /// cannot have a server asked over and over.
    async fn read_of<T, F>(
        &self,
        catalogue: &Arc<Catalogue>,
        server: &ServerName,
        read: impl FnOnce(Arc<Session>) -> F + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send,
    {
        let (mcp, catalogue, server) = (self.clone(), catalogue.clone(), server.clone());
        let reading = async move {
            let session = mcp.session(catalogue.server(&server)?).await.ok()?;
            read(session).await
        };
        tokio::spawn(reading).await.ok().flatten()
    }

    async fn session(&self, server: &Server) -> Result<Arc<Session>, Unreached> {
        let versions = self.secret_versions(server).await.map_err(|error| error.message)?;
        let Parts { source, clock, .. } = &self.0.parts;
        self.0.upstreams.session(server, versions, source, clock).await
    }

    /// The newest versions of what a connection to a server needs.
    async fn secret_versions(&self, server: &Server) -> Result<Vec<SecretVersion>, AuthorityError> {
        let names = server.secrets();
        match names.is_empty() {
            true => Ok(Vec::new()),
            false => self.0.parts.source.secret_versions(names).await,
        }
    }
}

impl From<AuthorityError> for RpcError {
    fn from(error: AuthorityError) -> Self {
        if let AuthorityErrorKind::TooMany { retry_after } = error.kind {
            let again = retry_after.as_secs().max(1);
            return RpcError::words(format!("{} Try again in {again} s.", error.message), None);
        }
        tracing::warn!(%error, "the authority gave no answer about tools");
        RpcError::internal("placet cannot decide now; nothing was executed")
    }
}

/// Who called; put into the request by the door.
struct Caller(Principal, Option<CredentialVersion>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut RequestParts, _: &S) -> Result<Self, StatusCode> {
        let principal = parts.extensions.get::<Principal>().copied().ok_or(StatusCode::UNAUTHORIZED)?;
        Ok(Caller(principal, parts.extensions.get::<CredentialVersion>().copied()))
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let named = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    named.eq_ignore_ascii_case(JSON)
}
