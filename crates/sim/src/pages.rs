//! Pages for people: what stands in each mailbox, and a form to write as a customer.
//!
//! Served on the control port beside the API.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State as Extract};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::compose;
use crate::content::{Body, Content, Format, Person};
use crate::simulator::{MessageView, Simulator};

pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/", get(home))
        .route("/mailboxes/{address}", get(mailbox))
        .route("/outside/{address}", get(outside))
        .route("/write", post(write))
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    mailboxes: Vec<(String, usize, usize)>,
    outside: Vec<(String, usize)>,
}

#[derive(Template)]
#[template(path = "mailbox.html")]
struct MailboxPage {
    address: String,
    messages: Vec<MessageView>,
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

async fn home(Extract(simulator): Extract<Simulator>) -> Response {
    let state = simulator.state();
    let mailboxes = state.mailboxes.iter().map(|mailbox| {
        let (mut all, mut unread) = (0, 0);
        for item in mailbox.newest_first(None, Timestamp::MAX) {
            all += 1;
            unread += usize::from(!item.is_read);
        }
        (mailbox.address.clone(), all, unread)
    });
    let mailboxes = mailboxes.collect();
    let outside = state.outside.iter().map(|(address, mails)| (address.clone(), mails.len())).collect();
    drop(state);
    page(&Home { mailboxes, outside })
}

async fn mailbox(Extract(simulator): Extract<Simulator>, Path(address): Path<String>) -> Response {
    match simulator.messages(&address) {
        Ok(messages) => page(&MailboxPage { address, messages }),
        Err(error) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
    }
}

async fn outside(Extract(simulator): Extract<Simulator>, Path(address): Path<String>) -> Response {
    let state = simulator.state();
    let mails = state.outside.get(&address.to_lowercase()).into_iter().flatten().rev();
    let mails = mails.map(|mail| Received {
        from: mail.content.from.as_ref().map_or(String::new(), |from| from.address.clone()),
        subject: mail.content.subject.clone(),
        text: mail.content.body.to_format(Format::Text).into_owned(),
        message_id: mail.content.message_id.clone().unwrap_or_default(),
        at: mail.received.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    });
    let mails = mails.collect();
    drop(state);
    page(&OutsidePage { address, mails })
}

/// A mail as a customer writes it.
#[derive(Deserialize)]
struct Written {
    from: String,
    #[serde(default)]
    name: String,
    to: String,
    subject: String,
    text: String,
    #[serde(default)]
    in_reply_to: String,
}

async fn write(Extract(simulator): Extract<Simulator>, Form(written): Form<Written>) -> Response {
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

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
