//! What placet is told by its operator.

use std::path::Path;
use std::time::Duration;

use super::lossy;
use crate::config::{Config, Environment, Origin, Settings};

/// A file, and after a NUL variables, one on each line: each key has one value, said where it says it was; the same said
/// by variables alone comes to the same; and what comes of it speaks to no stranger in clear.
pub(super) fn configuration(data: &[u8]) {
    let text = lossy(data);
    let (file, lines) = text.split_once('\0').unwrap_or((&text, ""));
    let variables: Vec<(&str, &str)> = lines.lines().filter_map(|line| line.split_once('=')).collect();
    let path = Path::new("placet.toml");
    let said = Settings::of(Some((path, file)), &Environment::of(variables.iter().copied()));
    let Ok(settings) = said else { return };
    let mut in_file = Vec::new();
    flat("", toml::Value::Table(toml::from_str(file).expect("it was read")), &mut in_file);
    for (key, said) in settings.iter() {
        let Some((value, origin)) = said else { continue };
        match origin {
            Origin::Variable(name) => {
                let last = variables.iter().rev().find(|(variable, _)| variable == name);
                assert_eq!(last.map(|(_, value)| *value), Some(value.as_str()));
            }
            Origin::File(_) => {
                let found: Vec<&String> =
                    in_file.iter().filter(|(name, _)| name == key.name).map(|(_, value)| value).collect();
                assert_eq!(found, [value], "{} is said once", key.name);
            }
            Origin::Default => assert_eq!(Some(value.as_str()), key.default),
            Origin::Flag(_) => panic!("nobody gave a flag"),
        }
    }
    let variables = settings.iter().filter_map(|(key, said)| Some((key.variable(), said?.0.clone())));
    let root_key = settings.root_key_file().map(|file| ("PLACET_ROOT_KEY_FILE".to_owned(), file.to_owned()));
    let again = Settings::of(None, &Environment::of(variables.chain(root_key))).expect("each key is one");
    match (Config::of(&settings), Config::of(&again)) {
        (Ok(config), Ok(same)) => {
            assert_eq!(config, same);
            is_safe(&config);
        }
        (Err(_), Err(_)) => {}
        (file, variables) => panic!("{file:?}, and by variables {variables:?}"),
    }
}

fn flat(name: &str, value: toml::Value, into: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            let within = |key: String| if name.is_empty() { key } else { format!("{name}.{key}") };
            table.into_iter().for_each(|(key, value)| flat(&within(key), value, into));
        }
        toml::Value::String(text) => into.push((name.to_owned(), text)),
        other => into.push((name.to_owned(), other.to_string())),
    }
}

fn is_safe(config: &Config) {
    for door in [&config.agents, &config.reviewers] {
        let by_tls = door.public_url.as_ref().is_some_and(|url| url.is_https());
        assert!(door.listen.ip().is_loopback() || (config.trusted_proxy && by_tls));
    }
    assert!(config.gateway.listen.ip().is_loopback() || config.trusted_proxy);
    assert!(config.agents.listen != config.reviewers.listen || config.agents.listen.port() == 0);
    let lifetimes = &config.lifetimes;
    for time in [lifetimes.grant, lifetimes.lease, lifetimes.invitation, lifetimes.session, lifetimes.token] {
        assert!((1..=366 * 24 * 3600).contains(&time.as_secs()) && time.subsec_nanos() == 0);
    }
    assert!(config.mcp_hold >= Duration::from_secs(1));
    let limits = &config.limits;
    assert!(
        [
            limits.calls_per_minute,
            limits.pending,
            limits.reviews_per_hour,
            limits.connections,
            limits.output_mib
        ]
        .iter()
        .all(|limit| *limit > 0)
    );
}
