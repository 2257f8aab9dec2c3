//! `cargo xtask bench ingest`: how fast mails get from the mailbox into a queue.
//!
//! The server and the simulator run as real processes of the release build; the
//! figures come from the simulator's own log and from the ledger, never from a
//! poll of this program. Mails have 4 kB.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use jiff::Timestamp;
use postroom_store::{Db, DbConfig, Stmt};
use reqwest::Client;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

/// Measures mails per second, requests per mail, delay and memory.
#[derive(Parser)]
struct Options {
    /// Where to write the rows as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A PostgreSQL server on which databases may be made.
    #[arg(long, env = "POSTROOM_TEST_POSTGRES")]
    postgres: Option<Url>,
    /// Only this store: sqlite or postgres.
    #[arg(long)]
    store: Option<String>,
    /// Only this number of mailboxes.
    #[arg(long)]
    mailboxes: Option<usize>,
    /// Only this latency in milliseconds.
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

const BURST: usize = 500;
const SINGLES: usize = 200;
const MAIL_BYTES: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Serialize)]
struct Row {
    store: &'static str,
    mailboxes: usize,
    latency_ms: u64,
    mails: usize,
    mails_per_s: f64,
    requests_per_mail: f64,
    setup_requests: u64,
    max_in_flight: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    peak_rss_mb: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    println!("store     mailboxes  latency  mails/s  req/mail  set-up  in flight    p50    p95    p99   RSS");
    println!(
        "                          ms                                            ms     ms     ms    MB"
    );
    let mut rows = Vec::new();
    for store in ["sqlite", "postgres"] {
        for mailboxes in [1, 50] {
            for latency_ms in [0, 50, 200] {
                let wanted = options.store.as_deref().is_none_or(|only| only == store)
                    && options.mailboxes.is_none_or(|only| only == mailboxes)
                    && options.latency_ms.is_none_or(|only| only == latency_ms);
                if !wanted {
                    continue;
                }
                let row = measure(store, options.postgres.as_ref(), mailboxes, latency_ms).await?;
                println!(
                    "{:<9} {:>9} {:>8} {:>8.1} {:>9.3} {:>7} {:>10} {:>6.1} {:>6.1} {:>6.1} {:>5.0}",
                    row.store,
                    row.mailboxes,
                    row.latency_ms,
                    row.mails_per_s,
                    row.requests_per_mail,
                    row.setup_requests,
                    row.max_in_flight,
                    row.p50_ms,
                    row.p95_ms,
                    row.p99_ms,
                    row.peak_rss_mb,
                );
                rows.push(row);
            }
        }
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&json!({ "rows": rows }))?)?;
    }
    Ok(())
}

async fn measure(
    store: &'static str,
    postgres: Option<&Url>,
    mailboxes: usize,
    latency_ms: u64,
) -> anyhow::Result<Row> {
    let bench = Bench::start(store, postgres, mailboxes, latency_ms).await?;
    let setup_requests = bench.connected(mailboxes).await?;

    bench.reset().await?;
    let per_mailbox = BURST / mailboxes;
    let mut begun: Option<Timestamp> = None;
    for mailbox in 0..mailboxes {
        let mails: Vec<String> =
            (0..per_mailbox).map(|number| STANDARD.encode(mail(&format!("b{number}")))).collect();
        let path = format!("/v1/mailboxes/{}/burst", address(mailbox));
        let answer = bench.post(&path, &json!({ "mails": mails })).await?;
        let at = time(&answer["at"])?;
        begun = Some(begun.map_or(at, |first| first.min(at)));
    }
    let begun = begun.context("a burst was delivered")?;
    let requests = bench.until_read(BURST as u64).await?;
    let ended = last_read_flag(&requests)?;
    // The delta round that follows a burst belongs to its mails too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let requests = bench.requests().await?;
    let total = number(&requests["total"]) - number(&requests["setup"]);
    let max_in_flight = number(&requests["max_in_flight"]);

    bench.reset().await?;
    let mut sent = Vec::new();
    for single in 0..SINGLES {
        let path = format!("/v1/mailboxes/{}/messages", address(single % mailboxes));
        let answer = bench.post_mail(&path, mail(&format!("s{single}"))).await?;
        sent.push((answer["id"].as_str().unwrap_or_default().to_owned(), time(&answer["at"])?));
        bench.until_read(single as u64 + 1).await?;
    }
    let delays = bench.delays(&sent)?;
    let peak_rss_mb = bench.peak_rss_mb()?;
    Ok(Row {
        store,
        mailboxes,
        latency_ms,
        mails: BURST,
        mails_per_s: BURST as f64 / ended.duration_since(begun).as_secs_f64(),
        requests_per_mail: total as f64 / BURST as f64,
        setup_requests,
        max_in_flight,
        p50_ms: percentile(&delays, 0.50),
        p95_ms: percentile(&delays, 0.95),
        p99_ms: percentile(&delays, 0.99),
        peak_rss_mb,
    })
}

/// A server and a simulator of their own.
struct Bench {
    folder: TempDir,
    store_url: String,
    listen: u16,
    control: String,
    client: Client,
    server: Process,
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
    async fn start(
        store: &str,
        postgres: Option<&Url>,
        mailboxes: usize,
        latency_ms: u64,
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
        let store_url = match (store, postgres) {
            ("sqlite", _) => format!("sqlite:{}", folder.path().join("postroom.db").display()),
            (_, Some(server)) => make_database(server).await?,
            _ => anyhow::bail!("--postgres URL or POSTROOM_TEST_POSTGRES must name a PostgreSQL server"),
        };
        let listen = free_port()?;
        let organization = folder.path().join("organization.yaml");
        std::fs::write(&organization, organization_text(&facts, mailboxes))?;
        let mut bench = Self {
            store_url,
            listen,
            control: facts["control"].as_str().context("a control address")?.to_owned(),
            client: Client::new(),
            server: Process(Command::new("true").spawn()?),
            _simulator: simulator,
            folder,
        };
        let applied = bench.postroom(&["apply", &organization.display().to_string()]).output()?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        bench.server = spawn(&mut bench.postroom(&["serve"]), &bench.folder.path().join("server.log"))?;
        Ok(bench)
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
            .env("BENCH_SECRET", "sample~secret-of-the-simulator");
        command
    }

    /// Waits until every mailbox has its subscription and nothing more is asked. Gives the
    /// number of requests until then.
    async fn connected(&self, mailboxes: usize) -> anyhow::Result<u64> {
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

    /// Waits until so many mails were marked read, and gives the log.
    async fn until_read(&self, mails: u64) -> anyhow::Result<Value> {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            let figures = self.get("/v1/figures").await?;
            if number(&figures["by_kind"]["message.patch"]) >= mails {
                return if mails == BURST as u64 { self.requests().await } else { Ok(figures) };
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        anyhow::bail!("the mails were not taken in time; see {}", self.log())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    async fn requests(&self) -> anyhow::Result<Value> {
        self.get("/v1/requests").await
    }

    async fn reset(&self) -> anyhow::Result<()> {
        self.client.delete(format!("{}/v1/requests", self.control)).send().await?.error_for_status()?;
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self
            .client
            .get(format!("{}{path}", self.control))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?)
    }

    async fn post(&self, path: &str, content: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.control)).json(content);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    async fn post_mail(&self, path: &str, mail: Vec<u8>) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.control)).body(mail);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// From delivery to "in queue" for each mail, in milliseconds, sorted.
    fn delays(&self, sent: &[(String, Timestamp)]) -> anyhow::Result<Vec<f64>> {
        let output = self.postroom(&["ledger", "--json"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut queued = std::collections::BTreeMap::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let row: Value = serde_json::from_str(line)?;
            queued.insert(row["graph_id"].as_str().unwrap_or_default().to_owned(), row["queued_at"].clone());
        }
        let mut delays = Vec::new();
        for (id, at) in sent {
            let queued = queued.get(id).context("a mail is missing in the ledger")?;
            delays.push(time(queued)?.duration_since(*at).as_secs_f64() * 1000.0);
        }
        delays.sort_by(f64::total_cmp);
        Ok(delays)
    }

    fn peak_rss_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.0.id()))?;
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

fn address(mailbox: usize) -> String {
    format!("box{mailbox}@contoso.example")
}

fn organization_text(facts: &Value, mailboxes: usize) -> String {
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
        each(&|mailbox| format!("      - {{ address: {} }}\n", address(mailbox))),
        each(&|mailbox| format!("  - {{ address: {}, queue: All }}\n", address(mailbox))),
    )
}

fn mail(word: &str) -> Vec<u8> {
    let mut mail = format!(
        "From: Ann <ann@customer.example>\r\nTo: box@contoso.example\r\nSubject: {word}\r\n\
         Message-ID: <{word}@customer.example>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    );
    while mail.len() < MAIL_BYTES {
        mail.push_str("The quick brown fox writes to support about its lazy printer.\r\n");
    }
    mail.into_bytes()
}

fn last_read_flag(requests: &Value) -> anyhow::Result<Timestamp> {
    let log = requests["log"].as_array().context("a log of requests")?;
    let flags = log.iter().filter(|request| request["kind"] == "message.patch" && request["status"] == 200);
    flags.map(|request| time(&request["time"])).try_fold(Timestamp::MIN, |last, at| Ok(last.max(at?)))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn time(value: &Value) -> anyhow::Result<Timestamp> {
    Ok(value.as_str().context("a time")?.parse()?)
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
