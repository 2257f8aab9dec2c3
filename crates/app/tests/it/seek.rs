//! "Read in the mailbox, but not in the centre": each mail is found, taken or not, with the reason.

use anyhow::{Context as _, ensure};
use postroom_app::{organization, sample, world::World};
use postroom_engine::{seek::Seen, wishes::Wish};
use postroom_model::ledger::{MessageState, NotTaken};
use postroom_store::mailboxes;
use serde_json::json;

use crate::{
    laws::{deliver, mail, pause, write},
    take_in::world,
};

const SUPPORT: &str = "support@contoso.example";
const SALES: &str = "sales@contoso.example";
const BILLING: &str = "billing@contoso.example";

async fn sought(world: &World, text: &str) -> anyhow::Result<Seen> {
    let mailboxes = mailboxes::list(world.db()).await?;
    Ok(world.engine().seek(text, &mailboxes).await?)
}

async fn why(world: &World, text: &str) -> anyhow::Result<NotTaken> {
    let seen = sought(world, text).await?;
    ensure!(seen.taken.is_empty() && seen.untaken.len() == 1, "{text}: {seen:?}");
    Ok(seen.untaken.first().context("a sighting")?.why)
}

#[tokio::test(start_paused = true)]
async fn a_mail_is_found_wherever_it_is_and_why_it_was_not_taken_is_said() -> anyhow::Result<()> {
    let world = world().await?;
    deliver(
        &world,
        SUPPORT,
        mail(
            "Ann <ann@customer.example>",
            SUPPORT,
            "Taken 請求書",
            "Message-ID: <taken@customer.example>\r\n",
        ),
    );
    pause(2).await;
    for text in ["<taken@customer.example>", "taken@customer.example", "ann@customer.example", "請求"] {
        let seen = sought(&world, text).await?;
        ensure!(
            seen.taken.len() == 1 && seen.untaken.is_empty() && seen.silent.is_empty(),
            "{text}: {seen:?}"
        );
        ensure!(seen.taken[0].state == MessageState::Routed, "{text}");
    }
    world.simulator.make_draft(SUPPORT, "Only a draft")?;
    ensure!(why(&world, "Only a draft").await? == NotTaken::Draft);

    world.simulator.make_folder(SUPPORT, "Later")?;
    // What is announced is in the ledger before anything else is asked.
    world.simulator.set_switch("notify.outage", json!(true))?;
    let moved = write(&world, SUPPORT, "Moved by a rule");
    ensure!(why(&world, "Moved by a rule").await? == NotTaken::OnItsWay);
    world.simulator.move_by_hand(SUPPORT, &moved.graph_id, "Later")?;
    ensure!(why(&world, "Moved by a rule").await? == NotTaken::OtherFolder);

    world.engine().ask_of_mailbox(BILLING, Wish::Pause).await?;
    pause(1).await;
    write(&world, BILLING, "While paused");
    pause(10).await;
    ensure!(why(&world, "While paused").await? == NotTaken::Paused);
    world.engine().ask_of_mailbox(BILLING, Wish::Resume).await?;

    let later = sample::ORGANIZATION.replacen(
        "address: sales@contoso.example }",
        "address: sales@contoso.example, take_from: 2027-01-01 }",
        1,
    );
    ensure!(later != sample::ORGANIZATION, "the sample has other mailboxes");
    world.apply(&later, organization::Options::default()).await?;
    pause(1).await;
    write(&world, SALES, "Too old");
    pause(10).await;
    ensure!(why(&world, "Too old").await? == NotTaken::Older);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_can_not_be_asked_is_named() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", json!(true))?;
    let seen = sought(&world, "anything").await?;
    ensure!(seen.silent.len() == 1 && seen.silent[0].0 == SUPPORT, "{seen:?}");
    Ok(())
}
