//! The files of a bundle, as bytes: bounded, named by relative path, and one digest over all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use placet_core::digest::BundleDigest;

/// How many bytes a file of a bundle may have.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// How many bytes the accepted tools of one MCP server may have: machines write that file, and diffs show it by line.
pub const TOOLS_BYTES_MAX: usize = 256 * 1024;
/// How many bytes a file of policies may have: as much as a thousand short ones need.
pub const POLICIES_BYTES_MAX: usize = 256 * 1024;
/// How many files a bundle may have.
pub const FILES_MAX: usize = 256;

/// The directories that a bundle may have.
const DIRECTORIES: [&str; 2] = ["tests", "mcp"];
/// How the files end in which machines write down the accepted tools.
pub(crate) const TOOLS_SUFFIX: &str = ".tools.jsonl";

/// How many bytes this file of a bundle may have.
pub fn file_bytes_max(path: &str) -> usize {
    match path {
        tools if tools.starts_with("mcp/") && tools.ends_with(TOOLS_SUFFIX) => TOOLS_BYTES_MAX,
        policies if policies.ends_with(".cedar") => POLICIES_BYTES_MAX,
        _ => FILE_BYTES_MAX,
    }
}

/// The files of a bundle by relative path, `ask.cedar` or `tests/deploy.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BundleFiles(BTreeMap<String, Vec<u8>>);

/// Why a directory was not read as a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading it did not work.
    #[error("read {path:?}: check that it exists and is readable")]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A link could make a bundle change without its digest being looked at again.
    #[error("read {0:?}: a bundle holds plain files only, no links, sockets or devices")]
    NotAFile(PathBuf),
    /// The name is not text.
    #[error("read {0:?}: its name is not UTF-8")]
    Name(PathBuf),
    /// Only `tests` and `mcp` may be directories.
    #[error("read {0:?}: the only directories in a bundle are tests/ and mcp/")]
    Directory(PathBuf),
    /// More than [`file_bytes_max`] allows for it.
    #[error("read {path:?}: this file of a bundle may have at most {} KiB", .max / 1024)]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How many it may have.
        max: usize,
    },
    /// More than [`FILES_MAX`].
    #[error("read {0:?}: a bundle has at most 256 files")]
    TooMany(PathBuf),
}

impl BundleFiles {
    /// These files. Whether they make a bundle is for [`Bundle::load`](crate::Bundle::load) to say.
    pub fn new<P: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        BundleFiles(files.into_iter().map(|(path, bytes)| (path.into(), bytes.into())).collect())
    }

    /// Reads a directory: its files and those of `tests/` and `mcp/`, each opened once and read to its bound. Names that start
    /// with a dot, and those that end with `~`, are an editor's and are passed over.
    pub fn read_dir(directory: &Path) -> Result<Self, ReadError> {
        let mut files = BTreeMap::new();
        read_into(&mut files, directory, "")?;
        Ok(BundleFiles(files))
    }

    /// The bytes of one file.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// All files, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest over paths and contents.
    pub fn digest(&self) -> BundleDigest {
        BundleDigest::of_files(self.iter())
    }
}

fn read_into(files: &mut BTreeMap<String, Vec<u8>>, at: &Path, prefix: &str) -> Result<(), ReadError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    for entry in std::fs::read_dir(at).map_err(io(at))? {
        let entry = entry.map_err(io(at))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| ReadError::Name(path.clone()))?;
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let kind = entry.file_type().map_err(io(&path))?;
        if kind.is_dir() {
            if !(prefix.is_empty() && DIRECTORIES.contains(&name.as_str())) {
                return Err(ReadError::Directory(path));
            }
            read_into(files, &path, &format!("{name}/"))?;
            continue;
        }
        if !kind.is_file() {
            return Err(ReadError::NotAFile(path));
        }
        if files.len() >= FILES_MAX {
            return Err(ReadError::TooMany(at.to_owned()));
        }
        let file = File::open(&path).map_err(io(&path))?;
        // The name may have become a link since it was listed; what was opened tells.
        if !file.metadata().map_err(io(&path))?.is_file() {
            return Err(ReadError::NotAFile(path));
        }
        let name = format!("{prefix}{name}");
        let max = file_bytes_max(&name);
        let mut bytes = Vec::new();
        file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(io(&path))?;
        if bytes.len() > max {
            return Err(ReadError::TooLarge { path, max });
        }
        files.insert(name, bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_paths_and_contents_and_not_on_order() {
        let digest = |files: &[(&str, &str)]| BundleFiles::new(files.iter().copied()).digest();
        assert_eq!(digest(&[("a", "1"), ("b", "2")]), digest(&[("b", "2"), ("a", "1")]));
        assert_ne!(digest(&[("a", "1"), ("b", "2")]), digest(&[("a", "2"), ("b", "1")]));
        assert_ne!(digest(&[("a", "1")]), digest(&[("b", "1")]));
    }

    #[test]
    fn a_directory_is_read_with_its_tests_and_without_an_editors_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tests")).unwrap();
        for name in ["bundle.toml", "tests/a.toml", ".ask.cedar.swp", "ask.cedar~"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let files = BundleFiles::read_dir(directory.path()).unwrap();
        assert_eq!(files.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["bundle.toml", "tests/a.toml"]);
    }

    /// A directory that an editor writes while it is read gives the files as they were opened, or says what is missing:
    /// never another mixture than its digest names, never a panic.
    #[test]
    fn a_directory_that_changes_while_it_is_read_is_read_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("bundle.toml"), "format = 1").unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Bounded, so that a failure below ends the test.
                for _ in 0..1_000_000 {
                    if over.load(relaxed) {
                        break;
                    }
                    std::fs::write(at("ask.cedar"), "forbid").unwrap();
                    let _ = std::fs::rename(at("ask.cedar"), at("never.cedar"));
                    let _ = std::fs::remove_file(at("never.cedar"));
                }
            });
            for _ in 0..300 {
                match BundleFiles::read_dir(directory.path()) {
                    Ok(files) => assert_eq!(files.get("bundle.toml"), Some("format = 1".as_bytes())),
                    Err(ReadError::Io { path, source }) => {
                        assert_eq!(source.kind(), std::io::ErrorKind::NotFound, "{path:?}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            over.store(true, relaxed);
        });
    }

    #[test]
    fn links_directories_and_large_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink("/etc/hostname", at("allow.cedar")).unwrap();
        assert!(matches!(BundleFiles::read_dir(directory.path()), Err(ReadError::NotAFile(_))));
        std::fs::remove_file(at("allow.cedar")).unwrap();

        std::fs::create_dir(at("more")).unwrap();
        assert!(matches!(BundleFiles::read_dir(directory.path()), Err(ReadError::Directory(_))));
        std::fs::remove_dir(at("more")).unwrap();

        std::fs::write(at("allow.cedar"), vec![b' '; POLICIES_BYTES_MAX]).unwrap();
        assert!(BundleFiles::read_dir(directory.path()).is_ok());
        std::fs::write(at("allow.cedar"), vec![b' '; POLICIES_BYTES_MAX + 1]).unwrap();
        assert!(matches!(BundleFiles::read_dir(directory.path()), Err(ReadError::TooLarge { .. })));
        std::fs::remove_file(at("allow.cedar")).unwrap();

        for number in 0..=FILES_MAX {
            std::fs::write(at(&format!("{number}.toml")), "").unwrap();
        }
        assert!(matches!(BundleFiles::read_dir(directory.path()), Err(ReadError::TooMany(_))));
    }
}
