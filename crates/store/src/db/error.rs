//! How the database can fail, in the terms of those who call it: whether
//! anything was written, and whether another try is worth it.

use std::{error::Error, sync::Arc};

use super::migrate::MigrationError;

/// What an engine said. Shared, because one failed commit answers many units.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a unit or a query failed. Unless it says [`DbError::Uncertain`], nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// An expectation did not hold: somebody else was faster.
    #[error("somebody else changed the row first; nothing was written")]
    Lost,
    /// A row with the same key exists.
    #[error("a row with the same key exists already ({constraint})")]
    Unique {
        /// What the engine calls the constraint: PostgreSQL its name, SQLite its columns.
        constraint: String,
    },
    /// The database can't be reached, or ended the connection before the commit.
    #[error("the database is not available; check that it runs and that its disk has room")]
    Unavailable(#[source] Cause),
    /// Another process holds a lock for longer than we wait.
    #[error("another process keeps the database locked")]
    Busy(#[source] Cause),
    /// The answer to the commit was lost: it may or may not have happened.
    #[error("the answer to a commit was lost; it may or may not have been carried out")]
    Uncertain(#[source] Cause),
    /// The store holds, or was asked for, something that its schema does not allow.
    #[error("the store does not hold what its schema promises: {detail}")]
    Inconsistent {
        /// What was found and what was expected. Never a stored value.
        detail: String,
    },
    /// The engine refused a statement: a constraint that is no key, or wrong SQL.
    #[error("the database refused the statement \"{sql}\"")]
    Refused {
        /// The statement.
        sql: &'static str,
        /// What the engine said, without stored values.
        #[source]
        cause: Cause,
    },
    /// The store's configuration can't work.
    #[error("the database can't be opened: {detail}")]
    Config {
        /// What is wrong and what to do.
        detail: String,
    },
    /// The schema can't be brought up to date.
    #[error(transparent)]
    Migration(#[from] MigrationError),
}

impl DbError {
    /// Whether the same call may succeed a little later, with nothing written so far.
    pub fn is_retryable(&self) -> bool {
        matches!(self, DbError::Unavailable(_) | DbError::Busy(_))
    }

    pub(crate) fn inconsistent(detail: impl Into<String>) -> Self {
        DbError::Inconsistent { detail: detail.into() }
    }

    pub(crate) fn unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        DbError::Unavailable(Arc::new(cause))
    }

    pub(crate) fn uncertain(cause: impl Error + Send + Sync + 'static) -> Self {
        DbError::Uncertain(Arc::new(cause))
    }
}

/// The handle was closed, or the thread behind it has ended.
#[derive(Debug, thiserror::Error)]
#[error("the store was closed")]
pub(crate) struct Closed;
