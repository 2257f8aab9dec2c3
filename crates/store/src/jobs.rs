//! Jobs: what is still to be done, committed with the state it follows from.
//!
//! A job stands in the table until the unit that carries out its last effect
//! deletes it. Who runs it holds a lease; a lease that runs out, or whose node is
//! dead, lets the job run again, so each job is idempotent. Jobs are claimed lane
//! by lane, never from one global order, so that a flooded lane slows no other.

use std::fmt;
use std::str::FromStr;

use postroom_model::{BadId, JobId, MailboxId, NodeId, Timestamp};

use crate::{Db, DbError, Row, Sql, Stmt, args, value::Value};

/// Where a job runs: one mailbox's lane, on the node that holds its lease, or
/// the common one, on any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Requests to Microsoft Graph about this mailbox.
    Mailbox(MailboxId),
    /// Work that needs no outside call.
    Work,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::Mailbox(id) => write!(f, "mailbox/{id}"),
            Lane::Work => f.write_str("work"),
        }
    }
}

impl FromStr for Lane {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        match text.strip_prefix("mailbox/") {
            Some(id) => id.parse().map(Lane::Mailbox),
            None if text == "work" => Ok(Lane::Work),
            None => Err(BadId { text: text.to_owned(), prefix: MailboxId::PREFIX }),
        }
    }
}

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Where it runs.
    pub lane: Lane,
    /// Which job it is.
    pub kind: &'static str,
    /// What makes it the same job as another: kind and subject.
    pub key: String,
    /// Ids only, as JSON; never mail text, addresses or secrets.
    pub payload: String,
    /// Lower runs first.
    pub priority: u32,
    /// Not before.
    pub run_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A job that was claimed.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Which job it is.
    pub kind: String,
    /// Its payload.
    pub payload: String,
    /// How often it was claimed, this time included; also fences its completion.
    pub attempts: u32,
    /// Lower runs first.
    pub priority: u32,
    /// When it was due.
    pub run_at: Timestamp,
}

/// Adds a job; one with the same key that still stands is left as it is.
pub fn insert(job: &NewJob) -> Stmt {
    Stmt::new(
        "INSERT INTO jobs (id, lane, kind, key, payload, priority, run_at, attempts, lease_until, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8) ON CONFLICT (key) DO NOTHING",
        columns(job),
    )
}

fn columns(job: &NewJob) -> Vec<Value> {
    args![
        job.id,
        job.lane.to_string(),
        job.kind,
        job.key.as_str(),
        job.payload.as_str(),
        job.priority,
        job.run_at,
        job.created_at
    ]
}

/// Adds a job, or makes one with the same key due that waits for a later time and that nobody runs.
pub fn insert_or_hasten(job: &NewJob) -> Stmt {
    Stmt::new(
        "INSERT INTO jobs (id, lane, kind, key, payload, priority, run_at, attempts, lease_until, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8) ON CONFLICT (key) DO UPDATE SET run_at = excluded.run_at \
         WHERE jobs.run_at > excluded.run_at AND jobs.lease_until <= excluded.run_at",
        columns(job),
    )
}

/// Claims up to `limit` due jobs of a lane for `node`, in order of priority and time.
///
/// # Errors
/// When the engine can't be reached.
pub async fn claim(
    db: &Db,
    lane: Lane,
    node: NodeId,
    now: Timestamp,
    lease_until: Timestamp,
    limit: u32,
) -> Result<Vec<Job>, DbError> {
    const CLAIM: Sql = Sql {
        sqlite: "UPDATE jobs SET lease_until = $1, node_id = $2, attempts = attempts + 1 WHERE id IN \
                 (SELECT id FROM jobs WHERE lane = $3 AND run_at <= $4 AND lease_until <= $4 \
                 ORDER BY priority, run_at, id LIMIT $5) \
                 RETURNING id, kind, payload, attempts, priority, run_at",
        // In a subquery the planner may choose at once for each row, and the limit would be no limit.
        // <https://www.postgresql.org/docs/current/sql-update.html>
        postgres: "WITH due AS MATERIALIZED \
                   (SELECT id FROM jobs WHERE lane = $3 AND run_at <= $4 AND lease_until <= $4 \
                   ORDER BY priority, run_at, id LIMIT $5 FOR UPDATE SKIP LOCKED) \
                   UPDATE jobs SET lease_until = $1, node_id = $2, attempts = attempts + 1 \
                   FROM due WHERE jobs.id = due.id \
                   RETURNING jobs.id, kind, payload, attempts, priority, run_at",
    };
    let unit = vec![Stmt::new(CLAIM, args![lease_until, node, lane.to_string(), now, limit])];
    let answers = db.apply(unit).await?;
    let mut jobs = Vec::new();
    for row in answers.into_iter().flat_map(|answer| answer.rows) {
        jobs.push(read(row)?);
    }
    jobs.sort_by_key(|job: &Job| (job.priority, job.run_at, job.id));
    Ok(jobs)
}

fn read(row: Row) -> Result<Job, DbError> {
    let mut c = row.columns();
    Ok(Job {
        id: c.next()?,
        kind: c.next()?,
        payload: c.next()?,
        attempts: c.next()?,
        priority: c.next()?,
        run_at: c.next()?,
    })
}

/// When the next job of a lane is due, if there is one that nobody runs.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_next_due(db: &Db, lane: Lane, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let stmt = Stmt::new(
        "SELECT MIN(run_at) FROM jobs WHERE lane = $1 AND lease_until <= $2",
        args![lane.to_string(), now],
    );
    match db.query(stmt).await?.into_iter().next() {
        Some(row) => row.columns().next(),
        None => Ok(None),
    }
}

/// Undoes a claim whose answer was lost, known by its end: nobody has begun what it took.
pub fn give_back(lane: Lane, node: NodeId, lease_until: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE jobs SET lease_until = 0, node_id = NULL, attempts = attempts - 1 \
         WHERE lane = $1 AND node_id = $2 AND lease_until = $3",
        args![lane.to_string(), node, lease_until],
    )
}

/// Makes the claim of a job longer that still runs. Without effect if it was claimed anew meanwhile.
pub fn renew(id: JobId, attempts: u32, lease_until: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE jobs SET lease_until = $3 WHERE id = $1 AND attempts = $2 AND node_id IS NOT NULL",
        args![id, attempts, lease_until],
    )
}

/// The job is done. Without effect if it was claimed anew meanwhile.
pub fn complete(job: &Job) -> Stmt {
    Stmt::new("DELETE FROM jobs WHERE id = $1 AND attempts = $2", args![job.id, job.attempts])
}

/// The job is to run again at `run_at`. `counts` says whether this try counts
/// towards *needs attention*: an outage or a throttled lane does not.
pub fn postpone(job: &Job, run_at: Timestamp, counts: bool, error: &str) -> Stmt {
    let attempts = if counts { job.attempts } else { job.attempts.saturating_sub(1) };
    Stmt::new(
        "UPDATE jobs SET run_at = $3, lease_until = 0, node_id = NULL, last_error = $4, attempts = $5 \
         WHERE id = $1 AND attempts = $2",
        args![job.id, job.attempts, run_at, error, attempts],
    )
}

/// Makes every job of a lane due that waits for a later time and that nobody runs.
pub fn hasten_lane(lane: Lane, now: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE jobs SET run_at = $2 WHERE lane = $1 AND run_at > $2 AND lease_until <= $2",
        args![lane.to_string(), now],
    )
}

/// Lets every leased job of `node` run again, at once.
pub fn release_all_of(node: NodeId) -> Stmt {
    Stmt::new("UPDATE jobs SET lease_until = 0, node_id = NULL WHERE node_id = $1", args![node])
}

/// Lets every job of a lane run again that an earlier run of it left behind: all of a mailbox's lane, of
/// which there is one; those of `node` in the common lane.
pub fn release_lane(lane: Lane, node: NodeId) -> Stmt {
    match lane {
        Lane::Mailbox(_) => Stmt::new(
            "UPDATE jobs SET lease_until = 0, node_id = NULL WHERE lane = $1 AND node_id IS NOT NULL",
            args![lane.to_string()],
        ),
        Lane::Work => Stmt::new(
            "UPDATE jobs SET lease_until = 0, node_id = NULL WHERE lane = $1 AND node_id = $2",
            args![lane.to_string(), node],
        ),
    }
}

/// Lets every job run again whose node has no living lease.
pub fn release_of_dead_nodes(now: Timestamp) -> Stmt {
    const RELEASE: Sql = Sql {
        sqlite: "UPDATE jobs SET lease_until = 0, node_id = NULL WHERE node_id IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM leases WHERE leases.node_id = jobs.node_id AND leases.until > $1)",
        // A node that vanished may have left rows locked; the others don't wait for them.
        postgres: "WITH left_behind AS MATERIALIZED (SELECT id FROM jobs WHERE node_id IS NOT NULL AND NOT EXISTS \
                   (SELECT 1 FROM leases WHERE leases.node_id = jobs.node_id AND leases.until > $1) \
                   FOR UPDATE SKIP LOCKED) \
                   UPDATE jobs SET lease_until = 0, node_id = NULL FROM left_behind WHERE jobs.id = left_behind.id",
    };
    Stmt::new(RELEASE, args![now])
}

/// How many jobs stand, by lane and kind, with the oldest due time: for status pages and tests.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_counts(db: &Db) -> Result<Vec<(String, String, i64)>, DbError> {
    let stmt =
        Stmt::new("SELECT lane, kind, COUNT(*) FROM jobs GROUP BY lane, kind ORDER BY lane, kind", args![]);
    let mut counts = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        counts.push((c.next()?, c.next()?, c.next()?));
    }
    Ok(counts)
}

/// How many jobs of a lane stand.
///
/// # Errors
/// When the engine can't be reached.
pub async fn count(db: &Db, lane: Lane) -> Result<i64, DbError> {
    let stmt = Stmt::new("SELECT COUNT(*) FROM jobs WHERE lane = $1", args![lane.to_string()]);
    match db.query(stmt).await?.into_iter().next() {
        Some(row) => row.columns().next(),
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{MIGRATIONS, on_both_engines};

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(NOW + second).unwrap()
    }

    fn node(number: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(number))
    }

    async fn add(db: &Db, lane: Lane, numbers: std::ops::Range<u128>) {
        let stmts = numbers.map(|number| {
            insert(&NewJob {
                id: JobId::from_uuid(Uuid::from_u128(number)),
                lane,
                kind: "process",
                key: format!("process/{number}"),
                payload: "{}".into(),
                priority: 1,
                run_at: at(0),
                created_at: at(0),
            })
        });
        db.apply(stmts.collect()).await.unwrap();
    }

    async fn claim_as(db: &Db, lane: Lane, number: u128, limit: u32) -> Vec<Job> {
        claim(db, lane, node(number), at(0), at(900), limit).await.unwrap()
    }

    on_both_engines! {
        async fn a_claim_takes_no_more_than_it_was_let_whatever_the_planner_thinks(db: Db) {
            db.migrate(MIGRATIONS).await.unwrap();
            add(&db, Lane::Work, 0..1).await;
            // The planner believes from now on that one job stands in the table.
            db.apply(vec![Stmt::new("ANALYZE jobs", args![])]).await.unwrap();
            add(&db, Lane::Work, 1..50).await;
            let mut taken = Vec::new();
            for _ in 0..13 {
                let claimed = claim_as(&db, Lane::Work, 1, 4).await;
                assert!(claimed.len() <= 4, "{} jobs for four places", claimed.len());
                taken.extend(claimed.into_iter().map(|job| job.id));
            }
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), 50);
        }

        async fn what_waits_is_brought_forward_and_what_runs_is_left_alone(db: Db) {
            db.migrate(MIGRATIONS).await.unwrap();
            add(&db, Lane::Work, 0..2).await;
            let [waits, runs] = &claim_as(&db, Lane::Work, 1, 2).await[..] else { panic!("two were added") };
            db.apply(vec![postpone(waits, at(3600), true, "trouble")]).await.unwrap();
            for (number, known) in [(8, waits), (9, runs)] {
                let again = NewJob {
                    id: JobId::from_uuid(Uuid::from_u128(number)),
                    lane: Lane::Work,
                    kind: "process",
                    key: format!("process/{}", known.id.uuid().as_u128()),
                    payload: "{}".into(),
                    priority: 1,
                    run_at: at(0),
                    created_at: at(0),
                };
                db.apply(vec![insert_or_hasten(&again)]).await.unwrap();
            }
            let claimed = claim_as(&db, Lane::Work, 1, 9).await;
            assert_eq!(claimed.iter().map(|job| (job.id, job.attempts)).collect::<Vec<_>>(), [(waits.id, 2)]);
        }

        async fn what_an_earlier_run_of_a_lane_left_behind_runs_again_and_nothing_else(db: Db) {
            db.migrate(MIGRATIONS).await.unwrap();
            let mailbox = Lane::Mailbox(MailboxId::from_uuid(Uuid::from_u128(7)));
            add(&db, Lane::Work, 0..2).await;
            add(&db, mailbox, 2..4).await;
            let (ours, theirs) = (claim_as(&db, Lane::Work, 1, 1).await, claim_as(&db, Lane::Work, 2, 1).await);
            assert_eq!((ours.len(), theirs.len(), claim_as(&db, mailbox, 2, 9).await.len()), (1, 1, 2));
            db.apply(vec![release_lane(Lane::Work, node(1))]).await.unwrap();
            let again: Vec<_> = claim_as(&db, Lane::Work, 1, 9).await.iter().map(|job| job.id).collect();
            assert_eq!(again, [ours[0].id]);
            db.apply(vec![release_lane(mailbox, node(1))]).await.unwrap();
            assert_eq!(claim_as(&db, mailbox, 1, 9).await.len(), 2);
        }
    }
}
