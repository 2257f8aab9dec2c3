//! Finds subscriptions under our public address that nobody here knows, and removes
//! them: made before the store was set back, or by a request whose answer was lost.
//!
//! One loop for each integration, on the node that holds its lease. The list that
//! Microsoft gives may be old, incomplete, or fail altogether, so nothing else
//! depends on it. Subscriptions with another address are another system's and are
//! left alone.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use postroom_model::{IntegrationId, Timestamp};
use postroom_store::subscriptions::{self, Subscription};
use tokio_util::sync::CancellationToken;

use crate::{Engine, jobs::JobError, subscribe::notification_url};

/// The list is read this often.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// A notification for nobody brings the next look nearer, but not nearer than this.
const LOOK_APART: SignedDuration = SignedDuration::from_mins(10);

/// Which of the listed subscriptions, each an id and an address, are ours and in nobody's use.
fn list_strangers<'a>(
    listed: impl Iterator<Item = (&'a str, &'a str)>,
    known: &[Subscription],
    public_url: &str,
) -> Vec<&'a str> {
    let known: BTreeMap<String, Option<&str>> = known
        .iter()
        .map(|row| (notification_url(&row.public_url, &row.path), row.graph_id.as_deref()))
        .collect();
    let ours = notification_url(public_url, "");
    listed
        .filter(|(id, url)| match known.get(*url) {
            // Made, but we were never told: the folder's own loop decides about it.
            Some(None) => false,
            Some(Some(graph_id)) => graph_id != id,
            None => url.starts_with(&ours),
        })
        .map(|(id, _)| id)
        .collect()
}

impl Engine {
    /// Looks again and again until `end`.
    pub(crate) async fn run_strangers(&self, id: IntegrationId, end: CancellationToken) {
        loop {
            if let Err(error) = self.remove_strangers(id).await {
                tracing::debug!(integration.id = %id, error = %error, "Unknown subscriptions could not be looked for");
            }
            let looked: Timestamp = self.now();
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = self.0.stranger_heard.notified() => {}
                () = self.sleep_until(looked + LOOK_EVERY) => {}
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = self.sleep_until(looked + LOOK_APART) => {}
            }
        }
    }

    async fn remove_strangers(&self, id: IntegrationId) -> Result<(), JobError> {
        let graph = self.graph(id).await?;
        // The list first: a subscription has its row before Microsoft knows of it.
        let listed = graph.list_subscriptions().await?;
        let known = subscriptions::list(&self.store().db).await?;
        let addresses =
            listed.iter().filter_map(|one| Some((one.id.as_str(), one.notification_url.as_deref()?)));
        for stranger in list_strangers(addresses, &known, self.subscribed_url()) {
            graph.delete_subscription(stranger).await?;
            tracing::info!(integration.id = %id, "A subscription that nobody here knows was removed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroom_model::{FolderId, MailboxId, SubscriptionId};

    fn row(path: &str, graph_id: Option<&str>) -> Subscription {
        Subscription {
            id: SubscriptionId::from_uuid(uuid::Uuid::nil()),
            folder: FolderId::from_uuid(uuid::Uuid::nil()),
            mailbox: MailboxId::from_uuid(uuid::Uuid::nil()),
            path: path.into(),
            client_state_hash: vec![],
            graph_id: graph_id.map(str::to_owned),
            expires_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            renewed_at: None,
            public_url: "https://a.example".into(),
            checked_at: None,
            due_at: None,
        }
    }

    #[test]
    fn a_stranger_has_our_address_and_no_row_or_the_row_of_another() {
        let known = [row("one", Some("1")), row("lost", None)];
        let listed = [
            ("1", "https://a.example/hooks/graph/one"),
            ("2", "https://a.example/hooks/graph/one"),
            ("3", "https://a.example/hooks/graph/lost"),
            ("4", "https://a.example/hooks/graph/former"),
            ("5", "https://a.example.evil.example/hooks/graph/x"),
            ("6", "https://other.example/hooks/graph/one"),
        ];
        assert_eq!(list_strangers(listed.into_iter(), &known, "https://a.example"), ["2", "4"]);
    }
}
