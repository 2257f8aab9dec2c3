//! The schema's history: which migrations are applied, which are still to be.
//!
//! One text serves both engines; words in braces stand for what differs. History
//! only grows: the store keeps a checksum of every migration it went through, and
//! a program that has another text for it, or less history, refuses the store.

use std::{fmt::Write as _, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};

use crate::{args, value::Row};

use super::{Cause, DbError, Engine, Stmt};

/// One step of the schema's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the history, from 1, without gaps.
    pub number: u32,
    /// What it is about.
    pub name: &'static str,
    /// Statements, with a semicolon after each. Words in braces: `{uuid}`, `{blob}`,
    /// `{bigint}`, `{identity}` (a primary key that grows), `{strict}` (after a table's
    /// columns), `{xact}` (the number of the writing transaction, 0 on SQLite).
    pub sql: &'static str,
}

/// Why the schema can't be brought up to date.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MigrationError {
    /// A newer program made the schema.
    #[error(
        "the store's schema is at migration {found}, this program knows {known}; start the newer program"
    )]
    Newer {
        /// How many migrations the store went through.
        found: u32,
        /// How many this program knows.
        known: u32,
    },
    /// The store went through another migration of this number.
    #[error(
        "migration {number} ({name}) is not the one this store was made with; start the program that made it"
    )]
    Changed {
        /// Its number.
        number: u32,
        /// Its name in this program.
        name: &'static str,
    },
    /// A word in braces is none of the known ones.
    #[error("migration {number} ({name}) has the unknown word \"{word}\" in braces")]
    Word {
        /// The migration's number.
        number: u32,
        /// Its name.
        name: &'static str,
        /// The word.
        word: String,
    },
    /// The engine refused a migration; the schema is as it was.
    #[error("migration {number} ({name}) failed; the schema was left as it was")]
    Failed {
        /// The migration's number.
        number: u32,
        /// Its name.
        name: &'static str,
        /// What the engine said.
        #[source]
        cause: Cause,
    },
}

/// Makes the table of applied migrations, on both engines.
pub(super) const ENSURE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations \
    (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)";

/// Lists what was applied, in order, for [`pending`].
pub(super) fn list_applied() -> Stmt {
    Stmt::new("SELECT number, checksum FROM schema_migrations ORDER BY number", args![])
}

/// The migrations that are still to be applied.
pub(super) fn pending(migrations: &[Migration], applied: Vec<Row>) -> Result<&[Migration], DbError> {
    let count = applied.len();
    for (index, row) in applied.into_iter().enumerate() {
        let mut columns = row.columns();
        let (number, checksum) = (columns.next::<u32>()?, columns.next::<String>()?);
        let Some(known) = migrations.get(index) else {
            return Err(MigrationError::Newer {
                found: u32::try_from(count).unwrap_or(u32::MAX),
                known: u32::try_from(migrations.len()).unwrap_or(u32::MAX),
            }
            .into());
        };
        if known.number != number || known.checksum() != checksum {
            return Err(MigrationError::Changed { number, name: known.name }.into());
        }
    }
    Ok(&migrations[count..])
}

impl Migration {
    /// Notes that this migration was applied.
    pub(super) fn record(&self) -> Stmt {
        Stmt::new(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
            args![self.number, self.name, self.checksum()],
        )
    }

    pub(super) fn failed(&self, cause: impl std::error::Error + Send + Sync + 'static) -> DbError {
        MigrationError::Failed { number: self.number, name: self.name, cause: Arc::new(cause) }.into()
    }

    /// SHA-256 of the text as it is written, so that both engines keep the same.
    fn checksum(&self) -> String {
        digest(&SHA256, self.sql.as_bytes()).as_ref().iter().fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    }

    /// The text for one engine.
    pub(super) fn render(&self, engine: Engine) -> Result<String, MigrationError> {
        let mut text = String::with_capacity(self.sql.len());
        let mut rest = self.sql;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').unwrap_or((after, ""));
            let replacement = dialect_word(word, engine).ok_or_else(|| MigrationError::Word {
                number: self.number,
                name: self.name,
                word: word.to_owned(),
            })?;
            text.push_str(before);
            text.push_str(replacement);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}

fn dialect_word(word: &str, engine: Engine) -> Option<&'static str> {
    let (sqlite, postgres) = match word {
        "uuid" => ("BLOB", "UUID"),
        "blob" => ("BLOB", "BYTEA"),
        "bigint" => ("INTEGER", "BIGINT"),
        "identity" => {
            ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
        }
        "strict" => ("STRICT", ""),
        "xact" => ("0", "(pg_current_xact_id()::text::bigint)"),
        _ => return None,
    };
    Some(match engine {
        Engine::Sqlite => sqlite,
        Engine::Postgres => postgres,
    })
}
