//! Which hosts and origins the reviewers' door answers to, and under which name its cookie stands.
//!
//! A browser sends a person's cookies with whatever page makes it do so. The door therefore knows its own names: a
//! `Host` that is none of them is a rebound name or a misconfigured proxy, an `Origin` that is none of them is another
//! site's page.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

/// Where people reach a door: scheme, host name and port, nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl {
    https: bool,
    host: String,
    port: u16,
}

/// The text is not an address that a door can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a public URL: {0}")]
pub struct PublicUrlError(&'static str);

impl PublicUrlError {
    /// What to write instead.
    pub fn rule(&self) -> &'static str {
        self.0
    }
}

impl PublicUrl {
    /// The default: plain HTTP on this machine's own name.
    pub fn localhost(port: u16) -> Self {
        PublicUrl { https: false, host: "localhost".to_owned(), port }
    }

    /// Reads `http://host:port` or `https://host`. Never an address of numbers: links, cookies and passkeys need a
    /// name.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let refuse = PublicUrlError;
        let uri: Uri = text.parse().map_err(|_| refuse("write it like https://placet.example"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refuse("it starts with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse("it has no path and no query"));
        }
        let authority = uri.authority().ok_or(refuse("name a host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it has no user"));
        }
        let host = authority.host().to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // A name whose last label is a number is an IPv4 address to every browser.
        let last = bare.rsplit('.').next().unwrap_or_default();
        if bare.parse::<IpAddr>().is_ok() || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse(
                "write a host name: browsers bind sessions and passkeys to names, not to IP addresses",
            ));
        }
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(refuse("write a host name of letters, digits, - and ., like placet.example.com"));
        }
        let port = match authority.as_str().rsplit_once(':') {
            None => default_port(https),
            Some((_, port)) => match port.parse() {
                Ok(0) | Err(_) => return Err(refuse("its port is a number from 1 to 65535")),
                Ok(port) => port,
            },
        };
        Ok(PublicUrl { https, host, port })
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host)?;
        if self.port == default_port(self.https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(fits)
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// A host that the door answers to, as one call named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    /// Name and port, as in `Host`.
    authority: String,
    /// The name, which sessions are bound to.
    pub(crate) name: String,
}

/// What the reviewers' door answers to.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    scheme: &'static str,
    authorities: BTreeSet<String>,
    /// The session cookie's name. Cookies know no ports, so each listener has its own.
    pub(crate) cookie: String,
    pub(crate) https: bool,
}

/// Other spellings of this machine, allowed where the public name is this machine itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Gate {
    pub(crate) fn new(url: &PublicUrl) -> Self {
        let mut authorities = BTreeSet::new();
        let mut allow = |host: &str| {
            authorities.insert(format!("{host}:{}", url.port));
            if url.port == default_port(url.https) {
                authorities.insert(host.to_owned());
            }
        };
        allow(&url.host);
        if url.host == "localhost" || url.host.ends_with(".localhost") {
            LOOPBACK.into_iter().for_each(&mut allow);
        }
        let cookie = if url.https {
            "__Host-placet_session".to_owned()
        } else {
            format!("placet_session_{}", url.port)
        };
        Gate { scheme: url.scheme(), authorities, cookie, https: url.https }
    }

    /// The host that a call names, if it is ours and named once.
    pub(crate) fn host(&self, headers: &HeaderMap, uri: &Uri) -> Option<Host> {
        let mut written = headers.get_all(header::HOST).iter();
        let authority = written.next()?.to_str().ok()?.to_ascii_lowercase();
        if written.next().is_some() || !self.authorities.contains(&authority) {
            return None;
        }
        if uri.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(&authority)) {
            return None;
        }
        let name = match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
            _ => authority.clone(),
        };
        Some(Host { authority, name })
    }

    /// What a call says about the page that made it.
    pub(crate) fn origin(&self, headers: &HeaderMap, host: &Host) -> Origin {
        let mut written = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = written.next() else { return Origin::Absent };
        let own = format!("{}://{}", self.scheme, host.authority);
        let same = origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(&own));
        if same && written.next().is_none() { Origin::Same } else { Origin::Foreign }
    }

    /// The session cookie's value, if it is there once.
    pub(crate) fn session_cookie<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let mut found = None;
        for line in headers.get_all(header::COOKIE) {
            for pair in line.to_str().ok()?.split(';') {
                let Some((name, value)) = pair.trim().split_once('=') else { continue };
                if name != self.cookie {
                    continue;
                }
                // Twice means that somebody planted one: which of them is ours cannot be told.
                if found.replace(value).is_some() {
                    return None;
                }
            }
        }
        found
    }

    /// The header that begins a session in the browser.
    pub(crate) fn set_cookie(&self, value: &str, seconds: u64) -> String {
        let secure = if self.https { "; Secure" } else { "" };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}", self.cookie)
    }
}

/// What a call says about the page that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A page of this door.
    Same,
    /// Another site's page, or one that hides.
    Foreign,
    /// No page: a program, or a plain link.
    Absent,
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn gate(url: &str) -> Gate {
        Gate::new(&PublicUrl::parse(url).unwrap())
    }

    #[test]
    fn public_urls_are_names() {
        for (text, shown) in [
            ("http://localhost:7070", "http://localhost:7070"),
            ("https://Placet.Example", "https://placet.example"),
            ("https://placet.example:443/", "https://placet.example"),
            ("http://placet.example:80", "http://placet.example"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "localhost:7070",
            "ftp://a",
            "http://127.0.0.1:7070",
            "http://[::1]",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a:99999",
            "https://a:b",
            "https://a:0",
            "https://2130706433",
            "https://a.1",
            "https://a_b",
            "https://-a",
            "https://a..b",
            "/",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_our_hosts_are_answered() {
        let local = gate("http://localhost:7070");
        let public = gate("https://placet.example");
        for (gate, host, name) in [
            (&local, "localhost:7070", Some("localhost")),
            (&local, "LocalHost:7070", Some("localhost")),
            (&local, "127.0.0.1:7070", Some("127.0.0.1")),
            (&local, "[::1]:7070", Some("[::1]")),
            (&local, "localhost", None),
            (&local, "localhost:7071", None),
            (&local, "evil.example:7070", None),
            (&local, "localhost.evil.example:7070", None),
            (&public, "placet.example", Some("placet.example")),
            (&public, "placet.example:443", Some("placet.example")),
            (&public, "localhost", None),
            (&public, "127.0.0.1:443", None),
        ] {
            let headers = headers(&[("host", host)]);
            let found = gate.host(&headers, &Uri::from_static("/"));
            assert_eq!(found.map(|host| host.name).as_deref(), name, "{host}");
        }
        let root = Uri::from_static("/");
        assert!(local.host(&HeaderMap::new(), &root).is_none());
        let twice = headers(&[("host", "localhost:7070"), ("host", "localhost:7070")]);
        assert!(local.host(&twice, &root).is_none());
        let absolute = Uri::from_static("http://evil.example/");
        assert!(local.host(&headers(&[("host", "localhost:7070")]), &absolute).is_none());
    }

    #[test]
    fn only_pages_of_the_same_host_may_post() {
        let gate = gate("http://localhost:7070");
        let host = gate.host(&headers(&[("host", "localhost:7070")]), &Uri::from_static("/")).unwrap();
        for (origin, expected) in [
            ("http://localhost:7070", Origin::Same),
            ("https://localhost:7070", Origin::Foreign),
            ("http://127.0.0.1:7070", Origin::Foreign),
            ("http://localhost:7071", Origin::Foreign),
            ("http://localhost", Origin::Foreign),
            ("http://elsewhere.test", Origin::Foreign),
            ("null", Origin::Foreign),
            ("", Origin::Foreign),
        ] {
            assert_eq!(gate.origin(&headers(&[("origin", origin)]), &host), expected, "{origin}");
        }
        assert_eq!(gate.origin(&HeaderMap::new(), &host), Origin::Absent);
        let twice = headers(&[("origin", "http://localhost:7070"), ("origin", "http://elsewhere.test")]);
        assert_eq!(gate.origin(&twice, &host), Origin::Foreign);
    }

    #[test]
    fn the_cookie_is_ours_and_there_once() {
        let gate = gate("http://localhost:7070");
        for (cookies, expected) in [
            (vec![("cookie", "placet_session_7070=abc")], Some("abc")),
            (vec![("cookie", "a=b; placet_session_7070=abc; c=d")], Some("abc")),
            (vec![("cookie", "a=b"), ("cookie", "placet_session_7070=abc")], Some("abc")),
            (vec![("cookie", "placet_session_7071=abc")], None),
            (vec![("cookie", "xplacet_session_7070=abc")], None),
            (vec![("cookie", "placet_session_7070=a; placet_session_7070=b")], None),
            (vec![("cookie", "placet_session_7070=a"), ("cookie", "placet_session_7070=a")], None),
            (vec![], None),
        ] {
            assert_eq!(gate.session_cookie(&headers(&cookies)), expected, "{cookies:?}");
        }
    }

    #[test]
    fn over_tls_the_cookie_is_bound_to_the_host() {
        let plain = gate("http://localhost:7070").set_cookie("v", 60);
        assert_eq!(plain, "placet_session_7070=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        let tls = gate("https://placet.example").set_cookie("v", 60);
        assert_eq!(tls, "__Host-placet_session=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
    }
}
