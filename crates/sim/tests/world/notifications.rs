//! Change notifications: how they come, how they come again, and how they don't come.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{SALES, SUPPORT, TENANT, World, living_world, user};

/// The immutable ids that notifications of a mailbox named, in the order of their coming.
fn ids(world: &World, mailbox: &str) -> Vec<String> {
    let heard = world.endpoint.heard(mailbox);
    heard.iter().map(|element| element["resourceData"]["id"].as_str().unwrap().to_owned()).collect()
}

fn kinds(world: &World, mailbox: &str) -> Vec<String> {
    let heard = world.endpoint.heard(mailbox);
    heard.iter().map(|element| element["changeType"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_notification_says_where_to_look_and_nothing_of_the_mail() {
    let world = living_world().await;
    let subscription = world.subscribe(SUPPORT).await;
    let id = world.deliver(SUPPORT, "m");
    world.seconds(1).await;
    let guid = world.ok(&user(SUPPORT)).await["id"].as_str().unwrap().to_owned();
    let [element] = &world.endpoint.heard(SUPPORT)[..] else { panic!("one notification") };
    let path = format!("Users/{guid}/Messages/{id}");
    for (name, value) in [
        ("subscriptionId", subscription.as_str()),
        ("clientState", "secret"),
        ("changeType", "created"),
        ("resource", &path),
        ("tenantId", TENANT),
    ] {
        assert_eq!(element[name], value, "{name}");
    }
    let data = &element["resourceData"];
    assert_eq!(
        (&data["@odata.type"], &data["@odata.id"]),
        (&json!("#Microsoft.Graph.Message"), &json!(path))
    );
    assert_eq!(data["id"], id);
    let message = world.ok(&format!("{}/messages/{id}", user(SUPPORT))).await;
    assert_eq!(data["@odata.etag"], message["@odata.etag"]);
    assert!(!element.to_string().contains("customer.example"), "{element}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_ten_seconds_for_the_handshake_at_each_address() {
    let world = living_world().await;
    world.endpoint.manners().handshake = Duration::from_millis(9_900);
    let path = format!("https://hooks.example/{SUPPORT}");
    world.subscribe_as(SUPPORT, json!({ "lifecycleNotificationUrl": path })).await;
    assert_eq!(
        world.endpoint.handshakes(),
        [format!("/{SUPPORT}"), format!("/{SUPPORT}")],
        "two, though it is one"
    );

    world.endpoint.manners().handshake = Duration::from_millis(10_100);
    let told = world.ask_subscription(SALES, json!({})).await;
    assert_eq!((told.status, told.code()), (400, "ValidationError"));
    assert_eq!(told.message(), "Subscription validation request timed out.");
    world.endpoint.manners().handshake = Duration::ZERO;
    world.endpoint.manners().slip = "\n";
    let told = world.ask_subscription(SALES, json!({})).await;
    assert_eq!((told.status, told.code()), (400, "ValidationError"), "more than the token");
    world.endpoint.manners().slip = "";
    world.set_for(SALES, "sub.validation_flaky", json!({ "at": [1] }));
    assert_eq!(world.ask_subscription(SALES, json!({})).await.code(), "ValidationError");
    assert_eq!(world.simulator.subscriptions().len(), 1);
    world.subscribe(SALES).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_shaken_hands_with_and_a_new_expiry_is_not() {
    let world = living_world().await;
    let path = format!("/v1.0/subscriptions/{}", world.subscribe(SUPPORT).await);
    let asked = world.endpoint.handshakes().len();
    let later = json!({ "expirationDateTime": "2026-03-08T00:00:00Z" });
    assert_eq!(world.ask("PATCH", &path, Some(later)).await.status, 200);
    assert_eq!(world.endpoint.handshakes().len(), asked);
    let moved = json!({ "notificationUrl": "https://hooks.example/moved" });
    world.endpoint.manners().slip = "x";
    assert_eq!(world.ask("PATCH", &path, Some(moved.clone())).await.code(), "ValidationError");
    world.endpoint.manners().slip = "";
    assert_eq!(world.ask("PATCH", &path, Some(moved)).await.status, 200);
    world.deliver(SUPPORT, "m");
    world.seconds(1).await;
    assert_eq!((world.endpoint.heard("moved").len(), world.endpoint.heard(SUPPORT).len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_due_together_comes_together_a_hundred_at_most() {
    let world = living_world().await;
    let here = json!({ "notificationUrl": "https://hooks.example/both" });
    world.subscribe_as(SUPPORT, here.clone()).await;
    world.subscribe_as(SALES, here).await;
    for number in 0..125 {
        world.deliver(SUPPORT, &format!("m{number}"));
        world.deliver(SALES, &format!("m{number}"));
    }
    world.seconds(1).await;
    let sizes: Vec<usize> = world.endpoint.posts().iter().map(|post| post.elements.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let figures = world.simulator.figures().notifications;
    assert_eq!((figures.created, figures.delivered, figures.posts), (250, 250, 3));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_tried_for_four_hours_at_longer_and_longer_intervals_and_then_lost() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.endpoint.manners().status = 503;
    world.deliver(SUPPORT, "m");
    world.seconds(24 * 3_600).await;
    let times: Vec<Duration> = world.endpoint.posts().iter().map(|post| post.at).collect();
    let waits: Vec<Duration> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(waits.is_sorted() && waits[0] < waits[4] && waits.len() > 10, "{waits:?}");
    let tried_for = *times.last().unwrap() - times[0];
    let (most, least) = (Duration::from_secs(4 * 3_600), Duration::from_secs(3 * 3_600));
    assert!(tried_for <= most && tried_for > least, "{tried_for:?}");
    let figures = world.simulator.figures().notifications;
    assert_eq!((figures.delivered, figures.lost, figures.failed_posts), (0, 1, times.len() as u64));
    assert!(!world.simulator.is_busy());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_hears_what_it_missed_once() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.endpoint.manners().status = 500;
    let id = world.deliver(SUPPORT, "m");
    world.seconds(3_600).await;
    world.endpoint.manners().status = 202;
    world.endpoint.forget();
    world.seconds(3_600).await;
    assert_eq!(ids(&world, SUPPORT), [id]);
    assert_eq!(world.simulator.figures().notifications.lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_first_answer_after_three_seconds_is_a_failure_and_a_retry_may_take_longer() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.endpoint.manners().delay = Duration::from_millis(2_900);
    world.deliver(SUPPORT, "in time");
    world.seconds(3_600).await;
    assert_eq!(world.endpoint.posts().len(), 1);
    world.endpoint.forget();
    world.endpoint.manners().delay = Duration::from_millis(3_100);
    let id = world.deliver(SUPPORT, "late");
    world.seconds(3_600).await;
    assert_eq!(ids(&world, SUPPORT), [id.clone(), id], "the second try took as long and was good");
    world.endpoint.forget();
    world.endpoint.manners().delay = Duration::from_millis(10_100);
    world.deliver(SUPPORT, "later than anybody waits");
    world.seconds(600).await;
    assert!(world.endpoint.posts().len() > 3, "no try was good");
}

/// Delivers mails so far apart that each is a request of its own.
async fn deliver_apart(world: &World, mails: u64) {
    for number in 0..mails {
        world.deliver(SUPPORT, &format!("apart {number}"));
        world.seconds(15).await;
    }
}

/// Subscriptions to the mailboxes at endpoints of two hosts.
async fn subscribe_at_two_hosts(world: &World) {
    world.subscribe(SUPPORT).await;
    let elsewhere = json!({ "notificationUrl": format!("https://other.example/{SALES}") });
    world.subscribe_as(SALES, elsewhere).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_is_told_ten_minutes_later() {
    let world = living_world().await;
    subscribe_at_two_hosts(&world).await;
    deliver_apart(&world, 10).await;
    world.endpoint.manners().delay = Duration::from_secs(4);
    deliver_apart(&world, 3).await;
    world.endpoint.manners().delay = Duration::ZERO;
    world.seconds(30).await;
    world.endpoint.forget();
    let id = world.deliver(SUPPORT, "new");
    let other = world.deliver(SALES, "new");
    world.seconds(5 * 60).await;
    assert_eq!(ids(&world, SALES), [other], "another host");
    assert!(!ids(&world, SUPPORT).contains(&id));
    world.seconds(5 * 60).await;
    assert!(ids(&world, SUPPORT).contains(&id));
    assert!(world.endpoint.life(SUPPORT).is_empty());
    assert_eq!(world.simulator.figures().notifications.suppressed, 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_far_too_slow_is_told_nothing_and_then_that_it_missed_something() {
    let world = living_world().await;
    subscribe_at_two_hosts(&world).await;
    world.endpoint.manners().delay = Duration::from_secs(11);
    deliver_apart(&world, 8).await;
    world.endpoint.manners().delay = Duration::ZERO;
    world.seconds(60).await;
    world.endpoint.forget();
    let suppressed = world.simulator.figures().notifications.suppressed;
    let dropped = [world.deliver(SUPPORT, "new"), world.deliver(SUPPORT, "newer")];
    let other = world.deliver(SALES, "new");
    world.seconds(60).await;
    assert_eq!(world.endpoint.life(SUPPORT), [""; 0], "not before it is over");
    // Two spans of ten minutes: what was slow before may count in the second one still.
    world.seconds(30 * 60).await;
    assert!(dropped.iter().all(|id| !ids(&world, SUPPORT).contains(id)));
    assert_eq!(world.simulator.figures().notifications.suppressed, suppressed + 2);
    assert_eq!(world.endpoint.life(SUPPORT), ["missed"]);
    assert_eq!((ids(&world, SALES), world.endpoint.life(SALES).len()), (vec![other], 0));
    let id = world.deliver(SUPPORT, "after");
    world.seconds(1).await;
    assert!(ids(&world, SUPPORT).contains(&id));
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_is_too_slow_where_the_switch_says_so() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.set("notify.slow_and_drop", false);
    world.endpoint.manners().delay = Duration::from_secs(11);
    deliver_apart(&world, 12).await;
    world.endpoint.manners().delay = Duration::ZERO;
    let id = world.deliver(SUPPORT, "new");
    world.seconds(1).await;
    assert!(ids(&world, SUPPORT).contains(&id));
}

#[tokio::test(start_paused = true)]
async fn when_many_come_at_once_the_later_ones_are_not_told() {
    let world = living_world().await;
    world.set("notify.bulk_suppress", 3);
    world.subscribe(SUPPORT).await;
    world.subscribe(SALES).await;
    let first: Vec<String> = (0..8).map(|number| world.deliver(SUPPORT, &format!("m{number}"))).collect();
    let other = world.deliver(SALES, "alone");
    world.seconds(1).await;
    assert_eq!((ids(&world, SUPPORT), ids(&world, SALES)), (first[..3].to_vec(), vec![other]));
    let next = world.deliver(SUPPORT, "in the next second");
    world.seconds(60).await;
    assert_eq!(ids(&world, SUPPORT), [&first[..3], &[next]].concat(), "and never made up for");
}

#[tokio::test(start_paused = true)]
async fn a_new_mail_is_told_as_created_and_as_updated() {
    let world = living_world().await;
    world.set_for(SUPPORT, "notify.created_updated_pair", true);
    for mailbox in [SUPPORT, SALES] {
        world.subscribe_as(mailbox, json!({ "changeType": "created,updated" })).await;
        world.deliver(mailbox, "m");
    }
    world.seconds(1).await;
    assert_eq!(
        (kinds(&world, SUPPORT), kinds(&world, SALES)),
        (vec!["created".to_owned(), "updated".into()], vec!["created".into()])
    );
    let [first, second] = &ids(&world, SUPPORT)[..] else { panic!("a pair") };
    assert_eq!(first, second);
}

#[tokio::test(start_paused = true)]
async fn some_are_told_twice_and_some_not_at_all() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.set("notify.duplicate_rate", json!({ "at": [2] }));
    world.set("notify.loss_rate", json!({ "at": [4] }));
    let sent: Vec<String> = (0..5).map(|number| world.deliver(SUPPORT, &format!("m{number}"))).collect();
    world.seconds(1).await;
    let expected = [&sent[0], &sent[1], &sent[1], &sent[2], &sent[4]].map(String::as_str);
    assert_eq!(ids(&world, SUPPORT), expected);
    let figures = world.simulator.figures().notifications;
    assert_eq!((figures.created, figures.suppressed, figures.delivered), (5, 1, 5));
}

#[tokio::test(start_paused = true)]
async fn delayed_ones_come_late_and_jitter_changes_their_order() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.set("notify.delay_ms", 60_000);
    let delayed = world.deliver(SUPPORT, "delayed");
    world.seconds(59).await;
    assert!(ids(&world, SUPPORT).is_empty());
    world.seconds(2).await;
    assert_eq!(ids(&world, SUPPORT), [delayed]);

    world.endpoint.forget();
    world.set("notify.delay_ms", 0);
    world.set("notify.jitter_ms", 30_000);
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(world.deliver(SUPPORT, &format!("m{number}")));
        world.seconds(1).await;
    }
    world.seconds(30).await;
    let mut heard = ids(&world, SUPPORT);
    assert_ne!(heard, sent);
    heard.sort();
    sent.sort();
    assert_eq!(heard, sent, "every one, once");
}

#[tokio::test(start_paused = true)]
async fn what_an_outage_swallows_is_never_made_up_for_and_stays_in_its_mailbox() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.subscribe(SALES).await;
    world.set_for(SUPPORT, "notify.outage", true);
    world.deliver(SUPPORT, "swallowed");
    let heard = world.deliver(SALES, "heard");
    world.seconds(5 * 3_600).await;
    world.set_for(SUPPORT, "notify.outage", Value::Null);
    let after = world.deliver(SUPPORT, "after");
    world.seconds(3_600).await;
    assert_eq!((ids(&world, SUPPORT), ids(&world, SALES)), (vec![after], vec![heard]));
}

#[tokio::test(start_paused = true)]
async fn a_switch_of_one_mailbox_leaves_the_others_alone() {
    for (name, value, expected) in [
        ("notify.loss_rate", json!(true), 0),
        ("notify.duplicate_rate", json!(true), 2),
        ("notify.delay_ms", json!(3_600_000), 0),
        ("notify.bulk_suppress", json!(1), 1),
        ("sub.silent_death", json!(true), 0),
    ] {
        let world = living_world().await;
        world.subscribe(SUPPORT).await;
        world.subscribe(SALES).await;
        world.set_for(SUPPORT, name, value);
        world.deliver(SUPPORT, "m");
        world.deliver(SALES, "m");
        world.seconds(60).await;
        assert_eq!((ids(&world, SUPPORT).len(), ids(&world, SALES).len()), (expected, 1), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_may_be_told_before_it_can_be_read() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.set_for(SUPPORT, "store.replication_lag_ms", 5_000);
    let delta = format!("{}/messages/delta", crate::delta::inbox(SUPPORT));
    let id = world.deliver(SUPPORT, "m");
    world.seconds(1).await;
    assert_eq!(ids(&world, SUPPORT), std::slice::from_ref(&id));
    let path = format!("{}/messages/{id}", user(SUPPORT));
    let told = world.get(&path).await;
    assert_eq!((told.status, told.code()), (404, "ErrorItemNotFound"));
    assert_eq!(world.ok(&delta).await["value"], json!([]));
    world.seconds(4).await;
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(world.ok(&delta).await["value"][0]["id"], id);
}
