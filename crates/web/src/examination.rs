//! An examination as a page that grows: it comes at once, each finding when it is there.
//!
//! Used by the pages "Integration" and "Connect a tenant". The examination runs to its end even if
//! nobody looks any more, so that nothing it made is left.

use std::convert::Infallible;

use askama::Template;
use axum::{
    body::{Body, Bytes},
    http::header,
    response::{Html, IntoResponse as _, Response},
};
use futures_util::stream;
use postroom_engine::doctor::{Known, Options};
use postroom_model::{
    IntegrationId,
    doctor::{Finding, Verdict, policy_commands, scoping_commands},
};
use postroom_store::{
    integrations::{self, Overview},
    mailboxes::{self, Mailbox},
};
use tokio::sync::mpsc;

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::Person,
};

/// Where the findings go in the page; nothing that a person writes can look like it.
const HERE: &str = "<!--findings-->";

#[derive(Template)]
#[template(path = "examination.html")]
struct ExaminationPage<'p> {
    page: Page,
    name: &'p str,
    lead: &'static str,
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
    /// Those of the older way.
    older: Vec<String>,
}

/// What may be shown of an integration.
pub(crate) async fn find(site: &Site, id: IntegrationId) -> Result<Overview, Failure> {
    let all = integrations::list_overviews(&site.engine.store().db).await?;
    all.into_iter().find(|one| one.id == id).ok_or(Failure::NotFound)
}

/// Examines an integration and those of its mailboxes that the function wants, with these options. `lead` is the key of what stands
/// above; what `ending` makes of the numbers of *yes*, *no* and *can't tell* stands below.
pub(crate) fn stream(
    site: &Site,
    person: &Person,
    integration: Overview,
    lead: &'static str,
    (chosen, options): (impl Fn(&Mailbox) -> bool + Send + Sync + 'static, Options),
    ending: impl FnOnce(&Page, [usize; 3]) -> String + Send + 'static,
) -> Result<Response, Failure> {
    let page = Page::new(site, &person.visitor, "doctor");
    let Html(whole) = render(&ExaminationPage { page, name: &integration.name, lead })?;
    let (head, foot) = whole.split_once(HERE).unwrap_or((&whole, ""));
    let (say, said) = mpsc::unbounded_channel();
    let _first = say.send(head.to_owned());
    let foot = foot.to_owned();
    let (page, site) = (Page::new(site, &person.visitor, ""), site.clone());
    site.tasks.clone().spawn(async move {
        let last = match run(&page, &site, &integration, chosen, &options, &say).await {
            Ok((below, counts)) => below + &ending(&page, counts),
            Err(error) => broken_off(&page, &*error),
        };
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

/// Examines and says each finding; gives what stands below them, and how many there were of each kind.
async fn run(
    page: &Page,
    site: &Site,
    integration: &Overview,
    chosen: impl Fn(&Mailbox) -> bool,
    options: &Options,
    say: &mpsc::UnboundedSender<String>,
) -> Result<(String, [usize; 3]), Box<dyn std::error::Error + Send + Sync>> {
    let mut counts = [0; 3];
    let examined = site
        .engine
        .examine_by_id(integration.id, chosen, options, &mut |finding| {
            let place = Verdict::ALL.iter().position(|verdict| *verdict == finding.verdict);
            counts[place.unwrap_or_default()] += 1;
            let row = FindingRow { page, finding: &finding }.render().unwrap_or_default();
            let _nobody_looks = say.send(row);
        })
        .await?;
    let own = mailboxes::list(&site.engine.store().db).await?;
    let own = own.into_iter().filter(|mailbox| mailbox.integration == integration.id);
    let own: Vec<String> = own.map(|mailbox| mailbox.address).collect();
    let Known { object_id } = examined.unwrap_or_default();
    let client = &integration.client_id;
    let (commands, older) = match object_id {
        Some(object) => (scoping_commands(client, &object, &own), policy_commands(client, &own)),
        None => (Vec::new(), Vec::new()),
    };
    let below = Examined { page, counts, commands, older }.render()?;
    Ok((below, counts))
}

fn broken_off(page: &Page, error: &dyn std::error::Error) -> String {
    tracing::warn!(error = %error, "An examination was broken off");
    format!("</tbody></table><p role=\"alert\">{}</p>", page.t("doctor-broken-off"))
}
