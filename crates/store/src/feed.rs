//! The change feed: what changed, in order, so that screens stay live, nodes hear
//! of each other's work, and a running server notices what a command wrote.
//!
//! An entry names a topic and a subject and carries nothing else; who hears it
//! reads the present state. Entries are kept for an hour.

use postroom_model::Timestamp;

use crate::{Db, DbError, Sql, Stmt, args, parse};

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The organisation: integrations, mailboxes, routes, queues, users.
    Organization,
    /// A mailbox's health or work.
    Mailbox,
    /// A message of the ledger.
    Message,
    /// A conversation.
    Conversation,
    /// A queue's figures.
    Queue,
    /// A person's routing status, offers or conversations.
    User,
}

impl Topic {
    const ALL: [Topic; 6] =
        [Topic::Organization, Topic::Mailbox, Topic::Message, Topic::Conversation, Topic::Queue, Topic::User];

    /// The topic as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Topic::Organization => "organization",
            Topic::Mailbox => "mailbox",
            Topic::Message => "message",
            Topic::Conversation => "conversation",
            Topic::Queue => "queue",
            Topic::User => "user",
        }
    }
}

impl std::str::FromStr for Topic {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Topic::ALL
            .into_iter()
            .find(|topic| topic.as_str() == word)
            .ok_or_else(|| format!("\"{word}\" is not a topic of the change feed"))
    }
}

/// A place in the feed. On PostgreSQL entries are in the order of their transactions, which is not that of
/// their numbers; on SQLite there is one writer and the first part is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    xact: i64,
    seq: i64,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it stands in the feed.
    pub at: Position,
    /// What kind of thing changed.
    pub topic: Topic,
    /// The id of the thing.
    pub subject: String,
}

/// Adds an entry.
pub fn insert(at: Timestamp, topic: Topic, subject: &str) -> Stmt {
    Stmt::new("INSERT INTO feed (at, topic, subject) VALUES ($1, $2, $3)", args![at, topic.as_str(), subject])
}

/// Entries after a position, at most `limit`, in order. On PostgreSQL the entries of a transaction stay
/// hidden while an older one is still open, so that a reader who goes on from the last entry misses none.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_after(db: &Db, after: Position, limit: u32) -> Result<Vec<Change>, DbError> {
    const LIST: Sql = Sql {
        sqlite: "SELECT 0, seq, topic, subject FROM feed WHERE $1 = 0 AND seq > $2 ORDER BY seq LIMIT $3",
        postgres: "SELECT xact, seq, topic, subject FROM feed WHERE (xact, seq) > ($1, $2) \
                   AND xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint \
                   ORDER BY xact, seq LIMIT $3",
    };
    let mut changes = Vec::new();
    for row in db.query(Stmt::new(LIST, args![after.xact, after.seq, limit])).await? {
        let mut c = row.columns();
        changes.push(Change {
            at: Position { xact: c.next()?, seq: c.next()? },
            topic: parse(&c.next::<String>()?)?,
            subject: c.next()?,
        });
    }
    Ok(changes)
}

/// The position of the newest entry that [`list_after`] would show.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_last(db: &Db) -> Result<Position, DbError> {
    const LAST: Sql = Sql {
        sqlite: "SELECT 0, seq FROM feed ORDER BY seq DESC LIMIT 1",
        postgres: "SELECT xact, seq FROM feed \
                   WHERE xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint \
                   ORDER BY xact DESC, seq DESC LIMIT 1",
    };
    match db.query(Stmt::new(LAST, args![])).await?.into_iter().next() {
        Some(row) => {
            let mut c = row.columns();
            Ok(Position { xact: c.next()?, seq: c.next()? })
        }
        None => Ok(Position::default()),
    }
}

/// Forgets entries older than `before`.
pub fn forget(before: Timestamp) -> Stmt {
    Stmt::new("DELETE FROM feed WHERE at < $1", args![before])
}
