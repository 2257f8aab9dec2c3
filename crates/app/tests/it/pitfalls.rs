//! The known pitfalls of Graph mail, each met by a test that turns its switch on:
//! `pitfalls.tsv` is the table. The stories here belong to its lines.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use postroom_app::world::{Ground, Plan, World};
use postroom_model::{
    MessageId,
    ledger::{MessageState, Reason},
    mailbox::MailboxHealth,
};
use postroom_sim::{AccessRight, Policy};
use postroom_store::{folders, mailboxes, messages, messages::SeenMessage};
use serde_json::{Value, json};

use crate::{
    laws::{Delivered, assert_taken_once, deliver, ledger, mail, pause, write},
    take_in::{connected, world},
};

const TABLE: &str = include_str!("pitfalls.tsv");
/// What belongs to sending and to content, and is open.
const LATER: &[&str] = &[
    "29", "30", "31", "35", "36", "37", "39", "40", "41", "42", "43", "44", "46c", "47", "48", "57", "58",
    "59",
];
const SUPPORT: &str = "support@contoso.example";
const SALES: &str = "sales@contoso.example";
const BILLING: &str = "billing@contoso.example";
const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

#[test]
fn every_pitfall_has_a_switch_that_is_there_and_a_test_that_is_there() -> anyhow::Result<()> {
    let lines: Vec<Vec<&str>> =
        TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    let numbers: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    let known: Vec<String> = (1..=60)
        .flat_map(|number| match number {
            46 => vec!["46".to_owned(), "46a".to_owned(), "46b".to_owned(), "46c".to_owned()],
            _ => vec![number.to_string()],
        })
        .collect();
    assert_eq!(numbers, known);
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    let switches = serde_json::to_value(postroom_sim::Profile::Calm.switches())?;
    for line in &lines {
        let [number, switch, test] = line[..] else { panic!("{line:?} has not three columns") };
        for name in switch.split(' ').filter(|name| *name != "–") {
            assert!(switches.get(name).is_some(), "{number}: there is no switch {name}");
        }
        match test {
            "later" => assert!(LATER.contains(&number), "{number} has no test"),
            test => assert!(sources.contains(&format!("fn {test}(")), "{number}: there is no test {test}"),
        }
    }
    let open = lines.iter().filter(|line| line[2] == "later").count();
    println!("{} pitfalls, {} with a test, {open} open", lines.len(), lines.len() - open);
    Ok(())
}

/// All Rust sources of the workspace, one behind the other.
fn sources(folder: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("node_modules") {
            text.push_str(&sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(text)
}

fn set(world: &World, switches: &[(&str, Value)]) -> anyhow::Result<()> {
    for (name, value) in switches {
        world.simulator.set_switch(name, value.clone())?;
    }
    Ok(())
}

/// Forty mails under these switches over half an hour, some in the same second; then the weather clears.
async fn weather(switches: &[(&str, Value)]) -> anyhow::Result<()> {
    let world = world().await?;
    set(&world, switches)?;
    let mut delivered = Vec::new();
    for number in 0..10 {
        for (to, times) in [(SUPPORT, 2), (SALES, 1), (BILLING, 1)] {
            delivered.extend((0..times).map(|time| write(&world, to, &format!("Number {number}, {time}"))));
        }
        pause(3).await;
    }
    clears(&world, &delivered).await?;
    world.assert_quiet().await
}

/// Everything works again, and each mail comes to its end.
async fn clears(world: &World, delivered: &[Delivered]) -> anyhow::Result<()> {
    world.simulator.set_profile(postroom_sim::Profile::Calm);
    for _ in 0..60 {
        pause(2).await;
        if world.is_idle().await? && world.count_ended().await? == delivered.len() {
            break;
        }
    }
    assert_taken_once(world, delivered).await
}

#[tokio::test(start_paused = true)]
async fn mails_that_are_never_announced_are_found() -> anyhow::Result<()> {
    weather(&[("notify.loss_rate", json!(0.8))]).await?;
    weather(&[("notify.bulk_suppress", json!(1))]).await
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_is_announced_before_it_can_be_read_waits_for_it() -> anyhow::Result<()> {
    weather(&[("store.replication_lag_ms", json!(90_000))]).await
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_is_announced_again_and_again_is_one_mail() -> anyhow::Result<()> {
    weather(&[("notify.created_updated_pair", json!(true)), ("notify.duplicate_rate", json!(0.9))]).await
}

#[tokio::test(start_paused = true)]
async fn a_delta_track_that_repeats_itself_tells_half_and_breaks_off_loses_nothing() -> anyhow::Result<()> {
    // Nothing is announced: the track alone tells.
    weather(&[
        ("notify.outage", json!(true)),
        ("delta.replay", json!(0.5)),
        ("delta.partial", json!(true)),
        ("delta.empty_page", json!(0.3)),
        ("delta.no_link", json!(0.3)),
    ])
    .await
}

#[tokio::test(start_paused = true)]
async fn a_delta_track_that_is_forgotten_is_crawled_anew_and_takes_nothing_twice() -> anyhow::Result<()> {
    for status in [410, 400, 404] {
        weather(&[
            ("notify.outage", json!(true)),
            ("delta.expire", json!(true)),
            ("delta.expire_rate", json!(0.5)),
            ("delta.expire_status", json!(status)),
        ])
        .await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn answers_that_never_come_are_asked_for_again_in_smaller_ones() -> anyhow::Result<()> {
    weather(&[("error.rate", json!(0.4)), ("error.statuses", json!([504]))]).await?;
    // A page of ids of all that came while we were down is too much for the gateway.
    let mut world = world().await?;
    world.kill().await;
    world.simulator.set_switch("notify.outage", json!(true))?;
    let delivered: Vec<_> = (0..300).map(|number| write(&world, SUPPORT, &number.to_string())).collect();
    world.simulator.set_switch("gateway.timeout_bytes", json!(8_000))?;
    world.restart().await?;
    pause(5).await;
    assert_taken_once(&world, &delivered).await?;
    // The nightly proof asks for all of them too.
    pause(25 * 60).await;
    let inbox =
        folders::list_of_mailbox(world.db(), mailboxes::list(world.db()).await?[0].id).await?.remove(0);
    assert!(inbox.last_sweep_at.is_some());
    clears(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn refusals_without_a_word_when_to_come_back_are_waited_out() -> anyhow::Result<()> {
    for word in ["absent", "date", "seconds"] {
        weather(&[("throttle.rate", json!(0.3)), ("throttle.retry_after", json!(word))]).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn errors_of_any_shape_are_judged_by_their_status() -> anyhow::Result<()> {
    for shape in ["bare", "html", "full"] {
        weather(&[
            ("error.rate", json!(0.3)),
            ("error.statuses", json!([500, 502, 503, 504])),
            ("error.shape", json!(shape)),
            ("throttle.rate", json!(0.1)),
        ])
        .await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_list_of_subscriptions_that_lies_or_fails_harms_nothing() -> anyhow::Result<()> {
    for switch in [("sub.list_stale", json!(true)), ("sub.list_error", json!(1))] {
        let mut world = world().await?;
        set(&world, std::slice::from_ref(&switch))?;
        // A start depends on no list; what it shows of the past is no reason to do anything.
        world.simulator.lifecycle(SUPPORT, "subscriptionRemoved")?;
        world.kill().await;
        world.restart().await?;
        pause(150).await;
        let before = world.simulator.subscriptions();
        assert_eq!(before.len(), 3);
        pause(150).await;
        assert_eq!(world.simulator.subscriptions(), before);
        let mail = write(&world, SUPPORT, "Announced");
        clears(&world, &[mail]).await?;
        world.assert_quiet().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_can_not_be_removed_notifies_nobody() -> anyhow::Result<()> {
    let world = world().await?;
    set(&world, &[("sub.duplicate_policy", json!("allow")), ("sub.zombie", json!(true))])?;
    world.db().apply(vec![postroom_store::Stmt::new("DELETE FROM subscriptions", vec![])]).await?;
    pause(70).await;
    assert_eq!(world.simulator.subscriptions().len(), 6, "the former ones live on");
    let mails = [write(&world, SUPPORT, "Twice announced"), write(&world, SALES, "This too")];
    pause(10).await;
    let figures = world.simulator.figures().notifications;
    assert_eq!(figures.failed_posts, 0, "a notification for nobody is answered, or it would come for hours");
    clears(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ends_without_a_word_is_missed_within_the_hour() -> anyhow::Result<()> {
    let world = world().await?;
    set(&world, &[("lifecycle.suppress", json!(true)), ("lifecycle.spurious_rate", json!(1))])?;
    world.simulator.end_subscriptions(SUPPORT)?;
    assert_eq!(world.simulator.subscriptions().len(), 2);
    pause(65).await;
    assert_eq!(world.simulator.subscriptions().len(), 3);
    set(&world, &[("lifecycle.suppress", json!(false))])?;
    let mails: Vec<_> = (0..5).map(|number| write(&world, SUPPORT, &number.to_string())).collect();
    clears(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn our_own_drafts_and_those_of_people_are_no_mails() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.make_draft(SUPPORT, "Not sent yet")?;
    let mail = write(&world, SUPPORT, "Sent");
    clears(&world, &[mail]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_a_person_moves_into_the_inbox_is_in_the_ledger_and_ignored() -> anyhow::Result<()> {
    let world = world().await?;
    for announced in [true, false] {
        world.simulator.set_switch("notify.outage", json!(!announced))?;
        let subject = format!("Announced: {announced}");
        world.simulator.make_draft(SUPPORT, &subject)?;
        let mails = world.simulator.messages(SUPPORT)?;
        let draft = mails.iter().find(|mail| mail.subject == subject);
        let draft = draft.ok_or_else(|| anyhow::anyhow!("no draft"))?.id.clone();
        world.simulator.move_by_hand(SUPPORT, &draft, "inbox")?;
        pause(10).await;
        let rows = ledger(world.db()).await?;
        let row = rows.iter().find(|row| row.graph_id == draft);
        let row = row.ok_or_else(|| anyhow::anyhow!("the draft is not in the ledger"))?;
        assert_eq!((row.state, row.reason), (MessageState::Ignored, Reason::Draft));
        assert!(row.stored_at.is_none() && row.conversation.is_none());
    }
    let untouched = world.simulator.messages(SUPPORT)?.iter().all(|mail| mail.is_draft);
    assert!(untouched);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_a_person_moves_is_still_the_same_mail() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.make_folder(SUPPORT, "Later")?;
    set(&world, &[("notify.delay_ms", json!(60_000))])?;
    let moved = write(&world, SUPPORT, "Moved before we heard of it");
    let back = write(&world, SUPPORT, "Moved away and back");
    world.simulator.move_by_hand(SUPPORT, &moved.graph_id, "Later")?;
    world.simulator.move_by_hand(SUPPORT, &back.graph_id, "Later")?;
    pause(5).await;
    world.simulator.move_by_hand(SUPPORT, &back.graph_id, "inbox")?;
    clears(&world, &[moved, back]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_is_full_of_states_is_failing_and_loses_nothing() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", json!(true))?;
    let mails = [write(&world, SUPPORT, "Into a full one"), write(&world, SALES, "Into another")];
    pause(40).await;
    let row = mailboxes::list(world.db()).await?.into_iter().find(|row| row.address == SUPPORT);
    let row = row.ok_or_else(|| anyhow::anyhow!("no mailbox"))?;
    assert_ne!(row.health, MailboxHealth::Healthy);
    assert!(world.count_ended().await? == 1, "the other one is taken");
    world.simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", Value::Null)?;
    clears(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn copies_of_chats_are_no_mails() -> anyhow::Result<()> {
    weather(&[("mailbox.im_items", json!(true))]).await
}

#[tokio::test(start_paused = true)]
async fn the_same_subject_makes_no_conversation() -> anyhow::Result<()> {
    let world = world().await?;
    set(&world, &[("conversation.collide", json!(true))])?;
    let mails: Vec<_> = (0..4)
        .map(|number| {
            let from = format!("customer{number}@customer.example");
            deliver(&world, SUPPORT, mail(&from, SUPPORT, "Invoice", ""))
        })
        .collect();
    clears(&world, &mails).await?;
    let conversations: BTreeSet<_> = ledger(world.db()).await?.iter().map(|row| row.conversation).collect();
    assert_eq!(conversations.len(), mails.len());
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_bears_fewer_requests_at_a_time_gets_fewer() -> anyhow::Result<()> {
    let world = world().await?;
    set(&world, &[("throttle.concurrency", json!(3)), ("latency_ms", json!(500))])?;
    let mails: Vec<_> = (0..80).map(|number| write(&world, SUPPORT, &number.to_string())).collect();
    pause(15).await;
    let refused = world.simulator.figures().by_status.get(&429).copied().unwrap_or_default();
    assert!((1..10).contains(&refused), "{refused} refusals until it was learnt");
    clears(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_ended_stops_nothing_for_good() -> anyhow::Result<()> {
    let world = world().await?;
    set(&world, &[("secret.expire", json!(true)), ("token.revoke", json!(true))])?;
    let mails: Vec<_> = (0..5).map(|number| write(&world, SUPPORT, &number.to_string())).collect();
    pause(120).await;
    let row = mailboxes::list(world.db()).await?.remove(0);
    assert_eq!(row.health, MailboxHealth::Failing);
    ensure!(row.health_detail.unwrap_or_default().contains("AADSTS7000222"), "the cause is named");
    assert!(world.simulator.figures().by_kind.get("token").copied().unwrap_or_default() < 60);
    clears(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_consent_that_is_not_known_everywhere_yet_is_waited_for() -> anyhow::Result<()> {
    let world = world().await?;
    let roles = world.simulator.application(CLIENT)?.roles;
    set(&world, &[("consent.propagation_ms", json!(20 * 60_000))])?;
    world.simulator.set_roles(CLIENT, &[])?;
    pause(130).await;
    let mail = write(&world, SUPPORT, "While nothing is consented to");
    pause(30).await;
    assert!(world.count_ended().await? == 0);
    world.simulator.set_roles(CLIENT, &roles)?;
    // Until the consent acts everywhere, and no more than a quarter of an hour until the next probe.
    pause(20 + 16).await;
    clears(&world, &[mail]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn who_is_shut_out_by_a_policy_comes_back_within_one_probe_and_stops_nobody_else() -> anyhow::Result<()>
{
    let world = world().await?;
    set(&world, &[("policy.propagation_ms", json!(10 * 60_000))])?;
    let policy = Policy { access_right: AccessRight::DenyAccess, mailboxes: vec![SUPPORT.to_owned()] };
    world.simulator.set_policies(CLIENT, vec![policy])?;
    pause(15).await;
    let mut mails = Vec::new();
    for number in 0..5 {
        mails.push(write(&world, SUPPORT, &format!("Shut out {number}")));
        let other = write(&world, SALES, &format!("Not concerned {number}"));
        tokio::time::sleep(Duration::from_secs(10)).await;
        let rows = ledger(world.db()).await?;
        assert!(rows.iter().any(|row| row.graph_id == other.graph_id && row.state.is_final()));
        mails.push(other);
        pause(20).await;
    }
    assert_eq!(world.count_ended().await?, 5);
    world.simulator.set_policies(CLIENT, vec![])?;
    // Ten minutes until the change acts, and no more than a quarter of an hour until the next probe.
    pause(10 + 16).await;
    assert_eq!(world.count_ended().await?, 10);
    clears(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_a_mailbox_is_kept_and_used() -> anyhow::Result<()> {
    // A twentieth of Microsoft's budget, so that it is over twenty times as soon.
    let mut plan = Plan::sample(Ground::Virtual);
    plan.organization =
        plan.organization.replace("    mailboxes:\n", "    limits: { requests: 500 }\n    mailboxes:\n");
    let world = World::start(plan).await?;
    connected(&world).await?;
    set(&world, &[("throttle.requests", json!(500))])?;
    let begun = world.now();
    let mails: Vec<_> = (0..700).map(|number| write(&world, SUPPORT, &number.to_string())).collect();
    let other = write(&world, SALES, "Not concerned");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        ledger(world.db()).await?.iter().any(|row| row.graph_id == other.graph_id && row.state.is_final())
    );
    while world.count_ended().await? <= mails.len() {
        pause(1).await;
        ensure!(world.now().duration_since(begun).as_mins() < 60, "the budget is not used");
    }
    // Bytes before marks: 700 mails are 700 requests and some, and the second half of 500 comes ten minutes later.
    assert!((10..=21).contains(&world.now().duration_since(begun).as_mins()));
    pause(40).await;
    assert_eq!(world.simulator.figures().by_status.get(&429), None, "nothing was refused");
    clears(&world, &mails.into_iter().chain([other]).collect::<Vec<_>>()).await?;
    world.assert_quiet().await
}

#[tokio::test]
async fn ids_that_differ_only_by_case_are_two_mails() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Sqlite)).await?;
    let mailbox = mailboxes::list(world.db()).await?.remove(0);
    let folder = folders::list_of_mailbox(world.db(), mailbox.id).await?.remove(0);
    for (number, graph_id) in [(1_u128, "AAMkAGxyz="), (2, "AAMkAGXYZ=")] {
        let seen = SeenMessage {
            id: MessageId::from_uuid(uuid::Uuid::from_u128(number)),
            mailbox: mailbox.id,
            folder: folder.id,
            graph_id: graph_id.to_owned(),
            reason: Reason::Notified,
            seen_at: world.now(),
            received_at: None,
        };
        world.db().apply(vec![messages::insert_seen(&seen)]).await?;
    }
    assert_eq!(ledger(world.db()).await?.len(), 2);
    world.end().await
}
