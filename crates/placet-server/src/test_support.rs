//! The readers of what browsers send, for those who throw arbitrary bytes at them.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::gate::{Gate, PublicUrl};

/// The pairs of a query or form, decoded.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    crate::query::pairs(text)
}

/// Text as part of a query.
pub fn encoded(text: &str) -> String {
    crate::query::encoded(text)
}

/// The session that this `Cookie` header holds, at a door on port 7070 of this machine.
pub fn session_cookie(text: &str) -> Option<String> {
    let headers = one(header::COOKIE, text)?;
    gate().session_cookie(&headers).map(str::to_owned)
}

/// The host that this `Host` header names, if it is ours.
pub fn host(text: &str) -> Option<String> {
    let headers = one(header::HOST, text)?;
    gate().host(&headers, &Uri::from_static("/")).map(|host| host.name)
}

/// A public address, as it is written.
pub fn public_url(text: &str) -> Option<String> {
    PublicUrl::parse(text).ok().map(|url| url.to_string())
}

fn gate() -> Gate {
    Gate::new(&PublicUrl::localhost(7070))
}

fn one(name: HeaderName, text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(text).ok()?);
    Some(headers)
}
