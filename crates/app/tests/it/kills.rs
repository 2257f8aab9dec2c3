//! Real processes: the server is killed with SIGKILL at random moments, sending
//! included, on both stores. Nothing is lost, nothing is taken twice, and each reply
//! leaves once. Ten seeds on PostgreSQL add faults of Microsoft and the whole law of
//! the fault simulation.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use postroom_model::ledger::Step;
use postroom_store::{Db, DbConfig, messages, testing::PostgresDatabase, testing::skip, trace};
use rand::RngExt as _;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    pair::{ADDRESSES, OTHER, Pair, SUPPORT},
    real_mail::mails,
};

/// How often the server is killed while mails come, and while replies leave.
const KILLS: usize = 6;
/// How many mails are answered.
const ANSWERED: usize = 12;
pub(crate) fn hex(bytes: &[u8]) -> String {
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
