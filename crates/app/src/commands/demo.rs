//! `postroom demo`: the server and a Microsoft 365 simulator in one process, with
//! a sample organisation and mails that keep arriving.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use postroom_engine::Engine;
use postroom_sim::{MailboxConfig, Simulator};
use postroom_store::{folders, jobs, mailboxes};
use postroom_web::Web;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use crate::{
    commands::{sim, user},
    config::{self, Config},
    effects, organization, sample, server, system,
};

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The port of the screens; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where to keep everything; without it a temporary folder that is removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Deliver every .eml of this folder to support@ instead of the samples.
    #[arg(long)]
    mail: Option<PathBuf>,
    /// End when every mail that was delivered is in its final place.
    #[arg(long)]
    exit_when_quiet: bool,
    /// Where to write, as JSON, addresses and sign-ins, once all is up.
    #[arg(long)]
    ready: Option<PathBuf>,
}

/// The mailboxes of the sample tenant.
const MAILBOXES: [(&str, &str); 3] = [
    ("support@contoso.example", "Contoso Support"),
    ("billing@contoso.example", "Contoso Billing"),
    ("sales@contoso.example", "Contoso Sales"),
];
/// Who gets a password: role and address.
const PEOPLE: [(&str, &str); 6] = [
    ("agent", "agent1@contoso.example"),
    ("agent", "agent2@contoso.example"),
    ("agent", "agent3@contoso.example"),
    ("agent", "agent4@contoso.example"),
    ("supervisor", "supervisor@contoso.example"),
    ("admin", "admin@contoso.example"),
];
/// A mail arrives now and then, so that the screens live.
const MAIL_EVERY: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A person who can sign in.
struct SignIn {
    role: &'static str,
    email: &'static str,
    password: SecretString,
}

/// Runs the demo.
///
/// # Errors
/// When a port is in use, or the folders can't be used.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let ended = server::ended();
    let temporary;
    let folder = match &options.data {
        Some(folder) => std::path::absolute(folder)?,
        None => {
            temporary = TempDir::with_prefix("postroom-demo-").context("a temporary folder can't be made")?;
            temporary.path().to_owned()
        }
    };
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], options.port))).await?;
    let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
    let (settings, config) = configure(&folder, &url)?;
    let _sole_server = system::lock(&config)?;
    let mails = options.mail.as_deref().map(read_mails).transpose()?;

    let store = system::open_store(&config, &effects::system_entropy()).await?;
    let (engine, tasks) = system::engine(store, system::Around::network(&config)?);
    let served = sim::Served::start(&tasks, sim::Terms::local(), |config| {
        config.allow_http_loopback = true;
        config.mailboxes =
            MAILBOXES.iter().map(|(address, name)| MailboxConfig::new(*address, *name)).collect();
    })
    .await?;
    served.simulator.set_redirects(&served.config.client_id, &[engine.signed_in_url()])?;
    organize(&engine, &served).await?;
    let people = sign_ins(&engine).await?;
    let router = postroom_web::router(Web {
        engine: engine.clone(),
        public_url: url.clone(),
        trusted_proxies: config.server.trusted_proxies.clone(),
        tasks: tasks.clone(),
    });
    tasks.spawn(server::serve(listener, router, None, tasks.stopping().clone()));
    engine.start().await?;
    connected(&engine).await?;

    if let Some(path) = &options.ready {
        let users: Vec<_> = people
            .iter()
            .map(|who| json!({ "role": who.role, "email": who.email, "password": who.password.expose_secret() }))
            .collect();
        sim::write_ready(
            path,
            &json!({
                "url": address(&url),
                "simulator_url": served.control_url,
                "graph_url": served.graph_url,
                "token_endpoint": served.token_endpoint(),
                "control": served.control_url,
                "data_dir": folder,
                "mailboxes": served.simulator.mailboxes(),
                "users": users,
            }),
        )?;
    }
    print_welcome(&url, &served.control_url, &settings, &people);
    match &mails {
        Some(mails) => {
            mails.iter().try_for_each(|mail| deliver(&served.simulator, MAILBOXES[0].0, mail.clone()))?
        }
        None => sample::MAILS
            .iter()
            .try_for_each(|mail| deliver(&served.simulator, mail.to, mail.mime.to_vec()))?,
    }
    if options.exit_when_quiet {
        tokio::select! {
            () = ended => {}
            quiet = quiet(&engine, &served.simulator) => quiet?,
        }
    } else {
        let keep = mails.is_some();
        tokio::select! {
            () = ended => {}
            kept = keep_writing(&served.simulator), if !keep => kept?,
        }
    }
    server::stop(&tasks).await;
    engine.store().db.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Writes the settings as a file, so that every other command finds this store, and reads them.
fn configure(folder: &Path, url: &Url) -> anyhow::Result<(PathBuf, Config)> {
    let text = |path: PathBuf| path.display().to_string();
    let settings = json!({
        "server": { "public_url": url },
        "store": {
            "url": format!("sqlite:{}", text(folder.join("postroom.db"))),
            "blobs": text(folder.join("blobs")),
        },
        "keys": { "file": text(folder.join("postroom.keys")) },
    });
    let path = folder.join("postroom.toml");
    let written = toml::to_string(&settings)?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, written))
        .with_context(|| format!("{} can't be written", path.display()))?;
    let config = config::load(Some(&path), &|_| None)?;
    Ok((path, config))
}

/// Writes the sample organisation, pointed at the simulator.
async fn organize(engine: &Engine, served: &sim::Served) -> anyhow::Result<()> {
    let text = sample::ORGANIZATION
        .replace(sample::TOKEN_ENDPOINT, &served.token_endpoint())
        .replace(sample::GRAPH_URL, &served.graph_url)
        .replace(sample::SECRET, "env:SIMULATOR_SECRET");
    let secret = served.config.client_secret.clone();
    let environment = move |name: &str| (name == "SIMULATOR_SECRET").then(|| secret.clone());
    let how = organization::Options { dry_run: false, prune: false };
    organization::apply(&text, how, engine.store(), engine.clock(), &environment)
        .await
        .context("the sample organisation can't be written")?;
    Ok(())
}

async fn sign_ins(engine: &Engine) -> anyhow::Result<Vec<SignIn>> {
    let mut people = Vec::new();
    for (role, email) in PEOPLE {
        let password = SecretString::from(user::make_password());
        engine.set_password(email, password.clone()).await?;
        people.push(SignIn { role, email, password });
    }
    Ok(people)
}

/// Waits until every mailbox is followed: what is delivered from now on is taken.
async fn connected(engine: &Engine) -> anyhow::Result<()> {
    loop {
        let mut all = true;
        for mailbox in mailboxes::list(&engine.store().db).await? {
            let folders = folders::list_of_mailbox(&engine.store().db, mailbox.id).await?;
            all &= folders.iter().all(|folder| folder.crawled_at.is_some());
        }
        if all {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no mail is on its way and no job is left.
async fn quiet(engine: &Engine, simulator: &Simulator) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let read = simulator.mailboxes().iter().try_fold(true, |all, address| {
            let messages = simulator.messages(address)?;
            Ok::<_, anyhow::Error>(all && messages.iter().all(|message| message.is_read))
        })?;
        let jobs = jobs::list_counts(&engine.store().db).await?;
        if read && jobs.is_empty() && !simulator.is_busy() {
            return Ok(());
        }
    }
}

async fn keep_writing(simulator: &Simulator) -> anyhow::Result<()> {
    for mail in sample::MAILS.iter().cycle() {
        tokio::time::sleep(MAIL_EVERY).await;
        deliver(simulator, mail.to, sample::renewed(mail.mime, &user::make_password()))?;
    }
    Ok(())
}

fn deliver(simulator: &Simulator, to: &str, mime: Vec<u8>) -> anyhow::Result<()> {
    simulator.deliver(to, mime)?;
    Ok(())
}

/// Every mail of a folder and its subfolders, in the order of their names.
fn read_mails(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml")) {
                files.push(path);
            }
        }
    }
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{} holds no .eml file", folder.display());
    let read =
        |path: PathBuf| std::fs::read(&path).with_context(|| format!("{} can't be read", path.display()));
    files.into_iter().map(read).collect()
}

fn address(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

fn print_welcome(url: &Url, pages: &str, settings: &Path, people: &[SignIn]) {
    println!("Postroom is ready: {}/login", address(url));
    for who in people {
        println!("  {:<11} {:<28} {}", who.role, who.email, who.password.expose_secret());
    }
    println!("Write as a customer, and read the answers: {pages}");
    println!("Ask it in another terminal: postroom -c {} ledger", settings.display());
    println!("End with Ctrl+C.");
}
