//! Delta query: what switches do to its tokens, its pages and its folders.

use serde_json::{Value, json};

use crate::client::{SALES, SUPPORT, World, subjects, user, world};

pub(crate) fn inbox(mailbox: &str) -> String {
    format!("{}/mailFolders('inbox')", user(mailbox))
}

fn first(mailbox: &str) -> String {
    format!("{}/messages/delta?$select=subject,isRead&$top=5", inbox(mailbox))
}

fn link(page: &Value, name: &str) -> String {
    page[name].as_str().unwrap_or_else(|| panic!("no {name}: {page}")).to_owned()
}

/// Follows the links to the end of a round; answers what all pages held, and the link to the next round.
async fn round(world: &World, from: &str) -> (Vec<Value>, String) {
    let (mut told, mut path) = (Vec::new(), from.to_owned());
    for _ in 0..100 {
        let page = world.ok(&path).await;
        told.extend(page["value"].as_array().unwrap().clone());
        if page["@odata.deltaLink"].is_string() {
            return (told, link(&page, "@odata.deltaLink"));
        }
        path = link(&page, "@odata.nextLink");
    }
    panic!("the round has no end")
}

fn deliver(world: &World, mailbox: &str, mails: usize) -> Vec<String> {
    (0..mails).map(|number| world.deliver(mailbox, &format!("m{number}"))).collect()
}

fn names(told: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = subjects(&json!({ "value": told }));
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_token_is_answered_with_the_status_that_the_switch_names() {
    let world = world().await;
    deliver(&world, SUPPORT, 7);
    deliver(&world, SALES, 1);
    for (status, code) in [(410, 410), (400, 400), (404, 404)] {
        world.set("delta.expire_status", status);
        let (_, delta) = round(&world, &first(SUPPORT)).await;
        let (_, other) = round(&world, &first(SALES)).await;
        let next = link(&world.ok(&first(SUPPORT)).await, "@odata.nextLink");
        let folders = world.ok(&format!("{}/mailFolders/delta", user(SUPPORT))).await;
        world.set_for(SUPPORT, "delta.expire", true);
        for path in [&delta, &next, &link(&folders, "@odata.deltaLink")] {
            let told = world.get(path).await;
            assert_eq!((told.status, told.code()), (code, "SyncStateNotFound"), "{path}");
            assert!(told.message().contains("sync state generation is not found"), "{}", told.body);
        }
        assert_eq!(world.get(&other).await.status, 200, "another mailbox");
        assert_eq!(round(&world, &first(SUPPORT)).await.0.len(), 7, "a new start tells everything");
        world.set("delta.expire", true);
        assert_eq!(world.get(&other).await.status, code, "all mailboxes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_may_be_lost_now_and_then() {
    let world = world().await;
    deliver(&world, SUPPORT, 3);
    let (_, delta) = round(&world, &first(SUPPORT)).await;
    world.set("delta.expire_rate", json!({ "at": [2] }));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(world.get(&delta).await.status);
    }
    assert_eq!(statuses, [200, 410, 200]);
    world.set("delta.expire_rate", true);
    assert_eq!(world.get(&first(SUPPORT)).await.status, 200, "a start has no token to lose");
}

#[tokio::test(start_paused = true)]
async fn a_replay_tells_again_what_was_told_and_leaves_nothing_out() {
    let world = world().await;
    deliver(&world, SUPPORT, 12);
    world.set("delta.replay", true);
    let (told, delta) = round(&world, &first(SUPPORT)).await;
    let mut once = names(&told);
    once.dedup();
    assert!(once.len() == 12 && told.len() > 12, "{} of {}", once.len(), told.len());
    world.deliver(SUPPORT, "new");
    let (told, delta) = round(&world, &delta).await;
    assert!(told.len() > 1 && names(&told).contains(&"new".to_owned()));
    world.set("delta.replay", false);
    assert!(round(&world, &delta).await.0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_update_may_hold_only_what_changed() {
    let world = world().await;
    let ids = deliver(&world, SUPPORT, 2);
    let (_, delta) = round(&world, &first(SUPPORT)).await;
    let path = format!("{}/messages/{}", user(SUPPORT), ids[0]);
    assert_eq!(world.ask("PATCH", &path, Some(json!({ "isRead": true }))).await.status, 200);
    let (whole, _) = round(&world, &delta).await;
    assert_eq!((&whole[0]["subject"], &whole[0]["isRead"]), (&json!("m0"), &json!(true)));
    world.set("delta.partial", true);
    world.deliver(SUPPORT, "new");
    let (told, _) = round(&world, &delta).await;
    let [updated, created] = &told[..] else { panic!("two changes: {told:?}") };
    let mut keys: Vec<&String> = updated.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["@odata.etag", "@odata.type", "id", "isRead"]);
    assert_eq!((&updated["id"], &updated["isRead"]), (&json!(ids[0]), &json!(true)));
    assert_eq!(created["subject"], "new", "what is new comes whole");
}

#[tokio::test(start_paused = true)]
async fn an_empty_page_leads_on() {
    let world = world().await;
    deliver(&world, SUPPORT, 12);
    world.set("delta.empty_page", json!({ "at": [1, 3] }));
    let page = world.ok(&first(SUPPORT)).await;
    assert_eq!(page["value"], json!([]));
    assert!(page["@odata.nextLink"].is_string() && page.get("@odata.deltaLink").is_none());
    let (told, delta) = round(&world, &link(&page, "@odata.nextLink")).await;
    assert_eq!(told.len(), 12);
    world.set("delta.empty_page", json!({ "at": [1] }));
    world.deliver(SUPPORT, "new");
    assert_eq!(names(&round(&world, &delta).await.0), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_without_a_link_is_asked_for_again() {
    let world = world().await;
    deliver(&world, SUPPORT, 7);
    let next = link(&world.ok(&first(SUPPORT)).await, "@odata.nextLink");
    world.set("delta.no_link", json!({ "at": [1] }));
    let page = world.ok(&next).await;
    assert!(page.get("@odata.nextLink").is_none() && page.get("@odata.deltaLink").is_none(), "{page}");
    let (told, _) = round(&world, &next).await;
    assert_eq!(told.len(), 2, "the same link goes on");
}

#[tokio::test(start_paused = true)]
async fn links_break_when_the_filter_s_time_has_an_offset() {
    let world = world().await;
    deliver(&world, SUPPORT, 7);
    let with = |time: &str| format!("{}&$filter=receivedDateTime ge {time}", first(SUPPORT));
    let (offset, zulu) = (with("2026-03-01T00:00:00%2B00:00"), with("2026-03-01T00:00:00Z"));
    assert_eq!(round(&world, &offset).await.0.len(), 7);
    world.set("delta.filter_encoding", true);
    let next = link(&world.ok(&offset).await, "@odata.nextLink");
    let told = world.get(&next).await;
    assert_eq!((told.status, told.code()), (400, "ErrorInvalidUrlQuery"));
    assert_eq!(round(&world, &zulu).await.0.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_made_again_has_its_mails_its_name_and_another_id() {
    let world = world().await;
    let made = async |mailbox: &str, parent: &str, name: &str| {
        let path = format!("{}/{parent}", user(mailbox));
        world.ask("POST", &path, Some(json!({ "displayName": name }))).await.text("id")
    };
    let folder = made(SUPPORT, "mailFolders", "Orders").await;
    made(SUPPORT, &format!("mailFolders/{folder}/childFolders"), "Old").await;
    let other = made(SALES, "mailFolders", "Orders").await;
    let id = world.deliver(SUPPORT, "m");
    let path = format!("{}/messages/{id}/move", user(SUPPORT));
    assert_eq!(world.ask("POST", &path, Some(json!({ "destinationId": folder }))).await.status, 201);
    let tracked = format!("{}/mailFolders/{folder}/messages/delta", user(SUPPORT));
    let (_, delta) = round(&world, &tracked).await;
    let folders = world.ok(&format!("{}/mailFolders/delta", user(SUPPORT))).await;

    world.set_for(SUPPORT, "folder.recreate", true);
    for path in [&delta, &tracked] {
        let told = world.get(path).await;
        assert_eq!((told.status, told.code()), (404, "ErrorItemNotFound"), "{path}");
    }
    let named = format!("{}/mailFolders?$filter=displayName eq 'Orders'", user(SUPPORT));
    let found = world.ok(&named).await;
    let anew = found["value"][0]["id"].as_str().unwrap();
    assert!(anew != folder && found["value"].as_array().unwrap().len() == 1, "{found}");
    let (told, _) = round(&world, &format!("{}/mailFolders/{anew}/messages/delta", user(SUPPORT))).await;
    assert_eq!(names(&told), ["m"]);
    let children = world.ok(&format!("{}/mailFolders/{anew}/childFolders", user(SUPPORT))).await;
    assert_eq!(children["value"][0]["displayName"], "Old");
    let changes = world.ok(&link(&folders, "@odata.deltaLink")).await["value"].as_array().unwrap().clone();
    assert!(changes.contains(&json!({ "@removed": { "reason": "deleted" }, "id": folder })), "{changes:?}");
    assert!(changes.iter().any(|change| change["id"] == anew && change["displayName"] == "Orders"));
    assert_eq!(world.get(&format!("{}/mailFolders/{other}", user(SALES))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_list_of_all_mails_may_hold_a_chat() {
    let world = world().await;
    world.deliver(SUPPORT, "m");
    world.set_for(SUPPORT, "mailbox.im_items", true);
    let all = world.ok(&format!("{}/messages?$select=subject", user(SUPPORT))).await;
    let mut found = subjects(&all);
    found.sort();
    assert_eq!(found, ["IM", "m"]);
    assert_eq!(subjects(&world.ok(&format!("{}/messages", inbox(SUPPORT))).await), ["m"]);
    assert!(subjects(&world.ok(&format!("{}/messages", user(SALES))).await).is_empty());
}
