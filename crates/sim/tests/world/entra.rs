//! How an application gets a token, and how it is refused one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use postroom_sim::NewFederation;
use serde_json::{Value, json};

use crate::client::{
    CLIENT, Fields, SCOPE, SECRET, SUPPORT, TENANT, Told, World, by_secret, user, with, world,
};
use crate::signer::{Form, OWN, STRANGER};

/// Now, in seconds; the world's time begins here.
pub(crate) fn start() -> i64 {
    "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap().as_second()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(start()).unwrap() + SignedDuration::from_secs(seconds)
}

/// A request for a token by an assertion.
fn by_assertion(assertion: String) -> Fields {
    vec![
        ("grant_type", "client_credentials".into()),
        ("client_id", CLIENT.into()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()),
        ("client_assertion", assertion),
        ("scope", SCOPE.into()),
    ]
}

/// What an application claims of itself.
fn own_claims() -> Value {
    json!({
        "aud": format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"),
        "iss": CLIENT,
        "sub": CLIENT,
        "jti": "1f2e",
        "iat": start(),
        "nbf": start(),
        "exp": start() + 600,
    })
}

fn changed(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

/// What an identity provider claims.
fn outside_claims() -> Value {
    json!({
        "aud": "api://AzureADTokenExchange",
        "iss": "https://idp.example/pool",
        "sub": "system:serviceaccount:mail:postroom",
        "exp": start() + 600,
    })
}

fn trust_outside(world: &World) -> String {
    let federation = NewFederation {
        issuer: "https://idp.example/pool".into(),
        subject: "system:serviceaccount:mail:postroom".into(),
        audience: None,
        public_key_pem: STRANGER.public_pem(),
    };
    world.simulator.add_federation(CLIENT, federation).unwrap().to_string()
}

fn outside_assertion(claims: &Value) -> String {
    STRANGER.sign(&json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }), claims)
}

fn own_assertion(claims: &Value) -> String {
    OWN.sign(&OWN.header(Form::Sha256, false), claims)
}

/// The code, if that is the only one.
pub(crate) fn code(told: &Told) -> Option<u64> {
    match told.body["error_codes"].as_array().map(Vec::as_slice) {
        Some([code]) => code.as_u64(),
        _ => None,
    }
}

/// Header and claims of a token.
pub(crate) fn parts(token: &str) -> (Value, Value) {
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    (parts[0].clone(), parts[1].clone())
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_taken_in_the_body_and_by_basic() {
    let world = world().await;
    assert_eq!(world.ask_token(&by_secret(SECRET)).await.status, 200);

    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let form = vec![("grant_type", "client_credentials".into()), ("scope", SCOPE.into())];
    let path = format!("/{TENANT}/oauth2/v2.0/token?client-request-id=1");
    // Form-encoded, as RFC 6749 wants it.
    let encoded = basic(&format!("{CLIENT}:{}", SECRET.replace('~', "%7E")));
    let told = world.ask_token_at(&path, &[("authorization", &encoded)], &form).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let wrong = basic(&format!("{CLIENT}:wrong"));
    let told = world.ask_token_at(&path, &[("authorization", &wrong)], &form).await;
    assert_eq!(code(&told), Some(7_000_215));
}

#[tokio::test(start_paused = true)]
async fn the_older_endpoint_takes_a_resource_and_the_tenant_may_be_named_by_domain() {
    let world = world().await;
    let form = with(by_secret(SECRET), "scope", None);
    let path = format!("/{TENANT}/oauth2/token");
    for resource in [
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "00000003-0000-0000-c000-000000000000",
    ] {
        let told = world.ask_token_at(&path, &[], &with(form.clone(), "resource", Some(resource))).await;
        assert_eq!(told.status, 200, "{resource}: {}", told.body);
    }
    assert_eq!(code(&world.ask_token_at(&path, &[], &form).await), Some(900_144));
    let outlook = with(form, "resource", Some("https://outlook.office365.com"));
    assert_eq!(code(&world.ask_token_at(&path, &[], &outlook).await), Some(500_011));
    let by_domain = world.ask_token_at("/Contoso.example/oauth2/v2.0/token", &[], &by_secret(SECRET)).await;
    assert_eq!(by_domain.status, 200, "{}", by_domain.body);
}

#[tokio::test(start_paused = true)]
async fn the_answer_with_a_token_is_that_of_the_real_service() {
    let world = world().await;
    let told = world.ask_token(&by_secret(SECRET)).await;
    let keys: Vec<&String> = told.body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["access_token", "expires_in", "ext_expires_in", "token_type"]);
    assert_eq!((&told.body["token_type"], &told.body["expires_in"]), (&json!("Bearer"), &json!(3599)));
    assert_headers(&told);
    world.set("token.lifetime_s", 0);
    for _ in 0..20 {
        let life = world.ask_token(&by_secret(SECRET)).await.body["expires_in"].as_i64().unwrap();
        assert!((3_600..=5_400).contains(&life), "{life}");
    }
}

/// What every answer of the token endpoint has.
fn assert_headers(told: &Told) {
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "no-store, no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(told.header(name), Some(value), "{name}");
    }
    for name in ["x-ms-request-id", "client-request-id"] {
        assert!(told.header(name).is_some_and(|id| id.len() == 36), "{name}: {:?}", told.header(name));
    }
}

/// Checks a refusal of Entra ID from its status to its last field.
fn assert_refusal(told: &Told, status: u16, error: &str, wanted: u64) {
    assert_eq!(
        (told.status, code(told), &told.body["error"]),
        (status, Some(wanted), &json!(error)),
        "{}",
        told.body
    );
    assert_headers(told);
    let mut names: Vec<&String> = told.body.as_object().unwrap().keys().collect();
    names.sort();
    let known =
        ["correlation_id", "error", "error_codes", "error_description", "error_uri", "timestamp", "trace_id"];
    assert_eq!(names, known);
    let (trace, correlation, time) =
        (told.text("trace_id"), told.text("correlation_id"), told.text("timestamp"));
    assert_eq!(told.header("x-ms-request-id"), Some(trace.as_str()));
    assert_eq!(told.header("client-request-id"), Some(correlation.as_str()));
    let end = format!(" Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}");
    let description = told.text("error_description");
    assert!(
        description.starts_with(&format!("AADSTS{wanted}: ")) && description.ends_with(&end),
        "{description}"
    );
    assert_eq!(told.text("error_uri"), format!("https://login.microsoftonline.com/error?code={wanted}"));
    assert!(time.ends_with('Z') && time.len() == 20, "{time}");
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_status_its_error_and_the_body_of_the_real_service() {
    let world = world().await;
    trust_outside(&world);
    let good = by_secret(SECRET);
    let none = with(good.clone(), "client_secret", None);
    let outside =
        |name: &str, value: &str| by_assertion(outside_assertion(&changed(outside_claims(), name, value)));
    let own = format!("/{TENANT}/oauth2/v2.0/token");
    let elsewhere = |tenant: &str| format!("/{tenant}/oauth2/v2.0/token");
    let expired = world.simulator.add_secret(CLIENT, "old", Some(after(0))).unwrap().secret;
    world.simulator.add_certificate(CLIENT, &OWN.certificate_pem).unwrap();
    let late = own_assertion(&changed(own_claims(), "exp", start() - 3_600));
    let set = |name, value| with(good.clone(), name, Some(value));

    let table: Vec<(u64, u16, &str, String, Fields)> = vec![
        (7_000_215, 401, "invalid_client", own.clone(), by_secret("wrong")),
        (7_000_222, 401, "invalid_client", own.clone(), by_secret(&expired)),
        (7_000_218, 401, "invalid_client", own.clone(), none),
        (
            700_016,
            400,
            "unauthorized_client",
            own.clone(),
            set("client_id", "33333333-3333-3333-3333-333333333333"),
        ),
        (700_024, 401, "invalid_client", own.clone(), by_assertion(late)),
        (
            700_027,
            401,
            "invalid_client",
            own.clone(),
            by_assertion(STRANGER.sign(&STRANGER.header(Form::Sha1, false), &own_claims())),
        ),
        (700_211, 400, "invalid_client", own.clone(), outside("iss", "https://other.example")),
        (700_213, 400, "invalid_client", own.clone(), outside("sub", "system:serviceaccount:mail:Postroom")),
        (700_212, 400, "invalid_client", own.clone(), outside("aud", "api://other")),
        (50_013, 401, "invalid_client", own.clone(), by_assertion("no.assertion.this".into())),
        (90_002, 400, "invalid_request", elsewhere("44444444-4444-4444-4444-444444444444"), good.clone()),
        (90_002, 400, "invalid_request", elsewhere("fabrikam.example"), good.clone()),
        (900_023, 400, "invalid_request", elsewhere("contoso"), good.clone()),
        (9_001_023, 400, "invalid_grant", elsewhere("common"), good.clone()),
        (900_144, 400, "invalid_request", own.clone(), with(good.clone(), "grant_type", None)),
        (900_144, 400, "invalid_request", own.clone(), with(good.clone(), "client_id", None)),
        (900_144, 400, "invalid_request", own.clone(), with(good.clone(), "scope", None)),
        (
            900_144,
            400,
            "invalid_request",
            own.clone(),
            with(by_assertion(own_assertion(&own_claims())), "client_assertion_type", None),
        ),
        (70_003, 400, "unsupported_grant_type", own.clone(), set("grant_type", "password")),
        (
            70_011,
            400,
            "invalid_scope",
            own.clone(),
            set("scope", "https://graph.microsoft.com/.default https://vault.azure.net/.default"),
        ),
        (1_002_012, 400, "invalid_scope", own.clone(), set("scope", "https://graph.microsoft.com/Mail.Read")),
        (500_011, 400, "invalid_resource", own.clone(), set("scope", "https://vault.azure.net/.default")),
    ];
    let id = "9d0d5a0e-52c7-4c9c-8f5b-0f8b1de1f0aa";
    for (code, status, error, path, fields) in table {
        let told = world.ask_token_at(&path, &[("client-request-id", id)], &fields).await;
        assert_refusal(&told, status, error, code);
        assert_eq!(told.body["correlation_id"], id, "the caller's own id");
        assert_refusal(&world.ask_token_at(&path, &[], &fields).await, status, error, code);
    }

    world.simulator.enable_application(CLIENT, false).unwrap();
    assert_refusal(&world.ask_token(&good).await, 400, "unauthorized_client", 7_000_112);
    world.simulator.enable_application(CLIENT, true).unwrap();
    assert_eq!(world.ask_token(&good).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_service_s_own_bad_moments_come_by_switch() {
    let world = world().await;
    world.set("sts.throttle_rate", json!({ "at": [2] }));
    world.set("sts.error_rate", json!({ "at": [2] }));
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(world.ask_token(&by_secret(SECRET)).await);
    }
    assert_eq!(told.iter().map(|told| told.status).collect::<Vec<_>>(), [200, 429, 503, 200]);
    assert_refusal(&told[1], 429, "temporarily_unavailable", 90_055);
    assert_eq!(told[1].header("retry-after"), Some("1"));
    assert_refusal(&told[2], 503, "temporarily_unavailable", 90_033);
    world.set("sts.error_rate", true);
    assert_eq!(world.ask_token(&by_secret(SECRET)).await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_in_a_loop_is_stopped_and_let_go_on_after_five_minutes() {
    let world = world().await;
    let other = world.simulator.add_application("Other");
    let secret = world.simulator.add_secret(&other.client_id.to_string(), "s", None).unwrap().secret;
    let by_other = with(by_secret(&secret), "client_id", Some(&other.client_id.to_string()));
    world.set("sts.loop_detect", 3);
    for _ in 0..3 {
        assert_eq!(world.ask_token(&by_secret(SECRET)).await.status, 200);
    }
    assert_refusal(&world.ask_token(&by_secret(SECRET)).await, 400, "invalid_grant", 50_196);
    assert_eq!(world.ask_token(&by_other).await.status, 200, "another client is in no loop");
    world.seconds(300).await;
    assert_eq!(world.ask_token(&by_secret(SECRET)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn certificate_assertions_are_taken_in_every_form_that_libraries_send() {
    let world = world().await;
    world.simulator.add_certificate(CLIENT, &OWN.certificate_pem).unwrap();
    let mut floats = own_claims();
    floats["iat"] = json!(start() as f64 + 0.25);
    floats["exp"] = json!(start() as f64 + 600.25);
    floats.as_object_mut().unwrap().remove("nbf");
    for form in [Form::Sha1, Form::Sha256] {
        for is_padded in [true, false] {
            for claims in [own_claims(), floats.clone()] {
                let told =
                    world.ask_token(&by_assertion(OWN.sign(&OWN.header(form, is_padded), &claims))).await;
                assert_eq!(told.status, 200, "{form:?} {is_padded} {claims}: {}", told.body);
                assert_eq!(parts(&told.text("access_token")).1["appidacr"], "2");
            }
        }
    }
    for audience in [
        format!("https://login.microsoftonline.com/{TENANT}/oauth2/token"),
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token".into(),
        format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        format!("https://sts.windows.net/{TENANT}/"),
    ] {
        let claims = changed(own_claims(), "aud", audience.as_str());
        let told = world.ask_token(&by_assertion(own_assertion(&claims))).await;
        assert_eq!(told.status, 200, "{audience}: {}", told.body);
    }
}

#[tokio::test(start_paused = true)]
async fn certificate_assertions_that_do_not_fit_are_refused() {
    let world = world().await;
    world.simulator.add_certificate(CLIENT, &OWN.certificate_pem).unwrap();
    for (name, value, wanted) in [
        (
            "aud",
            json!("https://login.microsoftonline.com/44444444-4444-4444-4444-444444444444/oauth2/v2.0/token"),
            50_013,
        ),
        (
            "aud",
            json!("https://login.evil.example/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token"),
            50_013,
        ),
        ("aud", json!("https://graph.microsoft.com"), 50_013),
        ("sub", json!("somebody else"), 50_013),
        ("exp", json!(start() - 301), 700_024),
        ("exp", json!(start() as f64 - 300.5), 700_024),
        ("nbf", json!(start() + 301), 700_024),
        // Not issued by the application, and by nobody it trusts.
        ("iss", json!("33333333-3333-3333-3333-333333333333"), 700_211),
    ] {
        let told =
            world.ask_token(&by_assertion(own_assertion(&changed(own_claims(), name, value.clone())))).await;
        assert_eq!(code(&told), Some(wanted), "{name} {value}: {}", told.body);
    }
    // Somebody else's signature below the right name.
    let forged = STRANGER.sign(&OWN.header(Form::Sha256, false), &own_claims());
    assert_eq!(code(&world.ask_token(&by_assertion(forged)).await), Some(700_027));
    let unsigned = OWN.sign(&json!({ "alg": "RS256", "typ": "JWT" }), &own_claims());
    assert_eq!(code(&world.ask_token(&by_assertion(unsigned)).await), Some(700_027), "no thumbprint");
    // Clocks may differ by five minutes.
    let just = changed(own_claims(), "exp", start() - 299);
    assert_eq!(world.ask_token(&by_assertion(own_assertion(&just))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_acts_in_its_time_and_until_it_is_removed() {
    let world = world().await;
    let ask = async || code(&world.ask_token(&by_assertion(own_assertion(&own_claims()))).await);
    assert_eq!(ask().await, Some(700_027), "not registered");
    let key = world.simulator.add_certificate(CLIENT, &OWN.certificate_pem).unwrap();
    world.simulator.add_certificate(CLIENT, &STRANGER.certificate_pem).unwrap();
    assert_eq!(ask().await, None);
    world.simulator.remove_credential(CLIENT, &key.to_string()).unwrap();
    assert_eq!(ask().await, Some(700_027), "removed");
    let by_other = STRANGER.sign(&STRANGER.header(Form::Sha1, true), &own_claims());
    assert_eq!(world.ask_token(&by_assertion(by_other)).await.status, 200, "the other one still acts");

    // Of the same key, but of last year.
    let (old, der) = STRANGER.certificate(2024, 2025);
    world.simulator.add_certificate(CLIENT, &old).unwrap();
    let print = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(print) });
    let told = world.ask_token(&by_assertion(STRANGER.sign(&header, &own_claims()))).await;
    assert_eq!(code(&told), Some(700_027));
    assert!(told.text("error_description").contains("The key used is expired"), "{}", told.body);
}

#[tokio::test(start_paused = true)]
async fn an_assertion_of_an_identity_provider_must_fit_to_the_letter() {
    let world = world().await;
    let ask = async |claims: Value| world.ask_token(&by_assertion(outside_assertion(&claims))).await;
    assert_eq!(code(&ask(outside_claims()).await), Some(700_211), "nobody is trusted yet");
    let key = trust_outside(&world);
    let told = ask(outside_claims()).await;
    assert_eq!(told.status, 200, "{}", told.body);
    assert_eq!(parts(&told.text("access_token")).1["appid"], CLIENT);
    let many = json!(["api://other", "api://AzureADTokenExchange"]);
    assert_eq!(ask(changed(outside_claims(), "aud", many)).await.status, 200);
    for (name, value, wanted) in [
        ("iss", "https://idp.example/pool/", 700_211),
        ("iss", "https://IDP.example/pool", 700_211),
        ("sub", "system:serviceaccount:mail:other", 700_213),
        ("aud", "api://azureadtokenexchange", 700_212),
    ] {
        assert_eq!(code(&ask(changed(outside_claims(), name, value)).await), Some(wanted), "{name} {value}");
    }
    assert_eq!(code(&ask(changed(outside_claims(), "exp", start() - 3_600)).await), Some(700_024));
    let by_own = OWN.sign(&json!({ "alg": "RS256", "typ": "JWT" }), &outside_claims());
    assert_eq!(code(&world.ask_token(&by_assertion(by_own)).await), Some(50_013), "signed with another key");
    let told = ask(changed(outside_claims(), "sub", "nobody")).await;
    let text = "No matching federated identity record found for presented assertion subject 'nobody'.";
    assert!(told.text("error_description").contains(text), "{}", told.body);
    world.simulator.remove_credential(CLIENT, &key).unwrap();
    assert_eq!(code(&ask(outside_claims()).await), Some(700_211));
}

#[tokio::test(start_paused = true)]
async fn secrets_stand_side_by_side_and_end_one_by_one() {
    let world = world().await;
    let short = world.simulator.add_secret(CLIENT, "short", Some(after(100))).unwrap();
    let long = world.simulator.add_secret(CLIENT, "long", None).unwrap();
    let ask = async |secret: &str| code(&world.ask_token(&by_secret(secret)).await);
    let mut all = [ask(SECRET).await, ask(&short.secret).await, ask(&long.secret).await];
    assert_eq!(all, [None; 3]);
    world.seconds(100).await;
    assert_eq!(ask(&short.secret).await, Some(7_000_222), "expired");
    world.simulator.remove_credential(CLIENT, &short.key_id.to_string()).unwrap();
    world.simulator.expire_secret(CLIENT, &long.key_id.to_string()).unwrap();
    all = [ask(SECRET).await, ask(&short.secret).await, ask(&long.secret).await];
    assert_eq!(all, [None, Some(7_000_215), Some(7_000_222)]);
    assert!(world.simulator.remove_credential(CLIENT, &short.key_id.to_string()).is_err());
    // A token goes on when the secret that brought it has ended.
    assert_eq!(world.get(&user(SUPPORT)).await.status, 200);

    world.set("secret.expire", true);
    assert_eq!(ask(SECRET).await, Some(7_000_222));
    world.set("secret.expire", false);
    assert_eq!(ask(SECRET).await, None);
    // Two years are the life of a secret without a date.
    world.seconds(2 * 366 * 24 * 3_600).await;
    assert_eq!(ask(SECRET).await, Some(7_000_222));
}

#[tokio::test(start_paused = true)]
async fn a_new_credential_is_not_known_everywhere_at_once() {
    let world = world().await;
    world.set("secret.lag_ms", 30_000);
    let new = world.simulator.add_secret(CLIENT, "new", None).unwrap().secret;
    world.simulator.add_certificate(CLIENT, &OWN.certificate_pem).unwrap();
    let ask = async || {
        let certificate = by_assertion(own_assertion(&own_claims()));
        [code(&world.ask_token(&by_secret(&new)).await), code(&world.ask_token(&certificate).await)]
    };
    assert_eq!(ask().await, [Some(7_000_215), Some(700_027)]);
    world.seconds(29).await;
    assert_eq!(ask().await, [Some(7_000_215), Some(700_027)]);
    world.seconds(1).await;
    assert_eq!(ask().await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn consent_acts_in_new_tokens_and_after_its_delay() {
    let mut world = world().await;
    let path = format!("{}/messages", user(SUPPORT));
    world.set("consent.propagation_ms", 60_000);
    world.simulator.set_roles(CLIENT, &[]).unwrap();
    world.token = world.new_token().await;
    assert_eq!(world.get(&path).await.status, 200, "a token of before the change acts");
    world.seconds(60).await;
    assert_eq!(world.get(&path).await.status, 200, "the token of before goes on");
    world.token = world.new_token().await;
    let told = world.get(&path).await;
    assert_eq!((told.status, told.code()), (403, "ErrorAccessDenied"));
    assert!(parts(&world.token).1.get("roles").is_none(), "no permission, no claim");

    world.simulator.set_roles(CLIENT, &["Mail.Read".into()]).unwrap();
    world.seconds(60).await;
    assert_eq!(world.get(&path).await.status, 403, "consent reaches no token that is there already");
    world.token = world.new_token().await;
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(parts(&world.token).1["roles"], json!(["Mail.Read"]));
    assert!(world.simulator.set_roles(CLIENT, &["Mail.Everything".into()]).is_err());
}
