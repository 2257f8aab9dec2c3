//! SQLite inside the call: no time passes, and faults come where they are asked for.

use std::{sync::Mutex, time::Duration};

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;

async fn open_inline(folder: &tempfile::TempDir) -> Db {
    let path = folder.path().join("postroom.db");
    Db::open(&DbConfig::Sqlite { path, mode: SqliteMode::Inline }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_virtual_time_passes_in_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let started = tokio::time::Instant::now();
    let story = async {
        let db = open_inline(&folder).await;
        db.migrate(&HISTORY).await.unwrap();
        make_things(&db).await;
        db.apply(vec![insert("a"), insert("b")]).await.unwrap();
        names(&db).await
    };
    let names = tokio::time::timeout(Duration::from_secs(30), story).await.unwrap();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(tokio::time::Instant::now(), started);
}

#[tokio::test]
async fn a_fault_before_the_commit_takes_it_back_and_one_after_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let db = open_inline(&folder).await;
    make_things(&db).await;
    let cases = [
        (FaultPoint::BeforeCommit, Fault::Unavailable, "unavailable", false),
        (FaultPoint::BeforeCommit, Fault::Uncertain, "uncertain", false),
        (FaultPoint::AfterCommit, Fault::Uncertain, "uncertain", true),
        (FaultPoint::AfterCommit, Fault::Unavailable, "uncertain", true),
    ];
    for (number, (point, fault, error, kept)) in cases.into_iter().enumerate() {
        let fault_once = Mutex::new(Some(fault));
        let hook: FaultHook =
            Arc::new(move |at| if at == point { fault_once.lock().unwrap().take() } else { None });
        db.set_fault(Some(hook));
        let name = number.to_string();
        let outcome = db.apply(vec![insert(&name)]).await;
        let told = match outcome {
            Err(DbError::Unavailable(_)) => "unavailable",
            Err(DbError::Uncertain(_)) => "uncertain",
            _ => "something else",
        };
        assert_eq!(told, error);
        assert_eq!(names(&db).await.contains(&name), kept);
        // The connection is as good as before.
        db.apply(vec![insert(format!("{number}, again"))]).await.unwrap();
    }
    db.set_fault(Some(Arc::new(|at| (at == FaultPoint::Query).then_some(Fault::Unavailable))));
    assert!(db.query(Stmt::new("SELECT 1", args![])).await.is_err_and(|error| error.is_retryable()));
    db.set_fault(None);
    assert_eq!(names(&db).await.len(), 6);
}

#[tokio::test]
async fn a_simulated_kill_keeps_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let db = open_inline(&folder).await;
    make_things(&db).await;
    db.apply(vec![insert("a")]).await.unwrap();
    drop(db);
    let db = open_inline(&folder).await;
    assert_eq!(names(&db).await, ["a"]);
    assert!(matches!(db.apply(vec![insert("a")]).await, Err(DbError::Unique { .. })));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Int),
        any::<String>().prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Blob),
    ]
}

#[test]
fn any_row_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing inline ever waits, so no runtime is needed.
    let db = open_inline(&folder).now_or_never().unwrap();
    let create = Stmt::new("CREATE TABLE anything (a ANY, b ANY, c ANY) STRICT", args![]);
    db.apply(vec![create]).now_or_never().unwrap().unwrap();
    proptest!(|(values in prop::collection::vec(any_value(), 3))| {
        let insert = Stmt::new("INSERT INTO anything (a, b, c) VALUES ($1, $2, $3) RETURNING a, b, c", values.clone());
        let mut answers = db.apply(vec![insert]).now_or_never().unwrap().unwrap();
        prop_assert_eq!(&answers.remove(0).rows, &[Row::new(values)]);
    });
}
