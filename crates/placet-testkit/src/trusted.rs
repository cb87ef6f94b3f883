//! Where tests put programs that the runner has to trust.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory that others may look into, on a path that nobody but us and root can change, all the way up: below
/// `preferred`, or else where the system or we keep our own things. A checkout below a directory for everybody, like
/// /tmp, is no such path.
pub fn trusted_directory(preferred: &Path) -> io::Result<TempDir> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = [Some(preferred.to_owned()), Some("/var/lib".into()), home];
    let ours = fs::metadata("/proc/self")?.uid();
    let closed = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.mode() & 0o022 == 0 && [0, ours].contains(&found.uid()))
    };
    let usable = |place: PathBuf| {
        let whole = fs::canonicalize(place).ok().filter(|whole| whole.ancestors().all(closed))?;
        tempfile::tempdir_in(whole).ok()
    };
    let none = || io::Error::other("run the tests with a home directory that others cannot write to");
    let directory = places.into_iter().flatten().find_map(usable).ok_or_else(none)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_for_everybody_is_passed_over() {
        let directory = trusted_directory(Path::new("/tmp")).unwrap();
        assert!(!directory.path().starts_with("/tmp"), "{}", directory.path().display());
        let mode = fs::metadata(directory.path()).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o755);
    }
}
