//! What an administrator hears of, once each, before mail stops and because it has.

use anyhow::{Context as _, ensure};
use postroom_app::world::World;
use postroom_engine::wishes::Wish;
use postroom_model::{alerts::AlertKind, credential::CredentialKind, organization::Credential};
use postroom_store::credentials::Preference;
use serde_json::json;

use crate::{laws::pause, take_in::world};

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
