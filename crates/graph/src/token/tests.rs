//! Laws of the one token: how often it is asked for, by which credential, with which claims.

use super::{request::granted, *};
use crate::{
    requests::Requests,
    testing::{self, OWN, Record, answer, clock, entropy, fresh_token},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Request, Response, header};
use postroom_model::credential::CredentialKind;
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// What stands in the field of an assertion: its type.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn credential(name: &str) -> Credential {
    Credential::secret(name, format!("{name} secret"))
}

fn tokens<F, A>(credentials: Vec<Credential>, respond: F) -> (Tokens, Record)
where
    F: Fn(Request<Bytes>) -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Response<Bytes>>> + Send + 'static,
{
    let (transport, record) = testing::transport(respond);
    let wire = Wire { transport, clock: clock(), entropy: entropy(), requests: Requests::default() };
    (Tokens::new(&testing::endpoints(), "app id".into(), credentials, Arc::new(wire)), record)
}

fn denied(code: u32) -> Response<Bytes> {
    answer(401, serde_json::json!({ "error": "invalid_client", "error_codes": [code] }).to_string())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_cause_one_request_in_the_documented_form() {
    let (tokens, record) = tokens(vec![credential("only")], |_| async {
        sleep(Duration::from_millis(300)).await;
        Ok(fresh_token(3600))
    });
    let all = join_all((0..100).map(|_| tokens.token())).await;
    assert!(all.iter().all(|token| token.as_ref().ok() == all[0].as_ref().ok()));
    assert_eq!(record.tokens(), 1);
    let request = &record.all()[0];
    assert_eq!(
        request.body(),
        "grant_type=client_credentials&client_id=app+id\
         &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default\
         &claims=%7B%22access_token%22%3A%7B%22xms_cc%22%3A%7B%22values%22%3A%5B%22cp1%22%5D%7D%7D%7D\
         &client_secret=only+secret"
    );
    assert!(request.headers().contains_key("client-request-id"));
    assert_eq!(format!("{:?}", all[0].as_ref().ok().unwrap().bearer), "Sensitive");
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_five_minutes_early_and_until_then_valid_for_all_others() {
    let (tokens, record) = tokens(vec![credential("only")], |_| async {
        sleep(Duration::from_secs(2)).await;
        Ok(fresh_token(3600))
    });
    let old = tokens.token().await.ok().unwrap();
    sleep(Duration::from_secs(3600 - 302)).await;
    let (renewing, other) = tokio::join!(tokens.token(), async {
        let before = Instant::now();
        let token = tokens.token().await.ok().unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        token
    });
    assert!(renewing.ok().unwrap() != old && other == old);
    assert_eq!(record.tokens(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_early_renewal_harms_nobody() {
    let down = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&down);
    let (tokens, record) = tokens(vec![credential("only")], move |_| {
        let down = broken.load(Ordering::Relaxed);
        async move { if down { Ok(answer(503, "")) } else { Ok(fresh_token(3600)) } }
    });
    let old = tokens.token().await.ok().unwrap();
    down.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(3400)).await;
    for _ in 0..50 {
        assert!(tokens.token().await.ok().unwrap() == old);
    }
    assert_eq!(record.tokens(), 2);
    sleep(Duration::from_secs(200)).await;
    assert!(matches!(tokens.token().await, Err(TokenError::Unavailable { status: 503 })));
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_nobody_asks_for_a_while_that_grows() {
    let (tokens, record) = tokens(vec![credential("old")], |_| async { Ok(denied(7_000_222)) });
    let mut asked = Vec::new();
    for second in 0..300_u64 {
        let error = tokens.token().await.err().unwrap();
        assert!(
            error.to_string().contains("AADSTS7000222") && error.to_string().contains("expired"),
            "{error}"
        );
        if record.tokens() > asked.len() {
            asked.push(second);
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(asked, [0, 30, 90, 210]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_gives_way_to_the_next_at_once() {
    let (tokens, record) = tokens(vec![credential("spring"), credential("autumn")], |request| async move {
        let spring = request.body().windows(6).any(|word| word == b"spring");
        Ok(if spring { denied(7_000_222) } else { fresh_token(3600) })
    });
    assert!(tokens.token().await.is_ok());
    assert!(tokens.token().await.is_ok());
    assert_eq!(record.tokens(), 2);
}

#[tokio::test(start_paused = true)]
async fn those_out_of_their_time_are_tried_last_but_tried() {
    let now = clock().now();
    let hour = SignedDuration::from_hours(1);
    let dated = |name, starts, expires| Credential { starts, expires, ..credential(name) };
    let all = vec![
        dated("ended", None, Some(now)),
        dated("coming", Some(now + hour), Some(now + hour + hour)),
        dated("good", Some(now), Some(now + hour)),
        credential("undated"),
    ];
    let (tokens, record) = tokens(all, |_| async { Ok(denied(7_000_215)) });
    assert!(tokens.token().await.is_err());
    let order = ["good secret", "undated secret", "ended secret", "coming secret"];
    assert_eq!(record.fields("client_secret"), order);
    record.forget();
    sleep(Duration::from_secs(3_600)).await;
    assert!(tokens.token().await.is_err());
    let order = ["coming secret", "undated secret", "ended secret", "good secret"];
    assert_eq!(record.fields("client_secret"), order);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_proves_itself_by_an_assertion_for_the_token_endpoint() {
    let key = CertificateKey::from_pem(&OWN.pem()).unwrap();
    let credential = Credential::certificate("2026", key.clone());
    assert_eq!((credential.starts, credential.expires), (Some(key.not_before()), Some(key.not_after())));
    let (tokens, record) = tokens(vec![credential], |_| async { Ok(fresh_token(3600)) });
    assert!(tokens.token().await.is_ok());
    assert_eq!(record.fields("client_assertion_type"), [ASSERTION_TYPE]);
    assert_eq!(record.fields("client_secret"), [""]);
    let assertion = &record.fields("client_assertion")[0];
    let claims: serde_json::Value = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap())
            .unwrap()
    };
    assert_eq!(
        (&claims["aud"], &claims["iss"]),
        (&testing::endpoints().token.as_str().into(), &"app id".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_anew_at_each_request() {
    let count = AtomicUsize::new(0);
    let read: ReadFile = Arc::new(move |path| {
        assert_eq!(path.to_str(), Some("/var/run/token"));
        Ok(format!("assertion-{}\n", count.fetch_add(1, Ordering::Relaxed)))
    });
    let file = Credential::federated_token_file("pod", "/var/run/token", read);
    let (tokens, record) = tokens(vec![file], |_| async { Ok(fresh_token(3600)) });
    for _ in 0..3 {
        assert!(tokens.token().await.is_ok());
        sleep(Duration::from_secs(3_600)).await;
    }
    assert_eq!(record.fields("client_assertion"), ["assertion-0", "assertion-1", "assertion-2"]);
    assert!(record.fields("client_assertion_type").iter().all(|kind| kind == ASSERTION_TYPE));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_gives_nothing_is_its_credentials_own_failure_and_the_next_is_tried() {
    let missing: ReadFile = Arc::new(|_| Err(io::ErrorKind::NotFound.into()));
    let empty: ReadFile = Arc::new(|_| Ok(" \n".into()));
    let of = |name: &str, read: &ReadFile| {
        Credential::federated_token_file(name, format!("/run/{name}"), Arc::clone(read))
    };
    let all = vec![of("missing", &missing), of("empty", &empty), credential("secret")];
    let (both, record) = tokens(all, |_| async { Ok(fresh_token(3600)) });
    assert!(both.token().await.is_ok());
    assert_eq!(record.fields("client_secret"), ["secret secret"]);
    let told: Vec<_> = both.credential_states().into_iter().map(|state| state.last_error).collect();
    assert!(told[0].as_ref().unwrap().contains("/run/missing can't be read"), "{told:?}");
    assert!(told[1].as_ref().unwrap().contains("/run/empty is empty"), "{told:?}");
    assert_eq!(told[2], None);

    let (alone, record) = tokens(vec![of("missing", &missing)], |_| async { Ok(fresh_token(3600)) });
    let error = alone.token().await.err().unwrap();
    assert!(matches!(&error, TokenError::Unusable { credential, .. } if credential == "missing"));
    assert_eq!(record.tokens(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_an_assertion_gives_way_to_the_next_under_any_error_word() {
    for code in [50_013, 70_021, 700_024, 700_027, 700_211, 700_212, 700_213] {
        let (tokens, record) =
            tokens(vec![credential("one"), credential("two")], move |request| async move {
                let refused = serde_json::json!({ "error": "invalid_grant", "error_codes": [code] });
                let is_first = request.body().ends_with(b"one+secret");
                Ok(if is_first { answer(400, refused.to_string()) } else { fresh_token(3600) })
            });
        assert!(tokens.token().await.is_ok(), "{code}");
        assert_eq!(record.tokens(), 2);
        let told = tokens.credential_states()[0].last_error.clone().unwrap();
        assert!(told.contains(&format!("AADSTS{code}")) && !told.contains("look the code up"), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_credential_remembers_how_it_fared() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let key = CertificateKey::from_pem(&OWN.pem()).unwrap();
    let all = vec![credential("spring"), Credential::certificate("autumn", key.clone())];
    let (tokens, _) = tokens(all, move |request| {
        let is_refused = request.body().ends_with(b"spring+secret") && !mended.load(Ordering::Relaxed);
        async move { Ok(if is_refused { denied(7_000_222) } else { fresh_token(3600) }) }
    });
    let untried = tokens.credential_states();
    assert!(untried.iter().all(|state| state.last_error.is_none() && state.last_used.is_none()));
    assert!(tokens.token().await.is_ok());
    let [spring, autumn] = tokens.credential_states().try_into().unwrap();
    assert_eq!((spring.name.as_str(), spring.kind), ("spring", CredentialKind::Secret));
    assert!(spring.last_error.unwrap().contains("expired") && spring.last_used.is_none());
    assert_eq!((autumn.name.as_str(), autumn.kind), ("autumn", CredentialKind::Certificate));
    assert_eq!((autumn.starts, autumn.expires), (Some(key.not_before()), Some(key.not_after())));
    assert!(autumn.last_error.is_none() && autumn.last_used.is_some());

    is_mended.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(3_600)).await;
    assert!(tokens.token().await.is_ok());
    let [spring, _] = tokens.credential_states().try_into().unwrap();
    assert!(spring.last_error.is_none() && spring.last_used.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_tried_alone_and_nothing_changes_for_the_others() {
    let (tokens, record) = tokens(vec![credential("good"), credential("bad")], |request| async move {
        let is_bad = request.body().ends_with(b"bad+secret");
        Ok(if is_bad { denied(7_000_215) } else { fresh_token(3600) })
    });
    assert!(matches!(tokens.try_credential("bad").await, Err(TokenError::Refused { .. })));
    assert!(matches!(
        tokens.try_credential("none").await,
        Err(TokenError::UnknownCredential { name }) if name == "none"
    ));
    assert!(tokens.try_credential("good").await.is_ok());
    let own = tokens.token().await.ok().unwrap();
    assert!(tokens.try_credential("good").await.is_ok());
    assert!(tokens.try_credential("bad").await.is_err());
    assert!(tokens.token().await.ok().unwrap() == own);
    assert_eq!(record.fields("client_secret").len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_goes_to_each_credential_and_stays_until_it_is_answered() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let (tokens, record) = tokens(vec![credential("old"), credential("new")], move |request| {
        let is_old = request.body().ends_with(b"old+secret");
        let is_down = down.load(Ordering::Relaxed);
        async move {
            Ok(match (is_down, is_old) {
                (true, _) => answer(503, ""),
                (_, true) => denied(7_000_222),
                _ => fresh_token(3600),
            })
        }
    });
    let first = tokens.token().await.ok().unwrap();
    record.forget();
    is_down.store(true, Ordering::Relaxed);
    assert!(tokens.reject(&first, Some(challenge())));
    assert!(tokens.token().await.is_err());
    is_down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(5)).await;
    assert!(tokens.token().await.is_ok());
    sleep(Duration::from_secs(3_600)).await;
    assert!(tokens.token().await.is_ok());
    let demands: Vec<bool> =
        record.claims().iter().map(|claims| claims["access_token"].get("nbf").is_some()).collect();
    assert_eq!(demands, [true, true, true, false, false]);
    assert!(record.claims().iter().all(|claims| claims["access_token"]["xms_cc"]["values"][0] == "cp1"));
}

#[tokio::test(start_paused = true)]
async fn a_challenge_that_is_refused_is_not_asked_again() {
    let (tokens, record) = tokens(vec![credential("only")], |request| async move {
        let is_demanding = request.body().windows(3).any(|word| word == b"nbf");
        let refused = r#"{"error":"invalid_request","error_codes":[1]}"#;
        Ok(if is_demanding { answer(400, refused) } else { fresh_token(3600) })
    });
    let first = tokens.token().await.ok().unwrap();
    assert!(tokens.reject(&first, Some(challenge())));
    assert!(tokens.token().await.is_err());
    sleep(Duration::from_secs(30)).await;
    assert!(tokens.token().await.is_ok());
    assert_eq!(record.tokens(), 3);
}

fn challenge() -> Challenge {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let claims = STANDARD.encode(r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#);
    let value = format!("Bearer error=\"insufficient_claims\", claims=\"{claims}\"");
    Challenge::of(&HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value.parse().unwrap())])).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_a_day_is_renewed_after_ninety_minutes_and_bridges_an_outage() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let (tokens, record) = tokens(vec![credential("only")], move |_| {
        let is_down = down.load(Ordering::Relaxed);
        async move { Ok(if is_down { answer(503, "") } else { fresh_token(86_400) }) }
    });
    assert!(tokens.token().await.is_ok());
    sleep(Duration::from_secs(5_399)).await;
    let held = tokens.token().await.ok().unwrap();
    assert_eq!(record.tokens(), 1);
    is_down.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(20 * 3_600)).await;
    assert!(tokens.token().await.ok().unwrap() == held);
    assert_eq!(record.tokens(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_credentials_fault_is_not_tried_with_another() {
    let body = r#"{"error":"unauthorized_client","error_codes":[700016]}"#;
    let (tokens, record) =
        tokens(vec![credential("one"), credential("two")], move |_| async move { Ok(answer(400, body)) });
    assert!(matches!(tokens.token().await, Err(TokenError::Refused { aadsts: 700_016, .. })));
    assert_eq!(record.tokens(), 1);
}

#[tokio::test(start_paused = true)]
async fn odd_answers_are_errors_and_text_numbers_are_numbers() {
    let text = r#"{"access_token":"t","expires_in":"3599"}"#;
    assert!(granted(text.as_bytes(), Timestamp::UNIX_EPOCH).is_some());
    let (tokens, _) = tokens(vec![credential("only")], |_| async { Ok(answer(200, "<html>sign in</html>")) });
    assert!(matches!(tokens.token().await, Err(TokenError::Malformed { status: 200 })));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_graph_refuses_is_replaced_at_most_once_a_minute() {
    let (tokens, record) = tokens(vec![credential("only")], |_| async { Ok(fresh_token(3600)) });
    let first = tokens.token().await.ok().unwrap();
    assert!(tokens.reject(&first, None));
    let second = tokens.token().await.ok().unwrap();
    // Somebody who still holds the first has only to ask again.
    assert!(tokens.reject(&first, None));
    assert!(!tokens.reject(&second, None));
    sleep(Duration::from_secs(60)).await;
    assert!(tokens.reject(&second, None));
    assert_eq!(record.tokens(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_before_a_permission_is_replaced_and_a_fresh_one_is_not() {
    let (tokens, record) = tokens(vec![credential("only")], |_| async { Ok(fresh_token(3600)) });
    let first = tokens.token().await.ok().unwrap();
    assert!(!tokens.doubt(&first), "a fresh one says what is so");
    sleep(Duration::from_secs(60)).await;
    assert!(tokens.doubt(&first));
    let second = tokens.token().await.ok().unwrap();
    // Somebody who still holds the first has only to ask again.
    assert!(tokens.doubt(&first));
    assert!(!tokens.doubt(&second));
    assert_eq!(record.tokens(), 2);
}

#[tokio::test(start_paused = true)]
async fn replaced_credentials_are_used_at_once_even_in_the_wait_after_a_failure() {
    let (tokens, record) = tokens(vec![credential("old")], |request| async move {
        let is_new = String::from_utf8_lossy(request.body()).contains("new+secret");
        Ok(if is_new { fresh_token(3600) } else { denied(7_000_222) })
    });
    assert!(tokens.token().await.is_err());
    assert!(tokens.token().await.is_err());
    assert_eq!(record.tokens(), 1, "a failure is remembered");
    tokens.replace_credentials(vec![credential("new")]);
    let held = tokens.token().await.ok().unwrap();
    // The present token bridges until one of the others gives another.
    tokens.replace_credentials(vec![credential("old")]);
    assert!(tokens.token().await.ok().unwrap().bearer == held.bearer);
    assert_eq!(record.tokens(), 3);
    // It is the same token even so: refused by Graph, it is given up.
    assert!(tokens.reject(&held, None));
    assert!(tokens.token().await.is_err());
}
