//! The same seed gives the same faults, in whatever order mailboxes happen to act.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use postroom_sim::{MailboxConfig, Profile};
use serde_json::{Value, json};

use crate::client::{Told, World, user, world_of};

const MAILBOXES: [&str; 4] = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
const STEPS: usize = 25;

/// What one mailbox went through.
#[derive(Debug, Default, PartialEq)]
struct Fate {
    statuses: Vec<u16>,
    heard: Vec<String>,
    folders: Vec<String>,
}

/// A stormy world in which nothing has happened yet.
async fn storm(seed: u64) -> World {
    let mut world = world_of(|config| {
        config.seed = seed;
        config.mailboxes = MAILBOXES.map(|address| MailboxConfig::new(address, address)).into();
    })
    .await;
    world.set("token.lifetime_s", 30 * 24 * 3_600);
    world.token = world.new_token().await;
    world.simulator.set_profile(Profile::Storm);
    world.set("value.broken_rate", 0.2);
    world.live();
    world
}

/// A step of a mailbox's life, the same in each world.
async fn step(world: &World, mailbox: &str, step: usize, fate: &mut Fate) {
    let root = user(mailbox);
    let mut note = |told: &Told| fate.statuses.push(told.status);
    if step < 6 {
        let name = ["one", "two"][step % 2];
        let url = json!({ "notificationUrl": format!("https://hooks.example/{mailbox}/{name}") });
        let kinds = if name == "one" { "created" } else { "created,updated" };
        let mut wanted = url;
        wanted["changeType"] = kinds.into();
        note(&world.ask_subscription(mailbox, wanted).await);
    }
    world.deliver(mailbox, &format!("s{step}"));
    note(&world.get(&format!("{root}/messages?$select=subject")).await);
    note(&world.get(&format!("{root}/mailFolders/inbox/messages/delta")).await);
    let messages = world.simulator.messages(mailbox).unwrap();
    let wanted = format!("s{}", step / 2);
    let message = messages.iter().find(|message| message.subject == wanted).unwrap();
    note(&world.get(&format!("{root}/messages/{}/$value", message.id)).await);
    let path = format!("{root}/messages/{}", message.id);
    note(&world.ask("PATCH", &path, Some(json!({ "isRead": step.is_multiple_of(3) }))).await);
    let mail = json!({ "message": {
        "subject": format!("out {step}"),
        "body": { "contentType": "text", "content": "t" },
        "toRecipients": [{ "emailAddress": { "address": "ann@customer.example" } }],
    }});
    note(&world.ask("POST", &format!("{root}/sendMail"), Some(mail)).await);
    world.seconds(2).await;
}

/// What became of each mailbox, once everything is delivered.
async fn fates(world: &World, mut fates: BTreeMap<&'static str, Fate>) -> BTreeMap<&'static str, Fate> {
    world.seconds(600).await;
    for (mailbox, fate) in &mut fates {
        let messages = world.simulator.messages(mailbox).unwrap();
        let subjects: BTreeMap<&str, &str> =
            messages.iter().map(|message| (message.id.as_str(), message.subject.as_str())).collect();
        let told = |path: &str, element: &Value| {
            let id = element["resourceData"]["id"].as_str().unwrap();
            format!(
                "{path} {} {}",
                element["changeType"].as_str().unwrap(),
                subjects.get(id).unwrap_or(&"gone")
            )
        };
        for name in ["one", "two"] {
            let heard = world.endpoint.heard(&format!("{mailbox}/{name}"));
            fate.heard.extend(heard.iter().map(|element| told(name, element)));
        }
        fate.heard.sort();
        fate.folders =
            messages.iter().map(|message| format!("{} {}", message.folder, message.subject)).collect();
        fate.folders.sort();
    }
    fates
}

/// The whole life of a mailbox.
async fn life(world: &World, mailbox: &'static str) -> (&'static str, Fate) {
    let mut fate = Fate::default();
    for number in 0..STEPS {
        step(world, mailbox, number, &mut fate).await;
    }
    (mailbox, fate)
}

/// Each mailbox lives its whole life before the next one begins.
async fn one_after_another(seed: u64) -> BTreeMap<&'static str, Fate> {
    let world = storm(seed).await;
    let mut all = BTreeMap::new();
    for mailbox in MAILBOXES {
        all.extend([life(&world, mailbox).await]);
    }
    fates(&world, all).await
}

/// All mailboxes live at the same time, the last one first.
async fn side_by_side(seed: u64) -> BTreeMap<&'static str, Fate> {
    let world = storm(seed).await;
    let lives = MAILBOXES.into_iter().rev().map(|mailbox| life(&world, mailbox));
    let all = join_all(lives).await.into_iter().collect();
    fates(&world, all).await
}

#[tokio::test(start_paused = true)]
async fn the_order_in_which_mailboxes_act_changes_nobody_s_fate() {
    let (apart, together) = (one_after_another(7).await, side_by_side(7).await);
    for mailbox in MAILBOXES {
        let fate = &apart[mailbox];
        assert_eq!(*fate, together[mailbox], "{mailbox}");
        let failed = fate.statuses.iter().filter(|status| **status >= 400).count();
        assert!(
            failed > 10 && failed < fate.statuses.len() - 10 && !fate.heard.is_empty(),
            "a storm: {fate:?}"
        );
    }
    assert_ne!(apart[MAILBOXES[0]].statuses, apart[MAILBOXES[1]].statuses, "each has its own");
}

#[tokio::test(start_paused = true)]
async fn another_seed_is_another_world() {
    assert_ne!(one_after_another(7).await, one_after_another(8).await);
}
