//! The agent's desk: routing status, alerts, own conversations.
//!
//! The panel is one fragment, fetched anew whenever the agent's `user` topic changes.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};
use postroom_engine::desk::DeskError;
use postroom_model::{
    ConversationId, QueueId, Timestamp,
    conversation::ConversationState,
    user::{Role, RoutingStatus},
};
use postroom_store::{
    conversations::{self, Conversation},
    offers, queues, users,
    users::User,
};
use serde::Deserialize;

use crate::{
    failure::Failure,
    page::{Page, render},
    site::Site,
    visitor::{Agent, Person, see_other},
};

/// As many wrapped-up conversations are listed.
const CLOSED_LISTED: u32 = 8;

/// What an agent sees of the own work.
pub(crate) struct Panel {
    /// Whether the agent takes conversations.
    pub(crate) status: RoutingStatus,
    /// Since when.
    pub(crate) since: Timestamp,
    /// What the agent is being alerted to, the next to run out first.
    pub(crate) alerts: Vec<Alert>,
    /// What the agent has, oldest first.
    pub(crate) connected: Vec<Row>,
    /// What the agent wrapped up last, newest first.
    pub(crate) closed: Vec<Row>,
    /// The conversation that is open beside it.
    pub(crate) open: Option<ConversationId>,
}

impl Panel {
    pub(crate) fn can_go_on(&self) -> bool {
        self.status != RoutingStatus::OnQueue
    }

    pub(crate) fn can_go_off(&self) -> bool {
        self.status != RoutingStatus::OffQueue
    }
}

/// A conversation being offered.
pub(crate) struct Alert {
    pub(crate) row: Row,
    pub(crate) deadline: Timestamp,
}

/// A conversation in a list.
pub(crate) struct Row {
    pub(crate) conversation: Conversation,
    pub(crate) queue: String,
    pub(crate) is_open: bool,
}

impl Row {
    /// The customer's name, or address, if one is known.
    pub(crate) fn customer(&self) -> Option<&str> {
        customer(&self.conversation)
    }
}

/// How a customer is called in lists.
pub(crate) fn customer(conversation: &Conversation) -> Option<&str> {
    let name = conversation.customer_name.as_deref().filter(|name| !name.trim().is_empty());
    name.or(conversation.customer_address.as_deref())
}

#[derive(Template)]
#[template(path = "desk.html")]
struct DeskPage {
    page: Page,
    panel: Panel,
    /// The text of what was just done.
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "panel_content.html")]
struct PanelFragment {
    page: Page,
    panel: Panel,
}

/// What was just done, for the notice.
#[derive(Deserialize)]
pub(crate) struct Done {
    done: Option<String>,
}

/// Notices that may be asked for by the address.
const NOTICES: [&str; 3] = ["wrapped_up", "returned", "declined"];

/// `GET /desk`
pub(crate) async fn show(
    State(site): State<Site>,
    Agent(person): Agent,
    Query(done): Query<Done>,
) -> Result<Html<String>, Failure> {
    let panel = read_panel(&site, &person.user, None).await?;
    let page = Page::live(&site, &person, "nav-desk");
    let done = done.done.filter(|word| NOTICES.contains(&word.as_str())).map(|word| page.word("done", word));
    render(&DeskPage { page, panel, done })
}

/// Which conversation is open beside the panel.
#[derive(Deserialize)]
pub(crate) struct Beside {
    open: Option<ConversationId>,
}

/// `GET /desk/panel`
pub(crate) async fn panel(
    State(site): State<Site>,
    Agent(person): Agent,
    Query(beside): Query<Beside>,
) -> Result<Html<String>, Failure> {
    fragment(&site, &person, beside.open).await
}

/// What the switch sends.
#[derive(Deserialize)]
pub(crate) struct Switch {
    status: RoutingStatus,
}

/// `POST /desk/status`
pub(crate) async fn set_status(
    State(site): State<Site>,
    Agent(person): Agent,
    Form(switch): Form<Switch>,
) -> Result<Response, Failure> {
    match site.engine.set_routing_status(&person.user, switch.status).await {
        // Gone: it stands so already, by another window.
        Ok(()) | Err(DeskError::Gone) => {}
        Err(error) => return Err(error.into()),
    }
    if !person.visitor.is_htmx {
        return Ok(see_other("/desk"));
    }
    // The panel fetches itself, in its turn: this answer could overtake what happened meanwhile.
    Ok((StatusCode::NO_CONTENT, [("hx-trigger", "panel")]).into_response())
}

async fn fragment(
    site: &Site,
    person: &Person,
    open: Option<ConversationId>,
) -> Result<Html<String>, Failure> {
    // The session was read before the switch: the person is read anew.
    let user = users::find(&site.engine.store().db, person.user.id).await?.ok_or(Failure::SignIn)?;
    let panel = read_panel(site, &user, open).await?;
    render(&PanelFragment { page: Page::new(site, &person.visitor, ""), panel })
}

/// Reads the panel of an agent.
pub(crate) async fn read_panel(
    site: &Site,
    user: &User,
    open: Option<ConversationId>,
) -> Result<Panel, Failure> {
    let db = &site.engine.store().db;
    let names: BTreeMap<QueueId, String> =
        queues::list(db).await?.into_iter().map(|queue| (queue.id, queue.name)).collect();
    let deadlines: BTreeMap<ConversationId, Timestamp> = offers::list_of_user(db, user.id)
        .await?
        .into_iter()
        .map(|offer| (offer.conversation, offer.deadline_at))
        .collect();
    let row = |conversation: Conversation| Row {
        queue: names.get(&conversation.queue).cloned().unwrap_or_default(),
        is_open: Some(conversation.id) == open,
        conversation,
    };
    let mut alerts = Vec::new();
    let mut connected = Vec::new();
    for conversation in conversations::list_of_agent(db, user.id).await? {
        match (conversation.state, deadlines.get(&conversation.id)) {
            (ConversationState::Alerting, Some(deadline)) => {
                alerts.push(Alert { row: row(conversation), deadline: *deadline });
            }
            (ConversationState::Connected, _) => connected.push(row(conversation)),
            _ => {}
        }
    }
    alerts.sort_by_key(|alert| alert.deadline);
    let closed = conversations::list_closed_by(db, user.id, CLOSED_LISTED).await?;
    Ok(Panel {
        status: user.routing_status,
        since: user.status_since,
        alerts,
        connected,
        closed: closed.into_iter().map(row).collect(),
        open,
    })
}

/// The panel, for those who have a desk.
pub(crate) async fn find_panel(
    site: &Site,
    person: &Person,
    open: ConversationId,
) -> Result<Option<Panel>, Failure> {
    if !person.has(Role::Agent) {
        return Ok(None);
    }
    read_panel(site, &person.user, Some(open)).await.map(Some)
}
