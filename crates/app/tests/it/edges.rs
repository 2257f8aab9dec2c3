//! Stories of the moments between: two things at once, a second mail just before the
//! end, an answer of Microsoft that comes too late.

#![expect(clippy::unwrap_used, reason = "tests may")]

use std::collections::BTreeSet;
use std::time::Duration;

use postroom_app::world::{Ground, Plan, World};
use postroom_app::{organization, sample};
use postroom_engine::desk::DeskError;
use postroom_model::{
    ConversationId,
    conversation::ConversationState,
    ledger::{MessageState, Reason},
    user::RoutingStatus,
};
use postroom_store::{
    conversations,
    messages::Message,
    testing::{PostgresDatabase, skip},
    users,
};
use serde_json::json;

use crate::laws::{deliver, ledger, mail};
use crate::take_in::{connected, world};

const SUPPORT: &str = "support@contoso.example";
const SALES: &str = "sales@contoso.example";
const CUSTOMER: &str = "ann@customer.example";

async fn pause(world: &World, seconds: u64) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    world.settle().await
}

/// Delivers a mail of the customer and gives its row once it has gone its way.
async fn write(world: &World, mailbox: &'static str, headers: &str, text: &str) -> anyhow::Result<Message> {
    let mime =
        format!("From: Ann <{CUSTOMER}>\r\nTo: {mailbox}\r\nSubject: Printer\r\n{headers}\r\n{text}\r\n");
    let sent = deliver(world, mailbox, mime);
    pause(world, 2).await?;
    let row = ledger(world.db()).await?.into_iter().find(|row| row.graph_id == sent.graph_id);
    Ok(row.unwrap())
}

async fn agent(world: &World) -> anyhow::Result<users::User> {
    Ok(users::find_by_email(world.db(), "agent1@contoso.example").await?.unwrap())
}

async fn accepted(world: &World, id: ConversationId) -> anyhow::Result<users::User> {
    let who = agent(world).await?;
    world.engine().set_routing_status(&who, RoutingStatus::OnQueue).await?;
    pause(world, 1).await?;
    world.engine().accept(&who, id).await?;
    Ok(who)
}

async fn state(world: &World, id: ConversationId) -> anyhow::Result<ConversationState> {
    Ok(conversations::find(world.db(), id).await?.unwrap().state)
}

#[tokio::test(start_paused = true)]
async fn a_conversation_with_a_mail_that_nobody_has_read_is_not_wrapped_up() -> anyhow::Result<()> {
    let world = world().await?;
    let id = write(&world, SUPPORT, "Message-ID: <1@x>\r\n", "It is broken.").await?.conversation.unwrap();
    let who = accepted(&world, id).await?;
    let view = world.engine().read_conversation(&who, id).await?;
    let code = view.wrap_up_codes.first().cloned();

    let second = "Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\n";
    assert_eq!(write(&world, SUPPORT, second, "Now it burns.").await?.conversation, Some(id));
    let closed = world.engine().wrap_up(&who, id, code.as_deref()).await;
    assert!(matches!(closed, Err(DeskError::Gone)), "{closed:?}");
    assert_eq!(state(&world, id).await?, ConversationState::Connected);

    world.engine().read_conversation(&who, id).await?;
    world.engine().wrap_up(&who, id, code.as_deref()).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn another_mail_under_a_used_message_id_is_heard_and_a_copy_is_not() -> anyhow::Result<()> {
    let world = world().await?;
    let same = "Message-ID: <1@x>\r\nDate: Mon, 2 Mar 2026 09:00:00 +0000\r\n";
    let id = write(&world, SUPPORT, same, "It is broken.").await?.conversation.unwrap();
    let who = accepted(&world, id).await?;
    let code = world.engine().read_conversation(&who, id).await?.wrap_up_codes.first().cloned();
    world.engine().wrap_up(&who, id, code.as_deref()).await?;
    world.engine().set_routing_status(&who, RoutingStatus::OffQueue).await?;

    let copy = write(&world, SALES, same, "It is broken.").await?;
    assert_eq!((copy.conversation, copy.reason), (Some(id), Reason::SameMail));
    assert_eq!(state(&world, id).await?, ConversationState::Closed);

    let other = write(&world, SUPPORT, same, "It burns.").await?;
    assert_eq!((other.conversation, other.reason), (Some(id), Reason::MessageIdReused));
    assert_eq!(state(&world, id).await?, ConversationState::Waiting);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn the_answer_leaves_from_the_mailbox_of_the_conversation() -> anyhow::Result<()> {
    let world = world().await?;
    let same = "Message-ID: <1@x>\r\nDate: Mon, 2 Mar 2026 09:00:00 +0000\r\n";
    let id = write(&world, SUPPORT, same, "It is broken.").await?.conversation.unwrap();
    // The copy in another mailbox is the newest mail of the conversation.
    assert_eq!(write(&world, SALES, same, "It is broken.").await?.conversation, Some(id));
    let who = accepted(&world, id).await?;
    world.engine().reply(&who, id, "Switch it off.").await?;
    pause(&world, 30).await?;
    let [answer] = &world.simulator.outside(CUSTOMER)[..] else { panic!("one answer") };
    let answer = postroom_mail::parse(answer);
    assert_eq!(answer.from.unwrap().address, SUPPORT);
    assert_eq!(answer.in_reply_to, ["1@x"]);
    world.assert_quiet().await
}

#[tokio::test]
async fn copies_and_follow_ups_that_are_processed_at_once_become_one_conversation() -> anyhow::Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        let test = "edges::copies_and_follow_ups_that_are_processed_at_once_become_one_conversation";
        skip(test, "POSTROOM_TEST_POSTGRES names no PostgreSQL server");
        return Ok(());
    };
    let world = World::start(Plan::sample(Ground::Postgres(database.config(8)))).await?;
    connected(&world).await?;
    let mut delivered = Vec::new();
    for pair in 0..20 {
        let from = format!("Ann <c{pair}@customer.example>");
        let first = format!("Message-ID: <{pair}@x>\r\nDate: Mon, 2 Mar 2026 09:00:00 +0000\r\n");
        let follow_up = format!("Message-ID: <more-{pair}@x>\r\nReferences: <{pair}@x>\r\n");
        for (mailbox, headers) in [(SUPPORT, &first), (SALES, &first), (SUPPORT, &follow_up)] {
            delivered.push(deliver(&world, mailbox, mail(&from, SUPPORT, "Printer", headers)));
        }
    }
    world
        .until("every mail is routed", || async {
            let rows = ledger(world.db()).await?;
            Ok(rows.len() == delivered.len() && rows.iter().all(|row| row.state == MessageState::Routed))
        })
        .await?;
    let rows = ledger(world.db()).await?;
    for pair in 0..20 {
        let sender = format!("c{pair}@customer.example");
        let theirs: BTreeSet<_> = rows
            .iter()
            .filter(|row| row.from_address.as_deref() == Some(sender.as_str()))
            .map(|row| row.conversation)
            .collect();
        assert_eq!(theirs.len(), 1, "the mails of {sender} are in several conversations");
    }
    drop(world);
    database.drop().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_route_that_was_declared_while_nobody_served_takes_what_was_held() -> anyhow::Result<()> {
    let without = sample::ORGANIZATION
        .lines()
        .filter(|line| !line.contains("address: sales@contoso.example, queue"))
        .collect::<Vec<_>>()
        .join("\n");
    let plan = Plan { organization: without, ..Plan::sample(Ground::Virtual) };
    let mut world = World::start(plan).await?;
    connected(&world).await?;
    let held = write(&world, SALES, "", "How much?").await?;
    assert_eq!((held.state, held.reason), (MessageState::Held, Reason::NoRoute));

    world.kill().await;
    world.apply_while_down(sample::ORGANIZATION, organization::Options::default()).await?;
    world.restart().await?;
    pause(&world, 5).await?;
    let row = ledger(world.db()).await?.remove(0);
    assert_eq!(row.state, MessageState::Routed);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn every_lifecycle_event_of_a_batch_is_acted_on() -> anyhow::Result<()> {
    let world = world().await?;
    let before = world.simulator.subscriptions();
    world.simulator.lifecycle(SUPPORT, "missed")?;
    world.simulator.lifecycle(SUPPORT, "subscriptionRemoved")?;
    pause(&world, 120).await?;
    let after = world.simulator.subscriptions();
    assert_eq!(after.len(), before.len(), "the removed subscription was made anew");
    assert_ne!(after, before);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_was_given_up_as_gone_is_taken_when_delta_shows_it() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("store.replication_lag_ms", json!(45 * 60 * 1000))?;
    let given_up = deliver(&world, SUPPORT, mail(CUSTOMER, SUPPORT, "Slow", ""));
    tokio::time::sleep(Duration::from_secs(40 * 60)).await;
    assert_eq!(ledger(world.db()).await?[0].state, MessageState::Gone);
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    world.settle().await?;
    let row = ledger(world.db()).await?.remove(0);
    assert_eq!((row.graph_id, row.state), (given_up.graph_id, MessageState::Routed));
    world.assert_quiet().await
}
