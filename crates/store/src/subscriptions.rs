//! Change-notification subscriptions, as we keep them.
//!
//! The row, with its unguessable path and the hash of its client state, is
//! committed before Microsoft is asked: the handshake and the first notification
//! may come before the answer does. The client state itself is never stored.

use postroom_model::{FolderId, MailboxId, SubscriptionId, Timestamp};

use crate::{Db, DbError, Row, Stmt, args};

/// A subscription of one folder.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Our id.
    pub id: SubscriptionId,
    /// The folder.
    pub folder: FolderId,
    /// The folder's mailbox.
    pub mailbox: MailboxId,
    /// The last part of its notification URL.
    pub path: String,
    /// SHA-256 of its client state.
    pub client_state_hash: Vec<u8>,
    /// Its id in Microsoft Graph, once created.
    pub graph_id: Option<String>,
    /// When it ends unless renewed.
    pub expires_at: Option<Timestamp>,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When it was last created or renewed.
    pub renewed_at: Option<Timestamp>,
    /// The public address under which it was made, without a path.
    pub public_url: String,
    /// When Microsoft last said that it stands.
    pub checked_at: Option<Timestamp>,
    /// Since when Microsoft wants it renewed.
    pub due_at: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.folder_id, f.mailbox_id, s.path, s.client_state_hash, s.graph_id, s.expires_at, \
             s.created_at, s.renewed_at, s.public_url, s.checked_at, s.due_at \
             FROM subscriptions s JOIN folders f ON f.id = s.folder_id ",
            $rest
        )
    };
}

fn read(row: Row) -> Result<Subscription, DbError> {
    let mut c = row.columns();
    Ok(Subscription {
        id: c.next()?,
        folder: c.next()?,
        mailbox: c.next()?,
        path: c.next()?,
        client_state_hash: c.next()?,
        graph_id: c.next()?,
        expires_at: c.next()?,
        created_at: c.next()?,
        renewed_at: c.next()?,
        public_url: c.next()?,
        checked_at: c.next()?,
        due_at: c.next()?,
    })
}

/// The subscription whose notifications come to this path.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_by_path(db: &Db, path: &str) -> Result<Option<Subscription>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE s.path = $1"), args![path])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// The subscriptions of all folders, newest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list(db: &Db) -> Result<Vec<Subscription>, DbError> {
    let stmt = Stmt::new(select!("ORDER BY s.id DESC"), args![]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The subscriptions of a folder, newest first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_folder(db: &Db, folder: FolderId) -> Result<Vec<Subscription>, DbError> {
    let stmt = Stmt::new(select!("WHERE s.folder_id = $1 ORDER BY s.id DESC"), args![folder]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// A subscription that Microsoft is to be asked for.
#[derive(Debug, Clone)]
pub struct Prepared<'a> {
    /// Our id.
    pub id: SubscriptionId,
    /// The folder.
    pub folder: FolderId,
    /// The last part of its notification URL.
    pub path: &'a str,
    /// SHA-256 of its client state.
    pub client_state_hash: &'a [u8],
    /// The public address under which it is made, without a path.
    pub public_url: &'a str,
}

/// Prepares a subscription, before Microsoft is asked for it.
pub fn insert(prepared: &Prepared<'_>, at: Timestamp) -> Stmt {
    let Prepared { id, folder, path, client_state_hash, public_url } = *prepared;
    Stmt::new(
        "INSERT INTO subscriptions (id, folder_id, path, client_state_hash, public_url, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![id, folder, path, client_state_hash, public_url, at],
    )
}

/// Microsoft made it, or renewed it.
pub fn record_granted(id: SubscriptionId, graph_id: &str, expires_at: Timestamp, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE subscriptions SET graph_id = $2, expires_at = $3, renewed_at = $4, checked_at = $4, \
         due_at = NULL WHERE id = $1",
        args![id, graph_id, expires_at, at],
    )
}

/// Microsoft said that it stands, and until when.
pub fn record_checked(id: SubscriptionId, expires_at: Timestamp, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE subscriptions SET expires_at = $2, checked_at = $3 WHERE id = $1",
        args![id, expires_at, at],
    )
}

/// Forgets a subscription; its path answers to nobody from now on.
pub fn delete(id: SubscriptionId) -> Stmt {
    Stmt::new("DELETE FROM subscriptions WHERE id = $1", args![id])
}

/// Microsoft said something about it that a renewal answers: it is due at once.
pub fn record_due(id: SubscriptionId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE subscriptions SET due_at = $2 WHERE id = $1", args![id, at])
}

/// The folder is another one now, whatever its name: what was made for the former has ended.
pub fn record_ended(folder: FolderId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE subscriptions SET expires_at = $2 WHERE folder_id = $1", args![folder, at])
}

/// Every subscription of a mailbox is to be made anew.
pub fn record_all_ended(mailbox: MailboxId, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE subscriptions SET expires_at = $2 WHERE folder_id IN (SELECT id FROM folders WHERE mailbox_id = $1)",
        args![mailbox, at],
    )
}
