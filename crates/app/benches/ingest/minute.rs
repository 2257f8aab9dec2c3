//! A minute in which each of many mailboxes gets a mail a second.

use std::time::Duration;

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::harness::{Bench, Ground, PATIENCE, address, mail, percentile, time};

const SECONDS: usize = 60;
/// Deliveries under way at a time.
const AT_ONCE: usize = 32;

#[derive(Serialize)]
pub(crate) struct Row {
    store: &'static str,
    mailboxes: usize,
    latency_ms: u64,
    mails: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    /// How much later than planned the last mail was delivered: the simulator's own lag.
    late_s: f64,
    /// From the last delivery to the last mail in its queue.
    backlog_s: f64,
    peak_rss_mb: f64,
}

impl Row {
    pub(crate) const HEAD: &str = "minute:   store     mailboxes  latency    mails   p50 ms   p95 ms   p99 ms  late s  backlog s  RSS MB";

    pub(crate) fn line(&self) -> String {
        format!(
            "          {:<9} {:>9} {:>8} {:>8} {:>8.1} {:>8.1} {:>8.1} {:>7.1} {:>10.1} {:>7.0}",
            self.store,
            self.mailboxes,
            self.latency_ms,
            self.mails,
            self.p50_ms,
            self.p95_ms,
            self.p99_ms,
            self.late_s,
            self.backlog_s,
            self.peak_rss_mb,
        )
    }
}

pub(crate) async fn measure(ground: &Ground, mailboxes: usize, latency_ms: u64) -> anyhow::Result<Row> {
    let bench = Bench::start(ground, mailboxes, latency_ms).await?;
    bench.connected(mailboxes).await?;
    let mails = mailboxes * SECONDS;
    let begun = Instant::now();
    let between = Duration::from_secs(1) / u32::try_from(mailboxes)?;
    let delivering = stream::iter(0..mails).map(|number| {
        let bench = &bench;
        async move {
            sleep_until(begun + between * u32::try_from(number)?).await;
            let path = format!("/v1/mailboxes/{}/messages", address(number % mailboxes));
            let answer = bench.post_mail(&path, mail(&format!("m{number}"))).await?;
            let id = answer["id"].as_str().unwrap_or_default().to_owned();
            anyhow::Ok((id, time(&answer["at"])?))
        }
    });
    let sent: Vec<(String, Timestamp)> = delivering.buffered(AT_ONCE).try_collect().await?;
    let late_s = (begun.elapsed().as_secs_f64() - SECONDS as f64).max(0.0);
    let ended = Instant::now();
    while bench.count_queued().await? < mails as u64 {
        ensure!(ended.elapsed() < PATIENCE, "the mails were not taken in time; see {}", bench.log());
        sleep(Duration::from_millis(500)).await;
    }
    let delays = bench.delays(&sent)?;
    let last_sent = sent.iter().map(|(_, at)| *at).max().unwrap_or_default();
    let last_queued = bench.queued()?.into_values().flatten().max().unwrap_or_default();
    Ok(Row {
        store: ground.name(),
        mailboxes,
        latency_ms,
        mails,
        p50_ms: percentile(&delays, 0.50),
        p95_ms: percentile(&delays, 0.95),
        p99_ms: percentile(&delays, 0.99),
        late_s,
        backlog_s: last_queued.duration_since(last_sent).as_secs_f64().max(0.0),
        peak_rss_mb: bench.peak_rss_mb()?,
    })
}
