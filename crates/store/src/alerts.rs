//! Which alerts were told already.

use std::collections::BTreeMap;

use postroom_model::Timestamp;

use crate::{Db, DbError, Row, Stmt, args};

/// Notes that an alert is told by whoever commits this; a lost race means that somebody else told it.
pub fn record_told(key: &str, at: Timestamp) -> Stmt {
    Stmt::new("INSERT INTO alerts_told (key, at) VALUES ($1, $2)", args![key, at])
}

/// The alert still stands.
pub fn record_standing(key: &str, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE alerts_told SET at = $2 WHERE key = $1", args![key, at])
}

/// The alert is over, or could not be told: it is told again when it comes again.
pub fn forget_told(key: &str) -> Stmt {
    Stmt::new("DELETE FROM alerts_told WHERE key = $1", args![key])
}

/// The keys of all that were told and are not over, and when each stood last.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_told(db: &Db) -> Result<BTreeMap<String, Timestamp>, DbError> {
    let rows = db.query(Stmt::new("SELECT key, at FROM alerts_told", args![])).await?;
    let read = |row: Row| {
        let mut c = row.columns();
        Ok((c.next()?, c.next()?))
    };
    rows.into_iter().map(read).collect()
}
