//! Opens a whole system from its configuration: store, keys, engine.
//!
//! Called by every command that touches the store. Rules kept: an empty store
//! gets a key file of its own, a store with content never starts with a missing
//! or wrong one, and one SQLite store is served by one process.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use postroom_engine::{
    Cpu, Engine, Parts, Tasks,
    doctor::LookAtSpace,
    watch::{AlertMail, CertificateEnds, TellAlert},
};
use postroom_graph::Transport;
use postroom_model::{Clock, Entropy, NodeId};
use postroom_store::{
    Db, DbConfig, DbError, MIGRATIONS, SqliteMode, Store,
    blobs::{BlobError, Blobs},
    seal::{KeyFileError, Keys},
    settings,
};
use secrecy::ExposeSecret as _;
use url::Url;

use crate::{config::Config, effects};

/// A system can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store's address is neither SQLite's nor PostgreSQL's.
    #[error("[store] url must begin with sqlite: or postgres://")]
    StoreUrl,
    /// A folder can't be made.
    #[error("the folder {path} can't be made")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Another process serves this store.
    #[error("another Postroom serves the store {0} already; stop it first, or give this one another store")]
    Served(PathBuf),
    /// The database failed.
    #[error("the database can't be used")]
    Db(#[from] DbError),
    /// The folder of large objects can't be used.
    #[error("the folder of large objects can't be used")]
    Blobs(#[from] BlobError),
    /// The key file can't be used.
    #[error("the key file {path} can't be used")]
    Keys {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: KeyFileError,
    },
    /// The store has content, but its key file is not there.
    #[error("the store has sealed content, but its key file {0} is missing; put the backed-up file there")]
    KeysMissing(PathBuf),
    /// The store was sealed with another key.
    #[error("the key file {0} is not the one this store was sealed with; put the right file there")]
    KeysWrong(PathBuf),
}

/// Opens the store that the configuration names: migrated, with its keys checked.
///
/// # Errors
/// With one line that says what is wrong and what to do.
pub async fn open_store(config: &Config, entropy: &Entropy) -> Result<Store, OpenError> {
    let db_config = db_config(config)?;
    if let DbConfig::Sqlite { path, .. } = &db_config {
        make_parent(path)?;
    }
    let db = Db::open(&db_config).await?;
    db.migrate(MIGRATIONS).await?;
    make_folder(&config.store.blobs)?;
    let blobs = Blobs::files(&config.store.blobs)?;
    let keys = open_keys(&db, &config.keys.file, entropy).await?;
    Ok(Store::new(db, blobs, keys, entropy.clone()))
}

/// Makes sure that this process alone serves the store; holds until the file is dropped.
///
/// # Errors
/// [`OpenError::Served`] if another process does.
pub fn lock(config: &Config) -> Result<Option<File>, OpenError> {
    let DbConfig::Sqlite { path, .. } = db_config(config)? else { return Ok(None) };
    make_parent(&path)?;
    let lock = path.with_extension("lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&lock)
        .map_err(|cause| OpenError::Folder { path: lock.clone(), cause })?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Served(path)),
        Err(TryLockError::Error(cause)) => Err(OpenError::Folder { path: lock, cause }),
    }
}

/// The network, with the certificate authorities that the configuration names besides the usual ones.
///
/// # Errors
/// When their file can't be read.
pub fn transport(config: &Config) -> anyhow::Result<Transport> {
    let ca = match &config.graph.ca_file {
        Some(path) => Some(
            std::fs::read(path)
                .with_context(|| format!("[graph] ca_file {} can't be read", path.display()))?,
        ),
        None => None,
    };
    Transport::network(ca.as_deref()).context("the network can't be used")
}

/// What is around an engine.
pub struct Around {
    /// How Microsoft is reached.
    pub transport: Transport,
    /// Time.
    pub clock: Clock,
    /// Where CPU work goes.
    pub cpu: Cpu,
    /// The address under which Microsoft reaches us.
    pub public_url: Url,
    /// When the certificate of that address ends.
    pub certificate_ends: Option<CertificateEnds>,
    /// How anybody in the internet reaches us.
    pub outside: Transport,
    /// How much room is left where the store lies.
    pub look_at_space: Option<LookAtSpace>,
    /// To whom alerts are mailed.
    pub alert_mail: Option<AlertMail>,
    /// How alerts leave this system.
    pub tell_alert: Option<TellAlert>,
}

impl Around {
    /// On the network that the configuration names, by the system's clock, without certificate and alerts.
    ///
    /// # Errors
    /// When the network can't be used.
    pub fn network(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            transport: transport(config)?,
            clock: effects::system_clock(),
            cpu: Cpu::Pool,
            public_url: config.server.public_url.clone(),
            certificate_ends: None,
            // Microsoft knows no authority but the public ones.
            outside: Transport::network(None).context("the network can't be used")?,
            look_at_space: Some(effects::look_at_space(places(config))),
            alert_mail: None,
            tell_alert: None,
        })
    }
}

/// Where the store lies on disks that can be seen from here.
fn places(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let database =
        config.store.url.expose_secret().strip_prefix("sqlite:").map(|path| ("store", path.into()));
    database.into_iter().chain([("blobs", config.store.blobs.clone())]).collect()
}

/// Puts an engine on an opened store.
pub fn engine(store: Store, around: Around) -> (Engine, Tasks) {
    let Around {
        transport,
        clock,
        cpu,
        public_url,
        certificate_ends,
        outside,
        look_at_space,
        alert_mail,
        tell_alert,
    } = around;
    let tasks = Tasks::new(cpu);
    let entropy = store.entropy.clone();
    let node = NodeId::from_uuid(entropy.uuid(clock.now()));
    let engine = Engine::new(Parts {
        store,
        transport,
        clock,
        entropy,
        read_file: effects::read_file(),
        tasks: tasks.clone(),
        node,
        public_url,
        certificate_ends,
        outside,
        look_at_space,
        alert_mail,
        tell_alert,
    });
    (engine, tasks)
}

fn db_config(config: &Config) -> Result<DbConfig, OpenError> {
    let url = config.store.url.expose_secret();
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(DbConfig::Sqlite { path: path.into(), mode: SqliteMode::Threads { readers: 4 } });
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(DbConfig::Postgres {
            url: config.store.url.clone(),
            max_connections: config.store.max_connections,
            ca_file: config.store.ca_file.clone(),
        });
    }
    Err(OpenError::StoreUrl)
}

/// Loads the keys of a store, or makes them for an empty one.
async fn open_keys(db: &Db, path: &Path, entropy: &Entropy) -> Result<Keys, OpenError> {
    let unusable = |cause| OpenError::Keys { path: path.to_owned(), cause };
    let known = settings::find(db, settings::KEY_FINGERPRINT).await?;
    if !path.exists() {
        if known.is_some() {
            return Err(OpenError::KeysMissing(path.to_owned()));
        }
        make_parent(path)?;
        Keys::generate(entropy).save(path).map_err(unusable)?;
        tracing::warn!(
            keys.file = %path.display(),
            "Made a key file. Back it up: without it nobody can read this store"
        );
    }
    let keys = Keys::load(path).map_err(unusable)?;
    match known {
        Some(known) if !keys.has_fingerprint(&known) => Err(OpenError::KeysWrong(path.to_owned())),
        Some(_) => Ok(keys),
        None => {
            db.apply(vec![settings::set(settings::KEY_FINGERPRINT, &keys.fingerprint())]).await?;
            Ok(keys)
        }
    }
}

fn make_parent(path: &Path) -> Result<(), OpenError> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => make_folder(parent),
        None => Ok(()),
    }
}

fn make_folder(path: &Path) -> Result<(), OpenError> {
    std::fs::create_dir_all(path).map_err(|cause| OpenError::Folder { path: path.to_owned(), cause })
}
