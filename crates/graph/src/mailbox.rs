//! One mailbox: reading messages and folders, and the read flag.
//!
//! Made by [`Graph::mailbox`]; its other operations are in `delta` and `draft`.
//! Rule kept: the MIME stream comes as bytes and is never decoded as text, for
//! Graph gives it without a charset
//! (<https://learn.microsoft.com/en-us/graph/outlook-get-mime-message>).

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::{
    call::{Call, encoded},
    client::{Graph, parsed},
    errors::GraphError,
    lane::{Lane, LaneView, Priority},
    requests::Operation,
    stream::ByteStream,
};

/// One mailbox of the tenant. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    pub(crate) graph: Graph,
    lane: Arc<Lane>,
    path: String,
}

/// What can be said of a message without its content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageMeta {
    /// The immutable id.
    pub id: String,
    /// When the mailbox received it.
    #[serde(default, rename = "receivedDateTime", deserialize_with = "time")]
    pub received_at: Option<Timestamp>,
    /// Whether it is a draft.
    #[serde(default)]
    pub is_draft: bool,
    /// Whether it is marked read.
    #[serde(default)]
    pub is_read: bool,
    /// The Message-ID, with angle brackets.
    pub internet_message_id: Option<String>,
    /// The subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// The folder it lies in.
    pub parent_folder_id: Option<String>,
}

/// What is asked for it.
pub(crate) const SELECT_META: &str =
    "id,receivedDateTime,isDraft,isRead,internetMessageId,subject,parentFolderId";

/// A mail folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// Its id, which stays the same.
    pub id: String,
    /// Its name in the language of the mailbox.
    #[serde(default)]
    pub display_name: String,
    /// How many items lie in it.
    #[serde(default, rename = "totalItemCount")]
    pub total_items: u32,
}

impl Mailbox {
    pub(crate) fn new(graph: Graph, lane: Arc<Lane>, path: String) -> Self {
        Self { graph, lane, path }
    }

    /// The message as MIME, as Exchange writes it, chunk by chunk.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn message_stream(&self, id: &str, priority: Priority) -> Result<ByteStream, GraphError> {
        let path = format!("/messages/{}", encoded(id));
        let call = Call::get(Operation::MessageBytes, self.at(&format!("{path}/$value")));
        self.stream(priority, call.witness(self.at(&format!("{path}?$select=id")))).await
    }

    /// A message's properties that are not content.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn message_meta(&self, id: &str) -> Result<MessageMeta, GraphError> {
        let target = self.at(&format!("/messages/{}?$select={SELECT_META}", encoded(id)));
        let body = self.call(Priority::NewMail, Call::get(Operation::MessageMeta, target)).await?;
        parsed(Operation::MessageMeta, &body)
    }

    /// A folder by its id or well-known name (`inbox`).
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn folder(&self, name_or_id: &str) -> Result<Folder, GraphError> {
        let select = "id,displayName,totalItemCount";
        let target = self.at(&format!("/mailFolders/{}?$select={select}", encoded(name_or_id)));
        let body = self.call(Priority::Delta, Call::get(Operation::Folder, target)).await?;
        parsed(Operation::Folder, &body)
    }

    /// How the mailbox's lane stands, for status pages and metrics.
    pub fn lane(&self) -> LaneView {
        self.lane.view()
    }

    /// Ends a rest after failures or for want of access, so that the next request tries anew.
    /// What Microsoft asked for stands.
    pub fn end_rest(&self) {
        self.lane.end_rest();
    }

    pub(crate) fn at(&self, path: &str) -> http::Uri {
        self.graph.root().at(&format!("{}{path}", self.path))
    }

    pub(crate) async fn stream(&self, priority: Priority, call: Call) -> Result<ByteStream, GraphError> {
        let (slot, incoming) = self.graph.open(&self.lane, priority, &call).await?;
        Ok(ByteStream::new(call.operation, slot, incoming))
    }

    pub(crate) async fn call(&self, priority: Priority, call: Call) -> Result<Bytes, GraphError> {
        self.graph.call(&self.lane, priority, call).await
    }
}

/// A time, or nothing where it is absent or can't be read: one odd item must not spoil a page.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, graph};

    #[tokio::test(start_paused = true)]
    async fn the_bytes_of_a_message_are_untouched() {
        let junk: Vec<u8> = (0..=255).collect();
        let body = junk.clone();
        let (graph, _) = graph(move |_| {
            let body = body.clone();
            async move { Ok(answer(200, body)) }
        });
        let stream = graph.mailbox("a@b.example").message_stream("id", Priority::NewMail).await.unwrap();
        assert_eq!(stream.collect().await.unwrap(), junk);
    }

    #[tokio::test(start_paused = true)]
    async fn properties_may_be_missing_and_unknown_ones_are_ignored() {
        let body = r##"{"@odata.context":"x","@odata.type":"#microsoft.graph.eventMessageRequest","id":"AAkA",
            "receivedDateTime":"2026-03-01T11:59:58.1234567Z","isDraft":true,"meetingMessageType":"meetingRequest"}"##;
        let (graph, record) = graph(move |_| async move { Ok(answer(200, body)) });
        let meta = graph.mailbox("a@b.example").message_meta("AAkA").await.unwrap();
        assert!(meta.is_draft && !meta.is_read && meta.internet_message_id.is_none());
        assert_eq!(meta.received_at.unwrap().as_second(), 1_772_366_398);
        assert!(record.graph()[0].uri().query().unwrap().starts_with("$select=id,receivedDateTime,"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_found_by_name_and_a_mail_marked_read() {
        let body = r#"{"id":"AAMk=","displayName":"受信トレイ","totalItemCount":3}"#;
        let (graph, record) = graph(move |_| async move { Ok(answer(200, body)) });
        let mailbox = graph.mailbox("a@b.example");
        let folder = mailbox.folder("inbox").await.unwrap();
        assert_eq!((folder.id.as_str(), folder.total_items), ("AAMk=", 3));
        mailbox.mark_read("id").await.unwrap();
        let patch = &record.graph()[1];
        assert_eq!((patch.method().as_str(), patch.body().as_ref()), ("PATCH", &b"{\"isRead\":true}"[..]));
        assert_eq!(patch.headers()["content-type"], "application/json");
    }
}
