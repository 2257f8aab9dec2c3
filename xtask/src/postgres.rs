//! A private PostgreSQL server for tests and benchmarks: its own folder, its own
//! port on this machine, gone when this process is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::{cargo, packages};

/// The system user that Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";

/// A running server.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
}

/// What the server is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Commits need not reach the disk.
    Tests,
    /// Commits are durable, as in production.
    Bench,
}

impl Server {
    /// Makes a database cluster and starts the server on it.
    pub(crate) fn start(purpose: Use) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("postroom-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder).context("a folder for PostgreSQL can't be made")?;
        if packages::is_root()? {
            cargo::run(Command::new("chown").arg(USER).arg(&folder))?;
        }
        let data = folder.join("data");
        let mut initdb = as_server("initdb")?;
        initdb.args([
            "--auth=trust",
            "--username=postroom",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        cargo::output(initdb.arg("--pgdata").arg(&data))?;

        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let fsync = if purpose == Use::Tests { "off" } else { "on" };
        let mut command = as_server("postgres")?;
        command.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]);
        command.args(["-c", &format!("port={port}"), "-c", &format!("fsync={fsync}")]);
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
        let log = std::fs::File::create(folder.join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).spawn()?;
        let server = Self { child, folder, port };
        server.wait(&data)?;
        Ok(server)
    }

    /// How clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postroom@127.0.0.1:{}/postgres", self.port)
    }

    fn wait(&self, data: &Path) -> anyhow::Result<()> {
        // The server writes `ready` into its lock file when it takes connections.
        let lock = data.join("postmaster.pid");
        for _ in 0..600 {
            if std::fs::read_to_string(&lock)
                .is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"))
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        bail!("PostgreSQL did not start in 30 s: {log}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT ends it at once; nothing of it is needed any more.
        let _ended = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _reaped = self.child.wait();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

/// A program of PostgreSQL as its own user, ended with this process.
fn as_server(program: &str) -> anyhow::Result<Command> {
    let path = packages::find(program).with_context(|| format!("{program} of PostgreSQL is not found"))?;
    let mut command = Command::new("setpriv");
    if packages::is_root()? {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(path).current_dir("/");
    Ok(command)
}
