//! Writes the bytes of a mail: what a client sends from a draft, what a person
//! writes on the web page, and the mails of a burst.
//!
//! Text is always UTF-8 in base64, headers are folded and encoded by RFC 2047,
//! and nothing a caller puts into a header can begin a new one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::content::{Attachment, AttachmentKind, Content, Format, Person};

/// Octets of text in one encoded word, so that the word stays under 75 characters.
const WORD_OCTETS: usize = 42;

/// The mail as bytes, dated `date`. Hidden recipients are left out, and so are
/// attachments that are only links.
///
/// `boundary` must be a text that stands nowhere in the attached mails; everything
/// else is base64, which has no hyphen.
pub(crate) fn mime(content: &Content, date: Timestamp, boundary: &str) -> Bytes {
    let mut mail = Writer::default();
    if let Some(from) = &content.from {
        mail.people("From", std::slice::from_ref(from));
    }
    if content.sender != content.from {
        mail.people("Sender", content.sender.as_slice());
    }
    mail.people("To", &content.to);
    mail.people("Cc", &content.cc);
    mail.people("Reply-To", &content.reply_to);
    mail.text("Subject", &content.subject);
    mail.date(date);
    for (name, id) in [("Message-ID", &content.message_id), ("In-Reply-To", &content.in_reply_to)] {
        if let Some(id) = id {
            mail.line(name, id);
        }
    }
    if !content.references.is_empty() {
        mail.line("References", &content.references.join("\r\n "));
    }
    for (name, value) in &content.headers {
        mail.text(name, value);
    }
    mail.line("MIME-Version", "1.0");
    let (inline, beside): (Vec<&Attachment>, Vec<&Attachment>) = content
        .attached
        .iter()
        .map(Arc::as_ref)
        .filter(|attachment| attachment.kind != AttachmentKind::Reference)
        .partition(|attachment| attachment.inline);
    mail.with("mixed", boundary, &beside, |mail| {
        mail.with("related", boundary, &inline, |mail| mail.text_part(content, boundary));
    });
    mail.0.into()
}

/// Bytes that a client gave, made fit for sending: hidden recipients go, and
/// what every mail must have is put in front where it is missing.
pub(crate) fn finished(given: &[u8], content: &Content, date: Timestamp) -> Bytes {
    let mut mail = Writer::default();
    let end = given.windows(4).position(|four| four == b"\r\n\r\n").map_or(given.len(), |at| at + 2);
    let (head, rest) = given.split_at(end);
    let mut kept = Vec::with_capacity(head.len());
    let mut keeps = true;
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            keeps = !line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"bcc:"));
        }
        if keeps {
            kept.extend_from_slice(line);
        }
    }
    let has = |name: &[u8]| {
        kept.split(|octet| *octet == b'\n')
            .any(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    if let Some(from) = content.from.as_ref().filter(|_| !has(b"from:")) {
        mail.people("From", std::slice::from_ref(from));
    }
    if !has(b"date:") {
        mail.date(date);
    }
    if let Some(id) = content.message_id.as_ref().filter(|_| !has(b"message-id:")) {
        mail.line("Message-ID", id);
    }
    mail.0.extend_from_slice(&kept);
    mail.0.extend_from_slice(rest);
    mail.0.into()
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A header whose value is already in the form that is sent; line breaks in it are folds.
    fn line(&mut self, name: &str, value: &str) {
        let safe = value.replace("\r\n ", "\n").replace(['\r', '\0'], "").replace('\n', "\r\n ");
        self.put(&format!("{name}: {safe}\r\n"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.line(name, &encoded(&single_line(value)));
    }

    fn date(&mut self, date: Timestamp) {
        if let Ok(date) = rfc2822::DateTimePrinter::new().timestamp_to_string(&date) {
            self.line("Date", &date);
        }
    }

    fn people(&mut self, name: &str, people: &[Person]) {
        if !people.is_empty() {
            let list: Vec<String> = people.iter().map(mailbox).collect();
            self.line(name, &list.join(",\r\n "));
        }
    }

    /// The main part, together with attachments in a multipart of this kind if there are any.
    fn with(&mut self, kind: &str, boundary: &str, attached: &[&Attachment], main: impl FnOnce(&mut Self)) {
        if attached.is_empty() {
            return main(self);
        }
        let boundary = format!("{boundary}-{kind}");
        self.line("Content-Type", &format!("multipart/{kind}; boundary=\"{boundary}\""));
        self.put(&format!("\r\n--{boundary}\r\n"));
        main(self);
        for attachment in attached {
            self.put(&format!("\r\n--{boundary}\r\n"));
            self.attachment(attachment);
        }
        self.put(&format!("\r\n--{boundary}--\r\n"));
    }

    fn text_part(&mut self, content: &Content, boundary: &str) {
        match content.body.format {
            Format::Text => self.body("text/plain; charset=utf-8", content.body.content.as_bytes()),
            Format::Html => {
                self.line("Content-Type", &format!("multipart/alternative; boundary=\"{boundary}\""));
                for format in [Format::Text, Format::Html] {
                    self.put(&format!("\r\n--{boundary}\r\n"));
                    let kind = if format == Format::Text { "text/plain" } else { "text/html" };
                    let text = content.body.to_format(format);
                    self.body(&format!("{kind}; charset=utf-8"), text.as_bytes());
                }
                self.put(&format!("\r\n--{boundary}--\r\n"));
            }
        }
    }

    fn attachment(&mut self, attachment: &Attachment) {
        let name = single_line(&attachment.name).replace(['"', '\\'], "");
        let disposition = if attachment.inline { "inline" } else { "attachment" };
        self.line("Content-Disposition", &format!("{disposition}; filename=\"{}\"", encoded(&name)));
        if let Some(id) = &attachment.content_id {
            self.line("Content-ID", &format!("<{}>", single_line(id).trim_matches(['<', '>'])));
        }
        if attachment.kind == AttachmentKind::Message {
            self.line("Content-Type", "message/rfc822");
            self.put("\r\n");
            self.0.extend_from_slice(&attachment.bytes);
        } else {
            self.body(&single_line(&attachment.content_type), &attachment.bytes);
        }
    }

    fn body(&mut self, kind: &str, content: &[u8]) {
        self.line("Content-Type", kind);
        self.line("Content-Transfer-Encoding", "base64");
        let encoded = STANDARD.encode(content);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(76));
            self.put("\r\n");
            self.put(line);
            rest = after;
        }
        self.put("\r\n");
    }
}

fn single_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A person as an address list holds it.
fn mailbox(person: &Person) -> String {
    let address = single_line(&person.address).replace(['<', '>', ' '], "");
    let name = single_line(&person.name);
    if name.is_empty() || name == address {
        address
    } else if name.is_ascii() {
        format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("{} <{address}>", encoded(&name))
    }
}

/// Unstructured text as encoded words, or itself where it is short ASCII.
fn encoded(text: &str) -> String {
    if text.is_ascii() && text.len() < 900 && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for letter in text.chars() {
        if word.len() + letter.len_utf8() > WORD_OCTETS {
            words.push(std::mem::take(&mut word));
        }
        word.push(letter);
    }
    words.push(word);
    let words: Vec<String> =
        words.into_iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::Body;

    fn written(content: &Content) -> Content {
        Content::from_mime(mime(content, Timestamp::UNIX_EPOCH, "b-b"))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let content = Content {
            subject: "見積書のご依頼について、長い件名は何行にも折り返されます".into(),
            from: Some(Person::new("山田 \"太郎\"", "yamada@customer.example")),
            to: vec![Person::new("Sup, \"port\"", "support@contoso.example"), Person::new("", "b@x.example")],
            body: Body { format: Format::Html, content: "<p>こんにちは &amp; hello</p>".into() },
            message_id: Some("<2@x>".into()),
            in_reply_to: Some("<1@x>".into()),
            references: vec!["<0@x>".into(), "<1@x>".into()],
            headers: vec![("X-Marker".into(), "one".into())],
            ..Content::default()
        };
        let read = written(&content);
        assert_eq!(read.subject, content.subject);
        assert_eq!(read.from, content.from);
        assert_eq!(read.to, content.to);
        assert_eq!(read.body, content.body);
        assert_eq!((read.message_id.as_deref(), read.in_reply_to.as_deref()), (Some("<2@x>"), Some("<1@x>")));
        assert_eq!(read.references, content.references);
        assert!(read.preview.contains("こんにちは & hello"));
        assert!(read.transport_headers().contains(&("X-Marker".into(), "one".into())));
        assert!(read.mime.is_some_and(|bytes| bytes.is_ascii()));
    }

    #[test]
    fn attachments_are_read_as_they_were_written() {
        let attachment = |name: &str, inline: bool, kind: AttachmentKind, bytes: &'static [u8]| Attachment {
            number: 0,
            name: name.into(),
            content_type: "image/png".into(),
            content_id: inline.then(|| "logo".into()),
            content_location: None,
            inline,
            kind,
            bytes: Bytes::from_static(bytes),
        };
        let mut content = Content {
            body: Body { format: Format::Html, content: "<img src=cid:logo>".into() },
            ..Content::default()
        };
        content.attach(attachment("請求書.png", false, AttachmentKind::File, &[0, 255, 1]));
        content.attach(attachment("logo.png", true, AttachmentKind::File, &[7]));
        content.attach(attachment("mail", false, AttachmentKind::Message, b"Subject: inner\r\n\r\nhi\r\n"));
        content.attach(attachment("link", false, AttachmentKind::Reference, &[]));
        let read = written(&content);
        assert_eq!(read.body, content.body);
        assert!(read.has_attachments);
        let mut found = read.attachments();
        found.sort_by_key(|attachment| attachment.name.clone());
        let [logo, mail, invoice] = &found[..] else { panic!("three attachments, not {found:?}") };
        assert_eq!(
            (&logo.bytes[..], logo.content_id.as_deref(), logo.inline),
            (&[7][..], Some("logo"), true)
        );
        assert_eq!((&invoice.name[..], &invoice.bytes[..]), ("請求書.png", &[0, 255, 1][..]));
        assert_eq!(mail.kind, AttachmentKind::Message);
        assert!(mail.bytes.starts_with(b"Subject: inner"));
    }

    #[test]
    fn given_bytes_are_sent_as_they_are_without_hidden_recipients() {
        let given =
            b"From: a@x.example\r\nBCC: b@x.example,\r\n c@x.example\r\nX-Own: 1\r\n\r\nBcc: text\r\n";
        let content = Content { message_id: Some("<1@x>".into()), ..Content::from_mime(given[..].into()) };
        let sent = finished(given, &content, Timestamp::UNIX_EPOCH);
        let expected = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1@x>\r\nFrom: a@x.example\r\n\
                        X-Own: 1\r\n\r\nBcc: text\r\n";
        assert_eq!(String::from_utf8_lossy(&sent).replace("-0000", "+0000"), expected);
    }

    proptest! {
        #[test]
        fn no_value_begins_a_header_of_its_own(subject in any::<String>(), name in any::<String>()) {
            let content = Content {
                subject: format!("{subject}\r\nX-Evil: 1"),
                from: Some(Person::new(format!("{name}\r\nX-Evil: 1"), "a@x.example\r\nX-Evil: 1")),
                ..Content::default()
            };
            let headers = written(&content).transport_headers();
            prop_assert!(!headers.iter().any(|(name, _)| name == "X-Evil"));
        }
    }
}
