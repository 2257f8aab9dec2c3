//! A mailbox: its folders, its mails, and who writes to it from outside.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Path, Query, State as Extract};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{page, shown_time};
use crate::administration::MailboxChange;
use crate::compose;
use crate::content::{Body, Content, Format, Person};
use crate::graph::ids::{self, IdKind};
use crate::mailbox::{FolderKey, INBOX, Item, Mailbox, MailboxStatus};
use crate::simulator::{NoMailbox, Simulator};

/// Most mails that a list shows.
const LISTED: usize = 200;

#[derive(Template)]
#[template(path = "mailbox.html")]
struct MailboxPage {
    address: String,
    status: MailboxStatus,
    is_outage: bool,
    folder: String,
    folders: Vec<FolderRow>,
    rows: Vec<Row>,
}

struct FolderRow {
    key: u64,
    name: String,
    all: usize,
    unread: usize,
    is_shown: bool,
}

/// A mail in a list.
struct Row {
    id: String,
    who: String,
    subject: String,
    preview: String,
    at: String,
    is_read: bool,
}

/// Which folder a page shows.
#[derive(Deserialize)]
pub(super) struct Which {
    folder: Option<u64>,
}

pub(super) async fn folder(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    Query(which): Query<Which>,
) -> Response {
    let state = simulator.state();
    let wanted = address.to_lowercase();
    let Some(owner) = state.mailboxes.iter().find(|mailbox| mailbox.address == wanted) else {
        return NoMailbox(address).into_response();
    };
    let shown = which.folder.map_or(INBOX, FolderKey);
    let mut folders = Vec::new();
    for folder in owner.tree(crate::mailbox::ROOT).into_iter().filter_map(|key| owner.find_folder(key)) {
        let all = folder.members.len();
        if folder.is_hidden || folder.key == crate::mailbox::ROOT || (all == 0 && !is_usual(folder.key)) {
            continue;
        }
        let unread =
            owner.newest_first(Some(folder.key), Timestamp::MAX).filter(|item| !item.is_read).count();
        folders.push(FolderRow {
            key: folder.key.0,
            name: folder.display_name.clone().into_owned(),
            all,
            unread,
            is_shown: folder.key == shown,
        });
    }
    let rows =
        owner.newest_first(Some(shown), Timestamp::MAX).take(LISTED).map(|item| row(owner, item)).collect();
    let folder = owner.find_folder(shown).map(|folder| folder.display_name.clone().into_owned());
    let template = MailboxPage {
        address: owner.address.clone(),
        status: owner.status,
        is_outage: state.board.of(&owner.address).notify_outage,
        folder: folder.unwrap_or_default(),
        folders,
        rows,
    };
    drop(state);
    page(&template)
}

/// Inbox, Drafts, Sent Items, Deleted Items.
fn is_usual(folder: FolderKey) -> bool {
    (2..=5).contains(&folder.0)
}

fn row(owner: &Mailbox, item: &Item) -> Row {
    let sent_by_us = item.content.from.as_ref().is_some_and(|from| owner.addresses.contains(&from.address));
    let who = if sent_by_us { item.content.to.first() } else { item.content.from.as_ref() };
    Row {
        id: ids::item(IdKind::Immutable, owner.guid, item),
        who: who.map_or(String::new(), |person| person.shown().to_owned()),
        subject: item.content.subject.clone(),
        preview: item.content.preview.chars().take(90).collect(),
        at: shown_time(item.received),
        is_read: item.is_read,
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    address: String,
    id: String,
    subject: String,
    from: String,
    to: String,
    at: String,
    text: String,
    is_read: bool,
    headers: String,
}

pub(super) async fn message(
    Extract(simulator): Extract<Simulator>,
    Path((address, id)): Path<(String, String)>,
) -> Response {
    let state = simulator.state();
    let wanted = address.to_lowercase();
    let owner = state.mailboxes.iter().find(|mailbox| mailbox.address == wanted);
    let item = owner.and_then(|owner| match ids::parse_item(owner.guid, &id) {
        Some(ids::Named::Item(item)) => owner.find_item(item),
        _ => None,
    });
    let Some(item) = item else {
        return (StatusCode::NOT_FOUND, "There is no such mail in this mailbox.").into_response();
    };
    let people = |people: &[Person]| {
        let shown: Vec<String> =
            people.iter().map(|person| format!("{} <{}>", person.name, person.address)).collect();
        shown.join(", ")
    };
    let mime = item.content.mime.as_deref().unwrap_or_default();
    let head = mime.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(mime.len().min(4000));
    let template = MessagePage {
        subject: item.content.subject.clone(),
        from: people(item.content.from.as_slice()),
        to: people(&item.content.to),
        at: shown_time(item.received),
        text: item.content.body.to_format(Format::Text).into_owned(),
        is_read: item.is_read,
        headers: String::from_utf8_lossy(mime.get(..head).unwrap_or_default()).into_owned(),
        address,
        id,
    };
    drop(state);
    page(&template)
}

/// What a form does with a mailbox or with a mail in it.
#[derive(Deserialize)]
pub(super) struct Act {
    act: String,
    #[serde(default)]
    id: String,
}

pub(super) async fn act(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    Form(form): Form<Act>,
) -> Response {
    let set_status = |status| {
        let change = MailboxChange { status: Some(status), ..MailboxChange::default() };
        simulator.change_mailbox(&address, change).map(drop).map_err(boxed)
    };
    let switch =
        |name: &str, value: Value| simulator.set_mailbox_switch(&address, name, value).map_err(boxed);
    let mark = |is_read| simulator.mark_by_hand(&address, &form.id, is_read).map_err(boxed);
    let done = match form.act.as_str() {
        "unlicense" => set_status(MailboxStatus::Unlicensed),
        "license" => set_status(MailboxStatus::Active),
        "drop" => switch("notify.outage", Value::Bool(true)),
        "notify" => switch("notify.outage", Value::Null),
        "silence" => switch("sub.silent_death", Value::Bool(true)),
        "forget" => switch("delta.expire", Value::Bool(true)),
        "read" => mark(true),
        "unread" => mark(false),
        _ => Err(boxed((StatusCode::BAD_REQUEST, "There is no such act."))),
    };
    match done {
        Ok(()) => Redirect::to(&format!("/mailboxes/{address}")).into_response(),
        Err(refused) => *refused,
    }
}

fn boxed(refusal: impl IntoResponse) -> Box<Response> {
    Box::new(refusal.into_response())
}

#[derive(Template)]
#[template(path = "outside.html")]
struct OutsidePage {
    address: String,
    mails: Vec<Received>,
}

/// A mail that a customer received.
struct Received {
    from: String,
    subject: String,
    text: String,
    message_id: String,
    at: String,
}

pub(super) async fn outside(Extract(simulator): Extract<Simulator>, Path(address): Path<String>) -> Response {
    let state = simulator.state();
    let mails = state.outside.get(&address.to_lowercase()).into_iter().flatten().rev();
    let mails = mails.map(|mail| Received {
        from: mail.content.from.as_ref().map_or(String::new(), |from| from.address.clone()),
        subject: mail.content.subject.clone(),
        text: mail.content.body.to_format(Format::Text).into_owned(),
        message_id: mail.content.message_id.clone().unwrap_or_default(),
        at: shown_time(mail.received),
    });
    let mails = mails.collect();
    drop(state);
    page(&OutsidePage { address, mails })
}

/// A mail as a customer writes it.
#[derive(Deserialize)]
pub(super) struct Written {
    from: String,
    #[serde(default)]
    name: String,
    to: String,
    subject: String,
    text: String,
    #[serde(default)]
    in_reply_to: String,
}

pub(super) async fn write(Extract(simulator): Extract<Simulator>, Form(written): Form<Written>) -> Response {
    if !written.from.contains('@') || !written.to.contains('@') {
        return (StatusCode::BAD_REQUEST, "From and To need an address each.").into_response();
    }
    let (now, word) = {
        let mut state = simulator.state();
        (state.now(), state.random.text(18))
    };
    let mut content = Content {
        from: Some(Person::new(written.name, written.from)),
        to: vec![Person::new("", written.to.as_str())],
        subject: written.subject,
        body: Body { format: Format::Text, content: written.text },
        message_id: Some(format!("<{word}@customer.example>")),
        ..Content::default()
    };
    if !written.in_reply_to.is_empty() {
        content.references = vec![written.in_reply_to.clone()];
        content.in_reply_to = Some(written.in_reply_to);
    }
    let mime = compose::mime(&content, now, &format!("--{word}"));
    simulator.post_content(Arc::new(Content::from_mime(mime)));
    let back = if simulator.messages(&written.to).is_ok() { "mailboxes" } else { "outside" };
    Redirect::to(&format!("/{back}/{}", written.to)).into_response()
}
