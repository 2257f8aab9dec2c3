//! What a mail says: read once from its bytes when it is delivered, or written
//! by a client into a draft.
//!
//! Everything a list of messages shows is kept here, so that no request parses
//! MIME again; only attachments and transport headers are read from the bytes
//! when somebody asks for them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use mail_parser::decoders::html::{html_to_text, text_to_html};
use mail_parser::{Address, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use serde_json::Value;

use crate::clock::whole_seconds;

/// Characters of a body that a preview shows.
const PREVIEW: usize = 255;

/// A name and an address; both may be empty in real mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) address: String,
}

impl Person {
    pub(crate) fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self { name: name.into(), address: address.into() }
    }

    /// The name, or the address where there is none, as Exchange shows it.
    pub(crate) fn shown(&self) -> &str {
        if self.name.is_empty() { &self.address } else { &self.name }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    #[default]
    Html,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Html => "html",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) format: Format,
    pub(crate) content: String,
}

impl Body {
    /// The body in the format asked for.
    pub(crate) fn to_format(&self, format: Format) -> Cow<'_, str> {
        match (self.format, format) {
            (Format::Html, Format::Text) => html_to_text(&self.content).into(),
            (Format::Text, Format::Html) => text_to_html(&self.content).into(),
            _ => self.content.as_str().into(),
        }
    }

    pub(crate) fn preview(&self) -> String {
        self.to_format(Format::Text).trim().chars().take(PREVIEW).collect()
    }
}

/// A mail without its place: the same for the copies of sender and recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) subject: String,
    pub(crate) from: Option<Person>,
    pub(crate) sender: Option<Person>,
    pub(crate) to: Vec<Person>,
    pub(crate) cc: Vec<Person>,
    pub(crate) bcc: Vec<Person>,
    pub(crate) reply_to: Vec<Person>,
    pub(crate) body: Body,
    pub(crate) preview: String,
    /// With angle brackets; only a draft in the making and a mail without Message-ID have none.
    pub(crate) message_id: Option<String>,
    /// With angle brackets.
    pub(crate) in_reply_to: Option<String>,
    /// With angle brackets, oldest first.
    pub(crate) references: Vec<String>,
    /// The sender's Date.
    pub(crate) date: Option<Timestamp>,
    /// Further headers of a draft: own `x-` ones, or those of the bytes it was made from.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether something is attached that is not shown inside the text.
    pub(crate) has_attachments: bool,
    /// What is attached to a draft that has no bytes.
    pub(crate) attached: Vec<Arc<Attachment>>,
    /// The bytes as they came or left. A draft has none, unless it was made from bytes
    /// and nobody has changed it since.
    pub(crate) mime: Option<Bytes>,
}

impl Content {
    /// Reads what can be read; any bytes are a mail.
    pub(crate) fn from_mime(mime: Bytes) -> Self {
        let Some(message) = MessageParser::default().parse(mime.as_ref()) else {
            return Self { mime: Some(mime), ..Self::default() };
        };
        let body = Body {
            format: Format::Html,
            content: message.body_html(0).map(Cow::into_owned).unwrap_or_default(),
        };
        let preview = message.body_text(0).unwrap_or_default().trim().chars().take(PREVIEW).collect();
        let content = Self {
            subject: message.subject().unwrap_or_default().to_owned(),
            from: people(message.from()).into_iter().next(),
            sender: people(message.sender()).into_iter().next(),
            to: message.all_to().flat_map(|list| people(Some(list))).collect(),
            cc: message.all_cc().flat_map(|list| people(Some(list))).collect(),
            bcc: message.all_bcc().flat_map(|list| people(Some(list))).collect(),
            reply_to: people(message.reply_to()),
            body,
            preview,
            message_id: message.message_id().map(bracketed),
            in_reply_to: ids(message.in_reply_to()).pop(),
            references: ids(message.references()),
            date: message
                .date()
                .filter(|date| date.is_valid())
                .and_then(|date| Timestamp::from_second(date.to_timestamp()).ok())
                .map(whole_seconds),
            headers: Vec::new(),
            attached: Vec::new(),
            has_attachments: message.attachments().any(|part| !is_inline(part)),
            mime: None,
        };
        drop(message);
        Self { mime: Some(mime), ..content }
    }

    /// Everybody the mail is addressed to, hidden ones included.
    pub(crate) fn recipients(&self) -> impl Iterator<Item = &Person> {
        self.to.iter().chain(&self.cc).chain(&self.bcc)
    }

    /// Message-IDs of the thread before this mail, the nearest first.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &String> {
        self.in_reply_to.iter().chain(self.references.iter().rev())
    }

    /// Attachments: those of the draft, or read from the bytes.
    pub(crate) fn attachments(&self) -> Vec<Arc<Attachment>> {
        match self.parsed() {
            Some(message) => {
                let parts = (0..).zip(message.attachments());
                parts.map(|(number, part)| Arc::new(Attachment::from_part(number, part))).collect()
            }
            None => self.attached.clone(),
        }
    }

    /// Makes a mail that was made from bytes one that can be changed: what the
    /// bytes alone knew is taken out of them, and they are dropped.
    pub(crate) fn open(&mut self) {
        if self.mime.is_none() {
            return;
        }
        self.attached = self.attachments();
        self.headers = self.transport_headers();
        self.headers.retain(|(name, _)| !is_written_anew(name));
        self.mime = None;
    }

    /// Attaches something and returns its number.
    pub(crate) fn attach(&mut self, attachment: Attachment) -> u32 {
        self.open();
        let number = self.attached.iter().map(|other| other.number + 1).max().unwrap_or(0);
        self.attached.push(Arc::new(Attachment { number, ..attachment }));
        self.note_attachments();
        number
    }

    /// Removes the attachment of this number.
    pub(crate) fn detach(&mut self, number: u32) {
        self.open();
        self.attached.retain(|attachment| attachment.number != number);
        self.note_attachments();
    }

    fn note_attachments(&mut self) {
        self.has_attachments = self.attached.iter().any(|attachment| !attachment.inline);
    }

    /// Transport headers in their order, read from the bytes.
    pub(crate) fn transport_headers(&self) -> Vec<(String, String)> {
        let Some(message) = self.parsed() else { return Vec::new() };
        message.headers_raw().map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }

    fn parsed(&self) -> Option<Message<'_>> {
        MessageParser::default().parse(self.mime.as_ref()?.as_ref())
    }
}

/// What an attachment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttachmentKind {
    File,
    /// A whole mail inside the mail.
    Message,
    /// An event or a contact, as the JSON it was attached with.
    Item(Value),
    /// A link, which in v1.0 says no more than its name.
    Reference,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Names the attachment inside its message.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) content_id: Option<String>,
    pub(crate) content_location: Option<String>,
    pub(crate) inline: bool,
    pub(crate) kind: AttachmentKind,
    pub(crate) bytes: Bytes,
}

impl Attachment {
    fn from_part(number: u32, part: &MessagePart<'_>) -> Self {
        let (nested, bytes) = match &part.body {
            PartType::Message(message) => (Some(message), message.raw_message().to_vec()),
            _ => (None, part.contents().to_vec()),
        };
        let content_type = part.content_type().map_or_else(
            || "application/octet-stream".to_owned(),
            |kind| match kind.subtype() {
                Some(subtype) => format!("{}/{subtype}", kind.ctype()),
                None => kind.ctype().to_owned(),
            },
        );
        let name = part
            .attachment_name()
            .or_else(|| nested.and_then(|message| message.subject()))
            .unwrap_or("attachment")
            .to_owned();
        Self {
            number,
            name,
            content_type,
            content_id: part.content_id().map(str::to_owned),
            content_location: part.content_location().map(str::to_owned),
            inline: is_inline(part),
            kind: if nested.is_some() { AttachmentKind::Message } else { AttachmentKind::File },
            bytes: bytes.into(),
        }
    }
}

/// Whether the writer of mails makes this header from the properties of a mail.
fn is_written_anew(name: &str) -> bool {
    const ANEW: [&str; 12] = [
        "From",
        "Sender",
        "To",
        "Cc",
        "Bcc",
        "Reply-To",
        "Subject",
        "Date",
        "Message-ID",
        "In-Reply-To",
        "References",
        "MIME-Version",
    ];
    let name = name.to_ascii_lowercase();
    name.starts_with("content-") || ANEW.iter().any(|own| own.eq_ignore_ascii_case(&name))
}

fn is_inline(part: &MessagePart<'_>) -> bool {
    match part.content_disposition() {
        Some(disposition) => disposition.is_inline(),
        None => part.content_id().is_some(),
    }
}

fn people(list: Option<&Address<'_>>) -> Vec<Person> {
    list.into_iter()
        .flat_map(Address::iter)
        .map(|person| Person::new(person.name().unwrap_or_default(), person.address().unwrap_or_default()))
        .collect()
}

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::Text(id) => vec![bracketed(id)],
        HeaderValue::TextList(ids) => ids.iter().map(|id| bracketed(id)).collect(),
        _ => Vec::new(),
    }
}

fn bracketed(id: &str) -> String {
    format!("<{id}>")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_reply_says_is_read() {
        let content = Content::from_mime(Bytes::from_static(
            b"From: =?UTF-8?B?5bGx55Sw?= <yamada@customer.example>\r\nTo: Support <support@contoso.example>\r\n\
              Subject: Re: Printer\r\nMessage-ID: <c@x>\r\nIn-Reply-To: <b@x>\r\nReferences: <a@x> <b@x>\r\n\
              Date: Mon, 2 Mar 2026 10:00:00 +0100\r\n\r\n  Still broken.\r\n",
        ));
        assert_eq!(content.from, Some(Person::new("山田", "yamada@customer.example")));
        assert_eq!(content.message_id.as_deref(), Some("<c@x>"));
        assert_eq!(content.ancestors().collect::<Vec<_>>(), ["<b@x>", "<b@x>", "<a@x>"]);
        assert_eq!(content.preview, "Still broken.");
        assert_eq!(content.date.map(|date| date.to_string()).as_deref(), Some("2026-03-02T09:00:00Z"));
        assert!(!content.has_attachments);
    }

    #[test]
    fn inline_pictures_alone_are_no_attachments() {
        let mail = |disposition: &str| {
            Content::from_mime(
                format!(
                    "Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n\
                     <img src=cid:p>\r\n--b\r\nContent-Type: image/png; name=p.png\r\nContent-ID: <p>\r\n\
                     Content-Disposition: {disposition}\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
                )
                .into(),
            )
        };
        assert!(!mail("inline").has_attachments);
        let attached = mail("attachment");
        assert!(attached.has_attachments);
        let [attachment] = &attached.attachments()[..] else { panic!("one attachment") };
        assert_eq!((&attachment.name[..], &attachment.bytes[..]), ("p.png", &[0, 1, 2][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_mail(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let content = Content::from_mime(bytes.clone().into());
            content.attachments();
            content.transport_headers();
            prop_assert_eq!(content.mime.as_deref(), Some(&bytes[..]));
        }
    }
}
