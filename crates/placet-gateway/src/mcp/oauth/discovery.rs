//! Who issues a server's tokens, and how: what the server says to somebody without one (RFC 9728), and what the
//! authorization server says of itself (RFC 8414, or OpenID Connect's discovery).
//!
//! ```text
//! server ─401, WWW-Authenticate─► its metadata ─issuer─► the issuer's metadata ─► endpoints
//! ```
//!
//! Each document is believed about itself only: the server's must name the server, the issuer's that issuer.

use placet_core::text::visible;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::outside::{Outside, shown};
use crate::mcp::catalogue::Oauth;
use crate::mcp::wire::{LEGACY, META, META_CAPABILITIES, META_CLIENT_INFO, META_VERSION, MODERN};

const OF_RESOURCES: &str = "/.well-known/oauth-protected-resource";
/// How many characters of a name that somebody else wrote are shown.
const BRIEF_MAX: usize = 200;
const OF_SERVERS: &str = "/.well-known/oauth-authorization-server";
const OF_OPENID: &str = "/.well-known/openid-configuration";

/// What was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// What the server is called where its tokens are issued, as it is written there.
    pub(super) resource: String,
    /// What its tokens should be good for.
    pub(super) scopes: Vec<String>,
    pub(super) issuer: Issuer,
}

/// An authorization server, as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct Issuer {
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: String,
    #[serde(default)]
    pub(super) registration_endpoint: Option<String>,
    #[serde(default)]
    pub(super) scopes_supported: Vec<String>,
    #[serde(default)]
    pub(super) code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    pub(super) client_id_metadata_document_supported: bool,
}

/// What a server says of itself.
#[derive(Deserialize)]
struct Resource {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What a server wants of whoever has no token, or one that is not enough.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Challenge {
    metadata: Option<String>,
    scopes: Vec<String>,
    error: Option<String>,
}

impl Challenge {
    /// Reads the first `Bearer` challenge of an answer.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let written = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        written.filter_map(parameters).next().unwrap_or_default()
    }

    /// The scopes that a token lacks, if that is what is wrong with it.
    pub(super) fn lacking(&self) -> Option<&[String]> {
        (self.error.as_deref() == Some("insufficient_scope")).then_some(&self.scopes)
    }
}

/// The parameters of a challenge, `Bearer a="b", c=d`.
fn parameters(challenge: &str) -> Option<Challenge> {
    let at = challenge.to_ascii_lowercase().find("bearer")?;
    let mut rest = challenge.get(at + "bearer".len()..)?.trim_start();
    let mut found = Challenge::default();
    while let Some((name, value)) = rest.split_once('=') {
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = value.find(',').unwrap_or(value.len());
                (value.get(..end)?.trim().to_owned(), value.get(end..)?)
            }
        };
        match name.trim() {
            "resource_metadata" => found.metadata = Some(text),
            "scope" => found.scopes = words(&text),
            "error" => found.error = Some(text),
            // The next challenge, of another scheme: `, Basic realm`.
            name if name.contains(' ') => break,
            _ => {}
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(found)
}

/// What stands before the closing quotation mark, and what after it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((inner, text.get(at + 1..)?)),
            '\\' => inner.push(characters.next()?.1),
            other => inner.push(other),
        }
    }
    None
}

/// The scopes of a text that are some.
pub(super) fn words(text: &str) -> Vec<String> {
    let plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
    text.split(' ').filter(|word| !word.is_empty()).filter(plain).map(str::to_owned).collect()
}

/// Finds out who issues tokens for a server.
pub(super) async fn discover(outside: &Outside, server: &Url, oauth: &Oauth) -> Result<Found, String> {
    let challenge = knock(outside, server).await?;
    let resource = resource(outside, server, challenge.metadata.as_deref()).await?;
    let named =
        resource.as_ref().map(|resource| resource.authorization_servers.as_slice()).unwrap_or_default();
    let issuer = match (&oauth.issuer, named) {
        (Some(issuer), named) if named.is_empty() || named.contains(issuer) => issuer,
        (Some(issuer), _) => {
            return Err(format!("its tokens are not issued by {issuer}, which its policy names"));
        }
        (None, [first, ..]) => first,
        (None, []) => {
            return Err("it does not say who issues its tokens: name the issuer in its policy".to_owned());
        }
    };
    let issuer = described(outside, issuer).await?;
    let supported =
        resource.as_ref().map(|resource| words(&resource.scopes_supported.join(" "))).unwrap_or_default();
    let scopes = [&oauth.scopes, &challenge.scopes, &supported].into_iter().find(|scopes| !scopes.is_empty());
    Ok(Found {
        scopes: scopes.cloned().unwrap_or_default(),
        resource: resource.map_or_else(|| server.to_string(), |resource| resource.resource),
        issuer,
    })
}

/// What the server says to somebody without a token. Of either era: some let `initialize` pass, some know nothing else.
async fn knock(outside: &Outside, server: &Url) -> Result<Challenge, String> {
    let meta = json!({META_VERSION: MODERN, META_CLIENT_INFO: {"name": "placet", "version": env!("CARGO_PKG_VERSION")}, META_CAPABILITIES: {}});
    let newest = LEGACY.first().copied().unwrap_or_default();
    let discover = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {META: meta}});
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": newest,
        "capabilities": {}, "clientInfo": {"name": "placet", "version": env!("CARGO_PKG_VERSION")}}});
    for (body, version) in [(discover, Some(MODERN)), (initialize, None)] {
        let asked = outside.head(server, |client| {
            let request = client.post(server.clone()).header(ACCEPT, "application/json, text/event-stream");
            let request = version.into_iter().fold(request, |request, version| {
                request.header("mcp-protocol-version", version).header("mcp-method", "server/discover")
            });
            request.header(CONTENT_TYPE, "application/json").body(body.to_string()).build()
        });
        let (status, headers) = asked.await?;
        if status == StatusCode::UNAUTHORIZED {
            return Ok(Challenge::of(&headers));
        }
    }
    Ok(Challenge::default())
}

/// The server's own metadata: where it says they are, or where they belong.
async fn resource(outside: &Outside, server: &Url, named: Option<&str>) -> Result<Option<Resource>, String> {
    let places = match named {
        Some(named) => vec![outside.admitted(named)?],
        None => {
            let below = server.path().trim_end_matches('/');
            let mut places = vec![placed(server, &format!("{OF_RESOURCES}{below}"))];
            if !below.is_empty() {
                places.push(placed(server, OF_RESOURCES));
            }
            places
        }
    };
    for place in places {
        if place.origin() != server.origin() {
            return Err(format!("its metadata are at {}, which is not its own", shown(&place)));
        }
        let Some(body) = outside.document(&place).await? else { continue };
        let read: Resource = read(&place, &body)?;
        // Only whoever has the well-known places speaks for more of a host than the server itself.
        let all = place.path().starts_with(OF_RESOURCES);
        let stands_for = Url::parse(&read.resource)
            .is_ok_and(|resource| covers(&resource, server) && (all || is_same(&resource, server)));
        if !stands_for {
            return Err(format!(
                "its metadata are those of {}, which is somebody else",
                brief(&read.resource)
            ));
        }
        return Ok(Some(read));
    }
    Ok(None)
}

/// Whether a server is, or lies below, what metadata are about.
fn covers(resource: &Url, server: &Url) -> bool {
    let base = resource.path().trim_end_matches('/');
    let below = server.path().strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == server.origin() && below && resource.fragment().is_none()
}

fn is_same(resource: &Url, server: &Url) -> bool {
    resource.path().trim_end_matches('/') == server.path().trim_end_matches('/')
}

/// What an issuer says of itself.
async fn described(outside: &Outside, issuer: &str) -> Result<Issuer, String> {
    let url = outside.admitted(issuer)?;
    let tenant = url.path().trim_end_matches('/').to_owned();
    let mut places =
        vec![placed(&url, &format!("{OF_SERVERS}{tenant}")), placed(&url, &format!("{OF_OPENID}{tenant}"))];
    if !tenant.is_empty() {
        places.push(placed(&url, &format!("{tenant}{OF_OPENID}")));
    }
    for place in places {
        let Some(body) = outside.document(&place).await? else { continue };
        let found: Issuer = read(&place, &body)?;
        if found.issuer != issuer {
            return Err(format!(
                "{} is about {}, and not about {issuer}",
                shown(&place),
                brief(&found.issuer)
            ));
        }
        outside.admitted(&found.token_endpoint)?;
        return Ok(found);
    }
    Err(format!("{} does not say how it issues tokens", shown(&url)))
}

fn read<T: for<'a> Deserialize<'a>>(place: &Url, body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|_| format!("{} is not metadata", shown(place)))
}

/// What somebody else wrote, for a message.
fn brief(text: &str) -> String {
    visible(&text.chars().take(BRIEF_MAX).collect::<String>())
}

fn placed(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_they_are_written() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().unwrap());
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
            let found = Challenge::of(&headers);
            (found.metadata.unwrap_or_default(), found.scopes.join(" "), found.error.unwrap_or_default())
        };
        let expected = |metadata: &str, scope: &str, error: &str| {
            (metadata.to_owned(), scope.to_owned(), error.to_owned())
        };
        assert_eq!(
            of(
                r#"Bearer realm="a, \"b\"", resource_metadata="https://h/m", scope="a b" , error="invalid_token""#
            ),
            expected("https://h/m", "a b", "invalid_token")
        );
        assert_eq!(of("bearer scope=a, error=insufficient_scope"), expected("", "a", "insufficient_scope"));
        assert_eq!(of(r#"Bearer scope="a", Basic realm="x", error="y""#), expected("", "a", ""));
        for none in ["Bearer", "Bearer scope", r#"Bearer scope="open"#, "DPoP a=b"] {
            assert_eq!(of(none), expected("", "", ""), "{none}");
        }
    }

    #[test]
    fn metadata_are_about_the_server_or_what_it_lies_below() {
        let covers = |resource: &str| {
            covers(&Url::parse(resource).unwrap(), &Url::parse("https://h:8/a/mcp").unwrap())
        };
        for own in ["https://h:8/a/mcp", "https://h:8/a/mcp/", "https://h:8/a", "https://h:8", "https://h:8/"]
        {
            assert!(covers(own), "{own}");
        }
        for other in
            ["https://h/a/mcp", "https://i:8/a/mcp", "https://h:8/a/m", "https://h:8/a/mcp/x", "http://h:8/"]
        {
            assert!(!covers(other), "{other}");
        }
    }

    #[test]
    fn a_server_with_metadata_of_its_own_making_speaks_for_itself_alone() {
        let same = |resource: &str| {
            is_same(&Url::parse(resource).unwrap(), &Url::parse("https://h:8/a/mcp").unwrap())
        };
        assert!(same("https://h:8/a/mcp") && same("https://h:8/a/mcp/"));
        assert!(!same("https://h:8/a") && !same("https://h:8/"));
    }
}
