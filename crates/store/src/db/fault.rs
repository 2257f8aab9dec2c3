//! Faults of the database for simulated runs, on SQLite's inline mode only.
//!
//! A test decides at each point whether the engine fails there, so that thousands
//! of short lives meet a database that goes away and commits whose answer is lost.

use std::sync::Arc;

/// Where a fault can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// Before a query reads.
    Query,
    /// After a unit's statements held, before its commit: a fault rolls it back.
    BeforeCommit,
    /// After the commit: a fault loses the answer.
    AfterCommit,
}

/// What goes wrong. Each comes out as the error of the same name, but after a
/// commit every fault is `Uncertain`: nobody may be told that nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database goes away.
    Unavailable,
    /// The connection breaks while the commit's answer is awaited.
    Uncertain,
}

/// Decides on faults. Called while the connection is locked: it must not use the [`super::Db`].
pub type FaultHook = Arc<dyn Fn(FaultPoint) -> Option<Fault> + Send + Sync>;

/// What a simulated fault says of itself.
#[derive(Debug, thiserror::Error)]
#[error("a fault was asked for by the test")]
pub(crate) struct Simulated;
