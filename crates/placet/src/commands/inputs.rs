//! What a command takes along: files and standard input, uploaded by their content before anything is asked.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use placet_api::client::Agents;
use placet_api::command::{BLOB_BYTES_MAX, CommandInput};
use placet_core::digest::Sha256Digest;

use crate::cli::asking::Stdin;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Whoever left a pipe open by mistake is told after so long.
const STDIN_PATIENCE: Duration = Duration::from_secs(2);

/// Uploads everything; what was read is what is uploaded, and what was uploaded is what is named.
pub(super) async fn upload(
    agents: &Agents,
    files: &[PathBuf],
    stdin: Stdin,
    output: Output,
) -> Result<(Vec<CommandInput>, Option<Sha256Digest>), Failure> {
    let mut inputs = Vec::with_capacity(files.len());
    for file in files {
        let (name, path) = named(file)?;
        let bytes = fs::File::open(path)
            .map_err(|error| unreadable(path, &error))
            .and_then(|file| bounded(file, path))?;
        let sha256 = put(agents, bytes).await?;
        inputs.push(CommandInput { name, sha256 });
    }
    let stdin = match read_stdin(stdin, output).await? {
        Some(bytes) => Some(put(agents, bytes).await?),
        None => None,
    };
    Ok((inputs, stdin))
}

/// `NAME=FILE`, or a file under its own name.
fn named(input: &Path) -> Result<(String, &Path), Failure> {
    let usage = |why: &str| Failure::new(Exit::Usage, format!("attach {}: {why}", input.display()));
    if let Some((name, path)) = input.to_str().and_then(|text| text.split_once('=')) {
        return Ok((name.to_owned(), Path::new(path)));
    }
    let name = input.file_name().ok_or_else(|| usage("it names no file"))?;
    let name = name.to_str().ok_or_else(|| usage("its name is not UTF-8; write NAME=FILE"))?;
    Ok((name.to_owned(), input))
}

async fn put(agents: &Agents, bytes: Vec<u8>) -> Result<Sha256Digest, Failure> {
    let sha256 = Sha256Digest::of(&bytes);
    agents.put_blob(sha256, bytes.into()).await?;
    Ok(sha256)
}

async fn read_stdin(stdin: Stdin, output: Output) -> Result<Option<Vec<u8>>, Failure> {
    let path = Path::new("/dev/stdin");
    match stdin {
        Stdin::None => return Ok(None),
        Stdin::Read => {}
        Stdin::Auto if !carries_data(path) => return Ok(None),
        Stdin::Auto => {}
    }
    let reading = tokio::task::spawn_blocking(move || bounded(std::io::stdin().lock(), path));
    tokio::pin!(reading);
    let read = tokio::select! {
        read = &mut reading => read,
        () = tokio::time::sleep(STDIN_PATIENCE) => {
            output.say("placet: reading standard input to its end; --stdin none leaves it alone");
            reading.await
        }
    };
    let bytes = read.map_err(|error| Failure::of(Exit::Bug, &error))??;
    // An empty pipe says the same as none, and means the same request.
    Ok(Some(bytes).filter(|bytes| stdin == Stdin::Read || !bytes.is_empty()))
}

/// Whether it is a pipe, a socket or a file, rather than a terminal or a device.
fn carries_data(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_file() || kind.is_socket()
    })
}

fn bounded(source: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source.take(BLOB_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > BLOB_BYTES_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!("attach {}: an input has at most 256 MiB", path.display()),
        ));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_has_its_own_name_or_a_given_one() {
        let read = |text: &str| named(Path::new(text)).map(|(name, path)| (name, path.to_owned())).ok();
        assert_eq!(read("/tmp/plan.bin"), Some(("plan.bin".into(), "/tmp/plan.bin".into())));
        assert_eq!(read("plan=/tmp/x=y"), Some(("plan".into(), "/tmp/x=y".into())));
        assert_eq!(read(".."), None);
    }
}
