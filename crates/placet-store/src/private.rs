//! Directories and files that nobody else may touch.
//!
//! What is checked here is checked once, at start: a directory that is a link, belongs to somebody else, or is open to
//! group or others, is refused and not repaired, because nobody knows what was done in it before.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a directory or a file is not private.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// It could not be looked at or made.
    #[error("look at {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else, perhaps a link.
    #[error("{} must be a {expected} and not a link: name the real one", path.display())]
    WrongType {
        /// Which.
        path: PathBuf,
        /// What it must be.
        expected: &'static str,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {owner}, and placet runs as another: chown it or run as its owner", path.display())]
    OtherOwner {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Group or others may get at it.
    #[error("{} has mode {mode:04o}, which lets others in: chmod go-rwx {}", path.display(), path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Makes sure that this is a directory of ours that is closed to everybody else. Makes it if nothing is there.
pub(crate) fn directory(path: &Path) -> Result<(), PrivateError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(PrivateError::Io { path: path.to_owned(), source }),
    }
    let found = unfollowed(path)?;
    if !found.is_dir() {
        return Err(PrivateError::WrongType { path: path.to_owned(), expected: "directory" });
    }
    closed(path, &found)
}

/// Makes an empty file that is ours alone, where nothing is.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Makes sure that this is a file of ours that is closed to everybody else. It must be there.
pub(crate) fn file(path: &Path) -> Result<(), PrivateError> {
    regular(path, &unfollowed(path)?)
}

/// The same for a file that an operator named, which may be reached over links: what they lead to is what counts.
pub(crate) fn linked_file(path: &Path) -> Result<(), PrivateError> {
    let found = fs::metadata(path).map_err(|source| PrivateError::Io { path: path.to_owned(), source })?;
    regular(path, &found)
}

fn regular(path: &Path, found: &Metadata) -> Result<(), PrivateError> {
    if !found.is_file() {
        return Err(PrivateError::WrongType { path: path.to_owned(), expected: "file" });
    }
    closed(path, found)
}

fn unfollowed(path: &Path) -> Result<Metadata, PrivateError> {
    fs::symlink_metadata(path).map_err(|source| PrivateError::Io { path: path.to_owned(), source })
}

fn closed(path: &Path, found: &Metadata) -> Result<(), PrivateError> {
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(PrivateError::OtherOwner { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & OTHERS != 0 {
        return Err(PrivateError::Open { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn space() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn makes_a_closed_directory_and_takes_it_again() {
        let space = space();
        let path = space.path().join("data");
        directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        directory(&path).unwrap();
    }

    #[test]
    fn refuses_what_others_can_reach() {
        let space = space();
        for mode in [0o750, 0o701, 0o720, 0o777] {
            let path = space.path().join(format!("{mode:o}"));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(directory(&path), Err(PrivateError::Open { mode: found, .. }) if found == mode));
        }
    }

    #[test]
    fn refuses_links_and_other_types() {
        let space = space();
        let real = space.path().join("real");
        directory(&real).unwrap();
        let link = space.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(directory(&link), Err(PrivateError::WrongType { .. })));
        let plain = space.path().join("plain");
        fs::write(&plain, "").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(directory(&plain), Err(PrivateError::WrongType { .. })));
        file(&plain).unwrap();
        let link = space.path().join("plain link");
        symlink(&plain, &link).unwrap();
        assert!(matches!(file(&link), Err(PrivateError::WrongType { .. })));
        linked_file(&link).unwrap();
        assert!(matches!(file(&real), Err(PrivateError::WrongType { .. })));
        assert!(matches!(file(&space.path().join("none")), Err(PrivateError::Io { .. })));
    }

    #[test]
    fn refuses_what_belongs_to_somebody_else() {
        let space = space();
        let path = space.path().join("theirs");
        directory(&path).unwrap();
        // Only root may give a directory away; as anybody else, one that is root's stands in for it.
        let theirs = match std::os::unix::fs::chown(&path, Some(65_534), None) {
            Ok(()) => path,
            Err(_) => PathBuf::from("/root"),
        };
        assert!(matches!(directory(&theirs), Err(PrivateError::OtherOwner { .. })));
    }
}
