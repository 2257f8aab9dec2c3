//! What a token says, who can verify it, and when it is refused.

use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::client::{CLIENT, SECRET, SUPPORT, TENANT, World, by_secret, user, with, world};
use crate::entra::{code, parts, start};

async fn keys(world: &World) -> Vec<Value> {
    let document = world.ok(&format!("/{TENANT}/discovery/v2.0/keys")).await;
    document["keys"].as_array().unwrap().clone()
}

/// Whether one of these keys signed the token and is the one it names.
fn is_signed(token: &str, keys: &[Value]) -> bool {
    let (header, _) = parts(token);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("JWT")));
    let Some(key) = keys.iter().find(|key| key["kid"] == header["kid"]) else { return false };
    assert_eq!((&key["kty"], &key["use"], &key["x5t"]), (&json!("RSA"), &json!("sig"), &header["x5t"]));
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    public.verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &signature).is_ok()
}

#[tokio::test(start_paused = true)]
async fn tokens_are_signed_and_verify_against_the_published_keys_also_after_a_roll_over() {
    let world = world().await;
    let (_, claims) = parts(&world.token);
    let principal = world.simulator.application(CLIENT).unwrap().service_principal_id.to_string();
    for (name, value) in [
        ("aud", "https://graph.microsoft.com".to_owned()),
        ("iss", format!("https://sts.windows.net/{TENANT}/")),
        ("tid", TENANT.into()),
        ("appid", CLIENT.into()),
        ("azp", CLIENT.into()),
        ("appidacr", "1".into()),
        ("idtyp", "app".into()),
        ("ver", "1.0".into()),
        ("oid", principal.clone()),
        ("sub", principal),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3599);

    let before = keys(&world).await;
    assert_eq!(before.len(), 2);
    assert!(is_signed(&world.token, &before));
    world.simulator.roll_signing_key().unwrap();
    let token = world.new_token().await;
    assert_ne!(parts(&token).0["kid"], parts(&world.token).0["kid"]);
    assert!(is_signed(&token, &before), "who kept the document knows the next key already");
    let after = keys(&world).await;
    assert!(is_signed(&token, &after) && after.len() == 2);
    let mut forged = token.clone();
    forged.replace_range(token.rfind('.').unwrap() + 1.., "AAAA");
    assert!(!is_signed(&forged, &after));
    assert_eq!(world.get(&user(SUPPORT)).await.status, 200, "a token of the old key goes on at Graph");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_or_is_changed_is_refused() {
    let mut world = world().await;
    world.set("token.lifetime_s", 60);
    let token = world.new_token().await;
    world.token = token.clone();
    assert_eq!(world.get(&user(SUPPORT)).await.status, 200);
    world.seconds(60).await;
    let told = world.get(&user(SUPPORT)).await;
    assert_eq!((told.status, told.code()), (401, "InvalidAuthenticationToken"));
    assert!(told.header("www-authenticate").unwrap().starts_with("Bearer realm=\"\""));
    world.token = format!("{}x", world.new_token().await);
    assert_eq!(world.get(&user(SUPPORT)).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_challenged_only_where_the_client_declared_that_it_understands() {
    let mut world = world().await;
    let plain = world.token.clone();
    let claims = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    let capable_form = with(by_secret(SECRET), "claims", Some(claims));
    let capable = world.ask_token(&capable_form).await.text("access_token");
    world.set("token.revoke", true);

    world.token = plain;
    let told = world.get(&user(SUPPORT)).await;
    assert_eq!((told.status, told.code()), (401, "InvalidAuthenticationToken"));
    assert!(!told.header("www-authenticate").unwrap().contains("insufficient_claims"));

    world.token = capable;
    let told = world.get(&user(SUPPORT)).await;
    assert_eq!(told.status, 401);
    let header = told.header("www-authenticate").unwrap();
    assert!(header.contains("error=\"insufficient_claims\""), "{header}");
    let encoded = header.split_once("claims=\"").unwrap().1.trim_end_matches('"');
    let asked: Value = serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap();
    assert_eq!(
        asked,
        json!({ "access_token": { "nbf": { "essential": true, "value": start().to_string() } } })
    );

    // Once is enough: what is asked for now is good, even in the same moment.
    world.token = world.ask_token(&capable_form).await.text("access_token");
    assert_eq!(world.get(&user(SUPPORT)).await.status, 200);
    world.pass(Duration::from_secs(1)).await;
    world.token = world.new_token().await;
    assert_eq!(world.get(&user(SUPPORT)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_documents_lead_to_the_endpoint_and_know_the_tenant() {
    let world = world().await;
    let document = world.ok(&format!("/{TENANT}/v2.0/.well-known/openid-configuration")).await;
    let endpoint = document["token_endpoint"].as_str().unwrap();
    let path = endpoint.strip_prefix("https://graph.microsoft.com").unwrap();
    assert_eq!(world.ask_token_at(path, &[], &by_secret(SECRET)).await.status, 200);
    assert!(document["jwks_uri"].as_str().unwrap().ends_with("/discovery/v2.0/keys"));
    let told = world.get("/44444444-4444-4444-4444-444444444444/v2.0/.well-known/openid-configuration").await;
    assert_eq!((told.status, &told.body["error"]), (400, &json!("invalid_tenant")));
    assert_eq!(code(&told), Some(90_002));
    let instances = world.ok("/common/discovery/instance?api-version=1.1&authorization_endpoint=x").await;
    assert_eq!(instances["metadata"][0]["preferred_network"], "login.microsoftonline.com");
}
