//! Named leases: which node does what only one may do, with a number that grows
//! at each change of hands, and the heartbeat that keeps them.
//!
//! On SQLite one process serves a store, so leases of an earlier process are void
//! at start; on PostgreSQL they end with the node's heartbeat.

use std::collections::BTreeSet;

use postroom_model::{NodeId, Timestamp};

use crate::{Db, DbError, Stmt, args};

/// How the lease begins by which a node says that it lives; its id follows.
const OF_NODES: &str = "node/";

/// Takes the lease if it is free, run out, or ours already. Gives its fencing
/// number, or nothing if another node holds it.
///
/// # Errors
/// When the engine can't be reached.
pub async fn claim(
    db: &Db,
    name: &str,
    node: NodeId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<i64>, DbError> {
    let stmt = Stmt::new(
        "INSERT INTO leases (name, node_id, fence, until) VALUES ($1, $2, 1, $4) \
         ON CONFLICT (name) DO UPDATE SET node_id = $2, until = $4, \
         fence = CASE WHEN leases.node_id = $2 THEN leases.fence ELSE leases.fence + 1 END \
         WHERE leases.node_id = $2 OR leases.until <= $3 RETURNING fence",
        args![name, node, now, until],
    );
    let answers = db.apply(vec![stmt]).await?;
    match answers.into_iter().flat_map(|answer| answer.rows).next() {
        Some(row) => Ok(Some(row.columns().next()?)),
        None => Ok(None),
    }
}

/// Keeps every lease of `node` until `until`.
pub fn renew_all(node: NodeId, until: Timestamp) -> Stmt {
    Stmt::new("UPDATE leases SET until = $2 WHERE node_id = $1", args![node, until])
}

/// Gives back one lease.
pub fn release(name: &str, node: NodeId) -> Stmt {
    Stmt::new("DELETE FROM leases WHERE name = $1 AND node_id = $2", args![name, node])
}

/// The name of the lease by which a node says that it lives.
pub fn name_of_node(node: NodeId) -> String {
    format!("{OF_NODES}{node}")
}

/// Whether any node lives.
///
/// # Errors
/// When the engine can't be reached.
pub async fn has_living_node(db: &Db, now: Timestamp) -> Result<bool, DbError> {
    Ok(list_held(db, now).await?.iter().any(|name| name.starts_with(OF_NODES)))
}

/// Gives back every lease of `node`, at its orderly end.
pub fn release_all(node: NodeId) -> Stmt {
    Stmt::new("DELETE FROM leases WHERE node_id = $1", args![node])
}

/// Voids every lease: only for a store that one process at a time may serve.
pub fn void_all() -> [Stmt; 2] {
    [
        Stmt::new("DELETE FROM leases", args![]),
        Stmt::new("UPDATE jobs SET lease_until = 0, node_id = NULL WHERE node_id IS NOT NULL", args![]),
    ]
}

/// Names of the leases that `node` holds.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of(db: &Db, node: NodeId, now: Timestamp) -> Result<BTreeSet<String>, DbError> {
    let stmt = Stmt::new("SELECT name FROM leases WHERE node_id = $1 AND until > $2", args![node, now]);
    db.query(stmt).await?.into_iter().map(|row| row.columns().next()).collect()
}

/// Names of the leases that anybody holds.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_held(db: &Db, now: Timestamp) -> Result<Vec<String>, DbError> {
    let stmt = Stmt::new("SELECT name FROM leases WHERE until > $1 ORDER BY name", args![now]);
    db.query(stmt).await?.into_iter().map(|row| row.columns().next()).collect()
}
