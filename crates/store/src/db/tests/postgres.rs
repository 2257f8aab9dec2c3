//! What only PostgreSQL can do to us: connections that die, rows that others hold.

use deadpool_postgres::Object;
use jiff::SignedDuration;
use postroom_model::{JobId, NodeId, Timestamp};
use tokio::sync::mpsc;

use super::*;
use crate::{jobs, testing::on_postgres};

/// A connection of the pool, for a stranger who holds locks.
async fn connection(db: &Db) -> Object {
    let Backend::Postgres(postgres) = &*db.0 else { panic!("this story is about PostgreSQL") };
    postgres.pool().get().await.unwrap()
}

/// Waits until somebody waits for a lock. The watcher must not be in a transaction:
/// it would see the same moment again and again.
async fn until_somebody_waits(watcher: &Object) {
    let sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
}

/// Ends the connection of whoever waits for a lock, as soon as somebody does.
async fn kill_who_waits(watcher: &Object) {
    until_somebody_waits(watcher).await;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    watcher.batch_execute(sql).await.unwrap();
}

/// A row that a stranger has written and not committed.
async fn hold_a_row(db: &Db) -> Object {
    let stranger = connection(db).await;
    stranger.batch_execute("BEGIN; INSERT INTO things (name, amount) VALUES ('held', 1)").await.unwrap();
    stranger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_dropped_while_it_waits_takes_its_connection_along() {
    let name = concat!(module_path!(), "::a_unit_dropped_while_it_waits_takes_its_connection_along");
    on_postgres(name, async |db| {
        make_things(&db).await;
        let (stranger, watcher) = (hold_a_row(&db).await, connection(&db).await);
        let unit = db.apply(vec![insert("abandoned"), insert("held")]);
        tokio::select! {
            outcome = unit => panic!("the row is held, but {outcome:?}"),
            () = until_somebody_waits(&watcher) => {}
        }
        stranger.batch_execute("ROLLBACK").await.unwrap();
        // The same connection would be taken for this one, with the transaction still open.
        db.apply(vec![insert("a"), insert("b")]).await.unwrap();
        assert_eq!(names(&db).await, ["a", "b"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_during_the_commit_leaves_it_uncertain() {
    let name = concat!(module_path!(), "::a_connection_lost_during_the_commit_leaves_it_uncertain");
    on_postgres(name, async |db| {
        // A key that is checked by the commit lets the commit wait for the stranger.
        let sql = "CREATE TABLE things (name TEXT NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, amount BIGINT NOT NULL)";
        db.apply(vec![Stmt::new(sql, args![])]).await.unwrap();
        let (stranger, watcher) = (hold_a_row(&db).await, connection(&db).await);
        let (outcome, ()) = tokio::join!(db.apply(vec![insert("a"), insert("held")]), kill_who_waits(&watcher));
        assert!(matches!(outcome, Err(DbError::Uncertain(_))), "{outcome:?}");
        stranger.batch_execute("ROLLBACK").await.unwrap();
        db.apply(vec![insert("a"), insert("b")]).await.unwrap();
        assert_eq!(names(&db).await, ["a", "b"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_before_the_commit_is_worth_another_try() {
    let name = concat!(module_path!(), "::a_connection_lost_before_the_commit_is_worth_another_try");
    on_postgres(name, async |db| {
        make_things(&db).await;
        let (stranger, watcher) = (hold_a_row(&db).await, connection(&db).await);
        let (outcome, ()) =
            tokio::join!(db.apply(vec![insert("a"), insert("held")]), kill_who_waits(&watcher));
        assert!(outcome.as_ref().is_err_and(DbError::is_retryable), "{outcome:?}");
        stranger.batch_execute("ROLLBACK").await.unwrap();
        db.apply(vec![insert("a"), insert("held")]).await.unwrap();
        assert_eq!(names(&db).await, ["a", "held"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_lock_each_other_out_both_succeed() {
    let name = concat!(module_path!(), "::units_that_lock_each_other_out_both_succeed");
    on_postgres(name, async |db| {
        make_things(&db).await;
        db.apply(vec![insert("a"), insert("b")]).await.unwrap();
        for connection in [connection(&db).await, connection(&db).await] {
            connection.batch_execute("SET deadlock_timeout = '5ms'").await.unwrap();
        }
        for _ in 0..50 {
            let (one, other) = tokio::join!(
                db.apply(vec![add_to("a").expect_one(), add_to("b").expect_one()]),
                db.apply(vec![add_to("b").expect_one(), add_to("a").expect_one()]),
            );
            one.and(other).unwrap();
        }
        let row =
            db.query_opt(Stmt::new("SELECT amount FROM things WHERE name = 'b'", args![])).await.unwrap();
        assert_eq!(row.unwrap().columns().next::<i64>().unwrap(), 101);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_node_that_vanished_in_the_middle() {
    let name = concat!(module_path!(), "::nobody_waits_for_a_node_that_vanished_in_the_middle");
    on_postgres(name, async |db| {
        db.migrate(crate::MIGRATIONS).await.unwrap();
        let (now, node) = (Timestamp::UNIX_EPOCH, NodeId::from_uuid(Uuid::from_u128(1)));
        let add = |number| {
            jobs::insert(&jobs::NewJob {
                id: JobId::from_uuid(Uuid::from_u128(number)),
                lane: jobs::Lane::Work,
                kind: "process",
                key: number.to_string(),
                payload: "{}".into(),
                priority: 1,
                run_at: now,
                created_at: now,
            })
        };
        db.apply(vec![add(1), add(2)]).await.unwrap();
        let later = now + SignedDuration::from_mins(15);
        assert_eq!(jobs::claim(&db, jobs::Lane::Work, node, now, later, 2).await.unwrap().len(), 2);
        let vanished = connection(&db).await;
        let sql = "BEGIN; SELECT id FROM jobs WHERE key = '1' FOR UPDATE";
        vanished.batch_execute(sql).await.unwrap();
        db.apply(vec![jobs::release_of_dead_nodes(now)]).await.unwrap();
        let freed = jobs::claim(&db, jobs::Lane::Work, node, now, later, 2).await.unwrap();
        assert_eq!(freed.iter().map(|job| job.id.uuid().as_u128()).collect::<Vec<_>>(), [2]);
        // What else is locked is free again before long: the server ends what stands idle.
        for (setting, expected) in [("idle_in_transaction_session_timeout", "10s"), ("lock_timeout", "5s")] {
            let row = vanished.query_one(&format!("SHOW {setting}"), &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), expected, "{setting}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_nodes_are_heard_also_after_the_connection_was_lost() {
    let name = concat!(module_path!(), "::other_nodes_are_heard_also_after_the_connection_was_lost");
    on_postgres(name, async |db| {
        let (said, mut heard) = mpsc::unbounded_channel();
        let hear = |payload: &str| said.send(payload.to_owned()).unwrap();
        let mut notify = async |payload: &str| {
            // Nothing is heard until the listener is connected.
            while heard.try_recv().as_deref() != Ok(payload) {
                let stmt = Stmt::new("SELECT pg_notify($1, $2)", args!["postroom", payload]);
                db.apply(vec![stmt]).await.unwrap();
            }
        };
        let story = async {
            notify("one").await;
            let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                       WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            connection(&db).await.batch_execute(sql).await.unwrap();
            notify("two").await;
        };
        tokio::select! {
            () = db.listen("postroom", hear) => panic!("listening never ends"),
            () = story => {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_unavailable() {
    let config = DbConfig::Postgres {
        url: SecretString::from("postgres://nobody:secret@127.0.0.1:1/nowhere"),
        max_connections: 1,
        ca_file: None,
    };
    let error = Db::open(&config).await.map(|_| ()).unwrap_err();
    assert!(error.is_retryable() && !format!("{error:?}").contains("secret"), "{error:?}");
}
