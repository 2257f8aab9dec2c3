//! A whole system in one process: simulator, engine and web, joined by function
//! calls instead of sockets.
//!
//! Made by the integration tests, in virtual time (one thread, inline SQLite) or
//! on real threads with either store. A kill drops every task at its next await,
//! as a power cut would, and opens the store again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use postroom_engine::{
    Cpu, Engine, Tasks,
    doctor::{LookAtSpace, Space},
    watch::{AlertMail, TellAlert},
};
use postroom_graph::Transport;
use postroom_model::{Clock, EmailAddress, Entropy, Timestamp, alerts::Alert};
use postroom_sim::{MailboxConfig, Outgoing, Simulator};
use postroom_store::{
    Db, DbConfig, MIGRATIONS, SqliteMode, Store, blobs::Blobs, db::FaultHook, folders, jobs, leases,
    mailboxes, messages, seal::Keys, settings,
};
use postroom_web::Web;
use tempfile::TempDir;
use tower::ServiceExt as _;
use url::Url;

use crate::{effects, organization, sample, system};

/// How a world keeps its data and its time.
#[derive(Debug, Clone)]
pub enum Ground {
    /// Inline SQLite on one thread: the runtime's time may be paused.
    Virtual,
    /// SQLite with its threads.
    Sqlite,
    /// A PostgreSQL database.
    Postgres(DbConfig),
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Store and time.
    pub ground: Ground,
    /// Everything random follows from it.
    pub seed: u64,
    /// The mailboxes of the tenant.
    pub mailboxes: Vec<MailboxConfig>,
    /// The organisation file, with the addresses of [`sample`] in place of the simulator's.
    pub organization: String,
    /// To whom alerts are mailed.
    pub alert_mail: Option<EmailAddress>,
}

impl Plan {
    /// The sample tenant and organisation.
    pub fn sample(ground: Ground) -> Self {
        let mailbox =
            |name: &str| MailboxConfig::new(format!("{name}@contoso.example"), format!("Contoso {name}"));
        Self {
            ground,
            seed: 1,
            mailboxes: ["support", "billing", "sales"].map(mailbox).into(),
            organization: sample::ORGANIZATION.to_owned(),
            alert_mail: None,
        }
    }
}

/// The address under which the simulator finds the web server of a world.
const PUBLIC_URL: &str = "http://127.0.0.1:1";
/// The address under which the engine finds the simulator.
const GRAPH_URL: &str = "http://127.0.0.1:2";
const GRAPH_HOST: &str = "127.0.0.1:2";
/// The proxy that may stand before the web server of a world.
const PROXY: &str = "192.0.2.1";
/// When a world in virtual time begins.
const BEGIN: &str = "2026-03-02T09:00:00Z";
/// How often a condition is looked at, and how often before it is given up.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: u32 = 3000;

/// The web server as the simulator reaches it: none while the system is down.
type Door = Arc<Mutex<Option<Router>>>;

/// A running system with its tenant.
pub struct World {
    /// The tenant.
    pub simulator: Simulator,
    system: System,
    door: Door,
    background: Tasks,
    parts: Parts,
}

/// The alerts that were told.
#[derive(Clone, Default)]
struct Alerted(Arc<Mutex<Vec<Alert>>>);

impl Alerted {
    fn teller(&self) -> TellAlert {
        let told = Arc::clone(&self.0);
        Arc::new(move |alert| {
            told.lock().unwrap_or_else(PoisonError::into_inner).push(alert);
            Box::pin(async { Ok(()) })
        })
    }
}

/// The disk of a world: a tebibyte, until a story says otherwise.
#[derive(Clone)]
struct Disk(Arc<Mutex<Space>>);

impl Disk {
    fn empty() -> Self {
        let all = 1 << 40;
        Self(Arc::new(Mutex::new(Space { place: "store".to_owned(), free: all, total: all })))
    }

    fn look(&self) -> LookAtSpace {
        let disk = Arc::clone(&self.0);
        Arc::new(move || vec![Ok(disk.lock().unwrap_or_else(PoisonError::into_inner).clone())])
    }
}

/// What survives a kill.
struct Parts {
    alert_mail: Option<AlertMail>,
    space: Disk,
    alerted: Alerted,
    _folder: TempDir,
    db: DbConfig,
    blobs: Blobs,
    keys: Keys,
    clock: Clock,
    entropy: Entropy,
    cpu: Cpu,
}

/// What a kill ends.
struct System {
    engine: Engine,
    tasks: Tasks,
    router: Router,
}

impl World {
    /// Opens the store, applies the organisation and starts everything.
    ///
    /// # Errors
    /// When a part can't be made.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(memory_folder())?;
        let (db, cpu, clock) = match plan.ground {
            Ground::Virtual => {
                let path = folder.path().join("postroom.db");
                let db = DbConfig::Sqlite { path, mode: SqliteMode::Inline };
                (db, Cpu::Inline, effects::tokio_clock(BEGIN.parse()?))
            }
            Ground::Sqlite => {
                let path = folder.path().join("postroom.db");
                let db = DbConfig::Sqlite { path, mode: SqliteMode::Threads { readers: 2 } };
                (db, Cpu::Pool, effects::system_clock())
            }
            Ground::Postgres(db) => (db, Cpu::Pool, effects::system_clock()),
        };
        let entropy = effects::seeded_entropy(plan.seed);
        let keys = Keys::generate(&entropy);
        let alerted = Alerted::default();
        let space = Disk::empty();
        let alert_mail = plan.alert_mail.map(|to| AlertMail {
            to,
            from: None,
            text: Arc::new(|alert| format!("{} {}", alert.kind, alert.about)),
        });
        let parts = Parts {
            alert_mail,
            space,
            alerted,
            _folder: folder,
            db,
            blobs: Blobs::memory(),
            keys,
            clock,
            entropy,
            cpu,
        };

        let door = Door::default();
        let simulator = tenant(&plan.mailboxes, plan.seed, &parts.clock, &door);
        let background = Tasks::new(parts.cpu);
        let (delivering, stop) = (simulator.clone(), background.stopping().clone());
        background.spawn(async move { delivering.run(stop).await });

        let store = parts.open().await?;
        let how = organization::Options { dry_run: false, prune: false };
        if !plan.organization.is_empty() {
            apply(&plan.organization, how, &store, &parts.clock).await?;
        }
        let system = parts.run(store, &simulator, &door).await?;
        Ok(Self { simulator, system, door, background, parts })
    }

    /// The engine, until the next kill.
    pub fn engine(&self) -> &Engine {
        &self.system.engine
    }

    /// The tables, until the next kill.
    pub fn db(&self) -> &Db {
        &self.system.engine.store().db
    }

    /// The alerts that were told, in order.
    pub fn alerted(&self) -> Vec<Alert> {
        self.parts.alerted.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves so many bytes free on the disk.
    pub fn leave_free(&self, bytes: u64) {
        self.parts.space.0.lock().unwrap_or_else(PoisonError::into_inner).free = bytes;
    }

    /// The present moment of this world.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The web server, for requests in this process.
    pub fn router(&self) -> Router {
        self.system.router.clone()
    }

    /// Has the database fail where the hook says so.
    pub fn set_fault(&self, hook: Option<FaultHook>) {
        self.db().set_fault(hook);
    }

    /// Ends everything at once, as a power cut would; nobody answers until [`World::restart`].
    pub async fn kill(&self) {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.system.tasks.kill().await;
        self.db().close().await;
    }

    /// Starts again on the same store.
    ///
    /// # Errors
    /// When the store can't be opened.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let store = self.parts.open().await?;
        self.system = self.parts.run(store, &self.simulator, &self.door).await?;
        Ok(())
    }

    /// Applies an organisation file, as the command would beside the running server.
    ///
    /// # Errors
    /// When the file has problems.
    pub async fn apply(&self, text: &str, how: organization::Options) -> anyhow::Result<()> {
        apply(text, how, self.engine().store(), &self.parts.clock).await
    }

    /// Applies an organisation file while nobody serves.
    ///
    /// # Errors
    /// When the file has problems.
    pub async fn apply_while_down(&self, text: &str, how: organization::Options) -> anyhow::Result<()> {
        let store = self.parts.open().await?;
        apply(text, how, &store, &self.parts.clock).await?;
        store.db.close().await;
        Ok(())
    }

    /// Waits until the condition holds.
    ///
    /// # Errors
    /// After five minutes, with what was waited for.
    pub async fn until<F>(&self, what: &str, mut holds: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        for _ in 0..LOOKS {
            if holds().await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let jobs = jobs::list_counts(self.db()).await?;
        anyhow::bail!("waited in vain until {what}; open jobs: {jobs:?}")
    }

    /// Waits until nothing is left to do: no job, no dirty folder, no notification on its way.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let quiet = || async { Ok(!self.simulator.is_busy() && self.is_idle().await?) };
        self.until("nothing is left to do", quiet).await
    }

    /// Whether the server has nothing left to do: no job, no dirty folder.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_idle(&self) -> anyhow::Result<bool> {
        let mut dirty = false;
        for mailbox in mailboxes::list(self.db()).await? {
            let folders = folders::list_of_mailbox(self.db(), mailbox.id).await?;
            dirty |= folders.iter().any(|folder| folder.dirty_since.is_some());
        }
        Ok(!dirty && jobs::list_counts(self.db()).await?.is_empty())
    }

    /// How many mails have come to their end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count_ended(&self) -> anyhow::Result<usize> {
        let counts = messages::list_state_counts(self.db()).await?;
        let ended = counts.iter().filter(|count| count.state.is_final()).map(|count| count.count);
        Ok(usize::try_from(ended.sum::<i64>())?)
    }

    /// Ends in an orderly way and checks that nothing is left behind: no job, no lease, no
    /// large object that nobody refers to.
    ///
    /// # Errors
    /// With what was left behind.
    pub async fn assert_quiet(self) -> anyhow::Result<()> {
        self.settle().await?;
        self.end().await
    }

    /// Ends in an orderly way and checks that nothing is left behind, as [`World::assert_quiet`] does,
    /// whatever the simulator still wants to deliver.
    ///
    /// # Errors
    /// With what was left behind.
    pub async fn end(self) -> anyhow::Result<()> {
        self.system.tasks.stop().await;
        self.background.stop().await;
        let db = self.db();
        let jobs = jobs::list_counts(db).await?;
        anyhow::ensure!(jobs.is_empty(), "jobs are left: {jobs:?}");
        let leases = leases::list_held(db, self.now()).await?;
        anyhow::ensure!(leases.is_empty(), "leases are left: {leases:?}");
        let known = messages::list_blob_ids(db).await?;
        let blobs = self.parts.blobs.list_older_than(Timestamp::MAX).await?;
        let orphans: Vec<_> = blobs.iter().filter(|blob| !known.contains(blob)).collect();
        anyhow::ensure!(orphans.is_empty(), "large objects are left: {orphans:?}");
        db.close().await;
        Ok(())
    }
}

const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const SECRET: &str = "sample~secret-of-the-simulator";

impl Parts {
    async fn open(&self) -> anyhow::Result<Store> {
        let db = Db::open(&self.db).await?;
        db.migrate(MIGRATIONS).await?;
        db.apply(vec![settings::set(settings::KEY_FINGERPRINT, &self.keys.fingerprint())]).await?;
        Ok(Store::new(db, self.blobs.clone(), self.keys.clone(), self.entropy.clone()))
    }

    async fn run(&self, store: Store, simulator: &Simulator, door: &Door) -> anyhow::Result<System> {
        let url = Url::parse(PUBLIC_URL)?;
        let graph = simulator.graph_router();
        let (own, own_door) = (url.authority().to_owned(), Arc::clone(door));
        let transport = Transport::in_process(move |request: Request<Bytes>| {
            let host = request.uri().authority().map(|host| host.as_str().to_owned()).unwrap_or_default();
            let router = match host.as_str() {
                host if host == own => own_door.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                GRAPH_HOST => Some(graph.clone()),
                _ => None,
            };
            async move {
                // As the network says it of names that are not there and of strangers who answer.
                let router = match router {
                    Some(router) => router,
                    None if host.ends_with(".internal") => return Err(io::Error::other("dns error")),
                    None if host.starts_with("untrusted.") => {
                        return Err(io::Error::other("invalid peer certificate"));
                    }
                    None => return Err(io::ErrorKind::ConnectionRefused.into()),
                };
                let Ok(answer) = router.oneshot(request.map(Body::from)).await;
                Ok(answer.map(|body| postroom_graph::Body::stream(body.into_data_stream())))
            }
        });
        let (engine, tasks) = system::engine(
            store,
            system::Around {
                outside: transport.clone(),
                transport,
                clock: self.clock.clone(),
                cpu: self.cpu,
                public_url: url.clone(),
                certificate_ends: None,
                look_at_space: Some(self.space.look()),
                alert_mail: self.alert_mail.clone(),
                tell_alert: Some(self.alerted.teller()),
            },
        );
        let router = postroom_web::router(Web {
            engine: engine.clone(),
            public_url: url,
            trusted_proxies: vec![PROXY.parse()?],
            tasks: tasks.clone(),
        });
        *door.lock().unwrap_or_else(PoisonError::into_inner) = Some(router.clone());
        engine.start().await?;
        Ok(System { engine, tasks, router })
    }
}

async fn apply(text: &str, how: organization::Options, store: &Store, clock: &Clock) -> anyhow::Result<()> {
    let text = text
        .replace(sample::TOKEN_ENDPOINT, &format!("{GRAPH_URL}/{TENANT}/oauth2/v2.0/token"))
        .replace(sample::GRAPH_URL, GRAPH_URL)
        .replace(sample::SECRET, "env:SECRET");
    let environment = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    organization::apply(&text, how, store, clock, &environment).await?;
    Ok(())
}

fn tenant(mailboxes: &[MailboxConfig], seed: u64, clock: &Clock, door: &Door) -> Simulator {
    let clock = clock.clone();
    let door = Arc::clone(door);
    let outgoing = Outgoing::InProcess(Arc::new(move |request| {
        let router = door.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            match router {
                Some(router) => Ok(call(router, request).await?),
                None => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            }
        })
    }));
    Simulator::new(postroom_sim::Config {
        seed,
        graph_url: GRAPH_URL.into(),
        mailboxes: mailboxes.to_vec(),
        allow_http_loopback: true,
        ..postroom_sim::Config::sample(postroom_sim::Clock::new(move || clock.now()), outgoing)
    })
}

/// Asks a router in this process and reads the whole answer.
///
/// # Errors
/// When the answer breaks off.
pub async fn call(router: Router, request: Request<Bytes>) -> io::Result<Response<Bytes>> {
    let Ok(answer) = router.oneshot(request.map(Body::from)).await;
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(head, bytes))
}

/// Memory if there is some that looks like a folder, so that a durable commit costs nothing.
fn memory_folder() -> &'static std::path::Path {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { memory } else { std::path::Path::new("/tmp") }
}
