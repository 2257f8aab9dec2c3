//! What an administrator hears of, once each, before mail stops and because it has.

use anyhow::{Context as _, ensure};
use axum::{Json, Router, routing::post};
use http::StatusCode;
use postroom_app::{
    alerts, config, server,
    world::{Ground, Plan, World},
};
use postroom_engine::{Cpu, Tasks, wishes::Wish};
use postroom_model::{
    alerts::{Alert, AlertKind},
    credential::CredentialKind,
    organization::Credential,
};
use postroom_store::credentials::Preference;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    laws::{ledger, pause},
    take_in::{connected, world},
};

const SUPPORT: &str = "support@contoso.example";

fn told(world: &World) -> Vec<(AlertKind, Option<i64>)> {
    world.alerted().iter().map(|alert| (alert.kind, alert.days)).collect()
}

/// Days go by; each is a few hundred rounds of the simulation, not a wait.
async fn days(number: u64) {
    pause(number * 24 * 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_told_of_at_each_step_before_its_end_and_once_each() -> anyhow::Result<()> {
    let mut world = world().await?;
    let integration = world.engine().find_integration("contoso-graph").await?;
    let first = integration.credentials.first().context("a credential")?;
    let next = Credential {
        name: "autumn".into(),
        proof: postroom_model::credential::Proof {
            kind: CredentialKind::Secret,
            text: first.proof.text.clone(),
        },
        starts_at: None,
        expires_at: Some(world.now() + jiff::SignedDuration::from_hours(24 * 9)),
    };
    world.engine().add_credential(&integration, &next, Preference::Last).await?;
    pause(3).await;
    let of_autumn = |world: &World| -> Vec<(AlertKind, Option<i64>)> {
        let all = world.alerted();
        let own = all.iter().filter(|alert| alert.about.ends_with("autumn"));
        own.map(|alert| (alert.kind, alert.days)).collect()
    };
    ensure!(of_autumn(&world) == [(AlertKind::CredentialEnds, Some(14))], "{:?}", of_autumn(&world));
    // A new process knows what was told.
    world.kill().await;
    world.restart().await?;
    days(3).await;
    let steps = [(AlertKind::CredentialEnds, Some(14)), (AlertKind::CredentialEnds, Some(7))];
    ensure!(of_autumn(&world) == steps, "{:?}", of_autumn(&world));
    let shown = world.engine().alerts();
    ensure!(shown.iter().any(|alert| alert.about.ends_with("autumn") && alert.days == Some(7)), "{shown:?}");
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_fails_is_told_of_once_and_again_when_it_fails_anew() -> anyhow::Result<()> {
    let world = world().await?;
    let before = told(&world).len();
    for round in 1..=2 {
        world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", json!(true))?;
        pause(120).await;
        let failing = world.alerted().into_iter().filter(|alert| alert.kind == AlertKind::MailboxFailing);
        ensure!(failing.count() == round, "{:?}", told(&world));
        ensure!(world.engine().alerts().iter().any(|alert| alert.about == SUPPORT));
        world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", serde_json::Value::Null)?;
        pause(60).await;
        ensure!(world.engine().alerts().iter().all(|alert| alert.about != SUPPORT));
    }
    // Whoever pauses a mailbox knows it.
    world.engine().ask_of_mailbox(SUPPORT, Wish::Pause).await?;
    pause(120).await;
    ensure!(world.engine().alerts().iter().all(|alert| alert.about != SUPPORT));
    ensure!(told(&world).len() <= before + 4, "{:?}", told(&world));
    world.engine().ask_of_mailbox(SUPPORT, Wish::Resume).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn alerts_are_mailed_once_from_a_mailbox_that_works_and_become_no_conversation() -> anyhow::Result<()> {
    const OPERATIONS: &str = "operations@elsewhere.example";
    let plan = Plan { alert_mail: Some(OPERATIONS.parse()?), ..Plan::sample(Ground::Virtual) };
    let mut world = World::start(plan).await?;
    connected(&world).await?;
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", json!(true))?;
    let about_support = |world: &World| {
        let all = world.simulator.outside(OPERATIONS);
        let all = all.iter().map(|mime| postroom_mail::parse(mime));
        all.filter(|mail| mail.subject.contains("mailbox_failing support@")).collect::<Vec<_>>()
    };
    pause(120).await;
    let told = about_support(&world);
    ensure!(told.len() == 1, "{told:?}");
    let from = told[0].from.as_ref().map(|from| from.address.clone());
    ensure!(from.as_deref().is_some_and(|from| from != SUPPORT), "it came from {from:?}");
    world.kill().await;
    world.restart().await?;
    pause(60).await;
    ensure!(about_support(&world).len() == 1, "a new process told it again");
    ensure!(ledger(world.db()).await?.is_empty(), "an alert is in the ledger");
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", serde_json::Value::Null)?;
    pause(20).await;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn no_alert_is_mailed_into_a_connected_mailbox() -> anyhow::Result<()> {
    let plan = Plan { alert_mail: Some("sales@contoso.example".parse()?), ..Plan::sample(Ground::Virtual) };
    let world = World::start(plan).await?;
    connected(&world).await?;
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", json!(true))?;
    pause(60).await;
    ensure!(ledger(world.db()).await?.is_empty(), "an alert became a conversation");
    ensure!(world.alerted().iter().any(|alert| alert.about == SUPPORT), "it is told otherwise all the same");
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", serde_json::Value::Null)?;
    pause(20).await;
    world.assert_quiet().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_gets_the_alert_in_words_and_a_refusal_is_an_error_without_its_address()
-> anyhow::Result<()> {
    let (heard, mut posted) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Router::new()
        .route(
            "/good/word",
            post(async move |Json(body): Json<Value>| heard.send(body).map_err(|_| StatusCode::GONE)),
        )
        .route("/bad/word", post(async || StatusCode::FORBIDDEN));
    let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
    let base = format!("http://{}", listener.local_addr()?);
    let tasks = Tasks::new(Cpu::Pool);
    tasks.spawn(server::serve(listener, receiver, None, tasks.stopping().clone()));
    let alert = Alert {
        kind: AlertKind::MailboxFailing,
        about: SUPPORT.to_owned(),
        at: None,
        days: None,
        detail: None,
    };
    let teller = |path: &str| {
        let webhook = Some(SecretString::from(format!("{base}{path}")));
        alerts::webhook(&config::Alerts { webhook, ..config::Alerts::default() })
    };
    let tell = teller("/good/word")?.context("a way to tell")?;
    tell(alert.clone()).await.map_err(anyhow::Error::msg)?;
    let body = posted.recv().await.context("nothing was posted")?;
    ensure!(body["text"].as_str().is_some_and(|text| text.contains(SUPPORT)), "{body}");
    ensure!(body["alert"]["kind"] == "mailbox_failing", "{body}");
    let tell = teller("/bad/word")?.context("a way to tell")?;
    let Err(error) = tell(alert.clone()).await else { anyhow::bail!("a refusal is no success") };
    ensure!(error.contains("403") && !error.contains("word"), "{error}");
    tasks.stop().await;
    let Err(error) = tell(alert).await else { anyhow::bail!("nobody is there") };
    ensure!(!error.contains("word"), "{error}");
    for odd in [
        config::Alerts { language: "xx".into(), ..Default::default() },
        config::Alerts { webhook: Some("no address".to_owned().into()), ..Default::default() },
    ] {
        ensure!(alerts::webhook(&odd).is_err(), "{odd:?}");
    }
    for odd in [("nobody", None), ("ops@elsewhere.example", Some("nobody"))] {
        let (to, from) = (Some(odd.0.to_owned()), odd.1.map(str::to_owned));
        ensure!(
            alerts::mail(&config::Alerts { mail_to: to, mail_from: from, ..Default::default() }).is_err(),
            "{odd:?}"
        );
    }
    Ok(())
}
