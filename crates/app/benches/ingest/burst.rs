//! How fast a burst of mails gets from the mailbox into a queue, and how long a single one takes.

use std::time::Duration;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::{Bench, Ground, address, mail, number, percentile, time};

const BURST: usize = 500;
const SINGLES: usize = 200;

#[derive(Serialize)]
pub(crate) struct Row {
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

impl Row {
    pub(crate) const HEAD: &str = "burst:    store     mailboxes  latency  mails/s  req/mail  set-up  in flight  p50 ms  p95 ms  p99 ms  RSS MB";

    pub(crate) fn line(&self) -> String {
        format!(
            "          {:<9} {:>9} {:>8} {:>8.1} {:>9.3} {:>7} {:>10} {:>7.1} {:>7.1} {:>7.1} {:>7.0}",
            self.store,
            self.mailboxes,
            self.latency_ms,
            self.mails_per_s,
            self.requests_per_mail,
            self.setup_requests,
            self.max_in_flight,
            self.p50_ms,
            self.p95_ms,
            self.p99_ms,
            self.peak_rss_mb,
        )
    }
}

/// A burst, then single mails.
pub(crate) async fn measure(ground: &Ground, mailboxes: usize, latency_ms: u64) -> anyhow::Result<Row> {
    let bench = Bench::start(ground, mailboxes, latency_ms).await?;
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
    bench.until_read(BURST as u64).await?;
    let requests = bench.requests().await?;
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
        store: ground.name(),
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

fn last_read_flag(requests: &Value) -> anyhow::Result<Timestamp> {
    let log = requests["log"].as_array().context("a log of requests")?;
    let flags = log.iter().filter(|request| request["kind"] == "message.patch" && request["status"] == 200);
    flags.map(|request| time(&request["time"])).try_fold(Timestamp::MIN, |last, at| Ok(last.max(at?)))
}
