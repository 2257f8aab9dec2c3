//! What Prometheus and a watchman see: metrics by Prometheus' own parser, alert rules by its own check.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use postroom_app::world::World;
use postroom_store::testing::skip;
use tower::ServiceExt as _;

use crate::{
    laws::{pause, write},
    take_in::world,
};

const SUPPORT: &str = "support@contoso.example";

async fn ask(router: axum::Router, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let answer = router.oneshot(Request::get(path).body(Body::empty())?).await?;
    let (head, body) = answer.into_parts();
    Ok((head.status, String::from_utf8(body.collect().await?.to_bytes().to_vec())?))
}

async fn metrics(world: &World) -> anyhow::Result<String> {
    let (status, text) = ask(postroom_web::metrics_router(world.engine().clone()), "/metrics").await?;
    ensure!(status == StatusCode::OK, "{status}");
    Ok(text)
}

/// What promtool says of an input; nothing if it is well, or if there is no promtool.
fn promtool(arguments: &[&str], input: &str) -> anyhow::Result<Option<String>> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = match command.spawn() {
        Ok(run) => run,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip("promtool", "promtool is not installed");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    run.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
    let output = run.wait_with_output()?;
    let said = format!("{}{}", String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.success(), "promtool complains: {said}");
    Ok(Some(said))
}

#[tokio::test(start_paused = true)]
async fn prometheus_reads_the_metrics_without_complaint_and_they_tell_what_happened() -> anyhow::Result<()> {
    let world = world().await?;
    write(&world, SUPPORT, "One");
    write(&world, SUPPORT, "Two");
    pause(2).await;
    let text = metrics(&world).await?;
    for line in [
        r#"postroom_mailbox_health{mailbox="support@contoso.example",health="healthy"} 1"#,
        r#"postroom_mailbox_mails_24h{mailbox="support@contoso.example"} 2"#,
        r#"postroom_mailbox_unannounced_24h{mailbox="support@contoso.example"} 0"#,
        r#"postroom_mailbox_lane_limit{mailbox="support@contoso.example"} 4"#,
        r#"postroom_messages{state="routed"} 2"#,
        r#"postroom_graph_requests_total{operation="message_bytes"} 2"#,
        r#"postroom_arrival_to_queue_seconds_count 2"#,
    ] {
        ensure!(text.lines().any(|own| own == line), "{line} is missing in\n{text}");
    }
    if let Some(said) = promtool(&["check", "metrics"], &text)? {
        ensure!(said.trim().is_empty(), "promtool complains: {said}");
    }
    world.assert_quiet().await
}

#[test]
fn alert_rules_and_dashboard_are_sound_and_name_metrics_that_are_there() -> anyhow::Result<()> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/prometheus-alerts.yaml");
    let path = rules.to_str().context("a path")?;
    promtool(&["check", "rules", path], "")?;
    let source = include_str!("../../../web/src/metrics.rs");
    for file in [&rules, &rules.with_file_name("grafana-dashboard.json")] {
        let text = std::fs::read_to_string(file)?;
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named: Vec<&str> = words.filter(|word| word.starts_with("postroom_")).collect();
        ensure!(named.len() > 5, "{named:?}");
        for word in named {
            let mut stem = word.trim_start_matches("postroom_");
            for end in ["_bucket", "_count", "_total", "_seconds"] {
                stem = stem.trim_end_matches(end);
            }
            ensure!(source.contains(&format!("\"{stem}\"")), "{word} is no metric of ours");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_process_without_its_store_lives_and_is_not_ready() -> anyhow::Result<()> {
    let world = world().await?;
    ensure!(ask(world.router(), "/healthz").await? == (StatusCode::OK, "ok\n".into()));
    ensure!(ask(world.router(), "/readyz").await? == (StatusCode::OK, "ready\n".into()));
    let router = world.router();
    world.kill().await;
    ensure!(ask(router.clone(), "/healthz").await?.0 == StatusCode::OK);
    ensure!(ask(router, "/readyz").await?.0 == StatusCode::SERVICE_UNAVAILABLE);
    Ok(())
}
