//! `postroom sim`: the Microsoft 365 simulator alone, until it is told to end.

mod served;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use postroom_engine::{Cpu, Tasks};
use postroom_sim::{Certificate, MailboxConfig, Profile};
use serde_json::json;

pub(crate) use served::{Served, Terms};

use crate::server;

/// How the simulator runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Address and port of Graph and Entra ID without TLS; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address and port of Graph and Entra ID with TLS; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    tls_listen: SocketAddr,
    /// A further host name or IP address that the TLS certificate is for; may be repeated.
    #[arg(long)]
    tls_name: Vec<String>,
    /// Address and port of the control API and the pages; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Address and port of an HTTPS proxy that takes login.microsoftonline.com, graph.microsoft.com
    /// and their kin to the simulator, and nothing else anywhere.
    #[arg(long)]
    proxy: Option<SocketAddr>,
    /// A folder to keep the certificate and its CA in (ca.pem, server.pem, server.key), so that
    /// clients must be told to trust it only once. Mailboxes are not kept.
    #[arg(long)]
    state: Option<PathBuf>,
    /// CA certificates (PEM) to trust, beside the system's and the simulator's own, when
    /// notifications are sent to https addresses.
    #[arg(long)]
    trust_ca: Option<PathBuf>,
    /// Where to write, as JSON, how it is reached, once it is up.
    #[arg(long)]
    ready: Option<PathBuf>,
    /// Address of a mailbox of the tenant; may be repeated. Without it: the sample tenant.
    #[arg(long)]
    mailbox: Vec<String>,
    /// How long each Graph request takes, in milliseconds. The same as the switch `latency_ms`.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Faults to begin with: calm (none), field (what users of Microsoft 365 report) or storm.
    #[arg(long, default_value = "calm", value_parser = profile)]
    profile: Profile,
    /// A switch to begin with, as NAME=VALUE with the value as JSON; may be repeated. A wrong name is
    /// answered with those there are.
    #[arg(long, value_name = "NAME=VALUE")]
    switch: Vec<String>,
    /// From what all randomness comes: the same seed gives the same ids and faults. Without it each
    /// start is another world.
    #[arg(long)]
    seed: Option<u64>,
    /// Accept notification URLs of this machine without TLS, which Microsoft 365 does not.
    #[arg(long)]
    allow_http_loopback: bool,
}

/// Runs the simulator.
///
/// # Errors
/// When a port is in use, a file can't be used or the network can't.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let ended = server::ended();
    let tasks = Tasks::new(Cpu::Pool);
    let names = certificate_names(&options);
    let certificate = match &options.state {
        Some(folder) => Certificate::kept(folder, &names)?,
        None => Certificate::make(&names)?,
    };
    let mut trusted = certificate.ca_pem().to_owned();
    if let Some(path) = &options.trust_ca {
        let further = std::fs::read_to_string(path)
            .with_context(|| format!("--trust-ca {} can't be read", path.display()))?;
        trusted.push_str(&further);
    }
    let terms = Terms { listen: options.listen, control: options.control, trusted };
    let served = Served::start(&tasks, terms, |config| {
        config.latency = Duration::from_millis(options.latency_ms);
        config.allow_http_loopback = options.allow_http_loopback;
        config.switches = options.profile.switches();
        config.seed = options.seed.unwrap_or(config.seed);
        if !options.mailbox.is_empty() {
            config.mailboxes =
                options.mailbox.iter().map(|address| MailboxConfig::new(address, address)).collect();
        }
    })
    .await?;
    if let Some(folder) = &options.state {
        served.simulator.keep_signing_key(folder)?;
    }
    for switch in &options.switch {
        let (name, value) = switch
            .split_once('=')
            .with_context(|| format!("--switch {switch}: a switch is written NAME=VALUE"))?;
        // What is no JSON is a word.
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        served.simulator.set_switch(name, value).with_context(|| format!("--switch {switch}"))?;
    }
    let https = served.start_https(&tasks, options.tls_listen, certificate.clone()).await?;
    let proxy = match options.proxy {
        Some(address) => Some(served::start_proxy(&tasks, address, https).await?),
        None => None,
    };
    let facts = json!({
        "http": served.graph_url,
        "https": format!("https://{https}"),
        "ca_pem": certificate.ca_pem(),
        "control": served.control_url,
        "proxy": proxy.map(|address| format!("http://{address}")),
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

fn profile(name: &str) -> Result<Profile, String> {
    let known = Profile::ALL.map(Profile::name).join(", ");
    Profile::parse(name).ok_or_else(|| format!("there are: {known}"))
}

/// The certificate is also for the address that is listened on, unless that is every address.
fn certificate_names(options: &Options) -> Vec<String> {
    let listened: IpAddr = options.tls_listen.ip();
    let listened = (!listened.is_unspecified()).then(|| listened.to_string());
    options.tls_name.iter().cloned().chain(listened).collect()
}

/// Writes the file in one piece: who waits for it never reads half of it.
pub(crate) fn write_ready(path: &Path, facts: &serde_json::Value) -> anyhow::Result<()> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, serde_json::to_vec_pretty(facts)?)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("{} can't be written", path.display()))
}
