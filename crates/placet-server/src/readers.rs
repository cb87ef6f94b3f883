//! The readers of this crate for tests from outside, which try them with any bytes. No part of the interface.

use axum::http::{HeaderMap, HeaderValue, header};
use placet_core::time::Timestamp;

use crate::calendar::{self, Said};
use crate::gate::{Gate, PublicUrl};
use crate::query;

/// The pairs of a query or form; none if they are not UTF-8.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    query::pairs(text)
}

/// Text as part of a query.
pub fn encoded(text: &str) -> String {
    query::encoded(text)
}

/// The session's cookie in these lines, as the door at this address reads them. What is no header's value is left out.
pub fn session_cookie(url: &PublicUrl, lines: &[&[u8]]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(header::COOKIE, line);
    }
    Gate::new(url).session_cookie(&headers).map(str::to_owned)
}

/// The header that begins a session at this address.
pub fn set_cookie(url: &PublicUrl, value: &str) -> String {
    Gate::new(url).set_cookie(value, 60)
}

/// The two moments, in milliseconds, of a time as people say it: on, between, from, to and the time zone.
pub fn window(said: &[Option<String>; 5], now: i64) -> Option<(Option<i64>, Option<i64>)> {
    let [on, between, from, to, tz] = said.clone();
    let said = Said { on, between, from, to, tz };
    let window = calendar::window(&said, Timestamp::from_millis(now)).ok()?;
    Some((window.from.map(Timestamp::as_millis), window.to.map(Timestamp::as_millis)))
}
