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
    graph
        .mailbox("Anna+x@contoso.example")
        .message_stream("AA/=", Priority::NewMail)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
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
    let mut call = pin!(one.message_stream("id", Priority::NewMail));
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
    let bytes =
        graph.mailbox(ANNA).message_stream("id", Priority::NewMail).await.unwrap().collect().await.unwrap();
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
    mailbox.message_stream("id", Priority::NewMail).await.unwrap().collect().await.unwrap();
    sleep(Duration::from_secs(3_500)).await;
    mailbox.message_stream("id", Priority::NewMail).await.unwrap().collect().await.unwrap();
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
        kinds.push(mailbox.message_stream("id", Priority::NewMail).await.err().unwrap().kind());
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
    let (graph, _) = testing::graph(|_| std::future::pending::<io::Result<Response<Bytes>>>());
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
        let GraphErrorKind::Throttled { until } = mailbox.folder("inbox").await.err().unwrap().kind() else {
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
    assert!(broken.message_stream("id", Priority::NewMail).await.is_err());
    assert!(broken.lane().parked.is_some());
    assert!(graph.mailbox(ANNA).message_stream("id", Priority::NewMail).await.is_ok());
}

#[test]
fn tokens_of_the_test_service_differ() {
    assert_ne!(fresh_token(1).body(), fresh_token(1).body());
    assert!(is_token(&Request::post("https://x/t/token").body(Bytes::new()).unwrap()));
}

/// A Graph that fails at `$value`, and at everything else while `all` says so.
fn broken_item(all: impl Fn() -> bool + Send + Sync + 'static) -> (Graph, testing::Record) {
    testing::graph(move |request: Request<Bytes>| {
        let fails = request.uri().path().ends_with("$value") || all();
        async move { Ok(if fails { refusal(500, "ErrorMimeContentConversionFailed") } else { answer(200, "{}") }) }
    })
}

#[tokio::test(start_paused = true)]
async fn an_item_that_graph_fails_at_is_told_from_a_mailbox_that_does_not_work() {
    let (graph, record) = broken_item(|| false);
    let mailbox = graph.mailbox(ANNA);
    // However often: the mailbox works, and its lane goes on.
    for _ in 0..10 {
        let error = mailbox.message_stream("id", Priority::NewMail).await.err().unwrap();
        assert_eq!(error.kind(), GraphErrorKind::ItemBroken);
        assert_eq!(error.answer().unwrap().operation, Operation::MessageBytes);
    }
    let view = mailbox.lane();
    assert_eq!((view.in_flight, view.probing, view.parked), (0, false, None));
    assert_eq!(view.budget_left, LaneConfig::default().budget - 20);
    assert_eq!(record.graph()[1].uri().query(), Some("$select=id"));
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_failed_a_moment_ago_is_no_witness_against_an_item() {
    let down = Arc::new(AtomicUsize::new(1));
    let now_down = Arc::clone(&down);
    let (graph, _) = broken_item(move || now_down.load(Ordering::Relaxed) == 1);
    let mailbox = graph.mailbox(ANNA);
    let kind = async || mailbox.message_stream("id", Priority::NewMail).await.err().unwrap().kind();
    assert_eq!(kind().await, GraphErrorKind::Unknown);
    down.store(0, Ordering::Relaxed);
    assert_eq!(kind().await, GraphErrorKind::Unknown);
    sleep(Duration::from_secs(301)).await;
    assert_eq!(kind().await, GraphErrorKind::ItemBroken);
}
