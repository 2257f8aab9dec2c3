//! Starts what this node has to run and keeps it running: its heartbeat, the
//! leases of its mailboxes and integrations, the loops of each, distribution, the
//! feed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::PoisonError;

use jiff::SignedDuration;
use postroom_model::{IntegrationId, MailboxId, Timestamp};
use postroom_store::{
    CHANNEL, DbError, Engine as Sql, Unit, feed::Topic, jobs, jobs::Lane, leases, mailboxes, signals::Wake,
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::DropGuard;

use crate::Engine;

/// How often a node says that it lives, and how long its leases outlast its last word.
pub(crate) struct Heartbeat {
    pub(crate) every: SignedDuration,
    pub(crate) lease: SignedDuration,
    /// How often idle loops look for work, in case a signal was lost: on one node none is.
    pub(crate) look: SignedDuration,
}

/// Nodes on one PostgreSQL take over from one another within seconds.
const AMONG_NODES: Heartbeat = Heartbeat {
    every: SignedDuration::from_secs(3),
    lease: SignedDuration::from_secs(10),
    look: SignedDuration::from_secs(30),
};
/// An SQLite store is served by one process; the next one voids every lease at its start.
const ALONE: Heartbeat = Heartbeat {
    every: SignedDuration::from_mins(5),
    lease: SignedDuration::from_mins(15),
    look: SignedDuration::from_mins(5),
};

/// What only one node at a time looks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Charge {
    Mailbox(MailboxId),
    /// The subscriptions of an application as a whole.
    Integration(IntegrationId),
}

impl fmt::Display for Charge {
    /// The name of its lease.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(id) => Lane::Mailbox(*id).fmt(f),
            Self::Integration(id) => write!(f, "integration/{id}"),
        }
    }
}

impl Engine {
    /// Starts all background work. It ends with [`crate::Tasks::stop`].
    ///
    /// # Errors
    /// When the store can't be made ready.
    pub async fn start(&self) -> Result<(), DbError> {
        let db = &self.store().db;
        if db.engine() == Sql::Sqlite {
            // One process serves a store file, and it is this one: what an earlier one held is free.
            let mut unit = Unit::new();
            unit.extend(leases::void_all());
            self.store().commit(unit).await?;
        }
        self.beat().await?;
        if let Err(error) = self.connect().await {
            tracing::error!(error = %error, "Integrations can't be connected");
        }
        // What was applied while nobody served may have declared their routes.
        self.release_unrouted().await?;
        self.keep("feed", |engine| async move { engine.run_feed().await });
        self.keep("assign", |engine| async move { engine.run_assign().await });
        let end = self.tasks().stopping().clone();
        self.keep("work", move |engine| {
            let end = end.clone();
            async move { engine.run_lane(Lane::Work, end).await }
        });
        self.keep("listen", |engine| async move { engine.run_listen().await });
        self.keep("watch", |engine| async move { engine.run_watch().await });
        self.keep("supervise", |engine| async move { engine.run_supervise().await });
        Ok(())
    }

    /// Runs a loop of the engine in the background, come what may.
    fn keep<F>(&self, name: impl fmt::Display, run: impl Fn(Engine) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let engine = self.clone();
        self.tasks().keep(name.to_string(), move || run(engine.clone()));
    }

    /// Hears the signals of other nodes.
    async fn run_listen(&self) {
        let signals = self.store().signals.clone();
        let hear = move |payload: &str| {
            if let Ok(wake) = payload.parse::<Wake>() {
                signals.signal(&wake);
            }
        };
        tokio::select! {
            () = self.tasks().stopping().cancelled() => {}
            () = self.store().db.listen(CHANNEL, hear) => {}
        }
    }

    async fn run_supervise(&self) {
        let mut running: BTreeMap<Charge, DropGuard> = BTreeMap::new();
        let mut changes = self.changes();
        loop {
            let wait = match self.supervise_round(&mut running).await {
                Ok(()) => self.heartbeat().every,
                Err(error) => {
                    tracing::warn!(error = %error, "The node's leases could not be renewed");
                    AMONG_NODES.every
                }
            };
            let sleep = self.sleep_until(self.now() + wait);
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    () = self.tasks().stopping().cancelled() => {
                        self.resign().await;
                        return;
                    }
                    () = &mut sleep => break,
                    change = changes.recv() => match change {
                        Ok(change) if change.topic != Topic::Organization => {}
                        // Of what was missed while others were heard, anything may have changed.
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => {}
                    },
                }
            }
        }
    }

    async fn supervise_round(&self, running: &mut BTreeMap<Charge, DropGuard>) -> Result<(), DbError> {
        self.beat().await?;
        let db = &self.store().db;
        let now = self.now();
        let held = leases::list_of(db, self.node(), now).await?;
        let until = now + self.heartbeat().lease;
        let mailboxes = mailboxes::list(db).await?;
        self.heed_wishes(&mailboxes);
        let integrations: BTreeSet<_> = mailboxes.iter().map(|mailbox| mailbox.integration).collect();
        let charges = mailboxes
            .iter()
            .map(|mailbox| Charge::Mailbox(mailbox.id))
            .chain(integrations.into_iter().map(Charge::Integration));
        let mut ours = BTreeSet::new();
        for charge in charges {
            let name = charge.to_string();
            if held.contains(&name) || leases::claim(db, &name, self.node(), now, until).await?.is_some() {
                ours.insert(charge);
            }
        }
        running.retain(|charge, _| ours.contains(charge));
        for charge in ours {
            running.entry(charge).or_insert_with(|| self.take_charge(charge));
        }
        Ok(())
    }

    /// Starts what there is to do for a charge. It ends when what is given is dropped.
    fn take_charge(&self, charge: Charge) -> DropGuard {
        let end = self.tasks().stopping().child_token();
        let token = end.clone();
        match charge {
            Charge::Integration(id) => self.keep(charge, move |engine| {
                let end = token.clone();
                async move { engine.run_strangers(id, end).await }
            }),
            Charge::Mailbox(id) => {
                self.keep(charge, move |engine| {
                    let end = token.clone();
                    async move { engine.run_lane(Lane::Mailbox(id), end).await }
                });
                let token = end.clone();
                self.keep(charge, move |engine| {
                    let end = token.clone();
                    async move { engine.run_mailbox(id, end).await }
                });
                let token = end.clone();
                self.keep(charge, move |engine| {
                    let end = token.clone();
                    async move { engine.run_subscriptions(id, end).await }
                });
            }
        }
        end.drop_guard()
    }

    /// Passes on what an administrator asked for since the last round.
    fn heed_wishes(&self, mailboxes: &[mailboxes::Mailbox]) {
        let paused: BTreeSet<_> = mailboxes
            .iter()
            .filter(|mailbox| mailbox.paused_at.is_some())
            .map(|mailbox| mailbox.id)
            .collect();
        let before = std::mem::replace(
            &mut *self.0.paused.lock().unwrap_or_else(PoisonError::into_inner),
            paused.clone(),
        );
        for mailbox in mailboxes {
            let turned = paused.contains(&mailbox.id) != before.contains(&mailbox.id);
            if turned {
                self.store().signals.signal(&Wake::Lane(Lane::Mailbox(mailbox.id)));
            }
            if turned || mailbox.resync_asked_at.is_some() {
                self.hints(mailbox.id).look_anew();
            }
        }
    }

    /// Whether the jobs of a lane are to wait because somebody paused its mailbox.
    pub(crate) fn is_paused(&self, lane: Lane) -> bool {
        match lane {
            Lane::Mailbox(id) => self.0.paused.lock().unwrap_or_else(PoisonError::into_inner).contains(&id),
            Lane::Work => false,
        }
    }

    pub(crate) fn heartbeat(&self) -> Heartbeat {
        match self.store().db.engine() {
            Sql::Sqlite => ALONE,
            Sql::Postgres => AMONG_NODES,
        }
    }

    /// Says that this node lives, and frees the jobs of nodes that don't.
    async fn beat(&self) -> Result<(), DbError> {
        let now = self.now();
        let until = now + self.heartbeat().lease;
        let name = leases::name_of_node(self.node());
        leases::claim(&self.store().db, &name, self.node(), now, until).await?;
        self.store().commit(Unit::new().with(leases::renew_all(self.node(), until))).await?;
        *self.0.leased_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        // By itself: what stands in the way of others' jobs is not to cost us our leases.
        self.store().commit(Unit::new().with(jobs::release_of_dead_nodes(now))).await.map(drop)
    }

    /// Whether this node may still act for what it has leased.
    pub(crate) fn holds_its_leases(&self, now: Timestamp) -> bool {
        // One process serves an SQLite store: nobody else can have taken over.
        self.store().db.engine() == Sql::Sqlite
            || now < *self.0.leased_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives everything back at an orderly end, so that another node goes on at once.
    async fn resign(&self) {
        let unit = Unit::new().with(jobs::release_all_of(self.node())).with(leases::release_all(self.node()));
        if let Err(error) = self.store().commit(unit).await {
            tracing::warn!(error = %error, "Leases could not be given back; they end by themselves");
        }
    }
}
