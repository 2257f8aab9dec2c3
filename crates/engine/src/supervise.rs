//! Starts what this node has to run and keeps it running: its heartbeat, the
//! leases of its mailboxes, one loop for each mailbox, distribution, the feed.
//!
//! A mailbox's loop reconciles subscription and delta track again and again; it
//! is the same code at the first connection, after a crash and after an outage.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use jiff::SignedDuration;
use postroom_graph::GraphErrorKind;
use postroom_model::{MailboxId, Timestamp, mailbox::MailboxHealth};
use postroom_store::{
    CHANNEL, DbError, Engine as Sql, Unit, feed::Topic, folders, jobs, jobs::Lane, leases, mailboxes,
    mailboxes::Mailbox, signals::Wake, subscriptions,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    jobs::{JobError, Retry},
    subscribe, sync,
};

/// How often a node says that it lives, and how long its leases outlast its last word.
pub(crate) struct Heartbeat {
    pub(crate) every: SignedDuration,
    pub(crate) lease: SignedDuration,
}

/// Nodes on one PostgreSQL take over from one another within seconds.
const AMONG_NODES: Heartbeat =
    Heartbeat { every: SignedDuration::from_secs(3), lease: SignedDuration::from_secs(10) };
/// An SQLite store is served by one process; the next one voids every lease at its start.
const ALONE: Heartbeat =
    Heartbeat { every: SignedDuration::from_mins(1), lease: SignedDuration::from_mins(10) };
/// After an error the mailbox's loop waits this long, doubled each time.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// The longest wait after errors.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);

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
        let engine = self.clone();
        self.tasks().spawn(async move { engine.run_feed().await });
        let engine = self.clone();
        self.tasks().spawn(async move { engine.run_assign().await });
        let engine = self.clone();
        let end = self.tasks().stopping().clone();
        self.tasks().spawn(async move { engine.run_lane(Lane::Work, end).await });
        let engine = self.clone();
        self.tasks().spawn(async move { engine.run_listen().await });
        let engine = self.clone();
        self.tasks().spawn(async move { engine.run_supervise().await });
        Ok(())
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
        let mut running: BTreeMap<MailboxId, CancellationToken> = BTreeMap::new();
        let mut changes = self.changes();
        loop {
            if let Err(error) = self.supervise_round(&mut running).await {
                tracing::warn!(error = %error, "The node's leases could not be renewed");
            }
            let sleep = self.sleep_until(self.now() + self.heartbeat().every);
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    () = self.tasks().stopping().cancelled() => {
                        self.resign().await;
                        return;
                    }
                    () = &mut sleep => break,
                    change = changes.recv() => {
                        if change.is_ok_and(|change| change.topic == Topic::Organization) {
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn supervise_round(
        &self,
        running: &mut BTreeMap<MailboxId, CancellationToken>,
    ) -> Result<(), DbError> {
        self.beat().await?;
        let db = &self.store().db;
        let now = self.now();
        let held = leases::list_of(db, self.node(), now).await?;
        let until = now + self.heartbeat().lease;
        let mut ours = Vec::new();
        for mailbox in mailboxes::list(db).await? {
            let name = Lane::Mailbox(mailbox.id).to_string();
            if held.contains(&name) || leases::claim(db, &name, self.node(), now, until).await?.is_some() {
                ours.push(mailbox.id);
            }
        }
        running.retain(|id, end| {
            let stays = ours.contains(id);
            if !stays {
                end.cancel();
            }
            stays
        });
        for id in ours {
            running.entry(id).or_insert_with(|| self.start_mailbox(id));
        }
        Ok(())
    }

    fn start_mailbox(&self, id: MailboxId) -> CancellationToken {
        let end = self.tasks().stopping().child_token();
        let (engine, token) = (self.clone(), end.clone());
        self.tasks().spawn(async move { engine.run_lane(Lane::Mailbox(id), token).await });
        let (engine, token) = (self.clone(), end.clone());
        self.tasks().spawn(async move { engine.run_mailbox(id, token).await });
        end
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
        let name = format!("node/{}", self.node());
        leases::claim(&self.store().db, &name, self.node(), now, until).await?;
        let unit =
            Unit::new().with(leases::renew_all(self.node(), until)).with(jobs::release_of_dead_nodes(now));
        self.store().commit(unit).await?;
        *self.0.leased_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        Ok(())
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

    /// The loop of one mailbox.
    async fn run_mailbox(&self, id: MailboxId, end: CancellationToken) {
        let hint = self.hint(id);
        let mut wait = FIRST_WAIT;
        loop {
            let next = match self.reconcile_mailbox(id).await {
                Ok(Some(next)) => {
                    wait = FIRST_WAIT;
                    next
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(mailbox.id = %id, error = %error, cause = cause(&error), "Mailbox can't be followed");
                    self.record_failure(id, &error).await;
                    let until = match error.retry() {
                        Retry::Park(Some(until)) => until,
                        _ => self.now() + wait,
                    };
                    wait = (wait * 2).min(LONGEST_WAIT);
                    until
                }
            };
            tokio::select! {
                () = end.cancelled() => return,
                () = hint.notified() => {}
                () = self.sleep_until(next) => {}
            }
        }
    }

    /// Brings subscription and delta track of every folder to where they should be.
    /// Gives the time of the next look, or nothing if the mailbox is gone.
    async fn reconcile_mailbox(&self, id: MailboxId) -> Result<Option<Timestamp>, JobError> {
        let db = &self.store().db;
        let Some(mut mailbox) = mailboxes::find(db, id).await? else { return Ok(None) };
        if mailbox.activated_at.is_none() {
            let now = self.now();
            self.store().commit(Unit::new().with(mailboxes::record_activated(id, now))).await?;
            mailbox.activated_at = Some(now);
        }
        let graph = self.graph(mailbox.integration).await?;
        let lane = self.mailbox(&mailbox).await?;
        let mut next = self.now() + SignedDuration::try_from(sync::LONGEST_SLEEP).unwrap_or(LONGEST_WAIT);
        for folder in folders::list_of_mailbox(db, id).await? {
            let folder = self.resolve_folder(&lane, &folder).await?;
            self.reconcile_subscription(&graph, &mailbox, &folder).await?;
            if sync::next_round(&folder).is_none_or(|due| due <= self.now()) {
                self.delta_round(&mailbox, &lane, &folder).await?;
            }
            self.sweep_if_due(&mailbox, &lane, &folder).await?;
            let newest = subscriptions::list_of_folder(db, folder.id).await?;
            if let Some(look) = subscribe::next_look(newest.first()) {
                next = next.min(look);
            }
            if let Some(fresh) = folders::find(db, folder.id).await?
                && let Some(due) = sync::next_round(&fresh)
            {
                next = next.min(due);
            }
        }
        self.record_health(&mailbox, MailboxHealth::Healthy, None).await?;
        Ok(Some(next))
    }

    async fn record_failure(&self, id: MailboxId, error: &JobError) {
        let health = match error {
            JobError::Graph(error)
                if matches!(
                    error.kind(),
                    GraphErrorKind::Throttled { .. } | GraphErrorKind::Parked { .. }
                ) =>
            {
                MailboxHealth::Throttled
            }
            _ => MailboxHealth::Failing,
        };
        let Ok(Some(mailbox)) = mailboxes::find(&self.store().db, id).await else { return };
        if let Err(error) = self.record_health(&mailbox, health, Some(&cause(error))).await {
            tracing::warn!(mailbox.id = %id, error = %error, "The mailbox's health could not be recorded");
        }
    }

    async fn record_health(
        &self,
        mailbox: &Mailbox,
        health: MailboxHealth,
        detail: Option<&str>,
    ) -> Result<(), DbError> {
        if mailbox.health == health && mailbox.health_detail.as_deref() == detail {
            return Ok(());
        }
        let now = self.now();
        let mut unit = Unit::new().with(mailboxes::record_health(mailbox.id, health, detail, now));
        unit.changed(now, Topic::Mailbox, mailbox.id);
        self.store().commit_guarded(unit).await.map(drop)
    }
}

/// An error with everything behind it, for people.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
