//! Stories of taking in: notified or found by delta, known once, routed or held.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use postroom_app::{
    organization,
    world::{Ground, Plan, World, call},
};
use postroom_model::ledger::{MessageState, Reason, Step};
use postroom_store::{content::Content, conversations, folders, mailboxes, messages, subscriptions, trace};
use serde_json::json;

use crate::laws::{assert_taken_once, deliver, ledger, mail};

const SUPPORT: &str = "support@contoso.example";

/// The sample tenant, every mailbox followed.
pub(crate) async fn world() -> anyhow::Result<World> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    connected(&world).await?;
    Ok(world)
}

/// Waits until every mailbox is followed.
pub(crate) async fn connected(world: &World) -> anyhow::Result<()> {
    world
        .until("every mailbox is followed", || async {
            for mailbox in mailboxes::list(world.db()).await? {
                let folders = folders::list_of_mailbox(world.db(), mailbox.id).await?;
                if folders.iter().any(|folder| folder.crawled_at.is_none()) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn every_mail_is_taken_once_whether_notified_twice_or_not_at_all() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("notify.loss_rate", json!(0.3))?;
    world.simulator.set_switch("notify.duplicate_rate", json!(0.5))?;
    world.simulator.set_switch("store.replication_lag_ms", json!(1500))?;
    let mut delivered = Vec::new();
    for number in 0..60 {
        let mailbox = [SUPPORT, "sales@contoso.example", "billing@contoso.example"][number % 3];
        let subject = format!("Question {number}");
        delivered.push(deliver(&world, mailbox, mail("Ann <ann@customer.example>", mailbox, &subject, "")));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.settle().await?;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_costs_time_and_no_mail() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("throttle.rate", json!(0.2))?;
    world.simulator.set_switch("error.rate", json!(0.2))?;
    let delivered: Vec<_> = (0..40)
        .map(|number| {
            deliver(&world, SUPPORT, mail("ann@customer.example", SUPPORT, &number.to_string(), ""))
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.simulator.set_switch("throttle.rate", json!(0))?;
    world.simulator.set_switch("error.rate", json!(0))?;
    tokio::time::sleep(Duration::from_secs(1200)).await;
    world.settle().await?;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn mails_from_before_the_activation_are_counted_and_left() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    // Before the engine has asked for anything, in the same second even.
    world.simulator.deliver(SUPPORT, mail("ann@customer.example", SUPPORT, "Old", ""))?;
    tokio::time::sleep(Duration::from_secs(700)).await;
    world.settle().await?;
    let kept = world.simulator.messages(SUPPORT)?;
    let taken = ledger(world.db()).await?;
    let mut older = 0;
    for mailbox in mailboxes::list(world.db()).await? {
        older += folders::list_of_mailbox(world.db(), mailbox.id)
            .await?
            .iter()
            .map(|f| f.older_count)
            .sum::<i64>();
    }
    // Graph tells arrival in whole seconds: a mail of the very second counts as new.
    assert_eq!(taken.len() as i64 + older, 1);
    assert_eq!(kept[0].is_read, !taken.is_empty());

    let earlier = mail("ann@customer.example", SUPPORT, "New", "");
    let late = deliver(&world, SUPPORT, earlier);
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.settle().await?;
    assert!(ledger(world.db()).await?.iter().any(|row| row.graph_id == late.graph_id));
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn nonsense_at_the_webhook_is_answered_and_changes_nothing() -> anyhow::Result<()> {
    let world = world().await?;
    let mailbox = mailboxes::list(world.db()).await?.remove(0);
    let folder = folders::list_of_mailbox(world.db(), mailbox.id).await?.remove(0);
    let path = subscriptions::list_of_folder(world.db(), folder.id).await?.remove(0).path;
    let known = format!("/hooks/graph/{path}");
    let element = |state: &str| {
        json!({ "value": [{
            "subscriptionId": "7d3bd9a7-2e7b-4f8a-9a0f-3f8d2f1d0c55", "clientState": state, "changeType": "created",
            "resource": "Users/x/Messages/AAkA=", "resourceData": { "id": "AAkA=" },
        }] })
    };
    let large = "x".repeat(1024 * 1024 + 1);
    for (path, body, status) in [
        (known.as_str(), element("wrong").to_string(), StatusCode::ACCEPTED),
        ("/hooks/graph/nobody", element("wrong").to_string(), StatusCode::ACCEPTED),
        (known.as_str(), "this is no JSON".into(), StatusCode::BAD_REQUEST),
        (known.as_str(), large, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let request =
            Request::post(path).header("content-type", "application/json").body(Bytes::from(body))?;
        let answer = call(world.router(), request).await?;
        assert_eq!(answer.status(), status, "{path}: {:?}", answer.body());
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(ledger(world.db()).await?.is_empty());
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn whatever_arrives_becomes_a_conversation() -> anyhow::Result<()> {
    let world = world().await?;
    let big =
        format!("From: a@b.example\r\nSubject: big\r\n\r\n{}", "0123456789abcdef\r\n".repeat(2_300_000));
    assert!(big.len() > 40_000_000);
    let delivered = vec![
        deliver(&world, SUPPORT, &b""[..]),
        deliver(&world, SUPPORT, &b"\xff\xfe\x00\x00 no header at all \x80\x81"[..]),
        deliver(&world, SUPPORT, &b"Subject: no sender and no end"[..]),
        deliver(
            &world,
            SUPPORT,
            &b"From: <<>>,,;\r\nContent-Type: multipart/mixed; boundary=\r\n\r\n--\r\n"[..],
        ),
        deliver(&world, SUPPORT, big),
    ];
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.settle().await?;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mail_joins_a_conversation_only_if_its_sender_takes_part() -> anyhow::Result<()> {
    let world = world().await?;
    let arrive = async |from: &str, subject: &str, headers: &str| -> anyhow::Result<_> {
        let sent = deliver(&world, SUPPORT, mail(from, SUPPORT, subject, headers));
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.settle().await?;
        let row = ledger(world.db()).await?.into_iter().find(|row| row.graph_id == sent.graph_id);
        Ok(row.expect("it was taken"))
    };
    let first = arrive("ann@customer.example", "Printer", "Message-ID: <1@customer.example>\r\n").await?;
    let again = arrive(
        "ann@customer.example",
        "Re: Printer",
        "Message-ID: <2@customer.example>\r\nIn-Reply-To: <1@customer.example>\r\n",
    )
    .await?;
    assert_eq!(again.conversation, first.conversation);
    let stranger = arrive(
        "eve@elsewhere.example",
        "Re: Printer",
        "Message-ID: <3@elsewhere.example>\r\nReferences: <1@customer.example>\r\n",
    )
    .await?;
    assert_ne!(stranger.conversation, first.conversation);
    assert_eq!(stranger.reason, Reason::SenderNotInConversation);
    let own = conversations::find(world.db(), stranger.conversation.unwrap()).await?.unwrap();
    assert_eq!(own.linked, first.conversation);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn the_first_declared_route_wins_and_the_trace_names_the_others() -> anyhow::Result<()> {
    let world = world().await?;
    let both = "sales@contoso.example, billing@contoso.example, support@contoso.example";
    let sent = deliver(&world, SUPPORT, mail("ann@customer.example", both, "To all", ""));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.settle().await?;
    let row = ledger(world.db()).await?.into_iter().find(|row| row.graph_id == sent.graph_id).unwrap();
    let story = trace::list_of_message(world.db(), row.id).await?;
    let choice = story.iter().find(|entry| entry.step == Step::RouteChosen).unwrap();
    assert_eq!(choice.reason, Reason::RouteByRecipient);
    let order: Vec<&str> = postroom_app::sample::ORGANIZATION
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- { address: ").filter(|_| line.contains("queue:")))
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(choice.data["address"], order[0]);
    assert_eq!(choice.data["others"], json!(order[1..]));
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mail_without_a_route_is_held_and_goes_on_when_there_is_one() -> anyhow::Result<()> {
    let mut plan = Plan::sample(Ground::Virtual);
    let whole = plan.organization.clone();
    let is_sales_route = |line: &&str| !(line.contains("address: sales@") && line.contains("queue:"));
    plan.organization = whole.lines().filter(is_sales_route).collect::<Vec<_>>().join("\n");
    let world = World::start(plan).await?;
    connected(&world).await?;
    let sent = deliver(
        &world,
        "sales@contoso.example",
        mail("ann@customer.example", "sales@contoso.example", "x", ""),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.settle().await?;
    let row = ledger(world.db()).await?.remove(0);
    assert_eq!((row.state, row.reason), (MessageState::Held, Reason::NoRoute));
    assert!(row.touched_at.is_some(), "it is taken, whatever happens to it here");

    world.apply(&whole, organization::Options { dry_run: false, prune: false }).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.settle().await?;
    let rows = ledger(world.db()).await?;
    assert_eq!((rows.len(), &rows[0].graph_id), (1, &sent.graph_id));
    assert_eq!(rows[0].state, MessageState::Routed);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_good_mail_goes_its_way_though_its_namesake_can_not_be_opened() -> anyhow::Result<()> {
    let world = world().await?;
    let text = |to: &str| {
        mail("ann@customer.example", to, "Long", "Message-ID: <long@customer.example>\r\n")
            + &"Text. ".repeat(10_000)
    };
    let lost = deliver(&world, SUPPORT, text(SUPPORT));
    world.settle().await?;
    let row = &ledger(world.db()).await?[0];
    assert_eq!(row.graph_id, lost.graph_id);
    let Some((Content::Blob(blob), _)) = messages::find_content(world.db(), row.id).await? else {
        anyhow::bail!("it is small")
    };
    world.engine().store().blobs.delete(blob).await?;
    deliver(&world, "sales@contoso.example", text(SUPPORT));
    world.settle().await?;
    let states: Vec<_> = ledger(world.db()).await?.iter().map(|row| row.state).collect();
    assert_eq!(states, [MessageState::Routed, MessageState::Routed]);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn the_ledger_finds_words_in_every_script() -> anyhow::Result<()> {
    let world = world().await?;
    for subject in ["\u{c9}T\u{c9} Gr\u{f6}\u{df}e", "\u{8acb}\u{6c42}\u{66f8}\u{306e}\u{4ef6}"] {
        let headers = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
        deliver(&world, SUPPORT, mail("ann@customer.example", SUPPORT, subject, headers));
    }
    world.settle().await?;
    for (text, count) in
        [("\u{c9}T\u{c9}", 1), ("GR\u{f6}\u{df}E", 1), ("\u{6c42}\u{66f8}", 1), ("%", 0), ("ANN@", 2)]
    {
        let filter = messages::Filter { text: Some(text.to_owned()), ..Default::default() };
        assert_eq!(messages::list_page(world.db(), &filter, 10).await?.len(), count, "{text}");
    }
    world.assert_quiet().await
}
