//! The administrator's ledger: every message that was taken in, newest first, with
//! what needs attention on top: how much it is, and the way to all of it.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{Html, Response},
};
use postroom_model::{MessageId, ledger::MessageState};
use postroom_store::{
    Db, DbError,
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
/// Rows of each kind of what needs attention.
const ATTENTION: u32 = 20;

/// What the page is asked for.
#[derive(Deserialize)]
pub(crate) struct Ask {
    #[serde(default)]
    state: String,
    #[serde(default)]
    text: String,
    before: Option<MessageId>,
    /// Which page of the replies that need attention, from 1.
    #[serde(default)]
    replies: usize,
}

/// Mails that are held: the newest of them.
struct Held {
    rows: Vec<Message>,
    total: i64,
}

/// A page of the replies that did not leave, or of which nobody knows.
struct Unsent {
    rows: Vec<Outgoing>,
    total: usize,
    /// The place of the first row, from 1.
    first: usize,
    /// Pages with newer and with older ones.
    newer: Option<usize>,
    older: Option<usize>,
}

impl Unsent {
    /// The page that was asked for, or the last one if there are not so many.
    fn page(all: Vec<Outgoing>, page: usize) -> Self {
        let (total, on_page) = (all.len(), ATTENTION as usize);
        let last = total.div_ceil(on_page).max(1);
        let page = page.clamp(1, last);
        let before = (page - 1) * on_page;
        Self {
            rows: all.into_iter().skip(before).take(on_page).collect(),
            total,
            first: before + 1,
            newer: (page > 1).then(|| page - 1),
            older: (page < last).then_some(page + 1),
        }
    }

    fn is_paged(&self) -> bool {
        self.rows.len() < self.total
    }

    /// From which to which one is shown.
    fn range(&self) -> String {
        format!("{}–{}", self.first, self.first + self.rows.len().saturating_sub(1))
    }
}

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage {
    page: Page,
    states: &'static [MessageState],
    state: Option<MessageState>,
    text: String,
    held: Held,
    unsent: Unsent,
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
    let held = held(db).await?;
    let unsent = Unsent::page(outgoing::list_needing_attention(db, u32::MAX).await?, ask.replies);
    let next = rows.last().filter(|_| rows.len() == ROWS as usize).map(|last| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", state.map_or("", MessageState::as_str));
        query.append_pair("text", &text).append_pair("before", &last.id.to_string());
        format!("/ledger?{}", query.finish())
    });
    let page = Page::live(&site, &person, "nav-ledger");
    render(&LedgerPage { page, states: MessageState::ALL, state, text, held, unsent, rows, next })
}

async fn held(db: &Db) -> Result<Held, DbError> {
    let filter = Filter { state: Some(MessageState::Held), ..Filter::default() };
    let rows = messages::list_page(db, &filter, ATTENTION).await?;
    let counts = messages::list_state_counts(db).await?;
    let total = counts.into_iter().find(|count| count.state == MessageState::Held);
    Ok(Held { rows, total: total.map_or(0, |count| count.count) })
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
