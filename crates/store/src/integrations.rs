//! Integrations with their credentials, opened for those who connect with them.

use postroom_model::{EmailAddress, IntegrationId, Timestamp, organization::Limits};

use crate::{
    Db, DbError, Stmt, Store, args,
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
    /// When an administrator signed in and it had the delegated `User.Read`.
    pub user_read_at: Option<Timestamp>,
    /// What it signs in with, the preferred first.
    pub credentials: Vec<Credential>,
}

/// What may be shown of an integration: its credentials by name and date alone.
#[derive(Debug, Clone)]
pub struct Overview {
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
    /// The names of its credentials, the preferred first, and when each ends, if that is known.
    pub credentials: Vec<(String, Option<Timestamp>)>,
}

/// What may be shown of all integrations, in declared order.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_overviews(db: &Db) -> Result<Vec<Overview>, DbError> {
    let stmt = Stmt::new(
        "SELECT id, name, token_endpoint, client_id, cloud FROM integrations ORDER BY position, id",
        args![],
    );
    let mut all = Vec::new();
    for row in db.query(stmt).await? {
        let mut c = row.columns();
        let id = c.next()?;
        all.push(Overview {
            id,
            name: c.next()?,
            token_endpoint: c.next()?,
            client_id: c.next()?,
            cloud: c.next()?,
            credentials: credentials::list_names(db, id).await?,
        });
    }
    Ok(all)
}

/// All integrations in declared order, with their credentials opened.
///
/// # Errors
/// When the engine can't be reached, or a credential does not open.
pub async fn list(store: &Store) -> Result<Vec<Integration>, CredentialError> {
    let stmt = Stmt::new(
        "SELECT id, name, token_endpoint, client_id, cloud, graph_url, concurrency, requests, upload_bytes, \
         scope_probe, user_read_at FROM integrations ORDER BY position, id",
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
            user_read_at: c.next()?,
            credentials: credentials::list_of(store, id).await?,
        });
    }
    Ok(integrations)
}

/// Notes that an administrator signed in and the application had the delegated `User.Read`.
pub fn record_user_read(id: IntegrationId, at: Timestamp) -> Stmt {
    Stmt::new("UPDATE integrations SET user_read_at = $2 WHERE id = $1", args![id, at])
}
