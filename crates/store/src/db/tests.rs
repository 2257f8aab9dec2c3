//! What both engines promise alike, and what each promises on its own.

mod inline;
mod postgres;

use std::{future::Future, pin::pin, task::Poll};

use futures_util::future::join_all;
use postroom_model::MessageId;
use uuid::Uuid;

use super::*;
use crate::{args, on_both_engines, value::Value};

/// A table for the stories below.
async fn make_things(db: &Db) {
    let sql = "CREATE TABLE things (name TEXT NOT NULL PRIMARY KEY, amount BIGINT NOT NULL)";
    db.apply(vec![Stmt::new(sql, args![])]).await.unwrap();
}

fn insert(name: impl Into<String>) -> Stmt {
    Stmt::new("INSERT INTO things (name, amount) VALUES ($1, 1)", args![name.into()])
}

fn add_to(name: &str) -> Stmt {
    Stmt::new("UPDATE things SET amount = amount + 1 WHERE name = $1", args![name])
}

async fn names(db: &Db) -> Vec<String> {
    let rows = db.query(Stmt::new("SELECT name FROM things ORDER BY name", args![])).await.unwrap();
    rows.into_iter().map(|row| row.columns().next().unwrap()).collect()
}

/// Polls at most so often, then drops the future.
async fn abandon_after(polls: u32, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if poll.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

on_both_engines! {
    async fn a_dropped_unit_leaves_nothing_to_the_next_user_of_its_connection(db: Db) {
        make_things(&db).await;
        for polls in 1..=60 {
            // It would be lost: were its transaction left open, the next commit would keep its row.
            abandon_after(polls, db.apply(vec![insert("abandoned"), add_to("absent").expect_one()])).await;
            db.apply(vec![insert(format!("{polls:02}")), add_to("absent")]).await.unwrap();
        }
        let expected: Vec<_> = (1..=60).map(|polls| format!("{polls:02}")).collect();
        assert_eq!(names(&db).await, expected);
    }

    async fn a_unit_happens_as_a_whole_or_not_at_all(db: Db) {
        make_things(&db).await;
        let answers = db.apply(vec![insert("a"), insert("b"), add_to("a")]).await.unwrap();
        assert_eq!(answers.iter().map(|answer| answer.affected).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(db.apply(vec![insert("c"), insert("a"), insert("d")]).await.is_err());
        assert_eq!(names(&db).await, ["a", "b"]);
        assert_eq!(db.apply(vec![]).await.unwrap(), []);
    }

    async fn an_expectation_that_does_not_hold_takes_the_unit_back(db: Db) {
        make_things(&db).await;
        db.apply(vec![insert("a"), insert("b")]).await.unwrap();
        let all = || Stmt::new("UPDATE things SET amount = 0", args![]);
        let select = |name: &str| Stmt::new("SELECT name FROM things WHERE name = $1", args![name]);
        for broken in [
            add_to("x").expect_one(),
            add_to("x").expect_some(),
            all().expect_one(),
            select("x").expect_some(),
        ] {
            let outcome = db.apply(vec![insert("c"), broken]).await;
            assert!(matches!(outcome, Err(DbError::Lost)), "{outcome:?}");
        }
        assert_eq!(names(&db).await, ["a", "b"]);
        for kept in [add_to("a").expect_one(), all().expect_some(), select("b").expect_one()] {
            db.apply(vec![kept]).await.unwrap();
        }
    }

    async fn units_at_the_same_time_fail_each_for_itself(db: Db) {
        make_things(&db).await;
        let units =
            [vec![insert("a"), insert("b")], vec![insert("c"), add_to("x").expect_one()], vec![insert("d")]];
        let outcomes = join_all(units.map(|unit| db.apply(unit))).await;
        assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(names(&db).await, ["a", "b", "d"]);
    }

    async fn a_row_that_exists_already_is_told(db: Db) {
        make_things(&db).await;
        db.apply(vec![insert("a")]).await.unwrap();
        let outcome = db.apply(vec![insert("a")]).await;
        assert!(
            matches!(&outcome, Err(DbError::Unique { constraint }) if constraint.contains("things")),
            "{outcome:?}"
        );
        let ignored = Stmt::new(
            "INSERT INTO things (name, amount) VALUES ($1, 1) ON CONFLICT (name) DO NOTHING",
            args!["a"],
        );
        let answers = db.apply(vec![ignored.clone()]).await.unwrap();
        assert_eq!(answers[0].affected, 0);
        assert!(matches!(db.apply(vec![ignored.expect_one()]).await, Err(DbError::Lost)));
    }

    async fn wrong_statements_are_refused_and_harm_nothing(db: Db) {
        make_things(&db).await;
        let wrong = [
            Stmt::new("INSERT INTO nowhere (name) VALUES ($1)", args!["a"]),
            Stmt::new("INSERT INTO things (name, amount) VALUES ($1, 1)", args![]),
            Stmt::new("INSERT INTO things (name, amount) VALUES ($1, 1)", args![None::<String>]),
        ];
        for stmt in wrong {
            let error = db.apply(vec![insert("b"), stmt]).await.unwrap_err();
            assert!(
                !error.is_retryable() && !matches!(error, DbError::Lost | DbError::Unique { .. }),
                "{error:?}"
            );
        }
        assert_eq!(names(&db).await, Vec::<String>::new());
    }

    async fn an_error_quotes_no_stored_value(db: Db) {
        let unit = vec![
            Stmt::new("CREATE TABLE owners (name TEXT NOT NULL PRIMARY KEY)", args![]),
            Stmt::new(
                "CREATE TABLE owned (owner TEXT NOT NULL REFERENCES owners (name), note TEXT NOT NULL)",
                args![],
            ),
        ];
        db.apply(unit).await.unwrap();
        for note in [Value::from("agent@contoso.example"), Value::Null] {
            let stmt = Stmt::new(
                "INSERT INTO owned (owner, note) VALUES ($1, $2)",
                vec!["who@contoso.example".into(), note],
            );
            let error = db.apply(vec![stmt]).await.unwrap_err();
            let shown = format!("{error:?} {error}");
            assert!(matches!(error, DbError::Refused { .. }) && !shown.contains("contoso"), "{shown}");
        }
    }

    async fn every_kind_of_value_comes_back(db: Db) {
        const CREATE: Sql = Sql {
            sqlite: "CREATE TABLE kinds (number INTEGER, text TEXT, bytes BLOB, id BLOB) STRICT",
            postgres: "CREATE TABLE kinds (number BIGINT, text TEXT, bytes BYTEA, id UUID)",
        };
        let id = MessageId::from_uuid(Uuid::from_u128(1 << 127 | 5));
        let rows = [
            args![i64::MIN, "", Vec::<u8>::new(), id],
            args![i64::MAX, "日本語 'quoted' $1 \u{1F4EE}", vec![0_u8, 255, 0], id],
            args![None::<i64>, None::<&str>, None::<Vec<u8>>, None::<MessageId>],
        ];
        db.apply(vec![Stmt::new(CREATE, args![])]).await.unwrap();
        for row in rows {
            db.apply(vec![Stmt::new("DELETE FROM kinds", args![])]).await.unwrap();
            let insert =
                Stmt::new("INSERT INTO kinds (number, text, bytes, id) VALUES ($1, $2, $3, $4)", row.clone());
            db.apply(vec![insert]).await.unwrap();
            let read =
                db.query_opt(Stmt::new("SELECT number, text, bytes, id FROM kinds", args![])).await.unwrap();
            let mut columns = read.unwrap().columns();
            assert_eq!(Value::from(columns.next::<Option<i64>>().unwrap()), row[0]);
            assert_eq!(Value::from(columns.next::<Option<String>>().unwrap()), row[1]);
            assert_eq!(Value::from(columns.next::<Option<Vec<u8>>>().unwrap()), row[2]);
            assert_eq!(Value::from(columns.next::<Option<MessageId>>().unwrap()), row[3]);
        }
        let found = db
            .query_opt(Stmt::new("SELECT EXISTS (SELECT 1 FROM kinds), COUNT(*), 7 FROM kinds", args![]))
            .await;
        let mut columns = found.unwrap().unwrap().columns();
        assert!(columns.next::<bool>().unwrap());
        assert_eq!((columns.next::<i64>().unwrap(), columns.next::<u32>().unwrap()), (1, 7));
        let fraction = db.query_opt(Stmt::new("SELECT 1.5 * COUNT(*) FROM kinds", args![])).await;
        assert!(fraction.is_err());
    }

    async fn what_is_returned_is_answered_and_arguments_may_repeat(db: Db) {
        make_things(&db).await;
        let sql = "INSERT INTO things (name, amount) VALUES ($2, $1), ($3, $1) RETURNING amount, name";
        let mut answers = db.apply(vec![Stmt::new(sql, args![9_u32, "b", "a"])]).await.unwrap();
        let answer = answers.remove(0);
        assert_eq!((answer.affected, answer.rows.len()), (2, 2));
        let mut columns = answer.rows[0].clone().columns();
        assert_eq!((columns.next::<i64>().unwrap(), columns.next::<String>().unwrap()), (9, "b".to_owned()));
    }

    async fn statements_of_a_unit_are_carried_out_in_order(db: Db) {
        make_things(&db).await;
        let mut unit = vec![insert("a")];
        unit.extend((0..300_i64).map(|step| {
            let sql = "UPDATE things SET amount = amount + 1 WHERE name = 'a' AND amount = $1";
            Stmt::new(sql, args![step + 1]).expect_one()
        }));
        db.apply(unit).await.unwrap();
        let row = db.query_opt(Stmt::new("SELECT amount FROM things", args![])).await.unwrap();
        assert_eq!(row.unwrap().columns().next::<i64>().unwrap(), 301);
    }

    async fn thirty_two_callers_commit_beside_each_other(db: Db) {
        make_things(&db).await;
        db.apply(vec![insert("sum")]).await.unwrap();
        let caller = |caller: u32| {
            let db = db.clone();
            async move {
                for step in 0..10_u32 {
                    db.apply(vec![insert(format!("{caller}/{step}")), add_to("sum").expect_one()])
                        .await
                        .unwrap();
                    let own =
                        Stmt::new("SELECT 1 FROM things WHERE name = $1", args![format!("{caller}/{step}")]);
                    assert_eq!(db.query(own).await.unwrap().len(), 1, "an answered unit is visible");
                }
            }
        };
        join_all((0..32).map(caller)).await;
        let row = db.query_opt(Stmt::new(
            "SELECT amount, (SELECT COUNT(*) FROM things) FROM things WHERE name = 'sum'",
            args![],
        ));
        let mut columns = row.await.unwrap().unwrap().columns();
        assert_eq!((columns.next::<i64>().unwrap(), columns.next::<i64>().unwrap()), (321, 321));
    }

    async fn one_of_many_nodes_migrates(db: Db) {
        let applied = join_all((0..4).map(|_| db.migrate(&HISTORY))).await;
        assert_eq!(applied.into_iter().map(Result::unwrap).sum::<u32>(), 2);
        assert_eq!(db.migrate(&HISTORY).await.unwrap(), 0);
        db.apply(vec![Stmt::new(
            "INSERT INTO grown (id, at) VALUES ($1, 1), ($2, 2)",
            args![Uuid::max(), Uuid::nil()],
        )])
        .await
        .unwrap();
        let rows = db.query(Stmt::new("SELECT seq FROM grown ORDER BY seq", args![])).await.unwrap();
        let seqs: Vec<i64> = rows.into_iter().map(|row| row.columns().next().unwrap()).collect();
        assert_eq!(seqs, [1, 2]);
    }

    async fn another_history_is_refused(db: Db) {
        db.migrate(&HISTORY).await.unwrap();
        let outcome = db.migrate(&HISTORY[..1]).await;
        assert!(
            matches!(outcome, Err(DbError::Migration(MigrationError::Newer { found: 2, known: 1 }))),
            "{outcome:?}"
        );
        let mut changed = HISTORY;
        changed[1].sql = "CREATE TABLE other (id {uuid}) {strict};";
        let outcome = db.migrate(&changed).await;
        assert!(
            matches!(outcome, Err(DbError::Migration(MigrationError::Changed { number: 2, .. }))),
            "{outcome:?}"
        );
    }

    async fn a_migration_that_fails_leaves_the_schema_as_it_was(db: Db) {
        let mut broken = HISTORY;
        broken[1].sql = "CREATE TABLE half (id {uuid}); CREATE TABLE nonsense;";
        let outcome = db.migrate(&broken).await;
        assert!(
            matches!(outcome, Err(DbError::Migration(MigrationError::Failed { number: 2, .. }))),
            "{outcome:?}"
        );
        broken[1].sql = "CREATE TABLE half (id {guid})";
        let outcome = db.migrate(&broken).await;
        assert!(matches!(outcome, Err(DbError::Migration(MigrationError::Word { .. }))), "{outcome:?}");
        assert_eq!(db.migrate(&HISTORY).await.unwrap(), 2);
    }

    async fn after_the_close_nothing_is_accepted(db: Db) {
        make_things(&db).await;
        let clone = db.clone();
        db.close().await;
        assert!(matches!(clone.apply(vec![insert("a")]).await, Err(DbError::Unavailable(_))));
        let outcome = clone.query(Stmt::new("SELECT 1", args![])).await;
        assert!(matches!(outcome, Err(DbError::Unavailable(_))));
    }
}

const HISTORY: [Migration; 2] = [
    Migration {
        number: 1,
        name: "first",
        sql: "CREATE TABLE plain (id {uuid} NOT NULL, content {blob}, count {bigint}) {strict};\n\
              CREATE INDEX plain_id ON plain (id);",
    },
    Migration {
        number: 2,
        name: "second",
        sql: "CREATE TABLE grown (seq {identity}, id {uuid} NOT NULL, at {bigint} NOT NULL,\n\
              xact {bigint} NOT NULL DEFAULT {xact}) {strict};",
    },
];

async fn open_file(path: PathBuf) -> Db {
    Db::open(&DbConfig::Sqlite { path, mode: SqliteMode::Threads { readers: 1 } }).await.unwrap()
}

#[tokio::test]
async fn a_command_may_write_the_file_beside_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let server = open_file(path.clone()).await;
    make_things(&server).await;
    let command = open_file(path).await;
    let units = (0..40_u32).map(|number| {
        let db = if number % 2 == 0 { &server } else { &command };
        db.apply(vec![insert(number.to_string())])
    });
    for outcome in join_all(units).await {
        outcome.unwrap();
    }
    assert_eq!(names(&server).await.len(), 40);
}

#[tokio::test]
async fn what_was_committed_is_there_again_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("postroom.db");
    let db = open_file(path.clone()).await;
    make_things(&db).await;
    db.apply(vec![insert("a")]).await.unwrap();
    db.close().await;
    let files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["postroom.db"]);
    assert_eq!(names(&open_file(path).await).await, ["a"]);
}

#[tokio::test]
async fn a_query_that_writes_and_a_folder_that_is_absent_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = open_file(folder.path().join("postroom.db")).await;
    make_things(&db).await;
    let outcome = db.query(insert("a")).await;
    assert!(matches!(outcome, Err(DbError::Inconsistent { .. })), "{outcome:?}");
    let path = folder.path().join("absent/postroom.db");
    let outcome = Db::open(&DbConfig::Sqlite { path, mode: SqliteMode::Inline }).await.map(|_| ());
    assert!(matches!(outcome, Err(DbError::Unavailable(_))), "{outcome:?}");
}
