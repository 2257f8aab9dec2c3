//! Browser sessions. The cookie's token is stored only as a hash, so that a copy
//! of the store signs nobody in.

use postroom_model::{Timestamp, UserId};

use crate::{Db, DbError, Stmt, args};

/// Begins a session.
pub fn insert(token_hash: &[u8], user: UserId, now: Timestamp, expires_at: Timestamp) -> Stmt {
    Stmt::new(
        "INSERT INTO sessions (token_hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        args![token_hash, user, now, expires_at],
    )
}

/// Whose session this is, if it has not run out.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_user(db: &Db, token_hash: &[u8], now: Timestamp) -> Result<Option<UserId>, DbError> {
    let stmt = Stmt::new(
        "SELECT user_id FROM sessions WHERE token_hash = $1 AND expires_at > $2",
        args![token_hash, now],
    );
    db.query(stmt).await?.into_iter().next().map(|row| row.columns().next()).transpose()
}

/// Ends a session.
pub fn delete(token_hash: &[u8]) -> Stmt {
    Stmt::new("DELETE FROM sessions WHERE token_hash = $1", args![token_hash])
}

/// Ends every session of a person (after a password reset).
pub fn delete_all_of(user: UserId) -> Stmt {
    Stmt::new("DELETE FROM sessions WHERE user_id = $1", args![user])
}

/// Forgets sessions that have run out.
pub fn forget_expired(now: Timestamp) -> Stmt {
    Stmt::new("DELETE FROM sessions WHERE expires_at <= $1", args![now])
}
