//! People: how they sign in, what they may do, and what distribution knows of them.

use std::collections::{BTreeMap, BTreeSet};

use postroom_model::{
    QueueId, SkillId, Timestamp, UserId,
    acd::Agent,
    user::{Role, RoutingStatus},
};

use crate::{Db, DbError, Row, Stmt, args, parse};

/// A person.
#[derive(Debug, Clone)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// The address with which they sign in.
    pub email: String,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// How many mail conversations they may have at once.
    pub email_capacity: u32,
    /// The language of their screens; absent: the organisation's.
    pub locale: Option<String>,
    /// Whether they take conversations.
    pub routing_status: RoutingStatus,
    /// Since when.
    pub status_since: Timestamp,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, name, roles, email_capacity, locale, routing_status, status_since FROM users ",
            $rest
        )
    };
}

fn read(row: Row) -> Result<User, DbError> {
    let mut c = row.columns();
    Ok(User {
        id: c.next()?,
        email: c.next()?,
        name: c.next()?,
        roles: c
            .next::<String>()?
            .split(',')
            .filter(|word| !word.is_empty())
            .map(parse)
            .collect::<Result<_, _>>()?,
        email_capacity: c.next()?,
        locale: c.next()?,
        routing_status: parse(&c.next::<String>()?)?,
        status_since: c.next()?,
    })
}

/// One person, if they are there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: UserId) -> Result<Option<User>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE id = $1"), args![id])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// One person by their address (lower case).
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_by_email(db: &Db, email: &str) -> Result<Option<User>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE email = $1"), args![email])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// Everybody, in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list(db: &Db) -> Result<Vec<User>, DbError> {
    let stmt = Stmt::new(select!("ORDER BY position, email"), args![]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The stored form of a person's password (PHC string), if they have one.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_password_hash(db: &Db, email: &str) -> Result<Option<(UserId, String)>, DbError> {
    let stmt = Stmt::new(
        "SELECT id, password_hash FROM users WHERE email = $1 AND password_hash IS NOT NULL",
        args![email],
    );
    let Some(row) = db.query(stmt).await?.into_iter().next() else { return Ok(None) };
    let mut c = row.columns();
    Ok(Some((c.next()?, c.next()?)))
}

/// Sets a person's password (PHC string).
pub fn record_password(id: UserId, hash: &str) -> Stmt {
    Stmt::new("UPDATE users SET password_hash = $2 WHERE id = $1", args![id, hash]).expect_one()
}

/// Sets the language of a person's screens.
pub fn record_locale(id: UserId, locale: &str) -> Stmt {
    Stmt::new("UPDATE users SET locale = $2 WHERE id = $1", args![id, locale])
}

/// Moves a person to a routing status; lost if they have it already.
pub fn record_routing_status(id: UserId, status: RoutingStatus, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE users SET routing_status = $2, status_since = $3 WHERE id = $1 AND routing_status <> $2",
        args![id, status.as_str(), at],
    )
    .expect_one()
}

/// The person was offered something; lost if they are no longer on queue.
pub fn record_offered(id: UserId, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE users SET last_offered_at = $2 WHERE id = $1 AND routing_status = 'on_queue'",
        args![id, at],
    )
    .expect_one()
}

/// The person has room for one more; lost otherwise. Belongs in the unit that gives it to them.
pub fn guard_capacity(id: UserId) -> Stmt {
    Stmt::new(
        "UPDATE users SET email_capacity = email_capacity WHERE id = $1 AND email_capacity > \
         (SELECT COUNT(*) FROM conversations WHERE agent_id = $1 AND state IN ('alerting', 'connected'))",
        args![id],
    )
    .expect_one()
}

/// Everybody who may take conversations, as distribution sees them.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_agents(db: &Db) -> Result<Vec<Agent>, DbError> {
    let mut skills: BTreeMap<UserId, BTreeMap<SkillId, u8>> = BTreeMap::new();
    let stmt = Stmt::new("SELECT user_id, skill_id, proficiency FROM user_skills", args![]);
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        let (user, skill, proficiency): (_, _, u32) = (c.next()?, c.next()?, c.next()?);
        skills.entry(user).or_default().insert(skill, proficiency.min(5) as u8);
    }
    let mut languages: BTreeMap<UserId, BTreeMap<String, u8>> = BTreeMap::new();
    let stmt = Stmt::new("SELECT user_id, language, proficiency FROM user_languages", args![]);
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        let (user, language, proficiency): (_, _, u32) = (c.next()?, c.next()?, c.next()?);
        languages.entry(user).or_default().insert(language, proficiency.min(5) as u8);
    }
    let mut queues: BTreeMap<UserId, BTreeSet<QueueId>> = BTreeMap::new();
    for row in db.query(Stmt::new("SELECT user_id, queue_id FROM queue_members", args![])).await? {
        let mut c = row.columns();
        queues.entry(c.next()?).or_default().insert(c.next()?);
    }
    let stmt = Stmt::new(
        "SELECT u.id, u.routing_status, u.email_capacity, u.last_offered_at, \
         (SELECT COUNT(*) FROM conversations c WHERE c.agent_id = u.id AND c.state IN ('alerting', 'connected')) \
         FROM users u ORDER BY u.id",
        args![],
    );
    let mut agents = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        let user: UserId = c.next()?;
        let status: RoutingStatus = parse(&c.next::<String>()?)?;
        agents.push(Agent {
            user,
            on_queue: status == RoutingStatus::OnQueue,
            capacity: c.next()?,
            last_offered: c.next()?,
            load: c.next()?,
            queues: queues.remove(&user).unwrap_or_default(),
            skills: skills.remove(&user).unwrap_or_default(),
            languages: languages.remove(&user).unwrap_or_default(),
        });
    }
    Ok(agents)
}

/// Names of skills, for telling a person which one is missing.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_skill_name(db: &Db, id: SkillId) -> Result<Option<String>, DbError> {
    let rows = db.query(Stmt::new("SELECT name FROM skills WHERE id = $1", args![id])).await?;
    rows.into_iter().next().map(|row| row.columns().next()).transpose()
}

/// The names of all skills.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_skill_names(db: &Db) -> Result<BTreeMap<SkillId, String>, DbError> {
    let mut names = BTreeMap::new();
    for row in db.query(Stmt::new("SELECT id, name FROM skills", args![])).await? {
        let mut c = row.columns();
        names.insert(c.next()?, c.next()?);
    }
    Ok(names)
}
