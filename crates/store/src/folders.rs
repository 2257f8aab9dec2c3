//! Watched folders of mailboxes: how far their delta track has been followed, and
//! whether something was announced since.

use postroom_model::{FolderId, MailboxId, Timestamp};

use crate::{Db, DbError, Row, Stmt, args};

/// A watched folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Our id.
    pub id: FolderId,
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// The name under which it is declared (`inbox`).
    pub name: String,
    /// Its id in Microsoft Graph, once resolved.
    pub graph_id: Option<String>,
    /// Where the next delta round starts.
    pub delta_link: Option<String>,
    /// Where an unfinished round goes on.
    pub resume_link: Option<String>,
    /// When the first round was finished.
    pub crawled_at: Option<Timestamp>,
    /// How many mails the first round found that are older than `take_from`.
    pub older_count: i64,
    /// Since when something announced waits for a delta round.
    pub dirty_since: Option<Timestamp>,
    /// When Microsoft last announced something.
    pub last_notification_at: Option<Timestamp>,
    /// When a delta round last ended well.
    pub last_delta_at: Option<Timestamp>,
    /// When the sweep last ended well.
    pub last_sweep_at: Option<Timestamp>,
    /// Until when it is followed more closely, because announcements went missing.
    pub watched_until: Option<Timestamp>,
}

fn read(row: Row) -> Result<Folder, DbError> {
    let mut c = row.columns();
    Ok(Folder {
        id: c.next()?,
        mailbox: c.next()?,
        name: c.next()?,
        graph_id: c.next()?,
        delta_link: c.next()?,
        resume_link: c.next()?,
        crawled_at: c.next()?,
        older_count: c.next()?,
        dirty_since: c.next()?,
        last_notification_at: c.next()?,
        last_delta_at: c.next()?,
        last_sweep_at: c.next()?,
        watched_until: c.next()?,
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, mailbox_id, name, graph_id, delta_link, resume_link, crawled_at, older_count, \
             dirty_since, last_notification_at, last_delta_at, last_sweep_at, watched_until FROM folders ",
            $rest
        )
    };
}

/// One folder, if it is there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: FolderId) -> Result<Option<Folder>, DbError> {
    let rows = db.query(Stmt::new(select!("WHERE id = $1"), args![id])).await?;
    rows.into_iter().next().map(read).transpose()
}

/// The folders of all mailboxes.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list(db: &Db) -> Result<Vec<Folder>, DbError> {
    let stmt = Stmt::new(select!("ORDER BY mailbox_id, name"), args![]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// The folders of a mailbox.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_mailbox(db: &Db, mailbox: MailboxId) -> Result<Vec<Folder>, DbError> {
    let stmt = Stmt::new(select!("WHERE mailbox_id = $1 ORDER BY name"), args![mailbox]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// Keeps the folder's id in Microsoft Graph.
pub fn record_graph_id(id: FolderId, graph_id: &str) -> Stmt {
    Stmt::new("UPDATE folders SET graph_id = $2 WHERE id = $1", args![id, graph_id])
}

/// Something was announced: a delta round is due.
pub fn record_notified(id: FolderId, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE folders SET dirty_since = COALESCE(dirty_since, $2), last_notification_at = $2 WHERE id = $1",
        args![id, at],
    )
}

/// Something may have come that nobody announced: a delta round is due.
pub fn record_dirty(id: FolderId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE folders SET dirty_since = COALESCE(dirty_since, $2) WHERE id = $1", args![id, at])
}

/// One page of a round is in the ledger: the round goes on at `resume_link`. Lost
/// if another round moved the track meanwhile.
pub fn record_page(id: FolderId, from: Option<&str>, resume_link: &str, older: u32) -> Stmt {
    Stmt::new(
        "UPDATE folders SET resume_link = $3, older_count = older_count + $4 \
         WHERE id = $1 AND COALESCE(resume_link, delta_link, '') = $2",
        args![id, from.unwrap_or(""), resume_link, older],
    )
    .expect_one()
}

/// The round is over. What was announced before `started` is covered.
pub fn record_round(
    id: FolderId,
    from: Option<&str>,
    delta_link: &str,
    older: u32,
    started: Timestamp,
    at: Timestamp,
) -> Stmt {
    Stmt::new(
        "UPDATE folders SET delta_link = $3, resume_link = NULL, older_count = older_count + $4, \
         crawled_at = COALESCE(crawled_at, $6), last_delta_at = $6, \
         dirty_since = CASE WHEN dirty_since <= $5 THEN NULL ELSE dirty_since END \
         WHERE id = $1 AND COALESCE(resume_link, delta_link, '') = $2",
        args![id, from.unwrap_or(""), delta_link, older, started, at],
    )
    .expect_one()
}

/// Forgets the track: the next round starts from the beginning and reconciles.
pub fn forget_track(id: FolderId) -> Stmt {
    Stmt::new("UPDATE folders SET delta_link = NULL, resume_link = NULL WHERE id = $1", args![id])
}

/// The sweep over received dates ended well.
pub fn record_sweep(id: FolderId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE folders SET last_sweep_at = $2 WHERE id = $1", args![id, at])
}

/// Forgets the folder's id in Microsoft Graph: it is looked up by name again.
pub fn forget_graph_id(id: FolderId) -> Stmt {
    Stmt::new("UPDATE folders SET graph_id = NULL WHERE id = $1", args![id])
}

/// The folder is followed more closely until then.
pub fn record_watched(id: FolderId, until: Timestamp) -> Stmt {
    Stmt::new("UPDATE folders SET watched_until = $2 WHERE id = $1", args![id, until])
}

/// Every track of a mailbox is forgotten and every name looked up again: all its
/// folders are read from their beginning at once.
pub fn forget_tracks_of(mailbox: MailboxId, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE folders SET delta_link = NULL, resume_link = NULL, graph_id = NULL, last_sweep_at = NULL, \
         dirty_since = COALESCE(dirty_since, $2), last_delta_at = NULL WHERE mailbox_id = $1",
        args![mailbox, at],
    )
}
