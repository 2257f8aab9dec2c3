//! A server and a simulator as real processes of the release build, and what is asked of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use postroom_app::effects;
use postroom_model::ledger::MessageState;
use postroom_store::{Db, DbConfig, SqliteMode, Stmt, messages};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

pub(crate) const SECRET: &str = "sample~secret-of-the-simulator";
const MAIL_BYTES: usize = 4096;
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Which store.
#[derive(Clone)]
pub(crate) enum Ground {
    /// SQLite, in the bench's own folder.
    Sqlite,
    /// A new database of this PostgreSQL server.
    Postgres(Url),
}

impl Ground {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}

/// A server and a simulator of their own.
pub(crate) struct Bench {
    folder: TempDir,
    store_url: String,
    listen: u16,
    control: String,
    pub(crate) client: Client,
    /// What the simulator says of itself.
    pub(crate) facts: Value,
    server: Option<Process>,
    _simulator: Process,
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Bench {
    pub(crate) async fn start(ground: &Ground, mailboxes: usize, latency_ms: u64) -> anyhow::Result<Self> {
        let mut bench = Self::prepare(ground, mailboxes, latency_ms, "activation").await?;
        bench.serve()?;
        Ok(bench)
    }

    /// All but the server; mails are taken from `take_from` on.
    pub(crate) async fn prepare(
        ground: &Ground,
        mailboxes: usize,
        latency_ms: u64,
        take_from: &str,
    ) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix_in("postroom-bench-", env!("CARGO_TARGET_TMPDIR"))?;
        let ready = folder.path().join("simulator.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command
            .args(["sim", "--allow-http-loopback", "--latency-ms", &latency_ms.to_string(), "--ready"])
            .arg(&ready);
        for mailbox in 0..mailboxes {
            command.args(["--mailbox", &address(mailbox)]);
        }
        let simulator = spawn(&mut command, &folder.path().join("simulator.log"))?;
        let facts = wait_for(&ready).await?;
        let store_url = match ground {
            Ground::Sqlite => format!("sqlite:{}", folder.path().join("postroom.db").display()),
            Ground::Postgres(server) => make_database(server).await?,
        };
        let listen = free_port()?;
        let organization = folder.path().join("organization.yaml");
        std::fs::write(&organization, organization_text(&facts, mailboxes, take_from))?;
        let bench = Self {
            store_url,
            listen,
            control: facts["control"].as_str().context("a control address")?.to_owned(),
            client: Client::new(),
            server: None,
            _simulator: simulator,
            folder,
            facts,
        };
        let applied = bench.postroom(&["apply", &organization.display().to_string()]).output()?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        Ok(bench)
    }

    pub(crate) fn serve(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("server.log");
        self.server = Some(spawn(&mut self.postroom(&["serve"]), &log)?);
        Ok(())
    }

    fn postroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
        command
            .args(arguments)
            .env("POSTROOM_STORE_URL", &self.store_url)
            .env("POSTROOM_STORE_BLOBS", self.folder.path().join("blobs"))
            .env("POSTROOM_KEYS_FILE", self.folder.path().join("keys"))
            .env("POSTROOM_SERVER_LISTEN", format!("127.0.0.1:{}", self.listen))
            .env("POSTROOM_SERVER_PUBLIC_URL", format!("http://127.0.0.1:{}", self.listen))
            .env("POSTROOM_LOG_FILTER", "warn")
            .env("BENCH_SECRET", SECRET);
        command
    }

    /// Waits until every mailbox has its subscription and nothing more is asked. Gives the
    /// number of requests until then.
    pub(crate) async fn connected(&self, mailboxes: usize) -> anyhow::Result<u64> {
        let mut before = 0;
        for _ in 0..(PATIENCE.as_millis() / 500) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let figures = self.get("/v1/figures").await?;
            let total = number(&figures["total"]);
            if number(&figures["by_kind"]["subscription.create"]) >= mailboxes as u64 && total == before {
                return Ok(total);
            }
            before = total;
        }
        anyhow::bail!("the server did not connect its mailboxes; see {}", self.log())
    }

    /// Waits until so many mails were marked read.
    pub(crate) async fn until_read(&self, mails: u64) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            let figures = self.get("/v1/figures").await?;
            if number(&figures["by_kind"]["message.patch"]) >= mails {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        anyhow::bail!("the mails were not taken in time; see {}", self.log())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    pub(crate) async fn requests(&self) -> anyhow::Result<Value> {
        self.get("/v1/requests").await
    }

    pub(crate) async fn reset(&self) -> anyhow::Result<()> {
        self.client.delete(format!("{}/v1/requests", self.control)).send().await?.error_for_status()?;
        Ok(())
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self
            .client
            .get(format!("{}{path}", self.control))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?)
    }

    pub(crate) async fn put(&self, path: &str, content: &Value) -> anyhow::Result<()> {
        let request = self.client.put(format!("{}{path}", self.control)).json(content);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    pub(crate) async fn post(&self, path: &str, content: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.control)).json(content);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Puts short mails into a mailbox that were there before; nobody is told.
    pub(crate) async fn fill(&self, address: &str, mails: usize) -> anyhow::Result<()> {
        let url = format!("{}/v1/mailboxes/{address}/fill/{mails}", self.control);
        self.client.post(url).send().await?.error_for_status()?;
        Ok(())
    }

    pub(crate) async fn post_mail(&self, path: &str, mail: Vec<u8>) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.control)).body(mail);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// When each mail of the ledger came into its queue, by its id in the mailbox.
    pub(crate) fn queued(&self) -> anyhow::Result<BTreeMap<String, Option<Timestamp>>> {
        let output = self.postroom(&["ledger", "--json"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut queued = BTreeMap::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let row: Value = serde_json::from_str(line)?;
            let at = row["queued_at"].as_str().map(str::parse).transpose()?;
            queued.insert(row["graph_id"].as_str().unwrap_or_default().to_owned(), at);
        }
        Ok(queued)
    }

    /// From delivery to "in queue" for each mail, in milliseconds, sorted.
    pub(crate) fn delays(&self, sent: &[(String, Timestamp)]) -> anyhow::Result<Vec<f64>> {
        let queued = self.queued()?;
        let mut delays = Vec::new();
        for (id, at) in sent {
            let queued = queued.get(id).copied().flatten().context("a mail is not in its queue")?;
            delays.push(queued.duration_since(*at).as_secs_f64() * 1000.0);
        }
        delays.sort_by(f64::total_cmp);
        Ok(delays)
    }

    /// How many mails stand in their queue: one line, read beside the running server.
    pub(crate) async fn count_queued(&self) -> anyhow::Result<u64> {
        let config = match self.store_url.strip_prefix("sqlite:") {
            Some(path) => DbConfig::Sqlite { path: path.into(), mode: SqliteMode::Threads { readers: 1 } },
            None => DbConfig::Postgres {
                url: SecretString::from(self.store_url.as_str()),
                max_connections: 1,
                ca_file: None,
            },
        };
        let db = Db::open(&config).await?;
        let counts = messages::list_state_counts(&db).await?;
        db.close().await;
        let routed = counts.iter().find(|row| row.state == MessageState::Routed);
        Ok(routed.map_or(0, |row| u64::try_from(row.count).unwrap_or_default()))
    }

    pub(crate) fn peak_rss_mb(&self) -> anyhow::Result<f64> {
        let server = self.server.as_ref().context("a server")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("a peak of memory")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        Ok(kilobytes / 1024.0)
    }
}

fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Process> {
    let log = File::create(log)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(Process(child))
}

async fn wait_for(path: &Path) -> anyhow::Result<Value> {
    for _ in 0..200 {
        if let Ok(text) = std::fs::read(path) {
            return Ok(serde_json::from_slice(&text)?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} did not appear", path.display())
}

async fn make_database(server: &Url) -> anyhow::Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("postroom_bench_{}_{number}", std::process::id());
    let config =
        DbConfig::Postgres { url: SecretString::from(server.as_str()), max_connections: 1, ca_file: None };
    let db = Db::open(&config).await?;
    let sql: &'static str = format!("CREATE DATABASE {name}").leak();
    db.apply(vec![Stmt::new(sql, Vec::new())]).await?;
    db.close().await;
    let mut url = server.clone();
    url.set_path(&name);
    Ok(url.into())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(crate) fn address(mailbox: usize) -> String {
    format!("box{mailbox}@contoso.example")
}

fn organization_text(facts: &Value, mailboxes: usize, take_from: &str) -> String {
    let text = |name: &str| facts[name].as_str().unwrap_or_default();
    let each = |line: &dyn Fn(usize) -> String| (0..mailboxes).map(line).collect::<String>();
    format!(
        "organization: {{ name: Bench, languages: [en] }}\n\
         integrations:\n  - name: bench\n    kind: microsoft-graph\n    token_endpoint: {}\n    client_id: {}\n    \
         cloud: global\n    graph_url: {}\n    credentials:\n      - {{ name: only, secret: \"env:BENCH_SECRET\" }}\n    \
         mailboxes:\n{}domains:\n  - {{ name: contoso.example, kind: inbound, integration: bench }}\n\
         routes:\n{}queues:\n  - {{ name: All }}\n",
        text("token_endpoint"),
        text("client_id"),
        text("http"),
        each(&|mailbox| format!("      - {{ address: {}, take_from: {take_from} }}\n", address(mailbox))),
        each(&|mailbox| format!("  - {{ address: {}, queue: All }}\n", address(mailbox))),
    )
}

pub(crate) fn mail(word: &str) -> Vec<u8> {
    let received = effects::system_clock().now().strftime("%a, %d %b %Y %H:%M:%S +0000");
    let mut mail = format!(
        "Received: from mx.customer.example by mx.contoso.example; {received}\r\n\
         From: Ann <ann@customer.example>\r\nTo: box@contoso.example\r\nSubject: {word}\r\n\
         Message-ID: <{word}@customer.example>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    );
    while mail.len() < MAIL_BYTES {
        mail.push_str("The quick brown fox writes to support about its lazy printer.\r\n");
    }
    mail.into_bytes()
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

pub(crate) fn time(value: &Value) -> anyhow::Result<Timestamp> {
    Ok(value.as_str().context("a time")?.parse()?)
}

pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
