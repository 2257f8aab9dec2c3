//! A flood of notifications while the mailboxes' lanes are parked: how long Microsoft waits for 202.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::harness::{Bench, Ground, SECRET, address, mail, number, percentile};

const MAILBOXES: usize = 50;
const PER_SECOND: u32 = 2000;
const SECONDS: u32 = 15;
/// Requests under way at a time; a slow answer keeps no other waiting.
const AT_ONCE: usize = 256;

#[derive(Serialize)]
pub(crate) struct Row {
    store: &'static str,
    per_s: u32,
    notifications: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    slowest_ms: f64,
    peak_rss_mb: f64,
}

impl Row {
    pub(crate) const HEAD: &str =
        "flood:    store     per second  notifications   p50 ms   p95 ms   p99 ms  slowest ms  RSS MB";

    pub(crate) fn line(&self) -> String {
        format!(
            "          {:<9} {:>10} {:>14} {:>8.1} {:>8.1} {:>8.1} {:>11.1} {:>7.0}",
            self.store,
            self.per_s,
            self.notifications,
            self.p50_ms,
            self.p95_ms,
            self.p99_ms,
            self.slowest_ms,
            self.peak_rss_mb,
        )
    }
}

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Row> {
    let bench = Bench::start(ground, MAILBOXES, 0).await?;
    bench.connected(MAILBOXES).await?;
    let subscriptions = subscriptions(&bench).await?;
    ensure!(subscriptions.len() == MAILBOXES, "{} subscriptions", subscriptions.len());
    park(&bench).await?;
    let all = PER_SECOND * SECONDS;
    let begun = Instant::now();
    let asking = stream::iter(0..all).map(|nth| {
        let (bench, one) = (&bench, &subscriptions[nth as usize % MAILBOXES]);
        async move {
            let due = begun + Duration::from_secs(1) * nth / PER_SECOND;
            sleep_until(due).await;
            let url = one["notificationUrl"].as_str().unwrap_or_default();
            let answer = bench.client.post(url).json(&notification(one, nth)).send().await?;
            ensure!(answer.status() == 202, "{} to a notification", answer.status());
            anyhow::Ok(due.elapsed().as_secs_f64() * 1000.0)
        }
    });
    let mut delays: Vec<f64> = asking.buffer_unordered(AT_ONCE).try_collect().await?;
    delays.sort_by(f64::total_cmp);
    Ok(Row {
        store: ground.name(),
        per_s: PER_SECOND,
        notifications: delays.len(),
        p50_ms: percentile(&delays, 0.50),
        p95_ms: percentile(&delays, 0.95),
        p99_ms: percentile(&delays, 0.99),
        slowest_ms: delays.last().copied().unwrap_or(f64::NAN),
        peak_rss_mb: bench.peak_rss_mb()?,
    })
}

/// The server's subscriptions, as Microsoft has them.
async fn subscriptions(bench: &Bench) -> anyhow::Result<Vec<Value>> {
    let text = |name: &str| bench.facts[name].as_str().unwrap_or_default();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", text("client_id")),
        ("client_secret", SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let token = bench.client.post(text("token_endpoint")).form(&form).send().await?.error_for_status()?;
    let token: Value = token.json().await?;
    let token = token["access_token"].as_str().context("a token")?.to_owned();
    let list = bench.client.get(format!("{}/v1.0/subscriptions", text("http"))).bearer_auth(token);
    let list: Value = list.send().await?.error_for_status()?.json().await?;
    Ok(list["value"].as_array().context("subscriptions")?.clone())
}

/// Microsoft asks for ten minutes of patience with each mailbox.
async fn park(bench: &Bench) -> anyhow::Result<()> {
    for (name, value) in [("throttle.retry_after_s", json!(600)), ("throttle.rate", json!(1))] {
        bench.put(&format!("/v1/switches/{name}"), &value).await?;
    }
    for mailbox in 0..MAILBOXES {
        bench.post_mail(&format!("/v1/mailboxes/{}/messages", address(mailbox)), mail("parks")).await?;
    }
    let begun = Instant::now();
    while number(&bench.get("/v1/figures").await?["by_status"]["429"]) < MAILBOXES as u64 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "the lanes are not parked; see {}", bench.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// As Microsoft writes it, of a mail that nobody has announced before.
/// <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>
fn notification(subscription: &Value, nth: u32) -> Value {
    let id = format!("AAMkAG{nth:032}=");
    let resource = format!("Users/x/Messages/{id}");
    json!({ "value": [{
        "subscriptionId": subscription["id"],
        "subscriptionExpirationDateTime": subscription["expirationDateTime"],
        "clientState": subscription["clientState"],
        "changeType": "created",
        "resource": resource,
        "resourceData": { "@odata.type": "#Microsoft.Graph.Message", "@odata.id": resource, "id": id },
        "tenantId": "11111111-1111-1111-1111-111111111111",
    }]})
}
