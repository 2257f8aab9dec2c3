//! Change-notification subscriptions: made, renewed, confirmed, found, removed.
//!
//! Called by the engine's reconciler. Rules kept: they have a lane of their own, so
//! that no mailbox waits for them; a subscription that is not there any more counts
//! as removed. <https://learn.microsoft.com/en-us/graph/api/resources/subscription>

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::{
    call::{Call, encoded},
    client::{Graph, parsed},
    delta::seconds,
    errors::{GraphError, GraphErrorKind},
    requests::Operation,
};

/// Pages of the list that are read at most; a thousand mailboxes fill some tens.
const PAGES: usize = 1_000;

/// A subscription to be made.
pub struct NewSubscription {
    /// What is watched: `users/…/mailFolders('…')/messages`.
    pub resource: String,
    /// Which changes, with commas between: `created`.
    pub change_type: String,
    /// Where notifications are sent.
    pub notification_url: String,
    /// Where lifecycle events are sent. Can't be added later.
    pub lifecycle_url: String,
    /// At most 128 characters that each notification repeats.
    pub client_state: SecretString,
    /// When it ends. Microsoft refuses more than 10,070 minutes and raises less than 45.
    pub expires: Timestamp,
}

/// A subscription as Graph has it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Graph's id.
    pub id: String,
    /// What is watched.
    pub resource: Option<String>,
    /// Where notifications are sent.
    pub notification_url: Option<String>,
    /// When it ends: to be compared with what was asked.
    #[serde(rename = "expirationDateTime")]
    pub expires: Timestamp,
}

impl Graph {
    /// Makes a subscription. Before it returns, Graph asks both URLs for proof that
    /// they are ours; notifications carry immutable ids.
    ///
    /// # Errors
    /// `Unknown` when it may have been made; else see [`GraphErrorKind`].
    pub async fn create_subscription(&self, new: &NewSubscription) -> Result<Subscription, GraphError> {
        let call = Call::post(Operation::CreateSubscription, self.root().at("/subscriptions")).json(&json!({
            "changeType": new.change_type,
            "notificationUrl": new.notification_url,
            "lifecycleNotificationUrl": new.lifecycle_url,
            "resource": new.resource,
            "expirationDateTime": seconds(new.expires),
            "clientState": new.client_state.expose_secret(),
        }));
        parsed(Operation::CreateSubscription, &self.call_shared(call).await?)
    }

    /// Moves a subscription's end. Compare the end that comes back: Graph has been
    /// seen to agree and to move nothing.
    ///
    /// # Errors
    /// `Gone` when it has ended already; else see [`GraphErrorKind`].
    pub async fn renew_subscription(&self, id: &str, expires: Timestamp) -> Result<Subscription, GraphError> {
        let call = Call::patch(Operation::RenewSubscription, self.subscription(id, ""))
            .json(&json!({ "expirationDateTime": seconds(expires) }));
        parsed(Operation::RenewSubscription, &self.call_shared(call).await?)
    }

    /// Confirms a subscription's access, after Graph asked for it; its end stays.
    ///
    /// # Errors
    /// `Gone` when it has ended already; else see [`GraphErrorKind`].
    pub async fn reauthorize_subscription(&self, id: &str) -> Result<(), GraphError> {
        let target = self.subscription(id, "/reauthorize");
        self.call_shared(Call::post(Operation::ReauthorizeSubscription, target)).await.map(drop)
    }

    /// A subscription by its id.
    ///
    /// # Errors
    /// See [`GraphErrorKind`].
    pub async fn find_subscription(&self, id: &str) -> Result<Option<Subscription>, GraphError> {
        let call = Call::get(Operation::FindSubscription, self.subscription(id, ""));
        match self.call_shared(call).await {
            Ok(body) => parsed(Operation::FindSubscription, &body).map(Some),
            Err(error) if error.kind() == GraphErrorKind::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All subscriptions of the application in the tenant, as Graph lists them: ended
    /// ones may be among them, others missing.
    ///
    /// # Errors
    /// See [`GraphErrorKind`].
    pub async fn list_subscriptions(&self) -> Result<Vec<Subscription>, GraphError> {
        #[derive(Deserialize)]
        struct Page {
            value: Vec<Subscription>,
            #[serde(rename = "@odata.nextLink")]
            next: Option<String>,
        }
        let operation = Operation::ListSubscriptions;
        let mut target = self.root().at("/subscriptions");
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let page: Page = parsed(operation, &self.call_shared(Call::get(operation, target)).await?)?;
            all.extend(page.value);
            let Some(next) = page.next else { return Ok(all) };
            target = self.root().follow(operation, &next)?;
        }
        Err(GraphError::Malformed { operation, reason: "the list of subscriptions does not end".to_owned() })
    }

    /// Removes a subscription, or finds that it is gone.
    ///
    /// # Errors
    /// See [`GraphErrorKind`].
    pub async fn delete_subscription(&self, id: &str) -> Result<(), GraphError> {
        let call = Call::delete(Operation::DeleteSubscription, self.subscription(id, ""));
        match self.call_shared(call).await {
            Err(error) if error.kind() != GraphErrorKind::Gone => Err(error),
            _ => Ok(()),
        }
    }

    fn subscription(&self, id: &str, rest: &str) -> http::Uri {
        self.root().at(&format!("/subscriptions/{}{rest}", encoded(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, graph, refusal};
    use serde_json::Value;

    const ONE: &str = r#"{"@odata.context":"x","id":"S1","resource":"users/u/messages","applicationId":"a",
        "notificationUrl":"https://p.example/hooks/x","expirationDateTime":"2026-03-08T10:00:00.1234567Z"}"#;

    fn new() -> NewSubscription {
        NewSubscription {
            resource: "users/a@b.example/mailFolders('inbox')/messages".into(),
            change_type: "created".into(),
            notification_url: "https://p.example/hooks/x".into(),
            lifecycle_url: "https://p.example/hooks/x/lifecycle".into(),
            client_state: "state".into(),
            expires: "2026-03-08T10:00:00.9Z".parse().unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_made_with_immutable_ids_and_a_time_in_utc() {
        let (graph, record) = graph(|_| async { Ok(answer(201, ONE)) });
        let made = graph.create_subscription(&new()).await.ok().unwrap();
        assert_eq!((made.id.as_str(), made.expires.as_second()), ("S1", 1_772_964_000));
        let request = &record.graph()[0];
        assert_eq!(request.headers()["prefer"], "IdType=\"ImmutableId\"");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(
            body,
            json!({
                "changeType": "created",
                "notificationUrl": "https://p.example/hooks/x",
                "lifecycleNotificationUrl": "https://p.example/hooks/x/lifecycle",
                "resource": "users/a@b.example/mailFolders('inbox')/messages",
                "expirationDateTime": "2026-03-08T10:00:00Z",
                "clientState": "state",
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_there_is_none_and_as_good_as_removed() {
        let (graph, _) = graph(|_| async { Ok(refusal(404, "ResourceNotFound")) });
        assert!(graph.find_subscription("x").await.unwrap_or_else(|_| panic!("not an error")).is_none());
        assert!(graph.delete_subscription("x").await.is_ok());
        let renewed = graph.renew_subscription("x", Timestamp::UNIX_EPOCH).await.err().unwrap();
        assert_eq!(renewed.kind(), GraphErrorKind::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_read_page_by_page_and_only_from_graph() {
        let (graph, record) = graph(|request: http::Request<bytes::Bytes>| async move {
            let next = match request.uri().query() {
                None => ",\"@odata.nextLink\":\"https://graph.example/v1.0/subscriptions?$skiptoken=2\"",
                Some(_) => "",
            };
            Ok(answer(200, format!("{{\"value\":[{ONE}]{next}}}")))
        });
        assert_eq!(graph.list_subscriptions().await.ok().unwrap().len(), 2);
        assert_eq!(record.graph().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mailbox_that_may_not_be_watched_does_not_stop_the_others() {
        let (graph, _) = graph(|request: http::Request<bytes::Bytes>| async move {
            let forbidden = request.body().windows(1).any(|_| true);
            Ok(if forbidden { refusal(403, "ExtensionError") } else { answer(204, "") })
        });
        for _ in 0..20 {
            let refused = graph.create_subscription(&new()).await.err().unwrap();
            assert_eq!(refused.kind(), GraphErrorKind::OutOfScope);
        }
        assert!(graph.reauthorize_subscription("S1").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whether_one_was_made_is_unknown_after_a_servers_error() {
        let (graph, _) = graph(|_| async { Ok(answer(504, "<html>")) });
        assert_eq!(graph.create_subscription(&new()).await.err().unwrap().kind(), GraphErrorKind::Unknown);
        assert_eq!(graph.find_subscription("x").await.err().unwrap().kind(), GraphErrorKind::Outage);
    }
}
