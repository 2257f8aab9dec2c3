//! Keeps one change-notification subscription for each watched folder, as a
//! controller does: the subscription that should be against the one that is.
//!
//! A loop for each mailbox, on the node that holds its lease, beside the one that
//! follows it: whatever Microsoft does with subscriptions, mails come by the delta
//! query meanwhile. Idempotent. The path and the hash of the client
//! state are committed before Microsoft is asked, because the handshake comes
//! before the answer. Whatever is wrong with a subscription (ended, refused,
//! unknown to Microsoft, made for another address, silent) is answered by one that
//! is made anew.

use aws_lc_rs::digest;
use jiff::SignedDuration;
use postroom_graph::{Graph, GraphError, GraphErrorKind, NewSubscription};
use postroom_model::{MailboxId, SubscriptionId, Timestamp};
use postroom_store::{
    DbError, Unit,
    folders::{self, Folder},
    mailboxes::{self, Mailbox},
    messages::{self, Unannounced},
    subscriptions::{self, Prepared, Subscription},
};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    follow::Trouble,
    jobs::{JobError, in_full},
};

/// What is asked for: 10,070 minutes are granted, documentation says 10,080
/// (<https://learn.microsoft.com/en-us/graph/api/resources/subscription>).
const LIFETIME: SignedDuration = SignedDuration::from_mins(10_000);
/// Subscriptions have been seen to end without a word: Microsoft is asked about each this often.
const CHECK_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// An announcement takes at most three minutes
/// (<https://learn.microsoft.com/en-us/graph/change-notifications-overview#latency>).
const GRACE: SignedDuration = SignedDuration::from_mins(5);
/// After a mail without announcement the folder is followed more closely for so long.
const WATCH_FOR: SignedDuration = SignedDuration::from_hours(1);
/// A silent subscription is replaced, but not more often than this: it may be Microsoft's outage.
const REPLACE_EVERY: SignedDuration = SignedDuration::from_mins(30);
/// Subscriptions in the way, or a limit named by the refusal: so often the request is mended at once.
const MENDS: u32 = 3;

/// What is to be done about the subscription of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Nothing,
    /// Microsoft is asked whether it stands.
    Check,
    Renew,
    Create,
}

/// Decides over the newest subscription of a folder.
fn decide(newest: Option<&Subscription>, public_url: &str, now: Timestamp) -> Action {
    let Some(subscription) = newest else { return Action::Create };
    // Without an id the answer to the request was lost: whether it exists, nobody knows.
    let (Some(expires), Some(_)) = (subscription.expires_at, &subscription.graph_id) else {
        return Action::Create;
    };
    if expires <= now || subscription.public_url != public_url {
        return Action::Create;
    }
    if subscription.due_at.is_some() || renewal_at(subscription, expires) <= now {
        return Action::Renew;
    }
    let checked = subscription.checked_at.unwrap_or(subscription.created_at);
    if checked + CHECK_EVERY <= now { Action::Check } else { Action::Nothing }
}

/// At half its life, up to a tenth of it earlier, so that those made together are not renewed together.
fn renewal_at(subscription: &Subscription, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(subscription.renewed_at.unwrap_or(subscription.created_at));
    let [.., spread] = *subscription.id.uuid().as_bytes();
    let earlier = 0.1 * f64::from(spread) / 255.0;
    expires - life.mul_f64(0.5 + earlier)
}

/// Whether a subscription that seems to stand is dead: mails came after it was made, none was
/// announced in time, and nothing else was announced since the first of them.
fn is_silent(
    subscription: &Subscription,
    unannounced: &Unannounced,
    last_notification_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    last_notification_at.is_none_or(|at| at < unannounced.first_received_at)
        && subscription.created_at + REPLACE_EVERY <= now
}

/// When the subscription has to be looked at again.
fn next_look(newest: Option<&Subscription>) -> Option<Timestamp> {
    let newest = newest?;
    let renewal = renewal_at(newest, newest.expires_at?);
    Some(renewal.min(newest.checked_at.unwrap_or(newest.created_at) + CHECK_EVERY))
}

/// Whether notifications can be expected.
pub(crate) fn stands(newest: Option<&Subscription>, now: Timestamp) -> bool {
    newest.is_some_and(|s| s.graph_id.is_some() && s.expires_at.is_some_and(|expires| expires > now))
}

/// Where notifications of a subscription are sent.
pub(crate) fn notification_url(public_url: &str, path: &str) -> String {
    format!("{public_url}/hooks/graph/{path}")
}

impl Engine {
    /// Looks after the subscriptions of a mailbox until `end`.
    pub(crate) async fn run_subscriptions(&self, id: MailboxId, end: CancellationToken) {
        let hints = self.hints(id);
        *hints.subscribing() = Trouble::default();
        loop {
            let resting = hints.subscribing().again_at.filter(|at| *at > self.now());
            let next = match resting {
                Some(at) => at,
                // On the heap, while it lasts: thousands of these loops sleep most of the time.
                None => match Box::pin(self.reconcile_subscriptions(id)).await {
                    Ok(Some(at)) => {
                        if std::mem::take(&mut *hints.subscribing()).cause().is_some() {
                            hints.changed.notify_one();
                        }
                        at
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(
                            mailbox.id = %id,
                            error = %error,
                            cause = in_full(&error),
                            "Mailbox can't be subscribed to; its mails come by the delta query"
                        );
                        let mut trouble = hints.subscribing();
                        if trouble.cause().is_none() {
                            // Its state says so from now on, and it is followed more closely.
                            hints.changed.notify_one();
                        }
                        trouble.note(&error, self.now())
                    }
                },
            };
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = hints.subscribe.notified() => {}
                () = self.sleep_until(next) => {}
            }
        }
    }

    /// Brings the subscriptions of a mailbox to where they should be. Gives the time of the next look, or
    /// nothing if the mailbox is gone.
    async fn reconcile_subscriptions(&self, id: MailboxId) -> Result<Option<Timestamp>, JobError> {
        let db = &self.store().db;
        let Some(mailbox) = mailboxes::find(db, id).await? else { return Ok(None) };
        let mut next = self.now() + CHECK_EVERY;
        if mailbox.paused_at.is_some() {
            return Ok(Some(next));
        }
        let graph = self.graph(mailbox.integration).await?;
        let mut broken = None;
        for folder in folders::list_of_mailbox(db, id).await? {
            // Where it is has to be known first; who follows it finds that out, and says so.
            if folder.graph_id.is_none() {
                continue;
            }
            // What is wrong with one folder stops no other.
            match self.reconcile_subscription(&graph, &mailbox, &folder).await {
                Ok(newest) => next = next.min(next_look(newest.as_ref()).unwrap_or(next)),
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        broken.map_or(Ok(Some(next)), Err)
    }

    /// The public address as it stands in subscriptions: without a slash at its end.
    pub(crate) fn subscribed_url(&self) -> &str {
        self.public_url().as_str().trim_end_matches('/')
    }

    /// Makes, renews or confirms the subscription of a folder where that is due, and
    /// removes what is left of earlier ones. Gives the newest.
    async fn reconcile_subscription(
        &self,
        graph: &Graph,
        mailbox: &Mailbox,
        folder: &Folder,
    ) -> Result<Option<Subscription>, JobError> {
        let newest = subscriptions::list_of_folder(&self.store().db, folder.id).await?.into_iter().next();
        let silent = match &newest {
            Some(subscription) => self.listen_for_silence(folder, subscription).await?,
            None => false,
        };
        let action = if silent {
            tracing::warn!(mailbox.id = %mailbox.id, "Mails come that nobody announces; the subscription is made anew");
            Action::Create
        } else {
            decide(newest.as_ref(), self.subscribed_url(), self.now())
        };
        match (action, &newest) {
            (Action::Nothing, _) => return Ok(newest),
            (Action::Check, Some(subscription)) => {
                if !self.check_subscription(graph, subscription).await? {
                    self.create_subscription(graph, mailbox, folder).await?;
                }
            }
            (Action::Renew, Some(subscription)) => {
                if !self.renew_subscription(graph, subscription).await? {
                    self.create_subscription(graph, mailbox, folder).await?;
                }
            }
            (Action::Create | Action::Check | Action::Renew, _) => {
                self.create_subscription(graph, mailbox, folder).await?;
            }
        }
        let mut all = subscriptions::list_of_folder(&self.store().db, folder.id).await?.into_iter();
        let newest = all.next();
        for old in all {
            if let Some(graph_id) = &old.graph_id {
                graph.delete_subscription(graph_id).await?;
            }
            self.store().commit(Unit::new().with(subscriptions::delete(old.id))).await?;
        }
        Ok(newest)
    }

    /// Has the folder followed more closely after mails that nobody announced. Gives
    /// whether the subscription is to be replaced.
    async fn listen_for_silence(
        &self,
        folder: &Folder,
        subscription: &Subscription,
    ) -> Result<bool, JobError> {
        let now = self.now();
        let since = subscription.created_at.max(now - WATCH_FOR);
        let db = &self.store().db;
        let Some(unannounced) = messages::find_unannounced(db, folder.id, since, now - GRACE).await? else {
            return Ok(false);
        };
        self.watch_closely(folder).await?;
        Ok(is_silent(subscription, &unannounced, folder.last_notification_at, now))
    }

    /// The folder is followed each minute for an hour.
    pub(crate) async fn watch_closely(&self, folder: &Folder) -> Result<(), JobError> {
        let until = self.now() + WATCH_FOR;
        // Half a watch that is left is long enough not to write each minute.
        if folder.watched_until.is_none_or(|watched| watched < until - WATCH_FOR / 2) {
            self.store().commit(Unit::new().with(folders::record_watched(folder.id, until))).await?;
        }
        Ok(())
    }

    async fn create_subscription(
        &self,
        graph: &Graph,
        mailbox: &Mailbox,
        folder: &Folder,
    ) -> Result<(), JobError> {
        let mut life = LIFETIME;
        for _ in 0..MENDS {
            let Err(error) = self.ask_for_subscription(graph, mailbox, folder, life).await? else {
                return Ok(());
            };
            if let Some(longest) = error.longest_subscription().filter(|longest| *longest < life) {
                life = longest;
            } else if let Some(existing) = error.existing_subscription() {
                if self.adopt(graph, mailbox, folder, &existing).await? {
                    return Ok(());
                }
                tracing::info!(mailbox.id = %mailbox.id, "A subscription that is not in use stands in the way and is removed");
                graph.delete_subscription(&existing).await?;
            } else {
                return Err(error.into());
            }
        }
        Err(JobError::SubscriptionInTheWay)
    }

    /// Asks once, with a path and a client state of its own.
    async fn ask_for_subscription(
        &self,
        graph: &Graph,
        mailbox: &Mailbox,
        folder: &Folder,
        life: SignedDuration,
    ) -> Result<Result<(), GraphError>, JobError> {
        let now = self.now();
        let id = SubscriptionId::from_uuid(self.entropy().uuid(now));
        let (path, client_state) = (self.entropy().token(), self.entropy().token());
        let hash = digest::digest(&digest::SHA256, client_state.as_bytes());
        let public_url = self.subscribed_url();
        let prepared =
            Prepared { id, folder: folder.id, path: &path, client_state_hash: hash.as_ref(), public_url };
        self.store().commit(Unit::new().with(subscriptions::insert(&prepared, now))).await?;

        let url = notification_url(public_url, &path);
        let target = folder.graph_id.as_deref().unwrap_or(&folder.name);
        let granted = graph
            .create_subscription(&NewSubscription {
                resource: format!("users/{}/mailFolders('{target}')/messages", mailbox.address),
                change_type: "created".to_owned(),
                lifecycle_url: format!("{url}/lifecycle"),
                notification_url: url,
                client_state: SecretString::from(client_state),
                expires: now + life,
            })
            .await;
        match granted {
            Ok(granted) => {
                self.record_made(mailbox, folder, id, &granted.id, granted.expires).await?;
                tracing::info!(mailbox.id = %mailbox.id, subscription.id = %id, "Subscribed to new mail");
                Ok(Ok(()))
            }
            Err(error) => {
                // Refused for certain: the row would only gather. An unknown outcome keeps it,
                // so that notifications of a subscription that exists after all are taken.
                if error.kind() != GraphErrorKind::Unknown {
                    self.store().commit(Unit::new().with(subscriptions::delete(id))).await?;
                }
                Ok(Err(error))
            }
        }
    }

    /// A subscription announces from now on. What came before that, since the folder was last looked at, is
    /// found by one more look.
    async fn record_made(
        &self,
        mailbox: &Mailbox,
        folder: &Folder,
        id: SubscriptionId,
        graph_id: &str,
        expires: Timestamp,
    ) -> Result<(), DbError> {
        let now = self.now();
        let unit = Unit::new()
            .with(subscriptions::record_granted(id, graph_id, expires, now))
            .with(folders::record_dirty(folder.id, now));
        self.store().commit(unit).await?;
        self.hints(mailbox.id).changed.notify_one();
        Ok(())
    }

    /// Keeps a subscription that stands in the way, if it is one of ours whose making was never answered.
    async fn adopt(
        &self,
        graph: &Graph,
        mailbox: &Mailbox,
        folder: &Folder,
        graph_id: &str,
    ) -> Result<bool, JobError> {
        let Some(found) = graph.find_subscription(graph_id).await? else { return Ok(false) };
        let url = found.notification_url.as_deref().unwrap_or_default();
        let rows = subscriptions::list_of_folder(&self.store().db, folder.id).await?;
        let ours = rows
            .iter()
            .find(|row| row.graph_id.is_none() && notification_url(self.subscribed_url(), &row.path) == url);
        let Some(row) = ours else { return Ok(false) };
        self.record_made(mailbox, folder, row.id, graph_id, found.expires).await?;
        Ok(true)
    }

    /// Asks whether the subscription stands; gives false if Microsoft no longer knows it.
    async fn check_subscription(&self, graph: &Graph, subscription: &Subscription) -> Result<bool, JobError> {
        let Some(graph_id) = &subscription.graph_id else { return Ok(false) };
        match graph.find_subscription(graph_id).await? {
            Some(found) => {
                let stmt = subscriptions::record_checked(subscription.id, found.expires, self.now());
                self.store().commit(Unit::new().with(stmt)).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Renews; gives false if Microsoft no longer knows the subscription, or did not move its end.
    async fn renew_subscription(&self, graph: &Graph, subscription: &Subscription) -> Result<bool, JobError> {
        let Some(graph_id) = &subscription.graph_id else { return Ok(false) };
        let mut life = LIFETIME;
        for _ in 0..MENDS {
            let now = self.now();
            match graph.renew_subscription(graph_id, now + life).await {
                // Microsoft has been seen to agree and to move nothing.
                Ok(renewed) if renewed.expires < now + life - SignedDuration::from_mins(1) => {
                    return Ok(false);
                }
                Ok(renewed) => {
                    let at = self.now();
                    let stmt =
                        subscriptions::record_granted(subscription.id, &renewed.id, renewed.expires, at);
                    self.store().commit(Unit::new().with(stmt)).await?;
                    return Ok(true);
                }
                Err(error) if error.kind() == GraphErrorKind::Gone => return Ok(false),
                Err(error) => match error.longest_subscription().filter(|longest| *longest < life) {
                    Some(longest) => life = longest,
                    None => return Err(error.into()),
                },
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroom_model::{FolderId, MailboxId};

    const URL: &str = "https://mail.contoso.example";
    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn subscription() -> Subscription {
        Subscription {
            id: SubscriptionId::from_uuid(uuid::Uuid::nil()),
            folder: FolderId::from_uuid(uuid::Uuid::nil()),
            mailbox: MailboxId::from_uuid(uuid::Uuid::nil()),
            path: String::new(),
            client_state_hash: vec![],
            graph_id: Some("g".into()),
            expires_at: Some(START + LIFETIME),
            created_at: START,
            renewed_at: Some(START),
            public_url: URL.into(),
            checked_at: Some(START + LIFETIME / 2),
            due_at: None,
        }
    }

    fn after(minutes: i64) -> Timestamp {
        START + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_subscription_is_made_where_there_is_none_or_nobody_knows() {
        let now = after(1);
        let lost = Subscription { graph_id: None, expires_at: None, ..subscription() };
        let moved = Subscription { public_url: "https://old.contoso.example".into(), ..subscription() };
        for wrong in [None, Some(&lost), Some(&moved)] {
            assert_eq!(decide(wrong, URL, now), Action::Create);
        }
        assert_eq!(decide(Some(&subscription()), URL, START + LIFETIME), Action::Create);
    }

    #[test]
    fn it_is_renewed_at_half_its_life_those_made_together_not_at_once_and_whatever_its_length() {
        assert_eq!(decide(Some(&subscription()), URL, after(4_999)), Action::Nothing);
        assert_eq!(decide(Some(&subscription()), URL, after(5_000)), Action::Renew);
        let other = Subscription { id: SubscriptionId::from_uuid(uuid::Uuid::max()), ..subscription() };
        assert_eq!(decide(Some(&other), URL, after(4_000)), Action::Renew);
        assert_eq!(decide(Some(&other), URL, after(3_999)), Action::Nothing);
        let short = Subscription { expires_at: Some(after(60)), ..subscription() };
        assert_eq!(decide(Some(&short), URL, after(30)), Action::Renew);
        let wanted = Subscription { due_at: Some(START), ..subscription() };
        assert_eq!(decide(Some(&wanted), URL, after(1)), Action::Renew);
    }

    #[test]
    fn microsoft_is_asked_about_it_every_hour_and_the_loop_wakes_for_it() {
        let fresh = Subscription { checked_at: Some(after(10)), ..subscription() };
        assert_eq!(decide(Some(&fresh), URL, after(69)), Action::Nothing);
        assert_eq!(decide(Some(&fresh), URL, after(70)), Action::Check);
        assert_eq!(next_look(Some(&fresh)), Some(after(70)));
        assert_eq!(next_look(Some(&subscription())), Some(after(5_000)));
    }

    #[test]
    fn silence_is_many_mails_and_no_word_and_is_not_heard_all_the_time() {
        let unannounced = Unannounced { count: 1, first_received_at: after(100) };
        let silent = |last, now| is_silent(&subscription(), &unannounced, last, now);
        assert!(silent(None, after(106)));
        assert!(silent(Some(after(99)), after(106)));
        // Something was announced since: only this mail's announcement was lost.
        assert!(!silent(Some(after(101)), after(106)));
        let young = Subscription { created_at: after(90), ..subscription() };
        assert!(!is_silent(&young, &unannounced, None, after(106)));
        assert!(is_silent(&young, &unannounced, None, after(120)));
    }
}
