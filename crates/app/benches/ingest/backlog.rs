//! A thousand mails in each of a hundred mailboxes, all there before the server starts.

use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::harness::{Bench, Ground, address};

const MAILBOXES: usize = 100;
const EACH: usize = 1000;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Serialize)]
pub(crate) struct Row {
    store: &'static str,
    mailboxes: usize,
    mails: usize,
    seconds: f64,
    mails_per_s: f64,
    /// The peak when a quarter, a half, three quarters and all of the mails are in their queue.
    peak_rss_mb: Vec<f64>,
}

impl Row {
    pub(crate) const HEAD: &str = "backlog:  store     mailboxes    mails  seconds  mails/s  RSS MB at a quarter, half, three quarters, all";

    pub(crate) fn line(&self) -> String {
        let peaks: Vec<String> = self.peak_rss_mb.iter().map(|mb| format!("{mb:>6.0}")).collect();
        format!(
            "          {:<9} {:>9} {:>8} {:>8.1} {:>8.1}  {}",
            self.store,
            self.mailboxes,
            self.mails,
            self.seconds,
            self.mails_per_s,
            peaks.join(" "),
        )
    }
}

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Row> {
    let mut bench = Bench::prepare(ground, MAILBOXES, 0, "2020-01-01").await?;
    for mailbox in 0..MAILBOXES {
        bench.fill(&address(mailbox), EACH).await?;
    }
    let mails = (MAILBOXES * EACH) as u64;
    bench.serve()?;
    let begun = Instant::now();
    let mut peaks = Vec::new();
    for quarter in 1..=4 {
        while bench.count_queued().await? < mails * quarter / 4 {
            ensure!(begun.elapsed() < PATIENCE, "the mails were not taken in time; see {}", bench.log());
            sleep(Duration::from_millis(500)).await;
        }
        peaks.push(bench.peak_rss_mb()?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Row {
        store: ground.name(),
        mailboxes: MAILBOXES,
        mails: MAILBOXES * EACH,
        seconds,
        mails_per_s: mails as f64 / seconds,
        peak_rss_mb: peaks,
    })
}
