//! The administrator's page "Integration": what each signs in with, its mailboxes, and the doctor.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    response::{Html, Redirect, Response},
};
use postroom_engine::{admin_sign_in::SignedIn, doctor::Options};
use postroom_model::IntegrationId;
use postroom_store::{
    integrations::{self, Overview},
    mailboxes::{self, Mailbox},
};
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    examination,
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::Admin,
};

/// So much of Microsoft's words is shown.
const WORDS: usize = 500;

#[derive(Template)]
#[template(path = "integrations.html")]
struct IntegrationsPage {
    page: Page,
    /// Where Microsoft sends an administrator back to who signed in.
    signed_in_url: String,
    integrations: Vec<Shown>,
}

struct Shown {
    overview: Overview,
    mailboxes: Vec<String>,
    /// Those that wait for their activation.
    waiting: Vec<String>,
}

/// `GET /integrations`
pub(crate) async fn show(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    let db = &site.engine.store().db;
    let all = mailboxes::list(db).await?;
    let addresses = |of: IntegrationId, waiting: bool| {
        all.iter()
            .filter(move |mailbox| mailbox.integration == of && mailbox.is_not_active_yet() == waiting)
            .map(|mailbox| mailbox.address.clone())
            .collect()
    };
    let integrations = integrations::list_overviews(db).await?.into_iter().map(|overview| Shown {
        mailboxes: addresses(overview.id, false),
        waiting: addresses(overview.id, true),
        overview,
    });
    let page = Page::new(&site, &person.visitor, "nav-integrations");
    let signed_in_url = site.engine.signed_in_url();
    render(&IntegrationsPage { page, signed_in_url, integrations: integrations.collect() })
}

/// What is ticked beside the button.
#[derive(Deserialize)]
pub(crate) struct Ticked {
    send_probe: Option<String>,
}

/// `POST /integrations/{id}/examine`
pub(crate) async fn examine(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
    Form(ticked): Form<Ticked>,
) -> Result<Response, Failure> {
    let integration = examination::find(&site, id).await?;
    let options = Options { send_probe: ticked.send_probe.is_some(), ..Options::default() };
    let all = |_: &Mailbox| true;
    examination::stream(&site, &person, integration, "doctor-lead", (all, options), |_, _| String::new())
}

/// `GET /integrations/{id}/sign-in`: to Microsoft, where an administrator signs in.
pub(crate) async fn sign_in(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
) -> Result<Redirect, Failure> {
    let url = site.engine.begin_sign_in(id, &person.token).await?.ok_or(Failure::NotFound)?;
    Ok(Redirect::to(&url))
}

/// What Microsoft sends people back with.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Returned {
    state: String,
    code: Option<SecretString>,
    error: String,
    error_description: String,
}

#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedInPage {
    page: Page,
    outcome: SignedIn,
}

/// `GET /integrations/signed-in`
pub(crate) async fn signed_in(
    State(site): State<Site>,
    Admin(person): Admin,
    Query(returned): Query<Returned>,
) -> Result<Html<String>, Failure> {
    let words = format!("{} {}", returned.error, returned.error_description);
    let came = returned.code.ok_or_else(|| words.trim().chars().take(WORDS).collect());
    let outcome = site.engine.end_sign_in(&returned.state, &person.token, came).await?;
    render(&SignedInPage { page: Page::new(&site, &person.visitor, "signed-in-title"), outcome })
}
