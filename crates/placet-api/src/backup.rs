//! Backups, over the admin socket.

use placet_core::c14n::Value;
use serde::{Deserialize, Serialize};

use crate::intake::put_text;
use crate::read::{InputError, Members};

/// The longest path that a system takes.
const PATH_BYTES_MAX: usize = 4096;

/// `POST /admin/v1/backup`: copy everything there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackupRequest {
    /// The directory on placet's machine, absolute; new or empty.
    pub directory: String,
    /// Where the keys go, if they are to be copied too.
    pub keys: Option<String>,
}

impl BackupRequest {
    /// Reads a body.
    pub fn from_json(body: &[u8]) -> Result<Self, InputError> {
        let mut members = Members::of_body(body)?;
        let read = BackupRequest {
            directory: members.text("directory", PATH_BYTES_MAX)?,
            keys: members.optional_text("keys", PATH_BYTES_MAX)?,
        };
        for (name, path) in [("directory", Some(&read.directory)), ("keys", read.keys.as_ref())] {
            if path.is_some_and(|path| !path.starts_with('/')) {
                return Err(members.refuse(name, "bad_value", "Write an absolute path."));
            }
        }
        members.end()?;
        Ok(read)
    }

    /// The body that reads back as this.
    pub fn to_json(&self) -> String {
        let mut members = vec![("directory", Value::string(self.directory.clone()))];
        put_text(&mut members, "keys", self.keys.as_deref());
        Value::object(members).canonical()
    }
}

/// How a backup is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// It goes on.
    #[default]
    Running,
    /// It is whole.
    Done,
    /// There is none.
    Failed,
}

/// `GET /admin/v1/backup`: the backup that runs, or the last one of this process.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BackupDocument {
    /// How it is.
    pub state: BackupState,
    /// What is being done.
    pub step: String,
    /// How much of that is done.
    pub done: u64,
    /// Of how much; zero if nobody knows.
    pub all: u64,
    /// When it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Entries in it.
    pub entries: u64,
    /// Its size.
    pub bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_goes_to_an_absolute_path() {
        let request = BackupRequest { directory: "/b".into(), keys: Some("/k".into()) };
        assert_eq!(BackupRequest::from_json(request.to_json().as_bytes()), Ok(request));
        for wrong in
            [r#"{"directory":"b"}"#, r#"{"directory":"/b","keys":"k"}"#, r#"{"directory":"/b","x":1}"#]
        {
            assert!(BackupRequest::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
