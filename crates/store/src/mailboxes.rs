//! Connected mailboxes and how they are.

use postroom_model::{
    IntegrationId, MailboxId, Timestamp,
    mailbox::{AfterTaking, MailboxHealth, Opened},
};

use crate::{Db, DbError, Row, Stmt, args, parse};

/// A connected mailbox.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// Our id.
    pub id: MailboxId,
    /// The integration through which it is reached.
    pub integration: IntegrationId,
    /// Its address.
    pub address: String,
    /// Mails that arrived earlier are not taken; absent: from activation.
    pub take_from: Option<Timestamp>,
    /// What is done to a mail in the mailbox once it is stored.
    pub after_taking: AfterTaking,
    /// What becomes of a mail that a person opened before it was taken.
    pub opened: Opened,
    /// When it was first connected.
    pub activated_at: Option<Timestamp>,
    /// How it is.
    pub health: MailboxHealth,
    /// What is wrong, for people.
    pub health_detail: Option<String>,
    /// Since when it is so.
    pub health_at: Option<Timestamp>,
    /// Since when somebody paused it.
    pub paused_at: Option<Timestamp>,
    /// When somebody asked for everything to be looked at anew; nothing once it is under way.
    pub resync_asked_at: Option<Timestamp>,
}

impl Mailbox {
    /// The moment before which mails are not taken, once the mailbox is activated:
    /// a whole second, because Graph tells a mail's arrival in whole seconds.
    pub fn takes_from(&self) -> Option<Timestamp> {
        self.take_from.or(self.activated_at).map(|at| Timestamp::from_second(at.as_second()).unwrap_or(at))
    }

    /// Whether it waits for somebody to activate it.
    pub fn is_not_active_yet(&self) -> bool {
        self.activated_at.is_none() && self.paused_at.is_some()
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, integration_id, address, take_from, after_taking, opened, activated_at, health, \
             health_detail, health_at, paused_at, resync_asked_at FROM mailboxes ",
            $rest
        )
    };
}

fn read(row: Row) -> Result<Mailbox, DbError> {
    let mut c = row.columns();
    Ok(Mailbox {
        id: c.next()?,
        integration: c.next()?,
        address: c.next()?,
        take_from: c.next()?,
        after_taking: parse(&c.next::<String>()?)?,
        opened: parse(&c.next::<String>()?)?,
        activated_at: c.next()?,
        health: parse(&c.next::<String>()?)?,
        health_detail: c.next()?,
        health_at: c.next()?,
        paused_at: c.next()?,
        resync_asked_at: c.next()?,
    })
}

/// All mailboxes in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list(db: &Db) -> Result<Vec<Mailbox>, DbError> {
    let stmt = Stmt::new(select!("ORDER BY position, id"), args![]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// One mailbox, if it is there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: MailboxId) -> Result<Option<Mailbox>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE id = $1"), args![id])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// The moment of first connection, kept for ever.
pub fn record_activated(id: MailboxId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE mailboxes SET activated_at = $2 WHERE id = $1 AND activated_at IS NULL", args![id, at])
}

/// Writes the health, if it is another than before; lost otherwise, so that the
/// feed tells changes only.
pub fn record_health(id: MailboxId, health: MailboxHealth, detail: Option<&str>, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE mailboxes SET health = $2, health_detail = $3, health_at = $4 \
         WHERE id = $1 AND (health <> $2 OR COALESCE(health_detail, '') <> $5)",
        args![id, health.as_str(), detail, at, detail.unwrap_or("")],
    )
    .expect_one()
}

/// The mailbox is left alone from now on; lost if it is paused already.
pub fn record_paused(id: MailboxId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE mailboxes SET paused_at = $2 WHERE id = $1 AND paused_at IS NULL", args![id, at])
        .expect_one()
}

/// A mailbox that was just made is left alone until somebody activates it.
pub fn record_not_active_yet(address: &str, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE mailboxes SET paused_at = $2 WHERE address = $1 AND activated_at IS NULL",
        args![address, at],
    )
    .expect_one()
}

/// The mailbox is followed again; lost if it is not paused.
pub fn record_resumed(id: MailboxId) -> Stmt {
    Stmt::new("UPDATE mailboxes SET paused_at = NULL WHERE id = $1 AND paused_at IS NOT NULL", args![id])
        .expect_one()
}

/// Somebody asks for everything of the mailbox to be looked at anew.
pub fn record_resync_asked(id: MailboxId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE mailboxes SET resync_asked_at = $2 WHERE id = $1", args![id, at])
}

/// What was asked for at `asked` is under way; a later wish stands.
pub fn record_resync_begun(id: MailboxId, asked: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE mailboxes SET resync_asked_at = NULL WHERE id = $1 AND resync_asked_at = $2",
        args![id, asked],
    )
}
