//! Reads the change feed and passes each entry on to whoever listens in this
//! process: pages, the distribution of conversations, the supervisor.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use postroom_model::{IntegrationId, mailbox::MailboxHealth};
use postroom_store::{
    DbError, Unit,
    content::ContentError,
    feed::{self, Position, Topic},
    mailboxes, messages, sessions,
    signals::Wake,
};

use crate::Engine;

/// The feed is read this often even without a signal where another process may
/// write to the store (`postroom apply`).
const READ_SHARED_EVERY: SignedDuration = SignedDuration::from_millis(500);
/// Where nobody else writes, every change comes with a signal.
const READ_ALONE_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// Entries are kept this long.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Old entries and sessions are removed this often.
const TIDY_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// Objects that no row names are looked for this often, and removed when they are older than a day: a
/// commit that still may come comes long before.
const ORPHANS_EVERY: SignedDuration = SignedDuration::from_hours(24);
const ORPHANS_KEPT: SignedDuration = SignedDuration::from_hours(24);
const AT_ONCE: u32 = 500;

impl Engine {
    pub(crate) async fn run_feed(&self) {
        let woken = self.store().signals.waiter(Wake::Feed);
        let read_every = if self.store().db.is_shared() { READ_SHARED_EVERY } else { READ_ALONE_EVERY };
        let mut position = None;
        let mut tidy_at = self.now() + TIDY_EVERY;
        let mut orphans_at = self.now() + ORPHANS_EVERY;
        loop {
            match self.pass_on(position).await {
                Ok(last) => position = Some(last),
                Err(error) => tracing::warn!(error = %error, "The change feed could not be read"),
            }
            if self.now() >= tidy_at {
                tidy_at = self.now() + TIDY_EVERY;
                self.tidy().await;
            }
            if self.now() >= orphans_at {
                orphans_at = self.now() + ORPHANS_EVERY;
                if let Err(error) = self.remove_orphans().await {
                    tracing::warn!(error = %error, "Orphaned objects could not be removed");
                }
            }
            tokio::select! {
                () = self.tasks().stopping().cancelled() => return,
                () = woken.notified() => {}
                () = self.sleep_until(self.now() + read_every) => {}
            }
        }
    }

    async fn pass_on(&self, position: Option<Position>) -> Result<Position, DbError> {
        let db = &self.store().db;
        let mut position = match position {
            Some(position) => position,
            None => feed::find_last(db).await?,
        };
        loop {
            let changes = feed::list_after(db, position, AT_ONCE).await?;
            let Some(last) = changes.last() else { return Ok(position) };
            position = last.at;
            for change in changes {
                if change.topic == Topic::Organization {
                    self.organization_changed().await;
                }
                // Nobody may be listening, which is fine.
                let _nobody = self.0.changes.send(change);
            }
        }
    }

    async fn organization_changed(&self) {
        match self.connect().await {
            Ok(changed) => self.try_anew(&changed).await,
            Err(error) => tracing::error!(error = %error, "The changed integrations can't be connected"),
        }
        if let Err(error) = self.release_unrouted().await {
            tracing::warn!(error = %error, "Held messages could not be routed anew");
        }
    }

    /// Mailboxes that failed with the former settings need not wait for their next try.
    async fn try_anew(&self, integrations: &BTreeSet<IntegrationId>) {
        if integrations.is_empty() {
            return;
        }
        match mailboxes::list(&self.store().db).await {
            Ok(mailboxes) => mailboxes
                .iter()
                .filter(|one| matches!(one.health, MailboxHealth::Failing | MailboxHealth::Polling))
                .filter(|one| integrations.contains(&one.integration))
                .for_each(|one| self.hints(one.id).look_anew()),
            Err(error) => tracing::warn!(error = %error, "Failing mailboxes wait for their next try"),
        }
    }

    /// Removes large objects that no row names: what was written before a commit that never came.
    async fn remove_orphans(&self) -> Result<(), ContentError> {
        let store = self.store();
        let old = store.blobs.list_older_than(self.now() - ORPHANS_KEPT).await?;
        let named = messages::list_blob_ids(&store.db).await?;
        for orphan in old.into_iter().filter(|id| !named.contains(id)) {
            tracing::info!(blob.id = %orphan, "An object that no message names is removed");
            store.blobs.delete(orphan).await?;
        }
        Ok(())
    }

    async fn tidy(&self) {
        let now = self.now();
        let unit = Unit::new().with(feed::forget(now - KEPT)).with(sessions::forget_expired(now));
        if let Err(error) = self.store().commit(unit).await {
            tracing::warn!(error = %error, "Old feed entries could not be removed");
        }
    }
}
