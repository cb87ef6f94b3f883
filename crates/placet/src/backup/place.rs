//! Where copies of everything may lie: in new directories of our own, on a path that nobody else can change.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::BackupError;

/// Write permission of group and others.
const OTHERS_WRITE: u32 = 0o022;
/// Only who owns an entry of such a directory may replace it.
const STICKY: u32 = 0o1000;

/// The nearest directory on the way to this path that somebody else could replace parts of, and why.
pub(crate) fn open_parent(path: &Path) -> io::Result<Option<(PathBuf, String)>> {
    let ours = nix::unistd::geteuid().as_raw();
    let path = std::path::absolute(path)?;
    // What is not there yet will be made by us.
    let Some(nearest) = path.ancestors().skip(1).find(|at| at.symlink_metadata().is_ok()) else {
        return Ok(None);
    };
    for parent in fs::canonicalize(nearest)?.ancestors() {
        let found = fs::metadata(parent)?;
        let mode = found.mode() & 0o7777;
        if found.uid() != 0 && found.uid() != ours {
            return Ok(Some((parent.to_owned(), format!("belongs to user {}", found.uid()))));
        }
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            return Ok(Some((parent.to_owned(), format!("has mode {mode:04o}, which lets others write"))));
        }
    }
    Ok(None)
}

/// Makes a directory for nobody else, or takes an empty one that is closed already.
pub(super) fn make(path: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Io { path: path.to_owned(), source };
    if let Some((parent, why)) = open_parent(path).map_err(failed)? {
        return Err(BackupError::Parent { path: path.to_owned(), parent, why });
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::NoParent(path.to_owned()));
        }
        Err(source) => return Err(failed(source)),
    }
    let found = path.symlink_metadata().map_err(failed)?;
    let closed = found.mode() & 0o077 == 0 && found.uid() == nix::unistd::geteuid().as_raw();
    if !found.is_dir() || !closed {
        return Err(BackupError::Open(path.to_owned()));
    }
    if fs::read_dir(path).map_err(failed)?.next().is_some() {
        return Err(BackupError::NotEmpty(path.to_owned()));
    }
    Ok(())
}

/// Every file below a directory, by path relative to it. A link or anything else that is no file is an error.
pub(super) fn files(root: &Path) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(relative) = directories.pop() {
        let here = root.join(&relative);
        let failed = |source| BackupError::Io { path: here.clone(), source };
        for entry in fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (kind, path) = (entry.file_type().map_err(failed)?, relative.join(entry.file_name()));
            match (kind.is_dir(), kind.is_file(), path.to_str()) {
                (true, _, _) => directories.push(path),
                (_, true, Some(text)) => found.push(text.to_owned()),
                _ => return Err(BackupError::Altered(format!("{} is no plain file", path.display()))),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the names of everything below a directory durable.
pub(super) fn sync(root: &Path) -> Result<(), BackupError> {
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = |source| BackupError::Io { path: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                directories.push(entry.path());
            }
        }
        fs::File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_place_that_others_can_change_or_that_is_in_use_is_refused() {
        let space = tempfile::tempdir().unwrap();
        let fresh = space.path().join("a");
        make(&fresh).unwrap();
        make(&fresh).unwrap();
        assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o7777, 0o700);
        fs::write(fresh.join("x"), "x").unwrap();
        assert!(matches!(make(&fresh), Err(BackupError::NotEmpty(_))));
        let wide = space.path().join("wide");
        fs::create_dir(&wide).unwrap();
        for (mode, refused) in [(0o755, false), (0o775, true), (0o777, true), (0o1777, false)] {
            fs::set_permissions(&wide, fs::Permissions::from_mode(mode)).unwrap();
            let made = make(&wide.join(format!("{mode:o}")));
            assert_eq!(matches!(made, Err(BackupError::Parent { .. })), refused, "{mode:o}: {made:?}");
        }
        fs::set_permissions(&wide, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(make(&wide), Err(BackupError::Open(_))));
        let link = space.path().join("link");
        std::os::unix::fs::symlink(&fresh, &link).unwrap();
        assert!(matches!(make(&link), Err(BackupError::Open(_))));
        assert!(matches!(files(space.path()), Err(BackupError::Altered(_))), "a link is no file");
    }
}
