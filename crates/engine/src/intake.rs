//! Intake: everything that says "there is a mail" ends here, in the same
//! idempotent step.
//!
//! Called by the webhook, the delta rounds and the sweep. Rule kept: the answer
//! to Microsoft is given only after the ledger row and its fetch job are durable
//! (design invariants 1 and 3).

use std::collections::BTreeMap;

use aws_lc_rs::{constant_time, digest};
use postroom_graph::notification::{LifecycleEvent, Notification, parse_notifications};
use postroom_model::{
    FolderId, MailboxId, MessageId, Timestamp,
    ledger::{MessageState, Reason, Step},
};
use postroom_store::{
    DbError, Unit, feed::Topic, folders, messages, messages::SeenMessage, subscriptions,
    subscriptions::Subscription, trace,
};
use serde_json::json;

use crate::{Engine, jobs::Work};

/// What a batch of notifications came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Intake {
    /// Elements that were taken, known mails and lifecycle events included.
    pub taken: usize,
    /// Elements whose client state was wrong: without effect.
    pub refused: usize,
    /// Elements for a path that no subscription has: without effect.
    pub unknown: usize,
}

/// A batch of notifications was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It is not a batch of notifications.
    #[error("the body is not a collection of change notifications")]
    Unreadable(#[source] postroom_graph::notification::NotificationError),
    /// It could not be made durable; Microsoft is to send it again.
    #[error("the notifications could not be stored")]
    Store(#[from] DbError),
}

/// A mail of which somebody told us.
pub(crate) struct Heard<'a> {
    pub(crate) graph_id: &'a str,
    pub(crate) received_at: Option<Timestamp>,
}

/// So many mails of a page are written down together: enough for one durable commit to be shared, and
/// few enough that pages of a hundred mailboxes at once don't fill the memory.
const AT_ONCE: usize = 64;

impl Engine {
    /// Takes a batch of change or lifecycle notifications that came to `path`.
    /// Returns after everything in it is durable.
    ///
    /// # Errors
    /// When the body can't be read, or nothing can be stored now.
    pub async fn notified(&self, path: &str, body: &[u8]) -> Result<Intake, IntakeError> {
        let notifications = parse_notifications(body).map_err(IntakeError::Unreadable)?;
        let Some(subscription) = subscriptions::find_by_path(&self.store().db, path).await? else {
            self.0.stranger_heard.notify_waiters();
            return Ok(Intake { unknown: notifications.len(), ..Intake::default() });
        };
        let (ours, foreign): (Vec<&Notification>, Vec<&Notification>) =
            notifications.iter().partition(|n| is_ours(&subscription, n));
        let heard: Vec<Heard<'_>> = ours
            .iter()
            .filter(|n| n.lifecycle.is_none())
            .filter_map(|n| n.message_id.as_deref())
            .map(|graph_id| Heard { graph_id, received_at: None })
            .collect();
        self.ensure_seen(subscription.mailbox, subscription.folder, &heard, Reason::Notified).await?;
        // Whatever tells of no mail is written beside; mails make their folder dirty themselves.
        if heard.len() < ours.len() {
            let mut unit = Unit::new().with(folders::record_notified(subscription.folder, self.now()));
            for event in ours.iter().filter_map(|n| n.lifecycle) {
                act_on(&mut unit, &subscription, event, self.now());
            }
            self.store().commit(unit).await?;
        }
        let hints = self.hints(subscription.mailbox);
        if heard.len() < ours.len() {
            hints.subscribe.notify_one();
        }
        if !ours.is_empty() {
            hints.heard.notify_one();
        }
        Ok(Intake { taken: ours.len(), refused: foreign.len(), unknown: 0 })
    }

    /// Puts every mail into the ledger that is not there yet, each with its fetch
    /// job. Gives the number of new ones. Whoever hears of a mail second changes nothing.
    pub(crate) async fn ensure_seen(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        heard: &[Heard<'_>],
        reason: Reason,
    ) -> Result<usize, DbError> {
        let mut new = 0;
        for heard in heard.chunks(AT_ONCE) {
            new += self.ensure_some_seen(mailbox, folder, heard, reason).await?;
        }
        Ok(new)
    }

    async fn ensure_some_seen(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        heard: &[Heard<'_>],
        reason: Reason,
    ) -> Result<usize, DbError> {
        let ids: Vec<&str> = heard.iter().map(|h| h.graph_id).collect();
        // What is announced is new, as a rule: it is written at once, and only what stands there already
        // is looked at again. What a delta round tells is mostly known.
        let known = if reason == Reason::Notified {
            BTreeMap::new()
        } else {
            messages::list_known(&self.store().db, mailbox, &ids).await?
        };
        // One unit for each mail, so that one that is known already spoils no other;
        // the store's group commit makes them durable together.
        let units = heard.iter().map(|h| {
            let unit = match known.get(h.graph_id) {
                None => Some(self.seen_unit(mailbox, folder, h, reason)),
                Some(_) => h
                    .received_at
                    .map(|at| Unit::new().with(messages::record_received_at(mailbox, h.graph_id, at))),
            };
            async move {
                let Some(unit) = unit else { return Ok::<_, DbError>(false) };
                let is_written = self.store().commit_guarded(unit).await?;
                if !is_written && reason == Reason::Notified {
                    let now = self.now();
                    let unit = Unit::new()
                        .with(messages::record_announced(mailbox, h.graph_id, now))
                        .with(folders::record_notified(folder, now));
                    self.store().commit(unit).await?;
                }
                Ok(is_written)
            }
        });
        let results = futures_util::future::try_join_all(units).await?;
        if reason != Reason::Notified {
            self.take_up_again(mailbox, &ids, reason).await?;
        }
        let new =
            heard.iter().zip(results).filter(|(h, written)| *written && !known.contains_key(h.graph_id));
        Ok(new.count())
    }

    /// What was given up as gone and is listed in its folder now is fetched after all.
    async fn take_up_again(&self, mailbox: MailboxId, ids: &[&str], reason: Reason) -> Result<(), DbError> {
        for id in messages::list_gone(&self.store().db, mailbox, ids).await? {
            let now = self.now();
            let (from, to) = (MessageState::Gone, MessageState::Seen);
            let mut unit = Unit::new().with(messages::record_state(id, from, to, reason, None)).with(
                trace::record(&trace::NewEntry {
                    at: now,
                    message: Some(id),
                    conversation: None,
                    step: Step::Released,
                    reason,
                    data: json!({}),
                }),
            );
            unit.enqueue(&Work::Fetch { mailbox, message: id }.job(self.entropy(), now));
            unit.changed(now, Topic::Message, id);
            self.store().commit_guarded(unit).await?;
        }
        Ok(())
    }

    fn seen_unit(&self, mailbox: MailboxId, folder: FolderId, heard: &Heard<'_>, reason: Reason) -> Unit {
        let now = self.now();
        let id = MessageId::from_uuid(self.entropy().uuid(now));
        let seen = SeenMessage {
            id,
            mailbox,
            folder,
            graph_id: heard.graph_id.to_owned(),
            reason,
            seen_at: now,
            received_at: heard.received_at,
        };
        let mut unit = Unit::new().with(messages::insert_seen(&seen)).with(trace::record(&trace::NewEntry {
            at: now,
            message: Some(id),
            conversation: None,
            step: Step::Seen,
            reason,
            data: json!({}),
        }));
        if reason == Reason::Notified {
            unit.push(folders::record_notified(folder, now));
        }
        unit.enqueue(&Work::Fetch { mailbox, message: id }.job(self.entropy(), now));
        unit.changed(now, Topic::Message, id);
        unit
    }
}

fn is_ours(subscription: &Subscription, notification: &Notification) -> bool {
    let given = notification.client_state.as_deref().unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, given.as_bytes());
    constant_time::verify_slices_are_equal(hash.as_ref(), &subscription.client_state_hash).is_ok()
}

fn act_on(unit: &mut Unit, subscription: &Subscription, event: LifecycleEvent, now: Timestamp) {
    match event {
        // A renewal answers both: it confirms the access, and shows whether the subscription stands,
        // because Microsoft has been seen to say so without cause. The delta round covers the gap.
        LifecycleEvent::SubscriptionRemoved | LifecycleEvent::ReauthorizationRequired => {
            unit.push(subscriptions::record_due(subscription.id, now));
        }
        // The folder is dirty already: a delta round follows.
        LifecycleEvent::Missed | LifecycleEvent::Unknown => {}
    }
}
