//! What an error of PostgreSQL means to the caller.

use std::{error::Error as _, io, sync::Arc};

use deadpool_postgres::PoolError;
use tokio_postgres::{
    Error,
    error::{Severity, SqlState},
};

use super::super::{Cause, DbError};

/// What the server said, without its detail line, which quotes stored values.
#[derive(Debug, thiserror::Error)]
#[error("{severity} {code}: {message}")]
struct Answered {
    severity: String,
    code: String,
    message: String,
}

/// Another try may succeed, after a moment or at once.
const CONFLICTS: [SqlState; 2] = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];

pub(super) fn error_of(sql: &'static str, error: Error) -> DbError {
    let Some(answered) = error.as_db_error() else {
        let lost = error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>());
        let cause: Cause = Arc::new(error);
        return if lost { DbError::Unavailable(cause) } else { DbError::Refused { sql, cause } };
    };
    let code = answered.code();
    // Class 53: no disk, memory or connection left. A lock that was not had in time is held by a node that
    // vanished; it has been waited for.
    let out_of_service = code.code().starts_with("53")
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || matches!(answered.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    if *code == SqlState::UNIQUE_VIOLATION {
        DbError::Unique { constraint: answered.constraint().unwrap_or("unnamed").to_owned() }
    } else if CONFLICTS.contains(code) {
        DbError::Busy(cause_of(error))
    } else if out_of_service {
        DbError::Unavailable(cause_of(error))
    } else {
        DbError::Refused { sql, cause: cause_of(error) }
    }
}

pub(super) fn pool_error(error: PoolError) -> DbError {
    match error {
        PoolError::Backend(error) => DbError::Unavailable(cause_of(error)),
        other => DbError::unavailable(other),
    }
}

/// For what commits: without a plain answer nobody knows whether it did.
pub(super) fn answer_lost(error: DbError) -> DbError {
    match error {
        DbError::Unavailable(cause) => DbError::Uncertain(cause),
        other => other,
    }
}

fn cause_of(error: Error) -> Cause {
    match error.as_db_error() {
        None => Arc::new(error),
        Some(answered) => Arc::new(Answered {
            severity: answered.severity().to_owned(),
            code: answered.code().code().to_owned(),
            message: answered.message().to_owned(),
        }),
    }
}
