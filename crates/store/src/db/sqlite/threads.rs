//! One thread writes, some read: SQLite for a running server.
//!
//! The writer takes all units that wait, carries each out in a savepoint of its
//! own, commits once, and then answers all: a disk sync serves many callers. A
//! unit that fails takes back only itself.

use std::{
    convert::Infallible,
    iter,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{Answer, DbError, Migration, Stmt, error::Closed},
    Use, begin, commit, connect, control, migrate, read, roll_back, run_unit,
};
use crate::value::Row;

/// Most units that share a commit: bounds the time that the first one waits.
const MAX_GROUP: usize = 256;

/// Most calls that wait for the writer, or for the readers, before callers wait to join them.
const MAX_WAITING: usize = 1024;

type Outcome<T> = Result<T, DbError>;
type Write = (Vec<Stmt>, oneshot::Sender<Outcome<Vec<Answer>>>);
type Read = (Stmt, oneshot::Sender<Outcome<Vec<Row>>>);

/// A file that threads write and read.
pub(crate) struct Threads {
    path: PathBuf,
    lines: Mutex<Option<Lines>>,
    /// Closes when the last thread has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// Where the threads take their work from; they end when nobody can send any.
#[derive(Clone)]
struct Lines {
    write: mpsc::Sender<Write>,
    read: mpsc::Sender<Read>,
}

impl Threads {
    pub(crate) fn open(path: &Path, readers: usize) -> Outcome<Self> {
        let (write, writes) = mpsc::channel(MAX_WAITING);
        let (read, reads) = mpsc::channel(MAX_WAITING);
        let (alive, ended) = mpsc::channel(1);

        let conn = connect(path, Use::Write)?;
        let guard = alive.clone();
        spawn("store-writer", move || {
            write_all(&conn, writes);
            drop((conn, guard));
        })?;
        let reads = Arc::new(Mutex::new(reads));
        for _ in 0..readers.max(1) {
            let conn = connect(path, Use::Read)?;
            let (reads, guard) = (reads.clone(), alive.clone());
            spawn("store-reader", move || {
                read_all(&conn, &reads);
                drop((conn, guard));
            })?;
        }
        Ok(Self {
            path: path.to_owned(),
            lines: Mutex::new(Some(Lines { write, read })),
            ended: tokio::sync::Mutex::new(ended),
        })
    }

    fn lines(&self) -> Outcome<Lines> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone().ok_or_else(|| DbError::unavailable(Closed))
    }

    pub(crate) async fn apply(&self, unit: Vec<Stmt>) -> Outcome<Vec<Answer>> {
        let (answer, answered) = oneshot::channel();
        let lines = self.lines()?;
        lines.write.send((unit, answer)).await.map_err(|_| DbError::unavailable(Closed))?;
        answered.await.unwrap_or_else(|_| Err(DbError::uncertain(Closed)))
    }

    pub(crate) async fn query(&self, stmt: Stmt) -> Outcome<Vec<Row>> {
        let (answer, answered) = oneshot::channel();
        let lines = self.lines()?;
        lines.read.send((stmt, answer)).await.map_err(|_| DbError::unavailable(Closed))?;
        answered.await.unwrap_or_else(|_| Err(DbError::unavailable(Closed)))
    }

    pub(crate) async fn migrate(&self, migrations: &[Migration]) -> Outcome<u32> {
        let (path, migrations) = (self.path.clone(), migrations.to_vec());
        let (answer, answered) = oneshot::channel();
        spawn("store-migration", move || {
            let outcome = connect(&path, Use::Write).and_then(|conn| migrate(&conn, &migrations));
            let _caller_gone = answer.send(outcome);
        })?;
        answered.await.unwrap_or_else(|_| Err(DbError::uncertain(Closed)))
    }

    pub(crate) async fn close(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.ended.lock().await.recv().await;
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Outcome<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(DbError::unavailable)?;
    Ok(())
}

fn read_all(conn: &Connection, reads: &Mutex<mpsc::Receiver<Read>>) {
    let next = || reads.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    while let Some((stmt, answer)) = next() {
        let _caller_gone = answer.send(read(conn, &stmt));
    }
}

fn write_all(conn: &Connection, mut writes: mpsc::Receiver<Write>) {
    while let Some(first) = writes.blocking_recv() {
        let waiting = iter::from_fn(|| writes.try_recv().ok());
        for (outcome, answer) in commit_group(conn, iter::once(first).chain(waiting).take(MAX_GROUP)) {
            let _caller_gone = answer.send(outcome);
        }
    }
    // Leaves one file behind, for those who copy it away.
    if let Err(error) = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(error = &error as &dyn std::error::Error, "Could not shorten the write-ahead log");
    }
}

/// Carries out every unit and commits them together. `A` is whatever is to be answered.
fn commit_group<A>(
    conn: &Connection,
    units: impl Iterator<Item = (Vec<Stmt>, A)>,
) -> Vec<(Outcome<Vec<Answer>>, A)> {
    let mut group = Vec::new();
    let mut shared = begin(conn);
    for (unit, answer) in units {
        let outcome = match &shared {
            Ok(()) => run_in_savepoint(conn, &unit),
            Err(error) => Err(error.clone()),
        };
        // Some errors (a full disk) end the whole transaction, with all units before.
        if shared.is_ok() && conn.is_autocommit() {
            shared = Err(match &outcome {
                Err(error) => error.clone(),
                Ok(_) => DbError::inconsistent("a statement ended the transaction that it shared"),
            });
        }
        group.push((outcome, answer));
    }
    if let Err(error) = shared.and_then(|()| commit(conn)) {
        for (outcome, _) in &mut group {
            if outcome.is_ok() {
                *outcome = Err(error.clone());
            }
        }
    }
    group
}

fn run_in_savepoint(conn: &Connection, unit: &[Stmt]) -> Outcome<Vec<Answer>> {
    control(conn, "SAVEPOINT unit")?;
    let outcome = run_unit(conn, unit);
    if conn.is_autocommit() {
        return outcome;
    }
    let undo = || if outcome.is_err() { control(conn, "ROLLBACK TO unit") } else { Ok(()) };
    if let Err(error) = undo().and_then(|()| control(conn, "RELEASE unit")) {
        // What can't be taken back alone is taken back with the whole group.
        roll_back(conn);
        return Err(error);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn insert(name: &str) -> Vec<Stmt> {
        vec![Stmt::new("INSERT INTO things (name) VALUES ($1)", args![name])]
    }

    /// Commits the units together and compares what was answered with what is stored.
    fn answered_and_stored(prepare: &str, units: Vec<Vec<Stmt>>) -> (Vec<bool>, i64) {
        let folder = tempfile::tempdir().unwrap();
        let conn = connect(&folder.path().join("postroom.db"), Use::Write).unwrap();
        conn.execute_batch("CREATE TABLE things (name TEXT NOT NULL PRIMARY KEY, content BLOB) STRICT")
            .unwrap();
        conn.execute_batch(prepare).unwrap();
        let outcomes = commit_group(&conn, units.into_iter().map(|unit| (unit, ())));
        assert!(conn.is_autocommit(), "no transaction is left open");
        let stored = conn.query_row("SELECT COUNT(*) FROM things", [], |row| row.get(0)).unwrap();
        (outcomes.into_iter().map(|(outcome, ())| outcome.is_ok()).collect(), stored)
    }

    #[test]
    fn a_unit_that_fails_takes_back_only_itself() {
        let half = [insert("b"), insert("a")].concat();
        let (answered, stored) = answered_and_stored("", vec![insert("a"), half, insert("c")]);
        assert_eq!((answered, stored), (vec![true, false, true], 2));
    }

    #[test]
    fn when_the_disk_is_full_nobody_is_told_that_a_row_was_kept_which_was_not() {
        let large = Stmt::new("INSERT INTO things VALUES ('large', zeroblob(10000000))", args![]);
        let units = vec![insert("a"), vec![large], insert("c")];
        let (answered, stored) = answered_and_stored("PRAGMA max_page_count = 20", units);
        assert!(!answered[1]);
        assert_eq!(answered.iter().filter(|kept| **kept).count() as i64, stored);
    }

    #[test]
    fn when_the_whole_transaction_is_gone_every_unit_is_told() {
        let end = vec![Stmt::new("ROLLBACK", args![])];
        let (answered, stored) = answered_and_stored("", vec![insert("a"), end, insert("c")]);
        assert_eq!((answered, stored), (vec![false; 3], 0));
    }
}
