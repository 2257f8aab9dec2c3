//! The administrator's page "Integration": what each signs in with, its mailboxes, and the doctor.

use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    response::{Html, Response},
};
use postroom_engine::doctor::Options;
use postroom_model::IntegrationId;
use postroom_store::{
    integrations::{self, Overview},
    mailboxes::{self, Mailbox},
};
use serde::Deserialize;

use crate::{
    examination,
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::Admin,
};

#[derive(Template)]
#[template(path = "integrations.html")]
struct IntegrationsPage {
    page: Page,
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
    render(&IntegrationsPage { page, integrations: integrations.collect() })
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
