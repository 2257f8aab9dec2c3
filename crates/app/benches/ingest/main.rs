//! `cargo xtask bench ingest`: how mails get from the mailbox into a queue.
//!
//! The server and the simulator run as real processes of the release build; the
//! figures come from the simulator's own log and from the ledger, never from a
//! poll of this program. Mails have 4 kB, those of the backlog are short.

mod backlog;
mod burst;
mod flood;
mod harness;
mod minute;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde_json::{Map, Value, json};
use url::Url;

use harness::Ground;

/// Measures mails per second, requests per mail, delay and memory.
#[derive(Parser)]
struct Options {
    /// Where to write the rows as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A PostgreSQL server on which databases may be made.
    #[arg(long, env = "POSTROOM_TEST_POSTGRES")]
    postgres: Option<Url>,
    /// Only this part.
    #[arg(long)]
    part: Option<Part>,
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

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Five hundred mails at once, then single ones.
    Burst,
    /// A mail a second for each of 300 and of 1,000 mailboxes.
    Minute,
    /// Two thousand notifications a second while nothing can be fetched.
    Flood,
    /// A hundred thousand mails that were there before.
    Backlog,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.part.is_none_or(|only| only == part)
    }

    fn wants_row(&self, mailboxes: usize, latency_ms: u64) -> bool {
        self.mailboxes.is_none_or(|only| only == mailboxes)
            && self.latency_ms.is_none_or(|only| only == latency_ms)
    }

    fn grounds(&self) -> anyhow::Result<Vec<Ground>> {
        let mut grounds = Vec::new();
        if self.store.as_deref().is_none_or(|only| only == "sqlite") {
            grounds.push(Ground::Sqlite);
        }
        if self.store.as_deref().is_none_or(|only| only == "postgres") {
            let server = self.postgres.clone();
            let server =
                server.context("--postgres URL or POSTROOM_TEST_POSTGRES must name a PostgreSQL server")?;
            grounds.push(Ground::Postgres(server));
        }
        Ok(grounds)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let grounds = options.grounds()?;
    let mut rows = Map::new();
    if options.wants(Part::Burst) {
        println!("{}", burst::Row::HEAD);
        for ground in &grounds {
            for (mailboxes, latency_ms) in [(1, 0), (1, 50), (1, 200), (50, 0), (50, 50), (50, 200)] {
                if options.wants_row(mailboxes, latency_ms) {
                    let row = burst::measure(ground, mailboxes, latency_ms).await?;
                    println!("{}", row.line());
                    add(&mut rows, "rows", json!(row));
                }
            }
        }
    }
    if options.wants(Part::Minute) {
        println!("{}", minute::Row::HEAD);
        for ground in &grounds {
            for (mailboxes, latency_ms) in [(300, 50), (1000, 50)] {
                if options.wants_row(mailboxes, latency_ms) {
                    let row = minute::measure(ground, mailboxes, latency_ms).await?;
                    println!("{}", row.line());
                    add(&mut rows, "minute", json!(row));
                }
            }
        }
    }
    if options.wants(Part::Flood) {
        println!("{}", flood::Row::HEAD);
        for ground in &grounds {
            let row = flood::measure(ground).await?;
            println!("{}", row.line());
            add(&mut rows, "flood", json!(row));
        }
    }
    if options.wants(Part::Backlog) {
        println!("{}", backlog::Row::HEAD);
        for ground in &grounds {
            let row = backlog::measure(ground).await?;
            println!("{}", row.line());
            add(&mut rows, "backlog", json!(row));
        }
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}

fn add(rows: &mut Map<String, Value>, part: &str, row: Value) {
    let list = rows.entry(part).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(row);
    }
}
