//! Integrations with their credentials, opened for those who connect with them.

use postroom_model::{EmailAddress, IntegrationId, organization::Limits};

use crate::{
    Stmt, Store, args,
    credentials::{self, Credential, CredentialError},
};

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
    /// Mailboxes that the application must not reach.
    pub scope_probe: Vec<EmailAddress>,
    /// What it signs in with, the preferred first.
    pub credentials: Vec<Credential>,
}

/// All integrations in declared order, with their credentials opened.
///
/// # Errors
/// When the engine can't be reached, or a credential does not open.
pub async fn list(store: &Store) -> Result<Vec<Integration>, CredentialError> {
    let stmt = Stmt::new(
        "SELECT id, name, token_endpoint, client_id, cloud, graph_url, concurrency, requests, upload_bytes, \
         scope_probe FROM integrations ORDER BY position, id",
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
            scope_probe: c.next::<String>()?.lines().filter_map(|line| line.parse().ok()).collect(),
            credentials: credentials::list_of(store, id).await?,
        });
    }
    Ok(integrations)
}
