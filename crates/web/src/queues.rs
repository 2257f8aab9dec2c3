//! The supervisor's screens: how every queue stands, and what waits in one and why.
//!
//! Each is one fragment, fetched anew when a queue or a person changes.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Html,
};
use postroom_model::{QueueId, SkillId, UserId, acd, conversation::ConversationState, user::RoutingStatus};
use postroom_store::{
    conversations,
    conversations::Conversation,
    queues::{self, QueueFigures},
    users,
};

use crate::{
    desk::customer,
    failure::Failure,
    page::{Page, render},
    site::Site,
    story,
    visitor::{Person, Supervisor},
};

/// As many conversations of a queue are listed.
const LISTED: u32 = 200;
/// Ages of what waits, in minutes: the upper ends of the picture's bars.
const AGES: [i64; 5] = [5, 15, 60, 240, i64::MAX];
/// Words of the bars in the catalogue.
const AGE_WORDS: [&str; 5] = ["age-5", "age-15", "age-60", "age-240", "age-more"];
/// The height of the picture's highest bar.
const BAR: i64 = 72;

#[derive(Template)]
#[template(path = "queues.html")]
struct QueuesPage {
    page: Page,
    figures: Vec<QueueFigures>,
}

#[derive(Template)]
#[template(path = "queues_table.html")]
struct QueuesTable {
    page: Page,
    figures: Vec<QueueFigures>,
}

/// `GET /queues`
pub(crate) async fn show(
    State(site): State<Site>,
    Supervisor(person): Supervisor,
) -> Result<Html<String>, Failure> {
    let figures = queues::list_figures(&site.engine.store().db).await?;
    render(&QueuesPage { page: Page::live(&site, &person, "nav-queues"), figures })
}

/// `GET /queues/table`
pub(crate) async fn table(
    State(site): State<Site>,
    Supervisor(person): Supervisor,
) -> Result<Html<String>, Failure> {
    let figures = queues::list_figures(&site.engine.store().db).await?;
    render(&QueuesTable { page: Page::new(&site, &person.visitor, ""), figures })
}

/// One queue with its conversations and agents.
struct Shown {
    figures: QueueFigures,
    rows: Vec<Row>,
    agents: Vec<AgentRow>,
    bars: Vec<Bar>,
}

struct Row {
    conversation: Conversation,
    agent: Option<String>,
    why: Option<String>,
}

impl Row {
    fn customer(&self) -> Option<&str> {
        customer(&self.conversation)
    }
}

struct AgentRow {
    name: String,
    status: RoutingStatus,
    since: postroom_model::Timestamp,
    load: u32,
    capacity: u32,
}

/// One bar of the picture: how many wait that long.
struct Bar {
    word: &'static str,
    count: usize,
    height: i64,
}

impl Bar {
    fn top(&self) -> i64 {
        BAR + 16 - self.height
    }
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    page: Page,
    shown: Shown,
}

#[derive(Template)]
#[template(path = "queue_state.html")]
struct QueueState {
    page: Page,
    shown: Shown,
}

/// `GET /queues/{id}`
pub(crate) async fn show_one(
    State(site): State<Site>,
    Supervisor(person): Supervisor,
    Path(id): Path<QueueId>,
) -> Result<Html<String>, Failure> {
    let shown = read(&site, &person, id).await?;
    let mut page = Page::live(&site, &person, "");
    page.title = shown.figures.queue.name.clone();
    render(&QueuePage { page, shown })
}

/// `GET /queues/{id}/state`
pub(crate) async fn state(
    State(site): State<Site>,
    Supervisor(person): Supervisor,
    Path(id): Path<QueueId>,
) -> Result<Html<String>, Failure> {
    let shown = read(&site, &person, id).await?;
    render(&QueueState { page: Page::new(&site, &person.visitor, ""), shown })
}

async fn read(site: &Site, person: &Person, id: QueueId) -> Result<Shown, Failure> {
    let db = &site.engine.store().db;
    let figures = queues::list_figures(db).await?.into_iter().find(|figures| figures.queue.id == id);
    let figures = figures.ok_or(Failure::NotFound)?;
    let people: BTreeMap<UserId, users::User> =
        users::list(db).await?.into_iter().map(|user| (user.id, user)).collect();
    let skills: BTreeMap<SkillId, String> = users::list_skill_names(db).await?;
    let agents = users::list_agents(db).await?;
    let waiting = conversations::list_waiting(db, LISTED).await?;
    let now = site.engine.clock().now();
    let mut ages = [0; AGES.len()];
    let mut rows = Vec::new();
    for conversation in conversations::list_open_of_queue(db, id, LISTED).await? {
        if conversation.state == ConversationState::Waiting {
            let minutes = now.duration_since(conversation.arrived_at).as_mins();
            if let Some(bar) = AGES.iter().position(|upper| minutes < *upper) {
                ages[bar] += 1;
            }
        }
        let why = waiting
            .iter()
            .find(|waiting| waiting.conversation == conversation.id)
            .map(|waiting| story::why(&person.visitor.texts, &acd::why_waiting(waiting, &agents), &skills));
        let agent = conversation.agent.and_then(|agent| people.get(&agent)).map(|user| user.name.clone());
        rows.push(Row { conversation, agent, why });
    }
    let highest = ages.iter().copied().max().unwrap_or(0).max(1);
    let bars = AGE_WORDS.iter().zip(ages).map(|(word, count)| Bar {
        word,
        count,
        height: BAR * i64::try_from(count).unwrap_or(BAR) / i64::try_from(highest).unwrap_or(1),
    });
    let bars = bars.collect();
    let agents = agents.into_iter().filter(|agent| agent.queues.contains(&id)).filter_map(|agent| {
        people.get(&agent.user).map(|user| AgentRow {
            name: user.name.clone(),
            status: user.routing_status,
            since: user.status_since,
            load: agent.load,
            capacity: agent.capacity,
        })
    });
    Ok(Shown { figures, rows, agents: agents.collect(), bars })
}
