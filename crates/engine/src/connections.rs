//! The Graph clients, one for each integration, kept as long as its settings stay
//! the same, so that tokens and lanes live on.

use std::sync::PoisonError;

use postroom_graph::{Cloud, Credential, Endpoints, Graph, GraphConfig, LaneConfig, Mailbox};
use postroom_model::IntegrationId;
use postroom_store::{
    integrations::{self, CredentialError, Integration},
    mailboxes,
};
use secrecy::ExposeSecret as _;

use crate::{Engine, jobs::JobError};

/// A client, and a fingerprint of the settings it was made from.
pub(crate) struct Connection {
    fingerprint: Vec<u8>,
    graph: Graph,
}

/// The clients could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The integrations could not be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// An address or a cloud of an integration can't be understood.
    #[error(
        "integration \"{name}\" has a setting that can't be used: {detail}; apply the organisation file again"
    )]
    Setting {
        /// Which integration.
        name: String,
        /// What can't be used.
        detail: String,
    },
}

impl Engine {
    /// The lane of a mailbox.
    pub(crate) async fn mailbox(&self, row: &mailboxes::Mailbox) -> Result<Mailbox, JobError> {
        Ok(self.graph(row.integration).await?.mailbox(&row.address))
    }

    /// The client of an integration, made at its first use.
    pub(crate) async fn graph(&self, id: IntegrationId) -> Result<Graph, JobError> {
        if let Some(graph) = self.connected(id) {
            return Ok(graph);
        }
        self.connect().await?;
        self.connected(id).ok_or(JobError::NotConnected)
    }

    fn connected(&self, id: IntegrationId) -> Option<Graph> {
        let connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.get(&id).map(|connection| connection.graph.clone())
    }

    /// Reads all integrations and makes clients for those that are new or changed.
    pub(crate) async fn connect(&self) -> Result<(), ConnectError> {
        let integrations = integrations::list(self.store()).await?;
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|id, _| integrations.iter().any(|integration| integration.id == *id));
        for integration in integrations {
            let fingerprint = fingerprint(&integration);
            if connections.get(&integration.id).is_some_and(|old| old.fingerprint == fingerprint) {
                continue;
            }
            let id = integration.id;
            let config = config(integration)?;
            let parts = &self.0.parts;
            let graph =
                Graph::new(config, parts.transport.clone(), parts.clock.clone(), parts.entropy.clone());
            connections.insert(id, Connection { fingerprint, graph });
        }
        Ok(())
    }
}

fn config(integration: Integration) -> Result<GraphConfig, ConnectError> {
    let unusable = |detail: String| ConnectError::Setting { name: integration.name.clone(), detail };
    let cloud: Cloud = integration
        .cloud
        .parse()
        .map_err(|error: postroom_graph::UnknownCloud| unusable(error.to_string()))?;
    let url = |text: &str| url::Url::parse(text).map_err(|error| unusable(format!("{text}: {error}")));
    let token = url(&integration.token_endpoint)?;
    let graph = integration.graph_url.as_deref().map(url).transpose()?;
    Ok(GraphConfig {
        endpoints: Endpoints::new(cloud, token, graph),
        client_id: integration.client_id,
        credentials: integration
            .credentials
            .into_iter()
            .map(|c| Credential { expires: c.expires_at, ..Credential::secret(c.name, c.secret) })
            .collect(),
        lane: LaneConfig {
            concurrency: usize::try_from(integration.limits.concurrency).unwrap_or(usize::MAX),
            budget: integration.limits.requests,
            upload_budget: integration.limits.upload_bytes,
            ..LaneConfig::default()
        },
    })
}

/// A hash of everything a client is made from, so that a change is noticed
/// without keeping the secrets beside it.
fn fingerprint(integration: &Integration) -> Vec<u8> {
    use aws_lc_rs::digest::{Context, SHA256};
    let mut context = Context::new(&SHA256);
    let mut add = |text: &str| {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    };
    add(&integration.token_endpoint);
    add(integration.graph_url.as_deref().unwrap_or_default());
    add(&integration.client_id);
    add(&integration.cloud);
    add(&format!("{:?}", integration.limits));
    for credential in &integration.credentials {
        add(&credential.name);
        add(credential.secret.expose_secret());
        add(&credential.expires_at.map(|at| at.to_string()).unwrap_or_default());
    }
    context.finish().as_ref().to_vec()
}
