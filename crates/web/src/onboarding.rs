//! Connecting a tenant: what the Azure portal shows is pasted, Microsoft is asked, mailboxes
//! are named, the doctor looks at them, and they are activated.
//!
//! Rule kept: nothing is followed before an administrator activates it, and a secret is
//! never shown again, not even to who typed it.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Form,
    extract::{Path, RawForm, State},
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};
use jiff::{civil::Date, tz::TimeZone};
use postroom_engine::{doctor::Options, onboarding::Onboarded};
use postroom_model::{
    EmailAddress, IntegrationId, Timestamp,
    doctor::{Cause, Finding},
    mailbox::TakeFrom,
    onboarding::{Fault, Field, JoinFault, NewMailboxes, Pasted, read_addresses},
    user::Role,
};
use postroom_store::{integrations::Overview, mailboxes::Mailbox, queues, users};
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    examination,
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::{Admin, Person, see_other},
};

/// Microsoft's clouds as the form offers them.
const CLOUDS: [&str; 4] = ["global", "usgov", "dod", "china"];

/// What the first form sends. Its secret never comes back.
#[derive(Default, Deserialize)]
pub(crate) struct Typed {
    name: String,
    cloud: String,
    tenant: String,
    endpoint: String,
    client_id: String,
    secret: SecretString,
    expires: String,
}

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage {
    page: Page,
    typed: Typed,
    faults: Vec<Fault>,
    /// The day on which the secret ends is none.
    is_day_odd: bool,
    trouble: Option<Box<Finding>>,
}

impl ConnectPage {
    fn fault(&self, field: &str) -> Option<Cause> {
        let field: Field = field.parse().ok()?;
        self.faults.iter().find(|fault| fault.field == field).map(|fault| fault.cause)
    }

    /// Where the keyboard starts: at the first fault, else at the top.
    fn is_first(&self, field: &str) -> bool {
        match self.faults.first() {
            Some(fault) => fault.field.as_str() == field,
            None => field == Field::Name.as_str() && !self.is_day_odd,
        }
    }
}

/// `GET /integrations/new`
pub(crate) async fn show(State(site): State<Site>, Admin(person): Admin) -> Result<Html<String>, Failure> {
    let page = Page::new(&site, &person.visitor, "connect-title");
    render(&ConnectPage { page, typed: Typed::default(), faults: vec![], is_day_odd: false, trouble: None })
}

/// `POST /integrations/new`: looks at what was pasted, asks Microsoft for a token, and goes on to the mailboxes.
pub(crate) async fn connect(
    State(site): State<Site>,
    Admin(person): Admin,
    Form(typed): Form<Typed>,
) -> Result<Response, Failure> {
    let expires = day(&typed.expires);
    let pasted = Pasted {
        name: typed.name.clone(),
        tenant: typed.tenant.clone(),
        endpoint: typed.endpoint.clone(),
        client_id: typed.client_id.clone(),
        secret: typed.secret.clone(),
    };
    let mut answer = ConnectPage {
        page: Page::new(&site, &person.visitor, "connect-title"),
        is_day_odd: expires.is_err(),
        faults: vec![],
        trouble: None,
        typed,
    };
    if let Ok(expires) = expires {
        match site.engine.onboard(&pasted, &answer.typed.cloud, expires).await? {
            Onboarded::Yes(id) => {
                tracing::info!(user.id = %person.user.id, integration.id = %id, "A tenant was connected");
                return Ok(see_other(&format!("/integrations/{id}/mailboxes")).into_response());
            }
            Onboarded::Faults(faults) => answer.faults = faults,
            Onboarded::Trouble(finding) => answer.trouble = Some(finding),
        }
    }
    Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&answer)?).into_response())
}

/// What the second form sends.
#[derive(Default)]
struct Named {
    addresses: String,
    queue: String,
    members: BTreeSet<String>,
    since: String,
}

#[derive(Template)]
#[template(path = "join.html")]
struct JoinPage {
    page: Page,
    integration: Overview,
    named: Named,
    queues: Vec<String>,
    /// Who can serve a queue: address and name.
    agents: Vec<(String, String)>,
    /// What is wrong with the addresses, the queue, the date, in words.
    problems: [Option<String>; 3],
}

/// `GET /integrations/{id}/mailboxes`
pub(crate) async fn name_mailboxes(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
) -> Result<Html<String>, Failure> {
    let integration = examination::find(&site, id).await?;
    join_page(&site, &person, integration, Named::default(), [None, None, None]).await
}

async fn join_page(
    site: &Site,
    person: &Person,
    integration: Overview,
    named: Named,
    problems: [Option<String>; 3],
) -> Result<Html<String>, Failure> {
    let db = &site.engine.store().db;
    let agents = users::list(db).await?.into_iter().filter(|user| user.roles.contains(&Role::Agent));
    render(&JoinPage {
        page: Page::new(site, &person.visitor, "join-title"),
        queues: queues::list(db).await?.into_iter().map(|queue| queue.name).collect(),
        agents: agents.map(|user| (user.email, user.name)).collect(),
        integration,
        named,
        problems,
    })
}

/// `POST /integrations/{id}/mailboxes`: connects them, paused, and has the doctor look.
pub(crate) async fn join(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
    RawForm(form): RawForm,
) -> Result<Response, Failure> {
    let integration = examination::find(&site, id).await?;
    let named = read_named(&form);
    let mut problems = [None, None, None];
    let addresses = read_addresses(&named.addresses).unwrap_or_else(|odd| {
        problems[0] = Some(person.visitor.texts.with("join-odd-address", "address", odd));
        Vec::new()
    });
    let since = day(&named.since);
    if since.is_err() {
        problems[2] = Some(person.visitor.texts.say("odd-day"));
    }
    if problems.iter().all(Option::is_none) {
        let new = NewMailboxes {
            integration: integration.name.clone(),
            addresses,
            queue: named.queue.clone(),
            members: named.members.iter().filter_map(|member| member.parse::<EmailAddress>().ok()).collect(),
            wrap_up_codes: vec![person.visitor.texts.say("join-wrap-up-code")],
            take_from: since.ok().flatten().map_or(TakeFrom::Activation, TakeFrom::Date),
        };
        match site.engine.join_mailboxes(&new).await? {
            Ok(()) => return examine_waiting(&site, &person, integration),
            Err(JoinFault::NoAddress) => problems[0] = Some(person.visitor.texts.say("join-no-address")),
            Err(JoinFault::Elsewhere { address, .. }) => {
                let texts = &person.visitor.texts;
                problems[0] = Some(texts.with("join-elsewhere", "address", address.as_str()));
            }
            Err(JoinFault::NoQueue) => problems[1] = Some(person.visitor.texts.say("join-no-queue")),
        }
    }
    let page = join_page(&site, &person, integration, named, problems).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

fn read_named(form: &[u8]) -> Named {
    let mut named = Named::default();
    for (key, value) in url::form_urlencoded::parse(form) {
        match key.as_ref() {
            "addresses" => named.addresses = value.into_owned(),
            "queue" => named.queue = value.into_owned(),
            "since" => named.since = value.into_owned(),
            "member" => {
                named.members.insert(value.into_owned());
            }
            _ => {}
        }
    }
    named
}

/// `POST /integrations/{id}/check`: the doctor looks at what waits for its activation.
pub(crate) async fn check(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
) -> Result<Response, Failure> {
    let integration = examination::find(&site, id).await?;
    examine_waiting(&site, &person, integration)
}

#[derive(Template)]
#[template(path = "activate.html")]
struct Activate<'p> {
    page: &'p Page,
    id: IntegrationId,
    is_well: bool,
}

fn examine_waiting(site: &Site, person: &Person, integration: Overview) -> Result<Response, Failure> {
    let id = integration.id;
    examination::stream(
        site,
        person,
        integration,
        "activate-lead",
        (|mailbox: &Mailbox| mailbox.is_not_active_yet(), Options::default()),
        move |page, [_, no, _]| Activate { page, id, is_well: no == 0 }.render().unwrap_or_default(),
    )
}

#[derive(Template)]
#[template(path = "activated.html")]
struct Activated<'p> {
    page: &'p Page,
    /// What the organisation file would say.
    declaration: String,
}

/// `POST /integrations/{id}/activate`: its mailboxes are followed from now on, and the doctor looks once more.
pub(crate) async fn activate(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<IntegrationId>,
) -> Result<Response, Failure> {
    let integration = examination::find(&site, id).await?;
    let count = site.engine.activate(id).await?;
    tracing::info!(user.id = %person.user.id, integration.id = %id, mailboxes = count, "Mailboxes were activated");
    let declaration = site.engine.declare(&integration.name).await?;
    examination::stream(
        &site,
        &person,
        integration,
        "activated-lead",
        (|_: &Mailbox| true, Options::default()),
        move |page, _| Activated { page, declaration }.render().unwrap_or_default(),
    )
}

/// Reads a day of a form; nothing if it is empty.
fn day(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse::<Date>()?.to_zoned(TimeZone::UTC).map(|day| Some(day.timestamp())),
    }
}
