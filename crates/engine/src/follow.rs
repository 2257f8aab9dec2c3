//! The loop of one mailbox: delta track and sweep of every folder, again and again.
//!
//! Started by `supervise` on the node that holds the mailbox's lease. It is the same
//! code at the first connection, after a crash and after an outage. Rule kept: mails
//! come by the delta query whatever becomes of the subscriptions, which have a loop of
//! their own (design invariant 3).

use jiff::SignedDuration;
use postroom_graph::{GraphError, GraphErrorKind, Mailbox as Lane, ParkReason};
use postroom_model::{MailboxId, Timestamp, mailbox::MailboxHealth};
use postroom_store::{
    DbError, Unit,
    feed::Topic,
    folders::{self, Folder},
    jobs::{self, Lane as JobLane},
    mailboxes::{self, Mailbox},
    subscriptions,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    jobs::{JobError, Retry, in_full},
    subscribe, sync,
};

/// After an error the loop waits this long, doubled each time.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// The longest wait after errors.
pub(crate) const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);

/// Something that failed and is tried again after growing waits.
#[derive(Default)]
pub(crate) struct Trouble {
    times: u32,
    /// Not before; nothing while it works.
    pub(crate) again_at: Option<Timestamp>,
    cause: String,
}

impl Trouble {
    /// Takes down a failure. Gives when to try again.
    pub(crate) fn note(&mut self, error: &JobError, now: Timestamp) -> Timestamp {
        let wait = FIRST_WAIT.saturating_mul(1 << self.times.min(16)).min(LONGEST_WAIT);
        let at = match error.retry() {
            Retry::Park(Some(until)) => until,
            _ => now + wait,
        };
        *self = Self { times: self.times + 1, again_at: Some(at), cause: in_full(error) };
        at
    }

    /// What is wrong; nothing while it works.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.again_at.map(|_| self.cause.as_str())
    }
}

/// What came of one look at a folder.
struct Followed {
    /// Whether announcements can be expected.
    announced: bool,
    /// When its next delta round is due.
    round: Option<Timestamp>,
}

/// When the loop looks again.
struct Next {
    at: Timestamp,
    /// Whether something announced brings it nearer.
    hastened: bool,
}

impl Engine {
    /// Follows the mailbox until `end`.
    pub(crate) async fn run_mailbox(&self, id: MailboxId, end: CancellationToken) {
        let hints = self.hints(id);
        let begun = self.now();
        let mut following = Trouble::default();
        loop {
            let looked = self.now();
            // On the heap, while it lasts: thousands of these loops sleep most of the time.
            let next = match Box::pin(self.reconcile_mailbox(id, begun)).await {
                Ok(Some(at)) => {
                    following = Trouble::default();
                    Next { at, hastened: true }
                }
                Ok(None) => return,
                Err(error) => {
                    let at = following.note(&error, self.now());
                    tracing::warn!(mailbox.id = %id, error = %error, cause = following.cause, "Mailbox can't be followed");
                    self.record_failure(id, &error, &following.cause).await;
                    Next { at, hastened: false }
                }
            };
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = hints.changed.notified() => continue,
                () = hints.heard.notified(), if next.hastened => {}
                () = self.sleep_until(next.at) => continue,
            }
            // The folder is dirty. More may be announced: one look for all of it is enough.
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = hints.changed.notified() => {}
                () = self.sleep_until(next.at.min(looked + sync::DIRTY_EVERY)) => {}
            }
        }
    }

    /// Brings the delta track of every folder to where it should be. Gives the time of the next look, or
    /// nothing if the mailbox is gone. `begun` is when this loop began.
    async fn reconcile_mailbox(
        &self,
        id: MailboxId,
        begun: Timestamp,
    ) -> Result<Option<Timestamp>, JobError> {
        let db = &self.store().db;
        let Some(mut mailbox) = mailboxes::find(db, id).await? else { return Ok(None) };
        if mailbox.paused_at.is_some() {
            self.record_health(&mailbox, MailboxHealth::Paused, None).await?;
            return Ok(Some(self.now() + LONGEST_WAIT));
        }
        if mailbox.activated_at.is_none() {
            let now = self.now();
            self.store().commit(Unit::new().with(mailboxes::record_activated(id, now))).await?;
            mailbox.activated_at = Some(now);
        }
        let lane = self.mailbox(&mailbox).await?;
        if let Some(asked) = mailbox.resync_asked_at {
            self.begin_resync(&mailbox, &lane, asked).await?;
        }
        let unannounced_because = self.hints(id).subscribing().cause().map(str::to_owned);
        let (mut announced, mut broken) = (true, None);
        let mut next = self.now() + self.heartbeat().look;
        for folder in folders::list_of_mailbox(db, id).await? {
            // What is wrong with one folder stops no other.
            match self.follow_folder(&mailbox, &lane, &folder, begun, unannounced_because.is_some()).await {
                Ok(followed) => {
                    announced &= followed.announced;
                    next = next.min(followed.round.unwrap_or(next));
                }
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        if let Some(error) = broken {
            return Err(error);
        }
        // What was refused stands there already, with Microsoft's own words.
        let is_limited = lane.lane().is_limited && mailbox.health == MailboxHealth::Failing;
        // The first subscription may be on its way.
        let is_new = unannounced_because.is_none() && mailbox.health == MailboxHealth::Connecting;
        match announced {
            _ if is_limited => {}
            true => self.record_health(&mailbox, MailboxHealth::Healthy, None).await?,
            false if is_new => {}
            false => {
                self.record_health(&mailbox, MailboxHealth::Polling, unannounced_because.as_deref()).await?;
            }
        }
        Ok(Some(next))
    }

    /// Brings one folder to where it should be. While announcements can't be had, `is_polled`, it is
    /// followed each minute.
    async fn follow_folder(
        &self,
        mailbox: &Mailbox,
        lane: &Lane,
        folder: &Folder,
        begun: Timestamp,
        is_polled: bool,
    ) -> Result<Followed, JobError> {
        let db = &self.store().db;
        let folder = self.resolve_folder(lane, folder).await?;
        let newest = subscriptions::list_of_folder(db, folder.id).await?.into_iter().next();
        let announced = subscribe::stands(newest.as_ref(), self.now());
        if !announced && is_polled {
            self.watch_closely(&folder).await?;
        }
        let is_due = sync::next_round(&folder, begun).is_none_or(|due| due <= self.now());
        let round = if is_due { self.delta_round(mailbox, lane, &folder).await } else { Ok(()) };
        // A track that can't be followed is no reason not to look at the dates.
        let swept = self.sweep_if_due(mailbox, lane, &folder).await;
        round.and(swept)?;
        if is_due || !announced {
            // What was found may show that nothing announced it.
            self.hints(mailbox.id).subscribe.notify_one();
        }
        let round = folders::find(db, folder.id).await?.and_then(|folder| sync::next_round(&folder, begun));
        Ok(Followed { announced, round })
    }

    /// Everything is looked at anew: folders by their names, tracks from their beginning,
    /// subscriptions, whatever waits to be tried again; a rest that nobody asked for ends.
    async fn begin_resync(&self, mailbox: &Mailbox, lane: &Lane, asked: Timestamp) -> Result<(), JobError> {
        let now = self.now();
        let unit = Unit::new()
            .with(folders::forget_tracks_of(mailbox.id, now))
            .with(subscriptions::record_all_ended(mailbox.id, now))
            .with(jobs::hasten_lane(JobLane::Mailbox(mailbox.id), now))
            .with(mailboxes::record_resync_begun(mailbox.id, asked));
        self.store().commit(unit).await?;
        lane.end_rest();
        self.renew_token(mailbox.integration);
        self.hints(mailbox.id).look_anew();
        tracing::info!(mailbox.id = %mailbox.id, "Mailbox is looked at anew, as asked");
        Ok(())
    }

    pub(crate) async fn record_failure(&self, id: MailboxId, error: &JobError, cause: &str) {
        let health = match error {
            JobError::Graph(GraphError::Parked(parked)) => match parked.reason {
                ParkReason::Throttled | ParkReason::Budget => MailboxHealth::Throttled,
                // The lane rests because of what stands there already, with Microsoft's own words.
                ParkReason::Outage | ParkReason::ShutOut | ParkReason::NotAllowed => return,
            },
            JobError::Graph(error) if matches!(error.kind(), GraphErrorKind::Throttled { .. }) => {
                MailboxHealth::Throttled
            }
            _ => MailboxHealth::Failing,
        };
        let Ok(Some(mailbox)) = mailboxes::find(&self.store().db, id).await else { return };
        if let Err(error) = self.record_health(&mailbox, health, Some(cause)).await {
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
