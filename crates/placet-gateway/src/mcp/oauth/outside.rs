//! Calls of addresses that others named: an authorization server's, which a server of tools told us.
//!
//! A server of tools could name anything, so that placet calls what it cannot reach itself. So: https only, no redirects,
//! nothing that is larger or slower than it has to be, and no address of a private network. Excepted is what an operator
//! named, the server itself and the issuer, and this machine for a server on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::HeaderMap;
use reqwest::{Client, Request, Response, StatusCode, Url, redirect};

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(20);
/// How many bytes an answer may have.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Whether what is sent there is encrypted on its way, or does not leave this machine.
pub(in crate::mcp) fn is_protected(url: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain && (url.scheme() == "https" || (url.scheme() == "http" && is_here(url)))
}

/// Whether an address is on this machine by its name alone.
pub(super) fn is_here(url: &Url) -> bool {
    match literal(url) {
        Some(address) => address.is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whoever is called, and may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outside {
    /// Hosts that an operator named.
    vouched: Vec<String>,
    /// The server of tools is on this machine itself.
    here: bool,
}

impl Outside {
    /// For a server of tools, and the issuer that an operator named.
    pub(super) fn of(server: &Url, issuer: Option<&Url>) -> Self {
        let hosts = [Some(server), issuer].into_iter().flatten();
        let vouched = hosts.filter_map(|url| url.host_str().map(str::to_owned)).collect();
        Outside { vouched, here: is_here(server) }
    }

    /// An address that may be called.
    pub(super) fn admitted(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|_| "it is no address".to_owned())?;
        if !is_protected(&url) || (is_here(&url) && !self.may_be_private(&url)) {
            return Err(format!("{} is not https, or not for servers from elsewhere", shown(&url)));
        }
        Ok(url)
    }

    fn may_be_private(&self, url: &Url) -> bool {
        let vouched = url.host_str().is_some_and(|host| self.vouched.iter().any(|vouched| vouched == host));
        vouched || (self.here && is_here(url))
    }

    /// A client for one call. It connects to what was looked at, and to nothing else.
    async fn client(&self, url: &Url) -> Result<Client, String> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(CALL_MAX)
            .user_agent(concat!("placet/", env!("CARGO_PKG_VERSION")));
        let builder = match url.host_str() {
            Some(host) if !self.may_be_private(url) => {
                let port = url.port_or_known_default().unwrap_or(443);
                let found: Vec<SocketAddr> = match literal(url) {
                    Some(address) => vec![(address, port).into()],
                    None => tokio::time::timeout(CALL_MAX, tokio::net::lookup_host((host, port)))
                        .await
                        .map_err(|_| format!("find {}: no answer in time", shown(url)))?
                        .map_err(|error| format!("find {}: {error}", shown(url)))?
                        .collect(),
                };
                if found.is_empty() || !found.iter().all(|found| is_public(found.ip())) {
                    return Err(format!(
                        "{} is in a private network: if it is meant, an operator names it as issuer",
                        shown(url)
                    ));
                }
                builder.resolve_to_addrs(host, &found)
            }
            _ => builder,
        };
        // What is meant for this machine does not leave it.
        let builder = if is_here(url) { builder.no_proxy() } else { builder };
        builder.build().map_err(|error| format!("prepare a client: {error}"))
    }

    /// Calls, and reads the answer whole. Whatever comes along on the way tells no secret.
    pub(super) async fn call(
        &self,
        url: &Url,
        write: impl FnOnce(&Client) -> reqwest::Result<Request>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let failed = |error: reqwest::Error| format!("call {}: {}", shown(url), error.without_url());
        let client = self.client(url).await?;
        let request = write(&client).map_err(failed)?;
        let response = client.execute(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("{} answered with a redirect, which is not followed", shown(url)));
        }
        Ok((status, whole(response).await.map_err(|why| format!("call {}: {why}", shown(url)))?))
    }

    /// What is there. `None`: nothing is.
    pub(super) async fn document(&self, url: &Url) -> Result<Option<Vec<u8>>, String> {
        let asked =
            self.call(url, |client| client.get(url.clone()).header("accept", "application/json").build());
        match asked.await? {
            (StatusCode::OK, body) => Ok(Some(body)),
            (status, _) if status.is_client_error() => Ok(None),
            (status, _) => Err(format!("{} answered with {status}", shown(url))),
        }
    }

    /// What the head of a server's answer says to somebody without a token.
    pub(super) async fn head(
        &self,
        url: &Url,
        write: impl FnOnce(&Client) -> reqwest::Result<Request>,
    ) -> Result<(StatusCode, HeaderMap), String> {
        let failed = |error: reqwest::Error| format!("call {}: {}", shown(url), error.without_url());
        let client = self.client(url).await?;
        let response = client.execute(write(&client).map_err(failed)?).await.map_err(failed)?;
        Ok((response.status(), response.headers().clone()))
    }
}

async fn whole(response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|_| "its answer broke off".to_owned())?);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too large".to_owned());
        }
    }
    Ok(body)
}

/// An address without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Whether an address is in no network of its own.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_public_4(four),
        IpAddr::V6(six) => is_public_6(six),
    }
}

fn is_public_4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let special = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0) || (a == 198 && (18..20).contains(&b));
    let own = address.is_private() || address.is_loopback() || address.is_link_local();
    !(own || shared || special || address.is_multicast() || address.is_documentation())
}

fn is_public_6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // What carries an address of the other kind is that address, or somebody else's network.
    if let Some(four) = address.to_ipv4() {
        return is_public_4(four);
    }
    let carries_other = (a == 0x64 && b == 0xff9b)
        || a == 0x2002
        || (a == 0x2001 && b == 0)
        || matches!(address.segments(), [0, 0, 0, 0, 0xffff, 0, ..]);
    let site = a & 0xffc0 == 0xfec0;
    let own = address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local();
    !(own
        || site
        || carries_other
        || address.is_unspecified()
        || address.is_multicast()
        || (a == 0x2001 && b == 0xdb8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn networks_of_ones_own_are_not_public() {
        for own in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(own.parse().unwrap()), "{own}");
        }
        for public in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn what_a_server_from_elsewhere_names_is_https_and_not_here() {
        let outside = Outside::of(&url("https://tools.example/mcp"), None);
        for refused in [
            "http://id.example/",
            "https://localhost/",
            "http://127.0.0.1/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://a:b@id.example/",
            "ftp://id.example/",
            "/relative",
            "https://id.example/#x",
        ] {
            assert!(outside.admitted(refused).is_err(), "{refused}");
        }
        assert!(outside.admitted("https://id.example/").is_ok());
        let here = Outside::of(&url("http://localhost:1/mcp"), None);
        assert!(here.admitted("http://127.0.0.1:2/").is_ok() && here.admitted("http://id.example/").is_err());
        let named = Outside::of(&url("https://tools.example/mcp"), Some(&url("https://localhost:9/")));
        assert!(named.admitted("https://localhost:9/token").is_ok());
    }

    #[tokio::test]
    async fn a_private_address_is_called_only_if_an_operator_named_it() {
        let server = url("https://tools.example/mcp");
        let inner = url("https://10.0.0.1/token");
        let refused = Outside::of(&server, None).client(&inner).await.unwrap_err();
        assert!(refused.contains("private network"), "{refused}");
        assert!(Outside::of(&server, Some(&url("https://10.0.0.1/"))).client(&inner).await.is_ok());
    }
}
