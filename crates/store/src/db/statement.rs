//! Statements and their answers, the same on both engines.

use crate::value::{Row, Value};

use super::{DbError, Engine};

/// The text of a statement, where needed in two dialects. Arguments are `$1`, `$2`, … on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sql {
    /// What SQLite gets.
    pub sqlite: &'static str,
    /// What PostgreSQL gets.
    pub postgres: &'static str,
}

impl Sql {
    pub(crate) fn text(self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// A statement's text where one place differs between the engines:
/// `sql!("… LIMIT $1", { sqlite: "", postgres: " FOR UPDATE SKIP LOCKED" }, ") …")`.
#[macro_export]
macro_rules! sql {
    ($before:literal, { sqlite: $sqlite:literal, postgres: $postgres:literal }, $after:literal) => {
        $crate::Sql {
            sqlite: concat!($before, $sqlite, $after),
            postgres: concat!($before, $postgres, $after),
        }
    };
}

/// How many rows a statement must affect (or, for a `SELECT`, return).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Any,
    One,
    Some,
}

/// One statement of a unit, or one query.
#[derive(Debug, Clone)]
pub struct Stmt {
    pub(crate) sql: Sql,
    pub(crate) args: Vec<Value>,
    expect: Expect,
}

impl Stmt {
    /// A statement that may affect any number of rows.
    pub fn new(sql: impl Into<Sql>, args: Vec<Value>) -> Self {
        Self { sql: sql.into(), args, expect: Expect::Any }
    }

    /// The unit fails with [`DbError::Lost`] unless this affects (or returns) exactly one row.
    pub fn expect_one(self) -> Self {
        Self { expect: Expect::One, ..self }
    }

    /// The unit fails with [`DbError::Lost`] unless this affects (or returns) at least one row.
    pub fn expect_some(self) -> Self {
        Self { expect: Expect::Some, ..self }
    }

    pub(crate) fn expects_nothing(&self) -> bool {
        self.expect == Expect::Any
    }

    pub(crate) fn check(&self, answer: &Answer) -> Result<(), DbError> {
        let holds = match self.expect {
            Expect::Any => true,
            Expect::One => answer.affected == 1,
            Expect::Some => answer.affected > 0,
        };
        if holds { Ok(()) } else { Err(DbError::Lost) }
    }
}

/// What a statement gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The rows of a `SELECT` or of a `RETURNING` clause.
    pub rows: Vec<Row>,
    /// How many rows were changed, or returned.
    pub affected: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_differs_only_where_it_says_so() {
        let sql = sql!("SELECT 1 LIMIT $1", { sqlite: "", postgres: " FOR UPDATE SKIP LOCKED" }, ";");
        assert_eq!(sql.text(Engine::Sqlite), "SELECT 1 LIMIT $1;");
        assert_eq!(sql.text(Engine::Postgres), "SELECT 1 LIMIT $1 FOR UPDATE SKIP LOCKED;");
        assert_eq!(Sql::from("SELECT 1").text(Engine::Sqlite), Sql::from("SELECT 1").text(Engine::Postgres));
    }

    #[test]
    fn an_expectation_counts_rows() {
        let holds = |stmt: &Stmt, affected| stmt.check(&Answer { rows: Vec::new(), affected }).is_ok();
        let stmt = Stmt::new("SELECT 1", Vec::new());
        for (stmt, expected) in [
            (stmt.clone(), [true, true, true]),
            (stmt.clone().expect_one(), [false, true, false]),
            (stmt.expect_some(), [false, true, true]),
        ] {
            assert_eq!([0, 1, 2].map(|affected| holds(&stmt, affected)), expected);
        }
    }
}
