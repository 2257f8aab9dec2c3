//! Counts the work that hangs on things that are to be deleted.

use postroom_model::organization::{Kind, Named, Use, Uses};
use uuid::Uuid;

use super::Present;
use crate::{Db, DbError, Stmt, args};

/// What is counted for one kind of thing, and the statement that counts it by id.
type Count = (&'static str, &'static str);

const OF_SKILL: &[Count] =
    &[("conversation", "SELECT COUNT(*) FROM conversation_skills WHERE skill_id = $1")];
const OF_USER: &[Count] = &[
    (
        "open conversation",
        "SELECT COUNT(*) FROM conversations WHERE state <> 'closed' AND (agent_id = $1 OR last_agent_id = $1)",
    ),
    (
        "closed conversation",
        "SELECT COUNT(*) FROM conversations WHERE state = 'closed' AND (agent_id = $1 OR last_agent_id = $1)",
    ),
    ("offer", "SELECT COUNT(*) FROM offers WHERE user_id = $1"),
    ("answer", "SELECT COUNT(*) FROM outgoing WHERE user_id = $1"),
];
const OF_QUEUE: &[Count] = &[
    ("open conversation", "SELECT COUNT(*) FROM conversations WHERE queue_id = $1 AND state <> 'closed'"),
    ("closed conversation", "SELECT COUNT(*) FROM conversations WHERE queue_id = $1 AND state = 'closed'"),
];
const OF_MAILBOX: &[Count] = &[
    ("message", "SELECT COUNT(*) FROM messages WHERE mailbox_id = $1"),
    ("conversation", "SELECT COUNT(*) FROM conversations WHERE mailbox_id = $1"),
    ("answer", "SELECT COUNT(*) FROM outgoing WHERE mailbox_id = $1"),
];

fn counts(kind: Kind) -> &'static [Count] {
    match kind {
        Kind::Skill => OF_SKILL,
        Kind::User => OF_USER,
        Kind::Queue => OF_QUEUE,
        Kind::Mailbox => OF_MAILBOX,
        // Only other things of the organisation name these; a conversation outlives its route.
        Kind::Organization | Kind::Integration | Kind::Domain | Kind::Route => &[],
    }
}

/// The work that hangs on each of `things`.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_uses(db: &Db, present: &Present, things: &[Named]) -> Result<Uses, DbError> {
    let mut uses = Uses::new();
    for thing in things {
        let Some(id) = present.id(thing.kind, &thing.name) else { continue };
        let mut work = Vec::new();
        for &(what, sql) in counts(thing.kind) {
            let count = count(db, sql, id).await?;
            if count > 0 {
                work.push(Use { count, what });
            }
        }
        if !work.is_empty() {
            uses.insert(thing.clone(), work);
        }
    }
    Ok(uses)
}

async fn count(db: &Db, sql: &'static str, id: Uuid) -> Result<u64, DbError> {
    match db.query_opt(Stmt::new(sql, args![id])).await? {
        Some(row) => row.columns().next(),
        None => Ok(0),
    }
}
