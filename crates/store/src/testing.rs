//! Databases for tests, on both engines.
//!
//! [`on_both_engines!`](crate::on_both_engines) makes two tests of each function:
//! one on a file of its own, one on a PostgreSQL database of its own, made on the
//! server that `POSTROOM_TEST_POSTGRES` names. Without it the test notes in the
//! file named by `POSTROOM_SKIPPED` that it did not run.

use std::{
    fs::OpenOptions,
    future::Future,
    io::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};

use secrecy::SecretString;
use url::Url;

use crate::{Db, DbConfig, SqliteMode, Stmt};

/// Makes `name::sqlite` and `name::postgres` of each `async fn name(db: Db) { … }`.
#[macro_export]
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: Db) $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                use super::*;

                async fn story($db: $crate::Db) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    $crate::testing::on_sqlite(story).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let name = concat!(module_path!(), "::postgres");
                    $crate::testing::on_postgres(name, story).await;
                }
            }
        )*
    };
}

/// Runs a test on an empty SQLite database in a temporary folder, with its threads.
pub async fn on_sqlite<F: Future<Output = ()>>(story: impl FnOnce(Db) -> F) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("postroom.db");
    let mode = SqliteMode::Threads { readers: 2 };
    let db = Db::open(&DbConfig::Sqlite { path, mode }).await.expect("an empty file can be opened");
    story(db.clone()).await;
    db.close().await;
}

/// Runs a test on an empty PostgreSQL database, or notes that there is no server.
pub async fn on_postgres<F: Future<Output = ()>>(name: &str, story: impl FnOnce(Db) -> F) {
    let Some(database) = PostgresDatabase::create().await else {
        skip(name, "POSTROOM_TEST_POSTGRES names no PostgreSQL server");
        return;
    };
    let db = Db::open(&database.config(8)).await.expect("the new database can be opened");
    story(db.clone()).await;
    db.close().await;
    database.drop().await;
}

/// A PostgreSQL database for one test. It stays if the test fails, for those who want to look.
pub struct PostgresDatabase {
    server: Db,
    name: String,
    url: Url,
}

impl PostgresDatabase {
    /// Makes an empty database on the server named by `POSTROOM_TEST_POSTGRES`, if it is set.
    pub async fn create() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut url = Url::parse(&environment("POSTROOM_TEST_POSTGRES")?)
            .expect("POSTROOM_TEST_POSTGRES is a url of the form postgres://user@host:port/database");
        let server = Db::open(&config(&url, 1)).await.expect("the server of POSTROOM_TEST_POSTGRES answers");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("postroom_test_{}_{number}", std::process::id());
        url.set_path(&name);
        // An earlier process of the same number may have failed and left its database behind.
        for sql in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")]
        {
            execute(&server, sql).await;
        }
        Some(Self { server, name, url })
    }

    /// How to open it.
    pub fn config(&self, max_connections: usize) -> DbConfig {
        config(&self.url, max_connections)
    }

    /// Drops it, with whatever is still connected.
    pub async fn drop(self) {
        execute(&self.server, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        self.server.close().await;
    }
}

fn config(url: &Url, max_connections: usize) -> DbConfig {
    DbConfig::Postgres { url: SecretString::from(url.as_str()), max_connections, ca_file: None }
}

async fn execute(server: &Db, sql: String) {
    // Statements are written out everywhere else, so their texts live as long as the program.
    let sql: &'static str = sql.leak();
    server.apply(vec![Stmt::new(sql, Vec::new())]).await.expect("the server makes and drops databases");
}

/// Notes that a test did not run, in the file named by `POSTROOM_SKIPPED`.
pub fn skip(name: &str, reason: &str) {
    let Some(path) = environment("POSTROOM_SKIPPED") else { return };
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).expect("POSTROOM_SKIPPED can be written");
    file.write_all(format!("{name}: {reason}\n").as_bytes()).expect("POSTROOM_SKIPPED can be written");
}

#[expect(clippy::disallowed_methods, reason = "tests take what they run on from the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
