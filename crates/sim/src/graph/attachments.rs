//! Attachments of a message: shown, added to drafts, removed.
//!
//! Source: <https://learn.microsoft.com/en-us/graph/api/resources/attachment>.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure};
use super::drafts::{self, parameter};
use super::folders::owner;
use super::json::{self as shapes, View};
use super::messages::{find, object};
use super::{Call, ids};
use crate::compose;
use crate::content::{Attachment, AttachmentKind, Content};
use crate::mailbox::Item;
use crate::state::State;

/// Largest attachment by a plain POST; above it an upload session is needed.
/// <https://learn.microsoft.com/en-us/graph/outlook-large-attachments>
const LARGEST: usize = 3 * 1024 * 1024;
/// How deep mails inside mails are shown.
const DEPTH: usize = 30;

/// `GET …/messages/{id}/attachments`. The service ignores `$filter` here.
pub(crate) fn list(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    let own = ids::item(call.prefer.ids, owner.guid, item);
    let all = item.content.attachments();
    let (skip, top) = (call.query.skip()?, call.query.top()?.unwrap_or(usize::MAX));
    let shown = all.iter().skip(skip).take(top).map(|part| shown(call, &own, part, item));
    let shown: Vec<Value> = shown.collect();
    let context =
        View::usual(owner, call.prefer).context(&call.graph_url, &format!("messages('{own}')/attachments"));
    let mut answer = json!({ "@odata.context": context });
    if call.query.wants_count() {
        answer["@odata.count"] = all.len().into();
    }
    if let Some(next) = call.next_page(skip.saturating_add(shown.len()), all.len()) {
        answer["@odata.nextLink"] = next.into();
    }
    answer["value"] = shown.into();
    Ok(Answer::json(answer))
}

/// `GET …/messages/{id}/attachments/$count`
pub(crate) fn count(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    Ok(Answer::raw("text/plain", item.content.attachments().len().to_string().into()))
}

/// `GET …/messages/{id}/attachments/{id}`
pub(crate) fn get(
    state: &State,
    call: &Call,
    mailbox: usize,
    id: &str,
    part: &str,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    let found = find_part(call, owner.guid, item, id, part)?;
    let own = ids::item(call.prefer.ids, owner.guid, item);
    let mut answer = shown(call, &own, &found, item);
    let context = format!("messages('{own}')/attachments/$entity");
    answer["@odata.context"] = View::usual(owner, call.prefer).context(&call.graph_url, &context).into();
    Ok(Answer::json(answer))
}

/// `GET …/messages/{id}/attachments/{id}/$value`
pub(crate) fn value(
    state: &State,
    call: &Call,
    mailbox: usize,
    id: &str,
    part: &str,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let found = find_part(call, owner.guid, find(call, owner, id)?, id, part)?;
    match found.kind {
        AttachmentKind::Reference => Err(Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "ErrorMethodNotAllowed",
            "The content of a reference attachment can't be read.",
        )),
        AttachmentKind::Message => Ok(Answer::raw("text/plain", found.bytes.clone())),
        AttachmentKind::File | AttachmentKind::Item(_) => {
            Ok(Answer::raw(found.content_type.clone(), found.bytes.clone()))
        }
    }
}

/// `POST …/messages/{id}/attachments`
pub(crate) fn add(state: &mut State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let key = find(call, owner(state, mailbox)?, id)?.key;
    let attachment = read(&object(call)?)?;
    if attachment.bytes.len() >= LARGEST {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "ErrorMessageSizeExceeded",
            "The message exceeds the maximum supported size: attachments of 3 MB and more need an upload session.",
        ));
    }
    let version = state.name();
    let mut number = 0;
    state.edit(mailbox, key, |item| {
        number = Arc::make_mut(&mut item.content).attach(attachment);
        item.version = version;
    });
    let owner = owner(state, mailbox)?;
    let item = owner.find_item(key).ok_or_else(Failure::no_item)?;
    let own = ids::item(call.prefer.ids, owner.guid, item);
    let added = item.content.attachments().into_iter().find(|part| part.number == number);
    let added = added.ok_or_else(Failure::no_item)?;
    let mut answer = shapes::attachment(&own, &added, item.modified, None);
    let context = format!("messages('{own}')/attachments/$entity");
    answer["@odata.context"] = View::usual(owner, call.prefer).context(&call.graph_url, &context).into();
    let (user, part) = (&owner.address, ids::attachment(&own, number));
    let location = format!("{}/v1.0/users('{user}')/messages('{own}')/attachments('{part}')", call.graph_url);
    Ok(Answer::created(answer, location))
}

/// `DELETE …/messages/{id}/attachments/{id}`
pub(crate) fn delete(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    id: &str,
    part: &str,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    let (key, number) = (item.key, find_part(call, owner.guid, item, id, part)?.number);
    let version = state.name();
    state.edit(mailbox, key, |item| {
        Arc::make_mut(&mut item.content).detach(number);
        item.version = version;
    });
    Ok(Answer::no_content())
}

fn shown(call: &Call, message: &str, part: &Attachment, item: &Item) -> Value {
    let select = call.query.plain_select();
    let mut object = shapes::attachment(message, part, item.modified, select.as_deref());
    let expand = call.query.find("$expand").unwrap_or_default().to_ascii_lowercase();
    if expand.starts_with("microsoft.graph.itemattachment/item")
        && let Some(inner) = shapes::inner_item(part, DEPTH)
    {
        object["item"] = inner;
    }
    object
}

/// An attachment's id extends either id of its message, whichever the path named.
fn find_part(
    call: &Call,
    mailbox: uuid::Uuid,
    item: &Item,
    message: &str,
    part: &str,
) -> Result<Arc<Attachment>, Failure> {
    let other = ids::item(call.prefer.ids, mailbox, item);
    let number = ids::parse_attachment(message, part).or_else(|| ids::parse_attachment(&other, part));
    let number = number.ok_or_else(Failure::malformed_id)?;
    let found = item.content.attachments().into_iter().find(|part| part.number == number);
    found.ok_or_else(Failure::no_item)
}

/// Reads an attachment as clients write it.
pub(crate) fn read(object: &Map<String, Value>) -> Result<Attachment, Failure> {
    let text = |name: &str| parameter(object, name).and_then(Value::as_str);
    let kind = text("@odata.type").unwrap_or_default().trim_start_matches('#');
    let bytes = match text("contentBytes").map(|text| STANDARD.decode(text)) {
        Some(Ok(bytes)) => Bytes::from(bytes),
        Some(Err(_)) => {
            return Err(Failure::body("Cannot convert the literal of 'contentBytes' to 'Edm.Binary'."));
        }
        None => Bytes::new(),
    };
    let mut attachment = Attachment {
        number: 0,
        name: text("name").unwrap_or_default().to_owned(),
        content_type: text("contentType").unwrap_or("application/octet-stream").to_owned(),
        content_id: text("contentId").map(str::to_owned),
        content_location: text("contentLocation").map(str::to_owned),
        inline: parameter(object, "isInline").and_then(Value::as_bool).unwrap_or(false),
        kind: AttachmentKind::File,
        bytes,
    };
    match kind.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "fileattachment" => {}
        "referenceattachment" => attachment.kind = AttachmentKind::Reference,
        "itemattachment" => {
            let Some(Value::Object(item)) = parameter(object, "item") else {
                return Err(Failure::body("The property 'item' of the item attachment is missing."));
            };
            hold(&mut attachment, item)?;
        }
        _ => {
            return Err(Failure::body(
                "A type named in '@odata.type' is needed: fileAttachment, itemAttachment or referenceAttachment.",
            ));
        }
    }
    Ok(attachment)
}

/// Makes the attachment one that holds an item: a mail by its bytes, anything else as its JSON.
fn hold(attachment: &mut Attachment, item: &Map<String, Value>) -> Result<(), Failure> {
    let text = |name: &str| parameter(item, name).and_then(Value::as_str).unwrap_or_default();
    let kind = text("@odata.type").rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain = |text: &str| text.replace(['\r', '\n'], " ");
    match kind.as_str() {
        "event" => {
            let (start, end) = (time(item, "start"), time(item, "end"));
            attachment.content_type = "text/calendar".into();
            attachment.bytes = format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Postroom//Simulator//EN\r\nBEGIN:VEVENT\r\n\
                 SUMMARY:{}\r\nDTSTART:{start}\r\nDTEND:{end}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
                plain(text("subject")),
            )
            .into();
            attachment.kind = AttachmentKind::Item(item.clone().into());
        }
        "contact" => {
            attachment.content_type = "text/vcard".into();
            attachment.bytes =
                format!("BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{}\r\nEND:VCARD\r\n", plain(text("displayName")))
                    .into();
            attachment.kind = AttachmentKind::Item(item.clone().into());
        }
        _ => {
            let mut content = Content::default();
            drafts::fill(&mut content, item)?;
            attachment.content_type = "message/rfc822".into();
            attachment.bytes = compose::mime(&content, jiff::Timestamp::UNIX_EPOCH, "--inner-boundary");
            attachment.kind = AttachmentKind::Message;
        }
    }
    if attachment.name.is_empty() {
        attachment.name = text("subject").to_owned();
    }
    Ok(())
}

/// A `dateTimeTimeZone` in the form of iCalendar, without its zone.
fn time(item: &Map<String, Value>, name: &str) -> String {
    let text =
        item.get(name).and_then(|time| time.get("dateTime")).and_then(Value::as_str).unwrap_or_default();
    text.chars().take(19).filter(|letter| letter.is_ascii_digit() || *letter == 'T').collect()
}
