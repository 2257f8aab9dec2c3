//! SQL on two engines: units of statements that are committed together, and
//! queries beside them.
//!
//! Called by the noun modules, which own the statements. Keeps two rules: a unit
//! is durable when `apply` returns, or nothing of it is; and no transaction spans
//! an outside call, because a unit is complete before it is sent.

mod error;
mod fault;
mod migrate;
mod postgres;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use secrecy::SecretString;

use crate::value::Row;

pub use self::{
    error::{Cause, DbError},
    fault::{Fault, FaultHook, FaultPoint},
    migrate::{Migration, MigrationError},
    statement::{Answer, Sql, Stmt},
};

/// Which database, and how to reach it.
#[derive(Debug, Clone)]
pub enum DbConfig {
    /// The embedded one.
    Sqlite {
        /// The file; it is made if it is absent, its folder is not.
        path: PathBuf,
        /// Who executes the statements.
        mode: SqliteMode,
    },
    /// A server, for many nodes.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: SecretString,
        /// Most connections at a time, at least 1; one more listens.
        max_connections: usize,
        /// Certificates (PEM) that may vouch for the server. If given, the connection
        /// is encrypted and the server's name is verified; if not, it is in the clear,
        /// and a url with `sslmode=require` is refused.
        ca_file: Option<PathBuf>,
    },
}

/// Who executes the statements of an embedded database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteMode {
    /// One thread writes, with group commit; others read beside it.
    Threads {
        /// How many threads read, at least 1.
        readers: usize,
    },
    /// The caller, inside the call, without any thread: for virtual time. Survives the
    /// end of the process, not of the operating system (nothing is synced).
    Inline,
}

/// Which engine is behind a [`Db`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

/// An open database. Cheap to clone; the last clone's end closes it.
#[derive(Clone)]
pub struct Db(Arc<Backend>);

enum Backend {
    Threads(sqlite::Threads),
    Inline(sqlite::Inline),
    Postgres(postgres::Postgres),
}

impl Db {
    /// Opens the database. Does not look at its schema; see [`Db::migrate`].
    ///
    /// # Errors
    /// [`DbError::Config`] if it can't work as configured, [`DbError::Unavailable`] if it can't be reached.
    pub async fn open(config: &DbConfig) -> Result<Db, DbError> {
        let backend = match config {
            DbConfig::Sqlite { path, mode: SqliteMode::Threads { readers } } => {
                Backend::Threads(sqlite::Threads::open(path, *readers)?)
            }
            DbConfig::Sqlite { path, mode: SqliteMode::Inline } => {
                Backend::Inline(sqlite::Inline::open(path)?)
            }
            DbConfig::Postgres { url, max_connections, ca_file } => {
                Backend::Postgres(postgres::Postgres::open(url, *max_connections, ca_file.as_deref()).await?)
            }
        };
        Ok(Db(Arc::new(backend)))
    }

    /// Which engine this is.
    pub fn engine(&self) -> Engine {
        match *self.0 {
            Backend::Threads(_) | Backend::Inline(_) => Engine::Sqlite,
            Backend::Postgres(_) => Engine::Postgres,
        }
    }

    /// Whether other processes may write to the same database.
    pub fn is_shared(&self) -> bool {
        !matches!(*self.0, Backend::Inline(_))
    }

    /// Carries out the statements in order, in one durable transaction, all or none.
    /// Dropped before it answers, the unit happens completely or not at all.
    ///
    /// # Errors
    /// [`DbError::Lost`] if an expectation did not hold, [`DbError::Uncertain`] if the
    /// answer to the commit was lost; after every other error nothing was written.
    pub async fn apply(&self, unit: Vec<Stmt>) -> Result<Vec<Answer>, DbError> {
        if unit.is_empty() {
            return Ok(Vec::new());
        }
        match &*self.0 {
            Backend::Threads(threads) => threads.apply(unit).await,
            Backend::Inline(inline) => inline.apply(&unit),
            Backend::Postgres(postgres) => postgres.apply(&unit).await,
        }
    }

    /// Reads, beside the writer. Sees every unit that was answered before.
    ///
    /// # Errors
    /// When the engine can't be reached or refuses the statement.
    pub async fn query(&self, stmt: Stmt) -> Result<Vec<Row>, DbError> {
        match &*self.0 {
            Backend::Threads(threads) => threads.query(stmt).await,
            Backend::Inline(inline) => inline.query(&stmt),
            Backend::Postgres(postgres) => postgres.query(&stmt).await,
        }
    }

    /// Reads at most one row: the first, if there are more.
    ///
    /// # Errors
    /// As [`Db::query`].
    pub async fn query_opt(&self, stmt: Stmt) -> Result<Option<Row>, DbError> {
        Ok(self.query(stmt).await?.into_iter().next())
    }

    /// Brings the schema up to date in one transaction and says how many migrations it
    /// applied. Any number of nodes may do this at the same time.
    ///
    /// # Errors
    /// [`DbError::Migration`] if the schema is newer than `migrations`, or was made by other ones.
    pub async fn migrate(&self, migrations: &[Migration]) -> Result<u32, DbError> {
        match &*self.0 {
            Backend::Threads(threads) => threads.migrate(migrations).await,
            Backend::Inline(inline) => inline.migrate(migrations),
            Backend::Postgres(postgres) => postgres.migrate(migrations).await,
        }
    }

    /// Hears what other nodes say by `pg_notify` on `channel`, for as long as it is
    /// polled, over every loss of connection; what is said during one is not heard.
    /// On SQLite there is nobody to hear: returns at once.
    pub async fn listen(&self, channel: &str, hear: impl FnMut(&str) + Send) {
        if let Backend::Postgres(postgres) = &*self.0 {
            postgres.listen(channel, hear).await;
        }
    }

    /// Sets, or takes away, what decides on faults. Without effect except in
    /// [`SqliteMode::Inline`].
    pub fn set_fault(&self, hook: Option<FaultHook>) {
        if let Backend::Inline(inline) = &*self.0 {
            inline.set_fault(hook);
        }
    }

    /// Closes the database for all clones, once the work that was accepted is done.
    pub async fn close(&self) {
        match &*self.0 {
            Backend::Threads(threads) => threads.close().await,
            Backend::Inline(inline) => inline.close(),
            Backend::Postgres(postgres) => postgres.close(),
        }
    }
}
