//! The documentation's requests, replayed: status, and every property of the documented answer
//! is in ours, or the difference is listed with its reason.
//!
//! `/me` is the user of the sample tenant here, and ids of the examples are those of real items.

use serde_json::{Value, json};

use crate::client::{USER, body, client};
use crate::facts::published;

/// Pages whose subject is not simulated.
const NOT_SIMULATED: [(&str, &str); 5] = [
    ("attachment-createuploadsession.md", "upload sessions come later"),
    ("mailfolder-post-messagerules.md", "rules are not simulated"),
    ("messagerule-delete.md", "rules are not simulated"),
    ("messagerule-update.md", "rules are not simulated"),
    ("attachment-delete.md", "the example is about an event, which is not mail"),
];

/// Where the documented status is known to be wrong, with the one its own text gives.
const STATUS: [(&str, u16, u16); 8] = [
    ("mailfolder-copy.md", 200, 201),
    ("mailfolder-move.md", 200, 201),
    ("mailfolder-post-childfolders.md", 200, 201),
    ("mailfolder-post-messages.md", 200, 201),
    ("message-copy.md", 200, 201),
    ("message-createreply.md", 200, 201),
    ("message-createreplyall.md", 200, 201),
    ("message-forward.md", 200, 202),
];
const REPLY_ALL: (&str, u16, u16) = ("message-replyall.md", 200, 202);

/// Examples that are no valid requests as they stand.
const BROKEN: [(&str, &str); 1] = [("mailfolder-update.md", "a comma before the closing brace")];

/// Properties that the schema of today no longer has.
const GONE: [&str; 1] = ["notificationContentType"];

struct Example {
    page: String,
    method: String,
    path: String,
    content_type: String,
    body: String,
    status: u16,
    answer: Option<Value>,
}

/// Each request with the answer that follows it.
fn examples(text: &str) -> Vec<Example> {
    let all: Value = serde_json::from_str(text).unwrap();
    let blocks = all["examples"].as_array().unwrap();
    let mut examples = Vec::new();
    let mut request: Option<&Value> = None;
    for block in blocks {
        let text = block["text"].as_str().unwrap();
        if !text.starts_with("HTTP") {
            request = Some(block).filter(|block| block["meta"]["blockType"] == "request");
            continue;
        }
        let Some(asked) = request.take().filter(|asked| asked["page"] == block["page"]) else { continue };
        let (head, body) = parts(asked["text"].as_str().unwrap());
        let mut words = head[0].split_whitespace();
        let kind = head
            .iter()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-type:").map(str::to_owned));
        let (answer_head, answer) = parts(text);
        examples.push(Example {
            page: asked["page"].as_str().unwrap().to_owned(),
            method: words.next().unwrap().to_owned(),
            path: words.next().unwrap().replace("https://graph.microsoft.com", ""),
            content_type: kind.map_or("application/json".into(), |kind| kind.trim().to_owned()),
            body,
            status: answer_head[0].split_whitespace().nth(1).unwrap().parse().unwrap(),
            answer: serde_json::from_str(&answer).ok(),
        });
    }
    examples
}

/// Lines of the head, and the body.
fn parts(text: &str) -> (Vec<&str>, String) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    (head.lines().collect(), body.trim().to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_documentation_s_examples_are_answered_as_documented() {
    let Some(text) =
        published("graph/doc-examples.json", "the_documentation_s_examples_are_answered_as_documented")
    else {
        return;
    };
    let (mut wrong, mut replayed) = (Vec::new(), 0);
    for example in examples(&text) {
        if NOT_SIMULATED.iter().chain(&BROKEN).any(|(page, _)| *page == example.page) {
            continue;
        }
        replayed += 1;
        let client = client().await;
        let folder = client.post(&format!("{USER}/mailFolders"), json!({ "displayName": "Example" })).await;
        let draft = json!({ "toRecipients": [{ "emailAddress": { "address": "ann@customer.example" } }] });
        let draft = client.post(&format!("{USER}/messages"), draft).await;
        let received = client.deliver("example");
        let needs_draft = ["message-send.md", "message-update.md"].contains(&&*example.page);
        let message = if needs_draft { draft["id"].as_str().unwrap().to_owned() } else { received };
        let made = client.subscribe("users/support@contoso.example/messages", "updated").await;
        let id = match example.path.contains("/mailFolders/{id}") {
            true => folder["id"].as_str().unwrap(),
            false if example.path.contains("subscriptions") => made["id"].as_str().unwrap(),
            false => &message,
        };
        let mut path = example.path.replace("/v1.0/me", USER).replace("{id}", id);
        for word in path.clone().split('/').filter(|word| word.starts_with("AAMk") && word.ends_with("AAA="))
        {
            path = path.replace(word, id);
        }
        let path = path.replace("7f105c7d-2dc5-4530-97cd-4e7ae6534c07", id);
        let sent = example
            .body
            .replace("destinationId-value", "archive")
            .replace("address-value", "ann@customer.example")
            .replace("\"me/", "\"users/support@contoso.example/")
            .replace("2016-11-20", "2026-03-03")
            .replace("2016-11-22", "2026-03-04")
            // Every mailbox of ours has this folder from the start.
            .replace("Clutter", "Wishes");
        let headers = [("content-type", example.content_type.as_str())];
        let answer = client.send_raw(&example.method, &path, &headers, sent).await;
        let (status, answer) = (answer.status().as_u16(), body(answer).await);
        let expected = STATUS
            .iter()
            .chain([&REPLY_ALL])
            .find(|(page, documented, _)| *page == example.page && *documented == example.status);
        let expected = expected.map_or(example.status, |(_, _, right)| *right);
        if status != expected {
            wrong.push(format!("{} {}: {status}, not {expected}: {answer}", example.page, example.path));
            continue;
        }
        for key in
            example.answer.as_ref().and_then(Value::as_object).into_iter().flat_map(|answer| answer.keys())
        {
            if answer.get(key).is_none() && key != "@odata.type" && !GONE.contains(&&**key) {
                wrong.push(format!("{} {}: no {key}", example.page, example.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(replayed >= 20, "only {replayed} examples were replayed");
}
