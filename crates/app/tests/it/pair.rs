//! A simulator and a server as real processes on a store of their own: for stories that kill them,
//! or look at them from outside.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use reqwest::{Client, StatusCode, header::COOKIE};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const SUPPORT: &str = "support@contoso.example";
/// Where the mails arrive that nobody answers.
pub(crate) const OTHER: &str = "other@contoso.example";
pub(crate) const ADDRESSES: [&str; 5] =
    [SUPPORT, OTHER, "sales@contoso.example", "billing@contoso.example", "info@contoso.example"];
const AGENT: &str = "agent@contoso.example";
const PASSWORD: &str = "a good long password";
const SECRET: &str = "sample~secret-of-the-simulator";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// Killed when dropped.
struct Process(Child);

impl Process {
    fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        Ok(Self(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A simulator and a server, each a process of its own.
pub(crate) struct Pair {
    folder: TempDir,
    store_url: String,
    port: u16,
    control: String,
    client: Client,
    pub(crate) random: SmallRng,
    cookie: String,
    server: Option<Process>,
    _simulator: Process,
}

impl Pair {
    pub(crate) async fn start(store_url: Option<String>, seed: u64) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let ready = folder.path().join("simulator.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command.args(["sim", "--allow-http-loopback", "--latency-ms", "20"]);
        command.args(ADDRESSES.iter().flat_map(|address| ["--mailbox", address]));
        let simulator =
            Process::spawn(command.arg("--ready").arg(&ready), &folder.path().join("simulator.log"))?;
        let facts = wait_for(&ready).await?;
        let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
        let file = folder.path().join("postroom.db");
        let mut pair = Self {
            store_url: store_url.unwrap_or_else(|| format!("sqlite:{}", file.display())),
            port: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
            control: text("control"),
            client: Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?,
            random: SmallRng::seed_from_u64(seed),
            cookie: String::new(),
            server: None,
            _simulator: simulator,
            folder,
        };
        let mailboxes: String =
            ADDRESSES.iter().map(|address| format!("      - {{ address: {address} }}\n")).collect();
        let routes: String = ADDRESSES
            .iter()
            .map(|address| {
                let queue = if *address == SUPPORT { "All" } else { "Other" };
                format!("  - {{ address: {address}, queue: {queue} }}\n")
            })
            .collect();
        let organization = format!(
            "organization: {{ name: Kills, languages: [en] }}\n\
             integrations:\n  - name: only\n    kind: microsoft-graph\n    token_endpoint: {}/{}/oauth2/v2.0/token\n    \
             client_id: {}\n    cloud: global\n    graph_url: {}\n    credentials:\n      \
             - {{ name: only, secret: \"env:TEST_SECRET\" }}\n    mailboxes:\n{mailboxes}\
             domains:\n  - {{ name: contoso.example, kind: inbound, integration: only }}\n\
             routes:\n{routes}\
             queues:\n  - {{ name: All, members: [{AGENT}] }}\n  - {{ name: Other }}\n\
             users:\n  - {{ email: {AGENT}, name: Agent, roles: [agent], capacity: {{ email: 25 }} }}\n",
            text("http"),
            text("tenant_id"),
            text("client_id"),
            text("http"),
        );
        let path = pair.folder.path().join("organization.yaml");
        std::fs::write(&path, organization)?;
        pair.run(&["apply", &path.display().to_string()], "")?;
        pair.run(&["user", "add", AGENT, "--password-stdin"], PASSWORD)?;
        pair.serve()?;
        pair.until("the mailboxes are subscribed", async |pair| {
            let figures = pair.control("/v1/figures").await?;
            let subscribed = figures["by_kind"]["subscription.create"].as_u64().unwrap_or_default();
            Ok(subscribed >= ADDRESSES.len() as u64)
        })
        .await?;
        Ok(pair)
    }

    pub(crate) fn postroom(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command
            .env("POSTROOM_STORE_URL", &self.store_url)
            .env("POSTROOM_STORE_BLOBS", self.folder.path().join("blobs"))
            .env("POSTROOM_KEYS_FILE", self.folder.path().join("keys"))
            .env("POSTROOM_SERVER_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("POSTROOM_SERVER_PUBLIC_URL", self.base())
            .env("POSTROOM_LOG_FILTER", "warn")
            .env("TEST_SECRET", SECRET);
        command
    }

    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs a command beside the server and gives what it printed.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let stdin = self.folder.path().join("stdin");
        std::fs::write(&stdin, input)?;
        let output = self.postroom().args(arguments).stdin(File::open(stdin)?).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn serve(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("server.log");
        self.server = Some(Process::spawn(self.postroom().arg("serve"), &log)?);
        Ok(())
    }

    /// SIGKILL after a random time, then a new process on the same store.
    pub(crate) async fn kill_within(&mut self, milliseconds: u64) -> anyhow::Result<()> {
        let wait = self.random.random_range(0..milliseconds);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        self.server = None;
        self.serve()
    }

    /// The most memory that the server ever had, in MB.
    pub(crate) fn peak_mb(&self) -> anyhow::Result<f64> {
        let server = self.server.as_ref().context("a server")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("a peak of memory")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        Ok(kilobytes / 1024.0)
    }

    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut holds: impl AsyncFnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            if holds(self).await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        anyhow::bail!("waited in vain until {what}; the server says {log}")
    }

    pub(crate) async fn control(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.control)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    pub(crate) async fn switch(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        let url = format!("{}/v1/switches/{name}", self.control);
        self.client.put(url).json(value).send().await?.error_for_status()?;
        Ok(())
    }

    pub(crate) async fn deliver(&self, to: &str, mime: Vec<u8>) -> anyhow::Result<String> {
        let url = format!("{}/v1/mailboxes/{to}/messages", self.control);
        let answer: Value = self.client.post(url).body(mime).send().await?.error_for_status()?.json().await?;
        Ok(answer["id"].as_str().context("an id")?.to_owned())
    }

    pub(crate) fn ledger(&self) -> anyhow::Result<Vec<Value>> {
        let text = self.run(&["ledger", "--json"], "")?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Sends a form as the agent; nothing if the server was not there.
    pub(crate) async fn form(&self, path: &str, form: &[(&str, &str)]) -> Option<reqwest::Response> {
        let request = self.client.post(format!("{}{path}", self.base()));
        request.header(COOKIE, &self.cookie).form(form).send().await.ok()
    }

    pub(crate) async fn sign_in(&mut self) -> anyhow::Result<()> {
        self.until("the agent is signed in", async |pair| {
            let form = [("email", AGENT), ("password", PASSWORD)];
            let Some(answer) = pair.form("/login", &form).await else { return Ok(false) };
            let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
            let Some(cookie) = cookie else { return Ok(false) };
            pair.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
            Ok(true)
        })
        .await?;
        let on_queue =
            self.form("/desk/status", &[("status", "on_queue")]).await.context("the desk answers")?;
        ensure!(on_queue.status() == StatusCode::SEE_OTHER, "{}", on_queue.status());
        Ok(())
    }
}

async fn wait_for(path: &Path) -> anyhow::Result<Value> {
    for _ in 0..300 {
        if let Ok(text) = std::fs::read(path) {
            return Ok(serde_json::from_slice(&text)?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} did not appear", path.display())
}
