//! Single values of the whole store: the organisation's name and languages, and
//! the fingerprint of the key that seals its content.

use crate::{Db, DbError, Stmt, args};

/// The organisation's display name.
pub const ORGANIZATION_NAME: &str = "organization.name";
/// The organisation's languages, with commas between, the first is the default.
pub const ORGANIZATION_LANGUAGES: &str = "organization.languages";
/// Fingerprint of the key that seals, so that a wrong key is noticed at start.
pub const KEY_FINGERPRINT: &str = "key.fingerprint";

/// Sets a value.
pub fn set(name: &str, value: &str) -> Stmt {
    Stmt::new(
        "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
        args![name, value],
    )
}

/// Removes a value.
pub fn forget(name: &str) -> Stmt {
    Stmt::new("DELETE FROM settings WHERE name = $1", args![name])
}

/// Reads a value.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find(db: &Db, name: &str) -> Result<Option<String>, DbError> {
    let rows = db.query(Stmt::new("SELECT value FROM settings WHERE name = $1", args![name])).await?;
    rows.into_iter().next().map(|row| row.columns().next()).transpose()
}
