//! Conversations with outside parties: where each stands and with whom.

use postroom_model::{
    ConversationId, MailboxId, QueueId, RouteId, SkillId, Timestamp, UserId, acd::Waiting,
    conversation::ConversationState,
};

use crate::{Db, DbError, Row, Stmt, args, parse};

/// A conversation.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The queue it belongs to.
    pub queue: QueueId,
    /// The route by which it came.
    pub route: Option<RouteId>,
    /// The mailbox through which it is answered.
    pub mailbox: MailboxId,
    /// Where it stands.
    pub state: ConversationState,
    /// Higher is served first.
    pub priority: i32,
    /// The language it asks for.
    pub language: Option<String>,
    /// The subject of its first mail.
    pub subject: String,
    /// The customer's address, if it could be read.
    pub customer_address: Option<String>,
    /// The customer's display name.
    pub customer_name: Option<String>,
    /// The display name under which it is answered.
    pub from_name: Option<String>,
    /// Who has it now.
    pub agent: Option<UserId>,
    /// Who had it last.
    pub last_agent: Option<UserId>,
    /// The conversation that its first mail named but could not join.
    pub linked: Option<ConversationId>,
    /// When the mail arrived that it waits with; kept by transfer and return.
    pub arrived_at: Timestamp,
    /// When it began.
    pub opened_at: Timestamp,
    /// When it was wrapped up.
    pub closed_at: Option<Timestamp>,
    /// With which code.
    pub wrap_up_code: Option<String>,
    /// How many of the customer's mails its agent has not opened.
    pub unread: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, queue_id, route_id, mailbox_id, state, priority, language, subject, \
             customer_address, customer_name, from_name, agent_id, last_agent_id, linked_id, arrived_at, \
             opened_at, closed_at, wrap_up_code, unread FROM conversations ",
            $rest
        )
    };
}

fn read(row: Row) -> Result<Conversation, DbError> {
    let mut c = row.columns();
    Ok(Conversation {
        id: c.next()?,
        queue: c.next()?,
        route: c.next()?,
        mailbox: c.next()?,
        state: parse(&c.next::<String>()?)?,
        priority: c.next()?,
        language: c.next()?,
        subject: c.next()?,
        customer_address: c.next()?,
        customer_name: c.next()?,
        from_name: c.next()?,
        agent: c.next()?,
        last_agent: c.next()?,
        linked: c.next()?,
        arrived_at: c.next()?,
        opened_at: c.next()?,
        closed_at: c.next()?,
        wrap_up_code: c.next()?,
        unread: c.next()?,
    })
}

/// Begins a conversation.
pub fn insert(c: &Conversation) -> Stmt {
    Stmt::new(
        "INSERT INTO conversations (id, queue_id, route_id, mailbox_id, state, priority, language, subject, \
         customer_address, customer_name, from_name, agent_id, last_agent_id, linked_id, arrived_at, \
         opened_at, closed_at, wrap_up_code, unread) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        args![
            c.id,
            c.queue,
            c.route,
            c.mailbox,
            c.state.as_str(),
            c.priority,
            c.language.as_deref(),
            c.subject.as_str(),
            c.customer_address.as_deref(),
            c.customer_name.as_deref(),
            c.from_name.as_deref(),
            c.agent,
            c.last_agent,
            c.linked,
            c.arrived_at,
            c.opened_at,
            c.closed_at,
            c.wrap_up_code.as_deref(),
            c.unread
        ],
    )
}

/// Asks for a skill.
pub fn insert_skill(id: ConversationId, skill: SkillId) -> Stmt {
    Stmt::new(
        "INSERT INTO conversation_skills (conversation_id, skill_id) VALUES ($1, $2) \
         ON CONFLICT (conversation_id, skill_id) DO NOTHING",
        args![id, skill],
    )
}

/// The conversation begins with this mail; lost if another one began with a copy of it meanwhile.
pub fn claim_head(id: ConversationId, internet_message_id: &str, from_address: &str) -> Stmt {
    Stmt::new(
        "INSERT INTO thread_heads (internet_message_id, from_address, conversation_id) VALUES ($1, $2, $3) \
         ON CONFLICT (internet_message_id, from_address) DO NOTHING",
        args![internet_message_id, from_address, id],
    )
    .expect_one()
}

/// An address takes part.
pub fn ensure_participant(id: ConversationId, address: &str) -> Stmt {
    Stmt::new(
        "INSERT INTO participants (conversation_id, address) VALUES ($1, $2) \
         ON CONFLICT (conversation_id, address) DO NOTHING",
        args![id, address],
    )
}

/// One conversation, if it is there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: ConversationId) -> Result<Option<Conversation>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE id = $1"), args![id])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// The conversations that an agent has or is being alerted to, oldest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_agent(db: &Db, user: UserId) -> Result<Vec<Conversation>, DbError> {
    let stmt = Stmt::new(
        select!("WHERE agent_id = $1 AND state IN ('alerting', 'connected') ORDER BY arrived_at, id"),
        args![user],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The conversations that an agent wrapped up last, newest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_closed_by(db: &Db, user: UserId, limit: u32) -> Result<Vec<Conversation>, DbError> {
    let stmt = Stmt::new(
        select!("WHERE last_agent_id = $1 AND state = 'closed' ORDER BY closed_at DESC LIMIT $2"),
        args![user, limit],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The conversations of a queue that are not closed, oldest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_open_of_queue(db: &Db, queue: QueueId, limit: u32) -> Result<Vec<Conversation>, DbError> {
    let stmt = Stmt::new(
        select!(
            "WHERE state IN ('waiting', 'alerting', 'connected') AND queue_id = $1 \
                 ORDER BY arrived_at, id LIMIT $2"
        ),
        args![queue, limit],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// What waits for an agent, the next to be served first, at most `limit` of each queue: a queue that
/// nobody serves hides no other.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_waiting(db: &Db, limit: u32) -> Result<Vec<Waiting>, DbError> {
    let stmt = Stmt::new(
        "SELECT id, queue_id, priority, arrived_at, language, last_agent_id FROM \
         (SELECT id, queue_id, priority, arrived_at, language, last_agent_id, ROW_NUMBER() OVER \
         (PARTITION BY queue_id ORDER BY priority DESC, arrived_at, id) AS turn \
         FROM conversations WHERE state = 'waiting') AS queued \
         WHERE turn <= $1 ORDER BY priority DESC, arrived_at, id",
        args![limit],
    );
    let skills = Stmt::new(
        "SELECT s.conversation_id, s.skill_id FROM conversation_skills s \
         JOIN conversations c ON c.id = s.conversation_id WHERE c.state = 'waiting' ORDER BY s.skill_id",
        args![],
    );
    let mut waiting = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        waiting.push(Waiting {
            conversation: c.next()?,
            queue: c.next()?,
            priority: c.next()?,
            arrived: c.next()?,
            language: c.next()?,
            last_agent: c.next()?,
            skills: Vec::new(),
        });
    }
    let mut asked: std::collections::BTreeMap<ConversationId, Vec<SkillId>> = Default::default();
    for row in db.query(skills).await? {
        let mut c = row.columns();
        asked.entry(c.next()?).or_default().push(c.next()?);
    }
    for w in &mut waiting {
        w.skills = asked.remove(&w.conversation).unwrap_or_default();
    }
    Ok(waiting)
}

/// Moves a conversation from one state to another; lost if it no longer stands in the first.
pub fn record_state(
    id: ConversationId,
    from: ConversationState,
    to: ConversationState,
    agent: Option<UserId>,
) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET state = $3, agent_id = $4 WHERE id = $1 AND state = $2",
        args![id, from.as_str(), to.as_str(), agent],
    )
    .expect_one()
}

/// The agent took it: from alerting to connected.
pub fn record_accepted(id: ConversationId, agent: UserId) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET state = 'connected', last_agent_id = $2 \
         WHERE id = $1 AND state = 'alerting' AND agent_id = $2",
        args![id, agent],
    )
    .expect_one()
}

/// The agent wrapped up: closed, with a code. Lost while a mail in it is unread: nothing is closed that
/// nobody has seen.
pub fn record_wrapped_up(id: ConversationId, agent: UserId, code: Option<&str>, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET state = 'closed', agent_id = NULL, last_agent_id = $2, wrap_up_code = $3, \
         closed_at = $4 WHERE id = $1 AND state = 'connected' AND agent_id = $2 AND unread = 0",
        args![id, agent, code, at],
    )
    .expect_one()
}

/// The agent gave it back to its queue, where it waits with its old arrival time.
pub fn record_returned(id: ConversationId, agent: UserId) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET state = 'waiting', agent_id = NULL \
         WHERE id = $1 AND agent_id = $2 AND state IN ('alerting', 'connected')",
        args![id, agent],
    )
    .expect_one()
}

/// The customer wrote again: a closed conversation waits again with the new
/// mail's arrival time; any other only counts the mail.
pub fn record_customer_wrote(id: ConversationId, arrived_at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET unread = unread + 1, \
         arrived_at = CASE WHEN state = 'closed' THEN $2 ELSE arrived_at END, \
         closed_at = NULL, wrap_up_code = NULL, \
         state = CASE WHEN state = 'closed' THEN 'waiting' ELSE state END WHERE id = $1",
        args![id, arrived_at],
    )
    .expect_one()
}

/// The agent has opened the customer's mails, of which `unread` were new; lost if there are others by now.
pub fn record_read(id: ConversationId, agent: UserId, unread: i64) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET unread = 0 WHERE id = $1 AND agent_id = $2 AND unread = $3",
        args![id, agent, unread],
    )
    .expect_one()
}

/// The conversation is with this agent; lost otherwise. Belongs in the unit of what the agent does with it.
pub fn guard_agent(id: ConversationId, agent: UserId) -> Stmt {
    Stmt::new(
        "UPDATE conversations SET agent_id = agent_id WHERE id = $1 AND agent_id = $2 AND state = 'connected'",
        args![id, agent],
    )
    .expect_one()
}

/// One waiting conversation as distribution sees it.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_waiting(db: &Db, id: ConversationId) -> Result<Option<Waiting>, DbError> {
    let Some(c) = find(db, id).await?.filter(|c| c.state == ConversationState::Waiting) else {
        return Ok(None);
    };
    let stmt = Stmt::new(
        "SELECT skill_id FROM conversation_skills WHERE conversation_id = $1 ORDER BY skill_id",
        args![id],
    );
    let skills =
        db.query(stmt).await?.into_iter().map(|row| row.columns().next()).collect::<Result<_, _>>()?;
    Ok(Some(Waiting {
        conversation: id,
        queue: c.queue,
        priority: c.priority,
        arrived: c.arrived_at,
        skills,
        language: c.language,
        last_agent: c.last_agent,
    }))
}
