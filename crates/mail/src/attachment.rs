//! Attachments: what they are called, what they are, and their bytes.

use mail_parser::{Message, MessagePart, MimeHeaders as _, PartType};

use crate::{charset, parse::message};

/// The longest file name that is kept, in characters.
const NAME_LENGTH: usize = 150;

/// Something attached to a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its number in the mail, from 0.
    pub index: usize,
    /// A file name that is safe to save under; never empty.
    pub name: String,
    /// The media type that it claims.
    pub content_type: String,
    /// How many bytes it has, decoded.
    pub size: usize,
    /// The name under which the HTML body shows it, without brackets.
    pub content_id: Option<String>,
    /// Whether it belongs into the body.
    pub inline: bool,
}

/// The attachment with this number and its bytes, decoded.
pub fn attachment_bytes(raw: &[u8], index: usize) -> Option<(Attachment, Vec<u8>)> {
    let message = message(raw)?;
    let part = message.attachments().nth(index)?;
    Some((describe(index, part), part.contents().to_vec()))
}

pub(crate) fn list(message: &Message<'_>) -> Vec<Attachment> {
    message.attachments().enumerate().map(|(index, part)| describe(index, part)).collect()
}

fn describe(index: usize, part: &MessagePart<'_>) -> Attachment {
    let content_type = match part.content_type() {
        Some(kind) => {
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase()
        }
        None if part.is_message() => "message/rfc822".to_owned(),
        None => "application/octet-stream".to_owned(),
    };
    let content_id = part.content_id().map(|id| id.trim_matches(['<', '>']).to_owned());
    let inline = match part.content_disposition() {
        Some(disposition) => disposition.is_inline(),
        None => content_id.is_some(),
    };
    Attachment {
        index,
        name: name(index, part, &content_type),
        content_type,
        size: part.contents().len(),
        content_id,
        inline,
    }
}

fn name(index: usize, part: &MessagePart<'_>, content_type: &str) -> String {
    let given = match (&part.body, part.attachment_name()) {
        (_, Some(name)) => decoded(name),
        (PartType::Message(message), None) => format!("{}.eml", message.subject().unwrap_or("message")),
        _ => String::new(),
    };
    let safe: String = given
        .chars()
        .map(|c| {
            if c.is_control() || "/\\:*?\"<>|\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}".contains(c) {
                '_'
            } else {
                c
            }
        })
        .take(NAME_LENGTH)
        .collect();
    let safe = safe.trim().trim_start_matches('.');
    if !safe.is_empty() {
        return safe.to_owned();
    }
    let extension = match content_type {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/calendar" => "ics",
        "application/pdf" => "pdf",
        "message/rfc822" => "eml",
        _ => "bin",
    };
    format!("attachment-{}.{extension}", index + 1)
}

/// Many senders put encoded words into a quoted file name, against RFC 2047.
fn decoded(name: &str) -> String {
    if name.contains("=?") || charset::looks_wrong(name) {
        charset::header(name.as_bytes())
    } else {
        name.to_owned()
    }
}
