//! What was said for each key, and by whom: still text, not yet a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{KEYS, Key, Kind, ROOT_KEY_FILE, VARIABLE_PREFIX};
use super::typed::ConfigError;

/// Where a value was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// On the command line.
    Flag(&'static str),
    /// In the environment, in this variable.
    Variable(String),
    /// In this file.
    File(PathBuf),
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable(variable) => write!(f, "the variable {variable}"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Default => f.write_str("the defaults"),
        }
    }
}

/// The variables that placet looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

/// Secrets that are read from files only.
const SECRETS: [&str; 1] = ["PLACET_ROOT_KEY"];

impl Environment {
    /// This process's variables that start with `PLACET_`.
    pub(crate) fn of_process() -> Result<Self, ConfigError> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("PLACET_")) else { continue };
            let not_text = |_: OsString| ConfigError::NotText { variable: name.to_owned() };
            variables.insert(name.to_owned(), value.into_string().map_err(not_text)?);
        }
        Ok(Environment::of(variables))
    }

    /// These variables.
    pub(crate) fn of(variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        Environment(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// What is said for every key.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (String, Origin)>,
    root_key_file: Option<String>,
}

impl Settings {
    /// Collects what is said, the strongest voice last. A file that was named must be there; the one in the working
    /// directory may be.
    pub(crate) fn read(
        file: Option<&Path>,
        dir: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new("placet.toml"));
        let text = text_of_file(path, file.is_some())?;
        let mut settings = Settings::of(text.as_deref().map(|text| (path, text)), environment)?;
        if let Some(dir) = dir {
            let text = dir.to_str().ok_or_else(|| ConfigError::NotText { variable: "--dir".to_owned() })?;
            settings.values.insert("dir", (text.to_owned(), Origin::Flag("--dir")));
        }
        Ok(settings)
    }

    /// What this file says, and this environment over it.
    pub(crate) fn of(file: Option<(&Path, &str)>, environment: &Environment) -> Result<Self, ConfigError> {
        let mut settings = Settings { values: BTreeMap::new(), root_key_file: None };
        settings.take_defaults();
        if let Some((path, text)) = file {
            settings.take_file(path, text)?;
        }
        settings.take_environment(environment)?;
        Ok(settings)
    }

    fn take_defaults(&mut self) {
        for key in KEYS {
            if let Some(default) = key.default {
                self.values.insert(key.name, (default.to_owned(), Origin::Default));
            }
        }
    }

    fn take_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = toml::from_str(text)
            .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        let origin = Origin::File(path.to_owned());
        for (name, value) in flat(table) {
            let unknown = || ConfigError::UnknownKey { key: name.clone(), origin: origin.clone() };
            let key = KEYS.iter().find(|key| key.name == name).ok_or_else(unknown)?;
            let text = text_of(key, &value).ok_or_else(|| ConfigError::Value {
                key: name.clone(),
                origin: origin.clone(),
                rule: format!("write {}", key.kind.expected()),
            })?;
            let before = self.values.insert(key.name, (text, origin.clone()));
            // As a section's key, and as one name with a dot in it.
            if before.is_some_and(|(_, said)| said == origin) {
                return Err(self.refuse(key.name, "it stands there twice: leave one of them"));
            }
        }
        Ok(())
    }

    fn take_environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        for (variable, value) in &environment.0 {
            if SECRETS.contains(&variable.as_str()) {
                return Err(ConfigError::SecretInEnvironment { variable: variable.clone() });
            }
            if variable == ROOT_KEY_FILE {
                self.root_key_file = Some(value.clone());
            }
            if !variable.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            let origin = Origin::Variable(variable.clone());
            let unknown = || ConfigError::UnknownKey { key: variable.clone(), origin: origin.clone() };
            let key = KEYS.iter().find(|key| key.variable() == *variable).ok_or_else(unknown)?;
            self.values.insert(key.name, (value.clone(), origin));
        }
        Ok(())
    }

    /// A flag of a command sets a key.
    pub(super) fn say(&mut self, key: &'static str, flag: &'static str, text: Option<String>) {
        if let Some(text) = text {
            self.values.insert(key, (text, Origin::Flag(flag)));
        }
    }

    /// Every key with its value and who said it, in the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Key, Option<&(String, Origin)>)> {
        KEYS.iter().map(|key| (key, self.values.get(key.name)))
    }

    /// The file of the root key, if one was named.
    pub(crate) fn root_key_file(&self) -> Option<&str> {
        self.root_key_file.as_deref()
    }

    /// A value's text; empty where nothing was said.
    pub(super) fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |(text, _)| text)
    }

    /// A value of a key that may stay unsaid.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((text, _)) = self.values.get(key) else { return Ok(None) };
        parse(text).map(Some).map_err(|rule| self.refuse(key, &rule))
    }

    /// A value.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(self.text(key)).map_err(|rule| self.refuse(key, &rule))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        self.parsed(key, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("write {}", Kind::Flag.expected())),
        })
    }

    /// A number of things. None at all would allow nothing.
    pub(super) fn count(&self, key: &str) -> Result<u32, ConfigError> {
        self.parsed(key, |text| match text.parse() {
            Ok(0) => Err("write at least 1: 0 allows nothing".to_owned()),
            Ok(count) => Ok(count),
            Err(_) => Err(format!("write {}", Kind::Count.expected())),
        })
    }

    /// A length of time.
    pub(super) fn duration(&self, key: &str) -> Result<Duration, ConfigError> {
        self.parsed(key, |text| {
            let read = duration(text).ok_or_else(|| format!("write {}", Kind::Duration.expected()))?;
            match read {
                Duration::ZERO => Err("write at least 1s".to_owned()),
                long if long > DURATION_MAX => Err("write at most 366d".to_owned()),
                fits => Ok(fits),
            }
        })
    }

    /// What is wrong with a key's value, where it was said.
    pub(super) fn refuse(&self, key: &str, rule: &str) -> ConfigError {
        let origin = self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
        ConfigError::Value { key: key.to_owned(), origin, rule: rule.to_owned() }
    }
}

fn text_of_file(path: &Path, is_named: bool) -> Result<Option<String>, ConfigError> {
    if !is_named {
        refuse_foreign(path)?;
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if !is_named && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::File { path: path.to_owned(), source }),
    }
}

/// The file of the working directory was named by nobody. An agent may have filled that directory, so what others could
/// have written there is not believed.
fn refuse_foreign(path: &Path) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    let foreign = |why: String| ConfigError::Foreign { path: path.to_owned(), why };
    let ours = nix::unistd::geteuid().as_raw();
    // The link itself, and what it leads to.
    let link = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    for found in [link, path.metadata().map_err(failed)?] {
        if found.uid() != ours && found.uid() != 0 {
            return Err(foreign(format!("it belongs to user {}, and you are user {ours}", found.uid())));
        }
        if found.mode() & 0o002 != 0 && !found.is_symlink() {
            return Err(foreign(format!(
                "it has mode {:04o}, which lets everybody write",
                found.mode() & 0o7777
            )));
        }
    }
    Ok(())
}

/// A leap year: whatever should live longer should be renewed.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads `90s`, `15m`, `12h` or `90d`.
fn duration(text: &str) -> Option<Duration> {
    let seconds_each = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds_each).map(Duration::from_secs)
}

/// Dotted names and values. A table that no key has is named by its first entry, an empty one vanishes.
fn flat(table: toml::Table) -> Vec<(String, toml::Value)> {
    let mut values = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => {
                values.extend(flat(inner).into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
            value => values.push((name, value)),
        }
    }
    values
}

/// The text of a value that has the key's type in TOML.
fn text_of(key: &Key, value: &toml::Value) -> Option<String> {
    match (key.kind, value) {
        (Kind::Flag, toml::Value::Boolean(flag)) => Some(flag.to_string()),
        (Kind::Count, toml::Value::Integer(count)) => Some(count.to_string()),
        (Kind::Path | Kind::Address | Kind::Url | Kind::Text | Kind::Duration, toml::Value::String(text)) => {
            Some(text.clone())
        }
        _ => None,
    }
}
