//! Signing in when somebody guesses passwords: who has to wait, and who has not.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use postroom_app::world::{Ground, Plan, World, call};
use postroom_web::Peer;
use secrecy::SecretString;

const AGENT: &str = "agent1@contoso.example";
const PASSWORD: &str = "a good long password";
/// The proxy that a world trusts.
const PROXY: &str = "192.0.2.1";
/// As many wrong tries has a client for one address.
const TRIES: usize = 8;

/// Tries to sign in from `peer`, which says that it asks for `client`.
async fn sign_in(world: &World, peer: &str, client: &str, password: &str) -> anyhow::Result<StatusCode> {
    let form = format!("email={AGENT}&password={}", password.replace(' ', "+"));
    let request = Request::post("/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-forwarded-for", client)
        .extension(Peer(peer.parse::<IpAddr>()?))
        .body(Bytes::from(form))?;
    Ok(call(world.router(), request).await?.status())
}

#[tokio::test(start_paused = true)]
async fn who_guesses_behind_the_proxy_keeps_nobody_else_behind_it_waiting() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    world.engine().set_password(AGENT, SecretString::from(PASSWORD)).await?;
    for _ in 0..TRIES {
        let answer = sign_in(&world, PROXY, "203.0.113.66", "a guess").await?;
        assert_eq!(answer, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let refused = StatusCode::TOO_MANY_REQUESTS;
    assert_eq!(sign_in(&world, PROXY, "203.0.113.66", "a guess").await?, refused);
    assert_eq!(
        sign_in(&world, PROXY, "198.51.100.1, 203.0.113.66", PASSWORD).await?,
        refused,
        "a forged hop"
    );
    assert_eq!(sign_in(&world, PROXY, "203.0.113.7", PASSWORD).await?, StatusCode::SEE_OTHER);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_is_no_proxy_is_one_client_whatever_it_says() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Virtual)).await?;
    world.engine().set_password(AGENT, SecretString::from(PASSWORD)).await?;
    for n in 0..TRIES {
        let (peer, says) = (format!("2001:db8::{n:x}"), format!("203.0.113.{n}"));
        assert_eq!(sign_in(&world, &peer, &says, "a guess").await?, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let answer = sign_in(&world, "2001:db8::ffff", "203.0.113.7", PASSWORD).await?;
    assert_eq!(answer, StatusCode::TOO_MANY_REQUESTS);
    Ok(())
}
