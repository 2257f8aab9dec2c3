//! Everything durable: SQL on two engines, sealed content, jobs, leases, the
//! change feed.
//!
//! One module for each noun; SQL stands only here, written out beside the row it
//! fills. A write is a [`Unit`]: statements that are committed together or not at
//! all. Guards stand in the statements themselves (`expect_one`): a lost race
//! rolls the unit back and comes out as [`DbError::Lost`].
//!
//! Knows nothing of HTTP or Microsoft Graph.

pub mod alerts;
pub mod blobs;
pub mod content;
pub mod conversations;
pub mod credentials;
pub mod db;
pub mod feed;
pub mod folders;
pub mod integrations;
pub mod jobs;
pub mod leases;
pub mod mailboxes;
pub mod messages;
pub mod offers;
pub mod organization;
pub mod outgoing;
pub mod queues;
pub mod routes;
pub mod seal;
pub mod sessions;
pub mod settings;
pub mod signals;
pub mod subscriptions;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod unit;
pub mod users;
mod value;

use postroom_model::Entropy;

pub use db::{Answer, Db, DbConfig, DbError, Engine, Sql, SqliteMode, Stmt};
pub use unit::Unit;
pub use value::{Columns, FromValue, Row, Value};

use crate::{blobs::Blobs, db::Migration, seal::Keys, signals::Signals};

/// The schema's history, oldest first.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "main_job", sql: include_str!("../migrations/0001_main_job.sql") },
    Migration { number: 2, name: "thread_heads", sql: include_str!("../migrations/0002_thread_heads.sql") },
    Migration { number: 3, name: "self_healing", sql: include_str!("../migrations/0003_self_healing.sql") },
    Migration { number: 4, name: "rebuilt", sql: include_str!("../migrations/0004_rebuilt.sql") },
    Migration { number: 5, name: "credentials", sql: include_str!("../migrations/0005_credentials.sql") },
    Migration { number: 6, name: "figures", sql: include_str!("../migrations/0006_figures.sql") },
    Migration { number: 7, name: "alerts", sql: include_str!("../migrations/0007_alerts.sql") },
    Migration { number: 8, name: "scope_probe", sql: include_str!("../migrations/0008_scope_probe.sql") },
    Migration { number: 9, name: "query_plans", sql: include_str!("../migrations/0009_query_plans.sql") },
    Migration { number: 10, name: "user_read", sql: include_str!("../migrations/0010_user_read.sql") },
];

/// The channel on which PostgreSQL tells other nodes what changed.
pub const CHANNEL: &str = "postroom";

/// The durable side of Postroom: tables, sealed objects, and the signals that
/// wake whoever waits for a change. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// The tables.
    pub db: Db,
    /// The large sealed objects.
    pub blobs: Blobs,
    /// The keys that seal.
    pub keys: Keys,
    /// Wakes local waiters after a commit.
    pub signals: Signals,
    /// Randomness for object keys.
    pub entropy: Entropy,
}

impl Store {
    /// Puts the parts together. The schema must be migrated ([`Db::migrate`] with [`MIGRATIONS`]).
    pub fn new(db: Db, blobs: Blobs, keys: Keys, entropy: Entropy) -> Self {
        Self { db, blobs, keys, signals: Signals::default(), entropy }
    }

    /// Commits the unit durably, then wakes those who wait for what it holds.
    ///
    /// # Errors
    /// [`DbError::Lost`] if a guard did not hold: nothing was written.
    /// [`DbError::Uncertain`] if the answer to the commit was lost.
    pub async fn commit(&self, unit: Unit) -> Result<Vec<Answer>, DbError> {
        let Unit { mut stmts, wakes } = unit;
        if self.db.engine() == Engine::Postgres {
            stmts.extend(wakes.iter().map(signals::notify));
        }
        let outcome = self.db.apply(stmts).await;
        // What may have been written may be waited for: who is woken for nothing looks and sleeps again.
        if matches!(outcome, Ok(_) | Err(DbError::Uncertain(_))) {
            for wake in &wakes {
                self.signals.signal(wake);
            }
        }
        outcome
    }

    /// Commits the unit unless a guard shows that somebody was faster.
    ///
    /// # Errors
    /// As [`Store::commit`], but a lost race is `Ok(false)`.
    pub async fn commit_guarded(&self, unit: Unit) -> Result<bool, DbError> {
        match self.commit(unit).await {
            Ok(_) => Ok(true),
            Err(DbError::Lost) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Reads a word of one of the model's enumerations, or one of its texts.
fn parse<T: std::str::FromStr>(text: &str) -> Result<T, DbError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| DbError::inconsistent(error.to_string()))
}
