//! Logins at servers, for operators: begun and finished over the admin socket, so that no token passes through a terminal.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::{Json, body::Bytes};
use placet_api::mcp::{FinishedLoginRequest, LoginDocument, NewLoginDocument, NewLoginRequest};
use placet_core::directory::Operator;
use placet_core::text::visible;
use serde::de::DeserializeOwned;

use super::Mcp;
use super::catalogue::{Oauth, OauthGrant, Reach, Server, ServerName};
use super::oauth::{Asked, Login, of_client};
use crate::authority::AuthorityError;
use crate::commands::problem::Refusal;

/// `GET /admin/v1/mcp/logins`
pub(super) async fn standing(State(mcp): State<Mcp>) -> Result<Json<Vec<LoginDocument>>, Refusal> {
    let catalogue = mcp.catalogue().await?;
    let mut standings = Vec::new();
    for server in catalogue.servers() {
        if let Some(oauth) = server.oauth() {
            standings.push(mcp.standing(server, oauth).await?);
        }
    }
    Ok(Json(standings))
}

/// `POST /admin/v1/mcp/{server}/login`
pub(super) async fn begin(
    State(mcp): State<Mcp>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<NewLoginDocument>, Refusal> {
    let NewLoginRequest { redirect } = read(&body)?;
    let (server, url, oauth) = mcp.to_log_in(&name).await?;
    let kept = mcp.kept(&server).await?;
    let secrets = mcp.0.parts.source.server_secrets(mcp.secret_versions(&server).await?).await?;
    let mut scopes = mcp.0.upstreams.lacking(&server.name).await;
    if !scopes.is_empty() {
        scopes.extend(kept.map(Login::into_scopes).unwrap_or_default());
    }
    let asked = Asked {
        server: &server.name,
        url: &url,
        oauth: &oauth,
        secret: of_client(&oauth, &secrets).map_err(|why| unfit(&server, &why))?,
        scopes,
        redirect: &redirect,
    };
    let (now, entropy) = (mcp.0.parts.clock.now(), mcp.0.parts.entropy.as_ref());
    let invitation = mcp.0.logins.begin(asked, now, entropy).await.map_err(|why| unfit(&server, &why))?;
    Ok(Json(NewLoginDocument {
        address: invitation.address,
        state: invitation.state,
        issuer: invitation.issuer,
        scopes: invitation.scopes,
    }))
}

/// `PUT /admin/v1/mcp/{server}/login`
pub(super) async fn finish(
    State(mcp): State<Mcp>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<LoginDocument>, Refusal> {
    let FinishedLoginRequest { returned } = read(&body)?;
    let (server, _, oauth) = mcp.to_log_in(&name).await?;
    let now = mcp.0.parts.clock.now();
    let login =
        mcp.0.logins.finish(&server.name, &returned, now).await.map_err(|why| unfit(&server, &why))?;
    let kept = login.to_secret().map_err(|why| unfit(&server, &why))?;
    mcp.0.parts.source.set_login(operator, server.name.to_string(), kept).await?;
    Ok(Json(mcp.standing(&server, &oauth).await?))
}

impl Mcp {
    /// A server that operators log in at.
    async fn to_log_in(&self, name: &str) -> Result<(Server, String, Oauth), Refusal> {
        let catalogue = self.catalogue().await?;
        let server = ServerName::parse(name).and_then(|name| catalogue.server(&name).cloned());
        let server = server.ok_or_else(|| {
            let why = format!("The active policy names no MCP server {}.", visible(name));
            Refusal::new(StatusCode::NOT_FOUND, "not_found", why)
        })?;
        let Reach::Http { url, oauth: Some(oauth), .. } = server.reach.clone() else {
            return Err(unfit(&server, "nobody logs in at it: its policy has no oauth"));
        };
        match oauth.grant {
            OauthGrant::Login => Ok((server, url, oauth)),
            OauthGrant::ClientCredentials => {
                Err(unfit(&server, "nobody has to log in at it: placet's own credentials are enough"))
            }
        }
    }

    async fn standing(&self, server: &Server, oauth: &Oauth) -> Result<LoginDocument, Refusal> {
        let named = LoginDocument {
            server: server.name.to_string(),
            standing: "own".to_owned(),
            issuer: oauth.issuer.clone(),
            scopes: oauth.scopes.clone(),
            until: None,
            renewable: true,
        };
        if oauth.grant == OauthGrant::ClientCredentials {
            return Ok(named);
        }
        match self.kept(server).await? {
            Some(login) => Ok(login.described(named.server, self.0.parts.clock.now())),
            None => Ok(LoginDocument { standing: "none".to_owned(), renewable: false, ..named }),
        }
    }

    /// The login at a server, if it can be read.
    async fn kept(&self, server: &Server) -> Result<Option<Login>, AuthorityError> {
        let source = &self.0.parts.source;
        let versions = source.secret_versions(vec![server.login()]).await?;
        let secrets = source.server_secrets(versions).await?;
        Ok(secrets.get(&server.login()).and_then(|(_, kept)| Login::from_secret(kept).ok()))
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_body", format!("Send a JSON document: {error}."))
    })
}

fn unfit(server: &Server, why: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "no_login", format!("{}: {}", server.name, visible(why)))
}
