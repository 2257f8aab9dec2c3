//! Messages, folders and attachments as JSON.
//!
//! One table holds the properties of a message: `$select`, `$filter` and
//! `$orderby` all read it. Source: the `message` type of
//! <https://learn.microsoft.com/en-us/graph/api/resources/message>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::filter::Filter;
use super::ids::{self, IdKind};
use super::query::{Expand, Prefer};
use crate::content::{Attachment, AttachmentKind, Content, Person};
use crate::mailbox::{Folder, Item, Mailbox};

/// One property of a message.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    /// Whether it comes without being selected.
    usual: bool,
    /// Whether it may stand in `$orderby`.
    pub(crate) sorts: bool,
    value: fn(&View<'_>, &Item) -> Value,
}

impl Property {
    pub(crate) fn value(&self, view: &View<'_>, item: &Item) -> Value {
        (self.value)(view, item)
    }
}

const fn usual(name: &'static str, value: fn(&View<'_>, &Item) -> Value) -> Property {
    Property { name, usual: true, sorts: false, value }
}

const fn sorted(name: &'static str, value: fn(&View<'_>, &Item) -> Value) -> Property {
    Property { name, usual: true, sorts: true, value }
}

const fn on_request(name: &'static str, value: fn(&View<'_>, &Item) -> Value) -> Property {
    Property { name, usual: false, sorts: false, value }
}

static PROPERTIES: [Property; 31] = [
    usual("id", |view, item| ids::item(view.prefer.ids, view.mailbox.guid, item).into()),
    sorted("createdDateTime", |_, item| stamp(item.created)),
    sorted("lastModifiedDateTime", |_, item| stamp(item.modified)),
    usual("changeKey", |_, item| ids::change_key(item.version).into()),
    usual("categories", |_, item| json!(item.categories)),
    sorted("receivedDateTime", |_, item| stamp(item.received)),
    sorted("sentDateTime", |_, item| item.sent.or(item.content.date).map_or(Value::Null, stamp)),
    sorted("hasAttachments", |_, item| item.content.has_attachments.into()),
    sorted("internetMessageId", |_, item| json!(item.content.message_id)),
    sorted("subject", |_, item| item.content.subject.as_str().into()),
    usual("bodyPreview", |_, item| item.content.preview.as_str().into()),
    sorted("importance", |_, item| item.importance.name().into()),
    usual("parentFolderId", |view, item| ids::folder(view.mailbox.guid, item.folder).into()),
    sorted("conversationId", |view, item| ids::conversation(view.mailbox.guid, item.conversation).into()),
    usual("conversationIndex", |_, item| ids::conversation_index(item.conversation, item.created).into()),
    usual("isDeliveryReceiptRequested", |_, item| json!(item.wants_delivery_receipt)),
    usual("isReadReceiptRequested", |_, item| item.wants_read_receipt.into()),
    sorted("isRead", |_, item| item.is_read.into()),
    sorted("isDraft", |_, item| item.is_draft.into()),
    usual("webLink", web_link),
    usual("inferenceClassification", |_, item| if item.is_other { "other" } else { "focused" }.into()),
    usual("body", body),
    sorted("sender", |_, item| {
        json!(item.content.sender.as_ref().or(item.content.from.as_ref()).map(recipient))
    }),
    sorted("from", |_, item| json!(item.content.from.as_ref().map(recipient))),
    usual("toRecipients", |_, item| recipients(&item.content.to)),
    usual("ccRecipients", |_, item| recipients(&item.content.cc)),
    usual("bccRecipients", |_, item| recipients(&item.content.bcc)),
    usual("replyTo", |_, item| recipients(&item.content.reply_to)),
    usual("flag", |_, item| item.flag.clone().unwrap_or_else(|| json!({"flagStatus": "notFlagged"}))),
    on_request("uniqueBody", unique_body),
    on_request("internetMessageHeaders", |_, item| transport_headers(item)),
];

/// Extended properties can be filtered by, but come only by `$expand`.
static EXTENDED: Property = on_request("singleValueExtendedProperties", |_, item| single_valued(item).into());
static MULTI_EXTENDED: Property =
    on_request("multiValueExtendedProperties", |_, item| multi_valued(item).into());

/// Finds a property by its name in any case.
pub(crate) fn find_property(name: &str) -> Option<&'static Property> {
    PROPERTIES
        .iter()
        .chain([&EXTENDED, &MULTI_EXTENDED])
        .find(|property| property.name.eq_ignore_ascii_case(name))
}

/// Whether an item passes a filter over the properties of messages.
pub(crate) fn accepts(filter: &Filter, mailbox: &Mailbox, item: &Item) -> bool {
    let view = View::usual(mailbox, Prefer::default());
    filter.accepts(&|name| find_property(name).map(|property| property.value(&view, item)))
}

/// How a request wants to see the items of a mailbox.
pub(crate) struct View<'a> {
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) prefer: Prefer,
    pub(crate) select: Option<Vec<&'static Property>>,
    pub(crate) expand: Expand,
}

impl<'a> View<'a> {
    /// The usual properties.
    pub(crate) fn usual(mailbox: &'a Mailbox, prefer: Prefer) -> Self {
        Self { mailbox, prefer, select: None, expand: Expand::default() }
    }

    pub(crate) fn message(&self, item: &Item) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("@odata.etag".into(), etag(item).into());
        let mut put = |property: &Property| {
            object.insert(property.name.into(), property.value(self, item));
        };
        put(&PROPERTIES[0]);
        match &self.select {
            Some(selected) => selected.iter().for_each(|property| put(property)),
            None => PROPERTIES.iter().filter(|property| property.usual).for_each(put),
        }
        if self.select.is_none() && (item.is_draft || item.content.mime.is_none()) {
            object.remove("internetMessageHeaders");
        }
        let expanded = [
            (&EXTENDED, &self.expand.properties, single_valued as fn(&Item) -> Vec<Value>),
            (&MULTI_EXTENDED, &self.expand.multi_properties, multi_valued),
        ];
        for (name, filter, values) in expanded {
            let Some(filter) = filter else { continue };
            let mut chosen = values(item);
            chosen.retain(|property| filter.accepts(&|name| property.get(name).cloned()));
            if !chosen.is_empty() {
                object.insert(name.name.into(), chosen.into());
            }
        }
        if self.expand.attachments {
            let id = ids::item(self.prefer.ids, self.mailbox.guid, item);
            let select = self.expand.attachment_select.as_deref();
            let all = item.content.attachments();
            let all = all.iter().map(|part| attachment(&id, part, item.modified, select));
            object.insert("attachments".into(), all.collect());
        }
        object
    }

    /// The message with the context annotation of a single resource.
    pub(crate) fn single(&self, item: &Item, graph_url: &str) -> Value {
        let mut object = self.message(item);
        let context = match &self.select {
            Some(selected) => format!("messages({})/$entity", names(selected)),
            None => "messages/$entity".into(),
        };
        object.insert("@odata.context".into(), self.context(graph_url, &context).into());
        object.into()
    }

    pub(crate) fn context(&self, graph_url: &str, rest: &str) -> String {
        format!("{graph_url}/v1.0/$metadata#users('{}')/{rest}", self.mailbox.address.replace('@', "%40"))
    }
}

/// Names of selected properties, as a context shows them.
pub(crate) fn names(selected: &[&'static Property]) -> String {
    selected.iter().map(|property| property.name).collect::<Vec<_>>().join(",")
}

pub(crate) fn etag(item: &Item) -> String {
    format!("W/\"{}\"", ids::change_key(item.version))
}

pub(crate) fn folder(mailbox: &Mailbox, folder: &Folder, now: Timestamp) -> Map<String, Value> {
    let (mut total, mut unread, mut size) = (0, 0, 0);
    for item in mailbox.newest_first(Some(folder.key), now) {
        total += 1;
        unread += usize::from(!item.is_read);
        size += item.content.mime.as_ref().map_or(0, bytes::Bytes::len);
    }
    let object = json!({
        "id": ids::folder(mailbox.guid, folder.key),
        "displayName": folder.display_name,
        "parentFolderId": ids::folder(mailbox.guid, folder.parent),
        "childFolderCount": mailbox.children(folder.key).filter(|child| !child.is_hidden).count(),
        "unreadItemCount": unread,
        "totalItemCount": total,
        "sizeInBytes": size,
        "isHidden": folder.is_hidden,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// One attachment; `message` is the id of its message, `select` the wanted properties in lower case.
pub(crate) fn attachment(
    message: &str,
    part: &Attachment,
    modified: Timestamp,
    select: Option<&[String]>,
) -> Value {
    let kind = match part.kind {
        AttachmentKind::File => "fileAttachment",
        AttachmentKind::Message | AttachmentKind::Item(_) => "itemAttachment",
        AttachmentKind::Reference => "referenceAttachment",
    };
    let is_wanted = |name: &str| select.is_none_or(|names| names.iter().any(|wanted| wanted == name));
    let mut object = Map::new();
    object.insert("@odata.type".into(), format!("#microsoft.graph.{kind}").into());
    if part.kind == AttachmentKind::File {
        object.insert("@odata.mediaContentType".into(), part.content_type.as_str().into());
    }
    object.insert("id".into(), ids::attachment(message, part.number).into());
    let mut put = |name: &str, value: &dyn Fn() -> Value| {
        if is_wanted(&name.to_ascii_lowercase()) {
            object.insert(name.into(), value());
        }
    };
    put("lastModifiedDateTime", &|| stamp(modified));
    put("name", &|| part.name.as_str().into());
    put("contentType", &|| match part.kind {
        AttachmentKind::File => part.content_type.as_str().into(),
        _ => Value::Null,
    });
    // The store's size, not the length: a good deal more, as in reality.
    put("size", &|| (part.bytes.len() + part.bytes.len() / 20 + 160).into());
    put("isInline", &|| part.inline.into());
    if part.kind == AttachmentKind::File {
        put("contentId", &|| json!(part.content_id));
        put("contentLocation", &|| json!(part.content_location));
        put("contentBytes", &|| STANDARD.encode(&part.bytes).into());
    }
    object.into()
}

/// The item inside an attachment, with the mails inside it to this depth; `None` if it holds none.
pub(crate) fn inner_item(part: &Attachment, depth: usize) -> Option<Value> {
    match &part.kind {
        AttachmentKind::Item(item) => Some(item.clone()),
        AttachmentKind::Message => Some(inner_message(part, depth)),
        AttachmentKind::File | AttachmentKind::Reference => None,
    }
}

fn inner_message(part: &Attachment, depth: usize) -> Value {
    let content = Content::from_mime(part.bytes.clone());
    let mut object = json!({
        "@odata.type": "#microsoft.graph.message",
        "id": "",
        "createdDateTime": content.date.map(|date| date.to_string()),
        "lastModifiedDateTime": content.date.map(|date| date.to_string()),
        "receivedDateTime": content.date.map(|date| date.to_string()),
        "sentDateTime": content.date.map(|date| date.to_string()),
        "hasAttachments": content.has_attachments,
        "internetMessageId": content.message_id,
        "subject": content.subject,
        "bodyPreview": content.preview,
        "importance": "normal",
        "isRead": true,
        "isDraft": false,
        "body": { "contentType": content.body.format.name(), "content": content.body.content },
        "sender": content.sender.as_ref().or(content.from.as_ref()).map(recipient),
        "from": content.from.as_ref().map(recipient),
        "toRecipients": recipients(&content.to),
        "ccRecipients": recipients(&content.cc),
        "bccRecipients": recipients(&content.bcc),
        "replyTo": recipients(&content.reply_to),
    });
    if let Some(depth) = depth.checked_sub(1) {
        let inner = content.attachments();
        let inner = inner.iter().map(|part| {
            let mut shown = attachment("", part, Timestamp::UNIX_EPOCH, None);
            if let Some(item) = inner_item(part, depth) {
                shown["item"] = item;
            }
            shown
        });
        object["attachments"] = inner.collect();
    }
    object
}

/// A time as messages show it.
fn stamp(at: Timestamp) -> Value {
    at.to_string().into()
}

fn body(view: &View<'_>, item: &Item) -> Value {
    let body = &item.content.body;
    let format = view.prefer.body.unwrap_or(body.format);
    json!({"contentType": format.name(), "content": body.to_format(format)})
}

/// The part of the body that is not quoted: what stands before the line or the quotation
/// that mail programs put in front of an earlier mail.
fn unique_body(view: &View<'_>, item: &Item) -> Value {
    let mut whole = body(view, item);
    let marks = ["<hr", "<blockquote", "<div id=\"divRplyFwdMsg\"", "\n>", "\n-----Original Message"];
    let text = whole["content"].as_str().unwrap_or_default();
    let end = marks.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    let own = text[..end].to_owned();
    whole["content"] = own.into();
    whole
}

fn recipient(person: &Person) -> Value {
    json!({"emailAddress": {"name": person.shown(), "address": person.address}})
}

fn recipients(people: &[Person]) -> Value {
    people.iter().map(recipient).collect()
}

/// Extended properties: those that were set, and the MAPI properties that every mail has.
fn single_valued(item: &Item) -> Vec<Value> {
    let content = &item.content;
    let mut all: Vec<Value> =
        item.properties.values().map(|(id, value)| json!({"id": id, "value": value})).collect();
    let mut put = |id: &str, value: String| all.push(json!({"id": id, "value": value}));
    if let Some(mime) = &content.mime {
        put("Long 0xe08", mime.len().to_string());
        if !item.is_draft {
            let end = mime.windows(4).position(|four| four == b"\r\n\r\n").map_or(mime.len(), |at| at + 2);
            put("String 0x7d", String::from_utf8_lossy(&mime[..end]).into_owned());
        }
    }
    if let Some(id) = &content.message_id {
        put("String 0x1035", id.clone());
    }
    if !content.references.is_empty() {
        put("String 0x1039", content.references.join(" "));
    }
    if let Some(id) = &content.in_reply_to {
        put("String 0x1042", id.clone());
    }
    all
}

fn multi_valued(item: &Item) -> Vec<Value> {
    item.multi_properties.values().map(|(id, values)| json!({"id": id, "value": values})).collect()
}

/// Received mail shows its headers but those that are properties of their own.
fn transport_headers(item: &Item) -> Value {
    const OWN: [&str; 5] = ["From", "To", "Cc", "Bcc", "Sender"];
    let headers = item.content.transport_headers();
    let shown = headers.into_iter().filter(|(name, _)| !OWN.iter().any(|own| own.eq_ignore_ascii_case(name)));
    shown.map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn web_link(view: &View<'_>, item: &Item) -> Value {
    let id = ids::item(IdKind::Default, view.mailbox.guid, item).replace('=', "%3D");
    format!("https://outlook.office365.com/owa/?ItemID={id}&exvsurl=1&viewmodel=ReadMessageItem").into()
}
