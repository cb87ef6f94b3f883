//! From a program's name to the descriptor that is executed.
//!
//! ```text
//! argv[0] ─find→ path ─resolve→ path without links ─open once→ descriptor ─hash→ FilePin
//!                                                                    └─ executed as /proc/self/fd/N
//! ```
//!
//! Every directory and link on the way must be in the hands of root or of placet's own user; otherwise what was reviewed
//! need not be what runs. For a script, the interpreter that its first line names is resolved, opened and pinned too, and
//! placet itself starts that interpreter: nothing is looked up at execution.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Group, User};
use placet_core::action::FilePin;

use super::config::Config;
use crate::hash;

/// Where a program that the bundle does not declare is looked for. The caller's PATH plays no part.
const SAFE_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// As the kernel's own limit on links in one path.
const LINKS_MAX: usize = 40;
/// The kernel reads this much of a script to find its interpreter.
const SHEBANG_BYTES_MAX: usize = 256;
/// Larger files are not programs; hashing them would only cost time.
const PROGRAM_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A program, opened. What is executed is these descriptors, whatever happens to the paths.
#[derive(Debug)]
pub struct Program {
    pins: Vec<FilePin>,
    file: File,
    interpreter: Option<Interpreter>,
}

#[derive(Debug)]
struct Interpreter {
    file: File,
    argument: Option<String>,
}

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The name contains a slash and is neither declared nor in a safe directory.
    #[error("find program {0:?}: give its plain name, or declare its path in runner.toml")]
    Place(String),
    /// There is no such program.
    #[error(
        "find program {0:?}: it is not declared in runner.toml and not in /usr/local/bin, /usr/bin or /bin"
    )]
    NotFound(String),
    /// Reading it did not work.
    #[error("open {path:?}: check that it exists and is readable for placet")]
    Io {
        /// What was opened.
        path: PathBuf,
        /// Why that failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else could change what this path means.
    #[error(
        "trust {path:?}: others can write to it; make root its owner and remove write permission for others"
    )]
    Writable {
        /// The file or directory.
        path: PathBuf,
    },
    /// It is no regular file, not executable, or far too large.
    #[error("run {path:?}: it is not an executable file")]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// Links that lead in a circle.
    #[error("resolve {path:?}: too many links")]
    Links {
        /// The path.
        path: PathBuf,
    },
    /// A script whose interpreter placet cannot pin.
    #[error(
        "run script {path:?}: its first line must name an interpreter by absolute path, or by `env NAME`"
    )]
    Shebang {
        /// The script.
        path: PathBuf,
    },
    /// The path is not UTF-8 and could not be shown to a reviewer.
    #[error("run {path:?}: its path is not valid UTF-8")]
    Text {
        /// The path.
        path: PathBuf,
    },
}

/// Finds the path that `argv[0]` means: a declared program by its name or its exact path, else a plain name in the safe
/// directories (or such a path in full).
pub fn find(name: &str, config: &Config) -> Result<PathBuf, ProgramError> {
    if let Some(declared) = config.program_named(name) {
        return Ok(declared.path.clone());
    }
    if name.contains('/') {
        let path = Path::new(name);
        let safe = path.parent().is_some_and(|parent| SAFE_PATH.iter().any(|dir| Path::new(dir) == parent));
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        return if safe && plain { Ok(path.to_owned()) } else { Err(ProgramError::Place(name.to_owned())) };
    }
    find_in_safe_path(name).ok_or_else(|| ProgramError::NotFound(name.to_owned()))
}

fn find_in_safe_path(name: &str) -> Option<PathBuf> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return None;
    }
    SAFE_PATH.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

impl Program {
    /// Resolves, opens and hashes the program at an absolute path, and its interpreter if it is a script.
    pub fn open(path: &Path) -> Result<Self, ProgramError> {
        let (pin, file, format) = open_trusted(path)?;
        let Format::Script { interpreter, argument } = format else {
            return Ok(Program { pins: vec![pin], file, interpreter: None });
        };
        let (interpreter_pin, interpreter_file, format) = open_trusted(&interpreter)?;
        if !matches!(format, Format::Binary) {
            // The kernel would go on for a few levels. One is enough to review.
            return Err(ProgramError::Shebang { path: interpreter });
        }
        let interpreter = Some(Interpreter { file: interpreter_file, argument });
        Ok(Program { pins: vec![pin, interpreter_pin], file, interpreter })
    }

    /// What a reviewer approves as "the program": the file, then its interpreter if it is a script.
    pub fn pins(&self) -> &[FilePin] {
        &self.pins
    }

    /// The file to execute, as a path that means this very descriptor in the process that holds it and in its children.
    pub(super) fn executable(&self) -> PathBuf {
        descriptor_path(self.interpreter.as_ref().map_or(&self.file, |interpreter| &interpreter.file))
    }

    /// For a script: the descriptor that the interpreter has to inherit, and what stands before the caller's arguments.
    pub(super) fn script(&self) -> Option<(&File, Vec<OsString>)> {
        let interpreter = self.interpreter.as_ref()?;
        let mut arguments: Vec<OsString> = interpreter.argument.iter().map(OsString::from).collect();
        arguments.push(descriptor_path(&self.file).into_os_string());
        Some((&self.file, arguments))
    }
}

fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn open_trusted(path: &Path) -> Result<(FilePin, File, Format), ProgramError> {
    let resolved = resolve(path)?;
    let failed = |source| ProgramError::Io { path: resolved.clone(), source };
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&resolved).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.mode() & 0o111 == 0 || metadata.len() > PROGRAM_BYTES_MAX {
        return Err(ProgramError::NotExecutable { path: resolved });
    }
    check_trusted(&resolved, &metadata)?;
    let format = classify(&read_head(&file).map_err(failed)?, &resolved)?;
    let sha256 = hash::of_file(&file).map_err(failed)?;
    let path = resolved.to_str().ok_or_else(|| ProgramError::Text { path: resolved.clone() })?.to_owned();
    Ok((FilePin { path, sha256 }, file, format))
}

/// Follows every link by hand, so that each directory on the way is looked at before anything in it is believed.
fn resolve(path: &Path) -> Result<PathBuf, ProgramError> {
    if !path.is_absolute() {
        return Err(ProgramError::Place(path.display().to_string()));
    }
    let mut here = PathBuf::from("/");
    let mut links = 0;
    let mut pending = reversed(path);
    check_trusted(&here, &lstat(&here)?)?;
    while let Some(part) = pending.pop() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        let metadata = lstat(&next)?;
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(ProgramError::Links { path: path.to_owned() });
            }
            let target = fs::read_link(&next).map_err(|source| io_error(&next, source))?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            pending.extend(reversed(&target));
            continue;
        }
        check_trusted(&next, &metadata)?;
        here = next;
    }
    Ok(here)
}

/// The parts of a path, the last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    parts.reverse();
    parts
}

/// Refuses what anyone but root and placet's own user can change. The sticky bit does not help a directory: anyone may
/// still put the first file of a name into it.
fn check_trusted(path: &Path, metadata: &Metadata) -> Result<(), ProgramError> {
    let own = nix::unistd::geteuid().as_raw();
    let owned = metadata.uid() == 0 || metadata.uid() == own;
    let group_writes =
        metadata.mode() & 0o020 != 0 && metadata.gid() != 0 && !is_private_group(metadata.gid());
    let world_writes = metadata.mode() & 0o002 != 0;
    if owned && !group_writes && !world_writes {
        Ok(())
    } else {
        Err(ProgramError::Writable { path: path.to_owned() })
    }
}

/// Whether a group is the one that Linux distributions make for each user alone: of the user's name, without members.
fn is_private_group(gid: u32) -> bool {
    let user = User::from_uid(nix::unistd::geteuid());
    let group = Group::from_gid(gid.into());
    match (user, group) {
        (Ok(Some(user)), Ok(Some(group))) => {
            user.gid == group.gid
                && user.name == group.name
                && group.mem.iter().all(|name| *name == user.name)
        }
        _ => false,
    }
}

enum Format {
    Binary,
    Script { interpreter: PathBuf, argument: Option<String> },
}

/// Anything but an ELF file or a script with a first line would be handed to a shell by `execvp`: refused.
fn classify(head: &[u8], path: &Path) -> Result<Format, ProgramError> {
    if head.starts_with(b"\x7fELF") {
        return Ok(Format::Binary);
    }
    let Some(line) = head.strip_prefix(b"#!") else {
        return Err(ProgramError::NotExecutable { path: path.to_owned() });
    };
    let refused = || ProgramError::Shebang { path: path.to_owned() };
    // The kernel cuts a longer line off; it would run something else than it says.
    let end = line.iter().position(|byte| *byte == b'\n').ok_or_else(refused)?;
    let line = std::str::from_utf8(line.get(..end).unwrap_or_default()).map_err(|_| refused())?.trim();
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim().to_owned())),
        None => (line, None),
    };
    if !interpreter.starts_with('/') || interpreter.contains('\0') {
        return Err(refused());
    }
    if Path::new(interpreter).file_name().is_some_and(|name| name == "env") {
        let name = argument.filter(|name| !name.starts_with('-') && !name.contains([' ', '\t', '=']));
        let found = name.as_deref().and_then(find_in_safe_path).ok_or_else(refused)?;
        return Ok(Format::Script { interpreter: found, argument: None });
    }
    Ok(Format::Script { interpreter: PathBuf::from(interpreter), argument })
}

fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; SHEBANG_BYTES_MAX];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(head.get_mut(filled..).unwrap_or_default(), filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    head.truncate(filled);
    Ok(head)
}

fn lstat(path: &Path) -> Result<Metadata, ProgramError> {
    fs::symlink_metadata(path).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> ProgramError {
    ProgramError::Io { path: path.to_owned(), source }
}
