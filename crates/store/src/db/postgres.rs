//! PostgreSQL: a pool of connections, and units sent without waiting in between.
//!
//! Keeps the rule that nobody inherits an open transaction: a connection goes back
//! to the pool only after its transaction has ended; dropped before, it is closed.

mod connect;
mod error;
mod listen;

use std::{iter, ops::Deref, path::Path};

use deadpool_postgres::{ClientWrapper, Object, Pool};
use futures_util::{FutureExt, future::join_all};
use secrecy::SecretString;
use tokio_postgres::{
    Statement,
    types::{ToSql, Type},
};
use uuid::Uuid;

use self::{
    connect::Server,
    error::{answer_lost, error_of, pool_error},
};
use super::{
    Answer, DbError, Engine, Migration, Stmt,
    migrate::{ENSURE_TABLE, list_applied, pending},
};
use crate::value::{Row, Value};

/// How often a unit is tried that met a deadlock or a serialization failure.
const TRIES: u32 = 4;

/// Names the lock under which one node at a time migrates: any number that no other program uses.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"postroom");

/// A server and the connections to it.
pub(crate) struct Postgres {
    server: Server,
    pool: Pool,
}

impl Postgres {
    pub(crate) async fn open(
        url: &SecretString,
        max_connections: usize,
        ca_file: Option<&Path>,
    ) -> Result<Self, DbError> {
        let server = Server::new(url, ca_file)?;
        let pool = server.pool(max_connections)?;
        // Shows a wrong address or password now and not with the first mail.
        drop(pool.get().await.map_err(pool_error)?);
        Ok(Self { server, pool })
    }

    pub(crate) async fn apply(&self, unit: &[Stmt]) -> Result<Vec<Answer>, DbError> {
        for _ in 1..TRIES {
            match self.try_apply(unit).await {
                Err(DbError::Busy(_)) => {}
                outcome => return outcome,
            }
        }
        self.try_apply(unit).await
    }

    async fn try_apply(&self, unit: &[Stmt]) -> Result<Vec<Answer>, DbError> {
        let client = self.pool.get().await.map_err(pool_error)?;
        let mut prepared = Vec::with_capacity(unit.len());
        for stmt in unit {
            prepared.push(prepare(&client, stmt).await?);
        }
        if let ([stmt], [statement]) = (unit, &*prepared)
            && stmt.expects_nothing()
        {
            // It commits by itself: without an answer nobody knows.
            return Ok(vec![run(&client, statement, stmt).await.map_err(answer_lost)?]);
        }
        let transaction = Transaction::over(client);
        match pipeline(&transaction, unit, &prepared).await {
            Ok(answers) => transaction.commit().await.map(|()| answers),
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn query(&self, stmt: &Stmt) -> Result<Vec<Row>, DbError> {
        let client = self.pool.get().await.map_err(pool_error)?;
        let statement = prepare(&client, stmt).await?;
        Ok(run(&client, &statement, stmt).await?.rows)
    }

    pub(crate) async fn migrate(&self, migrations: &[Migration]) -> Result<u32, DbError> {
        let transaction = Transaction::over(self.pool.get().await.map_err(pool_error)?);
        match migrate(&transaction, migrations).await {
            Ok(applied) => transaction.commit().await.map(|()| applied),
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn listen(&self, channel: &str, hear: impl FnMut(&str) + Send) {
        listen::listen(&self.server, channel, hear).await;
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A connection in a transaction. Dropped before the transaction has ended, it
/// leaves the pool and is closed, and the server rolls back.
struct Transaction(Option<Object>);

impl Transaction {
    fn over(client: Object) -> Self {
        Self(Some(client))
    }

    async fn commit(mut self) -> Result<(), DbError> {
        self.batch_execute("COMMIT").await.map_err(|error| answer_lost(error_of("COMMIT", error)))?;
        self.0.take();
        Ok(())
    }

    async fn roll_back(mut self) {
        if self.batch_execute("ROLLBACK").await.is_ok() {
            self.0.take();
        }
    }
}

impl Deref for Transaction {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.0.as_ref().expect("taken only by those who consume the transaction")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

/// Sends `BEGIN` and all statements before it waits for the first answer.
async fn pipeline(
    client: &ClientWrapper,
    unit: &[Stmt],
    prepared: &[Statement],
) -> Result<Vec<Answer>, DbError> {
    let begin = async {
        client.batch_execute("BEGIN").await.map_err(|error| error_of("BEGIN", error))?;
        Ok(Answer::default())
    };
    let statements = unit.iter().zip(prepared).map(|(stmt, statement)| run(client, statement, stmt).boxed());
    // `join_all` polls in order, and a first poll sends.
    let mut outcomes = join_all(iter::once(begin.boxed()).chain(statements)).await.into_iter();
    outcomes.next().transpose()?;
    let mut answers = Vec::with_capacity(unit.len());
    for (stmt, outcome) in unit.iter().zip(outcomes) {
        // In order, because what follows an error only says that there was one.
        let answer = outcome?;
        stmt.check(&answer)?;
        answers.push(answer);
    }
    Ok(answers)
}

async fn prepare(client: &ClientWrapper, stmt: &Stmt) -> Result<Statement, DbError> {
    let sql = stmt.sql.text(Engine::Postgres);
    client.prepare_cached(sql).await.map_err(|error| error_of(sql, error))
}

async fn run(client: &ClientWrapper, statement: &Statement, stmt: &Stmt) -> Result<Answer, DbError> {
    let sql = stmt.sql.text(Engine::Postgres);
    let args: Vec<&(dyn ToSql + Sync)> = stmt.args.iter().map(|value| value as _).collect();
    if statement.columns().is_empty() {
        let affected = client.execute(statement, &args).await.map_err(|error| error_of(sql, error))?;
        return Ok(Answer { rows: Vec::new(), affected });
    }
    let rows = client.query(statement, &args).await.map_err(|error| error_of(sql, error))?;
    let rows = rows.iter().map(|row| read_row(sql, row)).collect::<Result<Vec<_>, _>>()?;
    Ok(Answer { affected: rows.len() as u64, rows })
}

fn read_row(sql: &'static str, row: &tokio_postgres::Row) -> Result<Row, DbError> {
    let read = |column: usize| -> Result<Value, tokio_postgres::Error> {
        Ok(match *row.columns()[column].type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(Value::Int),
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(|number| Value::Int(number.into())),
            Type::BOOL => row.try_get::<_, Option<bool>>(column)?.map(Value::from),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(column)?.map(Value::Blob),
            Type::UUID => row.try_get::<_, Option<Uuid>>(column)?.map(Value::Uuid),
            // What a function gives that is called for its effect.
            Type::VOID => None,
            // Everything that is no text is refused by the driver, with its type.
            _ => row.try_get::<_, Option<String>>(column)?.map(Value::Text),
        }
        .unwrap_or(Value::Null))
    };
    let values: Result<Vec<_>, _> = (0..row.len()).map(read).collect();
    values.map(Row::new).map_err(|error| error_of(sql, error))
}

async fn migrate(client: &ClientWrapper, migrations: &[Migration]) -> Result<u32, DbError> {
    let execute = async |sql| client.batch_execute(sql).await.map_err(|error| error_of(sql, error));
    execute("BEGIN").await?;
    // Another node may be at it, for as long as that takes.
    execute("SET LOCAL lock_timeout = 0").await?;
    let lock = Stmt::new("SELECT pg_advisory_xact_lock($1)", vec![MIGRATION_LOCK.into()]);
    run(client, &prepare(client, &lock).await?, &lock).await?;
    execute(ENSURE_TABLE).await?;
    let applied = list_applied();
    let applied = run(client, &prepare(client, &applied).await?, &applied).await?.rows;
    let pending = pending(migrations, applied)?;
    for migration in pending {
        let text = migration.render(Engine::Postgres)?;
        client.batch_execute(&text).await.map_err(|error| migration.failed(error))?;
        let record = migration.record();
        run(client, &prepare(client, &record).await?, &record).await?;
    }
    Ok(u32::try_from(pending.len()).unwrap_or(u32::MAX))
}
