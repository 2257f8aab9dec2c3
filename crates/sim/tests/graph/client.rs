//! A client with a token, and an endpoint that hears notifications.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use postroom_sim::{Clock, Config, Outgoing, Simulator};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const USER: &str = "/v1.0/users/support@contoso.example";

/// What an endpoint was sent.
pub(crate) type Heard = Arc<Mutex<Vec<Value>>>;

/// A tenant, a client with a token, and an endpoint that hears notifications.
pub(crate) struct Client {
    pub(crate) simulator: Simulator,
    graph: Router,
    token: String,
    pub(crate) heard: Heard,
}

/// Time that follows tokio's.
fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    Clock::new(move || {
        let gone = SignedDuration::try_from(start.elapsed()).unwrap();
        "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + gone
    })
}

pub(crate) async fn client() -> Client {
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
    pub(crate) async fn ask_token(&self, secret: &str) -> (StatusCode, Value) {
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

    pub(crate) async fn ask(&self, method: &str, path: &str, content: Option<Value>) -> (StatusCode, Value) {
        let answer = self.send(method, path, content).await;
        (answer.status(), body(answer).await)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, content: Option<Value>) -> Response<Body> {
        let content = content.map_or_else(String::new, |content| content.to_string());
        self.send_raw(method, path, &[("content-type", "application/json")], content).await
    }

    /// Sends any body with any headers.
    pub(crate) async fn send_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        content: impl Into<Body>,
    ) -> Response<Body> {
        let path = path.strip_prefix("https://graph.microsoft.com").unwrap_or(path);
        let mut request = Request::builder()
            .method(method)
            .uri(path.replace(' ', "%20"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("prefer", "IdType=\"ImmutableId\"");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(content.into()).unwrap();
        self.graph.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    pub(crate) fn deliver(&self, subject: &str) -> String {
        let mail = format!(
            "From: Ann <ann@customer.example>\r\nTo: support@contoso.example\r\nSubject: {subject}\r\n\
             Message-ID: <{subject}@customer.example>\r\n\r\nHello\r\n"
        );
        self.simulator.deliver("support@contoso.example", mail).unwrap()
    }

    /// Makes, and gives back what was made.
    pub(crate) async fn post(&self, path: &str, content: Value) -> Value {
        let (status, answer) = self.ask("POST", path, Some(content)).await;
        assert_eq!(status, StatusCode::CREATED, "{path}: {answer}");
        answer
    }

    /// Subscribes to the messages of a folder.
    pub(crate) async fn subscribe(&self, resource: &str, change_type: &str) -> Value {
        let wanted = json!({
            "changeType": change_type,
            "notificationUrl": "https://postroom.example/hooks/x",
            "lifecycleNotificationUrl": "https://postroom.example/hooks/x/lifecycle",
            "resource": resource,
            "expirationDateTime": "2026-03-04T09:00:00+00:00",
            "clientState": "secret",
        });
        self.post("/v1.0/subscriptions", wanted).await
    }
}

pub(crate) async fn body(answer: Response<Body>) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}
