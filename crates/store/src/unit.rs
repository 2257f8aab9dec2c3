//! A unit of work: statements that are committed together, and who is to be
//! woken afterwards. Built by `engine`, committed by [`crate::Store::commit`].

use std::collections::BTreeSet;

use postroom_model::Timestamp;

use crate::{
    Stmt, feed,
    feed::Topic,
    jobs::{self, NewJob},
    signals::Wake,
};

/// Statements that are committed together or not at all.
#[derive(Debug, Default)]
#[must_use = "a unit does nothing until it is committed"]
pub struct Unit {
    pub(crate) stmts: Vec<Stmt>,
    pub(crate) wakes: BTreeSet<Wake>,
}

impl Unit {
    /// A unit without statements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a statement.
    pub fn push(&mut self, stmt: Stmt) {
        self.stmts.push(stmt);
    }

    /// Adds a statement and gives the unit back, to build one in a chain.
    pub fn with(mut self, stmt: Stmt) -> Self {
        self.push(stmt);
        self
    }

    /// Adds statements.
    pub fn extend(&mut self, stmts: impl IntoIterator<Item = Stmt>) {
        self.stmts.extend(stmts);
    }

    /// Adds a job, or brings one with the same key forward that waits for a later time.
    pub fn enqueue_now(&mut self, job: &NewJob) {
        self.wakes.insert(Wake::Lane(job.lane));
        self.push(jobs::insert_or_hasten(job));
    }

    /// Adds all that another unit holds.
    pub fn append(&mut self, other: Unit) {
        self.stmts.extend(other.stmts);
        self.wakes.extend(other.wakes);
    }

    /// Adds a job; one with the same key that still stands is left as it is.
    pub fn enqueue(&mut self, job: &NewJob) {
        self.wakes.insert(Wake::Lane(job.lane));
        self.push(jobs::insert(job));
    }

    /// Tells the change feed that something about `subject` is new.
    pub fn changed(&mut self, at: Timestamp, topic: Topic, subject: impl std::fmt::Display) {
        self.wakes.insert(Wake::Feed);
        self.push(feed::insert(at, topic, &subject.to_string()));
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.stmts.is_empty()
    }
}
