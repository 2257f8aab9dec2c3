//! SQLite: opening a file, executing statements, committing units, and what its
//! errors mean. `threads` and `inline` decide who does this and when.

mod inline;
mod threads;

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi, types::ValueRef};

use crate::value::{Row, Value};

pub(super) use self::{inline::Inline, threads::Threads};
use super::{
    Answer, DbError, Engine, Migration, Stmt,
    migrate::{ENSURE_TABLE, list_applied, pending},
};

/// How long to wait for another process, such as a command beside the server, to end its commit.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are different statements, so that each is parsed once.
const CACHED_STATEMENTS: usize = 512;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
    /// Reads and writes, and leaves it to the operating system when to sync.
    WriteUnsynced,
}

fn connect(path: &Path, purpose: Use) -> Result<Connection, DbError> {
    let access = match purpose {
        Use::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Use::Write | Use::WriteUnsynced => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let open = || {
        let conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        if purpose != Use::Read {
            conn.pragma_update(None, "journal_mode", "wal")?;
            let synchronous = if purpose == Use::Write { "full" } else { "off" };
            conn.pragma_update(None, "synchronous", synchronous)?;
            conn.pragma_update(None, "foreign_keys", true)?;
        }
        Ok(conn)
    };
    open().map_err(|error| error_of("opening the file", error))
}

/// Executes a statement.
fn run(conn: &Connection, stmt: &Stmt) -> Result<Answer, DbError> {
    let sql = stmt.sql.text(Engine::Sqlite);
    let fails = |error| error_of(sql, error);
    let mut prepared = conn.prepare_cached(sql).map_err(fails)?;
    // The same check as PostgreSQL's, so that a slip shows on either engine.
    if prepared.parameter_count() != stmt.args.len() {
        return Err(DbError::inconsistent(format!("wrong number of arguments for \"{sql}\"")));
    }
    for place in 1..=stmt.args.len() {
        let number = prepared.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse().ok());
        let value = number.and_then(|number: usize| stmt.args.get(number.checked_sub(1)?));
        let value =
            value.ok_or_else(|| DbError::inconsistent(format!("no argument {place} for \"{sql}\"")))?;
        prepared.raw_bind_parameter(place, value).map_err(fails)?;
    }
    let columns = prepared.column_count();
    if columns == 0 {
        let affected = prepared.raw_execute().map_err(fails)?;
        return Ok(Answer { rows: Vec::new(), affected: affected as u64 });
    }
    let mut rows = Vec::new();
    let mut found = prepared.raw_query();
    while let Some(row) = found.next().map_err(fails)? {
        let values = (0..columns).map(|column| value_of(row.get_ref(column).map_err(fails)?));
        rows.push(Row::new(values.collect::<Result<_, DbError>>()?));
    }
    Ok(Answer { affected: rows.len() as u64, rows })
}

fn value_of(value: ValueRef<'_>) -> Result<Value, DbError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(_) => return Err(DbError::inconsistent("a fraction where whole numbers are kept")),
        ValueRef::Text(text) => Value::Text(
            std::str::from_utf8(text)
                .map_err(|_| DbError::inconsistent("a text that is not UTF-8"))?
                .to_owned(),
        ),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

/// Executes a statement that must not write.
fn read(conn: &Connection, stmt: &Stmt) -> Result<Vec<Row>, DbError> {
    let sql = stmt.sql.text(Engine::Sqlite);
    if !conn.prepare_cached(sql).map_err(|error| error_of(sql, error))?.readonly() {
        return Err(DbError::inconsistent(format!("a query that writes: \"{sql}\"")));
    }
    Ok(run(conn, stmt)?.rows)
}

/// Executes a unit's statements and checks what they expect.
fn run_unit(conn: &Connection, unit: &[Stmt]) -> Result<Vec<Answer>, DbError> {
    unit.iter()
        .map(|stmt| {
            let answer = run(conn, stmt)?;
            stmt.check(&answer)?;
            Ok(answer)
        })
        .collect()
}

/// Executes one of the words that frame a transaction.
fn control(conn: &Connection, word: &'static str) -> Result<(), DbError> {
    let execute = || conn.prepare_cached(word)?.raw_execute();
    execute().map(|_| ()).map_err(|error| error_of(word, error))
}

/// Waits for the right to write, so that no statement of the unit can fail for want of it.
fn begin(conn: &Connection) -> Result<(), DbError> {
    control(conn, "BEGIN IMMEDIATE")
}

/// Commits; after an error the transaction is over as well.
fn commit(conn: &Connection) -> Result<(), DbError> {
    let execute = || conn.prepare_cached("COMMIT")?.raw_execute();
    execute().map(|_| ()).map_err(|error| {
        roll_back(conn);
        match error.sqlite_error_code() {
            // The frames may have reached the disk before its sync failed.
            Some(ErrorCode::SystemIoFailure) => DbError::uncertain(error),
            _ => error_of("COMMIT", error),
        }
    })
}

fn roll_back(conn: &Connection) {
    // After some errors (a full disk) SQLite has rolled back by itself.
    if !conn.is_autocommit()
        && let Err(error) = control(conn, "ROLLBACK")
    {
        tracing::error!(error = &error as &dyn std::error::Error, "Rolling back a transaction failed");
    }
}

/// Applies what is pending, all in one transaction.
fn migrate(conn: &Connection, migrations: &[Migration]) -> Result<u32, DbError> {
    begin(conn)?;
    let apply = || {
        control(conn, ENSURE_TABLE)?;
        let pending = pending(migrations, run(conn, &list_applied())?.rows)?;
        for migration in pending {
            let text = migration.render(Engine::Sqlite)?;
            conn.execute_batch(&text).map_err(|error| migration.failed(error))?;
            run(conn, &migration.record())?;
        }
        commit(conn)?;
        Ok(u32::try_from(pending.len()).unwrap_or(u32::MAX))
    };
    apply().inspect_err(|_| roll_back(conn))
}

/// What an error of SQLite means to the caller. Its texts name columns and never values.
fn error_of(sql: &'static str, error: rusqlite::Error) -> DbError {
    let rusqlite::Error::SqliteFailure(failure, text) = &error else {
        return DbError::Refused { sql, cause: Arc::new(error) };
    };
    match (failure.code, failure.extended_code) {
        (
            _,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID,
        ) => {
            let text = text.as_deref().unwrap_or_default();
            let constraint = text.strip_prefix("UNIQUE constraint failed: ").unwrap_or(text).to_owned();
            DbError::Unique { constraint }
        }
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => DbError::Busy(Arc::new(error)),
        (
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed,
            _,
        ) => DbError::unavailable(error),
        _ => DbError::Refused { sql, cause: Arc::new(error) },
    }
}
