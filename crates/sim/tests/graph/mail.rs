//! Stories of clients that write: attachments, folders, replies, batches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{USER, body, client};

fn file(name: &str, bytes: &[u8]) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.fileAttachment", "name": name, "contentType": "image/png",
        "contentBytes": STANDARD.encode(bytes),
    })
}

#[tokio::test(start_paused = true)]
async fn a_draft_with_attachments_arrives_whole() {
    let client = client().await;
    let draft = json!({
        "@odata.type": "#microsoft.graph.message", "subject": "Invoice", "importance": "High",
        "body": { "contentType": "HTML", "content": "<p>see below</p>" },
        "toRecipients": [{ "emailAddress": { "address": "sales@contoso.example" } }],
        "attachments": [file("a.png", &[1, 2, 3])],
    });
    let draft = client.post(&format!("{USER}/messages"), draft).await;
    let path = format!("{USER}/messages/{}", draft["id"].as_str().unwrap());
    let item = json!({
        "@odata.type": "#microsoft.graph.itemAttachment", "name": "inner",
        "item": { "@odata.type": "#microsoft.graph.message", "subject": "inner", "body": { "content": "deep" } },
    });
    let item = client.post(&format!("{path}/attachments"), item).await;
    let spare = client.post(&format!("{path}/attachments"), file("spare.png", &[9])).await;
    let link = json!({ "@odata.type": "#microsoft.graph.referenceAttachment", "name": "link" });
    let link = client.post(&format!("{path}/attachments"), link).await;
    let at = |part: &Value| format!("{path}/attachments/{}", part["id"].as_str().unwrap());
    assert_eq!(client.ask("DELETE", &at(&spare), None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.ask("GET", &at(&spare), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        client.ask("GET", &format!("{}/$value", at(&link)), None).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let inner = client.get(&format!("{}?$expand=microsoft.graph.itemAttachment/item", at(&item))).await;
    assert_eq!(inner["item"]["subject"], "inner");
    assert!(inner.get("contentBytes").is_none());

    assert_eq!(client.ask("POST", &format!("{path}/send"), None).await.0, StatusCode::ACCEPTED);
    client.simulator.advance(std::time::Duration::from_secs(2));
    let sales = "/v1.0/users/sales@contoso.example/mailFolders/inbox/messages";
    let got = client.get(&format!("{sales}?$expand=attachments($select=id,name)")).await;
    let got = &got["value"][0];
    assert_eq!((&got["subject"], &got["hasAttachments"]), (&json!("Invoice"), &json!(true)));
    let names: Vec<&Value> =
        got["attachments"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
    assert_eq!(names, ["a.png", "inner"]);
    assert!(got["attachments"][0].get("contentBytes").is_none());
    let first = got["attachments"][0]["id"].as_str().unwrap();
    let id = got["id"].as_str().unwrap();
    let path = format!("/v1.0/users/sales@contoso.example/messages/{id}/attachments/{first}/$value");
    let answer = client.send("GET", &path, None).await;
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(&answer.into_body().collect().await.unwrap().to_bytes()[..], [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_mail_given_as_bytes_leaves_as_those_bytes() {
    let client = client().await;
    let mime = "To: ann@customer.example\r\nBcc: bob@customer.example\r\nAuto-Submitted: auto-replied\r\n\
                Subject: away\r\nX-Odd:  kept\r\n\r\nbye\r\n";
    let plain = [("content-type", "text/plain")];
    let answer = client.send_raw("POST", &format!("{USER}/sendMail"), &plain, STANDARD.encode(mime)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    client.simulator.advance(std::time::Duration::from_secs(2));
    client.get(&format!("{USER}/messages")).await;
    for address in ["ann@customer.example", "bob@customer.example"] {
        let mails = client.simulator.outside(address);
        let text = String::from_utf8_lossy(&mails[0]);
        assert!(text.contains("Auto-Submitted: auto-replied") && text.contains("X-Odd:  kept"), "{text}");
        assert!(text.contains("From: \"Contoso Support\"") && !text.contains("Bcc"), "{text}");
    }
    let answer = client.send_raw("POST", &format!("{USER}/messages"), &plain, "no base64!").await;
    assert_eq!(body(answer).await["error"]["code"], "ErrorMimeContentInvalidBase64String");
}

#[tokio::test(start_paused = true)]
async fn folders_are_made_filled_moved_and_their_delta_tells_it() {
    let client = client().await;
    let start = client.get(&format!("{USER}/mailFolders/delta()")).await;
    assert!(start["value"].as_array().unwrap().len() >= 8);
    let new = json!({ "displayName": "Orders", "@odata.type": "#microsoft.graph.mailFolder" });
    let folder = client.post(&format!("{USER}/mailFolders/inbox/childFolders"), new.clone()).await;
    let again = client.ask("POST", &format!("{USER}/mailFolders('inbox')/childFolders"), Some(new)).await;
    assert_eq!((again.0, &again.1["error"]["code"]), (StatusCode::CONFLICT, &json!("ErrorFolderExists")));
    let id = folder["id"].as_str().unwrap();
    let mail = client.deliver("order");
    let moved = client.post(&format!("{USER}/messages/{mail}/move"), json!({ "DestinationId": id })).await;
    assert_eq!((&moved["parentFolderId"], &moved["id"]), (&folder["id"], &json!(mail)), "immutable ids stay");
    client.post(&format!("{USER}/messages/{mail}/copy"), json!({ "destinationId": "archive" })).await;
    let children = client.get(&format!("{USER}/mailFolders/inbox/childFolders")).await;
    assert_eq!(children["value"][0]["totalItemCount"], 1);
    let delta = client.get(start["@odata.deltaLink"].as_str().unwrap()).await;
    let told: Vec<&Value> =
        delta["value"].as_array().unwrap().iter().map(|folder| &folder["displayName"]).collect();
    assert!(told.contains(&&json!("Orders")) && told.contains(&&json!("Archive")), "{told:?}");
    let inside = json!({ "destinationId": id });
    let inside = client.ask("POST", &format!("{USER}/mailFolders/{id}/copy"), Some(inside)).await;
    assert_eq!(inside.0, StatusCode::BAD_REQUEST, "a folder can't hold itself");
    for expected in [StatusCode::NO_CONTENT, StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(client.ask("DELETE", &format!("{USER}/mailFolders/{id}"), None).await.0, expected);
    }
    let delta = client.get(delta["@odata.deltaLink"].as_str().unwrap()).await;
    let gone = json!({ "@removed": { "reason": "deleted" }, "id": id });
    assert!(delta["value"].as_array().unwrap().contains(&gone), "{delta}");
}

#[tokio::test(start_paused = true)]
async fn an_immediate_reply_and_a_forward_carry_comment_and_thread() {
    let client = client().await;
    let id = client.deliver("question");
    let comment = json!({ "Comment": "hi there" });
    let (status, _) = client.ask("POST", &format!("{USER}/messages/{id}/replyAll"), Some(comment)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let to = json!([{ "emailAddress": { "address": "bob@customer.example" } }]);
    let forward = json!({ "ToRecipients": to, "Comment": "fyi" });
    let (status, _) = client.ask("POST", &format!("{USER}/messages/{id}/forward"), Some(forward)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    client.simulator.advance(std::time::Duration::from_secs(2));
    let sent =
        client.get(&format!("{USER}/mailFolders/sentitems/messages?$orderby=subject&$count=true")).await;
    assert_eq!(sent["@odata.count"], 2);
    let [forward, reply] = &sent["value"].as_array().unwrap()[..] else { panic!("two mails") };
    assert_eq!((&forward["subject"], &reply["subject"]), (&json!("FW: question"), &json!("RE: question")));
    assert!(reply["bodyPreview"].as_str().unwrap().starts_with("hi there"), "{reply}");
    assert_eq!(reply["conversationId"], forward["conversationId"]);
    let filter = "$filter=receivedDateTime ge 2026-01-01T00:00:00Z and isRead eq true&$orderby=isRead";
    let refused = client.ask("GET", &format!("{USER}/messages?{filter}"), None).await;
    assert_eq!(refused.1["error"]["code"], "InefficientFilter");
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_each_part_by_itself() {
    let client = client().await;
    let id = client.deliver("a");
    let user = "/users/support@contoso.example";
    let parts = json!({ "requests": [
        { "id": "1", "method": "GET", "url": format!("{user}/messages/{id}/$value") },
        { "id": "2", "method": "PATCH", "url": format!("{user}/messages/{id}"), "body": { "isRead": true },
          "headers": { "Content-Type": "application/json" } },
        { "id": "3", "method": "GET", "url": format!("{user}/messages/AAMkAD=") },
        { "id": "4", "method": "GET", "url": format!("{user}/messages"), "dependsOn": ["3"] },
        { "id": "5", "method": "POST", "url": "/$batch", "body": {}, "headers": { "content-type": "application/json" } },
        { "id": "6", "method": "GET", "url": format!("{user}/messages?$select=isRead"), "dependsOn": ["2"] },
    ]});
    let (status, answer) = client.ask("POST", "/v1.0/$batch", Some(parts)).await;
    assert_eq!(status, StatusCode::OK);
    let of = |id: &str| {
        answer["responses"].as_array().unwrap().iter().find(|response| response["id"] == id).unwrap()
    };
    let statuses = ["1", "2", "3", "4", "5", "6"].map(|id| of(id)["status"].as_u64().unwrap());
    assert_eq!(statuses, [200, 200, 400, 424, 400, 200]);
    assert!(STANDARD.decode(of("1")["body"].as_str().unwrap()).unwrap().starts_with(b"From: Ann"));
    assert_eq!(of("6")["body"]["value"][0]["isRead"], true);
    assert!(client.simulator.figures().max_in_flight <= 4);
    let many: Vec<Value> =
        (0..21).map(|id| json!({ "id": id.to_string(), "method": "GET", "url": "/users" })).collect();
    let circle = json!([{ "id": "1", "method": "GET", "url": "/users", "dependsOn": ["1"] }]);
    for requests in [json!([]), many.into(), circle, json!([7])] {
        let (status, _) = client.ask("POST", "/v1.0/$batch", Some(json!({ "requests": requests }))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_meant_for_another_version_is_refused() {
    let client = client().await;
    let path = format!("{USER}/messages/{}", client.deliver("a"));
    let etag = client.get(&path).await["@odata.etag"].as_str().unwrap().to_owned();
    let json_type = ("content-type", "application/json");
    for (etag, status) in [(etag.as_str(), 200), (etag.as_str(), 412), ("*", 200)] {
        let change = json!({ "categories": [status.to_string()] }).to_string();
        let answer = client.send_raw("PATCH", &path, &[json_type, ("if-match", etag)], change).await;
        assert_eq!(answer.status().as_u16(), status);
    }
    // Into Deleted Items, from there to where only recovery finds it, then for good.
    for (method, rest, expected) in
        [("DELETE", "", 204), ("DELETE", "", 204), ("POST", "/permanentDelete", 204), ("GET", "", 404)]
    {
        let (status, answer) = client.ask(method, &format!("{path}{rest}"), None).await;
        assert_eq!(status.as_u16(), expected, "{method} {rest}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_filter_on_the_read_flag_reading_looks_like_deleting() {
    let client = client().await;
    let inbox = "users/support@contoso.example/mailFolders('inbox')/messages";
    client.subscribe(&format!("{inbox}?$filter=isRead eq false"), "created,deleted").await;
    let path = format!("{USER}/messages/{}", client.deliver("a"));
    for is_read in [true, false] {
        client.ask("PATCH", &path, Some(json!({ "isRead": is_read }))).await;
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let story = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        stop.cancel();
    };
    tokio::join!(client.simulator.run(stop.clone()), story);
    let heard = client.heard.lock().unwrap();
    let kinds: Vec<&Value> = heard.iter().map(|element| &element["changeType"]).collect();
    assert_eq!(kinds, ["created", "deleted", "created"]);
}
