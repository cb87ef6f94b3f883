//! The key that signs the log's checkpoints: 32 secret bytes in a file of their own, made at the first start.
//!
//! It is no derived key: the root key may be replaced or kept elsewhere, the log's identity stays. A log that begins anew
//! after a restored database gets another key: no key ever signs two histories.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use placet_core::entropy::{Entropy, random_bytes};

/// The file of this epoch's key: `log.key`, then `log.e2.key`, and so on.
pub(crate) fn path(keys: &Path, epoch: u32) -> PathBuf {
    match epoch {
        0 | 1 => keys.join("log.key"),
        later => keys.join(format!("log.e{later}.key")),
    }
}

/// The names of all epochs' keys in this directory.
pub(crate) fn files(keys: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(keys)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("log.") && name.ends_with(".key") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a key that has to be there.
pub(crate) fn existing(path: &Path) -> io::Result<[u8; 32]> {
    load(path, false, &Never)
}

/// Nothing is made where a key has to be there already.
struct Never;

impl Entropy for Never {
    fn fill(&self, _: &mut [u8]) {}
}

/// Reads the key, or makes it where `fresh` says that nothing was ever signed.
pub(crate) fn load(path: &Path, fresh: bool, entropy: &dyn Entropy) -> io::Result<[u8; 32]> {
    match OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fresh => make(path, entropy),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the key of this log is gone; restore it, a new key cannot go on signing the same log",
        )),
        Err(error) => Err(error),
    }
}

fn read(mut file: File) -> io::Result<[u8; 32]> {
    let metadata = file.metadata()?;
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    if metadata.mode() & 0o077 != 0 {
        return refused(
            "others can read the log's key; run chmod 600 on it, and begin a new log if they may have",
        );
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return refused("the log's key belongs to another user");
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    if file.read(&mut [0])? > 0 {
        return refused("the log's key is longer than 32 bytes");
    }
    Ok(key)
}

/// Writes a new key under another name first, so that there is never half of one.
fn make(path: &Path, entropy: &dyn Entropy) -> io::Result<[u8; 32]> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let key = random_bytes::<32>(entropy);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::machine::OsEntropy;

    #[test]
    fn a_key_is_made_once_and_only_for_a_fresh_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.key");
        assert!(load(&path, false, &OsEntropy).is_err());
        let key = load(&path, true, &OsEntropy).unwrap();
        assert_eq!(load(&path, true, &OsEntropy).unwrap(), key);
        assert_eq!(load(&path, false, &OsEntropy).unwrap(), key);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_a_link_or_has_another_length_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.key");
        load(&path, true, &OsEntropy).unwrap();
        let link = directory.path().join("link.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(load(&link, false, &OsEntropy).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path, false, &OsEntropy).is_err());
        for length in [0, 31, 33] {
            fs::write(&path, vec![1; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(load(&path, false, &OsEntropy).is_err(), "{length}");
        }
    }
}
