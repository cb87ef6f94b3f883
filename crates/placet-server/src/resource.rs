//! The agents' door as clients find it: a protected resource of OAuth 2 (RFC 9728), whose metadata say which tokens open it.
//! placet gives out no tokens for it but those of its agents; with issuers that the operator trusts, theirs open it too.
//!
//! ```text
//! POST /mcp/files ─► 401, WWW-Authenticate: Bearer …, resource_metadata="…/.well-known/oauth-protected-resource/mcp/files"
//! GET /.well-known/oauth-protected-resource/mcp/files ─► { "resource": "https://agents.example/mcp/files", … }
//! ```
//!
//! A browser that was led here by a rebound name gets nothing: hosts and origins that are not ours are refused there, as
//! the protocol wants it.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use placet_core::directory::Workload;
use placet_core::time::Timestamp;
use placet_identity::{Issuer, Refused, WorkloadTokens};
use serde_json::{Value, json};

use crate::agents::REALM;
use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::gate::{Gate, Origin, PublicUrl};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// How long a path of a resource may be: no server's name is longer.
const PATH_MAX: usize = 64;

/// Where agents reach tools.
#[derive(Debug)]
pub struct Resource {
    url: PublicUrl,
    gate: Gate,
    workloads: WorkloadTokens,
}

impl Resource {
    /// The agents' door at this address, which these tokens open, beside placet's own.
    pub fn new(url: PublicUrl, workloads: WorkloadTokens) -> Self {
        Resource { gate: Gate::new(&url), url, workloads }
    }

    /// Whether it looks at a bearer token as at one that somebody else issued.
    pub(crate) fn reads(&self, bearer: &str) -> bool {
        !self.workloads.issuers().is_empty() && WorkloadTokens::is_one(bearer)
    }

    /// Those whose tokens open it.
    pub(crate) fn trusts(&self, issuer: &str) -> bool {
        self.workloads.issuers().iter().any(|known| known.name() == issuer)
    }

    /// Whose token this is, which has to be issued for what is at this path.
    pub(crate) async fn workload(&self, token: &str, path: &str, now: Timestamp) -> Outcome<Workload> {
        self.workloads.verified(token, &self.audiences(path), now).await.map_err(|refused| match &refused {
            Refused::Keys(..) => {
                let detail = "The keys of the token's issuer cannot be read now. Try again.";
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "issuer_unavailable", detail)
            }
            _ => Failure::unauthenticated(format!("This token opens nothing here. {refused}"))
                .with_realm(REALM),
        })
    }

    /// For what a token may be issued that opens this path: for the whole door, for all tools, for those of one server.
    fn audiences(&self, path: &str) -> Vec<String> {
        let door = self.url.to_string();
        let mut audiences = vec![format!("{door}/"), door];
        if is_tools(path) {
            audiences.push(format!("{}/mcp", self.url));
            audiences.push(format!("{}{path}", self.url));
        }
        audiences
    }

    /// Where the metadata of what is at this path stands; none if that is nothing that tokens are given out for.
    pub(crate) fn metadata_of(&self, path: &str) -> Option<String> {
        is_tools(path).then(|| format!("{}{WELL_KNOWN}{path}", self.url))
    }

    /// Refuses what a browser was led to send here under another name.
    pub(crate) fn admit(&self, headers: &HeaderMap, uri: &Uri) -> Outcome<()> {
        // Whatever is routed there, in whatever way its path is written.
        if uri.path() != "/mcp" && !uri.path().starts_with("/mcp/") {
            return Ok(());
        }
        let Some(host) = self.gate.host(headers, uri) else {
            let detail = format!("This door answers at {} only.", self.url);
            return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, "other_host", detail));
        };
        match self.gate.origin(headers, &host) {
            Origin::Same | Origin::Absent => Ok(()),
            Origin::Foreign => {
                let detail = "Another site's page made this call, or one that hides where it is from.";
                Err(Failure::forbidden("foreign_origin", detail))
            }
        }
    }
}

/// Whether a path is one of those where tools are reached.
fn is_tools(path: &str) -> bool {
    let server = |rest: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        rest.len() <= PATH_MAX && !rest.is_empty() && rest.bytes().all(plain)
    };
    path == "/mcp" || path.strip_prefix("/mcp/").is_some_and(server)
}

/// What everybody may read: it says what stands in every client's configuration, and of no server whether there is one.
pub(crate) fn routes(app: &App) -> Router {
    Router::new()
        .route("/.well-known/oauth-protected-resource", get(of_all))
        .route("/.well-known/oauth-protected-resource/{*resource}", get(of_one))
        .with_state(app.clone())
}

async fn of_all(State(app): State<App>) -> Outcome<Json<Value>> {
    metadata(&app, "/mcp")
}

async fn of_one(State(app): State<App>, Path(resource): Path<String>) -> Outcome<Json<Value>> {
    metadata(&app, &format!("/{resource}"))
}

fn metadata(app: &App, path: &str) -> Outcome<Json<Value>> {
    let resource = app.resource.as_ref().filter(|_| is_tools(path)).ok_or_else(Failure::not_found)?;
    let mut metadata = json!({
        "resource": format!("{}{path}", resource.url),
        "resource_name": "placet",
        "bearer_methods_supported": ["header"],
    });
    let issuers: Vec<&str> = resource.workloads.issuers().iter().map(Issuer::name).collect();
    if let (Some(members), false) = (metadata.as_object_mut(), issuers.is_empty()) {
        members.insert("authorization_servers".to_owned(), issuers.into());
    }
    Ok(Json(metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> Resource {
        Resource::new(PublicUrl::parse("https://agents.example").unwrap(), WorkloadTokens::new(Vec::new()))
    }

    #[test]
    fn a_token_for_one_server_opens_no_other() {
        let audiences = |path: &str| resource().audiences(path).join(" ");
        let door = "https://agents.example/ https://agents.example";
        assert_eq!(audiences("/v1/requests"), door);
        assert_eq!(
            audiences("/mcp/files"),
            format!("{door} https://agents.example/mcp https://agents.example/mcp/files")
        );
        assert_eq!(audiences("/mcp/files/"), door);
    }

    #[test]
    fn tools_are_at_these_paths_and_at_no_others() {
        for path in ["/mcp", "/mcp/files", "/mcp/my_files-2"] {
            assert!(is_tools(path), "{path}");
        }
        for path in ["/", "/mcp/", "/mcpx", "/mcp/a/b", "/mcp/A", "/mcp/\"", "/v1/requests", "/mcp/%20"] {
            assert!(!is_tools(path), "{path}");
        }
        let resource = resource();
        assert_eq!(
            resource.metadata_of("/mcp/files").as_deref(),
            Some("https://agents.example/.well-known/oauth-protected-resource/mcp/files")
        );
        assert_eq!(resource.metadata_of("/v1/requests"), None);
        let mut elsewhere = HeaderMap::new();
        elsewhere.insert("host", "rebound.example".parse().unwrap());
        for path in ["/mcp", "/mcp/files", "/mcp/%66iles"] {
            assert!(resource.admit(&elsewhere, &path.parse().unwrap()).is_err(), "{path}");
        }
        assert!(resource.admit(&elsewhere, &"/v1/requests".parse().unwrap()).is_ok());
    }
}
