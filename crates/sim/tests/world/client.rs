//! A tenant and a client of it, in one process and in virtual time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use postroom_sim::{Clock, Config, Outgoing, Simulator};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::endpoint::Endpoint;

pub(crate) const TENANT: &str = "11111111-1111-1111-1111-111111111111";
pub(crate) const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
pub(crate) const SECRET: &str = "sample~secret-of-the-simulator";
pub(crate) const SUPPORT: &str = "support@contoso.example";
pub(crate) const SALES: &str = "sales@contoso.example";
pub(crate) const SCOPE: &str = "https://graph.microsoft.com/.default";

/// Fields of a form.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// The sample tenant, a token for it, and an endpoint for notifications.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) token: String,
    graph: Router,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// `null` when the body is no JSON.
    pub(crate) body: Value,
    pub(crate) bytes: Bytes,
}

impl Told {
    /// The code of Graph's error.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.body)).to_owned()
    }
}

/// Time that follows tokio's.
fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    Clock::new(move || {
        let gone = SignedDuration::try_from(start.elapsed()).unwrap();
        "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + gone
    })
}

/// A world with a token, in which nothing is delivered to subscribers yet.
pub(crate) async fn world() -> World {
    world_of(|_| {}).await
}

/// The same with another configuration.
pub(crate) async fn world_of(settle: impl FnOnce(&mut Config)) -> World {
    let endpoint = Arc::new(Endpoint::new());
    let ears = Arc::clone(&endpoint);
    let outgoing = Outgoing::InProcess(Arc::new(move |request: Request<Bytes>| {
        let ears = Arc::clone(&ears);
        Box::pin(async move { ears.answer(request).await })
    }));
    let mut config = Config::sample(clock(), outgoing);
    settle(&mut config);
    let simulator = Simulator::new(config);
    let graph = simulator.graph_router();
    let mut world = World { simulator, endpoint, token: String::new(), graph };
    world.token = world.new_token().await;
    world
}

/// A world in which notifications are delivered and a token lives as long as the story.
pub(crate) async fn living_world() -> World {
    let mut world = world().await;
    world.set("token.lifetime_s", 30 * 24 * 3_600);
    world.token = world.new_token().await;
    world.live();
    world
}

/// A request for a token by the sample secret.
pub(crate) fn by_secret(secret: &str) -> Fields {
    vec![
        ("grant_type", "client_credentials".into()),
        ("client_id", CLIENT.into()),
        ("client_secret", secret.into()),
        ("scope", SCOPE.into()),
    ]
}

/// A form with one field set to another value, or without it.
pub(crate) fn with(mut fields: Fields, name: &'static str, value: Option<&str>) -> Fields {
    fields.retain(|(known, _)| *known != name);
    fields.extend(value.map(|value| (name, value.to_owned())));
    fields
}

impl World {
    /// Delivers notifications and sent mails until the test ends.
    pub(crate) fn live(&self) {
        let simulator = self.simulator.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the delivery runs beside the test until its runtime ends"
        )]
        tokio::spawn(async move { simulator.run(CancellationToken::new()).await });
    }

    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub(crate) async fn seconds(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds)).await;
    }

    pub(crate) fn set(&self, name: &str, value: impl Into<Value>) {
        self.simulator.set_switch(name, value.into()).unwrap();
    }

    pub(crate) fn set_for(&self, mailbox: &str, name: &str, value: impl Into<Value>) {
        self.simulator.set_mailbox_switch(mailbox, name, value.into()).unwrap();
    }

    pub(crate) async fn ask_token(&self, fields: &Fields) -> Told {
        self.ask_token_at(&format!("/{TENANT}/oauth2/v2.0/token"), &[], fields).await
    }

    pub(crate) async fn ask_token_at(&self, path: &str, headers: &[(&str, &str)], fields: &Fields) -> Told {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(self.graph.clone().oneshot(request.body(Body::from(form)).unwrap()).await.unwrap()).await
    }

    /// A token by the sample secret.
    pub(crate) async fn new_token(&self) -> String {
        let told = self.ask_token(&by_secret(SECRET)).await;
        assert_eq!(told.status, 200, "{}", told.body);
        told.text("access_token")
    }

    /// Sends a request with the world's token; the answer's body is not read yet.
    pub(crate) async fn send(&self, method: &str, path: &str, content: Option<Value>) -> Response<Body> {
        let content = content.map_or_else(Bytes::new, |content| content.to_string().into());
        self.send_bytes(&self.token, method, path, content).await
    }

    pub(crate) async fn send_bytes(
        &self,
        token: &str,
        method: &str,
        path: &str,
        content: Bytes,
    ) -> Response<Body> {
        let path = path.strip_prefix("https://graph.microsoft.com").unwrap_or(path).replace(' ', "%20");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("prefer", "IdType=\"ImmutableId\"")
            .header("content-type", "application/json")
            .body(Body::from(content))
            .unwrap();
        self.graph.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, content: Option<Value>) -> Told {
        read(self.send(method, path, content).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.ask("GET", path, None).await
    }

    /// An answer that must be a good one.
    pub(crate) async fn ok(&self, path: &str) -> Value {
        let told = self.get(path).await;
        assert_eq!(told.status, 200, "{path}: {}", told.body);
        told.body
    }

    /// Delivers a mail and answers its immutable id.
    pub(crate) fn deliver(&self, mailbox: &str, subject: &str) -> String {
        let mail = format!(
            "From: Ann <ann@customer.example>\r\nTo: {mailbox}\r\nSubject: {subject}\r\n\
             Message-ID: <{subject}-{mailbox}>\r\n\r\nHello\r\n"
        );
        self.simulator.deliver(mailbox, mail).unwrap()
    }

    /// Asks for a subscription on the Inbox of a mailbox, with some properties set otherwise.
    pub(crate) async fn ask_subscription(&self, mailbox: &str, other: Value) -> Told {
        let mut wanted = json!({
            "changeType": "created",
            "notificationUrl": format!("https://hooks.example/{mailbox}"),
            "lifecycleNotificationUrl": format!("https://hooks.example/life/{mailbox}"),
            "resource": format!("users/{mailbox}/mailFolders('inbox')/messages"),
            "expirationDateTime": "2026-03-09T00:00:00Z",
            "clientState": "secret",
        });
        wanted.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        self.ask("POST", "/v1.0/subscriptions", Some(wanted)).await
    }

    /// Makes a subscription and answers its id.
    pub(crate) async fn subscribe(&self, mailbox: &str) -> String {
        self.subscribe_as(mailbox, json!({})).await
    }

    pub(crate) async fn subscribe_as(&self, mailbox: &str, other: Value) -> String {
        let told = self.ask_subscription(mailbox, other).await;
        assert_eq!(told.status, 201, "{}", told.body);
        told.text("id")
    }
}

pub(crate) async fn read(answer: Response<Body>) -> Told {
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Told { status: head.status.as_u16(), headers: head.headers, body, bytes }
}

/// The path of a mailbox's user.
pub(crate) fn user(mailbox: &str) -> String {
    format!("/v1.0/users/{mailbox}")
}

/// The subjects of the messages on a page, in its order.
pub(crate) fn subjects(page: &Value) -> Vec<String> {
    let messages = page["value"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    messages.iter().filter_map(|message| message["subject"].as_str()).map(str::to_owned).collect()
}
