//! The work of Postroom: intake, sync, fetch, process, assign, the commands of
//! the desk, the outbox, and the runner that carries out the jobs.
//!
//! Data flows one way: a notification or a delta page becomes a ledger row and a
//! job; each job reads the present state, makes at most one outside call, and
//! commits its effect together with the jobs that follow. Decisions are taken by
//! `model`; only this crate opens sealed content. Knows nothing of serving HTTP.

pub mod admin_sign_in;
mod after_taking;
mod assign;
pub mod connections;
pub mod credentials;
pub mod desk;
pub mod doctor;
pub mod explain;
mod fetch;
pub mod figures;
mod follow;
mod hold;
pub mod intake;
mod jobs;
mod live;
pub mod onboarding;
mod process;
mod reading;
mod rebuild;
mod runner;
pub mod seek;
mod send;
pub mod sessions;
mod strangers;
mod subscribe;
mod supervise;
mod sync;
mod tasks;
pub mod watch;
pub mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postroom_graph::{ReadFile, Transport};
use postroom_model::{Clock, Entropy, IntegrationId, MailboxId, NodeId, Timestamp, alerts::Alert};
use postroom_store::{Store, feed::Change};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Notify, Semaphore, broadcast};
use url::Url;

pub use jobs::{JobError, in_full};
pub use tasks::{Cpu, Tasks};

use crate::{connections::Connection, follow::Trouble};

/// What the engine is made of: the effects and the place of its public address.
pub struct Parts {
    /// The durable side.
    pub store: Store,
    /// How Microsoft is reached.
    pub transport: Transport,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// How token files are read.
    pub read_file: ReadFile,
    /// Where background work runs, and how it ends.
    pub tasks: Tasks,
    /// This process.
    pub node: NodeId,
    /// The address under which Microsoft reaches us, without a path.
    pub public_url: Url,
    /// When the certificate of that address ends, if this process holds it.
    pub certificate_ends: Option<watch::CertificateEnds>,
    /// How anybody in the internet reaches us, by the public certificate authorities alone.
    pub outside: Transport,
    /// How much room is left where the store lies, where this process can see that.
    pub look_at_space: Option<doctor::LookAtSpace>,
    /// To whom alerts are mailed.
    pub alert_mail: Option<watch::AlertMail>,
    /// How an alert leaves this system; without it the log and the pages tell alone.
    pub tell_alert: Option<watch::TellAlert>,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    parts: Parts,
    connections: Mutex<BTreeMap<IntegrationId, Connection>>,
    hints: Mutex<BTreeMap<MailboxId, Arc<Hints>>>,
    /// The folders to which taken mails are moved, by mailbox and path.
    folders: Mutex<BTreeMap<(MailboxId, String), String>>,
    /// Mailboxes that somebody paused.
    paused: Mutex<BTreeSet<MailboxId>>,
    /// A notification came to an address without subscription.
    stranger_heard: Notify,
    changes: broadcast::Sender<Change>,
    /// What needs an administrator, as it was last looked.
    alerts: Mutex<Vec<Alert>>,
    /// From a mail's arrival to its queue.
    arrival_to_queue: Histogram,
    /// The room for mails in the clear, in MiB.
    reading: Semaphore,
    /// Until when this node may act for the mailboxes it has leased.
    leased_until: Mutex<Timestamp>,
}

/// What wakes the loops of a mailbox, and what they tell each other.
#[derive(Default)]
struct Hints {
    /// Something was announced.
    heard: Notify,
    /// It stands otherwise than before: paused, resumed, subscribed to.
    changed: Notify,
    /// Its subscriptions may need something.
    subscribe: Notify,
    /// Its jobs are tried at once, whatever they wait for.
    work: Notify,
    /// What is wrong with its subscriptions.
    subscribing: Mutex<Trouble>,
}

impl Hints {
    /// Everything is tried at once, whatever failed before.
    fn look_anew(&self) {
        *self.subscribing() = Trouble::default();
        self.changed.notify_one();
        self.subscribe.notify_one();
        self.work.notify_one();
    }

    fn subscribing(&self) -> MutexGuard<'_, Trouble> {
        self.subscribing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many changes a slow listener may lag behind before it must read anew.
const CHANGES_KEPT: usize = 1024;

impl Engine {
    /// Puts the engine together; nothing runs before [`Engine::start`].
    pub fn new(parts: Parts) -> Self {
        let leased_until = Mutex::new(parts.clock.now());
        Self(Arc::new(Inner {
            parts,
            connections: Mutex::default(),
            hints: Mutex::default(),
            folders: Mutex::default(),
            paused: Mutex::default(),
            stranger_heard: Notify::new(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            alerts: Mutex::default(),
            arrival_to_queue: Histogram::new(figures::BOUNDS),
            reading: Semaphore::new(reading::ROOM as usize),
            leased_until,
        }))
    }

    /// The durable side.
    pub fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// Time.
    pub fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    /// The address under which Microsoft reaches us.
    pub fn public_url(&self) -> &Url {
        &self.0.parts.public_url
    }

    /// Hears of every change, from the moment of the call.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    fn entropy(&self) -> &Entropy {
        &self.0.parts.entropy
    }

    fn tasks(&self) -> &Tasks {
        &self.0.parts.tasks
    }

    fn node(&self) -> NodeId {
        self.0.parts.node
    }

    fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    /// What wakes the loop of a mailbox.
    fn hints(&self, mailbox: MailboxId) -> Arc<Hints> {
        self.0.hints.lock().unwrap_or_else(PoisonError::into_inner).entry(mailbox).or_default().clone()
    }

    /// Sleeps until `time`; returns at once if it has come.
    async fn sleep_until(&self, time: Timestamp) {
        if let Ok(wait) = std::time::Duration::try_from(time.duration_since(self.now())) {
            tokio::time::sleep(wait).await;
        }
    }
}
