//! Recordings on their way out: to a file that only we can read, or to standard output.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use placet_core::digest::Sha256Digest;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Writes a recording where it was asked for, and says by which hash the ledger knows it.
pub(super) fn write(bytes: &[u8], file: Option<&Path>, output: Output) -> Result<(), Failure> {
    let sha256 = Sha256Digest::of(bytes);
    let Some(path) = file else {
        let written = std::io::stdout().lock().write_all(bytes);
        return written.map_err(|error| Failure::of(Exit::Usage, &error));
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut made| made.write_all(bytes));
    written.map_err(|error| Failure::new(Exit::Usage, format!("write {}: {error}", path.display())))?;
    let told =
        json!({ "file": path.display().to_string(), "sha256": sha256.to_string(), "bytes": bytes.len() });
    output.result(&told, || format!("{} has {} bytes, sha256 {sha256}", path.display(), bytes.len()))
}
