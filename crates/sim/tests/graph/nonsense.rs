//! Whatever comes in is answered in the service's form: paths, options and bodies at random.
//! `PROPTEST_CASES` makes the search longer.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::client::{USER, client};

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "DELETE", "PUT"];
const WORDS: [&str; 22] = [
    "messages",
    "mailFolders",
    "inbox",
    "childFolders",
    "attachments",
    "$value",
    "$count",
    "delta()",
    "move",
    "copy",
    "createReply",
    "createForward",
    "reply",
    "send",
    "sendMail",
    "ID",
    "FOLDER",
    "permanentDelete",
    "('x')",
    "%ff",
    "mailboxSettings",
    "forward",
];
const OPTIONS: [&str; 16] = [
    "$top=18446744073709551615",
    "$top=1",
    "$skip=18446744073709551615",
    "$skip=1",
    "$select=id,nope",
    "$select=*",
    "$orderby=from/emailAddress/name desc",
    "$filter=isRead eq false",
    "$filter=categories/any(c:c eq 'x')",
    "$expand=attachments($select=id",
    "$expand=singleValueExtendedProperties($filter=id eq 'x')",
    "$count=true",
    "$deltatoken=abc",
    "$filter=not not (((",
    "changeType=nope",
    "%%%=%",
];

/// Any JSON, made of the names that clients send.
fn any_json() -> impl Strategy<Value = Value> {
    let names = vec![
        "message",
        "subject",
        "body",
        "content",
        "contentType",
        "toRecipients",
        "emailAddress",
        "address",
        "attachments",
        "@odata.type",
        "contentBytes",
        "item",
        "destinationId",
        "displayName",
        "requests",
        "id",
        "method",
        "url",
        "dependsOn",
        "flag",
        "flagStatus",
        "singleValueExtendedProperties",
        "value",
        "comment",
        "internetMessageHeaders",
        "name",
        "changeType",
        "resource",
        "expirationDateTime",
        "notificationUrl",
    ];
    let texts = vec![
        "",
        "inbox",
        "a@x.example",
        "#microsoft.graph.fileAttachment",
        "#microsoft.graph.itemAttachment",
        "#microsoft.graph.event",
        "YQ==",
        "\r\n\0",
        "GET",
        "/users",
        "flagged",
        "html",
        "String 0x1042",
        "2026-03-03T09:00:00Z",
        "9999-12-31T23:59:59Z",
        "https://x.example",
        "users/a/messages",
        "created",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(texts).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((select(names.clone()), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #[test]
    fn any_request_is_answered(
        steps in proptest::collection::vec(
            (
                select(METHODS.to_vec()),
                proptest::collection::vec(select(WORDS.to_vec()), 0..6),
                proptest::collection::vec(select(OPTIONS.to_vec()), 0..3),
                any_json(),
                any::<bool>(),
            ),
            1..8,
        )
    ) {
        runtime().block_on(async {
            let client = client().await;
            let id = client.deliver("a");
            let new = json!({ "displayName": "F" });
            let folder = client.post(&format!("{USER}/mailFolders"), new).await;
            let folder = folder["id"].as_str().unwrap();
            for (method, words, options, content, is_mime) in steps {
                let root = match words.first() {
                    Some(&"delta()") => "/v1.0/subscriptions".to_owned(),
                    Some(&"%ff") => "/v1.0/$batch".to_owned(),
                    _ => format!("{USER}/{}", words.join("/")),
                };
                let path = root.replace("ID", &id).replace("FOLDER", folder);
                let options = options.join("&").replace(' ', "%20");
                let kind = if is_mime { "text/plain" } else { "application/json" };
                let path = format!("{path}?{options}");
                let answer = client.send_raw(method, &path, &[("content-type", kind)], content.to_string()).await;
                let status = answer.status();
                assert!(status.as_u16() < 500, "{method} {path}: {status}");
                assert!(answer.headers().contains_key("request-id"));
                assert!(answer.headers().contains_key("client-request-id"));
                let answer = crate::client::body(answer).await;
                assert!(status.is_success() || answer["error"]["code"].is_string(), "{method} {path}: {answer}");
            }
        });
    }

    #[test]
    fn any_query_is_answered(query in "[ -~]{0,60}") {
        runtime().block_on(async {
            let client = client().await;
            client.deliver("a");
            let query: String = query.chars().filter(|letter| !" \"<>\\^`{|}#".contains(*letter)).collect();
            for path in ["messages", "mailFolders", "mailFolders/inbox/messages/delta"] {
                let answer = client.send_raw("GET", &format!("{USER}/{path}?{query}"), &[], "").await;
                assert!(answer.status().as_u16() < 500, "{query}");
            }
        });
    }
}
