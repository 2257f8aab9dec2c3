//! A simulator that is served over the network of this machine, for `postroom sim`
//! and the demo.

use std::io;
use std::net::SocketAddr;

use postroom_engine::Tasks;
use postroom_sim::{Certificate, Clock, Config, Network, Outgoing, Simulator, serve_proxy};

use crate::{effects, server};

/// Where it is served, and whom it trusts.
pub(crate) struct Terms {
    /// Address of Graph and Entra ID without TLS.
    pub(crate) listen: SocketAddr,
    /// Address of the control API and the pages.
    pub(crate) control: SocketAddr,
    /// CA certificates in PEM that are trusted, beside the system's, when notifications are
    /// sent; may be empty.
    pub(crate) trusted: String,
}

impl Terms {
    /// On free ports of this machine, trusting whom the system trusts.
    pub(crate) fn local() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen: free, control: free, trusted: String::new() }
    }
}

/// A simulator that is served.
pub(crate) struct Served {
    pub(crate) simulator: Simulator,
    pub(crate) config: Config,
    pub(crate) graph_url: String,
    pub(crate) control_url: String,
}

impl Served {
    /// Takes both ports and serves. `settle` may change what the sample tenant is made of.
    pub(crate) async fn start(
        tasks: &Tasks,
        terms: Terms,
        settle: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let graph = server::bind(terms.listen).await?;
        let control = server::bind(terms.control).await?;
        let graph_url = format!("http://{}", graph.local_addr()?);
        let control_url = format!("http://{}", control.local_addr()?);
        let clock = effects::system_clock();
        let network = Network::trusting(&terms.trusted).map_err(|error| {
            anyhow::anyhow!(error).context("--trust-ca must hold certificates in PEM form")
        })?;
        let mut config = Config::sample(Clock::new(move || clock.now()), Outgoing::Network(network));
        config.seed = u64::from_be_bytes(effects::system_entropy().bytes());
        config.graph_url = graph_url.clone();
        settle(&mut config);
        let simulator = Simulator::new(config.clone());

        let stop = tasks.stopping();
        let (plain, end) = (simulator.clone(), stop.clone());
        tasks.spawn(async move { report(plain.serve_http(graph, end).await) });
        tasks.spawn(server::serve(control, simulator.control_router(), None, stop.clone()));
        let (delivering, end) = (simulator.clone(), stop.clone());
        tasks.spawn(async move { delivering.run(end).await });
        Ok(Self { simulator, config, graph_url, control_url })
    }

    /// Serves Graph and Entra ID also with TLS, and says where.
    pub(crate) async fn start_https(
        &self,
        tasks: &Tasks,
        listen: SocketAddr,
        certificate: Certificate,
    ) -> anyhow::Result<SocketAddr> {
        let listener = server::bind(listen).await?;
        let address = listener.local_addr()?;
        let (simulator, end) = (self.simulator.clone(), tasks.stopping().clone());
        tasks.spawn(async move { report(simulator.serve_https(listener, &certificate, end).await) });
        Ok(address)
    }

    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.graph_url, self.config.tenant_id)
    }
}

/// Serves the proxy to the simulator whose TLS address is `simulator`, and says where.
pub(super) async fn start_proxy(
    tasks: &Tasks,
    listen: SocketAddr,
    simulator: SocketAddr,
) -> anyhow::Result<SocketAddr> {
    let listener = server::bind(listen).await?;
    let address = listener.local_addr()?;
    tasks.spawn(serve_proxy(listener, simulator, tasks.stopping().clone()));
    Ok(address)
}

fn report(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(error = %error, "The simulator has stopped serving");
    }
}
