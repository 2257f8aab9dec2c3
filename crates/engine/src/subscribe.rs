//! Keeps one change-notification subscription for each watched folder.
//!
//! Called by the mailbox's loop; idempotent. The path and the hash of the client
//! state are committed before Microsoft is asked, because the handshake comes
//! before the answer. A renewal that Microsoft refuses makes the subscription anew.

use aws_lc_rs::digest;
use jiff::SignedDuration;
use postroom_graph::{Graph, GraphErrorKind, NewSubscription};
use postroom_model::{SubscriptionId, Timestamp};
use postroom_store::{
    Unit,
    folders::Folder,
    mailboxes::Mailbox,
    subscriptions::{self, Subscription},
};
use secrecy::SecretString;

use crate::{Engine, jobs::JobError};

/// What is asked for: 10,070 minutes are granted, documentation says 10,080
/// (<https://learn.microsoft.com/en-us/graph/api/resources/subscription>).
const LIFETIME: SignedDuration = SignedDuration::from_mins(10_000);

/// What is to be done about the subscription of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Nothing,
    Create,
    Renew,
}

/// Decides over the newest subscription of a folder.
fn decide(newest: Option<&Subscription>, now: Timestamp) -> Action {
    let Some(subscription) = newest else { return Action::Create };
    // Without an id the answer to the request was lost: whether it exists, nobody knows.
    let (Some(expires), Some(_)) = (subscription.expires_at, &subscription.graph_id) else {
        return Action::Create;
    };
    if expires <= now + LIFETIME / 2 { Action::Renew } else { Action::Nothing }
}

/// When the subscription has to be looked at again.
pub(crate) fn next_look(newest: Option<&Subscription>) -> Option<Timestamp> {
    newest.and_then(|s| s.expires_at).map(|expires| expires - LIFETIME / 2)
}

impl Engine {
    /// Makes or renews the subscription of a folder where that is due, and removes
    /// what is left of earlier ones.
    pub(crate) async fn reconcile_subscription(
        &self,
        graph: &Graph,
        mailbox: &Mailbox,
        folder: &Folder,
    ) -> Result<(), JobError> {
        let all = subscriptions::list_of_folder(&self.store().db, folder.id).await?;
        let newest = all.first();
        match decide(newest, self.now()) {
            Action::Nothing => {}
            Action::Create => self.create_subscription(graph, mailbox, folder).await?,
            Action::Renew => {
                if let Some(subscription) = newest
                    && !self.renew_subscription(graph, subscription).await?
                {
                    self.create_subscription(graph, mailbox, folder).await?;
                }
            }
        }
        for old in subscriptions::list_of_folder(&self.store().db, folder.id).await?.iter().skip(1) {
            if let Some(graph_id) = &old.graph_id {
                graph.delete_subscription(graph_id).await?;
            }
            self.store().commit(Unit::new().with(subscriptions::delete(old.id))).await?;
        }
        Ok(())
    }

    async fn create_subscription(
        &self,
        graph: &Graph,
        mailbox: &Mailbox,
        folder: &Folder,
    ) -> Result<(), JobError> {
        let now = self.now();
        let id = SubscriptionId::from_uuid(self.entropy().uuid(now));
        let (path, client_state) = (self.entropy().token(), self.entropy().token());
        let hash = digest::digest(&digest::SHA256, client_state.as_bytes());
        let row = subscriptions::insert(id, folder.id, &path, hash.as_ref(), now);
        self.store().commit(Unit::new().with(row)).await?;

        let url = self.public_url().as_str().trim_end_matches('/');
        let target = folder.graph_id.as_deref().unwrap_or(&folder.name);
        let granted = graph
            .create_subscription(&NewSubscription {
                resource: format!("users/{}/mailFolders('{target}')/messages", mailbox.address),
                change_type: "created".to_owned(),
                notification_url: format!("{url}/hooks/graph/{path}"),
                lifecycle_url: format!("{url}/hooks/graph/{path}/lifecycle"),
                client_state: SecretString::from(client_state),
                expires: now + LIFETIME,
            })
            .await;
        match granted {
            Ok(granted) => {
                let stmt = subscriptions::record_granted(id, &granted.id, granted.expires, self.now());
                self.store().commit(Unit::new().with(stmt)).await?;
                tracing::info!(mailbox.id = %mailbox.id, subscription.id = %id, "Subscribed to new mail");
                Ok(())
            }
            Err(error) => {
                // Refused for certain: the row would only gather. An unknown outcome keeps it,
                // so that notifications of a subscription that exists after all are taken.
                if error.kind() != GraphErrorKind::Unknown {
                    self.store().commit(Unit::new().with(subscriptions::delete(id))).await?;
                }
                Err(error.into())
            }
        }
    }

    /// Renews; gives false if Microsoft no longer knows the subscription, or did not move its end.
    async fn renew_subscription(&self, graph: &Graph, subscription: &Subscription) -> Result<bool, JobError> {
        let Some(graph_id) = &subscription.graph_id else { return Ok(false) };
        let now = self.now();
        match graph.renew_subscription(graph_id, now + LIFETIME).await {
            Ok(renewed) if renewed.expires > now + LIFETIME / 2 => {
                let stmt =
                    subscriptions::record_granted(subscription.id, &renewed.id, renewed.expires, self.now());
                self.store().commit(Unit::new().with(stmt)).await?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == GraphErrorKind::Gone => {
                self.store().commit(Unit::new().with(subscriptions::delete(subscription.id))).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroom_model::{FolderId, MailboxId};

    fn subscription(expires_in: SignedDuration) -> Subscription {
        Subscription {
            id: SubscriptionId::from_uuid(uuid::Uuid::nil()),
            folder: FolderId::from_uuid(uuid::Uuid::nil()),
            mailbox: MailboxId::from_uuid(uuid::Uuid::nil()),
            path: String::new(),
            client_state_hash: vec![],
            graph_id: Some("g".into()),
            expires_at: Some(Timestamp::UNIX_EPOCH + expires_in),
            created_at: Timestamp::UNIX_EPOCH,
            renewed_at: None,
        }
    }

    #[test]
    fn a_subscription_is_renewed_at_half_its_life_and_made_when_there_is_none() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(decide(None, now), Action::Create);
        assert_eq!(decide(Some(&subscription(LIFETIME)), now), Action::Nothing);
        assert_eq!(decide(Some(&subscription(LIFETIME / 2)), now), Action::Renew);
    }

    #[test]
    fn one_whose_creation_was_never_answered_is_made_anew() {
        let lost = Subscription { graph_id: None, expires_at: None, ..subscription(LIFETIME) };
        assert_eq!(decide(Some(&lost), Timestamp::UNIX_EPOCH), Action::Create);
    }
}
