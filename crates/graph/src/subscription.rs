//! Change-notification subscriptions: made, renewed, confirmed, found, removed.
//!
//! Called by the engine's reconciler. Rules kept: they have a lane of their own, so
//! that no mailbox waits for them; a subscription that is not there any more counts
//! as removed. <https://learn.microsoft.com/en-us/graph/api/resources/subscription>

use jiff::{SignedDuration, Timestamp};
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
        let call = Call::patch(Operation::RenewSubscription, self.subscription(id))
            .json(&json!({ "expirationDateTime": seconds(expires) }));
        parsed(Operation::RenewSubscription, &self.call_shared(call).await?)
    }

    /// A subscription by its id.
    ///
    /// # Errors
    /// See [`GraphErrorKind`].
    pub async fn find_subscription(&self, id: &str) -> Result<Option<Subscription>, GraphError> {
        let call = Call::get(Operation::FindSubscription, self.subscription(id));
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
        let call = Call::delete(Operation::DeleteSubscription, self.subscription(id));
        match self.call_shared(call).await {
            Err(error) if error.kind() != GraphErrorKind::Gone => Err(error),
            _ => Ok(()),
        }
    }

    fn subscription(&self, id: &str) -> http::Uri {
        self.root().at(&format!("/subscriptions/{}", encoded(id)))
    }
}

impl GraphError {
    /// The subscription that stands in the way of a new one for the same resource
    /// (409 "Subscription Id … already exists for the requested combination").
    pub fn existing_subscription(&self) -> Option<String> {
        let answer = self.answer().filter(|answer| answer.status == 409)?;
        answer.message.split_whitespace().find(|word| is_guid(word)).map(str::to_owned)
    }

    /// The longest life that Microsoft grants a subscription, if this refusal names it
    /// (400 "Subscription expiration can only be 10070 minutes in the future").
    pub fn longest_subscription(&self) -> Option<SignedDuration> {
        let answer = self.answer().filter(|answer| answer.status == 400)?;
        let (_, after) = answer.message.split_once("expiration can only be ")?;
        let minutes: i64 = after.split_whitespace().next()?.parse().ok().filter(|minutes| *minutes > 0)?;
        Some(SignedDuration::from_mins(minutes))
    }
}

fn is_guid(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
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
            Ok(if forbidden { refusal(403, "ExtensionError") } else { answer(200, ONE) })
        });
        for _ in 0..20 {
            let refused = graph.create_subscription(&new()).await.err().unwrap();
            assert_eq!(refused.kind(), GraphErrorKind::OutOfScope);
        }
        assert!(graph.find_subscription("S1").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_in_the_way_is_read_from_the_refusal() {
        let refused = |status, message: &'static str| async move {
            let (graph, _) = graph(move |_| async move {
                let body = json!({ "error": { "code": "ExtensionError", "message": message } });
                Ok(answer(status, body.to_string()))
            });
            graph.create_subscription(&new()).await.err().unwrap()
        };
        let exists = "Subscription Id 7d3bd9a7-2e7b-4f8a-9a0f-3f8d2f1d0c55 already exists for the requested combination";
        let error = refused(409, exists).await;
        assert_eq!(error.existing_subscription().as_deref(), Some("7d3bd9a7-2e7b-4f8a-9a0f-3f8d2f1d0c55"));
        assert_eq!(error.longest_subscription(), None);
        let long = "Subscription expiration can only be 4230 minutes in the future.";
        assert_eq!(refused(400, long).await.longest_subscription(), Some(SignedDuration::from_mins(4230)));
        for (status, message) in
            [(409, "Conflict"), (400, "expiration can only be many minutes"), (500, long)]
        {
            let error = refused(status, message).await;
            assert_eq!((error.existing_subscription(), error.longest_subscription()), (None, None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whether_one_was_made_is_unknown_after_a_servers_error() {
        let (graph, _) = graph(|_| async { Ok(answer(504, "<html>")) });
        assert_eq!(graph.create_subscription(&new()).await.err().unwrap().kind(), GraphErrorKind::Unknown);
        assert_eq!(graph.find_subscription("x").await.err().unwrap().kind(), GraphErrorKind::Outage);
    }
}
