//! A simulator in a process of its own, ended when it is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// How long a debug build may take to be up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a script must not inherit: another proxy or other CAs would lead its client astray.
const FOREIGN: [&str; 12] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// A running simulator.
pub(super) struct Simulator {
    child: Child,
    folder: PathBuf,
    proxy: String,
}

/// The part of the ready file that the harness needs.
#[derive(Deserialize)]
struct Ready {
    proxy: String,
}

impl Simulator {
    /// Starts one that keeps its files in `folder`, which is emptied first.
    pub(super) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let log = folder.join("simulator.log");
        let child = Command::new(program)
            .args(["sim", "--proxy", "127.0.0.1:0", "--state"])
            .arg(folder.join("state"))
            .arg("--ready")
            .arg(folder.join("ready.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} can't be started; build it first", program.display()))?;
        let mut simulator = Self { child, folder: folder.to_owned(), proxy: String::new() };
        let begun = super::now();
        while !simulator.ready().is_file() {
            if let Some(status) = simulator.child.try_wait()? {
                bail!("the simulator ended at once ({status}); see {}", log.display());
            }
            ensure!(begun.elapsed() < PATIENCE, "the simulator is not up; see {}", log.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        let ready: Ready = serde_json::from_slice(&std::fs::read(simulator.ready())?)?;
        simulator.proxy = ready.proxy;
        Ok(simulator)
    }

    /// The file that says how it is reached.
    pub(super) fn ready(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    /// The folder of its certificate.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Gives the command an environment in which the simulator's CA is trusted, as Node and, behind
    /// the proxy, every client learns it.
    pub(super) fn trust(&self, command: &mut Command, behind_proxy: bool) {
        for name in FOREIGN {
            command.env_remove(name);
        }
        let ca = self.state().join("ca.pem");
        command.env("NODE_EXTRA_CA_CERTS", &ca);
        if behind_proxy {
            command.env("SSL_CERT_FILE", &ca).env("REQUESTS_CA_BUNDLE", &ca).env("HTTPS_PROXY", &self.proxy);
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _status = self.child.wait();
        }
    }
}
