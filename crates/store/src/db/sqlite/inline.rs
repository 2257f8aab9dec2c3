//! SQLite inside the call, on the caller's own task: for virtual time, where a
//! thread's answer would come after every time-out that is paused.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;

use super::{
    super::{
        Answer, DbError, Fault, FaultHook, FaultPoint, Migration, Stmt, error::Closed, fault::Simulated,
    },
    Use, begin, commit, connect, migrate, read, roll_back, run_unit,
};
use crate::value::Row;

/// A file that the callers write and read, one after the other.
pub(crate) struct Inline {
    conn: Mutex<Option<Connection>>,
    fault: Mutex<Option<FaultHook>>,
}

impl Inline {
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        let conn = connect(path, Use::WriteUnsynced)?;
        Ok(Self { conn: Mutex::new(Some(conn)), fault: Mutex::new(None) })
    }

    fn conn(&self) -> MutexGuard<'_, Option<Connection>> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_at(&self, point: FaultPoint) -> Option<Fault> {
        let hook = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hook.and_then(|hook| hook(point))
    }

    pub(crate) fn set_fault(&self, hook: Option<FaultHook>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    pub(crate) fn apply(&self, unit: &[Stmt]) -> Result<Vec<Answer>, DbError> {
        let conn = self.conn();
        let conn = conn.as_ref().ok_or_else(|| DbError::unavailable(Closed))?;
        begin(conn)?;
        let answers = run_unit(conn, unit).inspect_err(|_| roll_back(conn))?;
        if let Some(fault) = self.fault_at(FaultPoint::BeforeCommit) {
            roll_back(conn);
            return Err(match fault {
                Fault::Unavailable => DbError::unavailable(Simulated),
                Fault::Uncertain => DbError::uncertain(Simulated),
            });
        }
        commit(conn)?;
        match self.fault_at(FaultPoint::AfterCommit) {
            Some(_) => Err(DbError::uncertain(Simulated)),
            None => Ok(answers),
        }
    }

    pub(crate) fn query(&self, stmt: &Stmt) -> Result<Vec<Row>, DbError> {
        let conn = self.conn();
        let conn = conn.as_ref().ok_or_else(|| DbError::unavailable(Closed))?;
        match self.fault_at(FaultPoint::Query) {
            Some(_) => Err(DbError::unavailable(Simulated)),
            None => read(conn, stmt),
        }
    }

    pub(crate) fn migrate(&self, migrations: &[Migration]) -> Result<u32, DbError> {
        let conn = self.conn();
        let conn = conn.as_ref().ok_or_else(|| DbError::unavailable(Closed))?;
        migrate(conn, migrations)
    }

    pub(crate) fn close(&self) {
        self.conn().take();
    }
}
