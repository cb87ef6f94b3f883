//! The private, empty directory in which one program runs, and the inputs that are put there.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use placet_core::digest::Sha256Digest;
use placet_core::id::ExecutionId;

use super::removal::remove_tree;
use super::user::Identity;
use super::wire::Refusal;
use crate::hash::Hasher;

/// The directory that holds the private ones. Others may pass through it and may not look around.
#[derive(Debug, Clone)]
pub struct WorkRoot {
    path: PathBuf,
}

/// The place cannot hold private directories.
#[derive(Debug, thiserror::Error)]
pub enum WorkRootError {
    /// The machine refused.
    #[error("prepare the runner's directory {path:?}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a link, a file, or someone else's.
    #[error("prepare the runner's directory {0:?}: it must be a directory that belongs to placet's own user")]
    NotOurs(PathBuf),
    /// The executing user cannot get to it.
    #[error(
        "prepare the runner's directory {root:?}: the user of run_as cannot pass through {closed:?}, choose another place"
    )]
    Closed {
        /// The directory.
        root: PathBuf,
        /// The one above it that is closed.
        closed: PathBuf,
    },
}

/// One file to attach.
#[derive(Debug, Clone)]
pub struct Input {
    /// Under which name.
    pub name: String,
    /// Where placet keeps its bytes.
    pub stored: PathBuf,
    /// The bytes that were reviewed.
    pub sha256: Sha256Digest,
}

impl WorkRoot {
    /// Makes the directory or takes it over, and removes what earlier runs left in it. To be called after leftover
    /// processes were killed.
    pub fn prepare(path: &Path) -> Result<Self, WorkRootError> {
        let failed = |source| WorkRootError::Io { path: path.to_owned(), source };
        match DirBuilder::new().mode(0o711).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(WorkRootError::NotOurs(path.to_owned()));
        }
        fs::set_permissions(path, Permissions::from_mode(0o711)).map_err(failed)?;
        let root = WorkRoot { path: fs::canonicalize(path).map_err(failed)? };
        root.remove_leftovers().map_err(failed)?;
        Ok(root)
    }

    /// Whether a user can get to its private directories here: every directory above must let others pass.
    pub fn check_reachable(&self, identity: &Identity) -> Result<(), WorkRootError> {
        if !identity.is_other() {
            return Ok(());
        }
        for above in self.path.ancestors().skip(1) {
            let metadata =
                fs::metadata(above).map_err(|source| WorkRootError::Io { path: above.to_owned(), source })?;
            if metadata.mode() & 0o001 == 0 {
                return Err(WorkRootError::Closed { root: self.path.clone(), closed: above.to_owned() });
            }
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let ours = entry.file_name().to_str().is_some_and(|name| ExecutionId::parse(name).is_ok());
            if ours
                && entry.file_type()?.is_dir()
                && let Err(error) = remove_tree(&entry.path())
            {
                // Its name is not used again, so it is in nobody's way.
                tracing::warn!(path = %entry.path().display(), %error, "an old private directory could not be removed");
            }
        }
        Ok(())
    }

    /// Makes the private directory of one execution and fills in its inputs. It is given to the executing user only when
    /// all is in place, so that nobody can stand a link in our way.
    pub(super) fn create(
        &self,
        execution: ExecutionId,
        inputs: &[Input],
        identity: &Identity,
    ) -> Result<WorkDir, Refusal> {
        let path = self.path.join(execution.to_string());
        DirBuilder::new().mode(0o700).create(&path).map_err(|_| Refusal::NotStarted)?;
        let directory = WorkDir { path };
        for input in inputs {
            attach(&directory.path, input)?;
        }
        if let Some(ids) = identity.ids() {
            std::os::unix::fs::lchown(&directory.path, Some(ids.uid), Some(ids.gid))
                .map_err(|_| Refusal::NotStarted)?;
        }
        Ok(directory)
    }
}

/// Whether a file of this name can be put into a directory without getting anywhere else.
pub fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

/// Copies an input and checks, on the bytes that were copied, that they are those that were reviewed.
fn attach(directory: &Path, input: &Input) -> Result<(), Refusal> {
    if !is_plain_name(&input.name) {
        return Err(Refusal::InputChanged);
    }
    let stored = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&input.stored);
    let stored = stored.map_err(|_| Refusal::InputChanged)?;
    let copy = OpenOptions::new().write(true).create_new(true).mode(0o444).open(directory.join(&input.name));
    let found =
        copy_hashed(stored, copy.map_err(|_| Refusal::NotStarted)?).map_err(|_| Refusal::NotStarted)?;
    if found == input.sha256 { Ok(()) } else { Err(Refusal::InputChanged) }
}

fn copy_hashed(mut from: File, mut to: File) -> io::Result<Sha256Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        let part = buffer.get(..read).unwrap_or_default();
        if part.is_empty() {
            // The mode at creation is subject to our umask.
            to.set_permissions(Permissions::from_mode(0o444))?;
            return Ok(hasher.finish());
        }
        hasher.update(part);
        to.write_all(part)?;
    }
}

/// A private directory; removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::error!(path = %self.path.display(), %error, "a private directory could not be removed");
        }
    }
}
