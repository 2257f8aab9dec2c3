//! `cargo xtask bench simulator`: what the simulator costs by itself.
//!
//! It runs as a process of the release build, pinned to one core by `taskset`;
//! requests a second of its core come from the processor time that it used, so that
//! a busy machine does not count.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures_util::future::try_join_all;
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// Measures start, requests a second and memory.
#[derive(Parser)]
struct Options {
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

const STARTS: usize = 5;
const CALLERS: usize = 16;
const LOAD: Duration = Duration::from_secs(5);
const MAILBOXES: usize = 1000;
const MAILS: usize = 100;
/// Processor time in `/proc` is counted in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Serialize)]
struct Figures {
    /// From the start to the ready file, all keys made anew; the median.
    start_ms: f64,
    /// The same with keys that were kept.
    start_with_kept_keys_ms: f64,
    /// Requests for each second of its one core.
    requests_per_core_s: f64,
    /// Requests for each second by the clock.
    requests_per_s: f64,
    /// Memory of 1,000 mailboxes with 100 mails each.
    memory_mb: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let folder = TempDir::with_prefix_in("postroom-bench-", env!("CARGO_TARGET_TMPDIR"))?;
    let start_ms = start_time(folder.path(), None)?;
    let state = folder.path().join("state");
    start_time(folder.path(), Some(&state))?;
    let start_with_kept_keys_ms = start_time(folder.path(), Some(&state))?;
    let (requests_per_core_s, requests_per_s) = load(folder.path()).await?;
    let memory_mb = memory(folder.path()).await?;
    let figures =
        Figures { start_ms, start_with_kept_keys_ms, requests_per_core_s, requests_per_s, memory_mb };
    println!("start, keys made             {start_ms:>8.0} ms");
    println!("start, keys kept             {start_with_kept_keys_ms:>8.0} ms");
    println!("requests for a core's second {requests_per_core_s:>8.0}");
    println!("requests a second            {requests_per_s:>8.0}");
    println!("{MAILBOXES} mailboxes x {MAILS} mails   {memory_mb:>8.0} MB");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&json!(figures))?)?;
    }
    Ok(())
}

/// A simulator, killed when dropped.
struct Simulator {
    child: Child,
    facts: Value,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Simulator {
    fn start(folder: &Path, options: &[String]) -> anyhow::Result<Self> {
        let ready = folder.join("ready.json");
        if ready.exists() {
            std::fs::remove_file(&ready)?;
        }
        let child = Command::new("taskset")
            .args(["-c", "0", env!("CARGO_BIN_EXE_postroom"), "sim", "--ready"])
            .arg(&ready)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("`taskset` can't be started; it is in Debian's util-linux")?;
        let mut simulator = Self { child, facts: Value::Null };
        for _ in 0..20_000 {
            if let Ok(text) = std::fs::read(&ready) {
                simulator.facts = serde_json::from_slice(&text)?;
                return Ok(simulator);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        anyhow::bail!("the simulator is not up")
    }

    fn fact(&self, name: &str) -> anyhow::Result<String> {
        self.facts[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"))
    }

    /// Processor time that it used, in seconds.
    fn processor_s(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(')').context("a line of processor time")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
    }

    fn memory_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a line of memory")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        Ok(kilobytes / 1024.0)
    }
}

fn start_time(folder: &Path, state: Option<&Path>) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let options: Vec<String> =
            state.map(|state| vec!["--state".into(), state.display().to_string()]).unwrap_or_default();
        let begun = Instant::now();
        let _simulator = Simulator::start(folder, &options)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    times.get(STARTS / 2).copied().context("a median")
}

/// Simple requests: the newest mail of a mailbox, its id and subject. Answers how many came for each
/// second of the core, and of the clock.
async fn load(folder: &Path) -> anyhow::Result<(f64, f64)> {
    let options: Vec<String> =
        (0..CALLERS).flat_map(|number| ["--mailbox".into(), address(number)]).collect();
    let throttle = ["--switch".to_owned(), "throttle.requests=4000000000".to_owned()];
    let simulator = Simulator::start(folder, &[options, throttle.to_vec()].concat())?;
    let client = Client::new();
    let (control, graph) = (simulator.fact("control")?, simulator.fact("http")?);
    for number in 0..CALLERS {
        let path = format!("{control}/v1/mailboxes/{}/fill/10", address(number));
        client.post(path).send().await?.error_for_status()?;
    }
    let token = token(&client, &simulator).await?;
    let (before, begun) = (simulator.processor_s()?, Instant::now());
    let callers = (0..CALLERS).map(|number| {
        let (client, token) = (client.clone(), token.clone());
        let url = format!("{graph}/v1.0/users/{}/messages?$top=1&$select=id,subject", address(number));
        async move {
            let mut done = 0_u64;
            while begun.elapsed() < LOAD {
                let answer = client.get(&url).bearer_auth(&token).send().await?.error_for_status()?;
                ensure!(!answer.bytes().await?.is_empty(), "an empty answer");
                done += 1;
            }
            anyhow::Ok(done)
        }
    });
    let done: u64 = try_join_all(callers).await?.into_iter().sum();
    let elapsed = begun.elapsed().as_secs_f64();
    Ok((done as f64 / (simulator.processor_s()? - before), done as f64 / elapsed))
}

async fn memory(folder: &Path) -> anyhow::Result<f64> {
    let options: Vec<String> =
        (0..MAILBOXES).flat_map(|number| ["--mailbox".into(), address(number)]).collect();
    let simulator = Simulator::start(folder, &options)?;
    let (client, control) = (Client::new(), simulator.fact("control")?);
    for number in 0..MAILBOXES {
        let path = format!("{control}/v1/mailboxes/{}/fill/{MAILS}", address(number));
        client.post(path).send().await?.error_for_status()?;
    }
    simulator.memory_mb()
}

async fn token(client: &Client, simulator: &Simulator) -> anyhow::Result<String> {
    let (client_id, secret) = (simulator.fact("client_id")?, simulator.fact("client_secret")?);
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_id", &client_id),
        ("client_secret", &secret),
    ];
    let answer = client.post(simulator.fact("token_endpoint")?).form(&form).send().await?;
    let token: Value = answer.error_for_status()?.json().await?;
    token["access_token"].as_str().map(str::to_owned).context("no token")
}

fn address(number: usize) -> String {
    format!("box{number}@contoso.example")
}
