//! `runner.toml` of a bundle: who executes, within which bounds, which programs have a name, what is in their
//! environment, and which secrets are released to which program for which target.
//!
//! ```toml
//! [runner]
//! run_as = "placet-runner"
//! seconds_max = 900
//! record = "stderr"
//!
//! [environment]
//! LANG = "C.UTF-8"
//!
//! [[program]]
//! name = "pg_dump"
//! path = "/usr/lib/postgresql/15/bin/pg_dump"
//! environment = { PGCONNECT_TIMEOUT = "10" }
//! record = "all"
//!
//! [[secret]]
//! env = "PGPASSWORD"
//! secret = "shop-exporter-password"
//! program = "pg_dump"
//! target = { action = "data.export", resource = 'Dataset::"shop.accounts"' }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use placet_core::action::{ActionName, NameError, Recorded, ResourceRef};
use placet_core::digest::Sha256Digest;
use serde::Deserialize;

/// The whole of `runner.toml`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whose OS user executes.
    pub run_as: RunAs,
    /// What no execution exceeds.
    pub caps: Caps,
    /// The environment of every program.
    pub environment: BTreeMap<String, String>,
    /// What is kept of what a program writes, if the program itself says nothing else.
    pub record: Recorded,
    programs: Vec<ProgramRule>,
    secrets: Vec<SecretRule>,
}

/// Whose OS user executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAs {
    /// A user that is neither placet's nor the agent's.
    User(String),
    /// Placet's own user: whoever shares it can do without placet. Graded advisory.
    DangerSameUser,
    /// Not said: the runner does not start.
    Nobody,
}

/// What no execution exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// How long a program may run, if its lease is not shorter.
    pub runtime_max: Duration,
    /// How much stdout and stderr may come to, with the frames around them.
    pub output_bytes_max: u64,
    /// How many programs run at a time.
    pub concurrent_max: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps {
            // The lease of an execution.
            runtime_max: Duration::from_secs(15 * 60),
            output_bytes_max: 1024 * 1024 * 1024,
            concurrent_max: 16,
        }
    }
}

/// A program with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRule {
    /// What `argv[0]` may say instead of the path.
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    /// What its environment has beside, or instead of, the global one.
    pub environment: BTreeMap<String, String>,
    /// What is kept of what it writes, if it is not what is kept of every program's.
    pub record: Option<Recorded>,
}

/// When a secret is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRule {
    /// The variable that carries it.
    pub env: String,
    /// Its name in the vault.
    pub secret: String,
    /// The declared program that gets it.
    pub program: String,
    /// The only content of that program that gets it, if stated.
    pub sha256: Option<Sha256Digest>,
    /// The action for which it is released.
    pub action: ActionName,
    /// The resource for which it is released.
    pub resource: ResourceRef,
}

/// `runner.toml` is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, a key that does not exist, or a value of the wrong type.
    #[error("read runner.toml")]
    Toml(#[from] toml::de::Error),
    /// A name or a value that breaks a rule.
    #[error("read runner.toml: {key}: {rule}")]
    Rule {
        /// Where it stands.
        key: String,
        /// What is wrong, and what to write.
        rule: String,
    },
}

mod file {
    //! The shape of the file. Unknown keys are refused at every level.
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub(super) struct Root {
        pub(super) runner: Runner,
        pub(super) environment: BTreeMap<String, String>,
        pub(super) program: Vec<Program>,
        pub(super) secret: Vec<Secret>,
    }

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub(super) struct Runner {
        pub(super) run_as: Option<String>,
        pub(super) danger_same_user: bool,
        pub(super) seconds_max: Option<u32>,
        pub(super) output_bytes_max: Option<u64>,
        pub(super) concurrent_max: Option<u16>,
        pub(super) record: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Program {
        pub(super) name: String,
        pub(super) path: PathBuf,
        #[serde(default)]
        pub(super) environment: BTreeMap<String, String>,
        pub(super) record: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Secret {
        pub(super) env: String,
        pub(super) secret: String,
        pub(super) program: String,
        pub(super) sha256: Option<String>,
        pub(super) target: Target,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Target {
        pub(super) action: String,
        pub(super) resource: String,
    }
}

impl Config {
    /// Reads and checks the file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let root: file::Root = toml::from_str(text)?;
        check_environment("environment", &root.environment)?;
        let programs = root.program.into_iter().map(program).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        for program in &programs {
            if !names.insert(&program.name) {
                return Err(rule("program.name", format!("{:?} is declared twice", program.name)));
            }
        }
        let secrets = root.secret.into_iter().map(secret).collect::<Result<Vec<_>, _>>()?;
        let config = Config {
            run_as: run_as(root.runner.run_as, root.runner.danger_same_user)?,
            caps: caps(root.runner.seconds_max, root.runner.output_bytes_max, root.runner.concurrent_max)?,
            environment: root.environment,
            record: record("runner.record", root.runner.record.as_deref())?.unwrap_or_default(),
            programs,
            secrets,
        };
        config.check_secrets()?;
        Ok(config)
    }

    /// The declared program that `argv[0]` means: by its name, or by exactly its path.
    pub fn program_named(&self, argv0: &str) -> Option<&ProgramRule> {
        self.programs.iter().find(|rule| rule.name == argv0 || rule.path.to_str() == Some(argv0))
    }

    /// The declared programs.
    pub fn programs(&self) -> &[ProgramRule] {
        &self.programs
    }

    /// The rules for secrets.
    pub fn secrets(&self) -> &[SecretRule] {
        &self.secrets
    }

    fn check_secrets(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for secret in &self.secrets {
            let Some(program) = self.programs.iter().find(|rule| rule.name == secret.program) else {
                return Err(rule(
                    "secret.program",
                    format!("{:?} is not declared as a [[program]]", secret.program),
                ));
            };
            if program.environment.contains_key(&secret.env) || self.environment.contains_key(&secret.env) {
                return Err(rule(
                    "secret.env",
                    format!("{:?} is also in an environment: remove it there", secret.env),
                ));
            }
            let place = (&secret.env, &secret.program, secret.sha256, &secret.action, &secret.resource);
            if !seen.insert(place) {
                return Err(rule("secret.env", format!("{:?} has two secrets for one target", secret.env)));
            }
        }
        Ok(())
    }
}

pub(crate) fn run_as(user: Option<String>, danger_same_user: bool) -> Result<RunAs, ConfigError> {
    match (user, danger_same_user) {
        (Some(_), true) => Err(rule("runner", "choose one of run_as and danger_same_user")),
        (Some(user), false) if user.is_empty() || user == "root" => {
            Err(rule("runner.run_as", "name a user without privileges, like placet-runner"))
        }
        (Some(user), false) => Ok(RunAs::User(user)),
        (None, true) => Ok(RunAs::DangerSameUser),
        (None, false) => Ok(RunAs::Nobody),
    }
}

fn caps(seconds: Option<u32>, output: Option<u64>, concurrent: Option<u16>) -> Result<Caps, ConfigError> {
    let default = Caps::default();
    let caps = Caps {
        runtime_max: seconds.map_or(default.runtime_max, |seconds| Duration::from_secs(seconds.into())),
        output_bytes_max: output.unwrap_or(default.output_bytes_max),
        concurrent_max: concurrent.map_or(default.concurrent_max, usize::from),
    };
    if caps.runtime_max.is_zero() || caps.output_bytes_max == 0 || caps.concurrent_max == 0 {
        return Err(rule("runner", "a bound of 0 allows nothing: write at least 1"));
    }
    Ok(caps)
}

fn record(key: &str, written: Option<&str>) -> Result<Option<Recorded>, ConfigError> {
    let read = |word| Recorded::parse(word).ok_or_else(|| rule(key, "write \"none\", \"stderr\" or \"all\""));
    written.map(read).transpose()
}

fn program(written: file::Program) -> Result<ProgramRule, ConfigError> {
    if written.name.is_empty() || written.name.contains(['/', '\0']) {
        return Err(rule("program.name", format!("{:?} must be a plain name without a slash", written.name)));
    }
    if !written.path.is_absolute() || written.path.to_str().is_none_or(|path| path.contains('\0')) {
        return Err(rule("program.path", format!("{:?} must be an absolute path", written.path)));
    }
    check_environment("program.environment", &written.environment)?;
    let record = record("program.record", written.record.as_deref())?;
    Ok(ProgramRule { name: written.name, path: written.path, environment: written.environment, record })
}

fn secret(written: file::Secret) -> Result<SecretRule, ConfigError> {
    check_variable("secret.env", &written.env)?;
    if written.secret.is_empty() {
        return Err(rule("secret.secret", "name a secret of the vault"));
    }
    let sha256 = written.sha256.as_deref().map(Sha256Digest::parse).transpose();
    Ok(SecretRule {
        sha256: sha256.map_err(|error| rule("secret.sha256", error.to_string()))?,
        action: ActionName::parse(&written.target.action)
            .map_err(|error| rule("secret.target.action", error.to_string()))?,
        resource: parse_resource(&written.target.resource)
            .map_err(|error| rule("secret.target.resource", error))?,
        env: written.env,
        secret: written.secret,
        program: written.program,
    })
}

/// Reads `Type::"id"`, with `\"` and `\\` as the only escapes.
fn parse_resource(text: &str) -> Result<ResourceRef, String> {
    let refused = || "write it like Dataset::\"shop.accounts\"".to_owned();
    let (kind, quoted) = text.split_once("::").ok_or_else(refused)?;
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(refused)?;
    let mut id = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Err(refused()),
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => id.push(escaped),
                _ => return Err(refused()),
            },
            plain => id.push(plain),
        }
    }
    ResourceRef::new(kind, &id).map_err(|error: NameError| error.to_string())
}

fn check_environment(key: &str, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, value) in environment {
        check_variable(key, name)?;
        if value.contains('\0') {
            return Err(rule(key, format!("the value of {name:?} contains a NUL")));
        }
    }
    Ok(())
}

/// Refuses names that are none, names that make the loader run other code than the program's, and placet's own.
fn check_variable(key: &str, name: &str) -> Result<(), ConfigError> {
    let starts = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if !starts || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(rule(key, format!("{name:?} is no name of a variable: use letters, digits and _")));
    }
    if name.starts_with("LD_") || name == "GLIBC_TUNABLES" {
        return Err(rule(
            key,
            format!("{name:?} steers the loader: the reviewed program would not be what runs"),
        ));
    }
    if name.starts_with("PLACET_") {
        return Err(rule(key, format!("{name:?}: names that start with PLACET_ are placet's own")));
    }
    Ok(())
}

fn rule(key: &str, rule: impl Into<String>) -> ConfigError {
    ConfigError::Rule { key: key.to_owned(), rule: rule.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        [runner]
        run_as = "placet-runner"
        seconds_max = 60
        [environment]
        LANG = "C.UTF-8"
        [[program]]
        name = "pg_dump"
        path = "/usr/lib/postgresql/15/bin/pg_dump"
        environment = { PGCONNECT_TIMEOUT = "10" }
        [[secret]]
        env = "PGPASSWORD"
        secret = "shop"
        program = "pg_dump"
        target = { action = "data.export", resource = 'Dataset::"shop.accounts"' }
    "#;

    #[test]
    fn reads_the_whole_file() {
        let config = Config::parse(WHOLE).unwrap();
        assert_eq!(config.run_as, RunAs::User("placet-runner".into()));
        assert_eq!(config.caps.runtime_max, Duration::from_secs(60));
        assert_eq!(config.caps.output_bytes_max, 1 << 30);
        assert_eq!((config.record, config.programs()[0].record), (Recorded::Stderr, None));
        let loud = WHOLE.replacen("environment = {", "record = \"all\"\n        environment = {", 1);
        let loud = Config::parse(&loud.replacen("seconds_max = 60", "record = \"none\"", 1)).unwrap();
        assert_eq!((loud.record, loud.programs()[0].record), (Recorded::Nothing, Some(Recorded::All)));
        assert_eq!(
            config.program_named("pg_dump"),
            config.program_named("/usr/lib/postgresql/15/bin/pg_dump")
        );
        assert!(config.program_named("/usr/bin/pg_dump").is_none());
        assert_eq!(config.secrets()[0].resource, ResourceRef::new("Dataset", "shop.accounts").unwrap());
        assert_eq!(Config::parse("").unwrap().run_as, RunAs::Nobody, "silence is not consent");
    }

    #[test]
    fn refuses_what_breaks_a_rule() {
        for (from, to, names) in [
            ("seconds_max = 60", "seconds_max = 0", "at least 1"),
            ("seconds_max = 60", "second_max = 60", "second_max"),
            ("run_as = \"placet-runner\"", "run_as = \"root\"", "without privileges"),
            ("seconds_max = 60", "danger_same_user = true", "choose one"),
            ("seconds_max = 60", "record = \"stdout\"", "\"stderr\" or \"all\""),
            ("environment = {", "record = \"\"\nenvironment = {", "program.record"),
            ("LANG", "LD_PRELOAD", "loader"),
            ("PGCONNECT_TIMEOUT", "LD_LIBRARY_PATH", "loader"),
            ("LANG", "GLIBC_TUNABLES", "loader"),
            ("LANG", "PLACET_EXECUTION", "placet's own"),
            ("LANG", "\"A=B\"", "no name of a variable"),
            ("LANG", "\"A\\u0000\"", "no name of a variable"),
            ("LANG", "\"\"", "no name of a variable"),
            ("\"C.UTF-8\"", "\"a\\u0000b\"", "NUL"),
            ("env = \"PGPASSWORD\"", "env = \"LD_PRELOAD\"", "loader"),
            ("env = \"PGPASSWORD\"", "env = \"LANG\"", "also in an environment"),
            ("env = \"PGPASSWORD\"", "env = \"PGCONNECT_TIMEOUT\"", "also in an environment"),
            ("program = \"pg_dump\"", "program = \"psql\"", "not declared"),
            ("path = \"/usr", "path = \"usr", "absolute"),
            ("name = \"pg_dump\"", "name = \"bin/pg_dump\"", "plain name"),
            ("secret = \"shop\"", "secret = \"\"", "name a secret"),
            ("secret = \"shop\"", "secret = \"shop\"\nsha256 = \"00\"", "hexadecimal"),
            ("Dataset::\"shop.accounts\"", "Dataset", "write it like"),
            ("Dataset::\"shop.accounts\"", "Dataset::\"a\"b\"", "write it like"),
            ("Dataset::\"shop.accounts\"", "Dataset::\"a\\\"", "write it like"),
            ("data.export", "1", "action"),
            ("target =", "tarjet =", "tarjet"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let error = Config::parse(&text).unwrap_err();
            let shown = format!(
                "{error} {}",
                std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
            );
            assert!(shown.contains(names), "{from} -> {to}: {shown}");
        }
    }

    #[test]
    fn refuses_the_same_thing_twice() {
        let program = WHOLE.split("[[secret]]").next().unwrap().split("[[program]]").nth(1).unwrap();
        let twice = format!("{WHOLE}\n[[program]]{program}");
        assert!(Config::parse(&twice).unwrap_err().to_string().contains("declared twice"));
        let secret = WHOLE.split("[[secret]]").nth(1).unwrap().replace("\"shop\"", "\"other\"");
        let twice = format!("{WHOLE}\n[[secret]]{secret}");
        assert!(Config::parse(&twice).unwrap_err().to_string().contains("two secrets"));
    }
}
