//! Whose token a command uses, and at which address: from the environment, or from a private file.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use placet_api::client::{Agents, Reviewers};
use placet_core::secret::Secret;
use serde::Deserialize;

use crate::exit::{Exit, Failure};

/// Where the doors are if nobody says otherwise.
const AGENTS_URL: &str = "http://localhost:7071";
const REVIEWERS_URL: &str = "http://localhost:7070";
/// Four lines do not need more.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What the client file may say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    agents_url: Option<String>,
    agent_token: Option<String>,
    reviewers_url: Option<String>,
    person_token: Option<String>,
}

/// The agents' door, as the agent or pipeline whose token is given.
pub(crate) fn agents() -> Result<Agents, Failure> {
    let (url, token) = agents_door()?;
    Ok(Agents::new(&url, token)?)
}

/// The address of the agents' door, and the token of the agent or pipeline that is given.
pub(crate) fn agents_door() -> Result<(String, Secret), Failure> {
    let file = client_file()?;
    let url = variable("PLACET_AGENTS_URL")?.or(file.agents_url).unwrap_or_else(|| AGENTS_URL.to_owned());
    let token = variable("PLACET_AGENT_TOKEN")?.or(file.agent_token).ok_or_else(|| {
        Failure::new(Exit::Configuration, "find the agent's token").hint(
            "Set PLACET_AGENT_TOKEN. An operator gets one with `placet agent add NAME --sponsor PERSON`.",
        )
    })?;
    Ok((url, Secret::new(token)))
}

/// The reviewers' door, as the person whose token is given.
pub(crate) fn reviewers() -> Result<Reviewers, Failure> {
    let file = client_file()?;
    let url =
        variable("PLACET_REVIEWERS_URL")?.or(file.reviewers_url).unwrap_or_else(|| REVIEWERS_URL.to_owned());
    let token = variable("PLACET_PERSON_TOKEN")?.or(file.person_token).ok_or_else(|| {
        Failure::new(Exit::Configuration, "find your API token")
            .hint("Set PLACET_PERSON_TOKEN. An operator mints one with `placet person token add PERSON`.")
    })?;
    Ok(Reviewers::new(&url, Secret::new(token))?)
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::new(Exit::Configuration, format!("read {name}: it is not UTF-8")))
        }
    }
}

/// The file that was named must be there; the one in its usual place may be.
fn client_file() -> Result<ClientFile, Failure> {
    if let Some(named) = std::env::var_os("PLACET_CLIENT_FILE").filter(|path| !path.is_empty()) {
        return read(Path::new(&named));
    }
    let base = match std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => match std::env::var_os("HOME") {
            Some(home) => Path::new(&home).join(".config"),
            None => return Ok(ClientFile::default()),
        },
    };
    let usual = base.join("placet/client.toml");
    if usual.try_exists().is_ok_and(|exists| !exists) { Ok(ClientFile::default()) } else { read(&usual) }
}

fn read(path: &Path) -> Result<ClientFile, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Configuration, format!("read the client file {shown}: {error}"))
    };
    // What is opened is what is looked at and read.
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.mode() & 0o077 != 0 {
        let message = format!(
            "use the client file {shown}: its mode {:04o} lets others read tokens",
            metadata.mode() & 0o7777
        );
        return Err(Failure::new(Exit::Configuration, message)
            .hint(format!("chmod 600 {shown}, and mint the tokens anew.")));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    // The reader's own message would quote the line, which may hold a token.
    toml::from_str(&text).map_err(|error| {
        let at = error
            .span()
            .map_or(0, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        Failure::new(
            Exit::Configuration,
            format!("read the client file {shown}: line {at} is not understood"),
        )
        .hint("It has the keys agents_url, agent_token, reviewers_url and person_token, each a string.")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(text: &str, mode: u32) -> Result<ClientFile, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read(&path)
    }

    #[test]
    fn a_private_file_is_read() {
        let read = file("agent_token = 'plc_agt_x'\nagents_url = 'http://localhost:1'\n", 0o600).unwrap();
        assert_eq!((read.agent_token.as_deref(), read.person_token), (Some("plc_agt_x"), None));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o644] {
            let failure = file("agent_token = 'x'", mode).err().unwrap();
            assert_eq!(failure.exit, Exit::Configuration);
            assert!(failure.message.contains("lets others read"), "{}", failure.message);
        }
    }

    #[test]
    fn a_refusal_never_quotes_a_token() {
        for text in ["agent_token = hunter2", "agent_tokn = 'hunter2'", "\n\nagent_token = 'hunter2' x"] {
            let failure = file(text, 0o600).err().unwrap();
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
            assert!(failure.message.contains("line"), "{}", failure.message);
        }
    }
}
