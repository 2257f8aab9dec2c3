//! Stories of a client that talks to the simulator through its routers, in one
//! process and in virtual time.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use postroom_sim::{Clock, Config, Outgoing, Simulator};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const USER: &str = "/v1.0/users/support@contoso.example";

/// What an endpoint was sent.
type Heard = Arc<Mutex<Vec<Value>>>;

/// A tenant, a client with a token, and an endpoint that hears notifications.
struct Client {
    simulator: Simulator,
    graph: Router,
    token: String,
    heard: Heard,
}

/// Time that follows tokio's.
fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    Clock::new(move || {
        let gone = SignedDuration::try_from(start.elapsed()).unwrap();
        "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + gone
    })
}

async fn client() -> Client {
    let heard = Heard::default();
    let ears = Arc::clone(&heard);
    let outgoing = Outgoing::InProcess(Arc::new(move |request: Request<Bytes>| {
        let ears = Arc::clone(&ears);
        Box::pin(async move {
            let query = request.uri().query().unwrap_or_default();
            let token =
                url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "validationToken");
            if let Some((_, token)) = token {
                let answer = Response::builder().header("content-type", "text/plain");
                return Ok(answer.body(token.into_owned().into())?);
            }
            let batch: Value = serde_json::from_slice(request.body())?;
            ears.lock().unwrap().extend(batch["value"].as_array().cloned().unwrap_or_default());
            Ok(Response::builder().status(202).body(Bytes::new())?)
        })
    }));
    let simulator = Simulator::new(Config::sample(clock(), outgoing));
    let graph = simulator.graph_router();
    let mut client = Client { simulator, graph, token: String::new(), heard };
    let (status, answer) = client.ask_token("sample~secret-of-the-simulator").await;
    assert_eq!(status, StatusCode::OK);
    client.token = answer["access_token"].as_str().unwrap().to_owned();
    client
}

impl Client {
    async fn ask_token(&self, secret: &str) -> (StatusCode, Value) {
        let form = format!(
            "grant_type=client_credentials&client_id=22222222-2222-2222-2222-222222222222&client_secret={secret}\
             &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
        );
        let request = Request::post("/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token")
            .body(Body::from(form))
            .unwrap();
        let answer = self.graph.clone().oneshot(request).await.unwrap();
        (answer.status(), body(answer).await)
    }

    async fn ask(&self, method: &str, path: &str, content: Option<Value>) -> (StatusCode, Value) {
        let answer = self.send(method, path, content).await;
        (answer.status(), body(answer).await)
    }

    async fn send(&self, method: &str, path: &str, content: Option<Value>) -> Response<Body> {
        let path = path.strip_prefix("https://graph.microsoft.com").unwrap_or(path);
        let request = Request::builder()
            .method(method)
            .uri(path.replace(' ', "%20"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("prefer", "IdType=\"ImmutableId\"")
            .header("content-type", "application/json")
            .body(content.map_or_else(Body::empty, |content| Body::from(content.to_string())))
            .unwrap();
        self.graph.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    fn deliver(&self, subject: &str) -> String {
        let mail = format!(
            "From: Ann <ann@customer.example>\r\nTo: support@contoso.example\r\nSubject: {subject}\r\n\
             Message-ID: <{subject}@customer.example>\r\n\r\nHello\r\n"
        );
        self.simulator.deliver("support@contoso.example", mail).unwrap()
    }

    async fn subscribe(&self, minutes: i64) -> (StatusCode, Value) {
        let expires =
            "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes);
        let wanted = json!({
            "changeType": "created",
            "notificationUrl": "https://postroom.example/hooks/x",
            "lifecycleNotificationUrl": "https://postroom.example/hooks/x/lifecycle",
            "resource": "users/support@contoso.example/mailFolders('inbox')/messages",
            "expirationDateTime": expires,
            "clientState": "secret",
        });
        self.ask("POST", "/v1.0/subscriptions", Some(wanted)).await
    }
}

async fn body(answer: Response<Body>) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

fn subjects(page: &Value) -> Vec<&str> {
    page["value"].as_array().unwrap().iter().filter_map(|message| message["subject"].as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_told_as_entra_id_tells_it() {
    let client = client().await;
    let (status, answer) = client.ask_token("wrong").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer["error"], "invalid_client");
    assert_eq!(answer["error_codes"], json!([7_000_215]));
    client.simulator.set_switch("secret.expire", json!(true)).unwrap();
    let (_, answer) = client.ask_token("sample~secret-of-the-simulator").await;
    assert_eq!(answer["error_codes"], json!([7_000_222]));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_living_token_is_refused() {
    let mut client = client().await;
    client.deliver("a");
    tokio::time::advance(Duration::from_secs(3600)).await;
    let (status, answer) = client.ask("GET", &format!("{USER}/messages"), None).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::UNAUTHORIZED, &json!("InvalidAuthenticationToken"))
    );
    client.token = "made.up.token".into();
    assert_eq!(client.ask("GET", USER, None).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn the_bytes_come_back_as_they_were_delivered() {
    let client = client().await;
    let mail: Bytes = b"From: x\r\n\r\n\xff\xfe\x00 8-bit \r\n.\r\n"[..].into();
    let id = client.simulator.deliver("billing@contoso.example", mail.clone()).unwrap();
    let answer = client.send("GET", &format!("{USER}/messages/{id}/$value"), None).await;
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), mail);
}

#[tokio::test(start_paused = true)]
async fn delta_tells_everything_once_and_then_what_changed() {
    let client = client().await;
    for number in 0..25 {
        client.deliver(&format!("m{number}"));
    }
    let mut told = Vec::new();
    let mut page =
        client.get(&format!("{USER}/mailFolders('inbox')/messages/delta?$select=subject&$top=10")).await;
    loop {
        told.extend(subjects(&page).into_iter().map(str::to_owned));
        let Some(next) = page["@odata.nextLink"].as_str().map(str::to_owned) else { break };
        page = client.get(&next).await;
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 25);

    let link = page["@odata.deltaLink"].as_str().unwrap().to_owned();
    let id = client.deliver("new");
    let page = client.get(&link).await;
    assert_eq!(subjects(&page), ["new"]);
    let link = page["@odata.deltaLink"].as_str().unwrap().to_owned();
    let (status, _) = client.ask("DELETE", &format!("{USER}/messages/{id}"), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let page = client.get(&link).await;
    assert_eq!(page["value"], json!([{ "@removed": { "reason": "deleted" }, "id": id }]));

    client.simulator.set_switch("delta.expire", json!(true)).unwrap();
    let (status, answer) = client.ask("GET", &link, None).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::GONE, &json!("SyncStateNotFound")));
}

#[tokio::test(start_paused = true)]
async fn marking_read_leaves_the_version_and_is_seen_by_everybody() {
    let client = client().await;
    let id = client.deliver("a");
    let before = client.get(&format!("{USER}/messages/{id}")).await;
    let change = json!({ "isRead": true });
    let (status, after) = client.ask("PATCH", &format!("{USER}/messages/{id}"), Some(change)).await;
    assert_eq!((status, &after["isRead"]), (StatusCode::OK, &json!(true)));
    assert_eq!(after["changeKey"], before["changeKey"]);
    assert!(client.simulator.messages("support@contoso.example").unwrap()[0].is_read);
    let wrong = client.ask("PATCH", &format!("{USER}/messages/{id}"), Some(json!({ "subject": "b" }))).await;
    assert_eq!(wrong.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_hears_of_each_new_mail_after_the_handshake() {
    let client = client().await;
    let (status, made) = client.subscribe(10_000).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(client.subscribe(10_000).await.0, StatusCode::CONFLICT);
    assert_eq!(client.subscribe(10_080).await.1["error"]["code"], "ExtensionError");

    let stop = CancellationToken::new();
    let id = client.deliver("a");
    let story = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        {
            let heard = client.heard.lock().unwrap();
            let [element] = &heard[..] else { panic!("one notification, not {heard:?}") };
            assert_eq!(element["clientState"], "secret");
            assert_eq!(element["resourceData"]["id"], id);
            assert_eq!(element["subscriptionId"], made["id"]);
        }
        client.simulator.lifecycle("support@contoso.example", "missed").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(client.heard.lock().unwrap()[1]["lifecycleEvent"], "missed");
        client.simulator.advance(Duration::from_secs(7 * 24 * 3600));
        client.deliver("too late");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(client.heard.lock().unwrap().len(), 2);
        stop.cancel();
    };
    tokio::join!(client.simulator.run(stop.clone()), story);
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_drafted_found_by_its_marker_and_sent() {
    let client = client().await;
    let id = client.deliver("question");
    let marker = "String {8b6f2c1e-0d53-4d39-9f7a-64a1c6e2b7d0} Name Test";
    let wanted = json!({ "message": { "singleValueExtendedProperties": [{ "id": marker, "value": "m1" }] } });
    let (status, draft) =
        client.ask("POST", &format!("{USER}/messages/{id}/createReply"), Some(wanted)).await;
    assert_eq!((status, &draft["subject"]), (StatusCode::CREATED, &json!("RE: question")));
    let draft_id = draft["id"].as_str().unwrap().to_owned();
    let change = json!({ "body": { "contentType": "html", "content": "<p>こんにちは</p>" } });
    assert_eq!(
        client.ask("PATCH", &format!("{USER}/messages/{draft_id}"), Some(change)).await.0,
        StatusCode::OK
    );
    let filter = format!(
        "$filter=singleValueExtendedProperties/Any(ep: ep/id eq '{marker}' and ep/value eq 'm1')&$select=id,isDraft"
    );
    let found = client.get(&format!("{USER}/mailFolders/drafts/messages?{filter}")).await;
    assert_eq!(found["value"][0]["id"], draft_id);

    let (status, _) = client.ask("POST", &format!("{USER}/messages/{draft_id}/send"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(client.simulator.outside("ann@customer.example").is_empty(), "it stands in the Outbox first");
    client.simulator.advance(Duration::from_secs(2));
    let found = client.get(&format!("{USER}/mailFolders/sentitems/messages?{filter}")).await;
    assert_eq!(found["value"][0]["isDraft"], false);
    let [reply] = &client.simulator.outside("ann@customer.example")[..] else { panic!("one reply") };
    let text = String::from_utf8_lossy(reply);
    assert!(text.contains("In-Reply-To: <question@customer.example>"), "{text}");
    assert!(text.contains("From: \"Contoso Support\" <support@contoso.example>"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_fifth_request_at_a_time_is_refused_and_counted() {
    let client = client().await;
    client.simulator.set_switch("latency_ms", json!(50)).unwrap();
    let path = format!("{USER}/messages");
    let asked = (0..5).map(|_| client.ask("GET", &path, None));
    let answers = futures_util::future::join_all(asked).await;
    let refused = answers.iter().filter(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!(refused, 1);
    let figures = client.simulator.figures();
    assert_eq!((figures.max_in_flight, figures.by_status.get(&429)), (5, Some(&1)));
    assert_eq!(client.ask("GET", &path, None).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn nonsense_gets_an_answer_of_graphs_form() {
    let client = client().await;
    for (method, path, status) in [
        ("GET", "/v1.0/nothing", 400),
        ("GET", "/v1.0/me/messages", 400),
        ("GET", "/v1.0/users/nobody@contoso.example/messages", 404),
        ("GET", &format!("{USER}/messages/AAMkAD="), 400),
        ("GET", &format!("{USER}/messages?$filter=((("), 400),
        ("GET", &format!("{USER}/messages?$top=0"), 400),
        ("GET", &format!("{USER}/messages/delta"), 400),
        ("PUT", &format!("{USER}/messages"), 405),
        ("POST", "/v1.0/subscriptions", 400),
        ("PATCH", "/v1.0/subscriptions/none", 400),
    ] {
        let (got, answer) = client.ask(method, path, None).await;
        assert_eq!(got.as_u16(), status, "{method} {path}: {answer}");
        assert!(answer["error"]["code"].is_string() && answer["error"]["innerError"].is_object(), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_control_port_delivers_switches_and_counts() {
    let client = client().await;
    let control = client.simulator.control_router();
    let ask = |method: &str, path: &str, content: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(content.to_owned()))
            .unwrap();
        control.clone().oneshot(request)
    };
    let answer =
        ask("POST", "/v1/mailboxes/support@contoso.example/messages", "Subject: x\r\n\r\n").await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer = ask("POST", "/v1/mailboxes/nobody@contoso.example/messages", "x").await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(ask("PUT", "/v1/switches/latency_ms", "5").await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(ask("PUT", "/v1/switches/nothing", "5").await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(ask("POST", "/v1/clock", "{\"advance_s\": 60}").await.unwrap().status(), StatusCode::OK);
    let requests = body(ask("GET", "/v1/requests", "").await.unwrap()).await;
    assert_eq!((&requests["total"], &requests["by_kind"]["token"]), (&json!(1), &json!(1)));
    assert_eq!(ask("DELETE", "/v1/requests", "").await.unwrap().status(), StatusCode::NO_CONTENT);
    let page = ask("GET", "/mailboxes/support@contoso.example", "").await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
}
