//! What clients write: drafts, replies, sending, and the properties they set.
//!
//! Names of parameters are matched in any case, as the real service does.
//! Sources: <https://learn.microsoft.com/en-us/graph/api/message-createreply>,
//! <https://learn.microsoft.com/en-us/graph/api/message-update>.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::{Answer, Failure, Payload};
use super::filter::folded;
use super::folders::{self, owner};
use super::json::find_property;
use super::messages::{find, object, single};
use super::path::Action;
use super::{Call, attachments, ids, replies};
use crate::content::{Body, Content, Format, Person};
use crate::mailbox::{Importance, Item, ItemKey, Mailbox};
use crate::state::State;

/// Most own headers of a draft.
const HEADERS: usize = 5;

/// Most recipients of one message. <https://learn.microsoft.com/en-us/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits>
const RECIPIENTS: usize = 500;

/// `POST …/messages` and `POST …/mailFolders/{id}/messages`
pub(crate) fn create(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    folder: Option<&str>,
) -> Result<Answer, Failure> {
    let folder = folder.map(|name| folders::find(owner(state, mailbox)?, name)).transpose()?;
    let mut draft =
        if call.is_mime { from_mime(state, call)? } else { made(state, Content::default(), &object(call)?)? };
    draft.folder = folder.unwrap_or(draft.folder);
    let key = state.insert_draft(mailbox, draft).ok_or_else(Failure::no_item)?;
    created(state, call, mailbox, key)
}

/// `POST /users/{id}/sendMail`
pub(crate) fn send_mail(state: &mut State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    if call.is_mime {
        let draft = from_mime(state, call)?;
        return send_new(state, mailbox, draft, true);
    }
    let body = object(call)?;
    let Some(Value::Object(message)) = parameter(&body, "message") else {
        return Err(Failure::body("The Message parameter is missing."));
    };
    // The documentation's example writes the boolean as a text.
    let is_kept = match parameter(&body, "saveToSentItems") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(kept)) => *kept,
        Some(Value::String(kept)) if kept.eq_ignore_ascii_case("true") => true,
        Some(Value::String(kept)) if kept.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err(Failure::body("The SaveToSentItems parameter must be true or false.")),
    };
    let draft = made(state, Content::default(), message)?;
    send_new(state, mailbox, draft, is_kept)
}

/// `POST …/messages/{id}/{action}`
pub(crate) fn act(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    id: &str,
    action: Action,
) -> Result<Answer, Failure> {
    let own = owner(state, mailbox)?;
    let item = find(call, own, id)?;
    let key = item.key;
    match action {
        Action::CreateReply | Action::CreateReplyAll | Action::CreateForward => {
            let draft = answering(state, call, mailbox, key, action)?;
            let key = state.insert_draft(mailbox, draft).ok_or_else(Failure::no_item)?;
            created(state, call, mailbox, key)
        }
        Action::Reply | Action::ReplyAll | Action::Forward => {
            let draft = answering(state, call, mailbox, key, action)?;
            send_new(state, mailbox, draft, true)
        }
        Action::Send if item.is_draft => send(state, mailbox, key, true),
        Action::Send => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "ErrorInvalidOperation",
            "The message can't be sent: it is not a draft.",
        )),
        Action::Move => {
            let folder = folders::destination(call, own)?;
            let key = state.move_to(mailbox, key, folder).ok_or_else(Failure::no_item)?;
            created(state, call, mailbox, key)
        }
        Action::Copy => {
            let folder = folders::destination(call, own)?;
            let key = state.copy_to(mailbox, key, folder).ok_or_else(Failure::no_item)?;
            created(state, call, mailbox, key)
        }
        Action::PermanentDelete => {
            state.purge(mailbox, key);
            Ok(Answer::no_content())
        }
    }
}

/// The draft of a reply or forward, with what the client wants of it.
fn answering(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    original: ItemKey,
    action: Action,
) -> Result<Item, Failure> {
    let own = owner(state, mailbox)?;
    let original = own.find_item(original).ok_or_else(Failure::no_item)?;
    let mut content = match action {
        Action::CreateReplyAll | Action::ReplyAll => replies::reply(&original.content, &own.addresses, true),
        Action::CreateForward | Action::Forward => replies::forward(&original.content),
        _ => replies::reply(&original.content, &own.addresses, false),
    };
    if call.is_mime {
        let mut draft = from_mime(state, call)?;
        if draft.content.ancestors().next().is_none() {
            let given = Arc::make_mut(&mut draft.content);
            (given.in_reply_to, given.references) = (content.in_reply_to, content.references);
        }
        return Ok(draft);
    }
    let body = object(call)?;
    let empty = Map::new();
    let message = match parameter(&body, "message") {
        Some(Value::Object(message)) => message,
        _ => &empty,
    };
    let comment = parameter(&body, "comment").and_then(Value::as_str).filter(|comment| !comment.is_empty());
    if comment.is_some() && parameter(message, "body").is_some() {
        return Err(Failure::bad_request("Comment and Body may not be given together."));
    }
    if let Some(people) = parameter(&body, "toRecipients").filter(|people| !people.is_null()) {
        content.to = self::people(people).ok_or_else(|| Failure::body("ToRecipients has the wrong type."))?;
    }
    // A comment reaches only what is sent at once, not the body of a draft:
    // <https://learn.microsoft.com/en-us/graph/known-issues>
    if let (Some(comment), Action::Reply | Action::ReplyAll | Action::Forward) = (comment, action) {
        replies::comment(&mut content, comment);
    }
    made(state, content, message)
}

fn created(state: &State, call: &Call, mailbox: usize, key: ItemKey) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = owner.find_item(key).ok_or_else(Failure::no_item)?;
    let id = ids::item(call.prefer.ids, owner.guid, item);
    let location = format!("{}/v1.0/users('{}')/messages('{id}')", call.graph_url, owner.address);
    match single(state, call, mailbox, key)?.payload {
        Payload::Json(message) => Ok(Answer::created(message, location)),
        _ => Err(Failure::no_item()),
    }
}

fn send_new(state: &mut State, mailbox: usize, draft: Item, is_kept: bool) -> Result<Answer, Failure> {
    check_sending(owner(state, mailbox)?, &draft)?;
    let key = state.insert_draft(mailbox, draft).ok_or_else(Failure::no_item)?;
    send(state, mailbox, key, is_kept)
}

fn send(state: &mut State, mailbox: usize, key: ItemKey, is_kept: bool) -> Result<Answer, Failure> {
    let own = owner(state, mailbox)?;
    check_sending(own, own.find_item(key).ok_or_else(Failure::no_item)?)?;
    let address = own.address.clone();
    let chance = &state.board.of(&address).send_accept_then_timeout;
    let silent = state.random.strikes(&address, "send.accept_then_timeout", chance);
    state.send(mailbox, key, is_kept);
    if silent { Err(Failure::timeout()) } else { Ok(Answer::accepted()) }
}

/// What is refused at once; everything else that can go wrong with a mail comes later.
fn check_sending(own: &Mailbox, item: &Item) -> Result<(), Failure> {
    let refused = |code, message| Err(Failure::new(StatusCode::BAD_REQUEST, code, message));
    let count = item.content.recipients().count();
    if count == 0 {
        return refused(
            "ErrorInvalidRecipients",
            "At least one recipient isn't valid., A message can't be sent because it contains no recipients.",
        );
    }
    if count > RECIPIENTS {
        return refused(
            "ErrorExceededMaxRecipientLimit",
            "The message has more recipients than the limit of 500 allows.",
        );
    }
    if item.content.recipients().any(|person| !is_address(&person.address)) {
        return refused("ErrorInvalidRecipients", "At least one recipient isn't valid.");
    }
    let from = item.content.from.as_ref().map(|from| from.address.to_lowercase());
    if from.is_some_and(|from| !own.addresses.contains(&from)) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "ErrorSendAsDenied",
            "The user account which was used to submit this request does not have the right to send mail on \
             behalf of the specified sending account., Cannot submit message.",
        ));
    }
    Ok(())
}

/// Whether something stands before and after the last `@`, without spaces.
fn is_address(text: &str) -> bool {
    let halves = text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    halves && !text.contains(char::is_whitespace)
}

fn from_mime(state: &mut State, call: &Call) -> Result<Item, Failure> {
    let text: Vec<u8> = call.body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(text).map_err(|_| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "ErrorMimeContentInvalidBase64String",
            "Invalid base64 string for MIME content.",
        )
    })?;
    Ok(state.blank_draft(Content::from_mime(bytes.into())))
}

fn made(state: &mut State, content: Content, message: &Map<String, Value>) -> Result<Item, Failure> {
    let mut draft = state.blank_draft(content);
    apply(&mut draft, message)?;
    Ok(draft)
}

/// A member of an object by its name in any case.
pub(crate) fn parameter<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Writes the given properties into an item.
pub(crate) fn apply(item: &mut Item, properties: &Map<String, Value>) -> Result<(), Failure> {
    for (name, value) in properties {
        if name.starts_with('@') {
            continue;
        }
        let wrong = || Failure::body(format!("The value of the property '{name}' has the wrong type."));
        let known = find_property(name).map(|property| property.name);
        if !item.is_draft
            && matches!(known, Some("subject" | "body" | "replyTo" | "from" | "sender" | "internetMessageId"))
        {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "ErrorInvalidPropertySet",
                format!("Set action is invalid for property '{name}': the item is not a draft."),
            ));
        }
        match known {
            Some("isRead") => item.is_read = value.as_bool().ok_or_else(wrong)?,
            Some("categories") => item.categories = texts(value).ok_or_else(wrong)?,
            Some("flag") => item.flag = flag(value).ok_or_else(wrong)?,
            Some("importance") => item.importance = importance(value).ok_or_else(wrong)?,
            Some("inferenceClassification") => {
                item.is_other = match value.as_str().map(str::to_ascii_lowercase).as_deref() {
                    Some("focused") => false,
                    Some("other") => true,
                    _ => return Err(wrong()),
                }
            }
            Some("isReadReceiptRequested") => {
                item.wants_read_receipt = value.as_bool().ok_or_else(wrong)?;
            }
            Some("isDeliveryReceiptRequested") => {
                item.wants_delivery_receipt = Some(value.as_bool().ok_or_else(wrong)?);
            }
            Some("singleValueExtendedProperties") => {
                for (id, text) in
                    extended(value, |value| value.as_str().map(str::to_owned)).ok_or_else(wrong)?
                {
                    set_property(item, id, text);
                }
            }
            Some("multiValueExtendedProperties") => {
                for (id, all) in extended(value, texts).ok_or_else(wrong)? {
                    item.multi_properties.insert(folded(&id), (id, all));
                }
            }
            // What the service sets is accepted and left as it is, for clients send back what they read.
            Some(
                "id"
                | "createdDateTime"
                | "lastModifiedDateTime"
                | "changeKey"
                | "receivedDateTime"
                | "sentDateTime"
                | "hasAttachments"
                | "bodyPreview"
                | "parentFolderId"
                | "conversationId"
                | "conversationIndex"
                | "isDraft"
                | "webLink"
                | "uniqueBody",
            ) => {}
            Some(known) => write(changed(item), known, value).ok_or_else(wrong)??,
            None if name.eq_ignore_ascii_case("attachments") && item.is_draft => {
                for attachment in value.as_array().ok_or_else(wrong)? {
                    let attachment = attachments::read(attachment.as_object().ok_or_else(wrong)?)?;
                    changed(item).attach(attachment);
                }
            }
            None => {
                return Err(Failure::body(format!(
                    "The property '{name}' does not exist on type 'microsoft.graph.message'. Make sure to only \
                     use property names that are defined by the type."
                )));
            }
        }
    }
    Ok(())
}

/// The content of an item that is about to change.
fn changed(item: &mut Item) -> &mut Content {
    let is_draft = item.is_draft;
    let content = Arc::make_mut(&mut item.content);
    // The bytes of received mail are what was received, whatever is changed about it afterwards.
    if is_draft {
        content.open();
    }
    content
}

/// Writes the properties of a message into a content that is in no mailbox.
pub(crate) fn fill(content: &mut Content, properties: &Map<String, Value>) -> Result<(), Failure> {
    for (name, value) in properties {
        let known = find_property(name).map(|property| property.name);
        if let Some(
            name @ ("subject" | "body" | "from" | "sender" | "toRecipients" | "ccRecipients"
            | "bccRecipients" | "replyTo" | "internetMessageId"),
        ) = known
        {
            let wrong = || Failure::body(format!("The value of the property '{name}' has the wrong type."));
            write(content, name, value).ok_or_else(wrong)??;
        }
    }
    Ok(())
}

/// Sets an extended property; the MAPI properties behind threading headers set those.
fn set_property(item: &mut Item, id: String, value: String) {
    match (item.is_draft, folded(&id).as_str()) {
        (true, "string 0x1042") => changed(item).in_reply_to = Some(value),
        (true, "string 0x1039") => {
            changed(item).references = value.split_whitespace().map(str::to_owned).collect();
        }
        (_, key) => {
            item.properties.insert(key.to_owned(), (id, value));
        }
    }
}

/// A follow-up flag with all its members in the form they are answered.
fn flag(value: &Value) -> Option<Option<Value>> {
    let flag = value.as_object()?;
    let wanted = parameter(flag, "flagStatus").and_then(Value::as_str).unwrap_or("notFlagged");
    let all = ["notFlagged", "complete", "flagged"];
    let status = all.into_iter().find(|status| status.eq_ignore_ascii_case(wanted))?;
    if status == "notFlagged" {
        return Some(None);
    }
    let mut kept = Map::new();
    kept.insert("flagStatus".into(), status.into());
    for name in ["startDateTime", "dueDateTime", "completedDateTime"] {
        if let Some(time) = parameter(flag, name).filter(|time| !time.is_null()) {
            parameter(time.as_object()?, "dateTime")?.as_str()?;
            kept.insert(name.into(), time.clone());
        }
    }
    Some(Some(kept.into()))
}

/// Writes a property of the content; `None` if the value has the wrong type.
fn write(content: &mut Content, name: &str, value: &Value) -> Option<Result<(), Failure>> {
    match name {
        "subject" if value.is_null() => content.subject.clear(),
        "subject" => content.subject = value.as_str()?.to_owned(),
        "body" => {
            let kind = parameter(value.as_object()?, "contentType").and_then(Value::as_str).unwrap_or("text");
            let format = match kind.to_ascii_lowercase().as_str() {
                "html" => Format::Html,
                "text" | "" => Format::Text,
                _ => return None,
            };
            let text = parameter(value.as_object()?, "content").and_then(Value::as_str).unwrap_or_default();
            content.body = Body { format, content: text.to_owned() };
            content.preview = content.body.preview();
        }
        "from" => content.from = if value.is_null() { None } else { Some(person(value)?) },
        "sender" => content.sender = if value.is_null() { None } else { Some(person(value)?) },
        "toRecipients" => content.to = people(value)?,
        "ccRecipients" => content.cc = people(value)?,
        "bccRecipients" => content.bcc = people(value)?,
        "replyTo" => content.reply_to = people(value)?,
        "internetMessageId" => content.message_id = Some(value.as_str()?.to_owned()),
        "internetMessageHeaders" => return Some(headers(content, value.as_array()?)),
        _ => return Some(Err(Failure::body(format!("The property '{name}' can't be set.")))),
    }
    Some(Ok(()))
}

fn headers(content: &mut Content, list: &[Value]) -> Result<(), Failure> {
    let refused = |code, message: String| Failure::new(StatusCode::BAD_REQUEST, code, message);
    if list.len() > HEADERS {
        let message = format!("The internet message header collection has more than {HEADERS} members.");
        return Err(refused("InvalidInternetMessageHeaderCollection", message));
    }
    let text =
        |header: &Value, name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for header in list {
        let (name, value) = (text(header, "name"), text(header, "value"));
        let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        if !name.to_ascii_lowercase().starts_with("x-") || !is_plain {
            let message =
                format!("The internet message header name '{name}' should start with 'x-' or 'X-'.");
            return Err(refused("InvalidInternetMessageHeader", message));
        }
        content.headers.push((name, value));
    }
    Ok(())
}

fn person(value: &Value) -> Option<Person> {
    let address = value.get("emailAddress")?;
    let text = |name: &str| address.get(name).and_then(Value::as_str).unwrap_or_default();
    Some(Person::new(text("name"), text("address")))
}

fn people(value: &Value) -> Option<Vec<Person>> {
    value.as_array()?.iter().map(person).collect()
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

fn importance(value: &Value) -> Option<Importance> {
    let all = [Importance::Low, Importance::Normal, Importance::High];
    let wanted = value.as_str()?;
    all.into_iter().find(|importance| importance.name().eq_ignore_ascii_case(wanted))
}

/// Extended properties as pairs of id and value; `None` if one has the wrong type.
fn extended<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<(String, T)>> {
    let pair =
        |property: &Value| Some((property.get("id")?.as_str()?.to_owned(), read(property.get("value")?)?));
    value.as_array()?.iter().map(pair).collect()
}
