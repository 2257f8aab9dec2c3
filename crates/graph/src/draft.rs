//! Drafts, sending, and finding again what we made.
//!
//! Called by the outbox. Rule kept: every draft is born with our marker as an
//! extended property, because neither its id nor its Message-ID is sure to
//! survive the sending; only the marker tells whether a mail has left
//! (<https://learn.microsoft.com/en-us/graph/api/resources/extended-properties-overview>).

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{
    call::{Call, encoded, quoted},
    client::parsed,
    errors::GraphError,
    lane::Priority,
    mailbox::{Mailbox, time},
    requests::Operation,
};

/// The named property that holds our marker; the set's GUID is our own.
const PROPERTY: &str = "String {8b6f2c1e-0d53-4d39-9f7a-64a1c6e2b7d0} Name Postroom";

/// A word of ours on a draft, by which it and its sent copy are found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker(String);

impl Marker {
    /// A marker with a value that no other message has.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    fn properties(&self) -> Value {
        json!([{ "id": PROPERTY, "value": self.0 }])
    }
}

/// Somebody a mail is from or to.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The display name.
    pub name: Option<String>,
    /// The address.
    pub address: String,
}

/// What stands in a draft.
#[derive(Clone, PartialEq, Eq)]
pub struct DraftContent {
    /// The subject, prefix included.
    pub subject: String,
    /// The whole body as HTML.
    pub html: String,
    /// The sender; by default the mailbox itself.
    pub from: Option<Recipient>,
    /// To whom.
    pub to: Vec<Recipient>,
    /// With a copy to whom.
    pub cc: Vec<Recipient>,
}

/// A draft in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// The immutable id, until it is sent.
    pub id: String,
    /// The Message-ID as planned, without brackets; sending may change it.
    #[serde(default, deserialize_with = "message_id")]
    pub internet_message_id: Option<String>,
}

/// A message found by its marker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundMessage {
    /// The immutable id.
    pub id: String,
    /// Whether it is still a draft.
    #[serde(default)]
    pub is_draft: bool,
    /// The Message-ID, without brackets.
    #[serde(default, deserialize_with = "message_id")]
    pub internet_message_id: Option<String>,
    /// When it was sent.
    #[serde(default, rename = "sentDateTime", deserialize_with = "time")]
    pub sent_at: Option<Timestamp>,
}

/// Graph gives a Message-ID as it stands in the header, in brackets that are not part of it
/// (<https://www.rfc-editor.org/rfc/rfc5322#section-3.6.4>).
fn message_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let given: Option<String> = Option::deserialize(deserializer)?;
    Ok(given.map(|id| id.trim().trim_start_matches('<').trim_end_matches('>').to_owned()))
}

/// The folders through which an outgoing mail passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WellKnown {
    /// Where a draft is made.
    Drafts,
    /// Where it waits after it was asked to be sent.
    Outbox,
    /// Where its copy stays.
    SentItems,
}

impl WellKnown {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Drafts => "drafts",
            Self::Outbox => "outbox",
            Self::SentItems => "sentitems",
        }
    }
}

impl DraftContent {
    fn json(&self) -> Value {
        let person = |recipient: &Recipient| match &recipient.name {
            Some(name) => json!({ "emailAddress": { "name": name, "address": recipient.address } }),
            None => json!({ "emailAddress": { "address": recipient.address } }),
        };
        let people = |recipients: &[Recipient]| recipients.iter().map(person).collect::<Value>();
        let mut message = json!({
            "subject": self.subject,
            "body": { "contentType": "html", "content": self.html },
            "toRecipients": people(&self.to),
            "ccRecipients": people(&self.cc),
        });
        if let Some(from) = &self.from {
            message["from"] = person(from);
        }
        message
    }
}

impl Mailbox {
    /// Makes a draft that answers a message; Exchange writes the threading headers.
    ///
    /// # Errors
    /// `Unknown` when it may have been made: look for the marker. Else see
    /// [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn create_reply(&self, id: &str, marker: &Marker) -> Result<Draft, GraphError> {
        let target = self.at(&format!("/messages/{}/createReply", encoded(id)));
        let body = json!({ "message": { "singleValueExtendedProperties": marker.properties() } });
        self.draft(Call::post(Operation::CreateReply, target).json(&body)).await
    }

    /// Makes a draft that answers nothing, for when the original is gone.
    ///
    /// # Errors
    /// As [`Mailbox::create_reply`].
    pub async fn create_draft(&self, content: &DraftContent, marker: &Marker) -> Result<Draft, GraphError> {
        let mut message = content.json();
        message["singleValueExtendedProperties"] = marker.properties();
        self.draft(Call::post(Operation::CreateDraft, self.at("/messages")).json(&message)).await
    }

    /// Puts content into a draft. Safe to repeat.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn update_draft(&self, id: &str, content: &DraftContent) -> Result<Draft, GraphError> {
        let target = self.at(&format!("/messages/{}", encoded(id)));
        self.draft(Call::patch(Operation::UpdateDraft, target).json(&content.json())).await
    }

    /// Sends a draft. Success means accepted by Exchange, not delivered.
    ///
    /// # Errors
    /// `Unknown` when it may have been sent: look for the marker, never send again
    /// without. Else see [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn send_draft(&self, id: &str) -> Result<(), GraphError> {
        let target = self.at(&format!("/messages/{}/send", encoded(id)));
        self.call(Priority::Send, Call::post(Operation::SendDraft, target)).await.map(drop)
    }

    /// The messages in a folder that bear the marker, twenty at most.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn list_marked(
        &self,
        folder: WellKnown,
        marker: &Marker,
    ) -> Result<Vec<FoundMessage>, GraphError> {
        #[derive(Deserialize)]
        struct Found {
            value: Vec<FoundMessage>,
        }
        let filter = format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq {} and ep/value eq {})",
            quoted(PROPERTY),
            quoted(&marker.0)
        );
        let query =
            format!("$select=id,isDraft,internetMessageId,sentDateTime&$filter={}&$top=20", encoded(&filter));
        let target = self.at(&format!("/mailFolders/{}/messages?{query}", folder.as_str()));
        let body = self.call(Priority::Send, Call::get(Operation::FindMarked, target)).await?;
        let found: Found = parsed(Operation::FindMarked, &body)?;
        Ok(found.value)
    }

    async fn draft(&self, call: Call) -> Result<Draft, GraphError> {
        let operation = call.operation;
        parsed(operation, &self.call(Priority::Send, call).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, graph};

    const MADE: &str = r#"{"id":"D","internetMessageId":"<d@x>","body":{"content":"quoted"}}"#;

    fn recipient(name: Option<&str>, address: &str) -> Recipient {
        Recipient { name: name.map(Into::into), address: address.into() }
    }

    fn content() -> DraftContent {
        DraftContent {
            subject: "RE: 請求".into(),
            html: "<p>Hello</p>".into(),
            from: Some(recipient(Some("Support"), "support@contoso.example")),
            to: vec![recipient(None, "customer@fabrikam.example")],
            cc: vec![],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_made_marked_filled_and_sent() {
        let (graph, record) = graph(|_| async { Ok(answer(201, MADE)) });
        let mailbox = graph.mailbox("support@contoso.example");
        let draft = mailbox.create_reply("A/=", &Marker::new("out_1")).await.unwrap();
        assert_eq!(draft, Draft { id: "D".into(), internet_message_id: Some("d@x".into()) });
        mailbox.update_draft(&draft.id, &content()).await.unwrap();
        mailbox.send_draft(&draft.id).await.unwrap();

        let sent = record.graph();
        let paths: Vec<&str> =
            sent.iter().map(|r| r.uri().path().rsplit("/messages/").next().unwrap()).collect();
        assert_eq!(paths, ["A%2F%3D/createReply", "D", "D/send"]);
        let body = |index: usize| serde_json::from_slice::<Value>(sent[index].body()).unwrap();
        let marked =
            json!({ "message": { "singleValueExtendedProperties": [{ "id": PROPERTY, "value": "out_1" }] } });
        assert_eq!(body(0), marked);
        assert_eq!(
            body(1),
            json!({
                "subject": "RE: 請求",
                "body": { "contentType": "html", "content": "<p>Hello</p>" },
                "from": { "emailAddress": { "name": "Support", "address": "support@contoso.example" } },
                "toRecipients": [{ "emailAddress": { "address": "customer@fabrikam.example" } }],
                "ccRecipients": [],
            })
        );
        assert_eq!(
            (sent[2].body().len(), &sent[2].headers()["content-length"]),
            (0, &http::HeaderValue::from(0))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_draft_made_from_nothing_is_marked_too() {
        let (graph, record) = graph(|_| async { Ok(answer(201, MADE)) });
        graph.mailbox("a@b.example").create_draft(&content(), &Marker::new("out_2")).await.unwrap();
        let body: Value = serde_json::from_slice(record.graph()[0].body()).unwrap();
        assert_eq!(body["singleValueExtendedProperties"][0]["value"], "out_2");
        assert_eq!(body["subject"], "RE: 請求");
    }

    #[tokio::test(start_paused = true)]
    async fn what_bears_the_marker_is_found_and_quotes_do_no_harm() {
        let body = r#"{"value":[{"id":"S","isDraft":false,"internetMessageId":"<s@x>","sentDateTime":"2026-03-01T12:00:00Z"}]}"#;
        let (graph, record) = graph(move |request: http::Request<bytes::Bytes>| async move {
            let sent = request.uri().path().contains("sentitems");
            Ok(answer(200, if sent { body } else { r#"{"value":[]}"# }))
        });
        let mailbox = graph.mailbox("a@b.example");
        let marker = Marker::new("o'clock");
        assert_eq!(mailbox.list_marked(WellKnown::Drafts, &marker).await.unwrap(), []);
        let found = mailbox.list_marked(WellKnown::SentItems, &marker).await.unwrap().remove(0);
        assert_eq!((found.id.as_str(), found.is_draft, found.sent_at.is_some()), ("S", false, true));
        let query = record.graph()[1].uri().query().unwrap().to_owned();
        let filter =
            url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "$filter").unwrap().1;
        assert_eq!(
            filter,
            format!(
                "singleValueExtendedProperties/Any(ep: ep/id eq '{PROPERTY}' and ep/value eq 'o''clock')"
            )
        );
    }
}
