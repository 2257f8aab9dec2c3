//! The administrator's page "Integration": what each signs in with, and the doctor, whose
//! findings come line by line while it asks.
//!
//! The examination runs to its end even if nobody looks any more, so that nothing it made is left.

use std::convert::Infallible;

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{Html, IntoResponse as _, Response},
};
use futures_util::stream;
use postroom_engine::{
    Engine,
    doctor::{Known, Options},
};
use postroom_model::{
    IntegrationId, Timestamp,
    doctor::{Finding, Verdict, scoping_commands},
};
use postroom_store::{
    integrations::{self, Integration},
    mailboxes,
};
use tokio::sync::mpsc;

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::Admin,
};

/// Where the findings go in the page; nothing that a person writes can look like it.
const HERE: &str = "<!--findings-->";

#[derive(Template)]
#[template(path = "integrations.html")]
struct IntegrationsPage {
    page: Page,
    integrations: Vec<Shown>,
}

struct Shown {
    id: IntegrationId,
    name: String,
    endpoint: String,
    client_id: String,
    credentials: Vec<(String, Option<Timestamp>)>,
    mailboxes: usize,
}

#[derive(Template)]
#[template(path = "examination.html")]
struct ExaminationPage {
    page: Page,
    name: String,
}

#[derive(Template)]
#[template(path = "finding.html")]
struct FindingRow<'f> {
    page: &'f Page,
    finding: &'f Finding,
}

#[derive(Template)]
#[template(path = "examined.html")]
struct Examined<'f> {
    page: &'f Page,
    counts: [usize; 3],
    commands: Vec<String>,
}

/// `GET /integrations`
pub(crate) async fn show(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    let mailboxes = mailboxes::list(&site.engine.store().db).await?;
    let all = integrations::list(site.engine.store()).await?.into_iter().map(|integration| Shown {
        mailboxes: mailboxes.iter().filter(|mailbox| mailbox.integration == integration.id).count(),
        id: integration.id,
        endpoint: integration.token_endpoint,
        client_id: integration.client_id,
        credentials: integration.credentials.into_iter().map(|one| (one.name, one.expires_at)).collect(),
        name: integration.name,
    });
    let page = Page::new(&site, &person.visitor, "nav-integrations");
    render(&IntegrationsPage { page, integrations: all.collect() })
}

/// `POST /integrations/{id}/examine`: the page comes at once, each finding when it is there.
pub(crate) async fn examine(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
) -> Result<Response, Failure> {
    let all = integrations::list(site.engine.store()).await?;
    let integration = all.into_iter().find(|one| one.id == id).ok_or(Failure::NotFound)?;
    let page = Page::new(&site, &person.visitor, "doctor");
    let Html(whole) = render(&ExaminationPage { page, name: integration.name.clone() })?;
    let (head, foot) = whole.split_once(HERE).unwrap_or((&whole, ""));
    let (say, said) = mpsc::unbounded_channel();
    let _first = say.send(head.to_owned());
    let foot = foot.to_owned();
    let (page, engine) = (Page::new(&site, &person.visitor, ""), site.engine.clone());
    site.tasks.spawn(async move {
        let last = run(&page, &engine, &integration, &say).await;
        let _nobody_looks = say.send(last);
        let _nobody_looks = say.send(foot);
    });
    let rows = stream::unfold(said, async |mut said: mpsc::UnboundedReceiver<String>| {
        let text = said.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), said))
    });
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(rows)).into_response())
}

/// Examines and says each finding; gives what stands below them.
async fn run(
    page: &Page,
    engine: &Engine,
    integration: &Integration,
    say: &mpsc::UnboundedSender<String>,
) -> String {
    let mailboxes = match mailboxes::list(&engine.store().db).await {
        Ok(mailboxes) => mailboxes,
        Err(error) => return broken_off(page, &error),
    };
    let mut counts = [0; 3];
    let examined = engine
        .examine(integration, &mailboxes, &Options::default(), &mut |finding| {
            let place = Verdict::ALL.iter().position(|verdict| *verdict == finding.verdict);
            counts[place.unwrap_or_default()] += 1;
            let row = FindingRow { page, finding: &finding }.render().unwrap_or_default();
            let _nobody_looks = say.send(row);
        })
        .await;
    let Known { object_id } = match examined {
        Ok(known) => known,
        Err(error) => return broken_off(page, &error),
    };
    let own = mailboxes.into_iter().filter(|mailbox| mailbox.integration == integration.id);
    let own: Vec<String> = own.map(|mailbox| mailbox.address).collect();
    let commands = object_id.map(|object| scoping_commands(&integration.client_id, &object, &own));
    Examined { page, counts, commands: commands.unwrap_or_default() }.render().unwrap_or_default()
}

fn broken_off(page: &Page, error: &dyn std::error::Error) -> String {
    tracing::warn!(error = %error, "An examination was broken off");
    format!("</tbody></table><p role=\"alert\">{}</p>", page.t("doctor-broken-off"))
}
