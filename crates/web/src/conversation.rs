//! One conversation: who, what was said, and what its agent does with it.
//!
//! Who has or had it reads it, supervisors and administrators all; what may be done
//! is decided by `engine::desk`. Live, only what is new is fetched (`news`): mails
//! that the page has stay where they are, and so does what is being typed.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::HeaderValue,
    response::{Html, IntoResponse as _, Response},
};
use postroom_engine::desk::{ConversationView, MailView, ReplyView};
use postroom_mail::text_to_html;
use postroom_model::{ConversationId, MessageId, Timestamp, conversation::ConversationState};
use postroom_store::{routes, users};
use serde::Deserialize;

use crate::{
    desk::{self, Panel, customer},
    failure::Failure,
    page::{Page, render},
    site::Site,
    story,
    visitor::{Agent, Person, see_other},
};

/// Plain text above this many bytes is shown in a frame of its own, like HTML.
const INLINE_TEXT: usize = 64 * 1024;

/// A conversation as the page shows it.
struct Shown {
    view: ConversationView,
    /// The address of the route by which it came.
    route: Option<String>,
    /// The name of who has it, if that is not the reader.
    agent: Option<String>,
    /// Whether the reader has it.
    is_mine: bool,
    /// Why it waits, in words.
    why: Option<String>,
    entries: Vec<Entry>,
}

/// One thing that was said, in order of time.
enum Entry {
    /// A mail that the page has already.
    Known(MessageId),
    Mail(Box<Mail>),
    Reply(Box<ReplyView>),
}

struct Mail {
    view: MailView,
    /// Its text as safe HTML, if it is shown without a frame.
    inline: Option<String>,
}

impl Shown {
    fn customer(&self) -> Option<&str> {
        customer(&self.view.conversation)
    }

    fn is_alerting_me(&self) -> bool {
        self.is_mine && self.view.offer_deadline.is_some()
    }

    fn can_act(&self) -> bool {
        self.is_mine && self.view.conversation.state == ConversationState::Connected
    }

    /// One word for what the foot of the page offers: when it changes, the foot does.
    fn footing(&self) -> &'static str {
        match (self.can_act(), self.is_alerting_me()) {
            (true, _) => "reply",
            (_, true) => "alert",
            _ => self.view.conversation.state.as_str(),
        }
    }
}

#[derive(Template)]
#[template(path = "conversation.html")]
struct ConversationPage {
    page: Page,
    shown: Shown,
    panel: Option<Panel>,
}

#[derive(Template)]
#[template(path = "news.html")]
struct NewsFragment {
    page: Page,
    shown: Shown,
    /// Whether the foot has changed and is sent along.
    foot: bool,
}

/// `GET /desk/conversations/{id}`
pub(crate) async fn show(
    State(site): State<Site>,
    person: Person,
    Path(id): Path<ConversationId>,
) -> Result<Html<String>, Failure> {
    let view = site.engine.read_conversation(&person.user, id).await?;
    let shown = read(&site, &person, view).await?;
    let panel = desk::find_panel(&site, &person, id).await?;
    let mut page = Page::new(&site, &person.visitor, "");
    page.title = match shown.view.conversation.subject.as_str() {
        "" => page.t("no-subject"),
        subject => subject.to_owned(),
    };
    page.live = Some(format!("/live?conversation={id}"));
    render(&ConversationPage { page, shown, panel })
}

/// What the page has already.
#[derive(Deserialize)]
pub(crate) struct Had {
    /// Ids of mails, with commas between.
    known: Option<String>,
    /// The word of the foot that is shown.
    footing: Option<String>,
}

/// `GET /desk/conversations/{id}/news`
pub(crate) async fn news(
    State(site): State<Site>,
    person: Person,
    Path(id): Path<ConversationId>,
    Query(had): Query<Had>,
) -> Result<Html<String>, Failure> {
    fragment(&site, &person, id, &had).await
}

async fn fragment(
    site: &Site,
    person: &Person,
    id: ConversationId,
    had: &Had,
) -> Result<Html<String>, Failure> {
    let known: BTreeSet<MessageId> =
        had.known.iter().flat_map(|ids| ids.split(',')).filter_map(|id| id.parse().ok()).collect();
    let view = site.engine.read_news(&person.user, id, &known).await?;
    let shown = read(site, person, view).await?;
    let foot = had.footing.as_deref() != Some(shown.footing());
    render(&NewsFragment { page: Page::new(site, &person.visitor, ""), shown, foot })
}

async fn read(site: &Site, person: &Person, mut view: ConversationView) -> Result<Shown, Failure> {
    let db = &site.engine.store().db;
    let mut entries: Vec<(Timestamp, Entry)> = Vec::new();
    for known in std::mem::take(&mut view.known) {
        entries.push((known.arrived_at(), Entry::Known(known.id)));
    }
    for mail in std::mem::take(&mut view.mails) {
        let inline = !mail.has_html && mail.text.len() <= INLINE_TEXT;
        let inline = inline.then(|| text_to_html(&mail.text));
        entries.push((mail.message.arrived_at(), Entry::Mail(Box::new(Mail { view: mail, inline }))));
    }
    for reply in std::mem::take(&mut view.replies) {
        entries.push((reply.outgoing.created_at, Entry::Reply(Box::new(reply))));
    }
    entries.sort_by_key(|(at, _)| *at);
    let conversation = &view.conversation;
    let is_mine = conversation.agent == Some(person.user.id);
    let agent = match conversation.agent.filter(|_| !is_mine) {
        Some(agent) => users::find(db, agent).await?.map(|user| user.name),
        None => None,
    };
    let route = match conversation.route {
        Some(id) => {
            let routes = routes::list(db).await?;
            routes.into_iter().find(|route| route.id == id).map(|route| route.address.to_string())
        }
        None => None,
    };
    let why = match &view.why {
        Some(why) => Some(story::why(&person.visitor.texts, why, &users::list_skill_names(db).await?)),
        None => None,
    };
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    Ok(Shown { view, route, agent, is_mine, why, entries })
}

/// `POST /desk/conversations/{id}/accept`
pub(crate) async fn accept(
    State(site): State<Site>,
    Agent(person): Agent,
    Path(id): Path<ConversationId>,
) -> Result<Response, Failure> {
    site.engine.accept(&person.user, id).await?;
    Ok(go(&person, &format!("/desk/conversations/{id}")))
}

/// `POST /desk/conversations/{id}/decline`
pub(crate) async fn decline(
    State(site): State<Site>,
    Agent(person): Agent,
    Path(id): Path<ConversationId>,
) -> Result<Response, Failure> {
    site.engine.decline(&person.user, id).await?;
    Ok(go(&person, "/desk?done=declined"))
}

/// `POST /desk/conversations/{id}/return`
pub(crate) async fn return_to_queue(
    State(site): State<Site>,
    Agent(person): Agent,
    Path(id): Path<ConversationId>,
) -> Result<Response, Failure> {
    site.engine.return_to_queue(&person.user, id).await?;
    Ok(go(&person, "/desk?done=returned"))
}

/// What the wrap-up buttons send.
#[derive(Deserialize)]
pub(crate) struct WrapUp {
    code: Option<String>,
}

/// `POST /desk/conversations/{id}/wrap-up`
pub(crate) async fn wrap_up(
    State(site): State<Site>,
    Agent(person): Agent,
    Path(id): Path<ConversationId>,
    Form(form): Form<WrapUp>,
) -> Result<Response, Failure> {
    let code = form.code.as_deref().filter(|code| !code.is_empty());
    site.engine.wrap_up(&person.user, id, code).await?;
    Ok(go(&person, "/desk?done=wrapped_up"))
}

/// What the reply box sends.
#[derive(Deserialize)]
pub(crate) struct Reply {
    text: String,
    known: Option<String>,
    footing: Option<String>,
}

/// `POST /desk/conversations/{id}/reply`
pub(crate) async fn reply(
    State(site): State<Site>,
    Agent(person): Agent,
    Path(id): Path<ConversationId>,
    Form(form): Form<Reply>,
) -> Result<Response, Failure> {
    site.engine.reply(&person.user, id, &form.text.replace("\r\n", "\n")).await?;
    if !person.visitor.is_htmx {
        return Ok(see_other(&format!("/desk/conversations/{id}")));
    }
    let had = Had { known: form.known, footing: form.footing };
    let mut answer = fragment(&site, &person, id, &had).await?.into_response();
    // The page empties its reply box upon this, and not before.
    answer.headers_mut().insert("HX-Trigger", HeaderValue::from_static("replied"));
    Ok(answer)
}

/// Sends the browser on, whether it or htmx asked.
fn go(person: &Person, path: &str) -> Response {
    if !person.visitor.is_htmx {
        return see_other(path);
    }
    let mut answer = Html("").into_response();
    if let Ok(path) = HeaderValue::from_str(path) {
        answer.headers_mut().insert("HX-Redirect", path);
    }
    answer
}
