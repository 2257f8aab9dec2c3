//! Stories of many mails and many mailboxes: a broken mailbox slows no other, a full
//! budget is used and never passed, and what piled up in two days is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use postroom_app::world::{Ground, Plan, World};
use postroom_model::ledger::Step;
use postroom_sim::{AccessRight, MailboxChange, MailboxConfig, MailboxStatus, Policy};
use postroom_store::trace;
use serde_json::{Value, json};

use crate::{
    laws::{Delivered, assert_taken_once, deliver, ledger, mail, pause, write},
    take_in::{connected, world},
};

const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
const SUPPORT: &str = "support@contoso.example";
const MAILBOXES: [&str; 3] = [SUPPORT, "sales@contoso.example", "billing@contoso.example"];
/// The mailbox that is broken among fifty.
const BROKEN: usize = 7;

#[tokio::test(start_paused = true)]
async fn a_hundred_mails_in_the_same_second_are_taken_once_each() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("latency_ms", json!(50))?;
    let mut delivered: Vec<_> = (0..50).map(|number| write(&world, SUPPORT, &number.to_string())).collect();
    delivered.extend((50..100).map(|number| write(&world, MAILBOXES[number % 3], &number.to_string())));
    // Two requests a mail, four at a time, each of 50 ms: 67 mails to one mailbox are a matter of two seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_down_for_two_days_takes_all_that_came_meanwhile() -> anyhow::Result<()> {
    let mut world = world().await?;
    let mut delivered = vec![write(&world, SUPPORT, "Before")];
    pause(5).await;
    world.kill().await;
    for hour in 0..48 {
        let to = MAILBOXES[hour % 3];
        delivered.extend((0..6).map(|number| write(&world, to, &format!("Hour {hour}, number {number}"))));
        if hour == 30 {
            // The subscriptions end meanwhile, as if the last renewal had been days before.
            MAILBOXES.iter().try_for_each(|address| world.simulator.end_subscriptions(address))?;
        }
        pause(60).await;
    }
    world.restart().await?;
    delivered.push(write(&world, SUPPORT, "After"));
    pause(3).await;
    assert_taken_once(&world, &delivered).await?;
    // Announcements come again too.
    let announced = write(&world, SUPPORT, "Announced");
    tokio::time::sleep(Duration::from_secs(5)).await;
    delivered.push(announced);
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn the_full_budget_carries_eight_mails_a_second_and_nothing_is_refused() -> anyhow::Result<()> {
    let world = world().await?;
    // As Microsoft counts: 10,000 requests of an application to a mailbox in ten minutes.
    world.simulator.set_switch("throttle.requests", json!(10_000))?;
    let mut delivered = Vec::new();
    let begun = world.now();
    // 8.2 mails a second for eleven minutes: the first requests leave the count as the last ones come.
    for number in 0..5412_u32 {
        delivered.push(write(&world, SUPPORT, &number.to_string()));
        let next = begun + SignedDuration::from_millis(i64::from(number + 1) * 1000 * 10 / 82);
        tokio::time::sleep(next.duration_since(world.now()).try_into().unwrap_or_default()).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let figures = world.simulator.figures();
    assert_eq!(figures.by_status.get(&429), None, "nothing was refused");
    let in_window = figures.total;
    assert!(in_window > 10_800, "{in_window} requests in eleven minutes");
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn subscriptions_that_take_minutes_to_make_hold_up_no_mail_of_any_mailbox() -> anyhow::Result<()> {
    let (addresses, plan) = fifty();
    let world = World::start(plan).await?;
    // Four are asked for at a time: it takes twelve minutes until each mailbox has its own.
    world.simulator.set_switch("sub.answer_delay_ms", json!(55_000))?;
    connected(&world).await?;
    let delivered: Vec<_> = addresses.iter().map(|to| write(&world, to, "Meanwhile")).collect();
    pause(6).await;
    assert!(world.simulator.subscriptions().len() < addresses.len(), "they are still being made");
    assert_taken_once(&world, &delivered).await?;
    pause(10).await;
    assert_eq!(world.simulator.subscriptions().len(), addresses.len());
    world.assert_quiet().await
}

/// Fifty mailboxes, and their world.
fn fifty() -> (Vec<&'static str>, Plan) {
    let addresses: Vec<&'static str> = (0..50).map(|n| &*format!("box{n}@contoso.example").leak()).collect();
    let plan = Plan {
        mailboxes: addresses.iter().map(|address| MailboxConfig::new(*address, *address)).collect(),
        organization: organization(&addresses),
        ..Plan::sample(Ground::Virtual)
    };
    (addresses, plan)
}

/// How long each mail was on its way from the mailbox into a queue, by mailbox.
type Ways = BTreeMap<usize, Vec<SignedDuration>>;

/// An hour of mails to fifty mailboxes; in the middle of each `spoils`, for ten minutes.
async fn hour_of_fifty(spoils: &[Spoil]) -> anyhow::Result<Ways> {
    let (addresses, plan) = fifty();
    let world = World::start(plan).await?;
    connected(&world).await?;
    world.simulator.set_switch("latency_ms", json!(50))?;
    let mut delivered: Vec<(usize, Timestamp, Delivered)> = Vec::new();
    for minute in 0..6 * spoils.len().max(ALL.len()) {
        if minute % 6 == 1
            && let Some(spoil) = spoils.get(minute / 6)
        {
            spoil.set(&world, addresses[BROKEN], true)?;
        }
        if minute % 6 == 5
            && let Some(spoil) = spoils.get(minute / 6)
        {
            spoil.set(&world, addresses[BROKEN], false)?;
        }
        for (number, to) in addresses.iter().enumerate() {
            let text = mail("Ann <ann@customer.example>", to, &format!("Minute {minute}"), "");
            // The broken one gets more than its share.
            let times = if number == BROKEN { 5 } else { 1 };
            for _ in 0..times {
                delivered.push((number, world.now(), deliver(&world, to, text.clone())));
            }
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
    }
    pause(40).await;
    let rows = ledger(world.db()).await?;
    let mut ways = Ways::new();
    for (number, at, mail) in &delivered {
        let row = rows.iter().find(|row| row.graph_id == mail.graph_id).context("a mail is lost")?;
        let story = trace::list_of_message(world.db(), row.id).await?;
        let queued = story.iter().find(|entry| entry.step == Step::Queued).context("not in a queue")?;
        ways.entry(*number).or_default().push(queued.at.duration_since(*at));
    }
    let mails: Vec<_> = delivered.into_iter().map(|(.., mail)| mail).collect();
    assert_taken_once(&world, &mails).await?;
    world.assert_quiet().await?;
    Ok(ways)
}

/// A way in which a mailbox can be broken.
enum Spoil {
    Switch(&'static str, fn() -> Value),
    Licence,
    Policy,
}

const ALL: &[Spoil] = &[
    Spoil::Switch("error.rate", || json!(1)),
    Spoil::Switch("throttle.rate", || json!(1)),
    Spoil::Switch("latency_ms", || json!(45_000)),
    Spoil::Switch("delta.no_link", || json!(1)),
    Spoil::Switch("delta.expire_rate", || json!(1)),
    Spoil::Switch("store.replication_lag_ms", || json!(60_000)),
    Spoil::Switch("mailbox.quota", || json!(true)),
    Spoil::Licence,
    Spoil::Policy,
];

impl Spoil {
    fn set(&self, world: &World, address: &str, is_broken: bool) -> anyhow::Result<()> {
        match self {
            Self::Switch(name, value) => {
                let value = if is_broken { value() } else { Value::Null };
                world.simulator.set_mailbox_switch(address, name, value)?;
            }
            Self::Licence => {
                let status = if is_broken { MailboxStatus::Unlicensed } else { MailboxStatus::Active };
                let change = MailboxChange { status: Some(status), ..MailboxChange::default() };
                world.simulator.change_mailbox(address, change)?;
            }
            Self::Policy => {
                let mailboxes = vec![address.to_owned()];
                let policy = Policy { access_right: AccessRight::DenyAccess, mailboxes };
                world.simulator.set_policies(CLIENT, if is_broken { vec![policy] } else { vec![] })?;
            }
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn one_mailbox_of_fifty_is_broken_in_every_way_and_the_others_do_not_feel_it() -> anyhow::Result<()> {
    let fine = hour_of_fifty(&[]).await?;
    let broken = hour_of_fifty(ALL).await?;
    let slowest = |ways: &Ways| {
        let others = ways.iter().filter(|(number, _)| **number != BROKEN);
        others.flat_map(|(_, ways)| ways).max().copied().unwrap_or_default()
    };
    let mean = |ways: &Ways| -> f64 {
        let others: Vec<f64> = ways
            .iter()
            .filter(|(number, _)| **number != BROKEN)
            .flat_map(|(_, ways)| ways.iter().map(SignedDuration::as_secs_f64))
            .collect();
        others.iter().sum::<f64>() / others.len() as f64
    };
    println!(
        "49 mailboxes: mean {:.3} s beside a sound one, {:.3} s beside a broken one; slowest {:.3} s and {:.3} s",
        mean(&fine),
        mean(&broken),
        slowest(&fine).as_secs_f64(),
        slowest(&broken).as_secs_f64()
    );
    ensure!(broken[&BROKEN].iter().max() > Some(&SignedDuration::from_mins(1)), "it was not broken");
    ensure!(mean(&broken) < mean(&fine) * 1.1, "the others became slower");
    ensure!(slowest(&broken) < slowest(&fine) + SignedDuration::from_millis(200), "one of the others waited");
    Ok(())
}

fn organization(addresses: &[&str]) -> String {
    let list = |line: &dyn Fn(&&str) -> String| addresses.iter().map(line).collect::<String>();
    let mailboxes = list(&|address| format!("      - {{ address: {address} }}\n"));
    let routes = list(&|address| format!("  - {{ address: {address}, queue: Support }}\n"));
    format!(
        "organization: {{ name: Contoso, languages: [en] }}\nintegrations:\n  - name: contoso\n    kind: microsoft-graph\n    \
         token_endpoint: {token}\n    graph_url: {graph}\n    client_id: {CLIENT}\n    cloud: global\n    credentials:\n      \
         - {{ name: spring, secret: \"{secret}\" }}\n    mailboxes:\n{mailboxes}domains:\n  \
         - {{ name: contoso.example, kind: inbound, integration: contoso }}\nroutes:\n{routes}queues:\n  \
         - {{ name: Support }}\n",
        token = postroom_app::sample::TOKEN_ENDPOINT,
        graph = postroom_app::sample::GRAPH_URL,
        secret = postroom_app::sample::SECRET,
    )
}
