//! The credentials of integrations: sealed, in order of preference, kept by the
//! organisation file or by a command.
//!
//! Called by the organisation, the engine and the pages. Rule kept: a proof is opened
//! only for those who connect with it.

use postroom_model::{
    IntegrationId, Timestamp,
    credential::{CredentialOrigin, Proof},
    organization,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Db, DbError, Stmt, Store, args, parse, seal};

/// A credential of an integration.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// What it proves itself with.
    pub proof: Proof,
    /// From when it is good, if that is known.
    pub starts_at: Option<Timestamp>,
    /// When it ends, if that is known.
    pub expires_at: Option<Timestamp>,
    /// Who keeps it.
    pub origin: CredentialOrigin,
}

impl Credential {
    /// As an organisation declares it.
    pub fn declared(self) -> organization::Credential {
        let Self { name, proof, starts_at, expires_at, origin: _ } = self;
        organization::Credential { name, proof, starts_at, expires_at }
    }
}

/// Where in the order of preference a credential comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// Before all others.
    First,
    /// After all others, those included that the organisation file is going to name.
    Last,
}

/// Those of the organisation file come before this position, in its order.
const AFTER_FILE: i64 = 1_000_000;

/// A credential could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The store failed.
    #[error("the integrations could not be read")]
    Db(#[from] DbError),
    /// It does not open.
    #[error("credential \"{name}\" can't be opened; check the key file")]
    Seal {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        cause: seal::SealError,
    },
}

/// What binds a credential to its place.
fn context(integration: IntegrationId, name: &str) -> String {
    format!("credential/{integration}/{name}")
}

/// The credentials of an integration, the preferred first, opened.
///
/// # Errors
/// When the engine can't be reached, or one does not open.
pub async fn list_of(store: &Store, id: IntegrationId) -> Result<Vec<Credential>, CredentialError> {
    let stmt = Stmt::new(
        "SELECT name, sealed_proof, kind, origin, starts_at, expires_at FROM credentials \
         WHERE integration_id = $1 ORDER BY position, name",
        args![id],
    );
    let mut credentials = Vec::new();
    for row in store.db.query(stmt).await? {
        let mut c = row.columns();
        let (name, sealed): (String, Vec<u8>) = (c.next()?, c.next()?);
        let opened = seal::open(&store.keys, &context(id, &name), &sealed)
            .map_err(|cause| CredentialError::Seal { name: name.clone(), cause })?;
        let text = SecretString::from(String::from_utf8_lossy(&opened).into_owned());
        credentials.push(Credential {
            name,
            proof: Proof { kind: parse(&c.next::<String>()?)?, text },
            origin: parse(&c.next::<String>()?)?,
            starts_at: c.next()?,
            expires_at: c.next()?,
        });
    }
    Ok(credentials)
}

/// The names of an integration's credentials, the preferred first, and when each ends.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_names(db: &Db, id: IntegrationId) -> Result<Vec<(String, Option<Timestamp>)>, DbError> {
    let stmt = Stmt::new(
        "SELECT name, expires_at FROM credentials WHERE integration_id = $1 ORDER BY position, name",
        args![id],
    );
    let mut names = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        names.push((c.next()?, c.next()?));
    }
    Ok(names)
}

/// Adds a credential. [`DbError::Unique`] if the integration has one of this name.
///
/// # Errors
/// When it can't be sealed.
pub fn insert(
    store: &Store,
    integration: IntegrationId,
    credential: &organization::Credential,
    origin: CredentialOrigin,
    position: i64,
) -> Result<Stmt, seal::SealError> {
    let organization::Credential { name, proof, starts_at, expires_at } = credential;
    let plain = proof.text.expose_secret().as_bytes();
    let sealed = seal::seal(&store.keys, &store.entropy, &context(integration, name), plain)?;
    Ok(Stmt::new(
        "INSERT INTO credentials \
         (integration_id, name, sealed_proof, kind, origin, starts_at, expires_at, position) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        args![
            integration,
            name.as_str(),
            sealed,
            proof.kind.as_str(),
            origin.as_str(),
            *starts_at,
            *expires_at,
            position
        ],
    ))
}

/// Removes one credential.
pub fn delete(integration: IntegrationId, name: &str) -> Stmt {
    Stmt::new("DELETE FROM credentials WHERE integration_id = $1 AND name = $2", args![integration, name])
        .expect_one()
}

/// Removes those that the organisation file keeps.
pub(crate) fn delete_of_file(integration: IntegrationId) -> Stmt {
    Stmt::new(
        "DELETE FROM credentials WHERE integration_id = $1 AND origin = $2",
        args![integration, CredentialOrigin::File.as_str()],
    )
}

/// The position of one more credential.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_position(
    db: &Db,
    integration: IntegrationId,
    preference: Preference,
) -> Result<i64, DbError> {
    let stmt = Stmt::new(
        "SELECT MIN(position), MAX(position) FROM credentials WHERE integration_id = $1",
        args![integration],
    );
    let Some(row) = db.query(stmt).await?.into_iter().next() else { return Ok(AFTER_FILE) };
    let mut c = row.columns();
    let (first, last): (Option<i64>, Option<i64>) = (c.next()?, c.next()?);
    Ok(match preference {
        Preference::First => first.unwrap_or(0).min(0) - 1,
        Preference::Last => last.unwrap_or(0).max(AFTER_FILE) + 1,
    })
}

/// The names of integration and credential of those that commands added.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_commands(db: &Db) -> Result<Vec<(String, String)>, DbError> {
    let stmt = Stmt::new(
        "SELECT i.name, c.name FROM credentials c JOIN integrations i ON i.id = c.integration_id \
         WHERE c.origin = $1 ORDER BY i.name, c.name",
        args![CredentialOrigin::Command.as_str()],
    );
    let mut names = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        names.push((c.next()?, c.next()?));
    }
    Ok(names)
}

/// When a credential ends.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// The name of the integration.
    pub integration: String,
    /// The name of the credential.
    pub credential: String,
    /// When it ends.
    pub at: Timestamp,
}

/// Every credential whose end is known, the next to end first; none is opened.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_expiries(db: &Db) -> Result<Vec<Expiry>, DbError> {
    let stmt = Stmt::new(
        "SELECT i.name, c.name, c.expires_at FROM credentials c JOIN integrations i ON i.id = c.integration_id \
         WHERE c.expires_at IS NOT NULL ORDER BY c.expires_at, i.name, c.name",
        args![],
    );
    let mut expiries = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        expiries.push(Expiry { integration: c.next()?, credential: c.next()?, at: c.next()? });
    }
    Ok(expiries)
}
