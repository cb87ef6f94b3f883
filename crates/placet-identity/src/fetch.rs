//! What is read of issuers: small, soon, from where they say, and from nowhere that a redirect leads.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tokio::io::AsyncReadExt as _;

/// How long a document may be on its way.
const CALL_MAX: Duration = Duration::from_secs(10);
/// How many bytes it may have.
const BYTES_MAX: u64 = 256 * 1024;

/// Whether what is read there is what was written there: it is encrypted on its way, or does not leave this machine.
pub(crate) fn is_protected(url: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain && (url.scheme() == "https" || (url.scheme() == "http" && is_here(url)))
}

/// Whether an address is on this machine by its name alone.
pub(crate) fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is at an address. `None`: nothing is. An error says what the address does, and not which it is.
pub(crate) async fn document(url: &Url) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: reqwest::Error| format!("does not answer: {}", error.without_url());
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(CALL_MAX)
        .user_agent(concat!("placet/", env!("CARGO_PKG_VERSION")));
    // What is on this machine is not asked for elsewhere.
    let builder = if is_here(url) { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(failed)?;
    let response =
        client.get(url.clone()).header("accept", "application/json").send().await.map_err(failed)?;
    match response.status() {
        StatusCode::OK => whole(response).await.map(Some).map_err(str::to_owned),
        status if status.is_client_error() => Ok(None),
        status => Err(format!("answers with {status}")),
    }
}

async fn whole(response: Response) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|_| "breaks off")?);
        if body.len() as u64 > BYTES_MAX {
            return Err("is too large");
        }
    }
    Ok(body)
}

/// What is in a file, which is no larger than a document may be.
pub(crate) async fn file(path: &Path) -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(std::io::Error::other("it is too large"));
    }
    Ok(bytes)
}
