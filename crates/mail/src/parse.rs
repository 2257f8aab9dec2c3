//! Reads a mail.

use jiff::Timestamp;
use mail_parser::{
    Address, HeaderName, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType,
};

use crate::{
    attachment::{Attachment, list},
    automatic::{Automatic, automatic},
    charset, html,
};

/// Somebody a mail is from or to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, decoded.
    pub name: Option<String>,
    /// The address as it was written.
    pub address: String,
}

/// Something odd about a mail, found while reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// It is not made of headers and a body.
    Unreadable,
    /// Nobody is named as its author.
    NoFrom,
    /// It has no Message-ID.
    NoMessageId,
    /// Its date is missing or not one.
    BadDate,
    /// A header holds bytes above 127 without saying in which character set.
    EightBitHeader,
    /// A text was not in the character set that it claims.
    WrongCharset,
    /// A part's transfer encoding is broken.
    BrokenEncoding,
}

impl Problem {
    /// Its word in traces and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NoFrom => "no_from",
            Self::NoMessageId => "no_message_id",
            Self::BadDate => "bad_date",
            Self::EightBitHeader => "eight_bit_header",
            Self::WrongCharset => "wrong_charset",
            Self::BrokenEncoding => "broken_encoding",
        }
    }
}

/// What a mail says.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// Message-ID without brackets.
    pub message_id: Option<String>,
    /// Message-IDs that it answers, without brackets.
    pub in_reply_to: Vec<String>,
    /// Message-IDs of the thread before it, oldest first, without brackets.
    pub references: Vec<String>,
    /// Its author.
    pub from: Option<Mailbox>,
    /// Who sent it for the author.
    pub sender: Option<Mailbox>,
    /// Where answers should go.
    pub reply_to: Vec<Mailbox>,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// With a copy to whom.
    pub cc: Vec<Mailbox>,
    /// Addresses in the headers that servers add at delivery.
    pub delivered_to: Vec<String>,
    /// The subject, decoded; empty if there is none.
    pub subject: String,
    /// The author's date.
    pub date: Option<Timestamp>,
    /// The readable text.
    pub text: String,
    /// The body in HTML, as it came: never to be shown unsanitised.
    pub html: Option<String>,
    /// Attachments and inline pictures.
    pub attachments: Vec<Attachment>,
    /// What kind of machine wrote it, if one did.
    pub automatic: Option<Automatic>,
    /// What was odd, in order and each once.
    pub problems: Vec<Problem>,
}

/// Headers that servers add at delivery, with the address they delivered to.
const DELIVERY_HEADERS: [&str; 6] =
    ["Delivered-To", "X-Original-To", "X-Delivered-To", "Envelope-To", "X-Envelope-To", "X-Forwarded-To"];

/// Reads a mail from its bytes. Any bytes are a mail.
pub fn parse(raw: &[u8]) -> Mail {
    let Some(message) = message(raw) else {
        return Mail {
            text: charset::guess(raw),
            problems: vec![Problem::Unreadable, Problem::NoFrom, Problem::NoMessageId],
            ..Mail::default()
        };
    };
    let mut problems = Vec::new();
    let from = first_author(&message, &mut problems);
    let date = message
        .date()
        .filter(|date| date.is_valid())
        .and_then(|date| Timestamp::from_second(date.to_timestamp()).ok());
    let (text, html) = bodies(&message, &mut problems);
    let message_id = ids(message.header(HeaderName::MessageId)).into_iter().next();
    for (missing, problem) in [
        (from.is_none(), Problem::NoFrom),
        (message_id.is_none(), Problem::NoMessageId),
        (date.is_none(), Problem::BadDate),
        (message.parts.iter().any(|part| part.is_encoding_problem), Problem::BrokenEncoding),
    ] {
        if missing {
            problems.push(problem);
        }
    }
    let mail = Mail {
        in_reply_to: ids(message.header(HeaderName::InReplyTo)),
        references: ids(message.header(HeaderName::References)),
        sender: people(&message, HeaderName::Sender, &mut problems).into_iter().next(),
        reply_to: people(&message, HeaderName::ReplyTo, &mut problems),
        to: people(&message, HeaderName::To, &mut problems),
        cc: people(&message, HeaderName::Cc, &mut problems),
        delivered_to: delivered_to(&message),
        subject: header_text(&message, HeaderName::Subject, &mut problems),
        attachments: list(&message),
        automatic: automatic(&message),
        message_id,
        from,
        date,
        text,
        html,
        problems: Vec::new(),
    };
    problems.sort_unstable();
    problems.dedup();
    Mail { problems, ..mail }
}

/// What the parser makes of the bytes; nothing if they are no headers and body, or break the parser.
pub(crate) fn message(raw: &[u8]) -> Option<Message<'_>> {
    std::panic::catch_unwind(|| MessageParser::default().parse(raw)).ok().flatten()
}

fn first_author(message: &Message<'_>, problems: &mut Vec<Problem>) -> Option<Mailbox> {
    let mut from = people(message, HeaderName::From, problems);
    if from.is_empty() {
        from = people(message, HeaderName::Sender, problems);
    }
    from.into_iter().next()
}

/// The text and the HTML of the body. Text that is only a copy of the HTML is made from it.
fn bodies(message: &Message<'_>, problems: &mut Vec<Problem>) -> (String, Option<String>) {
    let mut texts = Vec::new();
    for part in message.text_bodies() {
        if matches!(part.body, PartType::Text(_)) {
            texts.push(part_text(message, part, problems));
        }
    }
    let mut htmls = Vec::new();
    for part in message.html_bodies() {
        if matches!(part.body, PartType::Html(_)) {
            htmls.push(part_text(message, part, problems));
        }
    }
    let html = (!htmls.is_empty()).then(|| htmls.join("\n"));
    let text = texts.join("\n");
    match &html {
        Some(html) if text.trim().is_empty() => (html::to_text(html), Some(html.clone())),
        _ => (text.replace("\r\n", "\n"), html),
    }
}

/// A text part, read again with another character set where the declared one is a lie.
fn part_text(message: &Message<'_>, part: &MessagePart<'_>, problems: &mut Vec<Problem>) -> String {
    let read = part.text_contents().unwrap_or_default();
    if !charset::looks_wrong(read) {
        return read.to_owned();
    }
    let raw = message.raw_message();
    let (start, end) = (part.offset_body as usize, part.offset_end as usize);
    let encoding = part.content_transfer_encoding().unwrap_or_default().to_ascii_lowercase();
    let bytes = raw.get(start..end).and_then(|body| match encoding.as_str() {
        "base64" => mail_parser::decoders::base64::base64_decode(body),
        "quoted-printable" => mail_parser::decoders::quoted_printable::quoted_printable_decode(body),
        _ => Some(body.to_vec()),
    });
    match bytes.map(|bytes| charset::guess(&bytes)) {
        Some(guessed) if charset::is_better(&guessed, read) => {
            problems.push(Problem::WrongCharset);
            guessed
        }
        _ => read.to_owned(),
    }
}

/// A header's text, decoded by hand where it breaks the rules.
fn header_text(message: &Message<'_>, name: HeaderName<'static>, problems: &mut Vec<Problem>) -> String {
    let read = message.header(name.clone()).and_then(HeaderValue::as_text).unwrap_or_default();
    repaired(message, name, read, problems).unwrap_or_else(|| read.to_owned())
}

/// The header as it stands in the bytes, read by hand; nothing if `read` is fine as it is.
fn repaired(
    message: &Message<'_>,
    name: HeaderName<'static>,
    read: &str,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    if !charset::looks_wrong(read) && !read.contains("=?") {
        return None;
    }
    let raw = raw_header(message, &name)?;
    if !raw.is_ascii() {
        problems.push(Problem::EightBitHeader);
    }
    let by_hand = charset::header(raw);
    charset::is_better(&by_hand, read).then_some(by_hand)
}

fn raw_header<'a>(message: &'a Message<'_>, name: &HeaderName<'_>) -> Option<&'a [u8]> {
    let header = message.headers().iter().rev().find(|header| header.name == *name)?;
    message.raw_message().get(header.offset_start as usize..header.offset_end as usize)
}

fn people(message: &Message<'_>, name: HeaderName<'static>, problems: &mut Vec<Problem>) -> Vec<Mailbox> {
    let mut people: Vec<Mailbox> = message
        .header_values(name.clone())
        .filter_map(HeaderValue::as_address)
        .flat_map(Address::iter)
        .filter_map(|one| {
            let address = one.address().unwrap_or_default().trim();
            let shown = one.name().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
            (address.contains('@')).then(|| Mailbox { name: shown, address: address.to_owned() })
        })
        .collect();
    // One person whose name broke the rules: the header is read by hand.
    if let [one] = &mut people[..]
        && let Some(shown) = &one.name
        && let Some(by_hand) = repaired(message, name, shown, problems)
    {
        let shown = by_hand.split('<').next().unwrap_or_default().trim().trim_matches('"').trim();
        one.name = (!shown.is_empty()).then(|| shown.to_owned());
    }
    people
}

fn delivered_to(message: &Message<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in message.headers_raw() {
        if !DELIVERY_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            continue;
        }
        let addresses = value.split([',', ' ', '\r', '\n', '\t', ';']);
        let addresses =
            addresses.map(|word| word.trim_matches(['<', '>', '"'])).filter(|word| word.contains('@'));
        found.extend(addresses.map(str::to_owned));
    }
    found
}

fn ids(value: Option<&HeaderValue<'_>>) -> Vec<String> {
    let bare = |id: &str| id.trim().trim_start_matches('<').trim_end_matches('>').trim().to_owned();
    let ids: Vec<String> = match value {
        Some(HeaderValue::Text(id)) => vec![bare(id)],
        Some(HeaderValue::TextList(ids)) => ids.iter().map(|id| bare(id)).collect(),
        _ => Vec::new(),
    };
    ids.into_iter().filter(|id| !id.is_empty()).collect()
}

#[cfg(test)]
mod tests;
