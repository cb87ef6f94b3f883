//! What placet and the supervisor of one execution say to each other over a socket: first the job, as one message; then
//! single bytes that ask it to stop; in the other direction reports. A closed socket means that the other side is dead.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Asks the program to end: TERM, and KILL when the grace is over.
pub(super) const STOP: u8 = b'T';
/// Ends the program and all its descendants at once.
pub(super) const KILL: u8 = b'K';

/// Arguments and environment are bounded by the kernel at a few megabytes; JSON may need several bytes for one.
const MESSAGE_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// All that the supervisor needs to know.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Goes into the program's environment as placet's mark.
    pub(super) execution: String,
    /// The files that were reviewed, as (resolved path, SHA-256): the program, then its interpreter.
    pub(super) program: Vec<(String, String)>,
    pub(super) argv: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) secrets: Vec<(String, SecretBytes)>,
    pub(super) user: Option<Ids>,
    pub(super) directory: PathBuf,
    /// Standard input, as (path, SHA-256); nothing if absent.
    pub(super) stdin: Option<(PathBuf, String)>,
    pub(super) term_grace_ms: u64,
}

/// Numeric identity to take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A secret on its way to the program's environment.
#[derive(Serialize, Deserialize)]
pub(super) struct SecretBytes(pub(super) Vec<u8>);

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What the supervisor reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The program runs.
    Started,
    /// The program was not started; the last report.
    Refused(Refusal),
    /// The program and all its descendants are gone; the last report. `asked`: whether it was still running when it was
    /// asked to stop.
    Ended { exit_code: Option<i32>, signal: Option<i32>, asked: bool },
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The program, or its interpreter, is not what was reviewed.
    ProgramChanged,
    /// An input, or standard input, is not what was reviewed, or is gone.
    InputChanged,
    /// The machine did not let us start it.
    NotStarted,
}

/// Sends one message. The bytes are wiped: a job contains secrets.
pub(super) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = Zeroizing::new(serde_json::to_vec(message)?);
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&bytes)
}

/// Receives one message.
pub(super) fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut bytes = Zeroizing::new(vec![0; length as usize]);
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}
