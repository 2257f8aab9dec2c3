//! Signing in and out.

use askama::Template;
use axum::{
    Extension, Form,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use axum_extra::extract::cookie::CookieJar;
use postroom_engine::sessions::SignInError;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    client::{Client, Peer},
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::{Person, Visitor, home, no_session_cookie, see_other, session_cookie},
};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    page: Page,
    /// What was typed as address.
    email: String,
    /// What went wrong, in words.
    problem: Option<String>,
}

/// `GET /login`
pub(crate) async fn show(State(site): State<Site>, visitor: Visitor) -> Result<Response, Failure> {
    if let Some(user) = &visitor.user {
        return Ok(Redirect::to(home(user)).into_response());
    }
    Ok(page(&site, &visitor, String::new(), None)?.into_response())
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    email: String,
    password: SecretString,
}

/// `POST /login`
pub(crate) async fn sign_in(
    State(site): State<Site>,
    visitor: Visitor,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    jar: CookieJar,
    Form(form): Form<SignIn>,
) -> Result<Response, Failure> {
    let client = peer.map(|Extension(peer)| Client::find(peer, &headers, &site.trusted_proxies));
    let address = form.email.trim().to_lowercase();
    let this_try = match site.tries.take(client, &address) {
        Ok(this_try) => this_try,
        Err(wait) => {
            let problem = visitor.texts.count("login-too-many", wait.as_mins() + 1);
            let page = page(&site, &visitor, form.email, Some(problem))?;
            return Ok((StatusCode::TOO_MANY_REQUESTS, page).into_response());
        }
    };
    let engine = site.engine.clone();
    let check = async move { engine.sign_in(&address, &form.password).await };
    match site.turns.run(&site.tasks, check).await.ok_or(Failure::Store)? {
        Ok(signed_in) => {
            site.tries.right(this_try);
            tracing::info!(user.id = %signed_in.user.id, "Signed in");
            let jar = jar.add(session_cookie(&site, &signed_in.token));
            Ok((jar, see_other(home(&signed_in.user))).into_response())
        }
        Err(SignInError::Wrong) => {
            let page = page(&site, &visitor, form.email, Some(visitor.texts.say("login-wrong")))?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(SignInError::Store(error)) => Err(error.into()),
    }
}

/// `POST /logout`: ends the session and its live connections. What an agent was being
/// alerted to goes back to its queue.
pub(crate) async fn sign_out(
    State(site): State<Site>,
    person: Person,
    jar: CookieJar,
) -> Result<Response, Failure> {
    site.engine.end_session(&person.user, &person.token).await?;
    site.streams.end(&person.token);
    tracing::info!(user.id = %person.user.id, "Signed out");
    Ok((jar.add(no_session_cookie(&site)), see_other("/login")).into_response())
}

fn page(
    site: &Site,
    visitor: &Visitor,
    email: String,
    problem: Option<String>,
) -> Result<Html<String>, Failure> {
    render(&LoginPage { page: Page::new(site, visitor, "login-title"), email, problem })
}
