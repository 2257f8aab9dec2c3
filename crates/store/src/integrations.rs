//! Integrations with their credentials, opened for those who connect with them.

use postroom_model::{IntegrationId, Timestamp, organization::Limits};
use secrecy::SecretString;

use crate::{Db, DbError, Stmt, Store, args, seal};

/// A credential of an integration, in order of preference.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// The client secret.
    pub secret: SecretString,
    /// When it ends, if that was said.
    pub expires_at: Option<Timestamp>,
}

/// Credentials and settings for one Microsoft tenant.
#[derive(Debug, Clone)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// Its name.
    pub name: String,
    /// Where tokens come from.
    pub token_endpoint: String,
    /// The application.
    pub client_id: String,
    /// Microsoft's cloud, as one word.
    pub cloud: String,
    /// Where Graph is, if not where the cloud says.
    pub graph_url: Option<String>,
    /// How much is asked of each mailbox.
    pub limits: Limits,
    /// What it signs in with, the preferred first.
    pub credentials: Vec<Credential>,
}

/// What binds a credential to its place.
pub fn credential_context(integration: IntegrationId, name: &str) -> String {
    format!("credential/{integration}/{name}")
}

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

/// All integrations in declared order, with their credentials opened.
///
/// # Errors
/// When the engine can't be reached, or a credential does not open.
pub async fn list(store: &Store) -> Result<Vec<Integration>, CredentialError> {
    let stmt = Stmt::new(
        "SELECT id, name, token_endpoint, client_id, cloud, graph_url, concurrency, requests, upload_bytes \
         FROM integrations ORDER BY position, id",
        args![],
    );
    let mut integrations = Vec::new();
    for row in store.db.query(stmt).await? {
        let mut c = row.columns();
        let id = c.next()?;
        integrations.push(Integration {
            id,
            name: c.next()?,
            token_endpoint: c.next()?,
            client_id: c.next()?,
            cloud: c.next()?,
            graph_url: c.next()?,
            limits: Limits {
                concurrency: c.next()?,
                requests: c.next()?,
                upload_bytes: u64::try_from(c.next::<i64>()?).unwrap_or_default(),
            },
            credentials: list_credentials(store, id).await?,
        });
    }
    Ok(integrations)
}

async fn list_credentials(store: &Store, id: IntegrationId) -> Result<Vec<Credential>, CredentialError> {
    let stmt = Stmt::new(
        "SELECT name, sealed_secret, expires_at FROM credentials WHERE integration_id = $1 ORDER BY position, name",
        args![id],
    );
    let mut credentials = Vec::new();
    for row in store.db.query(stmt).await? {
        let mut c = row.columns();
        let (name, sealed): (String, Vec<u8>) = (c.next()?, c.next()?);
        let expires_at = c.next()?;
        let opened = seal::open(&store.keys, &credential_context(id, &name), &sealed)
            .map_err(|cause| CredentialError::Seal { name: name.clone(), cause })?;
        let secret = SecretString::from(String::from_utf8_lossy(&opened).into_owned());
        credentials.push(Credential { name, secret, expires_at });
    }
    Ok(credentials)
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
