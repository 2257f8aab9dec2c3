//! One application in one tenant: token, lane, request, meaning.
//!
//! The typed operations all end in [`Graph::call`]. Rules kept: a refused token is
//! replaced once and the call repeated once; nothing else is repeated here; what
//! would be done twice by a repetition is never reported as certainly not done
//! unless that is certain.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::SignedDuration;
use postroom_model::{Clock, Entropy};
use serde::de::DeserializeOwned;

use crate::{
    answer::{Answer, Meaning, retry_after},
    call::{Call, Root, encoded},
    cloud::Endpoints,
    errors::{Failure, GraphError},
    lane::{Lane, LaneConfig, Outcome, Priority, Slot},
    mailbox::Mailbox,
    requests::{Operation, Requests},
    token::{Challenge, Credential, CredentialState, TokenError, Tokens},
    transport::{Transport, TransportError},
    wire::Wire,
};

/// Subscriptions share a lane: Microsoft allows 5,000 requests in 20 s and tenant.
const SUBSCRIPTIONS: LaneConfig = LaneConfig {
    concurrency: 4,
    budget: 1_000,
    budget_window: SignedDuration::from_secs(20),
    upload_budget: u64::MAX,
};

/// What a client is made from.
pub struct GraphConfig {
    /// Where tokens and mails come from.
    pub endpoints: Endpoints,
    /// The application's id.
    pub client_id: String,
    /// The application's credentials, the preferred one first.
    pub credentials: Vec<Credential>,
    /// The limits of each mailbox.
    pub lane: LaneConfig,
}

/// One application in one tenant. Cheap to clone; clones share tokens and lanes.
#[derive(Clone)]
pub struct Graph(Arc<Inner>);

struct Inner {
    root: Root,
    wire: Arc<Wire>,
    tokens: Tokens,
    lane: LaneConfig,
    lanes: Mutex<BTreeMap<String, Arc<Lane>>>,
    subscriptions: Arc<Lane>,
}

impl Graph {
    /// A client. The clock must go as tokio's time goes.
    pub fn new(config: GraphConfig, transport: Transport, clock: Clock, entropy: Entropy) -> Self {
        let subscriptions = Lane::shared(SUBSCRIPTIONS, clock.clone(), entropy.clone());
        let wire = Arc::new(Wire { transport, clock, entropy, requests: Requests::default() });
        let GraphConfig { endpoints, client_id, credentials, lane } = config;
        Self(Arc::new(Inner {
            root: Root::new(&endpoints.graph),
            tokens: Tokens::new(&endpoints, client_id, credentials, Arc::clone(&wire)),
            wire,
            lane,
            lanes: Mutex::default(),
            subscriptions,
        }))
    }

    /// A mailbox by its address. The same address, in any case, has the same lane.
    pub fn mailbox(&self, address: &str) -> Mailbox {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(address.to_lowercase()).or_insert_with(|| {
            Lane::of_mailbox(self.0.lane, self.0.wire.clock.clone(), self.0.wire.entropy.clone())
        });
        Mailbox::new(self.clone(), Arc::clone(lane), format!("/users/{}", encoded(address)))
    }

    /// How many requests were made, by kind of request.
    pub fn requests(&self) -> BTreeMap<&'static str, u64> {
        self.0.wire.requests.view()
    }

    /// Asks for a token with exactly this credential and throws it away: a test
    /// that changes nothing for the calls.
    pub async fn try_credential(&self, name: &str) -> Result<(), TokenError> {
        self.0.tokens.try_credential(name).await
    }

    /// Each credential, the preferred one first, and how it fared in this process.
    pub fn credential_states(&self) -> Vec<CredentialState> {
        self.0.tokens.credential_states()
    }

    pub(crate) fn root(&self) -> &Root {
        &self.0.root
    }

    /// A call that concerns subscriptions, in the lane they share.
    pub(crate) async fn call_shared(&self, call: Call) -> Result<Bytes, GraphError> {
        self.call(&self.0.subscriptions, Priority::Send, call).await
    }

    pub(crate) async fn call(
        &self,
        lane: &Arc<Lane>,
        priority: Priority,
        call: Call,
    ) -> Result<Bytes, GraphError> {
        let mut slot = lane.enter(priority, call.upload()).await?;
        let mut token = self.0.tokens.token().await?;
        let mut repeated = false;
        loop {
            slot.begin();
            let response = match self.0.wire.exchange(call.operation, call.request(&token)).await {
                Ok(response) => response,
                Err(failure) => return Err(no_answer(slot, call.operation, failure)),
            };
            if response.status().is_success() {
                slot.finish(Outcome::Fine);
                return Ok(response.into_body());
            }
            let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
            let challenge = Challenge::of(response.headers());
            if !unauthorized || repeated || !self.0.tokens.reject(&token, challenge) {
                return Err(self.refused(slot, call.operation, &response));
            }
            repeated = true;
            slot.go_on();
            token = self.0.tokens.token().await?;
        }
    }

    fn refused(&self, slot: Slot, operation: Operation, response: &Response<Bytes>) -> GraphError {
        let answer = Box::new(Answer::read(operation, response));
        let retry_after = retry_after(response, self.0.wire.clock.now());
        let meaning = match answer.meaning() {
            // With a time to come back it is the same as 429, whatever the reason.
            Meaning::Failed if answer.status == 503 && retry_after.is_some() => Meaning::Throttled,
            meaning => meaning,
        };
        let concurrency = answer.names_concurrency();
        let standing = slot.finish(match meaning {
            Meaning::Throttled => Outcome::Throttled { retry_after, concurrency },
            Meaning::Unauthorized | Meaning::OutOfScope | Meaning::MailboxMissing => Outcome::ShutOut,
            Meaning::Failed => Outcome::Failed { answered: true },
            Meaning::Gone | Meaning::SyncStateLost | Meaning::Refused | Meaning::Conflict => Outcome::Fine,
        });
        let server_error = answer.status >= 500;
        match meaning {
            // Behind a server's error a send may have happened.
            Meaning::Throttled | Meaning::Failed if server_error && operation.once_only() => {
                GraphError::Unknown(Failure::Answered(answer))
            }
            Meaning::Failed if standing.broken || operation.on_subscription() => {
                GraphError::Outage(Failure::Answered(answer))
            }
            Meaning::Failed | Meaning::Conflict => GraphError::Unknown(Failure::Answered(answer)),
            Meaning::Throttled => GraphError::Throttled { until: standing.rests_until, answer },
            Meaning::Gone => GraphError::Gone(answer),
            Meaning::SyncStateLost => GraphError::SyncStateLost(answer),
            Meaning::Unauthorized => GraphError::Unauthorized(answer),
            Meaning::OutOfScope => GraphError::OutOfScope(answer),
            Meaning::MailboxMissing => GraphError::MailboxMissing(answer),
            Meaning::Refused => GraphError::Refused(answer),
        }
    }
}

fn no_answer(slot: Slot, operation: Operation, failure: Failure) -> GraphError {
    let never_sent = matches!(
        failure,
        Failure::Transport(TransportError::Unreachable { .. } | TransportError::Insecure { .. })
    );
    let standing = slot.finish(Outcome::Failed { answered: never_sent });
    let outage = standing.broken || operation.on_subscription();
    if never_sent || (outage && !operation.once_only()) {
        GraphError::Outage(failure)
    } else {
        GraphError::Unknown(failure)
    }
}

/// Reads a good answer.
pub(crate) fn parsed<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, GraphError> {
    serde_json::from_slice(body)
        .map_err(|error| GraphError::Malformed { operation, reason: unexpected(&error) })
}

/// Where the answer is not as expected, without quoting it: it holds a mail's properties.
fn unexpected(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "a value is missing or of another type" } else { "it is not JSON" };
    format!("{what} at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        GraphErrorKind,
        testing::{self, answer, clock, entropy, fresh_token, is_token, refusal},
    };
    use futures_util::future::{join_all, poll_immediate};
    use http::Request;
    use std::{
        io,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };
    use tokio::time::{Instant, sleep};

    const ANNA: &str = "anna@contoso.example";

    async fn kind_of(response: fn() -> io::Result<Response<Bytes>>) -> GraphErrorKind {
        let (graph, _) = testing::graph(move |_| async move { response() });
        graph.mailbox(ANNA).folder("inbox").await.err().unwrap().kind()
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_is_identified_authorized_and_wants_immutable_ids() {
        let (graph, record) = testing::graph(|_| async { Ok(answer(200, "x")) });
        graph.mailbox("Anna+x@contoso.example").message_bytes("AA/=", Priority::NewMail).await.unwrap();
        let request = &record.graph()[0];
        assert_eq!(
            request.uri(),
            "https://graph.example/v1.0/users/Anna%2Bx%40contoso.example/messages/AA%2F%3D/$value"
        );
        let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert!(header("authorization").starts_with("Bearer token-"));
        assert_eq!(header("prefer"), "IdType=\"ImmutableId\"");
        assert!(header("user-agent").starts_with("postroom/"));
        assert_eq!(header("client-request-id").len(), 36);
        assert_eq!((graph.requests()["message_bytes"], graph.requests()["token"]), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_mailbox_has_the_same_lane_in_any_case() {
        let (graph, _) = testing::graph(|_| async {
            sleep(Duration::from_secs(1)).await;
            Ok(answer(200, "x"))
        });
        let one = graph.mailbox("ANNA@contoso.example");
        let mut call = pin!(one.message_bytes("id", Priority::NewMail));
        assert!(poll_immediate(&mut call).await.is_none());
        assert_eq!(graph.mailbox(ANNA).lane().in_flight, 1);
        assert_eq!(graph.mailbox("other@contoso.example").lane().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_and_the_call_repeated_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (graph, record) = testing::graph(move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move { Ok(if first { refusal(401, "InvalidAuthenticationToken") } else { answer(200, "mime") }) }
        });
        let bytes = graph.mailbox(ANNA).message_bytes("id", Priority::NewMail).await.unwrap();
        assert_eq!((bytes.as_ref(), record.tokens(), record.graph().len()), (&b"mime"[..], 2, 2));
        let used = |index: usize| record.graph()[index].headers()["authorization"].clone();
        assert_ne!(used(0), used(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claims_challenge_is_answered_in_the_next_request_for_a_token_and_only_there() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (graph, record) = testing::graph(move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move { Ok(if first { challenged() } else { answer(200, "mime") }) }
        });
        let mailbox = graph.mailbox(ANNA);
        mailbox.message_bytes("id", Priority::NewMail).await.unwrap();
        sleep(Duration::from_secs(3_500)).await;
        mailbox.message_bytes("id", Priority::NewMail).await.unwrap();
        let own = serde_json::json!({ "values": ["cp1"] });
        let nbf = serde_json::json!({ "essential": true, "value": "1604106651" });
        let plain = serde_json::json!({ "access_token": { "xms_cc": own } });
        let demanded = serde_json::json!({ "access_token": { "xms_cc": own, "nbf": nbf } });
        assert_eq!(record.claims(), [plain.clone(), demanded, plain]);
    }

    fn challenged() -> Response<Bytes> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let claims = STANDARD.encode(r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#);
        let value = format!("Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{claims}\"");
        let mut response = refusal(401, "InvalidAuthenticationToken");
        response.headers_mut().insert("www-authenticate", value.parse().unwrap());
        response
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_refuses_every_token_causes_no_token_loop() {
        let (graph, record) = testing::graph(|_| async { Ok(answer(401, "")) });
        for mailbox in 0..50 {
            let error = graph.mailbox(&format!("{mailbox}@x.example")).folder("inbox").await.err().unwrap();
            assert_eq!(error.kind(), GraphErrorKind::Unauthorized);
        }
        assert_eq!(record.tokens(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_token_nothing_is_asked_and_the_lane_stays_free() {
        let (transport, record) = testing::transport(|_| async { Ok(answer(503, "")) });
        let config = GraphConfig {
            endpoints: testing::endpoints(),
            client_id: "app".into(),
            credentials: vec![Credential::secret("c", "s")],
            lane: LaneConfig::default(),
        };
        let graph = Graph::new(config, transport, clock(), entropy());
        let mailbox = graph.mailbox(ANNA);
        assert_eq!(mailbox.folder("inbox").await.err().unwrap().kind(), GraphErrorKind::Token);
        assert_eq!((record.graph().len(), mailbox.lane().in_flight, mailbox.lane().parked), (0, 0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_kind_of_an_error_follows_the_answer() {
        use GraphErrorKind::*;
        assert_eq!(kind_of(|| Ok(refusal(404, "ErrorItemNotFound"))).await, Gone);
        assert_eq!(kind_of(|| Ok(refusal(404, "MailboxNotEnabledForRESTAPI"))).await, MailboxMissing);
        assert_eq!(kind_of(|| Ok(refusal(403, "ErrorAccessDenied"))).await, OutOfScope);
        assert_eq!(kind_of(|| Ok(refusal(400, "ErrorInvalidIdMalformed"))).await, Refused);
        assert_eq!(kind_of(|| Ok(refusal(412, "ErrorIrresolvableConflict"))).await, Unknown);
        assert_eq!(kind_of(|| Ok(answer(200, "<html>"))).await, Malformed);
        assert_eq!(kind_of(|| Ok(answer(502, "<html><h1>Bad Gateway</h1></html>"))).await, Unknown);
        assert_eq!(kind_of(|| Ok(answer(504, ""))).await, Unknown);
        assert_eq!(kind_of(|| Err(io::ErrorKind::ConnectionRefused.into())).await, Outage);
        assert_eq!(kind_of(|| Err(io::ErrorKind::ConnectionReset.into())).await, Unknown);
        assert!(matches!(kind_of(|| Ok(refusal(429, "ApplicationThrottled"))).await, Throttled { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_belong_to_the_item_until_the_whole_mailbox_fails() {
        let (graph, _) = testing::graph(|_| async { Ok(answer(500, "")) });
        let mailbox = graph.mailbox(ANNA);
        let mut kinds = Vec::new();
        for _ in 0..6 {
            kinds.push(mailbox.message_bytes("id", Priority::NewMail).await.err().unwrap().kind());
        }
        assert_eq!(kinds[..4], [GraphErrorKind::Unknown; 4]);
        assert_eq!(kinds[4], GraphErrorKind::Outage);
        assert!(matches!(kinds[5], GraphErrorKind::Parked { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_is_certainly_not_done_only_when_graph_says_so() {
        let kind = |response: fn() -> io::Result<Response<Bytes>>| async move {
            let (graph, _) = testing::graph(move |_| async move { response() });
            graph.mailbox(ANNA).send_draft("id").await.err().unwrap().kind()
        };
        let unavailable = || {
            let mut response = answer(503, "");
            response.headers_mut().insert("retry-after", http::HeaderValue::from_static("30"));
            Ok(response)
        };
        assert_eq!(kind(unavailable).await, GraphErrorKind::Unknown);
        assert_eq!(kind(|| Ok(answer(500, ""))).await, GraphErrorKind::Unknown);
        assert_eq!(kind(|| Err(io::ErrorKind::BrokenPipe.into())).await, GraphErrorKind::Unknown);
        assert_eq!(kind(|| Err(io::ErrorKind::ConnectionRefused.into())).await, GraphErrorKind::Outage);
        assert_eq!(kind(|| Ok(refusal(403, "ErrorSendAsDenied"))).await, GraphErrorKind::Refused);
        assert!(matches!(kind(|| Ok(answer(429, ""))).await, GraphErrorKind::Throttled { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_a_minute_and_keeps_the_slot_half_a_minute_longer() {
        let (graph, _) = testing::graph(|_| std::future::pending());
        let mailbox = graph.mailbox(ANNA);
        let started = Instant::now();
        let error = mailbox.send_draft("id").await.err().unwrap();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (GraphErrorKind::Unknown, 60));
        assert_eq!(mailbox.lane().in_flight, 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(mailbox.lane().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_date_or_seconds_to_come_back_park_the_whole_lane() {
        for (value, seconds) in [("Sun, 01 Mar 2026 12:00:45 GMT", 45), ("45", 45), ("1", 1)] {
            let (graph, record) = testing::graph(move |_| async move {
                let mut response = refusal(429, "ApplicationThrottled");
                response.headers_mut().insert("retry-after", value.parse().unwrap());
                Ok(response)
            });
            let mailbox = graph.mailbox(ANNA);
            let start = clock().now();
            let GraphErrorKind::Throttled { until } = mailbox.folder("inbox").await.err().unwrap().kind()
            else {
                panic!("not throttled")
            };
            assert_eq!(until.duration_since(start).as_secs(), seconds, "{value}");
            if seconds > 2 {
                let parked = mailbox.send_draft("id").await.err().unwrap().kind();
                assert_eq!(parked, GraphErrorKind::Parked { until });
                assert_eq!(record.graph().len(), 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_graph_itself_never_more_than_four_arrive_at_one_time() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (inside, highest) = (Arc::clone(&now), Arc::clone(&most));
        let (graph, _) = testing::graph(move |_| {
            let (inside, highest) = (Arc::clone(&inside), Arc::clone(&highest));
            async move {
                highest.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
                inside.fetch_sub(1, Ordering::Relaxed);
                Ok(answer(200, "{}"))
            }
        });
        let mailbox = graph.mailbox(ANNA);
        let started = Instant::now();
        let ids: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let done = join_all(ids.iter().map(|id| mailbox.mark_read(id))).await;
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::Relaxed), 4);
        assert_eq!(started.elapsed(), Duration::from_millis(2_500));
    }

    #[tokio::test(start_paused = true)]
    async fn texts_for_people_hold_no_address() {
        let body = r#"{"error":{"code":"ErrorInvalidUser","message":"The requested user 'anna@contoso.example' is invalid."}}"#;
        let (graph, _) = testing::graph(move |_| async move { Ok(answer(404, body)) });
        let error = graph.mailbox(ANNA).folder("inbox").await.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("anna"), "{error}");
        assert!(error.to_string().contains("check address and licence"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_mailbox_that_fails_leaves_all_others_alone() {
        let (graph, _) = testing::graph(|request: Request<Bytes>| async move {
            let broken = request.uri().path().contains("broken");
            Ok(if broken { refusal(403, "ErrorAccessDenied") } else { answer(200, "mime") })
        });
        let broken = graph.mailbox("broken@contoso.example");
        assert!(broken.message_bytes("id", Priority::NewMail).await.is_err());
        assert!(broken.lane().parked.is_some());
        assert!(graph.mailbox(ANNA).message_bytes("id", Priority::NewMail).await.is_ok());
    }

    #[test]
    fn tokens_of_the_test_service_differ() {
        assert_ne!(fresh_token(1).body(), fresh_token(1).body());
        assert!(is_token(&Request::post("https://x/t/token").body(Bytes::new()).unwrap()));
    }
}
