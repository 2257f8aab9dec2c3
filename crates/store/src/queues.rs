//! Queues: who serves them, with which wrap-up codes, and how they stand now.

use postroom_model::{QueueId, Timestamp};

use crate::{Db, DbError, Row, Stmt, args};

/// A queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its id.
    pub id: QueueId,
    /// Its name.
    pub name: String,
    /// How long an agent is alerted, in microseconds.
    pub alerting_timeout_us: i64,
}

fn read(row: Row) -> Result<Queue, DbError> {
    let mut c = row.columns();
    Ok(Queue { id: c.next()?, name: c.next()?, alerting_timeout_us: c.next()? })
}

/// All queues in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list(db: &Db) -> Result<Vec<Queue>, DbError> {
    let stmt = Stmt::new("SELECT id, name, alerting_timeout_us FROM queues ORDER BY position, name", args![]);
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// One queue, if it is there.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, id: QueueId) -> Result<Option<Queue>, DbError> {
    let stmt = Stmt::new("SELECT id, name, alerting_timeout_us FROM queues WHERE id = $1", args![id]);
    db.query(stmt).await?.into_iter().next().map(read).transpose()
}

/// The wrap-up codes of a queue, in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_wrap_up_codes(db: &Db, id: QueueId) -> Result<Vec<String>, DbError> {
    let stmt = Stmt::new("SELECT name FROM wrap_up_codes WHERE queue_id = $1 ORDER BY position", args![id]);
    db.query(stmt).await?.into_iter().map(|row| row.columns().next()).collect()
}

/// How a queue stands.
#[derive(Debug, Clone)]
pub struct QueueFigures {
    /// The queue.
    pub queue: Queue,
    /// Conversations that wait for an agent.
    pub waiting: i64,
    /// Arrival of the oldest that waits.
    pub oldest: Option<Timestamp>,
    /// Conversations being shown to an agent.
    pub alerting: i64,
    /// Conversations with an agent.
    pub connected: i64,
    /// Members who are on queue.
    pub on_queue: i64,
    /// Members in all.
    pub members: i64,
}

/// The figures of every queue, in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_figures(db: &Db) -> Result<Vec<QueueFigures>, DbError> {
    let stmt = Stmt::new(
        "SELECT q.id, q.name, q.alerting_timeout_us, \
         (SELECT COUNT(*) FROM conversations c WHERE c.queue_id = q.id AND c.state = 'waiting'), \
         (SELECT MIN(c.arrived_at) FROM conversations c WHERE c.queue_id = q.id AND c.state = 'waiting'), \
         (SELECT COUNT(*) FROM conversations c WHERE c.queue_id = q.id AND c.state = 'alerting'), \
         (SELECT COUNT(*) FROM conversations c WHERE c.queue_id = q.id AND c.state = 'connected'), \
         (SELECT COUNT(*) FROM queue_members m JOIN users u ON u.id = m.user_id \
          WHERE m.queue_id = q.id AND u.routing_status = 'on_queue'), \
         (SELECT COUNT(*) FROM queue_members m WHERE m.queue_id = q.id) \
         FROM queues q ORDER BY q.position, q.name",
        args![],
    );
    let mut figures = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        figures.push(QueueFigures {
            queue: Queue { id: c.next()?, name: c.next()?, alerting_timeout_us: c.next()? },
            waiting: c.next()?,
            oldest: c.next()?,
            alerting: c.next()?,
            connected: c.next()?,
            on_queue: c.next()?,
            members: c.next()?,
        });
    }
    Ok(figures)
}
