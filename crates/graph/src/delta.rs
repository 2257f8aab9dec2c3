//! What changed in a folder, and which mails it received since a time.
//!
//! Called by the engine's delta rounds and its nightly sweep. Rules kept: a delta
//! track never carries a filter (it would stop at 5,000 messages), links go back
//! byte for byte, and a page without any link is an error, not an end.
//! <https://learn.microsoft.com/en-us/graph/delta-query-messages>

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    call::{Call, encoded},
    client::parsed,
    errors::GraphError,
    lane::Priority,
    mailbox::{Mailbox, time},
    requests::Operation,
};

const SELECT: &str = "id,receivedDateTime";

/// Where a delta page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaFrom<'a> {
    /// At the folder's beginning.
    Start,
    /// Where a link of an earlier page leads.
    Link(&'a str),
}

/// One page of a folder's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPage {
    /// The messages that came, changed or left, in no promised order, perhaps repeated.
    pub items: Vec<DeltaItem>,
    /// How it goes on.
    pub next: DeltaNext,
}

/// A message that came, changed or left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaItem {
    /// The immutable id.
    pub id: String,
    /// When it was received; absent where only something else changed.
    pub received_at: Option<Timestamp>,
    /// Whether it is no longer in this folder.
    pub removed: bool,
}

/// How a delta round goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaNext {
    /// There is more at once behind this link.
    Next(String),
    /// That was all; the next round begins with this link.
    Done(String),
}

/// One page of ids by received date, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPage {
    /// The messages.
    pub items: Vec<IdItem>,
    /// The link to the next page, if there is one.
    pub next: Option<String>,
}

/// A message by its id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IdItem {
    /// The immutable id.
    pub id: String,
    /// When it was received.
    #[serde(default, rename = "receivedDateTime", deserialize_with = "time")]
    pub received_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Page<T> {
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    next_link: Option<String>,
    #[serde(rename = "@odata.deltaLink")]
    delta_link: Option<String>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(flatten)]
    item: IdItem,
    #[serde(rename = "@removed")]
    removed: Option<serde::de::IgnoredAny>,
}

impl Mailbox {
    /// One page of a folder's changes; `folder` is an id or a well-known name, `page_size` the number of
    /// items that are asked for, a hint.
    ///
    /// # Errors
    /// `SyncStateLost` when the folder must be read from its start; else see
    /// [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn delta(
        &self,
        folder: &str,
        from: DeltaFrom<'_>,
        page_size: u32,
    ) -> Result<DeltaPage, GraphError> {
        let target = match from {
            DeltaFrom::Start => {
                self.at(&format!("/mailFolders/{}/messages/delta?$select={SELECT}", encoded(folder)))
            }
            DeltaFrom::Link(link) => self.graph.root().follow(Operation::Delta, link).map_err(strayed)?,
        };
        let call = Call::get(Operation::Delta, target).page_size(page_size);
        let page: Page<Change> = parsed(Operation::Delta, &self.call(Priority::Delta, call).await?)?;
        let next = match (page.next_link, page.delta_link) {
            (Some(link), _) => DeltaNext::Next(link),
            (None, Some(link)) => DeltaNext::Done(link),
            (None, None) => {
                let reason =
                    "the page has neither a link to the next page nor one to the next round".to_owned();
                return Err(GraphError::Malformed { operation: Operation::Delta, reason });
            }
        };
        let items = page.value.into_iter().map(|change| DeltaItem {
            id: change.item.id,
            received_at: change.item.received_at,
            removed: change.removed.is_some(),
        });
        Ok(DeltaPage { items: items.collect(), next })
    }

    /// The messages of a folder received at or after `since` (to the second), `page_size` at a time.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn list_ids_since(
        &self,
        folder: &str,
        since: Timestamp,
        link: Option<&str>,
        page_size: u32,
    ) -> Result<IdPage, GraphError> {
        let target = match link {
            Some(link) => self.graph.root().follow(Operation::ListIds, link)?,
            None => {
                // Oldest first: what arrives meanwhile comes at the end and shifts no page.
                let filter = encoded(&format!("receivedDateTime ge {}", seconds(since)));
                let query =
                    format!("$select={SELECT}&$filter={filter}&$orderby=receivedDateTime&$top={page_size}");
                self.at(&format!("/mailFolders/{}/messages?{query}", encoded(folder)))
            }
        };
        let body = self.call(Priority::Backlog, Call::get(Operation::ListIds, target)).await?;
        let page: Page<IdItem> = parsed(Operation::ListIds, &body)?;
        Ok(IdPage { items: page.value, next: page.next_link })
    }
}

/// A track that leads elsewhere is lost: the integration may have got another address since.
fn strayed(error: GraphError) -> GraphError {
    match error {
        GraphError::Malformed { reason, .. } => GraphError::TrackElsewhere { reason },
        other => other,
    }
}

/// A time as Graph likes it: UTC with `Z`, whole seconds.
pub(crate) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        GraphErrorKind,
        testing::{answer, graph, refusal},
    };

    #[tokio::test(start_paused = true)]
    async fn the_first_page_asks_for_ids_and_dates_only_and_filters_nothing() {
        let body = r##"{"value":[
            {"@odata.type":"#microsoft.graph.message","@odata.etag":"e","id":"A","receivedDateTime":"2026-03-01T12:00:00Z"},
            {"id":"B","isRead":true},
            {"@removed":{"reason":"deleted"},"id":"C"},
            {"id":"D","receivedDateTime":"yesterday"}],
            "@odata.nextLink":"https://graph.example/next"}"##;
        let (graph, record) = graph(move |_| async move { Ok(answer(200, body)) });
        let page = graph.mailbox("a@b.example").delta("in box", DeltaFrom::Start, 50).await.unwrap();
        let seen: Vec<_> =
            page.items.iter().map(|i| (i.id.as_str(), i.received_at.is_some(), i.removed)).collect();
        assert_eq!(seen, [("A", true, false), ("B", false, false), ("C", false, true), ("D", false, false)]);
        assert_eq!(page.next, DeltaNext::Next("https://graph.example/next".into()));
        let request = &record.graph()[0];
        assert_eq!(
            request.uri(),
            "https://graph.example/v1.0/users/a%40b.example/mailFolders/in%20box/messages/delta?$select=id,receivedDateTime"
        );
        assert_eq!(request.headers()["prefer"], "IdType=\"ImmutableId\", odata.maxpagesize=50");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_followed_byte_for_byte_and_an_empty_page_may_go_on() {
        let body = r#"{"value":[],"@odata.deltaLink":"https://graph.example/d?$deltatoken=%2b+x"}"#;
        let (graph, record) = graph(move |_| async move { Ok(answer(200, body)) });
        let link =
            "https://graph.example/v1.0//users/x/mailFolders('in')/messages/delta()?%24skiptoken=a%2bB+%2F==";
        let page = graph.mailbox("a@b.example").delta("inbox", DeltaFrom::Link(link), 50).await.unwrap();
        assert_eq!(record.graph()[0].uri().to_string(), link);
        assert!(
            record.graph()[0].headers()["prefer"].to_str().unwrap().starts_with("IdType=\"ImmutableId\"")
        );
        assert_eq!(page.next, DeltaNext::Done("https://graph.example/d?$deltatoken=%2b+x".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_does_not_follow_a_link_to_elsewhere() {
        let (graph, record) = graph(|_| async { Ok(answer(200, "{}")) });
        let mailbox = graph.mailbox("a@b.example");
        let evil = "https://graph.example.evil.example/v1.0/x";
        assert!(mailbox.delta("inbox", DeltaFrom::Link(evil), 50).await.is_err());
        assert!(mailbox.list_ids_since("inbox", Timestamp::UNIX_EPOCH, Some(evil), 50).await.is_err());
        assert!(record.all().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_without_links_is_an_error_and_a_lost_track_is_said_so() {
        let (silent, _) = graph(|_| async { Ok(answer(200, r#"{"value":[]}"#)) });
        let from = DeltaFrom::Start;
        let kind = silent.mailbox("a@b.example").delta("inbox", from, 50).await.unwrap_err().kind();
        assert_eq!(kind, GraphErrorKind::Malformed);
        for (status, code, expected) in [
            (410, "SyncStateNotFound", GraphErrorKind::SyncStateLost),
            (400, "SyncStateNotFound", GraphErrorKind::SyncStateLost),
            (404, "ErrorItemNotFound", GraphErrorKind::Gone),
        ] {
            let (lost, _) = graph(move |_| async move { Ok(refusal(status, code)) });
            assert_eq!(
                lost.mailbox("a@b.example").delta("inbox", from, 50).await.unwrap_err().kind(),
                expected
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ids_since_a_time_come_oldest_first_and_page_by_page() {
        let body = r#"{"value":[{"id":"A","receivedDateTime":"2026-03-01T12:00:00Z"}],
            "@odata.nextLink":"https://graph.example/v1.0/more?$skip=1"}"#;
        let (graph, record) = graph(move |_| async move { Ok(answer(200, body)) });
        let mailbox = graph.mailbox("a@b.example");
        let since = "2026-02-28T10:00:00.9Z".parse().unwrap();
        let page = mailbox.list_ids_since("inbox", since, None, 1000).await.unwrap();
        mailbox.list_ids_since("inbox", since, page.next.as_deref(), 1000).await.unwrap();
        let asked: Vec<String> = record.graph().iter().map(|r| r.uri().query().unwrap().to_owned()).collect();
        assert_eq!(
            asked[0],
            "$select=id,receivedDateTime&$filter=receivedDateTime%20ge%202026-02-28T10%3A00%3A00Z\
             &$orderby=receivedDateTime&$top=1000"
        );
        assert_eq!(asked[1], "$skip=1");
    }
}
