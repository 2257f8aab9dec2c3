//! The Graph clients, one for each integration, kept as long as its settings stay
//! the same, so that tokens and lanes live on.

use std::{collections::BTreeSet, sync::PoisonError};

use postroom_graph::{Cloud, Endpoints, Graph, GraphConfig, LaneConfig, Mailbox, ReadFile};
use postroom_model::IntegrationId;
use postroom_store::{
    credentials::{Credential, CredentialError},
    integrations::{self, Integration},
    mailboxes,
};
use secrecy::ExposeSecret as _;

use crate::{Engine, credentials, jobs::JobError};

/// A client, and fingerprints of what it was made from.
pub(crate) struct Connection {
    settings: Vec<u8>,
    credentials: Vec<u8>,
    graph: Graph,
}

impl Connection {
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
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

    /// What an administrator granted a moment ago counts with the next request.
    pub(crate) fn renew_token(&self, id: IntegrationId) {
        if let Some(graph) = self.connected(id) {
            graph.renew_token();
        }
    }

    fn connected(&self, id: IntegrationId) -> Option<Graph> {
        let connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.get(&id).map(|connection| connection.graph.clone())
    }

    /// Reads all integrations and makes clients for those that are new or changed, which it names.
    pub(crate) async fn connect(&self) -> Result<BTreeSet<IntegrationId>, ConnectError> {
        let integrations = integrations::list(self.store()).await?;
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|id, _| integrations.iter().any(|integration| integration.id == *id));
        let mut changed = BTreeSet::new();
        for integration in integrations {
            let id = integration.id;
            let marks = (settings_mark(&integration), credentials_mark(&integration));
            let config = config(integration, &self.0.parts.read_file)?;
            match connections.get_mut(&id) {
                Some(old) if old.settings == marks.0 && old.credentials == marks.1 => continue,
                Some(old) if old.settings == marks.0 => {
                    old.credentials = marks.1;
                    old.graph.replace_credentials(config.credentials);
                }
                _ => {
                    let graph = self.graph_of(config);
                    connections.insert(id, Connection { settings: marks.0, credentials: marks.1, graph });
                }
            }
            changed.insert(id);
        }
        Ok(changed)
    }
}

impl Engine {
    /// A client beside those that do the daily work: one request at a time, for examinations and trials.
    pub(crate) fn trial_client(&self, integration: Integration) -> Result<Graph, ConnectError> {
        let mut config = config(integration, &self.0.parts.read_file)?;
        config.lane.concurrency = 1;
        Ok(self.graph_of(config))
    }

    /// A client without credentials that asks our own address as Microsoft would; `is_inside` if Microsoft is
    /// played by a machine in here, which knows the authorities that we know.
    pub(crate) fn outside_client(
        &self,
        integration: &Integration,
        is_inside: bool,
    ) -> Result<Graph, ConnectError> {
        let nameless = Integration { credentials: Vec::new(), ..integration.clone() };
        let parts = &self.0.parts;
        let transport = if is_inside { &parts.transport } else { &parts.outside };
        let config = config(nameless, &parts.read_file)?;
        Ok(Graph::new(config, transport.clone(), parts.clock.clone(), parts.entropy.clone()))
    }

    fn graph_of(&self, config: GraphConfig) -> Graph {
        let parts = &self.0.parts;
        Graph::new(config, parts.transport.clone(), parts.clock.clone(), parts.entropy.clone())
    }
}

fn config(integration: Integration, read_file: &ReadFile) -> Result<GraphConfig, ConnectError> {
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
            .iter()
            .map(|credential| {
                credentials::usable(credential, read_file)
                    .map_err(|error| unusable(format!("credential \"{}\": {error}", credential.name)))
            })
            .collect::<Result<_, _>>()?,
        lane: LaneConfig {
            concurrency: usize::try_from(integration.limits.concurrency).unwrap_or(usize::MAX),
            budget: integration.limits.requests,
            upload_budget: integration.limits.upload_bytes,
            ..LaneConfig::default()
        },
    })
}

/// A hash of the settings a client is made from, so that a change is noticed.
fn settings_mark(integration: &Integration) -> Vec<u8> {
    let limits = format!("{:?}", integration.limits);
    let graph_url = integration.graph_url.as_deref().unwrap_or_default();
    mark([&integration.token_endpoint, graph_url, &integration.client_id, &integration.cloud, &limits])
}

/// A hash of the credentials, so that a change is noticed without keeping the secrets beside it.
fn credentials_mark(integration: &Integration) -> Vec<u8> {
    let dates = |c: &Credential| format!("{:?} {:?}", c.starts_at, c.expires_at);
    let all: Vec<String> = integration.credentials.iter().map(dates).collect();
    mark(integration.credentials.iter().zip(&all).flat_map(|(c, dates)| {
        [c.name.as_str(), c.proof.kind.as_str(), c.proof.text.expose_secret(), dates.as_str()]
    }))
}

fn mark<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    use aws_lc_rs::digest::{Context, SHA256};
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    }
    context.finish().as_ref().to_vec()
}
