//! The life of subscriptions: how long, how renewed, how ended, and what is told of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postroom_sim::{MailboxChange, MailboxStatus};
use serde_json::{Value, json};

use crate::client::{SALES, SUPPORT, World, living_world};

const DAY: u64 = 24 * 3_600;

/// A moment so many minutes after the world began.
fn at(minutes: i64) -> Value {
    let start: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    json!(start + SignedDuration::from_mins(minutes))
}

fn path(id: &str) -> String {
    format!("/v1.0/subscriptions/{id}")
}

/// Whether a mail that comes now is told.
async fn hears(world: &World, mailbox: &str) -> bool {
    let before = world.endpoint.heard(mailbox).len();
    world.deliver(mailbox, &format!("heard {before}"));
    world.seconds(1).await;
    world.endpoint.heard(mailbox).len() > before
}

async fn listed(world: &World) -> Vec<Value> {
    world.ok("/v1.0/subscriptions").await["value"].as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_lives_up_to_seven_days_less_ten_minutes_and_no_renewal_wakes_it_after() {
    let world = living_world().await;
    for (asked, limit) in [(10_071, 10_070), (100, 60)] {
        if limit == 60 {
            world.set("sub.max_minutes", 60);
        }
        let told = world.ask_subscription(SUPPORT, json!({ "expirationDateTime": at(asked) })).await;
        assert_eq!((told.status, told.code()), (400, "ExtensionError"));
        assert_eq!(
            told.message(),
            format!("Subscription expiration can only be {limit} minutes in the future.")
        );
    }
    world.set("sub.max_minutes", 10_070);
    let id = world.subscribe_as(SUPPORT, json!({ "expirationDateTime": at(10_070) })).await;
    world.pass(Duration::from_secs(10_069 * 60)).await;
    assert!(hears(&world, SUPPORT).await);
    assert_eq!(world.get(&path(&id)).await.status, 200);
    world.seconds(60).await;
    assert!(!hears(&world, SUPPORT).await);
    let renewal = json!({ "expirationDateTime": at(12_000) });
    let told = world.ask("PATCH", &path(&id), Some(renewal)).await;
    assert_eq!((told.status, told.code()), (404, "ResourceNotFound"));
    assert_eq!(world.ask("DELETE", &path(&id), None).await.status, 404);
    assert_eq!(world.ask("POST", &format!("{}/reauthorize", path(&id)), None).await.status, 404);
    // Nobody is told anything of what is dead.
    world.simulator.lifecycle(SUPPORT, "missed").unwrap();
    world.seconds(1).await;
    assert_eq!(world.endpoint.life(SUPPORT), [""; 0]);
    world.subscribe_as(SUPPORT, json!({ "expirationDateTime": at(12_000) })).await;
    assert!(hears(&world, SUPPORT).await);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_time_prolongs_it_and_a_short_life_is_raised() {
    let world = living_world().await;
    let told = world.ask_subscription(SUPPORT, json!({ "expirationDateTime": at(5) })).await;
    let expires: Timestamp = told.text("expirationDateTime").parse().unwrap();
    let start: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    assert_eq!(expires.duration_since(start), SignedDuration::from_mins(45));
    world.seconds(44 * 60).await;
    let later = json!({ "expirationDateTime": at(10_000) });
    assert_eq!(world.ask("PATCH", &path(&told.text("id")), Some(later)).await.status, 200);
    world.seconds(6 * DAY).await;
    assert!(hears(&world, SUPPORT).await);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_may_answer_well_and_do_nothing() {
    let world = living_world().await;
    let id = world.subscribe_as(SUPPORT, json!({ "expirationDateTime": at(60) })).await;
    let before = world.ok(&path(&id)).await["expirationDateTime"].clone();
    world.set("sub.patch_noop", true);
    let told = world.ask("PATCH", &path(&id), Some(json!({ "expirationDateTime": at(600) }))).await;
    assert_eq!((told.status, &told.body["expirationDateTime"]), (200, &before));
    world.seconds(3_600).await;
    assert_eq!(world.get(&path(&id)).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_can_t_be_deleted_and_goes_on() {
    let world = living_world().await;
    let id = world.subscribe(SUPPORT).await;
    world.set("sub.zombie", true);
    let told = world.ask("DELETE", &path(&id), None).await;
    assert_eq!((told.status, told.code()), (404, "ResourceNotFound"));
    assert!(hears(&world, SUPPORT).await);
    world.set("sub.zombie", false);
    assert_eq!(world.ask("DELETE", &path(&id), None).await.status, 204);
    assert!(!hears(&world, SUPPORT).await);
}

#[tokio::test(start_paused = true)]
async fn a_stale_list_shows_the_dead_and_hides_the_client_state() {
    let world = living_world().await;
    let short = world.subscribe_as(SUPPORT, json!({ "expirationDateTime": at(45) })).await;
    let deleted = world.subscribe(SALES).await;
    assert_eq!(world.ask("DELETE", &path(&deleted), None).await.status, 204);
    let [listed_one] = &listed(&world).await[..] else { panic!("one lives") };
    assert_eq!((&listed_one["id"], &listed_one["clientState"]), (&json!(short), &json!("secret")));
    world.seconds(45 * 60).await;
    assert_eq!(listed(&world).await, [Value::Null; 0]);
    world.set("sub.list_stale", true);
    let stale = listed(&world).await;
    let mut ids: Vec<&str> = stale.iter().map(|one| one["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let mut expected = [short.as_str(), &deleted];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert!(stale.iter().all(|one| one["clientState"].is_null()));
    assert_eq!(world.get(&path(&short)).await.status, 404, "asked for by name it is gone");
}

#[tokio::test(start_paused = true)]
async fn the_list_may_fail_while_each_one_can_be_had() {
    let world = living_world().await;
    let id = world.subscribe(SUPPORT).await;
    world.set("sub.list_error", json!({ "at": [1] }));
    let told = world.get("/v1.0/subscriptions").await;
    assert_eq!((told.status, told.code()), (500, "ExtensionError"));
    assert_eq!(world.get(&path(&id)).await.status, 200);
    assert_eq!(listed(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_may_die_silently_and_only_another_one_helps() {
    let world = living_world().await;
    world.set("sub.access_lapse_s", 3_600);
    let id = world.subscribe(SUPPORT).await;
    world.set("sub.silent_death", true);
    assert!(!world.simulator.switches().to_string().contains("sub.silent_death = true"), "thrown, not set");
    assert!(!hears(&world, SUPPORT).await);
    let told = world.ask("PATCH", &path(&id), Some(json!({ "expirationDateTime": at(10_000) }))).await;
    assert_eq!(told.status, 200, "it seems alive");
    world.seconds(2 * 3_600).await;
    assert!(!hears(&world, SUPPORT).await);
    assert_eq!(world.endpoint.life(SUPPORT), [""; 0], "not a word");
    assert_eq!(world.ask_subscription(SUPPORT, json!({})).await.status, 409);
    assert_eq!(world.ask("DELETE", &path(&id), None).await.status, 204);
    world.subscribe(SUPPORT).await;
    assert!(hears(&world, SUPPORT).await);
}

#[tokio::test(start_paused = true)]
async fn a_second_one_of_the_same_is_refused_or_notifies_too() {
    let world = living_world().await;
    let id = world.subscribe(SUPPORT).await;
    let told = world.ask_subscription(SUPPORT, json!({})).await;
    assert_eq!((told.status, told.code()), (409, "ObjectIdentifierInUse"));
    assert_eq!(told.message(), format!("Subscription Id {id} already exists for the requested combination"));
    world.subscribe_as(SUPPORT, json!({ "changeType": "updated" })).await;
    world.set_for(SUPPORT, "sub.duplicate_policy", "allow");
    world.subscribe(SUPPORT).await;
    world.deliver(SUPPORT, "m");
    world.seconds(1).await;
    assert_eq!(world.endpoint.heard(SUPPORT).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_at_work_before_its_creation_is_answered() {
    let world = living_world().await;
    world.set("sub.answer_delay_ms", 5_000);
    let making = world.subscribe(SUPPORT);
    let meanwhile = async {
        world.seconds(1).await;
        assert!(hears(&world, SUPPORT).await);
    };
    tokio::join!(making, meanwhile);
}

#[tokio::test(start_paused = true)]
async fn access_that_lapses_is_warned_of_and_then_ends_until_it_is_confirmed() {
    let world = living_world().await;
    world.set_for(SUPPORT, "sub.access_lapse_s", 3_600);
    let id = world.subscribe(SUPPORT).await;
    world.subscribe(SALES).await;
    world.seconds(3_599).await;
    assert_eq!(world.endpoint.life(SUPPORT), [""; 0]);
    world.seconds(2).await;
    let warning = &world.endpoint.heard_at(&format!("/life/{SUPPORT}"))[0];
    assert_eq!((&warning["subscriptionId"], &warning["clientState"]), (&json!(id), &json!("secret")));
    assert_eq!(warning["lifecycleEvent"], "reauthorizationRequired");
    assert!(hears(&world, SUPPORT).await, "for a while it goes on");
    world.seconds(3_600).await;
    assert!(!hears(&world, SUPPORT).await);
    let before = world.ok(&path(&id)).await["expirationDateTime"].clone();
    assert_eq!(world.ask("POST", &format!("{}/reauthorize", path(&id)), None).await.status, 204);
    assert_eq!(world.ok(&path(&id)).await["expirationDateTime"], before);
    assert!(hears(&world, SUPPORT).await);
    world.seconds(3_600).await;
    assert_eq!(world.endpoint.life(SUPPORT).len(), 2, "warned again, once");
    world.seconds(3_600).await;
    assert!(!hears(&world, SUPPORT).await);
    let renewal = json!({ "expirationDateTime": at(10_000) });
    assert_eq!(world.ask("PATCH", &path(&id), Some(renewal)).await.status, 200);
    assert!(hears(&world, SUPPORT).await, "a renewal confirms too");
    assert!(hears(&world, SALES).await && world.endpoint.life(SALES).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_loses_its_licence_loses_its_subscriptions() {
    for status in [MailboxStatus::Unlicensed, MailboxStatus::OnPremises, MailboxStatus::Missing] {
        let world = living_world().await;
        let id = world.subscribe(SUPPORT).await;
        world.subscribe(SALES).await;
        let change = MailboxChange { status: Some(status), ..MailboxChange::default() };
        world.simulator.change_mailbox(SUPPORT, change).unwrap();
        world.seconds(1).await;
        assert_eq!(world.endpoint.life(SUPPORT), ["subscriptionRemoved"]);
        assert_eq!(world.get(&path(&id)).await.status, 404);
        let back = MailboxChange { status: Some(MailboxStatus::Active), ..MailboxChange::default() };
        world.simulator.change_mailbox(SUPPORT, back).unwrap();
        assert!(!hears(&world, SUPPORT).await, "it does not come back with the licence");
        assert!(hears(&world, SALES).await && world.endpoint.life(SALES).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn lifecycle_events_come_only_where_they_are_asked_for_and_not_where_they_are_suppressed() {
    let world = living_world().await;
    world.subscribe_as(SUPPORT, json!({ "lifecycleNotificationUrl": null })).await;
    world.subscribe(SALES).await;
    let tell = async || {
        for mailbox in [SUPPORT, SALES] {
            world.simulator.lifecycle(mailbox, "missed").unwrap();
        }
        world.seconds(1).await;
        (world.endpoint.life(SUPPORT).len(), world.endpoint.life(SALES).len())
    };
    assert_eq!(tell().await, (0, 1));
    world.set("lifecycle.suppress", true);
    assert_eq!(tell().await, (0, 1));
    world.set("lifecycle.suppress", false);
    world.set("lifecycle.spurious_rate", json!({ "at": [2] }));
    assert!(hears(&world, SALES).await && hears(&world, SALES).await);
    assert_eq!(world.endpoint.life(SALES), ["missed", "missed"], "one of them without a cause");
}
