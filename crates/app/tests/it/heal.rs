//! Stories of healing: whatever changes on Microsoft's side, or at an administrator's
//! wish, the connector comes back by itself, and nothing is lost or taken twice.

use std::time::Duration;

use postroom_app::world::{Ground, Plan, World};
use postroom_engine::wishes::Wish;
use postroom_model::{
    ledger::{MessageState, Reason},
    mailbox::MailboxHealth,
};
use postroom_sim::{AccessRight, Policy};
use postroom_store::{folders, mailboxes, mailboxes::Mailbox};
use serde_json::json;

use crate::{
    laws::{Delivered, assert_taken_once, deliver, ledger, mail, pause, write},
    take_in::{connected, world},
};

const SUPPORT: &str = "support@contoso.example";
const SALES: &str = "sales@contoso.example";
const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

async fn mailbox(world: &World, address: &str) -> anyhow::Result<Mailbox> {
    let all = mailboxes::list(world.db()).await?;
    all.into_iter().find(|one| one.address == address).ok_or_else(|| anyhow::anyhow!("no {address}"))
}

async fn is_taken(world: &World, mail: &Delivered) -> anyhow::Result<bool> {
    Ok(ledger(world.db()).await?.iter().any(|row| row.graph_id == mail.graph_id))
}

fn asked(world: &World, kind: &str) -> u64 {
    world.simulator.figures().by_kind.get(kind).copied().unwrap_or_default()
}

fn asked_about_subscriptions(world: &World) -> u64 {
    let by_kind = world.simulator.figures().by_kind;
    by_kind.iter().filter(|(kind, _)| kind.starts_with("subscription.")).map(|(_, count)| count).sum()
}

fn asked_of(world: &World, address: &str) -> u64 {
    world.simulator.figures().by_mailbox.get(address).map(|figures| figures.total).unwrap_or_default()
}

/// The sample organisation, with these words in place of what it says of the support mailbox.
fn plan(words: &str) -> Plan {
    let mut plan = Plan::sample(Ground::Virtual);
    let usual = "folders: [inbox], take_from: activation, after_taking: mark-read";
    assert!(plan.organization.contains(usual), "the sample has changed");
    plan.organization = plan.organization.replace(usual, words);
    plan
}

/// Minutes until the mail is in the ledger.
async fn minutes_until_taken(world: &World, mail: &Delivered) -> anyhow::Result<u64> {
    for minutes in 0..60 {
        if is_taken(world, mail).await? {
            return Ok(minutes);
        }
        pause(1).await;
    }
    anyhow::bail!("not taken within an hour")
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_fell_silent_is_found_out_by_the_first_mail_and_made_anew() -> anyhow::Result<()>
{
    let world = world().await?;
    pause(60).await;
    let before = world.simulator.subscriptions();
    world.simulator.set_switch("sub.silent_death", json!(true))?;
    let unheard = write(&world, SUPPORT, "Unheard");
    pause(20).await;
    assert!(is_taken(&world, &unheard).await?);
    let after = world.simulator.subscriptions();
    assert_eq!(after.len(), before.len());
    assert_ne!(after, before, "the dead subscription was replaced");
    // What comes now is announced: it does not wait for a delta round.
    let heard = write(&world, SUPPORT, "Heard");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_taken(&world, &heard).await?);
    assert_taken_once(&world, &[unheard, heard]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_announced_a_mailbox_is_followed_each_minute_and_the_subscription_is_not_churned()
-> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("notify.outage", json!(true))?;
    let mut delivered = vec![write(&world, SUPPORT, "The first")];
    pause(10).await;
    let replaced = asked(&world, "subscription.delete");
    for number in 0..12 {
        let mail = write(&world, SUPPORT, &format!("Number {number}"));
        assert!(minutes_until_taken(&world, &mail).await? <= 2);
        delivered.push(mail);
        pause(8).await;
    }
    let more = asked(&world, "subscription.delete") - replaced;
    // Twice each: once because it stands in the way of the new one, once as what is left of earlier ones.
    assert!((2..=8).contains(&more), "{more} requests to remove subscriptions in two hours");
    world.simulator.set_switch("notify.outage", json!(false))?;
    pause(10).await;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn mails_come_though_no_subscription_can_be_made_and_the_mailbox_says_so() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    world.simulator.set_switch("sub.validation_flaky", json!(1))?;
    connected(&world).await?;
    let mail = write(&world, SUPPORT, "No subscription");
    assert!(minutes_until_taken(&world, &mail).await? <= 2);
    let polled = mailbox(&world, SUPPORT).await?;
    assert_eq!(polled.health, MailboxHealth::Polling);
    assert!(polled.health_detail.unwrap_or_default().contains("validation"), "the cause is named");
    world.simulator.set_switch("sub.validation_flaky", json!(0))?;
    pause(12).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
    assert_eq!(world.simulator.subscriptions().len(), 3);
    assert_taken_once(&world, &[mail]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn what_fails_about_subscriptions_is_asked_again_after_growing_waits_and_stops_no_mail()
-> anyhow::Result<()> {
    let world = world().await?;
    let mut delivered = Vec::new();
    // The hourly question, then the renewal at half life, each for hours.
    for minutes in [50, 4 * 24 * 60] {
        pause(minutes).await;
        let asked = asked_about_subscriptions(&world);
        world.simulator.set_switch("sub.error_rate", json!(1))?;
        pause(6 * 60).await;
        let mail = write(&world, SUPPORT, "Meanwhile");
        assert!(minutes_until_taken(&world, &mail).await? <= 6);
        delivered.push(mail);
        let more = asked_about_subscriptions(&world) - asked;
        // Three mailboxes, each at first after seconds and then every five minutes; the list once an hour.
        assert!((10..3 * 90).contains(&more), "{more} requests in six hours");
        world.simulator.set_switch("sub.error_rate", json!(0))?;
        pause(20).await;
        assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
        assert_eq!(world.simulator.subscriptions().len(), 3);
    }
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_delta_link_that_is_of_no_use_any_more_is_given_up_by_itself() -> anyhow::Result<()> {
    let world = world().await?;
    let mut delivered = Vec::new();
    let support = mailbox(&world, SUPPORT).await?.id;
    for link in [
        // The integration had another address before.
        "https://graph.elsewhere.example/v1.0/users/x/mailFolders/y/messages/delta?$deltatoken=z",
        // Microsoft takes it for nonsense.
        "http://127.0.0.1:2/v1.0/users/support%40contoso.example/mailFolders/inbox/messages/delta?$filter=nonsense",
    ] {
        let folder = &folders::list_of_mailbox(world.db(), support).await?[0];
        let from = folder.delta_link.as_deref();
        let kept = folders::record_round(folder.id, from, link, 0, world.now(), world.now());
        world.db().apply(vec![kept]).await?;
        world.simulator.set_switch("notify.outage", json!(true))?;
        let mail = write(&world, SUPPORT, "By the delta query alone");
        assert!(minutes_until_taken(&world, &mail).await? <= 6);
        assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
        delivered.push(mail);
        world.simulator.set_switch("notify.outage", json!(false))?;
    }
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn tracks_that_are_lost_again_and_again_are_not_followed_in_circles() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    for number in 0..600 {
        write(&world, SUPPORT, &format!("Older {number}"));
    }
    world.simulator.set_switch("delta.expire_rate", json!(1))?;
    let before = asked(&world, "delta");
    pause(30).await;
    let more = asked(&world, "delta") - before;
    // Two times the first page and its follower at each try, and a try each five minutes at last.
    assert!((10..120).contains(&more), "{more} requests in half an hour");
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Failing);
    world.simulator.set_switch("delta.expire_rate", json!(0))?;
    let mail = write(&world, SUPPORT, "It is kept again");
    pause(6).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
    assert!(is_taken(&world, &mail).await?);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_missing_or_not_subscribed_to_stops_no_other_folder() -> anyhow::Result<()> {
    let world = World::start(plan("folders: [inbox, Orders]")).await?;
    pause(2).await;
    let first = write(&world, SUPPORT, "No folder Orders yet");
    assert!(minutes_until_taken(&world, &first).await? <= 1);
    let row = mailbox(&world, SUPPORT).await?;
    assert_eq!(row.health, MailboxHealth::Failing);
    assert!(row.health_detail.unwrap_or_default().contains("no folder \"Orders\""), "the cause is named");

    // One folder's subscription stands, the other's can't be made: the waits grow all the same.
    world.simulator.set_switch("sub.validation_flaky", json!(1))?;
    world.simulator.make_folder(SUPPORT, "Orders")?;
    connected(&world).await?;
    let before = asked(&world, "subscription.create");
    pause(60).await;
    let tries = asked(&world, "subscription.create") - before;
    assert!((5..30).contains(&tries), "{tries} tries in an hour");
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Polling);
    world.simulator.set_switch("sub.validation_flaky", json!(0))?;
    pause(12).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
    assert_eq!(world.simulator.subscriptions().len(), 4);
    assert_taken_once(&world, &[first]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_shorter_life_than_asked_for_is_read_from_the_refusal_and_renewed_at_its_half() -> anyhow::Result<()>
{
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    world.simulator.set_switch("sub.max_minutes", json!(120))?;
    connected(&world).await?;
    let before = world.simulator.subscriptions();
    assert_eq!(before.len(), 3);
    pause(600).await;
    // The same three, renewed again and again: none was made anew.
    assert_eq!(world.simulator.subscriptions(), before);
    let mail = write(&world, SUPPORT, "Ten hours later");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_taken(&world, &mail).await?);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_moves_nothing_is_answered_by_a_new_subscription() -> anyhow::Result<()> {
    let world = world().await?;
    let before = world.simulator.subscriptions();
    world.simulator.set_switch("sub.patch_noop", json!(true))?;
    pause(4 * 24 * 60).await;
    let after = world.simulator.subscriptions();
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|one| !before.contains(one)));
    let mail = write(&world, SUPPORT, "Announced");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_taken(&world, &mail).await?);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn subscriptions_of_a_former_life_are_removed_and_those_of_others_are_not() -> anyhow::Result<()> {
    let mut world = world().await?;
    for policy in ["409", "allow"] {
        world.simulator.set_switch("sub.duplicate_policy", json!(policy))?;
        // The rows are gone, as after an old copy of the store was put back.
        let everything = postroom_store::Stmt::new("DELETE FROM subscriptions", vec![]);
        world.db().apply(vec![everything]).await?;
        world.kill().await;
        world.restart().await?;
        pause(75).await;
        assert_eq!(world.simulator.subscriptions().len(), 3, "{policy}");
        let mail = write(&world, SUPPORT, policy);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(is_taken(&world, &mail).await?, "{policy}");
    }
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_folder_made_anew_under_its_name_is_followed_and_subscribed_to() -> anyhow::Result<()> {
    let world = World::start(plan("folders: [Orders]")).await?;
    pause(10).await;
    let row = mailbox(&world, SUPPORT).await?;
    assert_eq!(row.health, MailboxHealth::Failing);
    assert!(row.health_detail.unwrap_or_default().contains("no folder \"Orders\""), "the cause is named");
    world.simulator.make_folder(SUPPORT, "Orders")?;
    connected(&world).await?;
    let mut delivered = Vec::new();
    for round in 0..3 {
        let mail = write(&world, SUPPORT, &format!("Round {round}"));
        pause(1).await;
        assert!(!is_taken(&world, &mail).await?, "the Inbox is not watched");
        world.simulator.move_by_hand(SUPPORT, &mail.graph_id, "Orders")?;
        assert!(minutes_until_taken(&world, &mail).await? < 8);
        delivered.push(mail);
        pause(2).await;
        world.simulator.set_switch("folder.recreate", json!(true))?;
        pause(12).await;
        assert_eq!(world.simulator.subscriptions().len(), 3, "one for each mailbox, for its present folder");
    }
    world.end().await
}

#[tokio::test(start_paused = true)]
async fn a_paused_mailbox_is_left_alone_and_misses_nothing_while_the_others_go_on() -> anyhow::Result<()> {
    let world = world().await?;
    assert!(world.engine().ask_of_mailbox(SUPPORT, Wish::Pause).await?);
    assert!(!world.engine().ask_of_mailbox(SUPPORT, Wish::Pause).await?);
    pause(6).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Paused);
    let before = asked_of(&world, SUPPORT);
    let (waiting, other) = (write(&world, SUPPORT, "Waits"), write(&world, SALES, "Goes on"));
    pause(30).await;
    assert_eq!(asked_of(&world, SUPPORT), before, "nothing was asked of the paused mailbox");
    assert!(
        ledger(world.db()).await?.iter().any(|row| row.graph_id == other.graph_id && row.state.is_final())
    );
    assert!(world.engine().ask_of_mailbox("support@CONTOSO.example", Wish::Resume).await?);
    pause(2).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
    assert_taken_once(&world, &[waiting, other]).await?;
    let unknown = world.engine().ask_of_mailbox("nobody@contoso.example", Wish::Pause).await;
    assert!(unknown.is_err_and(|error| error.to_string().contains(SALES)));
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_resync_reads_everything_anew_and_takes_nothing_twice() -> anyhow::Result<()> {
    let world = world().await?;
    let delivered: Vec<_> =
        (0..20).map(|number| write(&world, SUPPORT, &format!("Number {number}"))).collect();
    pause(10).await;
    let before = world.simulator.subscriptions();
    world.engine().ask_of_mailbox(SUPPORT, Wish::Resync).await?;
    pause(3).await;
    let row = mailbox(&world, SUPPORT).await?;
    let folder = folders::list_of_mailbox(world.db(), row.id).await?.remove(0);
    assert!(row.resync_asked_at.is_none() && folder.last_delta_at.is_some());
    let replaced = world.simulator.subscriptions().iter().filter(|one| !before.contains(one)).count();
    assert_eq!(replaced, 1, "one mailbox, and no other");
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn taken_mails_are_categorised_moved_or_left_as_the_mailbox_is_set() -> anyhow::Result<()> {
    for (set, category, folder, read) in [
        ("category:Taken", Some("Taken"), "inbox", false),
        ("move:Inbox/Done", None, "Done", false),
        ("nothing", None, "inbox", false),
        ("mark-read", None, "inbox", true),
    ] {
        let world = World::start(plan(&format!("after_taking: \"{set}\""))).await?;
        connected(&world).await?;
        write(&world, SUPPORT, set);
        pause(10).await;
        let there = world.simulator.messages(SUPPORT)?;
        assert_eq!(there.len(), 1);
        assert_eq!((there[0].folder.as_str(), there[0].is_read), (folder, read), "{set}");
        assert_eq!(there[0].categories.first().map(String::as_str), category, "{set}");
        assert!(ledger(world.db()).await?.iter().all(|row| row.state == MessageState::Routed));
        world.assert_quiet().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_a_person_opened_first_is_taken_or_left_as_the_mailbox_is_set() -> anyhow::Result<()> {
    for (set, state, reason) in [
        ("take", MessageState::Routed, Reason::NoReferences),
        ("leave", MessageState::Ignored, Reason::OpenedByPerson),
    ] {
        let world = World::start(plan(&format!("opened: {set}"))).await?;
        connected(&world).await?;
        world.simulator.set_switch("notify.outage", json!(true))?;
        let opened = write(&world, SUPPORT, "Opened");
        world.simulator.mark_by_hand(SUPPORT, &opened.graph_id, true)?;
        let unread = write(&world, SUPPORT, "Unread");
        pause(10).await;
        let rows = ledger(world.db()).await?;
        let row = |mail: &Delivered| rows.iter().find(|row| row.graph_id == mail.graph_id).cloned();
        let first = row(&opened).ok_or_else(|| anyhow::anyhow!("not in the ledger"))?;
        assert_eq!((first.state, first.reason), (state, reason), "{set}");
        assert_eq!(row(&unread).map(|row| row.state), Some(MessageState::Routed));
        world.assert_quiet().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_came_before_mails_are_taken_is_left_alone_though_it_is_announced() -> anyhow::Result<()> {
    let world = World::start(plan("take_from: 2026-03-03")).await?;
    connected(&world).await?;
    let at = |day: u8, time: &str| {
        mail("ann@customer.example", SUPPORT, time, "")
            .replace("2 Nov 2026 10:00:00 +0900", &format!("{day} Mar 2026 {time} +0000"))
    };
    let early = deliver(&world, SUPPORT, at(2, "09:00:00"));
    let nameless = deliver(
        &world,
        SUPPORT,
        "From: ann@customer.example\r\nSubject: S\r\n\r\nNo server wrote on it.\r\n",
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    for row in ledger(world.db()).await? {
        assert_eq!((row.state, row.reason), (MessageState::Ignored, Reason::Older));
    }
    assert!(is_taken(&world, &early).await? && is_taken(&world, &nameless).await?, "both were announced");
    pause(15 * 60 + 1).await;
    let asked_before = asked(&world, "message.get");
    let late = deliver(&world, SUPPORT, at(3, "00:02:00"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rows = ledger(world.db()).await?;
    let row = rows.iter().find(|row| row.graph_id == late.graph_id).map(|row| row.state);
    assert_eq!(row, Some(MessageState::Routed));
    assert_eq!(asked(&world, "message.get"), asked_before, "a mail's own date is enough");
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_write_mails_are_taken_and_the_mailbox_says_what_is_refused()
-> anyhow::Result<()> {
    let world = world().await?;
    let all = world.simulator.application(CLIENT)?.roles;
    world.simulator.set_roles(CLIENT, &["Mail.Read".to_owned(), "Mail.Send".to_owned()])?;
    // Longer than a token lives.
    pause(100).await;
    let before = asked(&world, "message.patch");
    let mut delivered = Vec::new();
    for number in 0..60 {
        let mail = write(&world, SUPPORT, &format!("Number {number}"));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(
            ledger(world.db())
                .await?
                .iter()
                .any(|row| row.graph_id == mail.graph_id && row.state == MessageState::Routed),
            "number {number} waits"
        );
        delivered.push(mail);
        pause(1).await;
    }
    let row = mailbox(&world, SUPPORT).await?;
    assert_eq!(row.health, MailboxHealth::Failing);
    assert!(
        row.health_detail.unwrap_or_default().contains("mark_read was answered 403"),
        "the cause is named"
    );
    // Sixty mails wait to be marked; Microsoft is asked about one at a time.
    let more = asked(&world, "message.patch") - before;
    assert!((4..30).contains(&more), "{more} requests in an hour");
    world.simulator.set_roles(CLIENT, &all)?;
    pause(25).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Healthy);
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_resync_ends_every_rest_that_is_our_own_caution() -> anyhow::Result<()> {
    let world = world().await?;
    let denied = Policy { access_right: AccessRight::DenyAccess, mailboxes: vec![SUPPORT.to_owned()] };
    world.simulator.set_policies(CLIENT, vec![denied])?;
    let mail = write(&world, SUPPORT, "Announced, and not to be had");
    // By then each wait is as long as it gets.
    pause(121).await;
    assert_eq!(mailbox(&world, SUPPORT).await?.health, MailboxHealth::Failing);
    world.simulator.set_policies(CLIENT, vec![])?;
    world.engine().ask_of_mailbox(SUPPORT, Wish::Resync).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_taken_once(&world, &[mail]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_start_looks_at_every_folder_at_once_for_what_nobody_heard_of() -> anyhow::Result<()> {
    let mut world = world().await?;
    let mut delivered = vec![write(&world, SUPPORT, "Before")];
    // The folders are quiet, and were followed a moment ago.
    pause(11).await;
    world.kill().await;
    world.simulator.set_switch("notify.loss_rate", json!(1.0))?;
    delivered.push(write(&world, SUPPORT, "Nobody was there"));
    world.simulator.set_switch("notify.loss_rate", json!(0.0))?;
    world.restart().await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}
