//! Stories of the desk: alert, accept, answer, the customer's answer, wrap-up.

use std::time::Duration;

use postroom_app::world::{Ground, Plan, World};
use postroom_engine::desk::DeskError;
use postroom_model::{
    ConversationId, acd::WhyWaiting, conversation::ConversationState, outbox::SendState, user::RoutingStatus,
};
use postroom_store::{
    conversations::{self, Conversation},
    outgoing,
    users::{self, User},
};
use serde_json::json;

use crate::laws::{deliver, ledger, mail};
use crate::take_in::connected;

const SUPPORT: &str = "support@contoso.example";
const CUSTOMER: &str = "ann@customer.example";

/// A running world in which one mail waits in Support.
async fn one_waits(headers: &str) -> anyhow::Result<(World, ConversationId)> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    connected(&world).await?;
    let id = write(&world, "Printer", headers).await?;
    Ok((world, id))
}

/// The customer writes; gives the conversation in which the mail ends.
async fn write(world: &World, subject: &str, headers: &str) -> anyhow::Result<ConversationId> {
    let sent = deliver(world, SUPPORT, mail(&format!("Ann <{CUSTOMER}>"), SUPPORT, subject, headers));
    pause(world, 2).await?;
    let row = ledger(world.db()).await?.into_iter().find(|row| row.graph_id == sent.graph_id);
    Ok(row.and_then(|row| row.conversation).expect("it is in a conversation"))
}

async fn pause(world: &World, seconds: u64) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    world.settle().await
}

async fn agent(world: &World, name: &str) -> anyhow::Result<User> {
    let user = users::find_by_email(world.db(), &format!("{name}@contoso.example")).await?;
    Ok(user.expect("the sample organisation has this person"))
}

async fn conversation(world: &World, id: ConversationId) -> anyhow::Result<Conversation> {
    Ok(conversations::find(world.db(), id).await?.expect("it is there"))
}

async fn state(world: &World, id: ConversationId) -> anyhow::Result<ConversationState> {
    Ok(conversation(world, id).await?.state)
}

#[tokio::test(start_paused = true)]
async fn a_mail_is_answered_and_the_customer_s_answer_comes_back_to_it() -> anyhow::Result<()> {
    let (world, id) = one_waits("Message-ID: <1@customer.example>\r\n").await?;
    let engine = world.engine();
    assert_eq!(state(&world, id).await?, ConversationState::Waiting);
    assert_eq!(engine.why_waiting(&conversation(&world, id).await?).await?, Some(WhyWaiting::NobodyOnQueue));

    let who = agent(&world, "agent1").await?;
    engine.set_routing_status(&who, RoutingStatus::OnQueue).await?;
    pause(&world, 1).await?;
    assert_eq!(state(&world, id).await?, ConversationState::Alerting);
    engine.accept(&who, id).await?;
    let view = engine.read_conversation(&who, id).await?;
    assert_eq!(view.mails.len(), 1);
    assert_eq!(view.mails[0].text.trim(), "Good morning.");

    engine.reply(&who, id, "こんにちは。\n\nPlease switch it off and on.").await?;
    pause(&world, 10).await?;
    let sent = outgoing::list_of_conversation(world.db(), id).await?;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].state, SendState::Sent);
    let [answer] = &world.simulator.outside(CUSTOMER)[..] else { panic!("one answer") };
    let answer = postroom_mail::parse(answer);
    assert_eq!(answer.from.as_ref().map(|from| from.address.as_str()), Some(SUPPORT));
    assert_eq!(answer.in_reply_to, ["1@customer.example"]);
    assert!(answer.text.contains("こんにちは"), "{}", answer.text);
    let in_sent_items = world.simulator.messages(SUPPORT)?.iter().filter(|m| m.folder == "sentitems").count();
    assert_eq!(in_sent_items, 1);

    let thanks = format!(
        "Message-ID: <2@customer.example>\r\nIn-Reply-To: <{}>\r\n",
        answer.message_id.as_deref().expect("our answer has a Message-ID")
    );
    let same = write(&world, "Re: Printer", &thanks).await?;
    assert_eq!(same, id);
    let view = engine.read_conversation(&who, id).await?;
    assert_eq!((view.mails.len(), view.replies.len()), (2, 1));

    let code = view.wrap_up_codes.first().cloned();
    assert!(matches!(engine.wrap_up(&who, id, Some("no such code")).await, Err(DeskError::NoSuchCode)));
    engine.wrap_up(&who, id, code.as_deref()).await?;
    assert_eq!(state(&world, id).await?, ConversationState::Closed);

    // Writing again opens it: it waits in its queue.
    engine.set_routing_status(&who, RoutingStatus::OffQueue).await?;
    let again = write(
        &world,
        "Re: Printer",
        "Message-ID: <3@customer.example>\r\nReferences: <1@customer.example>\r\n",
    );
    assert_eq!(again.await?, id);
    assert_eq!(state(&world, id).await?, ConversationState::Waiting);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn nobody_answers_the_alert_and_the_mail_waits_with_its_old_arrival() -> anyhow::Result<()> {
    let (world, id) = one_waits("").await?;
    let before = conversation(&world, id).await?;
    let who = agent(&world, "agent1").await?;
    world.engine().set_routing_status(&who, RoutingStatus::OnQueue).await?;
    pause(&world, 1).await?;
    assert_eq!(state(&world, id).await?, ConversationState::Alerting);
    tokio::time::sleep(Duration::from_secs(70)).await;
    let after = conversation(&world, id).await?;
    assert_eq!((after.state, after.arrived_at), (ConversationState::Waiting, before.arrived_at));
    let who = agent(&world, "agent1").await?;
    assert_eq!(who.routing_status, RoutingStatus::NotResponding);
    assert!(matches!(world.engine().accept(&who, id).await, Err(DeskError::Gone)), "the alert is over");

    world.engine().set_routing_status(&who, RoutingStatus::OnQueue).await?;
    pause(&world, 1).await?;
    world.engine().accept(&who, id).await?;
    let other = agent(&world, "agent2").await?;
    assert!(matches!(world.engine().reply(&other, id, "mine").await, Err(DeskError::NotYours)));
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_reply_leaves_once_whatever_happens_to_the_answers_of_exchange() -> anyhow::Result<()> {
    for (switch, value) in [
        ("send.accept_then_timeout", json!(1)),
        ("send.id_change", json!(true)),
        ("error.rate", json!(0.3)),
        ("throttle.rate", json!(0.3)),
        ("send.delay_ms", json!(30_000)),
    ] {
        let (world, id) = one_waits("Message-ID: <1@customer.example>\r\n").await?;
        let who = agent(&world, "agent1").await?;
        world.engine().set_routing_status(&who, RoutingStatus::OnQueue).await?;
        pause(&world, 1).await?;
        world.engine().accept(&who, id).await?;
        world.simulator.set_switch(switch, value)?;
        world.engine().reply(&who, id, "Once.").await?;
        tokio::time::sleep(Duration::from_secs(1800)).await;
        let settled = world.settle().await;
        let sent = outgoing::list_of_conversation(world.db(), id).await?;
        assert!(settled.is_ok(), "{switch}: {settled:?}, {:?}", sent[0]);
        assert_eq!(sent[0].state, SendState::Sent, "{switch}");
        assert_eq!(world.simulator.outside(CUSTOMER).len(), 1, "{switch}");
        world.assert_quiet().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_kill_while_sending_sends_no_second_reply() -> anyhow::Result<()> {
    for seed in 0..30_u64 {
        let (mut world, id) = one_waits("Message-ID: <1@customer.example>\r\n").await?;
        let who = agent(&world, "agent1").await?;
        world.engine().set_routing_status(&who, RoutingStatus::OnQueue).await?;
        pause(&world, 1).await?;
        world.engine().accept(&who, id).await?;
        world.simulator.set_switch("latency_ms", json!(20))?;
        world.engine().reply(&who, id, "Once.").await?;
        tokio::time::sleep(Duration::from_millis(seed * 4)).await;
        world.kill().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.restart().await?;
        tokio::time::sleep(Duration::from_secs(1800)).await;
        world.settle().await?;
        let sent = outgoing::list_of_conversation(world.db(), id).await?;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].state, SendState::Sent, "seed {seed}");
        assert_eq!(world.simulator.outside(CUSTOMER).len(), 1, "seed {seed}");
        world.assert_quiet().await?;
    }
    Ok(())
}
