//! The administrator's trace: the whole story of a message or conversation, the
//! picture of its way, and for one that waits, what it waits for.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{Html, IntoResponse as _, Response},
};
use postroom_engine::{explain::Story, seek::Seen};
use postroom_model::{
    Timestamp,
    ledger::{MessageState, Step},
};
use postroom_store::{
    mailboxes::{self, Mailbox},
    queues, users,
};
use serde::Deserialize;

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    story,
    visitor::{Admin, see_other},
};

/// The stations of a mail's way, in their order.
const STATIONS: [Step; 8] = [
    Step::Seen,
    Step::Stored,
    Step::AfterTaking,
    Step::Queued,
    Step::Alerted,
    Step::Accepted,
    Step::Sent,
    Step::WrappedUp,
];

/// A station in the picture, and when it was first reached.
struct Station {
    step: Step,
    at: Option<Timestamp>,
}

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    page: Page,
    story: Story,
    stations: Vec<Station>,
    why: Option<String>,
    /// Names of queues and people, by their ids.
    names: BTreeMap<String, String>,
}

#[derive(Template)]
#[template(path = "trace_search.html")]
struct SearchPage {
    page: Page,
    asked: Option<String>,
    /// The mailbox that is asked, of all if there are few.
    chosen: String,
    mailboxes: Vec<String>,
    is_asked: bool,
    seen: Seen,
}

/// What is looked for, and whether the mailboxes are asked too.
#[derive(Deserialize)]
pub(crate) struct Ask {
    id: Option<String>,
    #[serde(default)]
    mailbox: String,
    ask: Option<String>,
}

/// `GET /trace`
pub(crate) async fn search(
    State(site): State<Site>,
    Admin(person): Admin,
    Query(ask): Query<Ask>,
) -> Result<Response, Failure> {
    let asked = ask.id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    let is_asked = ask.ask.is_some();
    if let Some(id) = &asked
        && !is_asked
        && site.engine.explain(id).await?.is_some()
    {
        let id = id.trim_start_matches('<').trim_end_matches('>');
        let encoded: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        return Ok(see_other(&format!("/trace/{}", encoded.replace('+', "%20"))));
    }
    let all = mailboxes::list(&site.engine.store().db).await?;
    let addresses = all.iter().map(|mailbox| mailbox.address.clone()).collect();
    let to_ask: Vec<Mailbox> = all
        .into_iter()
        .filter(|mailbox| is_asked && (ask.mailbox.is_empty() || mailbox.address == ask.mailbox))
        .collect();
    let seen = match &asked {
        Some(text) => site.engine.seek(text, &to_ask).await?,
        None => Seen::default(),
    };
    let page = Page::new(&site, &person.visitor, "nav-trace");
    let chosen = ask.mailbox;
    Ok(render(&SearchPage { page, asked, chosen, mailboxes: addresses, is_asked, seen })?.into_response())
}

/// `GET /trace/{id}`
pub(crate) async fn show(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<String>,
) -> Result<Html<String>, Failure> {
    let story = site.engine.explain(&id).await?.ok_or(Failure::NotFound)?;
    let first = |step| story.entries.iter().find(|entry| entry.step == step).map(|entry| entry.at);
    let stations = STATIONS.into_iter().map(|step| Station { step, at: first(step) }).collect();
    let why = match &story.waiting {
        Some(why) => {
            let skills = users::list_skill_names(&site.engine.store().db).await?;
            Some(story::why(&person.visitor.texts, why, &skills))
        }
        None => None,
    };
    let page = Page::new(&site, &person.visitor, "nav-trace");
    let names = names(&site).await?;
    render(&TracePage { page, story, stations, why, names })
}

async fn names(site: &Site) -> Result<BTreeMap<String, String>, Failure> {
    let db = &site.engine.store().db;
    let queues = queues::list(db).await?.into_iter().map(|queue| (queue.id.to_string(), queue.name));
    let people = users::list(db).await?.into_iter().map(|user| (user.id.to_string(), user.name));
    Ok(queues.chain(people).collect())
}

impl TracePage {
    /// The facts of a step, as name and value; queues and people by their names.
    fn facts(&self, data: &serde_json::Value) -> Vec<(String, String)> {
        let Some(data) = data.as_object() else { return Vec::new() };
        data.iter()
            .filter(|(_, value)| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), self.names.get(&text).cloned().unwrap_or(text))
            })
            .collect()
    }

    fn is_held(&self) -> bool {
        self.story.messages.iter().any(|message| message.state == MessageState::Held)
    }
}
