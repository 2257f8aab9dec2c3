//! The ledger: one row for each mail that arrived in a watched folder.
//!
//! The pair (mailbox, immutable id) is unique: whoever comes second with the same
//! mail loses the race and changes nothing. Every change of state is guarded by
//! the state it starts from.

use std::collections::{BTreeMap, BTreeSet};

use postroom_model::{
    BlobId, ConversationId, EmailAddress, FolderId, MailboxId, MessageId, Timestamp,
    ledger::{MessageState, Reason},
};
use serde::Serialize;

use crate::{
    Db, DbError, Row, Stmt, args,
    content::{Content, Written},
    parse,
};

/// A row of the ledger.
#[derive(Debug, Clone)]
pub struct Message {
    /// Our id.
    pub id: MessageId,
    /// The mailbox in which it lay.
    pub mailbox: MailboxId,
    /// The folder in which it was found.
    pub folder: Option<FolderId>,
    /// Its immutable id in Microsoft Graph.
    pub graph_id: String,
    /// Where it stands.
    pub state: MessageState,
    /// Why it stands there.
    pub reason: Reason,
    /// More about the reason, for people.
    pub detail: Option<String>,
    /// When we first heard of it.
    pub seen_at: Timestamp,
    /// When it arrived in the mailbox, as Microsoft says.
    pub received_at: Option<Timestamp>,
    /// When its bytes were stored.
    pub stored_at: Option<Timestamp>,
    /// When it entered its queue.
    pub queued_at: Option<Timestamp>,
    /// When the mailbox was told that it is taken: its read flag set, its category, its folder.
    pub touched_at: Option<Timestamp>,
    /// Whether its bytes were put together from JSON and attachments.
    pub rebuilt: bool,
    /// SHA-256 of its bytes.
    pub sha256: Option<Vec<u8>>,
    /// How many bytes it has.
    pub size: Option<i64>,
    /// Its Message-ID, without brackets.
    pub internet_message_id: Option<String>,
    /// Who wrote it.
    pub from_address: Option<String>,
    /// The writer's display name.
    pub from_name: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// What kind of machine wrote it, if one did.
    pub automatic: Option<String>,
    /// The conversation that it is in.
    pub conversation: Option<ConversationId>,
}

impl Message {
    /// The arrival time that routing and ordering keep.
    pub fn arrived_at(&self) -> Timestamp {
        self.received_at.unwrap_or(self.seen_at).min(self.seen_at)
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, mailbox_id, folder_id, graph_id, state, reason, detail, seen_at, received_at, \
             stored_at, queued_at, touched_at, rebuilt, sha256, size, internet_message_id, from_address, \
             from_name, subject, automatic, conversation_id FROM messages ",
            $rest
        )
    };
}

fn read(row: Row) -> Result<Message, DbError> {
    let mut c = row.columns();
    Ok(Message {
        id: c.next()?,
        mailbox: c.next()?,
        folder: c.next()?,
        graph_id: c.next()?,
        state: parse(&c.next::<String>()?)?,
        reason: parse(&c.next::<String>()?)?,
        detail: c.next()?,
        seen_at: c.next()?,
        received_at: c.next()?,
        stored_at: c.next()?,
        queued_at: c.next()?,
        touched_at: c.next()?,
        rebuilt: c.next()?,
        sha256: c.next()?,
        size: c.next()?,
        internet_message_id: c.next()?,
        from_address: c.next()?,
        from_name: c.next()?,
        subject: c.next()?,
        automatic: c.next()?,
        conversation: c.next()?,
    })
}

/// A mail of which we have just heard.
#[derive(Debug, Clone)]
pub struct SeenMessage {
    /// Our id for it.
    pub id: MessageId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The folder.
    pub folder: FolderId,
    /// Its immutable id.
    pub graph_id: String,
    /// How we heard.
    pub reason: Reason,
    /// When we heard.
    pub seen_at: Timestamp,
    /// When it arrived, if that was said.
    pub received_at: Option<Timestamp>,
}

/// Makes the ledger row. The unit is lost if the mail has one already.
pub fn insert_seen(seen: &SeenMessage) -> Stmt {
    Stmt::new(
        "INSERT INTO messages \
         (id, mailbox_id, folder_id, graph_id, state, reason, seen_at, received_at, announced_at) \
         VALUES ($1, $2, $3, $4, 'seen', $5, $6, $7, $8) ON CONFLICT (mailbox_id, graph_id) DO NOTHING",
        args![
            seen.id,
            seen.mailbox,
            seen.folder,
            seen.graph_id.as_str(),
            seen.reason.as_str(),
            seen.seen_at,
            seen.received_at,
            (seen.reason == Reason::Notified).then_some(seen.seen_at)
        ],
    )
    .expect_one()
}

/// Which of these immutable ids the ledger has already, and whether each was announced.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_known(
    db: &Db,
    mailbox: MailboxId,
    graph_ids: &[&str],
) -> Result<BTreeMap<String, bool>, DbError> {
    let mut known = BTreeMap::new();
    // Looked up one by one in one round: a list of unknown length would make
    // another statement of each length.
    let looked = graph_ids.iter().map(|graph_id| {
        db.query(Stmt::new(
            "SELECT graph_id, announced_at FROM messages WHERE mailbox_id = $1 AND graph_id = $2",
            args![mailbox, *graph_id],
        ))
    });
    for rows in futures_util::future::try_join_all(looked).await? {
        for row in rows {
            let mut c = row.columns();
            known.insert(c.next()?, c.next::<Option<Timestamp>>()?.is_some());
        }
    }
    Ok(known)
}

/// Microsoft announced a mail that was found before.
pub fn record_announced(mailbox: MailboxId, graph_id: &str, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE messages SET announced_at = $3 WHERE mailbox_id = $1 AND graph_id = $2 AND announced_at IS NULL",
        args![mailbox, graph_id, at],
    )
}

/// Mails of a folder that nobody announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unannounced {
    /// How many.
    pub count: i64,
    /// When the first of them arrived.
    pub first_received_at: Timestamp,
}

/// The mails of a folder that arrived at `since` or later, were found at `until` or
/// earlier, and were never announced; nothing if there is none.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_unannounced(
    db: &Db,
    folder: FolderId,
    since: Timestamp,
    until: Timestamp,
) -> Result<Option<Unannounced>, DbError> {
    let stmt = Stmt::new(
        "SELECT COUNT(*), MIN(received_at) FROM messages \
         WHERE folder_id = $1 AND announced_at IS NULL AND received_at >= $2 AND seen_at <= $3",
        args![folder, since, until],
    );
    let Some(row) = db.query_opt(stmt).await? else { return Ok(None) };
    let mut c = row.columns();
    let (count, first): (i64, Option<Timestamp>) = (c.next()?, c.next()?);
    Ok(first.map(|first_received_at| Unannounced { count, first_received_at }))
}

/// Adds the arrival time that Microsoft gives, where it was not known yet.
pub fn record_received_at(mailbox: MailboxId, graph_id: &str, received_at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE messages SET received_at = $3 WHERE mailbox_id = $1 AND graph_id = $2 AND received_at IS NULL",
        args![mailbox, graph_id, received_at],
    )
}

/// The bytes are ours: `seen` or `held` becomes `stored`.
pub fn record_stored(id: MessageId, written: &Written, reason: Reason, at: Timestamp) -> Stmt {
    let (sealed, blob) = written.content.columns();
    let size = i64::try_from(written.size).unwrap_or(i64::MAX);
    Stmt::new(
        "UPDATE messages SET state = 'stored', reason = $2, detail = NULL, stored_at = $3, sha256 = $4, \
         size = $5, sealed = $6, blob_id = $7, rebuilt = $8 WHERE id = $1 AND state IN ('seen', 'held') AND stored_at IS NULL",
        args![id, reason.as_str(), at, written.sha256.as_ref(), size, sealed, blob, reason == Reason::Rebuilt],
    )
    .expect_one()
}

/// Moves a message from one state to another; lost if it no longer stands in the first.
pub fn record_state(
    id: MessageId,
    from: MessageState,
    to: MessageState,
    reason: Reason,
    detail: Option<&str>,
) -> Stmt {
    debug_assert!(from.next().contains(&to), "{from} → {to}");
    Stmt::new(
        "UPDATE messages SET state = $3, reason = $4, detail = $5 WHERE id = $1 AND state = $2",
        args![id, from.as_str(), to.as_str(), reason.as_str(), detail],
    )
    .expect_one()
}

/// What reading the mail gave.
#[derive(Debug, Clone)]
pub struct Derived<'a> {
    /// Message-ID, without brackets.
    pub internet_message_id: Option<&'a str>,
    /// Who wrote it.
    pub from_address: Option<&'a str>,
    /// The writer's display name.
    pub from_name: Option<&'a str>,
    /// The subject.
    pub subject: &'a str,
    /// What kind of machine wrote it.
    pub automatic: Option<&'a str>,
}

/// Keeps what can be searched and shown without opening the mail.
pub fn record_derived(id: MessageId, derived: &Derived<'_>) -> Stmt {
    Stmt::new(
        "UPDATE messages SET internet_message_id = $2, from_address = $3, from_name = $4, subject = $5, \
         automatic = $6 WHERE id = $1",
        args![
            id,
            derived.internet_message_id,
            derived.from_address,
            derived.from_name,
            derived.subject,
            derived.automatic
        ],
    )
}

/// The message is in a conversation: `stored` or `held` becomes `routed`.
pub fn record_routed(id: MessageId, conversation: ConversationId, reason: Reason, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE messages SET state = 'routed', reason = $3, detail = NULL, conversation_id = $2, \
         queued_at = $4 WHERE id = $1 AND state IN ('stored', 'held')",
        args![id, conversation, reason.as_str(), at],
    )
    .expect_one()
}

/// The mailbox shows that the mail is taken.
pub fn record_touched(id: MessageId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE messages SET touched_at = $2 WHERE id = $1 AND touched_at IS NULL", args![id, at])
}

/// One row, if it is there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: MessageId) -> Result<Option<Message>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE id = $1"), args![id])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// One row by its place in Microsoft Graph.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_by_graph_id(
    db: &Db,
    mailbox: MailboxId,
    graph_id: &str,
) -> Result<Option<Message>, DbError> {
    let stmt = Stmt::new(select!("WHERE mailbox_id = $1 AND graph_id = $2"), args![mailbox, graph_id]);
    db.query(stmt).await?.into_iter().next().map(read).transpose()
}

/// Rows that carry this Message-ID, oldest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_by_internet_id(db: &Db, internet_message_id: &str) -> Result<Vec<Message>, DbError> {
    let stmt = Stmt::new(select!("WHERE internet_message_id = $1 ORDER BY id"), args![internet_message_id]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The messages of a conversation, oldest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_conversation(db: &Db, conversation: ConversationId) -> Result<Vec<Message>, DbError> {
    let stmt = Stmt::new(select!("WHERE conversation_id = $1 ORDER BY seen_at, id"), args![conversation]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// What a page of the ledger shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this state.
    pub state: Option<MessageState>,
    /// Only rows whose sender, subject or Message-ID contains this, in any case.
    pub text: Option<String>,
    /// Only rows older than this one, for the next page.
    pub before: Option<MessageId>,
}

/// A page of the ledger, newest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_page(db: &Db, filter: &Filter, limit: u32) -> Result<Vec<Message>, DbError> {
    let pattern = filter.text.as_ref().map(|text| {
        let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("%{escaped}%")
    });
    let stmt = Stmt::new(
        select!(
            "WHERE ($1 = '' OR state = $1) \
             AND ($2 = '' OR LOWER(COALESCE(subject, '')) LIKE LOWER($2) ESCAPE '\\' \
             OR LOWER(COALESCE(from_address, '')) LIKE LOWER($2) ESCAPE '\\' \
             OR LOWER(COALESCE(internet_message_id, '')) LIKE LOWER($2) ESCAPE '\\') \
             AND id < $3 ORDER BY id DESC LIMIT $4"
        ),
        args![
            filter.state.map_or("", MessageState::as_str),
            pattern.unwrap_or_default(),
            filter.before.unwrap_or(MessageId::from_uuid(uuid::Uuid::max())),
            limit
        ],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// Rows after `after`, oldest first: for reading the whole ledger in pieces.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_after(db: &Db, after: Option<MessageId>, limit: u32) -> Result<Vec<Message>, DbError> {
    let after = after.unwrap_or(MessageId::from_uuid(uuid::Uuid::nil()));
    let stmt = Stmt::new(select!("WHERE id > $1 ORDER BY id LIMIT $2"), args![after, limit]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// Ids of messages held for `reason`, oldest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_held_for(db: &Db, reason: Reason) -> Result<Vec<MessageId>, DbError> {
    let stmt = Stmt::new(
        "SELECT id FROM messages WHERE state = 'held' AND reason = $1 ORDER BY id",
        args![reason.as_str()],
    );
    db.query(stmt).await?.into_iter().map(|row| row.columns().next()).collect()
}

/// How many messages stand in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StateCount {
    /// The state.
    pub state: MessageState,
    /// How many.
    pub count: i64,
}

/// Counts the ledger by state.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_state_counts(db: &Db) -> Result<Vec<StateCount>, DbError> {
    let stmt = Stmt::new("SELECT state, COUNT(*) FROM messages GROUP BY state ORDER BY state", args![]);
    let mut counts = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        counts.push(StateCount { state: parse(&c.next::<String>()?)?, count: c.next()? });
    }
    Ok(counts)
}

/// What lately came into a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lately {
    /// When we last heard of a mail.
    pub last_seen_at: Option<Timestamp>,
    /// How many mails came since a time.
    pub mails: i64,
    /// How many of them nobody announced.
    pub unannounced: i64,
}

/// What came into a folder since `since`, and when the last mail did.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_lately(db: &Db, folder: FolderId, since: Timestamp) -> Result<Lately, DbError> {
    let stmt = Stmt::new(
        "SELECT (SELECT MAX(seen_at) FROM messages WHERE folder_id = $1), COUNT(*), \
         COUNT(CASE WHEN announced_at IS NULL THEN 1 END) FROM messages WHERE folder_id = $1 AND seen_at >= $2",
        args![folder, since],
    );
    let Some(row) = db.query_opt(stmt).await? else { return Ok(Lately::default()) };
    let mut c = row.columns();
    Ok(Lately { last_seen_at: c.next()?, mails: c.next()?, unannounced: c.next()? })
}

/// Where a message's sealed bytes are, and how many they are.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_content(db: &Db, id: MessageId) -> Result<Option<(Content, u64)>, DbError> {
    let stmt = Stmt::new("SELECT sealed, blob_id, size FROM messages WHERE id = $1", args![id]);
    let rows = db.query(stmt).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut c = row.columns();
    let sealed: Option<Vec<u8>> = c.next()?;
    let blob: Option<BlobId> = c.next()?;
    let size: Option<i64> = c.next()?;
    let size = size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
    Ok(sealed.map(Content::Inline).or(blob.map(Content::Blob)).map(|content| (content, size)))
}

/// Messages of a conversation that bear a Message-ID.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_bearing(
    db: &Db,
    conversation: ConversationId,
    internet_message_id: &str,
) -> Result<Vec<MessageId>, DbError> {
    let stmt = Stmt::new(
        "SELECT id FROM messages WHERE conversation_id = $1 AND internet_message_id = $2 ORDER BY id",
        args![conversation, internet_message_id],
    );
    db.query(stmt).await?.into_iter().map(|row| row.columns().next()).collect()
}

/// Whether the mailbox has another message, arrived by then, that is not read yet.
///
/// # Errors
/// When the engine can't be reached.
pub async fn has_unread_before(
    db: &Db,
    mailbox: MailboxId,
    id: MessageId,
    arrived_at: Timestamp,
) -> Result<bool, DbError> {
    let stmt = Stmt::new(
        "SELECT 1 FROM messages WHERE mailbox_id = $1 AND id <> $2 AND state IN ('seen', 'stored') \
         AND COALESCE(received_at, seen_at) <= $3 LIMIT 1",
        args![mailbox, id, arrived_at],
    );
    Ok(!db.query(stmt).await?.is_empty())
}

/// Those of these immutable ids that the ledger counts as gone.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_gone(db: &Db, mailbox: MailboxId, graph_ids: &[&str]) -> Result<Vec<MessageId>, DbError> {
    let looked = graph_ids.iter().map(|graph_id| {
        db.query(Stmt::new(
            "SELECT id FROM messages WHERE mailbox_id = $1 AND graph_id = $2 AND state = 'gone'",
            args![mailbox, *graph_id],
        ))
    });
    let mut gone = Vec::new();
    for rows in futures_util::future::try_join_all(looked).await? {
        for row in rows {
            gone.push(row.columns().next()?);
        }
    }
    Ok(gone)
}

/// Ids of all blobs that a message names, to tell orphans from the rest.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_blob_ids(db: &Db) -> Result<BTreeSet<BlobId>, DbError> {
    let rows = db.query(Stmt::new("SELECT blob_id FROM messages WHERE blob_id IS NOT NULL", args![])).await?;
    rows.into_iter().map(|row| row.columns().next()).collect()
}

/// Conversations that hold a mail with this Message-ID, ours included, with the
/// addresses that take part in them.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_threads(
    db: &Db,
    internet_message_id: &str,
) -> Result<Vec<(ConversationId, BTreeSet<EmailAddress>)>, DbError> {
    let stmt = Stmt::new(
        "SELECT found.conversation_id, participants.address FROM \
         (SELECT conversation_id FROM messages WHERE internet_message_id = $1 AND conversation_id IS NOT NULL \
         UNION SELECT conversation_id FROM outgoing WHERE internet_message_id = $1) AS found \
         LEFT JOIN participants ON participants.conversation_id = found.conversation_id \
         ORDER BY found.conversation_id",
        args![internet_message_id],
    );
    let mut threads: Vec<(ConversationId, BTreeSet<EmailAddress>)> = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        let conversation: ConversationId = c.next()?;
        let address: Option<String> = c.next()?;
        if threads.last().is_none_or(|(last, _)| *last != conversation) {
            threads.push((conversation, BTreeSet::new()));
        }
        if let (Some((_, addresses)), Some(address)) = (threads.last_mut(), address) {
            addresses.insert(parse(&address)?);
        }
    }
    Ok(threads)
}
