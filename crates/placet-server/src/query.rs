//! Query parameters of the API: known names, each once, within bounds.

use axum::http::Uri;
use placet_api::WAIT_SECONDS_MAX;
use placet_store::PAGE_MAX;
use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// How many items a page has if the caller does not say.
const PAGE_DEFAULT: usize = 50;

/// The parameters of one call. They are taken one by one; what is left at the end is unknown.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &Uri) -> Outcome<Self> {
        let pairs = pairs(uri.query().unwrap_or_default());
        Ok(Query(pairs.ok_or_else(|| refused("The query is not UTF-8 in percent-encoding."))?))
    }

    /// The parameter, if it is there; twice is an error.
    pub(crate) fn take(&mut self, name: &str) -> Outcome<Option<String>> {
        let mut found = None;
        while let Some(position) = self.0.iter().position(|(key, _)| key == name) {
            if found.replace(self.0.swap_remove(position).1).is_some() {
                return Err(refused(&format!("The parameter {name} stands twice.")));
            }
        }
        Ok(found)
    }

    /// The parameter, read by this function.
    pub(crate) fn take_as<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match read(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(refused(&format!("The parameter {name} is not understood: {rule}."))),
        }
    }

    /// How long the caller wants to wait; zero if it does not say.
    pub(crate) fn take_wait(&mut self) -> Outcome<Duration> {
        let rule = format!("write whole seconds, {WAIT_SECONDS_MAX} at most");
        let seconds =
            self.take_as("wait", &rule, |text| whole(text).filter(|seconds| *seconds <= WAIT_SECONDS_MAX))?;
        Ok(Duration::from_secs(seconds.unwrap_or(0)))
    }

    /// How many items the caller wants.
    pub(crate) fn take_limit(&mut self) -> Outcome<usize> {
        let rule = format!("write 1 to {PAGE_MAX}");
        let limit = self.take_as("limit", &rule, |text| {
            whole(text)
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
        })?;
        Ok(limit.unwrap_or(PAGE_DEFAULT))
    }

    /// Refuses what nobody asked for.
    pub(crate) fn end(self) -> Outcome<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let shown: String = placet_core::text::visible(name).chars().take(64).collect();
                Err(refused(&format!("No parameter {shown:?} is known here: leave it out.")))
            }
        }
    }
}

fn refused(detail: &str) -> Failure {
    Failure::bad_request("bad_query", detail)
}

/// A whole number without sign.
pub(crate) fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The pairs of a query or form, decoded; none if they are not UTF-8.
pub(crate) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                let digits =
                    std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = tail;
            }
            plain => bytes.push(*plain),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether a path is UTF-8 in percent-encoding.
pub(crate) fn is_text(path: &str) -> bool {
    decoded(path).is_some()
}

/// Text as part of a query or path.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/?{text}").parse().unwrap()).unwrap()
    }

    #[test]
    fn parameters_are_known_and_single() {
        let mut read = query("status=pending&wait=50&limit=7");
        assert_eq!(read.take("status").unwrap().as_deref(), Some("pending"));
        assert_eq!(read.take_wait().unwrap(), Duration::from_secs(50));
        assert_eq!(read.take_limit().unwrap(), 7);
        assert!(read.end().is_ok());
        assert!(query("a=1&a=2").take("a").is_err());
        assert!(query("x=1").end().is_err());
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_not_clamped() {
        for text in ["wait=51", "wait=-1", "wait=1.5", "wait=+1", "wait=", "wait=99999999999999999999"] {
            assert!(query(text).take_wait().is_err(), "{text}");
        }
        for text in ["limit=0", "limit=201", "limit=x"] {
            assert!(query(text).take_limit().is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_are_decoded_exactly() {
        assert_eq!(
            pairs("a=1%2B2&b=c+d&e"),
            Some(vec![("a".into(), "1+2".into()), ("b".into(), "c d".into()), ("e".into(), String::new()),])
        );
        for text in ["%ff", "%", "%4", "%+1", "%zz"] {
            assert_eq!(pairs(text), None, "{text}");
        }
        assert!(is_text("/r/%C3%A9+") && !is_text("/r/%ff") && !is_text("/r/%"));
        for text in ["a b&c=d/é%", ""] {
            assert_eq!(pairs(&format!("k={}", encoded(text))), Some(vec![("k".into(), text.into())]));
        }
    }
}
