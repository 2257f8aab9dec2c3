//! Writes the bytes of a mail: what a client sends from a draft, what a person
//! writes on the web page, and the mails of a burst.
//!
//! Text is always UTF-8 in base64, headers are folded and encoded by RFC 2047,
//! and nothing a caller puts into a header can begin a new one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::content::{Content, Format, Person};

/// Octets of text in one encoded word, so that the word stays under 75 characters.
const WORD_OCTETS: usize = 42;

/// The mail as bytes, dated `date`. Hidden recipients are left out.
///
/// `boundary` must not occur in the base64 of the body: any text with a hyphen will do.
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
    if let Ok(date) = rfc2822::DateTimePrinter::new().timestamp_to_string(&date) {
        mail.line("Date", &date);
    }
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
    match content.body.format {
        Format::Text => mail.body("text/plain", &content.body.content),
        Format::Html => {
            mail.line("Content-Type", &format!("multipart/alternative; boundary=\"{boundary}\""));
            for format in [Format::Text, Format::Html] {
                mail.0.push_str(&format!("\r\n--{boundary}\r\n"));
                let kind = if format == Format::Text { "text/plain" } else { "text/html" };
                mail.body(kind, &content.body.to_format(format));
            }
            mail.0.push_str(&format!("\r\n--{boundary}--\r\n"));
        }
    }
    mail.0.into()
}

#[derive(Default)]
struct Writer(String);

impl Writer {
    /// A header whose value is already in the form that is sent; line breaks in it are folds.
    fn line(&mut self, name: &str, value: &str) {
        let safe = value.replace("\r\n ", "\n").replace(['\r', '\0'], "").replace('\n', "\r\n ");
        self.0.push_str(&format!("{name}: {safe}\r\n"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.line(name, &encoded(&single_line(value)));
    }

    fn people(&mut self, name: &str, people: &[Person]) {
        if !people.is_empty() {
            let list: Vec<String> = people.iter().map(mailbox).collect();
            self.line(name, &list.join(",\r\n "));
        }
    }

    fn body(&mut self, kind: &str, text: &str) {
        self.line("Content-Type", &format!("{kind}; charset=utf-8"));
        self.line("Content-Transfer-Encoding", "base64");
        let encoded = STANDARD.encode(text);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(76));
            self.0.push_str("\r\n");
            self.0.push_str(line);
            rest = after;
        }
        self.0.push_str("\r\n");
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
