//! A PostgreSQL cluster of a test's own, on a port of its own, filled by pgbench; the role `exporter` may read it with a
//! password.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;

use crate::harness::{eventually, free_port};

/// A running cluster; gone when it is dropped.
pub(crate) struct Cluster {
    directory: TempDir,
    server: Child,
    /// Where the binaries are.
    pub(crate) bin: PathBuf,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    /// The password of `exporter`.
    pub(crate) password: String,
}

impl Cluster {
    /// With the database `shop`.
    pub(crate) fn start() -> Self {
        let (bin, port) = (newest_bin(), free_port());
        let directory = tempfile::tempdir().unwrap();
        if let Some(user) = server_user() {
            chown(directory.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let data = directory.path().join("data");
        let made = server_command(&bin.join("initdb"))
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "-U", "postgres", "-D"])
            .arg(&data)
            .output();
        succeeded(made.unwrap());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let server = server_command(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args([
                "-p",
                &port.to_string(),
                "-h",
                "127.0.0.1",
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=16MB",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let password = format!("nobody-but-placet-{port}");
        let cluster = Cluster { directory, server, bin, port, password };
        eventually("PostgreSQL answers", || {
            cluster.tool("pg_isready").output().unwrap().status.success().then_some(())
        });
        succeeded(cluster.tool("createdb").arg("shop").output().unwrap());
        succeeded(cluster.tool("pgbench").args(["-i", "-q", "shop"]).output().unwrap());
        cluster.sql(&format!("create role exporter login password '{}'", cluster.password));
        cluster.sql("grant select on all tables in schema public to exporter");
        cluster
    }

    /// Does this as the superuser.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let done = self.tool("psql").args(["-v", "ON_ERROR_STOP=1", "-Atqc", sql, "shop"]).output();
        String::from_utf8(succeeded(done.unwrap()).stdout).unwrap()
    }

    /// One of its tools, on the socket that only the superuser uses.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env_clear().env("PGHOST", self.directory.path()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once, with all its children.
        let _ = kill(Pid::from_raw(self.server.id().cast_signed()), Signal::SIGQUIT);
        let _ = self.server.wait();
    }
}

/// PostgreSQL refuses to run as root.
fn server_user() -> Option<User> {
    let hint = "there is no user postgres: apt-get install postgresql";
    geteuid().is_root().then(|| User::from_name("postgres").unwrap().expect(hint))
}

fn server_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// The binaries of the newest version that is installed; Debian has no others on the PATH.
fn newest_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    bins.max().expect("PostgreSQL's server is part of the tests: apt-get install postgresql")
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
