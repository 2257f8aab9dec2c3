//! Puts a mail together again from what Graph tells of it piece by piece, where Graph
//! can't give its bytes.
//!
//! Called by the engine. Rules kept: reading it ([`parse`](crate::parse)) gives what was
//! told; nothing that is told can begin another header or part; attachments go through in
//! pieces, so that a large mail is never whole in memory.
//! RFC 5322, 2045 to 2047 and 2231.

use std::mem;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};
use lettre::{
    Address,
    message::{
        Mailboxes, SinglePart,
        header::{
            Bcc, Cc, ContentDisposition, ContentTransferEncoding, ContentType, From, Header, HeaderName,
            HeaderValue, Headers, ReplyTo, Sender, To,
        },
    },
};

use crate::Mailbox;

/// Bytes of an attachment in one line of base64: 76 characters.
const LINE: usize = 57;
/// Stands for addresses that are none of the internet; Exchange has such. RFC 2606.
const NO_ADDRESS: &str = "no-internet-address@address.invalid";
/// Headers that are written from what is told by itself, or belong to the form of the bytes.
const OWN: [&str; 11] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "dkim-signature",
];

/// What is known of a mail, without its attachments. What is missing is left out.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Author.
    pub from: Option<Mailbox>,
    /// Who sent it for the author.
    pub sender: Option<Mailbox>,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// With a copy to whom.
    pub cc: Vec<Mailbox>,
    /// With a hidden copy to whom.
    pub bcc: Vec<Mailbox>,
    /// Where answers should go.
    pub reply_to: Vec<Mailbox>,
    /// The subject.
    pub subject: Option<String>,
    /// The author's date.
    pub date: Option<Timestamp>,
    /// The Message-ID, with angle brackets.
    pub message_id: Option<String>,
    /// All other headers, names and values. Those of the above and of the form are passed over.
    pub headers: Vec<(String, String)>,
    /// The text.
    pub body: String,
    /// Whether the text is HTML.
    pub html: bool,
}

/// What is known of an attachment, without its bytes.
#[derive(Debug, Clone, Default)]
pub struct ToldAttachment {
    /// Its name; may be empty.
    pub name: String,
    /// Its media type; nonsense counts as unknown.
    pub content_type: String,
    /// The name under which the body shows it, without brackets.
    pub content_id: Option<String>,
    /// Whether it belongs into the body.
    pub inline: bool,
}

/// A mail in the making. What is written so far is to be taken away again and again.
pub struct Rebuild {
    boundary: String,
    /// Bytes of an attachment that don't fill a line yet; absent where bytes go through as they are.
    line: Option<Vec<u8>>,
    written: Vec<u8>,
}

impl Rebuild {
    /// Begins with headers and text. `boundary` is up to 60 letters and digits that stand nowhere in
    /// the attached mails, so random ones.
    pub fn new(told: &Told, boundary: String) -> Self {
        let mut headers = told_headers(told);
        line(&mut headers, "MIME-Version", "1.0");
        line(&mut headers, "Content-Type", &format!("multipart/mixed; boundary=\"{boundary}\""));
        let mut mail = Self { boundary, line: None, written: format!("{headers}\r\n").into_bytes() };
        mail.part();
        let body = told.body.clone();
        let text = if told.html { SinglePart::html(body) } else { SinglePart::plain(body) };
        mail.written.extend_from_slice(&text.formatted());
        mail
    }

    /// Begins an attachment.
    pub fn attach(&mut self, attachment: &ToldAttachment) {
        self.end_line();
        self.part();
        let kind = media_type(&attachment.content_type);
        let is_mail = kind.starts_with("message/");
        let mut headers = String::new();
        line(&mut headers, "Content-Type", &kind);
        let name = plain(&attachment.name);
        // An inline text would be read as a part of the body.
        let is_inline = attachment.inline && !kind.starts_with("text/");
        typed(
            &mut headers,
            match (is_inline, name.is_empty()) {
                (true, true) => ContentDisposition::inline(),
                (true, false) => ContentDisposition::inline_with_name(&name),
                (false, _) => ContentDisposition::attachment(&name),
            },
        );
        if let Some(id) = &attachment.content_id {
            line(&mut headers, "Content-ID", &format!("<{}>", id.trim_matches(['<', '>'])));
        }
        // RFC 2046, 5.2.1: an attached mail is not encoded.
        let encoding =
            if is_mail { ContentTransferEncoding::Binary } else { ContentTransferEncoding::Base64 };
        typed(&mut headers, encoding);
        self.line = (!is_mail).then(Vec::new);
        self.written.extend_from_slice(format!("{headers}\r\n").as_bytes());
    }

    /// The next bytes of the attachment that was begun last.
    pub fn write(&mut self, bytes: &[u8]) {
        let Some(line) = &mut self.line else { return self.written.extend_from_slice(bytes) };
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(LINE - line.len()));
            line.extend_from_slice(now);
            rest = later;
            if line.len() == LINE {
                encode(line, &mut self.written);
            }
        }
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.written)
    }

    /// Ends the mail; gives the rest of it.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_line();
        self.written.extend_from_slice(format!("\r\n--{}--\r\n", self.boundary).as_bytes());
        self.written
    }

    fn part(&mut self) {
        self.written.extend_from_slice(format!("\r\n--{}\r\n", self.boundary).as_bytes());
    }

    fn end_line(&mut self) {
        if let Some(mut line) = self.line.take() {
            encode(&mut line, &mut self.written);
        }
    }
}

fn encode(line: &mut Vec<u8>, into: &mut Vec<u8>) {
    into.extend_from_slice(STANDARD.encode(&*line).as_bytes());
    into.extend_from_slice(b"\r\n");
    line.clear();
}

fn told_headers(told: &Told) -> String {
    let mut headers = String::new();
    for (name, value) in &told.headers {
        let lower = name.to_ascii_lowercase();
        if !OWN.contains(&lower.as_str()) && !lower.starts_with("content-") {
            line(&mut headers, name, value);
        }
    }
    if let Some(from) = &told.from {
        typed(&mut headers, From::from(people(std::slice::from_ref(from))));
    }
    if let Some(sender) = told.sender.as_ref().filter(|sender| told.from.as_ref() != Some(sender)) {
        typed(&mut headers, Sender::from(person(sender)));
    }
    let (to, cc) = (people(&told.to), people(&told.cc));
    let (bcc, reply_to) = (people(&told.bcc), people(&told.reply_to));
    for (people, header) in [
        (&told.to, To::from(to).display()),
        (&told.cc, Cc::from(cc).display()),
        (&told.bcc, Bcc::from(bcc).display()),
        (&told.reply_to, ReplyTo::from(reply_to).display()),
    ] {
        if !people.is_empty() {
            push(&mut headers, header);
        }
    }
    if let Some(date) = told.date
        && let Ok(date) = rfc2822::to_string(&date.to_zoned(TimeZone::UTC))
    {
        line(&mut headers, "Date", &date);
    }
    for (name, value) in [("Subject", &told.subject), ("Message-ID", &told.message_id)] {
        if let Some(value) = value {
            line(&mut headers, name, value);
        }
    }
    headers
}

fn people(told: &[Mailbox]) -> Mailboxes {
    told.iter().map(person).collect()
}

fn person(told: &Mailbox) -> lettre::message::Mailbox {
    let name = told.name.as_deref().map(plain).filter(|name| !name.is_empty());
    match told.address.parse::<Address>() {
        Ok(address) => lettre::message::Mailbox::new(name, address),
        Err(_) => {
            let name = name.unwrap_or_else(|| plain(&told.address));
            let nowhere = NO_ADDRESS.parse().expect("a constant that is an address");
            lettre::message::Mailbox::new(Some(name).filter(|name| !name.is_empty()), nowhere)
        }
    }
}

/// The media type without parameters; what is none, or can't be an attachment's, is unknown.
fn media_type(told: &str) -> String {
    let kind = told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match ContentType::parse(&kind) {
        Ok(_) if !kind.starts_with("multipart/") => kind,
        _ => "application/octet-stream".to_owned(),
    }
}

/// Writes a header; one whose name can't be one is passed over.
fn line(headers: &mut String, name: &str, value: &str) {
    if name.bytes().all(|byte| byte.is_ascii_graphic())
        && let Ok(name) = HeaderName::new_from_ascii(name.to_owned())
    {
        push(headers, HeaderValue::new(name, plain(value)));
    }
}

fn typed(headers: &mut String, header: impl Header) {
    push(headers, header.display());
}

fn push(headers: &mut String, header: HeaderValue) {
    let mut one = Headers::new();
    one.insert_raw(header);
    headers.push_str(&one.to_string());
}

/// Without anything that could end a line: folded headers become one line, and white space one space,
/// for what stands between two encoded words is lost (RFC 2047, 6.2).
fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{attachment_bytes, parse};

    fn mailbox(name: &str, address: &str) -> Mailbox {
        Mailbox { name: Some(name.to_owned()).filter(|name| !name.is_empty()), address: address.to_owned() }
    }

    fn built(told: &Told, attachments: &[(ToldAttachment, Vec<u8>)], piece: usize) -> Vec<u8> {
        let mut mail = Rebuild::new(told, "b0undary".repeat(5));
        let mut bytes = mail.take();
        for (attachment, content) in attachments {
            mail.attach(attachment);
            for piece in content.chunks(piece) {
                mail.write(piece);
                bytes.extend(mail.take());
            }
        }
        bytes.extend(mail.finish());
        bytes
    }

    #[test]
    fn a_japanese_mail_with_a_picture_and_a_mail_attached_reads_as_it_was_told() {
        let told = Told {
            from: Some(mailbox("山田, 太郎", "taro@customer.example")),
            sender: Some(mailbox("", "office@customer.example")),
            to: vec![mailbox("サポート", "support@contoso.example"), mailbox("", "b@contoso.example")],
            reply_to: vec![mailbox("Taro \"T\"", "taro2@customer.example")],
            subject: Some("請求書の件について、もう一度お願いします。長い件名も折り返されます。".repeat(3)),
            date: Timestamp::from_second(1_790_000_000).ok(),
            message_id: Some("<1@customer.example>".into()),
            headers: vec![
                ("In-Reply-To".into(), "<0@contoso.example>".into()),
                ("References".into(), "<a@x>\r\n <0@contoso.example>".into()),
                ("Delivered-To".into(), "support@contoso.example".into()),
                ("Content-Type".into(), "text/plain".into()),
            ],
            body: "<p>こんにちは <img src=\"cid:logo\"></p>".into(),
            html: true,
            ..Told::default()
        };
        let inner = b"From: a@x.example\r\nSubject: inner\r\n\r\ninside\r\n".to_vec();
        let attachments = [
            (
                ToldAttachment {
                    name: "ロゴ.png".into(),
                    content_type: "image/png".into(),
                    content_id: Some("logo".into()),
                    inline: true,
                },
                vec![0, 159, 146, 150],
            ),
            (
                ToldAttachment {
                    name: "inner".into(),
                    content_type: "message/rfc822".into(),
                    ..ToldAttachment::default()
                },
                inner,
            ),
        ];
        let raw = built(&told, &attachments, 3);
        let mail = parse(&raw);
        assert!(mail.problems.is_empty(), "{:?} {}", mail.problems, String::from_utf8_lossy(&raw));
        assert_eq!((mail.from, mail.sender), (told.from, told.sender));
        assert_eq!((mail.to, mail.reply_to), (told.to, told.reply_to));
        assert_eq!((Some(mail.subject), mail.date), (told.subject, told.date));
        assert_eq!(mail.message_id.as_deref(), Some("1@customer.example"));
        assert_eq!(mail.in_reply_to, ["0@contoso.example"]);
        assert_eq!(mail.references, ["a@x", "0@contoso.example"]);
        assert_eq!(mail.delivered_to, ["support@contoso.example"]);
        assert!(mail.html.is_some_and(|html| html.contains("こんにちは")));
        let [picture, attached] = [0, 1].map(|index| attachment_bytes(&raw, index).unwrap());
        assert_eq!((picture.0.name.as_str(), picture.0.content_id.as_deref()), ("ロゴ.png", Some("logo")));
        assert_eq!(picture.1, attachments[0].1);
        assert_eq!(attached.0.content_type, "message/rfc822");
        assert!(String::from_utf8_lossy(&attached.1).contains("Subject: inner"));
    }

    #[test]
    fn nothing_told_is_a_mail_as_well() {
        let mail = parse(&built(&Told::default(), &[], 1));
        assert_eq!((mail.text.trim(), mail.from), ("", None));
    }

    #[test]
    fn who_has_no_internet_address_keeps_a_name() {
        let from = Some(mailbox("", "/O=CONTOSO/OU=FIRST/CN=RECIPIENTS/CN=ANNA"));
        let mail = parse(&built(&Told { from, ..Told::default() }, &[], 1));
        let from = mail.from.unwrap();
        assert_eq!(from.name.as_deref(), Some("/O=CONTOSO/OU=FIRST/CN=RECIPIENTS/CN=ANNA"));
        assert!(from.address.ends_with(".invalid"));
    }

    proptest! {
        #[test]
        fn whatever_is_told_is_read_again_and_begins_nothing_new(
            subject in "[\\PC\r\n]{0,60}",
            name in "[\\PC\r\n]{0,30}",
            header in "[\\PC\r\n]{0,60}",
            file in "[a-z山田 ;\"]{1,20}",
            kind in "[a-z/;\r\n ]{0,20}",
            body in "\\PC{0,80}",
            content in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..80,
        ) {
            let told = Told {
                from: Some(mailbox(&name, "taro@customer.example")),
                subject: Some(subject.clone()),
                headers: vec![("X-Told".into(), header), ("Bad\r\nBcc".into(), "x".into())],
                body: body.clone(),
                ..Told::default()
            };
            let attachment = ToldAttachment { name: file, content_type: kind, ..ToldAttachment::default() };
            let raw = built(&told, &[(attachment, content.clone())], piece);
            let mail = parse(&raw);
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&mail.subject), words(&plain(&subject)));
            prop_assert_eq!(&mail.from.as_ref().unwrap().address, "taro@customer.example");
            prop_assert!(mail.to.is_empty() && mail.cc.is_empty());
            prop_assert_eq!(words(&mail.text), words(&body));
            prop_assert_eq!(mail.attachments.len(), 1);
            prop_assert_eq!(attachment_bytes(&raw, 0).unwrap().1, content);
        }
    }
}
