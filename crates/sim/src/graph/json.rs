//! Messages, folders and attachments as JSON.
//!
//! One table holds the properties of a message: `$select`, `$filter` and
//! `$orderby` all read it. Source: the `message` type of
//! <https://learn.microsoft.com/en-us/graph/api/resources/message>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::ids::{self, IdKind};
use super::query::{Expand, Prefer};
use crate::content::{Attachment, Person};
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

const fn time(name: &'static str, value: fn(&View<'_>, &Item) -> Value) -> Property {
    Property { name, usual: true, sorts: true, value }
}

const fn on_request(name: &'static str, value: fn(&View<'_>, &Item) -> Value) -> Property {
    Property { name, usual: false, sorts: false, value }
}

static PROPERTIES: [Property; 31] = [
    usual("id", |view, item| ids::item(view.prefer.ids, view.mailbox.guid, item).into()),
    time("createdDateTime", |_, item| stamp(item.created)),
    time("lastModifiedDateTime", |_, item| stamp(item.modified)),
    usual("changeKey", |_, item| ids::change_key(item.version).into()),
    usual("categories", |_, item| json!(item.categories)),
    time("receivedDateTime", |_, item| stamp(item.received)),
    time("sentDateTime", |_, item| item.sent.or(item.content.date).map_or(Value::Null, stamp)),
    usual("hasAttachments", |_, item| item.content.has_attachments.into()),
    usual("internetMessageId", |_, item| json!(item.content.message_id)),
    usual("subject", |_, item| item.content.subject.as_str().into()),
    usual("bodyPreview", |_, item| item.content.preview.as_str().into()),
    usual("importance", |_, item| item.importance.name().into()),
    usual("parentFolderId", |view, item| ids::folder(view.mailbox.guid, item.folder).into()),
    usual("conversationId", |view, item| ids::conversation(view.mailbox.guid, item.conversation).into()),
    usual("conversationIndex", |_, item| ids::conversation_index(item.conversation, item.created).into()),
    usual("isDeliveryReceiptRequested", |_, item| if item.is_draft { false.into() } else { Value::Null }),
    usual("isReadReceiptRequested", |_, _| false.into()),
    usual("isRead", |_, item| item.is_read.into()),
    usual("isDraft", |_, item| item.is_draft.into()),
    usual("webLink", web_link),
    usual("inferenceClassification", |_, _| "focused".into()),
    usual("body", body),
    usual("sender", |_, item| {
        json!(item.content.sender.as_ref().or(item.content.from.as_ref()).map(recipient))
    }),
    usual("from", |_, item| json!(item.content.from.as_ref().map(recipient))),
    usual("toRecipients", |_, item| recipients(&item.content.to)),
    usual("ccRecipients", |_, item| recipients(&item.content.cc)),
    usual("bccRecipients", |_, item| recipients(&item.content.bcc)),
    usual("replyTo", |_, item| recipients(&item.content.reply_to)),
    usual("flag", |_, item| item.flag.clone().unwrap_or_else(|| json!({"flagStatus": "notFlagged"}))),
    on_request("uniqueBody", body),
    on_request("internetMessageHeaders", |_, item| transport_headers(item)),
];

/// Extended properties can be filtered by, but come only by `$expand`.
static EXTENDED: Property =
    on_request("singleValueExtendedProperties", |_, item| item.properties.values().map(extended).collect());

/// Finds a property by its name in any case.
pub(crate) fn find_property(name: &str) -> Option<&'static Property> {
    PROPERTIES.iter().chain([&EXTENDED]).find(|property| property.name.eq_ignore_ascii_case(name))
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
        if let Some(filter) = &self.expand.properties {
            let chosen: Vec<Value> = item
                .properties
                .values()
                .map(extended)
                .filter(|property| filter.accepts(&|name| property.get(name).cloned()))
                .collect();
            if !chosen.is_empty() {
                object.insert(EXTENDED.name.into(), chosen.into());
            }
        }
        if self.expand.attachments {
            let id = ids::item(self.prefer.ids, self.mailbox.guid, item);
            let all = item.content.attachments();
            let all = all.iter().enumerate().map(|(index, part)| attachment(&id, index, part, item));
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
        "parentFolderId": ids::folder(mailbox.guid, crate::mailbox::ROOT),
        "childFolderCount": 0,
        "unreadItemCount": unread,
        "totalItemCount": total,
        "sizeInBytes": size,
        "isHidden": false,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// One attachment; `message` is the id of its message.
pub(crate) fn attachment(message: &str, index: usize, part: &Attachment, item: &Item) -> Value {
    let kind = if part.is_message { "itemAttachment" } else { "fileAttachment" };
    let mut object = json!({
        "@odata.type": format!("#microsoft.graph.{kind}"),
        "@odata.mediaContentType": part.content_type,
        "id": ids::attachment(message, index),
        "lastModifiedDateTime": stamp(item.modified),
        "name": part.name,
        "contentType": part.content_type,
        // The store's size, not the length: a good deal more, as in reality.
        "size": part.bytes.len() + part.bytes.len() / 20 + 160,
        "isInline": part.inline,
    });
    if !part.is_message {
        object["contentId"] = json!(part.content_id);
        object["contentLocation"] = Value::Null;
        object["contentBytes"] = STANDARD.encode(&part.bytes).into();
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

fn recipient(person: &Person) -> Value {
    json!({"emailAddress": {"name": person.shown(), "address": person.address}})
}

fn recipients(people: &[Person]) -> Value {
    people.iter().map(recipient).collect()
}

fn extended((id, value): &(String, String)) -> Value {
    json!({"id": id, "value": value})
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
