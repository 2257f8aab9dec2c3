//! A message's content piece by piece, where Graph can't give its MIME bytes.
//!
//! Called by the engine when `$value` keeps failing. Rules kept: attachments are
//! listed without their bytes and then asked for one by one, for all at once is
//! answered 504; every property may be missing
//! (<https://learn.microsoft.com/en-us/graph/api/resources/message>).

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    call::{Call, encoded},
    client::parsed,
    errors::GraphError,
    lane::Priority,
    mailbox::{Mailbox, time},
    requests::Operation,
    stream::ByteStream,
};

const SELECT: &str = "subject,from,sender,toRecipients,ccRecipients,bccRecipients,replyTo,sentDateTime,\
                      receivedDateTime,internetMessageId,internetMessageHeaders,body";
/// The id of an inline picture is null unless it is asked for by its type.
const SELECT_ATTACHMENT: &str = "id,name,contentType,isInline,microsoft.graph.fileAttachment/contentId";

/// What a message says, without its attachments.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageContent {
    /// The subject.
    pub subject: Option<String>,
    /// The author.
    pub from: Option<Person>,
    /// Who sent it for the author.
    pub sender: Option<Person>,
    /// To whom.
    #[serde(rename = "toRecipients")]
    pub to: Vec<Person>,
    /// With a copy to whom.
    #[serde(rename = "ccRecipients")]
    pub cc: Vec<Person>,
    /// With a hidden copy to whom.
    #[serde(rename = "bccRecipients")]
    pub bcc: Vec<Person>,
    /// Where answers should go.
    pub reply_to: Vec<Person>,
    /// The author's date.
    #[serde(rename = "sentDateTime", deserialize_with = "time")]
    pub sent_at: Option<Timestamp>,
    /// When the mailbox received it.
    #[serde(rename = "receivedDateTime", deserialize_with = "time")]
    pub received_at: Option<Timestamp>,
    /// The Message-ID, with angle brackets.
    pub internet_message_id: Option<String>,
    /// Headers of the way, those of author and recipients not among them.
    #[serde(rename = "internetMessageHeaders")]
    pub headers: Vec<InternetHeader>,
    /// The text.
    pub body: Option<MessageBody>,
}

/// Somebody a message is from or to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Person {
    /// Name and address.
    pub email_address: NamedAddress,
}

/// A name and an address; either may be missing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamedAddress {
    /// The display name.
    pub name: Option<String>,
    /// The address; Exchange has some that are none of the internet.
    pub address: Option<String>,
}

/// A header as it came with the message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct InternetHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
}

/// A message's text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageBody {
    /// `html` or `text`.
    pub content_type: String,
    /// The text.
    pub content: Option<String>,
}

/// An attachment without its bytes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentMeta {
    /// Its id.
    pub id: String,
    /// What kind it is; tells file, item and reference.
    #[serde(rename = "@odata.type")]
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// Its media type, absent for items.
    pub content_type: Option<String>,
    /// Whether it belongs into the body.
    pub is_inline: bool,
    /// The name under which the body shows it.
    pub content_id: Option<String>,
}

impl AttachmentMeta {
    /// Whether it is a mail, an appointment or a contact.
    pub fn is_item(&self) -> bool {
        self.kind.ends_with("itemAttachment")
    }

    /// Whether it is a link to a file elsewhere, without bytes.
    pub fn is_reference(&self) -> bool {
        self.kind.ends_with("referenceAttachment")
    }
}

#[derive(Deserialize)]
struct Page {
    value: Vec<AttachmentMeta>,
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
}

impl Mailbox {
    /// What a message says, without its attachments.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn message_content(&self, id: &str, priority: Priority) -> Result<MessageContent, GraphError> {
        let operation = Operation::MessageContent;
        let target = self.at(&format!("/messages/{}?$select={SELECT}", encoded(id)));
        parsed(operation, &self.call(priority, Call::get(operation, target)).await?)
    }

    /// The attachments of a message, all pages of them, without their bytes.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn list_attachments(
        &self,
        id: &str,
        priority: Priority,
    ) -> Result<Vec<AttachmentMeta>, GraphError> {
        let operation = Operation::ListAttachments;
        let mut target =
            self.at(&format!("/messages/{}/attachments?$select={SELECT_ATTACHMENT}", encoded(id)));
        let mut all = Vec::new();
        loop {
            let page: Page = parsed(operation, &self.call(priority, Call::get(operation, target)).await?)?;
            let more = !page.value.is_empty();
            all.extend(page.value);
            match page.next {
                Some(link) if more => target = self.graph.root().follow(operation, &link)?,
                _ => return Ok(all),
            }
        }
    }

    /// The bytes of an attachment as they come; of an item, a mail, a calendar entry or a card.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn attachment_stream(
        &self,
        id: &str,
        attachment: &str,
        priority: Priority,
    ) -> Result<ByteStream, GraphError> {
        let path = format!("/messages/{}/attachments/{}/$value", encoded(id), encoded(attachment));
        self.stream(priority, Call::get(Operation::AttachmentBytes, self.at(&path))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, graph};

    #[tokio::test(start_paused = true)]
    async fn a_content_of_which_nearly_everything_is_missing_is_read() {
        let body = r#"{"subject":null,"from":{"emailAddress":{"name":"","address":null}},"body":{"contentType":"html"}}"#;
        let body = body.replace("\"contentType\":\"html\"", "\"contentType\":\"html\",\"content\":\"<p>\"");
        let (graph, _) = graph(move |_| {
            let body = body.clone();
            async move { Ok(answer(200, body)) }
        });
        let content = graph.mailbox("a@b.example").message_content("id", Priority::NewMail).await.unwrap();
        assert!(content.subject.is_none() && content.to.is_empty() && content.sent_at.is_none());
        assert_eq!(content.body.unwrap().content.as_deref(), Some("<p>"));
    }

    #[tokio::test(start_paused = true)]
    async fn attachments_are_listed_to_the_last_page_and_fetched_one_by_one() {
        let (graph, record) = graph(|request| async move {
            let uri = request.uri().to_string();
            Ok(if uri.contains("$value") {
                answer(200, vec![0, 159, 146, 150])
            } else if uri.contains("skip=1") {
                answer(200, r##"{"value":[{"@odata.type":"#microsoft.graph.itemAttachment","id":"B"}]}"##)
            } else {
                answer(
                    200,
                    r##"{"value":[{"@odata.type":"#microsoft.graph.fileAttachment","id":"A=","name":"請求書.pdf"}],
                    "@odata.nextLink":"https://graph.example/v1.0/x?skip=1"}"##,
                )
            })
        });
        let mailbox = graph.mailbox("a@b.example");
        let list = mailbox.list_attachments("M", Priority::NewMail).await.unwrap();
        assert_eq!((list[0].name.as_deref(), list[1].is_item()), (Some("請求書.pdf"), true));
        let bytes = mailbox.attachment_stream("M", &list[0].id, Priority::NewMail).await.unwrap();
        assert_eq!(bytes.collect().await.unwrap(), [0, 159, 146, 150]);
        let asked = record.graph();
        assert!(asked[0].uri().query().unwrap().ends_with("microsoft.graph.fileAttachment/contentId"));
        assert!(asked[2].uri().path().ends_with("/messages/M/attachments/A%3D/$value"));
    }
}
