//! The machine that was measured on, and the time that processes used on it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

/// What a reader needs to compare.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// What each line is about, and the line.
    pub(crate) lines: Vec<(&'static str, String)>,
}

impl Machine {
    /// Describes this machine, and the disk that holds this directory.
    pub(crate) fn describe(profile: &str, directory: &Path) -> Machine {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Machine {
            lines: vec![
                ("processor", format!("{cores} × {}", field("/proc/cpuinfo", "model name"))),
                ("memory", field("/proc/meminfo", "MemTotal")),
                ("disk", disk(directory)),
                ("kernel", first_line("/proc/sys/kernel/osrelease")),
                ("compiler", printed("rustc", &["--version"])),
                ("profile", profile.to_owned()),
                ("load before and while measuring (1, 5, 15 min)", first_line("/proc/loadavg")),
                ("measured at", printed("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
            ],
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(about, line)| writeln!(f, "{about}: {line}"))
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| field.trim() == name);
    found.map_or("unknown", |(_, value)| value.trim()).to_owned()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// The device, its file system and how it is mounted.
fn disk(directory: &Path) -> String {
    let directory = directory.to_string_lossy();
    printed("findmnt", &["-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", &directory])
}

/// Ten thousand callers need as many descriptors.
pub(crate) fn open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // With fewer the figure that needs them fails and says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Processor time that this process has used, in seconds.
pub(crate) fn own_cpu() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return f64::NAN };
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// In what `/proc` counts: hundredths of a second, on every architecture that placet is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that a process has used, in seconds.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// Resident memory of a process, in bytes.
pub(crate) fn memory_of(pid: u32) -> f64 {
    let line = field(&format!("/proc/{pid}/status"), "VmRSS");
    let kilobytes: f64 =
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN);
    kilobytes * 1024.0
}

/// Bytes that the files below a directory take on the disk.
pub(crate) fn disk_use(directory: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(directory) else { return 0.0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { disk_use(&entry.path()) } else { metadata.blocks() as f64 * 512.0 })
    });
    sizes.sum()
}
