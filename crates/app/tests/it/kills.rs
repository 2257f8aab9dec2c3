//! Real processes: the server is killed with SIGKILL at random moments, sending
//! included, on both stores. Nothing is lost, nothing is taken twice, and each reply
//! leaves once. Ten seeds on PostgreSQL add faults of Microsoft and the whole law of
//! the fault simulation.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use postroom_model::ledger::Step;
use postroom_store::{Db, DbConfig, messages, testing::PostgresDatabase, testing::skip, trace};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use reqwest::{Client, StatusCode, header::COOKIE};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real_mail::mails;

const SUPPORT: &str = "support@contoso.example";
/// Where the mails arrive that nobody answers.
const OTHER: &str = "other@contoso.example";
const ADDRESSES: [&str; 5] =
    [SUPPORT, OTHER, "sales@contoso.example", "billing@contoso.example", "info@contoso.example"];
const AGENT: &str = "agent@contoso.example";
const PASSWORD: &str = "a good long password";
const SECRET: &str = "sample~secret-of-the-simulator";
/// How often the server is killed while mails come, and while replies leave.
const KILLS: usize = 6;
/// How many mails are answered.
const ANSWERED: usize = 12;
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
struct Pair {
    folder: TempDir,
    store_url: String,
    port: u16,
    control: String,
    client: Client,
    random: SmallRng,
    cookie: String,
    server: Option<Process>,
    _simulator: Process,
}

impl Pair {
    async fn start(store_url: Option<String>, seed: u64) -> anyhow::Result<Self> {
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

    fn postroom(&self) -> Command {
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

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs a command beside the server and gives what it printed.
    fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let stdin = self.folder.path().join("stdin");
        std::fs::write(&stdin, input)?;
        let output = self.postroom().args(arguments).stdin(File::open(stdin)?).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("server.log");
        self.server = Some(Process::spawn(self.postroom().arg("serve"), &log)?);
        Ok(())
    }

    /// SIGKILL after a random time, then a new process on the same store.
    async fn kill_within(&mut self, milliseconds: u64) -> anyhow::Result<()> {
        let wait = self.random.random_range(0..milliseconds);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        self.server = None;
        self.serve()
    }

    async fn until(
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

    async fn control(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.control)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn switch(&self, name: &str, value: &Value) -> anyhow::Result<()> {
        let url = format!("{}/v1/switches/{name}", self.control);
        self.client.put(url).json(value).send().await?.error_for_status()?;
        Ok(())
    }

    async fn deliver(&self, to: &str, mime: Vec<u8>) -> anyhow::Result<String> {
        let url = format!("{}/v1/mailboxes/{to}/messages", self.control);
        let answer: Value = self.client.post(url).body(mime).send().await?.error_for_status()?.json().await?;
        Ok(answer["id"].as_str().context("an id")?.to_owned())
    }

    fn ledger(&self) -> anyhow::Result<Vec<Value>> {
        let text = self.run(&["ledger", "--json"], "")?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Sends a form as the agent; nothing if the server was not there.
    async fn form(&self, path: &str, form: &[(&str, &str)]) -> Option<reqwest::Response> {
        let request = self.client.post(format!("{}{path}", self.base()));
        request.header(COOKIE, &self.cookie).form(form).send().await.ok()
    }

    async fn sign_in(&mut self) -> anyhow::Result<()> {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each mail stands in the ledger once, routed, with its bytes, and is read in the mailbox.
async fn assert_taken(pair: &mut Pair, delivered: &BTreeMap<String, String>) -> anyhow::Result<()> {
    pair.until("every mail is read and routed", async |pair| {
        let rows = pair.ledger()?;
        let done = |row: &&Value| row["state"] == "routed" && row["marked_read"] == true;
        Ok(rows.iter().filter(done).count() >= delivered.len())
    })
    .await?;
    let rows = pair.ledger()?;
    ensure!(rows.len() == delivered.len(), "{} rows for {} mails", rows.len(), delivered.len());
    for row in rows {
        let id = row["graph_id"].as_str().unwrap_or_default();
        let sha256 = delivered.get(id).with_context(|| format!("{id} was never delivered"))?;
        ensure!(row["sha256"] == *sha256.as_str(), "{id} has other bytes");
    }
    for address in ADDRESSES {
        let messages = pair.control(&format!("/v1/mailboxes/{address}/messages")).await?;
        let messages = messages["messages"].as_array().context("messages")?;
        let unread = messages.iter().filter(|m| m["folder"] == "inbox" && m["is_read"] == false).count();
        ensure!(unread == 0, "{unread} mails in {address} are not marked read");
    }
    Ok(())
}

/// Answers mails while the server is killed; every reply that was accepted leaves once.
async fn assert_answered(pair: &mut Pair) -> anyhow::Result<()> {
    let rows = pair.ledger()?;
    let mut conversations: Vec<String> = Vec::new();
    for row in &rows {
        let answerable = row["internet_message_id"].as_str().is_some_and(|id| id.ends_with("@kills.example"));
        let conversation = row["conversation_id"].as_str().unwrap_or_default().to_owned();
        if answerable && !conversations.contains(&conversation) {
            conversations.push(conversation);
        }
    }
    ensure!(conversations.len() == ANSWERED, "{} conversations can be answered", conversations.len());
    let mut accepted = Vec::new();
    for (number, id) in conversations.iter().enumerate() {
        let word = format!("reply-{number}-of-this-test");
        let path = format!("/desk/conversations/{id}");
        let mut tries = 0;
        pair.until("the reply is in the outbox", async |pair| {
            // The alert may have timed out, or been answered just before a kill.
            pair.form("/desk/status", &[("status", "on_queue")]).await;
            pair.form(&format!("{path}/accept"), &[]).await;
            tries += 1;
            let text = format!("{word}-{tries}-end");
            let answer = pair.form(&format!("{path}/reply"), &[("text", &text)]).await;
            let taken = answer.is_some_and(|answer| answer.status() == StatusCode::SEE_OTHER);
            if taken {
                accepted.push(text);
            }
            Ok(taken)
        })
        .await?;
        if number % 2 == 0 {
            pair.kill_within(250).await?;
        }
    }
    pair.until("every reply has left", async |pair| Ok(sent(pair).await?.len() >= accepted.len())).await?;
    // What might still leave a second time would do so now.
    pair.kill_within(10).await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let sent = sent(pair).await?;
    for text in &accepted {
        let times = sent.iter().filter(|mail| mail.contains(text.as_str())).count();
        ensure!(times == 1, "{text} left {times} times");
    }
    Ok(())
}

/// The texts of what the customers received.
async fn sent(pair: &Pair) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for number in 0..ANSWERED {
        let received = pair.control(&format!("/v1/outside/c{number}@kills.example")).await?;
        for mail in received["messages"].as_array().context("messages")? {
            let mime = STANDARD.decode(mail.as_str().unwrap_or_default())?;
            texts.push(postroom_mail::parse(&mime).text);
        }
    }
    Ok(texts)
}

async fn story(test: &str, store_url: Option<String>, seed: u64) -> anyhow::Result<()> {
    let mut pair = Pair::start(store_url, seed).await?;
    let mut mimes: Vec<(&str, Vec<u8>)> =
        mails(test).unwrap_or_default().into_iter().map(|(_, mime)| (OTHER, mime)).collect();
    for number in 0..ANSWERED {
        let mail = format!(
            "From: C{number} <c{number}@kills.example>\r\nTo: {SUPPORT}\r\nSubject: Number {number}\r\n\
             Message-ID: <{number}@kills.example>\r\n\r\nPlease answer.\r\n"
        );
        mimes.push((SUPPORT, mail.into_bytes()));
    }
    let piece = mimes.len().div_ceil(KILLS);
    let mut delivered = BTreeMap::new();
    for mimes in mimes.chunks(piece) {
        for (to, mime) in mimes {
            let sha256 = hex(digest(&SHA256, mime).as_ref());
            delivered.insert(pair.deliver(to, mime.clone()).await?, sha256);
        }
        pair.kill_within(1500).await?;
    }
    assert_taken(&mut pair, &delivered).await?;
    pair.sign_in().await?;
    assert_answered(&mut pair).await
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_send_nothing_twice_on_sqlite() -> anyhow::Result<()> {
    story("kills_on_sqlite", None, 1).await
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_send_nothing_twice_on_postgres() -> anyhow::Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        skip("kills_on_postgres", "POSTROOM_TEST_POSTGRES names no PostgreSQL server");
        return Ok(());
    };
    let DbConfig::Postgres { url, .. } = database.config(1) else { anyhow::bail!("a PostgreSQL database") };
    story("kills_on_postgres", Some(url.expose_secret().to_owned()), 2).await?;
    database.drop().await;
    Ok(())
}

/// What Microsoft does meanwhile: a switch, its value, and how it rests.
fn faults() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("notify.loss_rate", json!(0.5), json!(0.0)),
        ("notify.loss_rate", json!(1.0), json!(0.0)),
        ("notify.duplicate_rate", json!(0.7), json!(0.0)),
        ("notify.jitter_ms", json!(3000), json!(0)),
        ("notify.outage", json!(true), json!(false)),
        ("throttle.rate", json!(0.2), json!(0.0)),
        ("error.rate", json!(0.3), json!(0.0)),
        ("store.replication_lag_ms", json!(1500), json!(0)),
        ("delta.expire_rate", json!(0.3), json!(0.0)),
        ("delta.replay", json!(0.5), json!(0.0)),
        ("sub.silent_death", json!(true), json!(false)),
        ("sub.error_rate", json!(0.5), json!(0.0)),
        ("sts.error_rate", json!(0.5), json!(0.0)),
        ("token.revoke", json!(true), json!(false)),
    ]
}

/// Mails come to five mailboxes while the server is killed and Microsoft has faults. Afterwards each
/// is in the ledger once, routed and read, with its bytes and every step of its story.
async fn seeded(seed: u64) -> anyhow::Result<()> {
    const ROUNDS: usize = 4;
    const MAILS: usize = 60;
    let database = PostgresDatabase::create().await.context("a PostgreSQL server")?;
    let DbConfig::Postgres { url, .. } = database.config(1) else { anyhow::bail!("a PostgreSQL database") };
    let mut pair = Pair::start(Some(url.expose_secret().to_owned()), seed).await?;
    let faults = faults();
    let mut delivered = BTreeMap::new();
    for round in 0..ROUNDS {
        let (name, value, rest) = &faults[pair.random.random_range(0..faults.len())];
        pair.switch(name, value).await?;
        for number in 0..MAILS / ROUNDS {
            let to = ADDRESSES[pair.random.random_range(0..ADDRESSES.len())];
            let mail = format!(
                "From: Ann <ann{round}.{number}@kills.example>\r\nTo: {to}\r\nSubject: Mail {number} of {round}\r\n\
                 Message-ID: <{round}.{number}@kills.example>\r\n\r\nSeed {seed}.\r\n"
            );
            let sha256 = hex(digest(&SHA256, mail.as_bytes()).as_ref());
            delivered.insert(pair.deliver(to, mail.into_bytes()).await?, sha256);
        }
        pair.kill_within(4000).await?;
        pair.switch(name, rest).await?;
    }
    assert_taken(&mut pair, &delivered).await?;
    let figures = pair.control("/v1/figures").await?;
    ensure!(figures["violations"] == 0, "Microsoft was asked for more than it allows: {figures}");
    let db = Db::open(&database.config(1)).await?;
    for row in messages::list_after(&db, None, 1000).await? {
        let story = trace::list_of_message(&db, row.id).await?;
        for step in [Step::Seen, Step::Stored, Step::AfterTaking, Step::Parsed, Step::Threaded] {
            let times = story.iter().filter(|entry| entry.step == step).count();
            ensure!(times == 1, "{} has the step {step} {times} times", row.graph_id);
        }
    }
    db.close().await;
    drop(pair);
    database.drop().await;
    Ok(())
}

#[tokio::test]
async fn ten_seeds_of_kills_and_faults_keep_every_law_on_postgres() -> anyhow::Result<()> {
    /// Each waits most of its time for its node's leases to run out.
    const AT_ONCE: usize = 5;
    if std::env::var_os("POSTROOM_TEST_POSTGRES").is_none() {
        skip("kills_with_seeds", "POSTROOM_TEST_POSTGRES names no PostgreSQL server");
        return Ok(());
    }
    let runs =
        stream::iter(0..10).map(async |seed| seeded(seed).await.with_context(|| format!("seed {seed}")));
    let verdicts: Vec<()> = runs.buffer_unordered(AT_ONCE).try_collect().await?;
    ensure!(verdicts.len() == 10, "{} seeds ran", verdicts.len());
    Ok(())
}

#[tokio::test]
async fn a_second_server_on_the_same_store_refuses_in_one_line() -> anyhow::Result<()> {
    let pair = Pair::start(None, 3).await?;
    let second = pair.postroom().arg("serve").env("POSTROOM_SERVER_LISTEN", "127.0.0.1:0").output()?;
    let said = String::from_utf8(second.stderr)?;
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("serves the store") && said.trim().lines().count() == 1, "{said}");
    let ledger: Value = json!(pair.ledger()?);
    assert_eq!(ledger, json!([]));
    Ok(())
}
