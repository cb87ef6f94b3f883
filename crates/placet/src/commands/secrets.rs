//! `placet secret`: the vault, over the admin socket. A value is never an argument, and never shown.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use hyper::Method;
use placet_api::admin::SecretDocument;

use crate::admin::{Admin, Body};
use crate::cli::operating::Secret;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, table};

/// What the vault takes at most, and a line break.
const VALUE_BYTES_MAX: u64 = 64 * 1024 + 2;

/// Does it.
pub(crate) async fn run(command: Secret, admin: &Admin, output: Output) -> Result<Exit, Failure> {
    match command {
        Secret::Set { name, from_file } => {
            let value = match from_file {
                Some(path) => from(open(&path)?)?,
                None if io::stdin().is_terminal() => {
                    return Err(Failure::new(
                        Exit::Usage,
                        "read the secret's value: it would be seen on the terminal",
                    )
                    .hint(format!("placet secret set {} --from-file FILE, or pipe it in.", plain(&name))));
                }
                None => from(io::stdin().lock())?,
            };
            let secret: SecretDocument = admin.put(&["secrets", &name], Body::Bytes(value)).await?;
            output.result(&secret, || format!("{}@{} is stored.", plain(&secret.name), secret.version))?;
        }
        Secret::Ls => {
            let secrets: Vec<SecretDocument> = admin.get(&["secrets"]).await?;
            output.result(&secrets, || {
                let row = |secret: &SecretDocument| {
                    [
                        plain(&secret.name),
                        secret.version.to_string(),
                        secret.set_at.clone().unwrap_or_default(),
                    ]
                };
                table(["NAME", "VERSION", "SET"], &secrets.iter().map(row).collect::<Vec<_>>())
            })?;
        }
        Secret::Rm { name } => {
            admin.send(Method::DELETE, &["secrets", &name]).await?;
            output
                .result(&serde_json::json!({ "removed": name }), || format!("{} is gone.", plain(&name)))?;
        }
    }
    Ok(Exit::Done)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::new(Exit::Usage, format!("read {}: {error}", path.display())))
}

/// All of it, without the one line break that editors and `echo` add.
fn from(source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = source.take(VALUE_BYTES_MAX + 1).read_to_end(&mut value);
    read.map_err(|error| Failure::new(Exit::Usage, format!("read the secret's value: {error}")))?;
    if value.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::new(Exit::Usage, "store the secret: a value has at most 65536 bytes"));
    }
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_not_part_of_a_value() {
        for (typed, value) in
            [("a b", "a b"), ("ab\n", "ab"), ("ab\r\n", "ab"), ("ab\n\n", "ab\n"), ("\n", "")]
        {
            assert_eq!(from(typed.as_bytes()).unwrap(), value.as_bytes());
        }
        assert!(from(vec![b'x'; 65_539].as_slice()).is_err());
    }
}
