//! `postroom sim`: the Microsoft 365 simulator alone, until it is told to end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use postroom_engine::{Cpu, Tasks};
use postroom_sim::{Clock, Config, MailboxConfig, Outgoing, Simulator};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{effects, server};

/// How the simulator runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Address and port of Graph and the token endpoint; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address and port of the control API and the pages; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Where to write, as JSON, how it is reached, once it is up.
    #[arg(long)]
    ready: Option<PathBuf>,
    /// Address of a mailbox of the tenant; may be repeated. Without it: the sample tenant.
    #[arg(long)]
    mailbox: Vec<String>,
    /// How long each Graph request takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Accept notification URLs of this machine without TLS, which Microsoft 365 does not.
    #[arg(long)]
    allow_http_loopback: bool,
}

/// Runs the simulator.
///
/// # Errors
/// When a port is in use or the network can't be used.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let ended = server::ended();
    let tasks = Tasks::new(Cpu::Pool);
    let served = Served::start(&tasks, options.listen, options.control, |config| {
        config.latency = Duration::from_millis(options.latency_ms);
        config.allow_http_loopback = options.allow_http_loopback;
        if !options.mailbox.is_empty() {
            config.mailboxes =
                options.mailbox.iter().map(|address| MailboxConfig::new(address, address)).collect();
        }
    })
    .await?;
    let facts = json!({
        "http": served.graph_url,
        "control": served.control_url,
        "token_endpoint": served.token_endpoint(),
        "tenant_id": served.config.tenant_id,
        "client_id": served.config.client_id,
        "client_secret": served.config.client_secret,
        "mailboxes": served.simulator.mailboxes(),
    });
    match &options.ready {
        Some(path) => write_ready(path, &facts)?,
        None => println!("{}", serde_json::to_string_pretty(&facts)?),
    }
    ended.await;
    server::stop(&tasks).await;
    Ok(ExitCode::SUCCESS)
}

/// A simulator that is served over the network of this machine.
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
        listen: SocketAddr,
        control: SocketAddr,
        settle: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let graph = server::bind(listen).await?;
        let control = server::bind(control).await?;
        let graph_url = format!("http://{}", graph.local_addr()?);
        let control_url = format!("http://{}", control.local_addr()?);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("the network can't be used")?;
        let clock = effects::system_clock();
        let mut config = Config::sample(Clock::new(move || clock.now()), Outgoing::Network(client));
        config.seed = u64::from_be_bytes(effects::system_entropy().bytes());
        config.graph_url = graph_url.clone();
        settle(&mut config);
        let simulator = Simulator::new(config.clone());
        serve(tasks, graph, simulator.graph_router());
        serve(tasks, control, simulator.control_router());
        let (delivering, stop) = (simulator.clone(), tasks.stopping().clone());
        tasks.spawn(async move { delivering.run(stop).await });
        Ok(Self { simulator, config, graph_url, control_url })
    }

    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.graph_url, self.config.tenant_id)
    }
}

fn serve(tasks: &Tasks, listener: TcpListener, router: Router) {
    tasks.spawn(server::serve(listener, router, None, tasks.stopping().clone()));
}

/// Writes the file in one piece: who waits for it never reads half of it.
pub(crate) fn write_ready(path: &Path, facts: &serde_json::Value) -> anyhow::Result<()> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, serde_json::to_vec_pretty(facts)?)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("{} can't be written", path.display()))
}
