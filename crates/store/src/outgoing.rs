//! The outbox: mails on their way out, each with the marker by which its draft
//! and its sent copy are found again.

use postroom_model::{
    ConversationId, MailboxId, MessageId, OutgoingId, Timestamp, UserId, ledger::Reason, outbox::SendState,
};

use crate::{Db, DbError, Row, Stmt, args, parse};

/// A mail on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its id.
    pub id: OutgoingId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The mail it answers.
    pub reply_to: MessageId,
    /// The mailbox from which it leaves.
    pub mailbox: MailboxId,
    /// Who wrote it.
    pub user: UserId,
    /// How far it has come.
    pub state: SendState,
    /// Why it stands there, if that needs saying.
    pub reason: Option<Reason>,
    /// More about the reason, for people.
    pub detail: Option<String>,
    /// The value of our extended property on its draft and its sent copy.
    pub marker: String,
    /// Its draft's immutable id.
    pub draft_id: Option<String>,
    /// Its Message-ID, without brackets.
    pub internet_message_id: Option<String>,
    /// Its text, sealed.
    pub sealed: Vec<u8>,
    /// How often the mailbox was searched for it without finding it.
    pub looks: u32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When Microsoft took it.
    pub sent_at: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, conversation_id, reply_to_id, mailbox_id, user_id, state, reason, detail, marker, \
             draft_id, internet_message_id, sealed, looks, created_at, sent_at FROM outgoing ",
            $rest
        )
    };
}

fn read(row: Row) -> Result<Outgoing, DbError> {
    let mut c = row.columns();
    Ok(Outgoing {
        id: c.next()?,
        conversation: c.next()?,
        reply_to: c.next()?,
        mailbox: c.next()?,
        user: c.next()?,
        state: parse(&c.next::<String>()?)?,
        reason: c.next::<Option<String>>()?.map(|word| parse(&word)).transpose()?,
        detail: c.next()?,
        marker: c.next()?,
        draft_id: c.next()?,
        internet_message_id: c.next()?,
        sealed: c.next()?,
        looks: c.next()?,
        created_at: c.next()?,
        sent_at: c.next()?,
    })
}

/// Puts a mail in the outbox.
pub fn insert(o: &Outgoing) -> Stmt {
    Stmt::new(
        "INSERT INTO outgoing (id, conversation_id, reply_to_id, mailbox_id, user_id, state, marker, sealed, \
         looks, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)",
        args![
            o.id,
            o.conversation,
            o.reply_to,
            o.mailbox,
            o.user,
            o.state.as_str(),
            o.marker.as_str(),
            o.sealed.as_slice(),
            o.created_at
        ],
    )
}

/// One entry, if it is there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: OutgoingId) -> Result<Option<Outgoing>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE id = $1"), args![id])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// The entries of a conversation, oldest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_conversation(db: &Db, conversation: ConversationId) -> Result<Vec<Outgoing>, DbError> {
    let stmt = Stmt::new(select!("WHERE conversation_id = $1 ORDER BY created_at, id"), args![conversation]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// Entries that did not leave or of which nobody knows, newest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_needing_attention(db: &Db, limit: u32) -> Result<Vec<Outgoing>, DbError> {
    let stmt =
        Stmt::new(select!("WHERE state IN ('uncertain', 'failed') ORDER BY id DESC LIMIT $1"), args![limit]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// Moves an entry on; lost if it no longer stands in `from`.
pub fn record_state(id: OutgoingId, from: SendState, to: SendState) -> Stmt {
    Stmt::new(
        "UPDATE outgoing SET state = $3 WHERE id = $1 AND state = $2",
        args![id, from.as_str(), to.as_str()],
    )
    .expect_one()
}

/// The draft stands in the mailbox; lost if the entry has another one meanwhile than `before`.
pub fn record_draft(
    id: OutgoingId,
    before: Option<&str>,
    draft_id: &str,
    internet_message_id: Option<&str>,
) -> Stmt {
    Stmt::new(
        "UPDATE outgoing SET state = 'drafted', draft_id = $2, internet_message_id = $3 \
         WHERE id = $1 AND state IN ('drafting', 'drafted') AND COALESCE(draft_id, '') = $4",
        args![id, draft_id, internet_message_id, before.unwrap_or_default()],
    )
    .expect_one()
}

/// A draft is to be made anew; lost if the entry has another one meanwhile than `before`, or was
/// asked to be sent.
pub fn record_drafting(id: OutgoingId, before: Option<&str>) -> Stmt {
    Stmt::new(
        "UPDATE outgoing SET state = 'drafting', draft_id = NULL, looks = 0 \
         WHERE id = $1 AND state IN ('queued', 'drafting', 'drafted') AND COALESCE(draft_id, '') = $2",
        args![id, before.unwrap_or_default()],
    )
    .expect_one()
}

/// It left; lost if that is known already.
pub fn record_sent(id: OutgoingId, internet_message_id: Option<&str>, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE outgoing SET state = 'sent', reason = NULL, detail = NULL, sent_at = $3, \
         internet_message_id = COALESCE($2, internet_message_id) \
         WHERE id = $1 AND state NOT IN ('sent', 'failed')",
        args![id, internet_message_id, at],
    )
    .expect_one()
}

/// Its copy in Sent Items was seen, under this Message-ID.
pub fn record_confirmed(id: OutgoingId, internet_message_id: Option<&str>) -> Stmt {
    Stmt::new(
        "UPDATE outgoing SET internet_message_id = COALESCE($2, internet_message_id) WHERE id = $1",
        args![id, internet_message_id],
    )
}

/// The mailbox was searched for it without finding it.
pub fn record_look(id: OutgoingId) -> Stmt {
    Stmt::new("UPDATE outgoing SET looks = looks + 1 WHERE id = $1", args![id])
}

/// It ends here without having left, or without anybody knowing.
pub fn record_end(id: OutgoingId, from: SendState, to: SendState, reason: Reason, detail: &str) -> Stmt {
    Stmt::new(
        "UPDATE outgoing SET state = $3, reason = $4, detail = $5 WHERE id = $1 AND state = $2",
        args![id, from.as_str(), to.as_str(), reason.as_str(), detail],
    )
    .expect_one()
}
