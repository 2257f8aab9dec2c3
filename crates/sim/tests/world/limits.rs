//! Limits, and failures of the service that have nothing to do with the request.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::client::{SALES, SUPPORT, Told, World, by_secret, read, user, with, world};

fn inbox(mailbox: &str) -> String {
    format!("{}/mailFolders/inbox", user(mailbox))
}

async fn statuses(world: &World, path: &str, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(world.get(path).await.status);
    }
    statuses
}

fn wait(told: &Told) -> u64 {
    told.header("retry-after").unwrap().parse().unwrap()
}

/// A token of another application.
async fn other_token(world: &World) -> String {
    let other = world.simulator.add_application("Other").client_id.to_string();
    let secret = world.simulator.add_secret(&other, "s", None).unwrap().secret;
    world.ask_token(&with(by_secret(&secret), "client_id", Some(&other))).await.text("access_token")
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_in_ten_minutes_to_each_mailbox_of_each_application() {
    let world = world().await;
    // The cheapest there is.
    let path = format!("{}/messages/$count", user(SUPPORT));
    for second in 0..10 {
        assert!(statuses(&world, &path, 1_000).await.iter().all(|status| *status == 200), "{second}");
        world.seconds(1).await;
    }
    let told = world.get(&path).await;
    assert_eq!((told.status, told.code()), (429, "ApplicationThrottled"));
    assert!((580..=600).contains(&wait(&told)), "{}", wait(&told));
    assert_eq!(world.get(&inbox(SALES)).await.status, 200, "another mailbox");
    let token = other_token(&world).await;
    let told_other = read(world.send_bytes(&token, "GET", &path, Bytes::new()).await).await;
    assert_eq!(told_other.status, 200, "another application");
    world.seconds(wait(&told)).await;
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(world.simulator.figures().violations, 0);
}

#[tokio::test(start_paused = true)]
async fn refused_requests_count_too() {
    let world = world().await;
    world.set("throttle.requests", 3);
    assert_eq!(statuses(&world, &inbox(SUPPORT), 4).await, [200, 200, 200, 429]);
    world.seconds(599).await;
    assert_eq!(statuses(&world, &inbox(SUPPORT), 1).await, [429]);
    world.seconds(1).await;
    // What came at the start is forgotten, the refusal of a second ago is not.
    assert_eq!(statuses(&world, &inbox(SUPPORT), 3).await, [200, 200, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_and_fifty_megabytes_of_uploads_in_five_minutes() {
    let world = world().await;
    let most = Bytes::from(vec![b'x'; 4 * 1024 * 1024]);
    let path = format!("{}/messages", user(SUPPORT));
    let upload = async |mailbox: &str, bytes: &Bytes| {
        let path = format!("{}/messages", user(mailbox));
        read(world.send_bytes(&world.token, "POST", &path, bytes.clone()).await).await
    };
    for turn in 0..37 {
        assert_eq!(upload(SUPPORT, &most).await.status, 400, "{turn}: this is no message, but it is counted");
    }
    let told = upload(SUPPORT, &most).await;
    assert_eq!((told.status, told.code()), (429, "ApplicationThrottled"));
    assert!(told.message().contains("Upload"), "{}", told.body);
    assert_eq!(upload(SALES, &most).await.status, 400, "another mailbox");
    world.seconds(wait(&told)).await;
    assert_eq!(world.ask("POST", &path, Some(json!({ "subject": "s" }))).await.status, 201);
    let larger = Bytes::from(vec![b'x'; 4 * 1024 * 1024 + 1]);
    assert_eq!(upload(SUPPORT, &larger).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn four_at_a_time_and_the_fifth_is_told_to_wait() {
    let world = world().await;
    world.set("latency_ms", 50);
    let at_once = async |paths: Vec<String>| join_all(paths.iter().map(|path| world.get(path))).await;
    let told = at_once(vec![inbox(SUPPORT); 6]).await;
    let refused: Vec<&Told> = told.iter().filter(|told| told.status == 429).collect();
    assert_eq!(refused.len(), 2);
    for told in refused {
        assert_eq!(told.message(), "Application is over its MailboxConcurrency limit.");
        assert_eq!((told.code(), wait(told)), ("ApplicationThrottled", 1));
    }
    let spread = [vec![inbox(SUPPORT); 4], vec![inbox(SALES); 4]].concat();
    world.seconds(1).await;
    assert!(at_once(spread).await.iter().all(|told| told.status == 200));
    let figures = world.simulator.figures();
    assert_eq!((figures.by_mailbox[SUPPORT].max_in_flight, figures.by_mailbox[SALES].max_in_flight), (5, 4));
    world.set_for(SALES, "throttle.concurrency", 1);
    let told = at_once(vec![inbox(SALES), inbox(SALES)]).await;
    assert_eq!(told.iter().filter(|told| told.status == 429).count(), 1);
    world.seconds(1).await;
    assert!(at_once(vec![inbox(SUPPORT); 4]).await.iter().all(|told| told.status == 200));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_how_long_to_wait_in_seconds_as_a_date_or_not_at_all() {
    let world = world().await;
    world.set("throttle.rate", true);
    world.set("throttle.retry_after_s", 7);
    let told = world.get(&inbox(SUPPORT)).await;
    assert_eq!((told.status, wait(&told)), (429, 7));

    world.set("throttle.retry_after", "date");
    let told = world.get(&inbox(SUPPORT)).await;
    let date = told.header("retry-after").unwrap();
    let until = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    let start: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    let left = until.duration_since(start);
    assert!(left >= SignedDuration::from_secs(7) && left <= SignedDuration::from_secs(9), "{date}");
    assert!(date.ends_with(" GMT"), "{date}");

    world.set("throttle.retry_after", "absent");
    world.seconds(10).await;
    world.simulator.reset_requests();
    let told = world.get(&inbox(SUPPORT)).await;
    assert_eq!((told.status, told.header("retry-after")), (429, None));
    world.get(&inbox(SUPPORT)).await;
    assert_eq!(world.simulator.figures().violations, 0, "nobody can keep a wait that nobody named");
}

#[tokio::test(start_paused = true)]
async fn who_has_read_a_refusal_and_does_not_wait_commits_a_violation() {
    let world = world().await;
    let violations = || world.simulator.figures().violations;
    world.set("throttle.retry_after_s", 10);
    world.set("throttle.rate", json!({ "at": [1] }));
    let refused = world.send("GET", &inbox(SUPPORT), None).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(world.get(&inbox(SUPPORT)).await.status, 200);
    assert_eq!(violations(), 0, "it was on its way when the refusal was not read");
    read(refused).await;
    let token = other_token(&world).await;
    read(world.send_bytes(&token, "GET", &inbox(SUPPORT), Bytes::new()).await).await;
    world.get(&inbox(SALES)).await;
    assert_eq!(violations(), 0, "another application, another mailbox");
    world.seconds(9).await;
    world.get(&inbox(SUPPORT)).await;
    assert_eq!(violations(), 1);
    world.seconds(1).await;
    world.get(&inbox(SUPPORT)).await;
    let figures = world.simulator.figures();
    assert_eq!((figures.violations, figures.by_mailbox[SUPPORT].violations), (1, 1));
    assert_eq!(figures.by_mailbox[SALES].violations, 0);
}

async fn batch(world: &World, paths: &[&str]) -> Vec<(u64, Value)> {
    let requests: Vec<Value> = paths
        .iter()
        .enumerate()
        .map(|(at, path)| json!({ "id": at.to_string(), "method": "GET", "url": path }))
        .collect();
    let told = world.ask("POST", "/v1.0/$batch", Some(json!({ "requests": requests }))).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let mut parts = told.body["responses"].as_array().unwrap().clone();
    parts.sort_by_key(|part| part["id"].as_str().unwrap().parse::<u32>().unwrap());
    parts.into_iter().map(|part| (part["status"].as_u64().unwrap(), part)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_batch_are_counted_refused_and_failed_each_alone() {
    let world = world().await;
    let (support, sales) =
        (format!("/users/{SUPPORT}/mailFolders/inbox"), format!("/users/{SALES}/mailFolders/inbox"));
    world.set_for(SUPPORT, "throttle.requests", 2);
    let told = batch(&world, &[&support, &sales, &support, &support, &sales]).await;
    assert_eq!(told.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 200, 200, 429, 200]);
    let refused = &told[3].1;
    assert_eq!(refused["headers"]["Retry-After"], "600");
    assert_eq!(refused["body"]["error"]["code"], "ApplicationThrottled");
    // The whole was read, so the part's refusal was.
    batch(&world, &[&sales]).await;
    assert_eq!(world.simulator.figures().violations, 0);
    batch(&world, &[&support]).await;
    assert_eq!(world.simulator.figures().violations, 1);

    world.set_for(SALES, "error.rate", json!({ "at": [2] }));
    let told = batch(&world, &[&sales, &sales, &sales]).await;
    assert_eq!(told.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 503, 200]);
    assert_eq!(world.simulator.figures().by_mailbox[SALES].total, 6);
}

#[tokio::test(start_paused = true)]
async fn twenty_parts_to_one_mailbox_run_four_at_a_time() {
    let world = world().await;
    world.set("latency_ms", 50);
    let path = format!("/users/{SUPPORT}/mailFolders/inbox");
    let told = batch(&world, &[path.as_str(); 20]).await;
    assert!(told.iter().all(|(status, _)| *status == 200));
    assert_eq!(world.simulator.figures().by_mailbox[SUPPORT].max_in_flight, 4);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_over_its_quota_takes_nothing_and_gives_nothing() {
    let world = world().await;
    world.set_for(SUPPORT, "mailbox.quota", true);
    let path = format!("{}/messages", user(SUPPORT));
    let told = world.get(&path).await;
    assert_eq!((told.status, told.code()), (403, "ErrorQuotaExceeded"));
    let told = world.ask("POST", &path, Some(json!({ "subject": "s" }))).await;
    assert_eq!((told.status, told.code()), (507, "QuotaExceededException"));
    assert_eq!(world.get(&user(SUPPORT)).await.status, 200);
    assert_eq!(world.get(&format!("{}/messages", user(SALES))).await.status, 200);
    world.set_for(SUPPORT, "mailbox.quota", Value::Null);
    assert_eq!(world.get(&path).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_too_long_never_come() {
    let world = world().await;
    let large = format!("Subject: large\r\n\r\n{}\r\n", "x".repeat(5_000));
    let large = world.simulator.deliver(SUPPORT, large).unwrap();
    let small = world.simulator.deliver(SUPPORT, "Subject: small\r\n\r\nx\r\n").unwrap();
    world.set("gateway.timeout_bytes", 4_000);
    let value = |id: &str| format!("{}/messages/{id}/$value", user(SUPPORT));
    let told = world.get(&value(&large)).await;
    assert_eq!((told.status, told.code(), told.message()), (504, "UnknownError", ""));
    assert_eq!(world.get(&value(&small)).await.status, 200);
    let list = |top: u32, select: &str| format!("{}/messages?$top={top}&$select={select}", user(SUPPORT));
    assert_eq!(world.get(&list(2, "subject,body")).await.status, 504);
    assert_eq!(world.get(&list(2, "id")).await.status, 200, "a smaller page comes");
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_shape_that_the_switch_names() {
    let world = world().await;
    let missing = format!("{}/mailFolders/none", user(SUPPORT));
    let full = world.get(&missing).await;
    for name in ["date", "request-id", "client-request-id"] {
        assert!(full.body["error"]["innerError"][name].is_string(), "{}", full.body);
    }
    assert_eq!(full.body["error"]["innerError"]["request-id"], full.header("request-id").unwrap());
    world.set("error.shape", "bare");
    let bare = world.get(&missing).await;
    assert_eq!((bare.status, bare.code()), (full.status, full.code()));
    assert!(bare.body["error"].get("innerError").is_none(), "{}", bare.body);

    world.set("error.shape", "html");
    assert_eq!(world.get(&missing).await.code(), full.code(), "a refusal is none of the service's failures");
    world.set("error.rate", true);
    let page = world.get(&missing).await;
    assert_eq!((page.status, &page.body), (503, &Value::Null));
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.bytes.starts_with(b"<html>"));
}

#[tokio::test(start_paused = true)]
async fn failures_have_the_statuses_that_the_switch_lists_and_all_of_them() {
    let world = world().await;
    world.set("error.rate", 0.5);
    world.set("error.statuses", json!([500, 502, 503, 504, 509]));
    let seen: BTreeSet<u16> = statuses(&world, &inbox(SUPPORT), 200).await.into_iter().collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [200, 500, 502, 503, 504, 509]);
    let failed = world
        .simulator
        .figures()
        .by_status
        .iter()
        .filter(|(status, _)| **status >= 500)
        .map(|(_, count)| count)
        .sum::<u64>();
    assert!((60..140).contains(&failed), "about a half, not {failed}");
}

#[tokio::test(start_paused = true)]
async fn the_k_th_is_struck_for_each_mailbox_alone_and_counted_since_the_switch_was_set() {
    let world = world().await;
    world.set("error.rate", json!({ "at": [2, 4] }));
    assert_eq!(statuses(&world, &inbox(SUPPORT), 5).await, [200, 503, 200, 503, 200]);
    assert_eq!(statuses(&world, &inbox(SALES), 2).await, [200, 503]);
    world.set("error.rate", json!({ "at": [1] }));
    assert_eq!(statuses(&world, &inbox(SUPPORT), 2).await, [503, 200]);
    world.set_for(SUPPORT, "error.rate", json!({ "at": [1] }));
    assert_eq!(statuses(&world, &inbox(SUPPORT), 2).await, [503, 200], "counted anew for the mailbox");
    assert_eq!(statuses(&world, &inbox(SALES), 2).await, [503, 200], "and for no other");
}

/// The subjects of the messages whose bytes can't be had.
async fn broken(world: &World, mailbox: &str) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for message in world.simulator.messages(mailbox).unwrap() {
        let told = world.get(&format!("{}/messages/{}/$value", user(mailbox), message.id)).await;
        if told.status == 200 {
            continue;
        }
        assert_eq!(told.status, 500);
        broken.insert(message.subject);
    }
    broken
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_the_same_messages_fail_each_time_and_in_each_world_of_the_seed() {
    let world = world().await;
    for number in 0..60 {
        world.deliver(SUPPORT, &format!("m{number}"));
    }
    world.set("value.broken_rate", 0.3);
    let first = broken(&world, SUPPORT).await;
    assert!((8..32).contains(&first.len()), "about 18, not {}", first.len());
    assert_eq!(broken(&world, SUPPORT).await, first);

    let other = crate::client::world().await;
    for number in 0..60 {
        other.deliver(SALES, &format!("s{number}"));
        other.deliver(SUPPORT, &format!("m{number}"));
    }
    other.set("value.broken_rate", 0.3);
    assert_eq!(broken(&other, SUPPORT).await, first, "whatever happens in other mailboxes");
}
