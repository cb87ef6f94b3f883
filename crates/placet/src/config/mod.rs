//! The configuration: `placet.toml`, the environment and flags, read once at start and never again.
//!
//! ```text
//! flag ─► PLACET__SECTION__KEY ─► placet.toml ─► default ──► Settings (text, by key) ──► Config (types)
//! ```
//!
//! A key that is not known is refused wherever it stands, and so is a value that would be unsafe: nothing is ignored.
//! Nothing is bound, opened or resolved here.

mod keys;
mod settings;
mod typed;

use std::path::PathBuf;

pub(crate) use keys::{KEYS, VARIABLES};
pub(crate) use settings::{Environment, Settings};
pub(crate) use typed::{Config, ConfigError};

/// Where to look for the configuration, and what was said on the command line.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: ./placet.toml if it is there]
    #[arg(long, value_name = "FILE", global = true, env = "PLACET_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
    /// Data directory [default: ./placet-data]
    #[arg(long, value_name = "DIR", global = true, env = "PLACET_DIR", hide_env = true)]
    pub(crate) dir: Option<PathBuf>,
}

impl ConfigArgs {
    /// What is said for every key.
    pub(crate) fn settings(&self, environment: &Environment) -> Result<Settings, ConfigError> {
        Settings::read(self.config.as_deref(), self.dir.as_deref(), environment)
    }
}

/// The configuration of this process.
pub(crate) fn load(args: &ConfigArgs) -> Result<Config, ConfigError> {
    Config::of(&args.settings(&Environment::of_process()?)?)
}

/// The same, where a command's own flags set some keys: key, flag, and what was said.
pub(crate) fn load_with(
    args: &ConfigArgs,
    said: impl IntoIterator<Item = (&'static str, &'static str, Option<String>)>,
) -> Result<Config, ConfigError> {
    let mut settings = args.settings(&Environment::of_process()?)?;
    for (key, flag, text) in said {
        settings.say(key, flag, text);
    }
    Config::of(&settings)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("placet.toml");
        std::fs::write(&path, file).unwrap();
        let args = ConfigArgs { config: Some(path), dir: None };
        Config::of(&args.settings(&Environment::of(environment.iter().copied()))?)
    }

    #[test]
    fn silence_is_a_configuration_on_loopback() {
        let config = read("", &[]).unwrap();
        assert_eq!(config.dir, PathBuf::from("./placet-data"));
        assert_eq!(config.agents.listen.to_string(), "127.0.0.1:7071");
        assert_eq!(config.reviewers.url(config.reviewers.listen).to_string(), "http://localhost:7070");
        assert_eq!((config.trusted_proxy, config.log.public, config.run_as), (false, false, None));
        assert_eq!(config.lifetimes.token, Duration::from_secs(90 * 24 * 60 * 60));
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let file = "dir = 'file'\n[agents]\nlisten = '127.0.0.1:1'\n[lifetimes]\ngrant = '1m'\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("placet.toml");
        std::fs::write(&path, file).unwrap();
        let args = ConfigArgs { config: Some(path), dir: Some("flag".into()) };
        let environment =
            Environment::of([("PLACET__DIR", "environment"), ("PLACET__AGENTS__LISTEN", "[::1]:0")]);
        let config = Config::of(&args.settings(&environment).unwrap()).unwrap();
        assert_eq!(config.dir, PathBuf::from("flag"));
        assert_eq!(config.agents.listen.to_string(), "[::1]:0");
        assert_eq!(config.lifetimes.grant, Duration::from_secs(60));
        assert_eq!(read(file, &[("PLACET__DIR", "environment")]).unwrap().dir, PathBuf::from("environment"));
        assert_eq!(read(file, &[]).unwrap().dir, PathBuf::from("file"));
    }

    #[test]
    fn what_nobody_knows_is_refused_wherever_it_stands() {
        for (file, environment, names) in [
            ("colour = 'red'", vec![], "colour"),
            ("[agents]\nlisen = '127.0.0.1:1'", vec![], "agents.lisen"),
            ("[agent]\nlisten = '127.0.0.1:1'", vec![], "agent.listen"),
            ("[agents.listen]\nport = 1", vec![], "agents.listen"),
            ("agents = 1", vec![], "agents"),
            ("", vec![("PLACET__AGENT__LISTEN", "127.0.0.1:1")], "PLACET__AGENT__LISTEN"),
            ("", vec![("PLACET__", "")], "PLACET__"),
            ("", vec![("PLACET__agents__listen", "127.0.0.1:1")], "PLACET__agents__listen"),
            ("", vec![("PLACET_ROOT_KEY", "secret")], "PLACET_ROOT_KEY_FILE"),
            ("dir = ", vec![], "not TOML"),
        ] {
            let error = read(file, &environment).unwrap_err().to_string();
            assert!(error.contains(names), "{file} {environment:?}: {error}");
        }
    }

    #[test]
    fn what_is_unsafe_or_no_value_is_refused() {
        for (file, names) in [
            ("agents.listen = '0.0.0.0:7071'", "proxy"),
            ("trusted_proxy = true\nagents.listen = '0.0.0.0:7071'", "agents.public_url"),
            (
                "trusted_proxy = true\nreviewers = { listen = '[::]:1', public_url = 'http://localhost:1' }",
                "https address of the proxy",
            ),
            ("reviewers.public_url = 'http://placet.example.com'", "write https"),
            ("reviewers.public_url = 'https://192.0.2.7'", "not to IP"),
            ("reviewers.public_url = 'https://[::1]'", "not to IP"),
            ("reviewers.public_url = 'https://a.example/path'", "no path"),
            ("reviewers.public_url = 'https://u@a.example'", "no user"),
            ("reviewers.public_url = 'https://a_b.example'", "host name"),
            ("reviewers.public_url = 'https://a.example:0'", "port"),
            ("reviewers.public_url = 'a.example'", "http:// or https://"),
            ("reviewers.public_url = 'ftp://a.example'", "http:// or https://"),
            ("agents.listen = 'localhost:1'", "an IP address"),
            ("agents.listen = 7071", "an IP address"),
            ("agents.listen = '127.0.0.1:7070'", "two addresses"),
            ("log.public = 'true'", "true or false"),
            ("log.origin = 'a b'", "without spaces"),
            ("runner.run_as = 'root'", "without privileges"),
            ("runner = { run_as = 'a', danger_same_user = true }", "choose one"),
            ("limits.pending = -1", "whole number"),
            ("limits.pending = 0", "at least 1"),
            ("limits.pending = '5'", "whole number"),
            ("lifetimes.grant = 900", "a duration"),
            ("lifetimes.grant = '15'", "a duration"),
            ("lifetimes.grant = '0s'", "at least 1s"),
            ("lifetimes.grant = '4000d'", "at most 366d"),
            ("dir = ''", "name a directory"),
            ("'limits.pending' = 5\n[limits]\npending = 6", "twice"),
        ] {
            let error = read(file, &[]).unwrap_err().to_string();
            assert!(error.contains(names), "{file}: {error}");
        }
    }

    #[test]
    fn behind_a_proxy_a_door_may_listen_to_the_world() {
        let file = "trusted_proxy = true\n[agents]\nlisten = '0.0.0.0:0'\npublic_url = 'https://agents.example.com/'\n";
        let config = read(file, &[]).unwrap();
        let url = config.agents.url(config.agents.listen);
        assert_eq!(
            (url.to_string().as_str(), url.host()),
            ("https://agents.example.com", "agents.example.com")
        );
    }

    #[test]
    fn every_default_is_a_value_and_every_key_is_read() {
        for key in KEYS {
            // An empty text is no value of any key, so whoever is asked for it has to notice.
            let error = read("", &[(&key.variable(), "")]).unwrap_err().to_string();
            assert!(error.contains(key.name) && error.contains(&key.variable()), "{error}");
        }
    }

    #[test]
    fn the_users_of_agents_are_named_by_commas() {
        assert_eq!(read("agents.os_users = 'claude, ci'", &[]).unwrap().agent_users, ["claude", "ci"]);
        assert!(
            read("agents.os_users = 'claude,,ci'", &[])
                .unwrap_err()
                .to_string()
                .contains("separated by commas")
        );
    }

    #[test]
    fn issuers_are_named_by_commas_and_once() {
        let issuers = "https://idp.example/tenant, https://ci.example=/etc/keys.json";
        let config = read(&format!("agents.issuers = '{issuers}'"), &[]).unwrap();
        assert_eq!(config.issuers, ["https://idp.example/tenant", "https://ci.example=/etc/keys.json"]);
        for wrong in ["idp.example", "https://a,,https://b", "http://idp.example", "https://a,https://a=/k"] {
            let error = read(&format!("agents.issuers = '{wrong}'"), &[]).unwrap_err();
            assert!(error.to_string().contains("agents.issuers"), "{error}");
        }
    }

    #[test]
    fn a_first_log_is_not_named_like_a_later_epoch() {
        let error = read("log.origin = 'placet.example/ledger/e2'", &[]).unwrap_err();
        assert!(error.to_string().contains("epoch"), "{error}");
        assert!(read("log.origin = 'placet.example/east'", &[]).is_ok());
    }

    #[test]
    fn the_root_key_is_named_by_its_file() {
        let config = read("", &[("PLACET_ROOT_KEY_FILE", "/run/keys/placet")]).unwrap();
        assert_eq!(config.root_key_file, Some("/run/keys/placet".into()));
    }
}
