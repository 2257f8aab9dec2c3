//! Where people sign in: a plain page in place of Microsoft's, on which the only
//! administrator of the tenant consents or refuses, and the code that comes of it.
//!
//! `GET /{tenant}/oauth2/v2.0/authorize` and the form behind it. Source:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow>.

use askama::Template;
use axum::extract::{Form, Path, Query, State as Extract};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use crate::simulator::Simulator;

/// A code is good for ten minutes at most.
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// A code that was given and not yet redeemed.
pub(crate) struct Code {
    pub(crate) client: Uuid,
    pub(crate) redirect: String,
    /// What its redeemer must know, hashed; nothing if it was not asked for.
    pub(crate) challenge: Option<String>,
    pub(crate) ends: Timestamp,
}

/// What an application sends a person here with.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    client_id: String,
    response_type: String,
    redirect_uri: String,
    scope: String,
    state: String,
    code_challenge: String,
    code_challenge_method: String,
}

/// What the page sends.
#[derive(Deserialize)]
pub(crate) struct Answered {
    #[serde(flatten)]
    asked: Asked,
    answer: String,
}

#[derive(Template)]
#[template(path = "authorize.html")]
struct SignInPage<'a> {
    name: String,
    tenant: String,
    asked: &'a Asked,
}

#[derive(Template)]
#[template(path = "authorize_refused.html")]
struct RefusedPage {
    text: String,
}

fn refused(code: u32, text: &str) -> Response {
    let page = RefusedPage { text: format!("AADSTS{code}: {text}") };
    (StatusCode::BAD_REQUEST, Html(page.render().unwrap_or_default())).into_response()
}

/// Back to the application, with these words behind its address.
fn back(asked: &Asked, words: &[(&str, &str)]) -> Response {
    let Ok(mut url) = Url::parse(&asked.redirect_uri) else {
        return refused(50_011, "The redirect URI is no address.");
    };
    url.query_pairs_mut().extend_pairs(words).append_pair("state", &asked.state);
    Redirect::to(url.as_str()).into_response()
}

/// The name of the application, or the page that says what is wrong with the request.
fn application(simulator: &Simulator, asked: &Asked) -> Result<String, Box<Response>> {
    let state = simulator.state();
    let client = Uuid::parse_str(&asked.client_id).ok();
    let Some(found) = state.applications.iter().find(|one| Some(one.client_id) == client) else {
        let text =
            format!("Application with identifier '{}' was not found in the directory.", asked.client_id);
        return Err(Box::new(refused(700_016, &text)));
    };
    if !found.redirects.contains(&asked.redirect_uri) {
        let text = format!(
            "The redirect URI '{}' specified in the request does not match the redirect URIs configured for the \
             application '{}'.",
            asked.redirect_uri, asked.client_id
        );
        return Err(Box::new(refused(50_011, &text)));
    }
    Ok(found.name.clone())
}

/// The page on which somebody signs in.
pub(crate) async fn show(
    Extract(simulator): Extract<Simulator>,
    Path(tenant): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let name = match application(&simulator, &asked) {
        Ok(name) => name,
        Err(page) => return *page,
    };
    if asked.response_type != "code" {
        return back(&asked, &[("error", "unsupported_response_type")]);
    }
    let page = SignInPage { name, tenant, asked: &asked };
    Html(page.render().unwrap_or_default()).into_response()
}

/// The administrator consents, or refuses.
pub(crate) async fn answer(
    Extract(simulator): Extract<Simulator>,
    Form(Answered { asked, answer }): Form<Answered>,
) -> Response {
    if let Err(page) = application(&simulator, &asked) {
        return *page;
    }
    if answer != "consent" {
        let text = "AADSTS65004: User declined to consent to access the app.";
        return back(&asked, &[("error", "access_denied"), ("error_description", text)]);
    }
    let code = {
        let mut state = simulator.state();
        let code = state.random.text(64);
        let given = Code {
            client: Uuid::parse_str(&asked.client_id).unwrap_or_default(),
            redirect: asked.redirect_uri.clone(),
            challenge: (asked.code_challenge_method == "S256").then(|| asked.code_challenge.clone()),
            ends: state.now() + CODE_LIFE,
        };
        state.codes.insert(code.clone(), given);
        code
    };
    back(&asked, &[("code", &code)])
}
