//! A directory that is gone when its owner is.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;

/// A directory of our own, closed to others. The package for this would change which features other packages are built
/// with, and with that build half of them twice.
#[derive(Debug)]
pub(crate) struct Space(PathBuf);

impl Space {
    /// A new one below this directory.
    pub(crate) fn below(directory: &Path) -> Result<Space> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Space(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // What stays is in the build directory, under a name that says what it was.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
