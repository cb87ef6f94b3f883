//! Removes a tree that somebody else filled, however deep it is.
//!
//! A program can nest directories without end: no path is too long for `chdir`. Whoever goes down there by recursion,
//! as the standard library does, runs out of descriptors or of stack. Here nobody goes down: each directory that is
//! found in another is moved up beside it and looked at there.
//!
//! ```text
//! root/a/b/c/d  ─►  root/a  root/0 (was b, holds c/d)  ─►  root/0  root/1 (was c, holds d)  ─►  …  ─►  root
//! ```
//!
//! Everything goes from descriptor to descriptor and follows no link, so that nobody who still runs can lead it elsewhere.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Removes a directory with all that is in it. Fails if somebody keeps putting things there.
pub(super) fn remove_tree(root: &Path) -> io::Result<()> {
    let at = open_directory(AT_FDCWD, root)?;
    // Directories in the root that are still to be emptied.
    let mut pending = remove_files(&at)?;
    let mut fresh: u64 = 0;
    while let Some(name) = pending.pop() {
        let inner = match open_directory(&at, name.as_c_str()) {
            // It was empty, and another one that was moved up took its name: that one was looked at already.
            Err(Errno::ENOENT) => continue,
            opened => opened?,
        };
        for below in remove_files(&inner)? {
            pending.push(move_up(&inner, &below, &at, &mut fresh)?);
        }
        unlinkat(&at, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    std::fs::remove_dir(root)
}

fn open_directory<P: ?Sized + nix::NixPath>(at: impl AsFd, path: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

/// Removes everything but directories, whose names are the result.
fn remove_files(directory: &OwnedFd) -> nix::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR) => directories.push(name.to_owned()),
            Err(error) => return Err(error),
        }
    }
    Ok(directories)
}

/// Moves a directory into the root, under a name that nothing else has there.
fn move_up(from: &OwnedFd, name: &CString, root: &OwnedFd, fresh: &mut u64) -> io::Result<CString> {
    loop {
        let candidate = CString::new(format!("{fresh}")).map_err(io::Error::other)?;
        *fresh += 1;
        match renameat(from, name.as_c_str(), root, candidate.as_c_str()) {
            Ok(()) => return Ok(candidate),
            // Something of the program's own has this name.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::mkdirat;

    use super::*;

    /// As a program does it that calls `mkdir` and `chdir` in turns.
    fn nested(root: &Path, name: &str, levels: usize) {
        let mut here = open_directory(AT_FDCWD, root).unwrap();
        for _ in 0..levels {
            mkdirat(&here, name, Mode::S_IRWXU).unwrap();
            here = open_directory(&here, name).unwrap();
        }
    }

    #[test]
    fn a_tree_deeper_than_any_stack_is_removed() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().join("deep");
        fs::create_dir(&root).unwrap();
        nested(&root, "a", 5_000);
        let removed = std::thread::Builder::new().stack_size(64 * 1024).spawn({
            let root = root.clone();
            move || remove_tree(&root)
        });
        removed.unwrap().join().unwrap().unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn links_are_removed_and_not_followed_and_names_that_are_taken_are_passed_over() {
        let space = tempfile::tempdir().unwrap();
        let kept = space.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "kept").unwrap();
        let root = space.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("0/1/2")).unwrap();
        fs::write(root.join("1"), "in the way").unwrap();
        fs::create_dir_all(root.join("2/in the way")).unwrap();
        for empty in 3..9 {
            fs::create_dir(root.join(empty.to_string())).unwrap();
        }
        symlink(&kept, root.join("a/link")).unwrap();
        symlink(&kept, root.join("link")).unwrap();
        symlink("nowhere", root.join("a/b/dangling")).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists());
        assert_eq!(fs::read(kept.join("file")).unwrap(), b"kept");
        let link = space.path().join("link");
        symlink(&kept, &link).unwrap();
        assert!(remove_tree(&link).is_err(), "a link is no tree");
        assert!(kept.join("file").exists());
    }
}
