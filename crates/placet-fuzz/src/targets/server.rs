//! Queries and forms, cookies, addresses, and times as people say them.

use placet_server::PublicUrl;
use placet_server::readers;

use super::{first, lossy};

/// What is read of a query is what another reader finds, and is read again from how it would be written.
pub(super) fn query(data: &[u8]) {
    let text = lossy(data);
    if let Some(pairs) = readers::pairs(&text) {
        let theirs: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        assert_eq!(pairs, theirs, "another reader");
        let written: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", readers::encoded(name), readers::encoded(value)))
            .collect();
        assert_eq!(readers::pairs(&written.join("&")), Some(pairs), "read back");
    }
    if let Ok(url) = PublicUrl::parse(&text) {
        let again = PublicUrl::parse(&url.to_string());
        assert_eq!(again.as_ref(), Ok(&url));
        assert!(url.host().parse::<std::net::IpAddr>().is_err(), "never an address");
    }
}

/// A cookie of ours comes back as it was given, is found once or not at all, and no other is taken for it.
pub(super) fn cookies(data: &[u8]) {
    let (choice, rest) = first(data);
    let url = if choice & 1 == 0 { "http://localhost:7070" } else { "https://placet.example" };
    let url = PublicUrl::parse(url).expect("an address");
    // What no header can hold does not arrive.
    let arrives = |line: &&[u8]| line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    let lines: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').filter(arrives).collect();
    let found = readers::session_cookie(&url, &lines);
    let name = if choice & 1 == 0 { "placet_session_7070" } else { "__Host-placet_session" };
    let named = lines.iter().flat_map(|line| line.split(|byte| *byte == b';')).filter(|pair| {
        pair.trim_ascii().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    });
    match &found {
        Some(value) => {
            assert_eq!(named.count(), 1, "there once");
            assert!(!value.contains(';'));
        }
        None => {
            let legible =
                lines.iter().all(|line| line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')));
            assert!(!legible || named.count() != 1, "one that is there is found");
        }
    }
    let value: String = lossy(rest).chars().filter(char::is_ascii_alphanumeric).collect();
    let set = readers::set_cookie(&url, &value);
    let pair = set.split(';').next().expect("a pair").as_bytes();
    assert_eq!(readers::session_cookie(&url, &[b"a=b; c", pair]), Some(value), "as it was given");
    assert_eq!(readers::session_cookie(&url, &[pair, pair]), None, "twice is not at all");
}

/// Times that people say are two moments in their order, and a day is inside of itself.
pub(super) fn times(data: &[u8]) {
    let text = lossy(data);
    let mut words = text.split('|').map(|word| (!word.is_empty()).then(|| word.to_owned()));
    let mut word = || words.next().flatten();
    let said = [word(), word(), word(), word(), word()];
    for now in [0, 1_790_000_000_000, -62_135_596_800_000, 253_402_300_799_999, i64::MAX, i64::MIN] {
        if let Some((Some(from), Some(to))) = readers::window(&said, now) {
            // A part of a day may be what a clock that is set forward leaves out.
            assert!(from <= to, "{said:?} at {now}: {from} to {to}");
            // Two days, and a clock that is set back.
            assert!(said[0].is_none() || to - from <= 50 * 3_600_000, "{said:?} at {now}: {from} to {to}");
        }
    }
}
