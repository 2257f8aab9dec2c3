//! The administrator's ledger: every message that was taken in, newest first, with
//! what needs attention on top.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{Html, Response},
};
use postroom_model::{MessageId, ledger::MessageState};
use postroom_store::{
    messages::{self, Filter, Message},
    outgoing::{self, Outgoing},
};
use serde::Deserialize;

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::{Admin, see_other},
};

/// Rows on a page.
const ROWS: u32 = 50;
/// Rows of what needs attention.
const ATTENTION: u32 = 20;

/// What the page is asked for.
#[derive(Deserialize)]
pub(crate) struct Ask {
    #[serde(default)]
    state: String,
    #[serde(default)]
    text: String,
    before: Option<MessageId>,
}

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage {
    page: Page,
    states: &'static [MessageState],
    state: Option<MessageState>,
    text: String,
    held: Vec<Message>,
    unsent: Vec<Outgoing>,
    rows: Vec<Message>,
    next: Option<String>,
}

/// `GET /ledger`
pub(crate) async fn show(
    State(site): State<Site>,
    Admin(person): Admin,
    Query(ask): Query<Ask>,
) -> Result<Html<String>, Failure> {
    let db = &site.engine.store().db;
    let state: Option<MessageState> = ask.state.parse().ok();
    let text = ask.text.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
    let filter = Filter { state, text: (!text.is_empty()).then(|| text.clone()), before: ask.before };
    let rows = messages::list_page(db, &filter, ROWS).await?;
    let held = Filter { state: Some(MessageState::Held), ..Filter::default() };
    let held = messages::list_page(db, &held, ATTENTION).await?;
    let unsent = outgoing::list_needing_attention(db, ATTENTION).await?;
    let next = rows.last().filter(|_| rows.len() == ROWS as usize).map(|last| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", state.map_or("", MessageState::as_str));
        query.append_pair("text", &text).append_pair("before", &last.id.to_string());
        format!("/ledger?{}", query.finish())
    });
    let page = Page::live(&site, &person, "nav-ledger");
    render(&LedgerPage { page, states: MessageState::ALL, state, text, held, unsent, rows, next })
}

/// `POST /ledger/{id}/release`: lets a held message go on.
pub(crate) async fn release(
    State(site): State<Site>,
    Admin(person): Admin,
    Path(id): Path<MessageId>,
) -> Result<Response, Failure> {
    site.engine.release(&person.user, id).await?;
    Ok(see_other("/ledger"))
}
