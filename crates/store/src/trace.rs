//! The trace: what happened to one message or conversation, step by step, in the
//! words of [`Step`] and [`Reason`]. Written in the commit that did the step.

use postroom_model::{
    ConversationId, MessageId, Timestamp,
    ledger::{Reason, Step},
};
use serde::Serialize;

use crate::{Db, DbError, Row, Stmt, args, parse};

/// One step to be written.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// When.
    pub at: Timestamp,
    /// Of which message, if of one.
    pub message: Option<MessageId>,
    /// Of which conversation, if of one.
    pub conversation: Option<ConversationId>,
    /// What happened.
    pub step: Step,
    /// Why, or how.
    pub reason: Reason,
    /// Facts beside it: ids, addresses, numbers; never bodies or secrets.
    pub data: serde_json::Value,
}

/// One step of a story.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub step: Step,
    /// Why, or how.
    pub reason: Reason,
    /// Facts beside it.
    pub data: serde_json::Value,
    /// The message it tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The conversation it tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
}

/// Writes a step.
pub fn record(entry: &NewEntry) -> Stmt {
    Stmt::new(
        "INSERT INTO trace (at, message_id, conversation_id, step, reason, data) VALUES ($1, $2, $3, $4, $5, $6)",
        args![
            entry.at,
            entry.message,
            entry.conversation,
            entry.step.as_str(),
            entry.reason.as_str(),
            entry.data.to_string()
        ],
    )
}

/// The story of a message: its own steps, and those of its conversation from the
/// moment it was in it.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_message(db: &Db, message: MessageId) -> Result<Vec<Entry>, DbError> {
    let stmt = Stmt::new(
        "SELECT at, step, reason, data, message_id, conversation_id FROM trace WHERE message_id = $1 \
         OR (message_id IS NULL AND conversation_id = (SELECT conversation_id FROM messages WHERE id = $1) \
         AND seq >= (SELECT MIN(seq) FROM trace WHERE message_id = $1)) ORDER BY seq",
        args![message],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The story of a conversation with all its messages.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_conversation(db: &Db, conversation: ConversationId) -> Result<Vec<Entry>, DbError> {
    let stmt = Stmt::new(
        "SELECT at, step, reason, data, message_id, conversation_id FROM trace WHERE conversation_id = $1 \
         OR message_id IN (SELECT id FROM messages WHERE conversation_id = $1) ORDER BY seq",
        args![conversation],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

fn read(row: Row) -> Result<Entry, DbError> {
    let mut c = row.columns();
    Ok(Entry {
        at: c.next()?,
        step: parse(&c.next::<String>()?)?,
        reason: parse(&c.next::<String>()?)?,
        data: serde_json::from_str(&c.next::<String>()?)
            .map_err(|error| DbError::inconsistent(error.to_string()))?,
        message_id: c.next()?,
        conversation_id: c.next()?,
    })
}
